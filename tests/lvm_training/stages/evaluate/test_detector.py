"""What stage `evaluate_detector` measures, against values computed by hand."""

import math
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from lvm_training.lenses.lens_sets import LensSplit
from lvm_training.lenses.lookalikes import LENS, RING
from lvm_training.objects.instances import Instances
from lvm_training.stages.evaluate import detector as stage
from lvm_training.stages.evaluate.detector import completeness_metrics, detection_metrics, pool_metrics

SIDE = 40
NOTHING = Instances.empty((SIDE, SIDE))


def square(name: str, corner: int, score: float = 1.0, *, side: int = 10) -> Instances:
    """An object of `side` pixels along the diagonal."""
    mask = np.zeros((1, SIDE, SIDE), dtype=bool)
    mask[0, corner : corner + side, corner : corner + side] = True
    whole = Instances.of_masks((name,), mask)
    return Instances(whole.classes, whole.boxes, whole.masks, np.array([score]))


def together(*objects: Instances) -> Instances:
    boxes, masks, scores = (
        np.concatenate([getattr(one, part) for one in objects]) for part in ("boxes", "masks", "scores")
    )
    return Instances(tuple(one.classes[0] for one in objects), boxes, masks, scores)


def split(truths: list[Instances], kinds: list[str]) -> LensSplit:
    return LensSplit(torch.zeros(len(truths), 3, SIDE, SIDE), truths, np.array(kinds))


def test_accuracy_and_precision_of_four_pictures() -> None:
    truths = [
        together(square("arc", 5), square("deflector", 20)),
        square("arc", 5),
        square("galaxy", 5),
        NOTHING,
    ]
    found = [
        # the arc where it is, and the deflector
        together(square("arc", 5, 0.9), square("deflector", 20, 0.8)),
        # the arc elsewhere: wrong, and a false detection
        square("arc", 25, 0.7),
        # no arc above one half: right, though the galaxy is not found
        square("arc", 5, 0.4),
        NOTHING,
    ]
    metrics = detection_metrics(split(truths, [LENS, LENS, RING, RING]), found)
    assert metrics["accuracy"] == 3 / 4
    # arcs: one of two found, first in order; COCO takes precision at 101 recalls, of which 0 to 0.5 are reached
    arc = 51 / 101
    for kind in ("box", "mask"):
        for at in ("ap", "ap50"):
            expected = {"_arc": arc, "_deflector": 1, "_galaxy": 0, "": (arc + 1 + 0) / 3}
            measured = {name: metrics[f"{kind}_{at}{name}"] for name in expected}
            assert measured == pytest.approx(expected)
    assert not any(name.startswith("completeness") for name in metrics), "two negatives resolve no rate"


def test_boxes_and_masks_are_measured_each_by_its_own() -> None:
    """A box as drawn around a mask of which half is found: overlap 1 and 1/2, so AP 1 and the first of ten limits."""
    truth, mask = square("arc", 5), np.zeros((1, SIDE, SIDE), dtype=bool)
    mask[0, 5:10, 5:15] = True
    found = Instances(("arc",), truth.boxes, mask, np.array([0.9]))
    metrics = detection_metrics(split([truth], [LENS]), [found])
    measured = [metrics[name] for name in ("accuracy", "box_ap", "box_ap50_arc", "mask_ap50", "mask_ap")]
    assert measured == pytest.approx([1, 1, 1, 1, 0.1])
    assert math.isnan(metrics["box_ap_deflector"]) and math.isnan(metrics["mask_ap50_galaxy"])


def test_completeness_at_the_rates_that_negatives_resolve() -> None:
    """Of 200 negatives two may score higher, so the third best, 0.7, must be beaten."""
    scores = np.concatenate([[0.95, 0.8, 0.7, 0.6], np.zeros(200)])
    scores[4:7] = 0.9, 0.85, 0.7
    positive = np.arange(204) < 4
    assert completeness_metrics(scores, positive) == {"completeness_0.01": 2 / 4}
    assert completeness_metrics(scores[:103], positive[:103]) == {}
    assert completeness_metrics(np.array([0.5, 0.1]), np.array([True, False])) == {}
    many = np.concatenate([scores, np.zeros(800)])
    # of 1000 negatives ten are allowed, which leaves the zeros, and one, which leaves 0.85
    assert completeness_metrics(many, np.arange(1004) < 4) == {"completeness_0.01": 1.0, "completeness_0.001": 1 / 4}


class Told:
    """Says of each picture what its first pixel holds as the arc's score."""

    design = SimpleNamespace(size=SIDE)

    def predict(self, images: torch.Tensor) -> list[Instances]:
        return [square("arc", 5, float(picture[0, 0, 0])) for picture in images]


def test_purity_of_the_best_of_a_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    """300 stamps in two batches with 3 lenses; 100 are asked for, among them two lenses and one that ties with none."""
    scores = np.linspace(0.6, 0.001, 300).astype(np.float32)
    lens = np.zeros(300, dtype=bool)
    lens[[0, 50, 200]] = True
    asked: list[Any] = []

    def pool(*arguments: Any, **options: Any) -> Iterator[tuple[torch.Tensor, np.ndarray[Any, Any]]]:
        asked.extend([arguments[0], arguments[1], options["seed"]])
        for rows in (slice(0, 180), slice(180, 300)):
            images = torch.zeros(rows.stop - rows.start, 3, SIDE, SIDE)
            images[:, 0, 0, 0] = torch.from_numpy(scores[rows])
            yield images, lens[rows]

    monkeypatch.setattr(stage, "draw_pool", pool)
    monkeypatch.setattr(stage, "population_of", lambda lenses: None)
    metrics = pool_metrics(Told(), SimpleNamespace(seed=9), 300)  # type: ignore[arg-type]
    # of 297 negatives two may score higher: the first lens alone beats the third
    assert metrics == {"pool_completeness_0.01": pytest.approx(1 / 3), "pool_purity": pytest.approx(2 / 100)}
    assert asked == [300, stage.PREVALENCE, 9]
