"""Catalogues as files."""

import csv
from pathlib import Path

import numpy as np
import pytest

from lvm_training.errors import StampError
from lvm_training.galaxies.catalogue import COLUMNS, component_fluxes, read_catalogue, write_catalogue
from lvm_training.galaxies.population import draw_catalogue


def test_a_catalogue_reads_back_as_written(tmp_path: Path) -> None:
    galaxies = draw_catalogue(25, 4)
    write_catalogue(galaxies, tmp_path / "a.csv")
    assert read_catalogue(tmp_path / "a.csv") == galaxies
    write_catalogue(read_catalogue(tmp_path / "a.csv"), tmp_path / "b.csv")
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()


def test_the_file_is_plain_csv_with_rounded_values(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "a.csv"
    write_catalogue(draw_catalogue(3, 4), path)
    assert b"\r" not in path.read_bytes()
    with path.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert tuple(rows[0]) == COLUMNS
    for row in rows:
        assert len(row["mag_r"].split(".")[1]) == 3
        assert len(row["ra"].split(".")[1]) == 5
        assert row["arm_count"].isdigit()
        assert "e" not in row["noise_g"]


def test_a_missing_catalogue_is_named(tmp_path: Path) -> None:
    with pytest.raises(StampError, match=r"no catalogue at .*none\.csv"):
        read_catalogue(tmp_path / "none.csv")


def test_missing_columns_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("morphology,ra\nspiral,3\n")
    with pytest.raises(StampError, match=r"lacks the columns .*axis_ratio.*z_spec"):
        read_catalogue(tmp_path / "a.csv")


@pytest.mark.parametrize(("column", "value"), [("mag_r", "faint"), ("mag_g", "nan"), ("morphology", "quasar")])
def test_a_bad_value_is_named_with_its_row(tmp_path: Path, column: str, value: str) -> None:
    path = tmp_path / "a.csv"
    write_catalogue(draw_catalogue(3, 4), path)
    rows = [line.split(",") for line in path.read_text().splitlines()]
    rows[2][COLUMNS.index(column)] = value
    path.write_text("\n".join(",".join(row) for row in rows))
    with pytest.raises(StampError, match=f"Row 1 .*{column}"):
        read_catalogue(path)


def test_components_share_the_r_light() -> None:
    fluxes = component_fluxes(
        bulge_fraction=0.2,
        bulge_type=0.0,
        bar_fraction=0.1,
        disc_type=0.5,
        young_fraction=0.25,
        ring_fraction=0.05,
        redshift=0.05,
    )
    np.testing.assert_allclose(fluxes[:, 1], [0.3, 0.4, 0.3])
    blueness = fluxes[:, 0] / fluxes[:, 2]
    assert blueness[0] < blueness[1] < blueness[2]
