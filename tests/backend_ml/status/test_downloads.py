"""Files of a campaign's page: under its name whatever that is, and gone from the disk once they are sent or failed."""

import asyncio
import re
from dataclasses import replace
from pathlib import Path

import pytest

from backend_ml.status.downloads import MEDIA, download
from backend_ml.status.page import DOWNLOADS
from backend_ml.store.records import Campaign


@pytest.fixture(autouse=True)
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary files of this process go."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("Rings of 2026", "Rings-of-2026"),
        ("../../etc/passwd", "etc-passwd"),
        ('a"; filename="evil.exe', "a-filename-evil.exe"),
        ("银河", "campaign"),
        ("α rings", "rings"),
        ("...", "campaign"),
        ("two\r\nlines", "two-lines"),
        (" - ", "campaign"),
    ],
)
def test_a_file_is_called_by_what_every_disk_takes(campaign: Campaign, name: str, file: str, scratch: Path) -> None:
    answer = download(replace(campaign, name=name), "labels.csv", lambda path: path.write_text("a,b\n"))
    said = answer.headers["Content-Disposition"]
    assert said == f'attachment; filename="{file}-labels.csv"'
    assert "no-store" in answer.headers["Cache-Control"] and answer.headers["Content-Type"].startswith("text/csv")
    assert answer.background is not None
    asyncio.run(answer.background())
    assert list(scratch.iterdir()) == []


def test_what_fails_leaves_nothing(campaign: Campaign, scratch: Path) -> None:
    def fails(path: Path) -> None:
        path.write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        download(campaign, "labels.csv", fails)
    assert list(scratch.iterdir()) == []


def test_every_file_that_the_page_offers_has_a_type() -> None:
    assert {re.sub(r".*(?=\.)", "", name) for name in DOWNLOADS} <= set(MEDIA)
