"""The files of a training run in logs/NAME and outputs/NAME, with the same names as in the original.

In distributed training only the first process writes files. In the other processes the same methods do nothing.
"""
import contextlib
import itertools
import shutil
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
import yaml
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from core import distributed, snapshots, trackers
from core.device import peak_memory
from core.errors import BadInput, shown
from core.files import DISK_FAULTS, make_folder, replace_text, replacing
from core.loss_table import LossTable
from core.picture_sheet import sheet
from core.tensorboard_log import Log, truncate_after
from engine.config import load_config
from engine.run_page.page import Report, settings_of
from utils import to_images, write_picture

# The files and folders that a run writes to its folder, except for the state of its tracker.
OF_A_RUN = ('images', 'checkpoints', 'config.yaml', 'index.html', 'run.js', '*.csv')
METRICS = ('loss_gen_total', 'loss_dis_total')   # shown with the hyperparameters in TensorBoard
STYLE_NUMBERS = 16                               # components of a style code that have histograms


class RunFolder:
    """The folders, lock, config copy, sample images, page, log and progress bar of a run.

    Args:
        opts: parsed flags with the attributes `config`, `output_path` and `trainer`.
        config: a config returned by `config.load_config`.
    """

    def __init__(self, opts, config: dict):
        self.config_file = Path(opts.config)
        self.name = self.config_file.stem
        self.folder = Path(opts.output_path) / 'outputs' / self.name
        self.images = self.folder / 'images'
        self.checkpoints = self.folder / 'checkpoints'
        self.logs = Path(opts.output_path) / 'logs' / self.name
        self.trainer, self.config = opts.trainer, config
        self.writes = distributed.rank() == 0
        self.bar = tqdm(disable=True)
        self.tracker, self.failed = trackers.Tracker(), False
        self.reported: set[str] = set()   # errors that have been reported

    def say(self, line: str) -> None:
        """Print a line to stdout, above the progress bar."""
        if self.writes:
            with contextlib.suppress(OSError):   # stdout can be a file on a full disk, which must not end the run
                self.bar.write(line)

    def say_error(self, line: str) -> None:
        """Print a line to stderr, above the progress bar."""
        if self.writes:
            with contextlib.suppress(OSError):
                self.bar.write(line, file=sys.stderr)

    def lock(self) -> None:
        """Create the folders and lock them until the process ends.

        Raises:
            BadInput: the folders cannot be created, or another run is using them.
        """
        if not self.writes:
            return
        for folder in (self.images, self.checkpoints, self.logs):
            make_folder(folder, '--output_path')
        self._lock = open(self.folder / '.lock', 'a')   # noqa: SIM115 — open as long as the process lives
        if not _claim(self._lock):
            raise BadInput(f'{self.folder}: another run is writing to it; wait until it ends, or give another '
                           f'--output_path')

    def start(self, step: int, resumed: bool, overrides: dict, about: dict, device: torch.device) -> None:
        """Save the config, and open the log, the page and the progress bar at iteration `step`.

        Args:
            overrides: config values from the command line; None for keys that were not given.
            about: facts for the page of the run; see `page.Report`.
        """
        if not self.writes:
            return
        remembered = _content_of(self.folder / trackers.REMEMBERED)
        # This is done first, so that nothing has been changed yet if it fails.
        self.tracker = trackers.start(self.config['tracker'], self.folder, self.name, resumed, self.say_error)
        if step:
            self._say_what_changed()
        elif not resumed and any(any(folder.iterdir()) for folder in (self.images, self.checkpoints)):
            self._put_aside(remembered)
        _write_config(self.config_file, self.folder / 'config.yaml', overrides)
        self.report, self.device = Report(self.folder, {'name': self.name, **about}), device
        self.losses = LossTable(self.folder / 'losses.csv')
        if resumed:
            truncate_after(self.logs, step)
            self.report.resume_from(step, self.logs)
        self.losses.truncate_after(step if resumed else -1)
        self.log = Log(self.logs, step)
        settings = {**settings_of(self.config, self.trainer), 'trainer': self.trainer}
        self.log.add_settings(settings, METRICS)
        self.tracker.add_settings(settings)
        self.write_page(step)
        self.bar = tqdm(total=self.config['max_iter'], initial=step, dynamic_ncols=True,
                        mininterval=0.5 if sys.stderr.isatty() else 30,   # fewer lines in a log file
                        bar_format='{n_fmt}/{total_fmt} |{bar}| {rate_inv_fmt}, {remaining} left{postfix}')

    def _put_aside(self, remembered: bytes) -> None:
        """Move the files of an earlier run with the same name to a separate folder. Otherwise its snapshots could be
        mistaken for the newest ones, and its sample images for earlier ones of this run.

        Args:
            remembered: the tracker state of the earlier run.

        Raises:
            BadInput: the files cannot be moved.
        """
        earlier, _ = snapshots.newest(self.checkpoints)
        aside = next(path for n in itertools.count(1) if not (path := self.folder / f'earlier_{n}').exists())
        tracked, moved = self.folder / trackers.REMEMBERED, []
        try:
            aside.mkdir()
            for path in sorted(path for name in OF_A_RUN for path in self.folder.glob(name)):
                if path.samefile(self.config_file):
                    shutil.copyfile(path, aside / path.name)
                else:
                    path.rename(aside / path.name)
                    moved.append(path)
            shutil.move(self.logs, aside / 'logs')   # works across disks
            if remembered:
                (aside / tracked.name).write_bytes(remembered)
                if _content_of(tracked) == remembered:   # it was not written by this run
                    tracked.unlink()
            for folder in (self.images, self.checkpoints, self.logs):
                folder.mkdir()
        except OSError as error:
            with contextlib.suppress(OSError):
                for path in moved:
                    (aside / path.name).rename(path)
                aside.rmdir()
            raise BadInput(f'--output_path: the files of an earlier run in {shown(self.folder)} cannot be moved to '
                           f'{aside.name} ({error.strerror or error}); move them, or give another folder') from None
        up_to = f' up to step {earlier}' if earlier is not None else ''
        self.say_error(f'{self.folder} contained an earlier run{up_to}: its snapshots, pictures, config, page and log '
                       f'were moved to {aside}; use --resume to continue a run instead')

    def _say_what_changed(self) -> None:
        """Report the config keys whose values have changed since the run was last started."""
        before = self.folder / 'config.yaml'
        if not before.exists():
            return
        try:
            old = settings_of(load_config(before, self.trainer), self.trainer)
        except BadInput as error:
            self.say_error(f'--resume: cannot compare the config with {before} ({str(error).splitlines()[0]})')
            return
        new = settings_of(self.config, self.trainer)
        changes = [f'{key} was {shown(old.get(key, "not set"), 200)} and is {shown(new.get(key, "not set"), 200)}'
                   for key in dict.fromkeys([*old, *new]) if old.get(key) != new.get(key)]
        if changes:
            self.say_error(f'--resume: the config has changed since the run was last started: {"; ".join(changes)}')

    def write_losses(self, losses: dict[str, float], step: int) -> None:
        """Log all values by name, and show the total losses on the progress bar."""
        if not self.writes:
            return
        if self.remake(self.logs):   # the open file was deleted with its folder
            self.log.close()
            self.log = Log(self.logs, step - 1)
        self._try(lambda: self.log.add_scalars(losses, step), self.logs)
        self._try(lambda: self.losses.add(losses, step), self.folder)
        self.tracker.add_scalars(losses, step)
        self.report.curves.add(losses, step, time.time())
        totals = {name.split('_')[1]: f'{value:.3f}' for name, value in losses.items() if name.endswith('_total')}
        self.bar.set_postfix(totals, refresh=False)

    def mark(self, step: int, line: str) -> None:
        """Mark an event at a step in the curves of the page and in TensorBoard."""
        if self.writes:
            self.report.events.append([step, line])
            self.log.add_text('events', line, step)
            self.tracker.add_text('events', line, step)

    def rewind(self, step: int) -> None:
        """Remove everything that was logged after `step`, before the run continues from there."""
        if not self.writes:
            return
        self.log.close()
        truncate_after(self.logs, step)
        self.losses.truncate_after(step)
        self.report.resume_from(step, self.logs)
        self.log = Log(self.logs, step)
        self.bar.n = self.bar.last_print_n = step
        self.bar.refresh()

    def write_pictures(self, rows: tuple, kinds: tuple[str, ...], postfix: str, step: int) -> None:
        """Write gen_a2b_POSTFIX.jpg and gen_b2a_POSTFIX.jpg, with a row for each kind of image.

        Numbered images are also written to TensorBoard. Of the current ones, only those at steps that are powers of two
        times `image_display_iter`, which shows early progress with at most twenty images in a million steps.
        """
        if not self.writes:
            return
        split, current = postfix.split('_')[0], postfix.endswith('_current')
        times, rest = divmod(step, self.config['image_display_iter'])
        doubles = not rest and not times & (times - 1) and step % self.config['image_save_iter'] != 0
        for way, images in (('a2b', rows[:len(kinds)]), ('b2a', rows[len(kinds):])):
            if not images:   # the method translates in one direction only
                continue
            grid = sheet([to_images(row) for row in images], gap=0)
            self._try(partial(_write_grid, grid, self.images / f'gen_{way}_{postfix}.jpg'), self.images)
            if not current or doubles:
                for log in (self.log, self.tracker):
                    log.add_picture(f'gen_{way}_{split}', np.asarray(grid), step)
        self.report.add_picture(split, step, current)

    def write_styles(self, codes: dict[str, Tensor], step: int) -> None:
        """Log statistics of the style codes (N, style_dim) of each domain, and of N(0, 1), which they should match."""
        if not self.writes or not codes:
            return
        for name, of_domain in codes.items():
            values = of_domain.float().cpu().numpy()
            self.log.add_histogram(f'style_{name}/all', values, step)
            for number in range(min(values.shape[1], STYLE_NUMBERS)):
                self.log.add_histogram(f'style_{name}/{number}', values[:, number], step)
        prior = np.array([statistics.NormalDist().inv_cdf((i + 0.5) / 1000) for i in range(1000)])
        self.log.add_histogram('style_prior/all', prior, step)

    def write_page(self, step: int, state: str = 'running', why: str = '') -> None:
        """Write index.html and run.js, which show the state of the run after `step` iterations."""
        if self.writes:
            self._try(lambda: self.report.write(step, state, why=why, memory=peak_memory(self.device),
                                                interval=self.config['image_display_iter']), self.folder)

    def remake(self, folder: Path) -> bool:
        """Create a folder of the run again if it was removed, and report this. Returns whether it was missing.

        Raises:
            OSError: the folder cannot be created.
        """
        if folder.is_dir():
            return False
        folder.mkdir(parents=True)
        self.say_error(f'{folder} was removed during the run, and has been created again')
        return True

    def _try(self, write: Callable[[], None], folder: Path) -> None:
        """Write an optional file to a folder of the run. If this fails, report it once and continue.

        Raises:
            OSError: the disk is full or fails.
        """
        try:
            self.remake(folder)
            write()
        except OSError as error:
            if error.errno in DISK_FAULTS:
                raise
            what = str(error.filename2 or error.filename or folder)
            if what not in self.reported:
                self.reported.add(what)
                self.say_error(f'{what}: cannot be written ({error.strerror or error}); the run continues without it')

    def end(self, step: int, state: str, why: str = '') -> None:
        """Write to the page how the run ended. Errors are ignored."""
        self.failed = state == 'failed'
        if hasattr(self, 'report'):
            with contextlib.suppress(OSError):
                self.write_page(step, state, why)

    def close(self) -> None:
        """Close everything that `start` opened."""
        with contextlib.suppress(OSError):
            self.bar.close()
        if hasattr(self, 'log'):
            self.log.close()
        self.tracker.close(self.failed)


def _write_grid(grid: Image.Image, path: Path) -> None:
    """Write an image grid atomically."""
    with replacing(path) as temporary:
        write_picture(grid, temporary)


def _claim(file) -> bool:
    """Lock a file for this process. Returns False if another process has locked it."""
    try:
        import fcntl
    except ImportError:   # Windows
        import msvcrt
        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)   # type: ignore[attr-defined]
        except OSError:
            return False
        return True
    try:
        # flock is not used: workers would inherit the lock, and hold it for seconds after the main process is killed.
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):   # POSIX allows either
        return False
    except OSError:   # the file system does not support locks; continue without one
        return True
    return True


def _content_of(path: Path) -> bytes:
    """Return the content of a file, or b'' if it does not exist."""
    try:
        return path.read_bytes()
    except OSError:
        return b''


def _write_config(source: Path, target: Path, overrides: dict) -> None:
    """Copy the config file with its comments to the output folder, and replace the values given on the command line."""
    lines = source.read_text(encoding='utf-8-sig').splitlines()
    for key, value in overrides.items():
        if value is not None:
            kept = [line for line in lines if not line.startswith(f'{key}:')]
            if key == 'data_root':
                kept = [line for line in kept if not line.startswith(('data_folder_', 'data_list_'))]
            lines = [*kept, yaml.safe_dump({key: value}).strip() + '   # from the command line']
    replace_text(target, '\n'.join(lines) + '\n')
