"""The simulated population: balanced, reproducible, plausible, and without a shortcut to its classes."""

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from lvm_training.galaxies.catalogue import MORPHOLOGIES, Galaxy
from lvm_training.galaxies.population import draw_catalogue, draw_galaxy


@pytest.fixture(scope="module")
def galaxies() -> list[Galaxy]:
    return draw_catalogue(1000, 3)


def column(galaxies: list[Galaxy], name: str) -> np.ndarray:
    return np.array([getattr(galaxy, name) for galaxy in galaxies])


def test_the_same_seed_draws_the_same_galaxies(galaxies: list[Galaxy]) -> None:
    assert draw_catalogue(20, 3) == draw_catalogue(20, 3)
    assert draw_catalogue(20, 3) != draw_catalogue(20, 4)


def test_a_longer_catalogue_begins_with_the_shorter(galaxies: list[Galaxy]) -> None:
    for short, long in zip(draw_catalogue(33, 3), galaxies, strict=False):
        assert short.model_copy(update={"split": long.split}) == long


def test_a_row_can_be_drawn_alone(galaxies: list[Galaxy]) -> None:
    assert draw_galaxy(galaxies[77].morphology, galaxies[77].split, 3, 77) == galaxies[77]


def test_classes_are_balanced_and_splits_within_them(galaxies: list[Galaxy]) -> None:
    assert set(Counter(g.morphology for g in galaxies).values()) == {200}
    splits = Counter((g.morphology, g.split) for g in galaxies)
    for kind in MORPHOLOGIES:
        assert splits[kind, "start"] == 10
        assert splits[kind, "test"] == 40
        assert splits[kind, "pool"] == 150


@pytest.mark.parametrize("n", [0, 1, 7])
def test_small_catalogues(n: int) -> None:
    galaxies = draw_catalogue(n, 0)
    assert len(galaxies) == n
    assert len({g.morphology for g in galaxies}) == min(n, 5)


def test_progress_is_told() -> None:
    told: list[tuple[int, int]] = []
    draw_catalogue(3, 0, progress=lambda done, total: told.append((done, total)))
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_magnitudes_sizes_and_places_are_the_surveys(galaxies: list[Galaxy]) -> None:
    mags, sizes = column(galaxies, "mag_r"), column(galaxies, "half_light_radius")
    assert mags.min() >= 15
    assert mags.max() <= 19.5
    assert 0.75 < (mags < 17.8).mean() < 0.95
    assert 1.5 < np.median(sizes) < 4
    # bright galaxies look larger
    assert np.corrcoef(mags, np.log(sizes))[0, 1] < -0.4
    assert (np.abs(column(galaxies, "dec") - 8.5) < 24).all()
    assert (column(galaxies, "ra") % 360 == column(galaxies, "ra")).all()
    assert ((column(galaxies, "z_spec") > 0) & (column(galaxies, "z_spec") <= 0.3)).all()


def test_orientations_are_uniform(galaxies: list[Galaxy]) -> None:
    angles = np.radians(column(galaxies, "position_angle"))
    assert np.hypot(np.cos(2 * angles).mean(), np.sin(2 * angles).mean()) < 0.1


def test_colours_follow_the_survey(galaxies: list[Galaxy]) -> None:
    # DR9 cutouts of nearby spirals: r - z of 0.41, 0.52, 0.60 at g - r of 0.57, 0.70, 0.82
    near = [g for g in galaxies if g.z_spec < 0.12]
    g_r, r_z = column(near, "mag_g") - column(near, "mag_r"), column(near, "mag_r") - column(near, "mag_z")
    for at, expected in ((0.57, 0.41), (0.70, 0.52), (0.82, 0.60)):
        assert np.median(r_z[np.abs(g_r - at) < 0.05]) == pytest.approx(expected, abs=0.06)


def test_ellipticals_are_redder_than_spirals_but_overlap(galaxies: list[Galaxy]) -> None:
    g_r = column(galaxies, "mag_g") - column(galaxies, "mag_r")
    classes = column(galaxies, "morphology")
    smooth, spiral = g_r[classes == "round smooth"], g_r[classes == "spiral"]
    assert np.median(smooth) > np.median(spiral) + 0.05
    assert np.quantile(smooth, 0.2) < np.median(spiral)


def test_classes_overlap_in_axis_ratio(galaxies: list[Galaxy]) -> None:
    ratios, classes = column(galaxies, "axis_ratio"), column(galaxies, "morphology")
    for rounder, flatter in pairwise(MORPHOLOGIES[:4]):
        assert np.quantile(ratios[classes == flatter], 0.95) > np.quantile(ratios[classes == rounder], 0.1)
    spirals = ratios[classes == "spiral"]
    assert spirals.min() < 0.35
    assert spirals.max() > 0.9


def test_simple_truths_do_not_give_the_class_away(galaxies: list[Galaxy]) -> None:
    truths = np.stack(
        [
            np.log(column(galaxies, "half_light_radius")),
            column(galaxies, "axis_ratio"),
            column(galaxies, "mag_g") - column(galaxies, "mag_r"),
            column(galaxies, "mag_r") - column(galaxies, "mag_z"),
            column(galaxies, "sersic"),
        ],
        axis=1,
    )
    classes = column(galaxies, "morphology")
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    model.fit(truths[:700], classes[:700])
    auc = roc_auc_score(classes[700:], model.predict_proba(truths[700:]), multi_class="ovr", average="macro")
    assert 0.7 < auc < 0.9
