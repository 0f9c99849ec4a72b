"""`galaxyloop data inject-lenses`: files, what was left out, and sets that cannot be used."""

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from backend_ml.cli.stamps.data import app
from lvm_training.lenses.lens_sets import SPLITS, lens_rendering, read_lenses
from lvm_training.lenses.lens_stamps import SIZE, LensPopulation, draw_lens_stamps
from lvm_training.stamps.stampset import StampSet, StampWriter


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["inject-lenses", *(str(one) for one in arguments)])


@pytest.fixture(scope="module")
def galaxies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four early types, and in the third place a stamp of sky alone."""
    early = LensPopulation(lens_share=0, look_alikes=(0, 0, 0, 0, 1, 0))
    rng = np.random.default_rng(0)
    bands = draw_lens_stamps(4, rng, early).bands
    bands[2] = rng.normal(0, 0.01, bands[2].shape)
    writer = StampWriter(tmp_path_factory.mktemp("galaxies") / "galaxies.h5", (SIZE, SIZE), origin="upper")
    writer.append(bands, {})
    return writer.finish()


def test_it_writes_lenses_and_says_what_was_left_out(galaxies: Path, tmp_path: Path) -> None:
    done = run(galaxies, "--out", tmp_path / "found", "--seed", 3, "--json")
    assert done.exit_code == 0, done.output
    record = json.loads(done.stdout)
    assert record["lenses"] == str(tmp_path / "found") and record["written"] + len(record["left_out"]) == 4
    assert "Stamp 2 was left out: no galaxy in its middle stands out." in record["left_out"]
    paths = tmp_path / "found" / "lenses.h5", tmp_path / "found" / "lenses.json"
    with StampSet(paths[0]) as stamps:
        splits = set(stamps.column("split").tolist())
    read = [read_lenses(*paths, split, lens_rendering(SIZE)) for split in SPLITS if split in splits]
    assert sum(len(one.truths) for one in read) == record["written"] > 0
    assert run(galaxies, "--out", tmp_path / "again", "--seed", 3, "--json").exit_code == 0
    for name in ("lenses.h5", "lenses.json"):
        assert (tmp_path / "found" / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


def test_a_limit_takes_the_first_stamps(galaxies: Path, tmp_path: Path) -> None:
    done = run(galaxies, "--out", tmp_path, "--seed", 3, "--limit", 3)
    assert done.exit_code == 0, done.output
    assert "Stamp 2 was left out" in done.output and "Stamp 3" not in done.output
    with StampSet(tmp_path / "lenses.h5") as stamps:
        assert set(stamps.column("row").tolist()) <= {0, 1}


def test_pictures_as_delivered_are_refused(tmp_path: Path) -> None:
    writer = StampWriter(tmp_path / "pictures.h5", (SIZE, SIZE), rendering="as-delivered")
    writer.append(np.zeros((1, 3, SIZE, SIZE), np.uint8), {})
    done = run(writer.finish(), "--out", tmp_path / "out")
    assert done.exit_code == 1 and "no fluxes" in done.output and "FITS" in done.output
    assert not (tmp_path / "out").exists()
    assert run(tmp_path / "none.h5", "--out", tmp_path / "out").exit_code == 1
