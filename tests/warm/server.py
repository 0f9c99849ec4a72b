"""Loads the libraries once, and runs modules and code in forks, each with its own folder, environment and streams.

None of the project's own code stays loaded: a fork imports it anew, from where its `PYTHONPATH` says.
"""

import atexit
import contextlib
import gc
import importlib
import marshal
import os
import runpy
import select
import signal
import socket
import sys
import threading
import traceback
import types
from pathlib import Path
from typing import NamedTuple, NoReturn

import yaml
from threadpoolctl import threadpool_limits

# and what ours registers its parts with, which takes them once
FORGOTTEN = ("lvm_training", "backend_ml", "tests", "detectron2")
ALSO = (
    "backend_ml.learning.learn",
    "backend_ml.rebuilding.run",
    "dvc.commands.data_sync",
    "dvc.commands.repro",
    "dvc.repo.reproduce",
    "dvc_s3",
    "s3fs",
)


class Wanted(NamedTuple):
    """What somebody calls `python` for."""

    arguments: list[str]
    folder: str
    environment: dict[str, str]


def preload(repository: Path) -> None:
    """Import what the pipeline's stages need, and forget what is ours of it."""
    gc.disable()
    stages = yaml.safe_load((repository / "dvc.yaml").read_text(encoding="utf-8"))["stages"].values()
    for module in (*(stage["cmd"].removeprefix("python -m ") for stage in stages), *ALSO):
        importlib.import_module(module)
    for name in [name for name in sys.modules if name.partition(".")[0] in FORGOTTEN]:
        del sys.modules[name]
    gc.collect()
    gc.freeze()
    gc.enable()


def serve(listener: socket.socket) -> Wanted:
    """Fork for each who calls; returns in the forks alone, with what is to be run."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        client, _ = listener.accept()
        with client:
            if os.fork() == 0:
                listener.close()
                return attend(client)


def attend(client: socket.socket) -> Wanted:
    """Fork what is wanted, which returns from here; wait for its end here, which ends this process."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    start, streams, _, _ = socket.recv_fds(client, 4, 3)
    wanted = bytearray()
    while len(wanted) < int.from_bytes(start):
        wanted += client.recv(1 << 16)
    child = os.fork()
    if child == 0:
        os.setpgid(0, 0)
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
            os.close(stream)
        client.close()
        return Wanted(*marshal.loads(bytes(wanted)))  # noqa: S302 - of our own client
    with contextlib.suppress(PermissionError):
        os.setpgid(child, child)
    for stream in streams:
        os.close(stream)
    os._exit(_watch(client, child))


def _watch(client: socket.socket, child: int) -> int:
    """Hand on signals, end what was run where who called is gone, and tell how it ended."""
    ended = os.pidfd_open(child)
    while ended not in select.select([client, ended], [], [])[0]:
        signals = client.recv(16)
        with contextlib.suppress(ProcessLookupError):
            for number in signals or [signal.SIGKILL]:
                os.killpg(child, number)
        if not signals:
            return 0
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    with contextlib.suppress(BrokenPipeError):
        client.sendall(status.to_bytes(2, signed=True))
    return 0


def run(wanted: Wanted, libraries: list[str]) -> NoReturn:
    """Be a fresh interpreter that was given these arguments."""
    try:
        _run(wanted, libraries)
        status: object = 0
    except SystemExit as end:
        status = end.code or 0
    except BaseException:
        traceback.print_exc()
        status = 1
    if not isinstance(status, int):
        print(status, file=sys.stderr)
        status = 1
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    # an interpreter would take five thousand modules apart for a second
    os._exit(status)


def _run(wanted: Wanted, libraries: list[str]) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    option, what, *words = wanted.arguments
    os.chdir(wanted.folder)
    os.environ.clear()
    os.environ.update(wanted.environment)
    # what is loaded already reads no environment any more
    threadpool_limits(int(wanted.environment.get("OMP_NUM_THREADS", "1")))
    path = [one for one in wanted.environment.get("PYTHONPATH", "").split(os.pathsep) if one]
    sys.path[:] = ["" if option == "-c" else wanted.folder, *path, *libraries]
    importlib.invalidate_caches()
    sys.argv = [option, *words]
    main = sys.modules["__main__"] = types.ModuleType("__main__")
    if option == "-m":
        runpy._run_module_as_main(what)  # type: ignore[attr-defined] # what `python -m` calls
    else:
        exec(compile(what, "<string>", "exec"), vars(main))  # noqa: S102


if __name__ == "__main__":
    place, code = map(Path, sys.argv[1:])
    own = {str(code), str(Path(__file__).parent), ""}
    third = [one for one in sys.path if one not in own]
    sys.path[:] = [str(code), *third]
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(place))
        listening.listen(64)
        preload(code)
        asked = serve(listening)
    run(asked, third)
