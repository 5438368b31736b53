"""One translation direction of a trained baseline. The source of variation of its outputs takes the role of styles:

    CycleGAN        the seed of dropout, which is on at test time
    CycleGANNoise   noise, followed by the seed of dropout
    BicycleGAN      a code; dropout is off
"""
from collections.abc import Callable

import torch
from torch import Tensor, nn

from core.errors import BadInput
from engine.translator import Translator, draw_seeds, generators_of, pad_to, place
from extras.baselines.networks import CodeEncoder, ResnetGenerator, UNetGenerator, init_weights


class CycleGAN_Translator(Translator):
    """The generator of one direction. Arguments and errors are those of `Translator`."""

    def __init__(self, config: dict, checkpoint: str, a2b: bool, trainer: str, device: torch.device,
                 precision: str = 'fp32', compile: bool = False, encoder_noise: bool = False):
        if compile:
            raise BadInput(f'--compile: not supported for --trainer {trainer}; leave it out')
        super().__init__(config, checkpoint, a2b, trainer, device, precision, False, encoder_noise)

    @staticmethod
    def networks(config: dict, trainer: str) -> dict[str, nn.Module]:
        """Both generators, named by the domain of their outputs."""
        return {name: ResnetGenerator(config[f'input_dim_{other}'], config[f'input_dim_{name}'], config['gen'])
                for name, other in ('ab', 'ba')}

    @staticmethod
    def initial(config: dict) -> Callable[[nn.Module], None]:
        """A function for `Module.apply` that sets the weights that training starts from."""
        return init_weights(config['init'], config['init_gain'])

    def _place(self, networks: dict[str, nn.Module], states: dict[str, dict[str, Tensor]]) -> None:
        gen = networks[self.target]
        self.target_gen = place(gen, [name for name, _ in gen.named_children()], states[self.target], self.device)
        self._encode, self._decode = nn.Identity(), self._generate

    def _generate(self, images: Tensor, seeds: Tensor | None = None) -> Tensor:
        return self.target_gen(images, None if seeds is None else generators_of(seeds))

    @property
    def samples(self) -> bool:
        """Whether an input has several outputs, which it has with dropout."""
        return self.config['gen']['dropout'] > 0

    def draw_styles(self, *n: int, generator: torch.Generator | None = None) -> Tensor:
        """Seeds of dropout, (*n, 1, 1, 1)."""
        return draw_seeds(*n, generator=generator)


class CycleGANNoise_Translator(CycleGAN_Translator):
    """As `CycleGAN_Translator`, with noise as a second input of the generator."""

    @staticmethod
    def networks(config: dict, trainer: str) -> dict[str, nn.Module]:
        """Both generators, named by the domain of their outputs."""
        return {name: UNetGenerator(config[f'input_dim_{other}'], config[f'input_dim_{name}'], config['gen'], False)
                for name, other in ('ab', 'ba')}

    def _place(self, networks: dict[str, nn.Module], states: dict[str, dict[str, Tensor]]) -> None:
        super()._place(networks, states)
        self.smallest = self.multiple   # U-Nets have no reflection padding

    def _generate(self, images: Tensor, noise_and_seeds: Tensor) -> Tensor:
        noise, seeds = noise_and_seeds.split([self.config['gen']['noise_dim'], 1], 1)
        return self.target_gen(images, noise.flatten(1), generators_of(seeds))

    @property
    def samples(self) -> bool:
        """Whether an input has several outputs: always."""
        return True

    def draw_styles(self, *n: int, generator: torch.Generator | None = None) -> Tensor:
        """Noise N(0, 1), followed by seeds of dropout: (*n, noise_dim + 1, 1, 1)."""
        noise = torch.randn((*n, self.config['gen']['noise_dim'], 1, 1), generator=generator)
        return torch.cat([noise, draw_seeds(*n, generator=generator)], -3)


class BicycleGAN_Translator(CycleGAN_Translator):
    """From A to B, with codes from the prior or from the encoder. Arguments and errors are those of `Translator`."""

    def __init__(self, config: dict, checkpoint: str, a2b: bool, trainer: str, *arguments, **options):
        if not a2b:
            raise BadInput(f'--a2b 0: {trainer} only translates from A to B; use --a2b 1')
        super().__init__(config, checkpoint, a2b, trainer, *arguments, **options)

    @staticmethod
    def networks(config: dict, trainer: str) -> dict[str, nn.Module]:
        """The generator of domain B and the encoder of its codes."""
        return {'b': UNetGenerator(config['input_dim_a'], config['input_dim_b'], config['gen'], True),
                'enc_b': CodeEncoder(config['input_dim_b'], config['gen'])}

    def _place(self, networks: dict[str, nn.Module], states: dict[str, dict[str, Tensor]]) -> None:
        super()._place(networks, states)
        self.smallest = self.multiple   # U-Nets have no reflection padding
        enc = networks['enc_b']
        self.enc_b = place(enc, [name for name, _ in enc.named_children()], states['enc_b'], self.device)

    def _generate(self, images: Tensor, codes: Tensor) -> Tensor:
        return self.target_gen(images, codes.flatten(1))

    @property
    def samples(self) -> bool:
        """Whether an input has several outputs: always."""
        return True

    @property
    def style_length(self) -> int:
        """The length of a code."""
        return self.config['gen']['noise_dim']

    def draw_styles(self, *n: int, generator: torch.Generator | None = None) -> Tensor:
        """Codes from the prior N(0, 1): (*n, noise_dim, 1, 1)."""
        return torch.randn((*n, self.config['gen']['noise_dim'], 1, 1), generator=generator).to(self.device)

    @torch.inference_mode()
    def encode_style(self, image: Tensor) -> Tensor:
        """The means (N, noise_dim, 1, 1) of the codes of images (N, C, H, W) of domain B."""
        smallest = 2 ** (self.config['gen']['enc_res'] + 1)
        image = pad_to(image.to(self.device), max(smallest, image.shape[2]), max(smallest, image.shape[3]))
        mean, _ = self._run(self.enc_b, image)
        return mean.float()[:, :, None, None]
