"""Quality for time: train recipes for the same wall-clock time in turns, and draw their metrics over the minutes.

    pip install -r requirements/photos.txt -r requirements/bench.txt
    python benchmarks/quality.py --minutes 60 --output benchmarks/results/quality_shirts.json
    python benchmarks/quality.py --minutes 60 --output benchmarks/results/quality_shirts.json --table   # only prints

`RECIPES` says what is compared. All have the networks and the image size of `configs/edges2shirts64_folder.yaml`. In
each round every recipe trains for one slice, so that other load on the machine affects all of them. Only the iterations
count: building, loading, saving and evaluating do not. A slice is one call of `train.py --resume` whose loop ends by
the clock, and after each slice the newest checkpoint is measured on the test images: on photographs by
`scripts/evaluate_photos.py`, on drawn data (`--data drawn`) by `evaluate.py`. The JSON file is written after each
measurement, and the same command continues where it stopped, in the middle of a slice too. More seeds, recipes or
minutes may be given then. A PNG of the same name shows mean and range over the seeds.
"""
import argparse
import contextlib
import datetime
import json
import os
import platform
import signal
import statistics
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple
from unittest import mock

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / 'scripts')]

import evaluate_photos
import torch
import yaml

import evaluate
import train
from benchmarks.recipes import changed
from benchmarks.speed import as_the_original
from core import snapshots
from core.errors import BadInput, OneLineParser, RunEnded, shown
from core.files import atomic_write, make_folder, write_text
from engine.cli import at_least, run_command
from engine.training import TrainingLoop
from extras.outlines import INSTALL

CONFIGS = {name: ROOT / 'configs' / f'{name}.yaml'
           for name in ('edges2shoes_folder', 'demo_edges2shoes_folder', 'edges2shirts64_folder')}
DATA = {'shirts': 'datasets/edges2shirts', 'drawn': 'datasets/demo_edges2shoes'}
# What all recipes take from configs/edges2shirts64_folder.yaml: the networks, the size, and how images are read.
SHARED = ('gen', 'input_dim_a', 'input_dim_b', 'new_size', 'crop_image_height', 'crop_image_width', 'num_workers',
          'cache', 'display_size')
ARCHITECTURE = ('dim', 'norm', 'activ', 'n_layer', 'num_scales', 'pad_type')   # of dis; the same
KEPT, SNAPSHOT_EVERY, WITHOUT_END = 3, 500, 10 ** 9


class Recipe(NamedTuple):
    """What is compared: a config, changes to it, and how an iteration is computed."""
    config: str
    about: str
    original: bool = False           # `dis_update`, then `gen_update`, as in benchmarks/speed.py
    bf16: bool = False               # on a device that computes in bf16
    changes: dict = {}


RECIPES = {
    'original': Recipe('edges2shoes_folder', "the original's recipe, computed in the original's way in fp32", True),
    'original, update': Recipe('edges2shoes_folder', "the original's recipe, computed by `update` in fp32"),
    'demo': Recipe('demo_edges2shoes_folder', 'the recipe of configs/demo_edges2shoes_folder.yaml', bf16=True),
    'photographs': Recipe('edges2shirts64_folder', 'the recipe of configs/edges2shirts64_folder.yaml', bf16=True),
    'photographs, plain': Recipe('edges2shirts64_folder', 'the same without dis.init, grad_clip, ema_decay', bf16=True,
                                 changes={'dis.init': 'gaussian', 'grad_clip': 'none', 'ema_decay': 0.0}),
}
BY_DEFAULT = ('original', 'original, update', 'demo', 'photographs')


class Figure(NamedTuple):
    """A metric: its title, name as a flag and whether more of it is better."""
    title: str
    flag: str
    higher: bool
    threshold: float | None


FIGURES = {
    'kept': Figure('content kept, of that of real pairs', 'kept', True, 0.8),
    'guided': Figure("guided colour error, of that of random styles", 'guided', False, 0.6),
    'diversity': Figure('diversity, of that of real images', 'diversity', True, 0.6),
    'coverage': Figure('coverage of real colours', 'coverage', True, None),
}


# ---------------------------------------------------------------------------------------------------------------------
# Training
# ---------------------------------------------------------------------------------------------------------------------

def computes_bf16(device: str) -> bool:
    """Whether a device has instructions for bf16; without them, a CPU is slower with bf16 than with fp32."""
    if device == 'cpu':
        return torch.cpu._is_avx512_bf16_supported()
    return device.startswith('cuda') and torch.cuda.is_bf16_supported(including_emulation=False)


def config_of(recipe: Recipe, opts: argparse.Namespace) -> dict:
    """The config of a recipe's runs."""
    config = yaml.safe_load(CONFIGS[recipe.config].read_text())
    shared = yaml.safe_load(CONFIGS['edges2shirts64_folder'].read_text())
    config |= {key: shared[key] for key in SHARED}
    config['dis'] |= {key: shared['dis'][key] for key in ARCHITECTURE}
    config = changed(config, recipe.changes)
    precision = 'bf16' if recipe.bf16 and computes_bf16(opts.device) else 'fp32'
    config |= {'data_root': str(data_root(opts)), 'precision': precision, 'fused': not recipe.original,
               'max_iter': WITHOUT_END, 'keep_snapshots': KEPT, 'snapshot_save_iter': SNAPSHOT_EVERY}
    return changed(config, opts.set)


def data_root(opts: argparse.Namespace) -> Path:
    return Path(opts.data_root).absolute() if opts.data_root else ROOT / DATA[opts.data]


def train_until(loop: TrainingLoop, seconds: float, original: bool) -> None:
    """The loop of `train.py` without pictures, which ends when the run has trained for so many seconds in all."""
    trainer, progress = loop.trainer, loop.trainer.progress
    begin = time.perf_counter() - progress.get('trained_s', 0.0)

    def save() -> None:
        nonlocal begin
        now = time.perf_counter()
        loop.trainer.progress['trained_s'] = now - begin
        loop.save_snapshot()
        begin += time.perf_counter() - now

    with as_the_original() if original else contextlib.nullcontext():
        for x_a, x_b in loop.batches():
            trainer.update_learning_rate()
            if original:
                trainer.dis_update(x_a, x_b)
                trainer.gen_update(x_a, x_b)
                losses = None
            else:
                losses = trainer.update(x_a, x_b)
            loop.count()
            if losses and loop.rolled_back(losses):
                continue
            if losses and loop.due('log_iter'):
                loop.log(losses)
            if loop.device.type == 'cuda':
                torch.cuda.synchronize(loop.device)
            ended = time.perf_counter() - begin >= seconds
            if ended and not loop.reason:
                loop.reason = int(signal.SIGTERM)   # how a run of train.py ends before max_iter
            if ended or loop.last or loop.due('snapshot_save_iter'):
                save()
            if ended or loop.last:
                break


@contextlib.contextmanager
def said_to(file: Path) -> Iterator[None]:
    """Append what is printed to a file, and put back the handlers of signals that a run replaces."""
    numbers = [number for name in ('SIGINT', 'SIGTERM', 'SIGUSR1', 'SIGHUP') if (number := getattr(signal, name, None))]
    handlers = {number: signal.getsignal(number) for number in numbers}
    try:
        with open(file, 'a') as log, contextlib.redirect_stdout(log), contextlib.redirect_stderr(log):
            yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


class Run:
    """The training of a recipe with one seed.

    Args:
        name: of `RECIPES`.
        seed: of the run.
        opts: the command line.
    """

    def __init__(self, name: str, seed: int, opts: argparse.Namespace):
        self.name, self.recipe, self.seed, self.opts = name, RECIPES[name], seed, opts
        slug = name.replace(', ', '_')
        self.folder = Path(opts.work) / f'{slug}_{seed}'
        self.config = self.folder / f'{slug}.yaml'
        self.checkpoints = self.folder / 'outputs' / slug / 'checkpoints'

    def prepare(self) -> dict:
        """Write the config; its content."""
        make_folder(self.folder, '--work')
        config = config_of(self.recipe, self.opts)
        self.config.write_text(yaml.safe_dump(config, sort_keys=False))
        return config

    def trained_seconds(self) -> float:
        """For how long the newest snapshot has trained."""
        state = snapshots.find(self.checkpoints).state or {}
        return float(state.get('progress', {}).get('trained_s', 0.0))

    def train(self, seconds: float) -> None:
        """Train until the run has trained for so many seconds in all.

        Raises:
            RunEnded: it was stopped, or diverged.
        """
        if self.trained_seconds() >= seconds:   # stopped before it was measured
            return
        with said_to(self.folder / 'log.txt'), mock.patch.object(
                train, 'train', lambda loop: train_until(loop, seconds, self.recipe.original)):
            status = train.main(['--config', str(self.config), '--output_path', str(self.folder), '--seed',
                                 str(self.seed), '--device', self.opts.device, '--resume'])
        if self.trained_seconds() < seconds or status == 128 + signal.SIGINT:
            raise RunEnded(status, f'{self.name}: stopped; the same command continues')

    def measure(self) -> dict:
        """Measure the newest checkpoint; what the JSON file keeps of it."""
        step = snapshots.newest(self.checkpoints)[0]
        kind = 'ema' if snapshots.file_of(self.checkpoints, 'ema', step).exists() else 'gen'
        flags = ['--config', str(self.config), '--checkpoint', str(snapshots.file_of(self.checkpoints, kind, step)),
                 '--output_folder', str(self.folder / 'measured'), '--device', self.opts.device, '--num_inputs',
                 str(self.opts.num_inputs)]
        with said_to(self.folder / 'log.txt'):
            if self.opts.data == 'shirts':
                evaluate_photos.main(flags)
            else:
                evaluate.main([*flags, '--without', *evaluate.EXPENSIVE])
        found = figures_of_photos if self.opts.data == 'shirts' else figures_of_drawings
        return {'recipe': self.name, 'seed': self.seed, 'minutes': self.trained_seconds() / 60, 'iterations': step,
                **found(self.folder / 'measured')}


def figures_of_photos(folder: Path) -> dict[str, float]:
    """The figures in the file of scripts/evaluate_photos.py."""
    found = json.loads((folder / evaluate_photos.REPORT).read_text(encoding='utf-8'))['metrics']
    return {'kept': found['content kept, of that of real pairs'],
            'guided': found['guided colour error, of that of random styles'],
            'diversity': found['colour diversity, of that of real photographs'],
            'coverage': found['coverage of real colours'], 'broken': found['broken outputs']}


def figures_of_drawings(folder: Path) -> dict[str, float]:
    """The figures in the file of evaluate.py; content kept and diversity as shares of those of real pictures."""
    rows = json.loads((folder / 'figures.json').read_text(encoding='utf-8'))['figures']
    model, real = ({row['name']: row[which] for row in rows} for which in ('model', 'real'))
    return {'kept': model['content kept'] / real['content kept'], 'guided': model['colour error, guided / sampled'],
            'diversity': model['colour diversity'] / real['colour diversity'], 'coverage': model['coverage']}


# ---------------------------------------------------------------------------------------------------------------------
# The table
# ---------------------------------------------------------------------------------------------------------------------

def curves_of(report: dict, recipe: str) -> dict[int, list[dict]]:
    """The measurements of a recipe by seed, in order. Seeds count with which every recipe was trained for the whole
    time; where there are none, those with the most measurements, up to the time that all recipes have.
    """
    by_run: dict[tuple[str, int], list[dict]] = {}
    for row in report['measurements']:
        by_run.setdefault((row['recipe'], row['seed']), []).append(row)
    ended = {(run['recipe'], run['seed']) for run in report['ended']}
    names = [name for name in RECIPES if any(name == of for of, _ in by_run)]
    seeds = sorted({seed for _, seed in by_run})
    lengths = {seed: min((len(by_run.get((name, seed), [])) for name in names if (name, seed) not in ended), default=0)
               for seed in seeds}
    longest = max(lengths.values(), default=0)
    return {seed: by_run[recipe, seed][:longest] for seed in seeds
            if lengths[seed] == longest and (recipe, seed) in by_run and (recipe, seed) not in ended and longest}


def area(rows: list[dict], figure: str) -> float:
    """The area under the curve of a figure from the first measurement to the last, divided by the minutes between:
    the mean of the figure over that time.
    """
    if len(rows) == 1:
        return rows[0][figure]
    between = [(two['minutes'] - one['minutes'], (one[figure] + two[figure]) / 2)
               for one, two in zip(rows, rows[1:], strict=False)]
    return sum(minutes * height for minutes, height in between) / sum(minutes for minutes, _ in between)


def minutes_until(rows: list[dict], thresholds: dict[str, float]) -> float | None:
    """The minutes of the first measurement at which all of these thresholds hold; None where none is."""
    def holds(row: dict) -> bool:
        return all(row[figure] >= value if FIGURES[figure].higher else row[figure] <= value
                   for figure, value in thresholds.items())

    return next((row['minutes'] for row in rows if holds(row)), None)


def spread(values: list[float], digits: int) -> str:
    """The mean of values, and their range where there are several."""
    mean = f'{statistics.mean(values):.{digits}f}'
    return mean if len(values) == 1 else f'{mean} ({min(values):.{digits}f}–{max(values):.{digits}f})'


def spread_of_minutes(values: list[float | None]) -> str:
    """The mean and range of minutes of those seeds that got there."""
    reached = [value for value in values if value is not None]
    if not reached:
        return 'not reached'
    return spread(reached, 1) + ('' if len(reached) == len(values) else f', {len(reached)} of {len(values)} seeds')


def table(report: dict, thresholds: dict[str, float]) -> list[str]:
    """The lines of the tables in Markdown: figures at the end and their area, and the minutes to the thresholds."""
    curves = {name: found for name in RECIPES if (found := curves_of(report, name))}
    if not curves:
        return ['Nothing is measured yet.']
    end = statistics.mean(rows[-1]['minutes'] for found in curves.values() for rows in found.values())
    heads = [FIGURES[figure].title for figure in FIGURES]
    lines = [f'| after {end:.1f} minutes; area under the curve | seeds | iterations | ' + ' | '.join(heads) + ' |',
             '|---' * (3 + len(heads)) + '|']
    for name, found in curves.items():
        cells = [f'{spread([rows[-1][figure] for rows in found.values()], 2)}; '
                 f'{spread([area(rows, figure) for rows in found.values()], 2)}' for figure in FIGURES]
        iterations = statistics.mean(rows[-1]['iterations'] for rows in found.values())
        lines.append(f'| {name} | {len(found)} | {iterations:,.0f} | ' + ' | '.join(cells) + ' |')
    lines += ['', '| minutes until | ' + ' | '.join(
        f'{figure} {"≥" if FIGURES[figure].higher else "≤"} {value:g}' for figure, value in thresholds.items())
        + ' | all of these |', '|---' * (2 + len(thresholds)) + '|']
    for name, found in curves.items():
        wanted = [{figure: value} for figure, value in thresholds.items()] + [thresholds]
        lines.append(f'| {name} | ' + ' | '.join(
            spread_of_minutes([minutes_until(rows, one) for rows in found.values()]) for one in wanted) + ' |')
    return lines + [line for run in report['ended']
                    for line in ('', f'{run["recipe"]}, seed {run["seed"]}, ended early: {run["why"]}')]


def draw(report: dict, thresholds: dict[str, float], path: Path) -> bool:
    """Draw the figures over the minutes, mean and range over the seeds; whether matplotlib is there."""
    try:
        import matplotlib
    except ImportError:
        return False
    matplotlib.use('Agg')
    import matplotlib.pyplot as plt
    plot, axes = plt.subplots(1, len(FIGURES), figsize=(16, 4.2))
    for axis, (figure, about) in zip(axes, FIGURES.items(), strict=True):
        for number, name in enumerate(RECIPES):
            if found := curves_of(report, name):
                columns = list(zip(*found.values(), strict=True))   # the same slice of every seed
                minutes = [statistics.mean(row['minutes'] for row in column) for column in columns]
                values = [[row[figure] for row in column] for column in columns]
                axis.plot(minutes, [statistics.mean(of_slice) for of_slice in values], color=f'C{number}', marker='.',
                          label=name)
                axis.fill_between(minutes, [min(of_slice) for of_slice in values],
                                  [max(of_slice) for of_slice in values], color=f'C{number}', alpha=0.15, linewidth=0)
        if figure in thresholds:
            axis.axhline(thresholds[figure], color='grey', linestyle=':')
        axis.set_title(f'{about.title} {"↑" if about.higher else "↓"}', fontsize=9)
        axis.set_xlabel('minutes of training')
        axis.set_xlim(left=0)
        axis.set_ylim(bottom=0)
    handles, labels = axes[0].get_legend_handles_labels()
    plot.legend(handles, labels, loc='lower center', ncol=len(RECIPES), frameon=False)
    plot.tight_layout(rect=(0, 0.08, 1, 1))
    with atomic_write(path) as temporary:
        plot.savefig(temporary, dpi=90)
    plt.close(plot)
    return True


# ---------------------------------------------------------------------------------------------------------------------
# The command
# ---------------------------------------------------------------------------------------------------------------------

def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    parser = OneLineParser(description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument('--output', required=True, help='JSON file; the picture is written beside it')
    parser.add_argument('--data', choices=DATA, default='shirts', help='photographs, or drawn data with true factors')
    parser.add_argument('--data_root', help='folder of the data (default: ' + ', '.join(DATA.values()) + ')')
    parser.add_argument('--recipes', nargs='+', choices=RECIPES, default=list(BY_DEFAULT), metavar='RECIPE',
                        help='; '.join(f'{name}: {recipe.about}' for name, recipe in RECIPES.items()))
    parser.add_argument('--seeds', nargs='+', type=at_least(0), default=[1, 2, 3], help='all of one before the next')
    parser.add_argument('--minutes', type=positive, default=60.0, help='of training for each recipe and seed')
    parser.add_argument('--slice', type=positive, default=5.0, help='minutes that a recipe trains in its turn')
    parser.add_argument('--num_inputs', type=at_least(4), default=100, help='test images to measure on at most')
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    parser.add_argument('--set', nargs='*', type=setting, default=[], metavar='KEY=VALUE',
                        help='config keys of all recipes, such as gen.dim=8')
    parser.add_argument('--work', default='outputs/quality', help='folder of the runs')
    for figure, about in FIGURES.items():
        if about.threshold is not None:
            parser.add_argument(f'--{about.flag}', type=positive, default=about.threshold, dest=f'threshold_{figure}',
                                help=f'threshold of: {about.title}')
    parser.add_argument('--table', action='store_true', help='only print the table and draw the plot of the JSON file')
    opts = parser.parse_args(argv)
    opts.set = dict(opts.set)
    return opts


def positive(text: str) -> float:
    """An argparse type: a number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float('inf'):
        raise argparse.ArgumentTypeError(f'{shown(repr(text), 80)} is not a number above 0')
    return value


def setting(text: str) -> tuple[str, object]:
    """An argparse type: a config key and its value in YAML."""
    key, sign, value = text.partition('=')
    if not key or not sign:
        raise argparse.ArgumentTypeError(f'{shown(repr(text), 80)} is not KEY=VALUE')
    return key, yaml.safe_load(value)


def machine(opts: argparse.Namespace) -> dict:
    """Where the figures were measured."""
    lines = Path('/proc/cpuinfo').read_text().splitlines() if Path('/proc/cpuinfo').exists() else []
    cpu = next((line.split(':')[1].strip() for line in lines if line.startswith('model name')), platform.machine())
    return {'device': torch.cuda.get_device_name() if opts.device.startswith('cuda') else cpu,
            'threads': torch.get_num_threads(), 'cores': os.cpu_count(), 'torch': torch.__version__}


def open_report(opts: argparse.Namespace) -> dict:
    """The content of the JSON file, or that of a new one.

    Raises:
        BadInput: it is not such a file, or was measured with other settings.
    """
    settings = {'data': opts.data, 'data_root': opts.data_root or DATA[opts.data], 'slice_minutes': opts.slice,
                'num_inputs': opts.num_inputs, 'set': opts.set}
    path = Path(opts.output)
    if not path.exists():
        if opts.table:
            raise BadInput(f'--output {shown(path)}: no such file; run without --table first')
        return {'settings': settings, 'begun': datetime.date.today().isoformat(), 'machine': machine(opts),
                'configs': {}, 'measurements': [], 'ended': []}
    try:
        report = json.loads(path.read_text(encoding='utf-8'))
        other = [key for key, value in settings.items() if report['settings'][key] != value]
        report['measurements'], report['ended'], report['configs']
    except (ValueError, LookupError, TypeError):
        raise BadInput(f'--output {shown(path)}: not a file that this command wrote; name another') from None
    if other and not opts.table:
        raise BadInput(f'--output {shown(path)}: measured with other settings ({", ".join(other)}); name another')
    return report


def write(report: dict, path: str) -> None:
    write_text(Path(path), json.dumps(report, indent=1, ensure_ascii=False) + '\n')


def measure_all(report: dict, opts: argparse.Namespace) -> None:
    """Train and measure what the report does not have yet."""
    slices = max(1, round(opts.minutes / opts.slice))
    for seed in opts.seeds:
        runs = [Run(name, seed, opts) for name in opts.recipes]
        for run in runs:
            config = run.prepare()
            report['configs'][run.name] = {key: value for key, value in config.items() if key != 'data_root'}
        for number in range(1, slices + 1):
            for run in runs:
                has = sum((row['recipe'], row['seed']) == (run.name, seed) for row in report['measurements'])
                if has >= number or any((one['recipe'], one['seed']) == (run.name, seed) for one in report['ended']):
                    continue
                try:
                    run.train(number * opts.slice * 60)
                    row = run.measure()
                    report['measurements'].append(row)
                    print(f'{run.name}, seed {seed}, {row["minutes"]:.1f} min, {row["iterations"]} iterations: '
                          + ', '.join(f'{figure} {row[figure]:.2f}' for figure in FIGURES), flush=True)
                except RunEnded as why:
                    if why.status != 3:
                        raise
                    report['ended'].append({'recipe': run.name, 'seed': seed, 'why': str(why).split(';')[0]})
                write(report, opts.output)


def main(argv: list[str] | None = None) -> None:
    opts = parse_arguments(argv)
    if opts.data == 'shirts' and not find_spec('skimage') and not opts.table:
        raise BadInput(f'quality.py: scikit-image is missing; {INSTALL}')
    report = open_report(opts)
    make_folder(Path(opts.output).parent, '--output')
    if not opts.table:
        measure_all(report, opts)
    thresholds = {figure: getattr(opts, f'threshold_{figure}') for figure, about in FIGURES.items()
                  if about.threshold is not None}
    print('\n'.join(table(report, thresholds)))
    if report['measurements'] and not draw(report, thresholds, Path(opts.output).with_suffix('.png')):
        print('the plot is left out: matplotlib is not installed; pip install -r requirements/bench.txt')


if __name__ == '__main__':
    run_command(main)
