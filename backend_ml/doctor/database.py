"""Checks of the campaign database: reachable, of this version, its clock; jobs, workers and webhooks in it."""

import shlex
from collections.abc import Iterator
from datetime import UTC, datetime

import psycopg

from backend_ml.doctor.findings import Finding, State, ok
from backend_ml.leading.running import catch_up
from backend_ml.local import data_folder
from backend_ml.settings import Settings
from backend_ml.store.campaigns import open_campaign
from backend_ml.store.database import MIGRATIONS, QUERIES, Database, check_url
from lvm_training.errors import GalaxyLoopError

ALIVE = 30.0  # seconds since a worker's last sign of life; it gives one every five
PATIENT = 120.0  # seconds that a job, or a webhook, may wait
SKEW, GREAT_SKEW = 5.0, 60.0  # seconds between clocks; reconciling looks two minutes back
WORKER = "galaxyloop worker"


def reachable(settings: Settings) -> tuple[str, list[Finding]]:
    """The campaign database's address, empty where it cannot be used, and what was found."""
    try:
        url = data_folder.database_url(settings)
        check_url(url)
        with psycopg.connect(url, connect_timeout=5, autocommit=True) as connection:
            there = connection.execute(QUERIES["has_table"], {"table": "schema_version"}).fetchone()
            row = connection.execute(QUERIES["schema_version"]).fetchone() if there and there[0] else None
    except psycopg.OperationalError:
        text = "GALAXYLOOP_DATABASE_URL names a database that does not answer"
        return "", [Finding("database", "fail", text, 'pg_isready --dbname "$GALAXYLOOP_DATABASE_URL"')]
    except GalaxyLoopError as error:
        return "", [Finding("database", "fail", error.message, "galaxyloop up")]
    version = int(row[0]) if row else -1
    if version > len(MIGRATIONS):
        text = f"of a newer version: schema {version}, this Galaxy Loop knows {len(MIGRATIONS)}"
        return "", [Finding("database", "fail", text, "git pull && make setup")]
    if version < len(MIGRATIONS):
        text = f"schema {version} of {len(MIGRATIONS)}" if row else "has no tables yet"

        def migrate() -> None:
            with Database(url, size=1):
                pass

        # every command that opens it brings it up to date
        return "", [Finding("database", "fail", text, "galaxyloop campaign list", mend=migrate)]
    return url, [ok("database", f"answers, with schema {version}")]


def clock(name: str, theirs: datetime) -> Iterator[Finding]:
    """Whether another host's clock goes as this one's."""
    apart = abs((datetime.now(UTC) - theirs).total_seconds())
    if apart < SKEW:
        yield ok("clock", f"{name} and this host agree to {max(apart, 1):.0f} s")
        return
    state: State = "fail" if apart > GREAT_SKEW else "warn"
    yield Finding("clock", state, f"{name}'s clock is {apart:.0f} s from this host's", "timedatectl set-ntp true")


def workers(database: Database) -> Iterator[Finding]:
    """Whether a worker lives and keeps up."""
    alive = sum(row["age"] < ALIVE for row in database.rows("worker_ages"))
    due = [row for row in database.rows("job_ages") if row["status"] == "todo"]
    oldest = max((row["oldest"] for row in due), default=0)
    waiting = f"{sum(row['jobs'] for row in due)} jobs wait" + (f", the oldest for {oldest:.0f} s" if due else "")
    if not alive:
        yield Finding("worker", "fail", f"none lives; {waiting}", WORKER)
    elif oldest > PATIENT:
        yield Finding("worker", "warn", f"behind: {waiting}", WORKER)
    else:
        yield ok("worker", f"{alive} alive, {waiting}")


def failed_jobs(database: Database) -> Iterator[Finding]:
    """Jobs that were given up: what they should have done is not done."""
    rows = database.rows("failed_jobs")
    if not rows:
        yield ok("jobs", "none was given up")
    for campaign in sorted({row["campaign"] or "" for row in rows}):
        mine = [row for row in rows if (row["campaign"] or "") == campaign]
        names = ", ".join(sorted({row["task_name"].partition(":")[2] for row in mine}))

        def again(mine: list[psycopg.rows.DictRow] = mine) -> None:
            found = open_campaign(database, mine[0]["campaign_id"]) if mine[0]["campaign_id"] else None
            with database.transaction() as connection:
                if found is not None and found.project is not None:
                    catch_up(connection, found)
            database.rows("forget_failed_jobs", ids=[row["id"] for row in mine])

        command = f"galaxyloop campaign sync {shlex.quote(campaign)}" if campaign else "galaxyloop doctor --fix"
        yield Finding("jobs", "fail", f"{len(mine)} given up: {names}", command, campaign, again)


def webhooks(database: Database) -> Iterator[Finding]:
    """Whether webhooks are taken in."""
    rows = database.rows("inbox_ages")
    failed, waiting = sum(row["failed"] for row in rows), sum(row["waiting"] for row in rows)
    oldest = max((row["oldest"] for row in rows), default=0)
    if failed:
        text = f"{failed} webhooks could not be read; reconciling settles them"
        yield Finding("inbox", "warn", text, "galaxyloop worker  # if none runs")
    if oldest > PATIENT:
        yield Finding("inbox", "fail", f"{waiting} webhooks wait, the oldest for {oldest:.0f} s", WORKER)
    elif not failed:
        yield ok("inbox", f"{waiting} webhooks wait")
