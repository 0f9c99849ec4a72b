"""What webhooks tell without Label Studio's knowing changes nothing that lasts: annotators can read their secret."""

import itertools
from collections.abc import Collection, Iterator
from datetime import datetime
from typing import Any

import pytest

from backend_ml.campaign.lifecycle import ingest_inbox
from backend_ml.label_studio.annotations import ListedAnnotation
from backend_ml.label_studio.connection import LabelStudioError
from backend_ml.labels import events
from backend_ml.settings import Settings
from backend_ml.store.database import Database
from backend_ml.store.records import Campaign
from tests.backend_ml.current_labels import waiting
from tests.backend_ml.stored import Stored, reconciled
from tests.backend_ml.webhooks import annotation, confirm, created, deleted, labels, send, updated, webhook

BOTH = {0: "spiral", 1: "spiral"}


@pytest.fixture
def stored(database: Database, campaign: Campaign) -> Stored:
    """A Label Studio with two labels, which the campaign knows."""
    made = Stored({number: annotation(number, 100 + number, "spiral") for number in (1, 2)})
    send(database, created(1, 101, "spiral"), created(2, 102, "spiral"))
    assert not reconciled(database, campaign, made)
    made.fresh = False
    return made


def told(database: Database) -> list[tuple[str, int]]:
    with database.transaction() as connection:
        rows = connection.execute("SELECT what, id FROM told_deleted ORDER BY what, id").fetchall()
    return [(row["what"], row["id"]) for row in rows]


def age(database: Database) -> None:
    """As if everything had been told three minutes ago."""
    with database.transaction() as connection:
        connection.execute("UPDATE told_deleted SET told_at = told_at - interval '3 minutes'")


FORGED = {
    "an annotation": deleted(1),
    "all annotations": deleted(1, 2),
    "the old singular": webhook("ANNOTATION_DELETED", annotation=annotation(1, 101, "spiral")),
    "a task": webhook("TASKS_DELETED", tasks=[{"id": 101}]),
    "the project": webhook("PROJECT_DELETED"),
    "what never was": deleted(77),
}


@pytest.mark.parametrize("body", FORGED.values(), ids=FORGED)
def test_a_forged_deletion_changes_nothing(
    database: Database, campaign: Campaign, stored: Stored, body: dict[str, Any]
) -> None:
    assert send(database, body) == set()
    assert labels(database, campaign) == BOTH and 101 not in waiting(database, campaign)
    assert not reconciled(database, campaign, stored)
    age(database)
    assert not reconciled(database, campaign, stored)
    assert labels(database, campaign) == BOTH
    assert told(database) == [], "it is not asked for again and again"


def test_a_deletion_counts_once_label_studio_confirms_it(
    database: Database, campaign: Campaign, stored: Stored
) -> None:
    del stored.bodies[1]
    send(database, deleted(1))
    assert labels(database, campaign) == BOTH
    assert reconciled(database, campaign, stored)
    assert labels(database, campaign) == {1: "spiral"} and told(database) == []
    send(database, updated(1, 101, "spiral", at=9))
    assert labels(database, campaign) == {1: "spiral"}, "it is final"
    send(database, deleted(1))
    assert not reconciled(database, campaign, stored)


def test_a_deleted_task_takes_its_labels_along(database: Database, campaign: Campaign, stored: Stored) -> None:
    del stored.bodies[1]
    stored.gone = {101}
    send(database, webhook("TASKS_DELETED", tasks=[{"id": 101}, {"id": 102}]))
    assert reconciled(database, campaign, stored)
    assert labels(database, campaign) == {1: "spiral"} and 101 not in waiting(database, campaign)
    assert told(database) == [("task", 102)]


def test_a_deletion_that_was_not_committed_yet_is_asked_for_again(
    database: Database, campaign: Campaign, stored: Stored
) -> None:
    send(database, webhook("TASKS_DELETED", tasks=[{"id": 101}]))
    assert not reconciled(database, campaign, stored)
    stored.gone = {101}
    assert reconciled(database, campaign, stored)
    assert labels(database, campaign) == {1: "spiral"}


@pytest.mark.parametrize("order", list(itertools.permutations(range(2))))
def test_the_order_of_arrival_does_not_matter(database: Database, campaign: Campaign, order: tuple[int, ...]) -> None:
    bodies = [created(1, 101, "spiral"), deleted(1)]
    for i in order:
        send(database, bodies[i])
    assert confirm(database, campaign)
    assert labels(database, campaign) == {} and told(database) == []


class Away(Stored):
    """One that does not answer, or not to this token."""

    def project(self, project: int) -> Any:
        raise LabelStudioError("No answer from Label Studio.", status=404)


def test_deletions_wait_for_a_label_studio_that_is_away(database: Database, campaign: Campaign, stored: Stored) -> None:
    send(database, deleted(1))
    age(database)
    with pytest.raises(LabelStudioError):
        reconciled(database, campaign, Away({}, fresh=False))
    assert labels(database, campaign) == BOTH and told(database) == [("annotation", 1)]
    del stored.bodies[1]
    assert reconciled(database, campaign, stored)
    assert labels(database, campaign) == {1: "spiral"}


def test_it_is_confirmed_within_seconds(database: Database, campaign: Campaign, stored: Stored) -> None:
    def reconciliations(*bodies: dict[str, Any]) -> int:
        with database.transaction() as connection:
            connection.execute("TRUNCATE procrastinate_jobs CASCADE")
            for body in bodies:
                events.receive(connection, body)
        with database.transaction() as connection:
            ingest_inbox(connection, Settings())
            text = "SELECT FROM procrastinate_jobs WHERE task_name = 'campaign:reconcile'"
            return len(connection.execute(text).fetchall())

    assert reconciliations(updated(1, 101, "edge-on disc", at=3)) == 0, "labels wait for nobody"
    assert reconciliations(deleted(1), deleted(2)) == 1
    assert reconciliations(updated(1, 101, "spiral", at=4)) == 0, "what waits already is not asked for at each label"
    assert reconciliations(webhook("TASKS_DELETED", tasks=[{"id": 101}])) == 1


def test_a_forged_label_counts_until_the_next_reconciliation(
    database: Database, campaign: Campaign, stored: Stored
) -> None:
    send(database, updated(1, 101, "edge-on disc", at=50), created(9, 103, "spiral", at=50, by=2))
    assert labels(database, campaign) == {0: "edge-on disc", 1: "spiral", 2: "spiral"}
    assert reconciled(database, campaign, stored)
    assert labels(database, campaign) == BOTH
    assert not reconciled(database, campaign, stored)


def test_a_label_that_was_changed_again_meanwhile_is_not_forged(
    database: Database, campaign: Campaign, stored: Stored
) -> None:
    stored.bodies[1] = annotation(1, 101, "spiral", at=30)
    stored.fresh = True
    send(database, updated(1, 101, "edge-on disc", at=20))
    assert reconciled(database, campaign, stored)
    assert labels(database, campaign) == BOTH
    with database.transaction() as connection:
        text = "SELECT label FROM label_event WHERE annotation_id = 1 ORDER BY happened_at"
        assert [row["label"] for row in connection.execute(text)] == ["spiral", "edge-on disc", "spiral"]


def test_what_a_lie_was_told_of_counts_once_it_is_there(database: Database, campaign: Campaign, stored: Stored) -> None:
    """Whoever can read the secret names annotations that are yet to be made."""
    send(database, created(9, 103, "spiral", at=50, by=2))
    assert reconciled(database, campaign, stored)
    assert labels(database, campaign) == BOTH
    stored.bodies[9] = annotation(9, 103, "edge-on disc", at=55)
    stored.fresh = True
    send(database, created(9, 103, "edge-on disc", at=55))
    assert reconciled(database, campaign, stored)
    assert labels(database, campaign) == BOTH | {2: "edge-on disc"}


class Hiding(Stored):
    """One whose list of all annotations lacks what slipped from one page to the page before it."""

    hidden = 1

    def annotation_tasks(self, project: int, tasks: Collection[int] | None = None) -> dict[int, int]:
        there = super().annotation_tasks(project, tasks)
        return there if tasks is not None else {number: one for number, one in there.items() if number != self.hidden}


def test_what_a_page_of_the_list_hid_is_not_gone(database: Database, campaign: Campaign, stored: Stored) -> None:
    hiding = Hiding({1: stored.bodies[1]}, fresh=False)
    assert reconciled(database, campaign, hiding), "the second is gone"
    assert labels(database, campaign) == {0: "spiral"}


def test_a_deletion_that_was_none_is_taken_back(database: Database, campaign: Campaign, stored: Stored) -> None:
    with database.transaction() as connection:
        events.record_deletions(connection, campaign, [1], "reconcile")
    assert labels(database, campaign) == {1: "spiral"}
    assert reconciled(database, campaign, stored)
    assert labels(database, campaign) == BOTH
    assert not reconciled(database, campaign, stored)


def test_what_no_listing_of_changes_had_is_found(database: Database, campaign: Campaign, stored: Stored) -> None:
    stored.bodies[3] = annotation(3, 103, "edge-on disc")
    assert reconciled(database, campaign, stored)
    assert labels(database, campaign) == BOTH | {2: "edge-on disc"}


class Answering(Stored):
    """One that takes a label while it lists, and tells of it at once."""

    database: Database

    def annotations_since(self, project: int, since: datetime | None) -> Iterator[ListedAnnotation]:
        yield from list(super().annotations_since(project, since))
        self.bodies[1] = annotation(1, 101, "edge-on disc", at=40)
        send(self.database, updated(1, 101, "edge-on disc", at=40))


def test_a_label_that_comes_while_changes_are_listed_is_no_lie(
    database: Database, campaign: Campaign, stored: Stored
) -> None:
    """As while a campaign is closed or compared by hand, beside the worker."""
    answering = Answering(stored.bodies)
    answering.database = database
    reconciled(database, campaign, answering)
    assert labels(database, campaign) == {0: "edge-on disc", 1: "spiral"}
