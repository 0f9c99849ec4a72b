"""Versions, promotions and rollbacks."""

import threading
import time

import psycopg
import pytest

from backend_ml.store import versions
from backend_ml.store.database import Database, query
from backend_ml.store.records import Campaign
from backend_ml.store.versions import VersionError


def add(database: Database, campaign: Campaign, version: str, *, promoted: bool = True) -> None:
    counts = {"seed": 0, "last_event": 0, "labels": 0, "audit_labels": 0, "metrics": {}, "revision": "r"}
    with database.transaction() as connection:
        weights = version.encode()
        versions.add_version(connection, campaign, version=version, parent=None, weights=weights, encoder="e", **counts)
        if promoted:
            versions.promote(connection, campaign, version, "refit")


def active(database: Database, campaign: Campaign) -> str | None:
    with database.transaction() as connection:
        version = versions.active_version(connection, campaign)
    return version.version if version else None


def rollback(database: Database, campaign: Campaign) -> str:
    with database.transaction() as connection:
        return versions.rollback(connection, campaign)


def test_the_last_promotion_serves(database: Database, campaign: Campaign) -> None:
    assert active(database, campaign) is None
    add(database, campaign, "m-1")
    add(database, campaign, "m-2")
    add(database, campaign, "m-3", promoted=False)
    assert active(database, campaign) == "m-2"


def test_rolling_back_twice_goes_two_versions_back(database: Database, campaign: Campaign) -> None:
    for name in ("m-1", "m-2", "m-3"):
        add(database, campaign, name)
    assert [rollback(database, campaign), rollback(database, campaign)] == ["m-2", "m-1"]
    assert active(database, campaign) == "m-1"
    with pytest.raises(VersionError, match="no earlier version"):
        rollback(database, campaign)


def test_after_a_rollback_a_new_version_is_rolled_back_to_where_it_was(database: Database, campaign: Campaign) -> None:
    for name in ("m-1", "m-2"):
        add(database, campaign, name)
    rollback(database, campaign)
    add(database, campaign, "m-3")
    assert rollback(database, campaign) == "m-1"


def waits(database: Database) -> bool:
    """Whether a connection waits for another one's row."""
    # a transaction of its own each time: within one the server's activity stays as it was first seen
    with database.transaction() as connection:
        return bool(connection.execute("SELECT pid FROM pg_locks WHERE NOT granted").fetchall())


def test_a_rollback_waits_for_a_promotion_that_is_on_its_way(database: Database, campaign: Campaign) -> None:
    """What serves and the campaign's encoder are of one moment, whichever of the two comes first."""
    counts = {"seed": 0, "last_event": 0, "labels": 0, "audit_labels": 0, "metrics": {}, "revision": "r"}
    values = {**counts, "parent": None, "weights": b"w"}
    with database.transaction() as connection:
        for version, encoder in (("m-1", "e"), ("m-2", "f"), ("m-3", "f")):
            versions.add_version(connection, campaign, version=version, encoder=encoder, **values)
    for version in ("m-1", "m-2"):
        with database.transaction() as connection:
            versions.promote(connection, campaign, version, "refit")
    back = threading.Thread(target=rollback, args=(database, campaign))
    with database.transaction() as refit:
        query(refit, "lock_campaign", campaign=campaign.id)
        back.start()
        while back.is_alive() and not waits(database):
            time.sleep(0.01)
        versions.promote(refit, campaign, "m-3", "refit")
    back.join()
    assert active(database, campaign) == "m-2"
    with database.transaction() as connection:
        serves = versions.active_version(connection, campaign)
    assert serves is not None
    assert database.rows("campaign_of_id", campaign=campaign.id)[0]["encoder"] == serves.encoder == "f"


def test_an_unknown_version_cannot_be_promoted(database: Database, campaign: Campaign) -> None:
    with database.transaction() as connection, pytest.raises(VersionError, match="m-9"):
        versions.promote(connection, campaign, "m-9", "promoted by hand")


def test_versions_are_immutable(database: Database, campaign: Campaign) -> None:
    add(database, campaign, "m-1")
    with database.transaction() as connection:
        changed = {"seed": 9, "last_event": 9, "labels": 9, "audit_labels": 9, "metrics": {}, "revision": "other"}
        versions.add_version(connection, campaign, version="m-1", parent=None, weights=b"other", encoder="e", **changed)
        version = versions.active_version(connection, campaign)
    assert version is not None and version.weights == b"m-1" and version.revision == "r"


def test_a_promotion_is_announced_when_it_is_committed(database: Database, campaign: Campaign) -> None:
    with psycopg.connect(database.url, autocommit=True) as listener:
        listener.execute("LISTEN galaxyloop_campaign")
        add(database, campaign, "m-1")
        heard = [message.payload for message in listener.notifies(timeout=5, stop_after=1)]
    assert heard == [str(campaign.id)]


def test_a_name_depends_on_everything_that_decides_an_answer() -> None:
    base = ("morphology", "enc", b"weights", ("a", "b"))
    changed = [
        ("ring", "enc", b"weights", ("a", "b")),
        ("morphology", "other", b"weights", ("a", "b")),
        ("morphology", "enc", b"other", ("a", "b")),
        ("morphology", "enc", b"weights", ("ab", "")),
    ]
    names = {versions.version_name(*values) for values in [base, *changed]}
    assert len(names) == 5
    assert versions.version_name(*base) == versions.version_name(*base)
    assert len(versions.version_name(*base)) == len("morphology-") + 12
