"""What a replay found, as a JSON document, table rows and a figure."""

from collections.abc import Mapping
from itertools import cycle, product
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from backend_ml.replay.measures import mean_interval
from backend_ml.replay.run import LearningCurve
from lvm_training.evaluation.plots import COLOURS, DPI, MARKERS
from lvm_training.evaluation.probes import Curve, labels_to_reach
from lvm_training.files import write_atomically

TARGET = 0.9
TOP = 100
AUC, PRECISION, R_PRECISION = "auc", "precision_at_100", "r_precision"
LABELS = {
    AUC: "macro AUC on the test half",
    PRECISION: "precision among the pool's best 100",
    R_PRECISION: "precision among as many of the pool as are wanted",
}
STYLES = tuple((line, colour, marker) for line, (colour, marker) in product("-:", zip(COLOURS, MARKERS, strict=True)))


def report(curves: Mapping[str, LearningCurve], about: Mapping[str, Any]) -> dict[str, Any]:
    """A JSON document: `about` under "replay", with the size of the `pool`, and under each policy's name its measures.

    `labels` is the number of labels at each round; beside it stand lists of the same length, a measure's mean over
    seeds (`auc`), its 95 % interval (`auc_low`, `auc_high`) and each seed's values (`auc_seeds`), and
    `labels_to_auc_0.9`, interpolated in log labels on the mean curve, None where that is not reached.
    """
    return {"replay": dict(about), **{name: _entry(curve) for name, curve in curves.items()}}


def _entry(curve: LearningCurve) -> dict[str, Any]:
    entry: dict[str, Any] = {"labels": list(curve.labels)}
    for name, seeds in curve.measures.items():
        mean, low, high = mean_interval(np.array(seeds))
        entry |= {name: mean.tolist(), f"{name}_low": low.tolist(), f"{name}_high": high.tolist()}
        entry[f"{name}_seeds"] = seeds
    areas = Curve(tuple(curve.labels), np.array(curve.measures["auc"]))
    return entry | {f"labels_to_auc_{TARGET:g}": labels_to_reach(areas, TARGET).value}


def table_rows(document: Mapping[str, Any]) -> list[dict[str, str | None]]:
    """A row per policy: its last round's means, two with their intervals, and the labels it needs for AUC 0.9."""
    rows: list[dict[str, str | None]] = []
    for name, entry in document.items():
        if name == "replay":
            continue
        reached = entry[f"labels_to_auc_{TARGET:g}"]
        row: dict[str, str | None] = {"policy": name, "labels": f"{entry['labels'][-1]}"}
        row |= {key: _with_interval(entry, key) for key in _shown(document)}
        row |= {"ap": f"{entry['ap'][-1]:.3f}", "found": f"{entry['found'][-1]:.0f}"}
        rows.append(row | {f"labels_to_auc_{TARGET:g}": None if reached is None else f"{reached:.0f}"})
    return rows


def _shown(document: Mapping[str, Any]) -> tuple[str, str]:
    return AUC, PRECISION if document["replay"]["pool"] > TOP else R_PRECISION


def _with_interval(entry: Mapping[str, Any], key: str) -> str:
    low, high = entry[f"{key}_low"][-1], entry[f"{key}_high"][-1]
    return f"{entry[key][-1]:.3f} ({low:.2f}–{high:.2f})"


def replay_figure(document: Mapping[str, Any], path: Path, *, title: str) -> Path:
    """Write AUC and precision against labels as a PNG and return its path: mean, and 95 % interval over seeds.

    Where the pool holds no more than 100, their precision cannot change, and R-precision is drawn.
    """
    figure = Figure(figsize=(11, 4.5), layout="constrained")
    figure.suptitle(title, fontsize=11)
    panels = figure.subplots(1, 2)
    for axes, measure in zip(panels, _shown(document), strict=True):
        _draw(axes, document, measure)
        axes.set(xlabel="labels in all", ylabel=LABELS[measure])
    panels[0].axhline(TARGET, color="0.45", linestyle="--", linewidth=1)
    panels[0].legend(loc="lower right", frameon=False, fontsize=8)
    write_atomically(path, lambda partial: figure.savefig(partial, format="png", dpi=DPI))
    return path


def _draw(axes: Axes, document: Mapping[str, Any], measure: str) -> None:
    entries = [(name, entry) for name, entry in document.items() if name != "replay"]
    for (name, entry), (line, colour, marker) in zip(entries, cycle(STYLES), strict=False):
        low, high = entry[f"{measure}_low"], entry[f"{measure}_high"]
        axes.fill_between(entry["labels"], low, high, color=colour, alpha=0.12, linewidth=0)
        axes.plot(
            entry["labels"], entry[measure], color=colour, linestyle=line, marker=marker, markersize=4, label=name
        )
    axes.grid(color="0.9", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
