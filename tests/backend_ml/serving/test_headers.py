"""What strangers and other sites get of any route: nothing, with headers that keep browsers from guessing."""

import re
from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient

from backend_ml.app import create_app
from backend_ml.serving.headers import SAFE
from backend_ml.settings import Settings
from backend_ml.store.database import Database
from tests.backend_ml.explore.conftest import SETTINGS

OPEN = {
    "GET /livez": "it names nothing",
    "GET /why.css": "a style",
    "GET /explore": "the page without anything in it",
    "GET /explore/{search_id}": "the same",
    "GET /explore/pages/{name}": "its script and style",
    "GET /explore/api/session": "how one can sign in",
    "GET /sign-in": "the form",
    "GET /sign-in/people.css": "a style",
    "GET /status/status.css": "a style",
}
"""What anybody may read, and why."""
VALUES = {"name": "explore.js", "stamp_set": "sky", "key": "0" * 32}


def operations() -> list[str]:
    paths = create_app(SETTINGS, "host=/nowhere").openapi()["paths"]
    return [f"{method.upper()} {path}" for path, methods in paths.items() for method in methods]


@pytest.fixture(scope="module")
def client(shared_database: Database) -> Iterator[TestClient]:
    with TestClient(create_app(SETTINGS, shared_database.url), raise_server_exceptions=False) as opened:
        yield opened


@pytest.mark.parametrize("operation", operations())
def test_no_route_but_those_listed_answers_a_stranger(client: TestClient, operation: str) -> None:
    method, _, path = operation.partition(" ")
    filled = re.sub(r"{(\w+)}", lambda found: VALUES.get(found[1], "1"), path)
    query = {"campaign": 1, "key": "0" * 32, "name": "Rings", "concept": "ring"}
    client.cookies.clear()
    answer = client.request(method, filled, params=query, json={}, follow_redirects=False)
    if operation in OPEN:
        assert answer.status_code == 200
    else:
        to_sign_in = answer.status_code == 303 and "/sign-in" in answer.headers["Location"]
        assert answer.status_code in (401, 403) or to_sign_in, (answer.status_code, answer.text[:200])
    assert all(name in answer.headers for name in SAFE)
    assert answer.headers["X-Content-Type-Options"] == "nosniff" and answer.headers["X-Frame-Options"] == "DENY"
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy and "unsafe" not in policy


def test_livez_names_nothing(client: TestClient) -> None:
    assert client.get("/livez").json() == {"status": "ok", "database": True}


def allowed(origin: str, **values: str) -> bool:
    app = create_app(Settings.model_validate({"secret": "hush", "backend_password": "word", **values}), "host=/nowhere")
    given = TestClient(app).get("/why.css", headers={"Origin": origin}).headers.get("access-control-allow-origin")
    assert given in (None, origin), "never all"
    return given == origin


@pytest.mark.parametrize(
    "origin", ["http://127.0.0.1:8080", "http://localhost:8080", "http://[::1]:8080", "http://localhost:9090"]
)
def test_pages_of_label_studio_may_draw_pictures(origin: str) -> None:
    assert allowed(origin)


@pytest.mark.parametrize("origin", ["https://labels.example.org", "https://gl.example.org"])
def test_addresses_of_browsers_count(origin: str) -> None:
    elsewhere = {"label_studio_url": "http://label-studio:8080", "public_url": "https://gl.example.org/gl"}
    assert allowed(origin, label_studio_public_url="https://labels.example.org/ls", **elsewhere)


@pytest.mark.parametrize(
    "origin",
    [
        *("https://evil.example", "null", "http://127.0.0.1:8081", "https://127.0.0.1:8080", "http://127.0.0.1:80800"),
        *("http://127.0.0.1:8080.evil.example", "http://evil.example/http://127.0.0.1:8080", "http://127x0.0.1:8080"),
    ],
)
def test_pages_of_other_sites_may_not(origin: str) -> None:
    assert not allowed(origin)
