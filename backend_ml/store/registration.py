"""Embeds a stamp set and registers it, so that campaigns and searches can show it."""

from pathlib import Path

from backend_ml.settings import Settings
from backend_ml.store.database import Database
from lvm_training.errors import StampError
from lvm_training.model.encoder import Encoder
from lvm_training.pool.embedding import embed_set, features_path
from lvm_training.progress import Steps
from lvm_training.stamps.stampset import StampSet


def register(path: Path, encoder: Encoder, settings: Settings, database: Database, steps: Steps) -> None:
    """Embed a stamp set and let campaigns and searches show it, under the name of its file.

    Raises
    ------
    StampError
        If it cannot be read, or another one of that name is in use.
    """
    with StampSet(path) as stamps, steps(f"Embedding {stamps.name}") as progress:
        folder = settings.features_folder
        embed_set(stamps, encoder, folder, progress=progress)
        features = features_path(stamps, encoder, folder)
        values = {"path": str(path.absolute()), "digest": stamps.digest, "features": str(features)}
        if not database.rows("put_stamp_set", name=stamps.name, **values):
            raise StampError(
                f"Another stamp set named {stamps.name!r} is in use already.",
                "Rename the file: names must be unique.",
            )
