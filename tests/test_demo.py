"""demo.py: the model without a browser, the requests that its server accepts, and the page in headless Chromium."""
import asyncio
import base64
import contextlib
import hashlib
import http.client
import io
import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.parse
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from parity import config_with
from PIL import Image
from test_commands import complaint, save_noise
from tiny import flags, make_model

import test as test_command
from core.errors import BadInput
from data import read_image, read_image_bytes
from engine.config import load_config
from engine.methods import translator_class
from engine.style_codes import read_codes, slerp
from extras.demo import server as demo_server
from extras.demo import style_map
from extras.demo.model import DemoModel, Source
from utils import to_bytes, to_picture

ROOT = Path(__file__).resolve().parents[1]
CODE = [0.3, -1.2, 0.0, 1e-3, 2.0, -0.5, 1.0, 0.25]


@pytest.fixture(scope='module')
def tiny(tmp_path_factory) -> dict:
    """The files of a tiny model whose A is grey."""
    return make_model(tmp_path_factory.mktemp('model'), input_dim_a=1)


@pytest.fixture(scope='module')
def model(tiny) -> DemoModel:
    config = load_config(tiny['config'], 'MUNIT')
    return DemoModel(Source(str(tiny['config']), str(tiny['checkpoint']), 'MUNIT'), config, torch.device('cpu'))


def file_of(size=(64, 64), seed=0, form='PNG', **options) -> bytes:
    values = np.random.RandomState(seed).randint(0, 256, (*size[::-1], 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(values).save(file, form, **options)
    return file.getvalue()


def pixels(png: bytes | Path) -> np.ndarray:
    with Image.open(io.BytesIO(png) if isinstance(png, bytes) else png) as image:
        return np.array(image).astype(int)


def refusal(function, *given, **named) -> str:
    with pytest.raises(BadInput) as caught:
        function(*given, **named)
    assert '\n' not in str(caught.value)
    return str(caught.value)


# ---------------------------------------------------------------------------------------------------------------------
# The model's side
# ---------------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('way, mode', [('a2b', 'RGB'), ('b2a', 'L')])
def test_translations_are_those_of_the_translator(model, tmp_path, way, mode):
    (tmp_path / 'in.png').write_bytes(file_of((80, 70)))
    translator = model.translators[way]
    size = model.own_size(way)
    wanted = translator.translate(translator.read(tmp_path / 'in.png', translator.source), torch.tensor(
        [CODE, CODE[::-1]])[:, :, None, None])
    found = model.translate((tmp_path / 'in.png').read_bytes(), way, size, [CODE, CODE[::-1]])
    for picture, output in zip(found, wanted, strict=True):
        assert Image.open(io.BytesIO(picture)).mode == mode
        assert np.array_equal(pixels(picture), to_bytes(to_picture(output)).squeeze(2).numpy())
    assert not np.array_equal(pixels(found[0]), pixels(found[1]))


def test_a_picture_that_was_resized_once_is_not_resized_again(model):
    for way in ('a2b', 'b2a'):
        small = model.content(file_of((300, 200), form='JPEG'), way, 128)
        assert Image.open(io.BytesIO(small)).size == (192, 128)
        assert np.array_equal(pixels(model.content(small, way, 128)), pixels(small))


@pytest.mark.parametrize('way', ['a2b', 'b2a'])
def test_the_command_in_a_saved_picture_reproduces_it(model, tmp_path, monkeypatch, way):
    given = file_of((90, 70), seed=3)
    style = model.sample(way, 7, 5)[2]
    size = model.sizes(way)[-1]
    saved = model.save(given, way, size, style, origin='sampled', seed=7, number=2, count=5)
    text = Image.open(io.BytesIO(saved)).text
    assert text['Direction'] == ('A to B' if way == 'a2b' else 'B to A') and text['Seed'] == '7'
    assert torch.equal(read_codes(text['Style code'], 8, '').flatten(), torch.tensor(style))
    assert text['Config'] == model.source.config and text['Checkpoint'] == model.source.checkpoint
    assert text['Checkpoint SHA-256'] == hashlib.sha256(Path(model.source.checkpoint).read_bytes()).hexdigest()
    assert torch.__version__ in text['Version'] and text['Size'] == str(size)
    (tmp_path / 'in.png').write_bytes(given)
    words = shlex.split(text['Command'].replace('INPUT', 'in.png'))
    assert words[:2] == ['python', 'test.py']
    monkeypatch.chdir(tmp_path)
    test_command.main([*words[2:], '--device', 'cpu'])
    made, again = pixels(saved), pixels(tmp_path / 'outputs' / 'output000.jpg')
    assert made.shape == again.shape and np.abs(made - again).mean() < 4   # the loss of JPEG on noise
    monkeypatch.setattr(test_command, 'write_output', lambda pixels, path: written.update({path.name: pixels}))
    written = {}
    test_command.main([*words[2:], '--device', 'cpu'])
    assert np.array_equal(made, written['output000.jpg'].squeeze(2).numpy())
    # And so does the seed.
    name, call = text['Style'].removeprefix('sampled: ').split(' of test.py ')
    words[2:] = [word for word in words[2:] if not word.startswith('--style_code')]
    test_command.main([*words[2:], '--device', 'cpu', *call.split()])
    assert np.abs(made - written[f'{name}.jpg'].squeeze(2).numpy()).max() <= 1   # batches round differently


def test_samples_styles_of_pictures_and_blends_are_those_of_the_commands(model, tiny, tmp_path):
    call = flags(tiny, input=tiny['inputs'] / '0.png', output_folder=tmp_path)
    test_command.main([*call, '--seed', '5', '--num_style', '4', '--save_styles', str(tmp_path / 'four.txt')])
    assert torch.equal(torch.tensor(model.sample('a2b', 5, 4)), read_codes(tmp_path / 'four.txt', 8, '').flatten(1))
    save_noise(tmp_path / 'style.png', (100, 90))
    test_command.main([*call, '--style', str(tmp_path / 'style.png'), '--save_styles', str(tmp_path / 'one.txt')])
    found = model.style_of((tmp_path / 'style.png').read_bytes(), 'a2b')
    one, = read_codes(tmp_path / 'one.txt', 8, '')
    assert torch.equal(torch.tensor(found['style']), one.flatten())
    assert model.blend(CODE, CODE[::-1], 0.3) == slerp(torch.tensor(CODE), torch.tensor(CODE[::-1]), 0.3).tolist()


@pytest.mark.parametrize('words, call', [
    ('cannot be read as an image (not an image)', lambda model: model.content(b'no picture', 'a2b', 64)),
    ('cannot be read as an image', lambda model: model.style_of(file_of()[:500], 'a2b')),
    ('at most 4 times', lambda model: model.content(file_of((330, 80)), 'a2b', 64)),
    ('must be one of 64, 128', lambda model: model.content(file_of(), 'a2b', 100)),
    ('the size must be', lambda model: model.translate(file_of(), 'a2b', True, [CODE])),
    ('only translates', lambda model: model.translate(file_of(), ['a2b'], 64, [CODE])),
    ('8 numbers', lambda model: model.translate(file_of(), 'a2b', 64, [CODE[:7]])),
    ('8 numbers', lambda model: model.translate(file_of(), 'a2b', 64, [[*CODE[:7], float('nan')]])),
    ('8 numbers', lambda model: model.translate(file_of(), 'a2b', 64, [[*CODE[:7], '1']])),
    ('8 numbers', lambda model: model.translate(file_of(), 'a2b', 64, [[*CODE[:7], 10 ** 400]])),
    ('1 to 12 styles', lambda model: model.translate(file_of(), 'a2b', 64, [CODE] * 13)),
    ('1 to 12 styles', lambda model: model.translate(file_of(), 'a2b', 64, None)),
    ('1 to 12 styles', lambda model: model.sample('a2b', 1, 13)),
    ('whole number', lambda model: model.sample('a2b', 1.5, 3)),
    ('whole number', lambda model: model.sample('a2b', 2 ** 63, 3)),
    ('from 0 to 1', lambda model: model.blend(CODE, CODE, float('nan'))),
    ('8 numbers', lambda model: model.blend(CODE, {}, 0.5)),
])
def test_invalid_values_are_refused_in_one_line(model, words, call):
    assert words in refusal(call, model)


def test_large_pictures_are_refused_before_they_are_decoded(tiny):
    config = {**load_config(tiny['config'], 'MUNIT'), 'max_image_pixels': 5000}
    small = DemoModel(Source(str(tiny['config']), str(tiny['checkpoint']), 'MUNIT'), config, torch.device('cpu'))
    assert '--max_image_pixels 5000' in refusal(small.content, file_of((72, 70)), 'a2b', 64)
    assert small.content(file_of((70, 70)), 'a2b', 64)


def test_bicyclegan_has_one_direction(tmp_path):
    path = ROOT / 'configs' / 'demo_drawn_small_bicyclegan.yaml'
    config = load_config(path, 'BicycleGAN')
    networks = translator_class('BicycleGAN').networks(config, 'BicycleGAN')
    torch.save({name: network.state_dict() for name, network in networks.items()}, tmp_path / 'gen.pt')
    model = DemoModel(Source(str(path), str(tmp_path / 'gen.pt'), 'BicycleGAN'), config, torch.device('cpu'))
    for size in model.sizes('a2b'):
        one, other = model.translate(file_of((90, 100)), 'a2b', size, model.sample('a2b', 1, 2))
        assert pixels(one).shape[1] == size and not np.array_equal(pixels(one), pixels(other))
    assert len(model.style_of(file_of(), 'a2b')['style']) == model.style_length
    saved = model.save(file_of(), 'a2b', size, model.sample('a2b', 1, 1)[0])
    assert '--trainer BicycleGAN' in Image.open(io.BytesIO(saved)).text['Command']
    assert 'only translates a2b' in refusal(model.translate, file_of(), 'b2a', size, model.sample('a2b', 1, 1))


@pytest.mark.parametrize('form', ['PNG', 'JPEG', 'WEBP', 'TIFF', 'BMP', 'GIF'])
def test_a_file_in_memory_is_read_as_one_on_the_disk(tmp_path, form):
    (tmp_path / 'file').write_bytes(file_of((50, 40), form=form))
    content = (tmp_path / 'file').read_bytes()
    for channels in (1, 3):
        assert np.array_equal(read_image(tmp_path / 'file', channels), read_image_bytes(content, 'it', channels))


def test_the_scans_of_a_jpeg_in_memory_are_counted():
    content = file_of((200, 100), form='JPEG', progressive=True)
    assert read_image_bytes(content, 'it', 3).size == (200, 100)
    content = content[:-2] + content[content.rindex(b'\xff\xda'):-2] * 500 + content[-2:]
    assert 'it: more than 200 scans' in refusal(read_image_bytes, content, 'it', 3)


# ---------------------------------------------------------------------------------------------------------------------
# The map
# ---------------------------------------------------------------------------------------------------------------------

def test_a_map_is_the_plane_of_the_folders_styles_and_is_valid_only_for_its_checkpoint(model, tmp_path):
    for i in range(5):
        save_noise(tmp_path / 'b' / f'{i}.png', seed=i)
    (tmp_path / 'b' / 'broken.png').write_bytes(b'')
    translator, paths = model.translators['a2b'], sorted((tmp_path / 'b').iterdir())
    reported = []
    made = style_map.make_map(translator, paths, 'noise', reported.append)
    assert made['images'] == reported[-1] == 5 and made['name'] == 'noise' and made['domain'] == 'b'
    codes = torch.cat([translator.encode_style(translator.read(path, 'b')).flatten(1) for path in paths[:5]])
    mean, axes, dots = (torch.tensor(made[key]) for key in ('mean', 'axes', 'dots'))
    assert torch.allclose(mean, codes.mean(0), atol=1e-5)
    assert torch.allclose(axes @ axes.T, torch.eye(2), atol=1e-5)
    assert torch.allclose((codes - mean) @ axes.T, dots, atol=1e-3 * made['side'])
    assert ((dots - torch.tensor(made['middle'])).abs() < made['side'] / 2).all()

    checkpoint = tmp_path / 'gen.pt'
    written = style_map.write_map(made, checkpoint, 'its digest')
    assert [path.name for path in written] == ['gen_map_b.json', 'gen_map_b.jpg']
    read, why = style_map.read_map(checkpoint, 'b', 8, lambda: 'its digest')
    assert not why and {**made, 'checkpoint': 'its digest'} == read
    assert style_map.read_map(checkpoint, 'a', 8, lambda: 'its digest') == (None, '')
    assert 'belongs to another checkpoint' in style_map.read_map(checkpoint, 'b', 8, lambda: 'other')[1]
    for content in ('', '[]', '{', json.dumps({**read, 'picture': 0, 'mean': [1, 2]})):
        written[0].write_text(content)
        assert 'cannot be read' in style_map.read_map(checkpoint, 'b', 8, lambda: 'its digest')[1]


def test_maps_are_made_from_the_images_found_and_the_page_shows_why_not(model, tmp_path):
    for i in range(3):
        save_noise(tmp_path / 'trainB' / f'{i}.png', seed=i)
    opts = demo_server.parse_arguments(['--style_folder', str(tmp_path)])
    maps = style_map.Maps(model.source.checkpoint, model.digest, {'b': model.translators['a2b'],
                                                                  'a': model.translators['b2a']},
                          threading.Lock(), demo_server.find_map_pictures(opts, model.config))
    assert maps.states == {'a': {'done': 0, 'of': 0}, 'b': {'done': 0, 'of': 0}}
    maps._make()
    assert maps.states['b']['map']['images'] == 3 and maps.states['a'] == {'why': '--style_folder contains no trainA'}
    json.dumps(maps.states)
    find = demo_server.find_map_pictures(demo_server.parse_arguments([]), model.config)
    assert 'not on this machine' in refusal(find, 'b')


@pytest.mark.parametrize('domain', ['a', 'b'])
def test_the_shipped_map_belongs_to_the_shipped_model(domain):
    digest = hashlib.sha256(demo_server.SHIPPED.read_bytes()).hexdigest()
    made, why = style_map.read_map(demo_server.SHIPPED, domain, 8, lambda: digest)
    assert made and not why and made['images'] == 915
    assert sum(path.stat().st_size for path in style_map.places_of(demo_server.SHIPPED, domain)) < 2 ** 17
    model = DemoModel(Source(str(demo_server.SHIPPED_CONFIG), str(demo_server.SHIPPED), 'MUNIT'),
                      load_config(demo_server.SHIPPED_CONFIG, 'MUNIT'), torch.device('cpu'))
    axes, mean, middle = (torch.tensor(made[key]) for key in ('axes', 'mean', 'middle'))
    assert torch.allclose(axes @ axes.T, torch.eye(2), atol=1e-5)
    for name in demo_server.EXAMPLES[domain]:   # the map contains other drawings of the same kind
        style = model.style_of((ROOT / 'inputs' / name).read_bytes(), {'b': 'a2b', 'a': 'b2a'}[domain])['style']
        assert ((axes @ (torch.tensor(style) - mean) - middle).abs() < made['side'] / 2).all()


# ---------------------------------------------------------------------------------------------------------------------
# The command line
# ---------------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('changes, words', [
    ({'checkpoint': 'none.pt'}, '--checkpoint none.pt'), ({'config': 'none.yaml'}, 'none.yaml'),
    ({'port': '70000'}, '--port'), ({'host': '256.1.1.1'}, '--host 256.1.1.1: not an address'),
    ({'style_folder': 'none'}, '--style_folder none: no such folder'), ({'device': 'none'}, '--device'),
])
def test_it_refuses_in_one_line(tiny, capsys, monkeypatch, changes, words):
    monkeypatch.setattr(demo_server, 'find_spec', lambda name: True)
    monkeypatch.setattr(torch, 'set_num_threads', lambda number: None)
    given = {**{key: tiny[key] for key in ('config', 'checkpoint', 'device')}, 'port': 0, **changes}
    assert words in complaint(capsys, demo_server.main, *(f'--{key}={value}' for key, value in given.items()))


def test_a_checkpoint_brings_its_config_from_its_run_or_its_name(tiny, tmp_path):
    run = tmp_path / 'outputs' / 'A'
    (run / 'checkpoints').mkdir(parents=True)
    checkpoint = run / 'checkpoints' / 'gen_00000001.pt'
    shutil.copy(tiny['checkpoint'], checkpoint)
    assert demo_server.config_file_of(str(checkpoint)) == demo_server.display_path(demo_server.SHIPPED_CONFIG)
    shutil.copy(tiny['config'], run / 'config.yaml')
    assert demo_server.config_file_of(str(checkpoint)) == str(run / 'config.yaml')
    assert Path(demo_server.config_file_of('models/demo_edges2shoes.pt')).name == 'demo_edges2shoes_folder.yaml'
    opts = demo_server.parse_arguments(['--checkpoint', str(checkpoint), 'models/edges2shirts.pt'])
    models = [demo_server.open_model(opts, each, torch.device('cpu')) for each in opts.checkpoint]
    assert demo_server.names_of(models) == ['A gen_00000001', 'edges2shirts']
    assert [model.config['gen']['n_res'] for model in models][0] == 1


def test_a_safetensors_file_needs_no_config_and_says_so_when_saved(tiny, tmp_path):
    pytest.importorskip('safetensors')
    import export_onnx
    export_onnx.main(flags(tiny, output_folder=tmp_path, format='safetensors'))
    opts = demo_server.parse_arguments(['--checkpoint', str(tmp_path / 'gen.safetensors')])
    opened = demo_server.open_model(opts, opts.checkpoint[0], torch.device('cpu'))
    text = opened.settings('a2b', 64, torch.zeros(8), 'given')
    assert text['Config'] == 'in the checkpoint' and '--config' not in text['Command']


@pytest.mark.parametrize('given', ['huggingface.co', "https://a.b; script-src *", 'https://a.b/c'])
def test_only_a_site_may_be_named_to_embed_in(capsys, given):
    with pytest.raises(SystemExit):
        demo_server.parse_arguments(['--embed_in', given])
    assert 'not the address of a site' in capsys.readouterr().err


def test_without_gradio_it_says_what_to_install(capsys, monkeypatch):
    monkeypatch.setattr(demo_server, 'find_spec', lambda name: None)
    assert 'pip install -r requirements/demo.txt' in complaint(capsys, demo_server.main)


def test_a_port_in_use_is_reported(capsys, monkeypatch):
    monkeypatch.setattr(demo_server, 'find_spec', lambda name: True)
    with demo_server.listen('127.0.0.1', 0) as taken:
        port = taken.getsockname()[1]
        assert f'--port {port}: cannot listen on it' in complaint(capsys, demo_server.main, '--port', port)


def test_a_method_without_styles_is_refused(tiny, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(demo_server, 'find_spec', lambda name: True)
    unit = config_with(recon_kl_w=0.01, recon_kl_cyc_w=0.01, data_root='nowhere')
    (tmp_path / 'unit.yaml').write_text(yaml.safe_dump(unit))
    assert '--trainer UNIT: has no styles' in complaint(
        capsys, demo_server.main, '--trainer=UNIT', '--port=0', '--config', tmp_path / 'unit.yaml', '--checkpoint',
        tiny['checkpoint'])


# ---------------------------------------------------------------------------------------------------------------------
# The server
# ---------------------------------------------------------------------------------------------------------------------

WATCHED = """
import runpy, sys

def watch(event, given):   # a server that asks nobody has no cause to look a name up, or to connect
    if event == 'socket.connect' or event == 'socket.getaddrinfo' and given[0] not in ('127.0.0.1', None):
        print(event, given, file=sys.stderr)

sys.addaudithook(watch)
sys.argv[0] = 'demo.py'
runpy.run_path('demo.py', run_name='__main__')
"""


@pytest.fixture(scope='module')
def server(tmp_path_factory):
    """The address of a server with the shipped models, which must send no requests, write no file and print nothing."""
    if not find_spec('gradio'):   # importing it here takes as long as starting the server
        pytest.skip('Gradio is not installed')
    temporary = tmp_path_factory.mktemp('temporary')
    environment = {**os.environ, 'TMPDIR': str(temporary)}
    process = subprocess.Popen([sys.executable, '-c', WATCHED, '--port', '0', '--device', 'cpu', '--checkpoint',
                                'models/edges2shirts.pt', 'models/demo_edges2shoes.pt'], cwd=ROOT, text=True,
                               env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    line = process.stdout.readline()
    if not line.startswith('http://127.0.0.1:'):
        process.kill()
        pytest.fail(f'{line}{process.communicate()[1]}')
    yield line.split()[0]
    left = [path for path in temporary.rglob('*') if path.is_file()]
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (130, '', '')
    assert left == [] and list(temporary.iterdir()) == []


def request(server: str, path: str, body: bytes | dict | None = None, method: str = 'POST', **headers) -> tuple:
    """Status and content of a response, JSON decoded."""
    connection = http.client.HTTPConnection(urllib.parse.urlsplit(server).netloc, timeout=30)
    body = json.dumps(body).encode() if isinstance(body, dict) else body
    connection.request(method, path, body, {key.replace('_', '-'): value for key, value in headers.items()})
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer.status, json.loads(content) if 'json' in answer.headers.get('content-type', '') else content


def asked(**changes) -> dict:
    return {'content': demo_server.data_url(file_of((128, 128))), 'way': 'a2b', 'size': 64, 'styles': [CODE], **changes}


def test_a_request_returns_a_translation_that_is_not_cached(server):
    status, answer = request(server, '/demo/translate', asked(styles=[CODE, CODE[::-1]]))
    assert status == 200 and answer['styles'] == [CODE, CODE[::-1]] and len(answer['pictures']) == 2
    assert pixels(base64.b64decode(answer['pictures'][0].split(',')[1])).shape == (64, 64, 3)
    assert request(server, '/demo/save', asked(style=CODE))[1][:4] == b'\x89PNG'
    status, other = request(server, '/demo/translate?model=1', asked(styles=[CODE]))
    assert status == 200 and other['pictures'][0] != answer['pictures'][0]
    status, answer = request(server, '/demo/content?way=b2a&size=64&example=2')
    assert status == 200 and pixels(answer).shape == (64, 64, 3)


def test_a_photograph_becomes_an_outline(server):
    pytest.importorskip('skimage')
    status, answer = request(server, '/demo/outline?way=a2b', (ROOT / 'inputs' / 'edges2shirts_shirt.jpg').read_bytes())
    drawn = pixels(answer)
    assert status == 200 and drawn.shape[:2] == (128, 128) and set(np.unique(drawn)) == {0, 255}
    assert 0.01 < (drawn == 0).mean() < 0.2
    assert request(server, '/demo/outline?way=b2a', file_of((64, 64)))[0] == 400
    status, answer = request(server, '/demo/outline?way=a2b', b'no image')
    assert status == 400 and 'this file' in answer['error']


@pytest.mark.parametrize('path, body, words', [
    ('translate', b'{', 'not a JSON object'), ('translate', b'[' * 100000, 'not a JSON object'),
    ('translate', b'[]', 'not a JSON object'), ('translate', {'way': 'a2b'}, 'contains no image'),
    ('translate', asked(content='data:image/png;base64,!!!'), 'contains no image'),
    ('translate', asked(content='file:///etc/passwd'), 'contains no image'),
    ('translate', asked(content='data:image/png;base64,AAAA'), 'not an image'),
    ('translate', asked(styles=[[1, 2]]), '8 numbers'), ('translate', asked(blend={'first': 1}), '8 numbers'),
    ('save', asked(style='/etc/passwd'), '8 numbers'), ('sample', {'way': 'a2b', 'seed': '1', 'count': 2}, 'seed'),
    ('content?way=a2b&size=64', b'no picture', 'this file: cannot be read as an image'),
    ('content?way=c&size=64', b'', 'only translates'), ('content?way=a2b&size=64&example=77', b'', 'no such example'),
    ('style?way=a2b', b'', 'not an image'), ('translate?model=2', asked(), 'no such model'),
    ('translate?model=x', asked(), 'no such model'),
])
def test_an_invalid_request_gets_an_explanation(server, path, body, words):
    status, answer = request(server, f'/demo/{path}', body)
    assert status == 400 and words in answer['error'] and '\n' not in answer['error']


def test_other_pages_other_hosts_and_gradios_routes_are_rejected(server):
    port = urllib.parse.urlsplit(server).port
    for headers in ({'Origin': 'http://other.example'}, {'Origin': 'null'}, {'Origin': 'http://[::1:80'},
                    {'Sec_Fetch_Site': 'cross-site'}, {'Host': f'other.example:{port}'}, {'Host': '[::1'}):
        assert request(server, '/demo/translate', asked(), **headers)[0] == 403, headers
    assert request(server, '/demo/translate', asked(), Origin=server, Sec_Fetch_Site='same-origin')[0] == 200
    for method, path in [('POST', '/gradio_api/upload'), ('GET', '/gradio_api/file=/etc/passwd'),
                         ('GET', '/gradio_api/proxy=http://other.example'), ('POST', '/gradio_api/queue/join'),
                         ('POST', '/gradio_api/run/predict'), ('GET', '/monitoring'), ('GET', '/gradio_api/info'),
                         ('POST', '/gradio_api/component_server'), ('GET', '/static/../../routes.py'),
                         ('GET', '/demo/map/../start')]:
        assert request(server, path, b'' if method == 'POST' else None, method)[0] == 404, path
    assert request(server, '/demo/translate', None, 'GET')[0] == 405
    assert request(server, '/', b'', 'POST')[0] == 405


def test_a_request_that_is_too_large_is_refused_before_it_is_read(server):
    with socket.create_connection(('127.0.0.1', urllib.parse.urlsplit(server).port), timeout=10) as connection:
        connection.sendall(f'POST /demo/style?way=a2b HTTP/1.1\r\nHost: localhost\r\nContent-Length: '
                           f'{demo_server.MOST_BYTES + 1}\r\n\r\n'.encode())
        assert b' 413 ' in connection.recv(100)
    chunk = b'x' * 2 ** 20
    with pytest.raises((ConnectionError, AssertionError)):   # without a length, the body is cut off while it is sent
        connection = http.client.HTTPConnection(urllib.parse.urlsplit(server).netloc, timeout=10)
        connection.request('POST', '/demo/style?way=a2b', (chunk for _ in range(60)), encode_chunked=True,
                           headers={'Transfer-Encoding': 'chunked'})
        assert connection.getresponse().status != 413


def test_unfinished_request_bodies_do_not_block_the_model(server):
    port = urllib.parse.urlsplit(server).port
    head = b'POST /demo/style?way=a2b HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\nabc'
    opened = [socket.create_connection(('127.0.0.1', port)) for _ in range(150)]
    for one in opened:
        with contextlib.suppress(ConnectionError):   # closed already, for a newer one
            one.sendall(head)
    time.sleep(1.1)   # until then, they may be only in the network's queue
    begin = time.monotonic()
    assert request(server, '/demo/translate', asked())[0] == 200
    assert time.monotonic() - begin < 10
    for one in opened:
        one.close()


def test_simultaneous_requests_are_answered_or_get_a_busy_message(server):
    answers = []
    body = asked(size=128, styles=[CODE] * 12)
    threads = [threading.Thread(target=lambda: answers.append(request(server, '/demo/translate', body)))
               for _ in range(3 * demo_server.MOST_WAITING)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    done = [answer for status, answer in answers if status == 200]
    busy = [answer for status, answer in answers if status == 503]
    assert len(answers) == len(threads) == len(done) + len(busy)
    assert len(done) >= demo_server.MOST_WAITING and all(answer['pictures'] == done[0]['pictures'] for answer in done)
    assert busy and all('the model is busy' in answer['error'] for answer in busy)
    assert request(server, '/demo/translate', asked())[0] == 200   # and then it goes on


async def passed(guard: demo_server.Guard, path: str, method: str = 'GET', **headers) -> tuple[int, str]:
    """The status that a guard gives a request, and the path that the page is asked for."""
    seen, statuses = [], []

    async def app(scope, receive, send):
        seen.append(scope['path'])
        await send({'type': 'http.response.start', 'status': 200, 'headers': []})

    async def send(message):
        statuses.append(message.get('status'))

    guard.app = app
    await guard({'type': 'http', 'path': path, 'method': method, 'headers': [
        (key.replace('_', '-').lower().encode(), value.encode()) for key, value in headers.items()]}, None, send)
    return statuses[0], (seen or [''])[0]


@pytest.mark.skipif(not find_spec('starlette'), reason='requirements/demo.txt')
def test_behind_a_proxy_its_names_and_its_path_are_those_of_the_page_and_no_others():
    guard = demo_server.Guard(None, {*demo_server.LOCAL, 'draw.example.org'}, '', ['draw.example.org'], '/munit')

    def ask(path, method='GET', **headers):
        return asyncio.run(passed(guard, path, method, **headers))

    outside = {'Origin': 'https://draw.example.org', 'Sec_Fetch_Site': 'same-origin'}
    for host in ('draw.example.org', 'localhost:7860'):   # the proxy may pass the name on, or its own
        assert ask('/munit/demo/translate', 'POST', Host=host, **outside) == (200, '/demo/translate')
        assert ask('/demo/translate', 'POST', Host=host, **outside) == (200, '/demo/translate')
        assert ask('/munit', Host=host) == ask('/munit/', Host=host) == (200, '/')
    assert ask('/munitx/', Host='localhost')[0] == 404
    assert ask('/munit/gradio_api/upload', 'POST', Host='localhost')[0] == 404
    assert ask('/munit/', Host='other.example')[0] == 403
    for origin in ('https://other.example', 'https://draw.example.org.other.example', 'null'):
        assert ask('/munit/demo/translate', 'POST', Host='localhost', Origin=origin)[0] == 403
    assert ask('/munit/demo/translate', 'POST', Host='draw.example.org', Origin='https://draw.example.org',
               Sec_Fetch_Site='cross-site')[0] == 403


def test_hosts_may_be_named_together_or_one_by_one():
    for given in ('--allow_host a.org,B.org c.org', '--allow_host a.org --allow_host b.org c.org'):
        assert demo_server.parse_arguments(given.split()).allow_host == ['a.org', 'b.org', 'c.org']
    assert demo_server.parse_arguments([]).allow_host == []


@pytest.mark.parametrize('flag, value, words', [
    ('--allow_host', 'https://draw.example.org', 'without http://'), ('--allow_host', 'a b', 'not a host name'),
    ('--root_path', 'munit', 'not a valid path'), ('--root_path', '/a/../b', 'not a valid path')])
def test_names_and_paths_of_a_proxy_are_checked(capsys, flag, value, words):
    line = complaint(capsys, demo_server.main, flag, value)
    assert flag in line and words in line


@pytest.mark.slow
def test_a_space_of_a_copied_app_py_serves_the_page_for_frames_of_its_host(tmp_path):
    if not find_spec('gradio'):
        pytest.skip('Gradio is not installed')
    shutil.copy(ROOT / 'scripts' / 'space_app.py', tmp_path / 'app.py')
    (tmp_path / 'munit').symlink_to(ROOT)
    process = subprocess.Popen([sys.executable, 'app.py'], cwd=tmp_path, text=True, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, env={**os.environ, 'PORT': '0', 'CUDA_VISIBLE_DEVICES': ''})
    try:
        server = process.stdout.readline().split()[0]
        connection = http.client.HTTPConnection(urllib.parse.urlsplit(server).netloc, timeout=30)
        connection.request('GET', '/', headers={'Host': 'someone-munit.hf.space'})
        answer = connection.getresponse()
        assert answer.status == 200 and b'MUNIT' in answer.read()
        assert answer.headers['content-security-policy'].endswith("frame-ancestors 'self' https://huggingface.co")
        assert request(server, '/demo/sample', {'way': 'a2b', 'seed': 1, 'count': 2}, Host='someone-munit.hf.space',
                       Origin='https://someone-munit.hf.space')[0] == 200
        assert request(server, '/gradio_api/upload', b'')[0] == 404
        connection.close()
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=20)


# ---------------------------------------------------------------------------------------------------------------------
# The page
# ---------------------------------------------------------------------------------------------------------------------

@pytest.fixture(scope='module')
def chromium():
    sync_api = pytest.importorskip('playwright.sync_api', reason='playwright is not installed')
    found = next(filter(None, map(shutil.which, ('chromium', 'chromium-browser', 'google-chrome'))), None)
    if not found:
        pytest.skip('there is no Chromium on this machine')
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=['--no-sandbox'])
        yield browser
        browser.close()


@pytest.fixture
def open_page(server, chromium):
    """Opens the page, ready to be used; in the end, it has asked no other host, and nothing failed that was not to."""
    contexts, requests, faults = [], [], []

    def opened(width=1280, height=900, console=True, **options):
        contexts.append(chromium.new_context(viewport={'width': width, 'height': height}, **options))
        page = contexts[-1].new_page()
        page.set_default_timeout(15000)
        page.on('request', lambda request: requests.append(request.url))
        page.on('websocket', lambda socket: requests.append(socket.url))
        page.on('pageerror', lambda error: faults.append(str(error)))
        if console:
            page.on('console', lambda message: faults.append(message.text) if message.type == 'error' else None)
        page.goto(server)
        page.wait_for_selector('[data-ready=yes]', state='attached')
        settle(page)
        return page
    yield opened
    for context in contexts:
        context.close()
    allowed = ('data:', 'blob:', f'{server}/')
    assert requests and not [url for url in requests if not url.startswith(allowed)]
    assert not [fault for fault in faults if 'status of 400' not in fault], faults


def part(page, name):
    return page.locator(f'[data-el={name}]')


def settle(page) -> np.ndarray | None:
    """The result as RGB once it has not changed for a while, or None if there is no result."""
    page.evaluate('window.since = performance.now()')
    page.wait_for_function('''() => {
        const now = document.querySelector('[data-el=result]').src;
        const busy = document.querySelector('[data-el=styleZone]').ariaBusy === 'true';
        if (busy || now !== window.before) { window.before = now; window.since = performance.now(); }
        return performance.now() - window.since > 150;
    }''')
    return shown(page)


def shown(page) -> np.ndarray | None:
    url = part(page, 'result').get_attribute('src')
    if not url:
        return None
    with Image.open(io.BytesIO(base64.b64decode(url.split(',')[1]))) as image:
        return np.array(image.convert('RGB')).astype(int)


def differ(one: np.ndarray, other: np.ndarray) -> bool:
    return np.abs(one - other).mean() > 0.5


def move(page, name: str, *places: tuple[float, float]) -> None:
    box = part(page, name).bounding_box()
    for x, y in places:
        page.mouse.move(box['x'] + x * box['width'], box['y'] + y * box['height'], steps=5)


def code(page) -> torch.Tensor:
    return read_codes(part(page, 'code').input_value(), 8, '').flatten()


def drop(page, zone: str, name: str, content: bytes) -> None:
    page.evaluate('''([zone, name, content]) => {
        const given = new DataTransfer();
        given.items.add(new File([Uint8Array.from(atob(content), (c) => c.charCodeAt(0))], name));
        const event = new DragEvent('drop', { dataTransfer: given, bubbles: true, cancelable: true });
        document.querySelector(`[data-el=${zone}]`).dispatchEvent(event);
    }''', [zone, name, base64.b64encode(content).decode()])


@pytest.mark.slow
def test_a_line_shows_while_it_is_drawn_and_samples_are_other_pictures(open_page):
    page = open_page()
    assert part(page, 'strip').locator('img[src]').count() == 8   # it begins with an example
    part(page, 'clear').click()
    settle(page)
    assert part(page, 'resultHint').is_visible() and not part(page, 'result').is_visible()
    move(page, 'paper', (0.2, 0.7))
    page.mouse.down()
    empty = settle(page)
    move(page, 'paper', (0.3, 0.4), (0.6, 0.5), (0.9, 0.7))
    during = settle(page)
    assert differ(empty, during)
    move(page, 'paper', (0.2, 0.7))
    page.mouse.up()
    drawn = settle(page)
    assert differ(during, drawn)
    seed = part(page, 'seed').input_value()
    part(page, 'sample').click()
    page.wait_for_function('([seed]) => document.querySelector("[data-el=seed]").value !== seed', arg=[seed])
    assert differ(drawn, settle(page))
    pictures = {image.get_attribute('src') for image in part(page, 'strip').locator('img').all()}
    assert len(pictures) == 8
    # A seed that is set gives its styles again.
    part(page, 'seed').fill(seed)
    part(page, 'seed').press('Enter')
    assert np.array_equal(settle(page), drawn)
    part(page, 'undo').click()
    settle(page)
    assert part(page, 'resultHint').is_visible()


@pytest.mark.slow
def test_a_broken_or_too_large_file_is_reported_and_the_page_still_works(open_page):
    page = open_page()
    before = shown(page)
    drop(page, 'inputZone', 'broken.png', b'no picture')
    page.wait_for_selector('[data-el=fault]:visible')
    assert part(page, 'fault').inner_text() == 'broken.png: cannot be read as an image (not an image)'
    drop(page, 'styleZone', 'cut.jpg', file_of(form='JPEG')[:900])
    page.wait_for_function('document.querySelector("[data-el=fault]").textContent.startsWith("cut.jpg: cannot")')
    page.evaluate('''() => {
        const given = new DataTransfer();
        given.items.add(new File([new Uint8Array(21 * 2 ** 20)], 'large.png'));
        document.querySelector('[data-el=inputZone]').dispatchEvent(new DragEvent('drop', { dataTransfer: given }));
    }''')
    page.wait_for_function('document.querySelector("[data-el=fault]").textContent.startsWith("large.png: 21 MiB")')
    assert np.array_equal(settle(page), before)
    drop(page, 'inputZone', 'good.jpg', (ROOT / 'inputs' / 'edges2shirts_outline_2.png').read_bytes())
    assert differ(before, settle(page))


@pytest.mark.slow
def test_a_dropped_picture_with_a_dropped_style_is_what_test_py_makes(open_page, tmp_path):
    page = open_page()
    edge, shoe = (ROOT / 'inputs' / f'edges2shoes_{name}.jpg' for name in ('edge', 'shoe'))
    drop(page, 'inputZone', 'edge.jpg', edge.read_bytes())
    before = settle(page)
    drop(page, 'styleZone', 'shoe.jpg', shoe.read_bytes())
    page.wait_for_selector('[data-el=notice]:visible >> text=Style of shoe.jpg')
    assert differ(before, settle(page))
    with page.expect_download() as download:
        part(page, 'save').click()
    download.value.save_as(tmp_path / 'saved.png')
    saved = pixels(tmp_path / 'saved.png')
    assert np.array_equal(saved, shown(page))
    text = Image.open(tmp_path / 'saved.png').text
    assert text['Style'] == 'of a picture' and text['Config'] == 'configs/edges2shirts_folder.yaml'
    call = ['--config', str(demo_server.SHIPPED_CONFIG), '--checkpoint', str(demo_server.SHIPPED), '--device', 'cpu',
            '--input', str(edge), '--output_folder', str(tmp_path)]
    for style in (['--style', str(shoe)], [f'--style_code={text["Style code"]}']):
        test_command.main([*call, *style])
        assert np.abs(saved - pixels(tmp_path / 'output000.jpg')).max() < 24   # the loss of JPEG


@pytest.mark.slow
def test_styles_are_kept_blended_moved_and_typed(open_page):
    page = open_page()
    for i in (1, 5):
        part(page, 'strip').locator('button').nth(i).click()
        settle(page)
        part(page, 'keep').click()
    first, last = code(page), None
    part(page, 'kept').locator('.cell').first.click()
    kept = settle(page)
    first, last = code(page), first
    assert not torch.equal(first, last)
    assert [part(page, name).input_value() for name in ('first', 'last')] == ['k1', 'k2']
    part(page, 'part').fill('0.4')
    between = settle(page)
    assert torch.allclose(code(page), slerp(first, last, 0.4), atol=1e-6) and differ(kept, between)
    part(page, 'part').fill('0')
    assert np.array_equal(settle(page), kept)
    page.locator('[data-el=sliders] input').nth(3).fill('2.5')
    assert differ(settle(page), kept) and code(page)[3] == 2.5
    assert torch.equal(code(page)[:3], first[:3])
    part(page, 'code').fill('0,0,0,0,0,0,0,0.5')
    part(page, 'code').press('Enter')
    settle(page)
    assert page.locator('[data-el=sliders] output').nth(7).inner_text() == '0.50'
    part(page, 'code').fill('1,2')
    part(page, 'code').press('Enter')
    page.wait_for_selector('[data-el=fault]:visible >> text=8 numbers')


@pytest.mark.slow
def test_a_place_on_the_map_is_its_style(open_page):
    page = open_page()
    before = shown(page)
    part(page, 'map').scroll_into_view_if_needed()
    move(page, 'map', (0.8, 0.25))
    page.mouse.down()
    page.mouse.up()
    assert differ(before, settle(page))
    made = json.loads((ROOT / 'models' / 'edges2shirts_map_b.json').read_text())
    x, y = (torch.tensor([0.8 - 0.5, 0.5 - 0.25]) * made['side'] + torch.tensor(made['middle'])).tolist()
    wanted = torch.tensor(made['mean']) + x * torch.tensor(made['axes'][0]) + y * torch.tensor(made['axes'][1])
    assert torch.allclose(code(page), wanted, atol=0.02 * made['side'])
    before = code(page)
    part(page, 'map').press('ArrowLeft')
    settle(page)
    assert torch.allclose(code(page), before - made['side'] / 40 * torch.tensor(made['axes'][0]), atol=1e-4)


@pytest.mark.slow
def test_the_other_direction_has_its_own_paper_styles_and_map(open_page):
    page = open_page()
    part(page, 'keep').click()
    part(page, 'back').click()
    back = settle(page)
    page.wait_for_function('document.querySelector("[data-el=mapAbout]").textContent.includes("915 styles")')
    assert part(page, 'fromName').inner_text() == 'shirts' and part(page, 'kept').inner_text() == ''
    assert np.ptp(back, axis=2).max() == 0 and back.min() < 120 and part(page, 'colour').is_visible()   # an outline
    page.get_by_label('outlines → shirts').check()
    assert np.ptp(settle(page), axis=2).max() > 40 and part(page, 'kept').locator('.cell').count() == 1
    part(page, 'size').select_option('128')
    assert settle(page).shape == (128, 128, 3)


@pytest.mark.slow
def test_the_keyboard_reaches_all_and_draws(open_page):
    page = open_page()
    empty = shown(page)
    page.evaluate('document.activeElement.blur()')
    reached, rings = [], []
    for _ in range(60):
        page.keyboard.press('Tab')
        reached.append(page.evaluate('document.activeElement.dataset.el || document.activeElement.title'))
        rings.append(page.evaluate('''() => [document.activeElement, document.activeElement.parentElement].some(
            (node) => parseFloat(getComputedStyle(node).outlineWidth) >= 2
                && getComputedStyle(node).outlineStyle !== 'none')'''))
        if reached[-1] == 'code':
            break
    assert {'size', 'paper', 'pen', 'eraser', 'width', 'clear', 'openInput', 'saveInput', 'Example 1', 'keep', 'save',
            'back', 'sample', 'seed', 'count', 'openStyle', 'map', 'first', 'part', 'last', 'code'} <= set(reached)
    assert any(name.startswith('Sample 8 ') for name in reached) and all(rings), dict(zip(reached, rings, strict=True))
    for _ in range(reached[::-1].index('paper')):
        page.keyboard.press('Shift+Tab')
    assert part(page, 'cursor').is_visible()
    page.keyboard.press('Space')
    for key in ['Shift+ArrowRight'] * 4 + ['Shift+ArrowDown'] * 3 + ['ArrowLeft'] * 2:
        page.keyboard.press(key)
    drawn = settle(page)
    assert differ(empty, drawn)
    page.keyboard.press('Space')
    page.keyboard.press('Control+z')
    assert np.array_equal(settle(page), empty)
    while page.evaluate('document.activeElement.title') != 'Example 2':
        page.keyboard.press('Tab')
    page.keyboard.press('Enter')
    assert differ(settle(page), empty)


@pytest.mark.parametrize('scheme', ['light', 'dark'])
@pytest.mark.slow
def test_a_phone_shows_one_column_and_draws_by_touch(open_page, scheme):
    page = open_page(360, 740, color_scheme=scheme, has_touch=True, is_mobile=True)
    empty = shown(page)
    assert page.evaluate('document.documentElement.scrollWidth') <= 360
    background = page.evaluate('getComputedStyle(document.querySelector(".gradio-container")).backgroundColor')
    assert (sum(map(int, background[4:-1].split(','))) > 600) == (scheme == 'light')
    box = part(page, 'paper').bounding_box()
    assert box['width'] > 300 and part(page, 'mini').is_visible() and page.evaluate('scrollY') == 0
    touch = page.context.new_cdp_session(page)
    for i in range(10):
        point = {'x': box['x'] + box['width'] * (0.3 + 0.02 * i), 'y': box['y'] + box['height'] * (0.85 - 0.07 * i)}
        touch.send('Input.dispatchTouchEvent', {'type': 'touchMove' if i else 'touchStart', 'touchPoints': [point]})
    touch.send('Input.dispatchTouchEvent', {'type': 'touchEnd', 'touchPoints': []})
    drawn = settle(page)
    assert differ(empty, drawn) and page.evaluate('scrollY') == 0
    part(page, 'keep').tap()
    part(page, 'sample').tap()
    assert differ(drawn, settle(page))
    assert page.evaluate('document.documentElement.scrollWidth') <= 360


@pytest.mark.slow
def test_when_the_server_ends_the_page_says_so(open_page):
    page = open_page(console=False)
    page.route('**/demo/translate', lambda route: route.abort())
    part(page, 'examples').locator('button').nth(1).click()
    page.wait_for_selector('[data-el=fault]:visible >> text=The server does not answer')
    page.unroute('**/demo/translate')
    page.route('**/demo/translate', lambda route: route.fulfill(status=503, json={'error': 'the model is busy: x'}))
    part(page, 'examples').locator('button').nth(2).click()
    page.wait_for_selector('[data-el=fault]:visible >> text=The model is busy')


@pytest.mark.slow
def test_redo_puts_on_again_what_undo_took_until_a_new_line(open_page):
    page = open_page()
    empty = shown(page)
    for x in (0.3, 0.6):
        move(page, 'paper', (x, 0.2))
        page.mouse.down()
        move(page, 'paper', (x, 0.8))
        page.mouse.up()
    drawn = settle(page)
    assert part(page, 'redo').is_disabled()
    part(page, 'undo').click()
    part(page, 'undo').click()
    assert np.array_equal(settle(page), empty) and part(page, 'undo').is_disabled()
    part(page, 'redo').click()
    page.keyboard.press('Control+y')
    assert np.array_equal(settle(page), drawn) and part(page, 'redo').is_disabled()
    page.keyboard.press('Control+z')
    page.keyboard.press('Control+Shift+z')
    assert np.array_equal(settle(page), drawn)
    page.keyboard.press('Control+z')
    part(page, 'clear').click()
    assert part(page, 'redo').is_disabled()
    part(page, 'seed').focus()   # where Control Z belongs to the text field
    page.keyboard.press('Control+z')
    settle(page)
    assert part(page, 'resultHint').is_visible()


def paste(page, content: bytes) -> None:
    page.evaluate('''(content) => {
        const given = new DataTransfer();
        given.items.add(new File([Uint8Array.from(atob(content), (c) => c.charCodeAt(0))], 'pasted.png'));
        document.activeElement.dispatchEvent(new ClipboardEvent('paste', { clipboardData: given, bubbles: true }));
    }''', base64.b64encode(content).decode())


@pytest.mark.slow
def test_a_pasted_picture_gives_the_style_and_on_the_paper_the_input(open_page):
    page = open_page()
    before, first = shown(page), code(page)
    shirt = (ROOT / 'inputs' / 'edges2shirts_shirt_3.jpg').read_bytes()
    page.evaluate('document.activeElement.blur()')
    paste(page, shirt)
    page.wait_for_selector('[data-el=notice]:visible >> text=Style of pasted.png')
    styled = settle(page)
    assert differ(before, styled) and not torch.equal(first, code(page))
    guided, strokes = code(page), part(page, 'undo')
    assert strokes.is_disabled()
    part(page, 'paper').focus()
    paste(page, (ROOT / 'inputs' / 'edges2shirts_outline_4.png').read_bytes())
    page.wait_for_selector('[data-el=undo]:enabled')
    assert differ(styled, settle(page)) and torch.equal(guided, code(page))


@pytest.mark.slow
def test_a_link_holds_seed_and_style(open_page):
    page = open_page(permissions=['clipboard-read', 'clipboard-write'])
    part(page, 'seed').fill('77')
    part(page, 'seed').press('Enter')
    settle(page)
    part(page, 'examples').locator('button').nth(2).click()
    part(page, 'strip').locator('button').nth(3).click()
    wanted, style = settle(page), code(page)
    part(page, 'share').click()
    page.wait_for_selector('[data-el=notice]:visible >> text=Copied')
    link = page.evaluate('navigator.clipboard.readText()')
    other = open_page()
    other.goto('about:blank')
    other.goto(link)
    other.wait_for_selector('[data-ready=yes]', state='attached')
    assert np.array_equal(settle(other), wanted) and torch.equal(code(other), style)
    assert part(other, 'seed').input_value() == '77'
    assert part(other, 'strip').locator('[aria-pressed=true]').get_attribute('aria-label') == 'Sample 4 of seed 77'
    other.evaluate('location.hash = "model=9&way=x&size=1&seed=1e9&code=1,2,x,<b>"')   # of which nothing fits
    assert np.array_equal(settle(other), wanted)
    other.evaluate('location.hash = "code=0,0,0,0,0,0,0,2.5"')
    assert differ(settle(other), wanted) and code(other)[7] == 2.5


@pytest.mark.slow
def test_without_a_clipboard_the_address_bar_has_the_link(open_page):
    page = open_page()
    page.evaluate('() => { navigator.clipboard.writeText = () => Promise.reject(new Error("no")); }')
    part(page, 'share').click()
    page.wait_for_selector('[data-el=notice]:visible >> text=The address bar has the link')
    assert 'seed=10' in page.url and 'code=' in page.url


@pytest.mark.slow
def test_the_keyboard_help_opens_and_closes(open_page):
    page = open_page()
    page.keyboard.press('?')
    assert part(page, 'keysHelp').is_visible() and 'Ctrl Y' in part(page, 'keysHelp').inner_text()
    page.keyboard.press('Escape')
    assert not part(page, 'keysHelp').is_visible()
    part(page, 'openKeys').click()
    part(page, 'keysHelp').get_by_text('Close').click()
    assert not part(page, 'keysHelp').is_visible()
    part(page, 'code').focus()
    page.keyboard.press('?')
    assert not part(page, 'keysHelp').is_visible()


@pytest.mark.slow
def test_another_model_is_chosen_and_the_drawing_stays(open_page):
    page = open_page()
    assert part(page, 'model').locator('option').all_inner_texts() == ['edges2shirts', 'demo_edges2shoes']
    part(page, 'clear').click()
    move(page, 'paper', (0.2, 0.7))
    page.mouse.down()
    move(page, 'paper', (0.3, 0.4), (0.6, 0.5), (0.9, 0.7))
    page.mouse.up()
    part(page, 'keep').click()
    shirt, paper = settle(page), page.evaluate('document.querySelector("[data-el=paper]").toDataURL()')
    part(page, 'model').select_option('1')
    page.wait_for_function('document.querySelector("[data-el=toName]").textContent.includes("shoes")')
    shoe = settle(page)
    assert (shirt.shape, shoe.shape) == ((128, 128, 3), (64, 64, 3))   # each at the size with which it was trained
    assert part(page, 'kept').inner_text() == ''
    assert page.evaluate('document.querySelector("[data-el=paper]").toDataURL()') == paper
    with page.expect_download() as download:
        part(page, 'saveInput').click()
    assert download.value.suggested_filename == 'demo_edges2shoes_a2b_input.png'
    part(page, 'model').select_option('0')
    page.wait_for_function('document.querySelector("[data-el=toName]").textContent.includes("shirts")')
    assert np.array_equal(settle(page), shirt)
