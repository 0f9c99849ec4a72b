"""Forms of pages without scripts: what they send, and that it comes from the page itself."""

from typing import Annotated
from urllib.parse import parse_qsl

from fastapi import Depends, Request

from backend_ml.sign_in.access import ForgeryError, ThePages, ThePerson, from_page
from backend_ml.sign_in.person import NoTokenError, Person
from lvm_training.errors import GalaxyLoopError

CSRF_FIELD = "csrf"
MOST_FIELDS = 200
FORM = "application/x-www-form-urlencoded"


class FormError(GalaxyLoopError):
    """A form that no page here sends."""

    code = "malformed"


async def form_of(request: Request) -> dict[str, str]:
    """The fields of a form; of a name that is there twice the last one.

    Raises
    ------
    FormError
        If the body is no form.
    """
    kind = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    body = await request.body()
    try:
        if body and kind != FORM:
            raise ValueError(kind)
        return dict(parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=MOST_FIELDS, errors="strict"))
    except ValueError as error:  # UnicodeDecodeError is one
        raise FormError("This is no form of a page of Galaxy Loop.", "Reload the page and try again.") from error


TheForm = Annotated[dict[str, str], Depends(form_of)]


async def changing_by_form(
    pages: ThePages, person: ThePerson, form: TheForm, _: Annotated[None, Depends(from_page)]
) -> Person:
    """The person who changes something by a form of a page, which carries their session's token."""
    if not pages.sessions.has_csrf(person, form.get(CSRF_FIELD)):
        raise ForgeryError("The form is of another session.", "Reload the page and try again.")
    return person


TheFormEditor = Annotated[Person, Depends(changing_by_form)]


async def leading_by_form(person: TheFormEditor) -> Person:
    """The person who changes a campaign: all of the team know its password, and whoever leads is named by more.

    Raises
    ------
    NoTokenError
        If they came with the team password.
    """
    if not person.leads:
        raise NoTokenError(
            "With the team password one labels, and leads no campaign.",
            "Sign out, and in again with your Label Studio access token.",
        )
    return person


TheLeader = Annotated[Person, Depends(leading_by_form)]
