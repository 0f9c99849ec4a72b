"""Detectors of lenses on real pictures of which nothing is trained on: graded candidates, and known lenses.

Two folders as the shared data has them, each with a labels.csv that names its pictures in `file`:
`lens-candidates-cfhtls` (CFHTLS, gri colour) with `grade`, of which every picture once fooled volunteers, and
`lenses-panstarrs` (Pan-STARRS1, irg colour), confirmed lenses alone, arcs to be seen on few.
"""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from lvm_training.errors import LabelError
from lvm_training.evaluation.real_sets import CANDIDATES, CONFIRMED, FIELDS, FILE, TABLE, listed_rows
from lvm_training.images.pictures import read_picture
from lvm_training.lenses.lens_stamps import WANTED
from lvm_training.objects.instances import Instances
from lvm_training.objects.metrics import picture_scores
from lvm_training.stamps.render import render
from lvm_training.stamps.rendering import Rendering

Floats = NDArray[np.float64]
Predict = Callable[[torch.Tensor], list[Instances]]


def real_data() -> Path:
    """Where real pictures lie: GALAXYLOOP_REAL_DATA, or beside the repository."""
    return Path(os.environ.get("GALAXYLOOP_REAL_DATA") or "../shared/data")


def real_figures(predict: Predict, rendering: Rendering, folder: Path, threshold: float) -> dict[str, float]:
    """How a detector does on the real sets of a folder; a set that is not there is left out.

    Parameters
    ----------
    predict : callable
        Pictures (N, 3, S, S) to the objects of each.
    rendering : Rendering
        Of the detector.
    threshold : float
        Score above which a picture counts as found: that of 1 % false positives on simulated look-alikes, say.

    Returns
    -------
    dict of str to float
        Of the candidates the AUC of lenses (experts' grade 2 or more) against what is unlikely one (0.7 or less), the
        completeness at that threshold, the share of unlikely ones above it, and the completeness where a tenth of them
        is; of the confirmed ones the completeness at the threshold.

    Raises
    ------
    LabelError
        If a table names no pictures.
    StampError
        If a picture cannot be read.
    """
    figures: dict[str, float] = {}
    if (folder / CANDIDATES).is_dir():
        rows = _rows(folder / CANDIDATES)
        kept = [row for row in rows if row["grade"] in ("lens", "unlikely")]
        lens = np.array([row["grade"] == "lens" for row in kept])
        scores = _scores(predict, rendering, folder / CANDIDATES, kept)
        figures |= candidate_figures(scores, lens, threshold)
    if (folder / CONFIRMED).is_dir():
        scores = _scores(predict, rendering, folder / CONFIRMED, _rows(folder / CONFIRMED))
        figures["panstarrs_completeness"] = float((scores > threshold).mean())
    return figures


def candidate_figures(scores: Floats, lens: NDArray[np.bool_], threshold: float) -> dict[str, float]:
    """The figures of graded candidates, by score (N,) and whether experts call it a lens (N,)."""
    tenth = np.quantile(scores[~lens], 0.9, method="higher")
    return {
        "cfhtls_auc": float(roc_auc_score(lens, scores)),
        "cfhtls_completeness": float((scores[lens] > threshold).mean()),
        "cfhtls_false_positives": float((scores[~lens] > threshold).mean()),
        "cfhtls_completeness_0.1": float((scores[lens] > tenth).mean()),
    }


def _rows(folder: Path) -> list[dict[str, str]]:
    rows = listed_rows(folder, ["grade"])
    if not rows or FILE not in rows[0]:
        raise LabelError(f"{folder / TABLE} names no images.", "Give it a column `file` and a row per image.")
    return rows


def _scores(predict: Predict, rendering: Rendering, folder: Path, rows: Sequence[dict[str, str]]) -> Floats:
    """The best arc's score on each picture of a set."""
    pictures = []
    for row in rows:
        pixels = read_picture(folder / row[FILE])[None]
        scale = FIELDS[folder.name] / pixels.shape[-1]
        pictures.append(render(pixels, rendering, kind="as-delivered", pixel_scale=scale, origin="upper"))
    return picture_scores(predict(torch.cat(pictures)), WANTED)
