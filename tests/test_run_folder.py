"""A run in the folder of an earlier one: its files, a changed config, and a finished run."""
import hashlib
import json
import shutil
from pathlib import Path

import pytest
import yaml
from parity import config_with
from test_commands import complaint, save_noise

import train as train_command
from core import trackers
from core.tensorboard_log import scalars
from engine.run_page.page import read_data

TINY = {'batch_size': 1, 'new_size': 36, 'crop_image_height': 32, 'crop_image_width': 32, 'display_size': 1,
        'log_iter': 1, 'image_save_iter': 1, 'image_display_iter': 1, 'snapshot_save_iter': 2, 'max_iter': 2,
        'gen': {'dim': 4, 'n_res': 1, 'mlp_dim': 4}, 'dis': {'dim': 4, 'n_layer': 2, 'num_scales': 2}}


@pytest.fixture(scope='module')
def data(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp('data')
    for folder in ('trainA', 'trainB', 'testA', 'testB'):
        for i in range(2):
            save_noise(root / folder / f'{i}.png', (40, 40), seed=i)
    return root


def write_config(folder: Path, data: Path, **changes) -> Path:
    (folder / 'tiny.yaml').write_text(yaml.safe_dump(config_with(**{**TINY, 'data_root': str(data), **changes})))
    return folder / 'tiny.yaml'


def train(folder: Path, data: Path, *arguments, **changes) -> int:
    return train_command.main(words(folder, write_config(folder, data, **changes), *arguments))


def words(folder: Path, config: Path, *arguments) -> list[str]:
    return ['--config', str(config), '--output_path', str(folder), '--device', 'cpu', '--seed', '1', *arguments]


def hashes(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(folder.rglob('*')) if path.is_file() and path.name != '.lock'}


# -- a new run of the same name ---------------------------------------------------------------------------------------

def test_all_files_of_an_earlier_run_are_moved_aside_together(data, tmp_path, capsys):
    assert train(tmp_path, data, max_iter=3, lr=0.0002) == 0
    folder, logs = tmp_path / 'outputs/tiny', tmp_path / 'logs/tiny'
    (folder / 'mine.txt').write_text('notes')
    (folder / 'tracker.json').write_text('{"id": "earlier"}')
    before, log_before = hashes(folder), hashes(logs)
    capsys.readouterr()
    assert train(tmp_path, data, max_iter=1) == 0
    assert capsys.readouterr().err.splitlines()[0] == (
        f'{folder} contained an earlier run up to step 3: its snapshots, pictures, config, page and log were moved '
        f'to {folder}/earlier_1; use --resume to continue a run instead')
    aside = hashes(folder / 'earlier_1')
    assert {name: value for name, value in aside.items() if not name.startswith('logs/')} == {
        name: value for name, value in before.items() if name != 'mine.txt'}
    assert {name: aside[f'logs/{name}'] for name in log_before} == log_before
    assert yaml.safe_load((folder / 'earlier_1/config.yaml').read_text())['lr'] == 0.0002
    assert yaml.safe_load((folder / 'config.yaml').read_text())['lr'] == 0.0001
    assert all(folder / 'earlier_1' in path.parents for path in folder.rglob('*0000000[23]*'))
    assert (folder / 'mine.txt').read_text() == 'notes' and not (folder / 'tracker.json').exists()
    assert {step for step, _, _ in scalars(logs)} == {1} and {step for step, _, _ in scalars(
        folder / 'earlier_1/logs')} == {1, 2, 3}
    assert read_data(folder / 'earlier_1')['step'] == 3
    assert train(tmp_path, data, max_iter=1) == 0
    assert hashes(folder / 'earlier_1') == aside and (folder / 'earlier_2/images').is_dir()


def test_pictures_without_a_run_are_moved_aside_too(data, tmp_path, capsys):
    assert train(tmp_path, data) == 0
    folder = tmp_path / 'outputs/tiny'
    for path in (folder / 'checkpoints').iterdir():
        path.unlink()
    assert train(tmp_path, data, max_iter=1) == 0
    assert f'{folder} contained an earlier run: its snapshots' in capsys.readouterr().err
    assert (folder / 'earlier_1/images/gen_a2b_test_00000002.jpg').exists()


def test_first_and_resumed_runs_move_nothing_aside(data, tmp_path):
    assert train(tmp_path, data) == 0 and train(tmp_path, data, '--resume', max_iter=3) == 0
    assert not list((tmp_path / 'outputs/tiny').glob('earlier_*'))


def test_a_config_in_the_folder_itself_is_kept_where_it_is(data, tmp_path):
    assert train(tmp_path, data) == 0
    config = tmp_path / 'outputs/config/config.yaml'
    config.parent.mkdir()
    (tmp_path / 'outputs/tiny/config.yaml').rename(config)
    for _ in range(2):
        assert train_command.main(words(tmp_path, config)) == 0
    assert config.read_bytes() == (config.parent / 'earlier_1/config.yaml').read_bytes()


def test_the_tracker_of_the_new_run_stays(data, tmp_path, monkeypatch):
    assert train(tmp_path, data) == 0
    folder = tmp_path / 'outputs/tiny'
    (folder / 'tracker.json').write_text('{"id": "earlier"}')

    def begun(kind, folder, *_):
        (folder / 'tracker.json').write_text('{"id": "new"}')
        return trackers.Tracker()

    monkeypatch.setattr(trackers, 'start', begun)
    assert train(tmp_path, data) == 0
    ids = [json.loads((place / 'tracker.json').read_text())['id'] for place in (folder, folder / 'earlier_1')]
    assert ids == ['new', 'earlier']


def test_files_that_cannot_be_moved_aside_are_one_line(data, tmp_path, capsys, monkeypatch):
    assert train(tmp_path, data) == 0
    before = hashes(tmp_path / 'outputs/tiny')
    capsys.readouterr()

    def refused(*_):
        raise PermissionError(13, 'Permission denied')

    monkeypatch.setattr(shutil, 'move', refused)   # of the log, after the rest
    line = complaint(capsys, train_command.main, *words(tmp_path, tmp_path / 'tiny.yaml'))
    assert line == (f'--output_path: the files of an earlier run in {tmp_path}/outputs/tiny cannot be moved to '
                    f'earlier_1 (Permission denied); move them, or give another folder')
    assert hashes(tmp_path / 'outputs/tiny') == before


# -- going on with another config -------------------------------------------------------------------------------------

def test_changes_of_the_config_are_reported(data, tmp_path, capsys):
    assert train(tmp_path, data) == 0
    capsys.readouterr()
    assert train(tmp_path, data, '--resume', '--max_iter=3', lr=0.0002, ema_decay=0.9, gan_w=2, gen={
        **TINY['gen'], 'pad_type': 'zero'}) == 0
    line, = [line for line in capsys.readouterr().err.splitlines() if line.startswith('--resume: the config has')]
    said = line.removeprefix('--resume: the config has changed since the run was last started: ').split('; ')
    assert sorted(said) == ['ema_decay was 0.0 and is 0.9', 'gan_w was 1.0 and is 2.0',
                            'gen.pad_type was reflect and is zero', 'lr was 0.0001 and is 0.0002',
                            'max_iter was 2 and is 3']
    assert train(tmp_path, data, '--resume', '--max_iter=3', lr=0.0002, ema_decay=0.9, gan_w=2, gen={
        **TINY['gen'], 'pad_type': 'zero'}) == 0
    assert 'the config' not in capsys.readouterr().err


@pytest.mark.parametrize('content, words', [
    ('lr: [', 'cannot compare the config with'), ('', 'cannot compare the config with'), (None, '')])
def test_a_damaged_or_missing_copy_of_the_config_does_not_stop_the_run(data, tmp_path, capsys, content, words):
    assert train(tmp_path, data) == 0
    kept = tmp_path / 'outputs/tiny/config.yaml'
    kept.unlink() if content is None else kept.write_text(content)
    capsys.readouterr()
    assert train(tmp_path, data, '--resume', max_iter=3) == 0
    err = capsys.readouterr().err
    assert words in err and ('--resume' in err) == bool(words)
    assert kept.exists()


# -- past the end -----------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('max_iter', [1, 2, 3])
def test_resuming_a_finished_run_says_that_nothing_is_left_to_do(data, tmp_path, capsys, max_iter):
    assert train(tmp_path, data, max_iter=3) == 0
    before, logs = hashes(tmp_path / 'outputs'), hashes(tmp_path / 'logs')
    capsys.readouterr()
    assert train(tmp_path, data, '--resume', f'--max_iter={max_iter}', max_iter=3) == 0
    out, err = capsys.readouterr()
    assert (f'{tmp_path}/outputs/tiny is at step 3, and max_iter is {max_iter}: nothing to do; to continue, raise '
            f'max_iter') in out
    assert ', iterations' not in out and '/?' not in err
    if max_iter < 3:
        assert (hashes(tmp_path / 'outputs'), hashes(tmp_path / 'logs')) == (before, logs) and not err
    else:
        assert 'finished 3 iterations' in out
