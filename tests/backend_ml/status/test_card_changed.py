"""The card of a version whose campaign changed since: renamed and merged classes, people set aside, deleted tasks."""

from collections import Counter
from html import escape
from pathlib import Path

import pytest

from backend_ml.labels.people import People
from backend_ml.leading.classes import rename_class, undo_rename
from backend_ml.leading.leader import Leader
from backend_ml.leading.people import set_aside
from backend_ml.report.agreement import Share
from backend_ml.settings import Settings
from backend_ml.status.card.card import Asked, Card, read_card
from backend_ml.status.card.page import card_page
from backend_ml.store.database import Database
from backend_ml.store.records import Campaign
from tests.backend_ml.conftest import CLASSES, Annotating
from tests.backend_ml.judged import FIRST, NOON, N, learned, put_campaign, put_labels, said
from tests.backend_ml.leading.test_classes import OneProject

ROUND, BETWEEN, _, EDGE, SPIRAL = CLASSES


@pytest.fixture
def campaign(database: Database, tmp_path: Path) -> Campaign:
    """That of `judged`, without labels."""
    return put_campaign(database, tmp_path)


@pytest.fixture
def version(database: Database, campaign: Campaign) -> str:
    """A head that learned from its labels."""
    put_labels(database, campaign)
    return learned(database, campaign)


@pytest.fixture
def leader(database: Database) -> Leader:
    """Somebody who changes classes."""
    return Leader(Settings(), database, OneProject(), "vera")


def card_of(database: Database, version: str, tmp_path: Path) -> Card:
    return read_card(database, Asked(version), tmp_path / "store", tmp_path)


def pairs(told: Card) -> Counter[tuple[str, str]]:
    """Galaxies by what people and the model say."""
    assert told.measured is not None
    names = told.measured.evaluation.classes
    counts = told.measured.confusion.tolist()
    found = {(one, other): counts[i][j] for i, one in enumerate(names) for j, other in enumerate(names)}
    return +Counter(found)


@pytest.mark.parametrize(("old", "new"), [(BETWEEN, ROUND), (ROUND, SPIRAL), (SPIRAL, "<i>arms</i>"), (EDGE, "银河")])
def test_confusion_is_that_of_before_under_the_new_names(
    database: Database, campaign: Campaign, version: str, leader: Leader, tmp_path: Path, old: str, new: str
) -> None:
    first = card_of(database, version, tmp_path).measured
    assert first is not None and first.evaluation.probabilities is not None
    rename_class(leader, campaign, old, new)
    after = card_of(database, version, tmp_path)
    mapped: Counter[tuple[str, str]] = Counter()
    for one, row in zip(first.evaluation.said, first.evaluation.probabilities.tolist(), strict=True):
        chances: Counter[str] = Counter()
        for name, chance in zip(first.evaluation.classes, row, strict=True):
            chances[new if name == old else name] += chance  # type: ignore[assignment]  # counters may hold shares
        mapped[new if one == old else one, chances.most_common(1)[0][0]] += 1
    assert pairs(after) == mapped and after.problem == ""
    right = sum(count for (one, other), count in mapped.items() if one == other)
    assert after.measured is not None and after.measured.right == Share(right, N - FIRST)
    assert sum(n for *_, n in after.measured.calibration) == N - FIRST
    page = card_page(after)
    drawn = page.partition("<h2>Confusion</h2>")[2].partition("</section>")[0]
    assert escape(new) in drawn and f">{old}<" not in drawn and "<i>arms" not in page
    undo_rename(leader, campaign, old, new)
    again = card_of(database, version, tmp_path).measured
    assert again is not None and again.confusion.tolist() == first.confusion.tolist()


def test_labels_of_a_version_stay_those_that_it_learned(
    database: Database, campaign: Campaign, version: str, leader: Leader, tmp_path: Path
) -> None:
    """What came, went or got another name afterwards is none of its own."""
    before = card_of(database, version, tmp_path).labelled
    annotate = Annotating(database, campaign)
    annotate._number = 1000
    annotate(101, SPIRAL, 13, NOON)
    rename_class(leader, campaign, BETWEEN, ROUND)
    with database.transaction() as connection:
        set_aside(connection, campaign, "12", "vera", People(Settings()))
    after = card_of(database, version, tmp_path).labelled
    assert after.why_now == "" and list(after.people) == list(before.people)
    assert after.training.total() == before.training.total() and after.audit.total() == before.audit.total()
    assert after.agreement[""].galaxies == 6


def test_who_is_set_aside_judges_nothing(database: Database, campaign: Campaign, version: str, tmp_path: Path) -> None:
    whole = card_of(database, version, tmp_path)
    with database.transaction() as connection:
        set_aside(connection, campaign, "11", "vera", People(Settings()))
    told = card_of(database, version, tmp_path)
    assert whole.blind == N - FIRST and told.blind == 0 and told.measured is None
    assert "No galaxy was labelled blind" in told.problem


def test_deleted_tasks_judge_nothing(database: Database, campaign: Campaign, version: str, tmp_path: Path) -> None:
    left = range(FIRST + 15, N)
    database.rows("delete_tasks", campaign=campaign.id, tasks=[101 + i for i in range(FIRST, FIRST + 15)])
    told = card_of(database, version, tmp_path)
    assert told.blind == len(left) and told.measured is not None
    asked = Counter({one.name: one.found.n for one in told.measured.classes})
    assert +asked == Counter(map(said, left))


def test_a_class_that_came_later_is_named_and_never_answered(
    database: Database, campaign: Campaign, version: str, tmp_path: Path
) -> None:
    annotate = Annotating(database, campaign)
    annotate._number = 1000
    with database.transaction() as connection:
        connection.execute("UPDATE campaign SET classes = classes || '{ring}'")
    for who in (11, 12, 13):
        annotate(101 + FIRST, "ring", who, NOON.replace(hour=23))
    told = card_of(database, version, tmp_path)
    assert told.problem == "" and told.measured is not None
    (ring,) = [one for one in told.measured.classes if one.name == "ring"]
    assert (ring.found, ring.pure) == (Share(0, 1), Share(0, 0)) and told.blind == N - FIRST
    assert "no such galaxy" in card_page(told)
