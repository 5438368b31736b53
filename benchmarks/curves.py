"""Compare training in bfloat16 with training in fp32: loss curves of the demo config in the same charts.

    pip install -r requirements/bench.txt
    python benchmarks/curves.py --iterations 2000 --output benchmarks/results/curves-MACHINE

Trains in fp32 and in bf16 with one seed, and in fp32 with a second seed. The distance between the two fp32 runs is the
noise to compare bf16 with. Finished runs in the folder --work are not repeated. Writes a picture and a JSON file.
"""
import argparse
import json
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import torch

from core.tensorboard_log import scalars

RUNS = {'fp32': ('fp32', 0), 'bf16': ('bf16', 0), 'fp32, another seed': ('fp32', 1)}
TERMS = ('loss_dis_total', 'loss_gen_total', 'loss_gen_recon_x_a', 'loss_gen_recon_x_b', 'loss_gen_recon_s_a',
         'loss_gen_recon_s_b', 'loss_gen_recon_c_a', 'loss_gen_recon_c_b')
WINDOW = 200   # iterations in the moving average of a curve


def train(config: Path, work: Path, precision: str, seed: int, iterations: int) -> dict[str, np.ndarray]:
    """Train, and return the loss curves of the run by name, each an array of (step, value)."""
    out = work / f'{precision}-{seed}'
    command = [sys.executable, 'train.py', '--config', config, '--output_path', out, '--seed', str(seed), '--resume']
    subprocess.run([*command, '--precision', precision, '--max_iter', str(iterations)], cwd=ROOT, check=True)
    curves = {}
    for step, name, value in scalars(out / 'logs' / config.stem):
        curves.setdefault(name, []).append((step, value))
    return {name: np.array(points) for name, points in curves.items()}


def smooth(points: np.ndarray, window: int) -> tuple[np.ndarray, np.ndarray]:
    """The moving average of a curve over `window` iterations: steps and means."""
    every = int(points[1, 0] - points[0, 0])
    n = max(1, window // every)
    return points[n - 1:, 0], np.convolve(points[:, 1], np.ones(n) / n, mode='valid')


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--config', type=Path, default=ROOT / 'configs' / 'demo_drawn_small.yaml')
    parser.add_argument('--iterations', type=int, default=2000)
    parser.add_argument('--work', type=Path, default=Path('outputs/curves'), help='folder of the runs')
    parser.add_argument('--output', required=True, help='path of the picture and the JSON file, without extension')
    opts = parser.parse_args()

    import matplotlib
    matplotlib.use('Agg')
    import matplotlib.pyplot as plt

    curves = {name: train(opts.config, opts.work, *run, opts.iterations) for name, run in RUNS.items()}
    figure, axes = plt.subplots(2, len(TERMS) // 2, figsize=(16, 7))
    report = {'config': opts.config.stem, 'iterations': opts.iterations, 'torch': torch.__version__,
              'device': torch.cuda.get_device_name() if torch.cuda.is_available() else platform.machine(), 'terms': {}}
    for term, axis in zip(TERMS, axes.flat, strict=True):
        for name, terms in curves.items():
            axis.plot(*smooth(terms[term], WINDOW), label=name, alpha=0.8)
        axis.set_title(f'{term}, mean of {WINDOW} iterations', fontsize=9)
        means = {name: {'first half': float(values[:len(values) // 2].mean()), 'second half': float(
            values[len(values) // 2:].mean())} for name, values in ((n, t[term][:, 1]) for n, t in curves.items())}
        reference = smooth(curves['fp32'][term], WINDOW)[1]
        distances = {name: float(np.abs(smooth(terms[term], WINDOW)[1] - reference).mean() / reference.mean())
                     for name, terms in curves.items() if name != 'fp32'}
        report['terms'][term] = {'means': means, 'apart_from_fp32': distances}
        print(f'{term:20} mean distance of the smoothed curves from fp32: '
              + ', '.join(f'{name} {value:.1%}' for name, value in distances.items()))
    axes.flat[0].legend()
    figure.tight_layout()
    figure.savefig(f'{opts.output}.png', dpi=80)
    Path(f'{opts.output}.json').write_text(json.dumps(report, indent=1) + '\n')
    return 0


if __name__ == '__main__':
    sys.exit(main())
