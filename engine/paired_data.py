"""Pairs of images for BicycleGAN. Images of A and B with the same file name are a pair; where the extensions differ,
the names are compared without them.
"""
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from operator import attrgetter
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import Dataset

from core.errors import BadInput, shown
from data import Draw, ImageDataset, ImagesAway, dither_if_constant, find_images


def fault_of(config: dict, split: str) -> str:
    """Why the images of a split ('train' or 'test') are not pairs; '' if they are."""
    paths = [find_images(config, split, domain) for domain in 'ab']
    _, fault = _pairing(*paths)
    if not fault and split == 'train' and 'data_root' in config and _drawn_apart(Path(config['data_root'])):
        fault = ('trainA and trainB were drawn of different objects under the same names (drawn.json); draw pairs with '
                 'scripts/draw_demo_data.py --paired')
    return fault and f'{split} images of A and B are not pairs: {fault}'


def align(set_a: ImageDataset, set_b: ImageDataset) -> None:
    """Sort the images of both sets by name, so that images with the same index are pairs.

    Raises:
        BadInput: an image has no counterpart with its name.
    """
    part, fault = _pairing(set_a.paths, set_b.paths)
    if fault:
        raise BadInput(f'images of A and B are not pairs: {fault}')
    for dataset in (set_a, set_b):
        dataset.paths.sort(key=attrgetter(part))


def _pairing(paths_a: Sequence[Path], paths_b: Sequence[Path]) -> tuple[str, str]:
    """By which part of a path images are paired, 'name' or 'stem', and why they are not pairs ('' if they are)."""
    faults = {part: _fault_of_names(paths_a, paths_b, attrgetter(part)) for part in ('name', 'stem')}
    part = 'stem' if faults['name'] and not faults['stem'] else 'name'
    return part, faults[part]


def _fault_of_names(paths_a: Sequence[Path], paths_b: Sequence[Path], name_of: Callable[[Path], str]) -> str:
    names_a, names_b = (Counter(map(name_of, paths)) for paths in (paths_a, paths_b))
    for letter, names in (('A', names_a), ('B', names_b)):
        name, count = names.most_common(1)[0]
        if count > 1:
            return f'{count} images of {letter} are named {shown(name, 80)}'
    for here, there, alone in (('A', 'B', names_a - names_b), ('B', 'A', names_b - names_a)):
        if alone:
            others = f' and {len(alone) - 1} others' if len(alone) > 1 else ''
            return (f'{shown(min(alone), 80)}{others} of {here} have no counterpart with the same name in {there}; '
                    f'this method learns from pairs, the others do not')
    return ''


def _drawn_apart(root: Path) -> bool:
    """Whether drawn.json says that the training images of A and B were drawn independently."""
    try:
        return json.loads((root / 'drawn.json').read_text(encoding='utf-8')).get('paired') is not True
    except (OSError, ValueError, AttributeError):   # not a drawn data set
        return False


class PairDataset(Dataset):
    """Pairs as tensors (C_a + C_b, H, W) in [-1, 1] with the same flip and crop, indexed by `Draw`.

    A pair that cannot be read, or whose images differ in size after resizing, is reported on stderr once, marked in
    the sets' `broken`, and replaced by another random pair.

    Args:
        set_a, set_b: data sets that `align` has sorted.
    """

    def __init__(self, set_a: ImageDataset, set_b: ImageDataset):
        self.sets = set_a, set_b
        self.cache = set_a.cache   # `data.stream` uses threads if there is one

    def __len__(self) -> int:
        return len(self.sets[0])

    def __getitem__(self, draw: Draw) -> Tensor:
        generator = torch.Generator().manual_seed(draw.seed)
        set_a, set_b = self.sets
        for i in set_a._candidates(draw.index, generator):
            try:
                images = [dataset._prepared(i) for dataset in self.sets]
                if images[0].size != images[1].size:
                    raise BadInput(f'{shown(set_b.paths[i])}: differs in size from its counterpart after resizing, '
                                   f'{images[0].width}×{images[0].height}')
            except ImagesAway:
                raise
            except BadInput as error:
                set_a.mark_broken(i, error)
                continue
            set_a.broken[i] = False
            place = int(torch.randint(2 ** 62, (), generator=generator))
            return torch.cat([dither_if_constant(dataset.transform.finish(image, torch.Generator().manual_seed(place)))
                              for dataset, image in zip(self.sets, images, strict=True)])
        raise BadInput(f'{shown(set_a.paths[0].parent)}: none of its {len(self)} pairs can be read')

    def split(self, batches: Iterable[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        """Split batches (N, C_a + C_b, H, W) into those of A and of B."""
        channels = [dataset.channels for dataset in self.sets]
        for batch in batches:
            yield batch.split(channels, 1)
