"""Combine images into one sheet, row by row, for example inputs and the outputs that test.py wrote to a folder.

    python scripts/make_sheet.py --output sheet.png --row inputs/edges2shoes_edge.jpg outputs/demo/shoe_sampled \\
        --row inputs/edges2shoes_shoe.jpg outputs/demo/shoe_to_edge

An image fills one cell; for a folder, each of its output*.jpg fills a cell.
"""
import sys
from pathlib import Path

import _root  # noqa: F401
from PIL import Image, ImageOps

from core.errors import BadInput, OneLineParser, naming, shown
from core.files import refuse_overwriting
from core.image_reading import read_image
from core.picture_sheet import sheet
from core.streams import run

LARGEST_CELL = 4096


def cells_of(items: list[str]) -> list[Path]:
    """Return the image files of a row. A folder is replaced by the outputs in it, in order."""
    cells = []
    for item in map(Path, items):
        cells += sorted(item.glob('output*.jpg')) if item.is_dir() else [item]
    return cells


def make_sheet(rows: list[list[Path]], cell: int) -> Image.Image:
    """Arrange rows of images on white, each scaled to fit into a square cell with a side of `cell` pixels."""
    return sheet([[ImageOps.pad(read_image(path, 3), (cell, cell), Image.Resampling.BICUBIC, color='white')
                   for path in row] for row in rows], (cell, cell))


def main(argv: list[str] | None = None) -> int:
    parser = OneLineParser(description='Combine images into one sheet.')
    parser.add_argument('--output', required=True, help='image file to write')
    parser.add_argument('--row', nargs='+', action='append', required=True,
                        help='images of a row, and output folders of test.py')
    parser.add_argument('--cell', type=int, default=128, help='size of a cell in pixels')
    opts = parser.parse_args(argv)
    if not 1 <= opts.cell <= LARGEST_CELL:
        parser.error(f'--cell {opts.cell}: not from 1 to {LARGEST_CELL}')
    try:
        rows = [cells_of(items) for items in opts.row]
        refuse_overwriting([Path(opts.output)], [path for row in rows for path in row], '--output')
        with naming('--row'):
            picture = make_sheet(rows, opts.cell)
        picture.save(opts.output)
    except BadInput as error:
        print(f'make_sheet.py: {error}', file=sys.stderr)
        return 2
    except (OSError, ValueError) as error:   # a missing folder or an unknown file format
        why = getattr(error, 'strerror', None) or f'{error}; end the name with .png or .jpg'
        print(f'make_sheet.py: --output {shown(opts.output)}: {why}', file=sys.stderr)
        return 2
    print(f'wrote {opts.output}')
    return 0


if __name__ == '__main__':
    run(main)
