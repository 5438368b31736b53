"""Write a corrupted copy of a test set: the same images and names, with specks, gaps, smudges and double lines.

    python scripts/draw_dirty_twin.py --input datasets/demo_drawn_128/testA --output datasets/demo_drawn_128_dirty/testA

The corruptions are those of `core/corruptions.py`, which `dirty: a` in a config applies during training. The corruption
of an image depends only on --seed and the position of the image in the folder. `evaluate.py --dirty_root
datasets/demo_drawn_128_dirty` measures translations of such inputs.
"""

import _root  # noqa: F401
import torch
from tqdm import tqdm

from core.corruptions import NOISE_PARAMS, add_sketch_noise
from core.errors import OneLineParser, naming, shown
from core.files import make_folder, refuse_overwriting, refuse_same_names
from data import Transform, list_folder, read_header, read_image
from engine.cli import at_least, run_command
from utils import to_bytes, to_picture, write_output


def parse_arguments(argv: list[str] | None = None):
    parser = OneLineParser(description=__doc__.split('\n')[0])
    parser.add_argument('--input', required=True, help='folder of images')
    parser.add_argument('--output', required=True, help='folder for the corrupted images')
    parser.add_argument('--seed', type=at_least(0), default=0, help='random seed of the corruptions')
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    opts = parse_arguments(argv)
    with naming('--input'):
        paths = list_folder(opts.input)
    refuse_same_names((path.name for path in paths), f'--input {shown(opts.input)}')
    folder = make_folder(opts.output, '--output')
    refuse_overwriting([folder / path.name for path in paths], paths, '--output')
    generator = torch.Generator().manual_seed(opts.seed)
    for path in tqdm(paths, unit=' pictures', disable=None, dynamic_ncols=True):
        numbers = torch.rand(1, NOISE_PARAMS, generator=generator)
        header = read_header(path)
        channels = 1 if header and (header.deep or header.kind in ('1', '2')) else 3
        clean = Transform(0)(read_image(path, channels))[None]
        write_output(to_bytes(to_picture(add_sketch_noise(clean, numbers)[0])), folder / path.name)
    print(f'wrote {len(paths)} pictures to {folder}')


if __name__ == '__main__':
    run_command(main)
