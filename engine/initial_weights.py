"""--init_from: initialise a new run with the weights of a checkpoint, or with those that match in name and shape."""
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

MOST_NAMED = 12   # tensors that do not match, listed in a message


def check_flags(opts: Namespace) -> None:
    """Check the flags --init_from, --init_from_dis and --init_from_partial.

    Raises:
        BadInput: the file of --init_from does not exist, or one of the other flags is given without --init_from.
    """
    for flag in ('init_from_partial', 'init_from_dis'):
        if getattr(opts, flag) and not opts.init_from:
            raise BadInput(f'--{flag}: requires --init_from; give --init_from, a gen_XXXXXXXX.pt')
    if opts.init_from and not opts.resume:   # a resumed run does not need the file
        path = generators_in(Path(opts.init_from))
        if fault := why_not_there(path):
            raise BadInput(f'--init_from {shown(path)}: {fault}')


def load_initial(trainer: Trainer, opts: Namespace, say: Callable[[str], None]) -> None:
    """Load weights according to --init_from, --init_from_dis and --init_from_partial, and report what was loaded.

    Raises:
        BadInput: a file is missing or cannot be used. Some of the networks may have been loaded before.
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
    """Return the newest gen_XXXXXXXX.pt in a folder or in its subfolder `checkpoints`. Other paths are returned
    unchanged.

    Raises:
        BadInput: the folder contains no such file.
    """
    if not os.path.isdir(path):
        return path
    for folder in (path, path / 'checkpoints'):
        found = [file for file in folder.glob('gen_*.pt') if re.fullmatch(r'gen_\d{8,}\.pt', file.name)]
        if found:
            return max(found, key=lambda file: int(file.stem[4:]))
    raise BadInput(f'--init_from {shown(path)}: no gen_XXXXXXXX.pt in it; {why_not_there(path)}')


def discriminators_of(path: Path) -> Path:
    """Return the file with the discriminators of a generator checkpoint: the dis_ file in the same folder, or the file
    itself.

    Raises:
        BadInput: neither contains discriminators.
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
    """Load the tensors of a checkpoint whose names and shapes match those of the networks.

    Args:
        networks: the networks by their names in the checkpoint.

    Returns:
        A message for each network with the number of loaded tensors, and the names of the others.

    Raises:
        BadInput: the file cannot be used, its networks cannot be identified, or no tensor matches.
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
