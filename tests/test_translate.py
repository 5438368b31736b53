"""Translation of images of any size, and the scores of what comes out."""
import math

import pytest
import torch
from parity import config_with, filled_trainer

from data import BadInput
from metrics import class_probabilities, conditional_inception_score, inception_score, load_inception
from networks import AdaINGen
from trainer import MUNIT_Trainer, UNIT_Trainer
from translate import Translator, pad_to

CPU = torch.device('cpu')
UNIT = {'recon_kl_w': 0.01, 'recon_kl_cyc_w': 0.01}


@pytest.fixture(scope='module')
def grey_to_colour(tmp_path_factory):
    """A config with one channel in A and three in B, and a folder with a snapshot of it."""
    folder = tmp_path_factory.mktemp('snapshot')
    config = config_with(input_dim_a=1)
    filled_trainer(MUNIT_Trainer, config).save(folder, 1)
    return config, folder / 'gen_00000001.pt'


def translator(grey_to_colour, a2b=True) -> Translator:
    config, checkpoint = grey_to_colour
    return Translator(config, checkpoint, a2b, 'MUNIT', CPU)


@pytest.mark.parametrize('a2b, channels_in, channels_out', [(True, 1, 3), (False, 3, 1)])
@pytest.mark.parametrize('size', [(1, 1), (3, 5), (1, 200), (17, 31), (64, 64), (66, 90), (143, 95)])
def test_the_output_has_the_size_of_the_input_and_the_channels_of_the_target(grey_to_colour, size, a2b, channels_in,
                                                                             channels_out):
    outputs = translator(grey_to_colour, a2b).translate(torch.rand(1, channels_in, *size), torch.randn(2, 8, 1, 1))
    assert outputs.shape == (2, channels_out, *size)
    assert outputs.isfinite().all() and outputs.abs().max() <= 1


@pytest.mark.parametrize('size', [(64, 64), (64, 96), (20, 36)])
def test_sizes_that_halve_evenly_are_translated_as_the_networks_do_it(grey_to_colour, size):
    made = translator(grey_to_colour)
    image, style = torch.rand(1, 1, *size), torch.randn(1, 8, 1, 1)
    with torch.no_grad():
        wanted = made.target_gen.decode(made.source_gen.encode(image)[0], style)
    assert torch.equal(made.translate(image, style), wanted)


def test_styles_decoded_together_are_those_decoded_alone(grey_to_colour, monkeypatch):
    made = translator(grey_to_colour)
    image, styles = torch.rand(1, 1, 40, 40), torch.randn(5, 8, 1, 1)
    together = made.translate(image, styles)
    monkeypatch.setattr('translate.PIXELS_AT_ONCE', 2 * 40 * 40)
    in_parts = made.translate(image, styles)
    alone = torch.cat([made.translate(image, style[None]) for style in styles])
    assert torch.allclose(together, alone, atol=1e-5) and torch.allclose(in_parts, alone, atol=1e-5)


@pytest.mark.parametrize('size', [(1, 1), (5, 40), (16, 16), (33, 47)])
def test_the_style_of_an_image_of_any_size_can_be_taken(grey_to_colour, size):
    made = translator(grey_to_colour)
    image = torch.rand(1, 3, *size)
    style = made.encode_style(image)
    assert style.shape == (1, 8, 1, 1)
    if min(size) >= 16:
        assert torch.equal(style, made.target_gen.enc_style(image))


def test_unit_translates_to_one_image(tmp_path):
    config = config_with(**UNIT)
    trainer = filled_trainer(UNIT_Trainer, config)
    trainer.save(tmp_path, 1)
    image = torch.rand(1, 3, 30, 30)
    outputs = Translator(config, tmp_path / 'gen_00000001.pt', False, 'UNIT', CPU).translate(image)
    with torch.no_grad():
        wanted = trainer.gen_a.decode(trainer.gen_b.enc(pad_to(image, 32, 32)))[:, :, :30, :30]
    assert torch.equal(outputs, wanted)


def test_a_constant_image_is_translated_to_numbers(grey_to_colour):
    assert translator(grey_to_colour).translate(torch.ones(1, 1, 64, 64), torch.randn(2, 8, 1, 1)).isfinite().all()


def test_padding_reflects_at_the_lower_right():
    image = torch.arange(12.0).view(1, 1, 3, 4)
    padded = pad_to(image, 4, 6)[0, 0]
    assert padded.shape == (4, 6)
    assert padded[0].tolist() == [0, 1, 2, 3, 2, 1] and padded[3, :4].tolist() == [4, 5, 6, 7]


def test_nothing_but_generators_is_built_to_translate(grey_to_colour):
    made = translator(grey_to_colour)
    modules = [value for value in vars(made).values() if isinstance(value, torch.nn.Module)]
    assert len(modules) == 2 and all(isinstance(module, AdaINGen) for module in modules)


# -- scores -----------------------------------------------------------------------------------------------------------

def score_by_hand(rows: list[list[float]]) -> list[float]:
    mean = [sum(column) / len(rows) for column in zip(*rows, strict=True)]
    return [sum(p * math.log(p / m) for p, m in zip(row, mean, strict=True) if p > 0) for row in rows]


def test_the_inception_score_is_exp_of_the_mean_divergence_from_all_outputs():
    rows = [[0.7, 0.2, 0.1], [0.1, 0.1, 0.8], [0.0, 1.0, 0.0], [1 / 3, 1 / 3, 1 / 3]]
    wanted = math.exp(sum(score_by_hand(rows)) / 4)
    assert inception_score(torch.tensor(rows)) == pytest.approx(wanted, rel=1e-5)


def test_the_conditional_score_compares_with_the_outputs_of_the_same_input():
    first, second = [[0.7, 0.2, 0.1], [0.1, 0.1, 0.8]], [[0.0, 1.0, 0.0], [0.5, 0.5, 0.0]]
    wanted = math.exp(sum(score_by_hand(first) + score_by_hand(second)) / 4)
    found = conditional_inception_score([torch.tensor(first), torch.tensor(second)])
    assert found == pytest.approx(wanted, rel=1e-5)


def test_a_model_with_one_output_an_input_has_a_conditional_score_of_1():
    rows = torch.rand(3, 1, 5).softmax(2).expand(3, 4, 5)
    assert conditional_inception_score(list(rows)) == pytest.approx(1)
    assert inception_score(rows.reshape(12, 5)) > 1


def test_all_classes_once_give_a_score_of_their_number():
    assert inception_score(torch.eye(7)) == pytest.approx(7)


@pytest.fixture(scope='module')
def classifier():
    from torchvision.models import inception_v3
    torch.manual_seed(0)
    network = inception_v3(weights=None, init_weights=False, num_classes=5, transform_input=True)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None
    # Statistics and last weights with which its output depends on its input.
    network.fc.weight.data.mul_(0.05)
    network(torch.nn.functional.interpolate(torch.rand(4, 1, 40, 50).expand(-1, 3, -1, -1), size=(299, 299)))
    return network.eval()


def test_a_classifier_is_loaded_with_its_classes_and_without_its_auxiliary_head(classifier, tmp_path):
    torch.save(classifier.state_dict(), tmp_path / 'inception.pt')
    loaded = load_inception(tmp_path / 'inception.pt', '--inception_b')
    images = torch.rand(2, 1, 40, 50) * 2 - 1
    enlarged = torch.nn.functional.interpolate((images.expand(-1, 3, -1, -1) + 1) / 2, size=(299, 299), mode='bilinear')
    with torch.no_grad():
        wanted = classifier(enlarged).softmax(1)
    assert (wanted[0] - wanted[1]).abs().max() > 1e-3
    assert torch.allclose(class_probabilities(loaded, images), wanted, atol=1e-5)


@pytest.mark.parametrize('content, words', [
    ({'x': torch.zeros(1)}, 'no fc.weight'), ({'fc.weight': torch.zeros(())}, 'no fc.weight'),
    ({'fc.weight': torch.zeros(5, 2048), 'x': 1}, 'not the state_dict of an Inception-v3'),
    ({'fc.weight': torch.zeros(5, 2048), 1: 2}, 'not the state_dict of an Inception-v3'),
    ({'fc.weight': torch.zeros(5, 2048)}, 'not the state_dict of an Inception-v3')])
def test_another_file_is_no_classifier(tmp_path, content, words):
    torch.save(content, tmp_path / 'file.pt')
    with pytest.raises(BadInput, match=words):
        load_inception(tmp_path / 'file.pt', '--inception_b')
