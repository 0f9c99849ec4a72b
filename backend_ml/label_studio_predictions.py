"""Predictions in Label Studio: what may be stored, what is superseded, and deleting that in bulk."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib.resources import files
from typing import Any, Self

import psycopg

from backend_ml.label_studio_connection import LabelStudioError
from lvm_training.errors import GalaxyLoopError

PRUNE = files("backend_ml").joinpath("sql/prune_predictions.sql").read_text()
MEMBERS = files("backend_ml").joinpath("sql/project_members.sql").read_text()


class PredictionRowError(GalaxyLoopError):
    """A prediction that Label Studio would store but stumble over later."""

    code = "bad_prediction"


@dataclass(frozen=True)
class PredictionRow:
    """A prediction to import; `score` orders the queue, lowest first."""

    task: int
    model_version: str
    score: float
    result: list[dict[str, Any]]

    def check(self) -> None:
        """Refuse what the bulk import takes but Label Studio cannot serve.

        Raises
        ------
        PredictionRowError
            For a score that is not a finite number, of the prediction or of a region, or an empty version.
        """
        scores = [self.score, *(region["score"] for region in self.result if "score" in region)]
        if not all(isinstance(score, int | float) and math.isfinite(score) for score in scores):
            raise PredictionRowError(f"Task {self.task} has a score that is not finite: {scores}.", "Drop it.")
        if not self.model_version:
            raise PredictionRowError(f"A prediction of task {self.task} has no model version.", "Give it one.")


@dataclass(frozen=True)
class StoredPrediction:
    """A prediction that Label Studio holds."""

    id: int
    task: int
    model_version: str
    score: float | None
    created_at: datetime

    @classmethod
    def from_api(cls, row: dict[str, Any]) -> Self:
        """From the JSON of Label Studio's API."""
        created = datetime.fromisoformat(row["created_at"])
        return cls(row["id"], row["task"], row["model_version"] or "", row["score"], created)


def superseded(task: dict[str, Any], keep_version: str, before: datetime) -> list[int]:
    """Ids of the predictions of a task (as the Data Manager gives it) that are no longer needed.

    Needed are the newest of `keep_version`, those made at `before` or later, and those that an annotation names as
    its parent.
    """
    parents = {annotation["parent_prediction"] for annotation in task["annotations"]}
    rows = [StoredPrediction.from_api(row) for row in task["predictions"]]
    newest = max((row.id for row in rows if row.model_version == keep_version), default=None)
    return [row.id for row in rows if row.id != newest and row.created_at < before and row.id not in parents]


def prune_in_database(url: str, project: int, tasks: Sequence[int], keep_version: str) -> int:
    """Leave one live prediction a task, in Label Studio's own database; how many rows that deleted.

    The newest row of `keep_version` goes into the oldest row that no annotation names as its parent, whose id so
    stays valid for whoever has the task open; the others are deleted. Takes milliseconds where the API takes 40 ms a
    prediction.

    Raises
    ------
    LabelStudioError
        If the database cannot be reached or is not Label Studio's.
    """
    values = {"project": project, "tasks": list(tasks), "keep_version": keep_version}
    return _ask(url, PRUNE, values)


def project_members(url: str, project: int) -> int | None:
    """How many members a project has, by Label Studio's own database, since its API does not say; None without `url`.

    Raises
    ------
    LabelStudioError
        If the database cannot be reached or is not Label Studio's.
    """
    return _ask(url, MEMBERS, {"project": project}) if url else None


def _ask(url: str, text: str, values: dict[str, Any]) -> int:
    """The first number that a statement gives."""
    try:
        with psycopg.connect(url, connect_timeout=5) as connection:
            row = connection.execute(text, values).fetchone()
    except (psycopg.OperationalError, psycopg.ProgrammingError) as error:
        raise LabelStudioError(
            f"Label Studio's database refused: {error}",
            "Check GALAXYLOOP_LABEL_STUDIO_DATABASE_URL, or leave it unset to use the API.",
        ) from error
    return int(row[0]) if row else 0
