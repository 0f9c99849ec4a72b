"""Errors over HTTP: a code, what is wrong, how to mend it, and an id for the log; never a traceback."""

import uuid

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException

from lvm_training.errors import GalaxyLoopError

log = structlog.get_logger(__name__)

STATUS = {
    "unauthorised": 401,
    "signed_out": 401,
    "forbidden": 403,
    "closed": 409,
    "nothing_to_undo": 409,
    "slow_down": 429,
    "label_studio": 502,
    "unknown_project": 404,
    "no_stamp": 404,
    "label_config": 422,
    "database": 503,
}


class Problem(BaseModel):
    """Any error as clients see it; `request_id` finds it in the log."""

    code: str
    message: str
    hint: str
    request_id: str


def add_error_handlers(app: FastAPI) -> None:
    """Answer every error of an app with a `Problem`."""
    app.add_exception_handler(GalaxyLoopError, _expected)
    app.add_exception_handler(RequestValidationError, _malformed)
    app.add_exception_handler(ValidationError, _malformed)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _unexpected)


def _answer(status: int, code: str, message: str, hint: str, request: Request) -> JSONResponse:
    problem = Problem(code=code, message=message, hint=hint, request_id=uuid.uuid4().hex[:12])
    log.warning("request failed", path=request.url.path, status=status, **problem.model_dump())
    # a browser would ask for a user and a password in a window of its own
    headers = {"WWW-Authenticate": 'Basic realm="Galaxy Loop"'} if code == "unauthorised" else None
    return JSONResponse(problem.model_dump(), status, headers)


def _expected(request: Request, error: Exception) -> JSONResponse:
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
    hint = "The routes are /health /setup /predict /webhook /versions /livez /stamps /why /neighbours and /explore."
    return _answer(error.status_code, "http", str(error.detail), hint, request)


def _unexpected(request: Request, error: Exception) -> JSONResponse:
    log.error("unexpected error", path=request.url.path, exc_info=error)
    hint = "The backend's log has the details under this request's id."
    return _answer(500, "internal", "Something broke in the backend.", hint, request)
