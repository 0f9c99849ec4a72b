"""Occlusion maps: the evidence is found where it was put."""

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from backend_ml.why.occlusion import OcclusionError, occlusion_map, sky_level
from lvm_training.galaxies.population import draw_catalogue
from lvm_training.galaxies.simulate import draw_stamp
from lvm_training.heads.preference import PreferenceHead
from lvm_training.model.encoder import Encoder, load_checkpoint
from lvm_training.paths import EARLIER_LVM
from lvm_training.stamps.render import render
from lvm_training.stamps.rendering import Rendering
from lvm_training.stamps.stampset import LEGACY_PIXEL_SCALE

ROOT = Path(__file__).parents[3]
TAUGHT, SHOWN = 60, 6
RING_LIGHT = np.array([0.1, 0.09, 0.1], np.float32)  # nanomaggies per pixel, where it is brightest


def pixels_as_features(pictures: torch.Tensor) -> torch.Tensor:
    return pictures.flatten(1)


def light_at(*places: tuple[int, int], side: int) -> NDArray[np.float32]:
    """Weights by which a score is the light at some (row, column), summed over the colours."""
    weights = np.zeros((3, side, side), np.float32)
    for row, column in places:
        weights[:, row, column] = 1
    return weights.ravel()


def naive(picture: torch.Tensor, weights: NDArray[np.float32], window: int, stride: int) -> NDArray[np.float64]:
    """The map pixel by pixel, each with the windows that reach it."""
    side = picture.shape[1]
    starts = sorted({*range(0, side - window, stride), side - window})
    sky = sky_level(picture)
    found = np.zeros((side, side))
    for row in range(side):
        for column in range(side):
            falls = []
            for top in starts:
                for left in starts:
                    if top <= row < top + window and left <= column < left + window:
                        covered = picture.clone()
                        for colour in range(3):
                            covered[colour, top : top + window, left : left + window] = sky[colour]
                        falls.append(float((picture - covered).numpy().ravel() @ weights))
            found[row, column] = sum(falls) / len(falls)
    return found


@pytest.mark.parametrize(("side", "window", "stride"), [(8, 4, 2), (9, 4, 3), (7, 7, 7), (6, 1, 1), (10, 4, 4)])
@pytest.mark.parametrize("batch", [1, 5, 1000])
def test_the_map_is_the_naive_one(side: int, window: int, stride: int, batch: int) -> None:
    generator = torch.Generator().manual_seed(side)
    picture = torch.rand(3, side, side, generator=generator)
    weights = torch.randn(3 * side * side, generator=generator).numpy()
    found = occlusion_map(picture, pixels_as_features, lambda x: x @ weights, window=window, stride=stride, batch=batch)
    np.testing.assert_allclose(found, naive(picture, weights, window, stride), atol=1e-5)


@pytest.mark.parametrize("place", [(0, 0), (0, 15), (15, 0), (15, 15), (7, 8)])
def test_what_touches_an_edge_is_found_there(place: tuple[int, int]) -> None:
    picture = torch.full((3, 16, 16), 0.1)
    picture[:, *place] = 1.0
    weights = light_at(place, side=16)
    found = occlusion_map(picture, pixels_as_features, lambda x: x @ weights)
    assert found[place] == pytest.approx(found.max()) and found[place] == pytest.approx(2.7)
    assert found[15 - place[0], 15 - place[1]] < 1e-6 or place == (7, 8)
    assert np.isfinite(found).all()


def test_what_speaks_against_a_score_is_negative() -> None:
    picture = torch.full((3, 16, 16), 0.1)
    picture[:, 4, 4] = picture[:, 11, 11] = 1.0
    weights = light_at((4, 4), side=16) - light_at((11, 11), side=16)
    found = occlusion_map(picture, pixels_as_features, lambda x: x @ weights)
    assert found[4, 4] > 1 and found[11, 11] < -1


def test_windows_are_filled_with_sky_not_black_or_galaxy() -> None:
    picture = torch.full((3, 16, 16), 0.8) * torch.tensor([0.1, 0.2, 0.3])[:, None, None]
    picture[:, 1:-1, 1:-1] = 1.0  # a galaxy over most of the picture
    assert sky_level(picture).tolist() == pytest.approx([0.08, 0.16, 0.24])
    empty = torch.full((3, 16, 16), 0.3)
    found = occlusion_map(empty, pixels_as_features, lambda x: x.sum(axis=1))
    np.testing.assert_allclose(found, 0, atol=1e-5)


@pytest.mark.parametrize("shape", [(16, 16), (1, 16, 16), (3, 16, 8), (3, 0, 0), (2, 3, 16, 16)])
def test_pictures_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(OcclusionError, match="shape"):
        occlusion_map(torch.zeros(shape), pixels_as_features, lambda x: x.sum(axis=1))


@pytest.mark.parametrize(("window", "stride"), [(0, 1), (17, 1), (4, 0), (4, 5), (-1, -1)])
def test_windows_that_leave_gaps_or_the_picture_are_refused(window: int, stride: int) -> None:
    with pytest.raises(OcclusionError, match="window"):
        occlusion_map(torch.zeros(3, 16, 16), pixels_as_features, lambda x: x.sum(axis=1), window=window, stride=stride)


def test_scores_that_are_not_finite_are_refused() -> None:
    with pytest.raises(OcclusionError, match="finite"):
        occlusion_map(torch.zeros(3, 16, 16), pixels_as_features, lambda x: x.sum(axis=1) * np.nan)


def with_rings(stamps: NDArray[np.float32], seed: int) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Each stamp with a ring of 2 to 3 arcsec somewhere 6.5 to 8.5 arcsec off its centre; column, row, radius."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: stamps.shape[2], : stamps.shape[3]] + 0.5
    ringed, places = stamps.copy(), np.empty((len(stamps), 3))
    for i in range(len(stamps)):
        angle = rng.uniform(0, 2 * np.pi)
        off, radius = np.array([rng.uniform(6.5, 8.5), rng.uniform(2, 3)]) / LEGACY_PIXEL_SCALE
        column, row = stamps.shape[3] / 2 + off * np.cos(angle), stamps.shape[2] / 2 + off * np.sin(angle)
        ring = np.exp(-0.5 * ((np.hypot(x - column, y - row) - radius) / 2.2) ** 2).astype(np.float32)
        ringed[i] += ring * RING_LIGHT[:, None, None]
        places[i] = column, row, radius
    return ringed, places


def on_picture(place: NDArray[np.float64], side: int, rendering: Rendering) -> tuple[float, float, float]:
    """Column, row and radius on the picture of a place on a stamp of `side` pixels."""
    crop = round(rendering.field / LEGACY_PIXEL_SCALE)
    scale, first = rendering.size / crop, (side - crop) // 2
    return (place[0] - first) * scale, (side - place[1] - first) * scale, place[2] * scale


def test_most_peaks_lie_on_an_injected_ring_and_not_on_the_galaxy() -> None:
    # the peaks of models/lvm-nano-2 lie elsewhere: docs/why/what-to-label.md
    lvm, card = load_checkpoint(ROOT / EARLIER_LVM)
    encoder = Encoder(lvm, card.rendering, views=4)
    galaxies = draw_catalogue(TAUGHT + SHOWN, 8)
    plain = np.stack([draw_stamp(galaxy, row) for row, galaxy in enumerate(galaxies)])
    ringed, places = with_rings(plain, seed=1)
    without, rings = (render(stamps, card.rendering, kind="nanomaggies") for stamps in (plain, ringed))
    taught = torch.cat([without[:TAUGHT], rings[:TAUGHT]])
    features = torch.cat([encoder.features(part) for part in taught.split(50)]).numpy()
    head = PreferenceHead.fit(features, ["no"] * TAUGHT + ["yes"] * TAUGHT, seed=0)
    on_ring = on_galaxy = 0
    for picture, place in zip(rings[TAUGHT:], places[TAUGHT:], strict=True):
        found = occlusion_map(picture, encoder.features, head.log_odds)
        row, column = np.argwhere(found >= found.max() - 1e-9).mean(axis=0) + 0.5
        x, y, radius = on_picture(place, plain.shape[2], card.rendering)
        on_ring += bool(np.hypot(column - x, row - y) < 1.3 * radius)
        on_galaxy += bool(np.hypot(column - card.rendering.size / 2, row - card.rendering.size / 2) < radius)
    # one place in fifteen is on a ring; galaxies that are odd themselves are what the rest of the peaks lie on
    assert on_ring > SHOWN / 2 and on_galaxy <= 1
