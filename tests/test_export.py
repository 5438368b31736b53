"""Export: plain operations and exported files give the same values, at any size and batch size."""
import sys
from importlib.util import find_spec

import export_onnx as export_command
import numpy as np
import pytest
import torch
from parity import CONFIG, fill, waves
from PIL import Image
from test_commands import complaint
from tiny import flags, make_model

import test as test_command
from core.errors import RunEnded
from networks import AdaINGen, VAEGen

with_onnx = pytest.mark.skipif(not all(find_spec(name) for name in export_command.NEEDED),
                               reason='onnx, onnxruntime or onnxscript is not installed')


@pytest.mark.parametrize('changes', [{}, {'pad_type': 'zero', 'activ': 'prelu'}, {'pad_type': 'replicate'},
                                     {'n_downsample': 0}, {'spectral_norm': True}])
def test_plain_operations_equal_the_fast_ones(changes):
    torch.manual_seed(0)
    gen = AdaINGen(3, {**CONFIG['gen'], 'n_res': 2, **changes})
    fill(gen, 'gen')
    gen.eval()
    plain = export_command.plain(gen)
    images, style = waves(0, 3, 3, 40, 24), torch.randn(3, 8)
    with torch.no_grad():
        content, code = gen.encode(images)
        assert (plain.enc_content(images) - content).abs().max() < 1e-4
        assert (plain.enc_style(images) - code).abs().max() < 1e-4
        assert (plain.dec(content, plain.mlp(style)) - gen.decode(content, style)).abs().max() < 1e-4
    assert not any(isinstance(module, torch.nn.utils.parametrize.ParametrizationList) for module in plain.modules())


def test_plain_operations_leave_the_network_as_it_was():
    gen = AdaINGen(3, {**CONFIG['gen'], 'n_res': 1}).eval()
    export_command.plain(gen)
    assert not any('forward' in vars(module) for module in gen.modules())
    assert all(parameter.requires_grad for parameter in gen.parameters())


def test_unit_is_plain_as_well():
    gen = VAEGen(3, {**CONFIG['gen'], 'n_res': 1}).eval()
    fill(gen, 'gen')
    plain, images = export_command.plain(gen), waves(0, 2, 3, 24, 40)
    with torch.no_grad():
        assert (plain.dec(plain.enc(images)) - gen.decode(gen.encode(images)[0])).abs().max() < 1e-4


@pytest.fixture(scope='module')
def exported(tmp_path_factory):
    """A model from grey to colour, its exported files, and the output of the command."""
    pytest.importorskip('onnxruntime')
    folder = tmp_path_factory.mktemp('exported')
    model = make_model(folder, input_dim_a=1)
    with pytest.MonkeyPatch.context() as patch:
        lines = []
        patch.setattr('builtins.print', lambda line, **_: lines.append(line))
        export_command.main(flags(model, output_folder=folder / 'onnx'))
    return model, folder / 'onnx', lines


@with_onnx
@pytest.mark.slow
def test_the_files_are_written_and_the_checks_are_reported(exported):
    _, folder, lines = exported
    assert sorted(path.name for path in folder.iterdir()) == ['a2b.onnx', 'style_b.onnx']
    for name, sizes in (('a2b.onnx', ('1 image of 64×64', '3 images of 20×44')),
                        ('style_b.onnx', ('1 image of 64×64', '3 images of 33×67'))):
        for size in sizes:
            line = next(line for line in lines if line.startswith(f'{name}: {size}: differs from PyTorch by '))
            assert float(line.split(' by ')[1].split()[0]) < 1e-4


@with_onnx
@pytest.mark.parametrize('shape', [(1, 8, 8), (5, 16, 24), (2, 100, 12), (1, 132, 256)])
@pytest.mark.slow
def test_any_size_and_batch_gives_what_pytorch_does(exported, shape):
    import onnxruntime
    model, folder, _ = exported
    content = torch.load(model['checkpoint'], weights_only=True)
    gens = {name: AdaINGen(dim, {**CONFIG['gen'], 'n_res': 1}) for name, dim in (('a', 1), ('b', 3))}
    for name, gen in gens.items():
        gen.load_state_dict(content[name])
    n, height, width = shape
    images, style = waves(1, n, 1, height, width), torch.randn(n, 8)
    sessions = {name: onnxruntime.InferenceSession(str(folder / name)) for name in ('a2b.onnx', 'style_b.onnx')}
    with torch.no_grad():
        wanted = gens['b'].decode(gens['a'].enc_content(images), style)
        found, = sessions['a2b.onnx'].run(None, {'image': images.numpy(), 'style': style.numpy()})
        assert found.shape == wanted.shape and np.abs(found - wanted.numpy()).max() < 1e-4
        assert found.std() > 0.01
        pictures = waves(2, n, 3, max(16, height + 1), max(16, width + 3))
        found, = sessions['style_b.onnx'].run(None, {'image': pictures.numpy()})
        assert np.abs(found - gens['b'].enc_style(pictures).flatten(1).numpy()).max() < 1e-4


@with_onnx
@pytest.mark.slow
def test_norms_are_plain_operations(exported):
    import onnx
    graph = onnx.load(str(exported[1] / 'a2b.onnx'))
    kinds = {node.op_type for node in graph.graph.node}
    assert {'ReduceMean', 'Sqrt', 'Conv', 'Resize'} <= kinds
    assert {node.domain for node in graph.graph.node} == {''} and not graph.functions
    assert not any('Norm' in kind for kind in kinds)


@with_onnx
@pytest.mark.slow
def test_a_file_that_gives_other_values_is_not_written(exported, tmp_path):
    _, folder, _ = exported

    def write(part, path):
        path.write_bytes((folder / 'a2b.onnx').read_bytes())

    part = export_command.Part('a2b', None, lambda image, style: torch.zeros(len(image), 3, *image.shape[2:]), 'output',
                               1, 4, 8, 64, 8)
    with pytest.raises(RunEnded, match='a2b.onnx: not written; at 1 image of 64×64 it differs from PyTorch by'):
        list(export_command.export(part, tmp_path, (64, 64), export_command.FORMATS['onnx']._replace(write=write)))
    assert list(tmp_path.iterdir()) == []


@with_onnx
@pytest.mark.slow
def test_the_example_makes_what_test_py_makes(exported, tmp_path):
    from scripts import use_onnx
    model, folder, _ = exported
    picture, code = model['inputs'] / '0.png', '-0.5,1,0,2,0,0,0,1'
    test_command.main(flags(model, input=picture, output_folder=tmp_path, style_code=code))
    use_onnx.main([str(folder / 'a2b.onnx'), str(picture), str(tmp_path / 'out.png'), f'--style_code={code}'])
    wanted, found = (np.array(Image.open(tmp_path / name)).astype(int) for name in ('output000.jpg', 'out.png'))
    assert np.abs(wanted - found).mean() < 5   # of 255: one of them is a JPEG of noise
    use_onnx.main([str(folder / 'a2b.onnx'), str(picture), str(tmp_path / 'guided.png'),
                   '--style', str(folder / 'style_b.onnx'), str(model['inputs'] / '1.png')])
    test_command.main(flags(model, input=picture, output_folder=tmp_path, style=model['inputs'] / '1.png'))
    wanted, guided = (np.array(Image.open(tmp_path / name)).astype(int) for name in ('output000.jpg', 'guided.png'))
    assert np.abs(wanted - guided).mean() < 5 < 10 < np.abs(found - guided).mean()


def test_what_is_missing_is_one_line(tmp_path, capsys, monkeypatch):
    model = make_model(tmp_path)
    monkeypatch.setattr(export_command, 'find_spec', lambda name: None if name != 'onnx' else object())
    line = complaint(capsys, export_command.main, *flags(model, output_folder=tmp_path / 'out'))
    assert line == 'export_onnx.py: onnxruntime, onnxscript missing; pip install -r requirements/export.txt'
    assert not (tmp_path / 'out').exists() and 'onnxscript' not in sys.modules or find_spec('onnxscript')


def test_a_method_that_cannot_be_exported_is_one_line(tmp_path, capsys, monkeypatch):
    model = make_model(tmp_path)
    monkeypatch.setattr(export_command, 'find_spec', lambda name: object())
    line = complaint(capsys, export_command.main, *flags(model, output_folder=tmp_path / 'out', trainer='CycleGAN'))
    assert '--trainer CycleGAN: cannot be exported' in line


@pytest.mark.slow
def test_a_file_of_torch_export_gives_what_pytorch_does_at_other_sizes(tmp_path):
    model = make_model(tmp_path, input_dim_a=1)
    export_command.main(flags(model, output_folder=tmp_path / 'pt2', format='pt2'))
    assert sorted(path.name for path in (tmp_path / 'pt2').iterdir()) == ['a2b.pt2', 'style_b.pt2']
    content, extra = torch.load(model['checkpoint'], weights_only=True), {'munit.json': ''}
    gens = {name: AdaINGen(dim, {**CONFIG['gen'], 'n_res': 1}) for name, dim in (('a', 1), ('b', 3))}
    for name, gen in gens.items():
        gen.load_state_dict(content[name])
    translate = torch.export.load(str(tmp_path / 'pt2' / 'a2b.pt2'), extra_files=extra).module()
    encode = torch.export.load(str(tmp_path / 'pt2' / 'style_b.pt2')).module()
    assert '"sides_multiple_of": "4"' in str(extra['munit.json'])
    for n, height, width in ((1, 8, 8), (5, 16, 24), (1, 132, 256)):
        images, style = waves(1, n, 1, height, width), torch.randn(n, 8)
        pictures = waves(2, n, 3, max(16, height + 1), max(16, width + 3))
        with torch.no_grad():
            wanted = gens['b'].decode(gens['a'].enc_content(images), style)
            assert (translate(image=images, style=style) - wanted).abs().max() < 1e-4 and wanted.std() > 0.01
            assert (encode(image=pictures) - gens['b'].enc_style(pictures).flatten(1)).abs().max() < 1e-4


@with_onnx
@pytest.mark.slow
@pytest.mark.parametrize('kind', ['transparent', 'turned', '16-bit', 'odd size'])
def test_the_example_reads_what_test_py_reads(exported, tmp_path, kind):
    from scripts import use_onnx
    model, folder, _ = exported
    picture, code = tmp_path / 'in.png', '-0.5,1,0,2,0,0,0,1'
    noise = Image.fromarray(np.random.RandomState(1).randint(0, 256, (9, 11, 3), dtype=np.uint8))
    smooth, exif = noise.resize((88 if kind != 'odd size' else 83, 72)), Image.Exif()
    if kind == 'transparent':
        smooth.putalpha(smooth.convert('L'))
    if kind == 'turned':
        exif[0x0112] = 8
    if kind == '16-bit':
        smooth = Image.fromarray(np.asarray(smooth.convert('L')).astype(np.uint16) * 257)
    smooth.save(picture, exif=exif)
    test_command.main(flags(model, input=picture, output_folder=tmp_path, style_code=code))
    use_onnx.main([str(folder / 'a2b.onnx'), str(picture), str(tmp_path / 'out.png'), f'--style_code={code}'])
    wanted, found = (np.array(Image.open(tmp_path / name)).astype(int) for name in ('output000.jpg', 'out.png'))
    assert wanted.shape == found.shape and np.abs(wanted - found).mean() < 5
