"""Draw a small stand-in for edges2shoes / edges2handbags: line drawings (A) and coloured pictures (B).

    python scripts/draw_demo_data.py --output datasets/demo_drawn --objects shoes handbags \
        --train 1000 --test 100 --size 128 --seed 0

Every object is built once, as a tree of named parts with smooth outlines, and both its line drawing and its coloured
picture are painted from that tree, so the two always agree.  The output folder then holds

    trainA/ trainB/    unpaired: the two are drawn independently, of different objects; with --paired they are pairs
    testA/ testB/      paired: testA/00007.jpg is the line drawing of the very object in testB/00007.jpg
    list_*.txt         the file names of each folder, one a line
    factors_test.json  what each test picture shows: family, outlines of the body, colours, pattern, ...
    drawn.json         the settings; written last, so its presence means that the set is complete

Picture ``i`` of a split depends on the seed, the split and ``i`` only, never on how many pictures are drawn.
``--inputs inputs`` draws the few example pictures of the ``inputs`` folder instead of a data set.
"""

from __future__ import annotations

import argparse
import colorsys
import json
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NoReturn

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter
from tqdm import tqdm

DRAWING_VERSION = 1  # raise it when the drawing changes, so that older folders are not taken for up to date
MIN_SIZE, MAX_SIZE = 64, 512
MAX_COUNT = 99_999  # file names have five digits
SPLIT_NUMBERS = {"trainA": 0, "trainB": 1, "test": 2, "train": 3}  # the last for --paired
FOLDERS = ("trainA", "trainB", "testA", "testB")
WHITE = (255, 255, 255)

Colour = tuple[int, int, int]
Points = np.ndarray  # (n, 2) floats; y points up while a shape is being built and down once it is placed in the frame


# --------------------------------------------------------------------------------------------------------------------
# Curves
# --------------------------------------------------------------------------------------------------------------------


def curve(*points: Sequence[float], steps: int = 10) -> Points:
    """Smooth open curve through ``points``: centripetal Catmull-Rom, ``steps`` samples a span, ends included."""
    p = np.asarray(points, dtype=float)
    if len(p) < 3:
        return p
    # Knots spaced by the square root of the chord: uniform ones overshoot where long and short spans meet.
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
    """Join curves end to end into one outline; a corner stays wherever two of them meet."""
    return np.vstack([np.asarray(piece, dtype=float).reshape(-1, 2) for piece in pieces])


def resample(points: Points, step: float, closed: bool = False) -> Points:
    """The same polyline with its vertices ``step`` apart (n, 2), at least two of them."""
    if closed:
        points = np.vstack([points, points[:1]])
    length = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
    at = np.linspace(0.0, length[-1], max(2, int(length[-1] / step) + 1))
    return np.stack([np.interp(at, length, points[:, 0]), np.interp(at, length, points[:, 1])], axis=1)


def normals(points: Points) -> Points:
    """Unit normals (n, 2) of a polyline, to the left of its direction."""
    along = np.gradient(points, axis=0)
    along /= np.linalg.norm(along, axis=1, keepdims=True) + 1e-9
    return np.stack([-along[:, 1], along[:, 0]], axis=1)


def band(centre: Points, width: float, end_width: float | None = None) -> Points:
    """Outline of a ribbon along ``centre`` whose width goes from ``width`` to ``end_width``."""
    widths = np.linspace(width, width if end_width is None else end_width, len(centre))[:, None]
    side = normals(centre) * widths / 2
    return np.vstack([centre + side, (centre - side)[::-1]])


def ellipse(x: float, y: float, rx: float, ry: float | None = None) -> Points:
    """Outline of an ellipse around (x, y)."""
    angle = np.linspace(0, 2 * np.pi, 28, endpoint=False)
    return np.stack([x + rx * np.cos(angle), y + (rx if ry is None else ry) * np.sin(angle)], axis=1)


def rounded(corners: Sequence[Sequence[float]], radii: float | Sequence[float]) -> Points:
    """Polygon through ``corners`` with each corner rounded by a quadratic Bezier reaching ``radii`` along its edges."""
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
    """Axis-parallel rectangle with rounded corners."""
    return rounded([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], radius)


# --------------------------------------------------------------------------------------------------------------------
# Objects
# --------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Stroke:
    """A line on a part: a seam, a row of stitches (dashed), or a cord ``width`` wide in the colour of its role."""

    points: Points
    role: str = "seam"
    width: float = 0.0
    dashed: bool = False

    def mapped(self, place: Callable[[Points], Points], scale: float) -> Stroke:
        return replace(self, points=place(self.points), width=self.width * scale)


@dataclass(frozen=True)
class Part:
    """A filled outline.  ``strokes`` and then ``parts`` lie on it and are clipped to it; ``role`` picks its colour."""

    name: str
    points: Points
    role: str
    strokes: list[Stroke] = field(default_factory=list)
    parts: list[Part] = field(default_factory=list)

    def mapped(self, place: Callable[[Points], Points], scale: float) -> Part:
        return replace(
            self,
            points=place(self.points),
            strokes=[stroke.mapped(place, scale) for stroke in self.strokes],
            parts=[part.mapped(place, scale) for part in self.parts],
        )

    def walk(self) -> Iterator[Part]:
        """This part and all those on it, in the order in which they are painted."""
        yield self
        for part in self.parts:
            yield from part.walk()


@dataclass(frozen=True)
class Design:
    """An object placed in the unit frame (x to the right, y down): its parts in painting order, back to front."""

    kind: str
    family: str
    parts: list[Part]
    flipped: bool

    def walk(self) -> Iterator[Part]:
        for part in self.parts:
            yield from part.walk()


# Shoes are built with the toe at x = 0, the heel at x = 1 and the ground at y = 0, y pointing up.


def toe_cap(reach: float, height: float, role: str = "second") -> Part:
    """Front of an upper up to x = ``reach``; it runs far out of the shoe because the upper clips it."""
    edge = curve(
        (reach + 0.03, -0.1), (reach + 0.02, 0.3 * height), (reach - 0.02, height), (reach - 0.09, height + 0.2)
    )
    return Part("toe cap", path(edge, [(-0.3, height + 0.2), (-0.3, -0.1)]), role)


def heel_counter(reach: float, bottom: float, top: float, role: str = "second") -> Part:
    """Back of an upper from x = 1 - ``reach``, narrowing towards the collar."""
    edge = curve(
        (1 - reach - 0.02, bottom - 0.1), (1 - reach, bottom + 0.04),
        (1 - 0.75 * reach, 0.5 * (bottom + top)), (1 - 0.45 * reach, top + 0.1),
    )
    return Part("heel counter", path(edge, [(1.3, top + 0.1), (1.3, bottom - 0.1)]), role)


def buckle(x: float, y: float, size: float) -> Part:
    """Square metal buckle with its bar."""
    half = size / 2
    bar = Stroke(np.array([(x, y - 0.5 * half), (x, y + 0.5 * half)]))
    return Part("buckle", box(x - half, y - half, x + half, y + half, 0.3 * size), "metal", [bar])


def bow(x: float, y: float, size: float, role: str) -> list[Part]:
    """Two loops and a knot."""
    loops = []
    for side in (-1, 1):
        loop = curve(
            (x, y), (x + side * 0.6 * size, y + 0.55 * size), (x + side * size, y + 0.25 * size),
            (x + side * 0.9 * size, y - 0.35 * size), (x, y),
        )
        loops.append(Part("bow", loop, role))
    return [*loops, Part("knot", ellipse(x, y, 0.22 * size, 0.26 * size), role)]


def lace_rows(edge: Points, count: int, reach: float, width: float) -> list[Stroke]:
    """``count`` laces lying across ``edge`` (an instep going up from the toe), each ``reach`` long."""
    edge = resample(edge, 0.01)
    across = normals(edge)
    picks = np.linspace(0, len(edge) - 1, count + 2).astype(int)[1:-1]
    return [
        Stroke(np.stack([edge[i] + 0.2 * reach * across[i], edge[i] - reach * across[i]]), "lace", width) for i in picks
    ]


def pump(rng: np.random.Generator, flat: bool = False) -> list[Part]:
    """Court shoe with a heel of any height; with ``flat`` the same last nearly on the ground, a ballerina."""
    u = rng.uniform
    rise = u(0.035, 0.06) if flat else u(0.14, 0.46)  # height of the heel seat
    toe = u(0.6, 1.0) if flat else u(0.0, 1.0)  # 0 pointed, 1 round
    throat = u(0.24, 0.34) if flat else u(0.25, 0.36)
    thick = u(0.018, 0.03)
    platform = 0.0 if flat or u() < 0.65 else u(0.03, 0.08)
    ball = 0.30

    def sole_y(x: float) -> float:
        t = min(1.0, max(0.0, (x - ball) / (0.80 - ball)))
        return platform + thick + (rise - platform) * t * t * (3 - 2 * t)

    under = [(x, sole_y(x)) for x in (0.1, 0.2, ball, 0.42, 0.53, 0.64, 0.74, 0.82, 0.9, 0.975)]
    tip = (0.0, sole_y(0) + 0.02 + 0.025 * toe)
    back = sole_y(1.0)
    top = back + u(0.19, 0.25)
    throat_y = sole_y(throat) + u(0.11, 0.15)
    dip = sole_y(0.66) + u(0.08, 0.13)
    vamp = curve(
        tip,
        (0.012 + 0.03 * (1 - toe), tip[1] + 0.022 + 0.02 * toe), (0.11, sole_y(0.1) + 0.085 + 0.02 * toe),
        (0.6 * throat + 0.03, 0.5 * (throat_y + sole_y(0.1) + 0.1) + 0.004),
        (throat, throat_y),
    )
    topline = curve(
        (throat, throat_y), (throat + 0.08, throat_y - 0.035), (0.66, dip), (0.85, 0.45 * dip + 0.55 * top),
        (0.965, top),
    )
    heel_back = curve((0.965, top), (0.995, 0.5 * (top + back)), (1.0, back + 0.05), (0.975, back))
    far_side = curve(
        (throat, throat_y), (0.5, sole_y(0.5) + 0.155), (0.72, dip + 0.075),
        (0.87, 0.4 * dip + 0.6 * top + 0.02), (0.965, top),
    )

    on_upper: list[Part] = []
    if u() < 0.35:
        on_upper.append(toe_cap(u(0.13, 0.2), sole_y(0.1) + 0.1))
    if u() < 0.25:
        on_upper.append(heel_counter(u(0.14, 0.22), back, top))
    trim_line = Stroke(topline + (0.0, -0.022), dashed=u() < 0.5)
    upper = Part(
        "upper", path(curve(tip, *under), heel_back[::-1], topline[::-1], vamp[::-1]), "body", [trim_line], on_upper
    )

    lower = [(x, y - thick) for x, y in under]
    sole = Part(
        "sole",
        path(
            curve((0.0, tip[1] - 0.012), (0.035, sole_y(0) - 0.002), *under),
            lower[::-1],
            [(0.04, sole_y(0) - 0.8 * thick)],
        ),
        "sole",
    )
    if platform:
        front = curve((0.0, tip[1]), (0.05, sole_y(0.05)), *under[:4])
        sole = Part(
            "sole",
            path(
                front,
                curve((0.42, under[3][1] - thick), (0.36, 0.01), (0.3, 0.0), (0.08, 0.0), (0.015, 0.03), (0.0, tip[1])),
            ),
            "sole",
        )

    seat = u(0.14, 0.2) if not flat else 0.22
    foot = u(0.03, 0.05) if u() < 0.55 else u(0.09, 0.15)
    if flat:
        foot = seat
    tip_x = 0.965 - 0.3 * (seat - foot) - foot
    heel = Part(
        "heel",
        path(
            curve(
                (0.985 - seat, sole_y(0.985 - seat) - 0.3 * thick),
                (0.5 * (0.985 - seat + tip_x) + 0.4 * (seat - foot), 0.6 * rise), (tip_x, 0.0),
            ),
            curve((tip_x + foot, 0.0), (0.97 - 0.2 * (seat - foot), 0.5 * rise), (0.985, back - 0.3 * thick)),
        ),
        "sole",
        [Stroke(np.array([(tip_x - 0.1, 0.022), (tip_x + foot + 0.1, 0.022)]))] if not flat else [],
    )
    parts = [Part("lining", path(far_side, topline[::-1]), "lining"), heel, upper, sole]
    if flat or u() < 0.2:
        parts += bow(throat - 0.01, throat_y - 0.01, u(0.05, 0.075), "second")
    elif u() < 0.4:  # a strap around the ankle: its far half behind the shoe, its near half in front
        x, y = 0.65, top + 0.08
        far_half = curve((0.965, top - 0.015), (0.88, top + 0.06), (0.74, top + 0.105), (x, y))
        near_half = curve((0.965, top - 0.03), (0.84, top - 0.02), (0.7, top + 0.035), (x, y))
        parts.insert(0, Part("far strap", band(far_half, 0.03), "lining"))
        parts += [Part("strap", band(near_half, 0.035), "body"), buckle(0.77, top + 0.003, 0.05)]
    return parts


def ballerina(rng: np.random.Generator) -> list[Part]:
    """Flat pump with a bow."""
    return pump(rng, flat=True)


def trainer(rng: np.random.Generator) -> list[Part]:
    """Sports shoe, low or high, on a thick sole."""
    u = rng.uniform
    high = u() < 0.35
    t = u(0.075, 0.13)  # sole
    top = t + (u(0.46, 0.62) if high else u(0.30, 0.37))
    toe_y = t + u(0.10, 0.14)
    spring = u(0.0, 0.025)
    x_top = u(0.50, 0.54) if high else u(0.54, 0.60)  # upper end of the laces
    dip = u(0.0, 0.03) if high else u(0.03, 0.08)
    heel_tab = u(0.0, 0.05)

    front = curve(
        (0.012, t), (0.018, t + 0.06), (0.08, toe_y - 0.01), (0.2, toe_y + 0.03), (0.3, toe_y + 0.06),
        (0.5 * (0.3 + x_top), 0.53 * (toe_y + 0.06) + 0.47 * top), (x_top, top),
    )
    tab = (0.95, top + heel_tab)
    collar = curve((x_top, top), (x_top + 0.12, top - 0.85 * dip), (0.84, top - dip + 0.01), tab)
    heel = curve(
        tab, (0.972, top + heel_tab - 0.025), (0.958, 0.7 * top + 0.3 * t), (0.99, 0.3 * top + 0.7 * t), (0.985, t)
    )
    instep = front[(front[:, 0] > 0.27)]

    on_upper: list[Part] = []
    swatch = "second" if u() < 0.6 else "body"
    stay = instep - 0.045 * normals(instep)
    on_upper.append(Part("eyestay", band(stay, 0.075, 0.1), swatch))
    if u() < 0.55:
        on_upper.append(toe_cap(u(0.13, 0.22), toe_y, "second" if u() < 0.75 else "body"))
    if u() < 0.65:
        on_upper.append(heel_counter(u(0.14, 0.22), t, top * 0.8, "second" if u() < 0.75 else "body"))
    side = rng.integers(4)
    if side == 0:  # slanted bars
        for k in range(rng.integers(2, 4)):
            x = 0.46 + 0.085 * k
            on_upper.append(Part("bar", band(np.array([(x, t - 0.1), (x + 0.12, top - 0.1)]), 0.04), "second"))
    elif side == 1:  # a long sweep
        sweep = curve((0.44, t + 0.14), (0.5, t + 0.07), (0.65, t + 0.10), (0.86, t + 0.21))
        on_upper.append(Part("sweep", band(sweep, 0.075, 0.012), "second"))
    elif side == 2 and high:
        on_upper.append(Part("badge", ellipse(0.76, 0.6 * top + 0.4 * t, u(0.06, 0.085)), "second"))
    seams = [
        Stroke(collar + (0.0, -0.045)),
        Stroke(curve((0.28, t), (0.34, t + 0.08), (0.46, t + 0.13), (0.62, top - 0.12)), dashed=u() < 0.5),
    ]
    upper = Part("upper", path(front, collar, heel, [(0.9, 0.3 * t), (0.05, 0.3 * t)]), "body", seams, on_upper)
    laces = lace_rows(instep, int(rng.integers(5, 7) if high else rng.integers(4, 6)), 0.085, 0.02)
    on_upper.append(Part("laces", band(stay, 0.16, 0.2), "none", laces))

    sole_top = curve(
        (1.0, t * 1.05 + 0.01), (0.7, t), (0.4, t * 0.92), (0.12, t * 0.98 + 0.3 * spring), (0.0, t + 0.02 + spring)
    )
    sole_under = curve(
        (-0.012, 0.6 * t + spring), (0.03, 0.012 + spring), (0.2, 0.0), (0.6, 0.0), (0.95, 0.0),
        (1.005, 0.35 * t), (1.0, t * 1.05 + 0.01),
    )
    lines = [Stroke(sole_top + (0.0, -u(0.3, 0.6) * t))]
    sole = Part("sole", path(sole_top, sole_under), "sole", lines)

    along = (instep[-1] - instep[-8]) / np.linalg.norm(instep[-1] - instep[-8])
    peak = instep[-1] + u(0.07, 0.10) * along
    tongue = path(
        curve(instep[-1] - 0.1 * along, instep[-1] + 0.01 * along, peak - (0.01, 0.0), peak + (0.035, 0.0)),
        [(x_top + 0.12, top - 0.02), (x_top + 0.1, top - 0.12)],
    )
    far = curve((x_top, top), (x_top + 0.14, top + 0.03 - 0.5 * dip), (0.84, top + 0.03 - 0.6 * dip), tab)
    return [Part("lining", path(far, collar[::-1]), "lining"), Part("tongue", tongue, "second"), upper, sole]


def boot(rng: np.random.Generator) -> list[Part]:
    """Ankle boot to knee boot, on a block or slim heel, with a cuff, strap, laces, zip or elastic side."""
    u = rng.uniform
    rise = u(0.05, 0.10) if u() < 0.5 else u(0.12, 0.27)
    height = rise + (u(0.5, 0.72) if u() < 0.6 else u(0.85, 1.15))
    toe = u(0.0, 1.0)
    thick = u(0.02, 0.045)
    front_x = u(0.46, 0.52)
    ankle = rise + 0.36
    slant = u(-0.03, 0.05)
    flare = u(-0.02, 0.05)

    def sole_y(x: float) -> float:
        s = min(1.0, max(0.0, (x - 0.32) / (0.74 - 0.32)))
        return thick + rise * s * s * (3 - 2 * s)

    under = [(x, sole_y(x)) for x in (0.08, 0.2, 0.32, 0.44, 0.54, 0.64, 0.74, 0.86, 0.975)]
    tip = (0.0, thick + 0.035)
    instep = curve(
        tip,
        (0.01 + 0.02 * (1 - toe), thick + 0.055 + 0.025 * toe), (0.1, thick + 0.115 + 0.03 * toe),
        (0.26, thick + 0.17 + 0.25 * rise), (0.42, thick + 0.26 + 0.6 * rise), (front_x, ankle + 0.03),
        (front_x + 0.005 - 0.5 * flare, 0.5 * (ankle + height)), (front_x - flare, height + slant),
    )
    mouth = curve((front_x - flare, height + slant), (0.72, height - 0.02 + 0.5 * slant), (0.955 + flare, height))
    back = curve(
        (0.955 + flare, height), (0.935 + 0.6 * flare, 0.55 * height + 0.45 * ankle), (0.925, ankle),
        (0.985, rise + 0.16), (0.975, sole_y(1.0)),
    )
    far = curve((front_x - flare, height + slant), (0.72, height + 0.035 + 0.5 * slant), (0.955 + flare, height))

    on_upper: list[Part] = []
    seams: list[Stroke] = []
    if u() < 0.35:
        on_upper.append(toe_cap(u(0.15, 0.24), thick + 0.14))
    if u() < 0.3:
        on_upper.append(heel_counter(u(0.16, 0.24), rise, rise + 0.25))
    feature = rng.choice(["laces", "strap", "zip", "elastic"])
    shin = instep[(instep[:, 0] > 0.3)]
    if feature == "laces":
        stay = shin - 0.05 * normals(shin)
        on_upper.append(Part("eyestay", band(stay, 0.1), "second" if u() < 0.4 else "body"))
        laces = lace_rows(shin, max(4, int(height / 0.085)), 0.085, 0.02)
        on_upper.append(Part("laces", band(stay, 0.16), "none", laces))
    elif feature == "elastic":
        x = 0.5 * (front_x + 0.93)
        gore = rounded(
            [(x - 0.1, height + 0.1), (x + 0.1, height + 0.1), (x + 0.05, ankle - 0.1), (x - 0.05, ankle - 0.1)], 0.06
        )
        ribs = [Stroke(np.array([(x + d, ankle - 0.1), (x + 1.6 * d, height)])) for d in (-0.03, 0.0, 0.03)]
        on_upper.append(Part("elastic", gore, "second", ribs))
    elif feature == "zip":
        zip_line = curve((0.66, sole_y(0.66) - 0.02), (0.7, ankle), (0.72, height))
        seams += [Stroke(zip_line), Stroke(zip_line + (0.025, 0.0), dashed=True)]
    if feature in ("strap", "zip") and u() < 0.8:
        y = ankle + u(-0.05, 0.02)
        strap = curve((0.3, y - 0.05), (0.6, y - 0.02), (0.8, y + 0.005), (1.1, y + 0.05))
        on_upper += [Part("strap", band(strap, u(0.045, 0.065)), "second"), buckle(0.68, y - 0.012, 0.085)]
    if u() < 0.4 and feature != "elastic":
        depth = u(0.08, 0.16)
        cuff = path(
            curve((0.2, height - depth), (0.72, height - depth - 0.03), (1.2, height - depth)),
            [(1.2, height + 0.3), (0.2, height + 0.3)],
        )
        on_upper.append(Part("cuff", cuff, "second"))
    else:
        seams.append(Stroke(mouth + (0.0, -0.035), dashed=u() < 0.5))
    if u() < 0.6:
        seams.append(
            Stroke(
                curve(
                    (0.36, sole_y(0.36) - 0.01), (0.44, thick + 0.16), (0.56, rise + 0.2),
                    (0.66, rise + 0.14), (0.72, sole_y(0.72)),
                )
            )
        )
    upper = Part("upper", path(instep, mouth, back, curve(tip, *under)[::-1]), "body", seams, on_upper)

    lower = curve((0.02, 0.35 * thick), *[(x, y - thick) for x, y in under])
    sole = Part("sole", path(curve((-0.008, tip[1]), *under), lower[::-1]), "sole")
    seat = u(0.2, 0.26)
    foot = seat - (u(0.0, 0.04) if rise < 0.12 or u() < 0.5 else u(0.1, 0.15))
    x0 = 0.975 - seat
    tip_x = 0.965 - 0.2 * (seat - foot) - foot
    heel = Part(
        "heel",
        path(
            curve((x0, sole_y(x0) - 0.4 * thick), (0.5 * (x0 + tip_x) + 0.2 * (seat - foot), 0.5 * rise), (tip_x, 0.0)),
            curve((tip_x + foot, 0.0), (0.97 - 0.12 * (seat - foot), 0.5 * rise), (0.98, sole_y(1.0) - 0.4 * thick)),
        ),
        "sole",
        [Stroke(np.array([(0.5, 0.025), (1.2, 0.025)]))],
    )
    return [Part("lining", path(far, mouth[::-1]), "lining"), heel, upper, sole]


def loafer(rng: np.random.Generator) -> list[Part]:
    """Slip-on with an apron seam and a saddle strap on a low heel."""
    u = rng.uniform
    rise = u(0.045, 0.085)
    thick = u(0.022, 0.04)
    toe_y = rise + u(0.11, 0.15)
    tongue_x = u(0.38, 0.45)
    tongue_y = rise + u(0.29, 0.34)
    top = rise + u(0.24, 0.31)
    front = curve(
        (0.0, rise), (0.008, rise + 0.07), (0.06, toe_y), (0.2, toe_y + 0.05),
        (0.75 * tongue_x, tongue_y - 0.07), (tongue_x, tongue_y),
    )
    topline = curve(
        (tongue_x, tongue_y), (tongue_x + 0.03, tongue_y - 0.005), (tongue_x + 0.09, tongue_y - 0.07),
        (0.7, rise + u(0.13, 0.17)), (0.86, 0.5 * (top + rise) + 0.065), (0.965, top),
    )
    back = curve((0.965, top), (0.995, rise + 0.13), (0.985, rise - 0.02))
    far = curve((tongue_x, tongue_y), (tongue_x + 0.16, tongue_y - 0.06), (0.8, top - 0.035), (0.965, top))
    apron = curve((-0.02, toe_y - 0.045), (0.1, toe_y - 0.02), (0.25, toe_y + 0.035), (tongue_x + 0.03, tongue_y - 0.1))

    saddle_role = "second" if u() < 0.65 else "body"
    x = tongue_x - 0.06
    saddle = curve(
        (x - 0.04, tongue_y + 0.02), (x + 0.02, tongue_y - 0.1), (x + 0.10, rise + 0.09), (x + 0.13, rise - 0.06)
    )
    on_upper = [Part("saddle", band(saddle, u(0.07, 0.1), 0.16), saddle_role)]
    if u() < 0.4:
        on_upper.append(buckle(x + 0.02, tongue_y - 0.105, 0.07))
    if u() < 0.4:
        on_upper.append(heel_counter(u(0.15, 0.24), rise, top - 0.02))
    if u() < 0.25:
        on_upper.insert(0, toe_cap(u(0.14, 0.2), toe_y))
    seams = [Stroke(apron), Stroke(topline + (0.0, -0.024), dashed=u() < 0.6)]
    upper = Part(
        "upper", path(front, topline, back, [(0.9, rise - 0.02), (0.06, rise - 0.02)]), "body", seams, on_upper
    )
    heel_x = u(0.68, 0.74)
    sole = Part(
        "sole",
        path(
            curve((-0.012, rise + 0.005), (0.3, rise - 0.004), (0.6, rise + 0.006), (1.0, rise)),
            [(0.995, 0.0), (heel_x + 0.01, 0.0)],
            curve(
                (heel_x, rise - thick), (0.5, rise - thick), (0.25, max(0.0, rise - 2 * thick)),
                (0.06, rise - 1.3 * thick), (-0.012, rise + 0.005),
            ),
        ),
        "sole",
        [Stroke(np.array([(heel_x, rise - thick), (1.1, rise - thick)]))],
    )
    return [Part("lining", path(far, topline[::-1]), "lining"), upper, sole]


# Handbags are built around x = 0, standing on y = 0, y pointing up.


def panel(
    bottom: float, top: float, height: float, radii: tuple[float, float], bulge: float = 0.0, sag: float = 0.0
) -> Points:
    """Bag front: half widths at the bottom and top, corner radii (bottom, top), bulging sides, sagging top edge."""
    low, high = radii
    corners = [(-bottom, 0), (bottom, 0), (top, height), (-top, height)]
    outline = resample(rounded(corners, [low, low, high, high]), 0.015, closed=True)
    v = outline[:, 1] / height
    x = outline[:, 0] * (1 + bulge * np.sin(np.pi * v))
    y = outline[:, 1] - sag * v**3 * np.clip(1 - (outline[:, 0] / top) ** 2, 0, 1)
    return np.stack([x, y], axis=1)


def handle_arc(half: float, base: float, rise: float, square: float, x: float = 0.0) -> Points:
    """Handle from (x - half, base) up and over to (x + half, base); ``square`` from 0 (pointed arc) to 1 (broad)."""
    shoulder = (0.62 + 0.26 * square) * half
    return curve(
        (x - half, base), (x - half * (0.92 + 0.08 * square), base + 0.55 * rise),
        (x - shoulder, base + (0.86 + 0.06 * square) * rise), (x, base + rise),
        (x + shoulder, base + (0.86 + 0.06 * square) * rise),
        (x + half * (0.92 + 0.08 * square), base + 0.55 * rise), (x + half, base),
        steps=8,
    )


def strip(y0: float, y1: float, name: str, role: str, stitched: bool = False) -> Part:
    """Band across the whole bag between two heights; the bag clips it."""
    row = [Stroke(np.array([(-1.0, y), (1.0, y)]), dashed=True) for y in (y0 + 0.022, y1 - 0.022)] if stitched else []
    return Part(name, np.array([(-1.0, y0), (1.0, y0), (1.0, y1), (-1.0, y1)]), role, row)


def tote(rng: np.random.Generator) -> list[Part]:
    """Open bag with two handles."""
    u = rng.uniform
    height = u(0.58, 0.88)
    bottom = u(0.36, 0.5)
    top = bottom + u(-0.08, 0.12)
    outline = panel(bottom, top, height, (u(0.02, 0.16), 0.02), u(0.0, 0.05), u(0.0, 0.035))
    half = u(0.4, 0.6) * top
    drop = u(0.08, 0.24)
    rise = u(0.26, 0.5) + drop
    width = u(0.035, 0.06)
    square = u(0.0, 1.0)

    on_body: list[Part] = []
    if u() < 0.35:
        on_body.append(strip(-0.1, u(0.14, 0.28) * height, "base", "second", u() < 0.5))
    if u() < 0.3:
        on_body.append(strip(height - u(0.07, 0.13), height + 0.1, "rim", "second"))
    pocket = rng.integers(4)
    if pocket == 0:
        w, y0, y1 = u(0.4, 0.6) * bottom, 0.16 * height, u(0.45, 0.55) * height
        rim = Stroke(np.array([(-1, y1 - 0.045), (1, y1 - 0.045)]), dashed=True)
        on_body.append(Part("pocket", box(-w, y0, w, y1, 0.05), "second" if u() < 0.5 else "body", [rim]))
    elif pocket == 1:
        on_body.append(Part("badge", ellipse(0, 0.45 * height, u(0.07, 0.11)), "second"))
    elif pocket == 2:
        on_body += [
            strip(0.46 * height, 0.46 * height + u(0.06, 0.1), "belt", "second"),
            buckle(0, 0.46 * height + 0.04, 0.11),
        ]
    seams = [Stroke(outline * (0.93, 0.94) + (0, 0.03 * height), dashed=True)] if u() < 0.4 else []
    seams.append(Stroke(np.array([(-1, height - 0.05), (1, height - 0.05)])))
    body = Part("body", outline, "body", seams, on_body)

    far = Part(
        "far handle", band(handle_arc(half, height - 0.02, rise - drop + 0.03, square, 0.02), width), "trim_dark"
    )
    near = Part("near handle", band(handle_arc(half, height - drop, rise, square, -0.01), width), "trim")
    tabs = [
        Part(
            "tab",
            box(x - 0.8 * width - 0.01, height - drop - 0.05, x + 0.8 * width - 0.01, height - drop + 0.04, 0.02),
            "trim",
        )
        for x in (-half, half)
    ]
    rings = [Part("ring", ellipse(x - 0.01, height - drop - 0.01, 0.016), "metal") for x in (-half, half)]
    mouth = Part("mouth", ellipse(0, height - 0.005, 0.97 * top, 0.03), "lining")
    return [far, mouth, body, near, *tabs, *rings]


def flap_edge(half: float, height: float, depth: float, shape: str) -> Points:
    """Outline of a flap hanging ``depth`` down from a bag's top edge; ``shape`` is square, round or pointed."""
    y = height - depth
    corners = [(half, height), (-half, height)]
    if shape == "pointed":
        corners += [(-half, height - 0.25 * depth), (-0.08, y), (0.08, y), (half, height - 0.25 * depth)]
        return resample(rounded(corners, [0.02, 0.02, 0.1, 0.08, 0.08, 0.1]), 0.02, closed=True)
    if shape == "round":
        low = curve(
            (-half, height - 0.2 * depth), (-0.86 * half, height - 0.66 * depth),
            (-0.45 * half, y + 0.06 * depth), (0, y),
        )
        return path(corners, low, (low * (-1, 1))[::-1])
    return resample(rounded([*corners, (-half, y), (half, y)], [0.02, 0.02, 0.09, 0.09]), 0.02, closed=True)


def clutch(rng: np.random.Generator) -> list[Part]:
    """Flat bag without a strap, or with a wrist loop or chain, and a flap with a clasp."""
    u = rng.uniform
    height = u(0.46, 0.66)
    half = 0.5
    outline = panel(half, half + u(-0.04, 0.0), height, (u(0.03, 0.12), 0.03), u(0.0, 0.03))
    depth = u(0.5, 0.78) * height
    shape = str(rng.choice(["pointed", "round", "square"]))
    role = "second" if u() < 0.4 else "body"
    edge = flap_edge(half * 1.005, height + 0.005, depth, shape)
    inset = (edge - (0, height)) * (0.93, 0.92) + (0, height - 0.005)
    seams = [Stroke(inset, dashed=True)] if u() < 0.6 else []
    flap = Part("flap", edge, role, seams)
    size = u(0.035, 0.055)
    y = height - depth + u(0.03, 0.06)
    clasp = Part(
        "clasp",
        ellipse(0, y, size) if u() < 0.5 else box(-1.5 * size, y - 0.7 * size, 1.5 * size, y + 0.7 * size, 0.02),
        "metal",
    )
    clasp = replace(clasp, strokes=[Stroke(clasp.points * (0.5, 0.5) + (0, 0.5 * y))])
    on_body = [strip(-0.1, u(0.12, 0.2) * height, "base", "second")] if u() < 0.25 and role == "body" else []
    parts = [Part("body", outline, "body", [], on_body), flap, clasp]
    extra = u()
    if extra < 0.3:
        loop = curve(
            (0.47, height - 0.08), (0.6, height - 0.02), (0.7, height - 0.16), (0.66, 0.1), (0.58, 0.02),
            (0.55, 0.14), (0.47, height - 0.1),
        )
        parts.insert(0, Part("loop", band(loop, 0.03), "trim"))
    elif extra < 0.6:
        chain = handle_arc(0.88 * half, height - 0.03, u(0.25, 0.5), u(0.2, 1.0))
        parts.insert(0, Part("strap", band(chain, 0.024), "metal" if u() < 0.5 else "trim"))
    if u() < 0.25:
        parts += [p for p in bow(0, y, 0.12, "second" if role == "body" else "trim")]
    return parts


def satchel(rng: np.random.Generator) -> list[Part]:
    """Boxy bag with a flap held by buckled straps."""
    u = rng.uniform
    height = u(0.58, 0.76)
    half = 0.5
    outline = panel(half, half + u(-0.05, 0.0), height, (u(0.04, 0.12), 0.05), u(0.0, 0.02))
    depth = u(0.42, 0.68) * height
    role = "second" if u() < 0.35 else "body"
    edge = flap_edge(half * 1.01, height + 0.012, depth, str(rng.choice(["square", "round", "square"])))
    flap = Part("flap", edge, role, [Stroke((edge - (0, height)) * (0.94, 0.93) + (0, height - 0.004), dashed=True)])
    y = height - depth

    on_body = []
    if u() < 0.7:
        y0 = u(0.05, 0.09)
        on_body.append(
            Part("pocket", box(-0.72 * half, y0, 0.72 * half, 0.62 * height, 0.06), "body" if u() < 0.7 else "second")
        )
    else:
        on_body.append(strip(-0.1, u(0.1, 0.16) * height, "base", "second"))
    seams = [Stroke(np.array([(s * 0.87 * half, -0.1), (s * 0.87 * half, 1.0)])) for s in (-1, 1)] if u() < 0.6 else []
    parts = [Part("body", outline, "body", seams, on_body), flap]

    width = u(0.055, 0.085)
    places = (-0.5 * half, 0.5 * half) if u() < 0.7 else (0.0,)
    for x in places:
        tongue = rounded(
            [
                (x - width / 2, height * 0.96), (x + width / 2, height * 0.96), (x + width / 2, y - 0.07),
                (x, y - 0.11), (x - width / 2, y - 0.07),
            ],
            0.02,
        )
        parts += [
            Part("strap", tongue, "trim", [Stroke(np.array([(x, height), (x, y + 0.06)]), dashed=True)]),
            buckle(x, y + 0.01, width + 0.035),
        ]
    if u() < 0.75:
        grip = handle_arc(u(0.2, 0.28), height - 0.03, u(0.16, 0.26), u(0.4, 1.0))
        parts.insert(0, Part("handle", band(grip, u(0.04, 0.055)), "trim"))
    else:
        parts.insert(
            0,
            Part(
                "shoulder strap", band(handle_arc(0.9 * half, height - 0.05, u(0.4, 0.62), u(0.0, 0.8)), 0.038), "trim"
            ),
        )
    return parts


def bowler(rng: np.random.Generator) -> list[Part]:
    """Dome-shaped bag with a zip along its top and two short handles."""
    u = rng.uniform
    height = u(0.5, 0.68)
    shoulder = u(0.36, 0.46)
    side = curve(
        (0.0, height), (0.55 * shoulder, height * 0.985), (shoulder, height * u(0.78, 0.9)),
        (0.5, 0.32 * height), (0.49, 0.1), (0.44, 0.015), (0.3, 0.0),
    )
    outline = path(side, (side * (-1, 1))[::-1])
    zip_line = outline * (0.9, 0.9)
    seams = [Stroke(zip_line), Stroke(outline * (0.96, 0.955), dashed=True)] if u() < 0.7 else [Stroke(zip_line)]
    on_body: list[Part] = []
    if u() < 0.5:
        y = u(0.16, 0.3) * height
        edge = curve((-0.6, y), (0, y * u(0.6, 1.2)), (0.6, y))
        on_body.append(Part("base", path(edge, [(0.6, -0.1), (-0.6, -0.1)]), "second"))
    if u() < 0.45:
        for s in (-1, 1):
            corner = path(
                curve((s * 0.24, -0.05), (s * 0.27, 0.14), (s * 0.36, 0.24), (s * 0.6, 0.28)), [(s * 0.7, -0.1)]
            )
            on_body.append(Part("corner", corner, "second"))
    if u() < 0.4:
        w = u(0.16, 0.24)
        on_body.append(
            Part("pocket", box(-w, 0.16 * height, w, 0.56 * height, 0.07), "second" if u() < 0.4 else "body")
        )
    body = Part("body", outline, "body", seams, on_body)

    half = u(0.17, 0.25)
    rise = u(0.3, 0.42)
    base = height * u(0.62, 0.72)
    width = u(0.036, 0.052)
    far = Part(
        "far handle", band(handle_arc(half, height - 0.06, rise + base - height + 0.1, 0.6, 0.02), width), "trim_dark"
    )
    near = Part("near handle", band(handle_arc(half, base, rise, 0.6, -0.01), width), "trim")
    tabs = [
        Part(
            "tab",
            rounded(
                [
                    (x - 0.045, base + 0.03), (x + 0.045, base + 0.03), (x + 0.04, base - 0.06),
                    (x, base - 0.1), (x - 0.04, base - 0.06),
                ],
                0.025,
            ),
            "trim",
        )
        for x in (-half - 0.01, half - 0.01)
    ]
    rings = [Part("ring", ellipse(x, base - 0.03, 0.017), "metal") for x in (-half - 0.01, half - 0.01)]
    return [far, body, near, *tabs, *rings]


FAMILIES: dict[str, dict[str, Callable[[np.random.Generator], list[Part]]]] = {
    "shoes": {"pump": pump, "boot": boot, "trainer": trainer, "loafer": loafer, "ballerina": ballerina},
    "handbags": {"tote": tote, "clutch": clutch, "satchel": satchel, "bowler": bowler},
}
WEIGHTS = {"loafer": 0.6, "ballerina": 0.6}  # how often a family is drawn; 1 where not named
SINGULAR = {"shoes": "shoe", "handbags": "handbag"}


def design_object(rng: np.random.Generator, objects: Sequence[str]) -> Design:
    """Draw one object of the given kinds ("shoes", "handbags") at random and place it in the unit frame."""
    kind = objects[rng.integers(len(objects))]
    weights = np.array([WEIGHTS.get(name, 1.0) for name in FAMILIES[kind]])
    family = str(rng.choice(list(FAMILIES[kind]), p=weights / weights.sum()))
    parts = FAMILIES[kind][family](rng)

    angle = math.radians(rng.normal(0, 2.5 if kind == "shoes" else 2.0))
    flipped = bool(rng.random() < 0.5)
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    # Low shoes are stretched upwards a little: true to life they would leave most of the frame empty.
    width, height = np.ptp(np.vstack([part.points for part in parts]), axis=0)
    stretch = 1 + rng.uniform(0.3, 0.75) * max(0.0, 0.75 - height / width)
    turn = np.diag([-1.0 if flipped else 1.0, -1.0]) @ turn @ np.diag([1.0, stretch])
    outline = np.vstack([part.points for part in parts]) @ turn.T
    low, high = outline.min(axis=0), outline.max(axis=0)
    scale = rng.uniform(0.78, 0.91) / max(high - low)
    slack = (1 - scale * (high - low)) / 2 - 0.03
    shift = 0.5 - scale * (low + high) / 2 + np.clip(rng.normal(0, 0.02, 2), -slack, slack)

    def place(points: Points) -> Points:
        return points @ turn.T * scale + shift

    return Design(SINGULAR[kind], family, [part.mapped(place, scale) for part in parts], flipped)


# --------------------------------------------------------------------------------------------------------------------
# Colours and patterns
# --------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Style:
    """The look of a picture: a colour for each role, the body's hue (degrees), lightness and saturation, a pattern."""

    colours: dict[str, Colour]
    hue: float
    lightness: float
    saturation: float
    pattern: str
    parameters: dict[str, float]
    gloss: float


def hls(hue: float, lightness: float, saturation: float) -> Colour:
    """RGB (0..255) of a hue in degrees, lightness and saturation in 0..1."""
    return tuple(round(255 * c) for c in colorsys.hls_to_rgb(hue % 360 / 360, lightness, saturation))


def luma(colour: Colour) -> float:
    """Perceived brightness, 0..255."""
    return 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]


def mix(colour: Colour, other: Colour, share: float) -> Colour:
    """``colour`` with ``share`` (0..1) of it replaced by ``other``."""
    return tuple(round(a + (b - a) * share) for a, b in zip(colour, other, strict=True))


def contour_colour(colour: Colour) -> Colour:
    """Colour of a part's contour: darker than the part, or a little lighter on a part that is nearly black."""
    return mix(colour, (20, 16, 24), 0.5) if luma(colour) > 50 else mix(colour, (190, 190, 200), 0.3)


def body_tone(rng: np.random.Generator) -> tuple[float, float, float]:
    """Hue, lightness and saturation of a body: mostly full colours, some pastel, dark, near white and grey ones."""
    u = rng.uniform
    tone = rng.choice(["full", "pastel", "dark", "light", "grey"], p=[0.60, 0.12, 0.10, 0.10, 0.08])
    hue = u(0, 360)
    if tone == "full":
        return hue, u(0.34, 0.60), u(0.50, 0.95)
    if tone == "pastel":
        return hue, u(0.70, 0.80), u(0.45, 0.80)
    if tone == "dark":
        return hue, u(0.07, 0.16), u(0.0, 0.5)
    if tone == "light":
        return u(20, 70), u(0.89, 0.95), u(0.0, 0.6)
    return hue, u(0.35, 0.68), u(0.0, 0.06)


def second_colour(rng: np.random.Generator, body: Colour, hue: float) -> Colour:
    """A colour that stands off the body clearly enough to carry a pattern."""
    while True:
        if rng.random() < 0.45:
            colour = hls(rng.uniform(20, 60), rng.choice([0.08, 0.94]) + rng.uniform(-0.03, 0.03), rng.uniform(0, 0.5))
        else:
            turn = rng.choice([30.0, -30.0, 60.0, 120.0, 180.0, 210.0]) + rng.normal(0, 10)
            colour = hls(hue + turn, rng.uniform(0.25, 0.8), rng.uniform(0.4, 0.9))
        if abs(luma(colour) - luma(body)) > 60 and sum(abs(a - b) for a, b in zip(colour, body, strict=True)) > 210:
            return colour


def choose_style(rng: np.random.Generator) -> Style:
    """Draw colours and a pattern at random."""
    u = rng.uniform
    hue, lightness, saturation = body_tone(rng)
    body = hls(hue, lightness, saturation)
    second = second_colour(rng, body, hue)
    soles = [
        (238, 234, 226), (238, 234, 226), (38, 34, 34), (176, 122, 72), (104, 68, 44),
        second,
        mix(body, (0, 0, 0), 0.55),
    ]
    trims = [second, second, mix(body, (0, 0, 0), 0.4), (120, 76, 46), (40, 36, 38), (190, 138, 86)]
    metals = [(214, 172, 84), (198, 200, 206), (190, 120, 84)]
    sole, trim, metal = (
        soles[rng.integers(len(soles))],
        trims[rng.integers(len(trims))],
        metals[rng.integers(len(metals))],
    )
    lace = (244, 242, 238) if luma(body) < 190 else (60, 56, 60)
    colours = {
        "body": body,
        "second": second,
        "sole": sole,
        "trim": trim,
        "trim_dark": mix(trim, (0, 0, 0), 0.25),
        "lining": mix(mix(body, (150, 135, 120), 0.5), (0, 0, 0), 0.35),
        "metal": metal,
        "lace": lace,
    }
    pattern = str(rng.choice(["plain", "stripes", "dots", "checks", "zigzag"], p=[0.40, 0.18, 0.16, 0.14, 0.12]))
    parameters: dict[str, float] = {}
    if pattern != "plain":
        tilt = {
            "stripes": rng.choice([0.0, 90.0, 45.0, -45.0]),
            "dots": 0.0,
            "checks": rng.choice([0.0, 45.0]),
            "zigzag": 0.0,
        }
        parameters = {
            "period": float(u(0.075, 0.13)),  # of the frame: 5 to 8 pixels at 64
            "angle": float(tilt[pattern] + rng.normal(0, 4)),
            "share": float(u(0.3, 0.45)),
            "phase": float(u()),
        }
    return Style(colours, hue, lightness, saturation, pattern, parameters, gloss=float(u(0.5, 1.0)))


def pattern_mask(pattern: str, parameters: dict[str, float], size: int) -> np.ndarray:
    """Where the second colour goes in a ``size`` x ``size`` frame: (size, size) bools."""
    at = (np.arange(size, dtype=np.float32) + 0.5) / (size * parameters["period"])
    cos, sin = (np.float32(f(math.radians(parameters["angle"]))) for f in (math.cos, math.sin))
    share, phase = np.float32(parameters["share"]), np.float32(parameters["phase"])
    u = (cos * at)[None, :] + (sin * at)[:, None] + phase
    if pattern == "stripes":
        return u % 1 < share
    v = (cos * at)[:, None] - (sin * at)[None, :] + phase
    if pattern == "checks":
        return (u % 1 < 0.5) ^ (v % 1 < 0.5)
    if pattern == "dots":
        row = np.floor(v)
        du, dv = (u + row % 2 / 2) % 1 - 0.5, v - row - 0.5  # every other row is shifted by half a period
        return du * du + dv * dv < (0.2 + 0.3 * share) ** 2
    if pattern == "zigzag":
        return (v + 0.5 * np.abs(u % 1 - 0.5)) % 1 < share
    raise ValueError(f"no pattern named {pattern!r}")


# --------------------------------------------------------------------------------------------------------------------
# Painting
# --------------------------------------------------------------------------------------------------------------------


def working_size(size: int) -> int:
    """Side of the canvas on which a picture is drawn before it is reduced: 4 to 2 times ``size``."""
    return size * (4 if size <= 96 else 3 if size <= 300 else 2)


def draw_line(image: Image.Image, points: Points, colour: int | Colour, width: float) -> None:
    """Polyline in pixels with round joints."""
    if len(points) >= 2:
        ImageDraw.Draw(image).line(points.ravel().tolist(), fill=colour, width=max(1, round(width)), joint="curve")


def cut(points: Points, dash: float, gap: float) -> list[Points]:
    """Cut a polyline into dashes ``dash`` long with ``gap`` between, in the polyline's own units."""
    fine = resample(points, gap / 2)
    length, period = max(2, round(2 * dash / gap) + 1), max(3, round(2 * (dash + gap) / gap))
    return [fine[i : i + length] for i in range(0, len(fine) - 1, period)]


class LinePainter:
    """Paints an object's contours: dark wavering lines with small gaps on white, one grey channel."""

    mode = "L"

    def __init__(self, rng: np.random.Generator, size: int):
        self.rng = rng
        self.scale = working_size(size)
        weight = np.interp(size, [64, 128, 256, 512], [1.05, 1.2, 1.75, 2.9]) * rng.uniform(1.0, 1.35)
        self.width = weight * self.scale / size
        self.ink = int(rng.integers(0, 50))
        self.waver = rng.uniform(0.0008, 0.0028)  # of the frame
        self.gaps = rng.uniform(0.2, 1.2)  # expected number for a line as long as the frame

    def layer(self, part: Part) -> int:
        return 255

    def contour(self, image: Image.Image, part: Part) -> None:
        self._sketch(image, part.points, closed=True, width=self.width)

    def stroke(self, image: Image.Image, stroke: Stroke) -> None:
        if stroke.dashed:
            for dash in cut(stroke.points, 0.028, 0.022):
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
    """Paints an object's flat colours, pattern and soft contours; ``shade`` then lights the reduced picture."""

    mode = "RGB"

    def __init__(self, style: Style, size: int):
        self.style = style
        self.scale = working_size(size)
        self.width = np.interp(size, [64, 128, 256, 512], [0.55, 0.9, 1.5, 2.5]) * self.scale / size
        self.body: Colour | Image.Image = style.colours["body"]
        if style.pattern != "plain":
            mask = Image.fromarray(pattern_mask(style.pattern, style.parameters, self.scale))
            self.body = Image.new("RGB", mask.size, self.body)
            self.body.paste(style.colours["second"], mask=mask)

    def layer(self, part: Part) -> Colour | Image.Image:
        return self.body if part.role == "body" else self.style.colours[part.role]

    def contour(self, image: Image.Image, part: Part) -> None:
        closed = np.vstack([part.points, part.points[:1]])
        draw_line(image, closed * self.scale, contour_colour(self.style.colours[part.role]), self.width)

    def stroke(self, image: Image.Image, stroke: Stroke) -> None:
        colour = self.style.colours.get(stroke.role)
        points = stroke.points * self.scale
        if colour is not None:
            draw_line(image, points, contour_colour(colour), stroke.width * self.scale + self.width)
            draw_line(image, points, colour, stroke.width * self.scale)
            return
        seam = contour_colour(self.style.colours["body"])
        for piece in cut(points, 0.028 * self.scale, 0.022 * self.scale) if stroke.dashed else [points]:
            draw_line(image, piece, seam, 0.7 * self.width)


def outline_mask(points: Points, scale: int) -> Image.Image:
    """Filled outline, given in the unit frame, as a ``scale`` x ``scale`` mask (0 or 255)."""
    mask = Image.new("L", (scale, scale), 0)
    ImageDraw.Draw(mask).polygon((points * scale).ravel().tolist(), fill=255)
    return mask


def paint(image: Image.Image, part: Part, painter: LinePainter | ColourPainter) -> None:
    """Paint a part and, clipped to it, all that lies on it; its contour comes last, over everything clipped."""
    if part.role == "none":  # only a carrier of strokes
        for stroke in part.strokes:
            painter.stroke(image, stroke)
        return
    fill, mask = painter.layer(part), outline_mask(part.points, painter.scale)
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
    """Each part with its mask, cut to the parts that it lies on, in painting order."""
    for part in parts:
        if part.role == "none":
            continue
        mask = outline_mask(part.points, scale)
        mask = mask if clip is None else ImageChops.darker(mask, clip)
        yield part, mask
        yield from clipped_masks(part.parts, scale, mask)


def shading(design: Design, size: int, gloss: float) -> np.ndarray:
    """Light on the object, (size, size) in about -0.4..0.4 and 0 off it: raised parts lit from the upper left."""
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
        body = np.where(cover > 0.5, part.role == "body", body)
    # Centred on the body, so that the commonest shade of a plain body is the body's colour itself.
    return (shade - np.median(shade[body])) * (shade != 0) if body.any() else shade


def draw_edges(design: Design, size: int, rng: np.random.Generator) -> Image.Image:
    """Line drawing of an object: RGB image without colour, dark lines on white."""
    painter = LinePainter(rng, size)
    image = Image.new("L", (painter.scale, painter.scale), 255)
    for part in design.parts:
        paint(image, part, painter)
    return image.reduce(painter.scale // size).convert("RGB")


def draw_picture(design: Design, style: Style, size: int) -> Image.Image:
    """Coloured picture of an object: RGB image on white."""
    painter = ColourPainter(style, size)
    image = Image.new("RGB", (painter.scale, painter.scale), WHITE)
    for part in design.parts:
        paint(image, part, painter)
    flat = np.asarray(image.reduce(painter.scale // size), dtype=np.float32)
    shade = shading(design, size, style.gloss)[:, :, None]
    lit = np.where(shade > 0, flat + (255 - flat) * 0.8 * shade, flat * (1 + shade))
    return Image.fromarray(np.clip(lit + 0.5, 0, 255).astype(np.uint8))


# --------------------------------------------------------------------------------------------------------------------
# Data sets
# --------------------------------------------------------------------------------------------------------------------


class SettingsError(Exception):
    """A setting that cannot be used; the message is one line for the user."""


@dataclass(frozen=True)
class Settings:
    """What is to be drawn.  Two folders drawn with equal settings hold the same bytes."""

    objects: tuple[str, ...] = ("shoes", "handbags")
    train: int = 1000
    test: int = 100
    size: int = 128
    seed: int = 0
    paired: bool = False

    def check(self) -> None:
        """Raise ``SettingsError`` with a line that names the first flag out of its range."""
        for name in self.objects:
            if name not in FAMILIES:
                raise SettingsError(f"--objects {name}: unknown object, choose from {', '.join(FAMILIES)}")
        if not self.objects:
            raise SettingsError(f"--objects: name at least one of {', '.join(FAMILIES)}")
        if not MIN_SIZE <= self.size <= MAX_SIZE:
            raise SettingsError(f"--size {self.size}: must be from {MIN_SIZE} to {MAX_SIZE} pixels")
        for flag, value in (("--train", self.train), ("--test", self.test)):
            if not 0 <= value <= MAX_COUNT:
                raise SettingsError(f"{flag} {value}: must be from 0 to {MAX_COUNT}")
        if self.seed < 0:
            raise SettingsError(f"--seed {self.seed}: must be 0 or more")

    def counts(self) -> dict[str, int]:
        """Number of pictures in each folder."""
        return {folder: self.test if folder.startswith("test") else self.train for folder in FOLDERS}

    def record(self) -> dict:
        """The settings as written to ``drawn.json``."""
        return {
            "version": DRAWING_VERSION,
            "objects": list(self.objects),
            "train": self.train,
            "test": self.test,
            "size": self.size,
            "seed": self.seed,
            **({"paired": True} if self.paired else {}),
        }


@dataclass(frozen=True)
class Drawing:
    """One object with its look, its line drawing and its picture (each drawn only when asked for)."""

    design: Design
    style: Style
    size: int
    ink_seed: int

    def edges(self) -> Image.Image:
        return draw_edges(self.design, self.size, np.random.default_rng(self.ink_seed))

    def picture(self) -> Image.Image:
        return draw_picture(self.design, self.style, self.size)


def make_drawing(settings: Settings, split: str, index: int) -> Drawing:
    """Object ``index`` of a split of ``SPLIT_NUMBERS``; it depends on nothing but seed, split and index."""
    rng = np.random.default_rng([settings.seed, SPLIT_NUMBERS[split], index])
    design = design_object(rng, settings.objects)
    return Drawing(design, choose_style(rng), settings.size, int(rng.integers(2**31)))


def factors(drawing: Drawing, file_name: str, seed: int) -> dict:
    """What a picture shows, ready for JSON.

    ``body`` lists the outlines (pixels, x right and y down) that carry the body's colour and pattern, ``covered`` the
    outlines of parts of other colours painted over them: the body's colour is found inside the former and outside the
    latter.  A covering outline may reach beyond the object; thin laces, seams and stitches are not listed.
    """
    design, style = drawing.design, drawing.style
    parts = [part for part in design.walk() if part.role != "none"]
    first_body = next(i for i, part in enumerate(parts) if part.role == "body")

    def pixels(part: Part) -> list[list[float]]:
        return np.round(part.points * drawing.size, 2).tolist()

    return {
        "file": file_name,
        "object": design.kind,
        "family": design.family,
        "size": drawing.size,
        "seed": seed,
        "flipped": design.flipped,
        "hue": round(style.hue, 2),
        "lightness": round(style.lightness, 4),
        "saturation": round(style.saturation, 4),
        "colours": {role: list(colour) for role, colour in style.colours.items()},
        "pattern": style.pattern,
        "pattern_parameters": {name: round(value, 4) for name, value in style.parameters.items()},
        "parts": sorted({part.name for part in parts}),
        "body": [pixels(part) for part in parts if part.role == "body"],
        "covered": [pixels(part) for part in parts[first_body:] if part.role != "body"],
    }


def save(image: Image.Image, path: Path) -> None:
    """JPEG of quality 95 with full colour resolution."""
    image.save(path, quality=95, subsampling=0)


def already_drawn(output: Path, settings: Settings) -> bool:
    """Whether ``output`` holds the complete set of just these settings."""
    try:
        if json.loads((output / "drawn.json").read_text()) != settings.record():
            return False
    except (OSError, ValueError):  # no marker, or a damaged one
        return False
    return all(len(list((output / folder).glob("*.jpg"))) == count for folder, count in settings.counts().items())


def prepare_output(output: Path, overwrite: bool) -> None:
    """Make the four folders, empty.  Pictures found there are refused, or removed with ``overwrite``."""
    try:
        for folder in FOLDERS:
            (output / folder).mkdir(parents=True, exist_ok=True)
        found = [file for folder in FOLDERS for file in (output / folder).iterdir()]
        foreign = [file for file in found if file.suffix != ".jpg" or not file.stem.isdigit()]
        if found and not overwrite:
            raise SettingsError(
                f"--output {output}: {found[0].parent.name} already holds files from other settings or an "
                "unfinished run; remove it, choose another --output or give --overwrite"
            )
        if foreign:
            raise SettingsError(f"--output {output}: holds {foreign[0].name}, which was not drawn here; choose another")
        (output / "drawn.json").unlink(missing_ok=True)
        for file in found:
            file.unlink()
    except OSError as error:
        raise SettingsError(
            f"--output {output}: cannot be written ({error.strerror}); name a folder that can"
        ) from error


def draw_dataset(output: Path, settings: Settings, progress: bool = True) -> None:
    """Draw the four folders, their lists, ``factors_test.json`` and at last ``drawn.json`` into ``output``."""
    counts = {split: settings.train for split in (("train",) if settings.paired else ("trainA", "trainB"))}
    counts["test"] = settings.test
    found = []
    # A log file needs the bar less often than a terminal.
    interval = 0.1 if sys.stderr.isatty() else 10
    with tqdm(
        total=sum(counts.values()), desc="drawing", unit="object", mininterval=interval, disable=not progress
    ) as bar:
        for split, count in counts.items():
            for index in range(count):
                drawing, name = make_drawing(settings, split, index), f"{index:05d}.jpg"
                if split != "trainB":
                    save(drawing.edges(), output / f"{split.removesuffix('A')}A" / name)
                if split != "trainA":
                    save(drawing.picture(), output / f"{split.removesuffix('B')}B" / name)
                if split == "test":
                    found.append(factors(drawing, name, settings.seed))
                bar.update()
    for folder, count in settings.counts().items():
        names = "".join(f"{index:05d}.jpg\n" for index in range(count))
        (output / f"list_{folder}.txt").write_text(names)
    (output / "factors_test.json").write_text(json.dumps(found) + "\n")
    (output / "drawn.json").write_text(json.dumps(settings.record(), indent=2) + "\n")


# Picked by eye from test sets of seed 0: (file name, object, index, line drawing or picture).
EXAMPLES = [
    ("edges2shoes_edge", "shoes", 8, "edges"),
    ("edges2shoes_edge_2", "shoes", 17, "edges"),
    ("edges2shoes_edge_3", "shoes", 24, "edges"),
    ("edges2shoes_shoe", "shoes", 1, "picture"),
    ("edges2shoes_shoe_2", "shoes", 35, "picture"),
    ("edges2shoes_shoe_3", "shoes", 26, "picture"),
    ("edges2handbags_edge", "handbags", 3, "edges"),
    ("edges2handbags_edge_2", "handbags", 14, "edges"),
    ("edges2handbags_edge_3", "handbags", 39, "edges"),
    ("edges2handbags_handbag", "handbags", 32, "picture"),
    ("edges2handbags_handbag_2", "handbags", 20, "picture"),
    ("edges2handbags_handbag_3", "handbags", 31, "picture"),
]


def draw_examples(folder: Path) -> list[Path]:
    """Draw the example inputs, 256 x 256, into ``folder`` and return their paths."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        written = []
        for name, kind, index, what in EXAMPLES:
            drawing = make_drawing(Settings(objects=(kind,), size=256), "test", index)
            written.append(folder / f"{name}.jpg")
            save(drawing.edges() if what == "edges" else drawing.picture(), written[-1])
    except OSError as error:
        raise SettingsError(
            f"--inputs {folder}: cannot be written ({error.strerror}); name a folder that can"
        ) from error
    return written


class OneLineParser(argparse.ArgumentParser):
    """Reports a malformed command line like any other bad setting, without the usage text."""

    def error(self, message: str) -> NoReturn:
        raise SettingsError(message)


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = OneLineParser(
        description="Draw a data set of line drawings (A) and coloured pictures (B) of shoes and handbags."
    )
    parser.add_argument("--output", type=Path, default=Path("datasets/demo_drawn"), help="folder to write")
    parser.add_argument(
        "--objects", nargs="+", default=list(FAMILIES), metavar="OBJECT", help="shoes, handbags or both"
    )
    parser.add_argument("--train", type=int, default=1000, help="pictures in each of trainA and trainB")
    parser.add_argument("--test", type=int, default=100, help="pairs in testA and testB")
    parser.add_argument("--size", type=int, default=128, help=f"side in pixels, {MIN_SIZE} to {MAX_SIZE}")
    parser.add_argument("--seed", type=int, default=0, help="another seed draws other objects")
    parser.add_argument("--paired", action="store_true", help="draw trainA and trainB of the same objects")
    parser.add_argument("--overwrite", action="store_true", help="replace a set drawn with other settings")
    parser.add_argument("--inputs", type=Path, metavar="FOLDER", help="only draw the example pictures into FOLDER")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status, 2 for settings that cannot be used."""
    try:
        arguments = parse_arguments(argv)
        if arguments.inputs is not None:
            written = draw_examples(arguments.inputs)
            print(f"Wrote {len(written)} example pictures to {arguments.inputs}")
            return 0
        # In the order of FAMILIES, so that "handbags shoes" draws the same set as "shoes handbags".
        known = [name for name in FAMILIES if name in arguments.objects]
        unknown = [name for name in arguments.objects if name not in FAMILIES]
        settings = Settings(
            (*unknown, *known), arguments.train, arguments.test, arguments.size, arguments.seed, arguments.paired
        )
        settings.check()
        if already_drawn(arguments.output, settings) and not arguments.overwrite:
            print(f"{arguments.output} already holds this data set; nothing to do")
            return 0
        prepare_output(arguments.output, arguments.overwrite)
        draw_dataset(arguments.output, settings)
    except SettingsError as error:
        print(f"draw_demo_data: error: {error}", file=sys.stderr)
        return 2
    except OSError as error:  # such as a full disk
        print(f"draw_demo_data: error: --output {arguments.output}: {error}", file=sys.stderr)
        return 2
    print(
        f"Wrote {settings.train} line drawings (trainA), {settings.train} pictures (trainB) "
        f"and {settings.test} test pairs (testA, testB)\n"
        f"of {' and '.join(settings.objects)}, {settings.size} x {settings.size} pixels, to {arguments.output}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
