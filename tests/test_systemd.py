"""The systemd units: their commands are ours, they start in order, and systemd takes them."""

import re
import shlex
import shutil
import subprocess
from itertools import pairwise
from pathlib import Path

import pytest
from typer.core import TyperGroup
from typer.main import get_command

from backend_ml.cli.main import Queue, app
from backend_ml.local.label_studio import SETTINGS

ROOT = Path(__file__).parents[1]
UNITS = sorted((ROOT / "deploy/systemd").iterdir())
PLACE = "/opt/galaxyloop"
Unit = dict[str, dict[str, list[str]]]


def read(path: Path) -> Unit:
    """The values of each directive, by section."""
    unit: Unit = {}
    for line in path.read_text().splitlines():
        if line.startswith("["):
            section = unit.setdefault(line.strip("[]"), {})
        elif line and not line.startswith("#"):
            name, separator, value = line.partition("=")
            assert separator and name.isalpha(), line
            section.setdefault(name, []).append(value)
    return unit


@pytest.fixture(scope="module")
def units() -> dict[str, Unit]:
    """Every unit by its name."""
    return {path.name.removesuffix(".service"): read(path) for path in UNITS}


def test_the_four_services_are_there(units: dict[str, Unit]) -> None:
    assert units.keys() == {f"galaxyloop-{name}" for name in ("backend", "worker", "gpu-worker@", "label-studio")}


def test_what_they_start_is_ours(units: dict[str, Unit]) -> None:
    ours = get_command(app)
    assert isinstance(ours, TyperGroup)
    for name, unit in units.items():
        (started,) = unit["Service"]["ExecStart"]
        program, *words = shlex.split(started)
        if name == "galaxyloop-label-studio":
            assert program == f"{PLACE}/.venv-label-studio/bin/label-studio" and words[0] == "start"
            continue
        assert program == f"{PLACE}/.venv/bin/galaxyloop"
        assert words[:2] == ["--log", "info"]
        command = ours.commands[words[2]]
        offered = {option for parameter in command.params for option in parameter.opts}
        assert {word for word in words[3:] if word.startswith("-")} <= offered
        queues = {word for before, word in pairwise(words) if before == "--queue"}
        assert queues <= set(Queue)
        assert queues == ({"gpu"} if "gpu" in name else set())


def test_they_come_back_and_may_do_little(units: dict[str, Unit]) -> None:
    kept = {"NoNewPrivileges": "true", "ProtectSystem": "strict", "ProtectHome": "true", "PrivateTmp": "true"}
    for name, unit in units.items():
        service = unit["Service"]
        assert service["Restart"] == ["on-failure"]
        assert service["User"] == ["galaxyloop"] and service["CapabilityBoundingSet"] == [""]
        for directive, value in kept.items():
            assert service[directive] == [value], name
        assert ("PrivateDevices" in service) is ("gpu" not in name)
        # uploads are decoded under a limit of memory, which a filter of @resources would forbid
        assert "@resources" not in str(service["SystemCallFilter"])
        (environment,) = service["EnvironmentFile"]
        assert environment.startswith("/etc/galaxyloop/")
        given = [one.partition("=") for one in service.get("Environment", [])]
        assert not [name for name, _, value in given if re.search("PASSWORD|SECRET|TOKEN", name) and value != "true"]
    worker = units["galaxyloop-worker"]["Unit"]["After"][0].split()
    assert worker[-2:] == ["postgresql.service", "galaxyloop-label-studio.service"]
    # services of different rights in the database read different files
    files = [unit["Service"]["EnvironmentFile"][0] for unit in units.values()]
    assert len(set(files)) == 3


def test_label_studio_has_the_switches_it_was_measured_with(units: dict[str, Unit]) -> None:
    given = dict(one.split("=", 1) for one in units["galaxyloop-label-studio"]["Service"]["Environment"])
    # what the embedded PostgreSQL alone lacks
    wanted = {name: value for name, value in SETTINGS.items() if not name.startswith("SKIP_")}
    assert given == wanted | {
        "LABEL_STUDIO_BASE_DATA_DIR": "/var/lib/galaxyloop/label-studio",
        "DJANGO_DB": "default",
    }


def test_systemd_takes_them(tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("no systemd-analyze here")
    for path in UNITS:
        # a verified program must be there; this one stands for those of /opt
        text = path.read_text().replace(f"ExecStart={PLACE}/.venv", f"ExecStart={tmp_path}/.venv")
        (tmp_path / path.name).write_text(text)
    for program in (".venv/bin/galaxyloop", ".venv-label-studio/bin/label-studio"):
        (tmp_path / program).parent.mkdir(parents=True)
        (tmp_path / program).write_text("#!/bin/sh\n")
        (tmp_path / program).chmod(0o755)
    done = subprocess.run(
        [analyze, "verify", "--man=no", *(tmp_path / path.name for path in UNITS)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert str(tmp_path) not in done.stderr, done.stderr  # an unknown directive is only told
