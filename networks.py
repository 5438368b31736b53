"""The networks: generators, discriminator, their parts, and VGG features, from whole to part.

The modules of a generator, read from left to right (paper, section 5.1; sizes for the standard configuration):

    x (N, 3, 256, 256) -> enc_content -> c (N, 256, 64, 64) ---------------------> dec -> x' (N, 3, 256, 256)
                       -> enc_style   -> s (N, 8, 1, 1) -> mlp -> AdaIN parameters --^

Names and order of the modules are a contract: they are the keys of the original's checkpoints, and an optimizer
file is matched to the parameters by position. That is why some modules wrap a single `model`.
"""
import functools
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from core import fast_ops
from core.noise import gaussian_noise
from core.precision import without_autocast

PADDINGS = {'reflect': lambda padding: ReflectionPad2d(padding), 'replicate': nn.ReplicationPad2d, 'zero': nn.ZeroPad2d}
ACTIVATIONS = {
    'relu': lambda: nn.ReLU(inplace=True),
    'lrelu': lambda: nn.LeakyReLU(0.2, inplace=True),
    'prelu': nn.PReLU,
    'selu': lambda: nn.SELU(inplace=True),
    'tanh': nn.Tanh,
    'none': nn.Identity,
}
NORMS = ('none', 'bn', 'in', 'ln', 'adain', 'sn')
INITS = ('gaussian', 'kaiming', 'xavier', 'orthogonal', 'default')
STYLE_HALVINGS = 4  # as in the original: always four, whatever n_downsample is


def pick(table: Any, name: str, what: str) -> Any:
    """The entry `name` of a table or tuple of choices; ValueError that lists the choices if there is none."""
    if name not in table:
        raise ValueError(f'{what}: {name!r} is not one of {", ".join(table)}')
    return table[name] if isinstance(table, dict) else name


# ---------------------------------------------------------------------------------------------------------------------
# Generators and discriminator
# ---------------------------------------------------------------------------------------------------------------------

class AdaINGen(nn.Module):
    """MUNIT's generator of one domain: an auto-encoder with content code and style code (paper, section 3.2).

    Args:
        input_dim: channels of an image.
        params: the config's `gen` section.
    """

    def __init__(self, input_dim: int, params: dict):
        super().__init__()
        dim, style_dim, n_downsample = params['dim'], params['style_dim'], params['n_downsample']
        n_res, activ, pad_type = params['n_res'], params['activ'], params['pad_type']

        self.enc_style = StyleEncoder(STYLE_HALVINGS, input_dim, dim, style_dim, 'none', activ, pad_type)
        self.enc_content = ContentEncoder(n_downsample, n_res, input_dim, dim, 'in', activ, pad_type)
        self.dec = Decoder(n_downsample, n_res, self.enc_content.output_dim, input_dim, 'adain', activ, pad_type)
        self.mlp = MLP(style_dim, self.dec.num_adain_params, params['mlp_dim'], 3, activ)
        if params.get('spectral_norm', False):
            add_spectral_norm(self)

    def forward(self, images: Tensor) -> Tensor:
        """Reconstruct images (N, C, H, W) within the domain."""
        content, style = self.encode(images)
        return self.decode(content, style)

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Images (N, C, H, W) in [-1, 1] -> content (N, dim·2^n, H/2^n, W/2^n) and style (N, style_dim, 1, 1)."""
        return self.enc_content(images), self.enc_style(images)

    def decode(self, content: Tensor, style: Tensor) -> Tensor:
        """Content (N, C', H', W') and style (N, style_dim, 1, 1) -> images (N, C, H, W) in [-1, 1]."""
        return self.dec(content, self.mlp(style))


class VAEGen(nn.Module):
    """UNIT's generator of one domain: a variational auto-encoder whose posterior has unit variance.

    Args:
        input_dim: channels of an image.
        params: the config's `gen` section (`mlp_dim` and `style_dim` are not used).
    """

    def __init__(self, input_dim: int, params: dict):
        super().__init__()
        dim, n_downsample = params['dim'], params['n_downsample']
        n_res, activ, pad_type = params['n_res'], params['activ'], params['pad_type']

        self.enc = ContentEncoder(n_downsample, n_res, input_dim, dim, 'in', activ, pad_type)
        self.dec = Decoder(n_downsample, n_res, self.enc.output_dim, input_dim, 'in', activ, pad_type)
        if params.get('spectral_norm', False):
            add_spectral_norm(self)

    def forward(self, images: Tensor) -> Tensor:
        """Reconstruct images (N, C, H, W) within the domain; with the posterior's noise while training."""
        hiddens, noise = self.encode(images)
        return self.decode(hiddens + noise if self.training else hiddens)

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Images (N, C, H, W) -> mean of the posterior (N, dim·2^n, H/2^n, W/2^n), and noise ~ N(0, 1) of its shape."""
        hiddens = self.enc(images)
        return hiddens, gaussian_noise(hiddens.shape, hiddens.device)

    def decode(self, hiddens: Tensor) -> Tensor:
        """Hiddens (N, C', H', W') -> images (N, C, H, W) in [-1, 1]."""
        return self.dec(hiddens)


class MsImageDis(nn.Module):
    """Multi-scale patch discriminator (paper, section 5.1): the same convolutions on an image pyramid.

    Args:
        input_dim: channels of an image.
        params: the config's `dis` section.
    """

    def __init__(self, input_dim: int, params: dict):
        super().__init__()
        # Batch norm mixes the images of a batch, and spectral norm advances by one power iteration in each forward.
        self.judges_images_apart = params['norm'] not in ('bn', 'sn')
        self.downsample = nn.AvgPool2d(3, stride=2, padding=1, count_include_pad=False)
        self.cnns = nn.ModuleList(self._one_scale(input_dim, params) for _ in range(params['num_scales']))

    @staticmethod
    def _one_scale(input_dim: int, params: dict) -> nn.Sequential:
        dim, norm, activ, pad_type = params['dim'], params['norm'], params['activ'], params['pad_type']
        # As in the original: the first block has no norm, spectral norm included.
        blocks = [Conv2dBlock(input_dim, dim, 4, 2, 1, 'none', activ, pad_type)]
        for _ in range(params['n_layer'] - 1):
            blocks += [Conv2dBlock(dim, 2 * dim, 4, 2, 1, norm, activ, pad_type)]
            dim *= 2
        return nn.Sequential(*blocks, nn.Conv2d(dim, 1, 1))

    def forward(self, images: Tensor) -> list[Tensor]:
        """Images (N, C, H, W) -> one map of scores (N, 1, h, w) a scale, the finest first."""
        scores = []
        for scale, cnn in enumerate(self.cnns):
            images = self.downsample(images) if scale else images
            scores.append(cnn(images))
        return scores


# ---------------------------------------------------------------------------------------------------------------------
# Encoders, decoder, MLP
# ---------------------------------------------------------------------------------------------------------------------

class StyleEncoder(nn.Module):
    """Image -> style code. Without normalisation, which would remove the mean and variance that carry the style."""

    def __init__(self, n_downsample: int, input_dim: int, dim: int, style_dim: int,
                 norm: str, activ: str, pad_type: str):
        super().__init__()
        layers = [Conv2dBlock(input_dim, dim, 7, 1, 3, norm, activ, pad_type)]                        # dim, H
        for _ in range(2):
            layers += [Conv2dBlock(dim, 2 * dim, 4, 2, 1, norm, activ, pad_type)]                     # 4 dim, H/4
            dim *= 2
        for _ in range(n_downsample - 2):
            layers += [Conv2dBlock(dim, dim, 4, 2, 1, norm, activ, pad_type)]                         # 4 dim, H/16
        self.model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Conv2d(dim, style_dim, 1))    # style_dim, 1

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, style_dim, 1, 1)."""
        return self.model(images)


class ContentEncoder(nn.Module):
    """Image -> content code. Instance normalisation everywhere takes the style out (paper, section 5.1)."""

    def __init__(self, n_downsample: int, n_res: int, input_dim: int, dim: int, norm: str, activ: str, pad_type: str):
        super().__init__()
        layers = [Conv2dBlock(input_dim, dim, 7, 1, 3, norm, activ, pad_type)]                        # dim, H
        for _ in range(n_downsample):
            layers += [Conv2dBlock(dim, 2 * dim, 4, 2, 1, norm, activ, pad_type)]                     # dim·2^n, H/2^n
            dim *= 2
        self.model = nn.Sequential(*layers, ResBlocks(n_res, dim, norm, activ, pad_type))
        self.output_dim = dim

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, dim·2^n, H/2^n, W/2^n)."""
        return self.model(images)


class Decoder(nn.Module):
    """Content code -> image. The style enters through AdaIN in the residual blocks alone.

    The upsampling blocks use layer norm: instance norm there would wipe out the channel means and variances that AdaIN
    has just set.
    """

    def __init__(self, n_upsample: int, n_res: int, dim: int, output_dim: int,
                 res_norm: str, activ: str, pad_type: str):
        super().__init__()
        self.adain_shape = (2 * n_res, 2, dim) if res_norm == 'adain' else (0, 2, dim)   # layers, shift and scale, C
        layers: list[nn.Module] = [ResBlocks(n_res, dim, res_norm, activ, pad_type)]
        for _ in range(n_upsample):
            # The original has an upsampling module of its own here; it holds nothing but takes an index.
            layers += [nn.Identity(), UpsampleConv2dBlock(dim, dim // 2, activ, pad_type)]
            dim //= 2
        self.model = nn.Sequential(*layers, ToImageConv2dBlock(dim, output_dim, pad_type))

    @property
    def num_adain_params(self) -> int:
        """How many numbers `forward` wants of the MLP: 2·C for each of the AdaIN layers."""
        layers, two, channels = self.adain_shape
        return layers * two * channels

    def forward(self, content: Tensor, adain_params: Tensor | None = None) -> Tensor:
        """Content (N, C', H', W') and, with AdaIN, its parameters (N, num_adain_params) -> images in [-1, 1]."""
        res_blocks, *upsampling = self.model
        adain = None
        if adain_params is not None:
            # Laid out as the norms read it, copied once for all layers.
            of_layers = adain_params.view(-1, *self.adain_shape).permute(1, 2, 0, 3).contiguous()
            adain = of_layers.transpose(1, 2).unbind()
        x = res_blocks(content, adain)
        for layer in upsampling:
            x = layer(x)
        return x


class MLP(nn.Module):
    """Style code -> AdaIN parameters, through fully connected layers without norm."""

    def __init__(self, input_dim: int, output_dim: int, dim: int, n_blk: int, activ: str):
        super().__init__()
        hidden = [LinearBlock(dim, dim, activ) for _ in range(n_blk - 2)]
        self.model = nn.Sequential(
            LinearBlock(input_dim, dim, activ), *hidden, LinearBlock(dim, output_dim, 'none'))

    def forward(self, style: Tensor) -> Tensor:
        """(N, style_dim, 1, 1) -> (N, output_dim)."""
        with without_autocast(style.device):   # bfloat16 would distort all AdaIN parameters
            return self.model(style.float().flatten(1))


# ---------------------------------------------------------------------------------------------------------------------
# Blocks
# ---------------------------------------------------------------------------------------------------------------------

class ResBlocks(nn.Module):
    """A row of residual blocks at one resolution."""

    def __init__(self, n_res: int, dim: int, norm: str, activ: str, pad_type: str):
        super().__init__()
        self.model = nn.Sequential(*(ResBlock(dim, norm, activ, pad_type) for _ in range(n_res)))

    def forward(self, x: Tensor, adain: tuple[Tensor, ...] | None = None) -> Tensor:
        """(N, C, H, W) -> the same shape. `adain`: for each layer, two a block, shift and scale as (N, 2, C)."""
        for i, block in enumerate(self.model):
            x = block(x) if adain is None else block(x, adain[2 * i], adain[2 * i + 1])
        return x


class ResBlock(nn.Module):
    """x + conv(conv(x)); nothing after the sum."""

    def __init__(self, dim: int, norm: str, activ: str, pad_type: str):
        super().__init__()
        self.model = nn.Sequential(
            Conv2dBlock(dim, dim, 3, 1, 1, norm, activ, pad_type),
            Conv2dBlock(dim, dim, 3, 1, 1, norm, 'none', pad_type))

    def forward(self, x: Tensor, adain_1: Tensor | None = None, adain_2: Tensor | None = None) -> Tensor:
        """(N, C, H, W) -> the same shape; `adain_1`, `adain_2` (N, 2, C): shift and scale of the two layers."""
        first, second = self.model
        return x + second(first(x, adain_1), adain_2)


class Conv2dBlock(nn.Module):
    """Pad, convolve with bias, normalise, activate.

    Raises:
        ValueError: an unknown norm, activation or padding.
    """

    def __init__(self, input_dim: int, output_dim: int, kernel_size: int, stride: int, padding: int,
                 norm: str = 'none', activ: str = 'relu', pad_type: str = 'zero'):
        super().__init__()
        # This order is that of the keys: norm and activation may hold parameters and stand before the convolution.
        self.pad = pick(PADDINGS, pad_type, 'pad_type')(padding)
        self.norm = make_norm(norm, output_dim)
        self.activation = pick(ACTIVATIONS, activ, 'activ')()
        conv = nn.Conv2d(input_dim, output_dim, kernel_size, stride)
        self.conv: Any = SpectralNorm(conv) if norm == 'sn' else conv

    def forward(self, x: Tensor, adain: Tensor | None = None) -> Tensor:
        """(N, input_dim, H, W) -> (N, output_dim, H', W'); `adain` (N, 2, output_dim) where the norm is AdaIN."""
        x = self.conv(self.pad(x))
        x = self.norm(x) if adain is None else self.norm(x, adain)
        return self.activation(x)


class ReflectionPad2d(nn.ReflectionPad2d):
    """Padding by reflection, on a GPU too with a gradient that is the same each time, where that is asked for."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H + 2·padding, W + 2·padding)."""
        if not (x.is_cuda and torch.are_deterministic_algorithms_enabled()):
            return super().forward(x)
        return fast_ops.reflect(x, self.padding[0])


class UpsampleConv2dBlock(Conv2dBlock):
    """Nearest ×2 upsampling, then a convolution 5 s1 p2 with layer norm, computed without the upsampled image."""
    taps: Tensor

    def __init__(self, input_dim: int, output_dim: int, activ: str, pad_type: str):
        super().__init__(input_dim, output_dim, 5, 1, 2, 'ln', activ, pad_type)
        self.pad_type = pad_type
        self.register_buffer('taps', fast_ops.upsampling_taps(), persistent=False)

    def forward(self, x: Tensor, adain: Tensor | None = None) -> Tensor:
        """(N, input_dim, H, W) -> (N, output_dim, 2H, 2W)."""
        x = fast_ops.upsample_and_convolve(x, self.conv.weight, self.conv.bias, self.taps, self.pad_type)
        return self.activation(self.norm(x))


class ToImageConv2dBlock(Conv2dBlock):
    """The decoder's last convolution, 7 s1 p3 to the channels of an image, and its tanh."""

    def __init__(self, input_dim: int, output_dim: int, pad_type: str):
        super().__init__(input_dim, output_dim, 7, 1, 3, 'none', 'tanh', pad_type)

    def forward(self, x: Tensor, adain: Tensor | None = None) -> Tensor:
        """(N, input_dim, H, W) -> (N, output_dim, H, W) in [-1, 1]."""
        if x.device.type != 'cpu' or x.shape[2] % 2 or x.shape[3] % 2:
            return super().forward(x)
        x = fast_ops.convolve_to_few_channels(self.pad(x), self.conv.weight, self.conv.bias)
        return self.activation(x)


class LinearBlock(nn.Module):
    """A fully connected layer with bias and its activation."""

    def __init__(self, input_dim: int, output_dim: int, activ: str):
        super().__init__()
        self.fc = nn.Linear(input_dim, output_dim)
        self.activation = pick(ACTIVATIONS, activ, 'activ')()

    def forward(self, x: Tensor) -> Tensor:
        """(N, input_dim) -> (N, output_dim)."""
        return self.activation(self.fc(x))


# ---------------------------------------------------------------------------------------------------------------------
# Norms
# ---------------------------------------------------------------------------------------------------------------------

def make_norm(norm: str, channels: int) -> nn.Module:
    """The norm that a config calls none, bn, in, ln, adain or sn (spectral norm acts on the weights: none here)."""
    pick(NORMS, norm, 'norm')
    if norm in ('none', 'sn'):
        return nn.Identity()
    return {'bn': nn.BatchNorm2d, 'in': InstanceNorm2d, 'ln': LayerNorm,
            'adain': AdaptiveInstanceNorm2d}[norm](channels)


class AdaptiveInstanceNorm2d(nn.Module):
    """AdaIN (paper, equation 6): scale · (x − mean) / √(variance + eps) + shift, over H×W of a sample's channel."""

    def __init__(self, channels: int, eps: float = 1e-5):
        super().__init__()
        self.eps = eps
        # As in the original: never read and never changed, but they stand in its checkpoints.
        self.register_buffer('running_mean', torch.zeros(channels))
        self.register_buffer('running_var', torch.ones(channels))

    def forward(self, x: Tensor, adain: Tensor) -> Tensor:
        """x (N, C, H, W), adain (N, 2, C): the shift first, then the scale, used as it is (no 1 + scale)."""
        shift, scale = adain.transpose(0, 1).flatten(1).unbind()
        return fast_ops.normalize_planes(x, scale, shift, self.eps)


class InstanceNorm2d(nn.InstanceNorm2d):
    """Instance norm without parameters and without statistics over batches, as PyTorch's, with a faster kernel."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> the same shape."""
        return fast_ops.normalize_planes(x, None, None, self.eps)


class LayerNorm(nn.Module):
    """The original's layer norm: over C×H×W of each sample, with the *unbiased* deviation and eps outside the root."""

    def __init__(self, channels: int, eps: float = 1e-5):
        super().__init__()
        self.eps = eps
        self.gamma = nn.Parameter(torch.empty(channels).uniform_())
        self.beta = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> the same shape: gamma · (x − mean) / (deviation + eps) + beta, gamma and beta per channel."""
        return fast_ops.LayerNorm.apply(x.float(), self.gamma, self.beta, self.eps).to(x.dtype)


class SpectralNorm(nn.Module):
    """A convolution whose weight is divided by an estimate of its largest singular value (Miyato et al., 2018).

    One power iteration in every forward, in evaluation as well (as in the original). The convolution's own weight is
    called `weight_bar`, and u and v are parameters without gradients, for the sake of the keys and their order.
    """

    def __init__(self, conv: nn.Conv2d, eps: float = 1e-12):
        super().__init__()
        self.eps = eps
        self.module: Any = conv
        weight = conv.weight
        # Without an attribute called `weight`, `init_weights` passes by: such layers keep PyTorch's own initialisation.
        del conv._parameters['weight']
        height = weight.shape[0]
        u, v = torch.randn(height), torch.randn(weight.numel() // height)
        conv.register_parameter('weight_u', nn.Parameter(self._unit(u), requires_grad=False))
        conv.register_parameter('weight_v', nn.Parameter(self._unit(v), requires_grad=False))
        conv.register_parameter('weight_bar', nn.Parameter(weight.detach()))

    def _unit(self, vector: Tensor) -> Tensor:
        return vector / (vector.norm() + self.eps)

    def forward(self, x: Tensor) -> Tensor:
        """What the convolution gives with its weight divided by u·Wv."""
        conv = self.module
        matrix = conv.weight_bar.flatten(1)
        with torch.no_grad():
            v = self._unit(matrix.t() @ conv.weight_u)
            u = self._unit(matrix @ v)
            conv.weight_v.copy_(v)
            conv.weight_u.copy_(u)
        # The fresh u and v, not the stored ones: the next forward overwrites those before this graph's backward pass.
        sigma = u @ (matrix @ v)
        return F.conv2d(x, conv.weight_bar / sigma, conv.bias, conv.stride)


def add_spectral_norm(generator: nn.Module) -> None:
    """Divide the weights of all convolutions by their largest singular value, as `gen.spectral_norm` asks.

    Uses PyTorch's own parametrization, whose power iteration does not advance in eval mode: the original has no such
    generators, so there are no checkpoint keys to keep.
    """
    for module in list(generator.modules()):
        if isinstance(module, nn.Conv2d):
            nn.utils.parametrizations.spectral_norm(module)


# ---------------------------------------------------------------------------------------------------------------------
# VGG features (paper, section 5.1: domain-invariant perceptual loss)
# ---------------------------------------------------------------------------------------------------------------------

class Vgg16(nn.Module):
    """VGG-16 of the Caffe recipe up to relu5_3, with the original's names, conv1_1 to conv5_3.

    As in the original: there is no pooling between blocks 4 and 5, so relu5_3 has an eighth of the image's size.
    """

    CHANNELS = ((3, 64, 64), (64, 128, 128), (128, 256, 256, 256), (256, 512, 512, 512), (512, 512, 512, 512))
    MEAN_BGR = (103.939, 116.779, 123.680)
    mean_bgr: Tensor

    def __init__(self):
        super().__init__()
        for block, channels in enumerate(self.CHANNELS, start=1):
            for i, (c_in, c_out) in enumerate(zip(channels, channels[1:], strict=False), start=1):
                self.add_module(f'conv{block}_{i}', nn.Conv2d(c_in, c_out, 3, padding=1))
        self.register_buffer('mean_bgr', torch.tensor(self.MEAN_BGR).view(1, 3, 1, 1), persistent=False)
        self.requires_grad_(False)
        self.has_weights = False
        self.register_load_state_dict_post_hook(lambda module, _: setattr(module, 'has_weights', True))

    def forward(self, images: Tensor) -> Tensor:
        """RGB (or grey) images (N, 3 or 1, H, W) in [-1, 1] -> relu5_3 (N, 512, H/8, W/8).

        Raises:
            RuntimeError: no weights were loaded; features of random weights would train towards nothing.
        """
        if not self.has_weights:
            raise RuntimeError('VGG-16 holds no trained weights: load them before training with vgg_w > 0')
        x = (images.expand(-1, 3, -1, -1).flip(1) + 1) * 127.5
        x = x - self.mean_bgr.to(x.dtype)
        for block, channels in enumerate(self.CHANNELS, start=1):
            for i in range(1, len(channels)):
                x = F.relu(getattr(self, f'conv{block}_{i}')(x))
            if block <= 3:
                x = F.max_pool2d(x, 2)
        return x

    @classmethod
    def from_torchvision(cls, state: dict) -> dict:
        """torchvision's VGG-16 weights of IMAGENET1K_FEATURES under the original's names, RGB turned to BGR.

        Args:
            state: a state_dict with `features.N.weight` and `features.N.bias`; other keys are left out.
        """
        indices = iter(sorted({int(key.split('.')[1]) for key in state if key.startswith('features.')}))
        renamed = {}
        for block, channels in enumerate(cls.CHANNELS, start=1):
            for i in range(1, len(channels)):
                index = next(indices)
                for leaf in ('weight', 'bias'):
                    renamed[f'conv{block}_{i}.{leaf}'] = state[f'features.{index}.{leaf}']
        renamed['conv1_1.weight'] = renamed['conv1_1.weight'].flip(1)
        return renamed


# ---------------------------------------------------------------------------------------------------------------------
# Initialisation
# ---------------------------------------------------------------------------------------------------------------------

def init_weights(init: str):
    """A function for `Module.apply` that initialises convolutions and fully connected layers; biases become 0.

    Raises:
        ValueError: `init` is not one of gaussian, kaiming, xavier, orthogonal, default.
    """
    pick(INITS, init, 'init')

    def apply(module: nn.Module) -> None:
        if not isinstance(module, (nn.Conv2d, nn.Linear)) or not hasattr(module, 'weight'):
            return
        parametrizations: Any = getattr(module, 'parametrizations', None)
        weight = module.weight if parametrizations is None else parametrizations.weight.original
        if init == 'gaussian':
            nn.init.normal_(weight, 0.0, 0.02)
        elif init == 'kaiming':
            nn.init.kaiming_normal_(weight, a=0, mode='fan_in')
        elif init == 'xavier':
            nn.init.xavier_normal_(weight, gain=2 ** 0.5)
        elif init == 'orthogonal':
            nn.init.orthogonal_(weight, gain=2 ** 0.5)
        if module.bias is not None:
            nn.init.zeros_(module.bias)

    return apply


# ---------------------------------------------------------------------------------------------------------------------
# Memory
# ---------------------------------------------------------------------------------------------------------------------

def checkpoint_activations(*generators: nn.Module) -> None:
    """Let generators keep only the activations between their blocks, and recompute the others in the backward pass.

    The results are the same, activations take about a third of the memory, and an iteration costs one more forward
    pass: for images of 512 pixels and more.
    """
    for generator in generators:
        inside = {id(part) for block in generator.modules() if isinstance(block, ResBlock) for part in block.model}
        for block in generator.modules():
            if isinstance(block, (ResBlock, Conv2dBlock)) and id(block) not in inside:
                block.forward = functools.partial(   # type: ignore[method-assign]
                    checkpoint, block.forward, use_reentrant=False, preserve_rng_state=False)
