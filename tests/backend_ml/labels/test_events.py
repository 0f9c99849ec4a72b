"""Webhooks become label events, whatever order they arrive in."""

import itertools
from typing import Any

import pytest

from backend_ml.campaign import reconcile
from backend_ml.kinds.installed import find_kind
from backend_ml.label_studio.regions.choices import ASIDE
from backend_ml.labels import events
from backend_ml.store.campaigns import campaign_of_id, note
from backend_ml.store.database import Database
from backend_ml.store.records import Campaign, UnknownCampaignError
from tests.backend_ml.conftest import CLASSES, PROJECT
from tests.backend_ml.current_labels import snapshot_of, training, waiting
from tests.backend_ml.webhooks import annotation, confirm, created, labels, send, updated, webhook


def test_a_label_arrives(database: Database, campaign: Campaign) -> None:
    assert send(database, created(1, 101, "spiral")) == {campaign.id}
    assert labels(database, campaign) == {0: "spiral"}
    assert database.rows("inbox_state", project=PROJECT) == [{"waiting": 0, "failed": 0}]


def test_duplicates_change_nothing(database: Database, campaign: Campaign) -> None:
    send(database, created(1, 101, "spiral"))
    assert send(database, created(1, 101, "spiral"), created(1, 101, "spiral")) == set()
    assert database.rows("annotation_counts", campaign=campaign.id)[0]["labelled"] == 1


def test_an_update_replaces_and_a_skip_withdraws(database: Database, campaign: Campaign) -> None:
    send(database, created(1, 101, "spiral"), updated(1, 101, "edge-on disc", at=5))
    assert labels(database, campaign) == {0: "edge-on disc"}
    send(database, updated(1, 101, None, at=9, skipped=True))
    assert labels(database, campaign) == {}


def test_what_is_set_aside_under_a_renamed_tag_stays_what_it_is(database: Database, campaign: Campaign) -> None:
    bodies = [created(number, 101 + number, name) for number, name in enumerate(ASIDE)]
    for body in bodies:
        body["annotation"]["result"][0]["from_name"] = "renamed"
    send(database, *bodies)
    assert labels(database, campaign) == dict(enumerate(ASIDE))


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_every_order_of_arrival_gives_the_same_label(
    database: Database, campaign: Campaign, order: tuple[int, ...]
) -> None:
    bodies = [created(1, 101, "spiral", at=0), updated(1, 101, "edge-on disc", at=3), updated(1, 101, "spiral", at=8)]
    for i in order:
        send(database, bodies[i])
    assert labels(database, campaign) == {0: "spiral"}


def test_several_annotations_in_one_webhook(database: Database, campaign: Campaign) -> None:
    bulk = [annotation(1, 101, "spiral"), annotation(2, 102, "edge-on disc")]
    send(database, webhook("ANNOTATIONS_CREATED", annotation=bulk))
    assert labels(database, campaign) == {0: "spiral", 1: "edge-on disc"}


def test_the_majority_decides_and_the_latest_breaks_ties(database: Database, campaign: Campaign) -> None:
    send(database, created(1, 101, "spiral", by=1, at=1), created(2, 101, "edge-on disc", by=2, at=2))
    assert labels(database, campaign) == {0: "edge-on disc"}
    send(database, created(3, 101, "spiral", by=3, at=3))
    assert labels(database, campaign) == {0: "spiral"}


def test_audit_labels_and_choices_aside_are_not_trained_on(database: Database, campaign: Campaign) -> None:
    send(database, created(1, 101, "spiral"), created(2, 110, "spiral"), created(3, 102, ASIDE[0]))
    assert labels(database, campaign) == {0: "spiral", 1: ASIDE[0], 9: "spiral"}
    assert training(database, campaign) == {0: "spiral"}
    assert snapshot_of(database, campaign, audit=True) == {9: "spiral"}


def test_labels_of_deleted_tasks_are_dropped(database: Database, campaign: Campaign) -> None:
    send(database, created(1, 101, "spiral"), created(2, 102, "spiral"))
    send(database, webhook("TASKS_DELETED", tasks=[{"id": 101}]))
    assert confirm(database, campaign)
    assert labels(database, campaign) == {1: "spiral"}
    assert 101 not in waiting(database, campaign)


def test_a_skipped_task_waits_for_someone_else(database: Database, campaign: Campaign) -> None:
    send(database, created(1, 101, None, skipped=True), created(2, 102, "spiral"))
    left = waiting(database, campaign)
    assert 101 in left and 102 not in left


def test_a_task_without_our_stamp_is_kept_but_not_trained_on(database: Database, campaign: Campaign) -> None:
    send(database, created(1, 999, "spiral"))
    counts = database.rows("annotation_counts", campaign=campaign.id)[0]
    assert (counts["labelled"], counts["without_stamp"]) == (1, 1)
    assert training(database, campaign) == {}


def test_a_webhook_that_cannot_be_read_is_kept_with_its_reason(database: Database, campaign: Campaign) -> None:
    broken = webhook("ANNOTATION_CREATED", annotation={**annotation(1, 101, "spiral"), "updated_at": "not a time"})
    good = created(2, 102, "spiral")
    assert send(database, broken, good) == {campaign.id}
    assert labels(database, campaign) == {1: "spiral"}
    assert database.rows("inbox_state", project=PROJECT) == [{"waiting": 0, "failed": 1}]


@pytest.mark.parametrize("body", [webhook("ANNOTATION_CREATED", project=8), {"action": "ANNOTATION_CREATED"}])
def test_foreign_projects_are_refused(database: Database, campaign: Campaign, body: dict[str, Any]) -> None:
    with database.transaction() as connection, pytest.raises(UnknownCampaignError):
        events.receive(connection, body)


def test_starting_labels_count_and_an_annotation_outvotes_its_equal(database: Database, campaign: Campaign) -> None:
    database.rows("put_snapshot_label", campaign=campaign.id, stamp_set="sky", stamp_id=3, label="spiral")
    assert training(database, campaign) == {3: "spiral"}


def test_a_label_counts_once_its_task_is_known(database: Database, campaign: Campaign) -> None:
    send(database, created(1, 999, "spiral"))
    assert training(database, campaign) == {}
    database.rows("put_task", campaign=campaign.id, task=999, stamp_set="sky", stamp_id=50, audit=False)
    assert training(database, campaign) == {50: "spiral"}
    assert labels(database, campaign) == {50: "spiral"}
    assert database.rows("annotation_counts", campaign=campaign.id)[0]["without_stamp"] == 0
    assert database.rows("labelled_since", campaign=campaign.id, event=0) == [{"stamps": 1}]


def notices(database: Database, campaign: Campaign) -> dict[str, str]:
    return {row["source"]: row["text"] for row in database.rows("notices", campaign=campaign.id)}


def test_a_changed_label_config_is_noted(database: Database, campaign: Campaign) -> None:
    def checked(label_config: str) -> str:
        with database.transaction() as connection:
            reconcile.check_label_config(connection, campaign, label_config)
        return notices(database, campaign).get("label config", "")

    assert "Choices" in checked("<View/>")
    config = "<View><Image name='i' value='$i'/><Choices name='c' toName='i'>{}</Choices></View>"
    whole = config.format("".join(f"<Choice value='{name}'/>" for name in CLASSES))
    assert checked(whole) == ""
    fewer = checked(config.format("<Choice value='spiral'/><Choice value='edge-on disc'/>"))
    assert fewer.startswith("The label config no longer offers round smooth") and "rename-class 'Test' OLD NEW" in fewer
    many = "".join(f"<Choice value='{name}'/>" for name in (*CLASSES, "ring", "shell", "irregular"))
    more = checked(config.format(many))
    assert more.startswith("The label config offers ring, shell, irregular: ") and "not learned from" in more
    assert "2 to 7 classes" in more, "keys end at seven"
    assert database.rows("campaign_of_id", campaign=campaign.id)[0]["classes"] == list(CLASSES)


def test_a_class_that_somebody_adds_in_label_studio_is_learned_from(database: Database, campaign: Campaign) -> None:
    send(database, created(1, 101, "ring"), created(2, 102, "spiral"))
    assert training(database, campaign) == {1: "spiral"}
    config = find_kind("morphology").label_config([*CLASSES, "ring"])
    for first in (True, False):
        with database.transaction() as connection:
            assert reconcile.check_label_config(connection, campaign, config) is first
    with database.transaction() as connection:
        grown = campaign_of_id(connection, campaign.id)
    assert grown is not None and grown.classes == (*CLASSES, "ring") and notices(database, campaign) == {}
    assert training(database, grown) == {0: "ring", 1: "spiral"}, "what was said before counts too"
    (change,) = database.rows("changes", campaign=campaign.id)
    assert (change["person"], change["details"]) == ("Label Studio", {"classes": ["ring"]})


def test_each_source_sets_and_clears_its_own_notice(database: Database, campaign: Campaign) -> None:
    with database.transaction() as connection:
        note(connection, campaign.id, "refit", "Stamps have no features.")
        reconcile.check_label_config(connection, campaign, "<View/>")
        assert set(notices(database, campaign)) == set()  # not committed yet
    first = database.rows("notices", campaign=campaign.id)
    assert [row["source"] for row in first] == ["label config", "refit"]
    with database.transaction() as connection:
        note(connection, campaign.id, "refit", "Stamps have no features.")
        note(connection, campaign.id, "label config", None)
    assert database.rows("notices", campaign=campaign.id) == first[1:]


ADOPTED = """<View><Image name="i" value="$x"/><Choices name="form" toName="i" allowNested="true">
<Choice value="Disc" alias="disc"><Choice value="spiral"/></Choice><Choice value="blob"/></Choices></View>"""


def test_of_an_adopted_project_its_one_question_alone_is_read(database: Database, campaign: Campaign) -> None:
    with database.transaction() as connection:
        connection.execute("UPDATE campaign SET label_config = %s", (ADOPTED,))
    others = {"type": "choices", "from_name": "sure", "value": {"choices": ["spiral"]}}
    answer = {"type": "choices", "from_name": "form", "value": {"choices": [["disc"], ["disc", "spiral"]]}}
    both, none = created(1, 101, None), created(2, 102, None)
    both["annotation"]["result"], none["annotation"]["result"] = [others, answer], [others]
    send(database, both, none)
    assert labels(database, campaign) == {0: "disc > spiral"}


def test_labels_of_a_task_whose_number_is_used_again_count_for_no_stamp(database: Database, campaign: Campaign) -> None:
    send(database, created(1, 101, "spiral"))
    database.rows("delete_tasks", campaign=campaign.id, tasks=[101])
    send(database, created(2, 101, "edge-on disc"), created(3, 102, "spiral"))
    assert labels(database, campaign) == {1: "spiral"}
