"""Handbags: totes, clutches, satchels and bowling bags.

Each function draws a random handbag and returns its parts in painting order. A handbag is centred at x = 0 and stands
on y = 0; y points up.
"""
from __future__ import annotations

from dataclasses import replace

import numpy as np

from extras.drawn_data.shapes import (
    Part,
    Points,
    Stroke,
    band,
    bow,
    box,
    buckle,
    curve,
    ellipse,
    path,
    resample,
    rounded,
)


def panel(
    bottom: float, top: float, height: float, radii: tuple[float, float], bulge: float = 0.0, sag: float = 0.0
) -> Points:
    """Return the outline of a bag front (n, 2).

    Args:
        bottom, top: half widths at the bottom and at the top.
        height: height of the front.
        radii: radii of the bottom and top corners.
        bulge: relative widening of the sides at mid-height.
        sag: how far the middle of the top edge is lowered.
    """
    low, high = radii
    corners = [(-bottom, 0), (bottom, 0), (top, height), (-top, height)]
    outline = resample(rounded(corners, [low, low, high, high]), 0.015, closed=True)
    v = outline[:, 1] / height
    x = outline[:, 0] * (1 + bulge * np.sin(np.pi * v))
    y = outline[:, 1] - sag * v**3 * np.clip(1 - (outline[:, 0] / top) ** 2, 0, 1)
    return np.stack([x, y], axis=1)


def handle_arc(half: float, base: float, rise: float, square: float, x: float = 0.0) -> Points:
    """Return a handle from (x - half, base) to (x + half, base). ``square`` is 0 for a pointed arc, 1 for broad."""
    shoulder = (0.62 + 0.26 * square) * half
    return curve(
        (x - half, base), (x - half * (0.92 + 0.08 * square), base + 0.55 * rise),
        (x - shoulder, base + (0.86 + 0.06 * square) * rise), (x, base + rise),
        (x + shoulder, base + (0.86 + 0.06 * square) * rise),
        (x + half * (0.92 + 0.08 * square), base + 0.55 * rise), (x + half, base),
        steps=8,
    )


def strip(y0: float, y1: float, name: str, role: str, stitched: bool = False) -> Part:
    """Return a band across the bag between two heights. It extends beyond the bag, which clips it."""
    row = [Stroke(np.array([(-1.0, y), (1.0, y)]), dashed=True) for y in (y0 + 0.022, y1 - 0.022)] if stitched else []
    return Part(name, np.array([(-1.0, y0), (1.0, y0), (1.0, y1), (-1.0, y1)]), role, row)


def tote(rng: np.random.Generator) -> list[Part]:
    """Return an open bag with two handles."""
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
        on_body.append(strip(-0.1, u(0.14, 0.28) * height, 'base', 'second', u() < 0.5))
    if u() < 0.3:
        on_body.append(strip(height - u(0.07, 0.13), height + 0.1, 'rim', 'second'))
    pocket = rng.integers(4)
    if pocket == 0:
        w, y0, y1 = u(0.4, 0.6) * bottom, 0.16 * height, u(0.45, 0.55) * height
        rim = Stroke(np.array([(-1, y1 - 0.045), (1, y1 - 0.045)]), dashed=True)
        on_body.append(Part('pocket', box(-w, y0, w, y1, 0.05), 'second' if u() < 0.5 else 'body', [rim]))
    elif pocket == 1:
        on_body.append(Part('badge', ellipse(0, 0.45 * height, u(0.07, 0.11)), 'second'))
    elif pocket == 2:
        on_body += [
            strip(0.46 * height, 0.46 * height + u(0.06, 0.1), 'belt', 'second'),
            buckle(0, 0.46 * height + 0.04, 0.11),
        ]
    seams = [Stroke(outline * (0.93, 0.94) + (0, 0.03 * height), dashed=True)] if u() < 0.4 else []
    seams.append(Stroke(np.array([(-1, height - 0.05), (1, height - 0.05)])))
    body = Part('body', outline, 'body', seams, on_body)

    far = Part(
        'far handle', band(handle_arc(half, height - 0.02, rise - drop + 0.03, square, 0.02), width), 'trim_dark'
    )
    near = Part('near handle', band(handle_arc(half, height - drop, rise, square, -0.01), width), 'trim')
    tabs = [
        Part(
            'tab',
            box(x - 0.8 * width - 0.01, height - drop - 0.05, x + 0.8 * width - 0.01, height - drop + 0.04, 0.02),
            'trim',
        )
        for x in (-half, half)
    ]
    rings = [Part('ring', ellipse(x - 0.01, height - drop - 0.01, 0.016), 'metal') for x in (-half, half)]
    mouth = Part('mouth', ellipse(0, height - 0.005, 0.97 * top, 0.03), 'lining')
    return [far, mouth, body, near, *tabs, *rings]


def flap_edge(half: float, height: float, depth: float, shape: str) -> Points:
    """Return the outline of a flap that hangs ``depth`` below the top edge; ``shape`` is square, round or pointed."""
    y = height - depth
    corners = [(half, height), (-half, height)]
    if shape == 'pointed':
        corners += [(-half, height - 0.25 * depth), (-0.08, y), (0.08, y), (half, height - 0.25 * depth)]
        return resample(rounded(corners, [0.02, 0.02, 0.1, 0.08, 0.08, 0.1]), 0.02, closed=True)
    if shape == 'round':
        low = curve(
            (-half, height - 0.2 * depth), (-0.86 * half, height - 0.66 * depth),
            (-0.45 * half, y + 0.06 * depth), (0, y),
        )
        return path(corners, low, (low * (-1, 1))[::-1])
    return resample(rounded([*corners, (-half, y), (half, y)], [0.02, 0.02, 0.09, 0.09]), 0.02, closed=True)


def clutch(rng: np.random.Generator) -> list[Part]:
    """Return a flat bag with a flap and a clasp, and optionally a wrist loop or a chain."""
    u = rng.uniform
    height = u(0.46, 0.66)
    half = 0.5
    outline = panel(half, half + u(-0.04, 0.0), height, (u(0.03, 0.12), 0.03), u(0.0, 0.03))
    depth = u(0.5, 0.78) * height
    shape = str(rng.choice(['pointed', 'round', 'square']))
    role = 'second' if u() < 0.4 else 'body'
    edge = flap_edge(half * 1.005, height + 0.005, depth, shape)
    inset = (edge - (0, height)) * (0.93, 0.92) + (0, height - 0.005)
    seams = [Stroke(inset, dashed=True)] if u() < 0.6 else []
    flap = Part('flap', edge, role, seams)
    size = u(0.035, 0.055)
    y = height - depth + u(0.03, 0.06)
    clasp = Part(
        'clasp',
        ellipse(0, y, size) if u() < 0.5 else box(-1.5 * size, y - 0.7 * size, 1.5 * size, y + 0.7 * size, 0.02),
        'metal',
    )
    clasp = replace(clasp, strokes=[Stroke(clasp.points * (0.5, 0.5) + (0, 0.5 * y))])
    on_body = [strip(-0.1, u(0.12, 0.2) * height, 'base', 'second')] if u() < 0.25 and role == 'body' else []
    parts = [Part('body', outline, 'body', [], on_body), flap, clasp]
    extra = u()
    if extra < 0.3:
        loop = curve(
            (0.47, height - 0.08), (0.6, height - 0.02), (0.7, height - 0.16), (0.66, 0.1), (0.58, 0.02),
            (0.55, 0.14), (0.47, height - 0.1),
        )
        parts.insert(0, Part('loop', band(loop, 0.03), 'trim'))
    elif extra < 0.6:
        chain = handle_arc(0.88 * half, height - 0.03, u(0.25, 0.5), u(0.2, 1.0))
        parts.insert(0, Part('strap', band(chain, 0.024), 'metal' if u() < 0.5 else 'trim'))
    if u() < 0.25:
        parts += [p for p in bow(0, y, 0.12, 'second' if role == 'body' else 'trim')]
    return parts


def satchel(rng: np.random.Generator) -> list[Part]:
    """Return a box-shaped bag whose flap is held by buckled straps."""
    u = rng.uniform
    height = u(0.58, 0.76)
    half = 0.5
    outline = panel(half, half + u(-0.05, 0.0), height, (u(0.04, 0.12), 0.05), u(0.0, 0.02))
    depth = u(0.42, 0.68) * height
    role = 'second' if u() < 0.35 else 'body'
    edge = flap_edge(half * 1.01, height + 0.012, depth, str(rng.choice(['square', 'round', 'square'])))
    flap = Part('flap', edge, role, [Stroke((edge - (0, height)) * (0.94, 0.93) + (0, height - 0.004), dashed=True)])
    y = height - depth

    on_body = []
    if u() < 0.7:
        y0 = u(0.05, 0.09)
        on_body.append(
            Part('pocket', box(-0.72 * half, y0, 0.72 * half, 0.62 * height, 0.06), 'body' if u() < 0.7 else 'second')
        )
    else:
        on_body.append(strip(-0.1, u(0.1, 0.16) * height, 'base', 'second'))
    seams = [Stroke(np.array([(s * 0.87 * half, -0.1), (s * 0.87 * half, 1.0)])) for s in (-1, 1)] if u() < 0.6 else []
    parts = [Part('body', outline, 'body', seams, on_body), flap]

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
            Part('strap', tongue, 'trim', [Stroke(np.array([(x, height), (x, y + 0.06)]), dashed=True)]),
            buckle(x, y + 0.01, width + 0.035),
        ]
    if u() < 0.75:
        grip = handle_arc(u(0.2, 0.28), height - 0.03, u(0.16, 0.26), u(0.4, 1.0))
        parts.insert(0, Part('handle', band(grip, u(0.04, 0.055)), 'trim'))
    else:
        parts.insert(
            0,
            Part(
                'shoulder strap', band(handle_arc(0.9 * half, height - 0.05, u(0.4, 0.62), u(0.0, 0.8)), 0.038), 'trim'
            ),
        )
    return parts


def bowler(rng: np.random.Generator) -> list[Part]:
    """Return a dome-shaped bag with a zip along the top and two short handles."""
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
        on_body.append(Part('base', path(edge, [(0.6, -0.1), (-0.6, -0.1)]), 'second'))
    if u() < 0.45:
        for s in (-1, 1):
            corner = path(
                curve((s * 0.24, -0.05), (s * 0.27, 0.14), (s * 0.36, 0.24), (s * 0.6, 0.28)), [(s * 0.7, -0.1)]
            )
            on_body.append(Part('corner', corner, 'second'))
    if u() < 0.4:
        w = u(0.16, 0.24)
        on_body.append(
            Part('pocket', box(-w, 0.16 * height, w, 0.56 * height, 0.07), 'second' if u() < 0.4 else 'body')
        )
    body = Part('body', outline, 'body', seams, on_body)

    half = u(0.17, 0.25)
    rise = u(0.3, 0.42)
    base = height * u(0.62, 0.72)
    width = u(0.036, 0.052)
    far = Part(
        'far handle', band(handle_arc(half, height - 0.06, rise + base - height + 0.1, 0.6, 0.02), width), 'trim_dark'
    )
    near = Part('near handle', band(handle_arc(half, base, rise, 0.6, -0.01), width), 'trim')
    tabs = [
        Part(
            'tab',
            rounded(
                [
                    (x - 0.045, base + 0.03), (x + 0.045, base + 0.03), (x + 0.04, base - 0.06),
                    (x, base - 0.1), (x - 0.04, base - 0.06),
                ],
                0.025,
            ),
            'trim',
        )
        for x in (-half - 0.01, half - 0.01)
    ]
    rings = [Part('ring', ellipse(x, base - 0.03, 0.017), 'metal') for x in (-half - 0.01, half - 0.01)]
    return [far, body, near, *tabs, *rings]
