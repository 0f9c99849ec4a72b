"""Which stamps a round shows."""

from pathlib import Path

import numpy as np
import pytest
from numpy.lib.format import open_memmap

from backend_ml.acquisition.measures import PolicyError
from backend_ml.search.rounds import OFFERED, Examples, choose, probabilities
from lvm_training.pool.features import Features, Origin
from tests.backend_ml.sky import ENCODER

N, D, CLASSES = 60, 16, 6
NO_PICTURES = np.empty((0, D), np.float32)


def pool(folder: Path, matrix: np.ndarray, name: str = "sky") -> Features:
    shard = open_memmap(folder / f"{name}.npy", mode="w+", dtype=np.float16, shape=matrix.shape)
    shard[:] = matrix
    shard.flush()
    origin = Origin(name=name, stamps="d", encoder=ENCODER, rows=len(matrix), width=matrix.shape[1])
    (folder / f"{name}.json").write_text(origin.model_dump_json())
    return Features.open(folder / f"{name}.npy")


def classes() -> np.ndarray:
    """Row i is of class i % 6, with noise that leaves no doubt of it."""
    return np.eye(CLASSES, D)[np.arange(N) % CLASSES] * 4 + np.random.default_rng(0).normal(scale=0.1, size=(N, D))


@pytest.fixture
def sky(tmp_path: Path) -> Features:
    return pool(tmp_path, classes())


def test_before_anything_is_liked_stamps_differ_as_much_as_they_can(sky: Features) -> None:
    choice = choose(sky, Examples({}, NO_PICTURES), policy="loop", size=CLASSES, seed=1)
    assert choice.policy == "k-centre" and choice.candidates == N
    assert {stamp.stamp_id % CLASSES for stamp in choice.stamps} == set(range(CLASSES))
    assert all(stamp.probability is None and stamp.similarity is None for stamp in choice.stamps)
    refused = choose(sky, Examples({0: "no"}, NO_PICTURES), policy="loop", size=CLASSES - 1, seed=1)
    assert 0 not in {stamp.stamp_id % CLASSES for stamp in refused.stamps}


def test_one_example_finds_its_like(sky: Features) -> None:
    choice = choose(sky, Examples({3: "yes"}, NO_PICTURES), policy="loop", size=9, seed=1)
    assert choice.policy == "similarity"
    assert {stamp.stamp_id for stamp in choice.stamps} == set(range(9, N, CLASSES))
    assert all((stamp.similarity or 0) > 0.8 for stamp in choice.stamps)
    found = probabilities(sky, Examples({3: "yes"}, NO_PICTURES), seed=1)
    assert found is not None and found[9::CLASSES].mean() > np.delete(found, range(3, N, CLASSES)).mean()


def test_a_picture_that_is_no_stamp_is_an_example_like_any_other(sky: Features) -> None:
    picture = np.eye(CLASSES, D, dtype=np.float32)[[4]] * 4
    choice = choose(sky, Examples({}, picture), policy="loop", size=10, seed=1)
    assert {stamp.stamp_id for stamp in choice.stamps} == set(range(4, N, CLASSES))


@pytest.mark.parametrize("policy", OFFERED)
def test_every_policy_passes_over_what_is_labelled(sky: Features, policy: str) -> None:
    labels = {0: "yes", 6: "yes", 12: "yes", 1: "no", 2: "no", 18: "unsure", 5: "artefact / not a galaxy"}
    examples = Examples(labels, NO_PICTURES)
    first, again = (choose(sky, examples, policy=policy, size=7, seed=3) for _ in range(2))
    assert first == again and first.policy == policy and len(first.stamps) == 7
    assert not {stamp.stamp_id for stamp in first.stamps} & set(labels)
    assert all(0 < stamp.propensity <= 1 for stamp in first.stamps)
    if policy == "most-likely":
        assert {stamp.stamp_id for stamp in first.stamps} == set(range(24, N, CLASSES)) | {
            stamp.stamp_id for stamp in first.stamps[6:]
        }
        order = [stamp.probability for stamp in first.stamps]
        assert order == sorted(order, key=lambda p: -(p or 0))


def test_what_others_have_before_them_is_taken_last(sky: Features) -> None:
    examples = Examples({3: "yes"}, NO_PICTURES)
    mine = choose(sky, examples, policy="loop", size=4, seed=1)
    others = [stamp.stamp_id for stamp in mine.stamps]
    second = choose(sky, examples, policy="loop", size=4, seed=1, aside=others)
    assert not {stamp.stamp_id for stamp in second.stamps} & set(others)
    everything = choose(sky, examples, policy="loop", size=4, seed=1, aside=range(N))
    assert everything == mine


def test_liking_all_there_is_leaves_an_empty_round(sky: Features) -> None:
    choice = choose(sky, Examples(dict.fromkeys(range(N), "yes"), NO_PICTURES), policy="loop", size=5, seed=1)
    assert choice.stamps == () and choice.candidates == 0


def test_a_pool_of_one(tmp_path: Path) -> None:
    one = pool(tmp_path, classes()[:1])
    (stamp,) = choose(one, Examples({}, NO_PICTURES), policy="loop", size=20, seed=1).stamps
    assert stamp.stamp_id == 0
    wanted = choose(one, Examples({}, np.ones((1, D), np.float32)), policy="loop", size=20, seed=1)
    assert [stamp.stamp_id for stamp in wanted.stamps] == [0]
    assert choose(one, Examples({0: "yes"}, NO_PICTURES), policy="loop", size=20, seed=1).stamps == ()


def test_identical_features_are_shown_all_the_same(tmp_path: Path) -> None:
    same = pool(tmp_path, np.ones((30, D)))
    for labels in ({}, {0: "yes"}, {0: "yes", 1: "yes", 2: "yes", 3: "no"}):
        choice = choose(same, Examples(labels, NO_PICTURES), policy="loop", size=5, seed=1)
        assert len({stamp.stamp_id for stamp in choice.stamps} - set(labels)) == 5


def test_stamps_without_finite_features_are_left_out_and_counted(tmp_path: Path) -> None:
    matrix = classes()
    matrix[9], matrix[15, 3], matrix[20] = np.nan, np.inf, np.nan
    broken = pool(tmp_path, matrix)
    examples = Examples({3: "yes", 21: "yes", 27: "yes", 20: "yes", 1: "no"}, NO_PICTURES)
    choice = choose(broken, examples, policy="most-likely", size=N, seed=1)
    assert choice.left_out == 3 and len(choice.stamps) == N - 3 - 4
    assert not {stamp.stamp_id for stamp in choice.stamps} & {9, 15, 20}
    found = probabilities(broken, examples, seed=1)
    assert found is not None and np.isnan(found[[9, 15, 20]]).all() and np.isfinite(found).sum() == N - 3
    assert found[33] > found[34]


def test_a_policy_that_is_not_offered_is_refused(sky: Features) -> None:
    with pytest.raises(PolicyError, match="no policy 'bald'") as caught:
        choose(sky, Examples({}, NO_PICTURES), policy="bald", size=5, seed=1)
    assert "most-likely" in caught.value.hint


def test_of_a_large_pool_the_most_likely_are_judged(sky: Features, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backend_ml.search.rounds.MOST_CANDIDATES", 12)
    monkeypatch.setattr("backend_ml.search.rounds.CHUNK", 7)
    monkeypatch.setattr("backend_ml.queue.ranking.SAMPLE", 12)
    wanted = Examples({3: "yes", 9: "yes", 15: "yes"}, NO_PICTURES)
    choice = choose(sky, wanted, policy="most-likely", size=7, seed=1)
    assert (
        choice.candidates == 12 and len({stamp.stamp_id for stamp in choice.stamps} & set(range(21, N, CLASSES))) >= 6
    )
    assert choose(sky, wanted, policy="random", size=7, seed=1).candidates == N - 3, "a blind draw is from all"
    cold = choose(sky, Examples({}, NO_PICTURES), policy="loop", size=7, seed=1)
    assert cold.candidates == 12 and len(cold.stamps) == 7
