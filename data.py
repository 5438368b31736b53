"""Input images: find, transform and stream the images of the two domains A and B.

The domains are not paired: file names are arbitrary, the numbers of images may differ, and each domain is an endless
shuffled stream. `core.image_files` finds the files and `core.image_reading` reads them.
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
from core.image_reading import (  # noqa: F401   # other modules import the readers from here
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
DARK = 2 ** 14   # 16-bit files whose values are all below this probably hold data of fewer bits
SECONDS_AFTER_SIGTERM = 60
BATCHES_AHEAD = 4   # for each worker
FILES_TESTED = 16   # to find out whether all files of a set are unreachable
REPORTED: set[str] = set()   # errors about files that this process or its parent has already printed


# ---------------------------------------------------------------------------------------------------------------------
# Finding
# ---------------------------------------------------------------------------------------------------------------------

def find_images(config: dict, split: str, domain: str) -> list[Path]:
    """Return the image files of a split ('train' or 'test') and a domain ('a' or 'b'), in folder mode or list mode.

    If there is no test folder or list, the fraction `test_share` of the training images is used as the test set and
    excluded from training. The choice depends on file names only, so that all commands choose the same images, and
    both images of a pair are in the same set.

    Raises:
        BadInput: see `list_folder` and `read_list`.
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
    say_once(f'{shown(missing)}: not found; {len(held_out)} of the {len(paths)} training images of {domain.upper()} '
             f'are used as test images and not for training (test_share)' if held_out else
             f'{shown(missing)}: not found; the only training image of {domain.upper()} is also the test image')
    return [path for path in paths if path in held_out] if held_out else paths


def has_test_set(config: dict, domain: str) -> bool:
    """Return whether the config names test images of a domain, so that no training images are used for testing."""
    if config.get('test_share', TEST_SHARE) == 0:
        return True
    if 'data_root' in config:
        train, test = (Path(config['data_root']) / f'{split}{domain.upper()}' for split in ('train', 'test'))
        return os.path.lexists(test) or not os.path.isdir(train)   # without a training folder, report the test folder
    return any(f'data_{kind}_test_{domain}' in config for kind in ('folder', 'list'))


def _files_of(config: dict, split: str, domain: str) -> list[Path]:
    if 'data_root' in config:
        return list_folder(Path(config['data_root']) / f'{split}{domain.upper()}', config.get('follow_links', False))
    if f'data_list_{split}_{domain}' not in config:   # the config was stored in a checkpoint
        raise BadInput('the config names no images; give --config or data_root')
    return read_list(config[f'data_folder_{split}_{domain}'], config[f'data_list_{split}_{domain}'])


# ---------------------------------------------------------------------------------------------------------------------
# Transforming
# ---------------------------------------------------------------------------------------------------------------------

class Transform:
    """Converts an image from `read_image` to a tensor (C, H, W) with values in [-1, 1], for training and testing.

    The result is bit-identical to torchvision's transforms. torchvision is not used because importing it would double
    the start-up time of every command.

    Args:
        new_size: length to which the shorter side is resized (bilinear); 0 keeps the size.
        crop: height and width of the crop, which is random if `augment` is set and central otherwise. None keeps the
            whole image.
        augment: flip the image at random before all other steps.
        fit: height and width to which the image is resized regardless of its aspect ratio, instead of `new_size`.
        flip, flip_vertical: whether `augment` flips horizontally, and vertically.
    """

    def __init__(self, new_size: int = 0, crop: tuple[int, int] | None = None, augment: bool = False,
                 fit: tuple[int, int] | None = None, flip: bool = True, flip_vertical: bool = False):
        self.new_size, self.crop, self.augment, self.fit = 0 if fit else new_size, crop, augment, fit
        self.flip, self.flip_vertical = flip, flip_vertical

    def __call__(self, image: Image.Image | Bands, generator: torch.Generator | None = None) -> Tensor:
        return self.finish(self.resize(image), generator)

    def size_of(self, width: int, height: int) -> tuple[int, int]:
        """Return the width and height of an image of this size after resizing."""
        if self.fit:
            return self.fit[1], self.fit[0]
        shorter = min(width, height)
        return (self.new_size * width // shorter, self.new_size * height // shorter) if self.new_size else (
            width, height)

    def fault_of(self, width: int, height: int) -> str:
        """Return an error message if an image of this size, after resizing, is smaller than the crop, otherwise ''."""
        if not self.crop or (height >= self.crop[0] and width >= self.crop[1]):
            return ''
        return (f'{width}×{height} pixels after resizing (width × height), less than the crop of '
                f'{self.crop[1]}×{self.crop[0]}')

    def resize(self, image: Image.Image | Bands) -> Image.Image | Bands:
        """Resize an image. This is the deterministic part of the transform, whose result can be cached."""
        size = self.size_of(*image.size)
        return image.resize(size, Image.Resampling.BILINEAR) if self.new_size or self.fit else image

    def finish(self, image: Image.Image | Bands, generator: torch.Generator | None = None) -> Tensor:
        """Flip, crop and convert a resized image to a tensor (C, H, W) with values in [-1, 1].

        Args:
            generator: random number generator for `augment`; None uses PyTorch's default generator.

        Raises:
            BadInput: the image is smaller than the crop.
        """
        # The original flips before resizing. The result is bit-identical.
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
    """Return the length to which the shorter side of a domain's images is resized.

    It is `new_size`, or `new_size_a` or `new_size_b` if the config sets them; 0 with `resize: none`, and the shorter
    side of the crop with `resize: fit`.
    """
    if config.get('resize', 'shorter') != 'shorter':
        sides = config['crop_image_height'], config['crop_image_width']
        return min(sides) if config['resize'] == 'fit' else 0
    return config['new_size'] if 'new_size' in config else config[f'new_size_{domain}']


def transform_of(config: dict, domain: str, new_size: int | None = None, crop: tuple[int, int] | None = None,
                 augment: bool = False) -> Transform:
    """Return the transform for images of domain 'a' or 'b'.

    Args:
        new_size: length to which the shorter side is resized; 0 keeps the size, None follows the config's `resize`.
        crop, augment: see `Transform`. The config selects the flips.
    """
    fit = None
    if new_size is None and config.get('resize') == 'fit':
        fit = config['crop_image_height'], config['crop_image_width']
    size = new_size_of(config, domain) if new_size is None else new_size
    return Transform(size, crop, augment, fit, config.get('flip', True), config.get('flip_vertical', False))


def read_options(config: dict, domain: str) -> dict[str, Any]:
    """Return the keyword arguments with which `read_image` reads images of domain 'a' or 'b'."""
    return {'channels': config[f'input_dim_{domain}'], 'value_range': config.get(f'value_range_{domain}'),
            'max_pixels': config.get('max_image_pixels', MAX_IMAGE_PIXELS)}


def read_tensor(path: str | Path, config: dict, domain: str, transform: Transform) -> Tensor:
    """Read an image file of domain 'a' or 'b' and transform it to a tensor (C, H, W) with values in [-1, 1].

    Raises:
        BadInput: the file cannot be read, or the image is smaller than the crop.
    """
    image = transform.resize(read_image(path, **read_options(config, domain), new_size=transform.new_size))
    if fault := transform.fault_of(*image.size):
        raise BadInput(f'{shown(path)}: {fault}')
    return transform.finish(image)


def dither_if_constant(image: Tensor) -> Tensor:
    """Add noise with standard deviation 1e-4 to an image (C, H, W) in which every channel is exactly constant.

    The variance of a constant crop, such as a corner of a white background, is 0, so each instance norm multiplies its
    gradients by 1/√eps ≈ 316. After several layers they overflow, and a single such crop makes all weights useless.
    """
    flat = image.flatten(1)
    if torch.equal(flat.amin(1), flat.amax(1)):
        generator = torch.Generator().manual_seed(0)   # sample images must have the same inputs throughout a run
        return image + DITHER * torch.randn(image.shape, generator=generator)
    return image


# ---------------------------------------------------------------------------------------------------------------------
# Datasets and streams
# ---------------------------------------------------------------------------------------------------------------------

class Draw(NamedTuple):
    """The index of an image, and the seed of its flip and crop."""
    index: int   # type: ignore[assignment]   # hides tuple.index
    seed: int


class ImagesAway(BadInput):
    """All files of a set are unreachable, for example because a disk is disconnected. They may become reachable again.
    """


class ImageDataset(Dataset):
    """Images of one domain as tensors (C, H, W) with values in [-1, 1], accessed by index or by `Draw`.

    If a file cannot be read or is smaller than the crop, another image is returned instead. The file is marked in
    `broken` until it can be read again, and reported on stderr once.

    Args:
        paths: the image files.
        channels, max_pixels, value_range: see `read_image`.
        transform: the transform of all images.
        cache: 'ram' keeps decoded and resized images in memory, up to half of the free memory for both domains
            together; 'none' does not cache.

    Raises:
        ImagesAway: from indexing, if all files are unreachable.
        BadInput: from indexing, if no file can be used.
    """

    def __init__(self, paths: Sequence[Path], channels: int, transform: Transform, cache: str = 'none',
                 max_pixels: int = MAX_IMAGE_PIXELS, value_range: Sequence[float] | None = None):
        self.paths, self.channels, self.transform = list(paths), channels, transform
        self.max_pixels, self.value_range = max_pixels, value_range
        self.broken = torch.zeros(len(self.paths), dtype=torch.bool)
        self.cache: dict[int, Image.Image | Bands] | None = {} if cache == 'ram' else None
        self.cache_bytes_left = free_memory() // 4 if cache == 'ram' else 0   # half of it for two domains

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
            self.broken[i] = False   # it may have been unreachable before
            return dither_if_constant(self.transform.finish(image, generator))
        raise BadInput(f'{shown(self.paths[0].parent)}: none of its {len(self)} images can be read')

    def mark_broken(self, index: int, error: BadInput) -> None:
        """Mark a file as unusable, and print the error the first time."""
        if not self.broken[index]:
            self.broken[index] = True
            if str(error) not in REPORTED:   # the display images are another set of the same files
                REPORTED.add(str(error))
                print(f'skipped {error}', file=sys.stderr, flush=True)

    def is_unreachable(self) -> bool:
        """Return whether a sample of the files, spread over the set, is missing, which suggests a disconnected disk."""
        step = max(1, len(self) // FILES_TESTED)
        return not any(os.path.exists(path) for path in self.paths[::step])

    def _candidates(self, index: int, generator: torch.Generator | None) -> Iterator[int]:
        yield index
        if generator is None:   # display images: use the next ones in order
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
            if not os.path.exists(path) and self.is_unreachable():
                raise ImagesAway(f'{shown(path.parent)}: none of its {len(self)} images can be reached') from None
            raise
        image = self.transform.resize(image)
        if fault := self.transform.fault_of(*image.size):
            raise BadInput(f'{shown(path)}: {fault}')
        if self.cache is not None:
            size = image.width * image.height * (4 if image.mode == 'F' else 1) * len(image.getbands())
            if size <= self.cache_bytes_left:
                self.cache[index] = image
                self.cache_bytes_left -= size
        return image


def free_memory() -> int:
    """Return the free memory in bytes, divided by the number of training processes; 8 GiB if it is unknown."""
    try:
        lines = dict(line.split(':') for line in Path('/proc/meminfo').read_text().splitlines())
        free = int(lines['MemAvailable'].split()[0]) * 1024
    except (OSError, KeyError, ValueError):   # not Linux
        return 8 * 2 ** 30
    return free // int(os.environ.get('LOCAL_WORLD_SIZE') or 1)


class EndlessBatches:
    """An endless sequence of batches of `Draw`. Each epoch contains every image once, in a new random order; a batch
    may contain the end of one epoch and the start of the next.

    A draw depends only on the seed and on its position in the stream. The stream can therefore start at any position
    and be split among any number of processes and loader workers without changing the batches.

    Args:
        size: number of images.
        batch_size: batch size of one process.
        seed: seed of the orders, flips and crops.
        start: number of draws to skip at the start of the stream.
        rank, world_size: index of this process, and number of processes that share each batch.
    """

    def __init__(self, size: int, batch_size: int, seed: int, start: int = 0, rank: int = 0, world_size: int = 1):
        self.size, self.batch_size, self.seed = size, batch_size, seed
        self.first, self.stride = start + rank * batch_size, world_size * batch_size
        self._epoch = -1
        self._order: list[int] = []

    def __iter__(self) -> Iterator[list[Draw]]:
        for first in itertools.count(self.first, self.stride):
            yield [self.draw(position) for position in range(first, first + self.batch_size)]

    def draw(self, position: int) -> Draw:
        """Return the draw at a position of the stream, counted from 0."""
        epoch, position_in_epoch = divmod(position, self.size)
        if epoch != self._epoch:
            # The words 'round' and 'place' are part of the seeds and must not change, or old runs resume differently.
            generator = torch.Generator().manual_seed(combined_seed(self.seed, 'round', epoch))
            self._epoch, self._order = epoch, torch.randperm(self.size, generator=generator).tolist()
        return Draw(self._order[position_in_epoch], combined_seed(self.seed, 'place', position))


def combined_seed(*parts: int | str) -> int:
    """Hash the arguments to a seed. Unlike sums of seeds and counters, hashes do not coincide between runs."""
    return int.from_bytes(hashlib.blake2b(repr(parts).encode(), digest_size=8).digest(), 'big') >> 1


NO_SHARED_MEMORY = ('a DataLoader worker has run out of shared memory (/dev/shm); give the container more '
                    '(docker run --shm-size 1g, or --ipc host), or set num_workers: 0')
TOO_MANY_FILES = ('a DataLoader worker cannot open more files; raise the limit with ulimit -n 4096, or set '
                  'num_workers: 0')


def _fault_of_workers(error: Exception) -> str:
    """Return a message for errors of workers that PyTorch reports only in a long trace or not clearly; else ''."""
    text = str(error)
    if 'shared memory' in text or 'torch_' in text and 'o space left' in text or 'Bus error' in text:
        return NO_SHARED_MEMORY
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:   # workers write to shared memory only
        return NO_SHARED_MEMORY
    return TOO_MANY_FILES if 'Too many open files' in text else ''


def _leave_signals_to_the_main_process(_: int) -> None:
    # Ctrl-C, closing the terminal and a scheduler's SIGTERM send signals to all processes. The main process decides how
    # a run ends, and needs its workers until the current iteration is complete. If it does not shut them down, they
    # exit by themselves after SECONDS_AFTER_SIGTERM.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, 'alarm'):   # not on Windows, which does not send these signals
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, lambda *_: signal.alarm(SECONDS_AFTER_SIGTERM))


def training_set(config: dict, domain: str) -> ImageDataset:
    """Return the training images of `domain` ('a' or 'b'), randomly flipped and cropped."""
    crop = (config['crop_image_height'], config['crop_image_width'])
    return ImageDataset(find_images(config, 'train', domain), transform=transform_of(config, domain, None, crop, True),
                        cache=config.get('cache', 'none'), **read_options(config, domain))


def display_set(config: dict, split: str, domain: str) -> ImageDataset:
    """Return the images of a split for sample grids: cropped from the centre and not augmented."""
    crop = (config['crop_image_height'], config['crop_image_width'])
    if split == 'test' and config.get('resize', 'shorter') == 'shorter':
        new_size = new_size_of(config, domain)
        # For other sizes, outputs would differ in size from their inputs.
        side = new_size - new_size % 2 ** config['gen']['n_downsample']
        crop = (side, side)
    return ImageDataset(find_images(config, split, domain), transform=transform_of(config, domain, None, crop),
                        **read_options(config, domain))


def first_images(dataset: ImageDataset, count: int) -> Tensor:
    """Return the first `count` images as a tensor (count, C, H, W). If there are fewer images, they are repeated."""
    return torch.stack([dataset[i % len(dataset)] for i in range(count)])


def stream(dataset: ImageDataset, batches: EndlessBatches, num_workers: int,
           pin_memory: bool = False) -> Generator[Tensor, None, None]:
    """Iterate endlessly over batches (batch_size, C, H, W) that workers read ahead. `close` shuts down the workers.

    Raises:
        BadInput: none of the images can be read.
        ImagesAway: all files are unreachable.
        RuntimeError: a worker was killed, or failed for a reason other than an image file.
    """
    if dataset.cache is not None and num_workers:
        yield from _stream_by_threads(dataset, batches, num_workers, pin_memory)
        return
    loader = DataLoader(dataset, batch_sampler=batches, num_workers=num_workers, pin_memory=pin_memory,
                        prefetch_factor=BATCHES_AHEAD if num_workers else None,
                        worker_init_fn=_leave_signals_to_the_main_process)
    found = None
    try:
        for part in getattr(dataset, 'sets', [dataset]) if num_workers else []:
            part.broken.share_memory_()   # all workers share one tensor
        found = iter(loader)
        if num_workers and hasattr(signal, 'SIGCHLD'):
            # PyTorch's handler would raise an error at any point of an iteration if a worker dies. Without the handler,
            # the error is raised when the main process waits for the next batch, after five seconds.
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        yield from found
    except (ConnectionError, EOFError) as error:   # the worker was killed while sending a batch
        raise RuntimeError(f'DataLoader worker ended: {error!r}') from error
    except BadInput as error:   # errors of a worker contain its traceback
        line = str(error).strip().splitlines()[-1]
        raise type(error)(line.removeprefix(f'{type(error).__module__}.{type(error).__name__}: ')) from None
    except (OSError, RuntimeError) as error:
        if num_workers and (fault := _fault_of_workers(error)):
            raise RuntimeError(fault) from error
        raise
    finally:
        if num_workers and found is not None:
            # The exception keeps a reference to the iterator, whose workers would otherwise run for another minute.
            found._shutdown_workers()   # type: ignore[attr-defined]


def _stream_by_threads(dataset: ImageDataset, batches: EndlessBatches, num_workers: int,
                       pin_memory: bool) -> Iterator[Tensor]:
    # Threads share one cache, whereas each process would have its own. Decoding and resizing release the GIL.
    def read(draws: list[Draw]) -> Tensor:
        batch = torch.stack([dataset[draw] for draw in draws])
        return batch.pin_memory() if pin_memory else batch

    return prefetch(read, batches, num_workers, ahead=BATCHES_AHEAD * num_workers)


def workers_of(config: dict) -> int:
    """Return `num_workers`, limited to the number of CPU cores, beyond which workers are not faster."""
    return min(config['num_workers'], os.cpu_count() or 1)


def describe_images(name: str, paths: Sequence[Path], channels: int, value_range: Sequence[float] | None = None) -> str:
    """Describe the images of a domain in one line: their number, sizes, channels, and the range of values of files
    with more than 8 bits. Only the headers of a sample of the files are read.

    Args:
        name: name of the set, for example trainA.
        paths, channels, value_range: see `ImageDataset`.

    Raises:
        BadInput: none of the sampled files is an image, or their number of channels is not `channels`.
    """
    looked_at = sampled_paths(paths)
    headers = {path: header for path in looked_at if (header := read_header(path))}
    if not headers:
        raise BadInput(f'{shown(paths[0].parent)}: {shown(paths[0].name)} and the other sampled files are not images')
    if channels not in PICTURES:   # the config and the files have to agree; anything else can be converted
        read_image(next(iter(headers)), channels, value_range=value_range or (0, 1))
    sizes = [header.size for header in headers.values()]
    small, large = min(sizes, key=lambda s: s[0] * s[1]), max(sizes, key=lambda s: s[0] * s[1])
    size = '{}×{}'.format(*small) + ('' if small == large else ' to {}×{}'.format(*large))
    looked = '' if len(looked_at) == len(paths) else f' (of {len(sizes)} looked at)'
    kinds = ' and '.join(sorted({header.kind for header in headers.values()}))
    for path in list({header.profile: path for path, header in headers.items() if header.profile}.values())[:4]:
        with contextlib.suppress(BadInput):   # warn about a broken profile once, instead of in each loader worker
            read_image(path, channels)
    deep = [path for path, header in headers.items() if header.deep]
    top = 1 if any(header.kind == 'float' for header in headers.values()) else 65535
    values = _describe_values(name[-1].lower(), deep, top, value_range) if deep else ''
    return f'{name}: {len(paths)} images, {size}{looked}, channels {kinds} read as {channels}{values}'


def sampled_paths(paths: Sequence[Path]) -> Sequence[Path]:
    """Return a sample of some hundred files, spread over all, whose headers are read before training."""
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
        text += f', outside 0 to {top}, so such files cannot be read; set value_range_{domain}: [{low:g}, {high:g}]'
    elif 0 < high < DARK < top:
        bits = 2 ** int(high).bit_length() - 1
        text += f' of 0 to {top}, which is dark; value_range_{domain}: [0, {bits}] would use the whole range'
    return text
