"""The parts of a training run outside the loop in `train.py`: data and its order, error handling, signals, and the
schedule of logs, sample images and snapshots.
"""
import contextlib
import os
import shlex
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor

from core import distributed
from core.device import name_of_device, peak_memory, reason_of
from core.errors import BadInput, RunEnded
from core.files import DISK_FAULTS
from core.run_state import NotFinite
from core.snapshots import newest
from data import (
    EndlessBatches,
    ImagesAway,
    combined_seed,
    describe_images,
    display_set,
    first_images,
    stream,
    training_set,
    workers_of,
)
from engine.divergence import Divergence, DivergenceWatch
from engine.paired_data import PairDataset, align
from engine.run_folder import RunFolder
from trainer import Trainer

TOO_MANY_BAD_IMAGES = 1000   # a reason to stop, in addition to the numbers of signals
LOOK_FOR_IMAGES = 0.5        # seconds between two checks whether unreachable images are reachable again
HALVED_STEPS = 1000          # number of steps with half the learning rates after a rollback


class TrainingImages:
    """The images of a run: both training sets, and the inputs of its sample images.

    Args:
        config: a config returned by `config.load_config`.
        paired: whether files of the same name in A and B are pairs.
    """

    def __init__(self, config: dict, paired: bool):
        self.config, self.paired = config, paired
        self.sets = [training_set(config, domain) for domain in 'ab']
        self.shown_sets = {split: [display_set(config, split, domain) for domain in 'ab']
                           for split in ('train', 'test')}
        for of_both in (self.sets, *self.shown_sets.values()) if paired else ():
            align(*of_both)

    def describe(self) -> list[str]:
        """Return a line for each set with the number of images, their sizes and channels."""
        return [describe_images(split + domain, dataset.paths, dataset.channels, dataset.value_range)
                for split, datasets in (('train', self.sets), ('test', self.shown_sets['test']))
                for domain, dataset in zip('AB', datasets, strict=True)]

    def shown(self) -> dict[str, list[Tensor]]:
        """Return the inputs of the sample images: for each split, tensors (N, C, H, W) of A and of B."""
        return {split: [first_images(dataset, self.config['display_size']) for dataset in datasets]
                for split, datasets in self.shown_sets.items()}

    def are_away(self) -> bool:
        """Return whether all files of one of the training sets are unreachable."""
        return any(dataset.is_unreachable() for dataset in self.sets)

    def too_many_broken(self) -> bool:
        """Return whether more than `max_bad_images` files could not be read."""
        return sum(int(dataset.broken.sum()) for dataset in self.sets) > self.config['max_bad_images']


class Batches:
    """Endless batches of both domains, in an order that depends only on the seed.

    Iterating raises `ImagesAway` if all files of a set are unreachable and `wait` returns false.

    Args:
        images: the images of the run.
        seed: the seed of the run.
        drawn: number of images of each domain that have already been drawn by all processes together.
        pinned: whether to return batches in pinned memory, for copies to a CUDA device.
        wait: waits for unreachable images, and returns whether they are reachable again.
    """

    def __init__(self, images: TrainingImages, seed: int, drawn: int, pinned: bool,
                 wait: Callable[[ImagesAway], bool] = lambda _: False):
        self.images, self.seed, self.drawn, self.pinned, self.wait = images, seed, drawn, pinned, wait
        self._open()

    def _open(self) -> None:
        config, images = self.images.config, self.images
        self.orders = [EndlessBatches(len(dataset), config['batch_size'], combined_seed(self.seed, domain), self.drawn,
                                      distributed.rank(), distributed.world_size())
                       for dataset, domain in zip(images.sets, 'aa' if images.paired else 'ab', strict=True)]
        streamed: Any = [PairDataset(*images.sets)] if images.paired else images.sets
        self.streams = [stream(dataset, order, workers_of(config), self.pinned)
                        for dataset, order in zip(streamed, self.orders, strict=False)]
        self.pairs = streamed[0].split(self.streams[0]) if images.paired else zip(*self.streams, strict=True)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        while True:
            try:
                for pair in self.pairs:
                    self.drawn += self.images.config['batch_size'] * distributed.world_size()
                    yield pair
            except ImagesAway as away:
                self.close()
                if not self.wait(away):
                    raise
                self._open()   # continues at the same position

    def names(self, places: Iterable[int]) -> str:
        """Return the files of both domains at these positions of the order."""
        return ', '.join(str(dataset.paths[order.draw(place).index])
                         for place in places for dataset, order in zip(self.images.sets, self.orders, strict=True))

    def close(self) -> None:
        """Stop the threads and processes that read images."""
        for of_domain in self.streams:
            of_domain.close()


class TrainingLoop:
    """Control of a run of `train.py`: supplies batches, counts steps, writes outputs on schedule, decides when to stop.

    Args:
        trainer: the trainer, on its device, with its state restored if the run is resumed.
        images: the images of the run.
        run: the folders of the run, which must be locked.
        seed: the seed of the run.
        start: number of completed iterations.
        resume_command: the command that resumes this run, for messages.
    """

    def __init__(self, trainer: Trainer, images: TrainingImages, run: RunFolder, seed: int, start: int,
                 resume_command: str):
        self.trainer, self.images, self.run, self.config = trainer, images, run, trainer.config
        self.device, self.seed, self.start, self.step = trainer.device, seed, start, start
        self.resume_command = resume_command
        self.layout = torch.channels_last if self.config['channels_last'] else torch.contiguous_format
        self.places = self.config['batch_size'] * distributed.world_size()   # images of a domain in an iteration
        self.shown = images.shown()
        self.watch = self._watch_of_snapshot()
        self.reason, self.bad_in_a_row, self.looked_at = 0, 0, start
        self.open_batches()

    # -- called by the loop in train.py, in this order ----------------------------------------------------------------

    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield images of A and B (N, C, H, W) on the device until the run reaches `max_iter`."""
        while self.step < self.config['max_iter']:
            try:
                x_a, x_b = next(self.clock)
            except ImagesAway as away:
                if self.step > self.start:
                    self.save_snapshot()
                self.reason = self.stop.asked()
                if self.reason:
                    return
                raise self._ended(3, f'step {self.step}: {away}, for longer than data_timeout '
                                     f'{self.config["data_timeout"]:g} s') from None
            # Noise depends only on the seed, the step and the number of rollbacks, so that a resumed run draws the same
            # noise as an uninterrupted one.
            rollbacks = self.trainer.progress.get('rollbacks', 0)
            torch.manual_seed(combined_seed(self.seed, 'noise', self.step, *([rollbacks] if rollbacks else [])))
            yield tuple(x.to(self.device, non_blocking=True, memory_format=self.layout) for x in (x_a, x_b))

    def count(self) -> int:
        """Count a completed iteration and check for reasons to stop. Returns the number of completed iterations."""
        self.step += 1
        self.trainer.progress['drawn'] = self.drawn + (self.step - self.opened_at) * self.places
        self.reason = distributed.agreed(max(self.stop.asked(),
                                             TOO_MANY_BAD_IMAGES if self.images.too_many_broken() else 0))
        if self.due('log_iter') or self.device.type == 'cpu':   # on a GPU, reading it synchronises
            self.bad_in_a_row = int(self.trainer.bad_in_a_row)
        self._say_speed()
        return self.step

    @property
    def last(self) -> bool:
        """Whether this is the last iteration of the run."""
        return bool(self.step == self.config['max_iter'] or self.reason
                    or self.bad_in_a_row >= self.config['max_bad_steps'])

    def due(self, key: str) -> bool:
        """Return whether the step is a multiple of a key such as `log_iter`."""
        return self.step % self.config[key] == 0

    def log(self, losses: dict[str, Tensor]) -> None:
        """Log the losses, learning rates, gradient norms, and the numbers of skipped and clipped steps."""
        values = distributed.average(losses)
        for of, optimizer in self.trainer._optimizers().items():
            values[f'lr_{of}'] = float(optimizer.param_groups[0]['lr'])
        for of, clip in self.trainer.clips.items():
            norms = clip.last_norms(1)
            values |= {f'grad_norm_{of}': norms[-1]} if norms else {}
            clipped = int(clip.clipped)
            values |= {f'clipped_steps_{of}': clipped} if clipped else {}
        counts = {'bad_steps': int(self.trainer.bad_steps), 'data_waits': self.trainer.progress.get('data_waits', 0)}
        self.run.write_losses({**values, **{name: count for name, count in counts.items() if count}}, self.step)

    def save_pictures(self, split: str, postfix: str) -> None:
        """Write the sample images of a split."""
        if self.run.writes:
            rows = self.trainer.sample(*(images.to(self.device) for images in self.shown[split]))
            self.run.write_pictures(rows, self.trainer.rows_of_sample, f'{split}_{postfix}', self.step)

    def save_samples(self) -> None:
        """Write the numbered sample images of both splits, and log the distribution of their style codes."""
        self.save_pictures('test', f'{self.step:08d}')
        self.save_pictures('train', f'{self.step:08d}')
        if self.run.writes:
            codes = [self.trainer.style_codes(*(images.to(self.device) for images in of_split))
                     for of_split in self.shown.values()]
            self.run.write_styles({name: torch.cat([of_split[name] for of_split in codes]) for name in codes[0]},
                                  self.step)

    def save_snapshot(self) -> None:
        """Write a snapshot. While a divergence is not resolved, earlier snapshots are not deleted."""
        if self.run.writes:
            self.trainer.progress['watch'] = self.watch.memory()
            keep = 0 if self.watch.since else self.config['keep_snapshots']
            try:
                self.run.remake(self.run.checkpoints)
                self.trainer.save(self.run.checkpoints, self.step, keep)
            except OSError as error:
                raise self._cannot_write(error) from None
            except NotFinite as fault:
                raise self._ended(3, f'step {self.step}: {fault}; no snapshot is written, and earlier ones are kept. '
                                     f'Lower lr and dis_lr, or set grad_clip: auto') from None
            self.run.say(f'saved {self.run.checkpoints / f"gen_{self.step:08d}.pt"}')

    # -- divergence ---------------------------------------------------------------------------------------------------

    def rolled_back(self, losses: dict[str, Tensor]) -> bool:
        """Check for divergence and handle it according to `on_divergence`. Returns whether the run was rolled back.

        On a CPU all iterations are checked. On a GPU, where this requires synchronisation, and with several processes,
        only logged iterations are checked.
        """
        if not self.due('log_iter') and (self.device.type != 'cpu' or distributed.world_size() > 1):
            return False
        count, self.looked_at = self.step - self.looked_at, self.step
        norms = {of: clip.last_norms(count) for of, clip in self.trainer.clips.items()}
        found = self.watch.observe(self.step, norms, distributed.average(losses))
        if not found:
            return False
        return self._answer(found)

    def _answer(self, found: Divergence) -> bool:
        line = (f'step {self.step}: training diverges since step {found.step} ({found.rule}: {found.what}); the last '
                f'images: {self.names_of_last_batches(2)}')
        if self.config['on_divergence'] == 'rollback':
            self._roll_back(found)
            return True
        self.run.mark(found.step, line)
        if self.config['on_divergence'] == 'stop':
            raise self._ended(3, line)
        self.run.say_error(line)
        return False

    def _watch_of_snapshot(self) -> DivergenceWatch:
        watch = DivergenceWatch(clipped=self.config['grad_clip'] != 'none')
        if 'watch' in self.trainer.progress:
            watch.restore(self.trainer.progress['watch'])
        return watch

    def _roll_back(self, found: Divergence) -> None:
        """Resume from the newest snapshot before a divergence, with different noise and temporarily halved learning
        rates.
        """
        rollbacks = self.trainer.progress.get('rollbacks', 0) + 1
        if rollbacks > self.config['max_rollbacks']:
            raise self._ended(3, f'step {self.step}: training diverges again after {rollbacks - 1} rollbacks '
                                 f'(max_rollbacks): lower lr and dis_lr, or set grad_clip: auto')
        before = self.step
        step = self.trainer.resume(self.run.checkpoints, before=found.step)
        if not step:
            raise self._ended(3, f'step {before}: training diverges, and there is no snapshot from before step '
                                 f'{found.step} to roll back to; lower snapshot_save_iter')
        self.trainer.progress |= {'rollbacks': rollbacks, 'halved_until': before + HALVED_STEPS}
        self.watch = self._watch_of_snapshot()
        self.step = self.looked_at = step
        self.batches_read.close()
        self.open_batches()
        self.run.rewind(step)
        line = (f'step {before}: training diverges since step {found.step} ({found.rule}: {found.what}); rolled back '
                f'to step {step} (rollback {rollbacks} of {self.config["max_rollbacks"]}), with other noise and half '
                f'the learning rates up to step {before + HALVED_STEPS}')
        self.run.mark(found.step, line)
        self.run.say_error(line)

    # -- start, errors and end ----------------------------------------------------------------------------------------

    def open_batches(self) -> None:
        """Start reading batches at the position that the trainer has reached."""
        self.opened_at = self.step
        self.drawn = self.trainer.progress.get('drawn', self.step * self.places)
        self.batches_read = Batches(self.images, self.seed, self.drawn, self.device.type == 'cuda',
                                    self._wait_for_images)
        self.clock = Clock(self.batches_read)

    def _wait_for_images(self, away: ImagesAway) -> bool:
        """Wait for unreachable images until `data_timeout` or a signal. Returns whether they are reachable again."""
        begin, most = time.monotonic(), self.config['data_timeout']
        self.trainer.progress['data_waits'] = self.trainer.progress.get('data_waits', 0) + 1
        line = f'step {self.step}: {away}; waiting for them, up to {most:g} s (data_timeout)'
        self.run.say_error(line)
        self.run.mark(self.step, line)
        self.run.write_page(self.step)
        while (waited := time.monotonic() - begin) < most and not self.stop.asked():
            if not self.images.are_away():
                self.run.say_error(f'step {self.step}: the images are available again after {waited:.0f} s')
                return True
            time.sleep(LOOK_FOR_IMAGES)
        return False

    @contextlib.contextmanager
    def running(self, resumed: bool, overrides: dict, about: dict) -> Iterator[None]:
        """Open the log, page and progress bar, and convert errors of a run to one-line messages and exit statuses."""
        self.stop = StopSignal()
        try:
            self.run.start(self.start, resumed, overrides, about, self.device)
            yield
            self._raise_reasons()
        except OSError as error:
            if error.errno not in DISK_FAULTS:
                raise
            raise self._cannot_write(error) from None
        except torch.OutOfMemoryError:
            config = self.config
            raise RunEnded(2, f'out of memory on {self.device}: batch_size {config["batch_size"]}, crop '
                              f'{config["crop_image_height"]}×{config["crop_image_width"]}, gen.dim '
                              f'{config["gen"]["dim"]}, dis.dim {config["dis"]["dim"]}; lower one of them, or set '
                              f'precision: bf16 or checkpoint_activations: true') from None
        except RuntimeError as error:
            if self.config['compile'] and isinstance(error, torch._dynamo.exc.TorchDynamoException):
                raise BadInput(f'compile: PyTorch cannot compile the networks on this machine ({reason_of(error)}); '
                               f'leave it out, or install a compiler for {self.device.type}') from None
            if 'DataLoader worker' not in str(error):
                raise
            self.save_snapshot()
            raise self._ended(3, f'step {self.step}: the processes that read images have failed: '
                                 f'{str(error).splitlines()[0]}') from None
        finally:
            self.batches_read.close()
            if raised := sys.exc_info()[1]:
                self.run.end(self.step, 'failed', str(raised) or type(raised).__name__)
            self.run.close()

    def conclude(self) -> int:
        """Report how the run ended. Returns the exit status."""
        run, step = self.run, self.step
        if step < self.config['max_iter']:
            name = signal.Signals(self.reason).name
            run.end(step, 'stopped', name)
            run.say(f'stopped by {name} after step {step}; to continue: {self.resume_command}')
            return 128 + self.reason
        run.end(step, 'finished')
        run.say(f'finished {step} iterations, {self.clock.share_waiting():.0%} of the time waiting for data\n'
                f'  pictures     {run.folder / "index.html"}\n'
                f'  checkpoints  {run.checkpoints}\n  TensorBoard  tensorboard --logdir {shlex.quote(str(run.logs))}')
        return 0

    def names_of_last_batches(self, count: int) -> str:
        """Return the files in the batches of the last iterations, at most four of each domain."""
        drawn = self.trainer.progress['drawn']
        return self.batches_read.names(range(max(0, drawn - min(count * self.places, 4)), drawn))

    def _raise_reasons(self) -> None:
        if self.bad_in_a_row >= self.config['max_bad_steps']:
            raise self._ended(3, f'losses or gradients of {self.bad_in_a_row} iterations in a row up to step '
                                 f'{self.step} were not finite; these changed nothing. Look at the last images, '
                                 f'{self.names_of_last_batches(self.bad_in_a_row)}')
        if self.reason == TOO_MANY_BAD_IMAGES:
            raise self._ended(3, f'more than max_bad_images {self.config["max_bad_images"]} images could not be read '
                                 f'(named above)')

    def _cannot_write(self, error: OSError) -> RunEnded:
        step, _ = newest(self.run.checkpoints)
        stays = f'the snapshot of step {step} is kept' if step is not None else 'there is no snapshot yet'
        advice = 'Free disk space' if error.errno in DISK_FAULTS else 'Make the folder writable'
        return self._ended(4, f'cannot write {error.filename or self.run.folder}: {error.strerror or error}; {stays}. '
                              f'{advice}')

    def _ended(self, status: int, why: str) -> RunEnded:
        return RunEnded(status, f'{why}; to continue: {self.resume_command}')

    def _say_speed(self) -> None:
        done = self.step - self.opened_at
        if done == 1:
            self.run.say(f'step {self.step}: {self.clock.seconds():.2f} s'
                         + (' with compiling' if self.config['compile'] else '')
                         + f', peak memory {peak_memory(self.device)}')
        if done == 11:
            self.run.say(f'steps {self.opened_at + 2} to {self.step}: {self.clock.seconds_of_later_steps():.3f} s/it, '
                         f'{self.clock.share_waiting():.0%} of it waiting for data')


def facts_of(trainer: Trainer, seed: int) -> list[tuple[str, str]]:
    """Return the device, precision and seed for the page of a run."""
    processes = f', {distributed.world_size()} processes' if distributed.world_size() > 1 else ''
    return [('Device', name_of_device(trainer.device) + processes), ('Precision', trainer.config['precision']),
            ('Seed', str(seed))]


class Clock:
    """An iterator over batches that measures the fraction of time spent waiting for them."""

    def __init__(self, batches: Iterable):
        self.batches, self.count, self.waited = iter(batches), 0, 0.0
        self.begin = self.first = time.perf_counter()

    def __iter__(self) -> Iterator:
        return self

    def __next__(self):
        before = time.perf_counter()
        batch = next(self.batches)
        now = time.perf_counter()
        self.count += 1
        if self.count == 2:   # exclude the first iteration, which starts workers and loads kernels
            self.first, self.waited = before, 0.0
        self.waited += now - before
        return batch

    def seconds(self) -> float:
        """Return the seconds since the start."""
        return time.perf_counter() - self.begin

    def seconds_of_later_steps(self) -> float:
        """Return the mean seconds per iteration without the first one."""
        return (time.perf_counter() - self.first) / max(1, self.count - 1)

    def share_waiting(self) -> float:
        """Return the fraction of time since the first iteration that was spent waiting for data."""
        return self.waited / max(1e-9, time.perf_counter() - self.first) if self.count > 1 else 0.0


class StopSignal:
    """Records SIGINT, SIGTERM, SIGUSR1 or SIGHUP, so that the run can end after the current iteration. A second SIGINT
    ends the process at once. SIGHUP, sent when a terminal is closed, remains ignored under nohup.
    """

    def __init__(self):
        self.number, self.parent = 0, os.getppid()
        for name in ('SIGINT', 'SIGTERM', 'SIGUSR1', 'SIGHUP'):
            number = getattr(signal, name, None)   # Windows does not define all of them
            if number and (name != 'SIGHUP' or signal.getsignal(number) != signal.SIG_IGN):
                signal.signal(number, self._remember)

    def asked(self) -> int:
        """Return the recorded signal, or 0. If torchrun was killed, its processes return SIGTERM."""
        if distributed.world_size() > 1 and os.getppid() != self.parent:
            return int(signal.SIGTERM)
        return int(self.number)

    def _remember(self, number: int, _) -> None:
        self.number = number
        if number == signal.SIGINT:   # schedulers may send the others twice
            signal.signal(number, signal.SIG_DFL)
