"""Contact sheets of lenses: simulated ones, what is mistaken for them, and real ones, for the eye to compare."""

import csv
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import typer
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import binary_erosion

from lvm_training.errors import LabelError
from lvm_training.evaluation.contact_sheet import Tile, grid, image_files, is_fits, real_tile, tile
from lvm_training.evaluation.plots import OUTLINES
from lvm_training.lenses.lens_sets import population_of, simulated_pictures
from lvm_training.lenses.lens_stamps import FIELD, OBJECTS, SIZE, LensPopulation, LensStamps, draw_lens_stamps
from lvm_training.lenses.lookalikes import LOOK_ALIKES
from lvm_training.objects.instances import Instances, Masks
from lvm_training.params import load_params
from lvm_training.stamps.render import render
from lvm_training.stamps.rendering import Rendering

ENLARGED = 2  # picture pixels per stamp pixel
RENDERING = Rendering(size=ENLARGED * SIZE, field=FIELD)
LENS_ROWS, REAL_ROWS = 2, 2
TITLE = 26  # pixels above the tiles
COLOURS = dict(zip(OBJECTS, OUTLINES, strict=False))


class Block(NamedTuple):
    """Tiles under a title."""

    title: str
    tiles: list[Tile]


def simulated_blocks(population: LensPopulation, columns: int, *, seed: int) -> list[Block]:
    """Simulated lenses, as the survey and as others show them, a row of each kind of look-alike, and the first lenses
    with their objects."""
    lenses = draw_lens_stamps(LENS_ROWS * columns, np.random.default_rng(seed), replace(population, lens_share=1.0))
    blocks = [Block("simulated: lenses", _tiles(lenses)), _other_surveys(columns, seed)]
    for place, kind in enumerate(LOOK_ALIKES):
        shares = tuple(float(other == kind) for other in LOOK_ALIKES)
        alone = replace(population, lens_share=0.0, look_alikes=shares)
        drawn = draw_lens_stamps(columns, np.random.default_rng((seed, place)), alone)
        blocks.append(Block(f"simulated: no lenses, {kind.replace('_', ' ')}", _tiles(drawn)))
    shown = [marked(one, truth) for one, truth in zip(_tiles(lenses), lenses.objects, strict=True)]
    title = "simulated: the first lenses with boxes and masks; arcs cyan, deflectors red, other galaxies yellow"
    return [*blocks, Block(title, shown[:columns])]


def _other_surveys(columns: int, seed: int) -> Block:
    rng, count = np.random.default_rng(seed), LENS_ROWS * columns
    shown, _ = simulated_pictures(count, rng, LensPopulation(), RENDERING, realism=1.0)
    tiles = [tile(one) for one in shown.numpy()]
    return Block("simulated: lenses and look-alikes as other surveys show them", tiles)


def _tiles(drawn: LensStamps) -> list[Tile]:
    return [tile(one) for one in render(drawn.bands, RENDERING, kind="nanomaggies", origin="upper").numpy()]


def marked(shown: Tile, truth: Instances) -> Tile:
    """A tile (S, S, 3) with the box and the outline of each object; the truth may be on a coarser grid."""
    scale = len(shown) // truth.shape[0]
    pixels = shown.copy()
    for name, box, mask in zip(truth.classes, truth.boxes, truth.masks, strict=True):
        x0, y0, x1, y1 = (box * scale).round().astype(int)
        inside = np.zeros(pixels.shape[:2], dtype=bool)
        inside[y0:y1, x0:x1] = True
        colour = [int(COLOURS[name][start : start + 2], 16) for start in (1, 3, 5)]
        pixels[_rim(inside) | _rim(mask.repeat(scale, axis=0).repeat(scale, axis=1))] = colour
    return pixels


def _rim(mask: Masks) -> Masks:
    rim: Masks = mask & ~binary_erosion(mask)
    return rim


def real_blocks(folder: Path, columns: int, *, pixel_scale: float, column: str) -> list[Block]:
    """Real images by the values of a column of the folder's labels.csv, the first of each; without a table, all as one.

    Parameters
    ----------
    folder : Path
        FITS cutouts (g, r, z, nanomaggies), JPEG or PNG; `labels.csv` names them in `file`.
    pixel_scale : float
        arcsec, where a file does not say; NaN shows the whole image, and the title says so.
    column : str
        The column; where the table has none of this name, all are one block.

    Raises
    ------
    StampError, LabelError
        If the folder holds no images, or its table names none.
    """
    known = "of unknown pixel scale, whole" if np.isnan(pixel_scale) else f"{pixel_scale:g} arcsec a pixel"
    blocks = []
    for kind, files in _by_kind(folder, column).items():
        tiles = [real_tile(path, RENDERING, pixel_scale=pixel_scale) for path in files[: REAL_ROWS * columns]]
        title = f"real: {kind.replace('_', ' ')}, {len(tiles)} of {len(files)}"
        unlike = "" if all(map(is_fits, files)) else f"; pictures in their own colours, {known}"
        blocks.append(Block(title + unlike, tiles))
    return blocks


def _by_kind(folder: Path, column: str) -> dict[str, list[Path]]:
    table, everything = folder / "labels.csv", "all"
    if not table.is_file():
        return {everything: image_files(folder)}
    with table.open(newline="", encoding="utf-8-sig") as stream:
        rows = list(csv.DictReader(stream))
    if not rows or "file" not in rows[0]:
        raise LabelError(f"{table} names no images.", "Give it a column `file` and a row per image.")
    kinds: dict[str, list[Path]] = defaultdict(list)
    for row in rows:
        kinds[row.get(column) or everything].append(folder / row["file"])
    return dict(kinds)


def lens_contact_sheet(blocks: Sequence[Block], columns: int) -> Image.Image:
    """Blocks below one another, each as many rows as its tiles fill."""
    grids = [(title, grid(tiles, -(-len(tiles) // columns), columns)) for title, tiles in blocks]
    width, height = columns * RENDERING.size, sum(len(filled) + TITLE for _, filled in grids)
    sheet = Image.new("RGB", (width, height), "white")
    draw, font, top = ImageDraw.Draw(sheet), ImageFont.load_default(16), 0
    for title, filled in grids:
        draw.text((4, top + 3), title, "black", font)
        sheet.paste(Image.fromarray(filled), (0, top + TITLE))
        top += len(filled) + TITLE
    return sheet


def main(
    real: Annotated[Path | None, typer.Option(help="Folder of real lenses.")] = None,
    out: Annotated[Path, typer.Option(help="The PNG to write.")] = Path("build/contact-sheet-lenses.png"),
    pixel_scale: Annotated[float, typer.Option(help="Of the real pictures, arcsec; unknown if not given.")] = np.nan,
    column: Annotated[str, typer.Option(help="Column of the folder's labels.csv to sort by.")] = "category",
    columns: Annotated[int, typer.Option(help="Tiles in a row.", min=1)] = 12,
    seed: Annotated[int, typer.Option(help="Of what is drawn.", min=0)] = 1,
) -> None:
    """Write the contact sheet of the active profile's simulated lenses, beside a folder of real ones if given."""
    blocks = simulated_blocks(population_of(load_params().lenses), columns, seed=seed)
    if real is not None:
        # the real ones stand below the lenses they are compared with
        blocks[1:1] = real_blocks(real, columns, pixel_scale=pixel_scale, column=column)
    sheet = lens_contact_sheet(blocks, columns)
    out.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(out)
    typer.echo(f"{out}: {sheet.width} x {sheet.height} pixels")


if __name__ == "__main__":
    typer.run(main)
