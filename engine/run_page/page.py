"""The page of a run: outputs/NAME/index.html, and next to it run.js, which holds the data of the page.

    python scripts/rebuild_run_page.py outputs/NAME --logs logs/NAME      # of a finished, copied or earlier run

The page needs no server and no network: it works when the folder is copied. A browser lets a page that was opened as
a file load scripts, but not read other files, so the data is a script: `showRun({…})`. During a run, the page reloads
this script and keeps the settings of its reader. index.html contains no times: equal runs have equal files.
"""
import base64
import functools
import hashlib
import html
import json
import math
import os
import platform
import re
import subprocess
import time
import urllib.parse
from collections import deque
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from PIL import Image

from core.files import replacing
from core.tensorboard_log import events, scalars_of
from engine.config_keys import GIVEN_ELSEWHERE, REQUIRED, Key
from engine.methods import METHODS, schema_of

ROOT = Path(__file__).resolve().parents[2]
WAYS = {'a2b': 'A → B', 'b2a': 'B → A'}
SPLITS = {'train': 'training images', 'test': 'test images'}
POINTS = 512        # of a curve at least, where more values than that were logged; less than twice as many at most
PACED_BY = 50       # the last logged values that say how quick a run is now
LINKED = 100        # numbered pictures of each kind that the page without JavaScript links to
PACE = 's/it'       # a curve that is not logged, but comes of when the others were


# ---------------------------------------------------------------------------------------------------------------------
# Curves
# ---------------------------------------------------------------------------------------------------------------------

class Curves:
    """All logged values of a run, thinned: at most 2 · POINTS points of each term, however long the run.

    A point stands for `every` logged steps; whenever there are too many points each two become one. So the curves
    depend on the values alone: those of a resumed run are those of an uninterrupted one.
    """

    def __init__(self) -> None:
        self.every, self.count = 1, 0
        self.steps: list[int] = []                          # the last step of each point
        self.terms: dict[str, list[tuple | None]] = {}      # how many finite values, their sum, lowest, highest
        self.times: deque[tuple[int, float]] = deque(maxlen=PACED_BY)

    @classmethod
    def of_log(cls, folder: Path) -> 'Curves':
        """The curves of what is logged in a folder of TensorBoard's files."""
        curves = cls()
        for event in events(folder):
            values = scalars_of(event)
            if values:
                curves.add(values, event.step, event.wall_time)
            elif event.HasField('session_log'):
                curves.pause()
        curves.pause()
        return curves

    def add(self, values: dict[str, float], step: int, when: float) -> None:
        """Take up what was logged after `step` iterations, at the time `when` in seconds."""
        before, then = self.times[-1] if self.times else (step, when)
        if step > before:
            values = {**values, PACE: (when - then) / (step - before)}
        if not self.times or step > before:
            self.times.append((step, when))
        if not self.steps or step > self.steps[-1]:   # logs of earlier versions have a record for each value
            if self.count % self.every == 0:
                self._begin_point()
            self.count += 1
            self.steps[-1] = step
        for name, value in values.items():
            column = self.terms.setdefault(name, [None] * len(self.steps))
            if math.isfinite(value):
                column[-1] = _joined(column[-1], (1, value, value, value))

    def pause(self) -> None:
        """What comes next was logged by a run that went on later: the time between says nothing."""
        self.times.clear()

    def pace(self) -> float | None:
        """Seconds an iteration, as it went lately; None where that is not known yet."""
        if len(self.times) < 2:
            return None
        (first, begun), (last, now) = self.times[0], self.times[-1]
        return (now - begun) / (last - first)

    def _begin_point(self) -> None:
        if len(self.steps) == 2 * POINTS:
            self.every *= 2
            self.steps = self.steps[1::2]
            self.terms = {name: [_joined(*pair) for pair in zip(column[::2], column[1::2], strict=True)]
                          for name, column in self.terms.items()}
        self.steps.append(0)
        for column in self.terms.values():
            column.append(None)

    def data(self) -> dict[str, Any]:
        """What the page draws: `every`, `steps` and, of each term, the means, and where points stand for several
        values the lowest and highest of them; None where there is no finite value.
        """
        terms = {}
        for name, column in sorted(self.terms.items()):
            parts = {'mean': [point and _rounded(point[1] / point[0]) for point in column]}
            if self.every > 1:
                parts |= {'low': [point and _rounded(point[2]) for point in column],
                          'high': [point and _rounded(point[3]) for point in column]}
            terms[name] = parts
        return {'every': self.every, 'steps': self.steps, 'terms': terms}


def _joined(one: tuple | None, two: tuple | None) -> tuple | None:
    if one is None or two is None:
        return one or two
    return one[0] + two[0], one[1] + two[1], min(one[2], two[2]), max(one[3], two[3])


def _rounded(value: float) -> float:
    return float(f'{value:.4g}')


# ---------------------------------------------------------------------------------------------------------------------
# What the page says of a run
# ---------------------------------------------------------------------------------------------------------------------

class Report:
    """What the page of a run shows, and how it is written.

    Args:
        folder: the run's folder; its pictures lie in `images/`.
        about: what stays the same: `name`, `method`, `kinds` (what the rows of a picture show, from the top), `ways`
            (of `WAYS`), `max_iter`, and what there is else for the page: `averaged`, `facts`, `versions`, `config`,
            `command`, `resume`.
    """

    def __init__(self, folder: Path, about: dict[str, Any]):
        self.folder, self.about = folder, about
        self.curves = Curves()
        self.pictures: dict[str, list[int]] = {split: [] for split in SPLITS}   # steps with numbered pictures
        self.current: int | None = None                                          # the step of ..._train_current.jpg
        self.events: list[list] = []                                             # [step, line], marked on the curves

    def resume_from(self, step: int, logs: Path) -> None:
        """Go on with what an earlier part of the run has shown, up to `step`."""
        before = read_data(self.folder)
        for split, steps in (before['pictures'] if before else find_pictures(self.folder)).items():
            self.pictures[split] = [one for one in steps if one <= step]
        if before and before['current'] is not None and before['current'] <= step:
            self.current = before['current']
        self.events = list((before or {}).get('events', []))
        self.curves = Curves.of_log(logs)

    def add_picture(self, split: str, step: int, current: bool) -> None:
        """Say that the pictures of a split were written after `step` iterations: the current or the numbered ones."""
        if current:
            self.current = step
        elif step not in self.pictures[split][-1:]:
            self.pictures[split].append(step)

    def write(self, step: int, state: str = 'running', **changing: Any) -> None:
        """Write index.html and run.js.

        Args:
            step: iterations done.
            state: running, finished, stopped or failed.
            changing: what else the page says of this moment: `why`, `memory`, `interval` (iterations to the next
                writing).

        Raises:
            OSError: the disk is full, or fails; what was there stays as it was.
        """
        data = {**self.about, 'step': step, 'state': state, 'written': round(time.time(), 1),
                'pace': self.curves.pace(), 'pictures': self.pictures, 'current': self.current,
                'events': self.events, **changing,
                'curves': self.curves.data()}
        # The data first: a page that is opened in between shows what is there already.
        replace_text(self.folder / 'run.js', f'showRun({as_script(data)});\n')
        replace_text(self.folder / 'index.html', page_of(self.folder, data))


def describe_run(trainer: str, config: dict, overrides: dict) -> dict[str, Any]:
    """What the page says of a run's method, settings and programs: part of what `Report` takes.

    Args:
        trainer: of `methods.METHODS`.
        config: as `config.load_config` returns it.
        overrides: what the command line gave of it; None where it gave nothing.
    """
    ways = list(WAYS) if METHODS[trainer].both_ways else ['a2b']
    given = [name for name, value in overrides.items() if value is not None]
    return {'method': trainer, 'ways': ways, 'max_iter': config['max_iter'], 'versions': versions(),
            'config': [[name, value, _default_of(trainer, name), name in given]
                       for name, value in settings_of(config, trainer).items()]}


def settings_of(config: dict, trainer: str) -> dict[str, str | bool | int | float]:
    """The keys of a config and their values, those of sections as gen.dim."""
    schema = schema_of(trainer)
    flat: dict[str, str | bool | int | float] = {}
    for name, value in config.items():
        if isinstance(value, dict):
            flat |= {f'{name}.{key}': part for key, part in value.items()}
        elif name in schema.keys:   # not what the command adds
            flat[name] = str(value) if isinstance(value, list) else value   # TensorBoard takes no lists
    return flat


def _default_of(trainer: str, name: str) -> Any:
    """The default of a key; None where it has none."""
    schema = schema_of(trainer)
    section, _, key = name.rpartition('.')
    found = {'': schema.keys, 'gen': schema.gen, 'dis': schema.dis}[section].get(key, Key(str)).default
    return None if found in (REQUIRED, GIVEN_ELSEWHERE) else found


@functools.cache
def versions() -> list[tuple[str, str]]:
    """Names and versions of the software that computes a run, where they can be found out."""
    found = [('Python', platform.python_version())]
    for name in ('torch', 'torchvision', 'numpy'):
        try:
            found.append((name, version(name)))
        except PackageNotFoundError:   # built by hand, without its papers
            continue
    if (ROOT / '.git').exists():   # not the repository that this one may lie in
        try:
            done = subprocess.run(['git', '-C', ROOT, '--no-optional-locks', 'describe', '--always', '--dirty',
                                   '--abbrev=12'], capture_output=True, text=True, timeout=10)
            found += [('commit', done.stdout.strip())] if done.returncode == 0 else []
        except (OSError, subprocess.TimeoutExpired):   # no git here
            pass
    return found


# ---------------------------------------------------------------------------------------------------------------------
# Writing and reading the files
# ---------------------------------------------------------------------------------------------------------------------

def as_script(data: Any) -> str:
    """The data as an expression of JavaScript, which is JSON too, without what could end a script or begin a tag."""
    text = json.dumps(data, separators=(',', ':'), default=str)   # ASCII: no line ends that are ones in scripts alone
    return text.replace('&', r'\u0026').replace('<', r'\u003c').replace('>', r'\u003e')


def read_data(folder: Path) -> dict[str, Any] | None:
    """What run.js of a run holds; None where there is none, or nothing that this version has written."""
    try:
        text = (folder / 'run.js').read_text(encoding='ascii')
        data = json.loads(text.removeprefix('showRun(').rstrip().removesuffix(');'))
        pictures = {split: [int(step) for step in data['pictures'][split]] for split in SPLITS}
        current = data['current'] if data['current'] is None else int(data['current'])
        return {**data, 'pictures': pictures, 'current': current, 'step': int(data['step'])}
    except (OSError, ValueError, LookupError, TypeError):
        return None


def find_pictures(folder: Path) -> dict[str, list[int]]:
    """The steps of the numbered pictures in a run's folder, by their splits."""
    found: dict[str, set[int]] = {split: set() for split in SPLITS}
    for name in os.listdir(folder / 'images') if (folder / 'images').is_dir() else ():
        if match := re.fullmatch(r'gen_(?:a2b|b2a)_(train|test)_(\d{8,})\.jpg', name):
            found[match[1]].add(int(match[2]))
    return {split: sorted(steps) for split, steps in found.items()}


def replace_text(path: Path, text: str) -> None:
    """Write a file so that it is there whole or as it was."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding='utf-8', errors='replace')   # a name may hold bytes that are no text


@functools.cache
def _parts_of_page() -> tuple[str, str, str]:
    """The style sheet, the script and the security policy of the page, which may load only files of its own folder."""
    style, script = (Path(__file__).with_name(f'page.{ending}').read_text(encoding='utf-8') for ending in ('css', 'js'))
    checksum = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return style, script, (f"default-src 'none'; img-src 'self' file: data:; style-src 'unsafe-inline'; "
                           f"script-src 'sha256-{checksum}' 'self' file:; base-uri 'none'; form-action 'none'")


def page_of(folder: Path, data: dict[str, Any]) -> str:
    """The index.html of a run with pictures in `folder`/images: the latest pictures, and the script for the rest."""
    style, script, policy = _parts_of_page()
    name, over = html.escape(data['name']), data['state'] != 'running'
    split, postfix, step = _latest(data)
    several = 'runs' in data   # of `comparison`: the script puts their pictures side by side
    figures = ['<div id="figures"></div>'] if several else [
        _figure(folder, way, split, postfix, step, data['kinds']) for way in data['ways'] if postfix]
    refresh = '' if over else '<noscript><meta http-equiv="refresh" content="30"></noscript>\n'
    averages = '<p>The generators that made them have averaged weights.</p>' if data.get('averaged') else ''
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
{refresh}<title>{name}</title><link rel="icon" href="data:,">
<style>
{style}</style></head>
<body>
<header>
<h1>{name}</h1>
<p id="state">{data['step']:,} iterations.</p>
<progress id="progress" max="1" value="0" aria-label="iterations done" hidden></progress>
<p id="resume" hidden></p>
<dl id="facts"></dl>
</header>
<main>
<section aria-labelledby="pictures"><h2 id="pictures">Pictures</h2>
<div id="choice" hidden></div>
{chr(10).join(figures) or '<p id="none">None yet.</p>'}
{averages}
{"" if several else _links(data)}
</section>
<section aria-labelledby="losses"><h2 id="losses">Curves</h2>
<noscript><p>The curves are drawn by JavaScript, which is off.</p></noscript>
<div id="curves"></div>
</section>
<section id="details"></section>
</main>
<script>{script}</script>
<script src="run.js"></script>
</body></html>
"""


def _latest(data: dict[str, Any]) -> tuple[str, str, int]:
    """Split, name and step of the pictures to begin with; empty texts where there are none."""
    if data['current'] is not None:
        return 'train', 'current', data['current']
    split = 'train' if data['pictures']['train'] else 'test'
    if not data['pictures'][split]:
        return '', '', 0
    step = data['pictures'][split][-1]
    return split, f'{step:08d}', step


def _figure(folder: Path, way: str, split: str, postfix: str, step: int, kinds: list[str]) -> str:
    """A picture with its rows named at the left; the script puts others in its place."""
    name = f'gen_{way}_{split}_{postfix}.jpg'
    place = html.escape(f'images/{urllib.parse.quote(name)}')
    caption = html.escape(f'{WAYS[way]}, {SPLITS[split]}, after {step:,} iterations')
    rows = ''.join(f'<li>{html.escape(kind)}</li>' for kind in kinds)
    try:
        with Image.open(folder / 'images' / name) as picture:   # its head alone
            width, height = picture.size
    except OSError:
        width, height = 4, 4
    return (f'<figure data-way="{way}" style="--rows: {len(kinds) or 4}; --aspect: {width / height:.4f}">'
            f'<figcaption>{caption}</figcaption>\n<div class="pan"><ol>{rows}</ol><a href="{place}">'
            f'<img src="{place}" alt="{caption}" width="{width}" height="{height}"></a></div></figure>')


def _links(data: dict[str, Any]) -> str:
    """The numbered pictures, newest first, for who has no script to show them."""
    lines = []
    for split, steps in data['pictures'].items():
        for way in data['ways']:
            links = ', '.join(f'<a href="images/gen_{way}_{split}_{step:08d}.jpg">{step:,}</a>'
                              for step in steps[:-LINKED - 1:-1])
            lines += [f'<p>{WAYS[way]}, {SPLITS[split]}, after iterations {links}</p>'] if links else []
    return f'<noscript>{"".join(lines)}</noscript>'


# ---------------------------------------------------------------------------------------------------------------------
# The command
# ---------------------------------------------------------------------------------------------------------------------
