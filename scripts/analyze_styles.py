"""The style space, read: encode the styles of a folder, and write what they are.

    python scripts/analyze_styles.py --config configs/edges2shoes_folder.yaml --checkpoint gen_01000000.pt --a2b 1 \\
        --style_folder datasets/edges2shoes/trainB --input inputs/edges2shoes_edge.jpg --output_folder outputs/styles

    styles.json       mean and deviation of each number of the codes, which training draws towards N(0, 1), and the
                      principal components: direction, variance, share of the whole variance
    components.png    each component swept from -2 to 2 of its deviations about the mean, all else as the mean has it:
                      a row a component, with each input as content
    map.png           the plane of the first two components, small pictures where their styles are (dots where there is
                      no room), and circles one and two deviations about the mean of N(0, 1), as far as they are near
    map.json          the same for programs: a point (x, y) of the plane is the code mean + x·axes[0] + y·axes[1]

An image that cannot be read is named, the others are taken, and the exit status is 2.
"""
import json
import sys

import _root  # noqa: F401

from core.errors import BadInput, naming, shown
from core.files import given_files, make_folder, refuse_overwriting, write_text
from data import list_folder
from engine.cli import DirectionParser, add_new_size, run_command
from engine.methods import METHODS
from engine.translator import open_translator
from extras.styles.style_space import describe_space, draw_map, encode_all, map_of, measure, sweep
from utils import write_output


def parse_arguments(argv: list[str] | None = None):
    parser = DirectionParser('Encode the styles of a folder, and write what they are.')
    parser.add_argument('--style_folder', required=True, help='images of the target domain, searched recursively')
    parser.add_argument('--input', required=True, nargs='+', help='images to translate while a component is swept')
    add_new_size(parser)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    opts = parse_arguments(argv)
    if not METHODS[opts.trainer].guided:
        raise BadInput(f'--trainer {opts.trainer}: encodes no styles; MUNIT and BicycleGAN do')
    with naming('--style_folder'):
        paths = list_folder(opts.style_folder)
    translator = open_translator(opts)
    with naming('--input'):
        contents = [translator.read(path, translator.source, opts.new_size) for path in opts.input]
    read, codes = encode_all(translator, paths, opts.new_size)
    if len(read) < 2:
        raise BadInput(f'--style_folder {shown(opts.style_folder)}: {len(read)} readable image, a variance wants two')
    space = measure(codes)
    folder = make_folder(opts.output_folder, '--output_folder')
    written = [folder / name for name in ('styles.json', 'components.png', 'map.json', 'map.png')]
    refuse_overwriting(written, [*paths, *given_files(opts)], '--output_folder')

    summary = describe_space(space)
    about = {'checkpoint': opts.checkpoint, 'domain': translator.target, 'style_folder': opts.style_folder, **summary}
    write_text(folder / 'styles.json', json.dumps(about, indent=1) + '\n')
    write_output(sweep(translator, space, contents), folder / 'components.png')
    names = [path.relative_to(opts.style_folder).as_posix() for path in read]
    write_text(folder / 'map.json', json.dumps(map_of(space, names, codes), indent=1) + '\n')
    write_output(draw_map(translator, space, read, opts.new_size), folder / 'map.png')
    print_table(summary)
    print(f'{folder}: wrote styles.json, components.png, map.png, map.json')
    if len(read) < len(paths):
        print(f'--style_folder {opts.style_folder}: {len(paths) - len(read)} of {len(paths)} images could not be read '
              f'(named above)', file=sys.stderr)
    return 2 if len(read) < len(paths) else 0


def print_table(summary: dict) -> None:
    """The figures of `describe_space` for the screen."""
    chance = summary['by_chance']
    print(f'{summary["images"]} styles; of N(0, 1), means would be 0 ± {chance["mean"]:.2g} and deviations 1 ± '
          f'{chance["deviation"]:.2g}')
    print(f'mean length {summary["mean_length"]:.3g}; of N(0, 1), about {summary["length_of_samples"]:.3g}')
    print('number      mean  deviation      component  variance  explained  together')
    together = 0.0
    for i, (number, component) in enumerate(zip(summary['numbers'], summary['components'], strict=True), start=1):
        together += component['explained']
        print(f'{i:6d}  {number["mean"]:8.3f}  {number["deviation"]:9.3f}      {i:9d}  {component["variance"]:8.3g}  '
              f'{component["explained"]:8.1%}  {together:8.1%}')


if __name__ == '__main__':
    run_command(main)
