"""`galaxyloop data`: stamp sets from files and from simulation."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from backend_ml.cli.stamps import fetch
from backend_ml.cli.tables import Missing, declared_missing
from backend_ml.console import errors, reported, show, tell
from lvm_training.progress import progress_bar

app = typer.Typer(help="Make stamp sets.", no_args_is_help=True)
app.command()(fetch.fetch)
app.command()(fetch.surveys)

SHOWN_SKIPS = 20


@app.command("import")
def import_(
    path: Annotated[Path, typer.Argument(help="A folder of JPEG, PNG or FITS files, or a Stein HDF5 chunk.")],
    out: Annotated[Path, typer.Option(help="The stamp set to write.")],
    labels: Annotated[Path | None, typer.Option(help="Table with a column `file` and columns to join.")] = None,
    missing: Missing = None,
    strict: Annotated[bool, typer.Option(help="Fail at the first file that cannot be used.")] = False,
    size: Annotated[int | None, typer.Option(help="Side of the stamps, pixels; else the most common.")] = None,
    pixel_scale: Annotated[float | None, typer.Option(help="Arcsec per pixel, where the files do not say.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Import pictures or FITS files; files that cannot be used are listed with the reason and skipped."""
    from lvm_training.importing.importer import import_stamps

    with reported(), progress_bar(f"Importing {path}") as progress:
        report = import_stamps(
            path,
            out,
            labels=labels,
            missing=declared_missing(missing),
            strict=strict,
            size=size,
            pixel_scale=pixel_scale,
            progress=progress,
        )
    notes = list(report.notes)
    skipped = [{"file": item.file, "reason": item.reason} for item in report.skipped]
    if not as_json:
        tell(notes)
        _tell([f"skipped {item.file}: {item.reason}" for item in report.skipped])
    record = {"stamps": str(report.out), "written": report.written, "skipped": skipped if as_json else len(skipped)}
    show(record | ({"notes": notes} if as_json else {}), as_json=as_json)


def _tell(skips: Sequence[str]) -> None:
    """The first of what was left out, and how much more there is."""
    for skip in skips[:SHOWN_SKIPS]:
        errors().print(skip, highlight=False, markup=False)
    if len(skips) > SHOWN_SKIPS:
        errors().print(f"... and {len(skips) - SHOWN_SKIPS} more; --json lists them all.")


@app.command()
def inject_lenses(
    stamps: Annotated[Path, typer.Argument(help="A stamp set of fluxes, at least 17 arcsec wide.")],
    out: Annotated[Path, typer.Option(help="The folder to write lenses.h5 and lenses.json into.")],
    limit: Annotated[int | None, typer.Option(help="Only the first so many stamps.", min=1)] = None,
    seed: Annotated[int, typer.Option(help="The same seed gives the same arcs.", min=0)] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Put simulated arcs around real galaxies: stamps and truth (COCO) to train or test detectors of lenses on."""
    from lvm_training.files import refuse_others
    from lvm_training.lenses.injection import STAMPS, TRUTH, write_injected_lenses
    from lvm_training.lenses.lens_stamps import LensPopulation
    from lvm_training.stamps.stampset import StampSet

    with reported():
        refuse_others(out / STAMPS)
        refuse_others(out / TRUTH)
    with reported(), progress_bar(f"Putting arcs on {stamps}") as progress, StampSet(stamps) as opened:
        written, notes = write_injected_lenses(opened, out, LensPopulation(), seed=seed, limit=limit, progress=progress)
    if not as_json:
        _tell(notes)
    show({"lenses": str(out), "written": written, "left_out": list(notes) if as_json else len(notes)}, as_json=as_json)


@app.command()
def simulate(
    out: Annotated[Path, typer.Option(help="The stamp set to write.")],
    classes: Annotated[str, typer.Option(help="What to simulate: `morphology`.")] = "morphology",
    n: Annotated[int, typer.Option(help="How many galaxies.", min=1)] = 4000,
    seed: Annotated[int, typer.Option(help="The same seed gives the same bytes.", min=0)] = 0,
    processes: Annotated[int, typer.Option(help="Processes that draw.", min=1)] = 2,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Simulate galaxies of five classes as the Legacy Surveys would see them, with their truth."""
    from lvm_training.files import refuse_others
    from lvm_training.galaxies.population import draw_catalogue
    from lvm_training.galaxies.simulate import simulate_set

    if classes != "morphology":
        raise typer.BadParameter("only `morphology` can be simulated", param_hint="--classes")
    with reported():
        refuse_others(out)
    with reported(), progress_bar(f"Simulating {n} galaxies") as progress:
        simulate_set(draw_catalogue(n, seed=seed), out, processes=processes, progress=progress)
    show({"stamps": str(out), "written": n, "seed": seed}, as_json=as_json)
