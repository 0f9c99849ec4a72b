"""Detection metrics against cases worked out by hand and a naive twin."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lvm_training.objects.instances import Instances
from lvm_training.objects.metrics import (
    MetricError,
    average_precision,
    completeness,
    detection_accuracy,
    false_positive_threshold,
    object_confusion,
    picture_scores,
    purity_at,
)

SHAPE = (20, 24)


def found(*objects: tuple[str, tuple[int, int, int, int], float]) -> Instances:
    """Objects whose masks fill their boxes."""
    masks = np.zeros((len(objects), *SHAPE), dtype=bool)
    for mask, (_, (x0, y0, x1, y1), _) in zip(masks, objects, strict=True):
        mask[y0:y1, x0:x1] = True
    boxes = np.array([box for _, box, _ in objects], dtype=float).reshape(-1, 4)
    scores = np.array([score for *_, score in objects])
    return Instances(tuple(name for name, *_ in objects), boxes, masks, scores)


ARC = ("arc", (2, 2, 12, 12), 1.0)
GALAXY = ("galaxy", (14, 2, 20, 8), 1.0)
NOTHING = Instances.empty(SHAPE)


@pytest.mark.parametrize(
    ("truth", "seen", "right"),
    [
        (found(ARC), found(("arc", (2, 2, 12, 12), 0.5)), True),
        (found(ARC), found(("arc", (2, 2, 12, 12), 0.49)), False),
        # 10 x 5 of 10 x 10: exactly half
        (found(ARC), found(("arc", (2, 2, 12, 7), 0.9)), True),
        (found(ARC), found(("arc", (2, 2, 12, 6), 0.9)), False),
        # the best one counts, whatever else is found
        (found(ARC), found(("arc", (14, 14, 20, 20), 0.9), ("arc", (2, 2, 12, 12), 0.8)), False),
        (found(ARC, GALAXY), found(("arc", (3, 2, 12, 12), 0.9), ("galaxy", (2, 2, 12, 12), 0.95)), True),
        (found(ARC), found(("galaxy", (2, 2, 12, 12), 0.9)), False),
        (found(ARC), NOTHING, False),
        (NOTHING, NOTHING, True),
        (found(GALAXY), found(("galaxy", (14, 2, 20, 8), 0.9)), True),
        (found(GALAXY), found(("arc", (14, 2, 20, 8), 0.5)), False),
        (found(GALAXY), found(("arc", (14, 2, 20, 8), 0.4)), True),
    ],
)
def test_what_counts_as_right(truth: Instances, seen: Instances, right: bool) -> None:
    assert detection_accuracy([truth], [seen], "arc") == right


def test_accuracy_is_a_mean_and_scores_are_the_best_ones() -> None:
    truths = [found(ARC), NOTHING, found(ARC), found(GALAXY)]
    seen = [found(("arc", (2, 2, 12, 12), 0.9), ("arc", (0, 0, 3, 3), 0.2)), found(("arc", (0, 0, 3, 3), 0.7)), NOTHING]
    assert detection_accuracy(truths, [*seen, NOTHING], "arc") == 0.5
    assert picture_scores(seen, "arc").tolist() == [0.9, 0.7, 0]


@given(
    st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=12, max_size=60).filter(
        lambda rows: any(p for _, p in rows) and sum(not p for _, p in rows) >= 10
    ),
    st.sampled_from([0.1, 0.2, 0.5]),
)
def test_completeness_by_trying_every_threshold(rows: list[tuple[int, bool]], rate: float) -> None:
    scores, positive = np.array([s for s, _ in rows], dtype=float), np.array([p for _, p in rows])
    best = 0.0
    for threshold in {-1.0, *scores.tolist()}:
        if (scores[~positive] > threshold).mean() <= rate + 1e-9:
            best = max(best, (scores[positive] > threshold).mean())
    assert completeness(scores, positive, rate) == pytest.approx(best)
    threshold = false_positive_threshold(scores, positive, rate)
    assert (scores[~positive] > threshold).mean() <= rate + 1e-9
    assert (scores[positive] > threshold).mean() == pytest.approx(best)


def test_completeness_needs_enough_negatives() -> None:
    scores, positive = np.arange(100.0), np.arange(100) >= 50
    with pytest.raises(MetricError, match="100 negatives"):
        completeness(scores, positive, 0.01)
    with pytest.raises(MetricError, match="0 positives"):
        completeness(scores, np.zeros(100, dtype=bool), 0.1)


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), min_size=1, max_size=9), st.data())
def test_purity_is_the_mean_over_orders_of_ties(rows: list[tuple[int, bool]], data: st.DataObject) -> None:
    count = data.draw(st.integers(1, len(rows)))
    scores, positive = np.array([s for s, _ in rows], dtype=float), np.array([p for _, p in rows])
    rng = np.random.default_rng(0)
    drawn = []
    for _ in range(3000):
        order = np.lexsort((rng.random(len(rows)), -scores))[:count]
        drawn.append(positive[order].mean())
    assert purity_at(scores, positive, count) == pytest.approx(np.mean(drawn), abs=0.04)


def test_purity_of_more_pictures_than_there_are() -> None:
    with pytest.raises(MetricError, match="3 pictures"):
        purity_at(np.ones(3), np.ones(3, dtype=bool), 4)


@pytest.mark.parametrize("kind", ["bbox", "segm"])
def test_average_precision_of_easy_cases(kind: str) -> None:
    truths = [found(ARC), found(ARC, GALAXY), NOTHING]

    def measured(*seen: Instances) -> dict[str, float]:
        return average_precision(truths, seen, ("arc", "deflector", "galaxy"), kind=kind)  # type: ignore[arg-type]

    perfect = measured(found(ARC), found(ARC, GALAXY), NOTHING)
    assert perfect["ap"] == perfect["ap50"] == perfect["ap_arc"] == pytest.approx(1)
    assert math.isnan(perfect["ap_deflector"])
    # one of two arcs, before any false one: precision 1 up to a recall of one half, 0 beyond (51 of 101 steps)
    half = measured(found(ARC), NOTHING, found(("arc", (0, 0, 3, 3), 0.1)))
    assert half["ap50_arc"] == pytest.approx(51 / 101) and half["ap50_galaxy"] == 0
    # nine tenths of the box: counts at IoU up to 0.9, that is at 9 of 10 thresholds
    loose = measured(found(("arc", (2, 2, 12, 11), 0.9)), found(("arc", (2, 2, 12, 11), 0.9), GALAXY), NOTHING)
    assert loose["ap_arc"] == pytest.approx(0.9, abs=0.001)
    nothing = measured(NOTHING, NOTHING, NOTHING)
    assert nothing["ap"] == nothing["ap50"] == 0


def test_metrics_need_a_truth_for_each_picture() -> None:
    for call in (
        lambda: detection_accuracy([NOTHING], [], "arc"),
        lambda: detection_accuracy([], [], "arc"),
        lambda: average_precision([NOTHING], [NOTHING] * 2, ("arc",), kind="bbox"),
    ):
        with pytest.raises(MetricError, match="cannot be compared"):
            call()


def row(*objects: tuple[str, int, float]) -> Instances:
    """Objects of six pixels by six, in a row from these columns on."""
    return found(*((name, (left, 0, left + 6, 6), score) for name, left, score in objects))


def test_objects_are_counted_by_what_they_were_found_as() -> None:
    truth = row(("arc", 0, 1), ("arc", 8, 1), ("galaxy", 16, 1))
    # the second arc is taken for a galaxy; one of two on the first finds it, and one lies where nothing is
    seen = row(("arc", 1, 0.6), ("arc", 2, 0.9), ("galaxy", 8, 0.8), ("galaxy", 17, 0.7), ("galaxy", 12, 0.7))
    assert object_confusion([truth], [seen], ("arc", "galaxy")).tolist() == [[1, 1, 0], [0, 1, 0], [1, 1, 0]]


def test_an_object_of_its_own_class_finds_it_before_a_surer_one_of_another() -> None:
    seen = row(("galaxy", 0, 0.9), ("arc", 1, 0.5))
    assert object_confusion([row(("arc", 0, 1))], [seen], ("arc", "galaxy")).tolist() == [
        [1, 0, 0],
        [0, 0, 0],
        [0, 1, 0],
    ]


def test_nothing_found_and_nothing_there_are_counted_too() -> None:
    truth, nobody = row(("arc", 0, 1), ("galaxy", 8, 1)), row()
    assert object_confusion([truth], [nobody], ("arc", "galaxy")).tolist() == [[0, 0, 1], [0, 0, 1], [0, 0, 0]]
    assert object_confusion([nobody], [truth], ("arc", "galaxy")).tolist() == [[0, 0, 0], [0, 0, 0], [1, 1, 0]]
    with pytest.raises(MetricError):
        object_confusion([], [], ("arc",))
