"""Numbers that are not finite are named before anything is ranked by them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from backend_ml.acquisition.checks import SHOWN, check_finite
from lvm_training.pool.features import FeaturesError

ARRAYS = arrays(
    np.float64,
    array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=9),
    elements=st.sampled_from([0.0, -1.5, np.nan, np.inf, -np.inf, 1e308]),
)


@given(ARRAYS)
def test_every_broken_row_is_counted_and_the_first_are_named(values: np.ndarray) -> None:
    broken = [row for row, numbers in enumerate(values) if not all(map(np.isfinite, np.ravel(numbers)))]
    if not broken:
        check_finite(values, "features")
        return
    with pytest.raises(FeaturesError) as caught:
        check_finite(values, "features")
    said = caught.value.message
    assert said.startswith(f"{len(broken)} of {len(values)} rows of the features are not finite: ")
    named = said.removesuffix(".").partition(": ")[2].split(", ")
    assert named == [*map(str, broken[:SHOWN]), *(["..."] if len(broken) > SHOWN else [])]
