"""What a replay writes: the document, the table, and the figure read back from its pixels."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from numpy.typing import NDArray
from PIL import Image

from backend_ml.replay.report import replay_figure, report, table_rows
from backend_ml.replay.run import LearningCurve
from lvm_training.evaluation.plots import COLOURS


def curve(*areas: float, seeds: int = 4, spread: float = 0.02) -> LearningCurve:
    """A curve of rounds with the given mean AUC; precision is twice as far from a half."""
    made = LearningCurve()
    for offset in np.linspace(-spread, spread, seeds):
        rounds = [
            {"auc": area + offset, "ap": area / 2, "precision_at_100": 2 * area - 1, "r_precision": 0.25, "found": 7.0}
            for area in areas
        ]
        made.add([10 * 2**step for step in range(len(areas))], rounds)
    return made


def document(pool: int = 500) -> dict[str, Any]:
    return report({"good": curve(0.7, 0.8, 0.95), "bad": curve(0.6, 0.65, 0.7)}, {"set": "sky", "pool": pool})


def test_the_document_has_means_intervals_and_seeds_beside_the_labels() -> None:
    found = document()
    assert list(found) == ["replay", "good", "bad"] and found["replay"]["set"] == "sky"
    good = found["good"]
    assert good["labels"] == [10, 20, 40] and len(good["auc_seeds"]) == 4
    assert good["auc"] == pytest.approx([0.7, 0.8, 0.95])
    assert all(
        low < mean < high for low, mean, high in zip(good["auc_low"], good["auc"], good["auc_high"], strict=True)
    )
    assert good["ap_low"] == pytest.approx(good["ap"])
    # two thirds of the way from 0.8 to 0.95, in log labels
    assert good["labels_to_auc_0.9"] == pytest.approx(20 * 2 ** (2 / 3))
    assert found["bad"]["labels_to_auc_0.9"] is None


def test_the_table_has_a_row_per_policy() -> None:
    rows = table_rows(document())
    assert [row["policy"] for row in rows] == ["good", "bad"]
    assert rows[0]["auc"] == "0.950 (0.93–0.97)" or str(rows[0]["auc"]).startswith("0.950 (0.9")
    assert rows[0]["labels_to_auc_0.9"] == "32" and rows[1]["labels_to_auc_0.9"] is None
    assert "precision_at_100" in rows[0] and "r_precision" in table_rows(document(pool=80))[0]


def places(path: Path, colour: str) -> NDArray[np.int64]:
    """Rows and columns of a colour in the left panel, without the legend's corner."""
    with Image.open(path) as picture:
        assert picture.format == "PNG" and picture.size == (1650, 675)
        pixels = np.asarray(picture.convert("RGB"))[:480, :760] / 255
    return np.argwhere((np.abs(pixels - to_rgb(colour)) < 0.02).all(axis=2))


def test_lines_are_where_the_numbers_are(tmp_path: Path) -> None:
    path = replay_figure(document(), tmp_path / "new" / "plot.png", title="Rings")
    upper, lower = (places(path, colour) for colour in COLOURS[:2])
    assert upper[:, 0].min() < lower[:, 0].min()
    left, right = (upper[upper[:, 1] == edge][:, 0].mean() for edge in (upper[:, 1].min(), upper[:, 1].max()))
    assert right < left
    assert not places(path, COLOURS[2]).size


def test_more_policies_than_colours_are_told_apart_by_their_lines(tmp_path: Path) -> None:
    same = {f"policy {number}": curve(0.6, 0.8) for number in range(8)}
    eighth = report({name: made for name, made in same.items() if name in ("policy 0", "policy 7")}, {"pool": 500})
    assert replay_figure(report(same, {"pool": 500}), tmp_path / "eight.png", title="").is_file()
    assert replay_figure(eighth, tmp_path / "two.png", title="").is_file()
    drawn = [(tmp_path / name).read_bytes() for name in ("eight.png", "two.png")]
    assert drawn[0] != drawn[1]
