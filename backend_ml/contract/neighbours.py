"""Routes of the nearest neighbours, behind the backend's basic credentials."""

from typing import Annotated

from fastapi import APIRouter, Depends, Header, Query, Request
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel

from backend_ml import signing
from backend_ml.serving.admission import ID, ROW
from backend_ml.serving.neighbours import Neighbour, Neighbours
from backend_ml.serving.uploads import read_upload
from backend_ml.signing import AccessError
from backend_ml.store.campaigns import open_campaign
from backend_ml.store.records import Campaign, UnknownCampaignError

CAMPAIGN = f"/neighbours/{{campaign:{ID}}}"
Count = Annotated[int, Query(ge=1, le=1000)]
Scale = Annotated[float | None, Query(gt=0, le=60, allow_inf_nan=False)]


class Found(BaseModel):
    """Answer of `/neighbours`: the most similar first."""

    neighbours: list[Neighbour]


async def neighbours_of(request: Request) -> Neighbours:
    """The app's searcher of neighbours."""
    found: Neighbours = request.app.state.neighbours
    return found


TheNeighbours = Annotated[Neighbours, Depends(neighbours_of)]


def allowed(
    campaign: int, neighbours: TheNeighbours, authorization: Annotated[str | None, Header()] = None
) -> Campaign:
    """The open campaign that a program with the backend's basic credentials asks for."""
    if not signing.has_basic_credentials(authorization, neighbours.settings):
        raise AccessError(
            "User or password is wrong or missing.",
            "Send GALAXYLOOP_BACKEND_USER and _PASSWORD as basic credentials.",
        )
    found = open_campaign(neighbours.database, campaign)
    if found is None:
        raise UnknownCampaignError(f"There is no open campaign {campaign}.", "See `galaxyloop campaign list`.")
    return found


AllowedCampaign = Annotated[Campaign, Depends(allowed)]
neighbour_search = APIRouter()


@neighbour_search.get(f"{CAMPAIGN}/{{stamp_set}}/{{stamp_id:{ROW}}}")
def of_stamp(stamp_set: str, stamp_id: int, found: AllowedCampaign, neighbours: TheNeighbours, k: Count = 20) -> Found:
    """The stamps most similar to one of the campaign's."""
    return Found(neighbours=neighbours.like_stamp(found, stamp_set, stamp_id, k))


@neighbour_search.post(CAMPAIGN)
async def of_image(
    request: Request, found: AllowedCampaign, neighbours: TheNeighbours, k: Count = 20, pixel_scale: Scale = None
) -> Found:
    """The stamps most similar to the JPEG, PNG or FITS image that is the request's body."""
    content = await read_upload(request)
    return Found(neighbours=await run_in_threadpool(neighbours.like_image, found, content, k, pixel_scale))
