"""The warm `python` of tests does what a fresh interpreter does."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from backend_ml.local import processes

pytestmark = pytest.mark.usefixtures("warm_python")


def both(folder: Path, *arguments: str, say: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    """What both come to, once it is clear that it is the same."""
    done = [
        subprocess.run(
            [python, *arguments], cwd=folder, input=say, env=os.environ | environment, capture_output=True, text=True
        )
        for python in (Path(sys.prefix) / "bin/python", sys.executable)
    ]
    fresh, warm = ((one.returncode, one.stdout, one.stderr.splitlines()[-1:]) for one in done)
    assert fresh == warm
    return done[1]


def test_arguments_streams_folder_and_environment_are_handed_on(tmp_path: Path) -> None:
    code = "import os, sys; print(sys.argv, sys.path, os.getcwd(), os.environ['WORD'], sys.stdin.read(), __name__)"
    said = both(tmp_path, "-c", code, "a", "b c", say="words", WORD="x", PYTHONPATH=f"/nowhere:{tmp_path}").stdout
    assert "'a', 'b c'" in said and f"'/nowhere', '{tmp_path}'" in said and "x words __main__" in said


def test_the_code_is_that_of_the_folder_and_the_libraries_are_there(tmp_path: Path) -> None:
    (tmp_path / "lvm_training").mkdir()
    (tmp_path / "lvm_training/__main__.py").write_text("import sys; print(__file__, 'torch' in sys.modules)")
    (tmp_path / "lvm_training/__init__.py").touch()
    done = subprocess.run([sys.executable, "-m", "lvm_training"], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.split() == [str(tmp_path / "lvm_training/__main__.py"), "True"]


@pytest.mark.parametrize("threads", ["1", "2"])
def test_as_many_threads_take_part(tmp_path: Path, threads: str) -> None:
    code = "import torch; print(torch.get_num_threads())"
    assert both(tmp_path, "-c", code, OMP_NUM_THREADS=threads).stdout.strip() == threads


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("import sys; sys.exit(3)", 3),
        ("raise SystemExit('why')", 1),
        ("1 / 0", 1),
        ("import atexit; atexit.register(print, 'at the end')", 0),
        ("import os; os.kill(os.getpid(), 9)", -signal.SIGKILL),
        ("import os; os.kill(os.getpid(), 15)", -signal.SIGTERM),
    ],
)
def test_it_ends_alike(tmp_path: Path, code: str, status: int) -> None:
    assert both(tmp_path, "-c", code).returncode == status


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_signal_ends_what_runs(tmp_path: Path, number: signal.Signals) -> None:
    locks = "import fcntl, time; lock = open('lock', 'w'); fcntl.flock(lock, fcntl.LOCK_EX)"
    code = f"{locks}; print('there', flush=True); time.sleep(300)"
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None and running.stdout.readline() == "there\n"
        running.send_signal(number)
        assert running.wait(30) == -number

    def is_free() -> bool:
        return subprocess.run(["flock", "--nonblock", tmp_path / "lock", "true"]).returncode == 0

    processes.wait_until(is_free, 30, what="its lock")
