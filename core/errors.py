"""Errors that a user sees: one line on stderr, and an exit status. Imports no PyTorch."""
import argparse
import contextlib
import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path


class BadInput(Exception):
    """A fault in what the user gave. Its text is what the user sees: one line a fault, naming what to do."""


class RunEnded(Exception):
    """A run that had to end before its time: what the user sees, and the exit status."""

    def __init__(self, status: int, line: str):
        super().__init__(line)
        self.status = status


@contextlib.contextmanager
def naming(flag: str) -> Iterator[None]:
    """Inside, the line of a `BadInput` that names a file alone gets the flag in front that named the file."""
    try:
        yield
    except BadInput as error:
        line = str(error)
        raise BadInput(line if line.startswith('-') else f'{flag} {line}') from None


class OneLineParser(argparse.ArgumentParser):
    """An argument parser whose complaint is one line on stderr."""

    def error(self, message: str):
        left = message.partition('unrecognized arguments: ')[2]
        if left and not left.startswith('-') and not os.path.exists(left):   # the rest of "/content/My Drive/data"
            message += '; a path with spaces belongs in quotes'
        self.exit(2, f'{self.prog}: {shown(message)} (see {self.prog} --help)\n')


def shown(name: object, longest: int = 500) -> str:
    """A name as it may stand in a message: on one line, without what a terminal obeys, and not endless."""
    text, half = str(name), longest // 2
    cut = text if len(text) <= longest else text[:half] + text[-half:]
    clean = ''.join(c if c.isprintable() else c.encode('unicode_escape').decode() for c in cut)
    return clean if len(cut) == len(text) and len(clean) <= longest else f'{clean[:half]}…{clean[-half:]}'


def why_no_file(path: str | Path) -> str:
    """Why `path` cannot be opened as a file, '' if it can. Pipes and devices are none: reading them may never end."""
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        return error.strerror or str(error)
    except ValueError:   # a NUL, or half a character
        return 'No such file or directory'
    if stat.S_ISDIR(mode):
        return 'Is a directory'
    return '' if stat.S_ISREG(mode) else 'not a file but a pipe, a socket or a device'


_SAID: set[str] = set()


def say_once(line: str, about: str = '') -> None:
    """A line on stderr, unless it (or another `about` the same) was said before: by this process, by the one that it
    was forked from, or by the first of several that train together.
    """
    if (about or line) not in _SAID and (os.environ.get('RANK') or '0') == '0':
        _SAID.add(about or line)
        print(line, file=sys.stderr, flush=True)
