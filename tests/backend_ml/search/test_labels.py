"""Whatever people say, take back and undo, a search knows what each of them says now."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backend_ml.search import history, sending
from backend_ml.search.labels import NothingToUndoError, PersonLabels, begin_with
from backend_ml.settings import Settings
from backend_ml.sign_in.person import NoTokenError, Person
from backend_ml.store.campaigns import add_campaign
from backend_ml.store.database import Database, query
from backend_ml.store.features import FeatureStore
from backend_ml.store.records import Campaign
from lvm_training.stamps.rendering import Rendering
from tests.backend_ml.sky import ENCODER, write_features, write_stamps

PEOPLE = {name: Person(name) for name in ("Vera", "Henrietta")} | {"e@lowell.edu": Person("e@lowell.edu", 3)}
ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(sorted(PEOPLE)),
        st.sampled_from(["yes", "no", "unsure", "withdraw", "undo"]),
        st.integers(0, 2),
    ),
    max_size=14,
)
"""Who does what, to which stamp."""


@pytest.fixture
def sky(database: Database, tmp_path: Path) -> Database:
    stamps = write_stamps(tmp_path)
    values = {"path": str(stamps), "digest": "d", "features": str(write_features(stamps))}
    database.rows("put_stamp_set", name="sky", **values)
    return database


def begin(database: Database) -> Campaign:
    """A search without a project, named by its number."""
    with database.transaction() as connection:
        number = connection.execute("SELECT count(*) AS made FROM campaign").fetchall()[0]["made"]
        values: dict[str, Any] = {"kind": "interest", "classes": ("no", "yes"), "policy": "loop"}
        values |= {"stamp_set": "sky", "encoder": ENCODER, "rendering": Rendering()}
        return add_campaign(connection, name=f"Rings {number}", **values)


def labels_of(database: Database, search: Campaign, name: str) -> PersonLabels:
    return PersonLabels(database, Settings(), search, PEOPLE[name])


def act(database: Database, search: Campaign, said: dict[str, dict[int, str]], who: str, what: str, stamp: int) -> None:
    """Do it, in the database and by hand; `said` keeps stamps in the order in which they were labelled."""
    labels, own = labels_of(database, search, who), said[who]
    if what == "undo":
        if not own:
            with pytest.raises(NothingToUndoError):
                labels.undo()
            return
        stamp = list(own)[-1]
        assert labels.undo() == stamp
    elif what == "withdraw":
        if stamp not in own:
            with pytest.raises(NothingToUndoError, match=f"stamp {stamp}"):
                labels.withdraw(stamp)
            return
        labels.withdraw(stamp)
    else:
        labels.put(stamp, what)
    own.pop(stamp, None)
    if what not in ("undo", "withdraw"):
        own[stamp] = what


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(actions=ACTIONS)
def test_each_person_says_what_they_said_last(sky: Database, actions: list[tuple[str, str, int]]) -> None:
    search = begin(sky)
    said: dict[str, dict[int, str]] = {name: {} for name in PEOPLE}
    for who, what, stamp in actions:
        act(sky, search, said, who, what, stamp)
    with sky.transaction() as connection:
        for name, person in PEOPLE.items():
            found = history.stamp_labels(connection, search, person)
            assert {stamp: entry["mine"] for stamp, entry in found.items() if entry["mine"]} == said[name]
            for stamp, entry in found.items():
                others = {one["person"]: one["label"] for one in entry["others"]}
                wanted = {other: own[stamp] for other, own in said.items() if other != name and stamp in own}
                assert others == wanted and len(entry["others"]) == len(wanted)
        by_stamp = {stamp: {own[stamp] for own in said.values() if stamp in own} for stamp in range(3)}
        disputed = [stamp for stamp, given in by_stamp.items() if "unsure" in given or {"yes", "no"} <= given]
        assert sending.undecided(connection, search) == disputed
        features = FeatureStore.from_database(connection, search.encoder)
        examples = history.read_examples(connection, search, features)
    unanimous = {stamp: given.copy().pop() for stamp, given in by_stamp.items() if len(given) == 1}
    assert examples.labels.items() >= unanimous.items()
    assert examples.labels.keys() == {stamp for stamp, given in by_stamp.items() if given}
    counted = history.counts(examples)
    assert counted["pictures"] == 0
    assert sum(counted.values()) == len(examples.labels)


def test_stamps_that_a_search_begins_with_are_the_beginners_and_can_be_undone(sky: Database) -> None:
    search, vera = begin(sky), PEOPLE["Vera"]
    begin_with(sky, search, vera, [4, 2])
    with sky.transaction() as connection:
        assert {stamp: one["mine"] for stamp, one in history.stamp_labels(connection, search, vera).items()} == {
            2: "yes",
            4: "yes",
        }
    labels = labels_of(sky, search, "Vera")
    assert {labels.undo(), labels.undo()} == {2, 4}
    with pytest.raises(NothingToUndoError):
        labels.undo()
    with pytest.raises(NothingToUndoError):
        labels_of(sky, search, "Henrietta").undo()


def test_another_search_over_the_same_stamps_is_another_question(sky: Database) -> None:
    rings, bars = begin(sky), begin(sky)
    labels_of(sky, rings, "Vera").put(1, "yes")
    labels_of(sky, bars, "Vera").put(1, "no")
    with sky.transaction() as connection:
        for search, label in ((rings, "yes"), (bars, "no")):
            assert history.stamp_labels(connection, search, PEOPLE["Vera"])[1]["mine"] == label
            events = query(connection, "search_events", campaign=search.id, limit=10)
            assert len(events) == 1


def test_who_has_no_token_sees_no_label_studio() -> None:
    with pytest.raises(NoTokenError, match="team password"):
        PEOPLE["Vera"].label_studio(Settings())
    assert "hush" not in repr(Person("Vera", token="hush"))
