"""Listens for promotions, so that every process swaps heads at the moment a version is promoted."""

import selectors
import socket
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

import psycopg
import structlog

log = structlog.get_logger(__name__)

RETRY_SECONDS = 1.0


class PromotionListener:
    """A thread that hears which campaign has changed, at each NOTIFY.

    Parameters
    ----------
    url : str
        libpq connection string.
    on_change : callable
        Called from the thread with the id of the campaign that has changed, and after each connection with None: any
        may have changed meanwhile.

    Attributes
    ----------
    hears : threading.Event
        Set once it is connected: no change after that is missed.
    """

    def __init__(self, url: str, on_change: Callable[[int | None], None]) -> None:
        self._url = url
        self._on_change = on_change
        self.hears = threading.Event()
        self._stop = threading.Event()
        self._end, self._ended = socket.socketpair()
        self._thread = threading.Thread(target=self._run, name="promotions", daemon=True)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                with psycopg.connect(self._url, autocommit=True, connect_timeout=5) as connection:
                    self._listen(connection)
            except psycopg.OperationalError as error:
                log.warning("promotions not heard, trying again", error=str(error))
                self._stop.wait(RETRY_SECONDS)

    def _listen(self, connection: psycopg.Connection[tuple[object, ...]]) -> None:
        connection.execute("LISTEN galaxyloop_campaign")
        self._on_change(None)
        self.hears.set()
        with selectors.DefaultSelector() as readable:
            readable.register(connection, selectors.EVENT_READ)
            readable.register(self._ended, selectors.EVENT_READ)
            while not self._stop.is_set():
                for told in connection.notifies(timeout=0):
                    self._on_change(int(told.payload) if told.payload.isdecimal() else None)
                readable.select()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._end.close()  # readable at the other side from now on
        self._thread.join()
        self._ended.close()
