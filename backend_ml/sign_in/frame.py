"""What every server-rendered page for people has around it: head, header with who is signed in, and its errors."""

from collections.abc import Callable, Coroutine
from html import escape
from importlib.resources import files
from string import Template
from typing import Any
from urllib.parse import quote

from fastapi import Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from fastapi.routing import APIRoute

from backend_ml.serving.errors import expected_answer
from backend_ml.sign_in.forms import CSRF_FIELD
from backend_ml.sign_in.guard import FORM_SECURITY
from backend_ml.sign_in.person import Person
from backend_ml.sign_in.sessions import Sessions, SignInError
from lvm_training.errors import GalaxyLoopError

PRIVATE = FORM_SECURITY | {"Cache-Control": "no-store"}
SEE_OTHER = 303
NOT_FOUND = 404


def root_of(request: Request) -> str:
    """The site's first page as seen from a request's own, since a proxy may put all of them below a prefix."""
    depth = request.scope["path"].count("/") - 1
    return "/".join([".."] * depth) or "."


def csrf_field(sessions: Sessions, person: Person) -> str:
    """The hidden field that each form of someone signed in carries."""
    return f'<input type="hidden" name="{CSRF_FIELD}" value="{escape(sessions.csrf(person))}">'


def framed(
    body: str, request: Request, *, title: str, sessions: Sessions | None = None, person: Person | None = None
) -> str:
    """A page as HTML; `body` is HTML already, `title` is not."""
    root = root_of(request)
    who = ""
    if sessions is not None and person is not None:
        who = (
            f'<form class="who" method="post" action="{root}/sign-out">{csrf_field(sessions, person)}'
            f"<span>{escape(person.name)}</span> <button>Sign out</button></form>"
        )
    text = files("backend_ml.sign_in").joinpath("pages", "frame.html").read_text(encoding="utf-8")
    return Template(text).substitute(title=escape(title), root=root, who=who, body=body)


class PageRoute(APIRoute):
    """A route whose errors are pages too: who is not signed in is sent to sign in, and comes back."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """As FastAPI's."""
        handle = super().get_route_handler()

        async def handled(request: Request) -> Response:
            try:
                return await handle(request)
            except SignInError:
                # what was to be changed is not repeated: its page is shown again
                back = request.scope["path"] if request.method == "GET" else request.scope["path"].rpartition("/")[0]
                address = f"{root_of(request)}/sign-in?next={quote(back, safe='/')}"
                return RedirectResponse(address, SEE_OTHER, PRIVATE)
            except GalaxyLoopError as error:
                return error_page(request, error)

        return handled


def error_page(request: Request, error: GalaxyLoopError) -> HTMLResponse:
    """What is wrong and what to do, for people."""
    answer = expected_answer(request, error)
    root, campaign = root_of(request), request.path_params.get("campaign_id")
    # from a form or a file of a campaign's page one goes back to that
    from_page = request.scope["path"].startswith(f"/status/{campaign}/") and answer.status_code != NOT_FOUND
    back = f'<p><a href="{root}/status/{campaign}">The campaign\'s page</a></p>' if from_page else ""
    written = from_page and request.method == "POST"
    kept = "<p>Go back in your browser to mend what you wrote.</p>" if written else ""
    body = (
        f'<div class="card narrow"><p role="alert"><b>{escape(error.message)}</b></p><p>{escape(error.hint)}</p>'
        f'{kept}{back}<p><a href="{root}/status">All campaigns</a></p></div>'
    )
    return HTMLResponse(framed(body, request, title="This did not work"), answer.status_code, PRIVATE)
