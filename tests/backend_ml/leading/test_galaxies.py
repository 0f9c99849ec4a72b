"""Galaxies join a campaign that runs, each once; Label Studio's part is in tests/live."""

import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backend_ml.kinds.kind import Report
from backend_ml.label_studio.client import LabelStudio, Project
from backend_ml.label_studio.connection import LabelStudioError
from backend_ml.leading import galaxies
from backend_ml.leading.galaxies import add_galaxies
from backend_ml.leading.leader import Leader
from backend_ml.learning import encoders
from backend_ml.learning.learn import learn, stores_of
from backend_ml.learning.learn import silent as reportless
from backend_ml.queue import push, refill
from backend_ml.queue.tasks import audit_slice
from backend_ml.settings import Settings
from backend_ml.store.database import Database
from backend_ml.store.features import FeatureStore
from backend_ml.store.records import Campaign, CampaignError
from lvm_training.errors import StampError
from lvm_training.heads.beside import ColumnError
from lvm_training.progress import Progress
from lvm_training.stamps.stampset import LEGACY_PIXEL_SCALE, StampSet, StampWriter
from tests.backend_ml.leading.test_running import jobs
from tests.backend_ml.sky import write_stamps
from tests.backend_ml.whole import N, label, stored, write_campaign, write_encoder
from tests.live.campaigns import silent

FIRST = 1000  # id of the first task that is added


class Imports(LabelStudio):
    """A Label Studio that keeps the tasks it is given, and may be killed behind that."""

    def __init__(self) -> None:
        super().__init__("http://localhost:1", "token")
        self.tasks: list[dict[str, Any]] = []
        self.ids = itertools.count(FIRST)
        self.gone = False

    def project(self, project: int) -> Project:
        if self.gone:
            raise LabelStudioError("Not found.", status=404)
        return Project(project, "", "", "", None, 0, 0)  # type: ignore[arg-type]

    def import_tasks(self, project: int, tasks: Sequence[dict[str, Any]], on_progress: Any = None) -> list[int]:
        made = [{**task, "id": next(self.ids)} for task in tasks]
        self.tasks += made
        return [task["id"] for task in made]

    def data_manager(self, project: int, conditions: Any, size: int = 0, **params: Any) -> Iterator[dict[str, Any]]:
        (condition,) = conditions
        yield from (task for task in self.tasks if task["id"] > condition["value"])

    def shown(self) -> list[tuple[str, int]]:
        return [(task["data"]["stamp_set"], task["data"]["stamp_id"]) for task in self.tasks]


@pytest.fixture
def campaign(database: Database, tmp_path: Path) -> Campaign:
    """Sixty tasks of the set `sky`, an encoder, and no label."""
    return write_campaign(database, tmp_path, tmp_path / "store")


@pytest.fixture
def leader(database: Database, tmp_path: Path) -> Leader:
    """Somebody who adds galaxies."""
    settings = Settings.model_validate({"store": tmp_path / "store", "secret": "hush"})
    return Leader(settings, database, Imports(), "vera")


def project_of(leader: Leader) -> Imports:
    assert isinstance(leader.label_studio, Imports)
    return leader.label_studio


def write(path: Path, ra: Sequence[float], dec: Sequence[float], **attributes: Any) -> Path:
    """A set of noise at some positions."""
    kind = "u1" if attributes.get("rendering") == "as-delivered" else "<f4"
    writer = StampWriter(path, (40, 40), **attributes)
    pixels = np.random.default_rng(len(ra)).integers(0, 9, (len(ra), 3, 40, 40)).astype(kind)
    writer.append(pixels, {"ra": np.array(ra), "dec": np.array(dec)})
    return writer.finish()


def add(leader: Leader, campaign: Campaign, path: Path, rows: Sequence[int] | None = None) -> dict[str, Any]:
    with StampSet(path) as stamps:
        chosen = range(len(stamps)) if rows is None else rows
    return add_galaxies(leader, campaign, path, chosen, silent)


def test_a_further_set_becomes_tasks_each_galaxy_once(
    database: Database, campaign: Campaign, leader: Leader, tmp_path: Path
) -> None:
    """Rows 0 and 1 lie on stamps 3 and 4 of `sky`, row 5 on row 4, within an arcsec; row 6 just outside."""
    second = 1 / 3600
    ra = [150.03, 150.04, 10, 20, 30, 30, 30, 40, 50, 60, 70, 80]
    dec = [-1.53 + 0.5 * second, -1.54, 0, 0, 0, 0.9 * second, 2.5 * second, 0, 0, 0, 0, 0]
    path = write(tmp_path / "more.h5", ra, dec)
    said = add(leader, campaign, path)
    assert said == {"added": 9, "there_already": 3, "as": "tasks"}
    assert project_of(leader).shown() == [("more", row) for row in (2, 3, 4, 6, 7, 8, 9, 10, 11)]
    with database.transaction() as connection:
        waiting = push.waiting_tasks(connection, campaign)
    new = [task for task in waiting if task.stamp_set == "more"]
    assert len(waiting) == N + 9 and [task.task_id for task in new] == list(range(FIRST, FIRST + 9))
    assert sum(task.audit for task in new) == round(9 * campaign.audit_fraction)
    blind = {row for row, task in zip((2, 3, 4, 6, 7, 8, 9, 10, 11), new, strict=True) if task.audit}
    shown = {task["data"]["stamp_id"] for task in project_of(leader).tasks if task["data"]["audit"]}
    assert shown == blind
    assert jobs(database) == ["campaign:push"]
    # again, and others of the same set
    assert add(leader, campaign, path) == {"added": 0, "there_already": 12, "as": "tasks"}
    assert len(project_of(leader).tasks) == 9
    (change,) = database.rows("changes", campaign=campaign.id)
    assert change["details"] == {"stamp_set": "more", "galaxies": 9}
    assert {row["stamp_set"] for row in database.rows("campaign_sets", campaign=campaign.id)} == {"sky", "more"}


def test_what_is_added_is_ranked_with_the_rest(
    database: Database, campaign: Campaign, leader: Leader, tmp_path: Path
) -> None:
    add(leader, campaign, write(tmp_path / "more.h5", range(10, 30), [0] * 20))
    with database.transaction() as connection:
        tasks = push.waiting_tasks(connection, campaign)
        features = push.FeatureStore.from_database(connection, campaign.encoder)
        labelled = push.labelled_stamps(connection, campaign, features)
    ranking = push.rank_tasks(campaign, tasks, None, features, labelled, 0)
    assert len(ranking.places) == N + 20
    top = [ranking.tasks[place.index].stamp_set for place in ranking.places[: (N + 20) // 2]]
    assert {"sky", "more"} == set(top)


def test_a_try_that_was_killed_is_finished_by_another(
    database: Database, campaign: Campaign, leader: Leader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "more.h5", range(10, 30), [0] * 20)
    with monkeypatch.context() as broken:
        broken.setattr(galaxies, "remember_tasks", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            add(leader, campaign, path)
    assert len(project_of(leader).tasks) == 20
    project_of(leader).tasks.pop()  # as if it had been killed within the import
    assert add(leader, campaign, path)["added"] == 20
    assert sorted(project_of(leader).shown()) == [("more", row) for row in range(20)]
    audit = [row["stamp_id"] for row in database.rows("catalogue_tasks", campaign=campaign.id)
             if row["stamp_set"] == "more" and row["audit"]]  # fmt: skip
    assert sorted(audit) == sorted(audit_slice(np.arange(20), 0.5, campaign.seed, 1).tolist())


def test_a_set_that_has_grown_keeps_its_rows(
    database: Database, campaign: Campaign, leader: Leader, tmp_path: Path
) -> None:
    before = database.rows("stamp_sets")
    path = write_stamps(tmp_path, N + 10)
    assert add(leader, campaign, path) == {"added": 10, "there_already": N, "as": "tasks"}
    assert project_of(leader).shown() == [("sky", row) for row in range(N, N + 10)]
    (after,) = database.rows("stamp_sets")
    assert after["digest"] != before[0]["digest"] and after["features"] != before[0]["features"]
    features = push.FeatureStore({"sky": after["features"]}, campaign.encoder)
    assert features.rows([("sky", N + 9)]).shape[0] == 1
    # another one under its name, and a shorter one
    for other in (write(tmp_path / "sky.h5", range(N + 20), [0] * (N + 20)), write_stamps(tmp_path, 30)):
        with pytest.raises(StampError, match="'sky' is in use already"):
            add(leader, campaign, other)
    assert database.rows("stamp_sets") == [after]


def test_a_set_that_another_campaign_reads_otherwise_does_not_grow(
    database: Database, campaign: Campaign, leader: Leader, tmp_path: Path
) -> None:
    with database.transaction() as connection:
        connection.execute(
            "INSERT INTO campaign (name, kind, classes, stamp_set, encoder, rendering, policy, audit_fraction, seed,"
            " overlap, consensus) SELECT 'Other', kind, classes, stamp_set, 'another', rendering, policy, 0, 0, 1,"
            " consensus FROM campaign WHERE id = %s",
            (campaign.id,),
        )
    with pytest.raises(StampError, match="another encoder in Other"):
        add(leader, campaign, write_stamps(tmp_path, N + 10))


def test_a_pool_grows_and_what_was_drawn_for_the_audit_stays_drawn(
    database: Database, campaign: Campaign, leader: Leader, tmp_path: Path
) -> None:
    with database.transaction() as connection:
        connection.execute("DELETE FROM task WHERE stamp_id >= 5")
        refill.put_pool(connection, campaign, np.arange(40), N, 5, 2)
        before = refill.find_pool(connection, campaign)
        connection.execute("UPDATE pool SET exhausted = true")
    assert before is not None
    path = write_stamps(tmp_path, N + 10)
    assert add(leader, campaign, path, range(30, N + 10)) == {"added": N - 30, "there_already": 10, "as": "pool"}
    with database.transaction() as connection:
        pool = refill.find_pool(connection, campaign)
    assert pool is not None and list(pool.rows) == list(range(N + 10)) and not pool.exhausted
    audit, drawn = pool.audit(campaign).tolist(), before.audit(campaign).tolist()
    assert audit[: len(drawn)] == drawn and len(set(audit)) == len(audit) == (N + 10) // 2
    assert set(audit[len(drawn) :]) <= set(range(40, N + 10))
    assert project_of(leader).tasks == [] and jobs(database) == ["campaign:push"]
    # a further set of such a campaign
    assert add(leader, campaign, write(tmp_path / "more.h5", [10, 20], [0, 0]))["as"] == "tasks"


@pytest.fixture
def newer(database: Database, campaign: Campaign, tmp_path: Path) -> str:
    """Another encoder in the store, for a campaign that has labels and a head."""
    label(database, campaign, range(20))
    assert learn(database, stores_of(database, campaign, tmp_path / "store")) == "promoted"
    return stored(tmp_path / "store", write_encoder(tmp_path / "newer", seed=8))


def change(database: Database, campaign: Campaign, store: Path, encoder: str, report: Report = reportless) -> None:
    stores = stores_of(database, campaign, store)
    assert encoders.change(database, stores, encoder, report, pytest.fail) == "promoted"


def rows_of(database: Database, stamp_set: str, encoder: str) -> int:
    """Of how many rows there are features."""
    with database.transaction() as connection:
        return len(FeatureStore.from_database(connection, encoder).shard(stamp_set).matrix)


@pytest.mark.parametrize("phase", ["embedding sky", "fitting"])
@pytest.mark.parametrize("grown", [False, True], ids=["another set", "a grown set"])
def test_what_is_added_while_the_encoder_changes_has_features_of_the_new_one(
    database: Database, campaign: Campaign, leader: Leader, tmp_path: Path, newer: str, phase: str, grown: bool
) -> None:
    met: list[int] = []

    def meanwhile(at: str, done: int, total: int) -> None:
        if at == phase and not met:
            path = write_stamps(tmp_path, N + 10) if grown else write(tmp_path / "more.h5", range(10, 20), [0] * 10)
            met.append(add(leader, campaign, path)["added"])

    change(database, campaign, tmp_path / "store", newer, meanwhile)
    assert met == [10]
    assert (rows_of(database, "sky", newer) if grown else N + rows_of(database, "more", newer)) == N + 10


def test_an_encoder_serves_though_what_was_added_meanwhile_cannot_be_embedded(
    database: Database, campaign: Campaign, leader: Leader, tmp_path: Path, newer: str
) -> None:
    path = tmp_path / "more.h5"

    def meanwhile(at: str, done: int, total: int) -> None:
        if at == "fitting" and not path.exists():
            add(leader, campaign, write(path, range(10, 20), [0] * 10))
            path.write_text("no stamps")

    change(database, campaign, tmp_path / "store", newer, meanwhile)
    (notice,) = database.rows("notices", campaign=campaign.id)
    assert notice["source"] == "features" and "have no features" in notice["text"] and "more" in notice["text"]
    assert rows_of(database, "sky", newer) == N


def test_what_is_added_has_features_of_an_encoder_that_the_campaign_got_meanwhile(
    database: Database, campaign: Campaign, leader: Leader, tmp_path: Path, newer: str
) -> None:
    @contextmanager
    def steps(title: str) -> Iterator[Progress]:
        if title == "Importing tasks":
            change(database, campaign, tmp_path / "store", newer)
        yield lambda done, total: None

    path = write(tmp_path / "more.h5", range(10, 20), [0] * 10)
    assert add_galaxies(leader, campaign, path, range(10), steps)["added"] == 10
    assert rows_of(database, "more", newer) == 10 and jobs(database) == ["campaign:push"]


@pytest.mark.parametrize(
    ("attributes", "words"),
    [
        ({"rendering": "as-delivered"}, "pixels as-delivered, sky nanomaggies"),
        ({"pixel_scale": np.nan}, "pixel scale of other is not known"),
    ],
)
def test_pictures_of_another_make_are_refused(
    database: Database, campaign: Campaign, leader: Leader, tmp_path: Path, attributes: dict[str, Any], words: str
) -> None:
    path = write(tmp_path / "other.h5", [10, 20], [0, 0], **attributes)
    with pytest.raises(CampaignError, match=words):
        add(leader, campaign, path)
    assert [row["name"] for row in database.rows("stamp_sets")] == ["sky"] and project_of(leader).tasks == []


def test_a_set_without_the_columns_that_heads_read_is_refused(
    database: Database, campaign: Campaign, leader: Leader, tmp_path: Path
) -> None:
    with database.transaction() as connection:
        connection.execute("UPDATE campaign SET columns = '{dec,mag_r}'")
    path = write(tmp_path / "other.h5", [10, 20], [0, 0])
    with pytest.raises(ColumnError, match="other has no column 'mag_r'"):
        add(leader, campaign, path)
    assert [row["name"] for row in database.rows("stamp_sets")] == ["sky"] and project_of(leader).tasks == []


def test_another_known_scale_is_resampled(campaign: Campaign, leader: Leader, tmp_path: Path) -> None:
    path = write(tmp_path / "finer.h5", [10, 20], [0, 0], pixel_scale=LEGACY_PIXEL_SCALE * 1.5)
    assert add(leader, campaign, path)["added"] == 2


def test_where_nothing_can_be_added(database: Database, campaign: Campaign, leader: Leader, tmp_path: Path) -> None:
    path = write(tmp_path / "more.h5", [10], [0])
    with pytest.raises(StampError, match="no stamp set"):
        add_galaxies(leader, campaign, tmp_path / "none.h5", [0], silent)
    project_of(leader).gone = True
    with pytest.raises(CampaignError, match="is gone from Label Studio"):
        add(leader, campaign, path)
    database.rows("close_campaign", campaign=campaign.id)
    with pytest.raises(CampaignError, match="is closed"):
        add(leader, campaign, path)
