"""Webhooks as Label Studio sends them, and the labels that come of them."""

from collections.abc import Set
from datetime import UTC, datetime
from typing import Any

from backend_ml.labels import events, told
from backend_ml.store.database import Database
from backend_ml.store.records import Campaign
from tests.backend_ml.conftest import PROJECT
from tests.backend_ml.current_labels import labels_of

NONE: Set[int] = frozenset()


def annotation(
    number: int, task: int, label: str | None, *, at: int = 0, by: int = 1, skipped: bool = False
) -> dict[str, Any]:
    """An annotation as Label Studio writes it, last changed `at` seconds after noon."""
    choice = {"type": "choices", "from_name": "morphology", "to_name": "image", "value": {"choices": [label]}}
    return {
        "id": number,
        "task": task,
        "result": [choice] if label else [],
        "was_cancelled": skipped,
        "completed_by": by,
        "updated_at": f"2026-01-01T12:00:{at:02d}.000000Z",
        "lead_time": 1.5,
        "parent_prediction": None,
    }


def webhook(action: str, project: int = PROJECT, **body: Any) -> dict[str, Any]:
    return {"action": action, "project": {"id": project, "title": "x"}, **body}


def created(*args: Any, **kwargs: Any) -> dict[str, Any]:
    return webhook("ANNOTATION_CREATED", annotation=annotation(*args, **kwargs))


def updated(*args: Any, **kwargs: Any) -> dict[str, Any]:
    return webhook("ANNOTATION_UPDATED", annotation=annotation(*args, **kwargs))


def deleted(*numbers: int) -> dict[str, Any]:
    return webhook("ANNOTATIONS_DELETED", annotations=[{"id": number} for number in numbers])


def send(database: Database, *bodies: dict[str, Any]) -> set[int]:
    """Receive and ingest; the campaigns changed."""
    with database.transaction() as connection:
        for body in bodies:
            events.receive(connection, body)
    with database.transaction() as connection:
        return events.ingest(connection)


def confirm(database: Database, campaign: Campaign, annotations: Set[int] = NONE, tasks: Set[int] = NONE) -> bool:
    """Ask a Label Studio that has these annotations and tasks for what was told; whether a label changed."""
    with database.transaction() as connection:
        gone = told.told(connection, campaign).confirmed(annotations, tasks)
        return told.settle(connection, campaign, gone, datetime.now(UTC))


def labels(database: Database, campaign: Campaign) -> dict[int, str]:
    return labels_of(database, campaign.id)
