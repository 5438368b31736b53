"""Metrics that use a pretrained network: IS and CIS, LPIPS diversity, FID and KID.

Nothing is downloaded: weights are read from a file that the user names or from the cache of torch.hub. Where neither
exists, `Missing` says which file is needed and where to put it.
"""
import hashlib
import io
import itertools
import os
import re
import warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.checkpoints import fault_of_numbers, load_file, load_single
from core.errors import BadInput, shown
from extras.metrics.classifier import (
    INCEPTION_SIZE,
    LARGEST_PICTURE,
    SMALLEST_PICTURE,
    SmallClassifier,
    is_small,
    make_inception,
)

IMAGES_AT_ONCE = 32   # batch size of the networks
LPIPS_HEADS = ('0.1', '0.0')
LPIPS_SMALLEST = 64   # pixels; AlexNet's strides and poolings leave nothing of much smaller images
KID_SUBSETS, KID_SUBSET_SIZE = 100, 1000


class Missing(Exception):
    """A metric cannot be computed here. The message says in one line what is missing and where to put it."""


class Weights(NamedTuple):
    """A published file of weights: its name, which ends in the first digits of its SHA-256, and its folder's URL."""
    name: str
    url: str

    def find(self, given: str, flag: str) -> Path:
        """The file that the user names, or the one in the cache of torch.hub.

        Raises:
            Missing: the user names no file, and it is not in the cache.
        """
        if given:
            return Path(given)
        cached = Path(torch.hub.get_dir()) / 'checkpoints' / self.name
        if os.path.isfile(cached):
            return cached
        raise Missing(f'{self.name} is not in {shown(cached.parent)}; put it there, or name it with {flag} FILE '
                      f'(from {self.url}{self.name})')

    def describe(self, path: Path) -> str:
        """The name of a file, marked where it does not hold the published weights."""
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        published = re.search(r'-([0-9a-f]{8})\.', self.name)[1]
        if digest.startswith(published):
            return self.name
        return f'{shown(path.name)} (SHA-256 {digest[:8]}…: NOT the published {self.name})'


ALEXNET = Weights('alexnet-owt-7be5be79.pth', 'https://download.pytorch.org/models/')
FID_INCEPTION = Weights('weights-inception-2015-12-05-6726825d.pth',
                        'https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/')
TORCHVISION_INCEPTION = Weights('inception_v3_google-0cc3c7bd.pth', 'https://download.pytorch.org/models/')


def require(library: str) -> None:
    """Import an optional library.

    Raises:
        Missing: it is not installed.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            __import__(library)
    except ImportError as error:
        raise Missing(f'the library {library} cannot be imported ({shown(error, 100)}); pip install -r '
                      f'requirements/eval.txt') from None


def fill(network: nn.Module, state: dict, named: str, what: str) -> None:
    """Load a state_dict into a network, strictly.

    Args:
        named: the flag and file, for messages.
        what: the kind of network, for messages.

    Raises:
        BadInput: keys or shapes differ from the network's, or a weight is not finite.
    """
    own = network.state_dict()
    if {k: getattr(v, 'shape', None) for k, v in state.items()} != {k: v.shape for k, v in own.items()}:
        raise BadInput(f'{named}: not the state_dict of {what}')
    fault = fault_of_numbers(state, own)
    if fault:
        raise BadInput(f'{named}: {fault}')
    network.load_state_dict(state)


# ---------------------------------------------------------------------------------------------------------------------
# Inception Score and Conditional Inception Score
# ---------------------------------------------------------------------------------------------------------------------
# Both use p(y|x), the class probabilities that a classifier of the target domain gives to an output x (section 5.3).

def load_inception(path: str, flag: str) -> nn.Module:
    """The classifier in a file: an Inception-v3, or the small network of scripts/train_classifier.py. The number of
    classes follows from the state_dict.

    Raises:
        BadInput: the file cannot be read, or holds another network.
    """
    state = load_single(path, r'layers|size|fc|(Conv2d|Mixed)_\w+|AuxLogits', flag)
    last, named = state.get('fc.weight'), f'{flag} {shown(path)}'
    if not isinstance(last, Tensor) or last.dim() != 2:
        raise BadInput(f'{named}: not the state_dict of an Inception-v3 (it has no fc.weight)')
    if is_small(state):
        network, what = SmallClassifier(len(last)), "scripts/train_classifier.py's small network"
    else:
        network, what = make_inception(len(last)), 'an Inception-v3'
        state = {key: value for key, value in state.items() if not str(key).startswith('AuxLogits.')}
    own = network.state_dict()
    state.update({key: own[key] for key in own if key.endswith('num_batches_tracked') and key not in state})
    fill(network, state, named, what)
    if is_small(state) and not SMALLEST_PICTURE <= network.input_size <= LARGEST_PICTURE:
        raise BadInput(f'{named}: its input size is {network.input_size} pixels; allowed are {SMALLEST_PICTURE} to '
                       f'{LARGEST_PICTURE}')
    return network.requires_grad_(False).eval()


@torch.inference_mode()
def class_probabilities(network: nn.Module, images: Tensor) -> Tensor:
    """p(y|x) of images (N, 1 or 3, H, W) in [-1, 1], computed in batches: (N, classes) on the CPU."""
    size = getattr(network, 'input_size', INCEPTION_SIZE)
    probabilities = []
    for part in images.split(IMAGES_AT_ONCE):
        pictures = (part.expand(-1, 3, -1, -1) + 1) / 2
        resized = F.interpolate(pictures, size=(size, size), mode='bilinear', align_corners=False)
        probabilities.append(network(resized).softmax(1))
    return torch.cat(probabilities).cpu()


def mean_divergence(probabilities: Tensor) -> float:
    """IS as the paper defines it: the mean over outputs of KL(p(y|x) ‖ p(y)), where p(y) is the mean over all outputs.

    Args:
        probabilities: (outputs, classes).
    """
    return _divergences(probabilities).mean().item()


def conditional_mean_divergence(probabilities: Sequence[Tensor]) -> float:
    """CIS as the paper defines it: as IS, with the mean over one input's outputs instead of p(y). It is 0 where inputs
    have a single output.

    Args:
        probabilities: (outputs, classes) for each input.
    """
    return torch.cat([_divergences(p) for p in probabilities]).mean().item()


def inception_score(probabilities: Tensor) -> float:
    """IS as the original code prints it: exp of `mean_divergence`. The argument is (outputs, classes)."""
    return _divergences(probabilities).mean().exp().item()


def conditional_inception_score(probabilities: Sequence[Tensor]) -> float:
    """CIS as the original code prints it: exp of `conditional_mean_divergence`."""
    return torch.cat([_divergences(p) for p in probabilities]).mean().exp().item()


def _divergences(probabilities: Tensor) -> Tensor:
    """KL(p ‖ mean of p) for each row."""
    p = probabilities.double()
    return (torch.special.xlogy(p, p) - torch.special.xlogy(p, p.mean(0, keepdim=True))).sum(1)


# ---------------------------------------------------------------------------------------------------------------------
# LPIPS diversity
# ---------------------------------------------------------------------------------------------------------------------

class Lpips:
    """LPIPS on AlexNet, with the heads that were published as versions 0.1 and 0.0.

    Args:
        path: weights of torchvision's AlexNet; the library contains the heads.
        flag: the flag that names the file, for messages.

    Raises:
        Missing: the library `lpips` is not installed.
        BadInput: the file does not hold AlexNet's weights.
    """

    def __init__(self, path: str | Path, flag: str, device: torch.device):
        require('lpips')
        import lpips
        state = load_file(path, flag)
        self.normalize, self.networks, self.device = lpips.normalize_tensor, [], device
        for version in LPIPS_HEADS:
            with warnings.catch_warnings():
                warnings.simplefilter('ignore')   # it passes deprecated arguments to torchvision
                network = lpips.LPIPS(net='alex', version=version, pnet_rand=True, verbose=False)
            fill(network.net, _as_trunk(state, network.net), f'{flag} {shown(path)}', "torchvision's AlexNet")
            self.networks.append(network.requires_grad_(False).eval().to(device))

    @torch.inference_mode()
    def __call__(self, images: Tensor, pairs: Sequence[tuple[int, int]]) -> Tensor:
        """Distances between pairs of images.

        The values are those of the library, but the features of an image are computed once for all of its pairs.

        Args:
            images: (N, 1 or 3, H, W) in [-1, 1].
            pairs: indices of images.

        Returns:
            (pairs, heads) on the CPU.
        """
        images = images.to(self.device).expand(-1, 3, -1, -1)
        first, second = (torch.tensor(side, device=self.device) for side in zip(*pairs, strict=True))
        distances = []
        for version, network in zip(LPIPS_HEADS, self.networks, strict=True):
            # Version 0.0 was published without input scaling, and its head was fitted without it.
            scale = network.scaling_layer if version == '0.1' else nn.Identity()
            parts = [network.net(scale(part)) for part in images.split(IMAGES_AT_ONCE)]
            total = torch.zeros(len(pairs), device=self.device)
            for layer, head in enumerate(network.lins):
                features = torch.cat([self.normalize(part[layer]) for part in parts])
                for at in torch.arange(len(pairs), device=self.device).split(IMAGES_AT_ONCE):
                    difference = (features[first[at]] - features[second[at]]) ** 2
                    total[at] += head(difference).mean((1, 2, 3))
            distances.append(total)
        return torch.stack(distances, 1).cpu()


def _as_trunk(state: dict, trunk: nn.Module) -> dict:
    """The weights of torchvision's AlexNet under the keys that lpips gives to its convolutions, such as slice1.0 for
    features.0.
    """
    return {key: state[wanted] for key in trunk.state_dict()
            if (wanted := re.sub(r'slice\d+', 'features', key)) in state}


def consecutive_pairs(n: int) -> list[tuple[int, int]]:
    """The n disjoint pairs (0, 1), (2, 3), … of 2·n outputs; random outputs make them random pairs."""
    return [(2 * k, 2 * k + 1) for k in range(n)]


def all_pairs(n: int) -> list[tuple[int, int]]:
    """All n·(n - 1)/2 pairs of n outputs."""
    return list(itertools.combinations(range(n), 2))


def mean_distance(distance: Callable[[Tensor, list], Tensor], groups: Iterable[Tensor],
                  pairs: Sequence[tuple[int, int]]) -> Tensor:
    """The distance of `pairs` of images, averaged over the pairs and over groups (S, C, H, W), one group per input."""
    return torch.stack([distance(group, pairs).mean(0) for group in groups]).mean(0)


# ---------------------------------------------------------------------------------------------------------------------
# FID and KID
# ---------------------------------------------------------------------------------------------------------------------

class FidFeatures:
    """The 2048 features of the Inception network of 2015, on which FID and KID are defined, by torch-fidelity.

    torchvision's Inception-v3 is a different network; its FIDs are not comparable.

    Raises:
        Missing: the library `torch_fidelity` is not installed.
        BadInput: the file does not hold this network's weights.
    """

    def __init__(self, path: str | Path, flag: str, device: torch.device):
        require('torch_fidelity')
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
        state, memory = load_file(path, flag), io.BytesIO()
        if 'fc.weight' not in state or getattr(state['fc.weight'], 'shape', ())[:1] != (1008,):
            raise BadInput(f"{flag} {shown(path)}: not torch-fidelity's Inception ({FID_INCEPTION.name}); "
                           f"torchvision's is a different network")
        # The library would unpickle the file without restrictions. It is given the tensors that were read safely.
        torch.save(state, memory)
        memory.seek(0)
        try:
            self.network = FeatureExtractorInceptionV3('inception', ['2048'], feature_extractor_weights_path=memory)
        except RuntimeError:
            raise BadInput(f"{flag} {shown(path)}: not torch-fidelity's Inception ({FID_INCEPTION.name})") from None
        self.network.to(device)
        self.device = device

    @torch.inference_mode()
    def __call__(self, pixels: Tensor) -> Tensor:
        """8-bit images (N, H, W, 1 or 3) -> features (N, 2048) on the CPU."""
        images = pixels.to(self.device).movedim(-1, 1).expand(-1, 3, -1, -1)
        return torch.cat([self.network(part)[0].cpu() for part in images.split(IMAGES_AT_ONCE)])


def fid(one: Tensor, other: Tensor) -> float:
    """Fréchet distance between two sets of features (n, 2048), by torch-fidelity."""
    from torch_fidelity.metric_fid import KEY_METRIC_FID, fid_features_to_statistics, fid_statistics_to_metric
    statistics = [fid_features_to_statistics(features.double()) for features in (one, other)]
    return fid_statistics_to_metric(*statistics, verbose=False)[KEY_METRIC_FID]


def kid(one: Tensor, other: Tensor, seed: int) -> tuple[float, int]:
    """Kernel distance between two sets of features (n, 2048), by torch-fidelity.

    It is the mean over 100 random subsets of 1000 images, as is usual, or of as many as the smaller set has.

    Returns:
        The distance and the size of the subsets.
    """
    from torch_fidelity.metric_kid import KEY_METRIC_KID_MEAN, kid_features_to_metric
    size = min(KID_SUBSET_SIZE, len(one), len(other))
    found = kid_features_to_metric(one, other, kid_subsets=KID_SUBSETS, kid_subset_size=size, rng_seed=seed,
                                   verbose=False)
    return float(found[KEY_METRIC_KID_MEAN]), size
