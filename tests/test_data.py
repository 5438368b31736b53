"""Finding, reading, transforming and streaming images."""
import itertools
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from parity import config_with, filled_trainer
from PIL import Image

from core.errors import BadInput
from data import (
    Draw,
    EndlessBatches,
    ImageDataset,
    Transform,
    describe_images,
    display_set,
    dither_if_constant,
    find_images,
    first_images,
    list_folder,
    new_size_of,
    read_image,
    read_list,
    stream,
    training_set,
)
from trainer import MUNIT_Trainer

RGB = Image.fromarray(np.random.RandomState(0).randint(0, 256, (4, 6, 3), dtype=np.uint8)).resize((60, 40))
RAMP = np.linspace(0, 65535, 40 * 60).reshape(40, 60).astype(np.uint16)


def save(image: Image.Image, path: Path, **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)
    return path


# -- finding ----------------------------------------------------------------------------------------------------------

def test_a_folder_is_searched_recursively_for_every_ending_in_either_case_and_sorted(tmp_path):
    names = ['b.JPG', 'a.jpeg', 'sub/c.png', 'sub/deep/d.PPM', 'e.bmp', 'f.webp', 'g.tif', 'h.TIFF', 'i.gif',
             'j.JFIF', 'k.mpo', 'l.pgm']
    for name in [*names, 'notes.txt', 'm.xyz']:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / 'folder.png').mkdir()
    assert list_folder(tmp_path) == sorted((tmp_path / name for name in names), key=str)


def test_paths_are_sorted_as_text_as_in_the_original(tmp_path):
    names = ['sub-a/a.png', 'sub.jpg', 'sub/z.png', 'sub/z/a.png', 'subb.png', 'Z.png']   # - and . come before /
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = [path.relative_to(tmp_path).as_posix() for path in list_folder(tmp_path)]
    assert found == ['Z.png', 'sub-a/a.png', 'sub.jpg', 'sub/z.png', 'sub/z/a.png', 'subb.png']


def test_a_folder_that_cannot_be_read_is_not_called_empty(tmp_path, monkeypatch):
    (tmp_path / 'a.png').touch()

    def refuse(folder):
        raise PermissionError(13, 'Permission denied')

    monkeypatch.setattr('data.os.scandir', refuse)
    with pytest.raises(BadInput, match='cannot be read .Permission denied'):
        list_folder(tmp_path)


def test_an_empty_or_missing_folder_is_refused(tmp_path):
    with pytest.raises(BadInput, match='holds no images'):
        list_folder(tmp_path)
    with pytest.raises(BadInput, match='no such folder'):
        list_folder(tmp_path / 'none')


@pytest.mark.parametrize('text', ['x/1.png\n2.png\n', '\n x/1.png \n\n2.png', 'x/1.png\r\n\r\n2.png\r\n',
                                  '\ufeffx/1.png\n2.png\n'])
def test_a_list_names_files_relative_to_its_folder(tmp_path, text):
    save(RGB, tmp_path / 'x' / '1.png')
    save(RGB, tmp_path / '2.png')
    (tmp_path / 'list.txt').write_bytes(text.encode())
    assert read_list(tmp_path, tmp_path / 'list.txt') == [tmp_path / 'x' / '1.png', tmp_path / '2.png']


@pytest.mark.parametrize('content, words', [
    (b'\n1.png\nnone.png\ngone.png\n', r'line 3: .*none.png does not exist \(and 1 more\)'),
    (b'{"files": [' + b'"1.png", ' * 1000, 'line 1: .* does not exist'),
    (b'\n \n', 'names no files'), (b'\xff\xfe\x00', 'not a text file'),
    (b'sub\n', 'line 1: .*sub is a directory, not an image')])
def test_a_faulty_list_is_refused(tmp_path, content, words):
    save(RGB, tmp_path / '1.png')
    (tmp_path / 'sub').mkdir()
    (tmp_path / 'list.txt').write_bytes(content)
    with pytest.raises(BadInput, match=words):
        read_list(tmp_path, tmp_path / 'list.txt')


def test_both_modes_find_the_images_of_a_split_and_domain(tmp_path):
    path = save(RGB, tmp_path / 'testB' / '1.png')
    (tmp_path / 'list.txt').write_text('1.png\n')
    lists = {'data_folder_test_b': str(tmp_path / 'testB'), 'data_list_test_b': str(tmp_path / 'list.txt')}
    assert find_images({'data_root': str(tmp_path)}, 'test', 'b') == find_images(lists, 'test', 'b') == [path]


# -- reading ----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('channels, mode', [(1, 'L'), (3, 'RGB')])
@pytest.mark.parametrize('name, image', [
    ('a.png', RGB), ('a.jpg', RGB), ('a.webp', RGB), ('a.bmp', RGB), ('a.ppm', RGB), ('a.TIF', RGB),
    ('palette.png', RGB.convert('P')), ('grey.png', RGB.convert('L')), ('bits.png', RGB.convert('1')),
    ('print.jpg', RGB.convert('CMYK')), ('alpha.png', RGB.convert('RGBA')), ('grey_alpha.png', RGB.convert('LA'))])
def test_every_kind_of_file_is_read_as_the_channels_that_are_wanted(tmp_path, name, image, channels, mode):
    found = read_image(save(image, tmp_path / name), channels)
    assert (found.mode, found.size) == (mode, (60, 40))
    wanted = np.asarray(image.convert('RGB').convert(mode), np.float32)
    assert np.abs(np.asarray(found, np.float32) - wanted).mean() < (8 if name.endswith(('jpg', 'webp')) else 1)


@pytest.mark.parametrize('name, numbers', [('16.png', '<u2'), ('16.tif', '<u2'), ('16.tif', '>u2'), ('16.ppm', '<u2')])
def test_16_bit_grey_keeps_its_depth_in_one_channel(tmp_path, name, numbers):
    found = read_image(save(Image.fromarray(RAMP.astype(numbers)), tmp_path / name), 1)
    assert found.mode == 'F'
    assert np.abs(np.asarray(found) - RAMP / 65535).max() < 1e-6


def test_16_bit_grey_becomes_8_bit_colour_over_the_whole_range(tmp_path):
    found = np.asarray(read_image(save(Image.fromarray(RAMP), tmp_path / '16.png'), 3))
    assert found.shape == (40, 60, 3)
    assert np.abs(found[..., 0] - RAMP / 257).max() <= 1


def test_16_bit_colour_becomes_8_bit_colour(tmp_path):
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))

    # Pillow reads such files but does not write them.
    lines = np.stack([RAMP, RAMP, 65535 - RAMP], 2).astype('>u2').reshape(40, -1)
    (tmp_path / '16.png').write_bytes(
        b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', struct.pack('>IIBBBBB', 60, 40, 16, 2, 0, 0, 0))
        + chunk(b'IDAT', zlib.compress(b''.join(b'\0' + line.tobytes() for line in lines))) + chunk(b'IEND', b''))
    found = np.asarray(read_image(tmp_path / '16.png', 3), np.float32)
    assert np.abs(found[..., 0] - RAMP / 257).max() <= 1 and np.abs(found[..., 2] + RAMP / 257 - 255).max() <= 1


def test_whole_numbers_beyond_16_bits_are_refused(tmp_path):
    path = save(Image.fromarray(RAMP.astype(np.int32) + 1), tmp_path / '32.tif')
    with pytest.raises(BadInput, match='32.tif.*outside 0…65535'):
        read_image(path, 1)


def test_float_files_hold_values_from_0_to_1(tmp_path):
    good, bad = (Image.fromarray((RAMP / top).astype(np.float32)) for top in (65535, 255))
    assert read_image(save(good, tmp_path / 'good.tif'), 1).mode == 'F'
    with pytest.raises(BadInput, match='bad.tif.*outside 0…1'):
        read_image(save(bad, tmp_path / 'bad.tif'), 1)


@pytest.mark.parametrize('mode', ['RGBA', 'LA', 'P'])
def test_transparent_pixels_become_white(tmp_path, mode):
    image = RGB.convert('RGBA')
    image.putalpha(0)
    image = image.convert(mode)
    options = {'transparency': bytes(256)} if mode == 'P' else {}
    assert np.asarray(read_image(save(image, tmp_path / 'a.png', **options), 3)).min() == 255


def test_transparency_is_composited_on_white(tmp_path):
    found = read_image(save(Image.new('RGBA', (4, 4), (0, 100, 200, 51)), tmp_path / 'a.png'), 3)
    assert found.getpixel((0, 0)) == pytest.approx((204, 224, 244), abs=1)


@pytest.mark.parametrize('name', ['a.png', 'a.jpg'])
def test_exif_orientation_is_applied(tmp_path, name):
    exif = Image.Exif()
    exif[0x0112] = 6
    found = np.asarray(read_image(save(RGB, tmp_path / name, exif=exif), 3), np.float32)
    assert found.shape == (60, 40, 3)
    assert np.abs(found - np.rot90(np.asarray(RGB), -1)).mean() < (8 if name == 'a.jpg' else 1e-6)


def test_a_photo_with_an_invalid_exif_block_is_read(tmp_path):
    path = save(RGB, tmp_path / 'a.jpg', exif=b'Exif\0\0MM\0*\0\0\0\x08\xff\xff' + b'\xaa' * 50)
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter('always')
        assert read_image(path, 3).size == (60, 40)
    assert not heard


def test_the_first_frame_of_an_animation_is_read(tmp_path):
    path = save(RGB, tmp_path / 'a.webp', save_all=True, append_images=[Image.new('RGB', RGB.size)], lossless=True)
    assert np.array_equal(np.asarray(read_image(path, 3)), np.asarray(RGB))


def broken_files(folder: Path) -> dict[str, Path]:
    """A file for each way in which images are broken."""
    whole = {ending: save(RGB, folder / f'whole.{ending}').read_bytes() for ending in ('jpg', 'png')}
    contents = {'short.jpg': whole['jpg'][:700], 'short.png': whole['png'][:700],
                'empty.png': b'', 'text.jpg': b'hello'}
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    for ending in whole:
        (folder / f'whole.{ending}').unlink()
    return {name: folder / name for name in contents}


@pytest.mark.parametrize('name', ['short.jpg', 'short.png', 'empty.png', 'text.jpg', 'none.png', 'folder.jpg'])
def test_a_broken_file_is_named_in_one_line(tmp_path, name):
    broken_files(tmp_path)
    (tmp_path / 'folder.jpg').mkdir()
    with pytest.raises(BadInput) as error:
        read_image(tmp_path / name, 3)
    assert str(error.value).startswith(str(tmp_path / name)) and '\n' not in str(error.value)


@pytest.mark.parametrize('share', [0.05, 0.5, 0.95])
@pytest.mark.parametrize('ending', ['jpg', 'png', 'webp', 'bmp', 'ppm', 'tif'])
def test_a_file_of_any_kind_that_was_cut_short_is_refused(tmp_path, ending, share):
    path = save(RGB, tmp_path / f'a.{ending}')
    path.write_bytes(path.read_bytes()[:int(share * path.stat().st_size)])
    with pytest.raises(BadInput):
        read_image(path, 3)


# -- transforming -----------------------------------------------------------------------------------------------------

def test_the_shorter_side_is_resized_bilinearly_and_values_go_from_minus_1_to_1():
    found = Transform(20)(RGB)
    wanted = np.asarray(RGB.resize((30, 20), Image.Resampling.BILINEAR), np.float32) / 127.5 - 1
    assert np.abs(found.permute(1, 2, 0).numpy() - wanted).max() < 1e-6


@pytest.mark.parametrize('size', [(60, 40), (40, 60), (33, 47), (128, 31), (7, 90)])
@pytest.mark.parametrize('mode', ['RGB', 'L', 'F'])
def test_transforms_equal_torchvisions(size, mode):
    from torchvision import transforms
    image = RGB.resize(size).convert('L' if mode == 'F' else mode)
    image = Image.fromarray(np.asarray(image, np.float32) / 255) if mode == 'F' else image
    wanted = transforms.Compose([transforms.Resize(25), transforms.CenterCrop((20, 23)), transforms.ToTensor(),
                                 transforms.Normalize((0.5,), (0.5,))])(image)
    assert torch.allclose(Transform(25, (20, 23))(image), wanted, atol=1e-6)


def test_without_resize_and_crop_the_image_is_kept():
    found = Transform()(RGB)
    assert found.shape == (3, 40, 60) and found.min() == -1 and found.max() == 1


def test_the_test_crop_is_from_the_centre_and_the_training_crop_anywhere():
    row = Image.fromarray(np.arange(60, dtype=np.uint8)[None].repeat(40, 0))
    centre = Transform(0, (40, 40))(row)
    assert (centre[0, 0, 0] + 1) * 127.5 == pytest.approx(10)
    crop = Transform(0, (40, 40), augment=True)
    lefts = {round((crop(row)[0, 0].min().item() + 1) * 127.5) for _ in range(60)}
    assert len(lefts) > 10 and min(lefts) >= 0 and max(lefts) <= 20


def test_half_of_the_training_images_are_flipped():
    row = Image.fromarray(np.arange(60, dtype=np.uint8)[None].repeat(40, 0))
    torch.manual_seed(0)
    flipped = sum(bool(image[0, 0, 0] > image[0, 0, -1]) for image in
                  (Transform(0, (40, 60), augment=True)(row) for _ in range(200)))
    assert 70 < flipped < 130


@pytest.mark.parametrize('colour', [(1.0, 1.0, 1.0), (0.3, -0.2, 0.9)])
def test_an_exactly_constant_image_is_dithered_by_1e_4(colour):
    image = torch.tensor(colour).view(3, 1, 1).expand(3, 32, 32)
    noise = dither_if_constant(image) - image
    assert noise.std().item() == pytest.approx(1e-4, rel=0.1)


def test_a_dithered_image_is_the_same_each_time():
    assert torch.equal(*(dither_if_constant(torch.ones(3, 8, 8)) for _ in range(2)))


def test_any_other_image_is_left_as_it_is():
    image = torch.ones(3, 32, 32)
    image[1, 5, 5] -= 1e-6
    assert torch.equal(dither_if_constant(image), image)


@pytest.mark.parametrize('dithered', [True, False])
def test_a_white_image_has_usable_gradients_only_when_dithered(dithered):
    white = torch.ones(3, 64, 64)
    x_a = (dither_if_constant(white) if dithered else white)[None]
    trainer = filled_trainer(MUNIT_Trainer, config_with())
    torch.manual_seed(0)
    trainer.update(x_a, torch.rand(1, 3, 64, 64) * 2 - 1)
    assert bool(trainer.bad_steps == 0) == dithered


# -- streams ----------------------------------------------------------------------------------------------------------

def numbered_set(folder: Path, count: int, name='set') -> ImageDataset:
    """A data set of images whose grey value is their index, up to the dither."""
    for i in range(count):
        save(Image.new('L', (4, 4), 10 * i), folder / name / f'{i}.png')
    return ImageDataset(list_folder(folder / name), 1, Transform())


def numbers(batch: torch.Tensor) -> list[int]:
    return [round((image.mean().item() + 1) * 12.75) for image in batch]


def draws(count: int, batches: EndlessBatches) -> list[Draw]:
    return [draw for batch in itertools.islice(batches, count) for draw in batch]


def test_each_round_of_a_stream_has_every_image_once_in_another_order():
    indices = [draw.index for draw in draws(50, EndlessBatches(50, 3, seed=3))]
    rounds = [indices[:50], indices[50:100], indices[100:]]
    assert all(sorted(one) == list(range(50)) for one in rounds)
    assert rounds[0] != rounds[1] != rounds[2]


def test_a_seed_means_an_order_and_flips_and_crops():
    one, again, other = (draws(70, EndlessBatches(50, 1, seed)) for seed in (3, 3, 4))
    assert one == again
    assert [draw.index for draw in one] != [draw.index for draw in other]
    assert len({draw.seed for draw in one + other}) == 140


def test_a_stream_can_start_anywhere():
    assert draws(30, EndlessBatches(7, 2, seed=1, start=26)) == draws(43, EndlessBatches(7, 2, seed=1))[26:]


def test_processes_share_each_batch_of_one_process():
    alone = list(itertools.islice(EndlessBatches(7, 6, seed=1, start=4), 5))
    shares = [list(itertools.islice(EndlessBatches(7, 2, 1, 4, rank, 3), 5)) for rank in range(3)]
    assert [sum(parts, []) for parts in zip(*shares, strict=True)] == alone


def augmented_set(folder: Path, cache: str = 'none') -> ImageDataset:
    for i in range(3):
        save(Image.fromarray(np.roll(RAMP, i * 9, axis=1)), folder / f'{i}.png')
    return ImageDataset(list_folder(folder), 3, Transform(33, (8, 8), augment=True), cache)


@pytest.mark.parametrize('error', [ConnectionResetError(104, 'Connection reset by peer'), EOFError()])
def test_a_worker_that_dies_while_sending_a_batch_is_reported(tmp_path, monkeypatch, error):
    def broken(*_, **__):
        yield torch.zeros(1)
        raise error

    monkeypatch.setattr('data.DataLoader', broken)
    batches = stream(augmented_set(tmp_path), EndlessBatches(3, 1, seed=1), num_workers=0)
    next(batches)
    with pytest.raises(RuntimeError, match='DataLoader worker'):
        next(batches)


@pytest.mark.parametrize('cache', ['none', 'ram'])
@pytest.mark.parametrize('num_workers', [0, 1, 2])
def test_batches_do_not_depend_on_workers_cache_or_the_global_generator(tmp_path, num_workers, cache):
    def batches(num_workers: int, cache: str) -> torch.Tensor:
        torch.manual_seed(num_workers)
        found = stream(augmented_set(tmp_path, cache), EndlessBatches(3, 2, seed=3), num_workers)
        return torch.stack(list(itertools.islice(found, 8)))

    assert torch.equal(batches(0, 'none'), batches(num_workers, cache))


def test_a_cache_keeps_what_fits(tmp_path):
    dataset = augmented_set(tmp_path, 'ram')
    height, width = dataset.transform.resize(Image.fromarray(RAMP)).size[::-1]
    dataset.cache_bytes_left = 2 * 3 * height * width + 1
    for i in range(3):
        dataset[i]
    assert sorted(dataset.cache) == [0, 1]
    for path in dataset.paths:
        path.unlink()
    assert dataset[0].shape == (3, 8, 8)     # not read again


@pytest.mark.parametrize('num_workers', [0, 2])
def test_batches_continue_across_epochs(tmp_path, num_workers):
    batches = stream(numbered_set(tmp_path, 5), EndlessBatches(5, 3, seed=0), num_workers)
    found = [number for batch in itertools.islice(batches, 5) for number in numbers(batch)]
    assert sorted(found[:5]) == sorted(found[5:10]) == sorted(found[10:]) == [0, 1, 2, 3, 4]


def test_a_batch_may_be_larger_than_the_set(tmp_path):
    batch = next(stream(numbered_set(tmp_path, 2), EndlessBatches(2, 5, seed=0), 0))
    assert batch.shape == (5, 1, 4, 4) and set(numbers(batch)) == {0, 1}


def test_all_images_of_the_larger_set_are_used(tmp_path):
    streams = [stream(numbered_set(tmp_path, count, str(count)), EndlessBatches(count, 1, seed=0), 0)
               for count in (2, 7)]
    pairs = list(itertools.islice(zip(*streams, strict=True), 7))
    assert {numbers(b)[0] for _, b in pairs} == set(range(7))


@pytest.mark.parametrize('num_workers', [0, 2])
def test_a_broken_file_is_named_once_and_another_takes_its_place(tmp_path, capfd, num_workers):
    dataset = numbered_set(tmp_path, 4)
    dataset.paths[1].write_bytes(b'')
    batches = stream(dataset, EndlessBatches(4, 2, seed=0), num_workers)
    found = [number for batch in itertools.islice(batches, 12) for number in numbers(batch)]
    assert set(found) == {0, 2, 3}
    assert capfd.readouterr().err.count(str(dataset.paths[1])) == 1
    assert dataset.broken.tolist() == [False, True, False, False]


def test_a_set_without_a_readable_file_is_refused(tmp_path):
    with pytest.raises(BadInput, match='none of its 4 images can be read'):
        ImageDataset(list(broken_files(tmp_path).values()), 3, Transform())[2]


def data_config(folder: Path, **changes) -> dict:
    for name in ('trainA', 'trainB', 'testA', 'testB'):
        save(RGB, folder / name / '1.png')
    return config_with(data_root=str(folder), crop_image_height=32, crop_image_width=24, new_size=40, **changes)


def test_training_images_are_crops_and_shown_test_images_squares(tmp_path):
    config = data_config(tmp_path, input_dim_b=1)
    assert training_set(config, 'a')[0].shape == (3, 32, 24)
    assert display_set(config, 'train', 'b')[0].shape == (1, 32, 24)
    assert display_set(config, 'test', 'b')[0].shape == (1, 40, 40)


def test_shown_images_are_the_same_each_time_and_start_again_where_there_are_few(tmp_path):
    dataset = display_set(data_config(tmp_path), 'train', 'a')
    images = first_images(dataset, 3)
    assert images.shape == (3, 3, 32, 24)
    assert torch.equal(images[0], images[2]) and torch.equal(images, first_images(dataset, 3))


def test_a_displayed_test_image_has_a_size_that_the_networks_preserve(tmp_path):
    assert display_set({**data_config(tmp_path), 'new_size': 38}, 'test', 'a')[0].shape == (3, 36, 36)


def test_each_domain_may_have_a_size_of_its_own():
    assert new_size_of({'new_size_a': 10, 'new_size_b': 20}, 'b') == 20
    assert new_size_of({'new_size': 10}, 'b') == 10


def test_the_report_of_a_domain_counts_and_measures(tmp_path):
    save(RGB, tmp_path / 'a.png')
    save(Image.fromarray(RAMP[:20, :30]), tmp_path / 'b.png')
    (tmp_path / 'c.png').write_bytes(b'')
    line = describe_images('trainA', list_folder(tmp_path), 1)
    assert line == 'trainA: 3 images, 30×20 to 60×40, channels 16-bit and 3 read as 1, values 0 to 31934'


def test_a_domain_without_one_image_is_refused_at_the_start(tmp_path):
    (tmp_path / 'a.png').write_bytes(b'')
    with pytest.raises(BadInput, match='not images'):
        describe_images('trainA', list_folder(tmp_path), 3)
