"""Claims: fifty annotators who submit during refits wait no longer for it that there is a backend, and it stays prompt.

`submit`: real Label Studio, fifty people who submit as people do, some seconds apart, in three ways that take turns:
without a webhook (the anchor, whose ratio is 1), with one to a server that answers at once and does nothing (what a
webhook costs Label Studio itself), and with ours, whose labels are learned and pushed meanwhile; no worker runs in the
other two. All the while `/health`, `/setup` and `/webhook` are asked ten times a second, as a fifty-first person would
have them asked. `visible`: seconds until Label Studio shows a new version's prediction of every task, over its database
and over its API; the anchor is the import of as many predictions in bulk, which is what a first queue is.

Two rounds of 200 labels on two quiet cores: submissions of 71 ms without a webhook, of 95 with one to nobody (1.34
times: Label Studio writes the whole project into each) and of 130 with ours (1.83), whose worker learns and pushes on
the same cores; 400 of 400 arrived. 99th percentiles meanwhile: `/health` 9.8 ms, `/setup` 12, `/webhook` 18.
Predictions of 6,000 tasks are visible after 4.8 s over the database, 29 over the API; the bulk import takes 4.5.

    python -m benchmarks.bench_load [--people 50] [--pause 8] [--labels 200] [--rounds 2] [--tasks 6000]
"""

import argparse
import itertools
import json
import random
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
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
from lvm_training.model.encoder import Encoder
from lvm_training.tables.snapshot import Snapshot
from tests.installation import quiet
from tests.live import faults
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


def submitted(live: LiveCampaign, tasks: list[int], people: int, pause: float) -> list[float]:
    """Milliseconds of each submission, by so many people at once; each has tasks of their own, and looks at them."""
    clients = itertools.cycle([live.admin, live.colleague])

    def label(person: int, client: LabelStudio) -> list[float]:
        times, draw = [], random.Random(person)
        for task in tasks[person::people]:
            time.sleep(draw.uniform(0, 2 * pause))
            started = time.perf_counter()
            client.submit(task, choice(truth("", task)), lead_time=4.0)
            times.append(1000 * (time.perf_counter() - started))
        return times

    with ThreadPoolExecutor(people) as pool:
        done = list(pool.map(label, range(people), clients))
    return [one for times in done for one in times]


class Idle(BaseHTTPRequestHandler):
    """Answers a webhook at once and does nothing."""

    def do_POST(self) -> None:
        """Answer."""
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(201)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def idle_server() -> Iterator[str]:
    """Where a server runs that takes webhooks and does nothing."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Idle)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def send_webhooks(live: LiveCampaign, to: str) -> None:
    """Let Label Studio tell nobody but one server, or nobody."""
    for webhook in live.admin.webhooks(live.project):
        live.admin.delete(f"api/webhooks/{webhook.id}/")
    if to:
        secret = signing.webhook_secret(live.installation.settings)
        live.admin.secure_webhook(live.project, to, signing.SECRET_HEADER, secret)


def arrived(live: LiveCampaign) -> int:
    """How many labels webhooks told of: Label Studio waits for a second, and sends none again."""
    text = "SELECT count(*) AS told FROM inbox WHERE action = 'ANNOTATION_CREATED'"
    with live.database.transaction() as connection:
        return int(connection.execute(text).fetchall()[0]["told"])


def submit_rows(live: LiveCampaign, people: int, pause: float, labels: int, rounds: int) -> list[Row]:
    """Submissions by where webhooks go, taking turns, and the probes meanwhile."""
    url = live.installation.settings.backend_url
    tasks = iter([task.task_id for task in live.waiting()])
    times: dict[str, list[float]] = {}
    with httpx.Client(base_url=url, timeout=30) as client, idle_server() as idle:
        # it is asked as much in each way, so that this costs each as much
        asked, aside = probes(live, client), probes(live, client)
        for to in [url, "", idle] * rounds:
            send_webhooks(live, to)
            if to != url:
                # it would find labels that no webhook tells of, and learn them as well
                live.installation.worker.stop()
            share = list(itertools.islice(tasks, labels))
            with (asked if to == url else aside).asking():
                times.setdefault(to, []).extend(submitted(live, share, people, pause))
            faults.restart_worker(live.installation)
            live.wait_for_annotations(sum(map(len, times.values())))
            live.at_rest()
    anchor = float(np.median(times[""]))
    ways = {"no webhook (anchor)": "", "a webhook to nobody": idle, "ours": url}
    rows: list[Row] = [
        {
            "what": f"submit, {people} people, {way}",
            **percentiles(times[to]),
            "ratio": float(np.median(times[to])) / anchor,
        }
        for way, to in ways.items()
    ]
    rows.append({"what": "webhooks that arrived", "n": float(arrived(live)), "ratio": arrived(live) / len(times[url])})
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
    parser.add_argument("--pause", type=float, default=8.0, help="Mean seconds that a person looks at a galaxy.")
    parser.add_argument("--rounds", type=int, default=2, help="In each way.")
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
            needed = 3 * options.rounds * options.labels
            with live_campaign(servers, colleague, folder, "load", n=needed + needed // 5, audit=0.0) as live:
                rows = submit_rows(live, options.people, options.pause, options.labels, options.rounds)
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
