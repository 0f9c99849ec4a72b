"""The catalogue's table of objects: the boxes that people drew and a detector found, in pixels and on the sky."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from backend_ml.catalogue.tables.boxes import GEOMETRY, Ground
from backend_ml.catalogue.tables.columns import Batch, Column, Fact, Sheet, clean_text, text_width, texts
from backend_ml.catalogue.tables.galaxies import Galaxies
from backend_ml.catalogue.tables.table import DIGITS, Places, identity_columns
from backend_ml.kinds.installed import answered_part, kind_of
from backend_ml.kinds.models import Model, Stamp
from backend_ml.label_studio.labelling import DISPLAY_SIZE
from backend_ml.label_studio.regions.choices import LabelConfigError, Region
from backend_ml.label_studio.regions.objects import BOX, MASK, ObjectControls, find_object_controls, read_objects
from backend_ml.labels.set_aside import reason
from backend_ml.store.database import Connection, query
from backend_ml.store.records import PICTURE_SIZES
from backend_ml.store.stamps import StampSets
from lvm_training.progress import Progress

PEOPLE, MODEL = "people", "model"


@dataclass(frozen=True)
class Found:
    """One object.

    Attributes
    ----------
    stamp : (str, int)
    source : str
        People, whose newest annotation counts, or the model.
    name : str
        Its class.
    box : tuple of float
        x0, y0, x1, y1 on the picture that people see, from its top-left corner.
    mask : int
        Pixels of that picture in its mask; -1 where nobody drew one.
    score : float
        NaN of people.
    grade, who : str
        Of the picture, and who annotated it: the user's id in Label Studio.
    """

    stamp: Stamp
    source: str
    name: str
    box: tuple[float, float, float, float]
    mask: int
    score: float = float("nan")
    grade: str = ""
    who: str = ""


def controls_of(galaxies: Galaxies) -> ObjectControls | None:
    """The drawing tags of a campaign's label config; None where people draw nothing."""
    try:
        return find_object_controls(_config(galaxies))
    except LabelConfigError:
        return None


def _config(galaxies: Galaxies) -> str:
    return galaxies.campaign.label_config or kind_of(galaxies.campaign).label_config()


def drawn(connection: Connection, galaxies: Galaxies, controls: ObjectControls) -> tuple[list[Found], list[str]]:
    """What people drew, and what could not be read."""
    found, notes = list[Found](), list[str]()
    for row in query(connection, "object_labels", campaign=galaxies.campaign.id):
        try:
            objects, odd = _read(json.loads(row["result"]), controls)
        except Exception as error:
            # whatever is wrong with one annotation, the others are told
            notes.append(f"annotation {row['annotation_id']} is left out: {reason(error)}")
            continue
        notes += [f"annotation {row['annotation_id']}: {note}" for note in odd]
        stamp, who = (row["stamp_set"], row["stamp_id"]), "" if row["annotator"] is None else str(row["annotator"])
        found += [replace(one, stamp=stamp, grade=row["label"] or "", who=who) for one in objects]
    return found, notes


def detected(galaxies: Galaxies, model: Model, controls: ObjectControls, progress: Progress) -> list[Found]:
    """What the model that serves shows on every galaxy: objects that score a half or more."""
    config = answered_part(galaxies.campaign, _config(galaxies))
    found, done, total = list[Found](), 0, len(galaxies)
    for name, rows in galaxies.blocks():
        stamps = [(name, row) for row in rows.tolist()]
        answers = model.answer(stamps)
        for place, stamp in enumerate(stamps):
            for regions in _by_object(answers.result(place, config)):
                score = float(regions[0].get("score", np.nan))
                found += [replace(one, stamp=stamp, source=MODEL, score=score) for one in _read(regions, controls)[0]]
        done += len(rows)
        progress(done, total)
    return found


def _by_object(regions: Sequence[Region]) -> list[list[Region]]:
    """A model's regions, box and mask of one object together; without the grade."""
    groups: dict[str, list[Region]] = {}
    for region in regions:
        name = str(region.get("id", len(groups)))
        if region.get("type") != "choices":
            groups.setdefault(name.removesuffix(BOX).removesuffix(MASK), []).append(region)
    return list(groups.values())


def _read(regions: Sequence[Mapping[str, Any]], controls: ObjectControls) -> tuple[list[Found], tuple[str, ...]]:
    """The objects of some regions, and what of them could not be read."""
    side = DISPLAY_SIZE
    read = read_objects(regions, controls, width=side, height=side, shown=PICTURE_SIZES)
    areas = np.where(read.drawn, read.instances.masks.sum(axis=(1, 2)), -1)
    found = [
        Found(("", 0), PEOPLE, name, tuple(box), int(area))
        for name, box, area in zip(read.instances.classes, read.instances.boxes.tolist(), areas, strict=True)
    ]
    return found, read.notes


def object_sheet(
    galaxies: Galaxies, found: Sequence[Found], places: Places, sets: StampSets, facts: Sequence[Fact]
) -> Sheet:
    """The table of objects: galaxy by galaxy, people's before the model's."""
    ordered = sorted(found, key=lambda one: (one.stamp, one.source == MODEL))
    grounds = {name: Ground(galaxies.campaign.rendering, sets.find(name)) for name in {one.stamp[0] for one in ordered}}
    names = {stamp: places.names(stamp[0], np.array([stamp[1]]))[0] for stamp in {one.stamp for one in ordered}}
    rows = [_row(one, names[one.stamp], grounds[one.stamp[0]], places) for one in ordered]
    columns = (
        *identity_columns(
            list(galaxies.rows), max((one.stamp[1] for one in ordered), default=0), text_width(list(names.values()))
        ),
        Column("source", "text", "people (the newest annotation) or model", "", "meta.code", len(PEOPLE)),
        Column("class", "text", "What it is", "", "meta.code.class", text_width([one.name for one in ordered])),
        Column("score", "float", "The detector's score; none of people", "", "stat.value"),
        Column(
            "grade",
            "text",
            "The annotator's choice for the picture",
            "",
            "meta.code.qual",
            text_width([one.grade for one in ordered]),
        ),
        Column("annotator", "text", "User id in Label Studio", "", "meta.id", text_width([one.who for one in ordered])),
        *GEOMETRY,
    )
    return Sheet("objects", columns, len(rows), partial(_batches, columns, rows), facts)


def _batches(columns: Sequence[Column], rows: Sequence[Mapping[str, Any]]) -> Iterator[Batch]:
    if rows:
        yield {
            one.name: texts([row[one.name] for row in rows])
            if one.kind == "text"
            else np.array([row[one.name] for row in rows])
            for one in columns
        }


def _row(one: Found, name: str, ground: Ground, places: Places) -> dict[str, Any]:
    (ra,), (dec,) = places.position(one.stamp[0], np.array([one.stamp[1]]))
    stamp_set = clean_text(one.stamp[0])
    return {
        "id": f"{stamp_set}/{one.stamp[1]}",
        "stamp_set": stamp_set,
        "stamp_id": one.stamp[1],
        "name": name,
        "source": one.source,
        "class": clean_text(one.name),
        "score": round(one.score, DIGITS),
        "grade": clean_text(one.grade),
        "annotator": one.who,
        **ground.described(one.box, one.mask, name, (float(ra), float(dec))),
    }
