"""What annotators are shown, and what they are not."""

from contextlib import closing
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backend_ml import signing
from backend_ml.kinds.installed import find_kind
from backend_ml.label_studio.labelling import galaxy_names, picture_url, task_data
from backend_ml.settings import Settings
from lvm_training.scenes.simulated_classes import CONCEPTS
from lvm_training.stamps.stampset import StampSet, StampWriter

SETTINGS = Settings.model_validate({"secret": "hush", "public_url": "https://galaxies.example/"})


class Links(HTMLParser):
    """Collects addresses."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value or "" for name, value in attrs if name in ("href", "src")]


def test_the_picture_is_at_the_public_address_and_signed() -> None:
    data = task_data("sky", 3, {}, signing.Links(1), SETTINGS)
    assert data["image"].startswith("https://galaxies.example/stamps/sky/3.jpg?campaign=1&key=")
    assert (data["stamp_set"], data["stamp_id"]) == ("sky", 3)


def test_truth_columns_are_never_shown() -> None:
    columns = {"ra": 150.0, "dec": -1.5, "mag_r": 17.254, "morphology": "spiral", "axis_ratio": 0.3, "split": "pool"}
    data = task_data("sky", 3, columns, signing.Links(1), SETTINGS)
    assert data["catalogue"] == {"stamp": "sky 3", "RA": "150.00000°", "Dec": "-1.50000°", "r": "17.25 mag"}
    assert "spiral" not in str(data)


@pytest.mark.parametrize(
    ("columns", "name"),
    [
        ({"file": ["spirals/J0051+01.jpg"], "objid": [7]}, "J0051+01.jpg"),
        ({"objid": np.array([1237648720693755918])}, "1237648720693755918"),
        ({"iauname": ["J0051+01"], "id": [3]}, "J0051+01"),
        ({"mag_r": [17.0]}, "sky 0"),
    ],
)
def test_a_galaxy_is_called_what_its_file_or_catalogue_calls_it(
    tmp_path: Path, columns: dict[str, Any], name: str
) -> None:
    with closing(StampWriter(tmp_path / "sky.h5", (4, 4), rendering="as-delivered", source="")) as writer:
        writer.append(np.arange(48, dtype=np.uint8).reshape(1, 3, 4, 4), columns)
        writer.finish()
    with StampSet(tmp_path / "sky.h5") as stamps:
        (called,) = galaxy_names(stamps)
    data = task_data("sky", 0, {}, signing.Links(1), SETTINGS, name=called, audit=True)
    assert data["name"] == name and data["audit"] == "audit"
    assert task_data("sky", 0, {}, signing.Links(1), SETTINGS)["audit"] == ""


def test_how_many_are_labelled_is_a_signed_picture_in_the_task() -> None:
    (address,) = Links(task_data("sky", 3, {}, signing.Links(1), SETTINGS)["progress"]).found
    assert address == "https://galaxies.example" + signing.progress_path(signing.Links(1), SETTINGS)


@pytest.mark.parametrize("redshift", [-99.0, float("nan")])
def test_missing_values_are_left_out(redshift: float) -> None:
    assert "redshift (spec.)" not in task_data("sky", 3, {"z_spec": redshift}, signing.Links(1), SETTINGS)["catalogue"]


def test_links_lead_to_the_position() -> None:
    _, legacy, simbad = Links(
        task_data("sky", 3, {"ra": 150.25, "dec": 2.5}, signing.Links(1), SETTINGS)["links"]
    ).found
    assert "ra=150.250000&dec=2.500000" in legacy
    assert "Coord=150.250000+%2B2.500000" in simbad


@pytest.mark.parametrize("columns", [{}, {"ra": 1.0}, {"ra": np.nan, "dec": 1.0}])
def test_without_a_position_no_link_leads_to_it(columns: dict[str, float]) -> None:
    (why,) = Links(task_data("sky", 3, columns, signing.Links(1), SETTINGS)["links"]).found
    assert why.startswith("https://galaxies.example/why/1/sky/3?key=")


def test_a_task_says_why_it_is_there_behind_a_key_of_its_own() -> None:
    data = task_data("a&b", 3, {}, signing.Links(1), SETTINGS)
    (why,) = Links(data["links"]).found
    assert "Why is this here?" in data["links"]
    assert why == "https://galaxies.example" + signing.why_path("a&b", 3, signing.Links(1), SETTINGS)
    assert why.partition("key=")[2] not in data["image"]


def test_the_instruction_shows_keys_examples_and_escapes_names() -> None:
    kind = find_kind("morphology")
    shown = {"ring": [picture_url(("sky", row), signing.Links(1), SETTINGS) for row in (1, 2)]}
    text = kind.instruction(kind.label_config(["ring", "a<b"]), shown)
    assert "1 · ring" in text and "2 · a&lt;b" in text and "<b>8 · unsure</b>" in text
    assert [link.partition("?")[0] for link in Links(text).found] == [
        "https://galaxies.example/stamps/sky/1.jpg",
        "https://galaxies.example/stamps/sky/2.jpg",
    ]
    assert "is what is looked for" not in text
    drawn = kind.instruction(
        kind.with_simulated(kind.label_config(["ring", "rest"]), {"ring": "ring", "rest": "no-ring"}), {}
    )
    assert "2 · rest</b>: not " in drawn and f"1 · ring</b>: {CONCEPTS['ring'].words}" in drawn
    search = find_kind("interest")
    assert "is what is looked for" in search.instruction(search.label_config(), {})
