"""The search page over a small sky, without Label Studio."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient

from backend_ml.app import create_app
from backend_ml.settings import Settings
from backend_ml.store.database import Database
from tests.backend_ml.sky import write_features, write_stamps

ORIGIN = {"Origin": "http://127.0.0.1:9090"}
STAMPS = 40
VALUES = {"secret": "hush", "backend_password": "word", "team_password": "starlight"}
SETTINGS = Settings.model_validate({**VALUES, "label_studio_url": "http://127.0.0.1:1"})


@pytest.fixture
def sky(database: Database, tmp_path: Path) -> Path:
    """A registered stamp set of 40 stamps, of class i % 5 as far as their features say; the file of its features."""
    stamps = write_stamps(tmp_path, STAMPS)
    features = write_features(stamps)
    values = {"path": str(stamps), "digest": "d", "features": str(features)}
    database.rows("put_stamp_set", name="sky", **values)
    return features


@dataclass
class Visitor:
    """Someone at the page."""

    client: TestClient
    csrf: dict[str, str]

    def get(self, path: str) -> httpx.Response:
        return self.client.get(f"/explore/api{path}")

    def post(self, path: str, body: Any = None) -> httpx.Response:
        return self.client.post(f"/explore/api{path}", json=body, headers={**ORIGIN, **self.csrf})

    def delete(self, path: str) -> httpx.Response:
        return self.client.delete(f"/explore/api{path}", headers={**ORIGIN, **self.csrf})

    def begin(self, name: str = "Rings", examples: str = "", stamp_set: str = "sky") -> str:
        """A new search; its path."""
        answer = self.post("/searches", {"name": name, "stamp_set": stamp_set, "examples": examples})
        assert answer.status_code == 201, answer.text
        return f"/searches/{answer.json()['id']}"

    def label(self, search: str, stamp_id: int, label: str) -> httpx.Response:
        return self.post(f"{search}/labels", {"stamp_id": stamp_id, "label": label})

    def next_round(self, search: str, size: int = 5, policy: str = "loop", **limits: Any) -> dict[str, Any]:
        answer = self.post(f"{search}/rounds", {"size": size, "policy": policy, **limits})
        assert answer.status_code == 201, answer.text
        return dict(answer.json())


def visit(app: Any, name: str) -> Visitor:
    """Sign someone in with the team password."""
    client = TestClient(app, raise_server_exceptions=False)
    answer = client.post("/explore/api/session", json={"name": name, "password": "starlight"}, headers=ORIGIN)
    assert answer.status_code == 200, answer.text
    return Visitor(client, {"X-CSRF-Token": answer.json()["csrf"]})


@pytest.fixture
def app(database: Database, sky: Path) -> Iterator[Any]:
    """The backend, with a team password and a Label Studio that is not there."""
    made = create_app(SETTINGS, database.url)
    with TestClient(made):
        yield made


@pytest.fixture
def vera(app: Any) -> Visitor:
    """Vera at the page."""
    return visit(app, "Vera")


@pytest.fixture
def henrietta(app: Any) -> Visitor:
    """Henrietta at the page."""
    return visit(app, "Henrietta")
