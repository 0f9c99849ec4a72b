"""`galaxyloop restore`: a stamp set without its noise, with an error for each pixel."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backend_ml.cli.options import Json
from backend_ml.console import reported, show, tell
from lvm_training.paths import RELEASED_LVM
from lvm_training.progress import progress_bar

if TYPE_CHECKING:
    from lvm_training.restoration.restorer import Restorer
    from lvm_training.stamps.stampset import StampSet

HDF5 = (".h5", ".hdf5")
SIMULATED = "on simulated galaxies"
VIEWS = 4  # as `Restorer`, which takes seconds to import


def restore(
    stamps: Annotated[Path, typer.Argument(help="A stamp set (HDF5); `galaxyloop data import` makes one.")],
    out: Annotated[Path, typer.Option(help="A file .h5, or a folder for one FITS file a stamp.")],
    model: Annotated[Path, typer.Option(help="Folder of a checkpoint of ours, whose decoder restores.")] = RELEASED_LVM,
    views: Annotated[int, typer.Option(help="Symmetries that each tile is restored in, 1 to 8.")] = VIEWS,
    force: Annotated[bool, typer.Option(help="Write over a finished .h5, or files of another model or set.")] = False,
    as_json: Json = False,
) -> None:
    """Take the noise out of every stamp: same pixels, same units, same flux, with an error for each pixel.

    The errors cover the truth 68 times in a hundred, as measured on simulated galaxies. Columns and positions are kept.
    A run that was killed goes on where it was; damaged stamps are flagged, and all others restored.
    """
    from lvm_training.errors import OutputError
    from lvm_training.restoration.restored_fits import check_earlier
    from lvm_training.restoration.restorer import Restorer
    from lvm_training.stamps.stampset import StampSet

    with reported():
        if out.suffix and out.suffix.lower() not in HDF5 and not out.is_dir():
            raise OutputError(
                f"A restoration cannot be written to {out.name}.",
                "Name a file that ends in .h5, or a folder for FITS files.",
            )
        if out.exists() and stamps.exists() and out.samefile(stamps):
            raise OutputError(f"{out} is what is to be restored.", "Name another file.")
        with StampSet(stamps) as opened:
            _check(out, opened, force=force)
            restorer = Restorer.load(model, views=views)
            if not (force or _is_file(out)):
                check_earlier(out, opened, restorer)
            told, notes = _restored(opened, restorer, out)
    show(told if as_json else told | {SIMULATED: _with_unit(told[SIMULATED])}, as_json=as_json)
    tell(notes)


def _with_unit(accuracy: dict[str, float]) -> dict[str, float]:
    """An accuracy as people read it: of these numbers the gain of PSNR alone has a unit."""
    return {"gain of PSNR in dB" if name == "gain" else name: value for name, value in accuracy.items()}


def _is_file(out: Path) -> bool:
    return out.suffix.lower() in HDF5 and not out.is_dir()


def _check(out: Path, stamps: "StampSet", *, force: bool) -> None:
    from lvm_training.errors import OutputError
    from lvm_training.files import try_writing
    from lvm_training.restoration.restored_fits import check_folder
    from lvm_training.restoration.restored_set import check_set

    if not _is_file(out):
        check_folder(out, stamps)
        return
    check_set(out, force=force)
    try:
        try_writing(out.parent)
    except OSError as error:
        raise OutputError(f"Nothing can be written to {out}: {error.strerror}.", "Choose another place.") from error


def _restored(stamps: "StampSet", restorer: "Restorer", out: Path) -> tuple[dict[str, Any], list[str]]:
    from lvm_training.restoration.batches import DAMAGED, FLAGS, provenance
    from lvm_training.restoration.restored_fits import restore_files
    from lvm_training.restoration.restored_set import restore_to
    from lvm_training.stamps.stampset import StampSet

    flags: list[str] = []
    with progress_bar("Reading errors off simulated galaxies"):
        about = provenance(stamps, restorer)
    with progress_bar("Restoring stamps") as progress:
        if _is_file(out):
            with StampSet(restore_to(out, stamps, restorer, progress=progress)) as made:
                flags = [str(value) for value in made.column(FLAGS)]
        else:
            for batch in restore_files(out, stamps, restorer, progress=progress):
                flags += [str(value) for value in batch.columns[FLAGS]]
    said = [flag for found in flags for flag in found.split(";") if flag]
    counts = {flag: said.count(flag) for flag in sorted(set(said))}
    told = {
        "out": str(out),
        "stamps": len(stamps),
        "restored": len(flags) - counts.get(DAMAGED, 0),
        "flagged": counts,
        "model": about["model"],
        SIMULATED: about["accuracy"],
    }
    return told, _notes(stamps, counts)


def _notes(stamps: "StampSet", counts: dict[str, int]) -> list[str]:
    from lvm_training.restoration.batches import MEANINGS

    notes = [f"{count} × {flag}: {MEANINGS[flag]}." for flag, count in counts.items()]
    if stamps.rendering == "as-delivered":
        notes.append("Pictures as delivered: restored in their own 256 levels, not in units of flux.")
    elif stamps.pixel_scale != stamps.pixel_scale:
        notes.append("The pixel scale is unknown: it is taken as 0.262 arcsec.")
    return notes
