"""Translate images, with sampled styles or with the style of an example image.

    python test.py --config configs/edges2shoes_folder.yaml --checkpoint gen_01000000.pt --a2b 1 \\
        --input inputs/edges2shoes_edge.jpg --output_folder outputs/shoe --num_style 10
    python test.py … --style inputs/edges2shoes_shoe.jpg
    python test.py … --save_styles outputs/shoe/styles.txt     # save the styles, to use them with --style_code
    python test.py … --input 'shoes/*.jpg'                     # outputs are named NAME_output000.jpg, ...
"""
import glob
import os
import re
from pathlib import Path

import torch

from core.errors import BadInput, naming, shown
from core.files import given_files, make_folder, refuse_overwriting, refuse_same_names
from data import new_size_of
from engine.cli import TranslationParser, run_command
from engine.methods import METHODS
from engine.style_codes import add_code_flags, check_code_flags, given_codes, write_codes
from engine.tiles import add_tile_flags, check_tile_flags, translate_in_tiles
from engine.translator import open_translator
from utils import holding, to_picture, to_pixels, write_output


def parse_arguments(argv: list[str] | None = None):
    parser = TranslationParser('Translate images, with sampled styles or the style of an example image.', seed=10)
    parser.add_argument('--input', required=True, nargs='+', help='image to translate; for several images, or a '
                        "pattern such as 'shoes/*.jpg', outputs are named NAME_output000.jpg")
    parser.add_argument('--style', default='', help='image of the target domain whose style is used')
    add_code_flags(parser)
    add_tile_flags(parser)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    opts = parse_arguments(argv)
    if opts.style and not METHODS[opts.trainer].guided:
        raise BadInput(f'--style {opts.style}: {opts.trainer} has no styles; leave it out, or use --trainer MUNIT')
    check_code_flags(opts)
    inputs = find_inputs(opts.input)
    translator = open_translator(opts)
    check_tile_flags(opts, translator)
    with naming('--input'):
        images = [translator.read(path, translator.source, opts.new_size) for path in inputs]
    # As in the original, the example is resized like the input, even if the config sets a size for each domain.
    size = new_size_of(translator.config, translator.source) if opts.new_size is None else opts.new_size
    with naming('--style'):
        example = translator.read(opts.style, translator.target, size) if opts.style else None
    codes = given_codes(opts, translator)
    torch.manual_seed(opts.seed)
    ending = translator.output_format(opts.format, 'jpg')
    if not translator.samples:
        names, styles = [f'output.{ending}'], None
    else:
        if opts.style:
            styles = translator.encode_style(example)
        else:   # the same styles for all inputs
            styles = translator.draw_styles(opts.num_style) if codes is None else codes
        names = [f'output{i:03d}.{ending}' for i in range(len(styles))]
    of_input = [] if opts.output_only else ['input' + holding(f'.{ending}', images[0].shape[1])]
    stems = [f'{Path(path).stem}_' for path in inputs] if len(inputs) > 1 else ['']
    read, folder = [*inputs, *given_files(opts)], Path(opts.output_folder)
    refuse_overwriting([folder / (stem + name) for stem in stems for name in names + of_input], read, '--output_folder')
    refuse_overwriting(filter(None, [opts.save_styles]), read, '--save_styles')
    make_folder(opts.output_folder, '--output_folder')
    if opts.save_styles:
        write_codes(styles, opts.save_styles, '--save_styles')

    for stem, image in zip(stems, images, strict=True):
        written = [(name, output, translator.target) for name, output in zip(
            names, translate_in_tiles(translator, image, styles, opts.tile, opts.tile_overlap)[0], strict=True)]
        written += [(name, image[0], translator.source) for name in of_input]
        for name, values, domain in written:
            pixels = to_pixels(to_picture(values, opts.normalize), Path(name).suffix,
                               translator.config.get(f'value_range_{domain}'))
            write_output(pixels, folder / (stem + name))
    print(f'{folder}: wrote {stems[0]}{names[0]}' + (f' … {stems[-1]}{names[-1]}' if len(stems + names) > 2 else '')
          + (f' and {stems[0]}{of_input[0]}' if of_input else ''))


def find_inputs(given: list[str]) -> list[str]:
    """Return the files given with --input, with patterns expanded.

    Raises:
        BadInput: a path is a folder, a pattern matches no file, or the outputs of two files would have the same names.
    """
    paths = []
    for path in given:
        if os.path.isdir(path):
            raise BadInput(f'--input {shown(path)}: is a folder; use test_batch.py --input_folder for folders')
        is_pattern = glob.has_magic(path) and not os.path.exists(path)
        matches = sorted(glob.glob(path, recursive=True)) if is_pattern else [path]
        if re.match('[a-z]+://', path):
            raise BadInput(f'--input {shown(path)}: is a URL; download the image first, and give the file')
        if not matches:
            raise BadInput(f'--input {shown(path)}: no file matches this pattern')
        paths += [match for match in matches if not os.path.isdir(match)]
    paths = list(dict.fromkeys(paths))
    if not paths:
        raise BadInput(f'--input {shown(given[0])}: only folders match; use test_batch.py --input_folder for folders')
    refuse_same_names((Path(path).stem for path in paths), '--input')
    return paths


if __name__ == '__main__':
    run_command(main)
