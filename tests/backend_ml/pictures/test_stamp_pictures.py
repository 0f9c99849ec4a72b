"""Pictures behind signed links, by threads that know of changes and others that do not."""

import threading
from urllib.parse import parse_qs, urlsplit

import cv2
import numpy as np
import pytest

from backend_ml import signing
from backend_ml.pictures import stamp_pictures
from backend_ml.pictures.stamp_pictures import PictureCache, SignedPictures
from backend_ml.signing import AccessError
from backend_ml.store.campaigns import campaign_of_id
from backend_ml.store.database import Connection, Database
from backend_ml.store.records import Campaign
from tests.backend_ml.backend_client import SETTINGS


def test_a_change_told_of_while_a_campaign_is_read_is_not_missed(
    database: Database, campaign: Campaign, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures = SignedPictures(database, SETTINGS, PictureCache(database))
    link = urlsplit(signing.stamp_path("sky", 3, campaign.links, SETTINGS))
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
    assert pictures.file("sky", 3, campaign.id, key).startswith(b"\xff\xd8")
    told[0].join()
    with pytest.raises(AccessError, match="closed"):
        pictures.file("sky", 3, campaign.id, key)


def test_pictures_are_kept_up_to_so_many_bytes(database: Database, campaign: Campaign) -> None:
    one = len(PictureCache(database).file("sky", 0, campaign.rendering))
    cache = PictureCache(database, kept_bytes=round(2.5 * one))
    drawn = [cache.file("sky", row, campaign.rendering) for row in range(5)]
    assert cache.file("sky", 4, campaign.rendering) is drawn[4]
    again = cache.file("sky", 0, campaign.rendering)
    assert again == drawn[0] and again is not drawn[0]


def test_a_large_picture_is_smooth_where_a_small_one_had_steps(database: Database, campaign: Campaign) -> None:
    small, large = (
        cv2.imdecode(
            np.frombuffer(PictureCache(database).file("sky", 3, campaign.rendering, size=size), np.uint8),
            cv2.IMREAD_COLOR,
        )
        for size in (480, 960)
    )
    assert large.shape == (960, 960, 3) and small.shape == (480, 480, 3)
    halved = cv2.resize(large, (480, 480), interpolation=cv2.INTER_AREA)
    middle = slice(60, 420)  # the overlays' widths are whole pixels
    assert np.abs(halved[middle, middle].astype(int) - small[middle, middle].astype(int)).mean() < 2
