"""Configs: the shipped ones and the original's load, all faults are found, and size rules match the networks."""
import itertools
from pathlib import Path

import pytest
import torch
import yaml
from parity import config_with
from PIL import Image

from core.errors import BadInput
from engine.config import check_config, load_config
from engine.config_keys import DIS_KEYS, GEN_KEYS, KEYS, LIST_KEYS, REQUIRED
from networks import AdaINGen, MsImageDis, VAEGen, Vgg16
from trainer import perceptual_loss

CONFIGS = sorted((Path(__file__).parents[1] / 'configs').glob('*.yaml'))
STANDARD = {
    'image_save_iter': 10000, 'image_display_iter': 500, 'display_size': 16, 'snapshot_save_iter': 10000,
    'log_iter': 10, 'max_iter': 1000000, 'batch_size': 1, 'weight_decay': 0.0001, 'beta1': 0.5, 'beta2': 0.999,
    'init': 'kaiming', 'lr': 0.0001, 'lr_policy': 'step', 'step_size': 100000, 'gamma': 0.5, 'gan_w': 1,
    'recon_x_w': 10, 'recon_s_w': 1, 'recon_c_w': 1, 'recon_x_cyc_w': 0, 'vgg_w': 0,
    'gen': {'dim': 64, 'mlp_dim': 256, 'style_dim': 8, 'activ': 'relu', 'n_downsample': 2, 'n_res': 4,
            'pad_type': 'reflect'},
    'dis': {'dim': 64, 'norm': 'none', 'activ': 'lrelu', 'n_layer': 4, 'gan_type': 'lsgan', 'num_scales': 3,
            'pad_type': 'reflect'},
    'input_dim_a': 3, 'input_dim_b': 3, 'num_workers': 8, 'new_size': 256, 'crop_image_height': 256,
    'crop_image_width': 256}


def config(**changes) -> dict:
    """A valid config with changes; the value None removes a key."""
    made = {**config_with(data_root='somewhere'), **changes}
    return {key: value for key, value in made.items() if value is not None}


def faults(trainer='MUNIT', **changes) -> list[str]:
    return check_config(config(**changes), trainer)


@pytest.mark.parametrize('path', CONFIGS, ids=lambda path: path.stem)
def test_the_shipped_configs_are_sound(path):
    kinds = {'unit': 'UNIT', 'bicyclegan': 'BicycleGAN', 'cyclegan_noise': 'CycleGANNoise', 'cyclegan': 'CycleGAN'}
    load_config(path, next((trainer for kind, trainer in kinds.items() if path.stem.endswith(kind)), 'MUNIT'))


DEMO = {'image_save_iter': 1000, 'image_display_iter': 100, 'display_size': 8, 'log_iter': 1}


@pytest.mark.parametrize('name, changes', [
    ('edges2shoes_folder', {}), ('edges2handbags_folder', {}),
    ('demo_edges2handbags_folder', DEMO), ('demo_edges2handbags_list', DEMO),
    ('summer2winter_yosemite256_folder', {'image_display_iter': 100, 'log_iter': 1, 'recon_x_cyc_w': 10}),
    ('synthia2cityscape_folder', {'recon_x_cyc_w': 10, 'vgg_w': 1, 'new_size': 512, 'crop_image_height': 512,
                                  'crop_image_width': 512})])
def test_the_configs_of_the_original_have_its_values(name, changes):
    found = yaml.safe_load(next(path for path in CONFIGS if path.stem == name).read_text())
    found = {key: value for key, value in found.items() if not key.startswith('data_')}
    assert found == {**STANDARD, **changes}


def test_a_sound_config_has_no_faults_and_later_keys_get_their_defaults():
    made = config(vgg_weights=None)
    assert check_config(made) == []
    assert made['vgg_weights'] == 'models/vgg16.weight'


@pytest.mark.parametrize('text, value', [('1e-4', 1e-4), ('1.0e-4', 1e-4), ('"0.0001"', 1e-4), ('1', 1)])
def test_numbers_are_read_as_intended(tmp_path, text, value):
    (tmp_path / 'c.yaml').write_text(yaml.safe_dump(config(lr=None, max_iter=None)) + f'lr: {text}\nmax_iter: 1e6\n')
    loaded = load_config(tmp_path / 'c.yaml')
    assert loaded['lr'] == value and loaded['max_iter'] == 1000000 and isinstance(loaded['max_iter'], int)


@pytest.mark.parametrize('key', sorted(set(KEYS) & set(config()) - {'vgg_weights', 'lr_policy'}))
def test_a_missing_key_is_named(key):
    found = faults(**{key: None})
    assert len(found) == 1 and found[0].startswith(f'{key}: missing')


@pytest.mark.parametrize('section, keys', [('gen', GEN_KEYS), ('dis', DIS_KEYS)])
def test_a_missing_key_of_a_section_is_named_with_it(section, keys):
    for key in (name for name, key in keys.items() if key.default is REQUIRED):
        left = {name: value for name, value in config()[section].items() if name != key}
        found = faults(**{section: left})
        assert len(found) == 1 and found[0].startswith(f'{section}.{key}: missing')


@pytest.mark.parametrize('changes, line', [
    ({'reconx_w': 1}, 'reconx_w: unknown key; did you mean recon_x_w?'),
    ({'gen': {**config()['gen'], 'pad_typ': 1}}, 'gen.pad_typ: unknown key; did you mean gen.pad_type?'),
    ({'zzzzzz': 1}, 'zzzzzz: unknown key'),
    ({'lr': 'fast'}, "lr: 'fast' is not a number"),
    ({'lr': 0}, 'lr: 0 is not at least'),
    ({'lr': float('nan')}, 'lr: nan is not a number'),
    ({'lr': [1]}, 'lr: [1] is not a number'),
    ({'batch_size': True}, 'batch_size: true (YAML reads yes and on as that) is not a whole number'),
    ({'batch_size': 1.5}, 'batch_size: 1.5 is not a whole number'),
    ({'batch_size': 0}, 'batch_size: 0 is not at least 1'),
    ({'beta1': 1.0}, 'beta1: 1.0 is not from 0 to'),
    ({'gan_w': -1}, 'gan_w: -1 is not at least 0'),
    ({'init': 'he'}, "init: 'he' is not one of gaussian, kaiming, xavier, orthogonal, default"),
    ({'lr_policy': 'cosine'}, "lr_policy: 'cosine' is not one of step, constant"),
    ({'input_dim_a': 0}, 'input_dim_a: 0 is not'),
    ({'gen': 64}, 'gen: 64 is not a section with keys'),
    ({'gen': {**config()['gen'], 'activ': 'gelu'}}, "gen.activ: 'gelu' is not one of relu"),
    ({'dis': {**config()['dis'], 'norm': 'adain'}}, "dis.norm: 'adain' is not one of none, bn, in, ln, sn"),
    ({'dis': {**config()['dis'], 'gan_type': 'wgan'}}, "dis.gan_type: 'wgan' is not one of lsgan, nsgan"),
    ({'data_root': 5}, 'data_root: 5 is not text'),
    ({'gen': {**config()['gen'], 'n_downsample': 20000}}, 'gen.n_downsample: 20000 is not from 0 to 16'),
    ({'crop_image_width': 64, 'crop_image_height': 128, 'resize': 'crop'}, "resize: 'crop' is not one of shorter, fit"),
    ({'value_range_a': [4095, 0]}, 'value_range_a: [4095, 0] is not two numbers, the lowest first'),
    ({'value_range_b': 4095}, 'value_range_b: 4095 is not two numbers'),
    ({'flip': 'no thanks'}, "flip: 'no thanks' is not true or false"),
    ({'test_share': 1}, 'test_share: 1 is not from 0 to 0.5'),
    ({'crop_image_width': 62}, 'crop_image_width: 62 is not a multiple of 4'),
    ({'crop_image_height': 12}, 'crop_image_height: 12 is too small for the encoders, at least 16'),
    ({'crop_image_height': 32, 'crop_image_width': 32}, 'crop_image_height, crop_image_width: 32×32 is too small for '
                                                        'dis.n_layer 4 and dis.num_scales 3'),
])
def test_a_fault_is_one_line_that_says_what_is_allowed(changes, line):
    found = faults(**changes)
    assert len(found) == 1 and found[0].startswith(line), found


def test_all_faults_come_at_once():
    gen = {**config()['gen'], 'activ': 'gelu', 'dim': None}
    found = faults(lr='fast', batch_size=0, recon_z_w=1, init=None, gen=gen)
    assert [line.split(':')[0] for line in found] == ['recon_z_w', 'batch_size', 'init', 'lr', 'gen.dim', 'gen.activ']


def test_sizes_are_checked_despite_unrelated_faults():
    found = faults(lr='fast', crop_image_height=66, recon_z_w=1, display_size=0, gen={**config()['gen'], 'depth': 1})
    assert [line.split(':')[0] for line in found] == ['recon_z_w', 'display_size', 'lr', 'gen.depth',
                                                      'crop_image_height']


def test_the_trainers_need_different_keys():
    named = 'docs/configuration.md lists the allowed values'
    assert faults('UNIT') == [f'recon_kl_w: missing (required by --trainer UNIT); {named}',
                              f'recon_kl_cyc_w: missing (required by --trainer UNIT); {named}']
    unit = {'recon_kl_w': 0.01, 'recon_kl_cyc_w': 0.01, 'recon_s_w': None, 'recon_c_w': None, 'recon_h_w': 0,
            'gen': {key: value for key, value in config()['gen'].items() if key not in ('mlp_dim', 'style_dim')}}
    assert faults('UNIT', **unit) == []
    assert {line.split(':')[0] for line in faults('MUNIT', **unit)} == {'recon_s_w', 'recon_c_w', 'gen.mlp_dim',
                                                                        'gen.style_dim'}


def test_a_constant_rate_needs_no_schedule():
    assert faults(lr_policy='constant', step_size=None, gamma=None) == []
    assert faults(lr_policy=None, step_size=None, gamma=None) == []


def test_each_domain_may_have_a_size_of_its_own():
    assert faults(new_size=None, new_size_a=64, new_size_b=80) == []
    assert faults(new_size=None, new_size_a=64)[0].startswith('new_size: missing')
    assert faults(new_size=None, new_size_a=64, new_size_b=32) == [
        f'crop_image_{side}: 64 is larger than new_size_b 32; lower it, or raise new_size_b'
        for side in ('height', 'width')]


def test_list_mode_needs_all_its_keys():
    lists = {key: 'x' for key in LIST_KEYS}
    assert faults(data_root=None, **lists) == []
    assert faults(data_root=None, **{key: 'x' for key in LIST_KEYS if '_train_' in key}) == []   # test_share
    assert len(faults(data_root=None, test_share=0, **{key: 'x' for key in LIST_KEYS if '_train_' in key})) == 4
    assert [line.split(':')[0] for line in faults(data_root=None, **{**lists, 'data_list_test_b': None})] == [
        'data_list_test_b']


def test_a_data_root_from_the_command_line_takes_the_place_of_lists(tmp_path):
    (tmp_path / 'c.yaml').write_text(yaml.safe_dump(config(data_root=None, **{key: 'x' for key in LIST_KEYS})))
    loaded = load_config(tmp_path / 'c.yaml', overrides={'data_root': 'here', 'max_iter': None})
    assert loaded['data_root'] == 'here' and not set(loaded) & set(LIST_KEYS) and loaded['max_iter'] == 10


@pytest.mark.parametrize('content, words', [
    (b'', 'holds no "key: value" lines'), (b'- 1\n- 2\n', 'holds no "key: value" lines'), (b'just text', 'holds no'),
    (b'a: [1', 'not a YAML file'), (b'a: b: c', 'not a YAML file'), (b'\xff\xfe\xfa', 'not a YAML file'),
    (b'a: !!python/object/apply:os.system [true]', 'not a YAML file')])
def test_a_file_that_is_not_a_config_is_refused_in_one_line(tmp_path, content, words):
    (tmp_path / 'c.yaml').write_bytes(content)
    with pytest.raises(BadInput, match=words) as error:
        load_config(tmp_path / 'c.yaml')
    assert '\n' not in str(error.value) and str(tmp_path / 'c.yaml') in str(error.value)


# -- what training needs on disk --------------------------------------------------------------------------------------

def made_data(folder: Path) -> Path:
    for name in ('trainA', 'trainB', 'testA', 'testB'):
        (folder / name).mkdir(parents=True)
        Image.new('RGB', (8, 8)).save(folder / name / '1.png')
    return folder


def test_existing_data_is_not_a_fault(tmp_path):
    assert check_config(config(data_root=str(made_data(tmp_path / 'data'))), data=True) == []


def test_each_missing_part_of_the_data_is_named(tmp_path):
    root = made_data(tmp_path / 'data')
    (root / 'trainB' / '1.png').unlink()
    (root / 'testA' / '1.png').rename(root / '1.png')
    (root / 'testA').rmdir()
    found = check_config(config(data_root=str(root), lr=-1, test_share=0), data=True)
    assert [line.split(':')[0] for line in found] == ['lr', 'data_root', 'data_root']
    assert 'trainB: holds no images' in found[1] and 'testA: no such folder' in found[2]


@pytest.mark.parametrize('name', ['none', 'x' * 5000, 'a\0b'])
def test_a_data_root_that_does_not_exist_is_one_fault(tmp_path, name):
    found = check_config(config(data_root=str(tmp_path / name)), data=True)
    assert len(found) == 1 and 'no such folder' in found[0]


def test_missing_vgg_weights_are_a_fault_only_where_they_are_needed(tmp_path):
    root = str(made_data(tmp_path / 'data'))
    assert check_config(config(data_root=root, vgg_w=0), data=True) == []
    found = check_config(config(data_root=root, vgg_w=1), data=True)
    assert len(found) == 1 and found[0].startswith('vgg_weights: models/none.weight does not exist')


# -- the size rules against the networks themselves -------------------------------------------------------------------

def runs(network: torch.nn.Module, *shape: int) -> bool:
    """Whether a forward pass in training mode reconstructs images of this shape."""
    images = torch.rand(shape)
    try:
        output = network.train()(images)
    except (RuntimeError, ValueError):
        return False
    return isinstance(output, list) or output.shape == images.shape


@pytest.mark.parametrize('norm, batch', [('none', 1), ('in', 1), ('in', 2), ('ln', 1), ('bn', 1), ('bn', 2), ('sn', 1)])
def test_a_crop_is_too_small_for_the_discriminator_exactly_where_it_fails(norm, batch):
    gen = {**config()['gen'], 'n_downsample': 2}
    for side, width, n_layer, num_scales in itertools.product((16, 20, 28, 32, 36, 64), (16, 36, 64), (1, 2, 3, 4, 5),
                                                              (1, 2, 4)):
        dis = {**config()['dis'], 'dim': 1, 'norm': norm, 'n_layer': n_layer, 'num_scales': num_scales}
        found = faults(gen=gen, dis=dis, crop_image_height=side, crop_image_width=width, batch_size=batch)
        fits = runs(MsImageDis(3, dis), batch, 3, side, width)
        assert (found == []) == fits, (side, width, n_layer, num_scales, found)


@pytest.mark.parametrize('trainer, generator', [('MUNIT', AdaINGen), ('UNIT', VAEGen)])
@pytest.mark.parametrize('pad_type', ['reflect', 'replicate'])
def test_a_crop_is_refused_exactly_where_the_generator_fails(trainer, generator, pad_type):
    needed = {'recon_kl_w': 1, 'recon_kl_cyc_w': 1}
    dis = {**config()['dis'], 'n_layer': 1, 'num_scales': 1}
    for n_downsample, side in itertools.product((0, 1, 2, 3), (2, 3, 4, 6, 8, 12, 14, 16, 17, 18, 20, 24, 32)):
        gen = {**config()['gen'], 'dim': 8, 'n_downsample': n_downsample, 'n_res': 1, 'pad_type': pad_type}
        found = faults(trainer, gen=gen, dis=dis, crop_image_height=side, crop_image_width=64, **needed)
        fits = runs(generator(3, gen), 1, 3, side, 64)
        assert (found == []) == fits or (found and pad_type != 'reflect' and side < 16), (n_downsample, side, found)


@pytest.mark.parametrize('side', [8, 12, 16])
def test_a_crop_is_refused_exactly_where_the_vgg_loss_fails(side):
    vgg, images = Vgg16(), torch.rand(1, 3, side, side)
    vgg.load_state_dict(vgg.state_dict())
    found = faults('UNIT', vgg_w=1, crop_image_height=side, crop_image_width=side, recon_kl_w=1, recon_kl_cyc_w=1,
                   dis={**config()['dis'], 'n_layer': 1, 'num_scales': 1})
    try:
        perceptual_loss(vgg, images, images)
    except ValueError:
        assert len(found) == 2
    else:
        assert found == []
