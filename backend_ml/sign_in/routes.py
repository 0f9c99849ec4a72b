"""Signing in and out by forms, for pages without scripts."""

import re
from html import escape
from importlib.resources import files
from string import Template
from urllib.parse import quote

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from backend_ml.label_studio.connection import LabelStudioError
from backend_ml.serving.errors import STATUS
from backend_ml.settings import Settings
from backend_ml.sign_in.access import ThePages, from_page
from backend_ml.sign_in.entrance import enter, leave
from backend_ml.sign_in.forms import TheForm, TheFormEditor
from backend_ml.sign_in.frame import PRIVATE, SEE_OTHER, PageRoute, framed, root_of
from backend_ml.sign_in.guard import FORM_SECURITY
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
    known = {name: form.get(name, "") for name in ("token", "name", "password")}
    try:
        entered = enter(pages, request, **known)
    except (SignInError, TooManyAttemptsError, LabelStudioError) as error:
        return _forms(request, pages.settings, back, error)
    answer = RedirectResponse(f"{root_of(request)}{local(back)}", SEE_OTHER, PRIVATE)
    entered.put(answer)
    return answer


@sign_in_page.post("/sign-out")
def sign_out(request: Request, pages: ThePages, person: TheFormEditor) -> Response:
    """Sign out."""
    answer = RedirectResponse(f"{root_of(request)}/sign-in", SEE_OTHER, PRIVATE)
    leave(pages, person, answer)
    return answer


def _forms(request: Request, settings: Settings, back: str, error: GalaxyLoopError | None = None) -> HTMLResponse:
    action = f"{root_of(request)}/sign-in?next={quote(local(back), safe='/')}"
    said = "" if error is None else f'<p class="problem" role="alert">{escape(f"{error.message} {error.hint}")}</p>'
    team = Template(_file("team.html")).substitute(action=action) if settings.team_password.get_secret_value() else ""
    body = Template(_file("sign-in.html")).substitute(
        problem=said, action=action, team=team, label_studio=escape(settings.label_studio_url)
    )
    status = 200 if error is None else STATUS[error.code]
    return HTMLResponse(framed(body, request, title="Sign in"), status, PRIVATE)
