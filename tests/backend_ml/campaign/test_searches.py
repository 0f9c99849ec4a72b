"""Campaigns of one wanted class: what they learn from, and those that are not in Label Studio yet."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from psycopg.types.json import Jsonb

from backend_ml.campaign import status
from backend_ml.kinds.installed import find_kind, load_model
from backend_ml.kinds.models import Stores
from backend_ml.label_studio.regions.choices import LabelConfigError
from backend_ml.label_studio.wire import Annotation
from backend_ml.labels import events
from backend_ml.labels.events import EventSource
from backend_ml.queue import push
from backend_ml.store import versions
from backend_ml.store.campaigns import add_campaign, campaign_of_project
from backend_ml.store.database import Database, query
from backend_ml.store.features import FeatureStore
from backend_ml.store.records import Campaign, UnknownCampaignError
from backend_ml.store.stamps import StampSets
from lvm_training.heads.preference import PreferenceHead
from lvm_training.stamps.rendering import Rendering
from tests.backend_ml.current_labels import labels_of
from tests.backend_ml.learned import learn_now
from tests.backend_ml.sky import ENCODER, write_features, write_stamps


@pytest.fixture
def search(database: Database, tmp_path: Path) -> Campaign:
    """A search over ten stamps, of class i % 5 as far as their features say; not in Label Studio."""
    stamps = write_stamps(tmp_path)
    with database.transaction() as connection:
        features = str(write_features(stamps))
        query(connection, "put_stamp_set", name="sky", path=str(stamps), digest="d", features=features)
        return add_campaign(
            connection,
            name="Rings",
            kind="interest",
            classes=("no", "yes"),
            stamp_set="sky",
            encoder=ENCODER,
            rendering=Rendering(),
            policy="loop",
        )


def mark(
    database: Database,
    search: Campaign,
    row: int,
    label: str | None,
    person: str = "Vera",
    annotator: int | None = None,
) -> None:
    values = {"stamp_set": "sky", "stamp_id": row, "label": label, "person": person, "annotator": annotator}
    database.rows("put_label", campaign=search.id, action="labelled" if label else "withdrawn", **values)


def labels(database: Database, search: Campaign) -> dict[int, str]:
    return labels_of(database, search.id)


def test_the_newest_answer_of_each_person_counts(database: Database, search: Campaign) -> None:
    mark(database, search, 3, "no")
    mark(database, search, 3, "yes")
    mark(database, search, 4, "yes")
    mark(database, search, 4, None)
    assert labels(database, search) == {3: "yes"}


def test_two_people_do_not_undo_each_other(database: Database, search: Campaign) -> None:
    mark(database, search, 3, "yes", "Vera")
    mark(database, search, 3, "no", "Henrietta")
    mark(database, search, 3, None, "Henrietta")
    assert labels(database, search) == {3: "yes"}
    mark(database, search, 3, None, "Vera")
    assert labels(database, search) == {}
    kept = [row["person"] for row in database.rows("votes", campaign=search.id)]
    assert kept == []


def test_who_annotates_what_they_had_marked_counts_once(database: Database, search: Campaign) -> None:
    for person, annotator in (("Vera", 1), ("Henrietta", 2), ("Cecilia", None)):
        mark(database, search, 3, "yes", person, annotator)
    with database.transaction() as connection:
        query(connection, "put_task", campaign=search.id, task=50, stamp_set="sky", stamp_id=3, audit=False)
        values = {"action": "labelled", "task": 50, "annotation": 9, "label": "no", "annotator": 1, "result": Jsonb([])}
        values |= {"parent_prediction": None, "lead_time": 1.0, "source": "webhook", "happened_at": "2030-01-01"}
        query(connection, "put_annotation_event", campaign=search.id, **values)
    votes = [(row["annotator"], row["label"], row["given"]) for row in database.rows("votes", campaign=search.id)]
    assert sorted(votes, key=str) == [(1, "no", "annotation"), (2, "yes", "mark"), (None, "yes", "mark")]


@pytest.mark.parametrize("order", [("webhook", "explore"), ("explore", "webhook"), ("reconcile", "explore")])
def test_an_answer_of_the_page_is_of_the_page_whoever_tells_first(
    database: Database, search: Campaign, order: tuple[EventSource, EventSource]
) -> None:
    choice = {"type": "choices", "from_name": "interest", "to_name": "image", "value": {"choices": ["yes"]}}
    said = Annotation(id=9, task=50, result=[choice], completed_by=1, updated_at=datetime(2030, 1, 1, tzinfo=UTC))
    with database.transaction() as connection:
        query(connection, "put_task", campaign=search.id, task=50, stamp_set="sky", stamp_id=3, audit=False)
        assert events.record(connection, search, said, order[0])
        assert not events.record(connection, search, said, order[1])
    own = database.rows("own_labels", campaign=search.id, stamp_set="sky", person="Vera", annotator=1)
    assert [(row["stamp_id"], row["annotation_id"], row["here"]) for row in own] == [(3, 9, True)]


def test_marked_stamps_do_not_wait_for_a_label(database: Database, search: Campaign) -> None:
    with database.transaction() as connection:
        for row in range(3):
            query(connection, "put_task", campaign=search.id, task=row, stamp_set="sky", stamp_id=row, audit=False)
    mark(database, search, 1, "no")
    with database.transaction() as connection:
        assert [task.task_id for task in push.waiting_tasks(connection, search)] == [0, 2]


def test_a_search_learns_from_one_yes_and_is_applied_to_the_pool(database: Database, search: Campaign) -> None:
    assert learn_now(database, search) == "too few labels"
    mark(database, search, 0, "no")
    assert learn_now(database, search) == "too few labels"
    mark(database, search, 4, "yes")
    assert learn_now(database, search) == "promoted"
    with database.transaction() as connection:
        version = versions.active_version(connection, search)
        features = FeatureStore.from_database(connection, search.encoder)
    assert version is not None and version.weights is not None and version.version.startswith("interest-")
    model = load_model(version, Stores(search, features, StampSets(database), Path()))
    assert model is not None
    answers = model.answer([("sky", row) for row in range(10)])
    region, _ = answers.result(9, find_kind("interest").label_config())
    assert region["value"]["choices"] in (["yes"], ["no"])
    head = PreferenceHead.load(version.weights)
    yes = head.predict(features.rows([("sky", row) for row in range(10)]))[:, head.classes.index("yes")]
    # stamp 9 is of the class of stamp 4, the wanted one; stamp 5 of that of stamp 0
    assert yes[9] > yes[5] and int(np.argmax(np.delete(yes, 4))) == 8


def test_a_search_is_no_business_of_label_studio(database: Database, search: Campaign) -> None:
    with pytest.raises(UnknownCampaignError, match="not in Label Studio"):
        _ = search.project_id
    with database.transaction() as connection:
        with pytest.raises(UnknownCampaignError, match="Project None"):
            campaign_of_project(connection, None)
        found = status.campaign_status(connection, search)
        assert found["project"] is None and found["inbox"] == {"waiting": 0, "failed": 0}


def test_a_search_has_the_classes_yes_and_no() -> None:
    kind = find_kind("interest")
    assert kind.wanted == "yes" and not kind.slow
    assert kind.offered(find_kind("interest").label_config()) == ("no", "yes")
    with pytest.raises(LabelConfigError, match="ring, not ring"):
        kind.label_config(["ring", "not ring"])
    assert find_kind("morphology").wanted is None
