"""The TensorBoard event files of a run: written during training, and cut back to a snapshot when a run resumes."""
import contextlib
import os
import re
import struct
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from tensorboardX import summary
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.proto.summary_pb2 import Summary

# A record: length of the data, checksum of that, the data, their checksum.
LENGTH_AND_CHECKSUM, CHECKSUM = 12, 4
SETTINGS = ('_hparams_/', 'config/')   # tags that every run writes when it starts or resumes
OUTERMOST, BINS = 10, 200              # of histograms; values beyond OUTERMOST are counted in the last bins


class Log:
    """Writes scalars, pictures, histograms and settings at once, without the thread of tensorboardX's own writer.

    That thread ends silently when the disk is full, after which waiting for it never returns; and events that it has
    not written yet are lost when a run is killed.

    Args:
        folder: where its file goes.
        step: iterations done so far. Later steps in other files of the folder are superseded.

    Raises:
        OSError: from every method but `close`: the disk is full, or fails.
    """

    def __init__(self, folder: Path, step: int = 0):
        # The number in the name separates two files of one second: a run that ends and resumes at once.
        number = len(list(folder.glob('events.out.tfevents.*')))
        self._file = EventsWriter(str(folder / 'events'), f'.{os.getpid()}.{number}')
        start = SessionLog(status=SessionLog.START)   # here TensorBoard drops what is superseded
        self._file.write_event(Event(wall_time=time.time(), step=step + 1, session_log=start))

    def add_settings(self, settings: dict[str, str | bool | int | float], metrics: Sequence[str]) -> None:
        """The settings of the run, for TensorBoard's tables of hyperparameters and as a text.

        Args:
            settings: by their names.
            metrics: scalars that stand beside them in the table.
        """
        experiment, start, _ = summary.hparams(settings, dict.fromkeys(metrics))
        lines = [f'| {name} | {str(value).replace("|", "&#124;")} |' for name, value in settings.items()]
        text = '\n'.join(['| key | value |', '|---|---|', *lines])
        for what in (experiment, start, summary.text('config', text.encode(errors='replace').decode())):
            self._add(what, 0)

    def add_scalars(self, values: dict[str, float], step: int) -> None:
        """Each value under its name."""
        # In one record: what reads a long run back reads twenty times fewer.
        self._add(Summary(value=[entry for name, value in values.items()
                                 for entry in summary.scalar(name, value).value]), step)

    def add_picture(self, name: str, picture: np.ndarray, step: int) -> None:
        """A picture (H, W, 3) of bytes."""
        self._add(summary.image(name, picture, dataformats='HWC'), step)

    def add_text(self, name: str, text: str, step: int) -> None:
        """A line of text."""
        self._add(summary.text(name, text), step)

    def add_histogram(self, name: str, values: np.ndarray, step: int) -> None:
        """How values of any shape are spread; those that are not finite are left out, nothing is written of none."""
        values = values[np.isfinite(values)].astype(np.float64).clip(-OUTERMOST, OUTERMOST)
        if values.size:
            # The bins are those of every step and every name, so that their heights can be compared.
            self._add(summary.histogram(name, values, np.linspace(-OUTERMOST, OUTERMOST, BINS + 1)), step)

    def _add(self, what: Summary, step: int) -> None:
        self._file.write_event(Event(wall_time=time.time(), step=step, summary=what))
        self._file.flush()

    def close(self) -> None:
        # All is written by now, but for what a full disk did not take, and that has been complained of.
        for close in (self._file.close, self._file._py_recordio_writer.close):   # the first stops where it cannot flush
            with contextlib.suppress(OSError):
                close()


def truncate_after(folder: Path, step: int) -> None:
    """Drop from the folder's files what was logged after `step`, half records that a killed run left behind, and the
    settings, which the run writes again when it resumes.

    Raises:
        OSError: a file cannot be read or written.
    """
    for path in _files(folder):
        kept = [(start, end) for start, end, event in _records(path)
                if event.step <= step and not any(value.tag.startswith(SETTINGS) for value in event.summary.value)]
        if sum(end - start for start, end in kept) == path.stat().st_size:
            continue
        beside = path.with_name(path.name.replace('events.', 'part.', 1))
        try:
            with open(path, 'rb') as source, open(beside, 'wb') as target:
                for start, end in kept:   # not the whole file at once: years of pictures are in it
                    source.seek(start)
                    target.write(source.read(end - start))
            os.replace(beside, path)
        finally:
            beside.unlink(missing_ok=True)


def scalars(folder: Path) -> list[tuple[int, str, float]]:
    """Every scalar in the folder's files, as (step, name, value), by steps and names."""
    return sorted((event.step, name, value) for event in events(folder) for name, value in scalars_of(event).items())


def scalars_of(event: Event) -> dict[str, float]:
    """The scalars in a record, by their names."""
    return {value.tag: value.simple_value for value in event.summary.value if value.HasField('simple_value')}


def events(folder: Path) -> Iterator[Event]:
    """What the folder's files hold of one run: the records, file by file in the order in which those were begun.

    A file that was begun later, by a run that resumed or started again, supersedes what earlier ones say
    of its first step and of all that come after.
    """
    files = sorted((_number_of(path), *_beginning(path)) for path in _files(folder))
    for i, (*_, path) in enumerate(files):
        superseded = min((first for *_, first, _ in files[i + 1:]), default=float('inf'))
        yield from (event for _, _, event in _records(path) if event.step < superseded)


def _number_of(path: Path) -> int:
    """Which of a run's files this is, as its name says: clocks of several machines differ, and are set back. Files
    that the original wrote have no number, and come first.
    """
    match = re.search(r'\.\d+\.(\d+)$', path.name)   # of the process and of the file
    return int(match[1]) if match else -1


def _beginning(path: Path) -> tuple[float, float, Path]:
    """When a file was begun, the first step that it speaks of, and itself."""
    begun = float('inf')
    for _, _, event in _records(path):
        begun = min(begun, event.wall_time)
        if event.step > 0:
            return begun, event.step, path
    return begun, float('inf'), path


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob('events.out.tfevents.*'))


def _records(path: Path) -> Iterator[tuple[int, int, Event]]:
    """The whole records of a file: where each starts and ends, and the event in it."""
    with open(path, 'rb') as file:
        size, start = os.fstat(file.fileno()).st_size, 0
        while start + LENGTH_AND_CHECKSUM <= size:
            length, = struct.unpack_from('<Q', file.read(LENGTH_AND_CHECKSUM))
            end = start + LENGTH_AND_CHECKSUM + length + CHECKSUM
            if end > size:
                return
            try:
                event = Event.FromString(file.read(length + CHECKSUM)[:length])
            except Exception:   # of protobuf's own kind: not a record; nothing after it can be trusted
                return
            yield start, end, event
            start = end
