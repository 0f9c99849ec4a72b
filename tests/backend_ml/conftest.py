"""A campaign in a real database, without Label Studio."""

from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from psycopg.types.json import Jsonb

from backend_ml.store import versions
from backend_ml.store.campaigns import add_campaign
from backend_ml.store.database import Database, query, query_many
from backend_ml.store.records import Campaign
from lvm_training.stamps.rendering import Rendering
from tests.backend_ml.learned import begin_now, learn_now
from tests.backend_ml.lenses import AUDIT, OBJECTS, RENDERING, N, write_detector
from tests.backend_ml.sky import ENCODER, write_features, write_stamps

CLASSES = ("round smooth", "in-between smooth", "cigar-shaped smooth", "edge-on disc", "spiral")
PROJECT = 7
MORPHOLOGY: dict[str, Any] = {
    "kind": "morphology",
    "classes": CLASSES,
    "stamp_set": "sky",
    "encoder": ENCODER,
    "rendering": Rendering(),
    "policy": "margin",
    "audit_fraction": 0.1,
}
"""A campaign of choices over the stamps of `write_stamps`, as `add_campaign` takes it."""


@pytest.fixture
def store(tmp_path: Path, database: Database, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The store that commands find in their environment."""
    monkeypatch.setenv("GALAXYLOOP_DATABASE_URL", database.url)
    monkeypatch.setenv("GALAXYLOOP_STORE", str(tmp_path / "store"))
    return tmp_path / "store"


@pytest.fixture
def campaign(database: Database, tmp_path: Path) -> Campaign:
    """A campaign of project 7 with ten tasks, 101 to 110, on stamps 0 to 9; task 110 is of the audit slice.

    Stamp i is of class i % 5 as far as its features say.
    """
    stamps = write_stamps(tmp_path)
    features = write_features(stamps)
    with database.transaction() as connection:
        query(connection, "put_stamp_set", name="sky", path=str(stamps), digest="d", features=str(features))
        made = add_campaign(connection, **MORPHOLOGY, name="Test", project=PROJECT)
        values = {"campaign": made.id, "stamp_set": "sky"}
        tasks = [{**values, "task": 101 + i, "stamp_id": i, "audit": i == 9} for i in range(10)]
        query_many(connection, "put_task", tasks)
    return made


@pytest.fixture
def head(database: Database, campaign: Campaign) -> str:
    """The campaign's first head, fitted on five starting labels; its version."""
    with database.transaction() as connection:
        for i, label in enumerate(CLASSES):
            query(connection, "put_snapshot_label", campaign=campaign.id, stamp_set="sky", stamp_id=i, label=label)
    assert learn_now(database, campaign) == "promoted"
    with database.transaction() as connection:
        active = versions.active_version(connection, campaign)
    assert active is not None
    return active.version


@pytest.fixture
def lenses(database: Database, tmp_path: Path) -> Campaign:
    """A campaign of lenses: task 100 + i shows stamp i; the last 32 of the 46 are of the audit slice."""
    stamps = write_stamps(tmp_path, N)
    with database.transaction() as connection:
        query(connection, "put_stamp_set", name="sky", path=str(stamps), digest="d", features="")
        made = add_campaign(
            connection,
            name="Lenses",
            project=PROJECT,
            kind="lenses",
            classes=OBJECTS,
            stamp_set="sky",
            encoder=ENCODER,
            rendering=RENDERING,
            policy="box-margin",
            audit_fraction=0.7,
        )
        task = {"campaign": made.id, "stamp_set": "sky"}
        tasks = [{**task, "task": 100 + i, "stamp_id": i, "audit": i >= N - AUDIT} for i in range(N)]
        query_many(connection, "put_task", tasks)
    begin_now(database, made, write_detector(tmp_path / "made"), tmp_path / "store")
    return made


class Annotating:
    """Annotations as webhooks leave them."""

    def __init__(self, database: Database, campaign: Campaign) -> None:
        self._database, self._campaign, self._number = database, campaign, 0

    def __call__(
        self,
        task: int,
        label: str | None,
        annotator: int | None,
        at: datetime,
        *,
        origin: str | None = None,
        seconds: float | None = None,
    ) -> None:
        """An annotation of a task; a skip where there is no label."""
        self._number += 1
        region: dict[str, Any] = {"type": "choices", "value": {"choices": [label]}}
        result = [] if label is None else [region | ({} if origin is None else {"origin": origin})]
        self._database.rows(
            "put_annotation_event",
            campaign=self._campaign.id,
            action="skipped" if label is None else "labelled",
            task=task,
            annotation=self._number,
            label=label,
            annotator=annotator,
            result=Jsonb(result),
            parent_prediction=None if origin is None else 1,
            lead_time=seconds,
            source="webhook",
            happened_at=at,
        )


@pytest.fixture
def annotate(database: Database, campaign: Campaign) -> Annotating:
    """Lets people annotate the campaign's tasks."""
    return Annotating(database, campaign)
