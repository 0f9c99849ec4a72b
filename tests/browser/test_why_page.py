""" "Why is this here?" in a real browser: it fits a phone, its figures are folded, and its links lead on."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn
from playwright.sync_api import Browser, Page, expect

from backend_ml import signing
from backend_ml.app import create_app
from backend_ml.local import processes
from backend_ml.queue import selections
from backend_ml.queue.selections import Selected, Selection
from backend_ml.settings import Settings
from backend_ml.store import versions
from backend_ml.store.database import Database
from backend_ml.store.records import Campaign
from tests.backend_ml.conftest import CLASSES, campaign, lenses
from tests.backend_ml.learned import learn_now
from tests.backend_ml.real_features import with_real_features
from tests.browser.chromium import chromium_page

__all__ = ["campaign", "lenses"]  # fixtures

pytestmark = [pytest.mark.live, pytest.mark.browser]


def label(database: Database, stamp: int, name: str, person: str) -> None:
    values = {"stamp_set": "sky", "stamp_id": stamp, "label": name, "person": person, "annotator": None}
    database.rows("put_label", campaign=1, action="labelled", **values)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    values = {"secret": "hush", "backend_password": "word", "store": tmp_path / "store"}
    return Settings.model_validate({**values, "public_url": f"http://127.0.0.1:{processes.free_port()}"})


@pytest.fixture
def server(database: Database, settings: Settings) -> Iterator[None]:
    """The backend, without a Label Studio."""
    port = int(settings.public_url.rpartition(":")[2])
    running = uvicorn.Server(uvicorn.Config(create_app(settings, database.url), port=port, log_level="warning"))
    thread = threading.Thread(target=running.run, daemon=True)
    thread.start()
    processes.wait_until(lambda: running.started, 30, what="the backend")
    yield
    running.should_exit = True
    thread.join()


@pytest.fixture
def page(browser: Browser, server: None) -> Iterator[Page]:
    """A page of Debian's Chromium; whatever its console calls an error fails the test."""
    with chromium_page(browser) as (opened, errors):
        yield opened
    assert errors == []


def fits(page: Page, width: int) -> bool:
    page.set_viewport_size({"width": width, "height": 800})
    return bool(page.evaluate("document.documentElement.scrollWidth") <= width)


def open_page(page: Page, settings: Settings, stamp: int) -> None:
    page.goto(settings.public_url + signing.why_path("sky", stamp, signing.Links(1), settings))


@pytest.mark.parametrize("width", [1440, 390])
def test_an_annotator_reads_why_and_goes_on(
    page: Page, database: Database, campaign: Campaign, settings: Settings, width: int
) -> None:
    renewed = with_real_features(database, settings.store_folder)
    for stamp, name in enumerate(CLASSES):
        label(database, stamp, name, "Cy")
    assert learn_now(database, renewed) == "promoted"
    with database.transaction() as connection:
        head = versions.active_version(connection, renewed)
    assert head is not None
    values = {"policy": "margin", "seed": 0, "batch": 50, "candidates": 10, "last_event": 0, "version": head.version}
    queue = [Selected(stamp_set="sky", stamp_id=i, task_id=101 + i, propensity=1, priority=0.1) for i in (6, 7)]
    with database.transaction() as connection:
        selections.record(connection, campaign, Selection(source="push", **values), queue, served=True)
    label(database, 5, CLASSES[0], "Ada with a name that is longer than a picture is wide")
    label(database, 8, CLASSES[4], "Bo")
    open_page(page, settings, 6)
    expect(page.get_by_text("Place 1 of 10: the model is less sure")).to_be_visible()
    expect(page.get_by_role("heading", name=CLASSES[1])).to_be_visible()
    expect(page.get_by_text("propensity")).to_be_hidden()
    assert fits(page, width)
    page.get_by_text("In figures").click()
    expect(page.get_by_text("propensity")).to_be_visible()
    assert fits(page, width)
    for picture in page.locator("img").all():
        picture.scroll_into_view_if_needed()
        expect(picture).to_have_js_property("complete", True)
        assert picture.evaluate("image => image.naturalWidth") > 0
    assert page.get_by_role("link", name="Its task in Label Studio").get_attribute("href")
    page.get_by_role("link", name="Next: sky 7").click()
    expect(page.get_by_role("heading", name="Why is sky 7 here?")).to_be_visible()


@pytest.mark.parametrize("width", [1440, 390])
def test_the_boxes_of_the_model_lie_over_the_picture(
    page: Page, lenses: Campaign, settings: Settings, width: int
) -> None:
    assert fits(page, width)
    page.goto(settings.public_url + signing.why_path("sky", 0, lenses.links, settings))
    picture, boxes = page.locator(".drawn img").bounding_box(), page.locator("svg.boxes")
    assert picture is not None and boxes.bounding_box() == picture
    assert boxes.locator("rect").count() > 0
    for drawn in boxes.locator("rect, text").all():
        place = drawn.bounding_box()
        assert place is not None and picture["x"] - 2 <= place["x"]
        assert place["x"] + place["width"] <= picture["x"] + picture["width"] + 2
    expect(boxes.locator("text").last).to_contain_text("0.")
    if shots := os.environ.get("SCREENSHOTS"):
        page.screenshot(path=Path(shots) / f"why-boxes-{width}.png", full_page=True)
