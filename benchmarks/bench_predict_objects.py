"""Claim: pre-annotating a stamp with boxes and masks costs little over the detector itself, single and in batches.

The backend runs as it is deployed, in a process of its own over real PostgreSQL, and has no detections kept, so that
every call computes; the anchor is the same detector on the same stamps in this process, rendering included.

    python -m benchmarks.bench_predict_objects [DETECTOR]
"""

import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import torch

from backend_ml.kinds.installed import find_kind
from backend_ml.learning.learn import begin, stores_of
from backend_ml.local import data_folder, processes, servers
from backend_ml.local.postgres import start_embedded
from backend_ml.networks.detectors import load_detector
from backend_ml.settings import Settings
from backend_ml.store.campaigns import add_campaign
from backend_ml.store.database import Database, query
from backend_ml.store.records import Campaign
from benchmarks.report import Row, save
from lvm_training.detection.checkpoint import TrainedDetector
from lvm_training.paths import DETECTOR, LENS_FILE
from lvm_training.stamps.render import render_set
from lvm_training.stamps.stampset import StampSet

CALLS = {1: 60, 32: 6}  # by tasks a call
PROJECT = 1


def campaign_of(database: Database, detector: Path, store: Path) -> Campaign:
    """A campaign of lenses without tasks: whatever stamp is asked for is detected on at once."""
    trained = TrainedDetector.load(detector)
    with database.transaction() as connection, StampSet(LENS_FILE) as stamps:
        paths = {"path": str(LENS_FILE.absolute()), "digest": stamps.digest, "features": ""}
        query(connection, "put_stamp_set", name=LENS_FILE.stem, **paths)
        campaign = add_campaign(
            connection,
            name="Lenses",
            project=PROJECT,
            kind="lenses",
            classes=trained.classes,
            stamp_set=LENS_FILE.stem,
            encoder="",
            rendering=trained.rendering,
            policy="box-margin",
            audit_fraction=0.1,
        )
    begin(database, stores_of(database, campaign, store), detector)
    return campaign


def milliseconds_a_stamp(tasks: int, call: Callable[[list[int]], object]) -> float:
    """Median over calls on different stamps, after one that does not count."""
    call(list(range(tasks)))
    times = []
    for i in range(CALLS[tasks]):
        started = time.perf_counter()
        call([(i * tasks + place) % 256 for place in range(tasks)])
        times.append(1000 * (time.perf_counter() - started) / tasks)
    return float(np.median(times))


def measure(campaign: Campaign, settings: Settings) -> list[Row]:
    """A row per size of call and way."""
    (digest,) = (path.name for path in (settings.store_folder / "detectors").iterdir())
    detector = load_detector(settings.store_folder, digest)
    basic = httpx.BasicAuth(settings.backend_user, settings.backend_password.get_secret_value())
    config = find_kind("lenses").label_config()

    def over_http(rows: list[int]) -> None:
        tasks = [{"id": row, "data": {"stamp_set": campaign.stamp_set, "stamp_id": row}} for row in rows]
        body: dict[str, Any] = {"tasks": tasks, "project": f"{PROJECT}.0", "label_config": config}
        answer = client.post("/predict", json=body, auth=basic).raise_for_status()
        if any("error" in one for one in answer.json()["results"]):
            raise SystemExit(f"not answered: {answer.text[:500]}")

    rows: list[Row] = []
    with httpx.Client(base_url=settings.backend_url, timeout=100) as client, StampSet(LENS_FILE) as stamps:
        for tasks in CALLS:
            bare = milliseconds_a_stamp(
                tasks, lambda asked: detector.predict(render_set(stamps, np.array(asked), detector.rendering))
            )
            served = milliseconds_a_stamp(tasks, over_http)
            rows.append({"tasks": tasks, "predict_ms": served, "detector_ms": bare, "ratio": served / bare})
    return rows


def main() -> None:
    """Start PostgreSQL and the backend, measure and print."""
    torch.set_num_threads(1)  # as the backend's
    detector = Path(sys.argv[1]) if len(sys.argv) > 1 else DETECTOR
    with (
        tempfile.TemporaryDirectory() as folder,
        processes.own(Path(folder) / "home") as place,
        start_embedded(place) as postgres,
        Database(postgres.url("galaxyloop")) as database,
    ):
        address = f"http://127.0.0.1:{processes.free_port()}"
        environment = data_folder.local_secrets(place) | {
            "GALAXYLOOP_HOME": str(place),
            "GALAXYLOOP_DATABASE_URL": postgres.url("galaxyloop"),
            "GALAXYLOOP_BACKEND_URL": address,
        }
        os.environ.update(environment)
        settings = Settings()
        campaign = campaign_of(database, detector, settings.store_folder)
        with servers.start_backend(place, environment) as backend:
            processes.wait_for_http(f"{address}/livez", servers.START_SECONDS, backend)
            save("predict_objects", measure(campaign, settings))


if __name__ == "__main__":
    main()
