"""Images in: finding, transforming and streaming the pictures of the two domains A and B.

Nothing pairs the domains: file names are free, the counts may differ, and each domain is an endless shuffled stream
of its own. `core.image_files` finds files, `core.image_reading` reads them.
"""
import contextlib
import errno
import hashlib
import itertools
import os
import signal
import sys
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from core.band_images import PICTURES, Bands
from core.errors import BadInput, say_once, shown
from core.image_files import list_folder, read_list
from core.image_reading import (  # noqa: F401   # the readers are the door to images for what imports this module
    MAX_IMAGE_PIXELS,
    fault_of_size,
    read_header,
    read_image,
    read_image_bytes,
    read_range,
)
from core.threads import prefetch

DITHER = 1e-4
TEST_SHARE = 0.05
HEADERS_READ_AT_START = 500
RANGES_READ_AT_START = 20
DARK = 2 ** 14   # of 16 bits, which hold data of fewer bits where nothing is above
SECONDS_AFTER_SIGTERM = 60
BATCHES_AHEAD = 4   # for each worker
FILES_LOOKED_FOR = 16   # to tell whether a set is away
NAMED: set[str] = set()   # faults of files that this process, or the one it was forked from, has named


# ---------------------------------------------------------------------------------------------------------------------
# Finding
# ---------------------------------------------------------------------------------------------------------------------

def find_images(config: dict, split: str, domain: str) -> list[Path]:
    """The files of `split` ('train' or 'test') and `domain` ('a' or 'b'), in folder mode or in list mode.

    Where there is no test folder or list, a share `test_share` of the training images is the test set, and is left out
    of the training set. It is chosen by the files' names, so that every command chooses the same, and pairs stay pairs.

    Raises:
        BadInput: as `list_folder` and `read_list`.
    """
    if has_test_set(config, domain):
        return _files_of(config, split, domain)
    paths = _files_of(config, 'train', domain)
    count = max(1, round(config.get('test_share', TEST_SHARE) * len(paths))) if len(paths) > 1 else 0
    held_out = {path for _, path in sorted((hashlib.sha256(path.stem.encode(errors='surrogateescape')).digest(), path)
                                           for path in paths)[:count]}
    if split == 'train':
        return [path for path in paths if path not in held_out]
    missing = f'data_list_test_{domain}'
    if 'data_root' in config:
        missing = str(Path(config['data_root']) / f'test{domain.upper()}')
    say_once(f'{shown(missing)}: there is none; instead, {len(held_out)} of the {len(paths)} training images of '
             f'{domain.upper()} are test images and not trained on (test_share)' if held_out else
             f'{shown(missing)}: there is none; the only training image of {domain.upper()} is the test image as well')
    return [path for path in paths if path in held_out] if held_out else paths


def has_test_set(config: dict, domain: str) -> bool:
    """Whether the test images of a domain are those that the config names, and not a share of the training images."""
    if config.get('test_share', TEST_SHARE) == 0:
        return True
    if 'data_root' in config:
        train, test = (Path(config['data_root']) / f'{split}{domain.upper()}' for split in ('train', 'test'))
        return os.path.lexists(test) or not os.path.isdir(train)   # a folder of neither is missing its test images
    return any(f'data_{kind}_test_{domain}' in config for kind in ('folder', 'list'))


def _files_of(config: dict, split: str, domain: str) -> list[Path]:
    if 'data_root' in config:
        return list_folder(Path(config['data_root']) / f'{split}{domain.upper()}', config.get('follow_links', False))
    if f'data_list_{split}_{domain}' not in config:   # of a config that a checkpoint brought along
        raise BadInput('no images are named; give --config, or a data_root')
    return read_list(config[f'data_folder_{split}_{domain}'], config[f'data_list_{split}_{domain}'])


# ---------------------------------------------------------------------------------------------------------------------
# Transforming
# ---------------------------------------------------------------------------------------------------------------------

class Transform:
    """The one recipe from an image of `read_image` to a tensor (C, H, W) in [-1, 1], for training and testing alike.

    As torchvision does it, to the last digit, but without importing it: that would double the start of every command.

    Args:
        new_size: resize the shorter side to this (bilinear), 0 to keep the size.
        crop: height and width of the crop, None for the whole image; at random when `augment`, else from the centre.
        augment: flip at random as well, before all else.
        fit: height and width to resize to in place of `new_size`, whatever shape the image has.
        flip, flip_vertical: which flips `augment` means: left and right, top and bottom.
    """

    def __init__(self, new_size: int = 0, crop: tuple[int, int] | None = None, augment: bool = False,
                 fit: tuple[int, int] | None = None, flip: bool = True, flip_vertical: bool = False):
        self.new_size, self.crop, self.augment, self.fit = 0 if fit else new_size, crop, augment, fit
        self.flip, self.flip_vertical = flip, flip_vertical

    def __call__(self, image: Image.Image | Bands, generator: torch.Generator | None = None) -> Tensor:
        return self.finish(self.resize(image), generator)

    def size_of(self, width: int, height: int) -> tuple[int, int]:
        """The width and height to which images of this size are resized."""
        if self.fit:
            return self.fit[1], self.fit[0]
        shorter = min(width, height)
        return (self.new_size * width // shorter, self.new_size * height // shorter) if self.new_size else (
            width, height)

    def fault_of(self, width: int, height: int) -> str:
        """Why an image of this size, after resizing, has no crop in it; '' if it has."""
        if not self.crop or (height >= self.crop[0] and width >= self.crop[1]):
            return ''
        return (f'{width}×{height} pixels after resizing (width × height), less than the crop of '
                f'{self.crop[1]}×{self.crop[0]}')

    def resize(self, image: Image.Image | Bands) -> Image.Image | Bands:
        """The part of the recipe that is the same each time."""
        size = self.size_of(*image.size)
        return image.resize(size, Image.Resampling.BILINEAR) if self.new_size or self.fit else image

    def finish(self, image: Image.Image | Bands, generator: torch.Generator | None = None) -> Tensor:
        """The rest: flip and crop, at random when `augment`, by `generator` or PyTorch's own; then to [-1, 1].

        Raises:
            BadInput: the image is smaller than the crop.
        """
        # The original flips before it resizes; the outcome is the same to the last digit.
        if self.augment and torch.rand((), generator=generator) < 0.5 and self.flip:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        if self.augment and self.flip_vertical and torch.rand((), generator=generator) < 0.5:
            image = image.transpose(Image.Transpose.FLIP_TOP_BOTTOM)
        if self.crop:
            image = self._cropped(image, *self.crop, generator)
        values = torch.from_numpy(np.array(image, dtype=np.float32)) / (1 if image.mode == 'F' else 255)
        return (values.unsqueeze(2) if values.dim() == 2 else values).permute(2, 0, 1).contiguous() * 2 - 1

    def _cropped(self, image: Image.Image | Bands, height: int, width: int, generator: torch.Generator | None
                 ) -> Image.Image | Bands:
        if fault := self.fault_of(*image.size):
            raise BadInput(fault)
        down, right = image.height - height, image.width - width
        if self.augment:
            top = int(torch.randint(down + 1, (), generator=generator))
            left = int(torch.randint(right + 1, (), generator=generator))
        else:
            top, left = round(down / 2), round(right / 2)
        return image.crop((left, top, left + width, top + height))


def new_size_of(config: dict, domain: str) -> int:
    """What the shorter side of a domain's images is resized to: `new_size`, or `new_size_a` / `new_size_b` where the
    config gives one for each domain; with `resize: none` 0, and with `fit` the shorter side of the crop.
    """
    if config.get('resize', 'shorter') != 'shorter':
        sides = config['crop_image_height'], config['crop_image_width']
        return min(sides) if config['resize'] == 'fit' else 0
    return config['new_size'] if 'new_size' in config else config[f'new_size_{domain}']


def transform_of(config: dict, domain: str, new_size: int | None = None, crop: tuple[int, int] | None = None,
                 augment: bool = False) -> Transform:
    """The recipe for images of domain 'a' or 'b'.

    Args:
        new_size: what the shorter side is resized to, 0 to keep the file's size; None: as the config's `resize` says.
        crop, augment: as of `Transform`; the config says which flips.
    """
    fit = None
    if new_size is None and config.get('resize') == 'fit':
        fit = config['crop_image_height'], config['crop_image_width']
    size = new_size_of(config, domain) if new_size is None else new_size
    return Transform(size, crop, augment, fit, config.get('flip', True), config.get('flip_vertical', False))


def reading_of(config: dict, domain: str) -> dict[str, Any]:
    """How `read_image` is to read images of domain 'a' or 'b': its keyword arguments."""
    return {'channels': config[f'input_dim_{domain}'], 'value_range': config.get(f'value_range_{domain}'),
            'max_pixels': config.get('max_image_pixels', MAX_IMAGE_PIXELS)}


def read_tensor(path: str | Path, config: dict, domain: str, transform: Transform) -> Tensor:
    """The image at `path` as domain 'a' or 'b' wants it: (C, H, W) in [-1, 1].

    Raises:
        BadInput: the file cannot be read, or is smaller than the crop.
    """
    image = transform.resize(read_image(path, **reading_of(config, domain), new_size=transform.new_size))
    if fault := transform.fault_of(*image.size):
        raise BadInput(f'{shown(path)}: {fault}')
    return transform.finish(image)


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


class ImagesAway(BadInput):
    """All files of a set are out of reach, as when a disk or a network drive is taken away; they may come back."""


class ImageDataset(Dataset):
    """Images of one domain as tensors (C, H, W) in [-1, 1], by index or by `Draw`.

    A file that cannot be read or is too small for the crop is named on stderr once, marked in `broken` as long as that
    is so, and another is drawn in its place. Where all files are gone, `ImagesAway` is raised.

    Args:
        paths: the files.
        channels, max_pixels, value_range: as `read_image` takes them.
        transform: a `Transform`.
        cache: 'ram' keeps decoded and resized images, as far as half of the free memory goes; 'none' keeps none.
    """

    def __init__(self, paths: Sequence[Path], channels: int, transform: Transform, cache: str = 'none',
                 max_pixels: int = MAX_IMAGE_PIXELS, value_range: Sequence[float] | None = None):
        self.paths, self.channels, self.transform = list(paths), channels, transform
        self.max_pixels, self.value_range = max_pixels, value_range
        self.broken = torch.zeros(len(self.paths), dtype=torch.bool)
        self.cache: dict[int, Image.Image | Bands] | None = {} if cache == 'ram' else None
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
            except ImagesAway:
                raise
            except BadInput as error:
                self.mark_broken(i, error)
                continue
            self.broken[i] = False   # it may have been out of reach for a while
            return dither_if_constant(self.transform.finish(image, generator))
        raise BadInput(f'{shown(self.paths[0].parent)}: none of its {len(self)} images can be read')

    def mark_broken(self, index: int, error: BadInput) -> None:
        """Remember that a file cannot be used, and name it the first time."""
        if not self.broken[index]:
            self.broken[index] = True
            if str(error) not in NAMED:   # by another set of the same files, such as those that are shown
                NAMED.add(str(error))
                print(f'skipped {error}', file=sys.stderr, flush=True)

    def is_away(self) -> bool:
        """Whether none of the files looked at, spread over the set, can be reached: the folder or its disk is away."""
        step = max(1, len(self) // FILES_LOOKED_FOR)
        return not any(os.path.exists(path) for path in self.paths[::step])

    def _candidates(self, index: int, generator: torch.Generator | None) -> Iterator[int]:
        yield index
        if generator is None:   # pictures to watch: the next ones in order
            yield from [*range(index + 1, len(self)), *range(index)]
        else:
            yield from torch.randperm(len(self), generator=generator).tolist()

    def _prepared(self, index: int) -> Image.Image | Bands:
        if self.cache is not None and index in self.cache:
            return self.cache[index]
        path = self.paths[index]
        try:
            image = read_image(path, self.channels, self.max_pixels, self.transform.new_size, self.value_range)
        except BadInput:
            if not os.path.exists(path) and self.is_away():
                raise ImagesAway(f'{shown(path.parent)}: none of its {len(self)} images can be reached') from None
            raise
        image = self.transform.resize(image)
        if fault := self.transform.fault_of(*image.size):
            raise BadInput(f'{shown(path)}: {fault}')
        if self.cache is not None:
            size = image.width * image.height * (4 if image.mode == 'F' else 1) * len(image.getbands())
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
    return free // int(os.environ.get('LOCAL_WORLD_SIZE') or 1)


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


NO_SHARED_MEMORY = ('a DataLoader worker has no room for its batches in the shared memory (/dev/shm); give the '
                    'container more (docker run --shm-size 1g, or --ipc host), or set num_workers: 0')
TOO_MANY_FILES = ('a DataLoader worker cannot open more files; raise the limit with ulimit -n 4096, or set '
                  'num_workers: 0')


def _fault_of_workers(error: Exception) -> str:
    """What is wrong in words, where PyTorch names it in a long trace or not at all; else ''."""
    text = str(error)
    if 'shared memory' in text or 'torch_' in text and 'o space left' in text or 'Bus error' in text:
        return NO_SHARED_MEMORY
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:   # reading images needs no other room
        return NO_SHARED_MEMORY
    return TOO_MANY_FILES if 'Too many open files' in text else ''


def _leave_signals_to_the_main_process(_: int) -> None:
    # Ctrl-C, a terminal that is closed and a scheduler's SIGTERM reach all processes; the main one decides how a run
    # ends, and needs its workers until its iteration is over. Should it not get to send them home, they go by
    # themselves.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, 'alarm'):   # not on Windows, where nothing sends these either
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, lambda *_: signal.alarm(SECONDS_AFTER_SIGTERM))


def training_set(config: dict, domain: str) -> ImageDataset:
    """Randomly flipped and cropped training images of `domain` ('a' or 'b')."""
    crop = (config['crop_image_height'], config['crop_image_width'])
    return ImageDataset(find_images(config, 'train', domain), transform=transform_of(config, domain, None, crop, True),
                        cache=config.get('cache', 'none'), **reading_of(config, domain))


def display_set(config: dict, split: str, domain: str) -> ImageDataset:
    """The images of a split as they are shown while training: the same each time, cropped from the centre."""
    crop = (config['crop_image_height'], config['crop_image_width'])
    if split == 'test' and config.get('resize', 'shorter') == 'shorter':
        new_size = new_size_of(config, domain)
        side = new_size - new_size % 2 ** config['gen']['n_downsample']  # other sizes do not come back as they went in
        crop = (side, side)
    return ImageDataset(find_images(config, split, domain), transform=transform_of(config, domain, None, crop),
                        **reading_of(config, domain))


def first_images(dataset: ImageDataset, count: int) -> Tensor:
    """The first `count` images as one tensor (count, C, H, W), from the start again where there are fewer."""
    return torch.stack([dataset[i % len(dataset)] for i in range(count)])


def stream(dataset: ImageDataset, batches: EndlessBatches, num_workers: int,
           pin_memory: bool = False) -> Generator[Tensor, None, None]:
    """An endless iterator over batches (batch_size, C, H, W), read ahead by workers. Its `close` sends them home.

    Raises:
        BadInput: not one of the images can be read.
        ImagesAway: they are all out of reach.
        RuntimeError: a worker has died, or could not read what no file of images is to blame for.
    """
    if dataset.cache is not None and num_workers:
        yield from _by_threads(dataset, batches, num_workers, pin_memory)
        return
    loader = DataLoader(dataset, batch_sampler=batches, num_workers=num_workers, pin_memory=pin_memory,
                        prefetch_factor=BATCHES_AHEAD if num_workers else None,
                        worker_init_fn=_leave_signals_to_the_main_process)
    found = None
    try:
        for part in getattr(dataset, 'sets', [dataset]) if num_workers else []:
            part.broken.share_memory_()   # one for all workers
        found = iter(loader)
        if num_workers and hasattr(signal, 'SIGCHLD'):
            # PyTorch would raise a worker's death wherever the main process happens to be, in mid-iteration. Without
            # that it is noticed where the next batch is waited for, five seconds later.
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        yield from found
    except (ConnectionError, EOFError) as error:   # it was killed while it handed a batch over
        raise RuntimeError(f'DataLoader worker ended: {error!r}') from error
    except BadInput as error:   # a worker's comes with its traceback
        line = str(error).strip().splitlines()[-1]
        raise type(error)(line.removeprefix(f'{type(error).__module__}.{type(error).__name__}: ')) from None
    except (OSError, RuntimeError) as error:
        if num_workers and (fault := _fault_of_workers(error)):
            raise RuntimeError(fault) from error
        raise
    finally:
        if num_workers and found is not None:
            # What was raised holds the iterator for long, and processes that nobody sends home stay for a minute.
            found._shutdown_workers()   # type: ignore[attr-defined]


def _by_threads(dataset: ImageDataset, batches: EndlessBatches, num_workers: int, pin_memory: bool) -> Iterator[Tensor]:
    # Threads share one cache, where each process would fill its own; decoding and resizing run beside each other.
    def read(draws: list[Draw]) -> Tensor:
        batch = torch.stack([dataset[draw] for draw in draws])
        return batch.pin_memory() if pin_memory else batch

    return prefetch(read, batches, num_workers, ahead=BATCHES_AHEAD * num_workers)


def workers_of(config: dict) -> int:
    """`num_workers`, but no more than the machine has cores: more only wait for each other."""
    return min(config['num_workers'], os.cpu_count() or 1)


def describe_images(name: str, paths: Sequence[Path], channels: int, value_range: Sequence[float] | None = None) -> str:
    """One line on the images of a domain: count, sizes, channels, and the values of files of more than 8 bits. Reads
    the headers of some hundred files at most.

    Args:
        name: such as trainA.
        paths, channels, value_range: as of `ImageDataset`.

    Raises:
        BadInput: not one of the files looked at is an image, or they have other than so many channels.
    """
    looked_at = looked_at_of(paths)
    headers = {path: header for path in looked_at if (header := read_header(path))}
    if not headers:
        raise BadInput(f'{shown(paths[0].parent)}: {shown(paths[0].name)} and the other files looked at are not images')
    if channels not in PICTURES:   # the config and the files have to agree; anything else can be converted
        read_image(next(iter(headers)), channels, value_range=value_range or (0, 1))
    sizes = [header.size for header in headers.values()]
    small, large = min(sizes, key=lambda s: s[0] * s[1]), max(sizes, key=lambda s: s[0] * s[1])
    size = '{}×{}'.format(*small) + ('' if small == large else ' to {}×{}'.format(*large))
    looked = '' if len(looked_at) == len(paths) else f' (of {len(sizes)} looked at)'
    kinds = ' and '.join(sorted({header.kind for header in headers.values()}))
    for path in list({header.profile: path for path, header in headers.items() if header.profile}.values())[:4]:
        with contextlib.suppress(BadInput):   # what is wrong with a profile is said now, and not by each loader worker
            read_image(path, channels)
    deep = [path for path, header in headers.items() if header.deep]
    top = 1 if any(header.kind == 'float' for header in headers.values()) else 65535
    values = _describe_values(name[-1].lower(), deep, top, value_range) if deep else ''
    return f'{name}: {len(paths)} images, {size}{looked}, channels {kinds} read as {channels}{values}'


def looked_at_of(paths: Sequence[Path]) -> Sequence[Path]:
    """Some hundred files, spread over all of them, whose headers are read before training."""
    return paths[::max(1, len(paths) // HEADERS_READ_AT_START)]


def _describe_values(domain: str, paths: Sequence[Path], top: int, value_range: Sequence[float] | None) -> str:
    found = [values for path in paths[::max(1, len(paths) // RANGES_READ_AT_START)] if (values := read_range(path))]
    if not found:
        return ''
    low, high = min(low for low, _ in found), max(high for _, high in found)
    text = f', values {low:g} to {high:g}'
    if value_range:
        return f'{text} (value_range_{domain}: {value_range[0]:g} to {value_range[1]:g} become black to white)'
    if low < 0 or high > top:
        text += f', outside 0 to {top}, so such files are not read; set value_range_{domain}: [{low:g}, {high:g}]'
    elif 0 < high < DARK < top:
        bits = 2 ** int(high).bit_length() - 1
        text += f' of 0 to {top}, which is dark; value_range_{domain}: [0, {bits}] would use the whole range'
    return text
