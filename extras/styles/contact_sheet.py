"""Contact sheets of images and labels, and animations of a sequence of sheets."""
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from core.errors import BadInput, shown
from core.files import atomic_write
from extras.video.writer import write_by_av, write_by_ffmpeg
from utils import as_rgb, to_bytes, to_picture

GAP = 4

Cell = Tensor | str | None   # an image (1 or 3, H, W) in [-1, 1], a label, or an empty cell


def sheet(rows: Sequence[Sequence[Cell]]) -> Tensor:
    """Lay out rows of cells on white: 8-bit image (H, W, 3). All cells have the size of the largest image, and smaller
    images are centered.

    Args:
        rows: may differ in length, and contain at least one image.
    """
    images = [cell for row in rows for cell in row if isinstance(cell, Tensor)]
    height, width = (max(image.shape[axis] for image in images) for axis in (1, 2))
    canvas = torch.full((len(rows) * (height + GAP) + GAP, max(map(len, rows)) * (width + GAP) + GAP, 3), 255,
                        dtype=torch.uint8)
    for y, row in enumerate(rows):
        for x, cell in enumerate(row):
            if cell is None:
                continue
            pixels = _label(cell, height, width) if isinstance(cell, str) else \
                to_bytes(as_rgb(to_picture(cell))).cpu()
            top = GAP + y * (height + GAP) + (height - pixels.shape[0]) // 2
            left = GAP + x * (width + GAP) + (width - pixels.shape[1]) // 2
            canvas[top:top + pixels.shape[0], left:left + pixels.shape[1]] = pixels
    return canvas


def _label(text: str, height: int, width: int) -> Tensor:
    """Dark text in the middle of a white cell (height, width, 3), in the largest font size that fits, up to a limit."""
    cell = Image.new('RGB', (width, height), 'white')
    pen = ImageDraw.Draw(cell)
    for size in range(max(8, min(height, width) // 6), 7, -1):
        font = ImageFont.load_default(size)
        left, top, right, bottom = pen.multiline_textbbox((0, 0), text, font=font, align='center')
        if right - left <= width and bottom - top <= height:
            break
    pen.multiline_text(((width - right - left) / 2, (height - bottom - top) / 2), text, fill='#404040', font=font,
                       align='center')
    return torch.from_numpy(np.array(cell))


def write_animations(frames: Sequence[Tensor], folder: Path, stem: str, fps: int) -> tuple[list[str], list[str]]:
    """Write frames, 8-bit images (H, W, 3) of one size, as STEM.webp, STEM.gif and STEM.mp4, which loop.

    GIF counts in hundredths of a second, so that its frame rate only approximates `fps`, and merges equal consecutive
    frames. MP4 requires even sizes, so an odd one is padded by a white line.

    Returns:
        The names of the files that were written, and for each other file a message that says what is missing.

    Raises:
        BadInput: a file cannot be written, for example because the disk is full.
    """
    arrays = [frame.numpy() for frame in frames]
    images = [Image.fromarray(array) for array in arrays]
    several = {'save_all': True, 'append_images': images[1:], 'duration': round(1000 / fps), 'loop': 0}
    video, needs = _video_writer()
    kinds = {'webp': lambda path: images[0].save(path, 'WEBP', quality=90, **several),
             'gif': lambda path: images[0].save(path, 'GIF', **several),
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
