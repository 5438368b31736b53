"""The classifiers for IS and CIS: torchvision's Inception-v3, and a small network for small data sets.

Both take images in [0, 1] of their own input size. The keys of a state_dict show which of them it belongs to.
"""
import torch
from torch import Tensor, nn

INCEPTION_SIZE = 299
SMALLEST_PICTURE, LARGEST_PICTURE = 16, 1024   # of the small network, which halves its input four times


class SmallClassifier(nn.Module):
    """Four convolutions with stride 2 and batch norm, global average pooling, and a linear layer.

    Args:
        num_classes: number of outputs.
        size: height and width of its input in pixels; the state_dict holds it.
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
        """Height and width of its input in pixels."""
        return int(self.size)

    def forward(self, pictures: Tensor) -> Tensor:
        """(N, 3, size, size) in [0, 1] -> logits (N, classes)."""
        return self.fc(self.layers(pictures * 2 - 1).mean((2, 3)))


def make_inception(num_classes: int) -> nn.Module:
    """An Inception-v3 without auxiliary head and without trained weights: (N, 3, 299, 299) in [0, 1] -> (N, classes).

    As in the original, it applies `transform_input`, which expects images normalized for ImageNet; these are not.
    """
    from torchvision.models import inception_v3
    return inception_v3(weights=None, init_weights=False, aux_logits=False, transform_input=True,
                        num_classes=num_classes)


def is_small(state: dict) -> bool:
    """Whether a state_dict is that of a `SmallClassifier`."""
    return 'layers.0.weight' in state
