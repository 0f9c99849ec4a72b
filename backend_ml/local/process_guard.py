"""Runs one command and ends its whole process group when the parent goes away, however it died.

Run as a script by `processes.start`, isolated from the project: it imports nothing but the standard library.
Its stdin is a pipe that only the parent holds open; end of file there means "stop".
"""

import argparse
import contextlib
import ctypes
import os
import pwd
import signal
import subprocess
import sys
import threading
import time

PRIVATE = 0o600  # a log may tell what only its owner should know
PR_SET_PDEATHSIG = 1  # linux/prctl.h


def _signal_group(group: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def _stop(child: subprocess.Popen[bytes], number: int, grace: float) -> None:
    """Ask the group to end, then make it."""
    _signal_group(child.pid, number)
    deadline = time.monotonic() + grace
    while child.returncode is None and time.monotonic() < deadline:
        time.sleep(0.02)
    _signal_group(child.pid, signal.SIGKILL)


def _identity(user: str) -> dict[str, object]:
    if not user:
        return {}
    entry = pwd.getpwnam(user)
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


def _parsed(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--signal", type=int, required=True)
    parser.add_argument("--grace", type=float, required=True)
    parser.add_argument("--user", default="")
    parser.add_argument("--log", required=True)
    parser.add_argument("command", nargs="+")
    return parser.parse_args(arguments)


def _started(options: argparse.Namespace) -> subprocess.Popen[bytes]:
    """The command in a process group of its own, writing to the log, and ended by Linux should even the guard die."""

    def die_with_guard() -> None:
        if sys.platform == "linux":
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, options.signal)

    # opened as this user, inherited by another
    with os.fdopen(os.open(options.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, PRIVATE), "ab", buffering=0) as log:
        os.fchmod(log.fileno(), PRIVATE)  # the log of an earlier version let everybody read it
        child: subprocess.Popen[bytes] = subprocess.Popen(  # noqa: S603
            options.command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            process_group=0,
            preexec_fn=die_with_guard,
            **_identity(options.user),  # type: ignore[call-overload]
        )
    return child


def main(arguments: list[str]) -> int:
    """Run the command; the exit status is the command's."""
    options = _parsed(arguments)
    child = _started(options)
    os.write(1, f"{child.pid}\n".encode())
    os.close(1)

    def on_parent_gone() -> None:
        while os.read(0, 4096):
            pass
        _stop(child, options.signal, options.grace)

    watcher = threading.Thread(target=on_parent_gone, daemon=True)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: _signal_group(child.pid, options.signal))
    watcher.start()
    status: int = child.wait()
    _signal_group(child.pid, signal.SIGKILL)
    return status if status >= 0 else 128 - status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
