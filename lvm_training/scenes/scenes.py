"""Endless simulated stamps: batches of galaxies drawn at once on the grid of the picture, with their truth.

A batch of 96 stamps of 64 pixels takes a tenth of the time the per-galaxy simulator needs, since it is drawn with few
large tensor operations: arms, rings, bars, edge-on discs, dust, knots, tails, companions, stars, PSF and noise.
"""

from typing import NamedTuple

import numpy as np
import torch

from lvm_training.errors import StampError
from lvm_training.galaxies.spectra import nanomaggies
from lvm_training.observation.exposure import behind_psf, draw_noise, draw_psf, noisy
from lvm_training.observation.maps import CPU, column, on_device
from lvm_training.scenes.realistic import USUAL_FIELD, draw_realistic
from lvm_training.scenes.starlight import GALAXY_PARTS, galaxies
from lvm_training.scenes.structure import Structure, draw_structure
from lvm_training.scenes.surroundings import companions, field_objects
from lvm_training.stamps.stampset import LEGACY_PIXEL_SCALE

ENDLESS = "endless simulated stamps"  # stands for the data's digest in the cards of models trained on them
# what `Scenes.parts` names: companions, and all the stars and galaxies around, beside the parts of the galaxy
PARTS = (*GALAXY_PARTS, "companion", "background")
UNSEEN = 0.5  # r light, over the noise of a pixel, that counts as much sky as light


class Scenes(NamedTuple):
    """A batch of simulated stamps.

    Attributes
    ----------
    noiseless, observed : Tensor (N, 3, S, S)
        g, r, z in nanomaggies per 0.262 arcsec pixel behind the PSF, without and with noise; row 0 at the top.
    structure : Structure
        What was drawn.
    light : Tensor (N, S, S)
        The galaxy alone in r before the PSF, without companion, unit sum.
    psf : Tensor (N, 3)
        Sigma of the PSF in g, r, z, pixels of the picture.
    noise : Tensor (N, 3)
        Standard deviation of the empty sky, in the units of `observed`.
    objects : Tensor (N, 2 + BACKGROUND, S, S)
        Noiseless r light behind the PSF of each galaxy alone, in the units of `noiseless`: the galaxy, its companion,
        and those in the background; zeros where there is none. Of shape (N, 0, S, S) unless asked for.
    parts : Tensor (N, PARTS, S, S)
        Share of each of the `PARTS` in the noiseless r light of a pixel, in [0, 1]. What is missing to a sum of 1 is
        sky: `UNSEEN` times the noise counts as such. Of shape (N, 0, S, S) unless asked for.
    """

    noiseless: torch.Tensor
    observed: torch.Tensor
    structure: Structure
    light: torch.Tensor
    psf: torch.Tensor
    noise: torch.Tensor
    objects: torch.Tensor
    parts: torch.Tensor


def draw_scenes(
    n: int,
    rng: np.random.Generator,
    *,
    size: int,
    field: float,
    structure: Structure | None = None,
    realism: bool = False,
    separate: bool = False,
    dense: bool = False,
    crowding: float = 1.0,
    depth: tuple[float, float] = (-2.0, 1.0),
    seeing: float = 1.0,
    device: torch.device | str = CPU,
) -> Scenes:
    """Draw `n` stamps on a grid of `size` pixels over `field` arcsec.

    Parameters
    ----------
    structure : Structure, optional
        The galaxies in the middle of the stamps; drawn from the whole population if not given.
    realism : bool
        Whether that population, and what lies around, is the one of `realistic.py`. Older models, and the scale of the
        truth, know the other.
    separate : bool
        Whether to give the light of each galaxy alone as well.
    dense : bool
        Whether to give the `PARTS` as well; all else is drawn as without.
    crowding : float
        Stars and background galaxies over their usual number.
    depth : tuple of float
        Logarithms of the smallest and largest noise over the survey's.
    seeing : float
        Width of the PSF over the survey's.
    device : device
        Where the maps are drawn and stay. One seed draws the same structure everywhere, and the same stamps on
        every device of a kind.

    Raises
    ------
    StampError
        If the structure given is not of `n` galaxies.
    """
    pixel, device = field / size, torch.device(device)
    if structure is None:
        structure = draw_realistic(n, rng, field=field) if realism else draw_structure(n, rng)
    if realism:
        crowding *= min(max(0.6 * field / USUAL_FIELD, 0.3), 1.5)
    if len(structure) != n:
        raise StampError(f"The structure of {len(structure)} galaxies was given for {n} stamps.")
    sky = _sky(structure, size, pixel, rng, crowding, device, separate=separate, dense=dense)
    psf = draw_psf(n, pixel, rng, device, seeing=seeing)
    noiseless = behind_psf(sky.bands, psf)
    noise = draw_noise(n, pixel, rng, depth, device)
    observed = noisy(noiseless, noise, rng)
    objects = behind_psf(sky.objects, psf[:, 1:2].expand(n, sky.objects.shape[1])) if separate else sky.objects
    parts = sky.parts
    if dense:
        parts = _shares(behind_psf(parts, psf[:, 1:2].expand(n, len(PARTS))), noiseless[:, 1:2], noise[:, 1])
    return Scenes(noiseless, observed, structure, sky.light, psf, noise, objects, parts)


class _Sky(NamedTuple):
    """What shines, as surface brightness per survey pixel: no PSF, no noise.

    `light` is that of `Scenes`; `bands` (N, 3, S, S) is all of it; `objects` and `parts` are the r light of what those
    of `Scenes` tell apart.
    """

    light: torch.Tensor
    bands: torch.Tensor
    objects: torch.Tensor
    parts: torch.Tensor


def _sky(
    structure: Structure,
    size: int,
    pixel: float,
    rng: np.random.Generator,
    crowding: float,
    device: torch.device,
    *,
    separate: bool,
    dense: bool,
) -> _Sky:
    """The light of these galaxies, of their companions, and of what lies around."""
    n = len(structure)
    steps = (torch.arange(size, dtype=torch.float32, device=device) - (size - 1) / 2) * pixel
    shift = on_device(rng.normal(0, 0.3 * pixel, (2, n, 1, 1)).astype(np.float32), device)
    x = (steps[None, None, :] - shift[0]).expand(n, size, size)
    y = (steps[None, :, None] - shift[1]).expand(n, size, size)
    light, galaxy, parts = galaxies(structure, x, y, rng, dense=dense)
    drawn = nanomaggies(structure.brightness) * 2 * np.pi * structure.radius**2 * structure.axis_ratio
    flux = column(drawn, device)[..., None]
    second = companions(structure, x, y, rng)
    bands = (galaxy + second) * flux
    surroundings, background = field_objects(n, steps, pixel, rng, crowding)
    bands += surroundings
    # fluxes per picture pixel become surface brightness per survey pixel
    scale = (LEGACY_PIXEL_SCALE / pixel) ** 2
    bands *= scale
    objects = torch.zeros(n, 0, size, size, device=device)
    if separate:
        alone = [galaxy[:, 1] * flux[:, 0], second[:, 1] * flux[:, 0], *background]
        objects = torch.stack(alone, dim=1) * scale
    if dense:
        parts = torch.cat([parts * flux, second[:, 1:2] * flux, surroundings[:, 1:2]], dim=1) * scale
    return _Sky(light, bands, objects, parts)


def _shares(parts: torch.Tensor, light: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    """Shares of parts (N, K, S, S) of a light (N, 1, S, S), beside `UNSEEN` times the noise (N,) of sky."""
    # a narrow PSF rings, in each part for itself, so that they add up to the light only nearly
    seen = light / (light + UNSEEN * noise[:, None, None, None])
    return parts / parts.sum(1, keepdim=True).clamp(min=1e-20) * seen
