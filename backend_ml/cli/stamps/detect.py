"""`galaxyloop detect`: the objects on the stamps of a set, or on a FITS image of any size."""

from dataclasses import replace
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backend_ml.console import errors, reported, show
from lvm_training.errors import StampError
from lvm_training.paths import RELEASED_DETECTOR
from lvm_training.progress import progress_bar

if TYPE_CHECKING:
    from lvm_training.images.wide_frame import WideFrame

NOTHING_FOUND = "Try a lower --score; a detector of the profile `quick` is a smoke test that finds nothing."


def detect(
    source: Annotated[
        Path, typer.Argument(help="A FITS image of up to 16,384 x 16,384 pixels, or a stamp set (HDF5).")
    ],
    detector: Annotated[Path, typer.Option(help="Folder of the detector.")] = RELEASED_DETECTOR,
    out: Annotated[
        Path | None, typer.Option(help="Table for an image (.csv, .fits, .vot); folder for a stamp set.")
    ] = None,
    score: Annotated[float, typer.Option(help="Least score of an image's objects.", min=0.05, max=1)] = 0.5,
    pixel_scale: Annotated[
        float | None,
        typer.Option(help="arcsec per pixel of an image without a WCS; ra, dec are then NaN.", min=1e-4),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Find arcs, deflectors and galaxies.

    An image is looked at in tiles of one, two and four fields, each object is told once, with its position by the
    image's own WCS, and `cut` marks those that reach an edge. On a stamp set an interrupted run goes on where it
    stopped.
    """
    from lvm_training.importing.importer import SET_SUFFIXES

    with reported():
        if source.is_dir():
            raise StampError(f"{source} is a folder.", "Give a FITS image or a stamp set.")
        if source.suffix.lower() in SET_SUFFIXES:
            values = _detect_set(source, detector, out or Path("build/detections"))
        else:
            out = out or Path(source.name).with_suffix(".csv")
            values = _detect_image(source, detector, out, score, pixel_scale)
    show(values, as_json=as_json)
    if values.get("objects") == 0:
        errors().print(f"Nothing has a score of {score} or more. [bold]What to do:[/] {NOTHING_FOUND}", highlight=False)


def _detect_set(source: Path, folder: Path, out: Path) -> dict[str, Any]:
    from lvm_training.detection.checkpoint import TrainedDetector
    from lvm_training.inference.detections import detect_set, detections_path
    from lvm_training.stamps.stampset import StampSet

    if out.is_file():
        raise StampError(f"{out} is a file.", "Detections of a stamp set go to a folder: name one.")
    detector = TrainedDetector.load(folder)
    with StampSet(source) as stamps, progress_bar(f"Detecting on {stamps.name}") as progress:
        found = detect_set(stamps, detector, out, progress=progress)
        path = detections_path(stamps, detector, out)
    lenses = int((found.best_scores("arc") >= 0.5).sum())
    return {"detections": str(path), "stamps": len(found), "with_arcs": lenses, "detector": detector.digest}


def _detect_image(source: Path, folder: Path, out: Path, score: float, pixel_scale: float | None) -> dict[str, Any]:
    from lvm_training.detection.checkpoint import TrainedDetector
    from lvm_training.inference.merging import merged
    from lvm_training.inference.sky_table import check_table_path, sky_table, write_table
    from lvm_training.inference.wide_field import seen_on_tiles

    check_table_path(out, source)
    detector = TrainedDetector.load(folder)
    image = _frame(source, pixel_scale)
    with progress_bar(f"Detecting on {source.name}") as progress:
        seen = seen_on_tiles(
            image.pixels,
            detector.predict,
            detector.rendering,
            kind="nanomaggies",
            pixel_scale=image.pixel_scale,
            least=score,
            progress=progress,
        )
    with progress_bar("Making one of what several tiles show") as progress:
        found = merged(seen, progress)
    table = sky_table(found, image)
    write_table(table, out)
    counts = {name: int((table["class"] == name).sum()) for name in detector.classes}
    cut = int(table["cut"].sum())
    return {"table": str(out), "objects": len(table), **counts, "cut": cut, "detector": detector.digest}


def _frame(source: Path, pixel_scale: float | None) -> "WideFrame":
    """The image, with the pixel scale given where it has none itself."""
    from lvm_training.images.fits import read_frame

    try:
        image = read_frame(source)
    except (StampError, OSError) as error:
        raise StampError(
            f"{source.name} cannot be read: {error}.", "Give a FITS image in g, r, z, or in one band."
        ) from error
    if pixel_scale is None:
        if not isfinite(image.pixel_scale):
            raise StampError(
                f"{source.name} has no WCS, so its pixel scale is unknown.",
                "Give arcsec per pixel: --pixel-scale 0.262",
            )
        return image
    if isfinite(image.pixel_scale):
        raise StampError(
            f"{source.name} has a WCS: its pixels are {image.pixel_scale} arcsec.", "Leave out --pixel-scale."
        )
    return replace(image, pixel_scale=pixel_scale)
