"""Signing in and out by forms, and where one comes out."""

from urllib.parse import quote, urljoin

import pytest
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st

from backend_ml.sign_in.routes import local
from backend_ml.sign_in.throttle import ALLOWED
from tests.backend_ml.explore.conftest import ORIGIN, Visitor

TEAM = {"name": "Vera", "password": "starlight"}


@pytest.fixture
def client(app: object) -> TestClient:
    """Nobody in particular."""
    return TestClient(app, raise_server_exceptions=False, follow_redirects=False)  # type: ignore[arg-type]


@pytest.mark.parametrize("path", ["/status", "/status/12", "/explore", "/explore/7"])
def test_who_signs_in_comes_back(client: TestClient, path: str) -> None:
    address = f"/sign-in?next={quote(path, safe='')}"
    assert f'action="./sign-in?next={path}"' in client.get(address).text
    answer = client.post(address, data=TEAM, headers=ORIGIN)
    assert answer.status_code == 303 and "galaxyloop_session" in answer.cookies
    assert urljoin("https://host/prefix/sign-in", answer.headers["Location"]) == f"https://host/prefix{path}"


@pytest.mark.parametrize(
    "path",
    [
        *("", "https://evil.example", "//evil.example", "/\\evil.example", "/status//evil.example", "/status/../x"),
        *("javascript:alert(1)", "/status/1\n", "/status\r\nSet-Cookie: a=b", "/explore/api/session", "/status/٣"),
    ],
)
def test_nobody_is_sent_elsewhere(client: TestClient, path: str) -> None:
    answer = client.post("/sign-in", params={"next": path}, data=TEAM, headers=ORIGIN)
    assert answer.headers["Location"] == "./status"


@given(st.text())
def test_every_place_is_ours(path: str) -> None:
    assert urljoin("https://host/sign-in", f".{local(path)}").startswith(
        ("https://host/status", "https://host/explore")
    )


@pytest.mark.parametrize(
    ("form", "status", "says"),
    [
        ({"name": "Vera", "password": "starlighT"}, 401, "password is wrong"),
        ({"name": "<b>Vera@", "password": "starlight"}, 401, "cannot be a name"),
        ({"token": "with space in it"}, 401, "does not know this token"),
        ({}, 401, "password is wrong"),
        ({"name": "\ud800".encode("utf-8", "surrogatepass").decode("latin-1"), "password": "x"}, 401, "wrong"),
    ],
)
def test_what_is_wrong_is_said_over_the_forms(client: TestClient, form: dict[str, str], status: int, says: str) -> None:
    answer = client.post("/sign-in", data=form, headers=ORIGIN)
    assert answer.status_code == status and says in answer.text and "Team password" in answer.text
    assert "galaxyloop_session" not in answer.cookies and "<b>Vera" not in answer.text


def test_a_guesser_is_slowed_down_on_both_ways_in(client: TestClient) -> None:
    for _ in range(ALLOWED):
        assert client.post("/sign-in", data={**TEAM, "password": "guess"}, headers=ORIGIN).status_code == 401
    answer = client.post("/sign-in", data=TEAM, headers=ORIGIN)
    assert answer.status_code == 429 and "Try again in" in answer.text
    assert client.post("/explore/api/session", json=TEAM, headers=ORIGIN).status_code == 429


@pytest.mark.parametrize("headers", [{}, {"Origin": "http://evil.example"}])
def test_another_site_signs_nobody_in(client: TestClient, headers: dict[str, str]) -> None:
    assert client.post("/sign-in", data=TEAM, headers=headers).status_code == 403


@pytest.mark.parametrize("body", [b"\xff=1", b"&".join(b"a=1" for _ in range(300)), b"name=%FF"])
def test_bodies_that_are_no_form(client: TestClient, body: bytes) -> None:
    headers = {**ORIGIN, "Content-Type": "application/x-www-form-urlencoded"}
    answer = client.post("/sign-in", content=body, headers=headers)
    assert answer.status_code == 400 and "no form" in answer.text


def test_who_signs_out_is_out_everywhere(vera: Visitor) -> None:
    client = vera.client
    assert client.post("/sign-out", data={"csrf": "wrong"}, headers=ORIGIN).status_code == 403
    assert client.get("/explore/api/searches").status_code == 200
    csrf = vera.csrf["X-CSRF-Token"]
    answer = client.post("/sign-out", data={"csrf": csrf}, headers=ORIGIN, follow_redirects=False)
    assert answer.status_code == 303 and answer.headers["Location"] == "./sign-in"
    assert client.get("/explore/api/searches").status_code == 401
