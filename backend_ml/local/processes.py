"""Child processes that never outlive their owner, and the folder that one owner at a time may use."""

import contextlib
import errno
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
import psutil
from filelock import FileLock, Timeout

from lvm_training.errors import GalaxyLoopError

GUARD = Path(__file__).with_name("process_guard.py")
LOG_TAIL = 30
LOCK, RECORDS = "lock", "processes.json"  # what owning a data folder leaves in it
_records_lock = threading.Lock()


class ProcessError(GalaxyLoopError):
    """A child process did not start, died early, or the data folder is in use."""

    code = "process"


@dataclass
class Process:
    """A running command, watched by a guard that ends it when this process goes away.

    Attributes
    ----------
    name : str
        Names the log and the entry in `processes.json`.
    pid : int
        Process id of the command itself, which leads a process group of its own.
    log : Path
        Where its output goes.
    """

    name: str
    pid: int
    log: Path
    home: Path
    guard: subprocess.Popen[bytes]
    grace: float

    @property
    def alive(self) -> bool:
        """Whether the command still runs."""
        return self.guard.poll() is None

    def wait(self, seconds: float) -> int:
        """Wait for the command to end by itself; its exit status.

        Raises
        ------
        ProcessError
            If it takes longer.
        """
        try:
            return self.guard.wait(seconds)
        except subprocess.TimeoutExpired:
            raise ProcessError(f"{self.name} has not finished in {seconds:.0f} s.", f"See {self.log}.") from None

    def stop(self) -> None:
        """End the command: politely, and after the grace period its whole group by force. Idempotent."""
        if self.guard.stdin is not None:
            self.guard.stdin.close()
        try:
            self.guard.wait(self.grace + 5)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
            self.guard.kill()
            self.guard.wait()
        # on a full disk it is not noted; whoever reads the note looks for the process by its start time
        with _records_lock, contextlib.suppress(OSError):
            _write_records(self.home, [r for r in _read_records(self.home) if r["name"] != self.name])

    def tail(self) -> str:
        """The last lines of the log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-LOG_TAIL:])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def start(
    home: Path,
    name: str,
    command: Sequence[str | Path],
    *,
    environment: Mapping[str, str] | None = None,
    user: str = "",
    stop_signal: signal.Signals = signal.SIGTERM,
    grace: float = 10.0,
) -> Process:
    """Start a command under a guard; its output is appended to `<home>/logs/<name>.log`, for its owner alone.

    Parameters
    ----------
    environment : Mapping or None
        The command's whole environment; None hands on this process's.
    user : str
        System user to run as; needs root.
    stop_signal : Signals
        Sent to the process group first; SIGKILL follows after `grace` seconds.

    Raises
    ------
    ProcessError
        If the command cannot be executed.
    """
    log = home / "logs" / f"{name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    options = [f"--signal={int(stop_signal)}", f"--grace={grace}", f"--user={user}", f"--log={log}"]
    guard = subprocess.Popen(  # noqa: S603
        [sys.executable, "-I", "-S", GUARD, *options, "--", *map(str, command)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
        cwd="/",
        start_new_session=True,
    )
    assert guard.stdout is not None and guard.stderr is not None  # noqa: S101
    answer = guard.stdout.readline()
    guard.stdout.close()
    if not answer:
        _, complaint = guard.communicate()
        reason = complaint.decode(errors="replace").strip().splitlines()[-1:]
        raise ProcessError(f"{name} did not start: {' '.join(reason)}", "Check that the program is installed.")
    guard.stderr.close()
    process = Process(name, int(answer), log, home, guard, grace)
    _record(process, stop_signal)
    return process


def wait_for_http(url: str, seconds: float, process: Process | None = None) -> None:
    """Wait until `url` answers 200.

    Parameters
    ----------
    process : Process or None
        The server; if it dies the wait ends at once.

    Raises
    ------
    ProcessError
        With the log's last lines, if the server dies or the time is up.
    """

    def answers() -> bool:
        try:
            return client.get(url).status_code == httpx.codes.OK
        except httpx.TransportError:
            return False

    with httpx.Client(timeout=5, trust_env=False) as client:
        wait_until(answers, seconds, process, what=f"{url} to answer")


def wait_until(
    ready: Callable[[], bool], seconds: float, process: Process | None = None, *, what: str = "the server"
) -> None:
    """Wait until `ready()` is true.

    Raises
    ------
    ProcessError
        With the log's last lines, if `process` dies or the time is up.
    """
    deadline = time.monotonic() + seconds
    while not ready():
        if process is not None and not process.alive:
            raise ProcessError(
                f"{process.name} ended before it was ready. The last lines of its log:\n{process.tail()}",
                f"\nThe whole log is {process.log}.",
            )
        if time.monotonic() > deadline:
            seen = f" The last lines of its log:\n{process.tail()}" if process is not None else ""
            raise ProcessError(f"Waited {seconds:.0f} s in vain for {what}.{seen}", "Try again, or look at the log.")
        time.sleep(0.1)


def free_port(preferred: int = 0, host: str = "127.0.0.1") -> int:
    """`preferred` if nothing listens there, else a free port chosen by the system."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, preferred))
        except OSError as error:
            if not preferred or error.errno not in (errno.EADDRINUSE, errno.EACCES):
                raise
            return free_port(host=host)
        return int(probe.getsockname()[1])


def required_port(port: int, name: str, host: str = "127.0.0.1") -> int:
    """A port that must be this one: others know the address.

    Raises
    ------
    ProcessError
        If it is taken; by whom is said where Linux tells.
    """
    if free_port(port, host) == port:
        return port
    raise ProcessError(
        f"{name} needs port {port}, which is taken{_listener(port)} or not allowed.",
        "End what listens there, or name another port: `galaxyloop up --help`.",
    )


def _listener(port: int) -> str:
    """Who listens on a port, as far as this user may see."""
    try:
        listening = [one for one in psutil.net_connections("tcp") if one.status == psutil.CONN_LISTEN and one.pid]
        found = next((one.pid for one in listening if one.laddr and one.laddr[1] == port), None)
        return f" by process {found} ({psutil.Process(found).name()})" if found else ""
    except psutil.Error:
        return ""


@contextmanager
def own(home: Path) -> Iterator[Path]:
    """Own a data folder: at most one process at a time, and nothing of a crashed earlier run survives in it.

    Yields
    ------
    Path
        The folder, absolute and created.

    Raises
    ------
    ProcessError
        If another running process owns the folder, or it cannot be written.
    """
    home = home.absolute()
    lock = home / LOCK
    try:
        home.mkdir(parents=True, exist_ok=True)
        owned = FileLock(lock, blocking=False).acquire()
        lock.write_text(str(os.getpid()))
    except Timeout:
        raise ProcessError(
            f"{home} is in use by process {lock.read_text().strip() or 'unknown'}: it runs already.",
            "Stop that one, or choose another folder with GALAXYLOOP_HOME.",
        ) from None
    except OSError as error:
        raise ProcessError(
            f"The data folder {home} cannot be written: {error.strerror}.", "Choose another with GALAXYLOOP_HOME."
        ) from error
    with owned:
        end_strays(home)
        yield home


def is_owned(home: Path) -> bool:
    """Whether a process owns a data folder now; whoever asks does not stand in the way of one that begins."""
    lock = home / LOCK
    try:
        # a process of that id that began later is another one
        return psutil.Process(int(lock.read_text())).create_time() <= lock.stat().st_mtime
    except (OSError, ValueError, psutil.Error):
        return False


def kill_all(home: Path) -> None:
    """End every process of a data folder at once, by force; PostgreSQL recovers at its next start."""
    for entry in _read_records(home):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(entry["pid"], signal.SIGKILL)


def end_strays(home: Path, grace: float = 10.0) -> list[str]:
    """End what an earlier, crashed run of this folder left behind; the names of what was ended.

    A process counts as left behind if both its id and its start time are the recorded ones, so a reused id is safe.
    """
    strays = []
    for entry in _read_records(home):
        with contextlib.suppress(psutil.NoSuchProcess):
            process = psutil.Process(entry["pid"])
            if abs(process.create_time() - entry["create_time"]) < 1.0:
                strays.append((entry["name"], process, process.children(recursive=True)))
                process.send_signal(entry["signal"])
    for _, process, children in reversed(strays):
        _, stubborn = psutil.wait_procs([process, *children], timeout=grace)
        for survivor in stubborn:
            with contextlib.suppress(psutil.NoSuchProcess):
                survivor.kill()
        psutil.wait_procs(stubborn, timeout=grace)
    _write_records(home, [])
    return [name for name, _, _ in strays]


def _read_records(home: Path) -> list[dict[str, Any]]:
    try:
        records: list[dict[str, Any]] = json.loads((home / RECORDS).read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return []
    return records


def _write_records(home: Path, records: list[dict[str, Any]]) -> None:
    part = home / f"{RECORDS}.part"
    part.write_text(json.dumps(records, indent=1))
    part.replace(home / RECORDS)


def _record(process: Process, stop_signal: signal.Signals) -> None:
    try:
        created = psutil.Process(process.pid).create_time()
    except psutil.NoSuchProcess:
        return
    entry = {"name": process.name, "pid": process.pid, "create_time": created, "signal": int(stop_signal)}
    with _records_lock:
        others = [record for record in _read_records(process.home) if record["name"] != process.name]
        _write_records(process.home, [*others, entry])
