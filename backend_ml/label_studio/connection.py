"""The HTTP connection to Label Studio: waits out restarts, turns every failure into a `LabelStudioError`."""

import re
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urljoin

import httpx

from lvm_training.errors import GalaxyLoopError

REPEATABLE = {"GET", "HEAD", "OPTIONS", "PUT", "PATCH", "DELETE"}
RESTARTING = {httpx.codes.BAD_GATEWAY, httpx.codes.SERVICE_UNAVAILABLE, httpx.codes.GATEWAY_TIMEOUT}
NEVER_SENT = (httpx.ConnectError, httpx.ConnectTimeout)
BROKEN_OFF = (httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError)
ATTEMPTS = 3  # at a project, before Label Studio's failure is taken to be one
LONGEST_PAUSE = 5.0
PAGE = 200  # tasks with everything in them cost the server about 5 ms each
TOKEN = re.compile(r"[A-Za-z0-9_.=-]*")
TIMEOUT = httpx.Timeout(120, connect=5)

HINTS = {
    401: "Check GALAXYLOOP_LABEL_STUDIO_TOKEN; legacy tokens must be enabled for the organisation.",
    403: "The token's user may not do this; use an administrator's token.",
    404: "It may have been deleted, or belongs to another organisation.",
}


class LabelStudioError(GalaxyLoopError):
    """Label Studio cannot be reached or refuses a request.

    Attributes
    ----------
    status : int or None
        Its HTTP status; None if there was no answer.
    """

    code = "label_studio"

    def __init__(self, message: str, hint: str = "", status: int | None = None) -> None:
        super().__init__(message, hint)
        self.status = status


class PatientTransport(httpx.BaseTransport):
    """Repeats what is safe to repeat while the server is away.

    A request that never left is repeated whatever its method; one that broke off, or that a proxy answered for a
    restarting server, only if doing it twice is the same as once. Answers are read whole here: they break off too.
    Pauses double from 0.2 s to 5 s.

    Parameters
    ----------
    patience : float
        Seconds after which to give up.
    go_on : callable, optional
        Called before each pause; what it raises ends the wait.
    """

    def __init__(
        self,
        patience: float,
        inner: httpx.BaseTransport | None = None,
        go_on: Callable[[], object] | None = None,
    ) -> None:
        self.patience = patience
        self._go_on = go_on
        self.inner = inner or httpx.HTTPTransport()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request.

        Raises
        ------
        LabelStudioError
            If there is no answer in time.
        """
        deadline = time.monotonic() + self.patience
        pause = 0.2
        repeatable = request.method in REPEATABLE
        while True:
            last = time.monotonic() + pause > deadline
            try:
                response = self.inner.handle_request(request)
                response.read()
            except NEVER_SENT as error:
                if last:
                    raise _no_answer(request, error) from error
            except BROKEN_OFF as error:
                if last or not repeatable:
                    raise _no_answer(request, error) from error
            except httpx.TransportError as error:
                raise _no_answer(request, error) from error
            else:
                if last or not repeatable or response.status_code not in RESTARTING:
                    return response
            if self._go_on is not None:
                self._go_on()
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    def close(self) -> None:
        """Close the connections."""
        self.inner.close()


def connect(
    url: str, patience: float = 60, go_on: Callable[[], object] | None = None, timeout: float | None = None
) -> httpx.Client:
    """A client that raises `LabelStudioError` for every status from 400 up, and for no answer.

    Over plain http each request has a connection of its own: Label Studio's server sends header and body in two
    packets, which costs a kept-alive connection 40 ms per request (Nagle's algorithm meets the delayed ACK).
    """
    return httpx.Client(
        transport=PatientTransport(patience, go_on=go_on),
        headers={"Connection": "close"} if url.startswith("http:") else {},
        event_hooks={"response": [_refuse_failure]},
        follow_redirects=True,
        timeout=TIMEOUT if timeout is None else httpx.Timeout(timeout),
    )


def insist(request: Callable[[], object]) -> None:
    """Make a request that may be made twice: deadlocks, which Label Studio answers with 500, end with a repetition."""
    for attempt in range(1, ATTEMPTS + 1):
        try:
            request()
            return
        except LabelStudioError as error:
            if error.status != httpx.codes.INTERNAL_SERVER_ERROR or attempt == ATTEMPTS:
                raise


def condition(column: str, operator: str, kind: str, value: Any) -> dict[str, Any]:
    """A filter of the Data Manager."""
    return {"filter": f"filter:tasks:{column}", "operator": operator, "type": kind, "value": value}


def sign_up(invite_url: str, email: str, password: str) -> str:
    """Fill in the form behind an invitation; the new user's token.

    Raises
    ------
    LabelStudioError
        If the form is refused, e.g. for a known e-mail address or a short password.
    """
    with connect(invite_url) as client:
        client.get(invite_url)
        form = {"email": email, "password": password, "csrfmiddlewaretoken": client.cookies.get("csrftoken", "")}
        client.post(invite_url, data=form, headers={"Referer": invite_url})
        try:
            answer = client.get(urljoin(invite_url, "/api/current-user/token"))
        except LabelStudioError as error:
            raise LabelStudioError(
                f"Label Studio refused to sign up {email}.", "Take another address, or a longer password.", error.status
            ) from error
        return str(answer.json()["token"])


def _no_answer(request: httpx.Request, error: Exception) -> LabelStudioError:
    where = f"{request.url.scheme}://{request.url.netloc.decode()}"
    return LabelStudioError(
        f"No answer from Label Studio at {where} ({type(error).__name__}: {error}).",
        "Check that it runs and that GALAXYLOOP_LABEL_STUDIO_URL is right.",
    )


def _refuse_failure(response: httpx.Response) -> None:
    if response.status_code < httpx.codes.BAD_REQUEST:
        return
    body = response.read()[:500].decode(errors="replace")
    hint = HINTS.get(response.status_code, "" if response.status_code < 500 else "Look at Label Studio's log.")
    message = f"Label Studio answered {response.status_code} to {response.request.method} {response.url.path}: {body}"
    raise LabelStudioError(message, hint, response.status_code)
