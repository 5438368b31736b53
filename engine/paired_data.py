"""Pairs of images, for the one method that learns from them: the same file names in A and B are a pair, or where the
endings differ, the same names without them.
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
    return fault and f'{split} images of A and B are no pairs: {fault}'


def align(set_a: ImageDataset, set_b: ImageDataset) -> None:
    """Put the images of both sets in the order of their pairs' names, so that the same places hold pairs.

    Raises:
        BadInput: a file has no counterpart of its name.
    """
    part, fault = _pairing(set_a.paths, set_b.paths)
    if fault:
        raise BadInput(f'images of A and B are no pairs: {fault}')
    for dataset in (set_a, set_b):
        dataset.paths.sort(key=attrgetter(part))


def _pairing(paths_a: Sequence[Path], paths_b: Sequence[Path]) -> tuple[str, str]:
    """What the paths of pairs have in common, 'name' or 'stem', and why the images are no pairs ('' if they are)."""
    faults = {part: _fault_of_names(paths_a, paths_b, attrgetter(part)) for part in ('name', 'stem')}
    part = 'stem' if faults['name'] and not faults['stem'] else 'name'
    return part, faults[part]


def _fault_of_names(paths_a: Sequence[Path], paths_b: Sequence[Path], name_of: Callable[[Path], str]) -> str:
    names_a, names_b = (Counter(map(name_of, paths)) for paths in (paths_a, paths_b))
    for letter, names in (('A', names_a), ('B', names_b)):
        name, count = names.most_common(1)[0]
        if count > 1:
            return f'{count} images of {letter} are called {shown(name, 80)}'
    for here, there, alone in (('A', 'B', names_a - names_b), ('B', 'A', names_b - names_a)):
        if alone:
            others = f' and {len(alone) - 1} others' if len(alone) > 1 else ''
            return (f'{shown(min(alone), 80)}{others} of {here} have no counterpart of that name in {there}; this '
                    f'method learns from pairs, the others do not')
    return ''


def _drawn_apart(root: Path) -> bool:
    """Whether the folder says of itself that it was drawn, and its training pictures independently."""
    try:
        return json.loads((root / 'drawn.json').read_text(encoding='utf-8')).get('paired') is not True
    except (OSError, ValueError, AttributeError):   # not drawn
        return False


class PairDataset(Dataset):
    """Pairs as tensors (C_a + C_b, H, W) in [-1, 1], flipped and cropped alike. By `Draw`.

    A pair with an unreadable file, or whose pictures have different sizes after resizing, is named on stderr
    once, marked in the sets' `broken`, and another is drawn in its place.

    Args:
        set_a, set_b: as `align` leaves them.
    """

    def __init__(self, set_a: ImageDataset, set_b: ImageDataset):
        self.sets = set_a, set_b
        self.cache = set_a.cache   # what `data.stream` asks for: whether threads are to share it

    def __len__(self) -> int:
        return len(self.sets[0])

    def __getitem__(self, draw: Draw) -> Tensor:
        generator = torch.Generator().manual_seed(draw.seed)
        set_a, set_b = self.sets
        for i in set_a._candidates(draw.index, generator):
            try:
                images = [dataset._prepared(i) for dataset in self.sets]
                if images[0].size != images[1].size:
                    raise BadInput(f'{shown(set_b.paths[i])}: not of the size of its pair after resizing, '
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
        """Batches (N, C_a + C_b, H, W) as those of A and of B."""
        channels = [dataset.channels for dataset in self.sets]
        for batch in batches:
            yield batch.split(channels, 1)
