"""A host's data folder: the database its commands use, and the secrets of a local run."""

import os
import secrets
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from backend_ml.settings import Settings, SettingsError

ENVIRONMENT = "environment"


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
        raise SettingsError(
            f"No database: GALAXYLOOP_DATABASE_URL is not set and none runs in {settings.home}.",
            "Set it, or start `galaxyloop serve`, which brings one along.",
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


def read_environment(home: Path) -> dict[str, str]:
    """The folder's environment file; empty if there is none."""
    path = home / ENVIRONMENT
    if not path.is_file():
        return {}
    words = [word.partition("=") for word in shlex.split(path.read_text()) if word != "export"]
    return {name: value for name, _, value in words}


def local_secrets(home: Path) -> dict[str, str]:
    """Secrets of a local run, drawn once and kept in the environment file, so that a later run joins its data."""
    kept = read_environment(home)
    drawn = {
        "GALAXYLOOP_SECRET": secrets.token_hex(32),
        "GALAXYLOOP_BACKEND_PASSWORD": secrets.token_hex(16),
        "GALAXYLOOP_LABEL_STUDIO_TOKEN": secrets.token_hex(20),
        "GALAXYLOOP_TEAM_PASSWORD": secrets.token_hex(8),
    }
    values = {name: kept.get(name, value) for name, value in drawn.items()}
    write_environment(home, values)
    return values
