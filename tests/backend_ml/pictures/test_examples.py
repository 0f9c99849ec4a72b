"""Examples of classes and the bar of progress, as instructions link them: what they show, against a list by hand."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from psycopg.types.json import Jsonb

from backend_ml import signing
from backend_ml.labels.people import People
from backend_ml.leading.people import set_aside
from backend_ml.pictures.campaign_pictures import EXAMPLE_SIZE, CampaignPictures, portrait_file, progress_svg
from backend_ml.pictures.drawing import GREY
from backend_ml.pictures.stamp_pictures import PictureCache
from backend_ml.settings import Settings
from backend_ml.signing import AccessError
from backend_ml.store.campaigns import add_campaign
from backend_ml.store.database import Database
from backend_ml.store.records import Campaign
from lvm_training.errors import GalaxyLoopError
from lvm_training.scenes.simulated_classes import NOT
from tests.backend_ml.conftest import CLASSES, MORPHOLOGY, Annotating
from tests.backend_ml.explore.conftest import SETTINGS

ROUND, BETWEEN, _, _, SPIRAL = CLASSES
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
NOTHING = "grey"


class Examples:
    """What the links of a class's examples show: rows of stamps, of which i and i + 5 look alike, or nothing."""

    def __init__(self, database: Database, campaign: Campaign) -> None:
        cache = PictureCache(database)
        self.pictures = CampaignPictures(database, SETTINGS, cache)
        self._campaign = campaign
        drawn = (cache.file("sky", row, campaign.rendering, size=EXAMPLE_SIZE, encoding="jpeg") for row in range(5))
        self._rows = {jpeg: row for row, jpeg in enumerate(drawn)}

    def file(self, name: str, number: int, /, *, settings: Settings = SETTINGS, **signed: Any) -> bytes:
        about = {"name": name, "number": number, "campaign": self._campaign.id} | signed
        links = signing.Links(about["campaign"])
        key = signing.link_key("example", about["name"], about["number"], links, settings)
        return self.pictures.example(self._campaign.id, name, number, key)

    def __call__(self, name: str, count: int = 3) -> list[int | str]:
        return [self._rows.get(self.file(name, number), NOTHING) for number in range(count)]


@pytest.fixture
def examples(database: Database, campaign: Campaign) -> Examples:
    """The examples of the campaign."""
    return Examples(database, campaign)


def start(database: Database, campaign: Campaign, row: int, label: str) -> None:
    database.rows("put_snapshot_label", campaign=campaign.id, stamp_set="sky", stamp_id=row, label=label)


def test_before_anything_is_labelled_a_picture_says_so(examples: Examples) -> None:
    assert examples(SPIRAL) == [NOTHING] * 3
    image = cv2.imdecode(np.frombuffer(examples.file(SPIRAL, 0), np.uint8), cv2.IMREAD_COLOR)
    assert image.shape == (EXAMPLE_SIZE, EXAMPLE_SIZE, 3) and (image[:40] == GREY).all()
    assert (image > 200).any(), "with words on it"
    assert examples.file("no such class", 0) == examples.file(SPIRAL, 99)


def test_starting_labels_come_first_and_then_what_people_said_the_oldest_first(
    database: Database, campaign: Campaign, examples: Examples, annotate: Annotating
) -> None:
    annotate(107, SPIRAL, 1, NOON)
    annotate(104, SPIRAL, 1, NOON - timedelta(hours=1))
    start(database, campaign, 4, SPIRAL)
    assert examples(SPIRAL, 4) == [4, 3, 6 - 5, NOTHING]
    assert examples(ROUND, 1) == [NOTHING]


def test_of_several_minds_the_consensus_is_an_example(
    database: Database, campaign: Campaign, examples: Examples, annotate: Annotating
) -> None:
    for who, label in ((1, ROUND), (2, SPIRAL), (3, SPIRAL)):
        annotate(101, label, who, NOON + timedelta(minutes=who))
    assert (examples(SPIRAL, 1), examples(ROUND, 1)) == ([0], [NOTHING])
    with database.transaction() as connection:
        set_aside(connection, campaign, "3", "vera", People(Settings()))
        set_aside(connection, campaign, "2", "vera", People(Settings()))
    assert (examples(SPIRAL, 1), examples(ROUND, 1)) == ([NOTHING], [0])


def test_no_example_tells_what_the_audit_slice_shows(
    database: Database, campaign: Campaign, examples: Examples, annotate: Annotating
) -> None:
    annotate(110, SPIRAL, 1, NOON)
    start(database, campaign, 9, SPIRAL)
    assert examples(SPIRAL, 2) == [NOTHING] * 2
    database.rows("delete_tasks", campaign=campaign.id, tasks=[110])
    assert examples(SPIRAL, 2) == [NOTHING] * 2, "it was blind, and its starting label judges still"


@pytest.mark.parametrize("label", [None, "unsure"])
def test_skips_and_what_is_aside_show_no_class(
    database: Database, campaign: Campaign, examples: Examples, annotate: Annotating, label: str | None
) -> None:
    annotate(101, label, 1, NOON)
    assert examples(SPIRAL, 1) == examples(ROUND, 1) == [NOTHING]


def test_what_cannot_be_read_is_no_example(
    database: Database, campaign: Campaign, examples: Examples, annotate: Annotating
) -> None:
    annotate(101, SPIRAL, 1, NOON)
    (said,) = database.rows("votes", campaign=campaign.id)
    (known,) = database.rows("known_annotations", campaign=campaign.id)
    odd = {"annotation": known["annotation_id"], "task": known["task_id"], "reason": "odd"}
    assert examples(SPIRAL, 1) == [said["stamp_id"]]
    database.rows("put_set_aside", campaign=campaign.id, **odd)
    assert examples(SPIRAL, 1) == [NOTHING]


def test_deleted_tasks_are_no_examples(
    database: Database, campaign: Campaign, examples: Examples, annotate: Annotating
) -> None:
    annotate(101, SPIRAL, 1, NOON)
    annotate(102, SPIRAL, 1, NOON)
    database.rows("delete_tasks", campaign=campaign.id, tasks=[101])
    assert examples(SPIRAL, 2) == [1, NOTHING]


def test_links_of_a_former_name_show_the_class_of_now(
    database: Database, campaign: Campaign, examples: Examples, annotate: Annotating
) -> None:
    """Instructions were written once, and nobody writes their links anew."""
    annotate(101, SPIRAL, 1, NOON)
    annotate(102, BETWEEN, 1, NOON)
    with database.transaction() as connection:
        connection.execute("UPDATE campaign SET renamed = %s", (Jsonb({SPIRAL: "arms", BETWEEN: ROUND}),))
    assert examples(SPIRAL, 2) == examples("arms", 2) == [0, NOTHING]
    assert examples(BETWEEN, 1) == examples(ROUND, 1) == [1]


def test_what_the_simulator_draws_stands_between_starting_labels_and_those_of_people(
    database: Database, campaign: Campaign, examples: Examples, annotate: Annotating
) -> None:
    annotate(101, SPIRAL, 1, NOON)
    start(database, campaign, 4, SPIRAL)
    with database.transaction() as connection:
        connection.execute(
            "UPDATE campaign SET simulated = %s", (Jsonb({SPIRAL: f"{NOT}bar,ring", ROUND: f"{NOT}ring"}),)
        )
    assert examples(SPIRAL, 1) == [4]
    assert examples.file(SPIRAL, 1) == portrait_file("ring", 1, EXAMPLE_SIZE, "jpeg")
    assert examples(ROUND, 1) == [NOTHING], "nobody draws what a galaxy is not"


def test_in_a_search_whatever_people_found_comes_before_drawings(database: Database, campaign: Campaign) -> None:
    values = {**MORPHOLOGY, "kind": "interest", "classes": ("no", "yes"), "simulated": {"yes": "ring"}}
    with database.transaction() as connection:
        search = add_campaign(connection, **values, name="Rings")
    marked = {"stamp_set": "sky", "stamp_id": 3, "label": "yes", "annotator": None, "person": "Vera"}
    database.rows("put_label", campaign=search.id, action="labelled", **marked)
    found = Examples(database, search)
    assert found("yes", 1) == [3] and found.file("yes", 1) == portrait_file("ring", 1, EXAMPLE_SIZE, "jpeg")


@pytest.mark.parametrize(
    "signed", [{"name": ROUND}, {"number": 1}, {"campaign": 2}, {"settings": Settings.model_validate({"secret": "x"})}]
)
def test_a_link_shows_what_it_is_signed_for_alone(examples: Examples, signed: dict[str, Any]) -> None:
    with pytest.raises(AccessError, match="not signed"):
        examples.file(SPIRAL, 0, **signed)


@pytest.mark.parametrize(
    ("change", "shown"),
    [
        ("UPDATE campaign SET state = 'closed'", True),
        ("UPDATE campaign SET state = 'paused'", True),
        ("UPDATE campaign SET state = 'closed', links_lapsed = true", False),
        ("DELETE FROM campaign", False),
    ],
)
def test_links_hold_until_they_lapse(database: Database, examples: Examples, change: str, shown: bool) -> None:
    with database.transaction() as connection:
        connection.execute(change)
    links: list[Callable[[], object]] = [
        lambda: examples.file(SPIRAL, 0),
        lambda: examples.pictures.progress(1, signing.link_key("progress", "", 0, signing.Links(1), SETTINGS)),
    ]
    for link in links:
        if shown:
            assert link()
        else:
            with pytest.raises(AccessError, match=r"closed|not signed"):
                link()


def test_a_set_that_is_gone_is_said(
    database: Database, campaign: Campaign, annotate: Annotating, tmp_path: Path
) -> None:
    annotate(101, SPIRAL, 1, NOON)
    (tmp_path / "sky.h5").unlink()
    key = signing.link_key("example", SPIRAL, 0, campaign.links, SETTINGS)
    with pytest.raises(GalaxyLoopError, match="no stamp set"):
        CampaignPictures(database, SETTINGS, PictureCache(database)).example(campaign.id, SPIRAL, 0, key)


def test_progress_counts_what_waits_for_nobody(
    database: Database, campaign: Campaign, examples: Examples, annotate: Annotating
) -> None:
    key = signing.link_key("progress", "", 0, campaign.links, SETTINGS)

    def said() -> str:
        found = re.search(r"<title>(.*)</title>", examples.pictures.progress(campaign.id, key))
        assert found is not None
        return found[1]

    assert said() == "0 of 10 labelled"
    annotate(101, SPIRAL, 1, NOON)
    annotate(102, None, 1, NOON)
    annotate(110, SPIRAL, 1, NOON)
    assert said() == "2 of 10 labelled"
    database.rows("delete_tasks", campaign=campaign.id, tasks=[101, 103])
    assert said() == "1 of 8 labelled"
    with database.transaction() as connection:
        connection.execute("UPDATE campaign SET overlap = 2")
    assert said() == "0 of 8 labelled"
    annotate(110, ROUND, 2, NOON)
    assert said() == "1 of 8 labelled"


@pytest.mark.parametrize(
    ("done", "tasks", "width"),
    [(0, 0, "0.0"), (0, 5, "0.0"), (1, 4, "27.5"), (7, 7, "110.0"), (999_999, 2_000_000, "55.0")],
)
def test_a_bar_is_as_long_as_its_share(done: int, tasks: int, width: str) -> None:
    drawn = progress_svg(done, tasks)
    assert re.findall(r'width="([\d.]+)" height="6"', drawn) == ["110", width]
    assert f"{done:,} of {tasks:,} labelled" in drawn
