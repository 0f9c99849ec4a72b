"""Refuses an address that tries one wrong password after another."""

import threading
import time
from collections import deque
from collections.abc import Callable

from lvm_training.errors import GalaxyLoopError

WINDOW = 60.0  # seconds
ALLOWED = 5  # wrong attempts of an address in that time
MOST_ADDRESSES = 10_000


class TooManyAttemptsError(GalaxyLoopError):
    """An address that was wrong too often of late."""

    code = "slow_down"


class SignInThrottle:
    """Wrong attempts to sign in, by address; threads may share it.

    Parameters
    ----------
    clock : callable
        Seconds that only grow.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._lock = clock, threading.Lock()
        self._wrong: dict[str, deque[float]] = {}

    def check(self, address: str) -> None:
        """Let an address try.

        Raises
        ------
        TooManyAttemptsError
            If it was wrong five times within a minute.
        """
        with self._lock:
            times = self._recent(address)
            if len(times) >= ALLOWED:
                wait = times[0] + WINDOW - self._clock()
                raise TooManyAttemptsError(
                    "Too many wrong attempts from this address.", f"Try again in {max(wait, 1):.0f} seconds."
                )

    def wrong(self, address: str) -> None:
        """Count a wrong attempt."""
        with self._lock:
            if address not in self._wrong and len(self._wrong) >= MOST_ADDRESSES:
                self._wrong.pop(next(iter(self._wrong)))
            self._recent(address).append(self._clock())

    def _recent(self, address: str) -> deque[float]:
        times = self._wrong.setdefault(address, deque())
        while times and times[0] <= self._clock() - WINDOW:
            times.popleft()
        return times
