"""Pictures of restored stamps, and of what restoration took away, behind signed links."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from backend_ml import signing
from backend_ml.networks.decoders import load_restorer, restored_stamps
from backend_ml.pictures.drawing import annotated
from backend_ml.settings import Settings
from backend_ml.signing import AccessError
from backend_ml.store import versions
from backend_ml.store.campaigns import campaign_of_id
from backend_ml.store.database import Database
from backend_ml.store.records import Campaign
from backend_ml.store.stamps import UnknownStampError
from lvm_training.stamps.render import render_pixels
from lvm_training.stamps.rendering import Rendering
from lvm_training.stamps.stampset import StampSet

if TYPE_CHECKING:
    from lvm_training.restoration.restorer import Restorer

RestoredView = Literal["restored", "residual"]
GREY, GAIN = 0.5, 2.5  # a residual of a fifth of the scale is black or white


class RestoredPictures:
    """Draws them by the version that serves, for who holds a link that is signed."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database, self._settings = database, settings

    def file(
        self,
        view: RestoredView,
        stamp_set: str,
        stamp_id: int,
        campaign_id: int,
        key: str,
        signed_in: Callable[[], bool] = bool,
    ) -> bytes:
        """The picture of a stamp as JPEG, as large as the campaign's are.

        Raises
        ------
        AccessError
            If the key does not sign it, or has lapsed.
        UnknownStampError
            If there is no such stamp, or the campaign restores none.
        """
        with self._database.transaction() as connection:
            campaign = campaign_of_id(connection, campaign_id)
            active = versions.active_version(connection, campaign) if campaign is not None else None
        links = None if campaign is None else campaign.links
        if campaign is None or not signing.has_link_key(key, view, stamp_set, stamp_id, links, self._settings):
            raise AccessError(
                "This picture's link is not signed for it, or was rotated.", "Open the task in Label Studio again."
            )
        if campaign.links_lapsed and not signed_in():
            raise AccessError(
                "The campaign of this picture is closed.", "Sign in on the page /explore of this server to see it."
            )
        if active is None or active.detector is None:
            raise UnknownStampError("The campaign has no version that restores.", "Let it learn again.")
        return self._drawn(view, stamp_set, stamp_id, campaign, active.detector)

    def _drawn(self, view: RestoredView, stamp_set: str, stamp_id: int, campaign: Campaign, decoder: str) -> bytes:
        store: Path = self._settings.store_folder
        stamps = self._database.stamp_sets.holding(stamp_set, stamp_id)
        rendering = campaign.rendering.sized(campaign.picture_size)
        return restored_picture(view, stamps, stamp_id, rendering, store, load_restorer(store, decoder))


def restored_picture(
    view: RestoredView, stamps: StampSet, row: int, rendering: Rendering, store: Path, restorer: "Restorer"
) -> bytes:
    """A restored stamp as JPEG, or what was taken away of it: brighter than grey was taken away, darker put in.

    Parameters
    ----------
    store : Path
        Where restored sets are kept; what none holds is restored now.
    """
    restored = restored_stamps(store, stamps, restorer, [row])[0].pixels[None]
    picture = render_pixels(stamps, restored, rendering, "bicubic")[0]
    if view == "restored":
        return annotated(picture, stamps, rendering, crop_said=True, encoding="jpeg")
    observed = render_pixels(stamps, stamps.intact_pixels([row])[0], rendering, "bicubic")[0]
    residual = (GREY + GAIN * (observed - picture)).clamp(0, 1)
    return annotated(residual, stamps, rendering, north_east=False, scale_bar=False, encoding="jpeg")
