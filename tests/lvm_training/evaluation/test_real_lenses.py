"""Detectors on real lenses: which pictures count, at which scale they are seen, and what is said of them."""

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from lvm_training.errors import LabelError, StampError
from lvm_training.evaluation.real_lenses import CANDIDATES, CONFIRMED, candidate_figures, real_data, real_figures
from lvm_training.objects.instances import Instances
from lvm_training.stamps.rendering import Rendering

SIDE = 32
RENDERING = Rendering(size=SIDE, field=11.5)  # half of the candidates' field


def told(images: torch.Tensor) -> list[Instances]:
    """An arc whose score is the picture's mean brightness, and a better galaxy, which does not count."""
    mask = np.ones((2, SIDE, SIDE), dtype=bool)
    whole = np.array([[0.0, 0.0, SIDE, SIDE]] * 2)
    return [Instances(("galaxy", "arc"), whole, mask, np.array([0.99, float(one.mean())])) for one in images]


def write(folder: Path, rows: list[tuple[str, int]], side: int) -> None:
    """Pictures whose inner half is as bright as asked for and whose rim is white, and their table."""
    (folder / "images").mkdir(parents=True)
    lines = ["file,grade"]
    for number, (grade, level) in enumerate(rows):
        pixels = np.full((side, side, 3), 255, np.uint8)
        pixels[side // 4 : -side // 4, side // 4 : -side // 4] = level
        Image.fromarray(pixels).save(folder / "images" / f"{number}.png")
        lines.append(f"images/{number}.png,{grade}")
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")


def test_lenses_are_judged_against_what_is_unlikely_one(tmp_path: Path) -> None:
    rows = [("lens", 200), ("lens", 90), ("maybe", 255), ("unlikely", 120), ("unlikely", 50), ("unlikely", 10)]
    write(tmp_path / CANDIDATES, rows, 64)
    found = real_figures(told, RENDERING, tmp_path, 100 / 255)
    # of six pairs one is in the wrong order; the white rim, seen, would make all alike
    assert found == pytest.approx(
        {
            "cfhtls_auc": 5 / 6,
            "cfhtls_completeness": 1 / 2,
            "cfhtls_false_positives": 1 / 3,
            "cfhtls_completeness_0.1": 1 / 2,
        }
    )
    write(tmp_path / CONFIRMED, [("", 250), ("", 250), ("", 20), ("", 30)], 48)
    both = real_figures(told, Rendering(size=SIDE, field=15.0), tmp_path, 100 / 255)
    assert both["panstarrs_completeness"] == 1 / 2 and both.keys() == found.keys() | {"panstarrs_completeness"}


def naive_figures(scores: NDArray[np.float64], lens: NDArray[np.bool_], threshold: float) -> dict[str, float]:
    ours, theirs = scores[lens].tolist(), scores[~lens].tolist()
    pairs = [(a > b) + (a == b) / 2 for a in ours for b in theirs]
    # the lowest limit that no more than a tenth of the unlikely ones exceed
    tenth = min(limit for limit in theirs if sum(b > limit for b in theirs) <= 0.1 * len(theirs))
    return {
        "cfhtls_auc": sum(pairs) / len(pairs),
        "cfhtls_completeness": sum(a > threshold for a in ours) / len(ours),
        "cfhtls_false_positives": sum(b > threshold for b in theirs) / len(theirs),
        "cfhtls_completeness_0.1": sum(a > tenth for a in ours) / len(ours),
    }


@pytest.mark.parametrize("seed", range(5))
def test_figures_by_counting(seed: int) -> None:
    rng = np.random.default_rng(seed)
    # coarse scores, many of them equal, as of a detector that mostly finds nothing
    lens = rng.random(61) < 0.3
    scores = np.round(rng.random(61) * (1 + lens), 1)
    assert candidate_figures(scores, lens, 0.7) == pytest.approx(naive_figures(scores, lens, 0.7))


def test_folders_that_are_not_there_or_not_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert real_figures(told, RENDERING, tmp_path, 0.5) == {}
    write(tmp_path / CONFIRMED, [("", 250)], 48)
    (tmp_path / CONFIRMED / "images" / "0.png").write_bytes(b"no picture")
    with pytest.raises(StampError):
        real_figures(told, RENDERING, tmp_path, 0.5)
    for text in ("file,grade\n", "name,grade\na.png,lens\n"):
        (tmp_path / CONFIRMED / "labels.csv").write_text(text)
        with pytest.raises(LabelError, match="names no images"):
            real_figures(told, RENDERING, tmp_path, 0.5)
    monkeypatch.setenv("GALAXYLOOP_REAL_DATA", str(tmp_path))
    assert real_data() == tmp_path


def test_the_real_ones_are_read() -> None:
    folder = real_data()
    if not (folder / CANDIDATES).is_dir():
        pytest.skip(f"no real data at {folder}")
    counts = list[int]()

    def counted(images: torch.Tensor) -> list[Instances]:
        counts.append(len(images))
        return told(images)

    assert "panstarrs_completeness" in real_figures(counted, RENDERING, folder, 0.5)
    assert counts == [46 + 124, 320]
