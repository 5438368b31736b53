"""Encode the styles of the images in a folder and analyse their distribution.

    python scripts/analyze_styles.py --config configs/edges2shoes_folder.yaml --checkpoint gen_01000000.pt --a2b 1 \\
        --style_folder datasets/edges2shoes/trainB --input inputs/edges2shoes_edge.jpg --output_folder outputs/styles

    styles.json       mean and standard deviation of each dimension of the style codes, which training pulls towards
                      N(0, 1), and their principal components: direction, variance, fraction of the total variance
    components.png    each input translated with styles that vary along one component, from -2 to 2 standard deviations
                      from the mean; one row per component
    map.png           the plane of the first two components, with a thumbnail of each image at its style (a dot if
                      thumbnails would overlap), and circles at one and two standard deviations of N(0, 1)
    map.json          the same data for programs: the point (x, y) is the style code mean + x·axes[0] + y·axes[1]

If an image cannot be read, it is reported and skipped, and the exit status is 2.
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
    parser = DirectionParser('Encode the styles of the images in a folder and analyse their distribution.')
    parser.add_argument('--style_folder', required=True, help='images of the target domain, searched recursively')
    parser.add_argument('--input', required=True, nargs='+',
                        help='images to translate with styles along each component')
    add_new_size(parser)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    opts = parse_arguments(argv)
    if not METHODS[opts.trainer].guided:
        raise BadInput(f'--trainer {opts.trainer}: has no style encoder; use MUNIT or BicycleGAN')
    with naming('--style_folder'):
        paths = list_folder(opts.style_folder)
    translator = open_translator(opts)
    with naming('--input'):
        contents = [translator.read(path, translator.source, opts.new_size) for path in opts.input]
    read, codes = encode_all(translator, paths, opts.new_size)
    if len(read) < 2:
        raise BadInput(f'--style_folder {shown(opts.style_folder)}: {len(read)} readable image; at least two '
                       f'are required')
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
    """Print the statistics that `describe_space` returns."""
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
