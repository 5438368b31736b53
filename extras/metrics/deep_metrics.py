"""Figures that look through a trained network: IS and CIS, LPIPS diversity, FID and KID.

Nothing is downloaded: weights come from a file that the user names or from the cache of torch.hub, and where there are
none, `Missing` says which file is wanted and where it goes.
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

IMAGES_AT_ONCE = 32   # that a network looks at together
LPIPS_HEADS = ('0.1', '0.0')
LPIPS_SMALLEST = 64   # what AlexNet's poolings leave something of
KID_SUBSETS, KID_SUBSET_SIZE = 100, 1000


class Missing(Exception):
    """What a figure needs and this machine lacks, in one line that says where to put it."""


class Weights(NamedTuple):
    """A published file of weights: its name, which ends in the first digits of its SHA-256, and where it is from."""
    name: str
    url: str

    def find(self, given: str, flag: str) -> Path:
        """The file that the user names, or that of the cache.

        Raises:
            Missing: none is named, and the cache has none.
        """
        if given:
            return Path(given)
        cached = Path(torch.hub.get_dir()) / 'checkpoints' / self.name
        if os.path.isfile(cached):
            return cached
        raise Missing(f'{self.name} is not in {shown(cached.parent)}; put it there, or name it with {flag} FILE '
                      f'(from {self.url}{self.name})')

    def describe(self, path: Path) -> str:
        """The name of a file, and whether it holds the published weights."""
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

    Raises:
        BadInput: it is not that of `what`, or holds numbers that are none.
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
# Both look at p(y|x), what a classifier of the target domain's classes says of each output x (paper, section 5.3).

def load_inception(path: str, flag: str) -> nn.Module:
    """The classifier in a file: an Inception-v3, or the small network of scripts/train_classifier.py.

    Its last layer has as many classes as the state_dict says.

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
        raise BadInput(f'{named}: made for pictures of {network.input_size} pixels, not from {SMALLEST_PICTURE} to '
                       f'{LARGEST_PICTURE}')
    return network.requires_grad_(False).eval()


@torch.inference_mode()
def class_probabilities(network: nn.Module, images: Tensor) -> Tensor:
    """p(y|x) of images (N, 1 or 3, H, W) in [-1, 1], a few at a time: (N, classes) on the CPU."""
    size = getattr(network, 'input_size', INCEPTION_SIZE)
    probabilities = []
    for part in images.split(IMAGES_AT_ONCE):
        pictures = (part.expand(-1, 3, -1, -1) + 1) / 2
        resized = F.interpolate(pictures, size=(size, size), mode='bilinear', align_corners=False)
        probabilities.append(network(resized).softmax(1))
    return torch.cat(probabilities).cpu()


def mean_divergence(probabilities: Tensor) -> float:
    """IS as the paper has it: mean over outputs of KL(p(y|x) ‖ p(y)), p(y) the mean over all outputs.

    Args:
        probabilities: (outputs, classes).
    """
    return _divergences(probabilities).mean().item()


def conditional_mean_divergence(probabilities: Sequence[Tensor]) -> float:
    """CIS as the paper has it: the mean over one input's outputs in the place of p(y). A single output an input: 0.

    Args:
        probabilities: (outputs, classes) for each input.
    """
    return torch.cat([_divergences(p) for p in probabilities]).mean().item()


def inception_score(probabilities: Tensor) -> float:
    """IS as the original prints it: exp of `mean_divergence`. From (outputs, classes)."""
    return _divergences(probabilities).mean().exp().item()


def conditional_inception_score(probabilities: Sequence[Tensor]) -> float:
    """CIS as the original prints it: exp of `conditional_mean_divergence`, diversity of one input."""
    return torch.cat([_divergences(p) for p in probabilities]).mean().exp().item()


def _divergences(probabilities: Tensor) -> Tensor:
    """KL(p ‖ mean of p) for each row."""
    p = probabilities.double()
    return (torch.special.xlogy(p, p) - torch.special.xlogy(p, p.mean(0, keepdim=True))).sum(1)


# ---------------------------------------------------------------------------------------------------------------------
# LPIPS diversity
# ---------------------------------------------------------------------------------------------------------------------

class Lpips:
    """LPIPS over AlexNet, with the heads that were published as versions 0.1 and 0.0.

    Args:
        path: torchvision's AlexNet; the heads lie in the library.
        flag: what named the file, for complaints.

    Raises:
        Missing: there is no library.
        BadInput: the file is not AlexNet's.
    """

    def __init__(self, path: str | Path, flag: str, device: torch.device):
        require('lpips')
        import lpips
        state = load_file(path, flag)
        self.normalize, self.networks, self.device = lpips.normalize_tensor, [], device
        for version in LPIPS_HEADS:
            with warnings.catch_warnings():
                warnings.simplefilter('ignore')   # it builds AlexNet in torchvision's old way
                network = lpips.LPIPS(net='alex', version=version, pnet_rand=True, verbose=False)
            fill(network.net, _as_trunk(state, network.net), f'{flag} {shown(path)}', "torchvision's AlexNet")
            self.networks.append(network.requires_grad_(False).eval().to(device))

    @torch.inference_mode()
    def __call__(self, images: Tensor, pairs: Sequence[tuple[int, int]]) -> Tensor:
        """Distances between images (N, 1 or 3, H, W) in [-1, 1] that `pairs` names: (pairs, heads) on the CPU.

        As the library computes them, but the features of an image are taken once for all of its pairs.
        """
        images = images.to(self.device).expand(-1, 3, -1, -1)
        first, second = (torch.tensor(side, device=self.device) for side in zip(*pairs, strict=True))
        distances = []
        for version, network in zip(LPIPS_HEADS, self.networks, strict=True):
            # Version 0.0 was published without the scaling of its input, and its head was fitted to that.
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
    """Weights of torchvision's AlexNet under the names that lpips gives to its convolutions: slice1.0 is features.0."""
    return {key: state[wanted] for key in trunk.state_dict()
            if (wanted := re.sub(r'slice\d+', 'features', key)) in state}


def following_pairs(n: int) -> list[tuple[int, int]]:
    """The n pairs of 2·n outputs of which each stands in one: random pairs, where the outputs are random."""
    return [(2 * k, 2 * k + 1) for k in range(n)]


def all_pairs(n: int) -> list[tuple[int, int]]:
    """All n·(n - 1)/2 pairs of n outputs."""
    return list(itertools.combinations(range(n), 2))


def mean_distance(distance: Callable[[Tensor, list], Tensor], groups: Iterable[Tensor],
                  pairs: Sequence[tuple[int, int]]) -> Tensor:
    """The mean over groups of images (S, C, H, W), an input's outputs each, of the mean distance of their `pairs`."""
    return torch.stack([distance(group, pairs).mean(0) for group in groups]).mean(0)


# ---------------------------------------------------------------------------------------------------------------------
# FID and KID
# ---------------------------------------------------------------------------------------------------------------------

class FidFeatures:
    """The 2048 features of the Inception of 2015 that FID and KID are defined on, by torch-fidelity.

    Raises:
        Missing: there is no library.
        BadInput: the file is not that network's. (torchvision's Inception-v3 is another: its FIDs are other numbers.)
    """

    def __init__(self, path: str | Path, flag: str, device: torch.device):
        require('torch_fidelity')
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
        state, memory = load_file(path, flag), io.BytesIO()
        if 'fc.weight' not in state or getattr(state['fc.weight'], 'shape', ())[:1] != (1008,):
            raise BadInput(f"{flag} {shown(path)}: not torch-fidelity's Inception ({FID_INCEPTION.name}); that of "
                           f'torchvision is another network')
        # The library would run what a file says; it is handed what was read without that.
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
        """Pictures as bytes (N, H, W, 1 or 3) -> features (N, 2048) on the CPU."""
        images = pixels.to(self.device).movedim(-1, 1).expand(-1, 3, -1, -1)
        return torch.cat([self.network(part)[0].cpu() for part in images.split(IMAGES_AT_ONCE)])


def fid(one: Tensor, other: Tensor) -> float:
    """Fréchet distance of two sets of features (n, 2048): by torch-fidelity."""
    from torch_fidelity.metric_fid import KEY_METRIC_FID, fid_features_to_statistics, fid_statistics_to_metric
    statistics = [fid_features_to_statistics(features.double()) for features in (one, other)]
    return fid_statistics_to_metric(*statistics, verbose=False)[KEY_METRIC_FID]


def kid(one: Tensor, other: Tensor, seed: int) -> tuple[float, int]:
    """Kernel distance of two sets of features, and the size of the subsets: by torch-fidelity, its 100 random ones.

    A subset has 1000 pictures, as is usual, or all of the smaller set.
    """
    from torch_fidelity.metric_kid import KEY_METRIC_KID_MEAN, kid_features_to_metric
    size = min(KID_SUBSET_SIZE, len(one), len(other))
    found = kid_features_to_metric(one, other, kid_subsets=KID_SUBSETS, kid_subset_size=size, rng_seed=seed,
                                   verbose=False)
    return float(found[KEY_METRIC_KID_MEAN]), size
