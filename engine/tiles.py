"""Translating large images in tiles, so that memory depends on the tile and not on the image."""
import argparse
from collections.abc import Iterator

import torch
from torch import Tensor

from core.errors import BadInput
from engine.cli import at_least
from engine.translator import PIXELS_AT_ONCE, Translator


def add_tile_flags(parser: argparse.ArgumentParser) -> None:
    """The flags --tile and --tile_overlap."""
    parser.add_argument('--tile', type=at_least(0), default=0,
                        help='translate larger images in square tiles of this side, for less memory; 0: whole. Each '
                             'tile is normalised by itself, so colours can differ from those of the whole')
    parser.add_argument('--tile_overlap', type=at_least(0), default=64,
                        help='pixels that neighbouring tiles share, where they are blended')


def check_tile_flags(opts: argparse.Namespace, translator: Translator) -> None:
    """Check the flags against the networks.

    Raises:
        BadInput: a tile that the networks cannot halve, or that is no larger than twice the overlap.
    """
    if not opts.tile:
        return
    if opts.trainer not in ('MUNIT', 'UNIT'):
        raise BadInput(f'--tile {opts.tile}: not for --trainer {opts.trainer}; leave it out')
    if opts.tile % translator.multiple or opts.tile < translator.smallest:
        raise BadInput(f'--tile {opts.tile}: not a multiple of {translator.multiple}, 2 to the power gen.n_downsample')
    if 2 * opts.tile_overlap > opts.tile:
        raise BadInput(f'--tile_overlap {opts.tile_overlap}: more than half of --tile {opts.tile}; lower it')


def translate_in_tiles(translator: Translator, images: Tensor, styles: Tensor | None, tile: int, overlap: int,
                       pixels_at_once: int = PIXELS_AT_ONCE) -> Tensor:
    """As `translator.translate_batch`, but for images with a side above `tile` in tiles that are blended linearly where
    they overlap. With `tile` 0, whole.

    Returns:
        (N, S, C, H, W) in [-1, 1]; of what was translated in tiles, on the CPU.
    """
    height, width = images.shape[2:]
    if not tile or max(height, width) <= tile:
        return translator.translate_batch(images, styles, pixels_at_once)
    blended: Tensor | None = None
    for top, of_rows in _spans(height, tile, overlap):
        for left, of_columns in _spans(width, tile, overlap):
            part = images[:, :, top:top + len(of_rows), left:left + len(of_columns)]
            output = translator.translate_batch(part, styles, pixels_at_once).cpu()
            if blended is None:
                blended = torch.zeros(*output.shape[:3], height, width)
            blended[..., top:top + len(of_rows), left:left + len(of_columns)] += (
                output * of_rows[:, None] * of_columns)
    assert blended is not None
    return blended


def _spans(length: int, tile: int, overlap: int) -> Iterator[tuple[int, Tensor]]:
    """Where tiles begin along a side, and the weights of their pixels; at every place of the side these sum to 1."""
    starts = [0] if length <= tile else [*range(0, length - tile, tile - overlap), length - tile]
    size = min(length, tile)
    shares = []
    for start in starts:
        at = torch.arange(size) + 0.5
        ramp = torch.ones(size)
        if overlap and start > 0:
            ramp = torch.minimum(ramp, at / overlap)
        if overlap and start < length - size:
            ramp = torch.minimum(ramp, (size - at) / overlap)
        shares.append(ramp)
    total = torch.zeros(length)
    for start, ramp in zip(starts, shares, strict=True):
        total[start:start + size] += ramp
    for start, ramp in zip(starts, shares, strict=True):
        yield start, ramp / total[start:start + size]
