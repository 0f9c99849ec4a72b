"""How servers in the foreground are told to end: the first signal ends them in order, the second kills."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
ECHO = 0.5  # seconds: wrappers hand on a signal that the terminal has sent to their whole group as well


@contextmanager
def ended_by_signals(kill: Callable[[], None]) -> Iterator[None]:
    """Have the first SIGINT, SIGTERM or SIGHUP raise KeyboardInterrupt here, and the next one kill.

    A signal that whoever started this process chose to ignore stays ignored, as with `nohup`.

    Parameters
    ----------
    kill : callable
        Ends at once what would be ended in order; this process ends after it.
    """
    told: list[float] = []

    def on_signal(number: int, _: FrameType | None) -> None:
        if not told:
            told.append(time.monotonic())
            raise KeyboardInterrupt
        if number != signal.SIGHUP and time.monotonic() > told[0] + ECHO:
            kill()
            os._exit(128 + number)

    before = {number: signal.signal(number, on_signal) for number in ENDING if _heeded(number)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _heeded(number: signal.Signals) -> bool:
    return signal.getsignal(number) is not signal.SIG_IGN
