"""Predictions in Label Studio: what may be stored, and which rows new ones are written into.

A prediction's id never vanishes: Label Studio refuses a Submit whose parent prediction is gone, and nobody knows who
has a task open. So what is new is written into rows that are there, and only tasks without such a row get one more.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Self

import psycopg

from backend_ml.label_studio.connection import LabelStudioError
from lvm_training.errors import GalaxyLoopError

VACANT = files("backend_ml.label_studio").joinpath("sql/vacant_tasks.sql").read_text()
WRITE = files("backend_ml.label_studio").joinpath("sql/write_predictions.sql").read_text()
MEMBERS = files("backend_ml.label_studio").joinpath("sql/project_members.sql").read_text()
RIGHTS = files("backend_ml.label_studio").joinpath("sql/missing_rights.sql").read_text()
COUNTED = files("backend_ml.label_studio").joinpath("sql/rows_of_version.sql").read_text()


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

    @classmethod
    def from_api(cls, row: dict[str, Any]) -> Self:
        """From the JSON of Label Studio's API."""
        return cls(row["id"], row["task"], row["model_version"] or "", row["score"])


def spare_version(version: str) -> str:
    """What a row of a version is called that waits to be written into: of the kind alone, so that nobody else's is."""
    return f"{prefix}-spare" if (prefix := version.rpartition("-")[0]) else ""


def rewritten(task: dict[str, Any], new: PredictionRow, served: str) -> dict[int, dict[str, Any]]:
    """What to write into which of a task's predictions over the API, by id; empty if the task needs one more.

    As `sql/write_predictions.sql` does: written into are those of the new version, or else the oldest of ours that is
    not of the version which is served until the new one is. Ours are those whose versions begin with the same kind:
    predictions of others stay as they are. So the order stays whole meanwhile, and a task has two rows of ours besides
    those that annotations name. What an annotation names says what its annotator saw: it keeps its answer. Of several
    rows of the new version that none names one is left to it.

    Parameters
    ----------
    task : dict
        As the Data Manager gives it, with annotations and predictions.
    served : str
        The version that the project serves now.
    """
    named = {annotation["parent_prediction"] for annotation in task["annotations"]}
    rows = sorted(map(StoredPrediction.from_api, task["predictions"]), key=lambda row: row.id)
    place = {"score": new.score}
    whole = {**place, "model_version": new.model_version, "result": new.result}
    same = [row.id for row in rows if row.model_version == new.model_version]
    if same:
        kept = [row for row in same if row in named] or same[:1]
        left: dict[str, Any] = {"model_version": spare_version(new.model_version)}
        spare = {row: left for row in same if row not in kept}
        return spare | {row: place if row in named else whole for row in kept}
    ours = new.model_version.rpartition("-")[0]
    idle = [
        row.id
        for row in rows
        if row.id not in named and row.model_version != served and row.model_version.rpartition("-")[0] == ours
    ]
    return dict.fromkeys(idle[:1], whole)


def vacant_tasks(url: str, project: int, rows: Sequence[PredictionRow]) -> set[int]:
    """The tasks of predictions, all of one version, that have no row which `write_in_database` would write into.

    Raises
    ------
    LabelStudioError
        If the database cannot be reached or is not Label Studio's.
    """
    values = {"project": project, "tasks": [row.task for row in rows], "version": rows[0].model_version}
    return {task for (task,) in _ask(url, VACANT, values)}


def write_in_database(url: str, project: int, rows: Sequence[PredictionRow]) -> None:
    """Write predictions, all of one version, into the rows that are there, and serve that version.

    One statement in Label Studio's own database: milliseconds, where the API takes tens of them a prediction. A task
    that was annotated since `vacant_tasks` looked may have no row left to write into, and needs none.

    Raises
    ------
    LabelStudioError
        If the database cannot be reached or is not Label Studio's.
    """
    new = [{"task": row.task, "score": row.score, "result": row.result} for row in rows]
    version = rows[0].model_version
    values = {"project": project, "rows": json.dumps(new, allow_nan=False), "version": version}
    values["spare"] = spare_version(version)
    _ask(url, WRITE, values)


def project_members(url: str, project: int) -> int | None:
    """How many members a project has, by Label Studio's own database, since its API does not say; None without `url`.

    Raises
    ------
    LabelStudioError
        If the database cannot be reached or is not Label Studio's.
    """
    return int(_ask(url, MEMBERS, {"project": project})[0][0]) if url else None


def missing_rights(url: str) -> tuple[list[str], str]:
    """The tables of Label Studio's database that its role may not use as this module does, and the role's name.

    Raises
    ------
    LabelStudioError
        If the database cannot be reached.
    """
    rows = _ask(url, RIGHTS, {})
    return [table for table, _ in rows], str(rows[0][1]) if rows else ""


def rows_of_version(url: str, project: int, tasks: Sequence[int], version: str) -> dict[int, int]:
    """How many predictions of a version each of some tasks has, by Label Studio's own database.

    Raises
    ------
    LabelStudioError
        If the database cannot be reached or is not Label Studio's.
    """
    return dict(_ask(url, COUNTED, {"project": project, "tasks": list(tasks), "version": version}))


def _ask(url: str, text: str, values: dict[str, Any]) -> list[tuple[Any, ...]]:
    try:
        with psycopg.connect(url, connect_timeout=5) as connection:
            cursor = connection.execute(text, values)
            return cursor.fetchall() if cursor.description else []
    except (psycopg.OperationalError, psycopg.ProgrammingError) as error:
        raise LabelStudioError(
            f"Label Studio's database refused: {error}",
            "Check GALAXYLOOP_LABEL_STUDIO_DATABASE_URL, or leave it unset to use the API.",
        ) from error
