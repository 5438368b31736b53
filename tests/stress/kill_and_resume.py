"""Kill, starve, fuzz and watch training runs, and print a table of what came of it. Exit status 1 if anything failed.

    python tests/stress/kill_and_resume.py --parts kills,fuzz,soak,full,saving \\
        --kills 200 --fuzz 1000 --soak 3000 --seed 1

kills: small runs are killed at random instants, about half of them inside a save, and resumed until they reach their
    end; then weights, moments, every logged value and every picture are held against an uninterrupted run, bit by bit.
fuzz: tests/stress/fuzz_readers.py. soak: one long run whose memory, open files and threads are watched.
full: runs whose disk fills up: a small tmpfs where one can be mounted, and a limit on the size of files.
saving: what a snapshot of the standard widths costs.
Folders of runs that failed stay in --work. For Linux; parts of it run elsewhere too.
"""
import argparse
import collections
import json
import os
import random
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path

os.environ['OMP_NUM_THREADS'] = os.environ['MKL_NUM_THREADS'] = '1'   # a process with threads cannot be forked
ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / 'tests'), str(ROOT / 'scripts')]

import numpy as np
import psutil
import torch
import torch._inductor  # noqa: F401  (deterministic mode imports it: two seconds of each run)
import yaml
from parity import config_with
from PIL import Image
from test_baselines import GEN
from test_baselines import TINY as TINY_BASELINE
from test_runs import TINY, UNIT, assert_same_run, tensors

import train
from core.tensorboard_log import SETTINGS, _records
from engine.cli import at_least, run_command
from engine.methods import METHODS
from engine.run_page.page import PACE, read_data
from trainer import MUNIT_Trainer

PARTS = ('kills', 'fuzz', 'soak', 'full', 'saving')
TRAINERS = tuple(METHODS)
STEPS = 40
STANDARD_INTERVAL = 10_000   # snapshot_save_iter of the original's configs
POLITE = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
NO_MOUNT = 3     # exit status of a process that may not mount
PATIENCE = 180   # seconds that a small run may take


# ---------------------------------------------------------------------------------------------------------------------
# Runs
# ---------------------------------------------------------------------------------------------------------------------

class Child:
    """train.py in a process forked from this one, which has imported everything: it starts in no time.

    Args:
        arguments: of the command line.
        log: where its stdout (.out) and stderr (.err) go.
    """

    def __init__(self, arguments: list[str], log: Path):
        self.log, self.status = log, None
        for ending in ('.out', '.err'):   # here already: it may be killed before it does anything
            log.with_suffix(ending).write_text('')
        sys.stdout.flush()
        sys.stderr.flush()
        signal.pthread_sigmask(signal.SIG_BLOCK, POLITE)   # until train.main has begun: no signal is for us
        self.pid = os.fork()
        if not self.pid:
            status = 70
            try:
                status = self._train(arguments)
            finally:
                os._exit(status)   # what this process would do at its exit is not the child's
        signal.pthread_sigmask(signal.SIG_UNBLOCK, POLITE)

    def _train(self, arguments: list[str]) -> int:
        os.setsid()
        for number, ending in ((1, '.out'), (2, '.err')):
            file = os.open(self.log.with_suffix(ending), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
            os.dup2(file, number)
            os.close(file)
        sys.stdout = os.fdopen(1, 'w', buffering=1, closefd=False)   # each line at once, that none dies with us
        sys.stderr = os.fdopen(2, 'w', buffering=1, closefd=False)

        def main() -> int:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, POLITE)
            return train.main(arguments)

        try:
            run_command(main)
        except SystemExit as ended:
            return ended.code
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
        return 1

    def over(self) -> bool:
        if self.status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.status = os.waitstatus_to_exitcode(status) if pid else None
        return self.status is not None

    def wait(self, until=lambda: False, pause: float = 0.005) -> bool:
        """Wait for its end, or for what comes before; whether that came."""
        deadline = time.monotonic() + PATIENCE
        while not self.over():
            if until():
                return True
            if time.monotonic() > deadline:
                self.send(signal.SIGKILL, whole_group=True)
                os.waitpid(self.pid, 0)
                self.status = 'hung'
                return False
            time.sleep(pause)
        return False

    def send(self, number: int, whole_group: bool) -> None:
        try:
            (os.killpg if whole_group else os.kill)(self.pid, number)
        except ProcessLookupError:   # so young that it leads no group yet
            os.kill(self.pid, number)

    def text(self, ending: str) -> str:
        return self.log.with_suffix(ending).read_text(errors='replace')

    def started_at(self) -> int | None:
        """The step that the run says it starts at; None if it did not come so far."""
        found = re.search(r'iterations (\d+) to ', self.text('.out'))
        return int(found[1]) if found else None

    def complaints(self) -> list[str]:
        """The lines of stderr, without the progress bar."""
        return [line for line in re.split(r'[\r\n]+', self.text('.err')) if line.strip() and '|' not in line]


def make_data(root: Path, paired: bool) -> Path:
    """Folders of a few small random images; of pairs, as many in A as in B."""
    for i, folder in enumerate(('trainA', 'trainB', 'testA', 'testB')):
        (root / folder).mkdir(parents=True)
        for j in range(5 if paired else 5 + i):
            values = np.random.RandomState(10 * i + j).randint(0, 256, (40, 44, 3), dtype=np.uint8)
            Image.fromarray(values).save(root / folder / f'{j}.png')
    return root


class Workshop:
    """The folder of the campaign: data, configs, uninterrupted runs."""

    def __init__(self, folder: Path, seed: int):
        self.folder, self.seed = folder, seed
        self.data = {paired: make_data(folder / f'data_{name}', paired)
                     for paired, name in ((False, 'unpaired'), (True, 'paired'))}
        self.references, self.seconds, self.saving = {}, {}, 0.0

    def arguments(self, out: Path, trainer: str, *more: str, **changes) -> list[str]:
        """The command line of a small run into `out`, whose config lies beside it."""
        config = out.parent / f'{out.name}_config' / 'tiny.yaml'
        config.parent.mkdir(parents=True, exist_ok=True)
        content = {**TINY, 'snapshot_save_iter': 2, 'data_root': str(self.data[METHODS[trainer].paired]),
                   'max_iter': STEPS, **changes}
        if trainer in GEN:
            content = {**TINY_BASELINE, **content, 'gen': GEN[trainer], 'dis': TINY_BASELINE['dis'],
                       'batch_size': 2 if trainer == 'BicycleGAN' else 1}
        else:
            content = config_with(**{**content, **(UNIT if trainer == 'UNIT' else {})})
        config.write_text(yaml.safe_dump(content))
        return ['--config', str(config), '--output_path', str(out), '--device', 'cpu', '--trainer', trainer,
                '--seed', str(self.seed), *more]

    def reference(self, trainer: str) -> Path:
        """An uninterrupted run. Notes how long it took, and how long a save."""
        if trainer not in self.references:
            out = self.folder / f'reference_{trainer}'
            began, seen = time.monotonic(), []
            child = Child(self.arguments(out, trainer, num_workers=0), self.folder / f'reference_{trainer}')
            checkpoints = checkpoints_of(out)
            child.wait(lambda: seen.append(bool(parts(checkpoints))), pause=0.0005)
            if child.status != 0:
                raise SystemExit(f'an uninterrupted run ended with {child.status}: {child.text(".err")}')
            self.seconds[trainer] = time.monotonic() - began
            self.saving = self.seconds[trainer] * sum(seen) / len(seen) / (STEPS // 2)
            self.references[trainer] = out
        return self.references[trainer]


def trainer_and_workers(number: int) -> tuple[str, int]:
    """Of the run of that number: each trainer in turn, with 0 and 2 loader workers."""
    return TRAINERS[number % len(TRAINERS)], (0, 2)[number // len(TRAINERS) % 2]


def checkpoints_of(out: Path) -> Path:
    return out / 'outputs/tiny/checkpoints'


def parts(folder: Path) -> dict[str, int]:
    """Files that are being written, or were when a run was killed, with their times."""
    found = {}
    try:
        for entry in os.scandir(folder):
            if entry.name.endswith('.part'):
                found[entry.name] = entry.stat().st_mtime_ns
    except FileNotFoundError:   # no folder yet, or a file that just got its name
        pass
    return found


def newest_whole(folder: Path) -> int:
    """The newest step of which all files have their names; 0 if there is none."""
    steps = [{int(path.stem.split('_')[1]) for path in folder.glob(f'{kind}_*.pt')} for kind in ('gen', 'dis', 'state')]
    return max(set.intersection(*steps), default=0)


def logged(folder: Path) -> list[tuple[int, bytes]]:
    """Everything in the files of TensorBoard, but the settings, of which some may differ."""
    return sorted((event.step, value.SerializeToString()) for path in folder.glob('events.*')
                  for _, _, event in _records(path) for value in event.summary.value
                  if not value.tag.startswith(SETTINGS))


def curves(folder: Path) -> dict:
    """The curves on the page of a run, without those of time."""
    found = read_data(folder)['curves']
    del found['terms'][PACE]
    return found


def difference(one: Path, two: Path) -> str:
    """What tells a finished run from an uninterrupted one; '' if nothing does."""
    try:
        assert_same_run(one, two, STEPS)
    except (AssertionError, OSError) as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        return f'{place.line} {error}'
    if logged(one / 'logs/tiny') != logged(two / 'logs/tiny'):
        return 'pictures or histograms in the log'
    if curves(one / 'outputs/tiny') != curves(two / 'outputs/tiny'):
        return 'curves on the page'
    if (one / 'outputs/tiny/index.html').read_bytes() != (two / 'outputs/tiny/index.html').read_bytes():
        return 'index.html'
    under_two_names = (dict(tensors(torch.load(checkpoints_of(one) / name)))
                       for name in ('optimizer.pt', f'state_{STEPS:08d}.pt'))
    if [*map(str, next(under_two_names).items())] != [*map(str, next(under_two_names).items())]:
        return 'optimizer.pt is of another step'
    left = [str(path.relative_to(one)) for path in one.rglob('*part*')]
    return f'left behind: {left}' if left else ''


# ---------------------------------------------------------------------------------------------------------------------
# Kills
# ---------------------------------------------------------------------------------------------------------------------

def kills(shop: Workshop, count: int, rng: random.Random, faults: list[str]) -> list[tuple]:
    """Runs that are killed and resumed until they reach their end, until there were `count` kills."""
    counts, orphaned = collections.Counter(), []
    began = time.monotonic()
    while counts['kills'] < count:
        counts['chains'] += 1
        trainer, workers = trainer_and_workers(counts['chains'])
        reference, out = shop.reference(trainer), shop.folder / f'chain_{counts["chains"]}'
        settings = {'num_workers': workers, **rng.choice(({}, {'keep_snapshots': 1}, {'keep_snapshots': 3}))}
        arguments = shop.arguments(out, trainer, '--resume', **settings)
        fault, step, status = '', 0, None
        while status != 0 and not fault:
            log = shop.folder / f'{out.name}_run{counts["runs"]}'
            fault, step, status = one_life(shop, trainer, arguments, log, checkpoints_of(out), step,
                                           counts['kills'] < count, rng, counts, orphaned)
        if not fault:
            fault = difference(out, reference)
            counts['differences'] += bool(fault)
        if fault:
            faults.append(f'{out} ({trainer}, {settings}): {fault}')
        else:
            shutil.rmtree(out)
            for log in shop.folder.glob(f'{out.name}_run*'):
                log.unlink()
        print(f'chain {counts["chains"]} ({trainer}, {settings}): {fault or "as the uninterrupted run"}; '
              f'{counts["kills"]} kills, {time.monotonic() - began:.0f} s', flush=True)
    for _ in range(40):
        left = [process for process in psutil.process_iter(['status']) if process.info['status'] != 'zombie'
                and _session(process.pid) in orphaned]
        if not left:
            break
        time.sleep(0.5)
    if left:
        faults.append(f'loader workers outlive a killed run: {left}')
    return [('kills (SIGKILL)', counts['kills'], f'{count}', counts['kills'] >= count),
            ('  of these during a save', counts['in a save'], '', True),
            ('  of these to the main process alone', counts['alone'], '', True),
            ('stopped by SIGTERM, SIGINT, SIGUSR1', counts['stops'], '', True),
            ('resumed from a snapshot', counts['resumes'], '', True),
            ('runs that reached their end', counts['chains'], '', True),
            ('lost runs', counts['lost'], '0', not counts['lost']),
            ('differences from an uninterrupted run', counts['differences'], '0', not counts['differences']),
            ('other faults', counts['other'] + len(left), '0', not counts['other'] and not left)]


def _session(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except OSError:
        return None


def one_life(shop, trainer, arguments, log, checkpoints, expected, strike, rng, counts, orphaned) -> tuple:
    """Start a run that should begin at step `expected`, and mostly do not let it end.

    Returns:
        What went wrong, the newest whole snapshot that it leaves, its exit status (0: it reached its end).
    """
    before = parts(checkpoints)
    child = Child(arguments, log)
    counts['runs'] += 1
    number, alone = None, False
    if strike:
        number = signal.SIGKILL if rng.random() < 0.85 else rng.choice(POLITE)
        alone = number == signal.SIGKILL and rng.random() < 0.15
        instant = time.monotonic() + rng.uniform(0, 0.2 * shop.seconds[trainer])
        in_a_save = rng.random() < 0.6
        struck = child.wait(lambda: time.monotonic() >= instant)
        if struck and in_a_save:
            struck = child.wait(lambda: parts(checkpoints).items() - before.items(), pause=0.0005)
            time.sleep(rng.choice((0, rng.uniform(0, 1.2 * shop.saving))))
        if not struck or child.over():
            number = None
        else:
            child.send(number, whole_group=not alone)
    child.wait()
    found = newest_whole(checkpoints)
    start, status = child.started_at(), child.status
    counts['resumes'] += bool(start)
    if number == signal.SIGKILL and status == -number:
        counts['kills'] += 1
        counts['alone'] += alone
        counts['in a save'] += bool(parts(checkpoints).items() - before.items())
        orphaned.extend([child.pid] if alone else [])
    elif number and status in (-number, 128 + number):
        counts['stops'] += 1
    elif status != 0:
        counts['lost'] += 1
        return f'{log}: ended with {status}: {child.complaints()[-3:]}', found, status
    if (start is not None and start != expected) or found < expected:
        counts['lost'] += 1
        return f'{log}: step {expected} was whole, but the run went on from {start} and left {found}', found, status
    said = re.search(r'stopped by \w+ after step (\d+)', child.text('.out'))
    if said and int(said[1]) != found:
        counts['lost'] += 1
        return f'{log}: {said[0]}, but the newest snapshot is of step {found}', found, status
    if 'Traceback' in child.text('.err') and not alone:
        counts['other'] += 1
        return f'{log}: a traceback', found, status
    return '', found, status


# ---------------------------------------------------------------------------------------------------------------------
# Full disks
# ---------------------------------------------------------------------------------------------------------------------

def full(shop: Workshop, count: int, rng: random.Random, faults: list[str]) -> list[tuple]:
    """Runs whose disk gets full, and that go on when there is room: half of them on a tmpfs, half limited in size."""
    for trainer in TRAINERS:
        shop.reference(trainer)
    rows = []
    disk = shop.folder / 'disk'
    disk.mkdir()
    with tempfile.TemporaryFile() as answer:   # the mount is seen, and lasts, in a process of its own only
        pid = os.fork()
        if not pid:
            status = 1
            try:
                if not mount_tmpfs(disk, mebibytes=64):
                    status = NO_MOUNT
                else:
                    heard = []
                    found = [full_once(shop, disk / 'run', i, rng, heard, fill_disk) for i in range(count)]
                    answer.write(json.dumps([found, heard]).encode())
                    answer.flush()
                    status = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(status)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if status == NO_MOUNT:
            print('full: no tmpfs can be mounted here; only the size of files is limited')
        elif status:
            rows.append(('a full tmpfs', f'the campaign itself failed: {status}', '0', False))
        else:
            answer.seek(0)
            found, heard = json.load(answer)
            faults += heard
            rows.append(row_of_full('a full tmpfs', found))
    if sys.platform.startswith('linux'):
        found = [full_once(shop, shop.folder / f'quota_{i}', i, rng, faults, limit_files) for i in range(count)]
        rows.append(row_of_full('a limit on the size of files', found))
    return rows or [('full disks', 'neither tmpfs nor limits here', '', False)]


def row_of_full(name: str, found: list[bool]) -> tuple:
    return f'{name}: exit 4, one line, resumed equal', f'{sum(found)} of {len(found)}', 'all', all(found)


def mount_tmpfs(folder: Path, mebibytes: int) -> bool:
    """Mount a small tmpfs for this process and its children; False where the system does not let us."""
    import ctypes
    libc, new_user, new_mounts, private = ctypes.CDLL(None, use_errno=True), 0x10000000, 0x20000, (1 << 18) | (1 << 14)
    user, group = os.getuid(), os.getgid()
    try:
        if libc.unshare(new_mounts):   # not root: as the root of a world of our own
            if libc.unshare(new_user | new_mounts):
                return False
            Path('/proc/self/setgroups').write_text('deny')
            Path('/proc/self/uid_map').write_text(f'0 {user} 1')
            Path('/proc/self/gid_map').write_text(f'0 {group} 1')
        return not libc.mount(b'none', b'/', None, private, None) and not libc.mount(
            b'tmpfs', str(folder).encode(), b'tmpfs', 0, f'size={mebibytes}m'.encode())
    except (OSError, AttributeError):
        return False


def fill_disk(child: Child, out: Path, room: int):
    """Leave `room` bytes on the disk of `out`. Returns how to undo it."""
    filler = out.parent / 'filler'
    with open(filler, 'wb', buffering=0) as file:
        state = os.statvfs(out.parent)
        left = state.f_bavail * state.f_frsize - room
        try:
            while left > 0:
                left -= file.write(b'\0' * min(left, 2 ** 20))
        except OSError:   # the run was quicker
            pass
    return filler.unlink


def limit_files(child: Child, out: Path, room: int):
    """Let the run's files grow to `room` bytes and no further. Returns how to undo it."""
    import resource
    room = max(room, 8_000)   # for what it says: that goes to files too
    resource.prlimit(child.pid, resource.RLIMIT_FSIZE, (room, room))
    return lambda: None


def full_once(shop, out, number, rng, faults, make_full) -> bool:
    """Whether one run ended and went on as it should."""
    trainer, workers = trainer_and_workers(number)
    for attempt in range(20):
        shutil.rmtree(out, ignore_errors=True)
        checkpoints, log = checkpoints_of(out), shop.folder / f'full_{out.name}_{number}_{attempt}'
        size = checkpoints_of(shop.reference(trainer)) / f'state_{STEPS:08d}.pt'
        child = Child(shop.arguments(out, trainer, num_workers=workers), log)
        at = rng.randrange(2, STEPS // 2)
        child.wait(lambda step=at, folder=checkpoints: newest_whole(folder) >= step)
        room = rng.choice((0, rng.randrange(40_000), rng.randrange(size.stat().st_size)))   # for log, picture, snapshot
        undo = make_full(child, out, room)
        child.wait()
        undo()
        if child.status != 0:   # else it was done before the disk was full
            break
    whole, complaints, left = newest_whole(checkpoints), child.complaints(), [*out.rglob('*.part*')]
    fault = (f'ended with {child.status}' if child.status != 4 else f'says {complaints}' if len(complaints) != 1
             or '--resume' not in complaints[0] else f'leaves {left}' if left else f'lost step {at}' if whole < at
             else '')
    if not fault:
        again = Child(shop.arguments(out, trainer, '--resume', num_workers=workers), log.with_name(log.name + '_again'))
        again.wait()
        fault = (f'resumed with {again.status}: {again.complaints()}' if again.status != 0
                 else f'resumed from {again.started_at()} where {whole} was whole' if again.started_at() != whole
                 else difference(out, shop.reference(trainer)))
    if fault:
        faults.append(f'{log}: {fault}')
        return False
    shutil.rmtree(out)
    return True


# ---------------------------------------------------------------------------------------------------------------------
# Fuzzing, a long run, the cost of saving
# ---------------------------------------------------------------------------------------------------------------------

def fuzz(shop: Workshop, count: int, faults: list[str]) -> list[tuple]:
    done = subprocess.run([sys.executable, ROOT / 'tests/stress/fuzz_readers.py', '--n', str(count),
                           '--seed', str(shop.seed), '--keep', shop.folder / 'fuzz'], text=True, capture_output=True)
    lines = [re.split(r'\s{2,}', line.strip()) for line in done.stdout.splitlines()]
    heads = [number for number, line in enumerate(lines) if line[:2] == ['kind', 'inputs']]
    if done.returncode not in (0, 1) or not heads:
        faults.append(f'fuzz.py ended with {done.returncode}: {done.stdout[-2000:]}{done.stderr[-2000:]}')
        return [('fuzz.py', f'ended with {done.returncode}', '0', False)]
    found = [dict(zip(lines[heads[-1]], line, strict=True)) for line in lines[heads[-1] + 1:] if line != ['']]
    if done.returncode:
        faults.append(done.stdout)
    total = {name: sum(int(kind[name]) for kind in found)
             for name in ('inputs', 'read', 'refused', 'failed', 'executed')}
    rows = [(f'fuzzed inputs, {len(found)} kinds', total['inputs'], f'{4 * count}', total['inputs'] == 4 * count),
            ('  read / refused in one line', f'{total["read"]} / {total["refused"]}', '', True),
            ('  tracebacks, hangs, too much memory', total['failed'], '0', not total['failed'] and not done.returncode),
            ('  payloads executed', total['executed'], '0', not total['executed'])]
    slowest = max(float(kind['slowest s']) for kind in found)
    return [*rows, ('  slowest', f'{slowest:.2f} s', 'under 10 s', slowest < 10)]


def soak(shop: Workshop, steps: int, faults: list[str]) -> list[tuple]:
    """One long run, watched. What grows over its second half: the last tenth against the one after the middle."""
    out = shop.folder / 'soak'
    arguments = shop.arguments(out, 'MUNIT', max_iter=steps, num_workers=2, snapshot_save_iter=50, image_save_iter=100,
                               image_display_iter=20, keep_snapshots=3)
    samples = []
    with open(shop.folder / 'soak.log', 'wb') as log:
        process = subprocess.Popen([sys.executable, 'train.py', *arguments], cwd=ROOT, stdout=log, stderr=log)
        watched = psutil.Process(process.pid)
        while process.poll() is None:
            try:
                all_of_it = [watched, *watched.children(recursive=True)]
                samples.append([watched.memory_info().rss, sum(one.memory_info().rss for one in all_of_it),
                                sum(one.num_fds() for one in all_of_it), sum(one.num_threads() for one in all_of_it),
                                len(all_of_it)])
            except psutil.Error:   # one that is just ending
                pass
            time.sleep(0.1)
    usual = statistics.mode(sample[-1] for sample in samples) if samples else 0
    samples = [sample for sample in samples if sample[-1] == usual]   # not of the start and the end
    if process.returncode != 0 or len(samples) < 40:
        faults.append(f'soak: ended with {process.returncode}: see {shop.folder / "soak.log"}')
        return [('soak', f'ended with {process.returncode}', '0', False)]
    n = len(samples)
    (shop.folder / 'soak.json').write_text(json.dumps(samples))
    middle, last = samples[n // 2:n // 2 + n // 10], samples[-(n // 10):]
    rows = [('soak', f'{steps} steps, {n} samples', '', True)]
    for column, name in enumerate(('memory of the main process', 'memory with loader workers')):
        before, after = (statistics.median(sample[column] for sample in part) for part in (middle, last))
        growth = after / before - 1
        rows.append((f'  {name}, second half', f'{before / 2 ** 20:.1f} to {after / 2 ** 20:.1f} MiB, {growth:+.2%}',
                     'under +1 %', growth < 0.01))
    for column, name in ((2, 'open files'), (3, 'threads')):
        # Not the largest: how many batches are on their way from a worker, each an open file, depends on the moment.
        before, after = (statistics.median(sample[column] for sample in part) for part in (middle, last))
        rows.append((f'  {name}, second half', f'{before} to {after}', 'no growth', after <= before))
    return rows


def saving(shop: Workshop) -> list[tuple]:
    """A snapshot of networks of the standard widths, against iterations at a batch of 1 and small crops."""
    trainer = MUNIT_Trainer(config_with(gen={'dim': 64, 'mlp_dim': 256}, dis={'dim': 64}))
    images = torch.rand(1, 3, 64, 64) * 2 - 1
    seconds = []
    for _ in range(3):
        began = time.perf_counter()
        trainer.update_learning_rate()
        trainer.update(images, -images)
        seconds.append(time.perf_counter() - began)
    iteration, seconds = min(seconds), []
    folder = shop.folder / 'saving'
    folder.mkdir()
    for step in range(1, 5):
        began = time.perf_counter()
        trainer.save(folder, step, keep=2)
        seconds.append(time.perf_counter() - began)
    size = sum(path.stat().st_size for path in folder.glob('*_00000004.pt'))
    shutil.rmtree(folder)
    save = statistics.median(seconds)
    share = save / (STANDARD_INTERVAL * iteration)
    return [('saving, standard widths', f'{save:.2f} s for {size / 2 ** 20:.0f} MiB', '', True),
            (f'  share at an iteration of {iteration:.2f} s (64×64), every {STANDARD_INTERVAL:,}', f'{share:.3%}',
             'under 1 %', share < 0.01),
            ('  an iteration at which it would be 1 %', f'{1000 * save / (0.01 * STANDARD_INTERVAL):.0f} ms', '', True)]


# ---------------------------------------------------------------------------------------------------------------------

def chosen_parts(text: str) -> list[str]:
    names = text.split(',')
    if not set(names) <= set(PARTS):
        raise argparse.ArgumentTypeError(f'{text!r}: not some of {",".join(PARTS)}')
    return names


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--parts', type=chosen_parts, default=','.join(PARTS), help='which, with commas between')
    parser.add_argument('--kills', type=at_least(1), default=200, help='how many SIGKILLs')
    parser.add_argument('--fuzz', type=at_least(1), default=1000, help='inputs of each of the four kinds')
    parser.add_argument('--soak', type=at_least(200), default=3000, help='iterations of the long run')
    parser.add_argument('--full', type=at_least(1), default=12, help='full disks, in each of two ways')
    parser.add_argument('--seed', type=at_least(0), default=0)
    parser.add_argument('--work', type=Path, help='an empty folder (default: one for the time being)')
    opts = parser.parse_args(argv)
    torch.set_num_threads(1)
    folder = Path(tempfile.mkdtemp(prefix='torture_')) if opts.work is None else opts.work
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        parser.error(f'--work {folder}: not empty')
    shop = Workshop(folder.resolve(), opts.seed)
    faults, rows = [], []
    for part, work in (
            ('kills', lambda rng: kills(shop, opts.kills, rng, faults)),
            ('full', lambda rng: full(shop, opts.full, rng, faults)),
            ('fuzz', lambda _: fuzz(shop, opts.fuzz, faults)), ('soak', lambda _: soak(shop, opts.soak, faults)),
            ('saving', lambda _: saving(shop))):
        if part in opts.parts:
            began = time.monotonic()
            rows += work(random.Random(f'{opts.seed} {part}'))   # the same plan, whichever other parts run
            print(f'{part}: {time.monotonic() - began:.0f} s', flush=True)
    for fault in faults:
        print(f'FAULT {fault}')
    print('\n| | found | target | |\n|---|---|---|---|')
    for what, found, target, good in rows:
        print(f'| {what} | {found} | {target} | {"" if not target else "yes" if good else "NO"} |')
    failed = bool(faults) or not all(row[-1] for row in rows)
    if failed:
        print(f'\nwhat failed is in {folder}')
    elif opts.work is None:
        shutil.rmtree(folder)
    return int(failed)


if __name__ == '__main__':
    run_command(main)
