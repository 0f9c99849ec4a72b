"""A server of PostgreSQL may live in any time zone: what people read is UTC, as it says."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from psycopg.conninfo import make_conninfo

from backend_ml.catalogue.tables.galaxies import read_galaxies
from backend_ml.report.pace import by_hour
from backend_ml.report.report import Report, read_report
from backend_ml.report.words import moment
from backend_ml.status.figures import hours_chart
from backend_ml.store.database import Database
from backend_ml.store.records import Campaign
from tests.backend_ml.conftest import CLASSES, Annotating

# hours of the clock begin at half past there, and it is the next day
LATE = datetime(2026, 1, 1, 19, 10, tzinfo=UTC)


@pytest.fixture(params=["UTC", "Asia/Kolkata", "America/St_Johns"])
def elsewhere(request: pytest.FixtureRequest, database: Database) -> Iterator[Database]:
    """The database as a server of that time zone gives it."""
    url = make_conninfo(database.url, options=f"-c timezone={request.param}")
    with Database(url, size=1) as opened:
        yield opened


@pytest.fixture
def report(elsewhere: Database, campaign: Campaign, annotate: Annotating) -> Report:
    """Of three labels within an hour of the clock, and one of the hour after."""
    for task, minutes in ((101, 0), (102, 15), (103, 45), (110, 55)):
        annotate(task, CLASSES[0], 5, LATE + timedelta(minutes=minutes))
    with elsewhere.transaction() as connection:
        return read_report(connection, campaign, LATE + timedelta(hours=1))


def test_moments_are_those_of_greenwich(report: Report) -> None:
    assert [moment(one.at) for one in report.given] == [
        f"2026-01-01 {time} UTC" for time in ("19:10", "19:25", "19:55", "20:05")
    ]
    (worker,) = report.workers
    assert moment(worker.latest) == "2026-01-01 20:05 UTC"


def test_hours_of_the_clock_are_those_of_greenwich(report: Report) -> None:
    counts = by_hour([one.at for one in report.given], 2)
    assert [n for _, n in counts] == [3, 1] and report.workers[0].per_hour == 2
    drawn = hours_chart(counts)
    assert "01-01 19 h: 3 labels" in drawn and "labels in each hour, UTC" in drawn


def test_a_catalogue_says_when_in_utc(elsewhere: Database, campaign: Campaign, report: Report) -> None:
    with elsewhere.transaction() as connection:
        known = read_galaxies(connection, campaign).known
    assert known["sky", 0].latest == "2026-01-01T19:10:00+00:00"


def test_a_query_alone_gives_the_same_times(elsewhere: Database, campaign: Campaign, report: Report) -> None:
    (first, *_) = elsewhere.rows("answers", campaign=campaign.id)
    assert first["happened_at"].isoformat() == "2026-01-01T19:10:00+00:00"
