"""The command line as a process: what it says when something breaks, and what it imports."""

import gc
import json
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from backend_ml.cli.main import COMMANDS, app, imported, importing
from backend_ml.store.database import Database
from backend_ml.store.records import Campaign
from lvm_training.paths import RELEASED_LVM

REPOSITORY = Path(__file__).parents[3]
TOKEN, PASSWORD = "9f8e7d6c5b4a39281706f5e4d3c2b1a098765432", "star light+dust"
SECRETS = {
    "GALAXYLOOP_SECRET": "hush-hush",
    "GALAXYLOOP_LABEL_STUDIO_TOKEN": TOKEN,
    "GALAXYLOOP_TEAM_PASSWORD": PASSWORD,
    "GALAXYLOOP_DATABASE_URL": "postgresql:///galaxyloop?host=/nowhere",
}


def galaxyloop(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GALAXYLOOP_")}
    return subprocess.run(
        [sys.executable, "-m", "backend_ml", *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=REPOSITORY,
        env=kept | environment,
    )


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"GALAXYLOOP_PUSH_TOP": "many"}, "GALAXYLOOP_PUSH_TOP"),
        ({"GALAXYLOOP_DATABASE_URL": f"postgresql://anne:{PASSWORD}@host/db"}, "address of the database"),
        ({"GALAXYLOOP_LABEL_STUDIO_TOKEN": f"{TOKEN}\n"}, "no token of Label Studio's"),
        ({"GALAXYLOOP_LABEL_STUDIO_TOKEN": f"é{TOKEN}"}, "no token of Label Studio's"),
    ],
    ids=["a setting", "the database's address", "a line's end", "a foreign letter"],
)
@pytest.mark.parametrize("command", [("campaign", "sync", "x"), ("worker",)], ids=lambda one: one[0])
def test_a_command_that_breaks_tells_no_secret(command: tuple[str, ...], wrong: dict[str, str], said: str) -> None:
    done = galaxyloop(*command, **(SECRETS | wrong))
    told = done.stdout + done.stderr
    assert done.returncode != 0
    assert said in told
    assert not [secret for secret in (TOKEN, PASSWORD, "hush-hush") if secret in told]


@pytest.mark.parametrize(
    ("group", "command"),
    [("embed", ""), ("campaign", "create"), ("explore", ""), ("search", ""), ("replay", "")],
    ids=lambda name: name or "-",
)
def test_every_command_begins_with_the_released_encoder(group: str, command: str) -> None:
    found: Any = imported(group)
    found = found.commands[command] if command else found
    (encoder,) = [param for param in found.params if param.name == "encoder"]
    assert encoder.default == str(RELEASED_LVM)


HEAVY = {"torch", "timm", "lightning", "detectron2", "cv2", "astropy", "h5py", "sklearn", "scipy", "faiss", "galsim"}
HEAVY |= {"matplotlib", "pandas", "dvc", "fastapi", "uvicorn", "label_studio_sdk", "procrastinate", "yaml"}
WORKING = {"numpy", "psycopg", "psycopg_pool", "pydantic_settings", "httpx"}  # what many a command needs
AROUND = {
    "structlog",
    "rich",
    "pydantic",
}  # for log lines, tables and errors; typer checks the types of options with it
IMPORTED = """
import atexit, sys
from pathlib import Path
from typing import Any
atexit.register(lambda: Path(sys.argv.pop(1)).write_text("\\n".join({name.partition(".")[0] for name in sys.modules})))
from backend_ml.cli.main import app
app(sys.argv[2:], prog_name="galaxyloop")
"""


def imports(folder: Path, *arguments: str, ends: int = 0, **environment: str) -> tuple[set[str], str]:
    """The packages that a command has imported at its end, and what it printed."""
    found = folder / "imported"
    done = subprocess.run(
        [sys.executable, "-c", IMPORTED, str(found), *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=REPOSITORY,
        env=os.environ | environment,
    )
    assert done.returncode == ends, done.stderr
    return set(found.read_text().split()), done.stdout


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_the_command_line_itself_imports_nothing_heavy(tmp_path: Path, option: str) -> None:
    found, said = imports(tmp_path, option)
    assert not found & (HEAVY | WORKING | AROUND)
    assert "campaign" in said if option == "--help" else said == f"galaxyloop {version('galaxyloop')}\n"


@pytest.mark.parametrize("command", list(COMMANDS))
def test_the_help_of_a_command_imports_nothing_heavy(tmp_path: Path, command: str) -> None:
    found, said = imports(tmp_path, command, "--help")
    assert not found & (HEAVY | WORKING)
    assert f"Usage: galaxyloop {command}" in said


@pytest.mark.parametrize("command", ["sync", "close", "pause"])
def test_a_wrong_setting_is_said_before_anything_heavy_is_imported(tmp_path: Path, command: str) -> None:
    found, _ = imports(tmp_path, "campaign", command, "x", ends=1, GALAXYLOOP_PUSH_TOP="many")
    assert not found & HEAVY


def test_the_status_of_a_campaign_is_told_without_what_learns_and_serves(
    tmp_path: Path, database: Database, campaign: Campaign
) -> None:
    found, said = imports(tmp_path, "campaign", "status", campaign.name, "--json", GALAXYLOOP_DATABASE_URL=database.url)
    assert not found & (HEAVY | {"httpx"})
    status = json.loads(said)
    assert status["name"] == campaign.name and status["waiting"] == 10 and status["pool"] is None


@pytest.mark.parametrize("name", list(COMMANDS))
def test_the_line_of_a_command_is_what_its_own_help_begins_with(name: str) -> None:
    assert imported(name).name == name
    assert (imported(name).help or "").partition("\n")[0] == COMMANDS[name][1]


def test_what_cannot_be_imported_leaves_garbage_to_be_collected() -> None:
    with pytest.raises(ImportError), importing():
        assert not gc.isenabled()
        raise ImportError
    assert gc.isenabled()


def test_a_mistyped_command_is_guessed() -> None:
    told = CliRunner().invoke(app, ["campain"])
    assert told.exit_code == 2 and "'campaign'" in told.output
