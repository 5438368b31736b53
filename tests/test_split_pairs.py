"""scripts/split_pairs.py: halves, resumption, faults."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

SCRIPT = Path(__file__).resolve().parents[1] / 'scripts' / 'split_pairs.py'
spec = importlib.util.spec_from_file_location('split_pairs', SCRIPT)
split_pairs = importlib.util.module_from_spec(spec)
spec.loader.exec_module(split_pairs)

GREEN, RED = (20, 200, 40), (220, 30, 10)


def write_pair(path, width=16, height=8, left=GREEN, right=RED):
    pixels = np.empty((height, width, 3), np.uint8)
    pixels[:, :width // 2] = left
    pixels[:, width // 2:] = right
    Image.fromarray(pixels).save(path, **({'quality': 95, 'subsampling': 0} if path.suffix == '.jpg' else {}))


def run(folder, *flags):
    return split_pairs.main(['--input', str(folder / 'train'), '--output_a', str(folder / 'trainA'),
                             '--output_b', str(folder / 'trainB'), '--num_workers', '1', *flags])


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def folder(tmp_path):
    (tmp_path / 'train').mkdir()
    return tmp_path


def test_left_half_goes_to_a_and_right_half_to_b(folder):
    write_pair(folder / 'train' / '1_AB.jpg')
    write_pair(folder / 'train' / '2_AB.PNG')
    (folder / 'train' / 'notes.txt').write_text('not an image')
    assert run(folder) == 0
    for half, colour in (('trainA', GREEN), ('trainB', RED)):
        assert names(folder / half) == ['1_AB.jpg', '2_AB.jpg']
        for name in names(folder / half):
            image = Image.open(folder / half / name)
            assert image.size == (8, 8)
            assert np.abs(np.asarray(image, int) - colour).max() <= 3


def test_of_an_odd_width_the_middle_column_goes_to_neither(folder):
    write_pair(folder / 'train' / 'odd.png', width=17)
    assert run(folder) == 0
    assert Image.open(folder / 'trainA' / 'odd.jpg').size == Image.open(folder / 'trainB' / 'odd.jpg').size == (8, 8)


def test_grey_and_transparent_pairs_are_split_too(folder):
    Image.new('L', (16, 8), 90).save(folder / 'train' / 'grey.png')
    Image.new('RGBA', (16, 8), (1, 2, 250, 200)).save(folder / 'train' / 'alpha.png')
    assert run(folder) == 0
    assert Image.open(folder / 'trainA' / 'grey.jpg').mode == 'L'
    assert Image.open(folder / 'trainA' / 'alpha.jpg').mode == 'RGB'


def test_a_second_run_only_does_what_is_missing(folder):
    for name in 'abc':
        write_pair(folder / 'train' / f'{name}.png')
    assert run(folder) == 0
    (folder / 'trainB' / 'b.jpg').unlink()
    (folder / 'trainB' / 'b.jpg.part').write_bytes(b'left by a killed run')
    (folder / 'trainA' / 'a.jpg').write_bytes(b'kept as it is')
    assert run(folder) == 0
    assert (folder / 'trainA' / 'a.jpg').read_bytes() == b'kept as it is'
    assert names(folder / 'trainB') == ['a.jpg', 'b.jpg', 'c.jpg']
    Image.open(folder / 'trainB' / 'b.jpg').load()


def test_a_broken_pair_is_named_and_the_others_are_split(folder, capsys):
    write_pair(folder / 'train' / 'good.png')
    write_pair(folder / 'train' / 'cut.jpg', width=256, height=128)
    whole = (folder / 'train' / 'cut.jpg').read_bytes()
    (folder / 'train' / 'cut.jpg').write_bytes(whole[:len(whole) // 2])
    (folder / 'train' / 'text.jpg').write_text('no image at all')
    assert run(folder) == 2
    error = capsys.readouterr().err
    assert error.count('\n') == 1 and 'cut.jpg' in error and '1 more' in error
    assert names(folder / 'trainA') == names(folder / 'trainB') == ['good.jpg']


def test_a_pair_of_one_pixel_is_named(folder, capsys):
    Image.new('RGB', (1, 8)).save(folder / 'train' / 'thin.png')
    assert run(folder) == 2
    assert 'thin.png is 1 pixel wide' in capsys.readouterr().err


def test_two_pairs_of_one_name_are_refused_before_anything_is_written(folder, capsys):
    write_pair(folder / 'train' / 'x.png')
    write_pair(folder / 'train' / 'x.jpg')
    assert run(folder) == 2
    assert 'x.jpg' in capsys.readouterr().err and not (folder / 'trainA').exists()


@pytest.mark.parametrize('flags, words', [
    (['--quality', '101'], '--quality 101'),
    (['--num_workers', '0'], '--num_workers 0'),
    (['--output_b', 'SAME'], 'must differ'),
    (['--input', 'missing'], '--input missing'),
    ([], 'no images'),
])
def test_bad_arguments_are_one_line_and_status_2(folder, capsys, flags, words):
    flags = [str(folder / 'trainA') if flag == 'SAME' else flag for flag in flags]
    assert run(folder, *flags) == 2
    error = capsys.readouterr().err
    assert words in error and error.count('\n') == 1


def test_the_command_with_several_processes(folder):
    for index in range(5):
        write_pair(folder / 'train' / f'{index}.jpg')
    (folder / 'train' / 'text.jpg').write_text('no image at all')
    command = [sys.executable, str(SCRIPT), '--input', str(folder / 'train'), '--output_a', str(folder / 'trainA'),
               '--output_b', str(folder / 'trainB'), '--num_workers', '2']
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2 and 'text.jpg' in done.stderr and done.stderr.count('\n') == 1
    (folder / 'train' / 'text.jpg').unlink()
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr == ''
    assert names(folder / 'trainA') == names(folder / 'trainB') == [f'{index}.jpg' for index in range(5)]


def halves(folder, name):
    return [np.asarray(Image.open(folder / half / f'{name}.jpg')).astype(int) for half in ('trainA', 'trainB')]


def test_pairs_of_16_bits_keep_their_greys(folder):
    ramp = np.linspace(0, 65535, 32 * 32).reshape(32, 32).astype(np.uint16)
    Image.fromarray(ramp).save(folder / 'train' / 'deep.png')
    assert run(folder) == 0
    left, right = halves(folder, 'deep')
    assert left.shape == (32, 16) and np.abs(np.hstack([left, right]) - ramp / 257).max() <= 4


def test_transparent_pairs_are_composited_on_white(folder):
    Image.new('RGBA', (16, 8), (10, 20, 30, 0)).save(folder / 'train' / 'clear.png')
    assert run(folder) == 0
    assert all(half.min() >= 253 for half in halves(folder, 'clear'))


def test_a_turned_photo_is_cut_as_it_is_shown(folder):
    exif = Image.Exif()
    exif[0x0112] = 6   # shown turned clockwise: what is at the bottom of the file is on the left
    pixels = np.empty((32, 16, 3), np.uint8)
    pixels[16:], pixels[:16] = GREEN, RED
    Image.fromarray(pixels).save(folder / 'train' / 'turned.jpg', exif=exif, quality=95, subsampling=0)
    assert run(folder) == 0
    left, right = halves(folder, 'turned')
    assert left.shape == (16, 16, 3) and np.abs(left - GREEN).max() <= 4 and np.abs(right - RED).max() <= 4


def test_files_that_macos_adds_are_not_pairs(folder, capsys):
    write_pair(folder / 'train' / 'x.png')
    (folder / 'train' / '._x.png').write_bytes(b'resource fork')
    assert run(folder) == 0
    assert names(folder / 'trainA') == ['x.jpg']
    assert 'passed over: 1 hidden file' in capsys.readouterr().err
