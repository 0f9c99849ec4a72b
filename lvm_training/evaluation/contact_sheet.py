"""Contact sheets: simulated galaxies beside real ones of the same class, for the eye to compare."""

import csv
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import typer
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from lvm_training.errors import LabelError, StampError
from lvm_training.galaxies.catalogue import MORPHOLOGIES
from lvm_training.images.fits import read_fits
from lvm_training.images.pictures import PICTURES, read_picture
from lvm_training.stamps.render import render, render_set
from lvm_training.stamps.rendering import Rendering
from lvm_training.stamps.stampset import LEGACY_PIXEL_SCALE, StampSet

Tile = NDArray[np.uint8]

UNLABELLED = "all classes"
RENDERING = Rendering(size=152, field=152 * LEGACY_PIXEL_SCALE)
_FITS = (".fits", ".fit", ".fits.gz", ".fits.fz")
# how public label tables write the five classes
_SPELLINGS = {
    "round_smooth": "round smooth",
    "in_between_smooth": "in-between smooth",
    "cigar_smooth": "cigar-shaped smooth",
    "edge_on": "edge-on disc",
} | {name: name for name in MORPHOLOGIES}


def simulated_tiles(stamps: StampSet, kind: str, count: int) -> list[Tile]:
    """The first `count` stamps of a class, or of the whole set for `UNLABELLED`, as (S, S, 3) pictures."""
    classes = stamps.column("morphology")
    rows = np.arange(len(stamps)) if kind == UNLABELLED else np.flatnonzero(classes == kind)
    pictures = render_set(stamps, rows[:count].astype(np.int64), RENDERING)
    return [tile(picture) for picture in pictures.numpy()]


def real_tiles(folder: Path, column: str) -> dict[str, list[Tile]]:
    """Pictures of a folder of Legacy Surveys images by class; all under `UNLABELLED` where there is no labels.csv.

    Parameters
    ----------
    folder : Path
        FITS cutouts (g, r, z, nanomaggies) or JPEG/PNG ones of 0.262 arcsec pixels; `labels.csv` names them in `file`.
    column : str
        The label column; values other than the five classes are passed over.

    Raises
    ------
    StampError, LabelError
        If the folder holds no images, or the table lacks the column or any of the five classes.
    """
    tiles: dict[str, list[Tile]] = defaultdict(list)
    for file, kind in _labelled_files(folder, column):
        tiles[kind].append(real_tile(file, RENDERING, pixel_scale=LEGACY_PIXEL_SCALE))
    return dict(tiles)


def _labelled_files(folder: Path, column: str) -> list[tuple[Path, str]]:
    table = folder / "labels.csv"
    if not table.is_file():
        return [(path, UNLABELLED) for path in image_files(folder)]
    with table.open(newline="", encoding="utf-8-sig") as stream:
        rows = list(csv.DictReader(stream))
    if rows and not {"file", column} <= set(rows[0]):
        raise LabelError(f"{table} needs the columns file and {column}.", f"It has: {', '.join(rows[0])}.")
    labelled = [(folder / row["file"], _SPELLINGS.get(row[column], row[column])) for row in rows]
    labelled = [(path, kind) for path, kind in labelled if kind in MORPHOLOGIES]
    if not labelled:
        raise LabelError(f"{table} names none of the classes {', '.join(MORPHOLOGIES)}.", "Name another column.")
    return labelled


def image_files(folder: Path) -> list[Path]:
    """The FITS, JPEG and PNG files of a folder and those below it, sorted.

    Raises
    ------
    StampError
        If there are none.
    """
    files = sorted(path for path in folder.rglob("*") if path.name.lower().endswith((*_FITS, *PICTURES)))
    if not files:
        raise StampError(f"There are no images in {folder}.", "Give a folder of FITS, JPEG or PNG cutouts.")
    return files


def is_fits(path: Path) -> bool:
    """Whether a file is FITS by its name, and so is rendered as simulated stamps are."""
    return path.name.lower().endswith(_FITS)


def real_tile(path: Path, rendering: Rendering, *, pixel_scale: float) -> Tile:
    """A real image rendered, a JPEG or PNG in the colours it has.

    Parameters
    ----------
    pixel_scale : float
        arcsec, where the file does not say; NaN shows the whole image.
    """
    if is_fits(path):
        stamp = read_fits(path)
        scale = pixel_scale if np.isnan(stamp.pixel_scale) else stamp.pixel_scale
        return tile(render(stamp.pixels[None], rendering, kind="nanomaggies", pixel_scale=scale)[0].numpy())
    pixels = read_picture(path)[None]
    return tile(render(pixels, rendering, kind="as-delivered", pixel_scale=pixel_scale, origin="upper")[0].numpy())


def tile(picture: NDArray[np.float32]) -> Tile:
    """A rendered picture (3, S, S) in [0, 1] as (S, S, 3) bytes."""
    return (np.moveaxis(picture, 0, -1) * 255).round().astype(np.uint8)


def contact_sheet(stamps: StampSet, real: dict[str, list[Tile]], *, columns: int = 6) -> Image.Image:
    """Per class as many rows as the real tiles fill, simulated ones left and real ones right."""
    blocks = []
    for kind in (*MORPHOLOGIES, UNLABELLED):
        if kind in real:
            rows = -(-len(real[kind]) // columns)
            simulated = simulated_tiles(stamps, kind, rows * columns)
            blocks.append(Block(f"{kind}: simulated", simulated, f"{kind}: real", real[kind]))
    return side_by_side(blocks, columns=columns)


class Block(NamedTuple):
    """Tiles under a title, and others beside them under theirs."""

    left_title: str
    left: Sequence[Tile]
    right_title: str
    right: Sequence[Tile]


def side_by_side(blocks: Sequence[Block], *, columns: int) -> Image.Image:
    """Blocks one under the other, each of as many rows as its tiles need."""
    size = max((len(one) for block in blocks for one in (*block.left, *block.right)), default=RENDERING.size)
    gap, title = 24, 26
    rows = [max(1, -(-max(len(block.left), len(block.right)) // columns)) for block in blocks]
    sheet = Image.new("RGB", (2 * columns * size + gap, sum(rows) * size + title * len(blocks)), "white")
    draw, font, top = ImageDraw.Draw(sheet), ImageFont.load_default(16), 0
    for block, count in zip(blocks, rows, strict=True):
        for left, heading, tiles in (
            (0, block.left_title, block.left),
            (columns * size + gap, block.right_title, block.right),
        ):
            draw.text((left + 4, top + 3), heading, "black", font)
            if tiles:
                sheet.paste(Image.fromarray(grid(tiles, count, columns)), (left, top + title))
        top += count * size + title
    return sheet


def grid(tiles: Sequence[Tile], rows: int, columns: int) -> Tile:
    """Tiles of one size row by row on white; those beyond the last place are left out."""
    size = len(tiles[0]) if tiles else RENDERING.size
    filled = np.full((rows * size, columns * size, 3), 255, np.uint8)
    for i, one in enumerate(tiles[: rows * columns]):
        top, left = i // columns * size, i % columns * size
        filled[top : top + size, left : left + size] = one
    return filled


def main(
    real: Annotated[Path, typer.Option(help="Folder of real Legacy Surveys images.")],
    stamps: Annotated[Path, typer.Option(help="The simulated stamp set.")] = Path("build/stamps/morphology.h5"),
    out: Annotated[Path, typer.Option(help="The PNG to write.")] = Path("build/contact-sheet.png"),
    column: Annotated[str, typer.Option(help="Label column of the folder's labels.csv.")] = "morphology5",
    columns: Annotated[int, typer.Option(help="Tiles in a row, simulated and real each.", min=1)] = 6,
) -> None:
    """Write the contact sheet of a simulated set beside a real folder."""
    with StampSet(stamps) as opened:
        sheet = contact_sheet(opened, real_tiles(real, column), columns=columns)
    out.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(out)
    typer.echo(f"{out}: {sheet.width} x {sheet.height} pixels")


if __name__ == "__main__":
    typer.run(main)
