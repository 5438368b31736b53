"""What a checkpoint file declares, looked at before PyTorch reads it: a small file must not ask for much.

`torch.load(weights_only=True)` executes nothing, but it believes what a file says of sizes. Here the pickle is walked
with stand-ins in the place of tensors; nothing is made that the file itself is not large enough for.
"""
import io
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

LARGEST_FILE = 16 * 2 ** 30
LARGEST_STRUCTURE = 4 * 2 ** 20   # of names, shapes and numbers beside the weights; our optimizer files have 0.1 MiB
LEGACY_MAGIC = 0x1950a86a20f9469cfc6c
BYTES_EACH = {'Float': 4, 'Double': 8, 'Half': 2, 'BFloat16': 2, 'Long': 8, 'Int': 4, 'Short': 2, 'Char': 1, 'Byte': 1,
              'Bool': 1, 'ComplexFloat': 8, 'ComplexDouble': 16}
ALLOWED = {'PROTO', 'STOP', 'MARK', 'NONE', 'NEWFALSE', 'NEWTRUE', 'EMPTY_TUPLE', 'EMPTY_LIST', 'EMPTY_DICT', 'BININT',
           'BININT1', 'BININT2', 'BINFLOAT', 'BINUNICODE', 'SHORT_BINSTRING', 'LONG1', 'APPEND', 'APPENDS', 'SETITEM',
           'SETITEMS', 'TUPLE', 'TUPLE1', 'TUPLE2', 'TUPLE3', 'BINGET', 'LONG_BINGET', 'BINPUT', 'LONG_BINPUT',
           'BINPERSID', 'GLOBAL', 'REDUCE', 'BUILD'}


class Refused(Exception):
    """Why a file is not handed on, as the end of a sentence that names it."""


class Foreign(Exception):
    """Something in the file that is neither a tensor nor a plain container."""


class Storage(NamedTuple):
    """The numbers that tensors are views of."""
    dtype: str
    numel: int


class Shape(NamedTuple):
    """A tensor."""
    sizes: tuple[int, ...]


class Dictionary(dict):
    """Stands for an OrderedDict."""


def scan(path: str | Path) -> None:
    """Raise unless the file is a checkpoint of PyTorch's whose declared contents are all within it.

    Raises:
        Refused: a file larger than any checkpoint here, with compressed parts, or that declares more than it has.
        Foreign: the file holds more than tensors and plain containers.
        Exception: of any other kind, where the file is broken.
    """
    with SparingFile(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > LARGEST_FILE:
            raise Refused(f'{size / 2 ** 30:.0f} GiB are more than any checkpoint has')
        if file.read(4) == b'PK\x03\x04':
            _scan_zip(file, size)
        else:
            _scan_legacy(file, size)


class SparingFile(io.FileIO):
    """A file of which no one reads more than a structure's worth at once."""

    def read(self, size: int | None = -1) -> bytes:
        if size is not None and size > LARGEST_STRUCTURE:
            raise Refused(f'its table of contents has {size} bytes')
        return super().read(LARGEST_STRUCTURE if size is None or size < 0 else size)


def _scan_zip(file: SparingFile, size: int) -> None:
    """The container since PyTorch 1.6: a zip archive whose parts are stored as they are."""
    with zipfile.ZipFile(file) as archive:
        parts = archive.infolist()
        root = parts[0].filename.split('/')[0]
        sizes = {part.filename: part.file_size for part in parts}
        if f'{root}/data.pkl' not in sizes:
            raise ValueError('an archive of something else')
        if any(part.compress_type != zipfile.ZIP_STORED for part in parts):
            raise Refused('its parts are compressed, which PyTorch does not write')
        if sum(part.file_size for part in parts) > size or len({part.filename for part in parts}) < len(parts):
            raise Refused('its parts are larger together than the file')
        if sizes[f'{root}/data.pkl'] > LARGEST_STRUCTURE:
            raise Refused(f'its names, shapes and numbers take {sizes[f"{root}/data.pkl"]} bytes')
        pickled = archive.read(f'{root}/data.pkl')

    def check(key: str, storage: Storage) -> None:
        if _bytes_of(storage) > sizes[f'{root}/data/{key}']:
            raise Refused(f'it declares {storage.numel} numbers where it has {sizes[f"{root}/data/{key}"]} bytes')

    ScanUnpickler(io.BytesIO(pickled), check).load()
    with zipfile.ZipFile(file) as archive:
        if damaged := archive.testzip():   # PyTorch's own reader does not compare the checksums
            raise Refused(f'its part {damaged} is damaged: its checksum does not match')


def _scan_legacy(file: SparingFile, size: int) -> None:
    """The container before PyTorch 1.6: five pickles, then the numbers, each storage after its count of 8 bytes. It has
    no checksums; only its counts can be compared with what it declares.
    """
    file.seek(0)
    head = io.BytesIO(file.read(LARGEST_STRUCTURE))
    if head.getvalue()[:1] != pickle.PROTO:
        raise ValueError('no pickle')
    declared = 0

    def check(key: str, storage: Storage) -> None:
        nonlocal declared
        declared += 8 + _bytes_of(storage)

    if ScanUnpickler(head, check).load() != LEGACY_MAGIC:
        raise Foreign('a pickle of another kind')
    storages: dict[Any, Storage] = {}
    for _ in range(4):   # version, system, content, keys of the storages in their order
        unpickler = ScanUnpickler(head, check)
        content = unpickler.load()
        storages |= unpickler.storages
    if type(content) is not list or any(type(key) not in (str, bytes, int) for key in content):
        raise Foreign('odd names of numbers')
    if declared > size - head.tell():
        raise Refused(f'it declares {declared} bytes of numbers and has {size - head.tell()}, or is cut short')
    place = head.tell()
    for key in content:
        storage = storages[key.decode() if type(key) is bytes else key]
        file.seek(place)
        if int.from_bytes(file.read(8), 'little') != storage.numel:
            raise Refused(f'its part {key!r} is damaged: its length is not the declared one')
        place += 8 + _bytes_of(storage)


def _bytes_of(storage: Storage) -> int:
    return storage.numel * BYTES_EACH[storage.dtype]


class ScanUnpickler(pickle._Unpickler):
    """Walks a pickle of tensors and plain containers without making a tensor or calling anything of the file's.

    Its memo is a dict, so that a memo index costs nothing; the one in C grows a table to the largest index. Keys are
    text, bytes or whole numbers: a tuple of tuples that are all one object takes forever to hash.
    """

    dispatch: ClassVar[dict[int, Callable]] = {}
    # Of the base class; the type stubs leave them out.
    stack: list[Any]
    append: Callable[[Any], None]
    readline: Callable[[], bytes]
    pop_mark: Callable[[], list[Any]]

    def __init__(self, file: io.BytesIO, check: Callable[[str, Storage], None]):
        super().__init__(file, encoding='bytes')
        self.check = check
        self.storages: dict[Any, Storage] = {}

    def find_class(self, module: str, name: str) -> Any:
        if module == 'torch' and name.endswith('Storage') and name[:-7] in BYTES_EACH:
            return Storage(name[:-7], 0)
        if module == 'torch' and name.rstrip('0123456789') in ('float', 'bfloat', 'int', 'uint', 'bool'):
            return None
        makers = {'collections.OrderedDict': _dictionary, 'torch._utils._rebuild_tensor': _tensor,
                  'torch._utils._rebuild_tensor_v2': _tensor, 'torch._utils._rebuild_parameter': _parameter,
                  'torch.Size': _plain, 'torch.device': _plain, '_codecs.encode': _bytes}
        if f'{module}.{name}' not in makers:
            raise Foreign(f'{module}.{name}')
        return makers[f'{module}.{name}']

    def persistent_load(self, pid: Any) -> Storage:
        kind, storage, key, location, numel, *view = pid if type(pid) is tuple else ('',) * 5
        if kind not in ('storage', b'storage') or type(storage) is not Storage or type(numel) is not int or numel < 0:
            raise Foreign('a reference to something else than numbers')
        key = key.decode() if type(key) is bytes else key
        if type(key) not in (str, int) or type(location) not in (str, bytes):
            raise Foreign('odd names of numbers')
        if key not in self.storages:
            self.storages[key] = storage._replace(numel=numel)
            self.check(key, self.storages[key])
        storage = self.storages[key]
        if view and view[0] is not None:   # PyTorch 0.3 knew storages that are a part of another
            view_key, offset, view_size = view[0]
            if type(view_key) not in (str, bytes, int) or not (_natural(offset, view_size)
                                                               and offset + view_size <= storage.numel):
                raise Refused('a part of its numbers lies outside them')
            storage = self.storages.setdefault(('view', view_key), storage._replace(numel=view_size))
        return storage

    def load_global(self) -> None:
        module, name = (self.readline()[:-1].decode() for _ in range(2))
        self.append(self.find_class(module, name))

    def load_reduce(self) -> None:
        arguments, maker = self.stack.pop(), self.stack[-1]
        if type(arguments) is not tuple or maker not in (_dictionary, _tensor, _parameter, _plain, _bytes):
            raise Foreign(f'a call of {type(maker).__name__}')
        self.stack[-1] = maker(*arguments)

    def load_build(self) -> None:
        state = self.stack.pop()
        # It becomes attributes: one called "items" would stand in the method's place.
        if type(self.stack[-1]) is not Dictionary or type(state) not in (dict, Dictionary) or any(
                key not in ('_metadata', b'_metadata') for key in state):
            raise Foreign(f'attributes of a {type(self.stack[-1]).__name__}')

    def load_setitem(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        _fill(self.stack[-1], [(key, value)])

    def load_setitems(self) -> None:
        items = self.pop_mark()
        _fill(self.stack[-1], zip(items[::2], items[1::2], strict=True))

    def load_append(self) -> None:
        item = self.stack.pop()
        self._extend([item])

    def load_appends(self) -> None:
        self._extend(self.pop_mark())

    def _extend(self, items: list) -> None:
        if type(self.stack[-1]) is not list:
            raise Foreign(f'entries of a {type(self.stack[-1]).__name__}')
        self.stack[-1].extend(items)

    def load_another(self) -> None:
        raise Foreign('an operation that PyTorch does not write')


def _own(name: str) -> Callable:
    return getattr(ScanUnpickler, f'load_{name.lower()}', None) or pickle._Unpickler.dispatch[getattr(pickle, name)[0]]


ScanUnpickler.dispatch = {code: ScanUnpickler.load_another for code in range(256)}
ScanUnpickler.dispatch.update({getattr(pickle, name)[0]: _own(name) for name in ALLOWED})


def _fill(target: Any, items: Any) -> None:
    if type(target) not in (dict, Dictionary):
        raise Foreign(f'entries of a {type(target).__name__}')
    for key, value in items:
        if type(key) not in (str, bytes, int):
            raise Foreign(f'a key that is a {type(key).__name__}')
        target[key] = value


def _natural(*numbers: Any) -> bool:
    return all(type(number) is int and 0 <= number < 2 ** 62 for number in numbers)


def _dictionary(items: Any = ()) -> Dictionary:
    if type(items) not in (list, tuple):
        raise Foreign('a dictionary of something else than entries')
    made = Dictionary()
    _fill(made, items)
    return made


def _tensor(storage: Any, offset: Any, sizes: Any, strides: Any, *_: Any) -> Shape:
    if type(storage) is not Storage or type(sizes) is not tuple or type(strides) is not tuple:
        raise Foreign('a tensor of something else than numbers')
    if not _natural(offset, *sizes, *strides) or len(sizes) != len(strides) or len(sizes) > 64:
        raise Refused('it holds a tensor of no possible shape')
    numel = 1
    for size in sizes:
        numel *= size
    last = offset + sum((size - 1) * stride for size, stride in zip(sizes, strides, strict=True))
    if numel and (last >= storage.numel or numel > storage.numel):
        raise Refused(f'it holds a tensor of {numel} numbers over {storage.numel}')
    return Shape(sizes)


def _parameter(data: Any, *_: Any) -> Shape:
    if type(data) is not Shape:
        raise Foreign('a parameter of something else than a tensor')
    return data


def _plain(*_: Any) -> tuple:
    return ()


def _bytes(text: Any, encoding: Any = 'latin1') -> bytes:
    if type(text) is not str or encoding not in ('latin1', b'latin1'):
        raise Foreign('bytes in another encoding')
    return text.encode('latin1')
