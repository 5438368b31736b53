"""Train the classifier for the metrics IS and CIS on a folder that contains a folder of images for each class.

    python scripts/train_classifier.py --data datasets/animals/classes_b --output models/classes_b.pt
    python scripts/train_classifier.py --data datasets/animals/classes_b --output models/classes_b.pt \\
        --network inception --weights inception_v3_google-0cc3c7bd.pth --size 256

Pass the result to evaluate.py and test_batch.py as --inception_b (or --inception_a). Drawn data sets have no class
folders; use their ground-truth factors as classes: --data datasets/D/testB --factors datasets/D/factors_test.json.
"""
import argparse
import json
import os
from collections.abc import Sequence
from pathlib import Path

import _root  # noqa: F401
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from core.checkpoints import load_file, put_file
from core.device import choose_device
from core.errors import BadInput, OneLineParser, shown
from core.files import given_files, make_folder, refuse_overwriting
from core.image_files import subfolders
from data import Transform, list_folder, read_image
from engine.cli import at_least, run_command
from extras.metrics.classifier import INCEPTION_SIZE, LARGEST_PICTURE, SMALLEST_PICTURE, SmallClassifier, make_inception
from extras.metrics.deep_metrics import TORCHVISION_INCEPTION, Missing, class_probabilities, fill
from utils import to_bytes, to_picture

LEARNING_RATE = {'small': 1e-3, 'inception': 1e-4}
CACHE_BYTES = 2 ** 30   # size of the cache of resized images


def parse_arguments(argv: list[str] | None = None):
    parser = OneLineParser(description='Train the classifier for the metrics IS and CIS.',
                           formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument('--data', required=True, help='a folder of class folders')
    parser.add_argument('--factors', default='', help='factors_test.json of the images in --data, in place of folders')
    parser.add_argument('--label', default='pattern', help='the factor to use as class: pattern, family or object')
    parser.add_argument('--output', required=True, help='the state_dict to write')
    parser.add_argument('--network', default='small', choices=tuple(LEARNING_RATE),
                        help="small: for few small images; inception: torchvision's Inception-v3")
    parser.add_argument('--weights', default='', help=f'initial weights of Inception-v3: {TORCHVISION_INCEPTION.name} '
                                                      f'(empty: from the cache of torch.hub)')
    parser.add_argument('--size', type=at_least(SMALLEST_PICTURE, LARGEST_PICTURE), default=64,
                        help='resolution of the images to classify, the same as new_size in their config')
    parser.add_argument('--epochs', type=at_least(1), default=30, help='number of epochs')
    parser.add_argument('--batch_size', type=at_least(2), default=32, help='images per iteration')
    parser.add_argument('--held_out', type=float, default=0.2, help='fraction of each class for measuring the accuracy')
    parser.add_argument('--seed', type=at_least(0, 2 ** 32 - 1), default=0,
                        help='random seed of the split, the weights and the order')
    parser.add_argument('--device', default='auto', help='auto, cpu, cuda, cuda:N or mps')
    opts = parser.parse_args(argv)
    if not 0 < opts.held_out < 1:
        parser.error(f'--held_out {opts.held_out}: not between 0 and 1')
    return opts


def main(argv: list[str] | None = None) -> None:
    opts = parse_arguments(argv)
    device = choose_device(opts.device)
    output = Path(opts.output)
    if output.is_dir():
        raise BadInput(f'--output {shown(output)}: is a directory; name a file')
    refuse_overwriting([output], given_files(opts), '--output')
    classes = classes_by_factors(opts) if opts.factors else classes_by_folder(opts.data)
    train, held_out = split(classes, opts.held_out, opts.seed)
    torch.manual_seed(opts.seed)
    network = make_network(opts, len(classes)).to(device)
    make_folder(output.parent, '--output')

    pictures = Pictures([path for path, _ in train + held_out], opts.size)
    labels = torch.tensor([label for _, label in train + held_out])
    fit(network, pictures, labels[:len(train)], opts, device)
    accuracy = accuracy_of(network, pictures, labels, range(len(train), len(labels)), device)
    commonest = labels[len(train):].bincount().max().item() / len(held_out)
    put_file({key: value.cpu() for key, value in network.state_dict().items()}, output, '--output')
    print(f'{len(classes)} classes: {", ".join(classes)}')
    print(f'accuracy on {len(held_out)} held-out pictures: {accuracy:.4f} (always predicting the most frequent class: '
          f'{commonest:.4f}), trained on {len(train)}')
    print(f'wrote {output}')


def classes_by_folder(data: str) -> dict[str, list[Path]]:
    """Return the images of each class folder by its name."""
    if not os.path.isdir(data):
        raise BadInput(f'--data {shown(data)}: no such folder')
    return {folder.name: list_folder(folder) for folder in subfolders(data)}


def classes_by_factors(opts: argparse.Namespace) -> dict[str, list[Path]]:
    """Return the images of each class, with the classes given in a factors_test.json."""
    try:
        entries = json.loads(Path(opts.factors).read_text(encoding='utf-8'))
        of_name = {entry['file']: entry[opts.label] for entry in entries}
        if not all(isinstance(label, str) for label in of_name.values()):
            raise ValueError(f'{opts.label} is no name')
    except OSError as error:
        raise BadInput(f'--factors {shown(opts.factors)}: {error.strerror}') from None
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise BadInput(f'--factors {shown(opts.factors)}: has no names under --label {shown(opts.label)} '
                       f'({shown(repr(error), 100)})') from None
    classes: dict[str, list[Path]] = {}
    for path in list_folder(opts.data):
        if path.name not in of_name:
            raise BadInput(f'--factors {shown(opts.factors)}: does not name {shown(path)}')
        classes.setdefault(of_name[path.name], []).append(path)
    return dict(sorted(classes.items()))


def split(classes: dict[str, list[Path]], share: float, seed: int) -> tuple[list, list]:
    """Return pairs (path, label) for training, and for a held-out fraction of each class with at least one image."""
    if len(classes) < 2:
        raise BadInput(f'--data: {len(classes)} classes are too few; a folder of pictures for each of at least two')
    train, held_out, generator = [], [], torch.Generator().manual_seed(seed)
    for label, (name, paths) in enumerate(classes.items()):
        if len(paths) < 2:
            raise BadInput(f'--data: the class {shown(name)} has {len(paths)} images; at least two are required')
        order = torch.randperm(len(paths), generator=generator).tolist()
        kept = min(len(paths) - 1, max(1, round(share * len(paths))))
        held_out += [(paths[i], label) for i in order[:kept]]
        train += [(paths[i], label) for i in order[kept:]]
    return train, held_out


def make_network(opts: argparse.Namespace, num_classes: int) -> nn.Module:
    """Build the network with its initial weights.

    Raises:
        BadInput: the weights of Inception-v3 are missing, or are those of another network.
    """
    if opts.network == 'small':
        return SmallClassifier(num_classes, opts.size)
    try:
        path = TORCHVISION_INCEPTION.find(opts.weights, '--weights')
    except Missing as reason:
        raise BadInput(f'--network inception: {reason}') from None
    network = make_inception(num_classes)
    nn.init.normal_(network.fc.weight, std=0.01)
    nn.init.zeros_(network.fc.bias)
    state = {key: value for key, value in load_file(path, '--weights').items()
             if not str(key).startswith(('fc.', 'AuxLogits.'))}
    state.update({f'fc.{key}': value for key, value in network.fc.state_dict().items()})
    fill(network, state, f'--weights {shown(path)}', "torchvision's Inception-v3")
    return network


class Pictures:
    """The pictures of some files, the shorter side resized to `size` and cropped square; kept where they are few."""

    def __init__(self, paths: Sequence[Path], size: int):
        self.paths, self.transform = paths, Transform(size, crop=(size, size))
        self.kept: dict[int, Tensor] | None = {} if 3 * size * size * len(paths) <= CACHE_BYTES else None

    def read(self, indices: Sequence[int]) -> Tensor:
        """(N, 3, size, size) in [-1, 1]."""
        return torch.stack([self._one(i) for i in indices]).movedim(-1, 1) / 127.5 - 1

    def _one(self, i: int) -> Tensor:
        if self.kept is not None and i in self.kept:
            return self.kept[i]
        pixels = to_bytes(to_picture(self.transform(read_image(self.paths[i], 3))))
        if self.kept is not None:
            self.kept[i] = pixels
        return pixels


def fit(network: nn.Module, pictures: Pictures, labels: Tensor, opts: argparse.Namespace, device: torch.device) -> None:
    """Train on the first len(labels) pictures, each flipped at random."""
    size = getattr(network, 'input_size', INCEPTION_SIZE)
    optimizer = torch.optim.Adam(network.parameters(), lr=LEARNING_RATE[opts.network], weight_decay=1e-4)
    with tqdm(range(opts.epochs), unit=' epochs', disable=None, dynamic_ncols=True) as bar:
        for _ in bar:
            network.train()
            for batch in torch.randperm(len(labels)).split(opts.batch_size):
                if len(batch) < 2:   # batch norm has nothing to compare a single picture with
                    continue
                x = pictures.read(batch.tolist()).to(device)
                flipped = torch.rand(len(x), device=device) < 0.5
                x = torch.where(flipped[:, None, None, None], x.flip(3), x)
                # As `class_probabilities` shows them.
                x = F.interpolate((x + 1) / 2, size=(size, size), mode='bilinear', align_corners=False)
                loss = F.cross_entropy(network(x), labels[batch].to(device))
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                bar.set_postfix(loss=f'{loss.item():.3f}', refresh=False)


def accuracy_of(network: nn.Module, pictures: Pictures, labels: Tensor, which: range, device: torch.device) -> float:
    """Share of the pictures `which` whose likeliest class is theirs."""
    network.eval()
    right = 0
    for batch in torch.tensor(which).split(32):
        found = class_probabilities(network, pictures.read(batch.tolist()).to(device)).argmax(1)
        right += int((found == labels[batch]).sum())
    return right / len(which)


if __name__ == '__main__':
    run_command(main)
