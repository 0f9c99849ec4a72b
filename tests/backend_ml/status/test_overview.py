"""All campaigns at once say of each what its own page says."""

from datetime import UTC, datetime, timedelta

import numpy as np

from backend_ml.report.report import read_report
from backend_ml.status import overview
from backend_ml.store import versions
from backend_ml.store.campaigns import add_campaign, all_campaigns, note
from backend_ml.store.database import Connection, Database, query, query_many
from backend_ml.store.records import Campaign
from tests.backend_ml.conftest import CLASSES, MORPHOLOGY

NOW = datetime(2026, 1, 20, 12, tzinfo=UTC)
TASKS, EVENTS, MARKS = 40, 120, 60


def filled(connection: Connection, number: int) -> Campaign:
    """A campaign of labels, skips, deletions and marks of the last month, of one or two labels a task."""
    draw = np.random.default_rng(number)
    about = {**MORPHOLOGY, "overlap": 1 + number % 2}
    made = add_campaign(connection, **about, name=f"Drawn {number}", project=100 + number)
    tasks = [{"task": i, "stamp_set": "sky", "stamp_id": i % 35, "audit": i % 7 == 0} for i in range(TASKS)]
    query_many(connection, "put_task", [{**task, "campaign": made.id} for task in tasks])
    query(connection, "delete_tasks", campaign=made.id, tasks=[3, 4])
    rows = [
        {
            "campaign": made.id,
            "action": "skipped" if draw.random() < 0.1 else "labelled",
            "task": int(draw.integers(TASKS + 3)),
            "annotation": int(draw.integers(EVENTS // 2)),
            "label": None if draw.random() < 0.05 else str(draw.choice(CLASSES)),
            "annotator": int(draw.integers(1, 5)),
            "result": None,
            "parent_prediction": None,
            "lead_time": None,
            "source": "webhook",
            "happened_at": NOW + timedelta(hours=1) - timedelta(hours=float(draw.exponential(2 * 12**number))),
        }
        for _ in range(EVENTS)
    ]
    query_many(connection, "put_annotation_event", rows)
    for annotation in (1, 2):
        query(connection, "put_deletion", campaign=made.id, annotation=annotation, source="webhook")
    query(connection, "put_set_aside", campaign=made.id, annotation=900, task=5, reason="odd")
    marks = [
        {
            "campaign": made.id,
            "action": "withdrawn" if draw.random() < 0.2 else "labelled",
            "stamp_set": "sky",
            "stamp_id": int(draw.integers(35)),
            "label": str(draw.choice(["unsure", CLASSES[0], CLASSES[1]])),
            "annotator": None,
            "person": str(draw.choice(["Vera", "Jan"])),
        }
        for _ in range(MARKS)
    ]
    query_many(connection, "put_label", marks)
    query(connection, "put_person_aside", campaign=made.id, person="four", annotator=4)
    if number % 2:
        note(connection, made.id, "memory", "There is little.")
        counts = {"seed": 0, "last_event": 0, "labels": 0, "audit_labels": 0, "metrics": {}, "revision": ""}
        name = versions.version_name("coldstart", "e", b"", made.classes)
        versions.add_version(connection, made, version=name, parent=None, encoder="e", **counts)
        versions.promote(connection, made, name, "created")
    return made


def test_each_campaign_is_told_as_on_its_own_page(database: Database, campaign: Campaign) -> None:
    with database.transaction() as connection:
        for number in range(4):
            filled(connection, number)
        query(connection, "close_campaign", campaign=campaign.id)
        lines = overview.read_lines(connection, NOW)
        reports = {one.id: read_report(connection, one, NOW) for one in all_campaigns(connection)}
    assert [line.campaign.name for line in lines] == ["Drawn 3", "Drawn 2", "Drawn 1", "Drawn 0", "Test"]
    for line in lines:
        report = reports[line.campaign.id]
        times = [one.at for one in report.given if not one.skipped]
        assert (line.done, line.tasks, line.pace) == (report.done, report.tasks, report.pace)
        assert (line.labels, line.latest) == (len(times), max(times, default=None))
        assert (line.version, line.notices) == (
            report.status["version"],
            [one["text"] for one in report.status["notices"]],
        )
    drawn = lines[:4]
    assert all(0 < line.done < line.tasks == TASKS - 2 for line in drawn)
    assert {bool(line.version) for line in drawn} == {True, False} == {bool(line.notices) for line in drawn}
    assert len({line.pace.span for line in drawn}) > 1 and lines[4].pace.span == ""


def test_without_campaigns_there_are_no_lines(database: Database) -> None:
    with database.transaction() as connection:
        assert overview.read_lines(connection) == []
