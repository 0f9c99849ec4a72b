"""Which encoder needs fewest labels: the same few labels of a set under the campaign's head, on features of each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backend_ml.replay.labelled_sets import Labelled, features_of
from lvm_training.errors import LabelError
from lvm_training.evaluation.probes import Curve, FitPredict, Rows, few_shot_curve, labels_to_reach, linear_probe
from lvm_training.model.encoder import Encoder
from lvm_training.progress import Progress, Steps

TARGET = 0.9


@dataclass(frozen=True)
class Compared:
    """What an encoder needed.

    Attributes
    ----------
    encoder : Encoder
    curve : Curve
        Macro AUC on the test half, by the number of labels.
    """

    encoder: Encoder
    curve: Curve


@dataclass(frozen=True)
class ComparisonPlan:
    """How encoders are compared.

    Attributes
    ----------
    sizes : tuple of int
        Numbers of labels, drawn as they come.
    draws, seed : int
        How often they are drawn, and from what. All encoders are given the same.
    """

    sizes: tuple[int, ...] = (10, 50, 200)
    draws: int = 10
    seed: int = 0


def check_comparable(known: Labelled, plan: ComparisonPlan) -> None:
    """Refuse what cannot be compared, before anything is embedded.

    Raises
    ------
    LabelError
        If the set has too few labels, or classes.
    """
    pool = int(np.count_nonzero(~known.test))
    if min(plan.sizes) > pool:
        raise LabelError(
            f"{pool} labels can be learned from, the other half is measured on; {min(plan.sizes)} were asked for.",
            "Label more, or choose smaller --sizes.",
        )
    classes = [len(set(np.array(known.labels)[known.test == half])) for half in (False, True)]
    if min(classes) < 2:
        raise LabelError(
            f"There are {classes[0]} classes to learn from, and {classes[1]} in the half that is measured on.",
            "A comparison needs two in each.",
        )


def compare(
    known: Labelled, encoders: Mapping[str, Encoder], plan: ComparisonPlan, work: Path, steps: Steps
) -> dict[str, Compared]:
    """What each encoder needs, by the name it is given.

    Features are kept in `work`: a comparison that was killed goes on behind the last batch, and the next one begins
    with them.

    Raises
    ------
    LabelError
        As `check_comparable`, or if a class of the test half is in no label to learn from.
    FeaturesError
        If features cannot be written, or are not finite.
    """
    check_comparable(known, plan)
    found = {}
    for name, encoder in encoders.items():
        matrix = features_of(known, encoder, work, steps)
        with steps(f"Fitting heads on {name}") as progress:
            found[name] = Compared(encoder, _curve(matrix, known, plan, progress))
    return found


def _curve(matrix: NDArray[np.float32], known: Labelled, plan: ComparisonPlan, progress: Progress) -> Curve:
    pool, test = np.flatnonzero(~known.test), np.flatnonzero(known.test)
    fits = plan.draws * sum(size <= len(pool) for size in set(plan.sizes))

    def fit_predict(rows: Rows, labels: list[str], wanted: Rows) -> NDArray[np.float64]:
        return linear_probe(matrix[rows], labels, matrix[wanted], seed=plan.seed)

    return few_shot_curve(
        known.labels,
        pool,
        test,
        sizes=plan.sizes,
        draws=plan.draws,
        seed=plan.seed,
        fit_predict=_counted(fit_predict, fits, progress),
        balanced=False,
    )


def _counted(fit_predict: FitPredict, fits: int, progress: Progress) -> FitPredict:
    """The same, telling how many fits are done."""
    done = 0

    def counting(rows: Rows, labels: list[str], wanted: Rows) -> NDArray[np.float64]:
        nonlocal done
        answers = fit_predict(rows, labels, wanted)
        done += 1
        progress(done, fits)
        return answers

    return counting


def comparison_document(found: Mapping[str, Compared], about: Mapping[str, Any]) -> dict[str, Any]:
    """A JSON document: `about` under "comparison", and each encoder's AUC by number of labels under its name."""
    return {"comparison": dict(about), "encoders": {name: _entry(one) for name, one in found.items()}}


def _entry(one: Compared) -> dict[str, Any]:
    curve, reached = one.curve, labels_to_reach(one.curve, TARGET)
    return {
        "encoder": one.encoder.digest,
        "network": one.encoder.preset,
        "width": one.encoder.width,
        "size": one.encoder.rendering.size,
        "labels": list(curve.sizes),
        "auc": curve.mean.tolist(),
        "spread": curve.spread.tolist(),
        "auc_draws": curve.auc.tolist(),
        "left_out": list(curve.left_out),
        f"labels_to_auc_{TARGET:g}": reached.value,
        "at_most": reached.at_most,
    }


def comparison_rows(document: Mapping[str, Any]) -> list[dict[str, str]]:
    """A row per encoder: AUC with its spread over the draws at each number of labels, and labels to AUC 0.9."""
    rows = []
    for name, entry in document["encoders"].items():
        row = {"name": name, "encoder": entry["encoder"], "network": entry["network"]}
        for size, auc, spread in zip(entry["labels"], entry["auc"], entry["spread"], strict=True):
            row[f"auc_at_{size}"] = f"{auc:.3f}±{spread:.3f}"
        rows.append(row | {f"labels_to_{TARGET:g}": _reached(entry)})
    return rows


def _reached(entry: Mapping[str, Any]) -> str:
    labels: Sequence[int] = entry["labels"]
    value = entry[f"labels_to_auc_{TARGET:g}"]
    if value is None:
        return f">{labels[-1]}"
    return f"≤{value:.0f}" if entry["at_most"] else f"{value:.0f}"
