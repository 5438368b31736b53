"""Gradient clipping, detection of divergence, and how a run reacts to it."""
import math

import pytest
import torch
import yaml
from parity import config_with
from test_runs import assert_same_run, begin, broken_train, data, scalars, train, wait_for, write_config  # noqa: F401

from core.gradient_clip import WARMUP, GradientClip
from engine.config import check_config
from engine.divergence import CALM_STEPS, ENOUGH, LOST_STEPS, DivergenceWatch
from engine.run_page.page import read_data
from trainer import MUNIT_Trainer


def gradients(norm: float) -> list[torch.Tensor]:
    """Two tensors with the total norm `norm`."""
    return [torch.full((2, 2), norm * 0.3), torch.full((1,), norm * 0.8)]


def norm_of(tensors: list[torch.Tensor]) -> float:
    return math.sqrt(sum(float(tensor.square().sum()) for tensor in tensors))


# -- clipping ---------------------------------------------------------------------------------------------------------

def test_without_a_limit_gradients_stay_as_they_are():
    clip, given = GradientClip('none', 4.0), gradients(1e6)
    assert clip(given) and norm_of(given) == norm_of(gradients(1e6)) and int(clip.clipped) == 0
    assert clip.last_norms(5) == [pytest.approx(1e6)]


def test_a_fixed_limit_bounds_the_joint_norm_and_keeps_the_direction():
    clip, given = GradientClip(2.5, 4.0), gradients(10)
    assert clip(given) and norm_of(given) == pytest.approx(2.5)
    assert float(given[0][0, 0] / given[1][0]) == pytest.approx(0.3 / 0.8)
    small = gradients(1)
    clip(small)
    assert norm_of(small) == pytest.approx(1) and int(clip.clipped) == 1


def test_auto_is_a_multiple_of_the_running_median_and_an_explosion_does_not_raise_it():
    clip = GradientClip('auto', 4.0)
    for i in range(WARMUP):
        given = gradients(1000 if i == 3 else 1)   # not clipped: there is no median yet
        clip(given)
        assert norm_of(given) == pytest.approx(1000 if i == 3 else 1)
    fresh = GradientClip('auto', 4.0)
    for _ in range(200):
        fresh(gradients(2))
    for _ in range(90):   # fewer than half of the memory
        exploded = gradients(1e12)
        fresh(exploded)
        assert norm_of(exploded) == pytest.approx(8) and fresh.last_norms(1) == [pytest.approx(1e12)]
    assert int(fresh.clipped) == 90


@pytest.mark.parametrize('bad', [torch.nan, torch.inf])
def test_gradients_that_are_not_finite_are_reported_and_not_recorded(bad):
    clip = GradientClip('auto', 4.0)
    for _ in range(30):
        clip(gradients(1))
    before, given = clip.memory(), gradients(1)
    given[1][0] = bad
    assert not clip(given)
    assert all(torch.equal(before[name], value) for name, value in clip.memory().items())


def test_the_squares_of_large_norms_do_not_overflow():
    clip, given = GradientClip(1.0, 4.0), [torch.tensor([1e19]) for _ in range(16)]   # the sum of squares is 1.6e39
    assert clip(given) and norm_of(given) == pytest.approx(1)


def test_the_state_is_restored_and_an_invalid_one_refused():
    clip, other = GradientClip('auto', 4.0), GradientClip('auto', 4.0)
    for i in range(50):
        clip(gradients(1 + i % 7))
    other.restore(clip.memory())
    one, two = gradients(100), gradients(100)
    clip(one), other(two)
    assert all(map(torch.equal, one, two))
    for name, value in (('kept', torch.zeros(3)), ('steps', torch.tensor(-1)), ('seen', None), ('clipped', 3)):
        with pytest.raises(ValueError, match=name):
            other.restore({**clip.memory(), name: value})


@pytest.mark.parametrize('value, fine', [('none', True), ('auto', True), (1, True), ('2.5', True), (0, False),
                                         (-1, False), ('often', False), (True, False), (None, False)])
def test_the_key_takes_none_auto_or_a_norm(value, fine):
    faults = [fault for fault in check_config(config_with(grad_clip=value, data_root='x')) if 'grad_clip' in fault]
    assert bool(faults) != fine
    assert all(fault.startswith('grad_clip: ') and 'none, auto or a number' in fault or 'at least' in fault
               for fault in faults)


def test_a_trainer_with_a_limit_that_is_never_reached_computes_what_one_without_does():
    torch.manual_seed(0)
    x_a, x_b = torch.rand(2, 2, 3, 32, 32) * 2 - 1
    ends = []
    for limit in ('none', 1e9):
        torch.manual_seed(1)
        trainer = MUNIT_Trainer(config_with(grad_clip=limit, gen={'dim': 4, 'n_res': 1}, dis={'dim': 4, 'n_layer': 2}))
        for _ in range(2):
            trainer.update_learning_rate()
            trainer.update(x_a, x_b)
        ends.append(trainer.gen_a.state_dict())
    assert all(torch.equal(value, ends[1][name]) for name, value in ends[0].items())


# -- the watch --------------------------------------------------------------------------------------------------------

def quiet(watch: DivergenceWatch, start: int, count: int, recon: float = 1.0) -> None:
    for step in range(start, start + count):
        assert watch.observe(step, {'gen': [2.0], 'dis': [1.0]}, {'loss_gen_recon_x_a': recon}) is None


def test_one_spike_is_noise_and_two_within_ten_steps_are_an_explosion():
    watch = DivergenceWatch()
    quiet(watch, 1, ENOUGH)
    assert watch.observe(51, {'dis': [50.0]}, {}) is None
    quiet(watch, 52, 30)
    assert watch.observe(82, {'dis': [50.0]}, {}) is None and not watch.since
    found = watch.observe(85, {'dis': [1.0, 1.0, 70.0]}, {})
    assert (found.step, found.rule) == (82, 'explosion') and '70 times' in found.what and watch.since == 82
    assert watch.observe(86, {'dis': [90.0]}, {}) is None   # reported once
    quiet(watch, 87, CALM_STEPS)
    assert not watch.since


def test_with_clipping_a_few_spikes_are_survived_and_many_are_an_explosion():
    watch = DivergenceWatch(clipped=True)
    quiet(watch, 1, ENOUGH)
    assert watch.observe(53, {'dis': [50.0, 60.0, 70.0]}, {}) is None
    quiet(watch, 54, 30)
    found = [watch.observe(step, {'dis': [50.0]}, {}) for step in range(84, 94)]
    assert found[:-1] == [None] * 9 and (found[-1].step, found[-1].rule) == (84, 'explosion')


def test_a_lasting_reconstruction_error_is_a_divergence_and_a_short_one_is_not():
    watch = DivergenceWatch()
    quiet(watch, 1, ENOUGH)
    for step in range(51, 51 + LOST_STEPS - 1):
        assert watch.observe(step, {}, {'loss_gen_recon_x_a': 3.5}) is None
    quiet(watch, 51 + LOST_STEPS, 5)
    for step in range(200, 200 + LOST_STEPS):
        found = watch.observe(step, {}, {'loss_gen_recon_x_a': 3.5, 'loss_gen_adv_a': 99.0})
    assert (found.step, found.rule) == (200, 'reconstruction') and 'loss_gen_recon_x_a' in found.what


def test_values_that_are_not_finite_are_not_recorded_and_the_state_is_restored():
    watch = DivergenceWatch()
    quiet(watch, 1, ENOUGH)
    watch.observe(51, {}, {'loss_gen_recon_x_a': math.nan})
    other = DivergenceWatch()
    other.restore(watch.memory())
    assert other.memory() == watch.memory()
    for bad in ({}, {**watch.memory(), 'history': 3}, {**watch.memory(), 'since': 'long'}):
        with pytest.raises(ValueError):
            other.restore(bad)


# -- runs -------------------------------------------------------------------------------------------------------------

EXPLODES = ('original = trainer.MUNIT_Trainer._step\n'
            'exploded = []\n'
            'def step(self, of):\n'
            '    if of == "gen" and {first} <= self.iteration <= {last} and len(exploded) < {times}:\n'
            '        exploded.append(self.iteration)\n'
            '        for network in self.generators().values():\n'
            '            for p in network.parameters():\n'
            '                p.grad.mul_(1e4)\n'
            '    return original(self, of)\n'
            'trainer.MUNIT_Trainer._step = step\n')
LONG = {'max_iter': 80, 'image_save_iter': 40, 'image_display_iter': 40, 'snapshot_save_iter': 20, 'num_workers': 0}


def exploding(first: int = 65, last: int = 66, times: int = 2) -> tuple[str, str]:
    return broken_train(EXPLODES.format(first=first, last=last, times=times))


@pytest.mark.slow
def test_a_run_that_explodes_is_rolled_back_with_a_message(data, tmp_path):  # noqa: F811
    config = write_config(tmp_path, data, on_divergence='rollback', keep_snapshots=2, **LONG)
    done = train(config, tmp_path, program=exploding())
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stderr.splitlines() if 'diverges since step 65' in line]
    assert len(lines) == 1 and 'rolled back to step 60' in lines[0] and 'explosion: gradients of gen' in lines[0]
    state = torch.load(tmp_path / 'outputs/tiny/checkpoints/state_00000080.pt')
    assert state['progress']['rollbacks'] == 1 and state['progress']['halved_until'] > 80
    told = read_data(tmp_path / 'outputs/tiny')
    assert [event[0] for event in told['events']] == [65] and told['state'] == 'finished'
    logged = {step: value for step, name, value in scalars(tmp_path / 'logs/tiny') if name == 'grad_norm_gen'}
    assert sorted(logged) == list(range(1, 81)) and logged[66] < 100 * logged[60]


@pytest.mark.slow
def test_a_run_that_explodes_reports_it_and_keeps_earlier_snapshots(data, tmp_path):  # noqa: F811
    config = write_config(tmp_path, data, keep_snapshots=1, **LONG)
    done = train(config, tmp_path, program=exploding())
    assert done.returncode == 0 and done.stderr.count('training diverges since step 65') == 1
    kept = sorted(path.name for path in (tmp_path / 'outputs/tiny/checkpoints').glob('gen_*.pt'))
    assert kept == ['gen_00000060.pt', 'gen_00000080.pt']


@pytest.mark.slow
def test_a_run_can_stop_at_a_divergence(data, tmp_path):  # noqa: F811
    config = write_config(tmp_path, data, on_divergence='stop', **LONG)
    done = train(config, tmp_path, program=exploding())
    last = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 3 and 'diverges since step 65' in last and 'trainA' in last and '--resume' in last
    assert 'Traceback' not in done.stderr


@pytest.mark.slow
def test_the_number_of_rollbacks_is_limited(data, tmp_path):  # noqa: F811
    config = write_config(tmp_path, data, on_divergence='rollback', max_rollbacks=1, **LONG)
    config.write_text(config.read_text().replace('max_iter: 80', 'max_iter: 150'))
    done = train(config, tmp_path, program=exploding(first=65, last=150, times=10 ** 6))
    last = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 3 and 'after 1 rollbacks (max_rollbacks)' in last and 'Traceback' not in done.stderr


@pytest.mark.slow
def test_a_resumed_run_clips_as_an_uninterrupted_one(data, tmp_path):  # noqa: F811
    changes = {**LONG, 'max_iter': 60, 'grad_clip': 'auto', 'grad_clip_factor': 1}
    (tmp_path / 'one').mkdir()
    (tmp_path / 'two').mkdir()
    assert train(write_config(tmp_path / 'one', data, **changes), tmp_path / 'one').returncode == 0
    config = write_config(tmp_path / 'two', data, **changes)
    assert train(config, tmp_path / 'two', '--max_iter', 33).returncode == 0
    assert train(config, tmp_path / 'two', '--resume').returncode == 0
    assert_same_run(tmp_path / 'one', tmp_path / 'two', 60)
    state = torch.load(tmp_path / 'two/outputs/tiny/checkpoints/state_00000060.pt')
    assert int(state['grad_clip']['gen']['clipped']) > 0
    assert yaml.safe_load(config.read_text())['grad_clip'] == 'auto'
