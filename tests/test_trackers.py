"""Weights & Biases and MLflow: with stand-ins that record the calls, and with the libraries, where installed."""
import collections
import json
import math
import os
import struct
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml
from parity import config_with
from test_commands import complaint, save_noise
from test_report import TINY

import train as train_command
from core import trackers
from core.tensorboard_log import events, scalars

NOTES = '''
import json, math, os

def note(*what, **named):
    with open(os.environ['TRACKER_NOTES'], 'a') as file:
        file.write(json.dumps([what, named], default=lambda value: list(value.shape)) + '\\n')
'''
WANDB = NOTES + '''
class Image:
    def __init__(self, pixels):
        assert str(pixels.dtype) == 'uint8'
        self.shape = pixels.shape

class Config:
    def update(self, settings, **options):
        note('config', settings, **options)

class Run:
    config = Config()
    def define_metric(self, name, **options):
        note('define', name, **options)
    def log(self, values):
        note('log', values)
        if os.environ.get('TRACKER_FAILS'):
            raise ConnectionError('no network')
    def finish(self, exit_code):
        note('finish', exit_code)

def init(**options):
    if os.environ.get('TRACKER_REFUSES'):
        raise RuntimeError('api_key not configured\\nsee the log')
    note('init', **options)
    return Run()
'''
MLFLOW = NOTES + '''
class Info:
    run_id = 'r1'

class Started:
    info = Info

def set_experiment(name):
    note('experiment', name)

def start_run(run_id=None, run_name=None):
    note('start', run_id, run_name)
    return Started

def log_params(params):
    note('params', params)

def log_metrics(values, step):
    note('metrics', values, step)

def log_image(pixels, key, step):
    assert str(pixels.dtype) == 'uint8'
    note('image', key, step, list(pixels.shape))

def set_tag(name, value):
    note('tag', name, value)

def end_run(status):
    note('end', status)
'''


@pytest.fixture
def noted(tmp_path, monkeypatch):
    """Make the stand-ins importable. Returns a function that gives the calls recorded so far."""
    (tmp_path / 'stand_ins').mkdir()
    for name, text in (('wandb', WANDB), ('mlflow', MLFLOW)):
        (tmp_path / 'stand_ins' / f'{name}.py').write_text(text)
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.syspath_prepend(tmp_path / 'stand_ins')
    monkeypatch.setenv('TRACKER_NOTES', str(tmp_path / 'notes'))
    yield lambda: [json.loads(line) for line in (tmp_path / 'notes').read_text().splitlines()]
    for name in ('wandb', 'mlflow'):
        sys.modules.pop(name, None)


def arguments(folder, *words, **changes):
    for i, part in enumerate(('trainA', 'trainB', 'testA', 'testB')):
        for j in range(2):
            save_noise(folder / 'data' / part / f'{j}.png', (40, 40), seed=10 * i + j)
    config = config_with(**{**TINY, 'image_save_iter': 4, 'image_display_iter': 4, 'data_root': str(folder / 'data'),
                            **changes})
    (folder / 'run.yaml').write_text(yaml.safe_dump(config))
    return [f'--config={folder / "run.yaml"}', f'--output_path={folder}', '--device=cpu', '--seed=1', *words]


def test_wandb_gets_the_values_of_tensorboard_and_a_resumed_run_continues_its_run(tmp_path, noted):
    assert train_command.main(arguments(tmp_path, '--tracker=wandb', '--max_iter=4')) == 0
    assert train_command.main(arguments(tmp_path, '--tracker=wandb', '--resume')) == 0
    notes = noted()
    first, second = (named for (what, *_), named in notes if what == 'init')
    assert first == second and first['resume'] == 'allow' and first['name'] == 'run'
    assert first['dir'] == str(tmp_path / 'outputs' / 'run') and len(first['id']) == 8
    assert json.loads((tmp_path / 'outputs' / 'run' / 'tracker.json').read_text())['id'] == first['id']
    logged = [what[1] for what, _ in notes if what[0] == 'log']
    wanted = {(step, name): value for step, name, value in scalars(tmp_path / 'logs' / 'run')}
    found = {(values['iteration'], name): value for values in logged for name, value in values.items()
             if isinstance(value, float)}
    assert found.keys() == wanted.keys() and len(found) > 50
    assert all(math.isclose(found[key], wanted[key], rel_tol=1e-5, abs_tol=1e-30) for key in found)
    pictures = [(values['iteration'], name) for values in logged for name, value in values.items()
                if isinstance(value, list)]
    assert sorted(pictures) == sorted((event.step, value.tag) for event in events(tmp_path / 'logs' / 'run')
                                      for value in event.summary.value if value.HasField('image'))
    assert ['define', '*'] in [what for what, _ in notes]
    assert [what for what, _ in notes if what[0] == 'finish'] == [['finish', 0]] * 2


def test_mlflow_gets_the_same_values_and_a_new_run_for_each_training(tmp_path, noted):
    assert train_command.main(arguments(tmp_path, tracker='mlflow', max_iter=4)) == 0
    assert train_command.main(arguments(tmp_path, '--resume', tracker='mlflow')) == 0
    assert train_command.main(arguments(tmp_path, tracker='mlflow', max_iter=1)) == 0
    notes = [what for what, _ in noted()]
    assert [what[1:] for what in notes if what[0] == 'start'] == [[None, 'run'], ['r1', None], [None, 'run']]
    assert sum(what[0] == 'params' for what in notes) == 2   # not of the resumed one, whose are there
    params = next(what[1] for what in notes if what[0] == 'params')
    assert params['gen.dim'] == 4 and params['trainer'] == 'MUNIT'
    assert [what[2] for what in notes if what[0] == 'metrics'] == [*range(1, 9), 1]
    assert ['image', 'gen_a2b_test', 8] in [what[:3] for what in notes]
    assert [what for what in notes if what[0] == 'end'] == [['end', 'FINISHED']] * 3


def test_a_failing_tracker_is_reported_once_and_the_run_continues(tmp_path, noted, monkeypatch, capsys):
    monkeypatch.setenv('TRACKER_FAILS', '1')
    assert train_command.main(arguments(tmp_path, '--tracker=wandb', '--max_iter=3')) == 0
    err = capsys.readouterr().err
    assert err.count('tracker wandb: no network; the run continues without it') == 1
    assert sum(what[0] == 'log' for what, _ in noted()) == 1
    assert (tmp_path / 'outputs' / 'run' / 'checkpoints' / 'gen_00000003.pt').exists()


def test_a_tracker_that_cannot_start_ends_the_run_before_anything_is_written(tmp_path, noted, monkeypatch, capsys):
    assert train_command.main(arguments(tmp_path, '--max_iter=1')) == 0
    before = sorted(path.name for path in (tmp_path / 'outputs' / 'run').iterdir())
    monkeypatch.setenv('TRACKER_REFUSES', '1')
    capsys.readouterr()
    line = complaint(capsys, train_command.main, *arguments(tmp_path, '--tracker=wandb', '--max_iter=2'))
    assert line.startswith('tracker wandb: cannot be started (api_key not configured')
    assert sorted(path.name for path in (tmp_path / 'outputs' / 'run').iterdir()) == before


def test_a_tracker_that_is_not_installed_is_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(trackers, 'find_spec', lambda name: None)
    line = complaint(capsys, train_command.main, *arguments(tmp_path, '--tracker=mlflow'))
    assert line.endswith('tracker: mlflow is not installed; pip install -r requirements/track.txt, or tracker: none')
    assert not (tmp_path / 'outputs').exists()


def test_a_damaged_tracker_id_begins_a_new_run(tmp_path, noted):
    (tmp_path / 'tracker.json').write_text('[1]')
    tracker = trackers.start('wandb', tmp_path, 'x', True, print)
    tracker.add_scalars({'a': 1.0, 'b': math.nan, 'c': math.inf}, 3)
    tracker.close(failed=True)
    notes = [what for what, _ in noted()]
    assert ['log', {'a': 1.0, 'iteration': 3}] in notes and ['finish', 1] in notes
    (tmp_path / 'tracker.json').write_text('{"tracker": "mlflow", "id": "r9"}')   # of the other tracker
    trackers.start('wandb', tmp_path, 'x', True, print)
    assert noted()[-3][1]['id'] != 'r9'


# ---------------------------------------------------------------------------------------------------------------------
# With the libraries
# ---------------------------------------------------------------------------------------------------------------------

ROOT = Path(__file__).resolve().parents[1]


def train_and_resume(folder, kind) -> None:
    """Train for 4 iterations and resume until 8 in processes of their own, without a network."""
    if not find_spec(kind):
        pytest.skip(f'{kind} is not installed: requirements/track.txt')
    environment = {**os.environ, 'WANDB_MODE': 'offline', 'OMP_NUM_THREADS': '1'}
    environment.pop('MLFLOW_TRACKING_URI', None)
    for words in (['--max_iter=4'], ['--resume']):
        given = arguments(folder, f'--tracker={kind}', *words)
        result = subprocess.run([sys.executable, ROOT / 'train.py', *given], cwd=folder, env=environment,
                                capture_output=True, text=True, timeout=300)
        assert result.returncode == 0 and 'goes on without it' not in result.stderr, result.stderr


def logged(folder) -> tuple[dict, list]:
    """What TensorBoard has: the scalars by step and name, and step and name of the pictures."""
    pictures = sorted((event.step, value.tag) for event in events(folder / 'logs' / 'run')
                      for value in event.summary.value if value.HasField('image'))
    return {(step, name): value for step, name, value in scalars(folder / 'logs' / 'run')}, pictures


def records(path: Path):
    """The records of a .wandb file: LevelDB's log format, after a header of 7 bytes."""
    from wandb.proto.wandb_internal_pb2 import Record
    content, at, whole = path.read_bytes(), 7, b''
    while at + 7 <= len(content):
        if 32768 - at % 32768 < 7:   # no header fits into the end of a block
            at += 32768 - at % 32768
            continue
        length, part = struct.unpack('<HB', content[at + 4:at + 7])
        whole += content[at + 7:at + 7 + length]
        at += 7 + length
        if part in (1, 4):   # all of a record, or its last part
            yield Record.FromString(whole)
            whole = b''


@pytest.mark.slow
def test_the_offline_folders_of_wandb_hold_the_values_of_tensorboard_in_one_run(tmp_path):
    train_and_resume(tmp_path, 'wandb')
    files = sorted((tmp_path / 'outputs' / 'run' / 'wandb').glob('offline-run-*/run-*.wandb'))
    assert len(files) == 2
    runs, values, pictures = set(), {}, []
    for path in files:
        for record in records(path):
            if record.WhichOneof('record_type') == 'run':
                runs.add((record.run.run_id, record.run.display_name))
            row = collections.defaultdict(dict)
            for item in record.history.item:
                name, *rest = list(item.nested_key) or [item.key]
                row[name]['.'.join(rest)] = json.loads(item.value_json)
            for name, fields in row.items():
                step = row['iteration']['']
                if 'path' in fields:
                    assert (path.parent / 'files' / fields['path']).is_file()
                    pictures.append((step, name))
                elif isinstance(fields[''], float) and not name.startswith('_'):
                    values[step, name] = fields['']
    wanted, wanted_pictures = logged(tmp_path)
    assert runs == {(json.loads((tmp_path / 'outputs' / 'run' / 'tracker.json').read_text())['id'], 'run')}
    assert {step for step, _ in values} == set(range(1, 9))
    found = {key: value for key, value in wanted.items() if value % 1}   # JSON does not tell 0.0 from 0
    assert found.keys() <= values.keys() <= wanted.keys()
    assert all(math.isclose(values[key], wanted[key], rel_tol=1e-5, abs_tol=1e-30) for key in values)
    assert sorted(pictures) == wanted_pictures and len(pictures) == 8


@pytest.mark.slow
def test_the_local_store_of_mlflow_holds_the_values_of_tensorboard_in_one_run(tmp_path):
    train_and_resume(tmp_path, 'mlflow')
    from mlflow import MlflowClient
    store = tmp_path / 'mlflow.db'   # before 3.7, files in the folder mlruns
    client = MlflowClient(f'sqlite:///{store}' if store.exists() else (tmp_path / 'mlruns').as_uri())
    run, = client.search_runs([client.get_experiment_by_name('munit').experiment_id])
    assert run.info.run_id == json.loads((tmp_path / 'outputs' / 'run' / 'tracker.json').read_text())['id']
    assert (run.info.run_name, run.info.status) == ('run', 'FINISHED') and run.data.params['gen.dim'] == '4'
    values = {(each.step, name): each.value for name in run.data.metrics
              for each in client.get_metric_history(run.info.run_id, name)}
    wanted, pictures = logged(tmp_path)
    assert values.keys() == wanted.keys() and {step for step, _ in values} == set(range(1, 9))
    assert all(math.isclose(values[key], wanted[key], rel_tol=1e-5, abs_tol=1e-30) for key in values)
    names = [Path(file.path).name for file in client.list_artifacts(run.info.run_id, 'images')]
    assert sorted((int(step), name) for name, _, step, *_ in (
        each.replace('%', '+').split('+') for each in names if each.endswith('.png'))) == pictures
