"""Routes of "Why is this here?": a page, the same as JSON, and the heat map, behind signed links."""

from dataclasses import dataclass
from typing import Annotated
from urllib.parse import quote, urlsplit

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import HTMLResponse
from pydantic import Field

from backend_ml import signing
from backend_ml.pictures.stamp_pictures import PictureCache
from backend_ml.serving.admission import ID, ROW
from backend_ml.settings import Settings
from backend_ml.signing import AccessError
from backend_ml.store.campaigns import campaign_of_id
from backend_ml.store.database import Database
from backend_ml.store.records import Campaign
from backend_ml.why.explanation import Explainer, Why
from backend_ml.why.heat import HeatMaps
from backend_ml.why.page import page_file, why_page

STAMP = f"/why/{{campaign:{ID}}}/{{stamp_set}}/{{stamp_id:{ROW}}}"
Key = Annotated[str, Field(max_length=64)]
PRIVATE = {"Cache-Control": "private, no-store", "Referrer-Policy": "no-referrer", "X-Content-Type-Options": "nosniff"}


@dataclass(frozen=True)
class WhyPages:
    """What the routes of "Why is this here?" work with."""

    settings: Settings
    database: Database
    pictures: PictureCache
    explainer: Explainer
    maps: HeatMaps

    @classmethod
    def over(cls, settings: Settings, database: Database, pictures: PictureCache) -> "WhyPages":
        """The pages of a campaign database."""
        return cls(settings, database, pictures, Explainer(database, settings), HeatMaps(database, settings))

    @property
    def base(self) -> str:
        """Where browsers reach the backend, without a slash at the end."""
        return self.settings.public_url.rstrip("/")


async def pages_of(request: Request) -> WhyPages:
    """The app's pages."""
    pages: WhyPages = request.app.state.why
    return pages


ThePages = Annotated[WhyPages, Depends(pages_of)]


def signed(campaign: int, stamp_set: str, stamp_id: int, key: Key, pages: ThePages) -> Campaign:
    """The open campaign of a signed link.

    Raises
    ------
    AccessError
        If the key does not sign the stamp for the campaign, or the campaign is closed.
    """
    with pages.database.transaction() as connection:
        found = campaign_of_id(connection, campaign)
    links = None if found is None else found.links
    if found is None or not signing.has_link_key(key, "why", stamp_set, stamp_id, links, pages.settings):
        raise AccessError(
            "This link is not signed for this galaxy, or was rotated.", "Open it from the task in Label Studio."
        )
    if found.is_closed:
        raise AccessError("The campaign of this galaxy is closed.", "Ask whoever runs it to open a new one.")
    return found


SignedCampaign = Annotated[Campaign, Depends(signed)]
why_pages = APIRouter()


@why_pages.get("/why.css")
def style() -> Response:
    """The page's style sheet."""
    return Response(page_file("why.css"), media_type="text/css", headers={"Cache-Control": "max-age=3600"})


@why_pages.get(STAMP)
def page(stamp_set: str, stamp_id: int, key: Key, found: SignedCampaign, pages: ThePages) -> HTMLResponse:
    """Why a galaxy is in the queue, for people."""
    why, base = pages.explainer.why(found, stamp_set, stamp_id), pages.base
    here = f"{base}/why/{found.id}/{quote(stamp_set, safe='')}/{stamp_id}"
    shown = why_page(
        why,
        heat=f"{here}/heat.png?key={key}" if why.heat else None,
        whole=f"{here}/whole.jpg?key={key}" if why.framing else None,
        style=f"{base}/why.css",
    )
    return HTMLResponse(shown, headers=PRIVATE | _policy(base))


@why_pages.get(f"{STAMP}.json")
def as_json(stamp_set: str, stamp_id: int, found: SignedCampaign, response: Response, pages: ThePages) -> Why:
    """Why a galaxy is in the queue, for programs."""
    response.headers.update(PRIVATE)
    return pages.explainer.why(found, stamp_set, stamp_id)


@why_pages.get(f"{STAMP}/whole.jpg")
def whole(stamp_set: str, stamp_id: int, found: SignedCampaign, pages: ThePages) -> Response:
    """The whole stamp, where pictures of tasks show its middle, with a frame around that."""
    jpeg = pages.pictures.file(
        stamp_set, stamp_id, found.rendering, size=found.picture_size, whole=True, crop_said=True, encoding="jpeg"
    )
    return Response(jpeg, media_type="image/jpeg", headers=PRIVATE)


@why_pages.get(f"{STAMP}/heat.png")
def heat(stamp_set: str, stamp_id: int, found: SignedCampaign, pages: ThePages) -> Response:
    """The picture under its heat map."""
    if not pages.explainer.why(found, stamp_set, stamp_id).heat:
        raise AccessError("This galaxy has no heat map to show.", "Its page says why.")
    return Response(pages.maps.png(found, stamp_set, stamp_id), media_type="image/png", headers=PRIVATE)


def _policy(base: str) -> dict[str, str]:
    """Nothing is loaded but our own pictures and style sheet, and an empty icon; no script runs."""
    parts = urlsplit(base)
    own = f"'self' {parts.scheme}://{parts.netloc}"
    rules = f"default-src 'none'; img-src {own} data:; style-src {own}; base-uri 'none'; form-action 'none'"
    return {"Content-Security-Policy": f"{rules}; frame-ancestors 'none'"}
