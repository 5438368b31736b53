"""The objective, the schedule and the effects of an update, against formulas written independently here."""
import copy

import pytest
import torch
import torch.nn.functional as F
from parity import config_with, filled_trainer, waves

from trainer import MUNIT_Trainer, UNIT_Trainer, adversarial_loss, learning_rate

UNIT = {'recon_kl_w': 0.5, 'recon_kl_cyc_w': 0.25, 'recon_x_cyc_w': 3}
both_trainers = pytest.mark.parametrize('trainer_class, changes', [(MUNIT_Trainer, {}), (UNIT_Trainer, UNIT)])


def pair(config, n=1, height=64, width=64):
    return waves(1, n, config['input_dim_a'], height, width), waves(2, n, config['input_dim_b'], height, width)


def snapshot(network):
    return {key: value.clone() for key, value in network.state_dict().items()}


def changed(network, before):
    return any(not torch.equal(value, before[key]) for key, value in network.state_dict().items())


def test_lsgan_sums_squared_distances_over_the_scales():
    scores = [torch.randn(2, 1, 4, 4), torch.randn(2, 1, 2, 2)]
    real = sum(((s - 1) ** 2).mean().item() for s in scores)
    fake = sum((s ** 2).mean().item() for s in scores)
    assert adversarial_loss(scores, True, 'lsgan').item() == pytest.approx(real)
    assert adversarial_loss(scores, False, 'lsgan').item() == pytest.approx(fake)


def test_nsgan_is_cross_entropy_on_logits():
    scores = [torch.randn(2, 1, 4, 4), torch.randn(2, 1, 2, 2)]
    real = sum(-F.logsigmoid(s).mean().item() for s in scores)
    fake = sum(-F.logsigmoid(-s).mean().item() for s in scores)
    assert adversarial_loss(scores, True, 'nsgan').item() == pytest.approx(real)
    assert adversarial_loss(scores, False, 'nsgan').item() == pytest.approx(fake)


def test_munits_generator_objective_equals_its_formula():
    config = config_with(gan_w=2, recon_x_w=3, recon_s_w=5, recon_c_w=7, recon_x_cyc_w=11)
    trainer = filled_trainer(MUNIT_Trainer, config)
    reference = copy.deepcopy(trainer)
    x_a, x_b = pair(config)
    torch.manual_seed(4)
    losses = trainer.gen_update(x_a, x_b)

    torch.manual_seed(4)
    s_a, s_b = torch.randn(1, 8, 1, 1), torch.randn(1, 8, 1, 1)
    a, b = reference.gen_a, reference.gen_b
    c_a, c_b, style_a, style_b = a.enc_content(x_a), b.enc_content(x_b), a.enc_style(x_a), b.enc_style(x_b)
    x_ba, x_ab = a.decode(c_b, s_a), b.decode(c_a, s_b)
    l1 = F.l1_loss
    wanted = {
        'recon_x_a': l1(a.decode(c_a, style_a), x_a), 'recon_x_b': l1(b.decode(c_b, style_b), x_b),
        'recon_c_a': l1(b.enc_content(x_ab), c_a), 'recon_c_b': l1(a.enc_content(x_ba), c_b),
        'recon_s_a': l1(a.enc_style(x_ba), s_a), 'recon_s_b': l1(b.enc_style(x_ab), s_b),
        'cycrecon_x_a': l1(a.decode(b.enc_content(x_ab), style_a), x_a),
        'cycrecon_x_b': l1(b.decode(a.enc_content(x_ba), style_b), x_b),
        'adv_a': sum(((s - 1) ** 2).mean() for s in reference.dis_a(x_ba)),
        'adv_b': sum(((s - 1) ** 2).mean() for s in reference.dis_b(x_ab))}
    for name, value in wanted.items():
        assert losses[f'loss_gen_{name}'].item() == pytest.approx(value.item(), rel=1e-4), name
    weights = {'recon_x': 3, 'recon_c': 7, 'recon_s': 5, 'cycrecon_x': 11, 'adv': 2}
    total = sum(weights[name[:-2]] * value.item() for name, value in wanted.items())
    assert losses['loss_gen_total'].item() == pytest.approx(total, rel=1e-4)


def test_units_generator_objective_equals_its_formula():
    config = config_with(gan_w=2, recon_x_w=5, **UNIT)
    trainer = filled_trainer(UNIT_Trainer, config)
    a, b = copy.deepcopy(trainer.gen_a), copy.deepcopy(trainer.gen_b)
    x_a, x_b = pair(config)
    torch.manual_seed(4)
    losses = trainer.gen_update(x_a, x_b)

    torch.manual_seed(4)
    h_a, h_b = a.enc(x_a), b.enc(x_b)
    z_a, z_b = h_a + torch.randn(h_a.shape), h_b + torch.randn(h_b.shape)
    x_ba, x_ab = a.decode(z_b), b.decode(z_a)
    h_b_recon = a.enc(x_ba)
    z_b_recon = h_b_recon + torch.randn(h_b.shape)
    h_a_recon = b.enc(x_ab)
    z_a_recon = h_a_recon + torch.randn(h_a.shape)
    wanted = {
        'recon_x_a': (F.l1_loss(a.decode(z_a), x_a), 5), 'recon_x_b': (F.l1_loss(b.decode(z_b), x_b), 5),
        'recon_kl_a': ((h_a ** 2).mean(), 0.5), 'recon_kl_b': ((h_b ** 2).mean(), 0.5),
        'cyc_x_a': (F.l1_loss(a.decode(z_a_recon), x_a), 3), 'cyc_x_b': (F.l1_loss(b.decode(z_b_recon), x_b), 3),
        'recon_kl_cyc_aba': ((h_a_recon ** 2).mean(), 0.25), 'recon_kl_cyc_bab': ((h_b_recon ** 2).mean(), 0.25)}
    for name, (value, _) in wanted.items():
        assert losses[f'loss_gen_{name}'].item() == pytest.approx(value.item(), rel=1e-4), name
    total = sum(value.item() * weight for value, weight in wanted.values())
    total += 2 * (losses['loss_gen_adv_a'] + losses['loss_gen_adv_b']).item()
    assert losses['loss_gen_total'].item() == pytest.approx(total, rel=1e-4)


def test_perceptual_terms_compare_a_translation_with_its_input():
    config = config_with(vgg_w=2)
    trainer = filled_trainer(MUNIT_Trainer, config)
    reference = copy.deepcopy(trainer)
    x_a, x_b = pair(config)
    torch.manual_seed(4)
    losses = trainer.gen_update(x_a, x_b)
    torch.manual_seed(4)
    s_a = torch.randn(1, 8, 1, 1)
    x_ba = reference.gen_a.decode(reference.gen_b.enc_content(x_b), s_a)
    norm = torch.nn.InstanceNorm2d(512)
    wanted = ((norm(reference.vgg(x_ba)) - norm(reference.vgg(x_b))) ** 2).mean()
    assert losses['loss_gen_vgg_a'].item() == pytest.approx(wanted.item(), rel=1e-4)


def test_dis_update_changes_only_the_discriminators():
    config = config_with()
    trainer = filled_trainer(MUNIT_Trainer, config)
    before = {name: snapshot(getattr(trainer, name)) for name in ('gen_a', 'gen_b', 'dis_a', 'dis_b')}
    trainer.dis_update(*pair(config))
    assert [name for name in before if changed(getattr(trainer, name), before[name])] == ['dis_a', 'dis_b']


def test_gen_update_changes_only_the_generators_and_leaves_no_gradient_in_the_discriminators():
    config = config_with()
    trainer = filled_trainer(MUNIT_Trainer, config)
    before = {name: snapshot(getattr(trainer, name)) for name in ('gen_a', 'gen_b', 'dis_a', 'dis_b')}
    trainer.gen_update(*pair(config))
    assert [name for name in before if changed(getattr(trainer, name), before[name])] == ['gen_a', 'gen_b']
    assert all(p.grad is None and p.requires_grad for p in trainer.dis_a.parameters())


@both_trainers
@pytest.mark.parametrize('changes_here', [
    {}, {'recon_x_cyc_w': 0}, {'dis': {'gan_type': 'nsgan'}}, {'input_dim_a': 1}, {'dis': {'norm': 'bn'}},
    {'dis': {'norm': 'in', 'n_layer': 3, 'num_scales': 2}}], ids=str)
def test_both_trainers_train_with(trainer_class, changes, changes_here):
    config = config_with(**{**changes, **changes_here})
    trainer = trainer_class(config)
    losses = trainer.update(*pair(config, n=2, width=96))
    assert all(torch.isfinite(value) for value in losses.values())
    assert not any(value.requires_grad for value in losses.values())


@both_trainers
def test_the_domains_may_differ_in_size(trainer_class, changes):
    trainer = trainer_class(config_with(**changes))
    losses = trainer.update(waves(1, 2, 3, 64, 64), waves(2, 2, 3, 64, 96))
    assert all(torch.isfinite(value) for value in losses.values())


@both_trainers
def test_sample_gives_pictures_of_both_directions(trainer_class, changes):
    config = config_with(input_dim_a=1, **changes)
    trainer = trainer_class(config)
    x_a, x_b = pair(config, n=3)
    pictures = trainer.sample(x_a, x_b)
    half = len(trainer.rows_of_sample)
    assert len(pictures) == 2 * half
    assert torch.equal(pictures[0], x_a) and torch.equal(pictures[half], x_b)
    assert [p.shape[1] for p in pictures[:2]] == [1, 1] and pictures[2].shape == x_b.shape
    assert [p.shape[1] for p in pictures[half:half + 2]] == [3, 3] and pictures[-1].shape == x_a.shape


def test_sample_keeps_one_style_fixed_and_draws_the_other():
    config = config_with()
    trainer = filled_trainer(MUNIT_Trainer, config)
    x_a, x_b = pair(config, n=2)
    first, second = trainer.sample(x_a, x_b), trainer.sample(x_a, x_b)
    assert torch.equal(first[2], second[2]) and torch.equal(first[6], second[6])
    assert not torch.equal(first[3], second[3]) and not torch.equal(first[7], second[7])


@pytest.mark.parametrize('config, rates', [
    ({'lr': 1.0, 'lr_policy': 'step', 'step_size': 2, 'gamma': 0.5}, [1, 0.5, 0.5, 0.25, 0.25]),
    ({'lr': 1.0, 'lr_policy': 'step', 'step_size': 1, 'gamma': 0.1}, [0.1, 0.01, 0.001, 0.0001, 0.00001]),
    ({'lr': 1.0, 'lr_policy': 'constant'}, [1, 1, 1, 1, 1])])
def test_the_schedule_steps_before_the_update(config, rates):
    assert [learning_rate(config, i) for i in range(5)] == pytest.approx(rates)


def test_the_schedule_continues_after_a_resume_as_in_an_uninterrupted_run(tmp_path):
    config = config_with(step_size=2)
    trainer = MUNIT_Trainer(config)
    for _ in range(3):
        trainer.update_learning_rate()
    trainer.save(tmp_path, 3)
    resumed = MUNIT_Trainer(config)
    assert resumed.resume(tmp_path) == 3
    trainer.update_learning_rate()
    resumed.update_learning_rate()
    assert resumed.gen_opt.param_groups[0]['lr'] == trainer.gen_opt.param_groups[0]['lr'] == 0.0001 / 4


@pytest.mark.parametrize('changes', [{'lr_policy': 'cosine'}, {'dis': {'gan_type': 'wgan'}}, {'init': 'he'}])
def test_an_unknown_choice_is_an_error_where_it_is_made(changes):
    with pytest.raises(ValueError, match='is not one of'):
        MUNIT_Trainer(config_with(**changes))


def test_training_with_vgg_but_without_its_weights_is_refused():
    trainer = MUNIT_Trainer(config_with(vgg_w=1))
    with pytest.raises(RuntimeError, match='no trained weights'):
        trainer.gen_update(*pair(config_with()))


def test_vgg_is_made_only_where_it_has_a_weight():
    assert not hasattr(MUNIT_Trainer(config_with()), 'vgg')


def test_the_same_seed_gives_the_same_weights_and_styles():
    trainers = []
    for _ in range(2):
        torch.manual_seed(5)
        trainers.append(MUNIT_Trainer(config_with()))
    assert torch.equal(trainers[0].s_a, trainers[1].s_a)
    assert all(torch.equal(p, q) for p, q in zip(*(t.parameters() for t in trainers), strict=True))
