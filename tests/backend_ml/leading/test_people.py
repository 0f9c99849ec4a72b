"""One person's labels are set aside and taken back: what counts is what a count by hand without them says."""

from collections import Counter
from pathlib import Path
from typing import Any, ClassVar

import pytest

from backend_ml.label_studio.regions.choices import UNSURE
from backend_ml.labels.agreed import labels_and_annotators
from backend_ml.labels.people import People
from backend_ml.leading.people import labellers, set_aside
from backend_ml.settings import Settings
from backend_ml.store.campaigns import campaign_of_id
from backend_ml.store.database import Database, query
from backend_ml.store.records import Campaign, CampaignError
from tests.backend_ml.current_labels import labels_of, waiting
from tests.backend_ml.leading.test_running import here, jobs, run, told
from tests.backend_ml.webhooks import created, send

__all__ = ["here"]  # a fixture

SAID = {  # task: who said what, in order of time
    101: [(1, "spiral"), (2, "edge-on disc"), (3, "edge-on disc")],
    102: [(1, "spiral"), (2, "spiral")],
    103: [(2, "round smooth")],
    104: [(3, "spiral"), (2, "round smooth"), (1, "spiral")],
}


class Names(People):
    """What Label Studio calls some annotators."""

    KNOWN: ClassVar = {
        1: ("Vera Rubin", "vera@example.org"),
        2: ("Edwin", "edwin@example.org"),
        3: ("Edwin", "hubble@b.org"),
    }

    def __init__(self) -> None:
        super().__init__(Settings())

    def name(self, annotator: int) -> str:
        return self.KNOWN[annotator][0]

    def email(self, annotator: int) -> str:
        return self.KNOWN[annotator][1]


@pytest.fixture
def labelled(database: Database, campaign: Campaign) -> Campaign:
    """Three people labelled, as `SAID`."""
    bodies = [
        created(10 * task + who, task, label, at=place, by=who)
        for task, answers in SAID.items()
        for place, (who, label) in enumerate(answers)
    ]
    send(database, *bodies)
    return campaign


def by_hand(*without: int) -> dict[int, str]:
    """The majority's label of each stamp, of equals the latest."""
    found = {}
    for task, answers in SAID.items():
        said = [label for who, label in answers if who not in without]
        if said:
            votes = Counter(said)
            found[task - 101] = max(votes, key=lambda label: (votes[label], len(said) - said[::-1].index(label)))
    return found


def aside(database: Database, campaign: Campaign, person: str, **options: Any) -> dict[str, Any]:
    with database.transaction() as connection:
        return set_aside(connection, campaign, person, "maria", Names(), **options)


@pytest.mark.parametrize(
    ("person", "number"), [("vera@example.org", 1), ("Vera  Rubin", 1), ("2", 2), ("HUBBLE@b.org", 3)]
)
def test_who_is_set_aside_counts_for_nothing_until_taken_back(
    database: Database, labelled: Campaign, person: str, number: int
) -> None:
    assert labels_of(database, labelled.id) == by_hand()
    events = database.rows("last_event", campaign=labelled.id)
    left, asked = waiting(database, labelled), Counter(jobs(database))
    said = aside(database, labelled, person)
    assert said["person"] == Names.KNOWN[number][1] and said["changed"]
    assert said["galaxies"] == len(by_hand(number)) - len(by_hand())
    assert labels_of(database, labelled.id) == by_hand(number)
    with database.transaction() as connection:
        _, people = labels_and_annotators(connection, labelled)
    assert {one.annotator for one in people} == {1, 2, 3} - {number}
    assert waiting(database, labelled) == left, "Label Studio serves these tasks to nobody"
    assert Counter(jobs(database)) - asked == Counter(["campaign:learn", "campaign:push"])
    assert aside(database, labelled, person)["changed"] is False
    assert aside(database, labelled, person, back=True)["galaxies"] == len(by_hand()) - len(by_hand(number))
    assert aside(database, labelled, person, back=True)["changed"] is False
    assert labels_of(database, labelled.id) == by_hand()
    assert database.rows("last_event", campaign=labelled.id) == events, "nothing is deleted and nothing added"
    history = [(row["person"], row["what"]) for row in database.rows("changes", campaign=labelled.id)]
    assert history == [("maria", "took back"), ("maria", "set aside")]


def test_two_may_be_set_aside_and_what_comes_later_is_aside_too(database: Database, labelled: Campaign) -> None:
    aside(database, labelled, "1")
    aside(database, labelled, "2")
    send(database, created(999, 105, "spiral", by=2))
    assert labels_of(database, labelled.id) == by_hand(1, 2)
    aside(database, labelled, "2", back=True)
    assert labels_of(database, labelled.id) == by_hand(1) | {4: "spiral"}


def test_who_is_nobody_or_several_is_refused(database: Database, labelled: Campaign) -> None:
    with pytest.raises(CampaignError, match=r"Nobody called 'Carl' .* vera@example.org"):
        aside(database, labelled, "Carl")
    with pytest.raises(CampaignError, match=r"may be any of edwin@example.org, hubble@b.org"):
        aside(database, labelled, "edwin")
    assert database.rows("people_aside", campaign=labelled.id) == []
    database.rows("close_campaign", campaign=labelled.id)
    with pytest.raises(CampaignError, match="is closed"):
        aside(database, labelled, "1")


def test_marks_of_the_search_page_are_set_aside_by_name(database: Database, labelled: Campaign) -> None:
    mark = {"campaign": labelled.id, "action": "labelled", "stamp_set": "sky", "stamp_id": 8, "label": "spiral"}
    database.rows("put_label", **mark, annotator=None, person="Carla")
    database.rows("put_label", **mark | {"stamp_id": 7}, annotator=1, person="vera@example.org")
    with database.transaction() as connection:
        assert "Carla" in [one.name for one in labellers(connection, labelled, Names())]
    assert {7, 8} <= set(labels_of(database, labelled.id))
    aside(database, labelled, "carla")
    aside(database, labelled, "vera@example.org")
    assert not {7, 8} & set(labels_of(database, labelled.id))


def test_status_and_export_say_who_is_aside(database: Database, labelled: Campaign, tmp_path: Path) -> None:
    """On the command line, without a Label Studio to ask for names."""
    assert told("campaign", "set-aside", "Test", "2")["person"] == "annotator 2"
    status = told("campaign", "status", "Test")
    assert [one["person"] for one in status["people_aside"]] == ["annotator 2"]
    assert [one["annotator"] for one in status["annotators"]] == [1, 3]
    done = run("campaign", "export", "Test", "--out", tmp_path / "labels.csv")
    assert done.exit_code == 0 and "Without the labels of annotator 2" in done.stderr
    text = (tmp_path / "labels.csv").read_text()
    assert "annotator 2" not in text and text.count("\n") == 1 + len(by_hand(2))
    assert run("campaign", "set-aside", "Test", "nobody").exit_code == 1


def test_what_is_wanted_yet_counts_what_label_studio_has(database: Database, labelled: Campaign) -> None:
    """It waits for no other label in place of one that is set aside."""
    with database.transaction() as connection:
        connection.execute("UPDATE campaign SET overlap = 3")
    aside(database, labelled, "2")
    with database.transaction() as connection:
        campaign = campaign_of_id(connection, labelled.id)
        assert campaign is not None
        rows = query(connection, "unlabelled_tasks", campaign=campaign.id, unsure=UNSURE)
        assert {row["task_id"] for row in rows} == set(range(101, 111)) - {101, 104}
        assert sum(row["lacking"] for row in rows) == 1 + 2 + 6 * 3
