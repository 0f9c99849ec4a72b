"""Pictures that say something of a whole campaign: an example of each class, and how many tasks are labelled.

Their links stand in instructions and tasks, which nobody wants to write anew with each label; what they show is found
when somebody looks.
"""

from collections.abc import Sequence
from functools import lru_cache
from html import escape

import numpy as np

from backend_ml import signing
from backend_ml.kinds.installed import kind_of
from backend_ml.kinds.models import Stamp
from backend_ml.labels.agreed import agree
from backend_ml.pictures.drawing import Format, blank, encoded
from backend_ml.pictures.stamp_pictures import PictureCache
from backend_ml.queue.push import waiting_tasks
from backend_ml.settings import Settings
from backend_ml.signing import AccessError
from backend_ml.store.campaigns import campaign_of_id
from backend_ml.store.database import Database, query
from backend_ml.store.records import Campaign
from lvm_training.scenes.simulated_classes import NOT, split_concepts
from lvm_training.simulated.portraits import portrait

EXAMPLE_SIZE = 208  # pixels: twice what an instruction shows, for fine screens
NONE_YET = "no example\nyet"


class CampaignPictures:
    """Draws them, for who holds a link that is signed, of campaigns that are open."""

    def __init__(self, database: Database, settings: Settings, cache: PictureCache) -> None:
        self._database, self._settings, self._cache = database, settings, cache

    def example(self, campaign_id: int, name: str, number: int, key: str) -> bytes:
        """The example of a class of that number, from 0, as JPEG; one that says so where there is none yet.

        The labels that a campaign started with come first, and in a search what people found; then what the simulator
        draws of the class, then galaxies that people labelled so, but for those of the audit slice.

        Raises
        ------
        AccessError
            If the key does not sign it, or has lapsed.
        """
        campaign = self._campaign(campaign_id, key, "example", name, number)
        name = campaign.renamed.get(name, name)
        known, others = self._labelled(campaign, name)
        # no portrait shows what a galaxy is not
        drawn = split_concepts(campaign.simulated.get(name) or kind_of(campaign).portraits.get(name, ""))
        concept = next((one for one in drawn if not one.startswith(NOT)), None)
        if number < len(known):
            return self._stamp(campaign, known, number)
        if concept:
            return portrait_file(concept, number, EXAMPLE_SIZE, "jpeg")
        return self._stamp(campaign, [*known, *others], number)

    def progress(self, campaign_id: int, key: str) -> str:
        """How many tasks have the labels that they wait for, as SVG.

        Raises
        ------
        AccessError
            If the key does not sign it, or has lapsed.
        """
        campaign = self._campaign(campaign_id, key, "progress", "", 0)
        with self._database.transaction() as connection:
            tasks = query(connection, "task_counts", campaign=campaign.id)[0]["tasks"]
            done = tasks - len(waiting_tasks(connection, campaign))
        return progress_svg(done, tasks)

    def _campaign(self, campaign_id: int, key: str, what: signing.Linked, name: str, number: int) -> Campaign:
        with self._database.transaction() as connection:
            campaign = campaign_of_id(connection, campaign_id)
        links = None if campaign is None else campaign.links
        if campaign is None or not signing.has_link_key(key, what, name, number, links, self._settings):
            raise AccessError(
                "This picture's link is not signed for it, or was rotated.", "Open the project in Label Studio again."
            )
        if campaign.links_lapsed:
            raise AccessError("The campaign of this picture is closed.", "Ask whoever runs it to open it again.")
        return campaign

    def _labelled(self, campaign: Campaign, name: str) -> tuple[list[Stamp], list[Stamp]]:
        """Stamps labelled so that come before what is simulated, and those that come after; the oldest first."""
        with self._database.transaction() as connection:
            votes = query(connection, "votes", campaign=campaign.id)
        agreed = {(one.stamp_set, one.stamp_id): one for one in agree(votes, campaign.consensus)[0]}
        searching = kind_of(campaign).wanted is not None
        first: dict[Stamp, bool] = {}
        for vote in sorted(votes, key=lambda vote: vote["happened_at"]):
            stamp = (vote["stamp_set"], vote["stamp_id"])
            if agreed[stamp].label == name and not vote["blind"]:
                first[stamp] = first.get(stamp, False) or searching or vote["given"] == "start"
        return [stamp for stamp, early in first.items() if early], [s for s, early in first.items() if not early]

    def _stamp(self, campaign: Campaign, stamps: Sequence[Stamp], number: int) -> bytes:
        if number >= len(stamps):
            return encoded(blank(EXAMPLE_SIZE, NONE_YET), "jpeg")
        return self._cache.file(*stamps[number], campaign.rendering, size=EXAMPLE_SIZE, encoding="jpeg")


@lru_cache(maxsize=64)
def portrait_file(concept: str, number: int, size: int, encoding: Format) -> bytes:
    """What the simulator draws of a concept, the best first.

    Raises
    ------
    ConceptError
        If it draws nothing of that name.
    """
    rgb = portrait(concept, size, number).permute(1, 2, 0).numpy()
    return encoded((rgb[..., ::-1] * 255).round().astype(np.uint8), encoding)


def progress_svg(done: int, tasks: int) -> str:
    """A bar and "37 of 156 labelled", in a grey that is read on light and dark pages."""
    share = done / tasks if tasks else 0.0
    words = escape(f"{done:,} of {tasks:,} labelled")
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" width="280" height="22" role="img">'
        f'<title>{words}</title><rect y="8" width="110" height="6" rx="3" fill="#8886"/>'
        f'<rect y="8" width="{110 * share:.1f}" height="6" rx="3" fill="#4C5FA9"/>'
        f'<text x="120" y="16" font-family="system-ui, sans-serif" font-size="14" fill="#808080">{words}</text></svg>'
    )
