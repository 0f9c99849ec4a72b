"""Label tables: tables whose rows are joined to stamps by file name or row."""

import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence, Set
from pathlib import Path
from typing import Self
from urllib.parse import unquote

from lvm_training.errors import LabelError
from lvm_training.images.fits_file import holds_image
from lvm_training.importing.folder import is_fits, stem
from lvm_training.tables.cells import Column, Missing, clean
from lvm_training.tables.reading import Table, read_table

IN_FOLDER = "labels.csv"
FORMATS = (".csv", ".tsv", ".ecsv", ".fits", ".vot", ".parquet", ".xlsx")


def folder_labels(source: Path) -> Path | None:
    """The label table of a folder of images, which is read wherever no other one is named; None where there is none.

    It is called `labels.csv`, or else as in `FORMATS` and in small letters or capitals; the first of these.
    """
    if not source.is_dir() or not os.access(source, os.R_OK | os.X_OK):
        return None  # what is wrong with it the import says
    found = [path for path in source.iterdir() if path.name.casefold() in map("labels{}".format, FORMATS)]
    found.sort(key=lambda path: (path.name != IN_FOLDER, FORMATS.index(path.suffix.casefold()), path.name))
    return next((path for path in found if path.is_file() and not (is_fits(path.name) and holds_image(path))), None)


class LabelTable:
    """The rows of a table by their key, `file` or `source_row`.

    Rows without a key and twins of other rows are left out, and counted in `notes`.

    Parameters
    ----------
    table : Table
        With a column `key`.
    key : str
        Which column says which stamp a row belongs to.

    Attributes
    ----------
    table : Table
        The table as read.
    notes : tuple of str
        What was assumed of the table; for people.

    Raises
    ------
    LabelError
        If the table lacks the column, or gives one key two different rows.
    """

    def __init__(self, table: Table, key: str) -> None:
        self.name, self.table = table.name, table
        if key not in table.columns:
            raise LabelError(
                f"{table.name} needs a column {key!r}; it has {', '.join(table.columns) or 'none'}.",
                f"Name the column that says which stamp a row belongs to {key!r}.",
            )
        if table.columns[key].lost_digits:
            raise LabelError(
                f"{table.name}: the ids in {key!r} went through floats, and their last digits are lost.",
                "Export them anew as text or integers; Excel keeps them in cells of the format Text.",
            )
        self._columns = {name: column for name, column in table.columns.items() if name != key}
        self._rows: dict[str, int] = {}
        nameless = twins = 0
        for row, name in enumerate(map(_normal, table.columns[key].texts())):
            if not name:
                nameless += 1
            elif self._rows.setdefault(name, row) != row:
                self._refuse_difference(name, self._rows[name], row)
                twins += 1
        counted = ((nameless, f"without a {key} are left out"), (twins, "are the same as others"))
        self.notes = (*table.notes, *(f"{count} rows {what}" for count, what in counted if count))

    @classmethod
    def read(cls, path: Path, key: str, missing: Missing | None = None) -> Self:
        """Read a table that has a column `key`.

        Raises
        ------
        LabelError
            If the file cannot be read, lacks the column, or gives one key two different rows.
        """
        return cls(read_table(path, missing=missing, keys=(key,)), key)

    def _refuse_difference(self, name: str, one: int, other: int) -> None:
        for column, cells in self._columns.items():
            if cells.text(one) != cells.text(other):
                lines = f"lines {self.table.lines[one]} and {self.table.lines[other]}"
                raise LabelError(
                    f"{self.name} gives {name} two different rows: {column!r} in {lines}.", "Keep one of them."
                )

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def columns(self) -> list[str]:
        """Names of the columns beside the key."""
        return list(self._columns)

    def matched(self, files: Sequence[str], left_out: Sequence[str] = ()) -> dict[str, str]:
        """Which row each file has: file -> key, files without a row left out.

        A key that is not a file's whole relative path fits where one ends in the other, at a folder's edge. Where none
        fits, keys may be files without their suffix, as catalogues have names of galaxies, or with another one, as the
        FITS images of pictures have; `notes` then say so. A file that no key fits may have one that differs in capitals
        or is an address of the web. A key that is the whole path of a file in `left_out`, which is no stamp, fits no
        other file.

        Raises
        ------
        LabelError
            If no row fits any file, or a row and a file cannot be told from others of the same name.
        """
        others = list(map(_normal, left_out))
        found = self._fitting({file: _normal(file) for file in files}, others)
        if not found:
            names = {file: stem(_normal(file)) for file in files}
            found = self._fitting(names, map(stem, others))
            self.notes += ("files are named without their suffix",) if found else ()
            found = found or self._of_another_suffix(names, others)
        found |= self._written_otherwise([file for file in files if file not in found], others, set(found.values()))
        self._refuse_shared(found)
        if not found:
            raise LabelError(
                f"No row of {self.name} names one of the {len(files)} stamps.",
                f"It names e.g. {next(iter(self._rows), 'nothing')!r}; the first stamp is {next(iter(files), '')!r}.",
            )
        return found

    def _written_otherwise(self, files: Sequence[str], others: Sequence[str], taken: Set[str]) -> dict[str, str]:
        """Which row each of the other files has whose names Windows and addresses of the web write otherwise."""
        rest = [key for key in self._rows if key not in taken and key not in others]
        keys = _unique({key: _loose(key) for key in rest})
        names = _unique({file: _loose(_normal(file)) for file in files})
        rows = {name: key for key, name in keys.items()}
        found = self._fitting(names, map(_loose, others), rows)
        self.notes += (f"{len(found)} files are named with other capitals or as on the web",) if found else ()
        return {file: rows[name] for file, name in found.items()}

    def _of_another_suffix(self, names: Mapping[str, str], others: Sequence[str]) -> dict[str, str]:
        """Which row each file has where rows name files of another format: files by their names without suffix."""
        keys: dict[str, str] = {}
        for key in (key for key in self._rows if key not in others):
            if (other := keys.setdefault(stem(key), key)) != key:
                raise self._ambiguous(stem(key), sorted((other, key)))
        found = self._fitting(names, map(stem, others), keys)
        self.notes += ("files are named with another suffix",) if found else ()
        return {file: keys[name] for file, name in found.items()}

    def _fitting(
        self, names: Mapping[str, str], others: Iterable[str], rows: Mapping[str, object] | None = None
    ) -> dict[str, str]:
        """Which row each file has, by the name that it goes by; by default the rows are those of the table."""
        rows = self._rows if rows is None else rows
        found = {file: name for file, name in names.items() if name in rows}
        taken = set(found.values()).union(others)
        longer: dict[str, list[str]] = defaultdict(list)
        for key in rows:
            for ending in _endings(key):
                longer[ending].append(key)
        for file, name in names.items():
            if file in found:
                continue
            fits = [key for key in (*longer[name], *(e for e in _endings(name) if e in rows)) if key not in taken]
            if len(fits) > 1:
                raise self._ambiguous(file, fits)
            if fits:
                found[file] = fits[0]
        return found

    def _refuse_shared(self, found: Mapping[str, str]) -> None:
        owners: dict[str, str] = {}
        for file, key in found.items():
            if key in owners:
                raise self._ambiguous(key, [owners[key], file])
            owners[key] = file

    def _ambiguous(self, name: str, fits: Iterable[str]) -> LabelError:
        places = list(fits)
        what = "paths with their folders" if len(set(map(stem, places))) > 1 else "names with their suffix"
        return LabelError(f"{self.name}: {name!r} may be {' or '.join(map(repr, places))}.", f"Write {what}.")

    def unmatched(self, found: Mapping[str, str], left_out: Sequence[str] = ()) -> list[str]:
        """Keys that `matched` gave to no file, and that name none in `left_out`."""
        taken = set(found.values())
        others = {name for file in map(_normal, left_out) for name in (file, stem(file))}
        ends = others.union(*map(_endings, others))
        return [key for key in self._rows if key not in taken and key not in ends and others.isdisjoint(_endings(key))]

    def texts(self, column: str, keys: Iterable[str | None]) -> list[str]:
        """The cells of a column as classes are written; "" where there is no row or cell."""
        cells = self._columns[column]
        return ["" if key is None else cells.text(self._rows[key]) for key in keys]

    def taken(self, keys: Iterable[str | None]) -> dict[str, Column]:
        """The columns with a value for each key, missing where there is no row or cell."""
        rows = [-1 if key is None else self._rows[key] for key in keys]
        return {name: column.take(rows) for name, column in self._columns.items()}


def _unique(names: Mapping[str, str]) -> dict[str, str]:
    """Those of some names {file: name} that no two files have."""
    counts = Counter(names.values())
    return {file: name for file, name in names.items() if counts[name] == 1}


def _normal(name: str) -> str:
    """A path as it is compared."""
    parts = [part for part in clean(name).replace("\\", "/").split("/") if part not in ("", ".")]
    return "/".join(parts)


def _loose(name: str) -> str:
    """A path without its capitals, and without what addresses of the web write otherwise: a%20b.png is a b.png."""
    return unquote(name.partition("?")[0] if ":/" in name else name).casefold()


def _endings(name: str) -> list[str]:
    parts = name.split("/")
    return ["/".join(parts[start:]) for start in range(1, len(parts))]
