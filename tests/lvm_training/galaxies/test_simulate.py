"""Simulated stamps: photometry, PSF, orientation, reproducibility, and classes that need the picture."""

from pathlib import Path

import galsim
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from lvm_training.galaxies.catalogue import COLUMNS, Galaxy
from lvm_training.galaxies.population import draw_catalogue, draw_galaxy
from lvm_training.galaxies.simulate import draw_noiseless, draw_stamp, simulate_set
from lvm_training.galaxies.survey import psf_profile
from lvm_training.stamps.render import render
from lvm_training.stamps.rendering import Rendering
from lvm_training.stamps.stampset import StampSet

OFFSETS = np.arange(152) - 75.5


@pytest.fixture(scope="module")
def galaxies() -> list[Galaxy]:
    return draw_catalogue(60, 11)


@pytest.fixture
def elliptical() -> Galaxy:
    shape = {"half_light_radius": 3.0, "bulge_radius": 3.0, "bulge_sersic": 1.5, "sersic": 1.5, "bulge_fraction": 1.0}
    plain = {"disc_scale": 0.0, "bar_fraction": 0.0, "axis_ratio": 0.5, "bulge_axis_ratio": 0.5}
    return draw_galaxy("in-between smooth", "pool", 0, 0).model_copy(update=shape | plain)


def orientation(image: np.ndarray) -> float:
    """Angle of the major axis east of north by second moments; rows run north, columns west."""
    weight = image * np.exp(-(OFFSETS[:, None] ** 2 + OFFSETS[None, :] ** 2) / (2 * 20**2))
    north, east = OFFSETS[:, None], -OFFSETS[None, :]
    return float(np.degrees(np.angle((weight * (north + 1j * east) ** 2).sum())) / 2 % 180)


def angle_between(a: float, b: float) -> float:
    return abs((a - b + 90) % 180 - 90)


def test_stamps_have_the_survey_form(galaxies: list[Galaxy]) -> None:
    stamp = draw_stamp(galaxies[0], 0)
    assert stamp.shape == (3, 152, 152)
    assert stamp.dtype == np.float32
    assert np.isfinite(stamp).all()


def test_noiseless_light_adds_up_to_the_catalogue_magnitudes(galaxies: list[Galaxy]) -> None:
    small = [(row, g) for row, g in enumerate(galaxies) if g.half_light_radius < 3 and g.sersic < 2.5]
    assert len({g.morphology for _, g in small}) == 5
    for row, galaxy in small:
        mags = 22.5 - 2.5 * np.log10(draw_noiseless(galaxy, row).sum(axis=(1, 2)))
        np.testing.assert_allclose(mags, [galaxy.mag_g, galaxy.mag_r, galaxy.mag_z], atol=0.05)


def test_a_galaxy_is_galsims(elliptical: Galaxy) -> None:
    profile = galsim.Sersic(1.5, half_light_radius=3.0 / 0.262, flux=10 ** (0.4 * (22.5 - elliptical.mag_r)))
    # GalSim squeezes at constant area: enlarge so that the major axis keeps the half-light radius
    profile = profile.dilate(np.sqrt(0.5)).shear(q=0.5, beta=(elliptical.position_angle + 90) * galsim.degrees)
    convolved = galsim.Convolve(profile, psf_profile(elliptical.psf_r))
    expected = convolved.drawImage(nx=152, ny=152, scale=1.0, method="no_pixel").array
    drawn = draw_noiseless(elliptical, 0)[1]
    np.testing.assert_allclose(drawn, expected, atol=2e-3 * expected.max())


def test_half_the_light_lies_in_the_half_light_ellipse(galaxies: list[Galaxy]) -> None:
    sharp = {"psf_g": 1.2, "psf_r": 1.2, "psf_z": 1.2}
    large = [(row, g) for row, g in enumerate(galaxies) if g.half_light_radius > 2.5 and g.dust < 1 and g.sersic < 3]
    ratios = {}
    for row, galaxy in large:
        image = draw_noiseless(galaxy.model_copy(update=sharp), row)[1]
        angle = np.radians(galaxy.position_angle)
        north, east = OFFSETS[:, None] * 0.262, -OFFSETS[None, :] * 0.262
        along, across = north * np.cos(angle) + east * np.sin(angle), east * np.cos(angle) - north * np.sin(angle)
        inside = np.hypot(along, across / galaxy.axis_ratio) < galaxy.half_light_radius
        ratios[row] = image[inside].sum() / 10 ** (0.4 * (22.5 - galaxy.mag_r))
    # arms, rings and the PSF move light a little
    assert np.median(list(ratios.values())) == pytest.approx(0.5, abs=0.05)
    assert all(0.3 < ratio < 0.65 for ratio in ratios.values())


@pytest.mark.parametrize("sigma", [1.5, 2.5])
def test_a_compact_galaxy_shows_the_psf(elliptical: Galaxy, sigma: float) -> None:
    tiny = {"half_light_radius": 0.02, "bulge_radius": 0.02, "psf_g": sigma, "psf_r": 2.0, "psf_z": 3.0}
    stamp = draw_noiseless(elliptical.model_copy(update=tiny), 0)
    for band, width in enumerate((sigma, 2.0, 3.0)):
        seen = galsim.Image(stamp[band].astype(np.float64), scale=1.0).calculateFWHM()
        expected = psf_profile(width).drawImage(nx=152, ny=152, scale=1.0, method="no_pixel").calculateFWHM()
        assert seen == pytest.approx(expected, rel=0.01)


@pytest.mark.parametrize("angle", [0.0, 30.0, 90.0, 160.0])
def test_position_angles_run_east_of_north(elliptical: Galaxy, angle: float) -> None:
    stamp = draw_noiseless(elliptical.model_copy(update={"position_angle": angle}), 0)
    assert angle_between(orientation(stamp[1]), angle) < 0.5


def test_structured_discs_keep_their_position_angle(galaxies: list[Galaxy]) -> None:
    flat = [(row, g) for row, g in enumerate(galaxies) if g.young_fraction and g.axis_ratio < 0.5]
    assert {g.morphology for _, g in flat} == {"edge-on disc", "spiral"}
    for row, galaxy in flat:
        assert angle_between(orientation(draw_noiseless(galaxy, row)[1]), galaxy.position_angle) < 15


def test_the_rendered_picture_has_north_up_and_east_left(elliptical: Galaxy) -> None:
    leaning = elliptical.model_copy(update={"position_angle": 45.0, "axis_ratio": 0.2, "bulge_axis_ratio": 0.2})
    picture = render(draw_noiseless(leaning, 0)[None], Rendering(size=152, field=39.8), kind="nanomaggies")[0, 1]
    # 45 degrees east of north runs from the top left to the bottom right
    assert picture[66, 66] > 3 * picture[66, 86]
    assert picture[86, 86] > 3 * picture[86, 66]


def test_the_target_is_in_the_middle(galaxies: list[Galaxy]) -> None:
    for row, galaxy in enumerate(galaxies[:20]):
        if galaxy.morphology in ("spiral", "edge-on disc"):
            continue
        image = draw_noiseless(galaxy, row)[1]
        assert (image * OFFSETS[None, :]).sum() / image.sum() == pytest.approx(0, abs=0.1)
        assert (image * OFFSETS[:, None]).sum() / image.sum() == pytest.approx(0, abs=0.1)


def test_bulges_are_redder_than_arms() -> None:
    redder = []
    for row in range(12):
        galaxy = draw_galaxy("spiral", "pool", 2, row)
        # the same PSF in all bands: otherwise seeing colours the centre
        galaxy = galaxy.model_copy(update={"psf_g": 2.0, "psf_r": 2.0, "psf_z": 2.0, "half_light_radius": 5.0})
        image = draw_noiseless(galaxy, row)
        radius = np.hypot(OFFSETS[:, None], OFFSETS[None, :])
        core, outskirts = radius < 4, (radius > 12) & (radius < 30)
        ratio = [image[0][area].sum() / image[2][area].sum() for area in (core, outskirts)]
        redder.append(ratio[0] < ratio[1])
    assert np.mean(redder) > 0.9


def test_sky_noise_is_the_catalogues(galaxies: list[Galaxy]) -> None:
    for row, galaxy in enumerate(galaxies[:8]):
        stamp = draw_stamp(galaxy, row)
        noise = draw_noiseless(galaxy, row)[1] - stamp[1]
        spread = 1.4826 * np.median(np.abs(noise - np.median(noise)))
        assert spread == pytest.approx(galaxy.noise_r, rel=0.35)


def test_a_row_is_the_same_drawn_alone_and_different_from_others(galaxies: list[Galaxy]) -> None:
    np.testing.assert_array_equal(draw_stamp(galaxies[5], 5), draw_stamp(galaxies[5], 5))
    assert not np.array_equal(draw_stamp(galaxies[5], 5), draw_stamp(galaxies[5], 6))


def test_sets_are_identical_whatever_the_number_of_processes(tmp_path: Path, galaxies: list[Galaxy]) -> None:
    told: list[tuple[int, int]] = []
    one = simulate_set(galaxies[:40], tmp_path / "one.h5", processes=1, progress=lambda *step: told.append(step))
    two = simulate_set(galaxies[:40], tmp_path / "two.h5", processes=2)
    assert told == [(32, 40), (40, 40)]
    with StampSet(one) as first, StampSet(two) as second:
        assert first.digest == second.digest
        np.testing.assert_array_equal(first.pixels(slice(None)), second.pixels(slice(None)))
        assert set(first.columns) == set(COLUMNS)
        assert list(first.column("morphology")) == [g.morphology for g in galaxies[:40]]
        np.testing.assert_array_equal(first.column("position_angle"), [g.position_angle for g in galaxies[:40]])
        assert (first.pixel_scale, first.origin, first.rendering) == (0.262, "lower", "nanomaggies")
    assert one.read_bytes() == two.read_bytes()


class KilledError(Exception):
    """Stands for a kill."""


def interrupt(done: int, total: int) -> None:
    raise KilledError


def test_an_interrupted_run_goes_on(tmp_path: Path, galaxies: list[Galaxy]) -> None:
    with pytest.raises(KilledError):
        simulate_set(galaxies[:40], tmp_path / "set.h5", processes=1, progress=interrupt)
    told: list[tuple[int, int]] = []
    resumed = simulate_set(galaxies[:40], tmp_path / "set.h5", processes=1, progress=lambda *step: told.append(step))
    assert told == [(40, 40)]
    whole = simulate_set(galaxies[:40], tmp_path / "whole.h5", processes=1)
    with StampSet(resumed) as first, StampSet(whole) as second:
        np.testing.assert_array_equal(first.pixels(slice(None)), second.pixels(slice(None)))


def test_leftovers_of_another_catalogue_are_not_mixed_in(tmp_path: Path, galaxies: list[Galaxy]) -> None:
    with pytest.raises(KilledError):
        simulate_set(draw_catalogue(40, 12), tmp_path / "set.h5", processes=1, progress=interrupt)
    mended = simulate_set(galaxies[:34], tmp_path / "set.h5", processes=1)
    with StampSet(mended) as stamps:
        assert len(stamps) == 34
        np.testing.assert_array_equal(stamps.pixels([0])[0], draw_stamp(galaxies[0], 0))


def measured(stamp: np.ndarray) -> list[float]:
    """Size, axis ratio, two colours and concentration from the pixels, by adaptive moments."""
    image, (y, x) = stamp[1], np.meshgrid(OFFSETS, OFFSETS, indexing="ij")
    form = np.eye(2) / 64
    for _ in range(4):
        weight = image * np.exp(-0.5 * (form[0, 0] * x**2 + 2 * form[0, 1] * x * y + form[1, 1] * y**2))
        moments = np.array([[(weight * a * b).sum() for a in (x, y)] for b in (x, y)]) / weight.sum()
        values, vectors = np.linalg.eigh(moments)
        values = np.clip(2 * values, 2, 300)
        form = vectors @ np.diag(1 / values) @ vectors.T
    axis_ratio = float(np.sqrt(values[0] / values[1]))
    along, across = x * vectors[0, 1] + y * vectors[1, 1], x * vectors[0, 0] + y * vectors[1, 0]
    radius = np.hypot(along, across / max(axis_ratio, 0.15))
    radii = np.arange(1.0, 70.0)
    growth = np.maximum.accumulate([image[radius < r].sum() for r in radii])
    total = growth[min(np.searchsorted(radii, 6 * np.sqrt(values[1])), len(radii) - 1)]
    r20, r50, r80 = (np.interp(share * total, growth, radii) for share in (0.2, 0.5, 0.8))
    fluxes = np.maximum(stamp[:, radius < 2 * r50 + 1].sum(axis=1), 1e-3)
    g_r, r_z = -2.5 * np.log10(fluxes[:2] / fluxes[1:])
    return [float(np.log(r50)), axis_ratio, float(g_r), float(r_z), float(np.log(r80 / r20))]


def test_simple_measurements_do_not_give_the_class_away() -> None:
    sample = draw_catalogue(320, 3)
    features = np.array([measured(draw_stamp(galaxy, row)) for row, galaxy in enumerate(sample)])
    classes = np.array([galaxy.morphology for galaxy in sample])
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000)).fit(features[:200], classes[:200])
    auc = roc_auc_score(classes[200:], model.predict_proba(features[200:]), multi_class="ovr", average="macro")
    assert 0.65 < auc < 0.9
