"""What the command line prints: tables, JSON and errors."""

import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Any, TextIO, cast

import typer

from lvm_training.errors import GalaxyLoopError, is_full

if TYPE_CHECKING:
    from rich.console import Console


LONGEST_NAME = 40  # characters of a cell that is never folded
LEAST_WIDTH = 10  # of a column that may be


@cache
def console(*, stderr: bool = False) -> "Console":
    """Where results are printed; made when something is, since rich takes a moment to import."""
    from rich.console import Console

    # no emoji codes: a path may hold :x:; where nobody's terminal ends a line, a message is one, as logs want it
    return Console(stderr=stderr, emoji=False, soft_wrap=stderr and not sys.stderr.isatty())


def errors() -> "Console":
    """Where what went wrong is printed."""
    return console(stderr=True)


@contextmanager
def reported() -> Iterator[None]:
    """End a command with one line for an expected error, or a full disk: what is wrong and what to do."""
    try:
        yield
    except GalaxyLoopError as error:
        _tell_error(error.message, error.hint)
        raise typer.Exit(1) from error
    except OSError as error:
        if not is_full(error):
            raise
        _tell_error(f"The disk is full: {error}.", "Make room there, then give the command again.")
        raise typer.Exit(1) from error


def _tell_error(message: str, hint: str) -> None:
    from rich.markup import escape

    errors().print(f"[bold red]Error:[/] {escape(message)}", highlight=False)
    if hint:
        errors().print(f"[bold]What to do:[/] {escape(hint)}", highlight=False)


def tell(notes: Iterable[str]) -> None:
    """Print what a reader of the results should know, beside them."""
    for note in notes:
        errors().print(note, highlight=False, markup=False)


def show(values: Mapping[str, Any], *, as_json: bool) -> None:
    """Print one record: as JSON, or as lines of name and value, which no width cuts: links are copied from here."""
    if as_json:
        print_json(values)
        return
    from rich.markup import escape

    widest = max(map(len, values), default=0)
    for name, value in values.items():
        first, *others = _cell(value).split("\n")
        spaces = " " * (widest - len(name))
        line = f"[bold]{escape(name.replace('_', ' '))}[/]{spaces} {escape(first)}"
        for text in (line, *(" " * (widest + 1) + escape(other) for other in others)):
            console().print(text, soft_wrap=True, highlight=False)


def show_told(told: Sequence[tuple[str, Sequence[str]]]) -> None:
    """Print titles with their sentences within 80 columns, or the terminal's; no width cuts a name or an address."""
    import textwrap

    from rich.markup import escape

    indent = max((len(title) for title, _ in told), default=0) + 1
    width = max(min(console().width, 80) - indent, 20)
    for title, texts in told:
        head = f"[bold]{escape(title)}[/]{' ' * (indent - len(title))}"
        for text in texts:
            for line in textwrap.wrap(
                text, width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
            ):
                console().print(f"{head}{escape(line)}", soft_wrap=True, highlight=False)
                head = " " * indent


def show_rows(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], *, as_json: bool) -> None:
    """Print records: as JSON, or as a table of some columns; no width cuts names: short texts without a blank."""
    if as_json:
        print_json(list(rows))
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    cells = {column: [_cell(row.get(column)) for row in rows] for column in columns}
    table, least = Table(box=None), 0
    for column, texts in cells.items():
        longest = max((len(line) for text in texts for line in text.split("\n")), default=0)
        whole = longest <= LONGEST_NAME and not any(" " in text for text in texts)
        table.add_column(column.replace("_", " "), no_wrap=whole, overflow="fold")
        least += (max(longest, len(column)) if whole else LEAST_WIDTH) + 2
    for row in zip(*cells.values(), strict=True):
        table.add_row(*map(escape, row))
    (console() if console().width >= least else Console(emoji=False, width=least)).print(table)


def print_json(values: Any) -> None:
    """Print a value as JSON, times in ISO 8601."""
    typer.echo(json.dumps(values, indent=2, default=_plain))


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _cell(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name.replace('_', ' ')} {_cell(item)}" for name, item in value.items())
    if isinstance(value, list):
        return "\n".join(map(_cell, value)) or "–"
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}"
    if isinstance(value, float):
        return f"{value:.3f}"
    return "–" if value is None else str(value)


class SteadyErrors:
    """Where log lines go: on a full disk they are lost, and the work that they tell of goes on.

    Parameters
    ----------
    stream : TextIO
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        """As a stream's."""
        with suppress(OSError):
            self._stream.write(text)

    def flush(self) -> None:
        """As a stream's."""
        with suppress(OSError):
            self._stream.flush()


def log_to_stderr(level: str, *, as_json: bool = False) -> None:
    """Structured log lines on standard error, from `level` (debug, info, warning) on; as JSON, one object a line.

    Tracebacks are plain: structlog's own show local variables, which hold tokens and passwords, and take seconds.
    """
    import structlog
    from structlog.typing import Processor

    if as_json:
        rendered: list[Processor] = [
            structlog.processors.TimeStamper("iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ]
    else:
        rendered = [
            structlog.processors.TimeStamper("%Y-%m-%d %H:%M:%S", utc=False),
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
            ),
        ]
    structlog.configure(
        processors=[structlog.contextvars.merge_contextvars, structlog.processors.add_log_level, *rendered],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        # looked up for each line: a caller may have replaced standard error, and closed the replacement since
        logger_factory=lambda *_: structlog.PrintLogger(cast(TextIO, SteadyErrors(sys.stderr))),
    )
