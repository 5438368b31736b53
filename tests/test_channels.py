"""Images of any number of channels: arrays, transparency, TIFF files of several bands or pages."""

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from test_commands import complaint, save_noise
from test_runs import UNIT, write_config
from tiny import flags, make_model

import test as test_command
import test_batch as test_batch_command
import train
import utils
from core.errors import BadInput
from core.image_files import list_folder
from data import Transform, describe_images, read_header, read_image, read_image_bytes, read_range, read_tensor


def numbers(*shape: int, seed: int = 0, kind='float32') -> np.ndarray:
    values = np.random.default_rng(seed).random(shape)
    return values.astype(kind) if np.dtype(kind).kind == 'f' else (values * np.iinfo(kind).max).astype(kind)


def save(path, values: np.ndarray):
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, values)
    return path


@pytest.mark.parametrize('kind, top', [('uint8', 255), ('uint16', 65535), ('float32', 1), ('float64', 1)])
@pytest.mark.parametrize('channels', [2, 4, 13])
def test_arrays_are_read_with_their_channels_first_or_last(tmp_path, kind, top, channels):
    values = numbers(20, 30, channels, kind=kind)
    wanted = (values.astype(np.float64) / top).astype(np.float32)
    for i, stored in enumerate((values, np.moveaxis(values, 2, 0), np.asfortranarray(values))):
        image = read_image(save(tmp_path / f'{i}.npy', stored), channels)
        assert image.size == (30, 20) and len(image.getbands()) == channels
        np.testing.assert_array_equal(np.asarray(image), wanted)
    content = (tmp_path / '0.npy').read_bytes()
    np.testing.assert_array_equal(np.asarray(read_image_bytes(content, 'x', channels)), wanted)
    header = read_header(tmp_path / '1.npy')
    assert header.size == (30, 20) and header.deep == (kind != 'uint8')
    assert read_range(tmp_path / '0.npy') == (values.min(), values.max())


def test_arrays_of_one_and_three_channels_are_read_as_other_images_are(tmp_path):
    grey, colour = numbers(8, 9), numbers(8, 9, 3, kind='uint8')
    found = read_image(save(tmp_path / 'grey.npy', grey), 1)
    assert found.mode == 'F' and np.array_equal(np.asarray(found), grey)
    found = read_image(save(tmp_path / 'colour.npy', colour), 3)
    assert found.mode == 'RGB' and np.array_equal(np.asarray(found), colour)


def test_a_range_of_values_applies_to_every_channel_and_clips(tmp_path):
    values = np.stack([np.full((4, 4), value, np.int32) for value in (-5, 0, 50, 100, 400)], axis=-1)
    path = save(tmp_path / 'x.npy', values)
    found = np.asarray(read_image(path, 5, value_range=(0, 200)))[0, 0]
    np.testing.assert_allclose(found, [0, 0, 0.25, 0.5, 1])
    with pytest.raises(BadInput, match='values from -5 to 400, some outside 0…65535; set value_range_a'):
        read_image(path, 5)


@pytest.mark.parametrize('values, channels, words', [
    (numbers(8, 9, 3), 4, r'an array of shape \(8, 9, 3\); \(4, height, width\) or \(height, width, 4\) is expected'),
    (numbers(8, 9), 2, r'an array of shape \(8, 9\)'),
    (numbers(2, 8, 9, 4), 4, r'an array of shape \(2, 8, 9, 4\)'),
    (np.full((4, 4, 4), np.nan), 4, r'not numbers \(NaN\)'),
    (np.full((4, 4, 4), 'a'), 4, 'an array of <U1'),
    (np.array([{}] * 4), 4, 'Python objects'),
    (numbers(4000, 4000, 4, kind='uint8')[:, :, :1] * np.ones(4, np.uint8), 4, 'more than --max_image_pixels 1000'),
])
def test_arrays_that_do_not_fit_are_refused_in_one_line(tmp_path, values, channels, words):
    path = tmp_path / 'x.npy'
    np.save(path, values, allow_pickle=True)
    with pytest.raises(BadInput, match=words) as refused:
        read_image(path, channels, max_pixels=1000)
    assert str(refused.value).count('\n') == 0


def test_transparency_and_pages_count_as_channels_where_so_many_are_wanted(tmp_path):
    rgba = numbers(8, 9, 4, kind='uint8')
    Image.fromarray(rgba).save(tmp_path / 'rgba.png')
    assert np.array_equal(np.asarray(read_image(tmp_path / 'rgba.png', 4)), rgba / np.float32(255))
    pages = [Image.fromarray(page) for page in numbers(5, 8, 9, kind='uint16')]
    pages[0].save(tmp_path / 'pages.tif', save_all=True, append_images=pages[1:])
    found = np.asarray(read_image(tmp_path / 'pages.tif', 5))
    np.testing.assert_allclose(found, np.stack([np.asarray(page) for page in pages], -1) / 65535, atol=1e-7)
    Image.new('RGB', (9, 8)).save(tmp_path / 'rgb.png')
    with pytest.raises(BadInput, match=r'it has 3 channels \(RGB\), and input_dim_a or input_dim_b is 4'):
        read_image(tmp_path / 'rgb.png', 4)


@pytest.mark.parametrize('layout', [{'planarconfig': 'contig'}, {'planarconfig': 'separate'}])
def test_tiff_files_of_many_bands_are_read(tmp_path, layout):
    tifffile = pytest.importorskip('tifffile')
    values = numbers(20, 30, 13, kind='uint16')
    stored = values if layout['planarconfig'] == 'contig' else np.moveaxis(values, 2, 0)
    tifffile.imwrite(tmp_path / 'bands.tif', stored, photometric='minisblack', **layout)
    np.testing.assert_allclose(np.asarray(read_image(tmp_path / 'bands.tif', 13)), values / 65535, atol=1e-7)
    with pytest.raises(BadInput, match='a TIFF image of shape .*13'):
        read_image(tmp_path / 'bands.tif', 12)
    header = read_header(tmp_path / 'bands.tif')
    assert header.size == (30, 20) and header.deep
    assert read_range(tmp_path / 'bands.tif') == (values.min(), values.max())


def test_resizing_flips_and_crops_move_all_channels_alike(tmp_path):
    grey = numbers(40, 60)
    path = save(tmp_path / 'x.npy', np.stack([grey] * 5, -1))
    one = save(tmp_path / 'one.npy', grey)
    transform = Transform(33, (16, 24), augment=True, flip_vertical=True)
    for seed in range(6):
        found = transform(read_image(path, 5), torch.Generator().manual_seed(seed))
        wanted = transform(read_image(one, 1), torch.Generator().manual_seed(seed))
        assert found.shape == (5, 16, 24) and torch.equal(found, wanted.expand(5, -1, -1))


def test_arrays_count_as_images_only_where_there_are_no_others(tmp_path, capfd):
    save(tmp_path / 'a' / 'x.npy', numbers(4, 4))
    assert [path.name for path in list_folder(tmp_path / 'a')] == ['x.npy']
    assert capfd.readouterr().err == ''
    save_noise(tmp_path / 'a' / 'y.png')
    assert [path.name for path in list_folder(tmp_path / 'a')] == ['y.png']


def test_what_is_shown_are_the_first_three_channels_or_grey():
    images = torch.rand(2, 5, 3, 4)
    assert torch.equal(utils.as_rgb(images), images[:, :3])
    assert torch.equal(utils.as_rgb(images[:, :2]), images[:, :1].expand(2, 3, 3, 4))
    assert [image.mode for image in utils.to_images(images)] == ['RGB'] * 2


@pytest.fixture(scope='module')
def model(tmp_path_factory) -> dict:
    """From four channels to five."""
    model = make_model(tmp_path_factory.mktemp('model'), input_dim_a=4, input_dim_b=5, value_range_b=[0, 1000])
    for path in list(model['inputs'].iterdir()):
        path.unlink()
    for i in range(2):
        save(model['inputs'] / f'{i}.npy', numbers(64, 64, 4, seed=i, kind='uint8'))
    return model


def test_outputs_of_other_channels_are_arrays_in_the_range_of_their_values(model, tmp_path):
    test_command.main(flags(model, input=model['inputs'] / '0.npy', output_folder=tmp_path / 'one', num_style=2))
    assert sorted(path.name for path in (tmp_path / 'one').iterdir()) == ['input.npy', 'output000.npy', 'output001.npy']
    found = np.load(tmp_path / 'one' / 'output000.npy')
    assert found.shape[2] == 5 and found.dtype == np.float32 and 1 < found.max() <= 1000
    config = yaml.safe_load(open(model['config']))
    again = read_tensor(tmp_path / 'one' / 'output000.npy', config, 'b', Transform(0))
    np.testing.assert_allclose((again.movedim(0, -1).numpy() + 1) / 2 * 1000, found, atol=1e-3)
    assert np.load(tmp_path / 'one' / 'input.npy').max() <= 1   # 8-bit values, as they were read

    test_batch_command.main(flags(model, input_folder=model['inputs'], output_folder=tmp_path / 'many', num_style=1,
                                  num_workers=0))
    assert sorted(path.name for path in (tmp_path / 'many_00').iterdir()) == ['0.npy', '1.npy']
    assert (tmp_path / 'many' / 'input000.npy').exists()


def test_other_formats_hold_as_many_channels_as_they_can(model, tmp_path, capsys):
    test_command.main([*flags(model, input=model['inputs'] / '0.npy', output_folder=tmp_path / 'tif', num_style=1,
                              format='tif')])
    found = read_image(tmp_path / 'tif' / 'output000.tif', 5)
    assert len(found.getbands()) == 5 and len(read_image(tmp_path / 'tif' / 'input.tif', 4).getbands()) == 4
    assert '--format jpg: cannot hold outputs of 5 channels; use tif or npy' in complaint(
        capsys, test_command.main, *flags(model, input=model['inputs'] / '0.npy', output_folder=tmp_path / 'x',
                                          format='jpg'))
    assert not (tmp_path / 'x').exists()
    test_command.main([*flags(model, input=save(tmp_path / 'b.npy', numbers(64, 64, 5)), output_folder=tmp_path / 'png',
                              num_style=1, format='png', a2b=0), '--output_only'])
    assert Image.open(tmp_path / 'png' / 'output000.png').mode == 'RGBA'


def test_depth_of_grey_and_colour_outputs_is_kept_in_arrays(tmp_path):
    model = make_model(tmp_path)
    test_command.main([*flags(model, input=model['inputs'] / '0.png', output_folder=tmp_path / 'out', num_style=1,
                              format='npy'), '--output_only'])
    test_command.main([*flags(model, input=model['inputs'] / '0.png', output_folder=tmp_path / 'out', num_style=1,
                              format='png'), '--output_only'])
    exact = np.load(tmp_path / 'out' / 'output000.npy')
    assert exact.shape[2] == 3 and len(np.unique(exact)) > 256
    assert np.abs(exact * 255 - np.asarray(Image.open(tmp_path / 'out' / 'output000.png'))).max() <= 0.5 + 1e-3


@pytest.mark.parametrize('trainer', ['MUNIT', 'UNIT', 'CycleGAN'])
def test_a_run_on_other_channels_trains_and_shows_its_images(tmp_path, trainer):
    for split in ('trainA', 'testA'):
        for i in range(2):
            save(tmp_path / 'data' / split / f'{i}.npy', numbers(64, 64, 4, seed=i, kind='uint16'))
    for split in ('trainB', 'testB'):
        for i in range(2):
            path = tmp_path / 'data' / split / f'{i}.png'
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(numbers(64, 64, 2, seed=i, kind='uint8'), 'LA').save(path)
    if trainer == 'CycleGAN':
        config = tmp_path / 'config.yaml'
        config.write_text(yaml.safe_dump({
            'data_root': str(tmp_path / 'data'), 'input_dim_a': 4, 'input_dim_b': 2, 'max_iter': 2, 'identity_w': 0,
            'crop_image_height': 32, 'crop_image_width': 32, 'new_size': 32, 'gen': {'dim': 4, 'n_res': 1},
            'dis': {'dim': 4}, 'image_save_iter': 1, 'image_display_iter': 1, 'display_size': 1, 'log_iter': 1,
            'snapshot_save_iter': 2, 'num_workers': 0, 'batch_size': 1}))
    else:
        config = write_config(tmp_path, tmp_path / 'data', input_dim_a=4, input_dim_b=2, max_iter=2, **UNIT)
    train.main([f'--config={config}', f'--trainer={trainer}', f'--output_path={tmp_path}', '--device=cpu'])
    grids = list((tmp_path / 'outputs').rglob('*.jpg'))
    assert grids and all(Image.open(grid).mode == 'RGB' for grid in grids)


def test_what_is_for_pictures_alone_says_so(model, tmp_path, capsys):
    import demo
    import evaluate
    import video
    given = {key: value for key, value in model.items() if key != 'inputs'}
    for command, others in ((evaluate, {'output_folder': tmp_path / 'e'}), (demo, {}),
                            (video, {'input': model['inputs'], 'output': tmp_path / 'v'})):
        words = [f'--{key}={value}' for key, value in {**given, **others}.items()]
        assert 'is for images of 1 or 3 channels, and input_dim_a is 4' in complaint(capsys, command.main, *words)


def test_the_perceptual_loss_is_refused_for_other_channels(tmp_path):
    from engine.config import load_config
    config = write_config(tmp_path, tmp_path, input_dim_a=4, vgg_w=1)
    with pytest.raises(BadInput, match='vgg_w: 1, but VGG-16 takes images of 1 or 3 channels and input_dim_a is 4'):
        load_config(config)


def test_pixels_survive_a_file_of_every_format(tmp_path):
    for channels, endings in ((1, ('.png', '.tif', '.npy')), (2, ('.png', '.tif', '.npy')), (3, ('.png', '.npy')),
                              (4, ('.png', '.tif', '.npy')), (7, ('.tif', '.npy'))):
        picture = torch.rand(channels, 6, 5)
        for ending in endings:
            assert utils.can_hold(ending, channels)
            path = tmp_path / f'{channels}{ending}'
            utils.write_picture(utils.to_pixels(picture, ending), path)
            found = np.asarray(read_image(path, channels), dtype=np.float32)
            found = found / (255 if found.max() > 1 else 1)
            np.testing.assert_allclose(found.reshape(6, 5, channels), picture.movedim(0, -1), atol=0.5 / 255 + 1e-6)
    assert not utils.can_hold('.jpg', 4) and not utils.can_hold('.png', 5)


def test_a_run_whose_images_have_other_channels_ends_before_it_begins(tmp_path, capsys):
    for folder in ('trainA', 'trainB', 'testA', 'testB'):
        save_noise(tmp_path / 'data' / folder / '0.png')
    config = write_config(tmp_path, tmp_path / 'data', input_dim_b=4, max_iter=1)
    assert 'trainB/0.png: cannot be read as an image (it has 3 channels (RGB), and input_dim_a or input_dim_b is 4' in \
        complaint(capsys, train.main, f'--config={config}', f'--output_path={tmp_path}', '--device=cpu')
    assert not (tmp_path / 'outputs').exists()


def test_a_run_describes_its_arrays_and_tiff_files_by_the_values_that_become_black_and_white(tmp_path):
    tifffile = pytest.importorskip('tifffile')
    (tmp_path / 'tif').mkdir()
    tifffile.imwrite(tmp_path / 'tif' / '0.tif', numbers(40, 50, 13, kind='uint16') // 16, photometric='minisblack',
                     planarconfig='contig')
    line = describe_images('trainA', list_folder(tmp_path / 'tif'), 13)
    assert '1 images, 50×40, channels uint16 read as 13' in line and 'value_range_a: [0, 4095] would use' in line
    save(tmp_path / 'npy' / '0.npy', numbers(40, 50, 5) * 2)
    with pytest.raises(BadInput, match='outside 0…1'):
        read_image(tmp_path / 'npy' / '0.npy', 5)
    assert 'outside 0 to 1, so such files cannot be read' in describe_images('trainB', [tmp_path / 'npy' / '0.npy'], 5)


def test_damaged_arrays_and_tiff_files_are_read_or_refused_in_one_line(tmp_path, capfd):
    tifffile = pytest.importorskip('tifffile')
    whole = [save(tmp_path / 'x.npy', numbers(20, 30, 5)).read_bytes()]
    for i, layout in enumerate(({'planarconfig': 'contig'}, {'planarconfig': 'separate', 'compression': 'zlib'})):
        stored = numbers(*((20, 30, 5) if i == 0 else (5, 20, 30)), kind='uint8')
        tifffile.imwrite(tmp_path / f'{i}.tif', stored, photometric='minisblack', **layout)
        whole.append((tmp_path / f'{i}.tif').read_bytes())
    random, path, refused = np.random.default_rng(5), tmp_path / 'damaged', 0
    for _ in range(300):
        content = bytearray(whole[random.integers(3)])
        for place in random.integers(min(400, len(content)), size=random.integers(1, 9)):
            content[place] = random.integers(256)
        path.write_bytes(content[:random.integers(1, len(content)) if random.random() < 0.2 else None])
        read_header(path)
        read_range(path)
        try:
            read_image(path, 5, value_range=(0, 255))
        except BadInput as error:
            refused += 1
            assert len(str(error).splitlines()) == 1
    assert 0 < refused < 300 and capfd.readouterr().err == ''
