"""Heat maps: a campaign's answer spread over the picture it was given for."""

import threading
from dataclasses import dataclass, field
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from backend_ml.kinds.installed import load_model
from backend_ml.kinds.models import Predict, Stamp, Stores
from backend_ml.label_studio.labelling import DISPLAY_SIZE
from backend_ml.learning.learn import answering_version
from backend_ml.pictures.drawing import PNG
from backend_ml.settings import Settings
from backend_ml.store.database import Database
from backend_ml.store.encoders import stored_encoder
from backend_ml.store.features import FeatureStore
from backend_ml.store.records import Campaign
from backend_ml.why.occlusion import occlusion_map
from lvm_training.errors import GalaxyLoopError
from lvm_training.files import file_state
from lvm_training.stamps.render import render_set

VIEWS = 4  # of the eight: half the time, and maps that look the same
# vermilion and blue of Okabe & Ito, which people of any colour vision tell apart; R, G, B
FOR, AGAINST = np.array([0.90, 0.40, 0.0]), np.array([0.0, 0.45, 0.90])
STRONGEST = 0.65  # opacity of the largest fall, so that the galaxy is seen through it
FAINTEST = 0.05  # log-odds; a map that never reaches it is left pale


class NoHeatError(GalaxyLoopError):
    """An answer that no heat map can be made of."""

    code = "no_heat"


@dataclass(frozen=True)
class Answering:
    """A version's answers on the features of an encoder."""

    version: str
    encoder: str
    predict: Predict = field(compare=False)


class HeatMaps:
    """Draws and remembers heat maps; one is computed at a time, since it takes a processor a second or two."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database, self._store = database, settings.store_folder
        self._sets, self._lock = database.stamp_sets, threading.Lock()
        self._draw = lru_cache(maxsize=500)(self._drawn)

    def png(self, campaign: Campaign, stamp_set: str, stamp_id: int) -> bytes:
        """The picture under its heat map, as large as people see it.

        Raises
        ------
        NoHeatError
            If the campaign has no head that answers choices.
        UnknownStampError
            If there is no such stamp.
        CheckpointError
            If the store has no encoder of the campaign's.
        """
        with self._database.transaction() as connection:
            features = FeatureStore.from_database(connection, campaign.encoder)
            stores = Stores(campaign, features, self._sets, self._store)
            version = answering_version(connection, stores)
        loaded = None if version is None else load_model(version, stores)
        predict = None if loaded is None else loaded.from_features
        if version is None or predict is None:
            raise NoHeatError("There is no heat map: no head answers yet.", "Label some galaxies, or see the boxes.")
        with self._lock:
            state = file_state(self._sets.holding(stamp_set, stamp_id).path)
            return self._draw(Answering(version.version, version.encoder, predict), (stamp_set, stamp_id), state)

    def _drawn(self, head: Answering, stamp: Stamp, _: tuple[int, ...]) -> bytes:
        model = stored_encoder(self._store, head.encoder)
        quick = model.with_views(min(VIEWS, model.views))
        stamps = self._sets.holding(*stamp)
        rows = np.array([stamp[1]])
        picture = render_set(stamps, rows, quick.rendering)[0]
        answered = int(head.predict(quick.features(picture[None]).numpy())[0].argmax())

        def log_odds(features: NDArray[np.float32]) -> NDArray[np.float64]:
            p = np.clip(head.predict(features)[:, answered], 1e-9, 1 - 1e-9)
            return np.asarray(np.log(p) - np.log1p(-p))

        falls = occlusion_map(picture, quick.features, log_odds)
        shown = render_set(stamps, rows, quick.rendering.sized(DISPLAY_SIZE))[0].permute(1, 2, 0).numpy()
        return blended(shown, falls)


def blended(picture: NDArray[np.float32], falls: NDArray[np.float64]) -> bytes:
    """A picture (S, S, 3) under a map (any size) as PNG: orange where the map is positive, blue where negative.

    Opacity grows with the size of the fall, up to the largest of the map.
    """
    side = picture.shape[0]
    smooth = cv2.resize(falls.astype(np.float32), (side, side), interpolation=cv2.INTER_LINEAR)
    smooth = cv2.GaussianBlur(smooth, (0, 0), side / 40)
    strength = smooth / max(float(np.abs(smooth).max()), FAINTEST)
    alpha = STRONGEST * np.abs(strength)[..., None]
    colour = np.where(strength[..., None] > 0, FOR, AGAINST)
    image = picture * (1 - alpha) + colour * alpha
    _, png = cv2.imencode(".png", (np.clip(image[..., ::-1], 0, 1) * 255).round().astype(np.uint8), PNG)
    return png.tobytes()
