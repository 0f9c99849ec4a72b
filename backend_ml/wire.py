"""What Label Studio sends to an ML backend and what it expects back (measured against 1.23.2)."""

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

LONGEST_NUMBER = 10  # digits of an integer of PostgreSQL's


class Wire(BaseModel):
    """Base of the wire models: unknown fields are ignored, since Label Studio adds some with each version."""

    model_config = ConfigDict(extra="ignore")


def project_number(value: object) -> int:
    """The project id in `"<id>.<created at>"`, which is how Label Studio names projects to a backend."""
    number = str(value).partition(".")[0]
    if len(number) > LONGEST_NUMBER:
        raise ValueError("it is no project's number")
    return int(number)


class Setup(Wire):
    """Body of `POST /setup`; `label_schema` is the project's label config."""

    project: int
    label_schema: str = Field(alias="schema")

    _number = field_validator("project", mode="before")(project_number)


class Task(Wire):
    """A task as Label Studio sends it; only its id and data matter here."""

    id: int
    data: dict[str, Any]


class Predict(Wire):
    """Body of `POST /predict`."""

    tasks: list[Task]
    project: int
    label_config: str

    _number = field_validator("project", mode="before")(project_number)


class Prediction(Wire):
    """One prediction; `score` is the queue priority, the region's own score the probability."""

    model_version: str
    score: float = Field(allow_inf_nan=False)
    result: list[dict[str, Any]]
    error: dict[str, str] | None = None


class Annotation(Wire):
    """An annotation as webhooks and the API give it."""

    id: int
    task: int
    result: list[dict[str, Any]] = []
    was_cancelled: bool = False
    completed_by: int | None = None
    updated_at: datetime
    lead_time: float | None = None
    parent_prediction: int | None = None


class AnnotationId(Wire):
    """All that a deletion says: not even the task."""

    id: int


class ProjectId(Wire):
    """The project part of a webhook."""

    id: int


class Webhook(Wire):
    """Body of `POST /webhook`. Singular and plural fields both occur, by action."""

    action: str
    project: ProjectId | None = None
    annotation: Annotation | list[Annotation] | None = None
    annotations: list[AnnotationId] = []
    tasks: list[AnnotationId] = []

    def changed(self) -> list[Annotation]:
        """The annotations created or updated by this event."""
        if self.annotation is None:
            return []
        return self.annotation if isinstance(self.annotation, list) else [self.annotation]
