"""What a demo says of its rounds: how good the head is, and when a label was served."""

import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend_ml.demo import rounds
from backend_ml.demo.annotators import Submission
from backend_ml.demo.data import DemoData
from backend_ml.demo.rounds import NO_LABELS, Round, macro_auc, measure, report, wait_for_queue
from backend_ml.local.processes import ProcessError
from backend_ml.store.database import Database
from backend_ml.store.records import Campaign
from tests.backend_ml.conftest import CLASSES
from tests.backend_ml.webhooks import created, send

TRUTH = {row: CLASSES[row % 5] for row in range(10)}


def data(folder: Path) -> DemoData:
    return DemoData("sky", folder / "sky.h5", list(TRUTH), truth=TRUTH)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 4), st.integers(0, 4)), max_size=12))
def test_the_macro_auc_counts_pairs(rows: list[tuple[str, int, int]]) -> None:
    classes = ("a", "b", "c")
    truth = np.array([label for label, _, _ in rows], dtype=str)
    scores = np.array([[one, other, one + other] for _, one, other in rows], dtype=float).reshape(-1, 3)
    found = []
    for place, name in enumerate(classes):
        inside = [scores[row, place] for row in range(len(rows)) if truth[row] == name]
        outside = [scores[row, place] for row in range(len(rows)) if truth[row] != name]
        pairs = [(one > other) + 0.5 * (one == other) for one in inside for other in outside]
        if pairs:
            found.append(sum(pairs) / len(pairs))
    wanted = np.mean(found) if found else float("nan")
    assert macro_auc(truth, scores, classes) == pytest.approx(wanted, nan_ok=True)


def test_before_there_is_a_head_nothing_is_known(database: Database, campaign: Campaign, tmp_path: Path) -> None:
    found = measure(database, campaign, data(tmp_path), 0, float("nan"))
    assert found.version == NO_LABELS and found.labels == 0
    assert np.isnan(found.accuracy) and np.isnan(found.auc)


def test_a_head_is_measured_on_what_nobody_has_labelled(
    database: Database, campaign: Campaign, head: str, tmp_path: Path
) -> None:
    found = measure(database, campaign, data(tmp_path), 5, 1.5)
    assert (found.version, found.labels, found.seconds) == (head, 5, 1.5)
    assert found.accuracy == 1.0 and found.auc == 1.0, "the five classes are plain to see"
    # its truth turned around, the same head is wrong everywhere
    turned = {row: CLASSES[(row + 1) % 5] for row in TRUTH}
    wrong = measure(database, campaign, DemoData("sky", tmp_path, list(TRUTH), truth=turned), 5, 1.5)
    assert wrong.accuracy == 0.0 and wrong.auc < 0.5


def test_a_label_that_does_not_come_in_in_time_is_an_error(
    database: Database, campaign: Campaign, head: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    send(database, created(1, 101, CLASSES[0]))
    monkeypatch.setattr(rounds, "QUEUE_SECONDS", 0.2)
    given = [Submission(101, number, 0, time.monotonic()) for number in (1, 2)]
    with pytest.raises(ProcessError, match="No new queue"):
        wait_for_queue(database, campaign, given)


def test_a_label_is_served_when_the_version_it_made_is() -> None:
    promoted = {"outcome": "promoted", "version": "v2", "last_event": 9}
    pushed = {"version": "v2"}
    state = {"last_run": promoted, "last_push": pushed, "last_event": 9, "waiting": 5}
    old = {"version": "v1"}
    assert rounds._is_served(state)
    assert not rounds._is_served(state | {"last_push": old})
    assert not rounds._is_served(state | {"last_event": 10})
    assert rounds._is_served(state | {"last_run": {**promoted, "outcome": "held back"}, "last_push": old})
    assert rounds._is_served(state | {"last_push": old, "waiting": 0}), "all are labelled, and nothing is pushed"


def test_the_report_shows_every_round(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    history = [
        Round(0, float("nan"), float("nan"), float("nan"), NO_LABELS),
        Round(40, 0.625, 0.875, 2.25, "morphology-1"),
    ]
    picture = tmp_path / "new" / "curve.png"
    report(history, picture)
    said = capsys.readouterr().out
    assert "0.625" in said and "0.875" in said and "2.2 s" in said and "nan" not in said
    assert picture.read_bytes().startswith(b"\x89PNG")
