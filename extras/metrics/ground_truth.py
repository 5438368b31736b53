"""The true factors of drawn data: factors_test.json, masks of the objects, and how style codes depend on the factors.

scripts/draw_demo_data.py writes the file to the folder of testA and testB. Both images of a pair show the object that
its entry describes.
"""
import json
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from PIL import Image, ImageChops, ImageDraw, ImageFilter
from torch import Tensor

from core.errors import BadInput, shown
from extras.metrics.image_features import FEWEST_PIXELS, PATTERNS, lab_of

FILE_NAME = 'factors_test.json'
MAX_FILE_BYTES = 512 * 2 ** 20
FINE = 4              # a mask is drawn this many times larger, and keeps the pixels that are completely covered
FACTORS = ('body L*', 'body a*', 'body b*', 'second L*', 'second a*', 'second b*', 'patterned', 'handbag', 'flipped')


class Factors(NamedTuple):
    """What a test image shows, as far as the metrics need it."""
    size: int                  # height and width of the image as it was drawn, in pixels
    body: list                 # outlines: lists of (x, y) in these pixels
    covered: list              # outlines of parts in other colours that cover the body
    body_lab: Tensor           # (3,)
    second_lab: Tensor         # (3,)
    pattern: str
    handbag: bool
    flipped: bool

    def values(self) -> list[float]:
        """The factors as numbers, in the order of `FACTORS`."""
        return [*self.body_lab.tolist(), *self.second_lab.tolist(), float(self.pattern != 'plain'),
                float(self.handbag), float(self.flipped)]

    def body_mask(self, new_size: int, height: int, width: int) -> Tensor:
        """Mask of the object's body in an image that was resized to `new_size` and cropped from the centre: (H, W),
        bool.

        It holds the pixels that lie completely inside the outline of the body and outside everything that covers it. As
        contours are dark, it is eroded by a pixel where enough pixels remain.
        """
        side = new_size * FINE
        scale = side / self.size
        mask = Image.new('L', (side, side), 0)
        drawing = ImageDraw.Draw(mask)
        for fill, outlines in ((255, self.body[:1]), (0, self.covered)):
            for outline in outlines:
                drawing.polygon([(x * scale, y * scale) for x, y in outline], fill=fill)
        whole = mask.filter(ImageFilter.MinFilter(3)).reduce(FINE).point(lambda value: 255 if value >= 250 else 0)
        inner = ImageChops.darker(whole, whole.filter(ImageFilter.MinFilter(3)))
        top, left = round((new_size - height) / 2), round((new_size - width) / 2)
        masks = []
        for image in (inner, whole):
            cropped = image.crop((left, top, left + width, top + height))
            masks.append(torch.frombuffer(bytearray(cropped.tobytes()), dtype=torch.uint8).view(height, width) > 0)
        return masks[0] if masks[0].sum() >= FEWEST_PIXELS else masks[1]


def read_factors(data_root: str | Path) -> dict[str, Factors]:
    """The true factors of a drawn data set by file name; empty where the folder has no factors_test.json.

    Raises:
        BadInput: the file exists, but scripts/draw_demo_data.py did not write it.
    """
    path = Path(data_root) / FILE_NAME
    if not os.path.isfile(path):
        return {}
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise ValueError('too large')
        entries = json.loads(path.read_text(encoding='utf-8'))
        return {entry['file']: _factors_of(entry) for entry in entries}
    except OSError as error:
        raise BadInput(f'{shown(path)}: {error.strerror}') from None
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise BadInput(f'{shown(path)}: not what draw_demo_data.py writes ({shown(repr(error), 100)}); draw the data '
                       f'again') from None


def _factors_of(entry: dict[str, Any]) -> Factors:
    outlines = [[[(float(x), float(y)) for x, y in outline] for outline in entry[key]] for key in ('body', 'covered')]
    if not all(math.isfinite(value) for group in outlines for outline in group for point in outline for value in point):
        raise ValueError('a coordinate that is not finite')
    if entry['pattern'] not in PATTERNS or not 1 <= entry['size'] <= 2 ** 14 or not outlines[0]:
        raise ValueError('an unknown pattern, a size out of range, or no body')
    colours = [[float(value) for value in entry['colours'][role]] for role in ('body', 'second')]
    if not all(len(colour) == 3 and all(0 <= value <= 255 for value in colour) for colour in colours):
        raise ValueError('a colour that is not three bytes')
    return Factors(int(entry['size']), *outlines, *map(lab_of, colours), entry['pattern'], entry['object'] == 'handbag',
                   bool(entry['flipped']))


def correlations(styles: Tensor, factors: Sequence[Factors]) -> Tensor:
    """Pearson correlation of each style dimension with each of `FACTORS`, 0 where either is constant:
    (style_dim, factors).

    Args:
        styles: (n, style_dim), style codes of the images that show `factors`.
    """
    values = torch.tensor([one.values() for one in factors], dtype=torch.float64)
    codes = styles.double() - styles.double().mean(0)
    values = values - values.mean(0)
    scale = codes.norm(dim=0)[:, None] * values.norm(dim=0)
    return torch.where(scale > 1e-9, codes.T @ values / scale.clamp(min=1e-9), torch.zeros_like(scale))


def explained(styles: Tensor, factors: Sequence[Factors]) -> Tensor:
    """Leave-one-out R² of a linear regression of each factor on the style codes, negative values set to 0: (factors,).

    Leaving out the image that is predicted keeps many dimensions from explaining a factor by chance.
    """
    n = len(styles)
    values = torch.tensor([one.values() for one in factors], dtype=torch.float64)
    design = torch.cat([torch.ones(n, 1, dtype=torch.float64), styles.double()], 1)
    hat = design @ torch.linalg.pinv(design)
    left_out = (values - hat @ values) / (1 - hat.diagonal()).clamp(min=1e-6)[:, None]
    mean_left_out = (values - values.mean(0)) * (n / max(1, n - 1))
    total = mean_left_out.square().sum(0)
    share = 1 - left_out.square().sum(0) / total.clamp(min=1e-12)
    return torch.where(total > 1e-9, share.clamp(min=0), torch.zeros_like(share))
