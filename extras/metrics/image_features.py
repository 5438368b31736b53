"""Features of images that are computed from pixels alone: edges, CIELAB colours, patterns, and their diversity.

Colour differences are those of CIE 1976: the Euclidean distance in CIELAB under D65. All images are (N, C, H, W) in
[-1, 1]; one channel is grey.
"""
import functools
import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

TOLERANCE = 2 / 128            # distance within which two edges agree, as a share of the shorter side
EDGE_CONTRAST = 12.0           # an edge is a change of more than this ΔE over two pixels
ONE_COLOUR = 14.0              # two groups of pixels that differ by less than this ΔE have one colour
NEARLY_AS_COMMON = 0.4         # a second colour with at least this share of the pixels may be the main one
GREY = 12.0                    # a colour with less CIELAB chroma counts as grey
HUES, LIGHTNESSES = 8, 3       # numbers of bins
PATTERNS = ('plain', 'stripes', 'dots', 'checks', 'zigzag')
FEWEST_PIXELS = 24             # a colour or a pattern is measured on at least this many pixels
PATTERN_SIZE = 128             # larger images are reduced to this size, at which the finest pattern is still visible
PATTERN_FIT = 0.68             # lowest correlation with the autocorrelation of a pattern that counts as a match
PATTERN_CONTRAST = 20.0        # two colours that differ by less than this ΔE are shading on a seam or a fold
PATTERN_SHARE = 0.95           # where the main colour has a larger share, the second one is a seam
SHADING = 0.07                 # anything smoother than this share of the image size is shading, not pattern
REACH = 0.16                   # largest offset of autocorrelations, as a share of the image size

# ---------------------------------------------------------------------------------------------------------------------
# Colour
# ---------------------------------------------------------------------------------------------------------------------


def to_lab(images: Tensor) -> Tensor:
    """sRGB images (N, 1 or 3, H, W) in [-1, 1] -> L* in 0…100, a*, b*: (N, 3, H, W)."""
    rgb = ((images.expand(-1, 3, -1, -1) + 1) / 2).clamp(0, 1)
    linear = torch.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    to_xyz = linear.new_tensor([[0.4124564, 0.3575761, 0.1804375],
                                [0.2126729, 0.7151522, 0.0721750],
                                [0.0193339, 0.1191920, 0.9503041]])
    white = to_xyz.sum(1)   # XYZ of R = G = B = 1, so that greys have exactly zero chroma
    xyz = torch.einsum('ij,njhw->nihw', to_xyz / white[:, None], linear)
    f = torch.where(xyz > (6 / 29) ** 3, xyz.clamp(min=1e-12) ** (1 / 3), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    x, y, z = f.unbind(1)
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], 1)


def lab_of(colour: Sequence[float]) -> Tensor:
    """The L*, a*, b* of an sRGB colour with values 0…255: (3,)."""
    return to_lab(torch.tensor(colour, dtype=torch.float64).view(1, 3, 1, 1) / 127.5 - 1).flatten().float()


def delta_e(one: Tensor, other: Tensor) -> Tensor:
    """CIE 1976 colour difference of (…, 3) and (…, 3)."""
    return (one - other).norm(dim=-1)


class Palette(NamedTuple):
    """The two main colours of a set of pixels, (2, 3), the more frequent first, and its share of the pixels."""
    colours: Tensor
    share: float

    @property
    def main(self) -> Tensor:
        """The more frequent colour, (3,)."""
        return self.colours[0]

    def difference(self, colour: Tensor) -> float:
        """ΔE between `colour` (3,) and the main colour; of two about equally frequent ones, the nearer one."""
        differences = delta_e(self.colours, colour)
        return (differences.min() if self.share <= 1 - NEARLY_AS_COMMON else differences[0]).item()


def palette(lab: Tensor) -> Palette:
    """The palette of pixels (n, 3) in CIELAB, by 2-means clustering; the colour of a cluster is its median, which
    shading affects least. Clusters that differ by less than ΔE 14 are taken as one colour, the median of all pixels.
    """
    whole = lab.median(0).values
    first = lab[delta_e(lab, whole).argmax()]
    centres = torch.stack([whole, first])
    for _ in range(10):
        nearest = torch.cdist(lab, centres).argmin(1)
        if nearest.min() == nearest.max():
            break
        centres = torch.stack([lab[nearest == k].mean(0) for k in (0, 1)])
    nearest = torch.cdist(lab, centres).argmin(1)
    second = nearest.float().mean().item()
    if not 0 < second < 1:
        return Palette(torch.stack([whole, whole]), 1.0)
    colours = torch.stack([lab[nearest == k].median(0).values for k in (0, 1)])
    if delta_e(*colours) < ONE_COLOUR:
        return Palette(torch.stack([whole, whole]), 1.0)
    return Palette(colours, 1 - second) if second <= 0.5 else Palette(colours.flip(0), second)


def colour_bin(lab: Tensor) -> tuple[int, int]:
    """The bin of a colour (3,): hue in eighths of the circle, -1 for greys, and lightness in thirds."""
    lightness, a, b = lab.tolist()
    level = min(LIGHTNESSES - 1, max(0, int(lightness / 100 * LIGHTNESSES)))
    if math.hypot(a, b) < GREY:
        return -1, level
    return int(math.atan2(b, a) % math.tau / math.tau * HUES) % HUES, level


# ---------------------------------------------------------------------------------------------------------------------
# Edges
# ---------------------------------------------------------------------------------------------------------------------

def edges(images: Tensor) -> Tensor:
    """The edges of images (N, C, H, W): (N, H, W), bool.

    A pixel is an edge where the CIELAB gradient is above a threshold and is a local maximum across the edge.
    """
    padded = F.pad(to_lab(images), (1, 1, 1, 1), mode='replicate')
    smooth = padded.new_tensor([1, 2, 1]) / 4
    slope = padded.new_tensor([-1, 0, 1])
    n, c, h, w = padded.shape
    flat = padded.reshape(n * c, 1, h, w)
    dx = F.conv2d(flat, (smooth[:, None] * slope)[None, None]).view(n, c, h - 2, w - 2)
    dy = F.conv2d(flat, (slope[:, None] * smooth)[None, None]).view(n, c, h - 2, w - 2)
    across, down = dx.norm(dim=1), dy.norm(dim=1)
    strength = torch.hypot(across, down)
    around = F.pad(strength, (1, 1, 1, 1))
    horizontal = (strength >= around[:, 1:-1, :-2]) & (strength >= around[:, 1:-1, 2:])
    vertical = (strength >= around[:, :-2, 1:-1]) & (strength >= around[:, 2:, 1:-1])
    return (strength > EDGE_CONTRAST) & torch.where(across > down, horizontal, vertical)


def grow(mask: Tensor, radius: float) -> Tensor:
    """Dilate a mask (N, H, W) by a disc of this radius in pixels."""
    reach = int(radius)
    at = torch.arange(-reach, reach + 1, device=mask.device)
    disc = (at[:, None] ** 2 + at ** 2 <= radius ** 2).float()[None, None]
    return F.conv2d(mask[:, None].float(), disc, padding=reach)[:, 0] > 0.5


def edge_f1(found: Tensor, wanted: Tensor, tolerance: float) -> Tensor:
    """F1 of edges `found` against edges `wanted`, both bools (N, H, W): (N,) in 0…1.

    Precision is the share of found edges that lie within `tolerance` pixels of a wanted one; recall is the share of
    wanted edges that lie within `tolerance` pixels of a found one. 1 where neither has edges, 0 where only one has.
    """
    def share(of: Tensor, near: Tensor) -> Tensor:
        return (of & grow(near, tolerance)).flatten(1).sum(1) / of.flatten(1).sum(1).clamp(min=1)

    precision, recall = share(found, wanted), share(wanted, found)
    f1 = 2 * precision * recall / (precision + recall).clamp(min=1e-12)
    empty = ~(found.flatten(1).any(1) | wanted.flatten(1).any(1))
    return torch.where(empty, torch.ones_like(f1), f1)


def tolerance_of(height: int, width: int) -> float:
    """The distance in pixels within which two edges agree: 2 at 128×128, in proportion at other sizes, at least 1."""
    return max(1.0, TOLERANCE * min(height, width))


# ---------------------------------------------------------------------------------------------------------------------
# Patterns
# ---------------------------------------------------------------------------------------------------------------------

def pattern_of(lab: Tensor, mask: Tensor) -> str:
    """The pattern of the pixels in `mask` (H, W) of an image (3, H, W) in CIELAB, one of `PATTERNS`.

    Colours are projected on their first principal component, and shading, which is smoother than any pattern, is
    subtracted. The autocorrelation of the result, which does not depend on the position of a pattern, is compared with
    the autocorrelations of all patterns at several periods and angles. The result is 'plain' where there are not two
    colours, or no pattern fits.
    """
    if min(mask.shape) > PATTERN_SIZE:
        smaller = [round(side * PATTERN_SIZE / min(mask.shape)) for side in mask.shape]
        lab = F.interpolate(lab[None], smaller, mode='area')[0]
        mask = F.interpolate(mask[None, None].float(), smaller, mode='area')[0, 0] > 0.99
    pixels = lab[:, mask].T
    if len(pixels) < FEWEST_PIXELS:
        return 'plain'
    colours, share = palette(pixels)
    if share > PATTERN_SHARE or delta_e(*colours) < PATTERN_CONTRAST:
        return 'plain'
    size = min(mask.shape)
    centred = pixels - pixels.mean(0)
    direction = torch.linalg.eigh(centred.T @ centred).eigenvectors[:, -1]
    values = torch.zeros(mask.shape)
    values[mask] = centred @ direction
    weight = mask.float()
    values = (values - _blur(values, SHADING * size) / _blur(weight, SHADING * size).clamp(min=1e-6)) * weight
    reach = max(2, round(REACH * size))
    measured, overlap = _autocorrelation(values, reach), _autocorrelation(weight, reach)
    shape = measured / overlap.clamp(min=1)
    kinds, templates = _templates(size, reach)
    enough = (overlap > 0.15 * overlap.max()).flatten().float()
    fits = _correlations(shape.flatten(), templates, enough)
    return kinds[int(fits.argmax())] if fits.max() > PATTERN_FIT else 'plain'


def _blur(values: Tensor, sigma: float) -> Tensor:
    reach = max(1, math.ceil(2.5 * sigma))
    at = torch.arange(-reach, reach + 1, dtype=torch.float32)
    bell = torch.exp(-at ** 2 / (2 * sigma ** 2))
    bell = bell / bell.sum()
    rows = F.conv2d(values[None, None], bell[None, None, None], padding=(0, reach))
    return F.conv2d(rows, bell[None, None, :, None], padding=(reach, 0))[0, 0]


def _autocorrelation(values: Tensor, reach: int) -> Tensor:
    """Sums of products of values (H, W) at all offsets up to `reach`: (2·reach + 1, 2·reach + 1)."""
    height, width = values.shape
    spectrum = torch.fft.rfft2(values, (height + reach, width + reach))
    sums = torch.fft.irfft2(spectrum.abs() ** 2, (height + reach, width + reach))
    return torch.roll(sums, (reach, reach), (0, 1))[:2 * reach + 1, :2 * reach + 1]


def _correlations(one: Tensor, many: Tensor, weight: Tensor) -> Tensor:
    """Correlation of `one` (k,) with each row of `many` (n, k), weighted by `weight` (k,)."""
    weight = weight / weight.sum()
    one, many = one - (one * weight).sum(), many - (many * weight).sum(1, keepdim=True)
    together = (one * many * weight).sum(1)
    return together / ((one ** 2 * weight).sum() * (many ** 2 * weight).sum(1)).sqrt().clamp(min=1e-12)


@functools.lru_cache(maxsize=4)
def _templates(size: int, reach: int) -> tuple[list[str], Tensor]:
    """The kinds of n patterns, and their autocorrelations, (n, (2·reach + 1)²)."""
    kinds, found = [], []
    upright = (-8, -4, 0, 4, 8)
    tilts = {'stripes': range(0, 180, 4), 'dots': upright, 'checks': (*upright, 37, 41, 45, 49, 53),
             'zigzag': range(-12, 13, 3)}
    shares = {'checks': (0.4,)}
    side = max(size, 96)
    for kind, angles in tilts.items():
        for period in (0.07, 0.078, 0.087, 0.097, 0.108, 0.12, 0.133):
            for angle in angles:
                for share in shares.get(kind, (0.32, 0.43)):
                    values = _pattern(kind, period * size, angle, share, side)
                    kinds.append(kind)
                    values = values - _blur(values, SHADING * size) / _blur(torch.ones_like(values), SHADING * size)
                    found.append(_autocorrelation(values, reach).flatten())
    return kinds, torch.stack(found)


def _pattern(kind: str, period: float, angle: float, share: float, side: int) -> Tensor:
    """The share of a pattern's second colour in each pixel, (side, side) in [0, 1]; `period` and `side` in pixels."""
    fine = 3   # supersampling, as pixels on the edge of a shape are partly covered
    at = (torch.arange(side * fine) + 0.5) / (fine * period)
    cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    u, v = cos * at[None, :] + sin * at[:, None], cos * at[:, None] - sin * at[None, :]
    if kind == 'stripes':
        covered = u % 1 < share
    elif kind == 'checks':
        covered = (u % 1 < 0.5) ^ (v % 1 < 0.5)
    elif kind == 'dots':
        row = v.floor()
        covered = ((u + row % 2 / 2) % 1 - 0.5) ** 2 + (v - row - 0.5) ** 2 < (0.2 + 0.3 * share) ** 2
    else:
        covered = (v + 0.5 * (u % 1 - 0.5).abs()) % 1 < share
    return F.avg_pool2d(covered.float()[None, None], fine)[0, 0]


# ---------------------------------------------------------------------------------------------------------------------
# Diversity
# ---------------------------------------------------------------------------------------------------------------------

def entropy(kinds: Sequence) -> float:
    """Entropy in bits of the frequencies of the kinds in a list; log2(k) for k equally frequent kinds."""
    shares = [kinds.count(kind) / len(kinds) for kind in set(kinds)]
    return -sum(share * math.log2(share) for share in shares)


def mean_squared_difference(images: Tensor) -> float:
    """Mean squared ΔE between corresponding pixels, over all pairs of images (N, C, H, W); 0 for a single image."""
    if len(images) < 2:
        return 0.0
    lab = to_lab(images.float())
    differences = [(lab[i + 1:] - lab[i]).square().sum(1).mean((1, 2)) for i in range(len(lab) - 1)]
    return torch.cat(differences).mean().item()


def mean_pair_difference(colours: Tensor) -> float:
    """Mean ΔE over all pairs of colours (n, 3); 0 for a single colour."""
    return torch.pdist(colours).mean().item() if len(colours) > 1 else 0.0


class Coverage(NamedTuple):
    """Share of the real kinds that samples reach, and share of the samples whose kind does not occur among the real."""
    reached: float
    outside: float


def coverage(samples: Sequence, real: Sequence) -> Coverage:
    """How well the kinds of samples cover those of real images."""
    wanted = set(real)
    outside = sum(kind not in wanted for kind in samples)
    return Coverage(len(wanted & set(samples)) / len(wanted), outside / len(samples))


def expected_coverage(real: Sequence, n: int) -> Coverage:
    """The coverage to expect of n further real images, from the frequencies of the real kinds.

    A kind of frequency p occurs among n images with probability 1 - (1 - p)^n. The probability that a new image is of
    an unseen kind is estimated by the share of kinds that occurred once (Good and Turing).
    """
    counts = [list(real).count(kind) for kind in set(real)]
    reached = sum(1 - (1 - count / len(real)) ** n for count in counts) / len(counts)
    return Coverage(reached, counts.count(1) / len(real))
