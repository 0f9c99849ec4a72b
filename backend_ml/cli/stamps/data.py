"""`galaxyloop data`: stamp sets from files and from simulation."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backend_ml.cli.options import Json, Missing, declared_missing
from backend_ml.cli.stamps import fetch
from backend_ml.cli.stamps.galaxy_zoo import galaxy_zoo
from backend_ml.console import errors, reported, show, tell
from lvm_training.errors import OutputError
from lvm_training.progress import progress_bar

if TYPE_CHECKING:
    from lvm_training.importing.importer import ImportReport, Skipped
    from lvm_training.stamps.stampset import StampSet

app = typer.Typer(help="Make stamp sets.", no_args_is_help=True)
app.command()(fetch.fetch)
app.command()(fetch.surveys)
app.command()(galaxy_zoo)

SHOWN_SKIPS = 20


@app.command("import")
def import_(
    path: Annotated[Path, typer.Argument(help="A folder of JPEG, PNG or FITS files, or an HDF5 file.")],
    out: Annotated[Path, typer.Option(help="The stamp set to write.")],
    labels: Annotated[
        Path | None,
        typer.Option(help="Table with a column `file` and columns to join; default: the folder's labels.csv."),
    ] = None,
    no_labels: Annotated[bool, typer.Option("--no-labels", help="Leave the folder's labels.csv aside.")] = False,
    missing: Missing = None,
    strict: Annotated[bool, typer.Option(help="Fail at the first file that cannot be used.")] = False,
    size: Annotated[int | None, typer.Option(help="Side of the stamps, pixels; else the most common.")] = None,
    fit: Annotated[
        str | None,
        typer.Option(
            help="Images of other sizes: crop, shrink (show them whole) or pad; default: as your-pictures says."
        ),
    ] = None,
    pixel_scale: Annotated[float | None, typer.Option(help="Arcsec per pixel, where the files do not say.")] = None,
    bands: Annotated[
        str | None, typer.Option(help="Planes of FITS and HDF5 files, as in r,g,b (colours), g,r,z or u,g,r,i,z.")
    ] = None,
    zero_point: Annotated[
        float | None, typer.Option(help="AB magnitude of one count, where FITS files do not say their unit.")
    ] = None,
    resample: Annotated[
        float | None, typer.Option(help="Arcsec per pixel that FITS files of other scales are brought to.")
    ] = None,
    group: Annotated[
        str | None, typer.Option(help="Which files of a mixed folder, by number or words; else the largest group.")
    ] = None,
    images: Annotated[str | None, typer.Option(help="Which dataset of an HDF5 file the images are.")] = None,
    layout: Annotated[
        str | None, typer.Option(help="Which known HDF5 file it is: galaxy10-decals or galaxy10-sdss.")
    ] = None,
    positions_from_names: Annotated[
        bool, typer.Option("--positions-from-names", help="Names such as J005130.07-011511.2 say where galaxies are.")
    ] = False,
    north_up: Annotated[bool, typer.Option("--north-up", help="Pictures have north up and east left.")] = False,
    as_json: Json = False,
) -> None:
    """Import pictures or FITS files; files that cannot be used are listed with the reason and skipped."""
    from lvm_training.importing.importer import import_stamps
    from lvm_training.importing.label_table import folder_labels

    found = None if no_labels or labels else folder_labels(path)
    with reported(), _left_aside(found), progress_bar(f"Importing {path}") as progress:
        report = import_stamps(
            path,
            out,
            labels=labels or found,
            missing=declared_missing(missing),
            strict=strict,
            size=size,
            fit=fit,
            pixel_scale=pixel_scale,
            bands=bands,
            zero_point=zero_point,
            resample=resample,
            group=group,
            images=images,
            layout=layout,
            positions_from_names=positions_from_names,
            north_up=north_up,
            progress=progress,
        )
    of_folder = [f"labels are those of {found}; --no-labels leaves them aside"] if found else []
    _show_imported(report, [*of_folder, *report.notes], as_json=as_json)


def _show_imported(report: "ImportReport", notes: list[str], *, as_json: bool) -> None:
    from backend_ml.pictures.framing import read_words
    from lvm_training.stamps.rendering import Rendering
    from lvm_training.stamps.stampset import StampSet

    skipped = [{"file": item.file, "reason": item.reason} for item in report.skipped]
    if not as_json:
        tell(notes)
        if report.table is None:
            _tell([f"skipped {item.file}: {item.reason}" for item in report.skipped])
        else:
            tell([*_reasons(report.skipped), f"{report.table} lists them all."])
    record = {"stamps": str(report.out), "written": report.written, "skipped": skipped if as_json else len(skipped)}
    with StampSet(report.out) as stamps:
        # as the encoders that come with it render
        record["framing"] = read_words(Rendering(), stamps)
    if report.table is not None:
        record["skipped_table"] = str(report.table)
    show(record | ({"notes": notes} if as_json else {}), as_json=as_json)


@contextmanager
def _left_aside(table: Path | None) -> Iterator[None]:
    """Say how to do without a table that nobody named, where it is at fault."""
    from lvm_training.errors import LabelError

    try:
        yield
    except LabelError as error:
        if table is None:
            raise
        raise LabelError(error.message, f"{error.hint} Or import without {table}: --no-labels.".strip()) from error


@app.command()
def join(
    chunks: Annotated[list[Path], typer.Argument(help="Stamp sets or Stein HDF5 chunks, in their order.")],
    out: Annotated[Path, typer.Option(help="The stamp set to write: it holds no pixels, and reads them in place.")],
    as_json: Json = False,
) -> None:
    """Join stamp sets to one, in place: rows are read from them as they are needed."""
    from lvm_training.files import refuse_others
    from lvm_training.importing.joined import join_sets

    with reported():
        refuse_others(out)
    with reported(), progress_bar(f"Joining {len(chunks)} sets") as progress:
        made = join_sets(chunks, out, progress)
    if not as_json:
        tell(made.notes)
    notes = {"notes": list(made.notes)} if as_json else {}
    show({"stamps": str(made.out), "sets": len(chunks), "rows": made.stamps} | notes, as_json=as_json)


@app.command("show")
def show_(
    stamps: Annotated[Path, typer.Argument(help="A stamp set, or a Stein HDF5 chunk.")],
    page: Annotated[
        Path | None, typer.Option(help="Page of thumbnails, .html or .png; default: SET.html beside the set.")
    ] = None,
    no_page: Annotated[bool, typer.Option("--no-page", help="Write no page.")] = False,
    as_json: Json = False,
) -> None:
    """Tell what a stamp set is: where it came from, unit, bands, scale, columns, what was skipped; with thumbnails."""
    from lvm_training.stamps.stampset import StampSet
    from lvm_training.stamps.summary import summary

    with reported(), StampSet(stamps) as opened:
        if page is not None:
            from lvm_training.stamps.page import check_page_path

            check_page_path(page)
        about = summary(opened)
        written = None if no_page else _write_page(opened, about, page)
    record = {"set": str(stamps), **(about if as_json else _lines(about))}
    show(record | ({"page": str(written)} if written else {}), as_json=as_json)


def _write_page(stamps: "StampSet", about: dict[str, Any], page: Path | None) -> Path | None:
    """Write the page that was asked for, or the usual one unless it cannot be."""
    from lvm_training.stamps.page import write_page

    path = page or stamps.path.with_suffix(".html")
    try:
        write_page(stamps, about, path)
    except (OutputError, OSError) as error:
        if page is not None:
            raise OutputError(f"{path} cannot be written: {error}", "Name another file with --page.") from error
        tell([f"No page of thumbnails: {error} --page names another."])
        return None
    return path


def _lines(about: dict[str, Any]) -> dict[str, Any]:
    """What a set says of itself, a line for each thing that it says."""
    from lvm_training.stamps.summary import DOCUMENTS

    columns = [f"{name}: {one['type']}, {one['missing']} missing" for name, one in about["columns"].items()]
    kept = {f"{one}: {name}": _counted(value) for one in DOCUMENTS for name, value in about[one].items()}
    plain = {name: value for name, value in about.items() if name not in ("columns", *DOCUMENTS)}
    shown = plain | {"columns": columns} | kept
    return {name: value for name, value in shown.items() if value not in ({}, [], "", None)}


def _counted(value: Any) -> Any:
    """Names with what belongs to each, a line for each."""
    return [f"{name}: {one}" for name, one in value.items()] if isinstance(value, dict) else value


def _reasons(skipped: "Sequence[Skipped]") -> list[str]:
    """Each reason once, with how many files have it, and the first."""
    files: dict[str, list[str]] = {}
    for item in skipped:
        files.setdefault(item.reason, []).append(item.file)
    ordered = sorted(files.items(), key=lambda one: -len(one[1]))
    more = [f"... and {len(ordered) - SHOWN_SKIPS} more reasons"] if len(ordered) > SHOWN_SKIPS else []
    return [f"skipped {len(named)}: {reason}, first {named[0]}" for reason, named in ordered[:SHOWN_SKIPS]] + more


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
    as_json: Json = False,
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
    as_json: Json = False,
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
