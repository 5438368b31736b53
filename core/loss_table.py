"""The file losses.csv of a run: the scalars that are logged to TensorBoard, with a row for each logged step."""
import csv
from pathlib import Path

from core.files import replacing

STEP = 'step'


class LossTable:
    """Appends rows to a CSV file with a header. If a column is added later, it is empty in earlier rows.

    Args:
        path: path of the file. If it exists, rows are appended to it.

    Raises:
        OSError: raised by every method if the disk is full or fails.
    """

    def __init__(self, path: Path):
        self.path = path
        rows = self._rows()
        self.names = list(rows[0])[1:] if rows else []

    def add(self, values: dict[str, float], step: int) -> None:
        """Append the row of a step."""
        new = [name for name in values if name not in self.names]
        if new or not self.path.exists():
            self.names += new
            self._write(self._rows())
        with open(self.path, 'a', newline='', encoding='utf-8') as file:
            csv.writer(file).writerow([step, *(_text(values[name]) if name in values else '' for name in self.names)])

    def truncate_after(self, step: int) -> None:
        """Remove the rows after `step` and columns that are then empty, as if the run had ended at `step`."""
        if rows := self._rows():
            kept = [row for row in rows if row[STEP].isdigit() and int(row[STEP]) <= step]
            self.names = [name for name in self.names if any(row[name] for row in kept)]
            self._write(kept)

    def _rows(self) -> list[dict[str, str]]:
        """Return the complete rows of the file, without a row that was cut off when the process was killed."""
        if not self.path.exists():
            return []
        with open(self.path, newline='', encoding='utf-8', errors='replace') as file:
            return [row for row in csv.DictReader(file) if None not in row and None not in row.values()]

    def _write(self, rows: list[dict[str, str]]) -> None:
        with replacing(self.path) as temporary, open(temporary, 'w', newline='', encoding='utf-8') as file:
            writer = csv.DictWriter(file, [STEP, *self.names], restval='', extrasaction='ignore')
            writer.writeheader()
            writer.writerows(rows)


def _text(value: float) -> str:
    """Format a number with enough digits to restore the same 32-bit value."""
    return f'{value:.9g}'
