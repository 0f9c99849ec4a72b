"""What is shown of long work: a bar on a terminal, lines in a log."""

import io
import os
import pty
import subprocess
import sys

import pytest
from rich.console import Console

from lvm_training.progress import ProgressLines, progress_bar, write_line


def lines(interval: float) -> tuple[ProgressLines, io.StringIO]:
    """Lines into a text, each after `interval` seconds."""
    text = io.StringIO()
    return ProgressLines("Drawing :x: [red]", Console(file=text, emoji=False), interval), text


def test_a_log_gets_a_line_an_interval_with_the_time_left() -> None:
    progress, text = lines(0.0)
    progress(10, 100)
    progress(40, 100)
    progress(100, 100)
    first, second, last = text.getvalue().splitlines()
    assert first == "Drawing :x: [red]: 10 of 100, 0:00:00 elapsed"  # no pace yet: this may go on from a killed run
    assert second == "Drawing :x: [red]: 40 of 100, 0:00:00 elapsed, 0:00:00 left"
    assert last == "Drawing :x: [red]: 100 of 100, 0:00:00 elapsed"


def test_time_left_is_by_the_pace_of_this_run(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("lvm_training.progress.time.monotonic", lambda: now[0])
    progress, text = lines(60.0)
    progress(500, 1000)  # went on where another run stopped
    for done in range(510, 1000, 10):
        now[0] += 7.0
        progress(done, 1000)
    written = text.getvalue().splitlines()
    assert len(written) == 5  # 343 seconds
    assert written[0] == "Drawing :x: [red]: 590 of 1000, 0:01:03 elapsed, 0:04:47 left"


def test_nothing_between_two_lines_of_an_interval() -> None:
    progress, text = lines(3600.0)
    for done in range(100):
        progress(done, 100)
    assert text.getvalue() == ""


def test_a_line_is_written_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    line = "[red]ring :x: " + "word " * 60 + "1.0"
    write_line(line)
    assert capsys.readouterr() == ("", line + "\n")


def test_where_there_is_no_terminal_the_end_is_one_line_and_none_after_an_error(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with progress_bar("Reading") as progress:
        progress(3, 3)
    with progress_bar("Waiting"):
        pass
    with pytest.raises(ValueError), progress_bar("Breaking"):
        raise ValueError
    with progress_bar("Elsewhere", shown=False) as progress:
        progress(1, 2)
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == "Reading: 3 of 3, 0:00:00 elapsed\nWaiting: 0:00:00 elapsed\n"


def test_a_terminal_gets_a_bar_that_ends_full() -> None:
    ours, theirs = pty.openpty()
    code = "from lvm_training.progress import progress_bar\nwith progress_bar('Drawing [red]') as p: p(30, 40)"
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "100"}
    subprocess.run([sys.executable, "-c", code], stderr=theirs, check=True, env=environment)
    os.close(theirs)
    shown = os.read(ours, 65536).decode()
    os.close(ours)
    assert "Drawing [red]" in shown and "━" in shown and "40/40" in shown
