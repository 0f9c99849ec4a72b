"""Tasks that people import and delete themselves, as a reconciliation finds them."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np

from backend_ml.adoption.imported import SOURCE, take_in
from backend_ml.label_studio.client import LabelStudio
from backend_ml.local import processes
from backend_ml.queue import refill
from backend_ml.store.database import Database
from backend_ml.store.records import Campaign
from tests.backend_ml.adoption.test_tasks import Listing
from tests.backend_ml.current_labels import waiting
from tests.backend_ml.sky import ENCODER, write_features, write_stamps


@dataclass
class Counted:
    """A project as far as its number of tasks goes."""

    tasks: int


class Project(Listing):
    """One with tasks, which counts how often all are listed."""

    def __init__(self, *tasks: dict[str, Any]) -> None:
        super().__init__(*tasks)
        self.listings = 0

    def project(self, _: int) -> Counted:
        return Counted(len(self.all()))

    def all(self) -> list[dict[str, Any]]:
        return list(super().data_manager())

    def data_manager(self, *_: object, **__: object) -> Any:
        self.listings += 1
        return iter(self.all())


def tasks(*numbers: int) -> list[dict[str, Any]]:
    return [{"id": number, "data": {"image": f"http://elsewhere.org/{number}.png"}} for number in numbers]


def noted(database: Database, campaign: Campaign) -> str:
    told = {row["source"]: row["text"] for row in database.rows("notices", campaign=campaign.id)}
    return str(told.get(SOURCE, ""))[:20]


def taken(database: Database, campaign: Campaign, project: Project) -> bool:
    return take_in(database, cast(LabelStudio, project), campaign)


def test_tasks_that_were_deleted_unheard_are_left_out(database: Database, campaign: Campaign) -> None:
    project = Project(*tasks(*range(101, 111)))
    assert not taken(database, campaign, project) and project.listings == 0
    project = Project(*tasks(*range(103, 111), 201))
    assert taken(database, campaign, project)
    assert waiting(database, campaign) == set(range(103, 111))
    assert noted(database, campaign) == "One task was importe"
    assert not taken(database, campaign, project) and project.listings == 1, "told once"
    project = Project(*tasks(*range(103, 111)))
    assert not taken(database, campaign, project)
    assert noted(database, campaign) == ""


def test_as_many_deleted_as_imported_are_found_where_some_were_noted(database: Database, campaign: Campaign) -> None:
    assert not taken(database, campaign, Project(*tasks(*range(101, 111), 201, 202)))
    assert taken(database, campaign, Project(*tasks(*range(102, 111), 201, 202)))
    assert 101 not in waiting(database, campaign)
    assert noted(database, campaign) == "2 tasks were importe"


def test_a_stamp_without_features_of_the_encoder_is_told_of_and_not_taken(
    database: Database, campaign: Campaign, tmp_path: Path
) -> None:
    """No head could answer it, and the queue could not be ranked any more."""
    stamps = write_stamps(tmp_path, 4, "late")
    features = write_features(stamps)
    database.rows("put_stamp_set", name="late", path=str(stamps), digest="l", features=str(features))
    origin = features.with_suffix(".json")
    own = origin.read_text()
    shown = [{"id": 201 + row, "data": {"stamp_set": "late", "stamp_id": row}} for row in range(4)]
    project = Project(*tasks(*range(101, 111)), *shown)
    origin.write_text(own.replace(ENCODER, "f" * 12))
    former = replace(campaign, encoder="f" * 12)
    assert not taken(database, former, project) and noted(database, campaign) == "", "it has another encoder by now"
    assert not taken(database, campaign, project)
    assert waiting(database, campaign) == set(range(101, 111))
    assert noted(database, campaign) == "4 tasks were importe"
    origin.write_text(own)
    project = Project(*tasks(*range(101, 111), 301), *shown)
    assert taken(database, campaign, project)
    assert waiting(database, campaign) == {*range(101, 111), *range(201, 205)}
    assert noted(database, campaign) == "One task was importe"


def test_tasks_of_a_campaign_over_a_pool_are_taken_in_too_while_nobody_fills_it(
    database: Database, campaign: Campaign
) -> None:
    with database.transaction() as connection:
        refill.put_pool(connection, campaign, np.arange(10), 10, 5, 2)
        pool = refill.find_pool(connection, campaign)
    assert pool is not None
    (blind,) = pool.audit(campaign).tolist()
    shown = [{"id": 201 + row, "data": {"stamp_set": "sky", "stamp_id": row}} for row in range(10)]
    project = Project(*tasks(*range(101, 111)), *shown)
    with database.sole("try_lock_queue", campaign=campaign.id):
        assert not take_in(database, cast(LabelStudio, project), campaign, wait=False)
        assert waiting(database, campaign) == set(range(101, 111)), "a refill may be about to note them"
    # the server lets go of the lock a moment after whoever had it is gone
    processes.wait_until(
        lambda: take_in(database, cast(LabelStudio, project), campaign, wait=False), 30, what="the lock to be free"
    )
    with database.transaction() as connection:
        audited = connection.execute("SELECT task_id FROM task WHERE task_id > 200 AND audit").fetchall()
    assert waiting(database, campaign) == {*range(101, 111), *range(201, 211)}
    assert [row["task_id"] for row in audited] == [201 + blind]
    assert noted(database, campaign) == "" and not taken(database, campaign, project)
