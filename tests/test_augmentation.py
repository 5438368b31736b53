"""Augmentation of the discriminators' inputs (`dis.augment`), and the R1 gradient penalty."""
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from parity import config_with, filled_trainer, waves

from core.augmentation import AUGMENT_PARAMS, CHOICES, augment
from trainer import MUNIT_Trainer, UNIT_Trainer, gradient_penalty

SMALL = {'gen': {'dim': 4, 'n_res': 1, 'mlp_dim': 8}, 'dis': {'dim': 4, 'n_layer': 2, 'num_scales': 2}}
MIDDLE = torch.full((2, AUGMENT_PARAMS), 0.5)   # no change of brightness, factors of 1, no translation


def numbers(**values) -> torch.Tensor:
    """`MIDDLE` with changed values of brightness, saturation, contrast, down, right, row or column, for two images."""
    names = ('brightness', 'saturation', 'contrast', 'down', 'right', 'row', 'column')
    return torch.tensor([values.get(name, [0.5, 0.5]) for name in names]).T


def test_the_neutral_value_of_every_range_changes_nothing():
    x = waves(1, 2, 3, 16, 24)
    torch.testing.assert_close(augment(x, MIDDLE, 'color,translation'), x)


def test_color_changes_brightness_then_saturation_then_contrast():
    x = waves(1, 2, 3, 16, 24)
    found = augment(x, numbers(brightness=[0.9, 0.1], saturation=[0.2, 1.0], contrast=[0.0, 0.8]), 'color')
    for image, result, (light, colour, contrast) in zip(
            x.numpy(), found.numpy(), ((0.4, 0.4, 0.5), (-0.4, 2.0, 1.3)), strict=True):
        image = image + light
        grey = image.mean(0)
        image = grey + (image - grey) * colour
        np.testing.assert_allclose(result, image.mean() + (image - image.mean()) * contrast, atol=1e-5)


def test_translation_moves_by_whole_pixels_and_shows_grey_at_the_border():
    x = waves(1, 2, 3, 16, 24) + 3
    found = augment(x, numbers(down=[0.999, 0.0], right=[0.0, 0.999]), 'translation')   # 2 of 16 rows, 3 of 24 columns
    wanted = torch.zeros_like(x)
    wanted[0, :, 2:, :-3], wanted[1, :, :-2, 3:] = x[0, :, :-2, 3:], x[1, :, 2:, :-3]
    assert torch.equal(found, wanted)


def test_cutout_greys_half_of_each_side_which_may_reach_over_the_border():
    x = waves(1, 2, 3, 16, 24) + 3
    found = augment(x, numbers(row=[0.5, 0.0], column=[0.5, 0.999]), 'cutout')
    grey = found == 0
    assert grey[0, :, 4:12, 6:18].all() and grey[0].sum() == 3 * 8 * 12
    assert grey[1, :, :4, -6:].all() and grey[1].sum() == 3 * 4 * 6
    assert torch.equal(found[~grey], x[~grey])


@pytest.mark.parametrize('kinds', CHOICES[1:])
def test_the_gradient_passes_through(kinds):
    x = waves(1, 2, 2, 8, 8).double().requires_grad_()
    torch.autograd.gradcheck(
        lambda x: augment(x, torch.rand(2, AUGMENT_PARAMS, generator=torch.Generator().manual_seed(1)), kinds), x)


@pytest.mark.parametrize('trainer_cls', [MUNIT_Trainer, UNIT_Trainer])
def test_real_and_translated_images_are_augmented_equally_and_gradients_reach_the_generators(trainer_cls, monkeypatch):
    seen = []

    def watched(images, numbers, kinds):
        seen.append((images.detach().clone(), images.requires_grad, kinds))
        return augment(images, numbers, kinds)

    monkeypatch.setattr('trainer.augment', watched)
    weights = {'recon_kl_w': 0.01, 'recon_kl_cyc_w': 0.01} if trainer_cls is UNIT_Trainer else {}
    config = config_with(**SMALL, **weights)
    config['dis']['augment'] = 'color,cutout'
    trainer = filled_trainer(trainer_cls, config)
    x_a, x_b = waves(1, 2, 3, 64, 64), waves(2, 2, 3, 64, 64)
    trainer.update(x_a, x_b)
    assert {kinds for *_, kinds in seen} == {'color,cutout'}
    assert [requires_grad for _, requires_grad, _ in seen] == [False] * 4 + [True] * 2
    assert torch.equal(seen[0][0], x_a) and torch.equal(seen[2][0], x_b)


def test_without_augmentation_no_noise_is_drawn_for_it():
    trainer, x = filled_trainer(MUNIT_Trainer, config_with(**SMALL)), waves(1, 2, 3, 64, 64)
    torch.manual_seed(1)
    assert trainer.as_judged(x) is x
    after = torch.rand(())
    torch.manual_seed(1)
    assert torch.equal(after, torch.rand(()))


def test_the_penalty_is_the_squared_norm_of_each_patchs_gradient():
    weight = torch.randn(1, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    kinds = (lambda x: [F.conv2d(x, weight, stride=4)], lambda x: [F.conv2d(x, weight, stride=4)] * 2)
    for scales, dis in zip((1, 4), kinds, strict=True):   # twice the same scale: twice the gradient
        penalty = gradient_penalty(dis, waves(1, 2, 3, 16, 16))
        assert penalty.item() == pytest.approx(scales * weight.square().sum().item(), rel=1e-5)


def test_the_penalty_is_due_once_in_r1_every_iterations_and_counts_for_all_of_them():
    x_a, x_b = waves(1, 2, 3, 64, 64), waves(2, 2, 3, 64, 64)

    def gradients(**dis):
        trainer = filled_trainer(MUNIT_Trainer, config_with(**{**SMALL, 'dis': {**SMALL['dis'], **dis}}))
        found = []
        trainer._step = lambda of: found.append([p.grad.clone() for p in trainer.dis_a.parameters()])
        names = []
        for _ in range(3):
            torch.manual_seed(1)
            trainer.update_learning_rate()
            names.append(set(trainer.dis_update(x_a, x_b)))
        return trainer, names, found[-1]

    trainer, names, without = gradients()
    _, named, with_penalty = gradients(r1_w=4.0, r1_every=3)
    assert ['loss_dis_r1_a' in of for of in names + named] == [False] * 5 + [True]
    trainer.dis_opt.zero_grad()
    gradient_penalty(trainer.dis_a, x_a).backward()
    for one, two, penalty in zip(with_penalty, without, trainer.dis_a.parameters(), strict=True):
        if penalty.grad is not None:   # the last bias has none
            torch.testing.assert_close(one - two, 3 * 4.0 / 2 * penalty.grad, atol=1e-4, rtol=1e-3)


def test_a_run_with_both_resumes_exactly(tmp_path):
    config = config_with(**SMALL)
    config['dis'].update(augment='color,translation,cutout', r1_w=0.1, r1_every=2)

    def train(trainer, iterations):
        for i in iterations:
            torch.manual_seed(i)
            trainer.update_learning_rate()
            losses = trainer.update(waves(i, 1, 3, 64, 64), waves(i + 9, 1, 3, 64, 64))
        return losses

    whole = filled_trainer(MUNIT_Trainer, config)
    wanted = train(whole, range(4))
    first = filled_trainer(MUNIT_Trainer, config)
    train(first, range(3))
    first.save(tmp_path, 3)
    again = MUNIT_Trainer(config)
    assert again.resume(tmp_path) == 3
    found = train(again, range(3, 4))
    assert found.keys() == wanted.keys() and 'loss_dis_r1_a' in wanted
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)


def test_the_discriminators_can_be_initialized_with_larger_weights():
    def deviation(**dis):
        config = config_with(**SMALL)
        config['dis'].update(dis)
        torch.manual_seed(0)
        return MUNIT_Trainer(config).dis_a.cnns[0][1].conv.weight.std().item()

    assert deviation() == pytest.approx(0.02, rel=0.1)   # as the original, at any width
    assert deviation(init='kaiming') == pytest.approx((2 / (4 * 4 * 4)) ** 0.5, rel=0.1)
