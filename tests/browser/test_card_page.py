"""The card of a version in a real browser: all of it fits a screen and a phone, and needs no server."""

from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from backend_ml.status.card.card import Asked, read_card
from backend_ml.status.card.page import card_page
from backend_ml.store.database import Database
from tests.backend_ml.judged import learned, put_campaign, put_labels
from tests.backend_ml.judged_lenses import put_lenses
from tests.browser.chromium import chromium_page

pytestmark = [pytest.mark.live, pytest.mark.browser]


def test_it_fits_a_screen_and_a_phone(browser: Browser, database: Database, tmp_path: Path) -> None:
    campaign = put_campaign(database, tmp_path)
    put_labels(database, campaign)
    version = learned(database, campaign)
    page_file = tmp_path / "card.html"
    page_file.write_text(card_page(read_card(database, Asked(version), tmp_path, tmp_path)))
    with chromium_page(browser) as (page, errors):
        page.on("request", lambda one: None if one.url.startswith(("file:", "data:")) else errors.append(one.url))
        for width in (1440, 390):
            page.set_viewport_size({"width": width, "height": 900})
            page.goto(page_file.as_uri())
            expect(page.get_by_role("heading", name="Confusion")).to_be_visible()
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            assert page.evaluate("[...document.images].every(one => one.naturalWidth === 240)")
            assert page.locator("svg.chart circle").count() > 2
            page.screenshot(path=tmp_path / f"card-{width}.png", full_page=True)
    assert errors == []


def test_boxes_lie_on_the_pictures_that_a_detector_got_wrong(
    browser: Browser, database: Database, tmp_path: Path
) -> None:
    campaign, _ = put_lenses(database, tmp_path)
    (version,) = database.rows("versions", campaign=campaign.id)
    page_file = tmp_path / "card.html"
    told = read_card(database, Asked(version["version"]), tmp_path / "store", tmp_path)
    page_file.write_text(card_page(told))
    with chromium_page(browser) as (page, errors):
        for width in (1440, 390):
            page.set_viewport_size({"width": width, "height": 900})
            page.goto(page_file.as_uri())
            expect(page.get_by_role("heading", name="Boxes")).to_be_visible()
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            picture, drawn = page.locator(".marked img").first.bounding_box(), page.locator(".marked svg").first
            assert picture is not None and drawn.bounding_box() == picture
            assert page.locator("rect.people").count() and page.locator("rect.model").count()
            page.screenshot(path=tmp_path / f"card-{width}.png", full_page=True)
    assert errors == []
