"""Pictures of stamps for annotators, behind signed links that hold unless whoever closes the campaign ends them."""

import threading
from collections.abc import Callable
from functools import lru_cache

from backend_ml import signing
from backend_ml.serving.views import View, stamp_view
from backend_ml.settings import Settings
from backend_ml.signing import AccessError
from backend_ml.store.campaigns import campaign_of_id
from backend_ml.store.database import Database
from backend_ml.store.records import Campaign
from lvm_training.files import file_state
from lvm_training.stamps.rendering import Rendering

KEPT_PICTURES = 2000  # about 100 kB each


class PictureCache:
    """Renders and remembers pictures of registered stamp sets, for annotators and searches; threads may share it."""

    def __init__(self, database: Database) -> None:
        self._database, self._lock = database, threading.Lock()
        self._render = lru_cache(maxsize=KEPT_PICTURES)(self._rendered)

    def png(self, stamp_set: str, stamp_id: int, rendering: Rendering, view: View = "rgb") -> bytes:
        """A stamp as PNG.

        Raises
        ------
        UnknownStampError
            If there is no such stamp.
        """
        with self._lock:
            stamps = self._database.stamp_sets.holding(stamp_set, stamp_id)
            kept = stamp_set, stamp_id, rendering.model_dump_json(), view, file_state(stamps.path)
            png: bytes = self._render(*kept)
        return png

    def _rendered(self, stamp_set: str, stamp_id: int, rendering: str, view: View, _: tuple[int, ...]) -> bytes:
        stamps = self._database.stamp_sets.holding(stamp_set, stamp_id)
        return stamp_view(stamps, stamp_id, Rendering.model_validate_json(rendering), view)


class SignedPictures:
    """The pictures of tasks, for who holds a link that is signed."""

    def __init__(self, database: Database, settings: Settings, cache: PictureCache) -> None:
        self._database = database
        self._settings = settings
        self._lock = threading.Lock()
        self._campaigns: dict[int, Campaign] = {}
        self._cache = cache

    def forget(self, campaign: int | None = None) -> None:
        """Read a campaign anew at the next call, or all."""
        with self._lock:
            self._campaigns = {number: one for number, one in self._campaigns.items() if campaign not in (None, number)}

    def png(
        self, stamp_set: str, stamp_id: int, campaign_id: int, key: str, signed_in: Callable[[], bool] = bool
    ) -> bytes:
        """The picture of a stamp as PNG.

        Parameters
        ----------
        signed_in : callable
            Whether whoever asks is signed in, which is asked where the campaign's links have lapsed.

        Raises
        ------
        AccessError
            If the key does not sign this stamp for this campaign, or has lapsed.
        UnknownStampError
            If the set is unknown or has no such stamp.
        """
        if not signing.has_link_key(key, "stamp", stamp_set, stamp_id, campaign_id, self._settings):
            raise AccessError("This picture's link is not signed for it.", "Open the task in Label Studio again.")
        campaign = self._campaign(campaign_id)
        if campaign is None or (campaign.links_lapsed and not signed_in()):
            raise AccessError(
                "The campaign of this picture is closed.", "Sign in on the page /explore of this server to see it."
            )
        return self._cache.png(stamp_set, stamp_id, campaign.rendering)

    def _campaign(self, campaign_id: int) -> Campaign | None:
        held = self._campaigns.get(campaign_id)
        if held is not None:
            return held
        # under the lock as a whole: what is read at this moment may be from before a change that `forget` tells of
        with self._lock, self._database.transaction() as connection:
            found = campaign_of_id(connection, campaign_id)
            if found is not None:
                self._campaigns[campaign_id] = found
        return found
