"""`galaxyloop up`, on what was there before; and the page that tells people how to label their own pictures."""

import json
import os
import re
import shlex
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import chdir
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

from backend_ml.settings import read_environment
from tests.backend_ml.local.test_stopping import heed_interrupts
from tests.live.campaigns import READY, Done, new_terminal, run_here
from tests.pages import commands

pytestmark = [pytest.mark.live, pytest.mark.timeout(900)]

REPOSITORY = Path(__file__).parents[2]
PAGE = REPOSITORY / "docs/howto/your-pictures.md"
HOME = Path("build/galaxyloop")


@dataclass
class Terminal:
    """A folder as people have it after `git clone`, and what runs in it."""

    folder: Path

    def run(self, line: str) -> Done:
        """Do what a line says, in this process: one of its own loads the libraries for as long as most lines take."""
        program, *arguments = shlex.split(line, comments=True)
        assert program == "galaxyloop", line
        known = new_terminal()
        unknown = dict.fromkeys(name for name in os.environ if name not in known)
        with chdir(self.folder):
            return run_here(known | unknown, *arguments)

    def run_alone(self, line: str) -> subprocess.CompletedProcess[str]:
        """Give a line to a shell."""
        command = ["sh", "-c", line]
        return subprocess.run(
            command, cwd=self.folder, env=new_terminal(), capture_output=True, text=True, timeout=280, check=False
        )

    def up(self, line: str = "galaxyloop up") -> "Up":
        """Start the servers; back when they say that they are ready."""
        with (self.folder / "up.log").open("w") as log:
            process = subprocess.Popen(
                ["sh", "-c", f"exec {line}"],
                cwd=self.folder,
                env=new_terminal(),
                stdout=log,
                stderr=log,
                preexec_fn=heed_interrupts,
            )
        started = Up(process, self.folder)
        deadline = time.monotonic() + 250
        while READY not in started.said():
            assert process.poll() is None and time.monotonic() < deadline, started.said()
            time.sleep(0.2)
        return started


@dataclass
class Up:
    """A running `galaxyloop up`."""

    process: subprocess.Popen[bytes]
    folder: Path

    def said(self) -> str:
        """What it printed so far."""
        return (self.folder / "up.log").read_text()

    def family(self) -> list[psutil.Process]:
        """Its servers and their children."""
        records = json.loads((self.folder / HOME / "processes.json").read_text())
        servers = [psutil.Process(record["pid"]) for record in records]
        return [one for server in servers for one in (server, *server.children(recursive=True))]

    def end(self, number: signal.Signals) -> int:
        """Send it a signal; its exit status, and nothing of it runs any more."""
        family = self.family()
        assert len(family) >= 4
        self.process.send_signal(number)
        status = self.process.wait(120)
        _, left = psutil.wait_procs(family, timeout=60)
        assert not left, left
        return status


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Terminal]:
    """A checkout with some pictures and a table of what they show; what is left running there is ended."""
    folder = tmp_path_factory.mktemp("clone")
    for name in ("models", "label_config"):
        (folder / name).symlink_to(REPOSITORY / name)
    (folder / "pictures").mkdir()
    generator = np.random.default_rng(0)
    lines = ["file,ring"]
    for i in range(30):
        pixels = generator.integers(0, 60, (32, 32, 3), dtype=np.uint8)
        pixels[12:20, 12:20] += np.uint8(100 + 50 * (i % 2))
        Image.fromarray(pixels).save(folder / f"pictures/{i:02}.png")
        lines.append(f"{i:02}.png,{i % 2}")
    (folder / "catalogue.csv").write_text("\n".join(lines))
    terminal = Terminal(folder)
    yield terminal
    if (folder / HOME).is_dir():
        from backend_ml.local.processes import own

        with own(folder / HOME):
            pass


@pytest.fixture(scope="module")
def servers(clone: Terminal) -> Iterator[Up]:
    """The servers of the checkout, the first time."""
    with_setup, up, *_ = commands(PAGE)
    assert with_setup.startswith("make setup") and up == "galaxyloop up"
    started = clone.up(up)
    yield started
    if started.process.poll() is None:
        started.process.kill()
        started.process.wait()


def test_every_line_of_the_page_runs(clone: Terminal, servers: Up) -> None:
    lines = commands(PAGE)[2:]
    assert len(lines) >= 9
    for line in lines:
        done = clone.run(line)
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
    assert (clone.folder / "labels.csv").read_text().startswith("stamp_set,stamp_id,label")


def test_it_says_where_the_pages_are_and_how_to_sign_in(clone: Terminal, servers: Up) -> None:
    kept = read_environment(clone.folder / HOME)
    for name in ("GALAXYLOOP_LABEL_STUDIO_URL", "GALAXYLOOP_PUBLIC_URL", "GALAXYLOOP_TEAM_PASSWORD"):
        assert kept[name] in servers.said()
    for name in ("GALAXYLOOP_SECRET", "GALAXYLOOP_LABEL_STUDIO_TOKEN", "GALAXYLOOP_BACKEND_PASSWORD"):
        assert kept[name] not in servers.said()


def test_what_was_there_is_served_again(clone: Terminal, servers: Up) -> None:
    """After Ctrl-C, `kill -9` and `kill`: same addresses, same secrets, same campaigns; nothing is left running."""
    home = clone.folder / HOME
    imported = clone.run("galaxyloop data import pictures/ --out again.h5")
    assert imported.returncode == 0, imported.stderr
    made = clone.run("galaxyloop campaign create again --stamps again.h5 --limit 10")
    assert made.returncode == 0, made.stderr
    second = clone.run_alone("galaxyloop up")
    assert second.returncode == 1 and f"is in use by process {servers.process.pid}" in " ".join(second.stderr.split())
    kept = read_environment(home)
    assert servers.end(signal.SIGINT) == 0 and "Stopped." in servers.said()
    gone = clone.run("galaxyloop campaign list")
    assert gone.returncode == 1 and "galaxyloop up" in gone.stderr
    killed = clone.up()
    assert read_environment(home) == kept
    address = f"{kept['GALAXYLOOP_LABEL_STUDIO_URL']}/projects/"
    assert re.search(rf"again +{address}\d+/data", killed.said())
    family = killed.family()
    killed.process.kill()
    assert killed.process.wait(60) == -signal.SIGKILL
    after = clone.up()
    assert not [one for one in family if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]
    status = clone.run("galaxyloop campaign status again --json")
    assert json.loads(status.stdout)["waiting"] == 10
    assert after.end(signal.SIGTERM) == 0
