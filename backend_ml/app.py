"""The ML backend's HTTP interface, as Label Studio 1.23 calls it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Header, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.middleware.cors import CORSMiddleware
from pydantic import BaseModel, Field

from backend_ml import signing
from backend_ml.campaign import defer
from backend_ml.explore.access import Explore
from backend_ml.explore.routes import search_page
from backend_ml.kinds.installed import offered
from backend_ml.label_studio.wire import Prediction, PredictRequest, Setup
from backend_ml.labels import events
from backend_ml.serving.errors import RequestIds, add_error_handlers
from backend_ml.serving.listener import PromotionListener
from backend_ml.serving.neighbour_routes import neighbour_search
from backend_ml.serving.neighbours import Neighbours
from backend_ml.serving.path_ids import ROW
from backend_ml.serving.predictor import Predictor
from backend_ml.serving.stamp_pictures import PictureCache, SignedPictures
from backend_ml.settings import Settings
from backend_ml.signing import SECRET_HEADER, AccessError
from backend_ml.store.campaigns import campaign_of_project
from backend_ml.store.database import Database, DatabaseError
from backend_ml.store.storable import Id
from backend_ml.why.routes import WhyPages, why_pages


class Health(BaseModel):
    """Answer of `/health`: the fields that Label Studio shows."""

    status: str = "UP"
    model_class: str = "GalaxyLoop"


class Livez(BaseModel):
    """Answer of `/livez`: that the process runs, whether it has its database, and which versions it holds."""

    status: str = "ok"
    database: bool
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
Authorization = Annotated[str | None, Header()]


async def with_credentials(backend: TheBackend, authorization: Authorization = None) -> None:
    """Refuse a call without the backend's basic credentials."""
    if not signing.has_basic_credentials(authorization, backend.settings):
        raise AccessError(
            "User or password is wrong or missing.",
            "Label Studio sends those of its ML backend form; they must be GALAXYLOOP_BACKEND_USER and _PASSWORD.",
        )


async def with_credentials_or_secret(
    backend: TheBackend,
    authorization: Authorization = None,
    secret: Annotated[str | None, Header(alias=SECRET_HEADER)] = None,
) -> None:
    """Refuse a webhook with neither: Label Studio sends START_TRAINING with credentials, the others with headers."""
    if secret is not None and signing.has_secret(secret, backend.settings):
        return
    if authorization is None:
        raise AccessError(
            f"The header {SECRET_HEADER} is wrong or missing.",
            "`galaxyloop campaign sync` sets it on Label Studio's webhook.",
        )
    await with_credentials(backend, authorization)


ml = APIRouter(dependencies=[Depends(with_credentials)])
hooks = APIRouter(dependencies=[Depends(with_credentials_or_secret)])
public = APIRouter()


@ml.get("/health")
async def health() -> Health:
    """That the backend is up."""
    return Health()


@ml.post("/setup")
def setup(body: Setup, backend: TheBackend) -> SetupAnswer:
    """The version serving a project; called by Label Studio whenever the project's page is opened."""
    serving = backend.predictor.serving(body.project)
    offered(serving.campaign, body.label_schema)
    return SetupAnswer(model_version=serving.version)


@ml.post("/predict", response_model_exclude_none=True)
def predict(body: PredictRequest, backend: TheBackend) -> PredictAnswer:
    """Pre-annotations of tasks that have none yet."""
    return PredictAnswer(results=backend.predictor.predict(body.project, body.label_config, body.tasks))


@ml.get("/versions")
def versions(backend: TheBackend) -> Versions:
    """Every version that serves or has served; Label Studio does not say for which project it asks."""
    return Versions(versions=[row["version"] for row in backend.database.rows("all_versions")])


@hooks.post("/webhook", status_code=201)
def webhook(body: dict[str, Any], backend: TheBackend) -> Received:
    """Keep an event for the worker; answered within milliseconds, since Label Studio waits for one second only."""
    with backend.database.transaction() as connection:
        received = events.receive(connection, body)
        if received.action == "START_TRAINING":
            campaign = campaign_of_project(connection, received.project.id if received.project else None)
            defer.defer_learning(connection, campaign, asked=True)
        else:
            defer.defer_ingest(connection)
    return Received()


@public.get("/livez")
def livez(backend: TheBackend) -> Livez:
    """That the process runs; needs no credentials."""
    try:
        backend.database.rows("last_event", campaign=0)
        reachable = True
    except DatabaseError:
        reachable = False
    return Livez(database=reachable, versions=backend.predictor.versions())


@public.get(f"/stamps/{{stamp_set}}/{{stamp_id:{ROW}}}.png")
def stamp(
    stamp_set: str, stamp_id: int, campaign: Id, backend: TheBackend, key: Annotated[str, Field(max_length=64)]
) -> Response:
    """The picture of a stamp that annotators see."""
    png = backend.pictures.png(stamp_set, stamp_id, campaign, key)
    return Response(png, media_type="image/png", headers={"Cache-Control": "private, max-age=86400"})


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
    app.state.explore = Explore.over(settings, database, cache)
    app.state.why = WhyPages.over(settings, database)
    app.state.neighbours = Neighbours(database, settings)
    # pictures are signed and carry no cookies, so any page that holds a link may draw it on a canvas
    app.add_middleware(CORSMiddleware, allow_origins=["*"], allow_methods=["GET"])
    add_error_handlers(app)
    app.add_middleware(RequestIds)  # the outermost, so that it names and answers what breaks in the others too
    for router in (ml, hooks, public, search_page, why_pages, neighbour_search):
        app.include_router(router)
    return app
