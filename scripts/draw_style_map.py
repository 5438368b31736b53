"""Write the map of styles that demo.py shows for a checkpoint to the folder of the checkpoint.

    python scripts/draw_style_map.py --config configs/demo_edges2shoes_folder.yaml --checkpoint \\
        models/demo_edges2shoes.pt --a2b 1 --style_folder datasets/demo_edges2shoes/trainB --name "shoes and bags"

This command wrote models/demo_edges2shoes_map_b.{json,jpg} and, with --a2b 0, trainA and --name outlines, the map of
the other domain, from images of scripts/draw_demo_data.py. If there is no such file, demo.py computes a map from fewer
images when it starts, which takes time and requires the images.
"""

import _root  # noqa: F401
from tqdm import tqdm

from core.errors import BadInput, naming, shown
from core.files import given_files, refuse_overwriting
from data import list_folder
from engine.cli import Parser, add_direction, run_command
from engine.methods import METHODS
from engine.translator import open_translator
from extras.demo.style_map import digest_of, make_map, places_of, write_map


def parse_arguments(argv: list[str] | None = None):
    parser = Parser('Write the map of styles that demo.py shows for a checkpoint to the folder of the checkpoint.',
                    config_required=False)
    add_direction(parser)
    parser.add_argument('--style_folder', required=True, help='images of the target domain, searched recursively')
    parser.add_argument('--name', default='', help='name of the domain on the page, such as "shoes"')
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    opts = parse_arguments(argv)
    if not METHODS[opts.trainer].guided:
        raise BadInput(f'--trainer {opts.trainer}: has no style encoder; use MUNIT or BicycleGAN')
    with naming('--style_folder'):
        paths = list_folder(opts.style_folder)
    translator = open_translator(opts)
    refuse_overwriting(places_of(opts.checkpoint, translator.target), [*paths, *given_files(opts)], '--checkpoint')
    made = make_map(translator, tqdm(paths, unit=' images', disable=None, dynamic_ncols=True), shown(opts.name, 40))
    if made is None:
        raise BadInput(f'--style_folder {shown(opts.style_folder)}: a map requires at least two readable images')
    for path in write_map(made, opts.checkpoint, digest_of(opts.checkpoint)):
        print(f'{path}: {path.stat().st_size / 1024:.0f} KiB, of {made["images"]} images')


if __name__ == '__main__':
    run_command(main)
