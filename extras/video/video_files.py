"""Video files: pictures out of one with their times, pictures into one at theirs, and the sound beside them.

PyAV does the work; it is imported when the first film is opened. Animated GIF, WebP and PNG are read by Pillow, which
reads all three.

What is kept: the number of frames, their size, and the times of frames and sound to the tick, as far as the container
written to has such ticks (Matroska and WebM count milliseconds, GIF hundredths of a second).
"""
import contextlib
import errno
import io
import itertools
import math
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from PIL import Image

from core.errors import BadInput, shown, why_no_file
from data import MAX_IMAGE_PIXELS, fault_of_size

if TYPE_CHECKING:
    import av

# Containers that are read: those that hold a film themselves. FFmpeg's others name further files or hosts to fetch.
CONTAINERS = ('mov,matroska,webm,avi,mpegts,mpeg,mpegvideo,flv,live_flv,asf,ogg,ivf,nut,mxf,dv,wtv,rm,h264,hevc,vvc,'
              'obu,av1,m4v,h263,vc1,mjpeg,dirac,yuv4mpegpipe')
AT_FIRST_ANYWHERE = ('mpegts', 'mpeg')   # whose clocks start at any time of day
ANIMATIONS = ('GIF', 'WEBP', 'PNG')
BROWSERS_DELAY = 100                     # milliseconds, of GIF frames that say 0
CRF = 16
HD_HEIGHT = 720                          # from here on, players take colours for those of BT.709 unless told
MILLISECOND = Fraction(1, 1000)
MOST_FRAMES_A_SECOND = 1000              # what claims more does not know


class Ending(NamedTuple):
    """What a file of this ending is: FFmpeg's names of the container, the coder of pictures, and that of sound; and the
    seconds in a tick, None where it takes any."""
    container: str
    pictures: str
    sound: str | None
    tick: Fraction | None = None


ENDINGS = {
    '.mp4': Ending('mp4', 'libx264', 'aac'),
    '.m4v': Ending('mp4', 'libx264', 'aac'),
    '.mov': Ending('mov', 'libx264', 'aac'),
    '.mkv': Ending('matroska', 'libx264', 'aac', MILLISECOND),
    '.webm': Ending('webm', 'libvpx-vp9', 'libopus', MILLISECOND),
    '.gif': Ending('gif', 'gif', None, Fraction(1, 100)),
    '.webp': Ending('webp', 'libwebp_anim', None, MILLISECOND),
}


class Picture(NamedTuple):
    """A frame as it is shown: upright, without transparency; its time and how long it stays, 0 where that is not
    known, in ticks of the film."""
    image: Image.Image
    time: int
    duration: int


def load_av(what: str) -> Any:
    """PyAV. Raises BadInput, with `what` at its head, where it is not installed."""
    try:
        import av
    except ImportError:
        raise BadInput(f'{what}: video takes PyAV, which is not installed: pip install -r requirements/demo.txt'
                       ) from None
    return av


def check_ending(ending: str, what: str) -> None:
    """Whether files of this ending can be written here. Raises BadInput where not, with `what` at its head."""
    av = load_av(what)
    if ending.lower() not in ENDINGS:
        raise BadInput(f'{what}: not one of the files that are written here: {", ".join(ENDINGS)}')
    try:
        av.codec.Codec(ENDINGS[ending.lower()].pictures, 'w')
    except ValueError:
        raise BadInput(f'{what}: this PyAV has no {ENDINGS[ending.lower()].pictures} to write {ending} with; install '
                       f'its own wheels (pip install -r requirements/demo.txt), or choose another ending') from None


# ---------------------------------------------------------------------------------------------------------------------
# Reading
# ---------------------------------------------------------------------------------------------------------------------

def open_film(path: str | Path, flag: str, max_pixels: int = MAX_IMAGE_PIXELS, new_size: int = 0
              ) -> 'Film | Animation':
    """A video file, or an animated picture, open for reading.

    Args:
        path: the file. Its content tells the format, not its ending.
        flag: what the user named it with.
        max_pixels, new_size: as `data.read_image` takes them.

    Raises:
        BadInput: there is no such file, it is no video, a picture that does not move, or too large; or PyAV is missing.
    """
    named = f'{flag} {shown(path)}'
    fault = why_no_file(path)
    if fault:
        raise BadInput(f'{named}: {"no such file or folder" if fault.startswith("No such file") else fault}')
    try:
        still = Image.open(path, formats=(*ANIMATIONS, 'JPEG', 'BMP', 'TIFF', 'PPM'))
    except Exception:   # not a picture, or one that Pillow cannot tell: FFmpeg has the last word
        return Film(path, named, max_pixels, new_size)
    with still:
        if still.format not in ANIMATIONS or still.format == 'PNG' and not getattr(still, 'is_animated', False):
            raise BadInput(f'{named}: a picture, not a video; test.py translates pictures')
    return Animation(path, named, max_pixels, new_size)


class Film:
    """A video file that is read from front to back, by PyAV.

    Iterating gives a `Picture` for each frame of the first stream of video, and the packets of sound where they stand
    between them. What cannot be read is told in `faults`, what is left out in `left_out`, once the iteration is over.

    Attributes:
        tick: seconds in a tick of the pictures' times.
        rate: frames a second on average, None where unknown.
        aspect: width through height of a pixel of the pictures.
        sounds: the streams of sound.
        frames: how many pictures there are, as far as the file says; None where it does not.
        length: ticks from the first picture to the end of the last, None where the file does not say.
        about: width and height before any picture is read, zeros where the file does not say.
        size: width and height of the pictures, known with the first.
    """

    def __init__(self, path: str | Path, named: str, max_pixels: int = MAX_IMAGE_PIXELS, new_size: int = 0):
        self.av = load_av(named)
        self.path, self.named, self.max_pixels, self.new_size = path, named, max_pixels, new_size
        self.faults, self.left_out = [], []
        self.container = self._opened()
        try:
            self._choose_streams()
        except BaseException:
            self.close()
            raise

    def _opened(self) -> 'av.container.InputContainer':
        try:
            return _opened(self.av, f'file:{self.path}')
        except (self.av.error.FFmpegError, ValueError, OSError) as error:
            invalid = getattr(error, 'errno', None) == errno.EINVAL or isinstance(error, self.av.error.InvalidDataError)
            reason = 'not a video, or broken' if invalid else _words(error)
            raise BadInput(f'{self.named}: cannot be read as a video ({reason})') from None

    def _choose_streams(self) -> None:
        videos = [stream for stream in self.container.streams.video
                  if not int(getattr(stream, 'disposition', 0)) & 0x400]   # a cover of music is one picture
        if not videos:
            raise BadInput(f'{self.named}: holds no video{", sound alone" if self.container.streams.audio else ""}')
        self.video = stream = videos[0]
        if stream.codec_context is None:
            raise BadInput(f'{self.named}: its video is of a kind that this PyAV cannot decode')
        fault = fault_of_size(stream.width, stream.height, self.max_pixels, self.new_size) if stream.width else ''
        if fault:
            raise BadInput(f'{self.named}: {fault}')
        self.sounds = [sound for sound in self.container.streams.audio if sound.codec_context is not None]
        lost = len(self.container.streams) - 1 - len(self.sounds)
        if lost:
            self.left_out.append(f'{lost} other stream{"s" * (lost > 1)} (subtitles, data, further video)')
        self.rate = next((rate for rate in (stream.average_rate, stream.guessed_rate, stream.base_rate)
                          if rate and rate < MOST_FRAMES_A_SECOND), None)
        self.tick, self.grid = stream.time_base or Fraction(1, 90_000), None
        if self.tick == MILLISECOND and self.rate:   # Matroska has rounded the times: here they are between its ticks
            fine = math.lcm(1000, self.rate.numerator)
            if fine <= 1_000_000:
                self.tick, self.grid = Fraction(1, fine), self.rate
        self.frames = stream.frames or self._guessed_frames()
        self.about = (stream.width, stream.height)
        self.length = stream.duration if 'mov' in self.container.format.name else None
        self.shift = Fraction(0)   # seconds that all times are moved by
        if self.container.format.name in AT_FIRST_ANYWHERE and self.container.start_time:
            self.shift = -Fraction(self.container.start_time, 1_000_000)
        self.aspect = Fraction(1)   # known with the first picture
        self.size = None
        self.decoder = self._decoder()

    def _guessed_frames(self) -> int | None:
        if self.rate is None or not self.container.duration:
            return None
        return max(1, round(self.container.duration * self.rate / 1_000_000))

    def _decoder(self) -> 'av.codec.CodecContext':
        """The stream's decoder; of VP8 and VP9 with transparency, the one that knows it."""
        tags = {key.lower(): value for key, value in self.video.metadata.items()}
        other = {'vp8': 'libvpx', 'vp9': 'libvpx-vp9'}.get(self.video.codec_context.name)
        if other and tags.get('alpha_mode') == '1':
            with contextlib.suppress(ValueError):   # not in this build
                return self.av.CodecContext.create(other, 'r')
        return self.video.codec_context

    def span(self) -> tuple[int | None, int | None, int]:
        """The times of the first and the last picture, None where packets have none, and their number. For that, the
        file is read once, without decoding."""
        times = []
        with self._opened() as again, contextlib.suppress(self.av.error.FFmpegError):
            for packet in again.demux(again.streams[self.video.index]):
                if packet.size and not packet.is_discard:
                    times.append(packet.pts)
        if not times or None in times:
            return None, None, len(times)
        return self._time(min(times)), self._time(max(times)), len(times)

    def _time(self, time: int, tick: Fraction | None = None) -> int:
        """A time of the stream in ticks of the film."""
        seconds = time * (tick or self.video.time_base or self.tick) + self.shift
        if self.grid is not None:
            near = round(seconds * self.grid) / self.grid
            if abs(near - seconds) < MILLISECOND / 2:   # less than a half: rounded again, it is what it was
                seconds = near
        return round(seconds / self.tick)

    def __iter__(self) -> Iterator['Picture | av.Packet']:
        sounds = {sound.index for sound in self.sounds}
        self._end, self._damaged, self._undecoded, self._backwards, last = Fraction(0), 0, 0, 0, None
        for packet in self._packets():
            if packet.stream.index == self.video.index:
                for frame in self._decode(packet):
                    picture = self._picture(frame, last)
                    last = picture
                    yield picture
            elif packet.stream.index in sounds and packet.size:
                for name in ('pts', 'dts'):
                    time = getattr(packet, name)
                    if time is not None and self.shift:
                        setattr(packet, name, time + round(self.shift / packet.time_base))
                yield packet
        self._tell_faults(last is not None)

    def _packets(self) -> Iterator['av.Packet']:
        try:
            for packet in self.container.demux():
                if packet.size and packet.pts is not None:
                    self._end = max(self._end, (packet.pts + (packet.duration or 0)) * packet.time_base)
                yield packet
        except (self.av.error.FFmpegError, ValueError) as error:
            self.faults.append(f'broken ({_words(error)})')
            flush = self.av.Packet()
            flush.stream = self.video
            yield flush

    def _decode(self, packet: 'av.Packet') -> list['av.VideoFrame']:
        try:
            frames = self.decoder.decode(packet if packet.size else None)
        except self.av.error.EOFError:   # flushed already
            return []
        except self.av.error.FFmpegError:
            self._undecoded += 1
            return []
        self._damaged += sum(frame.is_corrupt for frame in frames)
        return frames

    def _picture(self, frame: 'av.VideoFrame', last: Picture | None) -> Picture:
        step = max(1, round(1 / ((self.rate or 25) * self.tick)))
        time = frame.pts if frame.pts is not None else frame.dts
        time = None if time is None else self._time(time, frame.time_base)
        if last is not None:
            self._backwards += time is not None and time < last.time
            time = last.time + step if time is None else max(time, last.time + 1)   # no two at once
        stored = frame.time_base or self.video.time_base or self.tick   # the last frames have none of their own
        duration = round((getattr(frame, 'duration', 0) or 0) * stored / self.tick)
        if self.grid is not None and abs(duration - step) * self.tick < MILLISECOND:
            duration = step
        fault = fault_of_size(frame.width, frame.height, self.max_pixels, self.new_size)
        if fault:
            raise BadInput(f'{self.named}: {fault}')
        turn = _turn_of(frame)
        image = _image_of(frame, turn)
        if self.size is None:
            self.size = image.size
            aspect = self.video.sample_aspect_ratio or Fraction(1)
            self.aspect = 1 / aspect if turn.transposed else aspect
        elif image.size != self.size:
            if not any(line.startswith('sizes') for line in self.left_out):
                self.left_out.append('sizes that change on the way: all frames have that of the first')
            image = image.resize(self.size, Image.Resampling.BILINEAR)
        return Picture(image, 0 if time is None else time, duration)

    def _tell_faults(self, any_picture: bool) -> None:
        if not self.faults and any_picture and (said := self._said_end()) is not None:
            room = max(Fraction(1, 10), Fraction(5, 2) / (self.rate or 25))
            if self._end < said - room:
                self.faults.append(f'ends after {float(self._end):.4g} of {float(said):.4g} seconds')
        if self._undecoded:
            self.faults.append(f'{self._undecoded} packets of video cannot be decoded')
        if self._damaged:
            self.faults.append(f'{self._damaged} frames are damaged')
        if self._backwards:
            self.faults.append(f'its clock runs backwards: {self._backwards} frames follow at once on the one before')

    def _said_end(self) -> Fraction | None:
        """When the film ends, as the file says."""
        if self.container.format.name in AT_FIRST_ANYWHERE or not self.container.duration:   # guessed from the size
            return None
        return Fraction((self.container.start_time or 0) + self.container.duration, 1_000_000)

    def close(self) -> None:
        """Let go of the file."""
        self.container.close()


class Animation:
    """An animated picture, read by Pillow as a film without sound. Attributes and errors as for `Film`."""

    def __init__(self, path: str | Path, named: str, max_pixels: int = MAX_IMAGE_PIXELS, new_size: int = 0):
        self.path, self.named = path, named
        self.tick, self.aspect, self.sounds = MILLISECOND, Fraction(1), []
        self.faults, self.left_out = [], []
        self.image = Image.open(path, formats=ANIMATIONS)
        fault = fault_of_size(*self.image.size, max_pixels, new_size)
        if fault:
            self.close()
            raise BadInput(f'{named}: {fault}')
        self.size = self.about = self.image.size
        self.rate = self.length = None
        try:
            self.frames = getattr(self.image, 'n_frames', 1)   # GIF counts by going through the file
        except Exception as error:
            self.close()
            raise BadInput(f'{named}: cannot be read as an animation ({_words(error)})') from None
        if self.image.info.get('duration'):
            self.rate = min(Fraction(1000) / Fraction(self.image.info['duration']), Fraction(MOST_FRAMES_A_SECOND))

    def span(self) -> tuple[int | None, int | None, int]:
        """As `Film.span`, but with decoding."""
        with contextlib.closing(Animation(self.path, self.named)) as again:
            times = [picture.time for picture in again]
        return (times[0], times[-1], len(times)) if times else (None, None, 0)

    def __iter__(self) -> Iterator[Picture]:
        time = 0
        for i in range(self.frames):
            try:
                self.image.seek(i)
                image = _over_white(self.image.convert('RGBA'))
            except Exception as error:   # decoders raise almost anything when a file is broken
                self.faults.append(f'broken ({_words(error)})')
                return
            duration = round(self.image.info.get('duration') or BROWSERS_DELAY)
            yield Picture(image, time, duration)
            time += duration

    def close(self) -> None:
        """Let go of the file."""
        self.image.close()


class _Turn(NamedTuple):
    """How a stored frame becomes an upright one: first transposed, then mirrored."""
    transposed: bool = False
    left_right: bool = False
    up_down: bool = False


def _opened(av: Any, name: str) -> 'av.container.InputContainer':
    """A container of the kinds that are read here, and no file or host that it may name beside itself."""
    return av.open(name, metadata_errors='replace',
                   options={'format_whitelist': CONTAINERS, 'protocol_whitelist': 'file'})


def _turn_of(frame: 'av.VideoFrame') -> _Turn:
    """What the display matrix of a frame asks for, to the nearest quarter."""
    data = next((data for data in frame.side_data if data.type.name == 'DISPLAYMATRIX'), None)
    if data is None:
        return _Turn()
    a, b, _, c, d = np.frombuffer(bytes(data), np.int32)[:5].tolist()
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return _Turn(False, a < 0, d < 0)
    return _Turn(True, c < 0, b < 0)


def _image_of(frame: 'av.VideoFrame', turn: _Turn) -> Image.Image:
    see_through = frame.format.name == 'pal8' or any(component.is_alpha for component in frame.format.components)
    array = frame.to_ndarray(format='rgba' if see_through else 'rgb24')
    array = array.transpose(1, 0, 2) if turn.transposed else array
    array = array[::-1 if turn.up_down else 1, ::-1 if turn.left_right else 1]
    image = Image.fromarray(np.ascontiguousarray(array))
    return _over_white(image) if see_through else image


def _over_white(image: Image.Image) -> Image.Image:
    return Image.alpha_composite(Image.new('RGBA', image.size, 'white'), image).convert('RGB')


def _words(error: Exception) -> str:
    """What an error says, without the number and the file that FFmpeg's have."""
    return shown(getattr(error, 'strerror', None) or str(error) or repr(error), 120)


# ---------------------------------------------------------------------------------------------------------------------
# Writing
# ---------------------------------------------------------------------------------------------------------------------

class FilmWriter:
    """Writes a video file: pictures at their times, sound copied or, where the container cannot hold it, coded anew.

    To be used by one thread at a time. `finish` makes the file whole; left by an error, it is not.

    Args:
        path: the file, whatever its ending.
        ending: of `ENDINGS`, what to write.
        size: width and height of the pictures, any.
        tick: seconds in a tick of their times.
        rate: frames a second on average.
        aspect: width through height of a pixel.
        crf: quality, 0 the best; each 6 more halve the file or so. Not for GIF and WebP.
        full_colour: keep the colour of each pixel, not one for each four, as players want it; of WebP, everything.
        sounds: the streams whose packets will come.

    Attributes:
        notes: what became of the sounds, and what is not as players have it.

    Raises:
        OSError: it cannot be written; by `write`, `copy` and `finish` as well.
        ValueError: PyAV has no coder for it.
    """

    def __init__(self, path: str | Path, ending: str, size: tuple[int, int], tick: Fraction, rate: Fraction | None,
                 aspect: Fraction = Fraction(1), crf: int = CRF, full_colour: bool = False,
                 sounds: Sequence[Any] = ()):
        self.av = load_av(shown(path))
        self.kind, self.size, self.given_tick = ENDINGS[ending], size, tick
        self.tick, self.last = self.kind.tick or tick, None
        self.notes = []
        self.began = None                # the time of the first picture
        self.first = self.held = None    # the time of the first packet, and the newest packet
        self.last_duration = 0
        # Coders of pictures look far ahead, in seconds the farther the fewer frames there are: sound waits for them.
        options = {'max_interleave_delta': '120000000'}
        if self.kind.sound is None:
            options = {'loop': '0'}   # for ever
        elif self.kind.container in ('mp4', 'mov'):
            options |= {'movflags': 'faststart', 'movie_timescale': str(self._common_clock(sounds))}
        with self._complaining():
            self.container = self.av.open(f'file:{path}', 'w', format=self.kind.container,
                                          container_options=options)
        rate = rate or Fraction(25)
        self.step = max(1, round(1 / (rate * self.tick)))   # how long a picture stays, unless told
        try:
            with self._complaining():
                self._add_pictures(rate, aspect, crf, full_colour)
                self.sounds = {sound.index: made for sound in sounds if (made := self._add_sound(sound)) is not None}
                self.container.start_encoding()
        except BaseException:
            self.abandon()
            raise

    def _common_clock(self, sounds: Sequence[Any]) -> int:
        """Ticks a second in which late beginnings of pictures and sounds are whole; by itself, MP4 takes 1000."""
        clocks = [self.tick.denominator, *(sound.time_base.denominator for sound in sounds)]
        common = math.lcm(1000, *clocks)
        return common if common < 2 ** 31 else clocks[0]

    def _add_pictures(self, rate: Fraction, aspect: Fraction, crf: int, full_colour: bool) -> None:
        width, height = self.size
        quality = {'gif': {}, 'libwebp_anim': {'lossless': '1'} if full_colour else {'quality': '90'},
                   'libvpx-vp9': {'crf': str(crf), 'cpu-used': '4', 'row-mt': '1'}}
        stream = self.container.add_stream(self.kind.pictures, rate=rate.limit_denominator(100_000),
                                           options=quality.get(self.kind.pictures, {'crf': str(crf)}))
        stream.width, stream.height = width, height
        # One colour for each four pixels is what all players know; H.264 can have that at even sizes alone.
        odd = self.kind.pictures == 'libx264' and (width % 2 or height % 2)
        stream.pix_fmt = {'gif': 'pal8', 'libwebp_anim': 'bgra'}.get(
            self.kind.pictures, 'yuv444p' if odd or full_colour else 'yuv420p')
        if odd:
            self.notes.append(f'{width}×{height} is odd: written in H.264 4:4:4, which some players lack; .webm is '
                              f'another way')
        coder = stream.codec_context
        coder.time_base = self.tick
        if aspect != 1:
            coder.sample_aspect_ratio = aspect
            if self.kind.container in ('webm', 'gif', 'webp'):
                self.notes.append(f'the pixels of {aspect} to 1 are written as square ones, .mp4 and .mkv keep them')
        self.matrix = 'ITU709' if height >= HD_HEIGHT else 'ITU601'
        if self._colours_are_told():
            coder.colorspace, coder.color_primaries, coder.color_trc, coder.color_range = self._colours()
        self.video = stream

    def _colours_are_told(self) -> bool:
        return self.kind.pictures.startswith(('libx264', 'libvpx'))

    def _colours(self) -> tuple[int, int, int, int]:
        """FFmpeg's numbers of matrix, primaries, transfer and range."""
        return 1 if self.matrix == 'ITU709' else 6, 1, 1, 1

    def _add_sound(self, sound: Any) -> '_Copied | _Recoded | None':
        number = f'sound {[other.index for other in sound.container.streams.audio].index(sound.index) + 1}'
        if self.kind.sound is None:
            self.notes.append(f'{number} is left out: this kind of file has none')
            return None
        try:
            if self._holds(sound):
                words, made = 'copied', _Copied(self.container, sound)
            else:
                words = f'{sound.codec_context.name} coded anew'
                made = _Recoded(self.container, sound, self.kind.sound)
        except (self.av.error.FFmpegError, ValueError, LookupError) as error:
            self.notes.append(f'{number} is left out: {_words(error)}')
            return None
        self.notes.append(f'{number}: {words}')
        return made

    def _holds(self, sound: Any) -> bool:
        """Whether the container takes this sound as it is, found by trying its first packets on a file in memory: some
        are refused with the header, some with the first packet, some at the end."""
        try:
            with _opened(self.av, sound.container.name) as again, \
                    self.av.open(io.BytesIO(), 'w', format=self.kind.container) as trial:
                tried = trial.add_stream_from_template(sound)
                trial.start_encoding()
                for packet in itertools.islice(again.demux(again.streams[sound.index]), 3):
                    if packet.size:
                        packet.stream = tried
                        trial.mux(packet)
                trial.close()
        except (self.av.error.FFmpegError, ValueError):
            return False
        return True

    @contextlib.contextmanager
    def _complaining(self) -> Iterator[None]:
        try:
            yield
        except self.av.error.FFmpegError as error:
            raise OSError(error.errno, _words(error)) from None

    def write(self, pixels: np.ndarray, time: int, duration: int = 0) -> None:
        """A picture (H, W, 3) of bytes; times rise from one to the next."""
        av = self.av
        if self.kind.pictures == 'gif':
            palette = Image.fromarray(pixels).quantize(256, dither=Image.Dither.NONE)
            colours = np.full((256, 4), 255, np.uint8)   # as pal8 has them: alpha first
            given = np.array(palette.getpalette(), np.uint8).reshape(-1, 3)
            colours[:len(given), 1:] = given
            frame = av.VideoFrame.from_ndarray((np.array(palette), colours), format='pal8')
        else:
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format='rgb24')
            if self._colours_are_told():
                frame = frame.reformat(format=self.video.pix_fmt, src_color_range='JPEG', dst_color_range='MPEG',
                                       dst_colorspace=self.matrix)
                frame.colorspace, frame.color_range = self._colours()[0], 1
        scale = self.given_tick / self.tick
        time = round(time * scale)
        self.last = time if self.last is None else max(time, self.last + 1)   # no two at one time, however coarse
        frame.pts, frame.time_base = self.last, self.tick
        self.last_duration = round(duration * scale) or self.step
        if self.began is None:
            self.began = self.last
        with self._complaining():
            self._mux(self.video.encode(frame))

    def _mux(self, packets: Sequence['av.Packet']) -> None:
        for packet in packets:
            if self.held is None:
                self.first = packet.dts
            else:
                self.container.mux(self.held)
            self.held = packet

    def _mux_last(self, length: int | None) -> None:
        # Each packet lasts until the next; what the last one lacks of the whole is its own. In coded order, it need not
        # be the last picture.
        if self.held is None:
            return
        whole = round(length * self.given_tick / self.tick) if length else self.last - self.began + self.last_duration
        rest = whole - (self.held.dts - self.first)
        if rest > 0:
            self.held.duration = rest
        self.container.mux(self.held)
        self.held = None

    def copy(self, packet: 'av.Packet') -> None:
        """A packet of one of the sounds."""
        sound = self.sounds.get(packet.stream.index)
        if sound is None:
            return
        with self._complaining():
            for made in sound.take(packet):
                self.container.mux(made)

    def finish(self, length: int | None = None) -> None:
        """Write what is left, and close the file.

        Args:
            length: ticks from the first picture to the end of the last, where known; MP4 gets its rate from that.
        """
        try:
            with self._complaining():
                self._mux(self.video.encode(None))
                self._mux_last(length)
                for sound in self.sounds.values():
                    for packet in sound.take(None):
                        self.container.mux(packet)
                self.container.close()
        except BaseException:
            self.abandon()
            raise

    def abandon(self) -> None:
        """Let go of the file, whatever it holds."""
        with contextlib.suppress(Exception):
            self.container.close()


class _Copied:
    """A sound whose packets go into another container as they are."""

    def __init__(self, container: Any, sound: Any):
        self.stream = container.add_stream_from_template(sound)
        self.stream.metadata.update(_tags(sound))
        self.last = None

    def take(self, packet: 'av.Packet | None') -> Iterator['av.Packet']:
        """What there is to write for a packet, None at the end."""
        if packet is None:
            return
        if packet.dts is None:
            packet.dts = packet.pts
        if packet.dts is None:
            return
        # Times that do not rise are pushed on by a tick: containers refuse them, players never mind.
        tick = self.stream.time_base
        time = round(packet.dts * packet.time_base / tick)
        if self.last is not None and time <= self.last:
            late = (packet.pts - packet.dts) * packet.time_base if packet.pts is not None else 0
            packet.duration = round((packet.duration or 0) * packet.time_base / tick)
            time = self.last + 1
            packet.time_base, packet.dts, packet.pts = tick, time, time + round(late / tick)
        self.last = time
        packet.stream = self.stream
        yield packet


class _Recoded:
    """A sound that is decoded and coded anew."""

    def __init__(self, container: Any, sound: Any, coder: str):
        import av
        self.errors = av.error.FFmpegError
        self.sound = sound
        rates = av.codec.Codec(coder, 'w').audio_rates
        rate = sound.rate if not rates or sound.rate in rates else 48_000
        channels = sound.layout.nb_channels
        self.stream = container.add_stream(coder, rate=rate)
        self.stream.layout = {1: 'mono', 2: 'stereo'}.get(channels) or sound.layout.name
        self.stream.bit_rate = 96_000 * channels
        self.stream.metadata.update(_tags(sound))
        self.resampler = av.AudioResampler(format=self.stream.format, layout=self.stream.layout, rate=rate)

    def take(self, packet: 'av.Packet | None') -> Iterator['av.Packet']:
        """As `_Copied.take`."""
        try:
            frames = self.sound.codec_context.decode(packet)
        except self.errors:   # a broken packet
            frames = []
        for frame in [*frames, *([None] if packet is None else [])]:
            for resampled in self.resampler.resample(frame):
                yield from self.stream.encode(resampled)
        if packet is None:
            yield from self.stream.encode(None)


def _tags(sound: Any) -> dict[str, str]:
    return {key: value for key, value in sound.metadata.items() if key.lower() in ('language', 'title')}


# ---------------------------------------------------------------------------------------------------------------------
# Whole films from memory
# ---------------------------------------------------------------------------------------------------------------------

def write_by_av(frames: Sequence[np.ndarray], path: Path, fps: int) -> None:
    """Write frames, bytes (H, W, 3) of one size, as an MP4. An odd size gets a white line more."""
    height, width = _evened(frames[0]).shape[:2]
    writer = FilmWriter(path, '.mp4', (width, height), Fraction(1, fps), Fraction(fps))
    try:
        for i, frame in enumerate(frames):
            writer.write(_evened(frame), i, 1)
    except BaseException:
        writer.abandon()
        raise
    writer.finish()


def write_by_ffmpeg(frames: Sequence[np.ndarray], path: Path, fps: int) -> None:
    """As `write_by_av`, by the program that imageio-ffmpeg brings."""
    import imageio_ffmpeg
    height, width = _evened(frames[0]).shape[:2]
    writer = imageio_ffmpeg.write_frames(str(path), (width, height), fps=fps, quality=9, macro_block_size=2,
                                         ffmpeg_log_level='error')
    writer.send(None)
    for frame in frames:
        writer.send(np.ascontiguousarray(_evened(frame)))
    writer.close()


def _evened(frame: np.ndarray) -> np.ndarray:
    """The frame with even sides."""
    return np.pad(frame, ((0, frame.shape[0] % 2), (0, frame.shape[1] % 2), (0, 0)), constant_values=255)
