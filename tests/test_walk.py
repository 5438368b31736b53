"""scripts/interpolate_styles.py: its pictures, frame by frame, and the inputs that it refuses."""
from importlib.util import find_spec

import interpolate_styles as walk_command
import numpy as np
import pytest
import torch
import yaml
from parity import config_with
from PIL import Image
from test_commands import complaint, save_noise
from tiny import flags, make_model

import test as test_command
from core.picture_sheet import GAP
from engine.config import load_config
from engine.style_codes import read_codes, slerp
from engine.translator import make_translator
from extras.styles import animations
from utils import to_bytes, to_picture

CODE = '0.3,-1.2,0,1e-3,2,-0.5,1,0.25'


@pytest.fixture(scope='module')
def model(tmp_path_factory) -> dict:
    return make_model(tmp_path_factory.mktemp('model'))


def arguments(model, folder, *others, **changes) -> list[str]:
    return [*flags(model, output_folder=folder, **changes), '--input', str(model['inputs'] / '0.png'),
            str(model['inputs'] / '1.png'), *map(str, others)]


def cell(picture: np.ndarray, row: int, column: int) -> np.ndarray:
    top, left = (GAP + place * (64 + GAP) for place in (row, column))
    return picture[top:top + 64, left:left + 64].astype(int)


def wanted(model, codes) -> list[list[np.ndarray]]:
    """The cells of the outputs, a row for each of the two inputs."""
    translator = make_translator(load_config(model['config']), model['checkpoint'], True, 'MUNIT', torch.device('cpu'))
    images = [translator.read(model['inputs'] / f'{i}.png', 'a') for i in range(2)]
    return [[to_bytes(to_picture(output)).numpy().astype(int) for output in translator.translate(image, codes)]
            for image in images]


def near(one: np.ndarray, other: np.ndarray, room: float = 1) -> bool:
    return one.shape == other.shape and np.abs(one - other).max() <= room


def test_an_interpolation_is_a_sheet_and_animations_of_codes_by_slerp(model, tmp_path, capsys):
    walk_command.main(arguments(model, tmp_path, '--interpolate', 3, CODE, '--steps', 4, '--fps', 5))
    codes = read_codes(tmp_path / 'styles.txt', 8, '')
    first = torch.randn(1, 8, 1, 1, generator=torch.Generator().manual_seed(3))
    last = read_codes(CODE, 8, '')
    assert torch.equal(codes, torch.cat([slerp(first, last, i / 3) for i in range(4)]))
    outputs = wanted(model, codes)
    sheet = np.array(Image.open(tmp_path / 'walk.png'))
    assert sheet.shape == (3 * 68 + 4, 5 * 68 + 4, 3)
    assert cell(sheet, 0, 1).min() < 200 and cell(sheet, 0, 4).min() < 200     # words
    assert all((cell(sheet, 0, column) == 255).all() for column in (0, 2, 3))
    for row in (0, 1):
        assert near(cell(sheet, 1 + row, 0), np.array(Image.open(model['inputs'] / f'{row}.png')).astype(int))
        assert all(near(cell(sheet, 1 + row, 1 + i), outputs[row][i]) for i in range(4))
    with Image.open(tmp_path / 'walk.webp') as webp, Image.open(tmp_path / 'walk.gif') as gif:
        assert webp.n_frames == gif.n_frames == 6 and webp.info['loop'] == gif.info['loop'] == 0
        assert gif.info['duration'] == 200
        for animation in (webp, gif):
            for frame, i in enumerate((0, 1, 2, 3, 2, 1)):   # there and back
                animation.seek(frame)
                picture = np.array(animation.convert('RGB'))
                assert picture.shape == (72, 140, 3)
                away = [np.abs(cell(picture, 0, 1) - outputs[1][j]).mean() for j in range(4)]
                assert min(away) == away[i] < 40, away   # lossy compression loses much of noise
    assert ('walk.mp4' in capsys.readouterr().out.split('wrote')[1].split('\n')[0]) == (
        find_spec('av') is not None)


def test_a_seed_is_the_style_that_test_py_samples(model, tmp_path):
    walk_command.main(arguments(model, tmp_path, '--grid', 5, 0))
    test_command.main(flags(model, input=model['inputs'] / '0.png', output_folder=tmp_path / 'out', num_style=1, seed=5,
                            save_styles=tmp_path / 'one.txt'))
    assert (tmp_path / 'styles.txt').read_text().splitlines()[0] == (tmp_path / 'one.txt').read_text().strip()


def test_the_sheet_of_a_long_walk_shows_twelve_steps_with_both_ends(model, tmp_path):
    walk_command.main(flags(model, output_folder=tmp_path, input=model['inputs'] / '0.png', steps=15) +
                      ['--interpolate', '1', '2'])
    sheet = np.array(Image.open(tmp_path / 'walk.png'))
    assert sheet.shape[1] == 13 * 68 + 4
    outputs = wanted(model, read_codes(tmp_path / 'styles.txt', 8, ''))[0]
    assert len(outputs) == 15
    assert near(cell(sheet, 1, 1), outputs[0]) and near(cell(sheet, 1, 12), outputs[14])


def test_a_grid_has_the_inputs_at_the_left_and_the_styles_on_top(model, tmp_path):
    (tmp_path / 'two.txt').write_text(f'{CODE}\n{CODE.replace("2,-0.5", "-2,0.5")}\n')
    save_noise(tmp_path / 'wide.png', (80, 64), seed=9)
    styles = [tmp_path / 'wide.png', 7, tmp_path / 'two.txt', '-1,0,0,0,0,0,0,0']
    walk_command.main(arguments(model, tmp_path / 'out', '--grid', *styles))
    sheet = np.array(Image.open(tmp_path / 'out' / 'grid.png'))
    assert sheet.shape == (3 * 68 + 4, 6 * 84 + 4, 3)          # the wide image makes all cells wide
    places = [[sheet[4 + 68 * row:68 + 68 * row, 4 + 84 * column:84 + 84 * column].astype(int)
               for column in range(6)] for row in range(3)]
    assert (places[0][0] == 255).all()
    assert near(places[0][1], np.array(Image.open(tmp_path / 'wide.png')).astype(int))
    assert all(places[0][column].min() < 200 for column in range(2, 6))
    codes = read_codes(tmp_path / 'out' / 'styles.txt', 8, '')
    assert codes.shape == (5, 8, 1, 1) and torch.equal(codes[2:3], read_codes(CODE, 8, ''))
    for row, outputs in enumerate(wanted(model, codes)):
        for column, output in enumerate(outputs):
            assert near(places[1 + row][1 + column][:, 8:72], output)
            assert (places[1 + row][1 + column][:, :8] == 255).all()


def test_the_style_of_a_picture_is_that_of_the_target_domains_encoder(model, tmp_path):
    walk_command.main(arguments(model, tmp_path, '--grid', model['inputs'] / '1.png'))
    test_command.main(flags(model, input=model['inputs'] / '0.png', output_folder=tmp_path / 'out',
                            style=model['inputs'] / '1.png', save_styles=tmp_path / 'one.txt'))
    assert (tmp_path / 'styles.txt').read_text() == (tmp_path / 'one.txt').read_text()


def test_an_animation_has_the_frames_of_the_interpolation(tmp_path):
    av = pytest.importorskip('av')
    frames = [Image.new('RGB', (40, 33), (value, value, value)) for value in (0, 60, 120, 180, 240)]
    written, missing = animations.write_animations(frames, tmp_path, 'walk', 10)
    assert 'walk.mp4' in written and not missing
    with av.open(str(tmp_path / 'walk.mp4')) as film:
        assert film.streams.video[0].average_rate == 10
        seen = [frame.to_ndarray(format='rgb24') for frame in film.decode(video=0)]
    assert [frame.shape for frame in seen] == [(34, 40, 3)] * 5
    assert [frame[:32].mean() for frame in seen] == pytest.approx([0, 60, 120, 180, 240], abs=6)
    assert sorted(path.name for path in tmp_path.iterdir()) == ['walk.gif', 'walk.mp4', 'walk.webp']


def test_a_missing_encoder_is_one_line_and_the_other_formats_are_written(tmp_path, monkeypatch):
    monkeypatch.setattr(animations, 'find_spec', lambda name: None)
    frames = [Image.new('RGB', (8, 8), (value, value, value)) for value in (0, 255)]
    written, missing = animations.write_animations(frames, tmp_path, 'walk', 10)
    assert written == ['walk.webp', 'walk.gif']
    assert missing == [f'{tmp_path}/walk.mp4: not written; PyAV is not installed: '
                       f'pip install -r requirements/demo.txt']


def test_an_animation_that_cannot_be_written_is_one_line_and_leaves_nothing(model, tmp_path, capsys):
    (tmp_path / 'walk.gif').mkdir()
    line = complaint(capsys, walk_command.main, *arguments(model, tmp_path, '--interpolate', 1, 2, '--steps', 2))
    assert 'walk.gif: cannot be written' in line
    assert not list(tmp_path.glob('*.part*'))


@pytest.mark.parametrize('others, words', [
    ([], '--interpolate --grid'),
    (['--interpolate', '1'], '--interpolate'),
    (['--interpolate', '1', '2', '--grid', '1'], 'not allowed with'),
    (['--interpolate', '1', '2', '--steps', '1'], '--steps'),
    (['--interpolate', '1', 'none.png'], '--interpolate none.png: no such file'),
    (['--interpolate', '1', '1,2'], '--interpolate 1,2: has 2 numbers'),
    (['--interpolate', '1', 'TWO'], 'contains 2 codes'),
    (['--grid', '9' * 40], 'a seed has at most 63 bits'),
    (['--grid', __file__], 'test_walk.py'),
])
def test_walk_refuses_in_one_line_and_writes_nothing(model, tmp_path, capsys, others, words):
    (tmp_path / 'two.txt').write_text(f'{CODE}\n{CODE}\n')
    others = [str(tmp_path / 'two.txt') if word == 'TWO' else word for word in others]
    assert words in complaint(capsys, walk_command.main, *arguments(model, tmp_path / 'out', *others))
    assert not (tmp_path / 'out').exists()


def test_a_method_without_styles_has_no_walk(model, tmp_path, capsys):
    unit = config_with(recon_kl_w=0.01, recon_kl_cyc_w=0.01, data_root='nowhere')
    (tmp_path / 'unit.yaml').write_text(yaml.safe_dump(unit))
    given = arguments({**model, 'config': tmp_path / 'unit.yaml'}, tmp_path / 'out', '--grid', 1, trainer='UNIT')
    assert '--trainer UNIT: has no style codes' in complaint(capsys, walk_command.main, *given)


