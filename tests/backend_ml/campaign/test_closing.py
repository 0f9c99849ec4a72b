"""Who closes a campaign has the last word about its connection, whatever a worker does at that moment."""

import threading
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any, cast

import pytest

from backend_ml.adoption.adopt import Adopter
from backend_ml.campaign import lifecycle
from backend_ml.doctor.campaigns import CampaignChecks
from backend_ml.label_studio.client import LabelStudio
from backend_ml.leading import serving
from backend_ml.settings import Settings
from backend_ml.store.database import Database
from backend_ml.store.records import Campaign, CampaignError
from tests.backend_ml.learned import NOWHERE
from tests.backend_ml.stored import Stored

SETTINGS = Settings.model_validate({"secret": "hush", "backend_password": "word"})


class Connected(Stored):
    """One whose project has a webhook or not, and which a worker looks at while it is disconnected.

    Parameters
    ----------
    worker : threading.Thread, optional
        Begins at that moment.
    """

    def __init__(self, worker: threading.Thread | None = None) -> None:
        super().__init__()
        self.worker, self.connected, self.title = worker, True, "Mine"

    def is_secured(self, *_: object) -> bool:
        return self.connected

    def secure_webhook(self, *_: object) -> None:
        self.connected = True

    def attach_backend(self, *_: object) -> None:
        self.connected = True

    def detach(self, *_: object) -> None:
        self.connected = False
        if self.worker is not None:
            self.worker.start()
            # it has looked, and waits
            self.worker.join(0.5)

    def update_project(self, _: int, title: str) -> None:
        self.title = title


def server(connected: Connected) -> LabelStudio:
    return cast(LabelStudio, connected)


def test_a_worker_does_not_connect_again_what_is_closed_at_that_moment(database: Database, campaign: Campaign) -> None:
    connected = Connected()
    look: Any = lambda: lifecycle.keep_webhook(SETTINGS, database, server(connected), campaign)  # noqa: E731
    connected.worker = threading.Thread(target=look)
    lifecycle.close(SETTINGS, database, server(connected), campaign)
    connected.worker.join(20)
    assert not connected.worker.is_alive() and not connected.connected
    assert connected.title == "Test (closed)"
    assert "webhook" not in {row["source"] for row in database.rows("notices", campaign=campaign.id)}


@pytest.mark.parametrize(
    "work",
    [
        lambda *those: lifecycle.sync(SETTINGS, *those),
        lambda *those: CampaignChecks(SETTINGS, *those)._secure(),
        lambda *those: CampaignChecks(SETTINGS, *those)._connect(),
        lambda *those: Adopter(SETTINGS, *those[:2], lambda _: nullcontext())._attach(those[2]),  # type: ignore[arg-type]
    ],
    ids=["sync", "a webhook mended", "a connection mended", "an adoption"],
)
def test_nobody_connects_again_what_is_closed_at_that_moment(
    database: Database, campaign: Campaign, work: Callable[..., object]
) -> None:
    connected, refused = Connected(), []

    def begun_before() -> None:
        try:
            work(database, server(connected), campaign)
        except CampaignError as error:
            refused.append(error.message)

    connected.worker = threading.Thread(target=begun_before)
    lifecycle.close(SETTINGS, database, server(connected), campaign)
    connected.worker.join(20)
    assert not connected.worker.is_alive() and not connected.connected
    assert refused == ["'Test' is closed."]


def test_an_open_campaign_gets_its_webhook_back(database: Database, campaign: Campaign) -> None:
    connected = Connected()
    connected.connected = False
    lifecycle.keep_webhook(SETTINGS, database, server(connected), campaign)
    assert connected.connected


def test_a_project_that_somebody_brought_keeps_its_title(database: Database, campaign: Campaign) -> None:
    with database.transaction() as connection:
        connection.execute("UPDATE campaign SET label_config = %s, adopted = true", ("<View/>",))
    (row,) = database.rows("campaigns")
    connected = Connected()
    lifecycle.close(SETTINGS, database, server(connected), Campaign.from_row(row))
    assert connected.title == "Mine" and not connected.connected


def test_nothing_is_done_with_what_is_closed(database: Database, campaign: Campaign, head: str) -> None:
    database.rows("close_campaign", campaign=campaign.id)
    (row,) = database.rows("campaigns")
    closed, connected = Campaign.from_row(row), Connected()
    connected.connected = False
    with pytest.raises(CampaignError, match="is closed"):
        lifecycle.sync(SETTINGS, database, server(connected), closed)
    assert not connected.connected
    with database.transaction() as connection:
        for change in (
            lambda: serving.promote(connection, closed, head, NOWHERE, "vera"),
            lambda: serving.roll_back(connection, closed, NOWHERE, "vera"),
        ):
            with pytest.raises(CampaignError, match="is closed"):
                change()
