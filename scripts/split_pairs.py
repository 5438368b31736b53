"""Cut images that hold a pair side by side into two folders: left halves to A, right halves to B.

    python scripts/split_pairs.py --input datasets/edges2shoes/train \
        --output_a datasets/edges2shoes/trainA --output_b datasets/edges2shoes/trainB

Reads the images of --input and writes NAME.jpg into both output folders. Pairs whose halves are there already are
skipped, so an interrupted run can be started again. Exit status 2, and one line, if any pair cannot be read.
"""

import functools
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import _root  # noqa: F401
from tqdm import tqdm

from core.errors import BadInput, OneLineParser
from core.image_files import list_folder
from core.image_reading import read_image
from core.streams import run


def split_pair(path, output_a, output_b, quality):
    """Write both halves of one pair. Returns None, or what is wrong with it."""
    half_a, half_b = (folder / f'{path.stem}.jpg' for folder in (output_a, output_b))
    if half_a.exists() and half_b.exists():
        return None
    try:
        pair = without_colour(read_image(path, 3))
    except BadInput as error:
        return str(error)
    half = pair.width // 2
    if half == 0:
        return f'{path} is {pair.width} pixel wide: no pair fits into it'
    # Both halves get the same size: of an odd width, the column in the middle goes to neither.
    save(pair.crop((0, 0, half, pair.height)), half_a, quality)
    save(pair.crop((pair.width - half, 0, pair.width, pair.height)), half_b, quality)
    return None


def without_colour(image):
    """An RGB image as grey where all its pixels are."""
    red, green, blue = (band.tobytes() for band in image.split())
    return image.getchannel('R') if red == green == blue else image


def save(image, path, quality):
    """Under its name only once it is whole, so that what exists can be trusted on the next run."""
    part = path.with_name(path.name + '.part')
    # Without chroma subsampling: the second compression shall cost as little as it can.
    image.save(part, 'JPEG', quality=quality, subsampling=0)
    os.replace(part, path)


def find_pairs(folder):
    """The images of a folder by name. Two that would be written to the same file are an error."""
    pairs = {}
    for path in list_folder(folder, recursive=False):
        if path.stem in pairs:
            raise ValueError(f'{pairs[path.stem]} and {path} would both be written to {path.stem}.jpg')
        pairs[path.stem] = path
    return list(pairs.values())


def parse_args(argv=None):
    parser = OneLineParser(description='Cut side-by-side pairs into two folders.')
    parser.add_argument('--input', type=Path, required=True, help='folder of pairs: A on the left, B on the right')
    parser.add_argument('--output_a', type=Path, required=True, help='folder for the left halves')
    parser.add_argument('--output_b', type=Path, required=True, help='folder for the right halves')
    parser.add_argument('--quality', type=int, default=95, help='JPEG quality, 1 to 100 (default %(default)s)')
    parser.add_argument('--num_workers', type=int, default=min(8, os.cpu_count() or 1),
                        help='processes that cut at the same time (default here: %(default)s)')
    return parser.parse_args(argv)


def main(argv=None):
    args = parse_args(argv)
    try:
        if not 1 <= args.quality <= 100:
            raise ValueError(f'--quality {args.quality}: must lie between 1 and 100')
        if args.num_workers < 1:
            raise ValueError(f'--num_workers {args.num_workers}: must be 1 or more')
        if not args.input.is_dir():
            raise ValueError(f'--input {args.input}: there is no such folder')
        if args.output_a.resolve() == args.output_b.resolve():
            raise ValueError(f'--output_a and --output_b are both {args.output_a}: they must differ')
        if args.input.resolve() in (args.output_a.resolve(), args.output_b.resolve()):
            raise ValueError(f'--input {args.input} is also an output folder: they must differ')
        pairs = find_pairs(args.input)
        args.output_a.mkdir(parents=True, exist_ok=True)
        args.output_b.mkdir(parents=True, exist_ok=True)
    except BadInput as error:
        print(f'split_pairs.py: --input {error}', file=sys.stderr)
        return 2
    except (ValueError, OSError) as error:
        print(f'split_pairs.py: {error}', file=sys.stderr)
        return 2

    print(f'Splitting {len(pairs)} pairs of {args.input} into {args.output_a} and {args.output_b}')
    split = functools.partial(split_pair, output_a=args.output_a, output_b=args.output_b, quality=args.quality)
    # disable=None shows the bar on a terminal only: a log file keeps one line.
    bar = functools.partial(tqdm, total=len(pairs), unit='pair', disable=None)
    try:
        if args.num_workers == 1:
            results = list(bar(map(split, pairs)))
        else:
            with ProcessPoolExecutor(args.num_workers) as pool:
                results = list(bar(pool.map(split, pairs, chunksize=16)))
    except OSError as error:
        print(f'split_pairs.py: cannot write: {error}', file=sys.stderr)
        return 2

    faults = [fault for fault in results if fault]
    if faults:
        more = f'; and {len(faults) - 1} more' if len(faults) > 1 else ''
        print(f'split_pairs.py: {faults[0]}{more}', file=sys.stderr)
        return 2
    return 0


if __name__ == '__main__':
    run(main)
