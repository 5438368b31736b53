"""The style space of a domain: moments and principal components of its style codes, and a map of its images."""
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from tqdm import tqdm

from core.errors import BadInput
from core.picture_sheet import sheet
from engine.translator import Translator
from utils import to_images

SWEEP = tuple(i / 2 for i in range(-4, 5))
MAP_SIDE, THUMBNAIL, MAP_MARGIN = 1024, 48, 40


class Space(NamedTuple):
    """Statistics of the style codes (N, n) of a folder, as 64-bit floats."""
    mean: Tensor            # (n,)
    deviation: Tensor       # (n,) standard deviations, unbiased
    variances: Tensor       # (n,) of the principal components, the largest first
    directions: Tensor      # (n, n), a component per row, of length 1; its entry of largest magnitude is positive
    coordinates: Tensor     # (N, n) of the codes in the basis of the components, relative to the mean


def encode_all(translator: Translator, paths: Sequence[Path], new_size: int | None = None
               ) -> tuple[list[Path], Tensor]:
    """The files that can be read, and their style codes (N, n) on the CPU. Other files are reported on stderr."""
    read, codes = [], []
    for path in tqdm(paths, unit=' images', disable=None, dynamic_ncols=True):
        try:
            image = translator.read(path, translator.target, new_size)
        except BadInput as error:
            tqdm.write(f'skipped {error}', file=sys.stderr)
            continue
        read.append(path)
        codes.append(translator.encode_style(image).flatten(1).cpu())
    return read, torch.cat(codes) if codes else torch.empty(0, translator.style_length)


def measure(codes: Tensor) -> Space:
    """Moments and principal components of codes (N, n), N at least 2."""
    codes = codes.double()
    mean, deviation = codes.mean(0), codes.std(0)
    variances, directions = torch.linalg.eigh((codes - mean).T @ (codes - mean) / (len(codes) - 1))
    variances, directions = variances.flip(0).clamp(min=0), directions.T.flip(0)
    # The sign of a principal component is arbitrary. A fixed one makes the same folder give the same sheet.
    largest = directions.gather(1, directions.abs().argmax(1, keepdim=True))
    directions = directions * largest.sign()
    return Space(mean, deviation, variances, directions, (codes - mean) @ directions.T)


def describe_space(space: Space) -> dict:
    """The statistics as they are written to styles.json."""
    count, length = space.coordinates.shape
    total = float(space.variances.sum())
    return {
        'images': count,
        'numbers': [{'mean': mean, 'deviation': deviation}
                    for mean, deviation in zip(space.mean.tolist(), space.deviation.tolist(), strict=True)],
        # Standard errors of mean and deviation for codes that are drawn from N(0, 1).
        'by_chance': {'mean': count ** -0.5, 'deviation': (2 * (count - 1)) ** -0.5},
        'mean_length': float((space.coordinates @ space.directions + space.mean).norm(dim=1).mean()),
        'length_of_samples': length ** 0.5,
        'components': [{'variance': variance, 'explained': variance / total if total else 0.0, 'direction': direction}
                       for variance, direction in
                       zip(space.variances.tolist(), space.directions.tolist(), strict=True)],
    }


def sweep(translator: Translator, space: Space, contents: Sequence[Tensor]) -> Image.Image:
    """A contact sheet: each content image (1, C, H, W) with styles along each principal component."""
    components = describe_space(space)['components']
    steps = torch.tensor(SWEEP, dtype=torch.float64)[:, None]
    rows = [[None, None, *(f'{step:+g}' if step else 'mean' for step in SWEEP)]]
    for content in contents:
        for i, component in enumerate(components):
            codes = space.mean + steps * space.variances[i].sqrt() * space.directions[i]
            outputs = translator.translate(content, codes.float()[:, :, None, None])
            rows.append([None if i else to_images(content)[0], f'{i + 1}\n{component["explained"]:.0%}',
                         *to_images(outputs)])
    return sheet(rows)


def map_of(space: Space, names: Sequence[str], codes: Tensor) -> dict:
    """The map as it is written to map.json. With styles of one number, y is 0.

    Args:
        names, codes: file names and style codes (N, n) of the points.
    """
    points, axes = plane(space)
    return {'mean': space.mean.tolist(), 'axes': axes.tolist(),
            'deviations': (points.square().sum(0) / (len(points) - 1)).sqrt().tolist(),
            'points': [{'file': name, 'x': x, 'y': y, 'code': code}
                       for name, (x, y), code in zip(names, points.tolist(), codes.tolist(), strict=True)]}


def plane(space: Space) -> tuple[Tensor, Tensor]:
    """Coordinates (N, 2) of the codes in the plane of the first two principal components, and its axes (2, n)."""
    points, axes = space.coordinates[:, :2], space.directions[:2]
    if points.shape[1] < 2:
        points, axes = (torch.cat([part, torch.zeros_like(part)], dim) for part, dim in ((points, 1), (axes, 0)))
    return points, axes


def draw_map(translator: Translator, space: Space, paths: Sequence[Path], new_size: int | None = None
             ) -> Image.Image:
    """The map: thumbnails of the images at the coordinates of their styles."""
    points, axes = plane(space)
    prior = -(axes @ space.mean)   # position of the mean of N(0, 1)
    low, high = points.amin(0), points.amax(0)
    middle, scale = (low + high) / 2, (MAP_SIDE - 2 * MAP_MARGIN) / max(float((high - low).max()), 1e-6)

    def at(point: Tensor) -> tuple[float, float]:
        x, y = ((point - middle) * scale).tolist()
        return MAP_SIDE / 2 + x, MAP_SIDE / 2 - y

    canvas = Image.new('RGB', (MAP_SIDE, MAP_SIDE), 'white')
    pen, font = ImageDraw.Draw(canvas), ImageFont.load_default(16)
    x, y = at(torch.zeros(2))
    pen.line([(0, y), (MAP_SIDE, y)], fill='#d0d0d0')
    pen.line([(x, 0), (x, MAP_SIDE)], fill='#d0d0d0')
    places = [at(point) for point in points]
    kept = with_room(places, THUMBNAIL)
    for place in places:
        pen.ellipse([place[0] - 2, place[1] - 2, place[0] + 2, place[1] + 2], fill='#8090a0')
    for i in kept:
        thumbnail, = to_images(translator.read(paths[i], translator.target, new_size))
        thumbnail.thumbnail((THUMBNAIL, THUMBNAIL))
        canvas.paste(thumbnail, (round(places[i][0] - thumbnail.width / 2), round(places[i][1] - thumbnail.height / 2)))
    for radius in (1, 2):
        (left, top), (right, bottom) = at(prior + torch.tensor([-radius, radius])), at(prior + torch.tensor(
            [radius, -radius]))
        pen.ellipse([left, top, right, bottom], outline='#c04020')
    components = describe_space(space)['components'] + [{'explained': 0.0}]
    first, second = (component['explained'] for component in components[:2])
    pen.text((8, MAP_SIDE - 26), f'component 1 ({first:.0%}) to the right, component 2 ({second:.0%}) up; circles: '
             f'N(0, 1) at 1 and 2 deviations', fill='#404040', font=font)
    return canvas


def with_room(places: Sequence[tuple[float, float]], side: float) -> list[int]:
    """Indices of the points at which a square with this side, placed in the given order, overlaps no earlier one."""
    taken: dict[tuple[int, int], list[tuple[float, float]]] = {}
    kept = []
    for i, (x, y) in enumerate(places):
        column, row = int(x // side), int(y // side)
        near = [place for dx in (-1, 0, 1) for dy in (-1, 0, 1) for place in taken.get((column + dx, row + dy), [])]
        if all(abs(x - other[0]) >= side or abs(y - other[1]) >= side for other in near):
            taken.setdefault((column, row), []).append((x, y))
            kept.append(i)
    return kept
