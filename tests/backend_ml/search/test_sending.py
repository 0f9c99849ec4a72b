"""Which stamps of a search are sent to Label Studio."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.lib.format import open_memmap

from backend_ml.search.rounds import Examples, probabilities
from backend_ml.search.sending import tasks_of
from backend_ml.store.records import CampaignError
from lvm_training.pool.features import Features, Origin
from tests.backend_ml.sky import ENCODER

N, D = 24, 8
NONE = np.empty((0, D), np.float32)


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Features:
    """Features of which rows 5 and 17 are not finite."""
    path = tmp_path_factory.mktemp("pool") / "sky.npy"
    matrix = open_memmap(path, mode="w+", dtype=np.float16, shape=(N, D))
    matrix[:] = np.random.default_rng(0).normal(size=(N, D))
    matrix[[5, 17]] = np.nan
    matrix.flush()
    origin = Origin(name="sky", stamps="d", encoder=ENCODER, rows=N, width=D)
    path.with_suffix(".json").write_text(origin.model_dump_json())
    return Features.open(path)


LABELS = st.dictionaries(st.integers(0, N - 1), st.sampled_from(["yes", "no", "unsure"]), max_size=12)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(labels=LABELS, top=st.integers(1, N + 3), seed=st.integers(0, 3))
def test_the_likeliest_without_a_label_and_then_the_undecided(
    pool: Features, labels: dict[int, str], top: int, seed: int
) -> None:
    examples, undecided = Examples(labels, NONE), [row for row, label in labels.items() if label == "unsure"]
    if not any(label == "yes" and row not in (5, 17) for row, label in labels.items()):
        with pytest.raises(CampaignError, match="Nothing is labelled yes yet"):
            tasks_of(pool, examples, undecided, top=top, seed=seed)
        return
    sent = tasks_of(pool, examples, undecided, top=top, seed=seed)
    found = probabilities(pool, examples, seed=seed)
    assert found is not None
    # by hand: one after the other, the likeliest of those that are left
    left = [row for row in range(N) if row not in labels and row not in (5, 17)]
    wanted = []
    while left and len(wanted) < top:
        best = max(left, key=lambda row: (found[row], -row))
        wanted.append(best)
        left.remove(best)
    assert sent == [*wanted, *undecided]


def test_a_label_of_a_stamp_that_is_no_longer_there_is_passed_over(pool: Features) -> None:
    examples = Examples({0: "yes", 1: "no", N + 100: "no"}, NONE)
    assert sorted(tasks_of(pool, examples, [], top=N, seed=0)) == sorted(set(range(N)) - {0, 1, 5, 17})


def test_a_picture_alone_is_something_to_look_for(pool: Features) -> None:
    picture = np.asarray(pool.matrix[3:4], dtype=np.float32)
    assert 3 in tasks_of(pool, Examples({}, picture), [], top=N // 4, seed=0)
    with pytest.raises(CampaignError):
        tasks_of(pool, Examples({}, np.full((1, D), np.nan, np.float32)), [], top=1, seed=0)
