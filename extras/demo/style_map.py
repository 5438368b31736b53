"""The map of a style space for the page in the browser: its plane, the places of pictures, and small pictures.

The map of a checkpoint `models/NAME.pt` lies beside it, as `NAME_map_b.json` and `NAME_map_b.jpg` for the styles of B,
and likewise for A; `scripts/draw_style_map.py` makes it. A point (x, y) is the code mean + x·axes[0] + y·axes[1], as in
the map.json of styles.py.
"""
import base64
import contextlib
import hashlib
import io
import json
import math
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image, ImageOps
from torch import Tensor

from core.errors import BadInput, shown
from core.files import atomic_write
from engine.translator import Translator
from extras.styles.style_space import describe_space, measure, plane, with_room
from utils import to_bytes, to_picture

THUMBNAIL = 56         # pixels of a small picture
SHARE = 0.095          # of the map's side that it takes
ROOM = 0.07            # of the map's side that is free of others about it: their white may lie on each other
MARGIN = 0.06          # of the map's side that is left free
MOST_PICTURES = 400    # that a map is made of while the page waits
MOST_DOTS = 500
MOST_THUMBNAILS = 160
MOST_BYTES = 8 * 2 ** 20


def make_map(translator: Translator, paths: Sequence[Path], domain_name: str = '',
             tell: Callable[[int], None] = lambda done: None,
             lock: contextlib.AbstractContextManager | None = None) -> dict[str, Any] | None:
    """The map of the pictures' styles, with the small pictures as a JPEG in 'picture'.

    Pictures that cannot be read are passed over.

    Args:
        domain_name: what the page calls the target domain, '' for its letter.
        tell: called with the number of images that are done.
        lock: is held while one is encoded.

    Returns:
        None where fewer than two pictures could be read.
    """
    codes, thumbnails = [], []
    for done, path in enumerate(paths, start=1):
        try:
            image = translator.read(str(path), translator.target)
        except BadInput:
            continue
        with lock or contextlib.nullcontext():
            codes.append(translator.encode_style(image).flatten(1).cpu())
        thumbnails.append(thumbnail(image))
        tell(done)
    if len(codes) < 2:
        return None
    space = measure(torch.cat(codes))
    points, axes = plane(space)
    low, high = points.amin(0), points.amax(0)
    # What the page shows: a square about the middle, with the same unit along both axes.
    middle, side = (low + high) / 2, max(float((high - low).max()), 1e-3) / (1 - 2 * MARGIN)
    places = [tuple(place) for place in ((points - middle) / side + 0.5).tolist()]
    kept = with_room(places, ROOM)[:MOST_THUMBNAILS]
    explained = [component['explained'] for component in describe_space(space)['components']] + [0.0]
    return {
        'domain': translator.target, 'name': domain_name, 'images': len(codes), 'explained': _rounded(explained[:2]),
        'mean': _rounded(space.mean), 'axes': [_rounded(axis) for axis in axes],
        'middle': _rounded(middle), 'side': float(f'{side:.7g}'), 'share': SHARE,
        # The mean of N(0, 1), and so the circles about it.
        'prior': _rounded(-(axes @ space.mean)),
        'dots': [_rounded(point, 4) for point in points[:MOST_DOTS]],
        'thumbnails': [_rounded(points[i], 4) for i in kept],
        'thumbnail': THUMBNAIL,
        'picture': sprite([thumbnails[i] for i in kept]),
    }


def write_map(made: dict[str, Any], checkpoint: str | Path, digest: str) -> list[Path]:
    """Write a map beside its checkpoint; `digest` is the checkpoint's, for a map fits no other. The files written."""
    json_path, picture_path = places_of(checkpoint, made['domain'])
    text = json.dumps({'checkpoint': digest, **{key: value for key, value in made.items() if key != 'picture'}})
    for path, content in ((picture_path, made['picture']), (json_path, text.replace('], "', '],\n"').encode() + b'\n')):
        with atomic_write(path) as part:
            part.write_bytes(content)
    return [json_path, picture_path]


def read_map(checkpoint: str | Path, domain: str, length: int, digest: Callable[[], str]
             ) -> tuple[dict[str, Any] | None, str]:
    """The map that lies beside a checkpoint, as `make_map` gave it; or None, and why not ('': there is none)."""
    json_path, picture_path = places_of(checkpoint, domain)
    if not json_path.is_file():
        return None, ''
    named = shown(json_path.name)
    try:
        if max(json_path.stat().st_size, picture_path.stat().st_size) > MOST_BYTES:
            raise ValueError('too large')
        made = json.loads(json_path.read_text(encoding='utf-8'))
        if made['checkpoint'] != digest():
            return None, f'{named} is of another checkpoint'
        numbers = [*made['mean'], *made['axes'][0], *made['axes'][1]]
        if len(numbers) != 3 * length or not all(map(math.isfinite, numbers)):
            raise ValueError('wrong length')
        made['picture'] = picture_path.read_bytes()
        with Image.open(io.BytesIO(made['picture']), formats=('JPEG',)) as picture:
            picture.load()
    except (OSError, ValueError, KeyError, TypeError, IndexError, RecursionError):
        return None, f'{named}, or the picture beside it, cannot be read'
    return made, ''


def digest_of(checkpoint: str | Path) -> str:
    """The SHA-256 of a checkpoint's file, which tells whose a map is."""
    digest = hashlib.sha256()
    with open(checkpoint, 'rb') as file:
        while part := file.read(2 ** 20):
            digest.update(part)
    return digest.hexdigest()


def for_page(made: dict[str, Any]) -> dict[str, Any]:
    """The map as JSON can hold it: its picture as a data URL."""
    return {**made, 'picture': 'data:image/jpeg;base64,' + base64.b64encode(made['picture']).decode()}


def places_of(checkpoint: str | Path, domain: str) -> tuple[Path, Path]:
    """Where the map of a checkpoint's domain lies: the JSON and the picture."""
    stem = Path(checkpoint).with_suffix('')
    return stem.with_name(f'{stem.name}_map_{domain}.json'), stem.with_name(f'{stem.name}_map_{domain}.jpg')


def thumbnail(image: Tensor) -> Image.Image:
    """An image (1, C, H, W) in [-1, 1] small, on white."""
    pixels = to_bytes(to_picture(image[0].expand(3, -1, -1))).numpy()
    return ImageOps.pad(Image.fromarray(pixels), (THUMBNAIL, THUMBNAIL), Image.Resampling.BICUBIC, color='white')


def sprite(thumbnails: Sequence[Image.Image]) -> bytes:
    """Small pictures side by side in rows of ten, as a JPEG."""
    laid = Image.new('RGB', (THUMBNAIL * 10, THUMBNAIL * -(-len(thumbnails) // 10)), 'white')
    for i, picture in enumerate(thumbnails):
        laid.paste(picture, (THUMBNAIL * (i % 10), THUMBNAIL * (i // 10)))
    file = io.BytesIO()
    laid.save(file, 'JPEG', quality=82)
    return file.getvalue()


def _rounded(numbers: Tensor | Sequence[float], digits: int = 7) -> list[float]:
    values = numbers.tolist() if isinstance(numbers, Tensor) else numbers
    return [float(f'{value:.{digits}g}') for value in values]


class Maps:
    """The maps of a page: those that lie beside the checkpoint at once, others made by a thread of their own.

    Args:
        checkpoint, digest: as for `read_map`.
        translators: by target domain.
        lock: as for `make_map`.
        find: returns the images of a domain; the page shows its BadInput.
        anew: make all of them, though some may lie beside the checkpoint, and give these their names alone.
    """

    def __init__(self, checkpoint: str, digest: Callable[[], str], translators: dict[str, Translator],
                 lock: contextlib.AbstractContextManager, find: Callable[[str], list[Path]], anew: bool = False):
        self.translators, self.lock, self.find = translators, lock, find
        self.states: dict[str, dict[str, Any]] = {}
        self.names: dict[str, str] = {}   # of the domains, as far as maps beside the checkpoint say
        self._missing = []
        for domain, translator in translators.items():
            made, why = read_map(checkpoint, domain, translator.style_length, digest)
            if made:
                self.names[domain] = shown(made.get('name', ''), 40)
            if made and not anew:
                self.states[domain] = {'map': for_page(made)}
            else:
                self.states[domain] = {'done': 0, 'of': 0}
                self._missing.append((domain, why))

    def start(self) -> None:
        """Begin to make what is missing."""
        if self._missing:
            threading.Thread(target=self._make, daemon=True).start()

    def _make(self) -> None:
        for domain, why in self._missing:
            try:
                paths = self.find(domain)
                paths = [paths[i * len(paths) // MOST_PICTURES] for i in range(MOST_PICTURES)] \
                    if len(paths) > MOST_PICTURES else paths

                def tell(done: int, domain: str = domain, of: int = len(paths)) -> None:
                    self.states[domain] = {'done': done, 'of': of}

                made = make_map(self.translators[domain], paths, tell=tell, lock=self.lock)
                self.states[domain] = {'map': for_page(made)} if made else {
                    'why': 'fewer than two pictures can be read'}
            except BadInput as error:
                self.states[domain] = {'why': why or str(error)}
            except Exception as error:   # the thread has nobody else to tell
                self.states[domain] = {'why': f'it could not be made ({shown(repr(error), 120)})'}
