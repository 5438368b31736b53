"""The baselines of table 1: networks against published facts, losses against formulas, and exact resuming.

Facts: the layer lists of CycleGAN (its section 7.2), pix2pix (section 6.1) and BicycleGAN (section 4), and the counts
of parameters that the authors' programs print: 11.378 M for nine blocks, 2.765 M for the 70×70 discriminator, 54.414 M
for the U-Net of eight levels with batch norm.
"""
import shutil

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from test_runs import assert_same_run, tensors
from torch import nn

import evaluate as evaluate_command
import test as test_command
import test_batch as test_batch_command
import train as train_command
from data import Draw, ImageDataset, Transform
from engine.cli import run_command
from engine.config import check_config, load_config
from engine.methods import METHODS, trainer_class, translator_class
from engine.paired_data import PairDataset, align
from engine.translator import make_translator
from extras.baselines.networks import (
    CodeEncoder,
    Dropout,
    PatchDiscriminator,
    ResnetGenerator,
    UNetGenerator,
    init_weights,
)
from extras.baselines.trainers import (
    BicycleGAN_Trainer,
    CycleGAN_Trainer,
    CycleGANNoise_Trainer,
    ImagePool,
    code_kl_loss,
)
from scripts import draw_demo_data
from trainer import learning_rate

CPU = torch.device('cpu')
BASELINES = ('CycleGAN', 'CycleGANNoise', 'BicycleGAN')
UNET = {'dim': 64, 'n_downsample': 8, 'noise_dim': 8, 'dropout': 0.5}
TINY = {'max_iter': 8, 'new_size': 36, 'crop_image_height': 32, 'crop_image_width': 32, 'display_size': 2,
        'log_iter': 1, 'image_save_iter': 4, 'image_display_iter': 3, 'snapshot_save_iter': 4, 'deterministic': True,
        'num_workers': 0,
        'dis': {'dim': 4, 'n_layer': 2}, 'decay_start': 4, 'decay_end': 8}
GEN = {'CycleGAN': {'dim': 4, 'n_res': 1}, 'CycleGANNoise': {'dim': 4}, 'BicycleGAN': {'dim': 4, 'enc_dim': 4}}


def tiny(trainer: str, **changes) -> dict:
    """A checked config with small networks."""
    config = {**yaml.safe_load(yaml.safe_dump(TINY)), 'data_root': 'somewhere', 'gen': dict(GEN[trainer])}
    if trainer != 'BicycleGAN':
        config['pool_size'] = 2
    config.update(changes)
    assert check_config(config, trainer) == []
    return config


def make(trainer: str, **changes):
    torch.manual_seed(0)
    return trainer_class(trainer)(tiny(trainer, **changes))


def batch(n: int = 1, channels: int = 3, seed: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.rand((n, channels, 32, 32), generator=generator) * 2 - 1 for _ in 'ab')


def count(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def conv(inside: int, outside: int, kernel: int) -> int:
    """The number of weights and biases of a convolution."""
    return inside * outside * kernel ** 2 + outside


def layers_of(network: nn.Module, *inputs: torch.Tensor) -> list[tuple]:
    """All convolutions in the order of execution: kind, kernel, stride, channels and size of the output."""
    found = []

    def note(module, _, output):
        found.append((type(module).__name__, module.kernel_size[0], module.stride[0], *output.shape[1:3]))

    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
            module.register_forward_hook(note)
    network(*inputs)
    return found


# -- networks -------------------------------------------------------------------------------------------------------

@pytest.fixture
def meta():
    """Networks of full size on the meta device, which has shapes and no values."""
    with torch.device('meta'):
        yield


def test_cyclegans_generator_has_the_published_layers_and_parameters(meta):
    gen = ResnetGenerator(3, 3, {'dim': 64, 'n_downsample': 2, 'n_res': 9, 'dropout': 0.5}).eval()
    wanted = [('Conv2d', 7, 1, 64, 256), ('Conv2d', 3, 2, 128, 128), ('Conv2d', 3, 2, 256, 64),
              *[('Conv2d', 3, 1, 256, 64)] * 18,
              ('ConvTranspose2d', 3, 2, 128, 128), ('ConvTranspose2d', 3, 2, 64, 256), ('Conv2d', 7, 1, 3, 256)]
    assert layers_of(gen, torch.empty(1, 3, 256, 256)) == wanted
    by_formula = (conv(3, 64, 7) + conv(64, 128, 3) + conv(128, 256, 3) + 18 * conv(256, 256, 3)
                  + conv(256, 128, 3) + conv(128, 64, 3) + conv(64, 3, 7))
    assert count(gen) == by_formula == 11_378_179
    paddings = [type(m).__name__ for m in gen.modules() if 'Pad' in type(m).__name__]
    assert paddings == ['ReflectionPad2d'] * 20
    assert [m.padding for m in gen.modules() if isinstance(m, nn.Conv2d)].count((1, 1)) == 2   # those of stride 2
    assert sum(isinstance(m, Dropout) and m.rate == 0.5 for m in gen.modules()) == 9


def test_the_discriminator_sees_70_pixels_and_has_the_published_layers(meta):
    dis = PatchDiscriminator(3, {'dim': 64, 'n_layer': 3, 'num_scales': 1})
    wanted = [('Conv2d', 4, 2, 64, 128), ('Conv2d', 4, 2, 128, 64), ('Conv2d', 4, 2, 256, 32),
              ('Conv2d', 4, 1, 512, 31), ('Conv2d', 4, 1, 1, 30)]
    assert layers_of(dis, torch.empty(1, 3, 256, 256)) == wanted
    by_formula = conv(3, 64, 4) + conv(64, 128, 4) + conv(128, 256, 4) + conv(256, 512, 4) + conv(512, 1, 4)
    assert count(dis) == by_formula == 2_764_737
    seen = 1
    for module in reversed([m for m in dis.modules() if isinstance(m, nn.Conv2d)]):
        seen = (seen - 1) * module.stride[0] + module.kernel_size[0]
    assert seen == 70
    norms = [type(m).__name__ for m in dis.scales[0]]
    assert norms[1] == 'LeakyReLU' and norms.count('InstanceNorm2d') == 3 and norms[3] == 'InstanceNorm2d'


def test_the_second_scale_has_half_the_filters_and_half_the_image(meta):
    dis = PatchDiscriminator(3, {'dim': 64, 'n_layer': 3, 'num_scales': 2})
    assert [scores.shape[-1] for scores in dis(torch.empty(1, 3, 256, 256))] == [30, 14]
    half = conv(3, 32, 4) + conv(32, 64, 4) + conv(64, 128, 4) + conv(128, 256, 4) + conv(256, 1, 4)
    assert count(dis) == 2_764_737 + half


CHANNELS = [64, 128, 256, 512, 512, 512, 512, 512]


@pytest.mark.parametrize('everywhere', [False, True])
def test_the_u_net_has_the_published_layers_and_inputs_of_the_code(meta, everywhere):
    gen = UNetGenerator(3, 3, UNET, everywhere).eval()
    found = layers_of(gen, torch.empty(1, 3, 256, 256), torch.empty(1, 8))
    sides = [128, 64, 32, 16, 8, 4, 2, 1]
    down = [('Conv2d', 4, 2, channels, side) for channels, side in zip(CHANNELS, sides, strict=True)]
    up = [('ConvTranspose2d', 4, 2, channels, 2 * side)
          for channels, side in zip([3, *CHANNELS[:-1]], sides, strict=True)][::-1]
    assert found == down + up
    code = [8 if everywhere or level == 0 else 0 for level in range(8)]
    by_formula = sum(conv(before + extra, after, 4)
                     for before, after, extra in zip([3, *CHANNELS[:-1]], CHANNELS, code, strict=True))
    by_formula += conv(512, 512, 4) + sum(conv(2 * inside, outside, 4) for inside, outside
                                          in zip(CHANNELS[:-1], [3, *CHANNELS[:-2]], strict=True))
    assert count(gen) == by_formula
    assert [dropout.rate for dropout in gen.dropouts] == [0, 0, 0, 0, 0.5, 0.5, 0.5, 0]
    assert [type(norm).__name__ for norm in gen.norms_down] == ['Identity', *['InstanceNorm2d'] * 6, 'Identity']
    assert [type(norm).__name__ for norm in gen.norms_up] == ['Identity', *['InstanceNorm2d'] * 7]


def test_the_u_net_without_a_code_is_the_published_one(meta):
    gen = UNetGenerator(3, 3, {**UNET, 'noise_dim': 0}, False)
    norms = [norm for norm in (*gen.norms_down, *gen.norms_up) if not isinstance(norm, nn.Identity)]
    # The published count is with batch norm: two parameters per channel, and no bias except in the last layer.
    biases = sum(p.numel() for name, p in gen.named_parameters() if name.endswith('bias'))
    with_batch_norm = count(gen) - biases + 3 + 2 * sum(norm.num_features for norm in norms)
    assert round(with_batch_norm / 1e6, 3) == 54.414
    assert round(count(gen) / 1e6, 3) == 54.410


def test_bicyclegans_encoder_has_the_published_layers(meta):
    enc = CodeEncoder(3, {'enc_dim': 64, 'enc_res': 4, 'noise_dim': 8})
    mean, log_variance = enc(torch.empty(2, 3, 256, 256))
    assert mean.shape == log_variance.shape == (2, 8)
    assert enc.blocks(enc.first(torch.empty(1, 3, 256, 256))).shape == (1, 256, 8, 8)
    widths = [64, 128, 192, 256, 256]
    by_formula = conv(3, 64, 4) + 2 * conv(256, 8, 1)
    by_formula += sum(conv(i, i, 3) + conv(i, o, 3) + conv(i, o, 1)
                      for i, o in zip(widths[:-1], widths[1:], strict=True))
    assert count(enc) == by_formula


def test_a_halving_block_computes_its_formula():
    torch.manual_seed(0)
    block = CodeEncoder(3, {'enc_dim': 4, 'enc_res': 1, 'noise_dim': 2}).blocks[0]
    x, f = torch.randn(2, 4, 8, 8), nn.functional
    y = f.conv2d(f.leaky_relu(f.instance_norm(x), 0.2), block.inside[2].weight, block.inside[2].bias, padding=1)
    y = f.conv2d(f.leaky_relu(f.instance_norm(y), 0.2), block.inside[5].weight, block.inside[5].bias, padding=1)
    wanted = f.avg_pool2d(y, 2) + f.conv2d(f.avg_pool2d(x, 2), block.beside[1].weight, block.beside[1].bias)
    assert torch.allclose(block(x), wanted, atol=1e-5)


@pytest.mark.parametrize('init, deviation', [('gaussian', 0.02), ('xavier', 0.02 * (2 / (64 * 16 + 64 * 16)) ** 0.5)])
def test_all_weights_are_initialized_as_published(init, deviation):
    torch.manual_seed(0)
    for layer in (nn.Conv2d(64, 64, 4), nn.ConvTranspose2d(64, 64, 4)):
        layer.apply(init_weights(init, 0.02))
        assert layer.weight.std().item() == pytest.approx(deviation, rel=0.02)
        assert not layer.bias.any()


def test_seeded_dropout_depends_only_on_its_seed():
    dropout, x = Dropout(0.5).eval(), torch.ones(2, 4, 16, 16)
    assert torch.equal(dropout(x), x)   # off
    one = dropout(x, [torch.Generator().manual_seed(seed) for seed in (1, 2)])
    other = dropout(x, [torch.Generator().manual_seed(seed) for seed in (2, 1)])
    assert torch.equal(one, other.flip(0)) and not torch.equal(one[0], one[1])
    assert set(one.unique().tolist()) == {0.0, 2.0} and 0.4 < one.mean() / 2 < 0.6


# -- the pool -------------------------------------------------------------------------------------------------------

def numbered(*numbers: int) -> torch.Tensor:
    return torch.tensor(numbers).float()[:, None, None, None]


def test_a_pool_that_is_not_full_stores_and_returns_its_input():
    pool = ImagePool(3)
    for i in range(3):
        assert pool.swap(numbered(i)).item() == i
    assert pool.content().flatten().tolist() == [0, 1, 2]


def test_a_full_pool_swaps_half_of_the_time_and_never_loses_or_doubles_an_image():
    torch.manual_seed(0)
    pool, swapped, out = ImagePool(50), 0, []
    for i in range(2050):
        returned = int(pool.swap(numbered(i)).item())
        if i >= 50:
            swapped += returned != i
            out.append(returned)
    assert 900 < swapped < 1100   # 1000, with a standard deviation of 22
    held = pool.content().flatten().tolist()
    assert sorted([*out, *held]) == list(range(2050))
    assert len(set(held)) == 50


def test_an_empty_pool_returns_its_input_and_batches_are_swapped_image_by_image():
    assert ImagePool(0).swap(numbered(7, 8)).flatten().tolist() == [7, 8]
    pool = ImagePool(3)
    assert pool.swap(numbered(1, 2)).flatten().tolist() == [1, 2]
    assert len(pool.content()) == 2


def test_a_pool_keeps_no_numbers_that_are_not_finite_nor_a_graph():
    pool, image = ImagePool(1), torch.tensor([[[[float('nan'), 1.0]]]], requires_grad=True)
    assert not pool.swap(image * 1).requires_grad
    assert pool.content().flatten().tolist() == [0, 1]


# -- losses and updates ---------------------------------------------------------------------------------------------

def l1(one: torch.Tensor, two: torch.Tensor) -> torch.Tensor:
    return (one - two).abs().mean()


def test_cyclegans_objective_is_its_formula():
    trainer, (x_a, x_b) = make('CycleGAN', gen={'dim': 4, 'n_res': 1, 'dropout': 0}), batch()
    gen_a, gen_b = trainer.gen_a, trainer.gen_b
    x_ab, x_ba = trainer.translate(x_a, x_b)
    assert torch.equal(x_ab, gen_b(x_a)) and torch.equal(x_ba, gen_a(x_b))
    losses, objective = trainer.gen_losses(x_a, x_b, x_ab, x_ba)
    adv = (trainer.dis_a(x_ba)[0] - 1).square().mean() + (trainer.dis_b(x_ab)[0] - 1).square().mean()
    wanted = (adv + 10 * (l1(gen_a(gen_b(x_a)), x_a) + l1(gen_b(gen_a(x_b)), x_b))
              + 5 * (l1(gen_a(x_a), x_a) + l1(gen_b(x_b), x_b)))
    assert objective.item() == pytest.approx(wanted.item(), rel=1e-5)
    assert set(losses) == {f'loss_gen_{kind}_{a}' for kind in ('adv', 'cyc_x', 'identity') for a in 'ab'}


def test_cyclegans_discriminator_loss_is_halved():
    trainer, (x_a, x_ba) = make('CycleGAN'), batch()
    wanted = 0.5 * ((trainer.dis_a(x_a)[0] - 1).square().mean() + trainer.dis_a(x_ba)[0].square().mean())
    assert trainer.dis_loss('a', x_a, x_ba).item() == pytest.approx(wanted.item(), rel=1e-6)


@pytest.mark.parametrize('name', BASELINES)
def test_generators_step_first_and_discriminators_see_the_translations_before_that_step(name):
    trainer, (x_a, x_b) = make(name), batch(2)
    order, step, made = [], trainer._step, []
    trainer._step = lambda of: (order.append(of), step(of))
    translate, dis_update = trainer.translate, trainer.dis_update
    trainer.translate = lambda *images: made.append(translate(*images)) or made[-1]
    trainer.dis_update = lambda *arguments: dis_update(*arguments[:2], given.append(arguments[2]) or arguments[2])
    given = []
    networks = [(kind, network) for kind, network in trainer.named_children() if kind != 'clips']
    before = {kind: [p.clone() for p in network.parameters()] for kind, network in networks}
    losses = trainer.update(x_a, x_b)
    assert order == ['gen', 'dis']
    assert len(made) == 1 and given[0] is made[0]
    for kind, network in networks:
        assert any(not torch.equal(p, old) for p, old in zip(network.parameters(), before[kind], strict=True)), kind
    assert all(p.grad is None for p in trainer.parameters())
    assert all(torch.isfinite(loss) for loss in losses.values()) and trainer.bad_steps == 0


@pytest.mark.parametrize('name', BASELINES)
def test_updates_work_separately_and_change_only_their_own_networks(name):
    trainer, (x_a, x_b) = make(name), batch(2)
    gen, dis = ([p for network in trainer._parts()[kind].values() for p in network.parameters()]
                for kind in ('gen', 'dis'))
    for update, still in ((trainer.gen_update, dis), (trainer.dis_update, gen)):
        before = [p.clone() for p in still]
        update(x_a, x_b)
        assert all(torch.equal(p, old) for p, old in zip(still, before, strict=True))


def test_an_iteration_that_is_not_finite_changes_nothing():
    trainer, (x_a, x_b) = make('CycleGAN'), batch()
    before = [p.clone() for p in trainer.parameters()]
    trainer.update(x_a * float('nan'), x_b)
    assert all(torch.equal(p, old) for p, old in zip(trainer.parameters(), before, strict=True))
    assert trainer.bad_steps == 1 and trainer.bad_in_a_row == 1


def test_each_call_of_cyclegan_with_noise_differs():
    trainer, (x_a, _) = make('CycleGANNoise', gen={'dim': 4, 'dropout': 0}), batch()
    assert not torch.equal(trainer.into('b', x_a), trainer.into('b', x_a))
    torch.manual_seed(5)
    wanted = trainer.gen_b(x_a, torch.randn(1, 8))
    torch.manual_seed(5)
    assert torch.equal(trainer.into('b', x_a), wanted)


def test_the_kl_loss_is_the_sum_of_the_divergences():
    mean, log_variance = torch.randn(3, 8), torch.randn(3, 8)
    posterior = torch.distributions.Normal(mean, (0.5 * log_variance).exp())
    wanted = torch.distributions.kl_divergence(posterior, torch.distributions.Normal(0.0, 1.0)).sum()
    assert code_kl_loss(mean, log_variance).item() == pytest.approx(wanted.item(), rel=1e-5)


def test_bicyclegans_objective_is_its_formula_on_halves():
    trainer, (x_a, x_b) = make('BicycleGAN', gen={'dim': 4, 'enc_dim': 4, 'dropout': 0}, batch_size=4), batch(4)
    torch.manual_seed(3)
    fakes = trainer.translate(x_a, x_b)
    losses, objective = trainer.gen_losses(x_b, fakes)
    torch.manual_seed(3)
    mean, log_variance = trainer.enc_b(x_b[:2])
    z_encoded, z_random = mean + (log_variance / 2).exp() * torch.randn(2, 8), torch.randn(2, 8)
    x_encoded, x_random = trainer.gen_b(x_a[:2], z_encoded), trainer.gen_b(x_a[:2], z_random)
    assert torch.allclose(fakes['x_encoded'], x_encoded, atol=1e-6)
    assert torch.allclose(fakes['x_random'], x_random, atol=1e-6)

    def fooled(dis, images):
        return sum((scores - 1).square().mean() for scores in dis(images))

    wanted = (fooled(trainer.dis_b, x_encoded) + fooled(trainer.dis_b2, x_random) + 10 * l1(x_encoded, x_b[:2])
              + 0.01 * code_kl_loss(mean, log_variance) + 0.5 * l1(trainer.enc_b(x_random)[0], z_random))
    assert objective.item() == pytest.approx(wanted.item(), rel=1e-4)


def test_the_latent_loss_trains_only_the_generator():
    off = {'gan_w': 0, 'gan2_w': 0, 'recon_x_w': 0, 'kl_w': 0}
    trainer, (x_a, x_b) = make('BicycleGAN', **off), batch(2)
    _, objective = trainer.gen_losses(x_b, trainer.translate(x_a, x_b))
    objective.backward()
    assert not any(p.grad is not None and p.grad.any() for p in trainer.enc_b.parameters())
    assert any(p.grad is not None and p.grad.any() for p in trainer.gen_b.parameters())
    assert all(p.requires_grad for p in trainer.enc_b.parameters())


def test_each_discriminator_of_bicyclegan_sees_its_half():
    def losses_of(x_a, x_b):
        trainer = make('BicycleGAN', gen={'dim': 4, 'enc_dim': 4, 'dropout': 0})
        torch.manual_seed(3)
        return {name: loss.item() for name, loss in trainer.update(x_a, x_b).items()}

    (x_a, x_b), (y_a, y_b) = batch(2), batch(2, seed=2)
    first = losses_of(x_a, x_b)
    assert losses_of(torch.cat([x_a[:1], y_a[1:]]), x_b) == first   # the second half of A is not used
    other = losses_of(x_a, torch.cat([x_b[:1], y_b[1:]]))
    assert {name for name in first if first[name] != other[name]} == {'loss_dis_b2', 'loss_dis_total'}
    with pytest.raises(ValueError, match='batch of 3 pairs'):
        losses_of(*batch(3))


def test_the_learning_rate_is_constant_for_half_of_training_and_then_falls_linearly_to_0():
    config = tiny('CycleGAN', max_iter=100)
    del config['decay_start'], config['decay_end']
    assert check_config(config, 'CycleGAN') == []
    rates = [learning_rate(config, i) for i in range(100)]
    assert rates[:50] == [2e-4] * 50
    falls = [one - two for one, two in zip(rates[49:], rates[50:], strict=False)]
    assert falls == pytest.approx([2e-4 / 51] * 50)
    assert rates[-1] == pytest.approx(2e-4 / 51)
    assert learning_rate(config, 10_000) == 0
    trainer = make('CycleGAN', decay_start=0, decay_end=3)
    for wanted in (1 - 1 / 4, 1 - 2 / 4):
        trainer.update_learning_rate()
        rates = {group['lr'] for opt in (trainer.gen_opt, trainer.dis_opt) for group in opt.param_groups}
        assert rates == {2e-4 * wanted}


def test_the_optimizers_are_as_published():
    for name in BASELINES:
        for optimizer in make(name)._optimizers().values():
            group = optimizer.param_groups[0]
            assert (group['lr'], group['betas'], group['weight_decay']) == (2e-4, (0.5, 0.999), 0)


@pytest.mark.parametrize('name', BASELINES)
@pytest.mark.slow
def test_compiled_networks_learn_the_same(name):
    """aot_eager traces as the compiler does, without generating kernels; dropout is off."""
    gen = {**GEN[name], 'dropout': 0}
    losses = []
    for compiled in (False, True):
        trainer = make(name, gen=dict(gen))
        if compiled:
            trainer.compile_step(backend='aot_eager')
        torch.manual_seed(4)
        losses.append(torch.stack(list(trainer.update(*batch(2)).values())))
    assert torch.allclose(*losses, rtol=1e-4, atol=1e-6)


# -- configs --------------------------------------------------------------------------------------------------------

def test_a_short_config_gets_the_published_values():
    short = {'max_iter': 100, 'new_size': 286, 'data_root': 'somewhere'}
    found = {name: {**short} for name in BASELINES}
    for name in BASELINES:
        assert check_config(found[name], name) == []
    cycle, noise, bicycle = (found[name] for name in BASELINES)
    assert (cycle['gan_w'], cycle['recon_x_cyc_w'], cycle['identity_w'], cycle['pool_size']) == (1, 10, 5, 50)
    assert cycle['gen'] == {'dim': 64, 'n_downsample': 2, 'n_res': 9, 'dropout': 0.5}
    assert cycle['dis'] == {'dim': 64, 'n_layer': 3, 'num_scales': 1, 'gan_type': 'lsgan'}
    assert (cycle['init'], cycle['init_gain'], cycle['batch_size'], cycle['decay_start']) == ('gaussian', 0.02, 1, 50)
    assert noise['gen']['n_downsample'] == 8 and noise['gen']['noise_dim'] == 8
    weights = [bicycle[key] for key in ('gan_w', 'gan2_w', 'recon_x_w', 'latent_w', 'kl_w')]
    assert weights == [1, 1, 10, 0.5, 0.01] and bicycle['batch_size'] == 2 and bicycle['dis']['num_scales'] == 2
    assert found['CycleGAN']['gen'] is not found['CycleGANNoise']['gen']


@pytest.mark.parametrize('name, changes, said', [
    ('CycleGAN', {'input_dim_a': 1}, 'identity_w: 5 requires equal input_dim_a'),
    ('BicycleGAN', {'batch_size': 3}, 'batch_size: 3 is not even'),
    ('CycleGAN', {'cuda_graphs': True}, 'cuda_graphs: true (YAML reads yes and on as that) is not one of false'),
    ('CycleGAN', {'recon_s_w': 1}, 'recon_s_w: unknown key'),
    ('BicycleGAN', {'pool_size': 50}, 'pool_size: unknown key'),
    ('CycleGAN', {'lr_policy': 'step'}, "lr_policy: 'step' is not one of linear, constant"),
    ('CycleGANNoise', {'gen': {'n_downsample': 6}}, 'crop_image_height: 32 is not a multiple of 64'),
    ('CycleGAN', {'dis': {'n_layer': 4}}, 'crop_image_height: 32 is too small for the networks, which need'),
    ('CycleGAN', {'decay_start': 9}, 'decay_start: 9 is after decay_end 8'),
    ('CycleGAN', {'max_iter': 'many'}, "max_iter: 'many' is not a whole number"),
    ('CycleGAN', {'crop_image_width': 64, 'crop_image_height': 64}, 'crop_image_width: 64 is larger than new_size 36'),
    ('CycleGAN', {'max_iter': None}, 'max_iter: missing'),
    ('CycleGANNoise', {'gen': {'n_res': 4}}, 'gen.n_res: unknown key')])   # a key of another method, and a default
def test_faults_of_a_baselines_config_are_named(name, changes, said):
    config = {**TINY, 'data_root': 'somewhere', 'gen': dict(GEN[name]), 'dis': dict(TINY['dis']), **changes}
    config = {key: value for key, value in config.items() if value is not None}
    assert any(fault.startswith(said) for fault in check_config(config, name)), check_config(config, name)


@pytest.mark.parametrize('name', BASELINES)
@pytest.mark.parametrize('size', [32, 48, 64])
def test_a_valid_config_can_train(name, size):
    config = {**TINY, 'data_root': 'x', 'gen': dict(GEN[name]), 'dis': {'dim': 4}, 'new_size': size,
              'crop_image_height': size, 'crop_image_width': size}
    if check_config(config, name):
        assert size == 32 and name == 'BicycleGAN'   # two scales of three layers need 48
        return
    images = torch.rand(2, 3, size, size)
    assert all(torch.isfinite(loss) for loss in trainer_class(name)(config).update(images, images).values())


def test_the_registry_names_existing_classes():
    for name, method in METHODS.items():
        assert trainer_class(name).__name__ == method.trainer.split('.')[-1]
        assert translator_class(name).__name__ == method.translator.split('.')[-1]
    assert trainer_class('CycleGANNoise') is CycleGANNoise_Trainer
    assert (trainer_class('CycleGAN'), trainer_class('BicycleGAN')) == (CycleGAN_Trainer, BicycleGAN_Trainer)


# -- pairs ----------------------------------------------------------------------------------------------------------

@pytest.fixture(scope='module')
def drawn(tmp_path_factory):
    root = tmp_path_factory.mktemp('drawn')
    for name, more in (('paired', ['--paired']), ('apart', [])):
        arguments = ['--output', str(root / name), '--size', '64', '--train', '5', '--test', '3', *more]
        assert draw_demo_data.main(arguments) == 0
    return root


def test_pairs_are_flipped_and_cropped_equally(tmp_path):
    noise = torch.randint(0, 256, (40, 44, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)).numpy()
    for folder in 'ab':
        for i in range(3):
            path = tmp_path / folder / f'sub{i}' / f'{9 - i if folder == "a" else 7 + i}.png'   # in another order
            path.parent.mkdir(parents=True)
            Image.fromarray(noise + (int(path.stem) if folder == 'a' else int(path.stem))).save(path)
    sets = [ImageDataset(sorted((tmp_path / folder).rglob('*.png')), 3, Transform(0, (32, 32), augment=True))
            for folder in 'ab']
    align(*sets)
    assert [[path.name for path in one.paths] for one in sets] == [['7.png', '8.png', '9.png']] * 2
    pairs, seen = PairDataset(*sets), set()
    for seed in range(8):
        one, two = pairs[Draw(1, seed)].split(3)
        assert torch.equal(one, two)
        seen.add(one.sum().item())
    assert len(seen) > 4
    assert [part.shape for part in next(pairs.split([torch.zeros(2, 6, 4, 4)]))] == [(2, 3, 4, 4)] * 2


def test_a_pair_with_a_broken_file_or_of_two_sizes_is_reported_and_skipped(drawn, tmp_path, capsys):
    for letter in 'AB':
        shutil.copytree(drawn / 'paired' / f'train{letter}', tmp_path / letter)
    (tmp_path / 'B' / '00001.jpg').write_bytes(b'nothing')
    Image.new('RGB', (64, 80)).save(tmp_path / 'A' / '00002.jpg')
    sets = [ImageDataset(sorted((tmp_path / letter).iterdir()), 3, Transform(64)) for letter in 'AB']
    align(*sets)
    good = {tuple(PairDataset(*sets)[Draw(i, 0)].flatten()[:4000].tolist()) for i in (0, 3, 4)}
    assert all(tuple(PairDataset(*sets)[Draw(i, 0)].flatten()[:4000].tolist()) in good for i in (1, 2))
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 2 and '00001.jpg: cannot be read' in said[0] and 'differs in size from its' in said[1]
    assert sets[0].broken.tolist() == [False, True, True, False, False]


def refusal(capsys, main, *arguments) -> str:
    with pytest.raises(SystemExit) as exit_info:
        run_command(lambda: main([str(argument) for argument in arguments]))
    lines = capsys.readouterr().err.splitlines()
    assert exit_info.value.code == 2 and len(lines) == 1, lines
    return lines[0]


def write(folder, name: str, data, **changes):
    path = folder / 'tiny.yaml'
    config = {**TINY, 'data_root': str(data), 'gen': GEN[name], **({} if name == 'BicycleGAN' else {'pool_size': 2}),
              **changes}
    path.write_text(yaml.safe_dump(config))
    return path


def test_folders_that_are_not_pairs_are_refused(drawn, tmp_path, capsys):
    shutil.copytree(drawn / 'paired', tmp_path / 'data')
    config = write(tmp_path, 'BicycleGAN', tmp_path / 'data')
    arguments = ('--config', config, '--trainer', 'BicycleGAN', '--output_path', tmp_path / 'out', '--device', 'cpu')
    line = refusal(capsys, train_command.main, *arguments, '--data_root', drawn / 'apart')
    assert 'drawn of different objects' in line
    (tmp_path / 'data/trainB/00002.jpg').rename(tmp_path / 'data/trainB/other.jpg')
    line = refusal(capsys, train_command.main, *arguments)
    assert 'train images of A and B are not pairs: 00002.jpg of A have no counterpart with the same name in B' in line
    (tmp_path / 'data/trainA/sub').mkdir()
    shutil.copy(tmp_path / 'data/trainA/00000.jpg', tmp_path / 'data/trainA/sub/00000.jpg')
    assert '2 images of A are named 00000.jpg' in refusal(capsys, train_command.main, *arguments)
    assert not (tmp_path / 'out').exists()


# -- runs -----------------------------------------------------------------------------------------------------------

@pytest.fixture(scope='module')
def runs(drawn, tmp_path_factory) -> dict:
    """Each baseline, trained for eight iterations."""
    found = {}
    for name in BASELINES:
        folder = tmp_path_factory.mktemp(name)
        config = write(folder, name, drawn / 'paired')
        arguments = ['--config', str(config), '--trainer', name, '--output_path', str(folder), '--device', 'cpu',
                     '--seed', '7']
        assert train_command.main(arguments) == 0
        found[name] = {'folder': folder, 'config': config,
                       'checkpoint': folder / 'outputs/tiny/checkpoints/gen_00000008.pt'}
    return found


@pytest.mark.parametrize('name, num_workers', [('CycleGAN', 0), ('CycleGANNoise', 0), ('BicycleGAN', 0),
                                               ('BicycleGAN', 2)])
def test_a_resumed_run_is_the_uninterrupted_one_bit_for_bit(runs, drawn, tmp_path, name, num_workers):
    config = write(tmp_path, name, drawn / 'paired', num_workers=num_workers)
    arguments = ['--config', str(config), '--trainer', name, '--output_path', str(tmp_path), '--device', 'cpu',
                 '--seed', '7']
    assert train_command.main([*arguments, '--max_iter', '5']) == 0
    if name != 'BicycleGAN':
        memory = torch.load(tmp_path / 'outputs/tiny/checkpoints/state_00000005.pt')['memory']
        assert {key: tuple(value.shape) for key, value in memory.items()} == {key: (2, 3, 32, 32) for key in 'ab'}
    assert train_command.main([*arguments[:-2], '--resume']) == 0
    assert_same_run(tmp_path, runs[name]['folder'], 8)


def test_resuming_restores_the_pool(runs, drawn, tmp_path):
    """Without the content of the pool, or with that of another iteration, a resumed run differs."""
    name = 'CycleGAN'
    config = write(tmp_path, name, drawn / 'paired')
    arguments = ['--config', str(config), '--trainer', name, '--output_path', str(tmp_path), '--device', 'cpu']
    assert train_command.main([*arguments, '--max_iter', '5', '--seed', '7']) == 0
    path = tmp_path / 'outputs/tiny/checkpoints/state_00000005.pt'
    state = torch.load(path)
    torch.save({key: value for key, value in state.items() if key not in ('memory', 'seal')}, path)
    assert train_command.main([*arguments, '--resume']) == 0
    ours, theirs = (dict(tensors(torch.load(folder / 'outputs/tiny/checkpoints/dis_00000008.pt')))
                    for folder in (tmp_path, runs[name]['folder']))
    assert any(not torch.equal(value, theirs[key]) for key, value in ours.items())


def test_a_run_writes_pictures_for_each_supported_direction(runs):
    for name in BASELINES:
        names = {path.name for path in (runs[name]['folder'] / 'outputs/tiny/images').iterdir()}
        assert {f'gen_a2b_{which}.jpg' for which in ('train_current', 'test_00000004', 'train_00000008')} <= names
        assert any('b2a' in one for one in names) == METHODS[name].both_ways
        page = (runs[name]['folder'] / 'outputs/tiny/index.html').read_text()
        assert trainer_class(name).rows_of_sample[1].replace("'", '&#x27;') in page


def test_training_can_start_from_a_checkpoint(runs, drawn, tmp_path):
    config = write(tmp_path, 'BicycleGAN', drawn / 'paired')
    assert train_command.main(['--config', str(config), '--trainer', 'BicycleGAN', '--output_path', str(tmp_path),
                               '--device', 'cpu', '--max_iter', '1', '--init_from',
                               str(runs['BicycleGAN']['checkpoint'])]) == 0


def test_several_processes_are_refused(runs, monkeypatch, capsys):
    monkeypatch.setenv('WORLD_SIZE', '2')
    monkeypatch.setattr('core.distributed.leave', lambda status: None)
    line = refusal(capsys, train_command.main, '--config', runs['CycleGAN']['config'], '--trainer', 'CycleGAN')
    assert 'does not support distributed training' in line


# -- translating ----------------------------------------------------------------------------------------------------

def translator(runs, name: str, a2b: bool = True):
    config = load_config(runs[name]['config'], name)
    return make_translator(config, str(runs[name]['checkpoint']), a2b, name, CPU)


@pytest.mark.parametrize('name', BASELINES)
def test_outputs_depend_only_on_their_own_style(runs, name):
    model = translator(runs, name)
    assert model.samples
    torch.manual_seed(0)
    x, styles = torch.rand(2, 3, 32, 32) * 2 - 1, model.draw_styles(3)
    together = model.translate_batch(x, styles)
    assert together.shape == (2, 3, 3, 32, 32)
    for i in range(2):
        for j in range(3):
            assert torch.allclose(model.translate(x[i:i + 1], styles[j:j + 1])[0], together[i, j], atol=1e-5)
    assert not torch.allclose(together[0, 0], together[0, 1], atol=1e-4)


def test_dropout_is_on_at_test_for_cyclegan_with_noise(tmp_path):
    config = tiny('CycleGANNoise', new_size=64, crop_image_height=64, crop_image_width=64)
    assert config['gen']['n_downsample'] == 6   # five levels would have no dropout, as eight have it in three
    networks = translator_class('CycleGANNoise').networks(config, 'CycleGANNoise')
    torch.save({name: network.state_dict() for name, network in networks.items()}, tmp_path / 'gen.pt')
    model = make_translator(config, str(tmp_path / 'gen.pt'), True, 'CycleGANNoise', CPU)
    styles = model.draw_styles(3)
    styles[:2, :-1] = styles[:1, :-1]   # the same noise, other seeds of dropout
    styles[2] = styles[0]
    found = model.translate(torch.rand(1, 3, 64, 64), styles)
    assert not torch.equal(found[0], found[1]) and torch.equal(found[0], found[2])


def test_dropout_is_off_at_test_for_bicyclegan(runs):
    x = torch.rand(1, 3, 32, 32)
    bicycle = translator(runs, 'BicycleGAN')
    code = bicycle.draw_styles(1)
    assert torch.equal(bicycle.translate(x, code), bicycle.translate(x, code))
    state = torch.load(runs['BicycleGAN']['checkpoint'])
    gen = UNetGenerator(3, 3, bicycle.config['gen'], True).eval()
    gen.load_state_dict(state['b'])
    assert torch.allclose(gen(x, code.flatten(1)), bicycle.translate(x, code), atol=1e-6)


def test_cyclegan_without_dropout_has_one_output(runs, drawn, tmp_path):
    config = write(tmp_path, 'CycleGAN', drawn / 'paired', gen={**GEN['CycleGAN'], 'dropout': 0})
    model = make_translator(load_config(config, 'CycleGAN'), str(runs['CycleGAN']['checkpoint']), True, 'CycleGAN', CPU)
    assert not model.samples
    test_command.main(['--config', str(config), '--trainer', 'CycleGAN', '--device', 'cpu', '--checkpoint',
                       str(runs['CycleGAN']['checkpoint']), '--input', str(drawn / 'paired/testA/00000.jpg'),
                       '--output_folder', str(tmp_path / 'out')])
    assert {path.name for path in (tmp_path / 'out').iterdir()} == {'output.jpg', 'input.jpg'}


@pytest.mark.parametrize('size', [(40, 32), (20, 70)])
@pytest.mark.parametrize('name', BASELINES)
def test_outputs_have_the_size_of_their_inputs(runs, name, size):
    model = translator(runs, name)
    assert model.translate(torch.rand(1, 3, *size), model.draw_styles(1)).shape == (1, 3, *size)


@pytest.mark.parametrize('name', BASELINES)
def test_the_commands_translate_and_measure(runs, drawn, tmp_path, capsys, name):
    common = ['--config', str(runs[name]['config']), '--trainer', name, '--device', 'cpu', '--checkpoint',
              str(runs[name]['checkpoint'])]
    picture = str(drawn / 'paired/testA/00000.jpg')
    test_command.main([*common, '--input', picture, '--output_folder', str(tmp_path / 'one'), '--num_style', '2'])
    assert {path.name for path in (tmp_path / 'one').iterdir()} == {'output000.jpg', 'output001.jpg', 'input.jpg'}
    for size in '13':
        test_batch_command.main([*common, '--input_folder', str(drawn / 'paired/testA'), '--output_folder',
                                 str(tmp_path / size / 'many'), '--num_style', '2', '--batch_size', size,
                                 '--output_only'])
    pictures = sorted(path.relative_to(tmp_path / '1') for path in (tmp_path / '1').rglob('*.jpg'))
    assert len(pictures) == 6
    # Written as JPEG, so that a rounding difference can become one level.
    for path in pictures:
        one, two = (np.asarray(Image.open(tmp_path / size / path)).astype(float) for size in '13')
        assert np.abs(one - two).max() <= 3
    evaluate_command.main([*common, '--output_folder', str(tmp_path / 'figures'), '--num_inputs', '3'])
    said = capsys.readouterr().out
    assert 'colour diversity' in said and 'reconstruction and content codes: left out' in said
    assert ('colour error, guided' in said) == METHODS[name].guided


def test_unsupported_features_of_a_method_are_refused(runs, drawn, tmp_path, capsys):
    def of(name):
        return ('--config', runs[name]['config'], '--trainer', name, '--device', 'cpu', '--checkpoint',
                runs[name]['checkpoint'], '--output_folder', tmp_path / 'out', '--input',
                drawn / 'paired/testA/00000.jpg')

    picture = drawn / 'paired/testB/00000.jpg'
    assert 'CycleGAN has no styles' in refusal(capsys, test_command.main, *of('CycleGAN'), '--style', picture)
    assert '--a2b 0: BicycleGAN' in refusal(capsys, test_command.main, *of('BicycleGAN'), '--a2b', '0')
    assert '--encoder_noise: only UNIT supports it' in refusal(capsys, test_command.main, *of('CycleGAN'),
                                                               '--encoder_noise')
    assert '--compile: not supported for' in refusal(capsys, test_command.main, *of('CycleGAN'), '--compile')
    for name, other in (('CycleGAN', 'BicycleGAN'), ('BicycleGAN', 'CycleGANNoise')):
        mixed = [runs[other]['checkpoint'] if part == runs[name]['checkpoint'] else part for part in of(name)]
        line = refusal(capsys, test_command.main, *mixed)
        assert f'this is a generator of {other}' in line and f'--trainer {other}' in line
    dis = [str(part).replace('gen_0', 'dis_0') for part in of('CycleGAN')]
    assert 'this is a discriminator of CycleGAN' in refusal(capsys, test_command.main, *dis)
    assert not (tmp_path / 'out').exists()


# -- UNIT's noise ---------------------------------------------------------------------------------------------------

def test_unit_can_sample_outputs_with_encoder_noise(tmp_path, capsys):
    from networks import VAEGen
    config = load_config('configs/demo_drawn_small_unit.yaml', 'UNIT')
    config['gen'].update(dim=4, n_res=1)
    torch.manual_seed(0)
    gens = {name: VAEGen(config[f'input_dim_{name}'], config['gen']) for name in 'ab'}
    torch.save({name: gen.state_dict() for name, gen in gens.items()}, tmp_path / 'gen.pt')
    plain = make_translator(config, str(tmp_path / 'gen.pt'), True, 'UNIT', CPU)
    noisy = make_translator(config, str(tmp_path / 'gen.pt'), True, 'UNIT', CPU, encoder_noise=True)
    assert not plain.samples and noisy.samples
    x, seeds = torch.rand(1, 1, 32, 32), noisy.draw_styles(3)
    found = noisy.translate(x, seeds)
    hiddens = gens['a'].enc(x)
    for i, seed in enumerate(seeds.flatten().tolist()):
        noise = torch.randn(hiddens.shape[1:], generator=torch.Generator().manual_seed(int(seed)))
        assert torch.allclose(found[i], gens['b'].decode(hiddens + noise)[0], atol=1e-5)
    assert not torch.allclose(found[0], found[1], atol=1e-3)
    (tmp_path / 'unit.yaml').write_text(yaml.safe_dump(config))
    Image.new('L', (64, 64)).save(tmp_path / 'in.png')
    test_command.main(['--config', str(tmp_path / 'unit.yaml'), '--trainer', 'UNIT', '--checkpoint',
                       str(tmp_path / 'gen.pt'), '--input', str(tmp_path / 'in.png'), '--output_folder',
                       str(tmp_path / 'out'), '--device', 'cpu', '--encoder_noise', '--num_style', '2'])
    assert {path.name for path in (tmp_path / 'out').iterdir()} == {'output000.jpg', 'output001.jpg', 'input.jpg'}


