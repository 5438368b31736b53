"""Users' folders: which files are images, held-out test images, and crops larger than the images."""
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from parity import config_with
from PIL import Image

from core import image_files
from core.errors import BadInput
from core.image_files import list_folder, read_list, subfolders
from data import ImageDataset, Transform, display_set, find_images, training_set
from engine.config import check_config
from engine.paired_data import align, fault_of


def picture(path: Path, width: int = 60, height: int = 40, **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.RandomState(len(str(path.name))).randint(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, **options)
    return path


def names(paths: list[Path]) -> list[str]:
    return [path.name for path in paths]


# -- what counts as an image ------------------------------------------------------------------------------------------

def test_what_systems_and_editors_leave_in_folders_is_no_image(tmp_path, capsys):
    picture(tmp_path / 'a.png')
    for name in ('._a.png', '.hidden.jpg', '.ipynb_checkpoints/a-checkpoint.png', '@eaDir/a.png/SYNOPHOTO.jpg',
                 '__MACOSX/._a.png', 'sub/.thumbs/t.jpg', '.DS_Store', 'Thumbs.db'):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert names(list_folder(tmp_path)) == ['a.png']
    assert capsys.readouterr().err == f'{tmp_path}: passed over: 2 hidden files; 4 hidden or system folders\n'
    list_folder(tmp_path)
    assert capsys.readouterr().err == ''   # it is reported once


def test_a_list_may_name_what_is_no_image_too(tmp_path, capsys):
    picture(tmp_path / 'a.png')
    picture(tmp_path / '__MACOSX' / 'b.png')
    (tmp_path / '._a.png').touch()
    (tmp_path / 'list.txt').write_text('./a.png\n./._a.png\n__MACOSX/b.png\n')
    assert names(read_list(tmp_path, tmp_path / 'list.txt')) == ['a.png']
    assert 'passed over: 2 hidden or system files' in capsys.readouterr().err
    (tmp_path / 'list.txt').write_text('._a.png\n')
    with pytest.raises(BadInput, match='names no files but 1 hidden or system file'):
        read_list(tmp_path, tmp_path / 'list.txt')


def test_files_of_other_endings_are_counted(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(image_files, 'can_read_heif', lambda: False)
    picture(tmp_path / 'a.png')
    for name in ('1.HEIC', '2.heic', 'notes.txt', 'no_ending', 'raw.NEF'):
        (tmp_path / name).touch()
    assert names(list_folder(tmp_path)) == ['a.png']
    line = capsys.readouterr().err
    assert '.heic: 2 files (pip install pillow-heif reads them); .nef: 1 file (save them as PNG or JPEG)' in line
    assert '.txt: 1 file' in line and 'no ending: 1 file' in line
    (tmp_path / 'a.png').unlink()
    with pytest.raises(BadInput, match='holds no images .*passed over: .heic: 2 files'):
        list_folder(tmp_path)


def test_pictures_of_phones_count_where_the_library_is_there(tmp_path, monkeypatch):
    (tmp_path / 'a.heic').touch()
    monkeypatch.setitem(sys.modules, 'pillow_heif', object())
    assert names(list_folder(tmp_path)) == ['a.heic']


def test_linked_folders_are_followed_on_request_and_circles_end(tmp_path, capsys):
    picture(tmp_path / 'elsewhere' / 'deep' / 'b.png')
    picture(tmp_path / 'trainA' / 'own' / 'a.png')
    (tmp_path / 'trainA' / 'far').symlink_to(tmp_path / 'elsewhere')
    (tmp_path / 'trainA' / 'own' / 'again').symlink_to(tmp_path / 'elsewhere' / 'deep')
    (tmp_path / 'elsewhere' / 'deep' / 'up').symlink_to(tmp_path / 'trainA')
    (tmp_path / 'trainA' / 'gone.png').symlink_to(tmp_path / 'no')
    config = {'data_root': str(tmp_path), 'test_share': 0}
    assert names(find_images(config, 'train', 'a')) == ['a.png']
    assert 'passed over: 1 broken link; 2 linked folders, not followed (follow_links: true follows them)' in \
        capsys.readouterr().err
    assert names(find_images({**config, 'follow_links': True}, 'train', 'a')) == ['b.png', 'a.png']
    assert '2 linked folders that led to what was searched already' in capsys.readouterr().err
    list_folder(tmp_path / 'trainA')
    assert capsys.readouterr().err.endswith('2 linked folders, not followed\n')   # where no key could change that


@pytest.mark.skipif(os.geteuid() == 0, reason='root may look into every folder')
def test_a_folder_that_cannot_be_opened_is_counted(tmp_path, capsys):
    picture(tmp_path / 'a.png')
    (tmp_path / 'closed').mkdir(mode=0)
    assert names(list_folder(tmp_path)) == ['a.png']
    assert '1 folder that could not be opened (Permission denied)' in capsys.readouterr().err


def test_class_folders_are_those_of_the_user(tmp_path):
    for name in ('cats', 'dogs', '.ipynb_checkpoints', '__MACOSX'):
        (tmp_path / name).mkdir()
        picture(tmp_path / name / 'a.png')
    from scripts.train_classifier import classes_by_folder
    assert names(subfolders(tmp_path)) == list(classes_by_folder(str(tmp_path))) == ['cats', 'dogs']


# -- without test folders ---------------------------------------------------------------------------------------------

def two_folders(root: Path, count: int = 40) -> dict:
    for domain in 'AB':
        for i in range(count):
            picture(root / f'train{domain}' / f'{i}.png', 8, 8)
    return config_with(data_root=str(root))


def lists_of(root: Path) -> dict:
    config = config_with()
    for domain in 'ab':
        folder = root / f'train{domain.upper()}'
        (root / f'{domain}.txt').write_text('\n'.join(sorted(path.name for path in folder.iterdir())))
        config |= {f'data_folder_train_{domain}': str(folder), f'data_list_train_{domain}': str(root / f'{domain}.txt')}
    return config


@pytest.mark.parametrize('mode', [lambda root, config: config, lambda root, config: lists_of(root)])
def test_without_test_images_some_training_images_are_held_out(tmp_path, capsys, mode):
    config = mode(tmp_path, two_folders(tmp_path))
    train, test = (find_images(config, split, 'a') for split in ('train', 'test'))
    assert len(test) == 2 and len(train) == 38 and not set(train) & set(test)
    assert 'not found; 2 of the 40 training images of A are used as test images' in capsys.readouterr().err
    assert names(test) == names(find_images(config, 'test', 'b'))   # the same in every run, and pairs stay pairs
    assert len(find_images({**config, 'test_share': 0.25}, 'test', 'b')) == 10
    assert check_config(dict(config), data=True) == [] and fault_of(config, 'train') == ''


def test_with_test_images_no_training_images_are_held_out(tmp_path):
    config = two_folders(tmp_path, 10)
    picture(tmp_path / 'testA' / 'x.png')
    assert names(find_images(config, 'test', 'a')) == ['x.png'] and len(find_images(config, 'train', 'a')) == 10
    assert len(find_images(config, 'train', 'b')) == 9


def test_a_single_image_is_trained_on_and_shown(tmp_path, capsys):
    config = two_folders(tmp_path, 1)
    assert find_images(config, 'train', 'a') == find_images(config, 'test', 'a')
    assert 'testA: not found; the only training image of A is also the test image' in capsys.readouterr().err


def test_test_folders_can_be_required(tmp_path):
    with pytest.raises(BadInput, match='testA: no such folder'):
        find_images({**two_folders(tmp_path, 2), 'test_share': 0}, 'test', 'a')
    for split in ('train', 'test'):
        with pytest.raises(BadInput, match=f'empty/{split}A: no such folder'):
            find_images({'data_root': str(tmp_path / 'empty')}, split, 'a')


# -- crops against the images that are there --------------------------------------------------------------------------

def shapes(root: Path, a: tuple[int, int], b: tuple[int, int], **changes) -> dict:
    for domain, size in (('A', a), ('B', b)):
        for i in range(3):
            picture(root / f'train{domain}' / f'{i}.png', *size)
            picture(root / f'test{domain}' / f'{i}.png', *size)
    return config_with(data_root=str(root), **changes)


LANDSCAPE = {'new_size': 64, 'crop_image_height': 64, 'crop_image_width': 128}


def test_landscape_images_are_trained_on(tmp_path):
    config = shapes(tmp_path, (200, 100), (300, 120), **LANDSCAPE)
    assert check_config(config, data=True) == []
    assert all(training_set(config, domain)[0].shape == (3, 64, 128) for domain in 'ab')
    assert display_set(config, 'test', 'a')[0].shape == (3, 64, 64)


def test_portrait_and_sizes_of_each_domain(tmp_path):
    config = shapes(tmp_path, (100, 150), (100, 300), crop_image_height=96, crop_image_width=64, new_size_a=64,
                    new_size_b=72)
    del config['new_size']
    assert check_config(config, data=True) == []
    assert training_set(config, 'a')[0].shape == training_set(config, 'b')[0].shape == (3, 96, 64)


@pytest.mark.parametrize('listed', [False, True])
def test_an_image_without_room_for_the_crop_is_named(tmp_path, listed):
    config = shapes(tmp_path, (200, 100), (200, 100), **LANDSCAPE)
    picture(tmp_path / 'trainB' / '1.png', 150, 100)
    if listed:
        config = {**lists_of(tmp_path), **LANDSCAPE, 'test_share': 0.01}
    line, = check_config(config, data=True)
    assert line == (f'crop_image_width: 128 is larger than {tmp_path}/trainB/1.png, 96×64 pixels (width × height) with '
                    f'its shorter side resized to 64 (1 of {2 if listed else 3} sampled images are too small); set '
                    f'it to 96 or less, set resize: fit, raise new_size to 86 or more, or remove such images')


def test_crops_are_looked_at_only_where_the_sizes_are_known(tmp_path):
    config = shapes(tmp_path, (200, 100), (200, 100), **{**LANDSCAPE, 'crop_image_width': 256})
    for changes in ({'new_size': None}, {'new_size': 'big'}, {'gen': 5}):
        changed = {key: value for key, value in {**config, **changes}.items() if value is not None}
        assert not any('trainA' in fault for fault in check_config(changed, data=True))


def test_photographs_are_measured_as_they_are_turned(tmp_path):
    config = shapes(tmp_path, (200, 100), (200, 100), **LANDSCAPE)
    exif = Image.Exif()
    exif[0x0112] = 6
    picture(tmp_path / 'trainA' / '2.jpg', 200, 100, exif=exif)   # upright when it is shown
    line, = check_config(config, data=True)
    assert '2.jpg, 64×128 pixels' in line


def test_an_image_that_was_not_looked_at_is_passed_over_when_it_is_read(tmp_path, capsys):
    config = shapes(tmp_path, (200, 100), (200, 100), **LANDSCAPE)
    dataset = training_set(config, 'a')
    picture(tmp_path / 'trainA' / '0.png', 50, 50)
    assert dataset[0].shape == (3, 64, 128)
    assert dataset.broken.tolist() == [True, False, False]
    line = capsys.readouterr().err
    assert '0.png: 64×64 pixels after resizing (width × height), less than the crop of 128×64' in line


def test_images_are_fitted_to_the_crop(tmp_path):
    config = shapes(tmp_path, (200, 100), (64, 256), resize='fit', crop_image_height=96, crop_image_width=64)
    assert check_config(config, data=True) == []
    for domain in 'ab':
        path = find_images(config, 'test', domain)[0]
        wanted = np.asarray(Image.open(path).resize((64, 96), Image.Resampling.BILINEAR), np.float32) / 127.5 - 1
        for split in ('train', 'test'):
            found = display_set(config, split, domain)[0]
            assert found.shape == (3, 96, 64)
        assert np.abs(found.permute(1, 2, 0).numpy() - wanted).max() < 1e-6
        assert training_set(config, domain)[0].shape == (3, 96, 64)


def test_images_are_cropped_as_they_are(tmp_path):
    config = shapes(tmp_path, (200, 100), (120, 96), resize='none', crop_image_height=96, crop_image_width=120)
    del config['new_size']
    assert check_config(config, data=True) == []
    found = display_set(config, 'train', 'a')[0].permute(1, 2, 0)
    assert torch.equal(found, torch.from_numpy(
        np.asarray(Image.open(tmp_path / 'trainA' / '0.png'), np.float32)[2:98, 40:160] / 255) * 2 - 1)
    config['crop_image_width'] = 124
    line, = check_config(config, data=True)
    assert 'crop_image_width: 124 is larger than' in line and 'trainB/0.png, 120×96 pixels' in line


# -- flips ------------------------------------------------------------------------------------------------------------

def test_flips_can_be_turned_off_and_made_vertical(tmp_path):
    column = Image.fromarray(np.arange(40, dtype=np.uint8)[:, None].repeat(60, 1))
    row = Image.fromarray(np.arange(60, dtype=np.uint8)[None].repeat(40, 0))
    torch.manual_seed(0)
    never = Transform(0, augment=True, flip=False)
    assert all(torch.equal(never(row), Transform()(row)) for _ in range(20))
    both = Transform(0, augment=True, flip_vertical=True)
    assert len({bool(both(column)[0, 0, 0] > both(column)[0, -1, 0]) for _ in range(20)}) == 2
    config = shapes(tmp_path, (60, 40), (60, 40), flip=False, flip_vertical=True)
    transform = training_set(config, 'a').transform
    assert (transform.flip, transform.flip_vertical) == (False, True)


# -- pairs ------------------------------------------------------------------------------------------------------------

def test_pairs_may_have_other_endings(tmp_path):
    for name in ('b', 'a', 'c'):
        picture(tmp_path / 'trainA' / f'{name}.png')
        picture(tmp_path / 'trainB' / f'{name}.jpg')
    config = {**config_with(data_root=str(tmp_path)), 'test_share': 0.3}
    assert fault_of(config, 'train') == fault_of(config, 'test') == ''
    sets = [ImageDataset(list_folder(tmp_path / folder), 3, Transform()) for folder in ('trainA', 'trainB')]
    sets[1].paths.reverse()
    align(*sets)
    assert [path.stem for path in sets[0].paths] == [path.stem for path in sets[1].paths]
    (tmp_path / 'trainB' / 'b.jpg').rename(tmp_path / 'trainB' / 'd.jpg')
    assert 'not pairs: a.png and 2 others of A have no counterpart' in fault_of({**config, 'test_share': 0}, 'train')


# -- images that come and go ------------------------------------------------------------------------------------------

def test_a_file_that_is_back_is_no_longer_counted_as_broken(tmp_path):
    for i in range(3):
        picture(tmp_path / f'{i}.png')
    dataset = ImageDataset(list_folder(tmp_path), 3, Transform())
    (tmp_path / '1.png').rename(tmp_path / 'away')
    dataset[1]
    assert dataset.broken.tolist() == [False, True, False]
    (tmp_path / 'away').rename(tmp_path / '1.png')
    dataset[1]
    assert not dataset.broken.any()


def test_a_tilde_is_the_users_folder(tmp_path, monkeypatch):
    monkeypatch.setenv('HOME', str(tmp_path))
    shapes(tmp_path / 'pictures', (64, 64), (64, 64))
    config = config_with(data_root='~/pictures', vgg_weights='~/vgg.pt')
    assert check_config(config, data=True) == []
    assert config['data_root'] == str(tmp_path / 'pictures') and config['vgg_weights'] == str(tmp_path / 'vgg.pt')


def test_evaluation_reads_as_training_does(tmp_path):
    from extras.metrics.own_metrics import TestImages
    config = shapes(tmp_path, (200, 100), (64, 256), resize='fit', crop_image_height=96, crop_image_width=64)
    for folder in ('testA', 'testB'):
        (tmp_path / folder).rename(tmp_path / f'_{folder}')
    images = TestImages(config, True, 5, 0)
    assert images.inputs == find_images(config, 'test', 'a') and len(images.inputs) == 1
    assert torch.equal(images.read('a', images.inputs)[0], display_set(config, 'test', 'a')[0])
    config |= {'resize': 'shorter', 'new_size': 64, 'crop_image_width': 96}
    with pytest.raises(BadInput, match='png: 128×64 pixels after resizing .*, less than the crop of 96×96'):
        TestImages(config, True, 5, 0).read('a', images.inputs)
