"""A campaign of choices in miniature whose encoder can learn: real stamps, a tiny encoder, real features."""

from collections.abc import Iterable
from pathlib import Path

import torch

from backend_ml.store.campaigns import add_campaign
from backend_ml.store.database import Database, query, query_many
from backend_ml.store.encoders import encoder_folder, keep_checkpoint
from backend_ml.store.records import Campaign
from lvm_training.model.encoder import Encoder
from lvm_training.pool.embedding import embed_set, features_path
from lvm_training.stamps.rendering import Rendering
from lvm_training.stamps.stampset import StampSet
from tests.backend_ml.sky import write_stamps
from tests.tiny_encoder import tiny_lvm, write_tiny

CLASSES = ("round smooth", "spiral")
N, AUDIT = 60, 32
"""Stamps, of which the last are of the audit slice."""
RENDERING = Rendering(size=32, field=40 * 0.262)


def write_encoder(folder: Path, seed: int = 3, *, blind: bool = False) -> Path:
    """A checkpoint of random weights; of a blind one all features are alike."""
    lvm = tiny_lvm(seed)
    if blind:
        with torch.no_grad():
            for tensor in lvm.encoder.parameters():
                tensor.zero_()
    return write_tiny(folder, RENDERING, lvm=lvm)


def stored(store: Path, folder: Path) -> str:
    """Digest of a checkpoint's encoder, which is then in the store."""
    digest = Encoder.load(folder).digest
    keep_checkpoint(folder, encoder_folder(store, digest))
    return digest


def write_campaign(database: Database, folder: Path, store: Path, *, blind: bool = False) -> Campaign:
    """A campaign of project 7: task 100 + i shows stamp i; nobody has labelled anything. A blind encoder is poor."""
    digest = stored(store, write_encoder(folder / "made", blind=blind))
    path = write_stamps(folder, N)
    encoder = Encoder.load(folder / "made")
    with StampSet(path) as stamps:
        embed_set(stamps, encoder, store / "features")
        values = {"path": str(path), "digest": stamps.digest}
        values["features"] = str(features_path(stamps, encoder, store / "features"))
    with database.transaction() as connection:
        query(connection, "put_stamp_set", name="sky", **values)
        made = add_campaign(
            connection,
            name="Whole",
            project=7,
            kind="morphology",
            classes=CLASSES,
            stamp_set="sky",
            encoder=digest,
            rendering=RENDERING,
            policy="margin",
            audit_fraction=0.5,
        )
        task = {"campaign": made.id, "stamp_set": "sky"}
        query_many(
            connection,
            "put_task",
            [{**task, "task": 100 + i, "stamp_id": i, "audit": i >= N - AUDIT} for i in range(N)],
        )
    return made


def truth(row: int) -> str:
    """What a stamp looks like: two of five forms are long."""
    return CLASSES[int(row % 5 > 2)]


def label(database: Database, campaign: Campaign, rows: Iterable[int]) -> None:
    """People say what stamps look like."""
    for row in rows:
        values = {"stamp_set": "sky", "stamp_id": row, "label": truth(row)}
        database.rows("put_snapshot_label", campaign=campaign.id, **values)
