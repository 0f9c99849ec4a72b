"""Atomic writes."""

from pathlib import Path

import pytest

from lvm_training.files import write_atomically


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
