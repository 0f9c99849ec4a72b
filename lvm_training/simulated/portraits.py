"""Portraits of what the simulator draws, so that people see what its words mean."""

from collections.abc import Callable, Mapping
from functools import lru_cache
from types import MappingProxyType

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from lvm_training.lenses.lens_stamps import LensPopulation, draw_lens_stamps
from lvm_training.scenes.realistic import USUAL_FIELD, draw_realistic
from lvm_training.scenes.scenes import draw_scenes
from lvm_training.scenes.simulated_classes import Drawn, find_concept
from lvm_training.scenes.structure import Structure
from lvm_training.stamps.render import stretch
from lvm_training.stamps.rendering import Rendering

SEED = 4
DRAWN = 6000  # structures, among which the one that shows a concept best is looked for
RADII, BRIGHTNESS = (2.4, 4.2), (20.7, 21.8)  # arcsec, mag per square arcsec: it fills the picture and does not glare
LENS_FIELD = 12.0  # arcsec
LENSES = LensPopulation(lens_share=1.0, einstein_radius=(1.8, 2.4), signal_to_noise=(350.0, 400.0))
LENS_SIZE = 160  # pixels
DRAWN_LENSES, CHOSEN_LENSES = 10, (8, 2, 1)  # first the one with an arc and its counter-image
DEPTH = (-2.0, -1.9)  # ln of the noise over the survey's
# what there should be much of, where it is not plain from the concept alone
MUCH: Mapping[str, Callable[[Structure], NDArray[np.floating]]] = MappingProxyType(
    {
        "spiral": lambda s: s.arms - s.flocculence - s.bar,
        "ring": lambda s: s.ring + s.ring_evenness + s.gap - s.arms - 2 * s.bar - s.bulge_fraction,
        "bar": lambda s: s.bar + s.bar_length + s.gap - 2 * s.ring - s.bulge_fraction,
        "merger": lambda s: s.companion + s.tails,
        "disturbed": lambda s: s.tails - s.companion,
    }
)


def portrait(concept: str, size: int, number: int = 0) -> torch.Tensor:
    """A picture (3, S, S) in [0, 1] of a galaxy that shows a concept well; the best is of number 0.

    Raises
    ------
    ConceptError
        If the simulator draws nothing of that name.
    """
    shown, structure = find_concept(concept).shown, _structures()
    fitting = np.flatnonzero(
        shown(Drawn(structure, np.zeros(DRAWN, bool)))
        & _between(structure.radius, RADII)
        & _between(structure.brightness, BRIGHTNESS)
        & ((structure.companion == 0) | (concept == "merger"))
    )
    rng = np.random.default_rng([SEED, number] if number else SEED)
    if not len(fitting):  # no galaxy alone is a lens
        # of one size, since what is drawn depends on it, and these were chosen by eye
        drawn = draw_lens_stamps(DRAWN_LENSES, np.random.default_rng(SEED), LENSES, size=LENS_SIZE, field=LENS_FIELD)
        bands = torch.from_numpy(drawn.bands[[CHOSEN_LENSES[number % len(CHOSEN_LENSES)]]])
        large = F.interpolate(bands, (size, size), mode="bicubic", antialias=True) if size != LENS_SIZE else bands
        return stretch(large, Rendering(size=size, field=LENS_FIELD))[0]
    much = MUCH.get(concept, _large)(structure.rows(fitting))
    best = np.argsort(-much, kind="stable")
    one = structure.rows(fitting[[best[number % len(best)]]])
    scene = draw_scenes(1, rng, size=size, field=USUAL_FIELD, structure=one, crowding=0.0, depth=DEPTH)
    return stretch(scene.observed, Rendering(size=size, field=USUAL_FIELD))[0]


@lru_cache(maxsize=1)
def _structures() -> Structure:
    return draw_realistic(DRAWN, np.random.default_rng(SEED), field=USUAL_FIELD)


def _large(s: Structure) -> NDArray[np.floating]:
    return s.radius


def _between(values: NDArray[np.floating], limits: tuple[float, float]) -> NDArray[np.bool_]:
    return np.asarray((values > limits[0]) & (values < limits[1]))
