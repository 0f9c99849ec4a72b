"""One odd webhook or annotation is set aside, and what comes behind it is learned, in its campaign and all others."""

import threading
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg.types.json import Jsonb

from backend_ml.campaign import status
from backend_ml.label_studio.annotations import ListedAnnotation
from backend_ml.label_studio.connection import LabelStudioError
from backend_ml.label_studio.regions.choices import ChoiceError
from backend_ml.labels import events, set_aside
from backend_ml.queue import push
from backend_ml.store.campaigns import add_campaign
from backend_ml.store.database import Database, DatabaseError, query
from backend_ml.store.records import Campaign
from tests.backend_ml.conftest import MORPHOLOGY, PROJECT
from tests.backend_ml.current_labels import training, waiting
from tests.backend_ml.learned import learn_now
from tests.backend_ml.stored import Stored, reconciled
from tests.backend_ml.webhooks import annotation, confirm, created, deleted, labels, send, webhook

OTHER = 8


@pytest.fixture
def other(database: Database, campaign: Campaign) -> Campaign:
    """A second campaign, of project 8, whose task 201 shows stamp 5."""
    with database.transaction() as connection:
        made = add_campaign(connection, **{**MORPHOLOGY, "audit_fraction": 0.0}, name="Other", project=OTHER)
        query(connection, "put_task", campaign=made.id, task=201, stamp_set="sky", stamp_id=5, audit=False)
    return made


def choice(value: Any) -> list[dict[str, Any]]:
    """The result of an annotation whose choices have this value."""
    return [{"type": "choices", "from_name": "morphology", "to_name": "image", "value": value}]


def nested(depth: int) -> Any:
    """A list in a list in a list ..."""
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


ODD: dict[str, dict[str, Any]] = {
    "choices are a mapping": {"result": choice({"choices": {"a": 1}})},
    "choices are a number": {"result": choice({"choices": 3})},
    "choices are null": {"result": choice({"choices": None})},
    "choices are a text": {"result": choice({"choices": "spiral"})},
    "a choice is a number": {"result": choice({"choices": [3]})},
    "a choice is a mapping": {"result": choice({"choices": [{"a": 1}]})},
    "value is a list": {"result": choice(["spiral"])},
    "value is null": {"result": choice(None)},
    "value is deep": {"result": choice(nested(500))},
    "result is a number": {"result": 3},
    "result is null": {"result": None},
    "result is a text": {"result": "spiral"},
    "result is a mapping": {"result": {"choices": ["spiral"]}},
    "a region is null": {"result": [None]},
    "a region is a number": {"result": [3]},
    "id beyond 2^31": {"id": 2**31},
    "id beyond 2^63": {"id": 2**63},
    "id is a text": {"id": "x"},
    "id is missing": {"id": None},
    "task beyond 2^31": {"task": 2**31},
    "task beyond 2^63": {"task": 2**63},
    "task is null": {"task": None},
    "annotator beyond 2^31": {"completed_by": 2**31},
    "parent beyond 2^63": {"parent_prediction": 2**63},
    "no time": {"updated_at": "yesterday"},
    "time before all times": {"updated_at": "0001-01-01T00:00:00+14:00"},
}


def state(database: Database, campaign: Campaign) -> list[dict[str, Any]]:
    """What `galaxyloop campaign status` says is set aside."""
    with database.transaction() as connection:
        aside: list[dict[str, Any]] = status.campaign_status(connection, campaign)["set_aside"]
    return aside


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
def test_what_stands_behind_an_odd_annotation_is_learned(
    database: Database, campaign: Campaign, other: Campaign, odd: dict[str, Any]
) -> None:
    bodies = [
        created(1, 101, "spiral"),
        webhook("ANNOTATION_CREATED", annotation={**annotation(2, 102, "spiral"), **odd}),
        created(3, 103, "spiral"),
        webhook("ANNOTATION_CREATED", project=OTHER, annotation=annotation(4, 201, "spiral")),
    ]
    assert send(database, *bodies) == {campaign.id, other.id}
    assert labels(database, campaign) == {0: "spiral", 2: "spiral"}
    assert labels(database, other) == {5: "spiral"}
    (aside,) = state(database, campaign)
    assert aside["webhook"] is not None and aside["reason"] and aside["at"] is not None
    assert state(database, other) == []
    assert send(database) == set()


@pytest.mark.parametrize("odd", [3, "x", True, [3], [[]], {}, {"result": []}], ids=repr)
@pytest.mark.parametrize("action", ["ANNOTATION_CREATED", "ANNOTATIONS_DELETED", "TASKS_DELETED"])
def test_a_webhook_odd_as_a_whole(database: Database, campaign: Campaign, action: str, odd: Any) -> None:
    body = {**webhook(action), "annotation": odd, "annotations": odd, "tasks": odd}
    assert send(database, body, created(3, 103, "spiral")) == {campaign.id}
    assert labels(database, campaign) == {2: "spiral"}
    assert len(state(database, campaign)) == 1


ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=5)
    | st.sampled_from(["choices", "spiral"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["choices", "value", "type", "id", "result"]), inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ANYTHING, st.sampled_from([*annotation(2, 102, "spiral"), "region", "value"]))
def test_whatever_an_annotation_holds_the_next_one_is_learned(
    database: Database, campaign: Campaign, anything: Any, place: str
) -> None:
    inside = {"region": [anything], "value": choice(anything)}
    odd = {**annotation(2, 102, "spiral"), **({"result": inside[place]} if place in inside else {place: anything})}
    with database.transaction() as connection:
        connection.execute("TRUNCATE label_event, inbox")
    send(database, webhook("ANNOTATION_CREATED", annotation=odd), created(3, 103, "spiral"))
    assert labels(database, campaign)[2] == "spiral"
    assert database.rows("inbox_state", project=PROJECT)[0]["waiting"] == 0
    with database.transaction() as connection:
        push.waiting_tasks(connection, campaign)


def test_one_odd_annotation_of_several_in_a_webhook(database: Database, campaign: Campaign) -> None:
    bulk = [annotation(1, 101, "spiral"), {**annotation(2, 102, ""), "result": 3}, annotation(3, 103, "spiral")]
    send(database, webhook("ANNOTATIONS_CREATED", annotation=bulk))
    assert labels(database, campaign) == {0: "spiral", 2: "spiral"}
    send(database, deleted(1, 2**40, 3))
    confirm(database, campaign)
    assert labels(database, campaign) == {}
    assert [row["reason"][:6] for row in state(database, campaign)] == ["result", "The da"]


def test_the_reason_can_be_stored_whatever_it_quotes() -> None:
    why = set_aside.reason(ChoiceError("a\x00b\ud800c\nd", "Mend it."))
    assert why == "a\\x00b\\ud800c d Mend it."
    assert len(set_aside.reason(ValueError("x" * 10_000))) == set_aside.LONGEST


@pytest.mark.parametrize("error", [psycopg.errors.DeadlockDetected, psycopg.errors.DiskFull, psycopg.OperationalError])
def test_a_failure_that_passes_is_not_the_rows(database: Database, error: type[Exception]) -> None:
    def fail() -> bool:
        raise error

    with database.transaction() as connection, pytest.raises(error):
        set_aside.attempted(connection, fail)


def test_a_connection_that_breaks_sets_nothing_aside(database: Database, campaign: Campaign) -> None:
    with database.transaction() as connection:
        events.receive(connection, created(1, 101, "spiral"))
    with pytest.raises(DatabaseError), database.transaction() as connection:
        connection.execute("SELECT set_config('application_name', 'doomed', false)")
        with database.transaction() as executioner:
            executioner.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'doomed'"
            )
        events.ingest(connection)
    assert database.rows("inbox_state", project=PROJECT) == [{"waiting": 1, "failed": 0}]
    assert send(database) == {campaign.id}
    assert labels(database, campaign) == {0: "spiral"}


# what a former version let into the events


@pytest.mark.parametrize(
    "result", [None, 3, "x", {}, [3], [None], choice(None), choice({"choices": {"a": 1}})], ids=repr
)
def test_an_odd_event_stops_neither_status_nor_refit(database: Database, campaign: Campaign, result: Any) -> None:
    send(database, created(1, 101, "spiral"), created(2, 102, "edge-on disc"))
    values = {"action": "labelled", "task": 103, "annotation": 3, "label": str(result)[:20], "annotator": 1}
    values |= {"parent_prediction": None, "lead_time": 1.0, "source": "webhook", "happened_at": "2030-01-01"}
    database.rows("put_annotation_event", campaign=campaign.id, result=Jsonb(result), **values)
    assert training(database, campaign) == {0: "spiral", 1: "edge-on disc"}
    assert learn_now(database, campaign) == "promoted"
    assert state(database, campaign) == []


# reconciliation


POLLED = {
    **{name: odd for name, odd in ODD.items() if "id" not in odd},
    "holds U+0000": {"result": choice({"choices": ["spiral"], "note": "\0"})},
    "is U+0000": {"result": choice({"choices": ["a\0"]})},
    "half a pair": {"result": choice({"choices": ["a\ud800"]})},
    "NaN": {"result": choice({"choices": ["spiral"], "score": float("nan")})},
    "infinite": {"result": choice({"choices": ["spiral"], "score": float("inf")})},
    "too deep": {"result": [{"type": "deep", "value": nested(2000)}]},
}


@pytest.mark.parametrize("odd", POLLED.values(), ids=POLLED)
def test_an_odd_annotation_is_set_aside_until_it_is_corrected(
    database: Database, campaign: Campaign, odd: dict[str, Any]
) -> None:
    bodies = {number: annotation(number, 100 + number, "spiral") for number in (1, 2, 3)}
    stored = Stored({**bodies, 2: {**bodies[2], **odd}})
    assert reconciled(database, campaign, stored)
    assert labels(database, campaign) == {0: "spiral", 2: "spiral"}
    (aside,) = state(database, campaign)
    assert (aside["annotation"], aside["webhook"]) == (2, None) and aside["reason"]
    assert not reconciled(database, campaign, stored)
    assert state(database, campaign) == [aside]
    assert 102 not in waiting(database, campaign)
    stored.bodies[2] = bodies[2]
    assert reconciled(database, campaign, stored)
    assert labels(database, campaign) == {0: "spiral", 1: "spiral", 2: "spiral"}
    assert state(database, campaign) == []


@pytest.mark.parametrize("told", ["webhook", "listing"])
def test_the_note_goes_with_the_annotation(database: Database, campaign: Campaign, told: str) -> None:
    stored = Stored({1: annotation(1, 101, "spiral"), 2: {**annotation(2, 102, "spiral"), "result": None}})
    reconciled(database, campaign, stored)
    stored.fresh = False
    del stored.bodies[2]
    if told == "webhook":
        send(database, deleted(2))
        confirm(database, campaign)
    else:
        reconciled(database, campaign, stored)
    assert state(database, campaign) == []
    assert labels(database, campaign) == {0: "spiral"}
    assert 102 in waiting(database, campaign)


def test_a_listing_of_before_a_deletion_does_not_have_the_last_word(database: Database, campaign: Campaign) -> None:
    """As where somebody syncs while a worker has listed what was deleted since."""

    class Listed(Stored):
        def annotations_since(self, _: int, since: datetime | None) -> Iterator[ListedAnnotation]:
            listed = list(super().annotations_since(_, since))
            del self.bodies[2]
            other.start()
            other.join(0.5)
            return iter(listed)

    stored = Listed({1: annotation(1, 101, "spiral"), 2: {**annotation(2, 102, ""), "result": None}})
    reconciled(database, campaign, Stored(stored.bodies))
    assert len(state(database, campaign)) == 1
    other = threading.Thread(target=reconciled, args=(database, campaign, Stored(stored.bodies)))
    reconciled(database, campaign, stored)
    other.join()
    assert state(database, campaign) == []


def test_what_was_said_before_an_odd_change_counts_once_it_is_mended(database: Database, campaign: Campaign) -> None:
    send(database, created(1, 101, "spiral"))
    stored = Stored({1: {**annotation(1, 101, "", at=9), "result": 3}})
    reconciled(database, campaign, stored)
    assert labels(database, campaign) == {}
    assert len(state(database, campaign)) == 1
    stored.bodies[1] = annotation(1, 101, "spiral")
    reconciled(database, campaign, stored)
    assert labels(database, campaign) == {0: "spiral"}
    assert state(database, campaign) == []


def test_an_annotation_that_label_studio_cannot_write_is_set_aside(database: Database, campaign: Campaign) -> None:
    class Unwritable(Stored):
        def annotations_since(self, _: int, since: datetime | None) -> Iterator[ListedAnnotation]:
            yield ListedAnnotation(1, 101, annotation(1, 101, "spiral"))
            failure = LabelStudioError("Label Studio answered 500: maximum recursion depth exceeded", "Look.", 500)
            yield ListedAnnotation(2, 102, None, failure)

    reconciled(database, campaign, Unwritable({1: {}, 2: {}}))
    assert labels(database, campaign) == {0: "spiral"}
    (aside,) = state(database, campaign)
    assert aside["annotation"] == 2 and "recursion" in aside["reason"]


def test_reconciling_settles_what_webhooks_said(database: Database, campaign: Campaign) -> None:
    send(database, webhook("ANNOTATION_CREATED", annotation={**annotation(2, 102, "spiral"), "result": 3}))
    assert [row["annotation"] for row in state(database, campaign)] == [None]
    stored = Stored({2: {**annotation(2, 102, "spiral"), "result": 3}})
    reconciled(database, campaign, stored)
    assert [row["annotation"] for row in state(database, campaign)] == [2]
    assert database.rows("inbox_state", project=PROJECT) == [{"waiting": 0, "failed": 0}]


def test_what_is_aside_is_read_anew_when_asked(
    database: Database, campaign: Campaign, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after an update of Galaxy Loop which can read what the former version could not."""
    stored = Stored({1: annotation(1, 101, "spiral"), 2: annotation(2, 102, "spiral")})
    with monkeypatch.context() as former:
        former.setattr(events, "chosen", lambda *_: 1 / 0)
        reconciled(database, campaign, stored)
    assert [row["reason"][:17] for row in state(database, campaign)] == ["ZeroDivisionError"] * 2
    stored.fresh = False
    assert not reconciled(database, campaign, stored)
    assert len(state(database, campaign)) == 2
    assert reconciled(database, campaign, stored, again=True)
    assert state(database, campaign) == [] and labels(database, campaign) == {0: "spiral", 1: "spiral"}


def test_a_failed_webhook_is_tried_again_when_asked(database: Database, campaign: Campaign) -> None:
    unknown = created(1, 101, "spiral")
    with database.transaction() as connection:
        events.receive(connection, unknown)
        connection.execute("UPDATE inbox SET body = '3'")
    assert send(database) == set()
    assert len(state(database, campaign)) == 1
    with database.transaction() as connection:
        connection.execute("UPDATE inbox SET body = %s", [Jsonb(unknown)])
        query(connection, "retry_inbox", project=PROJECT)
    assert send(database) == {campaign.id}
    assert state(database, campaign) == [] and labels(database, campaign) == {0: "spiral"}
