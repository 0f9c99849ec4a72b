"""Claim: seconds from the last label of a round to the new queue, on real servers; with `--pools` of large pools too.

Each pool of N stamps fills a project of a hundred tasks at a time. `reordered`: the tasks there are get
their new order; `refilled`: the whole pool is ranked anew besides, and the best hundred of it become tasks. The
features are drawn (five overlapping kinds, 384 numbers each), the stamps are blank; neither is looked at by what is
timed. The anchor is the fit of the head alone, on the same features and labels in the same run: the ratio says what the
way through webhook, inbox, events, gate, ranking, push and version switch costs on top.

    python -m benchmarks.bench_queue [--tasks 500,10000] [--pools 10000,100000,1000000] [--rounds 7]
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from backend_ml.campaign.plan import CampaignPlan
from backend_ml.kinds.installed import kind_of
from backend_ml.label_studio.client import LabelStudio
from backend_ml.local import servers as local_servers
from backend_ml.local.processes import free_port
from backend_ml.queue import selections
from backend_ml.store.database import Database
from backend_ml.store.features import FeatureStore
from benchmarks.drawn_pool import BLOCK, write_features
from benchmarks.report import Row, save
from lvm_training.heads.training import train_head
from lvm_training.model.encoder import Encoder
from lvm_training.pool.embedding import features_path
from lvm_training.pool.features import Origin
from lvm_training.stamps.stampset import StampSet, StampWriter
from lvm_training.tables.snapshot import Snapshot
from tests.installation import quiet
from tests.live.campaigns import LiveCampaign, created, encoder, live_campaign, truth

LABELS_A_ROUND = 10
START = 10
SLICE = 100
SIDE = 8  # pixels of a blank stamp


def bare_fit(live: LiveCampaign) -> float:
    """Seconds of the fit alone on the campaign's present labels."""
    with live.database.transaction() as connection:
        state = kind_of(live.campaign).read(connection, live.campaign)
        features = FeatureStore.from_database(connection, live.campaign.encoder)
    shards = {name: features.shard(name) for name in set(state.training.stamp_set)}
    started = time.perf_counter()
    train_head(shards, state.training, classes=live.campaign.classes, seed=0)
    return time.perf_counter() - started


def write_pool(folder: Path, store: Path, checkpoint: Encoder, rows: int) -> Path:
    """A stamp set of `rows` blank stamps, and features for it where a campaign looks for them."""
    writer = StampWriter(folder / f"pool{rows}.h5", (SIDE, SIDE), rendering="as-delivered")
    for start in range(0, rows, BLOCK):
        count = min(BLOCK, rows - start)
        writer.append(np.zeros((count, 3, SIDE, SIDE), dtype=np.uint8), {"row": np.arange(start, start + count)})
    path = writer.finish()
    with StampSet(path) as stamps:
        features = features_path(stamps, checkpoint, store / "features")
        made = {"name": stamps.name, "stamps": stamps.digest, "encoder": checkpoint.digest}
    features.parent.mkdir(parents=True, exist_ok=True)
    warning = "pictures as delivered, not the rendering of the encoder"
    write_features(features, Origin(**made, rows=rows, width=checkpoint.width, warning=warning))
    return path


@contextmanager
def pool_campaign(
    servers: local_servers.Servers, colleague: LabelStudio, folder: Path, rows: int
) -> Iterator[LiveCampaign]:
    """A campaign over a pool of which a hundred stamps at a time become tasks, after every round of labels."""
    path = encoder(folder / "encoder")
    stamps = write_pool(folder, servers.settings.store_folder, Encoder.load(path), rows)
    start = Snapshot([stamps.stem] * START, list(range(START)), [truth("", row) for row in range(START)])
    wanted = CampaignPlan(f"pool of {rows}", stamps, path, labels=start, tasks=SLICE, refill_below=100 * SLICE)
    with created(servers, colleague, wanted) as live:
        yield live


def rest(database: Database, live: LiveCampaign) -> None:
    """No more refills."""
    with database.transaction() as connection:
        connection.execute("UPDATE pool SET refill_below = 1 WHERE campaign_id = %s", (live.campaign.id,))


def slices_of(live: LiveCampaign) -> int:
    """How many slices of its pool have become tasks."""
    with live.database.transaction() as connection:
        return selections.count(connection, live.campaign, "slice")


def row(kind: str, n: int, live: LiveCampaign, rounds: int) -> Row:
    """Label so many rounds, and the medians over them."""
    before = slices_of(live)
    seconds = [live.settle(live.team().label(LABELS_A_ROUND)) for _ in range(rounds)]
    slices = slices_of(live) - before
    fit = statistics.median(bare_fit(live) for _ in range(5))
    queue = statistics.median(seconds)
    spread = {"slices": slices, "least": min(seconds), "most": max(seconds)}
    return {"queue": kind, "stamps": n, "label_to_queue_s": queue, **spread, "bare_fit_s": fit, "ratio": queue / fit}


def main() -> None:
    """Run at each size and print the medians."""
    parser = argparse.ArgumentParser(description="From a label to the new queue.")
    parser.add_argument("--tasks", default="500,10000")
    parser.add_argument("--pools", default="")
    parser.add_argument("--rounds", type=int, default=7)
    asked = parser.parse_args()
    ports = {"backend_port": free_port(), "label_studio_port": free_port()}
    rows = []
    with (
        tempfile.TemporaryDirectory() as folder,
        local_servers.running(Path(folder) / "home", quiet, **ports) as servers,
        servers.colleague() as colleague,
    ):
        for n in [int(n) for n in asked.tasks.split(",") if n]:
            place = Path(folder) / str(n)
            place.mkdir()
            with live_campaign(servers, colleague, place, f"{n} tasks", n=n) as live:
                rows.append(row("tasks", n, live, asked.rounds))
        for n in [int(n) for n in asked.pools.split(",") if n]:
            with pool_campaign(servers, colleague, Path(folder), n) as live:
                rows.append(row("pool, refilled", n, live, asked.rounds))
                rest(live.database, live)
                rows.append(row("pool, reordered", n, live, asked.rounds))
    save("queue", rows)


if __name__ == "__main__":
    main()
