"""What a checkpoint holds, and the networks in one that another program wrapped.

Other programs put the same weights under other names: `module.` of DataParallel, `_orig_mod.` of torch.compile, an
entry `state_dict` or `model` among others, a whole trainer with its `gen_a` and `dis_a`. The names of the layers show
where a network begins, whatever prefix they have; the prefix shows which domain it belongs to.
"""
import itertools
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from torch import Tensor

from core.errors import shown

MARKS = {'enc_style': 'a generator of MUNIT', 'enc': 'a generator of UNIT', 'cnns': 'a discriminator',
         'blocks': 'a generator of CycleGAN', 'shrink': 'a generator of CycleGANNoise',
         'scales': 'a discriminator of CycleGAN'}
# The first names within the networks of all methods; the latter are sought where there is none of the former.
FIRST_NAMES = {*MARKS, 'enc_content', 'dec', 'mlp'}, {'down', 'up', 'grow', 'norms_down', 'norms_up', 'first', 'mean',
                                                      'log_variance'}
WRAPPERS = {'module', '_orig_mod', '_fsdp_wrapped_module', '_checkpoint_wrapped_module', '_forward_module'}
AVERAGES = ('ema', 'average', 'shadow', 'swa')
# The kinds of the networks in the files of all methods. Those of BicycleGAN are made of the same layers as others.
LAYOUTS = (*({'a': MARKS[mark], 'b': MARKS[mark]} for mark in ('enc_style', 'enc', 'blocks', 'shrink')),
           {'b': MARKS['shrink'], 'enc_b': MARKS['blocks']},
           *({'a': MARKS[mark], 'b': MARKS[mark]} for mark in ('cnns', 'scales')),
           {'b': MARKS['scales'], 'b2': MARKS['scales']})
DEEPEST = 6             # dictionaries within each other
MOST_ENTRIES = 100_000  # a whole trainer has some thousands; a small file can refer to one dictionary without end


def kind_of_file(content: dict) -> str:
    """What a checkpoint file is, in words."""
    if {'gen', 'dis'} <= content.keys():
        return 'an optimizer state'
    if {'b', 'enc_b'} == content.keys():
        whole = all(isinstance(content[name], dict) for name in content)
        return 'a generator of BicycleGAN' if whole else 'a file of something else'
    if {'b', 'b2'} == content.keys():
        return 'a discriminator of BicycleGAN'
    kinds = {kind_of(content[name]) if isinstance(content.get(name), dict) else '' for name in 'ab'}
    return kinds.pop() if len(kinds) == 1 and '' not in kinds else 'a file of something else'


def kind_of(state: dict) -> str:
    """What a state_dict belongs to, in words."""
    keys = [key for key, value in state.items() if isinstance(key, str) and isinstance(value, Tensor)]
    if len(keys) != len(state):
        return 'not a state_dict'
    first = {key.split('.')[0] for key in keys}
    return next((kind for mark, kind in MARKS.items() if mark in first), 'a file of something else')


class Part(NamedTuple):
    """A network in a checkpoint."""
    place: str                 # what stands before its names, as in the file
    kind: str                  # as `kind_of` says
    state: dict[str, Tensor]   # under the names of this project

    def is_called(self, name: str) -> bool:
        """Whether its place says that it is the network of this name: 'a', 'gen_a', 'state_dict.module.gen_a'."""
        known = {name, *(f'{kind}_{name}' for kind in ('gen', 'dis', 'generator', 'discriminator'))}
        return any(step.lower() in known for step in self.place.split('.'))

    @property
    def is_averaged(self) -> bool:
        """Whether its place says that it is a running average of another one."""
        return any(word in self.place.lower() for word in AVERAGES)


def tensors_of(content: dict) -> Iterator[tuple[list[str], Tensor]]:
    """Every tensor in nested dictionaries, after the names on the way to it: dots separate names, too."""
    def walk(part: Any, names: list[str]) -> Iterator[tuple[list[str], Any]]:
        for key, value in part.items():
            yield [*names, *str(key).split('.')], value
            if isinstance(value, dict) and len(names) < DEEPEST:
                yield from walk(value, [*names, str(key)])

    return ((names, value) for names, value in itertools.islice(walk(content, []), MOST_ENTRIES)
            if isinstance(value, Tensor))


def parts_of(content: dict) -> list[Part]:
    """The networks in a checkpoint, however it is wrapped; nested dictionaries and dots in names are the same."""
    states: dict[str, dict[str, Tensor]] = {}
    for names, value in tensors_of(content):
        begin = next((i for known in FIRST_NAMES for i, name in enumerate(names) if name in known), None)
        if begin is not None:
            state = states.setdefault('.'.join(names[:begin]), {})
            key = _own_name(names[begin:])
            state[key if key not in state else '.'.join(names)] = value.detach()
    parts = [Part(place, kind_of(state), state) for place, state in states.items()]
    return [part for part in parts if part.kind in MARKS.values()]


def _own_name(names: list[str]) -> str:
    """A name without the wrappers in it. Of `conv.module`, spectral norm has made a part of the original's names."""
    return '.'.join(name for i, name in enumerate(names)
                    if name not in WRAPPERS or (name == 'module' and names[i - 1] == 'conv'))


def is_plain(content: dict, kinds: dict[str, str]) -> bool:
    """Whether a checkpoint holds networks of these kinds, by their names, as this project and the original write it."""
    return all(isinstance(content.get(name), dict) and kind_of(content[name]) == kind
               and not any(_own_name(key.split('.')) != key for key in content[name])
               for name, kind in kinds.items())


def unwrap(content: dict, kinds: dict[str, str]) -> tuple[dict, str]:
    """A checkpoint as this project writes it, where it can be told without doubt which of its networks are wanted.

    Args:
        content: as `checkpoints.load_file` returns it.
        kinds: the kinds of the wanted networks, by their names in the file that holds them.

    Returns:
        The state_dicts by their names, and what was done for them, in words; or `content` as it is, and ''.
    """
    if is_plain(content, kinds):
        return content, ''
    found = parts_of(content)
    chosen: dict[str, Part] = {}
    for name, kind in kinds.items():
        candidates = [part for part in found if part.kind == kind and part.is_called(name)]
        candidates = [part for part in candidates if not part.is_averaged] or candidates
        if len(candidates) != 1 or candidates[0] in chosen.values():
            return content, ''
        chosen[name] = candidates[0]
    return {name: part.state for name, part in chosen.items()}, _what_was_done(content, chosen)


def unwrap_any(content: dict) -> tuple[dict, str]:
    """As `unwrap`, for the first that there is of the generators, then the discriminators, of any method."""
    for kinds in LAYOUTS:
        if is_plain(content, kinds):
            return content, ''
    found = (unwrap(content, kinds) for kinds in LAYOUTS)
    return next((one for one in found if one[1]), (content, ''))


def unwrap_single(content: dict, first_names: str) -> tuple[dict, str]:
    """The state_dict of a file that holds one network: as it is, or out of its wrappers where it is there once.

    Args:
        first_names: with what the names of the network's entries begin, up to their first dot: a regular expression.

    Returns:
        The state_dict and what was done, in words; or `content` as it is, and ''.
    """
    states: dict[str, dict[str, Tensor]] = {}
    for names, value in tensors_of(content):
        begin = next((i for i, name in enumerate(names) if re.fullmatch(first_names, name)), None)
        if begin is not None:
            states.setdefault('.'.join(names[:begin]), {})['.'.join(names[begin:])] = value.detach()
    if '' in states or len(states) != 1:
        return content, ''
    place, state = states.popitem()
    return state, f'a wrapped checkpoint; took the network from {shown(place, 120)!r}'


def _what_was_done(content: dict, chosen: dict[str, Part]) -> str:
    places = ', '.join(f'{name!r} from {shown(part.place, 120)!r}' for name, part in chosen.items())
    within = sorted({step for names, _ in tensors_of(content) for step in names} & WRAPPERS)
    without = f', with {" and ".join(map(repr, within))} taken out of its names' if within else ''
    rest = sum(1 for _ in tensors_of(content)) - sum(len(part.state) for part in chosen.values())
    left = f'; left out {rest} other tensors' if rest else ''
    if not (without or left) and all(part.place == name for name, part in chosen.items()):
        left = '; left out entries that are no tensors'
    return f'a wrapped checkpoint; took {places}{without}{left}'


def describe(content: dict) -> str:
    """What a checkpoint holds, as the end of a sentence that begins with its name."""
    if found := parts_of(content):
        places = [part.kind + (f' under {shown(part.place, 80)!r}' if part.place else ' that names no domain')
                  for part in found[:4]]
        return f'holds {", ".join(places)}' + (f' and {len(found) - 4} other networks' if len(found) > 4 else '')
    names = ['.'.join(names) for names, _ in tensors_of(content)]
    if not names and not content:
        return 'holds nothing'
    what = 'no tensors; its names begin with ' if not names else f'{len(names)} tensors, the first ' if names[1:] else (
        '1 tensor, ')
    return f'holds {what}' + ', '.join(repr(shown(name, 80)) for name in (names or list(content))[:3])
