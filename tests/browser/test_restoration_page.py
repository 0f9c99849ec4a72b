"""What people see and press of a restored stamp, in a real browser against the real Label Studio."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from backend_ml.campaign.plan import CampaignPlan
from backend_ml.local import processes
from backend_ml.local.servers import Servers as Installation
from backend_ml.plugins.restoration import Restoration
from lvm_training.galaxies.population import draw_catalogue
from lvm_training.galaxies.simulate import simulate_set
from lvm_training.paths import RELEASED_LVM
from tests.browser.test_labelling_page import in_sight, page, signed_in
from tests.installation import Servers
from tests.live.campaigns import LiveCampaign, created

__all__ = ["page", "signed_in"]  # fixtures
pytestmark = [pytest.mark.live, pytest.mark.browser]


@pytest.fixture
def live(installation: Installation, servers: Servers, tmp_path: Path) -> Iterator[LiveCampaign]:
    """A campaign of four drawn galaxies that the released decoder restored."""
    stamps = simulate_set(draw_catalogue(4, 5), tmp_path / "noisy.h5", processes=1)
    plan = CampaignPlan("restored by hand", stamps, RELEASED_LVM, kind="restoration", audit_fraction=0.0)
    with created(installation, servers.annotator, plan) as made:
        yield made


def test_both_pictures_are_shown_and_one_key_judges_them(page: Page, live: LiveCampaign) -> None:
    page.goto(f"{live.installation.label_studio_server.url}/projects/{live.project}/data?labeling=1")
    page.get_by_text("Labeling Instructions").wait_for()
    page.keyboard.press("Escape")
    page.locator("canvas").nth(2).wait_for()
    for address in ("/stamps/", "/restored/", "/residual/"):
        page.wait_for_function(
            "part => [...document.images].some(one => one.src.includes(part) && one.naturalWidth === 960)"
            " || performance.getEntriesByType('resource').some(one => one.name.includes(part))",
            arg=address,
        )
    page.set_viewport_size({"width": 1440, "height": 900})
    for place in range(3):
        picture = page.locator(".stamp, .residual").nth(place).locator("canvas").first
        assert in_sight(page, picture), "three pictures are compared at one look"
    if shots := os.environ.get("SCREENSHOTS"):
        page.wait_for_timeout(3000)
        page.screenshot(path=Path(shots) / "restoration.png")
    page.keyboard.press("4")
    slider, restored = page.locator(".lsf-tool__controls"), page.locator(".stamp").nth(1).locator("canvas").first
    expect(slider).to_be_visible()
    left, picture = slider.bounding_box(), restored.bounding_box()
    assert left is not None and picture is not None
    assert left["x"] >= picture["x"] + picture["width"], "the brush's size covers nothing that is to be painted"
    expect(page.locator("input[name=better]")).to_be_checked()
    page.keyboard.press("2")
    expect(page.locator("input[name=worse]")).to_be_checked()
    page.keyboard.press("Control+Enter")

    def said() -> list[str]:
        with live.database.transaction() as connection:
            return [one.said for one in Restoration().read(connection, live.campaign).training]

    processes.wait_until(lambda: said() == ["worse"], 60, what="the judgement")
