"""Pictures of any sizes laid out as a sheet with margins, and sheets in a row as an animation."""
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
from utils import to_bytes, to_picture

GAP = 4

Cell = Tensor | str | None   # an image (1 or 3, H, W) in [-1, 1], words, or nothing


def sheet(rows: Sequence[Sequence[Cell]]) -> Tensor:
    """Rows of cells as bytes (H, W, 3): each in the middle of a place that the largest fits into, on white.

    Args:
        rows: of one length or of several, with at least one image among them.
    """
    images = [cell for row in rows for cell in row if isinstance(cell, Tensor)]
    height, width = (max(image.shape[axis] for image in images) for axis in (1, 2))
    laid = torch.full((len(rows) * (height + GAP) + GAP, max(map(len, rows)) * (width + GAP) + GAP, 3), 255,
                      dtype=torch.uint8)
    for y, row in enumerate(rows):
        for x, cell in enumerate(row):
            if cell is None:
                continue
            pixels = _words(cell, height, width) if isinstance(cell, str) else \
                to_bytes(to_picture(cell).expand(3, -1, -1)).cpu()
            top = GAP + y * (height + GAP) + (height - pixels.shape[0]) // 2
            left = GAP + x * (width + GAP) + (width - pixels.shape[1]) // 2
            laid[top:top + pixels.shape[0], left:left + pixels.shape[1]] = pixels
    return laid


def _words(text: str, height: int, width: int) -> Tensor:
    """Dark words in the middle of a white cell, a line each, as large as fit and no larger than is wanted to read."""
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
    """Write frames, bytes (H, W, 3) of one size, as STEM.webp, STEM.gif and STEM.mp4, which repeat for ever.

    GIF counts in hundredths of a second, so its pace is near `fps` alone; of frames in a row that are alike, it keeps
    one for as long. MP4 has even sizes: an odd one gets a white line more.

    Returns:
        The names that were written; and a line for each of the others that says what is missing.

    Raises:
        BadInput: the disk is full, or the like.
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
        except Exception as error:   # a library without this format's coder has its own words for that
            missing.append(f'{path}: not written; this installation cannot make it ({shown(error, 120)})')
    return written, missing


def _video_writer() -> tuple[Callable[[Sequence[np.ndarray], Path, int], None] | None, str]:
    """What writes an MP4, or None and what is missing."""
    if find_spec('av'):
        return write_by_av, ''
    if find_spec('imageio_ffmpeg'):
        return write_by_ffmpeg, ''
    return None, 'neither PyAV nor imageio-ffmpeg is installed: pip install -r requirements/demo.txt'
