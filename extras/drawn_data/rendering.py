"""Render an object as a line drawing or as a coloured picture."""
from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from extras.drawn_data.patterns import Colour, Style, contour_colour, pattern_mask
from extras.drawn_data.shapes import Design, Part, Points, Stroke, resample

WHITE = (255, 255, 255)


def working_size(size: int) -> int:
    """Return the side of the supersampled canvas, which is 2 to 4 times ``size``."""
    return size * (4 if size <= 96 else 3 if size <= 300 else 2)


def draw_line(image: Image.Image, points: Points, colour: int | Colour, width: float) -> None:
    """Draw a polyline, given in pixels, with round joints."""
    if len(points) >= 2:
        ImageDraw.Draw(image).line(points.ravel().tolist(), fill=colour, width=max(1, round(width)), joint='curve')


def split_into_dashes(points: Points, dash: float, gap: float) -> list[Points]:
    """Split a polyline into dashes of length ``dash`` separated by ``gap``, both in the units of the polyline."""
    fine = resample(points, gap / 2)
    length, period = max(2, round(2 * dash / gap) + 1), max(3, round(2 * (dash + gap) / gap))
    return [fine[i : i + length] for i in range(0, len(fine) - 1, period)]


class LinePainter:
    """Paints the contours of an object in one grey channel: dark, slightly wavy lines with small gaps on white."""

    mode = 'L'

    def __init__(self, rng: np.random.Generator, size: int):
        self.rng = rng
        self.scale = working_size(size)
        weight = np.interp(size, [64, 128, 256, 512], [1.05, 1.2, 1.75, 2.9]) * rng.uniform(1.0, 1.35)
        self.width = weight * self.scale / size
        self.ink = int(rng.integers(0, 50))
        self.waver = rng.uniform(0.0008, 0.0028)  # amplitude relative to the frame
        self.gaps = rng.uniform(0.2, 1.2)  # expected number of gaps per line of the length of the frame

    def fill(self, part: Part) -> int:
        """Return the fill colour of a part, which is white."""
        return 255

    def contour(self, image: Image.Image, part: Part) -> None:
        """Draw the outline of a part."""
        self._sketch(image, part.points, closed=True, width=self.width)

    def stroke(self, image: Image.Image, stroke: Stroke) -> None:
        """Draw a stroke; dashes are drawn without waves and gaps."""
        if stroke.dashed:
            for dash in split_into_dashes(stroke.points, 0.028, 0.022):
                draw_line(image, dash * self.scale, self.ink, 0.8 * self.width)
        else:
            self._sketch(image, stroke.points, closed=False, width=0.85 * self.width)

    def _sketch(self, image: Image.Image, points: Points, closed: bool, width: float) -> None:
        line = resample(points, 0.01, closed)
        at = np.arange(len(line)) * 0.01
        for axis in (0, 1):
            wave, phase = self.rng.uniform(18, 60, 2), self.rng.uniform(0, 2 * np.pi, 2)
            line[:, axis] += self.waver * np.sin(at[:, None] * wave + phase).mean(axis=1)
        keep = np.ones(len(line), dtype=bool)
        for _ in range(self.rng.poisson(self.gaps * at[-1])):
            start = self.rng.integers(len(line))
            keep[start : start + self.rng.integers(2, 5)] = False
        for run in np.split(np.arange(len(line)), np.flatnonzero(np.diff(keep)) + 1):
            if keep[run[0]]:
                draw_line(image, line[run] * self.scale, self.ink, width)


class ColourPainter:
    """Paints flat colours, the pattern and thin contours. `shading` is applied later, to the downsampled picture."""

    mode = 'RGB'

    def __init__(self, style: Style, size: int):
        self.style = style
        self.scale = working_size(size)
        self.width = np.interp(size, [64, 128, 256, 512], [0.55, 0.9, 1.5, 2.5]) * self.scale / size
        self.body: Colour | Image.Image = style.colours['body']
        if style.pattern != 'plain':
            mask = Image.fromarray(pattern_mask(style.pattern, style.parameters, self.scale))
            self.body = Image.new('RGB', mask.size, self.body)
            self.body.paste(style.colours['second'], mask=mask)

    def fill(self, part: Part) -> Colour | Image.Image:
        """Return the fill of a part: a colour, or an image if the body has a pattern."""
        return self.body if part.role == 'body' else self.style.colours[part.role]

    def contour(self, image: Image.Image, part: Part) -> None:
        """Draw the outline of a part."""
        closed = np.vstack([part.points, part.points[:1]])
        draw_line(image, closed * self.scale, contour_colour(self.style.colours[part.role]), self.width)

    def stroke(self, image: Image.Image, stroke: Stroke) -> None:
        """Draw a cord in the colour of its role, or a seam in the contour colour of the body."""
        colour = self.style.colours.get(stroke.role)
        points = stroke.points * self.scale
        if colour is not None:
            draw_line(image, points, contour_colour(colour), stroke.width * self.scale + self.width)
            draw_line(image, points, colour, stroke.width * self.scale)
            return
        seam = contour_colour(self.style.colours['body'])
        pieces = split_into_dashes(points, 0.028 * self.scale, 0.022 * self.scale) if stroke.dashed else [points]
        for piece in pieces:
            draw_line(image, piece, seam, 0.7 * self.width)


def outline_mask(points: Points, scale: int) -> Image.Image:
    """Rasterise a filled outline in the unit frame to a mask (scale, scale) with the values 0 and 255."""
    mask = Image.new('L', (scale, scale), 0)
    ImageDraw.Draw(mask).polygon((points * scale).ravel().tolist(), fill=255)
    return mask


def paint(image: Image.Image, part: Part, painter: LinePainter | ColourPainter) -> None:
    """Paint a part with its strokes and child parts, which are clipped to it, and then its contour on top."""
    if part.role == 'none':  # carries strokes only
        for stroke in part.strokes:
            painter.stroke(image, stroke)
        return
    fill, mask = painter.fill(part), outline_mask(part.points, painter.scale)
    layer = fill
    if part.strokes or part.parts:
        layer = fill.copy() if isinstance(fill, Image.Image) else Image.new(painter.mode, image.size, fill)
        for stroke in part.strokes:
            painter.stroke(layer, stroke)
        for child in part.parts:
            paint(layer, child, painter)
    image.paste(layer, mask=mask)
    painter.contour(image, part)


def clipped_masks(
    parts: Sequence[Part], scale: int, clip: Image.Image | None = None
) -> Iterator[tuple[Part, Image.Image]]:
    """Yield each part, in painting order, with its mask intersected with those of its ancestors."""
    for part in parts:
        if part.role == 'none':
            continue
        mask = outline_mask(part.points, scale)
        mask = mask if clip is None else ImageChops.darker(mask, clip)
        yield part, mask
        yield from clipped_masks(part.parts, scale, mask)


def shading(design: Design, size: int, gloss: float) -> np.ndarray:
    """Return a shading map (size, size) with values in about [-0.4, 0.4], and 0 outside the object.

    Parts are treated as raised and lit from the upper left.
    """
    shade = np.zeros((size, size), dtype=np.float32)
    body = np.zeros((size, size), dtype=bool)
    down = np.linspace(0.5, -0.5, size, dtype=np.float32)[:, None]
    for part, mask in clipped_masks(design.parts, 2 * size):
        mask = mask.reduce(2)
        extent = np.ptp(part.points, axis=0).min()
        radius = float(np.clip(0.16 * extent, 0.012, 0.07)) * size
        soft = np.asarray(mask.filter(ImageFilter.GaussianBlur(radius)), dtype=np.float32) / 255
        step = max(1, round(0.6 * radius))
        light = soft - np.roll(soft, (step, step), (0, 1))
        cover = np.asarray(mask, dtype=np.float32) / 255
        shade += cover * (0.95 * gloss * light + 0.28 * down - shade)
        body = np.where(cover > 0.5, part.role == 'body', body)
    # Subtract the median over the body, so that the most common colour of a plain body is its nominal colour.
    return (shade - np.median(shade[body])) * (shade != 0) if body.any() else shade


def draw_edges(design: Design, size: int, rng: np.random.Generator) -> Image.Image:
    """Render an object as dark lines on white. Returns an RGB image with equal channels."""
    painter = LinePainter(rng, size)
    image = Image.new('L', (painter.scale, painter.scale), 255)
    for part in design.parts:
        paint(image, part, painter)
    return image.reduce(painter.scale // size).convert('RGB')


def draw_picture(design: Design, style: Style, size: int) -> Image.Image:
    """Render an object in colour on white. Returns an RGB image."""
    painter = ColourPainter(style, size)
    image = Image.new('RGB', (painter.scale, painter.scale), WHITE)
    for part in design.parts:
        paint(image, part, painter)
    flat = np.asarray(image.reduce(painter.scale // size), dtype=np.float32)
    shade = shading(design, size, style.gloss)[:, :, None]
    lit = np.where(shade > 0, flat + (255 - flat) * 0.8 * shade, flat * (1 + shade))
    return Image.fromarray(np.clip(lit + 0.5, 0, 255).astype(np.uint8))
