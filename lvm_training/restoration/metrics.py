"""How well degraded pictures are restored: PSNR and SSIM, and the classical methods a model must beat."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from numpy.typing import NDArray
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from skimage.restoration import (
    denoise_nl_means,
    denoise_tv_chambolle,
    denoise_wavelet,
    estimate_sigma,
    richardson_lucy,
)

from lvm_training.errors import StampError
from lvm_training.model.lvm import LVM
from lvm_training.observation.degrade import apply_degradation, blurred, draw_degradation
from lvm_training.scenes.scenes import draw_scenes
from lvm_training.stamps.render import stretch
from lvm_training.stamps.rendering import Rendering

Array = NDArray[np.float64]
Settings = Mapping[str, float | str]

# Error of rounding to the 256 levels of a displayed picture: what differs by less looks the same
ROUNDING = 1 / (255 * math.sqrt(12))
# Trainings draw from small seeds
HELD_OUT = 987_654_321
BEST_PSNR = -20 * math.log10(ROUNDING)
# Side of the Gaussian window of Wang et al. 2004, pixels
SSIM_WINDOW = 11


@dataclass(frozen=True)
class DegradedSample:
    """Stamps before and after a known degradation.

    Attributes
    ----------
    clean, degraded : Tensor (N, 3, S, S)
        Rendered pictures, R, G, B in [0, 1].
    bands : Tensor (N, 3, S, S)
        The degraded g, r, z in nanomaggies per 0.262 arcsec pixel, of which `degraded` is the rendering.
    blur : Tensor (N, 3)
        Sigma of the Gaussian that blurred each band, pixels.
    reference : Tensor (N, 3, S, S)
        Bands as in `bands`, of which `clean` is the rendering.
    rendering : Rendering
        How bands become pictures.
    """

    clean: torch.Tensor
    degraded: torch.Tensor
    bands: torch.Tensor
    blur: torch.Tensor
    reference: torch.Tensor
    rendering: Rendering


@dataclass(frozen=True)
class RestorationRow:
    """Means over the pictures of a sample.

    Attributes
    ----------
    method : str
        What restored them; "degraded" for nothing.
    psnr, gain : float
        PSNR, and by how much it exceeds the degraded pictures', dB.
    ssim : float
        Structural similarity, at most 1.
    """

    method: str
    psnr: float
    ssim: float
    gain: float


def degraded_sample(
    bands: torch.Tensor, rendering: Rendering, rng: np.random.Generator, *, reference: torch.Tensor | None = None
) -> DegradedSample:
    """Stamps degraded as `degrade` does, from bands g, r, z (N, 3, S, S) as `render.surface_brightness` gives them.

    `reference` are the same bands without noise; without them the stamps themselves count as clean, and a method is
    charged for removing the noise they came with.
    """
    degradation = draw_degradation(len(bands), rng, pixel_scale=rendering.field / rendering.size)
    worse = apply_degradation(bands, degradation, rng)
    true = bands if reference is None else reference
    return DegradedSample(stretch(true, rendering), stretch(worse, rendering), worse, degradation.blur, true, rendering)


def simulated_sample(n: int, rendering: Rendering, seed: int) -> DegradedSample:
    """Simulated stamps that no training has drawn, degraded; the reference has no noise."""
    rng = np.random.default_rng((HELD_OUT, seed))
    scenes = draw_scenes(n, rng, size=rendering.size, field=rendering.field)
    return degraded_sample(scenes.observed, rendering, rng, reference=scenes.noiseless)


@torch.inference_mode()
def restored_by(lvm: LVM, sample: DegradedSample) -> torch.Tensor:
    """Pictures (N, 3, S, S) restored by the LVM, clipped to [0, 1]."""
    return torch.cat([lvm(part) for part in torch.split(sample.degraded, 64)]).clamp(0, 1)


def psnr(clean: torch.Tensor, pictures: torch.Tensor) -> Array:
    """Peak signal-to-noise ratio of each picture, -10 log10(mean squared error), dB, shape (N,).

    Pictures (N, 3, S, S) are clipped to [0, 1]. An error below that of rounding to 256 levels counts as that, 58.9 dB,
    so that a picture that nothing degraded does not carry the mean away.

    Raises
    ------
    StampError
        If shapes differ, pictures are smaller than 11 pixels, or a pixel is not finite.
    """
    values = []
    with np.errstate(divide="ignore"):
        for true, other in _pairs(clean, pictures):
            value = peak_signal_noise_ratio(true, other, data_range=1)  # type: ignore[no-untyped-call]
            values.append(min(float(value), BEST_PSNR))
    return np.array(values)


def ssim(clean: torch.Tensor, pictures: torch.Tensor) -> Array:
    """Structural similarity of each picture (Wang et al. 2004, IEEE TIP 13, 600, with their window), shape (N,).

    Pictures (N, 3, S, S) are clipped to [0, 1]; the value is the mean over R, G and B.

    Raises
    ------
    StampError
        As `psnr`.
    """
    window = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    values = []
    for true, other in _pairs(clean, pictures):
        value = structural_similarity(true, other, data_range=1, channel_axis=0, **window)  # type: ignore[no-untyped-call]
        values.append(float(value))
    return np.array(values)


def restoration_table(
    clean: torch.Tensor, degraded: torch.Tensor, restored: Mapping[str, torch.Tensor]
) -> list[RestorationRow]:
    """Mean PSNR and SSIM of the degraded pictures (N, 3, S, S), then of each method's restored ones.

    Raises
    ------
    StampError
        As `psnr`.
    """
    before = float(psnr(clean, degraded).mean())
    rows = []
    for method, pictures in {"degraded": degraded, **restored}.items():
        after = float(psnr(clean, pictures).mean())
        rows.append(RestorationRow(method, after, float(ssim(clean, pictures).mean()), after - before))
    return rows


def total_variation(sample: DegradedSample, *, strength: float) -> torch.Tensor:
    """Pictures smoothed by total variation (Chambolle 2004); the weight is `strength` times their estimated noise."""

    def denoised(picture: Array, noise: Array) -> Array:
        weight = strength * noise.mean()
        return np.asarray(denoise_tv_chambolle(picture, weight, channel_axis=0))  # type: ignore[no-untyped-call]

    return _denoised(sample.degraded, denoised)


def wavelet_shrinkage(sample: DegradedSample, *, wavelet: str, strength: float) -> torch.Tensor:
    """Pictures with soft-thresholded wavelet coefficients (BayesShrink, Chang et al. 2000).

    The noise assumed is `strength` times what is estimated in each channel.
    """

    def denoised(picture: Array, noise: Array) -> Array:
        sigma = list(strength * noise)
        shrunk = denoise_wavelet(
            picture, sigma, wavelet=wavelet, method="BayesShrink", rescale_sigma=True, channel_axis=0
        )
        return np.asarray(shrunk)

    return _denoised(sample.degraded, denoised)


def non_local_means(sample: DegradedSample, *, patch: float, strength: float) -> torch.Tensor:
    """Pictures averaged over alike patches (Buades et al. 2005); the cut-off is `strength` times their noise."""

    def denoised(picture: Array, noise: Array) -> Array:
        cutoff = strength * noise.mean()
        return np.asarray(denoise_nl_means(picture, int(patch), 6, cutoff, fast_mode=True, channel_axis=0))

    return _denoised(sample.degraded, denoised)


def richardson_lucy_bands(bands: torch.Tensor, blur: torch.Tensor, *, iterations: int) -> torch.Tensor:
    """Bands (N, 3, S, S) deconvolved with the Gaussians of sigma `blur` (N, 3) pixels that blurred them.

    The method (Richardson 1972, Lucy 1974) needs pixels that are not negative: each band's darkest pixel counts as 0,
    and its level is put back afterwards. A band that was not blurred stays as it is.

    Raises
    ------
    StampError
        If shapes disagree, or a pixel is not finite.
    """
    if bands.ndim != 4 or blur.shape != bands.shape[:2] or not torch.isfinite(bands).all():
        raise StampError(
            f"Deconvolution needs finite bands (N, 3, S, S) and blur (N, 3); these are {tuple(bands.shape)} and "
            f"{tuple(blur.shape)}.",
            "Take both from one `DegradedSample`.",
        )
    sharp = bands.clone()
    for row, band in torch.nonzero(blur > 0).tolist():
        sharp[row, band] = _deconvolved(bands[row, band], blur[row, band], iterations)
    return sharp


def richardson_lucy_pictures(sample: DegradedSample, *, iterations: float) -> torch.Tensor:
    """Pictures of the deconvolved bands."""
    return stretch(richardson_lucy_bands(sample.bands, sample.blur, iterations=int(iterations)), sample.rendering)


CLASSICAL: Mapping[str, tuple[Callable[..., torch.Tensor], Mapping[str, tuple[float | str, ...]]]] = {
    "total variation": (total_variation, {"strength": (0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)}),
    "wavelet": (wavelet_shrinkage, {"wavelet": ("db1", "db2", "sym4"), "strength": (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)}),
    "non-local means": (non_local_means, {"patch": (5, 7, 9), "strength": (0.4, 0.6, 0.8, 1.0, 1.4, 2.0, 3.0)}),
    "Richardson-Lucy": (richardson_lucy_pictures, {"iterations": (1, 2, 3, 4, 6, 8, 12, 16)}),
}


def tuned_settings(tuning: DegradedSample) -> dict[str, Settings]:
    """For each classical method the settings of highest mean PSNR on a sample kept for that."""
    best: dict[str, Settings] = {}
    for method, (restore, grid) in CLASSICAL.items():
        choices = [dict(zip(grid, values, strict=True)) for values in product(*grid.values())]
        scores = [psnr(tuning.clean, restore(tuning, **choice)).mean() for choice in choices]
        best[method] = choices[int(np.argmax(scores))]
    return best


def restored_classically(sample: DegradedSample, settings: Mapping[str, Settings]) -> dict[str, torch.Tensor]:
    """Pictures (N, 3, S, S) restored by each method that has settings."""
    return {method: CLASSICAL[method][0](sample, **chosen) for method, chosen in settings.items()}


def _deconvolved(band: torch.Tensor, sigma: torch.Tensor, iterations: int) -> torch.Tensor:
    reach = math.ceil(4 * float(sigma)) + 1
    point = torch.zeros(1, 1, 2 * reach + 1, 2 * reach + 1)
    point[..., reach, reach] = 1
    psf = blurred(point, sigma[None, None])[0, 0].clamp(min=0).double().numpy()
    floor = float(band.min())
    # the blur wraps round the edges, which the method knows nothing of
    light = np.pad(band.double().numpy() - floor, 2 * reach, mode="wrap")
    scale = float(light.max()) or 1.0
    sharp = richardson_lucy(light / scale, psf / psf.sum(), iterations, clip=False)  # type: ignore[no-untyped-call]
    inside = slice(2 * reach, -2 * reach)
    return torch.from_numpy(sharp[inside, inside] * scale + floor).to(band.dtype)


def _denoised(pictures: torch.Tensor, denoise: Callable[[Array, Array], Array]) -> torch.Tensor:
    """Each picture (3, S, S) denoised given the noise estimated in its channels (3,)."""
    arrays = pictures.double().numpy()
    results = []
    for array in arrays:
        noise = estimate_sigma(array, channel_axis=0)  # type: ignore[no-untyped-call]
        results.append(denoise(array, np.maximum(noise, ROUNDING)))
    return torch.from_numpy(np.stack(results)).float()


def _pairs(clean: torch.Tensor, pictures: torch.Tensor) -> list[tuple[Array, Array]]:
    """Pairs of pictures (3, S, S), clipped to [0, 1]."""
    if clean.shape != pictures.shape or clean.ndim != 4 or min(clean.shape[2:]) < SSIM_WINDOW or not len(clean):
        raise StampError(
            f"Pictures {tuple(pictures.shape)} cannot be compared with clean ones {tuple(clean.shape)}.",
            f"Both must be (N, 3, S, S) with S at least {SSIM_WINDOW}.",
        )
    if not (torch.isfinite(clean).all() and torch.isfinite(pictures).all()):
        raise StampError("Some pictures have pixels that are not finite.", "Look at what restored them.")
    both = (part.double().clamp(0, 1).numpy() for part in (clean, pictures))
    return list(zip(*both, strict=True))
