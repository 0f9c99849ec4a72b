"""How far people agree with each other and with the model.

Kappa is the agreement beyond what chance would give: 1 is complete, 0 as by chance.
"""

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from backend_ml.catalogue.fractions import wilson

Votes = Sequence[tuple[Hashable, Hashable, str]]
"""Each vote: of which stamp, by whom, which label; of one person's about one stamp the last counts."""


@dataclass(frozen=True)
class Share:
    """So many of so many: `right` of `n`, and the 95 % interval of the fraction by Wilson's score.

    Where each may be partly right `right` is their sum; the interval is then too wide rather than too narrow.
    """

    right: float
    n: int

    @property
    def value(self) -> float | None:
        """The fraction; None of nothing."""
        return self.right / self.n if self.n else None

    @property
    def interval(self) -> tuple[float, float]:
        """Lower and upper end of the 95 % interval; 0 and 1 where nothing is known."""
        if not self.n:
            return 0.0, 1.0
        low, high = wilson(np.array([self.right / self.n]), np.array([float(self.n)]))
        return float(low[0]), float(high[0])


@dataclass(frozen=True)
class Pair:
    """Two people who labelled the same galaxies: `same.n` of them.

    `kappa` is Cohen's (1960, Educ. Psychol. Meas. 20, 37), (p_o - p_e) / (1 - p_e) with p_e = sum_l p_al p_bl; None
    where it is not defined: both gave one and the same label throughout.
    """

    people: tuple[Hashable, Hashable]
    same: Share
    kappa: float | None


@dataclass(frozen=True)
class Agreement:
    """Agreement of people about the galaxies that several of them labelled.

    Attributes
    ----------
    galaxies : int
        With labels of two people or more.
    same : Share
        Pairs of labels of one galaxy that are the same, of all such pairs.
    kappa : float or None
        Fleiss's (1971, Psychol. Bull. 76, 378): with n_il labels l of galaxy i, m_i in all, P_i = sum_l n_il (n_il - 1)
        / (m_i (m_i - 1)) and p_l = sum_i n_il / sum_i m_i, it is (mean P_i - sum p_l^2) / (1 - sum p_l^2). The paper
        has one m for all; here each galaxy has its own. None where all labels are one and the same.
    pairs : list of Pair
        Those who labelled most in common first.
    """

    galaxies: int
    same: Share
    kappa: float | None
    pairs: list[Pair]


def agreement(votes: Votes) -> Agreement:
    """How far people agree."""
    given: dict[Hashable, dict[Hashable, str]] = {}
    for stamp, person, label in votes:
        given.setdefault(stamp, {})[person] = label
    shared = [labels for labels in given.values() if len(labels) > 1]
    counts = [Counter(labels.values()) for labels in shared]
    same = sum(n * (n - 1) // 2 for count in counts for n in count.values())
    pairs = sum(count.total() * (count.total() - 1) // 2 for count in counts)
    return Agreement(len(shared), Share(same, pairs), _fleiss(counts), _pairs(shared))


def _fleiss(counts: Sequence[Counter[str]]) -> float | None:
    if not counts:
        return None
    observed = sum(_same_share(count) for count in counts) / len(counts)
    total: Counter[str] = sum(counts, Counter())
    return _beyond_chance(observed, sum((n / total.total()) ** 2 for n in total.values()))


def _same_share(count: Counter[str]) -> float:
    m = count.total()
    return sum(n * (n - 1) for n in count.values()) / (m * (m - 1))


def _pairs(shared: Sequence[Mapping[Hashable, str]]) -> list[Pair]:
    common: dict[tuple[Hashable, Hashable], list[tuple[str, str]]] = {}
    for labels in shared:
        for one, other in combinations(sorted(labels, key=str), 2):
            common.setdefault((one, other), []).append((labels[one], labels[other]))
    found = [
        Pair(people, Share(sum(a == b for a, b in both), len(both)), cohen(both)) for people, both in common.items()
    ]
    return sorted(found, key=lambda pair: (-pair.same.n, str(pair.people)))


def cohen(both: Sequence[tuple[str, str]]) -> float | None:
    """Cohen's kappa of what two people said of the same galaxies; None where it is not defined."""
    n = len(both)
    if not n:
        return None
    ones, others = Counter(a for a, _ in both), Counter(b for _, b in both)
    return _beyond_chance(sum(a == b for a, b in both) / n, sum(ones[label] * others[label] for label in ones) / n**2)


def _beyond_chance(observed: float, expected: float) -> float | None:
    return None if expected >= 1 else (observed - expected) / (1 - expected)
