"""Network blocks against their formulas, and properties of forward, copies and initialization."""
import copy

import pytest
import torch
import torch.nn.functional as F
from parity import config_with

from core import fast_ops
from networks import (
    AdaINGen,
    AdaptiveInstanceNorm2d,
    Conv2dBlock,
    LayerNorm,
    MsImageDis,
    SpectralNorm,
    UpsampleConv2dBlock,
    VAEGen,
    Vgg16,
    init_weights,
    make_norm,
)

GEN, DIS = config_with()['gen'], config_with()['dis']


def test_adain_takes_the_shift_first_and_the_scale_as_it_is():
    x, adain = torch.randn(2, 3, 5, 7), torch.randn(2, 2, 3)
    deviation = (x.var((2, 3), unbiased=False, keepdim=True) + 1e-5).sqrt()
    shift, scale = adain[:, 0, :, None, None], adain[:, 1, :, None, None]
    wanted = (x - x.mean((2, 3), keepdim=True)) / deviation * scale + shift
    assert torch.allclose(AdaptiveInstanceNorm2d(3)(x, adain), wanted, atol=1e-5)


def test_adain_statistics_are_in_the_state_dict_and_never_change():
    norm = AdaptiveInstanceNorm2d(3)
    norm(torch.randn(2, 3, 5, 7), torch.randn(2, 2, 3))
    assert torch.equal(norm.state_dict()['running_mean'], torch.zeros(3))
    assert torch.equal(norm.state_dict()['running_var'], torch.ones(3))


@pytest.mark.parametrize('batch', [1, 3])
def test_layer_norm_divides_by_the_unbiased_deviation_of_each_sample(batch):
    norm, x = LayerNorm(4), 5 + 3 * torch.randn(batch, 4, 6, 5)
    flat = x.flatten(1)
    wanted = (flat - flat.mean(1, keepdim=True)) / (flat.std(1, keepdim=True) + 1e-5)
    wanted = wanted.view_as(x) * norm.gamma.view(1, -1, 1, 1) + norm.beta.view(1, -1, 1, 1)
    assert torch.allclose(norm(x), wanted, atol=1e-5)


def test_layer_norm_starts_with_gamma_between_0_and_1_and_beta_0():
    norm = LayerNorm(1000)
    assert 0 <= norm.gamma.min() < 0.05 and 0.95 < norm.gamma.max() <= 1
    assert not norm.beta.any()


@pytest.mark.parametrize('training', [True, False])
def test_spectral_norm_does_one_power_iteration_in_each_forward(training):
    conv = torch.nn.Conv2d(3, 4, 3)
    weight = conv.weight.detach().clone()
    norm, x = SpectralNorm(conv).train(training), torch.randn(1, 3, 8, 8)
    u, matrix = conv.weight_u.detach().clone(), weight.flatten(1)
    for _ in range(2):
        v = F.normalize(matrix.t() @ u, dim=0)
        u = F.normalize(matrix @ v, dim=0)
        wanted = F.conv2d(x, weight / (u @ matrix @ v), conv.bias)
        assert torch.allclose(norm(x), wanted, atol=1e-5)


def test_spectral_norm_can_run_twice_before_going_back():
    norm, x = SpectralNorm(torch.nn.Conv2d(3, 4, 3)), torch.randn(1, 3, 8, 8)
    (norm(x).sum() + norm(2 * x).sum()).backward()
    assert norm.module.weight_bar.grad.isfinite().all()
    assert norm.module.weight_u.grad is None


def test_spectral_norm_keys_are_the_originals():
    keys = list(Conv2dBlock(3, 4, 3, 1, 1, norm='sn').state_dict())
    assert keys == ['conv.module.bias', 'conv.module.weight_u', 'conv.module.weight_v', 'conv.module.weight_bar']


@pytest.mark.parametrize('pad_type', ['reflect', 'replicate', 'zero'])
def test_paddings(pad_type):
    block, x = Conv2dBlock(2, 3, 3, 1, 1, activ='none', pad_type=pad_type), torch.randn(1, 2, 6, 6)
    mode = {'zero': 'constant'}.get(pad_type, pad_type)
    wanted = F.conv2d(F.pad(x, (1, 1, 1, 1), mode=mode), block.conv.weight, block.conv.bias)
    assert torch.allclose(block(x), wanted, atol=1e-6)


@pytest.mark.parametrize('activ, function', [
    ('relu', F.relu), ('lrelu', lambda x: F.leaky_relu(x, 0.2)), ('prelu', lambda x: F.leaky_relu(x, 0.25)),
    ('selu', F.selu), ('tanh', torch.tanh), ('none', lambda x: x)])
def test_activations(activ, function):
    block, x = Conv2dBlock(2, 3, 1, 1, 0, activ=activ), torch.randn(1, 2, 6, 6)
    assert torch.allclose(block(x), function(F.conv2d(x, block.conv.weight, block.conv.bias)), atol=1e-6)


@pytest.mark.parametrize('arguments', [{'norm': 'gn'}, {'activ': 'gelu'}, {'pad_type': 'circular'}])
def test_an_unknown_choice_is_refused_with_the_choices(arguments):
    with pytest.raises(ValueError, match='is not one of .*none|is not one of .*zero'):
        Conv2dBlock(2, 3, 3, 1, 1, **arguments)


@pytest.mark.parametrize('n_downsample', [1, 2, 3])
def test_munit_generator_shapes(n_downsample):
    gen = AdaINGen(1, {**GEN, 'n_downsample': n_downsample})
    content, style = gen.encode(torch.rand(2, 1, 48, 64))
    step = 2 ** n_downsample
    assert content.shape == (2, 8 * step, 48 // step, 64 // step) and style.shape == (2, 8, 1, 1)
    images = gen.decode(content, style)
    assert images.shape == (2, 1, 48, 64) and images.abs().max() <= 1


def test_decode_uses_the_mlp_in_module_order():
    """Splitting the MLP's output by hand and passing it to the layers one by one gives the result of decode."""
    gen = AdaINGen(3, GEN)
    content, style = gen.encode(torch.rand(1, 3, 32, 32))
    numbers, x = gen.mlp(style)[0], content
    for block in gen.dec.model[0].model:
        y = x
        for layer in block.model:
            shift, scale, numbers = numbers[:32], numbers[32:64], numbers[64:]
            y = F.instance_norm(layer.conv(layer.pad(y))) * scale.view(1, -1, 1, 1) + shift.view(1, -1, 1, 1)
            y = layer.activation(y)
        x = x + y
    assert numbers.numel() == 0
    assert torch.allclose(gen.dec.model[1:](x), gen.decode(content, style), atol=1e-4)


def test_a_batch_of_styles_equals_separate_calls():
    gen = AdaINGen(3, GEN)
    content, styles = gen.enc_content(torch.rand(1, 3, 32, 32)), torch.randn(3, 8, 1, 1)
    together = gen.decode(content.expand(3, -1, -1, -1), styles)
    alone = torch.cat([gen.decode(content, style[None]) for style in styles])
    assert torch.allclose(together, alone, atol=1e-5)


def test_a_generator_can_be_copied_after_a_decode_that_tracked_gradients():
    gen = AdaINGen(3, GEN)
    x = torch.rand(1, 3, 32, 32)
    wanted = gen(x)
    assert torch.equal(copy.deepcopy(gen)(x), wanted)


def test_unit_generator_draws_noise_only_while_training():
    params = {key: value for key, value in GEN.items() if key not in ('mlp_dim', 'style_dim')}
    gen, x = VAEGen(3, params), torch.rand(1, 3, 32, 32)
    assert not torch.equal(gen(x), gen(x))
    gen.eval()
    assert torch.equal(gen(x), gen(x))


def test_unit_encode_gives_noise_of_the_seed():
    gen = VAEGen(3, GEN)
    torch.manual_seed(3)
    hiddens, noise = gen.encode(torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0)))
    torch.manual_seed(3)
    assert torch.equal(noise, torch.randn(hiddens.shape))


def test_discriminator_sees_an_image_pyramid():
    dis, x = MsImageDis(3, DIS), torch.rand(2, 3, 64, 64)
    scores = dis(x)
    assert [tuple(score.shape) for score in scores] == [(2, 1, 4, 4), (2, 1, 2, 2), (2, 1, 1, 1)]
    for score, cnn in zip(scores, dis.cnns, strict=True):
        assert torch.allclose(score, cnn(x))
        x = F.avg_pool2d(x, 3, stride=2, padding=1, count_include_pad=False)


@pytest.mark.parametrize('norm', ['none', 'bn', 'in', 'ln', 'sn'])
def test_the_first_block_of_a_discriminator_has_no_norm(norm):
    cnn = MsImageDis(3, {**DIS, 'norm': norm}).cnns[0]
    assert isinstance(cnn[0].norm, torch.nn.Identity) and isinstance(cnn[0].conv, torch.nn.Conv2d)
    assert type(cnn[1].norm) is type(make_norm(norm, 1)) and isinstance(cnn[1].conv, SpectralNorm) == (norm == 'sn')


def test_vgg_refuses_to_work_without_weights():
    with pytest.raises(RuntimeError, match='no trained weights'):
        Vgg16()(torch.zeros(1, 3, 32, 32))


@pytest.mark.parametrize('init, deviation', [
    ('gaussian', 0.02), ('kaiming', (2 / 450) ** 0.5), ('xavier', 2 ** 0.5 * (2 / (450 + 900)) ** 0.5),
    ('orthogonal', 2 ** 0.5 * (1 / 450) ** 0.5)])
def test_initialisation(init, deviation):
    conv = torch.nn.Conv2d(50, 100, 3)
    conv.apply(init_weights(init))
    assert conv.weight.std().item() == pytest.approx(deviation, rel=0.05)
    assert not conv.bias.any()


def test_default_initialisation_keeps_pytorchs_weights_and_clears_biases():
    linear = torch.nn.Linear(5, 5)
    weight = linear.weight.detach().clone()
    linear.apply(init_weights('default'))
    assert torch.equal(linear.weight, weight) and not linear.bias.any()


def test_an_unknown_initialisation_is_refused():
    with pytest.raises(ValueError, match='gaussian, kaiming, xavier, orthogonal, default'):
        init_weights('he')


@pytest.mark.parametrize('pad_type', ['reflect', 'replicate', 'zero'])
@pytest.mark.parametrize('size', [(2, 2), (5, 3), (8, 16)])
def test_upsampling_and_convolution_in_one_are_the_two_after_each_other(pad_type, size):
    block, x = UpsampleConv2dBlock(6, 4, 'none', pad_type), torch.randn(2, 6, *size, requires_grad=True)
    wanted = block.conv(block.pad(F.interpolate(x, scale_factor=2)))
    found = fast_ops.upsample_and_convolve(x, block.conv.weight, block.conv.bias, block.taps, pad_type)
    assert torch.allclose(found, wanted, atol=1e-5)

    direction = torch.randn_like(wanted)
    inputs = (x, block.conv.weight, block.conv.bias)
    for a, b in zip(*(torch.autograd.grad((y * direction).sum(), inputs) for y in (found, wanted)), strict=True):
        assert torch.allclose(a, b, atol=1e-4)
