"""evaluate.py and scripts/train_classifier.py as users call them, and the metrics of known observations."""
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from parity import config_with, filled_trainer
from PIL import Image

import evaluate
import test_batch as test_batch_command
from benchmarks import figures_table
from engine.cli import run_command
from extras.metrics import image_features, own_metrics
from extras.metrics.deep_metrics import load_inception
from extras.metrics.ground_truth import Factors
from extras.metrics.image_features import Palette, lab_of
from extras.metrics.own_metrics import Model, Observations, TestImages, untrained_model
from scripts import draw_demo_data, draw_dirty_twin, halve_checkpoint, train_classifier
from trainer import MUNIT_Trainer, UNIT_Trainer

ROOT = Path(__file__).resolve().parents[1]
CPU = torch.device('cpu')
UNIT = {'recon_kl_w': 0.01, 'recon_kl_cyc_w': 0.01}


@pytest.fixture(scope='module', autouse=True)
def no_network(tmp_path_factory):
    """An empty cache of weights, and no network access to fill it."""
    def refuse(*arguments, **_):
        raise AssertionError(f'something was to be downloaded: {arguments}')

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('TORCH_HOME', str(tmp_path_factory.mktemp('cache')))
        patch.setattr(torch.hub, 'download_url_to_file', refuse)
        patch.setattr('socket.socket.connect', refuse)
        yield


@pytest.fixture(scope='module')
def data(tmp_path_factory) -> Path:
    """A drawn data set of six pairs."""
    output = tmp_path_factory.mktemp('drawn') / 'set'
    assert draw_demo_data.main(['--output', str(output), '--size', '64', '--train', '4', '--test', '6']) == 0
    return output


@pytest.fixture(scope='module')
def run(data, tmp_path_factory) -> dict:
    """Configs and checkpoints of a MUNIT and a UNIT from grey to colour."""
    folder = tmp_path_factory.mktemp('run')
    found = {'data': data}
    for name, trainer, changes in (('MUNIT', MUNIT_Trainer, {}), ('UNIT', UNIT_Trainer, UNIT)):
        config = config_with(input_dim_a=1, data_root=str(data), gen={'n_res': 1}, **changes)
        (folder / f'{name}.yaml').write_text(yaml.safe_dump(config))
        (folder / name).mkdir()
        filled_trainer(trainer, config).save(folder / name, 1)
        found[name], found[f'{name} config'] = folder / f'{name}.yaml', config
        found[f'{name} checkpoint'] = folder / name / 'gen_00000001.pt'
    return found


def arguments(run, out, trainer='MUNIT', **changes) -> list[str]:
    values = {'config': run[trainer], 'checkpoint': run[f'{trainer} checkpoint'], 'trainer': trainer, 'device': 'cpu',
              'output_folder': out, 'num_inputs': 3, **changes}
    return [f'--{key}={value}' for key, value in values.items()]


def complaint(capsys, main, arguments) -> str:
    """The one line that a command puts on stderr before it exits with status 2."""
    with pytest.raises(SystemExit) as exit_info:
        run_command(lambda: main([str(argument) for argument in arguments]))
    lines = capsys.readouterr().err.splitlines()
    assert exit_info.value.code == 2 and len(lines) == 1, lines
    return lines[0]


def measured(run, out, *flags, **changes) -> dict:
    """The content of figures.json after evaluate.py has run in this process, with its entries by name."""
    evaluate.main([*arguments(run, out, **changes), *flags])
    content = json.loads((out / 'figures.json').read_text())
    content['figures'] = {figure['name']: figure for figure in content['figures']}
    return content


# -- the command ------------------------------------------------------------------------------------------------------

def test_evaluating_prints_a_table_and_writes_it_as_json_with_a_sheet(run, tmp_path):
    environment = {**os.environ, 'PYTHONPATH': os.pathsep.join(filter(None, sys.path))}
    process = subprocess.run([sys.executable, str(ROOT / 'evaluate.py'), *arguments(run, tmp_path / 'out')], text=True,
                             capture_output=True, timeout=300, cwd=ROOT, env=environment)
    assert process.returncode == 0, process.stderr
    content = json.loads((tmp_path / 'out' / 'figures.json').read_text())
    names = [figure['name'] for figure in content['figures']]
    assert names == [own.name for own in evaluate.OWN]
    for figure in content['figures']:
        assert figure['protocol'] and figure['resolution'] == '64×64' and figure['seed'] == 0
        assert figure['weights'] == 'none' and figure['backbone'] == 'none'
        line = next(line for line in process.stdout.splitlines() if line.startswith(f'{figure["name"]} '))
        assert f'{figure["model"]:.4f}' in line and f'{figure["untrained"]:.4f}' in line
    assert content['settings']['num_inputs'] == 3 and content['settings']['num_targets'] == 6
    for words in ('LPIPS: left out', 'FID and KID: left out', 'IS and CIS: left out: .*--inception_b'):
        assert re.search(words, process.stdout)
    # A regression on eight style dimensions fits six images exactly.
    assert len(content['left_out']) == 4 and 'fits 6 real test images by chance' in content['left_out'][-1]
    assert 'explained' not in content['style_factors'] and 'explained:' not in process.stdout
    assert torch.tensor(content['style_factors']['correlations']).shape == (8, 9)
    with Image.open(tmp_path / 'out' / 'sheet.png') as sheet:
        assert sheet.size == ((3 + evaluate.SHEET_SAMPLES) * 64, 3 * 64)


def corrupted_copy(data, out) -> Path:
    draw_dirty_twin.main(['--input', str(data / 'testA'), '--output', str(out / 'testA')])
    return out


@pytest.mark.slow
def test_outputs_of_corrupted_inputs_are_compared_with_the_clean_images(run, data, tmp_path, monkeypatch):
    twin = corrupted_copy(data, tmp_path / 'twin')
    content = measured(run, tmp_path / 'out', dirty_root=twin)
    names = [name for name in content['figures'] if name.startswith('dirty: ')]
    assert len(names) == 2 * len(evaluate.DIRTY) and content['settings']['dirty_root'] == str(twin)
    for own in evaluate.DIRTY:
        clean, dirty = content['figures'][own.name]['model'], content['figures'][f'dirty: {own.name}']['model']
        assert content['figures'][f'dirty: {own.name} / clean']['model'] == pytest.approx(dirty / clean)
        assert dirty != clean
    assert (tmp_path / 'out' / 'sheet_dirty.png').exists()
    same = measured(run, tmp_path / 'same', dirty_root=data)['figures']   # copies without corruption
    assert all(same[f'dirty: {own.name} / clean']['model'] == pytest.approx(1) for own in evaluate.DIRTY)


def test_each_test_image_needs_a_corrupted_version(run, data, tmp_path, capsys):
    twin = corrupted_copy(data, tmp_path / 'twin')
    (twin / 'testA' / '00001.jpg').unlink()
    line = complaint(capsys, evaluate.main, arguments(run, tmp_path / 'out', dirty_root=twin))
    assert '00001.jpg is missing' in line and not (tmp_path / 'out').exists()


@pytest.mark.slow
def test_checkpoints_are_compared_in_one_table(run, tmp_path, capsys):
    halved = tmp_path / 'a' / 'b' / 'half.pt'
    halve_checkpoint.main(['--input', str(run['MUNIT checkpoint']), '--output', str(halved)])
    rows = [('whole', run['MUNIT'], run['MUNIT checkpoint']), ('half', run['MUNIT'], halved)]
    call = [str(part) for row in rows for part in ('--row', *row)]
    call += ['--output', str(tmp_path / 'table'), '--work', str(tmp_path / 'work'), '--num_inputs', '3']
    figures_table.main(call)
    capsys.readouterr()
    content = json.loads((tmp_path / 'table.json').read_text())
    assert list(content) == ['whole', 'half', 'real']
    for name in ('content kept', 'reconstruction, target'):   # half precision has no visible effect
        assert content['half'][name] == pytest.approx(content['whole'][name], abs=0.01)
    table = (tmp_path / 'table.md').read_text().splitlines()
    assert len(table) == 5 and table[2].startswith(f"| whole | {content['whole']['content kept']:.2f} |")
    with Image.open(tmp_path / 'table.png') as sheet:
        assert sheet.size == ((3 + evaluate.SHEET_SAMPLES) * 64, 3 * 2 * 64)
    figures_table.main(call)   # evaluated already
    assert 'translating' not in capsys.readouterr().err


def test_only_generators_are_halved(run, tmp_path, capsys):
    path = run['MUNIT checkpoint'].with_name('dis_00000001.pt')
    line = complaint(capsys, halve_checkpoint.main, ['--input', path, '--output', tmp_path / 'half.pt'])
    assert 'this is a discriminator; use gen_XXXXXXXX.pt' in line and not (tmp_path / 'half.pt').exists()


def test_missing_weights_are_a_line_each_that_says_what_and_where(run, tmp_path, capsys):
    pytest.importorskip('lpips')
    pytest.importorskip('torch_fidelity')
    content = measured(run, tmp_path)
    lines = content['left_out']
    assert 'alexnet-owt-7be5be79.pth' in lines[0] and '--alexnet FILE' in lines[0]
    assert 'weights-inception-2015-12-05-6726825d.pth' in lines[1] and '--inception FILE' in lines[1]
    assert all(os.environ['TORCH_HOME'] in line and '\n' not in line for line in lines[:2])
    assert not any('LPIPS' in name or 'FID' in name or 'IS' in name for name in content['figures'])


@pytest.mark.slow
def test_equal_seeds_give_equal_metrics_and_other_seeds_do_not(run, tmp_path):
    one, two, three = (measured(run, tmp_path / name, seed=seed)['figures']
                       for name, seed in (('one', 3), ('two', 3), ('three', 4)))
    assert one == two
    assert one['style code error']['model'] != three['style code error']['model']


@pytest.mark.slow
def test_metrics_do_not_depend_on_the_batch_size(run, tmp_path, monkeypatch):
    together = measured(run, tmp_path / 'together')['figures']
    monkeypatch.setattr(own_metrics, 'PIXELS_HELD', 1)
    alone = measured(run, tmp_path / 'alone')['figures']
    for name, figure in together.items():
        assert alone[name]['model'] == pytest.approx(figure['model'], rel=1e-3, abs=1e-3), name


def test_colours_are_left_out_with_a_message_from_photographs_to_drawings(run, tmp_path):
    content = measured(run, tmp_path, a2b=0)
    assert 'content kept' in content['figures'] and 'style code error' in content['figures']
    assert not any(words in name for name in content['figures'] for words in ('colour', 'pattern', 'coverage'))
    assert any('--a2b 1' in line for line in content['left_out']) and 'style_factors' not in content
    assert content['figures']['content kept']['real'] > 0.5


def test_data_without_true_factors_has_the_metrics_that_do_not_need_them(run, data, tmp_path):
    for folder in ('testA', 'testB'):
        (tmp_path / 'data' / folder).mkdir(parents=True)
        for path in (data / folder).iterdir():
            (tmp_path / 'data' / folder / f'other{path.name}').write_bytes(path.read_bytes())
    content = measured(run, tmp_path / 'out', data_root=tmp_path / 'data')
    assert set(content['figures']) == {own.name for own in evaluate.OWN
                                       if not set(own.needs) & {'sampled', 'guided', 'wanted'}}
    assert content['figures']['content kept']['real'] is None
    assert any('factors_test.json' in line and 'draw_demo_data.py' in line for line in content['left_out'])


def test_unit_has_no_styles_to_measure(run, tmp_path):
    content = measured(run, tmp_path, trainer='UNIT')
    assert 'content kept' in content['figures'] and content['figures']['colour diversity']['model'] == 0
    assert not any('guided' in name or 'style' in name for name in content['figures'])
    assert any('UNIT has no styles' in line for line in content['left_out'])
    with Image.open(tmp_path / 'sheet.png') as sheet:
        assert sheet.size == (2 * 64, 3 * 64)


@pytest.mark.parametrize('changes, words', [
    ({'checkpoint': 'none.pt'}, '--checkpoint none.pt'), ({'num_inputs': 0}, '--num_inputs'),
    ({'data_root': 'no/such'}, '--data_root no/such'), ({'seed': -1}, '--seed'), ({'config': 'none.yaml'}, 'none.yaml'),
    ({'inception_b': 'none.pt'}, '--inception_b none.pt'), ({'device': 'tpu'}, '--device tpu'), ({'a2b': 2}, '--a2b')])
def test_a_users_mistake_is_one_line_and_nothing_is_written(run, tmp_path, capsys, changes, words):
    given = {**dict(argument.lstrip('-').split('=', 1) for argument in arguments(run, tmp_path / 'out')), **changes}
    assert words in complaint(capsys, evaluate.main, [f'--{key}={value}' for key, value in given.items()])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize('flag, library', [('alexnet', 'lpips'), ('inception', 'torch_fidelity')])
def test_a_file_that_the_user_names_must_be_right(run, tmp_path, capsys, flag, library):
    pytest.importorskip(library)
    (tmp_path / 'junk.pth').write_bytes(b'junk')
    for name in ('none.pth', 'junk.pth'):
        line = complaint(capsys, evaluate.main, arguments(run, tmp_path / 'out', **{flag: tmp_path / name}))
        assert f'--{flag}' in line and name in line
    assert not (tmp_path / 'out').exists()


def test_an_output_folder_that_is_a_file_is_refused(run, tmp_path, capsys):
    (tmp_path / 'file').write_text('')
    assert '--output_folder' in complaint(capsys, evaluate.main, arguments(run, tmp_path / 'file'))


# -- LPIPS, FID, IS through evaluate.py -------------------------------------------------------------------------------

def test_lpips_and_fid_with_unpublished_weights_are_marked(run, tmp_path, capsys):
    pytest.importorskip('lpips')
    pytest.importorskip('torch_fidelity')
    from torchvision.models import alexnet
    torch.manual_seed(0)
    torch.save(alexnet(weights=None).state_dict(), tmp_path / 'alexnet.pth')
    content = measured(run, tmp_path / 'out', '--without', 'fid', alexnet=tmp_path / 'alexnet.pth')
    found = {name: figure for name, figure in content['figures'].items() if 'LPIPS' in name}
    assert len(found) == 4
    for name, figure in found.items():
        assert figure['model'] > 0 and figure['real'] > 0
        assert 'NOT the published alexnet-owt-7be5be79.pth' in figure['weights'] and 'AlexNet' in figure['backbone']
        assert ('3 inputs × 19 random pairs' if 'paper' in name else '3 inputs × all 45 pairs') in figure['protocol']
    assert any('--without fid' in line for line in content['left_out'])
    assert 'NOT the published' in capsys.readouterr().out


def test_fid_without_training_images_is_left_out(run, data, tmp_path):
    pytest.importorskip('torch_fidelity')
    for folder in ('testA', 'testB'):
        (tmp_path / folder).mkdir()
        for path in (data / folder).iterdir():
            (tmp_path / folder / path.name).write_bytes(path.read_bytes())
    opts = evaluate.parse_arguments(arguments(run, 'out', data_root=tmp_path, inception=tmp_path / 'any.pth'))
    images = TestImages({**run['MUNIT config'], 'data_root': str(tmp_path)}, True, 3, 0)
    tools, left_out = evaluate.load_tools(opts, images, CPU)
    assert not tools and re.search('FID and KID: left out: .*trainB: no such folder', left_out[1])


class FewFeatures:
    """A stand-in for Inception: the mean colour of an image, and its square."""

    def __init__(self):
        self.seen = []

    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        self.seen += list(pixels)
        colours = image_features.float().expand(-1, -1, -1, 3).mean((1, 2)) / 255
        return torch.cat([colours, colours ** 2], 1)


def test_fid_and_kid_are_of_all_samples_against_train_and_test_pictures(run):
    pytest.importorskip('torch_fidelity')
    opts = evaluate.parse_arguments(arguments(run, 'out'))
    images = TestImages(run['MUNIT config'], True, 3, 0)
    tool = evaluate.Tool(FewFeatures(), 'made up')
    visitor = evaluate.TenOutputs(None, tool)
    model = Model(run['MUNIT config'], run['MUNIT checkpoint'], True, 'MUNIT', CPU)
    own_metrics.observe(model, images, 0, 'test', visitor.visit)
    assert len(tool.network.seen) == 30 and tool.network.seen[0].shape == (64, 64, 3)
    rows = {row.name: row for row in evaluate.fid_rows(tool, visitor, images, opts.seed)}
    assert len(tool.network.seen) == 30 + 6 + 4
    assert set(rows) == {'FID, train set', 'KID, train set', 'FID, test set', 'KID, test set'}
    assert '30 samples against 4 real train' in rows['FID, train set'].protocol
    assert 'subsets of 4.' in rows['KID, train set'].protocol and 'subsets of 6.' in rows['KID, test set'].protocol
    from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
    bytes_of = [torch.stack(tool.network.seen[part]) for part in (slice(0, 30), slice(30, 36))]
    wanted = fid_statistics_to_metric(*(fid_features_to_statistics(FewFeatures()(x).double()) for x in bytes_of), False)
    assert rows['FID, test set'].model == pytest.approx(wanted['frechet_inception_distance'], rel=1e-6)
    with Image.open(images.targets[2]) as picture:   # 64×64, not resized
        assert bytes(tool.network.seen[32].numpy().tobytes()) == picture.convert('RGB').tobytes()


def test_a_trained_classifier_works_in_both_commands(run, data, tmp_path, capsys):
    for name, colour in (('blue', 'navy'), ('red', 'tomato'), ('white', 'white')):
        (tmp_path / 'classes' / name).mkdir(parents=True)
        for i in range(10):
            Image.new('RGB', (40 + i, 36), colour).save(tmp_path / 'classes' / name / f'{i}.png')
    train_classifier.main(['--data', str(tmp_path / 'classes'), '--output', str(tmp_path / 'new' / 'classes.pt'),
                           '--epochs', '15', '--batch_size', '8', '--size', '32', '--device', 'cpu'])
    out = capsys.readouterr().out
    assert '3 classes: blue, red, white' in out
    assert re.search(r'accuracy on 6 held-out pictures: 1.0000 .*0.3333.* trained on 24', out)
    network = load_inception(tmp_path / 'new' / 'classes.pt', '--inception_b')
    assert network.input_size == 32 and network.fc.out_features == 3

    content = measured(run, tmp_path / 'out', inception_b=tmp_path / 'new' / 'classes.pt')['figures']
    assert content['IS, paper']['model'] >= content['CIS, paper']['model'] >= 0
    for name in ('IS', 'CIS'):
        assert content[f'{name}, as the original prints']['model'] == pytest.approx(
            torch.tensor(content[f'{name}, paper']['model']).exp().item())
        assert content[f'{name}, paper']['backbone'] == 'small classifier'
    assert '3 inputs × 100 samples' in content['CIS, paper']['protocol']
    assert '3 classes' in content['IS, paper']['weights']
    test_batch_command.main([
        f'--config={run["MUNIT"]}', f'--checkpoint={run["MUNIT checkpoint"]}', f'--input_folder={data / "testA"}',
        f'--output_folder={tmp_path / "batch"}', f'--inception_b={tmp_path / "new" / "classes.pt"}', '--num_style=2',
        '--compute_IS', '--compute_CIS', '--device=cpu', '--output_only'])
    assert len(re.findall(r'Inception Score: ([\d.]+)$', capsys.readouterr().out, re.M)) == 2


def test_a_classifier_learns_the_classes_that_true_factors_name(data, tmp_path, capsys):
    entries = json.loads((data / 'factors_test.json').read_text())
    for k, entry in enumerate(entries):
        entry['pattern'] = ('even', 'odd')[k % 2]
    (tmp_path / 'factors.json').write_text(json.dumps(entries))
    given = ['--data', data / 'testB', '--factors', tmp_path / 'factors.json', '--output', tmp_path / 'out.pt',
             '--epochs', '1', '--device', 'cpu']
    train_classifier.main([str(value) for value in given])
    assert '2 classes: even, odd' in capsys.readouterr().out
    assert 'label size' in complaint(capsys, train_classifier.main, [*given, '--label', 'size'])


@pytest.mark.parametrize('changes, words', [
    ({'data': 'none'}, '--data none: no such folder'), ({'held_out': 1.5}, '--held_out'), ({'output': '.'}, '--output'),
    ({'network': 'inception'}, 'inception_v3_google-0cc3c7bd.pth'), ({'factors': 'none.json'}, '--factors none.json'),
    ({'size': 5}, '--size'), ({'network': 'inception', 'weights': 'none.pth'}, '--weights none.pth')])
def test_the_classifiers_script_refuses_in_one_line(tmp_path, capsys, changes, words):
    for name in 'ab':
        (tmp_path / 'classes' / name).mkdir(parents=True)
        for i in range(2):
            Image.new('RGB', (32, 32), 'red').save(tmp_path / 'classes' / name / f'{i}.png')
    values = {'data': tmp_path / 'classes', 'output': tmp_path / 'out.pt', 'device': 'cpu', **changes}
    assert words in complaint(capsys, train_classifier.main, [f'--{key}={value}' for key, value in values.items()])
    assert not (tmp_path / 'out.pt').exists()


@pytest.mark.parametrize('counts, words', [((3,), '1 classes are too few'), ((3, 1), 'the class b has 1 images')])
def test_classes_must_be_two_with_two_pictures_each(tmp_path, capsys, counts, words):
    for name, count in zip('ab', counts, strict=False):
        (tmp_path / name).mkdir()
        for i in range(count):
            Image.new('RGB', (32, 32), 'red').save(tmp_path / name / f'{i}.png')
    assert words in complaint(capsys, train_classifier.main, ['--data', tmp_path, '--output', tmp_path / 'out.pt'])


def test_inception_starts_from_the_weights_of_the_file(tmp_path):
    from torchvision.models import inception_v3
    torch.manual_seed(0)
    theirs = inception_v3(weights=None, init_weights=False, transform_input=True)
    torch.save(theirs.state_dict(), tmp_path / 'inception.pth')
    opts = train_classifier.parse_arguments(['--data=x', '--output=x', '--network=inception',
                                             f'--weights={tmp_path / "inception.pth"}'])
    network = train_classifier.make_network(opts, 4)
    assert network.fc.weight.shape == (4, 2048) and network.AuxLogits is None
    state = theirs.state_dict()
    assert all(torch.equal(value, state[key]) for key, value in network.state_dict().items() if key[:3] != 'fc.')
    torch.save(network.state_dict(), tmp_path / 'tuned.pt')
    assert load_inception(tmp_path / 'tuned.pt', '--inception_b').fc.out_features == 4


# -- the figures ------------------------------------------------------------------------------------------------------

def look(lab, pattern='plain') -> tuple[Palette, str]:
    return Palette(torch.tensor([lab, lab], dtype=torch.float32), 1.0), pattern


def wanted(lab, pattern='plain') -> Factors:
    return Factors(64, [], [], torch.tensor(lab, dtype=torch.float32), torch.zeros(3), pattern, False, False)


def test_guided_metrics_compare_with_the_true_colour_and_pattern_of_the_example():
    seen = Observations(guided=[look((50, 3, 4)), look((60, 0, 0), 'dots')],
                        wanted=[wanted((50, 0, 0)), wanted((50, 0, 0))],
                        sampled=[[look((50, 0, 30)), look((50, 0, 0), 'dots')], [look((50, 40, 0)), look((60, 0, 0))]])
    assert own_metrics.colour_error(seen) == pytest.approx((5 + 10) / 2)
    assert own_metrics.colour_error_sampled(seen) == pytest.approx((30 + 0 + 40 + 10) / 4)
    assert own_metrics.colour_error_ratio(seen) == pytest.approx(7.5 / 20)
    assert own_metrics.pattern_agreement(seen) == 0.5
    assert own_metrics.pattern_agreement_sampled(seen) == 0.75


def test_diversity_is_of_the_samples_of_one_input():
    same, other = [look((50, 0, 0))] * 4, [look((50, 0, 0)), look((50, 10, 0), 'dots')]
    assert own_metrics.colour_diversity(Observations(sampled=[same, other])) == pytest.approx((0 + 10) / 2)
    assert own_metrics.pattern_entropy(Observations(sampled=[same, other])) == pytest.approx((0 + 1) / 2)


def test_pixel_diversity_is_of_all_pairs_and_all_pixels():
    pictures = torch.full((3, 3, 4, 4), -1.0)   # black
    pictures[2, :, :2] = 1.0                    # white in half of it: L* 0 and 100
    assert image_features.mean_squared_difference(pictures[:2]) == 0
    assert image_features.mean_squared_difference(pictures[2:]) == 0
    assert image_features.mean_squared_difference(pictures) == pytest.approx((0 + 5000 + 5000) / 3, rel=1e-4)
    assert image_features.mean_squared_difference(pictures[:, :1]) == pytest.approx(10000 / 3, rel=1e-4)   # grey
    assert own_metrics.pixel_diversity(Observations(spread=[1.0, 4.0])) == 2.5


def test_coverage_is_of_a_hundred_samples_spread_over_the_inputs():
    red, grey, green = (50, 60, 1), (50, 0, 0), (50, -60, 1)
    real = Observations(guided=[look(red), look(grey), look(green), look(red)])
    seen = Observations(sampled=[*([look(red)] + [look((10, 0, 0))] * 9 for _ in range(99)),
                                 [look(grey)] + [look(red)] * 9])
    assert own_metrics.coverage(seen, real) == pytest.approx(2 / 3) and own_metrics.outside(seen, real) == 0
    few = Observations(sampled=[[look(red), look((10, 0, 0))]] * 2)   # all there are
    assert own_metrics.coverage(few, real) == pytest.approx(1 / 3) and own_metrics.outside(few, real) == 0.5


def test_codes_found_again_have_no_error_and_correlate():
    styles = torch.randn(40, 8)
    seen = Observations(styles=list(styles.split(10)), found_styles=list(styles.split(10)))
    assert own_metrics.style_recovery(seen) == 0 and own_metrics.style_correlation(seen) == pytest.approx(1)
    seen.found_styles = [-2 * part for part in seen.styles]
    assert own_metrics.style_recovery(seen) == pytest.approx(3 * styles.abs().mean().item(), rel=1e-5)
    assert own_metrics.style_correlation(seen) == pytest.approx(-1)


def test_every_figure_is_defined():
    for own in evaluate.OWN:
        assert len(own.function.__doc__.split()) >= 10
        assert set(own.needs) <= set(vars(Observations()))


@pytest.mark.parametrize('trainer', ['MUNIT', 'UNIT'])
@pytest.mark.parametrize('a2b', [True, False])
def test_a_model_reconstructs_and_encodes_as_its_generators_do(run, trainer, a2b):
    config = run[f'{trainer} config']
    filled = filled_trainer({'MUNIT': MUNIT_Trainer, 'UNIT': UNIT_Trainer}[trainer], config)
    source, target = (filled.gen_a, filled.gen_b) if a2b else (filled.gen_b, filled.gen_a)
    model = Model(config, run[f'{trainer} checkpoint'], a2b, trainer, CPU)
    x, y = (torch.rand(2, channels, 64, 64) * 2 - 1 for channels in ((1, 3) if a2b else (3, 1)))
    with torch.no_grad():
        assert torch.allclose(model.reconstruct(x, of_target=False), source.eval()(x), atol=1e-5)
        assert torch.allclose(model.reconstruct(y, of_target=True), target.eval()(y), atol=1e-5)
        assert torch.allclose(model.content(x), source.encode(x)[0], atol=1e-5)
        assert torch.allclose(model.content(y, of_target=True), target.encode(y)[0], atol=1e-5)


def test_codes_are_those_of_the_samples(run):
    config = run['MUNIT config']
    images = TestImages(config, True, 2, 0)
    model = Model(config, run['MUNIT checkpoint'], True, 'MUNIT', CPU)
    batches = []
    seen = own_metrics.observe(model, images, 5, 'test', lambda *batch: batches.append(batch))
    (_, x, outputs, _), = batches
    generator = torch.Generator().manual_seed(5)
    styles = torch.randn(2, 10, 8, 1, 1, generator=generator)
    assert torch.equal(torch.stack(seen.styles), styles.flatten(2))
    assert all(one is images.factors_of(guide) for one, guide in zip(seen.wanted, images.guides, strict=True))
    filled = filled_trainer(MUNIT_Trainer, config)
    with torch.no_grad():
        content = filled.gen_a.enc_content(x)
        assert torch.allclose(outputs[1], filled.gen_b.decode(content[1:].expand(10, -1, -1, -1), styles[1]), atol=1e-4)
        assert torch.allclose(seen.found_styles[1], filled.gen_b.enc_style(outputs[1]).flatten(1), atol=1e-4)
        again = filled.gen_b.enc_content(outputs[0, :2])
    error = (again - content[:1]).abs().mean() / content[0].abs().mean()
    assert seen.content_error[0] == pytest.approx(error.item(), rel=1e-3)


def test_an_untrained_model_has_the_weights_of_its_seed(run):
    x = torch.rand(1, 1, 64, 64)
    one, two, three = (untrained_model(run['MUNIT config'], True, 'MUNIT', CPU, seed).content(x) for seed in (1, 1, 2))
    assert torch.equal(one, two) and not torch.equal(one, three)


def test_real_pictures_are_their_own_ceiling(run):
    images = TestImages(run['MUNIT config'], True, 6, 0)
    real = own_metrics.real_seen(images, 0)
    assert len(real.f1_sampled) == len(real.guided) == len(real.wanted) == 6
    assert own_metrics.content_kept(real) > 0.7
    assert own_metrics.colour_error(real) < 0.4 * own_metrics.colour_error_sampled(real)
    assert len(real.sampled) == own_metrics.GROUPS_OF_REAL


@pytest.mark.parametrize('seed', range(5))
def test_no_input_is_guided_by_its_own_counterpart(run, seed):
    images = TestImages(run['MUNIT config'], True, 6, seed)
    assert [path.name for path in images.counterparts] == [path.name for path in images.inputs]
    assert all(guide != counterpart for guide, counterpart in zip(images.guides, images.counterparts, strict=True))
    assert all(guide in images.targets for guide in images.guides) and len(set(images.guides)) >= 4


def test_pictures_are_looked_at_within_their_mask():
    picture = torch.ones(3, 64, 64)
    picture[:, 10:40, 10:40] = (torch.tensor([200.0, 30, 30]) / 127.5 - 1)[:, None, None]
    mask = torch.zeros(64, 64, dtype=torch.bool)
    assert own_metrics.look_at(picture, mask) is None
    mask[12:38, 12:38] = True
    found, pattern = own_metrics.look_at(picture, mask)
    assert pattern == 'plain' and torch.allclose(found.main, lab_of((200, 30, 30)), atol=0.01)


def test_batches_hold_no_more_outputs_than_allowed(run, monkeypatch):
    images = TestImages(run['MUNIT config'], True, 6, 0)
    monkeypatch.setattr(own_metrics, 'PIXELS_HELD', 45 * 64 * 64)
    assert [list(batch) for batch in images.batches(10)] == [[0, 1, 2, 3], [4, 5]]
    assert [len(batch) for batch in images.batches(100)] == [1] * 6
