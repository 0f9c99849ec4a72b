"""Restored stamps as FITS files, one a stamp: pixels with their WCS, errors in an extension, columns in a table."""

from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from astropy.io import fits
from astropy.table import Table
from numpy.typing import NDArray

from lvm_training.errors import OutputError, StampError
from lvm_training.files import refuse_others, try_writing, write_atomically
from lvm_training.progress import Progress
from lvm_training.restoration.batches import BANDS, FLAGS, Batch, provenance, restored_batches
from lvm_training.restoration.restorer import Restorer
from lvm_training.stamps.conditions import positions
from lvm_training.stamps.render import stamp_wcs
from lvm_training.stamps.stampset import StampSet

MADE_BY = "galaxyloop restore"
LONGEST = 60  # letters of a column's name; a card of FITS takes 68
WIDTH = 7  # digits of a row in a file's name, at least


def file_of(folder: Path, stamps: StampSet, row: int) -> Path:
    """Where a stamp's file is."""
    return folder / f"{stamps.name}_{row:0{WIDTH}d}.fits"


def check_folder(folder: Path, stamps: StampSet) -> None:
    """Refuse, before any work is done, a folder that cannot be written to or has files of others in the way.

    Raises
    ------
    OutputError
        If one would be overwritten, or none be written.
    """
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{folder} is a file.", "Name a folder, or a file that ends in .h5.")
    for row in range(len(stamps)) if folder.is_dir() else ():
        refuse_others(file_of(folder, stamps, row), MADE_BY.encode())
    try:
        try_writing(folder)
    except OSError as error:
        raise OutputError(f"Nothing can be written to {folder}: {error.strerror}.", "Choose another place.") from error


def check_earlier(folder: Path, stamps: StampSet, restorer: Restorer) -> None:
    """Refuse a folder with files of another model or set, which would be written over.

    Raises
    ------
    OutputError
        If there is one.
    """
    about = {"model": restorer.digest, "stamps": stamps.digest}
    for row in range(len(stamps)) if folder.is_dir() else ():
        path = file_of(folder, stamps, row)
        if path.is_file() and not _is_done(path, about):
            raise OutputError(
                f"{path} is there already, of another model or stamp set.",
                "Name another folder, or write over it with --force.",
            )


def restore_files(
    folder: Path, stamps: StampSet, restorer: Restorer, *, progress: Progress | None = None
) -> Iterator[Batch]:
    """Restore a stamp set into a folder of FITS files; those that are there of the same set and model are kept.

    Yields what was restored, when its files are whole.

    Raises
    ------
    StampError
        If the set holds no stamps, or a file cannot be written.
    """
    if not len(stamps):
        raise StampError(f"{stamps.path.name} holds no stamps.", "Import some with `galaxyloop data import`.")
    about, source = provenance(stamps, restorer), _source(stamps)
    left = [row for row in range(len(stamps)) if not _is_done(file_of(folder, stamps, row), about)]
    done = len(stamps) - len(left)
    for batch in restored_batches(stamps, restorer, left):
        for place, row in enumerate(batch.rows.tolist()):
            hdus = _hdus(stamps, row, place, batch, source, about)
            _write(file_of(folder, stamps, row), hdus)
        done += len(batch.rows)
        yield batch
        if progress is not None:
            progress(done, len(stamps))


class _Source(NamedTuple):
    """What is known of a set's N stamps: columns as FITS holds them, and positions in degrees, NaN where unknown."""

    columns: Mapping[str, NDArray[np.generic]]
    ra: NDArray[np.float64]
    dec: NDArray[np.float64]


def _source(stamps: StampSet) -> _Source:
    columns = stamps.catalogue()
    # of all rows at once: whether sexagesimal ones are hours is a matter of the column
    sky = positions(stamps) if {"ra", "dec"} <= columns.keys() else (np.full(len(stamps), np.nan),) * 2
    return _Source({name: _typed(values) for name, values in columns.items()}, *sky)


def _typed(values: NDArray[np.generic]) -> NDArray[np.generic]:
    """Numbers of a type that FITS has; astropy would write signed bytes as truth values."""
    if values.dtype == np.int8:
        return values.astype(np.int16)
    return values.astype(np.float64) if values.dtype.kind == "f" and values.dtype.itemsize > 8 else values


def _is_done(path: Path, about: Mapping[str, Any]) -> bool:
    if not path.is_file():
        return False
    try:
        header = fits.getheader(path)
    except OSError:
        return False
    return (header.get("MODEL"), header.get("STAMPS")) == (about["model"], about["stamps"])


def _write(path: Path, hdus: fits.HDUList) -> None:
    try:
        write_atomically(path, lambda partial: hdus.writeto(partial, overwrite=True, output_verify="exception"))
    except OSError as error:
        raise StampError(
            f"{path} could not be written: {error}.", "Free space there and run again: nothing is restored twice."
        ) from error


def _hdus(
    stamps: StampSet,
    row: int,
    place: int,
    batch: Batch,
    source: _Source,
    about: Mapping[str, Any],
) -> fits.HDUList:
    header = _header(stamps, row, source, about)
    header["FLAGS"] = (str(batch.columns[FLAGS][place]), "what is wrong with the stamp")
    pixels, errors = batch.restored.pixels[place], batch.restored.uncertainty[place]
    said = {name: values[row] for name, values in source.columns.items()} | {
        name: values[place] for name, values in batch.columns.items()
    }
    cells = {name: _plain(said[column]) for column, name in _names(said).items()}
    table = fits.BinTableHDU(Table([cells]), name="CATALOGUE")
    extension = fits.ImageHDU(errors, header, name="UNCERTAINTY")
    return fits.HDUList([fits.PrimaryHDU(pixels, header), extension, table])


def _plain(value: Any) -> Any:
    """A cell as FITS holds it: texts in ASCII alone."""
    text = isinstance(value, str | bytes)
    return str(value).encode("ascii", "replace").decode() if text else value


def _names(columns: Iterable[str]) -> dict[str, str]:
    """What each column is called in the table: in printable ASCII, and not like another one but for its case."""
    found: dict[str, str] = {}
    taken: set[str] = set()
    for column in columns:
        plain = "".join(letter if letter.isascii() and letter.isprintable() else "_" for letter in column)[:LONGEST]
        name, number = plain, 1
        while name.casefold() in taken:
            number += 1
            name = f"{plain}_{number}"
        taken.add(name.casefold())
        found[column] = name
    return found


def _header(stamps: StampSet, row: int, source: _Source, about: Mapping[str, Any]) -> fits.Header:
    accuracy = about["accuracy"]
    header = _sky(stamps, row, source)
    if about["unit"]:
        header["BUNIT"] = (about["unit"], "per pixel; AB magnitude 22.5")
        header["BANDS"] = (",".join(BANDS), "of the planes")
    header["CREATOR"] = f"{MADE_BY} {version('galaxyloop')}"
    header["MODEL"] = (about["model"], "digest of decoder, views and method")
    header["NETWORK"] = (about["network"], "size of the model")
    header["REVISION"] = (about["code"], "of the code")
    header["STAMPSET"] = (_plain(stamps.name), "where the stamp is from")
    header["STAMPS"] = (about["stamps"], "digest of that set")
    header["STAMPID"] = (row, "its row")
    header["FLUXBIAS"] = (accuracy["flux_bias"], "restored over observed flux less 1, median")
    header["FLUXERR"] = (accuracy["flux_error"], "what 95 in 100 do not exceed of its size")
    header["COVER1"] = (accuracy["coverage"], "pixels within UNCERTAINTY of the truth")
    header["COVER2"] = (accuracy["coverage95"], "within twice as much; both on simulated sky")
    return header


def _sky(stamps: StampSet, row: int, source: _Source) -> fits.Header:
    """Where the stamp is, as far as that is known."""
    ra, dec = float(source.ra[row]), float(source.dec[row])
    if not (stamps.north_up and np.isfinite([ra, dec, stamps.pixel_scale]).all()):
        return fits.Header()
    found = stamp_wcs(stamps.shape, ra=ra, dec=dec, pixel_scale=stamps.pixel_scale, origin=stamps.origin)
    return found.to_header()
