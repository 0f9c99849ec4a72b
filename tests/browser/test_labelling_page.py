"""What an annotator sees and presses, in a real browser against the real Label Studio."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, sync_playwright

from backend_ml.local_servers import ADMIN
from backend_ml.local_servers import Servers as Installation
from tests.live.campaigns import LiveCampaign, live_campaign
from tests.live.conftest import Servers, installation, servers  # noqa: F401 - fixtures

pytestmark = [pytest.mark.live, pytest.mark.browser]

SECONDS = 30_000  # Playwright counts milliseconds


@pytest.fixture
def page() -> Iterator[Page]:
    """A page of Debian's Chromium."""
    program = shutil.which("chromium")
    assert program, "Browser tests need Debian's package `chromium` (apt-get install chromium), or NO_BROWSER=1."
    with sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
        browser = playwright.chromium.launch(executable_path=program, args=arguments)
        opened = browser.new_page(viewport={"width": 1400, "height": 900})
        opened.set_default_timeout(SECONDS)
        yield opened
        browser.close()


@pytest.fixture
def live(installation: Installation, servers: Servers, tmp_path: Path) -> Iterator[LiveCampaign]:  # noqa: F811
    """A campaign of twenty tasks."""
    with live_campaign(installation, servers.annotator, tmp_path, "in the browser", n=20, audit=0.0) as made:
        yield made


def sign_in(page: Page, live: LiveCampaign) -> None:
    page.goto(f"{live.installation.label_studio_server.url}/user/login/")
    page.fill("input[name=email]", ADMIN)
    page.fill("input[name=password]", live.installation.environment["GALAXYLOOP_TEAM_PASSWORD"])
    page.press("input[name=password]", "Enter")
    page.wait_for_url(lambda url: "login" not in url)


def test_a_label_given_with_two_keys_reaches_the_training_set(page: Page, live: LiveCampaign) -> None:
    sign_in(page, live)
    pictures: list[int] = []
    page.on("response", lambda answer: pictures.append(answer.status) if "/stamps/" in answer.url else None)
    page.goto(f"{live.installation.label_studio_server.url}/projects/{live.project}/data")
    page.get_by_text("Label All Tasks").click()
    page.get_by_text("Labeling Instructions").wait_for()
    assert page.get_by_text("Choose what the galaxy").is_visible()
    assert page.locator("table img").count() == 10
    page.keyboard.press("Escape")
    page.get_by_text("What is this galaxy?").wait_for()
    assert page.get_by_role("link", name="SIMBAD").get_attribute("href", timeout=SECONDS)
    assert page.get_by_role("link", name="Legacy Survey viewer").is_visible()
    page.locator("canvas").first.wait_for()
    before = set(live.training())
    shown = page.locator("input[type=radio]:checked")
    shown.wait_for(state="attached")
    # a key pressed on the choice that is filled in already would clear it
    key, label = ("4", "edge-on disc") if "edge-on" not in str(shown.get_attribute("name")) else ("5", "spiral")
    page.keyboard.press(key)
    page.keyboard.press("Control+Enter")
    live.wait_for_training(lambda labels: len(set(labels) - before) == 1)
    (stamp,) = set(live.training()) - before
    assert live.training()[stamp] == label
    assert pictures and set(pictures) <= {200, 304}
