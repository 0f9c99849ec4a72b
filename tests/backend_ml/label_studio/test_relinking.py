"""Links are signed again, for a new place or in a new series, and links alone."""

import html
from typing import Any

import pytest

from backend_ml import signing
from backend_ml.label_studio import labelling
from backend_ml.label_studio.relinking import signed_again
from backend_ml.settings import Settings
from backend_ml.signing import Links

FORMER, NEW = "https://galaxies.example.org/loop", "http://127.0.0.1:9999"
SET = "sky & more/é"


def settings(address: str, secret: str) -> Settings:
    """Settings of one place."""
    return Settings.model_validate({"public_url": address, "secret": secret})


def data(where: Settings, links: Links) -> dict[str, Any]:
    """A task's data and its project's instruction as they are made."""
    columns = {"ra": 150.0, "dec": 2.0, "mag_r": 17.0}
    example = labelling.example_url("edge-on <disc>", 2, links, where)
    return labelling.task_data(SET, 41, columns, links, where, name="M 31") | {
        "told": f'<p>Look.</p><img src="{html.escape(example)}"><img src="{html.escape(example)}">',
        "list": [labelling.picture_url((SET, 0), links, where), 3, None],
        "restored": where.public_url + signing.restored_path("restored", SET, 41, links, where),
        "residual": where.public_url + signing.restored_path("residual", SET, 41, links, where),
    }


def test_every_kind_of_link_is_what_the_new_place_would_have_made() -> None:
    former, new = settings(FORMER, "old"), settings(NEW, "new")
    moved = signed_again(data(former, Links(5)), FORMER, Links(5), new)
    assert moved == data(new, Links(5)) != data(former, Links(5))
    assert "example.org" not in str(moved)


def test_links_are_rotated_to_those_of_the_newest_series_again_and_again() -> None:
    here = settings(FORMER, "old")
    first, second = signed_again(data(here, Links(5)), FORMER, Links(5, 1), here), data(here, Links(5, 2))
    assert first == data(here, Links(5, 1)) != data(here, Links(5))
    assert signed_again(first, FORMER, Links(5, 2), here) == second
    assert signed_again(second, FORMER, Links(5, 2), here) == second


def test_a_link_of_another_campaign_or_shape_is_not_signed() -> None:
    former, new = settings(FORMER, "old"), settings(NEW, "new")
    planted = data(former, Links(6))
    assert signed_again(planted, FORMER, Links(5), new) == planted
    key = "0" * 32
    for path in ("/stamps/sky?key=", "/why/5/sky/moon?key=", "/examples/5/0.jpg?key=", "/progress/x.svg?key="):
        text = f"{FORMER}{path}{key}"
        assert signed_again(text, FORMER, Links(5), new) == text
    elsewhere = f"https://other.example.org/stamps/sky/1.jpg?campaign=5&key={key}"
    assert signed_again(elsewhere, FORMER, Links(5), new) == elsewhere


@pytest.mark.parametrize("path", ["/", "/stamps/sky/1.jpg", "/moon/1?key=2", "no path"])
def test_what_is_no_signed_path_has_no_key(path: str) -> None:
    assert signing.key_of_path(path, Links(1), settings(NEW, "new")) is None
