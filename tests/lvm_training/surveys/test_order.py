"""What may be asked of a survey, and what a stamp then is."""

from pathlib import Path
from typing import Any

import pytest

from lvm_training.errors import SurveyError
from lvm_training.surveys.description import find_survey
from lvm_training.surveys.order import Order


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        ({"layer": "ls-dr99"}, "no layer 'ls-dr99'"),
        ({"bands": "gry"}, "no band 'y'"),
        ({"bands": "gr"}, "three bands, and 'gr' names 2"),
        ({"bands": "grr"}, "three bands, and 'grr' names 2"),
        ({"bands": ""}, "three bands, and '' names 0"),
        ({"size": 3001}, "stamps of 8 to 3000 pixels, not 3001"),
        ({"size": -5}, "not -5"),
        ({"rate": 50.0}, "5 times a second at most, not 50"),
        ({"rate": -1.0}, "not -1"),
        ({"rate": float("nan")}, "not nan"),
        ({"scale": -1.0}, "no pixel scale"),
        ({"scale": float("nan")}, "no pixel scale"),
    ],
)
def test_what_the_survey_does_not_have_is_refused(asked: dict[str, Any], reason: str) -> None:
    with pytest.raises(SurveyError, match=reason):
        Order.of(find_survey("legacy-surveys"), **asked)


def test_scales_that_a_service_does_not_make_are_refused() -> None:
    with pytest.raises(SurveyError, match=r"hsc has pixels of 0\.168 arcsec"):
        Order.of(find_survey("hsc"), scale=0.262)


def test_bands_are_letters_or_names() -> None:
    assert Order.of(find_survey("legacy-surveys"), bands="riz").bands == ("r", "i", "z")
    assert Order.of(find_survey("hsc"), bands="HSC-R, HSC-I,HSC-Y").bands == ("HSC-R", "HSC-I", "HSC-Y")


def test_light_goes_with_the_area_where_the_unit_is_that_of_a_pixel() -> None:
    survey = find_survey("legacy-surveys")
    assert Order.of(survey).area == 1
    assert Order.of(survey, scale=0.524).area == pytest.approx(4)
    unsaid = survey.model_copy(update={"pixels": survey.pixels.model_copy(update={"zero_point": None})})
    assert Order.of(unsaid, scale=0.524).area == 1


def test_a_fingerprint_is_of_what_is_asked_not_of_the_pace() -> None:
    survey = find_survey("legacy-surveys")
    one = Order.of(survey).fingerprint("abc")
    assert Order.of(survey, rate=1.0).fingerprint("abc") == one
    others = ({"size": 100}, {"scale": 0.3}, {"bands": "riz"}, {"layer": "ls-dr9"})
    different = [Order.of(survey, **other).fingerprint("abc") for other in others]
    assert len({one, Order.of(survey).fingerprint("abd"), *different}) == 6


def test_a_disk_with_room_is_taken(tmp_path: Path) -> None:
    order = Order.of(find_survey("legacy-surveys"))
    order.refuse_small_disk(tmp_path / "not" / "there", 1)
    with pytest.raises(SurveyError, match="need"):
        order.refuse_small_disk(tmp_path, 10**12)
