"""Signing in and out, by whichever page: what was given is checked, attempts are counted, cookies are set."""

from dataclasses import dataclass
from typing import Any

from fastapi import Request, Response

from backend_ml.sign_in.access import Pages
from backend_ml.sign_in.credentials import by_password, by_token, hold_name
from backend_ml.sign_in.person import Person
from backend_ml.sign_in.sessions import LONGEST_ID, new_id
from backend_ml.sign_in.throttle import address_of

DEVICE = "galaxyloop_device"
YEAR = 365 * 24 * 3600  # seconds; browsers keep no cookie for much longer


@dataclass(frozen=True)
class Entered:
    """Somebody who has just signed in, and the cookies that say so."""

    person: Person
    cookies: tuple[dict[str, Any], ...]

    def put(self, response: Response) -> None:
        """Set the cookies."""
        for cookie in self.cookies:
            response.set_cookie(**cookie)


def enter(pages: Pages, request: Request, *, token: str, name: str, password: str) -> Entered:
    """Sign in with a token, or, where it is empty, with a name and the team password.

    Raises
    ------
    SignInError
        If what was given is wrong, or the name is held by another device.
    TooManyAttemptsError
        If this address was wrong too often.
    LabelStudioError, DatabaseError
        If nobody can tell.
    """
    with pages.throttle.attempt(address_of(request)):
        if token.strip():
            person = by_token(token.strip(), pages.settings)
            return Entered(person, (pages.sessions.cookie(person),))
        person = by_password(name, password, pages.settings)
        device = request.cookies.get(DEVICE, "")
        if not 0 < len(device) <= LONGEST_ID:
            device = new_id()
        hold_name(pages.database, person.name, device)
    kept = pages.sessions.attributes() | {"key": DEVICE, "value": device, "max_age": YEAR}
    return Entered(person, (pages.sessions.cookie(person), kept))


def leave(pages: Pages, person: Person, response: Response) -> None:
    """Sign out. The device keeps its name."""
    pages.sessions.end(person)
    response.delete_cookie(**pages.sessions.attributes())
