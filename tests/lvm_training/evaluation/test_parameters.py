import numpy as np
import pytest

from lvm_training.evaluation.parameters import parameter_metrics

NAN = float("nan")


def test_measures_are_of_what_is_known_and_measured() -> None:
    truth = np.array([[17.0, 1.0], [18.0, 179.0], [19.0, 90.0], [NAN, 90.0]])
    values = np.array([[17.1, 179.0], [17.7, 2.0], [NAN, 90.0], [17.0, 91.0]])
    errors = np.array([[0.2, 1.0], [0.05, 4.0], [NAN, 1.0], [0.1, 2.0]])
    found = parameter_metrics(truth, values, errors, ("mag_r", "position_angle"))
    assert found["mag_r_measured"] == pytest.approx(2 / 3) and found["position_angle_measured"] == 1
    assert found["mag_r_bias"] == pytest.approx((0.1 - 0.3) / 2)
    assert found["mag_r_rmse"] == pytest.approx(np.sqrt((0.01 + 0.09) / 2))
    assert (found["mag_r_coverage"], found["mag_r_outliers"]) == (0.5, 0.5)
    # angles across half a turn: -2, +3, 0 and +1 degrees off
    assert found["position_angle_bias"] == pytest.approx(0.5) and found["position_angle_coverage"] == 0.75
    assert found["position_angle_scatter"] == pytest.approx(1.4826 * 1.5)


def test_without_errors_outliers_are_far_beyond_the_scatter() -> None:
    values = np.append(np.linspace(-0.1, 0.1, 20), 5.0)[:, None] + 17
    found = parameter_metrics(np.full((21, 1), 17.0), values, None, ("mag_r",))
    assert found["mag_r_outliers"] == pytest.approx(1 / 21) and "mag_r_coverage" not in found
    nothing = parameter_metrics(np.full((2, 1), 17.0), np.full((2, 1), NAN), None, ("mag_r",))
    assert nothing == {"mag_r_measured": 0.0}
