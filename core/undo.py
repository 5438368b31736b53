"""Taking back an iteration that went wrong, without waiting to know whether it did."""
import torch
from torch import Tensor

SAME_SIZE = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


class Undo:
    """Copies of tensors, and putting them back where a flag on the device says so.

    Nothing waits for a GPU, and every tensor stays where it is in memory, so a CUDA graph can record both. The copies
    keep their memory from one iteration to the next.
    """

    def __init__(self) -> None:
        self.copies: dict[str, list[Tensor]] = {}
        self.kept: dict[str, list[Tensor]] = {}   # what is to be put back, by the names of `keep`

    @torch.no_grad()
    def keep(self, name: str, tensors: list[Tensor], as_zero: bool = False) -> None:
        """Remember the values that the tensors have now.

        Args:
            name: of these tensors, the same in each iteration.
            as_zero: remember zeros in their place: the tensors did not exist, and zeros are what they begin with.
        """
        tensors = [tensor.detach() for tensor in tensors]
        copies = self.copies.get(name, [])
        if [copy.shape for copy in copies] != [tensor.shape for tensor in tensors] or any(
                copy.device != tensor.device for copy, tensor in zip(copies[:1], tensors, strict=False)):
            copies = self.copies[name] = [torch.empty_like(tensor) for tensor in tensors]
        if tensors:
            torch._foreach_zero_(copies) if as_zero else torch._foreach_copy_(copies, tensors)
        self.kept[name] = tensors

    @torch.no_grad()
    def put_back(self, bad: Tensor) -> None:
        """Put back all that was kept if `bad`, a truth value on the device, holds; then forget it."""
        for name, tensors in self.kept.items():
            if bad.device.type != 'cpu':
                select(tensors, self.copies[name], bad)
            elif bad and tensors:
                torch._foreach_copy_(tensors, self.copies[name])
        self.kept = {}


def select(tensors: list[Tensor], copies: list[Tensor], bad: Tensor) -> None:
    """Give the tensors the values of the copies if `bad` holds, in a few kernels for all of them. Spoils the copies.

    The bits are multiplied by 0 or 1 as whole numbers: NaN and the sign of zero come through as they are.
    """
    for dtype in {tensor.dtype for tensor in tensors}:
        bits = SAME_SIZE[dtype.itemsize]
        ours, theirs = ([tensor.view(bits) for tensor in of if tensor.dtype == dtype] for of in (tensors, copies))
        torch._foreach_mul_(theirs, bad.to(bits))
        torch._foreach_mul_(ours, (~bad).to(bits))
        torch._foreach_add_(ours, theirs)
