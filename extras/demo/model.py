"""The model behind the drawing page (`demo.py`): it takes images and style codes and returns PNG files.

Input from the page is untrusted: every method checks its arguments and raises `BadInput` with a message that the page
displays. Nothing is written to disk; images are in memory only during a call.
"""
import io
import platform
import re
import shlex
import threading
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import PIL
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from core.errors import BadInput, shown
from data import MAX_IMAGE_PIXELS, Transform, new_size_of, read_image_bytes, read_options
from engine.methods import METHODS
from engine.style_codes import code_text, slerp
from engine.translator import Translator, make_translator, require_pictures
from extras.demo.style_map import digest_of
from extras.outlines import outline, square
from utils import to_bytes, to_picture

OUTLINE_SIZE = 128     # the minimum size of the outline of a photograph; at smaller sizes, lines break
MOST_STYLES = 12       # per call
MAX_ASPECT_RATIO = 4   # the size on the page limits only the shorter side, so the cost grows with the aspect ratio
LARGEST_SIZE = 512     # the largest size that the page offers
LARGEST_NUMBER = 100   # in a style code from the page; style codes are roughly N(0, 1)
# Origins of a style, as named in requests of the page and in saved files.
ORIGINS = {'sampled': 'sampled', 'picture': 'of a picture', 'blend': 'between two styles',
           'map': 'of a place on the map', 'sliders': 'set by hand'}


class Source(NamedTuple):
    """The files of a model, as the user named them; saved images record them."""
    config: str | None   # None if the checkpoint contains its config
    checkpoint: str
    trainer: str


class DemoModel:
    """A trained model with the directions that its method supports.

    Args:
        source: the files and the method.
        config: the config, as returned by `config.load_config`.
        device: the device of the networks.

    Raises:
        BadInput: the method has no style codes, or the checkpoint cannot be read or does not match the config.
    """

    def __init__(self, source: Source, config: dict, device: torch.device):
        method = METHODS[source.trainer]
        if not method.guided:
            raise BadInput(f'--trainer {source.trainer}: has no styles to choose from; use MUNIT or BicycleGAN, or '
                           f'translate with test.py')
        require_pictures(config, 'The drawing page')
        self.source, self.config = source, config
        self.max_pixels = config.get('max_image_pixels', MAX_IMAGE_PIXELS)
        self.translators: dict[str, Translator] = {
            way: make_translator(config, source.checkpoint, way == 'a2b', source.trainer, device)
            for way in (('a2b', 'b2a') if method.both_ways else ('a2b',))}
        self.lock = threading.Lock()   # one translation at a time: parallel ones are no faster and need more memory
        self._digest = ''

    @property
    def style_length(self) -> int:
        """The number of values in a style code."""
        return self.translators['a2b'].style_length

    def own_size(self, way: str) -> int:
        """Return the size to which the config resizes the shorter side of a direction's inputs."""
        return new_size_of(self.config, self._translator(way).source) or self.config['crop_image_height']

    def sizes(self, way: str) -> list[int]:
        """Return the sizes of the shorter side that the page offers: that of the config, its half and double."""
        own = self.own_size(way)
        return sorted({own, *(size for size in (own // 2, own * 2) if 64 <= size <= LARGEST_SIZE)})

    def content(self, given: bytes, way: str, size: int) -> bytes:
        """Return the resized image that the content encoder of a direction receives, as a PNG.

        `translate` gives the same result for this PNG as for the original image at the same size, except for 16-bit
        images.

        Raises:
            BadInput: the image cannot be read, or the direction or the size is not offered.
        """
        return png_of(self._read(given, way, self._translator(way).source, size))

    def takes_outlines(self, way: str) -> bool:
        """Return whether a direction takes greyscale images, such as outlines, and scikit-image is installed."""
        return self.config[f'input_dim_{self._translator(way).source}'] == 1 and find_spec('skimage') is not None

    def outline(self, given: bytes, way: str) -> bytes:
        """Return the outline of the central square of a photograph, as a PNG that is an input of the direction.

        Raises:
            BadInput: the photograph cannot be read, or the direction does not take outlines.
        """
        if not self.takes_outlines(way):
            raise BadInput('outlines require a model that translates outlines, and scikit-image: pip install -r '
                           'requirements/photos.txt')
        with self.lock:
            size = max(OUTLINE_SIZE, self.own_size(way))
            drawn = outline(square(read_image_bytes(given, 'this file', 3, self.max_pixels, size), size))
        file = io.BytesIO()
        drawn.save(file, 'PNG')
        return file.getvalue()

    def style_of(self, given: bytes, way: str) -> dict[str, Any]:
        """Encode the style of an image, which is resized to the size of the config, as by test.py --style.

        Returns:
            'style', the style code as a list of numbers, and 'picture', the resized image as a PNG.

        Raises:
            BadInput: the image cannot be read, or the model lacks the direction.
        """
        translator = self._translator(way)
        image = self._read(given, way, translator.target, new_size_of(self.config, translator.target))
        with self.lock:
            code = translator.encode_style(image)
        return {'style': code.flatten().tolist(), 'picture': png_of(image)}

    def sample(self, way: str, seed: int, count: int) -> list[list[float]]:
        """Sample the same style codes as test.py --seed SEED --num_style COUNT.

        Raises:
            BadInput: the seed is not a 64-bit integer, or the count is not in 1 to `MOST_STYLES`.
        """
        if not (_is_integer(seed) and -2 ** 63 <= seed < 2 ** 63):
            raise BadInput('the seed must be a whole number of at most 18 digits')
        if not (_is_integer(count) and 1 <= count <= MOST_STYLES):
            raise BadInput(f'1 to {MOST_STYLES} styles can be sampled at once')
        generator = torch.Generator().manual_seed(seed)
        return self._translator(way).draw_styles(count, generator=generator).flatten(1).tolist()

    def blend(self, first: list[float], last: list[float], part: float) -> list[float]:
        """Interpolate spherically between two style codes; `part`, in [0, 1], is the position between them.

        Raises:
            BadInput: a style code or `part` is invalid.
        """
        codes = self._codes([first, last])
        if not (isinstance(part, (int, float)) and 0 <= part <= 1):
            raise BadInput('the position between two styles must be a number from 0 to 1')
        return slerp(codes[0], codes[1], part).flatten().tolist()

    def translate(self, given: bytes, way: str, size: int, styles: list[list[float]]) -> list[bytes]:
        """Translate an image with each of several styles.

        Args:
            given: the content image file, in any format that `data.read_image` supports.
            way: 'a2b' or 'b2a'.
            size: the size to which the shorter side is resized.
            styles: 1 to `MOST_STYLES` style codes.

        Returns:
            One PNG per style.

        Raises:
            BadInput: an argument is invalid, or the image cannot be read.
        """
        translator, codes = self._translator(way), self._codes(styles)
        image = self._read(given, way, translator.source, size)
        with self.lock:
            outputs = translator.translate(image, codes.to(translator.device)).cpu()
        return [png_of(output) for output in outputs]

    def save(self, given: bytes, way: str, size: int, style: list[float], origin: Any = None, seed: Any = None,
             number: Any = None, count: Any = None) -> bytes:
        """Translate an image with one style, and record in the text chunks of the PNG how to reproduce it.

        Args:
            given, way, size, style: as in `translate`.
            origin: one of `ORIGINS`, if known.
            seed, number, count: for a sampled style, the seed, the index of the style from 0, and the number of styles
                sampled together, on which the result of a seed depends.

        Raises:
            BadInput: as in `translate`.
        """
        picture, = self.translate(given, way, size, [style])
        made = ORIGINS.get(origin, 'given') if isinstance(origin, str) else 'given'
        settings = self.settings(way, size, self._codes([style])[0], made)
        if origin == 'sampled' and all(map(_is_integer, (seed, number, count))) and 0 <= number < count <= MOST_STYLES:
            settings['Seed'] = str(seed)
            settings['Style'] = f'sampled: output{number:03d} of test.py --seed {seed} --num_style {count}'
        return with_text(picture, settings)

    def settings(self, way: str, size: int, code: Tensor, made: str) -> dict[str, str]:
        """Return the text chunks of a saved image: the model, the settings and the command that reproduces it."""
        trainer, code = self.source.trainer, code_text(code)
        given = [] if self.source.config is None else ['--config', self.source.config]
        words = ['python', 'test.py', *given, '--checkpoint', self.source.checkpoint,
                 *([] if trainer == 'MUNIT' else ['--trainer', trainer]), '--a2b', str(int(way == 'a2b')),
                 '--new_size', str(size), f'--style_code={code}', '--input', 'INPUT', '--output_folder', 'outputs']
        return {'Software': 'MUNIT in PyTorch, demo.py', 'Trainer': trainer,
                'Config': shown(self.source.config or 'in the checkpoint'),
                'Checkpoint': shown(self.source.checkpoint), 'Checkpoint SHA-256': self.digest(),
                'Direction': 'A to B' if way == 'a2b' else 'B to A', 'Size': str(size), 'Seed': 'none', 'Style': made,
                'Style code': code, 'Command': shown(shlex.join(words), 2000),
                'Version': f'torch {torch.__version__}, Pillow {PIL.__version__}, Python {platform.python_version()}'}

    def digest(self) -> str:
        """Return the SHA-256 of the checkpoint file, which is computed once."""
        self._digest = self._digest or digest_of(self.source.checkpoint)
        return self._digest

    def _translator(self, way: Any) -> Translator:
        if not isinstance(way, str) or way not in self.translators:
            raise BadInput(f'this model only translates {" and ".join(self.translators)}')
        return self.translators[way]

    def _codes(self, styles: Any) -> Tensor:
        """Convert lists of numbers to CPU style codes (N, style_dim, 1, 1). Raises BadInput if one is invalid."""
        if not (isinstance(styles, list) and 1 <= len(styles) <= MOST_STYLES):
            raise BadInput(f'1 to {MOST_STYLES} styles can be used at once')
        for style in styles:
            if not (isinstance(style, list) and len(style) == self.style_length and
                    all(isinstance(number, (int, float)) and abs(number) <= LARGEST_NUMBER for number in style)):
                raise BadInput(f'a style of this model has {self.style_length} numbers, each from -{LARGEST_NUMBER} to '
                               f'{LARGEST_NUMBER}')
        return torch.tensor(styles, dtype=torch.float32)[:, :, None, None]

    def _read(self, given: bytes, way: str, domain: str, size: int) -> Tensor:
        """Read an image file for domain 'a' or 'b'.

        Returns:
            The image (1, C, H, W) in [-1, 1], with C channels as in the config of the domain.

        Raises:
            BadInput: the size is not offered, or the image cannot be read or is too long.
        """
        if not _is_integer(size) or size not in {*self.sizes(way), new_size_of(self.config, domain)}:
            raise BadInput(f'the size must be one of {", ".join(map(str, self.sizes(way)))}')
        with self.lock:
            image = read_image_bytes(given, 'this file', **read_options(self.config, domain), new_size=size)
            if max(image.size) > MAX_ASPECT_RATIO * min(image.size):
                raise BadInput(f'this file: {image.width}×{image.height} pixels; one side may be at most '
                               f'{MAX_ASPECT_RATIO} times the other')
            return Transform(size)(image)[None]


def png_of(image: Tensor) -> bytes:
    """Encode an image (C, H, W) or (1, C, H, W) in [-1, 1] as a PNG, where C is 1 or 3."""
    pixels = to_bytes(to_picture(image.reshape(image.shape[-3:]))).cpu().numpy()
    file = io.BytesIO()
    Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels).save(file, 'PNG', compress_level=1)
    return file.getvalue()


def with_text(png: bytes, settings: dict[str, str]) -> bytes:
    """Add a text chunk to a PNG for each setting, without changing its pixels."""
    text = PngInfo()
    for key, value in settings.items():
        text.add_text(key, value)
    file = io.BytesIO()
    with Image.open(io.BytesIO(png)) as image:
        image.save(file, 'PNG', pnginfo=text, optimize=True)
    return file.getvalue()


def name_of(source: Source, way: str) -> str:
    """Return a name for saved files, without extension, of ASCII letters, digits, hyphens and underscores."""
    stem = re.sub(r'[^A-Za-z0-9_-]+', '_', Path(source.checkpoint).stem)[:60] or 'munit'
    return f'{stem}_{way}'


def _is_integer(number: Any) -> bool:
    """Return whether a JSON value is an integer; bool, a subclass of int, is not."""
    return isinstance(number, int) and not isinstance(number, bool)
