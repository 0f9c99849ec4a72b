"""Claim: seconds from the last label of a round to the new queue, at 500 and at 10,000 tasks, on real servers.

The anchor is the fit of the head alone, on the same features and labels in the same run: the ratio says what the way
through webhook, inbox, events, gate, ranking, push and version switch costs on top.

    python -m benchmarks.bench_queue [TASKS ...]
"""

import statistics
import sys
import tempfile
import time
from pathlib import Path

from backend_ml import local_servers
from backend_ml.feature_store import FeatureStore
from backend_ml.processes import free_port
from backend_ml.refit import read_labels
from benchmarks.report import save
from lvm_training.training import train_head
from tests.live.campaigns import LiveCampaign, live_campaign
from tests.live.conftest import quiet

ROUNDS = 7
LABELS_A_ROUND = 10


def bare_fit(live: LiveCampaign) -> float:
    """Seconds of the fit alone on the campaign's present labels."""
    with live.database.transaction() as connection:
        state = read_labels(connection, live.campaign)
        features = FeatureStore.from_database(connection, live.campaign.encoder)
    shards = {name: features.shard(name) for name in set(state.training.stamp_set)}
    started = time.perf_counter()
    train_head(shards, state.training, classes=live.campaign.classes, seed=0)
    return time.perf_counter() - started


def main() -> None:
    """Run at each size and print the medians."""
    sizes = [int(size) for size in sys.argv[1:]] or [500, 10_000]
    ports = {"backend_port": free_port(), "label_studio_port": free_port()}
    rows = []
    with (
        tempfile.TemporaryDirectory() as folder,
        local_servers.running(Path(folder) / "home", quiet, **ports) as servers,
    ):
        for n in sizes:
            place = Path(folder) / str(n)
            place.mkdir()
            with servers.colleague() as colleague, live_campaign(servers, colleague, place, f"{n} tasks", n=n) as live:
                seconds = [live.settle(live.team().label(LABELS_A_ROUND)) for _ in range(ROUNDS)]
                fit = statistics.median(bare_fit(live) for _ in range(5))
                queue = statistics.median(seconds)
                rows.append(
                    {
                        "tasks": n,
                        "label_to_queue_s": queue,
                        "least": min(seconds),
                        "most": max(seconds),
                        "bare_fit_s": fit,
                        "ratio": queue / fit,
                    }
                )
    save("queue", rows)


if __name__ == "__main__":
    main()
