"""Tasks that people import into a campaign's project themselves: known by the stamps they name, or told of.

Label Studio tells of a deletion once, so tasks that are gone are found here too: nobody can label them, and it takes no
prediction of any beside one.
"""

from collections.abc import Collection

import structlog

from backend_ml.adoption.questions import find_question
from backend_ml.adoption.tasks import UnknownTask, differing_tasks, remember
from backend_ml.kinds.installed import config_of
from backend_ml.kinds.kind import KindError
from backend_ml.label_studio.client import LabelStudio
from backend_ml.label_studio.regions.choices import LabelConfigError
from backend_ml.queue.refill import find_pool
from backend_ml.store.campaigns import campaign_of_id, note
from backend_ml.store.database import Database, query
from backend_ml.store.features import FeatureError, FeatureStore
from backend_ml.store.records import Campaign
from lvm_training.pool.features import FeaturesError

log = structlog.get_logger(__name__)

SOURCE = "imported tasks"
IMAGE = "image"  # where our own tasks say it


def take_in(database: Database, label_studio: LabelStudio, campaign: Campaign, *, wait: bool = True) -> bool:
    """Take the tasks into a campaign that name a stamp with features, leave out those that are gone, note the others.

    A request, while Label Studio has as many tasks as the campaign and the note say.

    Parameters
    ----------
    wait : bool
        Whether to wait for who fills or pushes the queue; without, all is left for the next look.

    Returns
    -------
    bool
        Whether the campaign has other tasks than before.

    Raises
    ------
    DatabaseError
        If its server cannot be reached.
    LabelStudioError
        If Label Studio cannot be reached.
    """
    with database.transaction() as connection:
        known = query(connection, "task_counts", campaign=campaign.id)[0]["tasks"]
        told = {row["source"]: row["text"] for row in query(connection, "notices", campaign=campaign.id)}
    more = label_studio.project(campaign.project_id).tasks - known
    noted = told.get(SOURCE, "")
    if (more > 0 and noted.startswith(f"{_counted(more)} ")) or (more == 0 and not noted):
        return False
    # a refill imports tasks before it notes them
    with database.sole("try_lock_queue", wait=wait, campaign=campaign.id) as mine:
        return mine and _take_in(database, label_studio, campaign)


def _take_in(database: Database, label_studio: LabelStudio, campaign: Campaign) -> bool:
    found = differing_tasks(database, label_studio, campaign.project_id, campaign, _key(campaign))
    embedded = _embedded(database, campaign.encoder, found.unknown)
    ours = [task for task in found.unknown if task.id in embedded]
    others = [task for task in found.unknown if task.id not in embedded]
    blind = _blind(database, campaign, ours) if ours else set()
    with database.transaction() as connection:
        query(connection, "lock_campaign", campaign=campaign.id)
        now = campaign_of_id(connection, campaign.id)
        if now is None or now.encoder != campaign.encoder:
            return False  # whoever changes the encoder embeds what is known by then, so the next look decides anew
        remember(connection, campaign, ours, {}, blind)
        note(connection, campaign.id, SOURCE, _words(campaign, others) if others else None)
        gone = query(connection, "delete_tasks", campaign=campaign.id, tasks=sorted(found.gone))
    if gone:
        log.info("tasks are gone", campaign=campaign.name, tasks=len(gone))
    return bool(ours or gone)


def _blind(database: Database, campaign: Campaign, tasks: list[UnknownTask]) -> set[int]:
    """Those of some tasks that show a stamp of the audit slice of the campaign's pool, if it has one."""
    with database.transaction() as connection:
        pool = find_pool(connection, campaign)
    drawn = set() if pool is None else {(campaign.stamp_set, row) for row in pool.audit(campaign).tolist()}
    return {task.id for task in tasks if task.stamp in drawn}


def _embedded(database: Database, encoder: str, tasks: Collection[UnknownTask]) -> set[int]:
    """Those of some tasks whose stamp has features of an encoder."""
    with database.transaction() as connection:
        features = FeatureStore.from_database(connection, encoder)
    stamps = {task.id: task.stamp for task in tasks if task.stamp is not None}
    rows = {name: _rows(features, name) for name in {name for name, _ in stamps.values()}}
    return {task for task, (name, row) in stamps.items() if row < rows[name]}


def _rows(features: FeatureStore, stamp_set: str) -> int:
    try:
        return features.shard(stamp_set).origin.rows
    except (FeatureError, FeaturesError):
        return 0


def _key(campaign: Campaign) -> str:
    try:
        return find_question(config_of(campaign), campaign.kind, detector=True).image
    except (LabelConfigError, KindError):
        return IMAGE


def _counted(number: int) -> str:
    return "One task" if number == 1 else f"{number} tasks"


def _words(campaign: Campaign, others: list[UnknownTask]) -> str:
    were = "was" if len(others) == 1 else "were"
    return (
        f"{_counted(len(others))} {were} imported by hand (the first is {others[0].id}), and no model answers them:"
        f" `galaxyloop campaign adopt {campaign.project_id}` takes them in, or says why it cannot."
    )
