"""Reproduce the paper's table 1 within a budget: train and evaluate every row, and compare with the paper's figures.

    python scripts/table1.py --budget configs/table1/demo.yaml

A budget is a YAML file. Each of its rows has a name, a --trainer, a config, and settings that override the config. The
command can be stopped and repeated: it continues where it stopped. The budget names the folder of the results:

    table.md, table.json    quality and diversity of each row and of real data, with the paper's figures
    sheet.png               several outputs of the same inputs for each row
    curves.png              the figures over the iterations (if matplotlib is installed)
    configs/, outputs/, logs/, evaluation/    what train.py and evaluate.py write, for each row and seed
"""
import argparse
import copy
import itertools
import json
import math
import os
import re
import shlex
import shutil
import signal
import statistics
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from _root import ROOT
from PIL import Image

from core import snapshots
from core.errors import BadInput, RunEnded, shown
from core.files import make_folder, replace_text, replacing
from core.picture_sheet import headed, sheet, stacked
from data import list_folder
from engine.cli import run_command
from engine.config import check_config, read_yaml
from engine.methods import METHODS

# Table 1 of the paper: % of answers that prefer the row to full MUNIT, and LPIPS diversity; shoes, then handbags.
PAPER = {
    'UNIT': (37.4, 0.011, 37.3, 0.023),
    'CycleGAN': (36.0, 0.010, 40.8, 0.012),
    'CycleGAN* with noise': (29.5, 0.016, 45.1, 0.011),
    'MUNIT without recon_x': (6.0, 0.213, 29.0, 0.191),
    'MUNIT without recon_c': (20.7, 0.172, 9.3, 0.185),
    'MUNIT without recon_s': (28.6, 0.070, 24.6, 0.139),
    'MUNIT': (50.0, 0.109, 50.0, 0.175),
    'BicycleGAN': (56.7, 0.104, 51.2, 0.140),
    'real data': (None, 0.293, None, 0.371),
}


class Column(NamedTuple):
    """A column of the table: the metric's name in evaluate.py, heading, decimals, whether it measures quality."""
    figure: str
    head: str
    digits: int
    quality: bool


COLUMNS = (
    Column('content kept', 'content kept ↑', 3, True),
    Column('coverage', 'coverage ↑', 3, True),
    Column('outside the real ones', 'outside ↓', 3, True),
    Column('FID, train set', 'FID ↓', 1, True),
    Column('KID, train set', 'KID ↓', 4, True),
    Column('LPIPS diversity 0.1, paper', 'LPIPS 0.1', 3, False),
    Column('LPIPS diversity 0.0, paper', 'LPIPS 0.0', 3, False),
    Column('colour diversity', 'colour diversity (ΔE)', 1, False),
    Column('pixel diversity', 'pixel diversity (ΔE²)', 0, False),
    Column('pattern entropy', 'pattern entropy (bits)', 2, False),
)
CURVES = ('content kept', 'coverage', 'pixel diversity', 'colour diversity')
DEFAULTS = {'a2b': 1, 'seeds': [0], 'points': 4, 'num_inputs': 100, 'device': 'auto', 'settings': {}, 'draw': '',
            'sheet_inputs': 3, 'sheet_outputs': 6}
NEEDED = ('output', 'data_root', 'iterations', 'rows')
ROW_KEYS = ('name', 'trainer', 'config', 'paper', 'encoder_noise', 'settings', 'iterations', 'checkpoint')
MISSING = object()


# ---------------------------------------------------------------------------------------------------------------------
# The budget
# ---------------------------------------------------------------------------------------------------------------------

class Row(NamedTuple):
    """A row of the table."""
    name: str
    slug: str                # its name in file names
    trainer: str
    config: dict             # the content of its YAML file, without the seed
    iterations: int
    paper: str               # its name in `PAPER`, '' for a row that the paper does not have
    encoder_noise: bool
    checkpoint: str          # of a row that is evaluated without training; '' otherwise


def read_budget(path: Path) -> tuple[dict, list[Row]]:
    """Read a budget and its rows.

    Raises:
        BadInput: the budget or a config of a row is invalid. The message has one line for each error.
    """
    budget = {**copy.deepcopy(DEFAULTS), **read_yaml(path, '--budget')}
    faults = [f'{key}: missing' for key in NEEDED if key not in budget]
    faults += [f'{shown(key, 80)}: unknown key' for key in budget if key not in (*NEEDED, *DEFAULTS)]
    for key in ('iterations', 'points', 'num_inputs', 'sheet_inputs', 'sheet_outputs'):
        if key in budget and not _is_count(budget[key]):
            faults.append(f'{key}: {shown(repr(budget[key]), 80)} is not a whole number of at least 1')
    for key in ('output', 'data_root', 'draw', 'device'):
        if key in budget and not isinstance(budget[key], str):
            faults.append(f'{key}: {shown(repr(budget[key]), 80)} is not text')
    if budget['a2b'] not in (0, 1):
        faults.append(f'a2b: {shown(repr(budget["a2b"]), 80)} is not 0 or 1')
    seeds = budget['seeds']
    if not isinstance(seeds, list) or not seeds or not all(_is_count(seed, 0) for seed in seeds):
        faults.append(f'seeds: {shown(repr(seeds), 80)} is not a list of whole numbers')
    if not isinstance(budget['settings'], dict):
        faults.append('settings: not a section of keys of configs')
    if 'rows' in budget and (not isinstance(budget['rows'], list) or not budget['rows']):
        faults.append('rows: not a list of rows')
    rows: list[Row] = []
    if not faults:
        for number, entry in enumerate(budget['rows'], start=1):
            row, found = _row_of(entry, budget)
            rows += [row] if row else []
            faults += [f'row {number}: {fault}' for fault in found]
        slugs = [row.slug for row in rows]
        faults += [f'row {row.name}: two rows would be called {row.slug} in file names' for i, row in enumerate(rows)
                   if row.slug in slugs[:i]]
    if faults:
        raise BadInput('\n'.join(f'{shown(path)}: {fault}' for fault in faults))
    return budget, rows


def _is_count(value: Any, low: int = 1) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= low


def _row_of(entry: Any, budget: dict) -> tuple[Row | None, list[str]]:
    if not isinstance(entry, dict):
        return None, [f'{shown(repr(entry), 80)} is not a section of keys']
    faults = [f'{shown(key, 80)}: unknown key; known are {", ".join(ROW_KEYS)}' for key in entry if key not in ROW_KEYS]
    faults += [f'{key}: missing, or not text' for key in ('name', 'trainer', 'config')
               if not isinstance(entry.get(key), str)]
    trainer, paper = entry.get('trainer'), entry.get('paper', '')
    if trainer not in METHODS:
        faults.append(f'trainer: {shown(repr(trainer), 80)} is not one of {", ".join(METHODS)}')
    if paper and paper not in PAPER:
        faults.append(f'paper: {shown(repr(paper), 80)} is not one of {", ".join(PAPER)}')
    elif not budget['a2b'] and not METHODS[trainer].both_ways:
        faults.append(f'trainer: {trainer} translates from A to B alone; a2b: 0 cannot be measured')
    if not isinstance(entry.get('settings', {}), dict):
        faults.append('settings: not a section of keys of configs')
    iterations = entry.get('iterations', budget['iterations'])
    if not _is_count(iterations):
        faults.append(f'iterations: {shown(repr(iterations), 80)} is not a whole number of at least 1')
    elif iterations < budget['points']:
        faults.append(f'iterations: {iterations} are fewer than points {budget["points"]}')
    if faults:
        return None, faults
    every = iterations // budget['points']
    config = merged(read_yaml(ROOT / entry['config'], 'config'), budget['settings'], entry.get('settings', {}),
                    {'data_root': budget['data_root'], 'max_iter': iterations, 'snapshot_save_iter': every,
                     'image_save_iter': every, 'keep_snapshots': 0})
    config = {key: value for key, value in config.items() if not key.startswith(('data_folder_', 'data_list_'))}
    faults = [f'{entry["config"]}: {fault}' for fault in check_config(copy.deepcopy(config), trainer)]
    slug = re.sub('[^a-z0-9]+', '_', entry['name'].lower()).strip('_')
    return Row(entry['name'], slug, trainer, config, iterations, paper, bool(entry.get('encoder_noise', False)),
               entry.get('checkpoint', '')), faults


def merged(*settings: dict) -> dict:
    """Merge settings; later ones override earlier ones. Sections are merged key by key."""
    found: dict = {}
    for one in settings:
        for key, value in one.items():
            both = isinstance(value, dict) and isinstance(found.get(key), dict)
            found[key] = merged(found[key], value) if both else copy.deepcopy(value)
    return found


# ---------------------------------------------------------------------------------------------------------------------
# Training and evaluating
# ---------------------------------------------------------------------------------------------------------------------

class Table:
    """Trains and evaluates the rows of a budget."""

    def __init__(self, budget: dict, rows: list[Row]):
        self.budget, self.rows = budget, rows
        self.output = make_folder(ROOT / budget['output'], 'output:')

    def call(self, *arguments: Any, quiet: bool = False) -> None:
        """Run one of the project's commands, and forward signals to it so that it can save a snapshot.

        Raises:
            RunEnded: the command failed or was stopped.
        """
        command = [sys.executable, *map(str, arguments)]
        process = subprocess.Popen(command, cwd=ROOT, text=True, stdout=subprocess.DEVNULL if quiet else None,
                                   stderr=subprocess.PIPE if quiet else None)
        asked = []

        def hand_on(number: int, _) -> None:
            asked.append(number)
            if number == signal.SIGTERM:   # the terminal sends Ctrl-C to both
                process.send_signal(number)

        before = {number: signal.signal(number, hand_on) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            _, said = process.communicate()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
        if asked:
            raise RunEnded(128 + asked[0], f'stopped by {signal.Signals(asked[0]).name}; the same command continues '
                                           f'from here')
        if process.returncode:
            last = f': {said.strip().splitlines()[-1]}' if said and said.strip() else ''
            raise RunEnded(process.returncode if process.returncode > 0 else 128 - process.returncode,
                           f'{arguments[0]} ended with status {process.returncode}{last}\n'
                           f'  python {shlex.join(command[1:])}\nthe same command continues from here')

    def prepare(self) -> None:
        """Draw the data if the budget has a command for it, and check that it is suitable for all rows.

        Raises:
            BadInput: images are missing, or are not paired although a row requires pairs. One line for each row.
        """
        if self.budget['draw']:
            self.call('scripts/draw_demo_data.py', '--output', self.budget['data_root'],
                      *shlex.split(self.budget['draw']))
        faults = []
        for row in self.rows:
            config = {**copy.deepcopy(row.config), 'data_root': str(ROOT / self.budget['data_root'])}
            found = [] if row.checkpoint else check_config(config, row.trainer, data=True)
            faults += [f'row {row.name}: {fault}' for fault in found]
        if faults:
            raise BadInput('\n'.join(faults))

    def run_of(self, row: Row, seed: int) -> str:
        """Return the name of the run of a row."""
        return f'{row.slug}_seed{seed}'

    def config_of(self, row: Row, seed: int) -> Path:
        """Write the config file of a row and return its path.

        Raises:
            BadInput: the row has already been trained with other settings.
        """
        path = self.output / 'configs' / f'{self.run_of(row, seed)}.yaml'
        if path.exists():
            earlier = read_yaml(path, 'config')
            other = sorted(key for key in {*earlier, *row.config}
                           if earlier.get(key, MISSING) != row.config.get(key, MISSING))
            if other:
                raise BadInput(f'row {row.name}: {shown(path)} is of a run with other settings ({", ".join(other)}); '
                               f'name another output: in the budget, or move {shown(self.output)} away')
            return path
        make_folder(path.parent, 'output:')
        replace_text(path, f'# Written by scripts/table1.py: {row.name}, seed {seed}\n'
                     + yaml.safe_dump(row.config, sort_keys=False, allow_unicode=True))
        return path

    def checkpoints(self, row: Row, seed: int) -> dict[int, Path]:
        """Return the generator checkpoints to evaluate by step. A row that is not trained has one, at its last step."""
        if row.checkpoint:
            path = Path(row.checkpoint.replace('{seed}', str(seed)))
            if not (ROOT / path).is_file():
                raise BadInput(f'row {row.name}: checkpoint {shown(path)}: no such file')
            return {row.iterations: ROOT / path}
        folder = self.output / 'outputs' / self.run_of(row, seed) / 'checkpoints'
        steps = [row.iterations // self.budget['points'] * i for i in range(1, self.budget['points'])]
        steps = [*steps, row.iterations]
        return {step: snapshots.file_of(folder, 'gen', step) for step in steps}

    def train(self, row: Row, seed: int) -> None:
        """Train a row, or resume its training."""
        config = self.config_of(row, seed)
        folder = self.output / 'outputs' / self.run_of(row, seed) / 'checkpoints'
        if row.checkpoint or snapshots.newest(folder)[0] == row.iterations:
            return
        print(f'training {row.name}, seed {seed}: {row.iterations} iterations', flush=True)
        self.call('train.py', '--config', config, '--trainer', row.trainer, '--seed', seed, '--output_path',
                  self.output, '--device', self.budget['device'], '--resume')

    def evaluate(self, row: Row, seed: int) -> dict[int, dict]:
        """Return the results of evaluate.py for each checkpoint of a row, by step."""
        found = {}
        inputs = len(list_folder(ROOT / self.budget['data_root'] / f'test{"A" if self.budget["a2b"] else "B"}'))
        for step, checkpoint in self.checkpoints(row, seed).items():
            folder = self.output / 'evaluation' / self.run_of(row, seed) / f'{step:08d}'
            wanted = {'checkpoint': str(checkpoint), 'seed': seed, 'a2b': self.budget['a2b'],
                      'num_inputs': min(self.budget['num_inputs'], inputs),
                      **({'encoder_noise': True} if row.encoder_noise else {})}
            if not self._is_evaluated(folder, wanted):
                print(f'evaluating {row.name}, seed {seed}, step {step}', flush=True)
                costly = [] if step == row.iterations else ['--without', 'lpips', 'fid']
                self.call('evaluate.py', '--config', self.config_of(row, seed), '--trainer', row.trainer,
                          '--checkpoint', checkpoint, '--a2b', self.budget['a2b'], '--seed', seed, '--num_inputs',
                          self.budget['num_inputs'], '--device', self.budget['device'], '--output_folder', folder,
                          *(['--encoder_noise'] if row.encoder_noise else []), *costly, quiet=True)
            found[step] = json.loads((folder / 'figures.json').read_text(encoding='utf-8'))
        return found

    def _is_evaluated(self, folder: Path, wanted: dict) -> bool:
        try:
            found = json.loads((folder / 'figures.json').read_text(encoding='utf-8'))
            settings, figures = found['settings'], figures_of(found)
        except (OSError, ValueError, LookupError, TypeError):   # missing or incomplete
            return False
        # Repeat evaluations by earlier versions, which do not contain this metric; the findings depend on it.
        return 'pixel diversity' in figures and all(settings.get(key) == value for key, value in wanted.items())

    def sheet(self) -> Path:
        """Draw a sheet of the same inputs translated by all rows with the first seed, followed by real data."""
        source, target = ('A', 'B') if self.budget['a2b'] else ('B', 'A')
        paths = list_folder(ROOT / self.budget['data_root'] / f'test{source}')
        step = max(1, len(paths) // self.budget['sheet_inputs'])
        inputs = paths[::step][:self.budget['sheet_inputs']]
        folder = make_folder(self.output / 'sheet' / 'inputs', 'output:')
        for old in folder.iterdir():
            old.unlink()
        for i, path in enumerate(inputs):
            shutil.copyfile(path, folder / f'{i}{path.suffix}')
        lines = []
        for row in self.rows:
            seed = self.budget['seeds'][0]
            checkpoint = list(self.checkpoints(row, seed).values())[-1]
            stem = self.output / 'sheet' / row.slug
            for old in stem.parent.glob(f'{row.slug}_[0-9]*'):
                shutil.rmtree(old)
            self.call('test_batch.py', '--config', self.config_of(row, seed), '--trainer', row.trainer, '--checkpoint',
                      checkpoint, '--a2b', self.budget['a2b'], '--input_folder', folder, '--output_folder', stem,
                      '--num_style', self.budget['sheet_outputs'], '--synchronized', '--output_only', '--seed', seed,
                      '--device', self.budget['device'], *(['--encoder_noise'] if row.encoder_noise else []),
                      quiet=True)
            folders = sorted(stem.parent.glob(f'{row.slug}_[0-9]*')) or [stem]
            lines += [(row.name, [folder / f'{i}{path.suffix}', *(one / f'{i}{path.suffix}' for one in folders)])
                      for i, path in enumerate(inputs)]
        of_name = {path.name: path for path in list_folder(ROOT / self.budget['data_root'] / f'test{target}')}
        lines += [('real data', [folder / f'{i}{path.suffix}', of_name[path.name]])
                  for i, path in enumerate(inputs) if path.name in of_name]
        size = _side_of(self.rows[0].config)
        draw_sheet(lines, 1 + self.budget['sheet_outputs'], size, self.output / 'sheet.png')
        return self.output / 'sheet.png'


def _side_of(config: dict) -> int:
    return min(256, config.get('new_size', config.get('new_size_a', 256)))


def draw_sheet(lines: list[tuple[str, list[Path]]], columns: int, size: int, path: Path) -> None:
    """Write a sheet with a row of images per line, labelled with its name. Repeated names are written once."""
    groups = []
    for name, group in itertools.groupby(lines, key=lambda line: line[0]):
        rows = []
        for _, paths in group:
            rows.append([])
            for picture in paths[:columns]:
                with Image.open(picture) as image:
                    shorter = min(image.size)
                    rows[-1].append(image.convert('RGB').crop((0, 0, shorter, shorter)).resize((size, size)))
        groups.append(headed(sheet(rows, (size, size), 0, columns), textwrap.fill(name, 18), (8, 14), left=150, top=6))
    with replacing(path) as temporary:
        stacked(groups).save(temporary)


# ---------------------------------------------------------------------------------------------------------------------
# The table
# ---------------------------------------------------------------------------------------------------------------------

class Spread(NamedTuple):
    """The mean of a metric over seeds, and its standard deviation (None for a single seed)."""
    mean: float
    deviation: float | None

    @classmethod
    def of(cls, values: list[float]) -> 'Spread':
        """Compute the mean and the standard deviation of at least one value."""
        return cls(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None)


def figures_of(evaluation: dict, which: str = 'model') -> dict[str, float]:
    """Return the metrics in a figures.json by name, for the model or for real images."""
    return {figure['name']: figure[which] for figure in evaluation['figures'] if figure[which] is not None}


def over_seeds(evaluations: list[dict], which: str = 'model') -> dict[str, Spread]:
    """Return the mean and standard deviation of the metrics that all evaluations contain."""
    found = [figures_of(evaluation, which) for evaluation in evaluations]
    return {name: Spread.of([one[name] for one in found]) for name in found[0] if all(name in one for one in found)}


def results_of(rows: list[Row], evaluations: dict[str, dict[int, dict[int, dict]]]) -> list[dict]:
    """Return the rows of the table, with real data last: name, name in the paper, final metrics, and metrics by step.

    Args:
        evaluations: results of evaluate.py by row, seed and step.
    """
    results = []
    for row in rows:
        seeds = evaluations[row.slug]
        along = {step: over_seeds([one[step] for one in seeds.values()]) for step in next(iter(seeds.values()))}
        results.append({'name': row.name, 'trainer': row.trainer, 'paper': row.paper, 'iterations': row.iterations,
                        'figures': along[row.iterations], 'along': along})
    ends = [one[row.iterations] for row in rows for one in evaluations[row.slug].values()]
    real: dict[str, Spread] = {}
    for evaluation in ends:   # metrics that only some rows have, such as guided ones, also have a value for real data
        real = {**over_seeds([evaluation], 'real'), **real}
    return [*results, {'name': 'real data', 'trainer': '', 'paper': 'real data', 'iterations': 0, 'figures': real,
                       'along': {}}]


def diversity_figure(results: list[dict]) -> str:
    """Return the name of the diversity metric: LPIPS if all rows have it, otherwise pixel diversity.

    Colour diversity is not used, because invisible noise can change which of two equally frequent colours is dominant.
    """
    for column in COLUMNS:
        if column.figure.startswith('LPIPS') and all(column.figure in row['figures'] for row in results):
            return column.figure
    return 'pixel diversity'


def findings(results: list[dict]) -> list[str]:
    """Check the findings of the paper, and return a line for each. Findings without the required rows are omitted."""
    figure = diversity_figure(results)
    diversity = {row['paper']: row['figures'][figure].mean for row in results if figure in row['figures']}
    kept = {row['paper']: row['figures']['content kept'].mean for row in results if 'content kept' in row['figures']}
    lines = []

    def say(holds: bool, line: str) -> None:
        lines.append(f'{"yes" if holds else "NO"}: {line}')

    whole = diversity.get('MUNIT')
    for name in ('UNIT', 'CycleGAN', 'CycleGAN* with noise'):
        if whole is not None and name in diversity:
            say(diversity[name] < whole / 10, f"{name} has under a tenth of MUNIT's diversity "
                                              f'({figure} {diversity[name]:.4g} of {whole:.4g})')
    name = 'MUNIT without recon_s'
    if whole is not None and name in diversity:
        say(diversity[name] < whole, f'dropping the style reconstruction lowers diversity ({figure} '
                                     f'{diversity[name]:.4g} of {whole:.4g})')
    name = 'MUNIT without recon_x'
    if name in kept and 'MUNIT' in kept:
        say(kept[name] < kept['MUNIT'], f'dropping the image reconstruction lowers quality (content kept '
                                        f'{kept[name]:.3f}, MUNIT {kept["MUNIT"]:.3f})')
    if whole is not None and 'BicycleGAN' in diversity:
        say(0.75 <= whole / max(diversity['BicycleGAN'], 1e-9) <= 1.5,
            f"MUNIT comes near the paired model's diversity, 0.75 to 1.5 times ({figure} {whole:.4g} of "
            f'{diversity["BicycleGAN"]:.4g})')
    return lines + order_of_diversity(diversity, figure)


def order_of_diversity(diversity: dict[str, float], figure: str) -> list[str]:
    """Count the pairs of rows whose order of diversity is that of the paper, among those with the same order on both of
    the paper's data sets.
    """
    names = [name for name in PAPER if name in diversity]
    agreed, other = 0, []
    for i, one in enumerate(names):
        for two in names[i + 1:]:
            signs = {math.copysign(1, PAPER[one][k] - PAPER[two][k]) for k in (1, 3) if PAPER[one][k] != PAPER[two][k]}
            if len(signs) == 1:
                if (diversity[one] - diversity[two]) * signs.pop() > 0:
                    agreed += 1
                else:
                    other.append(f'{one} and {two}')
    if not agreed and not other:
        return []
    differing = f'; not {"; ".join(other)}' if other else ''
    return [f"order of diversity ({figure}): {agreed} of {agreed + len(other)} pairs of rows stand as in the paper, of "
            f'those that stand alike on both its sets{differing}']


STANDS_IN = '''\
**What stands in for people.** The paper asked people which of two translations looks more real. Here nobody is asked:
*content kept* tells whether an output still shows its input, *coverage* and *outside* whether its colours are those
of real pictures, FID and KID (where their libraries and weights are installed) whether outputs look like real ones.
None of them is a judgement of beauty. Of *real data*, content kept is that of the true counterparts, and diversity
that of real pictures drawn at random. Diversity is LPIPS as in the paper where AlexNet's weights are there; else
*pixel diversity*, the mean squared ΔE of the pixels of two of ten outputs of one input, background and all: LPIPS, too,
squares its differences. *Colour diversity*, the mean ΔE of bodies' main colours (which only drawn data can tell), says
how far apart the looks are, but has a floor: in a body half paint, half white, the commoner colour flips by noise that
no eye sees. *Pattern entropy* has the same. UNIT's outputs differ by the noise of its encoder, CycleGAN's by its
dropout, CycleGAN*'s by both noise and dropout.'''


def write_table(output: Path, budget: dict, results: list[dict], left_out: list[str]) -> None:
    """Write table.md and table.json."""
    columns = [column for column in COLUMNS if any(column.figure in row['figures'] for row in results)]
    columns.sort(key=lambda column: not column.quality)

    def cell(row: dict, column: Column) -> str:
        if column.figure not in row['figures']:
            return '–'
        mean, deviation = row['figures'][column.figure]
        return f'{mean:.{column.digits}f}' + ('' if deviation is None else f' ± {deviation:.{column.digits}f}')

    def paper(row: dict) -> list[str]:
        values = PAPER.get(row['paper'], (None,) * 4)
        return ['–' if value is None else f'{value:.1f}' if i % 2 == 0 else f'{value:.3f}'.lstrip('0')
                for i, value in enumerate(values)]

    seeds = len(budget['seeds'])
    way = 'A to B' if budget['a2b'] else 'B to A'
    heads = ['', *(column.head for column in columns), 'paper, shoes: % / LPIPS', 'paper, handbags: % / LPIPS']
    lines = ['# Table 1', '',
             f'{budget["data_root"]}, {way}, {budget["num_inputs"]} test inputs at most, {budget["iterations"]} '
             f'iterations a row unless said otherwise; '
             + ('one seed, so no spread.' if seeds == 1 else f'mean ± standard deviation over {seeds} seeds.'), '',
             '| ' + ' | '.join(heads) + ' |', '|---' * len(heads) + '|']
    for row in results:
        name = row['name'] + (f' ({row["iterations"]} iterations)' if row['iterations'] not in (0, budget['iterations'])
                              else '')
        shoes_quality, shoes, bags_quality, bags = paper(row)
        lines.append('| ' + ' | '.join([name, *(cell(row, column) for column in columns),
                                        f'{shoes_quality} / {shoes}', f'{bags_quality} / {bags}']) + ' |')
    found = findings(results)
    lines += ['', STANDS_IN, '', "**The paper's findings here.**", '', *(f'- {line}' for line in found)]
    lines += ['', '**Left out.**', '', *(f'- {line}' for line in left_out)] if left_out else []
    replace_text(output / 'table.md', '\n'.join(lines) + '\n')

    content = {'budget': budget, 'paper': {name: dict(zip(('shoes quality', 'shoes LPIPS', 'handbags quality',
                                                           'handbags LPIPS'), values, strict=True))
                                           for name, values in PAPER.items()},
               'rows': [{**row, 'figures': {name: spread._asdict() for name, spread in row['figures'].items()},
                         'along': {step: {name: spread._asdict() for name, spread in figures.items()}
                                   for step, figures in row['along'].items()}} for row in results],
               'findings': found, 'left_out': left_out}
    replace_text(output / 'table.json', json.dumps(content, indent=2, ensure_ascii=False) + '\n')


def draw_curves(results: list[dict], path: Path) -> bool:
    """Plot metrics over iterations with a curve for each row and its spread over seeds. Returns False if matplotlib is
    missing.
    """
    try:
        import matplotlib
    except ImportError:
        return False
    matplotlib.use('Agg')
    import matplotlib.pyplot as plt
    *rows, real = results
    figures = [name for name in CURVES if any(name in row['figures'] for row in rows)]
    if not figures:
        return True
    plot, axes = plt.subplots(1, len(figures), figsize=(4.5 * len(figures), 4.2), squeeze=False)
    colours = plt.get_cmap('tab10')
    for axis, figure in zip(axes[0], figures, strict=True):
        for number, row in enumerate(rows):
            points = [(step, along[figure]) for step, along in sorted(row['along'].items()) if figure in along]
            if not points:
                continue
            steps = [step for step, _ in points]
            means = [spread.mean for _, spread in points]
            axis.plot(steps, means, marker='.', color=colours(number % 10), label=row['name'],
                      linestyle='-' if number < 10 else '--')
            if all(spread.deviation is not None for _, spread in points):
                axis.fill_between(steps, [spread.mean - spread.deviation for _, spread in points],
                                  [spread.mean + spread.deviation for _, spread in points],
                                  color=colours(number % 10), alpha=0.15, linewidth=0)
        if figure in real['figures']:
            axis.axhline(real['figures'][figure].mean, color='grey', linestyle=':', label='real data')
        axis.set_title(figure)
        axis.set_xlabel('iterations')
        axis.set_ylim(bottom=0)
    handles, labels = axes[0][0].get_legend_handles_labels()
    plot.legend(handles, labels, loc='lower center', ncol=5, fontsize='small', frameon=False)
    plot.tight_layout(rect=(0, 0.12, 1, 1))
    beside = path.with_name('curves.part.png')
    plot.savefig(beside, dpi=110)
    plt.close(plot)
    os.replace(beside, path)
    return True


# ---------------------------------------------------------------------------------------------------------------------
# The command
# ---------------------------------------------------------------------------------------------------------------------

def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="The paper's table 1, from a budget.")
    parser.add_argument('--budget', required=True, help='a YAML file such as configs/table1/demo.yaml')
    parser.add_argument('--output', help='output folder (default: that of the budget)')
    parser.add_argument('--device', help='device (default: that of the budget)')
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    opts = parse_arguments(argv)
    path = Path(opts.budget) if Path(opts.budget).is_file() else ROOT / opts.budget
    budget, rows = read_budget(path)
    budget.update({key: getattr(opts, key) for key in ('output', 'device') if getattr(opts, key)})
    table = Table(budget, rows)
    table.prepare()
    # The first seed is completed before the second one, so that a complete table exists as early as possible.
    for seed in budget['seeds']:
        for row in rows:
            table.train(row, seed)
    evaluations = {row.slug: {seed: table.evaluate(row, seed) for seed in budget['seeds']} for row in rows}
    results = results_of(rows, evaluations)
    ends = [one[row.iterations] for row in rows for one in evaluations[row.slug].values()]
    left_out = sorted({line for one in ends for line in one['left_out']
                       if line.startswith(('LPIPS', 'FID', 'colours'))})
    write_table(table.output, budget, results, left_out)
    picture = table.sheet()
    curves = table.output / 'curves.png'
    if not draw_curves(results, curves):
        print('curves.png: left out: matplotlib is not installed; pip install -r requirements/bench.txt')
    print((table.output / 'table.md').read_text(encoding='utf-8'))
    print(f'wrote {table.output / "table.md"}, {table.output / "table.json"}, {picture}'
          + (f', {curves}' if curves.exists() else ''))


if __name__ == '__main__':
    run_command(main)
