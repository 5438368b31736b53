"""The Python interface to trained models, for scripts, notebooks and torch.hub.

Images are read and translated as in the commands (`engine.translator.Translator`), so the same image, style or seed
gives the same result as `test.py`.
"""
import contextlib
import copy
import hashlib
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor, nn

from core.band_images import PICTURES
from core.checkpoints import load_networks
from core.device import choose_device
from core.errors import BadInput, shown
from core.precision import autocast, set_precision
from core.safetensors_file import is_safetensors
from data import read_image_bytes, read_options, transform_of
from engine.config import check_config, config_for, load_config
from engine.methods import METHODS, trainer_class
from engine.style_codes import read_codes, slerp
from engine.translator import Translator, make_translator, pad_to
from utils import to_bytes, to_picture

ROOT = Path(__file__).resolve().parents[1]
PNG_MODES = ('1', 'L', 'LA', 'P', 'RGB', 'RGBA', 'I;16')   # stored losslessly by PNG; TIFF is used for others

ImageLike: TypeAlias = str | os.PathLike | Image.Image | np.ndarray | Tensor


class Codes(NamedTuple):
    """The content code and style code of an image, and its size."""
    content: Tensor         # (1, C, h, w); h and w are a quarter of the image's sides in the standard configuration
    style: Tensor | None    # (1, style_dim, 1, 1); None for UNIT
    size: tuple[int, int]   # height and width of the image, to which `decode` crops


# ---------------------------------------------------------------------------------------------------------------------
# Entry points
# ---------------------------------------------------------------------------------------------------------------------

def munit(pretrained: str, config: str | dict | None = None, a2b: bool = True, device: str = 'auto',
          precision: str = 'fp32', progress: bool = True) -> 'ImageTranslator':
    """Return a trained MUNIT as an `ImageTranslator`. See hubconf.py for the arguments.

    Raises:
        BadInput: the model, config or checkpoint cannot be used.
    """
    return ImageTranslator('MUNIT', *find_model(pretrained, config, 'MUNIT', progress), a2b, device, precision)


def unit(pretrained: str, config: str | dict | None = None, a2b: bool = True, device: str = 'auto',
         precision: str = 'fp32', encoder_noise: bool = False, progress: bool = True) -> 'ImageTranslator':
    """Return a trained UNIT. See `munit` for arguments and errors. With `encoder_noise`, outputs are random."""
    return ImageTranslator('UNIT', *find_model(pretrained, config, 'UNIT', progress), a2b, device, precision,
                           encoder_noise)


def trainer(config: str | dict = 'edges2shoes_folder', method: str = 'MUNIT', pretrained: str | None = None,
            device: str = 'cpu', progress: bool = True, **overrides) -> nn.Module:
    """Return a trainer (`trainer.MUNIT_Trainer` or that of another method) on its device. An iteration consists of
    `update_learning_rate()` and `update(x_a, x_b)`.

    Initial weights are drawn from PyTorch's global generator. Settings of the whole process, such as precision and
    determinism, which `train.py` sets according to the config, are not changed.

    Args:
        config: a name in configs/, the path of a YAML file, or a dict.
        method: a key of `engine.methods.METHODS`.
        pretrained: a model whose weights are the initial weights; see `munit`.
        overrides: config keys to override.

    Raises:
        BadInput: the config or the checkpoint cannot be used.
    """
    if method not in METHODS:
        raise BadInput(f'method {shown(repr(method), 80)}: not one of {", ".join(METHODS)}')
    if isinstance(config, str) and not os.path.exists(config):
        config = str(config_of(config))
    config = read_config(config, method, overrides)
    made = trainer_class(method)(config)
    if pretrained is not None:
        _, checkpoint = find_model(pretrained, config, method, progress)
        load_networks(checkpoint, made.generators(), 'pretrained')
    return made.to(choose_device(device))


def munit_generator(pretrained: str, config: str | dict | None = None, a2b: bool = True, device: str = 'cpu',
                    trainable: bool = False, progress: bool = True) -> 'DirectedGenerator':
    """Return one direction of a trained MUNIT as a differentiable module. With `trainable`, its weights require
    gradients. See `munit` for the errors.
    """
    config, checkpoint = find_model(pretrained, config, 'MUNIT', progress)
    with settings_kept():
        translator = make_translator(config, checkpoint, a2b, 'MUNIT', choose_device(device))
    return DirectedGenerator(translator).requires_grad_(trainable)


# ---------------------------------------------------------------------------------------------------------------------
# Finding
# ---------------------------------------------------------------------------------------------------------------------

def pretrained_models() -> list[str]:
    """Return the names of the models included in the project."""
    return sorted(path.stem for path in (ROOT / 'models').glob('*.pt') if _configs_named(path.stem))


def find_model(pretrained: str | os.PathLike, config: str | os.PathLike | dict | None, method: str,
               progress: bool = True) -> tuple[dict, str]:
    """Return the config and the checkpoint path of a model.

    Args:
        pretrained: a name in models/, or the path or https URL of a checkpoint. Downloads are cached.
        config: a path or dict. None uses the config in a .safetensors file, or the file in configs/ with the name of
            the model.
        method: a key of `engine.methods.METHODS`.
        progress: show the progress of a download.

    Raises:
        BadInput: there is no such model, or its config is missing or invalid.
    """
    given = os.fspath(pretrained)
    if given.startswith(('https://', 'file://')):
        checkpoint = _downloaded(given, progress)
    else:
        shipped = ROOT / 'models' / f'{given}.pt'
        checkpoint = str(shipped) if shipped.is_file() and Path(given).name == given else given
        if not os.path.exists(checkpoint):
            raise BadInput(f'pretrained {shown(repr(given), 200)}: no such file, nor one of the models '
                           f'{", ".join(pretrained_models())}')
    if config is None and is_safetensors(checkpoint):
        return config_for(None, checkpoint, method, flag='pretrained'), checkpoint
    return read_config(config_of(Path(checkpoint).stem) if config is None else config, method), checkpoint


def config_of(name: str) -> Path:
    """Return the file in configs/ with this name. The suffix `_folder` or `_list` may be omitted.

    Raises:
        BadInput: there is no such file.
    """
    found = _configs_named(name)
    if not found:
        raise BadInput(f'config: there is no configs/{shown(name, 80)}.yaml or {shown(name, 80)}_folder.yaml; give '
                       f'config=, the YAML file of the training')
    return found[0]


def read_config(config: str | os.PathLike | dict, method: str, overrides: dict | None = None) -> dict:
    """Return the complete config from a file or a dict. The dict is not modified.

    Raises:
        BadInput: the config is invalid. The message has one line for each error.
    """
    if not isinstance(config, dict):
        return load_config(Path(config), method, overrides)
    config = {**copy.deepcopy(config), **(overrides or {})}
    faults = check_config(config, method)
    if faults:
        raise BadInput('\n'.join(f'config: {fault}' for fault in faults))
    return config


def _configs_named(name: str) -> list[Path]:
    paths = [ROOT / 'configs' / f'{name}{ending}.yaml' for ending in ('', '_folder', '_list')]
    return [path for path in paths if Path(name).name == name and path.is_file()]


def _downloaded(address: str, progress: bool) -> str:
    folder = Path(torch.hub.get_dir()) / 'checkpoints' / f'munit_{hashlib.sha256(address.encode()).hexdigest()[:8]}'
    path = folder / Path(address.split('?')[0]).name
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        try:
            torch.hub.download_url_to_file(address, str(path), progress=progress)
        except (OSError, ValueError) as error:
            raise BadInput(f'pretrained {shown(address, 200)}: cannot be downloaded ({error})') from None
    return str(path)


@contextlib.contextmanager
def settings_kept() -> Iterator[None]:
    """A context that restores the global state that a translator changes: the precision of 32-bit products, and the
    state of PyTorch's random number generator.
    """
    with products_kept(), torch.random.fork_rng(devices=[]):
        yield


@contextlib.contextmanager
def products_kept() -> Iterator[None]:
    """Restores the precision of 32-bit products in this process."""
    products, convolutions = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(products)
        torch.backends.cudnn.allow_tf32 = convolutions


# ---------------------------------------------------------------------------------------------------------------------
# Translating
# ---------------------------------------------------------------------------------------------------------------------

class ImageTranslator:
    """Translates images in one direction with a trained model.

    An image can be the path of a file, a PIL image, a NumPy array or a tensor:

        path, PIL image              any format that the commands read; resized according to the config
        array (H, W), (H, W, 1|3|4)  uint8, uint16 (grey), or floats in [0, 1]; resized according to the config
        tensor uint8 (C, H, W)       resized according to the config
        tensor of floats             (C, H, W) or (1, C, H, W) in [-1, 1], passed to the networks without resizing

    Outputs are PIL images, or with `output='tensor'` tensors in [-1, 1] on the device of the model.

    Args:
        method: MUNIT or UNIT.
        config: a complete config.
        checkpoint: path of a gen_XXXXXXXX.pt.
        a2b: translate from domain A to B if true, from B to A otherwise.
        device: auto, cpu, cuda, cuda:N or mps.
        precision: fp32, tf32 or bf16. It applies to this model only.
        encoder_noise: for UNIT: add the noise of the encoder, so that outputs are random.

    Raises:
        BadInput: the checkpoint does not match the config, or the device is not available.
    """

    def __init__(self, method: str, config: dict, checkpoint: str, a2b: bool = True, device: str = 'auto',
                 precision: str = 'fp32', encoder_noise: bool = False):
        self.method, self.config, self.checkpoint = method, config, checkpoint
        self._arguments = choose_device(device), precision, False, encoder_noise
        self._translators: dict[str, Translator] = {}   # by the source domain, as they are needed
        self.source, self.target = ('a', 'b') if a2b else ('b', 'a')
        self.translator = self._from(self.source)

    def __repr__(self) -> str:
        return (f'{type(self).__name__}({self.method}, {Path(self.checkpoint).name}, '
                f'{self.source.upper()} to {self.target.upper()}, {self.device})')

    @property
    def device(self) -> torch.device:
        """Device of the networks."""
        return self.translator.device

    @property
    def style_dim(self) -> int:
        """Length of a style code."""
        self._check_styles('style_dim')
        return self.translator.style_length

    def reversed(self) -> 'ImageTranslator':
        """Return the same model in the other direction."""
        other = copy.copy(self)
        other.source, other.target = self.target, self.source
        other.translator = self._from(other.source)   # the dict of translators is shared
        return other

    def translate(self, image: ImageLike, style: ImageLike | None = None, styles: Any = None, n: int | None = None,
                  seed: int | None = None, output: str = 'pil', new_size: int | None = None,
                  normalize: bool = False) -> Image.Image | list[Image.Image] | Tensor:
        """Translate an image of the source domain.

        Args:
            image: the image to translate.
            style: an image of the target domain whose style is used. At most one of `style`, `styles` and `n` can be
                given; without any of them, one style is sampled.
            styles: style codes (style_dim), (n, style_dim) or (n, style_dim, 1, 1) as numbers, or a text or file as for
                `test.py --style_code`.
            n: number of styles to sample.
            seed: seed of the sampled styles, as for `test.py --seed`; None uses PyTorch's global generator.
            output: 'pil' or 'tensor'.
            new_size: length to which the shorter side is resized; 0 keeps the size, None uses the config's.
            normalize: rescale each output to the full range of values, as the original does.

        Returns:
            With `styles` or `n`, a list of PIL images or a tensor (n, C, H, W); otherwise a PIL image or (C, H, W).

        Raises:
            BadInput: the image or the styles cannot be used.
        """
        if sum(given is not None for given in (style, styles, n)) > 1:
            raise BadInput('translate: give one of style, styles and n')
        if output not in ('pil', 'tensor'):
            raise BadInput(f'output {shown(repr(output), 80)}: not one of pil, tensor')
        with self._precision():
            images = self.read(image, self.source, new_size)
            if style is not None:
                codes = self._encode_style(style, self.target, new_size)
            elif styles is not None:
                codes = self.as_styles(styles)
            elif self.translator.samples:
                codes = self.sample_styles(1 if n is None else n, seed)
            else:
                if n is not None:
                    self._check_styles('n')
                codes = None
            outputs = self.translator.translate(images, codes)
        return self._finished(outputs, output, normalize, alone=styles is None and n is None)

    def encode(self, image: ImageLike, domain: str | None = None, new_size: int | None = None) -> Codes:
        """Encode an image to its content code and style code.

        Args:
            domain: domain of the image, 'a' or 'b'; None for the source domain.
            new_size: see `translate`.

        Raises:
            BadInput: the image cannot be used.
        """
        domain = self._domain(domain, self.source)
        with self._precision(), torch.no_grad():
            images = self.read(image, domain, new_size)
            height, width = images.shape[2:]
            gen = self._from(domain).source_gen
            encoder = gen.enc_content if self.method == 'MUNIT' else gen.enc
            content = encoder(pad_to(images, *map(self.translator.padded, (height, width))))
            style = self._encode_style(images, domain) if self.method == 'MUNIT' else None
        return Codes(content.float(), style, (height, width))

    def decode(self, content: Tensor, styles: Any = None, domain: str | None = None,
               size: tuple[int, int] | None = None, output: str = 'pil') -> list[Image.Image] | Tensor:
        """Decode a content code with each of the styles.

        Args:
            content: a content code (1, C, h, w) from `encode`, of either domain, since the content space is shared.
            styles: see `translate`; None for UNIT.
            domain: domain of the outputs, 'a' or 'b'; None for the target domain.
            size: height and width to which the outputs are cropped, as in `Codes`; None does not crop.
            output: 'pil' or 'tensor'.

        Returns:
            A list of PIL images, or a tensor (n, C, H, W).
        """
        domain = self._domain(domain, self.target)
        gen = self._from('b' if domain == 'a' else 'a').target_gen
        with self._precision(), torch.no_grad():
            content = content.to(self.device)
            if self.method == 'MUNIT':
                styles = self.as_styles(styles)
                pictures = gen.decode(content.expand(len(styles), *content.shape[1:]), styles)
            else:
                pictures = gen.decode(content)
            height, width = size or pictures.shape[2:]
            return self._finished(pictures[..., :height, :width].float(), output)

    def sample_styles(self, n: int = 1, seed: int | None = None) -> Tensor:
        """Sample styles (n, style_dim, 1, 1) from N(0, 1). With a seed, they are those of `test.py --seed`.

        Args:
            seed: random seed; None uses PyTorch's global generator.
        """
        if not self.translator.samples:
            self._check_styles('sample_styles')
        if n < 1:
            raise BadInput(f'n {n}: at least 1')
        generator = None if seed is None else torch.Generator().manual_seed(seed)
        return self.translator.draw_styles(n, generator=generator)

    def interpolate_styles(self, first: Any, second: Any, n: int = 8) -> Tensor:
        """Interpolate spherically between two styles. Returns n styles (n, style_dim, 1, 1), including both ends."""
        first, second = self.as_styles(first), self.as_styles(second)
        return torch.cat([slerp(first[:1], second[:1], i / max(1, n - 1)) for i in range(n)])

    def as_styles(self, styles: Any) -> Tensor:
        """Convert style codes in any form that `translate` accepts to a tensor (n, style_dim, 1, 1) on the device.

        Raises:
            BadInput: they are not valid style codes of this model.
        """
        if self.translator.encoder_noise:
            return torch.as_tensor(styles)
        self._check_styles('styles')
        length = self.style_dim
        if isinstance(styles, (str, os.PathLike)):
            return read_codes(os.fspath(styles), length, 'styles').to(self.device)
        try:
            codes = torch.as_tensor(styles, dtype=torch.float32)
        except (TypeError, ValueError, RuntimeError):
            raise BadInput(f'styles: {type(styles).__name__} is neither numbers nor text of numbers') from None
        if codes.dim() > 2 and codes.shape[-2:] == (1, 1):
            codes = codes[..., 0, 0]
        if codes.dim() not in (1, 2) or codes.shape[-1] != length or not len(codes):
            raise BadInput(f'styles: of shape {tuple(codes.shape)}, not ({length}), (n, {length}) or '
                           f'(n, {length}, 1, 1)')
        if not codes.isfinite().all():
            raise BadInput('styles: not all of their numbers are finite')
        return codes.reshape(-1, length, 1, 1).to(self.device)

    def read(self, image: ImageLike, domain: str | None = None, new_size: int | None = None) -> Tensor:
        """Convert an image to the input of the networks (1, C, H, W) in [-1, 1] on the device.

        Args:
            domain: domain of the image, 'a' or 'b'; None for the source domain.
            new_size: see `translate`.

        Raises:
            BadInput: the image cannot be used.
        """
        domain = self._domain(domain, self.source)
        channels = self.config[f'input_dim_{domain}']
        if isinstance(image, (str, os.PathLike)):
            return self.translator.read(os.fspath(image), domain, new_size).to(self.device)
        if isinstance(image, Tensor) and image.is_floating_point():
            return checked_tensor(image, channels).to(self.device)
        if isinstance(image, Tensor):
            image = array_of(image)
        if isinstance(image, np.ndarray):
            image = picture_of(image)
        if not isinstance(image, Image.Image):
            raise BadInput(f'image: a {type(image).__name__} is not a path, PIL image, NumPy array or tensor')
        transform = transform_of(self.config, domain, new_size)
        picture = read_image_bytes(file_of(image), 'image', **read_options(self.config, domain),
                                   new_size=transform.new_size)
        return transform(picture)[None].to(self.device)

    def _encode_style(self, image: ImageLike, domain: str, new_size: int | None = None) -> Tensor:
        self._check_styles('style')
        translator = self._from('b' if domain == 'a' else 'a')
        return translator.encode_style(self.read(image, domain, new_size)).clone()

    def _from(self, domain: str) -> Translator:
        """Return the translator with this source domain."""
        if domain not in self._translators:
            with settings_kept():
                self._translators[domain] = make_translator(self.config, self.checkpoint, domain == 'a', self.method,
                                                            *self._arguments)
        return self._translators[domain]

    @contextlib.contextmanager
    def _precision(self) -> Iterator[None]:
        """A context with the precision of this model, independent of the setting of the process."""
        precision = self.translator.precision
        with products_kept(), autocast(precision, self.device):
            set_precision(precision)
            yield

    def _check_styles(self, what: str) -> None:
        if self.method != 'MUNIT':
            raise BadInput(f'{what}: {self.method} has no styles; leave it out')

    @staticmethod
    def _domain(domain: str | None, default: str) -> str:
        if domain not in (None, 'a', 'b'):
            raise BadInput(f'domain {shown(repr(domain), 80)}: not one of a, b')
        return domain or default

    @staticmethod
    def _finished(pictures: Tensor, output: str, normalize: bool = False, alone: bool = False):
        pictures = pictures.clone()   # autograd does not accept inference tensors
        if output == 'tensor':
            made: Any = to_picture(pictures, True) * 2 - 1 if normalize else pictures
        else:
            if pictures.shape[1] not in PICTURES:
                raise BadInput(f'output: images of {pictures.shape[1]} channels are no pictures; ask for '
                               f"output='tensor'")
            made = [Image.fromarray(array[:, :, 0] if array.shape[2] == 1 else array)
                    for array in to_bytes(to_picture(pictures, normalize)).cpu().numpy()]
        return made[0] if alone else made


class DirectedGenerator(nn.Module):
    """One direction of MUNIT as a module that is differentiable with respect to images and styles.

    Its parts are `source.enc_content`, `target.enc_style`, `target.mlp` and `target.dec`. It computes in the precision
    of the caller, and is in eval mode unless `train()` is called.
    """

    def __init__(self, translator: Translator):
        super().__init__()
        self.source, self.target = translator.source_gen, translator.target_gen
        self.style_dim, self.multiple, self.smallest = translator.style_length, translator.multiple, translator.smallest
        self.eval()

    def forward(self, images: Tensor, style: Tensor | None = None) -> Tensor:
        """Translate images.

        Args:
            images: images (N, C, H, W) of the source domain in [-1, 1], of any size.
            style: style codes (style_dim), (N, style_dim) or (N, style_dim, 1, 1); None samples one for each image.

        Returns:
            Images (N, C', H, W) in [-1, 1].
        """
        height, width = images.shape[2:]
        padded = [max(self.smallest, -(-side // self.multiple) * self.multiple) for side in (height, width)]
        if style is None:
            style = self.sample_styles(len(images)).to(images.device)
        style = style.reshape(-1, self.style_dim, 1, 1).expand(len(images), -1, -1, -1)
        content = self.source.enc_content(pad_to(images, *padded))
        return self.target.decode(content, style)[..., :height, :width]

    def encode_style(self, images: Tensor) -> Tensor:
        """Encode images (N, C, H, W) of the target domain to style codes (N, style_dim, 1, 1)."""
        return self.target.enc_style(images)

    def sample_styles(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Sample styles (n, style_dim, 1, 1) from N(0, 1) on the CPU."""
        return torch.randn(n, self.style_dim, 1, 1, generator=generator)


# ---------------------------------------------------------------------------------------------------------------------
# Images
# ---------------------------------------------------------------------------------------------------------------------

def checked_tensor(image: Tensor, channels: int) -> Tensor:
    """Check a float tensor and return it as (1, C, H, W).

    Raises:
        BadInput: the tensor has another shape, or values outside [-1, 1].
    """
    image = image.detach()[None] if image.dim() == 3 else image.detach()
    if image.dim() != 4 or len(image) != 1 or image.shape[1] != channels or 0 in image.shape:
        raise BadInput(f'image: a tensor of shape {tuple(image.shape)}, not ({channels}, H, W)')
    if not bool((image.abs() <= 1.001).all()):   # also rejects NaN
        raise BadInput('image: a tensor with values outside [-1, 1]')
    return image.float()


def array_of(image: Tensor) -> np.ndarray:
    """Convert a uint8 tensor (C, H, W) to an array (H, W, C)."""
    image = image[0] if image.dim() == 4 and len(image) == 1 else image
    if image.dim() != 3 or image.dtype != torch.uint8:
        raise BadInput(f'image: a tensor of {image.dtype} and shape {tuple(image.shape)}, not of bytes (C, H, W) or '
                       f'floats in [-1, 1]')
    return image.movedim(0, -1).cpu().numpy()


def picture_of(array: np.ndarray) -> Image.Image:
    """Convert an array (H, W) or (H, W, 1|3|4) of uint8, uint16 (one channel) or floats in [0, 1] to a PIL image.

    Raises:
        BadInput: the array has another shape, type or range.
    """
    named = f'image: an array of {array.dtype} and shape {array.shape}'
    array = array[:, :, 0] if array.ndim == 3 and array.shape[2] == 1 else array
    if array.ndim not in (2, 3) or array.ndim == 3 and array.shape[2] not in (3, 4) or 0 in array.shape:
        raise BadInput(f'{named}, not (H, W) or (H, W, 1, 3 or 4)')
    if np.issubdtype(array.dtype, np.floating):
        if not (array.min() >= 0 and array.max() <= 1):
            raise BadInput(f'{named} with values outside [0, 1]')
        array = (array * 255 + 0.5).astype(np.uint8)
    if array.dtype == bool:
        array = array.astype(np.uint8) * 255
    if array.dtype != np.uint8 and not (array.dtype == np.uint16 and array.ndim == 2):
        raise BadInput(f'{named}, not of uint8, floats in [0, 1], or uint16 of one channel')
    return Image.fromarray(np.ascontiguousarray(array))


def file_of(image: Image.Image) -> bytes:
    """Encode a PIL image losslessly as the content of an image file, which `read_image_bytes` can read.

    Raises:
        BadInput: the image cannot be encoded.
    """
    content = io.BytesIO()
    try:
        image = ImageOps.exif_transpose(image)
        options = {'format': 'PNG', 'compress_level': 0} if image.mode in PNG_MODES else {'format': 'TIFF'}
        image.save(content, **options)
    except Exception as error:   # PIL decodes lazily; broken files can raise any error
        raise BadInput(f'image: a PIL image of mode {image.mode} that cannot be used ({shown(error, 200)})') from None
    return content.getvalue()
