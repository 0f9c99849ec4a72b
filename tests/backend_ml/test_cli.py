"""The command line as a process: what it says when something breaks, and what it imports."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
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
        ({"GALAXYLOOP_PUSH_TOP": "many"}, "push_top"),
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
