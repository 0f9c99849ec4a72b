"""Several stamp sets as one, in place: an HDF5 file that holds no pixels but says where those of each row are."""

import json
import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from lvm_training.errors import StampError
from lvm_training.files import write_atomically
from lvm_training.progress import Progress
from lvm_training.stamps.columns import COLUMN
from lvm_training.stamps.stampset import StampSet

Parts = Sequence[tuple[str, h5py.Dataset]]  # file names as seen from the joined set, and a dataset of each


@dataclass(frozen=True)
class Joined:
    """A set that was made of others.

    Attributes
    ----------
    out : Path
    stamps : int
        All of them.
    notes : tuple of str
        Columns that not every set has alike.
    """

    out: Path
    stamps: int
    notes: tuple[str, ...]


def join_sets(paths: Sequence[Path], out: Path, progress: Progress | None = None) -> Joined:
    """Join stamp sets, such as the chunks of Stein et al. 2021, in the order given, as an HDF5 virtual dataset.

    Rows are read from the sets as they are needed. These are found by their place relative to `out`, and have to stay
    there. Columns are those that all sets have.

    Raises
    ------
    StampError
        If there are fewer than two sets, one is there twice, cannot be read, or is of another shape, rendering, scale
        or origin than the first.
    """
    if len(paths) < 2:
        raise StampError("Fewer than two sets cannot be joined.", "Name the chunks in their order.")
    if len({path.resolve() for path in paths}) < len(paths):
        raise StampError("A set is there twice.", "Name each once.")
    with ExitStack() as opened:
        sets = []
        for path in paths:
            sets.append(opened.enter_context(StampSet(path)))
            _check(sets[0], sets[-1])
            if progress is not None:
                progress(len(sets), len(paths))
        names = [os.path.relpath(path.resolve(), out.resolve().parent) for path in paths]
        columns, notes = _common(sets)
        write_atomically(out, lambda partial: _write(partial, sets, names, columns))
        return Joined(out, sum(map(len, sets)), tuple(notes))


def _check(first: StampSet, other: StampSet) -> None:
    for what in ("shape", "rendering", "origin"):
        if getattr(first, what) != getattr(other, what):
            raise StampError(
                f"{other.path.name} has the {what} {getattr(other, what)}, {first.path.name} {getattr(first, what)}.",
                "Import them alike, or leave it out.",
            )
    if not np.isclose(first.pixel_scale, other.pixel_scale, rtol=0.01, equal_nan=True):
        raise StampError(
            f"{other.path.name} has pixels of {other.pixel_scale:g} arcsec; those of {first.path.name} are "
            f"{first.pixel_scale:g}.",
            "Stamps of one set have one scale.",
        )


def _common(sets: Sequence[StampSet]) -> tuple[dict[str, Any], list[str]]:
    """Datasets beside the images that all sets have alike, and the type of each; what is left out."""
    types: dict[str, Any] = {}
    notes = []
    datasets = [one.datasets() for one in sets]
    for name in dict.fromkeys(name for own in datasets for name in own):
        found = [own.get(name) for own in datasets]
        have = [dataset for dataset in found if dataset is not None]
        if len(have) < len(sets):
            notes.append(f"{name}: left out, {len(sets) - len(have)} of {len(sets)} sets do not have it")
            continue
        kind = _common_type(have)
        if kind is None:
            notes.append(f"{name}: left out, it is not of the same kind in all sets")
        else:
            types[name] = kind
    return types, notes


def _common_type(datasets: Sequence[h5py.Dataset]) -> Any:
    """The type that holds the values of all; None where there is none."""
    kinds = [dataset.dtype for dataset in datasets]
    if len({dataset.shape[1:] for dataset in datasets}) > 1:
        return None
    if all(kind == kinds[0] for kind in kinds):
        return kinds[0]
    texts = [h5py.check_string_dtype(kind) for kind in kinds]
    if all(text is not None and text.length for text in texts):
        return max(kinds, key=lambda kind: kind.itemsize)
    if any(texts) or any(h5py.check_enum_dtype(kind) for kind in kinds) or len({kind.kind for kind in kinds}) > 1:
        return None
    return np.result_type(*kinds)


def _write(path: Path, sets: Sequence[StampSet], names: Sequence[str], columns: dict[str, Any]) -> None:
    first = sets[0]
    with h5py.File(path, "w", libver="latest") as file:
        file.attrs.update(rendering=first.rendering, pixel_scale=first.pixel_scale, origin=first.origin)
        parts = {name: len(one) for name, one in zip(names, sets, strict=True)}
        file.attrs["join"] = json.dumps({"parts": parts}, ensure_ascii=False)
        images = [one.images for one in sets]
        kind = np.dtype("u1" if first.rendering == "as-delivered" else np.result_type(*(one.dtype for one in images)))
        blank = None if kind == np.uint8 else np.nan
        _map(file, "images", list(zip(names, images, strict=True)), kind, blank)
        for name, kind in columns.items():
            own = [one.datasets()[name] for one in sets]
            made = _map(file, name, list(zip(names, own, strict=True)), kind, None)
            if COLUMN in own[0].attrs:
                made.attrs[COLUMN] = own[0].attrs[COLUMN]


def _map(file: h5py.File, name: str, parts: Parts, kind: Any, blank: float | None) -> h5py.Dataset:
    count = sum(len(dataset) for _, dataset in parts)
    layout = h5py.VirtualLayout((count, *parts[0][1].shape[1:]), kind)
    start = 0
    for source, dataset in parts:
        layout[start : start + len(dataset)] = h5py.VirtualSource(source, dataset.name, dataset.shape, dataset.dtype)
        start += len(dataset)
    return file.create_virtual_dataset(name, layout, fillvalue=blank)
