"""Answers to Label Studio's live calls, from models and campaigns held in memory."""

import threading
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path

import structlog

from backend_ml.kinds.installed import answered_part, load_model, offered
from backend_ml.kinds.models import Model, Stamp, Stores
from backend_ml.label_studio.wire import Prediction, Task
from backend_ml.queue.tasks import named_stamp
from backend_ml.serving.shown import ShownStamps
from backend_ml.store import versions
from backend_ml.store.campaigns import campaign_of_project
from backend_ml.store.database import Database
from backend_ml.store.features import FeatureStore
from backend_ml.store.records import Campaign
from backend_ml.store.storable import INT4
from lvm_training.errors import GalaxyLoopError

log = structlog.get_logger(__name__)

AT_ONCE = 4  # tasks that are answered sooner than a thread is there that would answer them
LAST_IN_QUEUE = 1.0  # a task answered live was not ranked, so it is served behind those that were


class TaskError(GalaxyLoopError):
    """A task that does not show one of our stamps."""

    code = "foreign_task"


class ServedCampaign:
    """A campaign as it is served.

    Parameters
    ----------
    campaign : Campaign
        Whose tasks are answered.
    version : str
        Its active version.
    shown : ShownStamps
        What its tasks show.
    load : callable
        Makes that version's model; called once, when the first task is to be answered.
    """

    def __init__(self, campaign: Campaign, version: str, shown: ShownStamps, load: Callable[[], Model | None]) -> None:
        self.campaign, self.version, self.shown = campaign, version, shown
        self._load, self._lock = cache(load), threading.Lock()
        self._from_features = False

    @property
    def model(self) -> Model | None:
        """The version's model; None in a cold start."""
        # Label Studio waits three seconds for the version, and detectron2 alone takes longer to import
        with self._lock:
            model = self._load()
            self._from_features = model is not None and model.from_features is not None
            return model

    def at_hand(self, stamps: Sequence[Stamp | None]) -> bool:
        """Whether a few stamps are answered from memory, so that nothing is waited for."""
        few = 0 < len(stamps) <= AT_ONCE
        return few and self._from_features and all(stamp and self.shown.knows(stamp) for stamp in stamps)


class Predictor:
    """Campaigns and models by Label Studio project; loaded once, dropped when the campaign's promotion is announced.

    Parameters
    ----------
    database : Database
        Where they are registered.
    store : Path
        Folder of detectors and detections.
    """

    def __init__(self, database: Database, store: Path) -> None:
        self._database, self._store = database, store
        self._serving: dict[int, ServedCampaign] = {}
        self._shown: dict[int, ShownStamps] = {}
        self._lock = threading.Lock()

    def serving(self, project: int) -> ServedCampaign:
        """What is served to a project.

        Raises
        ------
        UnknownCampaignError
            If the project has no campaign.
        DatabaseError
            If it is not in memory and the database is gone.
        """
        held = self._serving.get(project)
        if held is not None:
            return held
        with self._lock:
            loaded = self._load(project)
            self._serving[project] = loaded
        return loaded

    def _load(self, project: int) -> ServedCampaign:
        with self._database.transaction() as connection:
            campaign = campaign_of_project(connection, project)
            active = versions.active_version(connection, campaign)
            features = FeatureStore.from_database(connection, campaign.encoder)
            shown = self._shown.get(campaign.id) or ShownStamps.read(connection, campaign.id)
            self._shown[campaign.id] = shown
        log.info("serving", campaign=campaign.name, version=active.version if active else None)
        if active is None:
            return ServedCampaign(campaign, f"{campaign.kind}-none", shown, lambda: None)
        stores = Stores(campaign, features, self._database.stamp_sets, self._store)
        return ServedCampaign(campaign, active.version, shown, lambda: load_model(active, stores))

    def holds(self, project: int) -> bool:
        """Whether what is served to a project is in memory."""
        return project in self._serving

    def at_hand(self, project: int, tasks: Sequence[Task]) -> bool:
        """Whether these tasks are answered from memory, in less than a millisecond."""
        held = self._serving.get(project)
        return held is not None and held.at_hand([named_stamp(task.data) for task in tasks[: AT_ONCE + 1]])

    def forget(self, campaign: int | None = None) -> None:
        """Load a campaign anew at the next call, or all: something changed in the database."""
        # under the lock: what is being read at this moment may be from before the change
        with self._lock:
            kept = {project: one for project, one in self._serving.items() if campaign not in (None, one.campaign.id)}
            self._serving = kept
            if campaign is None:
                self._shown = {}

    def versions(self) -> dict[str, str]:
        """The version in memory of each campaign that was asked for."""
        return {serving.campaign.name: serving.version for serving in self._serving.values()}

    def predict(self, project: int, label_config: str, tasks: Sequence[Task]) -> list[Prediction]:
        """One prediction a task, in order; a task that cannot be answered gets an empty result and its error.

        The audit slice is shown without an answer here as in a push, or its labels would say little of the model.

        Raises
        ------
        UnknownCampaignError, LabelConfigError
            If the whole call cannot be answered.
        DatabaseError
            If the database is gone, and the campaign or a task is not in memory.
        """
        serving = self.serving(project)
        shown_config = answered_part(serving.campaign, label_config)
        offered(serving.campaign, label_config)
        predictions = [Prediction(model_version=serving.version, score=LAST_IN_QUEUE, result=[]) for _ in tasks]
        shown: dict[int, Stamp] = {}
        model = serving.model
        adopted = self._adopted(serving.campaign, tasks)
        for i, task in enumerate(tasks):
            try:
                shown[i] = named_stamp(task.data) or _fetched(task, adopted)
                if model is not None:
                    model.check(shown[i])
            except GalaxyLoopError as error:
                log.warning(
                    "task not answered",
                    campaign=serving.campaign.name,
                    task=task.id,
                    code=error.code,
                    error=str(error),
                )
                predictions[i].error = {"code": error.code, "message": error.message, "hint": error.hint}
                shown.pop(i, None)
        if model is None or not shown:
            return predictions
        blind = serving.shown.audit(set(shown.values()), self._database)
        answered = [i for i, stamp in shown.items() if stamp not in blind]
        if answered:
            answers = model.answer([shown[i] for i in answered])
            for place, i in enumerate(answered):
                predictions[i].result = answers.result(place, shown_config)
        return predictions

    def _adopted(self, campaign: Campaign, tasks: Sequence[Task]) -> dict[int, tuple[Stamp, str]]:
        """The stamps of tasks that name none, and the addresses of the pictures that they were made of, by task."""
        asked = [task.id for task in tasks if 0 <= task.id <= INT4 and named_stamp(task.data) is None]
        rows = self._database.rows("adopted_stamps", campaign=campaign.id, tasks=asked) if asked else []
        return {row["task_id"]: ((row["stamp_set"], row["stamp_id"]), row["picture"]) for row in rows}


def _fetched(task: Task, adopted: Mapping[int, tuple[Stamp, str]]) -> Stamp:
    """The stamp of a task whose picture was fetched.

    Raises
    ------
    TaskError
        If none was, or the task shows another picture by now: ids are used again, and data can be changed.
    """
    stamp, picture = adopted.get(task.id, (None, ""))
    if stamp is None:
        raise TaskError(
            f"Task {task.id} does not name a stamp in `stamp_set` and `stamp_id`.",
            "`galaxyloop campaign adopt` fetches its picture; or add both fields to its data.",
        )
    if picture not in task.data.values():
        raise TaskError(
            f"Task {task.id} shows another picture than the one that was fetched.",
            "Import the new one as a task of its own: the labels of this one are of the former.",
        )
    return stamp
