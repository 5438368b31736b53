"""TensorBoard's files of a run: written in step with training, cut back to a snapshot when the run goes on from it."""
import contextlib
import os
import struct
import time
from pathlib import Path

import numpy as np
from tensorboardX import summary
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event

# A record: length of the data, checksum of that, the data, their checksum.
LENGTH_AND_CHECKSUM, CHECKSUM = 12, 4


class Log:
    """Writes scalars and pictures at once, without the thread of tensorboardX's own writer.

    That thread dies unheard on a full disk, and whoever waits for it then waits for ever; and what it still held when
    a run was killed is lost.

    Raises:
        OSError: from every method but `close`: the disk is full, or fails.
    """

    def __init__(self, folder: Path):
        # The place in the name keeps two files of one second apart: a run that ends and goes on at once.
        number = len(list(folder.glob('events.out.tfevents.*')))
        self._file = EventsWriter(str(folder / 'events'), f'.{os.getpid()}.{number}')

    def add_scalars(self, values: dict[str, float], step: int) -> None:
        """Each value under its name."""
        for name, value in values.items():
            self._add(summary.scalar(name, value), step)
        self._file.flush()

    def add_picture(self, name: str, picture: np.ndarray, step: int) -> None:
        """A picture (3, H, W) in [0, 1]."""
        self._add(summary.image(name, picture), step)
        self._file.flush()

    def _add(self, what, step: int) -> None:
        self._file.write_event(Event(wall_time=time.time(), step=step, summary=what))

    def close(self) -> None:
        # All is written by now, but for what a full disk did not take, and that has been complained of.
        for close in (self._file.close, self._file._py_recordio_writer.close):   # the first stops where it cannot flush
            with contextlib.suppress(OSError):
                close()


def cut_back(folder: Path, step: int) -> None:
    """Drop from the folder's files what was logged after `step`, and half records that a killed run left behind.

    Raises:
        OSError: a file cannot be read or written.
    """
    for path in sorted(folder.glob('events.out.tfevents.*')):
        content = path.read_bytes()
        kept = b''.join(record for record, event in _records(content) if event.step <= step)
        if kept != content:
            beside = path.with_name(path.name.replace('events.', 'part.', 1))
            beside.write_bytes(kept)
            os.replace(beside, path)


def scalars(folder: Path) -> list[tuple[int, str, float]]:
    """Every scalar in the folder's files, as (step, name, value), by steps and names."""
    events = [event for path in folder.glob('events.out.tfevents.*') for _, event in _records(path.read_bytes())]
    return sorted((event.step, value.tag, value.simple_value) for event in events for value in event.summary.value
                  if value.HasField('simple_value'))


def _records(content: bytes):
    """The whole records of a file, each with the event in it."""
    start = 0
    while start + LENGTH_AND_CHECKSUM <= len(content):
        length, = struct.unpack_from('<Q', content, start)
        end = start + LENGTH_AND_CHECKSUM + length + CHECKSUM
        if end > len(content):
            return
        try:
            event = Event.FromString(content[start + LENGTH_AND_CHECKSUM:end - CHECKSUM])
        except Exception:   # of protobuf's own kind: not a record; nothing after it can be trusted
            return
        yield content[start:end], event
        start = end
