"""Kills `galaxyloop data fetch` again and again, and says what came of it."""

import random
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from tests.lvm_training.surveys.imitation import Imitation

REPOSITORY = Path(__file__).parents[3]
PATIENCE = 120.0  # seconds


@dataclass(frozen=True)
class Kills:
    """How often the command was killed, and stamps were asked for again because of it."""

    kills: int
    again: int


def command(catalogue: Path, out: Path, description: Path, *more: str) -> list[str]:
    """The command line that fetches."""
    return [
        *(sys.executable, "-m", "backend_ml", "data", "fetch", str(catalogue), "--out", str(out)),
        *("--survey", str(description), "--json", *more),
    ]


def wait_for(service: Imitation, stamps: int, process: "subprocess.Popen[bytes]") -> None:
    """Wait until a service has been asked for some stamps, or a process has ended."""
    until = time.monotonic() + PATIENCE
    while len(set(service.positions())) < stamps and process.poll() is None:
        assert time.monotonic() < until, "the command asks for nothing"
        time.sleep(0.002)


def fetch_with_kills(
    service: Imitation, catalogue: Path, out: Path, description: Path, *, stamps: int, kills: int, seed: int
) -> Kills:
    """Fetch a catalogue, ending the command by SIGKILL at moments drawn over the whole of the work, then let it finish.

    Parameters
    ----------
    stamps : int
        That the catalogue has.
    """
    rng = random.Random(seed)
    line, done = command(catalogue, out, description), 0
    moments = sorted(rng.uniform(1, stamps) for _ in range(kills))
    for moment in moments:
        with subprocess.Popen(line, cwd=REPOSITORY, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            wait_for(service, round(moment), process)
            time.sleep(rng.uniform(0, 0.05))
            if process.poll() is None:
                done += 1
            process.kill()
    subprocess.run(line, cwd=REPOSITORY, check=True, capture_output=True)
    return Kills(done, len(service.asked) - len(set(service.positions())))
