"""The page reads the labels of a search as training does: by its consensus, and none of the audit slice."""

import pytest

from backend_ml.kinds.installed import kind_of
from backend_ml.search import searches
from backend_ml.search.rounds import OFFERED
from backend_ml.store.database import Database
from tests.backend_ml.explore.conftest import Visitor

# of stamps 1 to 7: on the last, two who are always of one mind are outvoted by three who are of none
LETTERS = ("yyynn", "nnyny", "yynyn", "nnnyy", "yyyyn", "nnnny", "yynnn")
ANSWERS = {"y": "yes", "n": "no"}


def number_of(search: str) -> int:
    return int(search.rpartition("/")[2])


def label_all(database: Database, search: str) -> None:
    for stamp, letters in enumerate(LETTERS, start=1):
        for person, letter in zip("VWXYZ", letters, strict=True):
            values = {"stamp_set": "sky", "stamp_id": stamp, "label": ANSWERS[letter], "person": person}
            database.rows("put_label", campaign=number_of(search), action="labelled", annotator=None, **values)


@pytest.mark.parametrize(("consensus", "expected"), [("majority", "no"), ("dawid-skene", "yes")])
def test_the_page_shows_the_labels_that_are_trained_on(
    vera: Visitor, database: Database, consensus: str, expected: str
) -> None:
    search = vera.begin()
    label_all(database, search)
    with database.transaction() as connection:
        connection.execute("UPDATE campaign SET consensus = %s", (consensus,))
        campaign = searches.find(connection, number_of(search))
        trained = kind_of(campaign).read(connection, campaign).training
    labels = dict(zip(map(str, trained.stamp_id), trained.label, strict=True))
    assert labels["7"] == expected
    assert vera.get(f"{search}/map").json()["labels"] == labels
    counts = {label: list(labels.values()).count(label) for label in ("yes", "no")}
    (listed,) = vera.get("/searches").json()["searches"]
    state = vera.get(search).json()["labels"]
    for label, count in counts.items():
        assert (listed[label], state[label]) == (count, count)


def test_a_round_learns_nothing_from_the_audit_slice(vera: Visitor, database: Database) -> None:
    search = vera.begin(examples="3 8 13")
    for task, stamp in enumerate((3, 8), start=101):
        values = {"stamp_set": "sky", "stamp_id": stamp, "audit": True}
        database.rows("put_task", campaign=number_of(search), task=task, **values)
    shown = vera.next_round(search, size=4, policy="margin")
    assert shown["policy"] == "similarity", "only one of the three may be learned from"
    assert not {3, 8, 13} & {stamp["stamp_id"] for stamp in shown["stamps"]}
    assert shown["labels"]["yes"] == 3, "they are labels all the same"
    database.rows("put_task", campaign=number_of(search), task=103, stamp_set="sky", stamp_id=13, audit=True)
    assert vera.next_round(search, size=4, policy="margin")["policy"] == "k-centre"


@pytest.mark.parametrize("policy", OFFERED)
def test_why_a_round_shows_a_stamp_is_said_whatever_the_policy(vera: Visitor, policy: str) -> None:
    search = vera.begin(examples="3 8 13")
    (stamp,) = vera.next_round(search, size=1, policy=policy)["stamps"]
    path, _, key = stamp["why"].partition("?")
    said = vera.client.get(f"{path}.json?{key}").json()["place_words"]
    assert "in round 1: " in said and "chosen by the policy" not in said
