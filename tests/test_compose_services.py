"""compose.yaml without containers: each service's command and environment as a process here, in the order of Compose.

What differs from containers is said in `Services`: images' own servers, host names, ports, folders.
"""

import json
import os
import re
import shlex
import shutil
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
import yaml

from backend_ml.campaign.create import CampaignMaker
from backend_ml.campaign.defer import GPU, defer_encoder
from backend_ml.label_studio.client import LabelStudio
from backend_ml.local import label_studio as local_label_studio
from backend_ml.local import processes
from backend_ml.local.postgres import PROGRAMS, EmbeddedPostgres, start_embedded
from backend_ml.settings import Settings
from backend_ml.store.campaigns import all_campaigns
from backend_ml.store.database import Database
from tests.live.campaigns import choice, plan, silent, truth
from tests.test_compose import ROOT, VARIABLE, draw_secrets

pytestmark = [pytest.mark.live, pytest.mark.timeout(900)]

HEALTHY_SECONDS = 300


class Services:
    """The services that run without a profile, and with that of a GPU.

    The images' own servers are those of this machine: the embedded PostgreSQL, which knows no passwords, and Label
    Studio of `.venv-label-studio`. Names of services become addresses here, volumes folders below `home`. The profile
    `gpu` is on, and the worker leaves trainings to its own.
    """

    def __init__(self, home: Path, stack: ExitStack, python: Path) -> None:
        self.home, self._stack, self._python = home, stack, str(python)
        self.ports = {"backend": processes.free_port(), "label-studio": processes.free_port()}
        set_by_hand = {
            "GALAXYLOOP_WORKER": "worker --queue default --queue embed",
            "GALAXYLOOP_PUBLIC_URL": f"http://127.0.0.1:{self.ports['backend']}",
            "GALAXYLOOP_LABEL_STUDIO_PUBLIC_URL": f"http://127.0.0.1:{self.ports['label-studio']}",
        }
        self.variables = draw_secrets(home / "secrets") | set_by_hand
        text = VARIABLE.sub(lambda found: self.variables.get(found[1], found[3]), (ROOT / "compose.yaml").read_text())
        assert "${" not in text
        self.compose: dict[str, Any] = yaml.safe_load(text)
        self.postgres: EmbeddedPostgres

    def __getitem__(self, name: str) -> dict[str, Any]:
        service: dict[str, Any] = self.compose["services"][name]
        return service

    def order(self) -> Iterator[str]:
        """The services in the order in which Compose starts them."""
        waits = {
            name: set(service.get("depends_on", {}))
            for name, service in self.compose["services"].items()
            if set(service.get("profiles", [])) <= {"gpu"}
        }
        return TopologicalSorter(waits).static_order()

    def environment(self, name: str) -> dict[str, str]:
        """A service's environment, with addresses and folders of this machine."""
        socket = str(self.postgres.socket_dir)
        places = {
            r"@postgres/(\w+)": rf"@/\1?host={socket}&port=5432",
            "^postgres$": socket,
            "http://backend:9090": f"http://127.0.0.1:{self.ports['backend']}",
            "http://label-studio:8080": f"http://127.0.0.1:{self.ports['label-studio']}",
            "^/store$": str(self.home / "store"),
            "^172.31.90.2$": "127.0.0.1",
        }
        given: dict[str, str] = dict(self[name].get("environment", {}))
        for pattern, place in places.items():
            given = {setting: re.sub(pattern, place, value) for setting, value in given.items()}
        assert not [value for value in given.values() if re.search(r"//(backend|label-studio|postgres)\b", value)]
        return given

    def whole_environment(self, name: str) -> dict[str, str]:
        """The same, with what the image itself sets, and what keeps the test short."""
        few = {"GALAXYLOOP_SIMULATED_STAMPS": "0", "GALAXYLOOP_PRECISION": "float32", "OMP_NUM_THREADS": "1"}
        kept = {
            setting: value
            for setting, value in os.environ.items()
            if not setting.startswith(("GALAXYLOOP_", "POSTGRE", "PG", "LABEL_STUDIO"))
        }
        return kept | few | {"GALAXYLOOP_HOME": str(self.home / name)} | self.environment(name)

    def command(self, name: str) -> list[str]:
        """A service's command; Compose splits a text as a shell does."""
        given = self[name]["command"]
        return shlex.split(given) if isinstance(given, str) else given

    def here(self, name: str, words: list[str]) -> list[str]:
        """A command with the port that its service has here."""
        port = {"backend": ("9090", "backend"), "label-studio": ("8080", "label-studio")}.get(name)
        return [word.replace(port[0], str(self.ports[port[1]])) for word in words] if port else words

    def galaxyloop(self, name: str, *command: str) -> subprocess.CompletedProcess[str]:
        """A command of the image, in the environment of a service, until it ends."""
        return subprocess.run(
            [self._python, "-m", "backend_ml", *command],
            env=self.whole_environment(name),
            capture_output=True,
            text=True,
            timeout=280,
            check=False,
        )

    def start(self, name: str) -> None:
        """Start a service, and wait for what others wait for."""
        special = {"postgres": self._start_postgres, "label-studio": self._start_label_studio, "roles": self._psql}
        if name in special:
            special[name]()
        elif self[name]["restart"] == "no":
            done = self.galaxyloop(name, *self.command(name))
            assert done.returncode == 0, done.stderr
        else:
            command = [self._python, "-m", "backend_ml", *self.here(name, self.command(name))]
            self._run(name, command, self.whole_environment(name))
        if "healthcheck" in self[name]:
            processes.wait_until(lambda: self.healthy(name), HEALTHY_SECONDS, what=f"{name} to be healthy")

    def healthy(self, name: str) -> bool:
        """What its health check says."""
        _, program, *rest = self.here(name, self[name]["healthcheck"]["test"])
        if name == "postgres":
            rest = [str(self.postgres.socket_dir) if word == "127.0.0.1" else word for word in rest]
            program = str(PROGRAMS / program)
        else:
            program = self._python
        environment = self.whole_environment(name)
        return subprocess.run([program, *rest], env=environment, capture_output=True, check=False).returncode == 0

    def _run(self, name: str, command: list[str], environment: dict[str, str]) -> None:
        self._stack.enter_context(processes.start(self.home, name, command, environment=environment))

    def _start_postgres(self) -> None:
        self.postgres = self._stack.enter_context(start_embedded(self.home))
        # what the image does with an empty volume: the owner, and the script in docker-entrypoint-initdb.d
        user = self.environment("postgres")["POSTGRES_USER"]
        with psycopg.connect(self.postgres.url("galaxyloop"), autocommit=True) as connection:
            connection.execute(f"CREATE ROLE {user} SUPERUSER LOGIN")  # type: ignore[call-overload]
        script = ROOT / self.compose["configs"]["databases"]["file"]
        environment = self.environment("postgres") | {"PGUSER": user, "PGDATABASE": "postgres"}
        self._psql_with(environment, ["--set=ON_ERROR_STOP=1", f"--file={script}"])

    def _start_label_studio(self) -> None:
        # its PostgreSQL has no extensions here
        needless = dict.fromkeys(("SKIP_TRIGRAM_EXTENSION", "SKIP_BTREE_GIN_EXTENSION"), "full")
        data = {"LABEL_STUDIO_BASE_DATA_DIR": str(self.home / "label-studio"), "GALAXYLOOP_HOME": ""}
        environment = self.whole_environment("label-studio") | needless | data
        program = local_label_studio.find_label_studio()
        url = (
            f"postgresql://{environment['POSTGRE_USER']}@/{environment['POSTGRE_NAME']}?host={self.postgres.socket_dir}"
        )
        (self.home / "label-studio").mkdir()
        local_label_studio.migrate(self.home, program, environment, url, ROOT / "build", lambda _: None)
        port = str(self.ports["label-studio"])
        command = [str(program), "start", "--no-browser", "--internal-host", "127.0.0.1", "--port", port]
        self._run("label-studio", command, environment)

    def _psql(self) -> None:
        files = {one["target"]: self.compose["configs"][one["source"]] for one in self["roles"]["configs"]}
        program, *options = [*self["roles"]["entrypoint"], *self["roles"]["command"]]
        assert program == "psql"
        for target, config in files.items():
            options = [option.replace(target, str(ROOT / config["file"])) for option in options]
        self._psql_with(self.environment("roles"), options)

    def _psql_with(self, settings: dict[str, str], options: list[str]) -> None:
        environment = {"PATH": os.environ["PATH"], "PGHOST": str(self.postgres.socket_dir)} | settings
        done = subprocess.run(
            [PROGRAMS / "psql", *options], env=environment, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory, warm_interpreter: Path) -> Iterator[Services]:
    """All of them, started one after another and stopped in the other order."""
    with ExitStack() as stack:
        home = stack.enter_context(processes.own(tmp_path_factory.mktemp("compose")))
        made = Services(home, stack, warm_interpreter)
        started = list(made.order())
        assert started.index("tables") < started.index("roles") < started.index("backend") < started.index("worker")
        for name in started:
            made.start(name)
        yield made


@pytest.fixture(scope="module")
def settings(services: Services) -> Settings:
    """What `docker compose run cli` knows."""
    given = services.environment("cli")
    values = {name.removeprefix("GALAXYLOOP_").lower(): value for name, value in given.items()}
    return Settings.model_validate(values | {"home": services.home / "cli", "simulated_stamps": 0})


def test_a_galaxy_is_labelled_and_all_is_well(services: Services, settings: Settings, tmp_path: Path) -> None:
    assert settings.database_url is not None
    url = settings.database_url.get_secret_value()
    with Database(url) as database, LabelStudio.from_settings(settings) as admin:
        campaign = CampaignMaker(settings, database, admin, silent).create(plan(tmp_path, "composed", n=12))
        task = admin.next_task(campaign.project_id)
        assert task is not None
        with database.transaction() as connection:
            shown = connection.execute("SELECT stamp_id FROM task WHERE task_id = %s", (task["id"],)).fetchone()
        assert shown is not None
        label = truth("", shown["stamp_id"])
        admin.annotate(task["id"], choice(label))

        def learned() -> bool:
            with database.transaction() as connection:
                labels = connection.execute("SELECT FROM label_event WHERE label = %s", (label,)).fetchall()
                busy = connection.execute("SELECT FROM procrastinate_jobs WHERE status IN ('todo', 'doing') LIMIT 1")
                versions = connection.execute("SELECT FROM model_version").fetchall()
                return bool(labels) and len(versions) >= 1 and busy.fetchone() is None

        processes.wait_until(learned, 240, what="the worker to learn the label")
    done = services.galaxyloop("cli", "doctor", "--json")
    found = json.loads(done.stdout)
    assert done.returncode == 0, [one for one in found if one["state"] == "fail"]
    assert {one["check"] for one in found} >= {"database", "worker", "jobs", "Label Studio", "backend"}


def test_the_worker_of_the_gpu_takes_the_jobs_that_the_other_leaves(services: Services, settings: Settings) -> None:
    assert GPU in services.command("gpu-worker") and GPU not in services.command("worker")
    assert settings.database_url is not None
    with Database(settings.database_url.get_secret_value()) as database:
        with database.transaction() as connection:
            (campaign,) = all_campaigns(connection)
            defer_encoder(connection, campaign)

        def taken() -> bool:
            with database.transaction() as connection:
                query = "SELECT FROM procrastinate_jobs WHERE task_name = 'campaign:encoder' AND status = 'todo'"
                return connection.execute(query).fetchone() is None

        processes.wait_until(taken, 60, what="the job of the queue gpu")


def program(name: str) -> str:
    """A program of Debian that stands for an image's own."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"no {name} here: apt-get install {name}")
    return found


def test_prometheus_reads_the_figures_of_the_dashboard(services: Services, tmp_path: Path) -> None:
    config = ROOT / services.compose["configs"]["prometheus"]["file"]
    text = config.read_text().replace("backend:9090", f"127.0.0.1:{services.ports['backend']}")
    (tmp_path / "prometheus.yml").write_text(text.replace("/etc/prometheus", str(tmp_path)))
    service, port = services["prometheus"], processes.free_port()
    words = [word.replace("$$", "$") for word in [*service["entrypoint"], *service["command"]]]
    words = [re.sub("/etc/(prometheus|galaxyloop)", str(tmp_path), word) for word in words]
    words = [word.replace("=/prometheus", f"={tmp_path / 'figures'}") for word in words]
    environment = {"PATH": f"{Path(program('prometheus')).parent}:/usr/bin:/bin"} | service["environment"]
    words.append(f"--web.listen-address=127.0.0.1:{port}")
    address = f"http://127.0.0.1:{port}"

    def asked(query: str) -> Any:
        reply = httpx.get(f"{address}/api/v1/query", params={"query": query}, trust_env=False).json()
        assert reply["status"] == "success", reply
        return reply["data"]["result"]

    with processes.start(services.home, "prometheus", words, environment=environment) as process:
        processes.wait_for_http(f"{address}/-/healthy", 60, process)
        processes.wait_until(lambda: bool(asked("up")), 60, what="Prometheus to look at the backend")
        processes.wait_until(lambda: asked("up")[0]["value"][1] == "1", 60, what="the backend to show its figures")
        for panel in json.loads((ROOT / "deploy/grafana/dashboard.json").read_text())["panels"]:
            for target in panel.get("targets", ()):
                found = asked(target["expr"].replace("$__rate_interval", "5m").replace("$__range", "1h"))
                named = set(re.findall(r"\{\{(\w+)\}\}", target.get("legendFormat", "")))
                assert all(named <= one["metric"].keys() for one in found), target
        assert asked("galaxyloop_learning_last_seconds"), "what Prometheus itself calls job is another"
        assert asked('count({job="galaxyloop"})')[0]["value"][1] != "0"


def test_the_proxy_has_https_and_says_who_calls(services: Services, tmp_path: Path) -> None:
    service, port = services["proxy"], processes.free_port()
    health = processes.free_port()
    text = (ROOT / services.compose["configs"]["proxy"]["file"]).read_text()
    for name in ("backend", "label-studio"):
        text = re.sub(rf"\b{name}:\d+", f"127.0.0.1:{services.ports[name]}", text)
    # names below .localhost get a certificate without anybody's help, which nobody else is to trust
    few = f"admin off\n\tskip_install_trust\n\thttp_port {processes.free_port()}"
    (tmp_path / "Caddyfile").write_text(text.replace("admin off", few).replace(":8081", f":{health}"))
    hosts = {"BACKEND": "galaxies.localhost", "LABEL_STUDIO": "labels.localhost"}
    assert hosts.keys() == service["environment"].keys()
    environment = {name: f"https://{host}:{port}" for name, host in hosts.items()}
    environment |= {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    environment |= {f"XDG_{kind}_HOME": str(tmp_path / kind) for kind in ("DATA", "CONFIG")}
    command = [program("caddy"), "run", "--config", str(tmp_path / "Caddyfile"), "--adapter", "caddyfile"]
    with processes.start(services.home, "caddy", command, environment=environment) as process:
        processes.wait_for_http(f"http://127.0.0.1:{health}/health", 60, process)
        root = tmp_path / "DATA/caddy/pki/authorities/local/root.crt"
        processes.wait_until(root.is_file, 60, what="a certificate")
        trusting = ssl.create_default_context(cafile=root)
        with httpx.Client(verify=trusting, base_url=f"https://127.0.0.1:{port}", trust_env=False) as client:

            def seen(host: str, path: str) -> httpx.Response:
                caller = {"Host": f"{host}:{port}", "X-Forwarded-For": "203.0.113.9"}
                return client.get(path, headers=caller, extensions={"sni_hostname": host}, timeout=60)

            replies = {path: seen(hosts["BACKEND"], path) for path in ("/livez", "/explore/", "/metrics")}
            assert replies["/livez"].json()["database"] and replies["/metrics"].status_code == 401
            assert replies["/explore/"].status_code in (200, 302, 303, 307, 401), replies["/explore/"]
            label_studio = seen(hosts["LABEL_STUDIO"], "/user/login/")
            assert label_studio.status_code == 200 and "Label Studio" in label_studio.text
            for reply in (*replies.values(), label_studio):
                assert reply.headers["Strict-Transport-Security"] == "max-age=31536000"


def test_backend_and_worker_have_their_roles_and_no_more(services: Services) -> None:
    for name, forbidden in (("backend", "DELETE FROM label_event"), ("worker", "SELECT FROM session")):
        url = services.environment(name)["GALAXYLOOP_DATABASE_URL"]
        with psycopg.connect(url) as connection:
            assert connection.info.user == f"galaxyloop_{name}"
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(forbidden)  # type: ignore[call-overload]
    with psycopg.connect(services.environment("worker")["GALAXYLOOP_LABEL_STUDIO_DATABASE_URL"]) as connection:
        connection.execute("SELECT FROM prediction")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("SELECT FROM authtoken_token")
    backend = services.environment("backend")["GALAXYLOOP_DATABASE_URL"].replace("/galaxyloop?", "/label_studio?")
    with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
        psycopg.connect(backend)
