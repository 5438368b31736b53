"""Evaluate a model that translates outlines to photographs on white, with a test set of pairs (same file names).

    python scripts/evaluate_photos.py --config configs/edges2shirts_folder.yaml --checkpoint models/edges2shirts.pt

Prints a table and writes OUTPUT_FOLDER/photo_metrics.json. `extras/metrics/photo_metrics.py` defines the metrics. The
outlines of the config's data_root are the inputs and the photographs are the examples of styles. The example for an
input is never the photograph of the same object.
"""
import json
from importlib.util import find_spec
from pathlib import Path

import _root  # noqa: F401
import numpy as np
import torch
from tqdm import tqdm

from core.errors import BadInput, naming, shown
from core.files import given_files, make_folder, refuse_overwriting, write_text
from data import find_images
from engine.cli import DirectionParser, add_seed, at_least, run_command
from engine.translator import open_translator, require_pictures
from extras.metrics import photo_metrics as metrics
from extras.outlines import INSTALL

REPORT = 'photo_metrics.json'


def parse_arguments(argv: list[str] | None = None):
    parser = DirectionParser('Evaluate a model that translates outlines to photographs on white.',
                             output_folder='outputs/photo_metrics')
    parser.add_argument('--num_inputs', type=at_least(4), default=100, help='maximum number of outlines')
    parser.add_argument('--num_style', type=at_least(2), default=6, help='number of sampled outputs per outline')
    add_seed(parser, 0, 'random seed of the sampled styles and the choice of examples')
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    opts = parse_arguments(argv)
    if not find_spec('skimage'):
        raise BadInput(f'evaluate_photos.py: scikit-image is missing; {INSTALL}')
    refuse_overwriting([Path(opts.output_folder) / REPORT], given_files(opts), '--output_folder')
    translator = open_translator(opts)
    require_pictures(translator.config, 'evaluate_photos.py')
    with naming(f'--config {shown(opts.config or opts.checkpoint)}: data_root:'):
        domains = (translator.source, translator.target)
        test_sets = [find_images(translator.config, 'test', domain) for domain in domains]
    outlines, photographs = ({path.stem: path for path in paths} for paths in test_sets)
    names = sorted(outlines.keys() & photographs.keys())[:opts.num_inputs]
    if len(names) < 4:
        raise BadInput(f'--config {opts.config}: its test set has {len(names)} pairs with the same '
                       f'name; at least 4 are required')
    generator = torch.Generator().manual_seed(opts.seed)
    shift = 1 + int(torch.randint(len(names) - 1, (), generator=generator))
    seen = {key: [] for key in ('guided', 'random', 'kept', 'kept by real pairs', 'diversity', 'broken', 'real',
                                'found')}
    for i, name in enumerate(tqdm(names, unit=' inputs', disable=None, dynamic_ncols=True)):
        lines = translator.read(str(outlines[name]), translator.source)
        own = translator.read(str(photographs[name]), translator.target)[0]
        example = translator.read(str(photographs[names[(i + shift) % len(names)]]), translator.target)
        drawn = translator.draw_styles(opts.num_style, generator=generator)
        styles = torch.cat([translator.encode_style(example), drawn])
        outputs = list(translator.translate(lines, styles).cpu())
        wanted, (guided, *sampled) = metrics.colour_of(example[0]), [metrics.colour_of(output) for output in outputs]
        seen['guided'].append(np.linalg.norm(guided - wanted))
        seen['random'] += [np.linalg.norm(colour - wanted) for colour in sampled]
        seen['kept'] += [metrics.content_kept(output, lines[0]) for output in outputs]
        seen['kept by real pairs'].append(metrics.content_kept(own, lines[0]))
        seen['diversity'].append(metrics.mean_difference(sampled))
        seen['broken'] += [metrics.filled(output, lines[0]) < 0.5 for output in outputs]
        seen['real'].append(metrics.colour_of(own))
        seen['found'].append(sampled[0])
    report(opts, seen, len(names))


def report(opts, seen: dict[str, list], inputs: int) -> None:
    """Print the table of metrics and write it as JSON."""
    mean = {key: float(np.mean(values)) for key, values in seen.items() if key not in ('real', 'found')}
    half = len(seen['real']) // 2
    among_real = metrics.coverage(seen['real'][half:], seen['real'][:half])
    found = {
        'content kept': mean['kept'],
        'content kept, of that of real pairs': mean['kept'] / mean['kept by real pairs'],
        'guided colour error (ΔE)': mean['guided'],
        'guided colour error, of that of random styles': mean['guided'] / mean['random'],
        'colour diversity, of that of real photographs': mean['diversity'] / metrics.mean_difference(seen['real']),
        'coverage of real colours': metrics.coverage(seen['real'], seen['found']),
        'coverage among real photographs (one half by the other)': among_real,
        'broken outputs': mean['broken'],
    }
    width = max(map(len, found))
    for name, value in found.items():
        print(f'{name:{width}}  {value:.3f}')
    folder = make_folder(opts.output_folder, '--output_folder')
    about = {'config': opts.config, 'checkpoint': opts.checkpoint, 'inputs': inputs, 'num_style': opts.num_style,
             'seed': opts.seed, 'metrics': found}
    write_text(folder / REPORT, json.dumps(about, indent=1, ensure_ascii=False) + '\n')
    print(f'wrote {folder / REPORT}')


if __name__ == '__main__':
    run_command(main)
