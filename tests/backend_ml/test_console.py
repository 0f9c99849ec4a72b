"""What commands print."""

import contextlib
import io
from collections.abc import Iterator

import pytest
import structlog
import typer

from backend_ml.console import log_to_stderr, reported, show, show_rows
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
