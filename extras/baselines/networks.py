"""The networks of the methods that the paper compares MUNIT with (table 1): CycleGAN, CycleGAN with noise, BicycleGAN.

Written from the published descriptions: Zhu et al., Unpaired image-to-image translation using cycle-consistent
adversarial networks (ICCV 2017, section 7.2), Isola et al., Image-to-image translation with conditional adversarial
networks (CVPR 2017, section 6.1), Zhu et al., Toward multimodal image-to-image translation (NeurIPS 2017, section 4),
and from what the authors' implementations (pytorch-CycleGAN-and-pix2pix, BicycleGAN) are known to compute. Instance
norm has no learned parameters, and every convolution has a bias. Sizes in the docstrings are those with 64 filters.
"""
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from networks import ReflectionPad2d, make_norm, pick

INITS = ('gaussian', 'xavier', 'kaiming', 'orthogonal', 'default')
CHANNELS_AT_MOST = 8   # largest multiple of the first layer's channels, in a U-Net and in a discriminator


# ---------------------------------------------------------------------------------------------------------------------
# Generators
# ---------------------------------------------------------------------------------------------------------------------

class ResnetGenerator(nn.Module):
    """CycleGAN's generator: c7s1-64, d128, d256, nine residual blocks R256, u128, u64, c7s1-3 (its section 7.2).

    11,378,179 parameters at 64 filters, nine blocks and 3 channels.

    Args:
        input_dim, output_dim: channels of input and output.
        params: the config's `gen` section: dim, n_downsample, n_res, dropout.
    """

    def __init__(self, input_dim: int, output_dim: int, params: dict):
        super().__init__()
        dim, n_downsample = params['dim'], params['n_downsample']
        down = [ReflectionPad2d(3), nn.Conv2d(input_dim, dim, 7), make_norm('in', dim), nn.ReLU(True)]     # dim, H
        for _ in range(n_downsample):
            down += [nn.Conv2d(dim, 2 * dim, 3, 2, 1), make_norm('in', 2 * dim), nn.ReLU(True)]            # 4 dim, H/4
            dim *= 2
        up = []
        for _ in range(n_downsample):
            up += [nn.ConvTranspose2d(dim, dim // 2, 3, 2, 1, output_padding=1), make_norm('in', dim // 2),
                   nn.ReLU(True)]                                                                          # dim, H
            dim //= 2
        self.down = nn.Sequential(*down)
        self.blocks = nn.ModuleList(ResnetBlock(dim * 2 ** n_downsample, params['dropout'])
                                    for _ in range(params['n_res']))
        self.up = nn.Sequential(*up, ReflectionPad2d(3), nn.Conv2d(dim, output_dim, 7), nn.Tanh())

    def forward(self, images: Tensor, draws: list[torch.Generator] | None = None) -> Tensor:
        """Images (N, C, H, W) in [-1, 1] -> images of the other domain (N, C', H, W) in [-1, 1].

        Args:
            draws: random generators for dropout, one per image. None: dropout in training mode only, with PyTorch's
                default generator.
        """
        x = self.down(images)
        for block in self.blocks:
            x = block(x, draws)
        return self.up(x)


class ResnetBlock(nn.Module):
    """x + norm(conv(dropout(relu(norm(conv(x)))))), with 3×3 convolutions, reflection padding, and no activation after
    the sum.
    """

    def __init__(self, dim: int, dropout: float):
        super().__init__()
        self.first = nn.Sequential(ReflectionPad2d(1), nn.Conv2d(dim, dim, 3), make_norm('in', dim), nn.ReLU(True))
        self.dropout = Dropout(dropout)
        self.second = nn.Sequential(ReflectionPad2d(1), nn.Conv2d(dim, dim, 3), make_norm('in', dim))

    def forward(self, x: Tensor, draws: list[torch.Generator] | None = None) -> Tensor:
        """(N, C, H, W) -> the same shape."""
        return x + self.second(self.dropout(self.first(x), draws))


class UNetGenerator(nn.Module):
    """A U-Net with a code as a second input, concatenated to the image (CycleGAN with noise) or to the input of every
    encoder level (BicycleGAN).

    The encoder has 4×4 convolutions with stride 2 and 64, 128, 256, 512, 512, … channels; the decoder has transposed
    convolutions on the output of the level below, concatenated with the skip connection. 8 levels reduce 256 pixels to
    1×1. There is no norm in the first and the last layer and at the innermost level. Dropout follows the decoder levels
    that have the full width on both sides (three of eight).

    Args:
        input_dim, output_dim: channels of input and output.
        params: the config's `gen` section: dim, n_downsample (number of levels), dropout, noise_dim.
        everywhere: whether the code enters at every encoder level, or only with the image.
    """

    def __init__(self, input_dim: int, output_dim: int, params: dict, everywhere: bool):
        super().__init__()
        levels, code_dim = params['n_downsample'], params['noise_dim']
        channels = [params['dim'] * min(2 ** level, CHANNELS_AT_MOST) for level in range(levels)]
        self.everywhere = everywhere
        self.shrink, self.grow = nn.ModuleList(), nn.ModuleList()
        self.norms_down, self.norms_up, self.dropouts = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        for level, dim in enumerate(channels):
            innermost = level == levels - 1
            before = channels[level - 1] if level else input_dim
            self.shrink.append(nn.Conv2d(before + (code_dim if everywhere or not level else 0), dim, 4, 2, 1))
            self.norms_down.append(make_norm('in' if level and not innermost else 'none', dim))
            after = channels[level - 1] if level else output_dim
            self.grow.append(nn.ConvTranspose2d(dim if innermost else 2 * dim, after, 4, 2, 1))
            self.norms_up.append(make_norm('in' if level else 'none', after))
            self.dropouts.append(Dropout(params['dropout'] if 4 <= level and not innermost else 0.0))

    def forward(self, images: Tensor, code: Tensor, draws: list[torch.Generator] | None = None) -> Tensor:
        """Images (N, C, H, W) in [-1, 1] and codes (N, noise_dim) -> images of the other domain (N, C', H, W).

        Args:
            draws: random generators for dropout, one per image. None: dropout in training mode only, with PyTorch's
                default generator.
        """
        x, skips = images, []
        for level, (shrink, norm) in enumerate(zip(self.shrink, self.norms_down, strict=True)):
            if self.everywhere or not level:
                x = torch.cat([x, code[:, :, None, None].expand(-1, -1, *x.shape[2:])], 1)
            x = norm(shrink(F.leaky_relu(x, 0.2) if level else x))
            skips.append(x)
        for level in reversed(range(len(self.grow))):
            x = x if level == len(self.grow) - 1 else torch.cat([x, skips[level]], 1)
            x = self.norms_up[level](self.grow[level](F.relu(x)))
            x = self.dropouts[level](x, draws)
        return x.tanh()


class Dropout(nn.Module):
    """Dropout that can also be applied outside training mode, with a random generator per image."""

    def __init__(self, rate: float):
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor, draws: list[torch.Generator] | None = None) -> Tensor:
        """(N, …) -> the same shape. `draws` are CPU generators, one per image; None is as in `torch.nn.Dropout`."""
        if not self.rate:
            return x
        if draws is None:
            return F.dropout(x, self.rate, self.training)
        kept = torch.stack([torch.rand(x.shape[1:], generator=draw) >= self.rate for draw in draws])
        return x * kept.to(x.device) / (1 - self.rate)


# ---------------------------------------------------------------------------------------------------------------------
# Encoder and discriminator
# ---------------------------------------------------------------------------------------------------------------------

class CodeEncoder(nn.Module):
    """BicycleGAN's encoder of an image of domain B: mean and log-variance of its code.

    A 4×4 convolution with stride 2 to 64 channels, four pre-activation residual blocks that halve the resolution
    (128, 192, 256, 256 channels), global average pooling (of 8×8 for images of 256×256), and two linear layers.

    Args:
        input_dim: channels of an image.
        params: the config's `gen` section: enc_dim, enc_res, noise_dim.
    """

    def __init__(self, input_dim: int, params: dict):
        super().__init__()
        channels = [params['enc_dim'] * min(4, 1 + i) for i in range(params['enc_res'] + 1)]
        self.first = nn.Conv2d(input_dim, channels[0], 4, 2, 1)
        self.blocks = nn.Sequential(*(HalvingBlock(*two) for two in zip(channels[:-1], channels[1:], strict=True)))
        self.mean = nn.Linear(channels[-1], params['noise_dim'])
        self.log_variance = nn.Linear(channels[-1], params['noise_dim'])

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(N, C, H, W) in [-1, 1] -> mean and log-variance, both (N, noise_dim)."""
        x = F.leaky_relu(self.blocks(self.first(images)), 0.2).mean((2, 3))
        return self.mean(x), self.log_variance(x)


class HalvingBlock(nn.Module):
    """Pre-activation residual block that halves the resolution.

    Residual branch: norm, LReLU, conv 3, norm, LReLU, conv 3, average pool 2. Shortcut: average pool 2, conv 1.
    """

    def __init__(self, input_dim: int, output_dim: int):
        super().__init__()
        self.inside = nn.Sequential(
            make_norm('in', input_dim), nn.LeakyReLU(0.2), nn.Conv2d(input_dim, input_dim, 3, 1, 1),
            make_norm('in', input_dim), nn.LeakyReLU(0.2), nn.Conv2d(input_dim, output_dim, 3, 1, 1), nn.AvgPool2d(2))
        self.beside = nn.Sequential(nn.AvgPool2d(2), nn.Conv2d(input_dim, output_dim, 1))

    def forward(self, x: Tensor) -> Tensor:
        """(N, input_dim, H, W) -> (N, output_dim, H/2, W/2)."""
        return self.inside(x) + self.beside(x)


class PatchDiscriminator(nn.Module):
    """PatchGAN discriminator with a receptive field of 70×70 pixels (with n_layer 3).

    C64, C128, C256 with stride 2, C512 and the output layer with stride 1, all 4×4; LReLU 0.2; instance norm from the
    second layer on. 2,764,737 parameters at 64 filters and 3 channels. BicycleGAN's has two scales; the second has half
    the filters and takes the image at half the resolution.

    Args:
        input_dim: channels of an image.
        params: the config's `dis` section: dim, n_layer, num_scales.
    """

    def __init__(self, input_dim: int, params: dict):
        super().__init__()
        self.downsample = nn.AvgPool2d(3, stride=2, padding=1, count_include_pad=False)
        self.scales = nn.ModuleList(self._one_scale(input_dim, max(1, params['dim'] // 2 ** scale), params['n_layer'])
                                    for scale in range(params['num_scales']))

    @staticmethod
    def _one_scale(input_dim: int, dim: int, n_layer: int) -> nn.Sequential:
        channels = [dim * min(2 ** layer, CHANNELS_AT_MOST) for layer in range(n_layer + 1)]
        layers = [nn.Conv2d(input_dim, dim, 4, 2, 1), nn.LeakyReLU(0.2, True)]
        for layer in range(1, n_layer + 1):
            layers += [nn.Conv2d(channels[layer - 1], channels[layer], 4, 2 if layer < n_layer else 1, 1),
                       make_norm('in', channels[layer]), nn.LeakyReLU(0.2, True)]
        return nn.Sequential(*layers, nn.Conv2d(channels[-1], 1, 4, 1, 1))

    def forward(self, images: Tensor) -> list[Tensor]:
        """Images (N, C, H, W) -> a map of scores (N, 1, h, w) per scale, the finest first."""
        scores = []
        for scale, cnn in enumerate(self.scales):
            images = self.downsample(images) if scale else images
            scores.append(cnn(images))
        return scores


# ---------------------------------------------------------------------------------------------------------------------
# Initialisation
# ---------------------------------------------------------------------------------------------------------------------

def init_weights(init: str, gain: float):
    """A function for `Module.apply` that initializes convolutions, transposed convolutions and linear layers, with
    biases of 0.

    Args:
        init: gaussian, xavier, orthogonal, kaiming, or default, which leaves PyTorch's initialization.
        gain: standard deviation for gaussian, factor for xavier and orthogonal.

    Raises:
        ValueError: `init` is none of these.
    """
    pick(INITS, init, 'init')

    def apply(module: nn.Module) -> None:
        if not isinstance(module, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)) or init == 'default':
            return
        if init == 'gaussian':
            nn.init.normal_(module.weight, 0.0, gain)
        elif init == 'xavier':
            nn.init.xavier_normal_(module.weight, gain=gain)
        elif init == 'kaiming':
            nn.init.kaiming_normal_(module.weight, a=0, mode='fan_in')
        else:
            nn.init.orthogonal_(module.weight, gain=gain)
        nn.init.zeros_(module.bias)

    return apply
