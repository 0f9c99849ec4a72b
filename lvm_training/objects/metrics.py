"""How well objects are found: detection accuracy, average precision, completeness and purity.

Detection accuracy is not defined in Fu et al. 2024; here a picture with a lens counts if its best arc, of score 0.5 or
more, overlaps the true one's box by half (intersection over union), and a picture without one if no arc scores 0.5.
"""

import io
from collections.abc import Sequence
from contextlib import redirect_stdout
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from lvm_training.errors import GalaxyLoopError
from lvm_training.objects.coco import CocoAnnotation, coco_annotations, coco_document
from lvm_training.objects.instances import Instances, box_overlaps

SCORE = 0.5
OVERLAP = 0.5

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]


class MetricError(GalaxyLoopError):
    """Detections that cannot be measured."""

    code = "metrics"


def picture_scores(found: Sequence[Instances], name: str) -> Floats:
    """The best score of an object of class `name` on each picture (N,); 0 where there is none."""
    return np.array(
        [max((s for s, c in zip(i.scores, i.classes, strict=True) if c == name), default=0.0) for i in found]
    )


def detection_accuracy(truths: Sequence[Instances], found: Sequence[Instances], name: str) -> float:
    """Share of pictures that are right about objects of class `name` (see the module's text).

    Raises
    ------
    MetricError
        If there are no pictures, or not as many truths as detections.
    """
    return float(right_pictures(truths, found, name).mean())


def right_pictures(truths: Sequence[Instances], found: Sequence[Instances], name: str) -> NDArray[np.bool_]:
    """Which pictures are right about objects of class `name` (N,); see the module's text.

    Raises
    ------
    MetricError
        If there are no pictures, or not as many truths as detections.
    """
    _check(truths, found)
    return np.array([_right(truth, seen, name) for truth, seen in zip(truths, found, strict=True)])


def _right(truth: Instances, found: Instances, name: str) -> bool:
    wanted, seen = (part.rows(np.array([c == name for c in part.classes], dtype=bool)) for part in (truth, found))
    confident = len(seen) > 0 and float(seen.scores.max()) >= SCORE
    if not len(wanted) or not confident:
        return confident == bool(len(wanted))
    best = seen.boxes[[int(seen.scores.argmax())]]
    return bool(box_overlaps(best, wanted.boxes).max() >= OVERLAP)


def object_confusion(truths: Sequence[Instances], found: Sequence[Instances], classes: Sequence[str]) -> Counts:
    """How many objects of each class were found as one of each class (C + 1, C + 1); the last of both is none.

    An object is found by what overlaps its box by half; one of its own class goes before others, of these the higher
    score, and each finds one.

    Raises
    ------
    MetricError
        If there are no pictures, or not as many truths as detections.
    """
    _check(truths, found)
    place, counts = {name: number for number, name in enumerate(classes)}, np.zeros((len(classes) + 1,) * 2, np.int64)
    for truth, seen in zip(truths, found, strict=True):
        pairs = _matched(truth, seen)
        for one, other in pairs.items():
            counts[place[truth.classes[one]], place[seen.classes[other]]] += 1
        for one, name in enumerate(truth.classes):
            counts[place[name], -1] += one not in pairs
        for other, name in enumerate(seen.classes):
            counts[-1, place[name]] += other not in pairs.values()
    return counts


def _matched(truth: Instances, found: Instances) -> dict[int, int]:
    """Which of the found each true object is found by."""
    if not len(truth) or not len(found):
        return {}
    overlaps, pairs = box_overlaps(found.boxes, truth.boxes), dict[int, int]()
    same = np.array([[one == other for other in truth.classes] for one in found.classes])
    for allowed in (same, ~same):
        for number in np.argsort(-found.scores, kind="stable").tolist():
            left = [one for one in range(len(truth)) if one not in pairs and allowed[number, one]]
            best = max(left, key=lambda one: float(overlaps[number, one]), default=None)
            if best is not None and overlaps[number, best] >= OVERLAP and number not in pairs.values():
                pairs[best] = number
    return pairs


def completeness(scores: Floats, positive: NDArray[np.bool_], false_positive_rate: float) -> float:
    """Share of the positives that score above all but `false_positive_rate` of the negatives; ties count as misses.

    Parameters
    ----------
    scores : ndarray (N,)
        One per picture.
    positive : ndarray (N,) of bool
        Which of them hold what is looked for.

    Raises
    ------
    MetricError
        If there are too few negatives to resolve the rate, or no positive.
    """
    threshold = false_positive_threshold(scores, positive, false_positive_rate)
    return float((scores[positive] > threshold).mean())


def false_positive_threshold(scores: Floats, positive: NDArray[np.bool_], false_positive_rate: float) -> float:
    """The score above which lies at most that share of the negatives; data and errors as in `completeness`."""
    negatives = np.sort(scores[~positive])[::-1]
    allowed = int(np.floor(false_positive_rate * len(negatives) + 1e-9))
    if allowed < 1 or not positive.any():
        raise MetricError(
            f"A false-positive rate of {false_positive_rate} cannot be measured on {len(negatives)} negatives and "
            f"{int(positive.sum())} positives.",
            f"It needs {int(np.ceil(1 / false_positive_rate))} negatives and a positive.",
        )
    return float(negatives[allowed]) if allowed < len(negatives) else -np.inf


def purity_at(scores: Floats, positive: NDArray[np.bool_], count: int) -> float:
    """Share of positives among the `count` highest scores; where scores are equal, the mean over their orders.

    Raises
    ------
    MetricError
        If there are fewer pictures.
    """
    if not 0 < count <= len(scores):
        raise MetricError(f"There are {len(scores)} pictures, not {count}.", "Ask for fewer.")
    threshold = np.sort(scores)[::-1][count - 1]
    above, equal = scores > threshold, scores == threshold
    places = count - int(above.sum())
    return float((positive[above].sum() + places * positive[equal].mean()) / count)


def average_precision(
    truths: Sequence[Instances],
    found: Sequence[Instances],
    classes: Sequence[str],
    *,
    kind: Literal["bbox", "segm"],
) -> dict[str, float]:
    """COCO's AP (IoU 0.50 to 0.95) and AP50 as pycocotools computes them, over all classes and for each.

    Returns
    -------
    dict of str to float
        `ap`, `ap50`, and `ap_<class>`, `ap50_<class>`; NaN for a class that no truth has.

    Raises
    ------
    MetricError
        If there are no pictures, or not as many truths as detections.
    """
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    _check(truths, found)
    detections: list[CocoAnnotation] = [
        annotation for number, one in enumerate(found, 1) for annotation in coco_annotations(one, classes, image=number)
    ]
    # pycocotools prints what it does
    with redirect_stdout(io.StringIO()):
        reference = COCO()
        reference.dataset = coco_document(truths, classes)
        reference.createIndex()
        results = reference.loadRes(detections) if detections else _nothing_found(reference)
        evaluation = COCOeval(reference, results, kind)
        evaluation.evaluate()
        evaluation.accumulate()
    # thresholds, recalls, classes, areas (0 is all), detections per picture (the last is 100)
    precision = evaluation.eval["precision"][:, :, :, 0, -1]
    metrics = {"ap": _mean(precision), "ap50": _mean(precision[0])}
    for place, name in enumerate(classes):
        metrics |= {f"ap_{name}": _mean(precision[:, :, place]), f"ap50_{name}": _mean(precision[0, :, place])}
    return metrics


def _nothing_found(reference: "COCO") -> "COCO":  # type: ignore[name-defined]  # noqa: F821
    """`COCO.loadRes` fails on an empty list."""
    empty = type(reference)()
    empty.dataset = {**reference.dataset, "annotations": []}
    empty.createIndex()
    return empty


def _mean(precision: NDArray[np.float64]) -> float:
    """The mean of what is defined; pycocotools writes -1 where a class has no truth."""
    defined = precision[precision > -1]
    return float(defined.mean()) if defined.size else float("nan")


def _check(truths: Sequence[Instances], found: Sequence[Instances]) -> None:
    if not truths or len(truths) != len(found):
        raise MetricError(f"{len(found)} pictures with detections cannot be compared with {len(truths)} truths.")
