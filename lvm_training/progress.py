"""Progress of long work: what a function reports to, and how it is shown."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

Progress = Callable[[int, int], None]  # done, of how many
Steps = Callable[[str], AbstractContextManager[Progress]]  # opens what shows a step, by its title
Say = Callable[[str], None]  # takes a sentence that a person should read
INTERVAL = 60.0  # seconds between lines where there is no terminal


def write_line(line: str) -> None:
    """Write a line on standard error, beside the progress that is shown there."""
    _write(_console(), line)


class ProgressLines:
    """Progress as lines of text, for a log.

    Parameters
    ----------
    title : str
        What is done.
    console : Console
        Where lines go.
    interval : float
        Seconds between lines.
    """

    def __init__(self, title: str, console: "Console", interval: float = INTERVAL) -> None:
        self.title, self.console, self.interval = title, console, interval
        self._begun = self._last = time.monotonic()
        self._first: int | None = None
        self._done = self._total = 0

    def __call__(self, done: int, total: int) -> None:
        """Take how much is done, and write a line if the last is `interval` old."""
        self._first = done if self._first is None else self._first
        self._done, self._total = done, total
        now = time.monotonic()
        if now - self._last >= self.interval:
            self._last = now
            self.write()

    def write(self) -> None:
        """Write a line: how much is done, since when and, by the pace of this run, for how much longer."""
        elapsed = time.monotonic() - self._begun
        parts = [f"{self._done} of {self._total}"] if self._total else []
        parts.append(f"{timedelta(seconds=round(elapsed))} elapsed")
        here = self._done - (self._first or 0)
        if here > 0 and self._done < self._total:
            parts.append(f"{timedelta(seconds=round(elapsed * (self._total - self._done) / here))} left")
        _write(self.console, f"{self.title}: {', '.join(parts)}")


@contextmanager
def progress_bar(title: str, *, shown: bool = True) -> Iterator[Progress]:
    """Long work on standard error: a bar with the time it takes, or in a log a line a minute and one at the end.

    Parameters
    ----------
    title : str
        What is done.
    shown : bool
        False where another process shows the same work.
    """
    console = _console()
    if not shown:
        yield lambda done, total: None
    elif console.is_terminal:
        with _bar(title, console) as progress:
            yield progress
    else:
        lines = ProgressLines(title, console)
        yield lines
        lines.write()


def _console() -> "Console":
    from rich.console import Console

    # no emoji codes: a path may hold :x:
    return Console(stderr=True, emoji=False)


def _write(console: "Console", line: str) -> None:
    console.print(line, markup=False, highlight=False, soft_wrap=True)


@contextmanager
def _bar(title: str, console: "Console") -> Iterator[Progress]:
    from rich import progress as columns

    shown = (
        columns.SpinnerColumn(),
        columns.TextColumn("{task.description}", markup=False),
        columns.BarColumn(),
        columns.MofNCompleteColumn(),
        columns.TimeElapsedColumn(),
        columns.TimeRemainingColumn(),
    )
    with columns.Progress(*shown, console=console) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
        total = bar.tasks[0].total or 1
        bar.update(task, completed=total, total=total)
