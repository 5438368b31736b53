"""Inception Score and Conditional Inception Score, as the original prints them.

Both look at p(y|x), what a classifier of the target domain's classes says of each output x (paper, section 5.3).
"""
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from checkpoints import load_file
from data import BadInput

IMAGES_AT_ONCE = 32   # that the classifier looks at together


def load_inception(path: str, flag: str) -> nn.Module:
    """An Inception-v3 whose last layer has as many classes as the state_dict in the file `path`.

    Raises:
        BadInput: the file cannot be read, or holds another network.
    """
    from torchvision.models import inception_v3

    state = load_file(path, flag)
    last = state.get('fc.weight')
    if not isinstance(last, Tensor) or last.dim() != 2:
        raise BadInput(f'{flag} {path}: not the state_dict of an Inception-v3 (it has no fc.weight)')
    # As in the original: the network rescales its input as if it came normalised for ImageNet, which it does not.
    network = inception_v3(weights=None, init_weights=False, aux_logits=False, transform_input=True,
                           num_classes=len(last))
    state = {key: value for key, value in state.items() if not str(key).startswith('AuxLogits.')}
    own = network.state_dict()
    state.update({key: own[key] for key in own if key.endswith('num_batches_tracked') and key not in state})
    if {k: getattr(v, 'shape', None) for k, v in state.items()} != {k: v.shape for k, v in own.items()}:
        raise BadInput(f'{flag} {path}: not the state_dict of an Inception-v3')
    network.load_state_dict(state)
    return network.requires_grad_(False).eval()


@torch.inference_mode()
def class_probabilities(network: nn.Module, images: Tensor) -> Tensor:
    """p(y|x) of images (N, 1 or 3, H, W) in [-1, 1], a few at a time: (N, classes) on the CPU."""
    probabilities = []
    for part in images.split(IMAGES_AT_ONCE):
        pictures = (part.expand(-1, 3, -1, -1) + 1) / 2
        enlarged = F.interpolate(pictures, size=(299, 299), mode='bilinear', align_corners=False)
        probabilities.append(network(enlarged).softmax(1))
    return torch.cat(probabilities).cpu()


def inception_score(probabilities: Tensor) -> float:
    """exp of the mean over outputs of KL(p(y|x) ‖ p(y)), p(y) the mean over all outputs. From (outputs, classes)."""
    return _divergences(probabilities).mean().exp().item()


def conditional_inception_score(probabilities: Sequence[Tensor]) -> float:
    """As `inception_score`, with the mean over one input's outputs in the place of p(y): diversity of one input.

    Args:
        probabilities: (outputs, classes) for each input.
    """
    return torch.cat([_divergences(p) for p in probabilities]).mean().exp().item()


def _divergences(probabilities: Tensor) -> Tensor:
    """KL(p ‖ mean of p) for each row."""
    p = probabilities.double()
    return (torch.special.xlogy(p, p) - torch.special.xlogy(p, p.mean(0, keepdim=True))).sum(1)
