"""Requests are weighed before they are read: who sends them, and how much of them there is.

Ids in paths too: what is no number of a bearable length matches no route, so it costs neither thought nor database.
Starlette's own `int` takes any number of digits, and Python refuses to read more than 4,300.
"""

from collections.abc import Callable

from fastapi import Request
from starlette._utils import get_route_path
from starlette.convertors import Convertor, register_url_convertor
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from backend_ml.serving.errors import expected_answer
from backend_ml.serving.uploads import MOST_BYTES
from lvm_training.errors import GalaxyLoopError

MOST_OF_LABEL_STUDIO = 64_000_000  # bytes: "Retrieve Predictions" sends every selected task at once, with its masks
MOST_OTHERWISE = 1_000_000
UPLOADS = ("/neighbours", "/pictures")  # parts of the paths that take images
ID, ROW = "id", "row"
"""What routes write after the colon for ids of four bytes (campaigns, pictures) and for rows of stamp sets."""


class TooLargeError(GalaxyLoopError):
    """A request with a body that nobody reads."""

    code = "too_large"


class Admission:
    """Answers who may not call before their body is read, and stops reading one that is too large.

    FastAPI reads and parses a body before it asks for credentials: 50 MB from a stranger kept a processor busy for
    seconds, and 150 MB filled 2.4 GB of memory.

    Parameters
    ----------
    app : ASGIApp
    check : callable
        Takes path and request; raises an AccessError where that route's credentials are not there, and says whether it
        has any.
    """

    def __init__(self, app: ASGIApp, check: Callable[[str, Request], bool]) -> None:
        self._app, self._check = app, check

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI says."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path, headers = get_route_path(scope), Headers(scope=scope)
        try:
            most = _most(path, known=self._check(path, Request(scope)))
            length = headers.get("Content-Length", "")
            if length.isascii() and length.isdigit() and (len(length) > 18 or int(length) > most):
                raise _too_large(most)
        except GalaxyLoopError as error:
            await expected_answer(Request(scope), error)(scope, receive, send)
            return
        seen = 0

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > most:
                # of others FastAPI says that it could not parse the body
                raise HTTPException(413, _too_large(most).message)
            return message

        await self._app(scope, counted, send)


def _most(path: str, *, known: bool) -> int:
    if any(part in path for part in UPLOADS):
        return 2 * MOST_BYTES  # these count for themselves, and say what an image may have
    return MOST_OF_LABEL_STUDIO if known else MOST_OTHERWISE


def _too_large(most: int) -> TooLargeError:
    return TooLargeError(
        f"The request has more than {most // 1_000_000} MB.", "Send less at a time: select fewer tasks, for example."
    )


class IdConvertor(Convertor[int]):
    """Whole numbers from 0, of so many digits at most that four bytes hold them."""

    regex = "[0-9]{1,9}"

    def convert(self, value: str) -> int:
        """As routes get it."""
        return int(value)

    def to_string(self, value: int) -> str:
        """As it stands in a path."""
        return str(value)


class RowConvertor(IdConvertor):
    """As `IdConvertor`, of eight bytes."""

    regex = "[0-9]{1,18}"


register_url_convertor(ID, IdConvertor())
register_url_convertor(ROW, RowConvertor())
