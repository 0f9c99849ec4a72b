"""The best stamps of a large pool: the same as judging all at once, block by block."""

import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from backend_ml.acquisition.measures import Candidates
from backend_ml.acquisition.policy import judge
from backend_ml.kinds.installed import find_kind
from backend_ml.queue import ranking
from backend_ml.queue.ranking import Labelled, Waiting, rank, ranking_seed
from backend_ml.store.features import FeatureStore
from backend_ml.store.records import Campaign
from lvm_training.heads.classification import ClassificationHead
from lvm_training.pool.features import Features, FeaturesError, Origin
from lvm_training.tables.snapshot import Snapshot
from tests.backend_ml.conftest import CLASSES

N = 3000
COUNT = 40


@pytest.fixture
def features(tmp_path: Path) -> Features:
    """A pool of 3,000 rows of five overlapping kinds."""
    rng = np.random.default_rng(0)
    matrix = (np.eye(5, 12)[np.arange(N) % 5] * 2 + rng.normal(size=(N, 12))).astype(np.float16)
    np.save(tmp_path / "pool.npy", matrix)
    origin = Origin(name="pool", stamps="d", encoder="e", rows=N, width=12)
    (tmp_path / "pool.json").write_text(origin.model_dump_json())
    return Features.open(tmp_path / "pool.npy")


def examples(campaign: Campaign, features: Features, n: int = 10) -> Labelled:
    """Labelled rows, a fifth of each class, or of what is looked for and of other kinds."""
    store = FeatureStore({"pool": str(features.path)}, "e")
    names = [("yes" if row % 5 == 4 else "no") if campaign.kind == "interest" else CLASSES[row % 5] for row in range(n)]
    return Labelled.read(campaign, Snapshot(["pool"] * n, list(range(n)), names), store)


class Best(NamedTuple):
    """The rows of a pool that a policy takes first."""

    rows: np.ndarray[Any, Any]
    propensity: np.ndarray[Any, Any]
    policy: str
    seed: int


def best_of_pool(
    campaign: Campaign,
    features: Features,
    rows: np.ndarray[Any, Any],
    predict: Callable[[Any], Any] | None,
    labelled: Labelled,
    last_event: int,
    count: int,
) -> Best:
    waiting = Waiting(len(rows), lambda places: features.rows(rows[places]), predict=predict)
    seed = ranking_seed(campaign, last_event)
    ranked = rank(campaign.policy, waiting, labelled, batch=count, seed=seed)
    best = ranked.best(count)
    return Best(rows[best], ranked.propensity[best], ranked.policy, ranked.seed)


def a_head(features: Features, classes: tuple[str, ...], labelled: Labelled) -> ClassificationHead:
    return ClassificationHead.fit(labelled.features, labelled.labels, seed=0, classes=classes)


def searching(campaign: Campaign) -> Campaign:
    return replace(campaign, kind="interest", classes=("yes", "no"))


@pytest.mark.parametrize("name", find_kind("morphology").policies)
def test_blocks_give_what_judging_all_at_once_gives(
    campaign: Campaign, features: Features, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(ranking, "BLOCK", 700)
    chosen, rows = replace(campaign, policy=name), np.arange(10, N)
    labelled = examples(chosen, features)
    head = a_head(features, CLASSES, labelled)
    best = best_of_pool(chosen, features, rows, head.predict, labelled, 3, COUNT)
    everything = features.rows(rows)
    heads = labelled.ensemble(everything, ranking_seed(chosen, 3))
    nobody = labelled.of(looked_for=True)
    known = Candidates(everything, head.predict(everything), heads, nobody, labelled.of(looked_for=False))
    whole = judge(name, known, batch=COUNT, seed=ranking_seed(chosen, 3))
    order = np.argsort(-whole.worth, kind="stable")[:COUNT]
    assert (best.policy, best.seed) == (name, ranking_seed(chosen, 3))
    assert list(best.rows) == list(rows[order])
    np.testing.assert_allclose(best.propensity, whole.propensity[order])
    assert ((best.propensity > 0) & (best.propensity <= 1)).all()


def test_similarity_is_about_the_centre_of_the_whole_pool(
    campaign: Campaign, features: Features, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen, rows = replace(searching(campaign), policy="similarity"), np.arange(10, N)
    labelled = examples(chosen, features)
    found = []
    for size in (N, 256):
        monkeypatch.setattr(ranking, "BLOCK", size)
        found.append(list(best_of_pool(chosen, features, rows, None, labelled, 3, COUNT).rows))
    assert found[0] == found[1]
    assert np.mean(np.array(found[0]) % 5 == 4) > 0.5, "a fifth of the pool is of the kind that is looked for"


def test_an_ensemble_of_a_search_has_one_background(
    campaign: Campaign, features: Features, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranking, "BLOCK", 1000)
    chosen = replace(searching(campaign), policy="expected-improvement")
    labelled = examples(chosen, features, 15)
    best = best_of_pool(
        chosen, features, np.arange(15, N), lambda block: np.full((len(block), 2), 0.5), labelled, 3, COUNT
    )
    assert best.policy == "expected-improvement" and len(set(best.rows)) == COUNT


def test_a_cold_start_spreads_over_a_sample(
    campaign: Campaign, features: Features, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranking, "SAMPLE", 500)
    nothing = Labelled.read(campaign, Snapshot([], [], []), FeatureStore({}, "e"))
    best = best_of_pool(campaign, features, np.arange(N), None, nothing, 0, COUNT)
    assert best.policy == "k-centre" and len(set(best.rows)) == COUNT
    assert set(best.propensity) == {500 / N}


def test_an_ensemble_that_the_labels_do_not_allow(campaign: Campaign, features: Features) -> None:
    nothing = Labelled.read(campaign, Snapshot([], [], []), FeatureStore({}, "e"))
    bald = replace(campaign, policy="bald")
    answers = lambda block: np.full((len(block), 5), 0.2)  # noqa: E731
    assert best_of_pool(bald, features, np.arange(N), answers, nothing, 0, COUNT).policy == "k-centre"


@pytest.mark.parametrize(("size", "count"), [(0, 5), (1, 5), (7, 5), (5, 0)])
def test_small_pools(campaign: Campaign, features: Features, size: int, count: int) -> None:
    labelled = examples(campaign, features)
    for name in find_kind("morphology").policies:
        chosen = replace(campaign, policy=name)
        head = a_head(features, CLASSES, labelled)
        best = best_of_pool(chosen, features, np.arange(size), head.predict, labelled, 3, count)
        assert len(set(best.rows)) == len(best.propensity) == min(size, count)


def test_features_that_are_not_finite_are_named(campaign: Campaign, features: Features, tmp_path: Path) -> None:
    matrix = np.array(features.matrix)
    matrix[77] = np.nan
    np.save(tmp_path / "pool.npy", matrix)
    broken = Features.open(tmp_path / "pool.npy")
    nothing = Labelled.read(campaign, Snapshot([], [], []), FeatureStore({}, "e"))
    with pytest.raises(FeaturesError, match="not finite: 77"):
        best_of_pool(campaign, broken, np.arange(N), None, nothing, 0, COUNT)


@pytest.mark.parametrize(("policy", "heads"), [("margin", 1), ("loop", 1), ("powerbald", 5)])
def test_memory_holds_a_number_for_each_galaxy_and_not_every_answer(
    campaign: Campaign, features: Features, policy: str, heads: int
) -> None:
    rows, labelled = 20 * ranking.BLOCK, examples(campaign, features)
    answers = np.random.default_rng(0).dirichlet(np.ones(len(CLASSES)), ranking.BLOCK)
    matrix = features.rows(np.arange(500))
    waiting = Waiting(rows, lambda places: matrix[places % 500], predict=lambda block: answers[: len(block)])
    tracemalloc.start()
    try:
        ranked = rank(policy, waiting, labelled, batch=COUNT, seed=1)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    block = ranking.BLOCK * (8 * len(CLASSES) * heads + 4 * matrix.shape[1])
    assert ranked.policy == policy and len(ranked.best(COUNT)) == COUNT
    # places, what two measures say, their ranks, what is drawn: numbers for each galaxy
    assert peak < 8 * 8 * rows + 8 * block < 8 * len(CLASSES) * (heads + 1) * rows + 8 * block
