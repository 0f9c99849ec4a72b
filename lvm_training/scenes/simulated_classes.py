"""What people call galaxies, said of simulated ones: what a head can learn before any person has labelled.

Only clear cases are of a concept, and only clear cases of others are not; what lies between is left out, as people
disagree on it.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lvm_training.errors import GalaxyLoopError
from lvm_training.scenes.structure import DISC, EDGE_ON, SMOOTH, Structure

Mask = NDArray[np.bool_]

NOT = "no-"  # before a concept: galaxies that clearly lack it
LEAST_RADIUS = 2.0  # arcsec, below which the PSF hides a ring
UNKNOWN = -1  # kind of a galaxy in a lens scene, all of whose other values are NaN: it is of no concept but `lens`


class ConceptError(GalaxyLoopError):
    """A name of something that the simulator does not draw, or one that is used twice."""

    code = "concept"


class Drawn(NamedTuple):
    """What was drawn in N stamps.

    Attributes
    ----------
    structure : Structure
        The galaxy in the middle; of kind `UNKNOWN` in lens scenes.
    lens : ndarray (N,) of bool
        Whether it lenses another.
    """

    structure: Structure
    lens: Mask


Rule = Callable[[Drawn], Mask]


class Concept(NamedTuple):
    """One thing that the simulator draws.

    Attributes
    ----------
    words : str
        What it is, for people.
    shown : callable
        Whether a stamp shows it clearly (N,).
    near : callable
        Whether somebody might call a stamp so (N,); the others clearly lack it.
    among : callable
        Among which stamps those that lack it are looked for, where a campaign asks for it or not.
    """

    words: str
    shown: Rule
    near: Rule
    among: Rule


def _any(d: Drawn) -> Mask:
    return np.ones(len(d.lens), dtype=bool)


def _known(d: Drawn) -> Mask:
    """Stamps whose structure is known."""
    return np.asarray(d.structure.kind != UNKNOWN)


def _face_on(d: Drawn) -> Mask:
    """Discs whose face is seen."""
    return np.asarray((d.structure.kind == DISC) & (d.structure.axis_ratio > 0.45))


def _calm(d: Drawn) -> Mask:
    s = d.structure
    return np.asarray((s.disturbance == 0) & (s.tails == 0) & (s.companion < 0.05))


def _disturbed(d: Drawn) -> Mask:
    """Discs out of shape: bent light of smooth galaxies teaches what people call ellipses."""
    s = d.structure
    return np.asarray((s.kind == DISC) & ((s.disturbance > 0.3) | (s.tails > 0.2)))


def _merging(d: Drawn) -> Mask:
    """Two galaxies in each other's light: few that people call mergers show tails."""
    s = d.structure
    return np.asarray((s.companion > 0.2) & (s.companion_distance < 3.5 * s.radius))


def _ringed(d: Drawn) -> Mask:
    """Rings as people know them: even, in calm discs without arms, and such that a picture can hold them."""
    s = d.structure
    clear = (s.ring > 0.08) & (s.ring_evenness > 0.3) & (s.arms == 0) & (s.radius > LEAST_RADIUS)
    return np.asarray(_face_on(d) & _calm(d) & clear)


def _smooth(least: float, most: float) -> Rule:
    """Smooth galaxies of axis ratios between two limits."""
    return lambda d: np.asarray(
        (d.structure.kind == SMOOTH) & (d.structure.axis_ratio > least) & (d.structure.axis_ratio < most)
    )


def _both(one: Rule, other: Rule) -> Rule:
    return lambda d: one(d) & other(d)


CONCEPTS: Mapping[str, Concept] = MappingProxyType(
    {
        "round": Concept("round and smooth", _both(_smooth(0.82, np.inf), _calm), _smooth(0.72, np.inf), _any),
        "in-between": Concept("smooth, an ellipse", _both(_smooth(0.45, 0.72), _calm), _smooth(0.36, 0.82), _any),
        "cigar": Concept("smooth, long and thin", _both(_smooth(0, 0.36), _calm), _smooth(0, 0.45), _any),
        "edge-on": Concept(
            "a disc seen from its side",
            lambda d: d.structure.kind == EDGE_ON,
            lambda d: d.structure.kind == EDGE_ON,
            _any,
        ),
        "spiral": Concept(
            "a disc with arms",
            lambda d: _face_on(d) & (d.structure.arms > 0.35) & (d.structure.companion < 0.3),
            lambda d: d.structure.arms > 0,
            _any,
        ),
        "ring": Concept(
            "a disc with a ring",
            _ringed,
            lambda d: d.structure.ring > 0,
            _known,
        ),
        "bar": Concept(
            "a disc with a bar",
            lambda d: _face_on(d) & (d.structure.bar > 0.12),
            lambda d: d.structure.bar > 0,
            _known,
        ),
        "merger": Concept(
            "two galaxies in each other's light",
            _merging,
            lambda d: ~(_calm(d) & (d.structure.companion == 0)),
            _any,
        ),
        "disturbed": Concept("bent light, or tails", _disturbed, lambda d: ~_calm(d), _any),
        "lens": Concept("arcs or images of a galaxy behind it", lambda d: d.lens, lambda d: d.lens, _any),
    }
)
"""What the simulator draws, by the names that campaigns and searches use."""

NO, YES = "0", "1"

# classes by task as in sets of real pictures, each with its concept
SIMULATED: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "morphology5": {
            "completely_round_smooth": "round",
            "in_between_smooth": "in-between",
            "cigar_smooth": "cigar",
            "edge_on": "edge-on",
            "spiral": "spiral",
        },
        "ring": {NO: "no-ring", YES: "ring"},
        "bar": {NO: "no-bar", YES: "bar"},
        "perturbation": {NO: "no-disturbed", YES: "disturbed"},
        "merger": {NO: "no-merger", YES: "merger"},
        "lens": {NO: "no-lens", YES: "lens"},
    }
)


def concept_names() -> tuple[str, ...]:
    """All names that a class can be given: each concept, and with `NOT` before it what lacks it."""
    return (*CONCEPTS, *(NOT + name for name in CONCEPTS))


def find_concept(name: str) -> Concept:
    """The concept of that name.

    Raises
    ------
    ConceptError
        If the simulator draws nothing of that name.
    """
    if name not in CONCEPTS:
        raise ConceptError(f"The simulator draws no {name!r}.", f"It draws: {', '.join(CONCEPTS)}.")
    return CONCEPTS[name]


def of_concept(drawn: Drawn, name: str) -> Mask:
    """Which stamps clearly show a concept, or after `NOT` clearly lack it (N,).

    Raises
    ------
    ConceptError
        As `find_concept`.
    """
    concept = find_concept(name.removeprefix(NOT))
    return concept.among(drawn) & ~concept.near(drawn) if name.startswith(NOT) else concept.shown(drawn)


def simulated_labels(drawn: Drawn, classes: Mapping[str, str]) -> NDArray[np.str_]:
    """Classes (N,) of simulated stamps, empty where none is clear, or two are.

    Parameters
    ----------
    drawn : Drawn
    classes : mapping of str to str
        The concept of each class, or several with commas between them, any of which will do.

    Raises
    ------
    ConceptError
        As `find_concept`.
    """
    names = list(classes)
    found = np.array([_any_of(drawn, concepts) for concepts in classes.values()]).reshape(len(names), len(drawn.lens))
    clear = found.sum(axis=0) == 1
    labels = np.array(names or [""])[found.argmax(axis=0) if names else np.zeros(len(drawn.lens), int)]
    return np.asarray(np.where(clear, labels, ""))


def split_concepts(text: str) -> tuple[str, ...]:
    """The concepts that a class names, in order."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _any_of(drawn: Drawn, concepts: str) -> Mask:
    return np.asarray(np.any([of_concept(drawn, name) for name in split_concepts(concepts)], axis=0))


def check_classes(classes: Mapping[str, str]) -> None:
    """Refuse a mapping of classes to concepts that cannot be drawn.

    Raises
    ------
    ConceptError
        If a class has no concept, the simulator draws none of that name, one is given twice, or there is one class.
    """
    owners: dict[str, str] = {}
    for name, text in classes.items():
        concepts = split_concepts(text)
        if not concepts:
            raise ConceptError(
                f"The class {name!r} is mapped to nothing that the simulator draws.",
                f"Leave the attribute out, or name one of: {', '.join(concept_names())}.",
            )
        for concept in concepts:
            if concept not in concept_names():
                raise ConceptError(
                    f"The class {name!r} is mapped to {concept!r}, which the simulator does not draw.",
                    f"Choose from: {', '.join(concept_names())}.",
                )
            if concept in owners:
                raise ConceptError(
                    f"{concept!r} is given twice, to the classes {owners[concept]!r} and {name!r}.",
                    "Each of what the simulator draws can teach one class.",
                )
            owners[concept] = name
    if len(classes) == 1:
        raise ConceptError(
            f"Only the class {next(iter(classes))!r} is mapped to what the simulator draws.",
            "Map one class more, from which it is to be told, or none.",
        )
