"""Training whose images disappear: it waits and continues exactly when they return, or ends with a snapshot."""
import itertools
import os
import signal
import subprocess
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from parity import config_with
from PIL import Image
from test_runs import begin, data, tensors, train, wait_for, write_config  # noqa: F401

from data import ImagesAway
from engine.training import Batches, TrainingImages


@pytest.fixture
def root(tmp_path) -> Path:
    for folder in ('trainA', 'trainB', 'testA', 'testB'):
        (tmp_path / folder).mkdir()
        for i in range(5):
            values = np.random.RandomState(i + ord(folder[-1])).randint(0, 256, (40, 44, 3), dtype=np.uint8)
            Image.fromarray(values).save(tmp_path / folder / f'{i}.png')
    return tmp_path


def config_of(root: Path, **changes) -> dict:
    return config_with(data_root=str(root), new_size=36, crop_image_height=32, crop_image_width=32, **changes)


def taken(batches: Batches, count: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    found = [tuple(x.clone() for x in pair) for pair in itertools.islice(batches, count)]
    batches.close()
    return found


@pytest.mark.parametrize('paired', [False, True])
@pytest.mark.parametrize('num_workers, cache', [(0, 'none'), (2, 'none'), (2, 'ram')])
def test_batches_after_waiting_are_the_same(root, num_workers, cache, paired):
    config = config_of(root, num_workers=num_workers, cache=cache, batch_size=2)
    wanted = taken(Batches(TrainingImages(config, paired), 3, 0, False), 24)
    waits = []

    def wait(away: ImagesAway) -> bool:
        waits.append(str(away))
        assert batches.images.are_away()
        (root / 'away').rename(root / 'trainB')
        return True

    batches = Batches(TrainingImages({**config, 'cache': 'none'}, paired), 3, 0, False, wait)
    found, pairs = [], iter(batches)
    for step in range(24):
        if step == 4:
            (root / 'trainB').rename(root / 'away')
        found.append(tuple(x.clone() for x in next(pairs)))
    batches.close()
    assert waits == [f'{root}/trainB: none of its 5 images can be reached']
    assert all(torch.equal(*both) for one, two in zip(found, wanted, strict=True)
               for both in zip(one, two, strict=True))
    assert not any(dataset.broken.any() for dataset in batches.images.sets)


def test_a_single_missing_file_is_not_waited_for(root, capfd):
    (root / 'trainA' / '0.png').rename(root / 'gone')
    images = TrainingImages(config_of(root), False)
    (root / 'trainA' / '1.png').unlink()
    taken(Batches(images, 3, 0, False), 8)
    assert capfd.readouterr().err.count('skipped') == 1 and not images.are_away()


@pytest.mark.parametrize('num_workers', [0, 2])
def test_images_that_stay_away_end_the_batches_at_once(root, num_workers):
    batches = Batches(TrainingImages(config_of(root, num_workers=num_workers), False), 3, 0, False)
    pairs = iter(batches)
    next(pairs)
    (root / 'trainA').rename(root / 'away')
    begin = time.monotonic()
    with pytest.raises(ImagesAway, match='trainA: none of its 5 images can be reached'):
        for _ in range(40):
            next(pairs)
    assert time.monotonic() - begin < 10


# -- whole runs -------------------------------------------------------------------------------------------------------

def weights(out: Path, steps: int) -> dict:
    return {(kind, name): value for kind in ('gen', 'dis')
            for name, value in tensors(torch.load(out / f'outputs/tiny/checkpoints/{kind}_{steps:08d}.pt'))}


def assert_same_weights(one: Path, two: Path, steps: int) -> None:
    ours, theirs = weights(one, steps), weights(two, steps)
    assert ours.keys() == theirs.keys() and ours
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items() if isinstance(value, torch.Tensor))


def run_until_away(root: Path, out: Path, **changes) -> subprocess.Popen:
    config = write_config(out, root, max_iter=100, snapshot_save_iter=1000, **changes)
    process = begin(config, out)
    wait_for(out / 'outputs/tiny/images/gen_b2a_test_00000005.jpg', process)
    (root / 'trainA').rename(root / 'away')
    return process


@pytest.mark.slow
@pytest.mark.parametrize('num_workers', [0, 2])
def test_a_run_waits_for_its_images(root, tmp_path_factory, num_workers):
    one, two = (tmp_path_factory.mktemp(name) for name in ('one', 'two'))
    process = run_until_away(root, one, num_workers=num_workers)
    threading.Timer(4, (root / 'away').rename, [root / 'trainA']).start()
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert 'trainA: none of its 5 images can be reached; waiting for them, up to 600 s (data_timeout)' in err
    assert 'the images are available again after' in err
    assert 'waiting for them' in (one / 'outputs/tiny/run.js').read_text()
    done = train(write_config(two, root, max_iter=100, snapshot_save_iter=1000, num_workers=0), two)
    assert done.returncode == 0, done.stderr
    assert_same_weights(one, two, 100)


@pytest.mark.slow
@pytest.mark.parametrize('num_workers', [0, 2])
@pytest.mark.parametrize('ending', ['timeout', 'SIGTERM'])
def test_a_run_that_waits_too_long_ends_with_a_snapshot(root, tmp_path_factory, num_workers, ending):
    out = tmp_path_factory.mktemp('out')
    process = run_until_away(root, out, num_workers=num_workers, data_timeout=2 if ending == 'timeout' else 600)
    if ending == 'SIGTERM':
        while b'waiting' not in (out / 'outputs/tiny/run.js').read_bytes() and process.poll() is None:
            time.sleep(0.1)
        os.kill(process.pid, signal.SIGTERM)
    said, err = process.communicate(timeout=40)
    assert process.returncode == (3 if ending == 'timeout' else 143), err
    assert 'Traceback' not in err and '--resume' in said + err
    if ending == 'timeout':
        assert 'for longer than data_timeout 2 s; to continue: ' in err
    saved = [int(path.stem[4:]) for path in (out / 'outputs/tiny/checkpoints').glob('gen_*')]
    assert len(saved) == 1 and 5 <= saved[0] < 100
    (root / 'away').rename(root / 'trainA')
    resumed = train(out / 'tiny.yaml', out, '--resume')
    assert resumed.returncode == 0 and f'step {saved[0]}' in resumed.stdout, resumed.stderr
