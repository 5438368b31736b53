"""Translate every image of a folder, each with several styles.

    python test_batch.py --config configs/edges2shoes_folder.yaml --checkpoint gen_01000000.pt --a2b 1 \\
        --input_folder datasets/edges2shoes/testA --output_folder outputs/shoes --num_style 10 --synchronized

The outputs with style J are written to outputs/shoes_0J/, with the names of the inputs.
"""
import argparse
import contextlib
import os
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from tqdm import tqdm

from core.device import choose_device
from core.errors import BadInput, naming, shown
from core.files import given_files, make_folder, refuse_overwriting, refuse_same_names
from core.threads import BackgroundCalls, prefetch
from data import list_folder
from engine.cli import TranslationParser, at_least, run_command
from engine.style_codes import add_code_flags, check_code_flags, given_codes, write_codes
from engine.tiles import add_tile_flags, check_tile_flags, translate_in_tiles
from engine.translator import PIXELS_A_PLACE, Translator, open_translator, pixels_at_once, require_pictures
from utils import holding, to_host, to_picture, to_pixels, write_output

BATCHES_HELD = 4             # batches of images that are held until there are enough images of the same size
WRITES_AHEAD = 8             # pending writes per thread


class Input(NamedTuple):
    """An input: its index, path, styles (S, style_dim, 1, 1), and values (C, H, W) or the error in reading it."""
    position: int
    path: Path
    styles: Tensor | None
    values: Tensor | None = None
    error: BadInput | None = None


def parse_arguments(argv: list[str] | None = None):
    parser = TranslationParser('Translate every image of a folder, each with several styles.', seed=1,
                               config='configs/edges2handbags_folder.yaml')
    parser.add_argument('--input_folder', required=True, help='folder of images, searched recursively')
    parser.add_argument('--keep_folders', action='store_true',
                        help='write the outputs to the same subfolders as the inputs, instead of to one folder')
    parser.add_argument('--compute_IS', action='store_true', help='print the Inception Score of the outputs')
    parser.add_argument('--compute_CIS', action='store_true',
                        help='print the Conditional Inception Score of the outputs')
    parser.add_argument('--inception_a', default='', help='classifier of domain A, for --a2b 0')
    parser.add_argument('--inception_b', default='', help='classifier of domain B, for --a2b 1')
    parser.add_argument('--batch_size', type=at_least(1), default=8,
                        help='maximum number of images of one size in a batch; a batch has at most as many pixels as '
                             'this number of 256×256 images')
    parser.add_argument('--num_workers', type=at_least(0), default=min(8, os.cpu_count() or 1),
                        help='number of threads that read images, and of threads that write them; 0: use no threads')
    add_code_flags(parser)
    add_tile_flags(parser)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    opts = parse_arguments(argv)
    device = choose_device(opts.device)
    check_code_flags(opts)
    if opts.save_styles and not (opts.synchronized or opts.style_code):
        raise BadInput(f'--save_styles {opts.save_styles}: each input has different styles; add --synchronized, so '
                       f'that the saved codes reproduce the outputs')
    paths = list_images(opts.input_folder)
    inception = load_classifier(opts) if opts.compute_IS or opts.compute_CIS else None
    translator = open_translator(opts, device)
    check_tile_flags(opts, translator)
    opts.format = translator.output_format(opts.format) or None
    refuse_same_names((str(name_of(path, opts)) for path in paths), f'--input_folder {shown(opts.input_folder)}')
    if inception is not None:
        require_pictures(translator.config, '--compute_IS or --compute_CIS')
        inception.to(device)
    styles = given_codes(opts, translator)
    opts.num_style = opts.num_style if styles is None else len(styles)
    output_folders = make_output_folders(opts, translator.samples)
    written = [folder / name_of(path, opts) for folder in output_folders for path in paths]
    if not opts.output_only:
        written += [name_of_input(i, translator, opts) for i in range(len(paths))]
    inputs = [*paths, *given_files(opts)]
    refuse_overwriting(written, inputs, '--output_folder')
    refuse_overwriting(filter(None, [opts.save_styles]), inputs, '--save_styles')

    for folder in {path.parent for path in written} - {*output_folders, Path(opts.output_folder)}:
        make_folder(folder, '--output_folder')
    torch.manual_seed(opts.seed)
    if opts.save_styles:
        styles = translator.draw_styles(opts.num_style) if styles is None else styles
        write_codes(styles, opts.save_styles, '--save_styles')
    start = time.perf_counter()
    done, probabilities = translate_all(translator, paths, output_folders, opts, inception, styles)
    print(f'translated {done} images into {output_folders[0]}'
          + (f' … {output_folders[-1]}' if len(output_folders) > 1 else '')
          + f', {done / (time.perf_counter() - start):.3g} images/s')
    if inception is not None and done:
        print_scores(opts, probabilities)
    if done < len(paths):
        print(f'--input_folder {opts.input_folder}: {len(paths) - done} of {len(paths)} images could not be read '
              f'(named above)', file=sys.stderr)
    return 2 if done < len(paths) else 0


def translate_all(translator: Translator, paths: Sequence[Path], output_folders: Sequence[Path],
                  opts: argparse.Namespace, inception: nn.Module | None = None,
                  styles: Tensor | None = None) -> tuple[int, list[Tensor]]:
    """Translate image files and write the outputs. Files that cannot be read are reported on stderr.

    Threads read the next images and write outputs while the networks compute.

    Args:
        styles: the styles of all images (S, style_dim, 1, 1), or None to sample styles according to `opts`.

    Returns:
        The number of translated images, and for each image the class probabilities p(y|x) of its outputs (S, classes).

    Raises:
        BadInput: an output cannot be written.
    """
    done, probabilities = 0, {}
    at_once = pixels_at_once(translator.device, opts.batch_size)
    read = prefetch(lambda image: read_image(image, translator, opts.new_size),
                     with_styles(translator, paths, opts, styles), opts.num_workers,
                     ahead=opts.num_workers + opts.batch_size)
    with tqdm(total=len(paths), unit=' images', disable=None, dynamic_ncols=True) as bar, \
            contextlib.closing(read), BackgroundCalls(opts.num_workers, most=WRITES_AHEAD * opts.num_workers) as beside:
        for batch in batches(readable(read, bar), opts.batch_size):
            images = torch.stack([image.values for image in batch])
            if translator.device.type == 'cuda':
                images = images.pin_memory()
            styles = None if batch[0].styles is None else torch.stack([image.styles for image in batch])
            outputs = translate_in_tiles(translator, images, styles, opts.tile, opts.tile_overlap, at_once)
            pixels, ready = to_host(to_pixels(
                to_picture(outputs, opts.normalize), name_of(batch[0].path, opts).suffix,
                translator.config.get(f'value_range_{translator.target}')))
            for image, pictures in zip(batch, pixels, strict=True):
                for folder, picture in zip(output_folders, pictures, strict=True):
                    beside.call(write_output, picture, folder / name_of(image.path, opts), ready)
                if not opts.output_only:
                    beside.call(write_input, image, translator, opts)
            if inception is not None:
                from extras.metrics.deep_metrics import class_probabilities
                found = class_probabilities(inception, outputs.flatten(0, 1)).split(outputs.shape[1])
                probabilities.update(zip([image.position for image in batch], found, strict=True))
            done += len(batch)
            bar.update(len(batch))
    return done, [probabilities[position] for position in sorted(probabilities)]


def with_styles(translator: Translator, paths: Sequence[Path], opts: argparse.Namespace,
                styles: Tensor | None = None) -> Iterator[Input]:
    """Yield each file with its styles. Styles are drawn before files are read, so they do not depend on broken files.
    """
    each_its_own = styles is None and translator.samples and not opts.synchronized
    if styles is None and translator.samples and opts.synchronized:
        styles = translator.draw_styles(opts.num_style)
    for position, path in enumerate(paths):
        if each_its_own:
            styles = translator.draw_styles(opts.num_style)
        yield Input(position, path, styles)


def read_image(image: Input, translator: Translator, new_size: int | None) -> Input:
    """Read an input. Returns it with its values or with the error."""
    try:
        return image._replace(values=translator.read(image.path, translator.source, new_size)[0])
    except BadInput as error:
        return image._replace(error=error)


def readable(images: Iterable[Input], bar: tqdm) -> Iterator[Input]:
    """Yield the inputs that could be read, and report the others."""
    for image in images:
        if image.error is None:
            yield image
        else:
            tqdm.write(f'skipped {image.error}', file=sys.stderr)
            bar.update()


def batches(images: Iterable[Input], batch_size: int) -> Iterator[list[Input]]:
    """Group images of the same size into batches of up to `batch_size` images, with a limit on the number of pixels.

    Incomplete batches are held. If they contain more than `BATCHES_HELD` batches of images, the largest is yielded.
    """
    waiting, held = {}, 0
    for image in images:
        size = image.values.shape
        group = waiting.setdefault(size, [])
        group.append(image)
        held += 1
        full = len(group) >= min(batch_size, max(1, batch_size * PIXELS_A_PLACE // (size[1] * size[2])))
        if full or held >= BATCHES_HELD * batch_size:
            group = waiting.pop(size if full else max(waiting, key=lambda size: len(waiting[size])))
            held -= len(group)
            yield group
    yield from waiting.values()


def write_input(image: Input, translator: Translator, opts: argparse.Namespace) -> None:
    """Write a copy of an input, as it was read, to the output folder."""
    path = name_of_input(image.position, translator, opts)
    write_output(to_pixels(to_picture(image.values, opts.normalize), path.suffix,
                           translator.config.get(f'value_range_{translator.source}')), path)


def name_of_input(position: int, translator: Translator, opts: argparse.Namespace) -> Path:
    """Return the path to which the copy of an input is written."""
    ending = holding(f'.{opts.format or "jpg"}', translator.config[f'input_dim_{translator.source}'])
    return Path(opts.output_folder) / f'input{position:03d}{ending}'


def name_of(path: Path, opts: argparse.Namespace) -> Path:
    """Return the path of the outputs of an input, relative to the folder of a style."""
    name = path.relative_to(opts.input_folder) if opts.keep_folders else Path(path.name)
    return name.with_suffix(f'.{opts.format}') if opts.format else name


def list_images(folder: str) -> list[Path]:
    """Return the images to translate. Raises BadInput."""
    with naming('--input_folder'):
        return list_folder(folder)


def load_classifier(opts):
    """Load the classifier (Inception-v3) of the target domain that --compute_IS and --compute_CIS require."""
    flag = '--inception_b' if opts.a2b else '--inception_a'
    path = opts.inception_b if opts.a2b else opts.inception_a
    if not path:
        raise BadInput(f'{flag}: missing; --compute_IS and --compute_CIS require the state_dict of an Inception-v3 '
                       f'that was trained on the classes of the target domain')
    from extras.metrics.deep_metrics import load_inception  # imported here, so that translation does not require extras
    return load_inception(path, flag)


def print_scores(opts, probabilities: list[Tensor]) -> None:
    """Print the requested scores of the class probabilities p(y|x) of each input's outputs (S, classes)."""
    from extras.metrics import deep_metrics as metrics
    if opts.compute_IS:
        print(f'Inception Score: {metrics.inception_score(torch.cat(probabilities))}')
        print(f'  as the paper states it, without exponent: {metrics.mean_divergence(torch.cat(probabilities))}')
    if opts.compute_CIS:
        print(f'Conditional Inception Score: {metrics.conditional_inception_score(probabilities)}')
        print(f'  as the paper states it, without exponent: {metrics.conditional_mean_divergence(probabilities)}')


def make_output_folders(opts, samples: bool) -> list[Path]:
    """Create a folder per style, OUTPUT_FOLDER_00 …; for methods without styles, such as UNIT, OUTPUT_FOLDER itself."""
    if not opts.output_only or not samples:
        make_folder(opts.output_folder, '--output_folder')
    if not samples:
        return [Path(opts.output_folder)]
    # The path is made absolute because . would give hidden folders such as ._00, and .. folders inside this one.
    stem = os.path.abspath(opts.output_folder) if Path(opts.output_folder).name in ('', '..') else opts.output_folder
    stem = stem.rstrip('/\\')
    return [make_folder(f'{stem}_{j:02d}', '--output_folder') for j in range(opts.num_style)]


if __name__ == '__main__':
    run_command(main)
