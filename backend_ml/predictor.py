"""Answers to Label Studio's live calls, from heads and campaigns held in memory."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import structlog
from numpy.typing import NDArray

from backend_ml import events, registry
from backend_ml.database import Database
from backend_ml.feature_store import FeatureStore
from backend_ml.records import Campaign
from backend_ml.regions import choice_result, find_choices
from backend_ml.wire import Prediction, Task
from lvm_training.errors import GalaxyLoopError
from lvm_training.model.classification import ClassificationHead

log = structlog.get_logger(__name__)

LAST_IN_QUEUE = 1.0  # a task answered live was not ranked, so it is served behind those that were


class TaskError(GalaxyLoopError):
    """A task that does not show one of our stamps."""

    code = "foreign_task"


@dataclass(frozen=True)
class Serving:
    """A campaign as it is served: its active version and that version's head (None in a cold start)."""

    campaign: Campaign
    version: str
    head: ClassificationHead | None
    features: FeatureStore


class Predictor:
    """Campaigns and heads by Label Studio project; loaded once, dropped when a promotion is announced."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._serving: dict[int, Serving] = {}
        self._lock = threading.Lock()

    def serving(self, project: int) -> Serving:
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

    def _load(self, project: int) -> Serving:
        with self._database.transaction() as connection:
            campaign = events.campaign_of_project(connection, project)
            active = registry.active_version(connection, campaign)
            features = FeatureStore.from_database(connection, campaign.encoder)
        weights = active.weights if active else None
        head = None if weights is None else ClassificationHead.load(weights)
        log.info("serving", campaign=campaign.name, version=active.version if active else None)
        return Serving(campaign, active.version if active else f"{campaign.head}-none", head, features)

    def forget(self) -> None:
        """Load everything anew at the next call: something changed in the database."""
        self._serving.clear()

    def versions(self) -> dict[str, str]:
        """The version in memory of each campaign that was asked for."""
        return {serving.campaign.name: serving.version for serving in self._serving.values()}

    def predict(self, project: int, label_config: str, tasks: Sequence[Task]) -> list[Prediction]:
        """One prediction a task, in order; a task that cannot be answered gets an empty result and its error.

        Raises
        ------
        UnknownCampaignError, LabelConfigError
            If the whole call cannot be answered.
        """
        serving = self.serving(project)
        control = find_choices(label_config)
        predictions = [Prediction(model_version=serving.version, score=LAST_IN_QUEUE, result=[]) for _ in tasks]
        located: dict[int, NDArray[np.float32]] = {}
        for i, task in enumerate(tasks):
            try:
                located[i] = serving.features.rows([stamp_of(task)])
            except GalaxyLoopError as error:
                log.warning("task not answered", task=task.id, code=error.code, error=str(error))
                predictions[i].error = {"code": error.code, "message": error.message, "hint": error.hint}
        if serving.head is not None and located:
            probabilities = serving.head.predict(np.concatenate(list(located.values())))
            for i, row in zip(located, probabilities, strict=True):
                predictions[i].result = choice_result(control, serving.head.classes, row)
        return predictions


def stamp_of(task: Task) -> tuple[str, int]:
    """The stamp set and row that a task shows.

    Raises
    ------
    TaskError
        If its data do not name one.
    """
    try:
        return str(task.data["stamp_set"]), int(task.data["stamp_id"])
    except (KeyError, TypeError, ValueError) as error:
        raise TaskError(
            f"Task {task.id} does not name a stamp in `stamp_set` and `stamp_id`.",
            "Import tasks with `galaxyloop campaign create`, or add both fields to their data.",
        ) from error
