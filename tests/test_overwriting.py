"""No command overwrites one of its input files, by any path; and test.py with several inputs."""
import hashlib
import os
import shutil
from importlib import import_module
from pathlib import Path

import pytest
import yaml
from PIL import Image
from test_commands import complaint, save_noise
from tiny import flags, make_model

import test as test_command
import test_batch as test_batch_command
from scripts import draw_dirty_twin, halve_checkpoint, interpolate_styles, make_sheet
from utils import to_bytes, write_picture


@pytest.fixture
def model(tmp_path) -> dict:
    """A model in a new folder, and `linked`, a link to its folder of inputs."""
    model = make_model(tmp_path)
    os.symlink(model['inputs'], tmp_path / 'linked')
    return model


def digests(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(folder.rglob('*')) if path.is_file()}


def named(model: dict, name: str) -> Path:
    """Rename the first input to a name that the command would write."""
    path = model['inputs'] / name
    path.parent.mkdir(exist_ok=True)
    shutil.copyfile(model['inputs'] / '0.png', path)
    return path


def translating(model, name, **others) -> list[str]:
    return flags(model, input=named(model, name), output_folder=model['inputs'].parent / 'linked', **others)


def styled(model, name, **others) -> list[str]:
    return [*flags(model, style_folder=model['inputs'], output_folder=model['inputs'].parent / 'linked', **others),
            '--input', str(named(model, name))]


def evaluated(model, name) -> list[str]:
    config = yaml.safe_load(model['config'].read_text())
    root = model['inputs'].parent
    for split in ('testA', 'testB'):
        os.symlink(model['inputs'], root / split)
    model['config'].write_text(yaml.safe_dump({**config, 'data_root': str(root)}))
    named(model, name)
    return flags(model, output_folder=root / 'linked', a2b=1)


CASES = {
    'test': (test_command, lambda m: translating(m, 'output001.jpg', num_style=2)),
    'test, input.jpg': (test_command, lambda m: translating(m, 'input.jpg')),
    'test, several': (test_command, lambda m: [*flags(m, output_folder=m['inputs'].parent / 'linked'), '--input',
                                               str(named(m, '0_output000.jpg')), str(m['inputs'] / '0.png')]),
    'test, --save_styles': (test_command, lambda m: flags(m, input=m['inputs'] / '0.png', save_styles=m['checkpoint'],
                                                          output_folder=m['inputs'].parent / 'o')),
    'test_batch': (test_batch_command, lambda m: [*flags(m, output_folder=named(m, '../a_00/x.jpg').parents[1] / 'a'),
                                                  '--input_folder', str(m['inputs'].parent / 'a_00')]),
    'test_batch, --save_styles': (test_batch_command, lambda m: [*flags(
        m, input_folder=m['inputs'], output_folder=m['inputs'].parent / 'o', save_styles=m['config']),
        '--synchronized']),
    'interpolate_styles, walk': (interpolate_styles, lambda m: [*translating(m, 'walk.webp'), '--interpolate', '1',
                                                                '2']),
    'interpolate_styles, grid': (interpolate_styles, lambda m: [*translating(m, 'grid.png'), '--grid', '1', '2']),
    'analyze_styles': ('analyze_styles', lambda m: styled(m, 'map.png')),
    'draw_dirty_twin': (draw_dirty_twin, lambda m: ['--input', str(m['inputs']), '--output',
                                                    str(m['inputs'].parent / 'linked')]),
    'make_sheet': (make_sheet, lambda m: ['--output', str(m['inputs'].parent / 'linked' / '0.png'), '--row',
                                          str(m['inputs'] / '0.png')]),
    'halve_checkpoint': (halve_checkpoint, lambda m: ['--input', str(m['checkpoint']), '--output',
                                                      str(m['inputs'] / '..' / 'gen.pt')]),
    'export_onnx': ('export_onnx', lambda m: [f'--config={m["config"]}', f'--checkpoint={m["checkpoint"]}',
                                              f'--output_folder={m["inputs"].parent}', '--format', 'pt']),
    'evaluate': ('evaluate', lambda m: evaluated(m, 'sheet.png')),
}


@pytest.mark.parametrize('command, arguments', CASES.values(), ids=CASES)
def test_what_was_given_stays_as_it_is(model, tmp_path, capsys, command, arguments):
    if isinstance(command, str):
        command = import_module(command if command == 'evaluate' else f'scripts.{command}')
    given = arguments(model)
    before = digests(tmp_path)
    if command is make_sheet:
        assert make_sheet.main(given) == 2
        line = capsys.readouterr().err
    else:
        line = complaint(capsys, command.main, *given)
    assert 'is an input and would be overwritten' in line and '--' in line
    assert {name: digest for name, digest in digests(tmp_path).items() if name in before} == before


def test_several_inputs_and_patterns_give_outputs_under_their_names(model, tmp_path, capsys):
    out = tmp_path / 'out'
    test_command.main([*flags(model, output_folder=out, num_style=2), '--input', str(model['inputs'] / '*.png')])
    names = {f'{i}_{name}.jpg' for i in (0, 1) for name in ('output000', 'output001', 'input')}
    assert {path.name for path in out.iterdir()} == names
    assert '0_output000.jpg … 1_output001.jpg and 0_input.jpg' in capsys.readouterr().out
    test_command.main(flags(model, input=model['inputs'] / '1.png', output_folder=tmp_path / 'one', num_style=2))
    for name in ('output000', 'output001', 'input'):   # the same styles, independent of the other inputs
        assert (out / f'1_{name}.jpg').read_bytes() == (tmp_path / 'one' / f'{name}.jpg').read_bytes()


def test_a_file_whose_name_looks_like_a_pattern_is_that_file(model, tmp_path):
    save_noise(tmp_path / 'in' / '[1].png', seed=1)
    test_command.main(flags(model, input=tmp_path / 'in' / '[1].png', output_folder=tmp_path / 'out', num_style=1))
    assert (tmp_path / 'out/output000.jpg').exists()


def test_inputs_that_name_no_images_are_refused(model, tmp_path, capsys):
    save_noise(tmp_path / 'in' / 'sub' / '0.png', seed=1)
    for given, words in (([tmp_path / 'in'], 'is a folder; use test_batch.py --input_folder'),
                         ([tmp_path / 'in/*.tif'], 'no file matches this pattern'),
                         ([tmp_path / 'su*', tmp_path / 'in/su*'], 'no file matches'),
                         ([tmp_path / 'in/su*'], 'only folders match'),
                         ([tmp_path / 'in/0.png', tmp_path / 'in/sub/0.png'], '2 images have the name 0')):
        line = complaint(capsys, test_command.main, *flags(model, output_folder=tmp_path / 'out'), '--input', *given)
        assert line.startswith('--input') and words in line
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize('name, made', [('.', 'here'), ('..', 'above'), ('./', 'here')])
def test_the_folder_one_is_in_gives_folders_with_a_name(model, tmp_path, monkeypatch, name, made):
    (tmp_path / 'above' / 'here').mkdir(parents=True)
    monkeypatch.chdir(tmp_path / 'above' / 'here')
    test_batch_command.main(flags(model, input_folder=model['inputs'], output_folder=name, num_style=1,
                                  num_workers=0) + ['--output_only'])
    folder = (tmp_path / 'above/here_00') if made == 'here' else (tmp_path / 'above_00')
    assert {path.name for path in folder.iterdir()} == {'0.png', '1.png'}


@pytest.mark.parametrize('ending, most', [('jpg', 6), ('jfif', 6), ('JPE', 6), ('png', 0), ('webp', 0), ('jp2', 0),
                                          ('avif', 12)])
def test_outputs_of_every_format_are_close_to_what_was_computed(tmp_path, ending, most):
    import torch
    picture = torch.nn.functional.interpolate(torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(1)),
                                              (64, 64), mode='bilinear')[0]
    path = tmp_path / f'x.{ending}'
    write_picture(to_bytes(picture), path)
    with Image.open(path) as written:
        found = torch.tensor(list(written.convert('RGB').tobytes())).view(64, 64, 3)
    assert (found - picture.mul(255).add(0.5).byte().movedim(0, 2).int()).abs().max() <= most


@pytest.mark.parametrize('form', ['png', 'webp', 'jpg'])
def test_the_format_of_outputs_can_be_chosen(model, tmp_path, form):
    test_command.main([*flags(model, input=model['inputs'] / '0.png', output_folder=tmp_path / 'one', num_style=1,
                              format=form)])
    assert {path.name for path in (tmp_path / 'one').iterdir()} == {f'output000.{form}', f'input.{form}'}
    test_batch_command.main([*flags(model, input_folder=model['inputs'], output_folder=tmp_path / 'many', num_style=1,
                                    num_workers=0, format=form)])
    assert {path.name for path in (tmp_path / 'many_00').iterdir()} == {f'0.{form}', f'1.{form}'}
    assert {path.name for path in (tmp_path / 'many').iterdir()} == {f'input000.{form}', f'input001.{form}'}
    for path in (tmp_path / 'one/output000', tmp_path / 'many_00/1', tmp_path / 'many/input000'):
        with Image.open(f'{path}.{form}') as image:
            assert image.format == form.upper().replace('JPG', 'JPEG')


def test_subfolders_are_kept_where_asked_for_and_same_names_need_that(model, tmp_path, capsys):
    save_noise(model['inputs'] / 'sub' / 'deep' / '0.png', seed=5)
    batch = flags(model, input_folder=model['inputs'], output_folder=tmp_path / 'out', num_style=2, num_workers=0)
    assert '2 images have the name 0.png' in complaint(capsys, test_batch_command.main, *batch)
    test_batch_command.main([*batch, '--keep_folders', '--output_only'])
    for folder in ('out_00', 'out_01'):
        found = {str(path.relative_to(tmp_path / folder)) for path in (tmp_path / folder).rglob('*') if path.is_file()}
        assert found == {'0.png', '1.png', 'sub/deep/0.png'}
    assert (tmp_path / 'out_00/0.png').read_bytes() != (tmp_path / 'out_00/sub/deep/0.png').read_bytes()
    shutil.copyfile(model['inputs'] / '0.png', model['inputs'] / '0.bmp')
    line = complaint(capsys, test_batch_command.main, *batch, '--keep_folders', '--format', 'png')
    assert '2 images have the name 0.png' in line
