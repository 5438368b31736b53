"""Make a data set of outlines (A) and photographs (B) from a folder of photographs.

    python scripts/photos_to_outlines.py --input my_photographs --output datasets/my_outlines
    python scripts/photos_to_outlines.py --input my_photographs --output datasets/my_outlines --cut_out --size 256

Reads    the images of --input and its subfolders. If --input has the subfolders train and test, these are the split;
         otherwise --test_share of the photographs, chosen by --seed, become the test set.
Writes   OUTPUT/trainA, trainB, testA, testB: the middle square of each photograph as JPEG (B), its outline as 1-bit PNG
         (A); OUTPUT/settings.json; with --cut_out also OUTPUT/kept_and_refused.csv, kept_and_refused.png and refused/.

Without --pairs, half of the training photographs give the outlines and the other half the photographs, so that no
outline has its photograph in the training set. Test photographs always give both, for evaluation.

A run that was interrupted can be started again with the same settings: finished files are skipped. docs/photographs.md
explains the filter and each value.
"""
import argparse
import collections
import contextlib
import csv
import functools
import json
import math
import multiprocessing
import os
import random
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import NamedTuple

import _root  # noqa: F401
from PIL import Image
from tqdm import tqdm

from core.errors import BadInput, OneLineParser, RunEnded, naming, shown
from core.files import atomic_write, make_folder, write_text
from core.picture_sheet import CAPTION, GAP, captioned, headed, sheet, stacked
from data import MAX_IMAGE_PIXELS, list_folder, read_image
from engine.cli import at_least, run_command
from extras.outlines import HIGH, LOW, SIGMA, MissingPackage, default_line_width, default_min_length, outline, square
from extras.outlines.cut_out import Limits, Measures, find_object, lay_on_white, measure

VERSION = 1   # of what is computed: a change of the result raises it
FOLDERS = ('trainA', 'trainB', 'testA', 'testB')
SETTINGS, CSV, SHEET, REFUSED = 'settings.json', 'kept_and_refused.csv', 'kept_and_refused.png', 'refused'
CSV_HEADER = ('name', 'split', 'kept', 'reason', *Measures._fields)
NOT_SETTINGS = ('input', 'output', 'workers', 'max_image_pixels')
SHEET_CELLS, SHEET_CELL, SHEET_COLUMNS = 120, 128, 12


class Job(NamedTuple):
    """One photograph and what becomes of it."""
    path: Path
    name: str     # of the files that are written, without the ending
    split: str    # train or test
    part: str     # a: its outline; b: the photograph; ab: both


class Result(NamedTuple):
    fault: str = ''                      # why the file cannot be used
    refused: str = ''                    # why the cut-out is refused
    measures: Measures | None = None


# ---------------------------------------------------------------------------------------------------------------------
# Which photograph goes where
# ---------------------------------------------------------------------------------------------------------------------

def find_photographs(folder: Path) -> dict[str, dict[str, Path]]:
    """The photographs of each split by the name of what is written: {'train': ..., 'test': ...} or {'': ...}."""
    splits = ('train', 'test') if all((folder / split).is_dir() for split in ('train', 'test')) else ('',)
    with naming('--input'):
        return {split: _by_name(folder / split) for split in splits}


def _by_name(folder: Path) -> dict[str, Path]:
    named = {}
    for path in list_folder(folder):
        name = '_'.join(path.relative_to(folder).with_suffix('').parts)
        if name in named:
            raise BadInput(f'{shown(folder)}: {shown(named[name].name)} and {shown(path.name)} would both be written '
                           f'as {shown(name)}: rename one of them')
        named[name] = path
    return named


def assign_parts(names: list[str], known: dict[str, str], seed: int, pairs: bool, test_share: float | None
                 ) -> dict[str, str]:
    """Where each photograph goes: 'test', 'train_ab', 'train_a' or 'train_b'.

    Photographs of `known` stay where they are; new ones fill whichever place is furthest below its share.
    """
    train = {'train_ab': 1.0} if pairs else {'train_a': 0.5, 'train_b': 0.5}
    shares = train
    if test_share is not None:
        shares = {'test': test_share, **{place: share * (1 - test_share) for place, share in train.items()}}
    assigned = {name: known[name] for name in names if name in known}
    counts = collections.Counter(assigned.values())
    new = [name for name in names if name not in known]
    random.Random(seed).shuffle(new)
    for name in new:
        total = len(assigned) + 1
        # The test set gets no more than its share, rounded; the training set is never left empty.
        places = [place for place in shares if place != 'test' or counts[place] + 1 <= round(test_share * len(names))]
        place = max(places, key=lambda place: shares[place] * total - counts[place])
        assigned[name] = place
        counts[place] += 1
    return assigned


def plan(photographs: dict[str, dict[str, Path]], known: dict[str, str], args: argparse.Namespace
         ) -> tuple[list[Job], dict[str, str]]:
    """A job for each photograph, and the split as it is recorded: the test set is in it only if it was drawn."""
    drawn = '' in photographs
    train = photographs['' if drawn else 'train']
    split = assign_parts(list(train), known, args.seed, args.pairs, args.test_share if drawn else None)
    jobs = [Job(path, name, 'test' if split[name] == 'test' else 'train',
                'ab' if split[name] == 'test' else split[name].removeprefix('train_')) for name, path in train.items()]
    jobs += [Job(path, name, 'test', 'ab') for name, path in photographs.get('test', {}).items()]
    # Without a choice there is nothing to record. A photograph that is no longer in --input keeps its place.
    return jobs, {**known, **split} if drawn or not args.pairs else {}


# ---------------------------------------------------------------------------------------------------------------------
# One photograph
# ---------------------------------------------------------------------------------------------------------------------

def outputs_of(job: Job, output: Path) -> list[Path]:
    return [output / f'{job.split}{part.upper()}' / f'{job.name}.{"png" if part == "a" else "jpg"}'
            for part in job.part]


def process(job: Job, args: argparse.Namespace) -> Result:
    """Write the files of one photograph, or say why it is not used."""
    try:
        image = square(read_image(job.path, 3, args.max_image_pixels), args.size)
    except BadInput as error:
        return Result(fault=str(error))
    measures = None
    if args.cut_out:
        mask = find_object(image)
        measures = measure(mask)
        cut = lay_on_white(image, mask)
        refused = measures.fault(limits_of(args))
        if refused:
            path = args.output / REFUSED / f'{job.split}_{job.name}.jpg'
            save(sheet([[image, cut]], gap=0), path, 'JPEG', quality=85)
            return Result(refused=refused, measures=measures)
        image = cut
    for path in outputs_of(job, args.output):
        if path.suffix == '.png':
            drawing = outline(image, args.sigma, args.low, args.high, args.line_width, args.min_length)
            save(drawing.convert('1', dither=Image.Dither.NONE), path, 'PNG', optimize=True)
        else:
            save(image, path, 'JPEG', quality=args.quality, subsampling=0 if args.quality > 90 else 2, optimize=True)
    return Result(measures=measures)


def save(image: Image.Image, path: Path, kind: str, **options) -> None:
    with atomic_write(path) as part:
        image.save(part, kind, **options)


def limits_of(args: argparse.Namespace) -> Limits:
    return Limits(*(getattr(args, name) for name in Limits._fields))


# ---------------------------------------------------------------------------------------------------------------------
# Settings and records
# ---------------------------------------------------------------------------------------------------------------------

def settings_of(args: argparse.Namespace) -> dict:
    settings = {name: value for name, value in vars(args).items() if name not in NOT_SETTINGS}
    if not args.cut_out:
        settings = {name: value for name, value in settings.items() if name not in Limits._fields}
    return {'version': VERSION, **settings}


def read_settings(output: Path, settings: dict) -> dict[str, str]:
    """The split that is recorded in an existing output folder; {} where the folder is new.

    Raises:
        BadInput: the folder was made with other settings, or by something else.
    """
    path = output / SETTINGS
    if not path.exists():
        there = [folder for folder in FOLDERS if (output / folder).exists()]
        if there:
            raise BadInput(f'--output {shown(output)}: has a folder {there[0]} but no {SETTINGS}, so this script did '
                           f'not make it: name a new folder')
        return {}
    try:
        recorded = json.loads(path.read_text(encoding='utf-8'))
        before, split = recorded['settings'], recorded['split']
        if not isinstance(before, dict) or not isinstance(split, dict):
            raise ValueError
    except (OSError, ValueError, KeyError, TypeError):
        raise BadInput(f'--output {shown(output)}: {SETTINGS} in it cannot be read: name a new folder') from None
    for name in [*settings, *before]:
        if before.get(name) != settings.get(name):
            raise BadInput(f'--output {shown(output)}: was made with {flag_of(name, before.get(name))}, not '
                           f'{flag_of(name, settings.get(name))}: use the settings in {SETTINGS} or name a new folder')
    return split


def flag_of(name: str, value: object) -> str:
    if name == 'version':
        return f'version {value} of this script'
    if isinstance(value, bool) or value is None:
        return f'--{name}' if value else f'no --{name}'
    return f'--{name} {shown(value, 80)}'


def read_records(path: Path) -> dict[tuple[str, str], list[str]]:
    """The rows of the CSV by split and name. A last line without its end, from a killed run, does not count."""
    try:
        text = path.read_bytes().decode('utf-8', 'replace')
    except FileNotFoundError:
        return {}
    complete = text[:text.rfind('\n') + 1]
    rows = [row for row in csv.reader(complete.splitlines()) if len(row) == len(CSV_HEADER)]
    return {(row[1], row[0]): row for row in rows if row[2] in ('yes', 'no')}


def record_of(job: Job, result: Result) -> list[str]:
    return [job.name, job.split, 'no' if result.refused else 'yes', result.refused,
            *(f'{value:.4f}' for value in result.measures)]


def write_records(records: dict[tuple[str, str], list[str]], path: Path) -> None:
    with atomic_write(path) as part, open(part, 'w', newline='', encoding='utf-8') as file:
        writer = csv.writer(file, lineterminator='\n')
        writer.writerow(CSV_HEADER)
        writer.writerows(records[key] for key in sorted(records))


def write_sheet(jobs: list[Job], records: dict[tuple[str, str], list[str]], args: argparse.Namespace) -> None:
    """A sheet of what was kept and, below, what was refused (photograph and cut-out) and why; samples if many."""
    kept, refused = [], []
    for job in jobs:
        row = records.get((job.split, job.name))
        if row and row[2] == 'yes':
            # The photograph, where it was written; else its outline.
            kept.append((outputs_of(job, args.output)[-1], f'area {float(row[4]):.2f}'))
        elif row:
            refused.append((args.output / REFUSED / f'{job.split}_{job.name}.jpg', row[3]))
    rng = random.Random(args.seed)
    photographs = [cell for cell in kept if cell[0].suffix == '.jpg'] or kept
    some_kept = rng.sample(photographs, min(len(photographs), SHEET_CELLS))
    some_refused = sorted(rng.sample(refused, min(len(refused), SHEET_CELLS)), key=lambda cell: cell[1])

    def part(cells: list[tuple[Path, str]], columns: int, title: str, colour: str) -> Image.Image:
        width = (SHEET_CELL + GAP) * SHEET_COLUMNS // columns - GAP
        laid = []
        for path, words in cells:
            with Image.open(path) as image:
                picture = image.convert('RGB')
            picture.thumbnail((width, SHEET_CELL))
            laid.append(captioned(picture, words, (width, SHEET_CELL), colour))
        rows = [laid[i:i + columns] for i in range(0, len(laid), columns)]
        return headed(sheet(rows, (width, SHEET_CELL + CAPTION), columns=columns), title, (GAP, GAP), top=CAPTION,
                      colour=colour)

    parts = [part(some_kept, SHEET_COLUMNS, f'kept: {len(kept)} ({len(some_kept)} shown)', 'darkgreen'),
             part(some_refused, SHEET_COLUMNS // 2, f'refused: {len(refused)} ({len(some_refused)} shown; photograph, '
                  f'cut-out and reason)', 'darkred')]
    save(stacked(parts), args.output / SHEET, 'PNG')


# ---------------------------------------------------------------------------------------------------------------------
# The command
# ---------------------------------------------------------------------------------------------------------------------

def number(low: float, high: float, above: bool = False):
    """An argparse type: a number from `low` to `high`; with `above`, `low` itself is not allowed."""
    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not low <= value <= high or (above and value == low):
            raise argparse.ArgumentTypeError(f'{shown(repr(text), 80)} is not a number '
                                             f'{f"above {low:g}, up to" if above else f"from {low:g} to"} {high:g}')
        return value
    return parse


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = OneLineParser(description='Make a data set of outlines and photographs from a folder of photographs.',
                           formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument('--input', type=Path, required=True, help='folder of photographs, or of train/ and test/')
    parser.add_argument('--output', type=Path, required=True, help='folder of the data set')
    parser.add_argument('--size', type=at_least(16, 4096), default=128, help='width and height of the images')
    parser.add_argument('--sigma', type=number(0.1, 20), default=SIGMA,
                        help='blur before Canny, in pixels at size 128; larger: fewer details')
    parser.add_argument('--low', type=number(0, 4), default=LOW,
                        help='gradient above which a pixel continues a line, at size 128')
    parser.add_argument('--high', type=number(0, 4), default=HIGH,
                        help='gradient above which a pixel starts a line, at size 128; larger: fewer lines')
    parser.add_argument('--line_width', type=at_least(1, 64), help='of the lines, in pixels (1 at size 128, 2 at 256)')
    parser.add_argument('--min_length', type=at_least(0, 100_000),
                        help='lines with fewer pixels are removed (8 at size 128, 16 at 256); 0: none')
    parser.add_argument('--cut_out', action='store_true',
                        help='remove the background with GrabCut and refuse what was cut badly')
    for name, value in Limits._field_defaults.items():
        parser.add_argument(f'--{name}', type=number(0, 100), default=value,
                            help='with --cut_out: limit of a kept cut-out')
    parser.add_argument('--pairs', action='store_true', help='every photograph in A and in B, under the same name')
    parser.add_argument('--test_share', type=number(0, 0.9), default=0.1,
                        help='share of the photographs that become the test set, unless --input has train/ and test/')
    parser.add_argument('--seed', type=at_least(0, 2 ** 62), default=0, help='of the split')
    parser.add_argument('--quality', type=at_least(1, 100), default=95, help='of the JPEG files')
    parser.add_argument('--workers', type=at_least(1, 512), default=min(8, os.cpu_count() or 1),
                        help='processes that work at the same time')
    parser.add_argument('--max_image_pixels', type=at_least(1), default=MAX_IMAGE_PIXELS,
                        help='photographs with more pixels are not read')
    args = parser.parse_args(argv)
    if args.low > args.high:
        parser.error(f'argument --low: {args.low:g} is more than --high {args.high:g}; it must not be')
    if args.min_area > args.max_area:
        parser.error(f'argument --min_area: {args.min_area:g} is more than --max_area {args.max_area:g}; it must not '
                     f'be')
    if args.line_width is None:
        args.line_width = default_line_width(args.size)
    if args.min_length is None:
        args.min_length = default_min_length(args.size)
    return args


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    photographs = find_photographs(args.input)
    output = args.output.resolve()
    if output == args.input.resolve() or any(output == (args.input / split).resolve() for split in photographs):
        raise BadInput(f'--output {shown(args.output)}: is also --input: name another folder')
    if output.is_relative_to(args.input.resolve()) and '' in photographs:
        raise BadInput(f'--output {shown(args.output)}: lies inside --input, where its images would be found as '
                       f'photographs in the next run: name a folder outside of it')
    if '' not in photographs:
        args.test_share = None
    settings = settings_of(args)
    known = read_settings(args.output, settings)
    jobs, split = plan(photographs, known, args)
    try:   # before anything is written
        outline(Image.new('L', (16, 16)))
        if args.cut_out:
            measure(find_object(Image.new('RGB', (16, 16))))
    except MissingPackage as error:
        raise BadInput(str(error)) from None

    make_folder(args.output, '--output')
    write_text(args.output / SETTINGS, json.dumps({'settings': settings, 'split': split}, indent=1, sort_keys=True)
               + '\n')
    for folder in FOLDERS + ((REFUSED,) if args.cut_out else ()):
        make_folder(args.output / folder, '--output')

    records = read_records(args.output / CSV) if args.cut_out else {}
    todo = [job for job in jobs if not is_done(job, records, args)]
    print(f'{len(jobs)} photographs of {shown(args.input)}, {len(jobs) - len(todo)} of them done: writing {len(todo)} '
          f'to {shown(args.output)}')
    faults = run_jobs(todo, records, args)
    if args.cut_out:
        write_records(records, args.output / CSV)
        write_sheet(jobs, records, args)
        refused = sum(records[job.split, job.name][2] == 'no' for job in jobs if (job.split, job.name) in records)
        print(f'{len(jobs) - refused - len(faults)} cut-outs kept, {refused} refused: see {shown(args.output / SHEET)}')
    print(', '.join(f'{folder}: {sum(1 for _ in os.scandir(args.output / folder))}' for folder in FOLDERS))
    if faults:
        more = f' (and {len(faults) - 1} more)' if len(faults) > 1 else ''
        raise BadInput(f'{faults[0]}{more}: everything else is written; repair or remove it and run this again')
    return 0


def is_done(job: Job, records: dict[tuple[str, str], list[str]], args: argparse.Namespace) -> bool:
    if args.cut_out:
        row = records.get((job.split, job.name))
        if row is None:
            return False
        if row[2] == 'no':
            return (args.output / REFUSED / f'{job.split}_{job.name}.jpg').exists()
    return all(path.exists() for path in outputs_of(job, args.output))


def run_jobs(jobs: list[Job], records: dict[tuple[str, str], list[str]], args: argparse.Namespace) -> list[str]:
    """Process `jobs`, in parallel; fill `records` and append them to the CSV. Returns the faults of unusable files."""
    faults = []
    work = functools.partial(process, args=args)
    if args.cut_out:
        write_records(records, args.output / CSV)
    with contextlib.ExitStack() as stack:
        file = args.cut_out and stack.enter_context(open(args.output / CSV, 'a', newline='', encoding='utf-8'))
        run = stack.enter_context(mapping(min(args.workers, len(jobs))))
        # disable=None shows the bar on a terminal only: a log file keeps one line.
        for job, result in zip(jobs, tqdm(run(work, jobs), total=len(jobs), unit='photo', disable=None), strict=True):
            if result.fault:
                faults.append(result.fault)
            elif file:
                records[job.split, job.name] = record_of(job, result)
                csv.writer(file, lineterminator='\n').writerow(records[job.split, job.name])
                file.flush()
    return faults


@contextlib.contextmanager
def mapping(workers: int) -> Iterator[Callable]:
    """A function like `map`, by `workers` processes if that is more than one."""
    if workers < 2:
        yield map
        return
    # Not fork: a forked process inherits the locks of PyTorch's and OpenCV's threads.
    with ProcessPoolExecutor(workers, multiprocessing.get_context('spawn'), ignore_interrupt) as pool:
        try:
            yield functools.partial(pool.map, chunksize=4)
        except BrokenProcessPool:
            raise RunEnded(1, 'a worker process ended unexpectedly, perhaps for lack of memory: lower --workers and '
                              'run this again to continue') from None
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def ignore_interrupt() -> None:
    """Ctrl-C reaches every process; the main one ends the others."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


if __name__ == '__main__':
    run_command(main)
