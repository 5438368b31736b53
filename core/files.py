"""Folders and atomic writes."""
import argparse
import contextlib
import errno
import os
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from core.errors import BadInput, shown

PLACES_TO_WRITE = ('output', 'output_a', 'output_b', 'output_folder', 'output_path', 'save_styles')   # flags
# What a disk does that is full or fails, in contrast to a path that is in the way.
DISK_FAULTS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS}


def make_folder(path: str | Path, flag: str) -> Path:
    """Make the folder that `flag` names, with its parents, and try that it can be written.

    Raises:
        BadInput: it cannot be made or written.
    """
    if not str(path):
        raise BadInput(f'{flag}: an empty text names no folder; the one you are in is .')
    path = Path(path)
    made = []
    try:
        for folder in [*reversed(path.parents), path]:
            if not os.path.isdir(folder):
                folder.mkdir(exist_ok=True)
                made.append(folder)
        with tempfile.TemporaryFile(dir=path):   # what permissions say is not all: a disk may be read-only
            pass
    except (OSError, ValueError) as error:
        for folder in reversed(made):
            with contextlib.suppress(OSError):   # filled by another process meanwhile
                folder.rmdir()
        reason = getattr(error, 'strerror', None) or error
        if path not in made and os.path.isdir(path):
            raise BadInput(f'{flag} {shown(path)}: cannot be written ({reason})') from None
        raise BadInput(f'{flag} {shown(path)}: cannot be made a folder ({reason}); name another') from None
    return path


def given_files(opts: argparse.Namespace) -> list[str]:
    """The files that a command line names to be read: images, checkpoints, configs, style codes."""
    def files_in(value: object) -> Iterator[str]:
        if isinstance(value, (str, os.PathLike)) and os.path.isfile(value):
            yield str(value)
        elif isinstance(value, (list, tuple)):
            for item in value:
                yield from files_in(item)

    return [file for name, value in vars(opts).items() if name not in PLACES_TO_WRITE for file in files_in(value)]


def refuse_overwriting(outputs: Iterable[Path], inputs: Iterable[str | Path], flag: str) -> None:
    """Make sure that no output would replace an input: by real path, so that links and other spellings count too.

    Raises:
        BadInput: one would; the line names `flag`, which says where the outputs go.
    """
    known = {os.path.realpath(path) for path in inputs}
    for output in outputs:
        if os.path.realpath(output) in known:
            raise BadInput(f'{flag}: {shown(output)} is an input and would be overwritten; choose another place')


def refuse_same_names(names: Iterable[str], given: str) -> None:
    """Make sure that the outputs of different images get different names.

    Args:
        names: of the images, as their outputs are called.
        given: the flag that names the images, and its value.

    Raises:
        BadInput: two have the same.
    """
    for name, count in Counter(names).most_common(1):
        if count > 1:
            raise BadInput(f'{given}: {count} images are called {shown(name)}, and their outputs would overwrite each '
                           f'other; rename them, or take them one folder at a time')


def part_of(path: Path) -> Path:
    """Where a file is written until it is whole; its ending says the format."""
    return path.with_name(f'{path.stem}.part{path.suffix}')


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path in the folder of `path`. The file written there replaces `path` when the block ends without an
    error, and is removed otherwise.

    Raises:
        OSError: it cannot be written.
    """
    temporary = part_of(path)
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def replace_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all. Raises OSError."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding='utf-8', errors='replace')   # a file name may not be valid UTF-8


def write_text(path: Path, text: str) -> None:
    """The same as `replace_text`, for a file that the user named. Raises BadInput."""
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding='utf-8', errors='replace')


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """The same as `replacing`, for a file that the user named.

    Raises:
        BadInput: it cannot be written.
    """
    try:
        with replacing(path) as temporary:
            yield temporary
    except OSError as error:
        raise BadInput(f'{shown(path)}: cannot be written ({error.strerror or error})') from None
