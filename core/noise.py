"""Random numbers for training, drawn by the CPU's generator and moved: a seed means the same on every device."""
from collections.abc import Callable

import torch
from torch import Tensor


def gaussian_noise(shape: tuple[int, ...], device: torch.device) -> Tensor:
    """N(0, 1) of this shape on the device."""
    return Noise().normal(shape, device)


class Noise:
    """The source of a trainer's noise: each call draws new numbers."""

    def normal(self, shape: tuple[int, ...], device: torch.device) -> Tensor:
        """N(0, 1) of this shape on the device."""
        return self._draw(torch.randn, shape, device)

    def uniform(self, shape: tuple[int, ...], device: torch.device) -> Tensor:
        """Uniform in [0, 1), of this shape on the device."""
        return self._draw(torch.rand, shape, device)

    def _draw(self, draw: Callable[..., Tensor], shape: tuple[int, ...], device: torch.device) -> Tensor:
        return draw(shape).to(device, non_blocking=True)


class NoiseTape(Noise):
    """Noise at fixed addresses, for an iteration that is recorded once and replayed.

    A replayed iteration reads the addresses that it read while it was recorded, so new noise has to be written there.
    During one iteration the tape draws as usual and notes what is requested. Once it is `sealed`, an iteration with the
    same requests in the same order gets the tape's own tensors, and `refill` draws their values again in that order, as
    an iteration that is not recorded would.
    """

    def __init__(self) -> None:
        self.slots: list[tuple[Callable[..., Tensor], Tensor]] = []
        self.sealed, self.place = False, 0

    def _draw(self, draw: Callable[..., Tensor], shape: tuple[int, ...], device: torch.device) -> Tensor:
        if not self.sealed:
            values = super()._draw(draw, shape, device)
            self.slots.append((draw, values.clone()))
            return values
        known, slot = self.slots[self.place % len(self.slots)]
        self.place += 1
        if known is not draw or slot.shape != torch.Size(shape):
            raise RuntimeError('an iteration requests other noise than the one before it')
        return slot

    def refill(self) -> None:
        """Draw all values again, in the order of the requests."""
        for draw, slot in self.slots:
            # The driver reads pageable memory before the call returns, so these values may be freed while an earlier
            # iteration still runs.
            slot.copy_(draw(slot.shape), non_blocking=True)
