"""Validation of states: invalid values are refused or skipped, and settings come from the config only."""
import copy
import math
import random
import shutil
from pathlib import Path

import pytest
import torch
from parity import config_with, waves
from test_runs import TINY, tensors

from core import snapshots
from core.errors import BadInput
from core.run_state import NotFinite, fault_of_state, leaves, seal_of
from trainer import MUNIT_Trainer

NAN, INF = float('nan'), float('inf')
CONFIG = config_with(**{key: TINY[key] for key in ('gen', 'dis', 'crop_image_height', 'crop_image_width', 'new_size')},
                     log_styles=True)


def iterate(trainer, step: int) -> None:
    torch.manual_seed(step)
    trainer.update_learning_rate()
    trainer.update(waves(step, 1, 3, 32, 32), waves(step + 50, 1, 3, 32, 32))


@pytest.fixture(scope='module')
def snapshots_made(tmp_path_factory):
    tmp_path = tmp_path_factory.mktemp('snapshots')
    torch.manual_seed(0)
    trainer = MUNIT_Trainer(CONFIG)
    for step in (1, 2):
        iterate(trainer, step)
        trainer.progress = {'seed': 7, 'drawn': step, 'halved_until': 0, 'rollbacks': 0}
        trainer.save(tmp_path, step)
    return tmp_path


@pytest.fixture
def folder(snapshots_made, tmp_path):
    """Snapshots of steps 1 and 2."""
    return Path(shutil.copytree(snapshots_made, tmp_path / 'snapshots'))


def rewrite(folder, change, step: int = 2, sealed: bool = False) -> None:
    """Change a state and save it again, without the seal (as an earlier version) or with the old seal."""
    path = snapshots.file_of(folder, 'state', step)
    state = torch.load(path)
    change(state)
    if not sealed:
        state.pop('seal', None)
    torch.save(state, path)


def first_moment(state: dict, name: str, of: str = 'gen') -> torch.Tensor:
    return state[of]['state'][0][name]


def put(*place_and_value):
    *place, name, value = place_and_value

    def change(state):
        for key in place:
            state = state[key]
        if isinstance(state.get(name), torch.Tensor) and isinstance(value, (int, float)):
            state[name].view(-1)[0] = value
        else:
            state[name] = value
    return change


ODD = [put(of, 'state', 0, name, value) for of in ('gen', 'dis') for name in ('exp_avg', 'exp_avg_sq', 'step')
       for value in (NAN, INF, -INF)]
ODD += [put('gen', 'state', 0, 'exp_avg_sq', -1.0), put('gen', 'state', 3, 'step', -1.0),
        put('dis', 'state', 1, 'step', 9.0), put('gen', 'state', 0, 'step', torch.tensor([1.0, 2.0])),
        put('gen', 'state', 0, 'step', 1.5), put('gen', 'state', 0, 'step', 'two')]
ODD += [put('progress', name, value) for name in ('drawn', 'seed', 'bad_steps', 'bad_in_a_row', 'halved_until')
        for value in (-7, 1.5, 'text', torch.tensor(1), 2 ** 70, NAN, None, True)]
ODD += [put('progress', 'watch', {'history': {'x': [NAN]}}), put('display_styles', 'a', NAN),
        put('grad_clip', 'gen', 'kept', NAN), put('grad_clip', 'dis', 'steps', -1),
        put('memory', 'style_statistics', 'a.square', -1.0), put('memory', 'style_statistics', 'b.mean', INF),
        put('progress', []), put('memory', 3), put('step', 3), put('step', torch.tensor(2)), put('step', '2'),
        put('checksums', None), put('checksums', {'../gen.pt': 1})]


@pytest.mark.parametrize('number', range(len(ODD)))
def test_an_invalid_state_is_skipped_without_a_seal_too(folder, number, capsys):
    rewrite(folder, ODD[number])
    trainer = MUNIT_Trainer(CONFIG)
    assert trainer.resume(folder) == 1
    assert 'passed over step 2: ' in capsys.readouterr().err


@pytest.mark.slow
def test_any_changed_value_is_detected_by_the_seal(folder, capsys):
    rng = random.Random(1)
    path = snapshots.file_of(folder, 'state', 2)
    whole = torch.load(path)
    for _ in range(60):
        state = copy.deepcopy(whole)
        name = rng.choice([name for name, _ in leaves(state) if name.split('.')[0] not in ('seal', 'checksums')])
        *place, last = name.split('.')
        inner = state
        for key in place:
            inner = inner[int(key)] if isinstance(inner, list) or (key.isdigit() and key not in inner) else inner[key]
        if last not in inner:   # names of tensors have dots, names of parameters are numbers
            continue
        value = inner[last]
        if isinstance(value, torch.Tensor):
            value.view(-1)[rng.randrange(value.numel())] += 1
        else:
            inner[last] = rng.choice([0.25, 1, 'text', None]) if value not in (0.25, 1, 'text', None) else 17
        torch.save(state, path)
        assert MUNIT_Trainer(CONFIG).resume(folder) == 1, name
        assert 'is not what was written' in capsys.readouterr().err or name == 'step'


def test_the_config_decides_how_adam_steps(folder):
    odd = {'amsgrad': True, 'maximize': True, 'eps': 0.5, 'decoupled_weight_decay': True, 'differentiable': True,
           'lr': 7.0, 'betas': (0.1, 0.2), 'weight_decay': 3.0, 'foreach': True, 'capturable': True, 'more': 1}
    rewrite(folder, lambda state: [state[of]['param_groups'][0].update(odd) for of in ('gen', 'dis')])
    trainer, fresh = MUNIT_Trainer(CONFIG), MUNIT_Trainer(CONFIG)
    assert trainer.resume(folder) == 2
    for of in ('gen', 'dis'):
        found, wanted = ({key: value for key, value in one._optimizers()[of].param_groups[0].items() if key != 'params'}
                         for one in (trainer, fresh))
        assert found == wanted
    iterate(trainer, 3)


@pytest.mark.parametrize('change', [
    lambda state: state['gen']['state'].pop(0),
    lambda state: state['gen']['param_groups'].clear(),
    lambda state: state['gen']['param_groups'][0]['params'].append(99),
    lambda state: state['gen']['state'][0].pop('exp_avg'),
    lambda state: state['gen']['state'].update({0: [1]}),
    lambda state: state['gen']['state'][0].update(exp_avg=torch.zeros(3)),
    lambda state: state['gen']['state'][0].update(exp_avg='text'),
    lambda state: state.update(gen=3), lambda state: state.pop('dis'),
    lambda state: state['grad_clip'].update(other={}), lambda state: state['grad_clip'].update(gen=None),
    lambda state: state['memory'].update(style_statistics={}), lambda state: state['display_styles'].update(a=3)])
def test_a_state_that_does_not_fit_is_refused_before_anything_is_loaded(folder, change):
    rewrite(folder, change)
    trainer = MUNIT_Trainer(CONFIG)
    weights = copy.deepcopy(trainer.gen_a.state_dict())
    with pytest.raises(BadInput, match='with fresh moments'):
        trainer.resume(folder)
    assert all(torch.equal(value, weights[name]) for name, value in trainer.gen_a.state_dict().items())


def test_a_run_with_only_damaged_snapshots_does_not_start_over(folder):
    for step in (1, 2):
        rewrite(folder, put('gen', 'state', 0, 'exp_avg', NAN), step)
    with pytest.raises(BadInput, match='none of its snapshots can be used'):
        MUNIT_Trainer(CONFIG).resume(folder)


def test_the_originals_optimizer_file_is_checked_as_well(folder):
    state = torch.load(snapshots.file_of(folder, 'state', 2))
    first_moment(state, 'exp_avg_sq').fill_(-1)
    torch.save({of: state[of] for of in ('gen', 'dis')}, folder / 'optimizer.pt')
    for path in folder.glob('state_*'):
        path.unlink()
    with pytest.raises(BadInput, match=r'optimizer.pt: gen: exp_avg_sq holds negative numbers; move it away'):
        MUNIT_Trainer(CONFIG).resume(folder)


def test_a_snapshot_with_weights_that_are_not_finite_is_passed_over(folder, capsys):
    for path in folder.glob('state_*'):   # files of the original
        path.unlink()
    (folder / 'optimizer.pt').unlink()
    content = torch.load(folder / 'gen_00000002.pt')
    content['b']['mlp.model.0.fc.weight'][0, 0] = NAN
    torch.save(content, folder / 'gen_00000002.pt')
    assert MUNIT_Trainer(CONFIG).resume(folder) == 1
    assert 'passed over step 2' in capsys.readouterr().err


@pytest.mark.parametrize('where', ['gen_a.mlp.model.0.fc.weight', 'dis_b.cnns.0.0.conv.bias', 'moment'])
def test_values_that_are_not_finite_are_not_saved_and_delete_no_snapshot(folder, where):
    trainer = MUNIT_Trainer(CONFIG)
    trainer.resume(folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    spoilt = dict(trainer.named_parameters()).get(where, next(iter(trainer.gen_opt.state.values()))['exp_avg_sq'])
    with torch.no_grad():
        spoilt.view(-1)[0] = INF
    with pytest.raises(NotFinite):
        trainer.save(folder, 3, keep=1)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.slow
def test_a_recursive_state_is_a_fault():
    endless: list = []
    endless.append(endless)
    assert 'without end' in fault_of_state({'progress': {'x': endless}})
    wide: list = []
    for _ in range(60):
        wide = [wide, wide]
    assert 'more than' in fault_of_state({'progress': {'x': wide}})


@pytest.mark.parametrize('tensor', [torch.randn(3, 5), torch.randn(7).half(), torch.randn(2, 3, 4, 4).contiguous(
    memory_format=torch.channels_last), torch.tensor(3.5), torch.arange(3), torch.tensor([True, False]),
    torch.randn(9)[1:], torch.empty(0)])
def test_the_seal_depends_on_every_number(tensor):
    for i in range(tensor.numel()):
        other = tensor.clone()
        flat = other.permute(0, 2, 3, 1).view(-1) if tensor.dim() == 4 else other.view(-1)
        flat[i] = ~flat[i] if tensor.dtype == torch.bool else flat[i] + 1
        assert seal_of({'x': other}) != seal_of({'x': tensor}), i
    assert seal_of({'x': tensor}) == seal_of({'x': tensor.clone()}) != seal_of({'x': tensor[None]})


def test_the_seal_distinguishes_values_of_different_types():
    values = [0, 0.0, -0.0, False, None, '0', [], {}, [0], {'a': 0}, math.pi, torch.zeros(()), torch.zeros(1)]
    assert len({seal_of({'x': value}) for value in values}) == len(values)


def test_a_valid_state_passes(folder):
    state = torch.load(snapshots.file_of(folder, 'state', 2))
    assert fault_of_state(state) == '' and dict(tensors(state))
