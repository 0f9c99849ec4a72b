"""Sessions are the server's: what a cookie is worth, what of it is kept, and how it ends."""

from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backend_ml.settings import Settings
from backend_ml.sign_in.person import Person
from backend_ml.sign_in.sessions import COOKIE, Sessions, SignInError, new_id
from backend_ml.store.database import Database
from tests.backend_ml.backend_client import problem
from tests.backend_ml.explore.conftest import SETTINGS, Visitor

TOKEN = "c0ffee00c0ffee00c0ffee00"


def annotator(token: str = TOKEN) -> Person:
    return Person("vera@example.com", 3, token, new_id())


def everything(database: Database) -> str:
    """All that the database has of sessions, as a dump of it would show."""
    with database.transaction() as connection:
        rows = connection.execute("SELECT to_jsonb(session) AS row, token FROM session").fetchall()
    return " ".join(f"{row['row']} {bytes(row['token'] or b'')!r}" for row in rows)


def test_a_session_outlives_the_process_that_began_it(database: Database) -> None:
    person = annotator()
    cookie = Sessions(SETTINGS, database).cookie(person)["value"]
    with Database(database.url) as elsewhere:
        assert Sessions(SETTINGS, elsewhere).read(cookie) == person


def test_neither_cookie_nor_database_hold_a_token_or_each_other(database: Database) -> None:
    cookie = Sessions(SETTINGS, database).cookie(annotator())["value"]
    kept = everything(database)
    assert "vera@example.com" in kept
    assert TOKEN not in kept + cookie and cookie not in kept and "vera" not in cookie
    assert TOKEN not in repr(annotator()) and cookie not in repr(Sessions(SETTINGS, database).read(cookie))


def test_two_sessions_of_one_person_are_two(database: Database) -> None:
    sessions = Sessions(SETTINGS, database)
    first, second = (sessions.cookie(annotator())["value"] for _ in range(2))
    assert first != second and sessions.csrf(sessions.read(first)) != sessions.csrf(sessions.read(second))
    sessions.end(sessions.read(first))
    with pytest.raises(SignInError, match="ended"):
        sessions.read(first)
    assert sessions.read(second).token == TOKEN


def test_a_session_ends_by_itself_and_is_forgotten(database: Database) -> None:
    sessions = Sessions(SETTINGS, database)
    cookie = sessions.cookie(annotator())["value"]
    with database.transaction() as connection:
        connection.execute("UPDATE session SET ends_at = now()")
    with pytest.raises(SignInError, match="nothing you labelled is lost"):
        sessions.read(cookie)
    sessions.cookie(annotator())
    with database.transaction() as connection:
        assert connection.execute("SELECT count(*) AS n FROM session").fetchall() == [{"n": 1}]


def test_a_session_holds_as_long_as_is_set(database: Database) -> None:
    for hours in (0.5, 12.0):
        sessions = Sessions(SETTINGS.model_copy(update={"session_hours": hours}), database)
        assert sessions.cookie(annotator())["max_age"] == 3600 * hours
    with database.transaction() as connection:
        kept = connection.execute("SELECT round(extract(epoch FROM ends_at - begun_at))::int AS s FROM session")
        assert sorted(row["s"] for row in kept) == [1800, 43200]


def test_another_secret_ends_sessions_that_hold_a_token(database: Database) -> None:
    cookie = Sessions(SETTINGS, database).cookie(annotator())["value"]
    renewed = Settings.model_validate({"secret": "renewed"})
    with pytest.raises(SignInError, match="not valid any more"):
        Sessions(renewed, database).read(cookie)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(forged=st.text(max_size=300))
def test_no_text_is_taken_for_a_cookie(database: Database, forged: str) -> None:
    sessions = Sessions(SETTINGS, database)
    cookie = sessions.cookie(annotator())["value"]
    for wrong in (forged, forged + cookie + "x", cookie[:-1], cookie + "\0", "\ud800"):
        with pytest.raises(SignInError):
            sessions.read(wrong)


@pytest.fixture
def client(app: Any) -> Iterator[TestClient]:
    yield TestClient(app, raise_server_exceptions=False)


def test_a_copy_of_the_cookie_is_worth_nothing_after_signing_out(client: TestClient, vera: Visitor) -> None:
    copied = {"Cookie": f"{COOKIE}={vera.client.cookies[COOKIE]}"}
    assert client.get("/explore/api/searches", headers=copied).status_code == 200
    assert vera.delete("/session").json() == {"person": None}
    problem(vera.get("/searches"), 401, "signed_out")
    problem(client.get("/explore/api/searches", headers=copied), 401, "signed_out")
