"""Make the map of a checkpoint's styles that demo.py shows, and lay it beside the checkpoint.

    python scripts/draw_style_map.py --config configs/demo_edges2shoes_folder.yaml --checkpoint \\
        models/demo_edges2shoes.pt --a2b 1 --style_folder datasets/demo_edges2shoes/trainB --name "shoes and bags"

That made models/demo_edges2shoes_map_b.{json,jpg}, and with --a2b 0, trainA and --name outlines the other one, from
drawings of scripts/draw_demo_data.py. demo.py makes such a map itself where it finds the pictures, of fewer of them;
this one is there at once, and where the pictures are not.
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
    parser = Parser("Make the map of a checkpoint's styles that demo.py shows, and lay it beside the checkpoint.",
                    config_required=False)
    add_direction(parser)
    parser.add_argument('--style_folder', required=True, help='pictures of the target domain, searched recursively')
    parser.add_argument('--name', default='', help='what the page calls the domain, such as "shoes"')
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    opts = parse_arguments(argv)
    if not METHODS[opts.trainer].guided:
        raise BadInput(f'--trainer {opts.trainer}: encodes no styles; MUNIT and BicycleGAN do')
    with naming('--style_folder'):
        paths = list_folder(opts.style_folder)
    translator = open_translator(opts)
    refuse_overwriting(places_of(opts.checkpoint, translator.target), [*paths, *given_files(opts)], '--checkpoint')
    made = make_map(translator, tqdm(paths, unit=' images', disable=None, dynamic_ncols=True), shown(opts.name, 40))
    if made is None:
        raise BadInput(f'--style_folder {shown(opts.style_folder)}: a map wants two readable images')
    for path in write_map(made, opts.checkpoint, digest_of(opts.checkpoint)):
        print(f'{path}: {path.stat().st_size / 1024:.0f} KiB, of {made["images"]} images')


if __name__ == '__main__':
    run_command(main)
