"""Label Studio as reconciliations see it, without one."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from backend_ml.campaign import reconcile, status
from backend_ml.label_studio.annotations import ListedAnnotation
from backend_ml.label_studio.client import Project
from backend_ml.store.database import Database
from backend_ml.store.records import Campaign


@dataclass
class Stored:
    """Label Studio as far as a reconciliation asks: a stand-in for one that stores what PostgreSQL refuses."""

    bodies: dict[int, dict[str, Any]] = field(default_factory=dict)
    fresh: bool = True
    gone: Collection[int] = ()  # tasks

    def project(self, project: int) -> Project:
        return Project(project, "", "<View/>", "", datetime(2026, 1, 1, tzinfo=UTC), 10, len(self.bodies))

    def annotations_since(self, _: int, since: datetime | None) -> Iterator[ListedAnnotation]:
        for number, body in self.bodies.items():
            if self.fresh:
                yield ListedAnnotation(number, 100 + number, body)

    def annotations_of(self, _: int, tasks: list[int]) -> Iterator[ListedAnnotation]:
        for number, body in self.bodies.items():
            if 100 + number in tasks:
                yield ListedAnnotation(number, 100 + number, body)

    def annotation_tasks(self, _: int, tasks: Collection[int] | None = None) -> dict[int, int]:
        return {number: 100 + number for number in self.bodies if tasks is None or 100 + number in tasks}

    def existing_tasks(self, _: int, tasks: Collection[int]) -> set[int]:
        return {task for task in tasks if task not in self.gone}


def reconciled(database: Database, campaign: Campaign, stored: Stored, *, again: bool = False) -> bool:
    with database.transaction() as connection:
        now = status.find(connection, campaign.name)
    return reconcile.reconcile(database, stored, now, again=again)  # type: ignore[arg-type]
