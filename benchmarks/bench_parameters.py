"""Parameters of drawn galaxies: the released head beside statmorph and photutils, on the same stamps in one run.

    python -m benchmarks.bench_parameters [--stamps build/stamps/morphology.h5] [--count 100]

statmorph (Rodriguez-Gomez et al. 2019, MNRAS 483, 4140) fits a Sersic profile behind the PSF of the r band, photutils
gives isophotal moments and Kron fluxes. Both measure what photutils detected and deblended, and see the r band alone
with its true PSF and noise, which no survey hands them so well. Ours sees g, r and z, and neither PSF nor noise. The
two are no dependencies: `pip install statmorph photutils`.
"""

import argparse
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from benchmarks.report import Row, save
from lvm_training.evaluation.parameters import parameter_metrics
from lvm_training.galaxies.survey import psf_profile
from lvm_training.images.units import NANOMAGGY
from lvm_training.model.encoder import Encoder
from lvm_training.parameters.measure import measure_set
from lvm_training.parameters.oriented import OrientedEncoder
from lvm_training.parameters.parameter import HALF_TURN
from lvm_training.parameters.released import load_parameters
from lvm_training.parameters.truth import SIMULATED, truth_of
from lvm_training.paths import RELEASED_LVM, RELEASED_PARAMETERS, STAMP_FILE
from lvm_training.stamps.stampset import StampSet

R_BAND = 1
NAMES = ("mag_r", "half_light_radius", "sersic", "axis_ratio", "position_angle")
KERNEL = 25  # pixels of the PSF's picture
SMOOTHING, FEWEST_PIXELS = 1.5, 10  # pixels
DETECTED = 1.5  # standard deviations of the smoothed sky that a segment begins at

Array = NDArray[np.float64]
Fit = Callable[[Array, NDArray[np.int64], int, float, Array, float], list[float]]
"""Takes an image, its sources and which of them is meant, noise, PSF, arcsec per pixel; gives `NAMES`, NaN for none."""


def sky_angle(theta: float) -> float:
    """Position angle, degrees, of an angle from the image's columns: rows go north, and east is to the left."""
    return float((np.degrees(theta) - 90) % HALF_TURN)


def with_statmorph(
    image: Array, sources: NDArray[np.int64], label: int, noise: float, psf: Array, scale: float
) -> list[float]:
    """Sersic fit of statmorph, other sources masked: total light, half-light semi-major axis, index, ratio, angle."""
    import statmorph

    segment, others = (sources == label).astype(np.int64), (sources > 0) & (sources != label)
    found = statmorph.source_morphology(image, segment, mask=others, weightmap=np.full(image.shape, noise), psf=psf)[0]
    if found.flag >= 4 or found.flag_sersic >= 2 or found.sersic_rhalf <= 0:
        return [np.nan] * len(NAMES)
    radius, index, ratio = found.sersic_rhalf, found.sersic_n, 1 - found.sersic_ellip
    magnitude = NANOMAGGY - 2.5 * np.log10(sersic_total(found.sersic_amplitude, radius, index, ratio))
    return [magnitude, radius * scale, index, ratio, sky_angle(found.sersic_theta)]


def sersic_total(amplitude: float, radius: float, index: float, ratio: float) -> float:
    """Light of a Sersic profile, 2 pi n e^b b^(-2n) Gamma(2n) A R^2 q (Graham & Driver 2005, PASA 22, 118, eq. 2)."""
    from scipy.special import gamma, gammaincinv

    b = gammaincinv(2 * index, 0.5)
    return float(2 * np.pi * index * np.exp(b) * b ** (-2 * index) * gamma(2 * index) * amplitude * radius**2 * ratio)


def with_photutils(
    image: Array, sources: NDArray[np.int64], label: int, noise: float, psf: Array, scale: float
) -> list[float]:
    """Isophotal moments, Kron flux and half-light radius of photutils; it fits no Sersic index."""
    from photutils.segmentation import SegmentationImage, SourceCatalog

    found = SourceCatalog(image, SegmentationImage(sources)).get_label(label)
    flux, ratio = float(np.ravel(found.kron_flux)[0]), float(1 / np.ravel(found.elongation)[0])
    if not np.isfinite(flux) or flux <= 0:
        return [np.nan] * len(NAMES)
    # a circle's radius: along the major axis it is longer
    radius = float(np.ravel(found.fluxfrac_radius(0.5).value)[0]) / np.sqrt(ratio)
    angle = sky_angle(float(np.ravel(found.orientation.to_value("rad"))[0]))
    return [NANOMAGGY - 2.5 * np.log10(flux), radius * scale, np.nan, ratio, angle]


def sources_of(image: Array, noise: float) -> tuple[NDArray[np.int64], int]:
    """The deblended sources of an image, and the one in the middle; 0 where nothing is detected there."""
    from photutils.segmentation import deblend_sources, detect_sources

    smooth = ndimage.gaussian_filter(image, SMOOTHING)
    # white noise through the filter
    found = detect_sources(smooth, DETECTED * noise / (2 * np.sqrt(np.pi) * SMOOTHING), FEWEST_PIXELS)
    if found is None:
        return np.zeros(image.shape, np.int64), 0
    found = deblend_sources(smooth, found, FEWEST_PIXELS, n_levels=32, contrast=0.01, progress_bar=False)
    labels = np.asarray(found.data, np.int64)
    return labels, int(labels[image.shape[0] // 2, image.shape[1] // 2])


def kernel(sigma: float) -> Array:
    """The PSF of a stamp."""
    drawn = psf_profile(sigma).drawImage(nx=KERNEL, ny=KERNEL, scale=1.0).array
    return np.asarray(drawn / drawn.sum(), np.float64)


def run_fits(fit: Fit, stamps: StampSet, rows: NDArray[np.int64]) -> tuple[Array, float]:
    """What a fit says of each stamp (N, P), and milliseconds of a processor each."""
    sigmas, noises = stamps.column("psf_r")[rows], stamps.column("noise_r")[rows]
    found = []
    begun = time.process_time()
    for row, sigma, noise in zip(rows.tolist(), sigmas.tolist(), noises.tolist(), strict=True):
        image = np.asarray(stamps.pixels(slice(row, row + 1))[0, R_BAND], np.float64)
        sources, label = sources_of(image, noise)
        values = [np.nan] * len(NAMES)
        if label:
            with suppress(ValueError, AssertionError, IndexError, FloatingPointError):
                values = fit(image, sources, label, noise, kernel(sigma), stamps.pixel_scale)
        found.append(values)
    return np.array(found), 1e3 * (time.process_time() - begun) / len(rows)


def run_ours(stamps: StampSet, rows: NDArray[np.int64]) -> tuple[Array, Array, float]:
    """Values and errors (N, P) of the released head, and milliseconds of a processor each, with reading and flags."""
    import torch

    torch.set_num_threads(1)
    encoder = OrientedEncoder(Encoder.load(RELEASED_LVM))
    head, _ = load_parameters(RELEASED_PARAMETERS)
    places = [head.classes.index(name) for name in NAMES]
    begun = time.process_time()
    parts = list(measure_set(stamps, encoder, head, rows=rows))
    spent = 1e3 * (time.process_time() - begun) / len(rows)
    values, errors = (np.concatenate([part.measured[one] for part in parts])[:, places] for one in range(2))
    return values, errors, spent


def compared(path: Path, count: int) -> list[Row]:
    """Figures of all three on the same stamps of the test split: a row for each parameter, and ratios to ours."""
    with StampSet(path) as stamps:
        rows = np.flatnonzero(stamps.column("split") == "test")[:count]
        known = truth_of(stamps, SIMULATED)
        truth = known.values[rows][:, [known.names.index(name) for name in NAMES]]
        values, errors, spent = run_ours(stamps, rows)
        ours = parameter_metrics(truth, values, errors, NAMES)
        told = _rows("ours", ours, ours, spent, spent)
        for name, fit in (("statmorph", with_statmorph), ("photutils", with_photutils)):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                values, own = run_fits(fit, stamps, rows)
            told += _rows(name, parameter_metrics(truth, values, None, NAMES), ours, own, spent)
    return told


def _rows(method: str, metrics: dict[str, float], ours: dict[str, float], spent: float, our_time: float) -> list[Row]:
    rows = []
    for name in NAMES:
        found = {key.removeprefix(f"{name}_"): value for key, value in metrics.items() if key.startswith(f"{name}_")}
        row: Row = {"method": method, "parameter": name, **found, "ms": spent, "time_over_ours": spent / our_time}
        for one in ("rmse", "scatter"):
            if one in found:
                row[f"{one}_over_ours"] = found[one] / ours[f"{name}_{one}"]
        rows.append(row)
    return rows


def main() -> None:
    """Run it and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stamps", type=Path, default=STAMP_FILE)
    parser.add_argument("--count", type=int, default=100)
    options = parser.parse_args()
    save("parameters", compared(options.stamps, options.count))


if __name__ == "__main__":
    main()
