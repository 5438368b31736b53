"""Metrics for models that turn outlines into photographs on white: they need no true factors and no other network.

A colour is the median CIE Lab colour of the object in the middle half of an image. The object is what is not nearly
white (L* below 93, or chroma above 8); where hardly anything is, the whole middle counts. Differences are
ΔE (CIE 1976). Edges need scikit-image (requirements/photos.txt), whose SciPy is imported on the first call.
"""
from collections.abc import Sequence

import numpy as np
from PIL import Image
from torch import Tensor

from extras.metrics.image_features import to_lab
from extras.outlines import outline
from utils import to_bytes, to_picture

NEARLY_WHITE, COLOURLESS = 93.0, 8.0   # L* from which, and chroma up to which, a pixel counts as background
TOLERANCE = 1 / 64                     # of the image's side: how far an edge may lie from the outline
COVERED = 15.0                         # ΔE within which a sampled output covers a real colour


def object_mask(image: Tensor) -> np.ndarray:
    """Which pixels of an image (3, H, W) in [-1, 1] belong to the object: (H, W), bool."""
    light, a, b = to_lab(image[None])[0].cpu().numpy()
    return (light < NEARLY_WHITE) | (np.hypot(a, b) > COLOURLESS)


def colour_of(image: Tensor) -> np.ndarray:
    """The colour of the object in an image (3, H, W) in [-1, 1]: its median L*, a*, b*."""
    _, height, width = image.shape
    rows, columns = slice(height // 4, height - height // 4), slice(width // 4, width - width // 4)
    middle = to_lab(image[None])[0].cpu().numpy()[:, rows, columns].reshape(3, -1)
    inside = object_mask(image)[rows, columns].reshape(-1)
    return np.median(middle[:, inside] if inside.mean() > 0.05 else middle, axis=1)


def mean_difference(colours: Sequence[np.ndarray]) -> float:
    """Mean ΔE over all pairs."""
    return float(np.mean([np.linalg.norm(one - two) for i, one in enumerate(colours) for two in colours[:i]]))


def coverage(real: Sequence[np.ndarray], found: Sequence[np.ndarray]) -> float:
    """Share of the real colours with a found one within `COVERED`."""
    distances = np.linalg.norm(np.stack(real)[:, None] - np.stack(found)[None], axis=2)
    return float((distances.min(1) <= COVERED).mean())


def content_kept(image: Tensor, lines: Tensor) -> float:
    """Agreement of the edges of an image (3, H, W) with an outline (1, H, W), both in [-1, 1]: the F-score of precision
    (edges near a line) and recall (lines near an edge), within `TOLERANCE`.
    """
    from scipy.ndimage import distance_transform_edt
    drawn = lines[0].cpu().numpy() < 0
    edges = np.asarray(outline(Image.fromarray(to_bytes(to_picture(image)).cpu().numpy()))) < 128
    if not drawn.any() or not edges.any():
        return 0.0
    reach = max(1.0, TOLERANCE * min(drawn.shape))
    precision = (distance_transform_edt(~drawn)[edges] <= reach).mean()
    recall = (distance_transform_edt(~edges)[drawn] <= reach).mean()
    return float(2 * precision * recall / max(1e-9, precision + recall))


def filled(image: Tensor, lines: Tensor) -> float:
    """Share of what an outline (1, H, W) encloses that the object of an image (3, H, W) covers. An output with less
    than one half counts as broken; so does a shirt that is all white.
    """
    from scipy.ndimage import binary_dilation, binary_fill_holes
    drawn = binary_dilation(lines[0].cpu().numpy() < 0, iterations=2)   # closes small gaps
    enclosed = binary_fill_holes(drawn) & ~drawn
    return float(object_mask(image)[enclosed].mean()) if enclosed.any() else 1.0


