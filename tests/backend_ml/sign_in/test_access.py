"""A change is taken from the page itself alone, whatever `Origin` says."""

import asyncio
from typing import Any

import pytest
from fastapi import Request
from hypothesis import given
from hypothesis import strategies as st

from backend_ml.settings import Settings
from backend_ml.sign_in.access import ForgeryError, Pages, from_page
from backend_ml.sign_in.person import Person
from backend_ml.sign_in.sessions import Sessions

PUBLIC = "https://survey.example.org/galaxies"
SETTINGS = Settings.model_validate({"secret": "hush", "public_url": PUBLIC})
NOTHING: Any = None


def pages(settings: Settings = SETTINGS) -> Pages:
    return Pages(settings, NOTHING, Sessions(settings, NOTHING), NOTHING)


def asked(origin: str | None, host: str | None = "127.0.0.1:9090") -> bool:
    """Whether a call with these headers is taken."""
    headers = [] if host is None else [(b"host", host.encode())]
    request = Request({"type": "http", "headers": headers})
    try:
        asyncio.run(from_page(request, pages(), origin))
    except ForgeryError as error:
        assert f"{PUBLIC}/explore" in error.hint
        return False
    return True


@pytest.mark.parametrize(
    "origin",
    ["https://survey.example.org", "http://survey.example.org", "http://127.0.0.1:9090", "HTTP://127.0.0.1:9090"],
)
def test_the_public_address_and_the_one_that_was_called_are_the_page(origin: str) -> None:
    assert asked(origin)


@pytest.mark.parametrize(
    "origin",
    [
        *(None, "", "null", "survey.example.org", "https://", "http://[", "http://[::1"),
        *("https://survey.example.org.evil.example", "https://evil.example/survey.example.org"),
        *("https://survey.example.org@evil.example", "https://survey.example.org:444", "http://127.0.0.1:9091"),
    ],
)
def test_every_other_origin_is_foreign(origin: str | None) -> None:
    assert not asked(origin)


@given(st.text())
def test_no_text_is_taken_for_the_page(origin: str) -> None:
    assert not asked(origin) or origin.split("//", 1)[1].startswith(("survey.example.org", "127.0.0.1:9090"))


def test_a_call_without_host_is_not_from_nowhere() -> None:
    assert not asked(None, host=None) and not asked("", host=None)
    assert asked("https://survey.example.org", host=None)


@given(session=st.text(min_size=1), other=st.text(min_size=1), token=st.text())
def test_a_token_is_of_one_session_and_one_secret(session: str, other: str, token: str) -> None:
    sessions, person = Sessions(SETTINGS, NOTHING), Person("Vera", session=session)
    own = sessions.csrf(person)
    assert sessions.has_csrf(person, own)
    assert not sessions.has_csrf(person, None) and not sessions.has_csrf(person, own[:-2])
    assert sessions.has_csrf(person, token) == (token == own)
    assert sessions.has_csrf(Person("Vera", session=other), own) == (other == session)
    elsewhere = Sessions(Settings.model_validate({"secret": "another"}), NOTHING)
    assert not elsewhere.has_csrf(person, own)
