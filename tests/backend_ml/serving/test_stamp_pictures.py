"""Pictures behind signed links, by threads that know of changes and others that do not."""

import threading
from urllib.parse import parse_qs, urlsplit

import pytest

from backend_ml import signing
from backend_ml.serving import stamp_pictures
from backend_ml.serving.stamp_pictures import PictureCache, SignedPictures
from backend_ml.signing import AccessError
from backend_ml.store.campaigns import campaign_of_id
from backend_ml.store.database import Connection, Database
from backend_ml.store.records import Campaign
from tests.backend_ml.backend_client import SETTINGS


def test_a_change_told_of_while_a_campaign_is_read_is_not_missed(
    database: Database, campaign: Campaign, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures = SignedPictures(database, SETTINGS, PictureCache(database))
    link = urlsplit(signing.stamp_path("sky", 3, campaign.id, SETTINGS))
    key = parse_qs(link.query)["key"][0]
    told: list[threading.Thread] = []

    def read(connection: Connection, number: int) -> Campaign | None:
        found = campaign_of_id(connection, number)
        if not told:
            database.rows("lapse_links", campaign=number)
            told.append(threading.Thread(target=pictures.forget))
            told[0].start()
            told[0].join(0.5)  # which has to wait until what was read is kept
        return found

    monkeypatch.setattr(stamp_pictures, "campaign_of_id", read)
    assert pictures.png("sky", 3, campaign.id, key).startswith(b"\x89PNG")
    told[0].join()
    with pytest.raises(AccessError, match="closed"):
        pictures.png("sky", 3, campaign.id, key)
