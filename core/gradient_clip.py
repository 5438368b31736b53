"""Gradient clipping by norm: to a fixed limit, or to a multiple of the running median."""
import torch
from torch import Tensor, nn

WINDOW = 200   # number of steps in the running median
MEMORY = ('kept', 'seen', 'steps', 'clipped')
WARMUP = 20    # steps before `auto` clips, as the median of fewer norms is unreliable


class GradientClip(nn.Module):
    """Scales gradients whose total norm is above a limit, and stores the norms of recent steps.

    A GAN's gradients can explode while all values stay finite: one step of a discriminator makes its next gradients ten
    times as large, and Adam, whose second moments still reflect small gradients, turns them into steps that destroy
    both networks within a few iterations. Comparing with the running median separates such steps from ordinary noise
    at any scale.

    All state is on the device of the gradients, so that nothing waits for a GPU. All processes of a distributed run
    clip equally, since they clip the averaged gradients.

    Args:
        limit: 'none', a norm, or 'auto', which is `factor` times the running median of recent norms. The median uses
            norms after clipping, so that an explosion does not raise its own limit.
        factor: for 'auto'.
    """
    kept: Tensor
    seen: Tensor
    steps: Tensor
    clipped: Tensor
    places: Tensor

    def __init__(self, limit: str | float, factor: float):
        super().__init__()
        self.limit, self.factor = limit, factor
        # Ring buffers of recent norms, after clipping and before.
        for name in ('kept', 'seen'):
            self.register_buffer(name, torch.zeros(WINDOW), persistent=False)
        for name in ('steps', 'clipped'):
            self.register_buffer(name, torch.zeros((), dtype=torch.long), persistent=False)
        self.register_buffer('places', torch.arange(WINDOW), persistent=False)

    @torch.no_grad()
    def forward(self, gradients: list[Tensor]) -> Tensor:
        """Clip the gradients in place, unless one is not finite. Returns whether all are finite, as a tensor."""
        norms = torch.stack(torch._foreach_norm(gradients)).float()
        finite = norms.isfinite().all()
        largest = norms.max().clamp(min=1e-30)
        norm = largest * (norms / largest).norm()   # scaled, as squares of large norms would overflow
        limit = self._limit(norm)
        if self.limit != 'none':
            scale = (limit / norm.clamp(min=1e-30)).clamp(max=1.0).masked_fill(~finite, 1.0)
            torch._foreach_mul_(gradients, scale)
        place = (self.steps % WINDOW).view(1)
        for ring, value in ((self.kept, torch.minimum(norm, limit)), (self.seen, norm)):
            ring.scatter_(0, place, torch.where(finite, value, ring.gather(0, place).squeeze(0)).view(1))
        self.steps += finite
        self.clipped += finite & (norm > limit)
        return finite

    def _limit(self, norm: Tensor) -> Tensor:
        if self.limit == 'auto':
            in_order = self.kept.masked_fill(self.places >= self.steps, torch.inf).sort().values
            # nanmedian would wait for the GPU, to know how many values there are.
            middle = torch.div(self.steps.clamp(1, WINDOW) - 1, 2, rounding_mode='floor')
            median = in_order.gather(0, middle.view(1)).squeeze(0)
            return (self.factor * median).masked_fill(self.steps < WARMUP, torch.inf)
        return torch.full_like(norm, torch.inf if self.limit == 'none' else float(self.limit))

    def last_norms(self, count: int) -> list[float]:
        """The norms before clipping of the last `count` steps with finite gradients, at most 200, the newest last.
        Waits for a GPU.
        """
        steps = int(self.steps)
        return [float(self.seen[i % WINDOW]) for i in range(max(0, steps - min(count, WINDOW)), steps)]

    def memory(self) -> dict[str, Tensor]:
        """The state from which a resumed run clips as an uninterrupted one does."""
        return {name: getattr(self, name).cpu().clone() for name in MEMORY}

    def restore(self, memory: dict[str, Tensor]) -> None:
        """Load the state that `memory` returned.

        Raises:
            ValueError: an entry is missing or invalid.
        """
        for name in MEMORY:
            buffer = getattr(self, name)
            value = memory.get(name)
            if not isinstance(value, Tensor) or value.shape != buffer.shape or value.dtype != buffer.dtype \
                    or bool((value < 0).any()) or not bool(value.isfinite().all()):
                raise ValueError(f'{name}: not the memory of a gradient clip')
            buffer.copy_(value)
