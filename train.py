"""Train MUNIT (or another method of table 1) on two folders of images.

    python train.py --config configs/edges2shoes_folder.yaml
    python train.py --config configs/edges2shoes_folder.yaml --resume
    torchrun --nproc_per_node 4 train.py --config configs/edges2shoes_folder.yaml
"""
import argparse
import shlex
import sys

import torch

from core import distributed
from core.device import choose_device
from core.errors import BadInput
from core.precision import PRECISIONS, set_deterministic, set_precision
from engine.cli import Parser, at_least, run_command
from engine.config import load_config
from engine.cuda_graph import GraphedUpdate
from engine.initial_weights import check_flags, load_initial
from engine.methods import METHODS, trainer_class
from engine.run_folder import RunFolder
from engine.run_page.page import describe_run
from engine.training import TrainingImages, TrainingLoop, facts_of
from trainer import Trainer

OVERRIDES = ('max_iter', 'batch_size', 'num_workers', 'keep_snapshots', 'data_root', 'precision', 'cache', 'tracker',
             'deterministic', 'channels_last', 'compile', 'cuda_graphs', 'fused', 'checkpoint_activations')


def train(loop: TrainingLoop) -> None:
    """Run the training loop, which writes logs, sample images and snapshots on schedule."""
    trainer = loop.trainer
    for x_a, x_b in loop.batches():
        trainer.update_learning_rate()                            # before the step, as in the original
        losses = trainer.update(x_a, x_b)

        step = loop.count()
        if loop.rolled_back(losses):
            continue
        if loop.due('log_iter'):
            loop.log(losses)
        if loop.due('image_save_iter'):
            loop.save_samples()
        if loop.due('image_display_iter') or loop.last:
            loop.save_pictures('train', 'current')
        if loop.due('image_save_iter') or loop.due('image_display_iter') or loop.last:
            loop.run.write_page(step)
        last = loop.last   # read before the snapshot; a later signal takes effect after the next iteration
        if loop.due('snapshot_save_iter') or last:
            loop.save_snapshot()
        loop.run.bar.update()
        if last:
            break


def main(argv: list[str] | None = None) -> int:
    opts = parse_arguments(argv)
    method = METHODS[opts.trainer]
    if distributed.world_size() > 1 and not method.several:
        raise BadInput(f'--trainer {opts.trainer}: does not support distributed training; start it without torchrun')
    device = choose_device(distributed.start(opts.device))
    overrides = {name: getattr(opts, name) for name in OVERRIDES}
    config = load_config(opts.config, opts.trainer, overrides, data=True)
    config['max_image_pixels'] = opts.max_image_pixels
    run = RunFolder(opts, config)
    images = TrainingImages(config, method.paired)
    for line in images.describe():
        run.say(line)
    run.lock()

    trainer, seed, start = make_trainer(opts, config, run, device)
    processes = f', {distributed.world_size()} processes' if distributed.world_size() > 1 else ''
    if start >= config['max_iter']:
        run.say(f'{run.folder} is at step {start}, and max_iter is {config["max_iter"]}: nothing to do; to '
                f'continue, raise max_iter')
        if start > config['max_iter']:   # otherwise the page may not yet show the end of the run
            return 0
    run.say(f'{opts.trainer} on {device}{processes}, seed {seed}' + (
        f', iterations {start} to {config["max_iter"]}' if start < config['max_iter'] else ''))
    run.say(f'resumed from {run.checkpoints}, step {start}' if start else f'a new run in {run.folder}' + (
        ' (--resume: it contains no complete snapshot)' if opts.resume else ''))
    about = {**describe_run(opts.trainer, config, overrides), 'kinds': trainer.rows_of_sample,
             'averaged': config.get('ema_decay', 0) if trainer.ema else 0, 'facts': facts_of(trainer, seed),
             'command': f'python train.py {shlex.join(arguments_of(argv))}',
             'resume': f'python train.py {resume_line(argv)}'}

    loop = TrainingLoop(trainer, images, run, seed, start, about['resume'])
    with loop.running(opts.resume, overrides, about):
        train(loop)
    return loop.conclude()


def make_trainer(opts: argparse.Namespace, config: dict, run: RunFolder, device: torch.device
                 ) -> tuple[Trainer, int, int]:
    """Return the trainer on its device, new or resumed, the seed of the run, and the number of completed iterations.

    Raises:
        BadInput: a snapshot, or the checkpoint of --init_from, cannot be used.
    """
    set_precision(config['precision'])
    set_deterministic(config['deterministic'])
    seed = distributed.agreed(torch.seed() % 2 ** 31 if opts.seed is None else opts.seed)
    torch.manual_seed(seed)
    trainer = trainer_class(opts.trainer)(config)
    distributed.share_batch_norms(trainer, device)
    trainer.to(device=device, memory_format=torch.channels_last if config['channels_last'] else torch.contiguous_format)
    start = trainer.resume(run.checkpoints) if opts.resume else 0
    distributed.check_same(start, f'--output_path {opts.output_path}: the processes find different snapshots; '
                                  f'use a folder that all machines share')
    if opts.init_from and not start:
        load_initial(trainer, opts, run.say)
    seed = trainer.progress.setdefault('seed', seed)     # a resumed run keeps its seed
    if opts.seed not in (None, seed):
        run.say(f'--seed {opts.seed}: the run began with seed {seed} and continues with it')
    if config['compile']:
        trainer.compile_step()
    if config['cuda_graphs'] and device.type == 'cuda' and distributed.world_size() == 1:
        trainer.update = GraphedUpdate(trainer)   # type: ignore[method-assign]
    elif config['cuda_graphs']:
        run.say('cuda_graphs: has no effect here; it requires a single process on a CUDA device')
    return trainer, seed, start


def parse_arguments(argv: list[str] | None = None):
    parser = Parser('Train MUNIT (or another method) on two folders of images.',
                    config='configs/edges2handbags_folder.yaml')
    parser.add_argument('--resume', action='store_true', help='continue from the newest complete snapshot '
                        'of this run, or start a new run if there is none')
    parser.add_argument('--init_from', help='start from the weights of this gen_XXXXXXXX.pt (fine-tuning), or of the '
                        'newest one in this folder')
    parser.add_argument('--init_from_dis', action='store_true', help='with --init_from, also load the '
                        'discriminators, from the dis_ file in the same folder or from the same file')
    parser.add_argument('--init_from_partial', action='store_true', help='with --init_from, load only weights with '
                        'matching names and shapes, and list the others')
    parser.add_argument('--seed', type=at_least(0), help='random seed of the run (default: random)')
    for name, least in (('max_iter', 1), ('batch_size', 1), ('num_workers', 0), ('keep_snapshots', 0)):
        parser.add_argument(f'--{name}', type=at_least(least), help='overrides the config')
    parser.add_argument('--data_root', help='overrides the config: a folder with trainA, trainB, testA, testB')
    parser.add_argument('--precision', choices=PRECISIONS, help='overrides the config')
    parser.add_argument('--cache', choices=('none', 'ram'), help='overrides the config')
    parser.add_argument('--tracker', choices=('none', 'wandb', 'mlflow'), help='overrides the config')
    for name in ('deterministic', 'channels_last', 'compile', 'cuda_graphs', 'fused', 'checkpoint_activations'):
        parser.add_argument(f"--{name}", action=argparse.BooleanOptionalAction, default=None,
                            help='overrides the config')
    opts = parser.parse_args(argv)
    check_flags(opts)
    return opts


def resume_line(argv: list[str] | None) -> str:
    """Return the arguments of this run with --resume added."""
    arguments = arguments_of(argv)
    return shlex.join([*arguments, *([] if '--resume' in arguments else ['--resume'])])


def arguments_of(argv: list[str] | None) -> list[str]:
    """Return the command line without the program name."""
    return sys.argv[1:] if argv is None else argv


if __name__ == '__main__':
    run_command(main)
