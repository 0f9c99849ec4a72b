"""The leader's pages over a campaign of ten tasks that people label."""

from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import pytest
from fastapi.testclient import TestClient

from backend_ml.app import create_app
from backend_ml.sign_in.person import Person
from backend_ml.sign_in.sessions import COOKIE, Sessions, new_id
from backend_ml.store.database import Database
from tests.backend_ml.explore.conftest import ORIGIN, SETTINGS

__all__ = ["Leader"]


@dataclass
class Leader:
    """Someone at the page."""

    client: TestClient
    csrf: str

    def get(self, path: str = "") -> httpx.Response:
        return self.client.get(f"/status{path}", follow_redirects=False)

    def post(self, path: str, headers: dict[str, str] | None = None, **fields: str) -> httpx.Response:
        sent = {"csrf": self.csrf, **fields}
        return self.client.post(f"/status{path}", data=sent, headers=headers or ORIGIN, follow_redirects=False)


@pytest.fixture
def site(database: Database) -> Iterator[TestClient]:
    """The backend with a team password, and nobody signed in."""
    with TestClient(create_app(SETTINGS, database.url), raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def leader(site: TestClient) -> Leader:
    """Somebody who signed in with a Label Studio token."""
    sessions: Sessions = site.app.state.pages.sessions  # type: ignore[attr-defined]
    person = Person("vera@example.org", 5, "a-token-of-hers", new_id())
    site.cookies.set(COOKIE, sessions.cookie(person)["value"])
    return Leader(site, sessions.csrf(person))


@pytest.fixture
def member(site: TestClient) -> Leader:
    """Somebody who signed in by the form, with the team password."""
    form = {"name": "Vera", "password": "starlight"}
    answer = site.post("/sign-in", data=form, headers=ORIGIN, follow_redirects=False)
    assert answer.status_code == 303, answer.text
    sessions: Sessions = site.app.state.pages.sessions  # type: ignore[attr-defined]
    person = sessions.read(site.cookies["galaxyloop_session"])
    return Leader(site, sessions.csrf(person))
