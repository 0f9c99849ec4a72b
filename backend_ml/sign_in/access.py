"""What every route of the search page asks first: who it is, and that the call comes from the page itself."""

from dataclasses import dataclass, field
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import Cookie, Depends, Header, Request

from backend_ml.pictures.stamp_pictures import PictureCache
from backend_ml.settings import Settings
from backend_ml.sign_in.person import Person
from backend_ml.sign_in.sessions import COOKIE, Sessions
from backend_ml.sign_in.throttle import SignInThrottle
from backend_ml.store.database import Database
from lvm_training.errors import GalaxyLoopError

CSRF_HEADER = "X-CSRF-Token"


class ForgeryError(GalaxyLoopError):
    """A change that a page for people did not ask for."""

    code = "forbidden"


@dataclass(frozen=True)
class Pages:
    """What the routes of pages for people work with."""

    settings: Settings
    database: Database
    sessions: Sessions
    pictures: PictureCache
    throttle: SignInThrottle = field(default_factory=SignInThrottle)

    @classmethod
    def over(cls, settings: Settings, database: Database, pictures: PictureCache) -> "Pages":
        """The pages over a campaign database."""
        return cls(settings, database, Sessions(settings, database), pictures)


async def pages_of(request: Request) -> Pages:
    """What the app's pages work with."""
    pages: Pages = request.app.state.pages
    return pages


ThePages = Annotated[Pages, Depends(pages_of)]


async def from_page(request: Request, pages: ThePages, origin: Annotated[str | None, Header()] = None) -> None:
    """Refuse a change that another site asks for: browsers name the site in `Origin`."""
    asked, public = _site(origin or ""), urlsplit(pages.settings.public_url).netloc
    if not asked or asked not in (public, request.headers.get("host")):
        raise ForgeryError(
            f"This call comes from {origin or 'nowhere'}, not from a page of Galaxy Loop.",
            f"Open {pages.settings.public_url.rstrip('/')}/explore.",
        )


def _site(origin: str) -> str:
    """Host and port of an origin; empty if it names none."""
    try:
        return urlsplit(origin).netloc
    except ValueError:  # such as http://[
        return ""


def signed_in(pages: ThePages, cookie: Annotated[str | None, Cookie(alias=COOKIE)] = None) -> Person:
    """The person whose session it is."""
    return pages.sessions.read(cookie)


ThePerson = Annotated[Person, Depends(signed_in)]


async def changing(
    pages: ThePages,
    person: ThePerson,
    _: Annotated[None, Depends(from_page)],
    token: Annotated[str | None, Header(alias=CSRF_HEADER)] = None,
) -> Person:
    """The person who changes something, from the page and with its token."""
    if not pages.sessions.has_csrf(person, token):
        raise ForgeryError(f"The header {CSRF_HEADER} is wrong or missing.", "Reload the page.")
    return person


TheEditor = Annotated[Person, Depends(changing)]
