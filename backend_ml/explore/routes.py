"""The search page over HTTP: its files, and the JSON that its script speaks."""

from importlib.resources import files
from string import Template
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Request, Response
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, Field

from backend_ml.explore import service
from backend_ml.explore.service import SearchService, described, listed
from backend_ml.label_studio.labelling import DISPLAY_SIZE
from backend_ml.networks.decoders import encoder_restorer
from backend_ml.pictures.campaign_pictures import portrait_file
from backend_ml.pictures.framing import shown_rendering
from backend_ml.pictures.restored_pictures import RestoredView, restored_picture
from backend_ml.pictures.views import View
from backend_ml.search import searches
from backend_ml.serving.admission import ID, ROW
from backend_ml.serving.uploads import read_upload
from backend_ml.sign_in.access import TheEditor, ThePages, ThePerson, from_page
from backend_ml.sign_in.entrance import enter, leave
from backend_ml.sign_in.guard import SECURITY, guarded
from backend_ml.sign_in.sessions import COOKIE, SignInError
from backend_ml.store.records import PICTURE_SIZE
from backend_ml.store.storable import Name, Row, Text

PORTRAIT_SIZE = 160  # pixels
SEARCH = f"/api/searches/{{search_id:{ID}}}"
PAGES = {"explore.js": "text/javascript", "explore.css": "text/css"}


search_page = APIRouter(prefix="/explore", dependencies=[Depends(guarded)])


class SignIn(BaseModel):
    """A Label Studio token, or a name and the team password."""

    token: str = Field("", max_length=1000)
    name: str = Field("", max_length=200)
    password: str = Field("", max_length=200)


class NewSearch(BaseModel):
    """What to look for, and where."""

    name: Name = Field(min_length=3, max_length=50, pattern=r"\S.*\S")
    stamp_set: Text
    examples: Text = Field("", max_length=2000)
    simulated: Text = Field("", max_length=40)


class NamedExamples(BaseModel):
    """Rows, positions, files and ids of stamps that are wanted."""

    examples: Text = Field(min_length=1, max_length=2000)


class NextRound(BaseModel):
    """How many stamps to show, what chooses them, and the conditions that they fit (`stamps.conditions`).

    `unseen` leaves out what earlier rounds showed, whoever saw them.
    """

    size: int = Field(20, ge=1, le=100)
    policy: str = Field(searches.POLICY, max_length=40)
    where: list[Annotated[Text, Field(max_length=200)]] = Field([], max_length=10)
    unseen: bool = False


class StampLabel(BaseModel):
    """A label of one stamp."""

    stamp_id: Row
    label: Literal["yes", "no", "unsure"]


class Send(BaseModel):
    """How many of the most likely stamps become tasks."""

    top: int = Field(200, ge=1, le=10_000)


def page_file(name: str, media_type: str, root: str = "") -> Response:
    """A file of the page; `root` is the address of /explore as seen from the page's own."""
    text = files("backend_ml.explore").joinpath("pages", name).read_text(encoding="utf-8")
    if root:
        text = Template(text).substitute(root=root)
    return Response(text, media_type=media_type, headers=SECURITY | {"Cache-Control": "no-cache"})


@search_page.get("")
def start_page() -> Response:
    """The page; it and its script name everything from where they are, since a proxy may put them below a prefix."""
    return page_file("explore.html", "text/html", "explore")


@search_page.get("/", include_in_schema=False)
@search_page.get(f"/{{search_id:{ID}}}")
def page() -> Response:
    """The page; its script reads from the address which search it shows."""
    return page_file("explore.html", "text/html", "../explore")


@search_page.get("/pages/{name}")
def asset(name: Literal["explore.js", "explore.css"]) -> Response:
    """The page's script and style."""
    return page_file(name, PAGES[name])


@search_page.get("/api/session")
def session(request: Request, pages: ThePages) -> dict[str, Any]:
    """Who is signed in, and how one can."""
    settings = pages.settings
    ways = {"password": bool(settings.team_password.get_secret_value()), "label_studio": settings.label_studio_url}
    try:
        person = pages.sessions.read(request.cookies.get(COOKIE))
    except SignInError:
        return {"person": None, "ways": ways}
    writes = bool(person.token)
    return {"person": person.name, "csrf": pages.sessions.csrf(person), "writes": writes, "ways": ways}


@search_page.post("/api/session", dependencies=[Depends(from_page)])
def sign_in(body: SignIn, request: Request, response: Response, pages: ThePages) -> dict[str, Any]:
    """Sign in; wrong attempts are counted by address."""
    entered = enter(pages, request, token=body.token, name=body.name, password=body.password)
    entered.put(response)
    person = entered.person
    return {"person": person.name, "csrf": pages.sessions.csrf(person), "writes": bool(person.token)}


@search_page.delete("/api/session")
def sign_out(response: Response, pages: ThePages, person: TheEditor) -> dict[str, Any]:
    """Sign out."""
    leave(pages, person, response)
    return {"person": None}


@search_page.get("/api/searches")
def all_searches(pages: ThePages, person: ThePerson) -> dict[str, Any]:
    """All searches, and the stamp sets that can be searched."""
    return listed(pages)


@search_page.post("/api/searches", status_code=201)
def begin(body: NewSearch, pages: ThePages, person: TheEditor) -> dict[str, Any]:
    """Begin a search, with examples or what the simulator draws where some are named."""
    return described(service.begin(pages, person, body.name, body.stamp_set, body.examples, body.simulated))


@search_page.get("/api/simulated/{concept}.png")
def portrait(concept: Annotated[str, Field(max_length=40)], person: ThePerson) -> Response:
    """What the simulator draws of a concept."""
    headers = SECURITY | {"Cache-Control": "private, max-age=86400"}
    return Response(portrait_file(concept, 0, PORTRAIT_SIZE, "png"), media_type="image/png", headers=headers)


@search_page.get(SEARCH)
def state(search_id: int, pages: ThePages, person: ThePerson) -> dict[str, Any]:
    """How a search stands, with this person's latest round."""
    return SearchService(pages, search_id, person).state()


@search_page.post(f"{SEARCH}/examples")
def add_examples(search_id: int, body: NamedExamples, pages: ThePages, person: TheEditor) -> dict[str, Any]:
    """Label stamps as wanted by row, position, file or id."""
    return {"stamps": SearchService(pages, search_id, person).add_examples(body.examples)}


@search_page.post(f"{SEARCH}/pictures", status_code=201)
async def add_picture(
    search_id: int,
    request: Request,
    pages: ThePages,
    person: TheEditor,
    name: Annotated[Name, Field(max_length=200)],
) -> dict[str, Any]:
    """Look for what a picture shows; the body is the file."""
    data = await read_upload(request)
    seen = await run_in_threadpool(SearchService, pages, search_id, person)
    await run_in_threadpool(seen.add_picture, data, name)
    return {"name": name}


@search_page.delete(f"{SEARCH}/pictures/{{example:{ID}}}")
def remove_picture(search_id: int, example: int, pages: ThePages, person: TheEditor) -> dict[str, Any]:
    """Take back a picture of one's own."""
    return {"removed": SearchService(pages, search_id, person).remove_picture(example)}


@search_page.post(f"{SEARCH}/rounds", status_code=201)
def next_round(search_id: int, body: NextRound, pages: ThePages, person: TheEditor) -> dict[str, Any]:
    """The next round."""
    return SearchService(pages, search_id, person).next_round(body.size, body.policy, body.where, body.unseen)


@search_page.post(f"{SEARCH}/labels")
def put_label(search_id: int, body: StampLabel, pages: ThePages, person: TheEditor) -> dict[str, Any]:
    """Label a stamp."""
    SearchService(pages, search_id, person).label(body.stamp_id, body.label)
    return {"stamp_id": body.stamp_id, "mine": body.label}


@search_page.delete(f"{SEARCH}/labels/{{stamp_id:{ROW}}}")
def withdraw(search_id: int, stamp_id: int, pages: ThePages, person: TheEditor) -> dict[str, Any]:
    """Take back one's label of a stamp."""
    SearchService(pages, search_id, person).withdraw(stamp_id)
    return {"stamp_id": stamp_id, "mine": None}


@search_page.post(f"{SEARCH}/undo")
def undo(search_id: int, pages: ThePages, person: TheEditor) -> dict[str, Any]:
    """Take back one's latest label."""
    return {"stamp_id": SearchService(pages, search_id, person).undo(), "mine": None}


@search_page.post(f"{SEARCH}/send", status_code=201)
def send(search_id: int, body: Send, pages: ThePages, person: TheEditor) -> dict[str, Any]:
    """Make a search a campaign in Label Studio, in this person's name."""
    return described(SearchService(pages, search_id, person).send(body.top))


@search_page.get(f"{SEARCH}/history")
def history(search_id: int, pages: ThePages, person: ThePerson) -> dict[str, Any]:
    """Rounds, their precision, and who said what when."""
    return SearchService(pages, search_id, person).history()


@search_page.get(f"{SEARCH}/found.csv")
def found(search_id: int, pages: ThePages, person: ThePerson) -> Response:
    """What was found, as a table."""
    text = SearchService(pages, search_id, person).found()
    saved = {"Cache-Control": "no-store", "Content-Disposition": f"attachment; filename=search-{search_id}.csv"}
    return Response(text, media_type="text/csv", headers=SECURITY | saved)


@search_page.get(f"{SEARCH}/map")
def plane(search_id: int, pages: ThePages, person: ThePerson) -> dict[str, Any]:
    """The pool's features in two dimensions."""
    return SearchService(pages, search_id, person).plane()


@search_page.get(f"{SEARCH}/stamps/{{stamp_id:{ROW}}}.png")
def picture(
    search_id: int, stamp_id: int, pages: ThePages, person: ThePerson, view: View = "rgb", large: bool = False
) -> Response:
    """The picture of a stamp; a large one shows all of it."""
    search = SearchService(pages, search_id, person).search
    png = pages.pictures.file(
        search.stamp_set, stamp_id, search.rendering, view, size=PICTURE_SIZE if large else DISPLAY_SIZE, whole=large
    )
    headers = SECURITY | {"Cache-Control": "private, max-age=86400"}
    return Response(png, media_type="image/png", headers=headers)


@search_page.get(f"{SEARCH}/stamps/{{stamp_id:{ROW}}}/{{view}}.jpg")
def restored(search_id: int, stamp_id: int, view: RestoredView, pages: ThePages, person: ThePerson) -> Response:
    """A stamp as the decoder behind the search's encoder restores it, or what that takes away; all of the stamp."""
    search, store = SearchService(pages, search_id, person).search, pages.settings.store_folder
    restorer = encoder_restorer(store, search.encoder)
    stamps = pages.database.stamp_sets.holding(search.stamp_set, stamp_id)
    rendering = shown_rendering(search.rendering, stamps).sized(PICTURE_SIZE)
    found = restored_picture(view, stamps, stamp_id, rendering, store, restorer)
    headers = SECURITY | {"Cache-Control": "private, max-age=86400"}
    return Response(found, media_type="image/jpeg", headers=headers)


@search_page.get(f"{SEARCH}/stamps/{{stamp_id:{ROW}}}")
def stamp(search_id: int, stamp_id: int, pages: ThePages, person: ThePerson) -> dict[str, Any]:
    """What is known of a stamp."""
    return SearchService(pages, search_id, person).stamp(stamp_id)
