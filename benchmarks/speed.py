"""Time one training iteration: our `update` against `dis_update` and `gen_update` as the original computes them.

    python benchmarks/speed.py --cases 64,16 128,32 256,64 --output benchmarks/results/MACHINE.json
    python benchmarks/speed.py --cases 256,64,1,bf16,graphs 256,64,16,bf16,compile+graphs

A case is size,dim[,batch[,precision[,compile]]], where precision is fp32, tf32 or bf16, and compile is no, compile,
graphs (the iteration as one CUDA graph) or channels_last, or several of these joined by +. Precision and compile apply
to `update`; the original's way is computed in fp32 (in tf32 where `update` is) and not compiled.

The original's way is computed with our networks: images are encoded again for each update, each decoding and each pass
of a discriminator is a separate call, upsampled images are convolved directly, the discriminators' update records the
generators' graph, the generators' update computes gradients of the discriminators, and there is one backward pass
through everything. Both are timed alternately in one process, and medians are reported. Memory is the growth of a
separate process (on CUDA, of the allocator) over its state before the first iteration.
"""
import argparse
import contextlib
import functools
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple
from unittest import mock

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import torch
import torch.nn.functional as F
from PIL import Image
from torch.utils.flop_counter import FlopCounterMode

import networks
import trainer as trainer_module
from core import fast_ops
from core.precision import autocast, set_deterministic, set_precision
from data import EndlessBatches, ImageDataset, Transform, list_folder, stream
from engine.config import load_config
from engine.cuda_graph import GraphedUpdate
from engine.training import Clock

WAYS = ('original', 'update')


class Case(NamedTuple):
    """What to time: size of the images, filters, batch size, and precision and compilation of `update`."""
    size: int
    dim: int
    batch: int = 1
    precision: str = 'fp32'
    compile: str = 'no'

    @classmethod
    def read(cls, text: str) -> 'Case':
        numbers, words = text.split(',')[:3], text.split(',')[3:]
        return cls(*map(int, numbers), *([1] if len(numbers) < 3 else []), *words)

    def __str__(self) -> str:
        return ','.join(map(str, self))


def make_trainer(case: Case, way: str, device: torch.device) -> trainer_module.MUNIT_Trainer:
    """A trainer of the standard config with the case's number of filters in generators and discriminators."""
    config = load_config(ROOT / 'configs' / 'edges2shoes_folder.yaml')
    config['gen']['dim'] = config['dis']['dim'] = case.dim
    ours = way == 'update'
    config['fused'] = ours
    config['precision'] = case.precision if ours or case.precision == 'tf32' else 'fp32'
    torch.manual_seed(0)
    trainer = trainer_module.MUNIT_Trainer(config).to(device)
    if ours and 'channels_last' in case.compile:
        trainer.to(memory_format=torch.channels_last)
    if ours and 'compile' in case.compile:
        trainer.compile_step()
    if ours and 'graphs' in case.compile:
        trainer.update = GraphedUpdate(trainer)
    return trainer


def make_images(case: Case, device: torch.device) -> torch.Tensor:
    return torch.rand(2, case.batch, 3, case.size, case.size, device=device) * 2 - 1


@contextlib.contextmanager
def as_the_original():
    """Replace the optimizations of `update` by the original's computations, within a `with` block."""
    def decode_separately(gen, *codes):
        return tuple(gen.decode(*code) for code in codes)

    def upsample_and_convolve(block, x, adain=None):
        return block.activation(block.norm(block.conv(block.pad(F.interpolate(x, scale_factor=2)))))

    def planes(x, scale, shift, eps):
        n, c, h, w = x.shape
        x = F.batch_norm(x.reshape(1, n * c, h, w), None, None, scale, shift, training=True, eps=eps)
        return x.view(n, c, h, w)

    def layer_norm(norm, x):
        std, mean = torch.std_mean(x.flatten(1), dim=1)
        x = (x - mean.view(-1, 1, 1, 1)) / (std.view(-1, 1, 1, 1) + norm.eps)
        return x * norm.gamma.view(1, -1, 1, 1) + norm.beta.view(1, -1, 1, 1)

    def step_generators(trainer, x_a, x_b, codes_a, codes_b, s_a, s_b):
        losses_a, objective_a = trainer.gen_losses('a', 'b', x_a, x_b, codes_a, codes_b, s_a)
        losses_b, objective_b = trainer.gen_losses('b', 'a', x_b, x_a, codes_b, codes_a, s_b)
        trainer.gen_opt.zero_grad()
        (objective_a + objective_b).backward()
        trainer.gen_opt.step()

    def dis_update(trainer, x_a, x_b):
        s_a, s_b = torch.randn(2, len(x_a), trainer.config['gen']['style_dim'], 1, 1, device=x_a.device)
        (c_a, _), (c_b, _) = trainer.encode(x_a, x_b)
        x_ab, x_ba = trainer.translate(c_a, c_b, s_a, s_b)
        loss = trainer.dis_loss('a', x_a, x_ba.detach()) + trainer.dis_loss('b', x_b, x_ab.detach())
        trainer.dis_opt.zero_grad()
        loss.backward()
        trainer.dis_opt.step()

    with mock.patch.object(trainer_module, 'decode_together', decode_separately), \
            mock.patch.object(trainer_module.Trainer, '_step_generators', step_generators), \
            mock.patch.object(trainer_module.MUNIT_Trainer, 'dis_update', dis_update), \
            mock.patch.object(trainer_module, 'judge_together', lambda dis, fake, real: (dis(fake), dis(real))), \
            mock.patch.object(trainer_module, 'frozen', lambda *_: contextlib.nullcontext()), \
            mock.patch.object(networks.UpsampleConv2dBlock, 'forward', upsample_and_convolve), \
            mock.patch.object(networks.ToImageConv2dBlock, 'forward', networks.Conv2dBlock.forward), \
            mock.patch.object(fast_ops, 'normalize_planes', planes), \
            mock.patch.object(networks.LayerNorm, 'forward', layer_norm):
        yield


def iterate(trainer, way: str, x_a: torch.Tensor, x_b: torch.Tensor) -> None:
    """One iteration, computed in one of the `WAYS`."""
    set_precision(trainer.config['precision'])
    trainer.update_learning_rate()
    if way == 'update':
        trainer.update(x_a, x_b)
        return
    with as_the_original():
        trainer.dis_update(x_a, x_b)
        trainer.gen_update(x_a, x_b)


def synchronize(device: torch.device) -> None:
    if device.type == 'cuda':
        torch.cuda.synchronize(device)


def resident_bytes(entry: str) -> int:
    """Resident memory of this process: current (VmRSS) or peak (VmHWM). Only on Linux.

    getrusage is not suitable, as a new process inherits the peak of its parent.
    """
    line = next(line for line in Path('/proc/self/status').read_text().splitlines() if line.startswith(entry))
    return int(line.split()[1]) * 1024


def cuda_bytes(trainer: trainer_module.Trainer, way: str, x: torch.Tensor) -> int:
    """Bytes by which an iteration raises the allocator's peak over the memory of weights and moments. For a CUDA graph,
    which keeps its memory, the same iteration without a graph is measured.
    """
    if isinstance(trainer.update, GraphedUpdate):
        trainer.update = trainer.update.update
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    iterate(trainer, way, *x)
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before


def measure_memory(case: Case, way: str, device: torch.device) -> int:
    """Bytes by which two iterations on a CPU raise the peak over the memory of the trainer."""
    trainer, x = make_trainer(case, way, device), make_images(case, device)
    before = resident_bytes('VmRSS')
    for _ in range(2):
        iterate(trainer, way, *x)
    return resident_bytes('VmHWM') - before


def matrix_rate(precision: str, device: torch.device) -> float:
    """FLOP/s of a matrix product in a precision on this device, for comparison."""
    n = 8192 if device.type == 'cuda' else 1536
    a, b = torch.rand(2, n, n, device=device)
    set_precision(precision)
    times = []
    for _ in range(10):
        with autocast(precision, device):
            synchronize(device)
            start = time.perf_counter()
            a @ b
            synchronize(device)
        times.append(time.perf_counter() - start)
    return 2 * n ** 3 / statistics.median(times)


@functools.cache
def count_tflop(size: int, dim: int, batch: int, way: str, device: torch.device) -> float:
    """TFLOP of an iteration. It is not compiled, as the counter does not see compiled operations."""
    case = Case(size, dim, batch)
    trainer = make_trainer(case, way, device)
    with FlopCounterMode(display=False) as counter:
        iterate(trainer, way, *make_images(case, device))
    return counter.get_total_flops() / 1e12


def measure_time(case: Case, repeats: int, device: torch.device) -> dict:
    """Median seconds of both ways, timed alternately, and the FLOPs that torch counts."""
    trainers = {way: make_trainer(case, way, device) for way in WAYS}
    x = make_images(case, device)
    result = {**case._asdict(), 'repeats': repeats}
    for way in WAYS:
        result[f'{way}_tflop'] = count_tflop(case.size, case.dim, case.batch, way, device)
    start = time.perf_counter()
    for way in WAYS:
        for _ in range(5):   # compilation, choice of kernels, capture of graphs
            iterate(trainers[way], way, *x)
    synchronize(device)
    result['warm_up_s'] = time.perf_counter() - start
    times = {way: [] for way in WAYS}
    for _ in range(repeats):
        for way in WAYS:
            synchronize(device)
            start = time.perf_counter()
            iterate(trainers[way], way, *x)
            synchronize(device)
            times[way].append(time.perf_counter() - start)
    for way in WAYS:
        result[f'{way}_s'] = statistics.median(times[way])
    result['time_ratio'] = statistics.median(
        b / a for a, b in zip(times['original'], times['update'], strict=True))   # neighbours see the same load
    result['tflop_per_s'] = result['update_tflop'] / result['update_s']
    result['share_of_matrix_product'] = result['tflop_per_s'] * 1e12 / matrix_rate(case.precision, device)
    result['share_waiting_for_data'] = measure_waiting(case, trainers['update'], repeats, device)
    if device.type == 'cuda':
        result |= {f'{way}_bytes': cuda_bytes(trainers[way], way, x) for way in WAYS}
    return result


def measure_waiting(case: Case, trainer, repeats: int, device: torch.device) -> float:
    """The share of training time spent waiting for images: JPEG files of the case's size, read by worker processes."""
    with tempfile.TemporaryDirectory() as folder:
        for i in range(32):
            noise = torch.randint(0, 256, (9, 9, 3), generator=torch.Generator().manual_seed(i), dtype=torch.uint8)
            picture = Image.fromarray(noise.numpy()).resize((case.size, case.size), Image.Resampling.BICUBIC)
            picture.save(Path(folder) / f'{i}.jpg', quality=95)
        dataset = ImageDataset(list_folder(folder), 3, Transform(case.size, (case.size, case.size), augment=True))
        workers = min(4, os.cpu_count() or 1)
        streams = [stream(dataset, EndlessBatches(len(dataset), case.batch, seed), workers, device.type == 'cuda')
                   for seed in (0, 1)]
        clock = Clock(zip(*streams, strict=True))
        for i, images in enumerate(clock):
            iterate(trainer, 'update', *(x.to(device, non_blocking=True) for x in images))
            synchronize(device)
            if i == repeats + 2:
                break
        for of_domain in streams:
            of_domain.close()
        return clock.share_waiting()


def write(report: dict, file: str | None) -> None:
    """Write the results so far, so that an interrupted run keeps them."""
    if file:
        Path(file).write_text(json.dumps(report, indent=1) + '\n')


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--cases', nargs='+', default=['64,16', '128,32', '256,64'], type=Case.read,
                        help='size,dim[,batch[,precision[,compile]]]')
    parser.add_argument('--repeats', type=int, default=7)
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    parser.add_argument('--translation', action='store_true',
                        help='also measure images/s of test_batch.py (translation.py)')
    parser.add_argument('--output', help='JSON file to write')
    parser.add_argument('--memory_of', choices=WAYS, help='print the memory of one way in the first case, and exit')
    opts = parser.parse_args()
    device = torch.device(opts.device)
    set_deterministic(False)

    if opts.memory_of:
        print(measure_memory(opts.cases[0], opts.memory_of, device))
        return 0

    name = torch.cuda.get_device_name() if device.type == 'cuda' else platform.machine()
    report = {'device': name, 'threads': torch.get_num_threads(), 'torch': torch.__version__, 'cases': [],
              'matrix_tflop_per_s': {p: matrix_rate(p, device) / 1e12 for p in {c.precision for c in opts.cases}}}
    print(f'{name}, {report["threads"]} threads, torch {torch.__version__}, matrix product '
          + ', '.join(f'{p} {rate:.3g} TFLOP/s' for p, rate in report['matrix_tflop_per_s'].items()))
    print('size dim batch precision compile |  original s   update s  ratio |  original TFLOP  update TFLOP  TFLOP/s '
          'of matrix |  memory MiB   MiB  ratio | waits')
    for case in opts.cases:
        try:
            row = measure_time(case, opts.repeats, device)
            for way in WAYS if device.type == 'cpu' else ():   # in separate processes, as a peak cannot be reset
                arguments = ['--cases', str(case), '--device', opts.device, '--memory_of', way]
                row[f'{way}_bytes'] = int(subprocess.check_output([sys.executable, __file__, *arguments]))
        except Exception as error:   # this machine cannot compute the case; continue with the others
            print(f'{case}: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ""}', flush=True)
            report['cases'].append({**case._asdict(), 'error': str(error)[:2000]})
            continue
        row['memory_ratio'] = row['update_bytes'] / row['original_bytes']
        report['cases'].append(row)
        write(report, opts.output)
        print(f'{case.size:4} {case.dim:3} {case.batch:5} {case.precision:>9} {case.compile:>7} | '
              f'{row["original_s"]:11.4f} {row["update_s"]:10.4f} {row["time_ratio"]:6.3f} | '
              f'{row["original_tflop"]:15.4f} {row["update_tflop"]:13.4f} {row["tflop_per_s"]:8.3g} '
              f'{row["share_of_matrix_product"]:9.0%} | {row["original_bytes"] / 2**20:11.0f} '
              f'{row["update_bytes"] / 2**20:5.0f} {row["memory_ratio"]:6.3f} | {row["share_waiting_for_data"]:5.0%}',
              flush=True)
    if opts.translation:
        report['translation'] = []
        for size, dim in sorted({(case.size, case.dim) for case in opts.cases}):
            with tempfile.TemporaryDirectory() as folder:
                output = Path(folder) / 'translation.json'
                subprocess.run([sys.executable, ROOT / 'benchmarks' / 'translation.py', '--size', str(size),
                                '--dim', str(dim), '--device', opts.device, '--output', output], check=True)
                report['translation'].append(json.loads(output.read_text()))
    write(report, opts.output)
    return 0


if __name__ == '__main__':
    sys.exit(main())
