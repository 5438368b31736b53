"""Colours and patterns of drawn objects."""
from __future__ import annotations

import colorsys
import math
from dataclasses import dataclass

import numpy as np

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Style:
    """The appearance of an object: colours by role, hue (degrees), lightness and saturation of the body, a pattern."""

    colours: dict[str, Colour]
    hue: float
    lightness: float
    saturation: float
    pattern: str
    parameters: dict[str, float]
    gloss: float


def hls(hue: float, lightness: float, saturation: float) -> Colour:
    """Convert a hue in degrees, a lightness and a saturation in [0, 1] to RGB in [0, 255]."""
    return tuple(round(255 * c) for c in colorsys.hls_to_rgb(hue % 360 / 360, lightness, saturation))


def luma(colour: Colour) -> float:
    """Return the perceived brightness in [0, 255]."""
    return 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]


def mix(colour: Colour, other: Colour, share: float) -> Colour:
    """Interpolate from ``colour`` (``share`` = 0) to ``other`` (``share`` = 1)."""
    return tuple(round(a + (b - a) * share) for a, b in zip(colour, other, strict=True))


def contour_colour(colour: Colour) -> Colour:
    """Return a contour colour that is darker than the part, or slightly lighter if the part is nearly black."""
    return mix(colour, (20, 16, 24), 0.5) if luma(colour) > 50 else mix(colour, (190, 190, 200), 0.3)


def body_tone(rng: np.random.Generator) -> tuple[float, float, float]:
    """Draw a hue, lightness and saturation: mostly saturated, sometimes pastel, dark, near white or grey."""
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
    """Draw a colour whose contrast with the body is high enough for a pattern to be visible."""
    while True:
        if rng.random() < 0.45:
            colour = hls(rng.uniform(20, 60), rng.choice([0.08, 0.94]) + rng.uniform(-0.03, 0.03), rng.uniform(0, 0.5))
        else:
            turn = rng.choice([30.0, -30.0, 60.0, 120.0, 180.0, 210.0]) + rng.normal(0, 10)
            colour = hls(hue + turn, rng.uniform(0.25, 0.8), rng.uniform(0.4, 0.9))
        if abs(luma(colour) - luma(body)) > 60 and sum(abs(a - b) for a, b in zip(colour, body, strict=True)) > 210:
            return colour


def choose_style(rng: np.random.Generator) -> Style:
    """Draw random colours and a random pattern."""
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
            'period': float(u(0.075, 0.13)),  # relative to the frame: 5 to 8 pixels at size 64
            'angle': float(tilt[pattern] + rng.normal(0, 4)),
            'share': float(u(0.3, 0.45)),
            'phase': float(u()),
        }
    return Style(colours, hue, lightness, saturation, pattern, parameters, gloss=float(u(0.5, 1.0)))


def pattern_mask(pattern: str, parameters: dict[str, float], size: int) -> np.ndarray:
    """Return a boolean mask (size, size) that is true where the second colour is painted.

    Raises:
        ValueError: ``pattern`` is unknown.
    """
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
        du, dv = (u + row % 2 / 2) % 1 - 0.5, v - row - 0.5  # every second row is shifted by half a period
        return du * du + dv * dv < (0.2 + 0.3 * share) ** 2
    if pattern == 'zigzag':
        return (v + 0.5 * np.abs(u % 1 - 0.5)) % 1 < share
    raise ValueError(f'Unknown pattern {pattern!r}')
