"""Restored stamp sets: HDF5 files with the rows, columns and attributes of their source, and errors beside the pixels.

`images` is restored, `uncertainty` (N, 3, H, W) the error of one standard deviation in the same unit, `lumps` (N, H, W)
what `Restored` says. Where only some rows of the source are in it, `rows` (N,) says which. All that reads stamp sets
reads these.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, cast

import h5py
import numpy as np
from numpy.typing import NDArray

from lvm_training.errors import OutputError, StampError
from lvm_training.progress import Progress
from lvm_training.restoration.batches import provenance, restored_batches, unit
from lvm_training.restoration.restorer import Restorer
from lvm_training.stamps.journal import Journal
from lvm_training.stamps.stampset import StampSet, write_columns

RESTORATION = "restoration"  # what `StampSet.about` tells of a restored set
UNCERTAINTY, LUMPS, ROWS = "uncertainty", "lumps", "rows"
MOST = 60_000.0  # what float16 holds
PLANES = 7  # of a stamp in the journal: pixels, errors, lumps
WHICH = ("stamps", "model", ROWS)  # what two restorations of the same are the same in


def restored_by(path: Path) -> dict[str, Any] | None:
    """What restored a set; None if it is none that was.

    Raises
    ------
    OutputError
        If the file is no stamp set at all.
    """
    try:
        with StampSet(path) as found:
            return found.about(RESTORATION) or None
    except StampError as error:
        raise OutputError(
            f"{path} is there already, and this command did not make it.", "Name another file, or move that one away."
        ) from error


def check_set(path: Path, *, force: bool) -> None:
    """Refuse a file that is there, unless `force` and a restoration made it.

    Raises
    ------
    OutputError
        If it would be overwritten.
    """
    if not path.exists():
        return
    if restored_by(path) is None:
        raise OutputError(
            f"{path} is there already, and this command did not make it.", "Name another file, or move that one away."
        )
    if not force:
        raise OutputError(f"{path} is there already.", "Name another file, or write over it with --force.")


def restore_to(
    path: Path,
    stamps: StampSet,
    restorer: Restorer,
    *,
    rows: NDArray[np.int64] | None = None,
    progress: Progress | None = None,
) -> Path:
    """Restore a stamp set into the file `path`; what is there already of the same set and model is kept.

    A run that was killed goes on behind its last complete batch, from the journal `<path>.partial`.

    Parameters
    ----------
    rows : ndarray (n,) of int, optional
        Restore only these; by default all.

    Raises
    ------
    StampError
        If the set holds no stamps, or the file cannot be written, is unfinished of another model, or being written by
        another process. What is done is kept.
    """
    if not len(stamps):
        raise StampError(f"{stamps.path.name} holds no stamps.", "Import some with `galaxyloop data import`.")
    about = provenance(stamps, restorer)
    if rows is not None:
        about[ROWS] = rows_digest(rows)
    there = restored_by(path) if path.is_file() else None
    if there is not None and _same(there, about):
        return path
    which = {name: about[name] for name in WHICH if name in about}
    chosen = np.arange(len(stamps)) if rows is None else rows
    with closing(Journal(_partial(path), which, (PLANES, *stamps.shape), np.dtype("<f4"))) as journal:
        done = len(journal)
        if progress is not None:
            progress(done, len(chosen))
        for batch in restored_batches(stamps, restorer, chosen[done:].tolist()):
            made = batch.restored
            planes = np.concatenate([made.pixels, made.uncertainty, made.lumps[:, None]], axis=1)
            journal.append(planes, batch.columns)
            if progress is not None:
                progress(len(journal), len(chosen))
        _finish(path, stamps, chosen, journal, about)
    _partial(path).unlink(missing_ok=True)
    return path


def rows_digest(rows: NDArray[np.int64]) -> str:
    """12 hex digits of which rows of a set a file holds."""
    return hashlib.sha256(rows.astype("<i8").tobytes()).hexdigest()[:12]


def rows_of(path: Path) -> NDArray[np.int64]:
    """The rows of its source that a restored set holds, in its order."""
    with h5py.File(path) as file:
        return np.asarray(file[ROWS] if ROWS in file else np.arange(len(file["images"])), dtype=np.int64)


def _same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return all(one.get(name) == other.get(name) for name in WHICH)


def _partial(path: Path) -> Path:
    return path.with_name(path.name + ".partial")


def _finish(path: Path, stamps: StampSet, rows: NDArray[np.int64], journal: Journal, about: Mapping[str, Any]) -> None:
    writing = path.with_name(path.name + ".writing")
    attributes = {"rendering": stamps.rendering, "pixel_scale": stamps.pixel_scale, "origin": stamps.origin}
    documents = {"import": stamps.about("import"), RESTORATION: about}
    try:
        with h5py.File(writing, "w") as file:
            file.attrs.update(attributes | {"source": f"galaxyloop restore of {stamps.name}"})
            file.attrs.update({name: json.dumps(text, ensure_ascii=False) for name, text in documents.items() if text})
            file.attrs["sha256"] = _write_pixels(file, stamps, len(rows), _batches(journal))
            write_columns(file, _columns(stamps, rows, journal))
            if ROWS in about:
                file[ROWS] = rows
        writing.replace(path)
    except OSError as error:
        raise StampError(
            f"{path} could not be written: {error}.", "Free space there and run again: nothing is restored twice."
        ) from error
    finally:
        writing.unlink(missing_ok=True)


def _batches(journal: Journal) -> Iterator[NDArray[np.float32]]:
    return cast(Iterator[NDArray[np.float32]], journal.batches())


def _write_pixels(file: h5py.File, stamps: StampSet, count: int, batches: Iterator[NDArray[np.float32]]) -> str:
    """The digest of the pixels, which are written with their errors."""
    shape, whole = (3, *stamps.shape), (count, 3, *stamps.shape)
    dtype = np.dtype("u1") if stamps.rendering == "as-delivered" else np.dtype("<f4")
    options = {"chunks": (min(16, count), *shape)}
    images = file.create_dataset("images", whole, dtype, **options)
    errors = file.create_dataset(UNCERTAINTY, whole, np.dtype("<f4"), **options)
    lumps = file.create_dataset(LUMPS, (count, *stamps.shape), np.dtype("<f2"), chunks=(1, *stamps.shape))
    for dataset in (images, errors):
        dataset.attrs["unit"] = unit(stamps)
    state, start = hashlib.sha256(), 0
    for planes in batches:
        pixels = planes[:, :3] if dtype.kind == "f" else planes[:, :3].round().clip(0, 255).astype(dtype)
        pixels = np.ascontiguousarray(pixels)
        state.update(pixels.tobytes())
        rows = slice(start, start + len(planes))
        images[rows], errors[rows], lumps[rows] = pixels, planes[:, 3:6], planes[:, 6].clip(-MOST, MOST)
        start += len(planes)
    return state.hexdigest()


def _columns(stamps: StampSet, rows: NDArray[np.int64], journal: Journal) -> dict[str, NDArray[np.generic]]:
    ours = {name: np.concatenate(parts) for name, parts in journal.columns.items()}
    return {name: values[rows] for name, values in stamps.catalogue().items() if name not in ours} | ours


def beside(stamps: StampSet, name: str, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """Errors (n, 3, H, W) or lumps (n, H, W) of rows of a restored set, in the order asked for.

    Raises
    ------
    StampError
        If it has none.
    """
    with h5py.File(stamps.path) as file:
        if name not in file:
            raise StampError(f"{stamps.path.name} was not restored.", "Restore it with `galaxyloop restore`.")
        unique, inverse = np.unique(rows, return_inverse=True)
        return cast(NDArray[np.float32], file[name][unique][inverse].astype(np.float32))
