"""Bounding the norm of an optimizer's gradients: by a fixed value, or by a multiple of what was usual lately."""
import torch
from torch import Tensor, nn

WINDOW = 200   # steps that the running median looks back
MEMORY = ('kept', 'seen', 'steps', 'clipped')
WARMUP = 20    # steps before `auto` clips: fewer norms have no median worth the name


class GradientClip(nn.Module):
    """Scales gradients whose joint norm is above a limit, and remembers the norms of the last steps.

    A GAN's gradients can explode while every number stays finite: one step of a discriminator raises its own next
    gradients tenfold, and Adam, whose second moment still remembers small ones, turns them into steps that ruin both
    networks within a few iterations. The running median tells such a step from ordinary noise at any scale.

    Everything stays on the device of the gradients, so nothing waits for a GPU, and all processes of a distributed run
    clip alike, since they clip the averaged gradients.

    Args:
        limit: 'none', a norm, or 'auto': `factor` times the running median of the last norms, each counted as it was
            after clipping, so that an explosion does not raise its own limit.
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
        # Of the last steps, in a ring: norms after clipping, and as they were.
        for name in ('kept', 'seen'):
            self.register_buffer(name, torch.zeros(WINDOW), persistent=False)
        for name in ('steps', 'clipped'):
            self.register_buffer(name, torch.zeros((), dtype=torch.long), persistent=False)
        self.register_buffer('places', torch.arange(WINDOW), persistent=False)

    @torch.no_grad()
    def forward(self, gradients: list[Tensor]) -> Tensor:
        """Clip the gradients in place, unless one is not finite; whether all are finite, as a tensor."""
        norms = torch.stack(torch._foreach_norm(gradients)).float()
        finite = norms.isfinite().all()
        largest = norms.max().clamp(min=1e-30)
        norm = largest * (norms / largest).norm()   # the squares of large norms would overflow
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
            # Not nanmedian: on a GPU that waits to know how many there are.
            middle = torch.div(self.steps.clamp(1, WINDOW) - 1, 2, rounding_mode='floor')
            median = in_order.gather(0, middle.view(1)).squeeze(0)
            return (self.factor * median).masked_fill(self.steps < WARMUP, torch.inf)
        return torch.full_like(norm, torch.inf if self.limit == 'none' else float(self.limit))

    def last_norms(self, count: int) -> list[float]:
        """The norms of the last `count` steps with finite gradients, at most 200, the newest last. Waits for a GPU."""
        steps = int(self.steps)
        return [float(self.seen[i % WINDOW]) for i in range(max(0, steps - min(count, WINDOW)), steps)]

    def memory(self) -> dict[str, Tensor]:
        """What a resumed run needs to clip as an unbroken one does."""
        return {name: getattr(self, name).cpu().clone() for name in MEMORY}

    def restore(self, memory: dict[str, Tensor]) -> None:
        """Load what `memory` returned.

        Raises:
            ValueError: it is something else.
        """
        for name in MEMORY:
            buffer = getattr(self, name)
            value = memory.get(name)
            if not isinstance(value, Tensor) or value.shape != buffer.shape or value.dtype != buffer.dtype \
                    or bool((value < 0).any()) or not bool(value.isfinite().all()):
                raise ValueError(f'{name}: not the memory of a gradient clip')
            buffer.copy_(value)
