"""Images in: finding, reading, transforming and streaming the pictures of the two domains A and B.

Nothing pairs the domains: file names are free, the counts may differ, and each domain is an endless shuffled stream
of its own.
"""
import contextlib
import hashlib
import io
import itertools
import logging
import mmap
import os
import re
import signal
import sys
import threading
import warnings
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageFile, ImageOps
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from core.errors import BadInput, shown, why_no_file
from core.threads import prefetch

MAX_IMAGE_PIXELS = 89_478_485   # where Pillow begins to warn: 256 MiB of RGB
FORMATS = ('JPEG', 'PNG', 'PPM', 'BMP', 'WEBP', 'TIFF', 'GIF')   # of Pillow's forty: one of them calls a program
MAX_LIST_BYTES = 64 * 2 ** 20
MAX_LIST_ENTRIES = 1_000_000
MAX_SCANS = 200   # of a JPEG file; programs write ten, and each costs as much time as the whole picture
JPEG_MARKER, JPEG_SCAN, JPEG_END = re.compile(rb'\xff[^\x00\x01\xd0-\xd8\xff]'), b'\xff\xda', b'\xff\xd9'
EXTENSIONS = ('.jpg', '.jpeg', '.png', '.ppm', '.bmp', '.webp', '.tif', '.tiff')
DITHER = 1e-4
HEADERS_READ_AT_START = 500
SECONDS_AFTER_SIGTERM = 60
BATCHES_AHEAD = 4   # for each worker

STDERR = threading.Lock()   # for the thread that turns it off and on again

Image.MAX_IMAGE_PIXELS = None   # the bound is `read_image`'s, which can be raised and says how
logging.getLogger('PIL').addHandler(logging.NullHandler())   # its remarks on odd files are not for the user


# ---------------------------------------------------------------------------------------------------------------------
# Finding
# ---------------------------------------------------------------------------------------------------------------------

def list_folder(folder: str | Path) -> list[Path]:
    """All image files under `folder`, searched recursively, sorted by the text of their paths as in the original, so
    `a-b/x` comes before `a/x`.

    Raises:
        BadInput: there is no such folder, it cannot be read, or there is no image in it.
    """
    folder = Path(folder)
    if not os.path.isdir(folder):
        raise BadInput(f'{shown(folder)}: no such folder')
    paths, folders = [], [folder]
    while folders:
        inside = folders.pop()
        try:
            with os.scandir(inside) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):   # links to folders may go round in a circle
                        folders.append(Path(entry.path))
                    elif Path(entry.name).suffix.lower() in EXTENSIONS and os.path.isfile(entry.path):
                        paths.append(Path(entry.path))
        except OSError as error:   # a subfolder that may not be looked into holds no images for us
            if inside is folder:
                raise BadInput(f'{shown(folder)}: cannot be read ({error.strerror or error})') from None
    if not paths:
        raise BadInput(f'{shown(folder)}: holds no images ({", ".join(EXTENSIONS)}, in either case)')
    return sorted(paths, key=str)


def read_list(folder: str | Path, list_file: str | Path) -> list[Path]:
    """The image files named by a text file, one path a line, relative to `folder`. Blank lines are passed over.

    Raises:
        BadInput: the folder or the list does not exist, is empty or not text or endless, or a file that it names does
            not exist.
    """
    folder, list_file = Path(folder), Path(list_file)
    if not os.path.isdir(folder):
        raise BadInput(f'{shown(folder)}: no such folder')
    if not os.path.isfile(list_file):
        raise BadInput(f'{shown(list_file)}: no such file')
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
    paths: list[tuple[int, Path]] = []
    missing: list[tuple[int, Path]] = []
    for number, line in enumerate(lines, start=1):
        if line.strip():
            path = folder / line.strip()
            (paths if os.path.isfile(path) else missing).append((number, path))
    if missing:
        number, path = missing[0]
        others = f' (and {len(missing) - 1} more)' if len(missing) > 1 else ''
        fault = {'Is a directory': 'is a directory, not an image file', 'No such file or directory': 'does not exist'}
        reason = why_no_file(path) or 'No such file or directory'
        raise BadInput(f'{shown(list_file)}: line {number}: {shown(path)} '
                       f'{fault.get(reason, f"does not exist as a file ({reason})")}{others}')
    if not paths:
        raise BadInput(f'{shown(list_file)}: names no files')
    return [path for _, path in paths]


def find_images(config: dict, split: str, domain: str) -> list[Path]:
    """The files of `split` ('train' or 'test') and `domain` ('a' or 'b'), in folder mode or in list mode.

    Raises:
        BadInput: as `list_folder` and `read_list`.
    """
    if 'data_root' in config:
        return list_folder(Path(config['data_root']) / f'{split}{domain.upper()}')
    if f'data_list_{split}_{domain}' not in config:   # of a config that a checkpoint brought along
        raise BadInput('no images are named; give --config, or a data_root')
    return read_list(config[f'data_folder_{split}_{domain}'], config[f'data_list_{split}_{domain}'])


# ---------------------------------------------------------------------------------------------------------------------
# Reading
# ---------------------------------------------------------------------------------------------------------------------

def read_image(path: str | Path, channels: int, max_pixels: int = MAX_IMAGE_PIXELS, new_size: int = 0) -> Image.Image:
    """Read an image of any common kind as `channels` channels, turned as its EXIF orientation says.

    Palettes, CMYK and 1-bit files are converted, transparency is laid over white. 16-bit files keep their depth where
    one channel is wanted. Of an animation, the first picture is taken.

    Args:
        path: the file. Its content tells the format, not its ending.
        channels: 1 or 3.
        max_pixels: more are refused, before anything of the picture is read.
        new_size: what the shorter side will be resized to, so that the resized picture is bounded as well; 0: nothing.

    Returns:
        An image of mode RGB (channels 3), L (channels 1), or F with values in [0, 1] (channels 1, 16-bit file).

    Raises:
        BadInput: the file is missing, broken, too large, or of a kind whose range of values is not known.
    """
    fault = why_no_file(path)
    if fault:
        raise BadInput(f'{shown(path)}: {"no such file" if fault.startswith("No such file") else fault}')
    return _read(path, shown(path), channels, max_pixels, new_size)


def read_image_bytes(content: bytes, name: str, channels: int, max_pixels: int = MAX_IMAGE_PIXELS,
                     new_size: int = 0) -> Image.Image:
    """As `read_image`, of a file's content that is in memory and stays there; `name` is what messages call it."""
    return _read(io.BytesIO(content), shown(name), channels, max_pixels, new_size)


def _read(file: str | Path | io.BytesIO, named: str, channels: int, max_pixels: int, new_size: int) -> Image.Image:
    try:
        with _opened(file) as image:
            fault = fault_of_size(*image.size, max_pixels, new_size) or _fault_of_scans(image)
            if not fault:
                with _without_words_of_libtiff(image):
                    return _convert(ImageOps.exif_transpose(image), channels)
    except Exception as error:  # decoders raise almost anything when a file is broken
        reason = 'not an image' if type(error).__name__ == 'UnidentifiedImageError' else str(error) or repr(error)
        raise BadInput(f'{named}: cannot be read as an image ({shown(reason.splitlines()[0], 200)})') from None
    raise BadInput(f'{named}: {fault}')


@contextlib.contextmanager
def _opened(file: str | Path | io.BytesIO) -> Iterator[ImageFile.ImageFile]:
    """The image of a file, its header read, without warnings of odd EXIF blocks and the like, which do no harm."""
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        with Image.open(file, formats=FORMATS) as image:
            yield image


@contextlib.contextmanager
def _without_words_of_libtiff(image: ImageFile.ImageFile) -> Iterator[None]:
    """Keep libtiff, which writes a line for each odd line of a picture, off stderr while `image` is decoded."""
    if not any(tile[0] == 'libtiff' for tile in image.tile):
        yield
        return
    with STDERR, open(os.devnull, 'wb') as nowhere:
        before = os.dup(2)
        os.dup2(nowhere.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(before, 2)
            os.close(before)


def fault_of_size(width: int, height: int, max_pixels: int, new_size: int = 0) -> str:
    """Why an image of this size is not read, '' if it is."""
    if min(width, height) < 1:
        return f'{width}×{height} pixels are no image'
    if width * height > max_pixels:
        return f'{width}×{height} pixels are more than --max_image_pixels {max_pixels}'
    longer = max(width, height) * new_size // min(width, height)
    if longer * new_size > max_pixels:
        return (f'{width}×{height} pixels, the shorter side resized to {new_size}, are {new_size}×{longer}: more than '
                f'--max_image_pixels {max_pixels}')
    return ''


def _fault_of_scans(image: ImageFile.ImageFile) -> str:
    """A JPEG file may go over its picture thousands of times, which takes a decoder hours for a small file."""
    if image.format not in ('JPEG', 'MPO'):
        return ''
    assert image.fp is not None   # the image is open
    with (image.fp.getbuffer() if isinstance(image.fp, io.BytesIO) else
          mmap.mmap(image.fp.fileno(), 0, access=mmap.ACCESS_READ)) as data:
        scans, place = 0, 2
        while (found := JPEG_MARKER.search(data, place)) and found[0] != JPEG_END and scans <= MAX_SCANS:
            scans += found[0] == JPEG_SCAN
            place = found.end() + int.from_bytes(data[found.end():found.end() + 2], 'big')
    return f'more than {MAX_SCANS} scans, which no JPEG file needs' if scans > MAX_SCANS else ''


def _convert(image: Image.Image, channels: int) -> Image.Image:
    if image.mode.startswith('I') or image.mode == 'F':
        top = 1 if image.mode == 'F' else 65535
        values = np.asarray(image).astype(np.float32) / top
        if not (values.min() >= 0 and values.max() <= 1):
            raise ValueError(f'values of mode {image.mode} outside 0…{top}')
        if channels == 1:
            return Image.fromarray(values)
        return Image.fromarray((values * 255 + 0.5).astype(np.uint8)).convert('RGB')
    if image.has_transparency_data:
        image = image.convert('RGBA')
        image = Image.alpha_composite(Image.new('RGBA', image.size, 'white'), image)
    return image.convert('RGB' if channels == 3 else 'L')


class Transform:
    """The one recipe from an image of `read_image` to a tensor (C, H, W) in [-1, 1], for training and testing alike.

    As torchvision does it, to the last digit, but without importing it: that would double the start of every command.

    Args:
        new_size: resize the shorter side to this (bilinear), 0 to keep the size.
        crop: height and width of the crop, None for the whole image; at random when `augment`, else from the centre.
        augment: flip at random as well, before all else.
    """

    def __init__(self, new_size: int = 0, crop: tuple[int, int] | None = None, augment: bool = False):
        self.new_size, self.crop, self.augment = new_size, crop, augment

    def __call__(self, image: Image.Image, generator: torch.Generator | None = None) -> Tensor:
        return self.finish(self.resize(image), generator)

    def resize(self, image: Image.Image) -> Image.Image:
        """The part of the recipe that is the same each time."""
        if not self.new_size:
            return image
        shorter = min(image.size)
        return image.resize([self.new_size * side // shorter for side in image.size], Image.Resampling.BILINEAR)

    def finish(self, image: Image.Image, generator: torch.Generator | None = None) -> Tensor:
        """The rest: flip and crop, at random when `augment`, by `generator` or PyTorch's own; then to [-1, 1]."""
        # The original flips before it resizes; the outcome is the same to the last digit.
        if self.augment and torch.rand((), generator=generator) < 0.5:
            image = ImageOps.mirror(image)
        if self.crop:
            image = self._cropped(image, *self.crop, generator)
        values = torch.from_numpy(np.array(image, dtype=np.float32)) / (1 if image.mode == 'F' else 255)
        return (values.unsqueeze(2) if values.dim() == 2 else values).permute(2, 0, 1).contiguous() * 2 - 1

    def _cropped(self, image: Image.Image, height: int, width: int, generator: torch.Generator | None) -> Image.Image:
        down, right = image.height - height, image.width - width
        if self.augment:
            top = int(torch.randint(down + 1, (), generator=generator))
            left = int(torch.randint(right + 1, (), generator=generator))
        else:
            top, left = round(down / 2), round(right / 2)
        return image.crop((left, top, left + width, top + height))


def dither_if_constant(image: Tensor) -> Tensor:
    """The image (C, H, W); where every channel is exactly constant, with noise of 1e-4 upon it.

    A constant crop, such as a corner of a white background, has no variance, and each instance norm on its way then
    multiplies gradients by 1/√eps ≈ 316: they overflow, and one such crop ruins the weights for good.
    """
    flat = image.flatten(1)
    if torch.equal(flat.amin(1), flat.amax(1)):
        same_each_time = torch.Generator().manual_seed(0)   # for pictures that are compared over a run
        return image + DITHER * torch.randn(image.shape, generator=same_each_time)
    return image


# ---------------------------------------------------------------------------------------------------------------------
# Datasets and streams
# ---------------------------------------------------------------------------------------------------------------------

class Draw(NamedTuple):
    """Which image to take, and the seed of its flip and crop."""
    index: int   # type: ignore[assignment]   # takes the place of tuple.index
    seed: int


class ImageDataset(Dataset):
    """Images of one domain as tensors (C, H, W) in [-1, 1], by index or by `Draw`.

    A file that cannot be read is named on stderr once, marked in `broken`, and another is drawn in its place.

    Args:
        paths, channels, max_pixels: as `read_image` takes them.
        transform: a `Transform`.
        cache: 'ram' keeps decoded and resized images, as far as half of the free memory goes; 'none' keeps none.
    """

    def __init__(self, paths: Sequence[Path], channels: int, transform: Transform, cache: str = 'none',
                 max_pixels: int = MAX_IMAGE_PIXELS):
        self.paths, self.channels, self.transform = list(paths), channels, transform
        self.max_pixels = max_pixels
        self.broken = torch.zeros(len(self.paths), dtype=torch.bool).share_memory_()  # one for all loader workers
        self.cache: dict[int, Image.Image] | None = {} if cache == 'ram' else None
        self.room = free_memory() // 4 if cache == 'ram' else 0   # two domains: half of what is free

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, draw: int | Draw) -> Tensor:
        if isinstance(draw, Draw):
            index, generator = draw.index, torch.Generator().manual_seed(draw.seed)
        else:
            index, generator = draw, None
        for i in self._candidates(index, generator):
            try:
                image = self._prepared(i)
            except BadInput as error:
                if not self.broken[i]:
                    self.broken[i] = True
                    print(f'skipped {error}', file=sys.stderr, flush=True)
                continue
            return dither_if_constant(self.transform.finish(image, generator))
        raise BadInput(f'{shown(self.paths[0].parent)}: none of its {len(self)} images can be read')

    def _candidates(self, index: int, generator: torch.Generator | None) -> Iterator[int]:
        yield index
        if generator is None:   # pictures to watch: the next ones in order
            yield from [*range(index + 1, len(self)), *range(index)]
        else:
            yield from torch.randperm(len(self), generator=generator).tolist()

    def _prepared(self, index: int) -> Image.Image:
        if self.cache is not None and index in self.cache:
            return self.cache[index]
        image = read_image(self.paths[index], self.channels, self.max_pixels, self.transform.new_size)
        image = self.transform.resize(image)
        if self.cache is not None:
            size = image.width * image.height * (4 if image.mode == 'F' else len(image.getbands()))
            if size <= self.room:
                self.cache[index] = image
                self.room -= size
        return image


def free_memory() -> int:
    """Bytes of memory that are free for this process, as far as the system says."""
    try:
        lines = dict(line.split(':') for line in Path('/proc/meminfo').read_text().splitlines())
        free = int(lines['MemAvailable'].split()[0]) * 1024
    except (OSError, KeyError, ValueError):   # not Linux
        return 8 * 2 ** 30
    return free // int(os.environ.get('LOCAL_WORLD_SIZE', 1))


class EndlessBatches:
    """Batches of draws without end. Each round has every image once, in a new random order, and flows into the next.

    What is drawn depends on the seed and on the place in the stream alone. So a stream can start anywhere, and can be
    dealt out to any number of processes and loader workers: each batch is the same.

    Args:
        size: how many images there are.
        batch_size: of one process.
        seed: of the orders, flips and crops.
        start: how many images of the stream have been taken already.
        rank, world_size: of the processes that share each batch, this one's number and their count.
    """

    def __init__(self, size: int, batch_size: int, seed: int, start: int = 0, rank: int = 0, world_size: int = 1):
        self.size, self.batch_size, self.seed = size, batch_size, seed
        self.first, self.stride = start + rank * batch_size, world_size * batch_size
        self._round = -1
        self._order: list[int] = []

    def __iter__(self) -> Iterator[list[Draw]]:
        for first in itertools.count(self.first, self.stride):
            yield [self.draw(place) for place in range(first, first + self.batch_size)]

    def draw(self, place: int) -> Draw:
        """What stands at a place of the stream, counted from 0."""
        number, place_in_round = divmod(place, self.size)
        if number != self._round:
            generator = torch.Generator().manual_seed(mixed_seed(self.seed, 'round', number))
            self._round, self._order = number, torch.randperm(self.size, generator=generator).tolist()
        return Draw(self._order[place_in_round], mixed_seed(self.seed, 'place', place))


def mixed_seed(*parts: int | str) -> int:
    """A seed that depends on all the parts. Sums of seeds and counts would coincide in other runs and places."""
    return int.from_bytes(hashlib.blake2b(repr(parts).encode(), digest_size=8).digest(), 'big') >> 1


def _leave_signals_to_the_main_process(_: int) -> None:
    # Ctrl-C and a scheduler's SIGTERM reach all processes; the main one decides how a run ends, and needs its workers
    # until its iteration is over. Should it not get to send them home, they go by themselves.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, 'alarm'):   # not on Windows, where nothing sends SIGTERM either
        signal.signal(signal.SIGTERM, lambda *_: signal.alarm(SECONDS_AFTER_SIGTERM))


def training_set(config: dict, domain: str) -> ImageDataset:
    """Randomly flipped and cropped training images of `domain` ('a' or 'b')."""
    crop = (config['crop_image_height'], config['crop_image_width'])
    transform = Transform(new_size_of(config, domain), crop, augment=True)
    return ImageDataset(find_images(config, 'train', domain), config[f'input_dim_{domain}'], transform,
                        config.get('cache', 'none'), config.get('max_image_pixels', MAX_IMAGE_PIXELS))


def display_set(config: dict, split: str, domain: str) -> ImageDataset:
    """The images of a split as they are shown while training: the same each time, cropped from the centre."""
    new_size = new_size_of(config, domain)
    side = new_size - new_size % 2 ** config['gen']['n_downsample']  # other sizes do not come back as they went in
    crop = (config['crop_image_height'], config['crop_image_width']) if split == 'train' else (side, side)
    return ImageDataset(find_images(config, split, domain), config[f'input_dim_{domain}'], Transform(new_size, crop),
                        max_pixels=config.get('max_image_pixels', MAX_IMAGE_PIXELS))


def first_images(dataset: ImageDataset, count: int) -> Tensor:
    """The first `count` images as one tensor (count, C, H, W), from the start again where there are fewer."""
    return torch.stack([dataset[i % len(dataset)] for i in range(count)])


def stream(dataset: ImageDataset, batches: EndlessBatches, num_workers: int,
           pin_memory: bool = False) -> Generator[Tensor, None, None]:
    """An endless iterator over batches (batch_size, C, H, W), read ahead by workers. Its `close` sends them home.

    Raises:
        BadInput: not one of the images can be read.
        RuntimeError: a worker has died, or could not read what no file of images is to blame for.
    """
    if dataset.cache is not None and num_workers:
        yield from _by_threads(dataset, batches, num_workers, pin_memory)
        return
    loader = DataLoader(dataset, batch_sampler=batches, num_workers=num_workers, pin_memory=pin_memory,
                        prefetch_factor=BATCHES_AHEAD if num_workers else None,
                        worker_init_fn=_leave_signals_to_the_main_process)
    try:
        found = iter(loader)
        if num_workers and hasattr(signal, 'SIGCHLD'):
            # PyTorch would raise a worker's death wherever the main process happens to be, in mid-iteration. Without
            # that it is noticed where the next batch is waited for, five seconds later.
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        yield from found
    except (ConnectionError, EOFError) as error:   # it was killed while it handed a batch over
        raise RuntimeError(f'DataLoader worker ended: {error!r}') from error
    except BadInput as error:   # a worker's comes with its traceback
        raise BadInput(str(error).strip().splitlines()[-1].removeprefix(f'{BadInput.__module__}.BadInput: ')) from None


def _by_threads(dataset: ImageDataset, batches: EndlessBatches, num_workers: int, pin_memory: bool) -> Iterator[Tensor]:
    # Threads share one cache, where each process would fill its own; decoding and resizing run beside each other.
    def read(draws: list[Draw]) -> Tensor:
        batch = torch.stack([dataset[draw] for draw in draws])
        return batch.pin_memory() if pin_memory else batch

    return prefetch(read, batches, num_workers, ahead=BATCHES_AHEAD * num_workers)


def new_size_of(config: dict, domain: str) -> int:
    """`new_size`, or `new_size_a` / `new_size_b` where the config gives one for each domain."""
    return config['new_size'] if 'new_size' in config else config[f'new_size_{domain}']


def workers_of(config: dict) -> int:
    """`num_workers`, but no more than the machine has cores: more only wait for each other."""
    return min(config['num_workers'], os.cpu_count() or 1)


def describe_images(name: str, paths: Sequence[Path], channels: int) -> str:
    """One line on the images of a domain: count, sizes, channels. Reads the headers of some hundred files at most.

    Raises:
        BadInput: not one of the files looked at is an image.
    """
    step = max(1, len(paths) // HEADERS_READ_AT_START)
    sizes, kinds = [], set()
    for path in paths[::step]:
        try:
            if why_no_file(path):
                continue
            with _opened(path) as image:
                sizes.append(image.size)
                deep = image.mode.startswith('I') or image.mode == 'F'
                kinds.add('16-bit' if deep else str(len(image.getbands())) if image.mode != 'P' else 'palette')
        except Exception:  # named when it is read
            continue
    if not sizes:
        raise BadInput(f'{shown(paths[0].parent)}: {shown(paths[0].name)} and the other files looked at are not images')
    small, large = min(sizes, key=lambda s: s[0] * s[1]), max(sizes, key=lambda s: s[0] * s[1])
    size = '{}×{}'.format(*small) + ('' if small == large else ' to {}×{}'.format(*large))
    looked = '' if step == 1 else f' (of {len(sizes)} looked at)'
    return f'{name}: {len(paths)} images, {size}{looked}, channels {" and ".join(sorted(kinds))} read as {channels}'
