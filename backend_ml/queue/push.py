"""The queue in Label Studio: rank the waiting tasks, push the top of the ranking, make it the served order.

Label Studio's uncertainty sampling serves the lowest `score` first among predictions whose version is exactly the
project's; so the score carries the priority, and the version is switched only when its predictions are all there.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import structlog

from backend_ml.acquisition.policy import needed_views
from backend_ml.kinds.installed import answered_part, kind_of, load_model
from backend_ml.kinds.models import Answers, Model, Stamp, Stores
from backend_ml.label_studio.client import LabelStudio
from backend_ml.label_studio.connection import LabelStudioError
from backend_ml.label_studio.predictions import PredictionRow
from backend_ml.queue import selections
from backend_ml.queue.interleave import QueuePlace, interleave
from backend_ml.queue.lock import alone
from backend_ml.queue.ranking import BATCH, Labelled, Ranked, Rows, Waiting, rank, ranking_seed
from backend_ml.queue.selections import Selected, Selection
from backend_ml.store import versions
from backend_ml.store.database import Connection, Database, query
from backend_ml.store.features import FeatureStore
from backend_ml.store.records import Campaign, ModelVersion, QueueTask
from backend_ml.store.stamps import StampSets
from lvm_training.progress import Progress

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Ranking:
    """The waiting tasks in the order in which their labels are worth most.

    Attributes
    ----------
    tasks : list of QueueTask
        The candidates.
    places : list of QueuePlace
        Their order; `QueuePlace.index` points into `tasks`.
    answers : Answers or None
        The model's to each candidate; None in a cold start.
    ranked : Ranked
        How the policy judged those that are not of the audit slice.
    """

    tasks: list[QueueTask]
    places: list[QueuePlace]
    answers: Answers | None
    ranked: Ranked


def waiting_tasks(connection: Connection, campaign: Campaign) -> list[QueueTask]:
    """Tasks with fewer labels than the campaign wants of each, in task order; a skip is no label."""
    rows = query(connection, "unlabelled_tasks", campaign=campaign.id)
    names = ("task_id", "stamp_set", "stamp_id", "audit", "disagreement")
    return [QueueTask(*(row[name] for name in names)) for row in rows]


def rank_tasks(
    campaign: Campaign,
    tasks: list[QueueTask],
    model: Model | None,
    features: FeatureStore,
    labelled: Labelled,
    last_event: int,
    sets: StampSets | None = None,
) -> Ranking:
    """Rank tasks by the campaign's policy, the audit slice between.

    Tasks whose annotators disagree come before those that the policy ranks, by the entropy of their votes. `sets` are
    looked into by a policy that asks which stamps show a galaxy.

    Raises
    ------
    GalaxyLoopError
        If a stamp has no features, or cannot be read.
    """
    stamps = [(task.stamp_set, task.stamp_id) for task in tasks]
    answers = model.answer(stamps) if model is not None and tasks else None
    audit = np.array([task.audit for task in tasks], dtype=bool)
    open_to_policy = np.flatnonzero(~audit)

    def named(places: Rows) -> list[Stamp]:
        return [stamps[i] for i in open_to_policy[places]]

    shows = None if sets is None else lambda places: sets.show_galaxies(named(places))
    waiting = Waiting.answered(answers, open_to_policy, lambda places: features.rows(named(places)), shows)
    seed = ranking_seed(campaign, last_event)
    found = rank(campaign.policy, waiting, labelled, batch=BATCH, seed=seed)
    worth, propensity = np.zeros(len(tasks)), np.ones(len(tasks))
    worth[open_to_policy], propensity[open_to_policy] = found.worth, found.propensity
    disagreement = np.array([task.disagreement for task in tasks])
    disputed = disagreement > 0
    worth[disputed] = worth.max(initial=0) + 1 + disagreement[disputed]
    propensity[disputed] = 1
    places = interleave(
        worth,
        audit,
        np.array([task.task_id for task in tasks], dtype=np.int64),
        fraction=campaign.audit_fraction,
        seed=campaign.seed,
        propensity=propensity,
    )
    return Ranking(tasks, places, answers, found)


def prediction_rows(
    ranking: Ranking, places: Sequence[QueuePlace], version: str, label_config: str
) -> list[PredictionRow]:
    """Predictions to push: the priority as score, the answer as result; audit tasks are shown without an answer.

    Raises
    ------
    LabelConfigError
        If the project's label config has no control tag for the answers.
    """
    rows = []
    for place in places:
        answers = None if place.audit else ranking.answers
        result = [] if answers is None else answers.result(place.index, label_config)
        rows.append(PredictionRow(ranking.tasks[place.index].task_id, version, place.priority, result))
    return rows


def labelled_stamps(connection: Connection, campaign: Campaign, features: FeatureStore) -> Labelled:
    """The labelled stamps a policy compares with."""
    return Labelled.read(campaign, kind_of(campaign).compared(connection, campaign), features)


@alone
def push(
    database: Database,
    label_studio: LabelStudio,
    campaign: Campaign,
    *,
    store: Path,
    top: int | None,
    on_progress: Progress | None = None,
) -> int:
    """Push the top of the ranking under the active version, and serve it; one process at a time does for a campaign.

    Parameters
    ----------
    store : Path
        Folder of detectors and detections.
    top : int or None
        How many places of the ranking to push; None pushes all.

    Returns
    -------
    int
        Number of predictions pushed.

    Raises
    ------
    LabelStudioError
        If Label Studio cannot be reached, or did not take every prediction or the version.
    """
    # read in one transaction, rank and push without any, note what is served in another
    read = _read(database, campaign)
    if read is None:
        return 0
    version, last_event, tasks, features, labelled = read
    stores = Stores(campaign, features, database.stamp_sets, store, needed_views(campaign.policy))
    model = load_model(version, stores)
    ranking = rank_tasks(campaign, tasks, model, features, labelled, last_event, database.stamp_sets)
    places = ranking.places[:top]
    if not places:
        return 0
    project = label_studio.project(campaign.project_id)
    shown = answered_part(campaign, project.label_config)
    rows = prediction_rows(ranking, places, version.version, shown)
    # logged before it is pushed: what Label Studio may have shown is never without its propensities
    with database.transaction() as connection:
        pushed = selections.record(
            connection,
            campaign,
            _selection(ranking, version, last_event),
            [_selected(ranking, place) for place in places],
            served=False,
        )
    alone_with_project = partial(database.sole, "try_lock_connection", campaign=campaign.id)
    new = label_studio.push_predictions(campaign.project_id, rows, on_progress, alone_with_project)
    _check_served(label_studio, campaign, version.version)
    with database.transaction() as connection:
        selections.mark_served(connection, pushed.id)
    log.info("pushed", campaign=campaign.name, version=version.version, predictions=len(rows), new=new)
    return len(rows)


class _Read(NamedTuple):
    """What a queue is ranked from, all of one moment."""

    version: ModelVersion
    last_event: int
    tasks: list[QueueTask]
    features: FeatureStore
    labelled: Labelled


def _read(database: Database, campaign: Campaign) -> _Read | None:
    """None where no version serves."""
    with database.transaction() as connection:
        version = versions.active_version(connection, campaign)
        if version is None:
            return None
        last_event = query(connection, "last_event", campaign=campaign.id)[0]["id"]
        tasks = waiting_tasks(connection, campaign)
        # of one moment with the version: the campaign may have been read before its encoder changed
        features = FeatureStore.from_database(connection, version.encoder)
        return _Read(version, last_event, tasks, features, labelled_stamps(connection, campaign, features))


def _selection(ranking: Ranking, version: ModelVersion, last_event: int) -> Selection:
    return Selection(
        source="push",
        policy=ranking.ranked.policy,
        seed=ranking.ranked.seed,
        batch=ranking.ranked.batch,
        candidates=len(ranking.places),
        last_event=last_event,
        version=version.version,
    )


def _selected(ranking: Ranking, place: QueuePlace) -> Selected:
    task = ranking.tasks[place.index]
    return Selected(
        stamp_set=task.stamp_set,
        stamp_id=task.stamp_id,
        task_id=task.task_id,
        priority=place.priority,
        propensity=place.propensity,
        audit=place.audit,
    )


def _check_served(label_studio: LabelStudio, campaign: Campaign, version: str) -> None:
    served = label_studio.project(campaign.project_id).model_version
    if served != version:
        raise LabelStudioError(
            f"Project {campaign.project_id} serves version {served!r} instead of {version!r}.",
            "Someone changed the project's model version; the queue is in random order until it is set again.",
        )
