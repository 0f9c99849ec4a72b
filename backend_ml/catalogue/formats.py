"""Tables written a batch at a time, in the format that the file's name asks for: FITS, ECSV, CSV, Parquet, VOTable.

The heads are astropy's; rows are written as they come, so that a pool of any size passes through a small memory.
"""

import io
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO
from xml.sax.saxutils import escape

import numpy as np
from numpy.typing import NDArray

from backend_ml.catalogue.tables.columns import Batch, Column, Sheet, ascii_text
from lvm_training.errors import OutputError
from lvm_training.files import try_writing, write_rows, write_together

FITS_BLOCK = 2880  # bytes
FITS_KINDS = {"int": ("J", ">i4"), "long": ("K", ">i8"), "float": ("D", ">f8"), "bool": ("L", "S1")}
KINDS = {"text": "U1", "int": "i4", "long": "i8", "float": "f8", "bool": "?"}
MADE_BY = "galaxyloop catalogue"

Write = Callable[[Path], object]


def check_out(path: Path, *, force: bool) -> None:
    """Refuse, before any work is done, a file that cannot be written or that is there already.

    Raises
    ------
    OutputError
        If its suffix names no format, it is a folder, its folder cannot be written to, or, unless `force`, it or a
        file beside it that would be written too is there.
    """
    if path.suffix.lower() not in FORMATS:
        raise OutputError(f"A catalogue cannot be written to {path.name}.", f"Name a file {', '.join(FORMATS)}.")
    if path.is_dir():
        raise OutputError(f"{path} is a folder.", "Name a file in it.")
    there = [one for one in (path, beside(path, "objects")) if one.exists()]
    if there and not force:
        raise OutputError(f"{there[0]} is there already.", "Name another file, or write over it with --force.")
    try:
        try_writing(path.parent)
    except OSError as error:
        raise _unwritable(path, error) from error


def beside(path: Path, name: str) -> Path:
    """Where a format of one table a file keeps another one."""
    return path.with_name(f"{path.stem}_{name}{path.suffix}")


def write_sheets(path: Path, sheets: Sequence[Sheet]) -> list[Path]:
    """Write tables, whole or not at all; where they are. FITS holds all of them, other formats one a file.

    Raises
    ------
    OutputError
        If the disk does not take them.
    """
    kind = path.suffix.lower()
    write = FORMATS[kind]
    if kind in (".fits", ".fit"):
        files: dict[Path, Write] = {path: lambda partial: write(partial, sheets)}
    else:
        places = [path, *(beside(path, sheet.name) for sheet in sheets[1:])]
        files = {place: _writing(write, sheet) for place, sheet in zip(places, sheets, strict=True)}
    try:
        write_together(files)
    except OSError as error:
        raise _unwritable(path, error) from error
    return list(files)


def _writing(write: Callable[[Path, Sequence[Sheet]], None], sheet: Sheet) -> Write:
    return lambda partial: write(partial, [sheet])


def _unwritable(path: Path, error: OSError) -> OutputError:
    return OutputError(f"{path} cannot be written: {error.strerror or error}.", "Name a file in another folder.")


def _write_fits(path: Path, sheets: Sequence[Sheet]) -> None:
    from astropy.io import fits

    primary = fits.PrimaryHDU()
    _tell(primary.header, sheets[0])
    with path.open("wb") as stream:
        stream.write(primary.header.tostring().encode("ascii"))
        for sheet in sheets:
            _write_extension(stream, sheet)


def _tell(header: Any, sheet: Sheet) -> None:
    for fact in sheet.facts:
        # long texts go on in CONTINUE cards; there is no room for a comment beside them
        header[fact.keyword] = ascii_text(fact.text).decode()


def _write_extension(stream: Any, sheet: Sheet) -> None:
    from astropy.io import fits

    layout = [_fits_kind(column) for column in sheet.columns]
    columns = [
        fits.Column(name=column.name, format=code, unit=column.unit or None)
        for column, (code, _) in zip(sheet.columns, layout, strict=True)
    ]
    header = fits.BinTableHDU.from_columns(columns, nrows=0, name=sheet.name.upper()).header
    header["NAXIS2"] = sheet.rows
    _tell(header, sheet)
    for number, column in enumerate(sheet.columns, 1):
        header[f"TCOMM{number}"] = ascii_text(column.about).decode()
        if column.ucd:
            header[f"TUCD{number}"] = column.ucd
    stream.write(header.tostring().encode("ascii"))
    dtype = np.dtype([(column.name, code) for column, (_, code) in zip(sheet.columns, layout, strict=True)])
    for batch in sheet.batches():
        rows = np.zeros(_length(batch), dtype)
        for column in sheet.columns:
            rows[column.name] = _fits_cells(column, batch[column.name])
        stream.write(rows.tobytes())
    stream.write(bytes(-(sheet.rows * dtype.itemsize) % FITS_BLOCK))


def _fits_kind(column: Column) -> tuple[str, str]:
    return (f"{column.width}A", f"S{column.width}") if column.kind == "text" else FITS_KINDS[column.kind]


def _fits_cells(column: Column, values: NDArray[Any]) -> NDArray[Any]:
    if column.kind == "bool":
        return np.where(values, b"T", b"F")
    if column.kind == "text":
        return np.array([ascii_text(value) for value in values.tolist()], dtype=f"S{column.width}")
    return values


def _length(batch: Batch) -> int:
    return len(next(iter(batch.values())))


def _empty_table(sheet: Sheet, rows: int = 0) -> Any:
    """An astropy table that has the sheet's columns and facts, and no values."""
    from astropy.table import Table

    table = Table(meta={fact.name: fact.text for fact in sheet.facts})
    for column in sheet.columns:
        table[column.name] = np.zeros(rows, dtype=KINDS[column.kind])
        table[column.name].description = column.about
        table[column.name].unit = column.unit or None
        if column.ucd:
            table[column.name].info.meta = {"ucd": column.ucd}
    return table


def _write_csv(path: Path, sheets: Sequence[Sheet]) -> None:
    (sheet,) = sheets
    with path.open("w", newline="", encoding="utf-8") as stream:
        write_rows(stream, [[column.name for column in sheet.columns]])
        _write_lines(stream, sheet)


def _write_ecsv(path: Path, sheets: Sequence[Sheet]) -> None:
    (sheet,) = sheets
    head = io.StringIO()
    _empty_table(sheet).write(head, format="ascii.ecsv", delimiter=",")
    with path.open("w", newline="", encoding="utf-8") as stream:
        stream.write(head.getvalue())
        _write_lines(stream, sheet)


def _write_lines(stream: TextIO, sheet: Sheet) -> None:
    for batch in sheet.batches():
        write_rows(stream, zip(*(_cells(column, batch[column.name]) for column in sheet.columns), strict=True))


def _cells(column: Column, values: NDArray[Any]) -> list[Any]:
    """Values as text formats write them; an empty cell where there is none."""
    found: list[Any] = values.tolist()
    return ["" if value != value else value for value in found] if column.kind == "float" else found


def _write_parquet(path: Path, sheets: Sequence[Sheet]) -> None:
    import pyarrow as pa
    from astropy.table import meta as table_meta
    from pyarrow import parquet

    (sheet,) = sheets
    kinds = {"text": pa.string(), "int": pa.int32(), "long": pa.int64(), "float": pa.float64(), "bool": pa.bool_()}
    fields = [
        pa.field(one.name, kinds[one.kind], metadata={"description": one.about, "unit": one.unit, "ucd": one.ucd})
        for one in sheet.columns
    ]
    facts = {fact.name: fact.text for fact in sheet.facts}
    # what astropy reads units and descriptions from
    facts |= {f"table::len::{one.name}": str(one.width) for one in sheet.columns if one.kind == "text"}
    facts["table_meta_yaml"] = "\n".join(table_meta.get_yaml_from_table(_empty_table(sheet)))
    schema = pa.schema(fields, metadata=facts)
    with parquet.ParquetWriter(path, schema, compression="zstd") as writer:
        for batch in sheet.batches():
            arrays = [_arrow(column, batch[column.name], kinds[column.kind]) for column in sheet.columns]
            writer.write_batch(pa.record_batch(arrays, schema=schema))


def _arrow(column: Column, values: NDArray[Any], kind: Any) -> Any:
    import pyarrow as pa

    # astropy reads no text that is null
    return pa.array(values, type=kind, mask=np.isnan(values) if column.kind == "float" else None)


def _write_votable(path: Path, sheets: Sequence[Sheet]) -> None:
    (sheet,) = sheets
    before, after = _votable_head(sheet)
    with path.open("w", encoding="utf-8") as stream:
        stream.write(before)
        for batch in sheet.batches():
            cells = [_votable_cells(column, batch[column.name]) for column in sheet.columns]
            stream.writelines(f"<TR>{''.join(row)}</TR>\n" for row in zip(*cells, strict=True))
        stream.write(after)


def _votable_head(sheet: Sheet) -> tuple[str, str]:
    """What stands before and behind the rows, as astropy writes it around a single one."""
    from astropy.io.votable import from_table, tree

    table = _empty_table(sheet, rows=1)
    table.meta.clear()
    document = from_table(table, table_id=sheet.name)
    resource = document.resources[0]
    document.infos.extend(tree.Info(name=fact.name, value=fact.text) for fact in sheet.facts)
    resource.coordinate_systems.append(tree.CooSys(ID="icrs", system="ICRS"))
    for field, column in zip(resource.tables[0].fields, sheet.columns, strict=True):
        if column.kind == "text":
            field.datatype, field.arraysize = "unicodeChar", "*"
        elif column.kind == "bool":
            field.datatype = "boolean"
        if column.ucd.startswith("pos.eq"):
            field.ref = "icrs"
    held = io.BytesIO()
    document.to_xml(held, tabledata_format="tabledata")
    text = held.getvalue().decode()
    return text[: text.index("<TR>")], text[text.rindex("</TR>") + len("</TR>") :]


def _votable_cells(column: Column, values: NDArray[Any]) -> Iterator[str]:
    if column.kind == "text":
        return (f"<TD>{escape(value)}</TD>" for value in values.tolist())
    if column.kind == "bool":
        return (f"<TD>{'true' if value else 'false'}</TD>" for value in values.tolist())
    return (f"<TD>{'NaN' if value != value else repr(value)}</TD>" for value in values.tolist())


FORMATS: dict[str, Callable[[Path, Sequence[Sheet]], None]] = {
    ".fits": _write_fits,
    ".fit": _write_fits,
    ".ecsv": _write_ecsv,
    ".csv": _write_csv,
    ".parquet": _write_parquet,
    ".vot": _write_votable,
    ".xml": _write_votable,
}
"""By suffix, what writes tables to a file."""
