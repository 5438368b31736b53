"""Corrupted inputs: specks, gaps, smudges, faint second lines and stray strokes, as sketches and scans have them.

An encoder that sees corrupted images while the clean ones are to be reconstructed learns to ignore the corruption (a
denoising auto-encoder: Vincent et al., 2008). Off by default; `dirty: a` or `dirty: b` in a config turns it on for one
domain.
"""
import math

import torch
import torch.nn.functional as F
from torch import Tensor

SPECKS, GAPS, SMUDGES, STROKES = 16, 6, 3, 3      # so many of each on an image that has any
KINDS = 5
NOISE_PARAMS = KINDS + 4 * (SPECKS + GAPS + SMUDGES) + 5 * STROKES + 5   # that `add_sketch_noise` wants for an image


def add_sketch_noise(images: Tensor, numbers: Tensor) -> Tensor:
    """Corrupt images as sketches and scans are corrupted; the result depends on `numbers` alone and looks alike at all
    sizes.

    Each kind of corruption is on half of the images; one in 32 stays clean. What is paper and what is ink follows from
    the picture: paper is the median of a channel, ink the end of its range that is farther away.

    Args:
        images: (N, C, H, W) in [-1, 1].
        numbers: (N, NOISE_PARAMS), uniform in [0, 1).

    Returns:
        (N, C, H, W) in [-1, 1].
    """
    n = len(images)
    numbers = numbers.to(images.device, images.dtype)
    kinds, specks, gaps, smudges, strokes, second = numbers.split(
        [KINDS, 4 * SPECKS, 4 * GAPS, 4 * SMUDGES, 5 * STROKES, 5], dim=1)
    has = (kinds < 0.5).to(images.dtype).T.reshape(KINDS, n, 1, 1, 1)
    # Not torch.median: on a GPU it raises where deterministic kernels are asked for.
    pixels = images.flatten(2).sort(2).values
    paper = pixels[:, :, (pixels.shape[2] - 1) // 2, None, None]
    ink = 1 - 2 * (paper > 0).to(images.dtype)
    grid = _Grid(images)

    shade = has[0] * _second_lines(images, paper, ink, second)
    corrupted = images + (ink - paper) * (shade - (images - paper) / (ink - paper)).clamp(min=0)
    # Ink where none should be: how much of it, (N, 1, H, W).
    stain = torch.maximum(has[1] * grid.strokes(strokes),
                          torch.maximum(has[2] * grid.specks(specks), has[3] * grid.smudges(smudges)))
    corrupted = corrupted + stain * (ink - corrupted)
    # Paper where ink should be.
    return (corrupted + has[4] * grid.gaps(gaps) * (paper - corrupted)).clamp(-1, 1)


def _second_lines(images: Tensor, paper: Tensor, ink: Tensor, numbers: Tensor) -> Tensor:
    """The picture itself a second time, faint, and turned, stretched and shifted a little: its ink (N, C, H, W)."""
    n, _, height, width = images.shape
    turn, stretch, right, down, faint = numbers.unbind(1)
    turn, stretch = (turn - 0.5) * 0.1, 1 + (stretch - 0.5) * 0.08
    across, along = stretch * turn.sin() * (height / width), stretch * turn.cos()
    matrix = torch.stack([along, -across, (right - 0.5) * 0.1,
                          stretch * turn.sin() * (width / height), along, (down - 0.5) * 0.1], 1).view(n, 2, 3)
    again = F.grid_sample(images, F.affine_grid(matrix, list(images.shape), align_corners=False),
                          padding_mode='border', align_corners=False)
    return (0.2 + 0.4 * faint).view(n, 1, 1, 1) * (again - paper) / (ink - paper)


class _Grid:
    """The places of an image's pixels, in units of its shorter side, and what marks at random places cover of them.

    Every method takes numbers (N, K·4) or (N, K·5), uniform in [0, 1), and returns coverage (N, 1, H, W) in [0, 1].
    """

    def __init__(self, images: Tensor):
        height, width = images.shape[2:]
        self.side = min(height, width)
        rows, columns = (torch.arange(length, device=images.device, dtype=images.dtype) + 0.5
                         for length in (height, width))
        self.at = torch.stack(torch.meshgrid(columns, rows, indexing='xy'), -1) / self.side   # (H, W, 2), x first
        self.size = (width / self.side, height / self.side)   # no tensor: making one on a GPU would wait for it

    def specks(self, numbers: Tensor) -> Tensor:
        """Small dots."""
        distances, radii, strength = self._spots(numbers, 0.002, 0.02)
        return (self._covered(distances, radii) * (0.4 + 0.6 * strength)[:, :, None, None]).amax(1, keepdim=True)

    def smudges(self, numbers: Tensor) -> Tensor:
        """Soft spots."""
        distances, radii, strength = self._spots(numbers, 0.03, 0.15)
        soft = torch.exp(-(distances / radii[:, :, None, None]) ** 2 / 2)
        return (soft * (0.05 + 0.3 * strength)[:, :, None, None]).amax(1, keepdim=True)

    def gaps(self, numbers: Tensor) -> Tensor:
        """Round places that an eraser has left."""
        distances, radii, _ = self._spots(numbers, 0.01, 0.05)
        return self._covered(distances, radii).amax(1, keepdim=True)

    def strokes(self, numbers: Tensor) -> Tensor:
        """Stray straight lines."""
        x, y, length, heading, strength = numbers.unflatten(1, (-1, 5)).unbind(2)
        begin = self._places(x, y)
        angle = math.pi * heading
        reach = (0.05 + 0.3 * length)[..., None] * torch.stack([angle.cos(), angle.sin()], -1)
        from_begin = self.at - begin[:, :, None, None]                                  # (N, K, H, W, 2)
        part = (from_begin * reach[:, :, None, None]).sum(-1) / reach.square().sum(-1)[:, :, None, None]
        off_line = (from_begin - part.clamp(0, 1)[..., None] * reach[:, :, None, None]).norm(dim=-1)
        drawn = self._covered(off_line, torch.full_like(x, 0.006))
        return (drawn * (0.2 + 0.5 * strength)[:, :, None, None]).amax(1, keepdim=True)

    def _covered(self, distance: Tensor, radius: Tensor) -> Tensor:
        """How far each pixel is within a radius (N, K), 0 to 1 at its edge, from distances (N, K, H, W)."""
        return ((radius[:, :, None, None] - distance) * self.side + 0.5).clamp(0, 1)

    def _places(self, x: Tensor, y: Tensor) -> Tensor:
        """Positions (N, K, 2) from numbers (N, K) in [0, 1) across and down the image."""
        width, height = self.size
        return torch.stack([x * width, y * height], -1)

    def _spots(self, numbers: Tensor, smallest: float, largest: float) -> tuple[Tensor, Tensor, Tensor]:
        """Of (N, 4·K): distances from the places (N, K, H, W), radii and strengths (N, K)."""
        x, y, radius, strength = numbers.unflatten(1, (-1, 4)).unbind(2)
        distance = (self.at - self._places(x, y)[:, :, None, None]).norm(dim=-1)
        return distance, smallest + (largest - smallest) * radius ** 2, strength
