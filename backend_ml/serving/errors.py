"""Errors over HTTP: a code, what is wrong, how to mend it, and the request's id for the log; never a traceback."""

import re
import uuid

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ValidationError
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lvm_training.errors import GalaxyLoopError

log = structlog.get_logger(__name__)

REQUEST_ID_HEADER = "X-Request-ID"
REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
SHOWN_PATH = 200  # characters of a path in the log; a client may send 64,000

STATUS = {
    "unauthorised": 401,
    "signed_out": 401,
    "forbidden": 403,
    "closed": 409,
    "gone": 410,
    "not_copied": 409,
    "not_drawn": 409,
    "overtaken": 409,
    "nothing_to_undo": 409,
    "too_large": 413,
    "slow_down": 429,
    "label_studio": 502,
    "unknown_project": 404,
    "no_stamp": 404,
    "label_config": 422,
    "bucket": 503,
    "database": 503,
}


class Problem(BaseModel):
    """Any error as clients see it; `request_id`, also in the header X-Request-ID, finds it in the log."""

    code: str
    message: str
    hint: str
    request_id: str


class RequestIds:
    """Gives each request an id, in its log lines and its answer's header, and answers what nothing else has caught.

    A proxy's own X-Request-ID is taken where it is short and plain, so that one id runs through all logs.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI says."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get(REQUEST_ID_HEADER, "")
        number = given if REQUEST_ID.fullmatch(given) else uuid.uuid4().hex[:12]
        request, begun = Request(scope, receive), False
        request.state.request_id = number

        async def named(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                MutableHeaders(scope=message)[REQUEST_ID_HEADER] = number
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=number):
            try:
                await self._app(scope, receive, named)
            except Exception as error:
                log.error("unexpected error", path=_path(request), exc_info=error)
                if begun:
                    raise  # the server cuts the answer off
                await _unexpected(request)(scope, receive, named)


def add_error_handlers(app: FastAPI) -> None:
    """Answer every expected error of an app with a `Problem`; `RequestIds` answers the others."""
    app.add_exception_handler(GalaxyLoopError, expected_answer)
    app.add_exception_handler(RequestValidationError, _malformed)
    app.add_exception_handler(ValidationError, _malformed)
    app.add_exception_handler(HTTPException, _http)


def _path(request: Request) -> str:
    path: str = request.scope["path"]
    return path if len(path) <= SHOWN_PATH else f"{path[:SHOWN_PATH]}… ({len(path)} characters)"


def _answer(status: int, code: str, message: str, hint: str, request: Request) -> JSONResponse:
    # a message may quote what came in, halves of characters included, which no answer can be encoded with
    message = message.encode(errors="backslashreplace").decode()
    problem = Problem(code=code, message=message, hint=hint, request_id=request.state.request_id)
    log.warning("request failed", path=_path(request), status=status, **problem.model_dump())
    # a browser would ask for a user and a password in a window of its own
    headers = {"WWW-Authenticate": 'Basic realm="Galaxy Loop"'} if code == "unauthorised" else None
    return JSONResponse(problem.model_dump(), status, headers)


def expected_answer(request: Request, error: Exception) -> JSONResponse:
    """The answer to an error that was raised on purpose."""
    assert isinstance(error, GalaxyLoopError)  # noqa: S101 - registered for this class only
    return _answer(STATUS.get(error.code, 400), error.code, error.message, error.hint, request)


def _malformed(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError | ValidationError)  # noqa: S101
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    status = 400 if first["type"] == "json_invalid" else 422
    page = request.url.path.startswith("/explore")
    hint = "Reload the page." if page else "This address speaks Label Studio's ML backend protocol."
    return _answer(status, "malformed", f"{where}: {first['msg']}.", hint, request)


def _http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101
    routes = "/health /setup /predict /webhook /versions /livez /metrics /stamps /why /neighbours /explore and /status"
    hint = f"The routes are {routes}."
    return _answer(error.status_code, "http", str(error.detail), hint, request)


def _unexpected(request: Request) -> JSONResponse:
    hint = "The backend's log has the details under this request's id."
    return _answer(500, "internal", "Something broke in the backend.", hint, request)
