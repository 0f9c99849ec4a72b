"""Class fractions of a campaign's pool, corrected for how galaxies were chosen to be labelled."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backend_ml.catalogue.fractions import FEWEST, Fractions, assisted, labelled, sampled
from backend_ml.catalogue.tables.galaxies import BLOCK, Galaxies, Rows
from backend_ml.catalogue.tables.probabilities import Probabilities, blind_labels
from backend_ml.label_studio.regions.choices import ASIDE
from backend_ml.store.records import CampaignError
from lvm_training.progress import Progress

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Summary:
    """The fractions of a pool, and what they rest on.

    Attributes
    ----------
    rows : sequence of dict
        A class each: `fraction`, `low`, `high` (95 %), `galaxies` (the fraction times the pool), `audit` (blind labels
        of it), and beside these what is not to be published: `of_labels`, its share of all labels, and `of_model`, the
        mean answer.
    about : dict
        Pool, audit slice, labels, method.
    notes : sequence of str
    """

    rows: Sequence[dict[str, Any]]
    about: dict[str, Any]
    notes: Sequence[str]


def summarise(
    galaxies: Galaxies, probabilities: Probabilities | None, progress: Progress, *, without_aside: bool = False
) -> Summary:
    """Fractions of each class in the pool, from the blind labels of the audit slice and the model's answers to all.

    Parameters
    ----------
    probabilities : Probabilities or None
        Where there are none, or the model cannot tell some galaxies, the blind labels stand alone. Answers are taken as
        the head gives them: the calibration has seen blind labels.
    without_aside : bool
        Whether unsure and artefact are left out, so that fractions are those among galaxies that have a class; they
        are categories of their own otherwise.

    Raises
    ------
    CampaignError
        If the campaign asks for no classes.
    """
    names = galaxies.answers
    if not names:
        raise CampaignError(
            f"{galaxies.campaign.name!r} asks for no classes, so there are no fractions of any.",
            "Leave --summary out: --out X.fits has its numbers.",
        )
    rows, blind = blind_labels(galaxies)
    truth, everything = _coded(blind, names), _coded(_labels(galaxies), names)
    counted = np.array([not (without_aside and name in ASIDE) for name in names])
    size = len(galaxies.pool)
    found, of_model = _found(galaxies, probabilities, rows, truth, counted, progress)
    of_labels = labelled(everything, counted=counted)
    notes = _notes(galaxies, rows, truth, everything, found, names)
    method = "model-assisted difference" if found.used.any() else "audit slice alone"
    about = {
        "campaign": galaxies.campaign.name,
        "pool": size,
        "audit_labels": len(rows),
        "labels": len(everything),
        "method": method if len(rows) else "none: no blind labels",
        "confidence": 0.95,
        "model_version": galaxies.version.version if galaxies.version else None,
        "unsure_and_artefact": "left out" if without_aside else "categories of their own",
    }
    table = [
        {
            "class": name,
            "fraction": _number(found.value[place]),
            "low": _number(found.low[place]),
            "high": _number(found.high[place]),
            "galaxies": _number(found.value[place] * size, 1),
            "audit": int(truth[:, place].sum()),
            "of_labels": _number(of_labels[place]),
            "of_model": _number(of_model[place]),
        }
        for place, name in enumerate(names)
        if counted[place]
    ]
    return Summary(table, about, notes)


def _found(
    galaxies: Galaxies,
    probabilities: Probabilities | None,
    rows: Rows,
    truth: Array,
    counted: NDArray[np.bool_],
    progress: Progress,
) -> tuple[Fractions, Array]:
    """The fractions, and the mean answers to the pool (C,); NaN where there are none."""
    size, count = len(galaxies.pool), truth.shape[1]
    places = [galaxies.answers.index(name) for name in galaxies.classes if name in galaxies.answers]
    if probabilities is None or not size or len(places) < len(galaxies.classes):
        return sampled(truth, size, counted=counted), np.full(count, np.nan)
    own = galaxies.campaign.stamp_set
    total = np.zeros(len(places))
    for done, block in _blocks(galaxies.pool):
        total += probabilities.raw(own, block).sum(axis=0)
        progress(done, size)
    mean, answers = np.zeros(count), np.zeros(truth.shape)
    mean[places], answers[:, places] = total / size, probabilities.raw(own, rows)
    if not (np.isfinite(mean).all() and np.isfinite(answers).all()):
        return sampled(truth, size, counted=counted), np.full(count, np.nan)
    return assisted(truth, answers, mean, size, counted=counted), mean


def _blocks(pool: Rows) -> Iterator[tuple[int, Rows]]:
    for start in range(0, len(pool), BLOCK):
        block = pool[start : start + BLOCK]
        yield start + len(block), block


def _labels(galaxies: Galaxies) -> list[str]:
    return [one.label for one in galaxies.known.values() if one.label]


def _coded(labels: Sequence[str], names: Sequence[str]) -> Array:
    """1 in the column of each label (n, C)."""
    places = {name: place for place, name in enumerate(names)}
    return np.eye(len(names))[np.array([places[label] for label in labels], dtype=np.int64)]


def _number(value: float, digits: int = 6) -> float | None:
    """A number that JSON holds."""
    return round(float(value), digits) if np.isfinite(value) else None


def _notes(
    galaxies: Galaxies, rows: Rows, truth: Array, everything: Array, found: Fractions, names: Sequence[str]
) -> list[str]:
    own = galaxies.campaign.stamp_set
    notes = []
    if not len(rows):
        notes.append(
            "no galaxy of the audit slice is labelled, so nothing says how the others were chosen: there is no estimate"
        )
    elif len(rows) < FEWEST:
        notes.append(f"fewer than {FEWEST} blind labels: the model's answers are not used")
    elif not found.used.any():
        notes.append("the model's answers do not help, or are not there")
    unseen = [name for name, met in zip(names, everything.sum(axis=0), strict=True) if not met]
    if unseen:
        notes.append(f"nobody has labelled one: {', '.join(unseen)}; the interval says how many there may be")
    if len(rows) and len(set(truth.argmax(axis=1))) == 1:
        notes.append(f"all blind labels are {names[int(truth[0].argmax())]}")
    split = sum(len(one.votes) > 1 for (name, row), one in galaxies.known.items() if name == own and one.audit)
    if split:
        notes.append(f"votes disagree on {split} galaxies of the audit slice; their consensus counts")
    notes += _unanswered(galaxies)
    return notes


def _unanswered(galaxies: Galaxies) -> list[str]:
    """What of the audit slice has no label though it was shown: who skips what is hard makes the rest too easy."""
    shown: Counter[str] = Counter()
    for one in galaxies.known.values():
        if one.audit and not one.label:
            shown["skipped"] += bool(one.skipped)
            shown["cannot be read"] += bool(one.aside)
    return [
        f"{number} galaxies of the audit slice {what}: they are left out" for what, number in shown.items() if number
    ]
