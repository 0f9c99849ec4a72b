"""`galaxyloop catalogue`: a campaign as a table that can be published, and its class fractions."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backend_ml.cli.options import Force, Json, Name
from backend_ml.console import print_json, reported, show, show_rows, tell
from lvm_training.progress import progress_bar

if TYPE_CHECKING:
    from backend_ml.catalogue.publish import Published
    from backend_ml.catalogue.summary import Summary

COLUMNS = ["class", "fraction", "low", "high", "audit", "of_labels"]  # what 80 columns hold


def catalogue(
    name: Name,
    out: Annotated[
        Path | None, typer.Option(help="The file: .fits, .vot, .ecsv, .csv or .parquet; objects go beside it.")
    ] = None,
    summary: Annotated[bool, typer.Option(help="Tell the class fractions of the pool, with 95 % intervals.")] = False,
    without_aside: Annotated[bool, typer.Option(help="Leave unsure and artefact out of the fractions.")] = False,
    answers: Annotated[bool, typer.Option(help="Tell the model's probabilities too.")] = True,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Write a campaign as a catalogue to publish: a row a galaxy, labelled or not; tell its class fractions.

    Fractions are corrected for how galaxies were chosen to be labelled; docs/why/catalogue.md says how.
    """
    from backend_ml.catalogue.formats import check_out
    from backend_ml.local import data_folder
    from backend_ml.settings import Settings
    from backend_ml.store.database import Database
    from backend_ml.store.records import CampaignError

    with reported():
        if out is None and not summary:
            raise CampaignError("There is nothing to do.", "Name a file, --out X.fits, or ask for --summary.")
        if out is not None:
            check_out(out, force=force)
        settings = Settings()
        with Database(data_folder.database_url(settings)) as database:
            from backend_ml.campaign.status import find

            with database.transaction() as connection:
                campaign = find(connection, name)
            from backend_ml.catalogue.publish import publish, read_source
            from backend_ml.catalogue.summary import summarise

            source = read_source(database, campaign, settings.store_folder, answers=answers)
            written = None if out is None else publish(database, source, out, progress_bar)
            told = None
            if summary:
                with progress_bar("Answering the pool") as progress:
                    told = summarise(source.galaxies, source.probabilities, progress, without_aside=without_aside)
    _show(written, told, as_json)


def _show(written: "Published | None", told: "Summary | None", as_json: bool) -> None:
    values: dict[str, Any] = {}
    if written is not None:
        values = asdict(written) | {"files": [str(path) for path in written.files]}
    if as_json:
        print_json(values | ({} if told is None else {"summary": asdict(told)}))
        return
    if written is not None:
        show({name: value for name, value in values.items() if name != "notes"}, as_json=False)
        tell(written.notes)
    if told is not None:
        show_rows(told.rows, COLUMNS, as_json=False)
        show(told.about, as_json=False)
        tell(told.notes)
