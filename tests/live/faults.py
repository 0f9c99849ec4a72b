"""What goes wrong in a live campaign, and how one sees that nothing was lost or doubled."""

import os
import random
import signal
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import httpx

from backend_ml import signing
from backend_ml.demo.annotators import Submission
from backend_ml.label_studio.connection import LabelStudioError
from backend_ml.local import processes
from backend_ml.local import servers as local_servers
from backend_ml.local.label_studio import Admin, start_label_studio
from backend_ml.local.postgres import start_embedded
from backend_ml.local.processes import Process
from backend_ml.local.servers import Servers, start_backend, start_worker
from backend_ml.store.database import DatabaseError
from tests.backend_ml.conftest import CLASSES
from tests.live.campaigns import LiveCampaign, choice

Answer = tuple[int, str | None, int | None, bool]
"""Of an annotation: its task, the class, who gave it, and whether it was a skip."""


def kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def restart_worker(servers: Servers) -> None:
    servers.worker.stop()
    servers.worker = start_worker(servers.home, servers.environment)


def kill_worker(servers: Servers) -> None:
    kill(servers.worker.pid)
    restart_worker(servers)


def kill_backend(servers: Servers) -> None:
    kill(servers.backend.pid)
    servers.backend.stop()
    servers.backend = start_backend(servers.home, servers.environment)


def kill_label_studio(servers: Servers, away: float = 0) -> None:
    """Kill Label Studio; it is away for so many seconds."""
    port = int(servers.label_studio_server.url.rpartition(":")[2])
    kill(servers.label_studio_server.pid)
    servers.label_studio_server.stop()
    time.sleep(away)
    environment = servers.environment
    admin = Admin(
        local_servers.ADMIN, environment["GALAXYLOOP_TEAM_PASSWORD"], environment["GALAXYLOOP_LABEL_STUDIO_TOKEN"]
    )
    url = environment["GALAXYLOOP_LABEL_STUDIO_DATABASE_URL"]
    servers.label_studio_server = start_label_studio(servers.home, url, admin, port=port)


def kill_postgres(servers: Servers) -> None:
    kill(servers.postgres.pid)
    servers.postgres.stop()
    servers.postgres = start_embedded(servers.home)


class SecondWorker:
    """A worker beside the installation's own, that takes jobs from the same queue and is killed now and then."""

    def __init__(self, servers: Servers) -> None:
        self._servers = servers
        self._process: Process = self._start()

    def _start(self) -> Process:
        return start_worker(self._servers.home, self._servers.environment, "second-worker")

    def kill(self) -> None:
        kill(self._process.pid)
        self._process.stop()
        self._process = self._start()

    def __enter__(self) -> "SecondWorker":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.stop()


class Replay(threading.Thread):
    """Sends webhooks that the backend has had once more, in any order, and sometimes twice at the same moment.

    Parameters
    ----------
    live : LiveCampaign
    count : int
        How many are to be taken.
    seed : int
    """

    def __init__(self, live: LiveCampaign, count: int, seed: int) -> None:
        super().__init__(name="replay", daemon=True)
        self._live, self._count, self._draw = live, count, random.Random(seed)
        self.accepted = self.refused = 0
        self.ended = threading.Event()

    def run(self) -> None:
        """Send until so many are taken or `ended` is set."""
        settings = self._live.installation.settings
        headers = {signing.SECRET_HEADER: signing.webhook_secret(settings)}
        with httpx.Client(base_url=settings.backend_url, headers=headers, timeout=5) as client:
            while self.accepted < self._count and not self.ended.is_set():
                for body in self._recorded():
                    self._send(client, body)

    def _recorded(self) -> list[Any]:
        text = "SELECT body FROM inbox WHERE project_id = %s AND action LIKE 'ANNOTATION%%' ORDER BY random() LIMIT 40"
        try:
            with self._live.database.transaction() as connection:
                bodies = [row["body"] for row in connection.execute(text, [self._live.project]).fetchall()]
        except DatabaseError:
            bodies = []
        if not bodies:
            time.sleep(0.2)
        self._draw.shuffle(bodies)
        return bodies

    def _send(self, client: httpx.Client, body: Any) -> None:
        try:
            status = client.post("/webhook", json=body).status_code
        except httpx.TransportError:
            time.sleep(0.1)
            status = 0
        assert status in (0, 201, 503), status
        self.accepted += status == 201
        self.refused += status != 201


class Team:
    """Two people who label, think again, and take back, and try again when their page shows an error.

    Parameters
    ----------
    live : LiveCampaign
    count : int
        Labels to be given.
    seed : int
    """

    def __init__(self, live: LiveCampaign, count: int, seed: int) -> None:
        self._live, self._count, self._draw = live, count, random.Random(seed)
        self.given: list[Submission] = []
        self.taken_back: set[int] = set()
        self._thread = threading.Thread(target=self._label, name="team", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def wait(self, seconds: float) -> None:
        """Wait until all labels are given."""
        self._thread.join(seconds)
        assert len(self.given) >= self._count, f"{len(self.given)} of {self._count} labels after {seconds:.0f} s"

    def wait_for(self, count: int, seconds: float) -> None:
        """Wait until so many are."""
        processes.wait_until(lambda: len(self.given) >= count, seconds, what=f"{count} labels")

    def _label(self) -> None:
        team = self._live.team()
        while len(self.given) < self._count:
            try:
                self.given.extend(team.label(2))
                self._think_again()
            except LabelStudioError:
                time.sleep(0.5)

    def _think_again(self) -> None:
        if not self.given or self._draw.random() > 0.2:
            return
        annotation = self._draw.choice(self.given).annotation
        if annotation in self.taken_back:
            return
        if self._draw.random() < 0.7:
            self._live.admin.update_annotation(annotation, choice(self._draw.choice(CLASSES)))
        else:
            # noted first: the answer may be lost with the server that gave it
            self.taken_back.add(annotation)
            self._live.admin.delete_annotation(annotation)


def in_label_studio(live: LiveCampaign) -> dict[int, Answer]:
    """Every annotation as Label Studio exports it."""
    path = f"api/projects/{live.project}/export?exportType=JSON"
    found: dict[int, Answer] = {}
    for task in live.admin.call("GET", path):
        for one in task["annotations"]:
            labels = [region["value"]["choices"][0] for region in one["result"] if region["type"] == "choices"]
            said = labels[0] if labels and not one["was_cancelled"] else None
            found[one["id"]] = (task["id"], said, one["completed_by"], one["was_cancelled"])
    return found


def in_campaign(live: LiveCampaign) -> dict[int, Answer]:
    """Every annotation as the campaign knows it; each once."""
    text = "SELECT annotation_id, task_id, label, annotator, action FROM current_annotation WHERE campaign_id = %s"
    with live.database.transaction() as connection:
        rows = connection.execute(text, [live.campaign.id]).fetchall()
    found = {
        row["annotation_id"]: (row["task_id"], row["label"], row["annotator"], row["action"] == "skipped")
        for row in rows
    }
    assert len(found) == len(rows), "an annotation is counted twice"
    return found


def check_nothing_is_lost_or_doubled(live: LiveCampaign, team: Team) -> None:
    """Wait until the campaign and its queue are what Label Studio's annotations make them; say how they differ."""
    stored = in_label_studio(live)
    acknowledged = {one.annotation for one in team.given} - team.taken_back
    assert acknowledged <= set(stored), "Label Studio has lost what it acknowledged"
    # at the latest the next reconciliation finds what webhooks lost
    with suppress(processes.ProcessError):
        processes.wait_until(lambda: in_campaign(live) == stored, 120, what="every annotation to arrive")
    known = in_campaign(live)
    lost, doubled = set(stored) - set(known), set(known) - set(stored)
    other = {number: (known[number], stored[number]) for number in set(known) & set(stored)}
    other = {number: both for number, both in other.items() if both[0] != both[1]}
    assert (lost, doubled, other) == (set(), set(), {})
    processes.wait_until(lambda: is_caught_up(live), 120, what="the queue to be renewed")
    live.at_rest()
    check_queue(live, stored)


def check_queue(live: LiveCampaign, stored: dict[int, Answer]) -> None:
    """The served version is the newest, each task has one answer of it at most, and the next task has no label."""
    version = live.admin.project(live.project).model_version
    answers = [row.task for row in live.admin.predictions(live.project) if row.model_version == version]
    assert len(answers) == len(set(answers)), "a task has two answers of one version"
    labelled = {task for task, _, _, skipped in stored.values() if not skipped}
    assert labelled.isdisjoint(task.task_id for task in live.waiting())
    following = live.admin.next_task(live.project)
    assert following is None or following["id"] not in labelled
    # reconciliations are not tried again: the next one does it all
    text = """
        SELECT task_name FROM procrastinate_jobs
        WHERE status = 'failed' AND task_name NOT LIKE 'campaign:reconcile%%'
            AND (task_name = 'campaign:ingest' OR args ->> 'campaign_id' = %s)
    """
    with live.database.transaction() as connection:
        failed = connection.execute(text, [str(live.campaign.id)]).fetchall()
    inbox = live.database.rows("inbox_state", project=live.project)
    assert (failed, inbox) == ([], [{"waiting": 0, "failed": 0}])


def is_caught_up(live: LiveCampaign) -> bool:
    """Whether the newest label is learned, and its version is the one that Label Studio serves by."""
    refit = live.database.rows("last_run", campaign=live.campaign.id)[0]
    last = live.database.rows("last_event", campaign=live.campaign.id)[0]["id"]
    return bool(refit["last_event"] >= last and live.admin.project(live.project).model_version == refit["version"])


Strike = Callable[[Servers], None]


def strikes_at(draw: random.Random, strikes: Sequence[Strike], count: int, labels: int) -> list[tuple[int, Strike]]:
    """When which of some strikes falls: after so many labels, each at least once where there are enough."""
    moments = sorted(draw.sample(range(5, labels - 5), count))
    chosen = [*strikes[:count], *(draw.choice(strikes) for _ in range(count - len(strikes)))]
    draw.shuffle(chosen)
    return list(zip(moments, chosen, strict=True))
