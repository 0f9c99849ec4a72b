"""What Label Studio sends to an ML backend and what it expects back (measured against 1.23.2)."""

from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, field_validator

# PostgreSQL stores times that Python cannot read again
EARLIEST, LATEST = datetime(1970, 1, 1, tzinfo=UTC), datetime(9000, 1, 1, tzinfo=UTC)

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


class OfProject(Wire):
    """Body of `POST /train` and `POST /delete`: of what they say of labels nothing is read, for these are known."""

    project: int

    _number = field_validator("project", mode="before")(project_number)


class Validate(Wire):
    """Body of `POST /validate`."""

    config: str


class DuplicateModel(Wire):
    """Body of `POST /duplicate_model`."""

    project_src: int
    project_dst: int

    _number = field_validator("project_src", "project_dst", mode="before")(project_number)


class JobQuestion(Wire):
    """Body of `POST /job_status`; `job` is what the answer to START_TRAINING named."""

    job: str = Field(max_length=128)


class Task(Wire):
    """A task as Label Studio sends it; only its id and data matter here."""

    id: int
    data: dict[str, Any]


class PredictRequest(Wire):
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
    updated_at: Annotated[AwareDatetime, Field(ge=EARLIEST, le=LATEST)]
    lead_time: float | None = None
    parent_prediction: int | None = None


class Deleted(Wire):
    """All that the deletion of an annotation or a task says: of an annotation not even its task."""

    id: int


class ProjectId(Wire):
    """The project part of a webhook."""

    id: int


class Webhook(Wire):
    """Body of `POST /webhook`. Singular and plural fields both occur, by action.

    What happened to annotations and tasks is left as it came, to be read one by one: an odd one among several must not
    take the others with it.
    """

    action: str
    project: ProjectId | None = None
    annotation: Any = None
    annotations: Any = None
    tasks: Any = None

    def changed(self) -> list[Any]:
        """The annotations created or updated by this event, to be read as `Annotation`."""
        return _several(self.annotation)

    def deleted(self) -> list[Any]:
        """The annotations deleted by this event, to be read as `Deleted`."""
        return _several(self.annotations) + _several(self.annotation)

    def deleted_tasks(self) -> list[Any]:
        """The tasks deleted by this event, to be read as `Deleted`."""
        return _several(self.tasks)


def _several(value: Any) -> list[Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]
