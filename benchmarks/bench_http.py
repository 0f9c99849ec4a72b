"""Claims: a webhook is acknowledged within milliseconds, and `/predict` costs little over the bare head.

The backend runs as it is deployed, in a process of its own over real PostgreSQL; the anchor of `/predict` is the same
head on the same features in this process, and the anchor of `/webhook` is `/livez`, which stores nothing. Requests are
written by `http.client` over one connection: httpx takes half a millisecond for each, which is none of the backend's.

    python -m benchmarks.bench_http
"""

import base64
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np

from backend_ml import signing
from backend_ml.kinds.installed import find_kind
from backend_ml.local import servers as local_servers
from backend_ml.local.processes import free_port
from backend_ml.store import versions
from backend_ml.store.features import FeatureStore
from benchmarks.report import save
from lvm_training.heads.classification import ClassificationHead
from tests.installation import quiet
from tests.live.campaigns import LiveCampaign, live_campaign

CALLS = 500
Ask = Callable[..., None]
CONTRACT = Path(__file__).parent.parent / "tests" / "contract" / "annotation_created.json"


def milliseconds(call: Callable[[int], object]) -> dict[str, float]:
    """Median and 99th percentile of many calls, after a few that do not count."""
    for i in range(20):
        call(-i - 1)
    times = []
    for i in range(CALLS):
        started = time.perf_counter()
        call(i)
        times.append(1000 * (time.perf_counter() - started))
    return {"p50_ms": float(np.median(times)), "p99_ms": float(np.percentile(times, 99))}


@contextmanager
def connected(url: str) -> Iterator[Ask]:
    """What asks the backend at `url` over one connection: method, path, headers and a body in JSON."""
    place = urlsplit(url)
    connection = HTTPConnection(place.hostname or "", place.port)

    def ask(method: str, path: str, headers: Mapping[str, str] | None = None, body: str | None = None) -> None:
        connection.request(method, path, body, {"Content-Type": "application/json", **(headers or {})})
        answer = connection.getresponse()
        said = answer.read()
        if answer.status not in (200, 201):
            raise RuntimeError(f"{method} {path}: {answer.status} {said.decode()}")

    try:
        yield ask
    finally:
        connection.close()


def measure(live: LiveCampaign) -> list[dict[str, float | str]]:
    """Rows of the table."""
    settings = live.installation.settings
    body = json.loads(CONTRACT.read_text())
    body["project"]["id"] = live.project
    secret = {signing.SECRET_HEADER: signing.webhook_secret(settings)}
    password = f"{settings.backend_user}:{settings.backend_password.get_secret_value()}"
    basic = {"Authorization": f"Basic {base64.b64encode(password.encode()).decode()}"}
    with live.database.transaction() as connection:
        active = versions.active_version(connection, live.campaign)
        features = FeatureStore.from_database(connection, live.campaign.encoder)
    assert active is not None and active.weights is not None
    head = ClassificationHead.load(active.weights)
    label_config = find_kind("morphology").label_config()

    def predict_body(stamp: int) -> str:
        task = {"id": 1, "data": {"stamp_set": live.campaign.stamp_set, "stamp_id": stamp}}
        return json.dumps({"tasks": [task], "project": f"{live.project}.0", "label_config": label_config})

    def webhook_body(i: int) -> str:
        return json.dumps(body | {"annotation": body["annotation"] | {"id": 10_000 + i, "task": 999_999}})

    stamps = [predict_body(stamp) for stamp in range(50)]
    with connected(settings.backend_url) as ask:
        calls: dict[str, Callable[[int], object]] = {
            "GET /livez (anchor)": lambda _: ask("GET", "/livez"),
            "POST /webhook": lambda i: ask("POST", "/webhook", secret, webhook_body(i)),
            "bare head (anchor)": lambda i: head.predict(features.rows([(live.campaign.stamp_set, i % 50)])),
            "GET /health": lambda _: ask("GET", "/health", basic),
            "POST /predict, one task": lambda i: ask("POST", "/predict", basic, stamps[i % 50]),
        }
        return [{"what": what, **milliseconds(call)} for what, call in calls.items()]


def main() -> None:
    """Measure and print; each row's ratio is against the anchor above it."""
    ports = {"backend_port": free_port(), "label_studio_port": free_port()}
    with (
        tempfile.TemporaryDirectory() as folder,
        local_servers.running(Path(folder) / "home", quiet, **ports) as servers,
    ):
        place = Path(folder) / "stamps"
        place.mkdir()
        with servers.colleague() as colleague, live_campaign(servers, colleague, place, "http", n=100) as live:
            rows = measure(live)
    anchors = {"POST /webhook": 0, "POST /predict, one task": 2}
    for row in rows:
        anchor = anchors.get(str(row["what"]))
        row["ratio"] = 1.0 if anchor is None else float(row["p50_ms"]) / float(rows[anchor]["p50_ms"])
    save("http", rows)


if __name__ == "__main__":
    main()
