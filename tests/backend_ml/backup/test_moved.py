"""Links of a former place: signed again for the new one, and those alone."""

import html
from typing import Any

import pytest

from backend_ml import signing
from backend_ml.backup.moved import _hashed, _signed_again
from backend_ml.label_studio import labelling
from backend_ml.settings import Settings

FORMER, NEW = "https://galaxies.example.org/loop", "http://127.0.0.1:9999"
SET = "sky & more/é"


def settings(address: str, secret: str) -> Settings:
    """Settings of one place."""
    return Settings.model_validate({"public_url": address, "secret": secret})


def data(where: Settings, campaign: int) -> dict[str, Any]:
    """A task's data and its project's instruction as they are made."""
    columns = {"ra": 150.0, "dec": 2.0, "mag_r": 17.0}
    example = labelling.example_url("edge-on <disc>", 2, campaign, where)
    return labelling.task_data(SET, 41, columns, campaign, where, name="M 31") | {
        "told": f'<p>Look.</p><img src="{html.escape(example)}"><img src="{html.escape(example)}">',
        "list": [labelling.picture_url((SET, 0), campaign, where), 3, None],
        "restored": where.public_url + signing.restored_path("restored", SET, 41, campaign, where),
        "residual": where.public_url + signing.restored_path("residual", SET, 41, campaign, where),
    }


def test_every_kind_of_link_is_what_the_new_place_would_have_made() -> None:
    former, new = settings(FORMER, "old"), settings(NEW, "new")
    moved = _signed_again(data(former, 5), FORMER, 5, new)
    assert moved == data(new, 5) != data(former, 5)
    assert "example.org" not in str(moved)


def test_a_link_of_another_campaign_or_shape_is_not_signed() -> None:
    former, new = settings(FORMER, "old"), settings(NEW, "new")
    planted = data(former, 6)
    assert _signed_again(planted, FORMER, 5, new) == planted
    key = "0" * 32
    for path in ("/stamps/sky?key=", "/why/5/sky/moon?key=", "/examples/5/0.jpg?key=", "/progress/x.svg?key="):
        text = f"{FORMER}{path}{key}"
        assert _signed_again(text, FORMER, 5, new) == text
    elsewhere = f"https://other.example.org/stamps/sky/1.jpg?campaign=5&key={key}"
    assert _signed_again(elsewhere, FORMER, 5, new) == elsewhere


@pytest.mark.parametrize("path", ["/", "/stamps/sky/1.jpg", "/moon/1?key=2", "no path"])
def test_what_is_no_signed_path_has_no_key(path: str) -> None:
    assert signing.key_of_path(path, 1, settings(NEW, "new")) is None


def test_a_password_is_hashed_as_django_does() -> None:
    """The check of Django's hasher, by hand: `algorithm$iterations$salt$hash`."""
    import base64
    import hashlib

    algorithm, rounds, salt, made = _hashed("word").split("$")
    wanted = hashlib.pbkdf2_hmac("sha256", b"word", salt.encode(), int(rounds))
    assert algorithm == "pbkdf2_sha256" and base64.b64decode(made) == wanted
    assert _hashed("word") != _hashed("word")
