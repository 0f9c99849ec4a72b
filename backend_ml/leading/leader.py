"""Who changes a campaign, and what with."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import httpx

from backend_ml.label_studio.client import LabelStudio
from backend_ml.label_studio.connection import LabelStudioError
from backend_ml.settings import Settings
from backend_ml.store.campaigns import campaign_of_id
from backend_ml.store.database import Connection, Database, query
from backend_ml.store.records import Campaign, CampaignError

LONGEST_WAIT = 30.0  # seconds that somebody waits at a page


@dataclass(frozen=True)
class Leader:
    """Who changes a campaign.

    Attributes
    ----------
    settings : Settings
    database : Database
    label_studio : LabelStudio
        As this person, or the command line, sees it.
    name : str
        Whom the history of the campaign names.
    """

    settings: Settings
    database: Database
    label_studio: LabelStudio
    name: str

    @contextmanager
    def alone(self, campaign: Campaign) -> Iterator[None]:
        """Let nobody else change a campaign or its project, whose fields are read and written back, at this time.

        Raises
        ------
        CampaignError
            If somebody else is at it for long.
        """
        with self.database.sole("try_lock_connection", at_most=LONGEST_WAIT, campaign=campaign.id) as mine:
            if not mine:
                raise CampaignError(
                    f"Somebody else changes {campaign.name!r}, or its project, at this moment.", "Try again."
                )
            yield


def current(connection: Connection, campaign: Campaign, *, closed: bool = False) -> Campaign:
    """A campaign as it is now, which nobody else changes until the transaction ends.

    Parameters
    ----------
    closed : bool
        Whether it may be closed.

    Raises
    ------
    CampaignError
        If it is gone or closed.
    """
    query(connection, "lock_campaign", campaign=campaign.id)
    found = campaign_of_id(connection, campaign.id)
    if found is None or (found.is_closed and not closed):
        raise CampaignError(
            f"{campaign.name!r} is closed, so nothing of it changes.", "Open it with `galaxyloop campaign reopen`."
        )
    return found


@contextmanager
def project_there(campaign: Campaign) -> Iterator[None]:
    """Say so where Label Studio does not have the campaign's project any more.

    Raises
    ------
    CampaignError
        In place of Label Studio's "not found".
    """
    try:
        yield
    except LabelStudioError as error:
        if error.status != httpx.codes.NOT_FOUND:
            raise
        raise CampaignError(
            f"The project {campaign.project} of {campaign.name!r} is gone from Label Studio.",
            "`galaxyloop campaign close` ends the campaign; its labels stay.",
        ) from error
