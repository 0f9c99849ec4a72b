"""The ML backend as one app over a campaign database."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from fastapi import FastAPI
from fastapi.concurrency import run_in_threadpool
from fastapi.middleware.cors import CORSMiddleware
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from backend_ml.contract.backend import Backend
from backend_ml.contract.credentials import is_known
from backend_ml.contract.neighbours import neighbour_search
from backend_ml.contract.public import public
from backend_ml.contract.routes import ml
from backend_ml.explore.routes import search_page
from backend_ml.labels.people import People
from backend_ml.pictures.campaign_pictures import CampaignPictures
from backend_ml.pictures.restored_pictures import RestoredPictures
from backend_ml.pictures.stamp_pictures import PictureCache, SignedPictures
from backend_ml.serving.admission import Admission
from backend_ml.serving.errors import RequestIds, add_error_handlers
from backend_ml.serving.headers import SafeHeaders, drawing_origins
from backend_ml.serving.listener import PromotionListener
from backend_ml.serving.metrics import CountedRequests, Metrics
from backend_ml.serving.neighbours import Neighbours
from backend_ml.serving.predictor import Predictor
from backend_ml.settings import Settings
from backend_ml.sign_in.access import Pages
from backend_ml.sign_in.routes import sign_in_page
from backend_ml.sign_in.throttle import SignInThrottle
from backend_ml.status.routes import status_page
from backend_ml.store.database import Database
from backend_ml.why.routes import WhyPages, why_pages


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
    async def lifespan(started: FastAPI) -> AsyncIterator[None]:
        await run_in_threadpool(database.open)
        with PromotionListener(database_url, swap) as listener:
            started.state.promotions = listener
            yield
        await run_in_threadpool(database.close)

    app = FastAPI(title="Galaxy Loop", lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    shown, metrics = CampaignPictures(database, settings, cache), Metrics(database)
    app.state.backend = Backend(
        settings, database, predictor, pictures, RestoredPictures(database, settings), shown, metrics
    )
    app.state.pages = Pages.over(settings, database, cache)
    app.state.people = People(settings)
    app.state.why = WhyPages.over(settings, database, cache)
    app.state.neighbours = Neighbours(database, settings)
    app.add_middleware(CORSMiddleware, allow_origin_regex=drawing_origins(settings), allow_methods=["GET"])
    add_error_handlers(app)
    app.add_middleware(Admission, check=partial(is_known, settings, SignInThrottle()))
    app.add_middleware(RequestIds)  # so far outside that it names and answers what breaks in the others too
    app.add_middleware(CountedRequests, metrics=metrics)
    app.add_middleware(SafeHeaders)
    if settings.proxies:
        app.add_middleware(ProxyHeadersMiddleware, trusted_hosts=settings.proxies)
    for router in (ml, public, search_page, why_pages, neighbour_search, sign_in_page, status_page):
        app.include_router(router)
    return app
