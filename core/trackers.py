"""Experiment trackers: with `tracker: wandb` or `mlflow`, they receive what TensorBoard receives.

The libraries are imported only then. Their own environment variables set addresses, keys and offline modes.
"""
import json
import math
import uuid
from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from core.errors import BadInput, shown
from core.files import write_text

REQUIREMENTS = 'requirements/track.txt'
REMEMBERED = 'tracker.json'   # in the run's folder: which run of the tracker it is


class Tracker:
    """A tracker that stores nothing, for `tracker: none`; the base class of the others.

    Pictures are (3, H, W) in [0, 1], as `core.tensorboard_log.Log` takes them.
    """

    def add_settings(self, settings: Mapping[str, Any]) -> None:
        """Log the settings of the run."""

    def add_scalars(self, values: dict[str, float], step: int) -> None:
        """Log each value under its name, without those that are not finite."""

    def add_picture(self, name: str, picture: np.ndarray, step: int) -> None:
        """Log a picture (H, W, 3) of bytes."""

    def add_text(self, name: str, text: str, step: int) -> None:
        """Log a line of text."""

    def close(self, failed: bool = False) -> None:
        """End the run."""


class Wandb(Tracker):
    """A run of Weights & Biases. `WANDB_MODE=offline` keeps it in the run's folder, for `wandb sync` later."""

    def __init__(self, folder: Path, name: str, run_id: str | None):
        wandb = import_module('wandb')
        self.library, self.id = wandb, run_id or uuid.uuid4().hex[:8]
        # Without `console`, it would take the terminal that the progress bar is on.
        self.run = wandb.init(project='munit', name=name, id=self.id, resume='allow', dir=str(folder),
                              settings={'console': 'off'})
        # Its own steps only rise; those of a run that resumed, or went back to a snapshot, do not.
        self.run.define_metric('iteration')
        self.run.define_metric('*', step_metric='iteration')

    def add_settings(self, settings: Mapping[str, Any]) -> None:
        self.run.config.update(dict(settings), allow_val_change=True)

    def add_scalars(self, values: dict[str, float], step: int) -> None:
        self.run.log({**finite(values), 'iteration': step})

    def add_picture(self, name: str, picture: np.ndarray, step: int) -> None:
        self.run.log({name: self.library.Image(picture), 'iteration': step})

    def add_text(self, name: str, text: str, step: int) -> None:
        self.run.log({name: text, 'iteration': step})

    def close(self, failed: bool = False) -> None:
        self.run.finish(exit_code=int(failed))


class MLflow(Tracker):
    """A run of MLflow, where `MLFLOW_TRACKING_URI` says: by default, files of the folder that one is in."""

    def __init__(self, folder: Path, name: str, run_id: str | None):
        mlflow = self.library = import_module('mlflow')
        self.resumed = run_id is not None
        mlflow.set_experiment('munit')
        self.id = mlflow.start_run(run_id=run_id, run_name=None if run_id else name).info.run_id

    def add_settings(self, settings: Mapping[str, Any]) -> None:
        if not self.resumed:   # it refuses parameters that change
            self.library.log_params(dict(settings))

    def add_scalars(self, values: dict[str, float], step: int) -> None:
        self.library.log_metrics(finite(values), step=step)

    def add_picture(self, name: str, picture: np.ndarray, step: int) -> None:
        self.library.log_image(picture, key=name, step=step)

    def add_text(self, name: str, text: str, step: int) -> None:
        self.library.set_tag(f'{name}.{step}', text)

    def close(self, failed: bool = False) -> None:
        self.library.end_run('FAILED' if failed else 'FINISHED')


class Guarded(Tracker):
    """A tracker whose errors do not end a training: the first one is reported, and the tracker is not used again."""

    def __init__(self, tracker: Tracker, kind: str, say: Callable[[str], None]):
        self.tracker: Tracker | None = tracker
        self.kind, self.say = kind, say

    def _call(self, method: str, *given: Any) -> None:
        if self.tracker is None:
            return
        try:
            getattr(self.tracker, method)(*given)
        except Exception as error:   # of the library, of the network, of its disk
            self.tracker = None
            self.say(f'tracker {self.kind}: {shown(error, 200)}; the run continues without it')

    def add_settings(self, settings: Mapping[str, Any]) -> None:
        self._call('add_settings', settings)

    def add_scalars(self, values: dict[str, float], step: int) -> None:
        self._call('add_scalars', values, step)

    def add_picture(self, name: str, picture: np.ndarray, step: int) -> None:
        self._call('add_picture', name, picture, step)

    def add_text(self, name: str, text: str, step: int) -> None:
        self._call('add_text', name, text, step)

    def close(self, failed: bool = False) -> None:
        self._call('close', failed)


KINDS: dict[str, Callable[[Path, str, str | None], Any]] = {'wandb': Wandb, 'mlflow': MLflow}


def fault_of(kind: str) -> str:
    """Why a tracker cannot be used; '' if its library is installed."""
    if kind not in KINDS or find_spec(kind):   # the schema reports an unknown tracker
        return ''
    return f'{kind} is not installed; pip install -r {REQUIREMENTS}, or tracker: none'


def start(kind: str, folder: Path, name: str, resumed: bool, say: Callable[[str], None]) -> Tracker:
    """The tracker of a run: a new run of the tracker, or the same one as before when the run is resumed.

    Args:
        kind: none, wandb or mlflow.
        folder: of the run; a file in it stores the identifier of the tracker's run.
        name: of the run.
        say: called with a line when the tracker fails later.

    Raises:
        BadInput: the tracker cannot be started.
    """
    if kind == 'none':
        return Tracker()
    known = _remembered(folder) if resumed else {}
    try:
        tracker = KINDS[kind](folder, name, known.get('id') if known.get('tracker') == kind else None)
    except Exception as error:   # not logged in, no such server, …
        raise BadInput(f'tracker {kind}: cannot be started ({shown(error, 300)}); see its documentation, or use '
                       f'tracker: none') from None
    write_text(folder / REMEMBERED, json.dumps({'tracker': kind, 'id': tracker.id}))
    return Guarded(tracker, kind, say)


def _remembered(folder: Path) -> dict[str, str]:
    try:
        known = json.loads((folder / REMEMBERED).read_text(encoding='utf-8'))
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def finite(values: dict[str, float]) -> dict[str, float]:
    """The values that are finite, as Python's own numbers."""
    return {name: float(value) for name, value in values.items() if math.isfinite(value)}
