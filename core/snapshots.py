"""A run's snapshots: files that belong to one step, and are used together or not at all.

    gen_%08d.pt, dis_%08d.pt   the networks, under the original's names
    ema_%08d.pt                with `ema_decay`: the averaged generators, of the form of gen_%08d.pt
    state_%08d.pt              optimizers and everything else that going on exactly needs, with their checksums
    optimizer.pt               the newest state under the original's name, which looks for 'gen' and 'dis' in it

All files of a snapshot are on the disk before the first gets its name, and the state gets its name first. So gen_*.pt
and dis_*.pt beside a state that they do not match are half a snapshot; without any state they are the original's.
"""
import os
import re
import shutil
import zlib
from pathlib import Path
from typing import NamedTuple

from core.checkpoints import load_file, write_file
from core.errors import BadInput, shown
from core.run_state import fault_of_state, refuse_not_finite, seal_of

NETWORKS = ('gen', 'dis')   # of every run; a run may have others beside them
STATES_KEPT = 2   # each is twice the size of the networks; the second is there should the newest be damaged


def file_of(folder: Path, kind: str, step: int) -> Path:
    """Where the snapshot of a step has its 'gen', 'dis' or 'state'."""
    return folder / f'{kind}_{step:08d}.pt'


def write(folder: Path, step: int, networks: dict[str, dict], state: dict, keep: int = 0) -> None:
    """Write the snapshot of a step, then drop older ones.

    Args:
        networks: the content of gen_%08d.pt under 'gen', of dis_%08d.pt under 'dis', and of what else there is.
        state: the content of state_%08d.pt.
        keep: how many of the newest snapshots stay; 0 for all. States stay of the newest two.

    Raises:
        OSError: the disk is full, or fails. What is there of earlier snapshots stays as it was.
        NotFinite: weights or moments are NaN or infinite. Nothing is written and nothing dropped.
    """
    refuse_not_finite(networks)
    refuse_not_finite(state)
    names = {kind: file_of(folder, kind, step) for kind in ('state', *networks)}
    state = {**state, 'step': step}
    try:
        checksums = {names[kind].name: write_file(networks[kind], _beside(names[kind])) for kind in networks}
        write_file({**state, 'checksums': checksums, 'seal': seal_of(state)}, _beside(names['state']),
                   with_checksum=False)   # the seal is its own
        for path in names.values():
            os.replace(_beside(path), path)
        _name_as_the_original(names['state'])
        _flush_names(folder)
    except OSError:
        for left_over in folder.glob('*.part'):
            left_over.unlink()
        raise
    _drop_older(folder, step, keep)


class Found(NamedTuple):
    """The newest snapshot that can be used: its step, None if there is none; its state, None if it has none; and why
    newer ones cannot be used, a line each: damaged ones, and those of which files are missing.
    """
    step: int | None
    state: dict | None
    damaged: list[str]
    incomplete: list[str]


def newest(folder: Path, before: int | None = None) -> tuple[int | None, list[str]]:
    """The step of the newest snapshot that can be used, of fewer than `before` steps where that is given, and why newer
    ones cannot: a line each.
    """
    found = find(folder, before)
    return found.step, [*found.damaged, *found.incomplete]


def find(folder: Path, before: int | None = None) -> Found:
    """The newest snapshot that can be used, of fewer than `before` steps where that is given. Its state is read; its
    networks are held against their checksums.
    """
    damaged: list[str] = []
    incomplete: list[str] = []
    for step in sorted(_steps(folder, 'gen') | _steps(folder, 'dis') | _steps(folder, 'state'), reverse=True):
        if before is not None and step >= before:
            continue
        missing = [path.name for kind in NETWORKS if not (path := file_of(folder, kind, step)).exists()]
        if missing:
            incomplete.append(f'step {step}: {missing[0]} is missing')
        elif not file_of(folder, 'state', step).exists():
            return Found(step, None, damaged, incomplete)   # the original's
        else:
            state, fault = _read_state(folder, step)
            if not fault:
                return Found(step, state, damaged, incomplete)
            damaged.append(f'step {step}: {fault}')
    return Found(None, None, damaged, incomplete)


def state_of_original(folder: Path, step: int) -> dict:
    """What its optimizer.pt says; nothing where there is none, or ours of another step.

    Raises:
        BadInput: it cannot be used.
    """
    path = folder / 'optimizer.pt'
    state = load_file(path) if path.exists() else {}
    if state.get('step', step) != step:
        return {}
    if fault := fault_of_state(state):
        raise BadInput(f'{path}: {fault}; move it away to continue with fresh moments')
    return state


def _beside(path: Path) -> Path:
    return path.with_name(path.name + '.part')


def _steps(folder: Path, kind: str) -> set[int]:
    matches = (re.fullmatch(rf'{kind}_(\d{{8,}})\.pt', path.name) for path in folder.glob(f'{kind}_*.pt'))
    return {int(match[1]) for match in matches if match}


def _read_state(folder: Path, step: int) -> tuple[dict, str]:
    """The state of a step, and why it or what it was written with cannot be used; '' if it can."""
    path = file_of(folder, 'state', step)
    try:
        state = load_file(path)
    except BadInput as error:
        return {}, str(error)
    wanted = state.get('checksums')
    names = {file_of(folder, kind, step).name for kind in NETWORKS} | {*(wanted if isinstance(wanted, dict) else ())}
    for name in sorted(names, key=str, reverse=True):
        if Path(str(name)).name != name or not (folder / name).exists():
            return state, f'{shown(name)}, which {path.name} was written with, is missing'
        if not isinstance(wanted, dict) or wanted.get(name) != _checksum(folder / name):
            return state, f'{name} is not the one that {path.name} was written with'
    fault = fault_of_state(state)
    if not fault and (type(state.get('step')) is not int or state['step'] != step):
        fault = f'it is the state of step {shown(state.get("step"), 80)}'
    return state, f'{path.name}: {fault}' if fault else ''


def _checksum(path: Path) -> int:
    checksum = 0
    with open(path, 'rb') as file:
        while block := file.read(2 ** 22):
            checksum = zlib.crc32(block, checksum)
    return checksum


def _name_as_the_original(state: Path) -> None:
    name = state.with_name('optimizer.pt')
    beside = _beside(name)
    beside.unlink(missing_ok=True)
    try:
        os.link(state, beside)
    except OSError:   # a file system without links
        shutil.copyfile(state, beside)
    os.replace(beside, name)


def _flush_names(folder: Path) -> None:
    """Have the folder's new names on the disk too, where the system knows how."""
    if hasattr(os, 'O_DIRECTORY'):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _drop_older(folder: Path, step: int, keep: int) -> None:
    """Drop what `keep` does not keep of the steps up to `step`.

    Newer files are of another run, or were passed over as damaged: they must not count as what is kept.
    """
    whole = sorted((s for s in _steps(folder, 'gen') & _steps(folder, 'dis') if s <= step), reverse=True)
    counts = {'state': min(keep or STATES_KEPT, STATES_KEPT), **dict.fromkeys((*NETWORKS, 'ema'), keep)}
    for kind, count in counts.items():
        for old in _steps(folder, kind) if 0 < count <= len(whole) else ():
            if old < whole[count - 1]:   # a half that a kill left of a snapshot goes as well
                file_of(folder, kind, old).unlink(missing_ok=True)
