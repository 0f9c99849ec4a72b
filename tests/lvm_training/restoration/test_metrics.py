"""PSNR and SSIM by their formulas, and classical restoration of skies that were degraded on purpose."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from skimage.restoration import estimate_sigma

from lvm_training.errors import StampError
from lvm_training.observation.degrade import blurred, degrade
from lvm_training.restoration.metrics import (
    CLASSICAL,
    DegradedSample,
    degraded_sample,
    non_local_means,
    psnr,
    restoration_table,
    restored_classically,
    richardson_lucy_bands,
    ssim,
    total_variation,
    tuned_settings,
    wavelet_shrinkage,
)
from lvm_training.stamps.render import stretch
from lvm_training.stamps.rendering import Rendering

RENDERING = Rendering(size=32, field=12.5)


def stars(count: int, *, seed: int = 0, side: int = 32) -> torch.Tensor:
    """Noiseless bands (N, 3, S, S) with six stars each, sampled well enough to be blurred further."""
    rng = np.random.default_rng(seed)
    points = torch.zeros(count, 3, side, side)
    for row in range(count):
        for y, x in rng.integers(side, size=(6, 2)):
            points[row, :, y, x] = float(rng.uniform(1, 4))
    return blurred(points, torch.full((count, 3), 1.0)).clamp(min=0)


def noisy_sample(count: int, *, seed: int = 0, noise: float = 0.05) -> DegradedSample:
    """Pictures with noise alone."""
    bands = stars(count, seed=seed)
    grain = torch.randn(bands.shape, generator=torch.Generator().manual_seed(seed)) * noise
    clean = stretch(bands, RENDERING)
    return DegradedSample(clean, (clean + grain).clamp(0, 1), bands, torch.zeros(count, 3), bands, RENDERING)


def test_psnr_by_its_formula() -> None:
    rng = np.random.default_rng(0)
    clean = torch.from_numpy(rng.random((4, 3, 16, 16)))
    other = clean + torch.from_numpy(rng.normal(0, 0.3, clean.shape))
    errors = np.array([((a - b.clamp(0, 1)) ** 2).mean().item() for a, b in zip(clean, other, strict=True)])
    np.testing.assert_allclose(psnr(clean, other), -10 * np.log10(errors))
    assert psnr(clean * 0, clean * 0 + 0.1) == pytest.approx(20)


def test_an_error_below_rounding_counts_as_rounding() -> None:
    clean = torch.rand(2, 3, 16, 16, dtype=torch.float64)
    best = -10 * np.log10(((np.linspace(-0.5, 0.5, 100_001) / 255) ** 2).mean())
    np.testing.assert_allclose(psnr(clean, clean), best, rtol=1e-4)
    np.testing.assert_allclose(psnr(clean, (clean + 1e-6).clamp(0, 1)), best, rtol=1e-4)
    assert (psnr(clean, (clean * 255).round() / 255) > best - 0.5).all()


def test_ssim_by_its_formula() -> None:
    """Equation 13 of Wang et al. 2004, in windows of 11 pixels that lie inside the picture."""
    rng = np.random.default_rng(1)
    clean = gaussian_filter(rng.random((3, 24, 24)), (0, 1, 1))
    other = (clean + rng.normal(0, 0.1, clean.shape)).clip(0, 1)

    def mean(image: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(gaussian_filter(image, (0, 1.5, 1.5), radius=(0, 5, 5)))

    means, c1, c2 = (mean(clean), mean(other)), 0.01**2, 0.03**2
    spreads = mean(clean**2) - means[0] ** 2, mean(other**2) - means[1] ** 2
    shared = mean(clean * other) - means[0] * means[1]
    index = (2 * means[0] * means[1] + c1) * (2 * shared + c2)
    index /= (means[0] ** 2 + means[1] ** 2 + c1) * (spreads[0] + spreads[1] + c2)
    found = ssim(torch.from_numpy(clean)[None], torch.from_numpy(other)[None])
    assert found == pytest.approx(index[:, 5:-5, 5:-5].mean())
    assert ssim(torch.from_numpy(clean)[None], torch.from_numpy(clean)[None]) == pytest.approx(1)


def test_what_cannot_be_compared_is_refused() -> None:
    pictures = torch.rand(2, 3, 16, 16)
    broken = pictures.clone()
    broken[1, 0, 2, 2] = torch.nan
    for measure in (psnr, ssim):
        for clean, other in (
            (pictures, pictures[:1]),
            (pictures[0], pictures[0]),
            (pictures[..., :8, :8],) * 2,
            (pictures[:0],) * 2,
        ):
            with pytest.raises(StampError, match="cannot be compared"):
                measure(clean, other)
        with pytest.raises(StampError, match="not finite"):
            measure(pictures, broken)


def test_the_table_has_the_gain_over_the_degraded() -> None:
    sample = noisy_sample(4)
    halved = (sample.clean + sample.degraded) / 2
    rows = restoration_table(sample.clean, sample.degraded, {"halved": halved, "nothing": sample.degraded})
    assert [row.method for row in rows] == ["degraded", "halved", "nothing"]
    assert [row.gain for row in rows] == pytest.approx([0, 20 * np.log10(2), 0], abs=1e-4)
    for row, pictures in zip(rows, (sample.degraded, halved, sample.degraded), strict=True):
        assert row.psnr == pytest.approx(psnr(sample.clean, pictures).mean())
        assert row.ssim == pytest.approx(ssim(sample.clean, pictures).mean())


def test_a_sample_is_what_degrade_gives() -> None:
    bands = stars(3)
    sample = degraded_sample(bands, RENDERING, np.random.default_rng(5))
    worse = degrade(bands, np.random.default_rng(5), pixel_scale=12.5 / 32)
    assert torch.equal(sample.bands, worse)
    assert torch.equal(sample.degraded, stretch(worse, RENDERING))
    assert torch.equal(sample.clean, stretch(bands, RENDERING))
    assert sample.blur.shape == (3, 3)


def test_richardson_lucy_sharpens_a_star_field() -> None:
    bands = stars(2)
    blur = torch.tensor([[1.2, 0.0, 2.0], [0.0, 1.5, 0.8]])
    soft = blurred(bands, blur)
    few, many = (richardson_lucy_bands(soft, blur, iterations=n) for n in (5, 40))
    errors = [((found - bands) ** 2).sum((2, 3)).numpy() for found in (soft, few, many)]
    touched = (blur > 0).numpy()
    assert (errors[1][touched] < 0.75 * errors[0][touched]).all()
    assert (errors[2][touched] < 0.1 * errors[0][touched]).all()
    assert torch.equal(many[0, 1], soft[0, 1])
    assert torch.equal(many[1, 0], soft[1, 0])
    np.testing.assert_allclose(many.sum((2, 3)), bands.sum((2, 3)), rtol=0.02)


def test_richardson_lucy_does_not_depend_on_units_or_the_level_of_the_sky() -> None:
    blur = torch.full((1, 3), 1.3)
    soft = blurred(stars(1), blur)
    expected = richardson_lucy_bands(soft, blur, iterations=4)
    found = richardson_lucy_bands(1000 * soft - 50, blur, iterations=4)
    np.testing.assert_allclose((found + 50) / 1000, expected, atol=1e-4)
    flat = torch.full((1, 3, 32, 32), -0.2)
    np.testing.assert_allclose(richardson_lucy_bands(flat, blur, iterations=4), flat, atol=1e-6)


def test_a_wrong_blur_restores_less() -> None:
    bands = stars(3)
    blur = torch.full((3, 3), 1.5)
    soft = blurred(bands, blur)
    errors = [((richardson_lucy_bands(soft, blur * k, iterations=20) - bands) ** 2).mean() for k in (0.6, 1.0, 1.5)]
    assert errors[1] < 0.7 * min(errors[0], errors[2])


def test_deconvolution_refuses_bad_bands() -> None:
    bands = stars(2)
    with pytest.raises(StampError, match=r"\(2, 3, 32, 32\) and \(3, 3\)"):
        richardson_lucy_bands(bands, torch.ones(3, 3), iterations=1)
    bands[0, 0, 0, 0] = torch.nan
    with pytest.raises(StampError, match="finite bands"):
        richardson_lucy_bands(bands, torch.ones(2, 3), iterations=1)


@pytest.mark.parametrize(
    ("restored", "gain"),
    [
        (lambda sample: total_variation(sample, strength=2.0), 2),
        (lambda sample: wavelet_shrinkage(sample, wavelet="sym4", strength=1.0), 1),
        (lambda sample: non_local_means(sample, patch=5, strength=1.0), 3),
    ],
)
def test_denoising_removes_noise(restored: Callable[[DegradedSample], torch.Tensor], gain: float) -> None:
    sample = noisy_sample(3)
    rows = restoration_table(sample.clean, sample.degraded, {"it": restored(sample)})
    assert rows[1].gain > gain
    assert rows[1].ssim > rows[0].ssim


def test_denoising_takes_each_pictures_own_noise() -> None:
    quiet, loud = noisy_sample(1, noise=0.01), noisy_sample(1, noise=0.1)
    both = torch.cat([quiet.degraded, loud.degraded])
    sample = DegradedSample(both, both, both, torch.zeros(2, 3), both, RENDERING)
    methods: list[Callable[[DegradedSample], torch.Tensor]] = [
        lambda of: total_variation(of, strength=1.0),
        lambda of: wavelet_shrinkage(of, wavelet="db1", strength=1.0),
        lambda of: non_local_means(of, patch=5, strength=1.0),
    ]
    for restore in methods:
        found = restore(sample)
        assert torch.equal(found[:1], restore(quiet))
        assert torch.equal(found[1:], restore(loud))
        noises = [float(estimate_sigma(part.numpy(), channel_axis=0, average_sigmas=True)) for part in found]  # type: ignore[no-untyped-call]
        assert noises[1] < 0.05


def test_flat_pictures_stay_flat() -> None:
    flat = torch.full((1, 3, 32, 32), 0.25)
    sample = DegradedSample(flat, flat, flat, torch.zeros(1, 3), flat, RENDERING)
    for method in ("total variation", "wavelet", "non-local means"):
        chosen = {name: values[0] for name, values in CLASSICAL[method][1].items()}
        np.testing.assert_allclose(restored_classically(sample, {method: chosen})[method], flat, atol=1e-5)


def test_settings_are_those_of_highest_psnr() -> None:
    tuning = degraded_sample(stars(2), RENDERING, np.random.default_rng(1))
    settings = tuned_settings(tuning)
    assert settings.keys() == CLASSICAL.keys()
    best = restored_classically(tuning, settings)
    for method, (restore, grid) in CLASSICAL.items():
        assert all(settings[method][name] in values for name, values in grid.items())
        score = psnr(tuning.clean, best[method]).mean()
        name = list(grid)[-1]
        for value in grid[name]:
            other = restore(tuning, **{**settings[method], name: value})
            assert psnr(tuning.clean, other).mean() <= score


def test_tuned_methods_gain_on_other_stamps() -> None:
    """Noiseless stars, degraded: each method restores some of what it was made for."""
    tuning, sample = (degraded_sample(stars(n, seed=n), RENDERING, np.random.default_rng(n)) for n in (3, 8))
    restored = restored_classically(sample, tuned_settings(tuning))
    gains = {row.method: row.gain for row in restoration_table(sample.clean, sample.degraded, restored)}
    assert gains["total variation"] > 1
    assert gains["non-local means"] > 1
    assert gains["Richardson-Lucy"] > 0.1
