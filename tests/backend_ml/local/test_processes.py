"""Children end with their parent however it dies; a data folder has one owner and no strays."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import psutil
import pytest

from backend_ml.local.processes import (
    ProcessError,
    end_strays,
    free_port,
    own,
    required_port,
    start,
    wait_for_http,
    wait_until,
)

FAMILY = """
import os, subprocess, sys, time
grandchild = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"])
print(os.getpid(), grandchild.pid, flush=True)
time.sleep(300)
"""
STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(300)"
)
PARENT = f"""
import sys, time
from pathlib import Path
from backend_ml.local.processes import own, start
with own(Path(sys.argv[1])) as home:
    start(home, "family", [sys.executable, "-c", {FAMILY!r}])
    while len((home / "logs/family.log").read_text().split()) < 2:
        time.sleep(0.02)
    print("started", flush=True)
    time.sleep(300)
"""


def gone(pids: list[int]) -> bool:
    """Whether none of these processes runs (a zombie does not)."""

    def runs(pid: int) -> bool:
        try:
            return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
        except psutil.NoSuchProcess:
            return False

    return not any(runs(pid) for pid in pids)


def log_says(path: Path, words: int) -> list[str]:
    """The words in a log once there are so many."""
    wait_until(lambda: path.exists() and len(path.read_text().split()) >= words, 10, what=f"{words} words in {path}")
    return path.read_text().split()


def run_parent(home: Path) -> tuple[subprocess.Popen[str], list[int]]:
    """A process that owns `home` and has a child and a grandchild; and their ids."""
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(home)],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])},
    )
    assert parent.stdout is not None
    assert parent.stdout.readline() == "started\n"
    parent.stdout.close()
    return parent, [int(word) for word in (home / "logs/family.log").read_text().split()]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_children_and_grandchildren_end_with_a_killed_parent(tmp_path: Path, number: signal.Signals) -> None:
    parent, family = run_parent(tmp_path)
    assert not gone(family)
    parent.send_signal(number)
    parent.wait()
    wait_until(lambda: gone(family), 10, what="the family to end")


def test_a_command_ends_when_its_guard_is_killed(tmp_path: Path) -> None:
    process = start(tmp_path, "sleeper", [sys.executable, "-c", "import time; time.sleep(300)"])
    process.guard.kill()
    wait_until(lambda: gone([process.pid]), 10, what="the command to end")
    process.stop()
    assert not process.alive


def test_stop_ends_the_whole_group_even_if_deaf(tmp_path: Path) -> None:
    with start(tmp_path, "deaf", [sys.executable, "-c", STUBBORN], grace=0.3) as process:
        log_says(process.log, 1)
        assert process.alive
    assert not process.alive
    assert gone([process.pid])
    process.stop()


def test_exit_status_and_output_are_kept(tmp_path: Path) -> None:
    with start(tmp_path, "brief", [sys.executable, "-c", "print('a word'); raise SystemExit(7)"]) as process:
        assert process.wait(10) == 7
    assert process.tail() == "a word"


def test_a_log_is_for_its_owner_alone(tmp_path: Path) -> None:
    old = tmp_path / "logs" / "old.log"
    old.parent.mkdir()
    old.write_text("an earlier line\n")
    old.chmod(0o644)
    for name in ("new", "old"):
        with start(tmp_path, name, [sys.executable, "-c", "print('a word')"]) as process:
            assert process.wait(10) == 0
        assert process.log.stat().st_mode & 0o777 == 0o600
    assert old.read_text() == "an earlier line\na word\n"


def test_environment_is_what_was_given(tmp_path: Path) -> None:
    show = [sys.executable, "-c", "import os; print(sorted(k for k in os.environ if k.startswith('GALAXY')))"]
    with start(tmp_path, "shown", show, environment={"GALAXY": "1"}) as process:
        assert process.wait(10) == 0
    assert process.tail() == "['GALAXY']"


def test_missing_program_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ProcessError, match=r"nothing did not start.*No such file"):
        start(tmp_path, "nothing", ["/no/such/program"])


def test_waiting_for_a_server_that_died_shows_its_last_words(tmp_path: Path) -> None:
    dying = [sys.executable, "-c", "raise SystemExit('port is on fire')"]
    with start(tmp_path, "dying", dying) as process, pytest.raises(ProcessError, match="port is on fire"):
        wait_for_http(f"http://127.0.0.1:{free_port()}/health", 30, process)


def test_waiting_has_an_end(tmp_path: Path) -> None:
    with pytest.raises(ProcessError, match="in vain"):
        wait_for_http(f"http://127.0.0.1:{free_port()}/health", 0.2)


def test_waiting_ends_when_the_server_answers_200() -> None:
    answers = [503, 200]

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(answers.pop(0))
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Keep the tests' output clean."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        wait_for_http(f"http://127.0.0.1:{server.server_port}/health", 10)
        server.shutdown()
        thread.join()
    assert answers == []


def test_free_port_is_the_preferred_one_unless_taken() -> None:
    preferred = free_port()
    assert free_port(preferred) == preferred
    with socket.create_server(("127.0.0.1", preferred)):
        assert free_port(preferred) != preferred


def test_a_folder_has_one_owner_at_a_time(tmp_path: Path) -> None:
    with (
        own(tmp_path / "home"),
        pytest.raises(ProcessError, match=f"in use by process {os.getpid()}"),
        own(tmp_path / "home"),
    ):
        pytest.fail("owned twice")
    with own(tmp_path / "home") as home:
        assert home.is_absolute()


def test_strays_of_a_crashed_run_are_ended_before_the_next(tmp_path: Path) -> None:
    tmp_path.joinpath("logs").mkdir()
    stray = subprocess.Popen([sys.executable, "-c", STUBBORN], stdout=subprocess.PIPE, text=True)
    assert stray.stdout is not None and stray.stdout.readline() == "deaf\n"
    stray.stdout.close()
    created = psutil.Process(stray.pid).create_time()
    entry = {"name": "old", "pid": stray.pid, "create_time": created, "signal": int(signal.SIGTERM)}
    (tmp_path / "processes.json").write_text(json.dumps([entry]))
    assert end_strays(tmp_path, grace=0.3) == ["old"]
    assert gone([stray.pid])
    stray.wait()
    assert end_strays(tmp_path) == []


def test_a_reused_process_id_is_left_alone(tmp_path: Path) -> None:
    entry = {"name": "old", "pid": os.getpid(), "create_time": time.time() - 9_999, "signal": int(signal.SIGKILL)}
    (tmp_path / "processes.json").write_text(json.dumps([entry]))
    with own(tmp_path):
        assert json.loads((tmp_path / "processes.json").read_text()) == []


def test_running_processes_are_on_record(tmp_path: Path) -> None:
    with start(tmp_path, "sleeper", [sys.executable, "-c", "import time; time.sleep(300)"]) as process:
        (entry,) = json.loads((tmp_path / "processes.json").read_text())
        assert (entry["name"], entry["pid"]) == ("sleeper", process.pid)
    assert json.loads((tmp_path / "processes.json").read_text()) == []


def test_a_process_is_stopped_also_where_that_cannot_be_noted(tmp_path: Path) -> None:
    with own(tmp_path) as home:
        process = start(home, "sleeper", [sys.executable, "-c", "import time; time.sleep(300)"])
        # as on a full disk, no new version of the note can be written
        (home / "processes.json.part").mkdir()
        process.stop()
        assert gone([process.pid])
        (home / "processes.json.part").rmdir()
        assert end_strays(home) == [], "the note is old, and nothing runs that it names"


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(ProcessError, match="file/home cannot be written: Not a directory") as caught,
        own(tmp_path / "file/home"),
    ):
        pass
    assert "GALAXYLOOP_HOME" in caught.value.hint


def test_a_required_port_that_is_taken_is_said_with_who_has_it() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(
            ProcessError, match=rf"The backend needs port {port}, which is taken by process {os.getpid()}"
        ):
            required_port(port, "The backend")
    assert required_port(port, "The backend") == port
