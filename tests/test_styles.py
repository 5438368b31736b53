"""scripts/analyze_styles.py: moments, components, the sheet and the map of a folder's styles."""
import json

import analyze_styles
import numpy as np
import pytest
import torch
import yaml
from parity import config_with
from PIL import Image
from test_commands import complaint, save_noise
from tiny import flags, make_model

from engine.config import load_config
from engine.translator import make_translator
from extras.styles import style_space
from utils import to_bytes, to_picture


def test_moments_and_components_are_those_that_the_codes_were_made_with():
    torch.manual_seed(0)
    turn = torch.linalg.qr(torch.randn(4, 4, dtype=torch.float64))[0]
    deviations, mean = torch.tensor([0.1, 3.0, 0.5, 1.5]).double(), torch.tensor([1.0, -2.0, 0.0, 5.0]).double()
    codes = (torch.randn(20_000, 4, dtype=torch.float64) * deviations) @ turn + mean
    space = style_space.measure(codes)
    assert torch.allclose(space.mean, mean, atol=0.1)
    assert torch.allclose(space.deviation, (deviations.square() @ turn.square()).sqrt(), rtol=0.05)
    assert torch.allclose(space.variances.sqrt(), torch.tensor([3.0, 1.5, 0.5, 0.1]).double(), rtol=0.05)
    assert torch.allclose((space.directions @ turn.T).abs(), torch.eye(4).double()[[1, 3, 2, 0]], atol=0.05)
    assert all(direction[direction.abs().argmax()] > 0 for direction in space.directions)
    assert torch.allclose(space.coordinates @ space.directions + space.mean, codes)
    told = style_space.describe_space(space)
    assert sum(component['explained'] for component in told['components']) == pytest.approx(1)
    assert told['components'][0]['explained'] == pytest.approx(9 / 11.51, rel=0.05)
    assert told['mean_length'] == pytest.approx(float(codes.norm(dim=1).mean()))


def test_equal_codes_have_no_variance():
    space = style_space.measure(torch.ones(3, 2))
    assert [component['explained'] for component in style_space.describe_space(space)['components']] == [0, 0]


def test_squares_are_placed_in_order_without_overlap():
    assert style_space.with_room([(0, 0), (5, 5), (10, 0), (-3, -9), (0, -10), (19, 9)], 10) == [0, 2, 4]
    places = np.random.RandomState(0).uniform(0, 300, (400, 2)).tolist()
    kept = style_space.with_room(places, 30)
    gaps = [max(abs(np.subtract(places[i], places[j]))) for i in kept for j in kept if i < j]
    assert min(gaps) >= 30 and len(kept) > 20
    assert all(min(max(abs(np.subtract(places[i], places[j]))) for j in kept if j <= i) < 30 for i in range(400))


@pytest.fixture(scope='module')
def read(tmp_path_factory):
    """A model, a folder of images with a broken file, and the output of the command."""
    folder = tmp_path_factory.mktemp('styles')
    model = make_model(folder)
    for i, colour in enumerate(('red', 'blue', 'white', 'black', 'green')):
        path = folder / 'styles' / 'deep' / f'{i}.png'
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new('RGB', (64, 64), colour).save(path)
    (folder / 'styles' / 'broken.png').write_bytes(b'no image')
    status = analyze_styles.main([*flags(model, style_folder=folder / 'styles', output_folder=folder / 'out'),
                                  '--input', *(str(model['inputs'] / f'{i}.png') for i in range(2))])
    translator = make_translator(load_config(model['config']), model['checkpoint'], True, 'MUNIT', torch.device('cpu'))
    return model, folder, status, translator


def test_the_command_writes_four_files_and_names_what_it_could_not_read(read):
    _, folder, status, _ = read
    assert status == 2
    assert sorted(path.name for path in (folder / 'out').iterdir()) == ['components.png', 'map.json', 'map.png',
                                                                        'styles.json']
    told = json.loads((folder / 'out' / 'styles.json').read_text())
    assert told['images'] == 5 and told['domain'] == 'b' and len(told['numbers']) == len(told['components']) == 8
    assert told['by_chance']['mean'] == pytest.approx(5 ** -0.5)
    variances = [component['variance'] for component in told['components']]
    assert variances == sorted(variances, reverse=True) and variances[0] > 0 and max(variances[4:]) < 1e-9


def test_the_maps_points_lead_back_to_the_codes(read):
    _, folder, _, translator = read
    told = json.loads((folder / 'out' / 'map.json').read_text())
    assert [point['file'] for point in told['points']] == [f'deep/{i}.png' for i in range(5)]
    mean, axes = np.array(told['mean']), np.array(told['axes'])
    rest = 0
    for point in told['points']:
        code = translator.encode_style(translator.read(folder / 'styles' / point['file'], 'b')).flatten().numpy()
        assert np.array_equal(np.array(point['code'], dtype=np.float32), code)
        away = code - (mean + point['x'] * axes[0] + point['y'] * axes[1])
        assert np.abs(axes @ away).max() < 1e-5
        rest += (away ** 2).sum() / 4
    components = json.loads((folder / 'out' / 'styles.json').read_text())['components']
    variances = [component['variance'] for component in components]
    assert rest == pytest.approx(sum(variances[2:]), rel=1e-4)
    assert told['deviations'] == pytest.approx(np.sqrt(variances[:2]))


def test_the_sheet_sweeps_each_component_about_the_mean(read):
    model, folder, _, translator = read
    sheet = np.array(Image.open(folder / 'out' / 'components.png')).astype(int)
    assert sheet.shape == (17 * 68 + 4, 11 * 68 + 4, 3)
    told = json.loads((folder / 'out' / 'styles.json').read_text())
    mean = torch.tensor([number['mean'] for number in told['numbers']])
    for content, component, column, step in ((0, 0, 0, -2), (0, 1, 8, 2), (1, 0, 5, 0.5), (1, 7, 4, 0)):
        about = told['components'][component]
        code = mean + step * about['variance'] ** 0.5 * torch.tensor(about['direction'])
        image = translator.read(model['inputs'] / f'{content}.png', 'a')
        wanted = to_bytes(to_picture(translator.translate(image, code[None, :, None, None])[0])).numpy().astype(int)
        top, left = 4 + 68 * (1 + 8 * content + component), 4 + 68 * (2 + column)
        assert np.abs(sheet[top:top + 64, left:left + 64] - wanted).max() <= 1
        assert np.abs(sheet[4 + 68 * (1 + 8 * content):, 4:68][:64] - to_bytes(to_picture(image[0])).numpy()).max() == 0


def test_the_map_has_the_pictures_where_their_styles_are(read):
    _, folder, _, _ = read
    picture = np.array(Image.open(folder / 'out' / 'map.png')).astype(int)
    assert picture.shape == (1024, 1024, 3)
    told = json.loads((folder / 'out' / 'map.json').read_text())
    found = {}
    for name, colour in (('red', (255, 0, 0)), ('blue', (0, 0, 255)), ('black', (0, 0, 0))):
        rows, columns = np.nonzero((picture == colour).all(2))
        assert len(rows) > 48 * 48 * 0.9
        found[name] = np.array([columns.mean(), -rows.mean()])
    points = {name: np.array([told['points'][i]['x'], told['points'][i]['y']])
              for name, i in (('red', 0), ('blue', 1), ('black', 3))}
    scale = np.linalg.norm(found['red'] - found['blue']) / np.linalg.norm(points['red'] - points['blue'])
    for one, other in (('red', 'blue'), ('blue', 'black')):   # the same scale on both axes, and y pointing up
        assert (found[one] - found[other]) == pytest.approx(scale * (points[one] - points[other]), abs=2)


def test_styles_of_one_number_have_a_map(tmp_path):
    model = make_model(tmp_path, gen={'style_dim': 1})
    for i in range(2):
        save_noise(tmp_path / 'styles' / f'{i}.png', seed=i)
    assert analyze_styles.main(flags(model, style_folder=tmp_path / 'styles', output_folder=tmp_path / 'out',
                                     input=model['inputs'] / '0.png')) == 0
    told = json.loads((tmp_path / 'out' / 'map.json').read_text())
    assert [point['y'] for point in told['points']] == [0, 0]


def test_styles_refuses_in_one_line_and_writes_nothing(read, tmp_path, capsys):
    model = read[0]
    (tmp_path / 'empty').mkdir()
    save_noise(tmp_path / 'one' / '0.png')
    for changes, words in (({'style_folder': tmp_path / 'none'}, 'none: no such folder'),
                           ({'style_folder': tmp_path / 'empty'}, 'empty'),
                           ({'style_folder': tmp_path / 'one'}, 'at least two are required'),
                           ({'style_folder': model['inputs'], 'input': 'none.png'}, 'none.png')):
        arguments = flags(model, **{'input': model['inputs'] / '0.png', 'output_folder': tmp_path / 'out', **changes})
        assert words in complaint(capsys, analyze_styles.main, *arguments)
    unit = config_with(recon_kl_w=0.01, recon_kl_cyc_w=0.01, data_root='nowhere')
    (tmp_path / 'unit.yaml').write_text(yaml.safe_dump(unit))
    arguments = flags({**model, 'config': tmp_path / 'unit.yaml'}, trainer='UNIT', input='x', style_folder='y',
                      output_folder=tmp_path / 'out')
    assert '--trainer UNIT: has no style encoder' in complaint(capsys, analyze_styles.main, *arguments)
    assert not (tmp_path / 'out').exists()
