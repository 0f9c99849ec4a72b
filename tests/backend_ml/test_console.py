"""What commands print."""

import contextlib
import io
from collections.abc import Iterator

import pytest
import structlog

from backend_ml.console import log_to_stderr


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
