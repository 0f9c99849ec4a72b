"""`galaxyloop campaign`: create, watch, repair and export campaigns; leading them is `cli.lead`."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from backend_ml.cli.encoder import AnyEncoder, chosen
from backend_ml.cli.options import Consensus, Detector, Json, Missing, Name, Seed, Where, declared_missing
from backend_ml.cli.simulated import looked_for, measured_of
from backend_ml.cli.stamp_sets import choose_rows
from backend_ml.console import print_json, reported, show, show_rows, show_told, tell
from lvm_training.paths import RELEASED_LVM
from lvm_training.progress import progress_bar

if TYPE_CHECKING:
    from backend_ml.campaign.plan import CampaignPlan
    from backend_ml.label_studio.client import LabelStudio
    from backend_ml.labels.people import People
    from backend_ml.settings import Settings
    from backend_ml.store.database import Connection, Database
    from backend_ml.store.records import Campaign

app = typer.Typer(help="Campaigns in Label Studio.", no_args_is_help=True)

COCO = b'{\n  "images": ['  # as a JSON of objects begins


@dataclass(frozen=True)
class Session:
    """What a command works with."""

    settings: "Settings"
    database: "Database"
    label_studio: "LabelStudio"


@contextmanager
def session() -> Iterator[Session]:
    """Settings, database and Label Studio for one command; expected errors end it with one line."""
    from backend_ml.settings import Settings

    with reported():
        settings = Settings()
        from backend_ml.label_studio.client import LabelStudio
        from backend_ml.local import data_folder
        from backend_ml.store.database import Database

        label_studio = LabelStudio.from_settings(settings, patience=5)
        with Database(data_folder.database_url(settings)) as database, label_studio:
            yield Session(settings, database, label_studio)


@contextmanager
def opened() -> "Iterator[Database]":
    """The database for a command that asks nothing of Label Studio, which takes as long again to import."""
    from backend_ml.local import data_folder
    from backend_ml.settings import Settings
    from backend_ml.store.database import Database

    with reported(), Database(data_folder.database_url(Settings())) as database:
        yield database


@contextmanager
def transaction() -> "Iterator[Connection]":
    """One transaction of it."""
    with opened() as database, database.transaction() as connection:
        yield connection


def simulated_classes(pairs: list[str]) -> dict[str, str]:
    """What is written as CLASS=CONCEPT, by class.

    Raises
    ------
    ConceptError
        If one is not written so, or a class is there twice.
    """
    from lvm_training.scenes.simulated_classes import ConceptError, concept_names

    found: dict[str, str] = {}
    for pair in pairs:
        # a class may hold an equals sign, a concept does not
        name, equals, concept = pair.rpartition("=")
        if not equals or not name:
            raise ConceptError(
                f"{pair!r} maps no class to what the simulator draws.",
                f"Write it as CLASS=CONCEPT, with one of: {', '.join(concept_names())}.",
            )
        if name in found:
            raise ConceptError(f"The class {name!r} is mapped twice.", "Write its concepts in one, with commas.")
        found[name] = concept
    return found


Kind = Annotated[
    str,
    typer.Option(
        help="morphology, lenses, interest, interest_rating, galaxy_zoo, parameters, restoration, several, "
        "or a package's own."
    ),
]
StartingLabels = Annotated[
    Path | None,
    typer.Option(help="Starting labels: table of stamp_set, stamp_id, label; for galaxy_zoo a vote table."),
]
Policy = Annotated[
    str | None, typer.Option(help="What is worth most: margin, loop, bald, ...; for lenses box-margin, masks, ...")
]
Overlap = Annotated[
    int | None,
    typer.Option(help="Labels, of different people, that each task waits for; 1, for galaxy_zoo 3.", min=1),
]
Simulated = Annotated[
    list[str] | None,
    typer.Option(help="CLASS=CONCEPT: what the simulator draws of a class; repeat. A wrong one lists them."),
]
LikeSimulated = Annotated[
    str | None,
    typer.Option(help="For the kind interest: what the simulator draws, such as ring, in place of examples."),
]
Columns = Annotated[
    str | None,
    typer.Option(help="What the head reads beside the image: columns, and NAME.npy of vectors; with commas."),
]


@app.command()
def create(
    name: Name,
    stamps: Annotated[Path, typer.Option(help="The stamp set to label, or its address in a bucket, s3://...")],
    encoder: AnyEncoder = str(RELEASED_LVM),
    kind: Kind = "morphology",
    detector: Detector = None,
    classes: Annotated[list[str] | None, typer.Option("--class", help="A class; repeat. Else the config's.")] = None,
    where: Where = None,
    limit: Annotated[int | None, typer.Option(help="At most so many tasks, drawn at random.", min=1)] = None,
    labels: StartingLabels = None,
    missing: Missing = None,
    label_set: Annotated[list[Path] | None, typer.Option(help="Another stamp set that they name; repeat.")] = None,
    audit: Annotated[float, typer.Option(help="Share of tasks labelled blind.", min=0, max=1)] = 0.1,
    tasks: Annotated[int | None, typer.Option(help="Import the best so many, and more as they run out.", min=1)] = None,
    refill_below: Annotated[int | None, typer.Option(help="Import more when fewer ranked tasks wait.", min=1)] = None,
    policy: Policy = None,
    overlap: Overlap = None,
    consensus: Consensus = "majority",
    simulated: Simulated = None,
    like_simulated: LikeSimulated = None,
    columns: Columns = None,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Create a project with pre-annotated tasks in the order in which their labels are worth most."""
    from backend_ml.buckets import fetched
    from backend_ml.campaign.create import CampaignMaker
    from backend_ml.campaign.plan import CampaignPlan
    from backend_ml.kinds.installed import find_kind

    with reported():
        stamps, label_set = fetched(stamps), [fetched(one) for one in label_set or ()]
        config = find_kind(kind).label_config(classes or None)
        start = find_kind(kind).starting(labels, stamps, config, declared_missing(missing)) if labels else None
        rows = choose_rows(stamps, where or (), limit, seed)
    tell(start.notes if start else ())
    with session() as s:
        plan = CampaignPlan(
            name,
            stamps,
            chosen(encoder, s.settings),
            rows=rows,
            classes=classes or None,
            kind=kind,
            detector=detector,
            labels=start,
            label_sets=label_set,
            audit_fraction=audit,
            tasks=tasks,
            refill_below=refill_below,
            policy=policy,
            overlap=overlap,
            consensus=consensus,
            simulated=simulated_classes(simulated or []) | looked_for(kind, like_simulated),
            columns=[one.strip() for one in (columns or "").split(",") if one.strip()],
            seed=seed,
        )
        created = CampaignMaker(s.settings, s.database, s.label_studio, progress_bar).create(plan)
        told = _told(s, plan, created)
        if like_simulated is not None:
            told["like_simulated"] = f"{like_simulated}: {measured_of(plan.encoder, like_simulated)}"
        show(told, as_json=as_json)


def _told(s: Session, plan: "CampaignPlan", created: "Campaign") -> dict[str, str]:
    """Where a new campaign is, and how its model sees and answers."""
    from backend_ml.kinds.installed import find_kind
    from backend_ml.pictures.framing import framing_words
    from lvm_training.heads.beside import described
    from lvm_training.stamps.stampset import StampSet

    kind = find_kind(plan.kind)
    with StampSet(plan.stamps) as opened:
        framing = framing_words(created.rendering, opened, shows_whole=kind.shows_whole)
        missing_values = described(opened, plan.columns)
    unserved = kind.unserved(plan.label_config())
    known = {
        "campaign": created.name,
        "project": f"{s.settings.label_studio_url}/projects/{created.project_id}",
        "status": f"{s.settings.public_url.rstrip('/')}/status/{created.id}",
        "invitation": s.label_studio.invite_url(),
        "framing": framing,
        "columns": "; ".join(missing_values),
        "no_head": f"people alone answer {', '.join(unserved)}" if unserved else "",
    }
    return {name: said for name, said in known.items() if said}


@cache
def annotator_name(annotator: int) -> str:
    """What Label Studio calls somebody; nobody is asked before there is an annotator, since that takes a second."""
    return _people().name(annotator)


@cache
def _people() -> "People":
    from backend_ml.labels.people import People
    from backend_ml.settings import Settings

    return People(Settings(), patience=5)


@app.command()
def adopt(
    project: Annotated[str, typer.Argument(help="The project in Label Studio: its number, or its address.")],
    name: Annotated[str | None, typer.Option(help="Of the campaign; else the project's title.")] = None,
    kind: Annotated[str | None, typer.Option(help="morphology, lenses, interest; else the one that fits.")] = None,
    control: Annotated[
        str | None, typer.Option(help="The `name` of the tag to answer; else the first question that fits.")
    ] = None,
    allow_host: Annotated[
        list[str] | None, typer.Option(help="Pictures may come from this host too, HOST or HOST:PORT; repeat.")
    ] = None,
    encoder: AnyEncoder = str(RELEASED_LVM),
    detector: Detector = None,
    audit: Annotated[float, typer.Option(help="Share of unlabelled tasks labelled blind.", min=0, max=1)] = 0.1,
    policy: Annotated[str | None, typer.Option(help="What is worth most, as in `campaign create`.")] = None,
    consensus: Consensus = "majority",
    fit: Annotated[str | None, typer.Option(help="Pictures of other sizes: crop, shrink or pad.")] = None,
    pixel_scale: Annotated[float | None, typer.Option(help="Arcsec per pixel, where files do not say.")] = None,
    seed: Seed = 0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and change nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Make a campaign of a project that is there, with the labels it has; or take tasks in that people imported.

    Label config, data, annotations and others' predictions stay as they are.
    """
    from backend_ml.adoption.adopt import Adopter
    from backend_ml.adoption.plan import AdoptionPlan, project_number

    with reported():
        number = project_number(project)
    with session() as s:
        plan = AdoptionPlan(
            number,
            chosen(encoder, s.settings),
            name=name,
            kind=kind,
            control=control,
            allowed=allow_host or (),
            detector=detector,
            audit_fraction=audit,
            policy=policy,
            consensus=consensus,
            fit=fit,
            pixel_scale=pixel_scale,
            seed=seed,
        )
        adopter = Adopter(s.settings, s.database, s.label_studio, progress_bar)
        show(adopter.look(plan).as_json() if dry_run else adopter.adopt(plan), as_json=as_json)


@app.command()
def status(name: Name, as_json: Json = False) -> None:
    """How a campaign stands: tasks, labels, people, version, queue; what the page /status shows."""
    from backend_ml.campaign.encoders import newer
    from backend_ml.campaign.status import find
    from backend_ml.report.report import as_json as in_json
    from backend_ml.report.report import namer, read_report
    from backend_ml.report.told import campaign_told
    from backend_ml.settings import Settings

    with transaction() as connection:
        found = find(connection, name)
        released = newer(connection, found, Settings().store_folder)
        hint = released and f"{released}; `galaxyloop campaign encoder '{name}' --use {released}` tries it"
        report, named = read_report(connection, found), namer(connection, found, annotator_name)
    if as_json:
        print_json({**in_json(report, named), "newer_encoder": hint})
    else:
        show_told(campaign_told(report, named, hint or None))


@app.command()
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


@app.command()
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


@app.command()
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
    from backend_ml.campaign.export import label_table, object_labels, training_labels
    from backend_ml.campaign.status import find
    from backend_ml.catalogue.labels import LABEL_COLUMNS, Exported
    from backend_ml.labels.agreed import labels_and_annotators
    from backend_ml.local import data_folder
    from backend_ml.settings import Settings
    from backend_ml.store.database import Database
    from lvm_training.files import refuse_others, write_csv, write_json
    from lvm_training.heads.snapshot import COLUMNS, write_snapshot

    with reported():
        refuse_others(out, ",".join(COLUMNS).encode(), COCO)
    settings = Settings()
    with reported(), Database(data_folder.database_url(settings)) as database, database.transaction() as connection:
        found = find(connection, name)
        _, people = labels_and_annotators(connection, found)
        exported = Exported.read(connection, found, database.stamp_sets, settings)
        tell(exported.notes)
        if out.suffix == ".json":
            document = exported.described(object_labels(connection, found, training=training))
            write_json(out, document)
            counts = {"pictures": len(document["images"]), "objects": len(document["annotations"])}
        elif (table := label_table(connection, found, training=training)) is not None:
            write_csv(out, *exported.tabled(table))
            counts = {"galaxies": len(table)}
        elif training:
            snapshot = training_labels(connection, found)
            write_snapshot(out, snapshot)
            counts = {"labels": len(snapshot.label)}
        else:
            rows = exported.rows()
            write_csv(out, LABEL_COLUMNS, rows)
            counts = {"labels": len(rows)}
        known = [asdict(one) | {"name": exported.named(one.annotator)} for one in people]
        show({**counts, "annotators": known, "written_to": str(out)}, as_json=as_json)


def _freeze(name: str, out: Path | None, version: str | None, repo: Path | None, *, names: bool, as_json: bool) -> None:
    """Freeze a campaign's labels of now, or of a version, and write what models learn of them, pin them, or both."""
    from backend_ml.campaign.status import find
    from backend_ml.rebuilding.freezing import freeze, freeze_version, read_version
    from backend_ml.report.report import namer
    from backend_ml.store.records import CampaignError
    from lvm_training.files import refuse_others
    from lvm_training.heads.snapshot import COLUMNS, write_snapshot

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
        "labels": len(frozen.snapshot),
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
            from lvm_training.stages.pinned import pin_labels

            path, changed = pin_labels(repo, frozen, found.name)
            learned = f"`labels: labels/{path.name}` in params.yaml has `dvc repro train_morphology` learn them"
            then = f"commit data.dvc; {learned}" if changed else "nothing: data.dvc pins these labels already"
            told |= {"frozen_in": str(path), "changed": changed, "then": then}
        show(told, as_json=as_json)


@app.command("list")
def list_(as_json: Json = False) -> None:
    """All campaigns."""
    from backend_ml.campaign.status import campaign_status
    from backend_ml.status.overview import read_lines
    from backend_ml.store.campaigns import all_campaigns

    with transaction() as connection:
        if as_json:
            print_json([campaign_status(connection, found) for found in all_campaigns(connection)])
            return
        lines = read_lines(connection)
    rows = [
        {
            "name": line.campaign.name,
            "state": line.campaign.state,
            "done": f"{line.done:,} of {line.tasks:,}" if line.tasks else None,
            "labels": line.labels,
            "version": line.version,
        }
        for line in lines
    ]
    show_rows(rows, ["name", "state", "done", "labels", "version"], as_json=False)
