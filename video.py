"""Translate a video, or a folder of frames: one style for the whole, or a walk through several over its time.

    python video.py --config configs/edges2shoes_folder.yaml --checkpoint gen_01000000.pt --a2b 1 \\
        --input clip.mp4 --output outputs/clip.mp4 --seed 3
    python video.py … --style inputs/edges2shoes_shoe.jpg           # this picture's style
    python video.py … --style_code 0.3,-1.2,…                       # or the numbers of one
    python video.py … --walk 3 inputs/edges2shoes_shoe.jpg 8        # from style to style, on arcs
    python video.py … --input frames --output outputs/frames        # the same names; takes no PyAV

Every frame comes out with its own size, at its own time; sound is copied, and coded anew only where the container that
is written cannot hold it. The ending of --output says what is written (.mp4, .m4v, .mov, .mkv, .webm; .gif and .webp
without sound); where it names a folder, the file has the input's name there.

--walk takes what walk.py takes: seeds, pictures, codes, and .txt files of codes. The first frame has the first style,
the last one the last; with --there_and_back, the last style is reached in the middle, and the first again at the end.
In a video the way is even over its time, in a folder over its frames, in the natural order of their names.

A broken video is translated as far as it can be read; what is wrong is told, and the exit status is 2.
"""
import argparse
import contextlib
import itertools
import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from core.device import choose_device
from core.errors import BadInput, shown
from core.files import make_folder, part_of, whole
from core.threads import Beside, map_ahead
from data import Transform, list_folder, read_image
from engine.cli import Parser, add_compute, add_direction, add_seed, at_least, run_command
from engine.config import load_config
from engine.methods import METHODS
from engine.style_codes import add_code_flags, check_code_flags, find_styles, given_codes, slerp, write_codes
from engine.translator import PIXELS_A_PLACE, Translator, make_translator, pixels_at_once
from extras.video.video_files import CRF, ENDINGS, Animation, Film, FilmWriter, Picture, check_ending, open_film
from utils import to_bytes, to_host, to_picture, write_bytes

WRITES_AHEAD = 4      # batches
PACKETS_AT_ONCE = 100


class Frame(NamedTuple):
    """A frame on its way: its values (C, H, W) as the networks take them, its own size, where it comes from."""
    values: Tensor | None
    size: tuple[int, int]
    picture: Picture | None = None     # of a video, without its pixels
    path: Path | None = None           # of a folder
    place: int = 0                     # among the files of a folder
    error: BadInput | None = None


def parse_arguments(argv: list[str] | None = None):
    parser = Parser('Translate a video, or a folder of frames: one style for the whole, or a walk through several.')
    add_direction(parser)
    parser.add_argument('--input', required=True, help='a video, an animated GIF or WebP, or a folder of frames')
    parser.add_argument('--output', '--output_folder', required=True,
                        help='the video to write, or a folder, where it has the name of the input')
    add_seed(parser, 10, 'of the one sampled style; of dropout and noise for methods without codes')
    parser.add_argument('--style', default='', help='an image of the target domain whose style to use')
    add_code_flags(parser)
    parser.add_argument('--walk', nargs='+', default=[], metavar='STYLE',
                        help='walk from style to style: seeds, pictures, codes, .txt files of codes')
    parser.add_argument('--there_and_back', action='store_true', help='--walk: back to the first style at the end')
    parser.add_argument('--new_size', type=at_least(0), default=0,
                        help='translate with the shorter side resized to this, and resize the outputs back; 0: at the '
                             "frames' own size")
    parser.add_argument('--crf', type=at_least(0, 51), default=CRF,
                        help='quality of the video: 0 is the best, 18 can hardly be told from it, 28 is small')
    parser.add_argument('--full_colour', action='store_true',
                        help='keep the colour of each pixel (4:4:4), not one for each four; some players lack it')
    parser.add_argument('--batch_size', type=at_least(1), default=8,
                        help='up to so many frames are translated together: as many as have no more pixels than so '
                             'many of 256×256')
    parser.add_argument('--num_workers', type=at_least(0), default=min(8, os.cpu_count() or 1),
                        help='threads that read the frames of a folder, and as many that write them; a video has one '
                             'of each; 0: all in turn')
    add_compute(parser)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    opts = parse_arguments(argv)
    device = choose_device(opts.device)
    config = {**load_config(opts.config, opts.trainer), 'max_image_pixels': opts.max_image_pixels}
    check_style_flags(opts)
    with contextlib.ExitStack() as stack:
        if os.path.isdir(opts.input):
            source = list_frames(opts.input)
            output = frames_output(opts)
        else:
            source = stack.enter_context(contextlib.closing(
                open_film(opts.input, '--input', opts.max_image_pixels, opts.new_size)))
            output = film_output(opts, source)
        translator = make_translator(config, opts.checkpoint, bool(opts.a2b), opts.trainer, device, opts.precision,
                                     opts.compile, opts.encoder_noise)
        stations = choose_styles(opts, translator)
        make_folder(output if isinstance(source, list) else output.parent, '--output')
        if opts.save_styles:
            write_codes(stations, opts.save_styles, '--save_styles')
        translate = translate_frames if isinstance(source, list) else translate_film
        return translate(translator, source, output, stations, opts)


# ---------------------------------------------------------------------------------------------------------------------
# What is asked for
# ---------------------------------------------------------------------------------------------------------------------

def check_style_flags(opts: argparse.Namespace) -> None:
    """What can be said of the flags of styles before anything is loaded. Raises BadInput."""
    check_code_flags(opts)
    for flag, words in (('style', 'styles'), ('walk', 'style codes to walk through')):
        if getattr(opts, flag) and not METHODS[opts.trainer].guided:
            raise BadInput(f'--{flag}: {opts.trainer} has no {words}; leave it out, or use --trainer MUNIT')
    if opts.walk and (opts.style or opts.style_code):
        raise BadInput(f'--walk: not together with --{"style" if opts.style else "style_code"}, which is one style for '
                       f'the whole; leave out one of them')
    if opts.there_and_back and not opts.walk:
        raise BadInput('--there_and_back: is the way of --walk, which is missing')


def choose_styles(opts: argparse.Namespace, translator: Translator) -> Tensor | None:
    """The styles that the film goes through, (1 or more, style_dim, 1, 1); None for a method that has nothing of the
    kind.

    Raises:
        BadInput: a style that cannot be read, several codes for --style_code, or one for --walk.
    """
    if not translator.samples:
        return None
    new_size = opts.new_size or None   # of pictures of styles; by default the config's, as in test.py
    if opts.walk:
        stations = torch.cat([style.code for given in opts.walk
                              for style in find_styles(given, translator, '--walk', new_size)])
        if len(stations) < 2:
            raise BadInput(f'--walk {shown(opts.walk[0], 120)}: one style, a walk has two at least')
        return stations
    if opts.style:
        return translator.encode_style(translator.read(opts.style, translator.target, new_size))
    codes = given_codes(opts, translator)
    if codes is None:
        return translator.draw_styles(1, generator=torch.Generator().manual_seed(opts.seed))
    if len(codes) > 1:
        raise BadInput(f'--style_code {shown(opts.style_code, 120)}: {len(codes)} codes, a video has one style; give '
                       f'the numbers of one, or --walk with this file')
    return codes


def film_output(opts: argparse.Namespace, film: Film | Animation) -> Path:
    """The file to write. Raises BadInput: it is the input, or of a kind that is not written."""
    given, source = Path(opts.output), Path(opts.input)
    if not opts.output:
        raise BadInput('--output: an empty text names no file')
    if os.path.isdir(given) or opts.output.endswith(('/', os.sep)) or not given.suffix:
        other = '.webp' if isinstance(film, Animation) else '.mkv'   # which holds sound of any kind
        given = given / (source.name if source.suffix.lower() in ENDINGS else f'{source.stem}{other}')
    check_ending(given.suffix, f'--output {shown(given)}')
    for path in (given, part_of(given)):
        if os.path.exists(path) and os.path.samefile(path, source):
            raise BadInput(f'--output {shown(given)}: is the input, or would write over it; choose another name')
    if os.path.isdir(given):
        raise BadInput(f'--output {shown(given)}: is a folder; choose another name')
    return given


def frames_output(opts: argparse.Namespace) -> Path:
    """The folder to write frames to. Raises BadInput: it lies in the input's, or is meant for a file."""
    given = Path(opts.output)
    if given.suffix.lower() in ENDINGS and not os.path.isdir(given):
        raise BadInput(f'--output {shown(given)}: a folder of frames becomes a folder of frames; name one')
    source, target = Path(os.path.realpath(opts.input)), Path(os.path.realpath(given))
    if target == source or source in target.parents:
        raise BadInput(f'--output {shown(given)}: lies in --input, whose frames it would mix with; choose another')
    return given


def list_frames(folder: str) -> list[Path]:
    """The images under a folder in the natural order of their names: 2 before 10. Errors as for `data.list_folder`."""
    def natural(path: Path) -> list[list[str | int]]:
        parts = path.relative_to(folder).parts
        return [[int(word) if word.isdecimal() else word for word in re.split('([0-9]+)', part)] for part in parts]

    return sorted(list_folder(folder), key=natural)


# ---------------------------------------------------------------------------------------------------------------------
# Translating
# ---------------------------------------------------------------------------------------------------------------------

def translate_film(translator: Translator, film: Film | Animation, output: Path, stations: Tensor | None,
                   opts: argparse.Namespace) -> int:
    """Translate a film into a file, which is there whole or not at all. One thread reads and one writes beside.

    Returns:
        The exit status: 2 where the film is broken.

    Raises:
        BadInput: not a frame can be read, or the file cannot be written.
    """
    progress = progress_of(film) if stations is not None and len(stations) > 1 else None
    done, writer, waiting = 0, None, []
    start = time.perf_counter()
    with whole(output) as part:
        try:
            items = ahead(frames_of(film, translator, opts), opts, 2 * together(opts, *film.about))
            with contextlib.closing(items), \
                    tqdm(total=film.frames, unit=' frames', disable=None, dynamic_ncols=True) as bar, \
                    Beside(min(1, opts.num_workers), most=WRITES_AHEAD) as beside:
                for batch in batches(items, opts):
                    if not isinstance(batch, list):   # a packet of sound
                        waiting.append(batch)
                        if writer is not None and len(waiting) >= PACKETS_AT_ONCE:
                            beside.call(write_sound, writer, waiting)
                            waiting = []
                        continue
                    if writer is None:
                        writer = FilmWriter(part, output.suffix.lower(), film.size, film.tick, film.rate, film.aspect,
                                            opts.crf, opts.full_colour, film.sounds)
                    places = None if progress is None else [
                        progress(frame.picture.time, done + i) for i, frame in enumerate(batch)]
                    pixels, ready = to_host(torch.stack(translated(translator, batch, stations, places, opts)))
                    beside.call(write_frames, writer, waiting, batch, pixels, ready)
                    waiting = []
                    done += len(batch)
                    bar.update(len(batch))
            if writer is None:
                raise BadInput(f'{film.named}: no frame of it can be read'
                               + (f' ({"; ".join(film.faults)})' if film.faults else ''))
            write_sound(writer, waiting)
            writer.finish(film.length if done == film.frames and not film.faults else None)
        except BaseException:
            if writer is not None:
                writer.abandon()
            raise
    print(f'{output}: wrote {done} frames of {film.size[0]}×{film.size[1]}, '
          f'{done / (time.perf_counter() - start):.3g} frames/s')
    for line in [*writer.notes, *(f'not kept: {what}' for what in film.left_out)]:
        print(f'  {line}')
    if film.faults:
        print(f'{film.named}: {"; ".join(film.faults)}; the {done} frames that could be read are in {shown(output)}',
              file=sys.stderr)
    return 2 if film.faults else 0


def translate_frames(translator: Translator, paths: Sequence[Path], output: Path, stations: Tensor | None,
                     opts: argparse.Namespace) -> int:
    """Translate the frames of a folder into another, under the same names; those that cannot be read are named.

    Returns:
        The exit status: 2 where some cannot be read.

    Raises:
        BadInput: an output cannot be written.
    """
    channels = translator.config[f'input_dim_{translator.source}']
    done = 0

    def read(item: tuple[int, Path]) -> Frame:
        place, path = item
        try:
            image = read_image(path, channels, opts.max_image_pixels, opts.new_size)
        except BadInput as error:
            return Frame(None, (0, 0), error=error)
        return Frame(Transform(opts.new_size)(image), image.size, path=path, place=place)

    for folder in sorted({path.parent.relative_to(opts.input) for path in paths}):
        make_folder(output / folder, '--output')
    frames = map_ahead(read, enumerate(paths), opts.num_workers, ahead=opts.num_workers + opts.batch_size)
    start = time.perf_counter()
    with contextlib.closing(frames), tqdm(total=len(paths), unit=' frames', disable=None, dynamic_ncols=True) as bar, \
            Beside(opts.num_workers, most=WRITES_AHEAD * opts.batch_size) as beside:
        for batch in batches(frames, opts):
            if not isinstance(batch, list):
                tqdm.write(f'skipped {batch.error}', file=sys.stderr)
                bar.update()
                continue
            places = [frame.place / max(1, len(paths) - 1) for frame in batch]
            for frame, pixels in zip(batch, translated(translator, batch, stations, places, opts), strict=True):
                host, ready = to_host(pixels)
                beside.call(write_frame, host, output / frame.path.relative_to(opts.input), ready)
            done += len(batch)
            bar.update(len(batch))
    print(f'{output}: wrote {done} frames, {done / (time.perf_counter() - start):.3g} frames/s')
    if done < len(paths):
        print(f'--input {shown(opts.input)}: {len(paths) - done} of {len(paths)} frames could not be read (named '
              f'above)', file=sys.stderr)
    return 2 if done < len(paths) else 0


def translated(translator: Translator, batch: Sequence[Frame], stations: Tensor | None, places: Sequence[float] | None,
               opts: argparse.Namespace) -> list[Tensor]:
    """The outputs of frames whose values have one size, as bytes (H, W, C) of each frame's own size, on the device.

    Args:
        places: where each frame stands on the walk, from 0 to 1.
    """
    styles = stations
    if stations is not None and len(stations) > 1:
        styles = torch.stack([style_at(stations, place, opts.there_and_back) for place in places])
    outputs = translator.translate_batch(torch.stack([frame.values for frame in batch]), styles,
                                         pixels_at_once(translator.device, opts.batch_size))[:, 0]
    return [to_bytes(resized(to_picture(output), frame.size)) for output, frame in zip(outputs, batch, strict=True)]


def style_at(stations: Tensor, place: float, there_and_back: bool = False) -> Tensor:
    """The style (1, style_dim, 1, 1) at a place from 0 to 1 of the walk through `stations`, each leg as long."""
    way = (1 - abs(1 - 2 * place) if there_and_back else place) * (len(stations) - 1)
    leg = min(int(way), len(stations) - 2)
    return slerp(stations[leg:leg + 1], stations[leg + 1:leg + 2], way - leg)


def resized(picture: Tensor, size: tuple[int, int]) -> Tensor:
    """A picture (C, H, W) in [0, 1] at a width and height."""
    if picture.shape[:0:-1] == size:
        return picture
    return F.interpolate(picture[None], size[::-1], mode='bicubic', antialias=True)[0].clamp(0, 1)


def progress_of(film: Film | Animation) -> Callable[[int, int], float]:
    """What says where on its way the film is, from 0 to 1, at a frame's time and number."""
    first, last, count = film.span()
    if first is None:
        return lambda _, number: min(1.0, number / max(1, count - 1))
    return lambda time, _: min(1.0, max(0.0, (time - first) / max(1, last - first)))


def frames_of(film: Film | Animation, translator: Translator, opts: argparse.Namespace) -> Iterator:
    """The frames of a film, and its packets of sound."""
    grey = translator.config[f'input_dim_{translator.source}'] == 1
    for item in film:
        if isinstance(item, Picture):
            image = item.image.convert('L') if grey else item.image
            item = Frame(Transform(opts.new_size)(image), item.image.size, item._replace(image=None))
        yield item


def together(opts: argparse.Namespace, width: int, height: int) -> int:
    """How many frames of a size are translated together; where it is not known (0), one."""
    shorter = min(width, height)
    scale = opts.new_size / shorter if opts.new_size and shorter else 1
    pixels = max(1, round(width * height * scale ** 2))
    return min(opts.batch_size, max(1, opts.batch_size * PIXELS_A_PLACE // pixels)) if shorter else 1


def ahead(items: Iterator, opts: argparse.Namespace, most: int) -> Iterator:
    """The items, made by a thread before they are asked for, `most` of them."""
    made = map_ahead(lambda _: next(items, None), itertools.count(), min(1, opts.num_workers), most)
    with contextlib.closing(made):
        yield from itertools.takewhile(lambda item: item is not None, made)


def batches(items: Iterator, opts: argparse.Namespace) -> Iterator:
    """Frames in a row whose values have one size together, in their order. What is no readable frame goes through at
    once."""
    batch = []
    for item in items:
        if not isinstance(item, Frame) or item.error is not None:
            yield item
            continue
        if batch and item.values.shape != batch[0].values.shape:
            yield batch
            batch = []
        batch.append(item)
        if len(batch) >= together(opts, *item.size):
            yield batch
            batch = []
    if batch:
        yield batch


def write_sound(writer: FilmWriter, packets: Sequence) -> None:
    """Write packets of sound."""
    for packet in packets:
        writer.copy(packet)


def write_frames(writer: FilmWriter, packets: Sequence, batch: Sequence[Frame], pixels: Tensor,
                 ready: Callable[[], None]) -> None:
    """Write outputs (N, H, W, 1 or 3) that are there when `ready` returns, at the times of the frames, and the packets
    of sound that came before."""
    write_sound(writer, packets)
    ready()
    for frame, output in zip(batch, pixels.expand(-1, -1, -1, 3).numpy(), strict=True):
        writer.write(output, frame.picture.time, frame.picture.duration)


def write_frame(pixels: Tensor, path: Path, ready: Callable[[], None]) -> None:
    """Write an output (H, W, 1 or 3), whole or not at all. Raises BadInput."""
    ready()
    with whole(path) as part:
        write_bytes(pixels, part)


if __name__ == '__main__':
    run_command(main)
