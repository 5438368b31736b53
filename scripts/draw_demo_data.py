"""Draw a small stand-in for edges2shoes / edges2handbags: line drawings (A) and coloured pictures (B).

    python scripts/draw_demo_data.py --output datasets/demo_drawn --objects shoes handbags \
        --train 1000 --test 100 --size 128 --seed 0

Every object is built once, as a tree of named parts with smooth outlines, and both its line drawing and its coloured
picture are painted from that tree, so the two always agree.  The output folder then holds

    trainA/ trainB/    unpaired: the two are drawn independently, of different objects; with --paired they are pairs
    testA/ testB/      paired: testA/00007.jpg is the line drawing of the very object in testB/00007.jpg
    list_*.txt         the file names of each folder, one a line
    factors_test.json  what each test picture shows: family, outlines of the body, colours, pattern, ...
    drawn.json         the settings; written last, so its presence means that the set is complete

Picture ``i`` of a split depends on the seed, the split and ``i`` only, never on how many pictures are drawn.
``--inputs inputs`` draws the few example pictures of the ``inputs`` folder instead of a data set.
"""
from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from extras.drawn_data.dataset import (  # noqa: E402
    FAMILIES,
    MAX_SIZE,
    MIN_SIZE,
    Settings,
    SettingsError,
    already_drawn,
    draw_dataset,
    draw_examples,
    prepare_output,
)


class OneLineParser(argparse.ArgumentParser):
    """Reports a malformed command line like any other bad setting, without the usage text."""

    def error(self, message: str) -> NoReturn:
        raise SettingsError(message)


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = OneLineParser(
        description='Draw a data set of line drawings (A) and coloured pictures (B) of shoes and handbags.'
    )
    parser.add_argument('--output', type=Path, default=Path('datasets/demo_drawn'), help='folder to write')
    parser.add_argument(
        '--objects', nargs='+', default=list(FAMILIES), metavar='OBJECT', help='shoes, handbags or both'
    )
    parser.add_argument('--train', type=int, default=1000, help='pictures in each of trainA and trainB')
    parser.add_argument('--test', type=int, default=100, help='pairs in testA and testB')
    parser.add_argument('--size', type=int, default=128, help=f'side in pixels, {MIN_SIZE} to {MAX_SIZE}')
    parser.add_argument('--seed', type=int, default=0, help='another seed draws other objects')
    parser.add_argument('--paired', action='store_true', help='draw trainA and trainB of the same objects')
    parser.add_argument('--overwrite', action='store_true', help='replace a set drawn with other settings')
    parser.add_argument('--inputs', type=Path, metavar='FOLDER', help='only draw the example pictures into FOLDER')
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status, 2 for settings that cannot be used."""
    try:
        arguments = parse_arguments(argv)
        if arguments.inputs is not None:
            written = draw_examples(arguments.inputs)
            print(f'Wrote {len(written)} example pictures to {arguments.inputs}')
            return 0
        # In the order of FAMILIES, so that "handbags shoes" draws the same set as "shoes handbags".
        known = [name for name in FAMILIES if name in arguments.objects]
        unknown = [name for name in arguments.objects if name not in FAMILIES]
        settings = Settings(
            (*unknown, *known), arguments.train, arguments.test, arguments.size, arguments.seed, arguments.paired
        )
        settings.check()
        if already_drawn(arguments.output, settings) and not arguments.overwrite:
            print(f'{arguments.output} already holds this data set; nothing to do')
            return 0
        prepare_output(arguments.output, arguments.overwrite)
        draw_dataset(arguments.output, settings)
    except SettingsError as error:
        print(f'draw_demo_data: error: {error}', file=sys.stderr)
        return 2
    except OSError as error:  # such as a full disk
        print(f'draw_demo_data: error: --output {arguments.output}: {error}', file=sys.stderr)
        return 2
    print(
        f'Wrote {settings.train} line drawings (trainA), {settings.train} pictures (trainB) '
        f'and {settings.test} test pairs (testA, testB)\n'
        f"of {' and '.join(settings.objects)}, {settings.size} x {settings.size} pixels, to {arguments.output}"
    )
    return 0


if __name__ == '__main__':
    sys.exit(main())
