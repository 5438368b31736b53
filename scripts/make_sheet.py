"""Lay images out as a sheet, a row at a time: inputs, the outputs of a folder that test.py wrote, anything.

    python scripts/make_sheet.py --output sheet.png --row inputs/edges2shoes_edge.jpg outputs/demo/shoe_sampled \\
        --row inputs/edges2shoes_shoe.jpg outputs/demo/shoe_to_edge

An image is one cell; a folder is a cell for each of its output*.jpg.
"""
import argparse
import sys
from pathlib import Path

from PIL import Image, ImageOps

GAP = 4
LARGEST_CELL = 4096


def cells_of(items: list[str]) -> list[Path]:
    """The images of a row: files as they are, folders as their outputs in order."""
    cells = []
    for item in map(Path, items):
        cells += sorted(item.glob('output*.jpg')) if item.is_dir() else [item]
    return cells


def make_sheet(rows: list[list[Path]], cell: int) -> Image.Image:
    """Rows of images, each fitted into a cell of `cell` pixels, on white."""
    width, height = max(map(len, rows)), len(rows)
    sheet = Image.new('RGB', (width * (cell + GAP) + GAP, height * (cell + GAP) + GAP), 'white')
    for y, row in enumerate(rows):
        for x, path in enumerate(row):
            with Image.open(path) as image:
                fitted = ImageOps.pad(image.convert('RGB'), (cell, cell), Image.Resampling.BICUBIC, color='white')
            sheet.paste(fitted, (GAP + x * (cell + GAP), GAP + y * (cell + GAP)))
    return sheet


class OneLineParser(argparse.ArgumentParser):
    """An argument parser whose complaint is one line."""

    def error(self, message: str):
        self.exit(2, f'{self.prog}: {message}\n')


def main(argv: list[str] | None = None) -> int:
    parser = OneLineParser(description='Lay images out as a sheet.')
    parser.add_argument('--output', required=True, help='the picture to write')
    parser.add_argument('--row', nargs='+', action='append', required=True, help='images, and folders of test.py')
    parser.add_argument('--cell', type=int, default=128, help='size of a cell in pixels')
    opts = parser.parse_args(argv)
    if not 1 <= opts.cell <= LARGEST_CELL:
        parser.error(f'--cell {opts.cell}: not from 1 to {LARGEST_CELL}')
    try:
        make_sheet([cells_of(items) for items in opts.row], opts.cell).save(opts.output)
    except Exception as error:   # decoders raise almost anything when a file is broken
        print(f'make_sheet.py: {" ".join(str(error).split())}', file=sys.stderr)
        return 2
    print(f'wrote {opts.output}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
