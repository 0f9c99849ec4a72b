"""What the pages show: every indented line is a command; how each is run by a test, or why it is not."""

import re
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]

PROGRAMS = ("galaxyloop ", "make ")
"""How commands begin that `tests/live/test_pages.py` can run."""
DATA = {"ini", "python", "text", "toml", "xml"}
"""What stands in fenced blocks; commands are indented."""
ELSEWHERE = {"docs/howto/your-pictures.md": "tests/live/test_up.py"}
"""Pages whose every line a test of their own runs; `tests/live/test_pages.py` runs those of all others."""

LONG = (
    "galaxyloop pretrain ",
    "galaxyloop embed stamps.h5 --encoder my-model",
    "galaxyloop embed chunks/*.h5 --views 1 --processes 4",
    "galaxyloop encoder compare ",
    "galaxyloop campaign encoder NAME --train",
    "galaxyloop model rebuild ",
    "make demo ",
)
"""How commands begin that run for minutes: `make soak` runs them."""

SERVER = "it runs until it is stopped: tests/installation.py starts both, tests/backend_ml/test_worker.py has queues"
MIRROR = "it needs real pictures: tests/lvm_training/evaluation runs it on drawn ones"
ROOT_ALONE = "it needs root and systemd: tests/test_systemd.py checks the units"
BUCKET = "it needs a bucket: tests/backend_ml/test_buckets.py and test_several_hosts.py have one"
REMOTE = "it needs a bucket: tests/lvm_training/stages/release/test_s3_remote.py has one"
NOT_HERE = {
    "make up": "tests/live/test_up.py runs `galaxyloop up`, which is all that it does",
    "make demo": "it trains the pipeline's models: tests/backend_ml/demo runs it",
    "make test": "it runs the tests",
    "make setup && . .venv/bin/activate": "it builds the environments that the tests run in",
    "galaxyloop up": "tests/live/test_up.py runs it",
    "galaxyloop serve &": SERVER,
    "galaxyloop worker ": SERVER,
    "export ": "what stands there is to be filled in",
    "pip install ": "tests/plugins.py installs it for all tests",
    "psql ": "it asks for passwords: tests/test_compose_services.py gives the roles",
    "sudo ": ROOT_ALONE,
    "sbatch ": "it needs Slurm: tests/test_gpu_runners.py runs the job's commands",
    "galaxyloop campaign create Rings --stamps s3://survey/stamps/rings.h5": BUCKET,
    "galaxyloop embed s3://survey/stamps/rings.h5": BUCKET,
    "galaxyloop campaign adopt 12 --allow-host s3.example.org:7070": "tests/live/test_adopting.py adopts from a bucket",
    "dvc remote add ": REMOTE,
    "dvc push": REMOTE,
    "dvc pull": REMOTE,
    "dvc unfreeze ": "it trains for hours",
    "dvc plots diff ": "it needs an accepted experiment: tests/backend_ml/experiments makes one",
    "dvc exp run ": "it needs the pipeline's features: tests/lvm_training/stages runs its stage on frozen labels",
    "galaxyloop pipeline init ": "it clones all of Galaxy Loop: tests/backend_ml/experiments makes clones in small",
    "make gpu-lvm ": "it takes a GPU for these minutes: tests/lvm_training/timed runs it in small",
    "galaxyloop backup load ": "it fills another host: tests/live/test_backup.py has one",
    "GALAXYLOOP_HOME=/data/galaxyloop galaxyloop up": "tests/live/test_backup.py starts what was loaded",
    "docker compose ": "no container engine runs here: tests/test_compose_services.py starts its commands",
    "make contact-sheet": MIRROR,
    "python -m lvm_training.evaluation.mirror ": MIRROR,
}
"""Commands, or how they begin, with a blank at the end, that no test can run as they stand, each with the reason."""


def commands(page: Path) -> list[str]:
    """The commands that a page shows, in order, without their comments."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    lines = re.findall(r"^ {4}(\S.*)$", text, re.MULTILINE)
    return [line for line in (re.sub(r"(?:^|\s)#.*", "", line).strip() for line in lines) if line]


def among(command: str, known: Iterable[str]) -> str | None:
    """Which of some commands, or beginnings that end with a blank, a command is; None if none of them."""
    return next((one for one in known if command == one or (one.endswith(" ") and command.startswith(one))), None)


def shown() -> dict[str, list[str]]:
    """The commands of every page that shows some, by its path in the repository."""
    found = {str(page.relative_to(ROOT)): commands(page) for page in PAGES}
    return {page: lines for page, lines in found.items() if lines}
