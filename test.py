"""Translate one image, with sampled styles or with the style of an example image.

    python test.py --config configs/edges2shoes_folder.yaml --checkpoint gen_01000000.pt --a2b 1 \\
        --input inputs/edges2shoes_edge.jpg --output_folder outputs/shoe --num_style 10
    python test.py … --style inputs/edges2shoes_shoe.jpg
    python test.py … --save_styles outputs/shoe/styles.txt     # and with --style_code, again
"""
import torch

from core.errors import BadInput
from core.files import make_folder, refuse_overwriting
from data import new_size_of
from engine.cli import TranslationParser, run_command
from engine.methods import METHODS
from engine.style_codes import add_code_flags, check_code_flags, given_codes, write_codes
from engine.translator import open_translator
from utils import to_bytes, to_picture, write_output


def parse_arguments(argv: list[str] | None = None):
    parser = TranslationParser('Translate one image, with sampled styles or with that of an example image.', seed=10)
    parser.add_argument('--input', required=True, help='the image to translate')
    parser.add_argument('--style', default='', help='an image of the target domain whose style to use')
    add_code_flags(parser)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    opts = parse_arguments(argv)
    if opts.style and not METHODS[opts.trainer].guided:
        raise BadInput(f'--style {opts.style}: {opts.trainer} has no styles; leave it out, or use --trainer MUNIT')
    check_code_flags(opts)
    translator = open_translator(opts)
    image = translator.read(opts.input, translator.source, opts.new_size)
    # As in the original: the example is resized as the input is, where the config gives each domain a size of its own.
    size = new_size_of(translator.config, translator.source) if opts.new_size is None else opts.new_size
    example = translator.read(opts.style, translator.target, size) if opts.style else None
    codes = given_codes(opts, translator)
    folder = make_folder(opts.output_folder, '--output_folder')

    torch.manual_seed(opts.seed)
    if not translator.samples:
        names, styles = ['output.jpg'], None
    elif opts.style:
        names, styles = ['output000.jpg'], translator.encode_style(example)
    else:
        styles = translator.draw_styles(opts.num_style) if codes is None else codes
        names = [f'output{i:03d}.jpg' for i in range(len(styles))]
    written = [folder / name for name in names] + ([] if opts.output_only else [folder / 'input.jpg'])
    refuse_overwriting(written, filter(None, (opts.input, opts.style)), '--output_folder')
    if opts.save_styles:
        write_codes(styles, opts.save_styles, '--save_styles')
    outputs = translator.translate(image, styles)

    pictures = [*zip(names, outputs, strict=True)] + ([] if opts.output_only else [('input.jpg', image[0])])
    for name, picture in pictures:
        write_output(to_bytes(to_picture(picture, opts.normalize)), folder / name)
    print(f'{folder}: wrote {names[0]}' + (f' … {names[-1]}' if len(names) > 1 else '')
          + ('' if opts.output_only else ' and input.jpg'))


if __name__ == '__main__':
    run_command(main)
