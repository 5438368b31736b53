"""Detection of diverging training.

There are two rules:

    explosion        the norm of an optimizer's gradients is above 20 times its running median twice within 10 steps,
                     or ten times within 20 where gradients are clipped
    reconstruction   a reconstruction error is above 3 times its running median for 50 steps

Single spikes are usual in GANs, which recover from them, and with clipping also from several. A divergence counts as
resolved after 200 steps in which neither rule applies.
"""
import statistics
from collections import deque
from typing import NamedTuple

MEMORY = 200            # observations in the running medians
ENOUGH = 50             # observations before a median is used
SPIKE = 20              # a spike is a norm above this multiple of the median
SPIKES, WITHIN = 2, 10  # an explosion is this many spikes within this many steps
CLIPPED_SPIKES, CLIPPED_WITHIN = 10, 20   # the same with clipping, which makes spikes less harmful
LOST = 3                # a reconstruction error is too high above this multiple of the median
LOST_STEPS = 50
CALM_STEPS = 200


class Divergence(NamedTuple):
    """A divergence: the step at which it began, the name of the rule, and a description with the values."""
    step: int
    rule: str
    what: str


class DivergenceWatch:
    """Monitors gradient norms and reconstruction errors, and reports when training begins to diverge.

    Args:
        clipped: whether gradients are clipped. The norms to observe are always those before clipping.
    """

    def __init__(self, clipped: bool = False) -> None:
        self.enough, self.within = (CLIPPED_SPIKES, CLIPPED_WITHIN) if clipped else (SPIKES, WITHIN)
        self.history: dict[str, deque[float]] = {}
        self.spikes: dict[str, list[int]] = {}
        self.lost_since: dict[str, int] = {}
        self.since = 0        # the step at which an unresolved divergence began; 0: there is none
        self.last_sign = 0    # the last step with a spike or a lost reconstruction

    def observe(self, step: int, norms: dict[str, list[float]], losses: dict[str, float]) -> Divergence | None:
        """Add an iteration. Returns the divergence that it reveals, or None.

        Args:
            step: iterations done.
            norms: for each optimizer, the gradient norms of the steps since the last call, the newest last.
            losses: the loss terms of this iteration by name. The names show which are reconstruction errors.
        """
        found = [self._explosion(step - len(values) + 1 + i, f'gradients of {name}', value)
                 for name, values in norms.items() for i, value in enumerate(values)]
        found += [self._reconstruction(step, name, value) for name, value in losses.items() if _is_reconstruction(name)]
        first = next((one for one in found if one), None)
        if first and not self.since:
            self.since = first.step
            return first
        if self.since and step - self.last_sign >= CALM_STEPS:
            self.since = 0
        return None

    def _explosion(self, step: int, name: str, value: float) -> Divergence | None:
        median = self._median(name)
        if median is None or value <= SPIKE * median:
            self._remember(name, value)
            return None
        self.last_sign = step
        spikes = self.spikes[name] = [earlier for earlier in self.spikes.get(name, []) if step - earlier < self.within]
        spikes.append(step)
        if len(spikes) < self.enough:
            return None
        return Divergence(spikes[0], 'explosion', f'{name} have a norm of {value:.3g}, {value / median:.0f} times the '
                                                  f'usual {median:.3g}')

    def _reconstruction(self, step: int, name: str, value: float) -> Divergence | None:
        median = self._median(name)
        if median is None or value <= LOST * median:
            self.lost_since.pop(name, None)
            self._remember(name, value)
            return None
        first = self.lost_since.setdefault(name, step)
        if step - first + 1 < LOST_STEPS:
            return None
        self.last_sign = step
        return Divergence(first, 'reconstruction', f'{name} is {value:.3g}, {value / median:.1f} times the usual '
                                                   f'{median:.3g}, for {step - first + 1} steps')

    def _median(self, name: str) -> float | None:
        history = self.history.get(name, ())
        return statistics.median(history) if len(history) >= ENOUGH else None

    def _remember(self, name: str, value: float) -> None:
        if abs(value) < float('inf'):   # NaN and infinite values are counted elsewhere
            self.history.setdefault(name, deque(maxlen=MEMORY)).append(value)

    def memory(self) -> dict:
        """The state as plain Python values, for `restore`."""
        return {'history': {name: list(values) for name, values in self.history.items()},
                'spikes': {name: list(steps) for name, steps in self.spikes.items()},
                'lost_since': dict(self.lost_since), 'since': self.since, 'last_sign': self.last_sign}

    def restore(self, memory: dict) -> None:
        """Load the state that `memory` returned.

        Raises:
            ValueError: an entry is missing or invalid.
        """
        try:
            self.history = {str(name): deque((float(value) for value in values), maxlen=MEMORY)
                            for name, values in memory['history'].items()}
            self.spikes = {str(name): [int(step) for step in steps] for name, steps in memory['spikes'].items()}
            self.lost_since = {str(name): int(step) for name, step in memory['lost_since'].items()}
            self.since, self.last_sign = int(memory['since']), int(memory['last_sign'])
        except (KeyError, TypeError, AttributeError, OverflowError) as error:
            raise ValueError(f'not the memory of a divergence watch: {error}') from None


def _is_reconstruction(name: str) -> bool:
    return name.startswith('loss_gen_') and any(part in name for part in ('recon_x', 'recon_c', 'cyc_x'))
