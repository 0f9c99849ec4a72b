"""Stamps become tasks in Label Studio, and the campaign remembers which."""

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backend_ml.kinds.installed import kind_of
from backend_ml.label_studio import labelling
from backend_ml.label_studio.client import LabelStudio
from backend_ml.settings import Settings
from backend_ml.store.database import Connection, query, query_many
from backend_ml.store.records import Campaign
from backend_ml.store.storable import INT8, is_storable
from lvm_training.progress import Progress
from lvm_training.stamps.stampset import StampSet

ROW = re.compile(r"[0-9]{1,18}")


def named_stamp(data: Mapping[str, Any]) -> tuple[str, int] | None:
    """The stamp set and row that a task's data name in `stamp_set` and `stamp_id`; None if they name none."""
    name, row = data.get("stamp_set"), _row(data.get("stamp_id"))
    if not isinstance(name, str | int) or not is_storable(str(name)) or row is None:
        return None
    return str(name), row


def _row(value: object) -> int | None:
    """A row number as JSON or a CSV import may write it: 17, 17.0 or "17"; None if it is none."""
    if isinstance(value, str):
        return int(value) if ROW.fullmatch(value) else None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= INT8 or value % 1:
        return None
    return int(value)


def import_stamps(
    settings: Settings,
    label_studio: LabelStudio,
    campaign: Campaign,
    stamps: StampSet,
    rows: Sequence[int],
    audit: Collection[int],
    on_progress: Progress | None = None,
) -> list[int]:
    """Make a task of each of some rows, some of the audit slice; the tasks' ids in that order.

    Raises
    ------
    LabelStudioError
        If Label Studio refuses.
    """
    kind = kind_of(campaign)
    shown, names = labelling.catalogue_columns(stamps), labelling.galaxy_names(stamps)
    data = [
        {
            "data": labelling.task_data(
                stamps.name,
                row,
                {column: shown[column][row] for column in shown},
                campaign.links,
                settings,
                name=names[row],
                audit=row in audit,
            )
            | dict(kind.task_data((stamps.name, row), campaign, settings))
        }
        for row in rows
    ]
    return label_studio.import_tasks(campaign.project_id, data, on_progress=on_progress)


def remember_tasks(
    connection: Connection,
    campaign: Campaign,
    stamp_set: str,
    tasks: Sequence[int],
    rows: Sequence[int],
    audit: Collection[int],
) -> None:
    """Note which row of a set each task shows, and which rows are of the audit slice."""
    query(connection, "gave_links", campaign=campaign.id, series=campaign.link_series)
    common = {"campaign": campaign.id, "stamp_set": stamp_set}
    values = [
        {**common, "task": task, "stamp_id": row, "audit": row in audit} for task, row in zip(tasks, rows, strict=True)
    ]
    query_many(connection, "put_task", values)


def audit_slice(rows: NDArray[np.int64], fraction: float, seed: int, part: int = 0) -> NDArray[np.int64]:
    """Rows drawn at random for the audit slice, in the order in which they were drawn.

    Parameters
    ----------
    part : int
        Which part of the campaign's galaxies these are: 0 for those it began with.
    """
    generator = np.random.default_rng([seed, 1, part] if part else [seed, 1])
    return generator.choice(rows, size=round(len(rows) * fraction), replace=False)
