"""`galaxyloop campaign export`: labels as files, and frozen."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from backend_ml.cli.campaign.session import annotator_name, transaction
from backend_ml.cli.options import Json, Name
from backend_ml.console import reported, show, tell

if TYPE_CHECKING:
    from backend_ml.catalogue.labels import Exported
    from backend_ml.store.database import Connection
    from backend_ml.store.records import Campaign

COCO = b'{\n  "images": ['  # as a JSON of objects begins


def export(
    name: Name,
    out: Annotated[
        Path | None, typer.Option(help="CSV of labels, votes or numbers, or .json: boxes and masks as COCO.")
    ] = None,
    training: Annotated[bool, typer.Option(help="Only what the model learns from: no audit slice.")] = False,
    track: Annotated[bool, typer.Option("--track", help="Freeze them in data/release/labels, pinned by DVC.")] = False,
    version: Annotated[
        str | None, typer.Option(help="What this version learned, instead of the labels of now.")
    ] = None,
    names: Annotated[bool, typer.Option("--names", help="With --track: names in place of numbers of people.")] = False,
    repo: Annotated[Path, typer.Option(help="With --track: the folder with data.dvc.")] = Path(),
    as_json: Json = False,
) -> None:
    """Write the current labels: CSV of stamp_set, stamp_id, label, which `train_morphology` reads, or COCO's JSON.

    Of a tree of questions the CSV has counts and fractions of each answer, named as in the tables of Galaxy Zoo; of
    parameters, numbers with their units in the columns' names.

    Also of searches. Beside the labels stand files and the annotators' names; every galaxy, labelled or not, is in
    `galaxyloop catalogue`. What is frozen has a row for each answer: who, what, when, on which version's answer.
    """
    if out is None and not track:
        raise typer.BadParameter("give a file, or --track", param_hint="--out")
    if out is None or track or version is not None:
        _freeze(name, out, version, repo if track else None, names=names, as_json=as_json)
        return
    from backend_ml.campaign.status import find
    from backend_ml.catalogue.labels import Exported
    from backend_ml.labels.agreed import annotators
    from backend_ml.local import data_folder
    from backend_ml.settings import Settings
    from backend_ml.store.database import Database
    from lvm_training.files import refuse_others
    from lvm_training.tables.snapshot import COLUMNS

    with reported():
        refuse_others(out, ",".join(COLUMNS).encode(), COCO)
    settings = Settings()
    with reported(), Database(data_folder.database_url(settings)) as database, database.transaction() as connection:
        found = find(connection, name)
        people = annotators(connection, found)
        exported = Exported.read(connection, found, database.stamp_sets, settings)
        tell(exported.notes)
        counts = _written(out, connection, found, exported, training=training)
        known = [asdict(one) | {"name": exported.named(one.annotator)} for one in people]
        show({**counts, "annotators": known, "written_to": str(out)}, as_json=as_json)


def _written(
    out: Path, connection: "Connection", campaign: "Campaign", exported: "Exported", *, training: bool
) -> dict[str, int]:
    """Write a campaign's labels as the file's name and the campaign's kind ask for; how many of what."""
    from backend_ml.catalogue.export import label_table, object_labels, training_labels
    from backend_ml.catalogue.labels import LABEL_COLUMNS
    from lvm_training.files import write_csv, write_json
    from lvm_training.tables.snapshot import write_snapshot

    if out.suffix == ".json":
        document = exported.described(object_labels(connection, campaign, training=training))
        write_json(out, document)
        return {"pictures": len(document["images"]), "objects": len(document["annotations"])}
    if (table := label_table(connection, campaign, training=training)) is not None:
        tabled = exported.tabled(table)
        tell(tabled.notes)
        write_csv(out, tabled.header, tabled.rows)
        return {"galaxies": len(table)}
    if training:
        snapshot = training_labels(connection, campaign)
        write_snapshot(out, snapshot)
        return {"labels": len(snapshot.label)}
    rows = exported.rows()
    write_csv(out, LABEL_COLUMNS, rows)
    return {"labels": len(rows)}


def _freeze(name: str, out: Path | None, version: str | None, repo: Path | None, *, names: bool, as_json: bool) -> None:
    """Freeze a campaign's labels of now, or of a version, and write what models learn of them, pin them, or both."""
    from backend_ml.campaign.status import find
    from backend_ml.rebuilding.freezing import freeze, freeze_version, read_version
    from backend_ml.report.report import namer
    from backend_ml.store.records import CampaignError
    from lvm_training.files import refuse_others
    from lvm_training.tables.snapshot import COLUMNS, write_snapshot

    with transaction() as connection:
        found = find(connection, name)
        named = namer(connection, found, annotator_name) if names else None
        if version is None:
            frozen = freeze(connection, found, named)
        else:
            frozen = freeze_version(connection, read_version(connection, found, version), named)
        if not frozen.answers:
            raise CampaignError(f"Campaign {name!r} has no labels to freeze.", "Label some galaxies first.")
    told: dict[str, object] = {
        "labels": frozen.taught,
        "to_judge_on": frozen.judged,
        "answers": len(frozen.answers),
    }
    with reported():
        if out is not None:
            refuse_others(out, ",".join(COLUMNS).encode())
            write_snapshot(out, frozen.snapshot)
            told |= {"written_to": str(out)}
        if repo is not None:
            # DVC takes a second to import
            from lvm_training.stages.release.pinned import pin_labels

            path, changed = pin_labels(repo, frozen, found.name)
            learned = f"; `labels: labels/{path.name}` in params.yaml has `dvc repro train_morphology` learn them"
            then = (
                f"commit data.dvc{'' if frozen.label_config else learned}"
                if changed
                else "nothing: data.dvc pins these labels already"
            )
            told |= {"frozen_in": str(path), "changed": changed, "then": then}
        show(told, as_json=as_json)
