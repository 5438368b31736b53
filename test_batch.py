"""Translate every image of a folder, each with several styles.

    python test_batch.py --config configs/edges2shoes_folder.yaml --checkpoint gen_01000000.pt --a2b 1 \\
        --input_folder datasets/edges2shoes/testA --output_folder outputs/shoes --num_style 10 --synchronized

Style J's outputs go to outputs/shoes_0J/ under the names of the inputs.
"""
import sys
from collections import Counter
from pathlib import Path

import torch
from tqdm import tqdm

from config import load_config
from data import BadInput, list_folder
from metrics import class_probabilities, conditional_inception_score, inception_score, load_inception
from translate import Translator
from utils import TranslationParser, choose_device, make_folder, run_command, to_picture, write_picture


def parse_arguments(argv: list[str] | None = None):
    parser = TranslationParser('Translate every image of a folder, each with several styles.', seed=1,
                               config='configs/edges2handbags_folder.yaml')
    parser.add_argument('--input_folder', required=True, help='the images, searched recursively')
    parser.add_argument('--compute_IS', action='store_true', help='print the Inception Score of the outputs')
    parser.add_argument('--compute_CIS', action='store_true', help='print their Conditional Inception Score')
    parser.add_argument('--inception_a', default='', help='classifier of domain A, for --a2b 0')
    parser.add_argument('--inception_b', default='', help='classifier of domain B, for --a2b 1')
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    opts = parse_arguments(argv)
    device = choose_device(opts.device)
    config = load_config(opts.config, opts.trainer)
    paths = list_images(opts.input_folder)
    inception = load_classifier(opts).to(device) if opts.compute_IS or opts.compute_CIS else None
    translator = Translator(config, opts.checkpoint, bool(opts.a2b), opts.trainer, device)
    output_folders = make_output_folders(opts)

    torch.manual_seed(opts.seed)
    sampled = opts.trainer == 'MUNIT'
    synchronized_styles = translator.draw_styles(opts.num_style) if sampled and opts.synchronized else None
    probabilities, broken = [], 0
    for i, path in enumerate(tqdm(paths, unit='image', disable=None)):
        # Drawn before the file is read: a broken file does not change the styles of those after it.
        styles = translator.draw_styles(opts.num_style) if sampled and not opts.synchronized else synchronized_styles
        try:
            image = translator.read(path, translator.source, opts.new_size)
        except BadInput as error:
            broken += 1
            tqdm.write(f'skipped {error}', file=sys.stderr)
            continue
        outputs = translator.translate(image, styles)
        if inception is not None:
            probabilities.append(class_probabilities(inception, outputs))
        for folder, output in zip(output_folders, outputs, strict=True):
            write_picture(to_picture(output, opts.normalize), folder / path.name)
        if not opts.output_only:
            write_picture(to_picture(image[0], opts.normalize), Path(opts.output_folder) / f'input{i:03d}.jpg')

    done = len(paths) - broken
    print(f'translated {done} images into {output_folders[0]}'
          + (f' … {output_folders[-1]}' if len(output_folders) > 1 else ''))
    if opts.compute_IS and done:
        print(f'Inception Score: {inception_score(torch.cat(probabilities))}')
    if opts.compute_CIS and done:
        print(f'Conditional Inception Score: {conditional_inception_score(probabilities)}')
    if broken:
        print(f'--input_folder {opts.input_folder}: {broken} of {len(paths)} images could not be read (named above)',
              file=sys.stderr)
    return 2 if broken else 0


def list_images(folder: str) -> list[Path]:
    """The images to translate; BadInput where two of them would be written to one place."""
    paths = list_folder(folder)
    name, count = Counter(path.name for path in paths).most_common(1)[0]
    if count > 1:
        raise BadInput(f'--input_folder {folder}: {count} images are called {name}, and their outputs would overwrite '
                       f'each other; rename them, or translate the subfolders one by one')
    return paths


def load_classifier(opts):
    """The Inception-v3 of the target domain that --compute_IS and --compute_CIS need."""
    flag = '--inception_b' if opts.a2b else '--inception_a'
    path = opts.inception_b if opts.a2b else opts.inception_a
    if not path:
        raise BadInput(f'{flag}: missing; --compute_IS and --compute_CIS need the state_dict of an Inception-v3 '
                       f'that was trained on the classes of the target domain')
    return load_inception(path, flag)


def make_output_folders(opts) -> list[Path]:
    """One folder a style, OUTPUT_FOLDER_00 …; for UNIT, OUTPUT_FOLDER itself."""
    if not opts.output_only or opts.trainer == 'UNIT':
        make_folder(opts.output_folder, '--output_folder')
    if opts.trainer == 'UNIT':
        return [Path(opts.output_folder)]
    stem = opts.output_folder.rstrip('/\\')
    return [make_folder(f'{stem}_{j:02d}', '--output_folder') for j in range(opts.num_style)]


if __name__ == '__main__':
    run_command(main)
