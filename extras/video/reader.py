"""Read the frames, times and audio packets of a video file.

Videos are decoded by PyAV, which is imported when the first video is opened. Animated GIF, WebP and PNG files are read
by Pillow, since FFmpeg does not read all three.
"""
import contextlib
import errno
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from PIL import Image

from core.errors import BadInput, shown, why_no_file
from data import MAX_IMAGE_PIXELS, fault_of_size
from extras.video.colours import colour_note, to_rgb
from extras.video.formats import ANIMATIONS, BROADCAST_CONTAINERS, MILLISECOND, error_text, load_av, open_container

if TYPE_CHECKING:
    import av

ATTACHED_PICTURE = 0x400      # FFmpeg's flag of a stream that is the cover of a music file
DEFAULT_GIF_DELAY = 100       # milliseconds; browsers use it for frames with a delay of 0
DEFAULT_RATE = 25             # frames per second, where the file does not say
MAX_FRAME_RATE = 1000         # higher rates are not plausible and are ignored


class Picture(NamedTuple):
    """A video frame as it is displayed, upright and without transparency.

    Attributes:
        image: the pixels, in RGB.
        time: the time of display, in ticks of the reader.
        duration: the duration of display in ticks, or 0 if unknown.
    """
    image: Image.Image
    time: int
    duration: int


class _Orientation(NamedTuple):
    """How to turn a stored frame upright: transpose it first, then mirror it."""
    transposed: bool = False
    left_right: bool = False
    up_down: bool = False


def open_video(path: str | Path, flag: str, max_pixels: int = MAX_IMAGE_PIXELS, new_size: int = 0
               ) -> 'VideoReader | AnimationReader':
    """Open a video or an animated image for reading. The format is detected from the content, not from the name.

    Args:
        path: the file.
        flag: the command-line flag that named the file, for error messages.
        max_pixels, new_size: size limits, as in `data.read_image`.

    Raises:
        BadInput: the file does not exist, is not a video, is a still image or is too large; or PyAV is not installed.
    """
    name = f'{flag} {shown(path)}'
    fault = why_no_file(path)
    if fault:
        raise BadInput(f'{name}: {"no such file or folder" if fault.startswith("No such file") else fault}')
    try:
        image = Image.open(path, formats=(*ANIMATIONS, 'JPEG', 'BMP', 'TIFF', 'PPM'))
    except Exception:   # not an image, or one that Pillow cannot identify: leave the decision to FFmpeg
        return VideoReader(path, name, max_pixels, new_size)
    with image:
        if image.format not in ANIMATIONS or image.format == 'PNG' and not getattr(image, 'is_animated', False):
            raise BadInput(f'{name}: an image, not a video; test.py translates images')
    return AnimationReader(path, name, max_pixels, new_size)


class VideoReader:
    """Reads a video file sequentially with PyAV.

    Iteration yields a `Picture` for each frame of the first video stream, and the packets of all audio streams in
    between, in file order. After the iteration, `faults` lists what could not be read, `omitted` what was ignored,
    and `notes` says which colour matrix was assumed, or that HDR was tone-mapped.

    Attributes:
        tick: the unit of all picture times, in seconds.
        rate: the average number of frames per second, or None if unknown.
        aspect: the ratio of width to height of a pixel.
        audio_streams: the audio streams that can be decoded.
        frames: the number of frames according to the file, or None if unknown.
        length: ticks from the first frame to the end of the last one, or None if unknown.
        declared_size: (width, height) before the first frame is read; zeros if unknown.
        size: (width, height) of the pictures; None until the first frame is read.

    Raises:
        BadInput: the file is not a video, its codec is not supported, or its frames are too large; the last also
            during iteration.
    """

    def __init__(self, path: str | Path, name: str, max_pixels: int = MAX_IMAGE_PIXELS, new_size: int = 0):
        self.av = load_av(name)
        self.path, self.name, self.max_pixels, self.new_size = path, name, max_pixels, new_size
        self.faults, self.omitted, self.notes = [], [], []
        self.container = self._open()
        try:
            self._select_streams()
        except BaseException:
            self.close()
            raise

    def _open(self) -> 'av.container.InputContainer':
        try:
            return open_container(self.av, f'file:{self.path}')
        except (self.av.error.FFmpegError, ValueError, OSError) as error:
            invalid = getattr(error, 'errno', None) == errno.EINVAL or isinstance(error, self.av.error.InvalidDataError)
            reason = 'not a video, or damaged' if invalid else error_text(error)
            raise BadInput(f'{self.name}: cannot be read as a video ({reason})') from None

    def _select_streams(self) -> None:
        streams = self.container.streams
        videos = [stream for stream in streams.video if not is_cover(stream)]
        if not videos:
            raise BadInput(f'{self.name}: contains no video{", only audio" if streams.audio else ""}')
        self.video = stream = videos[0]
        if stream.codec_context is None:
            raise BadInput(f'{self.name}: its video codec is not supported by this build of PyAV')
        if stream.width:
            self._check_size(stream.width, stream.height)
        self.audio_streams = [audio for audio in streams.audio if audio.codec_context is not None]
        others = len(streams) - 1 - len(self.audio_streams)
        if others:
            self.omitted.append(f'{others} other stream{"s" * (others > 1)} (subtitles, data, further video)')
        self.rate = next((rate for rate in (stream.average_rate, stream.guessed_rate, stream.base_rate)
                          if rate and rate < MAX_FRAME_RATE), None)
        self.tick = stream.time_base or Fraction(1, 90_000)
        self.frames = stream.frames or self._estimate_frames()
        self.length = stream.duration if 'mov' in self.container.format.name else None
        self.declared_size, self.size = (stream.width, stream.height), None
        self.offset = Fraction(0)   # seconds added to all times
        if self.container.format.name in BROADCAST_CONTAINERS and self.container.start_time:
            self.offset = -Fraction(self.container.start_time, 1_000_000)
        self.aspect = Fraction(1)   # set by the first frame, since it depends on the orientation

    def _check_size(self, width: int, height: int) -> None:
        fault = fault_of_size(width, height, self.max_pixels, self.new_size)
        if fault:
            raise BadInput(f'{self.name}: {fault}')

    def _estimate_frames(self) -> int | None:
        if self.rate is None or not self.container.duration:
            return None
        return max(1, round(self.container.duration * self.rate / 1_000_000))

    def time_span(self) -> tuple[int | None, int | None, int]:
        """Return the times of the first and the last frame (None if packets have no times) and the number of frames.

        This reads the whole file once, without decoding it.
        """
        times = []
        with self._open() as again, contextlib.suppress(self.av.error.FFmpegError):
            for packet in again.demux(again.streams[self.video.index]):
                if packet.size and not packet.is_discard:
                    times.append(packet.pts)
        if not times or None in times:
            return None, None, len(times)
        return self._to_ticks(min(times)), self._to_ticks(max(times)), len(times)

    def _to_ticks(self, time: int, time_base: Fraction | None = None) -> int:
        """Convert a time of the stream to ticks of the reader."""
        return round((time * (time_base or self.video.time_base or self.tick) + self.offset) / self.tick)

    def __iter__(self) -> Iterator['Picture | av.Packet']:
        audio_indices = {audio.index for audio in self.audio_streams}
        self._end, self._damaged, self._undecoded, self._backwards, last = Fraction(0), 0, 0, 0, None
        for packet in self._packets():
            if packet.stream.index == self.video.index:
                for frame in self._decode(packet):
                    picture = self._to_picture(frame, last)
                    last = picture
                    yield picture
            elif packet.stream.index in audio_indices and packet.size:
                for name in ('pts', 'dts'):
                    time = getattr(packet, name)
                    if time is not None and self.offset:
                        setattr(packet, name, time + round(self.offset / packet.time_base))
                yield packet
        self._collect_faults(last is not None)

    def _packets(self) -> Iterator['av.Packet']:
        try:
            for packet in self.container.demux():
                if packet.size and packet.pts is not None:
                    self._end = max(self._end, (packet.pts + (packet.duration or 0)) * packet.time_base)
                yield packet
        except (self.av.error.FFmpegError, ValueError) as error:
            self.faults.append(f'damaged ({error_text(error)})')
            flush = self.av.Packet()
            flush.stream = self.video
            yield flush

    def _decode(self, packet: 'av.Packet') -> list['av.VideoFrame']:
        try:
            frames = self.video.codec_context.decode(packet if packet.size else None)
        except self.av.error.EOFError:   # already flushed
            return []
        except self.av.error.FFmpegError:
            self._undecoded += 1
            return []
        self._damaged += sum(frame.is_corrupt for frame in frames)
        return frames

    def _to_picture(self, frame: 'av.VideoFrame', last: Picture | None) -> Picture:
        time = frame.pts if frame.pts is not None else frame.dts
        time = None if time is None else self._to_ticks(time, frame.time_base)
        if last is not None:
            self._backwards += time is not None and time < last.time
            step = max(1, round(1 / ((self.rate or DEFAULT_RATE) * self.tick)))
            time = last.time + step if time is None else max(time, last.time + 1)   # times strictly increase
        time_base = frame.time_base or self.video.time_base or self.tick   # flushed frames have no time base
        duration = round((getattr(frame, 'duration', 0) or 0) * time_base / self.tick)
        self._check_size(frame.width, frame.height)
        orientation = _orientation(frame)
        image = _to_image(frame, orientation)
        if self.size is None:
            self.size = image.size
            self.notes += [line for line in [colour_note(frame)] if line]
            aspect = self.video.sample_aspect_ratio or Fraction(1)
            self.aspect = 1 / aspect if orientation.transposed else aspect
        elif image.size != self.size:
            if not any(line.startswith('changes') for line in self.omitted):
                self.omitted.append('changes of the frame size: all frames are resized to the first one')
            image = image.resize(self.size, Image.Resampling.BILINEAR)
        return Picture(image, 0 if time is None else time, duration)

    def _collect_faults(self, any_picture: bool) -> None:
        declared = self._declared_end()
        if not self.faults and any_picture and declared is not None:
            tolerance = max(Fraction(1, 10), Fraction(5, 2) / (self.rate or DEFAULT_RATE))
            if self._end < declared - tolerance:
                self.faults.append(f'ends after {float(self._end):.4g} of {float(declared):.4g} seconds')
        if self._undecoded:
            self.faults.append(f'{self._undecoded} video packets cannot be decoded')
        if self._damaged:
            self.faults.append(f'{self._damaged} frames are damaged')
        if self._backwards:
            self.faults.append(f'times are not monotonic: {self._backwards} frames are placed directly after the '
                               f'previous one')

    def _declared_end(self) -> Fraction | None:
        """Return the end of the video in seconds as the file declares it, or None."""
        # FFmpeg estimates the duration of broadcast containers from the file size, so it proves nothing.
        if self.container.format.name in BROADCAST_CONTAINERS or not self.container.duration:
            return None
        return Fraction((self.container.start_time or 0) + self.container.duration, 1_000_000)

    def close(self) -> None:
        """Close the file."""
        self.container.close()


class AnimationReader:
    """Reads an animated image with Pillow, as a video without audio. It has the attributes of `VideoReader`.

    Raises:
        BadInput: the image is damaged or too large.
    """

    def __init__(self, path: str | Path, name: str, max_pixels: int = MAX_IMAGE_PIXELS, new_size: int = 0):
        self.path, self.name = path, name
        self.tick, self.aspect, self.audio_streams = MILLISECOND, Fraction(1), []
        self.faults, self.omitted, self.notes = [], [], []
        self.image = Image.open(path, formats=ANIMATIONS)
        fault = fault_of_size(*self.image.size, max_pixels, new_size)
        if fault:
            self.close()
            raise BadInput(f'{name}: {fault}')
        self.size = self.declared_size = self.image.size
        self.rate = self.length = None
        try:
            self.frames = getattr(self.image, 'n_frames', 1)   # for GIF, this scans the file
        except Exception as error:
            self.close()
            raise BadInput(f'{name}: cannot be read as an animation ({error_text(error)})') from None
        if self.image.info.get('duration'):
            self.rate = min(Fraction(1000) / Fraction(self.image.info['duration']), Fraction(MAX_FRAME_RATE))

    def time_span(self) -> tuple[int | None, int | None, int]:
        """Return the same values as `VideoReader.time_span`. This decodes the whole file."""
        with contextlib.closing(AnimationReader(self.path, self.name)) as again:
            times = [picture.time for picture in again]
        return (times[0], times[-1], len(times)) if times else (None, None, 0)

    def __iter__(self) -> Iterator[Picture]:
        time = 0
        for i in range(self.frames):
            try:
                self.image.seek(i)
                image = _blend_with_white(self.image.convert('RGBA'))
            except Exception as error:   # Pillow raises many kinds of errors for damaged files
                self.faults.append(f'damaged ({error_text(error)})')
                return
            duration = round(self.image.info.get('duration') or DEFAULT_GIF_DELAY)
            yield Picture(image, time, duration)
            time += duration

    def close(self) -> None:
        """Close the file."""
        self.image.close()


def is_cover(stream: Any) -> bool:
    """Return whether a video stream is the cover image of a music file."""
    flags = getattr(stream, 'disposition', 0)
    return bool(int(getattr(flags, 'value', flags)) & ATTACHED_PICTURE)   # PyAV 15 to 17 have an enum.Flag


def _orientation(frame: 'av.VideoFrame') -> _Orientation:
    """Read the display matrix of a frame, rounded to the nearest multiple of 90 degrees."""
    data = next((data for data in frame.side_data if data.type.name == 'DISPLAYMATRIX'), None)
    if data is None:
        return _Orientation()
    a, b, _, c, d = np.frombuffer(bytes(data), np.int32)[:5].tolist()
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return _Orientation(False, a < 0, d < 0)
    return _Orientation(True, c < 0, b < 0)


def _to_image(frame: 'av.VideoFrame', orientation: _Orientation) -> Image.Image:
    """Convert a decoded frame to an upright RGB image."""
    has_alpha = frame.format.name == 'pal8' or any(component.is_alpha for component in frame.format.components)
    array = frame.to_ndarray(format='rgba') if has_alpha else to_rgb(frame)
    array = array.transpose(1, 0, 2) if orientation.transposed else array
    array = array[::-1 if orientation.up_down else 1, ::-1 if orientation.left_right else 1]
    image = Image.fromarray(np.ascontiguousarray(array))
    return _blend_with_white(image) if has_alpha else image


def _blend_with_white(image: Image.Image) -> Image.Image:
    return Image.alpha_composite(Image.new('RGBA', image.size, 'white'), image).convert('RGB')
