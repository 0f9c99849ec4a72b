"""What annotators see: the label config with the campaign's classes, the instruction, and each task's data."""

import html
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from xml.etree import ElementTree

import numpy as np

from backend_ml import security
from backend_ml.kinds import HOTKEYS, find_kind
from backend_ml.settings import Settings

CONFIGS = Path(__file__).parent.parent / "label_config"
DISPLAY_SIZE = 480  # pixels of a picture
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


def label_config(kind: str, classes: Sequence[str] | None) -> str:
    """The label config of a kind of campaign, with other classes in place of its own where given.

    Raises
    ------
    LabelConfigError
        If there is no such kind, or the classes do not fit it.
    """
    found = find_kind(kind)
    text = (CONFIGS / f"{kind}.xml").read_text()
    return text if classes is None else found.with_classes(text, classes)


def choice_instruction(
    classes: Sequence[str],
    examples: Mapping[str, Iterable[tuple[str, int]]],
    campaign_id: int,
    settings: Settings,
    *,
    wanted: str | None = None,
) -> str:
    """The instruction of a campaign of choices as HTML: how to answer, and example stamps of each class, if any.

    Parameters
    ----------
    examples : dict
        (stamp set, row) pairs of each class.
    wanted : str or None
        The class that is looked for, if one is.
    """
    question = (
        "Choose what the galaxy <b>in the centre</b> is"
        if wanted is None
        else ("Say whether the galaxy <b>in the centre</b> is what is looked for")
    )
    rows = []
    for key, name in zip(HOTKEYS, classes, strict=False):
        cells = "".join(
            f'<td><img src="{html.escape(picture_url(stamp, campaign_id, settings))}" width="104"'
            f' alt="{html.escape(name)}"></td>'
            for stamp in examples.get(name, ())
        )
        # Label Studio drops styles and stacks pictures; only a table puts them side by side
        pictures = f"<table><tbody><tr>{cells}</tr></tbody></table>" if cells else ""
        rows.append(f"<p><b>{key} · {html.escape(name)}</b></p>{pictures}")
    return (
        f"<p>{question}: press its number, then Ctrl+Enter to submit. Where the"
        " model's own answer is filled in and right, Ctrl+Enter is enough (its number would clear it). Some galaxies"
        " are shown without an answer on purpose.</p>"
        + "".join(rows)
        + "<p><b>8 · unsure</b>: you cannot tell. <b>9 · artefact / not a galaxy</b>: a star, a satellite trail, a"
        " broken image. Both are kept.</p>"
    )


def object_instruction(label_config: str) -> str:
    """The instruction of a campaign of objects as HTML: how to answer, and what the keys of a label config stand for.

    Parameters
    ----------
    label_config : str
        XML whose labels and choices say in `hint` what they are.
    """
    root = ElementTree.fromstring(label_config)  # noqa: S314 - our own file
    sections = []
    for tag, title in (("RectangleLabels", "Boxes"), ("BrushLabels", "Masks"), ("Choices", "Grade of the picture")):
        keys = [
            f"<li><b>{html.escape(one.get('hotkey', ''))} · {html.escape(one.get('value', ''))}</b>:"
            f" {html.escape(one.get('hint', ''))}</li>"
            for control in root.iter(tag)
            for one in control
        ]
        sections.append(f"<p><b>{title}</b></p><ul>{''.join(keys)}</ul>")
    return (
        "<p>Is this a strong lens? Mend the boxes and masks that the model drew where they are wrong, draw what it"
        " missed, delete what is not there (select it, then Backspace), choose a grade and submit with Ctrl+Enter."
        " Ctrl+H hides and shows what is drawn. A box is enough: a mask teaches more. Some pictures are shown without"
        " an answer on purpose.</p>"
        + "".join(sections)
        + "<p>A grade <b>not a lens</b> overrules arcs and deflectors left on the picture; <b>C</b> is kept and teaches"
        " the model nothing.</p>"
    )


def task_data(
    stamp_set: str, stamp_id: int, columns: Mapping[str, Any], campaign_id: int, settings: Settings
) -> dict[str, Any]:
    """The data of one Label Studio task.

    Parameters
    ----------
    columns : dict
        The stamp's catalogue row; only the columns of `CATALOGUE` are shown.
    """
    return {
        "image": picture_url((stamp_set, stamp_id), campaign_id, settings),
        "stamp_set": stamp_set,
        "stamp_id": stamp_id,
        "catalogue": catalogue(stamp_set, stamp_id, columns),
        "links": f"{_why_link((stamp_set, stamp_id), campaign_id, settings)} · {_links(columns)}",
    }


def catalogue(stamp_set: str, stamp_id: int, columns: Mapping[str, Any]) -> dict[str, str]:
    """What people are shown of a stamp's catalogue row, names with units and values in the digits they deserve."""
    known = {name: float(columns[name]) for name in CATALOGUE if name in columns}
    # surveys write -99 where a redshift is missing
    shown = {CATALOGUE[n][0]: CATALOGUE[n][1].format(v) for n, v in known.items() if np.isfinite(v) and v > -90}
    return {"stamp": f"{stamp_set} {stamp_id}"} | shown


def _links(columns: Mapping[str, Any]) -> str:
    if not {"ra", "dec"} <= set(columns) or not np.isfinite([float(columns["ra"]), float(columns["dec"])]).all():
        return "<span>No position known.</span>"
    ra, dec = float(columns["ra"]), float(columns["dec"])
    viewer = urlencode({"ra": f"{ra:.6f}", "dec": f"{dec:.6f}", "layer": "ls-dr9", "zoom": 15})
    simbad = urlencode({"Coord": f"{ra:.6f} {dec:+.6f}", "Radius": 10, "Radius.unit": "arcsec"})
    return (
        f'<a href="https://www.legacysurvey.org/viewer?{html.escape(viewer)}" target="_blank" rel="noopener">'
        "Legacy Survey viewer</a> · "
        f'<a href="https://simbad.cds.unistra.fr/simbad/sim-coo?{html.escape(simbad)}" target="_blank" rel="noopener">'
        "SIMBAD</a>"
    )


def _why_link(stamp: tuple[str, int], campaign_id: int, settings: Settings) -> str:
    address = settings.public_url.rstrip("/") + security.why_path(*stamp, campaign_id, settings)
    return f'<a href="{html.escape(address)}" target="_blank" rel="noopener">Why is this here?</a>'


def picture_url(stamp: tuple[str, int], campaign_id: int, settings: Settings) -> str:
    """The signed address of a stamp's picture."""
    return settings.public_url.rstrip("/") + security.stamp_path(*stamp, campaign_id, settings)
