"""Embeds a stamp set and registers it, so that campaigns and searches can show it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from backend_ml.buckets import address, here, share
from backend_ml.settings import Settings
from backend_ml.store.database import Database
from backend_ml.store.features import opened_features, share_features
from lvm_training.errors import StampError
from lvm_training.model.encoder import Encoder
from lvm_training.pool.embedding import embed_set, features_path
from lvm_training.progress import Steps
from lvm_training.stamps.stampset import StampSet


@contextmanager
def embedding(database: Database, encoder: str) -> Iterator[None]:
    """Let nobody clean up an encoder's features, as those that serve no campaign are, until one that is made has them.

    Any number of processes embed with an encoder at once.
    """
    with database.sole("try_lock_features", encoder=encoder):
        yield


def register(path: Path, encoder: Encoder, settings: Settings, database: Database, steps: Steps) -> None:
    """Embed a stamp set and let campaigns and searches show it, under the name of its file.

    Raises
    ------
    StampError
        If it cannot be read, or another one of that name is in use.
    BucketError
        If the store is in a bucket, which does not take it.
    """
    with (
        StampSet(path) as stamps,
        embedding(database, encoder.digest),
        steps(f"Embedding {stamps.name}") as progress,
    ):
        folder = settings.features_folder
        embed_set(stamps, encoder, folder, progress=progress)
        features = features_path(stamps, encoder, folder)
        share(path, theirs=True)
        share_features(features)
        values = {"path": address(path), "digest": stamps.digest, "features": address(features)}
        if not database.rows("put_stamp_set", name=stamps.name, **values):
            raise StampError(
                f"Another stamp set named {stamps.name!r} is in use already.",
                "Rename the file: names must be unique.",
            )


def register_grown(path: Path, encoder: Encoder, settings: Settings, database: Database, steps: Steps) -> None:
    """As `register`, a set that has more stamps behind those it had: rows keep their numbers, and their labels.

    Raises
    ------
    StampError
        As `register`; also if the first stamps are not those it had, or campaigns read it by another encoder.
    """
    known = next(row for row in database.rows("stamp_sets") if row["name"] == path.stem)
    former = opened_features(here(known["features"])).origin
    others = [row["name"] for row in database.rows("readers_of_set", stamp_set=path.stem, encoder=encoder.digest)]
    if others:
        raise StampError(
            f"{path.stem} is read by another encoder in {', '.join(others)}.",
            "Close these campaigns, or give the grown set another name.",
        )
    with StampSet(path) as stamps:
        with steps(f"Comparing {stamps.name}") as progress:
            same = stamps.is_ours and len(stamps) > former.rows
            same = same and stamps.content_digest(progress, rows=former.rows) == known["digest"]
        if not same:
            raise StampError(
                f"Another stamp set named {stamps.name!r} is in use already, and this is not the same with more stamps"
                " behind.",
                "Rename the file: names must be unique.",
            )
        with embedding(database, encoder.digest), steps(f"Embedding {stamps.name}") as progress:
            embed_set(stamps, encoder, settings.features_folder, progress=progress)
        features = features_path(stamps, encoder, settings.features_folder)
        share_features(features)
        values = {"digest": stamps.digest, "features": address(features), "former": known["digest"]}
    if not database.rows("grow_stamp_set", name=path.stem, **values):
        raise StampError(f"{path.stem} has changed again meanwhile.", "Try again.")
