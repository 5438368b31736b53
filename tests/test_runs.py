"""Runs that are stopped, killed, short of memory or disk, or distributed: all of them resume exactly."""
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
import yaml
from parity import config_with
from PIL import Image

from core.errors import BadInput
from core.tensorboard_log import Log, scalars, truncate_after
from engine.run_folder import RunFolder

pytestmark = pytest.mark.slow   # they train, most of them in separate processes

ROOT = Path(__file__).resolve().parents[1]
TINY = {'batch_size': 1, 'new_size': 36, 'crop_image_height': 32, 'crop_image_width': 32, 'display_size': 2,
        'log_iter': 1, 'image_save_iter': 5, 'image_display_iter': 2, 'snapshot_save_iter': 4, 'deterministic': True,
        'gen': {'dim': 4, 'n_res': 1}, 'dis': {'dim': 4, 'n_layer': 2, 'num_scales': 2}}
UNIT = {'recon_kl_w': 0.01, 'recon_kl_cyc_w': 0.01, 'recon_x_cyc_w': 10}


@pytest.fixture(scope='module')
def data(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp('data')
    for i, folder in enumerate(('trainA', 'trainB', 'testA', 'testB')):
        (root / folder).mkdir()
        for j in range(5 + i):
            values = np.random.RandomState(10 * i + j).randint(0, 256, (40, 44, 3), dtype=np.uint8)
            Image.fromarray(values).save(root / folder / f'{j}.png')
    return root


def write_config(folder: Path, data: Path, **changes) -> Path:
    path = folder / 'tiny.yaml'
    path.write_text(yaml.safe_dump(config_with(**{**TINY, 'data_root': str(data), **changes})))
    return path


def command(config: Path, out: Path, *arguments, program=('train.py',)) -> list[str]:
    return [sys.executable, *program, '--config', str(config), '--output_path', str(out), '--device', 'cpu',
            '--seed', '7', *map(str, arguments)]


def train(config: Path, out: Path, *arguments, **options) -> subprocess.CompletedProcess:
    return subprocess.run(command(config, out, *arguments, **options), cwd=ROOT, text=True, capture_output=True,
                          timeout=300)


def begin(config: Path, out: Path, *arguments) -> subprocess.Popen:
    # Tests that run under nohup would hand its deafness to SIGHUP on.
    return subprocess.Popen(command(config, out, *arguments), cwd=ROOT, text=True, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, start_new_session=True,
                            preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL))


def wait_for(path: Path, process: subprocess.Popen) -> None:
    deadline = time.time() + 120
    while not path.exists() and process.poll() is None and time.time() < deadline:
        time.sleep(0.01)
    assert process.poll() is None, process.communicate()


def tensors(content, name: str = ''):
    """Every tensor and number in a checkpoint, by its path."""
    if isinstance(content, dict):
        for key, value in content.items():
            if key != 'checksums':   # of files, as zip archives have checksums
                yield from tensors(value, f'{name}.{key}')
    elif isinstance(content, (list, tuple)):
        for i, value in enumerate(content):
            yield from tensors(value, f'{name}.{i}')
    else:
        yield name, content


def assert_same_run(one: Path, two: Path, steps: int) -> None:
    for kind in ('gen', 'dis', 'state'):
        ours, theirs = (dict(tensors(torch.load(out / f'outputs/tiny/checkpoints/{kind}_{steps:08d}.pt')))
                        for out in (one, two))
        assert ours.keys() == theirs.keys()
        for name, value in ours.items():
            same = torch.equal(value, theirs[name]) if isinstance(value, torch.Tensor) else value == theirs[name]
            assert same, (kind, name)
    assert scalars(one / 'logs/tiny') == scalars(two / 'logs/tiny')
    pictures = sorted(path.name for path in (one / 'outputs/tiny/images').iterdir())
    assert pictures == sorted(path.name for path in (two / 'outputs/tiny/images').iterdir())
    for name in pictures:
        assert (one / 'outputs/tiny/images' / name).read_bytes() == (two / 'outputs/tiny/images' / name).read_bytes()


# -- stopped and resumed ----------------------------------------------------------------------------------------------

@pytest.fixture(scope='module')
def uninterrupted(data, tmp_path_factory) -> dict[str, Path]:
    """A run of 24 iterations of each trainer, without loader workers."""
    runs = {}
    for trainer, changes in (('MUNIT', {}), ('UNIT', UNIT)):
        runs[trainer] = tmp_path_factory.mktemp(trainer)
        config = write_config(runs[trainer], data, max_iter=24, num_workers=0, **changes)
        done = train(config, runs[trainer], '--trainer', trainer)
        assert done.returncode == 0, done.stderr
    return runs


@pytest.mark.parametrize('ending', ['max_iter', 'SIGTERM', 'SIGUSR1', 'SIGHUP', 'SIGKILL'])
@pytest.mark.parametrize('trainer, num_workers', [('MUNIT', 0), ('MUNIT', 2), ('UNIT', 2)])
def test_a_resumed_run_is_the_uninterrupted_one_bit_for_bit(uninterrupted, data, tmp_path, trainer, num_workers,
                                                            ending):
    config = write_config(tmp_path, data, max_iter=24, num_workers=num_workers, **(UNIT if trainer == 'UNIT' else {}))
    if ending == 'max_iter':
        assert train(config, tmp_path, '--trainer', trainer, '--max_iter', 9).returncode == 0
    else:
        process = begin(config, tmp_path, '--trainer', trainer)
        wait_for(tmp_path / 'outputs/tiny/checkpoints/optimizer.pt', process)
        os.killpg(process.pid, getattr(signal, ending))
        out, err = process.communicate(timeout=60)
        number = getattr(signal, ending)
        assert process.returncode == (-number if ending == 'SIGKILL' else 128 + number), err
        if ending != 'SIGKILL':
            assert f'stopped by {ending}' in out and '--resume' in out
    resumed = train(config, tmp_path, '--trainer', trainer, '--resume')
    assert resumed.returncode == 0, resumed.stderr
    assert 'resumed from' in resumed.stdout
    assert_same_run(tmp_path, uninterrupted[trainer], 24)


def test_a_run_killed_before_its_first_snapshot_starts_over(uninterrupted, data, tmp_path):
    config = write_config(tmp_path, data, max_iter=24, num_workers=0, snapshot_save_iter=24)
    process = begin(config, tmp_path, '--resume')
    wait_for(tmp_path / 'outputs/tiny/images/gen_b2a_train_00000005.jpg', process)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    resumed = train(config, tmp_path, '--resume')
    assert 'contains no complete snapshot' in resumed.stdout
    assert_same_run(tmp_path, uninterrupted['MUNIT'], 24)


def test_a_finished_run_is_finished_when_resumed(uninterrupted, data):
    done = train(uninterrupted['MUNIT'] / 'tiny.yaml', uninterrupted['MUNIT'], '--resume')
    assert done.returncode == 0 and 'finished 24 iterations' in done.stdout, done.stderr


def test_a_second_interrupt_ends_a_run_at_once(data, tmp_path):
    process = begin(write_config(tmp_path, data, max_iter=10 ** 6, num_workers=0), tmp_path)
    wait_for(tmp_path / 'outputs/tiny/images/gen_b2a_train_current.jpg', process)
    os.kill(process.pid, signal.SIGSTOP)   # so that both come before the iteration ends
    for _ in range(2):
        os.kill(process.pid, signal.SIGINT)
        os.kill(process.pid, signal.SIGCONT)
        time.sleep(0.001)
    process.communicate(timeout=60)
    assert process.returncode in (-signal.SIGINT, 128 + signal.SIGINT)


def test_fine_tuning_starts_from_a_checkpoints_weights(uninterrupted, data, tmp_path):
    config = write_config(tmp_path, data, max_iter=1, num_workers=0, lr=1e-12, weight_decay=0)
    weights = uninterrupted['MUNIT'] / 'outputs/tiny/checkpoints/gen_00000024.pt'
    done = train(config, tmp_path, '--init_from', weights)
    assert done.returncode == 0, done.stderr
    found, wanted = (dict(tensors(torch.load(path))) for path in (
        tmp_path / 'outputs/tiny/checkpoints/gen_00000001.pt', weights))
    assert all(torch.allclose(found[name], wanted[name], atol=1e-9) for name in wanted)


def test_two_runs_into_one_folder_are_refused_and_a_crash_leaves_no_lock(data, tmp_path, capsys):
    config = write_config(tmp_path, data, max_iter=1, num_workers=0)
    opts = type('Options', (), {'config': str(config), 'output_path': str(tmp_path), 'trainer': 'MUNIT'})
    run = RunFolder(opts, {})
    run.lock()
    second = train(config, tmp_path)
    assert second.returncode == 2 and len(second.stderr.splitlines()) == 1 and 'another run' in second.stderr
    run._lock.close()   # as the system does when a process crashes
    assert train(config, tmp_path).returncode == 0


def test_loader_workers_of_a_killed_run_do_not_keep_its_lock(data, tmp_path):
    process = begin(write_config(tmp_path, data, max_iter=10 ** 6, num_workers=2), tmp_path)
    wait_for(tmp_path / 'outputs/tiny/checkpoints/optimizer.pt', process)
    opts = type('Options', (), {'config': tmp_path / 'tiny.yaml', 'output_path': tmp_path, 'trainer': 'MUNIT'})
    with pytest.raises(BadInput, match='another run'):
        RunFolder(opts, {}).lock()
    workers = psutil.Process(process.pid).children(recursive=True)
    process.kill()   # only this process, as the system does when it is out of memory
    process.wait()
    RunFolder(opts, {}).lock()
    assert any(worker.is_running() for worker in workers)
    psutil.wait_procs(workers, timeout=30)
    process.communicate()


# -- faults while running ---------------------------------------------------------------------------------------------

def broken_train(patch: str) -> tuple[str, str]:
    """A program that runs some lines and then train.py."""
    return '-c', ('import sys; sys.path.insert(0, "."); import torch, train, trainer\n'
                  'from core import snapshots, tensorboard_log as logs\nfrom engine import run_folder as run\n'
                  'from engine.run_page import page as report\nfrom engine.cli import run_command\n'
                  f'{patch}\nrun_command(train.main)')


def test_a_run_whose_gradients_stay_infinite_ends_with_its_good_weights_and_names_the_images(data, tmp_path):
    config = write_config(tmp_path, data, max_iter=20, num_workers=0, max_bad_steps=3)
    patch = ('original = trainer.MUNIT_Trainer.update\n'
             'def update(self, x_a, x_b):\n'
             '    return original(self, x_a * (float("nan") if self.iteration > 6 else 1), x_b)\n'
             'trainer.MUNIT_Trainer.update = update')
    done = train(config, tmp_path, program=broken_train(patch))
    assert done.returncode == 3
    last = [line for line in done.stderr.splitlines() if 'not finite' in line]
    assert len(last) == 1 and '3 iterations in a row up to step 9' in last[0] and 'trainA' in last[0]
    assert 'Traceback' not in done.stderr
    weights = [torch.load(tmp_path / f'outputs/tiny/checkpoints/gen_0000000{step}.pt') for step in (8, 9)]
    assert all(torch.equal(*pair) and pair[0].isfinite().all() for pair in zip(
        *(dict(tensors(one)).values() for one in weights), strict=True))
    assert (9, 'bad_steps', 3.0) in scalars(tmp_path / 'logs/tiny')


def test_a_single_bad_iteration_is_skipped_and_counted(data, tmp_path):
    config = write_config(tmp_path, data, max_iter=5, num_workers=0, max_bad_steps=2)
    patch = ('original = trainer.MUNIT_Trainer.update\n'
             'def update(self, x_a, x_b):\n'
             '    return original(self, x_a * (float("nan") if self.iteration == 3 else 1), x_b)\n'
             'trainer.MUNIT_Trainer.update = update')
    done = train(config, tmp_path, program=broken_train(patch))
    assert done.returncode == 0, done.stderr
    assert [entry for entry in scalars(tmp_path / 'logs/tiny') if entry[1] == 'bad_steps'] == [
        (step, 'bad_steps', 1.0) for step in (3, 4, 5)]


@pytest.mark.parametrize('num_workers', [0, 2])
def test_too_many_broken_images_end_a_run(data, tmp_path, num_workers):
    root = tmp_path / 'data'
    for folder in ('trainA', 'trainB', 'testA', 'testB'):
        (root / folder).mkdir(parents=True)
        for path in (data / folder).iterdir():
            (root / folder / path.name).write_bytes(path.read_bytes())
    for name in ('3.png', '4.png'):
        (root / 'trainA' / name).write_bytes(b'\x89PNG half')
    config = write_config(tmp_path, root, max_iter=1000, num_workers=num_workers, max_bad_images=1)
    done = train(config, tmp_path)
    assert done.returncode == 3
    assert done.stderr.count('skipped') == 2 and 'more than max_bad_images 1' in done.stderr.splitlines()[-1]
    assert list((tmp_path / 'outputs/tiny/checkpoints').glob('state_*.pt'))


@pytest.mark.parametrize('where', ['snapshots.write_file', 'run.write_picture', 'report.replace_text',
                                   'logs.EventsWriter.write_event'])
def test_a_full_disk_ends_a_run_in_one_line_and_leaves_the_last_snapshot(uninterrupted, data, tmp_path, where):
    config = write_config(tmp_path, data, max_iter=24, num_workers=0)
    place, name = where.rsplit('.', 1)
    patch = (f'original = {where}\n'
             'def full(*args, **options):\n'
             '    from pathlib import Path\n'
             f'    if list(Path({str(tmp_path)!r}).rglob("gen_00000008.pt")):\n'
             '        raise OSError(28, "No space left on device")\n'
             '    return original(*args, **options)\n'
             f'{place}.{name} = full')
    done = train(config, tmp_path, program=broken_train(patch))
    assert done.returncode == 4, done.stderr
    complaints = [line for line in done.stderr.splitlines() if 'No space left' in line]
    assert len(complaints) == 1 and '--resume' in complaints[0] and 'Traceback' not in done.stderr
    assert not list(tmp_path.rglob('*.part*'))
    assert train(config, tmp_path, '--resume').returncode == 0
    assert_same_run(tmp_path, uninterrupted['MUNIT'], 24)


def test_a_full_disk_before_the_first_snapshot_mentions_no_snapshot(data, tmp_path):
    patch = ('def full(*_): raise OSError(28, "No space left on device")\n'
             'snapshots.write_file = full')
    done = train(write_config(tmp_path, data, max_iter=4, num_workers=0), tmp_path, program=broken_train(patch))
    assert done.returncode == 4 and 'there is no snapshot yet' in done.stderr, done.stderr


def test_weights_that_are_not_finite_end_a_run_and_leave_the_last_snapshot(data, tmp_path):
    config = write_config(tmp_path, data, max_iter=20, num_workers=0, keep_snapshots=1)
    patch = ('original = trainer.MUNIT_Trainer.update\n'
             'def update(self, x_a, x_b):\n'
             '    losses = original(self, x_a, x_b)\n'
             '    if self.iteration == 6:\n'
             '        next(self.gen_a.parameters()).data.fill_(float("nan"))\n'
             '    return losses\n'
             'trainer.MUNIT_Trainer.update = update')
    done = train(config, tmp_path, program=broken_train(patch))
    assert done.returncode == 3 and 'Traceback' not in done.stderr
    assert 'step 8: weights or moments are not finite' in done.stderr
    assert [path.name for path in (tmp_path / 'outputs/tiny/checkpoints').glob('gen_*')] == ['gen_00000004.pt']
    assert train(config, tmp_path, '--resume').returncode == 0


@pytest.mark.skipif(sys.platform == 'win32', reason='no such limits')
@pytest.mark.parametrize('room', [0, 150_000])   # for the log; for the first checkpoint
def test_a_limit_on_the_size_of_files_is_one_line_too(uninterrupted, data, tmp_path, room):
    """Python tries to write buffered data again when the file is closed."""
    config = write_config(tmp_path, data, max_iter=24, num_workers=0)
    patch = ('import resource\noriginal = run.RunFolder.start\n'
             'def start(*args):\n'
             '    original(*args)\n'
             f'    resource.setrlimit(resource.RLIMIT_FSIZE, ({room}, {room}))\n'
             'run.RunFolder.start = start')
    done = train(config, tmp_path, program=broken_train(patch))
    assert done.returncode == 4, done.stderr
    assert done.stderr.count('File too large') == 1 and 'Traceback' not in done.stderr
    assert train(config, tmp_path, '--resume').returncode == 0
    assert_same_run(tmp_path, uninterrupted['MUNIT'], 24)


@pytest.mark.skipif(not Path('/dev/full').exists(), reason='no /dev/full here')
def test_a_job_log_on_a_full_disk_does_not_end_a_run_nor_change_its_status(data, tmp_path):
    config = write_config(tmp_path, data, max_iter=2, num_workers=0)
    with open('/dev/full', 'w') as full:
        done = subprocess.run(command(config, tmp_path), cwd=ROOT, stdout=full, stderr=subprocess.PIPE, text=True)
        assert done.returncode == 0 and 'Traceback' not in done.stderr
        assert (tmp_path / 'outputs/tiny/checkpoints/state_00000002.pt').exists()
        refused = subprocess.run(command(config, tmp_path, '--data_root', 'nowhere'), cwd=ROOT, stdout=full,
                                 stderr=full)
        assert refused.returncode == 2


def test_too_little_memory_is_one_line_with_the_sizes_and_what_to_lower(data, tmp_path):
    config = write_config(tmp_path, data, max_iter=4, num_workers=0)
    patch = ('def update(*_): raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate")\n'
             'trainer.MUNIT_Trainer.update = update')
    done = train(config, tmp_path, program=broken_train(patch))
    lines = [line for line in done.stderr.splitlines() if 'out of memory' in line]
    assert done.returncode == 2 and len(lines) == 1 and 'Traceback' not in done.stderr
    assert all(word in lines[0] for word in ('batch_size 1', '32×32', 'gen.dim 4', 'checkpoint_activations'))


def test_a_loader_worker_that_dies_is_named_and_what_was_trained_is_saved(data, tmp_path):
    process = begin(write_config(tmp_path, data, max_iter=10 ** 6, num_workers=2, snapshot_save_iter=10 ** 6), tmp_path)
    wait_for(tmp_path / 'outputs/tiny/images/gen_b2a_train_current.jpg', process)
    workers = [child for child in psutil.Process(process.pid).children(recursive=True)
               if any('train.py' in part for part in child.cmdline())]
    for worker in workers:
        worker.kill()
    out, err = process.communicate(timeout=60)
    assert process.returncode == 3, err
    assert 'the processes that read images have failed: ' in err and 'Traceback' not in err
    assert list((tmp_path / 'outputs/tiny/checkpoints').glob('state_*.pt'))


# -- TensorBoard ------------------------------------------------------------------------------------------------------

def test_a_log_is_truncated_after_a_step_and_freed_of_half_records(tmp_path):
    for first in (1, 4):
        log = Log(tmp_path, first - 1)
        for step in range(first, first + 5):
            log.add_scalars({'loss': step / 2}, step)
        log.close()
    paths = sorted(tmp_path.iterdir())
    assert len(paths) == 2
    paths[1].write_bytes(paths[1].read_bytes()[:-7])
    truncate_after(tmp_path, 3)
    assert scalars(tmp_path) == [(step, 'loss', step / 2) for step in (1, 2, 3)]


# -- several processes ------------------------------------------------------------------------------------------------

TORCHRUN = ('-m', 'torch.distributed.run', '--nproc_per_node', '2', 'train.py')


@pytest.mark.parametrize('trainer, changes', [('MUNIT', {}), ('UNIT', UNIT)])
def test_two_processes_do_what_one_does_with_twice_the_batch(data, tmp_path, trainer, changes):
    config = write_config(tmp_path, data, max_iter=2, num_workers=1, weight_decay=0, **changes)
    together = train(config, tmp_path / 'two', '--trainer', trainer, '--batch_size', 2, program=TORCHRUN)
    assert together.returncode == 0, together.stderr
    assert '2 processes' in together.stdout and together.stdout.count('finished 2') == 1
    alone = train(config, tmp_path / 'one', '--trainer', trainer, '--batch_size', 4)
    assert alone.returncode == 0, alone.stderr
    found, wanted = (scalars(tmp_path / name / 'logs/tiny') for name in ('two', 'one'))
    assert [entry[:2] for entry in found] == [entry[:2] for entry in wanted]
    for (step, name, value), (_, _, other) in zip(found, wanted, strict=True):
        assert value == pytest.approx(other, rel=1e-4 if step < 3 else 1e-3, abs=1e-5), (step, name)
    for kind in ('gen', 'dis'):
        # First moments, which are averages of gradients, must agree; weights whose true gradient is 0 need not.
        ours, theirs = (torch.load(tmp_path / name / 'outputs/tiny/checkpoints/state_00000002.pt')[kind]['state']
                        for name in ('two', 'one'))
        largest = max(entry['exp_avg'].norm() for entry in theirs.values())
        for i, entry in theirs.items():
            apart = (ours[i]['exp_avg'] - entry['exp_avg']).norm()
            assert apart <= 0.02 * entry['exp_avg'].norm() + 1e-3 * largest, (kind, i)


def test_a_process_that_dies_ends_the_run_with_its_message(data, tmp_path):
    config = write_config(tmp_path, data, max_iter=10 ** 6, num_workers=0)
    program = tmp_path / 'broken_train.py'
    program.write_text('import os, sys\n' f'sys.path.insert(0, {str(ROOT)!r})\n'
                       'import train, trainer\nfrom core.errors import BadInput\n'
                       'from engine.cli import run_command\n'
                       'original = trainer.MUNIT_Trainer.update\n'
                       'def update(self, *images):\n'
                       '    if self.iteration > 3 and os.environ["RANK"] == "1":\n'
                       '        raise BadInput("the second machine is on fire")\n'
                       '    return original(self, *images)\n'
                       'trainer.MUNIT_Trainer.update = update\nrun_command(train.main)\n')
    done = train(config, tmp_path, program=(*TORCHRUN[:-1], str(program)))
    assert done.returncode != 0
    assert 'the second machine is on fire' in done.stderr


def test_a_loss_that_is_not_finite_in_one_process_is_skipped_by_all(data, tmp_path):
    """The gradients are finite here, as a constant has none. Each process reports what it skipped."""
    config = write_config(tmp_path, data, max_iter=4, num_workers=0)
    program = tmp_path / 'broken_train.py'
    program.write_text('import os, sys\n' f'sys.path.insert(0, {str(ROOT)!r})\n'
                       'import train, trainer\nfrom engine.cli import run_command\n'
                       'original, end = trainer.MUNIT_Trainer.gen_losses, trainer.MUNIT_Trainer._end_iteration\n'
                       'def losses(self, *arguments):\n'
                       '    terms, objective = original(self, *arguments)\n'
                       '    bad = self.iteration == 2 and os.environ["RANK"] == "1"\n'
                       '    return terms, objective + (float("nan") if bad else 0)\n'
                       'def told(self):\n'
                       '    end(self)\n'
                       '    weight = next(self.gen_a.parameters()).sum().item()\n'
                       f'    with open({str(tmp_path)!r} + "/" + os.environ["RANK"], "a") as file:\n'
                       '        print(int(self.bad_steps), repr(weight), file=file)\n'
                       'trainer.MUNIT_Trainer.gen_losses, trainer.MUNIT_Trainer._end_iteration = losses, told\n'
                       'run_command(train.main)\n')
    done = train(config, tmp_path, '--batch_size', 2, program=(*TORCHRUN[:-1], str(program)))
    assert done.returncode == 0, done.stderr
    one, two = ((tmp_path / rank).read_text().splitlines() for rank in '01')
    assert one == two and [line.split()[0] for line in one] == ['0', '1', '1', '1']
    assert one[0].split()[1] == one[1].split()[1] != one[2].split()[1]


def test_a_run_of_two_processes_stops_at_a_signal_and_resumes_bit_for_bit(data, tmp_path):
    config = write_config(tmp_path, data, max_iter=24, num_workers=0)
    (tmp_path / 'one').mkdir()
    assert train(config, tmp_path / 'one', program=TORCHRUN).returncode == 0
    process = subprocess.Popen(command(config, tmp_path / 'two', program=TORCHRUN), cwd=ROOT, text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)
    wait_for(tmp_path / 'two/outputs/tiny/checkpoints/optimizer.pt', process)
    os.kill(process.pid, signal.SIGTERM)
    out, err = process.communicate(timeout=120)
    assert 'stopped by SIGTERM' in out, err
    assert train(config, tmp_path / 'two', '--resume', program=TORCHRUN).returncode == 0
    assert_same_run(tmp_path / 'one', tmp_path / 'two', 24)
