"""Large images in tiles, which are blended where they overlap."""
import pytest
import torch
from parity import waves
from test_commands import complaint, save_noise
from tiny import flags, make_model

import test as test_command
import test_batch as test_batch_command
from engine.config import load_config
from engine.tiles import _tile_weights, translate_in_tiles
from engine.translator import make_translator


@pytest.fixture(scope='module')
def model(tmp_path_factory) -> dict:
    return make_model(tmp_path_factory.mktemp('model'))


@pytest.fixture(scope='module')
def translator(model):
    return make_translator(load_config(model['config']), model['checkpoint'], True, 'MUNIT', torch.device('cpu'))


@pytest.mark.parametrize('length, tile, overlap', [(100, 32, 8), (64, 32, 16), (33, 32, 0), (32, 32, 8), (20, 32, 8),
                                                   (70, 32, 4), (1000, 64, 32)])
def test_the_weights_of_tiles_sum_to_one_at_every_pixel(length, tile, overlap):
    total, covered = torch.zeros(length), []
    for start, weights in _tile_weights(length, tile, overlap):
        assert len(weights) == min(tile, length) and start + len(weights) <= length and weights.min() >= 0
        total[start:start + len(weights)] += weights
        covered.append(start)
    assert covered[0] == 0 and torch.allclose(total, torch.ones(length))
    assert len(covered) <= -(-length // max(1, tile - overlap))


def test_an_image_that_fits_in_a_tile_is_translated_at_once(translator):
    x, styles = waves(1, 2, 3, 64, 48), torch.randn(3, 8, 1, 1)
    wanted = translator.translate_batch(x, styles)
    for tile in (0, 64, 128):
        assert torch.equal(translate_in_tiles(translator, x, styles, tile, 16), wanted)


def test_each_tile_is_its_own_translation_and_neighbours_blend_linearly(translator):
    x, styles = waves(2, 1, 3, 64, 112), torch.randn(2, 8, 1, 1)
    found = translate_in_tiles(translator, x, styles, 64, 16)
    left, right = (translator.translate_batch(x[..., start:start + 64], styles) for start in (0, 48))
    assert found.shape == (1, 2, 3, 64, 112)
    torch.testing.assert_close(found[..., :48], left[..., :48])
    torch.testing.assert_close(found[..., 64:], right[..., 16:])
    share = (torch.arange(16) + 0.5) / 16
    torch.testing.assert_close(found[..., 48:64], left[..., 48:] * (1 - share) + right[..., :16] * share)


def test_the_commands_accept_tiles_and_refuse_invalid_sizes(model, tmp_path, capsys):
    save_noise(tmp_path / 'in' / 'large.png', (160, 120), seed=1)
    given = dict(num_style=1, new_size=0, tile=64, tile_overlap=16)
    test_command.main(flags(model, input=tmp_path / 'in' / 'large.png', output_folder=tmp_path / 'one', **given))
    test_batch_command.main([*flags(model, input_folder=tmp_path / 'in', output_folder=tmp_path / 'many', num_workers=0,
                                    format='png', **given), '--output_only'])
    assert (tmp_path / 'one/output000.jpg').exists() and (tmp_path / 'many_00/large.png').exists()
    for changes, words in (({'tile': 50}, '--tile 50: not a multiple of 4'),
                           ({'tile_overlap': 33}, '--tile_overlap 33: more than half of --tile 64')):
        line = complaint(capsys, test_command.main, *flags(
            model, input=tmp_path / 'in' / 'large.png', output_folder=tmp_path / 'x', **{**given, **changes}))
        assert words in line
