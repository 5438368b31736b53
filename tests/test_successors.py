"""Methods of later work, as keys that are off by default: each has its effect, and resumes exactly."""
import copy

import pytest
import torch
import torch.nn.functional as F
from parity import config_with, waves

from core.ema import EMA, StyleStatistics
from engine.config import check_config
from engine.translator import Translator
from networks import AdaINGen
from trainer import MUNIT_Trainer, UNIT_Trainer, adversarial_loss, learning_rate

SMALL = {'gen': {'dim': 4, 'n_res': 1}, 'dis': {'dim': 4, 'n_layer': 2, 'num_scales': 2}}
ALL_KEYS = {'dis_lr': 4e-4, 'ema_decay': 0.9, 'dirty': 'a', 'display_guided': True, 'log_styles': True,
            'gen': {**SMALL['gen'], 'spectral_norm': True}, 'dis': {**SMALL['dis'], 'gan_type': 'hinge'}}


def images(config, n=2):
    return waves(1, n, config['input_dim_a'], 64, 64), waves(2, n, config['input_dim_b'], 64, 64)


def train(trainer, first, last):
    losses = {}
    for step in range(first, last):
        torch.manual_seed(step)
        trainer.update_learning_rate()
        losses = trainer.update(*images(trainer.config))
    return losses


def test_hinge_asks_the_discriminator_for_a_margin_and_the_generator_for_a_high_score():
    scores = [torch.tensor([-2.0, -0.5, 0.5, 2.0]), torch.tensor([0.25])]
    assert adversarial_loss(scores, True, 'hinge').item() == pytest.approx((3 + 1.5 + 0.5 + 0) / 4 + 0.75)
    assert adversarial_loss(scores, False, 'hinge').item() == pytest.approx((0 + 0.5 + 1.5 + 3) / 4 + 1.25)
    assert adversarial_loss(scores, True, 'hinge', of_generator=True).item() == pytest.approx(0 - 0.25)


def test_the_hinge_generator_gradient_does_not_end_at_the_margin():
    score = torch.tensor([5.0], requires_grad=True)
    adversarial_loss([score], True, 'hinge', of_generator=True).backward()
    assert score.grad.item() == -1


def test_the_discriminators_can_have_a_rate_of_their_own():
    config = config_with(lr=1e-4, dis_lr=4e-4, step_size=10, gamma=0.5, **SMALL)
    trainer = MUNIT_Trainer(config)
    assert trainer.gen_opt.param_groups[0]['lr'] == 1e-4 and trainer.dis_opt.param_groups[0]['lr'] == 4e-4
    trainer.iteration = 9
    trainer.update_learning_rate()
    assert trainer.gen_opt.param_groups[0]['lr'] == 5e-5 and trainer.dis_opt.param_groups[0]['lr'] == 2e-4
    assert learning_rate(config_with(), 0, 'dis') == config_with()['lr']


def test_the_average_of_weights_is_the_weighted_mean_of_them():
    gen = AdaINGen(3, config_with(**SMALL)['gen'])
    average = EMA(gen, gen, 0.5)
    first = copy.deepcopy(gen.state_dict())
    with torch.no_grad():
        for p in gen.parameters():
            p.add_(1)
    average.begin(steps=1000)
    average.update(gen, gen)
    for name, value in average.a.named_parameters():
        torch.testing.assert_close(value, first[name] + 0.5)
    assert not any(p.requires_grad for p in average.parameters())


def test_the_average_follows_the_first_steps_closely():
    gen = AdaINGen(3, config_with(**SMALL)['gen'])
    average = EMA(gen, gen, 0.9999)
    with torch.no_grad():
        for p in gen.parameters():
            p.zero_()
    average.begin(steps=1)
    average.update(gen, gen)
    assert average.a.mlp.model[0].fc.weight.abs().max() < 0.2 * 2   # 2 of 11 are left


def test_style_statistics_show_a_shift_and_a_wrong_deviation():
    statistics = StyleStatistics(2)
    for _ in range(300):
        found = statistics.update(torch.tensor([1.0, 0.0]).view(1, 2, 1, 1) + 0.5 * torch.randn(20, 2, 1, 1))
    assert found['offset'].item() == pytest.approx(0.5 ** 0.5, abs=0.05)      # √((1 + 0) / 2)
    assert found['deviation'].item() == pytest.approx(0.5, abs=0.05)
    assert found['kl'].item() > 0.5
    assert StyleStatistics(8).update(torch.randn(1000, 8, 1, 1))['kl'].item() < 0.02


@pytest.mark.parametrize('trainer_class, changes', [
    (MUNIT_Trainer, {'display_guided': True}),
    (UNIT_Trainer, {'recon_kl_w': 0.01, 'recon_kl_cyc_w': 0.01, 'recon_x_cyc_w': 10})])
def test_pictures_leave_the_generators_with_spectral_norm_as_they_are(trainer_class, changes):
    trainer = trainer_class(config_with(gen={**SMALL['gen'], 'spectral_norm': True}, dis=SMALL['dis'], **changes))
    before = copy.deepcopy(trainer.state_dict())
    trainer.sample(*images(trainer.config))
    trainer.style_codes(*images(trainer.config))
    assert all(torch.equal(value, before[name]) for name, value in trainer.state_dict().items())
    assert trainer.gen_a.training and all(module.training for module in trainer.gen_b.modules())


def test_spectral_norm_bounds_every_convolution_of_the_generators():
    trainer = MUNIT_Trainer(config_with(gen={**SMALL['gen'], 'spectral_norm': True}, dis=SMALL['dis']))
    with torch.no_grad():
        for p in trainer.gen_a.parameters():
            p.mul_(5)
        for _ in range(30):
            trainer.gen_a(images(trainer.config)[0])
        convolutions = [module for module in trainer.gen_a.modules() if isinstance(module, torch.nn.Conv2d)]
        largest = [torch.linalg.matrix_norm(module.weight.flatten(1), 2).item() for module in convolutions]
    assert len(convolutions) == 16 and all(0.8 < value < 1.2 for value in largest), largest
    config = config_with(checkpoint_activations=True, data_root='x', gen={**SMALL['gen'], 'spectral_norm': True})
    assert [line.split(':')[0] for line in check_config(config)] == ['gen.spectral_norm']


@pytest.mark.parametrize('trainer_class, keys', [
    (MUNIT_Trainer, ALL_KEYS),
    (UNIT_Trainer, {'ema_decay': 0.9, 'dirty': 'b', 'recon_kl_w': 0.5, 'recon_kl_cyc_w': 0.5, **SMALL})])
def test_with_all_keys_a_resumed_run_is_bit_identical(tmp_path, trainer_class, keys):
    torch.manual_seed(0)
    trainer = trainer_class(config_with(**keys))
    train(trainer, 0, 2)
    trainer.save(tmp_path, 2)
    losses = train(trainer, 2, 4)
    resumed = trainer_class(config_with(**keys))
    assert resumed.resume(tmp_path) == 2
    again = train(resumed, 2, 4)
    assert losses.keys() == again.keys() and all(torch.equal(losses[name], again[name]) for name in losses)
    own, other = trainer.state_dict(), resumed.state_dict()
    assert own.keys() == other.keys() and all(torch.equal(own[key], other[key]) for key in own)


def test_a_run_that_begins_to_average_later_begins_with_its_weights(tmp_path):
    trainer = MUNIT_Trainer(config_with(**SMALL))
    trainer.save(tmp_path, 5)
    resumed = MUNIT_Trainer(config_with(ema_decay=0.999, **SMALL))
    assert resumed.resume(tmp_path) == 5
    for name, value in resumed.ema.a.state_dict().items():
        assert torch.equal(value, trainer.gen_a.state_dict()[name])


def test_a_snapshot_whose_average_is_missing_or_altered_is_passed_over(tmp_path, capsys):
    trainer = MUNIT_Trainer(config_with(ema_decay=0.9, **SMALL))
    for step in (1, 2, 3):
        trainer.save(tmp_path, step)
    (tmp_path / 'ema_00000003.pt').unlink()
    with open(tmp_path / 'ema_00000002.pt', 'r+b') as file:
        file.seek(3000)
        file.write(b'\1\2\3')
    trainer.save(tmp_path, 1)
    assert trainer.resume(tmp_path) == 1
    said = capsys.readouterr().err
    assert 'step 3: ema_00000003.pt' in said and 'step 2: ema_00000002.pt' in said


def test_averages_are_dropped_with_their_snapshots(tmp_path):
    trainer = MUNIT_Trainer(config_with(ema_decay=0.9, **SMALL))
    for step in (1, 2, 3):
        trainer.save(tmp_path, step, keep=2)
    assert sorted(path.name for path in tmp_path.glob('ema_*')) == ['ema_00000002.pt', 'ema_00000003.pt']


@pytest.mark.slow
def test_the_average_translates_as_a_checkpoint_does(tmp_path):
    config = config_with(**ALL_KEYS)
    trainer = MUNIT_Trainer(config)
    train(trainer, 0, 2)
    trainer.save(tmp_path, 2)
    x_a, _ = images(config, 1)
    styles = torch.randn(2, 8, 1, 1)
    outputs = Translator(config, str(tmp_path / 'ema_00000002.pt'), True, 'MUNIT', torch.device('cpu')).translate(
        x_a, styles)
    with torch.no_grad():
        content, _ = trainer.ema.a.encode(x_a)
        wanted = torch.cat([trainer.ema.b.decode(content, style[None]) for style in styles])
    torch.testing.assert_close(outputs, wanted, atol=1e-5, rtol=1e-4)
    assert not torch.equal(trainer.ema.a.mlp.model[0].fc.weight, trainer.gen_a.mlp.model[0].fc.weight)


def test_guided_samples_have_the_style_of_the_adjacent_image():
    trainer = MUNIT_Trainer(config_with(display_guided=True, **SMALL))
    x_a, x_b = images(trainer.config)
    pictures = trainer.sample(x_a, x_b)
    assert len(pictures) == 2 * len(trainer.rows_of_sample) == 10
    with torch.no_grad():
        wanted = trainer.gen_b.decode(trainer.gen_a.enc_content(x_a[1:]), trainer.gen_b.enc_style(x_b[1:]))
    torch.testing.assert_close(pictures[4][1:], wanted)


def test_only_the_encoder_receives_corrupted_images(monkeypatch):
    """The corrupted image is encoded; reconstruction and the discriminator use the clean one."""
    trainer = MUNIT_Trainer(config_with(dirty='a', **SMALL))
    x_a, x_b = images(trainer.config)
    dirt = 0.5 * torch.ones_like(x_a)
    monkeypatch.setattr('trainer.add_sketch_noise', lambda x, numbers: x - dirt)
    reference = copy.deepcopy(trainer)
    torch.manual_seed(1)
    losses = trainer.gen_update(x_a, x_b)
    a = reference.gen_a
    c_a, s_a = a.encode(x_a - dirt)
    torch.testing.assert_close(losses['loss_gen_recon_x_a'], F.l1_loss(a.decode(c_a, s_a), x_a))
    c_b, s_b = reference.gen_b.encode(x_b)
    torch.testing.assert_close(losses['loss_gen_recon_x_b'], F.l1_loss(reference.gen_b.decode(c_b, s_b), x_b))
    seen, forward = [], trainer.dis_a.forward
    monkeypatch.setattr(trainer.dis_a, 'forward', lambda images: seen.append(images) or forward(images))
    trainer.dis_update(x_a, x_b)
    assert torch.equal(seen[0][len(x_a):], x_a)


def test_without_the_keys_nothing_more_is_drawn():
    """When the keys are off, the noise of a run and so its weights are unchanged."""
    torch.manual_seed(0)
    trainer = MUNIT_Trainer(config_with(**SMALL))
    torch.manual_seed(1)
    trainer.update(*images(trainer.config))
    after = torch.rand(1)
    torch.manual_seed(1)
    for _ in range(4):
        torch.randn(2, 8, 1, 1)
    assert torch.equal(after, torch.rand(1))
