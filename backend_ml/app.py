"""The ML backend's HTTP interface, as Label Studio 1.23 calls it."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Cookie, Depends, FastAPI, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import PlainTextResponse
from pydantic import BaseModel, Field
from starlette.datastructures import Headers
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from backend_ml import signing
from backend_ml.adoption.questions import find_question
from backend_ml.campaign import defer
from backend_ml.explore.routes import search_page
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
from backend_ml.labels.people import People
from backend_ml.serving.admission import Admission
from backend_ml.serving.campaign_pictures import CampaignPictures
from backend_ml.serving.errors import RequestIds, add_error_handlers
from backend_ml.serving.headers import SafeHeaders, drawing_origins
from backend_ml.serving.listener import PromotionListener
from backend_ml.serving.metrics import CONTENT_TYPE, CountedRequests, Metrics
from backend_ml.serving.neighbour_routes import neighbour_search
from backend_ml.serving.neighbours import Neighbours
from backend_ml.serving.path_ids import ID, ROW
from backend_ml.serving.predictor import Predictor
from backend_ml.serving.stamp_pictures import PictureCache, SignedPictures
from backend_ml.settings import Settings
from backend_ml.sign_in.access import Pages, ThePages
from backend_ml.sign_in.routes import sign_in_page
from backend_ml.sign_in.sessions import COOKIE, SignInError
from backend_ml.sign_in.throttle import SignInThrottle, address_of
from backend_ml.signing import SECRET_HEADER, AccessError
from backend_ml.status.routes import status_page
from backend_ml.store.campaigns import campaign_of_project
from backend_ml.store.database import Connection, Database, DatabaseError
from backend_ml.store.storable import Id, Text
from backend_ml.why.routes import WhyPages, why_pages
from lvm_training.errors import GalaxyLoopError


class Health(BaseModel):
    """Answer of `/health`: the fields that Label Studio shows, and which version each campaign has here."""

    status: str = "UP"
    model_class: str = "GalaxyLoop"
    versions: dict[str, str]


class Livez(BaseModel):
    """Answer of `/livez`: that the process runs, and whether it has its database; anybody may read it."""

    status: str = "ok"
    database: bool


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


@dataclass(frozen=True)
class Backend:
    """What the routes work with."""

    settings: Settings
    database: Database
    predictor: Predictor
    pictures: SignedPictures
    shown: CampaignPictures
    metrics: Metrics


async def backend_of(request: Request) -> Backend:
    """The app's backend."""
    backend: Backend = request.app.state.backend
    return backend


TheBackend = Annotated[Backend, Depends(backend_of)]
Key = Annotated[str, Field(max_length=64)]
ClassName = Annotated[Text, Field(max_length=200)]


def check_credentials(headers: Headers, settings: Settings) -> None:
    """Raise an AccessError unless a call has the backend's basic credentials."""
    if not signing.has_basic_credentials(headers.get("Authorization"), settings):
        raise AccessError(
            "User or password is wrong or missing.",
            "Label Studio sends those of its ML backend form; they must be GALAXYLOOP_BACKEND_USER and _PASSWORD.",
        )


def check_credentials_or_secret(headers: Headers, settings: Settings) -> None:
    """Raise an AccessError if a webhook has neither: START_TRAINING comes with credentials, others with a secret."""
    secret = headers.get(SECRET_HEADER)
    if secret is not None and signing.has_secret(secret, settings):
        return
    if "Authorization" not in headers:
        raise AccessError(
            f"The header {SECRET_HEADER} is wrong or missing.",
            "`galaxyloop campaign sync` sets it on Label Studio's webhook.",
        )
    check_credentials(headers, settings)


def check_credentials_or_token(headers: Headers, settings: Settings) -> None:
    """Raise an AccessError if a look at the metrics has neither the credentials nor the token for metrics alone."""
    if not signing.has_metrics_token(headers.get("Authorization"), settings):
        check_credentials(headers, settings)


CHECKS = {
    "/health": check_credentials,
    "/setup": check_credentials,
    "/predict": check_credentials,
    "/versions": check_credentials,
    "/train": check_credentials,
    "/job_status": check_credentials,
    "/validate": check_credentials,
    "/delete": check_credentials,
    "/duplicate_model": check_credentials,
    "/webhook": check_credentials_or_secret,
    "/metrics": check_credentials_or_token,
}
"""What each route that programs call asks for."""


async def with_credentials(request: Request, backend: TheBackend) -> None:
    """Refuse a call of one of these routes without; `Admission` has asked before, but a route must not hang on it."""
    CHECKS[request.scope["route"].path](request.headers, backend.settings)


ml = APIRouter(dependencies=[Depends(with_credentials)])
public = APIRouter()


@ml.get("/health")
async def health(backend: TheBackend) -> Health:
    """That the backend is up, and the versions it holds."""
    return Health(versions=backend.predictor.versions())


# These hand their work to one thread and answer what is written already: FastAPI takes a second thread for the answer
# of a plain function, and each change of threads costs more than a head.


@ml.post("/setup", response_model=SetupAnswer)
async def setup(body: Setup, backend: TheBackend) -> Response:
    """The version serving a project; called by Label Studio whenever the project's page is opened."""
    return _written(await run_in_threadpool(_setup, body, backend))


def _setup(body: Setup, backend: Backend) -> SetupAnswer:
    serving = backend.predictor.serving(body.project)
    offered(serving.campaign, body.label_schema)
    return SetupAnswer(model_version=serving.version)


@ml.post("/predict", response_model=PredictAnswer, response_model_exclude_none=True)
async def predict(body: PredictRequest, backend: TheBackend) -> Response:
    """Pre-annotations of tasks that have none yet."""
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
    with backend.database.transaction() as connection:
        received = events.receive(connection, body)
        asked = received.webhook
        if asked.action == "START_TRAINING":
            return Received(job=_begin_learning(connection, asked.project.id if asked.project else None))
        if not received.awaited:
            defer.defer_ingest(connection)
    return Received()


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
    find_question(body.config)
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


@public.get("/livez")
def livez(backend: TheBackend) -> Livez:
    """That the process runs; needs no credentials."""
    try:
        backend.database.rows("last_event", campaign=0)
        reachable = True
    except DatabaseError:
        reachable = False
    return Livez(database=reachable)


async def looker(pages: ThePages, cookie: Annotated[str | None, Cookie(alias=COOKIE)] = None) -> Callable[[], bool]:
    """Tells, where that matters, whether who looks at a picture is signed in."""

    def signed_in() -> bool:
        try:
            pages.sessions.read(cookie)
        except SignInError:
            return False
        return True

    return signed_in


TheLooker = Annotated[Callable[[], bool], Depends(looker)]


@public.get(f"/stamps/{{stamp_set}}/{{stamp_id:{ROW}}}.jpg")
def stamp(stamp_set: str, stamp_id: int, campaign: Id, backend: TheBackend, key: Key, looks: TheLooker) -> Response:
    """The picture of a stamp that annotators see."""
    found = backend.pictures.file(stamp_set, stamp_id, campaign, key, looks)
    return Response(found, media_type="image/jpeg", headers={"Cache-Control": "private, max-age=86400"})


@public.get(f"/stamps/{{stamp_set}}/{{stamp_id:{ROW}}}.png")
def stamp_as_png(
    stamp_set: str, stamp_id: int, campaign: Id, backend: TheBackend, key: Key, looks: TheLooker
) -> Response:
    """The same as PNG: tasks that were imported by earlier versions name it."""
    found = backend.pictures.file(stamp_set, stamp_id, campaign, key, looks, "png")
    return Response(found, media_type="image/png", headers={"Cache-Control": "private, max-age=86400"})


@public.get(f"/examples/{{campaign:{ID}}}/{{number:{ID}}}.jpg")
def example(campaign: int, number: int, name: ClassName, backend: TheBackend, key: Key) -> Response:
    """An example of a class, for the instruction."""
    found = backend.shown.example(campaign, name, number, key)
    return Response(found, media_type="image/jpeg", headers={"Cache-Control": "private, max-age=600"})


@public.get(f"/progress/{{campaign:{ID}}}.svg")
def progress(campaign: int, backend: TheBackend, key: Key) -> Response:
    """How many of a campaign's tasks are labelled."""
    svg = backend.shown.progress(campaign, key)
    return Response(svg, media_type="image/svg+xml", headers={"Cache-Control": "no-store"})


def _known(settings: Settings, throttle: SignInThrottle, path: str, request: Request) -> bool:
    """Whether a path is one that programs call; an AccessError if the call has not their credentials."""
    check = CHECKS.get(path) or (check_credentials if path.startswith("/neighbours/") else None)
    if check is None:
        return False
    given = [request.headers.get(name, "") for name in ("Authorization", SECRET_HEADER)]
    if not any(given):
        check(request.headers, settings)  # refuses it; nothing was guessed
    # what people try at their pages is counted apart, so that they and Label Studio do not shut each other out
    with throttle.attempt(f"{address_of(request)} {path == '/webhook'}", guess="\n".join(given)):
        check(request.headers, settings)
    return True


def create_app(settings: Settings, database_url: str) -> FastAPI:
    """The backend over a campaign database.

    Parameters
    ----------
    settings : Settings
        Needs `secret` and `backend_password`.
    database_url : str
        libpq connection string.

    Raises
    ------
    SettingsError
        If a secret is missing.
    """
    settings.require("secret", "backend_password")
    database = Database(database_url)
    cache = PictureCache(database)
    predictor, pictures = Predictor(database, settings.store_folder), SignedPictures(database, settings, cache)

    def swap(campaign: int | None) -> None:
        predictor.forget(campaign)
        pictures.forget(campaign)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await run_in_threadpool(database.open)
        with PromotionListener(database_url, swap):
            yield
        await run_in_threadpool(database.close)

    app = FastAPI(title="Galaxy Loop", lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    shown, metrics = CampaignPictures(database, settings, cache), Metrics(database)
    app.state.backend = Backend(settings, database, predictor, pictures, shown, metrics)
    app.state.pages = Pages.over(settings, database, cache)
    app.state.people = People(settings)
    app.state.why = WhyPages.over(settings, database)
    app.state.neighbours = Neighbours(database, settings)
    app.add_middleware(CORSMiddleware, allow_origin_regex=drawing_origins(settings), allow_methods=["GET"])
    add_error_handlers(app)
    app.add_middleware(Admission, check=partial(_known, settings, SignInThrottle()))
    app.add_middleware(RequestIds)  # so far outside that it names and answers what breaks in the others too
    app.add_middleware(CountedRequests, metrics=metrics)
    app.add_middleware(SafeHeaders)
    if settings.proxies:
        app.add_middleware(ProxyHeadersMiddleware, trusted_hosts=settings.proxies)
    for router in (ml, public, search_page, why_pages, neighbour_search, sign_in_page, status_page):
        app.include_router(router)
    return app
