"""`galaxyloop detect`: the objects on the stamps of a set, or on images and pictures of any size."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backend_ml.cli.options import Json
from backend_ml.console import errors, reported, show, tell
from lvm_training.errors import GalaxyLoopError, StampError
from lvm_training.paths import RELEASED_DETECTOR
from lvm_training.progress import progress_bar

if TYPE_CHECKING:
    from astropy.table import Table

    from lvm_training.detection.checkpoint import TrainedDetector
    from lvm_training.images.wide_frame import WideFrame
    from lvm_training.progress import Progress

NOTHING_FOUND = "Try a lower --score; a detector of the profile `quick` is a smoke test that finds nothing."
SHOWN_SKIPS = 20


def detect(
    source: Annotated[
        Path,
        typer.Argument(
            help="A FITS image, JPEG or PNG of up to 16,384 x 16,384 pixels, a folder of them, or a stamp set (HDF5)."
        ),
    ],
    detector: Annotated[Path, typer.Option(help="Folder of the detector.")] = RELEASED_DETECTOR,
    out: Annotated[
        Path | None, typer.Option(help="Table for images (.csv, .fits, .vot); folder for a stamp set.")
    ] = None,
    score: Annotated[float, typer.Option(help="Least score of an image's objects.", min=0.05, max=1)] = 0.5,
    pixel_scale: Annotated[
        float | None,
        typer.Option(help="arcsec per pixel of pictures and of images without a WCS; ra, dec are NaN.", min=1e-4),
    ] = None,
    as_json: Json = False,
) -> None:
    """Find arcs, deflectors and galaxies.

    An image is looked at in tiles of one, two and four fields, each object is told once, with its position by the
    image's own WCS, and `cut` marks those that reach an edge. A picture without --pixel-scale is taken to show one
    field. The table of a folder names the file of each object. On a stamp set an interrupted run goes on where it
    stopped.
    """
    from lvm_training.importing.importer import SET_SUFFIXES

    with reported():
        if source.suffix.lower() in SET_SUFFIXES and not source.is_dir():
            values = _detect_set(source, detector, out or Path("build/detections"))
        else:
            name = Path(source.resolve().name + ".csv") if source.is_dir() else Path(source.name).with_suffix(".csv")
            found = _detect_folder if source.is_dir() else _detect_image
            values = found(source, detector, out or name, score, pixel_scale)
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
    from lvm_training.inference.frames import common_white, read_image
    from lvm_training.inference.sky_table import check_table_path, write_table

    check_table_path(out, source)
    detector = TrainedDetector.load(folder)
    image = read_image(source, pixel_scale)
    tell(_of_white(common_white([source])))
    with progress_bar(f"Detecting on {source.name}") as progress:
        table = _objects(image, detector, score, progress)
    write_table(table, out)
    return {"table": str(out), **_counted(table, detector)}


def _detect_folder(source: Path, folder: Path, out: Path, score: float, pixel_scale: float | None) -> dict[str, Any]:
    from astropy.table import vstack

    from lvm_training.detection.checkpoint import TrainedDetector
    from lvm_training.importing.folder import image_files
    from lvm_training.inference.frames import common_white, images_in
    from lvm_training.inference.sky_table import check_table_path, write_table

    check_table_path(out, source)
    detector, tables, skipped = TrainedDetector.load(folder), list["Table"](), dict[str, str]()
    files, refused = image_files(source)
    total = len(files)
    white = common_white(source / file for file in files if file not in refused)
    tell(_of_white(white))
    with progress_bar(f"Detecting on the images of {source.name}") as progress:
        for done, (file, image) in enumerate(images_in(source, pixel_scale, white), start=1):
            try:
                if isinstance(image, StampError):
                    raise image
                found = _objects(image, detector, score, None)
                found.add_column([file] * len(found), name="file", index=0)
                tables.append(found)
            except GalaxyLoopError as error:
                skipped[file] = error.message
            progress(done, total)
    tell([f"skipped {file}: {reason}" for file, reason in list(skipped.items())[:SHOWN_SKIPS]])
    if not tables:
        raise StampError(f"None of the {total} images in {source} can be used.", "The reasons stand above.")
    table = vstack([found for found in tables if len(found)] or tables[:1])
    write_table(table, out)
    read = {"images": len(tables), "skipped": len(skipped)}
    return {"table": str(out), **read, **_counted(table, detector)}


def _of_white(white: float | None) -> list[str]:
    """How bright white was taken to be, which nothing in a picture of more than 8 bits says."""
    return [] if white is None else [f"pictures of more than 8 bits: {white:,.0f} is white, by their brightest"]


def _objects(image: "WideFrame", detector: "TrainedDetector", score: float, progress: "Progress | None") -> "Table":
    """What an image shows, best first."""
    from lvm_training.inference.frames import looked_at
    from lvm_training.inference.merging import merged
    from lvm_training.inference.sky_table import sky_table
    from lvm_training.inference.wide_field import seen_on_tiles

    seen = seen_on_tiles(
        image.pixels,
        detector.predict,
        detector.rendering,
        kind=image.kind,
        pixel_scale=looked_at(image, detector.rendering),
        least=score,
        progress=progress,
    )
    if progress is None:
        return sky_table(merged(seen), image)
    with progress_bar("Making one of what several tiles show") as joining:
        return sky_table(merged(seen, joining), image)


def _counted(table: "Table", detector: "TrainedDetector") -> dict[str, Any]:
    counts = {name: int((table["class"] == name).sum()) for name in detector.classes}
    return {"objects": len(table), **counts, "cut": int(table["cut"].sum()), "detector": detector.digest}
