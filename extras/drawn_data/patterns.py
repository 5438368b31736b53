"""Colours and patterns."""
from __future__ import annotations

import colorsys
import math
from dataclasses import dataclass

import numpy as np

Colour = tuple[int, int, int]


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
    tone = rng.choice(['full', 'pastel', 'dark', 'light', 'grey'], p=[0.60, 0.12, 0.10, 0.10, 0.08])
    hue = u(0, 360)
    if tone == 'full':
        return hue, u(0.34, 0.60), u(0.50, 0.95)
    if tone == 'pastel':
        return hue, u(0.70, 0.80), u(0.45, 0.80)
    if tone == 'dark':
        return hue, u(0.07, 0.16), u(0.0, 0.5)
    if tone == 'light':
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
        'body': body,
        'second': second,
        'sole': sole,
        'trim': trim,
        'trim_dark': mix(trim, (0, 0, 0), 0.25),
        'lining': mix(mix(body, (150, 135, 120), 0.5), (0, 0, 0), 0.35),
        'metal': metal,
        'lace': lace,
    }
    pattern = str(rng.choice(['plain', 'stripes', 'dots', 'checks', 'zigzag'], p=[0.40, 0.18, 0.16, 0.14, 0.12]))
    parameters: dict[str, float] = {}
    if pattern != 'plain':
        tilt = {
            'stripes': rng.choice([0.0, 90.0, 45.0, -45.0]),
            'dots': 0.0,
            'checks': rng.choice([0.0, 45.0]),
            'zigzag': 0.0,
        }
        parameters = {
            'period': float(u(0.075, 0.13)),  # of the frame: 5 to 8 pixels at 64
            'angle': float(tilt[pattern] + rng.normal(0, 4)),
            'share': float(u(0.3, 0.45)),
            'phase': float(u()),
        }
    return Style(colours, hue, lightness, saturation, pattern, parameters, gloss=float(u(0.5, 1.0)))


def pattern_mask(pattern: str, parameters: dict[str, float], size: int) -> np.ndarray:
    """Where the second colour goes in a ``size`` x ``size`` frame: (size, size) bools."""
    at = (np.arange(size, dtype=np.float32) + 0.5) / (size * parameters['period'])
    cos, sin = (np.float32(f(math.radians(parameters['angle']))) for f in (math.cos, math.sin))
    share, phase = np.float32(parameters['share']), np.float32(parameters['phase'])
    u = (cos * at)[None, :] + (sin * at)[:, None] + phase
    if pattern == 'stripes':
        return u % 1 < share
    v = (cos * at)[:, None] - (sin * at)[None, :] + phase
    if pattern == 'checks':
        return (u % 1 < 0.5) ^ (v % 1 < 0.5)
    if pattern == 'dots':
        row = np.floor(v)
        du, dv = (u + row % 2 / 2) % 1 - 0.5, v - row - 0.5  # every other row is shifted by half a period
        return du * du + dv * dv < (0.2 + 0.3 * share) ** 2
    if pattern == 'zigzag':
        return (v + 0.5 * np.abs(u % 1 - 0.5)) % 1 < share
    raise ValueError(f'no pattern named {pattern!r}')
