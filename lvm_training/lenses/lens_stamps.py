"""Labelled stamps of simulated strong lenses and of what is mistaken for them, to train a detector on."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from lvm_training.errors import StampError
from lvm_training.galaxies.survey import FWHM_PER_SIGMA
from lvm_training.lenses.groups import GROUP_RADII, draw_members
from lvm_training.lenses.lensing import (
    SOURCE_OFFSET,
    Lens,
    Source,
    draw_lens,
    draw_source,
    inject,
    lensed_light,
    significance,
    unlensed_light,
)
from lvm_training.lenses.lookalikes import EARLY_TYPE, LENS, LOOK_ALIKES, NEIGHBOURS, Kinds, draw_structures
from lvm_training.objects.instances import Instances
from lvm_training.observation.exposure import behind_psf
from lvm_training.scenes.scenes import Scenes, draw_scenes
from lvm_training.scenes.structure import Structure

OBJECTS = ("arc", "deflector", "galaxy")
WANTED = "arc"  # by which a lens is told

SIZE, FIELD = 64, 16.768  # pixels, arcsec: the Legacy Surveys' own pixels
ARC_SIGNIFICANCE = 2.0  # S/N over the bands of a pixel that belongs to the arcs
GALAXY_SIGNIFICANCE = 1.5  # S/N in r of a pixel that belongs to a galaxy
CLEAR = 0.5  # share of the r light in a pixel where an object can be told from what else shines there
FEWEST_CLEAR = 6  # pixels like that of a galaxy that counts as an object
FEWEST_CLEAR_ARC = 12
RESOLVED = 0.9  # Einstein radius over the FWHM of the PSF below which images and deflector are one blot
NEIGHBOUR_LIMIT = 3
_BATCH = 96
_ROUNDS = 50


@dataclass(frozen=True)
class LensPopulation:
    """What labelled stamps are drawn from; by default what detectors were trained on, `lenses` of params.yaml.

    Attributes
    ----------
    lens_share : float
        Share of lenses; the others are look-alikes.
    einstein_radius : tuple of float
        Smallest and largest Einstein radius, arcsec, between which they are uniform.
    signal_to_noise : tuple of float
        Smallest and largest signal-to-noise ratio of all images of a source together, between which its logarithm is
        uniform.
    look_alikes : tuple of float
        Shares of the `LOOK_ALIKES` in their order: rings, spirals, mergers, early types with blue neighbours, early
        types, any galaxies.
    groups : float
        Share of the early types, those that lens among them, in the middle of a group: with other old galaxies around
        and, if they lens, twice the Einstein radius.
    seeing : float
        Width of the PSF over the survey's.
    depth : tuple of float
        Logarithms of the smallest and largest noise over the survey's; arcs on deeper stamps would be lost in the
        deflector.
    crowding : float
        Stars and galaxies per area of sky over those on the endless stamps, which are 25 arcsec wide.

    Raises
    ------
    StampError
        If a share or a limit is out of range.
    """

    lens_share: float = 0.5
    einstein_radius: tuple[float, float] = (1.0, 3.0)
    signal_to_noise: tuple[float, float] = (50.0, 400.0)
    look_alikes: tuple[float, ...] = (0.15, 0.2, 0.15, 0.25, 0.1, 0.15)
    groups: float = 0.0
    seeing: float = 1.0
    depth: tuple[float, float] = (-1.0, 1.0)
    crowding: float = 0.45

    def __post_init__(self) -> None:
        if not 0 <= self.lens_share <= 1:
            raise StampError(f"The share of lenses is {self.lens_share}.", "Give a number from 0 to 1.")
        if not 0 <= self.groups <= 1:
            raise StampError(f"The share of groups is {self.groups}.", "Give a number from 0 to 1.")
        if not all(0 < low <= high for low, high in (self.einstein_radius, self.signal_to_noise)):
            raise StampError(
                f"Einstein radii {self.einstein_radius} and signal-to-noise ratios {self.signal_to_noise} must be "
                "positive, the smallest first."
            )
        shares = self.look_alikes
        if len(shares) != len(LOOK_ALIKES) or min(shares) < 0 or not np.isclose(sum(shares), 1):
            raise StampError(f"The shares {shares} of {', '.join(LOOK_ALIKES)} do not add up to 1.")


# deeper and sharper surveys, and the lenses that were found in them: CFHTLS, HSC, KiDS
OTHER_SURVEYS = LensPopulation(
    einstein_radius=(0.9, 3.0), groups=0.4, seeing=0.6, depth=(-2.0, 0.5), crowding=1.2, signal_to_noise=(50.0, 600.0)
)


class LensStamps(NamedTuple):
    """Labelled stamps.

    Attributes
    ----------
    bands : ndarray (N, 3, S, S)
        g, r, z in nanomaggies per 0.262 arcsec pixel, with noise; row 0 at the top.
    kinds : ndarray (N,) of str
        `lookalikes.LENS` or one of `lookalikes.LOOK_ALIKES`.
    objects : tuple of Instances
        The truth of each stamp, of classes `OBJECTS`.
    lenses : tuple of Lens or None
        What was drawn where the kind is `LENS`.
    """

    bands: NDArray[np.float32]
    kinds: Kinds
    objects: tuple[Instances, ...]
    lenses: tuple[Lens | None, ...]


class _Sources(NamedTuple):
    """Light of blue sources on N stamps: of all (N, 3, S, S), and in r of each unlensed one (N, 3, S, S)."""

    light: torch.Tensor
    alone: torch.Tensor
    lenses: list[Lens | None]


def draw_lens_stamps(
    n: int, rng: np.random.Generator, population: LensPopulation, *, size: int = SIZE, field: float = FIELD
) -> LensStamps:
    """Draw `n` labelled stamps of `size` pixels over `field` arcsec, lenses and look-alikes in random order.

    Lenses whose arcs, or whose deflector, nobody could tell from the rest are drawn again, and so are early types with
    neighbours: arcs must give most of the r light in `FEWEST_CLEAR_ARC` of their pixels, deflectors in `FEWEST_CLEAR`.

    Raises
    ------
    StampError
        If arcs of this population are hardly ever seen.
    """
    kinds = draw_kinds(n, rng, population)
    bands = np.zeros((n, 3, size, size), np.float32)
    objects: list[Instances] = [Instances.empty((size, size))] * n
    lenses: list[Lens | None] = [None] * n
    pending = np.arange(n)
    for _ in range(_ROUNDS):
        unseen = []
        for start in range(0, len(pending), _BATCH):
            rows = pending[start : start + _BATCH]
            drawn, seen = _draw_batch(kinds[rows], rng, population, size, field)
            for place, row in enumerate(rows):
                bands[row], objects[row], lenses[row] = drawn.bands[place], drawn.objects[place], drawn.lenses[place]
            unseen.append(rows[~seen])
        pending = np.concatenate([*unseen, np.zeros(0, int)])
        if not len(pending):
            return LensStamps(bands, kinds, tuple(objects), tuple(lenses))
    raise StampError(
        f"The arcs on {len(pending)} of {n} stamps are not seen however often they are drawn.",
        "Raise the limits of `signal_to_noise` or `einstein_radius`.",
    )


def draw_kinds(n: int, rng: np.random.Generator, population: LensPopulation) -> Kinds:
    """What `n` stamps show, in random order: the share of lenses exactly, look-alikes by chance."""
    lenses = round(population.lens_share * n)
    others = rng.choice(LOOK_ALIKES, n - lenses, p=population.look_alikes)
    kinds: Kinds = rng.permutation(np.concatenate([np.full(lenses, LENS), others]))
    return kinds


def _draw_batch(
    kinds: Kinds, rng: np.random.Generator, population: LensPopulation, size: int, field: float
) -> tuple[LensStamps, NDArray[np.bool_]]:
    """Stamps of these kinds, and whether their arcs, or the sources in their place, are seen."""
    n, structure = len(kinds), draw_structures(kinds, rng)
    scenes = draw_scenes(
        n,
        rng,
        size=size,
        field=field,
        structure=structure,
        separate=True,
        crowding=population.crowding,
        depth=population.depth,
        seeing=population.seeing,
    )
    scenes, grouped = _with_groups(scenes, kinds, population, rng, field / size)
    rows = np.flatnonzero(np.isin(kinds, (LENS, NEIGHBOURS)))
    places = torch.from_numpy(rows)
    psf, noise = scenes.psf[places], scenes.noise[places]
    radii = einstein_radii(population, psf[:, 1].numpy() * field / size, grouped[rows])
    sources = _draw_sources(kinds[rows], structure.rows(rows), radii, rng, size=size, field=field)
    low, high = np.log(population.signal_to_noise)
    signal = np.exp(rng.uniform(low, high, len(rows)))
    injected = inject(scenes.observed[places], sources.light, psf=psf, noise=noise, rng=rng, signal=signal)
    alone = behind_psf(sources.alone, psf[:, 1:2].expand(-1, NEIGHBOUR_LIMIT)) * injected.scale[:, None, None, None]
    bands = scenes.observed.index_copy(0, places, injected.observed).numpy()
    galaxies = torch.cat([scenes.objects, _among(n, places, alone)], dim=1)
    arcs = _among(n, places, injected.arcs)
    objects, seen = labelled_light(kinds, galaxies, arcs, scenes.noiseless[:, 1], scenes.noise)
    lenses: list[Lens | None] = [None] * n
    for row, lens in zip(rows, sources.lenses, strict=True):
        lenses[row] = lens
    return LensStamps(bands, kinds, objects, tuple(lenses)), seen


def _with_groups(
    scenes: Scenes, kinds: Kinds, population: LensPopulation, rng: np.random.Generator, pixel: float
) -> tuple[Scenes, NDArray[np.bool_]]:
    """Scenes with groups around their share of the early types, and which have one (N,); members are `objects` too."""
    grouped: NDArray[np.bool_] = np.zeros(len(kinds), dtype=bool)
    if not population.groups:
        return scenes, grouped
    grouped = np.isin(kinds, (LENS, NEIGHBOURS, EARLY_TYPE)) & (rng.random(len(kinds)) < population.groups)
    rows = np.flatnonzero(grouped)
    if not len(rows):
        return scenes, grouped
    places = torch.from_numpy(rows)
    psf, noise = scenes.psf[places], scenes.noise[places]
    size = scenes.observed.shape[-1]
    members = torch.from_numpy(draw_members(scenes.structure.rows(rows), rng, size=size, field=size * pixel))
    added = inject(scenes.observed[places], members.sum(1), psf=psf, noise=noise, rng=rng)
    alone = behind_psf(members[:, :, 1], psf[:, 1:2].expand(-1, members.shape[1]))
    return scenes._replace(
        observed=scenes.observed.index_copy(0, places, added.observed),
        noiseless=scenes.noiseless.index_add(0, places, added.arcs),
        objects=torch.cat([scenes.objects, _among(len(kinds), places, alone)], dim=1),
    ), grouped


def labelled_light(
    kinds: Kinds, galaxies: torch.Tensor, arcs: torch.Tensor, around: torch.Tensor, noise: torch.Tensor
) -> tuple[tuple[Instances, ...], NDArray[np.bool_]]:
    """The truth of stamps, and whether the arcs, or the sources in their place, are seen.

    Parameters
    ----------
    kinds : ndarray (N,) of str
        What each shows.
    galaxies : Tensor (N, K, S, S)
        Noiseless r light of each galaxy, the one in the middle first.
    arcs : Tensor (N, 3, S, S)
        Noiseless light of the arcs; zeros where there are none.
    around : Tensor (N, S, S)
        The r light without arcs.
    noise : Tensor (N, 3)
        Standard deviation of the sky.
    """
    total = around + arcs[:, 1]
    belongs = significance(arcs, noise) > ARC_SIGNIFICANCE
    clear = belongs & (arcs[:, 1] > CLEAR * total)
    masks = _galaxy_masks(galaxies, total, noise[:, 1])
    objects = tuple(map(_truth, kinds == LENS, belongs.numpy(), masks))
    apart = (clear.sum((1, 2)).numpy() >= FEWEST_CLEAR_ARC) & masks[:, 0].any(axis=(1, 2))
    seen: NDArray[np.bool_] = apart | ~np.isin(kinds, (LENS, NEIGHBOURS))
    return objects, seen


def _among(n: int, places: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Values at some places of a batch of `n`, zeros at the others."""
    return torch.zeros(n, *values.shape[1:]).index_copy(0, places, values)


def einstein_radii(
    population: LensPopulation, psf: NDArray[np.floating], grouped: NDArray[np.bool_]
) -> list[tuple[float, float]]:
    """Limits of the Einstein radii behind PSFs of these sigmas (arcsec), in groups and alone (N,).

    They are those of the population which are resolved.
    """
    limits = [np.multiply(population.einstein_radius, GROUP_RADII if one else 1.0) for one in grouped]
    resolved = RESOLVED * FWHM_PER_SIGMA * psf.astype(float)
    return [
        (float(np.clip(low, least, high)), float(high)) for (low, high), least in zip(limits, resolved, strict=True)
    ]


def _draw_sources(
    kinds: Kinds,
    s: Structure,
    radii: Sequence[tuple[float, float]],
    rng: np.random.Generator,
    *,
    size: int,
    field: float,
) -> _Sources:
    """Images of one source where a galaxy lenses, one to three unlensed sources where it has neighbours.

    `radii` are limits of each Einstein radius.
    """
    light = np.zeros((len(kinds), 3, size, size), np.float32)
    alone = np.zeros((len(kinds), NEIGHBOUR_LIMIT, size, size), np.float32)
    lenses: list[Lens | None] = [None] * len(kinds)
    for row, kind in enumerate(kinds):
        if kind == LENS:
            lens = draw_lens(float(s.axis_ratio[row]), float(s.angle[row]), radii[row], rng)
            light[row], lenses[row] = lensed_light(lens, size=size, field=field), lens
        else:
            radius = rng.uniform(*radii[row])
            for place in range(rng.integers(1, NEIGHBOUR_LIMIT + 1)):
                source = _draw_neighbour(radius, rng)
                bands = unlensed_light(source, size=size, field=field) * np.float32(np.exp(rng.normal(0, 0.5)))
                light[row] += bands
                alone[row, place] = bands[1]
    return _Sources(torch.from_numpy(light), torch.from_numpy(alone), lenses)


def _draw_neighbour(einstein_radius: float, rng: np.random.Generator) -> Source:
    """A source where a lens of this Einstein radius would show one of its images."""
    distance = einstein_radius * rng.uniform(0.8, 1 + SOURCE_OFFSET)
    direction = rng.uniform(0, 2 * np.pi)
    return draw_source(distance * np.cos(direction), distance * np.sin(direction), rng)


def _galaxy_masks(light: torch.Tensor, total: torch.Tensor, noise: torch.Tensor) -> NDArray[np.bool_]:
    """Masks (N, K, S, S) of galaxies by the r light of each, empty where a galaxy is too faint, hidden or cut off.

    Parameters
    ----------
    light : Tensor (N, K, S, S)
        Noiseless r light of each galaxy.
    total : Tensor (N, S, S)
        Noiseless r light of all.
    noise : Tensor (N,)
        Standard deviation of the sky in r.
    """
    masks = light > GALAXY_SIGNIFICANCE * noise[:, None, None, None]
    clear = masks & (light > CLEAR * total[:, None])
    size = light.shape[-1]
    peak = light.flatten(2).argmax(2)
    row, column = peak // size, peak % size
    inside = (torch.minimum(row, column) > 0) & (torch.maximum(row, column) < size - 1)
    kept = inside & (clear.sum((2, 3)) >= FEWEST_CLEAR)
    return np.asarray((masks & kept[:, :, None, None]).numpy())


def _truth(lens: bool, arc: NDArray[np.bool_], galaxies: NDArray[np.bool_]) -> Instances:
    """Objects of a stamp from the pixels of its arcs and of each of its galaxies, the one in the middle first."""
    candidates = [("arc", arc)] if lens else []
    candidates += zip(("deflector" if lens else "galaxy", *["galaxy"] * (len(galaxies) - 1)), galaxies, strict=True)
    found = [(name, mask) for name, mask in candidates if mask.any()]
    if not found:
        height, width = arc.shape
        return Instances.empty((height, width))
    return Instances.of_masks([name for name, _ in found], np.stack([mask for _, mask in found]))
