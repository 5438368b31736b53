"""Random numbers for training, drawn by the CPU's generator and moved: a seed means the same on every device."""
from collections.abc import Callable

import torch
from torch import Tensor


def gaussian_noise(shape: tuple[int, ...], device: torch.device) -> Tensor:
    """N(0, 1) of this shape on the device."""
    return torch.randn(shape).to(device, non_blocking=True)


def uniform_noise(shape: tuple[int, ...], device: torch.device) -> Tensor:
    """Uniform in [0, 1), of this shape on the device."""
    return torch.rand(shape).to(device, non_blocking=True)


class Noise:
    """Where a trainer takes its noise from: each call draws anew."""

    def normal(self, shape: tuple[int, ...], device: torch.device) -> Tensor:
        """N(0, 1) of this shape on the device."""
        return gaussian_noise(shape, device)

    def uniform(self, shape: tuple[int, ...], device: torch.device) -> Tensor:
        """Uniform in [0, 1), of this shape on the device."""
        return uniform_noise(shape, device)


class NoiseTape(Noise):
    """Noise at fixed places in memory, for an iteration that is recorded once and replayed.

    A recorded iteration reads the addresses that it read while it was recorded, so its noise has to be there. In one
    iteration the tape notes what is asked for; once it is `sealed`, an iteration that asks for the same in the same
    order gets the tape's own tensors, and `refill` draws them anew, in that order, as the eager iteration would.
    """

    def __init__(self) -> None:
        self.slots: list[tuple[Callable[..., Tensor], Tensor]] = []
        self.sealed, self.place = False, 0

    def normal(self, shape: tuple[int, ...], device: torch.device) -> Tensor:
        return self._next(torch.randn, shape, device)

    def uniform(self, shape: tuple[int, ...], device: torch.device) -> Tensor:
        return self._next(torch.rand, shape, device)

    def _next(self, draw: Callable[..., Tensor], shape: tuple[int, ...], device: torch.device) -> Tensor:
        if not self.sealed:
            values = draw(shape).to(device)
            self.slots.append((draw, values.clone()))
            return values
        known, slot = self.slots[self.place % len(self.slots)]
        self.place += 1
        if known is not draw or slot.shape != torch.Size(shape):
            raise RuntimeError('an iteration asks for other noise than the one before it')
        return slot

    def refill(self) -> None:
        """Draw everything anew, in the order in which it was asked for."""
        for draw, slot in self.slots:
            # From pageable memory: the driver has taken such a small copy when the call returns, so that nothing
            # overwrites it while an earlier iteration still runs.
            slot.copy_(draw(slot.shape), non_blocking=True)
