"""What the routes work with."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from backend_ml.pictures.campaign_pictures import CampaignPictures
from backend_ml.pictures.restored_pictures import RestoredPictures
from backend_ml.pictures.stamp_pictures import SignedPictures
from backend_ml.serving.metrics import Metrics
from backend_ml.serving.predictor import Predictor
from backend_ml.settings import Settings
from backend_ml.store.database import Database


@dataclass(frozen=True)
class Backend:
    """What the routes work with."""

    settings: Settings
    database: Database
    predictor: Predictor
    pictures: SignedPictures
    restored: RestoredPictures
    shown: CampaignPictures
    metrics: Metrics


async def backend_of(request: Request) -> Backend:
    """The app's backend."""
    backend: Backend = request.app.state.backend
    return backend


TheBackend = Annotated[Backend, Depends(backend_of)]
