"""Data sets of drawn objects: their settings, pictures, factors and files."""
from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from core.errors import BadInput
from extras.drawn_data.bags import bowler, clutch, satchel, tote
from extras.drawn_data.patterns import Style, choose_style
from extras.drawn_data.rendering import draw_edges, draw_picture
from extras.drawn_data.shapes import Design, Part, Points
from extras.drawn_data.shoes import ballerina, boot, loafer, pump, trainer

DRAWING_VERSION = 1  # increment when the drawing changes, so that older folders count as outdated
MIN_SIZE, MAX_SIZE = 64, 512
MAX_COUNT = 99_999  # file names have five digits
SPLIT_NUMBERS = {'trainA': 0, 'trainB': 1, 'test': 2, 'train': 3}  # part of the seed; "train" is for --paired
FOLDERS = ('trainA', 'trainB', 'testA', 'testB')

FAMILIES: dict[str, dict[str, Callable[[np.random.Generator], list[Part]]]] = {
    'shoes': {'pump': pump, 'boot': boot, 'trainer': trainer, 'loafer': loafer, 'ballerina': ballerina},
    'handbags': {'tote': tote, 'clutch': clutch, 'satchel': satchel, 'bowler': bowler},
}
WEIGHTS = {'loafer': 0.6, 'ballerina': 0.6}  # relative frequency of a family; 1 if not listed
SINGULAR = {'shoes': 'shoe', 'handbags': 'handbag'}


def design_object(rng: np.random.Generator, objects: Sequence[str]) -> Design:
    """Draw a random object of one of the given kinds ("shoes", "handbags") and place it in the unit frame."""
    kind = objects[rng.integers(len(objects))]
    weights = np.array([WEIGHTS.get(name, 1.0) for name in FAMILIES[kind]])
    family = str(rng.choice(list(FAMILIES[kind]), p=weights / weights.sum()))
    parts = FAMILIES[kind][family](rng)

    angle = math.radians(rng.normal(0, 2.5 if kind == 'shoes' else 2.0))
    flipped = bool(rng.random() < 0.5)
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    # Low shoes are stretched vertically; with realistic proportions they would leave most of the frame empty.
    width, height = np.ptp(np.vstack([part.points for part in parts]), axis=0)
    stretch = 1 + rng.uniform(0.3, 0.75) * max(0.0, 0.75 - height / width)
    turn = np.diag([-1.0 if flipped else 1.0, -1.0]) @ turn @ np.diag([1.0, stretch])
    outline = np.vstack([part.points for part in parts]) @ turn.T
    low, high = outline.min(axis=0), outline.max(axis=0)
    scale = rng.uniform(0.78, 0.91) / max(high - low)
    slack = (1 - scale * (high - low)) / 2 - 0.03
    shift = 0.5 - scale * (low + high) / 2 + np.clip(rng.normal(0, 0.02, 2), -slack, slack)

    def place(points: Points) -> Points:
        return points @ turn.T * scale + shift

    return Design(SINGULAR[kind], family, [part.mapped(place, scale) for part in parts], flipped)


@dataclass(frozen=True)
class Settings:
    """What to draw. Equal settings produce byte-identical folders."""

    objects: tuple[str, ...] = ('shoes', 'handbags')
    train: int = 1000
    test: int = 100
    size: int = 128
    seed: int = 0
    paired: bool = False

    def check(self) -> None:
        """Check the ranges of all settings.

        Raises:
            BadInput: a setting is out of range; the message names the first such flag.
        """
        for name in self.objects:
            if name not in FAMILIES:
                raise BadInput(f"--objects {name}: unknown object, choose from {', '.join(FAMILIES)}")
        if not self.objects:
            raise BadInput(f"--objects: name at least one of {', '.join(FAMILIES)}")
        if not MIN_SIZE <= self.size <= MAX_SIZE:
            raise BadInput(f'--size {self.size}: must be from {MIN_SIZE} to {MAX_SIZE} pixels')
        for flag, value in (('--train', self.train), ('--test', self.test)):
            if not 0 <= value <= MAX_COUNT:
                raise BadInput(f'{flag} {value}: must be from 0 to {MAX_COUNT}')
        if self.seed < 0:
            raise BadInput(f'--seed {self.seed}: must be 0 or more')

    def counts(self) -> dict[str, int]:
        """Return the number of pictures in each folder."""
        return {folder: self.test if folder.startswith('test') else self.train for folder in FOLDERS}

    def record(self) -> dict:
        """Return the settings as they are written to ``drawn.json``."""
        return {
            'version': DRAWING_VERSION,
            'objects': list(self.objects),
            'train': self.train,
            'test': self.test,
            'size': self.size,
            'seed': self.seed,
            **({'paired': True} if self.paired else {}),
        }


@dataclass(frozen=True)
class Drawing:
    """An object and its style, which can be rendered as a line drawing or as a coloured picture."""

    design: Design
    style: Style
    size: int
    ink_seed: int

    def edges(self) -> Image.Image:
        """Render the line drawing."""
        return draw_edges(self.design, self.size, np.random.default_rng(self.ink_seed))

    def picture(self) -> Image.Image:
        """Render the coloured picture."""
        return draw_picture(self.design, self.style, self.size)


def make_drawing(settings: Settings, split: str, index: int) -> Drawing:
    """Return object ``index`` of a split in ``SPLIT_NUMBERS``. It depends on the seed, the split and the index only."""
    rng = np.random.default_rng([settings.seed, SPLIT_NUMBERS[split], index])
    design = design_object(rng, settings.objects)
    return Drawing(design, choose_style(rng), settings.size, int(rng.integers(2**31)))


def factors(drawing: Drawing, file_name: str, seed: int) -> dict:
    """Return the ground-truth factors of a picture as JSON-serialisable values.

    ``body`` lists the outlines (in pixels, x to the right, y down) that have the colour and pattern of the body.
    ``covered`` lists the outlines of differently coloured parts painted over them, so the body is visible inside the
    former and outside the latter. Covering outlines may extend beyond the object. Thin laces, seams and stitches are
    not listed.
    """
    design, style = drawing.design, drawing.style
    parts = [part for part in design.walk() if part.role != 'none']
    first_body = next(i for i, part in enumerate(parts) if part.role == 'body')

    def pixels(part: Part) -> list[list[float]]:
        return np.round(part.points * drawing.size, 2).tolist()

    return {
        'file': file_name,
        'object': design.kind,
        'family': design.family,
        'size': drawing.size,
        'seed': seed,
        'flipped': design.flipped,
        'hue': round(style.hue, 2),
        'lightness': round(style.lightness, 4),
        'saturation': round(style.saturation, 4),
        'colours': {role: list(colour) for role, colour in style.colours.items()},
        'pattern': style.pattern,
        'pattern_parameters': {name: round(value, 4) for name, value in style.parameters.items()},
        'parts': sorted({part.name for part in parts}),
        'body': [pixels(part) for part in parts if part.role == 'body'],
        'covered': [pixels(part) for part in parts[first_body:] if part.role != 'body'],
    }


def save(image: Image.Image, path: Path) -> None:
    """Save an image as JPEG of quality 95 without chroma subsampling."""
    image.save(path, quality=95, subsampling=0)


def already_drawn(output: Path, settings: Settings) -> bool:
    """Return whether ``output`` holds a complete data set with exactly these settings."""
    try:
        if json.loads((output / 'drawn.json').read_text()) != settings.record():
            return False
    except (OSError, ValueError):  # missing or damaged marker
        return False
    return all(len(list((output / folder).glob('*.jpg'))) == count for folder, count in settings.counts().items())


def prepare_output(output: Path, overwrite: bool) -> None:
    """Create the four folders, or empty them with ``overwrite``.

    Raises:
        BadInput: the folders contain files and ``overwrite`` is false, contain files that this program did not
            draw, or cannot be written.
    """
    try:
        for folder in FOLDERS:
            (output / folder).mkdir(parents=True, exist_ok=True)
        found = [file for folder in FOLDERS for file in (output / folder).iterdir()]
        foreign = [file for file in found if file.suffix != '.jpg' or not file.stem.isdigit()]
        if found and not overwrite:
            raise BadInput(
                f'--output {output}: {found[0].parent.name} already contains files from other settings or an '
                'unfinished run; remove it, choose another --output or give --overwrite'
            )
        if foreign:
            raise BadInput(f'--output {output}: contains {foreign[0].name}, which was not drawn here; choose another')
        (output / 'drawn.json').unlink(missing_ok=True)
        for file in found:
            file.unlink()
    except OSError as error:
        raise BadInput(
            f'--output {output}: cannot be written ({error.strerror}); choose a writable folder'
        ) from error


def draw_dataset(output: Path, settings: Settings, progress: bool = True) -> None:
    """Write the four folders, their lists, ``factors_test.json`` and finally ``drawn.json`` to ``output``."""
    counts = {split: settings.train for split in (('train',) if settings.paired else ('trainA', 'trainB'))}
    counts['test'] = settings.test
    found = []
    # Update the progress bar less often if it is written to a log file.
    interval = 0.1 if sys.stderr.isatty() else 10
    with tqdm(
        total=sum(counts.values()), desc='drawing', unit='object', mininterval=interval, disable=not progress
    ) as bar:
        for split, count in counts.items():
            for index in range(count):
                drawing, name = make_drawing(settings, split, index), f'{index:05d}.jpg'
                if split != 'trainB':
                    save(drawing.edges(), output / f"{split.removesuffix('A')}A" / name)
                if split != 'trainA':
                    save(drawing.picture(), output / f"{split.removesuffix('B')}B" / name)
                if split == 'test':
                    found.append(factors(drawing, name, settings.seed))
                bar.update()
    for folder, count in settings.counts().items():
        names = ''.join(f'{index:05d}.jpg\n' for index in range(count))
        (output / f'list_{folder}.txt').write_text(names)
    (output / 'factors_test.json').write_text(json.dumps(found) + '\n')
    (output / 'drawn.json').write_text(json.dumps(settings.record(), indent=2) + '\n')


# Selected by hand from test sets of seed 0: (file name, object, index, line drawing or picture).
EXAMPLES = [
    ('edges2shoes_edge', 'shoes', 8, 'edges'),
    ('edges2shoes_edge_2', 'shoes', 17, 'edges'),
    ('edges2shoes_edge_3', 'shoes', 24, 'edges'),
    ('edges2shoes_shoe', 'shoes', 1, 'picture'),
    ('edges2shoes_shoe_2', 'shoes', 35, 'picture'),
    ('edges2shoes_shoe_3', 'shoes', 26, 'picture'),
    ('edges2handbags_edge', 'handbags', 3, 'edges'),
    ('edges2handbags_edge_2', 'handbags', 14, 'edges'),
    ('edges2handbags_edge_3', 'handbags', 39, 'edges'),
    ('edges2handbags_handbag', 'handbags', 32, 'picture'),
    ('edges2handbags_handbag_2', 'handbags', 20, 'picture'),
    ('edges2handbags_handbag_3', 'handbags', 31, 'picture'),
]


def draw_examples(folder: Path) -> list[Path]:
    """Draw the example inputs of 256 x 256 pixels into ``folder`` and return their paths.

    Raises:
        BadInput: the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        written = []
        for name, kind, index, what in EXAMPLES:
            drawing = make_drawing(Settings(objects=(kind,), size=256), 'test', index)
            written.append(folder / f'{name}.jpg')
            save(drawing.edges() if what == 'edges' else drawing.picture(), written[-1])
    except OSError as error:
        raise BadInput(
            f'--inputs {folder}: cannot be written ({error.strerror}); choose a writable folder'
        ) from error
    return written
