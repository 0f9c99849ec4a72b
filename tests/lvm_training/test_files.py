"""Atomic writes, and work that one does at a time."""

import csv
import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lvm_training.errors import OutputError
from lvm_training.files import (
    alone,
    refuse_others,
    try_writing,
    write_atomically,
    write_csv,
    write_json,
    write_together,
)

HOLDS = """
import sys
from pathlib import Path

from lvm_training.files import alone

with alone(Path(sys.argv[1])):
    print("in", flush=True)
    input()
"""
"""Stays in until it is told to go."""


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file"
    write_atomically(path, lambda partial: partial.write_text("old"))

    def fail(partial: Path) -> None:
        partial.write_text("half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_atomically(path, fail)
    assert path.read_text() == "old"
    write_atomically(path, lambda partial: partial.write_text("new"))
    assert path.read_text() == "new"
    assert [item.name for item in path.parent.iterdir()] == ["file"]


def test_of_several_files_all_are_written_or_none(tmp_path: Path) -> None:
    first, second = tmp_path / "weights", tmp_path / "new" / "card"
    write_together(
        {first: lambda partial: partial.write_text("old"), second: lambda partial: partial.write_text("old")}
    )
    with pytest.raises(OSError, match="No space left"):
        write_together(
            {first: lambda partial: partial.write_text("new"), second: lambda _: Path("/dev/full").write_text("new")}
        )
    assert (first.read_text(), second.read_text()) == ("old", "old")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["card", "new", "weights"]


def test_trying_to_write_leaves_no_trace(tmp_path: Path) -> None:
    try_writing(tmp_path / "new" / "folder")
    try_writing(tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["taken", "taken/below"])
def test_a_file_in_a_folder_s_place_cannot_be_written_to(tmp_path: Path, name: str) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(NotADirectoryError):
        try_writing(tmp_path / name)
    assert (tmp_path / "taken").read_text() == "a file"


def test_a_file_system_that_takes_no_files_is_noticed() -> None:
    with pytest.raises(OSError):
        try_writing(Path("/proc/new"))


def test_threads_that_ask_for_the_same_file_come_in_one_by_one(tmp_path: Path) -> None:
    lock, inside, most = tmp_path / "new" / "lock", [0], [0]

    def come(_: int) -> None:
        with alone(lock):
            inside[0] += 1
            most[0] = max(most[0], inside[0])
            assert lock.is_file()
            time.sleep(0.002)  # long enough for another to come in, were the door open
            inside[0] -= 1

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(come, range(24)))
    assert most == [1]
    assert not list(lock.parent.iterdir())


def test_who_fails_inside_lets_the_next_in(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="broken"), alone(tmp_path / "lock"):
        raise ValueError("broken")
    with alone(tmp_path / "lock"):
        assert (tmp_path / "lock").is_file()


def test_a_killed_process_lets_go(tmp_path: Path) -> None:
    lock = tmp_path / "lock"

    def come() -> bool:
        with alone(lock):
            return lock.is_file()

    command = [sys.executable, "-c", HOLDS, str(lock)]
    with (
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other,
        ThreadPoolExecutor(1) as pool,
    ):
        assert other.stdout is not None and other.stdout.readline() == "in\n"
        waiting = pool.submit(come)
        with pytest.raises(TimeoutError):
            waiting.result(timeout=0.3)
        other.kill()
        assert waiting.result()


@given(rows=st.lists(st.tuples(st.text(st.characters(exclude_characters="\r\0", codec="utf-8")), st.integers())))
def test_a_table_is_read_back_as_it_was_written(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, int]]
) -> None:
    path = tmp_path_factory.mktemp("tables") / "new" / "table.csv"
    write_csv(path, ("word", "number"), rows)
    with path.open(newline="", encoding="utf-8") as stream:
        read = list(csv.reader(stream))
    assert read == [["word", "number"], *([word, str(number)] for word, number in rows)]
    again = path.with_name("again.csv")
    write_csv(again, ("word", "number"), iter(rows))
    assert again.read_bytes() == path.read_bytes()


def test_a_document_that_is_no_json_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "metrics.json"
    write_json(path, {"auc": 0.5})
    with pytest.raises(TypeError):
        write_json(path, {"auc": object()})
    assert json.loads(path.read_text()) == {"auc": 0.5} and path.read_text().endswith("}\n")


def test_a_file_that_others_made_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "thesis.json"
    refuse_others(path, b"replay")  # is not there
    path.touch()
    refuse_others(path, b"replay")  # is empty
    path.write_bytes(b"{" + b" " * 70_000 + b'"replay"}')
    with pytest.raises(OutputError, match=r"thesis\.json is there already") as found:
        refuse_others(path, b"replay")
    assert found.value.hint
    path.write_bytes(b'{"replay": 1}')
    refuse_others(path, b"plot", b"replay")
    with pytest.raises(OutputError, match=r"is there already\. "):
        refuse_others(path)  # whoever made it
    assert path.read_bytes() == b'{"replay": 1}'
