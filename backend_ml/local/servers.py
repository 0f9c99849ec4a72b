"""Every server of a campaign on this machine, from one data folder: PostgreSQL, Label Studio, backend and worker."""

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from backend_ml.buckets import address, here
from backend_ml.label_studio.client import LabelStudio
from backend_ml.label_studio.connection import LabelStudioError
from backend_ml.local import data_folder, processes
from backend_ml.local.label_studio import Admin, LabelStudioServer, find_label_studio, start_label_studio
from backend_ml.local.postgres import EmbeddedPostgres, start_embedded
from backend_ml.local.processes import Process, ProcessError
from backend_ml.settings import ENVIRONMENT, Settings
from backend_ml.store.database import Database
from lvm_training.progress import Steps

ADMIN = "astronomer@example.com"
COLLEAGUE = "colleague@example.com"
BACKEND_PORT = 9090
LABEL_STUDIO_PORT = 8080
START_SECONDS = 120
URL, BACKEND, PUBLIC = "GALAXYLOOP_LABEL_STUDIO_URL", "GALAXYLOOP_BACKEND_URL", "GALAXYLOOP_PUBLIC_URL"
STORE = "GALAXYLOOP_STORE"


@dataclass
class Servers:
    """A running installation.

    Attributes
    ----------
    home : Path
        Its data folder.
    environment : dict
        The `GALAXYLOOP_*` settings that join it.
    postgres, label_studio_server, backend, worker
        The processes; the last two may be replaced while tests kill them.
    """

    home: Path
    environment: dict[str, str]
    postgres: EmbeddedPostgres
    label_studio_server: LabelStudioServer
    backend: Process
    worker: Process

    def stop(self) -> None:
        """Stop every process, the worker first, so that each still finds the servers it needs. Idempotent."""
        for process in (self.worker, self.backend, self.label_studio_server, self.postgres):
            process.stop()

    @property
    def settings(self) -> Settings:
        """The settings that join this installation."""
        values = {name.removeprefix("GALAXYLOOP_").lower(): value for name, value in self.environment.items()}
        return Settings.model_validate(values)

    def database(self) -> Database:
        """The campaign database, not yet open."""
        return Database(self.environment["GALAXYLOOP_DATABASE_URL"])

    def label_studio(self) -> LabelStudio:
        """Label Studio as its administrator sees it."""
        return LabelStudio.from_settings(self.settings)

    def colleague(self) -> LabelStudio:
        """Label Studio as a second person sees it, who signs up at the first call."""
        kept = self.environment.get("GALAXYLOOP_COLLEAGUE_TOKEN")
        if kept is None:
            with self.label_studio() as admin:
                member = admin.create_user(COLLEAGUE, self.environment["GALAXYLOOP_TEAM_PASSWORD"])
            self.environment["GALAXYLOOP_COLLEAGUE_TOKEN"] = member.token
            data_folder.write_environment(self.home, {"GALAXYLOOP_COLLEAGUE_TOKEN": member.token})
            return member
        return LabelStudio(self.label_studio_server.url, kept)


@contextmanager
def running(
    home: Path,
    steps: Steps,
    *,
    backend_port: int | None = None,
    label_studio_port: int | None = None,
    program: Path | None = None,
    overrides: dict[str, str] | None = None,
) -> Iterator[Servers]:
    """Start every server in `home`, on what is there; all end with this context, also if this process is killed.

    Parameters
    ----------
    backend_port, label_studio_port : int or None
        None takes the port of the time before, which tasks and browsers know; the first time 9090 and 8080, or a
        free one where that is taken.
    program : Path or None
        Of Label Studio; from `find_label_studio` by default.
    overrides : dict or None
        Further `GALAXYLOOP_*` settings of backend and worker.

    Raises
    ------
    ProcessError
        If the folder is in use, cannot be written or lies on a full disk, a port is taken, or a server does not start.
    SettingsError
        If the environment names another installation.
    LabelStudioServerError
        If Label Studio is not installed.
    PostgresError, DatabaseError
        If a newer version made the folder.
    LabelStudioError
        If the folder's Label Studio does not know the folder's secrets.
    """
    program = program or find_label_studio()
    with ExitStack() as stack:
        home = stack.enter_context(processes.own(home))
        data_folder.check_space(home)
        data_folder.check_environment(home)
        kept = data_folder.local_secrets(home)
        backend_port, label_studio_port = choose_ports(kept, backend_port, label_studio_port)
        with steps("Starting PostgreSQL"):
            postgres = stack.enter_context(start_embedded(home))
            _bring_up_to_date(postgres)
        admin = Admin(ADMIN, kept["GALAXYLOOP_TEAM_PASSWORD"], kept["GALAXYLOOP_LABEL_STUDIO_TOKEN"])
        with steps("Starting Label Studio"):
            server = start_label_studio(
                home, postgres.url("labelstudio"), admin, port=label_studio_port, program=program
            )
            stack.enter_context(server)
        _check_token(server, admin, home)
        backend = f"http://127.0.0.1:{backend_port}"
        environment = kept | _addresses(home, postgres, server.url, backend) | (overrides or {})
        data_folder.write_environment(home, environment)
        with steps("Starting the backend and a worker"):
            serving = stack.enter_context(start_backend(home, environment))
            working = stack.enter_context(start_worker(home, environment))
            processes.wait_for_http(f"{backend}/livez", START_SECONDS, serving)
        servers = Servers(home, environment, postgres, server, serving, working)
        # ends those that took another's place too
        stack.callback(servers.stop)
        yield servers


def choose_ports(kept: Mapping[str, str], backend: int | None, label_studio: int | None) -> tuple[int, int]:
    """The ports of backend and Label Studio: those asked for, or as before; else the usual ones, or any that are free.

    Parameters
    ----------
    kept : mapping
        What the data folder's file says.

    Raises
    ------
    ProcessError
        If one that others know is taken, or is to be both.
    """
    backend = backend or urlsplit(kept.get(BACKEND, "")).port
    label_studio = label_studio or urlsplit(kept.get(URL, "")).port
    if backend and backend == label_studio:
        raise ProcessError(
            f"The backend and Label Studio cannot both have port {backend}.",
            "Name another one for one of them: `galaxyloop up --help`.",
        )
    label_studio = _port("Label Studio", label_studio, LABEL_STUDIO_PORT, other=backend)
    return _port("The backend", backend, BACKEND_PORT, other=label_studio), label_studio


def _port(name: str, wanted: int | None, usual: int, *, other: int | None) -> int:
    """A port that is wanted, and told of if it is taken; the usual one or any, but not the other server's."""
    return processes.required_port(wanted, name) if wanted else processes.free_port(0 if usual == other else usual)


def _bring_up_to_date(postgres: EmbeddedPostgres) -> None:
    """Give the campaign database its present tables, here, where an error is told as one."""
    with Database(postgres.url("galaxyloop")):
        pass


def _addresses(home: Path, postgres: EmbeddedPostgres, label_studio: str, backend: str) -> dict[str, str]:
    """The settings that say where everything is."""
    known = {
        "GALAXYLOOP_HOME": str(home),
        "GALAXYLOOP_DATABASE_URL": postgres.url("galaxyloop"),
        URL: label_studio,
        "GALAXYLOOP_LABEL_STUDIO_DATABASE_URL": postgres.url("labelstudio"),
        PUBLIC: backend,
        BACKEND: backend,
    }
    if store := os.environ.get(STORE):
        known[STORE] = address(here(store))
    return known


def start_backend(home: Path, environment: dict[str, str]) -> Process:
    """Start `galaxyloop serve` at the address of its settings."""
    port = environment["GALAXYLOOP_BACKEND_URL"].rpartition(":")[2]
    command = [sys.executable, "-m", "backend_ml", "--log", "info", "serve", "--port", port]
    return processes.start(home, "backend", command, environment=_child_environment(environment))


def start_worker(home: Path, environment: dict[str, str], name: str = "worker") -> Process:
    """Start `galaxyloop worker`; of several, each has a name of its own."""
    command = [sys.executable, "-m", "backend_ml", "--log", "info", "worker"]
    return processes.start(home, name, command, environment=_child_environment(environment))


def _child_environment(environment: dict[str, str]) -> dict[str, str]:
    # one thread for linear algebra each: backend, worker, Label Studio and PostgreSQL share the machine
    return dict(os.environ) | {"OMP_NUM_THREADS": "1"} | environment


def _check_token(server: LabelStudioServer, admin: Admin, home: Path) -> None:
    with LabelStudio(server.url, admin.token) as label_studio:
        try:
            label_studio.me()
        except LabelStudioError as error:
            raise LabelStudioError(
                f"The Label Studio in {home} does not know this folder's token.",
                f"{home / ENVIRONMENT} was lost or changed: put it back from a copy. Without it only a new"
                " folder starts, named with GALAXYLOOP_HOME.",
                error.status,
            ) from error
