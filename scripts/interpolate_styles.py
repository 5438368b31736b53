"""Interpolate between two styles, or show contents × styles as a grid.

    python scripts/interpolate_styles.py --config configs/edges2shoes_folder.yaml \\
        --checkpoint gen_01000000.pt --a2b 1 --input inputs/edges2shoes_edge.jpg \\
        --output_folder outputs/walk --interpolate 3 8 --steps 24
    python scripts/interpolate_styles.py … --interpolate inputs/edges2shoes_shoe.jpg inputs/edges2shoes_shoe_2.jpg
    python scripts/interpolate_styles.py … --input inputs/edges2shoes_edge*.jpg \\
        --grid inputs/edges2shoes_shoe*.jpg 1 2 styles.txt

A style is given as a seed (a whole number S, for the style that `test.py --num_style 1 --seed S` samples), an image of
the target domain, a style code ("0.3,-1.2,…"), or a .txt file of style codes written by --save_styles.

--interpolate uses spherical linear interpolation: the direction of the code moves along the great circle at constant
speed, and its length changes linearly (`engine.style_codes.slerp`). It writes walk.png, with the inputs on the left,
both styles at the top and at most twelve steps, and the animations walk.webp, walk.gif and walk.mp4, which play
forwards and then backwards and show several inputs side by side.

--grid writes grid.png, with a row for each input, shown on the left, and a column for each style, labelled at the top
with its image, seed or number.

Both write styles.txt, the codes of the steps or columns, for --style_code of test.py and test_batch.py.
"""
from collections.abc import Sequence
from pathlib import Path

import _root  # noqa: F401
import torch
from PIL import Image
from torch import Tensor

from core.errors import BadInput, naming, shown
from core.files import given_files, make_folder, refuse_overwriting
from core.picture_sheet import sheet
from engine.cli import DirectionParser, add_new_size, at_least, run_command
from engine.methods import METHODS
from engine.style_codes import Style, find_styles, slerp, write_codes
from engine.translator import Translator, open_translator
from extras.styles.animations import write_animations
from utils import to_images, write_output

SHEET_STEPS = 12


def parse_arguments(argv: list[str] | None = None):
    parser = DirectionParser('Interpolate between two styles, or show contents × styles as a grid. A style is given as '
                             'a seed, an image, a style code "0.3,-1.2,…", or a .txt file of codes.')
    parser.add_argument('--input', required=True, nargs='+', help='the images to translate')
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument('--interpolate', nargs=2, metavar=('A', 'B'), help='the first and the last style')
    what.add_argument('--grid', nargs='+', metavar='STYLE', help='the styles of the columns')
    parser.add_argument('--steps', type=at_least(2, 1000), default=24, help='number of outputs, including both ends')
    parser.add_argument('--fps', type=at_least(1, 60), default=12, help='steps per second in the animations')
    add_new_size(parser)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    opts = parse_arguments(argv)
    if not METHODS[opts.trainer].guided:
        raise BadInput(f'--trainer {opts.trainer}: has no style codes; use MUNIT or BicycleGAN')
    translator = open_translator(opts)
    with naming('--input'):
        images = [translator.read(path, translator.source, opts.new_size) for path in opts.input]
    if opts.grid:
        styles = [style for given in opts.grid for style in find_styles(given, translator, '--grid', opts.new_size)]
    else:
        styles = [find_end(given, translator, opts.new_size) for given in opts.interpolate]
    folder = make_folder(opts.output_folder, '--output_folder')
    names = ('grid.png',) if opts.grid else ('walk.png', *(f'walk.{ending}' for ending in ('webp', 'gif', 'mp4')))
    refuse_overwriting([folder / name for name in (*names, 'styles.txt')], given_files(opts), '--output_folder')
    if opts.grid:
        written, missing = write_grid(translator, images, styles, folder), []
    else:
        written, missing = write_walk(translator, images, *styles, folder, opts.steps, opts.fps)
    print(f'{folder}: wrote {", ".join(written)}')
    for line in missing:
        print(line)


def find_end(given: str, translator: Translator, new_size: int | None = None) -> Style:
    """Return the style of an end of the interpolation. Raises the errors of `find_styles`, and BadInput if the file
    contains several codes.
    """
    styles = find_styles(given, translator, '--interpolate', new_size)
    if len(styles) > 1:
        raise BadInput(f'--interpolate {shown(given)}: contains {len(styles)} codes, but one is required; give its '
                       f'numbers, or a file with one code')
    return styles[0]


def translate_each(translator: Translator, images: Sequence[Tensor], codes: Tensor) -> list[list[Image.Image]]:
    """Return for each image (1, C, H, W) a row: the image and its outputs, one per code."""
    return [to_images(image) + to_images(translator.translate(image, codes)) for image in images]


def margin_of(style: Style) -> Image.Image | str:
    """Return the label of a style in the margin of a sheet."""
    return style.margin if isinstance(style.margin, str) else to_images(style.margin[None])[0]


def write_walk(translator: Translator, images: Sequence[Tensor], first: Style, last: Style, folder: Path, steps: int,
               fps: int) -> tuple[list[str], list[str]]:
    """Write the interpolation between two styles. See `write_animations` for the result and errors."""
    codes = torch.cat([slerp(first.code, last.code, i / (steps - 1)) for i in range(steps)])
    rows = translate_each(translator, images, codes)
    kept = sorted({round(i * (steps - 1) / (min(steps, SHEET_STEPS) - 1)) for i in range(min(steps, SHEET_STEPS))})
    margin = [None, margin_of(first), *[None] * (len(kept) - 2), margin_of(last)]
    cells = [[image, *(outputs[i] for i in kept)] for image, *outputs in rows]
    write_output(sheet([margin, *cells]), folder / 'walk.png')
    write_codes(codes, folder / 'styles.txt', '--output_folder')
    frames = [sheet([[row[1 + i] for row in rows]]) for i in range(steps)]
    written, missing = write_animations(frames + frames[-2:0:-1], folder, 'walk', fps)
    return ['walk.png', 'styles.txt', *written], missing


def write_grid(translator: Translator, images: Sequence[Tensor], styles: Sequence[Style], folder: Path) -> list[str]:
    """Write the grid of contents × styles and the codes of its columns. Returns the names of the files."""
    codes = torch.cat([style.code for style in styles])
    rows = translate_each(translator, images, codes)
    write_output(sheet([[None, *map(margin_of, styles)], *rows]), folder / 'grid.png')
    write_codes(codes, folder / 'styles.txt', '--output_folder')
    return ['grid.png', 'styles.txt']


if __name__ == '__main__':
    run_command(main)
