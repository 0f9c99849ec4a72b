"""The one ranker: which label is worth most, of tasks, of a pool, of a round on the search page, of a replay.

Features are read in blocks and only where a policy looks at them, and of a head's answers to a block what the policy's
measures make of them is kept: a number for each galaxy. So a pool may be far larger than memory.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from backend_ml.acquisition.ensemble import classification_ensemble, preference_ensemble
from backend_ml.acquisition.measures import POINTWISE, Array, Candidates, Matrix
from backend_ml.acquisition.policy import Judgement, Policy, chosen_from, diverse, find_policy, judge, measured, mixed
from backend_ml.kinds.installed import kind_of
from backend_ml.kinds.models import Answers
from backend_ml.store.features import FeatureStore
from backend_ml.store.records import Campaign
from lvm_training.errors import LabelError
from lvm_training.index.outliers import Outliers, sample_rows
from lvm_training.tables.snapshot import Snapshot

BATCH = 200  # first places of a queue, among which a policy spreads out and whose propensities it gives
COLD_START = "k-centre"
FEWEST_WANTED = 3  # of a search; with fewer, what is nearest to them is shown
BLOCK = 32768  # rows read at a time
SAMPLE = 65536  # rows among which a measure that compares all with all chooses
ALL_WITH_ALL = {"typicality", "k-centre"}
BY_BLOCKS = {"similarity", "unusual"}  # what reads features, and compares each galaxy with the same few
LOOKS = 10  # of so many times the batch it is looked whether they show a galaxy, at most

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Labelled:
    """The labelled galaxies that candidates are compared with.

    Attributes
    ----------
    features : ndarray (L, D)
    labels : sequence of str
        L classes.
    classes : tuple of str
        In the order of the model's answers.
    wanted : int or None
        Which of them is looked for, if one is.
    searching : bool
        Whether a preference head learns from them: a few of one kind against everything else.
    simulated : bool
        Whether it begins with what the simulator draws of that kind, so that its answers need no example.
    """

    features: Matrix
    labels: Sequence[str]
    classes: tuple[str, ...]
    wanted: int | None = None
    searching: bool = False
    simulated: bool = False

    @classmethod
    def read(cls, campaign: Campaign, snapshot: Snapshot, features: FeatureStore) -> "Labelled":
        """The labels of a campaign's snapshot with their stamps' features."""
        rows = features.rows(list(zip(snapshot.stamp_set, snapshot.stamp_id, strict=True)))
        name = kind_of(campaign).wanted
        wanted = None if name is None else campaign.classes.index(name)
        searching = wanted is not None
        simulated = searching and bool(campaign.simulated)
        return cls(rows, tuple(snapshot.label), campaign.classes, wanted, searching, simulated)

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
            if not self.searching or self.wanted is None:
                return classification_ensemble(self.features, self.labels, pool, classes=self.classes, seed=seed)
            # a preference head answers no, then yes
            order = (1 - self.wanted, self.wanted)
            names = [self.classes[place] for place in order]
            answers = preference_ensemble(self.features, self.labels, pool, classes=names, background=common, seed=seed)
            return answers[..., list(order)]
        except LabelError:
            return None


@dataclass(frozen=True)
class Waiting:
    """The galaxies that may be labelled next, and what a model says of them.

    Attributes
    ----------
    count : int
        Their number N; a place is 0 to N - 1.
    read : callable
        Gives the features (n, D) of some places.
    probabilities : ndarray (N, C), optional
        A head's answers.
    predict : callable, optional
        Gives the answers (n, C) to features (n, D), where `probabilities` are not known yet.
    boxes : sequence of ndarray (K_i,), optional
        A detector's scores of boxes.
    disagreement : ndarray (N,), optional
        How much its masks disagree among views.
    information : ndarray (N,), optional
        How much answers to a tree of questions would tell.
    inform : callable, optional
        Gives that (n,) of features (n, D), where `information` is not known yet.
    deviation : ndarray (N,), optional
        By how many errors what is known of each lies from what a head measures.
    interest : ndarray (N,), optional
        How interesting a head expects people to find each, 0 to 1.
    rate : callable, optional
        Gives that (n,) of features (n, D), where `interest` is not known yet.
    shows : callable, optional
        Tells of some places (n,) whether their pixels show a galaxy. Asked of those that are most unusual: an empty or
        damaged stamp is the most unusual of all.
    outliers : Outliers, optional
        What is usual; learned from the galaxies themselves by default.
    """

    count: int
    read: Callable[[Rows], Matrix]
    probabilities: Array | None = None
    predict: Callable[[Matrix], Array] | None = None
    boxes: Sequence[Array] | None = None
    disagreement: Array | None = None
    information: Array | None = None
    inform: Callable[[Matrix], Array] | None = None
    deviation: Array | None = None
    interest: Array | None = None
    rate: Callable[[Matrix], Array] | None = None
    shows: Callable[[Rows], NDArray[np.bool_]] | None = None
    outliers: Outliers | None = None

    @classmethod
    def answered(
        cls,
        answers: Answers | None,
        places: Rows,
        read: Callable[[Rows], Matrix],
        shows: Callable[[Rows], NDArray[np.bool_]] | None = None,
    ) -> "Waiting":
        """Some of the galaxies that a model answered; it answers none in a cold start."""
        if answers is None:
            return cls(len(places), read, shows=shows)
        boxes, probabilities, disagreement = answers.boxes, answers.probabilities, answers.disagreement
        return cls(
            len(places),
            read,
            None if probabilities is None else probabilities[places],
            None,
            None if boxes is None else [boxes[place] for place in places],
            None if disagreement is None else disagreement[places],
            None if answers.information is None else answers.information[places],
            deviation=None if answers.deviation is None else answers.deviation[places],
            interest=None if answers.interest is None else answers.interest[places],
            shows=shows,
        )

    @property
    def missing(self) -> frozenset[str]:
        """What of `NEEDS` the model does not say."""
        answering = self.probabilities is not None or self.predict is not None
        absent = set() if answering else {"answers", "ensemble"}
        absent |= {"boxes"} if self.boxes is None else set()
        absent |= {"information"} if self.information is None and self.inform is None else set()
        absent |= {"deviation"} if self.deviation is None else set()
        return frozenset(absent | ({"views"} if self.disagreement is None else set()))


@dataclass(frozen=True)
class Ranked:
    """What labels are worth, and how that was found.

    Attributes
    ----------
    policy : str
        Which one judged: a simpler one where that asked for needs what is not there yet.
    seed : int
        What it left to chance was drawn from this.
    batch : int
        How many are labelled before the next judgement.
    worth : ndarray (N,)
        Label the largest first; minus infinity where a galaxy was not considered.
    propensity : ndarray (N,)
        Probability to be in the next batch.
    considered : int
        From how many it chose.
    set_apart : int
        How many were put behind all others, since they show no galaxy.
    """

    policy: str
    seed: int
    batch: int
    worth: Array
    propensity: Array
    considered: int
    set_apart: int = 0

    def best(self, count: int) -> Rows:
        """The places to label first, at most `count`, in order."""
        return np.argsort(-self.worth, kind="stable")[: min(count, self.considered)]


def rank(
    policy: str, waiting: Waiting, labelled: Labelled, *, batch: int, seed: int, most_likely: int | None = None
) -> Ranked:
    """Judge galaxies by a policy, or by what stands in for it while it lacks something.

    Measures that compare all with all (k-centre, typicality) choose among 65,536 galaxies drawn at random; all others
    judge every one, or the `most_likely` of a search.

    Parameters
    ----------
    policy : str
        Name of the policy asked for.
    batch : int
        How many are labelled before the next judgement.
    seed : int
        Draws what the policy leaves to chance.
    most_likely : int, optional
        How many are judged at most, those of the highest probability of the class looked for.

    Raises
    ------
    PolicyError
        If there is no such policy.
    FeatureError, FeaturesError
        If features cannot be read or are not finite.
    """
    name, batch = effective_policy(policy, labelled, waiting.missing), min(batch, waiting.count)
    if batch < 1:
        return Ranked(name, seed, batch, np.full(waiting.count, -np.inf), np.zeros(waiting.count), 0)
    judging = _Judging(find_policy(name), waiting, labelled, seed, most_likely)
    try:
        found = judging.judged(batch)
    except _NoHeadsError:
        name = effective_policy(policy, labelled, waiting.missing | {"ensemble"})
        judging = _Judging(find_policy(name), waiting, labelled, seed, most_likely)
        found = judging.judged(batch)
    places, apart = judging.places, judging.empty(found.worth, batch)
    found.worth[apart] = found.worth.min(initial=0) - 1
    worth = np.full(waiting.count, -np.inf)
    propensity = np.full(waiting.count, judging.share)
    worth[places], propensity[places] = found.worth, judging.share * found.propensity
    return Ranked(name, seed, batch, worth, propensity, len(places), len(apart))


def effective_policy(policy: str, labelled: Labelled, missing: frozenset[str]) -> str:
    """The policy asked for, or the one that stands in for it while it lacks answers or examples.

    Without any of the class looked for, or without a model, the first labels should cover all kinds: `COLD_START`. A
    search with one or two examples shows what is nearest to them, since a head on so few is sure of too much; one that
    begins with simulated stamps shows what is most like those. What is unusual is so without any model.
    """
    needs, wanted = find_policy(policy).needs, len(labelled.of(looked_for=True))
    if policy == "unusual":
        return policy
    if labelled.simulated and needs and wanted < FEWEST_WANTED and "answers" not in missing:
        return "simulated"
    if labelled.searching and needs and 0 < wanted < FEWEST_WANTED:
        return "similarity"
    return COLD_START if needs & (missing if wanted else missing | {"class"}) else policy


def ranking_seed(campaign: Campaign, last_event: int) -> int:
    """A seed below 2^31 for each state of the labels: what is drawn changes from push to push, and can be repeated."""
    return int(np.random.SeedSequence((campaign.seed, last_event)).generate_state(1)[0] >> 1)


class _NoHeadsError(Exception):
    """The labels allow no ensemble."""


class _Judging:
    """One judgement of the places that are considered.

    Attributes
    ----------
    places : ndarray (n,) of int
        Ascending.
    share : float
        Chance of a place to be considered.
    """

    def __init__(
        self, policy: Policy, waiting: Waiting, labelled: Labelled, seed: int, most_likely: int | None
    ) -> None:
        self.policy, self.waiting, self.labelled, self.seed = policy, waiting, labelled, seed
        self.measures = {term.measure for term in policy.terms}
        self.places, self.share = self._considered(most_likely)
        self._only_block: Matrix | None = None

    def _considered(self, most_likely: int | None) -> tuple[Rows, float]:
        count, known = self.waiting.count, self.waiting.probabilities
        everything: Rows = np.arange(count)
        if most_likely and self.policy.needs and known is not None and self.labelled.wanted is not None:
            order = np.argsort(-known[:, self.labelled.wanted], kind="stable")
            everything = np.sort(order[:most_likely])
        if self.measures & ALL_WITH_ALL and len(everything) > SAMPLE:
            drawn = np.random.default_rng(self.seed).choice(everything, size=SAMPLE, replace=False)
            return np.sort(drawn), SAMPLE / len(everything)
        return everything, 1.0

    def read(self, rows: Rows) -> Matrix:
        """Features of some of the places, by their number among them."""
        if len(self.places) > BLOCK:
            return self.waiting.read(self.places[rows])
        if self._only_block is None:
            self._only_block = self.waiting.read(self.places)
        return self._only_block[rows]

    def blocks(self) -> Iterator[Rows]:
        """Numbers of the places, in turn."""
        return _blocks(np.arange(len(self.places)))

    def judged(self, batch: int) -> Judgement:
        """Worth and propensity of each place.

        Raises
        ------
        _NoHeadsError
            If the policy reads an ensemble, and there is none.
        """
        if self.measures & ALL_WITH_ALL:
            whole = np.arange(len(self.places))
            return judge(self.policy, self.candidates(whole, self.read(whole)), batch=batch, seed=self.seed)
        if self.measures & BY_BLOCKS:
            return self._by_blocks(batch)
        worth = mixed(self.policy, self._values(batch), self.seed)
        if self.policy.relevance < 1:
            worth = diverse(worth, self.read, self._centre(), batch, self.policy.relevance)
        return chosen_from(self.policy, worth, batch=batch, seed=self.seed)

    def _values(self, batch: int) -> Array:
        """What the policy's measures say of each place (T, n); those that look at one alone are asked by blocks."""
        pointwise = self.measures and self.measures <= POINTWISE
        parts = self.blocks() if pointwise else [np.arange(len(self.places))]
        unread = (self.candidates(rows, np.empty((len(rows), 0), np.float32)) for rows in parts)
        found = [measured(self.policy, part, batch=batch, seed=self.seed) for part in unread]
        return np.concatenate(found, axis=1)

    def empty(self, worth: Array, batch: int) -> Rows:
        """Places, by their number, that show no galaxy: of the first by worth, until a batch of others is found."""
        shows = self.waiting.shows
        if "unusual" not in self.measures or shows is None:
            return np.empty(0, dtype=np.int64)
        found: list[Rows] = []
        order, sound = np.argsort(-worth, kind="stable")[: LOOKS * batch], 0
        for start in range(0, len(order), batch):
            part = order[start : start + batch]
            whole = shows(self.places[part])
            found.append(part[~whole])
            sound += int(whole.sum())
            if sound >= batch:
                break
        return np.concatenate(found)

    def _by_blocks(self, batch: int) -> Judgement:
        known = {"outliers": self._outliers()} if "unusual" in self.measures else {"centre": self._centre()}
        parts = (replace(self.candidates(rows, self.read(rows)), **known) for rows in self.blocks())
        worth = np.concatenate([judge(self.policy, part, batch=batch, seed=self.seed).worth for part in parts])
        return Judgement(worth, np.ones(len(worth)))

    def candidates(self, rows: Rows, features: Matrix) -> Candidates:
        """Some of the places, by their number, as the policy sees them."""
        places, needs = self.places[rows], self.policy.needs
        boxes, disagreement = self.waiting.boxes, self.waiting.disagreement
        return Candidates(
            features,
            self._said(rows, self.waiting.probabilities, self.waiting.predict) if "answers" in needs else None,
            self._ensemble(rows) if "ensemble" in needs else None,
            self.labelled.of(looked_for=True),
            self.labelled.of(looked_for=False),
            self.labelled.wanted,
            None if boxes is None else [boxes[place] for place in places],
            None if disagreement is None else disagreement[places],
            self._said(rows, self.waiting.information, self.waiting.inform) if "information" in needs else None,
            self._said(rows, self.waiting.deviation, None) if "deviation" in needs else None,
            self._said(rows, self.waiting.interest, self.waiting.rate) if "unusual" in self.measures else None,
        )

    def _said(self, rows: Rows, known: Array | None, say: Callable[[Matrix], Array] | None) -> Array | None:
        """What a model says of some of the places: known already, or said now."""
        if known is not None:
            return known[self.places[rows]]
        return None if say is None else np.concatenate([say(self.read(part)) for part in _blocks(rows)])

    def _ensemble(self, rows: Rows) -> Array:
        parts = [self.labelled.ensemble(self.read(part), self.seed, self._background) for part in _blocks(rows)]
        found = [part for part in parts if part is not None]
        if len(found) < len(parts):
            raise _NoHeadsError
        return np.concatenate(found, axis=1)

    @cached_property
    def _background(self) -> Matrix:
        """The same for every block, so that its heads are the same."""
        drawn = np.random.default_rng(self.seed).permutation(len(self.places))[:BLOCK]
        return self.read(np.sort(drawn))

    def _outliers(self) -> Outliers:
        known = self.waiting.outliers
        sample = sample_rows(len(self.places), self.seed)
        return Outliers.fit(self.read(sample), seed=self.seed) if known is None else known

    def _centre(self) -> Matrix:
        total = sum(self.read(rows).sum(axis=0, dtype=np.float64) for rows in self.blocks())
        return np.asarray(total / len(self.places), dtype=np.float32)


def _blocks(rows: Rows) -> Iterator[Rows]:
    for start in range(0, len(rows), BLOCK):
        yield rows[start : start + BLOCK]
