"""Claim: seconds and bytes of a backup of a running campaign and of its restoration, on real servers.

The campaign has `--tasks` tasks on as many stamps of 40 pixels, with features, predictions and a few labels. The anchor
is what one would do by hand in the same run: `pg_dump` of both databases in its packed format and `tar` of store, stamp
set and uploads; back, a new cluster, `pg_restore` of both and `tar --extract`. It verifies nothing and moves nothing:
paths, links and secrets would still be those of before. The stamps are five shapes over and over, which are packed
into next to nothing: of bytes, only those of the databases say something. Each is done `--repeat` times, in turns;
medians are given.

    python -m benchmarks.bench_backup [--tasks 10000] [--repeat 3]
"""

import argparse
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from backend_ml.backup.create import create
from backend_ml.backup.load import Target, load
from backend_ml.local import servers as local_servers
from backend_ml.local.postgres import client_program, start_embedded
from backend_ml.local.processes import free_port, own
from backend_ml.settings import Settings
from benchmarks.report import Row, save
from tests.installation import quiet
from tests.live.campaigns import live_campaign

LABELS = 20
DATABASES = ("galaxyloop", "labelstudio")


def timed(what: Callable[[], object]) -> float:
    """Seconds that something takes."""
    started = time.perf_counter()
    what()
    return time.perf_counter() - started


def by_hand(servers: local_servers.Servers, stamps: Path, out: Path) -> None:
    """Dump both databases and pack the files, as one would without the command."""
    out.mkdir()
    for name in DATABASES:
        dump = f"--file={out / name}"
        command, environment = client_program("pg_dump", servers.postgres.url(name), "--format=custom", dump)
        subprocess.run(command, env=environment, check=True)
    home = servers.home
    places = ["-C", home, "store", "label-studio", "-C", stamps.parent, stamps.name]
    subprocess.run(["tar", "--create", "--file", out / "files.tar", *places], check=True)  # noqa: S607


def back_by_hand(out: Path, home: Path) -> None:
    """Restore into a new cluster and unpack the files."""
    with own(home), start_embedded(home) as postgres:
        for name in DATABASES:
            command, environment = client_program(
                "pg_restore", postgres.url(name), "--single-transaction", "--no-owner", str(out / name)
            )
            subprocess.run(command, env=environment, check=True)
    subprocess.run(["tar", "--extract", "--file", out / "files.tar", "-C", home], check=True)  # noqa: S607


def size(path: Path) -> int:
    """Bytes of a file, or of all below a folder."""
    return sum(one.stat().st_size for one in ([path] if path.is_file() else path.rglob("*")) if one.is_file())


def measured(servers: local_servers.Servers, stamps: Path, folder: Path, repeat: int) -> list[Row]:
    """Both ways there and back, in turns."""
    seconds: dict[tuple[str, str], list[float]] = {}
    sizes: dict[tuple[str, str], int] = {}
    for i in range(repeat):
        ours, hand = folder / f"{i}.backup", folder / f"{i}.hand"
        back, hand_back = folder / f"home{i}", folder / f"hand{i}"
        turn = {
            ("create", "ours"): lambda: create(ours, servers.settings, quiet),  # noqa: B023 (called in this turn)
            ("create", "by hand"): lambda: by_hand(servers, stamps, hand),  # noqa: B023
            ("load", "ours"): lambda: load(ours, Target(Settings(home=back)), quiet),  # noqa: B023
            ("load", "by hand"): lambda: back_by_hand(hand, hand_back),  # noqa: B023
        }
        for what, do in turn.items():
            seconds.setdefault(what, []).append(timed(do))
        sizes |= {("create", "ours"): size(ours), ("create", "by hand"): size(hand)}
        sizes |= {("load", "ours"): size(back), ("load", "by hand"): size(hand_back)}
        for path in (hand, back, hand_back):
            shutil.rmtree(path)
        ours.unlink()
    return [row(what, seconds, sizes) for what in ("create", "load")]


def row(what: str, seconds: dict[tuple[str, str], list[float]], sizes: dict[tuple[str, str], int]) -> Row:
    """Medians of one direction, against the anchor."""
    ours, hand = (statistics.median(seconds[what, who]) for who in ("ours", "by hand"))
    return {
        "what": what,
        "seconds": ours,
        "least": min(seconds[what, "ours"]),
        "most": max(seconds[what, "ours"]),
        "by_hand_s": hand,
        "ratio_s": ours / hand,
        "megabytes": sizes[what, "ours"] / 1e6,
        "by_hand_MB": sizes[what, "by hand"] / 1e6,
        "ratio_bytes": sizes[what, "ours"] / sizes[what, "by hand"],
    }


def main() -> None:
    """Measure one campaign and print the medians."""
    parser = argparse.ArgumentParser(description="A backup and its restoration.")
    parser.add_argument("--tasks", type=int, default=10_000)
    parser.add_argument("--repeat", type=int, default=3)
    asked = parser.parse_args()
    ports = {"backend_port": free_port(), "label_studio_port": free_port()}
    with (
        tempfile.TemporaryDirectory() as folder,
        local_servers.running(Path(folder) / "home", quiet, **ports) as servers,
        servers.colleague() as colleague,
    ):
        place = Path(folder) / "campaign"
        place.mkdir()
        with live_campaign(servers, colleague, place, "kept", n=asked.tasks) as live:
            live.settle(live.team().label(LABELS))
            live.at_rest()
            save("backup", measured(servers, place / "kept.h5", Path(folder), asked.repeat))


if __name__ == "__main__":
    main()
