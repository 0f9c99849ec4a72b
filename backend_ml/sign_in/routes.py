"""Signing in and out by forms, for pages without scripts."""

import re
from html import escape
from importlib.resources import files
from string import Template
from urllib.parse import quote

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from backend_ml.settings import Settings
from backend_ml.sign_in import sessions
from backend_ml.sign_in.access import Pages, ThePages, from_page
from backend_ml.sign_in.forms import TheForm, TheFormEditor
from backend_ml.sign_in.frame import PRIVATE, SEE_OTHER, PageRoute, framed, root_of
from backend_ml.sign_in.guard import FORM_SECURITY
from backend_ml.sign_in.person import Person
from backend_ml.sign_in.sessions import SignInError
from backend_ml.sign_in.throttle import TooManyAttemptsError
from lvm_training.errors import GalaxyLoopError

OURS = re.compile(r"/(?:status|explore)(?:/[0-9]{1,9})?")
FIRST = "/status"

sign_in_page = APIRouter(route_class=PageRoute)


def local(path: str) -> str:
    """Where to go after signing in: a page of ours, or the first one; never another site."""
    return path if OURS.fullmatch(path) else FIRST


def _file(name: str) -> str:
    return files("backend_ml.sign_in").joinpath("pages", name).read_text(encoding="utf-8")


@sign_in_page.get("/sign-in/people.css")
def style() -> Response:
    """What pages without scripts have beside the search page's style."""
    return Response(_file("people.css"), media_type="text/css", headers=FORM_SECURITY | {"Cache-Control": "no-cache"})


@sign_in_page.get("/sign-in")
def ask(request: Request, pages: ThePages) -> HTMLResponse:
    """The forms to sign in by; `next` says where to go then."""
    return _forms(request, pages.settings, request.query_params.get("next", ""))


@sign_in_page.post("/sign-in", dependencies=[Depends(from_page)])
def sign_in(request: Request, pages: ThePages, form: TheForm) -> Response:
    """Sign in and go on; what is wrong is said over the forms."""
    back = request.query_params.get("next", "")
    try:
        person = entering(pages, request, form)
    except (SignInError, TooManyAttemptsError) as error:
        return _forms(request, pages.settings, back, error)
    answer = RedirectResponse(f"{root_of(request)}{local(back)}", SEE_OTHER, PRIVATE)
    answer.set_cookie(**pages.sessions.cookie(person))
    return answer


@sign_in_page.post("/sign-out")
def sign_out(request: Request, pages: ThePages, person: TheFormEditor) -> Response:
    """Sign out."""
    answer = RedirectResponse(f"{root_of(request)}/sign-in", SEE_OTHER, PRIVATE)
    answer.delete_cookie(**pages.sessions.attributes())
    return answer


def entering(pages: Pages, request: Request, form: dict[str, str]) -> Person:
    """Who signs in with a token, or with a name and the team password; wrong attempts are counted by address.

    Raises
    ------
    SignInError
        If what was given is wrong.
    TooManyAttemptsError
        If it was too often.
    """
    address = request.client.host if request.client else ""
    pages.throttle.check(address)
    try:
        if form.get("token"):
            return sessions.by_token(form["token"].strip(), pages.settings)
        return sessions.by_password(form.get("name", ""), form.get("password", ""), pages.settings)
    except SignInError:
        pages.throttle.wrong(address)
        raise


def _forms(request: Request, settings: Settings, back: str, error: GalaxyLoopError | None = None) -> HTMLResponse:
    action = f"{root_of(request)}/sign-in?next={quote(local(back), safe='/')}"
    said = "" if error is None else f'<p class="problem" role="alert">{escape(f"{error.message} {error.hint}")}</p>'
    team = Template(_file("team.html")).substitute(action=action) if settings.team_password.get_secret_value() else ""
    body = Template(_file("sign-in.html")).substitute(
        problem=said, action=action, team=team, label_studio=escape(settings.label_studio_url)
    )
    status = 200 if error is None else 429 if isinstance(error, TooManyAttemptsError) else 401
    return HTMLResponse(framed(body, request, title="Sign in"), status, PRIVATE)
