"""Damage snapshots and spoil iterations, and print a table of what came of it. Exit status 1 if anything failed.

    python tests/stress/damage.py --bits 500 --states 500 --iterations 200 --seed 1

bits: a bit is flipped at a random place of a random file of the newest snapshot. Resuming passes it over, refuses it,
    or takes up what was written: nothing else, and the earlier snapshot stays as it is.
states: a value of the newest state becomes another one: with the seal of what was written any value, without it, as
    earlier versions wrote states, one that no run can have. The same must come of it.
iterations: NaN or an infinite number comes up in a loss, a gradient, an activation or a buffer of a random iteration.
    The run must end as one that skipped this iteration, bit by bit.
All of them with all five methods, batch norm, spectral norm and averaged weights; everything in this process.
"""
import argparse
import collections
import contextlib
import copy
import io
import os
import random
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path

os.environ['OMP_NUM_THREADS'] = os.environ['MKL_NUM_THREADS'] = '1'
ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / 'tests'), str(ROOT / 'scripts')]

import pytest
import torch
from test_bad_iterations import CASES, PLACES, cease, everything, inject, iterate, make
from test_integrity import flip

from core.errors import BadInput
from core.run_state import leaves
from engine.cli import at_least, run_command

NAN, INF = float('nan'), float('inf')
STEPS = 6   # of a run with a spoilt iteration
IMPOSSIBLE = (NAN, INF, -INF, -1, 'text', None, 2 ** 70, 1.5, [], {}, torch.tensor([1.0, NAN]))


def state_of(trainer) -> dict:
    """All that a resumed run depends on, by name."""
    rates = {f'rates.{of}.{key}': value for of, optimizer in trainer._optimizers().items()
             for key, value in optimizer.param_groups[0].items() if key != 'params'}
    return {**everything(trainer), **rates, **dict(leaves(trainer.progress, 'progress')),
            **dict(leaves(trainer._display_styles(), 'display'))}


def same(one: dict, two: dict) -> bool:
    return one.keys() == two.keys() and all(
        torch.equal(value, two[name]) if isinstance(value, torch.Tensor) else value == two[name]
        for name, value in one.items())


class Snapshots:
    """Snapshots of steps 1 and 2 of a tiny run, and what resuming from each gives.

    Args:
        case: a method and changes of its config.
        folder: where they are made; not there yet.
    """

    def __init__(self, case: tuple[str, dict], folder: Path):
        self.case, self.folder, self.whole, self.wanted = case, folder, folder.with_name(folder.name + '_whole'), {}
        trainer = make(*case)
        for step in (1, 2):
            iterate(trainer, step)
            trainer.progress |= {'seed': 7, 'drawn': step, 'halved_until': 0, 'rollbacks': 0}
            self.whole.mkdir(exist_ok=True)
            trainer.save(self.whole, step)
            self.restore()
            self.wanted[step] = state_of(self._resumed()[1])

    def restore(self) -> None:
        """Make the folder what it was."""
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.copytree(self.whole, self.folder)

    def _resumed(self):
        trainer = make(*self.case)
        return trainer.resume(self.folder), trainer

    def outcome(self) -> str:
        """What resuming does now: 'as written', 'passed over', 'refused', or a fault."""
        told = io.StringIO()
        with contextlib.redirect_stderr(told):
            try:
                step, trainer = self._resumed()
            except BadInput as error:
                return 'refused' if str(error).count('\n') == 0 else f'says {error}'
            except Exception:
                return traceback.format_exc()
        if not same(state_of(trainer), self.wanted.get(step, {})):
            return f'used silently, from step {step}'
        if step == 2:
            return 'as written'
        return 'passed over' if 'passed over step 2' in told.getvalue() else 'passed over without a word'

    def earlier_is_whole(self) -> bool:
        return all((self.folder / path.name).read_bytes() == path.read_bytes()
                   for path in self.whole.glob('*_00000001.pt'))


def flipped_bit(shop: Snapshots, rng: random.Random) -> tuple[str, Callable[[], None]]:
    path = rng.choice(sorted(shop.folder.glob('*_00000002.pt')))
    place, bit = rng.randrange(path.stat().st_size), rng.randrange(8)
    return f'bit {bit} of byte {place} of {path.name}', lambda: flip(path, place, bit)


def odd_state(shop: Snapshots, rng: random.Random) -> tuple[str, Callable[[], None]]:
    path, sealed = shop.folder / 'state_00000002.pt', rng.random() < 0.5
    state = torch.load(path)
    place = rng.choice([keys for keys in places(state) if keys[0] not in ('seal', 'checksums')])
    *inner, last = place
    owner = state
    for key in inner:
        owner = owner[key]
    name, old = '.'.join(map(str, place)), owner[last]
    if sealed:
        new = rng.choice([value for value in (*IMPOSSIBLE, 3, 0.25, True) if not _equal(value, old)])
    elif isinstance(old, torch.Tensor):
        new = rng.choice([NAN, INF, -INF])
    else:
        new = rng.choice(IMPOSSIBLE)
    if isinstance(old, torch.Tensor) and isinstance(new, (int, float)) and abs(new) != 2 ** 70:
        if not old.is_floating_point():
            new = -1 if last in ('kept', 'seen', 'steps', 'clipped') else new if new == new and abs(new) != INF else 5
        place_in_it = rng.randrange(max(1, old.numel()))
        if old.numel() and not _equal(old.view(-1)[place_in_it].item(), new):
            old.view(-1)[place_in_it] = new
        else:
            owner[last] = 'text'
    else:
        owner[last] = new
    if not sealed:
        state.pop('seal')
    return f'{name} = {new!r}, {"sealed" if sealed else "without a seal"}', lambda: torch.save(state, path)


def places(content, keys: tuple = ()):
    """The keys that lead to each value in nested containers."""
    if isinstance(content, (dict, list, tuple)) and content:
        for key, value in content.items() if isinstance(content, dict) else enumerate(content):
            if isinstance(content, tuple):   # changed as a whole
                yield keys
                return
            yield from places(value, (*keys, key))
    else:
        yield keys


def _equal(one, two) -> bool:
    return type(one) is type(two) and not isinstance(one, torch.Tensor) and one == two


def damage(kind: str, make_one, count: int, folder: Path, rng: random.Random, faults: list[str]) -> list[tuple]:
    """Damage snapshots `count` times; the rows of the table."""
    counts: collections.Counter = collections.Counter()
    shops = [Snapshots(case, folder / f'{kind}_{number}') for number, case in enumerate(CASES)]
    for number in range(count):
        shop = shops[number % len(shops)]
        what, do = make_one(shop, rng)
        do()
        outcome = shop.outcome()
        lost = not shop.earlier_is_whole()
        known = outcome in ('as written', 'passed over', 'refused')
        counts[outcome if known else 'used silently' if 'silently' in outcome else 'other faults'] += 1
        counts['lost'] += lost
        if not known or lost:
            faults.append(f'{shop.case}: {what}: {outcome}{", and the earlier snapshot is damaged" if lost else ""}')
        shop.restore()
    told = ', '.join(f'{counts[name]} {name}' for name in ('passed over', 'refused', 'as written'))
    return [(kind, f'{count}: {told}', '', True),
            ('  used silently', counts['used silently'], '0', not counts['used silently']),
            ('  tracebacks and other faults', counts['other faults'], '0', not counts['other faults']),
            ('  earlier snapshots lost', counts['lost'], '0', not counts['lost'])]


def bad_iterations(count: int, rng: random.Random, faults: list[str]) -> list[tuple]:
    """Runs with one spoilt iteration, against runs that skip it. Some numbers are computed anew before anything reads
    them, as one of spectral norm's two vectors is: then the run must be the one that nothing was done to.
    """
    counts: collections.Counter = collections.Counter()
    for number in range(count):
        case, place = CASES[number % len(CASES)], rng.choice(PLACES)
        at, value = rng.randrange(STEPS), rng.choice((NAN, INF, -INF))
        patches = pytest.MonkeyPatch()
        patches.callbacks = []   # type: ignore[attr-defined]
        trainer = make(*case)
        for step in range(at):
            iterate(trainer, step)
        other = copy.deepcopy(trainer)
        inject(trainer, place, value, patches, rng)
        iterate(trainer, at)
        cease(patches)
        skipped = int(trainer.bad_steps) == 1
        if skipped:
            other.update_learning_rate()
        else:
            iterate(other, at)
        counts['skipped'] += skipped
        for one in (trainer, other):
            for step in range(at + 1, STEPS):
                iterate(one, step)
        found, wanted = everything(trainer), everything(other)
        names = [name for name in wanted if name not in found or not torch.equal(found[name], wanted[name])]
        if names or found.keys() != wanted.keys():
            counts['different'] += 1
            faults.append(f'{case}: {value} in {place} of iteration {at}: different from a run that '
                          f'{"skips it" if skipped else "does not have it"}: {names[:3]}')
    return [('iterations with a number that is not finite', count, '', True),
            ('  skipped', counts['skipped'], '', True),
            ('  other than a run without them', counts['different'], '0', not counts['different'])]


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--bits', type=at_least(0), default=500, help='flipped bits')
    parser.add_argument('--states', type=at_least(0), default=500, help='odd values in states')
    parser.add_argument('--iterations', type=at_least(0), default=200, help='spoilt iterations')
    parser.add_argument('--seed', type=at_least(0), default=0)
    opts = parser.parse_args(argv)
    torch.set_num_threads(1)
    faults: list[str] = []
    rows: list[tuple] = []
    with tempfile.TemporaryDirectory(prefix='damage_') as folder:
        for name, count, work in (
                ('flipped bits', opts.bits,
                 lambda rng: damage('flipped bits', flipped_bit, opts.bits, Path(folder), rng, faults)),
                ('odd states', opts.states,
                 lambda rng: damage('odd states', odd_state, opts.states, Path(folder), rng, faults)),
                ('iterations', opts.iterations, lambda rng: bad_iterations(opts.iterations, rng, faults))):
            began = time.monotonic()
            rows += work(random.Random(f'{opts.seed} {name}')) if count else []
            print(f'{name}: {time.monotonic() - began:.0f} s', flush=True)
    for fault in faults:
        print(f'FAULT {fault}')
    print('\n| | found | target | |\n|---|---|---|---|')
    for what, found, target, good in rows:
        print(f'| {what} | {found} | {target} | {"" if not target else "yes" if good else "NO"} |')
    return int(bool(faults))


if __name__ == '__main__':
    run_command(main)
