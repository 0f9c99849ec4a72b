"""What is unusual comes first, but for stamps that show no galaxy and what is like something labelled."""

import numpy as np
import pytest

from backend_ml.acquisition.measures import Candidates
from backend_ml.acquisition.policy import judge
from backend_ml.queue import ranking
from backend_ml.queue.ranking import Labelled, Waiting, rank
from lvm_training.index import outliers
from lvm_training.index.outliers import Outliers
from lvm_training.parameters.flags import show_galaxies

CLASSES = ("no", "yes")
STRANGE = [3, 50, 111]


def features() -> np.ndarray:
    """Two hundred galaxies, three of which are like no other."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(200, 16)).astype(np.float32)
    rows[STRANGE] += 9 * np.eye(16, dtype=np.float32)[[1, 5, 9]]
    return rows


def nobody(wanted: int | None = None) -> Labelled:
    return Labelled(np.empty((0, 16), np.float32), (), CLASSES, wanted, wanted is not None)


def test_the_strange_come_first_without_any_label_or_model() -> None:
    rows = features()
    for labelled in (nobody(), nobody(1)):
        found = rank("unusual", Waiting(200, lambda places: rows[places]), labelled, batch=3, seed=0)
        assert found.policy == "unusual" and set(found.best(3)) == set(STRANGE) and found.set_apart == 0
    expected = Outliers.fit(rows).scores(rows)
    np.testing.assert_allclose(judge("unusual", Candidates(rows), batch=3, seed=0).worth, expected, rtol=1e-6)


def test_what_is_like_something_labelled_is_not_unusual_any_more() -> None:
    rows = features()
    twin = rows[[50]] + 0.01
    labelled = Labelled(twin, ("yes",), CLASSES, 1, True)
    found = rank("unusual", Waiting(200, lambda places: rows[places]), labelled, batch=3, seed=0)
    assert found.policy == "unusual", "one example does not change what was asked for"
    assert set(found.best(2)) == {3, 111} and found.worth[50] == found.worth.min()


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = features()
    waiting = Waiting(200, lambda places: rows[places], outliers=Outliers.fit(rows))
    whole = rank("unusual", waiting, nobody(), batch=5, seed=0).worth
    monkeypatch.setattr(ranking, "BLOCK", 33)
    np.testing.assert_allclose(rank("unusual", waiting, nobody(), batch=5, seed=0).worth, whole, rtol=1e-5)
    learned = Waiting(200, lambda places: rows[places])
    np.testing.assert_allclose(rank("unusual", learned, nobody(), batch=5, seed=0).worth, whole, rtol=1e-5)
    monkeypatch.setattr(outliers, "REFERENCE", 120)
    sampled = rank("unusual", learned, nobody(), batch=5, seed=3).worth
    np.testing.assert_allclose(sampled, Outliers.fit(rows, seed=3).scores(rows), rtol=1e-5)


def test_stamps_that_show_no_galaxy_come_last_and_few_are_looked_at() -> None:
    rows, seen = features(), []
    empty = np.isin(np.arange(200), [3, 111, 7])

    def shows(places: np.ndarray) -> np.ndarray:
        seen.extend(places.tolist())
        return ~empty[places]

    found = rank("unusual", Waiting(200, lambda places: rows[places], shows=shows), nobody(), batch=4, seed=0)
    assert found.best(1).tolist() == [50] and not empty[found.best(150)][:100].any()
    assert found.set_apart == 2 and set(np.argsort(found.worth)[:2]) == {3, 111}
    assert len(seen) == 8 and np.isfinite(found.worth).all()
    nothing = Waiting(200, lambda places: rows[places], shows=lambda places: np.zeros(len(places), bool))
    assert rank("unusual", nothing, nobody(), batch=4, seed=0).set_apart == ranking.LOOKS * 4


def test_a_policy_that_is_not_after_the_unusual_looks_at_no_pixels() -> None:
    def shows(places: np.ndarray) -> np.ndarray:
        raise AssertionError("pixels are not needed")

    waiting = Waiting(200, lambda places: features()[places], shows=shows)
    assert rank("k-centre", waiting, nobody(), batch=4, seed=0).set_apart == 0


def test_small_and_uniform_pools_are_ranked() -> None:
    for rows in (features()[:1], features()[:2], features()[:10], np.ones((30, 16), np.float32)):
        found = rank("unusual", Waiting(len(rows), lambda places: rows[places]), nobody(), batch=20, seed=0)  # noqa: B023
        assert sorted(found.best(20).tolist()) == list(range(len(rows)))[:20] or len(rows) > 20
        assert np.isfinite(found.worth).all()


def test_what_shows_no_galaxy() -> None:
    rng = np.random.default_rng(1)
    y, x = np.mgrid[:64, :64] - 31.5
    galaxy = np.exp(-np.hypot(x, y) / 4) + rng.normal(0, 0.01, size=(3, 64, 64))
    sky, lost, half = rng.normal(0, 0.01, size=(3, 64, 64)), np.full((3, 64, 64), np.nan), galaxy.copy()
    half[:, :, 44:] = np.nan
    stamps = np.stack([galaxy, sky, lost, half, np.zeros((3, 64, 64))]).astype(np.float32)
    assert show_galaxies(stamps).tolist() == [True, False, False, False, False]
    pictures = np.stack([np.clip(255 * galaxy, 5, 255), np.zeros((3, 64, 64)), np.full((3, 64, 64), 255)])
    assert show_galaxies(pictures.astype(np.uint8)).tolist() == [True, False, False]
