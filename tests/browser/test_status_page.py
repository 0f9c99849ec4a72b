"""The leader's page in a real browser: signing in, buttons, and no overflow on a phone."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest
import uvicorn
from playwright.sync_api import Browser, Locator, Page, expect

from backend_ml.app import create_app
from backend_ml.local import processes
from backend_ml.settings import Settings
from backend_ml.sign_in.person import Person
from backend_ml.sign_in.sessions import Sessions, new_id
from backend_ml.store.database import Database
from backend_ml.store.records import Campaign
from tests.backend_ml.conftest import CLASSES, Annotating, campaign, head
from tests.backend_ml.leading.test_classes import OneProject
from tests.backend_ml.learned import learn_now
from tests.backend_ml.status.test_leading import project
from tests.browser.chromium import chromium_page
from tests.prefix_proxy import below

__all__ = ["campaign", "head", "project"]  # fixtures

pytestmark = [pytest.mark.live, pytest.mark.browser]

PASSWORD = "starlight"
SECRETS = {"secret": "hush", "backend_password": "word", "team_password": PASSWORD}
PREFIX = "/gl"


@pytest.fixture
def address(database: Database, campaign: Campaign, head: str) -> Iterator[str]:
    """Pages over a labelled campaign of two versions, below a prefix that a proxy takes off."""
    annotate, now = Annotating(database, campaign), datetime.now(UTC)
    for task in range(101, 111):
        for person in (3, 4):
            label = CLASSES[(task + person % 2) % 5]
            annotate(task, label, person, now - timedelta(minutes=task), origin="prediction", seconds=4.0)
    assert learn_now(database, campaign) == "promoted"
    port, outside = processes.free_port(), processes.free_port()
    url = f"http://127.0.0.1:{outside}{PREFIX}"
    settings = Settings.model_validate({**SECRETS, "public_url": url})
    server = uvicorn.Server(uvicorn.Config(create_app(settings, database.url), port=port, log_level="warning"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    processes.wait_until(lambda: server.started, 30, what="the backend")
    with below(PREFIX, f"http://127.0.0.1:{port}", outside):
        yield url
    server.should_exit = True
    thread.join()


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    """A page of Debian's Chromium; whatever its console calls an error fails the test."""
    with chromium_page(browser) as (opened, errors):
        yield opened
    assert errors == []


def token_cookie(address: str, database: Database) -> dict[str, str]:
    """The cookie of who signed in with a Label Studio token of her own."""
    settings = Settings.model_validate({**SECRETS, "public_url": address})
    cookie = Sessions(settings, database).cookie(Person("vera@example.org", 5, "a-token-of-hers", new_id()))
    return {"name": cookie["key"], "value": cookie["value"]}


@pytest.mark.parametrize("width", [1440, 390])
def test_a_leader_signs_in_looks_and_rolls_back(
    page: Page, address: str, database: Database, head: str, width: int
) -> None:
    page.set_viewport_size({"width": width, "height": 800})

    def fits() -> bool:
        return bool(page.evaluate("document.documentElement.scrollWidth") <= width)

    page.goto(f"{address}/status/1")
    assert fits()
    page.get_by_label("Your name").fill("Vera")
    page.get_by_label("Team password").fill(PASSWORD)
    page.keyboard.press("Enter")
    expect(page).to_have_url(f"{address}/status/1")
    expect(page.get_by_role("heading", name="Learning curve")).to_be_visible()
    assert fits() and page.evaluate("document.styleSheets.length") == 3
    picture = page.locator(".pictures img").first
    picture.scroll_into_view_if_needed()
    whole = "[...document.images].some(one => one.complete && one.naturalWidth > 0)"
    processes.wait_until(lambda: bool(page.evaluate(whole)), 30, what="a picture")
    serving = page.locator("#versions tr", has_text="serves now").locator("b")
    second = str(serving.text_content())
    assert second != head
    expect(page.get_by_role("button", name="Roll back")).to_have_count(0)
    page.context.add_cookies([{**token_cookie(address, database), "url": address}])
    page.reload()
    page.get_by_role("button", name="Roll back").click()
    expect(serving).to_have_text(head)
    expect(page).to_have_url(f"{address}/status/1")
    page.get_by_role("button", name="Promote").click()
    expect(serving).to_have_text(second)
    page.get_by_role("link", name="Galaxy Loop").click()
    expect(page).to_have_url(f"{address}/status")
    assert fits()
    page.get_by_role("link", name="Search", exact=True).click()
    page.get_by_role("link", name="Status").click()
    expect(page).to_have_url(f"{address}/status")
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_label("Your name")).to_be_visible()
    page.goto(f"{address}/status/1")
    expect(page.get_by_label("Team password")).to_be_visible()


@pytest.mark.parametrize("width", [1440, 390])
def test_of_two_leaders_the_later_one_is_told(browser: Browser, address: str, database: Database, width: int) -> None:
    with chromium_page(browser) as (page, errors):
        page.set_viewport_size({"width": width, "height": 800})
        page.context.add_cookies([{**token_cookie(address, database), "url": address}])
        page.goto(f"{address}/status/1")
        serving = page.locator("#versions tr", has_text="serves now").locator("b")
        served = str(serving.text_content())
        other = page.context.new_page()
        other.goto(f"{address}/status/1")
        other.get_by_role("button", name="Roll back").click()
        expect(other.locator("#versions tr", has_text="serves now").locator("b")).not_to_have_text(served)
        page.get_by_role("button", name="Roll back").click()
        expect(page.get_by_role("alert")).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        page.get_by_role("link", name="The campaign's page").click()
        expect(page).to_have_url(f"{address}/status/1")
        expect(serving).not_to_have_text(served)
    assert len(errors) == 1 and "409" in errors[0], errors


@pytest.mark.parametrize("width", [1440, 390])
def test_who_changes_terms_after_another_leader_sees_both_and_loses_nothing(
    browser: Browser, address: str, database: Database, project: OneProject, width: int
) -> None:
    written = "<p>Look at the arms, " + "and at the bar, " * 20 + "then press a key.</p>"
    with two_leaders(browser, address, database, width) as (page, other):
        for one, policy, words in ((other, "entropy", "<p>Look.</p>"), (page, "loop", written)):
            one.get_by_label("Policy").select_option(policy)
            one.get_by_label("Instruction").fill(words)
            one.get_by_role("button", name="Change", exact=True).click()
        table = told_of_both(page, width)
        for shown in ("entropy", "loop", "<p>Look.</p>", written):
            expect(table).to_contain_text(shown)
        page.go_back()
        expect(page.get_by_label("Instruction")).to_have_value(written)
        page.goto(f"{address}/status/1")
        expect(page.get_by_label("Policy")).to_have_value("entropy")
    assert project.fields["expert_instruction"] == "<p>Look.</p>"


@pytest.mark.parametrize("width", [1440, 390])
def test_who_renames_a_class_after_another_leader_is_told(
    browser: Browser, address: str, database: Database, project: OneProject, width: int
) -> None:
    with two_leaders(browser, address, database, width) as (page, other):
        for one, name in ((other, "whirl"), (page, "grand design")):
            one.locator("select[name=old]").select_option("spiral")
            one.get_by_label("New name").fill(name)
            one.get_by_role("button", name="Rename or merge").click()
        table = told_of_both(page, width)
        for shown in ("whirl", "grand design"):
            expect(table).to_contain_text(shown)
        page.get_by_role("link", name="The campaign's page").click()
        expect(page.locator("select[name=old] option", has_text="whirl")).to_have_count(1)
    assert "whirl" in project.classes and "grand design" not in project.classes


@contextmanager
def two_leaders(browser: Browser, address: str, database: Database, width: int) -> Iterator[tuple[Page, Page]]:
    """The campaign's page twice, as two leaders loaded it; one answer of 409 is expected."""
    with chromium_page(browser) as (page, errors):
        page.context.add_cookies([{**token_cookie(address, database), "url": address}])
        other = page.context.new_page()
        for one in (page, other):
            one.set_viewport_size({"width": width, "height": 800})
            one.goto(f"{address}/status/1")
        yield page, other
    assert len(errors) == 1 and "409" in errors[0], errors


def told_of_both(page: Page, width: int) -> Locator:
    """The table of what was asked for and what is there by now."""
    expect(page.get_by_role("heading", name="Somebody else was faster")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    return page.locator("table")
