"""What keeps the servers of a data folder from starting is said in a line, before the first of them is up."""

import socket
from pathlib import Path

import psycopg
import pytest
from typer.testing import CliRunner

from backend_ml.cli.main import app
from backend_ml.local import data_folder, servers
from backend_ml.local.postgres import PostgresError, start_embedded
from backend_ml.local.processes import ProcessError, own
from backend_ml.settings import SettingsError
from backend_ml.store.database import Database, DatabaseError
from lvm_training.errors import GalaxyLoopError
from tests.installation import quiet

PROGRAM = Path("/bin/false")  # never started by these


def refused(home: Path, **options: int) -> GalaxyLoopError:
    """The error that starting the servers ends with."""
    with pytest.raises(GalaxyLoopError) as caught, servers.running(home, quiet, program=PROGRAM, **options):
        pass
    return caught.value


@pytest.mark.parametrize("command", [["up"], ["demo", "--data", "{pictures}"]], ids=["up", "demo"])
def test_a_missing_label_studio_is_said_before_anything_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    monkeypatch.setenv("GALAXYLOOP_LABEL_STUDIO_BIN", "/nowhere/label-studio")
    (tmp_path / "pictures").mkdir()
    arguments = [word.format(pictures=tmp_path / "pictures") for word in command]
    result = CliRunner().invoke(app, [*arguments, "--home", str(tmp_path / "home")])
    assert result.exit_code == 1
    said = " ".join(result.stderr.split())
    assert "Label Studio is not installed (/nowhere/label-studio)" in said and "make setup" in said
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize(
    ("name", "option", "url"),
    [
        ("The backend", "backend_port", "GALAXYLOOP_BACKEND_URL"),
        ("Label Studio", "label_studio_port", "GALAXYLOOP_LABEL_STUDIO_URL"),
    ],
)
def test_a_port_that_others_know_must_be_free(tmp_path: Path, name: str, option: str, url: str) -> None:
    """One that was asked for, and the one of the time before."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        asked = refused(tmp_path / "new", **{option: port})
        assert f"{name} needs port {port}, which is taken by process" in asked.message and "--help" in asked.hint
        (tmp_path / "old").mkdir()
        data_folder.write_environment(tmp_path / "old", {url: f"http://127.0.0.1:{port}"})
        assert refused(tmp_path / "old").message == asked.message
    assert not (tmp_path / "old/postgres").exists()


def test_a_disk_that_is_nearly_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_folder, "LEAST_SPACE", 10**18)
    assert isinstance(refused(tmp_path), ProcessError) and not (tmp_path / "postgres").exists()


def test_a_shell_that_means_other_servers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GALAXYLOOP_LABEL_STUDIO_URL", "https://labels.example.org")
    assert isinstance(refused(tmp_path), SettingsError) and not (tmp_path / "postgres").exists()


def test_a_database_of_a_newer_version(tmp_path: Path) -> None:
    with own(tmp_path) as home, start_embedded(home) as postgres:
        with Database(postgres.url("galaxyloop")):
            pass
        with psycopg.connect(postgres.url("galaxyloop")) as connection:
            connection.execute("UPDATE schema_version SET number = 999")
    error = refused(tmp_path)
    assert isinstance(error, DatabaseError) and "schema version 999" in error.message
    assert "Update Galaxy Loop" in error.hint
    # of a PostgreSQL whose files this one does not read
    (tmp_path / "postgres/PG_VERSION").write_text("99\n")
    error = refused(tmp_path)
    assert isinstance(error, PostgresError) and "PostgreSQL 99 made" in error.message
