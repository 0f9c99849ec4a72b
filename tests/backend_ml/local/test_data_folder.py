"""A host's data folder."""

import stat
import subprocess
from pathlib import Path

import pytest

from backend_ml.local import data_folder
from backend_ml.local.postgres import EmbeddedPostgres
from backend_ml.settings import Settings, SettingsError


def test_secrets_are_drawn_once_and_readable_by_the_owner_alone(tmp_path: Path) -> None:
    first = data_folder.local_secrets(tmp_path)
    assert data_folder.local_secrets(tmp_path) == first
    assert len(set(first.values())) == len(first)
    assert stat.S_IMODE((tmp_path / data_folder.ENVIRONMENT).stat().st_mode) == 0o600


def test_the_environment_file_keeps_what_others_wrote(tmp_path: Path) -> None:
    data_folder.write_environment(tmp_path, {"A": "1", "B": "x y=z"})
    data_folder.write_environment(tmp_path, {"A": "2"})
    assert data_folder.read_environment(tmp_path) == {"A": "2", "B": "x y=z"}


@pytest.mark.parametrize(
    "value", ["it's", "$(touch made)", "`id`", 'a "b" \\c', "", "one\ntwo", "a'; echo b; 'c", "#1"]
)
def test_a_shell_that_sources_the_file_reads_what_was_written(tmp_path: Path, value: str) -> None:
    path = data_folder.write_environment(tmp_path, {"GALAXYLOOP_HOME": value, "OTHER": "1"})
    assert data_folder.read_environment(tmp_path) == {"GALAXYLOOP_HOME": value, "OTHER": "1"}
    script = f". {path} && printenv GALAXYLOOP_HOME && printenv OTHER"
    read = subprocess.run(["sh", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert (read.stdout, read.stderr) == (f"{value}\n1\n", "")
    assert [file.name for file in tmp_path.iterdir()] == [data_folder.ENVIRONMENT]


def test_no_database_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        data_folder.database_url(Settings(home=tmp_path))
    assert "galaxyloop serve" in caught.value.hint


def test_a_running_server_of_the_folder_is_found(tmp_path: Path, postgres: EmbeddedPostgres) -> None:
    data_folder.write_environment(tmp_path, {"GALAXYLOOP_DATABASE_URL": postgres.url("galaxyloop")})
    assert data_folder.database_url(Settings(home=tmp_path)) == postgres.url("galaxyloop")
    configured = Settings.model_validate({"database_url": "postgresql://elsewhere/x"})
    assert data_folder.database_url(configured) == "postgresql://elsewhere/x"
