"""Each service's role may do its work in the database, and nothing else."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from fastapi.testclient import TestClient
from psycopg.conninfo import make_conninfo

from backend_ml import signing
from backend_ml.app import create_app
from backend_ml.store.database import SQL, Database
from backend_ml.store.records import Campaign
from tests.backend_ml.backend_client import recorded
from tests.backend_ml.explore.conftest import SETTINGS, visit
from tests.backend_ml.webhooks import created, deleted, labels, send

BACKEND, WORKER = "galaxyloop_backend", "galaxyloop_worker"


@pytest.fixture
def roles(database: Database) -> Iterator[None]:
    """The roles, twice: the file may be applied again after each update."""
    text = SQL.joinpath("roles.sql").read_text()
    with psycopg.connect(database.url, autocommit=True) as connection:
        for _ in range(2):
            connection.execute(text)
        yield
        for role in (BACKEND, WORKER):
            connection.execute(f"DROP OWNED BY {role}")
            connection.execute(f"DROP ROLE {role}")


def address(database: Database, role: str) -> str:
    """The database as a service reaches it."""
    return make_conninfo(database.url, options=f"-c role={role}")


@pytest.mark.parametrize(
    ("role", "statement"),
    [
        *((role, "DROP TABLE label_event") for role in (BACKEND, WORKER)),
        *((role, "ALTER TABLE campaign ADD COLUMN x int") for role in (BACKEND, WORKER)),
        *((role, "CREATE TABLE mine (x int)") for role in (BACKEND, WORKER)),
        *((role, "CREATE ROLE mine SUPERUSER") for role in (BACKEND, WORKER)),
        *((role, "UPDATE schema_version SET number = 0") for role in (BACKEND, WORKER)),
        *((role, "COPY campaign TO PROGRAM 'true'") for role in (BACKEND, WORKER)),
        *((role, "SELECT rolpassword FROM pg_authid") for role in (BACKEND, WORKER)),
        *((WORKER, f"SELECT FROM {table}") for table in ("session", "held_name")),
        *((BACKEND, f"DELETE FROM {table}") for table in ("label_event", "inbox", "promotion", "change")),  # noqa: S608
        (BACKEND, "UPDATE label_event SET label = 'spiral'"),
    ],
)
def test_what_a_service_has_no_business_with_is_refused(
    database: Database, roles: None, role: str, statement: str
) -> None:
    with psycopg.connect(address(database, role)) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute(statement)  # type: ignore[call-overload]


def test_the_backend_does_its_work_with_its_role(
    database: Database, campaign: Campaign, roles: None, tmp_path: Path
) -> None:
    app = create_app(SETTINGS, address(database, BACKEND))
    with TestClient(app) as client:
        vera = visit(app, "Vera")
        search = vera.begin(examples="3")
        assert vera.label(search, 4, "yes").status_code == 200
        assert vera.post(f"{search}/undo").status_code == 200
        headers: dict[str, Any] = {signing.SECRET_HEADER: signing.webhook_secret(SETTINGS)}
        assert client.post("/webhook", json=recorded("annotation_created"), headers=headers).status_code == 201
        assert client.get("/livez").json()["database"]
        assert vera.delete("/session").status_code == 200


def test_the_worker_does_its_work_with_its_role(database: Database, campaign: Campaign, roles: None) -> None:
    with Database(address(database, WORKER)) as opened:
        send(opened, created(1, 101, "spiral"), deleted(1))
        assert labels(opened, campaign) == {0: "spiral"}
