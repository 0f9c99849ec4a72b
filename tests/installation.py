"""Real servers, once a run: embedded PostgreSQL, Label Studio with an administrator and an annotator, backend, worker.

The fixtures are named in `tests/conftest.py` and imported nowhere else: a module that imports them starts its own.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from backend_ml.label_studio.client import LabelStudio
from backend_ml.local import servers as local_servers
from backend_ml.local.label_studio import Admin, LabelStudioServer
from backend_ml.local.postgres import EmbeddedPostgres
from backend_ml.local.processes import free_port
from lvm_training.progress import Progress
from tests.plugins import install_broken, install_guides


@dataclass
class Servers:
    """Label Studio on PostgreSQL; `admin` and `annotator` are Label Studio seen by two people."""

    label_studio: LabelStudioServer
    account: Admin
    admin: LabelStudio
    annotator: LabelStudio
    label_studio_database_url: str


@contextmanager
def quiet(_: str) -> Iterator[Progress]:
    """A step that shows nothing."""
    yield lambda done, total: None


def never_wait_for_the_disk(server: EmbeddedPostgres) -> None:
    """What is committed outlives kills of processes, as tests want it; a power cut it need not outlive."""
    with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
        for name in ("fsync", "full_page_writes"):
            connection.execute(sql.SQL("ALTER SYSTEM SET {} = off").format(sql.Identifier(name)))
        connection.execute("SELECT pg_reload_conf()")


@pytest.fixture(scope="session")
def local_files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder from which Label Studio serves local files."""
    folder = tmp_path_factory.mktemp("media", numbered=False)
    with pytest.MonkeyPatch.context() as patch:
        # Label Studio takes them with or without its prefix, and ours are not handed on with it
        patch.setenv("LOCAL_FILES_SERVING_ENABLED", "true")
        patch.setenv("LOCAL_FILES_DOCUMENT_ROOT", str(folder))
        yield folder


@pytest.fixture(scope="session")
def installation(tmp_path_factory: pytest.TempPathFactory, local_files: Path) -> Iterator[local_servers.Servers]:
    """Every server of a campaign, once a run; ended when the tests end, even by a kill."""
    ports = {"backend_port": free_port(), "label_studio_port": free_port()}
    short = {"GALAXYLOOP_FINETUNE_AFTER": "4", "GALAXYLOOP_FINETUNE_STEPS": "4", "GALAXYLOOP_RECONCILE_SECONDS": "5"}
    # packages of kinds, good ones and bad ones: no other campaign may notice them
    packages = tmp_path_factory.mktemp("site")
    install_guides(tmp_path_factory.mktemp("guides"), packages)
    install_broken(packages)
    short["PYTHONPATH"] = os.pathsep.join([str(packages), *filter(None, [os.environ.get("PYTHONPATH")])])
    # not numbered, so that a second one in the same process fails
    home = tmp_path_factory.mktemp("installation", numbered=False)
    with local_servers.running(home, quiet, **ports, overrides=short) as running:
        never_wait_for_the_disk(running.postgres)
        yield running


@pytest.fixture(scope="session")
def servers(installation: local_servers.Servers) -> Iterator[Servers]:
    """The installation's Label Studio and a team of two."""
    environment = installation.environment
    account = Admin(
        local_servers.ADMIN, environment["GALAXYLOOP_TEAM_PASSWORD"], environment["GALAXYLOOP_LABEL_STUDIO_TOKEN"]
    )
    url = installation.label_studio_server.url
    with LabelStudio(url, account.token) as admin, installation.colleague() as annotator:
        database_url = environment["GALAXYLOOP_LABEL_STUDIO_DATABASE_URL"]
        yield Servers(installation.label_studio_server, account, admin, annotator, database_url)
