"""Images of any number of channels: NumPy arrays (.npy), pictures with transparency, and TIFF files of several bands or
pages, such as those of satellites, microscopes and scanners. Imports no PyTorch.
"""
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageFile, ImageOps

NPY = b'\x93NUMPY'
TIFF = (b'II*\0', b'MM\0*', b'II+\0', b'MM\0+')   # TIFF and BigTIFF, of both byte orders
BANDS_OF_MODES = {'LA': 2, 'RGBA': 4}
PICTURES = (1, 3)   # channels of what every viewer shows: grey and colour


class Bands:
    """An image of several channels, each a picture of mode F; has what `data.Transform` uses of `PIL.Image.Image`."""
    mode = 'F'

    def __init__(self, bands: Sequence[Image.Image]):
        self.bands = list(bands)
        self.size = self.width, self.height = self.bands[0].size

    def getbands(self) -> tuple[str, ...]:
        return ('F',) * len(self.bands)

    def resize(self, *arguments: Any) -> 'Bands':
        return Bands([band.resize(*arguments) for band in self.bands])

    def crop(self, box: tuple[int, int, int, int]) -> 'Bands':
        return Bands([band.crop(box) for band in self.bands])

    def transpose(self, method: Image.Transpose) -> 'Bands':
        return Bands([band.transpose(method) for band in self.bands])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """(H, W, C)."""
        return np.stack([np.asarray(band, dtype) for band in self.bands], axis=-1)


def is_array(head: bytes) -> bool:
    """Whether a file that begins like this is a .npy file."""
    return head.startswith(NPY)


def is_tiff(head: bytes) -> bool:
    return head[:4] in TIFF


def read_array(file: str | Path | io.BytesIO, channels: int, fault_of_size: Callable[[int, int], str]) -> np.ndarray:
    """The values (H, W, channels) of a .npy file, which may hold (H, W) for one channel, or (channels, H, W).

    Raises:
        ValueError: not an array of numbers, of another shape, or too large.
    """
    if isinstance(file, io.BytesIO):
        values = np.load(file, allow_pickle=False)
    else:
        values = np.load(file, mmap_mode='r', allow_pickle=False)
    if values.dtype.kind not in 'buif':
        raise ValueError(f'an array of {values.dtype}; whole or floating-point numbers are read')
    return _with_channels_last(values, channels, fault_of_size, 'an array')


def _with_channels_last(values: np.ndarray, channels: int, fault_of_size: Callable[[int, int], str], what: str
                        ) -> np.ndarray:
    shape = values.shape
    if values.ndim == 2 and channels == 1:
        values = values[:, :, None]
    elif values.ndim == 3 and shape[2] != channels and shape[0] == channels:
        values = np.moveaxis(values, 0, 2)
    if values.ndim != 3 or values.shape[2] != channels:
        raise ValueError(f'{what} of shape {tuple(shape)}; ({channels}, height, width) or (height, width, {channels}) '
                         f'is expected, as input_dim_a or input_dim_b is {channels}')
    if fault := fault_of_size(values.shape[1], values.shape[0]):
        raise ValueError(fault)
    return values


def read_bands(image: ImageFile.ImageFile, channels: int) -> np.ndarray | None:
    """The values (H, W, channels) of an opened picture whose channels, transparency included, or whose pages of one
    channel each are as many; None where they are not.
    """
    pages = getattr(image, 'n_frames', 1)
    if BANDS_OF_MODES.get(image.mode) == channels:
        return np.asarray(ImageOps.exif_transpose(image))
    if image.format != 'TIFF' or pages != channels or len(image.getbands()) != 1 or image.mode in ('1', 'P'):
        return None
    found = []
    for page in range(pages):
        image.seek(page)
        found.append(np.asarray(image))
    if len({(band.shape, band.dtype) for band in found}) > 1:
        raise ValueError('its pages differ in size or in kind')
    return np.stack(found, axis=-1)


def _opened_tiff(file: str | Path | io.BytesIO) -> Any:
    try:
        import tifffile
    except ImportError:
        raise ValueError('a TIFF file of several bands, which pip install tifffile lets this program read') from None
    return tifffile.TiffFile(file)


def shape_and_kind(path: str | Path, array: bool) -> tuple[tuple[int, ...], np.dtype]:
    """The shape and data type of a .npy file (`array`), or of a TIFF file that Pillow does not read."""
    if array:
        values = np.load(path, mmap_mode='r', allow_pickle=False)
        return values.shape, values.dtype
    with _opened_tiff(path) as opened:
        return opened.series[0].shape, opened.series[0].dtype


def all_values(path: str | Path, array: bool) -> np.ndarray:
    """The values of such a file in their own shape."""
    if array:
        return np.load(path, mmap_mode='r', allow_pickle=False)
    with _opened_tiff(path) as opened:
        return opened.series[0].asarray()


def read_tiff(file: str | Path | io.BytesIO, channels: int, fault_of_size: Callable[[int, int], str]) -> np.ndarray:
    """The values (H, W, channels) of the first series of a TIFF file that Pillow does not read.

    Raises:
        ValueError: tifffile is not installed, another number of bands, or too large.
    """
    with _opened_tiff(file) as opened:
        series = opened.series[0]
        shape = [length for length in series.shape if length > 1 or channels == 1]
        # Of the shape alone, so that nothing is decoded of an image that is too large.
        _with_channels_last(np.broadcast_to(np.uint8(0), shape), channels, fault_of_size, 'a TIFF image')
        return _with_channels_last(series.asarray().reshape(shape), channels, fault_of_size, 'a TIFF image')


def bounds_of(values: np.ndarray, value_range: Sequence[float] | None) -> tuple[float, float]:
    """The values of black and white: those of `value_range`, or 0 and 255 for 8 bits, 0 and 65535 for other whole
    numbers, 0 and 1 for floats.

    Raises:
        ValueError: NaN, or values outside the bounds and no `value_range`.
    """
    if np.isnan(values).any():
        raise ValueError('some of its values are not numbers (NaN)')
    low, high = value_range or (0, 255 if values.dtype == np.uint8 else 65535 if values.dtype.kind in 'ui' else 1)
    if not value_range and not (values.min() >= low and values.max() <= high):
        raise ValueError(f'values from {values.min():g} to {values.max():g}, some outside {low}…{high}; set '
                         f'value_range_a or value_range_b: [lowest, highest] in the config')
    return low, high


def to_bands(values: np.ndarray, value_range: Sequence[float] | None) -> list[Image.Image]:
    """Values (H, W, C) as pictures of mode F in [0, 1], one a channel.

    Args:
        value_range: see `bounds_of`. Values outside are clipped.

    Raises:
        ValueError: see `bounds_of`.
    """
    low, high = bounds_of(values, value_range)
    values = ((values.astype(np.float64) - low) / (high - low)).clip(0, 1).astype(np.float32)
    return [Image.fromarray(np.ascontiguousarray(band)) for band in np.moveaxis(values, 2, 0)]
