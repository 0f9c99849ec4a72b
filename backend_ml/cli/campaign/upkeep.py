"""`galaxyloop campaign encoder` and `sync`: another encoder, and what was missed."""

from typing import Annotated

import typer

from backend_ml.cli.campaign.session import session, transaction
from backend_ml.cli.encoder import chosen
from backend_ml.cli.options import Json, Name
from backend_ml.console import reported, show, show_rows
from lvm_training.progress import progress_bar


def encoder(
    name: Name,
    use: Annotated[
        str | None, typer.Option(help="Change to this encoder, unless worse: as in `campaign create --encoder`.")
    ] = None,
    train: Annotated[bool, typer.Option(help="Train the encoder on the campaign's labels now.")] = False,
    clean: Annotated[
        bool,
        typer.Option(
            help="Delete features of trained encoders that serve nobody, and indices and trainings left over."
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """The encoders of a campaign; a worker changes to another one, or trains it, while the present one serves."""
    from backend_ml.campaign import encoders
    from backend_ml.campaign.leftovers import remove_leftovers
    from backend_ml.campaign.status import find
    from backend_ml.settings import Settings
    from backend_ml.store.records import CampaignError

    settings = Settings()
    store = settings.store_folder
    with reported():
        if use is not None and train:
            raise CampaignError("An encoder is trained or given, not both.", "Leave out --train or --use.")
        # may fetch for minutes, which no transaction shall wait for
        folder = None if use is None else chosen(use, settings)
    with transaction() as connection:
        found = find(connection, name)
        if use is not None or train:
            asked = encoders.ask(connection, found, store, folder)
            show(
                {"campaign": name, "encoder": asked or "trained on labels", "job": "waits for a worker"},
                as_json=as_json,
            )
            return
        if clean:
            cleaned = encoders.clean(connection, found)
            removed = [str(path) for path in remove_leftovers(connection, store)]
            show({"campaign": name, "cleaned": cleaned, "removed": removed}, as_json=as_json)
            return
        columns = ["in_use", "encoder", "trained_on", "versions", "features_mb", "checkpoint"]
        show_rows(encoders.listed(connection, found, store), columns, as_json=as_json)


def sync(name: Name, as_json: Json = False) -> None:
    """Repair the webhook, take in what it missed, refit and push."""
    with session() as s:
        from backend_ml.campaign.status import find

        with s.database.transaction() as connection:
            found = find(connection, name)
        from backend_ml.campaign import lifecycle  # here: what takes seconds to import comes last

        with progress_bar(f"Synchronising {name}"):
            done = lifecycle.sync(s.settings, s.database, s.label_studio, found)
        show(done, as_json=as_json)
