"""Claims: fifty annotators who submit during refits wait no longer for it that there is a backend, and it stays prompt.

`submit`: real Label Studio, fifty threads who submit at once, with the webhook and, alternating, without (the
anchor, whose ratio is 1); meanwhile `/health`, `/setup` and `/webhook` are asked ten times a second, as a fifty-first
person would have them asked. `visible`: seconds until Label Studio shows a new version's prediction of every task, over
its database and over its API; the anchor is the import of as many predictions in bulk, which is what a first queue is.

    python -m benchmarks.bench_load [--people 50] [--labels 200] [--rounds 2] [--tasks 6000]
"""

import argparse
import itertools
import json
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np

from backend_ml import signing
from backend_ml.campaign.plan import CampaignPlan
from backend_ml.kinds.installed import find_kind
from backend_ml.label_studio.client import LabelStudio
from backend_ml.label_studio.predictions import PredictionRow
from backend_ml.local import servers as local_servers
from backend_ml.local.processes import free_port
from backend_ml.queue import push as queue
from backend_ml.store import versions
from benchmarks.bench_queue import write_pool
from benchmarks.report import Row, save
from lvm_training.heads.snapshot import Snapshot
from lvm_training.model.encoder import Encoder
from tests.installation import quiet
from tests.live.campaigns import LiveCampaign, choice, created, encoder, live_campaign, truth

PAUSE = 0.1  # seconds between two questions of a probe
CONTRACT = Path(__file__).parent.parent / "tests" / "contract"


@dataclass
class Probes:
    """Milliseconds of questions that are asked again and again while something else goes on."""

    asks: dict[str, Callable[[], object]]
    times: dict[str, list[float]] = field(default_factory=dict)

    @contextmanager
    def asking(self) -> Iterator[None]:
        """Ask each from a thread of its own."""
        ended = threading.Event()

        def ask(name: str) -> None:
            while not ended.wait(PAUSE):
                started = time.perf_counter()
                self.asks[name]()
                self.times.setdefault(name, []).append(1000 * (time.perf_counter() - started))

        threads = [threading.Thread(target=ask, args=(name,)) for name in self.asks]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            ended.set()
            for thread in threads:
                thread.join()


def percentiles(times: list[float]) -> dict[str, float]:
    """Median and 99th percentile."""
    return {"p50_ms": float(np.median(times)), "p99_ms": float(np.percentile(times, 99)), "n": float(len(times))}


def probes(live: LiveCampaign, client: httpx.Client) -> Probes:
    """What the backend is asked while fifty submit."""
    settings = live.installation.settings
    basic = httpx.BasicAuth(settings.backend_user, settings.backend_password.get_secret_value())
    secret = {signing.SECRET_HEADER: signing.webhook_secret(settings)}
    setup = json.loads((CONTRACT / "setup.json").read_text())
    setup |= {"project": f"{live.project}.0", "schema": find_kind("morphology").label_config()}
    event = json.loads((CONTRACT / "project_updated.json").read_text())
    event["project"]["id"] = live.project
    return Probes(
        {
            "GET /health": lambda: client.get("/health", auth=basic).raise_for_status(),
            "POST /setup": lambda: client.post("/setup", json=setup, auth=basic).raise_for_status(),
            "POST /webhook": lambda: client.post("/webhook", json=event, headers=secret).raise_for_status(),
        }
    )


def submitted(live: LiveCampaign, tasks: list[int], people: int) -> list[float]:
    """Milliseconds of each submission, by so many people at once; each has tasks of their own."""
    clients = itertools.cycle([live.admin, live.colleague])

    def label(share: list[int], client: LabelStudio) -> list[float]:
        times = []
        for task in share:
            started = time.perf_counter()
            client.submit(task, choice(truth("", task)))
            times.append(1000 * (time.perf_counter() - started))
        return times

    shares = [tasks[person::people] for person in range(people)]
    with ThreadPoolExecutor(people) as pool:
        done = list(pool.map(label, shares, clients))
    return [one for times in done for one in times]


def submit_rows(live: LiveCampaign, people: int, labels: int, rounds: int) -> list[Row]:
    """Submissions with and without the webhook, alternating, and the probes meanwhile."""
    (webhook,) = live.admin.webhooks(live.project)
    tasks = [task.task_id for task in live.waiting()]
    times: dict[bool, list[float]] = {True: [], False: []}
    with httpx.Client(base_url=live.installation.settings.backend_url, timeout=30) as client:
        asked = probes(live, client)
        for number, active in enumerate([True, False] * rounds):
            live.admin.call("PATCH", f"api/webhooks/{webhook.id}/", {"is_active": active})
            share = tasks[number * labels : (number + 1) * labels]
            if active:
                with asked.asking():
                    times[active] += submitted(live, share, people)
            else:
                times[active] += submitted(live, share, people)
    anchor = float(np.median(times[False]))
    rows: list[Row] = [
        {"what": f"submit, {people} people, no webhook (anchor)", **percentiles(times[False]), "ratio": 1.0}
    ]
    rows.append({"what": f"submit, {people} people", **percentiles(times[True])})
    rows[-1]["ratio"] = float(np.median(times[True])) / anchor
    return rows + [{"what": f"{name} meanwhile", **percentiles(found)} for name, found in asked.times.items()]


def new_version(live: LiveCampaign, number: int) -> str:
    """A version of the campaign that nothing was pushed under."""
    name = versions.version_name("coldstart", live.campaign.encoder, str(number).encode(), live.campaign.classes)
    counts = {"seed": number, "last_event": 0, "labels": 0, "audit_labels": 0, "metrics": {}, "revision": "bench"}
    with live.database.transaction() as connection:
        versions.add_version(
            connection, live.campaign, version=name, parent=None, encoder=live.campaign.encoder, **counts
        )
        versions.promote(connection, live.campaign, name, "created")
    return name


def visible_rows(live: LiveCampaign) -> list[Row]:
    """Seconds until every task shows a new version's prediction."""
    settings, tasks = live.installation.settings, [task.task_id for task in live.waiting()]
    rows: list[Row] = []
    result = choice("spiral")
    started = time.perf_counter()
    live.admin.import_predictions(live.project, [PredictionRow(task, "bulk", 0.5, result) for task in tasks])
    anchor = time.perf_counter() - started
    rows.append({"what": f"import of {len(tasks)} predictions in bulk (anchor)", "seconds": anchor, "ratio": 1.0})
    for number, (way, url) in enumerate([("database", live.admin.database_url), ("API", "")]):
        name = new_version(live, number)
        with LabelStudio(live.admin.url, live.admin.token, database_url=url) as pusher:
            started = time.perf_counter()
            queue.push(live.database, pusher, live.campaign, store=settings.store_folder, top=None)
            seconds = time.perf_counter() - started
        shown = {row.task for row in live.admin.predictions(live.project) if row.model_version == name}
        assert shown >= set(tasks), "Label Studio shows them all"
        what = f"push of {len(tasks)} predictions over its {way}"
        rows.append({"what": what, "seconds": seconds, "ratio": seconds / anchor})
    return rows


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--people", type=int, default=50)
    parser.add_argument("--labels", type=int, default=200, help="Of a round.")
    parser.add_argument("--rounds", type=int, default=2, help="With the webhook, and as many without.")
    parser.add_argument("--tasks", type=int, default=6000, help="Whose predictions are pushed; 0 leaves that out.")
    options = parser.parse_args()
    ports = {"backend_port": free_port(), "label_studio_port": free_port()}
    with (
        tempfile.TemporaryDirectory() as temporary,
        local_servers.running(Path(temporary) / "home", quiet, **ports) as servers,
    ):
        folder = Path(temporary) / "stamps"
        folder.mkdir()
        with servers.colleague() as colleague:
            needed = 2 * options.rounds * options.labels
            with live_campaign(servers, colleague, folder, "load", n=needed + needed // 5, audit=0.0) as live:
                rows = submit_rows(live, options.people, options.labels, options.rounds)
            if options.tasks:
                # what is pushed is timed here, not what the worker pushes
                servers.worker.stop()
                path = encoder(folder.parent / "encoder")
                stamps = write_pool(folder, servers.settings.store_folder, Encoder.load(path), options.tasks)
                start = Snapshot([stamps.stem] * 10, list(range(10)), [truth("", row) for row in range(10)])
                with created(servers, colleague, CampaignPlan("visible", stamps, path, labels=start)) as live:
                    rows += visible_rows(live)
    save("load", rows)


if __name__ == "__main__":
    main()
