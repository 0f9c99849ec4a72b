"""`galaxyloop model`: the versions of a campaign's head, which of them serves, and the presets of the LVM."""

from pathlib import Path
from typing import Annotated

import typer

from backend_ml.cli.campaign.session import annotator_name, opened, transaction, whoever
from backend_ml.cli.options import Json, Name
from backend_ml.console import console, print_json, reported, show, show_rows, show_told
from lvm_training.progress import progress_bar

app = typer.Typer(help="Model versions of a campaign, and presets of the LVM.", no_args_is_help=True)


@app.command("list")
def list_(name: Name, as_json: Json = False) -> None:
    """Every version with its parent, labels and metrics; the active one is marked."""
    from backend_ml.campaign.status import find
    from backend_ml.report.report import read_versions
    from backend_ml.report.told import version_told
    from backend_ml.store import versions
    from backend_ml.store.database import query

    with transaction() as connection:
        found = find(connection, name)
        active = versions.active_version(connection, found)
        serving = active.version if active else None
        if as_json:
            rows = query(connection, "versions", campaign=found.id)
            print_json([{**row, "active": "*" if row["version"] == serving else ""} for row in rows])
            return
        listed = read_versions(connection, found, serving)
    for one in listed:
        show_told([("*" if one.active else " ", version_told(one))])


Version = Annotated[str, typer.Argument(help="The version.")]
Campaign = Annotated[str | None, typer.Option(help="Whose version it is, where several campaigns have one.")]
Repository = Annotated[Path, typer.Option(help="A git checkout of Galaxy Loop.")]


@app.command("show")
def show_(version: Version, campaign: Campaign = None, repo: Repository = Path(), as_json: Json = False) -> None:
    """What a version is made of: code, locks, labels, encoder, seed, prior; and the command that rebuilds it."""
    from backend_ml.rebuilding.freezing import find_version
    from backend_ml.rebuilding.provenance import provenance
    from backend_ml.report.report import judged_version
    from backend_ml.report.told import provenance_told
    from backend_ml.settings import Settings

    with transaction() as connection:
        found = find_version(connection, version, campaign)
        facts = provenance(connection, found, Settings().store_folder, repo)
        judged = judged_version(connection, found.campaign, version)
    if as_json:
        print_json(facts)
        return
    show_told(provenance_told(judged, facts))


@app.command()
def rebuild(
    version: Version,
    campaign: Campaign = None,
    repo: Repository = Path(),
    keep: Annotated[Path | None, typer.Option(help="Make the clone in this folder, and leave it there.")] = None,
    labels: Annotated[
        Path | None, typer.Option(help="Frozen labels that it learned, where the database has them no more.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Make a version's model again in a clean clone, and compare it with the one that is served, which stays.

    Ends with 1 where the two are not the same, bit for bit.
    """
    from tempfile import TemporaryDirectory

    from backend_ml.rebuilding.clone import choose_source
    from backend_ml.rebuilding.freezing import find_version, freeze_version, read_frozen
    from backend_ml.rebuilding.rebuild import Inputs
    from backend_ml.rebuilding.rebuild import rebuild as rebuilt
    from backend_ml.report.told import rebuilt_told
    from backend_ml.settings import Settings

    with transaction() as connection:
        found = find_version(connection, version, campaign)
        frozen = freeze_version(connection, found) if labels is None else read_frozen(found, labels)
        inputs = Inputs.find(connection, found, Settings().store_folder)
        source = choose_source(repo, found.version.revision)
    with reported(), TemporaryDirectory(prefix="galaxyloop-rebuild-") as folder, progress_bar(f"Rebuilding {version}"):
        told = rebuilt(found, frozen, inputs, source, keep or Path(folder) / "clone", kept=keep is not None)
    if as_json:
        print_json(told)
    else:
        show_told(rebuilt_told(version, told))
    if not told["identical"]:
        raise typer.Exit(1)


@app.command("card")
def card_(
    version: Version,
    campaign: Campaign = None,
    out: Annotated[Path, typer.Option(help="The page, an HTML file.")] = Path("card.html"),
    names: Annotated[bool, typer.Option("--names", help="Names in place of numbers of people.")] = False,
    magnitude: Annotated[str | None, typer.Option(help="Column of magnitudes; else mag_r, where there is one.")] = None,
    repo: Repository = Path(),
) -> None:
    """Write a version's card: its data and labels, how good it is on the audit slice, failures, limits, rebuilding."""
    from backend_ml.rebuilding.freezing import find_version
    from backend_ml.report.report import namer
    from backend_ml.report.words import share_words
    from backend_ml.settings import Settings
    from backend_ml.status.card.card import Asked, read_card
    from backend_ml.status.card.page import card_page, check_out
    from lvm_training.files import write_text

    with opened() as database:
        check_out(out)
        with database.transaction() as connection:
            found = find_version(connection, version, campaign)
            named = namer(connection, found.campaign, annotator_name) if names else None
        told = read_card(database, Asked(version, found.campaign.name, named, magnitude), Settings().store_folder, repo)
        write_text(out, card_page(told))
    show({"card": out, "right": share_words(told.measured.right) if told.measured else told.problem}, as_json=False)


@app.command()
def promote(
    name: Name, version: Annotated[str, typer.Argument(help="The version to serve.")], as_json: Json = False
) -> None:
    """Serve a version, whatever the gate said; the next refit may replace it."""
    from backend_ml.campaign.status import find
    from backend_ml.leading import serving
    from backend_ml.settings import Settings

    with transaction() as connection:
        found = find(connection, name)
        active = serving.promote(connection, found, version, Settings().store_folder, whoever())
        show({"campaign": name, "active": active}, as_json=as_json)


@app.command()
def rollback(name: Name, as_json: Json = False) -> None:
    """Serve the version that served before; the next refit may replace it."""
    from backend_ml.campaign.status import find
    from backend_ml.leading import serving
    from backend_ml.settings import Settings

    with transaction() as connection:
        active = serving.roll_back(connection, find(connection, name), Settings().store_folder, whoever())
        show({"campaign": name, "active": active}, as_json=as_json)


@app.command()
def learn(name: Name, as_json: Json = False) -> None:
    """Have a worker refit the head, or fine-tune the detector or decoder, now; `campaign status` shows progress."""
    from backend_ml.campaign import defer
    from backend_ml.campaign.status import find
    from backend_ml.kinds.installed import kind_of

    with transaction() as connection:
        found = find(connection, name)
        kind = kind_of(found)
        labels = kind.read(connection, found)
        defer.defer_learning(connection, found, asked=True)
        then = "what comes of it serves unless it is worse on the audit slice, and the queue is ranked anew"
        if not kind.fits(labels, found, seen=False):
            then = f"nothing changes yet: it needs {kind.needed}. It learns by itself as soon as they are there"
        learned = {"labels_to_learn_from": len(labels.training), "labels_to_judge_on": len(labels.audit)}
        job = f"waits for a worker; `galaxyloop campaign status '{name}'` shows how far it is"
        show({"campaign": name, "job": job, **learned, "then": then}, as_json=as_json)


@app.command()
def describe(
    preset: Annotated[str, typer.Argument(help="A preset of the LVM: nano, small or paper.")], as_json: Json = False
) -> None:
    """Parameters, token grids and floating-point operations of a preset; a multiply-add counts as 2."""
    from lvm_training.model.describe import describe_model
    from lvm_training.model.lvm import find_preset

    with reported():
        figures = describe_model(find_preset(preset)).model_dump(mode="json")
    if as_json:
        print_json(figures)
        return
    stages = figures.pop("stages")
    show({name: _readable(name, value) for name, value in figures.items()}, as_json=False)
    console().print()
    rows = [{"stage": place, **stage} for place, stage in enumerate(stages, start=1)]
    show_rows(rows, ["stage", "channels", "grid", "blocks", "heads"], as_json=False)


def _readable(name: str, value: object) -> str:
    """A figure with its unit: millions of parameters, 10^9 operations a stamp."""
    if isinstance(value, int) and name.endswith("parameters"):
        return f"{value / 1e6:.2f} M"
    if isinstance(value, int) and name.startswith("flops"):
        return f"{value / 1e9:.2f} G a stamp"
    if isinstance(value, list):
        return " x ".join(map(str, value))
    return str(value)
