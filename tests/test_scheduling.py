"""Which tests share a process, and in what order they run."""

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.scheduling import FORKS, KILLS, LONG, OWN_SERVERS, WITH_LABEL_STUDIO, OneLabelStudio, order

ROOT = Path(__file__).parent.parent
FILES = {str(path.relative_to(ROOT)): path.read_text() for path in sorted(ROOT.glob("tests/**/test_*.py"))}


def scope(file: str) -> str:
    scheduler = object.__new__(OneLabelStudio)
    return scheduler._split_scope(f"{file}::test_it[a::b]")


def test_every_name_is_a_file_or_folder() -> None:
    for name in (*WITH_LABEL_STUDIO, KILLS, OWN_SERVERS, *FORKS, *LONG):
        assert (ROOT / name).exists(), name


def test_files_that_fork_share_a_process() -> None:
    imports = re.compile(r"^from tests(\.forked import| import forked)|warm_(python|interpreter)", re.MULTILINE)
    forking = {file for file, text in FILES.items() if imports.search(text)}
    assert len(forking) > 5
    assert {scope(file) for file in forking} == {"forks"}


def test_one_process_has_label_studio_and_every_other_file_is_on_its_own() -> None:
    shared = {file for file in FILES if scope(file) == "Label Studio"}
    assert shared == {file for file in FILES if file.startswith(WITH_LABEL_STUDIO)} - {OWN_SERVERS}
    assert all(scope(file) == file for file in FILES if scope(file) not in ("Label Studio", "forks"))


def test_the_longest_come_first_and_the_kills_behind_all_who_need_the_servers() -> None:
    items: list[Any] = [SimpleNamespace(nodeid=f"{file}::test_it") for file in FILES]
    order(items)
    files = [item.nodeid.partition("::")[0] for item in items]
    places = {file: place for place, file in enumerate(files)}
    count = sum(scope(file) == "Label Studio" for file in FILES)
    assert {scope(file) for file in files[:count]} == {"Label Studio"} and files[count - 1] == KILLS
    long = [places[file] for file in FILES if file.startswith(LONG)]
    assert sorted(long) == list(range(count, count + len(long))) and places[OWN_SERVERS] == count + len(long)


def test_a_second_label_studio_is_refused() -> None:
    for file in (OWN_SERVERS, "tests/test_docs.py"):
        items: list[Any] = [SimpleNamespace(nodeid=f"{file}::test_it", fixturenames=["installation"])]
        with pytest.raises(pytest.UsageError, match="would start a second Label Studio"):
            order(items)
