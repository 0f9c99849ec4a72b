"""Which version serves, changed by hand: from the command line and the status page alike."""

from pathlib import Path

from backend_ml.campaign import defer
from backend_ml.leading.overtaken import OvertakenVersionError
from backend_ml.leading.servable import check_servable
from backend_ml.store import versions
from backend_ml.store.campaigns import check_open, log_change
from backend_ml.store.database import Connection, query
from backend_ml.store.records import Campaign


def promote(connection: Connection, campaign: Campaign, version: str, store: Path, by: str) -> str:
    """Serve a version, whatever the gate said, and have the queue pushed anew; its name.

    Parameters
    ----------
    store : Path
        Where encoders are kept.
    by : str
        Who wants it, for the log of changes.

    Raises
    ------
    VersionError
        If there is none of that name, or what it answers from is gone.
    CampaignError
        If the campaign is closed.
    """
    check_open(campaign)
    check_servable(connection, campaign, version, store)
    versions.promote(connection, campaign, version, versions.PROMOTED)
    return _serving(connection, campaign, version, by, "promoted")


def roll_back(connection: Connection, campaign: Campaign, store: Path, by: str, seen: str = "") -> str:
    """Serve the version that served before, and have the queue pushed anew; its name. As `promote`.

    Parameters
    ----------
    seen : str
        The version that served when somebody decided to leave it; empty where nothing says it.

    Raises
    ------
    OvertakenVersionError
        If another version serves by now: the one before it was not meant.
    VersionError
        If nothing served before, or what it answers from is gone.
    """
    check_open(campaign)
    query(connection, "lock_campaign", campaign=campaign.id)
    now = versions.active_version(connection, campaign)
    if seen and now is not None and now.version != seen:
        raise OvertakenVersionError(
            f"{seen} served when you saw the page of {campaign.name!r}; {now.version} does by now, so nothing is"
            " rolled back.",
            "Look at the campaign's page again, and roll back there if that is to go as well.",
        )
    version = versions.rollback(connection, campaign)
    check_servable(connection, campaign, version, store)
    return _serving(connection, campaign, version, by, "rolled back")


def _serving(connection: Connection, campaign: Campaign, version: str, by: str, what: str) -> str:
    if campaign.project is not None:
        defer.defer_push(connection, campaign.id)
    log_change(connection, campaign, by, what, version=version)
    return version
