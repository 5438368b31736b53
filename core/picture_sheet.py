"""Sheets of pictures: rows of equal cells on white, with labels, captions and headings."""
from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont, ImageOps

GAP = 4
CAPTION = 16   # height of a caption

Cell = Image.Image | str | None   # a picture, a label, or an empty cell


def sheet(rows: Sequence[Sequence[Cell]], cell: tuple[int, int] | None = None, gap: int = GAP, columns: int = 0
          ) -> Image.Image:
    """Lay out rows of cells. Pictures and labels are centered in their cells.

    Args:
        rows: may differ in length.
        cell: width and height of a cell. If None, those of the largest picture, and there is at least one picture.
        gap: width of the white lines around the cells.
        columns: the smallest number of columns.
    """
    pictures = [one for row in rows for one in row if isinstance(one, Image.Image)]
    width, height = cell or (max(one.width for one in pictures), max(one.height for one in pictures))
    columns = max([columns, *map(len, rows)])
    canvas = Image.new('RGB', (columns * (width + gap) + gap, len(rows) * (height + gap) + gap), 'white')
    for y, row in enumerate(rows):
        for x, one in enumerate(row):
            if one is not None:
                picture = _label(one, width, height) if isinstance(one, str) else one
                canvas.paste(picture, (gap + x * (width + gap) + (width - picture.width) // 2,
                                       gap + y * (height + gap) + (height - picture.height) // 2))
    return canvas


def _label(text: str, width: int, height: int) -> Image.Image:
    """Dark text in the middle of a white cell, in the largest font size that fits, up to a limit."""
    cell = Image.new('RGB', (width, height), 'white')
    pen = ImageDraw.Draw(cell)
    for size in range(max(8, min(height, width) // 6), 7, -1):
        font = ImageFont.load_default(size)
        left, top, right, bottom = pen.multiline_textbbox((0, 0), text, font=font, align='center')
        if right - left <= width and bottom - top <= height:
            break
    pen.multiline_text(((width - right - left) / 2, (height - bottom - top) / 2), text, fill='#404040', font=font,
                       align='center')
    return cell


def captioned(picture: Image.Image, text: str, size: tuple[int, int], colour: str = 'black') -> Image.Image:
    """A picture of at most `size` (width, height), and below it a line of text, which is cut off at the width."""
    cell = Image.new('RGB', (size[0], size[1] + CAPTION), 'white')
    cell.paste(picture)
    ImageDraw.Draw(cell).text((0, size[1] + 1), text, fill=colour)
    return cell


def headed(picture: Image.Image, text: str, at: tuple[int, int], left: int = 0, top: int = 0, colour: str = 'black'
           ) -> Image.Image:
    """A picture, made wider at the left and higher at the top by white, with a heading at the place `at`."""
    wider = ImageOps.expand(picture, (left, top, 0, 0), 'white')
    ImageDraw.Draw(wider).multiline_text(at, text, fill=colour)
    return wider


def stacked(pictures: Sequence[Image.Image]) -> Image.Image:
    """Pictures of equal width, one below the other."""
    canvas = Image.new('RGB', (pictures[0].width, sum(one.height for one in pictures)), 'white')
    top = 0
    for one in pictures:
        canvas.paste(one, (0, top))
        top += one.height
    return canvas
