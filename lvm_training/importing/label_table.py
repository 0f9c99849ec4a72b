"""Label tables: CSV files whose rows are joined to stamps by file name."""

import csv
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Self

from lvm_training.errors import LabelError
from lvm_training.stamps.stampset import Value

EXACT = 1 << 53  # above it a float no longer holds every integer, as survey object ids need


class LabelTable:
    """The rows of a CSV file by their key, `file` or `source_row`.

    Parameters
    ----------
    name : str
        The file's name, for messages.
    rows : mapping of str to mapping
        One row of text cells per key.
    """

    def __init__(self, name: str, rows: Mapping[str, Mapping[str, str]]) -> None:
        self.name = name
        self._rows = rows
        cells: dict[str, list[str]] = defaultdict(list)
        for row in rows.values():
            for column, cell in row.items():
                cells[column].append(cell)
        self._numeric = {
            name: any(texts) and all(map(_is_number, filter(None, texts))) for name, texts in cells.items()
        }

    @classmethod
    def read(cls, path: Path, key: str) -> Self:
        """Read a CSV file that has a column `key`.

        Raises
        ------
        LabelError
            If the file cannot be read, lacks the column, has no rows, or gives one key two different rows.
        """
        try:
            with path.open(newline="", encoding="utf-8-sig") as stream:
                reader = csv.DictReader(stream, strict=True)
                header = [name.strip() for name in reader.fieldnames or []]
                reader.fieldnames = header
                if key not in header or len(set(header)) < len(header) or "" in header:
                    raise LabelError(
                        f"{path.name} needs one column {key!r} and a name for each other; it has {', '.join(header)}.",
                        f"Name the column that says which stamp a row belongs to {key!r}.",
                    )
                rows = list(reader)
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise LabelError(f"{path.name} is not a readable CSV file ({error}).", "Save it as UTF-8 CSV.") from error
        if any(None in row for row in rows):
            raise LabelError(f"{path.name} has rows with more cells than columns.", "Put cells with commas in quotes.")
        found: dict[str, dict[str, str]] = {}
        for row in rows:
            record = {column: (cell or "").strip() for column, cell in row.items()}
            name = _normal(record.pop(key))
            if found.setdefault(name, record) != record:
                raise LabelError(f"{path.name} gives {name} two different rows.", "Keep one of them.")
        return cls(path.name, found)

    def __len__(self) -> int:
        return len(self._rows)

    def is_number(self, column: str) -> bool:
        """Whether a column holds numbers alone; ids of survey objects and numbers with leading zeros are text."""
        return self._numeric[column]

    @property
    def columns(self) -> list[str]:
        """Names of the columns beside the key."""
        return list(self._numeric)

    def matched(self, files: Sequence[str]) -> dict[str, str]:
        """Which row each file has: file -> key, files without a row left out.

        A key that is not a file's whole relative path fits where one ends in the other, at a folder's edge.

        Raises
        ------
        LabelError
            If no row fits any file, or a row and a file cannot be told from others of the same name.
        """
        found = {file: key for file in files if (key := _normal(file)) in self._rows}
        taken = set(found.values())
        longer: dict[str, list[str]] = defaultdict(list)
        for key in self._rows:
            for ending in _endings(key):
                longer[ending].append(key)
        for file in files:
            if file in found:
                continue
            name = _normal(file)
            fits = [key for key in (*longer[name], *(e for e in _endings(name) if e in self._rows)) if key not in taken]
            if len(fits) > 1:
                raise self._ambiguous(file, fits)
            if fits:
                found[file] = fits[0]
        self._refuse_shared(found)
        if not found:
            raise LabelError(
                f"No row of {self.name} names one of the {len(files)} stamps.",
                f"It names e.g. {next(iter(self._rows), 'nothing')!r}; the first stamp is {next(iter(files), '')!r}.",
            )
        return found

    def _refuse_shared(self, found: Mapping[str, str]) -> None:
        owners: dict[str, str] = {}
        for file, key in found.items():
            if key in owners:
                raise self._ambiguous(key, [owners[key], file])
            owners[key] = file

    def _ambiguous(self, name: str, fits: Iterable[str]) -> LabelError:
        return LabelError(
            f"{self.name}: {name!r} may be {' or '.join(map(repr, fits))}.", "Write paths with their folders."
        )

    def values(self, key: str | None) -> dict[str, Value]:
        """The cells of a row: numbers as floats, text as it stands; NaN and "" where there is no row or cell."""
        row = self._rows[key] if key is not None else {}
        return {column: self._value(column, row.get(column, "")) for column in self.columns}

    def _value(self, column: str, cell: str) -> Value:
        if not self._numeric[column]:
            return cell
        return float(cell) if cell else float("nan")


def _normal(name: str) -> str:
    parts = [part for part in name.strip().replace("\\", "/").split("/") if part not in ("", ".")]
    return "/".join(parts)


def _endings(name: str) -> list[str]:
    parts = name.split("/")
    return ["/".join(parts[start:]) for start in range(1, len(parts))]


def _is_number(cell: str) -> bool:
    try:
        value = float(cell)
    except ValueError:
        return False
    digits = cell.lstrip("+-")
    identifier = digits.isdigit() and (abs(value) > EXACT or (digits[0] == "0" and len(digits) > 1))
    return not identifier and "_" not in cell
