"""Searches: campaigns of yes and no over one stamp set, begun on the search page."""

from typing import Any

import structlog
from psycopg.errors import UniqueViolation

from backend_ml.buckets import here
from backend_ml.settings import Settings
from backend_ml.store.campaigns import add_campaign, all_campaigns, campaign_of_id
from backend_ml.store.database import Connection, Database
from backend_ml.store.encoders import stored_card
from backend_ml.store.features import opened_features
from backend_ml.store.records import Campaign, CampaignError, UnknownCampaignError
from lvm_training.errors import GalaxyLoopError
from lvm_training.heads.preference import NO, YES
from lvm_training.pool.features import Features
from lvm_training.stamps.rendering import Rendering

log = structlog.get_logger(__name__)

KIND = "interest"
POLICY = "loop"


class ClosedSearchError(GalaxyLoopError):
    """A search that takes no more labels."""

    code = "closed"


def pools(database: Database) -> dict[str, Features]:
    """The features of each registered stamp set that has some, by its name."""
    found = {}
    for row in database.rows("stamp_sets"):
        try:
            found[row["name"]] = opened_features(here(row["features"]))
        except GalaxyLoopError as error:
            log.info("stamp set cannot be searched", stamp_set=row["name"], error=str(error))
    return found


def find_pool(database: Database, stamp_set: str) -> Features:
    """The features of a stamp set.

    Raises
    ------
    CampaignError
        If it is not registered, or has none.
    """
    found = pools(database)
    if stamp_set not in found:
        raise CampaignError(
            f"There is no stamp set {stamp_set!r} with features here.", "Choose one of the list on the page."
        )
    return found[stamp_set]


def begin(database: Database, settings: Settings, name: str, stamp_set: str, **columns: Any) -> Campaign:
    """A new search over a registered stamp set, with other `columns` of its row than usual.

    Raises
    ------
    CampaignError
        If the name is taken, or `find_pool` finds none.
    """
    pool = find_pool(database, stamp_set)
    try:
        with database.transaction() as connection:
            return add_campaign(
                connection,
                name=name,
                kind=KIND,
                classes=(NO, YES),
                stamp_set=stamp_set,
                encoder=pool.encoder,
                rendering=_rendering(connection, pool.encoder, settings),
                policy=POLICY,
                **columns,
            )
    except UniqueViolation as error:
        raise CampaignError(f"There is a campaign {name!r} already.", "Choose another name.") from error


def _rendering(connection: Connection, encoder: str, settings: Settings) -> Rendering:
    """The pictures of that encoder: as its campaigns show them, else as its checkpoint says, else as by default."""
    for campaign in all_campaigns(connection):
        if campaign.encoder == encoder:
            return campaign.rendering
    card = stored_card(settings.store_folder, encoder)
    return Rendering() if card is None else card.rendering


def find(connection: Connection, search_id: int) -> Campaign:
    """The search of an id, open or closed.

    Raises
    ------
    UnknownCampaignError
        If there is none.
    """
    campaign = campaign_of_id(connection, search_id)
    if campaign is not None and campaign.kind == KIND:
        return campaign
    raise UnknownCampaignError(f"There is no search {search_id}.", "Its link may be cut; all searches are at /explore.")
