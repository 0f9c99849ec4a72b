"""The ML backend's HTTP interface, as Label Studio 1.23 calls it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.middleware.cors import CORSMiddleware
from pydantic import BaseModel, Field
from starlette.datastructures import Headers

from backend_ml import signing
from backend_ml.campaign import defer
from backend_ml.explore.routes import search_page
from backend_ml.kinds.installed import offered
from backend_ml.label_studio.wire import Prediction, PredictRequest, Setup
from backend_ml.labels import events
from backend_ml.serving.admission import Admission
from backend_ml.serving.errors import RequestIds, add_error_handlers
from backend_ml.serving.listener import PromotionListener
from backend_ml.serving.neighbour_routes import neighbour_search
from backend_ml.serving.neighbours import Neighbours
from backend_ml.serving.path_ids import ROW
from backend_ml.serving.predictor import Predictor
from backend_ml.serving.stamp_pictures import PictureCache, SignedPictures
from backend_ml.settings import Settings
from backend_ml.sign_in.access import Pages
from backend_ml.signing import SECRET_HEADER, AccessError
from backend_ml.store.campaigns import campaign_of_project
from backend_ml.store.database import Database, DatabaseError
from backend_ml.store.storable import Id
from backend_ml.why.routes import WhyPages, why_pages


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
    """Answer of `/webhook`."""

    status: str = "ok"


@dataclass(frozen=True)
class Backend:
    """What the routes work with."""

    settings: Settings
    database: Database
    predictor: Predictor
    pictures: SignedPictures


async def backend_of(request: Request) -> Backend:
    """The app's backend."""
    backend: Backend = request.app.state.backend
    return backend


TheBackend = Annotated[Backend, Depends(backend_of)]


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


CHECKS = {
    "/health": check_credentials,
    "/setup": check_credentials,
    "/predict": check_credentials,
    "/versions": check_credentials,
    "/webhook": check_credentials_or_secret,
}
"""What each route that Label Studio calls asks for."""


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
            campaign = campaign_of_project(connection, asked.project.id if asked.project else None)
            defer.defer_learning(connection, campaign, asked=True)
        elif not received.awaited:
            defer.defer_ingest(connection)
    return Received()


def _written(answer: BaseModel, status: int = 200) -> Response:
    return Response(answer.model_dump_json(exclude_none=True), status, media_type="application/json")


@public.get("/livez")
def livez(backend: TheBackend) -> Livez:
    """That the process runs; needs no credentials."""
    try:
        backend.database.rows("last_event", campaign=0)
        reachable = True
    except DatabaseError:
        reachable = False
    return Livez(database=reachable)


@public.get(f"/stamps/{{stamp_set}}/{{stamp_id:{ROW}}}.png")
def stamp(
    stamp_set: str, stamp_id: int, campaign: Id, backend: TheBackend, key: Annotated[str, Field(max_length=64)]
) -> Response:
    """The picture of a stamp that annotators see."""
    png = backend.pictures.png(stamp_set, stamp_id, campaign, key)
    return Response(png, media_type="image/png", headers={"Cache-Control": "private, max-age=86400"})


def _known(settings: Settings, path: str, headers: Headers) -> bool:
    """Whether a path is one that Label Studio calls; an AccessError if the call is not Label Studio's."""
    check = CHECKS.get(path)
    if check is not None:
        check(headers, settings)
    return check is not None


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
    app.state.backend = Backend(settings, database, predictor, pictures)
    app.state.pages = Pages.over(settings, database, cache)
    app.state.why = WhyPages.over(settings, database)
    app.state.neighbours = Neighbours(database, settings)
    # pictures are signed and carry no cookies, so any page that holds a link may draw it on a canvas
    app.add_middleware(CORSMiddleware, allow_origins=["*"], allow_methods=["GET"])
    add_error_handlers(app)
    app.add_middleware(Admission, check=partial(_known, settings))
    app.add_middleware(RequestIds)  # the outermost, so that it names and answers what breaks in the others too
    for router in (ml, public, search_page, why_pages, neighbour_search):
        app.include_router(router)
    return app
