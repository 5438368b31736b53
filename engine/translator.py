"""One direction of a trained model: read an image, encode it, decode it with styles of the other domain."""
import argparse
import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from core.checkpoints import read_networks
from core.device import choose_device, reason_of
from core.errors import BadInput
from core.precision import autocast, set_precision
from data import read_tensor, transform_of
from engine.config import config_for
from engine.methods import translator_class
from networks import STYLE_HALVINGS, AdaINGen, VAEGen, init_weights

PIXELS_AT_ONCE = 8 * 256 * 256   # as many images are encoded, and as many outputs decoded, together as keep to this
PIXELS_A_PLACE = 256 * 256       # of what --batch_size counts

SEEDS = 2 ** 24   # whole numbers below it are exact in 32-bit floats


def make_translator(config: dict, checkpoint: str, a2b: bool, trainer: str, *arguments, **options) -> 'Translator':
    """The translator of a method. Args and errors as for `Translator`."""
    return translator_class(trainer)(config, checkpoint, a2b, trainer, *arguments, **options)


def open_translator(opts: argparse.Namespace, device: torch.device | None = None) -> 'Translator':
    """The translator that a command's flags describe: --config, --checkpoint, --a2b, --trainer and --device, and where
    the command has them --precision, --compile and --encoder_noise.

    Args:
        device: in place of --device.

    Raises:
        BadInput: a flag, config or checkpoint that cannot be used.
    """
    device = device or choose_device(opts.device)
    config = {**config_for(opts.config, opts.checkpoint, opts.trainer), 'max_image_pixels': opts.max_image_pixels}
    return make_translator(config, opts.checkpoint, bool(opts.a2b), opts.trainer, device,
                           getattr(opts, 'precision', 'fp32'), getattr(opts, 'compile', False),
                           getattr(opts, 'encoder_noise', False))


def draw_seeds(*n: int, generator: torch.Generator | None = None) -> Tensor:
    """Seeds in the shape of styles of one number: whole numbers (*n, 1, 1, 1) as floats, on the CPU."""
    return torch.randint(SEEDS, (*n, 1, 1, 1), generator=generator).float()


def generators_of(seeds: Tensor) -> list[torch.Generator]:
    """A generator for each of the seeds (N, 1, 1, 1), on the CPU: what is drawn depends on its own seed alone."""
    return [torch.Generator().manual_seed(int(seed)) for seed in seeds.flatten().tolist()]


def noise_of(seeds: Tensor, like: Tensor) -> Tensor:
    """N(0, 1) of the shape (N, …) of `like`, of each seed its own."""
    drawn = [torch.randn(like.shape[1:], generator=generator) for generator in generators_of(seeds)]
    return torch.stack(drawn).to(like.device)


def pixels_at_once(device: torch.device, batch_size: int) -> int:
    """How many pixels of images or outputs go through a network together."""
    if batch_size > 1 and device.type == 'cpu':   # which loses a fifth of its time to fresh memory for larger layers
        return 2 * PIXELS_A_PLACE
    return max(PIXELS_AT_ONCE, batch_size * PIXELS_A_PLACE)   # 1: as test.py, to the last digit


class Translator:
    """Content from the source domain's generator, style and image from the target domain's.

    `source_gen` keeps only its content encoder; `target_gen` keeps its decoder, style encoder and MLP.

    Args:
        config: as `config.load_config` returns it.
        checkpoint: a gen_*.pt; both its generators are held strictly against the config.
        a2b: from domain A to B, else from B to A.
        trainer: of `methods.METHODS`.
        device: where the networks go.
        precision: fp32, tf32 or bf16; that of 32-bit products is set for the whole process.
        compile: compile encoder and decoder at their first call, and again where sizes begin to differ.
        encoder_noise: let UNIT's outputs differ by the noise of its posterior, as in training (the paper's table 1
            draws its diversity from that); the seeds of the noise are its styles then.

    Raises:
        BadInput: a checkpoint that cannot be read or does not fit the config, or an option that the method has not.
    """
    source_gen: Any
    target_gen: Any
    _encode: Callable[..., Tensor]
    _decode: Callable[..., Tensor]

    def __init__(self, config: dict, checkpoint: str, a2b: bool, trainer: str, device: torch.device,
                 precision: str = 'fp32', compile: bool = False, encoder_noise: bool = False):
        if encoder_noise and trainer != 'UNIT':
            raise BadInput(f'--encoder_noise: is for UNIT, {trainer} has none; leave it out')
        if encoder_noise and compile:
            raise BadInput('--encoder_noise: is drawn seed by seed, which cannot be compiled; leave --compile out')
        with without_weights():
            networks = self.networks(config, trainer)
        states = read_networks(checkpoint, networks, '--checkpoint')
        self.config, self.trainer, self.device, self.precision = config, trainer, device, precision
        self.encoder_noise = encoder_noise
        self.source, self.target = ('a', 'b') if a2b else ('b', 'a')
        self.multiple = 2 ** config['gen']['n_downsample']
        self.smallest = max(4, 2 * self.multiple)   # less cannot be padded by reflection inside the networks
        self._place(networks, states)
        set_precision(precision)
        self.compile = compile
        if compile:
            self._encode, self._decode = torch.compile(self._encode), torch.compile(self._decode)

    @staticmethod
    def networks(config: dict, trainer: str) -> dict[str, nn.Module]:
        """The networks of a gen_*.pt by their names there, fresh."""
        Generator = {'MUNIT': AdaINGen, 'UNIT': VAEGen}[trainer]
        return {name: Generator(config[f'input_dim_{name}'], config['gen']) for name in 'ab'}

    @staticmethod
    def initial(config: dict) -> Callable[[nn.Module], None]:
        """For `Module.apply`: the weights that training starts from."""
        return init_weights(config['init'])

    def _place(self, networks: dict[str, nn.Module], states: dict[str, dict[str, Tensor]]) -> None:
        """Keep of the networks what this direction needs, with its weights."""
        content_encoder, rest = {'MUNIT': ('enc_content', ('enc_style', 'dec', 'mlp')),
                                 'UNIT': ('enc', ('dec',))}[self.trainer]
        self.source_gen = place(networks[self.source], (content_encoder,), states[self.source], self.device)
        self.target_gen = place(networks[self.target], rest, states[self.target], self.device)
        self._encode, self._decode = getattr(self.source_gen, content_encoder), self.target_gen.decode
        if self.encoder_noise:
            decode = self.target_gen.decode
            self._decode = lambda hiddens, seeds: decode(hiddens + noise_of(seeds, hiddens))

    @property
    def samples(self) -> bool:
        """Whether an input has several outputs."""
        return self.trainer == 'MUNIT' or self.encoder_noise

    @property
    def style_length(self) -> int:
        """How many numbers a style code has, where the method has such."""
        return self.config['gen']['style_dim']

    def read(self, path: str, domain: str, new_size: int | None = None) -> Tensor:
        """The image at `path` as domain 'a' or 'b' wants it: (1, C, H, W) in [-1, 1].

        Args:
            new_size: what the shorter side is resized to; None for the config's, 0 to keep the file's size.

        Raises:
            BadInput: the file cannot be read.
        """
        return read_tensor(path, self.config, domain, transform_of(self.config, domain, new_size))[None]

    def draw_styles(self, *n: int, generator: torch.Generator | None = None) -> Tensor:
        """Styles from the prior N(0, 1): (*n, style_dim, 1, 1). Of methods without styles, what stands for them: what
        lets outputs differ, noise and seeds.

        Args:
            generator: where they are drawn from, on the CPU; None for PyTorch's own.
        """
        if self.encoder_noise:
            return draw_seeds(*n, generator=generator)
        return torch.randn((*n, self.config['gen']['style_dim'], 1, 1), generator=generator).to(self.device)

    @torch.inference_mode()
    def encode_style(self, image: Tensor) -> Tensor:
        """The style code (1, style_dim, 1, 1) of an image (1, C, H, W) of the target domain, of any size."""
        smallest = 2 ** STYLE_HALVINGS
        image = pad_to(image.to(self.device), max(smallest, image.shape[2]), max(smallest, image.shape[3]))
        return self._run(self.target_gen.enc_style, image).float()

    def translate(self, image: Tensor, styles: Tensor | None = None) -> Tensor:
        """Translate one image (1, C, H, W) of any size, with each of `styles` (n, style_dim, 1, 1).

        Sizes that the networks cannot halve evenly are padded by reflection and cropped back.

        Returns:
            Images of the target domain (n, C, H, W) in [-1, 1]; n is 1 where there are no styles, as for UNIT.
        """
        return self.translate_batch(image, styles)[0]

    @torch.inference_mode()
    def translate_batch(self, images: Tensor, styles: Tensor | None = None,
                        pixels_at_once: int = PIXELS_AT_ONCE) -> Tensor:
        """Translate images (N, C, H, W) of one size, any, each with several styles: as `translate` does one by one.

        Args:
            images: in [-1, 1], on any device.
            styles: (S, style_dim, 1, 1) for all images, or (N, S, style_dim, 1, 1), for each its own; None where
                `samples` is false.
            pixels_at_once: what bounds the memory: no more go through a network together, a single image apart.

        Returns:
            Images of the target domain (N, S, C, H, W) in [-1, 1], 32-bit, on the networks' device; S is 1 without
            styles.

        Raises:
            ValueError: styles for another number of images.
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
                           f'leave it out, or install what compiles for {self.device.type}') from None

    def padded(self, length: int) -> int:
        """The side of an image, as it is padded for the networks."""
        return max(self.smallest, -(-length // self.multiple) * self.multiple)


@contextlib.contextmanager
def without_weights() -> Iterator[None]:
    """Networks built inside have parameters on the meta device, which are neither filled nor take memory.

    Unlike `torch.device('meta')`, it leaves buffers real: not all of them are in checkpoints.
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
    """Keep the children `parts` of a network alone, and bring them to the device with their weights, copied once."""
    for name in [name for name, _ in network.named_children() if name not in parts]:
        delattr(network, name)
    # Not empty_like: of a tensor on the meta device, it imports half a second of algebra.
    weights = {key: torch.empty(own.shape, dtype=own.dtype, device=device).copy_(state[key])
               for key, own in network.state_dict().items()}
    network.load_state_dict(weights, assign=True)
    return network.to(device).eval().requires_grad_(False)


def pad_to(image: Tensor, height: int, width: int) -> Tensor:
    """The image (N, C, H, W) grown at its lower right: reflected, or its edge repeated if it is too small."""
    down, right = height - image.shape[2], width - image.shape[3]
    if not (down or right):
        return image
    mode = 'reflect' if down < image.shape[2] and right < image.shape[3] else 'replicate'
    return F.pad(image, (0, right, 0, down), mode=mode)
