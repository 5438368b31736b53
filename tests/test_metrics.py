"""The metrics that use pretrained networks, with known results and against direct calls of the libraries."""
import hashlib
import math
import sys

import numpy as np
import pytest
import torch

from core.errors import BadInput
from extras.metrics import deep_metrics
from extras.metrics.classifier import SmallClassifier
from extras.metrics.deep_metrics import (
    ALEXNET,
    FID_INCEPTION,
    FidFeatures,
    Lpips,
    Missing,
    all_pairs,
    class_probabilities,
    conditional_inception_score,
    conditional_mean_divergence,
    consecutive_pairs,
    fid,
    inception_score,
    kid,
    load_inception,
    mean_distance,
    mean_divergence,
    require,
)

CPU = torch.device('cpu')


# -- IS and CIS -------------------------------------------------------------------------------------------------------

def test_all_classes_once_diverge_by_the_logarithm_of_their_number():
    assert mean_divergence(torch.eye(7)) == pytest.approx(math.log(7))
    assert conditional_mean_divergence([torch.eye(4), torch.eye(4)]) == pytest.approx(math.log(4))


def test_the_papers_scores_are_the_logarithms_of_the_originals():
    probabilities = torch.rand(3, 5, 4).softmax(2)
    together = probabilities.flatten(0, 1)
    assert math.exp(mean_divergence(together)) == pytest.approx(inception_score(together))
    assert math.exp(conditional_mean_divergence(list(probabilities))) == pytest.approx(
        conditional_inception_score(list(probabilities)))


def test_inputs_that_differ_give_is_and_no_cis():
    of_inputs = [torch.eye(3)[k].expand(10, 3) for k in range(3)]
    assert conditional_mean_divergence(of_inputs) == 0
    assert mean_divergence(torch.cat(of_inputs)) == pytest.approx(math.log(3))


def test_the_small_classifier_is_known_by_its_file_and_sees_pictures_at_its_own_size(tmp_path):
    torch.manual_seed(0)
    network = SmallClassifier(3, size=32).eval()
    torch.save(network.state_dict(), tmp_path / 'small.pt')
    loaded = load_inception(tmp_path / 'small.pt', '--inception_b')
    assert isinstance(loaded, SmallClassifier) and loaded.input_size == 32 and not loaded.training
    images, seen = torch.rand(2, 1, 40, 50) * 2 - 1, []
    loaded.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    found = class_probabilities(loaded, images)
    assert seen[0].shape == (2, 3, 32, 32) and 0 <= seen[0].min() and seen[0].max() <= 1
    with torch.no_grad():
        assert torch.allclose(found, network(seen[0]).softmax(1), atol=1e-6)


@pytest.mark.parametrize('change, words', [
    (lambda state: state.update({'fc.weight': torch.zeros(3, 5)}), 'small network'),
    (lambda state: state.pop('layers.3.weight'), 'small network'),
    (lambda state: state['fc.bias'].fill_(float('nan')), 'NaN'),
    (lambda state: state['size'].fill_(1), '1 pixels'), (lambda state: state['size'].fill_(10 ** 9), '16 to 1024')])
def test_a_broken_small_classifier_is_refused(tmp_path, change, words):
    state = SmallClassifier(3).state_dict()
    change(state)
    torch.save(state, tmp_path / 'small.pt')
    with pytest.raises(BadInput, match=words):
        load_inception(tmp_path / 'small.pt', '--inception_b')


# -- the pairs of LPIPS -----------------------------------------------------------------------------------------------

def test_the_papers_pairs_hold_each_output_once_and_stargan_v2s_all_of_them():
    assert consecutive_pairs(19)[:2] == [(0, 1), (2, 3)]
    assert sorted(i for pair in consecutive_pairs(19) for i in pair) == list(range(38))
    assert len(all_pairs(10)) == 45 == len(set(all_pairs(10)))
    assert all(i < j for i, j in all_pairs(10))


def test_the_mean_is_over_all_pairs_of_all_inputs():
    calls = []

    def distance(images: torch.Tensor, pairs: list) -> torch.Tensor:
        calls.append((len(images), len(pairs)))
        return torch.stack([(images[i] - images[j]).abs().mean() for i, j in pairs])[:, None] * torch.tensor([1.0, 2.0])

    groups = [torch.arange(38.0).view(38, 1, 1, 1), 3 * torch.arange(38.0).view(38, 1, 1, 1)]
    found = mean_distance(distance, groups, consecutive_pairs(19))
    assert calls == [(38, 19), (38, 19)]   # 2 inputs × 19 pairs
    assert found.tolist() == [2, 4]        # the pairs of the first differ by 1, those of the second by 3
    assert mean_distance(distance, [torch.tensor([0.0, 1, 3]).view(3, 1, 1, 1)], all_pairs(3))[0] == 2


@pytest.fixture(scope='module')
def alexnet(tmp_path_factory):
    """A file with weights of AlexNet's shapes."""
    from torchvision.models import alexnet
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp('weights') / 'alexnet.pth'
    torch.save(alexnet(weights=None).state_dict(), path)
    return path


def test_lpips_is_what_the_library_gives_when_called_directly(alexnet, monkeypatch):
    lpips = pytest.importorskip('lpips')
    monkeypatch.setattr(deep_metrics, 'IMAGES_AT_ONCE', 3)
    images, pairs = torch.rand(5, 3, 64, 64) * 2 - 1, [(0, 1), (3, 2), (4, 4), (1, 3)]
    found = Lpips(alexnet, '--alexnet', CPU)(images, pairs)
    state = torch.load(alexnet, weights_only=True)
    for k, version in enumerate(('0.1', '0.0')):
        network = lpips.LPIPS(net='alex', version=version, pnet_rand=True, verbose=False)
        own = network.net.state_dict()
        for key in own:
            own[key] = state['features.' + key.split('.', 1)[1]]
        network.net.load_state_dict(own)
        with torch.no_grad():
            wanted = torch.stack([network(images[i:i + 1], images[j:j + 1]).squeeze() for i, j in pairs])
        assert torch.allclose(found[:, k], wanted, rtol=1e-4, atol=1e-7)
    assert found[2].tolist() == [0, 0] and (found[0] > 0).all() and found[0, 0] != found[0, 1]


def test_another_file_is_not_alexnet(tmp_path, alexnet):
    pytest.importorskip('lpips')
    torch.save({'features.0.weight': torch.zeros(1)}, tmp_path / 'other.pth')
    with pytest.raises(BadInput, match="--alexnet .*not the state_dict of torchvision's AlexNet"):
        Lpips(tmp_path / 'other.pth', '--alexnet', CPU)


# -- FID and KID ------------------------------------------------------------------------------------------------------

def test_fid_is_the_frechet_distance_of_two_normal_distributions():
    pytest.importorskip('torch_fidelity')
    random = torch.Generator().manual_seed(0)
    one = torch.randn(400, 6, generator=random)
    other = torch.randn(300, 6, generator=random) * 2 + 1
    a, b = (np.cov(x.double().numpy(), rowvar=False) for x in (one, other))
    values = np.linalg.eigvals(a @ b)
    wanted = ((one.mean(0) - other.mean(0)) ** 2).sum() + np.trace(a) + np.trace(b) - 2 * np.sqrt(values.real).sum()
    assert fid(one, other) == pytest.approx(float(wanted), rel=1e-4)
    assert fid(one, one) == pytest.approx(0, abs=1e-6)
    assert fid(one, one + 3) == pytest.approx(6 * 9, rel=1e-5)


def test_kid_is_the_unbiased_kernel_distance(monkeypatch):
    pytest.importorskip('torch_fidelity')
    random = torch.Generator().manual_seed(0)
    one, other = torch.randn(50, 4, generator=random), torch.randn(50, 4, generator=random) + 0.5
    value, size = kid(one, other, seed=0)   # subsets contain all samples, so that all are equal

    def kernel(x, y):
        return (x.double() @ y.double().T / 4 + 1) ** 3

    within = sum((kernel(x, x).sum() - kernel(x, x).diagonal().sum()) / (50 * 49) for x in (one, other))
    assert size == 50 and value == pytest.approx(float(within - 2 * kernel(one, other).mean()), rel=1e-4)
    assert kid(torch.randn(30, 4), other, seed=0)[1] == 30


@pytest.fixture(scope='module')
def fid_inception(tmp_path_factory):
    """A file with weights of the shapes that torch-fidelity expects, and the network that has them."""
    library = pytest.importorskip('torch_fidelity.feature_extractor_inceptionv3')
    kind = library.FeatureExtractorInceptionV3
    torch.manual_seed(0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(library, 'load_state_dict_from_url', lambda *_, **__: {})
        patch.setattr(kind, 'load_state_dict', lambda *_: None)
        network = kind('inception', ['2048'])
    path = tmp_path_factory.mktemp('weights') / 'inception.pth'
    torch.save(network.state_dict(), path)
    return path, network


def test_features_are_those_of_the_library_in_any_batches(fid_inception, monkeypatch):
    path, network = fid_inception
    monkeypatch.setattr(deep_metrics, 'IMAGES_AT_ONCE', 2)
    pixels = torch.randint(0, 256, (3, 40, 40, 1), dtype=torch.uint8)
    found = FidFeatures(path, '--inception', CPU)(pixels)
    with torch.no_grad():
        wanted = network(pixels.movedim(-1, 1).expand(-1, 3, -1, -1))[0]
    assert found.shape == (3, 2048) and torch.allclose(found, wanted, rtol=1e-3, atol=1e-5)
    assert (found[0] - found[1]).abs().max() > 0


def test_torchvisions_inception_is_not_accepted_for_fid(tmp_path):
    pytest.importorskip('torch_fidelity')
    torch.save({'fc.weight': torch.zeros(1000, 2048)}, tmp_path / 'torchvision.pth')
    with pytest.raises(BadInput, match="torchvision's is a different network"):
        FidFeatures(tmp_path / 'torchvision.pth', '--inception', CPU)
    torch.save({'fc.weight': torch.zeros(1008, 2048)}, tmp_path / 'broken.pth')
    with pytest.raises(BadInput, match="not torch-fidelity's Inception"):
        FidFeatures(tmp_path / 'broken.pth', '--inception', CPU)


# -- weights ----------------------------------------------------------------------------------------------------------

def test_weights_are_looked_for_in_the_cache_and_else_named(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path))
    with pytest.raises(Missing) as error:
        ALEXNET.find('', '--alexnet')
    for words in ('alexnet-owt-7be5be79.pth', str(tmp_path / 'checkpoints'), '--alexnet FILE', 'https://'):
        assert words in str(error.value)
    assert '\n' not in str(error.value)
    (tmp_path / 'checkpoints').mkdir()
    cached = tmp_path / 'checkpoints' / ALEXNET.name
    cached.write_bytes(b'')
    assert ALEXNET.find('', '--alexnet') == cached
    assert str(ALEXNET.find('other.pth', '--alexnet')) == 'other.pth'


def test_weights_that_differ_from_the_published_ones_are_marked(tmp_path):
    path = tmp_path / 'weights.pth'
    path.write_bytes(b'made up')
    digest = hashlib.sha256(b'made up').hexdigest()
    assert 'NOT the published' in FID_INCEPTION.describe(path) and digest[:8] in FID_INCEPTION.describe(path)
    mine = deep_metrics.Weights(f'mine-{digest[:8]}.pth', 'https://')
    assert mine.describe(path) == mine.name


def test_a_library_that_is_not_there_is_named_with_what_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, 'lpips', None)
    with pytest.raises(Missing, match='the library lpips cannot be imported.*requirements/eval.txt'):
        require('lpips')
