"""Explain why a file is not a checkpoint, what to do about it, and which checkpoints exist nearby."""
import json
import os
import re
import struct
import zipfile
from pathlib import Path

from core.checkpoint_scan import LARGEST_STRUCTURE, Refused, SparingFile
from core.errors import shown, why_no_file

ENDINGS = ('.pt', '.pth', '.pth.tar', '.ckpt', '.safetensors')
SHIPPED = Path(__file__).resolve().parents[1] / 'models'
MOST_NAMED = 5
HEAD = 4096   # bytes of a file that are looked at
AGAIN = 'the download or the copy did not come to its end; get the file again'
LEGACY = b'\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.'   # with which PyTorch before 1.6 began its files
BEGINNINGS = ((b'\x1f\x8b', 'a gzip archive; unpack it'), (b'7z\xbc\xaf\x27\x1c', 'a 7z archive; unpack it'),
              (b'Rar!', 'a rar archive; unpack it'), (b'\xfd7zXZ', 'an xz archive; unpack it'),
              (b'\x89HDF', 'an HDF5 file, which Keras writes'), (b'GGUF', 'a GGUF file, of a language model'),
              (b'\x89PNG', 'a PNG image'), (b'\xff\xd8\xff', 'a JPEG image'), (b'%PDF', 'a PDF document'))


def why_no_checkpoint(path: str | Path) -> str:
    """What the file is instead of a checkpoint, and what to do, as the end of a sentence that names it; '' where that
    cannot be told.
    """
    try:
        with open(path, 'rb') as file:
            head = file.read(HEAD)
            size = os.fstat(file.fileno()).st_size
    except OSError:
        return ''
    if not size:
        return f'an empty file: {AGAIN}'
    if not head.strip(b'\0'):
        return f'begins with {len(head)} zero bytes: {AGAIN}'
    if head.startswith(LEGACY):
        return f'cut short, or damaged: it has {size} bytes; {AGAIN}'
    if head.startswith(b'PK\x03\x04'):
        return _why_no_zip(path, size)
    for beginning, what in BEGINNINGS:
        if head.startswith(beginning):
            return f'not a checkpoint but {what}'
    return _about_safetensors(path, head, size) or _about_text(head, size)


def _why_no_zip(path: str | Path, size: int) -> str:
    try:
        with SparingFile(path) as file, zipfile.ZipFile(file) as archive:
            names = [part.filename for part in archive.infolist()]
    except (OSError, ValueError, EOFError, struct.error, zipfile.BadZipFile, NotImplementedError, Refused):
        return f'cut short, or damaged: it has {size} bytes and its end is missing; {AGAIN}'
    within = next((name for name in names if name.lower().endswith(ENDINGS)), '')
    if within:
        return f'not a checkpoint but a zip archive with {shown(within, 80)!r} in it; unpack it'
    return '' if any(name.endswith('data.pkl') for name in names) else (
        'not a checkpoint but a zip archive of something else')


def _about_safetensors(path: str | Path, head: bytes, size: int) -> str:
    """Of a file of tensors as safetensors writes it: eight bytes with the length of a table, the table, the numbers."""
    length = int.from_bytes(head[:8], 'little')
    if head[8:9] != b'{' or length > LARGEST_STRUCTURE:
        return ''
    named = '' if str(path).endswith('.safetensors') else 'a safetensors file; give it a name that ends in .safetensors'
    if size < 8 + length:
        return f'cut short: it has {size} bytes; {AGAIN}'
    try:
        with open(path, 'rb') as file:
            table = json.loads(file.read(8 + length)[8:])
        wanted = 8 + length + max((entry['data_offsets'][1] for name, entry in table.items() if name != '__metadata__'),
                                  default=0)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return named
    return f'cut short: it declares {wanted} bytes and has {size}; {AGAIN}' if size < wanted else named


def _about_text(head: bytes, size: int) -> str:
    code = 'utf-16' if head[:2] in (b'\xff\xfe', b'\xfe\xff') else 'utf-8-sig'
    text = head.decode(code, 'ignore').strip()
    if text.startswith('version https://git-lfs'):
        stands_for = re.search(r'^size (\d{1,15})$', text, re.MULTILINE)
        of = f' of {int(stands_for[1]) / 2 ** 20:.1f} MiB' if stands_for else ''
        return f'a Git LFS pointer, not the file{of} that it stands for; run "git lfs pull" in its repository'
    start = text[:500].lower()
    if re.match(r'<[!?a-z]', start):
        title = re.search(r'<title[^>]*>(.*?)</title|<message>(.*?)</message', text, re.IGNORECASE | re.DOTALL)
        words = next((group for group in title.groups() if group), '') if title else ''
        said = f' ({shown(" ".join(words.split()), 80)!r})' if words.strip() else ''
        what = 'an HTML page' if '<html' in start or '<!doctype html' in start or '<head' in start else 'an XML text'
        return (f'{what}{said}, not a checkpoint: download the file itself, by its direct link, and log in where that '
                f'is asked for')
    readable = sum(c.isprintable() or c.isspace() for c in text)
    if not text or readable < len(text) or len(text.encode(code)) < 0.9 * len(head.strip()):
        return ''
    what = 'a JSON text' if text[0] in '{[' else 'a text'
    return (f'{what} of {size} bytes, not a checkpoint; it begins with {shown(" ".join(text[:200].split()), 120)!r}: '
            f'if that is the answer of a server, download the file again by its direct link')


def why_not_there(path: str | Path) -> str:
    """As `why_no_file`, with the checkpoints that lie in the folder that the path names, and those that ship."""
    fault = why_no_file(path)
    folder = Path(path) if fault == 'Is a directory' else Path(path).parent
    if fault not in ('Is a directory', 'No such file or directory', 'Not a directory'):
        return fault
    while not os.path.isdir(folder) and folder != folder.parent:
        folder = folder.parent
    if fault == 'Is a directory':
        said = f'{fault}; give a file; it has '
    elif folder == Path(path).parent:
        said = f'{fault}; {shown(folder)} has '
    else:
        said = f'{fault}; there is no folder {shown(Path(path).parent)}, and {shown(folder)} has '
    said += _named(checkpoints_in(folder))
    shipped = [] if os.path.realpath(folder) == str(SHIPPED) else checkpoints_in(SHIPPED)
    return said + (f'; models/ has {_named(shipped)}' if shipped else '')


def checkpoints_in(folder: Path) -> list[str]:
    """The names of the files of a folder that look like checkpoints, the newest first, generators before others."""
    try:
        found = [entry for entry in os.scandir(folder)
                 if entry.name.endswith(ENDINGS) and not entry.name.startswith('.') and entry.is_file()]
    except (OSError, ValueError):
        return []
    first = [entry.name for entry in found if entry.name.startswith(('gen', 'ema'))]
    rest = [entry.name for entry in found if entry.name not in first]
    return sorted(first, reverse=True) + sorted(rest)


def _named(names: list[str]) -> str:
    more = f' and {len(names) - MOST_NAMED} more' if len(names) > MOST_NAMED else ''
    return ', '.join(shown(name, 80) for name in names[:MOST_NAMED]) + more if names else 'no checkpoints'
