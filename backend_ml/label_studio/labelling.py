"""What annotators see of a task: its picture, catalogue row and links."""

import html
from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlencode

import numpy as np
from numpy.typing import NDArray

from backend_ml import signing
from backend_ml.settings import Settings
from backend_ml.signing import Links
from lvm_training.files import file_state
from lvm_training.stamps.stampset import StampSet
from lvm_training.tables.cells import numbers
from lvm_training.tables.positions import degrees

DISPLAY_SIZE = 480  # pixels of a picture among others; a task's is as large as its campaign says
CATALOGUE = {
    "ra": ("RA", "{:.5f}°"),
    "dec": ("Dec", "{:+.5f}°"),
    "z_spec": ("redshift (spec.)", "{:.4f}"),
    "z_phot_mean": ("redshift (phot.)", "{:.3f}"),
    "mag_g": ("g", "{:.2f} mag"),
    "mag_r": ("r", "{:.2f} mag"),
    "mag_z": ("z", "{:.2f} mag"),
    "half_light_radius": ("half-light radius", "{:.2f}″"),
}
"""Catalogue columns people are shown, where a stamp set has them; truth columns are not among them."""
NAMES = ("file", "name", "object", "iauname", "id", "objid", "object_id", "targetid")
"""Columns that say what a galaxy is called; the first that a stamp set has counts."""
FIELDS = ("name", "audit", "image", "stamp_set", "stamp_id", "catalogue", "progress", "links")
"""What the data of every task have."""
HIDDEN = ("links", "catalogue", "progress", "residual", "stamp_set", "stamp_id")
"""Keys of a task's data that are no columns to read in Label Studio's data manager."""


def catalogue_columns(stamps: StampSet) -> dict[str, NDArray[np.float64]]:
    """The columns of a stamp set that people are shown, as numbers; NaN where a value is missing or none."""
    return {name: _numbers(name, stamps.column(name)) for name in CATALOGUE if name in stamps.columns}


def _numbers(name: str, values: NDArray[Any]) -> NDArray[np.float64]:
    return degrees(values, right_ascension=name == "ra") if name in ("ra", "dec") else numbers(values)


def name_column(columns: Collection[str]) -> str | None:
    """The column that names the galaxies of a stamp set, if one does."""
    return next((name for name in NAMES if name in columns), None)


def called(stamps: StampSet, rows: Sequence[int]) -> list[str]:
    """What some stamps of a set are called, as `galaxy_names` says."""
    names = _kept_names(stamps.path, file_state(stamps.path)) if rows else []
    return [names[row] for row in rows]


def named_rows(stamps: StampSet, name: str) -> list[int]:
    """The rows of a set that a name stands for: whole, as the last part of a path, or that without its suffix."""
    if name_column(stamps.columns) is None:
        return []
    return list(_rows_by_name(stamps.path, file_state(stamps.path)).get(name.strip().casefold(), ()))


# a page asks for twenty names of a set at a time, over and over
@lru_cache(maxsize=4)
def _kept_names(path: Path, _: tuple[int, ...]) -> Sequence[str]:
    with StampSet(path) as stamps:
        return galaxy_names(stamps)


@lru_cache(maxsize=4)
def _rows_by_name(path: Path, _: tuple[int, ...]) -> Mapping[str, Sequence[int]]:
    found: dict[str, list[int]] = {}
    with StampSet(path) as stamps:
        columns = [name for name in NAMES if name in stamps.columns]
        for column in columns:
            for row, value in enumerate(map(str, stamps.column(column))):
                place = PurePosixPath(value)
                for name in {value, place.name, place.stem} if column == "file" else {value}:
                    rows = found.setdefault(name.casefold(), [])
                    if row not in rows[-1:]:
                        rows.append(row)
    return found


def galaxy_names(stamps: StampSet) -> Sequence[str]:
    """What people are told each stamp of a set is called: the file's name or an identifier, "" where there is none.

    Of files the last part of the path alone: folders are often named after the very class that is asked for.
    """
    column = name_column(stamps.columns)
    if column is None:
        return [""] * len(stamps)
    values = [str(value) for value in stamps.column(column)]
    return [PurePosixPath(value).name for value in values] if column == "file" else values


def task_data(
    stamp_set: str,
    stamp_id: int,
    columns: Mapping[str, Any],
    links: Links,
    settings: Settings,
    *,
    name: str = "",
    audit: bool = False,
) -> dict[str, Any]:
    """The data of one Label Studio task.

    Parameters
    ----------
    columns : dict
        The stamp's catalogue row; only the columns of `CATALOGUE` are shown.
    name : str
        What the galaxy is called; its set and row where nobody says.
    audit : bool
        Whether it is of the audit slice, and shown without an answer.
    """
    return {
        "name": name or f"{stamp_set} {stamp_id}",
        "audit": "audit" if audit else "",
        "image": picture_url((stamp_set, stamp_id), links, settings),
        "stamp_set": stamp_set,
        "stamp_id": stamp_id,
        "catalogue": catalogue(stamp_set, stamp_id, columns),
        "progress": _progress(links, settings),
        "links": f"{_why_link((stamp_set, stamp_id), links, settings)} · {_links(columns)}",
    }


def catalogue(stamp_set: str, stamp_id: int, columns: Mapping[str, Any]) -> dict[str, str]:
    """What people are shown of a stamp's catalogue row, names with units and values in the digits they deserve."""
    known = {name: float(columns[name]) for name in CATALOGUE if name in columns}
    # surveys write -99 where a redshift is missing
    shown = {CATALOGUE[n][0]: CATALOGUE[n][1].format(v) for n, v in known.items() if np.isfinite(v) and v > -90}
    return {"stamp": f"{stamp_set} {stamp_id}"} | shown


def legacy_url(columns: Mapping[str, Any]) -> str | None:
    """Where the Legacy Survey viewer shows a stamp's position; None where that is unknown."""
    if not {"ra", "dec"} <= set(columns) or not np.isfinite([float(columns["ra"]), float(columns["dec"])]).all():
        return None
    place = {"ra": f"{float(columns['ra']):.6f}", "dec": f"{float(columns['dec']):.6f}", "layer": "ls-dr9", "zoom": 15}
    return f"https://www.legacysurvey.org/viewer?{urlencode(place)}"


def _links(columns: Mapping[str, Any]) -> str:
    viewer = legacy_url(columns)
    if viewer is None:
        return "<span>No position known.</span>"
    ra, dec = float(columns["ra"]), float(columns["dec"])
    simbad = urlencode({"Coord": f"{ra:.6f} {dec:+.6f}", "Radius": 10, "Radius.unit": "arcsec"})
    return (
        f'<a href="{html.escape(viewer)}" target="_blank" rel="noopener">'
        "Legacy Survey viewer</a> · "
        f'<a href="https://simbad.cds.unistra.fr/simbad/sim-coo?{html.escape(simbad)}" target="_blank" rel="noopener">'
        "SIMBAD</a>"
    )


def _why_link(stamp: tuple[str, int], links: Links, settings: Settings) -> str:
    address = html.escape(why_url(stamp, links, settings))
    return f'<a href="{address}" target="_blank" rel="noopener">Why is this here?</a>'


def why_url(stamp: tuple[str, int], links: Links, settings: Settings) -> str:
    """The signed address of the page that says why a stamp is in a campaign's queue."""
    return settings.public_url.rstrip("/") + signing.why_path(*stamp, links, settings)


def _progress(links: Links, settings: Settings) -> str:
    return f'<img src="{html.escape(progress_url(links, settings))}" alt="How many are labelled" height="22">'


def progress_url(links: Links, settings: Settings) -> str:
    """The signed address of the picture that says how many of a campaign's tasks are labelled."""
    return settings.public_url.rstrip("/") + signing.progress_path(links, settings)


def example_url(name: str, number: int, links: Links, settings: Settings) -> str:
    """The signed address of an example of a class."""
    return settings.public_url.rstrip("/") + signing.example_path(name, number, links, settings)


def picture_url(stamp: tuple[str, int], links: Links, settings: Settings) -> str:
    """The signed address of a stamp's picture."""
    return settings.public_url.rstrip("/") + signing.stamp_path(*stamp, links, settings)
