"""Undo an iteration whose losses or gradients are not finite, without synchronizing with the device."""
import torch
from torch import Tensor

SAME_SIZE = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


class Undo:
    """Keeps copies of tensors, and restores them depending on a flag on the device.

    Nothing waits for a GPU and no tensor is replaced, so a CUDA graph can record both. The memory of the copies is
    reused from one iteration to the next.
    """

    def __init__(self) -> None:
        self.copies: dict[str, list[Tensor]] = {}
        self.kept: dict[str, list[Tensor]] = {}   # the tensors to restore, by the names given to `keep`

    @torch.no_grad()
    def keep(self, name: str, tensors: list[Tensor], as_zero: bool = False) -> None:
        """Copy the current values of the tensors.

        Args:
            name: of this list of tensors, the same in each iteration.
            as_zero: keep zeros instead, the initial values of tensors that did not exist before.
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
        """Restore everything that was kept if `bad`, a bool tensor on the device, is true; then forget it."""
        for name, tensors in self.kept.items():
            if bad.device.type != 'cpu':
                select(tensors, self.copies[name], bad)
            elif bad and tensors:
                torch._foreach_copy_(tensors, self.copies[name])
        self.kept = {}


def select(tensors: list[Tensor], copies: list[Tensor], bad: Tensor) -> None:
    """Set the tensors to the copies if `bad` is true, in a few kernels for all of them. Overwrites the copies.

    The bits are multiplied by 0 or 1 as integers, which preserves NaN and the sign of zero.
    """
    for dtype in {tensor.dtype for tensor in tensors}:
        bits = SAME_SIZE[dtype.itemsize]
        ours, theirs = ([tensor.view(bits) for tensor in of if tensor.dtype == dtype] for of in (tensors, copies))
        torch._foreach_mul_(theirs, bad.to(bits))
        torch._foreach_mul_(ours, (~bad).to(bits))
        torch._foreach_add_(ours, theirs)
