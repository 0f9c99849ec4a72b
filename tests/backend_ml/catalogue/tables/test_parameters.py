"""The table of a set that was measured, whatever the set's file is called."""

from pathlib import Path

import numpy as np
import pytest
from astropy.table import Table

from backend_ml.catalogue.formats import write_sheets
from backend_ml.catalogue.tables.parameters import measured_sheet
from lvm_training.parameters.head import Measured
from lvm_training.parameters.measure import Batch
from lvm_training.stamps.stampset import StampSet
from tests.lvm_training.parameters.skies import noise, write_set

MAGNITUDES = [17.5, 18.25]


@pytest.mark.parametrize("suffix", [".fits", ".vot", ".ecsv", ".csv", ".parquet"])
@pytest.mark.parametrize(
    ("name", "told"),
    [("#1", "#1"), ('the "sky", 2', 'the "sky", 2'), (" sky ", "sky"), ("new\nsky\x01", "new?sky?"), ("<a>", "<a>")],
)
def test_a_set_of_any_name_is_read_back_whole(tmp_path: Path, suffix: str, name: str, told: str) -> None:
    path = write_set(tmp_path / f"{name}.h5", [noise(1), noise(2)])
    found = Measured(np.array(MAGNITUDES)[:, None], np.full((2, 1), 0.1))
    with StampSet(path) as stamps:
        batch = Batch(np.arange(2), found, ["", "blank"])
        write_sheets(tmp_path / f"x{suffix}", [measured_sheet(stamps, lambda: iter([batch]), ["mag_r"], [])])
    table = Table.read(tmp_path / f"x{suffix}", **({"format": "ascii.csv"} if suffix == ".csv" else {}))
    assert [str(one) for one in table["id"]] == [f"{told}/0", f"{told}/1"]
    assert [str(one) for one in table["stamp_set"]] == [told] * 2
    assert list(table["mag_r"]) == MAGNITUDES
