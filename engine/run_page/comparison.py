"""A page that compares runs: their curves in the same charts, their pictures side by side.

    python scripts/compare_runs.py outputs/A outputs/B --output_folder outputs/comparison

It is the page of a run (`engine.run_page.page`) with other data: a curve is named `TERM\\nRUN`, and each direction has
a picture per run. The pictures are not copied; the page refers to them by relative paths.
"""
import os
import urllib.parse
from pathlib import Path
from typing import Any

import numpy as np

from core.errors import BadInput, shown
from core.files import replace_text
from engine.run_page.page import POINTS, SPLITS, WAYS, as_script, page_of, read_data


def write_comparison(data: dict[str, Any], output_folder: Path) -> None:
    """Write index.html and run.js to `output_folder`, from what `compared` returned for the same folder.

    Raises:
        OSError: the files cannot be written.
    """
    replace_text(output_folder / 'run.js', f'showRun({as_script(data)});\n')
    replace_text(output_folder / 'index.html', page_of(output_folder, data))


def compared(folders: list[Path], output_folder: Path) -> dict[str, Any]:
    """The data of a page in `output_folder` that compares the runs in `folders`.

    Raises:
        BadInput: a folder is not that of a run, or an incompatible version wrote its page.
    """
    runs = []
    for folder in folders:
        data = read_data(folder)
        if data is None:
            raise BadInput(f'{shown(folder)}: no run.js that this version can read; name the folder of a run, '
                           f'outputs/NAME, or rebuild the file with scripts/rebuild_run_page.py')
        runs.append(data)
    try:
        names = [str(run['name']) for run in runs]
        if len(set(names)) < len(names):
            names = [os.path.normpath(folder) for folder in folders]
        directions = [direction for direction in WAYS if any(direction in run['ways'] for run in runs)]
        return {'name': ' | '.join(names), 'runs': names, 'state': 'comparison', 'current': None, 'ways': directions,
                'folders': [urllib.parse.quote(os.path.relpath(folder, output_folder).replace(os.sep, '/')) + '/'
                            for folder in folders],
                'kinds': [run['kinds'] for run in runs], 'pictures': _pictures(runs), 'curves': _curves(runs, names),
                'step': max(run['step'] for run in runs), 'max_iter': None, 'pace': None, 'written': None,
                'facts': [[name, _summary(run)] for name, run in zip(names, runs, strict=True)],
                'config': _differing_keys(runs)}
    except (LookupError, TypeError, ValueError, AttributeError):
        raise BadInput(f'{", ".join(shown(folder) for folder in folders)}: a run.js is damaged; rebuild it with '
                       f'scripts/rebuild_run_page.py') from None


def _summary(run: dict[str, Any]) -> str:
    of = f' of {run["max_iter"]:,}' if run['max_iter'] else ''
    return f'{run.get("method", "unknown method")}, {run["step"]:,}{of} iterations, {run["state"]}'


def _pictures(runs: list[dict[str, Any]]) -> dict[str, list[int]]:
    """For each split, the steps at which all runs have pictures, or, if there are none, at which any run has."""
    found = {}
    for split in SPLITS:
        steps = [set(run['pictures'][split]) for run in runs]
        found[split] = sorted(set.intersection(*steps) or set.union(*steps))
    return found


def _curves(runs: list[dict[str, Any]], names: list[str]) -> dict[str, Any]:
    """The curves of all runs, interpolated at common steps: those of the run with the widest spacing and, beyond its
    end, those of longer runs.
    """
    steps: list[int] = []
    curves = [run['curves'] for run in runs if run['curves']['steps']]
    for curve in sorted(curves, key=lambda curve: -curve['steps'][-1] / len(curve['steps'])):
        steps += [step for step in curve['steps'] if not steps or step > steps[-1]]
    steps = steps[::-1][::-(-len(steps) // (2 * POINTS)) or 1][::-1]   # keeps the last step
    terms = {}
    for run, name in zip(runs, names, strict=True):
        for term, parts in run['curves']['terms'].items():
            finite = [(step, mean) for step, mean in zip(run['curves']['steps'], parts['mean'], strict=True)
                      if mean is not None]
            if finite:
                at, means = (np.array(column, dtype=float) for column in zip(*finite, strict=True))
                values = np.interp(steps, at, means, left=np.nan, right=np.nan)
                terms[f'{term}\n{name}'] = {'mean': [None if np.isnan(value) else float(f'{value:.4g}')
                                                     for value in values]}
    return {'every': 1, 'steps': steps, 'terms': terms}


def _differing_keys(runs: list[dict[str, Any]]) -> list[list]:
    """The config keys whose values differ between runs, each with the values of all runs."""
    configs = [{row[0]: row[1] for row in run.get('config', [])} for run in runs]
    keys = list(dict.fromkeys(key for config in configs for key in config))
    return [[key, *(config.get(key) for config in configs)] for key in keys
            if any(config.get(key) != configs[0].get(key) for config in configs)]
