"""losses.csv of a run: what TensorBoard's log holds in numbers, a row for each logged step, for any spreadsheet."""
import csv
from pathlib import Path

from core.files import replacing

STEP = 'step'


class LossTable:
    """Appends rows to a CSV file with a header. The column of a term that appears later is empty in earlier rows.

    Args:
        path: of the file; what is there is continued.

    Raises:
        OSError: from every method: the disk is full, or fails.
    """

    def __init__(self, path: Path):
        self.path = path
        rows = self._rows()
        self.names = list(rows[0])[1:] if rows else []

    def add(self, values: dict[str, float], step: int) -> None:
        """Write the row of a step."""
        new = [name for name in values if name not in self.names]
        if new or not self.path.exists():
            self.names += new
            self._write(self._rows())
        with open(self.path, 'a', newline='', encoding='utf-8') as file:
            csv.writer(file).writerow([step, *(_text(values[name]) if name in values else '' for name in self.names)])

    def cut_back(self, step: int) -> None:
        """Drop the rows after `step`, and columns that are empty then: the file of a run that never was further."""
        if rows := self._rows():
            kept = [row for row in rows if row[STEP].isdigit() and int(row[STEP]) <= step]
            self.names = [name for name in self.names if any(row[name] for row in kept)]
            self._write(kept)

    def _rows(self) -> list[dict[str, str]]:
        """The whole rows of the file, without one that a kill cut off."""
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
    """The shortest text that reads back as the same 32-bit number."""
    return f'{value:.9g}'
