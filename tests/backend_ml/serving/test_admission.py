"""What is not read: bodies of strangers, and bodies that are too large."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from backend_ml.app import create_app
from backend_ml.serving.admission import MOST_OF_LABEL_STUDIO, MOST_OTHERWISE
from backend_ml.store.database import Database
from tests.backend_ml.backend_client import BASIC, SETTINGS, problem

MEGABYTE = b"x" * 1_000_000
TYPE = {"Content-Type": "application/json"}


@pytest.fixture
def app(database: Database) -> FastAPI:
    return create_app(SETTINGS, database.url)


@pytest.fixture
def client(app: FastAPI) -> Iterator[TestClient]:
    with TestClient(app, raise_server_exceptions=False) as opened:
        yield opened


def answered(app: FastAPI, path: str, headers: dict[str, str]) -> tuple[dict[str, Any], int]:
    """The answer to a body that never ends, and how many megabytes of it were taken."""
    taken, sent = 0, list[Any]()

    async def receive() -> dict[str, Any]:
        nonlocal taken
        taken += 1
        return {"type": "http.request", "body": MEGABYTE, "more_body": True}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "server": ("testserver", 80),
        "client": ("10.0.0.1", 1234),
        "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
    }
    asyncio.run(app(scope, receive, send))  # type: ignore[arg-type]
    start, *parts = sent
    body = json.loads(b"".join(part.get("body", b"") for part in parts))
    return body | {"status": start["status"]}, taken


@pytest.mark.parametrize("path", ["/setup", "/predict", "/webhook"])
def test_nothing_of_a_strangers_body_is_read(app: FastAPI, path: str) -> None:
    answer, taken = answered(app, path, TYPE)
    assert (answer["status"], answer["code"], taken) == (401, "unauthorised", 0)


@pytest.mark.parametrize(
    ("path", "headers", "most"),
    [("/predict", BASIC, MOST_OF_LABEL_STUDIO), ("/explore/api/session", {}, MOST_OTHERWISE)],
)
def test_a_body_without_an_end_is_read_up_to_the_limit(
    app: FastAPI, path: str, headers: dict[str, str], most: int
) -> None:
    answer, taken = answered(app, path, {**TYPE, **headers})
    assert answer["status"] == 413 and answer["hint"] and "MB" in answer["message"]
    assert taken == most // len(MEGABYTE) + 1


@pytest.mark.parametrize("length", [str(MOST_OF_LABEL_STUDIO + 1), "9" * 4000])
def test_a_body_that_says_it_is_too_large_is_not_read(client: TestClient, length: str) -> None:
    answer = client.post("/predict", headers={**BASIC, **TYPE, "Content-Length": length}, content=b"{}")
    assert "64 MB" in problem(answer, 413, "too_large")["message"]


@pytest.mark.parametrize("length", ["", "-5", "1e9", "\u0661"])
def test_a_length_that_is_none_does_no_harm(client: TestClient, length: str) -> None:
    headers = {**BASIC, **TYPE, "Content-Length": length.encode()}
    answer = client.post("/predict", headers=headers, content=b"{}")  # type: ignore[arg-type]
    assert answer.status_code == 422


def test_the_largest_bodies_that_are_read(client: TestClient) -> None:
    text = json.dumps({"name": "x" * (MOST_OTHERWISE - 100)})
    assert client.post("/explore/api/session", content=text, headers=TYPE).status_code != 413
    assert client.post("/explore/api/session", content=text + " " * 200, headers=TYPE).status_code == 413
