"""The style map of the drawing page: a plane through the style space, with thumbnails of images at their style codes.

`scripts/draw_style_map.py` writes the map of domain B for a checkpoint `models/NAME.pt` to `models/NAME_map_b.json` and
`models/NAME_map_b.jpg`, and likewise for domain A. The point (x, y) stands for the style code
mean + x·axes[0] + y·axes[1], as in the map.json of `scripts/analyze_styles.py`.
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
from utils import as_rgb, to_bytes, to_picture

THUMBNAIL = 56         # side of a thumbnail in pixels
# The next three are fractions of the side of the map.
SHARE = 0.095          # side of a thumbnail
ROOM = 0.07            # minimum distance of thumbnails; less than SHARE, since their white borders may overlap
MARGIN = 0.06          # empty border of the map
MOST_PICTURES = 400    # images used for a map that the server computes while the page waits
MOST_DOTS = 500
MOST_THUMBNAILS = 160
MOST_BYTES = 8 * 2 ** 20   # of each map file


def make_map(translator: Translator, paths: Sequence[Path], domain_name: str = '',
             tell: Callable[[int], None] = lambda done: None,
             lock: contextlib.AbstractContextManager | None = None) -> dict[str, Any] | None:
    """Compute the style map of images of the target domain. Unreadable images are skipped.

    Args:
        translator: the model that encodes the styles.
        paths: the image files.
        domain_name: the name of the domain on the page; if empty, the page shows its letter.
        tell: a progress callback, called with the number of images processed so far.
        lock: held while an image is encoded.

    Returns:
        The map as a JSON-compatible dict, except that 'picture' holds the thumbnails as a JPEG (see `sprite`); or None
        if fewer than two images can be read.
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
    # The page shows a square around the centre, with the same scale on both axes.
    middle, side = (low + high) / 2, max(float((high - low).max()), 1e-3) / (1 - 2 * MARGIN)
    places = [tuple(place) for place in ((points - middle) / side + 0.5).tolist()]
    kept = with_room(places, ROOM)[:MOST_THUMBNAILS]
    explained = [component['explained'] for component in describe_space(space)['components']] + [0.0]
    return {
        'domain': translator.target, 'name': domain_name, 'images': len(codes), 'explained': _rounded(explained[:2]),
        'mean': _rounded(space.mean), 'axes': [_rounded(axis) for axis in axes],
        'middle': _rounded(middle), 'side': float(f'{side:.7g}'), 'share': SHARE,
        # The projection of the prior's mean, around which the page draws circles.
        'prior': _rounded(-(axes @ space.mean)),
        'dots': [_rounded(point, 4) for point in points[:MOST_DOTS]],
        'thumbnails': [_rounded(points[i], 4) for i in kept],
        'thumbnail': THUMBNAIL,
        'picture': sprite([thumbnails[i] for i in kept]),
    }


def write_map(made: dict[str, Any], checkpoint: str | Path, digest: str) -> list[Path]:
    """Write a map next to its checkpoint, and return the files written.

    Args:
        made: the map, as returned by `make_map`.
        checkpoint: the checkpoint file.
        digest: the SHA-256 of the checkpoint, by which `read_map` rejects maps of other checkpoints.
    """
    json_path, picture_path = places_of(checkpoint, made['domain'])
    text = json.dumps({'checkpoint': digest, **{key: value for key, value in made.items() if key != 'picture'}})
    for path, content in ((picture_path, made['picture']), (json_path, text.replace('], "', '],\n"').encode() + b'\n')):
        with atomic_write(path) as part:
            part.write_bytes(content)
    return [json_path, picture_path]


def read_map(checkpoint: str | Path, domain: str, length: int, digest: Callable[[], str]
             ) -> tuple[dict[str, Any] | None, str]:
    """Read and check the map next to a checkpoint.

    Args:
        checkpoint, domain: the checkpoint file, and the domain ('a' or 'b') of the styles.
        length: the number of values in a style code of the model.
        digest: a function that returns the SHA-256 of the checkpoint.

    Returns:
        The map as returned by `make_map`, and an empty string; or None and the reason, which is empty if there is no
        map file.
    """
    json_path, picture_path = places_of(checkpoint, domain)
    if not json_path.is_file():
        return None, ''
    named = shown(json_path.name)
    try:
        if max(json_path.stat().st_size, picture_path.stat().st_size) > MOST_BYTES:
            raise ValueError('too large')
        made = json.loads(json_path.read_text(encoding='utf-8'))
        if made['checkpoint'] != digest():
            return None, f'{named} belongs to another checkpoint'
        numbers = [*made['mean'], *made['axes'][0], *made['axes'][1]]
        if len(numbers) != 3 * length or not all(map(math.isfinite, numbers)):
            raise ValueError('wrong length')
        made['picture'] = picture_path.read_bytes()
        with Image.open(io.BytesIO(made['picture']), formats=('JPEG',)) as picture:
            picture.load()
    except (OSError, ValueError, KeyError, TypeError, IndexError, RecursionError):
        return None, f'{named} or its .jpg file cannot be read'
    return made, ''


def digest_of(checkpoint: str | Path) -> str:
    """Return the SHA-256 of a checkpoint file, which identifies the checkpoint of a map."""
    digest = hashlib.sha256()
    with open(checkpoint, 'rb') as file:
        while part := file.read(2 ** 20):
            digest.update(part)
    return digest.hexdigest()


def for_page(made: dict[str, Any]) -> dict[str, Any]:
    """Return a map that can be serialised as JSON, with the thumbnails as a data URL."""
    return {**made, 'picture': 'data:image/jpeg;base64,' + base64.b64encode(made['picture']).decode()}


def places_of(checkpoint: str | Path, domain: str) -> tuple[Path, Path]:
    """Return the paths of the map files of a checkpoint and a domain: the JSON file and the thumbnails."""
    stem = Path(checkpoint).with_suffix('')
    return stem.with_name(f'{stem.name}_map_{domain}.json'), stem.with_name(f'{stem.name}_map_{domain}.jpg')


def thumbnail(image: Tensor) -> Image.Image:
    """Return a thumbnail of an image (1, C, H, W) in [-1, 1], padded with white to a square."""
    pixels = to_bytes(as_rgb(to_picture(image[0]))).numpy()
    return ImageOps.pad(Image.fromarray(pixels), (THUMBNAIL, THUMBNAIL), Image.Resampling.BICUBIC, color='white')


def sprite(thumbnails: Sequence[Image.Image]) -> bytes:
    """Return a JPEG that contains all thumbnails, in rows of ten."""
    laid = Image.new('RGB', (THUMBNAIL * 10, THUMBNAIL * -(-len(thumbnails) // 10)), 'white')
    for i, picture in enumerate(thumbnails):
        laid.paste(picture, (THUMBNAIL * (i % 10), THUMBNAIL * (i // 10)))
    file = io.BytesIO()
    laid.save(file, 'JPEG', quality=82)
    return file.getvalue()


def _rounded(numbers: Tensor | Sequence[float], digits: int = 7) -> list[float]:
    """Round to significant digits, so that the JSON file is small."""
    values = numbers.tolist() if isinstance(numbers, Tensor) else numbers
    return [float(f'{value:.{digits}g}') for value in values]


class Maps:
    """The style maps of a model. Maps that are not next to the checkpoint are computed by a background thread.

    Args:
        checkpoint, digest: as in `read_map`.
        translators: the translator into each target domain.
        lock: as in `make_map`.
        find: returns the images of a domain; the page displays the message of its `BadInput`.
        recompute: compute all maps; those next to the checkpoint only provide the names of the domains.

    Attributes:
        states: for each domain, {'map': the map}, {'done': n, 'of': n} while it is computed, or {'why': the reason} if
            there is none.
        names: the names of the domains that map files provide.
    """

    def __init__(self, checkpoint: str, digest: Callable[[], str], translators: dict[str, Translator],
                 lock: contextlib.AbstractContextManager, find: Callable[[str], list[Path]], recompute: bool = False):
        self.translators, self.lock, self.find = translators, lock, find
        self.states: dict[str, dict[str, Any]] = {}
        self.names: dict[str, str] = {}
        self._missing = []
        for domain, translator in translators.items():
            made, why = read_map(checkpoint, domain, translator.style_length, digest)
            if made:
                self.names[domain] = shown(made.get('name', ''), 40)
            if made and not recompute:
                self.states[domain] = {'map': for_page(made)}
            else:
                self.states[domain] = {'done': 0, 'of': 0}
                self._missing.append((domain, why))

    def start(self) -> None:
        """Start computing the missing maps."""
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
                    'why': 'fewer than two images can be read'}
            except BadInput as error:
                self.states[domain] = {'why': why or str(error)}
            except Exception as error:   # the page is the only place where this thread can report errors
                self.states[domain] = {'why': f'it could not be computed ({shown(repr(error), 120)})'}
