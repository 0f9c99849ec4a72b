"""The galaxies of a campaign's stamp sets that look most like a given one, or like an image that is sent."""

import threading
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel

from backend_ml.label_studio.labelling import picture_url
from backend_ml.serving.uploads import embed_upload
from backend_ml.settings import Settings
from backend_ml.store.database import Database
from backend_ml.store.features import index_folder, searched_features
from backend_ml.store.records import Campaign
from backend_ml.store.stamps import UnknownStampError

if TYPE_CHECKING:
    from lvm_training.index.pool_index import PoolIndex


class Neighbour(BaseModel):
    """A galaxy found; `similarity` is the cosine of its features to those searched for, -1 to 1."""

    rank: int
    stamp_set: str
    stamp_id: int
    similarity: float
    picture: str


class IndexedPool:
    """The features that a campaign is searched in: its stamp sets in order of their names, and their index."""

    def __init__(self, names: list[str], index: "PoolIndex") -> None:
        self.names, self.index = names, index

    def row(self, stamp_set: str, stamp_id: int) -> int:
        """The row of a stamp.

        Raises
        ------
        UnknownStampError
            If it is not in the pool.
        """
        shards = self.index.shards
        if stamp_set in self.names:
            place = self.names.index(stamp_set)
            if 0 <= stamp_id < len(shards.features[place].matrix):
                return int(shards.starts[place]) + stamp_id
        raise UnknownStampError(
            f"The campaign has no stamp {stamp_set} {stamp_id}.", f"Its stamp sets are: {', '.join(self.names)}."
        )

    def stamp(self, row: int) -> tuple[str, int]:
        """The stamp of a row."""
        shard, stamp_id = self.index.shards.locate(row)
        return self.names[self.index.shards.features.index(shard)], stamp_id


class Neighbours:
    """Searches campaigns; an index is built on first use, kept in the store and shared by threads and processes."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self.database, self.settings = database, settings
        self._lock = threading.Lock()
        self._pools: dict[Path, IndexedPool] = {}

    def like_stamp(self, campaign: Campaign, stamp_set: str, stamp_id: int, k: int) -> list[Neighbour]:
        """The `k` other stamps most similar to one of the campaign's.

        Raises
        ------
        UnknownStampError, FeatureError, FeaturesError, PoolIndexError
            If there is no such stamp, or the features cannot be searched.
        """
        pool = self._pool(campaign)
        rows, similarities = pool.index.nearest_to(pool.row(stamp_set, stamp_id), k)
        return self._found(campaign, pool, rows.tolist(), similarities.tolist())

    def like_image(self, campaign: Campaign, content: bytes, k: int, pixel_scale: float | None) -> list[Neighbour]:
        """The `k` stamps most similar to a JPEG, PNG or FITS image, embedded by the campaign's encoder.

        Parameters
        ----------
        pixel_scale : float or None
            arcsec, where the image does not say; without one the whole image is shown.

        Raises
        ------
        UploadError
            If it is of another kind.
        StampError, RenderingError
            If it cannot be a stamp.
        CheckpointError
            If the store does not have the campaign's encoder.
        """
        features = embed_upload(content, self.settings.store_folder, campaign.encoder, pixel_scale)
        pool = self._pool(campaign)
        rows, similarities = pool.index.search(features[None], k)
        return self._found(campaign, pool, rows[0].tolist(), similarities[0].tolist())

    def _pool(self, campaign: Campaign) -> IndexedPool:
        with self.database.transaction() as connection:
            shards = searched_features(connection, campaign)
        folder = index_folder(self.settings.store_folder, campaign.encoder, shards)
        with self._lock:
            if folder not in self._pools:
                # faiss takes a moment to import, and most processes never search
                from lvm_training.index.files import index_pool

                self._pools[folder] = IndexedPool([shard.name for shard in shards], index_pool(shards, folder))
            return self._pools[folder]

    def _found(
        self, campaign: Campaign, pool: IndexedPool, rows: list[int], similarities: list[float]
    ) -> list[Neighbour]:
        found = []
        for rank, (row, similarity) in enumerate(zip(rows, similarities, strict=True), start=1):
            stamp = pool.stamp(row)
            names = {"stamp_set": stamp[0], "stamp_id": stamp[1]}
            picture = picture_url(stamp, campaign.links, self.settings)
            found.append(Neighbour(rank=rank, **names, similarity=similarity, picture=picture))
        return found
