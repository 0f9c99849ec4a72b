"""Draws the stamps that teach: half of galaxies of every kind, half as the sky has them, and some lenses."""

from dataclasses import fields
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from lvm_training.galaxies.spectra import BANDS
from lvm_training.lenses.lens_stamps import LensPopulation, draw_lens_stamps
from lvm_training.lenses.lookalikes import LENS, LOOK_ALIKES, NEIGHBOURS
from lvm_training.observation.appearance import varied
from lvm_training.observation.maps import CPU
from lvm_training.observation.survey_marks import survey_marks
from lvm_training.scenes.realistic import draw_either
from lvm_training.scenes.scenes import draw_scenes
from lvm_training.scenes.simulated_classes import UNKNOWN, Drawn
from lvm_training.scenes.structure import Structure
from lvm_training.stamps.rendering import Rendering

POPULATION = 2  # to be raised with whatever changes what is drawn: sets of another number are drawn anew
BATCH = 60  # stamps drawn at a time, over one field
LENSES, LENS_LOOK_ALIKES = 5, 3  # of them: arcs, and early types among blue galaxies that are not lensed
FIELDS = (14.0, 45.0)  # smallest and largest side of the pictures, arcsec
LENS_FIELDS = (14.0, 25.0)  # arcs of 1 to 3 arcsec are lost in wider ones


class Stamps(NamedTuple):
    """Simulated stamps.

    Attributes
    ----------
    pictures : Tensor (N, 3, S, S)
        As surveys would show them, in [0, 1].
    drawn : Drawn
        What is in them.
    """

    pictures: torch.Tensor
    drawn: Drawn


def draw_stamps(number: int, rendering: Rendering, *, seed: int = 0, device: torch.device | str = CPU) -> Stamps:
    """The `number`-th batch of `BATCH` stamps, the same whenever it is drawn on one kind of device.

    Parameters
    ----------
    rendering : Rendering
        Size and stretch of the pictures; their fields are drawn.
    """
    rng = np.random.default_rng((seed, POPULATION, number))
    count = BATCH - LENSES - LENS_LOOK_ALIKES
    pictures, structure = _galaxies(count, rendering, rng, device, realistic=number % 2 == 1)
    lenses, lens = _lenses(rendering, rng)
    everything = _joined(structure, _unknown(len(lens)))
    return Stamps(
        torch.cat([pictures, lenses.to(pictures.device)]),
        Drawn(everything, np.concatenate([np.zeros(count, bool), lens])),
    )


def _galaxies(
    n: int, rendering: Rendering, rng: np.random.Generator, device: torch.device | str, *, realistic: bool
) -> tuple[torch.Tensor, Structure]:
    """Pictures of `n` galaxies, over one field, and their structures."""
    field = float(np.exp(rng.uniform(*np.log(FIELDS))))
    structure = draw_either(n, rng, field=field, realistic=realistic)
    scenes = draw_scenes(
        n, rng, size=rendering.size, field=field, structure=structure, realism=realistic, device=device
    )
    pictures = varied(scenes.observed, rendering.model_copy(update={"field": field}), rng)
    return survey_marks(pictures, rng, scenes.observed.device) if realistic else pictures, structure


def _lenses(rendering: Rendering, rng: np.random.Generator) -> tuple[torch.Tensor, NDArray[np.bool_]]:
    """Pictures of lenses and of what is most like them, over one field, and which of them lens."""
    field = float(np.exp(rng.uniform(*np.log(LENS_FIELDS))))
    total = LENSES + LENS_LOOK_ALIKES
    population = LensPopulation(
        lens_share=LENSES / total, look_alikes=tuple(float(kind == NEIGHBOURS) for kind in LOOK_ALIKES)
    )
    found = draw_lens_stamps(total, rng, population, size=rendering.size, field=field)
    bands = torch.from_numpy(found.bands)
    return varied(bands, rendering.model_copy(update={"field": field}), rng), np.asarray(found.kinds == LENS)


def _unknown(n: int) -> Structure:
    """Structures of `n` galaxies that nothing is known of."""
    columns = {field.name: np.full(n, np.nan, np.float32) for field in fields(Structure)}
    flat = np.full((n, 4, len(BANDS)), np.nan, np.float32)
    return Structure(**{**columns, "kind": np.full(n, UNKNOWN), "fluxes": flat})


def _joined(*parts: Structure) -> Structure:
    return Structure(
        **{field.name: np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(Structure)}
    )
