"""A page that compares runs: their curves in the same charts, their pictures side by side.

    python scripts/compare_runs.py outputs/A outputs/B --output_folder outputs/comparison

It is the page of a run (`engine.run_page.page`) with other data: a term is called `TERM\\nRUN`, and there are as many
pictures of a kind as runs. The pictures stay where they are; the page has their places relative to its own.
"""
import os
import urllib.parse
from pathlib import Path
from typing import Any

import numpy as np

from core.errors import BadInput, shown
from engine.run_page.page import POINTS, SPLITS, WAYS, as_script, page_of, read_data, replace_text


def write_comparison(data: dict[str, Any], place: Path) -> None:
    """Write index.html and run.js into the folder `place`, from what `compared` returned for it.

    Raises:
        OSError: the disk is full, or fails.
    """
    replace_text(place / 'run.js', f'showRun({as_script(data)});\n')
    replace_text(place / 'index.html', page_of(place, data))


def compared(folders: list[Path], place: Path) -> dict[str, Any]:
    """The data of a page in the folder `place` that compares the runs in `folders`.

    Raises:
        BadInput: a folder is not of a run, or its page is of another version.
    """
    runs = []
    for folder in folders:
        data = read_data(folder)
        if data is None:
            raise BadInput(f'{shown(folder)}: no run.js that this version reads; is it outputs/NAME? '
                           f'scripts/rebuild_run_page.py writes it again')
        runs.append(data)
    try:
        names = [str(run['name']) for run in runs]
        if len(set(names)) < len(names):
            names = [os.path.normpath(folder) for folder in folders]
        ways = [way for way in WAYS if any(way in run['ways'] for run in runs)]
        return {'name': ' | '.join(names), 'runs': names, 'state': 'comparison', 'current': None, 'ways': ways,
                'folders': [urllib.parse.quote(os.path.relpath(folder, place).replace(os.sep, '/')) + '/'
                            for folder in folders],
                'kinds': [run['kinds'] for run in runs], 'pictures': _pictures(runs), 'curves': _curves(runs, names),
                'step': max(run['step'] for run in runs), 'max_iter': None, 'pace': None, 'written': None,
                'facts': [[name, _standing(run)] for name, run in zip(names, runs, strict=True)],
                'config': _differing(runs)}
    except (LookupError, TypeError, ValueError, AttributeError):
        raise BadInput(f'{", ".join(shown(folder) for folder in folders)}: a run.js is damaged; '
                       f'scripts/rebuild_run_page.py writes it again') from None


def _standing(run: dict[str, Any]) -> str:
    of = f' of {run["max_iter"]:,}' if run['max_iter'] else ''
    return f'{run.get("method", "unknown method")}, {run["step"]:,}{of} iterations, {run["state"]}'


def _pictures(runs: list[dict[str, Any]]) -> dict[str, list[int]]:
    """The steps of which every run has pictures; where there are none, of which any has."""
    found = {}
    for split in SPLITS:
        steps = [set(run['pictures'][split]) for run in runs]
        found[split] = sorted(set.intersection(*steps) or set.union(*steps))
    return found


def _curves(runs: list[dict[str, Any]], names: list[str]) -> dict[str, Any]:
    """The runs' curves at the same steps: those of the run that has the fewest, and beyond its end those of others.

    Values between the points of a curve are interpolated.
    """
    steps: list[int] = []
    curves = [run['curves'] for run in runs if run['curves']['steps']]
    for curve in sorted(curves, key=lambda curve: -curve['steps'][-1] / len(curve['steps'])):
        steps += [step for step in curve['steps'] if not steps or step > steps[-1]]
    steps = steps[::-1][::-(-len(steps) // (2 * POINTS)) or 1][::-1]   # the last one stays
    terms = {}
    for run, name in zip(runs, names, strict=True):
        for term, parts in run['curves']['terms'].items():
            there = [(step, mean) for step, mean in zip(run['curves']['steps'], parts['mean'], strict=True)
                     if mean is not None]
            if there:
                at, means = (np.array(column, dtype=float) for column in zip(*there, strict=True))
                values = np.interp(steps, at, means, left=np.nan, right=np.nan)
                terms[f'{term}\n{name}'] = {'mean': [None if np.isnan(value) else float(f'{value:.4g}')
                                                     for value in values]}
    return {'every': 1, 'steps': steps, 'terms': terms}


def _differing(runs: list[dict[str, Any]]) -> list[list]:
    """The keys of the configs whose values are not the same in all runs, each with the runs' values."""
    configs = [{row[0]: row[1] for row in run.get('config', [])} for run in runs]
    keys = list(dict.fromkeys(key for config in configs for key in config))
    return [[key, *(config.get(key) for config in configs)] for key in keys
            if any(config.get(key) != configs[0].get(key) for config in configs)]
