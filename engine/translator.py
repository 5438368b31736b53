"""Translation with one direction of a trained model: read an image, encode it, decode it with styles."""
import argparse
import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from core.band_images import PICTURES
from core.checkpoints import read_networks
from core.device import choose_device, reason_of
from core.errors import BadInput
from core.precision import autocast, set_precision
from data import read_tensor, transform_of
from engine.config import config_for
from engine.methods import translator_class
from networks import STYLE_HALVINGS, AdaINGen, VAEGen, init_weights
from utils import can_hold

PIXELS_AT_ONCE = 8 * 256 * 256   # the largest number of pixels that are encoded or decoded together
PIXELS_A_PLACE = 256 * 256       # pixels per image that --batch_size counts

SEEDS = 2 ** 24   # whole numbers below it are exact in 32-bit floats


def make_translator(config: dict, checkpoint: str, a2b: bool, trainer: str, *arguments, **options) -> 'Translator':
    """Return the translator of a method. For the arguments and errors see `Translator`."""
    return translator_class(trainer)(config, checkpoint, a2b, trainer, *arguments, **options)


def open_translator(opts: argparse.Namespace, device: torch.device | None = None) -> 'Translator':
    """Return the translator for the flags of a command: --config, --checkpoint, --a2b, --trainer and --device, and
    --precision, --compile and --encoder_noise if the command has them.

    Args:
        device: overrides --device.

    Raises:
        BadInput: a flag, the config or the checkpoint is invalid.
    """
    device = device or choose_device(opts.device)
    config = {**config_for(opts.config, opts.checkpoint, opts.trainer), 'max_image_pixels': opts.max_image_pixels}
    return make_translator(config, opts.checkpoint, bool(opts.a2b), opts.trainer, device,
                           getattr(opts, 'precision', 'fp32'), getattr(opts, 'compile', False),
                           getattr(opts, 'encoder_noise', False))


def require_pictures(config: dict, command: str) -> None:
    """Raise BadInput for a model of images that are neither grey nor colour, where a command is for pictures."""
    for key in ('input_dim_a', 'input_dim_b'):
        if config[key] not in PICTURES:
            raise BadInput(f'{command} is for images of 1 or 3 channels, and {key} is {config[key]}; test.py and '
                           f'test_batch.py translate images of any number')


def draw_seeds(*n: int, generator: torch.Generator | None = None) -> Tensor:
    """Draw random seeds (*n, 1, 1, 1), on the CPU. They are whole numbers stored as floats, shaped like style codes
    of length 1.
    """
    return torch.randint(SEEDS, (*n, 1, 1, 1), generator=generator).float()


def generators_of(seeds: Tensor) -> list[torch.Generator]:
    """Return a random number generator on the CPU for each of the seeds (N, 1, 1, 1)."""
    return [torch.Generator().manual_seed(int(seed)) for seed in seeds.flatten().tolist()]


def noise_of(seeds: Tensor, like: Tensor) -> Tensor:
    """Draw noise from N(0, 1) in the shape (N, …) of `like`. Sample i depends only on seed i."""
    drawn = [torch.randn(like.shape[1:], generator=generator) for generator in generators_of(seeds)]
    return torch.stack(drawn).to(like.device)


def pixels_at_once(device: torch.device, batch_size: int) -> int:
    """Return how many pixels of images or outputs to process together."""
    if batch_size > 1 and device.type == 'cpu':   # allocating memory for larger batches takes a fifth of the time
        return 2 * PIXELS_A_PLACE
    return max(PIXELS_AT_ONCE, batch_size * PIXELS_A_PLACE)   # with batch size 1, bit-identical to test.py


class Translator:
    """Translates images with the content encoder of the source domain and the decoder of the target domain.

    `source_gen` contains only the content encoder; `target_gen` contains the decoder, the style encoder and the MLP.

    Args:
        config: a config returned by `config.load_config`.
        checkpoint: path of a gen_*.pt. Both of its generators must match the config exactly.
        a2b: translate from domain A to B if true, from B to A otherwise.
        trainer: a key of `methods.METHODS`.
        device: device of the networks.
        precision: fp32, tf32 or bf16. The precision of 32-bit products is set for the whole process.
        compile: compile encoder and decoder at their first call, and again when image sizes start to vary.
        encoder_noise: add the noise of UNIT's posterior, as in training, so that an input has several outputs (table 1
            of the paper measures UNIT's diversity this way). The seeds of the noise then take the role of styles.

    Raises:
        BadInput: the checkpoint cannot be read or does not match the config, or the method does not support an option.
    """
    source_gen: Any
    target_gen: Any
    _encode: Callable[..., Tensor]
    _decode: Callable[..., Tensor]

    def __init__(self, config: dict, checkpoint: str, a2b: bool, trainer: str, device: torch.device,
                 precision: str = 'fp32', compile: bool = False, encoder_noise: bool = False):
        if encoder_noise and trainer != 'UNIT':
            raise BadInput(f'--encoder_noise: only UNIT supports it, not {trainer}; leave it out')
        if encoder_noise and compile:
            raise BadInput('--encoder_noise: cannot be compiled; leave out --compile')
        with without_weights():
            networks = self.networks(config, trainer)
        states = read_networks(checkpoint, networks, '--checkpoint')
        self.config, self.trainer, self.device, self.precision = config, trainer, device, precision
        self.encoder_noise = encoder_noise
        self.source, self.target = ('a', 'b') if a2b else ('b', 'a')
        self.multiple = 2 ** config['gen']['n_downsample']
        self.smallest = max(4, 2 * self.multiple)   # reflection padding inside the networks requires this size
        self._place(networks, states)
        set_precision(precision)
        self.compile = compile
        if compile:
            self._encode, self._decode = torch.compile(self._encode), torch.compile(self._decode)

    @staticmethod
    def networks(config: dict, trainer: str) -> dict[str, nn.Module]:
        """Build the networks of a gen_*.pt, with the keys of that file."""
        Generator = {'MUNIT': AdaINGen, 'UNIT': VAEGen}[trainer]
        return {name: Generator(config[f'input_dim_{name}'], config['gen']) for name in 'ab'}

    @staticmethod
    def initial(config: dict) -> Callable[[nn.Module], None]:
        """Return a function for `Module.apply` that sets the initial weights of training."""
        return init_weights(config['init'])

    def _place(self, networks: dict[str, nn.Module], states: dict[str, dict[str, Tensor]]) -> None:
        """Load the weights of the parts that this direction uses, and remove the other parts."""
        content_encoder, rest = {'MUNIT': ('enc_content', ('enc_style', 'dec', 'mlp')),
                                 'UNIT': ('enc', ('dec',))}[self.trainer]
        self.source_gen = place(networks[self.source], (content_encoder,), states[self.source], self.device)
        self.target_gen = place(networks[self.target], rest, states[self.target], self.device)
        self._encode, self._decode = getattr(self.source_gen, content_encoder), self.target_gen.decode
        if self.encoder_noise:
            decode = self.target_gen.decode
            self._decode = lambda hiddens, seeds: decode(hiddens + noise_of(seeds, hiddens))

    def output_format(self, wanted: str | None, default: str = '') -> str:
        """Return the extension, without dot, of output files: `wanted` or `default`, or npy if there are other than 1
        or 3 channels and `wanted` is None.

        Raises:
            BadInput: the format given with --format cannot store the channels of the outputs.
        """
        channels = self.config[f'input_dim_{self.target}']
        if wanted and not can_hold(f'.{wanted}', channels):
            others = 'png, tif or npy' if can_hold('.png', channels) else 'tif or npy'
            raise BadInput(f'--format {wanted}: cannot hold outputs of {channels} channels; use {others}')
        return wanted or (default if channels in PICTURES else 'npy')

    @property
    def samples(self) -> bool:
        """Whether an input can have several different outputs."""
        return self.trainer == 'MUNIT' or self.encoder_noise

    @property
    def style_length(self) -> int:
        """Length of a style code, if the method has style codes."""
        return self.config['gen']['style_dim']

    def read(self, path: str, domain: str, new_size: int | None = None) -> Tensor:
        """Read an image of domain 'a' or 'b' as a tensor (1, C, H, W) with values in [-1, 1].

        Args:
            new_size: length to which the shorter side is resized; None uses the config's, 0 keeps the size.

        Raises:
            BadInput: the file cannot be read.
        """
        return read_tensor(path, self.config, domain, transform_of(self.config, domain, new_size))[None]

    def draw_styles(self, *n: int, generator: torch.Generator | None = None) -> Tensor:
        """Draw style codes (*n, style_dim, 1, 1) from the prior N(0, 1), or seeds (*n, 1, 1, 1) with `encoder_noise`.

        Args:
            generator: random number generator on the CPU; None uses PyTorch's default generator.
        """
        if self.encoder_noise:
            return draw_seeds(*n, generator=generator)
        return torch.randn((*n, self.config['gen']['style_dim'], 1, 1), generator=generator).to(self.device)

    @torch.inference_mode()
    def encode_style(self, image: Tensor) -> Tensor:
        """Encode an image (1, C, H, W) of the target domain, of any size, to a style code (1, style_dim, 1, 1)."""
        smallest = 2 ** STYLE_HALVINGS
        image = pad_to(image.to(self.device), max(smallest, image.shape[2]), max(smallest, image.shape[3]))
        return self._run(self.target_gen.enc_style, image).float()

    def translate(self, image: Tensor, styles: Tensor | None = None) -> Tensor:
        """Translate one image (1, C, H, W) of any size with each of the styles (n, style_dim, 1, 1).

        If a side is not a multiple of the downsampling factor, the image is padded by reflection, and the output is
        cropped.

        Returns:
            Images of the target domain (n, C, H, W) in [-1, 1]; n is 1 if `styles` is None, as for UNIT.
        """
        return self.translate_batch(image, styles)[0]

    @torch.inference_mode()
    def translate_batch(self, images: Tensor, styles: Tensor | None = None,
                        pixels_at_once: int = PIXELS_AT_ONCE) -> Tensor:
        """Translate images (N, C, H, W), which have the same arbitrary size, each with S styles.

        Args:
            images: images with values in [-1, 1], on any device.
            styles: styles of all images (S, style_dim, 1, 1), or of each image (N, S, style_dim, 1, 1). None if
                `samples` is false.
            pixels_at_once: limits memory: images and outputs are processed in groups of at most this many pixels, but
                at least one at a time.

        Returns:
            Images of the target domain (N, S, C, H, W) in [-1, 1], 32-bit, on the device of the networks. S is 1 if
            `styles` is None.

        Raises:
            ValueError: `styles` is for another number of images.
        """
        n, _, height, width = images.shape
        images = images.to(self.device, non_blocking=images.is_pinned())
        images = pad_to(images, self.padded(height), self.padded(width))
        at_once = max(1, pixels_at_once // (images.shape[2] * images.shape[3]))
        content = torch.cat([self._run(self._encode, part) for part in images.split(at_once)])
        if styles is None:
            outputs = [self._run(self._decode, part) for part in content.split(at_once)]
        else:
            styles = styles.expand(n, *styles.shape) if styles.dim() == 4 else styles
            if len(styles) != n:
                raise ValueError(f'styles for {len(styles)} images, but there are {n}')
            of_image = torch.arange(n, device=self.device).repeat_interleave(styles.shape[1])
            pairs = zip(of_image.split(at_once), styles.to(self.device).flatten(0, 1).split(at_once), strict=True)
            outputs = [self._run(self._decode, content[which], style) for which, style in pairs]
        outputs = torch.cat(outputs).float().unflatten(0, (n, -1))
        return outputs[..., :height, :width]

    def _run(self, network: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
        try:
            with autocast(self.precision, self.device):
                return network(*inputs)
        except Exception as error:
            if not (self.compile and isinstance(error, torch._dynamo.exc.TorchDynamoException)):
                raise
            raise BadInput(f'--compile: PyTorch cannot compile the networks on this machine ({reason_of(error)}); '
                           f'leave it out, or install a compiler for {self.device.type}') from None

    def padded(self, length: int) -> int:
        """The side of an image, as it is padded for the networks."""
        return max(self.smallest, -(-length // self.multiple) * self.multiple)


@contextlib.contextmanager
def without_weights() -> Iterator[None]:
    """A context in which networks are built with parameters on the meta device, which saves memory and initialisation.

    Unlike with `torch.device('meta')`, buffers are allocated, because some of them are not saved in checkpoints.
    """
    def emptied(module: nn.Module, name: str, parameter: nn.Parameter | None) -> nn.Parameter | None:
        if parameter is None:
            return None
        return nn.Parameter(torch.empty_like(parameter, device='meta'), parameter.requires_grad)

    hook = register_module_parameter_registration_hook(emptied)   # type: ignore[arg-type]
    try:
        yield
    finally:
        hook.remove()


def place(network: nn.Module, parts: Sequence[str], state: dict[str, Tensor], device: torch.device) -> nn.Module:
    """Remove all children of a network except `parts`, and load the weights of these directly to the device."""
    for name in [name for name, _ in network.named_children() if name not in parts]:
        delattr(network, name)
    # empty_like is not used: for a tensor on the meta device it imports a large library, which takes half a second.
    weights = {key: torch.empty(own.shape, dtype=own.dtype, device=device).copy_(state[key])
               for key, own in network.state_dict().items()}
    network.load_state_dict(weights, assign=True)
    return network.to(device).eval().requires_grad_(False)


def pad_to(image: Tensor, height: int, width: int) -> Tensor:
    """Pad images (N, C, H, W) at the bottom and right by reflection, or with the border pixels if they are too small.
    """
    down, right = height - image.shape[2], width - image.shape[3]
    if not (down or right):
        return image
    mode = 'reflect' if down < image.shape[2] and right < image.shape[3] else 'replicate'
    return F.pad(image, (0, right, 0, down), mode=mode)
