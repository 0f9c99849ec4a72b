"""Where the forms of a campaign's page go: which version serves. The leader's other forms are in `leading`."""

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse

from backend_ml.leading import serving
from backend_ml.serving.admission import ID
from backend_ml.sign_in.access import ThePages
from backend_ml.sign_in.forms import TheForm, TheLeader
from backend_ml.sign_in.frame import PRIVATE, SEE_OTHER, PageRoute
from backend_ml.store.campaigns import campaign_of_id, check_open
from backend_ml.store.database import Connection
from backend_ml.store.records import Campaign, UnknownCampaignError

CAMPAIGN = f"/{{campaign_id:{ID}}}"
changes = APIRouter(prefix=CAMPAIGN, route_class=PageRoute)


def found_campaign(connection: Connection, campaign_id: int) -> Campaign:
    """The campaign of an id.

    Raises
    ------
    UnknownCampaignError
        If there is none.
    """
    campaign = campaign_of_id(connection, campaign_id)
    if campaign is None:
        raise UnknownCampaignError(f"There is no campaign {campaign_id}.", "Choose one from the list of all.")
    return campaign


def changeable(connection: Connection, campaign_id: int) -> Campaign:
    """The campaign of an id, while it is open.

    Raises
    ------
    UnknownCampaignError
        If there is none.
    CampaignError
        If it is closed.
    """
    campaign = found_campaign(connection, campaign_id)
    check_open(campaign)
    return campaign


def back_to(request: Request) -> Response:
    """Show the campaign's page again, by what the browser remembers no form of: a reload repeats nothing."""
    # from /status/12/promote as the browser sees it
    return RedirectResponse(f"../{request.path_params['campaign_id']}", SEE_OTHER, PRIVATE)


@changes.post("/promote")
def promote(campaign_id: int, request: Request, form: TheForm, pages: ThePages, person: TheLeader) -> Response:
    """Serve the version that the form names."""
    with pages.database.transaction() as connection:
        campaign = changeable(connection, campaign_id)
        serving.promote(connection, campaign, form.get("version", ""), pages.settings.store_folder, person.name)
    return back_to(request)


@changes.post("/rollback")
def roll_back(campaign_id: int, request: Request, form: TheForm, pages: ThePages, person: TheLeader) -> Response:
    """Serve the version that served before the one on the page."""
    with pages.database.transaction() as connection:
        campaign = changeable(connection, campaign_id)
        serving.roll_back(connection, campaign, pages.settings.store_folder, person.name, form.get("version", ""))
    return back_to(request)
