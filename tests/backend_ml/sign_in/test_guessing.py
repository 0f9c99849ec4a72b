"""Guessing over HTTP: passwords of people, of Label Studio, and the webhook's secret."""

import base64
from typing import Any

import pytest
from fastapi.testclient import TestClient

from backend_ml import signing
from backend_ml.app import create_app
from backend_ml.settings import Settings
from backend_ml.sign_in.throttle import ALLOWED
from backend_ml.store.database import Database
from tests.backend_ml.backend_client import BASIC, problem
from tests.backend_ml.backend_client import SETTINGS as MACHINES
from tests.backend_ml.explore.conftest import ORIGIN, SETTINGS

SIGN_IN = "/explore/api/session"


def basic(password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"ls:{password}".encode()).decode()}


def guess(client: TestClient, password: str, address: str = "") -> Any:
    forwarded = {"X-Forwarded-For": address} if address else {}
    return client.post(SIGN_IN, json={"name": "Vera", "password": password}, headers=ORIGIN | forwarded)


@pytest.fixture
def client(database: Database) -> Any:
    with TestClient(create_app(MACHINES, database.url), raise_server_exceptions=False) as opened:
        yield opened


@pytest.mark.parametrize("path", ["/health", "/neighbours/1/sky/0"])
def test_the_backend_s_password_is_not_guessed(client: TestClient, path: str) -> None:
    for i in range(ALLOWED):
        problem(client.get(path, headers=basic(f"guess {i}")), 401, "unauthorised")
    problem(client.get(path, headers=BASIC), 429, "slow_down")
    problem(client.get("/versions", headers=basic("guess 9")), 429, "slow_down")


def test_the_webhook_s_secret_is_not_guessed(client: TestClient) -> None:
    for i in range(ALLOWED):
        headers = {signing.SECRET_HEADER: f"guess {i}"}
        problem(client.post("/webhook", json={}, headers=headers), 401, "unauthorised")
    right = {signing.SECRET_HEADER: signing.webhook_secret(MACHINES)}
    problem(client.post("/webhook", json={}, headers=right), 429, "slow_down")
    assert client.get("/health", headers=BASIC).status_code == 200, "Label Studio asks on"


def test_who_sends_nothing_or_an_old_password_shuts_nobody_out(client: TestClient) -> None:
    for _ in range(3 * ALLOWED):
        problem(client.get("/health"), 401, "unauthorised")
        problem(client.get("/health", headers=basic("of last year")), 401, "unauthorised")
    assert client.get("/health", headers=BASIC).status_code == 200


def answers(settings: Settings, database: Database) -> list[int]:
    """To one guess more than an address has, each said to be from somewhere else, through a proxy at 10.1.2.3."""
    app = create_app(settings, database.url)
    with TestClient(app, raise_server_exceptions=False, client=("10.1.2.3", 50000)) as client:
        return [guess(client, "wrong", f"192.0.2.{i}").status_code for i in range(ALLOWED + 1)]


@pytest.mark.parametrize("proxies", ["", "10.9.9.9", "192.0.2.0/24"])
def test_nobody_says_where_they_come_from(database: Database, proxies: str) -> None:
    settings = SETTINGS.model_copy(update={"proxies": proxies})
    assert answers(settings, database) == [401] * ALLOWED + [429]


@pytest.mark.parametrize("proxies", ["10.1.2.3", "10.0.0.0/8, 127.0.0.1"])
def test_a_proxy_that_is_set_does(database: Database, proxies: str) -> None:
    settings = SETTINGS.model_copy(update={"proxies": proxies})
    assert answers(settings, database) == [401] * (ALLOWED + 1)
    app = create_app(settings, database.url)
    with TestClient(app, raise_server_exceptions=False, client=("10.1.2.3", 50000)) as client:
        found = [guess(client, "wrong", f"192.0.2.{i}, 203.0.113.5").status_code for i in range(ALLOWED + 1)]
    assert found == [401] * ALLOWED + [429], "only the last hop is the proxy's word"
