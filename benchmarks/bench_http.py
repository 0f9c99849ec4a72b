"""Claims: a webhook is acknowledged within milliseconds, and `/predict` costs little over the bare head.

The backend runs as it is deployed, in a process of its own over real PostgreSQL; the anchor of `/predict` is the same
head on the same features in this process, and the anchor of `/webhook` is `/livez`, which stores nothing.

    python -m benchmarks.bench_http
"""

import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import httpx
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


def measure(live: LiveCampaign) -> list[dict[str, float | str]]:
    """Rows of the table."""
    settings = live.installation.settings
    body = json.loads(CONTRACT.read_text())
    body["project"]["id"] = live.project
    secret = {signing.SECRET_HEADER: signing.webhook_secret(settings)}
    basic = httpx.BasicAuth(settings.backend_user, settings.backend_password.get_secret_value())
    with live.database.transaction() as connection:
        active = versions.active_version(connection, live.campaign)
        features = FeatureStore.from_database(connection, live.campaign.encoder)
    assert active is not None and active.weights is not None
    head = ClassificationHead.load(active.weights)

    def predict_body(i: int) -> dict[str, object]:
        task = {"id": 1, "data": {"stamp_set": live.campaign.stamp_set, "stamp_id": abs(i) % 50}}
        return {"tasks": [task], "project": f"{live.project}.0", "label_config": find_kind("morphology").label_config()}

    def post_webhook(i: int) -> None:
        body["annotation"] |= {"id": 10_000 + i, "task": 999_999}
        client.post("/webhook", json=body, headers=secret).raise_for_status()

    with httpx.Client(base_url=settings.backend_url) as client:
        return [
            {"what": "GET /livez (anchor)", **milliseconds(lambda _: client.get("/livez"))},
            {"what": "POST /webhook", **milliseconds(post_webhook)},
            {
                "what": "bare head (anchor)",
                **milliseconds(lambda i: head.predict(features.rows([(live.campaign.stamp_set, abs(i) % 50)]))),
            },
            {
                "what": "GET /health",
                **milliseconds(lambda _: client.get("/health", auth=basic).raise_for_status()),
            },
            {
                "what": "POST /predict, one task",
                **milliseconds(lambda i: client.post("/predict", json=predict_body(i), auth=basic).raise_for_status()),
            },
        ]


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
