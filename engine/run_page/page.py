"""The page of a run: outputs/NAME/index.html, and run.js in the same folder, which contains its data.

    python scripts/rebuild_run_page.py outputs/NAME --logs logs/NAME      # for a finished, copied or earlier run

The page needs no server and no network, and still works when the folder is copied. A page that is opened from a file
may load scripts but not read other files, so the data is a script: `showRun({…})`. While the run continues, the page
reloads this script and keeps the reader's settings. index.html contains no times, so that equal runs have equal files.
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

from core.files import replace_text
from core.tensorboard_log import events, scalars_of
from engine.config_keys import NO_DEFAULT, REQUIRED, Key
from engine.methods import METHODS, schema_of

ROOT = Path(__file__).resolve().parents[2]
WAYS = {'a2b': 'A → B', 'b2a': 'B → A'}
SPLITS = {'train': 'training images', 'test': 'test images'}
POINTS = 512        # a curve has between this many and twice as many points, if as many values were logged
PACED_BY = 50       # number of recent logged values from which the current speed is computed
LINKED = 100        # number of pictures of each kind that the page links to where JavaScript is off
PACE = 's/it'       # a curve that is not logged but computed from the times of the logged values


# ---------------------------------------------------------------------------------------------------------------------
# Curves
# ---------------------------------------------------------------------------------------------------------------------

class Curves:
    """All logged values of a run, reduced to at most 2 · POINTS points per term, however long the run is.

    A point aggregates `every` logged steps. When there are too many points, neighbours are merged in pairs. The curves
    therefore depend on the values alone, and a resumed run has the same curves as an uninterrupted one.
    """

    def __init__(self) -> None:
        self.every, self.count = 1, 0
        self.steps: list[int] = []                          # the last step of each point
        self.terms: dict[str, list[tuple | None]] = {}      # count, sum, minimum and maximum of the finite values
        self.times: deque[tuple[int, float]] = deque(maxlen=PACED_BY)

    @classmethod
    def of_log(cls, folder: Path) -> 'Curves':
        """The curves of the values in a folder of TensorBoard event files."""
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
        """Add the values that were logged after `step` iterations, at the time `when` in seconds."""
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
        """Mark an interruption: the time until the next values does not count as computing time."""
        self.times.clear()

    def pace(self) -> float | None:
        """Recent seconds per iteration; None if fewer than two values were logged."""
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
        """The curves as the page reads them: `every`, `steps` and, for each term, the mean of each point, with its
        minimum and maximum where points aggregate several values; None where there is no finite value.
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
# Content of the page
# ---------------------------------------------------------------------------------------------------------------------

class Report:
    """Collects the content of a run's page and writes it.

    Args:
        folder: the run's folder; its pictures are in `images/`.
        about: what does not change during the run: `name`, `method`, `kinds` (what the rows of a picture show, from the
            top), `ways` (keys of `WAYS`), `max_iter`, and optionally `averaged`, `facts`, `versions`, `config`,
            `command`, `resume`.
    """

    def __init__(self, folder: Path, about: dict[str, Any]):
        self.folder, self.about = folder, about
        self.curves = Curves()
        self.pictures: dict[str, list[int]] = {split: [] for split in SPLITS}   # steps with numbered pictures
        self.current: int | None = None                                          # the step of ..._train_current.jpg
        self.events: list[list] = []                                             # [step, line], marked on the curves

    def resume_from(self, step: int, logs: Path) -> None:
        """Continue with the pictures, events and curves of an earlier part of the run, up to `step`."""
        before = read_data(self.folder)
        for split, steps in (before['pictures'] if before else find_pictures(self.folder)).items():
            self.pictures[split] = [one for one in steps if one <= step]
        if before and before['current'] is not None and before['current'] <= step:
            self.current = before['current']
        self.events = list((before or {}).get('events', []))
        self.curves = Curves.of_log(logs)

    def add_picture(self, split: str, step: int, current: bool) -> None:
        """Record that pictures of a split were written after `step` iterations: the current or the numbered ones."""
        if current:
            self.current = step
        elif step not in self.pictures[split][-1:]:
            self.pictures[split].append(step)

    def write(self, step: int, state: str = 'running', **changing: Any) -> None:
        """Write index.html and run.js.

        Args:
            step: iterations done.
            state: running, finished, stopped or failed.
            changing: further current values: `why`, `memory`, `interval` (iterations until the page is written next).

        Raises:
            OSError: the files cannot be written; existing ones are unchanged.
        """
        data = {**self.about, 'step': step, 'state': state, 'written': round(time.time(), 1),
                'pace': self.curves.pace(), 'pictures': self.pictures, 'current': self.current,
                'events': self.events, **changing,
                'curves': self.curves.data()}
        # The data first, so that a page that is opened in between shows pictures that exist.
        replace_text(self.folder / 'run.js', f'showRun({as_script(data)});\n')
        replace_text(self.folder / 'index.html', page_of(self.folder, data))


def describe_run(trainer: str, config: dict, overrides: dict) -> dict[str, Any]:
    """Method, settings and software of a run, as part of the argument `about` of `Report`.

    Args:
        trainer: a key of `methods.METHODS`.
        config: as `config.load_config` returns it.
        overrides: values from the command line, None for flags that are not given.
    """
    directions = list(WAYS) if METHODS[trainer].both_ways else ['a2b']
    given = [name for name, value in overrides.items() if value is not None]
    return {'method': trainer, 'ways': directions, 'max_iter': config['max_iter'], 'versions': versions(),
            'config': [[name, value, _default_of(trainer, name), name in given]
                       for name, value in settings_of(config, trainer).items()]}


def settings_of(config: dict, trainer: str) -> dict[str, str | bool | int | float]:
    """The keys and values of a config, flattened: a key of a section is named like gen.dim."""
    schema = schema_of(trainer)
    flat: dict[str, str | bool | int | float] = {}
    for name, value in config.items():
        if isinstance(value, dict):
            flat |= {f'{name}.{key}': part for key, part in value.items()}
        elif name in schema.keys:   # not the keys that a command adds
            flat[name] = str(value) if isinstance(value, list) else value   # TensorBoard accepts no lists
    return flat


def _default_of(trainer: str, name: str) -> Any:
    """The default of a key; None where it has none."""
    schema = schema_of(trainer)
    section, _, key = name.rpartition('.')
    found = {'': schema.keys, 'gen': schema.gen, 'dis': schema.dis}[section].get(key, Key(str)).default
    return None if found in (REQUIRED, NO_DEFAULT) else found


@functools.cache
def versions() -> list[tuple[str, str]]:
    """Names and versions of the software of a run, as far as they are known."""
    found = [('Python', platform.python_version())]
    for name in ('torch', 'torchvision', 'numpy'):
        try:
            found.append((name, version(name)))
        except PackageNotFoundError:   # built from source, without metadata
            continue
    if (ROOT / '.git').exists():   # otherwise git would describe a repository that contains this folder
        try:
            done = subprocess.run(['git', '-C', ROOT, '--no-optional-locks', 'describe', '--always', '--dirty',
                                   '--abbrev=12'], capture_output=True, text=True, timeout=10)
            found += [('commit', done.stdout.strip())] if done.returncode == 0 else []
        except (OSError, subprocess.TimeoutExpired):   # git is not installed, or does not answer
            pass
    return found


# ---------------------------------------------------------------------------------------------------------------------
# Writing and reading the files
# ---------------------------------------------------------------------------------------------------------------------

def as_script(data: Any) -> str:
    """The data as JSON that is also a JavaScript expression, with the characters of HTML tags escaped."""
    text = json.dumps(data, separators=(',', ':'), default=str)   # ASCII, as U+2028 would end a line in JavaScript
    return text.replace('&', r'\u0026').replace('<', r'\u003c').replace('>', r'\u003e')


def read_data(folder: Path) -> dict[str, Any] | None:
    """The content of a run's run.js; None if there is none, or it has another format."""
    try:
        text = (folder / 'run.js').read_text(encoding='ascii')
        data = json.loads(text.removeprefix('showRun(').rstrip().removesuffix(');'))
        pictures = {split: [int(step) for step in data['pictures'][split]] for split in SPLITS}
        current = data['current'] if data['current'] is None else int(data['current'])
        return {**data, 'pictures': pictures, 'current': current, 'step': int(data['step'])}
    except (OSError, ValueError, LookupError, TypeError):
        return None


def find_pictures(folder: Path) -> dict[str, list[int]]:
    """The steps of the numbered pictures in a run's folder, by split."""
    found: dict[str, set[int]] = {split: set() for split in SPLITS}
    for name in os.listdir(folder / 'images') if (folder / 'images').is_dir() else ():
        if match := re.fullmatch(r'gen_(?:a2b|b2a)_(train|test)_(\d{8,})\.jpg', name):
            found[match[1]].add(int(match[2]))
    return {split: sorted(steps) for split, steps in found.items()}


@functools.cache
def _parts_of_page() -> tuple[str, str, str]:
    """The style sheet, the script and the content security policy of the page, which may only load local files."""
    style, script = (Path(__file__).with_name(f'page.{ending}').read_text(encoding='utf-8') for ending in ('css', 'js'))
    checksum = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return style, script, (f"default-src 'none'; img-src 'self' file: data:; style-src 'unsafe-inline'; "
                           f"script-src 'sha256-{checksum}' 'self' file:; base-uri 'none'; form-action 'none'")


def page_of(folder: Path, data: dict[str, Any]) -> str:
    """The index.html of a run with pictures in `folder`/images. It shows the latest pictures; the script adds the
    rest.
    """
    style, script, policy = _parts_of_page()
    name, over = html.escape(data['name']), data['state'] != 'running'
    split, postfix, step = _latest(data)
    several = 'runs' in data   # a comparison, in which the script places the pictures side by side
    figures = ['<div id="figures"></div>'] if several else [
        _figure(folder, direction, split, postfix, step, data['kinds']) for direction in data['ways'] if postfix]
    refresh = '' if over else '<noscript><meta http-equiv="refresh" content="30"></noscript>\n'
    averages = '<p>The pictures are made with averaged weights.</p>' if data.get('averaged') else ''
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
{chr(10).join(figures) or '<p id="none">No pictures yet.</p>'}
{averages}
{"" if several else _links(data)}
</section>
<section aria-labelledby="losses"><h2 id="losses">Curves</h2>
<noscript><p>The curves require JavaScript, which is disabled.</p></noscript>
<div id="curves"></div>
</section>
<section id="details"></section>
</main>
<script>{script}</script>
<script src="run.js"></script>
</body></html>
"""


def _latest(data: dict[str, Any]) -> tuple[str, str, int]:
    """Split, file name part and step of the latest pictures; empty strings if there are none."""
    if data['current'] is not None:
        return 'train', 'current', data['current']
    split = 'train' if data['pictures']['train'] else 'test'
    if not data['pictures'][split]:
        return '', '', 0
    step = data['pictures'][split][-1]
    return split, f'{step:08d}', step


def _figure(folder: Path, direction: str, split: str, postfix: str, step: int, kinds: list[str]) -> str:
    """A picture with labels of its rows at the left; the script replaces it when the reader chooses another."""
    name = f'gen_{direction}_{split}_{postfix}.jpg'
    url = html.escape(f'images/{urllib.parse.quote(name)}')
    caption = html.escape(f'{WAYS[direction]}, {SPLITS[split]}, after {step:,} iterations')
    rows = ''.join(f'<li>{html.escape(kind)}</li>' for kind in kinds)
    try:
        with Image.open(folder / 'images' / name) as picture:   # reads the header only
            width, height = picture.size
    except OSError:
        width, height = 4, 4
    return (f'<figure data-way="{direction}" style="--rows: {len(kinds) or 4}; --aspect: {width / height:.4f}">'
            f'<figcaption>{caption}</figcaption>\n<div class="pan"><ol>{rows}</ol><a href="{url}">'
            f'<img src="{url}" alt="{caption}" width="{width}" height="{height}"></a></div></figure>')


def _links(data: dict[str, Any]) -> str:
    """Links to the numbered pictures, newest first, for readers without JavaScript."""
    lines = []
    for split, steps in data['pictures'].items():
        for direction in data['ways']:
            links = ', '.join(f'<a href="images/gen_{direction}_{split}_{step:08d}.jpg">{step:,}</a>'
                              for step in steps[:-LINKED - 1:-1])
            lines += [f'<p>{WAYS[direction]}, {SPLITS[split]}, after iterations {links}</p>'] if links else []
    return f'<noscript>{"".join(lines)}</noscript>'
