"""What a replay starts from: a labelled set split into a pool and a test half, thinned, with its first labels."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lvm_training.errors import LabelError
from lvm_training.tables.cells import class_names

# Labels that a replay starts with: of each class, or of the class looked for where it is thinned
START_PER_CLASS, START_POSITIVES = 2, 3
# A class of two with at most this share is looked for with the preference head
RARE = 0.1

Matrix = NDArray[np.float32]
Rows = NDArray[np.int64]


@dataclass(frozen=True)
class LabelledSet:
    """Galaxies whose labels are all known.

    Attributes
    ----------
    features : ndarray (N, D)
    labels : sequence of str
        N classes.
    test : ndarray of bool (N,)
        Which are measured on; the others are the pool.
    """

    features: Matrix
    labels: Sequence[str]
    test: NDArray[np.bool_]


@dataclass(frozen=True)
class ReplayPlan:
    """What is replayed.

    Attributes
    ----------
    policies : tuple of str
        Names of policies.
    budget, batch : int
        Labels in all, those of the start included, and labels between two refits.
    seeds : int
        How many times, each with another start.
    prevalence : float, optional
        Share to which the class looked for is thinned, in the pool and in the test half; the other classes become one.
    positive : str, optional
        The class looked for; by default the rarest.
    """

    policies: tuple[str, ...]
    budget: int
    batch: int = 20
    seeds: int = 5
    prevalence: float | None = None
    positive: str | None = None


@dataclass(frozen=True)
class Trial:
    """One seed's pool, test half and start; rows are those of the set.

    Attributes
    ----------
    labels : ndarray of str (N,)
        Classes of all rows.
    classes : tuple of str
        Two of them are in the order no, yes.
    wanted : int
        Which of `classes` the search measures are of.
    searching : bool
        Whether policies look for it: it was named, thinned, or is one of two classes. Otherwise all count alike.
    pool, test, start : ndarray of int
        `start` is part of `pool`.
    preference : bool
        Whether the preference head learns.
    """

    labels: NDArray[np.str_]
    classes: tuple[str, ...]
    wanted: int
    searching: bool
    pool: Rows
    test: Rows
    start: Rows
    preference: bool


def wanted_class(labels: Sequence[str], positive: str | None = None) -> str:
    """The class looked for: `positive`, or the rarest, the first by name among equals.

    Raises
    ------
    LabelError
        If there are fewer than two classes, or `positive` is none of them.
    """
    names, counts = np.unique(np.asarray(labels, dtype=str), return_counts=True)
    if len(names) < 2:
        found = f"only {str(names[0])!r}" if len(names) else "none"
        raise LabelError(f"A replay needs two classes; there is {found}.", "Choose another column.")
    if positive is None:
        return str(names[counts.argmin()])
    # 1.0 is the class 1
    wanted = positive if positive in names else class_names(np.array([positive], dtype=object))[0]
    if wanted not in names:
        raise LabelError(f"No galaxy is of class {positive!r}.", f"Classes are: {', '.join(names)}.")
    return wanted


def prepare(data: LabelledSet, plan: ReplayPlan, seed: int) -> Trial:
    """What a seed starts from: the same for every policy.

    Raises
    ------
    LabelError
        If there are fewer than two classes, the set cannot hold the prevalence, a half lacks a class, the pool has
        fewer of a class than the start needs, or the budget does not lie between the start and the pool.
    """
    labels = np.asarray(data.labels, dtype=str)
    name = wanted_class(data.labels, plan.positive)
    rng = np.random.default_rng(seed)
    pool, test = np.flatnonzero(~data.test), np.flatnonzero(data.test)
    if plan.prevalence is not None:
        labels = np.where(labels == name, name, f"not {name}")
        # one more than the start takes: there must be something to find
        pool = _thinned(pool, labels == name, plan.prevalence, START_POSITIVES + 1, rng)
        test = _thinned(test, labels == name, plan.prevalence, 1, rng)
    classes = _classes(labels, name)
    _check_halves(labels, pool, test, classes)
    rare = len(classes) == 2 and float(np.mean(labels[pool] == name)) <= RARE
    per_class = {name: START_POSITIVES} if plan.prevalence is not None else dict.fromkeys(classes, START_PER_CLASS)
    start = _start(labels, pool, per_class, rng)
    if not len(start) < plan.budget <= len(pool):
        raise LabelError(
            f"A budget of {plan.budget} labels does not fit: the start takes {len(start)}, the pool holds {len(pool)}.",
            f"Choose {len(start) + 1} to {len(pool)}.",
        )
    searching = len(classes) == 2 or plan.positive is not None
    preference = rare or plan.prevalence is not None
    return Trial(labels, classes, classes.index(name), searching, pool, test, start, preference)


def _classes(labels: NDArray[np.str_], wanted: str) -> tuple[str, ...]:
    names = sorted({str(name) for name in labels})
    return (*(name for name in names if name != wanted), wanted) if len(names) == 2 else tuple(names)


def _thinned(rows: Rows, wanted: NDArray[np.bool_], share: float, least: int, rng: np.random.Generator) -> Rows:
    """All others of a half, and so many of the wanted that they are `share` of it, at least `least`."""
    if not 0 < share < 1:
        raise LabelError(f"A prevalence of {share:g} is no share.", "Choose one between 0 and 1, such as 0.01.")
    others, positives = rows[~wanted[rows]], rows[wanted[rows]]
    odds = share / (1 - share)
    count = round(odds * len(others))
    if count > len(positives):
        raise LabelError(
            f"{len(positives)} of the {len(rows)} images of a half are of the class looked for, less than {share:g}.",
            f"It would need {count} of them, about {2 * count} in all, or a lower prevalence.",
        )
    if count < least:
        needed = int(np.ceil(least / odds)) + least
        raise LabelError(
            f"A share of {share:g} leaves {count} images of the class looked for beside {len(others)} others of a "
            f"half; a replay needs {least}.",
            f"It would need about {2 * needed} images in all, or a higher prevalence.",
        )
    return np.sort(np.concatenate([others, rng.permutation(positives)[:count]]))


def _check_halves(labels: NDArray[np.str_], pool: Rows, test: Rows, classes: Sequence[str]) -> None:
    for rows, half in ((pool, "pool"), (test, "test")):
        missing = [name for name in classes if name not in labels[rows]]
        if missing:
            raise LabelError(
                f"The {half} half of {len(rows)} galaxies has none of class {', '.join(missing)}.",
                "Add images of it, or leave the class out.",
            )


def _start(labels: NDArray[np.str_], pool: Rows, per_class: dict[str, int], rng: np.random.Generator) -> Rows:
    start = []
    for name, count in per_class.items():
        rows = pool[labels[pool] == name]
        if len(rows) < count:
            raise LabelError(
                f"The pool half has {len(rows)} galaxies of class {name}; the start needs {count}.",
                "Add images of it, or leave the class out.",
            )
        start.append(rng.permutation(rows)[:count])
    return np.concatenate(start)
