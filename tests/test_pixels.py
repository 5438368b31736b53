"""The metrics from pixels, on images with known results."""
import math
import random

import numpy as np
import pytest
import torch

from extras.drawn_data.patterns import choose_style, pattern_mask  # independent of the code under test
from extras.metrics import image_features
from extras.metrics.image_features import (
    Palette,
    colour_bin,
    coverage,
    delta_e,
    edge_f1,
    edges,
    entropy,
    expected_coverage,
    grow,
    lab_of,
    mean_pair_difference,
    palette,
    pattern_of,
    to_lab,
    tolerance_of,
)


def square(left: int, top: int, side: int, size: int = 64, colour: float = -1.0) -> torch.Tensor:
    """A filled square on white: (1, 3, size, size)."""
    image = torch.ones(1, 3, size, size)
    image[:, :, top:top + side, left:left + side] = colour
    return image


# -- colour -----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('colour, lab', [
    ((255, 255, 255), (100, 0, 0)), ((0, 0, 0), (0, 0, 0)), ((119, 119, 119), (50.03, 0, 0)),
    ((255, 0, 0), (53.24, 80.09, 67.20)), ((0, 255, 0), (87.73, -86.18, 83.18)), ((0, 0, 255), (32.30, 79.19, -107.86)),
    ((10, 10, 10), (2.74, 0, 0))])
def test_colours_have_their_published_cielab_values(colour, lab):
    assert lab_of(colour).tolist() == pytest.approx(lab, abs=0.05)
    image = torch.tensor(colour, dtype=torch.float32).view(1, 3, 1, 1).expand(1, 3, 2, 4) / 127.5 - 1
    assert torch.allclose(to_lab(image), lab_of(colour)[None, :, None, None].expand(1, 3, 2, 4), atol=2e-2)


def test_grey_images_of_one_channel_have_no_chroma():
    lab = to_lab(torch.linspace(-1, 1, 16).view(1, 1, 4, 4))
    assert lab.shape == (1, 3, 4, 4) and lab[:, 1:].abs().max() < 1e-3 and lab[0, 0].max() == pytest.approx(100)


def test_the_difference_of_two_colours_is_that_of_cie_1976():
    assert delta_e(lab_of((255, 255, 255)), lab_of((255, 0, 0))).item() == pytest.approx(114.55, abs=0.1)
    assert delta_e(torch.tensor([50.0, 3, 4]), torch.tensor([50.0, 0, 0])).item() == pytest.approx(5)


def test_a_palette_has_the_commoner_colour_first_and_its_share():
    red, white = lab_of((200, 30, 30)), lab_of((250, 250, 250))
    found = palette(torch.cat([white.expand(30, 3), red.expand(70, 3)]))
    assert torch.allclose(found.main, red) and torch.allclose(found.colours[1], white)
    assert found.share == pytest.approx(0.7)


@pytest.mark.parametrize('n', [1, 2, 50])
def test_light_on_one_colour_is_no_second_one(n):
    shaded = torch.tensor([50.0, 40, 20]) + torch.linspace(-4, 4, n)[:, None] * torch.tensor([1.0, 0, 0])
    found = palette(shaded)
    assert found.share == 1 and delta_e(found.main, torch.tensor([50.0, 40, 20])) <= 4
    assert palette(torch.tensor([50.0, 40, 20]).expand(n, 3)).share == 1


@pytest.mark.parametrize('share, wanted', [(0.55, 0.0), (0.61, 50.0), (1.0, 50.0)])
def test_of_two_about_equally_common_colours_the_nearer_counts(share, wanted):
    two = Palette(torch.tensor([[50.0, 50, 0], [50.0, 0, 0]]), share)
    assert two.difference(torch.tensor([50.0, 0, 0])) == pytest.approx(wanted)


@pytest.mark.parametrize('lab, found', [
    ((10, 0, 0), (-1, 0)), ((50, 8, 8), (-1, 1)), ((100, 0, 0), (-1, 2)), ((50, 40, 1), (0, 1)), ((50, 40, -1), (7, 1)),
    ((20, -1, 40), (2, 0)), ((80, -40, 1), (3, 2)), ((80, -40, -1), (4, 2)), ((40, 13, 13), (1, 1))])
def test_bins_are_eighths_of_hue_and_thirds_of_lightness(lab, found):
    assert colour_bin(torch.tensor(lab, dtype=torch.float32)) == found


# -- edges ------------------------------------------------------------------------------------------------------------

def test_edges_are_at_the_border_of_a_square():
    found = edges(square(20, 16, 24))[0]
    outline = torch.zeros(64, 64, dtype=torch.bool)
    outline[16:40, 20:44] = True
    outline[17:39, 21:43] = False
    assert edge_f1(found[None], outline[None], 1.0).item() == 1
    assert not found[20:36, 24:40].any() and not found[:12].any()


def test_edges_between_colours_of_equal_lightness_are_found_and_faint_ones_are_not():
    halves = torch.ones(1, 3, 16, 16) * (torch.tensor([200, 80, 80.0]).view(1, 3, 1, 1) / 127.5 - 1)
    halves[:, :, :, 8:] = torch.tensor([40, 130, 160.0]).view(3, 1, 1) / 127.5 - 1
    assert edges(halves)[0, :, 7:9].any(1).all()
    assert not edges(halves[:, :, :, :8]).any()
    faint = torch.zeros(1, 3, 16, 16)
    faint[..., 8:] = 0.08
    assert not edges(faint).any()


@pytest.mark.parametrize('size', [64, 128])
def test_a_translation_that_equals_the_drawing_keeps_all_content(size):
    drawing = torch.ones(2, 1, size, size)
    drawing[0, :, 10:50, 20] = drawing[0, :, 10, 20:50] = drawing[1, :, 30, 5:60] = -1
    assert edge_f1(edges(drawing.expand(-1, 3, -1, -1)), edges(drawing), tolerance_of(size, size)).tolist() == [1, 1]


@pytest.mark.parametrize('shift, wanted', [(0, 1), (1, 1), (2, 1), (3, 0)])
def test_edges_count_within_the_tolerance(shift, wanted):
    one, other = torch.zeros(1, 32, 32, dtype=torch.bool), torch.zeros(1, 32, 32, dtype=torch.bool)
    one[:, :, 10] = other[:, :, 10 + shift] = True
    assert edge_f1(one, other, 2.0).item() == wanted


def test_f1_joins_precision_and_recall():
    wanted = torch.zeros(3, 32, 32, dtype=torch.bool)
    wanted[:, :, 5] = wanted[:2, :, 25] = True
    found = torch.zeros(3, 32, 32, dtype=torch.bool)
    found[0, :, 5] = True                                    # half of the wanted edges: 2 · 1 · ½ / 1½
    found[1, :, 5] = found[1, :, 25] = found[1, :, 12] = True   # and a third too much: 2 · ⅔ / 1⅔
    found[2, :, 15] = True
    assert edge_f1(found, wanted, 2.0).tolist() == pytest.approx([2 / 3, 0.8, 0])


def test_nothing_found_where_nothing_is_wanted_is_right():
    none, some = torch.zeros(1, 8, 8, dtype=torch.bool), torch.ones(1, 8, 8, dtype=torch.bool)
    assert [edge_f1(*pair, 1.0).item() for pair in ((none, none), (none, some), (some, none))] == [1, 0, 0]


def test_what_is_near_is_a_disc():
    point = torch.zeros(1, 9, 9, dtype=torch.bool)
    point[0, 4, 4] = True
    near = grow(point, 2.0)[0]
    assert near.sum() == 13 and near[4, 6] and near[3, 5] and not near[2, 6]


@pytest.mark.parametrize('height, width, wanted', [(128, 128, 2), (64, 64, 1), (256, 300, 4), (32, 32, 1)])
def test_the_tolerance_is_two_pixels_at_128(height, width, wanted):
    assert tolerance_of(height, width) == wanted


# -- patterns ---------------------------------------------------------------------------------------------------------

def patterned(kind: str, size: int, seed: int):
    """A disc with random colours and a pattern of the demo data, and its mask."""
    rng = np.random.default_rng(seed)
    while True:
        style = choose_style(rng)
        if style.pattern == kind:
            break
    colours = [torch.tensor(style.colours[role]).view(3, 1, 1) / 127.5 - 1 for role in ('body', 'second')]
    image = colours[0].expand(3, size, size)
    if kind != 'plain':
        large = torch.from_numpy(pattern_mask(kind, style.parameters, 4 * size)).float()
        second = torch.nn.functional.avg_pool2d(large[None, None], 4)[0]
        image = image * (1 - second) + colours[1] * second
    at = (torch.arange(size) + 0.5) / size - 0.5
    light = 1 + 0.2 * at[:, None]   # light from above, as on all drawn objects
    return to_lab((((image + 1) * light) - 1)[None].clamp(-1, 1))[0], at[:, None] ** 2 + at ** 2 < 0.3 ** 2


@pytest.mark.parametrize('size', [64, 128, 300])
@pytest.mark.parametrize('kind', image_features.PATTERNS)
def test_patterns_are_recognized(kind, size):
    found = [pattern_of(*patterned(kind, size, seed)) for seed in range(8)]
    assert found.count(kind) >= 7, found


def test_a_single_seam_or_too_few_pixels_are_no_pattern():
    image, mask = torch.zeros(1, 3, 64, 64), torch.ones(64, 64, dtype=torch.bool)
    image[..., 30:33] = -1
    assert pattern_of(to_lab(image)[0], mask) == 'plain'
    lab, mask = patterned('checks', 64, 0)
    assert pattern_of(lab, mask & (torch.arange(64)[:, None] == 32) & (torch.arange(64) < 32)) == 'plain'


# -- how many kinds ---------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('k', [1, 2, 5, 8])
def test_the_entropy_of_equally_frequent_kinds_is_the_logarithm_of_their_number(k):
    assert entropy([f'kind {i}' for i in range(k)] * 3) == pytest.approx(math.log2(k))


def test_the_entropy_of_unequal_kinds():
    assert entropy(['a', 'a', 'a', 'b']) == pytest.approx(0.811278)


def test_the_mean_difference_is_over_all_pairs():
    colours = torch.tensor([[0.0, 0, 0], [3, 4, 0], [0, 0, 0]])
    assert mean_pair_difference(colours) == pytest.approx(10 / 3)
    assert mean_pair_difference(colours[:1]) == 0


def test_coverage_counts_kinds_reached_and_samples_outside():
    assert coverage(['a', 'a', 'b', 'x'], ['a', 'b', 'c', 'c', 'd']) == (0.5, 0.25)
    assert coverage(['a'], ['a', 'a']) == (1, 0)


def test_what_new_real_pictures_should_reach_is_what_drawing_again_reaches():
    chance = random.Random(0)
    real = ['a'] * 10 + ['b'] * 5 + ['c'] * 3 + ['d', 'e']
    drawn = [coverage(chance.choices(real, k=15), real).reached for _ in range(4000)]
    expected = expected_coverage(real, 15)
    assert expected.reached == pytest.approx(sum(drawn) / len(drawn), abs=0.01)
    assert expected.outside == pytest.approx(2 / 20)
