"""core/picture_sheet.py: where pictures, labels, captions and headings stand on a sheet."""
import numpy as np
from PIL import Image

from core.picture_sheet import CAPTION, GAP, captioned, headed, sheet, stacked

RED, BLUE, WHITE = (255, 0, 0), (0, 0, 255), (255, 255, 255)


def test_pictures_are_centred_in_cells_of_the_largest():
    laid = sheet([[Image.new('RGB', (10, 6), RED), None], [None, Image.new('RGB', (4, 4), BLUE)]])
    assert laid.size == (2 * 10 + 3 * GAP, 2 * 6 + 3 * GAP)
    found = np.asarray(laid).copy()
    assert (found[GAP:GAP + 6, GAP:GAP + 10] == RED).all()
    assert (found[2 * GAP + 7:2 * GAP + 11, 2 * GAP + 13:2 * GAP + 17] == BLUE).all()
    assert (found != WHITE).any(2).sum() == 60 + 16


def test_a_sheet_without_gaps_is_its_rows_side_by_side_and_has_the_least_columns():
    laid = sheet([[Image.new('RGB', (3, 2), colour) for colour in (RED, BLUE)]], gap=0, columns=3)
    assert np.array_equal(np.asarray(laid)[0], [RED] * 3 + [BLUE] * 3 + [WHITE] * 3)
    assert sheet([], (5, 7), columns=2).size == (2 * (5 + GAP) + GAP, GAP)


def test_a_label_is_written_inside_its_cell():
    found = np.asarray(sheet([['mean\n12%', Image.new('RGB', (64, 64), RED)]])).min(2)
    assert found[:, :64 + GAP].min() < 100 and found[:GAP].min() == 255
    assert found[:, 64 + GAP:64 + 2 * GAP].min() == 255


def test_captions_and_headings_leave_the_picture_as_it_is():
    picture = Image.new('RGB', (20, 8), RED)
    cell = np.asarray(captioned(picture, 'area', (30, 10), 'darkgreen'))
    assert cell.shape == (10 + CAPTION, 30, 3) and (cell[:8, :20] == RED).all()
    assert (cell[8:10] == WHITE).all() and cell[10:].min() < 100
    found = np.asarray(headed(picture, 'A', (2, 1), left=15, top=12))
    assert found.shape == (20, 35, 3) and (found[12:, 15:] == RED).all() and found[:12, :15].min() < 100
    assert np.array_equal(np.asarray(stacked([picture, Image.new('RGB', (20, 3), BLUE)]))[:, 0], [RED] * 8 + [BLUE] * 3)
