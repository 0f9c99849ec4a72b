"""The leader's pages over a campaign of ten tasks that people label."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient
from psycopg.types.json import Jsonb

from backend_ml.app import create_app
from backend_ml.sign_in.sessions import Sessions
from backend_ml.store.database import Database
from backend_ml.store.records import Campaign
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
    """Somebody who signed in by the form."""
    form = {"name": "Vera", "password": "starlight"}
    answer = site.post("/sign-in", data=form, headers=ORIGIN, follow_redirects=False)
    assert answer.status_code == 303, answer.text
    sessions: Sessions = site.app.state.pages.sessions  # type: ignore[attr-defined]
    person = sessions.read(site.cookies["galaxyloop_session"])
    return Leader(site, sessions.csrf(person))


class Annotating:
    """Annotations as webhooks leave them."""

    def __init__(self, database: Database, campaign: Campaign) -> None:
        self._database, self._campaign, self._number = database, campaign, 0

    def __call__(
        self,
        task: int,
        label: str | None,
        annotator: int | None,
        at: datetime,
        *,
        origin: str | None = None,
        seconds: float | None = None,
    ) -> None:
        """An annotation of a task; a skip where there is no label."""
        self._number += 1
        region: dict[str, Any] = {"type": "choices", "value": {"choices": [label]}}
        result = [] if label is None else [region | ({} if origin is None else {"origin": origin})]
        self._database.rows(
            "put_annotation_event",
            campaign=self._campaign.id,
            action="skipped" if label is None else "labelled",
            task=task,
            annotation=self._number,
            label=label,
            annotator=annotator,
            result=Jsonb(result),
            parent_prediction=None if origin is None else 1,
            lead_time=seconds,
            source="webhook",
            happened_at=at,
        )


@pytest.fixture
def annotate(database: Database, campaign: Campaign) -> Annotating:
    """Lets people annotate the campaign's tasks."""
    return Annotating(database, campaign)
