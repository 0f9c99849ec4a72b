"""The small sky with features of the released encoder."""

from pathlib import Path

from psycopg.types.json import Jsonb

from backend_ml.store.database import Database, query
from backend_ml.store.encoders import encoder_folder, keep_checkpoint
from backend_ml.store.records import Campaign
from lvm_training.model.encoder import Encoder
from lvm_training.paths import RELEASED_LVM
from lvm_training.pool.embedding import embed_set
from lvm_training.stamps.stampset import StampSet

ROOT = Path(__file__).parents[2]


def with_real_features(database: Database, store: Path) -> Campaign:
    """The campaign on features of the released encoder, which the store then has."""
    encoder = Encoder.load(ROOT / RELEASED_LVM)
    keep_checkpoint(ROOT / RELEASED_LVM, encoder_folder(store, encoder.digest))
    row = database.rows("stamp_sets")[0]
    with StampSet(Path(row["path"])) as stamps:
        features = embed_set(stamps, encoder, store / "features")
    with database.transaction() as connection:
        connection.execute("UPDATE stamp_set SET features = %s", (str(features.path),))
        values = (encoder.digest, Jsonb(encoder.rendering.model_dump()))
        connection.execute("UPDATE campaign SET encoder = %s, rendering = %s", values)
        return Campaign.from_row(query(connection, "campaigns")[0])
