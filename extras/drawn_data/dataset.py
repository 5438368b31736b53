"""Data sets."""
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

from extras.drawn_data.bags import bowler, clutch, satchel, tote
from extras.drawn_data.patterns import Style, choose_style
from extras.drawn_data.rendering import draw_edges, draw_picture
from extras.drawn_data.shapes import Design, Part, Points
from extras.drawn_data.shoes import ballerina, boot, loafer, pump, trainer

DRAWING_VERSION = 1  # raise it when the drawing changes, so that older folders are not taken for up to date
MIN_SIZE, MAX_SIZE = 64, 512
MAX_COUNT = 99_999  # file names have five digits
SPLIT_NUMBERS = {'trainA': 0, 'trainB': 1, 'test': 2, 'train': 3}  # the last for --paired
FOLDERS = ('trainA', 'trainB', 'testA', 'testB')

FAMILIES: dict[str, dict[str, Callable[[np.random.Generator], list[Part]]]] = {
    'shoes': {'pump': pump, 'boot': boot, 'trainer': trainer, 'loafer': loafer, 'ballerina': ballerina},
    'handbags': {'tote': tote, 'clutch': clutch, 'satchel': satchel, 'bowler': bowler},
}
WEIGHTS = {'loafer': 0.6, 'ballerina': 0.6}  # how often a family is drawn; 1 where not named
SINGULAR = {'shoes': 'shoe', 'handbags': 'handbag'}


def design_object(rng: np.random.Generator, objects: Sequence[str]) -> Design:
    """Draw one object of the given kinds ("shoes", "handbags") at random and place it in the unit frame."""
    kind = objects[rng.integers(len(objects))]
    weights = np.array([WEIGHTS.get(name, 1.0) for name in FAMILIES[kind]])
    family = str(rng.choice(list(FAMILIES[kind]), p=weights / weights.sum()))
    parts = FAMILIES[kind][family](rng)

    angle = math.radians(rng.normal(0, 2.5 if kind == 'shoes' else 2.0))
    flipped = bool(rng.random() < 0.5)
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    # Low shoes are stretched upwards a little: true to life they would leave most of the frame empty.
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


class SettingsError(Exception):
    """A setting that cannot be used; the message is one line for the user."""


@dataclass(frozen=True)
class Settings:
    """What is to be drawn.  Two folders drawn with equal settings hold the same bytes."""

    objects: tuple[str, ...] = ('shoes', 'handbags')
    train: int = 1000
    test: int = 100
    size: int = 128
    seed: int = 0
    paired: bool = False

    def check(self) -> None:
        """Raise ``SettingsError`` with a line that names the first flag out of its range."""
        for name in self.objects:
            if name not in FAMILIES:
                raise SettingsError(f"--objects {name}: unknown object, choose from {', '.join(FAMILIES)}")
        if not self.objects:
            raise SettingsError(f"--objects: name at least one of {', '.join(FAMILIES)}")
        if not MIN_SIZE <= self.size <= MAX_SIZE:
            raise SettingsError(f'--size {self.size}: must be from {MIN_SIZE} to {MAX_SIZE} pixels')
        for flag, value in (('--train', self.train), ('--test', self.test)):
            if not 0 <= value <= MAX_COUNT:
                raise SettingsError(f'{flag} {value}: must be from 0 to {MAX_COUNT}')
        if self.seed < 0:
            raise SettingsError(f'--seed {self.seed}: must be 0 or more')

    def counts(self) -> dict[str, int]:
        """Number of pictures in each folder."""
        return {folder: self.test if folder.startswith('test') else self.train for folder in FOLDERS}

    def record(self) -> dict:
        """The settings as written to ``drawn.json``."""
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
    """One object with its look, its line drawing and its picture (each drawn only when asked for)."""

    design: Design
    style: Style
    size: int
    ink_seed: int

    def edges(self) -> Image.Image:
        return draw_edges(self.design, self.size, np.random.default_rng(self.ink_seed))

    def picture(self) -> Image.Image:
        return draw_picture(self.design, self.style, self.size)


def make_drawing(settings: Settings, split: str, index: int) -> Drawing:
    """Object ``index`` of a split of ``SPLIT_NUMBERS``; it depends on nothing but seed, split and index."""
    rng = np.random.default_rng([settings.seed, SPLIT_NUMBERS[split], index])
    design = design_object(rng, settings.objects)
    return Drawing(design, choose_style(rng), settings.size, int(rng.integers(2**31)))


def factors(drawing: Drawing, file_name: str, seed: int) -> dict:
    """What a picture shows, ready for JSON.

    ``body`` lists the outlines (pixels, x right and y down) that carry the body's colour and pattern, ``covered`` the
    outlines of parts of other colours painted over them: the body's colour is found inside the former and outside the
    latter.  A covering outline may reach beyond the object; thin laces, seams and stitches are not listed.
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
    """JPEG of quality 95 with full colour resolution."""
    image.save(path, quality=95, subsampling=0)


def already_drawn(output: Path, settings: Settings) -> bool:
    """Whether ``output`` holds the complete set of just these settings."""
    try:
        if json.loads((output / 'drawn.json').read_text()) != settings.record():
            return False
    except (OSError, ValueError):  # no marker, or a damaged one
        return False
    return all(len(list((output / folder).glob('*.jpg'))) == count for folder, count in settings.counts().items())


def prepare_output(output: Path, overwrite: bool) -> None:
    """Make the four folders, empty.  Pictures found there are refused, or removed with ``overwrite``."""
    try:
        for folder in FOLDERS:
            (output / folder).mkdir(parents=True, exist_ok=True)
        found = [file for folder in FOLDERS for file in (output / folder).iterdir()]
        foreign = [file for file in found if file.suffix != '.jpg' or not file.stem.isdigit()]
        if found and not overwrite:
            raise SettingsError(
                f'--output {output}: {found[0].parent.name} already holds files from other settings or an '
                'unfinished run; remove it, choose another --output or give --overwrite'
            )
        if foreign:
            raise SettingsError(f'--output {output}: holds {foreign[0].name}, which was not drawn here; choose another')
        (output / 'drawn.json').unlink(missing_ok=True)
        for file in found:
            file.unlink()
    except OSError as error:
        raise SettingsError(
            f'--output {output}: cannot be written ({error.strerror}); name a folder that can'
        ) from error


def draw_dataset(output: Path, settings: Settings, progress: bool = True) -> None:
    """Draw the four folders, their lists, ``factors_test.json`` and at last ``drawn.json`` into ``output``."""
    counts = {split: settings.train for split in (('train',) if settings.paired else ('trainA', 'trainB'))}
    counts['test'] = settings.test
    found = []
    # A log file needs the bar less often than a terminal.
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


# Picked by eye from test sets of seed 0: (file name, object, index, line drawing or picture).
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
    """Draw the example inputs, 256 x 256, into ``folder`` and return their paths."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        written = []
        for name, kind, index, what in EXAMPLES:
            drawing = make_drawing(Settings(objects=(kind,), size=256), 'test', index)
            written.append(folder / f'{name}.jpg')
            save(drawing.edges() if what == 'edges' else drawing.picture(), written[-1])
    except OSError as error:
        raise SettingsError(
            f'--inputs {folder}: cannot be written ({error.strerror}); name a folder that can'
        ) from error
    return written
