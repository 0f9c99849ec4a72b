"""`galaxyloop restore`: what it writes, keeps and goes on with, and what it refuses before any work."""

import json
import resource
from pathlib import Path

import h5py
import numpy as np
import pytest
import typer
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS
from typer.testing import CliRunner, Result

from backend_ml.cli.stamps import restore as module
from backend_ml.cli.stamps.data import app as data
from lvm_training.restoration import restored_set
from lvm_training.restoration.restorer import Restorer
from lvm_training.stamps.rendering import Rendering
from lvm_training.stamps.stampset import StampSet, StampWriter
from tests.lvm_training.parameters.skies import SCALE, SIDE, gaussian, noise, write_set
from tests.tiny_encoder import TINY, write_tiny

COUNT = 5
app = typer.Typer()
app.command("restore")(module.restore)


@pytest.fixture(scope="module")
def lvm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("made") / "lvm", Rendering(size=TINY.size, field=8.0))


@pytest.fixture(autouse=True)
def few_simulated(monkeypatch: pytest.MonkeyPatch) -> None:
    """Errors read off few stamps: what they are is tested elsewhere."""
    monkeypatch.setattr(Restorer.__init__, "__kwdefaults__", dict(Restorer.__init__.__kwdefaults__) | {"stamps": 4})


@pytest.fixture
def stamps(tmp_path: Path) -> Path:
    columns = {
        "ra": [150.0 + row for row in range(COUNT)],
        "dec": [2.5] * COUNT,
        "S/N": [float(row) for row in range(COUNT)],
        "name": [f"α {row}" for row in range(COUNT)],
    }
    return write_set(tmp_path / "sky.h5", [gaussian(60, sigma=4) + noise(row) for row in range(COUNT)], columns)


def run(lvm: Path, stamps: Path, out: Path, *arguments: object) -> Result:
    options = ["--out", out, "--model", lvm, "--views", 1, "--json", *arguments]
    return CliRunner().invoke(app, [str(one) for one in (stamps, *options)])


def told(result: Result) -> dict[str, object]:
    assert result.exit_code == 0, result.output
    found: dict[str, object] = json.loads(result.stdout)
    return found


def test_a_set_is_restored_to_a_set(lvm: Path, stamps: Path, tmp_path: Path) -> None:
    out = tmp_path / "restored.h5"
    said = told(run(lvm, stamps, out))
    assert said["restored"] == COUNT and said["flagged"] == {}
    with StampSet(stamps) as before, StampSet(out) as after:
        assert after.pixel_scale == before.pixel_scale and after.origin == before.origin
        assert after.images.shape == before.images.shape and after.images.attrs["unit"] == "nanomaggy"
        for name in before.columns:
            assert after.column(name).tolist() == before.column(name).tolist()
        flux = [after.pixels(slice(None)).sum(axis=(1, 2, 3)), before.pixels(slice(None)).sum(axis=(1, 2, 3))]
        np.testing.assert_allclose(*flux, rtol=0.01)
        about = after.about("restoration")
        assert about["model"] == said["model"] and about["stamps"] == before.digest
        assert after.digest == after.content_digest()
        errors = restored_set.beside(after, "uncertainty", np.array([3, 0, 3]))
    with h5py.File(out) as file:
        assert np.array_equal(errors, file["uncertainty"][:][[3, 0, 3]]) and (errors > 0).all()
    assert not list(tmp_path.glob("*.partial")) and not list(tmp_path.glob("*.writing"))


def test_the_gain_has_its_unit_in_words(lvm: Path, stamps: Path, tmp_path: Path) -> None:
    words = [stamps, "--out", tmp_path / "restored.h5", "--model", lvm, "--views", 1]
    said = CliRunner().invoke(app, [str(one) for one in words]).stdout
    assert "gain of PSNR in dB " in said and "flux bias" in said


def test_a_set_is_restored_to_fits_files_with_their_wcs(lvm: Path, stamps: Path, tmp_path: Path) -> None:
    out = tmp_path / "restored"
    assert told(run(lvm, stamps, out))["restored"] == COUNT
    told(run(lvm, stamps, tmp_path / "restored.h5"))
    files = sorted(out.iterdir())
    assert [path.name for path in files] == [f"sky_{row:07d}.fits" for row in range(COUNT)]
    with StampSet(tmp_path / "restored.h5") as other, fits.open(files[3]) as hdus:
        header = hdus[0].header
        assert np.array_equal(hdus[0].data, other.pixels([3])[0])
        assert (hdus["UNCERTAINTY"].data > 0).all()
        assert header["BUNIT"] == "nanomaggy" and header["MODEL"] == other.about("restoration")["model"]
        assert header["STAMPID"] == 3 and header["COVER1"] > 0
        wcs = WCS(header).celestial
        ra, dec = (float(value) for value in wcs.wcs_pix2world((SIDE - 1) / 2, (SIDE - 1) / 2, 0))
        assert (ra, dec) == (pytest.approx(153), pytest.approx(2.5))
        above = wcs.wcs_pix2world((SIDE - 1) / 2, SIDE / 2 + 0.5, 0)
        assert float(above[1]) == pytest.approx(2.5 + SCALE / 3600)
    row = Table.read(files[3], hdu="CATALOGUE")[0]
    assert row["S/N"] == 3 and row["name"] == "? 3" and row["restoration_flux_r"] == pytest.approx(1, abs=0.05)


def test_restored_fits_files_are_imported_again_as_they_are(lvm: Path, stamps: Path, tmp_path: Path) -> None:
    told(run(lvm, stamps, tmp_path / "restored"))
    again = tmp_path / "again.h5"
    result = CliRunner().invoke(data, ["import", str(tmp_path / "restored"), "--out", str(again)])
    assert result.exit_code == 0, result.output
    with StampSet(again) as found:
        assert found.pixel_scale == pytest.approx(SCALE) and len(found) == COUNT
        np.testing.assert_allclose(found.column("ra"), [150.0 + row for row in range(COUNT)])
        with fits.open(tmp_path / "restored" / "sky_0000002.fits") as hdus:
            np.testing.assert_allclose(found.pixels([2])[0], hdus[0].data, rtol=1e-6)


@pytest.mark.parametrize("kind", ["set", "folder"])
def test_a_run_that_was_ended_goes_on_behind_its_last_batch(
    lvm: Path, stamps: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    from lvm_training.restoration import batches

    whole = told(run(lvm, stamps, tmp_path / ("whole.h5" if kind == "set" else "whole")))
    monkeypatch.setattr(batches, "BATCH_PIXELS", 2 * SIDE**2)
    restored, rows = batches._restored, list[int]()

    def two_batches(*arguments: object) -> object:
        if len(rows) == 4:
            raise KeyboardInterrupt
        rows.extend(arguments[2].tolist())  # type: ignore[attr-defined]
        return restored(*arguments)  # type: ignore[arg-type]

    out = tmp_path / ("ended.h5" if kind == "set" else "ended")
    with monkeypatch.context() as broken:
        broken.setattr(batches, "_restored", two_batches)
        assert run(lvm, stamps, out).exit_code != 0
    assert rows == [0, 1, 2, 3]
    rows.clear()
    monkeypatch.setattr(batches, "_restored", two_batches)
    said = told(run(lvm, stamps, out))
    assert rows == [4]
    assert said["model"] == whole["model"]
    if kind == "set":
        with StampSet(out) as one, StampSet(tmp_path / "whole.h5") as other:
            np.testing.assert_allclose(one.pixels(slice(None)), other.pixels(slice(None)), atol=1e-6)
    else:
        for path in sorted(out.iterdir()):
            np.testing.assert_allclose(fits.getdata(path), fits.getdata(tmp_path / "whole" / path.name), atol=1e-6)


def test_a_disk_that_fills_up_is_said_and_the_same_command_goes_on(lvm: Path, stamps: Path, tmp_path: Path) -> None:
    """A limit of the process stands for the disk: the system refuses the write, as it then does."""
    run(lvm, stamps, tmp_path / "before.h5")  # what is read off simulated galaxies is kept, and may be written
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        broken = run(lvm, stamps, tmp_path / "restored.h5")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert broken.exit_code == 1 and "cannot be written" in broken.output and "goes on" in broken.output
    assert not (tmp_path / "restored.h5").exists()
    assert told(run(lvm, stamps, tmp_path / "restored.h5"))["restored"] == COUNT


def test_what_is_wrong_with_a_stamp_is_flagged_and_the_rest_goes_on(lvm: Path, tmp_path: Path) -> None:
    cut, plateau = gaussian(60, sigma=4) + noise(1), gaussian(3000) + noise(2)
    cut[:, :, :12] = np.nan
    plateau[1] = np.minimum(plateau[1], 0.5 * plateau[1].max())
    nothing = np.full_like(cut, np.nan)
    path = write_set(tmp_path / "odd.h5", [cut, plateau, noise(3), nothing, gaussian(60, sigma=4) + noise(4)])
    said = told(run(lvm, path, tmp_path / "restored.h5"))
    assert said["flagged"] == {"blank": 2, "edge": 1, "saturated": 1} and said["restored"] == 5
    with StampSet(tmp_path / "restored.h5") as found:
        assert found.column("restoration_flags").tolist() == ["edge", "saturated", "blank", "blank", ""]
        assert np.isnan(found.pixels([3])).all() and np.isfinite(found.pixels([4])).all()


def test_damaged_rows_are_flagged_and_the_others_restored(lvm: Path, stamps: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.h5"
    with h5py.File(damaged, "w") as file:
        pixels = np.stack([gaussian(60, sigma=4) + noise(row) for row in range(4)])
        file.create_dataset("images", data=pixels, chunks=(1, 3, SIDE, SIDE), compression="gzip")
        file["images"].id.flush()
        place = file["images"].id.get_chunk_info(1)
    with damaged.open("r+b") as stream:
        stream.seek(place.byte_offset)
        stream.write(b"\xff" * 200)
    said = told(run(lvm, damaged, tmp_path / "restored.h5"))
    assert said["restored"] == 3 and said["flagged"] == {"damaged": 1}
    with StampSet(tmp_path / "restored.h5") as found:
        assert np.isnan(found.pixels([1])).all() and np.isfinite(found.pixels([0, 2, 3])).all()


def test_pictures_are_restored_as_pictures(lvm: Path, tmp_path: Path) -> None:
    writer = StampWriter(
        tmp_path / "jpegs.h5", (40, 40), rendering="as-delivered", pixel_scale=float("nan"), origin="upper"
    )
    writer.append(np.random.default_rng(1).integers(0, 90, (3, 3, 40, 40)).astype(np.uint8), {})
    path = writer.finish()
    writer.close()
    result = run(lvm, path, tmp_path / "restored.h5")
    assert told(result)["restored"] == 3 and "in their own 256 levels" in result.stderr
    with StampSet(tmp_path / "restored.h5") as found:
        assert found.rendering == "as-delivered" and found.images.dtype == np.uint8
    told(run(lvm, path, tmp_path / "restored"))
    header = fits.getheader(tmp_path / "restored" / "jpegs_0000000.fits")
    assert "BUNIT" not in header and "CRVAL1" not in header


def test_nothing_of_others_is_overwritten(lvm: Path, stamps: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine.h5"
    mine.write_bytes(b"my thesis")
    for out in (mine, stamps):
        result = run(lvm, stamps, out, "--force")
        assert result.exit_code == 1
    assert mine.read_bytes() == b"my thesis" and "what is to be restored" in result.stderr
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "sky_0000001.fits").write_bytes(b"SIMPLE  = my thesis")
    result = run(lvm, stamps, folder)
    assert result.exit_code == 1 and "this command did not make it" in result.stderr
    assert len(list(folder.iterdir())) == 1
    other = write_set(tmp_path / "other.h5", [noise(1)])
    before = other.read_bytes()
    assert run(lvm, stamps, other, "--force").exit_code == 1 and other.read_bytes() == before


def test_an_earlier_restoration_is_replaced_only_when_asked(lvm: Path, stamps: Path, tmp_path: Path) -> None:
    out = tmp_path / "restored.h5"
    first = told(run(lvm, stamps, out))
    result = run(lvm, stamps, out, "--views", 2)
    assert result.exit_code == 1 and "--force" in result.stderr
    second = told(run(lvm, stamps, out, "--views", 2, "--force"))
    assert second["model"] != first["model"]


def test_earlier_files_in_a_folder_are_replaced_only_when_asked(lvm: Path, stamps: Path, tmp_path: Path) -> None:
    out = tmp_path / "restored"
    first = told(run(lvm, stamps, out))
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    assert told(run(lvm, stamps, out))["model"] == first["model"]
    result = run(lvm, stamps, out, "--views", 2)
    assert result.exit_code == 1 and "--force" in result.stderr
    # another set of the same name
    namesake = tmp_path / "other" / "sky.h5"
    namesake.parent.mkdir()
    write_set(namesake, [gaussian(60, sigma=4) + noise(9 + row) for row in range(COUNT)])
    result = run(lvm, namesake, out)
    assert result.exit_code == 1 and "--force" in result.stderr
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    second = told(run(lvm, stamps, out, "--views", 2, "--force"))
    assert second["restored"] == COUNT and second["model"] != first["model"]
    assert {fits.getheader(path)["MODEL"] for path in out.iterdir()} == {second["model"]}


@pytest.mark.parametrize(
    ("out", "arguments", "message"),
    [
        ("table.csv", (), "cannot be written to table.csv"),
        ("a.h5", ("--views", 0), "1 to 8 views, not 0"),
        ("a.h5", ("--model", "nowhere"), "no complete LVM checkpoint"),
    ],
)
def test_what_cannot_be_done_is_refused_first(
    lvm: Path, stamps: Path, tmp_path: Path, out: str, arguments: tuple[object, ...], message: str
) -> None:
    result = run(lvm, stamps, tmp_path / out, *arguments)
    assert result.exit_code == 1 and message in " ".join(result.stderr.split())
    assert not (tmp_path / out).exists()
