"""Train MUNIT (or UNIT) on two folders of images.

    python train.py --config configs/edges2shoes_folder.yaml
    python train.py --config configs/edges2shoes_folder.yaml --resume
"""
import shlex
import signal
import sys
from pathlib import Path

import torch
import yaml
from tensorboardX import SummaryWriter
from tqdm import tqdm

from checkpoints import latest_snapshot
from config import load_config
from data import describe_images, display_set, first_images, stream, training_set, workers_of
from trainer import TRAINERS
from utils import (
    Parser,
    at_least,
    choose_device,
    make_folder,
    picture_grid,
    run_command,
    write_page,
    write_picture,
)


def parse_arguments(argv: list[str] | None = None):
    parser = Parser('Train MUNIT (or UNIT) on two folders of images.', config='configs/edges2handbags_folder.yaml')
    parser.add_argument('--resume', action='store_true', help='go on from the newest checkpoint of this run')
    parser.add_argument('--max_iter', type=at_least(1), help="in place of the config's")
    parser.add_argument('--data_root', help="in place of the config's: a folder with trainA, trainB, testA, testB")
    parser.add_argument('--seed', type=at_least(0), help='of everything random (default: another each time)')
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    opts = parse_arguments(argv)
    device = choose_device(opts.device)
    overrides = {'max_iter': opts.max_iter, 'data_root': opts.data_root}
    config = load_config(opts.config, opts.trainer, overrides, data=True)
    sets = [training_set(config, domain) for domain in 'ab']
    shown_sets = {split: [display_set(config, split, domain) for domain in 'ab'] for split in ('train', 'test')}
    for split, datasets in (('train', sets), ('test', shown_sets['test'])):
        for domain, dataset in zip('AB', datasets, strict=True):
            print(describe_images(split + domain, dataset.paths, dataset.channels))
    shown = {split: [first_images(dataset, config['display_size']) for dataset in datasets]
             for split, datasets in shown_sets.items()}
    run = Run(opts)

    torch.backends.cudnn.benchmark = True
    seed = torch.seed() % 2 ** 31 if opts.seed is None else opts.seed
    torch.manual_seed(seed)
    trainer = TRAINERS[opts.trainer](config).to(device)
    start = trainer.resume(run.checkpoints) if opts.resume else 0
    torch.manual_seed(seed + start)   # a resumed run must not see again the noise and the images that it began with
    print(f'{opts.trainer} on {device}, seed {seed}, iterations {start} to {config["max_iter"]}')
    print(f'resumed from {run.checkpoints}, step {start}' if start else f'a new run in {run.folder}')

    streams = [stream(dataset, config['batch_size'], workers_of(config), 2 * (seed + start) + i, device.type == 'cuda')
               for i, dataset in enumerate(sets)]

    def save_pictures(split: str, postfix: str, step: int) -> None:
        rows = trainer.sample(*(images.to(device) for images in shown[split]))
        run.save_pictures(rows, trainer.rows_of_sample, f'{split}_{postfix}', step)

    def save_snapshot(step: int) -> None:
        trainer.save(run.checkpoints, step)
        run.bar.write(f'saved {run.checkpoints / f"gen_{step:08d}.pt"}')

    stop = StopSignal()
    run.start(start, config, overrides)
    step = start
    try:
        for x_a, x_b in zip(*streams, strict=True):
            if step >= config['max_iter']:
                break
            trainer.update_learning_rate()                                                # before the update
            losses = trainer.update(x_a.to(device, non_blocking=True), x_b.to(device, non_blocking=True))

            step += 1
            last = step == config['max_iter'] or stop.signal is not None
            if step % config['log_iter'] == 0:
                run.log(losses, step)
            if step % config['image_save_iter'] == 0:
                save_pictures('test', f'{step:08d}', step)
                save_pictures('train', f'{step:08d}', step)
            if step % config['image_display_iter'] == 0 or last:
                save_pictures('train', 'current', step)
            if step % config['snapshot_save_iter'] == 0 or last:
                save_snapshot(step)
            run.bar.update()
            if last:   # decided before the snapshot: a signal that comes later than that ends the next iteration
                break
    finally:
        for batches in streams:
            batches.close()
        run.close()

    if step < config['max_iter']:
        print(f'stopped by {stop.signal.name} after step {step}; to go on: python train.py {resume_line(argv)}')
        return 128 + stop.signal
    print(f'finished {step} iterations\n  pictures     {run.folder / "index.html"}\n'
          f'  checkpoints  {run.checkpoints}\n  TensorBoard  tensorboard --logdir {run.logs}')
    return 0


class Run:
    """The files that a run writes, under the original's names: logs/NAME and outputs/NAME."""

    def __init__(self, opts):
        self.config_file = Path(opts.config)
        self.name = self.config_file.stem
        self.folder = Path(opts.output_path) / 'outputs' / self.name
        self.images = self.folder / 'images'
        self.checkpoints = self.folder / 'checkpoints'
        self.logs = Path(opts.output_path) / 'logs' / self.name

    def start(self, step: int, config: dict, overrides: dict) -> None:
        """Make the folders, keep the config, open TensorBoard's file and the bar. Nothing is written before."""
        for folder in (self.images, self.checkpoints, self.logs):
            make_folder(folder, '--output_path')
        earlier = latest_snapshot(self.checkpoints)
        if earlier is not None and not step:
            print(f'{self.checkpoints} holds snapshots of an earlier run up to step {earlier}, which this one will '
                  f'overwrite; --resume would go on from there', file=sys.stderr)
        write_config(self.config_file, self.folder / 'config.yaml', overrides)
        self.image_save_iter = config['image_save_iter']
        self.writer = SummaryWriter(str(self.logs))
        self.bar = tqdm(total=config['max_iter'], initial=step, dynamic_ncols=True,
                        mininterval=0.5 if sys.stderr.isatty() else 30,   # a log file needs no more
                        bar_format='{n_fmt}/{total_fmt} |{bar}| {rate_inv_fmt}, {remaining} left{postfix}')

    def log(self, losses: dict, step: int) -> None:
        """Write every loss under its name, and the totals on the progress bar."""
        values = {name: float(value) for name, value in losses.items()}
        for name, value in values.items():
            self.writer.add_scalar(name, value, step)
        totals = {name.split('_')[1]: f'{value:.3f}' for name, value in values.items() if name.endswith('_total')}
        self.bar.set_postfix(totals, refresh=False)

    def save_pictures(self, rows: tuple, kinds: tuple[str, ...], postfix: str, step: int) -> None:
        """Write gen_a2b_POSTFIX.jpg and gen_b2a_POSTFIX.jpg, a row for each kind of picture, and index.html."""
        for way, images in (('a2b', rows[:len(kinds)]), ('b2a', rows[len(kinds):])):
            grid = picture_grid(images)
            write_picture(grid, self.images / f'gen_{way}_{postfix}.jpg')
            if not postfix.endswith('_current'):
                self.writer.add_image(f'gen_{way}_{postfix.split("_")[0]}', grid.numpy(), step)
        write_page(self.folder, self.name, kinds, step, range(self.image_save_iter, step + 1, self.image_save_iter))

    def close(self) -> None:
        """Flush and close what `start` opened."""
        self.bar.close()
        self.writer.close()


def write_config(source: Path, target: Path, overrides: dict) -> None:
    """Copy the config file beside the outputs, comments and all, with the command line's values in their lines."""
    lines = source.read_text(encoding='utf-8-sig').splitlines()
    for key, value in overrides.items():
        if value is not None:
            kept = [line for line in lines if not line.startswith(f'{key}:')]
            if key == 'data_root':
                kept = [line for line in kept if not line.startswith(('data_folder_', 'data_list_'))]
            lines = [*kept, yaml.safe_dump({key: value}).strip() + '   # from the command line']
    target.write_text('\n'.join(lines) + '\n', encoding='utf-8')


def resume_line(argv: list[str] | None) -> str:
    """The arguments of this run, with --resume."""
    arguments = sys.argv[1:] if argv is None else argv
    return shlex.join([*arguments, *([] if '--resume' in arguments else ['--resume'])])


class StopSignal:
    """Remembers that SIGINT or SIGTERM came, so that the iteration ends before the run does; a second one kills."""

    def __init__(self):
        self.signal = None
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._remember)

    def _remember(self, number: int, _) -> None:
        self.signal = signal.Signals(number)
        signal.signal(number, signal.SIG_DFL)


if __name__ == '__main__':
    run_command(main)
