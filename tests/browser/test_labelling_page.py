"""What an annotator sees and presses, in a real browser against the real Label Studio."""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect

from backend_ml.campaign.plan import CampaignPlan
from backend_ml.label_studio.regions.numbers import find_numbers, given_numbers
from backend_ml.label_studio.regions.objects import find_object_controls, read_objects
from backend_ml.local import processes
from backend_ml.local.servers import ADMIN
from backend_ml.local.servers import Servers as Installation
from backend_ml.plugins.parameters import Parameters
from lvm_training.galaxies.population import draw_catalogue
from lvm_training.galaxies.simulate import simulate_set
from lvm_training.paths import RELEASED_LVM
from tests.backend_ml.lenses import LENSES, SHOWN
from tests.browser.chromium import chromium_page, new_page
from tests.installation import Servers
from tests.live.campaigns import LiveCampaign, created, lens_plan, live_campaign

pytestmark = [pytest.mark.live, pytest.mark.browser]


@pytest.fixture(scope="module")
def signed_in(browser: Browser, installation: Installation) -> Iterator[BrowserContext]:
    """Somebody who has signed in to Label Studio, and whose browser has its programs: once for the tests of a file."""
    with chromium_page(browser, 1400, 900) as (page, _):
        page.goto(f"{installation.label_studio_server.url}/user/login/")
        page.fill("input[name=email]", ADMIN)
        page.fill("input[name=password]", installation.environment["GALAXYLOOP_TEAM_PASSWORD"])
        page.press("input[name=password]", "Enter")
        page.wait_for_url(lambda url: "login" not in url)
        yield page.context


@pytest.fixture
def page(signed_in: BrowserContext) -> Iterator[Page]:
    """A page of theirs."""
    opened, _ = new_page(signed_in)
    with opened:
        yield opened


@pytest.fixture(scope="module")
def live(
    installation: Installation,
    servers: Servers,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[LiveCampaign]:
    """A campaign of twenty tasks, the same for every test."""
    folder = tmp_path_factory.mktemp("in_the_browser")
    with live_campaign(installation, servers.annotator, folder, "in the browser", n=20, audit=0.0) as made:
        yield made


@pytest.fixture
def lenses(installation: Installation, servers: Servers, tmp_path: Path) -> Iterator[LiveCampaign]:
    """A campaign of lenses, each task of which has objects filled in."""
    plan = replace(lens_plan(tmp_path, "lenses in the browser", n=6), audit_fraction=0.0)
    with created(installation, servers.annotator, plan) as made:
        yield made


def in_sight(page: Page, part: Locator) -> bool:
    """Whether nobody has to scroll for a part of the page, whose foot has Submit."""
    box, foot = part.bounding_box(), page.get_by_role("button", name="Submit current annotation").bounding_box()
    assert box is not None and foot is not None
    return box["y"] >= 0 and box["y"] + box["height"] <= foot["y"]


def test_a_label_given_with_two_keys_reaches_the_training_set(page: Page, live: LiveCampaign) -> None:
    pictures: list[int] = []
    page.on("response", lambda answer: pictures.append(answer.status) if "/stamps/" in answer.url else None)
    page.goto(f"{live.installation.label_studio_server.url}/projects/{live.project}/data")
    page.get_by_text("Label All Tasks").click()
    page.get_by_text("Labeling Instructions").wait_for()
    assert page.get_by_text("Choose what the galaxy").is_visible()
    assert page.locator("table img").count() == 15
    page.keyboard.press("Escape")
    page.get_by_text("What is this galaxy?").wait_for()
    assert page.get_by_role("link", name="SIMBAD").get_attribute("href")
    assert page.get_by_role("link", name="Legacy Survey viewer").is_visible()
    page.locator("canvas").first.wait_for()
    before = set(live.training())
    shown = page.locator("input[type=radio]:checked")
    shown.wait_for(state="attached")
    key, label = ("4", "edge-on disc") if "edge-on" not in str(shown.get_attribute("name")) else ("5", "spiral")
    page.keyboard.press(key)
    expect(shown).to_have_attribute("name", label)
    page.keyboard.press("Control+Enter")
    live.wait_for_training(lambda labels: len(set(labels) - before) == 1)
    (stamp,) = set(live.training()) - before
    assert live.training()[stamp] == label
    assert pictures and set(pictures) <= {200, 304}


def test_the_number_of_the_answer_that_is_filled_in_keeps_it(page: Page, live: LiveCampaign) -> None:
    page.goto(f"{live.installation.label_studio_server.url}/projects/{live.project}/data?labeling=1")
    page.get_by_text("Labeling Instructions").wait_for()
    page.keyboard.press("Escape")
    page.locator("canvas").first.wait_for()
    shown = page.locator("input[type=radio]:checked")
    shown.wait_for(state="attached")
    answer = str(shown.get_attribute("name"))
    keys = {name: str(number) for number, name in enumerate(live.campaign.classes, 1)}
    assert page.get_by_text(re.compile(rf"^Model: {answer} [0-9]+%")).is_visible()
    other = next(name for name in keys if name != answer)
    for name in (answer, answer, other, other, answer):
        page.keyboard.press(keys[name])
        expect(shown).to_have_attribute("name", name)
    before = set(live.training())
    page.keyboard.press("Control+Enter")
    live.wait_for_training(lambda labels: len(set(labels) - before) == 1)
    (stamp,) = set(live.training()) - before
    assert live.training()[stamp] == answer


def test_without_an_answer_submit_waits_for_one(
    page: Page, installation: Installation, servers: Servers, tmp_path: Path
) -> None:
    with live_campaign(installation, servers.annotator, tmp_path, "blind alone", n=4, audit=1.0) as live:
        page.goto(f"{live.installation.label_studio_server.url}/projects/{live.project}/data?labeling=1")
        page.get_by_text("Labeling Instructions").wait_for()
        page.keyboard.press("Escape")
        page.locator("canvas").first.wait_for()
        assert page.get_by_text("Model:").count() == 0
        page.keyboard.press("Control+Enter")
        expect(page.get_by_role("button", name="Submit current annotation")).to_be_disabled()
        page.keyboard.press("2")
        expect(page.locator("input[type=radio]:checked")).to_have_attribute("name", live.campaign.classes[1])
        page.keyboard.press("Control+Enter")
        processes.wait_until(lambda: bool(live.annotations()), 60, what="the annotation")
        assert page.locator(".ant-modal").count() == 0 and len(live.annotations()) == 1


def test_the_data_manager_has_tabs_and_no_column_of_html(page: Page, live: LiveCampaign) -> None:
    page.goto(f"{live.installation.label_studio_server.url}/projects/{live.project}/data")
    page.get_by_text("Label All Tasks").wait_for()
    assert page.get_by_text("Queue", exact=True).is_visible() and page.get_by_text("Labelled", exact=True).is_visible()
    page.get_by_text(re.compile(r"^in_the_browser [0-9]+$")).first.wait_for()
    for column in ("links", "catalogue", "stamp_id"):
        assert page.get_by_text(column, exact=True).count() == 0


def test_why_a_galaxy_is_here_opens_on_a_click(page: Page, live: LiveCampaign) -> None:
    page.goto(f"{live.installation.label_studio_server.url}/projects/{live.project}/data")
    page.get_by_text("Label All Tasks").click()
    page.get_by_text("Labeling Instructions").wait_for()
    page.keyboard.press("Escape")
    link = page.get_by_role("link", name="Why is this here?")
    link.wait_for()
    before = page.url
    with page.context.expect_page() as opened:
        link.click()
    opened.value.get_by_role("heading", name=re.compile(r"^Why is in_the_browser \d+ here\?$")).wait_for()
    assert page.url == before, "the labelling page stays as it is"


def test_what_the_detector_drew_is_submitted_with_one_key(page: Page, lenses: LiveCampaign) -> None:
    page.goto(f"{lenses.installation.label_studio_server.url}/projects/{lenses.project}/data")
    page.get_by_text("Label All Tasks").click()
    page.get_by_text("Labeling Instructions").wait_for()
    assert page.get_by_text("All lensed images of one source").is_visible()
    page.keyboard.press("Escape")
    page.get_by_text("Is this a lens?").wait_for()
    page.locator("canvas").first.wait_for()
    page.locator("input[type=radio]:checked").wait_for(state="attached")
    page.keyboard.press("Control+Enter")

    def submitted() -> list[dict[str, Any]]:
        return lenses.database.rows("object_labels", campaign=lenses.campaign.id)

    processes.wait_until(lambda: bool(submitted()), 60, what="the annotation")
    (row,) = submitted()
    read, predicted = (
        read_objects(result, find_object_controls(LENSES), width=64, height=64, shown=SHOWN)
        for result in (json.loads(row["result"]), _predicted(lenses, row["stamp_id"]))
    )
    assert len(read.instances) > 0 and read.instances.classes == predicted.instances.classes
    np.testing.assert_allclose(read.instances.boxes, predicted.instances.boxes, atol=0.01)
    np.testing.assert_array_equal(read.instances.masks, predicted.instances.masks)


def test_numbers_are_filled_in_one_is_mended_and_two_are_emptied(
    page: Page, installation: Installation, servers: Servers, tmp_path: Path
) -> None:
    stamps = simulate_set(draw_catalogue(4, 7), tmp_path / "numbers_in_the_browser.h5", processes=1)
    plan = CampaignPlan("numbers in the browser", stamps, RELEASED_LVM, kind="parameters", audit_fraction=0.0)
    with created(installation, servers.annotator, plan) as live:
        page.goto(f"{live.installation.label_studio_server.url}/projects/{live.project}/data?labeling=1")
        page.get_by_text("Labeling Instructions").wait_for()
        assert page.get_by_text("no key submits while one types").is_visible()
        page.keyboard.press("Escape")
        page.locator("canvas").first.wait_for()
        expect(page.get_by_text(re.compile("^Model: magnitude in r [0-9.]+ ± [0-9.]+ mag"))).to_be_visible()
        fields = page.locator("input[type=number]")
        expect(fields).to_have_count(5)
        assert in_sight(page, page.get_by_role("link", name="Why is this here?"))
        before = [float(fields.nth(place).input_value()) for place in range(5)]
        assert 10 < before[0] < 25 and 0 < before[3] <= 1
        fields.nth(0).fill("17.255")
        for place in (2, 4):  # Label Studio leaves 0 in an emptied field, and would refuse it below a `min`
            fields.nth(place).fill("")
        # a step would refuse what the model itself filled in
        page.get_by_role("button", name="Submit current annotation").click()

        def submitted() -> list[dict[str, Any]]:
            return live.database.rows("object_labels", campaign=live.campaign.id)

        processes.wait_until(lambda: bool(submitted()), 60, what="the annotation")
        (row,) = submitted()
        controls = find_numbers(Parameters().label_config())
        said = given_numbers(json.loads(row["result"]), controls)
    assert said == {"mag_r": 17.255, "half_light_radius": before[1], "axis_ratio": before[3]}


def _predicted(lenses: LiveCampaign, stamp: int) -> list[dict[str, Any]]:
    tasks = lenses.admin.data_manager(lenses.project, [], fields="all")
    return next(task["predictions"][0]["result"] for task in tasks if task["data"]["stamp_id"] == stamp)
