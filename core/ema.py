"""Running averages during training: of the generators' weights, and of the moments of style codes."""
import copy

import torch
from torch import Tensor, nn

STYLES_REMEMBERED = 1000   # the statistics cover about this many recent style codes


class EMA(nn.Module):
    """Generators whose weights are the exponential moving average of the trained generators' weights.

    A single step of a GAN overshoots. The average over many is steadier, and its images are usually better.

    Args:
        gen_a, gen_b: the generators.
        decay: of the average, in [0, 1). In the first steps it is at most (1 + steps) / (10 + steps).
    """

    share: Tensor

    def __init__(self, gen_a: nn.Module, gen_b: nn.Module, decay: float):
        super().__init__()
        self.a, self.b = (copy.deepcopy(gen).eval().requires_grad_(False) for gen in (gen_a, gen_b))
        self.decay = decay
        self.register_buffer('share', torch.zeros(()), persistent=False)
        self.begin(0)

    def begin(self, steps: int) -> None:
        """Set the share that the weights after `steps` steps have in the average."""
        self.share.fill_(1 - min(self.decay, (1 + steps) / (10 + steps)))

    @torch.no_grad()
    def update(self, gen_a: nn.Module, gen_b: nn.Module, stepped: Tensor | None = None) -> None:
        """Include the weights in the average, with the share that `begin` has set.

        Args:
            stepped: whether the last step was taken, as a tensor, as a skipped step does not count. None: it was taken.
        """
        share = self.share if stepped is None else self.share * stepped
        for own, gen in ((self.a, gen_a), (self.b, gen_b)):
            averages: list[Tensor] = list(own.parameters())
            weights: list[Tensor] = [parameter.detach() for parameter in gen.parameters()]
            changes = list(torch._foreach_sub(weights, averages))
            torch._foreach_mul_(changes, share)
            torch._foreach_add_(averages, changes)
            for kept, fresh in zip(own.buffers(), gen.buffers(), strict=True):
                kept.copy_(fresh)   # counters and vectors of spectral norm, which cannot be averaged


class StyleStatistics(nn.Module):
    """Running mean and variance of a domain's style codes, to compare with the prior N(0, 1) of sampled styles.

    The paper proves that the two distributions agree at the optimum (section 4, latent distribution matching). Before,
    sampled styles differ from encoded ones.
    """
    mean: Tensor
    square: Tensor

    def __init__(self, style_dim: int):
        super().__init__()
        for name, of_prior in (('mean', torch.zeros(style_dim)), ('square', torch.ones(style_dim))):
            self.register_buffer(name, of_prior)

    @torch.no_grad()
    def update(self, styles: Tensor) -> dict[str, Tensor]:
        """Include style codes (N, style_dim, 1, 1), and measure how far their distribution is from N(0, 1).

        Returns:
            offset: root mean square of the means of the dimensions; 0 for N(0, 1). deviation: root mean square of their
            standard deviations; 1 for N(0, 1). kl: KL divergence of N(mean, variance) from N(0, 1) in nats, averaged
            over the dimensions.
        """
        styles = styles.detach().float().flatten(1)
        share = min(1.0, len(styles) / STYLES_REMEMBERED)
        mean, square = styles.mean(0), styles.square().mean(0)
        finite = square.isfinite().all()   # an infinite code would stay in the average forever
        self.mean.lerp_(torch.where(finite, mean, self.mean), share)
        self.square.lerp_(torch.where(finite, square, self.square), share)
        variance = (self.square - self.mean ** 2).clamp(min=1e-8)
        return {'offset': self.mean.square().mean().sqrt(), 'deviation': variance.mean().sqrt(),
                'kl': (self.mean ** 2 + variance - variance.log() - 1).mean() / 2}
