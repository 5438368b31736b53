"""Reading image files of every kind as 8-bit sRGB or grey, grey values in [0, 1], or any number of channels in [0, 1].
Imports no PyTorch.
"""
import contextlib
import functools
import hashlib
import io
import logging
import math
import mmap
import os
import re
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageFile, ImageOps, PngImagePlugin, UnidentifiedImageError, features

from core import band_images
from core.band_images import PICTURES, Bands
from core.errors import BadInput, say_once, shown, why_no_file
from core.image_files import can_read_heif

MAX_IMAGE_PIXELS = 89_478_485   # where Pillow begins to warn: 256 MiB of RGB
FORMATS = ('JPEG', 'PNG', 'PPM', 'BMP', 'WEBP', 'TIFF', 'GIF')   # of Pillow's forty: one of them calls a program
MAX_SCANS = 200   # of a JPEG file; programs write ten, and each costs as much time as the whole picture
JPEG_MARKER, JPEG_SCAN, JPEG_END = re.compile(rb'\xff[^\x00\x01\xd0-\xd8\xff]'), b'\xff\xda', b'\xff\xd9'
HEIF_BRANDS = (b'heic', b'heix', b'heim', b'heis', b'hevc', b'hevx', b'mif1', b'msf1')
SAME_COLOUR = 2   # of 255: a profile that moves no colour further is sRGB's own
TURNED = (5, 6, 7, 8)   # EXIF orientations that exchange width and height
ORIENTATION = 0x0112

MAX_TEXT_BYTES = 64 * 2 ** 20   # of the notes in a PNG file, in all: programs that draw put their whole settings there

STDERR = threading.Lock()   # for the thread that turns it off and on again

Image.MAX_IMAGE_PIXELS = None   # the bound is `read_image`'s, which can be raised and says how
PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY = MAX_TEXT_BYTES   # not 1 MiB for each, with a profile
for library in ('PIL', 'tifffile'):   # their remarks on odd files are not for the user
    logging.getLogger(library).addHandler(logging.NullHandler())


# ---------------------------------------------------------------------------------------------------------------------
# Files
# ---------------------------------------------------------------------------------------------------------------------

def read_image(path: str | Path, channels: int, max_pixels: int = MAX_IMAGE_PIXELS, new_size: int = 0,
               value_range: Sequence[float] | None = None) -> Image.Image | Bands:
    """Read an image of any common kind as `channels` channels, turned as its EXIF orientation says.

    Palettes, CMYK and 1-bit files are converted, transparency is laid over white, and colours of another profile than
    sRGB become sRGB. 16-bit, 32-bit and float files keep their depth where one channel is wanted. Of an animation, the
    first picture is taken. Arrays in .npy files are read for any number of channels. For other numbers than 1 and 3,
    the file has to have exactly as many: transparency counts as one, and so does each page of a TIFF file.

    Args:
        path: the file. Its content tells the format, not its ending.
        channels: how many.
        max_pixels: more are refused, before anything of the picture is read.
        new_size: what the shorter side will be resized to, so that the resized picture is bounded as well; 0: nothing.
        value_range: the lowest and the highest value of files of more than 8 bits, which become 0 and 1; what is
            outside is clipped. None: 0 and 65535, of float files 0 and 1.

    Returns:
        An image of mode RGB (channels 3), L (channels 1), or F with values in [0, 1] (channels 1, more than 8 bits);
        for other numbers of channels, `Bands` with values in [0, 1].

    Raises:
        BadInput: the file is missing, broken, too large, of a format that is not read, has another number of channels
            where that matters, or has values outside the range.
    """
    fault = why_no_file(path)
    if fault:
        raise BadInput(f'{shown(path)}: {"no such file" if fault.startswith("No such file") else fault}')
    return _read(path, shown(path), channels, max_pixels, new_size, value_range)


def read_image_bytes(content: bytes, name: str, channels: int, max_pixels: int = MAX_IMAGE_PIXELS, new_size: int = 0,
                     value_range: Sequence[float] | None = None) -> Image.Image | Bands:
    """As `read_image`, of a file's content that is in memory and stays there; `name` is what messages call it."""
    return _read(io.BytesIO(content), shown(name), channels, max_pixels, new_size, value_range)


def _read(file: str | Path | io.BytesIO, named: str, channels: int, max_pixels: int, new_size: int,
          value_range: Sequence[float] | None) -> Image.Image | Bands:
    try:
        if channels not in PICTURES or band_images.is_array(_head(file)):
            return _read_bands(file, channels, lambda w, h: fault_of_size(w, h, max_pixels, new_size), value_range)
        with _opened(file) as image:
            fault = fault_of_size(*image.size, max_pixels, new_size) or _fault_of_scans(image)
            if not fault:
                with _without_words_of_libtiff(image):
                    scales = value_range and _is_deep_colour(image)
                    scaled = _scaled_colour(file, image, value_range) if scales else image   # type: ignore[arg-type]
                    return _convert(ImageOps.exif_transpose(scaled), channels, value_range, named)
    except Exception as error:  # decoders raise almost anything when a file is broken
        reason = (_kind_of(file) if isinstance(error, UnidentifiedImageError) else getattr(error, 'strerror', '')
                  ) or str(error) or repr(error)
        raise BadInput(f'{named}: cannot be read as an image ({shown(reason.splitlines()[0], 200)})') from None
    raise BadInput(f'{named}: {fault}')


def _read_bands(file: str | Path | io.BytesIO, channels: int, fault_of: Callable[[int, int], str],
                value_range: Sequence[float] | None) -> Image.Image | Bands:
    bands = band_images.to_bands(_values_of_bands(file, channels, fault_of), value_range)
    if channels == 3:   # pictures of three channels are bytes throughout
        return Image.merge('RGB', [Image.fromarray((np.asarray(band) * 255 + 0.5).astype(np.uint8)) for band in bands])
    return bands[0] if channels == 1 else Bands(bands)


def _values_of_bands(file: str | Path | io.BytesIO, channels: int, fault_of: Callable[[int, int], str]) -> np.ndarray:
    """The values (H, W, channels) of a file that may have any number of channels."""
    head = _head(file)
    if band_images.is_array(head):
        return band_images.read_array(file, channels, fault_of)
    tiff = band_images.is_tiff(head)
    try:
        with _opened(file) as image, _without_words_of_libtiff(image):
            if fault := fault_of(*image.size):
                raise ValueError(fault)
            values = band_images.read_bands(image, channels)
            if values is not None:
                return values
            if not tiff:
                raise ValueError(f'it has {len(image.getbands())} channels ({image.mode}), and input_dim_a or '
                                 f'input_dim_b is {channels}')
    except UnidentifiedImageError:
        if not tiff:
            raise
    return band_images.read_tiff(file, channels, fault_of)


class Header(NamedTuple):
    """What the head of an image file says: its size when turned as EXIF says, its channels or depth in words, whether
    it has more than 8 bits, and its colour profile.
    """
    size: tuple[int, int]
    kind: str
    deep: bool
    profile: bytes | None


def read_header(path: str | Path) -> Header | None:
    """The head of an image file; None where it cannot be read."""
    try:
        if why_no_file(path):
            return None
        if (array := _holds_array(path)) is not None:
            return _header_of_bands(*band_images.shape_and_kind(path, array))
        with _opened(path) as image:
            deep = _is_deep(image) or _is_deep_colour(image)
            kind = str(len(image.getbands())) if image.mode != 'P' else 'palette'
            if deep:
                kind = 'float' if image.mode == 'F' else '32-bit' if (image.mode, image.format) == ('I', 'TIFF') else \
                    '16-bit colour' if image.mode == 'RGB' else '16-bit'
            turned = image.getexif().get(ORIENTATION) in TURNED
            return Header(image.size[::-1] if turned else image.size, kind, deep, image.info.get('icc_profile'))
    except Exception:   # named when the file is read
        return None


def _holds_array(path: str | Path) -> bool | None:
    """True for a .npy file, False for a TIFF file that Pillow does not read, and None for what Pillow reads."""
    head = _head(path)
    if band_images.is_array(head):
        return True
    if band_images.is_tiff(head):
        try:
            with _opened(path):
                pass
        except UnidentifiedImageError:
            return False
    return None


def _header_of_bands(shape: tuple[int, ...], kind: np.dtype) -> Header:
    shape = tuple(length for length in shape if length > 1)
    # Channels are few, so the shortest side of three is theirs, wherever it stands.
    last = len(shape) == 2 or shape[2] == min(shape)
    height, width = shape[:2] if last else shape[1:]
    deep = kind != np.uint8
    words = 'float' if kind.kind == 'f' else kind.name if deep else str(math.prod(shape) // (height * width))
    return Header((width, height), words, deep, None)


def read_range(path: str | Path) -> tuple[float, float] | None:
    """The lowest and the highest value of a file of more than 8 bits; None where it cannot be read or has none."""
    try:
        if (array := _holds_array(path)) is not None:
            header = _header_of_bands(*band_images.shape_and_kind(path, array))
            if fault_of_size(*header.size, MAX_IMAGE_PIXELS):
                return None
            values = band_images.all_values(path, array)
            return float(np.nanmin(values)), float(np.nanmax(values))
        with _opened(path) as image, _without_words_of_libtiff(image):
            if fault_of_size(*image.size, MAX_IMAGE_PIXELS):
                return None
            values = _values_of_deep_colour(path, image) if _is_deep_colour(image) else np.asarray(image)
            values = values[np.isfinite(values)]
            return float(values.min()), float(values.max())
    except Exception:   # named when the file is read
        return None


@functools.cache
def _formats() -> tuple[str, ...]:
    optional = {'AVIF': 'avif', 'JPEG2000': 'jpg_2000'}
    return FORMATS + tuple(name for name, feature in optional.items() if features.check(feature))


@contextlib.contextmanager
def _opened(file: str | Path | io.BytesIO) -> Iterator[ImageFile.ImageFile]:
    """The image of a file, its header read, without warnings of odd EXIF blocks and the like, which do no harm."""
    formats = _formats()
    if can_read_heif() and (head := _head(file))[8:12] in HEIF_BRANDS and b'avif' not in head[:40]:
        import pillow_heif
        pillow_heif.register_heif_opener()
        formats = ('HEIF',)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        with Image.open(file, formats=formats) as image:
            yield image


def _head(file: str | Path | io.BytesIO) -> bytes:
    if isinstance(file, io.BytesIO):
        return bytes(file.getbuffer()[:256])
    with open(file, 'rb') as opened:
        return opened.read(256)


def _kind_of(file: str | Path | io.BytesIO) -> str:
    """What a file is that is no image of a known format."""
    with contextlib.suppress(OSError):
        head = _head(file)
        text = head.lstrip().lower()
        if not head:
            return 'not an image: the file is empty'
        if head[4:8] == b'ftyp':
            if head[8:12] in HEIF_BRANDS:
                return 'a HEIC picture, which pip install pillow-heif lets this program read'
            if head[8:12] in (b'avif', b'avis'):
                return 'an AVIF picture, which pip install --upgrade pillow lets this program read'
            return 'a video; video.py translates videos, and single frames can be saved as PNG'
        if head[4:8] == b'jP  ' or head[:4] == b'\xff\x4f\xff\x51':
            return 'a JPEG 2000 picture, which this Pillow was built without; save it as PNG'
        if text.startswith(b'version https://git-lfs'):
            return 'a pointer of Git LFS and not the file itself; git lfs pull brings it'
        if text.startswith((b'<!doctype html', b'<html')):
            return 'a web page, not an image'
        if b'<svg' in text or text.startswith(b'%pdf') or head.startswith(b'8BPS'):
            return 'a drawing or document; save it as PNG'
    return 'not an image'


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


# ---------------------------------------------------------------------------------------------------------------------
# Values and colours
# ---------------------------------------------------------------------------------------------------------------------

def _is_deep(image: Image.Image) -> bool:
    return image.mode.startswith('I') or image.mode == 'F'


def _is_deep_colour(image: ImageFile.ImageFile) -> bool:
    """Whether a file has three channels of 16 bits each. Pillow keeps only the upper 8 bits of these."""
    return image.mode == 'RGB' and any(_raw_mode(tile).startswith('RGB;16') for tile in image.tile)


def _raw_mode(tile: Any) -> str:
    arguments = tile[3]
    return str(arguments[0] if isinstance(arguments, tuple) and arguments else arguments)


def _values_of_deep_colour(file: str | Path | io.BytesIO, image: ImageFile.ImageFile) -> np.ndarray:
    """The values (H, W, 3) from 0 to 65535; `image` holds their upper bytes."""
    with _opened(file) as again:
        # The lower bytes are the upper ones of the same file, read as of the other order of bytes.
        own = 'L' if sys.byteorder == 'little' else 'B'
        tiles = []
        for codec, extents, offset, arguments in again.tile:
            raw = _raw_mode((codec, extents, offset, arguments)).replace('16N', f'16{own}')
            other = raw.replace('16L', '16-').replace('16B', '16L').replace('16-', '16B')
            tiles.append((codec, extents, offset, (other, *arguments[1:]) if isinstance(arguments, tuple) else other))
        again.tile = [ImageFile._Tile(*tile) for tile in tiles]
        lower = np.asarray(again).astype(np.uint16)
    return np.asarray(image).astype(np.uint16) * 256 + lower


def _scaled_colour(file: str | Path | io.BytesIO, image: ImageFile.ImageFile, value_range: Sequence[float]
                   ) -> Image.Image:
    """An image of 16-bit colours with a range of them as 0 to 255."""
    low, high = value_range
    values = ((_values_of_deep_colour(file, image) - float(low)) / (high - low)).clip(0, 1)
    scaled = Image.fromarray((values * 255 + 0.5).astype(np.uint8))
    scaled.info = dict(image.info)   # with the profile
    scaled.getexif()[ORIENTATION] = image.getexif().get(ORIENTATION, 1)
    return scaled


def _convert(image: Image.Image, channels: int, value_range: Sequence[float] | None, named: str) -> Image.Image:
    if _is_deep(image):
        return _scaled(image, channels, value_range)
    if image.mode == 'LAB':   # of colours that need no profile, from which Pillow makes no other mode than this
        image = image.convert('RGB')
        image.info.pop('icc_profile', None)
    profile, grey = image.info.get('icc_profile'), image.mode in ('1', 'L', 'LA')
    if image.has_transparency_data:
        image = image.convert('RGBA')
    if profile:
        image = _in_srgb(image, profile, grey, named)
    if image.mode == 'RGBA':
        image = Image.alpha_composite(Image.new('RGBA', image.size, 'white'), image)
    return image.convert('RGB' if channels == 3 else 'L')


def _scaled(image: Image.Image, channels: int, value_range: Sequence[float] | None) -> Image.Image:
    """An image of more than 8 bits with its range as [0, 1], as bytes where three channels are wanted."""
    values = np.asarray(image)
    low, high = band_images.bounds_of(values, value_range)
    if value_range:
        values = (values.astype(np.float64) - low).clip(0, high - low)
    values = values.astype(np.float32) / np.float32(high - low)
    if channels == 1:
        return Image.fromarray(values)
    return Image.fromarray((values * 255 + 0.5).astype(np.uint8)).convert('RGB')


def _in_srgb(image: Image.Image, profile: bytes, grey: bool, named: str) -> Image.Image:
    """The image, of whatever mode, with its colours as sRGB; as it is where it has these or the profile is broken."""
    wanted, transform, fault = _transform_of(profile)
    if not fault and ((wanted == 'CMYK') != (image.mode == 'CMYK') or wanted == 'L' and not grey):
        fault = f'it is for {wanted}, the file has {image.mode}'
    if fault:
        say_once(f'{named}: its colour profile is passed over ({shown(fault, 100)}), and its colours are read as sRGB; '
                 f'the same goes for other files with it', about=hashlib.sha256(profile).hexdigest() + image.mode)
    if fault or transform is None:
        return image
    from PIL import ImageCms
    alpha = image.getchannel('A') if image.mode == 'RGBA' else None
    converted = ImageCms.applyTransform(image.convert(wanted), transform)
    assert converted is not None   # it is None where the image itself is changed
    if alpha:
        converted.putalpha(alpha)
    return converted


@functools.lru_cache(16)
def _transform_of(profile: bytes) -> tuple[str, Any, str]:
    """The mode that a colour profile applies to, its transform to sRGB (None if it is sRGB), and its fault or ''."""
    try:
        from PIL import ImageCms
        opened = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        space = opened.profile.xcolor_space.strip()
        mode = {'RGB': 'RGB', 'GRAY': 'L', 'CMYK': 'CMYK'}.get(space)
        if mode is None:
            return '', None, f'it is for {space}'
        transform = ImageCms.buildTransform(opened, ImageCms.createProfile('sRGB'), mode, 'RGB',
                                            ImageCms.Intent.RELATIVE_COLORIMETRIC,
                                            ImageCms.Flags.BLACKPOINTCOMPENSATION)
        return mode, None if mode != 'CMYK' and _keeps_colours(transform, mode) else transform, ''
    except Exception as error:   # of lcms, which has its own, or Pillow was built without it
        return '', None, str(error).splitlines()[0] if str(error) else repr(error)


def _keeps_colours(transform, mode: str) -> bool:
    """Whether a transform moves no colour by more than `SAME_COLOUR`."""
    from PIL import ImageCms
    steps = np.linspace(0, 255, 18).astype(np.uint8)
    colours = np.stack(np.meshgrid(steps, steps, steps), -1).reshape(-1, 18, 3) if mode == 'RGB' else steps[None]
    before = Image.fromarray(colours)
    moved = ImageCms.applyTransform(before, transform)
    return bool(np.abs(np.asarray(moved, int) - np.asarray(before.convert('RGB'), int)).max() <= SAME_COLOUR)
