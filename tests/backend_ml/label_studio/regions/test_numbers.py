from typing import Any

import pytest

from backend_ml.label_studio.regions.choices import LabelConfigError
from backend_ml.label_studio.regions.numbers import NumberError, find_numbers, given_numbers, number_regions
from backend_ml.plugins.parameters import Parameters, read_numbers

CONFIG = Parameters().label_config()
CONTROLS = find_numbers(CONFIG)


def region(name: str, value: Any) -> dict[str, Any]:
    return {"from_name": name, "to_name": "image", "type": "number", "value": value}


def given(name: str, said: Any) -> dict[str, float]:
    return given_numbers([region(name, {"number": said})], CONTROLS)


def test_the_tags_of_our_label_config_have_limits() -> None:
    assert [one.name for one in CONTROLS] == ["mag_r", "half_light_radius", "sersic", "axis_ratio", "redshift"]
    assert (CONTROLS[0].least, CONTROLS[0].most, CONTROLS[0].to_name) == (0, 30, "image")


def test_numbers_go_out_and_come_back() -> None:
    values = {"mag_r": 17.25, "sersic": 2.5, "redshift": 0.1}
    regions = number_regions(CONTROLS, values)
    assert {one["type"] for one in regions} == {"number"}
    assert given_numbers(regions, CONTROLS) == values
    assert number_regions(CONTROLS, {"mag_r": 99.0, "sersic": float("nan"), "colour": 1.0}) == []


@pytest.mark.parametrize("said", [None, ""])
def test_an_empty_field_is_no_number(said: Any) -> None:
    assert given("sersic", said) == {}


def test_text_that_is_a_number_is_one_and_other_tags_are_left_alone() -> None:
    assert given("sersic", " 2.50 ") == {"sersic": 2.5}
    note = {"from_name": "model", "to_name": "image", "type": "textarea", "value": {"text": ["Model: 3"]}}
    assert given_numbers([note, region("other", {"number": 3})], CONTROLS) == {}


@pytest.mark.parametrize(
    ("name", "said", "message"),
    [
        ("sersic", "2,5", r"sersic is written with a comma: '2,5'. Write 2.5."),
        ("sersic", "about 2", r"sersic is no number: 'about 2'"),
        ("sersic", True, "no number"),
        ("sersic", [2.5], "no number"),
        ("sersic", "nan", "no number"),
        ("sersic", 1e400, "no number"),
        ("sersic", 10**400, "no number"),
        ("sersic", 99, r"sersic is 99, and lies between 0.1 and 12"),
        ("axis_ratio", 1.8, r"axis_ratio is 1.8, and lies between 0.02 and 1"),
        ("redshift", -0.1, "redshift is -0.1"),
        ("mag_r", 300, r"mag_r is 300, and lies between 5 and 30. Mend it. If 300 is in nanomaggies, it is 16.31 mag."),
    ],
)
def test_what_is_no_such_number_is_refused_with_the_reason(name: str, said: Any, message: str) -> None:
    with pytest.raises(NumberError, match=message):
        read_numbers([region(name, {"number": said})], CONTROLS)


@pytest.mark.parametrize("left", [None, "", 0, 0.0])
def test_a_field_that_was_emptied_says_nothing(left: object) -> None:
    """The page writes 0 there, and refuses to submit what lies below a tag's `min`."""
    assert all(one.least == 0 for one in CONTROLS)
    emptied = [region(one.name, {"number": left}) for one in CONTROLS]
    assert read_numbers([*emptied[1:], region("mag_r", {"number": 17.5})], CONTROLS) == {"mag_r": 17.5}


def test_two_numbers_in_one_field_are_refused() -> None:
    twice = [region("sersic", {"number": 2}), region("sersic", {"number": "2.5"})]
    with pytest.raises(NumberError, match=r"sersic is both 2 and 2\.5"):
        given_numbers(twice, CONTROLS)
    assert given_numbers([twice[0], region("sersic", {"number": "2.0"})], CONTROLS) == {"sersic": 2.0}


def test_a_label_config_without_numbers_is_refused() -> None:
    image = '<Image name="image" value="$image"/>'
    with pytest.raises(LabelConfigError, match="no <Number> on an <Image>"):
        find_numbers(f'<View>{image}<Number name="n" toName="text"/></View>')
    with pytest.raises(LabelConfigError, match="limits that are no numbers"):
        find_numbers(f'<View>{image}<Number name="n" toName="image" min="low"/></View>')
    assert find_numbers(f'<View>{image}<Number name="n" toName="image"/></View>')[0].most == float("inf")
