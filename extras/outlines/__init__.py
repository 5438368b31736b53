"""Outlines of photographs: Canny edges, black on white.

    from extras.outlines import outline
    drawing = outline(photograph)            # PIL images; same size, mode L

Needs scikit-image (requirements/photos.txt), which is imported on the first call.
"""
import math

import numpy as np
from PIL import Image

# These values apply to an image whose shorter side has REFERENCE_SIZE pixels and are converted for any other size, so
# that a photograph gives the same lines at every size.
REFERENCE_SIZE = 128
SIGMA, LOW, HIGH = 1.6, 0.06, 0.14
MIN_LENGTH = 8

INSTALL = 'install it with: pip install -r requirements/photos.txt'


class MissingPackage(Exception):
    """A package of requirements/photos.txt is not installed. The text says how to install it."""


def default_line_width(size: int) -> int:
    """The line width in pixels for an image of `size` pixels: 1 up to 191, 2 from 192 on, 3 from 320 on."""
    return max(1, math.floor(size / REFERENCE_SIZE + 0.5))


def default_min_length(size: int) -> int:
    """The minimum number of pixels of a line for an image of `size` pixels."""
    return round(MIN_LENGTH * size / REFERENCE_SIZE)


def square(image: Image.Image, size: int) -> Image.Image:
    """The middle square of `image`, resized to `size` × `size`."""
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return image.resize((size, size), Image.Resampling.LANCZOS, box=(left, top, left + side, top + side))


def outline(image: Image.Image, sigma: float = SIGMA, low: float = LOW, high: float = HIGH,
            line_width: int | None = None, min_length: int | None = None) -> Image.Image:
    """The outline of a photograph, as black lines on white.

    Args:
        image: the photograph. Transparent parts are composited on white.
        sigma: standard deviation of the Gaussian filter, in pixels of an image whose shorter side has 128.
        low: gradient above which a pixel continues a line, in units of the full range of grey, at 128 pixels.
        high: gradient above which a pixel starts a line.
        line_width: in pixels of `image`; by default 1 at 128 pixels, in proportion.
        min_length: lines (connected pixels) with fewer pixels are removed; by default 8 at 128 pixels, in proportion.

    Returns:
        An image of mode L and the same size, with the values 0 and 255 only.

    Raises:
        MissingPackage: scikit-image is not installed.
    """
    try:
        from scipy import ndimage
        from skimage.feature import canny
    except ImportError as error:
        raise MissingPackage(f'outlines need {error.name}: {INSTALL}') from None
    if image.mode in ('RGBA', 'LA', 'PA') or 'transparency' in image.info:
        image = image.convert('RGBA')
        image = Image.alpha_composite(Image.new('RGBA', image.size, 'white'), image)
    size = min(image.size)
    scale = size / REFERENCE_SIZE
    grey = np.asarray(image.convert('L'), np.float64) / 255
    # At twice the size a blurred step is twice as wide, so its gradient per pixel is half as large.
    lines = canny(grey, sigma * scale, low / scale, high / scale)

    min_length = default_min_length(size) if min_length is None else min_length
    if min_length > 1:
        labels, _ = ndimage.label(lines, np.ones((3, 3)))
        long_enough = np.bincount(labels.ravel()) >= min_length
        long_enough[0] = False
        lines = long_enough[labels]

    line_width = default_line_width(size) if line_width is None else line_width
    if line_width > 1:
        offsets = np.arange(line_width) - (line_width - 1) / 2
        disk = np.hypot(*np.meshgrid(offsets, offsets)) <= line_width / 2
        lines = ndimage.binary_dilation(lines, disk)
    return Image.fromarray(np.where(lines, 0, 255).astype(np.uint8))
