"""The card of a version: every figure against a naive count, and what it says where something is missing."""

import re
from collections import Counter
from math import sqrt
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from backend_ml.cli.main import app
from backend_ml.kinds.evaluation import Evaluation
from backend_ml.report.agreement import Share
from backend_ml.status.card.card import Asked, Card, read_card
from backend_ml.status.card.measured import by_magnitude, measure
from backend_ml.status.card.page import card_page
from backend_ml.status.figures import share_chart
from backend_ml.store.database import Database
from backend_ml.store.records import Campaign
from backend_ml.store.versions import VersionError
from lvm_training.errors import StampError
from lvm_training.heads.classification import ClassificationHead
from lvm_training.objects.instances import Instances
from tests.backend_ml.conftest import CLASSES, Annotating
from tests.backend_ml.judged import FIRST, MAGNITUDES, NAME, NOON, N, learned, put_campaign, put_labels, said
from tests.backend_ml.judged_lenses import FIRST as BLIND
from tests.backend_ml.judged_lenses import N as TASKS
from tests.backend_ml.judged_lenses import put_lenses
from tests.backend_ml.learned import begin_now
from tests.backend_ml.status.conftest import Leader


@pytest.fixture
def campaign(database: Database, tmp_path: Path) -> Campaign:
    """That of `judged`, without labels."""
    return put_campaign(database, tmp_path)


@pytest.fixture
def version(database: Database, campaign: Campaign) -> str:
    """A head that learned from its labels."""
    put_labels(database, campaign)
    return learned(database, campaign)


def card_of(database: Database, version: str, tmp_path: Path, **asked: Any) -> Card:
    return read_card(database, Asked(version, **asked), tmp_path / "store", tmp_path)


def wilson(right: float, n: int) -> tuple[float, float]:
    """The fractions p for which (right / n - p)^2 = z^2 p (1 - p) / n, as the roots of that parabola."""
    share, z = right / n, 1.959964
    a, b, c = 1 + z**2 / n, -2 * share - z**2 / n, share**2
    root = sqrt(b**2 - 4 * a * c)
    return (-b - root) / (2 * a), (-b + root) / (2 * a)


def answers(database: Database, tmp_path: Path) -> tuple[list[str], list[float]]:
    """What the head in the database answers each stamp with, and how sure it is."""
    (row,) = database.rows("versions", campaign=1)[-1:]
    weights = database.rows("version_of", campaign=1, version=row["version"])[0]["weights"]
    features = np.load(tmp_path / "sky.npy").astype(np.float32)
    probabilities = ClassificationHead.load(weights).predict(features)
    return [CLASSES[int(row.argmax())] for row in probabilities], [float(row.max()) for row in probabilities]


def test_each_figure_is_that_of_a_naive_count(database: Database, version: str, tmp_path: Path) -> None:
    told = card_of(database, version, tmp_path)
    assert told.measured is not None and told.problem == "" and told.blind == N - FIRST
    measured, (model, sure) = told.measured, answers(database, tmp_path)
    audit = range(FIRST, N)
    right = [model[i] == said(i) for i in audit]
    assert 0 < sum(right) < len(right), "some are wrong, or nothing is tested"
    assert measured.right == Share(sum(right), len(right))
    assert measured.right.interval == pytest.approx(wilson(sum(right), len(right)), abs=1e-6)
    pairs = Counter((said(i), model[i]) for i in audit)
    for row, one in enumerate(CLASSES):
        assert measured.confusion[row].tolist() == [pairs[one, other] for other in CLASSES]
    for one in measured.classes:
        asked = [i for i in audit if said(i) == one.name]
        given = [i for i in audit if model[i] == one.name]
        both = sum(said(i) == model[i] for i in asked)
        assert (one.found, one.pure) == (Share(both, len(asked)), Share(both, len(given)))
    for one in measured.magnitudes:
        inside = [i for i in audit if one.low <= MAGNITUDES[i] < one.high]
        assert one.right == Share(sum(model[i] == said(i) for i in inside), len(inside))
    assert sum(one.right.n for one in measured.magnitudes) == len(audit) and 1 < len(measured.magnitudes) <= 10
    assert sum(n for *_, n in measured.calibration) == len(audit)
    assert sum(round(share * n) for _, share, n in measured.calibration) == sum(right)
    wrong = sorted((i for i in audit if model[i] != said(i)), key=lambda i: (-sure[i], i))
    assert measured.failed == len(wrong)
    assert [one.stamp[1] for one in measured.failures] == wrong[:24]
    assert [(one.said, one.answered) for one in measured.failures] == [(said(i), model[i]) for i in wrong[:24]]
    assert set(told.pictures) == {("sky", i) for i in wrong}


def test_who_labelled_what_and_how_far_they_agree(database: Database, version: str, tmp_path: Path) -> None:
    labelled = card_of(database, version, tmp_path).labelled
    assert labelled.why_now == "" and labelled.consensus == "majority"
    assert list(labelled.people) == ["person 1", "person 2"]
    assert labelled.people["person 1"] == Counter(map(said, range(N)))
    assert labelled.people["person 2"].total() == 6 and labelled.people["person 2"][CLASSES[0]] == 2
    assert labelled.audit == Counter(map(said, range(FIRST, N))) and labelled.training.total() <= FIRST
    assert (labelled.agreement[""].galaxies, labelled.agreement[""].same) == (6, Share(5, 6))
    named = card_of(database, version, tmp_path, named=lambda person: f"Vera {person}")
    assert list(named.labelled.people) == ["Vera 11", "Vera 12"]


def test_the_page_needs_no_other_file_and_escapes_what_people_wrote(
    database: Database, version: str, tmp_path: Path
) -> None:
    told = card_of(database, version, tmp_path)
    page = card_page(told)
    assert not re.findall(r'(?:src|href)="(?!data:)|url\(', page) and "<script" not in page
    assert "<b>names" not in page and "Forms &amp; &lt;b&gt;names" in page
    assert told.measured is not None and page.count("data:image/jpeg;base64,") == len(told.pictures) > 0
    for words in (
        "g, r, z", "0.262 arcsec a pixel", "60 of 40 x 40 pixels", "person 2", "By magnitude", "Calibration",
        f"galaxyloop model rebuild {version}", f"{told.measured.right.n} (", "gives every galaxy one of its classes",
    ):  # fmt: skip
        assert words in page, words
    assert "Vera" not in page and str(tmp_path) not in page


def test_little_or_no_audit_slice_is_said_plainly(database: Database, campaign: Campaign, tmp_path: Path) -> None:
    annotate = Annotating(database, campaign)
    for stamp in range(FIRST):
        annotate(101 + stamp, said(stamp), 11, NOON)
    version = learned(database, campaign)
    none = card_of(database, version, tmp_path)
    assert none.measured is None and none.labelled.training.total() == FIRST
    page = card_page(none)
    assert page.count("No galaxy was labelled blind") == 2 and "model rebuild" in page and "Confusion" not in page
    annotate(101 + FIRST, said(FIRST), 11, NOON)
    few = card_of(database, version, tmp_path)
    assert few.measured is not None and few.measured.metrics == {} and few.blind == 1
    assert "labels of 1 galaxy only: too few" in card_page(few)


def test_a_cold_start_answers_nothing(
    database: Database, campaign: Campaign, annotate: Annotating, tmp_path: Path
) -> None:
    cold = begin_now(database, campaign, None)
    annotate(101 + FIRST, said(FIRST), 11, NOON)
    told = card_of(database, cold, tmp_path)
    assert told.measured is None and "cold start" in told.problem
    assert told.labelled.why_now and told.labelled.people == {"person 1": Counter(answers=1)}
    assert "These are the labels of now." in card_page(told)


def test_a_closed_campaign_cleaned_features_and_a_set_that_is_gone(
    database: Database, campaign: Campaign, version: str, tmp_path: Path
) -> None:
    with database.transaction() as connection:
        connection.execute("UPDATE campaign SET state = 'closed'")
    closed = card_of(database, version, tmp_path)
    assert closed.measured is not None and f"{NAME}, closed" not in card_page(closed)
    assert "&lt;/b&gt;, closed" in card_page(closed)
    (tmp_path / "sky.h5").unlink()
    gone = card_of(database, version, tmp_path)
    assert gone.measured is not None and gone.measured.right == closed.measured.right, "features are enough for that"
    assert gone.pictures == {} and gone.measured.magnitudes == [] and "no stamp set at" in gone.measured.no_magnitudes
    page = card_page(gone)
    assert "It cannot be read here: There is no stamp set at" in page and "Its picture is gone." in page
    (tmp_path / "sky.npy").unlink()
    (tmp_path / "sky.json").unlink()
    cleaned = card_of(database, version, tmp_path)
    assert cleaned.measured is None and "cannot answer the audit slice any more" in cleaned.problem
    assert cleaned.labelled.people.keys() == closed.labelled.people.keys()
    assert "its features are gone" in card_page(cleaned)


def test_versions_and_columns_that_are_not_there(database: Database, version: str, tmp_path: Path) -> None:
    with pytest.raises(VersionError, match="No campaign has a version 'morphology-0'"):
        card_of(database, "morphology-0", tmp_path)
    with pytest.raises(StampError, match="has no column 'petro'"):
        card_of(database, version, tmp_path, magnitude="petro")
    other = card_of(database, version, tmp_path, magnitude="dec").measured
    assert other is not None and other.magnitudes[0].low < 0


def test_magnitudes_are_binned_alike_and_unknown_ones_left_out(tmp_path: Path) -> None:
    bins = by_magnitude(np.array([1.0, 0.0, 0.5, 1.0]), np.array([17.1, 17.4, 17.6, np.nan]))
    assert [(one.low, one.high, one.right) for one in bins] == [(17, 17.5, Share(1, 2)), (17.5, 18, Share(0.5, 1))]
    for spread in (0.0, 3.0, 8.9, 17.9, 40.0):
        found = by_magnitude(np.ones(200), 10.3 + np.linspace(0, spread, 200))
        assert len(found) <= 10 and sum(one.right.n for one in found) == 200
        assert len({round(one.high - one.low, 9) for one in found}) == 1


def test_a_chart_has_each_share_where_it_belongs() -> None:
    drawn = share_chart([(0.5, Share(3, 4)), (1.0, Share(1, 1))], "how sure", "Right: ", ends=(0.0, 1.0), diagonal=True)
    assert re.findall(r'cx="([\d.]+)" cy="([\d.]+)"', drawn) == [("216.0", "49.5"), ("388.0", "10.0")]
    assert "75 % of 4 (30–95 %)" in drawn and drawn.count('class="course"') == 1
    assert share_chart([], "", "", ends=(0, 1)) == ""


def test_the_command_writes_it_and_spares_other_files(
    database: Database, version: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GALAXYLOOP_DATABASE_URL", database.url)
    out = tmp_path / "out" / "card.html"
    for _ in range(2):
        result = CliRunner().invoke(app, ["model", "card", version, "--out", str(out)])
        assert result.exit_code == 0, result.output
    assert out.read_text().startswith("<!doctype html>") and "% of 40" in result.stdout
    notes = tmp_path / "notes.html"
    notes.write_text("mine")
    for options, words in (
        ([version, "--out", str(notes)], "is there already"),
        ([version, "--out", str(tmp_path)], "is a folder"),
        (["morphology-0", "--out", str(tmp_path / "x.html")], "No campaign has a version"),
    ):
        refused = CliRunner().invoke(app, ["model", "card", *options])
        assert refused.exit_code == 1 and words in refused.stderr.replace("\n", " ")
    assert notes.read_text() == "mine" and not (tmp_path / "x.html").exists()


def test_the_leaders_page_links_to_it(leader: Leader, version: str) -> None:
    assert f"/status/1/cards/{version}.html" in leader.get("/1").text
    answer = leader.get(f"/1/cards/{version}.html")
    assert answer.status_code == 200 and answer.headers["content-type"].startswith("text/html")
    assert "attachment" in answer.headers["content-disposition"] and "person 1" in answer.text
    unknown = leader.get("/1/cards/morphology-0.html")
    assert unknown.status_code == 400 and "has no version" in unknown.text


def test_answers_in_free_words_have_no_confusion_and_are_shown_where_they_are_wrong(
    database: Database, campaign: Campaign
) -> None:
    said, answered = ("radius 2.27", "radius 1.10", ""), ("radius 2.20", "radius 9.00", "")
    found = Evaluation(np.array([0.9, 0.1, 1.0]), said, answered)
    told = measure(found, [("sky", row) for row in range(3)], database.stamp_sets)
    assert told.classes == [] and told.confusion.shape == (0, 0) and told.objects == []
    assert [(one.stamp[1], one.said, one.answered) for one in told.failures] == [(1, "radius 1.10", "radius 9.00")]


def test_a_detector_is_told_by_its_boxes(database: Database, tmp_path: Path) -> None:
    """Counted box by box, and drawn on what it got wrong."""
    campaign, drawn = put_lenses(database, tmp_path)
    (row,) = database.rows("versions", campaign=campaign.id)
    told = card_of(database, row["version"], tmp_path)
    assert told.measured is not None and told.blind == TASKS - BLIND
    found = {one.name: one for one in told.measured.objects}
    truths = [one.on_grid(campaign.rendering.size) for one in drawn.objects[BLIND:]]
    counts = Counter(name for one in truths for name in one.classes)
    assert {name: one.found.n for name, one in found.items()} == counts
    seen = [pair[1] for pair in told.measured.evaluation.objects]
    for name, one in found.items():
        hits = sum(naive_hits(truth, other, name) for truth, other in zip(truths, seen, strict=True))
        assert (one.found.right, one.pure.right) == (hits, hits) and hits > 0
        assert one.pure.n == sum(other.classes.count(name) for other in seen)
    page = card_page(told)
    assert "one label by majority" not in page, "the newest annotation counts"
    assert "<h2>Boxes</h2>" in page and "right where it draws one" in page and "it is what the campaign began" in page
    assert told.measured.failures and page.count("<figure>") == len(told.measured.failures)
    rectangles = sum(len(one) for failure in told.measured.failures for one in failure.objects or ())
    assert page.count("<rect") == rectangles > 0


def naive_hits(truth: Instances, found: Instances, name: str) -> int:
    """How many true boxes of a class some found one of it overlaps by half, where no two overlap one by half."""
    true, seen = (one.boxes[np.array([each == name for each in one.classes], dtype=bool)] for one in (truth, found))
    hits = 0
    for x0, y0, x1, y1 in true.tolist():
        best = 0.0
        for left, top, right, bottom in seen.tolist():
            both = max(0, min(x1, right) - max(x0, left)) * max(0, min(y1, bottom) - max(y0, top))
            best = max(best, both / ((x1 - x0) * (y1 - y0) + (right - left) * (bottom - top) - both))
        hits += best >= 0.5
    return hits
