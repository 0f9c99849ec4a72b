"""What a volunteer sees and presses of a tree of questions, in a real browser against the real Label Studio."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from backend_ml.catalogue import export
from backend_ml.local import processes
from backend_ml.local.servers import Servers as Installation
from tests.backend_ml.voting import SMOOTH
from tests.browser.test_labelling_page import page, signed_in
from tests.installation import Servers
from tests.live.campaigns import LiveCampaign, created, vote_plan

__all__ = ["page", "signed_in"]  # fixtures
pytestmark = [pytest.mark.live, pytest.mark.browser]


@pytest.fixture
def live(installation: Installation, servers: Servers, tmp_path: Path) -> Iterator[LiveCampaign]:
    """A campaign of six tasks without a model."""
    with created(installation, servers.annotator, vote_plan(tmp_path, "votes by hand", n=6, audit=0.0)) as made:
        yield made


def chosen(page: Page) -> list[str]:
    """What is chosen and seen, in the order of the page."""
    names = page.locator("input[type=radio]:checked:visible")
    return [str(names.nth(place).get_attribute("name")) for place in range(names.count())]


def asked(page: Page, question: str) -> bool:
    return page.get_by_text(question, exact=True).is_visible()


def test_questions_open_as_one_answers_and_what_was_left_behind_is_not_submitted(
    page: Page, live: LiveCampaign
) -> None:
    page.goto(f"{live.installation.label_studio_server.url}/projects/{live.project}/data?labeling=1")
    page.get_by_text("Labeling Instructions").wait_for()
    page.keyboard.press("Escape")
    page.locator("canvas").first.wait_for()
    assert not asked(page, "How rounded is it?") and not asked(page, "Is the galaxy merging or disturbed?")
    page.keyboard.press("Control+Enter")
    expect(page.get_by_role("button", name="Submit current annotation")).to_be_disabled()
    for key in "289ixqs":
        page.keyboard.press(key)
    expect(page.get_by_text("Is the galaxy merging or disturbed?", exact=True)).to_be_visible()
    assert chosen(page) == [
        "Features or disk", "Not edge-on", "Spiral arms", "Tight arms", "2 arms", "Strong bar", "Small bulge"
    ]  # fmt: skip
    assert not asked(page, "How rounded is it?")
    page.keyboard.press("1")
    expect(page.get_by_text("How rounded is it?", exact=True)).to_be_visible()
    assert chosen(page) == ["Smooth"], "a key of one question answers no other"
    for key in "4n":
        page.keyboard.press(key)
    assert chosen(page) == ["Smooth", "Round", "Undisturbed"]
    page.keyboard.press("Control+Enter")

    def votes() -> int:
        with live.database.transaction() as connection:
            found = export.label_table(connection, live.campaign, training=False)
        assert found is not None
        return len(found)

    processes.wait_until(lambda: votes() == 1, 60, what="the vote")
    with live.database.transaction() as connection:
        table = export.label_table(connection, live.campaign, training=False)
    assert table is not None
    given = {f"{name}_{answer}" for name, answer in SMOOTH.items()}
    assert {key for key, count in zip(table.tree.keys, table.counts[0], strict=True) if count} == given


def test_an_open_question_must_be_answered(page: Page, live: LiveCampaign) -> None:
    page.goto(f"{live.installation.label_studio_server.url}/projects/{live.project}/data?labeling=1")
    page.get_by_text("Labeling Instructions").wait_for()
    page.keyboard.press("Escape")
    page.locator("canvas").first.wait_for()
    for key in "14":
        page.keyboard.press(key)
    page.keyboard.press("Control+Enter")
    expect(page.get_by_text("Answer: Is the galaxy merging or disturbed? (Esc closes this.)")).to_be_visible()
    assert not live.annotations()
