"""Runs Label Studio headless on PostgreSQL, from a cache of its migrated database."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import psycopg
from psycopg.conninfo import conninfo_to_dict

from backend_ml.local.postgres import client_program
from backend_ml.local.processes import Process, ProcessError, free_port, start, wait_for_http
from lvm_training.errors import GalaxyLoopError

REPOSITORY = Path(__file__).parents[2]
MIGRATION_SECONDS = 1800
START_SECONDS = 300
LOOPBACK = ("127.0.0.1", "localhost", "::1")

# Each of these was found necessary or useful against 1.23.2; docs/why/processes.md tells why.
SETTINGS = {
    "LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN": "true",
    "ML_BLOCK_LOCAL_IP": "false",
    "SSRF_PROTECTION_ENABLED": "false",
    "SKIP_TRIGRAM_EXTENSION": "full",
    "SKIP_BTREE_GIN_EXTENSION": "full",
    "fflag_fix_back_4620_memory_efficient_predictions_import_08012025_short": "true",
    "SENTRY_DSN": "",
    "FRONTEND_SENTRY_DSN": "",
    "LATEST_VERSION_CHECK": "false",
    "COLLECT_ANALYTICS": "false",
    "LABEL_STUDIO_DISABLE_SIGNUP_WITHOUT_LINK": "true",
}


class LabelStudioServerError(GalaxyLoopError):
    """Label Studio is not installed, or its database cannot be prepared."""

    code = "label_studio_server"


@dataclass(frozen=True)
class Admin:
    """The first user. E-mail and token count only at the first start on a database; `token` is 40 hex digits."""

    email: str
    password: str
    token: str


@dataclass
class LabelStudioServer:
    """A running Label Studio; `url` is its address without a trailing slash."""

    process: Process
    url: str

    @property
    def pid(self) -> int:
        """Process id of the server."""
        return self.process.pid

    def stop(self) -> None:
        """Stop the server. Idempotent."""
        self.process.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def find_label_studio(configured: Path | None = None) -> Path:
    """The `label-studio` program: the one configured, else `.venv-label-studio` of the repository, else the PATH's.

    Raises
    ------
    LabelStudioServerError
        If there is none.
    """
    ours = REPOSITORY / ".venv-label-studio/bin/label-studio"
    candidates: tuple[Path | str, ...] = (configured,) if configured else (ours, "label-studio")
    for candidate in candidates:
        if found := shutil.which(candidate):
            return Path(found)
    raise LabelStudioServerError(
        f"Label Studio is not installed ({candidates[0]}).",
        "Run `make setup`, or set GALAXYLOOP_LABEL_STUDIO_BIN to its program.",
    )


def start_label_studio(
    home: Path,
    database_url: str,
    admin: Admin,
    *,
    port: int = 8080,
    host: str = "127.0.0.1",
    program: Path | None = None,
    cache: Path = REPOSITORY / "build",
    progress: Callable[[str], None] = lambda _: None,
) -> LabelStudioServer:
    """Start Label Studio with its data in `<home>/label-studio` and its tables in `database_url`.

    Parameters
    ----------
    port : int
        Preferred port; if it is taken another is chosen, see `url`.
    host : str
        Address to listen on.
    program : Path or None
        From `find_label_studio` by default.
    cache : Path
        Folder of the migrated database's dump: with it an empty database is ready in a second instead of a minute.
    progress : Callable
        Is told what takes long.

    Raises
    ------
    LabelStudioServerError
        If it is not installed or the database cannot be prepared.
    ProcessError
        If it does not start; the message ends with its log.
    """
    program = program or find_label_studio()
    home = home.absolute()
    (home / "label-studio").mkdir(parents=True, exist_ok=True)
    environment = _environment(home / "label-studio", database_url, admin)
    migrate(home, program, environment, database_url, cache, progress)
    port = free_port(port, host)
    command: list[str | Path] = [program, "start", "--no-browser", "--internal-host", host, "--port", str(port)]
    process = start(home, "label-studio", command, environment=environment)
    url = f"http://{'127.0.0.1' if host == '0.0.0.0' else host}:{port}"  # noqa: S104 (compared, not bound)
    try:
        wait_for_http(f"{url}/health", START_SECONDS, process)
    except BaseException:
        process.stop()
        raise
    return LabelStudioServer(process, url)


def version_of(program: Path) -> str:
    """The installed version of Label Studio."""
    python = program.resolve().parent / "python"
    code = "from importlib.metadata import version; print(version('label-studio'))"
    done = subprocess.run([python, "-I", "-c", code], capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        raise LabelStudioServerError(f"{program} is not a working Label Studio.", done.stderr.strip()[-200:])
    return done.stdout.strip()


def _environment(data: Path, database_url: str, admin: Admin) -> dict[str, str]:
    database = conninfo_to_dict(database_url)
    ours = ("LABEL_STUDIO_", "HEARTEX_", "GALAXYLOOP_", "PYTHON", "POSTGRE_", "DJANGO_", "PG")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    direct = _reached_directly(os.environ)
    return (
        inherited
        | SETTINGS
        | {"no_proxy": direct, "NO_PROXY": direct}
        | {
            "LABEL_STUDIO_BASE_DATA_DIR": str(data),
            "LABEL_STUDIO_USERNAME": admin.email,
            "LABEL_STUDIO_PASSWORD": admin.password,
            "LABEL_STUDIO_USER_TOKEN": admin.token,
            "DJANGO_DB": "default",
            "POSTGRE_NAME": str(database.get("dbname") or "labelstudio"),
            "POSTGRE_USER": str(database.get("user") or "postgres"),
            "POSTGRE_PASSWORD": str(database.get("password") or ""),
            "POSTGRE_HOST": str(database.get("host") or "127.0.0.1"),
            "POSTGRE_PORT": str(database.get("port") or 5432),
        }
    )


def _reached_directly(environment: Mapping[str, str]) -> str:
    """What proxies are not asked for: our own servers, whose webhooks and predictions go over the loopback."""
    named = environment.get("no_proxy") or environment.get("NO_PROXY") or ""
    hosts = [host.strip() for host in named.split(",") if host.strip()]
    return ",".join(dict.fromkeys([*hosts, *LOOPBACK]))


def migrate(
    home: Path,
    program: Path,
    environment: dict[str, str],
    database_url: str,
    cache: Path,
    progress: Callable[[str], None],
) -> None:
    """Give an empty database Label Studio's tables: from the cached dump, else by its migrations, which fill the cache.

    A database with tables is left to Label Studio, which finishes or adds migrations itself when it starts.
    """
    with psycopg.connect(database_url) as connection:
        migrated = connection.execute("SELECT to_regclass('django_migrations')").fetchone() != (None,)
        major = connection.info.server_version // 10_000
    if migrated:
        return
    dump = cache / f"label-studio-premigrated-{version_of(program)}-pg{major}.dump"
    if dump.exists():
        _postgres_program("pg_restore", database_url, "--single-transaction", "--no-owner", str(dump))
        return
    progress("Label Studio creates its tables; only the first run does, it takes one to two minutes.")
    # any command migrates first; `version` then only prints, so no user enters the dump
    migration = start(home, "label-studio-migration", [program, "version"], environment=environment)
    with migration:
        if migration.wait(MIGRATION_SECONDS):
            raise ProcessError(
                f"Label Studio could not create its tables:\n{migration.tail()}", f"See {migration.log}."
            )
    _save_dump(database_url, dump)


def _save_dump(database_url: str, dump: Path) -> None:
    dump.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=dump.parent, prefix="label-studio-premigrated.part-") as part:
        _postgres_program("pg_dump", database_url, "--format=custom", f"--file={part}/dump")
        Path(part, "dump").rename(dump)


def _postgres_program(name: str, database_url: str, *arguments: str) -> None:
    command, environment = client_program(name, database_url, *arguments)
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        raise LabelStudioServerError(f"{name} failed: {done.stderr.strip()[-500:]}", "Is the database reachable?")
