"""The leader's page: all campaigns, each of them, its pictures and its files, for who is signed in."""

from functools import partial
from importlib.resources import files
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from fastapi.encoders import jsonable_encoder
from fastapi.responses import HTMLResponse

from backend_ml.label_studio.labelling import why_url
from backend_ml.labels.people import People
from backend_ml.report.galaxies import disputes, next_tasks
from backend_ml.report.next_training import next_training
from backend_ml.report.report import as_json, namer, read_report
from backend_ml.serving.admission import ID, ROW
from backend_ml.sign_in.access import Pages, ThePages, ThePerson
from backend_ml.sign_in.frame import PRIVATE, PageRoute, csrf_field, framed, root_of
from backend_ml.sign_in.guard import FORM_SECURITY
from backend_ml.status import downloads
from backend_ml.status.changes import changes, found_campaign
from backend_ml.status.downloads import download
from backend_ml.status.html import Html
from backend_ml.status.leading import lead_sections
from backend_ml.status.overview import overview, read_lines
from backend_ml.status.page import View, campaign_page
from backend_ml.store.database import query
from backend_ml.store.records import Campaign
from backend_ml.store.stamps import StampSets, UnknownStampError
from backend_ml.why.neighbours import called
from lvm_training.errors import GalaxyLoopError, StampError
from lvm_training.files import write_json

CAMPAIGN = f"/{{campaign_id:{ID}}}"


class NoSuchPageError(GalaxyLoopError):
    """An address below /status that is none."""

    code = "unknown_project"


async def people_of(request: Request) -> People:
    """Who knows the annotators' names, for all requests."""
    people: People = request.app.state.people
    return people


ThePeople = Annotated[People, Depends(people_of)]
status_page = APIRouter(prefix="/status", route_class=PageRoute)


@status_page.get("/pages/status.css")
def style() -> Response:
    """The page's style."""
    css = files("backend_ml.status").joinpath("pages", "status.css").read_text(encoding="utf-8")
    return Response(css, media_type="text/css", headers=FORM_SECURITY | {"Cache-Control": "no-cache"})


@status_page.get("")
@status_page.get("/", include_in_schema=False)
def all_campaigns_page(request: Request, pages: ThePages, person: ThePerson) -> HTMLResponse:
    """All campaigns, open ones first."""
    with pages.database.transaction() as connection:
        lines = read_lines(connection)
    body = overview(lines, root_of(request))
    return HTMLResponse(
        framed(body, request, title="Campaigns", sessions=pages.sessions, person=person), headers=PRIVATE
    )


@status_page.get(CAMPAIGN)
def one_campaign_page(
    campaign_id: int, request: Request, pages: ThePages, people: ThePeople, person: ThePerson
) -> HTMLResponse:
    """How one campaign stands."""
    with pages.database.transaction() as connection:
        campaign = found_campaign(connection, campaign_id)
        report = read_report(connection, campaign)
        view = View(
            report,
            next_training(connection, report, pages.settings),
            namer(connection, campaign, people.name),
            root_of(request),
            Html(csrf_field(pages.sessions, person)),
            pages.settings.label_studio_url,
            person.leads,
            partial(_called, pages.database.stamp_sets),
            lambda stamp: why_url(stamp, campaign.links, pages.settings),
        )
        upcoming = next_tasks(connection, view.report)
        sets = [row["name"] for row in query(connection, "stamp_sets")]
        disputed, total = disputes(connection, view.report, view.named)
    body = campaign_page(view, upcoming, disputed, total, lead_sections(view, sets))
    title = campaign.name
    return HTMLResponse(framed(body, request, title=title, sessions=pages.sessions, person=person), headers=PRIVATE)


def _called(sets: StampSets, stamp: tuple[str, int]) -> str:
    """What a galaxy is called; its set and row where nobody says, or its file is gone."""
    try:
        return called(sets, stamp)
    except (StampError, UnknownStampError):
        return f"{stamp[0]} {stamp[1]}"


@status_page.get(f"{CAMPAIGN}/stamps/{{stamp_set}}/{{stamp_id:{ROW}}}.png")
def picture(campaign_id: int, stamp_set: str, stamp_id: int, pages: ThePages, person: ThePerson) -> Response:
    """The picture of a stamp, as the campaign's annotators see it."""
    campaign = _campaign(pages, campaign_id)
    png = pages.pictures.file(stamp_set, stamp_id, campaign.rendering)
    return Response(png, media_type="image/png", headers=FORM_SECURITY | {"Cache-Control": "private, max-age=86400"})


@status_page.get(f"{CAMPAIGN}/labels.csv")
def labels(campaign_id: int, pages: ThePages, person: ThePerson) -> Response:
    """The labels as a table."""
    campaign = _campaign(pages, campaign_id)
    return download(campaign, "labels.csv", partial(downloads.labels, pages, campaign))


@status_page.get(f"{CAMPAIGN}/objects.json")
def objects(campaign_id: int, pages: ThePages, person: ThePerson) -> Response:
    """What people drew, as COCO."""
    campaign = _campaign(pages, campaign_id)
    return download(campaign, "objects.json", partial(downloads.objects, pages, campaign))


@status_page.get(f"{CAMPAIGN}/catalogue.csv")
def catalogue_csv(campaign_id: int, pages: ThePages, person: ThePerson) -> Response:
    """Every galaxy of the campaign, labelled or not."""
    campaign = _campaign(pages, campaign_id)
    return download(campaign, "catalogue.csv", partial(downloads.catalogue, pages, campaign))


@status_page.get(f"{CAMPAIGN}/catalogue.fits")
def catalogue_fits(campaign_id: int, pages: ThePages, person: ThePerson) -> Response:
    """The same as FITS, with what people drew beside it."""
    campaign = _campaign(pages, campaign_id)
    return download(campaign, "catalogue.fits", partial(downloads.catalogue, pages, campaign))


@status_page.get(f"{CAMPAIGN}/cards/{{version}}.html")
def version_card(campaign_id: int, version: str, pages: ThePages, person: ThePerson) -> Response:
    """The card of a version; people have numbers."""
    campaign = _campaign(pages, campaign_id)
    return download(campaign, "card.html", partial(downloads.card, pages, campaign, version))


@status_page.get(f"{CAMPAIGN}/status.json")
def figures(campaign_id: int, pages: ThePages, people: ThePeople, person: ThePerson) -> Response:
    """All figures of the page."""
    with pages.database.transaction() as connection:
        campaign = found_campaign(connection, campaign_id)
        report = read_report(connection, campaign)
        training = next_training(connection, report, pages.settings)
        values = as_json(report, namer(connection, campaign, people.name))
        values["next_training"] = training.as_json() if training else None
    return download(campaign, "status.json", partial(write_json, document=jsonable_encoder(values)))


status_page.include_router(changes)


@status_page.get("/{anything:path}", include_in_schema=False)
def nothing(anything: str, person: ThePerson) -> Response:
    """An address that is none, said as a page."""
    raise NoSuchPageError("There is no such page.", "Choose a campaign from the list of all.")


def _campaign(pages: Pages, campaign_id: int) -> Campaign:
    with pages.database.transaction() as connection:
        return found_campaign(connection, campaign_id)
