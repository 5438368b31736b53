"""What discriminators see of an image where there are few images: the same random changes for real and translated ones.

With under a thousand images a discriminator learns them by heart. Differentiable augmentation (Zhao et al., 2020) shows
it changed images only, real and fake alike, so that it cannot; the gradient passes through the change to the generator.
Off by default; `dis.augment` in a config turns it on.
"""
import itertools

import torch
from torch import Tensor

KINDS = ('color', 'translation', 'cutout')
CHOICES = ('none', *(','.join(kinds) for n in (1, 2, 3) for kinds in itertools.combinations(KINDS, n)))
AUGMENT_PARAMS = 7      # numbers that `augment` takes for an image
FURTHEST = 1 / 8        # of a side: how far an image is moved
CUT = 1 / 2             # of a side: the side of the area that is cut out


def augment(images: Tensor, numbers: Tensor, kinds: str) -> Tensor:
    """Change the images at random, each in its own way.

    `color`: brightness by up to half of [0, 1], saturation by a factor of up to 2, contrast by one of 0.5 to 1.5.
    `translation`: moved by up to an eighth of each side, grey (0) at the border. `cutout`: a rectangle of half of each
    side, which may reach over the border, becomes grey.

    Args:
        images: (N, C, H, W) in [-1, 1].
        numbers: (N, AUGMENT_PARAMS), uniform in [0, 1); the result depends on them alone.
        kinds: one of CHOICES.

    Returns:
        (N, C, H, W), differentiable in the images; with `color` it may leave [-1, 1].
    """
    chosen, (height, width) = kinds.split(','), images.shape[2:]
    brightness, saturation, contrast, down, right, row, column = numbers.to(images.device).unbind(1)
    if 'color' in chosen:
        images = images + (brightness - 0.5).view(-1, 1, 1, 1)
        images = _scaled(images, images.mean(1, keepdim=True), 2 * saturation)
        images = _scaled(images, images.mean((1, 2, 3), keepdim=True), 0.5 + contrast)
    if 'translation' in chosen:
        # As products with matrices, whose gradient is the same each time on a GPU; that of an index is not.
        images = _shift(height, down, images.dtype) @ images @ _shift(width, right, images.dtype).mT
    if 'cutout' in chosen:
        cut = _span(height, row)[:, None, :, None] & _span(width, column)[:, None, None, :]
        images = images.masked_fill(cut, 0)
    return images


def _scaled(images: Tensor, middle: Tensor, factor: Tensor) -> Tensor:
    """The distance from the middle, multiplied."""
    return (images - middle) * factor.view(-1, 1, 1, 1) + middle


def _shift(size: int, numbers: Tensor, dtype: torch.dtype) -> Tensor:
    """Matrices (N, 1, size, size) that move rows by up to FURTHEST of the size, in whole pixels."""
    furthest = int(size * FURTHEST + 0.5)
    by = (numbers * (2 * furthest + 1)).floor() - furthest
    at = torch.arange(size, device=numbers.device)
    return (at[:, None] - by.view(-1, 1, 1, 1) == at).to(dtype)


def _span(size: int, numbers: Tensor) -> Tensor:
    """Which of `size` places (N, size) are within a span of CUT of them, around a random one."""
    at = torch.arange(size, device=numbers.device) + 0.5
    return (at - (numbers * size)[:, None]).abs() < size * CUT / 2
