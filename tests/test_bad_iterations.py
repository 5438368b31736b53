"""An iteration with a value that is not finite changes nothing, wherever the value occurs and in every method."""
import copy

import pytest
import torch
from parity import config_with, waves
from test_baselines import tiny
from test_runs import TINY as TINY_RUN
from test_runs import UNIT, tensors

from core.undo import Undo, select
from engine.methods import METHODS, trainer_class

NAN = float('nan')
SMALL = {key: TINY_RUN[key] for key in ('gen', 'dis', 'crop_image_height', 'crop_image_width', 'new_size')}
BN = {'dis': {**SMALL['dis'], 'n_layer': 3, 'norm': 'bn'}}
SN = {'dis': {**SMALL['dis'], 'n_layer': 3, 'norm': 'sn'}, 'gen': {**SMALL['gen'], 'spectral_norm': True}}
CASES = [('MUNIT', {}), ('MUNIT', {**BN, 'log_styles': True, 'grad_clip': 'auto'}), ('MUNIT', {**SN, 'ema_decay': 0.9}),
         ('MUNIT', {'fused': False}), ('UNIT', {**BN, 'ema_decay': 0.9}), ('UNIT', SN), ('CycleGAN', {}),
         ('CycleGANNoise', {}), ('BicycleGAN', {})]
PLACES = ('objective', 'a constant in the objective', 'loss of dis', 'a constant in the loss of dis', 'gradient of gen',
          'gradient of dis', 'activation of gen', 'activation of dis', 'buffer')


def make(method: str, changes: dict):
    torch.manual_seed(3)
    if method in ('MUNIT', 'UNIT'):
        return trainer_class(method)(config_with(**{**SMALL, **(UNIT if method == 'UNIT' else {}), **changes}))
    return trainer_class(method)(tiny(method, **changes))


def iterate(trainer, step: int) -> None:
    torch.manual_seed(step)
    trainer.update_learning_rate()
    n = 2 if not hasattr(trainer, 'gen_a') else 1
    trainer.update(waves(step, n, 3, 32, 32), waves(100 + step, n, 3, 32, 32))


def everything(trainer) -> dict:
    """Everything that later iterations depend on, by name."""
    pools = {name: pool.content() for name, pool in getattr(trainer, 'pools', {}).items()}
    return dict(tensors({'weights': trainer.state_dict(), 'pools': pools, 'extra': trainer._extra_state(),
                         'clips': {of: clip.memory() for of, clip in trainer.clips.items()},
                         **{of: list(optimizer.state.values()) for of, optimizer in trainer._optimizers().items()}}))


def assert_same(found: dict, wanted: dict) -> None:
    assert found.keys() == wanted.keys()
    different = [name for name, value in wanted.items() if not torch.equal(found[name], value)]
    assert not different


def inject(trainer, place: str, value: float, monkeypatch, rng=None) -> None:
    """Let the next iterations meet `value` at a place: in the first network, layer or buffer, or in one that `rng`
    chooses.
    """
    choose = rng.choice if rng else lambda several: several[0]
    network = choose([*trainer._parts()[place.split()[-1] if 'dis' in place or 'gen' in place else 'dis'].values()])
    if 'objective' in place or 'loss' in place:
        name = 'gen_losses' if 'objective' in place else 'dis_loss'
        honest, constant = getattr(trainer, name), 'constant' in place

        def spoilt(*arguments):
            found = honest(*arguments)
            terms, loss = found if isinstance(found, tuple) else (None, found)
            loss = loss + value if constant else loss * value
            return loss if terms is None else (terms, loss)

        monkeypatch.setattr(trainer, name, spoilt)
    elif 'gradient' in place:
        parameter = choose([p for p in network.parameters() if p.requires_grad])
        hook = parameter.register_hook(lambda gradient: gradient * value)
        monkeypatch.callbacks.append(hook.remove)
    elif 'activation' in place:
        layer = next(module for module in network.modules() if isinstance(module, torch.nn.Conv2d))   # one that runs
        hook = layer.register_forward_hook(lambda module, _, output: output * value)
        monkeypatch.callbacks.append(hook.remove)
    else:
        touched = [tensor for tensor in trainer._statistics() if tensor.is_floating_point()]
        buffer = choose(touched)
        hook = network.register_forward_hook(lambda *_: (buffer.data.fill_(value), None)[1])
        monkeypatch.callbacks.append(hook.remove)


@pytest.fixture
def patches(monkeypatch):
    monkeypatch.callbacks = []
    return monkeypatch


def cease(patches) -> None:
    patches.undo()
    while patches.callbacks:
        patches.callbacks.pop()()


@pytest.mark.parametrize('method, changes', CASES, ids=str)
@pytest.mark.slow
def test_an_iteration_that_is_not_finite_changes_nothing(patches, method, changes):
    good = make(method, changes)
    for step in (1, 2, 3):
        iterate(good, step)
    for number, place in enumerate(PLACES):
        trainer, skipped = copy.deepcopy(good), copy.deepcopy(good)
        before = everything(trainer)
        inject(trainer, place, (NAN, float('inf'))[number % 2], patches)
        iterate(trainer, 4)
        cease(patches)
        assert int(trainer.bad_steps) == int(trainer.bad_in_a_row) == 1, place
        assert_same(everything(trainer), before)
        skipped.update_learning_rate()
        for one in (trainer, skipped):
            iterate(one, 5)
        assert_same(everything(trainer), everything(skipped))
        assert int(trainer.bad_in_a_row) == 0


@pytest.mark.parametrize('method', METHODS)
def test_a_first_iteration_that_is_not_finite_leaves_moments_of_zero(patches, method):
    trainer = make(method, {})
    before = copy.deepcopy(trainer.state_dict())
    second = 'objective' if trainer.steps_first == 'dis' else 'loss of dis'   # the other optimizer has stepped
    inject(trainer, second, NAN, patches)
    iterate(trainer, 1)
    cease(patches)
    assert_same(trainer.state_dict(), before)
    moments = [value for optimizer in trainer._optimizers().values()
               for _, value in tensors(list(optimizer.state.values()))]
    assert moments and not any(value.any() for value in moments)


def test_styles_whose_squares_overflow_do_not_stay_in_the_statistics():
    statistics = make('MUNIT', {'log_styles': True}).style_statistics['a']
    statistics.update(torch.full((1, 8, 1, 1), 1e30))
    statistics.update(torch.full((1, 8, 1, 1), NAN))
    assert statistics.mean.abs().max() == 0 and statistics.square.isfinite().all()


def test_a_separate_update_after_a_bad_one_takes_a_step(patches):
    trainer = make('MUNIT', {})
    x_a, x_b = waves(1, 1, 3, 32, 32), waves(2, 1, 3, 32, 32)
    inject(trainer, 'objective', NAN, patches)
    trainer.update(x_a, x_b)
    trainer.gen_update(x_a, x_b)
    cease(patches)
    before = copy.deepcopy(trainer.state_dict())
    trainer.gen_update(x_a, x_b)
    assert not torch.equal(trainer.state_dict()['gen_a.mlp.model.0.fc.weight'], before['gen_a.mlp.model.0.fc.weight'])


@pytest.mark.parametrize('bad', [True, False])
def test_selecting_keeps_every_bit(bad):
    """The computation on a GPU, which has no branch; on a CPU it must be called directly."""
    odd = torch.tensor([NAN, float('inf'), -float('inf'), -0.0, 0.0, 1e-45, 3e38])
    now = [odd.clone(), torch.tensor(7), torch.full((3, 2), NAN), torch.randn(2, 3, 4, 4).contiguous(
        memory_format=torch.channels_last)]
    then = [odd.flip(0), torch.tensor(-2 ** 40), torch.ones(3, 2), torch.randn(2, 3, 4, 4).contiguous(
        memory_format=torch.channels_last)]
    wanted = [tensor.clone() for tensor in (then if bad else now)]
    select(now, [tensor.clone() for tensor in then], torch.tensor(bad))
    for found, tensor in zip(now, wanted, strict=True):
        bits = torch.int32 if tensor.dtype == torch.float32 else torch.int64
        assert torch.equal(found.view(bits), tensor.view(bits))


def test_restored_tensors_are_not_replaced():
    undo, tensor = Undo(), torch.ones(3)
    place = tensor.data_ptr()
    for bad, wanted in ((False, 2), (True, 2)):
        undo.keep('weights', [tensor])
        tensor += 1
        undo.put_back(torch.tensor(bad))
        assert tensor.tolist() == [wanted] * 3 and tensor.data_ptr() == place and not undo.kept
