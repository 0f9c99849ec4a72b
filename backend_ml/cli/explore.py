"""`galaxyloop explore`: stamp sets that the search page can look through."""

from pathlib import Path
from typing import Annotated

import typer

from backend_ml.cli.encoder import AnyEncoder, chosen
from backend_ml.cli.options import Json
from backend_ml.console import reported, show
from lvm_training.paths import RELEASED_LVM
from lvm_training.progress import progress_bar


def explore(
    stamps: Annotated[Path, typer.Argument(help="A stamp set (HDF5), or its address in a bucket, s3://...")],
    encoder: AnyEncoder = str(RELEASED_LVM),
    as_json: Json = False,
) -> None:
    """Embed a stamp set and offer it on the search page, which `galaxyloop serve` shows under /explore."""
    from backend_ml.buckets import fetched
    from backend_ml.local import data_folder
    from backend_ml.settings import Settings
    from backend_ml.store.database import Database
    from backend_ml.store.encoders import encoder_folder, keep_checkpoint
    from backend_ml.store.registration import register
    from lvm_training.model.encoder import Encoder

    with reported():
        settings = Settings()
        stamps = fetched(stamps)
        folder = chosen(encoder, settings)
        model = Encoder.load(folder)
        with Database(data_folder.database_url(settings)) as database:
            register(stamps, model, settings, database, progress_bar)
        keep_checkpoint(folder, encoder_folder(settings.store_folder, model.digest))
    show({"stamp_set": stamps.stem, "page": f"{settings.public_url.rstrip('/')}/explore"}, as_json=as_json)
