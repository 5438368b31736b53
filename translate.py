"""One direction of a trained model: read an image, encode it, decode it with styles of the other domain."""
import torch
import torch.nn.functional as F
from torch import Tensor

from checkpoints import load_networks
from data import Transform, new_size_of, read_image
from networks import STYLE_HALVINGS, AdaINGen, VAEGen, gaussian_noise

PIXELS_AT_ONCE = 8 * 256 * 256   # as many styles of one image are decoded together as keep to this


class Translator:
    """Content from the source domain's generator, style and image from the target domain's.

    Args:
        config: as `config.load_config` returns it.
        checkpoint: a gen_*.pt.
        a2b: from domain A to B, else from B to A.
        trainer: MUNIT or UNIT.
        device: where the networks go.

    Raises:
        BadInput: a checkpoint that cannot be read or does not fit the config.
    """

    def __init__(self, config: dict, checkpoint: str, a2b: bool, trainer: str, device: torch.device):
        Generator = {'MUNIT': AdaINGen, 'UNIT': VAEGen}[trainer]
        networks = {name: Generator(config[f'input_dim_{name}'], config['gen']) for name in 'ab'}
        load_networks(checkpoint, networks, '--checkpoint')
        self.config, self.trainer, self.device = config, trainer, device
        self.source, self.target = ('a', 'b') if a2b else ('b', 'a')
        self.source_gen = networks[self.source].to(device).eval()
        self.target_gen = networks[self.target].to(device).eval()
        self.multiple = 2 ** config['gen']['n_downsample']

    def read(self, path: str, domain: str, new_size: int | None = None) -> Tensor:
        """The image at `path` as domain 'a' or 'b' wants it: (1, C, H, W) in [-1, 1].

        Args:
            new_size: what the shorter side is resized to; None for the config's, 0 to keep the file's size.

        Raises:
            BadInput: the file cannot be read.
        """
        size = new_size_of(self.config, domain) if new_size is None else new_size
        return Transform(size)(read_image(path, self.config[f'input_dim_{domain}']))[None]

    def draw_styles(self, n: int) -> Tensor:
        """n styles from the prior N(0, 1): (n, style_dim, 1, 1)."""
        return gaussian_noise((n, self.config['gen']['style_dim'], 1, 1), self.device)

    @torch.inference_mode()
    def encode_style(self, image: Tensor) -> Tensor:
        """The style code (1, style_dim, 1, 1) of an image (1, C, H, W) of the target domain, of any size."""
        smallest = 2 ** STYLE_HALVINGS
        image = pad_to(image.to(self.device), max(smallest, image.shape[2]), max(smallest, image.shape[3]))
        return self.target_gen.enc_style(image)

    @torch.inference_mode()
    def translate(self, image: Tensor, styles: Tensor | None = None) -> Tensor:
        """Translate one image (1, C, H, W) of any size, with each of `styles` (n, style_dim, 1, 1).

        Sizes that the networks cannot halve evenly are padded by reflection and cropped back.

        Returns:
            Images of the target domain (n, C, H, W) in [-1, 1]; n is 1 for UNIT, which has no styles.
        """
        height, width = image.shape[2:]
        padded = pad_to(image.to(self.device), self._padded(height), self._padded(width))
        if styles is None:
            outputs = [self.target_gen.decode(self.source_gen.enc(padded))]
        else:
            content = self.source_gen.enc_content(padded)
            at_once = max(1, PIXELS_AT_ONCE // (padded.shape[2] * padded.shape[3]))
            outputs = [self.target_gen.decode(content.expand(len(part), -1, -1, -1), part)
                       for part in styles.split(at_once)]
        return torch.cat(outputs)[:, :, :height, :width]

    def _padded(self, length: int) -> int:
        smallest = max(4, 2 * self.multiple)   # less cannot be padded by reflection inside the networks
        return max(smallest, -(-length // self.multiple) * self.multiple)


def pad_to(image: Tensor, height: int, width: int) -> Tensor:
    """The image (N, C, H, W) grown at its lower right: reflected, or its edge repeated if it is too small."""
    down, right = height - image.shape[2], width - image.shape[3]
    if not (down or right):
        return image
    mode = 'reflect' if down < image.shape[2] and right < image.shape[3] else 'replicate'
    return F.pad(image, (0, right, 0, down), mode=mode)
