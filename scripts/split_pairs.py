"""Split images that show a pair side by side into two folders: left halves to A, right halves to B.

    python scripts/split_pairs.py --input datasets/edges2shoes/train \
        --output_a datasets/edges2shoes/trainA --output_b datasets/edges2shoes/trainB

Reads the images in --input and writes NAME.jpg to both output folders. Pairs whose halves exist are skipped, so an
interrupted run can be continued. If a pair cannot be read, the exit status is 2.
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
    """Write both halves of a pair. Returns an error message, or None."""
    half_a, half_b = (folder / f'{path.stem}.jpg' for folder in (output_a, output_b))
    if half_a.exists() and half_b.exists():
        return None
    try:
        pair = without_colour(read_image(path, 3))
    except BadInput as error:
        return str(error)
    half = pair.width // 2
    if half == 0:
        return f'{path} is {pair.width} pixel wide, which is too narrow for a pair'
    # Both halves have the same size; if the width is odd, the middle column is dropped.
    save(pair.crop((0, 0, half, pair.height)), half_a, quality)
    save(pair.crop((pair.width - half, 0, pair.width, pair.height)), half_b, quality)
    return None


def without_colour(image):
    """Convert an RGB image to a grey one if all its pixels are grey."""
    red, green, blue = (band.tobytes() for band in image.split())
    return image.getchannel('R') if red == green == blue else image


def save(image, path, quality):
    """Save an image atomically, so that existing files are complete and can be skipped in the next run."""
    part = path.with_name(path.name + '.part')
    # Chroma subsampling is disabled to lose as little quality as possible in the second compression.
    image.save(part, 'JPEG', quality=quality, subsampling=0)
    os.replace(part, path)


def find_pairs(folder):
    """Return the images of a folder by stem. Raises ValueError if two would be written to the same file."""
    pairs = {}
    for path in list_folder(folder, recursive=False):
        if path.stem in pairs:
            raise ValueError(f'{pairs[path.stem]} and {path} would both be written to {path.stem}.jpg')
        pairs[path.stem] = path
    return list(pairs.values())


def parse_args(argv=None):
    parser = OneLineParser(description='Split side-by-side pairs into two folders.')
    parser.add_argument('--input', type=Path, required=True, help='folder of pairs: A on the left, B on the right')
    parser.add_argument('--output_a', type=Path, required=True, help='folder for the left halves')
    parser.add_argument('--output_b', type=Path, required=True, help='folder for the right halves')
    parser.add_argument('--quality', type=int, default=95, help='JPEG quality, 1 to 100 (default %(default)s)')
    parser.add_argument('--num_workers', type=int, default=min(8, os.cpu_count() or 1),
                        help='number of parallel processes (default on this machine: %(default)s)')
    return parser.parse_args(argv)


def main(argv=None):
    args = parse_args(argv)
    try:
        if not 1 <= args.quality <= 100:
            raise ValueError(f'--quality {args.quality}: must be from 1 to 100')
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
    # disable=None shows the progress bar only on a terminal, not in a log file.
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
