"""`galaxyloop measure`: what it writes, what it flags, and what it refuses before any work."""

import json
from pathlib import Path

import numpy as np
import pytest
import typer
from astropy.io import fits
from astropy.table import Table
from numpy.typing import NDArray
from typer.testing import CliRunner, Result

from backend_ml.cli.stamps.measure import measure
from lvm_training.parameters.parameter import PARAMETERS
from lvm_training.params import load_params
from lvm_training.stages.train.parameters import run_training
from lvm_training.stamps.rendering import Rendering
from lvm_training.stamps.stampset import StampSet
from tests.lvm_training.parameters.skies import SIDE, gaussian, noise, write_galaxies, write_set
from tests.tiny_encoder import TINY, write_tiny

ROOT = Path(__file__).parents[4]
app = typer.Typer()
app.command("measure")(measure)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an encoder, `lvm`, and a head of its features, `head`."""
    folder = tmp_path_factory.mktemp("made")
    write_tiny(folder / "lvm", Rendering(size=TINY.size, field=16.0))
    stamps = write_galaxies(folder / "drawn.h5", 180)
    params = load_params(ROOT / "params.yaml")
    run_training(stamps, folder / "lvm", folder / "features.npy", folder / "head", params)
    return folder


def run(made: Path, stamps: Path, out: Path, *arguments: object) -> Result:
    options = ["--head", made / "head", "--encoder", made / "lvm", "--json", *arguments]
    return CliRunner().invoke(app, [str(one) for one in (stamps, "--out", out, *options)])


def numbers(table: Table, name: str) -> NDArray[np.float64]:
    """A column, NaN where it has no value."""
    return np.asarray(np.ma.filled(np.ma.asarray(table[name], float), np.nan), float)


@pytest.mark.parametrize("suffix", [".fits", ".csv", ".parquet", ".vot"])
def test_every_galaxy_has_its_numbers_and_their_errors(made: Path, tmp_path: Path, suffix: str) -> None:
    stamps, out = write_galaxies(tmp_path / "sky.h5", 70, seed=3), tmp_path / f"table{suffix}"
    result = run(made, stamps, out)
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["galaxies"] == 70
    if suffix == ".parquet":
        import pyarrow.parquet as pq

        table = Table({name: values.to_numpy() for name, values in zip(*_columns(pq.read_table(out)), strict=True)})
    else:
        table = Table.read(out, format="votable" if suffix == ".vot" else suffix[1:])
    assert len(table) == 70 and table["stamp_id"].tolist() == list(range(70))
    with StampSet(stamps) as opened:
        assert np.median(np.abs(numbers(table, "mag_r") - opened.column("mag_r"))) < 0.3
    for name in PARAMETERS:
        assert np.isfinite(numbers(table, name)).all() and (numbers(table, f"err_{name}") > 0).all()


def _columns(table: object) -> tuple[list[str], list[object]]:
    return table.column_names, table.columns  # type: ignore[attr-defined]


def test_columns_have_units_and_ucds(made: Path, tmp_path: Path) -> None:
    run(made, write_galaxies(tmp_path / "sky.h5", 3, seed=4), tmp_path / "table.fits")
    with fits.open(tmp_path / "table.fits") as hdus:
        header, columns = hdus[1].header, hdus[1].columns
        assert columns["half_light_radius"].unit == columns["err_half_light_radius"].unit == "arcsec"
        assert columns["position_angle"].unit == "deg" and columns["mag_r"].unit == "mag"
        place = columns.names.index("mag_r") + 1
        assert (
            header[f"TUCD{place}"] == "phot.mag;em.opt.R"
            and header[f"TUCD{place + 1}"] == "stat.error;phot.mag;em.opt.R"
        )
        assert header["CREATOR"].startswith("galaxyloop measure")
        assert header["HEAD"] == "head" and "unlike" in header["FLAGS"]


def test_what_is_wrong_with_a_stamp_is_flagged(made: Path, tmp_path: Path) -> None:
    cut, plateau = gaussian() + noise(1), gaussian(3000) + noise(2)
    cut[:, :, :12] = np.nan
    plateau[1] = np.minimum(plateau[1], 0.5 * plateau[1].max())
    two = gaussian() + gaussian(250, at=(18, 5)) + noise(3)
    stamps = [noise(0), np.full((3, SIDE, SIDE), np.nan, np.float32), cut, plateau, two, gaussian() + noise(4)]
    write_set(tmp_path / "odd.h5", stamps)
    result = run(made, tmp_path / "odd.h5", tmp_path / "table.fits")
    assert result.exit_code == 0, result.output
    table = Table.read(tmp_path / "table.fits")
    flags = [set(filter(None, flag.split(";"))) for flag in np.ma.filled(table["flag"], "").tolist()]
    assert [one - {"unlike"} for one in flags] == [{"blank"}, {"blank"}, {"edge"}, {"saturated"}, {"crowded"}, set()]
    blank = np.array([True, True, False, False, False, False])
    for name in PARAMETERS:
        assert np.array_equal(np.isnan(numbers(table, name)), blank)
        assert np.array_equal(np.isnan(numbers(table, f"err_{name}")), blank)
    assert json.loads(result.stdout)["flagged"]["blank"] == 2


def test_stamps_unlike_all_that_the_head_saw_are_flagged(made: Path, tmp_path: Path) -> None:
    rings = 2000 * (np.indices((SIDE, SIDE)).sum(axis=0) % 9 == 0) * np.ones((3, 1, 1))
    write_set(tmp_path / "odd.h5", [(rings + noise(1)).astype(np.float32), gaussian() + noise(2)])
    run(made, tmp_path / "odd.h5", tmp_path / "table.fits")
    flags = [str(flag).split(";") for flag in np.ma.filled(Table.read(tmp_path / "table.fits")["flag"], "")]
    assert ["unlike" in one for one in flags] == [True, False]


def test_pixels_of_unknown_size_have_no_radius_in_arcsec(made: Path, tmp_path: Path) -> None:
    stamps = write_galaxies(tmp_path / "sky.h5", 3, seed=5, pixel_scale=float("nan"))
    result = run(made, stamps, tmp_path / "table.fits")
    assert "pixel scale is unknown: half_light_radius is left out" in " ".join(result.stderr.split())
    table = Table.read(tmp_path / "table.fits")
    assert np.isnan(numbers(table, "half_light_radius")).all() and np.isfinite(numbers(table, "mag_r")).all()


def test_known_values_correct_the_head_which_is_kept(made: Path, tmp_path: Path) -> None:
    stamps = write_galaxies(tmp_path / "sky.h5", 60, seed=6)
    with StampSet(stamps) as opened:
        faint = opened.column("mag_r") + 2.0
        pixels = [opened.pixels(slice(row, row + 1))[0] for row in range(60)]
    write_set(tmp_path / "known.h5", pixels, {"flux": (10 ** ((22.5 - faint) / 2.5)).tolist()})
    corrected = ["--truth", "flux=mag_r:nanomaggies", "--keep", tmp_path / "kept"]
    result = run(made, tmp_path / "known.h5", tmp_path / "table.fits", *corrected)
    assert result.exit_code == 0, result.output
    first = Table.read(tmp_path / "table.fits")["mag_r"]
    assert np.median(np.abs(first - faint)) < 0.5
    result = run(made, stamps, tmp_path / "again.fits", "--head", tmp_path / "kept")
    assert np.allclose(Table.read(tmp_path / "again.fits")["mag_r"], first)


def test_a_unit_in_which_known_values_are_far_from_what_is_measured_is_doubted(made: Path, tmp_path: Path) -> None:
    stamps = write_galaxies(tmp_path / "sky.h5", 40, seed=6)
    with StampSet(stamps) as opened:
        radii, magnitudes, scale = opened.column("half_light_radius"), opened.column("mag_r"), opened.pixel_scale
        pixels = [opened.pixels(slice(row, row + 1))[0] for row in range(40)]
    columns = {"size": (radii / scale).tolist(), "light": magnitudes.tolist()}
    write_set(tmp_path / "known.h5", pixels, columns)
    for unit, doubted in (("arcsec", True), ("pix", False)):
        asked = ["--truth", f"size=half_light_radius:{unit}", "--force"]
        result = run(made, tmp_path / "known.h5", tmp_path / "table.fits", *asked)
        said = " ".join(result.stderr.split())
        assert result.exit_code == 0, result.output
        assert ("as half_light_radius:arcsec its values are far from what is measured" in said) == doubted
        assert ("as half_light_radius:pix near" in said) == doubted
    result = run(made, tmp_path / "known.h5", tmp_path / "table.fits", "--truth", "light=mag_r:nanomaggies", "--force")
    assert "and as mag_r:mag near. Is the unit right?" in " ".join(result.stderr.split())


def test_stamps_that_show_nothing_correct_nothing_and_few_values_are_told(made: Path, tmp_path: Path) -> None:
    pixels = [gaussian(100 + 20 * row) + noise(row) if row < 8 else noise(row) for row in range(12)]
    known = {"mag_r": [17.0 + row / 10 for row in range(8)] + [29.0] * 4, "sersic": [0.5] * 3 + [np.nan] * 9}
    few = {"mag_r": [np.nan] * 4 + known["mag_r"][4:], "sersic": known["sersic"]}
    alike = {"mag_r": [*known["mag_r"][:8], *[np.nan] * 4], "sersic": known["sersic"]}
    tables = []
    for name, columns in (("known", known), ("alike", alike)):
        write_set(tmp_path / f"{name}.h5", pixels, columns)
        result = run(
            made,
            tmp_path / f"{name}.h5",
            tmp_path / f"{name}.fits",
            "--truth",
            "mag_r=mag_r",
            "--truth",
            "sersic=sersic",
        )
        assert result.exit_code == 0, result.output
        tables.append(Table.read(tmp_path / f"{name}.fits")["mag_r"][:8])
        assert "sersic, 3 of 5 that are needed" in " ".join(result.stderr.split())
        assert ("4 stamps with known values show no galaxy" in " ".join(result.stderr.split())) == (name == "known")
    assert np.array_equal(*tables)
    write_set(tmp_path / "few.h5", pixels, few)
    result = run(made, tmp_path / "few.h5", tmp_path / "few.fits", "--truth", "mag_r=mag_r")
    assert result.exit_code == 1 and "mag_r, 4 of 5 that are needed" in " ".join(result.stderr.split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--truth", "R50=half_light_radius"], "unit of the column 'R50' is unknown"),
        (["--truth", "z=redshift"], "has no column 'z'"),
        (["--truth", "nothing"], "names no column of a parameter"),
        (["--head", "nowhere"], "no complete head of parameters"),
        (["--keep", "somewhere"], "no corrected head to keep"),
    ],
)
def test_what_is_wrong_is_said_before_any_work(
    made: Path, tmp_path: Path, arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_set(tmp_path / "sky.h5", [gaussian() + noise(1)], {"R50": [3.0]})
    monkeypatch.setattr("lvm_training.model.encoder.Encoder.features", lambda *_: pytest.fail("it computed"))
    result = run(made, tmp_path / "sky.h5", tmp_path / "table.fits", *arguments)
    assert result.exit_code == 1 and message in " ".join(result.stderr.split())
    assert not (tmp_path / "table.fits").exists()


def test_a_table_is_not_written_over(made: Path, tmp_path: Path) -> None:
    write_set(tmp_path / "sky.h5", [gaussian() + noise(1)])
    (tmp_path / "table.csv").write_text("mine")
    assert run(made, tmp_path / "sky.h5", tmp_path / "table.csv").exit_code == 1
    assert (tmp_path / "table.csv").read_text() == "mine"
    assert run(made, tmp_path / "sky.h5", tmp_path / "table.csv", "--force").exit_code == 0
    assert run(made, tmp_path / "sky.h5", tmp_path / "table.txt").exit_code == 1


def test_an_encoder_that_the_head_does_not_read_is_refused(made: Path, tmp_path: Path) -> None:
    write_set(tmp_path / "sky.h5", [gaussian() + noise(1)])
    other = write_tiny(tmp_path / "other", Rendering(size=TINY.size, field=16.0), seed=9)
    result = run(made, tmp_path / "sky.h5", tmp_path / "table.fits", "--encoder", other)
    assert result.exit_code == 1 and "reads features of the encoder" in " ".join(result.stderr.split())
