"""Draw a small substitute for edges2shoes / edges2handbags: line drawings (A) and coloured pictures (B).

    python scripts/draw_demo_data.py --output datasets/demo_drawn --objects shoes handbags \\
        --train 1000 --test 100 --size 128 --seed 0

Every object is built once, as a tree of named parts with smooth outlines. Its line drawing and its coloured picture are
both rendered from that tree, so they always match. The output folder then contains

    trainA/ trainB/    unpaired: different objects in the two folders; with --paired, the same objects
    testA/ testB/      paired: testA/00007.jpg is the line drawing of the object in testB/00007.jpg
    list_*.txt         the file names of each folder, one per line
    factors_test.json  what each test picture shows: family, outlines of the body, colours, pattern, ...
    drawn.json         the settings; it is written last, so its presence means that the data set is complete

Picture i of a split depends on the seed, the split and i only, not on the number of pictures. `--inputs inputs` draws
the example pictures of the `inputs` folder instead of a data set.
"""
import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import _root  # noqa: F401

from core.errors import BadInput, OneLineParser
from core.streams import run
from extras.drawn_data.dataset import (
    FAMILIES,
    MAX_SIZE,
    MIN_SIZE,
    Settings,
    already_drawn,
    draw_dataset,
    draw_examples,
    prepare_output,
)


def parse_arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = OneLineParser(
        description='Draw a data set of line drawings (A) and coloured pictures (B) of shoes and handbags.')
    parser.add_argument('--output', type=Path, default=Path('datasets/demo_drawn'), help='output folder')
    parser.add_argument('--objects', nargs='+', default=list(FAMILIES), metavar='OBJECT',
                        help='shoes, handbags or both')
    parser.add_argument('--train', type=int, default=1000, help='number of pictures in each of trainA and trainB')
    parser.add_argument('--test', type=int, default=100, help='number of pairs in testA and testB')
    parser.add_argument('--size', type=int, default=128, help=f'side in pixels, from {MIN_SIZE} to {MAX_SIZE}')
    parser.add_argument('--seed', type=int, default=0, help='random seed; other seeds draw other objects')
    parser.add_argument('--paired', action='store_true', help='draw the same objects in trainA and trainB')
    parser.add_argument('--overwrite', action='store_true', help='replace a data set drawn with other settings')
    parser.add_argument('--inputs', type=Path, metavar='FOLDER', help='draw only the example pictures, into FOLDER')
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command. Returns the exit status: 2 if a setting is invalid or the output cannot be written."""
    opts = parse_arguments(argv)
    try:
        if opts.inputs is not None:
            written = draw_examples(opts.inputs)
            print(f'Wrote {len(written)} example pictures to {opts.inputs}')
            return 0
        # Sort by the order of FAMILIES, so that "handbags shoes" draws the same data set as "shoes handbags".
        known = [name for name in FAMILIES if name in opts.objects]
        unknown = [name for name in opts.objects if name not in FAMILIES]
        settings = Settings((*unknown, *known), opts.train, opts.test, opts.size, opts.seed, opts.paired)
        settings.check()
        if already_drawn(opts.output, settings) and not opts.overwrite:
            print(f'{opts.output} already contains this data set; nothing to do')
            return 0
        prepare_output(opts.output, opts.overwrite)
        draw_dataset(opts.output, settings)
    except BadInput as error:
        print(f'draw_demo_data: error: {error}', file=sys.stderr)
        return 2
    except OSError as error:  # for example a full disk
        print(f'draw_demo_data: error: --output {opts.output}: {error}', file=sys.stderr)
        return 2
    print(f'Wrote {settings.train} line drawings (trainA), {settings.train} pictures (trainB) '
          f'and {settings.test} test pairs (testA, testB)\n'
          f'of {" and ".join(settings.objects)}, {settings.size} x {settings.size} pixels, to {opts.output}')
    return 0


if __name__ == '__main__':
    run(main)
