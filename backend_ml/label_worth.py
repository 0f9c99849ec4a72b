"""What a label of each stamp is worth under a campaign's policy, from what its model and its labels say."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from backend_ml.acquisition.measures import Array, Candidates, Matrix
from backend_ml.acquisition.policy import find_policy, judge
from backend_ml.feature_store import FeatureStore
from backend_ml.kinds.installed import kind_of
from backend_ml.kinds.kind import Answers
from backend_ml.records import Campaign
from lvm_training.errors import LabelError
from lvm_training.model.ensemble import classification_ensemble, preference_ensemble
from lvm_training.snapshot import Snapshot

BATCH = 200  # first places of the ranking, among which a policy spreads out and whose propensities it gives
COLD_START = "k-centre"
VIEWS = 4  # of each stamp; on simulated lenses the ranks they give agree with those of all eight to 0.91 (Spearman)


@dataclass(frozen=True)
class Known:
    """What a model says of stamps; nothing in a cold start.

    Attributes
    ----------
    probabilities : ndarray (N, C), optional
        Of classes.
    boxes : sequence of ndarray (K_i,), optional
        Scores of boxes.
    disagreement : ndarray (N,), optional
        How much masks disagree among views.
    """

    probabilities: Array | None = None
    boxes: Sequence[Array] | None = None
    disagreement: Array | None = None

    @classmethod
    def of(cls, answers: Answers | None, rows: NDArray[np.int64]) -> "Known":
        """What a model answered, of some of the stamps it was asked for."""
        if answers is None:
            return cls()
        boxes, probabilities, disagreement = answers.boxes, answers.probabilities, answers.disagreement
        return cls(
            None if probabilities is None else probabilities[rows],
            None if boxes is None else [boxes[row] for row in rows],
            None if disagreement is None else disagreement[rows],
        )

    @property
    def missing(self) -> frozenset[str]:
        """What of `NEEDS` the model does not say."""
        absent = {"answers", "ensemble"} if self.probabilities is None else set()
        absent |= {"boxes"} if self.boxes is None else set()
        return frozenset(absent | ({"views"} if self.disagreement is None else set()))


@dataclass(frozen=True)
class Judged:
    """The worth of labels, and how it was found.

    Attributes
    ----------
    policy : str
        Which one judged: `COLD_START` where the campaign's needs what is not there yet.
    seed : int
        What it left to chance was drawn from this.
    batch : int
        How many are labelled before the next judgement.
    worth, propensity : ndarray (N,)
        As in `Judgement`.
    """

    policy: str
    seed: int
    batch: int
    worth: Array
    propensity: Array


@dataclass(frozen=True)
class Labelled:
    """The labelled stamps that candidates are compared with.

    Attributes
    ----------
    features : ndarray (L, D)
    labels : tuple of str
    classes : tuple of str
        The campaign's, in the order of its model's answers.
    wanted : int or None
        Which of them is looked for, if one is.
    """

    features: Matrix
    labels: tuple[str, ...]
    classes: tuple[str, ...]
    wanted: int | None

    @classmethod
    def read(cls, campaign: Campaign, snapshot: Snapshot, features: FeatureStore) -> "Labelled":
        """The labels of a snapshot with their stamps' features."""
        rows = features.rows(list(zip(snapshot.stamp_set, snapshot.stamp_id, strict=True)))
        return cls(rows, tuple(snapshot.label), campaign.classes, wanted(campaign))

    def of(self, looked_for: bool) -> Matrix:
        """Features of those that are, or are not, of the class looked for; where none is, the latter are all."""
        name = None if self.wanted is None else self.classes[self.wanted]
        places = [i for i, label in enumerate(self.labels) if (label == name) == looked_for]
        return np.asarray(self.features[places])

    def ensemble(self, pool: Matrix, seed: int, background: Matrix | None = None) -> Array | None:
        """Answers (M, P, C) to pool features (P, D) of heads that the labels allow equally; None if they allow none.

        `background` are the galaxies nobody labelled, as a preference head reads them; `pool` by default.
        """
        common = pool if background is None else background
        try:
            if self.wanted is None:
                return classification_ensemble(self.features, self.labels, pool, classes=self.classes, seed=seed)
            # a preference head answers no, then yes
            order = (1 - self.wanted, self.wanted)
            names = [self.classes[place] for place in order]
            answers = preference_ensemble(self.features, self.labels, pool, classes=names, background=common, seed=seed)
            return answers[..., list(order)]
        except LabelError:
            return None


def wanted(campaign: Campaign) -> int | None:
    """Place among the campaign's classes of the one that is looked for; None where all count alike."""
    name = kind_of(campaign).wanted
    return None if name is None else campaign.classes.index(name)


def needed_views(campaign: Campaign) -> int:
    """In how many views of each stamp a campaign's detector looks: one, unless its policy compares them."""
    return VIEWS if "views" in find_policy(campaign.policy).needs else 1


def push_seed(campaign: Campaign, last_event: int) -> int:
    """A seed below 2^31 for each state of the labels: what is drawn changes from push to push, and can be repeated."""
    return int(np.random.SeedSequence((campaign.seed, last_event)).generate_state(1)[0] >> 1)


def chosen_policy(campaign: Campaign, labelled: Labelled, missing: frozenset[str]) -> str:
    """The campaign's policy, or `COLD_START` if it needs what is missing, or examples that are not there."""
    absent = missing if len(labelled.of(looked_for=True)) else missing | {"class"}
    return COLD_START if find_policy(campaign.policy).needs & absent else campaign.policy


def judged(
    campaign: Campaign, labelled: Labelled, last_event: int, known: Known, count: int, read: Callable[[], Matrix]
) -> Judged:
    """Judge stamps by the campaign's policy.

    Parameters
    ----------
    labelled : Labelled
    last_event : int
        The newest label event, of which the seed is made.
    known : Known
        What the model says of each stamp.
    count : int
        Number N of stamps.
    read : callable
        Gives their features (N, D); called only if they are needed.

    Raises
    ------
    FeatureError, FeaturesError
        If features cannot be read or are not finite.
    """
    seed, batch = push_seed(campaign, last_event), min(BATCH, count)
    name = chosen_policy(campaign, labelled, known.missing)
    if not count:
        return Judged(name, seed, batch, np.empty(0), np.empty(0))
    features = cache(read)
    heads = labelled.ensemble(features(), seed) if "ensemble" in find_policy(name).needs else None
    if heads is None:
        name = chosen_policy(campaign, labelled, known.missing | {"ensemble"})
    candidates = Candidates(
        features() if "features" in find_policy(name).needs else np.empty((count, 0), dtype=np.float32),
        known.probabilities,
        heads,
        labelled.of(looked_for=True),
        labelled.of(looked_for=False),
        labelled.wanted,
        known.boxes,
        known.disagreement,
    )
    found = judge(name, candidates, batch=batch, seed=seed)
    return Judged(name, seed, batch, found.worth, found.propensity)
