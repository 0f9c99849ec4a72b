"""`galaxyloop detect`: the objects on the stamps of a set, or on a FITS image of any size."""

from pathlib import Path
from typing import Annotated, Any

import typer

from backend_ml.console import reported, show, step
from lvm_training.errors import StampError
from lvm_training.stages.paths import DETECTOR


def detect(
    source: Annotated[Path, typer.Argument(help="A FITS image of any size, or a stamp set (HDF5).")],
    detector: Annotated[Path, typer.Option(help="Folder of the detector.")] = DETECTOR,
    out: Annotated[
        Path | None, typer.Option(help="Table for an image (.csv, .fits, .vot); folder for a stamp set.")
    ] = None,
    score: Annotated[float, typer.Option(help="Least score of an image's objects.", min=0.05, max=1)] = 0.5,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Find arcs, deflectors and galaxies; on a stamp set an interrupted run goes on where it stopped."""
    from lvm_training.stamps.importer import SET_SUFFIXES

    with reported():
        if source.suffix.lower() in SET_SUFFIXES:
            values = _detect_set(source, detector, out or Path("build/detections"))
        else:
            values = _detect_image(source, detector, out or Path(source.name).with_suffix(".csv"), score)
    show(values, as_json=as_json)


def _detect_set(source: Path, folder: Path, out: Path) -> dict[str, Any]:
    from lvm_training.model.detection_checkpoint import TrainedDetector
    from lvm_training.objects.detections import detect_set, detections_path
    from lvm_training.stamps.stampset import StampSet

    detector = TrainedDetector.load(folder)
    with StampSet(source) as stamps, step(f"Detecting on {stamps.name}") as progress:
        found = detect_set(stamps, detector, out, progress=progress)
        path = detections_path(stamps, detector, out)
    lenses = int((found.best_scores("arc") >= 0.5).sum())
    return {"detections": str(path), "stamps": len(found), "with_arcs": lenses, "detector": detector.digest}


def _detect_image(source: Path, folder: Path, out: Path, score: float) -> dict[str, Any]:
    from lvm_training.model.detection_checkpoint import TrainedDetector
    from lvm_training.objects.sky_table import sky_table, write_table
    from lvm_training.objects.wide_field import detect_everywhere
    from lvm_training.stamps.fits import read_fits

    detector = TrainedDetector.load(folder)
    try:
        image = read_fits(source)
    except (StampError, OSError) as error:
        raise StampError(
            f"{source.name} cannot be read: {error}.", "Give a FITS image in g, r, z, or in one band."
        ) from error
    with step(f"Detecting on {source.name}") as progress:
        found = detect_everywhere(
            image.pixels,
            detector.predict,
            detector.rendering,
            kind="nanomaggies",
            pixel_scale=image.pixel_scale,
            progress=progress,
        )
    table = sky_table([one for one in found if one.score >= score], image)
    write_table(table, out)
    counts = {name: int((table["class"] == name).sum()) for name in detector.classes}
    return {"table": str(out), "objects": len(table), **counts, "detector": detector.digest}
