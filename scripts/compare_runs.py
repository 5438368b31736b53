"""Compare runs on a page: curves in the same charts, pictures side by side, and the settings that differ.

    python scripts/compare_runs.py outputs/A outputs/B --output_folder outputs/comparison

The page opens from its folder, without a server, and shows the pictures from where the runs have them.
"""
from pathlib import Path

import _root  # noqa: F401

from core.errors import BadInput, OneLineParser, shown
from core.files import make_folder
from engine.cli import run_command
from engine.run_page.comparison import compared, write_comparison

MOST_RUNS = 8   # there are as many colours


def main(argv: list[str] | None = None) -> None:
    parser = OneLineParser(description='Compare runs on a page: curves, pictures and settings.')
    parser.add_argument('folders', type=Path, nargs='+', help="the runs' folders, outputs/NAME each")
    parser.add_argument('--output_folder', default='outputs/comparison', help='where index.html and run.js go')
    opts = parser.parse_args(argv)
    if not 2 <= len({folder.resolve() for folder in opts.folders}) == len(opts.folders) <= MOST_RUNS:
        raise BadInput(f'{len(opts.folders)} folders: 2 to {MOST_RUNS} different runs can be compared')
    place = Path(opts.output_folder)
    if (place / 'images').exists() or (place / 'checkpoints').exists():
        raise BadInput(f'--output_folder {shown(place)}: is the folder of a run, whose page would be lost; '
                       f'name another')
    data = compared(opts.folders, place)   # before the folder is made: nothing is left behind by a fault
    write_comparison(data, make_folder(place, '--output_folder'))
    print(f'{place / "index.html"}: written')


if __name__ == '__main__':
    run_command(main)
