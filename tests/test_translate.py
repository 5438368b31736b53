"""Translation of images of any size, and the scores of outputs."""
import math
import threading

import pytest
import torch
from parity import config_with, filled_trainer

from core.errors import BadInput
from core.threads import BackgroundCalls, prefetch
from engine.translator import Translator, pad_to, without_weights
from extras.metrics.deep_metrics import (
    class_probabilities,
    conditional_inception_score,
    inception_score,
    load_inception,
)
from networks import AdaINGen
from trainer import MUNIT_Trainer, UNIT_Trainer
from utils import to_bytes, to_picture

CPU = torch.device('cpu')
UNIT = {'recon_kl_w': 0.01, 'recon_kl_cyc_w': 0.01}


@pytest.fixture(scope='module')
def grey_to_colour(tmp_path_factory):
    """A config with one channel in A and three in B, and a folder with a snapshot of it."""
    folder = tmp_path_factory.mktemp('snapshot')
    config = config_with(input_dim_a=1)
    filled_trainer(MUNIT_Trainer, config).save(folder, 1)
    return config, folder / 'gen_00000001.pt'


def translator(grey_to_colour, a2b=True, **options) -> Translator:
    config, checkpoint = grey_to_colour
    return Translator(config, checkpoint, a2b, 'MUNIT', CPU, **options)


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
        wanted = made.target_gen.decode(made.source_gen.enc_content(image), style)
    assert torch.equal(made.translate(image, style), wanted)


def test_styles_decoded_together_equal_those_decoded_separately(grey_to_colour):
    made = translator(grey_to_colour)
    image, styles = torch.rand(1, 1, 40, 40), torch.randn(5, 8, 1, 1)
    alone = torch.cat([made.translate(image, style[None]) for style in styles])
    assert torch.allclose(made.translate(image, styles), alone, atol=1e-5)


@pytest.mark.parametrize('size', [(1, 1), (5, 40), (16, 16), (33, 47)])
def test_images_of_any_size_have_a_style(grey_to_colour, size):
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


def test_a_constant_image_is_translated_to_finite_values(grey_to_colour):
    assert translator(grey_to_colour).translate(torch.ones(1, 1, 64, 64), torch.randn(2, 8, 1, 1)).isfinite().all()


def test_padding_reflects_at_the_lower_right():
    image = torch.arange(12.0).view(1, 1, 3, 4)
    padded = pad_to(image, 4, 6)[0, 0]
    assert padded.shape == (4, 6)
    assert padded[0].tolist() == [0, 1, 2, 3, 2, 1] and padded[3, :4].tolist() == [4, 5, 6, 7]


def test_nothing_is_kept_but_the_halves_of_the_generators_that_translate(grey_to_colour):
    made = translator(grey_to_colour)
    modules = [value for value in vars(made).values() if isinstance(value, torch.nn.Module)]
    parts = [[name for name, _ in module.named_children()] for module in modules if isinstance(module, AdaINGen)]
    assert parts == [['enc_content'], ['enc_style', 'dec', 'mlp']]
    assert all(module in made.source_gen.children() for module in modules if not isinstance(module, AdaINGen))


# -- batches ----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('size', [(64, 64), (33, 47), (3, 5)])
@pytest.mark.parametrize('pixels', [1, 5 * 64 * 64, 10 ** 9])
def test_images_translated_together_equal_those_translated_separately(grey_to_colour, size, pixels):
    made = translator(grey_to_colour)
    images, styles = torch.rand(3, 1, *size) * 2 - 1, torch.randn(3, 2, 8, 1, 1)
    alone = torch.stack([made.translate(image[None], style) for image, style in zip(images, styles, strict=True)])
    together = made.translate_batch(images, styles, pixels)
    assert together.shape == (3, 2, 3, *size)
    # For 3×5 pixels, norms see four values per channel, and divide by deviations of almost 0.
    assert torch.allclose(together, alone, atol=1e-5 if min(size) > 8 else 1e-3)
    assert (alone[0] - alone[1]).abs().max() > 1e-2 and (alone[:, 0] - alone[:, 1]).abs().max() > 1e-2


def test_styles_without_an_axis_of_images_are_for_all_of_them(grey_to_colour):
    made = translator(grey_to_colour)
    images, styles = torch.rand(3, 1, 32, 32), torch.randn(2, 8, 1, 1)
    assert torch.equal(made.translate_batch(images, styles), made.translate_batch(images, styles.expand(3, 2, 8, 1, 1)))
    with pytest.raises(ValueError, match='styles for 2 images, but there are 3'):
        made.translate_batch(images, torch.randn(2, 2, 8, 1, 1))


def test_a_batch_of_unit_has_one_output_for_each_image(tmp_path):
    config = config_with(**UNIT)
    filled_trainer(UNIT_Trainer, config).save(tmp_path, 1)
    made = Translator(config, tmp_path / 'gen_00000001.pt', True, 'UNIT', CPU)
    images = torch.rand(3, 3, 30, 34)
    outputs = made.translate_batch(images, pixels_at_once=2 * 32 * 36)
    assert outputs.shape == (3, 1, 3, 30, 34)
    assert torch.allclose(outputs, torch.stack([made.translate(image[None]) for image in images]), atol=1e-5)


def test_batches_through_a_network_are_limited(grey_to_colour):
    made, seen = translator(grey_to_colour), []
    for module in (made.source_gen.enc_content, made.target_gen.dec):
        module.register_forward_pre_hook(lambda module, inputs: seen.append((type(module).__name__, len(inputs[0]))))
    made.translate_batch(torch.rand(3, 1, 32, 32), torch.randn(3, 2, 8, 1, 1), pixels_at_once=4 * 32 * 32)
    assert seen == [('ContentEncoder', 3), ('Decoder', 4), ('Decoder', 2)]   # content once, not once per style


def test_bf16_gives_32_bit_outputs_close_to_those_of_fp32(grey_to_colour):
    images, styles = torch.rand(2, 1, 64, 64) * 2 - 1, torch.randn(2, 8, 1, 1)
    exact = translator(grey_to_colour).translate_batch(images, styles)
    rounded = translator(grey_to_colour, precision='bf16').translate_batch(images, styles)
    assert rounded.dtype == torch.float32
    assert 0 < (rounded - exact).abs().mean() < 0.05 * exact.abs().mean()
    example = torch.rand(1, 3, 64, 64)
    style = translator(grey_to_colour, precision='bf16').encode_style(example)
    assert style.dtype == torch.float32
    assert torch.allclose(style, translator(grey_to_colour).encode_style(example), atol=0.02)


def test_a_translator_that_cannot_compile_says_so_in_one_line(grey_to_colour, monkeypatch):
    def compiled(function, **_):
        def fail(*_):
            raise torch._dynamo.exc.BackendCompilerFailed(function, RuntimeError('no compiler\nhere'), None)
        return fail

    monkeypatch.setattr(torch, 'compile', compiled)
    with pytest.raises(BadInput, match='--compile: .*no compiler') as error:
        translator(grey_to_colour, compile=True).translate(torch.rand(1, 1, 32, 32), torch.randn(1, 8, 1, 1))
    assert '\n' not in str(error.value)


def test_the_compiled_networks_are_used_for_translation(grey_to_colour, monkeypatch):
    calls = []

    def compiled(function, **_):
        def run(*inputs):
            calls.append(len(inputs[0]))
            return function(*inputs)
        return run

    images, styles = torch.rand(2, 1, 32, 32), torch.randn(3, 8, 1, 1)
    wanted = translator(grey_to_colour).translate_batch(images, styles)
    monkeypatch.setattr(torch, 'compile', compiled)
    assert torch.equal(translator(grey_to_colour, compile=True).translate_batch(images, styles), wanted)
    assert calls == [2, 6]


# -- weights straight into place --------------------------------------------------------------------------------------

def saved_again(grey_to_colour, folder, **options):
    config, checkpoint = grey_to_colour
    torch.save(torch.load(checkpoint, weights_only=True), folder / 'gen.pt', **options)
    return config, folder / 'gen.pt'


def test_weights_are_those_of_the_file_in_every_format(grey_to_colour, tmp_path):
    image, styles = torch.rand(1, 1, 32, 32), torch.randn(2, 8, 1, 1)
    wanted = translator(grey_to_colour).translate(image, styles)
    legacy = saved_again(grey_to_colour, tmp_path, _use_new_zipfile_serialization=False)
    assert torch.equal(translator(legacy).translate(image, styles), wanted)


def test_weights_of_other_precision_become_32_bit(grey_to_colour, tmp_path):
    config, checkpoint = grey_to_colour
    content = torch.load(checkpoint, weights_only=True)
    torch.save({name: {key: value.double() for key, value in state.items()} for name, state in content.items()},
               tmp_path / 'gen.pt')
    made = translator((config, tmp_path / 'gen.pt'))
    assert {value.dtype for value in made.target_gen.state_dict().values()} == {torch.float32}
    image, styles = torch.rand(1, 1, 32, 32), torch.randn(2, 8, 1, 1)
    assert torch.equal(made.translate(image, styles), translator(grey_to_colour).translate(image, styles))


def test_the_file_is_neither_changed_nor_needed_once_it_is_loaded(grey_to_colour, tmp_path):
    again = saved_again(grey_to_colour, tmp_path)
    before = again[1].read_bytes()
    made = translator(again)
    image, styles = torch.rand(1, 1, 32, 32), torch.randn(2, 8, 1, 1)
    wanted = made.translate(image, styles)
    again[1].write_bytes(bytes(len(before)))   # in place: weights that are still mapped from the file would be 0 now
    assert torch.equal(made.translate(image, styles), wanted)
    again[1].write_bytes(before)
    for parameter in [*made.source_gen.parameters(), *made.target_gen.parameters()]:
        parameter.zero_()
    assert again[1].read_bytes() == before


@pytest.mark.parametrize('name, key', [('a', 'dec.model.1.conv.bias'), ('b', 'enc_content.model.0.conv.bias'),
                                       ('a', 'enc_style.model.6.bias'), ('b', 'mlp.model.0.fc.bias')])
def test_the_halves_that_are_not_kept_are_checked_too(grey_to_colour, tmp_path, name, key):
    config, checkpoint = grey_to_colour
    content = torch.load(checkpoint, weights_only=True)
    key = next(entry for entry in content[name] if entry.startswith(key.split('.')[0]) and entry.endswith('.bias'))
    del content[name][key]
    torch.save(content, tmp_path / 'gen.pt')
    with pytest.raises(BadInput, match=f'the first is {key}'):
        translator((config, tmp_path / 'gen.pt'))


def test_networks_without_weights_have_their_buffers_and_what_is_built_later_has_both():
    with without_weights():
        empty = AdaINGen(3, config_with()['gen'])
    assert all(parameter.is_meta for parameter in empty.parameters())
    assert not any(buffer.is_meta for buffer in empty.buffers()) and list(empty.buffers())
    assert not any(parameter.is_meta for parameter in AdaINGen(3, config_with()['gen']).parameters())


# -- pictures and threads ---------------------------------------------------------------------------------------------

def test_pictures_are_stretched_each_by_itself():
    images = torch.stack([torch.linspace(-0.5, 0.5, 48), torch.linspace(0.1, 0.2, 48)]).view(2, 3, 4, 4)
    stretched = to_picture(images, normalize=True)
    assert stretched.flatten(1).amin(1).tolist() == [0, 0]
    assert stretched.flatten(1).amax(1).tolist() == pytest.approx([1, 1])
    assert torch.equal(to_bytes(stretched), torch.stack([to_bytes(to_picture(image, True)) for image in images]))


@pytest.mark.parametrize('workers', [0, 3])
def test_prefetched_items_keep_their_order_and_limit(workers):
    taken = []

    def items():
        for i in range(20):
            taken.append(i)
            yield i

    made = prefetch(lambda i: i * i, items(), workers, ahead=4)
    assert next(made) == 0
    assert len(taken) == (5 if workers else 1)
    assert list(made) == [i * i for i in range(1, 20)]


@pytest.mark.parametrize('workers', [0, 2])
def test_all_background_calls_are_made_and_the_first_error_is_raised(workers):
    made = []
    with BackgroundCalls(workers, most=3) as beside:
        for i in range(10):
            beside.call(made.append, i)
    assert sorted(made) == list(range(10))

    def fail(i: int) -> None:
        raise BadInput(f'call {i}')

    with pytest.raises(BadInput, match='call 0'), BackgroundCalls(workers, most=3) as beside:
        for i in range(10):
            beside.call(fail, i)
    with pytest.raises(BadInput, match='call 0'), BackgroundCalls(workers, most=3) as beside:
        beside.call(fail, 0)


def test_no_more_calls_wait_than_allowed_and_an_error_in_the_block_drops_them():
    may_go, begun, made = threading.Semaphore(0), [], []

    def wait(i: int) -> None:
        begun.append(i)
        assert may_go.acquire(timeout=30)
        made.append(i)

    with pytest.raises(KeyboardInterrupt), BackgroundCalls(1, most=3) as beside:
        for i in range(3):
            beside.call(wait, i)
        assert made == []
        threading.Timer(0.2, may_go.release).start()
        beside.call(wait, 3)   # comes back when the first is done
        assert made == [0]
        threading.Timer(0.2, may_go.release).start()
        raise KeyboardInterrupt
    assert begun == made == [0, 1]


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


def test_equally_frequent_classes_give_a_score_of_their_number():
    assert inception_score(torch.eye(7)) == pytest.approx(7)


@pytest.fixture(scope='module')
def classifier():
    from torchvision.models import inception_v3
    torch.manual_seed(0)
    network = inception_v3(weights=None, init_weights=False, num_classes=5, transform_input=True)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None
    # Set statistics and the last weights so that the output depends on the input.
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


def test_images_are_classified_a_few_at_a_time(classifier, monkeypatch):
    images, seen = torch.rand(5, 3, 30, 30) * 2 - 1, []
    together = class_probabilities(classifier, images)
    monkeypatch.setattr('extras.metrics.deep_metrics.IMAGES_AT_ONCE', 2)
    hook = classifier.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    assert torch.allclose(class_probabilities(classifier, images), together, atol=1e-5)
    hook.remove()
    assert seen == [2, 2, 1]


@pytest.mark.parametrize('content, words', [
    ({'x': torch.zeros(1)}, 'no fc.weight'), ({'fc.weight': torch.zeros(())}, 'no fc.weight'),
    ({'fc.weight': torch.zeros(5, 2048), 'x': 1}, 'not the state_dict of an Inception-v3'),
    ({'fc.weight': torch.zeros(5, 2048), 1: 2}, 'not the state_dict of an Inception-v3'),
    ({'fc.weight': torch.zeros(5, 2048)}, 'not the state_dict of an Inception-v3')])
def test_another_file_is_not_accepted_as_a_classifier(tmp_path, content, words):
    torch.save(content, tmp_path / 'file.pt')
    with pytest.raises(BadInput, match=words):
        load_inception(tmp_path / 'file.pt', '--inception_b')
