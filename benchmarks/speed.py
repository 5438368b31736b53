"""Time one iteration of training: `update` against `dis_update` + `gen_update` computed in the original's way.

    python benchmarks/speed.py --cases 64,16 128,32 256,64 --output benchmarks/results/MACHINE.json

The original's way is measured on our networks: images encoded anew for each update, every decode and every judgement
on its own, upsampled images convolved as they are, graphs recorded in the discriminator's update, gradients gathered
in the discriminators in the generator's update. Both ways are timed in turns in one process, and the medians are
quoted; memory is the growth of the process (CUDA: of the allocator) over its state before the first iteration.
"""
import argparse
import contextlib
import json
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path
from unittest import mock

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402
from torch.utils.flop_counter import FlopCounterMode  # noqa: E402

import networks  # noqa: E402
import trainer as trainer_module  # noqa: E402
from config import load_config  # noqa: E402

WAYS = ('original', 'update')


def make_trainer(way: str, dim: int, device: torch.device) -> trainer_module.MUNIT_Trainer:
    """The standard configuration with `dim` filters in generators and discriminators."""
    config = load_config(ROOT / 'configs' / 'edges2shoes_folder.yaml')
    config['gen']['dim'] = config['dis']['dim'] = dim
    config['fused'] = way != 'original'
    torch.manual_seed(0)
    return trainer_module.MUNIT_Trainer(config).to(device)


@contextlib.contextmanager
def as_the_original():
    """Compute what `update` computes without its economies."""
    def apart(gen, *codes):
        return tuple(gen.decode(*code) for code in codes)

    def plain(block, x):
        return block.conv(block.pad(F.interpolate(x, scale_factor=2)))

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

    with mock.patch.object(trainer_module, 'decode_together', apart), \
            mock.patch.object(trainer_module.Trainer, '_step_generators', step_generators), \
            mock.patch.object(trainer_module.MUNIT_Trainer, 'dis_update', dis_update), \
            mock.patch.object(trainer_module, 'judge_together', lambda dis, fake, real: (dis(fake), dis(real))), \
            mock.patch.object(trainer_module, 'no_gradients_for', lambda *_: contextlib.nullcontext()), \
            mock.patch.object(networks.UpsampleConv2dBlock, '_upsample_and_convolve', plain), \
            mock.patch.object(networks.ToImageConv2dBlock, 'forward', networks.Conv2dBlock.forward), \
            mock.patch.object(networks, '_normalize_planes', planes), \
            mock.patch.object(networks.LayerNorm, 'forward', layer_norm):
        yield


def iterate(trainer, way: str, x_a: torch.Tensor, x_b: torch.Tensor) -> None:
    """One iteration in one of the WAYS."""
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
    """Memory of this process in RAM: now (VmRSS) or at its peak (VmHWM). Linux alone tells.

    getrusage would not do: a new process starts with the peak of the one that started it.
    """
    line = next(line for line in Path('/proc/self/status').read_text().splitlines() if line.startswith(entry))
    return int(line.split()[1]) * 1024


def measure_memory(case: tuple[int, int, int], way: str, device: torch.device) -> int:
    """Bytes by which two iterations raise the peak over what the trainer itself takes."""
    size, dim, batch = case
    trainer, x = make_trainer(way, dim, device), torch.rand(2, batch, 3, size, size, device=device) * 2 - 1
    before = torch.cuda.memory_allocated() if device.type == 'cuda' else resident_bytes('VmRSS')
    for _ in range(2):
        iterate(trainer, way, *x)
    if device.type == 'cuda':
        return torch.cuda.max_memory_allocated() - before
    return resident_bytes('VmHWM') - before


def matrix_rate(device: torch.device) -> float:
    """FLOP/s of a float32 matrix product on this device, to compare with."""
    n = 8192 if device.type == 'cuda' else 1536
    a, b = torch.rand(2, n, n, device=device)
    times = []
    for _ in range(6):
        synchronize(device)
        start = time.perf_counter()
        a @ b
        synchronize(device)
        times.append(time.perf_counter() - start)
    return 2 * n ** 3 / statistics.median(times)


def measure_time(case: tuple[int, int, int], repeats: int, device: torch.device) -> dict:
    """Median seconds of each way, taken in turns, and the FLOPs that torch counts."""
    size, dim, batch = case
    trainers = {way: make_trainer(way, dim, device) for way in WAYS}
    x = torch.rand(2, batch, 3, size, size, device=device) * 2 - 1
    result = {'size': size, 'dim': dim, 'batch': batch, 'repeats': repeats}
    for way in WAYS:
        with FlopCounterMode(display=False) as counter:
            iterate(trainers[way], way, *x)
        result[f'{way}_tflop'] = counter.get_total_flops() / 1e12
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
        b / a for a, b in zip(times['original'], times['update'], strict=True))   # of neighbours: they share the noise
    return result


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--cases', nargs='+', default=['64,16', '128,32', '256,64'], help='size,dim or size,dim,batch')
    parser.add_argument('--repeats', type=int, default=7)
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    parser.add_argument('--output', help='a JSON file to write')
    parser.add_argument('--memory_of', choices=WAYS, help='print the memory of one way in the first case, and end')
    opts = parser.parse_args()
    device = torch.device(opts.device)
    cases = [tuple(map(int, case.split(','))) for case in opts.cases]
    cases = [case if len(case) == 3 else (*case, 1) for case in cases]
    torch.backends.cudnn.benchmark = True

    if opts.memory_of:
        print(measure_memory(cases[0], opts.memory_of, device))
        return 0

    name = torch.cuda.get_device_name() if device.type == 'cuda' else platform.machine()
    report = {'device': name, 'threads': torch.get_num_threads(), 'torch': torch.__version__,
              'matrix_gflop_per_s': matrix_rate(device) / 1e9, 'cases': []}
    print(f'{name}, {report["threads"]} threads, torch {torch.__version__}, '
          f'matrix product {report["matrix_gflop_per_s"]:.0f} GFLOP/s')
    print('size dim batch |  original s   update s   ratio |  original TFLOP  update TFLOP |  memory MiB  MiB  ratio')
    for case in cases:
        row = measure_time(case, opts.repeats, device)
        for way in WAYS:   # a process each: a peak cannot be taken back
            arguments = ['--cases', ','.join(map(str, case)), '--device', opts.device, '--memory_of', way]
            row[f'{way}_bytes'] = int(subprocess.check_output([sys.executable, __file__, *arguments]))
        row['memory_ratio'] = row['update_bytes'] / row['original_bytes']
        report['cases'].append(row)
        print(f'{row["size"]:4} {row["dim"]:3} {row["batch"]:5} | {row["original_s"]:11.4f} {row["update_s"]:10.4f} '
              f'{row["time_ratio"]:7.3f} | {row["original_tflop"]:15.4f} {row["update_tflop"]:13.4f} | '
              f'{row["original_bytes"] / 2**20:11.0f} {row["update_bytes"] / 2**20:4.0f} {row["memory_ratio"]:6.3f}',
              flush=True)
    if opts.output:
        Path(opts.output).write_text(json.dumps(report, indent=1) + '\n')
    return 0


if __name__ == '__main__':
    sys.exit(main())
