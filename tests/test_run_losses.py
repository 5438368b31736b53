"""losses.csv, and folders that are removed while a run trains."""
import contextlib
import csv
import shutil
from pathlib import Path

import pytest
from test_runs import data, write_config  # noqa: F401

import train
from core.errors import RunEnded
from core.loss_table import LossTable
from core.tensorboard_log import scalars
from engine.training import TrainingLoop


def run(config: Path, out: Path, *arguments, steps: int = 4, at: int = 0, what=None, monkeypatch=None) -> None:
    """Train in this process; after `at` iterations, `what` happens to the run's folder."""
    if what:
        count = TrainingLoop.count

        def watched(loop) -> int:
            step = count(loop)
            if step == at:
                what(loop.run.folder)
            return step

        monkeypatch.setattr(TrainingLoop, 'count', watched)
    train.main(['--config', str(config), '--output_path', str(out), '--device', 'cpu', '--seed', '7', '--max_iter',
                str(steps), *arguments])


def test_the_table_gets_a_column_when_a_term_appears(tmp_path):
    table = LossTable(tmp_path / 'losses.csv')
    table.add({'a': 1.5, 'b': float('nan')}, 1)
    table.add({'c': 0.1, 'a': 2.0}, 2)
    assert table.path.read_text() == 'step,a,b,c\n1,1.5,nan,\n2,2,,0.1\n'
    LossTable(table.path).add({'c': 3.0}, 3)   # opened again, it is continued
    with open(table.path, 'a') as file:
        file.write('4,1.0')                    # the run was killed in the middle of a row
    again = LossTable(table.path)
    again.truncate_after(1)
    assert table.path.read_text() == 'step,a,b\n1,1.5,nan\n' and again.names == ['a', 'b']


def test_losses_csv_holds_what_tensorboard_does_and_is_the_same_after_resuming(tmp_path, data):  # noqa: F811
    config = write_config(tmp_path, data)
    run(config, tmp_path / 'whole', steps=6)
    run(config, tmp_path / 'parts', steps=5)       # its snapshots: steps 4 and 5
    folder = tmp_path / 'parts/outputs/tiny'
    for kind in ('gen', 'dis', 'state'):
        (folder / f'checkpoints/{kind}_00000005.pt').unlink()
    run(config, tmp_path / 'parts', '--resume', steps=6)
    text = (folder / 'losses.csv').read_text()
    assert text == (tmp_path / 'whole/outputs/tiny/losses.csv').read_text()
    logged = {(step, name): value for step, name, value in scalars(tmp_path / 'whole/logs/tiny') if step}
    rows = list(csv.DictReader(text.splitlines()))
    assert [row['step'] for row in rows] == list('123456')
    assert all(float(row[name]) == pytest.approx(logged[int(row['step']), name], rel=1e-6, nan_ok=True)
               for row in rows for name in row if name != 'step' and row[name])
    assert {'lr_gen', 'lr_dis', 'loss_gen_total', 'grad_norm_dis'} <= rows[0].keys()
    assert float(rows[0]['lr_gen']) == pytest.approx(0.0001)


def test_a_new_run_of_the_same_name_begins_a_new_table(tmp_path, data):  # noqa: F811
    config = write_config(tmp_path, data)
    run(config, tmp_path, steps=2)
    run(config, tmp_path, steps=1)
    assert len((tmp_path / 'outputs/tiny/losses.csv').read_text().splitlines()) == 2
    assert len((tmp_path / 'outputs/tiny/earlier_1/losses.csv').read_text().splitlines()) == 3


@pytest.mark.parametrize('gone', ['images', 'checkpoints', '.', 'losses.csv', '../../logs/tiny'])
def test_folders_removed_during_a_run_are_created_again(tmp_path, data, monkeypatch, capfd, gone):  # noqa: F811
    def remove(folder: Path) -> None:
        path = folder / gone
        shutil.rmtree(path) if path.is_dir() else path.unlink()

    run(write_config(tmp_path, data), tmp_path, at=3, what=remove, monkeypatch=monkeypatch)
    folder = tmp_path / 'outputs/tiny'
    assert (folder / 'checkpoints/state_00000004.pt').exists() and (folder / 'losses.csv').exists()
    assert (folder / 'images/gen_a2b_train_current.jpg').exists() and (folder / 'index.html').exists()
    assert any(step == 4 for step, *_ in scalars(tmp_path / 'logs/tiny'))
    lines = capfd.readouterr().err.splitlines()
    assert sum('removed' in line for line in lines) == {'losses.csv': 0, '.': 3}.get(gone, 1), lines


@pytest.mark.parametrize('name', ['images/gen_a2b_train_current.jpg', 'index.html', 'losses.csv'])
def test_a_file_that_cannot_be_replaced_is_reported_once_and_the_run_continues(tmp_path, data, monkeypatch, capfd,  # noqa: F811
                                                                  name):
    def block(folder: Path) -> None:
        with contextlib.suppress(FileNotFoundError):
            (folder / name).unlink()
        (folder / name / 'in_the_way').mkdir(parents=True)

    run(write_config(tmp_path, data, image_display_iter=1), tmp_path, at=1, what=block, monkeypatch=monkeypatch)
    assert (tmp_path / 'outputs/tiny/checkpoints/state_00000004.pt').exists()
    lines = [line for line in capfd.readouterr().err.splitlines() if 'cannot be written' in line]
    assert len(lines) == 1 and name.split('/')[-1] in lines[0] and 'continues without it' in lines[0]


def test_a_snapshot_that_cannot_be_written_ends_the_run_with_4(tmp_path, data, monkeypatch):  # noqa: F811
    def block(folder: Path) -> None:
        shutil.rmtree(folder / 'checkpoints')
        (folder / 'checkpoints').write_text('in the way')

    with pytest.raises(RunEnded, match=r'cannot write .*checkpoints: .*there is no snapshot yet.*--resume') as ended:
        run(write_config(tmp_path, data), tmp_path, at=3, what=block, monkeypatch=monkeypatch)
    assert ended.value.status == 4 and '\n' not in str(ended.value)
