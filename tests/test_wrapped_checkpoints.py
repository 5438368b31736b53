"""Checkpoints in the wrappers of other programs: clear ones load with a message, others are refused in one line."""
import copy

import export_onnx as export_command
import halve_checkpoint
import pytest
import torch
from parity import config_with
from test_baselines import make
from test_commands import complaint
from tiny import flags, make_model

import test as test_command
from core import errors
from core.checkpoint_kinds import MOST_ENTRIES, describe, tensors_of
from core.checkpoints import load_file, load_networks, load_vgg_weights
from core.errors import BadInput
from extras.metrics.classifier import SmallClassifier
from extras.metrics.deep_metrics import load_inception
from networks import Vgg16
from trainer import MUNIT_Trainer

METHODS = ('MUNIT', 'UNIT', 'CycleGAN', 'CycleGANNoise', 'BicycleGAN')


@pytest.fixture(autouse=True)
def nothing_said(monkeypatch):
    monkeypatch.setattr(errors, '_SAID', set())


@pytest.fixture(scope='module')
def munit():
    torch.manual_seed(1)
    return MUNIT_Trainer(config_with(gen={'n_res': 1}, dis={'norm': 'sn'}, ema_decay=0.9))


@pytest.fixture(scope='module')
def model(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp('model'))


def prefixed(prefix: str, state: dict) -> dict:
    return {f'{prefix}{key}': value for key, value in state.items()}


def files_of(munit, kind: str) -> dict:
    """Generators or discriminators in all supported wrappers, by the name of the wrapper."""
    nets = {name: network.state_dict() for name, network in munit._parts()[kind].items()}
    both = {name: {f'{kind}_{name}': state} for name, state in nets.items()}
    flat = {**prefixed(f'{kind}_a.', nets['a']), **prefixed(f'{kind}_b.', nets['b'])}
    whole = munit.state_dict()
    return {
        'DataParallel': {name: prefixed('module.', state) for name, state in nets.items()},
        'compiled': {name: prefixed('_orig_mod.', state) for name, state in nets.items()},
        'compiled and parallel': {name: prefixed('module._orig_mod.', state) for name, state in nets.items()},
        'parts compiled': {name: {key.replace('.', '._orig_mod.', 1): value for key, value in state.items()}
                           for name, state in nets.items()},
        'long names': both['a'] | both['b'],
        'capitals': {name.upper(): state for name, state in nets.items()},
        'flat': flat,
        'a state_dict within each': {name: {'state_dict': state} for name, state in nets.items()},
        **{f'in {key}': {key: nets, 'epoch': 3, 'lr': 0.1, 'name': 'x'}
           for key in ('state_dict', 'model', 'net', 'weights')},
        'whole trainer': whole,
        'whole trainer in a wrapper': {'epoch': 7, 'state_dict': prefixed('model.module.', whole),
                                       'optimizer': {'state': {0: {'exp_avg': torch.zeros(3)}}, 'param_groups': []}},
        'by kind and letter': {of: {name: network.state_dict() for name, network in munit._parts()[of].items()}
                               for of in ('gen', 'dis')},
        'by letter and kind': {name: {of: prefixed('module.', munit._parts()[of][name].state_dict())
                                      for of in ('gen', 'dis')} for name in 'ab'},
        'with averages': {'net': nets, 'net_ema': {name: {key: torch.zeros_like(value) for key, value in state.items()}
                                                   for name, state in nets.items()}},
        'averages alone': {'ema_model': prefixed('module.', flat), 'n_averaged': torch.tensor(3)},
    }


WRAPPERS = tuple(files_of(MUNIT_Trainer(config_with(gen={'n_res': 1}, ema_decay=0.9)), 'gen'))


@pytest.mark.parametrize('legacy', [False, True])
@pytest.mark.parametrize('kind', ['gen', 'dis'])
@pytest.mark.parametrize('wrapper', WRAPPERS)
def test_wrapped_networks_load_with_a_message(munit, tmp_path, capsys, wrapper, kind, legacy):
    path = tmp_path / 'x.pt'
    torch.save(files_of(munit, kind)[wrapper], path, _use_new_zipfile_serialization=not legacy)
    networks = {name: copy.deepcopy(network) for name, network in munit._parts()[kind].items()}
    for network in networks.values():
        for value in network.state_dict().values():
            value.zero_()
    load_networks(path, networks, '--checkpoint')
    for name, network in networks.items():
        wanted = munit._parts()[kind][name].state_dict()
        assert all(torch.equal(value, wanted[key]) for key, value in network.state_dict().items())
    line, = capsys.readouterr().err.splitlines()
    assert line.startswith(f"--checkpoint {path}: a wrapped checkpoint; took 'a' from ")


@pytest.mark.parametrize('kind', ['gen', 'dis'])
@pytest.mark.parametrize('method', METHODS[2:])
def test_the_state_dict_of_a_whole_trainer_of_every_method_loads(method, kind, tmp_path):
    trainer, other = make(method), make(method, init='gaussian')
    torch.save({'state_dict': prefixed('module.', trainer.state_dict())}, tmp_path / 'x.pt')
    load_networks(tmp_path / 'x.pt', other._parts()[kind])
    for name, network in other._parts()[kind].items():
        wanted = trainer._parts()[kind][name].state_dict()
        assert all(torch.equal(value, wanted[key]) for key, value in network.state_dict().items())


def test_files_written_by_this_project_load_without_a_message(munit, tmp_path, capsys):
    for kind in ('gen', 'dis'):
        torch.save({name: network.state_dict() for name, network in munit._parts()[kind].items()}, tmp_path / 'x.pt')
        load_networks(tmp_path / 'x.pt', munit._parts()[kind])
    assert capsys.readouterr().err == ''


@pytest.mark.parametrize('make_content, words', [
    (lambda gens: gens['a'], 'holds a generator of MUNIT that names no domain; wanted is a generator of MUNIT for'),
    (lambda gens: prefixed('module.', gens['a']), "holds a generator of MUNIT under 'module'"),
    (lambda gens: {'gen_a': gens['a']}, "holds a generator of MUNIT under 'gen_a'; wanted"),
    (lambda gens: {'b': {'gen_a': gens['a']}}, "holds a generator of MUNIT under 'b.gen_a'; wanted"),
    (lambda gens: {'0': gens['a'], '1': gens['b']}, "a generator of MUNIT under '0', a generator of MUNIT under '1'"),
    (lambda gens: {'first': {'a': gens['a'], 'b': gens['b']}, 'x': {'a': gens['a'], 'b': gens['b']}},
     "under 'x.b'; wanted"),
    (lambda gens: {'epoch': 3, 'layer1': {'weight': torch.zeros(2)}, 'fc.bias': torch.zeros(2)},
     "holds 2 tensors, the first 'layer1.weight', 'fc.bias'; wanted is"),
    (lambda gens: {}, 'holds nothing; wanted is')])
def test_ambiguous_checkpoints_are_refused_with_a_message(munit, tmp_path, make_content, words):
    gens = {name: network.state_dict() for name, network in munit._parts()['gen'].items()}
    torch.save(make_content(gens), tmp_path / 'x.pt')
    with pytest.raises(BadInput) as error:
        load_networks(tmp_path / 'x.pt', munit._parts()['gen'], '--checkpoint')
    assert words in str(error.value) and '\n' not in str(error.value)
    assert "'a' and 'b', as in gen_XXXXXXXX.pt" in str(error.value)


def test_a_wrapped_network_that_does_not_fit_names_the_key_of_the_config(munit, tmp_path):
    torch.save({'state_dict': munit.state_dict()}, tmp_path / 'x.pt')
    other = MUNIT_Trainer(config_with(gen={'n_res': 1, 'style_dim': 4}))
    with pytest.raises(BadInput, match='the checkpoint has gen.style_dim 8, the config says 4'):
        load_networks(tmp_path / 'x.pt', other.generators())


def test_dictionaries_that_share_contents_are_searched_quickly():
    content: dict = {}
    for _ in range(8):
        content = {str(i): content for i in range(1000)}
    assert len(list(tensors_of(content))) == 0 < MOST_ENTRIES
    assert describe(content).startswith('holds no tensors; its names begin with')


def test_the_commands_translate_equally_with_wrapped_files(model, tmp_path, capsys):
    gens = torch.load(model['checkpoint'], weights_only=True)
    torch.save({'net': {f'gen_{name}': prefixed('module.', state) for name, state in gens.items()}}, tmp_path / 'x.pt')
    for checkpoint, out in ((model['checkpoint'], 'plain'), (tmp_path / 'x.pt', 'wrapped')):
        test_command.main(flags({**model, 'checkpoint': checkpoint}, input=model['inputs'] / '0.png', num_style=1,
                                output_folder=tmp_path / out))
    assert (tmp_path / 'plain/output000.jpg').read_bytes() == (tmp_path / 'wrapped/output000.jpg').read_bytes()
    assert capsys.readouterr().err.count('a wrapped checkpoint') == 1
    export_command.main(flags({**model, 'checkpoint': tmp_path / 'x.pt'}, output_folder=tmp_path / 'st', format='pt'))
    halve_checkpoint.main([f'--input={tmp_path / "x.pt"}', f'--output={tmp_path / "half.pt"}'])
    for path in (tmp_path / 'st/x.pt', tmp_path / 'half.pt'):
        content = torch.load(path, weights_only=True)
        assert list(content) == ['a', 'b'] and content['a'].keys() == gens['a'].keys()
    capsys.readouterr()
    torch.save(gens['a'], tmp_path / 'alone.pt')
    for main, words in ((export_command.main, flags({**model, 'checkpoint': tmp_path / 'alone.pt'}, format='pt',
                                                    output_folder=tmp_path / 'st')),
                        (halve_checkpoint.main, [f'--input={tmp_path / "alone.pt"}', '--output=x.pt'])):
        assert 'holds a generator of MUNIT that names no domain; use gen_' in complaint(capsys, main, *words)


def test_wrapped_safetensors_load_too(model, tmp_path):
    safetensors = pytest.importorskip('safetensors.torch')
    gens = torch.load(model['checkpoint'], weights_only=True)
    safetensors.save_file({f'gen_{name}.module.{key}': value for name, state in gens.items()
                           for key, value in state.items()}, tmp_path / 'x.safetensors')
    test_command.main(flags({**model, 'checkpoint': tmp_path / 'x.safetensors'}, input=model['inputs'] / '0.png',
                            num_style=1, output_folder=tmp_path))
    assert (tmp_path / 'output000.jpg').exists()


def test_a_run_resumes_from_wrapped_files_of_the_original(munit, tmp_path, capsys):
    munit.save(tmp_path, 3)
    for kind in ('gen', 'dis', 'ema'):
        path = tmp_path / f'{kind}_00000003.pt'
        torch.save({name: prefixed('module.', state) for name, state in load_file(path).items()}, path)
    for path in (*tmp_path.glob('state_*'), tmp_path / 'optimizer.pt'):
        path.unlink()
    other = MUNIT_Trainer(munit.config)
    assert other.resume(tmp_path) == 3
    assert all(torch.equal(value, munit.state_dict()[key]) for key, value in other.state_dict().items())
    assert capsys.readouterr().err.count('a wrapped checkpoint') == 3


def test_wrapped_vgg_and_classifiers_load(tmp_path):
    vgg, own = Vgg16(), Vgg16()
    torch.save({'state_dict': prefixed('module.', vgg.state_dict())}, tmp_path / 'vgg.pt')
    load_vgg_weights(own, str(tmp_path / 'vgg.pt'))
    assert torch.equal(own.conv5_3.weight, vgg.conv5_3.weight)
    classifier = SmallClassifier(3)
    torch.save({'model': prefixed('module.', classifier.state_dict()), 'epoch': 3}, tmp_path / 'small.pt')
    loaded = load_inception(str(tmp_path / 'small.pt'), '--classifier')
    assert torch.equal(loaded.fc.weight, classifier.fc.weight)
