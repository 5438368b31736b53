"""Animations of a sequence of pictures."""
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image

from core.errors import BadInput, shown
from core.files import atomic_write
from extras.video.writer import write_by_av, write_by_ffmpeg


def write_animations(frames: Sequence[Image.Image], folder: Path, stem: str, fps: int) -> tuple[list[str], list[str]]:
    """Write frames, RGB images of one size, as STEM.webp, STEM.gif and STEM.mp4, which loop.

    GIF counts in hundredths of a second, so that its frame rate only approximates `fps`, and merges equal consecutive
    frames. MP4 requires even sizes, so an odd one is padded by a white line.

    Returns:
        The names of the files that were written, and for each other file a message that says what is missing.

    Raises:
        BadInput: a file cannot be written, for example because the disk is full.
    """
    arrays = [np.asarray(frame) for frame in frames]
    several = {'save_all': True, 'append_images': frames[1:], 'duration': round(1000 / fps), 'loop': 0}
    video, needs = _video_writer()
    kinds = {'webp': lambda path: frames[0].save(path, 'WEBP', quality=90, **several),
             'gif': lambda path: frames[0].save(path, 'GIF', **several),
             'mp4': None if video is None else lambda path: video(arrays, path, fps)}
    written, missing = [], []
    for ending, write in kinds.items():
        path = folder / f'{stem}.{ending}'
        if write is None:
            missing.append(f'{path}: not written; {needs}')
            continue
        try:
            with atomic_write(path) as part:
                write(part)
            written.append(path.name)
        except BadInput:
            raise
        except Exception as error:   # libraries without an encoder for this format raise errors of many types
            missing.append(f'{path}: not written; this installation cannot encode it ({shown(error, 120)})')
    return written, missing


def _video_writer() -> tuple[Callable[[Sequence[np.ndarray], Path, int], None] | None, str]:
    """A function that writes an MP4 file and '', or None and what is missing."""
    if find_spec('av'):
        return write_by_av, ''
    if find_spec('imageio_ffmpeg'):
        return write_by_ffmpeg, ''
    return None, 'neither PyAV nor imageio-ffmpeg is installed: pip install -r requirements/demo.txt'
