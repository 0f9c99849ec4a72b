"""Who gets in to the search page, and what a call needs to change anything."""

import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urljoin

import pytest
from fastapi.testclient import TestClient

from backend_ml.app import create_app
from backend_ml.settings import Settings
from backend_ml.sign_in.sessions import COOKIE, Sessions
from backend_ml.sign_in.throttle import ALLOWED
from backend_ml.store.database import Database
from tests.backend_ml.backend_client import problem
from tests.backend_ml.explore.conftest import ORIGIN, SETTINGS, Visitor

SIGN_IN = "/explore/api/session"
TEAM = {"name": "Vera", "password": "starlight"}


@pytest.fixture
def client(app: Any) -> TestClient:
    """Nobody in particular."""
    return TestClient(app, raise_server_exceptions=False)


@pytest.fixture
def label_studio_url() -> Iterator[str]:
    """A server that answers who somebody is as Label Studio does."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            known = (
                self.path.startswith("/api/current-user/whoami") and self.headers["Authorization"] == "Token abcdef12"
            )
            body = {"id": 3, "email": "vera@example.com"} if known else {"detail": "Invalid token."}
            text = json.dumps(body).encode()
            self.send_response(200 if known else 401)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: object) -> None:
            """Keep the tests' output clean."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_the_team_password_and_a_name_sign_in(client: TestClient) -> None:
    assert client.get(SIGN_IN).json()["person"] is None
    answer = client.post(SIGN_IN, json=TEAM, headers=ORIGIN)
    assert answer.json()["person"] == "Vera" and not answer.json()["writes"]
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie and "SameSite=lax" in cookie and "Secure" not in cookie and "Path=/;" in cookie + ";"
    assert client.get(SIGN_IN).json()["person"] == "Vera"


def test_a_label_studio_token_signs_in_who_it_belongs_to(database: Database, label_studio_url: str) -> None:
    settings = SETTINGS.model_copy(
        update={"label_studio_url": label_studio_url, "public_url": "https://sky.example.com"}
    )
    with TestClient(create_app(settings, database.url), raise_server_exceptions=False) as client:
        origin = {"Origin": "https://sky.example.com"}
        answer = client.post(SIGN_IN, json={"token": " abcdef12 "}, headers=origin)
        assert answer.json()["person"] == "vera@example.com" and answer.json()["writes"]
        assert "Secure" in answer.headers["set-cookie"] and "abcdef12" not in answer.text
        for wrong in ("abcdef13", "short", "with space in it", "line\nbreak12"):
            found = problem(client.post(SIGN_IN, json={"token": wrong}, headers=origin), 401, "signed_out")
            assert "token" in found["message"] and wrong not in found["message"]


def test_a_label_studio_that_is_away_is_told_from_a_wrong_token(client: TestClient, monkeypatch: Any) -> None:
    monkeypatch.setattr("backend_ml.sign_in.credentials.PATIENCE", 0.0)
    found = problem(client.post(SIGN_IN, json={"token": "abcdef12"}, headers=ORIGIN), 502, "label_studio")
    assert "No answer from Label Studio" in found["message"]


def test_a_browser_opens_no_window_of_its_own_for_a_password(client: TestClient) -> None:
    answer = client.get("/explore/api/searches")
    problem(answer, 401, "signed_out")
    assert "WWW-Authenticate" not in answer.headers


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"name": "Vera", "password": "starlighT"}, "password is wrong"),
        ({"name": "Vera", "password": ""}, "password is wrong"),
        ({"name": "", "password": "starlight"}, "cannot be a name"),
        ({"name": "vera@example.com", "password": "starlight"}, "cannot be a name"),
        ({"name": "V\u202eera", "password": "starlight"}, "cannot be a name"),
        ({"name": "x" * 61, "password": "starlight"}, "cannot be a name"),
    ],
)
def test_wrong_passwords_and_names(client: TestClient, body: dict[str, str], says: str) -> None:
    assert says in problem(client.post(SIGN_IN, json=body, headers=ORIGIN), 401, "signed_out")["message"]
    assert COOKIE not in client.cookies


def test_without_a_team_password_that_way_is_shut(database: Database) -> None:
    settings = SETTINGS.model_copy(update={"team_password": Settings().team_password})
    with TestClient(create_app(settings, database.url), raise_server_exceptions=False) as client:
        assert client.get(SIGN_IN).json()["ways"]["password"] is False
        body = {"name": "Vera", "password": ""}
        assert (
            "no team password" in problem(client.post(SIGN_IN, json=body, headers=ORIGIN), 401, "signed_out")["message"]
        )


def test_an_address_that_guesses_is_slowed_down(client: TestClient) -> None:
    for _ in range(ALLOWED):
        problem(client.post(SIGN_IN, json={**TEAM, "password": "guess"}, headers=ORIGIN), 401, "signed_out")
    assert "seconds" in problem(client.post(SIGN_IN, json=TEAM, headers=ORIGIN), 429, "slow_down")["hint"]


@pytest.mark.parametrize("method", ["POST", "DELETE"])
def test_changes_need_the_page_s_own_token_and_origin(vera: Visitor, henrietta: Visitor, method: str) -> None:
    path = "/explore/api/searches" if method == "POST" else SIGN_IN
    body = {"name": "Rings", "stamp_set": "sky"}
    refused: list[dict[str, str]] = [
        ORIGIN,
        {**ORIGIN, "X-CSRF-Token": ""},
        {**ORIGIN, **henrietta.csrf},
        {**vera.csrf},
        {**vera.csrf, "Origin": "http://evil.example"},
        {**vera.csrf, "Origin": "null"},
    ]
    for headers in refused:
        problem(vera.client.request(method, path, json=body, headers=headers), 403, "forbidden")
    assert vera.client.request(method, path, json=body, headers={**ORIGIN, **vera.csrf}).status_code < 300


def test_signing_in_needs_the_page_s_origin(client: TestClient) -> None:
    for headers in ({}, {"Origin": "http://evil.example"}):
        problem(client.post(SIGN_IN, json=TEAM, headers=headers), 403, "forbidden")


@pytest.mark.parametrize("prefix", ["", "/gl", "/a/b"])
@pytest.mark.parametrize("path", ["/explore", "/explore/", "/explore/12"])
def test_the_page_names_its_files_below_any_prefix(client: TestClient, path: str, prefix: str) -> None:
    """A proxy takes the prefix off; the browser resolves what the page names against the address with it."""
    named = re.findall(r'(?:href|src)="([^"#:]+)"', client.get(path).text)
    found = {urljoin(f"https://host{prefix}{path}", one) for one in named}
    base = f"https://host{prefix}/explore"
    assert found == {base, f"https://host{prefix}/status", f"{base}/pages/explore.css", f"{base}/pages/explore.js"}


def test_the_cookie_is_for_the_prefix_too() -> None:
    settings = SETTINGS.model_copy(update={"public_url": "https://host/gl/"})
    nothing: Any = None
    assert Sessions(settings, nothing).attributes()["path"] == "/gl"


def test_the_page_runs_its_own_script_only(client: TestClient) -> None:
    answer = client.get("/explore")
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "script-src 'self'" in policy and "unsafe" not in policy
    assert "<style" not in answer.text and " style=" not in answer.text and " onclick=" not in answer.text
    assert answer.text.count("<script") == 1 and 'src="explore/pages/explore.js"' in answer.text
    for name, kind in (("explore.js", "javascript"), ("explore.css", "css")):
        file = client.get(f"/explore/pages/{name}")
        assert kind in file.headers["content-type"] and file.headers["X-Content-Type-Options"] == "nosniff"
    assert client.get("/explore/pages/..%2froutes.py").status_code in (404, 422)
    assert client.get("/explore/17").text == answer.text.replace('"explore', '"../explore')
