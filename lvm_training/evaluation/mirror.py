"""The simulator's mirror: what simulated stamps alone teach, judged on real pictures class by class, and shown.

How far the AUC of a class stays below that of people's labels is how far the simulator is from the sky.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import torch
import typer
from PIL import Image

from lvm_training.errors import LabelError, StampError
from lvm_training.evaluation.contact_sheet import Block, Tile, side_by_side, tile
from lvm_training.evaluation.real_lenses import real_data
from lvm_training.evaluation.real_sets import RealSet, read_set, set_folders
from lvm_training.files import write_json
from lvm_training.model.encoder import Encoder
from lvm_training.paths import MIRROR, MIRROR_FIGURE, RELEASED_LVM
from lvm_training.progress import Progress, progress_bar
from lvm_training.scenes.simulated_classes import SIMULATED, simulated_labels
from lvm_training.simulated.drawing import draw_stamps
from lvm_training.simulated.simulated_set import STAMPS, SimulatedSet, drawn_set, standardised
from lvm_training.simulated.zero_label import zero_label_auc
from lvm_training.stamps.rendering import Rendering

PICTURES = 150  # of a class; half of 300 pictures are of it: an AUC of .7 is known to .03
CHUNK = 64
TILES = 6  # pictures of a class in the figure, real and drawn each
SHOWN_BATCHES = 10  # of simulated stamps that the figure's are taken from


class Reflection(NamedTuple):
    """What simulated labels are worth on one real set in one task.

    Attributes
    ----------
    name : str
        The set.
    task : str
        Key of `SIMULATED`.
    auc : mapping of str to float
        By class, against the others.
    """

    name: str
    task: str
    auc: Mapping[str, float]


def reflections(
    encoder: Encoder, simulated: SimulatedSet, sets: Sequence[RealSet], *, progress: Progress | None = None
) -> list[Reflection]:
    """The AUC without a human label of each class of each task of real sets, in their order."""
    found, done, total = [], 0, sum(len(real.pictures) for real in sets)
    for real in sets:
        rows = []
        for chunk in torch.split(real.pictures, CHUNK):
            rows.append(encoder.features(chunk.float() / 255))
            done += len(chunk)
            if progress is not None:
                progress(done, total)
        standard = standardised(torch.cat(rows).numpy())
        for task, labels in real.labels.items():
            auc = zero_label_auc(simulated, SIMULATED[task], standard, labels) if task in SIMULATED else {}
            if auc:
                found.append(Reflection(real.name, task, auc))
    return found


def figures(found: Sequence[Reflection]) -> dict[str, float]:
    """`<set>/<task>`, the mean over classes, and `<set>/<task>/<class>` where there are more than two."""
    values: dict[str, float] = {}
    for name, task, auc in found:
        values[f"{name}/{task}"] = float(np.mean(list(auc.values())))
        if len(auc) > 2:
            values |= {f"{name}/{task}/{kind}": value for kind, value in auc.items()}
    return values


def mirror_sheet(found: Sequence[Reflection], sets: Sequence[RealSet], rendering: Rendering) -> Image.Image:
    """Real pictures beside drawn ones, a row for each class, with its AUC."""
    by_name = {real.name: real for real in sets}
    drawn, blocks = _drawn_tiles(rendering), []
    for name, task, auc in found:
        labels, pictures = by_name[name].labels[task], by_name[name].pictures
        for kind, value in auc.items():
            rows = torch.from_numpy(np.flatnonzero(labels == kind)[:TILES])
            real = [np.moveaxis(one.numpy(), 0, -1) for one in pictures[rows]]
            concept = SIMULATED[task][kind]
            blocks.append(Block(f"{name}: {concept}, AUC {value:.2f}", real, "drawn", drawn[task, kind]))
    return side_by_side(blocks, columns=TILES)


def _drawn_tiles(rendering: Rendering) -> dict[tuple[str, str], list[Tile]]:
    """The first drawn stamps of each class of each task."""
    tiles: dict[tuple[str, str], list[Tile]] = {(task, kind): [] for task, kinds in SIMULATED.items() for kind in kinds}
    for number in range(SHOWN_BATCHES):
        stamps = draw_stamps(number, rendering)
        for task, kinds in SIMULATED.items():
            labels = simulated_labels(stamps.drawn, kinds)
            for kind in kinds:
                wanted = TILES - len(tiles[task, kind])
                rows = np.flatnonzero(labels == kind)[:wanted]
                tiles[task, kind] += [tile(stamps.pictures[int(row)].cpu().numpy()) for row in rows]
    return tiles


def hold_up(
    encoder: Encoder,
    simulated: SimulatedSet,
    root: Path,
    *,
    pictures: int = PICTURES,
    out: Path = MIRROR,
    figure: Path = MIRROR_FIGURE,
    progress: Progress | None = None,
) -> dict[str, float]:
    """Measure on the real sets below `root` and write the figures and the picture.

    Sets that cannot be read are named and left out, and so it is said where there is none.
    """
    sets = _readable_sets(root, encoder.rendering, pictures)
    found = reflections(encoder, simulated, sets, progress=progress)
    if not found:
        typer.echo(f"The simulator's mirror: no pictures with labels that it can draw in {root}.")
        return {}
    values = figures(found)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_json(out, {"encoder": encoder.digest, "simulated": len(simulated), "auc": values})
    figure.parent.mkdir(parents=True, exist_ok=True)
    mirror_sheet(found, sets, encoder.rendering).save(figure)
    for name, value in values.items():
        typer.echo(f"{value:.3f}  {name}")
    return values


def _readable_sets(root: Path, rendering: Rendering, most: int) -> list[RealSet]:
    sets = []
    for folder in set_folders(root):
        try:
            real = read_set(folder, rendering, most=most)
        except (LabelError, StampError) as error:
            typer.echo(f"The simulator's mirror: {folder.name} is left out. {error}")
            continue
        if real is not None:
            sets.append(real)
    return sets


def main(
    real: Annotated[
        Path | None, typer.Option(help="Folder of real sets, or one set; default: GALAXYLOOP_REAL_DATA.")
    ] = None,
    encoder: Annotated[Path, typer.Option(help="Folder of the encoder's checkpoint.")] = RELEASED_LVM,
    stamps: Annotated[int, typer.Option(help="Simulated stamps that teach.", min=60)] = STAMPS,
    pictures: Annotated[int, typer.Option(help="Most real pictures of a class.", min=2)] = PICTURES,
) -> None:
    """Write build/mirror.json and build/plots/mirror.png: zero-label AUC by class, real pictures beside drawn ones."""
    root = real_data() if real is None else real
    if not set_folders(root):
        typer.echo(f"The simulator's mirror: left out, there are no sets with a labels.csv in {root}.")
        return
    loaded = Encoder.load(encoder)
    with progress_bar("Simulated stamps") as progress:
        simulated = drawn_set(loaded, stamps, progress=progress)
    with progress_bar("Real pictures") as progress:
        hold_up(loaded, simulated, root, pictures=pictures, progress=progress)


if __name__ == "__main__":
    typer.run(main)
