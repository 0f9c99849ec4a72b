"""Sets of simulated lenses on disk: stamps as HDF5, the truth as COCO, and both read back by split."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from lvm_training.errors import StampError
from lvm_training.files import write_json
from lvm_training.lenses.lens_stamps import (
    FIELD,
    OBJECTS,
    OTHER_SURVEYS,
    SIZE,
    LensPopulation,
    LensStamps,
    draw_lens_stamps,
)
from lvm_training.lenses.lookalikes import LENS, LOOK_ALIKES
from lvm_training.objects.coco import coco_document, read_coco
from lvm_training.objects.instances import Instances
from lvm_training.observation.appearance import varied
from lvm_training.observation.survey_marks import survey_marks
from lvm_training.params import LensesParams
from lvm_training.progress import Progress
from lvm_training.stamps.render import render, render_set, surface_brightness
from lvm_training.stamps.rendering import Rendering
from lvm_training.stamps.stampset import LEGACY_PIXEL_SCALE, StampSet, StampWriter

POOL_BATCH = 500
SPLITS = ("train", "validation", "test")
SATURATION, BALANCE = (0.5, 2.2), 0.4  # of the colours on them
VARIED = 0.75  # of the pictures as other surveys show them, those that are stretched otherwise


class LensSplit(NamedTuple):
    """Labelled pictures of a split.

    Attributes
    ----------
    images : Tensor (N, 3, S, S)
        Rendered pictures.
    truths : list of Instances
        Their objects.
    kinds : ndarray (N,) of str
        What each shows: a lens or one of the look-alikes.
    """

    images: torch.Tensor
    truths: list[Instances]
    kinds: NDArray[np.str_]

    @property
    def positive(self) -> NDArray[np.bool_]:
        """Which pictures show a lens (N,)."""
        return np.asarray(self.kinds == LENS)


def population_of(params: LensesParams) -> LensPopulation:
    """What the parameters ask to draw from.

    Raises
    ------
    StampError
        If a share or a limit is out of range, or a kind of look-alike missing or unknown.
    """
    if params.look_alikes.keys() != set(LOOK_ALIKES):
        raise StampError(
            f"Look-alikes are {', '.join(LOOK_ALIKES)}, not {', '.join(params.look_alikes)}.",
            "Give each of them a share in params.yaml.",
        )
    return LensPopulation(
        params.lens_share,
        params.einstein_radius,
        params.signal_to_noise,
        tuple(params.look_alikes[name] for name in LOOK_ALIKES),
    )


def write_lenses(stamps: Path, truth: Path, params: LensesParams, *, progress: Progress | None = None) -> None:
    """Draw the three splits and write stamps and truth; what a killed run wrote is kept.

    A split's stamps depend on the seed, the population and its own size alone. Columns: `split`, `kind`, and
    `einstein_radius` (arcsec; NaN without a lens).

    Raises
    ------
    StampError
        As `population_of` and `draw_lens_stamps`.
    """
    sizes, population = [int(getattr(params, split)) for split in SPLITS], population_of(params)
    writer = StampWriter(stamps, (SIZE, SIZE), origin="upper", source=f"lenses {params.model_dump_json()}")
    objects: list[Instances] = []
    try:
        done = len(writer)
        for place, (split, size) in enumerate(zip(SPLITS, sizes, strict=True)):
            drawn = draw_lens_stamps(size, np.random.default_rng((params.seed, place)), population)
            objects.extend(drawn.objects)
            if len(objects) > done:
                writer.append(drawn.bands, _columns(drawn, split))
            if progress is not None:
                progress(len(objects), sum(sizes))
        writer.finish()
    finally:
        writer.close()
    write_json(truth, coco_document(objects, OBJECTS, names=[str(row) for row in range(len(objects))]))


def _columns(drawn: LensStamps, split: str) -> dict[str, NDArray[np.generic]]:
    radii = [np.nan if lens is None else lens.einstein_radius for lens in drawn.lenses]
    return {"split": np.full(len(radii), split), "kind": drawn.kinds, "einstein_radius": np.array(radii)}


def read_lenses(stamps: Path, truth: Path, split: str, rendering: Rendering, *, limit: int | None = None) -> LensSplit:
    """The pictures of a split, or its first `limit`.

    Raises
    ------
    StampError
        If the split has fewer, the truth is missing or truncated, or stamps and truth do not belong together.
    InstanceError
        As `read_coco`.
    """
    pictures, _ = read_coco(_document(truth), OBJECTS)
    with StampSet(stamps) as opened:
        if len(pictures) != len(opened):
            raise StampError(
                f"{truth} describes {len(pictures)} stamps, {stamps} holds {len(opened)}.", "Draw both anew."
            )
        rows = np.flatnonzero(opened.column("split") == split)
        if not len(rows) or len(rows) < (limit or 0):
            raise StampError(f"Split {split!r} of {stamps} has {len(rows)} stamps.", "Raise its size in params.yaml.")
        rows = rows[:limit]
        kinds = np.array([str(kind) for kind in opened.column("kind")[rows]])
        truths = [pictures[row].instances.on_grid(rendering.size) for row in rows]
        return LensSplit(render_set(opened, rows, rendering), truths, kinds)


def _document(truth: Path) -> object:
    try:
        return json.loads(truth.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StampError(f"There is no readable truth at {truth} ({error}).", "Draw stamps and truth anew.") from error


def draw_pool(
    size: int, prevalence: float, population: LensPopulation, rendering: Rendering, *, seed: int
) -> Iterator[tuple[torch.Tensor, NDArray[np.bool_]]]:
    """A pool of `size` stamps in batches: pictures (n, 3, S, S), and which of them show a lens (n,).

    Its stamps are none of a set's of the same seed.
    """
    rare = replace(population, lens_share=prevalence)
    for number, start in enumerate(range(0, size, POOL_BATCH)):
        count = min(POOL_BATCH, size - start)
        drawn = draw_lens_stamps(count, np.random.default_rng((seed, len(SPLITS), number)), rare)
        pictures = render(drawn.bands, rendering, kind="nanomaggies", origin="upper")
        yield pictures, np.asarray(drawn.kinds == LENS)


def simulated_pictures(
    count: int, rng: np.random.Generator, population: LensPopulation, rendering: Rendering, *, realism: float = 0.0
) -> tuple[torch.Tensor, list[Instances]]:
    """Simulated pictures (M, 3, S, S) of a rendering, and their objects on them.

    Stamps are drawn in the survey's own pixels over the rendering's field and rendered as a team's are, so that PSF and
    noise look alike at every size of the picture.

    Parameters
    ----------
    realism : float
        Share of the pictures that are shown as other surveys and viewers would show them, marks, JPEG and all.

    Raises
    ------
    StampError
        As `draw_lens_stamps`.
    """
    side = round(rendering.field / LEGACY_PIXEL_SCALE)
    field, others = side * LEGACY_PIXEL_SCALE, round(realism * count)
    stamps = draw_lens_stamps(count - others, rng, population, size=side, field=field)
    pictures = render(stamps.bands, rendering, kind="nanomaggies", origin="upper")
    truths = [truth.on_grid(rendering.size) for truth in stamps.objects]
    if not others:
        return pictures, truths
    foreign = draw_lens_stamps(others, rng, OTHER_SURVEYS, size=side, field=field)
    light = surface_brightness(foreign.bands, rendering, pixel_scale=LEGACY_PIXEL_SCALE, origin="upper")
    shown = survey_marks(
        varied(light, rendering, rng, share=VARIED, saturation=SATURATION, balance=BALANCE), rng, "cpu"
    )
    truths += [truth.on_grid(rendering.size) for truth in foreign.objects]
    order = rng.permutation(count)
    return torch.cat([pictures, shown])[torch.from_numpy(order)], [truths[row] for row in order]


def lens_rendering(size: int) -> Rendering:
    """The rendering that detectors of lenses read: the stamps' own field."""
    return Rendering(size=size, field=FIELD)
