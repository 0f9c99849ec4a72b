"""What a doctor says of the host itself."""

import os
from collections import namedtuple
from pathlib import Path

import pytest

from backend_ml.doctor import database, host
from backend_ml.doctor.findings import Finding
from backend_ml.local.data_folder import write_environment
from backend_ml.settings import Settings

Usage = namedtuple("Usage", "total used free")
SECRETS = {"secret": "hush", "backend_password": "word", "label_studio_token": "f" * 40}


def test_settings_that_are_missing_are_named_with_what_sets_them(tmp_path: Path) -> None:
    complete = Settings.model_validate({"home": tmp_path, **SECRETS})
    (found,) = host.settings_given(complete)
    assert found.state == "ok" and "without a file" in found.text
    write_environment(tmp_path, {"A": "b"})
    assert "with a file" in next(host.settings_given(complete)).text
    missing = list(host.settings_given(Settings.model_validate({"home": tmp_path, "secret": "hush"})))
    assert [one.text.partition(" ")[0] for one in missing] == [
        "GALAXYLOOP_BACKEND_PASSWORD",
        "GALAXYLOOP_LABEL_STUDIO_TOKEN",
    ]
    assert {one.command for one in missing} == {"galaxyloop up"}
    elsewhere = Settings.model_validate({"home": tmp_path, "secret": "hush", "database_url": "postgresql://x/y"})
    assert "export GALAXYLOOP_LABEL_STUDIO_TOKEN=..." in [one.command for one in host.settings_given(elsewhere)]


@pytest.mark.parametrize(
    ("wanted", "wrong"),
    [
        (["numpy>=2.2", "label-studio-sdk==2.1.2", 'faiss-cpu>=1.9; extra == "cpu"'], []),
        (["numpy", "no-such-thing>=1"], ["no-such-thing>=1 (found: none)"]),
        (["label-studio-sdk==1.0.0"], ["label-studio-sdk==1.0.0 (found: 2.1.2)"]),
    ],
)
def test_packages_that_are_not_as_wanted(monkeypatch: pytest.MonkeyPatch, wanted: list[str], wrong: list[str]) -> None:
    monkeypatch.setattr(host.metadata, "requires", lambda _: wanted)
    (found,) = host.packages()
    assert found.state == ("fail" if wrong else "ok")
    assert all(one in found.text for one in wrong) and found.command == ("make setup" if wrong else "")


@pytest.mark.parametrize(("free", "state"), [(6e9, "ok"), (4e9, "warn"), (0.9e9, "fail")])
def test_a_disk_that_fills(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: float, state: str) -> None:
    monkeypatch.setattr(host.shutil, "disk_usage", lambda _: Usage(int(1e12), 0, int(free)))
    found = list(host.disk(Settings(home=tmp_path / "not there yet")))
    assert {one.state for one in found} == {state}
    assert f"{free / 1e9:.1f} GB free for the data folder" in found[0].text
    assert found[0].command.startswith("du ") == (state != "ok")


def test_a_store_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(home=tmp_path, store=tmp_path / "the store")

    def said() -> Finding:
        return next(host.store(settings))

    assert said().command == f"mkdir -p '{tmp_path}/the store'"
    (tmp_path / "the store").mkdir()
    assert said().state == "ok" and list((tmp_path / "the store").iterdir()) == []

    def refuse(**_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(host.tempfile, "TemporaryFile", refuse)
    assert (said().state, said().command) == ("fail", f"chown -R {os.geteuid()} '{tmp_path}/the store'")


def test_no_database_is_said_with_what_brings_one_along(tmp_path: Path) -> None:
    url, (found,) = database.reachable(Settings(home=tmp_path))
    assert (url, found.state, found.command) == ("", "fail", "galaxyloop up")
    away = Settings.model_validate({"database_url": "postgresql:///galaxyloop?host=/nowhere"})
    url, (found,) = database.reachable(away)
    assert url == "" and "does not answer" in found.text and "$GALAXYLOOP_DATABASE_URL" in found.command
    unreadable = Settings.model_validate({"database_url": "postgresql://anne:pass word@host/x y"})
    url, (found,) = database.reachable(unreadable)
    assert url == "" and "pass word" not in found.text
