"""Every call of Label Studio 1.23 to an ML backend, and the metrics."""

from typing import Any

from fastapi import APIRouter, Depends, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import PlainTextResponse
from pydantic import BaseModel

from backend_ml.adoption.questions import find_question
from backend_ml.campaign import defer
from backend_ml.contract.backend import Backend, TheBackend
from backend_ml.contract.credentials import with_credentials
from backend_ml.kinds.installed import offered
from backend_ml.label_studio.wire import (
    DuplicateModel,
    JobQuestion,
    OfProject,
    Prediction,
    PredictRequest,
    Setup,
    Validate,
)
from backend_ml.labels import events
from backend_ml.serving.metrics import CONTENT_TYPE
from backend_ml.store.campaigns import campaign_of_project
from backend_ml.store.database import Connection
from lvm_training.errors import GalaxyLoopError


class Health(BaseModel):
    """Answer of `/health`: the fields that Label Studio shows, and which version each campaign has here."""

    status: str = "UP"
    model_class: str = "GalaxyLoop"
    versions: dict[str, str]


class SetupAnswer(BaseModel):
    """Answer of `/setup`."""

    model_version: str


class PredictAnswer(BaseModel):
    """Answer of `/predict`: one prediction a task, in the order of the tasks."""

    results: list[Prediction]


class Versions(BaseModel):
    """Answer of `/versions`."""

    versions: list[str]


class Received(BaseModel):
    """Answer of `/webhook`, `/train`, `/validate` and `/delete`; `job` is that of a training that was asked for."""

    status: str = "ok"
    job: str | None = None


class JobState(BaseModel):
    """Answer of `/job_status`: "queued", "started" or "failed"; a job that is done is gone, and answered with 410."""

    job_status: str


LEARNING = "learn-"
"""What jobs of learning are called by, before their number."""
LONGEST_JOB = 18  # digits
JOB_STATES = {"todo": "queued", "doing": "started"}


class GoneError(GalaxyLoopError):
    """A job that is done, and is not kept."""

    code = "gone"


class NotCopiedError(GalaxyLoopError):
    """A model that another project cannot have."""

    code = "not_copied"


ml = APIRouter(dependencies=[Depends(with_credentials)])


@ml.get("/health")
async def health(backend: TheBackend) -> Health:
    """That the backend is up, and the versions it holds."""
    return Health(versions=backend.predictor.versions())


# These answer what is written already: FastAPI takes a second thread for the answer of a plain function. Each change of
# threads costs more than a head, and several times that on a busy machine, so what is in memory is answered without.


@ml.post("/setup", response_model=SetupAnswer)
async def setup(body: Setup, backend: TheBackend) -> Response:
    """The version serving a project; called by Label Studio whenever the project's page is opened."""
    if backend.predictor.holds(body.project):
        return _written(_setup(body, backend))
    return _written(await run_in_threadpool(_setup, body, backend))


def _setup(body: Setup, backend: Backend) -> SetupAnswer:
    serving = backend.predictor.serving(body.project)
    offered(serving.campaign, body.label_schema)
    return SetupAnswer(model_version=serving.version)


@ml.post("/predict", response_model=PredictAnswer, response_model_exclude_none=True)
async def predict(body: PredictRequest, backend: TheBackend) -> Response:
    """Pre-annotations of tasks that have none yet."""
    if backend.predictor.at_hand(body.project, body.tasks):
        return _written(_predict(body, backend))
    return _written(await run_in_threadpool(_predict, body, backend))


def _predict(body: PredictRequest, backend: Backend) -> PredictAnswer:
    return PredictAnswer(results=backend.predictor.predict(body.project, body.label_config, body.tasks))


@ml.get("/versions")
def versions(backend: TheBackend) -> Versions:
    """Every version that serves or has served; Label Studio does not say for which project it asks."""
    return Versions(versions=[row["version"] for row in backend.database.rows("all_versions")])


@ml.post("/webhook", status_code=201, response_model=Received)
async def webhook(body: dict[str, Any], backend: TheBackend) -> Response:
    """Keep an event for the worker; answered within milliseconds, since Label Studio waits for one second only."""
    return _written(await run_in_threadpool(_keep, body, backend), 201)


def _keep(body: dict[str, Any], backend: Backend) -> Received:
    with backend.database.statements() as connection:
        asked = events.receive(connection, body)
    if asked.action != "START_TRAINING":
        return Received()
    with backend.database.transaction() as connection:
        return Received(job=_begin_learning(connection, asked.project.id if asked.project else None))


def _begin_learning(connection: Connection, project: int | None) -> str:
    """Have a worker learn a project's labels; how the job is called."""
    campaign = campaign_of_project(connection, project)
    return f"{LEARNING}{defer.defer_learning(connection, campaign, asked=True)}"


@ml.post("/train", status_code=201)
def train(body: OfProject, backend: TheBackend) -> Received:
    """Learn now; Label Studio 1.23 sends START_TRAINING to `/webhook` instead, unless a flag of it is off."""
    with backend.database.transaction() as connection:
        return Received(job=_begin_learning(connection, body.project))


@ml.post("/job_status")
def job_status(body: JobQuestion, backend: TheBackend) -> JobState:
    """How a training stands that was asked for."""
    number = body.job.removeprefix(LEARNING)
    known = body.job.startswith(LEARNING) and number.isascii() and number.isdecimal() and len(number) < LONGEST_JOB
    found = backend.database.rows("learning_job", job=int(number)) if known else []
    if not found:
        raise GoneError(
            f"There is no job {body.job[:40]!r}.", "It is done: `galaxyloop campaign status` says what came of it."
        )
    return JobState(job_status=JOB_STATES.get(found[0]["status"], "failed"))


@ml.post("/validate")
def validate(body: Validate) -> Received:
    """Whether some kind of campaign answers a label config."""
    find_question(body.config, detector=True)
    return Received()


@ml.post("/delete")
def delete(body: OfProject, backend: TheBackend) -> Received:
    """That a project is disconnected: nothing is deleted, since its labels and versions are its campaign's."""
    backend.predictor.forget(backend.predictor.serving(body.project).campaign.id)
    return Received()


@ml.post("/duplicate_model")
def duplicate_model(body: DuplicateModel, backend: TheBackend) -> Received:
    """Refused: a model belongs to the labels that it learned."""
    backend.predictor.serving(body.project_src)
    raise NotCopiedError(
        f"The model of project {body.project_src} is that of its own labels, and is not copied to {body.project_dst}.",
        "`galaxyloop campaign export` writes these labels; `galaxyloop campaign create --labels` begins with them.",
    )


def _written(answer: BaseModel, status: int = 200) -> Response:
    return Response(answer.model_dump_json(exclude_none=True), status, media_type="application/json")


@ml.get("/metrics", response_class=PlainTextResponse)
async def metrics(backend: TheBackend) -> Response:
    """Figures of the whole installation for Prometheus."""
    return Response(await run_in_threadpool(backend.metrics.text), media_type=CONTENT_TYPE)
