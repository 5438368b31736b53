"""Train the shirts at 64×64 with one setting changed at a time, and measure the effect of each change.

    python benchmarks/recipes.py --iterations 2000 --output benchmarks/results/recipes.json
    python benchmarks/recipes.py --rows plain dis.init --seeds 1 2 3

Each row is `configs/edges2shirts64_folder.yaml` with the original's initialization of the discriminators and the
changes in `ROWS`, trained with the same seed for the same number of iterations, and measured by
`scripts/evaluate_photos.py` on the test pairs. Minutes are wall-clock time and include the effect of other load. The
JSON file is written after each row, and the same command continues with the rows that are missing.
"""
import argparse
import copy
import json
import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import yaml

CONFIG = ROOT / 'configs' / 'edges2shirts64_folder.yaml'
ROWS: dict[str, dict] = {
    'plain': {},
    'dis.init': {'dis.init': 'kaiming'},
    'dis.augment': {'dis.augment': 'color,translation,cutout'},
    'dis.augment, translation': {'dis.augment': 'translation'},
    'dis.r1_w': {'dis.r1_w': 0.5},
    'dis.init, translation, r1': {'dis.init': 'kaiming', 'dis.augment': 'translation', 'dis.r1_w': 0.5},
    'one rate': {'dis_lr': 0.0004},
    'gan_w 2': {'gan_w': 2},
    'no averages': {'ema_decay': 0.0},
    'dim 24': {'gen.dim': 24},
}


def changed(config: dict, changes: dict) -> dict:
    """A copy of the config with changed values; keys of sections are written like gen.dim."""
    config = copy.deepcopy(config)
    for name, value in changes.items():
        section, _, key = name.rpartition('.')
        (config[section] if section else config)[key] = value
    return config


def run(*arguments: str | Path) -> None:
    subprocess.run([sys.executable, *map(str, arguments)], cwd=ROOT, check=True, stdout=subprocess.DEVNULL,
                   env={**os.environ, 'OMP_NUM_THREADS': os.environ.get('OMP_NUM_THREADS', '1')})


def measure(name: str, seed: int, opts: argparse.Namespace) -> dict:
    """Train a row, or continue its training, and evaluate it."""
    folder = Path(opts.work) / f'{name.replace(" ", "_").replace(",", "")}_{seed}'
    folder.mkdir(parents=True, exist_ok=True)
    config = changed(yaml.safe_load(CONFIG.read_text()), {'dis.init': 'gaussian', **ROWS[name]})
    file = folder / 'recipe.yaml'
    file.write_text(yaml.safe_dump(config))
    start = time.monotonic()
    run('train.py', '--config', file, '--output_path', folder, '--seed', str(seed), '--precision', 'bf16', '--resume',
        '--max_iter', str(opts.iterations), '--device', opts.device, '--keep_snapshots', '1')
    minutes = (time.monotonic() - start) / 60
    kind = 'ema' if config['ema_decay'] else 'gen'
    checkpoint = folder / 'outputs' / 'recipe' / 'checkpoints' / f'{kind}_{opts.iterations:08d}.pt'
    run('scripts/evaluate_photos.py', '--config', file, '--checkpoint', checkpoint, '--output_folder', folder,
        '--device', opts.device)
    figures = json.loads((folder / 'photo_metrics.json').read_text())['metrics']
    return {'row': name, 'changes': ROWS[name], 'seed': seed, 'iterations': opts.iterations,
            'images': 2 * opts.iterations * config['batch_size'], 'minutes': round(minutes, 1), 'metrics': figures}


def print_row(row: dict) -> None:
    found = row['metrics']
    print(f'| {row["row"]} | {row["seed"]} | {row["images"]:,} | {row["minutes"]:.0f} '
          f'| {found["content kept, of that of real pairs"]:.2f} '
          f'| {found["guided colour error, of that of random styles"]:.2f} '
          f'| {found["colour diversity, of that of real photographs"]:.2f} | {found["coverage of real colours"]:.2f} '
          f'| {found["broken outputs"]:.2f} |', flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--rows', nargs='+', choices=ROWS, default=list(ROWS), metavar='ROW',
                        help=f'rows to train: {"; ".join(ROWS)}')
    parser.add_argument('--seeds', nargs='+', type=int, default=[1])
    parser.add_argument('--iterations', type=int, default=2000)
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--work', default='outputs/recipes', help='folder of the runs')
    parser.add_argument('--output', default='outputs/recipes/recipes.json', help='JSON file to write')
    opts = parser.parse_args()
    output = Path(opts.output)
    done = json.loads(output.read_text()) if output.exists() else []
    print('| row | seed | images | minutes | content kept | guided error | diversity | coverage | broken |')
    print('|---|---|---|---|---|---|---|---|---|')
    for seed in opts.seeds:
        for name in opts.rows:
            found = next((row for row in done if (row['row'], row['seed'], row['iterations']) == (
                name, seed, opts.iterations)), None)
            if found is None:
                found = measure(name, seed, opts)
                done.append(found)
                output.parent.mkdir(parents=True, exist_ok=True)
                output.write_text(json.dumps(done, indent=1) + '\n')
            print_row(found)


if __name__ == '__main__':
    main()
