"""Versions made again: by the command that leaders give, in a clone, or in this process."""

import json
import os
import subprocess
import sys
from contextlib import chdir
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from typer.testing import CliRunner, Result

from backend_ml.cli.main import app
from backend_ml.kinds.models import Weights
from backend_ml.rebuilding import run as runner
from backend_ml.rebuilding.freezing import find_version, freeze_version
from backend_ml.rebuilding.rebuild import Inputs, lay_out
from backend_ml.rebuilding.work import Work
from backend_ml.store.database import Database
from backend_ml.store.records import Campaign
from backend_ml.store.versions import active_version

GIT = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", "-C"]
LEARN = """
import sys
from pathlib import Path
from backend_ml.learning.learn import learn, stores_of
from backend_ml.store.campaigns import campaign_of_id
from backend_ml.store.database import Database
with Database(sys.argv[1]) as database:
    with database.transaction() as connection:
        campaign = campaign_of_id(connection, int(sys.argv[2]))
    print(learn(database, stores_of(database, campaign, Path(sys.argv[3]))))
"""


def commit(folder: Path) -> str:
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "code"]):
        subprocess.run([*GIT, str(folder), *words], check=True)
    said = subprocess.run([*GIT, str(folder), "rev-parse", "HEAD"], check=True, capture_output=True, text=True)
    return said.stdout.strip()


def learned_there(database: Database, campaign: Campaign, store: Path, code: Path) -> str:
    """The version that a process makes which runs a checkout's code."""
    command = [sys.executable, "-c", LEARN, database.url, str(campaign.id), str(store)]
    environment = os.environ | {"PYTHONPATH": str(code)}
    done = subprocess.run(command, cwd=code, env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.splitlines()[-1] == "promoted", done.stdout + done.stderr
    return serving(database, campaign)


def serving(database: Database, campaign: Campaign) -> str:
    with database.transaction() as connection:
        active = active_version(connection, campaign)
    assert active is not None
    return active.version


def run(*words: object) -> Result:
    return CliRunner().invoke(app, ["model", *map(str, words)])


def shown(version: str, *words: object) -> dict[str, Any]:
    done = run("show", version, *words, "--json")
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def rebuilt(*words: object) -> dict[str, Any]:
    done = run("rebuild", *words, "--json")
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def again(database: Database, version: str, store: Path) -> tuple[dict[str, Any], Work, Path]:
    """Make a version again in this process, in a new folder; how it compares, what was done, and where."""
    with database.transaction() as connection:
        found = find_version(connection, version)
        frozen, inputs = freeze_version(connection, found), Inputs.find(connection, found, store)
    folder = Path(mkdtemp(dir=store.parent, prefix="again-")).absolute()
    work = lay_out(found, frozen, inputs, folder)
    fit_again(folder)
    served = Weights(found.version.weights, found.version.detector).identity
    told: dict[str, Any] = json.loads((folder / work.comparison).read_bytes())
    assert ((folder / work.head).read_bytes() == served) == told["identical"]
    return told, work, folder


def fit_again(folder: Path) -> None:
    """What DVC runs in a folder."""
    (path,) = folder.glob("rebuild/*/work.json")
    with chdir(folder):
        runner.main(path.relative_to(folder))
