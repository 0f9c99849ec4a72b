"""How long the leader's pages take on 10,000 tasks and 2,000 labels beside 100 small campaigns: a second is the aim.

python -m benchmarks.bench_status
"""

import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
from fastapi.testclient import TestClient
from psycopg.types.json import Jsonb

from backend_ml.app import create_app
from backend_ml.local.postgres import start_embedded
from backend_ml.local.processes import own
from backend_ml.settings import Settings
from backend_ml.store.campaigns import add_campaign
from backend_ml.store.database import Connection, Database, query, query_many
from backend_ml.store.records import Campaign
from benchmarks.report import save
from lvm_training.stamps.rendering import Rendering

TASKS, LABELS, PEOPLE, VERSIONS, RUNS = 10_000, 2_000, 8, 40, 5
OTHERS, SMALL = 100, 100  # campaigns beside it, and tasks of each, half of them labelled
CLASSES = ("round smooth", "in-between smooth", "cigar-shaped smooth", "edge-on disc", "spiral")
ORIGIN = {"Origin": "http://127.0.0.1:9090"}
SETTINGS = Settings.model_validate({"secret": "s", "backend_password": "b", "team_password": "t"})


def begin(connection: Connection, name: str, project: int, tasks: int) -> Campaign:
    """A campaign of two labels a task."""
    shown = {"stamp_set": "sky", "encoder": "e", "rendering": Rendering(), "policy": "margin"}
    made = add_campaign(connection, name=name, kind="morphology", classes=CLASSES, project=project, overlap=2, **shown)
    rows = [{"campaign": made.id, "stamp_set": "sky", "stamp_id": i, "audit": i % 10 == 0} for i in range(tasks)]
    query_many(connection, "put_task", [{**row, "task": i + 1} for i, row in enumerate(rows)])
    return made


def label(connection: Connection, campaign: Campaign, labels: int, generator: np.random.Generator) -> None:
    """Labels of three days: two people's of each galaxy."""
    begun = datetime.now(UTC) - timedelta(days=3)
    rows = [
        {
            "campaign": campaign.id,
            "action": "labelled",
            "task": 1 + number // 2,
            "annotation": number + 1,
            "label": CLASSES[int(generator.integers(5))],
            "annotator": 1 + int(generator.integers(PEOPLE // 2)) * 2 + number % 2,
            "result": Jsonb([{"type": "choices", "origin": "prediction", "value": {"choices": ["spiral"]}}]),
            "parent_prediction": 1,
            "lead_time": 4.0,
            "source": "webhook",
            "happened_at": begun + number * timedelta(days=3) / labels,
        }
        for number in range(labels)
    ]
    query_many(connection, "put_annotation_event", rows)


def fill(database: Database) -> None:
    """A campaign that two people label each galaxy of, its versions, and others beside it."""
    generator = np.random.default_rng(0)
    with database.transaction() as connection:
        query(connection, "put_stamp_set", name="sky", path="none.h5", digest="d", features="")
        made = begin(connection, "Ten thousand", 7, TASKS)
        label(connection, made, LABELS, generator)
        for number in range(VERSIONS):
            version = {"version": f"morphology-{number:012x}", "parent": None, "encoder": "e", "revision": "r"}
            known = {"weights": b"w" * 30_000, "detector": None, "seed": 0, "last_event": 1, "labels": 50 * number}
            metrics = Jsonb({"audit_accuracy": 0.5 + number / 100})
            query(connection, "put_version", campaign=made.id, **version, **known, audit_labels=100, metrics=metrics)
            query(connection, "promote", campaign=made.id, version=version["version"], reason="refit")
        for number in range(OTHERS):
            label(connection, begin(connection, f"Small {number}", 100 + number, SMALL), SMALL, generator)
    with database.transaction() as connection:
        connection.execute("ANALYZE")  # as autovacuum does within a minute


def seconds(client: TestClient, path: str) -> list[float]:
    """How long each of some requests takes, the first one apart from the others."""
    taken = []
    for _ in range(RUNS):
        begun = time.perf_counter()
        assert client.get(path).status_code == 200
        taken.append(time.perf_counter() - begun)
    return taken


def main() -> None:
    with (
        tempfile.TemporaryDirectory() as folder,
        own(Path(folder)) as home,
        start_embedded(home) as server,
        Database(server.url("galaxyloop")) as database,
    ):
        fill(database)
        with TestClient(create_app(SETTINGS, database.url)) as client:
            client.post("/sign-in", data={"name": "Vera", "password": "t"}, headers=ORIGIN)
            found = {path: seconds(client, path) for path in ("/status", "/status/1")}
    about = {"tasks": TASKS, "labels": LABELS}
    save(
        "status",
        [
            {"page": path, **about, "first_s": taken[0], "least_s": min(taken), "median_s": float(np.median(taken))}
            for path, taken in found.items()
        ],
    )


if __name__ == "__main__":
    main()
