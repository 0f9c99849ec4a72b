"""The search page in a real browser: rounds by keyboard alone, over simulated galaxies."""

import os
import re
import threading
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import pytest
import uvicorn
from playwright.sync_api import Browser, Page, expect

from backend_ml.app import create_app
from backend_ml.kinds.simulated import draw_simulated
from backend_ml.local import processes
from backend_ml.settings import Settings
from backend_ml.store.database import Database
from backend_ml.store.encoders import encoder_folder, keep_checkpoint
from lvm_training.galaxies.population import draw_catalogue
from lvm_training.galaxies.simulate import simulate_set
from lvm_training.model.encoder import Encoder
from lvm_training.paths import RELEASED_LVM
from lvm_training.pool.embedding import embed_set, features_path
from lvm_training.pool.features import Features
from lvm_training.stamps.stampset import StampSet
from tests.browser.chromium import chromium_page
from tests.prefix_proxy import below

pytestmark = [pytest.mark.live, pytest.mark.browser]

STAMPS = 80
SIMULATED = 300
PASSWORD = "starlight"
WANTED = "edge-on disc"


@dataclass
class Sky:
    """A backend that serves the search page over simulated galaxies."""

    url: str
    truth: list[str]
    settings: Settings

    def draw(self) -> None:
        """What a worker does when a search begins with simulated galaxies."""
        draw_simulated(Encoder.load(RELEASED_LVM, 1), self.settings.store_folder, SIMULATED)

    def rows(self, wanted: str) -> list[int]:
        return [row for row, kind in enumerate(self.truth) if kind == wanted]


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A stamp set and its features."""
    folder = tmp_path_factory.mktemp("sky")
    path = simulate_set(draw_catalogue(STAMPS, 5), folder / "galaxies.h5", processes=1)
    with StampSet(path) as stamps:
        encoder = Encoder.load(RELEASED_LVM, 1)
        embed_set(stamps, encoder, folder)
        return path, features_path(stamps, encoder, folder)


@pytest.fixture
def sky(
    database: Database, simulated: tuple[Path, Path], tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[Sky]:
    """The page served over the galaxies; below a prefix, if the test gives one."""
    prefix = getattr(request, "param", "")
    stamps, features = simulated
    database.rows("put_stamp_set", name="galaxies", path=str(stamps), digest="d", features=str(features))
    port = processes.free_port()
    outside = processes.free_port() if prefix else port
    url = f"http://127.0.0.1:{outside}{prefix}"
    secrets = {"secret": "hush", "backend_password": "word", "team_password": PASSWORD}
    settings = Settings.model_validate({**secrets, "public_url": url, "home": tmp_path, "simulated_stamps": SIMULATED})
    keep_checkpoint(RELEASED_LVM, encoder_folder(settings.store_folder, Features.open(features).encoder))
    server = uvicorn.Server(uvicorn.Config(create_app(settings, database.url), port=port, log_level="warning"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    processes.wait_until(lambda: server.started, 30, what="the backend")
    with StampSet(stamps) as opened:
        truth = [str(kind) for kind in opened.column("morphology")]
    with below(prefix, f"http://127.0.0.1:{port}", outside) if prefix else nullcontext():
        yield Sky(url, truth, settings)
    server.should_exit = True
    thread.join()


@pytest.fixture
def page(browser: Browser, sky: Sky) -> Iterator[Page]:
    """A page of Debian's Chromium; whatever its console calls an error fails the test."""
    with chromium_page(browser, 1280, 800) as (opened, errors):
        opened.on("pageerror", lambda error: errors.append(str(error)))
        yield opened
    # what is refused on purpose is one too: nothing to undo, pictures of who has just signed out
    refused = ("409 (Conflict)", "401 (Unauthorized)")
    assert [text for text in errors if not any(one in text for one in refused)] == []


def sign_in(page: Page, sky: Sky, path: str = "/explore") -> None:
    page.goto(sky.url + path)
    page.get_by_label("Your name").fill("Vera")
    page.get_by_label("Team password").fill(PASSWORD)
    page.keyboard.press("Enter")
    expect(page.locator("#person")).to_have_text("Vera")


def begin(page: Page, sky: Sky, name: str = "Edge-on discs") -> list[int]:
    """A search with three examples, begun by keyboard; the examples."""
    sign_in(page, sky)
    examples = sky.rows(WANTED)[:3]
    page.get_by_label("What are you looking for?").fill(name)
    page.get_by_role("textbox", name="Examples").fill(" ".join(map(str, examples)))
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.locator("#grid li").first.wait_for()
    return examples


def label_round(page: Page, sky: Sky) -> int:
    """Label every stamp of the round by key, as the truth says; how many are wanted."""
    shown = page.locator("#grid li")
    yes = 0
    for _ in range(shown.count()):
        stamp = int(page.evaluate("document.activeElement.dataset.stamp"))
        wanted = sky.truth[stamp] == WANTED
        yes += wanted
        page.keyboard.press("y" if wanted else "n")
    expect(page.locator("#grid li:not(.yes):not(.no)")).to_have_count(0)
    return yes


def next_round(page: Page) -> None:
    before = page.locator("#grid li").first.get_attribute("data-stamp")
    page.keyboard.press("Enter")
    expect(page.locator("#grid li").first).not_to_have_attribute("data-stamp", str(before))


@pytest.mark.parametrize("sky", ["/gl"], indirect=True)
def test_a_phone_shows_a_round_at_its_own_width(page: Page, sky: Sky) -> None:
    page.set_viewport_size({"width": 390, "height": 800})
    begin(page, sky, "On a phone")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    box = page.get_by_label("not shown yet").bounding_box()
    assert box is not None and box["width"] < 30, "a box to tick is no bar"


def test_everything_works_below_a_prefix_that_a_proxy_takes_off(page: Page, sky: Sky) -> None:
    begin(page, sky)
    assert page.url == f"{sky.url}/explore/1"
    label_round(page, sky)
    loaded = "[...document.querySelectorAll('#grid img')].every(one => one.complete && one.naturalWidth > 0)"
    processes.wait_until(lambda: bool(page.evaluate(loaded)), 30, what="the pictures")
    page.reload()
    expect(page.locator("#person")).to_have_text("Vera")
    processes.wait_until(lambda: bool(page.evaluate(loaded)), 30, what="the pictures")
    with page.expect_popup() as opened:
        page.get_by_role("link", name="why?").first.click()
    why = opened.value
    why.wait_for_load_state()
    assert why.url.startswith(f"{sky.url}/why/1/galaxies/")
    whole = (
        "document.images.length && [...document.images].every(one => one.naturalWidth) && document.styleSheets.length"
    )
    processes.wait_until(lambda: bool(why.evaluate(whole)), 30, what="its pictures and style")
    why.close()
    page.locator("a.home").click()
    expect(page).to_have_url(f"{sky.url}/explore")
    page.get_by_role("link", name="Edge-on discs").click()
    expect(page).to_have_url(f"{sky.url}/explore/1")
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_label("Your name")).to_be_visible()


def test_three_rounds_by_keyboard_find_the_class(page: Page, sky: Sky) -> None:
    begin(page, sky)
    found = []
    for number in range(3):
        if number:
            next_round(page)
        assert page.locator("#grid li").count() == 20
        found.append(label_round(page, sky))
        expect(page.locator("#chart circle")).to_have_count(number + 1)
    assert sum(found) >= 10
    expect(page.locator("#chart svg")).to_have_attribute(
        "aria-label", "Precision by round: " + ", ".join(f"{round(100 * yes / 20)} %" for yes in found)
    )
    expect(page.locator("#round-line b")).to_have_text(f"{sum(found) + 3} yes")
    page.keyboard.press("h")
    expect(page.locator("#rounds tbody tr")).to_have_count(3)
    expect(page.locator("#events tbody tr")).to_have_count(63)
    assert "Vera" in page.locator("#rounds tbody tr").nth(2).inner_text()
    page.keyboard.press("Escape")
    page.reload()
    expect(page.locator("#grid li.yes")).to_have_count(found[2])


def test_labels_are_undone_and_cleared_by_key(page: Page, sky: Sky) -> None:
    begin(page, sky)
    tiles = page.locator("#grid li")
    for key, label in (("y", "yes"), ("n", "no"), ("u", "unsure")):
        page.keyboard.press(key)
        place = ("y", "n", "u").index(key)
        expect(tiles.nth(place)).to_have_class(label)
        expect(tiles.nth(place).locator(".symbol")).to_have_text({"yes": "✓", "no": "✕", "unsure": "?"}[label])
    page.keyboard.press("z")
    expect(page.locator("#status")).to_contain_text("taken back")
    expect(tiles.nth(2)).to_have_class("")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Backspace")
    expect(tiles.nth(1)).to_have_class("")
    expect(page.locator("#round-line")).to_contain_text("4 yes, 0 no, 0 unsure")
    page.reload()
    expect(page.locator("#grid li.yes")).to_have_count(1)


def test_the_map_and_pictures_of_other_looks(page: Page, sky: Sky) -> None:
    begin(page, sky)
    for _ in range(2):
        page.keyboard.press("v")
    expect(page.locator("#grid img").first).to_have_attribute("src", re.compile("view=r$"))
    page.keyboard.press("m")
    expect(page.locator("#plane")).to_be_focused(timeout=30_000)
    page.keyboard.press("ArrowRight")
    picture = page.locator("#detail img")
    stamp = int(str(picture.get_attribute("alt")).split()[-1])
    page.keyboard.press("y")
    page.keyboard.press("Escape")
    page.keyboard.press("h")
    expect(page.locator("#events tbody tr").first).to_contain_text(f"#{stamp}")


@pytest.mark.parametrize("width", [1440, 390])
def test_one_key_shows_every_look_at_a_galaxy_and_what_the_catalogue_says(page: Page, sky: Sky, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    begin(page, sky)
    page.keyboard.press("e")
    galaxy = page.locator("#galaxy")
    shown = galaxy.locator("#galaxy-body > img")

    def loaded(part: str) -> None:
        expect(shown).to_have_attribute("src", re.compile(part), timeout=60_000)
        processes.wait_until(
            lambda: bool(shown.evaluate("one => one.complete && one.naturalWidth === 960")), 60, what=part
        )

    loaded("view=rgb&large=true$")
    expect(galaxy.get_by_role("button", pressed=True)).to_have_text("Colour")
    for band in ("g", "r", "z"):
        galaxy.get_by_role("button", name=band, exact=True).click()
        loaded(f"view={band}&large=true$")
    told = galaxy.get_by_role("status")
    expect(told).to_be_empty()
    galaxy.get_by_role("button", name="Taken away").click()
    expect(told).to_contain_text("the stamp minus its restored picture")
    loaded("residual.jpg$")
    expect(galaxy.get_by_role("button", pressed=True)).to_have_text("Taken away")
    galaxy.get_by_text("All columns of the catalogue").click()
    expect(galaxy.locator("details dt", has_text="morphology")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert galaxy.evaluate("one => one.scrollWidth <= one.clientWidth")
    if shots := os.environ.get("SCREENSHOTS"):
        page.screenshot(path=Path(shots) / f"enlarged-{width}.png")
    page.keyboard.press("Escape")
    expect(galaxy).to_be_hidden()


def test_a_dropped_picture_is_looked_for(page: Page, sky: Sky) -> None:
    begin(page, sky)
    png = page.context.request.get(page.url.replace("/explore/", "/explore/api/searches/") + "/stamps/7.png")
    page.get_by_role("button", name="Examples").click()
    page.locator("#picture").set_input_files([{"name": "seven.png", "mimeType": "image/png", "buffer": png.body()}])
    page.get_by_role("button", name="Examples").click()
    expect(page.locator("#pictures")).to_contain_text("seven.png (Vera)")


def test_a_link_opens_the_search_for_someone_else(page: Page, sky: Sky) -> None:
    begin(page, sky, "Shared")
    page.keyboard.press("y")
    expect(page.locator("#grid li.yes")).to_have_count(1)
    link = page.url.removeprefix(sky.url)
    page.get_by_role("button", name="Sign out").click()
    page.get_by_role("heading", name="Sign in", exact=True).wait_for()
    page.goto(sky.url + link)
    page.get_by_label("Your name").fill("Henrietta")
    page.get_by_label("Team password").fill(PASSWORD)
    page.keyboard.press("Enter")
    expect(page.locator("#title")).to_have_text("Shared")
    expect(page.locator("#round-line")).to_contain_text("4 yes")
    page.locator("#grid li").first.wait_for()
    page.keyboard.press("z")
    expect(page.locator("#notice")).to_contain_text("no label of yours")


def test_a_search_begins_without_an_example_by_keyboard(page: Page, sky: Sky) -> None:
    sign_in(page, sky)
    name = page.get_by_label("What are you looking for?")
    name.fill("Discs from their side")
    page.get_by_role("radio", name="nothing").focus()
    for _ in range(4):
        page.keyboard.press("ArrowRight")
    expect(page.get_by_role("radio", name="edge-on")).to_be_checked()
    expect(page.locator("#concept-words")).to_contain_text("A disc seen from its side: AUC .")
    portraits = page.locator("#concepts img")
    for place in range(portraits.count()):
        portraits.nth(place).scroll_into_view_if_needed()
        page.wait_for_function("place => document.querySelectorAll('#concepts img')[place].naturalWidth > 0", arg=place)
    page.keyboard.press("Enter")
    expect(page.locator("#drawing-words")).to_contain_text("galaxyloop worker")
    expect(page.locator("#grid li")).to_have_count(0)
    expect(page.locator("#next")).to_be_disabled()
    sky.draw()
    expect(page.locator("#grid li")).to_have_count(20)
    expect(page.locator("#drawing")).to_be_hidden()
    expect(page.locator("#round-line")).to_contain_text("most like the simulated ones · 100 % simulated edge-on (AUC .")
    assert label_round(page, sky) >= 8
    next_round(page)
    expect(page.locator("#round-line")).not_to_contain_text("100 % simulated")
    page.keyboard.press("h")
    expect(page.locator("#rounds tbody tr").first).to_contain_text("Most like the simulated ones")


@pytest.mark.parametrize("width", [1440, 390])
def test_a_search_without_a_name_takes_the_one_that_is_suggested(page: Page, sky: Sky, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    sign_in(page, sky)
    name, begin_it = page.get_by_label("What are you looking for?"), page.get_by_role("button", name="Begin")
    begin_it.click()
    expect(page).to_have_url(f"{sky.url}/explore")
    assert name.evaluate("one => one.validity.valueMissing"), "nothing suggests a name"
    page.get_by_role("radio", name="edge-on").check()
    expect(name).to_have_attribute("placeholder", "edge-on galaxies")
    page.get_by_role("radio", name="nothing").check()
    assert name.evaluate("one => one.validity.valueMissing")
    page.get_by_role("radio", name="edge-on").check()
    begin_it.click()
    expect(page.locator("#title")).to_have_text("edge-on galaxies")
    page.goto(f"{sky.url}/explore")
    page.get_by_role("button", name="Show me what is unusual").click()
    expect(page.locator("#title")).to_have_text("unusual galaxies")
    expect(page.locator("#grid li")).to_have_count(20)
