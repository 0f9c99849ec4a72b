"""Simulated stamps: galaxies of a catalogue as the Legacy Surveys would have seen them."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path

import galsim
import numpy as np
from numpy.typing import NDArray
from scipy import fft

from lvm_training.galaxies.catalogue import COLUMNS, Galaxy, component_fluxes
from lvm_training.galaxies.discs import DiscLight, Map, draw_disc
from lvm_training.galaxies.neighbours import add_neighbours
from lvm_training.galaxies.spectra import nanomaggies
from lvm_training.galaxies.survey import STAMP_SIZE, add_noise, psf_profile
from lvm_training.progress import Progress
from lvm_training.stamps.stampset import LEGACY_PIXEL_SCALE, StampWriter

# Scenes are drawn on a wider grid: light wrapping around its edges stays off the stamp
_SIDE = 256
_BATCH = 32
_MARGIN = (_SIDE - STAMP_SIZE) // 2
_BORDER = 16  # neighbours lie on the stamp or this close to it, pixels


def draw_stamp(galaxy: Galaxy, row: int) -> NDArray[np.float32]:
    """The stamp of a catalogue row, shape (3, 152, 152), g, r, z in nanomaggies per pixel, row 0 in the south.

    Depends on the galaxy, its seed and its row number alone: any row can be drawn by itself.
    """
    rng = np.random.default_rng((galaxy.seed, row, 1))
    surroundings = np.zeros((3, _SIDE, _SIDE), np.float32)
    crowded = galaxy.bulge_type < 0.3 and rng.random() < 0.25
    near = slice(_MARGIN - _BORDER, _MARGIN + STAMP_SIZE + _BORDER)
    add_neighbours(surroundings[:, near, near], rng, crowding=rng.uniform(1.5, 4) if crowded else 1.0)
    structure = np.random.default_rng((galaxy.seed, row, 2))
    return add_noise(_observed(galaxy, surroundings, structure), galaxy.seeing, rng)


def draw_noiseless(galaxy: Galaxy, row: int) -> NDArray[np.float32]:
    """The galaxy of a catalogue row alone, without neighbours and noise, shape (3, 152, 152)."""
    structure = np.random.default_rng((galaxy.seed, row, 2))
    return _observed(galaxy, np.zeros((3, _SIDE, _SIDE), np.float32), structure)


def _observed(galaxy: Galaxy, scene: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """The scene with the galaxy added, behind the PSF."""
    fluxes = _fluxes(galaxy)
    bulge_fluxes = fluxes[0] * galaxy.bulge_fraction / (galaxy.bulge_fraction + galaxy.bar_fraction or 1)
    structured = galaxy.young_fraction > 0 or galaxy.bar_fraction > 0
    light = draw_disc(galaxy, _SIDE, rng) if structured else None
    if light is not None:
        _add_disc(scene, galaxy, light, fluxes, bulge_fluxes)
    spectrum = fft.rfft2(scene)
    if galaxy.bulge_fraction and (light is None or light.bulge is None):
        profile = galsim.Sersic(galaxy.bulge_sersic, half_light_radius=galaxy.bulge_radius / LEGACY_PIXEL_SCALE)
        spectrum += bulge_fluxes[:, None, None] * _transform(_inclined(profile, galaxy, galaxy.bulge_axis_ratio))
    if galaxy.disc_scale and not structured:
        profile = galsim.Exponential(scale_radius=galaxy.disc_scale / LEGACY_PIXEL_SCALE)
        spectrum += fluxes[1][:, None, None] * _transform(_inclined(profile, galaxy, galaxy.axis_ratio))
    for band, sigma in enumerate(galaxy.seeing.psf):
        spectrum[band] *= _sampled(psf_profile(sigma)).real
    inside = slice(_MARGIN, _MARGIN + STAMP_SIZE)
    seen: NDArray[np.float32] = fft.irfft2(spectrum, (_SIDE, _SIDE))[:, inside, inside].astype(np.float32)
    return seen


def _fluxes(galaxy: Galaxy) -> NDArray[np.float32]:
    """Nanomaggies of old, disc and young light (rows) in g, r, z, adding up to the catalogue's magnitudes."""
    shares = component_fluxes(
        bulge_fraction=galaxy.bulge_fraction,
        bulge_type=galaxy.bulge_type,
        bar_fraction=galaxy.bar_fraction,
        disc_type=galaxy.disc_type,
        young_fraction=galaxy.young_fraction,
        ring_fraction=galaxy.ring_fraction,
        redshift=galaxy.z_spec,
    )
    totals = nanomaggies((galaxy.mag_g, galaxy.mag_r, galaxy.mag_z))
    fluxes: NDArray[np.float32] = (shares * totals / shares.sum(axis=0)).astype(np.float32)
    return fluxes


def _add_disc(
    scene: NDArray[np.float32],
    galaxy: Galaxy,
    light: DiscLight,
    fluxes: NDArray[np.float32],
    bulge_fluxes: NDArray[np.float32],
) -> None:
    young = galaxy.young_fraction + galaxy.ring_fraction or 1.0
    components: list[tuple[Map, NDArray[np.float32]]] = [
        (light.disc, fluxes[1]),
        (light.young, fluxes[2] * galaxy.young_fraction / young),
    ]
    if galaxy.ring_fraction:
        components.append((light.ring, fluxes[2] * galaxy.ring_fraction / young))
    if galaxy.bar_fraction:
        components.append((light.bar, fluxes[0] - bulge_fluxes))
    if light.bulge is not None:
        components.append((light.bulge, bulge_fluxes))
    start = (_SIDE - len(light.disc)) // 2
    inside = slice(start, start + len(light.disc))
    for band in range(3):
        scene[band, inside, inside] += sum(light.attenuated(part, band) * flux[band] for part, flux in components)


def _inclined(profile: galsim.GSObject, galaxy: Galaxy, axis_ratio: float) -> galsim.GSObject:
    """A round profile squeezed across its major axis, which keeps its half-light radius; angle east of north."""
    angle = np.radians(galaxy.position_angle)
    sine, cosine = np.sin(angle), np.cos(angle)
    # the matrix with eigenvalue 1 along (-sin, cos) and the axis ratio across
    across = (1 - axis_ratio) * cosine * sine
    return galsim.Transform(
        profile,
        jac=[
            [sine**2 + axis_ratio * cosine**2, -across],
            [-across, cosine**2 + axis_ratio * sine**2],
        ],
        flux_ratio=1 / axis_ratio,
    )


def _sampled(profile: galsim.GSObject) -> NDArray[np.complex64]:
    """Fourier transform of a profile centred on the origin, sizes in pixels, in rfft2's layout."""
    half = _SIDE // 2
    image = galsim.ImageCF(galsim.BoundsI(0, half, -half, half - 1))
    profile.drawKImage(image=image, scale=2 * np.pi / _SIDE, recenter=False)
    return np.asarray(fft.ifftshift(image.array, axes=0))


def _transform(profile: galsim.GSObject) -> NDArray[np.complex64]:
    return _sampled(profile) * _centring()


@lru_cache(maxsize=1)
def _centring() -> NDArray[np.complex64]:
    """Phases that move a profile from pixel 0 to the middle of the grid, between its two central pixels."""
    middle = (_SIDE - 1) / 2
    across, up = fft.rfftfreq(_SIDE), fft.fftfreq(_SIDE)
    phases: NDArray[np.complex64] = np.exp(-2j * np.pi * middle * (up[:, None] + across[None, :])).astype(np.complex64)
    return phases


def simulate_set(
    catalogue: Sequence[Galaxy], path: Path, *, processes: int = 2, progress: Progress | None = None
) -> Path:
    """Draw every galaxy of a catalogue into a stamp set, its columns beside the pixels.

    An interrupted run goes on where it stopped. The set's bytes depend on the catalogue alone.

    Parameters
    ----------
    catalogue : sequence of Galaxy
    path : Path
        Where the HDF5 set will stand.
    processes : int
        Processes that draw; 1 draws in this one.
    progress : callable, optional
        Called with (stamps done, stamps in all).
    """
    writer = _writer(catalogue, path)
    try:
        start = len(writer)
        batches = [range(i, min(i + _BATCH, len(catalogue))) for i in range(start, len(catalogue), _BATCH)]
        for rows, images in zip(batches, _drawn(catalogue, batches, processes), strict=True):
            writer.append(images, _columns(catalogue[rows.start : rows.stop]))
            if progress is not None:
                progress(rows.stop, len(catalogue))
        return writer.finish()
    finally:
        writer.close()


def _writer(catalogue: Sequence[Galaxy], path: Path) -> StampWriter:
    """A writer that goes on behind the stamps of this catalogue, or from the start where another left its own."""
    writer = StampWriter(path, (STAMP_SIZE, STAMP_SIZE))
    done = len(writer)
    if done and any(writer.column(name) != values for name, values in _columns(catalogue[:done]).items()):
        writer.close()
        writer.partial.unlink()
        writer = StampWriter(path, (STAMP_SIZE, STAMP_SIZE))
    return writer


def _drawn(catalogue: Sequence[Galaxy], batches: Sequence[range], processes: int) -> Iterator[NDArray[np.float32]]:
    jobs = [(catalogue[rows.start : rows.stop], rows.start) for rows in batches]
    if processes == 1 or len(jobs) < 2:
        yield from map(_draw_batch, jobs)
        return
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        yield from pool.map(_draw_batch, jobs)


def _draw_batch(job: tuple[Sequence[Galaxy], int]) -> NDArray[np.float32]:
    galaxies, start = job
    return np.stack([draw_stamp(galaxy, start + i) for i, galaxy in enumerate(galaxies)])


def _columns(galaxies: Sequence[Galaxy]) -> dict[str, list[str | int | float]]:
    rows = [galaxy.model_dump() for galaxy in galaxies]
    return {name: [row[name] for row in rows] for name in COLUMNS}
