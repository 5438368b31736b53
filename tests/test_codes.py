"""Style codes as text: written, read and refused; and interpolation between two of them."""
import math

import numpy as np
import pytest
import torch
import yaml
from parity import config_with
from PIL import Image
from test_commands import ROOT, complaint, save_noise
from tiny import flags, make_model

import test as test_command
import test_batch as test_batch_command
from core.errors import BadInput
from engine.style_codes import read_codes, slerp, write_codes

GOOD = '0.3,-1.2,0,1e-3,2,-0.5,1,0.25'


@pytest.fixture(scope='module')
def model(tmp_path_factory) -> dict:
    return make_model(tmp_path_factory.mktemp('model'))


def test_codes_are_restored_from_text_bit_for_bit(tmp_path):
    torch.manual_seed(0)
    codes = torch.randn(500, 8, 1, 1) * torch.logspace(-30, 30, 8).view(8, 1, 1)
    write_codes(codes, tmp_path / 'new folder' / 'codes.txt', '--save_styles')
    assert len((tmp_path / 'new folder' / 'codes.txt').read_text().splitlines()) == 500
    assert torch.equal(read_codes(tmp_path / 'new folder' / 'codes.txt', 8, '--style_code'), codes)
    assert [path.name for path in (tmp_path / 'new folder').iterdir()] == ['codes.txt']


def test_a_code_file_may_contain_comments_and_spaces(tmp_path):
    path = tmp_path / 'codes.txt'
    path.write_text('# my styles\n1, 2 ,3\n\n4 5 6  # the red one\n')
    assert read_codes(path, 3, '--style_code').flatten(1).tolist() == [[1, 2, 3], [4, 5, 6]]


@pytest.mark.parametrize('text, words', [
    ('1,2,3', 'has 3 numbers; a style code of this model has 8'),
    (GOOD + ',1', '9 numbers'),
    (GOOD.replace('-1.2', 'red'), "'red' is not a number"),
    (GOOD.replace('-1.2', ''), "'' is not a number"),
    (GOOD.replace('-1.2', 'nan'), "'nan' is not a finite number"),
    (GOOD.replace('-1.2', '1e39'), "'1e39' is not a finite number"),
    ('none.txt', 'no such file'),
])
def test_codes_are_refused_in_one_line(model, tmp_path, capsys, text, words):
    main, given = test_command.main, {'input': model['inputs'] / '0.png', 'output_folder': tmp_path / 'out'}
    assert words in complaint(capsys, main, *flags(model, style_code=text, **given))
    if text != 'none.txt':
        (tmp_path / 'codes.txt').write_text(f'{GOOD}\n\n{text}\n')
        line = complaint(capsys, main, *flags(model, style_code=tmp_path / 'codes.txt', **given))
        assert words in line and 'codes.txt, line 3' in line
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize('content, words', [(b'', 'contains no style code'), (b'\xff\xfe\x00', 'not a text file'),
                                            (b'1\n' * 10_001, 'more than 10000 codes')])
def test_files_that_hold_no_codes_are_refused(tmp_path, content, words):
    (tmp_path / 'codes').write_bytes(content)
    with pytest.raises(BadInput, match=words):
        read_codes(tmp_path / 'codes', 1, '--style_code')
    with pytest.raises(BadInput, match='Is a directory'):
        read_codes(tmp_path, 1, '--style_code')


def test_a_code_excludes_an_example_image_and_methods_without_styles(model, tmp_path, capsys):
    given = {'input': model['inputs'] / '0.png', 'output_folder': tmp_path / 'out', 'style_code': GOOD}
    assert '--style' in complaint(capsys, test_command.main, *flags(model, style=model['inputs'] / '1.png', **given))
    unit = config_with(recon_kl_w=0.01, recon_kl_cyc_w=0.01, data_root='nowhere')
    (tmp_path / 'unit.yaml').write_text(yaml.safe_dump(unit))
    for flag in ('style_code', 'save_styles'):
        arguments = flags({**model, 'config': tmp_path / 'unit.yaml'}, trainer='UNIT', **{
            **given, 'style_code': '', flag: GOOD})
        assert f'--{flag} {GOOD}: UNIT has no style codes' in complaint(capsys, test_command.main, *arguments)
    assert not (tmp_path / 'out').exists()


def test_saved_styles_given_back_give_the_same_files(model, tmp_path):
    given = {'input': model['inputs'] / '0.png'}
    test_command.main(flags(model, output_folder=tmp_path / 'one', num_style=3, seed=7,
                            save_styles=tmp_path / 'codes.txt', **given))
    test_command.main(flags(model, output_folder=tmp_path / 'two', style_code=tmp_path / 'codes.txt',
                            save_styles=tmp_path / 'again.txt', **given))
    names = sorted(path.name for path in (tmp_path / 'one').iterdir())
    assert names == ['input.jpg', 'output000.jpg', 'output001.jpg', 'output002.jpg']
    assert names == sorted(path.name for path in (tmp_path / 'two').iterdir())
    for name in names:
        assert (tmp_path / 'one' / name).read_bytes() == (tmp_path / 'two' / name).read_bytes()
    assert (tmp_path / 'one' / names[1]).read_bytes() != (tmp_path / 'one' / names[2]).read_bytes()
    assert (tmp_path / 'codes.txt').read_text() == (tmp_path / 'again.txt').read_text()


def test_the_style_of_an_example_can_be_kept(model, tmp_path):
    given = {'input': model['inputs'] / '0.png'}
    test_command.main(flags(model, output_folder=tmp_path / 'one', style=model['inputs'] / '1.png',
                            save_styles=tmp_path / 'codes.txt', **given))
    code = (tmp_path / 'codes.txt').read_text().strip()
    test_command.main([*flags(model, output_folder=tmp_path / 'two', **given), '--style_code', code])
    assert (tmp_path / 'one/output000.jpg').read_bytes() == (tmp_path / 'two/output000.jpg').read_bytes()


def test_a_code_that_begins_with_a_minus_is_not_a_flag(model, tmp_path):
    test_command.main([*flags(model, output_folder=tmp_path / 'out', input=model['inputs'] / '0.png',
                              save_styles=tmp_path / 'codes.txt'), '--style_code', '-1,2,0,0,0,0,0,.5'])
    assert (tmp_path / 'codes.txt').read_text() == '-1,2,0,0,0,0,0,0.5\n'


def test_a_batch_saves_its_styles_and_reads_them_again(model, tmp_path, capsys):
    given = {'input_folder': model['inputs'], 'num_workers': 0}
    arguments = flags(model, output_folder=tmp_path / 'one', num_style=2, save_styles=tmp_path / 'codes.txt', **given)
    assert 'add --synchronized' in complaint(capsys, test_batch_command.main, *arguments)
    assert list(tmp_path.iterdir()) == []
    test_batch_command.main([*arguments, '--synchronized'])
    test_batch_command.main(flags(model, output_folder=tmp_path / 'two', style_code=tmp_path / 'codes.txt', **given))
    test_batch_command.main([*flags(model, output_folder=tmp_path / 'plain', num_style=2, **given), '--synchronized'])
    for folder in ('_00', '_01'):
        for name in ('0.png', '1.png'):
            one, two, plain = ((tmp_path / f'{run}{folder}' / name).read_bytes() for run in ('one', 'two', 'plain'))
            assert one == two == plain
    assert not (tmp_path / 'two_02').exists()


def test_styles_that_cannot_be_saved_are_one_line(model, tmp_path, capsys):
    (tmp_path / 'codes.txt').mkdir()
    line = complaint(capsys, test_command.main, *flags(model, output_folder=tmp_path / 'out', save_styles=tmp_path /
                                                       'codes.txt', input=model['inputs'] / '0.png'))
    assert '--save_styles' in line and 'cannot be written (Is a directory)' in line
    assert not (tmp_path / 'codes.txt.part').exists() and not list((tmp_path / 'out').iterdir())


def test_slerp_has_constant_speed_and_keeps_lengths():
    torch.manual_seed(0)
    first, second = torch.randn(2, 8, 1, 1)
    second = second / second.norm() * first.norm()
    way = [slerp(first, second, t) for t in np.linspace(0, 1, 6)]
    assert torch.equal(way[0], first) and torch.equal(way[-1], second)
    assert all(code.shape == (8, 1, 1) for code in way)
    assert [float(code.norm()) for code in way] == pytest.approx([float(first.norm())] * 6, rel=1e-6)
    angles = [float(torch.nn.functional.cosine_similarity(a.flatten(), b.flatten(), 0).acos())
              for a, b in zip(way, way[1:], strict=False)]
    assert angles == pytest.approx([angles[0]] * 5, rel=1e-3) and angles[0] > 0.1


def test_slerp_between_codes_of_different_lengths_and_of_zeros():
    first, second = torch.tensor([3.0, 0.0]), torch.tensor([0.0, 1.0])
    assert slerp(first, second, 0.5).tolist() == pytest.approx([2 ** 0.5, 2 ** 0.5])   # length 2, half of the angle
    assert slerp(first, torch.zeros(2), 0.5).tolist() == [1.5, 0]
    assert slerp(first, 2 * first, 0.5).tolist() == pytest.approx([4.5, 0])
    opposite = slerp(first, -first, 0.5)
    assert float(opposite.norm()) == pytest.approx(3) and abs(float(opposite @ first)) < 1e-6
    assert math.isfinite(float(slerp(torch.ones(1), -torch.ones(1), 0.25)))


def test_the_pictures_of_two_codes_differ(model, tmp_path):
    for name, code in (('one', GOOD), ('two', GOOD.replace('-1.2', '1.2'))):
        test_command.main(flags(model, output_folder=tmp_path / name, input=model['inputs'] / '0.png', style_code=code))
    one, two = (np.array(Image.open(tmp_path / name / 'output000.jpg')).astype(int) for name in ('one', 'two'))
    assert np.abs(one - two).mean() > 1


def test_the_codes_of_bicyclegan_have_its_own_length(tmp_path, capsys):
    from engine.config import load_config
    from extras.baselines.translators import BicycleGAN_Translator
    path = ROOT / 'configs' / 'demo_drawn_small_bicyclegan.yaml'
    config = load_config(path, 'BicycleGAN')
    config['gen'].update(dim=8, noise_dim=3, enc_dim=8)
    (tmp_path / 'config.yaml').write_text(yaml.safe_dump(config))
    networks = BicycleGAN_Translator.networks(config, 'BicycleGAN')
    torch.save({name: network.state_dict() for name, network in networks.items()}, tmp_path / 'gen.pt')
    save_noise(tmp_path / 'in.png')
    given = flags({'config': tmp_path / 'config.yaml', 'checkpoint': tmp_path / 'gen.pt', 'device': 'cpu'},
                  trainer='BicycleGAN', input=tmp_path / 'in.png', output_folder=tmp_path / 'out')
    assert 'has 8 numbers; a style code of this model has 3' in complaint(capsys, test_command.main, *given,
                                                                 f'--style_code={GOOD}')
    test_command.main([*given, '--style_code=1,2,-3', f'--save_styles={tmp_path / "codes.txt"}'])
    assert (tmp_path / 'codes.txt').read_text() == '1,2,-3\n'
