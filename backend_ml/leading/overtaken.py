"""What somebody else changed since a leader saw it: it is said, and not overwritten."""

from collections.abc import Sequence
from typing import NamedTuple

from backend_ml.store.records import Campaign, CampaignError


class Overtaken(NamedTuple):
    """One thing that two leaders changed: what it is, what this one asks for, and what it is by now."""

    what: str
    wanted: str
    now: str


class OvertakenError(CampaignError):
    """Somebody else changed meanwhile what is to be changed.

    Parameters
    ----------
    found : sequence of Overtaken
    """

    code = "overtaken"

    def __init__(self, campaign: Campaign, found: Sequence[Overtaken]) -> None:
        what = " and ".join(f"the {one.what}" for one in found)
        super().__init__(
            f"Somebody else changed {what} of {campaign.name!r} since you saw it, so nothing of yours is done.",
            "Look at the campaign's page again, and change it there if it is still to be changed.",
        )
        self.found = found


class OvertakenVersionError(CampaignError):
    """Another version serves than the one that somebody wants to leave."""

    code = OvertakenError.code
