"""Claim: a stamp costs milliseconds of a processor, memory does not grow, and kills lose and double nothing.

The service is the imitation of the tests, in a process of its own; nobody else's is asked. The anchor is httpx, used
bare: the same requests over as many connections, and nothing done with the answers. Peak memory is that of the whole
command for few and for many stamps; what one more stamp costs of a processor is the difference of both. Kills are
SIGKILL at moments drawn over the whole of the work.

    python -m benchmarks.bench_fetch [--stamps 4000] [--kills 20]
"""

import argparse
import asyncio
import json
import multiprocessing
import subprocess
import tempfile
import time
from functools import lru_cache
from multiprocessing.connection import Connection
from pathlib import Path

import httpx
import psutil

from benchmarks.report import Row, save
from lvm_training.stamps.stampset import StampSet
from tests.lvm_training.surveys import imitation
from tests.lvm_training.surveys.imitation import Imitation, imitated
from tests.lvm_training.surveys.killing import REPOSITORY, command, fetch_with_kills

SIZE = 152
KILLED = 300  # stamps of the set whose fetching is killed
FEW = 0.1  # of the stamps, for the memory of a small set
REQUEST = "{url}/fits-cutout?ra={ra}&dec={dec}&layer=one&pixscale=0.262&bands=grz&size={size}"


def serve(pipe: Connection) -> None:
    """Serve until told to end; answers that were drawn once are kept."""
    drawn = lru_cache(maxsize=None)(lambda items: cutout(dict(items)))
    cutout = imitation.cutout
    imitation.cutout = lambda query, **more: cutout(query, **more) if more else drawn(tuple(query.items()))
    with imitated() as service:
        pipe.send(service.url)
        pipe.recv()


def catalogue(folder: Path, count: int) -> Path:
    """A table of positions."""
    path = folder / f"{count}.csv"
    lines = (f"{row},{row % 360}.0,{row // 360}.0" for row in range(count))
    path.write_text("\n".join(["id,ra,dec", *lines]) + "\n")
    return path


async def bare(url: str, count: int, connections: int) -> float:
    """Seconds that the requests take which nothing is done with."""
    limits = httpx.Limits(max_connections=connections)
    async with httpx.AsyncClient(limits=limits, headers={"Accept-Encoding": "identity"}, timeout=60) as client:
        waiting = iter(range(count))

        async def work() -> None:
            for row in waiting:
                place = {"ra": f"{row % 360:.7f}", "dec": f"{row // 360:.7f}"}
                (await client.get(REQUEST.format(url=url, size=SIZE, **place))).raise_for_status()

        begun = time.perf_counter()
        await asyncio.gather(*(work() for _ in range(connections)))
        return time.perf_counter() - begun


def fetched(description: Path, table: Path, out: Path) -> tuple[float, float, float]:
    """Seconds that fetching takes by its own account, seconds of a processor, and the peak memory in MB."""
    line = command(table, out, description)
    with subprocess.Popen(line, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        peak, spent, watched = 0, 0.0, psutil.Process(process.pid)
        while process.poll() is None:
            try:
                peak, times = max(peak, watched.memory_info().rss), watched.cpu_times()
                spent = max(spent, times.user + times.system)
            except psutil.Error:
                break
            time.sleep(0.02)
        assert process.stdout is not None
        report = json.loads(process.stdout.read())
    return report["seconds"], spent, peak / 1e6


def pace(folder: Path, stamps: int) -> list[Row]:
    """Stamps a second, bare and through the command, and its memory for few and many stamps."""
    here, there = multiprocessing.get_context("spawn").Pipe()
    server = multiprocessing.get_context("spawn").Process(target=serve, args=(there,))
    server.start()
    url, connections = here.recv(), 4
    known = Imitation.__new__(Imitation)
    known.url = url
    unlimited = {"rate": "100000.0", "most_rate": "1000000.0", "connections": str(connections)}
    description = known.description(folder, size=str(SIZE), **unlimited)
    text = description.read_text().replace("[limits]\nsize = 64", f"[limits]\nsize = {SIZE}")
    description.write_text(text)
    few = int(FEW * stamps)
    asyncio.run(bare(url, stamps, connections))  # the service draws what it will answer
    alone = asyncio.run(bare(url, stamps, connections))
    _, begun, small = fetched(description, catalogue(folder, few), folder / "few.h5")
    ours, spent, large = fetched(description, catalogue(folder, stamps), folder / "many.h5")
    here.send("end")
    server.join()
    megabytes = stamps * 3 * SIZE**2 * 4 / 1e6
    return [
        {"what": "bare httpx", "stamps": stamps, "stamps/s": stamps / alone, "MB/s": megabytes / alone},
        {"what": "data fetch", "stamps": few, "peak_MB": small},
        {
            **{"what": "data fetch", "stamps": stamps, "stamps/s": stamps / ours, "MB/s": megabytes / ours},
            **{"peak_MB": large, "of_bare": alone / ours, "cpu_ms": 1000 * (spent - begun) / (stamps - few)},
        },
    ]


def killed(folder: Path, kills: int) -> Row:
    """How often the command was killed, and what came of it."""
    table, out = catalogue(folder, KILLED), folder / "killed.h5"
    with imitated() as service:
        service.slowly = 0.02
        found = fetch_with_kills(service, table, out, service.description(folder), stamps=KILLED, kills=kills, seed=20)
    with StampSet(out) as stamps:
        ids = stamps.column("id").tolist()
    lost, doubled = KILLED - len(set(ids)), len(ids) - len(set(ids))
    row: Row = {"what": "kills", "stamps": KILLED, "kills": found.kills, "asked_again": found.again}
    return row | {"lost": lost, "doubled": doubled}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stamps", type=int, default=4000)
    parser.add_argument("--kills", type=int, default=20)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        save("bench_fetch", [*pace(Path(name), options.stamps), killed(Path(name), options.kills)])


if __name__ == "__main__":
    main()
