"""With the team password nobody signs in under another's name."""

from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from backend_ml.cli.main import app as command_line
from backend_ml.sign_in.credentials import alike
from backend_ml.sign_in.entrance import DEVICE
from backend_ml.store.database import Database
from tests.backend_ml.backend_client import problem
from tests.backend_ml.explore.conftest import ORIGIN, Visitor

SIGN_IN = "/explore/api/session"


def sign_in(client: TestClient, name: str) -> Any:
    return client.post(SIGN_IN, json={"name": name, "password": "starlight"}, headers=ORIGIN)


@pytest.fixture
def other(app: Any) -> TestClient:
    """Another device."""
    return TestClient(app, raise_server_exceptions=False)


@pytest.mark.parametrize("name", ["Vera", "vera", " VERA ", "Ｖｅｒａ"])
def test_another_device_is_told_to_take_another_name(vera: Visitor, other: TestClient, name: str) -> None:
    found = problem(sign_in(other, name), 401, "signed_out")
    assert "another device" in found["message"] and "people free" in found["hint"]
    assert DEVICE not in other.cookies and other.get(SIGN_IN).json()["person"] is None
    assert sign_in(other, "Vera R").status_code == 200


def test_the_device_itself_comes_back_after_signing_out(vera: Visitor, other: TestClient) -> None:
    vera.delete("/session")
    problem(sign_in(other, "Vera"), 401, "signed_out")
    assert sign_in(vera.client, "vera").json()["person"] == "vera"


def test_one_device_may_have_several_people(vera: Visitor, other: TestClient) -> None:
    assert sign_in(vera.client, "Jocelyn").status_code == 200
    problem(sign_in(other, "Jocelyn"), 401, "signed_out")


def test_a_device_cookie_is_not_guessed_from_the_database(vera: Visitor, other: TestClient, database: Database) -> None:
    held = database.rows("held_names")
    with database.transaction() as connection:
        device = connection.execute("SELECT encode(device, 'hex') AS hex FROM held_name").fetchall()[0]["hex"]
    assert [row["name"] for row in held] == ["vera"] and vera.client.cookies[DEVICE] not in device
    for forged in (device, "", "x" * 1000):
        other.cookies.set(DEVICE, forged)
        problem(sign_in(other, "Vera"), 401, "signed_out")


def test_the_cookie_of_the_device_is_as_guarded_as_the_session_s(app: Any) -> None:
    set_cookies = sign_in(TestClient(app), "Vera").headers.get_list("set-cookie")
    kept = next(one for one in set_cookies if one.startswith(DEVICE))
    assert "HttpOnly" in kept and "SameSite=lax" in kept and "Max-Age=31536000" in kept


@given(name=st.text(min_size=1, max_size=20))
def test_names_are_compared_once_and_for_all(name: str) -> None:
    assert alike(alike(name)) == alike(name) and alike(f" {name}  ") == alike(name)


def run(*arguments: str) -> Any:
    result = CliRunner().invoke(command_line, ["people", *arguments])
    assert result.exit_code == 0, result.output
    return result.stdout


def test_whoever_runs_it_lists_ends_and_frees(
    vera: Visitor, henrietta: Visitor, other: TestClient, database: Database, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setenv("GALAXYLOOP_DATABASE_URL", database.url)
    listed = run("list")
    assert "Vera" in listed and "henrietta" in listed and "signed in" in listed
    assert '"ended": 1' in run("sign-out", "Henrietta", "--json")
    problem(henrietta.get("/searches"), 401, "signed_out")
    assert vera.get("/searches").status_code == 200
    assert '"ended": 1' in run("free", "VERA", "--json")
    problem(vera.get("/searches"), 401, "signed_out")
    assert sign_in(other, "Vera").status_code == 200
    problem(sign_in(vera.client, "Vera"), 401, "signed_out")
    assert '"ended": 1' in run("sign-out", "--all", "--json")
    mistakes = ["free", "Nobody"], ["sign-out"], ["sign-out", "Vera", "--all"]
    for wrong, says in zip(mistakes, ("No device holds", "--all", "--all"), strict=True):
        result = CliRunner().invoke(command_line, ["people", *wrong])
        assert result.exit_code != 0 and says in result.output
