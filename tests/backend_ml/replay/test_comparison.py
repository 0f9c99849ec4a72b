"""Encoders on the same labels: what is told is what a plain fit gives, and nothing is embedded twice."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score
from typer.testing import CliRunner, Result

from backend_ml.cli.main import app
from backend_ml.replay.comparison import (
    ComparisonPlan,
    check_comparable,
    compare,
    comparison_document,
    comparison_rows,
)
from backend_ml.replay.labelled_sets import Labelled, features_of, labelled_stamps
from lvm_training.errors import LabelError
from lvm_training.evaluation.probes import linear_probe
from lvm_training.model.encoder import Encoder
from lvm_training.progress import Progress, progress_bar
from tests.backend_ml.sky import write_stamps
from tests.backend_ml.whole import N, truth, write_encoder
from tests.other_encoders import NETWORK

PLAN = ComparisonPlan(sizes=(6, 12), draws=3)


class Seen:
    """How far each step came, by its title."""

    def __init__(self) -> None:
        self.steps: dict[str, list[tuple[int, int]]] = {}

    @contextmanager
    def __call__(self, title: str) -> Iterator[Progress]:
        shown = self.steps.setdefault(title, [])
        yield lambda done, total: shown.append((done, total))


@pytest.fixture
def stamps(tmp_path: Path) -> Path:
    """A stamp set, with a table of what each stamp looks like beside it; two have no label, every sixth a wrong one."""
    path = write_stamps(tmp_path, N)
    rows = [f"{row},{'' if row in (3, 8) else truth(row + 2 * (row % 6 == 0))}" for row in range(N)]
    (tmp_path / "labels.csv").write_text("stamp_id,form\n" + "\n".join(rows) + "\n")
    return path


@pytest.fixture
def known(stamps: Path) -> Iterator[Labelled]:
    with labelled_stamps(stamps, labels=stamps.parent / "labels.csv", column="form", steps=progress_bar) as found:
        yield found


def test_the_areas_are_those_of_a_plain_fit_on_the_same_labels(known: Labelled, tmp_path: Path) -> None:
    encoder = Encoder.load(write_encoder(tmp_path / "tiny"))
    pool, test = np.flatnonzero(~known.test), np.flatnonzero(known.test)
    plan = ComparisonPlan(sizes=(len(pool),), draws=2)
    found = compare(known, {"tiny": encoder}, plan, tmp_path / "work", progress_bar)["tiny"]
    matrix = features_of(known, encoder, tmp_path / "work", progress_bar)
    labels = np.array(known.labels)
    for draw in range(plan.draws):
        order = np.random.default_rng((plan.seed, draw)).permutation(pool)
        answers = linear_probe(matrix[order], labels[order].tolist(), matrix[test], seed=plan.seed)
        area = roc_auc_score(labels[test] == sorted(set(labels))[1], answers[:, 1])
        assert found.curve.auc[draw, 0] == pytest.approx(area)


def test_all_are_given_the_same_labels_and_nothing_is_embedded_twice(known: Labelled, tmp_path: Path) -> None:
    first, second = write_encoder(tmp_path / "a"), write_encoder(tmp_path / "b", blind=True)
    encoders = {"a": Encoder.load(first), "again": Encoder.load(first), "b": Encoder.load(second)}
    seen = Seen()
    found = compare(known, encoders, PLAN, tmp_path / "work", seen)
    assert np.array_equal(found["a"].curve.auc, found["again"].curve.auc)
    assert found["a"].curve.mean.min() > 0.6 and found["b"].curve.mean.tolist() == [0.5, 0.5], "which sees nothing"
    assert found["a"].curve.auc.shape == (3, 2)
    assert seen.steps["Fitting heads on b"][-1] == (6, 6)
    assert len(list((tmp_path / "work").glob("*.npy"))) == 2
    later = Seen()
    again = compare(known, encoders, PLAN, tmp_path / "work", later)
    assert np.array_equal(again["b"].curve.auc, found["b"].curve.auc)
    assert [shown for title, shown in later.steps.items() if title.startswith("Embedding")] == [[]]
    rows = comparison_rows(comparison_document(found, {}))
    assert [row["name"] for row in rows] == ["a", "again", "b"]
    mean, spread = found["b"].curve.mean[1], found["b"].curve.spread[1]
    assert rows[2]["auc_at_12"] == f"{mean:.3f}±{spread:.3f}"


@pytest.mark.parametrize(
    ("auc", "expected"), [([0.5, 0.6], ">12"), ([0.95, 0.96], "≤6"), ([0.85, 0.95], f"{6 * 2**0.5:.0f}")]
)
def test_labels_to_an_area_are_bounds_where_the_curve_does_not_cross_it(
    known: Labelled, tmp_path: Path, auc: list[float], expected: str
) -> None:
    encoder = Encoder.load(write_encoder(tmp_path / "a"))
    found = compare(known, {"a": encoder}, replace(PLAN, draws=1), tmp_path / "work", progress_bar)["a"]
    one = replace(found, curve=replace(found.curve, auc=np.array([auc])))
    assert comparison_rows(comparison_document({"a": one}, {}))[0]["labels_to_0.9"] == expected


def test_sets_that_tell_nothing_are_refused_before_anything_is_embedded(known: Labelled) -> None:
    with pytest.raises(LabelError, match="can be learned from") as found:
        check_comparable(known, ComparisonPlan(sizes=(10_000,)))
    assert "--sizes" in found.value.hint
    with pytest.raises(LabelError, match="1 classes to learn from"):
        check_comparable(replace(known, labels=["spiral"] * len(known.labels)), PLAN)
    with pytest.raises(LabelError, match="0 in the half that is measured on"):
        check_comparable(replace(known, test=np.zeros(len(known.labels), dtype=bool)), PLAN)


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["encoder", *map(str, arguments)])


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GALAXYLOOP_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("GALAXYLOOP_STORE", str(tmp_path / "store"))
    # ours in miniature: the released one would take a minute
    monkeypatch.setattr("backend_ml.cli.encoder.RELEASED_LVM", write_encoder(tmp_path / "ours"))
    return tmp_path / "store"


def test_the_command_compares_ours_with_those_that_were_added(store: Path, stamps: Path, tmp_path: Path) -> None:
    assert run("add", f"timm:{NETWORK}", "--size", 32, "--random-weights", "--name", "random").exit_code == 0
    said: tuple[Any, ...] = ("compare", stamps, "--column", "form", "--labels", tmp_path / "labels.csv", "--views", 1)
    done = run(*said, "--sizes", "12,6", "--draws", 2, "--json", tmp_path / "found.json")
    assert done.exit_code == 0, done.output
    assert "random" in done.stdout and "auc at 12" in done.stdout and "2 images have no label" in done.stderr
    document = json.loads((tmp_path / "found.json").read_text())
    assert list(document["encoders"]) == ["ours", "random"]
    assert document["comparison"]["images"] == N - 2 and document["encoders"]["random"]["labels"] == [6, 12]
    assert (tmp_path / "found.png").read_bytes().startswith(b"\x89PNG")
    assert len(list((store / "features").glob("sky-*.npy"))) == 2, "where campaigns find them"


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (("--sizes", "ten"), "no numbers of labels"),
        (("--sizes", "1,10"), "no numbers of labels"),
        (("--sizes", "500"), "can be learned from"),
        (("--encoder", "zoobot"), "no encoder 'zoobot'"),
        (("--column", "colour"), "no column 'colour'"),
    ],
)
def test_what_is_wrong_is_said_before_heavy_work(
    store: Path, stamps: Path, tmp_path: Path, said: tuple[str, ...], expected: str
) -> None:
    options = ("--column", "form", "--labels", tmp_path / "labels.csv", "--json", tmp_path / "found.json")
    done = run("compare", stamps, *options, *said)
    assert done.exit_code == 1 and expected in done.stderr and "What to do:" in done.stderr
    assert not (store / "features").exists() and not (tmp_path / "found.json").exists()
