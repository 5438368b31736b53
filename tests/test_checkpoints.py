"""Checkpoint files: written and read back, exchanged with the original, and refused when they are something else."""
import collections
import copy
import os
import pickle
import struct
import types

import pytest
import torch
from parity import config_with, filled_trainer, waves

from core import snapshots
from core.checkpoints import load_file, load_networks, load_vgg_weights
from core.errors import BadInput
from networks import Vgg16
from trainer import MUNIT_Trainer, UNIT_Trainer

UNIT = {'recon_kl_w': 0.01, 'recon_kl_cyc_w': 0.01, 'recon_x_cyc_w': 10}
both_trainers = pytest.mark.parametrize('trainer_class, changes', [(MUNIT_Trainer, {}), (UNIT_Trainer, UNIT)])


def iterate(trainer, seed: int) -> None:
    torch.manual_seed(seed)
    trainer.update_learning_rate()
    trainer.update(waves(seed, 1, 3, 64, 64), waves(seed + 1, 1, 3, 64, 64))


def trained(trainer_class=MUNIT_Trainer, **changes):
    trainer = filled_trainer(trainer_class, config_with(**changes))
    iterate(trainer, 1)
    return trainer


@pytest.fixture(scope='module')
def munit():
    return trained()


@pytest.fixture
def saved(munit, tmp_path):
    """A folder with a snapshot after one iteration."""
    munit.save(tmp_path, 1)
    return tmp_path


@pytest.fixture
def originals(saved):
    """The same folder as the original writes it, without a state file."""
    (saved / 'state_00000001.pt').unlink()
    states = torch.load(saved / 'optimizer.pt', weights_only=True)
    torch.save({kind: states[kind] for kind in ('gen', 'dis')}, saved / 'optimizer.pt')
    return saved


def assert_equal_states(one: dict, two: dict) -> None:
    assert one.keys() == two.keys()
    for key, value in one.items():
        assert torch.equal(value, two[key]), key


def save_legacy(content, path) -> None:
    """Write a file in the format of PyTorch before 1.6."""
    torch.save(content, path, _use_new_zipfile_serialization=False)


# -- there and back ---------------------------------------------------------------------------------------------------

@both_trainers
def test_a_resumed_run_is_bit_identical(trainer_class, changes, tmp_path):
    trainer = trained(trainer_class, **changes)
    trainer.save(tmp_path, 1)
    resumed = trainer_class(trainer.config)
    assert resumed.resume(tmp_path) == resumed.iteration == 1
    for seed in (2, 3):
        iterate(trainer, seed)
        iterate(resumed, seed)
    assert_equal_states(trainer.state_dict(), resumed.state_dict())


def test_a_snapshot_has_the_originals_layout(munit, saved):
    assert {path.name for path in saved.iterdir()} == {
        'gen_00000001.pt', 'dis_00000001.pt', 'state_00000001.pt', 'optimizer.pt'}
    for name, networks in (('gen_00000001.pt', ('gen_a', 'gen_b')), ('dis_00000001.pt', ('dis_a', 'dis_b'))):
        content = torch.load(saved / name, weights_only=True)
        assert list(content) == ['a', 'b']
        for key, network in zip('ab', networks, strict=True):
            assert_equal_states(content[key], getattr(munit, network).state_dict())
    assert list(torch.load(saved / 'optimizer.pt', weights_only=True))[:2] == ['gen', 'dis']


def test_the_original_can_resume_from_our_optimizer_file(saved):
    fresh = MUNIT_Trainer(config_with())
    parameters = [*fresh.dis_a.parameters(), *fresh.dis_b.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=0.5)
    optimizer.load_state_dict(torch.load(saved / 'optimizer.pt', weights_only=True)['dis'])
    torch.optim.lr_scheduler.StepLR(optimizer, step_size=100000, gamma=0.5, last_epoch=1)  # requires initial_lr
    assert optimizer.param_groups[0]['lr'] == 0.0001


def test_the_newest_snapshot_with_both_networks_is_used(tmp_path):
    for name in ('gen_00000002.pt', 'dis_00000002.pt', 'gen_00000010.pt', 'dis_00000010.pt', 'gen_00000020.pt',
                 'dis_00000030.pt', 'gen_00000040.pt.part', 'dis_00000040.pt', 'gen_best.pt', 'dis_best.pt'):
        (tmp_path / name).touch()
    assert snapshots.newest(tmp_path)[0] == 10


def test_without_a_snapshot_nothing_is_resumed(tmp_path):
    assert snapshots.newest(tmp_path) == (None, [])
    assert MUNIT_Trainer(config_with()).resume(tmp_path) == 0


def test_networks_without_an_optimizer_file_resume_with_fresh_moments(munit, originals, capsys):
    (originals / 'optimizer.pt').unlink()
    resumed = MUNIT_Trainer(munit.config)
    assert resumed.resume(originals) == 1
    assert 'moments start from zero' in capsys.readouterr().err
    assert not resumed.gen_opt.state


def test_an_optimizer_file_of_another_step_is_not_used(munit, saved, capsys):
    (saved / 'state_00000001.pt').unlink()
    for kind in ('gen', 'dis'):
        (saved / f'{kind}_00000001.pt').rename(saved / f'{kind}_00000007.pt')
    resumed = MUNIT_Trainer(munit.config)
    assert resumed.resume(saved) == 7
    assert not resumed.gen_opt.state and 'moments start from zero' in capsys.readouterr().err


# -- half snapshots ---------------------------------------------------------------------------------------------------

FULL = OSError(28, 'No space left on device')


@pytest.mark.parametrize('killed_at', range(9))
def test_a_complete_snapshot_is_resumed_wherever_saving_is_interrupted(munit, saved, monkeypatch, killed_at):
    """Saving fails at the n-th write or rename of a file; 8 is after the last."""
    trainer = copy.deepcopy(munit)
    iterate(trainer, 5)
    calls = []

    def failing(function):
        def wrapped(*args, **options):
            calls.append(function.__name__)
            if len(calls) > killed_at:
                raise FULL
            return function(*args, **options)
        return wrapped

    with monkeypatch.context() as patched:
        patched.setattr(snapshots, 'write_file', failing(snapshots.write_file))
        patched.setattr(os, 'replace', failing(os.replace))
        patched.setattr(os, 'link', failing(os.link))
        if killed_at < 8:
            with pytest.raises(OSError):
                trainer.save(saved, 2)
        else:
            trainer.save(saved, 2)
    resumed = MUNIT_Trainer(munit.config)
    step = resumed.resume(saved)
    wanted = {1: munit, 2: trainer}[step]
    assert_equal_states(resumed.state_dict(), wanted.state_dict())
    moments = [o.state[o.param_groups[0]['params'][0]]['exp_avg'] for o in (resumed.gen_opt, wanted.gen_opt)]
    assert torch.equal(*moments)
    assert step == (2 if killed_at >= 6 else 1), calls
    if killed_at < 6:   # renamed files exist, temporary files do not
        assert not list(saved.glob('*.part'))


@pytest.mark.parametrize('damage', ['other', 'short', 'gone'])
@pytest.mark.parametrize('kind', ['gen', 'dis', 'state'])
def test_a_damaged_snapshot_is_skipped_and_reported(munit, saved, capsys, kind, damage):
    trainer = copy.deepcopy(munit)
    iterate(trainer, 5)
    trainer.save(saved, 2)
    path = saved / f'{kind}_00000002.pt'
    if damage == 'other':
        path.write_bytes((saved / f'{kind}_00000001.pt').read_bytes())
    elif damage == 'short':
        path.write_bytes(path.read_bytes()[:-100])
    elif kind != 'state':   # a pair without a state counts as the original's
        path.unlink()
    resumed = MUNIT_Trainer(munit.config)
    if (kind, damage) == ('state', 'gone'):
        assert resumed.resume(saved) == 2
        return
    assert resumed.resume(saved) == 1
    assert_equal_states(resumed.state_dict(), munit.state_dict())
    assert 'passed over step 2' in capsys.readouterr().err


def test_old_snapshots_are_deleted_and_two_states_kept(munit, tmp_path):
    for step in (1, 2, 3, 4):
        munit.save(tmp_path, step)
    assert sorted(path.name for path in tmp_path.glob('state_*')) == ['state_00000003.pt', 'state_00000004.pt']
    assert len(list(tmp_path.glob('gen_*'))) == 4
    munit.save(tmp_path, 5, keep=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        [f'{kind}_0000000{step}.pt' for kind in ('gen', 'dis', 'state') for step in (4, 5)] + ['optimizer.pt'])


@pytest.mark.parametrize('keep', [1, 2])
def test_a_dropped_snapshot_leaves_no_files(munit, tmp_path, keep):
    for step in (1, 2, 3, 4):
        munit.save(tmp_path, step, keep)
        if step == 3:   # as after a kill between two files
            (tmp_path / 'gen_00000001.pt').unlink(missing_ok=True)
            (tmp_path / 'dis_00000001.pt').touch()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        [f'{kind}_0000000{step}.pt' for kind in ('gen', 'dis', 'state') for step in range(5 - keep, 5)]
        + ['optimizer.pt'])


def test_damaged_newer_snapshots_do_not_push_out_the_one_just_written(munit, tmp_path):
    for step in (1, 2, 3):
        munit.save(tmp_path, step)
    for step in (2, 3):
        (tmp_path / f'dis_0000000{step}.pt').write_bytes(b'short')
    munit.save(tmp_path, 1, keep=2)
    assert snapshots.newest(tmp_path)[0] == 1 and (tmp_path / 'state_00000001.pt').exists()


def test_display_styles_and_counters_are_restored(munit, tmp_path):
    trainer = copy.deepcopy(munit)
    trainer.progress = {'seed': 5, 'drawn': 17}
    trainer.bad_steps.fill_(3)
    trainer.save(tmp_path, 1)
    torch.manual_seed(99)
    resumed = MUNIT_Trainer(munit.config)
    assert not torch.equal(resumed.s_a, trainer.s_a)
    resumed.resume(tmp_path)
    assert torch.equal(resumed.s_a, trainer.s_a) and torch.equal(resumed.s_b, trainer.s_b)
    assert resumed.progress == {'seed': 5, 'drawn': 17} and int(resumed.bad_steps) == 3


# -- files of older PyTorch -------------------------------------------------------------------------------------------

def test_files_of_pytorch_0_3_load_and_training_continues(munit, originals):
    """The old format, running statistics of instance norms, and optimizers with integer steps, ids and few keys."""
    networks = torch.load(originals / 'gen_00000001.pt', weights_only=True)
    for state in networks.values():
        for key in [key for key in state if key.startswith('enc_content') and key.endswith('.conv.weight')]:
            norm = key.replace('.conv.weight', '.norm')
            state[f'{norm}.running_mean'] = torch.zeros(len(state[key]))
            state[f'{norm}.running_var'] = torch.ones(len(state[key]))
    save_legacy(networks, originals / 'gen_00000001.pt')

    optimizers = torch.load(originals / 'optimizer.pt', weights_only=True)
    for state in optimizers.values():
        state['state'] = {139900000000000 + 8 * i: {**entry, 'step': int(entry['step'])}
                          for i, entry in state['state'].items()}
        group = state['param_groups'][0]
        state['param_groups'] = [{'params': [139900000000000 + 8 * i for i in group['params']],
                                  **{key: group[key] for key in ('lr', 'betas', 'eps', 'weight_decay', 'initial_lr')}}]
    save_legacy(optimizers, originals / 'optimizer.pt')

    trainer, resumed = copy.deepcopy(munit), MUNIT_Trainer(munit.config)
    assert resumed.resume(originals) == 1
    iterate(resumed, 2)
    modern = MUNIT_Trainer(munit.config)
    trainer.save(originals, 1)
    modern.resume(originals)
    iterate(modern, 2)
    assert_equal_states(resumed.state_dict(), modern.state_dict())


def test_batch_norms_of_pytorch_0_3_without_counters_load(tmp_path):
    made, fresh = (MUNIT_Trainer(config_with(dis={'norm': 'bn'})) for _ in range(2))
    torch.save({name: {key: value for key, value in dis.state_dict().items() if not key.endswith('batches_tracked')}
                for name, dis in (('a', made.dis_a), ('b', made.dis_b))}, tmp_path / 'dis.pt')
    load_networks(tmp_path / 'dis.pt', {'a': fresh.dis_a, 'b': fresh.dis_b})
    assert_equal_states(fresh.dis_a.state_dict(), made.dis_a.state_dict())


def test_files_that_a_gpu_wrote_load_without_one(munit, tmp_path):
    path = tmp_path / 'dis.pt'
    save_legacy({'a': munit.dis_a.state_dict(), 'b': munit.dis_b.state_dict()}, path)
    cpu, cuda = (b'X' + struct.pack('<i', len(tag)) + tag for tag in (b'cpu', b'cuda:0'))
    assert cpu in path.read_bytes()
    path.write_bytes(path.read_bytes().replace(cpu, cuda))
    fresh = MUNIT_Trainer(munit.config)
    load_networks(path, {'a': fresh.dis_a, 'b': fresh.dis_b})
    assert_equal_states(fresh.dis_b.state_dict(), munit.dis_b.state_dict())


class PicklerOfPython2(pickle._Pickler):
    """Pickles strings and ordered dicts as Python 2 did, with which the original's models were trained."""

    dispatch = dict(pickle._Pickler.dispatch)

    def save_str(self, text: str) -> None:
        self.write(pickle.SHORT_BINSTRING + bytes([len(text)]) + text.encode())
        self.memoize(text)

    dispatch[str] = save_str

    def reducer_override(self, value):
        if type(value) is not collections.OrderedDict:
            return NotImplemented
        return type(value), ([[key, entry] for key, entry in value.items()],), vars(value) or None


def test_files_of_python_2_load(munit, tmp_path):
    python_2 = types.SimpleNamespace(__name__='pickle', Pickler=PicklerOfPython2,
                                     dump=lambda value, file, protocol: PicklerOfPython2(file, protocol).dump(value))
    torch.save({'a': munit.gen_a.state_dict(), 'b': munit.gen_b.state_dict()}, tmp_path / 'gen.pt',
               pickle_module=python_2, _use_new_zipfile_serialization=False)
    fresh = MUNIT_Trainer(munit.config)
    load_networks(tmp_path / 'gen.pt', {'a': fresh.gen_a, 'b': fresh.gen_b})
    assert_equal_states(fresh.gen_b.state_dict(), munit.gen_b.state_dict())


class TensorOf03:
    """Pickles a tensor as PyTorch 0.3 did."""

    def __init__(self, tensor: torch.Tensor):
        self.tensor = tensor

    def __reduce__(self):
        tensor = self.tensor
        return torch._utils._rebuild_tensor, (tensor.storage(), 0, tuple(tensor.shape), tensor.stride())


@pytest.mark.filterwarnings('ignore:TypedStorage is deprecated')
def test_tensors_as_pytorch_0_3_pickled_them_load(munit, tmp_path):
    states = {name: collections.OrderedDict((key, TensorOf03(value.clone())) for key, value in dis.state_dict().items())
              for name, dis in (('a', munit.dis_a), ('b', munit.dis_b))}
    save_legacy(states, tmp_path / 'dis.pt')
    fresh = MUNIT_Trainer(munit.config)
    load_networks(tmp_path / 'dis.pt', {'a': fresh.dis_a, 'b': fresh.dis_b})
    assert_equal_states(fresh.dis_b.state_dict(), munit.dis_b.state_dict())


# -- refused ----------------------------------------------------------------------------------------------------------

class Payload:
    """Runs a command when it is unpickled."""

    def __init__(self, command: str):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


@pytest.mark.parametrize('legacy', [True, False])
def test_nothing_in_a_checkpoint_is_executed(tmp_path, legacy):
    mark = tmp_path / 'executed'
    torch.save({'a': Payload(f'touch {mark}')}, tmp_path / 'bad.pt', _use_new_zipfile_serialization=not legacy)
    with pytest.raises(BadInput, match='which is not loaded'):
        load_file(tmp_path / 'bad.pt')
    assert not mark.exists()


@pytest.mark.parametrize('make, words', [
    (lambda path: path.write_text('hello'), 'a text of 5 bytes, not a checkpoint'),
    (lambda path: path.write_bytes(b''), 'an empty file'),
    (lambda path: path.write_bytes(bytes(range(256))), 'not a checkpoint of PyTorch'),
    (lambda path: path.mkdir(), 'Is a directory'),
    (lambda path: None, 'No such file'),
    (lambda path: path.write_bytes(pickle.dumps(Payload('true'))), 'which is not loaded'),
    (lambda path: torch.save(torch.zeros(3), path), 'but a Tensor'),
    (lambda path: torch.save({'x': 1}, path), "holds no tensors; its names begin with 'x'; wanted is"),
    (lambda path: torch.save({'a': {1: 2}, 'b': []}, path), "holds no tensors; its names begin with 'a', 'b'; wanted"),
    (lambda path: torch.save({'a': {'x': torch.zeros(1)}, 'b': {'x': torch.zeros(1)}}, path),
     "holds 2 tensors, the first 'a.x', 'b.x'; wanted is a generator of MUNIT for 'a' and 'b', as in gen_XXXXXXXX.pt"),
    (lambda path: torch.save({'a': {'enc_style.x': torch.zeros(1)}, 'b': {'cnns.x': torch.zeros(1)}}, path),
     "holds a generator of MUNIT under 'a', a discriminator under 'b'; wanted is"),
])
def test_another_file_is_refused_in_one_line_that_names_it(munit, tmp_path, make, words):
    path = tmp_path / 'file.pt'
    make(path)
    with pytest.raises(BadInput, match=words) as error:
        load_networks(path, {'a': munit.gen_a, 'b': munit.gen_b}, '--checkpoint')
    assert str(error.value).startswith(f'--checkpoint {path}: ') and '\n' not in str(error.value)


@pytest.mark.parametrize('found, wanted, words', [
    ('optimizer.pt', 'gen', 'this is an optimizer state; use gen_XXXXXXXX.pt'),
    ('dis_00000001.pt', 'gen', 'this is a discriminator; use gen_XXXXXXXX.pt'),
    ('gen_00000001.pt', 'dis', 'this is a generator of MUNIT; use dis_XXXXXXXX.pt'),
    ('gen_00000001.pt', 'unit', 'this is a generator of MUNIT; .* give --trainer MUNIT')])
def test_another_kind_of_checkpoint_is_recognized(munit, saved, found, wanted, words):
    networks = {'gen': munit.gen_a, 'dis': munit.dis_a, 'unit': UNIT_Trainer.Generator(3, munit.config['gen'])}
    with pytest.raises(BadInput, match=words):
        load_networks(saved / found, {'a': networks[wanted]})


@pytest.mark.parametrize('share', [0.01, 0.3, 0.6, 0.99])
def test_a_file_cut_short_is_refused(munit, saved, share):
    path = saved / 'gen_00000001.pt'
    whole = path.read_bytes()
    path.write_bytes(whole[:int(share * len(whole))])
    with pytest.raises(BadInput, match='cut short'):
        load_networks(path, {'a': munit.gen_a, 'b': munit.gen_b})


@pytest.mark.parametrize('changes, words', [
    ({'gen': {'dim': 16}}, 'the checkpoint has gen.dim 8, the config says 16'),
    ({'gen': {'style_dim': 4}}, 'the checkpoint has gen.style_dim 8, the config says 4'),
    ({'gen': {'mlp_dim': 8}}, 'the checkpoint has gen.mlp_dim 16, the config says 8'),
    ({'gen': {'n_res': 3}}, 'the checkpoint has gen.n_res 4, the config says 3'),
    ({'gen': {'n_downsample': 3}}, 'the checkpoint has gen.n_downsample 2, the config says 3'),
    ({'gen': {'activ': 'prelu'}}, 'the checkpoint has gen.activ other than prelu, the config says prelu'),
    ({'input_dim_a': 1}, 'the checkpoint has input_dim_a 3, the config says 1'),
    ({'input_dim_b': 1}, 'the checkpoint has input_dim_b 3, the config says 1')])
def test_a_generator_that_does_not_fit_names_the_key_of_the_config(saved, changes, words):
    other = MUNIT_Trainer(config_with(**changes))
    with pytest.raises(BadInput, match=words):
        load_networks(saved / 'gen_00000001.pt', {'a': other.gen_a, 'b': other.gen_b})


@pytest.mark.parametrize('changes, words', [
    ({'dis': {'dim': 16}}, 'dis.dim 8, the config says 16'),
    ({'dis': {'n_layer': 3}}, 'dis.n_layer 4, the config says 3'),
    ({'dis': {'num_scales': 2}}, 'dis.num_scales 3, the config says 2'),
    ({'dis': {'norm': 'sn'}}, 'dis.norm none or in, the config says sn'),
    ({'dis': {'norm': 'ln'}}, 'dis.norm none or in, the config says ln')])
def test_a_discriminator_that_does_not_fit_names_the_key_of_the_config(saved, changes, words):
    other = MUNIT_Trainer(config_with(**changes))
    with pytest.raises(BadInput, match=words):
        load_networks(saved / 'dis_00000001.pt', {'a': other.dis_a, 'b': other.dis_b})


def without_moments(states: dict) -> dict:
    return {}


def with_other_shapes(states: dict) -> dict:
    return {**states, 'state': {i: {**entry, 'exp_avg': torch.zeros(3)} for i, entry in states['state'].items()}}


def of_sgd(states: dict) -> dict:
    return {**states, 'state': {i: {'momentum_buffer': entry['exp_avg']} for i, entry in states['state'].items()}}


@pytest.mark.parametrize('change', [without_moments, with_other_shapes, of_sgd])
def test_an_optimizer_file_of_something_else_is_refused(munit, originals, change):
    states = torch.load(originals / 'optimizer.pt', weights_only=True)
    torch.save({kind: change(state) for kind, state in states.items()}, originals / 'optimizer.pt')
    with pytest.raises(BadInput, match='not the optimizer state of this config'):
        MUNIT_Trainer(munit.config).resume(originals)


def test_a_resumed_run_takes_the_hyperparameters_of_its_config(saved):
    config = config_with(beta1=0.9, weight_decay=0, lr=0.5)
    resumed = MUNIT_Trainer(config)
    resumed.resume(saved)
    resumed.update_learning_rate()
    group = resumed.gen_opt.param_groups[0]
    assert (group['betas'], group['weight_decay'], group['lr']) == ((0.9, 0.999), 0, 0.5)


# -- VGG --------------------------------------------------------------------------------------------------------------

@pytest.fixture(scope='module')
def torchvision_vgg():
    from torchvision.models import vgg16
    torch.manual_seed(0)
    return vgg16(weights=None).features.eval()


def test_torchvisions_vgg_gives_the_same_features_in_our_names(torchvision_vgg, tmp_path):
    torch.save({f'features.{key}': value for key, value in torchvision_vgg.state_dict().items()}, tmp_path / 'vgg.pth')
    vgg, x = Vgg16(), waves(1, 1, 3, 32, 48)
    load_vgg_weights(vgg, str(tmp_path / 'vgg.pth'))
    with torch.no_grad():
        wanted = (x + 1) * 127.5 - torch.tensor([123.680, 116.779, 103.939]).view(1, 3, 1, 1)   # RGB
        for layer in torchvision_vgg[:23]:
            wanted = layer(wanted)
        for layer in torchvision_vgg[24:30]:   # as the original: without the fourth pool
            wanted = layer(wanted)
        found = vgg(x)
    assert found.shape == (1, 512, 4, 6)
    assert torch.allclose(found, wanted, rtol=1e-3, atol=1e-5 * wanted.abs().max().item())


def test_the_originals_vgg_file_loads_when_a_trainer_is_made(tmp_path):
    vgg = Vgg16()
    save_legacy(vgg.state_dict(), tmp_path / 'vgg16.weight')
    trainer = MUNIT_Trainer(config_with(vgg_w=1, vgg_weights=str(tmp_path / 'vgg16.weight')))
    assert_equal_states(trainer.vgg.state_dict(), vgg.state_dict())
    losses = trainer.gen_update(waves(1, 1, 3, 64, 64), waves(2, 1, 3, 64, 64))
    assert losses['loss_gen_vgg_a'] > 0 and losses['loss_gen_vgg_b'] > 0


def test_torchvisions_cache_is_used_if_the_originals_vgg_file_is_missing(tmp_path, monkeypatch, torchvision_vgg):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path))
    with pytest.raises(BadInput, match='models/vgg16.weight does not exist'):
        load_vgg_weights(Vgg16(), 'models/vgg16.weight')
    (tmp_path / 'checkpoints').mkdir()
    torch.save({f'features.{key}': value for key, value in torchvision_vgg.state_dict().items()},
               tmp_path / 'checkpoints' / 'vgg16_features-amdegroot-88682ab5.pth')
    vgg = Vgg16()
    load_vgg_weights(vgg, 'models/vgg16.weight')
    assert torch.equal(vgg.conv1_2.weight, torchvision_vgg[2].weight)


@pytest.mark.parametrize('content', [
    {1: 2}, {'conv1_1.weight': 1}, {'features.0.weight': 1}, {'features.x.weight': torch.zeros(1)},
    {'features.0.weight': torch.zeros(()), 'features.0.bias': torch.zeros(64)}])
def test_unexpected_entries_are_not_accepted_as_vgg(tmp_path, content):
    torch.save(content, tmp_path / 'vgg.pth')
    with pytest.raises(BadInput, match='not VGG-16'):
        load_vgg_weights(Vgg16(), str(tmp_path / 'vgg.pth'))


def test_another_networks_weights_are_not_accepted_as_vgg(saved):
    with pytest.raises(BadInput, match='not VGG-16'):
        load_vgg_weights(Vgg16(), str(saved / 'dis_00000001.pt'))
