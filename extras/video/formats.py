"""Video formats: the containers that are read, the file types that are written, and access to PyAV."""
from fractions import Fraction
from typing import TYPE_CHECKING, Any, NamedTuple

from core.errors import BadInput, shown

if TYPE_CHECKING:
    import av

# Demuxers that may be used for reading. FFmpeg's other demuxers can refer to further files or hosts.
CONTAINERS = ('mov,matroska,webm,avi,mpegts,mpeg,mpegvideo,flv,live_flv,asf,ogg,ivf,nut,mxf,dv,wtv,rm,h264,hevc,vvc,'
              'obu,av1,m4v,h263,vc1,mjpeg,dirac,yuv4mpegpipe')
BROADCAST_CONTAINERS = ('mpegts', 'mpeg')   # their clocks start at an arbitrary time
ANIMATIONS = ('GIF', 'WEBP', 'PNG')         # read by Pillow
MILLISECOND = Fraction(1, 1000)


class Format(NamedTuple):
    """A file type that can be written.

    Attributes:
        container: FFmpeg's name of the container.
        video_codec, audio_codec: FFmpeg's names of the encoders; `audio_codec` is None if there is no audio.
        tick: the time base in seconds, or None if the container supports any time base.
    """
    container: str
    video_codec: str
    audio_codec: str | None
    tick: Fraction | None = None


FORMATS = {
    '.mp4': Format('mp4', 'libx264', 'aac'),
    '.m4v': Format('mp4', 'libx264', 'aac'),
    '.mov': Format('mov', 'libx264', 'aac'),
    '.mkv': Format('matroska', 'libx264', 'aac', MILLISECOND),
    '.webm': Format('webm', 'libvpx-vp9', 'libopus', MILLISECOND),
    '.gif': Format('gif', 'gif', None, Fraction(1, 100)),
    '.webp': Format('webp', 'libwebp_anim', None, MILLISECOND),
}


def load_av(name: str) -> Any:
    """Import PyAV and return the module.

    Raises:
        BadInput: PyAV is not installed. The message starts with `name`.
    """
    try:
        import av
    except ImportError:
        raise BadInput(f'{name}: video requires PyAV, which is not installed: pip install -r requirements/demo.txt'
                       ) from None
    return av


def check_format(extension: str, name: str) -> None:
    """Check that files with this extension can be written.

    Raises:
        BadInput: the extension is unknown, or PyAV or the encoder is missing. The message starts with `name`.
    """
    av = load_av(name)
    if extension.lower() not in FORMATS:
        raise BadInput(f'{name}: unsupported file type; choose one of {", ".join(FORMATS)}')
    codec = FORMATS[extension.lower()].video_codec
    try:
        av.codec.Codec(codec, 'w')
    except ValueError:
        raise BadInput(f'{name}: this build of PyAV lacks the encoder {codec}, which {extension} requires; install the '
                       f'official wheels (pip install -r requirements/demo.txt) or choose another file type') from None


def open_container(av: Any, url: str) -> 'av.container.InputContainer':
    """Open a file with the demuxers in `CONTAINERS` only, and without access to any other file or host."""
    return av.open(url, metadata_errors='replace',
                   options={'format_whitelist': CONTAINERS, 'protocol_whitelist': 'file'})


def error_text(error: Exception) -> str:
    """Return the text of an error without the number and the file name that FFmpeg adds."""
    return shown(getattr(error, 'strerror', None) or str(error) or repr(error), 120)
