"""Malicious and damaged input: one line each, nothing executed, no partial files, bounded time and memory."""
import argparse
import collections
import io
import os
import socket
import struct
import subprocess
import sys
import time
import warnings
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from parity import config_with
from PIL import Image
from PIL.PngImagePlugin import PngInfo

import test as test_command
import test_batch as test_batch_command
import train as train_command
from core.checkpoint_scan import LARGEST_FILE
from core.checkpoints import load_file, load_networks, load_vgg_weights
from core.device import choose_device
from core.errors import BadInput, shown
from core.files import make_folder
from data import describe_images, list_folder, read_image, read_list
from engine.cli import TranslationParser, at_least, run_command
from engine.config import load_config
from engine.run_page.page import Report
from networks import AdaINGen, Vgg16
from trainer import MUNIT_Trainer

ROOT = Path(__file__).resolve().parents[1]


def refused(function, *arguments, words: str = '.', **options) -> str:
    """The one line with which `function` refuses its input, in less than ten seconds."""
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        with pytest.raises(BadInput, match=words) as error:
            function(*arguments, **options)
    line = str(error.value)
    assert line.isprintable() and len(line) < 1500, line
    assert time.perf_counter() - start < 10
    return line


def complaint(capsys, main, *arguments) -> str:
    """The one line that a command puts on stderr before it exits with status 2."""
    with pytest.raises(SystemExit) as exit_info:
        run_command(lambda: main([str(argument) for argument in arguments]))
    lines = capsys.readouterr().err.splitlines()
    assert exit_info.value.code == 2 and len(lines) == 1, lines
    return lines[0]


# -- checkpoints ------------------------------------------------------------------------------------------------------

@pytest.fixture(scope='module')
def munit():
    return MUNIT_Trainer(config_with())


@pytest.fixture(scope='module')
def gens(munit) -> dict:
    return {'a': munit.gen_a, 'b': munit.gen_b}


def states_of(networks: dict) -> dict:
    return {name: collections.OrderedDict((key, value.clone()) for key, value in network.state_dict().items())
            for name, network in networks.items()}


class Call:
    """An object that is pickled as a call of `function`."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def nested_pairs(depth: int) -> tuple:
    pair = (1,)
    for _ in range(depth):
        pair = (pair, pair)
    return pair


@pytest.mark.parametrize('legacy', [True, False])
@pytest.mark.parametrize('place', ['whole', 'entry', 'a', 'weight', 'optimizer', 'key'])
def test_a_payload_anywhere_in_a_file_is_refused_and_does_not_run(gens, tmp_path, place, legacy):
    mark, content = tmp_path / 'executed', states_of(gens)
    payload = Call(os.system, f'touch {mark}')
    if place == 'whole':
        content = payload
    elif place in ('entry', 'a'):
        content['a' if place == 'a' else 'c'] = payload
    elif place == 'weight':
        content['b']['dec.model.0.weight'] = payload
    elif place == 'optimizer':
        content = {'gen': {'state': {0: payload}, 'param_groups': []}, 'dis': {}}
    else:
        content['a'][payload] = torch.zeros(1)
    torch.save(content, tmp_path / 'x.pt', _use_new_zipfile_serialization=not legacy)
    refused(load_networks, tmp_path / 'x.pt', gens, '--checkpoint', words='posix.system.*which is not loaded')
    assert not mark.exists()


ODD = {
    'bytearray': (lambda w: Call(bytearray, 2 ** 36), 'bytearray'),
    'tensor of a size': (lambda w: Call(torch.Tensor, 10 ** 6, 10 ** 6), 'torch._tensor.Tensor|torch.Tensor'),
    'meta': (lambda w: w.to('meta'), '_rebuild_meta'),
    'sparse': (lambda w: w.to_sparse(), '_rebuild_sparse'),
    'quantized': (lambda w: torch.quantize_per_tensor(w, 0.1, 0, torch.qint8), '_rebuild_qtensor'),
    'expanded': (lambda w: torch.zeros(1).expand(10 ** 6, 10 ** 6), 'tensor of 1000000000000 numbers over 1'),
    'numpy scalar': (lambda w: np.float64(3), 'numpy'),
    'pairs of pairs': (lambda w: Call(collections.OrderedDict, [[nested_pairs(24), 1]]), 'a key that is a tuple'),
    'module': (lambda w: torch.nn.Linear(1, 1), 'Linear'),
    'set': (lambda w: {1, 2}, 'set'),
}


@pytest.mark.filterwarnings('ignore')
@pytest.mark.parametrize('legacy', [True, False])
@pytest.mark.parametrize('name', ODD)
def test_what_is_no_plain_tensor_is_refused_before_it_is_made(tmp_path, name, legacy):
    make, words = ODD[name]
    try:
        torch.save({'a': {'x': make(torch.ones(2, 3))}}, tmp_path / 'x.pt', _use_new_zipfile_serialization=not legacy)
    except (NotImplementedError, RuntimeError):
        pytest.skip('this PyTorch does not write such a file')
    refused(load_file, tmp_path / 'x.pt', words=words)


def test_attributes_that_replace_methods_are_refused(gens, tmp_path):
    content = states_of(gens)
    content['a'].keys = 5
    torch.save(content, tmp_path / 'x.pt')
    refused(load_networks, tmp_path / 'x.pt', gens, words='attributes of a')


def rezipped(path: Path, changes: dict | None = None, how=zipfile.ZIP_STORED) -> None:
    """Rewrite a zip file with changed contents of some members."""
    with zipfile.ZipFile(path) as old:
        parts = {part.filename: old.read(part) for part in old.infolist()}
    with zipfile.ZipFile(path, 'w', how) as new:
        for name, content in parts.items():
            new.writestr(name, (changes or {}).get(name.split('/', 1)[1], content))


def test_compressed_parts_are_refused(gens, tmp_path):
    torch.save({'a': {'x': torch.zeros(10 ** 6)}}, tmp_path / 'x.pt')
    rezipped(tmp_path / 'x.pt')
    load_file(tmp_path / 'x.pt')
    rezipped(tmp_path / 'x.pt', how=zipfile.ZIP_DEFLATED)
    assert (tmp_path / 'x.pt').stat().st_size < 10 ** 5
    refused(load_file, tmp_path / 'x.pt', words='its parts are compressed')


@pytest.mark.parametrize('legacy', [True, False])
def test_a_storage_larger_than_the_file_is_refused(tmp_path, legacy):
    path = tmp_path / 'x.pt'
    torch.save({'a': {'x': torch.zeros(77777)}}, path, _use_new_zipfile_serialization=not legacy)
    small, large = b'J' + struct.pack('<i', 77777), b'\x8a\x06' + (10 ** 12).to_bytes(6, 'little')
    if legacy:
        content = path.read_bytes()
        assert small in content
        path.write_bytes(content.replace(small, large))
    else:
        pickled = zipfile.ZipFile(path).read('x/data.pkl')
        assert small in pickled
        rezipped(path, {'data.pkl': pickled.replace(small, large)})
    refused(load_file, path, words='declares')


@pytest.mark.parametrize('content', [
    b'\x80\x02' + b'\x8b\xff\xff\xff\x7f', b'\x80\x02X\xff\xff\xff\xff', b'\x80\x02]r\xff\xff\xff\xff.',
    b'\x80\x04\x96' + b'\xff' * 7 + b'\x7f', b'\x80\x02' + b'(' * 10 ** 6,
    b'\x80\x02' + b']' * 10 ** 6 + b'a' * 10 ** 6,
    b'PK\x03\x04' + bytes(100), b'PK\x03\x04', b'\x80', bytes(10 ** 6)])
@pytest.mark.parametrize('zipped', [False, True])
@pytest.mark.slow
def test_pickles_that_ask_for_much_are_refused(tmp_path, content, zipped):
    path = tmp_path / 'x.pt'
    path.write_bytes(content)
    if zipped:
        torch.save({}, path)
        rezipped(path, {'data.pkl': content})
    refused(load_file, path)


def test_a_file_larger_than_any_checkpoint_is_refused(tmp_path):
    with open(tmp_path / 'x.pt', 'wb') as file:
        file.truncate(LARGEST_FILE + 1)   # a sparse file
    refused(load_file, tmp_path / 'x.pt', words='GiB are more than any checkpoint has')


@pytest.mark.parametrize('value', [float('nan'), float('inf')])
@pytest.mark.parametrize('name', ['gen', 'dis'])
def test_weights_that_are_not_finite_are_counted_and_refused(munit, tmp_path, name, value):
    networks = {key: getattr(munit, f'{name}_{key}') for key in 'ab'}
    content = states_of(networks)
    key = next(iter(content['b']))
    content['b'][key].flatten()[:3] = value
    torch.save(content, tmp_path / 'x.pt')
    refused(load_networks, tmp_path / 'x.pt', networks, '--checkpoint', words=f'network b, 3 numbers .* {key}')


@pytest.mark.parametrize('dtype', [torch.complex64, torch.int64, torch.bool])
def test_weights_of_another_type_of_number_are_refused(gens, tmp_path, dtype):
    content = states_of(gens)
    key = next(iter(content['a']))
    content['a'][key] = content['a'][key].to(dtype)
    torch.save(content, tmp_path / 'x.pt')
    refused(load_networks, tmp_path / 'x.pt', gens, words=f'{key} has numbers of another type')


def test_a_vgg_that_is_not_finite_is_refused(tmp_path):
    state = Vgg16().state_dict()
    state['conv3_1.weight'][0] = float('nan')
    torch.save(state, tmp_path / 'vgg.pth')
    refused(load_vgg_weights, Vgg16(), str(tmp_path / 'vgg.pth'), words='numbers are NaN')


@pytest.mark.parametrize('changed, words', [
    ({'dim': 64}, 'the checkpoint has gen.dim 64, the config says 32'),
    ({'n_res': 2, 'style_dim': 3}, 'has gen.n_res 2, the config says 1; the checkpoint has gen.style_dim 3, the')])
def test_the_keys_that_disagree_are_named(tmp_path, changed, words):
    gen = {'dim': 32, 'mlp_dim': 4, 'style_dim': 2, 'activ': 'relu', 'n_downsample': 1, 'n_res': 1, 'pad_type': 'zero'}
    made, wanted = AdaINGen(3, {**gen, **changed}), AdaINGen(3, gen)
    torch.save({'a': made.state_dict(), 'b': made.state_dict()}, tmp_path / 'x.pt')
    refused(load_networks, tmp_path / 'x.pt', {'a': wanted, 'b': wanted}, words=words)


# -- images -----------------------------------------------------------------------------------------------------------

def picture(width=40, height=30) -> Image.Image:
    return Image.fromarray(np.random.RandomState(0).randint(0, 256, (height, width, 3), dtype=np.uint8))


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))


def png(width: int, height: int, *chunks: bytes) -> bytes:
    return (b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', struct.pack('>IIBBBBB', width, height, 8, 2, 0, 0, 0))
            + b''.join(chunks) + chunk(b'IDAT', zlib.compress(bytes(1000))) + chunk(b'IEND', b''))


@pytest.mark.parametrize('width, height, options, words', [
    (30000, 30000, {}, '30000×30000 pixels are more than --max_image_pixels 89478485'),
    (40, 30, {'max_pixels': 1000}, '40×30 pixels are more than --max_image_pixels 1000'),
    (1, 30000, {'new_size': 256}, '1×30000 pixels, the shorter side resized to 256, are 256×7680000: more than'),
    (30000, 1, {'new_size': 256}, '30000×1 pixels, the shorter side resized to 256, are 256×7680000: more than'),
    (40, 30, {'new_size': 10 ** 9}, 'more than')])
def test_an_image_too_large_is_refused_from_its_header(tmp_path, width, height, options, words):
    (tmp_path / 'a.png').write_bytes(png(width, height))
    refused(read_image, tmp_path / 'a.png', 3, **options, words=words)


def test_the_bound_can_be_raised_beyond_pillows(tmp_path):
    Image.new('L', (18000, 10000)).save(tmp_path / 'a.png')
    refused(read_image, tmp_path / 'a.png', 1, words='more than --max_image_pixels')
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        assert read_image(tmp_path / 'a.png', 1, max_pixels=2 * 10 ** 8).size == (18000, 10000)


@pytest.mark.parametrize('size', [(1, 1), (1, 3000), (3000, 1)])
def test_thin_images_are_read(tmp_path, size):
    picture(*size).save(tmp_path / 'a.png')
    assert read_image(tmp_path / 'a.png', 3, new_size=64).size == size


@pytest.mark.parametrize('name, content', [
    ('empty.jpg', b''), ('text.jpg', b'just words'), ('eps.jpg', b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n'),
    ('none.png', png(0, 10)), ('text.png', png(9, 9, chunk(b'zTXt', b'k\0\0' + zlib.compress(bytes(10 ** 8))))),
    ('icc.png', png(9, 9, chunk(b'iCCP', b'k\0\0' + zlib.compress(bytes(10 ** 8))))),
    ('tags.tif', b'II*\0\x08\0\0\0\x01\0' + struct.pack('<HHII', 270, 2, 2 ** 32 - 1, 8) + bytes(9)),
    ('loop.tif', b'II*\0\x08\0\0\0\0\0\x08\0\0\0'), ('huge.ppm', b'P6 2000000000 2000000000 255\n'),
    ('digits.ppm', b'P6 ' + b'9' * 10 ** 5), ('short.gif', b'GIF89a\x05\0\x05\0')])
def test_a_broken_image_is_named(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    assert name in refused(read_image, tmp_path / name, 3)
    refused(describe_images, 'trainA', [tmp_path / name], 3) if name in ('empty.jpg', 'text.jpg', 'eps.jpg') else None


def test_a_jpeg_of_thousands_of_scans_is_refused(tmp_path):
    file = io.BytesIO()
    picture(400, 300).save(file, 'JPEG', progressive=True)
    content = file.getvalue()
    (tmp_path / 'good.jpg').write_bytes(content)
    assert read_image(tmp_path / 'good.jpg', 3).size == (400, 300)
    (tmp_path / 'bad.jpg').write_bytes(content[:-2] + content[content.rindex(b'\xff\xda'):-2] * 1000 + content[-2:])
    refused(read_image, tmp_path / 'bad.jpg', 3, words='more than 200 scans')


def test_data_that_resembles_scans_is_not_counted(tmp_path):
    picture().save(tmp_path / 'a.jpg', comment=b'\xff\xda' * 1000)
    with open(tmp_path / 'a.jpg', 'ab') as file:
        file.write(b'\xff\xda\0\0' * 1000)   # such as the video that phones append to a photo
    assert read_image(tmp_path / 'a.jpg', 3).size == (40, 30)


def test_a_wrong_ending_does_not_matter(tmp_path):
    picture().save(tmp_path / 'a.jpg', 'PNG')
    assert np.array_equal(np.asarray(read_image(tmp_path / 'a.jpg', 3)), np.asarray(picture()))


@pytest.mark.parametrize('form', ['GIF', 'PNG', 'WEBP', 'TIFF'])
def test_the_first_frame_of_every_animation_is_read(tmp_path, form):
    options = {'lossless': True} if form == 'WEBP' else {}
    first = picture().convert('L').convert('RGB')
    first.save(tmp_path / 'a.png', form, save_all=True, append_images=[Image.new('RGB', (40, 30))] * 3, **options)
    for _ in range(2):
        assert np.array_equal(np.asarray(read_image(tmp_path / 'a.png', 3)), np.asarray(first))


def test_unusual_blocks_around_the_image_cause_no_messages(tmp_path, capfd):
    text = PngInfo()
    text.add_text('comment', 'x' * 10 ** 5, zip=True)
    picture().save(tmp_path / 'a.png', pnginfo=text, exif=b'Exif\0\0MM\0*' + b'\xff' * 90)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        assert read_image(tmp_path / 'a.png', 3).size == (40, 30)
        describe_images('trainA', [tmp_path / 'a.png'], 3)
    picture().save(tmp_path / 'a.tif', compression='tiff_adobe_deflate')
    content = bytearray((tmp_path / 'a.tif').read_bytes())
    content[100:130] = bytes(30)
    (tmp_path / 'a.tif').write_bytes(content)
    refused(read_image, tmp_path / 'a.tif', 3)   # libtiff itself writes to stderr
    assert capfd.readouterr() == ('', '')
    print('still there', file=sys.stderr)
    assert capfd.readouterr().err == 'still there\n'


@pytest.fixture
def places(tmp_path) -> dict[str, Path]:
    """Paths with the extension of an image that are not regular files."""
    os.mkfifo(tmp_path / 'pipe.png')
    (tmp_path / 'folder.png').mkdir()
    (tmp_path / 'loop.png').symlink_to('loop.png')
    (tmp_path / 'device.png').symlink_to('/dev/zero')
    (tmp_path / 'round').symlink_to('.')
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(os.path.relpath(tmp_path / 'socket.png'))
    return {name: tmp_path / f'{name}.png' for name in ('pipe', 'folder', 'loop', 'device', 'socket')}


@pytest.mark.parametrize('name', ['pipe', 'folder', 'loop', 'device', 'socket'])
def test_what_is_no_file_is_not_waited_for(places, name):
    for function, arguments in ((read_image, (3,)), (load_file, ()), (load_config, ())):
        assert str(places[name]) in refused(function, places[name], *arguments)
    refused(describe_images, 'trainA', [places[name]], 3, words='not images')
    refused(read_list, places[name].parent, places[name], words='no such file')


def test_a_folder_gives_its_files_only_and_ends(places, tmp_path):
    refused(list_folder, tmp_path, words='holds no images')
    deep = tmp_path
    for _ in range(400):   # deeper than the recursion of Python, were there one
        deep = deep / 'd'
        deep.mkdir()
    picture().save(deep / 'a.png')
    assert list_folder(tmp_path) == [deep / 'a.png']


def test_odd_names_stay_on_one_line(tmp_path):
    path = tmp_path / 'new\nline\x1b[31m\u2028.png'
    path.write_bytes(b'')
    for function, arguments in ((read_image, (path, 3)), (load_file, (path,)), (load_config, (path,)),
                                (read_list, (tmp_path, path)), (describe_images, ('trainA', [path], 3))):
        assert 'new\\nline\\x1b[31m\\u2028' in refused(function, *arguments)
    assert list_folder(tmp_path) == [path]


def test_a_shown_name_is_short_and_clean():
    assert shown('ü ×.png') == 'ü ×.png'
    assert shown('\udcff') == '\\udcff'
    assert max(len(shown(c * n)) for c in 'x\0' for n in (499, 501, 10 ** 6)) <= 501


# -- configs ----------------------------------------------------------------------------------------------------------

NINES = 'a0: &a0 [x, x, x, x, x, x, x, x, x]\n' + ''.join(
    f'a{i}: &a{i} [{", ".join([f"*a{i - 1}"] * 9)}]\n' for i in range(1, 9))


@pytest.mark.parametrize('text, words', [
    ('lr: 1\ngen:\n  dim: 1\n  dim: 2\n', 'line 4: dim stands in line 3 already'),
    ('lr: 1\nlr: 1\n', 'line 2: lr stands in line 1 already'),
    (NINES, 'more than 1000 values'), ('a: &a {b: *a}', 'more than 1000 values'),
    ('&a {*a : 1}', 'key that is not text'),
    ('a: &a {x: 1}\n' + ''.join(f'b{i}: {{<<: *a}}\n' for i in range(500)), 'more than 1000 values'),
    ('lr: 1\na: !!python/object/apply:os.system [touch executed]', 'line 2: the tag !!python/object/apply:os.system'),
    ('a: !!python/name:os.system', 'the tag !!python'), ('a: !mine 1', 'the tag !mine'),
    ('!!set {a, b}', 'the tag !!set'),
    ('a: !!binary "###"', 'the tag !!binary'), ('a: !!int ""', 'not a value of the tag !!int'),
    ('a: !!bool maybe', 'not a value of the tag !!bool'), ('a: !!float x', 'not a value of the tag !!float'),
    ('lr: 1\n  gen: 2', 'line 2: mapping values'), ('gen:\n- dim: 1\n dim: 2', 'line 3'), ('\tlr: 1', 'line 1'),
    ('[' * 10 ** 5, 'brackets within each other'), ('{a: ' * 10 ** 4, 'brackets within each other'),
    ('- ' * 10 ** 4, 'nested too deeply'), ('? ' * 10 ** 4, 'nested too deeply'),
    ('lr: ' + '9' * 5000, 'line 1: a number of 5000 digits'), ('lr: 0x' + 'f' * 5000, 'a number of 5002 digits'),
    ('max_iter: 1:30', 'line 1: 1:30 would be read as a number to the base 60'),
    ('1: 2', 'key that is not text'), ('yes: 2', 'key that is not text'), ('2020-01-01: 2', 'key that is not text'),
    ('? [a]\n: 1', 'key that is not text'), ('a: 1\n---\nb: 2', 'line 2: but found another document'),
    ('', 'holds no "key: value" lines'), ('# only words\n', 'holds no "key: value" lines'), ('---', 'holds no'),
    ('x' * 200000, 'larger than 128 KiB'), ('lr: 1\na: \x01', r'line 2: holds the character U\+0001'),
    ('a: *none', 'undefined alias'), ('%YAML 9.9\n---\na: 1', 'version|YAML'), ("a: '", 'line 1')])
def test_what_is_no_plain_yaml_is_refused_with_its_line(tmp_path, text, words, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path('c.yaml').write_text(text)
    assert 'c.yaml' in refused(load_config, 'c.yaml', words=words)
    assert [path.name for path in tmp_path.iterdir()] == ['c.yaml']


@pytest.mark.parametrize('content, words', [
    ('lr: ü'.encode('latin1'), 'line 1: not UTF-8'), ('lr: 1'.encode('utf-16'), 'line 1: not UTF-8'),
    (b'lr: 1\nx: \xff', 'line 2: not UTF-8'), (b'lr: \0', r'U\+0000')])
def test_other_encodings_are_refused_with_their_line(tmp_path, content, words):
    (tmp_path / 'c.yaml').write_bytes(content)
    refused(load_config, tmp_path / 'c.yaml', words=words)


@pytest.mark.parametrize('value', ['.inf', '.nan', '-.inf', '2020-13-45', '2020-01-01', '~', '[1]', '{a: 1}',
                                   '"\\uD800"', '"' + 'x' * 10 ** 4 + '"', '1e999', 'yes'])
def test_a_value_that_is_no_number_is_one_line(tmp_path, value):
    text = yaml.safe_dump({key: value for key, value in config_with(data_root='x').items() if key != 'lr'})
    (tmp_path / 'c.yaml').write_text(f'{text}lr: {value}\n')
    refused(load_config, tmp_path / 'c.yaml', words='lr: .* is not a number')


def test_aliases_in_measure_and_quoted_keys_are_fine(tmp_path):
    config = {key: value for key, value in config_with(data_root='x').items() if key != 'beta1'}
    (tmp_path / 'c.yaml').write_text(yaml.safe_dump(config) + '"beta1": &half 0.5\n')
    assert load_config(tmp_path / 'c.yaml')['beta1'] == 0.5


@pytest.mark.parametrize('text', ['"' + '\\x41' * 30000, 'a: |' + '\n b' * 40000, '\n' * 130000, '#' * 130000,
                                  ''.join(f'k{i}: 1\n' for i in range(12000)), 'a: ' + 'b ' * 60000, "'" * 130001,
                                  'a: ' + '- ' * 60000, ': ' * 60000, '&a ' * 40000, '!!str ' * 20000, ', ' * 60000,
                                  '"a": ' * 20000, '[' + 'a,' * 60000, '[' + 'a: ,' * 30000])
def test_a_config_of_the_largest_size_takes_seconds_at_most(tmp_path, text):
    (tmp_path / 'c.yaml').write_text(text)
    start = time.perf_counter()
    with pytest.raises(BadInput):
        load_config(tmp_path / 'c.yaml')
    assert time.perf_counter() - start < 10


# -- lists ------------------------------------------------------------------------------------------------------------

@pytest.fixture
def folder(tmp_path) -> Path:
    (tmp_path / 'images' / 'sub').mkdir(parents=True)
    picture().save(tmp_path / 'images' / '1.png')
    os.mkfifo(tmp_path / 'images' / 'pipe.png')
    return tmp_path / 'images'


@pytest.mark.parametrize('line', ['1.png\r\n\r\n  \r\n', '\n\n1.png', '\ufeff1.png', '../images/1.png', 'sub/../1.png',
                                  'absolute', '1.png\r'])
def test_lists_of_every_style_are_read(folder, tmp_path, line):
    line = str(folder / '1.png') if line == 'absolute' else line
    (tmp_path / 'l.txt').write_bytes(line.encode())
    found, = read_list(folder, tmp_path / 'l.txt')
    assert os.path.samefile(found, folder / '1.png')


@pytest.mark.parametrize('line, words', [
    (b'1.png\n\nnone.png', 'line 3: .*none.png does not exist'), (b'sub', 'line 1: .*sub is a directory, not an image'),
    (b'.', 'is a directory'), (b'/etc', '/etc is a directory'), (b'pipe.png', 'a pipe, a socket or a device'),
    (b'/dev/zero', 'a pipe, a socket or a device'), (b'a\0b.png', r'line 1: .*a\\x00b.png does not exist'),
    (b'x' * 10 ** 5, 'line 1: .*too long'), (b'1.png/2.png', 'Not a directory'), (b'\x1b[31m', r'x1b.* does not exist'),
    ('1.png'.encode('utf-16'), 'not a text file in UTF-8'), (b'\n' * 5, 'names no files'), (b'', 'names no files'),
    (b'x\n' * 1000001, 'longer than 1000000 lines'), (b'\n' * (64 * 2 ** 20 + 1), '64 MiB'),
    (b'none\n' * 3000, r'line 1: .* does not exist \(and 2999 more\)')])
def test_lists_that_name_no_files_are_refused_with_the_line(folder, tmp_path, line, words):
    (tmp_path / 'l.txt').write_bytes(line)
    assert 'l.txt' in refused(read_list, folder, tmp_path / 'l.txt', words=words)


# -- arguments --------------------------------------------------------------------------------------------------------

TRANSLATE = ('--config', 'c.yaml', '--checkpoint', 'x.pt', '--output_folder', 'made')


@pytest.mark.parametrize('main, needed', [
    (test_command.main, (*TRANSLATE, '--input', 'x.png')),
    (test_batch_command.main, (*TRANSLATE, '--input_folder', 'x'))])
@pytest.mark.parametrize('flag, value', [
    ('--a2b', '2'), ('--a2b', '-1'), ('--a2b', 'yes'), ('--a2b', ''), ('--num_style', '0'), ('--num_style', '-3'),
    ('--num_style', '1000000000'), ('--num_style', '1.5'), ('--num_style', '9' * 5000), ('--new_size', '-1'),
    ('--seed', '1' + '0' * 30), ('--seed', '-1' + '0' * 30), ('--seed', 'x\ny'), ('--max_image_pixels', '0'),
    ('--max_image_pixels', '-5'), ('--device', 'tpu'), ('--device', ''), ('--device', 'cuda:999999999999999999999'),
    ('--device', 'cuda:\u0661'), ('--device', 'cpu\n'), ('--trainer', 'CUT')])
def test_a_translation_refuses_impossible_values(tmp_path, capsys, monkeypatch, main, needed, flag, value):
    monkeypatch.chdir(tmp_path)
    line = complaint(capsys, main, *needed, f'{flag}={value}')
    assert flag in line and len(line) < 700
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize('flag, value', [
    ('--max_iter', '0'), ('--max_iter', '-1'), ('--max_iter', 'many'), ('--seed', '-1'), ('--seed', '1' + '0' * 30),
    ('--max_image_pixels', '0'), ('--device', 'gpu'), ('--trainer', '')])
def test_training_refuses_impossible_values(tmp_path, capsys, monkeypatch, flag, value):
    monkeypatch.chdir(tmp_path)
    assert flag in complaint(capsys, train_command.main, '--config', 'c.yaml', f'{flag}={value}')
    assert not list(tmp_path.iterdir())


def test_every_seed_that_is_accepted_is_one_of_pytorch():
    for parse, values in ((at_least(0), (0, 2 ** 62)), (at_least(-2 ** 63, 2 ** 63 - 1), (-2 ** 63, 2 ** 63 - 1))):
        for value in values:
            torch.manual_seed(parse(str(value)))
    torch.manual_seed(2 * 2 ** 62 + 1)   # as train.py makes the seeds of its streams
    with pytest.raises(argparse.ArgumentTypeError):
        at_least(0)(str(2 ** 62 + 1))


def test_the_bound_of_pixels_is_a_flag_of_all_commands():
    parser = TranslationParser('x', seed=1)
    needed = ['--config', 'c', '--checkpoint', 'x', '--output_folder', 'o']
    assert parser.parse_args(needed).max_image_pixels == 89478485
    assert parser.parse_args([*needed, '--max_image_pixels', '5']).max_image_pixels == 5


@pytest.mark.parametrize('name, words', [
    ('', 'must not be empty'), ('file', 'cannot be created'), ('file/below', 'cannot be created'),
    ('a\0b', 'null'), ('new/a\0b', 'null'), ('x' * 300, 'too long'), ('new/deeper/' + 'x' * 300, 'too long'),
    ('/proc/none', 'cannot be created'), ('/proc', 'cannot be written'), ('/dev/null', 'cannot be created'),
    ('new\nline/file\0', 'null')])
def test_an_output_folder_that_cannot_be_made_leaves_nothing(tmp_path, monkeypatch, name, words):
    monkeypatch.chdir(tmp_path)
    Path('file').write_text('kept')
    assert refused(make_folder, name, '--output_folder', words=words).startswith('--output_folder')
    assert [path.name for path in tmp_path.iterdir()] == ['file'] and Path('file').read_text() == 'kept'


def test_an_output_folder_is_made_with_its_parents_and_left_empty(tmp_path):
    made = make_folder(tmp_path / 'a' / 'b' / 'c', '--output_folder')
    assert made.is_dir() and not list(made.iterdir())
    assert make_folder(made, '--output_folder') == made


@pytest.mark.parametrize('name', ['cuda:', 'cuda:-1', 'CPU', 'cpu:0', 'xla', 'cuda:0;rm', 'a\nb' * 1000])
def test_nonsense_is_no_device(name):
    refused(choose_device, name, words='--device')


@pytest.mark.parametrize('script, arguments', [
    ('make_sheet.py', ['--output', 'o.png', '--row', 'text.png']),
    ('make_sheet.py', ['--output', 'o.png', '--row', 'no']),
    ('make_sheet.py', ['--output', 'o.png', '--row', 'good.png', '--cell', '0']),
    ('make_sheet.py', ['--output', 'o.png', '--row', 'good.png', '--cell', '-5']),
    ('make_sheet.py', ['--output', 'o.png', '--row', 'good.png', '--cell', '1000000000']),
    ('make_sheet.py', ['--output', 'o.png', '--row', 'bomb.png']),
    ('make_sheet.py', ['--output', 'o.xyz', '--row', 'good.png']),
    ('make_sheet.py', ['--output', 'no/o.png', '--row', 'good.png']), ('make_sheet.py', ['--output', 'o.png']),
    ('split_pairs.py', ['--input', 'none', '--output_a', 'a', '--output_b', 'b']),
    ('split_pairs.py', ['--input', '.', '--output_a', 'a', '--output_b', 'a']),
    ('split_pairs.py', ['--input', '.', '--output_a', 'good.png/a', '--output_b', 'b', '--num_workers', '1']),
    ('split_pairs.py', ['--input', '.', '--output_a', 'a', '--output_b', 'b', '--quality', '101']),
    ('split_pairs.py', ['--input', '.', '--output_a', 'a', '--output_b', 'b', '--num_workers', '-1']),
    ('split_pairs.py', ['--input', '.', '--output_a', 'a', '--output_b', 'b', '--quality', 'high']),
    ('draw_demo_data.py', ['--output', 'd', '--train', '-1']), ('draw_demo_data.py', ['--output', 'd', '--size', '0']),
    ('draw_demo_data.py', ['--output', 'good.png']), ('draw_demo_data.py', ['--output', 'd', '--objects', 'hats']),
    ('draw_demo_data.py', ['--output', 'd', '--seed', 'x'])])
def test_the_scripts_refuse_in_one_line(tmp_path, script, arguments):
    picture().save(tmp_path / 'good.png')
    (tmp_path / 'text.png').write_text('words')
    (tmp_path / 'bomb.png').write_bytes(png(50000, 50000))
    before = sorted(tmp_path.iterdir())
    done = subprocess.run([sys.executable, ROOT / 'scripts' / script, *arguments], cwd=tmp_path, text=True,
                          capture_output=True, timeout=60)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert sorted(tmp_path.iterdir()) == before


# -- the page ---------------------------------------------------------------------------------------------------------

def test_names_are_escaped_on_the_page(tmp_path):
    (tmp_path / 'images').mkdir()
    for name in ('gen_a2b_train_current.jpg', 'gen_b2a_test_00000002.jpg'):
        (tmp_path / 'images' / name).touch()
    name = '"><script>alert(1)</script>&\udcff'
    report = Report(tmp_path, {'name': name, 'kinds': ['<b>content</b> & style'], 'ways': ['a2b', 'b2a']})
    report.add_picture('train', 2, current=True)
    report.write(2, why=name)
    page = (tmp_path / 'index.html').read_text(encoding='utf-8')
    assert page.count('<script') == 2 and 'alert(1)</script>' not in page and '<b>' not in page
    assert page.count('&lt;script&gt;alert(1)&lt;/script&gt;&amp;') == 2 and '&lt;b&gt;content' in page
    assert 'src="images/gen_a2b_train_current.jpg"' in page
    data = (tmp_path / 'run.js').read_bytes()
    assert not set(data) & set(b'<>&') and data.isascii() and b'alert(1)' in data


# -- the fuzzer -------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('kind', ['config', 'list', 'image', 'checkpoint'])
@pytest.mark.slow
def test_fuzzed_inputs_are_read_or_refused(tmp_path, kind):
    done = subprocess.run([sys.executable, ROOT / 'tests' / 'stress' / 'fuzz_readers.py', '--kind', kind, '--n', '300',
                           '--seed', '7', '--keep', tmp_path], text=True, capture_output=True, timeout=120)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    row = dict(zip(*(line.split() for line in done.stdout.replace('slowest s', 'slowest').splitlines()), strict=True))
    assert int(row['read']) + int(row['refused']) == 300 and int(row['read']) > 0


@pytest.mark.slow
def test_the_fuzzer_reports_what_fails(tmp_path):
    program = ('import sys, os, runpy\nfrom engine import config\n'
               'def load_config(path, *_, **__):\n'
               '    os.system("touch " + str(path.parent / "executed")); raise KeyError("a fault")\n'
               'config.load_config = load_config\n'
               f'sys.argv = ["fuzz.py", "--kind", "config", "--n", "3", "--keep", {str(tmp_path)!r}]\n'
               f'runpy.run_path({str(ROOT / "tests" / "stress" / "fuzz_readers.py")!r}, run_name="__main__")\n')
    done = subprocess.run([sys.executable, '-c', program], cwd=ROOT, text=True, capture_output=True, timeout=60)
    assert done.returncode == 1
    assert 'KeyError' in done.stdout and 'a payload ran' in done.stdout and len(list(tmp_path.iterdir())) == 3
