"""A host's data folder."""

import os
import stat
import subprocess
from pathlib import Path

import pytest

from backend_ml.local import data_folder
from backend_ml.local.postgres import EmbeddedPostgres
from backend_ml.local.processes import ProcessError, own
from backend_ml.settings import ENVIRONMENT, Settings, SettingsError, read_environment


def test_secrets_are_drawn_once_and_readable_by_the_owner_alone(tmp_path: Path) -> None:
    first = data_folder.local_secrets(tmp_path)
    assert data_folder.local_secrets(tmp_path) == first
    assert len(set(first.values())) == len(first)
    assert stat.S_IMODE((tmp_path / ENVIRONMENT).stat().st_mode) == 0o600


def test_the_environment_file_keeps_what_others_wrote(tmp_path: Path) -> None:
    data_folder.write_environment(tmp_path, {"A": "1", "B": "x y=z"})
    data_folder.write_environment(tmp_path, {"A": "2"})
    assert read_environment(tmp_path) == {"A": "2", "B": "x y=z"}


@pytest.mark.parametrize(
    "value", ["it's", "$(touch made)", "`id`", 'a "b" \\c', "", "one\ntwo", "a'; echo b; 'c", "#1"]
)
def test_a_shell_that_sources_the_file_reads_what_was_written(tmp_path: Path, value: str) -> None:
    path = data_folder.write_environment(tmp_path, {"GALAXYLOOP_HOME": value, "OTHER": "1"})
    assert read_environment(tmp_path) == {"GALAXYLOOP_HOME": value, "OTHER": "1"}
    script = f". {path} && printenv GALAXYLOOP_HOME && printenv OTHER"
    read = subprocess.run(["sh", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert (read.stdout, read.stderr) == (f"{value}\n1\n", "")
    assert [file.name for file in tmp_path.iterdir()] == [ENVIRONMENT]


def test_no_database_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        data_folder.database_url(Settings(home=tmp_path))
    assert "galaxyloop up" in caught.value.hint


def test_servers_that_start_are_told_from_none(tmp_path: Path) -> None:
    with own(tmp_path), pytest.raises(SettingsError, match="are starting"):
        data_folder.database_url(Settings(home=tmp_path))
    # what a crash left names a process that began before this one, or none
    os.utime(tmp_path / "lock", (0, 0))
    with pytest.raises(SettingsError, match="none runs in"):
        data_folder.database_url(Settings(home=tmp_path))


def test_a_running_server_of_the_folder_is_found(tmp_path: Path, postgres: EmbeddedPostgres) -> None:
    data_folder.write_environment(tmp_path, {"GALAXYLOOP_DATABASE_URL": postgres.url("galaxyloop")})
    assert data_folder.database_url(Settings(home=tmp_path)) == postgres.url("galaxyloop")
    configured = Settings.model_validate({"database_url": "postgresql://elsewhere/x"})
    assert data_folder.database_url(configured) == "postgresql://elsewhere/x"


def test_a_full_disk_is_refused_before_servers_fill_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data_folder.check_space(tmp_path)
    monkeypatch.setattr(data_folder, "LEAST_SPACE", 10**18)
    with pytest.raises(ProcessError, match=r"Only .* GB are free on the disk of") as caught:
        data_folder.check_space(tmp_path)
    assert "GALAXYLOOP_HOME" in caught.value.hint


def test_a_shell_that_means_other_servers_is_told_which_variables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = data_folder.local_secrets(tmp_path)
    # as in a shell that has sourced the file
    for name, value in kept.items():
        monkeypatch.setenv(name, value)
    data_folder.check_environment(tmp_path)
    monkeypatch.setenv("GALAXYLOOP_SECRET", "hush")
    monkeypatch.setenv("GALAXYLOOP_LABEL_STUDIO_URL", "https://labels.example.org")
    monkeypatch.setenv("GALAXYLOOP_DATABASE_URL", "")
    with pytest.raises(SettingsError, match="GALAXYLOOP_LABEL_STUDIO_URL, GALAXYLOOP_SECRET: set") as caught:
        data_folder.check_environment(tmp_path)
    assert caught.value.hint == "unset GALAXYLOOP_LABEL_STUDIO_URL GALAXYLOOP_SECRET"
    assert "hush" not in str(caught.value)
