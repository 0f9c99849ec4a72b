"""The deployment: what compose.yaml and the Dockerfile promise, as far as it can be checked without containers."""

import ast
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from backend_ml.local.label_studio import SETTINGS
from backend_ml.settings import Settings

ROOT = Path(__file__).parents[1]
COMPOSE = (ROOT / "compose.yaml").read_text()
DOCKERFILE = (ROOT / "Dockerfile").read_text()
SECRET = re.compile("PASSWORD|SECRET|TOKEN|DATABASE_URL", re.IGNORECASE)
VARIABLE = re.compile(r"\$\{(\w+)(:[?-])?([^}]*)\}")


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    """compose.yaml, its merge keys resolved."""
    loaded: dict[str, Any] = yaml.safe_load(COMPOSE)
    return loaded


def test_the_four_services_wait_for_each_others_health(compose: dict[str, Any]) -> None:
    services = compose["services"]
    assert services.keys() == {"postgres", "label-studio", "backend", "worker"}
    for service in services.values():
        assert service["healthcheck"]["test"][0] == "CMD"
        assert service["restart"] == "unless-stopped"
        for other, wait in service.get("depends_on", {}).items():
            assert other in services
            assert wait == {"condition": "service_healthy"}
    assert services["worker"]["depends_on"].keys() == {"backend", "label-studio"}


def test_health_checks_in_python_are_python(compose: dict[str, Any]) -> None:
    commands = [service["healthcheck"]["test"] for service in compose["services"].values()]
    programs = [command[3] for command in commands if command[2] == "-c"]
    assert len(programs) == 3
    for program in programs:
        ast.parse(program)


def test_everything_kept_lies_in_a_named_volume(compose: dict[str, Any]) -> None:
    used = {mount.split(":")[0] for service in compose["services"].values() for mount in service["volumes"]}
    assert used == compose["volumes"].keys()


def test_no_secret_has_a_value_or_a_default(compose: dict[str, Any]) -> None:
    secrets = 0
    for service in compose["services"].values():
        for name, value in service["environment"].items():
            if SECRET.search(name) and value.lower() not in ("true", "false"):
                assert re.search(r"\$\{\w+:\?\}", value), f"{name} has no required variable"
                secrets += 1
    assert secrets > 8
    for name, how, default in VARIABLE.findall(COMPOSE):
        assert how == (":?" if SECRET.search(name) or not default else ":-"), name


def test_the_backend_gets_settings_that_exist(compose: dict[str, Any]) -> None:
    for name in ("backend", "worker"):
        given = compose["services"][name]["environment"]
        fields = {f"GALAXYLOOP_{field.upper()}" for field in Settings.model_fields}
        assert given.keys() <= fields
        assert given.keys() >= {"GALAXYLOOP_DATABASE_URL", "GALAXYLOOP_PUBLIC_URL", "GALAXYLOOP_SECRET"}
    assert compose["services"]["backend"]["environment"] == compose["services"]["worker"]["environment"]
    assert set(re.findall(r"GALAXYLOOP_\w+", DOCKERFILE)) <= fields


def test_label_studio_runs_with_the_settings_it_was_measured_with(compose: dict[str, Any]) -> None:
    given = compose["services"]["label-studio"]["environment"]
    needless = {"SKIP_TRIGRAM_EXTENSION", "SKIP_BTREE_GIN_EXTENSION"}  # the image's PostgreSQL has both extensions
    assert {name: given.get(name) for name in SETTINGS if name not in needless} == {
        name: value for name, value in SETTINGS.items() if name not in needless
    }
    version = re.search(r"label-studio==([\d.]+)", (ROOT / "requirements/label-studio.in").read_text())
    assert version is not None
    assert compose["services"]["label-studio"]["image"].endswith(f":{version[1]}")


def test_label_studios_database_is_made_before_it_starts(compose: dict[str, Any]) -> None:
    postgres, label_studio = compose["services"]["postgres"], compose["services"]["label-studio"]
    name = label_studio["environment"]["POSTGRE_NAME"]
    assert compose["configs"][postgres["configs"][0]["source"]]["content"] == f"CREATE DATABASE {name};"
    assert postgres["configs"][0]["target"].startswith("/docker-entrypoint-initdb.d/")
    assert name in postgres["healthcheck"]["test"]


def test_only_the_pages_people_open_are_published(compose: dict[str, Any]) -> None:
    published = {name: service.get("ports", []) for name, service in compose["services"].items()}
    assert published["postgres"] == published["worker"] == []
    assert [port.rsplit(":", 1)[1] for port in published["backend"] + published["label-studio"]] == ["9090", "8080"]


def test_the_image_is_hash_checked_and_not_root() -> None:
    installs = re.findall(r"pip install [^\n]*", DOCKERFILE)
    assert [("--require-hashes" in line) or ("--editable" in line) for line in installs] == [False, True, True, True]
    assert re.search(r"^USER galaxyloop$", DOCKERFILE, re.MULTILINE)
    assert DOCKERFILE.rindex("USER") > DOCKERFILE.rindex("RUN")
    makefile = (ROOT / "Makefile").read_text()
    versions = [re.search(r"UV_VERSION ?:?= ?([\d.]+)", text) for text in (makefile, DOCKERFILE)]
    assert all(versions)
    assert len({version[1] for version in versions if version}) == 1


def test_the_image_gets_what_it_copies() -> None:
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert kept >= {
        "backend_ml",
        "lvm_training",
        "label_config",
        "models",
        "requirements",
        "pyproject.toml",
        "README.md",
    }
    for name in re.findall(r"requirements/\w+\.txt", DOCKERFILE):
        assert (ROOT / name).is_file()


def test_compose_itself_reads_the_file(tmp_path: Path) -> None:
    docker = shutil.which("docker")
    if docker is None or subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode:
        pytest.skip("no docker compose here")
    config = [docker, "compose", "--file", str(ROOT / "compose.yaml"), "config", "--quiet"]
    required = {name: "x" for name, how, _ in VARIABLE.findall(COMPOSE) if how == ":?"}
    path = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    assert subprocess.run(config, env=path | required, capture_output=True, check=False).returncode == 0
    refused = subprocess.run(config, env=path, capture_output=True, text=True, check=False)
    assert refused.returncode != 0
    assert "required variable" in refused.stderr
