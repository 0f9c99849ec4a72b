"""`galaxyloop replay`: which policy would have needed fewest labels, on a set whose labels are known."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from backend_ml.cli.encoder import AnyEncoder, chosen
from backend_ml.cli.options import ClassColumn, ClassTable, Missing, PixelScale, Views, declared_missing
from backend_ml.cli.simulated import simulated_classes
from backend_ml.console import console, reported, show_rows, tell
from lvm_training.paths import RELEASED_LVM
from lvm_training.progress import progress_bar

if TYPE_CHECKING:
    from backend_ml.replay.labelled_sets import Reading
    from backend_ml.replay.plan import ReplayPlan, Trial
    from lvm_training.heads.prior import Prior
    from lvm_training.model.encoder import Encoder

WORK = Path("build/replay")
BASELINE = "resnet18"
Policies = Annotated[str, typer.Option(help="Names, comma-separated; a wrong one lists them.")]


def replay(
    source: Annotated[Path, typer.Argument(help="A folder of images, or a stamp set (HDF5).")],
    column: ClassColumn,
    labels: ClassTable = None,
    missing: Missing = None,
    policies: Policies = "random,margin,loop",
    budget: Annotated[int, typer.Option(help="Labels in all.", min=1)] = 200,
    batch: Annotated[int, typer.Option(help="Labels between two refits.", min=1)] = 20,
    seeds: Annotated[int, typer.Option(help="Repetitions, each from another start.", min=1)] = 5,
    positive: Annotated[str | None, typer.Option(help="The class looked for; default: the rarest.")] = None,
    prevalence: Annotated[float | None, typer.Option(help="Thin that class to this share, such as 0.01.")] = None,
    baseline: Annotated[
        Literal["resnet18"] | None, typer.Option(help="Also train this from scratch on random labels; slow, resumable.")
    ] = None,
    simulated: Annotated[
        list[str] | None,
        typer.Option(help="CLASS=CONCEPT: what the simulator draws of a class; repeat. Replays with and without it."),
    ] = None,
    encoder: AnyEncoder = str(RELEASED_LVM),
    views: Views = 8,
    pixel_scale: PixelScale = None,
    out: Annotated[Path, typer.Option("--json", help="The JSON; a plot is written beside it.")] = WORK / "replay.json",
) -> None:
    """Replay a labelled set as if people labelled it, and compare policies.

    The test half is fixed by the hash of the file name. Everyone starts from two labels of each class, or with
    --prevalence from three of the class looked for. After every batch heads are refitted and measured: AUC and average
    precision on the test half, precision and recall among the best 100 of the pool.
    """
    with reported():
        from lvm_training.files import refuse_others, write_json

        names = _policies(policies)
        refuse_others(out, b'"replay"')
        refuse_others(out.with_suffix(".png"), b"Matplotlib")
        from backend_ml.replay.labelled_sets import read_labelled
        from backend_ml.replay.plan import ReplayPlan
        from backend_ml.replay.report import replay_figure, table_rows
        from backend_ml.settings import Settings
        from lvm_training.model.encoder import Encoder

        model = Encoder.load(chosen(encoder, Settings()), views)
        reading = read_labelled(
            source,
            labels=labels,
            column=column,
            encoder=model,
            work=WORK / "features",
            steps=progress_bar,
            missing=declared_missing(missing),
            pixel_scale=pixel_scale,
            pictures=baseline is not None,
        )
        plan = ReplayPlan(names, budget, batch, seeds, prevalence, positive)
        about = {"set": source.name, "column": column, "encoder": model.digest}
        document = _replayed(reading, plan, model, simulated or [], about)
        write_json(out, document)
        plot = replay_figure(document, out.with_suffix(".png"), title=_title(source, document["replay"]))
    tell([*reading.notes, *_left_out(reading)])
    rows = table_rows(document)
    show_rows(rows, list(rows[0]), as_json=False)
    console().print(f"{out} and {plot}", highlight=False, markup=False)


def _replayed(
    reading: "Reading", plan: "ReplayPlan", encoder: "Encoder", simulated: list[str], about: dict[str, Any]
) -> dict[str, Any]:
    """The report of a plan that was replayed; `about` is what it says of the set and the encoder."""
    from backend_ml.replay.plan import prepare
    from backend_ml.replay.report import report
    from backend_ml.replay.run import replay_policies
    from lvm_training.evaluation.baselines import whole_resnet18

    trial = prepare(reading.data, plan, 0)
    prior = _prior(simulated, encoder, trial)
    models = {} if reading.images is None else {BASELINE: whole_resnet18(reading.images, seed=0)}
    with progress_bar(f"Replaying {about['set']}") as progress:
        curves = replay_policies(reading.data, plan, baseline=models, prior=prior, progress=progress)
    return report(curves, about | _about(reading, plan, trial))


def _policies(said: str) -> tuple[str, ...]:
    """The policies of a line of names.

    Raises
    ------
    PolicyError
        If there is none of a name.
    """
    from backend_ml.acquisition.policy import find_policy

    names = tuple(dict.fromkeys(name.strip() for name in said.split(",")))
    for name in names:
        find_policy(name)
    return names


def _title(source: Path, about: dict[str, Any]) -> str:
    thinned = f", {about['positive']} thinned to {about['prevalence']:g}" if about["prevalence"] else ""
    return f"{source.stem}, {about['column']}{thinned}"


def _left_out(reading: "Reading") -> list[str]:
    counted = ((reading.unlabelled, "images have no label"), (reading.skipped, "files cannot be used"))
    return [f"{count} {what} and are left out" for count, what in counted if count]


def _prior(pairs: list[str], encoder: "Encoder", trial: "Trial") -> "Prior | None":
    """What simulated stamps say of the classes that are mapped, all of which the set must have; None where none is.

    Raises
    ------
    ConceptError, LabelError
        If the mapping cannot be used.
    """
    from backend_ml.settings import Settings
    from lvm_training.errors import LabelError
    from lvm_training.scenes.simulated_classes import check_classes
    from lvm_training.simulated.simulated_set import simulated_set

    classes = simulated_classes(pairs)
    check_classes(classes)
    foreign = [name for name in classes if name not in trial.classes]
    if foreign:
        raise LabelError(f"The set has no class {', '.join(foreign)}.", f"Its classes are: {', '.join(trial.classes)}.")
    if not classes:
        return None
    stamps = Settings().simulated_stamps
    if not stamps:
        raise LabelError("No simulated stamp may be drawn: GALAXYLOOP_SIMULATED_STAMPS is 0.", "Leave it out.")
    with progress_bar("Drawing simulated galaxies") as progress:
        return simulated_set(encoder, WORK / "simulated", stamps=stamps, progress=progress).prior(classes)


def _about(reading: "Reading", plan: "ReplayPlan", trial: "Trial") -> dict[str, Any]:
    """What was replayed, for the report."""
    return {
        "positive": trial.classes[trial.wanted],
        "prevalence": plan.prevalence,
        "images": len(reading.data.labels),
        "pool": len(trial.pool),
        "test": len(trial.test),
        "head": "preference" if trial.preference else "classification",
        "unlabelled": reading.unlabelled,
        "skipped": reading.skipped,
        "notes": list(reading.notes),
        "batch": plan.batch,
        "seeds": plan.seeds,
    }
