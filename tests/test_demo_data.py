"""Tests of the drawn demo data: it is reproducible, its test set is paired, and its factors match the pictures."""

import json

import numpy as np
import pytest
from PIL import Image, ImageDraw

from extras.drawn_data.dataset import FAMILIES, FOLDERS, Settings, factors, make_drawing
from scripts.draw_demo_data import main

SMALL = ['--size', '64', '--train', '3', '--test', '4']


@pytest.fixture(scope='module')
def dataset(tmp_path_factory):
    output = tmp_path_factory.mktemp('drawn') / 'set'
    assert main(['--output', str(output), *SMALL]) == 0
    return output


def contents(folder):
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob('*')) if file.is_file()}


def body_pixels(found, picture):
    """Return the pixels (n, 3) inside the outlines of the body and outside those that cover it."""
    mask = Image.new('L', picture.size, 0)
    draw = ImageDraw.Draw(mask)
    for fill, outlines in ((255, found['body']), (0, found['covered'])):
        for outline in outlines:
            draw.polygon([tuple(point) for point in outline], fill=fill)
    return np.asarray(picture)[np.asarray(mask) > 0]


def test_folders_lists_and_factors_are_consistent(dataset):
    for folder, count in zip(FOLDERS, (3, 3, 4, 4), strict=True):
        names = [f'{i:05d}.jpg' for i in range(count)]
        assert sorted(file.name for file in (dataset / folder).iterdir()) == names
        assert (dataset / f'list_{folder}.txt').read_text().split() == names
        for name in names:
            with Image.open(dataset / folder / name) as image:
                assert (image.mode, image.size) == ('RGB', (64, 64))
    found = json.loads((dataset / 'factors_test.json').read_text())
    assert [entry['file'] for entry in found] == [f'{i:05d}.jpg' for i in range(4)]
    assert all(entry['family'] in FAMILIES[entry['object'] + 's'] for entry in found)


def test_equal_seeds_give_equal_bytes_and_other_seeds_do_not(dataset, tmp_path):
    assert main(['--output', str(tmp_path / 'again'), *SMALL]) == 0
    assert contents(tmp_path / 'again') == contents(dataset)
    assert main(['--output', str(tmp_path / 'other'), *SMALL, '--seed', '1']) == 0
    first, other = contents(dataset), contents(tmp_path / 'other')
    assert all(first[name] != other[name] for name in first if name.endswith('.jpg'))


def test_a_picture_does_not_depend_on_the_number_of_pictures(dataset, tmp_path):
    assert main(['--output', str(tmp_path), '--size', '64', '--train', '1', '--test', '2']) == 0
    few, many = contents(tmp_path), contents(dataset)
    assert all(few[name] == many[name] for name in few if name.endswith('.jpg'))


@pytest.mark.parametrize('size', [64, 128])
def test_line_drawings_are_grey_lines_on_white(size):
    for index in range(10):
        pixels = np.asarray(make_drawing(Settings(size=size), 'trainA', index).edges()).astype(int)
        assert (pixels.max(axis=2) == pixels.min(axis=2)).all()
        assert pixels[0].min() == pixels[-1].min() == 255
        assert 0.03 < (pixels[:, :, 0] < 160).mean() < 0.3


def test_training_sets_are_unpaired_and_test_pairs_show_the_same_object():
    settings = Settings(size=64)
    designs = [make_drawing(settings, split, 0).design for split in ('trainA', 'trainB')]
    assert designs[0].parts[0].points.shape != designs[1].parts[0].points.shape or not np.allclose(
        designs[0].parts[0].points, designs[1].parts[0].points
    )
    for index in range(8):
        drawing = make_drawing(settings, 'test', index)
        boxes = [np.argwhere(np.asarray(image.convert('L')) < 225) for image in (drawing.edges(), drawing.picture())]
        for side in (np.min, np.max):  # both show the object in the same rectangle, except for gaps in lines
            assert np.abs(side(boxes[0], axis=0) - side(boxes[1], axis=0)).max() <= 3


@pytest.mark.parametrize('size', [64, 128])
def test_the_colour_of_plain_bodies_is_that_of_the_factors(size):
    seen = 0
    for index in range(60):
        drawing = make_drawing(Settings(size=size), 'test', index)
        found = factors(drawing, 'x.jpg', 0)
        if found['pattern'] != 'plain':
            continue
        seen += 1
        pixels = body_pixels(found, drawing.picture())
        assert len(pixels) > 0.02 * size * size
        assert np.abs(np.median(pixels, axis=0) - found['colours']['body']).max() < 25, (index, found['family'])
    assert seen > 10


@pytest.mark.parametrize('kind', list(FAMILIES))
def test_every_family_fits_into_the_frame_and_is_visible_on_white(kind, monkeypatch):
    for family, build in FAMILIES[kind].items():
        monkeypatch.setitem(FAMILIES, kind, {family: build})
        for index in range(15):
            drawing = make_drawing(Settings(objects=(kind,), size=64), 'trainB', index)
            points = np.vstack([part.points for part in drawing.design.parts])
            assert points.min() > 0.01 and points.max() < 0.99, (family, index)
            assert 0.7 < np.ptp(points, axis=0).max() < 0.93
        assert (np.asarray(drawing.picture().convert('L')) < 240).mean() > 0.05


def test_a_set_of_one_kind_of_object(tmp_path):
    assert main(['--output', str(tmp_path), *SMALL, '--objects', 'handbags']) == 0
    assert {entry['object'] for entry in json.loads((tmp_path / 'factors_test.json').read_text())} == {'handbag'}


def test_a_complete_set_is_kept_and_a_different_one_is_refused(tmp_path, capsys):
    few = ['--output', str(tmp_path), '--size', '64', '--train', '1', '--test', '1']
    assert main(few) == 0
    before = contents(tmp_path)
    assert main(few) == 0
    assert 'nothing to do' in capsys.readouterr().out
    assert main([*few, '--seed', '5']) == 2
    assert '--overwrite' in capsys.readouterr().err
    assert contents(tmp_path) == before
    assert main([*few, '--seed', '5', '--overwrite']) == 0
    assert contents(tmp_path)['trainA/00000.jpg'] != before['trainA/00000.jpg']


@pytest.mark.parametrize(
    'arguments, words',
    [
        (['--size', '32'], ['--size 32', '64 to 512']),
        (['--train', '-1'], ['--train -1', '0 to']),
        (['--seed', '-3'], ['--seed -3']),
        (['--objects', 'hats'], ['--objects hats', 'shoes, handbags']),
    ],
)
def test_invalid_settings_give_one_line_and_status_2(tmp_path, capsys, arguments, words):
    assert main(['--output', str(tmp_path / 'set'), *arguments]) == 2
    message = capsys.readouterr().err
    assert message.count('\n') == 1 and all(word in message for word in words)
    assert not (tmp_path / 'set').exists()


def test_a_malformed_flag_gives_one_line_and_status_2(tmp_path, capsys):
    with pytest.raises(SystemExit) as exit_info:
        main(['--output', str(tmp_path / 'set'), '--size', 'large'])
    message = capsys.readouterr().err
    assert exit_info.value.code == 2 and message.count('\n') == 1 and '--size' in message and 'large' in message


def test_an_unwritable_output_gives_one_line_and_status_2(tmp_path, capsys):
    (tmp_path / 'file').write_text('in the way')
    assert main(['--output', str(tmp_path / 'file' / 'set'), *SMALL]) == 2
    message = capsys.readouterr().err
    assert message.count('\n') == 1 and '--output' in message
