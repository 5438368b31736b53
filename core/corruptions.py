"""Dirt on pictures: specks, gaps, smudges, faint second lines and stray strokes, as sketches and scans have them.

An encoder that sees dirty pictures while clean ones are what is to come back learns to pass the dirt over (a denoising
auto-encoder: Vincent et al., 2008). Off by default; `dirty: a` or `dirty: b` in a config turns it on for one domain.
"""
import math

import torch
import torch.nn.functional as F
from torch import Tensor

SPECKS, GAPS, SMUDGES, STROKES = 16, 6, 3, 3      # so many of each on an image that has any
KINDS = 5
NOISE_PARAMS = KINDS + 4 * (SPECKS + GAPS + SMUDGES) + 5 * STROKES + 5   # that `add_sketch_noise` wants for an image


def add_sketch_noise(images: Tensor, numbers: Tensor) -> Tensor:
    """Images with dirt on them, which depends on `numbers` alone and looks alike at all sizes.

    Each kind of dirt is on half of the images; one in 32 stays clean. What is paper and what is ink is told from the
    picture: the median of a channel, and the end of its range that is farther off.

    Args:
        images: (N, C, H, W) in [-1, 1].
        numbers: (N, NOISE_PARAMS), uniform in [0, 1).

    Returns:
        (N, C, H, W) in [-1, 1].
    """
    n, _, height, width = images.shape
    side = min(height, width)
    numbers = numbers.to(images.device, images.dtype)
    kinds, specks, gaps, smudges, strokes, second = numbers.split(
        [KINDS, 4 * SPECKS, 4 * GAPS, 4 * SMUDGES, 5 * STROKES, 5], dim=1)
    has = (kinds < 0.5).to(images.dtype).T.reshape(KINDS, n, 1, 1, 1)
    paper = images.flatten(2).median(2).values[:, :, None, None]
    ink = torch.where(paper > 0, -1.0, 1.0)
    rows, columns = (torch.arange(length, device=images.device, dtype=images.dtype) + 0.5 for length in (height, width))
    at = torch.stack(torch.meshgrid(columns, rows, indexing='xy'), -1) / side          # (H, W, 2), x first
    size = at.new_tensor([width, height]) / side

    def covered(distance: Tensor, radius: Tensor) -> Tensor:
        """How far each pixel lies within a radius (N, K), 0…1 at its edge; of distances (N, K, H, W)."""
        return ((radius[:, :, None, None] - distance) * side + 0.5).clamp(0, 1)

    def distance(places: Tensor) -> Tensor:
        return (at - (places * size)[:, :, None, None]).norm(dim=-1)

    def spots(drawn: Tensor, smallest: float, largest: float) -> tuple[Tensor, Tensor, Tensor]:
        """Of (N, 4·K): distances from the places (N, K, H, W), radii and strengths (N, K)."""
        x, y, radius, strength = drawn.unflatten(1, (-1, 4)).unbind(2)
        return distance(torch.stack([x, y], -1)), smallest + (largest - smallest) * radius ** 2, strength

    # A faint second time the picture itself, turned, stretched and shifted a little.
    turn, stretch, right, down, faint = second.unbind(1)
    turn, stretch = (turn - 0.5) * 0.1, 1 + (stretch - 0.5) * 0.08
    across, along = stretch * turn.sin() * (height / width), stretch * turn.cos()
    matrix = torch.stack([along, -across, (right - 0.5) * 0.1,
                          stretch * turn.sin() * (width / height), along, (down - 0.5) * 0.1], 1).view(n, 2, 3)
    again = F.grid_sample(images, F.affine_grid(matrix, list(images.shape), align_corners=False),
                          padding_mode='border', align_corners=False)
    shade = (0.2 + 0.4 * faint).view(n, 1, 1, 1) * has[0] * (again - paper) / (ink - paper)
    dirty = images + (ink - paper) * (shade - (images - paper) / (ink - paper)).clamp(min=0)

    # Ink where none should be: stray strokes, specks, smudges. `stain` says how much of it, (N, 1, H, W).
    x, y, length, heading, strength = strokes.unflatten(1, (-1, 5)).unbind(2)
    begin = torch.stack([x, y], -1) * size
    reach = (0.05 + 0.3 * length)[..., None] * torch.stack([(math.pi * heading).cos(), (math.pi * heading).sin()], -1)
    from_begin = at - begin[:, :, None, None]                                           # (N, K, H, W, 2)
    part = (from_begin * reach[:, :, None, None]).sum(-1) / reach.square().sum(-1)[:, :, None, None]
    off_line = (from_begin - part.clamp(0, 1)[..., None] * reach[:, :, None, None]).norm(dim=-1)
    stain = has[1] * (covered(off_line, torch.full_like(x, 0.006)) * (0.2 + 0.5 * strength)[:, :, None, None]).amax(
        1, keepdim=True)
    distances, radii, strength = spots(specks, 0.002, 0.02)
    specked = (covered(distances, radii) * (0.4 + 0.6 * strength)[:, :, None, None]).amax(1, keepdim=True)
    distances, radii, strength = spots(smudges, 0.03, 0.15)
    smudged = (torch.exp(-(distances / radii[:, :, None, None]) ** 2 / 2) * (0.05 + 0.3 * strength)[:, :, None, None]
               ).amax(1, keepdim=True)
    stain = torch.maximum(stain, torch.maximum(has[2] * specked, has[3] * smudged))
    dirty = dirty + stain * (ink - dirty)

    # Paper where ink should be.
    distances, radii, _ = spots(gaps, 0.01, 0.05)
    rubbed_out = has[4] * covered(distances, radii).amax(1, keepdim=True)
    return (dirty + rubbed_out * (paper - dirty)).clamp(-1, 1)
