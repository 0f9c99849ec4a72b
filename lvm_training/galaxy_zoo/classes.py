"""Classes of galaxies from their votes, by published cuts.

`morphology5` are the five classes of Zhu et al. 2019 (Ap&SS 364, 55), after the thresholds of Willett et al. 2013,
table 3; `galaxy-mnist` the four of GalaxyMNIST (Walmsley); `leaves7` goes down the tree by the most common answer.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from lvm_training.errors import LabelError
from lvm_training.galaxy_zoo.trees import FACE_ON, FEATURED, SPIRAL, TREES
from lvm_training.galaxy_zoo.votes import Votes

SMOOTH, EDGE_ON = "smooth-or-featured_smooth", "disk-edge-on_yes"


@dataclass(frozen=True)
class Cut:
    """At least so large a fraction of one answer.

    Attributes
    ----------
    key : str
        `question_answer`.
    least : float
        The fraction, 0 to 1.
    """

    key: str
    least: float

    def __str__(self) -> str:
        return f"{self.key} >= {self.least:g}"

    @property
    def question(self) -> str:
        """Its question."""
        return self.key.partition("_")[0]


@dataclass(frozen=True)
class Rule:
    """A class, and the cuts that a galaxy of it passes, all of them."""

    name: str
    cuts: tuple[Cut, ...]


@dataclass(frozen=True)
class Scheme:
    """Classes; a galaxy belongs to the first whose cuts it passes.

    Attributes
    ----------
    name : str
    rules : tuple of Rule
    source : str
        Where it was published.
    least_votes : int
        How many people must have answered each question of a cut, where the table says it.
    reached : float
        Share of the volunteers who must have come to a question, by the fractions of the answers before it.
    """

    name: str
    rules: tuple[Rule, ...]
    source: str
    least_votes: int = 0
    reached: float = 0.0

    def changed(self, cuts: Sequence[str], least_votes: int | None = None) -> "Scheme":
        """With other cuts: `answer=fraction` where it is cut on, `class:answer=fraction` also where it is not.

        Raises
        ------
        LabelError
            If one is not written so, or names what is not there.
        """
        rules = self.rules
        for text in cuts:
            rules = _changed(rules, text)
        return replace(self, rules=rules, least_votes=self.least_votes if least_votes is None else least_votes)


@dataclass(frozen=True)
class Classes:
    """The class of each galaxy.

    Attributes
    ----------
    names : list of str
        "" where a galaxy has none.
    notes : tuple of str
        How many each cut leaves out.
    counts : dict of str to int
        Galaxies of each class, in the order of the scheme.
    """

    names: list[str]
    notes: tuple[str, ...]
    counts: dict[str, int]


def _rule(name: str, *cuts: tuple[str, float]) -> Rule:
    return Rule(name, tuple(Cut(key, least) for key, least in cuts))


def _smooth(name: str, shape: str, smooth: float, least: float) -> Rule:
    return _rule(name, (SMOOTH, smooth), (f"how-rounded_{shape}", least))


SCHEMES = {
    scheme.name: scheme
    for scheme in (
        Scheme(
            "morphology5",
            (
                _smooth("round smooth", "round", 0.469, 0.5),
                _smooth("in-between smooth", "in-between", 0.469, 0.5),
                _smooth("cigar-shaped smooth", "cigar-shaped", 0.469, 0.5),
                _rule("edge-on disc", (FEATURED, 0.43), (EDGE_ON, 0.602)),
                _rule("spiral", (FEATURED, 0.43), (FACE_ON, 0.715), (SPIRAL, 0.619)),
            ),
            "Zhu et al. 2019, after Willett et al. 2013",
        ),
        Scheme(
            "galaxy-mnist",
            (
                _smooth("smooth_round", "round", 0.5, 0.5),
                _smooth("smooth_cigar", "cigar-shaped", 0.5, 0.5),
                _rule("edge_on_disk", (FEATURED, 0.5), (EDGE_ON, 0.5)),
                _rule("unbarred_spiral", (FEATURED, 0.5), (FACE_ON, 0.5), (SPIRAL, 0.5), ("bar_no", 0.5)),
            ),
            "GalaxyMNIST",
            least_votes=17,
        ),
        Scheme(
            "leaves7",
            (
                _rule("round", (SMOOTH, 0), ("how-rounded_round", 0)),
                _rule("in-between", (SMOOTH, 0), ("how-rounded_in-between", 0)),
                _rule("cigar", (SMOOTH, 0), ("how-rounded_cigar-shaped", 0)),
                _rule("edge-on", (FEATURED, 0), (EDGE_ON, 0)),
                _rule("unbarred spiral", (FEATURED, 0), (FACE_ON, 0), (SPIRAL, 0), ("bar_no", 0)),
                _rule("barred spiral", (FEATURED, 0), (FACE_ON, 0), (SPIRAL, 0), ("bar_yes", 0)),
                _rule("featured without arms", (FEATURED, 0), (FACE_ON, 0), ("has-spiral-arms_no", 0)),
            ),
            "the most common answer of each question that half of the volunteers came to",
            reached=0.5,
        ),
    )
}


def find_scheme(name: str) -> Scheme:
    """The scheme of a name.

    Raises
    ------
    LabelError
        If there is none.
    """
    if name not in SCHEMES:
        raise LabelError(f"There are no classes {name!r}.", f"Published cuts are {', '.join(SCHEMES)}.")
    return SCHEMES[name]


def _changed(rules: tuple[Rule, ...], text: str) -> tuple[Rule, ...]:
    where, _, value = text.rpartition("=")
    name, colon, key = where.rpartition(":")
    answers = {key for tree in TREES.values() for question in tree for key in question.keys}
    try:
        least = float(value)
    except ValueError:
        least = -1.0
    if not 0 <= least <= 1 or key not in answers:
        raise LabelError(
            f"{text!r} is no cut.", "Write answer=fraction or class:answer=fraction, as in how-rounded_round=0.6."
        )
    if colon and name not in {rule.name for rule in rules}:
        raise LabelError(f"There is no class {name!r}.", f"There are: {', '.join(rule.name for rule in rules)}.")
    found = tuple(
        Rule(rule.name, _cuts(rule, key, least, add=bool(colon))) if name in ("", rule.name) else rule for rule in rules
    )
    if found == rules and not any(cut.key == key for rule in rules for cut in rule.cuts):
        raise LabelError(f"No class has a cut on {key}.", f"Add it to one: {rules[0].name}:{key}={least:g}.")
    return found


def _cuts(rule: Rule, key: str, least: float, *, add: bool) -> tuple[Cut, ...]:
    cuts = tuple(Cut(key, least) if cut.key == key else cut for cut in rule.cuts)
    return (*cuts, Cut(key, least)) if add and all(cut.key != key for cut in cuts) else cuts


def classified(votes: Votes, scheme: Scheme) -> Classes:
    """The class of each galaxy by the cuts of a scheme.

    Raises
    ------
    LabelError
        If the table lacks what every class needs.
    """
    names = np.full(len(votes), "", dtype=object)
    fits = np.zeros(len(votes), dtype=int)
    notes, lacking, told = [f"classes {scheme.name} ({scheme.source})"], [], False
    if scheme.least_votes and not votes.asked:
        notes.append(f"how many were asked is not told: that {scheme.least_votes} were is not asked for")
    for rule in scheme.rules:
        absent = [cut.key for cut in rule.cuts if _known(votes, cut.key) is None]
        if absent:
            lacking.append(f"{rule.name}: cannot be told, the table has no {', '.join(absent)}")
            continue
        told = True
        passed, steps = _passed(votes, scheme, rule)
        fits += passed
        names[passed & (names == "")] = rule.name
        notes.append(f"{rule.name}: {int(passed.sum())} galaxies; {', '.join(steps)}")
    if not told:
        raise LabelError(f"{votes.table.name} has too few questions for {scheme.name}: {lacking[0]}.", "Add them.")
    several = int((fits > 1).sum())
    if several:
        notes.append(f"{several} galaxies pass the cuts of several classes and get the first")
    notes += [*lacking, f"{int((fits == 0).sum())} of {len(votes)} galaxies are in no class"]
    counts = {rule.name: int((names == rule.name).sum()) for rule in scheme.rules}
    return Classes(names.tolist(), tuple(notes), counts)


def _known(votes: Votes, key: str) -> NDArray[np.float64] | None:
    """Fractions of an answer; that of any bar is of a strong or a weak one."""
    if key == "bar_yes" and votes.fraction(key) is None:
        kinds = [votes.fraction(f"bar_{kind}") for kind in ("strong", "weak")]
        return None if kinds[0] is None or kinds[1] is None else kinds[0] + kinds[1]
    return votes.fraction(key)


def _passed(votes: Votes, scheme: Scheme, rule: Rule) -> tuple[NDArray[np.bool_], list[str]]:
    """Which galaxies pass all cuts of a rule, and how many each leaves out of those that came to it."""
    left = np.ones(len(votes), dtype=bool)
    reached: NDArray[np.float64] = np.ones(len(votes))
    steps = []
    for cut in rule.cuts:
        fractions = _known(votes, cut.key)
        if fractions is None:  # told before
            continue
        fine = np.nan_to_num(fractions, nan=-1.0) >= cut.least
        if scheme.reached:
            fine &= (reached >= scheme.reached) & _most_common(votes, cut.key)
            reached = reached * np.nan_to_num(fractions)
        if scheme.least_votes and cut.question in votes.asked:
            fine &= votes.asked[cut.question] >= scheme.least_votes
        unasked = int((left & np.isnan(fractions)).sum())
        steps.append(_step(cut, scheme, int((left & ~fine).sum()), unasked))
        left &= fine
    return left, steps


def _step(cut: Cut, scheme: Scheme, out: int, unasked: int) -> str:
    what = f"most common {cut.key}" if scheme.reached else str(cut)
    asked = f" with {scheme.least_votes} votes" if scheme.least_votes else ""
    return f"{what}{asked} leaves out {out}" + (f" ({unasked} not asked)" if unasked else "")


def _most_common(votes: Votes, key: str) -> NDArray[np.bool_]:
    """Whether no other answer of its question has a larger fraction; of equal ones the first of the tree counts."""
    name = key.partition("_")[0]
    question = next(one for one in TREES[votes.tree] if one.name == name)
    keys = ("bar_yes", "bar_no") if name == "bar" else question.keys
    known = [(one, found) for one in keys if (found := _known(votes, one)) is not None]
    stacked = np.nan_to_num(np.stack([found for _, found in known]), nan=-1.0)
    first = np.asarray(stacked.argmax(axis=0) == [one for one, _ in known].index(key))
    return np.asarray(first & (stacked.max(axis=0) >= 0))
