"""The first signal ends in order, the second kills; what is ignored stays ignored."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from backend_ml.local import stopping
from backend_ml.local.processes import wait_until
from backend_ml.local.stopping import ECHO
from tests.backend_ml.local.test_processes import gone, log_says

OWNER = """
import signal, sys, time
from functools import partial
from pathlib import Path
from backend_ml.local.processes import kill_all, own, start
from backend_ml.local.stopping import ended_by_signals
deaf = "import os, signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN)"
deaf += "; print(os.getpid(), flush=True); time.sleep(300)"
home = Path(sys.argv[1])
with ended_by_signals(partial(kill_all, home)), own(home):
    with start(home, "deaf", [sys.executable, "-c", deaf], grace=float(sys.argv[2])):
        while not (home / "logs/deaf.log").read_text():
            time.sleep(0.02)
        try:
            print("ready", flush=True)
            time.sleep(300)
        except KeyboardInterrupt:
            print("stopping", flush=True)
    print("stopped in order", flush=True)
"""


def heed_interrupts() -> None:
    """As in a terminal: a shell's job in the background, such as this test may be, ignores them."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def owner(home: Path, grace: float, before: str = "") -> tuple[subprocess.Popen[str], int]:
    """A process with a child that ends by force alone; and the child's id."""
    process = subprocess.Popen(
        [sys.executable, "-c", before + OWNER, str(home), str(grace)],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])},
        preexec_fn=heed_interrupts,
    )
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    return process, int(log_says(home / "logs/deaf.log", 1)[0])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_first_signal_ends_in_order(tmp_path: Path, number: signal.Signals) -> None:
    process, child = owner(tmp_path, grace=0.2)
    process.send_signal(number)
    told, _ = process.communicate(timeout=60)
    assert (told, process.returncode) == ("stopping\nstopped in order\n", 0)
    assert gone([child])


def test_the_second_signal_kills(tmp_path: Path) -> None:
    process, child = owner(tmp_path, grace=200)
    process.send_signal(signal.SIGINT)
    assert process.stdout is not None and process.stdout.readline() == "stopping\n"
    process.send_signal(signal.SIGHUP)  # a terminal that goes away hurries nobody
    time.sleep(ECHO * 1.2)
    process.send_signal(signal.SIGINT)
    told, _ = process.communicate(timeout=60)
    assert (told, process.returncode) == ("", 128 + signal.SIGINT)
    wait_until(lambda: gone([child]), 10, what="the child to end")


def test_a_signal_that_is_handed_on_twice_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    now, killed = [100.0], []
    monkeypatch.setattr(stopping.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(stopping.os, "_exit", killed.append)
    monkeypatch.setattr(stopping, "ENDING", (signal.SIGTERM,))  # a shell's job in the background ignores SIGINT
    with stopping.ended_by_signals(lambda: killed.append(-1)):
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
        now[0] += ECHO * 0.9
        signal.raise_signal(signal.SIGTERM)
        assert killed == []
        now[0] += ECHO
        signal.raise_signal(signal.SIGTERM)
    assert killed == [-1, 128 + signal.SIGTERM]


def test_nohup_is_heeded(tmp_path: Path) -> None:
    process, _ = owner(tmp_path, 0.2, before="import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n")
    process.send_signal(signal.SIGHUP)
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=60)[0] == "stopping\nstopped in order\n"
