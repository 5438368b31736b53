"""Corrupted inputs: each kind of corruption has its effect at any size, and corrupted copies keep names and sizes."""
import pytest
import torch
from PIL import Image

from core.corruptions import GAPS, KINDS, NOISE_PARAMS, SMUDGES, SPECKS, STROKES, add_sketch_noise
from engine.cli import run_command
from scripts import draw_dirty_twin

SECOND, STROKE, SPECK, SMUDGE, GAP = range(KINDS)


def drawing(size=64, paper=1.0):
    """A frame of ink on paper."""
    image = torch.full((1, 1, size, size), paper)
    image[..., size // 4:size // 4 + size // 32, size // 4:-size // 4] = -paper
    image[..., size // 4:-size // 4, size // 4:size // 4 + size // 32] = -paper
    return image


def numbers(*kinds, seed=0):
    """Random numbers that apply these kinds of corruption and no others."""
    drawn = torch.rand(1, NOISE_PARAMS, generator=torch.Generator().manual_seed(seed))
    drawn[:, :KINDS] = 0.9
    drawn[:, list(kinds)] = 0.1
    return drawn


def test_the_number_of_random_values_for_all_corruptions():
    assert NOISE_PARAMS == KINDS + 4 * (SPECKS + GAPS + SMUDGES) + 5 * STROKES + 5


def test_without_corruption_the_image_is_unchanged():
    image = drawing()
    torch.testing.assert_close(add_sketch_noise(image, numbers()), image, atol=1e-6, rtol=0)


@pytest.mark.parametrize('paper', [1.0, -1.0])
@pytest.mark.parametrize('kind', [SECOND, STROKE, SPECK, SMUDGE])
def test_corruptions_add_ink(kind, paper):
    image = drawing(paper=paper)
    dirty = add_sketch_noise(image, numbers(kind))
    more = (image - dirty) * paper      # towards the ink
    assert more.max() > 0.05 and more.min() > -1e-5
    assert -1 <= dirty.min() and dirty.max() <= 1


@pytest.mark.parametrize('paper', [1.0, -1.0])
def test_gaps_remove_ink(paper):
    image = drawing(paper=paper)
    taken = [((add_sketch_noise(image, numbers(GAP, seed=seed)) - image) * paper) for seed in range(20)]
    assert all(one.min() > -1e-5 for one in taken) and max(one.max() for one in taken) > 1


def test_images_of_a_batch_are_corrupted_independently():
    images, each = drawing().expand(3, -1, -1, -1), torch.rand(3, NOISE_PARAMS)
    together = add_sketch_noise(images, each)
    for i in range(3):
        torch.testing.assert_close(together[i:i + 1], add_sketch_noise(images[i:i + 1], each[i:i + 1]))
    assert not torch.equal(together[0], together[1])


def test_corruption_looks_the_same_at_all_sizes():
    each = numbers(SPECK, SMUDGE, STROKE, seed=3)
    small, large = add_sketch_noise(drawing(64), each), add_sketch_noise(drawing(256), each)
    reduced = torch.nn.functional.avg_pool2d(large, 4)
    assert (reduced - small).abs().mean() < 0.05 * 2


def test_colours_and_wide_images():
    images = torch.rand(2, 3, 40, 56) * 2 - 1
    dirty = add_sketch_noise(images, torch.zeros(2, NOISE_PARAMS))
    assert dirty.shape == images.shape and dirty.isfinite().all()


def twin(*arguments):
    draw_dirty_twin.main([str(argument) for argument in arguments])


def test_the_corrupted_copy_of_a_folder_keeps_names_and_sizes_and_depends_on_the_seed(tmp_path):
    (tmp_path / 'clean').mkdir()
    for name, size in (('one.png', 64), ('two.jpg', 96)):
        Image.fromarray(((drawing(size)[0, 0] + 1) * 127).byte().numpy()).save(tmp_path / 'clean' / name)
    for output, seed in (('first', 1), ('again', 1), ('other', 2)):
        twin('--input', tmp_path / 'clean', '--output', tmp_path / output, '--seed', seed)
    names = sorted(path.name for path in (tmp_path / 'first').iterdir())
    assert names == ['one.png', 'two.jpg']
    with Image.open(tmp_path / 'first' / 'two.jpg') as picture:
        assert picture.size == (96, 96)
    contents = {output: [(tmp_path / output / name).read_bytes() for name in names]
                for output in ('clean', 'first', 'again', 'other')}
    assert contents['first'] == contents['again'] and contents['first'] != contents['other']


@pytest.mark.parametrize('arguments, line', [
    (('--input', 'nowhere', '--output', '{tmp}/x'), '--input nowhere: no such folder'),
    (('--input', '{tmp}', '--output', '{tmp}'), '--output: {tmp}/one.png is an input and would be overwritten')])
def test_faults_of_the_corruption_script_are_one_line(tmp_path, capsys, arguments, line):
    Image.new('L', (32, 32)).save(tmp_path / 'one.png')
    with pytest.raises(SystemExit) as exit_info:
        run_command(lambda: twin(*(argument.format(tmp=tmp_path) for argument in arguments)))
    complaint = capsys.readouterr().err
    assert exit_info.value.code == 2 and complaint.startswith(line.format(tmp=tmp_path))
    assert complaint.count('\n') == 1
