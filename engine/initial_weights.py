"""--init_from: start a new run from the weights of a checkpoint, or from those of its tensors that fit."""
import os
import re
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

from torch import Tensor, nn

from core.checkpoint_kinds import Part, describe, parts_of
from core.checkpoints import fault_of_numbers, load_file, load_networks
from core.errors import BadInput, shown
from core.wrong_files import why_not_there
from trainer import Trainer

MOST_NAMED = 12   # tensors that do not fit


def check_flags(opts: Namespace) -> None:
    """Make sure that what says how --init_from is taken does not stand alone, and that --init_from is there.

    Raises:
        BadInput: else.
    """
    for flag in ('init_from_partial', 'init_from_dis'):
        if getattr(opts, flag) and not opts.init_from:
            raise BadInput(f'--{flag}: says how --init_from is taken; give --init_from, a gen_XXXXXXXX.pt')
    if opts.init_from and not opts.resume:   # a run that has snapshots does not need it any more
        path = generators_in(Path(opts.init_from))
        if fault := why_not_there(path):
            raise BadInput(f'--init_from {shown(path)}: {fault}')


def load_initial(trainer: Trainer, opts: Namespace, say: Callable[[str], None]) -> None:
    """Load what --init_from, --init_from_dis and --init_from_partial ask for, and say what was taken.

    Raises:
        BadInput: a file that is missing or cannot be used; nothing is loaded then, or some of the networks.
    """
    path = generators_in(Path(opts.init_from))
    asked = [('--init_from', path, trainer.generators())]
    if opts.init_from_dis:
        asked.append(('--init_from_dis', discriminators_of(path), trainer.discriminators()))
    for flag, file, networks in asked:
        if opts.init_from_partial:
            for line in load_partly(file, networks, flag):
                say(line)
        else:
            load_networks(file, networks, flag)
            say(f'{flag}: the weights of {shown(file)}')


def generators_in(path: Path) -> Path:
    """The newest gen_XXXXXXXX.pt of a folder, which may be that of a run; a path of something else as it is.

    Raises:
        BadInput: a folder without one.
    """
    if not os.path.isdir(path):
        return path
    for folder in (path, path / 'checkpoints'):
        found = [file for file in folder.glob('gen_*.pt') if re.fullmatch(r'gen_\d{8,}\.pt', file.name)]
        if found:
            return max(found, key=lambda file: int(file.stem[4:]))
    raise BadInput(f'--init_from {shown(path)}: no gen_XXXXXXXX.pt in it; {why_not_there(path)}')


def discriminators_of(path: Path) -> Path:
    """Where the discriminators of a checkpoint of generators are: a dis_ file beside it, else the file itself.

    Raises:
        BadInput: there is neither.
    """
    beside = path.with_name(re.sub('^(gen|ema)', 'dis', path.name))
    if beside != path and beside.exists():
        return beside
    if any(part.kind.startswith('a discriminator') for part in parts_of(load_file(path, '--init_from', mmap=True))):
        return path
    missing = f'there is no {shown(beside.name)} beside it, and' if beside != path else 'there are'
    raise BadInput(f'--init_from_dis: {shown(path)}: {missing} no discriminators in it; leave --init_from_dis out, and '
                   f'they start from new weights')


def load_partly(path: Path, networks: dict[str, nn.Module], flag: str) -> list[str]:
    """Load the tensors of a checkpoint whose names and shapes fit those of networks by their names in it; a line for
    each network says how many did, and which did not.

    Raises:
        BadInput: the file cannot be used, does not say which networks are meant, or nothing in it fits.
    """
    named, content = f'{flag} {shown(path)}', load_file(path, flag, mmap=True)
    of = 'a generator' if flag == '--init_from' else 'a discriminator'
    found = [part for part in parts_of(content) if part.kind.startswith(of)]
    lines, taken, count = [], {}, 0
    for name, network in networks.items():
        state, own = _state_of(name, found, named), network.state_dict()
        fits = {key: state[key] for key in own if key in state and _fits(state[key], own[key])}
        if fault := fault_of_numbers(fits, own):
            raise BadInput(f'{named}: of network {name}, {fault}')
        taken[name] = {**own, **fits}
        lines.append(f'{named}: {len(fits)} of the {len(own)} tensors of network {name} fit and were taken'
                     + _what_did_not(state, own, fits))
        count += len(fits)
    if not count:
        raise BadInput(f'{named}: {describe(content)}; nothing in it fits {of} of this config')
    for name, network in networks.items():
        network.load_state_dict(taken[name])
    return lines


def _state_of(name: str, found: list[Part], named: str) -> dict[str, Tensor]:
    called = [part for part in found if part.is_called(name)]
    called = [part for part in called if not part.is_averaged] or called
    if len(called) > 1:
        raise BadInput(f'{named}: holds {len(called)} networks {name!r}, under '
                       f'{", ".join(repr(shown(part.place, 80)) for part in called)}; give a file with one of them')
    return called[0].state if called else {}


def _fits(theirs: Tensor, own: Tensor) -> bool:
    return theirs.shape == own.shape and theirs.is_floating_point() == own.is_floating_point()


def _what_did_not(state: dict[str, Tensor], own: dict[str, Tensor], fits: dict[str, Tensor]) -> str:
    def size(tensor: Tensor) -> str:
        return '×'.join(map(str, tensor.shape)) or 'a number'

    if not state:
        return ': it is not in the file'
    left = [f'{shown(key, 120)} ({size(state[key])} in the file, {size(own[key])} here)' if key in state else
            f'{shown(key, 120)} (not in the file)' for key in own if key not in fits]
    left += [f'{shown(key, 120)} (only in the file)' for key in state if key not in own]
    more = f' and {len(left) - MOST_NAMED} more' if len(left) > MOST_NAMED else ''
    return f'; not {", ".join(left[:MOST_NAMED])}{more}' if left else ''
