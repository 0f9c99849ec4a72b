"""Whatever people, Label Studio and the loop may have left of a campaign, drawn at random, and its rows as they lie."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from psycopg.types.json import Jsonb

from backend_ml.queue import selections
from backend_ml.queue.selections import Selected, Selection
from backend_ml.store.campaigns import add_campaign, campaign_of_id
from backend_ml.store.database import Connection, Database, query, query_many
from backend_ml.store.records import Campaign
from tests.backend_ml.conftest import CLASSES, MORPHOLOGY

NOON = datetime(2026, 1, 20, 12, tzinfo=UTC)
OLD, UNSURE = "old name", "unsure"
PEOPLE = {"Vera": None, "Jan": 2, "Maria": 5}  # those of the search page, and as Label Studio knows them
Row = Mapping[str, Any]


@dataclass(frozen=True)
class World:
    """A campaign, and all rows of it as its tables have them."""

    campaign: Campaign
    events: list[dict[str, Any]]
    tasks: dict[int, dict[str, Any]]
    aside: list[dict[str, Any]]
    odd: list[dict[str, Any]]
    selections: list[dict[str, Any]]
    selected: list[dict[str, Any]]

    def stamp(self, row: Row) -> tuple[str, int] | None:
        """The stamp that an annotation is about: its task's."""
        task = self.tasks.get(row["task_id"])
        return None if task is None else (task["stamp_set"], task["stamp_id"])

    def annotations(self) -> list[dict[str, Any]]:
        """The newest state of each annotation that is there."""
        newest: dict[int, dict[str, Any]] = {}
        gone = {row["annotation_id"] for row in self.events if row["action"] == "deleted"}
        for row in sorted(self.events, key=lambda row: (row["happened_at"], row["id"])):
            number, task = row["annotation_id"], self.tasks.get(row["task_id"])
            if number is not None and number not in gone and not (task and task["deleted"]):
                newest[number] = row
        return list(newest.values())

    def marks(self) -> list[dict[str, Any]]:
        """What each person last said of each stamp on the search page."""
        newest = {}
        for row in sorted(self.events, key=lambda row: row["id"]):
            if row["source"] == "explore" and row["annotation_id"] is None:
                newest[row["stamp_set"], row["stamp_id"], row["person"]] = row
        return [row for row in newest.values() if row["action"] == "labelled"]

    def is_aside(self, row: Row) -> bool:
        """Whether the labels of who gave it do not count."""
        return any(
            (one["annotator"] is not None and one["annotator"] == row["annotator"])
            or (row["person"] is not None and one["person"] == row["person"])
            for one in self.aside
        )

    def counted(self) -> list[dict[str, Any]]:
        """The annotations that label something and count, each with its stamp, its class as it is called now."""
        return [
            row | {"stamp": self.stamp(row), "label": self.campaign.renamed.get(row["label"], row["label"])}
            for row in self.annotations()
            if row["action"] == "labelled" and not self.is_aside(row)
        ]

    def votes(self) -> dict[int, tuple[Any, ...]]:
        """Number, stamp, label, who gave it, and how, of each label that counts."""
        found: dict[int, tuple[Any, ...]] = {}
        for row in self.counted():
            if row["label"] is not None and row["stamp"] is not None:
                found[row["id"]] = (*row["stamp"], row["label"], row["annotator"], None, "annotation")
        for row in self.events:
            if row["action"] == "imported":
                label = self.campaign.renamed.get(row["label"], row["label"])
                found[row["id"]] = (row["stamp_set"], row["stamp_id"], label, None, None, "start")
        said = {
            (self.stamp(row), row["annotator"])
            for row in self.annotations()
            if row["action"] == "labelled" and row["annotator"] is not None
        }
        for row in self.marks():
            stamp = (row["stamp_set"], row["stamp_id"])
            if (stamp, row["annotator"]) not in said and not self.is_aside(row):
                found[row["id"]] = (*stamp, row["label"], row["annotator"], row["person"], "mark")
        return found

    def readable_votes(self) -> dict[int, tuple[Any, ...]]:
        """Those of `votes` whose annotation is not set aside."""
        odd = {row["annotation_id"] for row in self.odd}
        of_odd = {row["id"] for row in self.events if row["annotation_id"] in odd}
        return {number: vote for number, vote in self.votes().items() if number not in of_odd}

    def is_blind(self, stamp: tuple[str, int], *, there: bool = False) -> bool:
        """Whether a task of the audit slice shows a stamp, or, unless it has to be there, did."""
        return any(
            (row["stamp_set"], row["stamp_id"]) == stamp and row["audit"] and not (there and row["deleted"])
            for row in self.tasks.values()
        )


def put_world(connection: Connection, number: int, folder_set: str = "sky") -> World:
    """A campaign of 14 tasks on 9 stamps of two sets, some of them deleted, some stamps shown twice."""
    draw = np.random.default_rng(number)
    about = {**MORPHOLOGY, "stamp_set": folder_set, "overlap": 1 + number % 4}
    made = add_campaign(connection, **about, name=f"World {number}", project=1000 + number)
    for task in range(14):
        place = {"stamp_set": "other" if task % 4 == 3 else folder_set, "stamp_id": task % 9}
        query(connection, "put_task", campaign=made.id, task=task, audit=bool(draw.random() < 0.25), **place)
    query(connection, "delete_tasks", campaign=made.id, tasks=draw.integers(14, size=2).tolist())
    _put_annotations(connection, made, draw)
    _put_marks(connection, made, draw)
    for stamp in draw.integers(9, size=4).tolist():
        label = str(draw.choice([OLD, *CLASSES[:2]]))
        query(connection, "put_snapshot_label", campaign=made.id, stamp_set=folder_set, stamp_id=stamp, label=label)
    # before anything was shown
    begun = NOON - timedelta(hours=6)
    connection.execute(
        "UPDATE label_event SET happened_at = %s WHERE campaign_id = %s AND action = 'imported'", (begun, made.id)
    )
    query(connection, "put_person_aside", campaign=made.id, person="annotator 3", annotator=3)
    query(connection, "put_person_aside", campaign=made.id, person=str(draw.choice(list(PEOPLE))), annotator=None)
    connection.execute("UPDATE campaign SET renamed = %s WHERE id = %s", (Jsonb({OLD: CLASSES[0]}), made.id))
    for annotation in draw.integers(30, size=4).tolist():
        values = {"annotation": annotation, "task": int(draw.integers(14)), "reason": "odd"}
        query(connection, "put_set_aside", campaign=made.id, **values)
    _put_selections(connection, made, draw, folder_set)
    return read_world(connection, made.id)


def _put_annotations(connection: Connection, made: Campaign, draw: np.random.Generator) -> None:
    rows = []
    for annotation in range(24):
        task, annotator = int(draw.integers(16)), None if draw.random() < 0.1 else int(draw.integers(1, 5))
        for _ in range(int(draw.integers(1, 4))):
            skipped = draw.random() < 0.2
            origins = draw.choice(["prediction", "prediction-changed", "manual", ""], int(draw.integers(0, 3)))
            regions = [{"from_name": "q", **({"origin": str(one)} if one else {})} for one in origins]
            rows.append(
                {
                    "campaign": made.id,
                    "action": "skipped" if skipped else "labelled",
                    "task": task,
                    "annotation": annotation,
                    "label": None if skipped or draw.random() < 0.1 else str(draw.choice([OLD, *CLASSES[:3]])),
                    "annotator": annotator,
                    "result": None if draw.random() < 0.1 else Jsonb(regions),
                    "parent_prediction": 7 if draw.random() < 0.6 else None,
                    "lead_time": float(draw.integers(1, 60)),
                    "source": "webhook",
                    "happened_at": NOON + timedelta(minutes=int(draw.integers(-300, 30))),
                }
            )
    query_many(connection, "put_annotation_event", rows)
    for annotation in (3, 4, 29):
        query(connection, "put_deletion", campaign=made.id, annotation=annotation, source="webhook")


def _put_marks(connection: Connection, made: Campaign, draw: np.random.Generator) -> None:
    for _ in range(30):
        person = str(draw.choice(list(PEOPLE)))
        values = {
            "action": "withdrawn" if draw.random() < 0.25 else "labelled",
            "stamp_set": "sky",
            "stamp_id": int(draw.integers(9)),
            "label": str(draw.choice([UNSURE, *CLASSES[:2]])),
            "annotator": PEOPLE[person],
            "person": person,
        }
        number = query(connection, "put_label", campaign=made.id, **values)[0]["id"]
        at = NOON + timedelta(minutes=int(draw.integers(-300, 30)))
        connection.execute("UPDATE label_event SET happened_at = %s WHERE id = %s", (at, number))


def _put_selections(connection: Connection, made: Campaign, draw: np.random.Generator, folder_set: str) -> None:
    for place in range(9):
        source: Any = ("push", "slice", "round")[place % 3]
        person = str(draw.choice(list(PEOPLE))) if source == "round" else None
        asked = {"policy": f"policy {place}", "seed": 0, "batch": 3, "candidates": 9, "last_event": 0}
        about = {"version": f"v{place}", "person": person, "annotator": PEOPLE[person] if person else None}
        stamps = [
            Selected(
                stamp_set=folder_set,
                stamp_id=int(row),
                propensity=float(draw.random()),
                audit=bool(draw.random() < 0.2),
            )
            for row in draw.permutation(9)[:5]
        ]
        chosen = Selection(source=source, **asked, **about)
        logged = selections.record(connection, made, chosen, stamps, served=False)
        at = NOON + timedelta(minutes=int(draw.integers(-300, 0)))
        served = None if draw.random() < 0.2 else at
        put = "UPDATE selection SET made_at = %s, served_at = %s WHERE id = %s"
        connection.execute(put, (at, served, logged.id))


def read_world(connection: Connection, campaign_id: int) -> World:
    """The rows of a campaign."""
    made = campaign_of_id(connection, campaign_id)
    assert made is not None

    def rows(table: str) -> list[dict[str, Any]]:
        return connection.execute(f"SELECT * FROM {table} WHERE campaign_id = %s", (made.id,)).fetchall()  # type: ignore[call-overload, no-any-return, union-attr]  # noqa: S608

    chosen = connection.execute("SELECT * FROM selected ORDER BY selection_id, rank").fetchall()
    return World(
        made,
        rows("label_event"),
        {row["task_id"]: row for row in rows("task")},
        rows("person_aside"),
        rows("set_aside"),
        sorted(rows("selection"), key=lambda row: int(row["id"])),
        chosen,
    )


def put_worlds(database: Database, first: int, count: int) -> list[World]:
    """Worlds in an otherwise empty database."""
    with database.transaction() as connection:
        for name in ("sky", "other"):
            query(connection, "put_stamp_set", name=name, path=f"{name}.h5", digest=name, features="")
        return [put_world(connection, number) for number in range(first, first + count)]


def newest_of(rows: list[dict[str, Any]], key: Callable[[dict[str, Any]], Any]) -> dict[Any, dict[str, Any]]:
    """Of each key the row that happened last; of equals the one with the largest number."""
    return {key(row): row for row in sorted(rows, key=lambda row: (row["happened_at"], row["id"]))}
