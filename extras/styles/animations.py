"""Animations of a sequence of pictures."""
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image

from core.errors import BadInput, shown
from core.files import atomic_write
from extras.video.writer import write_mp4


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
    kinds = {'webp': lambda path: frames[0].save(path, 'WEBP', quality=90, **several),
             'gif': lambda path: frames[0].save(path, 'GIF', **several),
             'mp4': (lambda path: write_mp4(arrays, path, fps)) if find_spec('av') else None}
    written, missing = [], []
    for ending, write in kinds.items():
        path = folder / f'{stem}.{ending}'
        if write is None:
            missing.append(f'{path}: not written; PyAV is not installed: pip install -r requirements/demo.txt')
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
