"""The classifiers that IS and CIS look through: torchvision's Inception-v3, and a small network for small data.

Both take pictures in [0, 1] of their own `input_size`, and both are told apart by the names in their state_dicts.
"""
import torch
from torch import Tensor, nn

INCEPTION_SIZE = 299
SMALLEST_PICTURE, LARGEST_PICTURE = 16, 1024   # for the small network: less cannot be halved four times


class SmallClassifier(nn.Module):
    """Four halvings by convolution with batch norm, the mean over what is left, and a linear layer.

    Args:
        num_classes: of the last layer.
        size: side of the pictures that it takes; it is kept among the weights.
    """

    def __init__(self, num_classes: int, size: int = 64):
        super().__init__()
        layers, channels = [], 3
        for width in (32, 64, 128, 128):
            layers += [nn.Conv2d(channels, width, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
            channels = width
        self.layers = nn.Sequential(*layers)
        self.fc = nn.Linear(channels, num_classes)
        self.register_buffer('size', torch.tensor(size))

    @property
    def input_size(self) -> int:
        """Side of the pictures that it takes."""
        return int(self.size)

    def forward(self, pictures: Tensor) -> Tensor:
        """(N, 3, size, size) in [0, 1] -> scores (N, classes)."""
        return self.fc(self.layers(pictures * 2 - 1).mean((2, 3)))


def make_inception(num_classes: int) -> nn.Module:
    """An Inception-v3 without its auxiliary head, not yet with weights: (N, 3, 299, 299) in [0, 1] -> (N, classes).

    As in the original: it rescales its input as if it came normalised for ImageNet, which it does not.
    """
    from torchvision.models import inception_v3
    return inception_v3(weights=None, init_weights=False, aux_logits=False, transform_input=True,
                        num_classes=num_classes)


def is_small(state: dict) -> bool:
    """Whether a state_dict is of a `SmallClassifier`."""
    return 'layers.0.weight' in state
