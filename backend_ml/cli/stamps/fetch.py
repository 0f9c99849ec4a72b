"""`galaxyloop data fetch` and `data surveys`: stamps by position from the cutout services of surveys."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backend_ml.cli.options import Json, Missing, declared_missing
from backend_ml.console import errors, reported, show, show_rows, tell
from lvm_training.progress import progress_bar

if TYPE_CHECKING:
    from lvm_training.surveys.order import Order
    from lvm_training.surveys.targets import Targets

INTERRUPTED = 130  # the exit status of a command that Ctrl-C ended


def fetch(
    catalogue: Annotated[Path, typer.Argument(help="A table with columns ra and dec.")],
    out: Annotated[Path, typer.Option(help="The stamp set to write.")],
    survey: Annotated[
        str, typer.Option(help="A survey of `data surveys`, or a description of your own (TOML).")
    ] = "legacy-surveys",
    layer: Annotated[str | None, typer.Option(help="The survey's layer or release; else its first.")] = None,
    bands: Annotated[str | None, typer.Option(help="Three bands that stand as g, r, z, such as grz.")] = None,
    size: Annotated[int | None, typer.Option(help="Side of the stamps, pixels; else the survey's.")] = None,
    scale: Annotated[float | None, typer.Option(help="Arcsec per pixel; else the survey's own.")] = None,
    rate: Annotated[float | None, typer.Option(help="Requests a second, up to the survey's limit.")] = None,
    missing: Missing = None,
    retry: Annotated[bool, typer.Option("--retry", help="Ask again for what could not be had.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell how much it is, without network.")] = False,
    as_json: Json = False,
) -> None:
    """Fetch a stamp for each position of a catalogue from a survey's cutout service; an interrupted run goes on.

    Stamps that cannot be had are listed with the reason in OUT.skipped.csv.
    """
    from lvm_training.surveys.description import find_survey
    from lvm_training.surveys.order import Order
    from lvm_training.surveys.targets import read_targets

    with reported():
        order = Order.of(find_survey(survey), layer=layer, bands=bands, size=size, scale=scale, rate=rate)
        targets = read_targets(catalogue, order.survey, declared_missing(missing))
    notes = [*targets.notes, *order.notes()]
    if not as_json:
        tell(notes)
    noted = {"notes": notes} if as_json else {}
    record = _estimate(targets, order) if dry_run else _fetched(targets, order, out, retry)
    show(record | noted, as_json=as_json)


def _estimate(targets: "Targets", order: "Order") -> dict[str, Any]:
    """What fetching a whole catalogue would take, by arithmetic alone."""
    requests = len(targets) * order.requests
    return {
        "survey": order.survey.name,
        "stamps": len(targets),
        "left_out": len(targets.left),
        "requests": requests,
        "requests_a_second": order.rate,
        "minutes": round(requests / order.rate / 60, 1),
        "megabytes": round(len(targets) * order.stamp_bytes / 1e6, 1),
        "footprint": order.survey.footprint.note,
    }


def _fetched(targets: "Targets", order: "Order", out: Path, retry: bool) -> dict[str, Any]:
    from lvm_training.surveys.fetching import fetch as fetch_stamps

    try:
        with reported(), progress_bar(f"Fetching {len(targets)} stamps from {order.survey.name}") as progress:
            report = fetch_stamps(targets, order, out, retry=retry, progress=progress)
    except KeyboardInterrupt:
        errors().print("Stopped. What is done is kept: the same command goes on.", highlight=False)
        raise typer.Exit(INTERRUPTED) from None
    return {
        "stamps": str(report.out),
        "written": report.stamps,
        "fetched_now": report.fetched,
        "partly_covered": report.partly,
        "left_out": report.left,
        "skipped": None if report.skipped is None else str(report.skipped),
        "requests": report.requests,
        "megabytes": round(report.received / 1e6, 1),
        "seconds": round(report.seconds, 1),
        "citation": order.survey.citation,
    }


def surveys(as_json: Json = False) -> None:
    """List the surveys whose cutout services are known, with their layers, bands and scales."""
    from lvm_training.surveys.description import find_survey, known_surveys

    with reported():
        known = [find_survey(name) for name in known_surveys()]
    rows = [
        {
            "survey": survey.name,
            "what": survey.title,
            "layers": ", ".join(survey.service.layers),
            "bands": ", ".join(survey.bands.known),
            "scale": survey.pixels.scale,
            "size": survey.pixels.size,
            "requests_a_second": survey.limits.rate,
            "account": survey.service.account == "netrc",
            "footprint": survey.footprint.note,
            "citation": survey.citation,
        }
        for survey in known
    ]
    show_rows(rows, ("survey", "what", "layers", "bands", "scale"), as_json=as_json)
