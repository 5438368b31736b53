"""Compare runs on one page: curves in the same charts, sample images side by side, and the settings that differ.

    python scripts/compare_runs.py outputs/A outputs/B --output_folder outputs/comparison

The page can be opened without a server. It refers to the images in the folders of the runs.
"""
from pathlib import Path

import _root  # noqa: F401

from core.errors import BadInput, OneLineParser, shown
from core.files import make_folder
from engine.cli import run_command
from engine.run_page.comparison import compared, write_comparison

MOST_RUNS = 8   # the number of colours for curves


def main(argv: list[str] | None = None) -> None:
    parser = OneLineParser(description='Compare runs on a page: curves, pictures and settings.')
    parser.add_argument('folders', type=Path, nargs='+', help='folders of the runs, outputs/NAME')
    parser.add_argument('--output_folder', default='outputs/comparison', help='folder for index.html and run.js')
    opts = parser.parse_args(argv)
    if not 2 <= len({folder.resolve() for folder in opts.folders}) == len(opts.folders) <= MOST_RUNS:
        raise BadInput(f'{len(opts.folders)} folders: 2 to {MOST_RUNS} different runs can be compared')
    place = Path(opts.output_folder)
    if (place / 'images').exists() or (place / 'checkpoints').exists():
        raise BadInput(f'--output_folder {shown(place)}: is the folder of a run, whose page would be lost; '
                       f'name another')
    data = compared(opts.folders, place)   # before the folder is created, so that an error leaves nothing behind
    write_comparison(data, make_folder(place, '--output_folder'))
    print(f'{place / "index.html"}: written')


if __name__ == '__main__':
    run_command(main)
