"""Train MUNIT (or another method of table 1) on two folders of images.

    python train.py --config configs/edges2shoes_folder.yaml
    python train.py --config configs/edges2shoes_folder.yaml --resume
    torchrun --nproc_per_node 4 train.py --config configs/edges2shoes_folder.yaml
"""
import errno
import os
import shlex
import signal
import sys
import time
from argparse import BooleanOptionalAction
from collections.abc import Iterable, Iterator

import torch

from core import distributed
from core.checkpoints import load_networks
from core.device import choose_device, name_of_device, peak_memory, reason_of
from core.errors import BadInput, RunEnded
from core.precision import PRECISIONS, set_deterministic, set_precision
from data import (
    EndlessBatches,
    describe_images,
    display_set,
    first_images,
    mixed_seed,
    stream,
    training_set,
    workers_of,
)
from engine.cli import Parser, at_least, run_command
from engine.config import load_config
from engine.methods import METHODS, trainer_class
from engine.paired_data import PairDataset, align
from engine.run_folder import Run
from engine.run_page.page import describe

TOO_MANY_BAD_IMAGES = 1000   # a reason to stop, beside the numbers of signals


def parse_arguments(argv: list[str] | None = None):
    parser = Parser('Train MUNIT (or another method) on two folders of images.',
                    config='configs/edges2handbags_folder.yaml')
    parser.add_argument('--resume', action='store_true', help='go on from the newest whole snapshot of this run, '
                        'or start where there is none')
    parser.add_argument('--init_from', help='a gen_XXXXXXXX.pt whose weights to start from (fine-tuning)')
    parser.add_argument('--seed', type=at_least(0), help='of everything random (default: another each time)')
    for name in ('max_iter', 'batch_size', 'num_workers', 'keep_snapshots'):
        parser.add_argument(f'--{name}', type=at_least(1), help="in place of the config's")
    parser.add_argument('--data_root', help="in place of the config's: a folder with trainA, trainB, testA, testB")
    parser.add_argument('--precision', choices=PRECISIONS, help="in place of the config's")
    parser.add_argument('--cache', choices=('none', 'ram'), help="in place of the config's")
    for name in ('deterministic', 'channels_last', 'compile', 'cuda_graphs', 'fused', 'checkpoint_activations'):
        parser.add_argument(f'--{name}', action=BooleanOptionalAction, default=None, help="in place of the config's")
    return parser.parse_args(argv)


OVERRIDES = ('max_iter', 'batch_size', 'num_workers', 'keep_snapshots', 'data_root', 'precision', 'cache',
             'deterministic', 'channels_last', 'compile', 'cuda_graphs', 'fused', 'checkpoint_activations')


def main(argv: list[str] | None = None) -> int:
    opts = parse_arguments(argv)
    method = METHODS[opts.trainer]
    if distributed.world_size() > 1 and not method.several:
        raise BadInput(f'--trainer {opts.trainer}: trains in one process; start it without torchrun')
    device = choose_device(distributed.start(opts.device))
    overrides = {name: getattr(opts, name) for name in OVERRIDES}
    config = load_config(opts.config, opts.trainer, overrides, data=True)
    config['max_image_pixels'] = opts.max_image_pixels
    run = Run(opts, config)
    sets = [training_set(config, domain) for domain in 'ab']
    shown_sets = {split: [display_set(config, split, domain) for domain in 'ab'] for split in ('train', 'test')}
    for of_both in (sets, *shown_sets.values()) if method.paired else ():
        align(*of_both)
    for split, datasets in (('train', sets), ('test', shown_sets['test'])):
        for domain, dataset in zip('AB', datasets, strict=True):
            run.say(describe_images(split + domain, dataset.paths, dataset.channels))
    shown = {split: [first_images(dataset, config['display_size']) for dataset in datasets]
             for split, datasets in shown_sets.items()}
    run.lock()

    set_precision(config['precision'])
    set_deterministic(config['deterministic'])
    seed = distributed.agreed(torch.seed() % 2 ** 31 if opts.seed is None else opts.seed)
    torch.manual_seed(seed)
    trainer = trainer_class(opts.trainer)(config)
    distributed.share_batch_norms(trainer, device)
    layout = torch.channels_last if config['channels_last'] else torch.contiguous_format
    trainer.to(device=device, memory_format=layout)
    start = trainer.resume(run.checkpoints) if opts.resume else 0
    distributed.check_same(start, f'--output_path {opts.output_path}: the processes see different snapshots there; '
                                  f'it should be a folder that all machines share')
    if opts.init_from and not start:
        load_networks(opts.init_from, trainer.generators(), '--init_from')
    seed = trainer.progress.setdefault('seed', seed)     # of a resumed run: its own
    drawn = trainer.progress.get('drawn', start * config['batch_size'] * distributed.world_size())
    if opts.seed not in (None, seed):
        run.say(f'--seed {opts.seed}: the run began with seed {seed} and goes on with it')
    if config['compile']:
        trainer.compile_step(config['cuda_graphs'])

    processes = f', {distributed.world_size()} processes' if distributed.world_size() > 1 else ''
    run.say(f'{opts.trainer} on {device}{processes}, seed {seed}, iterations {start} to {config["max_iter"]}')
    run.say(f'resumed from {run.checkpoints}, step {start}' if start else f'a new run in {run.folder}' + (
        ' (--resume: no whole snapshot there)' if opts.resume else ''))

    batches = [EndlessBatches(len(dataset), config['batch_size'], mixed_seed(seed, domain), drawn,
                              distributed.rank(), distributed.world_size())
               for dataset, domain in zip(sets, 'aa' if method.paired else 'ab', strict=True)]
    streamed = [PairDataset(*sets)] if method.paired else sets
    streams = [stream(dataset, batches_of_one, workers_of(config), device.type == 'cuda')
               for dataset, batches_of_one in zip(streamed, batches, strict=False)]
    places = config['batch_size'] * distributed.world_size()   # of a stream, taken by each iteration

    def save_pictures(split: str, postfix: str, step: int) -> None:
        if run.writes:
            rows = trainer.sample(*(images.to(device) for images in shown[split]))
            run.write_pictures(rows, trainer.rows_of_sample, f'{split}_{postfix}', step)

    def log_styles(step: int) -> None:
        if run.writes:
            codes = [trainer.style_codes(*(images.to(device) for images in of_split)) for of_split in shown.values()]
            run.write_styles({name: torch.cat([of_split[name] for of_split in codes]) for name in codes[0]}, step)

    def save_snapshot(step: int) -> None:
        if run.writes:
            trainer.save(run.checkpoints, step, config['keep_snapshots'])
            run.say(f'saved {run.checkpoints / f"gen_{step:08d}.pt"}')

    def names_of_last_batches(count: int) -> str:
        places_now = range(max(0, trainer.progress['drawn'] - min(count * places, 4)), trainer.progress['drawn'])
        return ', '.join(str(dataset.paths[of_domain.draw(place).index])
                         for place in places_now for dataset, of_domain in zip(sets, batches, strict=True))

    def log(losses: dict, step: int) -> None:
        values = distributed.average(losses)
        bad = int(trainer.bad_steps)
        run.write_losses({**values, **({'bad_steps': bad} if bad else {})}, step)

    def ended(status: int, why: str) -> RunEnded:
        return RunEnded(status, f'{why}; to go on: python train.py {resume_line(argv)}')

    about = {**describe(opts.trainer, config, overrides), 'kinds': trainer.rows_of_sample,
             'averaged': config.get('ema_decay', 0) if trainer.ema else 0,
             'command': f'python train.py {shlex.join(arguments_of(argv))}',
             'resume': f'python train.py {resume_line(argv)}',
             'facts': [('Device', name_of_device(device) + processes), ('Precision', config['precision']),
                       ('Seed', str(seed))]}
    stop = StopSignal()
    step, reason, in_a_row = start, 0, 0
    try:
        run.start(start, opts.resume, overrides, about, device)
        clock = Clock(streamed[0].split(streams[0]) if method.paired else zip(*streams, strict=True))
        for x_a, x_b in clock:
            if step >= config['max_iter']:
                break
            # Noise hangs on the seed and the step alone: a resumed run draws what an uninterrupted one does.
            torch.manual_seed(mixed_seed(seed, 'noise', step))
            trainer.update_learning_rate()                                                # before the update
            losses = trainer.update(x_a.to(device, non_blocking=True, memory_format=layout),
                                    x_b.to(device, non_blocking=True, memory_format=layout))

            step += 1
            trainer.progress['drawn'] = drawn + (step - start) * places
            too_many = sum(int(dataset.broken.sum()) for dataset in sets) > config['max_bad_images']
            reason = distributed.agreed(max(stop.asked(), TOO_MANY_BAD_IMAGES if too_many else 0))
            looked_at = step % config['log_iter'] == 0 or device.type == 'cpu'   # elsewhere looking means waiting
            in_a_row = int(trainer.bad_in_a_row) if looked_at else 0
            last = step == config['max_iter'] or reason or in_a_row >= config['max_bad_steps']
            if step == start + 1:
                run.say(f'step {step}: {clock.seconds():.2f} s'
                        + (' with compiling' if config['compile'] else '') + f', peak memory {peak_memory(device)}')
            if step == start + 11:
                run.say(f'steps {start + 2} to {step}: {clock.seconds_of_later_steps():.3f} s/it, '
                        f'{clock.share_waiting():.0%} of it waiting for data')
            if step % config['log_iter'] == 0:
                log(losses, step)
            if step % config['image_save_iter'] == 0:
                save_pictures('test', f'{step:08d}', step)
                save_pictures('train', f'{step:08d}', step)
                log_styles(step)
            if step % config['image_display_iter'] == 0 or last:
                save_pictures('train', 'current', step)
            if step % config['image_save_iter'] == 0 or step % config['image_display_iter'] == 0 or last:
                run.write_page(step)
            if step % config['snapshot_save_iter'] == 0 or last:
                save_snapshot(step)
            run.bar.update()
            if last:   # decided before the snapshot: a signal that comes later than that ends the next iteration
                break
        if in_a_row >= config['max_bad_steps']:
            raise ended(3, f'the gradients of {in_a_row} iterations in a row up to step {step} were not finite; none '
                           f'of them changed the weights. Look at the last images, {names_of_last_batches(in_a_row)}')
        if reason == TOO_MANY_BAD_IMAGES:
            raise ended(3, f'more than max_bad_images {config["max_bad_images"]} images could not be read (named '
                           f'above)')
    except OSError as error:
        if error.errno not in DISK_FAULTS:
            raise
        raise ended(4, f'cannot write {error.filename or run.folder}: {error.strerror}; the last whole snapshot in '
                       f'{run.checkpoints} stays. Make room') from None
    except torch.OutOfMemoryError:
        raise RunEnded(2, f'out of memory on {device}: batch_size {config["batch_size"]}, crop '
                          f'{config["crop_image_height"]}×{config["crop_image_width"]}, gen.dim '
                          f'{config["gen"]["dim"]}, dis.dim {config["dis"]["dim"]}; lower one of them, or set '
                          f'precision: bf16 or checkpoint_activations: true') from None
    except RuntimeError as error:
        if config['compile'] and isinstance(error, torch._dynamo.exc.TorchDynamoException):
            raise BadInput(f'compile: PyTorch cannot compile the networks on this machine ({reason_of(error)}); leave '
                           f'it out, or install what compiles for {device.type}') from None
        if 'DataLoader worker' not in str(error):
            raise
        save_snapshot(step)
        raise ended(3, f'a process that reads images has died after step {step} '
                       f'({str(error).splitlines()[0]})') from None
    finally:
        for of_domain in streams:
            of_domain.close()
        if error := sys.exc_info()[1]:
            run.end(step, 'failed', str(error) or type(error).__name__)
        run.close()

    if step < config['max_iter']:
        name = signal.Signals(reason).name
        run.end(step, 'stopped', name)
        run.say(f'stopped by {name} after step {step}; to go on: python train.py {resume_line(argv)}')
        return 128 + reason
    run.end(step, 'finished')
    run.say(f'finished {step} iterations, {clock.share_waiting():.0%} of the time waiting for data\n'
            f'  pictures     {run.folder / "index.html"}\n'
            f'  checkpoints  {run.checkpoints}\n  TensorBoard  tensorboard --logdir {run.logs}')
    return 0


DISK_FAULTS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS}


class Clock:
    """Passes batches on, and measures what share of the time is spent waiting for them."""

    def __init__(self, batches: Iterable):
        self.batches, self.count, self.waited = iter(batches), 0, 0.0
        self.begin = self.first = time.perf_counter()

    def __iter__(self) -> Iterator:
        while True:
            before = time.perf_counter()
            batch = next(self.batches)
            now = time.perf_counter()
            self.count += 1
            if self.count == 2:   # the first iteration starts workers, kernels and much else: left out
                self.first, self.waited = before, 0.0
            self.waited += now - before
            yield batch

    def seconds(self) -> float:
        """Since the start."""
        return time.perf_counter() - self.begin

    def seconds_of_later_steps(self) -> float:
        """Seconds an iteration, the first left out."""
        return (time.perf_counter() - self.first) / max(1, self.count - 1)

    def share_waiting(self) -> float:
        """The share of the time since the first iteration that was spent waiting for data."""
        return self.waited / max(1e-9, time.perf_counter() - self.first) if self.count > 1 else 0.0


def resume_line(argv: list[str] | None) -> str:
    """The arguments of this run, with --resume."""
    arguments = arguments_of(argv)
    return shlex.join([*arguments, *([] if '--resume' in arguments else ['--resume'])])


def arguments_of(argv: list[str] | None) -> list[str]:
    """The command line, without the program."""
    return sys.argv[1:] if argv is None else argv


class StopSignal:
    """Remembers SIGINT, SIGTERM or SIGUSR1, so that the iteration ends before the run does; a second SIGINT kills."""

    def __init__(self):
        self.number, self.parent = 0, os.getppid()
        for name in ('SIGINT', 'SIGTERM', 'SIGUSR1'):
            if hasattr(signal, name):   # the last not on Windows
                signal.signal(getattr(signal, name), self._remember)

    def asked(self) -> int:
        """The signal that is to be followed, or 0. Processes whose torchrun was killed take that for SIGTERM."""
        if distributed.world_size() > 1 and os.getppid() != self.parent:
            return int(signal.SIGTERM)
        return int(self.number)

    def _remember(self, number: int, _) -> None:
        self.number = number
        if number == signal.SIGINT:   # schedulers may send the others twice
            signal.signal(number, signal.SIG_DFL)


if __name__ == '__main__':
    run_command(main)
