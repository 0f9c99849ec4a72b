"""What a galaxy is judged by: measures of uncertainty, likeness and diversity, by name."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from backend_ml.acquisition.checks import check_finite
from backend_ml.acquisition.diversity import k_centre, typicality
from backend_ml.acquisition.interest import expected_improvement, similarity, weighted
from backend_ml.acquisition.objects import box_margin, count_entropy
from backend_ml.acquisition.uncertainty import bald, entropy, margin
from lvm_training.errors import GalaxyLoopError
from lvm_training.index.outliers import Outliers

Array = NDArray[np.float64]
Matrix = NDArray[np.float32]

NEIGHBOURS = 20  # of the typicality, as Hacohen et al. 2022
TYPICALITY_SAMPLE = 4096  # neighbours are looked for among so many galaxies


class PolicyError(GalaxyLoopError):
    """A policy that does not exist, or that needs what is not there."""

    code = "bad_policy"


def _no_rows() -> Matrix:
    return np.empty((0, 0), dtype=np.float32)


@dataclass(frozen=True)
class Candidates:
    """What is known of the galaxies that nobody labelled.

    Attributes
    ----------
    features : ndarray (N, D)
    probabilities : ndarray (N, C), optional
        The head's answers; the mean of `ensemble` where only that is given.
    ensemble : ndarray (M, N, C), optional
        Answers of M heads that the labels allow equally.
    positives, negatives : ndarray (P, D), (Q, D)
        Features of labelled galaxies that are, and are not, of the class looked for.
    wanted : int, optional
        Column of the class looked for; None where no class is.
    boxes : sequence of ndarray (K_i,), optional
        A detector's scores of the boxes of the class looked for, on each galaxy.
    disagreement : ndarray (N,), optional
        How much a detector's masks disagree among views of each galaxy (`view_disagreement`).
    information : ndarray (N,), optional
        How much a person's answers to a tree of questions would tell (`votes.tree_information`).
    deviation : ndarray (N,), optional
        By how many errors of a head what is known of a galaxy lies from what it measures; below 1 where nothing is
        known, or all fits.
    interest : ndarray (N,), optional
        How interesting a head expects people to find each, 0 to 1; what is unusual is weighted by it.
    centre : ndarray (D,), optional
        What likeness is measured about; the mean of `features` by default.
    outliers : Outliers, optional
        What is usual; learned from `features` by default.
    """

    features: Matrix
    probabilities: Array | None = None
    ensemble: Array | None = None
    positives: Matrix = field(default_factory=_no_rows)
    negatives: Matrix = field(default_factory=_no_rows)
    wanted: int | None = None
    boxes: Sequence[Array] | None = None
    disagreement: Array | None = None
    information: Array | None = None
    deviation: Array | None = None
    interest: Array | None = None
    centre: Matrix | None = None
    outliers: Outliers | None = None

    def __len__(self) -> int:
        return len(self.features)

    def answers(self) -> Array:
        """Probabilities (N, C)."""
        if self.probabilities is not None:
            return self.probabilities
        if self.ensemble is not None:
            return np.asarray(self.ensemble.mean(axis=0))
        raise PolicyError("This policy needs the answers of a head.", "Label some of each class, or take k-centre.")

    def heads(self) -> Array:
        """Probabilities (M, N, C)."""
        if self.ensemble is None:
            raise PolicyError("This policy needs the answers of an ensemble of heads.", "Fit one, or take margin.")
        return self.ensemble

    def column(self, answers: Array) -> Array:
        """Probabilities (..., N) of the class looked for."""
        if self.wanted is None:
            raise PolicyError("This policy needs a class to look for.", "Name it, or take margin.")
        return np.asarray(answers[..., self.wanted])

    def middle(self) -> Matrix:
        """What likeness is measured about (D,)."""
        return self.features.mean(axis=0, dtype=np.float64).astype(np.float32) if self.centre is None else self.centre

    def labelled(self) -> Matrix:
        """Features (L, D) of all labelled galaxies."""
        given = [rows for rows in (self.positives, self.negatives) if len(rows)]
        return np.concatenate(given or [self.features[:0]])

    def detections(self) -> Sequence[Array]:
        """Scores of each galaxy's boxes."""
        if self.boxes is None:
            raise PolicyError("This policy needs the boxes of a detector.", "Use it in a campaign of objects.")
        return self.boxes

    def disagreements(self) -> Array:
        """How much the masks of each galaxy disagree among views."""
        if self.disagreement is None:
            raise PolicyError("This policy needs masks in several views.", "Use it in a campaign of objects.")
        return self.disagreement

    def informations(self) -> Array:
        """How much answers to each galaxy would tell."""
        if self.information is None:
            raise PolicyError("This policy needs a head of votes.", "Use it in a campaign of votes.")
        return self.information

    def deviations(self) -> Array:
        """By how many errors what is known of each galaxy is off."""
        if self.deviation is None:
            raise PolicyError("This policy needs a head of numbers.", "Use it in a campaign of parameters.")
        return self.deviation

    def check(self) -> None:
        """Raise a PolicyError if the parts are not of one length, a FeaturesError if they are not finite."""
        heads = None if self.ensemble is None else np.swapaxes(self.ensemble, 0, 1)
        boxes = None if self.boxes is None else np.array([scores.sum() for scores in self.boxes])
        given = ((self.probabilities, "answers"), (heads, "ensemble's answers"), (boxes, "boxes"))
        told = ((self.information, "informations"), (self.deviation, "deviations"), (self.interest, "interests"))
        for known, what in (*given, (self.disagreement, "disagreements"), *told):
            if known is None:
                continue
            if len(known) != len(self):
                raise PolicyError(f"There are {len(known)} {what} for {len(self)} galaxies.", "Give one for each.")
            check_finite(known, what)
        check_finite(self.features, "features")
        check_finite(self.positives, "positives' features")
        check_finite(self.negatives, "negatives' features")


Measure = Callable[[Candidates, int, int], Array]


def _uncertain(measure: Callable[[Array], Array]) -> Measure:
    def judge(pool: Candidates, batch: int, seed: int) -> Array:
        answers = pool.answers()
        # a head of one class is sure of it
        return measure(answers) if answers.shape[1] > 1 else np.zeros(len(answers))

    return judge


def _similarity(pool: Candidates, batch: int, seed: int) -> Array:
    centre = pool.middle()
    examples = [rows - centre if len(rows) else rows for rows in (pool.positives, pool.negatives)]
    return similarity(pool.features - centre, *examples)


def _improvement(pool: Candidates, batch: int, seed: int) -> Array:
    scores = pool.column(pool.heads())
    mean = scores.mean(axis=0)
    # users score 0 or 1, and the best score so far is the best that the heads predict
    return expected_improvement(mean, scores.std(axis=0), float(mean.max()), trade_off=0.0)


def _probability(pool: Candidates, batch: int, seed: int) -> Array:
    answers = pool.answers()
    # where no class is looked for, a mix is left to its other measures
    return np.zeros(len(pool)) if pool.wanted is None else pool.column(answers)


def _typicality(pool: Candidates, batch: int, seed: int) -> Array:
    sample = np.random.default_rng(seed).permutation(len(pool))[:TYPICALITY_SAMPLE]
    return typicality(pool.features, NEIGHBOURS, among=np.sort(sample))


def _far(pool: Candidates, batch: int, seed: int) -> Array:
    """Descending along the k-centre choice of a batch; the others behind it at random, below 0."""
    return ordered(k_centre(pool.features, batch, seed=seed, given=pool.labelled()), -draw(len(pool), seed))


def _unusual(pool: Candidates, batch: int, seed: int) -> Array:
    """How far each lies from those most like it, or from the nearest labelled one where that is nearer.

    Where people rated some, how far it lies, weighted by the rating that is expected of it.
    """
    outliers = Outliers.fit(pool.features, seed=seed) if pool.outliers is None else pool.outliers
    scores, labelled = outliers.scores(pool.features), pool.labelled()
    apart = outliers.distances(pool.features, labelled)
    if pool.interest is None or not len(labelled):
        return np.minimum(scores, apart)
    return weighted(scores, pool.interest, apart / outliers.mean_distance(labelled))


def _box_margin(pool: Candidates, batch: int, seed: int) -> Array:
    return box_margin(np.array([scores.max(initial=0.0) for scores in pool.detections()]))


def draw(count: int, seed: int) -> Array:
    """Blind worths (count,) in [0, 1)."""
    return np.random.default_rng(seed).random(count)


def ordered(order: NDArray[np.int64], others: Array) -> Array:
    """Worths that descend from 1 along `order`; the others keep theirs, which are at most 0."""
    worth = others.copy()
    worth[order] = 1 - np.arange(len(order)) / max(len(order), 1)
    return worth


MEASURES: dict[str, Measure] = {
    "margin": _uncertain(margin),
    "entropy": _uncertain(entropy),
    "bald": lambda pool, batch, seed: bald(pool.heads()),
    "similarity": _similarity,
    "expected-improvement": _improvement,
    "probability": _probability,
    "class-probability": lambda pool, batch, seed: pool.column(pool.answers()),
    "simulated": lambda pool, batch, seed: pool.column(pool.answers()),
    "typicality": _typicality,
    "k-centre": _far,
    "unusual": _unusual,
    "random": lambda pool, batch, seed: draw(len(pool), seed),
    "box-margin": _box_margin,
    "count-entropy": lambda pool, batch, seed: count_entropy(pool.detections()),
    "mask-disagreement": lambda pool, batch, seed: pool.disagreements(),
    "information": lambda pool, batch, seed: pool.informations(),
    "deviation": lambda pool, batch, seed: pool.deviations(),
}

POINTWISE = frozenset({"margin", "entropy", "bald", "probability", "class-probability", "simulated", "information"})
"""Those that say of a galaxy what its own answers do, whichever others are judged."""

NEEDS: dict[str, frozenset[str]] = {
    "margin": frozenset({"answers"}),
    "entropy": frozenset({"answers"}),
    "bald": frozenset({"ensemble"}),
    "similarity": frozenset({"features", "class"}),
    "expected-improvement": frozenset({"ensemble", "class"}),
    "probability": frozenset({"answers"}),
    "class-probability": frozenset({"answers", "class"}),
    "simulated": frozenset({"answers", "simulation"}),
    "typicality": frozenset({"features"}),
    "k-centre": frozenset({"features"}),
    "unusual": frozenset({"features"}),
    "random": frozenset(),
    "box-margin": frozenset({"boxes"}),
    "count-entropy": frozenset({"boxes"}),
    "mask-disagreement": frozenset({"views"}),
    "information": frozenset({"information"}),
    "deviation": frozenset({"deviation"}),
}
"""By measure, what it reads of `Candidates`.

"class" stands for examples and column of a class looked for, "simulation" for answers that need no example since the
simulator draws that class, "views" for how much masks disagree among views, "information" for how much answers to a
tree of questions would tell, "deviation" for how far known numbers lie from those of a head.
"""
