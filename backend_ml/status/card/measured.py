"""How good a version is on the blind audit slice: by class, by magnitude, and where it was wrong and sure."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from backend_ml.kinds.evaluation import Evaluation
from backend_ml.kinds.models import Stamp, catalogued
from backend_ml.report.agreement import Share
from backend_ml.store.stamps import StampSets, UnknownStampError
from lvm_training.errors import LabelError, StampError
from lvm_training.evaluation.metrics import calibration, classification_metrics
from lvm_training.objects.instances import Instances
from lvm_training.objects.metrics import object_confusion
from lvm_training.parameters.parameter import PARAMETERS

MAGNITUDE = next(name for name, one in PARAMETERS.items() if one.unit == "mag")
WIDTHS = (0.5, 1.0, 2.0, 5.0)  # magnitudes of a bin
BINS = 10
FAILURES = 24
HALF = 0.5  # what is right by less is a failure


@dataclass(frozen=True)
class OfClass:
    """How a class fares: of those that people call so `found`, of those that the model calls so `pure`."""

    name: str
    found: Share
    pure: Share


@dataclass(frozen=True)
class Bin:
    """How galaxies of magnitudes from `low` to below `high` fare."""

    low: float
    high: float
    right: Share


@dataclass(frozen=True)
class Failure:
    """A galaxy that the model got wrong.

    Attributes
    ----------
    stamp : (str, int)
    said, answered : str
        By people, and by the model.
    sure : float
        How probable the model called its answer; NaN where it does not say.
    objects : (Instances, Instances) or None
        What people drew, and the model, where something is drawn.
    """

    stamp: Stamp
    said: str
    answered: str
    sure: float
    objects: tuple[Instances, Instances] | None = None


@dataclass(frozen=True)
class Measured:
    """What the audit slice says of a version.

    Attributes
    ----------
    evaluation : Evaluation
    right : Share
        Of the galaxies of the slice.
    classes : list of OfClass
        Of each class that people or the model name; in the order of the classes.
    confusion : ndarray of int (C, C)
        Galaxies by what people say (rows) and the model (columns), in the order of the classes.
    objects : list of OfClass
        Of each class that people or the model drew: of the objects.
    drawn : ndarray of int (D + 1, D + 1)
        Objects by class as people drew them (rows) and as the model did (columns), as `object_confusion`.
    calibration : list of (float, float, int)
        Mean confidence, accuracy and galaxies of each bin of confidence; empty without probabilities.
    metrics : dict of str to float
        `classification_metrics`; empty where they are not defined.
    magnitudes : list of Bin
        Faint ones last.
    no_magnitudes : str
        Why there are none.
    failures : list of Failure
        The most confident ones first, `FAILURES` at most; without probabilities those farthest off.
    failed : int
        How many there are.
    """

    evaluation: Evaluation
    right: Share
    classes: list[OfClass]
    confusion: NDArray[np.int64]
    objects: list[OfClass]
    drawn: NDArray[np.int64]
    calibration: list[tuple[float, float, int]]
    metrics: dict[str, float]
    magnitudes: list[Bin]
    no_magnitudes: str
    failures: list[Failure]
    failed: int


def measure(found: Evaluation, stamps: Sequence[Stamp], sets: StampSets, column: str | None = None) -> Measured:
    """What an evaluation of some stamps comes to.

    Parameters
    ----------
    column : str, optional
        Column of magnitudes; by default the one that is called so.

    Raises
    ------
    StampError
        If a set that is there has no such column, or one without numbers.
    """
    failures = _failures(found, stamps)
    magnitudes, why = read_magnitudes(stamps, sets, column)
    return Measured(
        found,
        Share(float(found.right.sum()), len(found.right)),
        *_by_class(found),
        *_by_object(found),
        *_calibrated(found),
        [] if why else by_magnitude(found.right, magnitudes),
        why,
        failures[:FAILURES],
        len(failures),
    )


def _by_class(found: Evaluation) -> tuple[list[OfClass], NDArray[np.int64]]:
    place = {name: number for number, name in enumerate(found.classes)}
    counts = np.zeros((len(place), len(place)), dtype=np.int64)
    # without classes both are free words, which nothing counts
    for said, answered in zip(found.said, found.answered, strict=True) if place else ():
        counts[place[said], place[answered]] += 1
    return _shares(found.classes, counts), counts


def _by_object(found: Evaluation) -> tuple[list[OfClass], NDArray[np.int64]]:
    """How objects fare, where some are drawn."""
    names = sorted({name for pair in found.objects for one in pair for name in one.classes})
    if not names:
        return [], np.zeros((0, 0), dtype=np.int64)
    truths, seen = zip(*found.objects, strict=True)
    counts = object_confusion(truths, seen, names)
    return _shares(names, counts), counts


def _shares(names: Sequence[str], counts: NDArray[np.int64]) -> list[OfClass]:
    asked, given = counts.sum(axis=1).tolist(), counts.sum(axis=0).tolist()
    return [
        OfClass(name, Share(int(counts[one, one]), asked[one]), Share(int(counts[one, one]), given[one]))
        for one, name in enumerate(names)
    ]


def _calibrated(found: Evaluation) -> tuple[list[tuple[float, float, int]], dict[str, float]]:
    if found.probabilities is None:
        return [], {}
    bins = calibration(found.said, found.probabilities, found.classes)
    try:
        return bins, classification_metrics(found.said, found.probabilities, found.classes)
    except LabelError:  # all of one class
        return bins, {}


def _failures(found: Evaluation, stamps: Sequence[Stamp]) -> list[Failure]:
    """Those that are wrong, the most confident first; of equals in order of the stamps."""
    n = len(found.right)
    sure = np.full(n, np.nan) if found.probabilities is None else found.probabilities.max(axis=1)
    said, answered = found.said or ("",) * n, found.answered or ("",) * n
    order = sorted(range(n), key=lambda one: (-np.nan_to_num(sure[one]), found.right[one], stamps[one]))
    objects = found.objects or (None,) * n
    return [
        Failure(stamps[i], said[i], answered[i], float(sure[i]), objects[i]) for i in order if found.right[i] < HALF
    ]


def read_magnitudes(
    stamps: Sequence[Stamp], sets: StampSets, column: str | None = None
) -> tuple[NDArray[np.float64], str]:
    """The magnitude of each stamp, NaN where it has none; and why none has one, where that is so.

    Raises
    ------
    StampError
        As `measure`.
    """
    magnitudes = np.full(len(stamps), np.nan)
    reasons = []
    for name in sorted({name for name, _ in stamps}):
        places = [place for place, stamp in enumerate(stamps) if stamp[0] == name]
        try:
            opened = sets.find(name)
        except (UnknownStampError, StampError) as error:
            reasons.append(error.message)
            continue
        if column is None:
            values = catalogued(opened).get(MAGNITUDE)
        elif column in opened.columns and not opened.is_number(column):
            raise StampError(f"The column {column!r} of {name} holds no numbers.", "Name one of magnitudes.")
        else:
            values = opened.column(column).astype(np.float64)
        if values is None:
            reasons.append(f"{name} has no column of magnitudes such as {MAGNITUDE}; --magnitude names another.")
        else:
            rows = np.array([stamps[place][1] for place in places])
            inside = rows < len(values)
            magnitudes[np.array(places)[inside]] = values[rows[inside]]
    if np.isfinite(magnitudes).any():
        return magnitudes, ""
    return magnitudes, " ".join(reasons) or "No galaxy of the audit slice has a magnitude."


def by_magnitude(right: NDArray[np.float64], magnitudes: NDArray[np.float64]) -> list[Bin]:
    """How galaxies fare in bins of one width in magnitude, `BINS` at most where that can be.

    Those of no known magnitude are left out.

    Parameters
    ----------
    right, magnitudes : ndarray (N,)
        One finite magnitude at least.
    """
    known = np.isfinite(magnitudes)
    values, right = magnitudes[known], right[known]
    spread = float(values.max() - values.min())
    width = next((one for one in WIDTHS if spread < one * (BINS - 1)), WIDTHS[-1])
    places = np.floor(values / width).astype(int)
    return [
        Bin(one * width, (one + 1) * width, Share(float(right[places == one].sum()), int((places == one).sum())))
        for one in np.unique(places).tolist()
    ]
