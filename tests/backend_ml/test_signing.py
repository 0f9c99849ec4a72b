"""Credentials, secrets and signatures."""

import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend_ml import signing
from backend_ml.settings import Settings, SettingsError

SETTINGS = Settings.model_validate({"secret": "s3cret", "backend_password": "pass:word", "backend_user": "ls"})


def basic(text: str) -> str:
    return "Basic " + base64.b64encode(text.encode()).decode()


def test_the_right_credentials_pass() -> None:
    assert signing.has_basic_credentials(basic("ls:pass:word"), SETTINGS)


@pytest.mark.parametrize(
    "header",
    [None, "", "Basic", "Basic !!!", "Bearer abc", basic("ls:wrong"), basic("other:pass:word"), basic("ls"), "Basic é"],
)
def test_anything_else_does_not(header: str | None) -> None:
    assert not signing.has_basic_credentials(header, SETTINGS)


def test_the_webhook_secret_is_derived_not_the_secret_itself() -> None:
    secret = signing.webhook_secret(SETTINGS)
    assert "s3cret" not in secret
    assert signing.has_secret(secret, SETTINGS)
    assert not any(signing.has_secret(other, SETTINGS) for other in (None, "", "s3cret", secret[:-1], "é"))


def test_a_key_signs_one_stamp_for_one_campaign() -> None:
    key = signing.link_key("stamp", "set", 3, signing.Links(1), SETTINGS)
    assert signing.has_link_key(key, "stamp", "set", 3, signing.Links(1), SETTINGS)
    assert not signing.has_link_key(key, "stamp", "set", 4, signing.Links(1), SETTINGS)
    assert not signing.has_link_key(key, "stamp", "other", 3, signing.Links(1), SETTINGS)
    assert not signing.has_link_key(key, "stamp", "set", 3, signing.Links(2), SETTINGS)
    assert not signing.has_link_key(
        key, "stamp", "set", 3, signing.Links(1), SETTINGS.model_copy(update={"secret": Settings().secret})
    )


def test_the_key_of_a_picture_opens_no_answers() -> None:
    why, stamp = (
        signing.link_key("why", "set", 3, signing.Links(1), SETTINGS),
        signing.link_key("stamp", "set", 3, signing.Links(1), SETTINGS),
    )
    assert signing.has_link_key(why, "why", "set", 3, signing.Links(1), SETTINGS)
    assert not signing.has_link_key(stamp, "why", "set", 3, signing.Links(1), SETTINGS)
    assert not signing.has_link_key(why, "stamp", "set", 3, signing.Links(1), SETTINGS)
    assert not any(
        signing.has_link_key(why, "why", *other, SETTINGS)
        for other in (("set", 4, signing.Links(1)), ("a", 3, signing.Links(1)), ("set", 3, signing.Links(2)))
    )
    assert not signing.has_link_key("é", "why", "set", 3, signing.Links(1), SETTINGS)


LINKS = st.builds(signing.Links, st.integers(0, 99), st.integers(0, 3))
LINKED = st.tuples(
    st.sampled_from(["stamp", "why"]), st.text("ab/1.", min_size=1, max_size=6), st.integers(0, 99), LINKS
)


@given(LINKED, LINKED)
def test_a_key_is_of_one_link_however_a_set_is_named(one: Any, other: Any) -> None:
    key = signing.link_key(*one, SETTINGS)
    assert len(key) == 32 and signing.has_link_key(key, *one, SETTINGS)
    assert signing.has_link_key(key, *other, SETTINGS) == (one == other)


@given(st.text(), st.text().filter(str.strip))
def test_credentials_are_the_user_s_and_the_password_s_to_the_letter(user: str, password: str) -> None:
    given = basic(f"{user}:{password}")
    assert signing.has_basic_credentials(given, SETTINGS) == (f"{user}:{password}" == "ls:pass:word")
    own = Settings.model_validate({"backend_user": "é", "backend_password": password})
    assert signing.has_basic_credentials(basic(f"é:{password}"), own)


@given(st.text())
def test_no_header_breaks_the_check(header: str) -> None:
    assert not signing.has_basic_credentials(header, SETTINGS)
    assert not signing.has_basic_credentials(f"Basic {header}", SETTINGS)


def test_set_names_cannot_escape_the_path() -> None:
    assert signing.stamp_path("a/../b?c", 1, signing.Links(1), SETTINGS).startswith("/stamps/a%2F..%2Fb%3Fc/1.jpg?")


def test_missing_settings_are_named() -> None:
    with pytest.raises(SettingsError, match="GALAXYLOOP_SECRET, GALAXYLOOP_BACKEND_PASSWORD"):
        Settings().require("secret", "backend_password")


def test_settings_come_from_the_environment_and_keep_secrets_out_of_their_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GALAXYLOOP_SECRET", "hush")
    monkeypatch.setenv("GALAXYLOOP_PUSH_TOP", "7")
    settings = Settings()
    assert settings.push_top == 7
    assert settings.secret.get_secret_value() == "hush"
    assert "hush" not in repr(settings)


def test_a_key_of_a_former_series_holds_no_more() -> None:
    keys = [signing.link_key("stamp", "set", 3, signing.Links(1, series), SETTINGS) for series in range(3)]
    for series, key in enumerate(keys):
        links = signing.Links(1, series)
        assert [signing.has_link_key(one, "stamp", "set", 3, links, SETTINGS) for one in keys] == [
            one == key for one in keys
        ]
    assert not signing.has_link_key(keys[0], "stamp", "set", 3, None, SETTINGS)
