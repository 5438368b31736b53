"""Translate large images in overlapping tiles, so that memory use depends on the size of a tile, not of the image."""
import argparse
from collections.abc import Iterator

import torch
from torch import Tensor

from core.errors import BadInput
from engine.cli import at_least
from engine.translator import PIXELS_AT_ONCE, Translator


def add_tile_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags --tile and --tile_overlap to a parser."""
    parser.add_argument('--tile', type=at_least(0), default=0,
                        help='translate images larger than this in square tiles with this side, which takes less '
                             'memory; 0: no tiles. Each tile is normalised on its own, so colours can differ from '
                             'those of the image translated at once')
    parser.add_argument('--tile_overlap', type=at_least(0), default=64,
                        help='width in pixels of the area that neighbouring tiles share, in which they are blended')


def check_tile_flags(opts: argparse.Namespace, translator: Translator) -> None:
    """Check that the networks can translate tiles of the requested size.

    Raises:
        BadInput: ``--tile`` is not a multiple of the downsampling factor of the encoder, is too small for the networks
            or smaller than twice ``--tile_overlap``, or the method cannot translate in tiles.
    """
    if not opts.tile:
        return
    if opts.trainer not in ('MUNIT', 'UNIT'):
        raise BadInput(f'--tile {opts.tile}: not supported for --trainer {opts.trainer}; leave it out')
    if opts.tile % translator.multiple or opts.tile < translator.smallest:
        raise BadInput(f'--tile {opts.tile}: not a multiple of {translator.multiple}, 2 to the power gen.n_downsample')
    if 2 * opts.tile_overlap > opts.tile:
        raise BadInput(f'--tile_overlap {opts.tile_overlap}: more than half of --tile {opts.tile}; lower it')


def translate_in_tiles(translator: Translator, images: Tensor, styles: Tensor | None, tile: int, overlap: int,
                       pixels_at_once: int = PIXELS_AT_ONCE) -> Tensor:
    """Translate images like `translator.translate_batch`, in tiles if a side is longer than `tile`.

    Overlapping tiles are blended linearly. If `tile` is 0, images of any size are translated at once.

    Returns:
        Tensor (N, S, C, H, W) in [-1, 1]. It is on the CPU if the images were translated in tiles.
    """
    height, width = images.shape[2:]
    if not tile or max(height, width) <= tile:
        return translator.translate_batch(images, styles, pixels_at_once)
    blended: Tensor | None = None
    for top, row_weights in _tile_weights(height, tile, overlap):
        for left, column_weights in _tile_weights(width, tile, overlap):
            part = images[:, :, top:top + len(row_weights), left:left + len(column_weights)]
            output = translator.translate_batch(part, styles, pixels_at_once).cpu()
            if blended is None:
                blended = torch.zeros(*output.shape[:3], height, width)
            blended[..., top:top + len(row_weights), left:left + len(column_weights)] += (
                output * row_weights[:, None] * column_weights)
    assert blended is not None
    return blended


def _tile_weights(length: int, tile: int, overlap: int) -> Iterator[tuple[int, Tensor]]:
    """Yield the start of each tile along one side of the image, and the blending weights (tile,) of its pixels.

    At every position the weights of all tiles sum to 1.
    """
    starts = [0] if length <= tile else [*range(0, length - tile, tile - overlap), length - tile]
    size = min(length, tile)
    ramps = []
    for start in starts:
        position = torch.arange(size) + 0.5
        ramp = torch.ones(size)
        if overlap and start > 0:
            ramp = torch.minimum(ramp, position / overlap)
        if overlap and start < length - size:
            ramp = torch.minimum(ramp, (size - position) / overlap)
        ramps.append(ramp)
    total = torch.zeros(length)
    for start, ramp in zip(starts, ramps, strict=True):
        total[start:start + size] += ramp
    for start, ramp in zip(starts, ramps, strict=True):
        yield start, ramp / total[start:start + size]
