"""Table 1 in one command: budgets, finished rows, interrupted runs, and the resulting table."""
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml
from test_runs import assert_same_run

from core.errors import BadInput, RunEnded
from engine.cli import run_command
from extras.drawn_data.dataset import Settings, make_drawing, save
from scripts import draw_demo_data, table1

ROOT = Path(__file__).resolve().parents[1]
BUDGETS = sorted((ROOT / 'configs/table1').glob('*.yaml'))
SETTINGS = {'new_size': 32, 'crop_image_height': 32, 'crop_image_width': 32, 'num_workers': 0, 'deterministic': True,
            'display_size': 1, 'gen': {'dim': 4, 'n_res': 1}, 'dis': {'dim': 4, 'n_layer': 2}}
MUNIT = {'name': 'MUNIT', 'trainer': 'MUNIT', 'config': 'configs/demo_drawn_small.yaml', 'paper': 'MUNIT'}
CYCLEGAN = {'name': 'CycleGAN', 'trainer': 'CycleGAN', 'config': 'configs/demo_drawn_small_cyclegan.yaml',
            'paper': 'CycleGAN'}


def write(folder: Path, **changes) -> Path:
    budget = {'output': str(folder / 'out'), 'data_root': str(folder / 'data'), 'device': 'cpu', 'iterations': 4,
              'points': 2, 'num_inputs': 2, 'sheet_inputs': 2, 'sheet_outputs': 2,
              'draw': '--size 64 --train 4 --test 3 --paired', 'settings': SETTINGS, 'rows': [MUNIT, CYCLEGAN],
              **changes}
    path = folder / 'budget.yaml'
    path.write_text(yaml.safe_dump(budget))
    return path


def refused(capsys, path: Path) -> list[str]:
    with pytest.raises(SystemExit) as exit_info:
        run_command(lambda: table1.main(['--budget', str(path)]))
    assert exit_info.value.code == 2
    return capsys.readouterr().err.splitlines()


# -- budgets --------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('path', BUDGETS, ids=lambda path: path.stem)
def test_the_shipped_budgets_are_sound_and_have_every_row_of_the_paper(path):
    budget, rows = table1.read_budget(path)
    assert {row.paper for row in rows} == set(table1.PAPER) - {'real data'}
    assert all(row.config['data_root'] == budget['data_root'] for row in rows)
    sizes = {(row.config['new_size'], row.config['crop_image_height'], row.config['gen']['dim']) for row in rows}
    assert len(sizes) == 1
    for row in rows:
        off = [key for key in ('recon_x_w', 'recon_c_w', 'recon_s_w') if row.config.get(key) == 0]
        assert off == ([f'{row.name[-7:]}_w'] if 'without' in row.name else [])


@pytest.mark.parametrize('changes, said', [
    ({'iterations': 0}, 'iterations: 0 is not a whole number of at least 1'),
    ({'seeds': 3}, 'seeds: 3 is not a list of whole numbers'),
    ({'rows': []}, 'rows: not a list of rows'),
    ({'speed': 1}, 'speed: unknown key'),
    ({'rows': [{**MUNIT, 'trainer': 'GAN'}]}, "row 1: trainer: 'GAN' is not one of MUNIT, UNIT, CycleGAN"),
    ({'rows': [{**MUNIT, 'paper': 'best'}]}, "row 1: paper: 'best' is not one of UNIT"),
    ({'rows': [{**MUNIT, 'colour': 1}]}, 'row 1: colour: unknown key'),
    ({'rows': [MUNIT, {**CYCLEGAN, 'name': 'munit!'}]}, 'row munit!: two rows would be called munit in file names'),
    ({'rows': [{**MUNIT, 'settings': {'lr': -1}}]}, 'row 1: configs/demo_drawn_small.yaml: lr: -1 is not at least'),
    ({'points': 9}, 'row 1: iterations: 4 are fewer than points 9'),
    ({'a2b': 0, 'rows': [{**CYCLEGAN, 'trainer': 'BicycleGAN'}]}, 'row 1: trainer: BicycleGAN translates from A to B')])
def test_faults_of_a_budget_are_named_before_anything_is_done(tmp_path, capsys, changes, said):
    lines = refused(capsys, write(tmp_path, **changes))
    assert any(line.startswith(f'{tmp_path / "budget.yaml"}: {said}') for line in lines), lines
    assert not (tmp_path / 'data').exists() and not (tmp_path / 'out').exists()


def test_settings_of_a_row_win_over_those_of_the_budget_and_sections_are_merged(tmp_path):
    row = {**MUNIT, 'settings': {'gen': {'n_res': 3}, 'lr': 0.5}, 'iterations': 6}
    _, (found,) = table1.read_budget(write(tmp_path, rows=[row]))
    assert (found.config['gen']['n_res'], found.config['gen']['dim'], found.config['gen']['mlp_dim']) == (3, 4, 64)
    assert (found.config['lr'], found.config['max_iter'], found.config['snapshot_save_iter']) == (0.5, 6, 3)


# -- the command ----------------------------------------------------------------------------------------------------

@pytest.fixture(scope='module')
def done(tmp_path_factory) -> Path:
    """A table of two rows."""
    folder = tmp_path_factory.mktemp('table')
    table1.main(['--budget', str(write(folder))])
    return folder


@pytest.mark.slow
def test_the_table_has_the_papers_rows_and_real_data_last(done):
    table = (done / 'out/table.md').read_text()
    rows = [line for line in table.splitlines() if line.startswith('| ')]
    assert [row.split(' | ')[0].strip('| ') for row in rows[1:]] == ['MUNIT', 'CycleGAN', 'real data']
    assert rows[0].count('|') == rows[1].count('|')
    assert '50.0 / .109' in rows[1] and '50.0 / .175' in rows[1] and '– / .293' in rows[3]
    assert 'What stands in for people' in table and 'one seed, so no spread' in table
    content = json.loads((done / 'out/table.json').read_text())
    assert [row['name'] for row in content['rows']] == ['MUNIT', 'CycleGAN', 'real data']
    for row in content['rows'][:2]:
        folder = done / f'out/evaluation/{row["name"].lower()}_seed0'
        found = json.loads((folder / '00000004/figures.json').read_text())['figures']
        figures = {one['name']: one['model'] for one in found}
        for name in ('content kept', 'pixel diversity', 'colour diversity', 'coverage'):
            assert row['figures'][name] == {'mean': figures[name], 'deviation': None}
        assert sorted(row['along']) == ['2', '4']
    assert any('CycleGAN has under a tenth' in line for line in content['findings'])
    assert (done / 'out' / 'sheet.png').stat().st_size > 1000
    assert (done / 'out' / 'curves.png').exists() == (find_spec('matplotlib') is not None)


@pytest.mark.slow
def test_finished_rows_are_skipped_and_missing_results_created_again(done, capfd):
    before = {path: path.stat().st_mtime_ns for path in (done / 'out').rglob('*.pt')}
    table = (done / 'out/table.md').read_bytes()
    (done / 'out/table.md').unlink()
    (done / 'out/evaluation/munit_seed0/00000002/figures.json').write_text('{"settings": {')   # cut short
    capfd.readouterr()
    table1.main(['--budget', str(done / 'budget.yaml')])
    said = capfd.readouterr().out
    assert 'training' not in said
    assert [line for line in said.splitlines() if line.startswith('evaluating')] == ['evaluating MUNIT, seed 0, step 2']
    assert {path: path.stat().st_mtime_ns for path in (done / 'out').rglob('*.pt')} == before
    assert (done / 'out/table.md').read_bytes() == table


@pytest.mark.slow
def test_other_settings_in_the_same_output_are_refused(done, capsys):
    shutil.copy(done / 'budget.yaml', done / 'kept.yaml')
    try:
        lines = refused(capsys, write(done, iterations=6))
        assert len(lines) == 1 and 'row MUNIT' in lines[0] and '(max_iter, snapshot_save_iter' not in lines[0]
        assert 'max_iter' in lines[0] and 'another output:' in lines[0]
    finally:
        shutil.move(done / 'kept.yaml', done / 'budget.yaml')


@pytest.mark.slow
def test_a_trained_row_is_reused_and_another_row_is_added(done, tmp_path, capfd):
    taken = {**MUNIT, 'name': 'mine', 'paper': '',
             'checkpoint': str(done / 'out/outputs/munit_seed{seed}/checkpoints/gen_00000004.pt')}
    path = write(tmp_path, data_root=str(done / 'data'), rows=[taken, CYCLEGAN], output=str(done / 'out'))
    table1.main(['--budget', str(path)])
    said = capfd.readouterr().out
    assert 'training' not in said and 'evaluating mine, seed 0, step 4' in said
    rows = [line for line in (done / 'out/table.md').read_text().splitlines() if line.startswith('| mine')]
    assert rows[0].endswith('| – / – | – / – |')
    ours, theirs = (json.loads((done / f'out/evaluation/{name}_seed0/00000004/figures.json').read_text())['figures']
                    for name in ('mine', 'munit'))
    assert ours == theirs
    lines = [line.split('|')[1].strip() for line in (done / 'out/table.md').read_text().splitlines()
             if line.startswith('| ') and '**' not in line]
    assert lines[1:] == ['mine', 'CycleGAN', 'real data']
    missing = {**taken, 'checkpoint': 'nowhere.pt'}
    with pytest.raises(BadInput, match='nowhere.pt: no such file'):
        table1.main(['--budget', str(write(tmp_path, data_root=str(done / 'data'), rows=[missing]))])


def begin(folder: Path, data: Path) -> subprocess.Popen:
    path = write(folder, draw='', data_root=str(data), rows=[{**MUNIT, 'name': 'tiny'}], iterations=30, num_inputs=1)
    return subprocess.Popen([sys.executable, 'scripts/table1.py', '--budget', str(path)], cwd=ROOT, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)


def run_folder(folder: Path) -> Path:
    """The output folder, with the run under the name that `assert_same_run` expects."""
    for kind in ('outputs', 'logs'):
        if not (folder / 'out' / kind / 'tiny').exists():
            shutil.copytree(folder / 'out' / kind / 'tiny_seed0', folder / 'out' / kind / 'tiny')
    return folder / 'out'


@pytest.fixture(scope='module')
def uninterrupted(done, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp('whole')
    process = begin(folder, done / 'data')
    _, err = process.communicate(timeout=200)
    assert process.returncode == 0, err
    return folder


@pytest.mark.parametrize('name', ['SIGTERM', 'SIGKILL'])
@pytest.mark.slow
def test_an_interrupted_table_continues_and_equals_an_uninterrupted_one(done, uninterrupted, tmp_path, name):
    process = begin(tmp_path, done / 'data')
    deadline = time.time() + 60
    while not (tmp_path / 'out/outputs/tiny_seed0/checkpoints/optimizer.pt').exists() and time.time() < deadline:
        time.sleep(0.005)
    if name == 'SIGKILL':
        os.killpg(process.pid, signal.SIGKILL)
    else:
        process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == (-signal.SIGKILL if name == 'SIGKILL' else 128 + signal.SIGTERM), err
    assert name == 'SIGKILL' or 'the same command continues from here' in err
    assert not (tmp_path / 'out/table.md').exists()
    process = begin(tmp_path, done / 'data')
    out, err = process.communicate(timeout=200)
    assert process.returncode == 0, err
    assert 'resumed from' in out
    assert (tmp_path / 'out/table.md').read_text() == (uninterrupted / 'out/table.md').read_text()
    assert_same_run(run_folder(tmp_path), run_folder(uninterrupted), 30)


def test_unusable_data_is_refused_before_the_first_row_is_trained(tmp_path, capfd):
    bicycle = {'name': 'BicycleGAN', 'trainer': 'BicycleGAN', 'config': 'configs/demo_drawn_small_bicyclegan.yaml',
               'settings': {'gen': {'enc_dim': 4}}}
    settings = {**SETTINGS, 'gen': {'dim': 4}}
    path = write(tmp_path, draw='--size 64 --train 2 --test 1', rows=[MUNIT, bicycle], settings=settings)
    with pytest.raises(BadInput, match='^row BicycleGAN: data_root: train images of A and B are not pairs'):
        table1.main(['--budget', str(path)])
    assert not (tmp_path / 'out/outputs').exists()


def test_a_command_that_fails_ends_the_table_with_its_reason(tmp_path):
    budget, rows = table1.read_budget(write(tmp_path))
    with pytest.raises(RunEnded, match='evaluate.py ended with status 2: .*nowhere.*: No such file') as error:
        table1.Table(budget, rows).call('evaluate.py', '--config', 'nowhere.yaml', '--checkpoint', 'x', quiet=True)
    assert error.value.status == 2


# -- figures --------------------------------------------------------------------------------------------------------

def evaluation(**figures: float) -> dict:
    return {'figures': [{'name': name.replace('_', ' '), 'model': value, 'real': 9.0}
                        for name, value in figures.items()]}


def rows_with(diversity: dict[str, float]) -> list[dict]:
    return [{'name': name, 'paper': name, 'iterations': 1, 'along': {},
             'figures': table1.over_seeds([evaluation(pixel_diversity=value, content_kept=0.5)])}
            for name, value in diversity.items()]


def test_the_spread_is_the_standard_deviation_over_seeds():
    found = table1.over_seeds([evaluation(content_kept=value, other=1.0) for value in (1.0, 2.0, 6.0)])
    assert found['content kept'].mean == 3 and found['content kept'].deviation == pytest.approx(7 ** 0.5)
    assert table1.over_seeds([evaluation(a=1.0, b=2.0), evaluation(a=3.0)]) == {'a': (2.0, pytest.approx(2 ** 0.5))}
    assert table1.Spread.of([2.5]) == (2.5, None)


def test_the_findings_are_evaluated_correctly_on_the_papers_values():
    found = table1.findings(rows_with({name: 100 * values[3] for name, values in table1.PAPER.items()}))
    said = {line.split(': ', 1)[1].split(' (')[0]: line.split(':')[0] for line in found}
    assert said["CycleGAN has under a tenth of MUNIT's diversity"] == 'yes'
    assert said["UNIT has under a tenth of MUNIT's diversity"] == 'NO'   # .023 of .175
    assert said['dropping the style reconstruction lowers diversity'] == 'yes'
    assert any('pairs of rows stand as in the paper' in line and '; not ' not in line for line in found)


def test_findings_change_with_the_values():
    swapped = {'MUNIT': 1.0, 'MUNIT without recon_s': 2.0, 'CycleGAN': 1.0, 'BicycleGAN': 9.0}
    assert [line.split(':')[0] for line in table1.findings(rows_with(swapped))[:-1]] == ['NO'] * 3
    assert 'not CycleGAN and MUNIT; MUNIT without recon_s and MUNIT' in table1.findings(rows_with(swapped))[-1]
    assert table1.findings(rows_with({'': 3.0})) == []


def test_without_matplotlib_only_the_curves_are_left_out(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, 'matplotlib', None)
    assert table1.draw_curves(rows_with({'MUNIT': 1.0, 'real data': 2.0}), tmp_path / 'curves.png') is False
    assert not (tmp_path / 'curves.png').exists()


# -- drawn pairs ----------------------------------------------------------------------------------------------------

def test_training_pictures_are_drawn_as_pairs_where_that_is_asked_for(tmp_path):
    arguments = ['--size', '64', '--train', '3', '--test', '2']
    assert draw_demo_data.main(['--output', str(tmp_path / 'pairs'), *arguments, '--paired']) == 0
    assert draw_demo_data.main(['--output', str(tmp_path / 'apart'), *arguments]) == 0
    settings = Settings(size=64)
    for i in range(3):
        for folder, splits in (('pairs', ('train', 'train')), ('apart', ('trainA', 'trainB'))):
            edges, picture = (make_drawing(settings, split, i) for split in splits)
            for letter, image in (('A', edges.edges()), ('B', picture.picture())):
                save(image, tmp_path / 'wanted.jpg')
                wanted = (tmp_path / 'wanted.jpg').read_bytes()
                assert (tmp_path / folder / f'train{letter}' / f'{i:05d}.jpg').read_bytes() == wanted
    assert 'paired' not in json.loads((tmp_path / 'apart/drawn.json').read_text())
    assert json.loads((tmp_path / 'pairs/drawn.json').read_text())['paired'] is True
    for name in ('testA/00001.jpg', 'testB/00001.jpg', 'factors_test.json', 'list_trainA.txt'):
        assert (tmp_path / 'pairs' / name).read_bytes() == (tmp_path / 'apart' / name).read_bytes()
    assert draw_demo_data.main(['--output', str(tmp_path / 'apart'), *arguments, '--paired']) == 2   # another set
