"""HDF5 files on the command line: chunks joined in place, and what the options of an import say of a file."""

import json
from pathlib import Path

import h5py
import numpy as np
from typer.testing import CliRunner, Result

from backend_ml.cli.stamps.data import app
from lvm_training.stamps.stampset import StampSet
from tests.backend_ml.cli.wrapping import unwrapped


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, list(map(str, arguments)))


def chunk(path: Path, seed: int, **datasets: object) -> Path:
    with h5py.File(path, "w") as file:
        file["images"] = np.random.default_rng(seed).normal(size=(5, 3, 8, 8)).astype(np.float32)
        file["ra"] = np.arange(5.0) + 100 * seed
        for name, values in datasets.items():
            file[name] = values
    return path


def test_chunks_become_one_set(tmp_path: Path) -> None:
    chunks = [chunk(tmp_path / "one.h5", 1), chunk(tmp_path / "two.h5", 2, z_spec=np.zeros(5))]
    done = run("join", *chunks, "--out", tmp_path / "pool.h5", "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout) == {
        "stamps": str(tmp_path / "pool.h5"),
        "sets": 2,
        "rows": 10,
        "notes": ["z_spec: left out, 1 of 2 sets do not have it"],
    }
    again = run("join", *chunks, "--out", tmp_path / "pool.h5")
    assert again.exit_code == 1 and "is there already" in unwrapped(again.output)
    imported = run("import", tmp_path / "pool.h5", "--out", tmp_path / "set.h5", "--json")
    assert json.loads(imported.stdout)["written"] == 10
    with StampSet(tmp_path / "set.h5") as stamps:
        assert stamps.column("ra").tolist() == [*range(100, 105), *range(200, 205)]


def test_the_options_say_what_the_file_does_not(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    with h5py.File(tmp_path / "mine.h5", "w") as file:
        file["X_train"] = rng.integers(0, 255, (6, 8, 8, 3)).astype(np.uint8)
        file["X_test"] = rng.random((4, 8, 8, 3)).astype(np.float32)
        file["ans"] = np.arange(6)
    asked = run("import", tmp_path / "mine.h5", "--out", tmp_path / "out.h5")
    assert asked.exit_code == 1 and "--images X_test" in asked.output
    options = ("--images", "X_train", "--layout", "galaxy10-decals")
    done = run("import", tmp_path / "mine.h5", "--out", tmp_path / "out.h5", *options)
    assert done.exit_code == 0 and "galaxy10-decals" in done.output, done.output
    with StampSet(tmp_path / "out.h5") as stamps:
        assert stamps.column("galaxy10")[1] == "Merging Galaxies"
    floats = ("import", tmp_path / "mine.h5", "--out", tmp_path / "test.h5", "--images", "X_test")
    assert "--bands r,g,b" in unwrapped(run(*floats).output)
    assert run(*floats, "--bands", "r,g,b").exit_code == 0
