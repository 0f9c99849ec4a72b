"""Refuses an address that tries one wrong password after another."""

import ipaddress
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from starlette.requests import HTTPConnection

from backend_ml.sign_in.sessions import SignInError
from backend_ml.signing import AccessError
from lvm_training.errors import GalaxyLoopError

WINDOW = 60.0  # seconds
ALLOWED = 5  # wrong attempts of an address in that time
MOST_ADDRESSES = 10_000
WRONG = (SignInError, AccessError)


class TooManyAttemptsError(GalaxyLoopError):
    """An address that was wrong too often of late."""

    code = "slow_down"


def address_of(connection: HTTPConnection) -> str:
    """Who calls: an address of IPv4, or the 64 leading bits of one of IPv6, of which each customer has all."""
    host = connection.client.host if connection.client else ""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:  # a Unix socket has none, a test client a name
        return host
    if isinstance(address, ipaddress.IPv6Address):
        mapped = address.ipv4_mapped
        return str(mapped or ipaddress.IPv6Network((address, 64), strict=False))
    return host


@dataclass(eq=False)
class _Attempt:
    at: float
    guess: int | None  # a hash: passwords are not kept, however wrong


class SignInThrottle:
    """Attempts to sign in that were wrong or still go on, by address; threads may share it.

    Parameters
    ----------
    clock : callable
        Seconds that only grow.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._lock = clock, threading.Lock()
        self._attempts: dict[str, list[_Attempt]] = {}

    @contextmanager
    def attempt(self, address: str, guess: str | None = None) -> Iterator[None]:
        """Let an address try; what is raised says whether it was wrong.

        It counts from its beginning, so that many at once are no way around, until it turns out right or nobody could
        tell. A `guess` that is given counts once however often it is repeated: a program with an old password is no
        guesser, and must not shut out others at its address.

        Raises
        ------
        TooManyAttemptsError
            If the address was wrong five times within a minute.
        """
        begun = self._begin(address, guess)
        try:
            yield
        except WRONG:
            raise  # and it stays
        except BaseException:
            self._forget(address, begun)
            raise
        self._forget(address, begun)

    def _begin(self, address: str, guess: str | None) -> _Attempt:
        now, hashed = self._clock(), None if guess is None else hash(guess)
        with self._lock:
            recent = [one for one in self._attempts.get(address, ()) if one.at > now - WINDOW]
            same = [one for one in recent if hashed is not None and one.guess == hashed]
            if len(recent) - len(same) >= ALLOWED:
                wait = max(recent[0].at + WINDOW - now, 1)
                raise TooManyAttemptsError(
                    "Too many wrong attempts from this address.", f"Try again in {wait:.0f} seconds."
                )
            if address not in self._attempts and len(self._attempts) >= MOST_ADDRESSES:
                self._attempts.pop(next(iter(self._attempts)))
            begun = _Attempt(now, hashed)
            self._attempts[address] = [one for one in recent if one not in same] + [begun]
        return begun

    def _forget(self, address: str, begun: _Attempt) -> None:
        with self._lock:
            left = [one for one in self._attempts.get(address, ()) if one is not begun]
            if left:
                self._attempts[address] = left
            else:
                self._attempts.pop(address, None)
