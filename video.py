"""Translate a video or a folder of frames, with one style or with an interpolation between several styles.

    python video.py --config configs/edges2shoes_folder.yaml --checkpoint gen_01000000.pt --a2b 1 \\
        --input clip.mp4 --output outputs/clip.mp4 --seed 3
    python video.py … --style inputs/edges2shoes_shoe.jpg           # the style of an image
    python video.py … --style_code 0.3,-1.2,…                       # a style code
    python video.py … --walk 3 inputs/edges2shoes_shoe.jpg 8        # spherical interpolation between styles
    python video.py … --input frames --output outputs/frames        # a folder; does not require PyAV

Every frame keeps its size and its time. Audio is copied, or re-encoded if the output container does not support its
codec. The extension of --output selects the file type (.mp4, .m4v, .mov, .mkv, .webm; .gif and .webp without audio). If
--output is a folder, the file has the name of the input.

--walk takes the same values as scripts/interpolate_styles.py: seeds, images, style codes and .txt files of style codes.
The first frame has the first style and the last frame the last one; with --there_and_back, the last style is reached in
the middle and the first style again at the end. The interpolation is linear in the time of a video, or in the index of
a frame in a folder, where file names are sorted in natural order.

A damaged video is translated as far as it can be read. The faults are reported and the exit status is 2.
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

from core.errors import BadInput, shown
from core.files import atomic_write, make_folder, temporary_path
from core.threads import BackgroundCalls, prefetch
from data import Transform, list_folder, read_image
from engine.cli import Parser, add_compute, add_direction, add_seed, at_least, run_command
from engine.methods import METHODS
from engine.style_codes import add_code_flags, check_code_flags, find_styles, given_codes, slerp, write_codes
from engine.translator import PIXELS_A_PLACE, Translator, open_translator, pixels_at_once, require_pictures
from extras.video.formats import FORMATS, check_format
from extras.video.reader import AnimationReader, Picture, VideoReader, open_video
from extras.video.writer import DEFAULT_CRF, VideoWriter
from utils import to_bytes, to_host, to_picture, write_picture

PENDING_BATCHES = 4       # batches that may wait to be written
PACKETS_PER_CALL = 100    # audio packets that are passed to the writer at once

Reader = VideoReader | AnimationReader


class Frame(NamedTuple):
    """A frame to be translated.

    Attributes:
        values: the input of the networks (C, H, W), or None if the frame cannot be read.
        size: the original (width, height).
        picture: the time and duration of a video frame, without its pixels.
        path: the file of a frame in a folder.
        place: the index of that file.
        error: why the frame cannot be read.
    """
    values: Tensor | None
    size: tuple[int, int]
    picture: Picture | None = None
    path: Path | None = None
    place: int = 0
    error: BadInput | None = None


def parse_arguments(argv: list[str] | None = None):
    parser = Parser('Translate a video or a folder of frames, with one style or an interpolation between several.',
                    config_required=False)
    add_direction(parser)
    parser.add_argument('--input', required=True, help='a video, an animated GIF or WebP, or a folder of frames')
    parser.add_argument('--output', '--output_folder', required=True,
                        help='the output video, or a folder, in which it gets the name of the input')
    add_seed(parser, 10, 'of the sampled style; of dropout and noise for methods without style codes')
    parser.add_argument('--style', default='', help='an image of the target domain whose style is used')
    add_code_flags(parser)
    parser.add_argument('--walk', nargs='+', default=[], metavar='STYLE',
                        help='interpolate between styles: seeds, images, style codes, .txt files of style codes')
    parser.add_argument('--there_and_back', action='store_true',
                        help='--walk: return to the first style at the end')
    parser.add_argument('--new_size', type=at_least(0), default=0,
                        help='resize the shorter side to this size for translation, and resize the outputs back; 0: '
                             'translate at the original size')
    parser.add_argument('--crf', type=at_least(0, 51), default=DEFAULT_CRF,
                        help='video quality: 0 is the best, 18 is visually almost identical, 28 gives small files')
    parser.add_argument('--full_colour', action='store_true',
                        help='write 4:4:4 instead of 4:2:0 chroma, which some players do not support')
    parser.add_argument('--batch_size', type=at_least(1), default=8,
                        help='the maximum number of frames per batch; a batch has at most as many pixels as this '
                             'number of 256×256 frames')
    parser.add_argument('--num_workers', type=at_least(0), default=min(8, os.cpu_count() or 1),
                        help='number of threads that read the frames of a folder, and of threads that write them; a '
                             'video uses one of each; 0: use no threads')
    add_compute(parser)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    opts = parse_arguments(argv)
    check_style_flags(opts)
    with contextlib.ExitStack() as stack:
        if os.path.isdir(opts.input):
            source = list_frames(opts.input)
            output = frames_output(opts)
        else:
            source = stack.enter_context(contextlib.closing(
                open_video(opts.input, '--input', opts.max_image_pixels, opts.new_size)))
            output = video_output(opts, source)
        translator = open_translator(opts)
        require_pictures(translator.config, 'video.py')
        keyframe_styles = choose_styles(opts, translator)
        make_folder(output if isinstance(source, list) else output.parent, '--output')
        if opts.save_styles:
            write_codes(keyframe_styles, opts.save_styles, '--save_styles')
        translate = translate_frames if isinstance(source, list) else translate_video
        return translate(translator, source, output, keyframe_styles, opts)


# ---------------------------------------------------------------------------------------------------------------------
# Inputs, outputs and styles
# ---------------------------------------------------------------------------------------------------------------------

def check_style_flags(opts: argparse.Namespace) -> None:
    """Check the style flags as far as possible without loading a model.

    Raises:
        BadInput: flags contradict each other or the method.
    """
    check_code_flags(opts)
    for flag, words in (('style', 'styles'), ('walk', 'style codes to interpolate')):
        if getattr(opts, flag) and not METHODS[opts.trainer].guided:
            raise BadInput(f'--{flag}: {opts.trainer} has no {words}; omit it or use --trainer MUNIT')
    if opts.walk and (opts.style or opts.style_code):
        raise BadInput(f'--walk: cannot be combined with --{"style" if opts.style else "style_code"}, which sets one '
                       f'style for all frames; omit one of them')
    if opts.there_and_back and not opts.walk:
        raise BadInput('--there_and_back: requires --walk')


def choose_styles(opts: argparse.Namespace, translator: Translator) -> Tensor | None:
    """Return the styles to interpolate (N, style_dim, 1, 1), where N is 1 without --walk.

    Returns None for methods without styles.

    Raises:
        BadInput: a style cannot be read, --style_code has several codes, or --walk has only one.
    """
    if not translator.samples:
        return None
    new_size = opts.new_size or None   # of style images; by default that of the config, as in test.py
    if opts.walk:
        keyframe_styles = torch.cat([style.code for given in opts.walk
                                     for style in find_styles(given, translator, '--walk', new_size)])
        if len(keyframe_styles) < 2:
            raise BadInput(f'--walk {shown(opts.walk[0], 120)}: only one style; at least two are required')
        return keyframe_styles
    if opts.style:
        return translator.encode_style(translator.read(opts.style, translator.target, new_size))
    codes = given_codes(opts, translator)
    if codes is None:
        return translator.draw_styles(1, generator=torch.Generator().manual_seed(opts.seed))
    if len(codes) > 1:
        raise BadInput(f'--style_code {shown(opts.style_code, 120)}: {len(codes)} codes, but a video has one style; '
                       f'give a single code, or --walk with this file')
    return codes


def video_output(opts: argparse.Namespace, reader: Reader) -> Path:
    """Return the path of the output video.

    Raises:
        BadInput: it is the input, a folder, or a file type that cannot be written.
    """
    output, source = Path(opts.output), Path(opts.input)
    if not opts.output:
        raise BadInput('--output: must not be empty')
    if os.path.isdir(output) or opts.output.endswith(('/', os.sep)) or not output.suffix:
        default = '.webp' if isinstance(reader, AnimationReader) else '.mkv'   # .mkv supports all audio codecs
        output = output / (source.name if source.suffix.lower() in FORMATS else f'{source.stem}{default}')
    check_format(output.suffix, f'--output {shown(output)}')
    for path in (output, temporary_path(output)):
        if os.path.exists(path) and os.path.samefile(path, source):
            raise BadInput(f'--output {shown(output)}: is the input or would overwrite it; choose another name')
    if os.path.isdir(output):
        raise BadInput(f'--output {shown(output)}: is a folder; choose another name')
    return output


def frames_output(opts: argparse.Namespace) -> Path:
    """Return the output folder of translated frames.

    Raises:
        BadInput: it is inside the input folder, or has the extension of a video.
    """
    output = Path(opts.output)
    if output.suffix.lower() in FORMATS and not os.path.isdir(output):
        raise BadInput(f'--output {shown(output)}: the input is a folder of frames, so the output must be a folder too')
    source, target = Path(os.path.realpath(opts.input)), Path(os.path.realpath(output))
    if target == source or source in target.parents:
        raise BadInput(f'--output {shown(output)}: is inside --input, so outputs would mix with inputs; choose another')
    return output


def list_frames(folder: str) -> list[Path]:
    """List the images in a folder in natural order of their names (2 before 10).

    Raises:
        BadInput: as `data.list_folder`.
    """
    def natural_key(path: Path) -> list[list[str | int]]:
        parts = path.relative_to(folder).parts
        return [[int(word) if word.isdecimal() else word for word in re.split('([0-9]+)', part)] for part in parts]

    return sorted(list_folder(folder), key=natural_key)


# ---------------------------------------------------------------------------------------------------------------------
# Videos
# ---------------------------------------------------------------------------------------------------------------------

class OutputVideo:
    """Writes translated batches and audio packets in their order, on the thread of `background`.

    The `VideoWriter` is created with the first batch, since some properties of a video are known only then.
    """

    def __init__(self, path: Path, extension: str, reader: Reader, opts: argparse.Namespace,
                 background: BackgroundCalls):
        self.path, self.extension, self.reader = path, extension, reader
        self.opts, self.background = opts, background
        self.writer, self.packets = None, []

    def add_audio(self, packet) -> None:
        """Queue an audio packet."""
        self.packets.append(packet)
        if self.writer is not None and len(self.packets) >= PACKETS_PER_CALL:
            self.background.call(write_audio, self.writer, self._take_packets())

    def add_frames(self, batch: Sequence[Frame], outputs: Tensor) -> None:
        """Queue the outputs (N, H, W, C), uint8, of a batch, after the audio packets that precede it."""
        if self.writer is None:
            reader, opts = self.reader, self.opts
            self.writer = VideoWriter(self.path, self.extension, reader.size, reader.tick, reader.rate, reader.aspect,
                                      opts.crf, opts.full_colour, reader.audio_streams)
        pixels, wait = to_host(outputs)
        self.background.call(write_video_frames, self.writer, self._take_packets(), batch, pixels, wait)

    def _take_packets(self) -> list:
        packets, self.packets = self.packets, []
        return packets

    def finish(self, length: int | None) -> None:
        """Complete the file, after `background` has finished. Raises BadInput if there was no frame."""
        if self.writer is None:
            faults = f' ({"; ".join(self.reader.faults)})' if self.reader.faults else ''
            raise BadInput(f'{self.reader.name}: no frame can be read{faults}')
        write_audio(self.writer, self._take_packets())
        self.writer.finish(length)

    def abort(self) -> None:
        """Close the file without completing it."""
        if self.writer is not None:
            self.writer.abort()


def translate_video(translator: Translator, reader: Reader, output: Path, keyframe_styles: Tensor | None,
                    opts: argparse.Namespace) -> int:
    """Translate a video into a file, which is written completely or not at all.

    Returns:
        The exit status, which is 2 if the input is damaged.

    Raises:
        BadInput: no frame can be read, or the output cannot be written.
    """
    start = time.perf_counter()
    with atomic_write(output) as part:
        count, notes = write_translation(translator, reader, part, output.suffix.lower(), keyframe_styles, opts)
    print(f'{output}: wrote {count} frames of {reader.size[0]}×{reader.size[1]}, '
          f'{count / (time.perf_counter() - start):.3g} frames/s')
    for line in [*reader.notes, *notes, *(f'not kept: {what}' for what in reader.omitted)]:
        print(f'  {line}')
    if reader.faults:
        print(f'{reader.name}: {"; ".join(reader.faults)}; the {count} readable frames are in {shown(output)}',
              file=sys.stderr)
    return 2 if reader.faults else 0


def write_translation(translator: Translator, reader: Reader, path: Path, extension: str,
                      keyframe_styles: Tensor | None, opts: argparse.Namespace) -> tuple[int, list[str]]:
    """Translate a video into `path`. One thread reads, one writes, and the calling thread translates.

    Returns:
        The number of frames, and the notes of the writer.
    """
    position = position_function(reader) if keyframe_styles is not None and len(keyframe_styles) > 1 else None
    background = BackgroundCalls(min(1, opts.num_workers), most=PENDING_BATCHES)
    video, count = OutputVideo(path, extension, reader, opts, background), 0
    try:
        items = read_ahead(video_frames(reader, translator, opts), opts,
                           2 * frames_per_batch(opts, *reader.declared_size))
        with contextlib.closing(items), \
                tqdm(total=reader.frames, unit=' frames', disable=None, dynamic_ncols=True) as bar, background:
            for batch in batches(items, opts):
                if not isinstance(batch, list):
                    video.add_audio(batch)
                    continue
                positions = None if position is None else [
                    position(frame.picture.time, count + i) for i, frame in enumerate(batch)]
                video.add_frames(batch, torch.stack(translate_batch(translator, batch, keyframe_styles, positions,
                                                                    opts)))
                count += len(batch)
                bar.update(len(batch))
        video.finish(reader.length if count == reader.frames and not reader.faults else None)
    except BaseException:
        video.abort()
        raise
    return count, video.writer.notes


def position_function(reader: Reader) -> Callable[[int, int], float]:
    """Return a function that maps the time and the index of a frame to its position in [0, 1] on the interpolation."""
    first, last, count = reader.time_span()
    if first is None:
        return lambda _, index: min(1.0, index / max(1, count - 1))
    return lambda time, _: min(1.0, max(0.0, (time - first) / max(1, last - first)))


def video_frames(reader: Reader, translator: Translator, opts: argparse.Namespace) -> Iterator:
    """Yield the frames of a video as `Frame`, and its audio packets unchanged."""
    grey = translator.config[f'input_dim_{translator.source}'] == 1
    for item in reader:
        if isinstance(item, Picture):
            image = item.image.convert('L') if grey else item.image
            item = Frame(Transform(opts.new_size)(image), item.image.size, item._replace(image=None))
        yield item


def read_ahead(items: Iterator, opts: argparse.Namespace, most: int) -> Iterator:
    """Yield the items, of which up to `most` are prepared in advance by a thread."""
    prepared = prefetch(lambda _: next(items, None), itertools.count(), min(1, opts.num_workers), most)
    with contextlib.closing(prepared):
        yield from itertools.takewhile(lambda item: item is not None, prepared)


def write_audio(writer: VideoWriter, packets: Sequence) -> None:
    """Write audio packets."""
    for packet in packets:
        writer.write_audio(packet)


def write_video_frames(writer: VideoWriter, packets: Sequence, batch: Sequence[Frame], pixels: Tensor,
                       wait: Callable[[], None]) -> None:
    """Write the preceding audio packets and then the outputs of a batch at the times of its frames.

    Args:
        pixels: the outputs (N, H, W, 1 or 3), uint8, which are valid after `wait` has returned.
    """
    write_audio(writer, packets)
    wait()
    for frame, output in zip(batch, pixels.expand(-1, -1, -1, 3).numpy(), strict=True):
        writer.write(output, frame.picture.time, frame.picture.duration)


# ---------------------------------------------------------------------------------------------------------------------
# Folders of frames
# ---------------------------------------------------------------------------------------------------------------------

def translate_frames(translator: Translator, paths: Sequence[Path], output: Path, keyframe_styles: Tensor | None,
                     opts: argparse.Namespace) -> int:
    """Translate the frames of a folder into another folder, under the same names. Unreadable frames are reported.

    Returns:
        The exit status, which is 2 if some frames cannot be read.

    Raises:
        BadInput: an output cannot be written.
    """
    channels = translator.config[f'input_dim_{translator.source}']
    count = 0

    def read(item: tuple[int, Path]) -> Frame:
        place, path = item
        try:
            image = read_image(path, channels, opts.max_image_pixels, opts.new_size)
        except BadInput as error:
            return Frame(None, (0, 0), error=error)
        return Frame(Transform(opts.new_size)(image), image.size, path=path, place=place)

    for folder in sorted({path.parent.relative_to(opts.input) for path in paths}):
        make_folder(output / folder, '--output')
    frames = prefetch(read, enumerate(paths), opts.num_workers, ahead=opts.num_workers + opts.batch_size)
    start = time.perf_counter()
    with contextlib.closing(frames), tqdm(total=len(paths), unit=' frames', disable=None, dynamic_ncols=True) as bar, \
            BackgroundCalls(opts.num_workers, most=PENDING_BATCHES * opts.batch_size) as background:
        for batch in batches(frames, opts):
            if not isinstance(batch, list):
                tqdm.write(f'skipped {batch.error}', file=sys.stderr)
                bar.update()
                continue
            positions = [frame.place / max(1, len(paths) - 1) for frame in batch]
            outputs = translate_batch(translator, batch, keyframe_styles, positions, opts)
            for frame, pixels in zip(batch, outputs, strict=True):
                host, wait = to_host(pixels)
                background.call(write_frame, host, output / frame.path.relative_to(opts.input), wait)
            count += len(batch)
            bar.update(len(batch))
    print(f'{output}: wrote {count} frames, {count / (time.perf_counter() - start):.3g} frames/s')
    if count < len(paths):
        print(f'--input {shown(opts.input)}: {len(paths) - count} of {len(paths)} frames could not be read (see above)',
              file=sys.stderr)
    return 2 if count < len(paths) else 0


def write_frame(pixels: Tensor, path: Path, wait: Callable[[], None]) -> None:
    """Write an output (H, W, 1 or 3), uint8, valid after `wait` has returned, to a file, atomically.

    Raises:
        BadInput: the file cannot be written.
    """
    wait()
    with atomic_write(path) as part:
        write_picture(pixels, part)


# ---------------------------------------------------------------------------------------------------------------------
# Batches
# ---------------------------------------------------------------------------------------------------------------------

def frames_per_batch(opts: argparse.Namespace, width: int, height: int) -> int:
    """Return the number of frames of a size that are translated together; 1 if the size is unknown (0)."""
    shorter = min(width, height)
    scale = opts.new_size / shorter if opts.new_size and shorter else 1
    pixels = max(1, round(width * height * scale ** 2))
    return min(opts.batch_size, max(1, opts.batch_size * PIXELS_A_PLACE // pixels)) if shorter else 1


def batches(items: Iterator, opts: argparse.Namespace) -> Iterator:
    """Group consecutive frames of equal input size into lists. Other items and unreadable frames pass through."""
    batch = []
    for item in items:
        if not isinstance(item, Frame) or item.error is not None:
            yield item
            continue
        if batch and item.values.shape != batch[0].values.shape:
            yield batch
            batch = []
        batch.append(item)
        if len(batch) >= frames_per_batch(opts, *item.size):
            yield batch
            batch = []
    if batch:
        yield batch


def translate_batch(translator: Translator, batch: Sequence[Frame], keyframe_styles: Tensor | None,
                    positions: Sequence[float] | None, opts: argparse.Namespace) -> list[Tensor]:
    """Translate frames of equal input size.

    Args:
        keyframe_styles: the styles (N, style_dim, 1, 1), or None for methods without styles.
        positions: the position in [0, 1] of each frame on the interpolation; ignored if N is 1.

    Returns:
        The outputs (H, W, C), uint8, on the device, each in the original size of its frame.
    """
    styles = keyframe_styles
    if keyframe_styles is not None and len(keyframe_styles) > 1:
        styles = torch.stack([interpolate_style(keyframe_styles, position, opts.there_and_back)
                              for position in positions])
    outputs = translator.translate_batch(torch.stack([frame.values for frame in batch]), styles,
                                         pixels_at_once(translator.device, opts.batch_size))[:, 0]
    return [to_bytes(resize(to_picture(output), frame.size)) for output, frame in zip(outputs, batch, strict=True)]


def interpolate_style(keyframe_styles: Tensor, position: float, there_and_back: bool = False) -> Tensor:
    """Return the style (1, style_dim, 1, 1) at a position in [0, 1]. Keyframe styles are equally spaced."""
    distance = (1 - abs(1 - 2 * position) if there_and_back else position) * (len(keyframe_styles) - 1)
    segment = min(int(distance), len(keyframe_styles) - 2)
    return slerp(keyframe_styles[segment:segment + 1], keyframe_styles[segment + 1:segment + 2], distance - segment)


def resize(picture: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize a picture (C, H, W) in [0, 1] to (width, height), unless it has that size."""
    if picture.shape[:0:-1] == size:
        return picture
    return F.interpolate(picture[None], size[::-1], mode='bicubic', antialias=True)[0].clamp(0, 1)


if __name__ == '__main__':
    run_command(main)
