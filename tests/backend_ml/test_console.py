"""What commands print."""

import contextlib
import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
import typer

from backend_ml.console import console, log_to_stderr, reported, show, show_rows, tell
from lvm_training.errors import GalaxyLoopError
from lvm_training.progress import progress_bar

FOREIGN = "a[/x] [bold]b[/] :x: c\\"


@pytest.fixture
def configuration() -> Iterator[None]:
    before = structlog.get_config()
    yield
    structlog.configure(**before)


@pytest.mark.usefixtures("configuration")
def test_log_lines_go_to_the_standard_error_of_the_moment(capsys: pytest.CaptureFixture[str]) -> None:
    with contextlib.redirect_stderr(io.StringIO()) as passing:
        log_to_stderr("warning")
        structlog.get_logger("first").warning("while redirected")
        assert "while redirected" in passing.getvalue()
    passing.close()
    log = structlog.get_logger("second")
    log.warning("afterwards")
    log.info("not severe enough")
    said = capsys.readouterr().err
    assert "afterwards" in said and "severe" not in said


@pytest.mark.usefixtures("configuration")
@pytest.mark.parametrize("as_json", [False, True])
def test_a_full_disk_costs_log_lines_and_no_work(monkeypatch: pytest.MonkeyPatch, as_json: bool) -> None:
    with Path("/dev/full").open("w", buffering=1) as full:
        with pytest.raises(OSError, match="No space"):
            full.write("a line\n")
        monkeypatch.setattr("sys.stderr", full)
        log_to_stderr("info", as_json=as_json)
        structlog.get_logger("full").warning("not written")
        with contextlib.suppress(OSError):
            full.close()


@pytest.mark.usefixtures("configuration")
def test_log_lines_as_json_are_one_object_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    log_to_stderr("info", as_json=True)
    with structlog.contextvars.bound_contextvars(job=7, campaign="Rings"):
        try:
            raise ValueError("two\nlines")
        except ValueError:
            structlog.get_logger("json").error("broke", exc_info=True)
    (line,) = capsys.readouterr().err.splitlines()
    said = json.loads(line)
    assert {"job": 7, "campaign": "Rings", "level": "error", "event": "broke"}.items() <= said.items()
    assert "ValueError: two\nlines" in said["exception"] and said["timestamp"].endswith("Z")


def test_foreign_text_is_printed_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit), reported():
        raise GalaxyLoopError(f"Message {FOREIGN}", f"Hint {FOREIGN}")
    show({"note": FOREIGN}, as_json=False)
    show_rows([{"note": FOREIGN}], ["note"], as_json=False)
    with progress_bar(f"Reading {FOREIGN}"):
        pass
    said = capsys.readouterr()
    assert f"Error: Message {FOREIGN}" in said.err and f"What to do: Hint {FOREIGN}" in said.err
    assert f"Reading {FOREIGN}" in said.err
    assert said.out.count(FOREIGN) == 2


def test_a_message_is_one_line_where_no_terminal_ends_it(capsys: pytest.CaptureFixture[str]) -> None:
    console.cache_clear()
    path = "/a/long/path" * 20
    with pytest.raises(typer.Exit), reported():
        raise GalaxyLoopError(f"{path} is there already.", f"Move {path} away.")
    tell([f"{path} was read"])
    assert capsys.readouterr().err.splitlines() == [
        f"Error: {path} is there already.",
        f"What to do: Move {path} away.",
        f"{path} was read",
    ]


LINK = f"http://localhost:8080/user/signup/?token={'a1' * 40}"


def test_a_full_disk_is_an_error_in_a_line_and_what_nobody_expects_is_not(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit), reported(), Path("/dev/full").open("wb", buffering=0) as full:
        full.write(b"labels")
    said = capsys.readouterr().err
    assert "The disk is full: [Errno 28] No space left on device." in said and "Make room there" in said
    with pytest.raises(FileNotFoundError), reported():
        Path("nowhere/at/all").read_bytes()


def test_a_link_is_printed_whole_however_narrow_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    show({"invitation": LINK, "annotators": [f"{LINK}1", f"{LINK}2"], "none": None}, as_json=False)
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines == [["invitation", LINK], ["annotators", f"{LINK}1"], [f"{LINK}2"], ["none", "–"]]


def test_versions_are_whole_in_80_columns(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    console.cache_clear()
    name, metrics = "morphology-a6d351d76e1a", {"audit_accuracy": 0.91, "parent_accuracy": 0.88, "prior_share": 0.02}
    columns = ["active", "version_and_parent", "labels", "audit_labels", "promoted_at", "metrics"]
    row = {"active": "*", "labels": 1234, "audit_labels": 123, "promoted_at": "2026-11-26 20:27:11"}
    show_rows([{**row, "version_and_parent": [name, name[::-1]], "metrics": metrics}], columns, as_json=False)
    console.cache_clear()
    said = capsys.readouterr().out
    assert max(map(len, said.splitlines())) <= 80
    assert name in said and name[::-1] in said and "2026-11-26" in said
    assert "accuracy 0.910" in " ".join(line[60:].strip() for line in said.splitlines())


def test_names_are_whole_where_the_terminal_is_too_narrow_for_them(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "30")
    console.cache_clear()
    names = ["morphology-a6d351d76e1a", "morphology-b6d351d76e1b", "/a/path" * 20]
    show_rows([dict(zip("abc", names, strict=True))], ["a", "b", "c"], as_json=False)
    console.cache_clear()
    lines = capsys.readouterr().out.splitlines()
    assert names[0] in lines[1] and names[1] in lines[1]
    assert "".join(line.split()[-1] for line in lines[1:]) == names[2], "paths are folded"
