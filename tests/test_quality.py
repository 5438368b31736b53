"""benchmarks/quality.py: recipes that train in turns, restarts, and the table that comes from the JSON alone."""
import itertools
import json
from types import SimpleNamespace

import pytest
import torch
import yaml
from PIL import Image, ImageDraw
from test_commands import complaint

pytest.importorskip('skimage')

from benchmarks import quality

TINY = ['gen.dim=4', 'gen.n_res=1', 'gen.mlp_dim=8', 'dis.dim=4', 'dis.num_scales=1', 'new_size=32',
        'crop_image_height=32', 'crop_image_width=32', 'display_size=1']
FIGURES = {'kept': 0.5, 'guided': 0.5, 'diversity': 0.5, 'coverage': 0.5}


@pytest.fixture
def given(tmp_path, monkeypatch):
    """The command line of a comparison of two recipes on five pairs, by a clock on which an iteration takes 0.1 s."""
    ticks = itertools.count()
    monkeypatch.setattr(quality, 'time', SimpleNamespace(perf_counter=lambda: next(ticks) / 10))
    for folder in ('trainA', 'trainB', 'testA', 'testB'):
        (tmp_path / 'data' / folder).mkdir(parents=True)
        for i in range(5):
            picture = Image.new('RGB', (64, 64), 'white')
            ImageDraw.Draw(picture).rectangle((10 + i, 16, 47, 47), outline='black',
                                              fill=None if folder.endswith('A') else (50 * i, 90, 200))
            picture.save(tmp_path / 'data' / folder / f'{i}.png')
    return ['--data_root', str(tmp_path / 'data'), '--work', str(tmp_path / 'work'), '--output',
            str(tmp_path / 'found.json'), '--slice', '0.006', '--recipes', 'original', 'photographs', '--seeds', '1',
            '--device', 'cpu', '--set', *TINY]


def measured(given: list[str]) -> dict:
    with open(given[given.index('--output') + 1]) as file:
        return json.load(file)


@pytest.mark.slow
def test_recipes_take_turns_and_a_restart_goes_on_where_it_stopped(given, tmp_path, capsys):
    quality.main([*given, '--minutes', '0.006'])
    first = measured(given)
    assert [row['recipe'] for row in first['measurements']] == ['original', 'photographs']
    assert all(row['minutes'] * 60 == pytest.approx(0.5) and row['iterations'] == 4 for row in first['measurements'])
    assert not torch.are_deterministic_algorithms_enabled()

    quality.main([*given, '--minutes', '0.012'])
    second = measured(given)
    assert second['measurements'][:2] == first['measurements']
    assert [row['recipe'] for row in second['measurements']] == ['original', 'photographs'] * 2
    assert all(row['minutes'] * 60 == pytest.approx(0.9) and row['iterations'] == 7
               for row in second['measurements'][2:])   # measuring and saving do not count

    # Stopped after a slice and before its measurement: the snapshot is measured, and not trained further.
    cut = {**second, 'measurements': second['measurements'][:-1]}
    (tmp_path / 'found.json').write_text(json.dumps(cut))
    capsys.readouterr()
    quality.main([*given, '--minutes', '0.012'])
    assert measured(given) == second
    said = capsys.readouterr().out
    quality.main([*given, '--table'])
    assert said.endswith(capsys.readouterr().out) and said.count('measured') == 0
    assert measured(given) == second

    line = complaint(capsys, quality.main, *given, '--minutes', '0.012', '--num_inputs', '4')
    assert '--output' in line and 'other settings (num_inputs)' in line


def test_a_run_that_is_stopped_keeps_the_part_of_its_slice(given, monkeypatch):
    opts = quality.parse_arguments([*given, '--minutes', '1', '--recipes', 'photographs'])
    run = quality.Run('photographs', 1, opts)
    run.prepare()
    count = quality.TrainingLoop.count

    def stop_after_three(loop):
        step = count(loop)
        loop.reason = 2 if step == 3 else 0   # as Ctrl-C has it
        return step

    monkeypatch.setattr(quality.TrainingLoop, 'count', stop_after_three)
    with pytest.raises(quality.RunEnded, match='the same command continues') as ended:
        run.train(60)
    assert ended.value.status == 130 and 0 < run.trained_seconds() < 60
    assert quality.snapshots.newest(run.checkpoints)[0] == 3


def test_the_original_recipe_has_the_originals_values():
    opts = quality.parse_arguments(['--output', 'x.json', '--device', 'cpu'])
    found = {name: quality.config_of(recipe, opts) for name, recipe in quality.RECIPES.items()}
    standard = yaml.safe_load(quality.CONFIGS['edges2shoes_folder'].read_text())
    for key in ('batch_size', 'lr', 'init', 'recon_x_cyc_w', 'recon_x_w', 'step_size', 'weight_decay'):
        assert found['original'][key] == standard[key]
    for config in found.values():
        assert config['gen'] == found['photographs']['gen'] and config['new_size'] == 64
        assert all(config['dis'][key] == found['photographs']['dis'][key] for key in quality.ARCHITECTURE)
    original, update = (found[name] for name in ('original', 'original, update'))
    assert {key for key in original if original[key] != update[key]} == {'fused'}
    assert not original.keys() & {'dis_lr', 'ema_decay', 'grad_clip', 'dirty'} and 'init' not in original['dis']
    assert original['precision'] == 'fp32' and found['photographs']['dis']['init'] == 'kaiming'


def rows(recipe: str, seed: int, *kept: float) -> list[dict]:
    return [{'recipe': recipe, 'seed': seed, 'minutes': 2.0 * i, 'iterations': 100 * i, **FIGURES, 'kept': value}
            for i, value in enumerate(kept, start=1)]


def test_the_table_is_what_the_measurements_say():
    report = {'measurements': [*rows('original', 1, 0.1, 0.3, 0.9), *rows('original', 2, 0.1, 0.5, 0.7),
                               *rows('demo', 1, 0.7, 0.8, 0.9), *rows('demo', 2, 0.8, 0.8, 0.8),
                               *rows('original', 3, 0.9)], 'ended': []}
    assert quality.area(rows('demo', 1, 0.0, 1.0, 1.0), 'kept') == pytest.approx(0.75)
    lines = '\n'.join(quality.table(report, {'kept': 0.8, 'guided': 0.6}))
    assert '| original | 2 | 300 | 0.80 (0.70–0.90); 0.42 (0.40–0.45) | 0.50 (0.50–0.50);' in lines
    assert '| original | 6.0, 1 of 2 seeds | 2.0 (2.0–2.0) | 6.0, 1 of 2 seeds |' in lines
    assert '| demo | 3.0 (2.0–4.0) | 2.0 (2.0–2.0) | 3.0 (2.0–4.0) |' in lines
    assert '| original | not reached |' in '\n'.join(quality.table(report, {'kept': 0.95}))
    report['ended'] = [{'recipe': 'demo', 'seed': 2, 'why': 'it diverged'}]
    lines = '\n'.join(quality.table(report, {'kept': 0.8}))
    assert '| demo | 4.0 |' in lines and 'demo, seed 2, ended early: it diverged' in lines


def test_mistakes_are_one_line(capsys, tmp_path):
    for flags, told in ((['--slice', '0'], '--slice'), (['--set', 'x'], 'KEY=VALUE'), (['--recipes', 'x'], '--recipes'),
                        (['--table'], 'no such file')):
        assert told in complaint(capsys, quality.main, '--output', str(tmp_path / 'none.json'), *flags)
    (tmp_path / 'other.json').write_text('[]')
    assert 'not a file that' in complaint(capsys, quality.main, '--output', str(tmp_path / 'other.json'), '--table')
