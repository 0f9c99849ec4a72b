"""The decision trees of Galaxy Zoo, and the names that its tables give to their questions and answers.

Sources: Willett et al. 2013 (arXiv:1308.3496), table 2, and Hart et al. 2016 (arXiv:1607.01019) for Galaxy Zoo 2;
Walmsley et al. 2022 (arXiv:2102.08414), figure 1 and table 1, for GZ DECaLS; Walmsley et al. 2023 (arXiv:2309.11425)
for GZ DESI. Questions and answers are called as in the last two, whichever survey a table is of.
"""

import re
from dataclasses import dataclass
from typing import NamedTuple


@dataclass(frozen=True)
class Question:
    """A question of the tree.

    Attributes
    ----------
    name : str
    answers : tuple of str
    after : tuple of str
        Answers, as `question_answer`, any of which leads here; none for the first question.
    multiple : bool
        Whether several answers may be given, so that fractions need not sum to one.
    """

    name: str
    answers: tuple[str, ...]
    after: tuple[str, ...] = ()
    multiple: bool = False

    @property
    def keys(self) -> tuple[str, ...]:
        """Its answers as `question_answer`."""
        return tuple(f"{self.name}_{answer}" for answer in self.answers)


FEATURED, FACE_ON, SPIRAL = "smooth-or-featured_featured-or-disk", "disk-edge-on_no", "has-spiral-arms_yes"
_COMMON = (
    Question("smooth-or-featured", ("smooth", "featured-or-disk", "artifact")),
    Question("how-rounded", ("round", "in-between", "cigar-shaped"), ("smooth-or-featured_smooth",)),
    Question("disk-edge-on", ("yes", "no"), (FEATURED,)),
    Question("edge-on-bulge", ("rounded", "boxy", "none"), ("disk-edge-on_yes",)),
    Question("has-spiral-arms", ("yes", "no"), (FACE_ON,)),
    Question("spiral-winding", ("tight", "medium", "loose"), (SPIRAL,)),
    Question("spiral-arm-count", ("1", "2", "3", "4", "more-than-4", "cant-tell"), (SPIRAL,)),
)
GZ2 = "Galaxy Zoo 2"
KAGGLE = "Kaggle"
_NOT_ARTIFACT = ("smooth-or-featured_smooth", FEATURED)
TREES: dict[str, tuple[Question, ...]] = {
    "GZ DECaLS": (
        *_COMMON,
        Question("bar", ("strong", "weak", "no"), (FACE_ON,)),
        Question("bulge-size", ("none", "small", "moderate", "large", "dominant"), (FACE_ON,)),
        Question("merging", ("none", "minor-disturbance", "major-disturbance", "merger"), _NOT_ARTIFACT),
    ),
    GZ2: (
        *_COMMON,
        Question("bar", ("yes", "no"), (FACE_ON,)),
        Question("bulge-size", ("none", "just-noticeable", "obvious", "dominant"), (FACE_ON,)),
        Question("something-odd", ("yes", "no"), _NOT_ARTIFACT),
        Question(
            "odd-feature",
            ("ring", "lens-or-arc", "disturbed", "irregular", "other", "merger", "dust-lane"),
            ("something-odd_yes",),
        ),
    ),
    "GZ DECaLS 1 and 2": (
        *_COMMON,
        Question("bar", ("yes", "no"), (FACE_ON,)),
        Question("bulge-size", ("none", "obvious", "dominant"), (FACE_ON,)),
        Question("merging", ("neither", "tidal-debris", "both", "merger"), _NOT_ARTIFACT),
    ),
}
# tasks and answers of Galaxy Zoo 2 by their numbers in its tables
_TASKS = {
    1: ("smooth-or-featured", {1: "smooth", 2: "featured-or-disk", 3: "artifact"}),
    2: ("disk-edge-on", {4: "yes", 5: "no"}),
    3: ("bar", {6: "yes", 7: "no"}),
    4: ("has-spiral-arms", {8: "yes", 9: "no"}),
    5: ("bulge-size", {10: "none", 11: "just-noticeable", 12: "obvious", 13: "dominant"}),
    6: ("something-odd", {14: "yes", 15: "no"}),
    7: ("how-rounded", {16: "round", 17: "in-between", 18: "cigar-shaped"}),
    8: (
        "odd-feature",
        {
            19: "ring",
            20: "lens-or-arc",
            21: "disturbed",
            22: "irregular",
            23: "other",
            24: "merger",
            38: "dust-lane",
        },
    ),
    9: ("edge-on-bulge", {25: "rounded", 26: "boxy", 27: "none"}),
    10: ("spiral-winding", {28: "tight", 29: "medium", 30: "loose"}),
    11: ("spiral-arm-count", {31: "1", 32: "2", 33: "3", 34: "4", 36: "more-than-4", 37: "cant-tell"}),
}
_SYNONYMS = {
    "how-rounded": {"completely": "round", "cigar": "cigar-shaped", "completely-round": "round"},
    "bulge-size": {"no": "none"},
    "edge-on-bulge": {"round": "rounded", "no-bulge": "none", "no": "none"},
    "smooth-or-featured": {"features": "featured-or-disk", "problem": "artifact"},
}
_QUESTIONS = {"bulge-shape": "edge-on-bulge"}
STATISTICS = ("debiased", "weighted", "fraction", "count", "total")
_SUFFIXES = {
    "debiased": "debiased",
    "weighted_fraction": "weighted",
    "weight_fraction": "weighted",
    "fraction": "fraction",
    "count_fraction": "fraction",
    "count": "count",
    "total-votes": "total",
    "": "count",
}
_GZ2 = re.compile(
    r"t(\d\d)_[a-z_]+?_a(\d\d)_\w+?_(debiased|weighted_fraction|weight_fraction|count_fraction|fraction|count)"
)
_KAGGLE = re.compile(r"class(\d+)\.(\d)")
_NEW = re.compile(
    r"([a-z-]+?)(-(?:dr12|dr1|dr2|dr5|dr8|gz2|desi))?_([a-z0-9-]+?)(?:_(debiased|weighted_fraction|fraction|count))?"
)


class VoteColumn(NamedTuple):
    """What a column of a vote table holds: a statistic of an answer ("" of the whole question), in a campaign."""

    question: str
    answer: str
    statistic: str
    campaign: str


def vote_column(name: str) -> VoteColumn | None:
    """What a column holds by its name; None where it is no votes."""
    plain = name.strip().casefold()
    if found := _GZ2.fullmatch(plain):
        question, answers = _TASKS.get(int(found[1]), ("", {}))
        answer = answers.get(int(found[2]))
        return VoteColumn(question, answer, _SUFFIXES[found[3]], GZ2) if answer else None
    if found := _KAGGLE.fullmatch(plain):
        question, answers = _TASKS.get(int(found[1]), ("", {}))
        ordered = list(answers.values())
        place = int(found[2]) - 1
        return VoteColumn(question, ordered[place], "fraction", KAGGLE) if 0 <= place < len(ordered) else None
    if not (found := _NEW.fullmatch(plain)):
        return None
    question = _QUESTIONS.get(found[1], found[1])
    campaign = (found[2] or "").lstrip("-")
    if found[3] == "total-votes":
        return VoteColumn(question, "", "total", campaign) if question in _ANSWERS else None
    answer = _SYNONYMS.get(question, {}).get(found[3], found[3])
    known = answer in _ANSWERS.get(question, ())
    return VoteColumn(question, answer, _SUFFIXES[found[4] or ""], campaign) if known else None


_ANSWERS: dict[str, set[str]] = {}
for _tree in TREES.values():
    for _question in _tree:
        _ANSWERS.setdefault(_question.name, set()).update(_question.answers)


def tree_of(campaign: str, answers: set[str]) -> str:
    """The tree of a campaign's table by the answers in it, given as `question_answer`."""
    if campaign in (GZ2, KAGGLE, "gz2"):
        return GZ2
    fits = {name: {key for question in tree for key in question.keys} for name, tree in TREES.items()}
    return max(fits, key=lambda name: len(answers & fits[name]))
