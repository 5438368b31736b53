"""scripts/photos_to_outlines.py and scripts/get_shirts.sh: folders, restart, settings, cut-outs, faults."""
import csv
import io
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

pytest.importorskip('skimage')
pytest.importorskip('cv2')

import photos_to_outlines  # noqa: E402

from core.errors import BadInput  # noqa: E402
from extras.outlines import default_line_width, outline  # noqa: E402
from extras.outlines.cut_out import Limits, find_object, lay_on_white, measure  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = ROOT / 'scripts' / 'photos_to_outlines.py'


def shirt(colour=(230, 170, 60), size=160, background=(60, 110, 70)):
    """A photograph of a shirt on a floor, with camera noise."""
    image = Image.new('RGB', (size, size), background)
    body = [(.3, .2), (.7, .2), (.9, .35), (.82, .47), (.7, .42), (.7, .85), (.3, .85), (.3, .42), (.18, .47),
            (.1, .35)]
    ImageDraw.Draw(image).polygon([(x * size, y * size) for x, y in body], fill=colour)
    noise = np.random.default_rng(0).normal(0, 4, (size, size, 3))
    return Image.fromarray(np.clip(np.asarray(image) + noise, 0, 255).astype(np.uint8))


def speck(size=160):
    """A photograph whose object is far from symmetrical: one corner of a cloth."""
    image = Image.new('RGB', (size, size), (60, 110, 70))
    ImageDraw.Draw(image).polygon([(0, 0), (.95 * size, 0), (.3 * size, size), (0, size)], fill=(230, 170, 60))
    return image


def write_photographs(folder, count, make=shirt):
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(count):
        make((230, 150 + 10 * index % 100, 60)).save(folder / f'{index:02}.jpg', quality=95)
    return folder


def run(folder, *flags):
    return photos_to_outlines.main(['--input', str(folder / 'in'), '--output', str(folder / 'out'), '--size', '64',
                                    '--workers', '1', *flags])


def command(*flags, cwd=None):
    return subprocess.run([sys.executable, str(SCRIPT), *map(str, flags)], capture_output=True, text=True, cwd=cwd,
                          env={**os.environ, 'OMP_NUM_THREADS': '1'}, timeout=300)


def names(folder):
    return sorted(path.stem for path in folder.iterdir())


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob('*') if path.is_file()}


# ---------------------------------------------------------------------------------------------------------------------
# Outlines
# ---------------------------------------------------------------------------------------------------------------------

def test_an_outline_is_black_on_white_and_where_the_edge_is():
    image = Image.new('L', (128, 128), 255)
    ImageDraw.Draw(image).rectangle((40, 30, 90, 100), fill=60)
    drawn = outline(image)
    assert drawn.mode == 'L' and drawn.size == (128, 128) and set(np.unique(drawn)) == {0, 255}
    y, x = np.nonzero(np.asarray(drawn) == 0)
    near = np.minimum.reduce([abs(x - 39.5), abs(x - 90.5), abs(y - 29.5), abs(y - 100.5)])
    assert len(x) > 200 and near.max() <= 2.5   # Canny rounds corners


def test_twice_the_size_gives_the_same_lines():
    small, large = (np.asarray(outline(shirt(size=size))) == 0 for size in (128, 256))
    y, x = np.nonzero(small)
    there = [large[max(2 * v - 4, 0):2 * v + 6, max(2 * u - 4, 0):2 * u + 6].any() for v, u in zip(y, x, strict=True)]
    assert np.mean(there) > 0.95
    assert 2.5 < large.sum() / small.sum() < 5.5   # twice as long and twice as wide
    assert [default_line_width(size) for size in (64, 128, 191, 192, 256, 512)] == [1, 1, 1, 2, 2, 4]


def test_min_length_removes_short_lines_and_line_width_widens_them():
    image = Image.new('L', (128, 128), 255)
    draw = ImageDraw.Draw(image)
    draw.rectangle((20, 20, 100, 60), fill=0)
    draw.rectangle((50, 90, 55, 95), fill=0)
    thin, clean, wide = (np.asarray(outline(image, min_length=length, line_width=width)) == 0
                         for length, width in ((0, 1), (60, 1), (60, 3)))
    assert thin[80:].any() and not clean[80:].any() and (clean[:80] == thin[:80]).all()
    assert 2.5 < wide.sum() / clean.sum() < 3.5 and wide[clean].all()


def test_transparency_is_white():
    assert (np.asarray(outline(Image.new('RGBA', (64, 64), (0, 0, 0, 0)))) == 255).all()
    image = Image.new('RGBA', (64, 64), (0, 0, 0, 0))
    image.paste((0, 0, 0, 255), (16, 16, 48, 48))
    assert (np.asarray(outline(image)) == 0).any()


# ---------------------------------------------------------------------------------------------------------------------
# Folders
# ---------------------------------------------------------------------------------------------------------------------

def test_unpaired_halves_share_no_photograph_and_test_photographs_give_both(tmp_path):
    write_photographs(tmp_path / 'in', 10)
    assert run(tmp_path, '--test_share', '0.2') == 0
    a, b, test_a, test_b = (names(tmp_path / 'out' / folder) for folder in photos_to_outlines.FOLDERS)
    assert len(a) == len(b) == 4 and test_a == test_b and len(test_a) == 2
    assert sorted(a + b + test_a) == names(tmp_path / 'in')
    drawing = Image.open(tmp_path / 'out' / 'trainA' / f'{a[0]}.png')
    assert drawing.mode == '1' and drawing.size == (64, 64) and len(set(drawing.tobytes())) > 1
    assert Image.open(tmp_path / 'out' / 'trainB' / f'{b[0]}.jpg').size == (64, 64)


def test_pairs_have_the_same_names_and_fit(tmp_path):
    write_photographs(tmp_path / 'in', 6)
    assert run(tmp_path, '--pairs', '--test_share', '0.5') == 0
    out = tmp_path / 'out'
    assert names(out / 'trainA') == names(out / 'trainB') and names(out / 'testA') == names(out / 'testB')
    assert len(names(out / 'trainA')) == len(names(out / 'testA')) == 3
    name = names(out / 'trainA')[0]
    drawn = np.asarray(outline(Image.open(out / 'trainB' / f'{name}.jpg'))) == 0
    written = ~np.asarray(Image.open(out / 'trainA' / f'{name}.png'))
    assert (drawn & written).sum() / (drawn | written).sum() > 0.8   # JPEG moves a few pixels


def test_train_and_test_of_the_input_stay_separate_and_subfolders_become_names(tmp_path):
    write_photographs(tmp_path / 'in' / 'train' / 'red', 2)
    write_photographs(tmp_path / 'in' / 'train' / 'blue', 2)
    write_photographs(tmp_path / 'in' / 'test', 1)
    assert run(tmp_path, '--pairs') == 0
    assert names(tmp_path / 'out' / 'trainB') == ['blue_00', 'blue_01', 'red_00', 'red_01']
    assert names(tmp_path / 'out' / 'testA') == ['00']


def test_the_split_depends_on_the_seed_only():
    assign = photos_to_outlines.assign_parts
    photographs = [f'{i}' for i in range(101)]
    first = assign(photographs, {}, 1, False, 0.1)
    assert first == assign(photographs, {}, 1, False, 0.1) != assign(photographs, {}, 2, False, 0.1)
    counts = [list(first.values()).count(place) for place in ('test', 'train_a', 'train_b')]
    assert counts[0] == 10 and sorted(counts[1:]) == [45, 46]
    # New photographs do not change the split of the others.
    more = assign([*photographs, *(f'new{i}' for i in range(99))], first, 1, False, 0.1)
    assert more.items() >= first.items() and list(more.values()).count('test') == 20
    assert set(assign(['a'], {}, 0, False, 0.1).values()) <= {'train_a', 'train_b'}


def test_exif_orientation_alpha_and_16_bits(tmp_path):
    (tmp_path / 'in').mkdir()
    image = Image.new('RGB', (120, 80), 'white')
    image.paste('red', (0, 0, 120, 30))
    exif = Image.Exif()
    exif[0x0112] = 6   # rotate by 90° clockwise: the top becomes the right side
    image.save(tmp_path / 'in' / 'turned.jpg', exif=exif, quality=95)
    clear = Image.new('RGBA', (90, 90), (0, 0, 0, 0))
    clear.paste((0, 0, 255, 255), (30, 30, 60, 60))
    clear.save(tmp_path / 'in' / 'clear.png')
    Image.fromarray(np.full((90, 90), 32768, np.uint16)).save(tmp_path / 'in' / 'deep.png')
    assert run(tmp_path, '--pairs', '--test_share', '0') == 0
    turned, clear, deep = (np.asarray(Image.open(tmp_path / 'out' / 'trainB' / f'{name}.jpg'), int)
                           for name in ('turned', 'clear', 'deep'))
    assert turned[32, 60, 1] < 60 and turned[5, 5, 1] > 200
    assert clear[3, 3].min() > 240 and clear[32, 32, 2] > 200 > 60 > clear[32, 32, 0]
    assert abs(deep - 128).max() <= 3


# ---------------------------------------------------------------------------------------------------------------------
# Restart
# ---------------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('flags', [(), ('--cut_out',)], ids=['plain', 'cut_out'])
def test_a_second_run_only_makes_what_is_missing(tmp_path, flags, capsys):
    write_photographs(tmp_path / 'in', 5)
    speck().save(tmp_path / 'in' / 'speck.png')
    assert run(tmp_path, *flags) == 0
    before = contents(tmp_path / 'out')
    victims = [next((tmp_path / 'out' / folder).iterdir()) for folder in ('trainA', 'trainB')]
    for victim in victims:
        victim.unlink()
    kept = sorted((tmp_path / 'out' / 'trainB').iterdir())[0]
    os.utime(kept, (1, 1))
    if flags:   # as after a killed run, which leaves a partial line
        path = tmp_path / 'out' / photos_to_outlines.CSV
        path.write_bytes(path.read_bytes() + b'half,a li')
    capsys.readouterr()
    assert run(tmp_path, *flags) == 0
    assert ', 4 of them done: writing 2' in capsys.readouterr().out
    assert kept.stat().st_mtime == 1
    after = contents(tmp_path / 'out')
    assert after.keys() == before.keys()
    assert all(after[name] == before[name] for name in before if name.name != photos_to_outlines.SHEET)


def test_other_settings_over_an_existing_folder_are_refused(tmp_path):
    write_photographs(tmp_path / 'in', 2)
    assert run(tmp_path) == 0
    before = contents(tmp_path / 'out')
    for flags, words in ((('--sigma', '2'), 'made with --sigma 1.6, not --sigma 2.0'),
                         (('--pairs',), 'made with no --pairs, not --pairs'),
                         (('--seed', '3'), '--seed 0, not --seed 3')):
        with pytest.raises(BadInput, match=words) as caught:
            run(tmp_path, *flags)
        assert '\n' not in str(caught.value) and 'name a new folder' in str(caught.value)
    assert contents(tmp_path / 'out') == before
    (tmp_path / 'out' / 'settings.json').write_text('{"settings": 3}')
    with pytest.raises(BadInput, match='cannot be read'):
        run(tmp_path)
    (tmp_path / 'out' / 'settings.json').unlink()
    with pytest.raises(BadInput, match='this script did not make it'):
        run(tmp_path)


@pytest.mark.slow
def test_several_processes_write_the_same_files(tmp_path):
    write_photographs(tmp_path / 'in', 5)
    speck().save(tmp_path / 'in' / 'speck.png')
    for output, workers in (('one', 1), ('two', 2)):
        done = command('--input', tmp_path / 'in', '--output', tmp_path / output, '--size', 64, '--cut_out',
                       '--workers', workers)
        assert done.returncode == 0 and done.stderr == '', done.stderr
    assert contents(tmp_path / 'one') == contents(tmp_path / 'two')


# ---------------------------------------------------------------------------------------------------------------------
# Cutting out
# ---------------------------------------------------------------------------------------------------------------------

def test_a_shirt_is_cut_out_on_white():
    image = shirt()
    mask = find_object(image)
    measures = measure(mask)
    assert measures.fault(Limits()) == '' and 0.3 < measures.area < 0.4 and measures.symmetry > 0.95
    cut = np.asarray(lay_on_white(image, mask), int)
    assert cut[:15].min() >= 250 and cut[-15:].min() >= 250          # no floor
    assert abs(cut[60:120, 60:100].mean((0, 1)) - (230, 170, 60)).max() < 6


@pytest.mark.parametrize('box, reason', [
    ((80, 80, 100, 100), 'area'), ((0, 0, 192, 192), 'area'), ((2, 2, 100, 190), 'contact')])
def test_reasons(box, reason):
    mask = np.zeros((192, 192), bool)
    mask[box[1]:box[3], box[0]:box[2]] = True
    assert measure(mask).fault(Limits()).startswith(reason)


def test_shapes_that_are_refused():
    y, x = np.mgrid[:192, :192]
    triangle = (x > 20) & (y < 170) & (x - 20 < y - 20)
    assert measure(triangle).fault(Limits()).startswith('symmetry')
    star = np.hypot(x - 96, y - 96) < 50 + 40 * np.cos(7 * np.arctan2(y - 96, x - 96))
    assert measure(star).fault(Limits()).split()[0] in ('solidity', 'outline')
    assert measure(np.zeros((192, 192), bool)).fault(Limits()).startswith('area')


def test_a_bad_cut_out_is_left_out_with_its_reason(tmp_path, capsys):
    write_photographs(tmp_path / 'in', 3)
    speck().save(tmp_path / 'in' / 'speck.png')
    Image.new('RGB', (80, 80), 'grey').save(tmp_path / 'in' / 'plain.png')
    assert run(tmp_path, '--cut_out', '--pairs', '--test_share', '0') == 0
    assert '3 cut-outs kept, 2 refused' in capsys.readouterr().out
    out = tmp_path / 'out'
    assert names(out / 'trainA') == names(out / 'trainB') == ['00', '01', '02']
    rows = {row['name']: row for row in csv.DictReader(io.StringIO((out / 'kept_and_refused.csv').read_text()))}
    assert [rows[name]['kept'] for name in ('00', 'speck', 'plain')] == ['yes', 'no', 'no']
    assert rows['00']['reason'] == '' and all(rows[name]['reason'] for name in ('speck', 'plain'))
    assert names(out / 'refused') == ['train_plain', 'train_speck']
    assert Image.open(out / 'kept_and_refused.png').width > 1000
    # With limits that every cut-out satisfies, it is kept.
    limits = [f'--{name}={100 if name.startswith("max") else 0}' for name in Limits._fields]
    assert photos_to_outlines.main(['--input', str(tmp_path / 'in'), '--output', str(tmp_path / 'all'), '--size', '32',
                                    '--workers', '1', '--cut_out', '--pairs', '--test_share', '0', *limits]) == 0
    assert len(names(tmp_path / 'all' / 'trainB')) == 5


# ---------------------------------------------------------------------------------------------------------------------
# Faults
# ---------------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('flags, words', [
    (['--size', 'big'], ['--size', "'big'", 'at least 16']),
    (['--sigma', '-1'], ['--sigma', "'-1'", 'from 0.1 to 20']),
    (['--low', '0.5'], ['--low', '0.5', '--high 0.14']),
    (['--line_width', '0'], ['--line_width', "'0'", 'at least 1']),
    (['--min_length', '-3'], ['--min_length', "'-3'", 'at least 0']),
    (['--test_share', '1'], ['--test_share', "'1'", '0.9']),
    (['--test_share', 'nan'], ['--test_share', "'nan'"]),
    (['--min_area', '0.9'], ['--min_area', '0.9', '--max_area 0.75']),
    (['--colour', 'red'], ['--colour']),
])
def test_bad_values_are_one_line_and_status_2(tmp_path, capsys, flags, words):
    with pytest.raises(SystemExit) as caught:
        run(tmp_path, *flags)
    error = capsys.readouterr().err
    assert caught.value.code == 2 and error.count('\n') == 1 and all(word in error for word in words), error


@pytest.mark.slow
def test_bad_folders_are_one_line_and_status_2(tmp_path):
    (tmp_path / 'empty').mkdir()
    write_photographs(tmp_path / 'in', 1)
    (tmp_path / 'file').write_text('text')
    for source, target, words in (('missing', 'out', 'no such folder'), ('empty', 'out', 'holds no images'),
                                  ('in', 'in', 'is also --input'), ('in', 'in/out', 'lies inside --input'),
                                  ('in', 'file/out', '--output')):
        done = command('--input', tmp_path / source, '--output', tmp_path / target)
        assert done.returncode == 2 and words in done.stderr and done.stderr.count('\n') == 1, done.stderr
    assert not (tmp_path / 'out').exists()


def test_two_photographs_of_one_name_are_refused(tmp_path):
    write_photographs(tmp_path / 'in', 1)
    shirt().save(tmp_path / 'in' / '00.png')
    with pytest.raises(BadInput, match='rename one of them'):
        run(tmp_path)
    assert not (tmp_path / 'out').exists()


@pytest.mark.slow
def test_a_broken_photograph_is_named_and_the_others_are_written(tmp_path):
    write_photographs(tmp_path / 'in', 3)
    (tmp_path / 'in' / 'text.jpg').write_text('no image at all')
    flags = ('--input', tmp_path / 'in', '--output', tmp_path / 'out', '--size', 32, '--workers', 2, '--pairs',
             '--test_share', 0, '--cut_out')
    done = command(*flags)
    assert done.returncode == 2 and 'text.jpg' in done.stderr and done.stderr.count('\n') == 1, done.stderr
    assert len(names(tmp_path / 'out' / 'trainA')) == 3
    (tmp_path / 'in' / 'text.jpg').unlink()
    done = command(*flags)
    assert done.returncode == 0 and 'writing 0' in done.stdout


def test_a_missing_package_is_one_line(tmp_path, monkeypatch):
    write_photographs(tmp_path / 'in', 1)
    monkeypatch.setitem(sys.modules, 'cv2', None)
    with pytest.raises(BadInput, match='pip install -r requirements/photos.txt'):
        run(tmp_path, '--cut_out')
    assert not (tmp_path / 'out').exists()


# ---------------------------------------------------------------------------------------------------------------------
# get_shirts.sh, and the data set that comes with the project
# ---------------------------------------------------------------------------------------------------------------------

@pytest.fixture
def project(tmp_path):
    """A copy of the files that the script needs. The blank in its path is intentional."""
    for folder in ('scripts', 'core', 'engine', 'extras/outlines'):
        shutil.copytree(ROOT / folder, tmp_path / 'my project' / folder, ignore=shutil.ignore_patterns('__pycache__'))
    for name in ('data.py', 'extras/__init__.py'):
        shutil.copy(ROOT / name, tmp_path / 'my project' / name)
    return tmp_path / 'my project'


def get_shirts(project, *flags, cwd='/', **environment):
    keep = {name: value for name, value in os.environ.items() if name not in ('URL', 'COUNTS', 'PHOTOS', 'SIZE')}
    return subprocess.run(['bash', str(project / 'scripts' / 'get_shirts.sh'), '--workers', '1', *flags], cwd=cwd,
                          env={**keep, 'MUNIT_PYTHON': sys.executable, 'OMP_NUM_THREADS': '1', **environment},
                          capture_output=True, text=True, timeout=300)


bash = pytest.mark.skipif(shutil.which('bash') is None, reason='the script is for bash, which is not installed')


@bash
@pytest.mark.slow
def test_get_shirts_prepares_a_local_folder(project, tmp_path):
    write_photographs(tmp_path / 'mine' / 'train', 3)
    write_photographs(tmp_path / 'mine' / 'test', 1)
    done = get_shirts(project, cwd=str(tmp_path), PHOTOS='mine', SIZE='48')
    assert done.returncode == 0, done.stderr
    out = project / 'datasets' / 'edges2shirts256'
    assert [len(names(out / folder)) for folder in photos_to_outlines.FOLDERS] == [3, 3, 1, 1]
    assert Image.open(out / 'trainB' / '00.jpg').size == (48, 48)
    assert 'writing 0' in get_shirts(project, cwd=str(tmp_path), PHOTOS='mine', SIZE='48').stdout
    done = get_shirts(project, PHOTOS='/no/such')
    assert done.returncode == 2 and done.stderr == ("PHOTOS='/no/such': there is no such folder; name a folder of "
                                                    'photographs, or leave it out\n')


@bash
@pytest.mark.slow
def test_get_shirts_takes_the_shirts_out_of_the_archive_and_counts_them(project):
    buffer = io.BytesIO()
    shirt().save(buffer, 'JPEG')
    (project / 'datasets').mkdir()
    archive = project / 'datasets' / 'clothing_dataset_small.zip'   # as after a finished download
    with zipfile.ZipFile(archive, 'w') as file:
        for index, name in enumerate(('train/t-shirt', 'train/longsleeve', 'train/hat', 'validation/longsleeve',
                                      'validation/hat', 'test/t-shirt', 'test/hat')):
            file.writestr(f'clothing-dataset-small-master/{name}/{index}.jpg', buffer.getvalue())
    done = get_shirts(project, SIZE='32')
    assert done.returncode == 2 and '2 images in train where 1250 are expected' in done.stderr
    assert done.stderr.count('\n') == 1
    for _ in range(2):
        done = get_shirts(project, SIZE='32', COUNTS='2 1 1')
        assert done.returncode == 0, done.stderr
    out = project / 'datasets' / 'edges2shirts256'
    assert names(out / 'trainB') == ['longsleeve_1', 'longsleeve_validation_3', 't-shirt_0']
    assert names(out / 'testA') == names(out / 'testB') == ['t-shirt_5']
    assert sorted(path.name for path in (project / 'datasets').iterdir()) == [
        'clothing_dataset_small', 'clothing_dataset_small.zip', 'edges2shirts256']


def test_the_data_set_that_comes_with_the_project():
    folder = ROOT / 'datasets' / 'edges2shirts'
    assert [len(names(folder / part)) for part in photos_to_outlines.FOLDERS] == [915, 915, 67, 67]
    for split in ('train', 'test'):
        assert names(folder / f'{split}A') == names(folder / f'{split}B')
    files = [path for path in folder.rglob('*') if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 5e6
    assert 'CC0' in (folder / 'LICENSE').read_text() and 'Alexey Grigorev' in (folder / 'README.md').read_text()
    settings = json.loads((folder / 'settings.json').read_text())['settings']
    assert settings['version'] == photos_to_outlines.VERSION
    for path in sorted((folder / 'testA').iterdir())[:3]:
        with Image.open(path) as drawing, Image.open(folder / 'testB' / f'{path.stem}.jpg') as photograph:
            assert drawing.mode == '1' and photograph.mode == 'RGB' and drawing.size == photograph.size == (128, 128)
