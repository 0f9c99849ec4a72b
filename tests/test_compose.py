"""The deployment: what compose.yaml and the Dockerfile promise, as far as it can be checked without containers."""

import ast
import os
import re
import shutil
import subprocess
import sys
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
import yaml

from backend_ml.local.label_studio import SETTINGS
from backend_ml.settings import Settings
from tests.linters import lint

ROOT = Path(__file__).parents[1]
COMPOSE = (ROOT / "compose.yaml").read_text()
DOCKERFILE = (ROOT / "Dockerfile").read_text()
EXAMPLE = (ROOT / ".env.example").read_text()
ENDS = {"cli", "tables", "roles"}
"""Services that do one thing and end: they have no health to look at."""
THREADS = "OMP_NUM_THREADS"
SECRET = re.compile("PASSWORD|SECRET|TOKEN|DATABASE_URL", re.IGNORECASE)
UNDER_A_READ_ONLY_ROOT = """set -e
for place in "$CHECKOUT" "$LIBRARIES"; do
  mount --bind "$place" "$place"
  mount -o remount,ro,bind "$place"
done
mount -t tmpfs -o noexec tmpfs "$WRITABLE"
mkdir "$WRITABLE/tmp" "$WRITABLE/home"
! touch "$CHECKOUT/written" 2>/dev/null
exec "$@"
"""
"""A script that starts a program which cannot write where its own files are."""
VARIABLE = re.compile(r"\$\{(\w+)(:[?-])?([^}]*)\}")


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    """compose.yaml, its merge keys resolved."""
    loaded: dict[str, Any] = yaml.safe_load(COMPOSE)
    return loaded


def test_compose_and_docker_take_the_files() -> None:
    lint("check-jsonschema", "--builtin-schema", "vendor.compose-spec", ROOT / "compose.yaml")
    lint("hadolint", ROOT / "Dockerfile")


def test_services_wait_for_each_others_health_or_end(compose: dict[str, Any]) -> None:
    services = compose["services"]
    for name, service in services.items():
        assert service["restart"] == ("no" if name in ENDS else "unless-stopped")
        assert name in ENDS or service["healthcheck"]["test"][0] == "CMD"
        for other, wait in service.get("depends_on", {}).items():
            ended = "service_completed_successfully" if other in ENDS else "service_healthy"
            assert wait == {"condition": ended}, (name, other)
            # nothing that always runs waits for what a profile leaves out
            assert set(services[other].get("profiles", [])) <= set(service.get("profiles", []))
    assert services["worker"]["depends_on"].keys() == {"roles", "backend", "label-studio"}


def test_profiles_add_to_what_always_runs(compose: dict[str, Any]) -> None:
    profiles: dict[str, set[str]] = {}
    for name, service in compose["services"].items():
        for profile in service.get("profiles") or [""]:
            profiles.setdefault(profile, set()).add(name)
    assert profiles == {
        "": {"postgres", "label-studio", "tables", "roles", "backend", "worker"},
        "cli": {"cli"},
        "gpu": {"gpu-worker"},
        "s3": {"s3"},
        "monitoring": {"prometheus", "grafana"},
        "https": {"proxy"},
    }


def test_no_service_may_more_than_it_needs(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service.get("read_only", False) is (name != "label-studio"), name
        assert not service.get("privileged") and "docker.sock" not in str(service.get("volumes"))


def test_a_read_only_root_gets_its_files_as_files(compose: dict[str, Any]) -> None:
    # Compose mounts a file, but copies `content` and `environment` into the container: "container rootfs is marked
    # read-only" (docker/compose issue 12031)
    for name, service in compose["services"].items():
        for one in service.get("configs", []):
            assert "file" in compose["configs"][one["source"]] or not service.get("read_only"), (name, one)
        assert "secrets" not in service


def test_libraries_find_where_to_write_under_the_read_only_root(compose: dict[str, Any], tmp_path: Path) -> None:
    allowed = ["unshare", "--map-root-user", "--mount"]
    if subprocess.run([*allowed, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this machine lets nobody make a file system read-only")
    user = re.search(r"useradd .*--create-home .* (\w+)$", DOCKERFILE.replace(" \\\n", "\n"), re.MULTILINE)
    assert user is not None
    places = {place.split(":")[0] for place in compose["services"]["worker"]["tmpfs"]}
    home = tmp_path / "home" if f"/home/{user[1]}" in places else ROOT / "nowhere"
    environment = {
        "PATH": os.environ["PATH"],
        "CHECKOUT": str(ROOT),
        "LIBRARIES": sys.prefix,
        "WRITABLE": str(tmp_path),
        "TMPDIR": str(tmp_path / "tmp"),
        "HOME": str(home),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    # lenstronomy is compiled as it is imported, and keeps what was compiled
    program = "import matplotlib.pyplot\nfrom lvm_training.lenses.lensing import lens_model\nlens_model()"
    command = [*allowed, "sh", "-c", UNDER_A_READ_ONLY_ROOT, "sh", sys.executable, "-c", program]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    assert "not a writable directory" not in done.stderr


def test_each_image_has_a_version(compose: dict[str, Any]) -> None:
    images = {service["image"] for service in compose["services"].values()}
    images |= {image for image in re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE) if ":" in image}
    assert len(images) > 8
    for image in images:
        assert re.search(r":v?\d+\.\d+", image), image


def test_each_service_has_a_role_of_its_own_in_the_database(compose: dict[str, Any]) -> None:
    services = compose["services"]
    known = re.findall(r"CREATE ROLE %I|'(galaxyloop_\w+)'", (ROOT / "backend_ml/store/sql/roles.sql").read_text())
    for name, role in (("backend", "galaxyloop_backend"), ("worker", "galaxyloop_worker"), ("cli", "galaxyloop")):
        given = services[name]["environment"]
        urls = [value for setting, value in given.items() if setting.endswith("DATABASE_URL")]
        assert urls and all(url.startswith(f"postgresql://{role}:") for url in urls)
        assert role in known or name == "cli"
    assert "GALAXYLOOP_LABEL_STUDIO_DATABASE_URL" not in services["backend"]["environment"]
    assert services["label-studio"]["environment"]["POSTGRE_USER"] == "label_studio"


def test_the_proxy_alone_says_who_calls(compose: dict[str, Any]) -> None:
    network = compose["networks"]["default"]["ipam"]["config"][0]
    address = compose["services"]["proxy"]["networks"]["default"]["ipv4_address"]
    assert compose["services"]["backend"]["environment"]["GALAXYLOOP_PROXIES"] == address
    assert ip_address(address) in ip_network(network["subnet"])
    assert ip_address(address) not in ip_network(network["ip_range"])
    caddyfile = (ROOT / "deploy/https/Caddyfile").read_text()
    given = compose["services"]["proxy"]["environment"]
    assert set(re.findall(r"\{\$(\w+)\}", caddyfile)) == given.keys()
    assert "trusted_proxies" not in caddyfile
    reached = set(re.findall(r"reverse_proxy (\S+):", caddyfile))
    assert reached == {"backend", "label-studio"}


def test_prometheus_and_grafana_get_what_they_read(compose: dict[str, Any]) -> None:
    configs = compose["configs"]
    for config in configs.values():
        assert (ROOT / config["file"]).is_file()
    used = {one["source"] for service in compose["services"].values() for one in service.get("configs", [])}
    assert used == configs.keys()
    targets = {one["source"]: one["target"] for one in compose["services"]["prometheus"]["configs"]}
    assert f"--config.file={targets['prometheus']}" in compose["services"]["prometheus"]["command"]
    (provider,) = yaml.safe_load((ROOT / configs["grafana-dashboards"]["file"]).read_text())["providers"]
    dashboard = {one["source"]: one["target"] for one in compose["services"]["grafana"]["configs"]}["dashboard"]
    assert Path(dashboard).parent == Path(provider["options"]["path"])
    (source,) = yaml.safe_load((ROOT / configs["grafana-source"]["file"]).read_text())["datasources"]
    assert source["url"] == "http://prometheus:9090"


def test_prometheus_starts_with_the_backends_token(compose: dict[str, Any], tmp_path: Path) -> None:
    service = compose["services"]["prometheus"]
    assert service["environment"].keys() == {"METRICS_TOKEN"}
    given = compose["services"]["backend"]["environment"]["GALAXYLOOP_METRICS_TOKEN"]
    assert service["environment"]["METRICS_TOKEN"] == given
    scraped = yaml.safe_load((ROOT / "deploy/prometheus.yml").read_text())["scrape_configs"][0]
    token = Path(scraped["authorization"]["credentials_file"])
    assert f"{token.parent}:uid=65534,mode=0700" in service["tmpfs"]
    program = tmp_path / "prometheus"
    program.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    program.chmod(0o755)
    # Compose reads $$ as $
    entry = [word.replace("$$", "$").replace(str(token.parent), str(tmp_path)) for word in service["entrypoint"]]
    environment = {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}", "METRICS_TOKEN": "hush"}
    command = [*entry, *service["command"]]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines() == service["command"]
    assert (tmp_path / token.name).read_text() == "hush"
    assert (tmp_path / token.name).stat().st_mode & 0o077 == 0


def test_health_checks_in_python_are_python(compose: dict[str, Any]) -> None:
    checks = [service["healthcheck"]["test"] for service in compose["services"].values() if "healthcheck" in service]
    programs = [command[3] for command in checks if command[2] == "-c"]
    assert len(programs) == 4
    for program in programs:
        ast.parse(program)


def test_everything_kept_lies_in_a_named_volume(compose: dict[str, Any]) -> None:
    used = {mount.split(":")[0] for service in compose["services"].values() for mount in service.get("volumes", [])}
    assert used == compose["volumes"].keys()


def test_no_secret_has_a_value_or_a_default(compose: dict[str, Any]) -> None:
    secrets = 0
    for service in compose["services"].values():
        for name, value in service.get("environment", {}).items():
            if SECRET.search(name) and value.lower() not in ("true", "false"):
                assert re.search(r"\$\{\w+:\?\}", value), f"{name} has no required variable"
                secrets += 1
    assert secrets > 20
    for name, how, default in VARIABLE.findall(COMPOSE):
        assert how == (":?" if SECRET.search(name) or not default else ":-"), name


def test_the_example_names_what_must_be_set_and_its_command_draws_the_secrets(tmp_path: Path) -> None:
    assert {name for name, how, _ in VARIABLE.findall(COMPOSE) if how == ":?"} == {
        name for name, _ in re.findall(r"^(\w+)=(.*)$", EXAMPLE, re.MULTILINE)
    } - {"GALAXYLOOP_LISTEN"}
    drawn = [draw_secrets(tmp_path / name) for name in ("first", "second")]
    for name, value in drawn[0].items():
        if re.search(f"^{name}=$", EXAMPLE, re.MULTILINE):
            assert re.fullmatch("[0-9a-f]{40}", value)
            assert list(drawn[0].values()).count(value) == 1 and value != drawn[1][name]
        else:
            assert not SECRET.search(name) and value == drawn[1][name]
    assert (tmp_path / "first/.env").stat().st_mode & 0o077 == 0


def draw_secrets(folder: Path) -> dict[str, str]:
    """What the command in .env.example makes of it, in a folder."""
    folder.mkdir()
    (folder / ".env.example").write_text(EXAMPLE)
    command = re.findall(r"^#   (.*)$", EXAMPLE, re.MULTILINE)
    subprocess.run(["sh", "-c", "\n".join(command)], cwd=folder, timeout=60, check=True)
    lines = [line for line in (folder / ".env").read_text().splitlines() if line and not line.startswith("#")]
    return {name: value for name, _, value in (line.partition("=") for line in lines)}


def test_the_backend_gets_settings_that_exist(compose: dict[str, Any]) -> None:
    fields = {f"GALAXYLOOP_{field.upper()}" for field in Settings.model_fields}
    for name in ("backend", "worker", "gpu-worker", "cli", "tables"):
        given = compose["services"][name]["environment"]
        assert given.keys() <= fields | {THREADS}
        assert given.keys() >= {"GALAXYLOOP_DATABASE_URL", "GALAXYLOOP_PUBLIC_URL", "GALAXYLOOP_SECRET"}
    worker, gpu = (compose["services"][name]["environment"] for name in ("worker", "gpu-worker"))
    assert worker == gpu | {THREADS: "1"}
    assert set(re.findall(r"GALAXYLOOP_\w+", DOCKERFILE)) <= fields


@pytest.mark.parametrize("name", ["backend", "worker", "gpu-worker"])
def test_containers_compute_and_stop_as_the_units_of_systemd_do(compose: dict[str, Any], name: str) -> None:
    (path,) = (ROOT / "deploy/systemd").glob(f"galaxyloop-{name}*.service")
    unit, service = path.read_text(), compose["services"][name]
    assert (f"Environment={THREADS}=1\n" in unit) is (service["environment"].get(THREADS) == "1")
    assert ("TimeoutStopSec=120s" in unit) is (service.get("stop_grace_period") == "2m")


def test_logs_do_not_fill_the_disk(compose: dict[str, Any]) -> None:
    # Docker's own driver, json-file, keeps all; this one rotates (docs.docker.com, "Local file logging driver")
    assert {str(service.get("logging")) for service in compose["services"].values()} == {"{'driver': 'local'}"}


def test_the_s3_server_listens_and_keeps_where_it_is_said(compose: dict[str, Any]) -> None:
    # as versitygw's cmd/versitygw reads them, of v1.7.0 and later; no registry here has the program
    service = compose["services"]["s3"]
    given = service["environment"]
    assert given.keys() == {"ROOT_ACCESS_KEY_ID", "ROOT_SECRET_ACCESS_KEY", "VGW_PORT", "VGW_HEALTH"}
    backend, folder = service["command"]
    assert backend == "posix" and service["volumes"] == [f"s3:{folder}"]
    assert f"docker compose exec s3 mkdir {folder}/" in (ROOT / "docs/howto/buckets.md").read_text()
    (published,) = service["ports"]
    assert published.endswith(given["VGW_PORT"])
    assert service["healthcheck"]["test"][-1] == f"http://127.0.0.1{given['VGW_PORT']}{given['VGW_HEALTH']}"


def test_grafana_fetches_nothing(compose: dict[str, Any]) -> None:
    given = compose["services"]["grafana"]["environment"]
    off = {name for name, value in given.items() if value == "false"}
    assert given["GF_PLUGINS_PREINSTALL_DISABLED"] == "true"
    assert off == {
        "GF_ANALYTICS_REPORTING_ENABLED",
        "GF_ANALYTICS_CHECK_FOR_UPDATES",
        "GF_ANALYTICS_CHECK_FOR_PLUGIN_UPDATES",
        "GF_NEWS_NEWS_FEED_ENABLED",
    }


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
    made = (ROOT / compose["configs"][postgres["configs"][0]["source"]]["file"]).read_text()
    assert f"CREATE DATABASE {name} OWNER {label_studio['environment']['POSTGRE_USER']};" in made
    assert postgres["configs"][0]["target"].startswith("/docker-entrypoint-initdb.d/")
    assert name in postgres["healthcheck"]["test"]


def test_only_the_pages_people_open_are_published_and_to_this_host_alone(compose: dict[str, Any]) -> None:
    published = {name: service["ports"] for name, service in compose["services"].items() if "ports" in service}
    assert published.pop("proxy") == ["80:80", "443:443", "443:443/udp"]
    assert published.keys() == {"backend", "label-studio", "grafana", "s3"}
    for (port,) in published.values():
        assert port.startswith(("${GALAXYLOOP_LISTEN:-127.0.0.1}:", "127.0.0.1:"))


def test_the_image_is_hash_checked_and_not_root() -> None:
    installs = [line for line in re.findall(r"pip install [^\n]*", DOCKERFILE) if "--editable" not in line]
    unchecked = [line for line in installs if "--require-hashes" not in line]
    assert len(installs) == 5
    # uv itself, by its version; and PyTorch from its own index, by the lock's versions
    assert ["uv==" in line for line in unchecked] == [True, False]
    assert "https://download.pytorch.org/whl/cpu" in unchecked[1]
    assert re.search(r"^USER 10001$", DOCKERFILE, re.MULTILINE)
    assert DOCKERFILE.rindex("USER") > DOCKERFILE.rindex("RUN")
    makefile = (ROOT / "Makefile").read_text()
    versions = [re.search(r"UV_VERSION ?:?= ?([\d.]+)", text) for text in (makefile, DOCKERFILE)]
    assert all(versions)
    assert len({version[1] for version in versions if version}) == 1


def test_each_target_that_compose_builds_is_there(compose: dict[str, Any]) -> None:
    built = {service["build"]["target"] for service in compose["services"].values() if "build" in service}
    for service in compose["services"].values():
        assert service.get("build", {}).get("args", {}).keys() == ({"REVISION"} if "build" in service else set())
    assert re.search(r"^ARG REVISION=.*\nRUN .*> REVISION$", DOCKERFILE, re.MULTILINE)
    assert built == {"cpu", "cuda"} <= set(re.findall(r"^FROM \S+ AS ([\w-]+)$", DOCKERFILE, re.MULTILINE))


def test_the_image_without_cuda_has_the_rest_of_the_lock() -> None:
    program, torch = re.search(r"awk '([^']+)'", DOCKERFILE), re.search(r"extended-regexp '([^']+)'", DOCKERFILE)
    assert program and torch
    lock = ROOT / "requirements/cpu.txt"
    kept = subprocess.run(["awk", program[1], lock], capture_output=True, text=True, timeout=60, check=True).stdout
    names = {text: set(re.findall(r"^([a-z][\w.-]*)==", text, re.MULTILINE)) for text in (kept, lock.read_text())}
    left_out = names[lock.read_text()] - names[kept]
    assert {"torch", "torchvision", "triton", "nvidia-cudnn-cu13", "cuda-toolkit"} <= left_out
    assert all(name.startswith(("torch", "triton", "nvidia-", "cuda-")) for name in left_out)
    assert {"torchmetrics", "lightning", "nvidia-ml-py"} <= names[kept]
    assert not re.search(r"^ +--hash", kept.partition("==")[0], re.MULTILINE)
    found = re.findall(torch[1].replace("(torch|", "(?:torch|"), lock.read_text(), re.MULTILINE)
    assert [name.partition("==")[0] for name in found] == ["torch", "torchvision"]


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
        "dvc.lock",
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
