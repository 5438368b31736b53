"""Problems that users of similar programs have reported in public, listed in docs/reliability.md, one test for each."""
import errno
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
import yaml
from PIL import Image, PngImagePlugin
from test_config import config
from tiny import flags, make_model

import data
from core import distributed
from core.errors import BadInput, say_once
from core.tensorboard_log import Log, scalars
from engine.cli import Parser
from engine.config import check_config, load_config

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope='module')
def translate(tmp_path_factory) -> list[str]:
    """The command that translates an image with a tiny model, without --output_folder."""
    model = make_model(tmp_path_factory.mktemp('model'))
    return [sys.executable, 'test.py', *flags(model, input=model['inputs'] / '0.png', num_style=1)]


# -- output that nobody takes -----------------------------------------------------------------------------------------

@pytest.mark.slow
@pytest.mark.parametrize('closed', ['>&-', '2>&-', '<&- >&- 2>&-'])
def test_closed_streams_do_not_end_a_command(translate, tmp_path, closed):
    command = ['bash', '-c', f'exec "$@" {closed}', 'bash', *translate, '--output_folder', tmp_path / 'out']
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, '')
    assert (tmp_path / 'out' / 'output000.jpg').is_file()


@pytest.mark.slow
@pytest.mark.parametrize('unbuffered', ['', '1'])
def test_a_closed_pipe_is_not_an_error(translate, tmp_path, unbuffered):
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run([*translate, '--output_folder', tmp_path / 'out'], cwd=ROOT, stdout=write, text=True,
                          stderr=subprocess.PIPE, env={**os.environ, 'PYTHONUNBUFFERED': unbuffered})
    os.close(write)
    assert done.stderr == '' and done.returncode == (141 if unbuffered else 0)
    assert (tmp_path / 'out' / 'output000.jpg').is_file()


@pytest.mark.parametrize('closed, status', [('', 141), ('>&-', 0)])
def test_the_same_holds_for_scripts_without_pytorch(tmp_path, closed, status):
    images(tmp_path)
    command = ['bash', '-c', f'exec "$@" {closed}', 'bash', sys.executable, 'scripts/make_sheet.py']
    flags = ['--output', tmp_path / 'sheet.png', '--row', tmp_path / '0.png', tmp_path / '1.png']
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run([*command, *flags], cwd=ROOT, stdout=write, stderr=subprocess.PIPE,
                          env={**os.environ, 'PYTHONUNBUFFERED': '1'})
    os.close(write)
    assert (done.returncode, done.stderr) == (status, b'') and (tmp_path / 'sheet.png').is_file()


def test_the_users_folder_is_known_within_a_flag(monkeypatch):
    monkeypatch.setenv('HOME', '/home/ada')
    parsed = Parser('').parse_args(['--config=~/c.yaml', '--output_path', '~'])
    assert (parsed.config, parsed.output_path) == ('/home/ada/c.yaml', '/home/ada')
    assert Parser('').parse_args(['--config', 'a~b']).config == 'a~b'


def test_a_path_with_spaces_outside_quotes_is_explained(tmp_path, capsys):
    for words, explained in (('Drive/data', True), ('--dataroot', False), (str(tmp_path), False)):
        with pytest.raises(SystemExit):
            Parser('', 'c.yaml').parse_args(['--config', '/content/My', words])
        line, = capsys.readouterr().err.splitlines()
        assert 'unrecognized arguments' in line and ('belongs in quotes' in line) is explained


# -- variables of several processes -----------------------------------------------------------------------------------

def test_empty_variables_are_those_of_one_process(monkeypatch, capsys):
    for name in ('RANK', 'WORLD_SIZE', 'LOCAL_WORLD_SIZE'):
        monkeypatch.setenv(name, '')
    assert (distributed.rank(), distributed.world_size(), distributed.start('auto')) == (0, 1, 'auto')
    assert data.free_memory() > 0
    say_once('said by the first process')
    assert capsys.readouterr().err == 'said by the first process\n'


@pytest.mark.parametrize('variables, words', [
    ({'WORLD_SIZE': '2'}, 'WORLD_SIZE is 2, but RANK and MASTER_ADDR and MASTER_PORT are not set.*torchrun'),
    ({'WORLD_SIZE': '4', 'RANK': '0', 'MASTER_ADDR': 'localhost'}, 'but MASTER_PORT is not set'),
    ({'WORLD_SIZE': 'two'}, "WORLD_SIZE is 'two', not a number"),
])
def test_variables_without_a_launcher_are_one_line(monkeypatch, variables, words):
    for name in (*distributed.VARIABLES, 'WORLD_SIZE'):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(BadInput, match=words):
        distributed.start('cpu')


# -- loader workers ---------------------------------------------------------------------------------------------------

def images(folder: Path) -> data.ImageDataset:
    for i in range(3):
        Image.fromarray(np.full((20, 20, 3), 50 * i, np.uint8)).save(folder / f'{i}.png')
    return data.ImageDataset(sorted(folder.glob('*.png')), 3, data.Transform(16, (16, 16), augment=True))


def test_without_workers_no_shared_memory_is_needed(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.Tensor, 'share_memory_', None)
    batches = data.stream(images(tmp_path), data.EndlessBatches(3, 2, seed=0), num_workers=0)
    assert next(batches).shape == (2, 3, 16, 16)
    batches.close()


@pytest.mark.parametrize('error, words', [
    (RuntimeError('unable to allocate shared memory(shm) for file </torch_1>: No space left on device (28)'),
     'DataLoader worker.*/dev/shm.*--shm-size 1g.*num_workers: 0'),
    (OSError(errno.ENOSPC, 'No space left on device'), '/dev/shm'),
    (RuntimeError('Too many open files. Communication with the workers is no longer possible.'), 'ulimit -n'),
])
def test_what_workers_lack_is_named_with_what_to_do(tmp_path, monkeypatch, error, words):
    def fail(_):
        raise error

    monkeypatch.setattr(torch.Tensor, 'share_memory_', fail)
    with pytest.raises(RuntimeError, match=words) as raised:
        next(data.stream(images(tmp_path), data.EndlessBatches(3, 1, seed=0), num_workers=1))
    assert '\n' not in str(raised.value)


# -- configs ----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('line, words', [
    ('batch_size: 010', 'line 1: 010 would be read as a number to the base 8'),
    ('beta1: 0.5\nlr:0.1\nbeta2: 0.9', "line 2: could not find expected ':' and a space behind it"),
    ('gen:\n\tdim: 4', 'line 2: .*a tab; YAML takes spaces only'),
    (r'data_root: "C:\data"', 'unknown escape .*write paths of Windows with /'),
    ('dis: {norm: no}', r'dis.norm: false \(YAML reads no and off as that\) is not one of none'),
    ('dis: {norm: }', r'dis.norm: nothing \(an empty value, ~ or null\) is not one of none'),
])
def test_traps_of_yaml_are_named(tmp_path, line, words):
    (tmp_path / 'c.yaml').write_text(f'{line}\n')
    with pytest.raises(BadInput, match=words):
        load_config(tmp_path / 'c.yaml')


def test_windows_line_ends_a_mark_and_0_are_no_traps(tmp_path):
    text = yaml.safe_dump(config(recon_x_cyc_w=None)) + 'recon_x_cyc_w: 0\n'
    (tmp_path / 'c.yaml').write_bytes(b'\xef\xbb\xbf' + text.replace('\n', '\r\n').encode())
    assert load_config(tmp_path / 'c.yaml')['recon_x_cyc_w'] == 0


@pytest.mark.parametrize('folders, given, words', [
    (['trainA', 'trainB'], 'trainA', 'the folder above it does'),
    (['train/cat', 'train/dog', 'val'], '.', 'it must contain trainA and trainB, .*; it contains train, val$'),
    (['traina', 'trainb'], '.', 'it contains traina, trainb$'),
    ([], '.', 'it contains no folders$'),
])
def test_another_layout_of_data_is_named(tmp_path, folders, given, words):
    for name in folders:
        (tmp_path / 'data' / name).mkdir(parents=True)
    (tmp_path / 'data').mkdir(exist_ok=True)
    fault, = check_config(config(data_root=str(tmp_path / 'data' / given)), data=True)
    assert re.search(words, fault), fault


def test_a_relative_data_root_says_where_it_was_looked_for(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fault, = check_config(config(data_root='datasets/mine'), data=True)
    assert f'datasets/mine: no such folder in {tmp_path}, where the command was started' in fault


# -- files ------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('channels', [1, 3])
def test_lab_colours_are_read(tmp_path, capsys, channels):
    colour = Image.new('RGB', (8, 8), (200, 60, 30))
    colour.convert('LAB').save(tmp_path / 'lab.tif')
    found = np.asarray(data.read_image(tmp_path / 'lab.tif', channels), int)
    wanted = np.asarray(colour.convert('RGB' if channels == 3 else 'L'), int)
    assert np.abs(found - wanted).max() <= 1 and capsys.readouterr().err == ''


def test_a_file_that_two_sets_have_is_named_once(tmp_path, capfd):
    first = images(tmp_path)
    (tmp_path / '1.png').write_bytes(b'')
    for dataset in (first, data.ImageDataset(first.paths, 3, first.transform)):
        assert [dataset[i].shape for i in range(3)] == [(3, 16, 16)] * 3 and dataset.broken.tolist() == [0, 1, 0]
    assert capfd.readouterr().err.count('skipped') == 1


def test_a_file_without_permission_says_only_that(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(errno.EACCES, 'Permission denied', str(tmp_path / 'a.png'))

    (tmp_path / 'a.png').touch()
    monkeypatch.setattr('PIL.Image.open', refuse)
    with pytest.raises(BadInput, match=r'a.png: cannot be read as an image \(Permission denied\)'):
        data.read_image(tmp_path / 'a.png', 3)


@pytest.mark.parametrize('count, size, read', [(1, 3 * 2 ** 20, True), (80, 2 ** 20, False)])
def test_long_notes_in_a_picture_are_passed_over_up_to_a_bound(tmp_path, count, size, read):
    notes = PngImagePlugin.PngInfo()
    for i in range(count):
        notes.add_text(f'note {i}', 'x' * size, zip=True)
    Image.new('RGB', (8, 8), (200, 60, 30)).save(tmp_path / 'a.png', pnginfo=notes)
    if read:
        assert data.read_image(tmp_path / 'a.png', 3).getpixel((0, 0)) == (200, 60, 30)
        return
    with pytest.raises(BadInput, match='cannot be read as an image'):
        data.read_image(tmp_path / 'a.png', 3)


def test_a_clock_that_is_set_back_hides_no_curve(tmp_path, monkeypatch):
    for times, steps in ((2e9, (1, 2, 3)), (1e9, (4, 5)), (1.5e9, (6,))):
        monkeypatch.setattr('time.time', lambda times=times: times)
        log = Log(tmp_path, steps[0] - 1)
        for step in steps:
            log.add_scalars({'loss': 0.5}, step)
        log.close()
    assert [step for step, _, _ in scalars(tmp_path)] == [1, 2, 3, 4, 5, 6]


@pytest.mark.skipif(not hasattr(signal, 'SIGHUP'), reason='a signal of POSIX')
def test_a_terminal_that_is_closed_does_not_take_the_workers_along(tmp_path):
    before = set(psutil.Process().children())
    batches = data.stream(images(tmp_path), data.EndlessBatches(3, 1, seed=0), num_workers=1)
    next(batches)
    for worker in set(psutil.Process().children()) - before:
        worker.send_signal(signal.SIGHUP)
    assert all(next(batches).shape == (1, 3, 16, 16) for _ in range(30))
    batches.close()
