"""Atomic writes."""

from pathlib import Path

import pytest

from lvm_training.files import try_writing, write_atomically, write_together


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
