"""Which version serves, changed by hand: from the command line and the status page alike."""

from pathlib import Path

from backend_ml.campaign import defer
from backend_ml.campaign.encoders import check_features
from backend_ml.store import versions
from backend_ml.store.campaigns import check_open, log_change
from backend_ml.store.database import Connection
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
        If there is none of that name, or the features that it reads are gone.
    CampaignError
        If the campaign is closed.
    """
    check_open(campaign)
    check_features(connection, campaign, version, store)
    versions.promote(connection, campaign, version, versions.PROMOTED)
    return _serving(connection, campaign, version, by, "promoted")


def roll_back(connection: Connection, campaign: Campaign, store: Path, by: str) -> str:
    """Serve the version that served before, and have the queue pushed anew; its name. As `promote`.

    Raises
    ------
    VersionError
        If nothing served before, or the features that it reads are gone.
    """
    check_open(campaign)
    version = versions.rollback(connection, campaign)
    check_features(connection, campaign, version, store)
    return _serving(connection, campaign, version, by, "rolled back")


def _serving(connection: Connection, campaign: Campaign, version: str, by: str, what: str) -> str:
    if campaign.project is not None:
        defer.defer_push(connection, campaign.id)
    log_change(connection, campaign, by, what, version=version)
    return version
