"""`galaxyloop embed`: the features it makes, what it says of the stamps, and what it refuses."""

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
from typer.testing import CliRunner, Result

from backend_ml.cli.main import app
from lvm_training.index.files import index_pool
from lvm_training.model.encoder import Encoder
from lvm_training.pool.features import Features
from lvm_training.stamps.render import render_set
from lvm_training.stamps.rendering import Rendering
from lvm_training.stamps.stampset import StampSet, StampWriter
from tests.backend_ml.sky import write_stamps
from tests.tiny_encoder import write_tiny


@pytest.fixture
def lvm(tmp_path: Path) -> Path:
    """The checkpoint of a tiny model."""
    return write_tiny(tmp_path / "lvm", Rendering(size=32, field=9.0), seed=2)


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["embed", *map(str, arguments)])


def change(stamps: Path, rows: slice = slice(0), **attributes: object) -> Path:
    """The set with other attributes, and with stamps that nothing was observed of."""
    with h5py.File(stamps, "r+") as file:
        file.attrs.update(attributes)
        images = file["images"][:]
        images[rows] = np.nan
        file["images"][:] = images
    return stamps


def test_a_set_becomes_a_feature_file(tmp_path: Path, lvm: Path) -> None:
    stamps = change(write_stamps(tmp_path), slice(3, 5))
    command = [stamps, "--encoder", lvm, "--out", tmp_path / "out", "--batch", 4, "--views", 1]
    first = invoke(*command, "--json")
    assert first.exit_code == 0, first.output
    found = json.loads(first.stdout)
    encoder = Encoder.load(lvm, views=1)
    assert found == {
        "features": found["features"],
        "stamps": 10,
        "width": 32,
        "encoder": encoder.digest,
        "unobserved": 2,
    }
    features = Features.open(Path(found["features"]))
    with StampSet(stamps) as opened:
        expected = encoder.features(render_set(opened, slice(None), encoder.rendering)).numpy()
        assert features.path == tmp_path / "out" / f"sky-{opened.digest}-{encoder.digest}.npy"
    np.testing.assert_allclose(features.matrix, expected, atol=2e-3)
    before = features.path.stat().st_mtime_ns
    again = invoke(*command)
    assert again.exit_code == 0 and ["unobserved", "2"] in [line.split() for line in again.stdout.splitlines()]
    assert features.path.stat().st_mtime_ns == before, "what is there is not made again"


def test_a_damaged_chunk_is_named_and_the_run_goes_on(tmp_path: Path, lvm: Path) -> None:
    path, pixels = tmp_path / "chunk.h5", np.random.default_rng(0).normal(size=(40, 3, 40, 40)).astype(np.float32)
    with h5py.File(path, "w") as file:
        data = file.create_dataset("images", data=pixels, chunks=(8, 3, 40, 40), compression="gzip")
        place = data.id.get_chunk_info(2).byte_offset
    content = bytearray(path.read_bytes())
    content[place : place + 64] = bytes(64)
    path.write_bytes(content)
    found = json.loads(invoke(path, "--encoder", lvm, "--out", tmp_path, "--batch", 7, "--views", 1, "--json").stdout)
    assert (found["stamps"], found["damaged"], found["unobserved"]) == (40, "16-23", 8)
    pixels[16:24] = np.nan
    with h5py.File(tmp_path / "blank.h5", "w") as file:
        file["images"] = pixels
    blank = invoke(tmp_path / "blank.h5", "--encoder", lvm, "--out", tmp_path, "--views", 1, "--json")
    features = [Features.open(Path(one["features"])).matrix for one in (found, json.loads(blank.stdout))]
    np.testing.assert_allclose(*features, atol=2e-3)


def test_pictures_come_with_their_warning(tmp_path: Path, lvm: Path) -> None:
    writer = StampWriter(tmp_path / "pictures.h5", (40, 40), rendering="as-delivered")
    writer.append(np.random.default_rng(0).integers(0, 255, (3, 3, 40, 40), np.uint8), {})
    result = invoke(writer.finish(), "--encoder", lvm, "--out", tmp_path / "out", "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert "as delivered" in found["warning"] and found["unobserved"] == 0


@pytest.mark.parametrize(
    ("attributes", "said"),
    [
        ({"rendering": "jpeg"}, "nanomaggies, as-delivered"),
        ({"origin": "bottom"}, "lower, upper"),
        ({"pixel_scale": 0.0}, "arcsec per pixel"),
        ({"pixel_scale": "fine"}, "arcsec per pixel"),
    ],
)
def test_attributes_that_say_nothing_known(tmp_path: Path, lvm: Path, attributes: dict[str, object], said: str) -> None:
    stamps = change(write_stamps(tmp_path, 3), **attributes)
    result = invoke(stamps, "--encoder", lvm, "--out", tmp_path / "out")
    assert result.exit_code == 1 and said in " ".join(result.stderr.split())
    assert not (tmp_path / "out").exists()


def test_no_stamps(tmp_path: Path, lvm: Path) -> None:
    result = invoke(StampWriter(tmp_path / "none.h5", (40, 40)).finish(), "--encoder", lvm, "--out", tmp_path / "out")
    assert result.exit_code == 1 and "none.h5 holds no stamps" in " ".join(result.stderr.split())


@pytest.mark.parametrize("out", ["taken", "taken/below"])
def test_a_folder_that_cannot_be_made(tmp_path: Path, lvm: Path, out: str) -> None:
    (tmp_path / "taken").write_text("a file")
    result = invoke(write_stamps(tmp_path, 3), "--encoder", lvm, "--out", tmp_path / out, "--views", 1)
    assert result.exit_code == 1 and "could not be written" in " ".join(result.stderr.split())
    assert (tmp_path / "taken").read_text() == "a file"


def embedded(stamps: Path, lvm: Path, out: Path) -> tuple[dict[str, object], np.ndarray]:
    done = invoke(stamps, "--encoder", lvm, "--out", out, "--views", 1, "--json")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    return told, np.array(Features.open(Path(told["features"])).matrix)


def test_a_set_that_was_mended_in_place_gets_new_features(tmp_path: Path, lvm: Path) -> None:
    stamps, out = write_stamps(tmp_path), tmp_path / "out"
    told, first = embedded(stamps, lvm, out)
    index_pool(Features.open(Path(str(told["features"]))), tmp_path / "index")
    kept = {(tmp_path / "index" / "current.json").read_text()}
    for rows in (slice(2, 8), slice(9, 10)):
        with h5py.File(stamps, "r+") as file:
            file["images"][rows] = file["images"][rows][:, :, ::-1] * 2 + 0.1
        again, second = embedded(stamps, lvm, out)
        assert again == told
        changed = (first != second).any(axis=1)
        assert changed[rows].all() and changed.sum() == len(changed[rows])
        with StampSet(stamps) as opened:
            encoder = Encoder.load(lvm, views=1)
            expected = encoder.features(render_set(opened, np.arange(10), encoder.rendering)).numpy()
        np.testing.assert_allclose(second, expected.astype(np.float16), atol=2e-3)
        first = second
        index_pool(Features.open(Path(str(told["features"]))), tmp_path / "index")
        kept.add((tmp_path / "index" / "current.json").read_text())
    assert len(kept) == 3, "an index of older features is not searched"


def test_a_set_that_was_only_copied_keeps_its_features(
    tmp_path: Path, lvm: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stamps, out = write_stamps(tmp_path), tmp_path / "out"
    told, first = embedded(stamps, lvm, out)
    with h5py.File(stamps, "r+") as file:
        file["note"] = np.arange(10)
    monkeypatch.setattr(Encoder, "features", lambda *_: pytest.fail("embedded again"))
    again, second = embedded(stamps, lvm, out)
    assert again == told and (first == second).all()
    monkeypatch.setattr(StampSet, "content_digest", lambda *_: pytest.fail("read again"))
    assert embedded(stamps, lvm, out)[0] == told


def test_a_set_of_other_makers_that_is_newer_is_warned_of(tmp_path: Path, lvm: Path) -> None:
    stamps, out = write_stamps(tmp_path), tmp_path / "out"
    with h5py.File(stamps, "r+") as file:
        del file.attrs["sha256"]
    told, _ = embedded(stamps, lvm, out)
    assert "warning" not in told
    with h5py.File(stamps, "r+") as file:
        file["note"] = np.arange(10)
    assert "is newer than its features" in str(embedded(stamps, lvm, out)[0]["warning"])


def test_several_sets_by_several_processes(tmp_path: Path, lvm: Path) -> None:
    sets = [write_stamps(tmp_path, rows, f"sky{rows}") for rows in (10, 12)]
    command = [*sets, "--encoder", lvm, "--out", tmp_path / "out", "--views", 1, "--processes", 2]
    done = invoke(*command, "--json")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)["sets"]
    assert [one["stamps"] for one in told] == [10, 12]
    assert [len(Features.open(Path(one["features"])).matrix) for one in told] == [10, 12]
    assert len(list((tmp_path / "out").iterdir())) == 4


def test_what_it_will_take_is_said_before(tmp_path: Path, lvm: Path) -> None:
    stamps = write_stamps(tmp_path)
    command = [stamps, "--encoder", lvm, "--out", tmp_path / "out"]
    told = json.loads(invoke(*command, "--dry-run", "--json").stdout)
    assert told["stamps"] == 10 and told["disk_mb"] == 0 and told["memory_mb"] > 50
    assert told["precision"] in ("float32", "bf16") and told["stamps_per_second"] > 0
    assert not (tmp_path / "out").exists(), "nothing is made"
    assert invoke(*command).exit_code == 0
    assert json.loads(invoke(*command, "--dry-run", "--json").stdout)["stamps"] == 0
