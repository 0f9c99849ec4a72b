"""`galaxyloop detect`: a FITS image of any size, a stamp set, and what cannot be read."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import typer
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS
from PIL import Image
from typer.testing import CliRunner, Result

from backend_ml.cli.stamps.detect import detect
from lvm_training.detection.checkpoint import TrainedDetector, save_detector
from lvm_training.detection.detector import Detector
from lvm_training.inference.detections import Detections
from lvm_training.lenses.lens_sets import simulated_pictures
from lvm_training.lenses.lens_stamps import LensPopulation
from lvm_training.paths import RELEASED_DETECTOR
from lvm_training.stamps.rendering import Rendering
from lvm_training.stamps.stampset import StampWriter
from tests.lvm_training.detection.detection_pictures import ON_LVM, SIDE

ROOT = Path(__file__).parents[4]
app = typer.Typer()
app.command("detect")(detect)


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A detector with random weights: what it finds is arbitrary, and the same every time."""
    folder = tmp_path_factory.mktemp("detector")
    design = ON_LVM.model_copy(update={"classes": ("arc", "deflector", "galaxy")})
    rendering = Rendering(size=SIDE, field=SIDE * 0.262)
    given = {"encoder": "", "data": "", "code": "", "params": {}, "metrics": {}}
    save_detector(folder, Detector.start(design, seed=4), rendering, **given)  # type: ignore[arg-type]
    return folder


WCS_CARDS = fits.Header({"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CDELT1": -7.3e-5, "CDELT2": 7.3e-5})


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(one) for one in arguments])


def frame(path: Path, height: int, width: int) -> Path:
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval, wcs.wcs.crpix, wcs.wcs.cdelt = (
        [30, 5],
        [width / 2 + 0.5, height / 2 + 0.5],
        [-0.262 / 3600, 0.262 / 3600],
    )
    pixels = np.random.default_rng(0).gamma(1, 0.05, (3, height, width)).astype(np.float32)
    fits.writeto(path, pixels, wcs.to_header())
    return path


def test_an_image_larger_than_a_stamp(detector: Path, tmp_path: Path) -> None:
    image, table = frame(tmp_path / "wide.fits", 70, 90), tmp_path / "objects.fits"
    done = run(image, "--detector", detector, "--out", table, "--score", 0.05, "--json")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    rows = Table.read(table)
    assert told["objects"] == len(rows) > 0
    assert told["arc"] + told["deflector"] + told["galaxy"] == len(rows)
    assert told["detector"] == TrainedDetector.load(detector).digest
    for name, limit in (("x1", 90), ("y1", 70)):
        assert (rows[name] <= limit).all()
    assert np.hypot((rows["ra"] - 30) * np.cos(np.radians(5)), rows["dec"] - 5).max() * 3600 < 60 * 0.262
    assert (np.diff(rows["score"]) <= 0).all() and (rows["score"] >= 0.05).all()
    assert told["cut"] == int(rows["cut"].sum())


def test_a_stamp_set(detector: Path, tmp_path: Path) -> None:
    writer = StampWriter(tmp_path / "sky.h5", (40, 40))
    writer.append(np.random.default_rng(1).gamma(1, 0.05, (5, 3, 40, 40)).astype(np.float32), {"n": np.arange(5)})
    done = run(writer.finish(), "--detector", detector, "--out", tmp_path / "found", "--json")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    found = Detections.open(Path(told["detections"]))
    assert told["stamps"] == len(found) == 5
    assert told["with_arcs"] == int((found.best_scores("arc") >= 0.5).sum())


def best_arcs(rows: Table) -> dict[str, tuple[float, ...]]:
    """Box of the best arc of each file of a table whose rows are in order of score, file by file."""
    found: dict[str, tuple[float, ...]] = {}
    for row in rows[rows["class"] == "arc"]:
        found.setdefault(str(row["file"]), tuple(float(row[edge]) for edge in ("x0", "y0", "x1", "y1")))
    return found


@pytest.mark.parametrize("scaled", [True, False])
def test_a_folder_of_pictures_with_the_released_detector(tmp_path: Path, scaled: bool) -> None:
    """Boxes of arcs lie where the simulator drew them, counted from the upper left corner of each file."""
    rendering = TrainedDetector.load(ROOT / RELEASED_DETECTOR).rendering
    clean = LensPopulation(0.5, (2.0, 2.6), (350.0, 400.0), (0.0, 0.0, 0.0, 0.0, 1.0, 0.0))
    pictures, truths = simulated_pictures(8, np.random.default_rng((0, 99)), clean, rendering)
    folder, names = tmp_path / "field.1", [f"g{number}.{'png' if number % 2 else 'jpg'}" for number in range(8)]
    (folder / "more").mkdir(parents=True)
    for name, one in zip(names, pictures, strict=True):
        rgb = (one.permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
        Image.fromarray(rgb).save(folder / name, quality=98)
    (folder / "more" / "torn.png").write_bytes(b"\x89PNG")
    (folder / "labels.csv").write_text("file,lens\n")
    table = tmp_path / "objects.csv"
    given = ("--pixel-scale", rendering.field / rendering.size) if scaled else ()
    done = run(folder, "--detector", ROOT / RELEASED_DETECTOR, "--out", table, "--json", *given)
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert (told["images"], told["skipped"]) == (8, 1) and "skipped more/torn.png" in done.stderr
    rows = Table.read(table, format="ascii.ecsv")
    assert told["objects"] == len(rows) and set(rows["file"]) <= set(names)
    assert bool(np.isfinite(np.ma.filled(rows["width"], np.nan)).all()) == scaled
    found = best_arcs(rows)
    drawn = {
        name: next(iter(one.boxes[[kind == "arc" for kind in one.classes]]), None)
        for name, one in zip(names, truths, strict=True)
    }
    lenses = {name: box for name, box in drawn.items() if box is not None}
    right = [name for name, box in lenses.items() if name in found and overlap(found[name], box) >= 0.5]
    assert len(lenses) == 4 and len(right) >= 3
    assert len(set(found) - set(lenses)) <= 1


def overlap(one: Sequence[float], other: Sequence[float]) -> float:
    """Intersection over union of two boxes."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    shared = max(width, 0) * max(height, 0)
    return shared / (sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)) - shared)


def test_images_and_pictures_of_one_folder_and_a_picture_alone(detector: Path, tmp_path: Path) -> None:
    folder = tmp_path / "mixed"
    folder.mkdir()
    frame(folder / "a.fits", 40, 40)
    rgb = np.random.default_rng(2).integers(0, 256, (50, 70, 3)).astype(np.uint8)
    Image.fromarray(rgb).save(folder / "b.png")
    table = tmp_path / "objects.fits"
    done = run(folder, "--detector", detector, "--out", table, "--score", 0.05)
    assert done.exit_code == 0, done.output
    rows = Table.read(table)
    assert {str(name) for name in rows["file"]} == {"a.fits", "b.png"}
    known = np.isfinite(np.ma.filled(rows["ra"], np.nan))
    assert {str(name) for name in rows["file"][known]} == {"a.fits"}, "a picture has no positions"
    alone = tmp_path / "alone.csv"
    assert run(folder / "b.png", "--detector", detector, "--out", alone, "--score", 0.05).exit_code == 0
    single = Table.read(alone, format="ascii.ecsv")
    assert "file" not in single.columns and len(single) == int((~known).sum())
    assert (single["x1"] <= 70).all() and (single["y1"] <= 50).all()
    with_scale = run(folder, "--detector", detector, "--out", table, "--pixel-scale", 0.3, "--score", 0.05)
    assert with_scale.exit_code == 0 and "skipped a.fits: a.fits has a WCS" in " ".join(with_scale.stderr.split())


def test_it_works_with_no_detector_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the repository's folder, as every path of the command line; elsewhere it says what is missing."""
    image, table = frame(tmp_path / "sky.fits", 70, 90), tmp_path / "objects.csv"
    monkeypatch.chdir(ROOT)
    done = run(image, "--out", table, "--json")
    assert done.exit_code == 0, done.output
    released = TrainedDetector.load(ROOT / RELEASED_DETECTOR)
    assert json.loads(done.stdout)["detector"] == released.digest
    monkeypatch.chdir(tmp_path)
    elsewhere = run(image, "--out", table)
    assert elsewhere.exit_code == 1 and f"no complete detector in {RELEASED_DETECTOR}" in " ".join(
        elsewhere.output.split()
    )


def test_what_cannot_be_read_is_said_in_one_line(detector: Path, tmp_path: Path) -> None:
    dot = tmp_path / "dot.fits"
    fits.writeto(dot, np.zeros((3, 1, 1), np.float32), WCS_CARDS)
    torn = tmp_path / "torn.fits"
    torn.write_bytes(frame(tmp_path / "whole.fits", 40, 40).read_bytes()[:3000])
    no_scale = tmp_path / "plain.fits"
    fits.writeto(no_scale, np.zeros((3, 40, 40), np.float32))
    table, empty, bad = tmp_path / "objects.csv", tmp_path / "empty", tmp_path / "bad"
    empty.mkdir()
    bad.mkdir()
    for name in ("torn.png", "torn.fits"):
        (bad / name).write_bytes(torn.read_bytes()[:100])
    for source, folder, message in (
        (torn, detector, "torn.fits cannot be read"),
        (tmp_path / "none.fits", detector, "none.fits cannot be read"),
        (no_scale, detector, "no WCS, so its pixel scale is unknown. What to do: Give arcsec per pixel: --pixel-scale"),
        (dot, detector, "1 x 1 pixels is too small to show an object"),
        (empty, detector, "holds no JPEG, PNG or FITS files"),
        (bad, detector, "None of the 2 images in"),
        (bad / "torn.png", detector, "torn.png cannot be read"),
        (no_scale, tmp_path / "nothing", "no complete detector"),
    ):
        done = run(source, "--detector", folder, "--out", table)
        assert done.exit_code == 1 and message in " ".join(done.output.split()), done.output
        assert "Traceback" not in done.output and not table.exists()


def test_an_image_without_a_wcs_is_detected_on_with_a_pixel_scale(detector: Path, tmp_path: Path) -> None:
    image, table = frame(tmp_path / "f.fits", 70, 90), tmp_path / "objects.fits"
    plain = tmp_path / "plain.fits"
    fits.writeto(plain, fits.getdata(image))
    done = run(plain, "--detector", detector, "--out", table, "--score", 0.05, "--pixel-scale", 0.262, "--json")
    assert done.exit_code == 0, done.output
    rows = Table.read(table)
    assert len(rows) > 0 and all(np.isnan(np.ma.filled(rows[name], np.nan)).all() for name in ("ra", "dec"))
    again = run(image, "--detector", detector, "--out", table, "--score", 0.05)
    assert again.exit_code == 0 and list(Table.read(table)["x0"]) == list(rows["x0"])
    both = run(image, "--detector", detector, "--out", table, "--pixel-scale", 0.3)
    assert both.exit_code == 1 and "has a WCS: its pixels are 0.262 arcsec." in " ".join(both.output.split())
    for scale in (0, -1, "nan"):
        assert run(plain, "--detector", detector, "--out", table, "--pixel-scale", scale).exit_code == 2
    endless = run(plain, "--detector", detector, "--out", table, "--pixel-scale", "inf")
    assert endless.exit_code == 1 and "Error:" in endless.output


def test_places_that_cannot_be_written_are_refused_before_detecting(tmp_path: Path) -> None:
    """No detector is there either: the place is looked at first."""
    image = frame(tmp_path / "self.fits", 40, 40)
    before, set_file = image.read_bytes(), tmp_path / "set.h5"
    for source, out, message in (
        (image, image, "would overwrite self.fits"),
        (image, tmp_path / "x.txt", "cannot be written to x.txt"),
        (image, image / "x.csv", "cannot be written"),
        (image, Path("/proc/x.csv"), "cannot be written"),
        (image, tmp_path, "cannot be written to"),
        (set_file, image, "is a file"),
    ):
        done = run(source, "--detector", tmp_path / "nothing", "--out", out)
        assert done.exit_code == 1 and message in " ".join(done.output.split()), done.output
        assert isinstance(done.exception, SystemExit)
    assert image.read_bytes() == before


def test_a_catalogue_beside_the_image_is_not_overwritten(
    detector: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    frame(tmp_path / "field7.fits", 40, 40)
    own = tmp_path / "field7.csv"
    own.write_text("id,z\n1,0.3\n")
    for given in ((), ("--out", "field7.csv")):
        done = run("field7.fits", "--detector", tmp_path / "nothing", *given)
        assert done.exit_code == 1 and "field7.csv is there already" in " ".join(done.output.split())
    assert own.read_text() == "id,z\n1,0.3\n"
    own.unlink()
    for _ in range(2):
        assert run("field7.fits", "--detector", detector, "--score", 0.9).exit_code == 0
    assert "galaxyloop detect" in own.read_text()


def test_nothing_found_is_said_with_what_to_do(detector: Path, tmp_path: Path) -> None:
    empty, table = tmp_path / "empty.fits", tmp_path / "objects.csv"
    fits.writeto(empty, np.zeros((3, 40, 40), np.float32), WCS_CARDS)
    done = run(empty, "--detector", detector, "--out", table, "--score", 1, "--json")
    assert done.exit_code == 0 and json.loads(done.stdout)["objects"] == 0
    told = " ".join(done.stderr.split())
    assert "Nothing has a score of 1.0 or more. What to do: Try a lower --score;" in told
    assert len(Table.read(table, format="ascii.ecsv")) == 0
