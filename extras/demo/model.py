"""The model's side of the page in the browser (`demo.py`): pictures and style codes in, PNG out, nothing kept.

What comes from the page is a stranger's: each method checks what it is given, and says in a `BadInput` what is wrong
in words for the page. No file is written: pictures stay in memory, and only as long as a call lasts.
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
from data import MAX_IMAGE_PIXELS, Transform, new_size_of, read_image_bytes, reading_of
from engine.methods import METHODS
from engine.style_codes import code_text, slerp
from engine.translator import Translator, make_translator
from extras.demo.style_map import digest_of
from extras.outlines import outline, square
from utils import to_bytes, to_picture

OUTLINE_SIZE = 128     # at least, of the outline of a photograph: finer than that, lines break
MOST_STYLES = 12       # in a call
LONGEST = 4            # times the shorter side: what is longer costs as much more than the page says
LARGEST_SIZE = 512     # that the page offers
LARGEST_NUMBER = 100   # in a style code from the page; codes are about N(0, 1)
ORIGINS = {'sampled': 'sampled', 'picture': 'of a picture', 'blend': 'between two styles',
           'map': 'of a place on the map', 'sliders': 'set by hand'}   # of a style: the page's word, and a saved file's


class Source(NamedTuple):
    """What a saved picture says of the model: names as the user gave them."""
    config: str | None   # None: the checkpoint brings its own along
    checkpoint: str
    trainer: str


class DemoModel:
    """Both directions of a trained model, as far as the method has them.

    Args:
        source: what the model is made of.
        config: as `config.load_config` returns it for it.
        device: where the networks go.

    Raises:
        BadInput: a method without style codes, or a checkpoint that cannot be read or does not fit.
    """

    def __init__(self, source: Source, config: dict, device: torch.device):
        method = METHODS[source.trainer]
        if not method.guided:
            raise BadInput(f'--trainer {source.trainer}: has no styles to choose from; MUNIT and BicycleGAN have, and '
                           f'test.py translates with it')
        self.source, self.config = source, config
        self.max_pixels = config.get('max_image_pixels', MAX_IMAGE_PIXELS)
        self.translators: dict[str, Translator] = {
            way: make_translator(config, source.checkpoint, way == 'a2b', source.trainer, device)
            for way in (('a2b', 'b2a') if method.both_ways else ('a2b',))}
        self.lock = threading.Lock()   # one at a time: more together are no faster, and take the memory of all
        self._digest = ''

    @property
    def style_length(self) -> int:
        """How many numbers a style code has."""
        return self.translators['a2b'].style_length

    def own_size(self, way: str) -> int:
        """What the shorter side of a direction's inputs is resized to by the config."""
        return new_size_of(self.config, self._translator(way).source) or self.config['crop_image_height']

    def sizes(self, way: str) -> list[int]:
        """The shorter sides that the page offers: the config's own, its half, its double."""
        own = self.own_size(way)
        return sorted({own, *(size for size in (own // 2, own * 2) if 64 <= size <= LARGEST_SIZE)})

    def content(self, given: bytes, way: str, size: int) -> bytes:
        """A picture as the direction's content encoder will see it: the PNG of the resized picture.

        Given to `translate` at the same size, it is the picture itself, 16-bit files apart.
        """
        return png_of(self._read(given, way, self._translator(way).source, size))

    def takes_outlines(self, way: str) -> bool:
        """Whether the direction starts from grey images, as outlines are, and the library that finds them is there."""
        return self.config[f'input_dim_{self._translator(way).source}'] == 1 and find_spec('skimage') is not None

    def outline(self, given: bytes, way: str) -> bytes:
        """The outline of a photograph's middle square, as the PNG of an input for the direction."""
        if not self.takes_outlines(way):
            raise BadInput('outlines are for models of outlines, and need scikit-image: pip install -r '
                           'requirements/photos.txt')
        with self.lock:
            size = max(OUTLINE_SIZE, self.own_size(way))
            drawn = outline(square(read_image_bytes(given, 'this file', 3, self.max_pixels, size), size))
        file = io.BytesIO()
        drawn.save(file, 'PNG')
        return file.getvalue()

    def style_of(self, given: bytes, way: str) -> dict[str, Any]:
        """The style code of a picture, a list of numbers, and a PNG to show for it: 'style' and 'picture'.

        It is resized as by test.py --style, to the config's size.
        """
        translator = self._translator(way)
        image = self._read(given, way, translator.target, new_size_of(self.config, translator.target))
        with self.lock:
            code = translator.encode_style(image)
        return {'style': code.flatten().tolist(), 'picture': png_of(image)}

    def sample(self, way: str, seed: int, count: int) -> list[list[float]]:
        """The style codes that test.py --seed SEED --num_style COUNT samples."""
        if not (_whole(seed) and -2 ** 63 <= seed < 2 ** 63):
            raise BadInput('the seed is to be a whole number of at most 18 digits')
        if not (_whole(count) and 1 <= count <= MOST_STYLES):
            raise BadInput(f'1 to {MOST_STYLES} styles can be sampled at once')
        generator = torch.Generator().manual_seed(seed)
        return self._translator(way).draw_styles(count, generator=generator).flatten(1).tolist()

    def blend(self, first: list[float], last: list[float], part: float) -> list[float]:
        """The style code at `part`, 0 to 1, on the arc between two (`codes.slerp`)."""
        codes = self._codes([first, last])
        if not (isinstance(part, (int, float)) and 0 <= part <= 1):
            raise BadInput('a place between two styles is a number from 0 to 1')
        return slerp(codes[0], codes[1], part).flatten().tolist()

    def translate(self, given: bytes, way: str, size: int, styles: list[list[float]]) -> list[bytes]:
        """A picture with each of the styles: a PNG each.

        Args:
            given: the file of the content, of any kind that `data.read_image` knows.
            way: 'a2b' or 'b2a'.
            size: what its shorter side is resized to.
            styles: up to `MOST_STYLES` codes.
        """
        translator, codes = self._translator(way), self._codes(styles)
        image = self._read(given, way, translator.source, size)
        with self.lock:
            outputs = translator.translate(image, codes.to(translator.device)).cpu()
        return [png_of(output) for output in outputs]

    def save(self, given: bytes, way: str, size: int, style: list[float], origin: Any = None, seed: Any = None,
             number: Any = None, count: Any = None) -> bytes:
        """One translation as a PNG that says in its text chunks how to make it again.

        Args:
            origin: one of `ORIGINS`, if it is known.
            seed, number, count: of a sampled style: the seed, and which of how many it is, from 0. What is drawn from
                a seed depends on how much is drawn.
        """
        picture, = self.translate(given, way, size, [style])
        made = ORIGINS.get(origin, 'given') if isinstance(origin, str) else 'given'
        settings = self.settings(way, size, self._codes([style])[0], made)
        if origin == 'sampled' and all(map(_whole, (seed, number, count))) and 0 <= number < count <= MOST_STYLES:
            settings['Seed'] = str(seed)
            settings['Style'] = f'sampled: output{number:03d} of test.py --seed {seed} --num_style {count}'
        return with_text(picture, settings)

    def settings(self, way: str, size: int, code: Tensor, made: str) -> dict[str, str]:
        """What a saved picture says of itself."""
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
        """The SHA-256 of the checkpoint, computed once."""
        self._digest = self._digest or digest_of(self.source.checkpoint)
        return self._digest

    def _translator(self, way: Any) -> Translator:
        if not isinstance(way, str) or way not in self.translators:
            raise BadInput(f'this model translates {" and ".join(self.translators)}, and no other way')
        return self.translators[way]

    def _codes(self, styles: Any) -> Tensor:
        """Style codes (n, length, 1, 1) of lists of numbers, on the CPU."""
        if not (isinstance(styles, list) and 1 <= len(styles) <= MOST_STYLES):
            raise BadInput(f'1 to {MOST_STYLES} styles at once')
        for style in styles:
            if not (isinstance(style, list) and len(style) == self.style_length and
                    all(isinstance(number, (int, float)) and abs(number) <= LARGEST_NUMBER for number in style)):
                raise BadInput(f'a style of this model has {self.style_length} numbers, each from -{LARGEST_NUMBER} to '
                               f'{LARGEST_NUMBER}')
        return torch.tensor(styles, dtype=torch.float32)[:, :, None, None]

    def _read(self, given: bytes, way: str, domain: str, size: int) -> Tensor:
        """The picture as domain 'a' or 'b' wants it: (1, C, H, W) in [-1, 1]."""
        if not _whole(size) or size not in {*self.sizes(way), new_size_of(self.config, domain)}:
            raise BadInput(f'the sizes are {", ".join(map(str, self.sizes(way)))}')
        with self.lock:
            image = read_image_bytes(given, 'this file', **reading_of(self.config, domain), new_size=size)
            if max(image.size) > LONGEST * min(image.size):
                raise BadInput(f'this file: {image.width}×{image.height} pixels are too long a strip; at most '
                               f'{LONGEST} to 1')
            return Transform(size)(image)[None]


def png_of(image: Tensor) -> bytes:
    """The PNG of an image (C, H, W) or (1, C, H, W) in [-1, 1], C 1 or 3."""
    pixels = to_bytes(to_picture(image.reshape(image.shape[-3:]))).cpu().numpy()
    file = io.BytesIO()
    Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels).save(file, 'PNG', compress_level=1)
    return file.getvalue()


def with_text(png: bytes, settings: dict[str, str]) -> bytes:
    """The PNG with a text chunk for each of the settings, the pixels as they are."""
    text = PngInfo()
    for key, value in settings.items():
        text.add_text(key, value)
    file = io.BytesIO()
    with Image.open(io.BytesIO(png)) as image:
        image.save(file, 'PNG', pnginfo=text, optimize=True)
    return file.getvalue()


def name_of(source: Source, way: str) -> str:
    """A file name for what is saved, without its ending: letters, digits, minus and underscore."""
    stem = re.sub(r'[^A-Za-z0-9_-]+', '_', Path(source.checkpoint).stem)[:60] or 'munit'
    return f'{stem}_{way}'


def _whole(number: Any) -> bool:
    return isinstance(number, int) and not isinstance(number, bool)
