"""Nobody's Submit is refused while the queue is renewed: two people label through many pushes."""

import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from backend_ml.label_studio.client import LabelStudio
from backend_ml.label_studio.connection import LabelStudioError
from backend_ml.labels import events
from backend_ml.local.servers import Servers as Installation
from backend_ml.queue import push as queue
from backend_ml.store import versions
from tests.installation import Servers
from tests.live.campaigns import LiveCampaign, live_campaign, ranking, resting, truth

pytestmark = [pytest.mark.live, pytest.mark.timeout(600)]

# where a push deleted predictions, 39 of 200 submits were refused (docs/why/campaign.md): none of 48 is by a chance of
# one in thirty thousand
PUSHES, MORE = 24, 100
TOP = 6
THINKING = 0.3  # seconds at most, so that people ask and submit at any moment of a push


@pytest.fixture
def live(
    installation: Installation, servers: Servers, tmp_path: Path, pusher: LabelStudio, pushes: int
) -> Iterator[LiveCampaign]:
    """A campaign that only the test pushes to; the worker rests."""
    name = f"submit {'database' if pusher.database_url else 'api'} {pushes}"
    with (
        resting(installation),
        live_campaign(installation, servers.annotator, tmp_path, name, n=2 * pushes + 40, labels=False) as made,
    ):
        yield made


def push(live: LiveCampaign, pusher: LabelStudio, number: int, top: int | None = TOP) -> str:
    """Take in the labels, and push the ranking under a new version, whose name this gives."""
    version = versions.version_name("coldstart", live.campaign.encoder, str(number).encode(), live.campaign.classes)
    with live.database.transaction() as connection:
        events.ingest(connection)
        counts = {"seed": number, "last_event": 0, "labels": 0, "audit_labels": 0, "metrics": {}, "revision": "test"}
        versions.add_version(
            connection, live.campaign, version=version, parent=None, encoder=live.campaign.encoder, **counts
        )
        versions.promote(connection, live.campaign, version, "created")
    store = live.installation.settings.store_folder
    assert queue.push(live.database, pusher, live.campaign, store=store, top=top)
    return version


@dataclass
class Person:
    """Somebody who labels as the browser does: the prediction that was shown is the annotation's parent."""

    client: LabelStudio
    live: LiveCampaign
    turns: threading.Semaphore
    given: list[int] = field(default_factory=list)
    parents: list[int] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)

    def label(self, ended: threading.Event) -> None:
        """Label a task whenever it is one's turn; a refused Submit is noted, and the task asked for again."""
        chance = random.Random(id(self))
        while not ended.is_set():
            task = self.client.next_task(self.live.project)
            if task is None:
                continue  # what was pushed is labelled or held: the next push brings more
            while not self.turns.acquire(timeout=0.1):
                if ended.is_set():
                    return
            time.sleep(chance.uniform(0, THINKING))
            value = {"choices": [truth("", task["data"]["stamp_id"])]}
            region = {"from_name": "morphology", "to_name": "image", "type": "choices", "value": value}
            parent = task["predictions"][0]["id"] if task["predictions"] else None
            try:
                self.client.submit(task["id"], [region], 1.0, parent_prediction=parent)
            except LabelStudioError as error:
                self.refused.append(str(error))
            else:
                self.given.append(task["id"])
                self.parents += [parent] if parent else []


@pytest.mark.parametrize("pushes", [PUSHES, pytest.param(MORE, marks=pytest.mark.soak)])
def test_no_submit_is_refused_during_many_pushes(live: LiveCampaign, pusher: LabelStudio, pushes: int) -> None:
    turns, ended = threading.Semaphore(0), threading.Event()
    people = [Person(client, live, turns) for client in (live.admin, live.colleague)]
    threads = [threading.Thread(target=person.label, args=(ended,)) for person in people]
    before = {row.id for row in live.admin.predictions(live.project)}
    for thread in threads:
        thread.start()
    try:
        for number in range(pushes):
            turns.release(len(people))
            push(live, pusher, number)
    finally:
        ended.set()
        for thread in threads:
            thread.join()
    assert not [refusal for person in people for refusal in person.refused]
    assert all(person.given for person in people)
    version = push(live, pusher, pushes, top=None)
    rows = live.admin.predictions(live.project)
    shown = {parent for person in people for parent in person.parents}
    assert before | shown <= {row.id for row in rows}
    assert live.admin.project(live.project).model_version == version
    waiting = ranking(live)
    served = Counter(row.task for row in rows if row.model_version == version)
    assert {task: served[task] for task in waiting} == dict.fromkeys(waiting, 1)
    scores = {row.task: row.score for row in rows if row.model_version == version}
    assert sorted(waiting, key=lambda task: scores[task] or 0) == waiting
    counts = {task["id"]: task["total_predictions"] for task in live.admin.data_manager(live.project, [])}
    assert counts == Counter(row.task for row in rows)
