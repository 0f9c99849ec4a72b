"""Pictures of stamps for annotators, behind signed links that hold unless whoever closes the campaign ends them."""

import threading
from collections import OrderedDict
from collections.abc import Callable

from backend_ml import signing
from backend_ml.kinds.installed import kind_of
from backend_ml.label_studio.labelling import DISPLAY_SIZE
from backend_ml.pictures.drawing import Format
from backend_ml.pictures.framing import shown_rendering
from backend_ml.pictures.views import View, stamp_view
from backend_ml.settings import Settings
from backend_ml.signing import AccessError
from backend_ml.store.campaigns import campaign_of_id
from backend_ml.store.database import Database
from backend_ml.store.records import Campaign
from lvm_training.files import file_state
from lvm_training.stamps.rendering import Rendering

KEPT_BYTES = 200_000_000  # of pictures of about 150 kB each


class PictureCache:
    """Renders and remembers pictures of registered stamp sets, for annotators and searches; threads may share it.

    Parameters
    ----------
    kept_bytes : int
        How much of them is kept; those that nobody asked for longest go first.
    """

    def __init__(self, database: Database, kept_bytes: int = KEPT_BYTES) -> None:
        self._database, self._lock, self._most = database, threading.Lock(), kept_bytes
        self._kept: OrderedDict[tuple[object, ...], bytes] = OrderedDict()
        self._bytes = 0

    def file(
        self,
        stamp_set: str,
        stamp_id: int,
        rendering: Rendering,
        view: View = "rgb",
        *,
        size: int = DISPLAY_SIZE,
        whole: bool = False,
        crop_said: bool = False,
        encoding: Format = "png",
    ) -> bytes:
        """A stamp as PNG or JPEG, `size` pixels square.

        Parameters
        ----------
        whole : bool
            Whether more of it is shown than the model reads (`shown_rendering`), with a frame around that.
        crop_said : bool
            As in `drawing.picture`.

        Raises
        ------
        UnknownStampError
            If there is no such stamp.
        """
        with self._lock:
            stamps = self._database.stamp_sets.holding(stamp_set, stamp_id)
            asked = stamp_set, stamp_id, rendering.model_dump_json(), view, size, whole, crop_said, encoding
            key = *asked, file_state(stamps.path)
            found = self._kept.get(key)
            if found is None:
                shown, read = (shown_rendering(rendering, stamps), rendering.field) if whole else (rendering, None)
                found = stamp_view(
                    stamps, stamp_id, shown, view, size=size, read=read, crop_said=crop_said, encoding=encoding
                )
                self._kept[key] = found
                self._bytes += len(found)
            self._kept.move_to_end(key)
            while self._bytes > self._most:
                self._bytes -= len(self._kept.popitem(last=False)[1])
        return found


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

    def file(
        self,
        stamp_set: str,
        stamp_id: int,
        campaign_id: int,
        key: str,
        signed_in: Callable[[], bool] = bool,
        encoding: Format = "jpeg",
    ) -> bytes:
        """The picture of a stamp, as large as the campaign's are.

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
        campaign = self._campaign(campaign_id)
        links = None if campaign is None else campaign.links
        if campaign is None or not signing.has_link_key(key, "stamp", stamp_set, stamp_id, links, self._settings):
            raise AccessError(
                "This picture's link is not signed for it, or was rotated.", "Open the task in Label Studio again."
            )
        if campaign.links_lapsed and not signed_in():
            raise AccessError(
                "The campaign of this picture is closed.", "Sign in on the page /explore of this server to see it."
            )
        size, whole = campaign.picture_size, kind_of(campaign).shows_whole
        return self._cache.file(
            stamp_set, stamp_id, campaign.rendering, size=size, whole=whole, crop_said=True, encoding=encoding
        )

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
