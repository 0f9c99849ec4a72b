"""A host's data folder: the database its commands use, and the secrets of a local run."""

import os
import secrets
import shlex
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from backend_ml.settings import ENVIRONMENT, INSTALLATION, PREFIX, Settings, SettingsError, read_environment

LEAST_SPACE = 500_000_000  # bytes: less, and PostgreSQL stops in the middle of a day


@contextmanager
def serve_database(settings: Settings) -> Iterator[str]:
    """The campaign database: the configured one, or an embedded server that lives as long as this context.

    Raises
    ------
    ProcessError
        If another process serves from the same data folder.
    """
    from backend_ml.local import processes
    from backend_ml.local.postgres import start_embedded

    if settings.database_url is not None:
        yield settings.database_url.get_secret_value()
        return
    with processes.own(settings.home) as home, start_embedded(home) as postgres:
        write_environment(home, {"GALAXYLOOP_DATABASE_URL": postgres.url("galaxyloop")})
        yield postgres.url("galaxyloop")


def database_url(settings: Settings) -> str:
    """The campaign database: the configured one, or the embedded server that runs in the data folder now.

    Raises
    ------
    SettingsError
        If neither is there.
    """
    if settings.database_url is not None:
        return settings.database_url.get_secret_value()
    url = read_environment(settings.home).get("GALAXYLOOP_DATABASE_URL", "")
    try:
        psycopg.connect(url or "host=/nowhere", connect_timeout=3).close()
    except psycopg.OperationalError as error:
        from backend_ml.local.processes import is_owned

        if is_owned(settings.home):
            raise SettingsError(
                f"The servers in {settings.home} are starting, or end.", "Wait for the word that they are ready."
            ) from error
        raise SettingsError(
            f"No database: GALAXYLOOP_DATABASE_URL is not set and none runs in {settings.home}.",
            "Start `galaxyloop up`, or `galaxyloop serve`; each brings one along.",
        ) from error
    return url


def write_environment(home: Path, values: dict[str, str]) -> Path:
    """Add settings to the folder's environment file, readable by its owner alone: `source` it to join a local run."""
    path = home / ENVIRONMENT
    merged = read_environment(home) | values
    part = path.with_suffix(".part")
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.writelines(f"export {name}={shlex.quote(value)}\n" for name, value in sorted(merged.items()))
    part.replace(path)
    return path


def check_space(home: Path) -> None:
    """Refuse to start servers on a disk that they would fill.

    Raises
    ------
    ProcessError
        If less than `LEAST_SPACE` is free.
    """
    from backend_ml.local.processes import ProcessError

    free = shutil.disk_usage(home).free
    if free < LEAST_SPACE:
        raise ProcessError(
            f"Only {free / 1e9:.1f} GB are free on the disk of {home}; servers want {LEAST_SPACE / 1e9:.1f} GB.",
            "Free some, or choose a data folder on another disk with GALAXYLOOP_HOME.",
        )


def check_environment(home: Path) -> None:
    """Refuse to start servers where the shell means others: commands given there would not find these.

    Raises
    ------
    SettingsError
        Names the variables. Those that the folder's own file gave the shell are no others.
    """
    kept = read_environment(home)
    names = [f"{PREFIX}{name.upper()}" for name in sorted(INSTALLATION)]
    other = [name for name in names if os.environ.get(name, "").strip() and os.environ[name] != kept.get(name)]
    if other:
        raise SettingsError(
            f"{', '.join(other)}: set, but not as the servers of {home} have it.", f"unset {' '.join(other)}"
        )


def local_secrets(home: Path) -> dict[str, str]:
    """The folder's environment file with the secrets of a local run, drawn once: a later run joins its data."""
    kept = read_environment(home)
    drawn = {
        "GALAXYLOOP_SECRET": secrets.token_hex(32),
        "GALAXYLOOP_BACKEND_PASSWORD": secrets.token_hex(16),
        "GALAXYLOOP_LABEL_STUDIO_TOKEN": secrets.token_hex(20),
        "GALAXYLOOP_TEAM_PASSWORD": secrets.token_hex(8),
    }
    write_environment(home, drawn | kept)
    return drawn | kept
