"""Write frames at given times to a video file, and copy or re-encode its audio.

The number of frames and their size are kept. Times are kept as precisely as the container allows: Matroska, WebM and
WebP count milliseconds, GIF counts hundredths of a second.
"""
import contextlib
import io
import itertools
import math
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from core.errors import shown
from extras.video.colours import BT601, BT709, HD_HEIGHT
from extras.video.formats import FORMATS, error_text, load_av, open_container

if TYPE_CHECKING:
    import av

DEFAULT_CRF = 16
DEFAULT_RATE = 25
MAX_INTERLEAVE_DELTA = 120_000_000       # microseconds
LIMITED_RANGE = 1                        # FFmpeg's number
EDIT_LIST_CONTAINERS = ('mp4', 'mov')


class VideoWriter:
    """Writes a video file: frames at given times, and audio that is copied, or re-encoded if the container requires it.

    A writer must not be used by several threads at once. The file is complete only after `finish`.

    Args:
        path: the output file; its extension is ignored.
        extension: a key of `FORMATS`, which selects the file type.
        size: (width, height) of the frames; odd sizes are allowed.
        tick: the unit of frame times, in seconds.
        rate: the average number of frames per second, or None if unknown.
        aspect: the ratio of width to height of a pixel.
        crf: the quality, where 0 is the best and each increment of 6 roughly halves the file size. GIF and WebP
            ignore it.
        full_colour: write 4:4:4 instead of 4:2:0 chroma, which some players do not support; lossless for WebP.
        audio_streams: the input streams whose packets will be passed to `write_audio`.

    Attributes:
        notes: what was done with each audio stream, and how the file deviates from what players expect.

    Raises:
        OSError: the file cannot be written; also raised by `write`, `write_audio` and `finish`.
        ValueError: PyAV lacks the encoder.
    """

    def __init__(self, path: str | Path, extension: str, size: tuple[int, int], tick: Fraction, rate: Fraction | None,
                 aspect: Fraction = Fraction(1), crf: int = DEFAULT_CRF, full_colour: bool = False,
                 audio_streams: Sequence[Any] = ()):
        self.av = load_av(shown(path))
        self.format, self.size, self.input_tick = FORMATS[extension], size, tick
        self.tick = self.format.tick or tick
        self.notes = []
        self.first_time = self.last_time = None   # of frames
        self.first_dts = self.held = None         # the time of the first packet, and the newest packet
        self.last_duration = 0
        rate = rate or Fraction(DEFAULT_RATE)
        self.step = max(1, round(1 / (rate * self.tick)))   # the default duration of a frame
        with self._as_os_error():
            self.container = self.av.open(f'file:{path}', 'w', format=self.format.container,
                                          container_options=self._container_options(audio_streams))
        try:
            with self._as_os_error():
                self._add_video(rate, aspect, crf, full_colour)
                self.audio = {stream.index: output for stream in audio_streams
                              if (output := self._add_audio(stream)) is not None}
                self.container.start_encoding()
        except BaseException:
            self.abort()
            raise

    def _container_options(self, audio_streams: Sequence[Any]) -> dict[str, str]:
        if self.format.audio_codec is None:
            return {'loop': '0'}   # repeat forever
        # Video encoders look ahead by many frames, which takes long at low frame rates; audio must wait for them.
        options = {'max_interleave_delta': str(MAX_INTERLEAVE_DELTA)}
        if self.format.container in ('mp4', 'mov'):
            options |= {'movflags': 'faststart', 'movie_timescale': str(self._movie_timescale(audio_streams))}
        return options

    def _movie_timescale(self, audio_streams: Sequence[Any]) -> int:
        """Return the number of ticks per second that represents the start times of all streams exactly.

        The default of MP4, 1000, rounds them.
        """
        clocks = [self.tick.denominator, *(stream.time_base.denominator for stream in audio_streams)]
        common = math.lcm(1000, *clocks)
        return common if common < 2 ** 31 else clocks[0]

    def _add_video(self, rate: Fraction, aspect: Fraction, crf: int, full_colour: bool) -> None:
        codec, (width, height) = self.format.video_codec, self.size
        options = {'gif': {}, 'libwebp_anim': {'lossless': '1'} if full_colour else {'quality': '90'},
                   'libvpx-vp9': {'crf': str(crf), 'cpu-used': '4', 'row-mt': '1'}}
        stream = self.container.add_stream(codec, rate=rate.limit_denominator(100_000),
                                           options=options.get(codec, {'crf': str(crf)}))
        stream.width, stream.height = width, height
        # All players support 4:2:0, but H.264 restricts it to even sizes.
        odd = codec == 'libx264' and (width % 2 or height % 2)
        stream.pix_fmt = {'gif': 'pal8', 'libwebp_anim': 'bgra'}.get(
            codec, 'yuv444p' if odd or full_colour else 'yuv420p')
        if odd:
            self.notes.append(f'{width}×{height} is an odd size: written as H.264 4:4:4, which some players do not '
                              f'support; .webm is an alternative')
        context = stream.codec_context
        context.time_base = self.tick
        if aspect != 1:
            context.sample_aspect_ratio = aspect
            if self.format.container in ('webm', 'gif', 'webp'):
                self.notes.append(f'the pixel aspect ratio of {aspect} is lost; .mp4 and .mkv keep it')
        self.matrix = BT709 if height >= HD_HEIGHT else BT601
        if self._has_colour_tags():
            context.colorspace, context.color_range = self.matrix, LIMITED_RANGE
            context.color_primaries = context.color_trc = BT709
        self.video = stream

    def _has_colour_tags(self) -> bool:
        return self.format.video_codec in ('libx264', 'libvpx-vp9')

    def _add_audio(self, stream: Any) -> '_CopiedAudio | _EncodedAudio | None':
        name = f'audio {[other.index for other in stream.container.streams.audio].index(stream.index) + 1}'
        if self.format.audio_codec is None:
            self.notes.append(f'{name}: omitted, since this file type has no audio')
            return None
        try:
            if self._supports(stream):
                edits = self.format.container in EDIT_LIST_CONTAINERS
                action, output = 'copied', _CopiedAudio(self.container, stream, edits)
            else:
                action = f'{stream.codec_context.name} re-encoded'
                output = _EncodedAudio(self.container, stream, self.format.audio_codec)
        except (self.av.error.FFmpegError, ValueError, LookupError) as error:
            self.notes.append(f'{name}: omitted ({error_text(error)})')
            return None
        self.notes.append(f'{name}: {action}')
        return output

    def _supports(self, stream: Any) -> bool:
        """Return whether the container supports the codec of an audio stream.

        This writes the first packets to a file in memory, since containers reject codecs at different points: when the
        header, the first packet or the trailer is written.
        """
        try:
            with open_container(self.av, stream.container.name) as again, \
                    self.av.open(io.BytesIO(), 'w', format=self.format.container) as trial:
                copy = trial.add_stream_from_template(stream)
                trial.start_encoding()
                for packet in itertools.islice(again.demux(again.streams[stream.index]), 3):
                    if packet.size:
                        packet.stream = copy
                        trial.mux(packet)
                trial.close()
        except (self.av.error.FFmpegError, ValueError):
            return False
        return True

    @contextlib.contextmanager
    def _as_os_error(self) -> Iterator[None]:
        try:
            yield
        except self.av.error.FFmpegError as error:
            raise OSError(error.errno, error_text(error)) from None

    def write(self, pixels: np.ndarray, time: int, duration: int = 0) -> None:
        """Write a frame.

        Args:
            pixels: the frame (H, W, 3), uint8.
            time: the time of display in input ticks, greater than that of the previous frame.
            duration: the duration in input ticks, or 0 if unknown.
        """
        frame = self._to_frame(pixels)
        scale = self.input_tick / self.tick
        time = round(time * scale)
        # Coarse ticks may round two times to the same value; times must strictly increase.
        self.last_time = time if self.last_time is None else max(time, self.last_time + 1)
        frame.pts, frame.time_base = self.last_time, self.tick
        self.last_duration = round(duration * scale) or self.step
        if self.first_time is None:
            self.first_time = self.last_time
        with self._as_os_error():
            self._mux(self.video.encode(frame))

    def _to_frame(self, pixels: np.ndarray) -> 'av.VideoFrame':
        av = self.av
        if self.format.video_codec == 'gif':
            image = Image.fromarray(pixels).quantize(256, dither=Image.Dither.NONE)
            palette = np.full((256, 4), 255, np.uint8)   # alpha first, as in pal8
            colours = np.array(image.getpalette(), np.uint8).reshape(-1, 3)
            palette[:len(colours), 1:] = colours
            return av.VideoFrame.from_ndarray((np.array(image), palette), format='pal8')
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format='rgb24')
        if self._has_colour_tags():
            frame = frame.reformat(format=self.video.pix_fmt, src_color_range='JPEG', dst_color_range='MPEG',
                                   dst_colorspace='ITU709' if self.matrix == BT709 else 'ITU601')
            frame.colorspace, frame.color_range = self.matrix, LIMITED_RANGE
        return frame

    def _mux(self, packets: Sequence['av.Packet']) -> None:
        """Write video packets, but hold the newest one back, since `finish` sets the duration of the last packet."""
        for packet in packets:
            if self.held is None:
                self.first_dts = packet.dts
            else:
                self.container.mux(self.held)
            self.held = packet

    def _mux_last(self, length: int | None) -> None:
        # A packet lasts until the next one, so the last packet gets what remains of the whole length. In coding order,
        # it need not be the last frame.
        if self.held is None:
            return
        if length:
            whole = round(length * self.input_tick / self.tick)
        else:
            whole = self.last_time - self.first_time + self.last_duration
        rest = whole - (self.held.dts - self.first_dts)
        if rest > 0:
            self.held.duration = rest
        self.container.mux(self.held)
        self.held = None

    def write_audio(self, packet: 'av.Packet') -> None:
        """Write a packet of one of the audio streams. Packets of omitted streams are ignored."""
        output = self.audio.get(packet.stream.index)
        if output is None:
            return
        with self._as_os_error():
            for converted in output.convert(packet):
                self.container.mux(converted)

    def finish(self, length: int | None = None) -> None:
        """Write the remaining packets and close the file.

        Args:
            length: ticks from the first frame to the end of the last one, if known. MP4 derives its frame rate from it.
        """
        try:
            with self._as_os_error():
                self._mux(self.video.encode(None))
                self._mux_last(length)
                for output in self.audio.values():
                    for packet in output.convert(None):
                        self.container.mux(packet)
                self.container.close()
        except BaseException:
            self.abort()
            raise

    def abort(self) -> None:
        """Close the file without completing it."""
        with contextlib.suppress(Exception):
            self.container.close()


class _CopiedAudio:
    """An audio stream whose packets are copied to another container.

    Args:
        keeps_edits: whether the container supports edit lists. If so, packets that are decoded but not played are
            copied. Other containers would play them, which would restore audio that an edit list had cut, and delay
            the rest.
    """

    def __init__(self, container: Any, source: Any, keeps_edits: bool):
        self.keeps_edits = keeps_edits
        self.stream = container.add_stream_from_template(source)
        self.stream.metadata.update(_metadata(source))
        self.last_dts = None

    def convert(self, packet: 'av.Packet | None') -> Iterator['av.Packet']:
        """Yield the packets to write for an input packet; None flushes the stream."""
        if packet is None or packet.is_discard and not self.keeps_edits:
            return
        if packet.dts is None:
            packet.dts = packet.pts
        if packet.dts is None:
            return
        # Containers reject times that do not increase, so such packets are delayed by a tick, which is inaudible.
        tick = self.stream.time_base
        time = round(packet.dts * packet.time_base / tick)
        if self.last_dts is not None and time <= self.last_dts:
            delay = (packet.pts - packet.dts) * packet.time_base if packet.pts is not None else 0
            packet.duration = round((packet.duration or 0) * packet.time_base / tick)
            time = self.last_dts + 1
            packet.time_base, packet.dts, packet.pts = tick, time, time + round(delay / tick)
        self.last_dts = time
        packet.stream = self.stream
        yield packet


class _EncodedAudio:
    """An audio stream that is decoded and re-encoded."""

    def __init__(self, container: Any, source: Any, codec: str):
        import av
        self.ffmpeg_error = av.error.FFmpegError
        self.source = source
        rates = av.codec.Codec(codec, 'w').audio_rates
        rate = source.rate if not rates or source.rate in rates else 48_000
        channels = source.layout.nb_channels
        self.stream = container.add_stream(codec, rate=rate)
        self.stream.layout = {1: 'mono', 2: 'stereo'}.get(channels) or source.layout.name
        self.stream.bit_rate = 96_000 * channels
        self.stream.metadata.update(_metadata(source))
        self.resampler = av.AudioResampler(format=self.stream.format, layout=self.stream.layout, rate=rate)

    def convert(self, packet: 'av.Packet | None') -> Iterator['av.Packet']:
        """Yield the packets to write for an input packet; None flushes the stream."""
        try:
            frames = self.source.codec_context.decode(packet)
        except self.ffmpeg_error:   # skip damaged packets
            frames = []
        for frame in [*frames, *([None] if packet is None else [])]:
            for resampled in self.resampler.resample(frame):
                yield from self.stream.encode(resampled)
        if packet is None:
            yield from self.stream.encode(None)


def _metadata(stream: Any) -> dict[str, str]:
    return {key: value for key, value in stream.metadata.items() if key.lower() in ('language', 'title')}


def write_mp4(frames: Sequence[np.ndarray], path: Path, fps: int) -> None:
    """Write frames (H, W, 3) of equal size, uint8, to an MP4 file. Odd sizes are padded by a white line."""
    height, width, _ = frames[0].shape
    frames = [np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), constant_values=255) for frame in frames]
    writer = VideoWriter(path, '.mp4', (width + width % 2, height + height % 2), Fraction(1, fps), Fraction(fps))
    try:
        for i, frame in enumerate(frames):
            writer.write(frame, i, 1)
    except BaseException:
        writer.abort()
        raise
    writer.finish()
