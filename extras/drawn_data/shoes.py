"""Shoes: pumps, ballerinas, trainers, boots and loafers.

Each function draws a random shoe and returns its parts in painting order. The toe is at x = 0, the heel at x = 1 and
the ground at y = 0; y points up.
"""
from __future__ import annotations

import numpy as np

from extras.drawn_data.shapes import (
    Part,
    Points,
    Stroke,
    band,
    bow,
    buckle,
    curve,
    ellipse,
    normals,
    path,
    resample,
    rounded,
)


def toe_cap(reach: float, height: float, role: str = 'second') -> Part:
    """Return a toe cap up to x = ``reach``. It extends beyond the shoe because the upper clips it."""
    edge = curve(
        (reach + 0.03, -0.1), (reach + 0.02, 0.3 * height), (reach - 0.02, height), (reach - 0.09, height + 0.2)
    )
    return Part('toe cap', path(edge, [(-0.3, height + 0.2), (-0.3, -0.1)]), role)


def heel_counter(reach: float, bottom: float, top: float, role: str = 'second') -> Part:
    """Return the back of an upper, which starts at x = 1 - ``reach`` and narrows towards the collar."""
    edge = curve(
        (1 - reach - 0.02, bottom - 0.1), (1 - reach, bottom + 0.04),
        (1 - 0.75 * reach, 0.5 * (bottom + top)), (1 - 0.45 * reach, top + 0.1),
    )
    return Part('heel counter', path(edge, [(1.3, top + 0.1), (1.3, bottom - 0.1)]), role)


def lace_rows(edge: Points, count: int, reach: float, width: float) -> list[Stroke]:
    """Return ``count`` laces of length ``reach`` across ``edge``, an instep that rises from the toe."""
    edge = resample(edge, 0.01)
    across = normals(edge)
    picks = np.linspace(0, len(edge) - 1, count + 2).astype(int)[1:-1]
    return [
        Stroke(np.stack([edge[i] + 0.2 * reach * across[i], edge[i] - reach * across[i]]), 'lace', width) for i in picks
    ]


def pump(rng: np.random.Generator, flat: bool = False) -> list[Part]:
    """Return a court shoe with a heel of random height; with ``flat``, a ballerina on the same last."""
    u = rng.uniform
    rise = u(0.035, 0.06) if flat else u(0.14, 0.46)  # height of the heel seat
    toe = u(0.6, 1.0) if flat else u(0.0, 1.0)  # 0 is pointed, 1 is round
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
        'upper', path(curve(tip, *under), heel_back[::-1], topline[::-1], vamp[::-1]), 'body', [trim_line], on_upper
    )

    lower = [(x, y - thick) for x, y in under]
    sole = Part(
        'sole',
        path(
            curve((0.0, tip[1] - 0.012), (0.035, sole_y(0) - 0.002), *under),
            lower[::-1],
            [(0.04, sole_y(0) - 0.8 * thick)],
        ),
        'sole',
    )
    if platform:
        front = curve((0.0, tip[1]), (0.05, sole_y(0.05)), *under[:4])
        sole = Part(
            'sole',
            path(
                front,
                curve((0.42, under[3][1] - thick), (0.36, 0.01), (0.3, 0.0), (0.08, 0.0), (0.015, 0.03), (0.0, tip[1])),
            ),
            'sole',
        )

    seat = u(0.14, 0.2) if not flat else 0.22
    foot = u(0.03, 0.05) if u() < 0.55 else u(0.09, 0.15)
    if flat:
        foot = seat
    tip_x = 0.965 - 0.3 * (seat - foot) - foot
    heel = Part(
        'heel',
        path(
            curve(
                (0.985 - seat, sole_y(0.985 - seat) - 0.3 * thick),
                (0.5 * (0.985 - seat + tip_x) + 0.4 * (seat - foot), 0.6 * rise), (tip_x, 0.0),
            ),
            curve((tip_x + foot, 0.0), (0.97 - 0.2 * (seat - foot), 0.5 * rise), (0.985, back - 0.3 * thick)),
        ),
        'sole',
        [Stroke(np.array([(tip_x - 0.1, 0.022), (tip_x + foot + 0.1, 0.022)]))] if not flat else [],
    )
    parts = [Part('lining', path(far_side, topline[::-1]), 'lining'), heel, upper, sole]
    if flat or u() < 0.2:
        parts += bow(throat - 0.01, throat_y - 0.01, u(0.05, 0.075), 'second')
    elif u() < 0.4:  # ankle strap: the far half is behind the shoe, the near half in front
        x, y = 0.65, top + 0.08
        far_half = curve((0.965, top - 0.015), (0.88, top + 0.06), (0.74, top + 0.105), (x, y))
        near_half = curve((0.965, top - 0.03), (0.84, top - 0.02), (0.7, top + 0.035), (x, y))
        parts.insert(0, Part('far strap', band(far_half, 0.03), 'lining'))
        parts += [Part('strap', band(near_half, 0.035), 'body'), buckle(0.77, top + 0.003, 0.05)]
    return parts


def ballerina(rng: np.random.Generator) -> list[Part]:
    """Return a flat pump with a bow."""
    return pump(rng, flat=True)


def trainer(rng: np.random.Generator) -> list[Part]:
    """Return a low or high sports shoe with a thick sole."""
    u = rng.uniform
    high = u() < 0.35
    t = u(0.075, 0.13)  # thickness of the sole
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
    swatch = 'second' if u() < 0.6 else 'body'
    stay = instep - 0.045 * normals(instep)
    on_upper.append(Part('eyestay', band(stay, 0.075, 0.1), swatch))
    if u() < 0.55:
        on_upper.append(toe_cap(u(0.13, 0.22), toe_y, 'second' if u() < 0.75 else 'body'))
    if u() < 0.65:
        on_upper.append(heel_counter(u(0.14, 0.22), t, top * 0.8, 'second' if u() < 0.75 else 'body'))
    side = rng.integers(4)
    if side == 0:  # slanted bars
        for k in range(rng.integers(2, 4)):
            x = 0.46 + 0.085 * k
            on_upper.append(Part('bar', band(np.array([(x, t - 0.1), (x + 0.12, top - 0.1)]), 0.04), 'second'))
    elif side == 1:  # a long curved stripe
        sweep = curve((0.44, t + 0.14), (0.5, t + 0.07), (0.65, t + 0.10), (0.86, t + 0.21))
        on_upper.append(Part('sweep', band(sweep, 0.075, 0.012), 'second'))
    elif side == 2 and high:
        on_upper.append(Part('badge', ellipse(0.76, 0.6 * top + 0.4 * t, u(0.06, 0.085)), 'second'))
    seams = [
        Stroke(collar + (0.0, -0.045)),
        Stroke(curve((0.28, t), (0.34, t + 0.08), (0.46, t + 0.13), (0.62, top - 0.12)), dashed=u() < 0.5),
    ]
    upper = Part('upper', path(front, collar, heel, [(0.9, 0.3 * t), (0.05, 0.3 * t)]), 'body', seams, on_upper)
    laces = lace_rows(instep, int(rng.integers(5, 7) if high else rng.integers(4, 6)), 0.085, 0.02)
    on_upper.append(Part('laces', band(stay, 0.16, 0.2), 'none', laces))

    sole_top = curve(
        (1.0, t * 1.05 + 0.01), (0.7, t), (0.4, t * 0.92), (0.12, t * 0.98 + 0.3 * spring), (0.0, t + 0.02 + spring)
    )
    sole_under = curve(
        (-0.012, 0.6 * t + spring), (0.03, 0.012 + spring), (0.2, 0.0), (0.6, 0.0), (0.95, 0.0),
        (1.005, 0.35 * t), (1.0, t * 1.05 + 0.01),
    )
    lines = [Stroke(sole_top + (0.0, -u(0.3, 0.6) * t))]
    sole = Part('sole', path(sole_top, sole_under), 'sole', lines)

    along = (instep[-1] - instep[-8]) / np.linalg.norm(instep[-1] - instep[-8])
    peak = instep[-1] + u(0.07, 0.10) * along
    tongue = path(
        curve(instep[-1] - 0.1 * along, instep[-1] + 0.01 * along, peak - (0.01, 0.0), peak + (0.035, 0.0)),
        [(x_top + 0.12, top - 0.02), (x_top + 0.1, top - 0.12)],
    )
    far = curve((x_top, top), (x_top + 0.14, top + 0.03 - 0.5 * dip), (0.84, top + 0.03 - 0.6 * dip), tab)
    return [Part('lining', path(far, collar[::-1]), 'lining'), Part('tongue', tongue, 'second'), upper, sole]


def boot(rng: np.random.Generator) -> list[Part]:
    """Return an ankle or knee boot with a block or slim heel and a cuff, strap, laces, zip or elastic side."""
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
    feature = rng.choice(['laces', 'strap', 'zip', 'elastic'])
    shin = instep[(instep[:, 0] > 0.3)]
    if feature == 'laces':
        stay = shin - 0.05 * normals(shin)
        on_upper.append(Part('eyestay', band(stay, 0.1), 'second' if u() < 0.4 else 'body'))
        laces = lace_rows(shin, max(4, int(height / 0.085)), 0.085, 0.02)
        on_upper.append(Part('laces', band(stay, 0.16), 'none', laces))
    elif feature == 'elastic':
        x = 0.5 * (front_x + 0.93)
        gore = rounded(
            [(x - 0.1, height + 0.1), (x + 0.1, height + 0.1), (x + 0.05, ankle - 0.1), (x - 0.05, ankle - 0.1)], 0.06
        )
        ribs = [Stroke(np.array([(x + d, ankle - 0.1), (x + 1.6 * d, height)])) for d in (-0.03, 0.0, 0.03)]
        on_upper.append(Part('elastic', gore, 'second', ribs))
    elif feature == 'zip':
        zip_line = curve((0.66, sole_y(0.66) - 0.02), (0.7, ankle), (0.72, height))
        seams += [Stroke(zip_line), Stroke(zip_line + (0.025, 0.0), dashed=True)]
    if feature in ('strap', 'zip') and u() < 0.8:
        y = ankle + u(-0.05, 0.02)
        strap = curve((0.3, y - 0.05), (0.6, y - 0.02), (0.8, y + 0.005), (1.1, y + 0.05))
        on_upper += [Part('strap', band(strap, u(0.045, 0.065)), 'second'), buckle(0.68, y - 0.012, 0.085)]
    if u() < 0.4 and feature != 'elastic':
        depth = u(0.08, 0.16)
        cuff = path(
            curve((0.2, height - depth), (0.72, height - depth - 0.03), (1.2, height - depth)),
            [(1.2, height + 0.3), (0.2, height + 0.3)],
        )
        on_upper.append(Part('cuff', cuff, 'second'))
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
    upper = Part('upper', path(instep, mouth, back, curve(tip, *under)[::-1]), 'body', seams, on_upper)

    lower = curve((0.02, 0.35 * thick), *[(x, y - thick) for x, y in under])
    sole = Part('sole', path(curve((-0.008, tip[1]), *under), lower[::-1]), 'sole')
    seat = u(0.2, 0.26)
    foot = seat - (u(0.0, 0.04) if rise < 0.12 or u() < 0.5 else u(0.1, 0.15))
    x0 = 0.975 - seat
    tip_x = 0.965 - 0.2 * (seat - foot) - foot
    heel = Part(
        'heel',
        path(
            curve((x0, sole_y(x0) - 0.4 * thick), (0.5 * (x0 + tip_x) + 0.2 * (seat - foot), 0.5 * rise), (tip_x, 0.0)),
            curve((tip_x + foot, 0.0), (0.97 - 0.12 * (seat - foot), 0.5 * rise), (0.98, sole_y(1.0) - 0.4 * thick)),
        ),
        'sole',
        [Stroke(np.array([(0.5, 0.025), (1.2, 0.025)]))],
    )
    return [Part('lining', path(far, mouth[::-1]), 'lining'), heel, upper, sole]


def loafer(rng: np.random.Generator) -> list[Part]:
    """Return a slip-on shoe with an apron seam, a saddle strap and a low heel."""
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

    saddle_role = 'second' if u() < 0.65 else 'body'
    x = tongue_x - 0.06
    saddle = curve(
        (x - 0.04, tongue_y + 0.02), (x + 0.02, tongue_y - 0.1), (x + 0.10, rise + 0.09), (x + 0.13, rise - 0.06)
    )
    on_upper = [Part('saddle', band(saddle, u(0.07, 0.1), 0.16), saddle_role)]
    if u() < 0.4:
        on_upper.append(buckle(x + 0.02, tongue_y - 0.105, 0.07))
    if u() < 0.4:
        on_upper.append(heel_counter(u(0.15, 0.24), rise, top - 0.02))
    if u() < 0.25:
        on_upper.insert(0, toe_cap(u(0.14, 0.2), toe_y))
    seams = [Stroke(apron), Stroke(topline + (0.0, -0.024), dashed=u() < 0.6)]
    upper = Part(
        'upper', path(front, topline, back, [(0.9, rise - 0.02), (0.06, rise - 0.02)]), 'body', seams, on_upper
    )
    heel_x = u(0.68, 0.74)
    sole = Part(
        'sole',
        path(
            curve((-0.012, rise + 0.005), (0.3, rise - 0.004), (0.6, rise + 0.006), (1.0, rise)),
            [(0.995, 0.0), (heel_x + 0.01, 0.0)],
            curve(
                (heel_x, rise - thick), (0.5, rise - thick), (0.25, max(0.0, rise - 2 * thick)),
                (0.06, rise - 1.3 * thick), (-0.012, rise + 0.005),
            ),
        ),
        'sole',
        [Stroke(np.array([(heel_x, rise - thick), (1.1, rise - thick)]))],
    )
    return [Part('lining', path(far, topline[::-1]), 'lining'), upper, sole]
