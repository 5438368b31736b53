"""Checkpoints as safetensors: lossless conversion, and metadata that replaces --config."""
import json
import struct

import export_onnx as export_command
import halve_checkpoint
import numpy as np
import pytest
import torch
from parity import CONFIG
from PIL import Image
from test_commands import complaint
from tiny import flags, make_model

import evaluate as evaluate_command
import test as test_command
import test_batch as test_batch_command
from core.checkpoints import load_file
from engine.python_api import munit
from networks import MsImageDis

pytest.importorskip('safetensors')


@pytest.fixture(scope='module')
def model(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp('model'), input_dim_a=1)


@pytest.fixture(scope='module')
def converted(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp('converted')
    export_command.main(flags(model, output_folder=folder, format='safetensors'))
    return folder / 'gen.safetensors'


def without_config(model, converted, **others):
    return [word for word in flags({**model, 'checkpoint': converted}, **others) if not word.startswith('--config')]


def same(first, second):
    return first.keys() == second.keys() and all(
        first[name].keys() == second[name].keys() and all(
            torch.equal(value, second[name][key]) and value.dtype == second[name][key].dtype
            for key, value in first[name].items()) for name in first)


def test_conversion_there_and_back_is_bit_identical(model, converted, tmp_path):
    export_command.main(without_config(model, converted, output_folder=tmp_path, format='pt'))
    assert same(load_file(model['checkpoint']), load_file(converted))
    assert same(torch.load(model['checkpoint'], weights_only=True), torch.load(tmp_path / 'gen.pt', weights_only=True))
    assert sorted(path.name for path in tmp_path.iterdir()) == ['gen.pt']


def test_half_precision_and_shared_numbers_survive(model, tmp_path):
    content = torch.load(model['checkpoint'], weights_only=True)
    halved = {name: {key: value.half() for key, value in state.items()} for name, state in content.items()}
    keys = [key for key in halved['a'] if halved['a'][key].shape == halved['b'][key].shape]
    halved['a'].update({key: halved['b'][key] for key in keys})
    torch.save(halved, tmp_path / 'half.pt')
    export_command.main(flags({**model, 'checkpoint': tmp_path / 'half.pt'}, output_folder=tmp_path,
                              format='safetensors'))
    assert same(load_file(tmp_path / 'half.safetensors'), halved)


def test_discriminators_convert_too(model, tmp_path):
    torch.manual_seed(0)
    states = {name: MsImageDis(dim, CONFIG['dis']).state_dict() for name, dim in (('a', 1), ('b', 3))}
    torch.save(states, tmp_path / 'dis.pt')
    export_command.main(flags({**model, 'checkpoint': tmp_path / 'dis.pt'}, output_folder=tmp_path,
                              format='safetensors'))
    assert same(load_file(tmp_path / 'dis.safetensors'), states)


def test_commands_make_the_same_with_it_and_without_config(model, converted, tmp_path):
    picture = model['inputs'] / '0.png'
    test_command.main(flags(model, input=picture, output_folder=tmp_path / 'pt', num_style=2))
    test_command.main(without_config(model, converted, input=picture, output_folder=tmp_path / 'st', num_style=2))
    for name in ('output000.jpg', 'output001.jpg', 'input.jpg'):
        assert (tmp_path / 'pt' / name).read_bytes() == (tmp_path / 'st' / name).read_bytes()
    # Its --config has a default, which must not be used.
    test_batch_command.main(without_config(model, converted, input_folder=model['inputs'],
                                           output_folder=tmp_path / 'batch', num_style=1))
    assert len(list((tmp_path / 'batch').rglob('*0.*'))) >= 1


def test_python_needs_no_config_either(model, converted):
    picture = model['inputs'] / '0.png'
    wanted = munit(str(model['checkpoint']), config=str(model['config']), device='cpu').translate(picture, n=1, seed=3)
    found = munit(str(converted), device='cpu').translate(picture, n=1, seed=3)
    assert np.array_equal(np.array(wanted[0]), np.array(found[0]))
    assert isinstance(found[0], Image.Image)


def altered(converted, path, **texts):
    """The file with changed texts in its header."""
    content = converted.read_bytes()
    length, = struct.unpack('<Q', content[:8])
    head = json.loads(content[8:8 + length])
    head['__metadata__'].update(texts)
    told = json.dumps(head).encode()
    path.write_bytes(struct.pack('<Q', len(told)) + told + content[8 + length:])
    return path


@pytest.mark.parametrize('texts, words', [
    ({'config': '{'}, 'not JSON of a config'),
    ({'config': '[]'}, 'not JSON of a config'),
    ({'config': '{}'}, '--config: missing'),
    ({'method': 'UNIT'}, 'made by UNIT; use --trainer UNIT'),
])
def test_an_unusable_header_is_one_line(model, converted, tmp_path, capsys, texts, words):
    path = altered(converted, tmp_path / 'x.safetensors', **texts)
    line = complaint(capsys, test_command.main, *without_config(model, path, input=model['inputs'] / '0.png',
                                                                output_folder=tmp_path / 'out'))
    assert words in line and not (tmp_path / 'out').exists()


def test_a_header_with_absurd_numbers_is_one_line(model, converted, tmp_path, capsys):
    config = load_config_of(converted)
    config['gen']['dim'] = 10 ** 9
    path = altered(converted, tmp_path / 'x.safetensors', config=json.dumps(config))
    line = complaint(capsys, test_command.main, *without_config(model, path, input=model['inputs'] / '0.png',
                                                                output_folder=tmp_path / 'out'))
    assert 'gen.dim: 1000000000 is not from 1 to 65536' in line


def load_config_of(converted):
    from core.safetensors_file import read_about
    return read_about(converted)[1]


@pytest.mark.parametrize('content, words', [
    (b'', 'an empty file: the download or the copy did not come to its end'),
    (b'x' * 100, 'a text of 100 bytes, not a checkpoint'),
    (struct.pack('<Q', 40) + b'{"x":', 'cut short: it has 13 bytes'),
    (struct.pack('<Q', 57) + b'{"x":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}   ' + b'0' * 7,
     'cut short: it declares 73 bytes and has 72'),
    (struct.pack('<Q', 2 ** 60) + b'{}', 'not a safetensors file, or cut short')])
def test_a_broken_file_is_one_line(model, tmp_path, capsys, content, words):
    (tmp_path / 'x.safetensors').write_bytes(content)
    for config in ([], [f'--config={model["config"]}']):
        line = complaint(capsys, test_command.main, f'--checkpoint={tmp_path / "x.safetensors"}', *config,
                         f'--input={model["inputs"] / "0.png"}', f'--output_folder={tmp_path / "out"}')
        assert words in line


def test_what_is_missing_is_one_line(model, converted, tmp_path, capsys):
    words = {'input': model['inputs'] / '0.png', 'output_folder': tmp_path / 'out'}
    line = complaint(capsys, test_command.main, *without_config(model, tmp_path / 'no.safetensors', **words))
    assert 'no.safetensors: No such file' in line
    line = complaint(capsys, test_command.main, *without_config(model, model['checkpoint'], **words))
    assert line.startswith('--config: missing; it may be left out for a .safetensors file')
    line = complaint(capsys, evaluate_command.main, *without_config(model, converted, output_folder=tmp_path / 'out'))
    assert 'the config names no images; give --config' in line


def test_optimizer_states_are_not_converted_and_inputs_not_overwritten(model, converted, tmp_path, capsys):
    torch.save({'gen': {}, 'dis': {}}, tmp_path / 'optimizer.pt')
    line = complaint(capsys, export_command.main, *flags({**model, 'checkpoint': tmp_path / 'optimizer.pt'},
                                                         output_folder=tmp_path, format='safetensors'))
    assert 'this is an optimizer state; use gen_XXXXXXXX.pt' in line
    line = complaint(capsys, export_command.main, *flags(model, output_folder=model['checkpoint'].parent, format='pt'))
    assert 'is an input and would be overwritten' in line


def test_a_pytorch_file_is_not_named_safetensors(model, tmp_path, capsys):
    line = complaint(capsys, halve_checkpoint.main, f'--input={model["checkpoint"]}',
                     f'--output={tmp_path / "half.safetensors"}')
    assert 'use the extension .pt' in line and not list(tmp_path.iterdir())
