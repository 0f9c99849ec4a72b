"""Arcs on given stamps: real galaxies made to lens sources of the simulated population, with the truth.

What `lens_stamps.draw_lens_stamps` does with simulated galaxies. The stamps' own noise is measured; their PSF is not
known, so that of the arcs is drawn from the survey's.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from lvm_training.errors import StampError
from lvm_training.files import write_json
from lvm_training.lenses.deflectors import Deflector, find_deflector, sky_noise
from lvm_training.lenses.lens_sets import SPLITS
from lvm_training.lenses.lens_stamps import FIELD, OBJECTS, LensPopulation, einstein_radii, labelled_light
from lvm_training.lenses.lensing import Lens, draw_lens, inject, lensed_light
from lvm_training.lenses.lookalikes import LENS
from lvm_training.objects.coco import coco_document
from lvm_training.objects.instances import Instances
from lvm_training.observation.exposure import draw_psf
from lvm_training.progress import Progress
from lvm_training.stamps.stampset import LEGACY_PIXEL_SCALE, StampSet, StampWriter

STAMPS, TRUTH = "lenses.h5", "lenses.json"
SPLIT_SHARES = (0.6, 0.2, 0.2)  # of `SPLITS`
DRAWS = 30  # of a lens until its arcs are seen
BATCH = 100


class InjectedLenses(NamedTuple):
    """Stamps with arcs.

    Attributes
    ----------
    bands : ndarray (N, 3, S, S)
        g, r, z as in the set they come from, `FIELD` arcsec wide, row 0 at the top; NaN where the stamp has none.
    rows : ndarray (N,)
        Which of the set's stamps they are.
    objects : tuple of Instances
        The arcs and the deflector of each.
    lenses : tuple of Lens
        What was drawn.
    notes : tuple of str
        What was left out, and why.
    """

    bands: NDArray[np.float32]
    rows: NDArray[np.int64]
    objects: tuple[Instances, ...]
    lenses: tuple[Lens, ...]
    notes: tuple[str, ...]


class _Seen(NamedTuple):
    bands: NDArray[np.float32]
    truth: Instances
    lens: Lens


def inject_lenses(
    stamps: StampSet, rows: Sequence[int] | NDArray[np.int64], population: LensPopulation, seed: int
) -> InjectedLenses:
    """Put arcs around the galaxies in the middle of some stamps; each depends on `seed` and its row alone.

    The deflector is the galaxy itself: the mass follows its light, its mask is where its r profile is above
    `GALAXY_SIGNIFICANCE` times the noise. Lenses are drawn again until their arcs are seen, as simulated ones are.

    Parameters
    ----------
    rows : sequence of int
        Which stamps, each once. One without a galaxy in the middle, without sky to measure, or whose galaxy outshines
        all arcs drawn is left out with a note.
    population : LensPopulation
        What Einstein radii and signal-to-noise ratios are drawn from.
    seed : int
        Of lenses, PSF and photon noise.

    Raises
    ------
    StampError
        If the set holds no fluxes, its pixel scale is not known, its stamps are not square or narrower than `FIELD`,
        or there is no such row.
    """
    side = _side(stamps)
    tried = {int(row): _injected(stamps, int(row), side, population, seed) for row in rows}
    kept = {row: one for row, one in tried.items() if not isinstance(one, str)}
    return InjectedLenses(
        np.stack([one.bands for one in kept.values()]) if kept else np.zeros((0, 3, side, side), np.float32),
        np.array(list(kept), dtype=np.int64),
        tuple(one.truth for one in kept.values()),
        tuple(one.lens for one in kept.values()),
        tuple(f"Stamp {row} was left out: {why}." for row, why in tried.items() if isinstance(why, str)),
    )


def _injected(stamps: StampSet, row: int, side: int, population: LensPopulation, seed: int) -> _Seen | str:
    """A stamp of `side` pixels with arcs, or why it is left out."""
    # fluxes per pixel become those per survey pixel, which everything drawn is in
    scale = np.float32((LEGACY_PIXEL_SCALE / stamps.pixel_scale) ** 2)
    whole = np.asarray(stamps.pixels([row])[0] * scale, dtype=np.float32)
    upright = whole[:, ::-1] if stamps.origin == "lower" else whole
    noise, start = sky_noise(whole), (upright.shape[1] - side) // 2
    given = np.ascontiguousarray(upright[:, start : start + side, start : start + side])
    found = find_deflector(given[1], float(noise[1])) if (noise > 0).all() else None
    if found is None:
        return "no galaxy in its middle stands out"
    seen = _first_seen(given, found, noise, population, stamps.pixel_scale, (seed, row))
    return "its galaxy outshines all arcs drawn" if seen is None else seen._replace(bands=seen.bands / scale)


def _side(stamps: StampSet) -> int:
    """Pixels of `FIELD` arcsec on a set's stamps."""
    if stamps.rendering != "nanomaggies" or np.isnan(stamps.pixel_scale):
        raise StampError(
            f"{stamps.name} holds no fluxes of a known pixel scale, which arcs are added to.",
            "Import FITS files with fluxes in nanomaggies; pictures as delivered will not do.",
        )
    side = round(FIELD / stamps.pixel_scale)
    if stamps.shape[0] != stamps.shape[1] or stamps.shape[0] < side:
        raise StampError(
            f"Stamps of {stamps.shape[0]} x {stamps.shape[1]} pixels are not square, or narrower than {FIELD} arcsec.",
            f"Import them with `--size {side}` or more.",
        )
    return side


def _first_seen(
    given: NDArray[np.float32],
    deflector: Deflector,
    noise: NDArray[np.float64],
    population: LensPopulation,
    pixel_scale: float,
    seed: tuple[int, int],
) -> _Seen | None:
    """The first lens drawn whose arcs are seen on a stamp (3, S, S); None if none is."""
    rng, side = np.random.default_rng(seed), given.shape[-1]
    field = side * pixel_scale
    psf, sky = draw_psf(1, pixel_scale, rng), torch.from_numpy(noise[None]).float()
    (limits,) = einstein_radii(population, psf[:, 1].numpy() * pixel_scale, np.zeros(1, dtype=bool))
    low, high = np.log(population.signal_to_noise)
    known = np.isfinite(given).all(axis=0)
    around = torch.from_numpy(np.where(known, given[1], 0).clip(min=0))[None]
    alone = torch.from_numpy(deflector.light * known).float()[None, None]
    for _ in range(DRAWS):
        lens = draw_lens(deflector.axis_ratio, deflector.angle, limits, rng)
        light = torch.from_numpy(lensed_light(lens, size=side, field=field))[None]
        signal = [float(np.exp(rng.uniform(low, high)))]
        injected = inject(torch.from_numpy(given)[None], light, psf=psf, noise=sky, rng=rng, signal=signal)
        arcs = injected.arcs * torch.from_numpy(known)
        (truth,), seen = labelled_light(np.array([LENS]), alone, arcs, around, sky)
        if seen[0]:
            return _Seen(injected.observed[0].numpy(), truth, lens)
    return None


def write_injected_lenses(
    stamps: StampSet,
    folder: Path,
    population: LensPopulation,
    *,
    seed: int = 0,
    limit: int | None = None,
    progress: Progress | None = None,
) -> tuple[int, tuple[str, ...]]:
    """Put arcs on a set's stamps, or its first `limit`, and write `lenses.h5` and `lenses.json` as `write_lenses` does.

    What a killed run wrote is kept. Columns: `split` (at random, `SPLIT_SHARES`), `kind`, `einstein_radius` (arcsec),
    and `row`, the stamp of the set given.

    Returns
    -------
    int, tuple of str
        How many stamps were written, and what was left out.

    Raises
    ------
    StampError
        As `inject_lenses`, or if no stamp is left.
    """
    side, total = _side(stamps), len(stamps) if limit is None else min(limit, len(stamps))
    folder.mkdir(parents=True, exist_ok=True)
    source = f"arcs on {stamps.name} {stamps.digest}, {total} stamps, seed {seed}, {population}"
    objects, notes = list[Instances](), list[str]()
    writer = StampWriter(folder / STAMPS, (side, side), pixel_scale=stamps.pixel_scale, origin="upper", source=source)
    try:
        done = len(writer)
        splits = np.random.default_rng((seed, total)).choice(SPLITS, total, p=SPLIT_SHARES)
        for drawn in _batches(stamps, total, population, seed, progress):
            objects.extend(drawn.objects)
            notes.extend(drawn.notes)
            if len(objects) > done and len(drawn.rows):
                writer.append(drawn.bands, _columns(drawn, splits))
        if not objects:
            raise StampError(f"None of {total} stamps of {stamps.name} shows a galaxy that arcs can be put around.")
        writer.finish()
    finally:
        writer.close()
    write_json(folder / TRUTH, coco_document(objects, OBJECTS, names=[str(row) for row in range(len(objects))]))
    return len(objects), tuple(notes)


def _batches(
    stamps: StampSet, total: int, population: LensPopulation, seed: int, progress: Progress | None
) -> Iterator[InjectedLenses]:
    for start in range(0, total, BATCH):
        stop = min(start + BATCH, total)
        yield inject_lenses(stamps, np.arange(start, stop), population, seed)
        if progress is not None:
            progress(stop, total)


def _columns(drawn: InjectedLenses, splits: NDArray[np.str_]) -> dict[str, NDArray[np.generic]]:
    return {
        "split": splits[drawn.rows],
        "kind": np.full(len(drawn.rows), LENS),
        "einstein_radius": np.array([lens.einstein_radius for lens in drawn.lenses]),
        "row": drawn.rows,
    }
