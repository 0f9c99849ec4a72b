"""A search of the search page, sent to the real Label Studio and labelled from both sides."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from backend_ml.label_studio.client import LabelStudio
from backend_ml.local import processes
from backend_ml.local.servers import Servers as Installation
from backend_ml.search import searches
from backend_ml.store.database import Database, query
from lvm_training.model.encoder import Encoder
from lvm_training.pool.embedding import embed_set, features_path
from lvm_training.stamps.stampset import StampSet
from tests.backend_ml.current_labels import labels_of
from tests.backend_ml.sky import write_stamps
from tests.installation import Servers
from tests.live.campaigns import encoder

pytestmark = pytest.mark.live

CHOICES = [{"id": "c", "from_name": "interest", "to_name": "image", "type": "choices", "value": {"choices": ["no"]}}]


@pytest.fixture
def page(installation: Installation, tmp_path: Path) -> Iterator[httpx.Client]:
    """The search page of the installation over forty blobs, with nobody signed in."""
    stamps = write_stamps(tmp_path, 40, "searched")
    model = Encoder.load(encoder(tmp_path / "encoder"), 1)
    with StampSet(stamps) as opened, installation.database() as database:
        embed_set(opened, model, tmp_path)
        features = features_path(opened, model, tmp_path)
        values = {"path": str(stamps), "digest": opened.digest, "features": str(features)}
        database.rows("put_stamp_set", name="searched", **values)
    url = installation.environment["GALAXYLOOP_PUBLIC_URL"]
    with httpx.Client(base_url=f"{url}/explore/api", headers={"Origin": url}, timeout=60) as client:
        yield client


def sign_in(page: httpx.Client, person: LabelStudio) -> str:
    answer = page.post("/session", json={"token": person.token})
    assert answer.status_code == 200, answer.text
    page.headers["X-CSRF-Token"] = answer.json()["csrf"]
    return str(answer.json()["person"])


def test_a_search_goes_to_label_studio_and_labels_flow_both_ways(
    page: httpx.Client, installation: Installation, servers: Servers
) -> None:
    assert page.post("/session", json={"token": "f" * 40}).json()["code"] == "signed_out"
    assert "@" in sign_in(page, servers.annotator)
    begun = page.post("/searches", json={"name": "Blobs", "stamp_set": "searched", "examples": "3 8 13"}).json()
    search = f"/searches/{begun['id']}"
    page.post(f"{search}/labels", json={"stamp_id": 4, "label": "unsure"})
    sent = page.post(f"{search}/send", json={"top": 6})
    assert sent.status_code == 201, sent.text
    project = sent.json()["project"]
    try:
        with installation.database() as database:
            check_labels(page, search, project, servers, database)
    finally:
        servers.admin.delete_project(project)


def check_labels(page: httpx.Client, search: str, project: int, servers: Servers, database: Database) -> None:
    number = int(search.rpartition("/")[2])
    tasks = {task["data"]["stamp_id"]: task for task in servers.admin.data_manager(project, [], fields="all")}
    assert len(tasks) == 7 and 4 in tasks and not {3, 8, 13} & set(tasks)
    assert servers.admin.project(project).model_version.startswith("interest-")
    written, labelled = sorted(set(tasks) - {4})[:2]
    page.post(f"{search}/labels", json={"stamp_id": written, "label": "yes"}).raise_for_status()
    me = servers.annotator.me()

    def annotations(stamp: int) -> list[tuple[int, str]]:
        found = servers.admin.data_manager(project, [], fields="all")
        (task,) = [task for task in found if task["data"]["stamp_id"] == stamp]
        return [(one["completed_by"], one["result"][0]["value"]["choices"][0]) for one in task["annotations"]]

    assert annotations(written) == [(me, "yes")]
    page.post(f"{search}/labels", json={"stamp_id": written, "label": "no"}).raise_for_status()
    assert annotations(written) == [(me, "no")]
    servers.admin.submit(tasks[labelled]["id"], CHOICES, 1.0)

    def labels() -> dict[int, str]:
        return labels_of(database, number)

    processes.wait_until(lambda: labels().get(labelled) == "no", 30, what="the label to flow back")
    assert labels()[written] == "no"
    with database.transaction() as connection:
        found = searches.find(connection, number)
        votes = [row for row in query(connection, "votes", campaign=found.id) if row["stamp_id"] == written]
    assert [(row["annotator"], row["label"]) for row in votes] == [(me, "no")]
    assert page.post(f"{search}/undo").json()["stamp_id"] == written
    assert annotations(written) == [] and written not in labels()
    assert labels()[labelled] == "no"
