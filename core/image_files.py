"""Which files are images, and how they are found: one rule for every command. Imports no PyTorch."""
import functools
import importlib.util
import os
import sys
from collections import Counter
from pathlib import Path

from PIL import features

from core.errors import BadInput, say_once, shown, why_no_file

MAX_LIST_BYTES = 64 * 2 ** 20
MAX_LIST_ENTRIES = 1_000_000
ENDINGS = ('.jpg', '.jpeg', '.jpe', '.jfif', '.mpo', '.png', '.ppm', '.pgm', '.bmp', '.webp', '.tif', '.tiff', '.gif')
NEEDS = {'.avif': 'pip install --upgrade pillow reads them', '.jp2': 'save them as PNG',
         '.heic': 'pip install pillow-heif reads them', '.heif': 'pip install pillow-heif reads them',
         **dict.fromkeys(('.cr2', '.cr3', '.nef', '.arw', '.dng', '.raf', '.rw2', '.orf', '.psd', '.exr', '.svg',
                          '.pdf', '.tga'), 'save them as PNG or JPEG')}
ARRAY = '.npy'   # images only in folders that hold no others: elsewhere they are somebody's masks or features
SYSTEM_FOLDERS = ('__macosx', '@eadir', '#recycle', '#snapshot', '$recycle.bin', 'system volume information',
                  'lost+found', '.ipynb_checkpoints')
SYSTEM_FILES = ('thumbs.db', 'desktop.ini')
ENDINGS_NAMED = 6


def can_read_heif() -> bool:
    """Whether the package is there that reads the pictures of iPhones."""
    return 'pillow_heif' in sys.modules or _heif_is_installed()


@functools.cache   # it is asked for each image, and looks through the disk
def _heif_is_installed() -> bool:
    return importlib.util.find_spec('pillow_heif') is not None


@functools.cache
def _optional_endings() -> tuple[str, ...]:
    return tuple(ending for ending, name in (('.avif', 'avif'), ('.jp2', 'jpg_2000')) if features.check(name))


def image_endings() -> tuple[str, ...]:
    """The endings of file names, in lower case, that this machine's libraries can read."""
    return ENDINGS + _optional_endings() + (('.heic', '.heif') if can_read_heif() else ())


def is_junk(name: str) -> bool:
    """Whether a file or folder of this name is a system's or an editor's: hidden, or known as such."""
    return name.startswith('.') or name.lower() in SYSTEM_FOLDERS


def subfolders(folder: str | Path) -> list[Path]:
    """The folders in a folder by name, links to folders as well, without those of a system or an editor."""
    return sorted(path for path in Path(folder).iterdir() if path.is_dir() and not is_junk(path.name))


def list_folder(folder: str | Path, follow_links: bool | None = None, recursive: bool = True) -> list[Path]:
    """All image files under `folder`, searched recursively, sorted by the text of their paths as in the original, so
    `a-b/x` comes before `a/x`. Arrays (.npy) count as images where there are no others. A line
    on stderr says once what was passed over, and why.

    Args:
        follow_links: enter linked folders as well, each folder once; None: no, and there is no key that says so.
        recursive: enter folders at all.

    Raises:
        BadInput: there is no such folder, it cannot be read, or there is no image in it.
    """
    folder = Path(folder)
    if not os.path.isdir(folder):
        raise BadInput(f'{shown(folder)}: no such folder')
    search = _Search(folder, bool(follow_links), recursive)
    passed_over = search.describe(follow_links is False)
    if not search.paths:
        also = f'; passed over: {passed_over}' if passed_over else ''
        raise BadInput(f'{shown(folder)}: holds no images ({", ".join(image_endings())}, in either case){also}')
    if passed_over:
        say_once(f'{shown(folder)}: passed over: {passed_over}')
    return sorted(search.paths, key=str)


class _Search:
    """The contents of a folder: `paths` of the images, and counts of the skipped entries by kind."""

    def __init__(self, folder: Path, follow_links: bool, recursive: bool):
        self.paths: list[Path] = []
        self.arrays: list[Path] = []
        self.by_ending: Counter[str] = Counter()
        self.others: Counter[str] = Counter()
        self.endings, self.recursive = image_endings(), recursive
        self.folders, self.links = [str(folder)], list[str]()
        entered: set[tuple[int, int]] = set()
        while self.folders or (follow_links and self.links):
            # Links last: what they lead to has its own name, if it is here as well.
            place = self.folders.pop() if self.folders else self.links.pop(self.links.index(min(self.links)))
            try:
                found = os.stat(place)
                if (found.st_dev, found.st_ino) in entered:
                    self.others['linked folder~ that led to what was searched already'] += 1
                    continue
                entered.add((found.st_dev, found.st_ino))
                with os.scandir(place) as entries:
                    for entry in entries:
                        self._sort_in(entry)
            except OSError as error:
                if place == str(folder):
                    raise BadInput(f'{shown(folder)}: cannot be read ({error.strerror or error})') from None
                self.others[f'folder~ that could not be opened ({error.strerror})'] += 1
        if not self.paths and self.arrays:
            self.paths = self.arrays
            del self.by_ending[ARRAY]

    def _sort_in(self, entry: os.DirEntry) -> None:
        ending = os.path.splitext(entry.name)[1].lower()
        if entry.is_dir(follow_symlinks=False):
            if is_junk(entry.name):
                self.others['hidden or system folder~'] += 1
            elif self.recursive:
                self.folders.append(entry.path)
            else:
                self.others['folder~'] += 1
        elif entry.is_symlink() and os.path.isdir(entry.path):
            if not is_junk(entry.name):
                self.links.append(entry.path)
        elif is_junk(entry.name):
            self.others['hidden file~'] += ending in self.endings or entry.name.startswith('._')
        elif ending not in self.endings:
            if entry.name.lower() not in SYSTEM_FILES:
                self.by_ending[ending or 'no ending'] += 1
            if ending == ARRAY and os.path.isfile(entry.path):
                self.arrays.append(Path(entry.path))
        elif os.path.isfile(entry.path):
            self.paths.append(Path(entry.path))
        else:
            self.others['broken link~' if entry.is_symlink() else 'pipe~ or device~'] += 1

    def describe(self, links_have_a_key: bool) -> str:
        """What was passed over, in words; '' if it is nothing."""
        common = self.by_ending.most_common()
        common.sort(key=lambda item: item[0] not in NEEDS)   # what may well be images comes first
        parts = [f'{shown(ending, 40)}: {_counted(count, "file~")}' + (f' ({NEEDS[ending]})' if ending in NEEDS else '')
                 for ending, count in common[:ENDINGS_NAMED]]
        if rest := sum(count for _, count in common[ENDINGS_NAMED:]):
            parts.append(f'other endings: {_counted(rest, "file~")}')
        parts += [_counted(count, kind) for kind, count in sorted(self.others.items()) if count]
        if self.links:
            hint = ' (follow_links: true follows them)' if links_have_a_key else ''
            parts.append(f'{_counted(len(self.links), "linked folder~")}, not followed{hint}')
        return '; '.join(parts)


def _counted(count: int, kind: str) -> str:
    """A count and its kind, in which ~ marks where the plural has its s."""
    return f'{count} {kind.replace("~", "s" if count > 1 else "")}'


def read_list(folder: str | Path, list_file: str | Path) -> list[Path]:
    """The image files named by a text file, one path a line, relative to `folder`. Blank lines are passed over, and so
    are hidden and system files, which a list made by a program may name.

    Raises:
        BadInput: the folder or the list does not exist, is empty or not text or endless, or a file that it names does
            not exist.
    """
    folder, list_file = Path(folder), Path(list_file)
    if not os.path.isdir(folder):
        raise BadInput(f'{shown(folder)}: no such folder')
    if not os.path.isfile(list_file):
        raise BadInput(f'{shown(list_file)}: no such file')
    paths: list[Path] = []
    missing: list[tuple[int, Path]] = []
    hidden = 0
    for number, line in enumerate(_lines_of(list_file), start=1):
        if not line.strip():
            continue
        path = folder / line.strip()
        if is_junk(path.name) or any(part.lower() in SYSTEM_FOLDERS for part in Path(line.strip()).parts):
            hidden += 1
        elif os.path.isfile(path):
            paths.append(path)
        else:
            missing.append((number, path))
    if missing:
        number, path = missing[0]
        others = f' (and {len(missing) - 1} more)' if len(missing) > 1 else ''
        fault = {'Is a directory': 'is a directory, not an image file', 'No such file or directory': 'does not exist'}
        reason = why_no_file(path) or 'No such file or directory'
        raise BadInput(f'{shown(list_file)}: line {number}: {shown(path)} '
                       f'{fault.get(reason, f"does not exist as a file ({reason})")}{others}')
    passed_over = _counted(hidden, 'hidden or system file~')
    if not paths:
        raise BadInput(f'{shown(list_file)}: names no files' + (f' but {passed_over}' if hidden else ''))
    if hidden:
        say_once(f'{shown(list_file)}: passed over: {passed_over}')
    return paths


def _lines_of(list_file: Path) -> list[str]:
    try:
        with open(list_file, 'rb') as file:
            content = file.read(MAX_LIST_BYTES + 1)
        lines = content.decode('utf-8-sig').replace('\r\n', '\n').replace('\r', '\n').split('\n')
    except OSError as error:
        raise BadInput(f'{shown(list_file)}: {error.strerror}') from None
    except UnicodeDecodeError:
        raise BadInput(f'{shown(list_file)}: not a text file in UTF-8') from None
    if len(content) > MAX_LIST_BYTES or sum(map(bool, lines)) > MAX_LIST_ENTRIES:
        raise BadInput(f'{shown(list_file)}: longer than {MAX_LIST_ENTRIES} lines or {MAX_LIST_BYTES >> 20} MiB; '
                       f'not a list of images')
    return lines
