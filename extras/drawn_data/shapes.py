"""Curves, outlines, and the tree of parts that represents a drawn object.

A shape is built with y pointing up; `Part.mapped` places it in the unit frame, where y points down.
"""
from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

Points = np.ndarray  # (n, 2) floats


def curve(*points: Sequence[float], steps: int = 10) -> Points:
    """Return a smooth open curve through ``points``, end points included.

    The curve is a centripetal Catmull-Rom spline with ``steps`` samples per span. Fewer than three points are returned
    unchanged.
    """
    p = np.asarray(points, dtype=float)
    if len(p) < 3:
        return p
    # Knots are spaced by the square root of the chord length; uniform knots overshoot where long and short spans meet.
    gap = np.sqrt(np.linalg.norm(np.diff(p, axis=0), axis=1))[:, None] + 1e-6
    slope = np.diff(p, axis=0) / gap
    inner = (slope[:-1] * gap[1:] + slope[1:] * gap[:-1]) / (gap[:-1] + gap[1:])
    tangent = np.vstack([1.5 * slope[0] - 0.5 * inner[0], inner, 1.5 * slope[-1] - 0.5 * inner[-1]])
    t = (np.arange(steps) / steps)[None, :, None]
    a, b, g = p[:-1, None], p[1:, None], gap[:, None]
    samples = (
        (2 * t**3 - 3 * t**2 + 1) * a
        + (t**3 - 2 * t**2 + t) * g * tangent[:-1, None]
        + (3 * t**2 - 2 * t**3) * b
        + (t**3 - t**2) * g * tangent[1:, None]
    )
    return np.vstack([samples.reshape(-1, 2), p[-1:]])


def path(*pieces: Points | Sequence[Sequence[float]]) -> Points:
    """Concatenate curves into one outline, with a corner wherever two of them meet."""
    return np.vstack([np.asarray(piece, dtype=float).reshape(-1, 2) for piece in pieces])


def resample(points: Points, step: float, closed: bool = False) -> Points:
    """Resample a polyline so that its vertices are about ``step`` apart. Returns at least two vertices (n, 2)."""
    if closed:
        points = np.vstack([points, points[:1]])
    length = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
    at = np.linspace(0.0, length[-1], max(2, int(length[-1] / step) + 1))
    return np.stack([np.interp(at, length, points[:, 0]), np.interp(at, length, points[:, 1])], axis=1)


def normals(points: Points) -> Points:
    """Return the unit normals (n, 2) of a polyline, which point to the left of its direction."""
    along = np.gradient(points, axis=0)
    along /= np.linalg.norm(along, axis=1, keepdims=True) + 1e-9
    return np.stack([-along[:, 1], along[:, 0]], axis=1)


def band(centre: Points, width: float, end_width: float | None = None) -> Points:
    """Return the outline of a ribbon along ``centre`` whose width changes linearly from ``width`` to ``end_width``."""
    widths = np.linspace(width, width if end_width is None else end_width, len(centre))[:, None]
    side = normals(centre) * widths / 2
    return np.vstack([centre + side, (centre - side)[::-1]])


def ellipse(x: float, y: float, rx: float, ry: float | None = None) -> Points:
    """Return the outline of an ellipse centred at (x, y); without ``ry``, a circle."""
    angle = np.linspace(0, 2 * np.pi, 28, endpoint=False)
    return np.stack([x + rx * np.cos(angle), y + (rx if ry is None else ry) * np.sin(angle)], axis=1)


def rounded(corners: Sequence[Sequence[float]], radii: float | Sequence[float]) -> Points:
    """Return a polygon whose corners are rounded by quadratic Bézier curves that extend ``radii`` along the edges."""
    p = np.asarray(corners, dtype=float)
    radii = np.broadcast_to(radii, len(p))
    t = np.linspace(0, 1, 8)[:, None]
    pieces = []
    for before, corner, after, radius in zip(np.roll(p, 1, 0), p, np.roll(p, -1, 0), radii, strict=True):
        start, end = (
            corner + (other - corner) * min(0.5, radius / (np.linalg.norm(other - corner) + 1e-9))
            for other in (before, after)
        )
        pieces.append((1 - t) ** 2 * start + 2 * t * (1 - t) * corner + t**2 * end)
    return np.vstack(pieces)


def box(x0: float, y0: float, x1: float, y1: float, radius: float) -> Points:
    """Return an axis-aligned rectangle with rounded corners."""
    return rounded([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], radius)


@dataclass(frozen=True)
class Stroke:
    """A line on a part: a seam, a dashed row of stitches, or a cord of the given width in the colour of its role."""

    points: Points
    role: str = 'seam'
    width: float = 0.0
    dashed: bool = False

    def mapped(self, place: Callable[[Points], Points], scale: float) -> Stroke:
        """Return a copy with ``place`` applied to the points and the width multiplied by ``scale``."""
        return replace(self, points=place(self.points), width=self.width * scale)


@dataclass(frozen=True)
class Part:
    """A filled outline with strokes and child parts.

    Strokes are painted first, then the child parts; both are clipped to the outline. ``role`` selects the colour. A
    part with the role "none" is not painted itself and only carries strokes.
    """

    name: str
    points: Points
    role: str
    strokes: list[Stroke] = field(default_factory=list)
    parts: list[Part] = field(default_factory=list)

    def mapped(self, place: Callable[[Points], Points], scale: float) -> Part:
        """Return a copy with ``place`` applied to all points and all stroke widths multiplied by ``scale``."""
        return replace(
            self,
            points=place(self.points),
            strokes=[stroke.mapped(place, scale) for stroke in self.strokes],
            parts=[part.mapped(place, scale) for part in self.parts],
        )

    def walk(self) -> Iterator[Part]:
        """Yield this part and all of its descendants in painting order."""
        yield self
        for part in self.parts:
            yield from part.walk()


@dataclass(frozen=True)
class Design:
    """An object in the unit frame (x to the right, y down), with its parts in painting order from back to front."""

    kind: str
    family: str
    parts: list[Part]
    flipped: bool

    def walk(self) -> Iterator[Part]:
        """Yield all parts and their descendants in painting order."""
        for part in self.parts:
            yield from part.walk()


def buckle(x: float, y: float, size: float) -> Part:
    """Return a square metal buckle with its bar."""
    half = size / 2
    bar = Stroke(np.array([(x, y - 0.5 * half), (x, y + 0.5 * half)]))
    return Part('buckle', box(x - half, y - half, x + half, y + half, 0.3 * size), 'metal', [bar])


def bow(x: float, y: float, size: float, role: str) -> list[Part]:
    """Return a bow: two loops and a knot."""
    loops = []
    for side in (-1, 1):
        loop = curve(
            (x, y), (x + side * 0.6 * size, y + 0.55 * size), (x + side * size, y + 0.25 * size),
            (x + side * 0.9 * size, y - 0.35 * size), (x, y),
        )
        loops.append(Part('bow', loop, role))
    return [*loops, Part('knot', ellipse(x, y, 0.22 * size, 0.26 * size), role)]
