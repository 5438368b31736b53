"""The standard streams of a command: closed ones, and readers that stop before its end. Imports no PyTorch."""
import errno
import os
import select
import sys
from collections.abc import Callable
from typing import Any, NoReturn

READER_GONE = 141   # the exit status of a program that SIGPIPE ended, as a shell gives it


def run(main: Callable[[], int | None]) -> NoReturn:
    """Run the main of a command that does without PyTorch, and exit with its status."""
    open_standard_streams()
    try:
        status = main() or 0
    except BrokenPipeError:   # who read the output, such as head or a pager, has seen enough
        if not is_reader_gone():
            raise
        status = READER_GONE
    flush_standard_streams()
    sys.exit(status)


def open_standard_streams() -> None:
    """Open what the caller closed (`>&-`, services, pythonw) to nowhere: Python has None in its place, and the next
    file that is opened would get its number, and with it all that libraries write there.
    """
    for number, name in enumerate(('stdin', 'stdout', 'stderr')):
        known = getattr(sys, name) is not None
        if known and (number == 0 or _can_be_written(number)):
            continue
        nowhere = os.open(os.devnull, os.O_RDWR)
        if nowhere != number and (known or not _is_open(number)):
            os.dup2(nowhere, number)
        setattr(sys, name, open(nowhere, 'r' if number == 0 else 'w', encoding='utf-8'))


def flush_standard_streams() -> None:
    """Write what is left, where that can be done: Python would try again as it ends, and make another status of it."""
    for output in (sys.stdout, sys.stderr):
        try:
            output.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), output.fileno())


def is_reader_gone() -> bool:
    """Whether nobody reads stdout or stderr any more."""
    return _is_cut_off(sys.stdout) or _is_cut_off(sys.stderr)


def _is_cut_off(output: Any) -> bool:
    """Whether nobody reads any more what is written here."""
    try:
        output.flush()
        poll = select.poll()   # not on Windows, where it is not this error that pipes make
        poll.register(output.fileno(), 0)
        return bool(poll.poll(0))
    except BrokenPipeError:   # what could not be written is still there to be written
        return True
    except (AttributeError, OSError, ValueError):
        return False


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


def _can_be_written(number: int) -> bool:
    """Whether a descriptor is one for writing: a shell may start with its script as number 2."""
    try:
        os.write(number, b'')
    except OSError as error:
        return error.errno != errno.EBADF
    return True
