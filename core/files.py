"""Output folders, checks against overwriting, and atomic writes."""
import argparse
import contextlib
import errno
import os
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from core.errors import BadInput, shown

OUTPUT_FLAGS = ('output', 'output_a', 'output_b', 'output_folder', 'output_path', 'save_styles')
# Errors of a full, failing or read-only disk. Other errors are caused by the path.
DISK_FAULTS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS}


def make_folder(path: str | Path, flag: str) -> Path:
    """Create the folder given with `flag`, including its parents, and check that files can be created in it.

    Raises:
        BadInput: the folder cannot be created or written to. Folders created by this call are removed again.
    """
    if not str(path):
        raise BadInput(f'{flag}: must not be empty; use . for the current folder')
    path = Path(path)
    made = []
    try:
        for folder in [*reversed(path.parents), path]:
            if not os.path.isdir(folder):
                folder.mkdir(exist_ok=True)
                made.append(folder)
        with tempfile.TemporaryFile(dir=path):   # permissions are not sufficient: the disk can be read-only
            pass
    except (OSError, ValueError) as error:
        for folder in reversed(made):
            with contextlib.suppress(OSError):   # not empty, because another process has written to it
                folder.rmdir()
        reason = getattr(error, 'strerror', None) or error
        if path not in made and os.path.isdir(path):
            raise BadInput(f'{flag} {shown(path)}: cannot be written ({reason})') from None
        raise BadInput(f'{flag} {shown(path)}: cannot be created ({reason}); choose another folder') from None
    return path


def given_files(opts: argparse.Namespace) -> list[str]:
    """Return the existing files that a command line names as inputs: images, checkpoints, configs, style codes."""
    def files_in(value: object) -> Iterator[str]:
        if isinstance(value, (str, os.PathLike)) and os.path.isfile(value):
            yield str(value)
        elif isinstance(value, (list, tuple)):
            for item in value:
                yield from files_in(item)

    return [file for name, value in vars(opts).items() if name not in OUTPUT_FLAGS for file in files_in(value)]


def refuse_overwriting(outputs: Iterable[Path], inputs: Iterable[str | Path], flag: str) -> None:
    """Check that no output would replace an input. Paths are compared after links have been resolved.

    Raises:
        BadInput: an output would replace an input. The message names `flag`, which sets the place of the outputs.
    """
    known = {os.path.realpath(path) for path in inputs}
    for output in outputs:
        if os.path.realpath(output) in known:
            raise BadInput(f'{flag}: {shown(output)} is an input and would be overwritten; choose another path')


def refuse_same_names(names: Iterable[str], given: str) -> None:
    """Check that the outputs of different images have different names.

    Args:
        names: the names of the images, from which the names of their outputs are made.
        given: the flag that selects the images, and its value.

    Raises:
        BadInput: two images have the same name.
    """
    for name, count in Counter(names).most_common(1):
        if count > 1:
            raise BadInput(f'{given}: {count} images have the name {shown(name)}, so their outputs would overwrite '
                           f'each other; rename them, or process one folder at a time')


def temporary_path(path: Path) -> Path:
    """Return the path to which a file is written until it is complete. It has the same suffix as `path`."""
    return path.with_name(f'{path.stem}.part{path.suffix}')


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the folder of `path`. If the block ends without an error, the file written there
    replaces `path`; otherwise it is removed.

    Raises:
        OSError: the file cannot be written.
    """
    temporary = temporary_path(path)
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
    """Like `replacing`, for a path given by the user.

    Raises:
        BadInput: the file cannot be written.
    """
    try:
        with replacing(path) as temporary:
            yield temporary
    except OSError as error:
        raise BadInput(f'{shown(path)}: cannot be written ({error.strerror or error})') from None
