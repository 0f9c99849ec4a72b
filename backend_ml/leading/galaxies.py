"""Adds galaxies to a campaign that runs: as tasks, or to the pool that its tasks come from."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backend_ml.buckets import here
from backend_ml.campaign.defer import defer_push
from backend_ml.label_studio.client import LabelStudio
from backend_ml.leading.leader import Leader, current, project_there
from backend_ml.queue import refill
from backend_ml.queue.answered import answered_rows, answered_stamps, apart
from backend_ml.queue.lock import alone
from backend_ml.queue.tasks import audit_slice, import_stamps, remember_tasks
from backend_ml.store.campaigns import log_change, open_campaign
from backend_ml.store.database import Connection, Database, query
from backend_ml.store.encoders import working_encoder
from backend_ml.store.records import Campaign, CampaignError
from backend_ml.store.registration import register, register_grown
from lvm_training.heads.beside import check_alike
from lvm_training.progress import Progress, Steps
from lvm_training.stamps.stampset import StampSet

ADDED = "added galaxies"
Rows = NDArray[np.int64]


def add_galaxies(leader: Leader, campaign: Campaign, path: Path, rows: Sequence[int], steps: Steps) -> dict[str, Any]:
    """Let more stamps be labelled: rows of a further set, or of one of the campaign's, which may have grown.

    They are embedded with the campaign's encoder. Those of the set of a campaign with a pool join the pool, others
    become tasks. As large a share as of the first is audited. Doing it again mends a try that broke off.

    Returns
    -------
    dict
        How many were `added`, how many of the rows were `there_already` (within an arcsec, too), and `as`, which is
        "tasks" or "pool".

    Raises
    ------
    CampaignError
        If the campaign is closed, a search that is not in Label Studio, its project was deleted, or the set's pictures
        are of another make than the campaign's.
    StampError, RenderingError
        If the set cannot be read or embedded, or is another than the one registered under its name.
    LabelStudioError
        If Label Studio refuses.
    """
    with leader.database.transaction() as connection:
        found = current(connection, campaign)
    if found.project is None:
        raise CampaignError(
            f"{found.name!r} is a search that is not in Label Studio.", "Send it there first, or begin another search."
        )
    with project_there(found):
        leader.label_studio.project(found.project)
    _check_alike(leader.database, found, path)
    _register(leader, found, path, steps)
    said = _added(leader.database, leader.label_studio, found, leader, path.stem, np.array(rows, dtype=np.int64), steps)
    _follow(leader, found, path, steps)
    return said


def _check_alike(database: Database, campaign: Campaign, path: Path) -> None:
    """Raise a CampaignError if a set's pictures would look unlike the campaign's, to people and to its head.

    Or a ColumnError if it lacks what heads read beside the image, or has it in another unit.
    """
    ours = database.stamp_sets.find(campaign.stamp_set)
    with StampSet(path) as other:
        if other.rendering != ours.rendering:
            raise CampaignError(
                f"{other.name} holds pixels {other.rendering}, {ours.name} {ours.rendering}: one head cannot be taught"
                " by both.",
                "Make a campaign of its own of it.",
            )
        if np.isnan(other.pixel_scale) != np.isnan(ours.pixel_scale):
            unknown = other.name if np.isnan(other.pixel_scale) else ours.name
            raise CampaignError(
                f"The pixel scale of {unknown} is not known, so its pictures are cut in another way.",
                "Import it again with `--pixel-scale`.",
            )
        check_alike(ours, other, campaign.columns)


def _register(leader: Leader, campaign: Campaign, path: Path, steps: Steps) -> None:
    encoder = working_encoder(leader.settings.store_folder, campaign.encoder)
    known = {row["name"]: row for row in leader.database.rows("stamp_sets")}.get(path.stem)
    with StampSet(path) as stamps:
        grown = known is not None and known["digest"] != stamps.digest and here(known["path"]) == path.absolute()
    (register_grown if grown else register)(path, encoder, leader.settings, leader.database, steps)


def _follow(leader: Leader, campaign: Campaign, path: Path, steps: Steps) -> None:
    """Embed what was added anew where the campaign has got another encoder meanwhile."""
    now = open_campaign(leader.database, campaign.id)
    if now is not None and now.encoder != campaign.encoder:
        _register(leader, now, path, steps)
        with leader.database.transaction() as connection:
            defer_push(connection, now.id)


@alone
def _added(
    database: Database,
    label_studio: LabelStudio,
    campaign: Campaign,
    leader: Leader,
    stamp_set: str,
    rows: Rows,
    steps: Steps,
) -> dict[str, Any]:
    """Add those of some rows that are new, while nobody else fills the campaign's queue."""
    with database.transaction() as connection:
        there = _there(connection, campaign)
        part = sum(one["what"] == ADDED for one in query(connection, "changes", campaign=campaign.id))
        pooled = refill.find_pool(connection, campaign) is not None and stamp_set == campaign.stamp_set
    stamps = database.stamp_sets.find(stamp_set)
    new = np.setdiff1d(rows, answered_rows(database.stamp_sets, stamp_set, there))
    new = apart(stamps, new)
    if len(new) and not pooled:
        audit = set(audit_slice(new, campaign.audit_fraction, campaign.seed, part + 1).tolist())
        with steps("Importing tasks") as progress:
            _import(database, label_studio, campaign, leader, stamps, new, audit, progress)
    if len(new):
        with database.transaction() as connection:
            found = current(connection, campaign)
            if pooled:
                refill.widen_pool(connection, found, new, len(stamps))
            log_change(connection, found, leader.name, ADDED, stamp_set=stamp_set, galaxies=len(new))
            query(connection, "announce", campaign=str(found.id))
            defer_push(connection, found.id)
    there_already = len(set(rows.tolist())) - len(new)
    return {"added": len(new), "there_already": there_already, "as": "pool" if pooled else "tasks"}


def _there(connection: Connection, campaign: Campaign) -> list[tuple[str, int]]:
    """The stamps that are or were tasks, or of the pool, or have a label already."""
    tasks = query(connection, "catalogue_tasks", campaign=campaign.id)
    there = {(row["stamp_set"], row["stamp_id"]) for row in tasks} | set(answered_stamps(connection, campaign))
    pool = refill.find_pool(connection, campaign)
    if pool is not None:
        there |= {(campaign.stamp_set, row) for row in pool.rows.tolist()}
    return sorted(there)


def _import(
    database: Database,
    label_studio: LabelStudio,
    campaign: Campaign,
    leader: Leader,
    stamps: StampSet,
    rows: Rows,
    audit: set[int],
    progress: Progress,
) -> None:
    """Make a task of each row that none shows yet; a try that was killed may have imported some."""
    refill.adopt(database, label_studio, campaign, stamps.name, set(rows.tolist()), audit)
    known = {row["stamp_id"] for row in database.rows("tasks_of_set", campaign=campaign.id, stamp_set=stamps.name)}
    left = [row for row in rows.tolist() if row not in known]
    tasks = import_stamps(leader.settings, label_studio, campaign, stamps, left, audit, progress)
    with database.transaction() as connection:
        remember_tasks(connection, campaign, stamps.name, tasks, left, audit)
