"""Campaigns over a pool far larger than their project: the best stamps become tasks, and more as the queue runs dry.

The audit slice is drawn once from the whole pool and its stamps are withheld from the policy, so it says how well a
head does on the pool, not on what a policy preferred.
"""

from collections.abc import Collection
from dataclasses import dataclass, replace

import numpy as np
import structlog
from numpy.typing import NDArray

from backend_ml.acquisition.policy import needed_views
from backend_ml.kinds.installed import kind_of, load_model
from backend_ml.kinds.models import Stamp, Stores
from backend_ml.label_studio.client import LabelStudio
from backend_ml.label_studio.connection import condition
from backend_ml.queue import push, selections
from backend_ml.queue.answered import answered_rows, answered_stamps
from backend_ml.queue.lock import alone
from backend_ml.queue.ranking import Labelled, Ranked, Waiting, rank, ranking_seed
from backend_ml.queue.selections import Selected, Selection
from backend_ml.queue.shortlist import LOOKS, Shortlist, shortlist
from backend_ml.queue.tasks import audit_slice, import_stamps, remember_tasks
from backend_ml.settings import Settings
from backend_ml.store import versions
from backend_ml.store.database import Connection, Database, query
from backend_ml.store.features import FeatureStore
from backend_ml.store.records import Campaign, ModelVersion
from backend_ml.store.stamps import StampSets
from lvm_training.progress import Progress
from lvm_training.tables.snapshot import Snapshot

log = structlog.get_logger(__name__)

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Slice:
    """The rows of a pool that become tasks next.

    Attributes
    ----------
    blind : ndarray of int
        Of the audit slice.
    best : ndarray (n,) of int
        The others, in the order of the policy.
    ranked : Ranked
        How the policy judged the rows that `best` was chosen from.
    worth, propensity : ndarray (n,)
        Of each of `best`: what its label is worth to the policy, and the probability that it would be chosen.
    """

    blind: Rows
    best: Rows
    ranked: Ranked
    worth: NDArray[np.float64]
    propensity: NDArray[np.float64]


@dataclass(frozen=True)
class TaskPool:
    """The stamps that may become tasks, and how many do at a time.

    Attributes
    ----------
    rows : ndarray (N,) of int
        In ascending order.
    slice : int
        Tasks imported at a time.
    refill_below : int
        The next slice is imported when fewer ranked tasks wait.
    exhausted : bool
        Whether every stamp has become a task.
    parts : tuple of ndarray
        The rows that were there when the campaign began, and those that joined each time after that.
    """

    rows: Rows
    slice: int
    refill_below: int
    exhausted: bool
    parts: tuple[Rows, ...]

    def audit(self, campaign: Campaign) -> Rows:
        """Its rows of the audit slice: what was drawn stays drawn when others join."""
        fraction, seed = campaign.audit_fraction, campaign.seed
        return np.concatenate([audit_slice(rows, fraction, seed, part) for part, rows in enumerate(self.parts)])


@dataclass(frozen=True)
class PoolState:
    """What the next slice is chosen by.

    Attributes
    ----------
    taken : ndarray of int
        Rows of the campaign's stamp set that are tasks.
    answered : list of stamps
        Those that people labelled, in this campaign or where they were asked the same.
    tasks, audit_tasks : int
        Tasks in all, and those of the audit slice.
    version : ModelVersion or None
        The active one.
    features : FeatureStore
    compared : Labelled
        The labelled stamps that candidates are compared with.
    sightings : Snapshot
        Those by which a model of pictures is told where to look.
    last_event : int
        The newest label event.
    """

    taken: Rows
    answered: list[Stamp]
    tasks: int
    audit_tasks: int
    version: ModelVersion | None
    features: FeatureStore
    compared: Labelled
    sightings: Snapshot
    last_event: int


def put_pool(connection: Connection, campaign: Campaign, rows: Rows, total: int, size: int, refill_below: int) -> None:
    """Give a campaign its pool: these rows of a stamp set of `total`."""
    values = {"members": _bits(rows, total), "slice": size, "refill_below": refill_below}
    query(connection, "put_pool", campaign=campaign.id, **values)


def widen_pool(connection: Connection, campaign: Campaign, rows: Rows, total: int) -> None:
    """Add rows that the pool does not have; its set has `total` by now."""
    query(connection, "widen_pool", campaign=campaign.id, members=_bits(rows, total))


def _bits(rows: Rows, total: int) -> bytes:
    members = np.zeros(total, dtype=bool)
    members[rows] = True
    return np.packbits(members).tobytes()


def find_pool(connection: Connection, campaign: Campaign) -> TaskPool | None:
    """A campaign's pool; None if all its stamps were made tasks when it was created."""
    found = query(connection, "pool", campaign=campaign.id)
    if not found:
        return None
    row = found[0]
    parts = tuple(
        np.flatnonzero(np.unpackbits(np.frombuffer(bits, dtype=np.uint8))) for bits in (row["members"], *row["added"])
    )
    return TaskPool(np.sort(np.concatenate(parts)), row["slice"], row["refill_below"], row["exhausted"], parts)


def due(connection: Connection, campaign: Campaign) -> bool:
    """Whether the next slice should be imported."""
    pool = find_pool(connection, campaign)
    if pool is None or pool.exhausted:
        return False
    return sum(not task.audit for task in push.waiting_tasks(connection, campaign)) < pool.refill_below


def shares(imported_audit: int, imported: int, count: int, fraction: float) -> int:
    """How many of the next `count` tasks are of the audit slice, so that their share of all tasks stays `fraction`."""
    return int(np.clip(round((imported + count) * fraction) - imported_audit, 0, count))


def refill(
    settings: Settings,
    database: Database,
    label_studio: LabelStudio,
    campaign: Campaign,
    on_progress: Progress | None = None,
) -> int:
    """Import the next slice of a campaign's pool if too few ranked tasks wait; how many tasks that made.

    One process at a time does this for a campaign. A slice that was imported but not noted, because its process was
    killed, is recognised by what its tasks show; so each stamp becomes a task once.

    Raises
    ------
    LabelStudioError
        If Label Studio cannot be reached.
    FeatureError, FeaturesError
        If the pool has no features of the campaign's encoder, or some are not finite.
    """
    with database.transaction() as connection:
        pool = find_pool(connection, campaign)
    if pool is None or pool.exhausted:
        return 0
    return _refill(database, label_studio, campaign, settings, pool, on_progress)


@alone
def _refill(
    database: Database,
    label_studio: LabelStudio,
    campaign: Campaign,
    settings: Settings,
    pool: TaskPool,
    on_progress: Progress | None,
) -> int:
    """Read in one transaction, choose and import without any, note what was imported in another."""
    # whoever had the lock may have widened it
    with database.transaction() as connection:
        pool = find_pool(connection, campaign) or pool
    audit = pool.audit(campaign)
    adopt(database, label_studio, campaign, campaign.stamp_set, set(pool.rows.tolist()), set(audit.tolist()))
    with database.transaction() as connection:
        if not due(connection, campaign):
            return 0
        state = _read(connection, campaign)
    sets = database.stamp_sets
    chosen = _next(state, settings, sets, campaign, pool, audit)
    rows = [int(row) for row in np.concatenate([chosen.blind, chosen.best])]
    blind, stamps = set(chosen.blind.tolist()), sets.find(campaign.stamp_set)
    tasks = import_stamps(settings, label_studio, campaign, stamps, rows, blind, on_progress)
    with database.transaction() as connection:
        if tasks:
            _note(connection, campaign, tasks, chosen, state)
        if len(rows) < pool.slice:
            query(connection, "exhaust_pool", campaign=campaign.id)
    log.info("refilled", campaign=campaign.name, tasks=len(rows), policy=chosen.ranked.policy)
    return len(rows)


def _read(connection: Connection, campaign: Campaign) -> PoolState:
    version = versions.active_version(connection, campaign)
    features = FeatureStore.from_database(connection, version.encoder if version else campaign.encoder)
    taken = [
        row["stamp_id"] for row in query(connection, "tasks_of_set", campaign=campaign.id, stamp_set=campaign.stamp_set)
    ]
    answered = answered_stamps(connection, campaign)
    counts = query(connection, "task_counts", campaign=campaign.id)[0]
    return PoolState(
        np.array(taken, dtype=np.int64),
        answered,
        counts["tasks"],
        counts["audit"],
        version,
        features,
        push.labelled_stamps(connection, campaign, features),
        kind_of(campaign).sightings(connection, campaign),
        query(connection, "last_event", campaign=campaign.id)[0]["id"],
    )


def _next(
    state: PoolState, settings: Settings, sets: StampSets, campaign: Campaign, pool: TaskPool, audit: Rows
) -> Slice:
    """The next rows of the audit slice, and the best of the others that are neither tasks nor labelled."""
    number = shares(state.audit_tasks, state.tasks, pool.slice, campaign.audit_fraction)
    blind = audit[~np.isin(audit, state.taken)][:number]
    withheld = np.zeros(int(pool.rows.max(initial=0)) + 1, dtype=bool)
    for rows in (state.taken, audit, answered_rows(sets, campaign.stamp_set, state.answered)):
        withheld[rows[rows < len(withheld)]] = True
    open_rows = pool.rows[~withheld[pool.rows]]
    count, seed = pool.slice - len(blind), ranking_seed(campaign, state.last_event)
    listed, waiting = _waiting(state, Stores(campaign, state.features, sets, settings.store_folder), open_rows, count)
    ranked = rank(campaign.policy, waiting, state.compared, batch=count, seed=seed)
    best = ranked.best(count)
    chances = ranked.propensity[best] * listed.chance[best]
    return Slice(blind, listed.rows[best], ranked, ranked.worth[best], chances)


def _waiting(state: PoolState, stores: Stores, open_rows: Rows, count: int) -> tuple[Shortlist, Waiting]:
    """The rows that are judged, and what the model says of them: of all if features tell it, else of a short list."""
    campaign = stores.campaign
    stores = replace(stores, views=needed_views(campaign.policy))
    model = None if state.version is None else load_model(state.version, stores)
    shard = state.features.shard(campaign.stamp_set)
    if model is None or model.from_features is not None or model.interest is not None:
        said = (None, None, None) if model is None else (model.from_features, model.information, model.interest)
        predict, inform, rate = said
        waiting = Waiting(
            len(open_rows),
            lambda places: shard.rows(open_rows[places]),
            predict=predict,
            inform=inform,
            rate=rate,
            shows=lambda places: _show_galaxies(stores, open_rows[places]),
        )
        return Shortlist(open_rows, np.ones(len(open_rows))), waiting
    seen, seed = state.sightings, ranking_seed(campaign, state.last_event)
    known = state.features.rows(list(zip(seen.stamp_set, seen.stamp_id, strict=True)))
    listed = shortlist(shard, open_rows, known, list(seen.label), size=LOOKS * count, seed=seed)
    answers = model.answer([(campaign.stamp_set, int(row)) for row in listed.rows]) if len(listed.rows) else None
    places = np.arange(len(listed.rows))
    return listed, Waiting.answered(
        answers,
        places,
        lambda wanted: shard.rows(listed.rows[wanted]),
        lambda wanted: _show_galaxies(stores, listed.rows[wanted]),
    )


def _show_galaxies(stores: Stores, rows: Rows) -> NDArray[np.bool_]:
    return stores.sets.show_galaxies([(stores.campaign.stamp_set, int(row)) for row in rows])


def _note(connection: Connection, campaign: Campaign, tasks: list[int], chosen: Slice, state: PoolState) -> None:
    """Remember the tasks of a slice, the blind ones of which come first, and how each was chosen."""
    blind, best = chosen.blind.tolist(), chosen.best.tolist()
    remember_tasks(connection, campaign, campaign.stamp_set, tasks, [*blind, *best], set(blind))
    selection = Selection(
        source="slice",
        policy=chosen.ranked.policy,
        seed=chosen.ranked.seed,
        batch=chosen.ranked.batch,
        candidates=chosen.ranked.considered,
        last_event=state.last_event,
        version=state.version.version if state.version else None,
    )
    chances = [campaign.audit_fraction] * len(blind) + chosen.propensity.tolist()
    worths = [None] * len(blind) + chosen.worth.tolist()
    stamps = [
        Selected(
            stamp_set=campaign.stamp_set,
            stamp_id=row,
            task_id=task,
            worth=worth,
            propensity=chance,
            audit=place < len(blind),
        )
        for place, (task, row, worth, chance) in enumerate(zip(tasks, [*blind, *best], worths, chances, strict=True))
    ]
    selections.record(connection, campaign, selection, stamps, served=True)


def adopt(
    database: Database,
    label_studio: LabelStudio,
    campaign: Campaign,
    stamp_set: str,
    rows: Collection[int],
    audit: Collection[int],
) -> None:
    """Remember tasks of some rows of a set, imported by a process that was killed before it could note them."""
    newest = database.rows("newest_task", campaign=campaign.id)[0]["task_id"]
    known = {row["stamp_id"] for row in database.rows("tasks_of_set", campaign=campaign.id, stamp_set=stamp_set)}
    tasks, found = [], []
    later = [condition("id", "greater", "Number", newest)]
    for task in label_studio.data_manager(campaign.project_id, later, fields="all"):
        row = task["data"].get("stamp_id")
        if task["data"].get("stamp_set") == stamp_set and row in rows and row not in known:
            known.add(row)
            tasks.append(task["id"])
            found.append(row)
    if tasks:
        log.info("tasks adopted", campaign=campaign.name, tasks=len(tasks))
        with database.transaction() as connection:
            remember_tasks(connection, campaign, stamp_set, tasks, found, audit)
