"""Damaged files, and outputs that would replace inputs."""
import os
import random

import pytest
import torch
from PIL import Image
from test_commands import complaint
from test_runs import TINY, data, tensors, train, write_config  # noqa: F401
from tiny import flags, make_model

import test as test_command
import test_batch as test_batch_command
from core.checkpoints import load_file
from core.errors import BadInput


def flip(path, place: int, bit: int) -> None:
    with open(path, 'r+b') as file:
        file.seek(place)
        byte = file.read(1)[0]
        file.seek(place)
        file.write(bytes([byte ^ 1 << bit]))


def same(one: dict, two: dict) -> bool:
    one, two = dict(tensors(one)), dict(tensors(two))
    return one.keys() == two.keys() and all(
        torch.equal(value, two[name]) if isinstance(value, torch.Tensor) else value == two[name]
        for name, value in one.items())


def test_a_flipped_bit_is_noticed_or_changes_nothing(tmp_path):
    rng, path = random.Random(0), tmp_path / 'state.pt'
    content = {'a': {f'layer{i}.weight': torch.randn(8, 8) for i in range(6)}, 'step': 7}
    torch.save(content, path)
    size, refused = os.path.getsize(path), 0
    for _ in range(400):
        place, bit = rng.randrange(size), rng.randrange(8)
        flip(path, place, bit)
        try:
            assert same(load_file(path), content), (place, bit)
        except BadInput as error:
            refused += 1
            assert str(path) in str(error)
        flip(path, place, bit)
    assert same(load_file(path), content) and refused > 100


def test_in_a_file_without_checksums_a_wrong_count_of_numbers_is_noticed(tmp_path):
    """The format before PyTorch 1.6 has no checksums, but each part states its number of values."""
    path = tmp_path / 'gen.pt'
    content = {'a': torch.randn(2, 3), 'b': torch.randn(6)}
    torch.save(content, path, _use_new_zipfile_serialization=False)
    size = os.path.getsize(path)
    for place in (size - 24 - 8, size - 2 * (24 + 8)):   # the counts of both
        for bit in range(8):
            flip(path, place, bit)
            with pytest.raises(BadInput, match='its length is not the declared one'):
                load_file(path)
            flip(path, place, bit)
    assert same(load_file(path), content)


@pytest.mark.slow
def test_a_run_does_not_resume_from_a_damaged_state(data, tmp_path):  # noqa: F811
    config = write_config(tmp_path, data, max_iter=8, num_workers=0)
    assert train(config, tmp_path).returncode == 0
    for kind in ('state', 'gen', 'dis'):
        path = tmp_path / f'outputs/tiny/checkpoints/{kind}_00000008.pt'
        flip(path, os.path.getsize(path) // 2, 3)
        done = train(config, tmp_path, '--resume', '--max_iter', 9)
        assert done.returncode == 0 and 'resumed from' in done.stdout and 'step 4' in done.stdout, done.stdout
        assert 'passed over step 8' in done.stderr
        for left in (tmp_path / 'outputs/tiny/checkpoints').glob('*_00000009.pt'):
            left.unlink()
        flip(path, os.path.getsize(path) // 2, 3)


@pytest.fixture(scope='module')
def model(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp('model'))


def test_no_output_replaces_an_input(model, tmp_path, capsys):
    pictures = tmp_path / 'pictures'
    pictures.mkdir()
    Image.new('RGB', (64, 64), 'red').save(pictures / 'output000.jpg')
    before = (pictures / 'output000.jpg').read_bytes()
    os.symlink(pictures, tmp_path / 'link')
    for folder in (pictures, tmp_path / 'link', pictures / '..' / 'pictures'):
        given = flags(model, input=pictures / 'output000.jpg', output_folder=folder)
        line = complaint(capsys, test_command.main, *given)
        assert '--output_folder' in line and 'would be overwritten' in line
    batch = tmp_path / 'rt_00'
    pictures.rename(batch)
    line = complaint(capsys, test_batch_command.main, *flags(model, input_folder=batch, output_folder=tmp_path / 'rt'))
    assert '--output_folder' in line and 'would be overwritten' in line
    assert (batch / 'output000.jpg').read_bytes() == before
