"""Compare the losses of a few iterations on a GPU and on the CPU, from the same weights, images and noise.

    python benchmarks/devices.py --device cuda --output devices.json

Each precision on the device is compared with fp32 on the CPU, and the iteration as a CUDA graph with the one without a
graph. Operations of an iteration that synchronize with the device are listed. The exit status is 1 if fp32 differs by
more than rounding, if two deterministic runs differ, or if an iteration synchronizes.
"""
import argparse
import json
import sys
import warnings
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / 'tests')]

import torch
from parity import config_with, filled_trainer, waves

from core.precision import PRECISIONS, set_deterministic, set_precision
from engine.cuda_graph import WARM_UP, GraphedUpdate
from trainer import MUNIT_Trainer, UNIT_Trainer

TRAINERS = {'MUNIT': (MUNIT_Trainer, {}),
            'MUNIT, cycle, sn': (MUNIT_Trainer, {'recon_x_cyc_w': 10, 'dis': {'norm': 'sn'}}),
            'MUNIT, options': (MUNIT_Trainer, {'recon_x_cyc_w': 5, 'ema_decay': 0.9, 'dirty': 'a', 'grad_clip': 'auto',
                                               'log_styles': True, 'dis': {'gan_type': 'hinge'}}),
            'UNIT': (UNIT_Trainer, {'recon_kl_w': 0.01, 'recon_kl_cyc_w': 0.01, 'recon_x_cyc_w': 10})}
ROUNDING = 5e-3   # allowed after three iterations, each of which amplifies the differences of the one before


def losses(trainer_class, changes: dict, precision: str, device: str, deterministic: bool = False,
           graph: bool = False, steps: int = 3) -> list[dict]:
    """The loss terms of the first iterations, as one dict per iteration."""
    set_precision(precision)
    set_deterministic(deterministic)
    torch.backends.cudnn.benchmark = False   # benchmarking all kernels takes 10 s each time
    trainer = filled_trainer(trainer_class, config_with(precision=precision, **changes)).to(device)
    rows = []
    if graph:
        trainer.update = GraphedUpdate(trainer)
    for i in range(steps):
        torch.manual_seed(i)
        trainer.update_learning_rate()
        x_a, x_b = waves(10 + i, 2, 3, 64, 64).to(device), waves(20 + i, 2, 3, 64, 64).to(device)
        rows.append({name: float(value) for name, value in trainer.update(x_a, x_b).items()})
    return rows


def waits(trainer_class, changes: dict, device: str) -> list[str]:
    """The source lines of an iteration that synchronize with the device, according to PyTorch's sync debug mode."""
    trainer = filled_trainer(trainer_class, config_with(**changes)).to(device)
    x_a, x_b = waves(1, 2, 3, 64, 64).to(device), waves(2, 2, 3, 64, 64).to(device)
    for _ in range(2):
        trainer.update_learning_rate()
        trainer.update(x_a, x_b)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        torch.cuda.set_sync_debug_mode('warn')
        try:
            trainer.update_learning_rate()
            trainer.update(x_a, x_b)
        finally:
            torch.cuda.set_sync_debug_mode('default')
    return sorted({f'{Path(warning.filename).name}:{warning.lineno}' for warning in caught
                   if 'called a synchronizing CUDA operation' in str(warning.message)})


def furthest(found: list[dict], wanted: list[dict]) -> float:
    """The largest relative difference over all terms."""
    return max(abs(f[name] - w[name]) / max(abs(w[name]), 1e-2)
               for f, w in zip(found, wanted, strict=True) for name in w)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--device', default='cuda')
    parser.add_argument('--output', help='JSON file to write')
    opts = parser.parse_args()
    report, failed = {'torch': torch.__version__, 'device': opts.device}, False
    if opts.device.startswith('cuda'):
        report['device'] = torch.cuda.get_device_name()
    for name, (trainer_class, changes) in TRAINERS.items():
        wanted = losses(trainer_class, changes, 'fp32', 'cpu')
        row = {precision: furthest(losses(trainer_class, changes, precision, opts.device), wanted)
               for precision in PRECISIONS}
        one, two = (losses(trainer_class, changes, 'fp32', opts.device, deterministic=True) for _ in range(2))
        row['deterministic twice the same'] = one == two
        if opts.device.startswith('cuda'):
            steps = 2 * WARM_UP
            eager, graph = (losses(trainer_class, changes, 'fp32', opts.device, graph=graph, steps=steps)
                            for graph in (False, True))
            row['graph'] = furthest(graph, eager)
            row['waits'] = waits(trainer_class, changes, opts.device)
        report[name] = row
        if opts.output:
            Path(opts.output).write_text(json.dumps(report, indent=1) + '\n')
        failed |= max(row['fp32'], row.get('graph', 0)) > ROUNDING or one != two or bool(row.get('waits'))
        print(f'{name:20} largest relative difference from the CPU: '
              + ', '.join(f'{precision} {row[precision]:.1e}' for precision in PRECISIONS)
              + (f', CUDA graph from eager {row["graph"]:.1e}' if 'graph' in row else '')
              + ('' if one == two else '; deterministic runs DIFFER')
              + (f'; SYNCHRONIZES at {", ".join(row["waits"])}' if row.get('waits') else ''), flush=True)
    return int(failed)


if __name__ == '__main__':
    sys.exit(main())
