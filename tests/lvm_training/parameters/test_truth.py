from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lvm_training.galaxies.catalogue import COLUMNS
from lvm_training.parameters.parameter import ParameterError
from lvm_training.parameters.truth import SIMULATED, Given, Truth, doubtful_unit, parse_given, recognised, truth_of
from lvm_training.stamps.stampset import StampSet
from tests.lvm_training.parameters.skies import noise, write_set


def read(folder: Path, given: str, *, pixel_scale: float = 0.5, **columns: list[Any]) -> Truth:
    """What a column of a small set says of its galaxies."""
    count = len(next(iter(columns.values())))
    path = write_set(folder / "sky.h5", [noise(i) for i in range(count)], columns, pixel_scale=pixel_scale)
    with StampSet(path) as stamps:
        return truth_of(stamps, [parse_given(one) for one in given.split()])


@pytest.mark.parametrize(
    ("given", "values", "expected"),
    [
        ("size=half_light_radius:arcsec", [1.0, 2.5], [1.0, 2.5]),
        ("size=half_light_radius:pix", [2.0, 5.0], [1.0, 2.5]),
        ("size=half_light_radius:Pixels", [2.0, 5.0], [1.0, 2.5]),
        ("size_pix=half_light_radius", [2.0, 5.0], [1.0, 2.5]),
        ("R50_arcsec=half_light_radius", [2.0, 5.0], [2.0, 5.0]),
        ("size=half_light_radius:deg", [1 / 3600, 2 / 3600], [1.0, 2.0]),
        ("mag_r=mag_r", [17.0, 18.0], [17.0, 18.0]),
        ("flux=mag_r:nanomaggies", [100.0, 1.0], [17.5, 22.5]),
        ("flux=mag_r:nmgy", [100.0, -1.0], [17.5, np.nan]),
        ("flux=mag_r:uJy", [3.631 * 100, 3.631], [17.5, 22.5]),
        ("e=axis_ratio:ellipticity", [0.0, 0.25], [1.0, 0.75]),
        ("ellipticity_r=axis_ratio", [0.0, 0.25], [1.0, 0.75]),
        ("pa_rad=position_angle", [np.pi / 2, -np.pi / 4], [90.0, 135.0]),
        ("pa=position_angle:deg", [200.0, -10.0], [20.0, 170.0]),
        ("n=sersic", [1.0, 4.0], [1.0, 4.0]),
        ("z=redshift", [0.1, -99.0, 0.2], [0.1, np.nan, 0.2]),
    ],
)
def test_units_are_converted_and_what_is_no_value_is_missing(
    tmp_path: Path, given: str, values: list[float], expected: list[float]
) -> None:
    found = read(tmp_path, given, **{given.partition("=")[0]: values})
    assert np.allclose(found.values[:, 0], expected, atol=2e-3, equal_nan=True)


@pytest.mark.parametrize(
    ("given", "values", "message"),
    [
        ("R50=half_light_radius", [1.0], r"unit of the column 'R50' is unknown.*arcsec, pix, arcmin, deg.*:arcsec"),
        ("flux_r=mag_r", [100.0], r"unit of the column 'flux_r' is unknown"),
        (
            "r=mag_r:mag",
            [300.0, 2000.0, 16.0],
            r"Most values of 'r' in mag are no magnitude.*nanomaggies.*r=mag_r:nano",
        ),
        ("flux=mag_r:nanomaggies", [-3.0, -17.0], r"Most values of 'flux' in nanomaggies"),
        ("size=half_light_radius:arcsec", [400.0, 500.0], r"no half-light radius: it lies between 0.05 to 120 arcsec"),
        ("size=half_light_radius:mag", [1.0], r"'mag' is no unit of half_light_radius"),
        ("size=radius", [1.0], r"no parameter 'radius'"),
        ("size", [1.0], r"names no column of a parameter.*COLUMN=PARAMETER:UNIT"),
        ("other=sersic", [1.0], r"no column 'other'.*size"),
        ("size=sersic size=sersic", [1.0], r"Two columns hold sersic"),
        ("size=sersic", ["large"], r"'size' of sky holds text"),
        ("size=sersic", [np.nan, np.nan], r"holds a parameter: size: all values are missing"),
    ],
)
def test_what_cannot_be_told_is_refused_with_what_to_do(
    tmp_path: Path, given: str, values: list[Any], message: str
) -> None:
    name = given.partition("=")[0]
    with pytest.raises(ParameterError, match=message):
        read(tmp_path, given, **{"size" if name == "other" else name: values})


def test_pixels_of_unknown_size_are_no_angle(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="in pixels, and the pixel scale of the stamps is unknown"):
        read(tmp_path, "size=half_light_radius:pix", size=[3.0, 4.0], pixel_scale=float("nan"))


def test_a_column_that_is_all_missing_is_told_and_the_others_are_read(tmp_path: Path) -> None:
    found = read(tmp_path, "n=sersic z=redshift q=axis_ratio", n=[np.nan] * 3, z=[0.1, 0.2, 20.0], q=[0.5, 0.6, 0.7])
    assert found.names == ("sersic", "redshift", "axis_ratio")
    assert found.notes == ("n: all values are missing", "z: 1 of 3 values are not 0 to 10, left out")
    assert np.isnan(found.values[:, 0]).all() and np.isfinite(found.values[:, 2]).all()


def test_columns_whose_names_say_parameter_and_unit_are_recognised(tmp_path: Path) -> None:
    said = {
        "mag_r": [17.0],
        "half_light_radius_pix": [9.0],
        "sersic": [2.0],
        "position_angle": [10.0],
        "axis_ratio_flag": [1.0],
        "redshift": ["unknown"],
        "half_light_radius": [3.0],
    }
    with StampSet(write_set(tmp_path / "sky.h5", [noise(0)], said)) as stamps:
        found = {one.name: one for one in recognised(stamps)}
    # an angle may be in radians, a radius in pixels: a name alone does not say
    assert set(found) == {"mag_r", "half_light_radius", "sersic"}
    assert found["half_light_radius"] == Given("half_light_radius_pix", "half_light_radius", "pix")
    drawn = {name: ["1" if name in ("morphology", "split") else 1.0][:1] for name in COLUMNS}
    with StampSet(write_set(tmp_path / "drawn.h5", [noise(0)], drawn)) as stamps:
        assert recognised(stamps) == SIMULATED


def test_an_option_says_column_parameter_and_unit() -> None:
    assert parse_given("R50 = half_light_radius : px") == Given("R50", "half_light_radius", "pix")
    assert parse_given("n=sersic") == Given("n", "sersic", None)


@pytest.mark.parametrize(
    ("given", "measured", "pixel_scale"),
    [
        # pixels of nearly an arcsec, and a head that is a tenth off
        ("r=half_light_radius:arcsec", [0.9, 1.82, 3.6, 4.5, 7.25], 0.9),
        # of two galaxies the one is as near as the other by chance
        ("q=axis_ratio", [0.44, 0.56], 0.5),
        ("m=mag_r:mag", [17.5, 18.4, 19.6, 20.3, 16.7], 0.5),
    ],
)
def test_a_unit_in_which_values_are_near_what_is_measured_is_not_doubted(
    given: str, measured: list[float], pixel_scale: float
) -> None:
    raw = {"r": [1.0, 2.0, 4.0, 5.0, 8.0], "q": [0.55, 0.45], "m": [17.0, 18.0, 19.0, 20.0, 16.0]}[given[0]]
    assert doubtful_unit(parse_given(given), np.array(raw), np.array(measured), pixel_scale) == ""


def test_a_unit_in_which_values_are_far_from_what_is_measured_is_doubted() -> None:
    measured = np.array([1.0, 2.0, 4.0, 5.0, 8.0])
    one = parse_given("r=half_light_radius:arcsec")
    assert "as half_light_radius:pix near" in doubtful_unit(one, measured / 0.3, measured, 0.3)
