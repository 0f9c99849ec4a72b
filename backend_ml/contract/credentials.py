"""What each route that programs call asks for: the backend's basic credentials, a webhook's secret, or a token."""

from fastapi import Request
from starlette.datastructures import Headers

from backend_ml import signing
from backend_ml.contract.backend import TheBackend
from backend_ml.settings import Settings
from backend_ml.sign_in.throttle import SignInThrottle, address_of
from backend_ml.signing import SECRET_HEADER, AccessError


def check_credentials(headers: Headers, settings: Settings) -> None:
    """Raise an AccessError unless a call has the backend's basic credentials."""
    if not signing.has_basic_credentials(headers.get("Authorization"), settings):
        raise AccessError(
            "User or password is wrong or missing.",
            "Label Studio sends those of its ML backend form; they must be GALAXYLOOP_BACKEND_USER and _PASSWORD.",
        )


def check_credentials_or_secret(headers: Headers, settings: Settings) -> None:
    """Raise an AccessError if a webhook has neither: START_TRAINING comes with credentials, others with a secret."""
    secret = headers.get(SECRET_HEADER)
    if secret is not None and signing.has_secret(secret, settings):
        return
    if "Authorization" not in headers:
        raise AccessError(
            f"The header {SECRET_HEADER} is wrong or missing.",
            "`galaxyloop campaign sync` sets it on Label Studio's webhook.",
        )
    check_credentials(headers, settings)


def check_credentials_or_token(headers: Headers, settings: Settings) -> None:
    """Raise an AccessError if a look at the metrics has neither the credentials nor the token for metrics alone."""
    if not signing.has_metrics_token(headers.get("Authorization"), settings):
        check_credentials(headers, settings)


CHECKS = {
    "/health": check_credentials,
    "/setup": check_credentials,
    "/predict": check_credentials,
    "/versions": check_credentials,
    "/train": check_credentials,
    "/job_status": check_credentials,
    "/validate": check_credentials,
    "/delete": check_credentials,
    "/duplicate_model": check_credentials,
    "/webhook": check_credentials_or_secret,
    "/metrics": check_credentials_or_token,
}
"""What each route that programs call asks for."""


async def with_credentials(request: Request, backend: TheBackend) -> None:
    """Refuse a call of one of these routes without; `Admission` has asked before, but a route must not hang on it."""
    CHECKS[request.scope["route"].path](request.headers, backend.settings)


def is_known(settings: Settings, throttle: SignInThrottle, path: str, request: Request) -> bool:
    """Whether a path is one that programs call; an AccessError if the call has not their credentials."""
    check = CHECKS.get(path) or (check_credentials if path.startswith("/neighbours/") else None)
    if check is None:
        return False
    given = [request.headers.get(name, "") for name in ("Authorization", SECRET_HEADER)]
    if not any(given):
        check(request.headers, settings)  # refuses it; nothing was guessed
    # what people try at their pages is counted apart, so that they and Label Studio do not shut each other out
    with throttle.attempt(f"{address_of(request)} {path == '/webhook'}", guess="\n".join(given)):
        check(request.headers, settings)
    return True
