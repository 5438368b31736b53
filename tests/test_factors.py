"""The true factors of drawn data: reading, masks, and their relation to style codes."""
import json

import numpy as np
import pytest
import torch

from core.errors import BadInput
from data import Transform, read_image
from extras.metrics.ground_truth import FACTORS, Factors, correlations, explained, read_factors
from extras.metrics.image_features import delta_e, lab_of, palette, to_lab
from scripts import draw_demo_data as draw


@pytest.fixture(scope='module')
def dataset(tmp_path_factory):
    output = tmp_path_factory.mktemp('drawn') / 'set'
    assert draw.main(['--output', str(output), '--size', '64', '--train', '1', '--test', '20']) == 0
    return output


def made(**changes) -> Factors:
    """Factors of a square body from 16 to 48 of 64 pixels, whose left half is covered."""
    values = {'size': 64, 'body': [[(16, 16), (48, 16), (48, 48), (16, 48)]],
              'covered': [[(0, 0), (31.9, 0), (31.9, 64), (0, 64)]], 'body_lab': lab_of((200, 30, 30)),
              'second_lab': lab_of((250, 250, 250)), 'pattern': 'plain', 'handbag': False, 'flipped': False, **changes}
    return Factors(**values)


def test_the_mask_is_the_body_without_what_covers_it_and_without_its_rim():
    mask = made().body_mask(64, 64, 64)
    rows, columns = torch.where(mask)
    assert mask.shape == (64, 64) and mask.dtype == torch.bool
    assert 17 <= rows.min() <= 18 and 46 <= rows.max() <= 47
    assert 33 <= columns.min() <= 34 and 46 <= columns.max() <= 47
    assert mask[20:44, 36:44].all()


def test_the_mask_follows_resizing_and_the_crop_from_the_centre():
    mask, larger = made().body_mask(64, 64, 64), made().body_mask(128, 128, 128)
    assert larger.sum() == pytest.approx(4 * mask.sum(), rel=0.25)
    cropped = made().body_mask(64, 40, 32)
    assert cropped.shape == (40, 32) and torch.equal(cropped, mask[12:52, 16:48])


def test_a_body_of_few_pixels_keeps_its_rim():
    narrow = made(body=[[(16, 16), (20, 16), (20, 30), (16, 30)]], covered=[])
    assert 24 <= narrow.body_mask(64, 64, 64).sum() <= 60
    assert not made(body=[[(16, 16), (30, 16), (30, 40)]]).body_mask(64, 64, 64).any()   # completely covered


def test_parts_called_body_that_run_out_of_the_object_add_nothing():
    cap = [(0, 0), (64, 0), (64, 64), (0, 64)]
    assert torch.equal(made(body=[*made().body, cap]).body_mask(64, 64, 64), made().body_mask(64, 64, 64))


def test_the_masks_of_drawn_pictures_hold_the_true_body_colour(dataset):
    found = read_factors(dataset)
    assert sorted(found) == [f'{i:05d}.jpg' for i in range(20)]
    errors = []
    for name, one in found.items():
        picture = Transform(64)(read_image(dataset / 'testB' / name, 3))
        mask = one.body_mask(64, 64, 64)
        assert mask.any()
        errors.append(palette(to_lab(picture[None])[0][:, mask].T).difference(one.body_lab))
    assert np.median(errors) < 8 and np.mean(errors) < 12
    wrong = [delta_e(one.body_lab, other.body_lab).item()
             for one, other in zip(found.values(), list(found.values())[1:], strict=False)]
    assert np.mean(errors) < 0.3 * np.mean(wrong)


def test_factors_are_those_of_the_file(dataset):
    entry = json.loads((dataset / 'factors_test.json').read_text())[3]
    one = read_factors(dataset)[entry['file']]
    assert torch.equal(one.body_lab, lab_of(entry['colours']['body']))
    assert (one.pattern, one.handbag, one.flipped) == (entry['pattern'], entry['object'] == 'handbag', entry['flipped'])
    assert len(one.values()) == len(FACTORS)


def test_data_that_was_not_drawn_has_no_factors(tmp_path):
    assert read_factors(tmp_path) == {}


@pytest.mark.parametrize('change', [
    lambda entries: 'no JSON', lambda entries: {'file': 1}, lambda entries: [1], lambda entries: [{}],
    lambda entries: [{**entries[0], 'pattern': 'tartan'}], lambda entries: [{**entries[0], 'body': []}],
    lambda entries: [{**entries[0], 'body': [[[1, 'x']]]}], lambda entries: [{**entries[0], 'size': 10 ** 9}],
    lambda entries: [{**entries[0], 'body': [[[float('nan'), 0]] * 3]}],
    lambda entries: [{**entries[0], 'colours': {'body': [1, 2]}}]])
def test_a_file_that_was_not_drawn_here_is_named_in_one_line(dataset, tmp_path, change):
    content = change(json.loads((dataset / 'factors_test.json').read_text()))
    path = tmp_path / 'factors_test.json'
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(BadInput, match='factors_test.json: not what draw_demo_data.py writes') as error:
        read_factors(tmp_path)
    assert '\n' not in str(error.value)


def random_factors(n: int) -> list[Factors]:
    random = np.random.default_rng(0)
    return [made(body_lab=torch.tensor(random.normal(50, 20, 3)), flipped=bool(random.random() < 0.5))
            for _ in range(n)]


def test_a_style_dimension_that_equals_a_factor_correlates_only_with_it():
    several = random_factors(400)
    lightness = torch.tensor([one.body_lab[0].item() for one in several])
    noise = torch.from_numpy(np.random.default_rng(1).normal(size=(400, 1))).float()
    found = correlations(torch.cat([lightness[:, None], -lightness[:, None], noise, torch.ones(400, 1)], 1), several)
    assert found.shape == (4, len(FACTORS))
    assert found[0, 0] == pytest.approx(1) and found[1, 0] == pytest.approx(-1)
    assert found[0, 1:3].abs().max() < 0.2 and found[2].abs().max() < 0.2 and not found[3].any()
    assert not found[:, FACTORS.index('handbag')].any()   # none of them is a factor


def test_what_styles_explain_is_of_pictures_left_out():
    several = random_factors(60)
    colours = torch.stack([one.body_lab for one in several])
    mixed = colours @ torch.tensor([[1.0, 2, 0], [0, 1, -1], [3, 0, 1]], dtype=colours.dtype) + 5
    found = explained(mixed, several)
    assert found[:3].tolist() == pytest.approx([1, 1, 1]) and found[3:].max() < 0.2
    noise = torch.from_numpy(np.random.default_rng(2).normal(size=(60, 30)))
    assert explained(noise, several).max() < 0.2   # 30 dimensions explain half in sample


def test_explained_is_what_leaving_out_one_by_one_gives():
    several = random_factors(20)
    styles = torch.stack([one.body_lab for one in several]) + torch.from_numpy(
        np.random.default_rng(3).normal(0, 5, size=(20, 3)))
    values, errors, totals = np.array([one.values()[0] for one in several]), 0, 0
    for i in range(20):
        kept = [k for k in range(20) if k != i]
        design = np.c_[np.ones(20), styles.numpy()]
        weights = np.linalg.lstsq(design[kept], values[kept], rcond=None)[0]
        errors += (values[i] - design[i] @ weights) ** 2
        totals += (values[i] - values[kept].mean()) ** 2
    assert explained(styles, several)[0].item() == pytest.approx(1 - errors / totals, rel=1e-6)
