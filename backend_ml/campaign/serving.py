"""Which version serves, changed by hand: from the command line and the status page alike."""

from pathlib import Path

import structlog

from backend_ml.campaign import defer
from backend_ml.campaign.encoders import check_features
from backend_ml.store import versions
from backend_ml.store.database import Connection
from backend_ml.store.records import Campaign

log = structlog.get_logger(__name__)


def promote(connection: Connection, campaign: Campaign, version: str, store: Path) -> str:
    """Serve a version, whatever the gate said, and have the queue pushed anew; its name.

    Raises
    ------
    VersionError
        If there is none of that name, or the features that it reads are gone.
    """
    check_features(connection, campaign, version, store)
    versions.promote(connection, campaign, version, "promoted by hand")
    return _serving(connection, campaign, version)


def roll_back(connection: Connection, campaign: Campaign, store: Path) -> str:
    """Serve the version that served before, and have the queue pushed anew; its name.

    Raises
    ------
    VersionError
        If nothing served before, or the features that it reads are gone.
    """
    version = versions.rollback(connection, campaign)
    check_features(connection, campaign, version, store)
    return _serving(connection, campaign, version)


def _serving(connection: Connection, campaign: Campaign, version: str) -> str:
    if campaign.project is not None:
        defer.defer_push(connection, campaign.id)
    log.info("serving by hand", campaign=campaign.name, version=version)
    return version
