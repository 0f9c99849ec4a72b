"""Settings from the environment: what is empty is not set, what is wrong is named in one line."""

from pathlib import Path

import pytest
from pydantic import SecretStr
from typer.testing import CliRunner

from backend_ml.cli.main import app
from backend_ml.settings import Settings, SettingsError


@pytest.mark.parametrize("name", list(Settings.model_fields))
@pytest.mark.parametrize("empty", ["", "  "])
def test_an_empty_variable_is_not_set(monkeypatch: pytest.MonkeyPatch, name: str, empty: str) -> None:
    for other in Settings.model_fields:
        monkeypatch.delenv(f"GALAXYLOOP_{other.upper()}", raising=False)
    monkeypatch.setenv(f"GALAXYLOOP_{name.upper()}", empty)
    assert Settings() == Settings.model_construct(**{n: field.default for n, field in Settings.model_fields.items()})


@pytest.mark.parametrize(
    ("name", "value", "what"),
    [
        ("PUSH_TOP", "all", "valid integer"),
        ("PUSH_TOP", "0", "greater than or equal to 1"),
        ("REFIT_DEBOUNCE", "1s", "valid number"),
        ("RECONCILE_SECONDS", "61", "less than or equal to 60"),
        ("PUBLIC_URL", "galaxies.example.org", "begins with http:// or https://"),
        ("BACKEND_URL", "http://", "begins with http:// or https://"),
        ("PROXIES", "10.0.0.1, proxy.example.org", "does not appear to be an IPv4 or IPv6 network"),
    ],
)
def test_a_wrong_variable_is_named_in_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, value: str, what: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(f"GALAXYLOOP_{name}", value)
    with pytest.raises(SettingsError, match=f"GALAXYLOOP_{name}: .*{what}"):
        Settings()
    for command in (["serve"], ["worker"], ["campaign", "list"], ["campaign", "status", "x"]):
        result = CliRunner().invoke(app, command)
        assert result.exit_code == 1 and "Traceback" not in result.output
        assert f"Error: GALAXYLOOP_{name}: " in " ".join(result.stderr.split())
    assert list(tmp_path.iterdir()) == []


def test_several_wrong_variables_are_all_named_and_no_secret_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GALAXYLOOP_PUSH_TOP", "s3cret-all")
    monkeypatch.setenv("GALAXYLOOP_FINETUNE_AFTER", "-1")
    with pytest.raises(SettingsError, match=r"GALAXYLOOP_PUSH_TOP: .*; GALAXYLOOP_FINETUNE_AFTER: ") as caught:
        Settings()
    assert "s3cret" not in str(caught.value)


def test_addresses_lose_their_last_slash_and_passwords_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GALAXYLOOP_PUBLIC_URL", " https://host/gl/ ")
    monkeypatch.setenv("GALAXYLOOP_TEAM_PASSWORD", " two words ")
    settings = Settings()
    assert settings.public_url == "https://host/gl"
    assert settings.team_password == SecretStr(" two words ")
