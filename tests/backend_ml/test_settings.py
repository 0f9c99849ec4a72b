"""Settings from the environment: what is empty is not set, what is wrong is named in one line."""

import os
from pathlib import Path

import pytest
from pydantic import SecretStr
from typer.testing import CliRunner

from backend_ml.cli.main import app
from backend_ml.local.data_folder import write_environment
from backend_ml.settings import ENVIRONMENT, INSTALLATION, Settings, SettingsError


@pytest.mark.parametrize("name", list(Settings.model_fields))
@pytest.mark.parametrize("empty", ["", "  "])
def test_an_empty_variable_is_not_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, empty: str) -> None:
    monkeypatch.chdir(tmp_path)
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


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder that `galaxyloop up` left, and an environment that names it alone."""
    for name in Settings.model_fields:
        monkeypatch.delenv(f"GALAXYLOOP_{name.upper()}", raising=False)
    monkeypatch.setenv("GALAXYLOOP_HOME", str(tmp_path))
    values = {
        "HOME": "/elsewhere",
        "DATABASE_URL": "postgresql:///galaxyloop?host=/gone",
        "LABEL_STUDIO_URL": "http://127.0.0.1:8181",
        "LABEL_STUDIO_TOKEN": "of the folder",
        "SECRET": "of the folder",
        "PUSH_TOP": "7",
        "COLLEAGUE_TOKEN": "no setting",
    }
    write_environment(tmp_path, {f"GALAXYLOOP_{name}": value for name, value in values.items()})
    return tmp_path


def test_another_terminal_finds_the_servers_of_a_data_folder(home: Path) -> None:
    settings = Settings()
    assert settings.label_studio_url == "http://127.0.0.1:8181" and settings.push_top == 7
    assert settings.secret == settings.label_studio_token == SecretStr("of the folder")
    # whether the database that the file names runs is another question: `serve` would bring one along
    assert (settings.home, settings.database_url) == (home, None)
    assert Settings(home=home / "other").push_top == 200


def test_the_usual_folder_is_found_from_where_the_servers_were_started(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GALAXYLOOP_HOME")
    monkeypatch.chdir(home)
    usual = home / "build/galaxyloop"
    usual.mkdir(parents=True)
    (home / ENVIRONMENT).rename(usual / ENVIRONMENT)
    assert Settings().push_top == 7


def test_a_variable_comes_before_the_file(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GALAXYLOOP_PUSH_TOP", "9")
    settings = Settings()
    assert settings.push_top == 9 and settings.label_studio_url == "http://127.0.0.1:8181"


@pytest.mark.parametrize("name", sorted(INSTALLATION))
def test_no_secret_of_the_file_goes_to_another_installation(
    home: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """One variable that names another installation, and the file says nothing at all."""
    monkeypatch.setenv(f"GALAXYLOOP_{name.upper()}", "http://elsewhere")
    settings = Settings()
    kept = {
        settings.secret.get_secret_value(),
        settings.label_studio_token.get_secret_value(),
        settings.label_studio_url,
    }
    assert not kept & {"of the folder", "http://127.0.0.1:8181"} and settings.push_top == 200
    monkeypatch.setenv(f"GALAXYLOOP_{name.upper()}", " ")
    assert Settings().push_top == 7, "an empty variable says nothing"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o606])
def test_a_file_that_others_read_or_write_is_refused(home: Path, mode: int) -> None:
    (home / ENVIRONMENT).chmod(mode)
    with pytest.raises(SettingsError, match="others may read it") as caught:
        Settings()
    assert caught.value.hint == f"chmod 600 {home / ENVIRONMENT}"
    (home / ENVIRONMENT).chmod(0o600)
    assert Settings().push_top == 7


def test_a_file_of_another_user_is_refused(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a folder that anybody may write, somebody could lay one that leads commands to servers of theirs."""
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises(SettingsError, match="belongs to another user"):
        Settings()


def test_a_wrong_value_of_the_file_is_named(home: Path) -> None:
    write_environment(home, {"GALAXYLOOP_PUSH_TOP": "many"})
    with pytest.raises(SettingsError, match="GALAXYLOOP_PUSH_TOP: "):
        Settings()
