"""Named policies: mixes of measures that turn what is known of a pool into the worth of each galaxy's label."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from backend_ml.acquisition.diversity import marginal_relevance
from backend_ml.acquisition.measures import MEASURES, NEEDS, Array, Candidates, Matrix, PolicyError, draw, ordered
from backend_ml.acquisition.stochastic import inclusion, power_draw

# A mix for diversity chooses among so many times the batch, the best ones by worth
SHORTLIST, LEAST_SHORTLIST = 10, 1000
VIEWS = 4  # of each stamp; on simulated lenses the ranks they give agree with those of all eight to 0.91 (Spearman)


@dataclass(frozen=True)
class Term:
    """A measure, a key of `MEASURES`, and its weight in the mix."""

    measure: str
    weight: float = 1.0


@dataclass(frozen=True)
class Policy:
    """A mix of measures.

    Attributes
    ----------
    name : str
    terms : tuple of Term
        One measure is taken as it is; of several the weighted mean of their ranks, each from 0 to 1. None draws
        blindly.
    relevance : float
        Trade-off l of `marginal_relevance` for the next batch; 1 leaves diversity out.
    beta : float, optional
        Exponent of `power_draw`; None ranks without noise. The draw makes batches diverse, so `relevance` is then 1.
    words : str
        What is said of a galaxy that it chose: how it compares with those behind it, since the first of a ranking may
        be sure as well.
    title : str
        What people choose it by, where they do.

    Raises
    ------
    PolicyError
        If a measure does not exist, a weight is not positive, or `beta` and `relevance` are both asked for.
    """

    name: str
    terms: tuple[Term, ...] = ()
    relevance: float = 1.0
    beta: float | None = None
    words: str = ""
    title: str = ""

    def __post_init__(self) -> None:
        unknown = [term.measure for term in self.terms if term.measure not in MEASURES]
        if unknown:
            raise PolicyError(f"There is no measure {unknown[0]!r}.", f"Choose from: {', '.join(MEASURES)}.")
        if any(term.weight <= 0 for term in self.terms):
            raise PolicyError(f"Policy {self.name!r} has a weight that is not positive.", "Leave that term out.")
        if self.beta is not None and self.relevance < 1:
            raise PolicyError(f"Policy {self.name!r} is both drawn and spread out.", "Give `beta` or `relevance`.")

    @property
    def needs(self) -> frozenset[str]:
        """What must be known of candidates, in the words of `NEEDS`."""
        spread = frozenset({"features"}) if self.relevance < 1 else frozenset()
        # where no class is looked for, a mix is left to its other measures; alone, a probability says nothing
        alone = frozenset({"class"}) if {term.measure for term in self.terms} == {"probability"} else frozenset()
        return spread.union(alone, *(NEEDS[term.measure] for term in self.terms))


@dataclass(frozen=True)
class Judgement:
    """What labels are worth, and how the policy would choose.

    Attributes
    ----------
    worth : ndarray (N,)
        Label the largest first.
    propensity : ndarray (N,)
        Probability to be in the next batch: 1 for a ranking without chance, `inclusion` for a drawn one.
    """

    worth: Array
    propensity: Array


POLICIES: dict[str, Policy] = {
    policy.name: policy
    for policy in (
        Policy("random", words="drawn at random", title="At random"),
        Policy(
            "margin",
            (Term("margin"),),
            words="the model is less sure between its two best answers than for those behind it",
            title="Most uncertain first",
        ),
        Policy(
            "entropy",
            (Term("entropy"),),
            words="the model spreads its answer over more classes than for those behind it",
        ),
        Policy(
            "bald",
            (Term("bald"),),
            words="models that agree with all labels disagree more about it than about those behind it",
        ),
        Policy(
            "powerbald",
            (Term("bald"),),
            beta=1.0,
            words="drawn, the likelier the more models that agree with all labels disagree about it",
        ),
        Policy(
            "similarity",
            (Term("similarity"),),
            words="it looks more like what is wanted, and less like what was refused, than those behind it",
            title="Most similar first",
        ),
        Policy(
            "expected-improvement",
            (Term("expected-improvement"),),
            words="its chance to be a better candidate than the best one so far is larger than that of those behind it",
        ),
        Policy(
            "most-likely",
            (Term("class-probability"),),
            words="it is likelier to be what is looked for than those behind it",
            title="Most likely first",
        ),
        Policy(
            "simulated",
            (Term("simulated"),),
            words="it looks more like what the simulator draws of what is looked for than those behind it",
            title="Most like the simulated ones",
        ),
        Policy("typicality", (Term("typicality"),), words="it is typical of many galaxies that nobody has labelled"),
        Policy(
            "k-centre",
            (Term("k-centre"),),
            words="it is unlike every galaxy chosen before it, so that the first labels cover all kinds",
            title="Most different",
        ),
        Policy(
            "unusual",
            (Term("unusual"),),
            words="it lies farther from the galaxies most like it, and from everything labelled, than those behind it",
            title="Most unusual first",
        ),
        # replayed on simulated galaxies: ahead of margin where all classes count alike, level with it for a rare one
        Policy(
            "loop",
            (Term("probability", 0.5), Term("margin", 0.5)),
            relevance=0.8,
            words="half by how likely it is what is looked for, half by how unsure the model is of it",
            title="Likely and instructive",
        ),
        Policy(
            "box-margin",
            (Term("box-margin"),),
            words="the detector is less sure whether its best find is one than for those behind it",
        ),
        Policy(
            "count-entropy",
            (Term("count-entropy"),),
            words="the detector is less sure how many there are than for those behind it",
        ),
        Policy(
            "boxes",
            (Term("box-margin", 0.5), Term("count-entropy", 0.5)),
            words="by how unsure the detector is of its best find, and of how many there are",
        ),
        Policy(
            "mask-disagreement",
            (Term("mask-disagreement"),),
            words="turning the picture changes the outline of the detector's best find more than for those behind it",
        ),
        # outlines disagree most where the detector hardly finds an arc at all; the margin asks for one that may be
        Policy(
            "masks",
            (Term("box-margin", 0.5), Term("mask-disagreement", 0.5)),
            words="by how unsure the detector is of its best find, and how much turning changes its outline",
        ),
        Policy(
            "information",
            (Term("information"),),
            words="another person's answers would tell more about how people vote on it than on those behind it",
        ),
        Policy(
            "outliers",
            (Term("deviation"),),
            words="by how many of the model's errors what is known of it is off; then by how large those errors are",
        ),
    )
}
"""By name, what campaigns, the search page and replays choose with."""


def find_policy(name: str) -> Policy:
    """The policy of a name.

    Raises
    ------
    PolicyError
        If there is none; the hint lists the names.
    """
    if name not in POLICIES:
        raise PolicyError(f"There is no policy {name!r}.", f"Choose from: {', '.join(POLICIES)}.")
    return POLICIES[name]


def needed_views(name: str) -> int:
    """In how many views of each stamp a detector looks under a policy: one, unless the policy compares them."""
    return VIEWS if "views" in find_policy(name).needs else 1


def fitting(*, boxes: bool, searching: bool, votes: bool = False, numbers: bool = False) -> tuple[str, ...]:
    """Names of the policies that have what they need once there are labels.

    Parameters
    ----------
    boxes : bool
        Whether a detector's boxes and masks are known of the candidates, and no answers of a head.
    searching : bool
        Whether a class is looked for.
    votes : bool
        Whether a head of votes says how people answer a tree of questions.
    numbers : bool
        Whether a head measures numbers, and answers nothing else.
    """
    # simulated stamps choose until there are examples, and by themselves
    absent = {"answers", "ensemble", "simulation"} if boxes else {"boxes", "views", "simulation"}
    absent |= set() if searching and not boxes else {"class"}
    absent |= set() if votes else {"information"}
    absent |= {"answers", "ensemble", "boxes", "views"} if numbers else {"deviation"}
    return tuple(name for name, policy in POLICIES.items() if not policy.needs & absent)


def judge(policy: Policy | str, pool: Candidates, *, batch: int, seed: int) -> Judgement:
    """The worth of a label of each candidate, and the propensity of each to be in the next batch.

    Parameters
    ----------
    policy : Policy or str
        Or its name.
    pool : Candidates
        What is known of them; what the policy's measures do not read may be left out.
    batch : int
        How many are labelled before the next judgement.
    seed : int
        Draws what the policy leaves to chance.

    Raises
    ------
    PolicyError
        If there is no such policy, or it needs what is not there: answers, an ensemble, boxes, views, a class
        to look for.
    FeaturesError
        If features or answers are not finite; the message names the rows.
    """
    chosen = find_policy(policy) if isinstance(policy, str) else policy
    found = measured(chosen, pool, batch=batch, seed=seed)
    if chosen.relevance == 1 or not len(pool):
        return chosen_from(chosen, mixed(chosen, found, seed), batch=batch, seed=seed)
    centre = pool.middle()
    worth = diverse(mixed(chosen, found, seed), lambda rows: pool.features[rows], centre, batch, chosen.relevance)
    return chosen_from(chosen, worth, batch=batch, seed=seed)


def measured(policy: Policy, pool: Candidates, *, batch: int, seed: int) -> Array:
    """What each measure of a policy says of each candidate (T, N); as `judge` takes and raises."""
    pool.check()
    found = [MEASURES[term.measure](pool, batch, seed) for term in policy.terms] if len(pool) else []
    return np.array(found, dtype=np.float64).reshape(len(policy.terms), len(pool))


def mixed(policy: Policy, values: Array, seed: int) -> Array:
    """Worths (N,) by what a policy's measures say (T, N): one as it is, of several the mean of ranks, drawn by none."""
    count = values.shape[1]
    if not policy.terms:
        return draw(count, seed)
    if len(values) == 1:
        return np.asarray(values[0])
    total = sum(term.weight for term in policy.terms)
    ranks = (rankdata(value) / count for value in values)
    return np.asarray(sum(term.weight * rank for term, rank in zip(policy.terms, ranks, strict=True)) / total)


def chosen_from(policy: Policy, worth: Array, *, batch: int, seed: int) -> Judgement:
    """How a policy chooses by worths (N,): the largest first, or drawn."""
    if not policy.terms:
        return Judgement(worth, np.full(len(worth), min(1.0, batch / max(len(worth), 1))))
    if policy.beta is None or not len(worth):
        return Judgement(worth, np.ones(len(worth)))
    drawn = power_draw(worth, beta=policy.beta, seed=seed)
    return Judgement(drawn, inclusion(worth, drawn, batch, beta=policy.beta))


def diverse(
    worth: Array, read: Callable[[NDArray[np.int64]], Matrix], centre: Matrix, batch: int, relevance: float
) -> Array:
    """Worths with the best `batch` by marginal relevance first, in that order; the others behind them as they were.

    Parameters
    ----------
    worth : ndarray (N,)
    read : callable
        Gives the features of some rows, which are compared about `centre` (D,).
    batch : int
    relevance : float
        Trade-off of `marginal_relevance`, which judges worth by its rank.
    """
    ranks = rankdata(worth) / len(worth)
    short = np.sort(np.argsort(-ranks, kind="stable")[: max(SHORTLIST * batch, LEAST_SHORTLIST)])
    order = marginal_relevance(ranks[short], read(short) - centre, batch, trade_off=relevance)
    return ordered(short[order], ranks - 1)
