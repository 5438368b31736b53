"""torch.hub and engine.python_api: the numbers of the commands, all kinds of images, gradients, and no side effects."""
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image, ImageOps
from tiny import make_model

import test as test_command
from core.errors import BadInput
from engine import python_api

ROOT = Path(__file__).resolve().parents[1]
OUTLINE, SHOE = ROOT / 'inputs' / 'edges2shoes_edge.jpg', ROOT / 'inputs' / 'edges2shoes_shoe.jpg'
SHIPPED = {'config': ROOT / 'configs' / 'demo_edges2shoes_folder.yaml',
           'checkpoint': ROOT / 'models' / 'demo_edges2shoes.pt'}


def load(entry: str, *args, **options):
    return torch.hub.load(str(ROOT), entry, *args, source='local', **options)


@pytest.fixture(scope='module')
def model():
    return load('munit', 'demo_edges2shoes', device='cpu')


@pytest.fixture(scope='module')
def outputs_of_test(tmp_path_factory):
    """The pixels that test.py writes, before JPEG compression."""
    def run(*flags: str) -> list[np.ndarray]:
        folder, kept = tmp_path_factory.mktemp('out'), []
        write, test_command.write_output = test_command.write_output, lambda pixels, path: kept.append(pixels.numpy())
        try:
            test_command.main([*(f'--{key}={path}' for key, path in SHIPPED.items()), f'--input={OUTLINE}',
                               f'--output_folder={folder}', '--device=cpu', '--output_only', *flags])
        finally:
            test_command.write_output = write
        return kept
    return run


def equal(first, second) -> bool:
    return np.array_equal(np.asarray(first), np.asarray(second))


# -- the numbers of the commands --------------------------------------------------------------------------------------

def test_sampled_styles_are_those_of_the_command(model, outputs_of_test):
    expected = outputs_of_test('--seed', '7', '--num_style', '3')
    pictures = model.translate(OUTLINE, n=3, seed=7)
    assert len(pictures) == 3 and all(map(equal, pictures, expected))
    codes = model.sample_styles(3, seed=7)
    assert all(map(equal, model.translate(OUTLINE, styles=codes), expected))


def test_a_guided_translation_is_that_of_the_command(model, outputs_of_test):
    assert equal(model.translate(str(OUTLINE), style=str(SHOE)), outputs_of_test('--style', str(SHOE))[0])
    assert equal(model.translate(OUTLINE, style=SHOE, normalize=True),
                 outputs_of_test('--style', str(SHOE), '--normalize')[0])


def test_codes_are_text_and_numbers_as_for_the_command(model, outputs_of_test):
    text = '0.5,-1,0,0,2,0.25,0,1'
    expected = outputs_of_test('--style_code', text)[0]
    for styles in (text, [float(word) for word in text.split(',')], np.array(text.split(','), dtype=float)):
        assert equal(model.translate(OUTLINE, styles=styles)[0], expected)


def test_encoding_and_decoding_is_translating(model):
    codes, style = model.encode(OUTLINE, new_size=50), model.encode(SHOE, domain='b').style
    assert codes.size == (50, 50) and not codes.content.is_inference() and codes.style.shape == (1, 8, 1, 1)
    found = model.decode(codes.content, style, size=codes.size, output='tensor')
    expected = model.translate(OUTLINE, styles=style, new_size=50, output='tensor')
    assert found.shape == (1, 3, 50, 50) and torch.allclose(found, expected, atol=1e-5)
    with torch.no_grad():   # within the domain, as in training
        image = model.read(OUTLINE)
        gen = python_api.trainer(SHIPPED['config'], pretrained='demo_edges2shoes').gen_a.eval()
        expected = gen(image)
    codes = model.encode(OUTLINE)
    assert torch.allclose(model.decode(*codes[:2], domain='a', output='tensor'), expected, atol=1e-5)


def test_the_other_direction(model):
    other = model.reversed()
    assert (other.source, other.target) == ('b', 'a') and (model.source, model.target) == ('a', 'b')
    direct = load('munit', 'demo_edges2shoes', a2b=False, device='cpu')
    assert equal(other.translate(SHOE, n=1, seed=3)[0], direct.translate(SHOE, n=1, seed=3)[0])
    assert other.translate(SHOE).mode == 'L'


def test_interpolation_begins_and_ends_with_its_styles(model):
    first, second = model.sample_styles(2, seed=1)
    between = model.interpolate_styles(first.flatten(), second.flatten(), n=5)
    assert between.shape == (5, 8, 1, 1)
    assert torch.allclose(between[0], first) and torch.allclose(between[-1], second)


# -- kinds of images --------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('kind', ['PIL', 'RGBA', 'P', 'CMYK', 'array', 'array of floats', 'bytes', 'floats'])
def test_every_kind_of_image_is_read_alike(model, kind):
    with Image.open(SHOE) as opened:
        picture = opened.convert('P').convert('RGB') if kind == 'P' else opened.convert('RGB')
    expected = model.read(picture, 'b')
    array = np.asarray(picture)
    given = {'PIL': picture, **{mode: picture.convert(mode) for mode in ('RGBA', 'P', 'CMYK')},
             'array': array, 'array of floats': array / 255, 'bytes': torch.tensor(array).movedim(-1, 0),
             'floats': expected[0]}[kind]
    assert (model.read(given, 'b') - expected).abs().max() < (0.1 if kind == 'P' else 0.02 if kind == 'CMYK' else 1e-6)
    assert model.translate(OUTLINE, style=given).size == (64, 64)


def test_a_picture_is_read_as_its_file_is(model, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6   # rotated by 90°
    with Image.open(SHOE) as picture:
        picture.resize((90, 60)).save(tmp_path / 'turned.jpg', exif=exif)
    Image.fromarray(np.arange(64 * 64, dtype=np.uint16).reshape(64, 64) * 16).save(tmp_path / 'deep.png')
    ImageOps.invert(Image.open(OUTLINE).convert('L')).convert('1').save(tmp_path / 'two.png')
    for name in ('turned.jpg', 'deep.png', 'two.png'):
        for domain in 'ab':
            with Image.open(tmp_path / name) as picture:
                assert torch.equal(model.read(picture, domain), model.read(tmp_path / name, domain)), name
    deep = np.asarray(Image.open(tmp_path / 'deep.png'))
    assert torch.equal(model.read(deep, 'a'), model.read(tmp_path / 'deep.png', 'a'))


@pytest.mark.parametrize('image', [
    None, 7, np.zeros((2, 2, 2), np.uint8), np.zeros((4, 4), np.int64), np.full((4, 4), 3.0),
    np.zeros((0, 4), np.uint8), torch.zeros(4, 4), torch.full((1, 32, 32), 2.0),
    torch.full((1, 32, 32), torch.nan), torch.zeros(3, 32, 32),
    torch.zeros(2, 1, 32, 32), torch.zeros(1, 4, 4, dtype=torch.long), 'missing.png'])
def test_what_is_no_image_is_refused_in_a_line(image):
    model = python_api.munit('demo_edges2shoes', device='cpu')
    with pytest.raises(BadInput) as caught:
        model.translate(image)
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize('options', [
    {'style': SHOE, 'n': 2}, {'styles': [1.0] * 7}, {'styles': [torch.inf] * 8}, {'styles': 'nowhere.txt'},
    {'styles': object()}, {'styles': torch.zeros(0, 8)}, {'styles': torch.zeros(1, 8, 2, 2)}, {'n': 0},
    {'output': 'jpg'}])
def test_what_are_no_styles_is_refused_in_a_line(options):
    model = python_api.munit('demo_edges2shoes', device='cpu')
    with pytest.raises(BadInput) as caught:
        model.translate(OUTLINE, **options)
    assert '\n' not in str(caught.value)


# -- models -----------------------------------------------------------------------------------------------------------

def test_every_shipped_model_has_a_config():
    names = python_api.pretrained_models()
    assert names == sorted(path.stem for path in (ROOT / 'models').glob('*.pt'))
    for name in names:
        python_api.munit(name, device='cpu')


def test_a_checkpoint_of_ones_own(tmp_path):
    made = make_model(tmp_path)
    image = next(made['inputs'].iterdir())
    by_path = load('munit', str(made['checkpoint']), config=str(made['config']), device='cpu')
    by_dict = load('munit', made['checkpoint'], config=yaml.safe_load(made['config'].read_text()), device='cpu')
    assert equal(by_path.translate(image, n=1, seed=1)[0], by_dict.translate(image, n=1, seed=1)[0])
    with pytest.raises(BadInput, match='config='):
        python_api.munit(str(made['checkpoint']))
    with pytest.raises(BadInput, match='demo_edges2shoes'):
        python_api.munit('no_such_model')
    with pytest.raises(BadInput, match='config: gen'):
        python_api.munit(str(made['checkpoint']), config={'gen': 3})


def test_a_download_is_kept_and_its_progress_shown(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(torch.hub, '_hub_dir', str(tmp_path / 'hub'))
    address = SHIPPED['checkpoint'].as_uri()
    model = python_api.munit(address, config=SHIPPED['config'], device='cpu')
    assert '100%' in capfd.readouterr().err
    assert Path(model.checkpoint).is_relative_to(tmp_path / 'hub' / 'checkpoints')
    python_api.munit(address, config=SHIPPED['config'], device='cpu')
    python_api.munit('demo_edges2shoes', device='cpu')
    assert capfd.readouterr().err == ''
    with pytest.raises(BadInput, match='cannot be downloaded'):
        python_api.munit((tmp_path / 'missing.pt').as_uri(), config=SHIPPED['config'])


def test_unit(tmp_path):
    config = yaml.safe_load((ROOT / 'configs' / 'demo_drawn_small_unit.yaml').read_text())
    trainer = python_api.trainer(config, method='UNIT')
    torch.save({name: gen.state_dict() for name, gen in trainer.generators().items()}, tmp_path / 'gen.pt')
    model = load('unit', tmp_path / 'gen.pt', config=config, device='cpu')
    picture = model.translate(OUTLINE)
    codes = model.encode(OUTLINE)
    assert codes.style is None and equal(model.decode(codes.content, size=codes.size)[0], picture)
    for options in ({'style': SHOE}, {'n': 2}, {'styles': [0.0] * 8}):
        with pytest.raises(BadInput, match='UNIT has no styles'):
            python_api.unit(tmp_path / 'gen.pt', config=config, device='cpu').translate(OUTLINE, **options)
    noisy = load('unit', tmp_path / 'gen.pt', config=config, device='cpu', encoder_noise=True)
    first, second = noisy.translate(OUTLINE, n=2, seed=1)
    assert not equal(first, second) and equal(first, noisy.translate(OUTLINE, n=2, seed=1)[0])


def test_a_trainer_trains():
    torch.manual_seed(0)
    trainer = load('trainer', 'demo_edges2shoes_folder', pretrained='demo_edges2shoes', lr=0.001)
    before = trainer.gen_a.mlp.model[0].fc.weight.detach().clone()
    trainer.update_learning_rate()
    losses = trainer.update(torch.rand(1, 1, 64, 64) * 2 - 1, torch.rand(1, 3, 64, 64) * 2 - 1)
    assert losses['loss_gen_total'].isfinite() and not torch.equal(before, trainer.gen_a.mlp.model[0].fc.weight)
    assert trainer.gen_opt.param_groups[0]['lr'] == 0.001
    with pytest.raises(BadInput, match='unknown key'):
        python_api.trainer('demo_edges2shoes_folder', learning_rate=1)
    with pytest.raises(BadInput, match='not one of MUNIT'):
        python_api.trainer('demo_edges2shoes_folder', method='StyleGAN')


# -- the module -------------------------------------------------------------------------------------------------------

def test_the_generator_is_differentiable_in_images_and_styles(model):
    generator = load('munit_generator', 'demo_edges2shoes')
    assert not generator.training and not any(p.requires_grad for p in generator.parameters())
    torch.manual_seed(0)
    images, weights = (torch.rand(2, 1, 30, 34) * 2 - 1).requires_grad_(), torch.rand(2, 3, 30, 34)
    style = torch.randn(2, 8, requires_grad=True)

    def value() -> torch.Tensor:
        return (generator(images, style).double() * weights).sum()

    by_images, by_style = torch.autograd.grad(value(), (images, style))
    for of, gradient in ((images, by_images), (style, by_style)):
        assert gradient.flatten(1).norm(dim=1).min() > 0
        step = 1e-3 * gradient / gradient.abs().max()
        with torch.no_grad():
            kept = of.clone()
            of.copy_(kept + step)
            above = value()
            of.copy_(kept - step)
            difference = (above - value()) / 2
            of.copy_(kept)
        assert torch.isclose(difference, (gradient * step).sum().double(), rtol=0.02)


def test_the_generator_translates_as_the_translator_does(model):
    generator = load('munit_generator', 'demo_edges2shoes')
    image, styles = model.read(OUTLINE, new_size=50), model.sample_styles(2, seed=1)
    expected = model.translate(image, styles=styles, output='tensor')
    assert torch.allclose(generator(image.expand(2, -1, -1, -1), styles), expected, atol=1e-5)
    assert torch.allclose(generator(image, styles[0].flatten())[0], expected[0], atol=1e-5)
    assert generator(image).shape == (1, 3, 50, 50)
    assert torch.allclose(generator.encode_style(model.read(SHOE, 'b')), model.encode(SHOE, 'b').style, atol=1e-5)


def test_the_generator_is_a_part_of_another_training():
    generator = load('munit_generator', 'demo_edges2shoes', trainable=True)
    optimizer = torch.optim.SGD(generator.parameters(), lr=1e-3)
    generator(torch.rand(2, 1, 32, 32) * 2 - 1).square().mean().backward()
    used = [p for name, p in generator.named_parameters() if not name.startswith('target.enc_style')]
    assert all(p.grad is not None for p in used)
    optimizer.step()
    again = load('munit_generator', 'demo_edges2shoes')
    again.load_state_dict(generator.state_dict())


# -- beside the code of others ----------------------------------------------------------------------------------------

BESIDE = '''
import logging, os, random, sys, threading
import numpy, torch
from PIL import Image
{first}
repo, outline = sys.argv[1:3]

def settings():
    return (torch.get_num_threads(), torch.get_num_interop_threads(), torch.are_deterministic_algorithms_enabled(),
            torch.backends.cudnn.benchmark, torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision(),
            torch.get_default_dtype(), torch.is_grad_enabled(), torch.get_rng_state().tolist(), random.getstate(),
            Image.MAX_IMAGE_PIXELS, list(logging.getLogger('PIL').handlers), list(sys.path), dict(os.environ),
            threading.active_count(), numpy.random.get_state()[1].tolist(), __import__('gc').get_threshold(),
            __import__('signal').getsignal(2), list(__import__('warnings').filters), os.getcwd())

torch.set_float32_matmul_precision('medium')
before, modules = settings(), dict(sys.modules)
model = torch.hub.load(repo, 'munit', pretrained='demo_edges2shoes', source='local', device='cpu')
generator = torch.hub.load(repo, 'munit_generator', pretrained='demo_edges2shoes', source='local')
picture = model.translate(outline, n=1, seed=1)[0]
assert settings() == before, [(a, b) for a, b in zip(before, settings()) if a != b]
for name in ('core', 'engine', 'extras', 'networks', 'data', 'utils', 'trainer', 'hubconf'):
    assert sys.modules.get(name) is modules.get(name), name

import data, utils, networks, core, core.errors
import trainer as my_trainer
assert [m.MINE for m in (data, utils, networks, core, core.errors, my_trainer)] == ['data', 'utils', 'networks', 'core',
                                                                                   'core.errors', 'trainer']
# What is imported late, with the caller's modules in place: other methods, and the other direction.
made = torch.hub.load(repo, 'trainer', config=repo + '/configs/edges2shoes_cyclegan.yaml', method='CycleGAN',
                      source='local')
from munit_hub.engine.methods import trainer_class, translator_class, METHODS
assert all(trainer_class(name) and translator_class(name) for name in METHODS)
assert model.reversed().translate(picture).mode == 'L'
again = torch.hub.load(repo, 'munit', pretrained='demo_edges2shoes', source='local', device='cpu')
assert again.translate(outline, n=1, seed=1)[0].tobytes() == picture.tobytes()
assert type(again) is type(model)
assert utils is sys.modules['utils'] and utils.MINE == 'utils'
from munit_hub.core.errors import BadInput
try:
    torch.hub.load(repo, 'munit', pretrained='nothing', source='local')
except BadInput as error:
    assert 'no such file' in str(error)
print('done')
'''


@pytest.mark.parametrize('first', ['', 'import utils, data, networks, core.errors, trainer'])
@pytest.mark.slow
def test_it_works_next_to_modules_with_the_same_names(tmp_path, first):
    for name in ('data', 'utils', 'networks', 'trainer', 'core/__init__', 'core/errors'):
        path = tmp_path / f'{name}.py'
        path.parent.mkdir(exist_ok=True)
        path.write_text(f'MINE = {name.removesuffix("/__init__").replace("/", ".")!r}\n')
    (tmp_path / 'script.py').write_text(BESIDE.format(first=first))
    done = subprocess.run([sys.executable, 'script.py', str(ROOT), str(OUTLINE)], cwd=tmp_path, text=True,
                          capture_output=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == 'done\n' and done.stderr == ''
    assert not (tmp_path / '__pycache__' / 'engine').exists()


def test_two_copies_of_the_project_do_not_mix(tmp_path):
    for name in ('core', 'engine', 'configs', 'models', *(f'{n}.py' for n in ('networks', 'data', 'utils', 'trainer',
                                                                             'hubconf'))):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / 'hubconf.py').unlink()
    (tmp_path / 'hubconf.py').write_text((ROOT / 'hubconf.py').read_text())
    other = torch.hub.load(str(tmp_path), 'munit', 'demo_edges2shoes', source='local', device='cpu')
    own = load('munit', 'demo_edges2shoes', device='cpu')
    assert type(other) is not type(own)
    assert equal(other.translate(OUTLINE, n=1, seed=1)[0], own.translate(OUTLINE, n=1, seed=1)[0])


def test_imports_of_every_form_are_renamed(tmp_path):
    import ast

    import hubconf
    source = ('import os, core.errors, data as d\nimport utils\nfrom core import errors\nfrom . import x\n'
              'from core.errors import BadInput as B\n\n\ndef f():\n    from engine import config\n')
    renamed = ast.unparse(hubconf._RenamedImports('p').visit(ast.parse(source)))
    assert renamed.split('\n') == ['import os', 'import p.core.errors as _', 'import p.core as core',
                                   'import p.data as d', 'import p.utils as utils', 'from p.core import errors',
                                   'from . import x', 'from p.core.errors import BadInput as B', '', 'def f():',
                                   '    from p.engine import config']


def test_hub_lists_and_explains_the_entry_points():
    import hubconf
    public = {name for name, value in vars(hubconf).items() if callable(value) and not name.startswith('_')}
    assert public - {'Path', 'Iterator', 'Sequence'} == {'munit', 'unit', 'trainer', 'munit_generator'}
    for name in ('munit', 'unit', 'trainer', 'munit_generator'):
        assert 'pretrained' in getattr(hubconf, name).__doc__   # what torch.hub.help shows


@pytest.mark.slow
def test_the_lines_of_the_page_work(tmp_path):
    text = (ROOT / 'docs' / 'python.md').read_text()
    blocks = re.findall(r'```python\n(.*?)```', text, re.S)
    first = [line for line in blocks[0].splitlines() if line.strip()]
    assert len(blocks) == 3 and len(first) == 10
    code = '\n'.join(blocks).replace('path/to/munit', str(ROOT))
    check = '''
assert guided.size == (64, 64) and len(sampled) == 5 and len(frames) == 8
assert images.grad.abs().sum() > 0 and style.grad.abs().sum() > 0 and losses['loss_gen_total'].isfinite()
'''
    done = subprocess.run([sys.executable, '-c', code + check], cwd=tmp_path, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert {'shoe.png', 'gen_00000001.pt'} <= {path.name for path in tmp_path.iterdir()}
