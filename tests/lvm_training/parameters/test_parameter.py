"""Parameters, their units and their words: by astropy, by numeric derivatives, and by what a printed number says."""

from pathlib import Path

import astropy.units as u
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lvm_training.parameters.parameter import PARAMETERS, ParameterError, angle_between, difference
from lvm_training.parameters.truth import SAME_UNIT, UNITS, converted, find_unit, parse_given, truth_of
from lvm_training.stamps.stampset import StampSet
from tests.lvm_training.parameters.skies import noise, write_set

SCALE = 0.4
ASTROPY = {
    "mag": u.ABmag,
    "nanomaggies": u.def_unit("nanomaggy", 1e-9 * u.AB),
    "Jy": u.Jy,
    "mJy": u.mJy,
    "uJy": u.uJy,
    "arcsec": u.arcsec,
    "arcmin": u.arcmin,
    "deg": u.deg,
    "rad": u.rad,
    "pix": u.def_unit("stamp_pixel", SCALE * u.arcsec),
}


@pytest.mark.parametrize(("name", "unit"), [(name, unit) for name in UNITS for unit in UNITS[name] if unit in ASTROPY])
def test_astropy_converts_every_unit_to_the_same_number(name: str, unit: str) -> None:
    parameter, said = PARAMETERS[name], ASTROPY[unit]
    own = {"mag_r": u.ABmag, "half_light_radius": u.arcsec, "position_angle": u.deg}[name]
    wanted = np.linspace(5, 25, 7) if name == "mag_r" else np.array([0.1, 1.0, 17.0, 90.0])
    raw = (wanted * own).to_value(said)
    np.testing.assert_allclose(converted(raw, parameter, unit, SCALE), wanted, rtol=1e-5)


@pytest.mark.parametrize("word", sorted(SAME_UNIT))
def test_a_word_for_a_unit_is_understood_in_any_case_by_a_parameter_that_has_it(word: str) -> None:
    having = [one for one in PARAMETERS.values() if SAME_UNIT[word] in UNITS[one.name]]
    assert having
    for one in having:
        assert find_unit(one, word) == find_unit(one, word.upper()) == find_unit(one, f" {word} ") == SAME_UNIT[word]


@pytest.mark.parametrize("name", [name for name, one in PARAMETERS.items() if one.scale != "angle"])
def test_what_is_fitted_comes_back_with_the_error_of_the_first_order(name: str) -> None:
    parameter = PARAMETERS[name]
    values = np.geomspace(max(parameter.least, 1e-3), parameter.most, 9)
    fitted = parameter.fitted(values)
    back, error = parameter.measured(fitted, np.full(9, 0.03))
    np.testing.assert_allclose(back, values, rtol=1e-9)
    step = 1e-6
    slope = (parameter.measured(fitted + step, error)[0] - parameter.measured(fitted - step, error)[0]) / (2 * step)
    np.testing.assert_allclose(error, 0.03 * slope, rtol=1e-5)


@pytest.mark.parametrize("name", PARAMETERS)
def test_limits_are_values_and_what_is_beyond_or_missing_is_none(name: str) -> None:
    one = PARAMETERS[name]
    beyond = [np.nextafter(one.least, -np.inf), np.nextafter(one.most, np.inf), np.nan, np.inf, -np.inf]
    assert one.inside(np.array([one.least, one.most])).all() and not one.inside(np.array(beyond)).any()


@given(st.floats(-720, 720), st.floats(-720, 720))
def test_angles_differ_by_the_least_of_all_half_turns(first: float, second: float) -> None:
    found = float(angle_between(np.array(first), np.array(second)))
    naive = min((first - second + 180 * turn for turn in range(-9, 10)), key=abs)
    assert abs(found) == pytest.approx(abs(naive), abs=1e-9)
    assert (found - naive) % 180 == pytest.approx(0, abs=1e-9) or (found - naive) % 180 == pytest.approx(180, abs=1e-9)
    back = float(difference(PARAMETERS["position_angle"], np.array(second), np.array(first)))
    assert abs(back) == pytest.approx(abs(found), abs=1e-9)


@given(st.floats(1e-4, 99.4))
def test_an_error_is_told_in_two_digits(error: float) -> None:
    words = PARAMETERS["mag_r"].told(18.0, error)
    value, _, told = words.removesuffix(" mag").partition(" ± ")
    digits = told.replace(".", "").lstrip("0")
    assert len(digits) == 2
    assert float(told) == pytest.approx(error, rel=0.051)
    assert len(value.partition(".")[2]) == len(told.partition(".")[2])


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (0.0996, "18.00 ± 0.10 mag"),
        (0.994, "18.00 ± 0.99 mag"),
        (0.996, "18.0 ± 1.0 mag"),
        (9.96, "18 ± 10 mag"),
        (250.0, "18 ± 250 mag"),
        (np.nan, "18.000 ± nan mag"),
        (np.inf, "18.000 ± inf mag"),
    ],
)
def test_an_error_that_is_rounded_up_has_no_third_digit(error: float, words: str) -> None:
    assert PARAMETERS["mag_r"].told(18.0, error) == words


@pytest.mark.parametrize(
    ("given", "values", "expected"),
    [
        # surveys write such numbers where they fitted no ellipse
        ("pa=position_angle:deg", [30.0, -999.0, -9999.0, 1e20, 999.0], [30, np.nan, np.nan, np.nan, np.nan]),
        ("pa=position_angle:deg", [-180.0, 360.0, -360.0, 359.0, -90.0], [0, 0, 0, 179, 90]),
        ("pa=position_angle:rad", [0.5, -99.0, 99.0, -3.0, 2 * np.pi], [28.648, np.nan, np.nan, 8.113, 0]),
        ("q=axis_ratio", [0.5, -99.0, 0.0, 1.5, 1.0], [0.5, np.nan, np.nan, np.nan, 1]),
        ("m=mag_r:mag", [17.0, 99.0, -99.0, 22.0, 0.0], [17, np.nan, np.nan, 22, np.nan]),
        ("f=mag_r:Jy", [3.631e-6, 3631.0, 1e-3, 1e-2, -1.0], [22.5, np.nan, 16.4, 13.9, np.nan]),
    ],
)
def test_a_number_that_stands_for_no_value_is_none(
    tmp_path: Path, given: str, values: list[float], expected: list[float]
) -> None:
    column = given.partition("=")[0]
    more = [*values, *values[:1] * 6]
    path = write_set(tmp_path / "sky.h5", [noise(0)] * len(more), {column: more})
    with StampSet(path) as stamps:
        found = truth_of(stamps, [parse_given(given)]).values[: len(values), 0]
    assert np.array_equal(np.isnan(found), np.isnan(expected))
    apart = np.abs(np.array(expected) - found)
    assert np.nanmax(np.minimum(apart, 180 - apart) if "angle" in given else apart) < 1e-3


def test_angles_in_degrees_that_are_said_to_be_radians_are_refused_with_what_they_may_be(tmp_path: Path) -> None:
    path = write_set(tmp_path / "sky.h5", [noise(0)] * 4, {"pa": [10.0, 60.0, 120.0, 170.0]})
    with StampSet(path) as stamps, pytest.raises(ParameterError, match=r"in rad are no position angle.*in deg\?"):
        truth_of(stamps, [parse_given("pa=position_angle:rad")])
