"""Whether a campaign runs: pause and resume it, open it again after it was closed."""

from backend_ml.campaign.defer import defer_learning, defer_push, defer_reconcile
from backend_ml.campaign.lifecycle import connect_backend, project_title
from backend_ml.leading.leader import Leader, current, project_there
from backend_ml.store.campaigns import log_change
from backend_ml.store.database import Connection, query
from backend_ml.store.records import Campaign, CampaignError


def pause(connection: Connection, campaign: Campaign, by: str) -> bool:
    """Let nothing be learned, ranked or imported until somebody resumes; whether it ran before.

    Webhooks and labels are kept, tasks stay as they are, and their pictures too.

    Raises
    ------
    CampaignError
        If it is closed, or a search that is not in Label Studio: no worker does anything for it.
    """
    found = current(connection, campaign)
    if found.project is None:
        raise CampaignError(
            f"{found.name!r} is a search that is not in Label Studio: nothing goes on in it by itself.",
            "Leave it as it is, or close it.",
        )
    paused = bool(query(connection, "pause_campaign", campaign=found.id))
    if paused:
        log_change(connection, found, by, "paused")
    return paused


def resume(connection: Connection, campaign: Campaign, by: str) -> bool:
    """Let a paused campaign go on, and a worker catch up on what came meanwhile; whether it was paused.

    Raises
    ------
    CampaignError
        If it is closed.
    """
    found = current(connection, campaign)
    resumed = bool(query(connection, "open_campaign", campaign=found.id, state="paused"))
    if resumed:
        log_change(connection, found, by, "resumed")
        catch_up(connection, found)
    return resumed


def reopen(leader: Leader, campaign: Campaign) -> bool:
    """Connect a closed campaign to Label Studio again and let it go on; whether it was closed.

    The connection comes first, and is renewed where it is there already: doing it again mends a try that failed.

    Raises
    ------
    CampaignError
        If the project was deleted.
    LabelStudioError
        If Label Studio refuses, or cannot reach the backend.
    """
    settings = leader.settings.require("secret", "backend_password")
    if not campaign.is_closed:
        return False
    # whoever closes it once more comes before or after all of this
    with leader.alone(campaign):
        if campaign.project is not None:
            with project_there(campaign):
                if not campaign.adopted:
                    leader.label_studio.update_project(campaign.project, title=project_title(campaign.name))
                connect_backend(settings, leader.label_studio, campaign)
        return _open(leader, campaign)


def _open(leader: Leader, campaign: Campaign) -> bool:
    with leader.database.transaction() as connection:
        found = current(connection, campaign, closed=True)
        opened = bool(query(connection, "open_campaign", campaign=found.id, state="closed"))
        if opened:
            log_change(connection, found, leader.name, "reopened")
            query(connection, "announce", campaign=str(found.id))
            if found.project is not None:
                catch_up(connection, found)
    return opened


def catch_up(connection: Connection, campaign: Campaign) -> None:
    """Have a worker read what Label Studio knows, learn from it and push, and do what it was asked for before."""
    defer_reconcile(connection, campaign.id)
    defer_learning(connection, campaign, asked=False)
    defer_push(connection, campaign.id)
    query(connection, "ask_for_kept_jobs", campaign=campaign.id)
