"""`galaxyloop data import` and `data show` as people type them."""

import json
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from backend_ml.cli.stamps.data import app
from lvm_training.stamps.page import MADE_BY
from lvm_training.stamps.stampset import StampSet, StampWriter
from tests.backend_ml.cli.wrapping import unwrapped


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(one) for one in arguments])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures of three sizes, an empty file, and a table of labels with a hostile name."""
    where = tmp_path_factory.mktemp("in")
    rng = np.random.default_rng(0)
    for number, side in enumerate((70, 90, 120)):
        Image.fromarray(rng.integers(0, 256, (side, side, 3)).astype(np.uint8)).save(where / f"g{number}.png")
    (where / "<b>bad.png").touch()
    (where / "labels.csv").write_text("file,ring,S/N\ng0.png,yes,5\ng1.png,NA,\n")
    return where


@pytest.fixture(scope="module")
def imported(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set of them."""
    out = tmp_path_factory.mktemp("set") / "set.h5"
    done = run("import", folder, "--out", out)
    assert done.exit_code == 0, done.output
    return out


def pictures(folder: Path, *names: str) -> Path:
    """A folder of small pictures."""
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(1)
    for name in names:
        Image.fromarray(rng.integers(0, 256, (16, 16, 3)).astype(np.uint8)).save(folder / name)
    return folder


def columns_of(path: Path) -> dict[str, list[str]]:
    with StampSet(path) as stamps:
        return {name: [str(value) for value in stamps.column(name)] for name in stamps.columns}


def test_the_labels_of_the_folder_come_along_and_that_is_said(folder: Path, imported: Path, tmp_path: Path) -> None:
    assert columns_of(imported)["ring"] == ["yes", "", ""]
    plain = unwrapped(run("import", folder, "--out", tmp_path / "set.h5").output)
    assert "labels.csv; --no-labels leaves them aside" in plain
    assert "ring, S/N of labels.csv joined; 1 of 3 images have no row in it" in plain
    assert "the model reads each stamp whole, whatever it measures on the sky" in " ".join(plain.split())
    scaled = run("import", folder, "--out", tmp_path / "scaled.h5", "--pixel-scale", 1, "--fit", "crop", "--json")
    assert json.loads(scaled.stdout)["framing"].startswith("stamps are 70″ wide; the model reads the middle 25″")
    bare = tmp_path / "bare.h5"
    done = run("import", folder, "--out", bare, "--no-labels", "--json")
    assert "ring" not in columns_of(bare) and not any("labels" in note for note in json.loads(done.stdout)["notes"])


def test_another_table_takes_the_place_of_the_folders(folder: Path, tmp_path: Path) -> None:
    table = tmp_path / "other.csv"
    table.write_text("file,bar\ng0.png,no\n")
    assert run("import", folder, "--out", tmp_path / "set.h5", "--labels", table).exit_code == 0
    assert {"bar", "ring"} & set(columns_of(tmp_path / "set.h5")) == {"bar"}


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "latin-1"])
def test_the_folders_labels_may_be_encoded_in_any_way_that_tables_are_read(tmp_path: Path, encoding: str) -> None:
    where = pictures(tmp_path / "in", "é1.png", "b.png")
    (where / "labels.csv").write_bytes("file,forme,n\né1.png,à anneau,1\nb.png,sphéroïde,2\n".encode(encoding))
    assert run("import", where, "--out", tmp_path / "set.h5").exit_code == 0
    found = columns_of(tmp_path / "set.h5")
    assert dict(zip(found["file"], found["forme"], strict=True)) == {"b.png": "sphéroïde", "é1.png": "à anneau"}
    assert sorted(found["n"]) == ["1", "2"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("file,ring\nelsewhere.png,yes\n", "No row of labels.csv names one of the 2 stamps."),
        ("file,ring\na.png,yes\na.png,no\n", "gives a.png two different rows"),
        ("picture,ring\na.png,yes\n", "needs a column 'file' or 'source_row'; it has picture, ring."),
        ("", "labels.csv"),
        ("file,images\na.png,yes\n", "'images'"),
    ],
)
def test_labels_of_a_folder_that_cannot_be_joined_make_nothing(tmp_path: Path, text: str, said: str) -> None:
    where = pictures(tmp_path / "in", "a.png", "b.png")
    (where / "labels.csv").write_text(text)
    done = run("import", where, "--out", tmp_path / "set.h5")
    plain = unwrapped(done.output)
    assert done.exit_code == 1 and said in plain and "--no-labels" in plain and not (tmp_path / "set.h5").exists()
    assert run("import", where, "--out", tmp_path / "set.h5", "--no-labels").exit_code == 0


def test_labels_of_pictures_that_are_not_there_are_counted(tmp_path: Path) -> None:
    where = pictures(tmp_path / "in", "a.png", "b.png")
    (where / "labels.csv").write_text("file,ring\na.png,yes\ngone.png,no\na.png,yes\n,no\n")
    plain = unwrapped(run("import", where, "--out", tmp_path / "set.h5").output)
    assert "1 rows of labels.csv name no stamp here" in plain and "1 rows are the same as others" in plain
    assert "1 of 2 images have no row" in plain and "1 rows without a file are left out" in plain


def test_an_import_says_what_it_assumed_and_left_out(folder: Path, tmp_path: Path) -> None:
    done = run("import", folder, "--out", tmp_path / "set.h5", "--fit", "crop")
    plain = unwrapped(done.output)
    assert done.exit_code == 0, done.output
    assert "2 images were cut to their central 70 x 70 pixels; --fit shrink shows them whole" in plain
    assert "skipped <b>bad.png: empty file" in plain
    record = json.loads(run("import", folder, "--out", tmp_path / "other.h5", "--json").stdout)
    assert record["skipped"] == [{"file": "<b>bad.png", "reason": "empty file"}]
    assert any("shown whole, shrunk to 70 x 70" in note for note in record["notes"])


def test_many_left_out_are_told_by_their_reasons(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "good.png").write_bytes((folder / "g0.png").read_bytes())
    for number in range(25):
        (tmp_path / "in" / f"empty{number}.png").touch()
    done = run("import", tmp_path / "in", "--out", tmp_path / "set.h5")
    plain = unwrapped(done.output)
    assert "skipped 25: empty file, first empty0.png" in plain and "skipped.csv lists them all" in plain
    assert len((tmp_path / "set.h5.skipped.csv").read_text().splitlines()) == 26


def test_show_tells_all_that_an_import_kept(imported: Path, tmp_path: Path) -> None:
    record = json.loads(run("show", imported, "--page", tmp_path / "page.html", "--json").stdout)
    assert (record["stamps"], record["size"], record["pixels"]) == (3, "70 x 70 pixels", "8-bit red, green, blue")
    assert record["columns"]["ring"] == {"type": "text", "missing": 2}
    assert record["columns"]["S/N"] == {"type": "number", "missing": 2}
    assert record["import"]["fit"] == "shrink" and record["import"]["first_skipped"] == {"<b>bad.png": "empty file"}
    assert record["labels"]["joined"] == 2
    text = run("show", imported, "--no-page").output
    plain = unwrapped(text)
    for said in ("ring: text, 2 missing", "<b>bad.png: empty file", "shown whole", "labels: joined", "unknown; stamps"):
        assert said in plain, said
    assert not imported.with_suffix(".html").exists()


def test_a_page_shows_stamps_and_trusts_no_name(imported: Path, tmp_path: Path) -> None:
    done = run("show", imported)
    page = imported.with_suffix(".html")
    assert done.exit_code == 0 and page.name in done.output
    text = page.read_text()
    assert text.count("<figure>") == 3 and 'alt="g0.png"' in text and MADE_BY in text
    assert "&lt;b&gt;bad.png" in text and "<b>bad" not in text and "http" not in text.split("</style>")[1]
    # its own page is written anew
    assert run("show", imported).exit_code == 0
    sheet = tmp_path / "page.png"
    assert (
        run("show", imported, "--page", sheet).exit_code == 0 and run("show", imported, "--page", sheet).exit_code == 0
    )
    with Image.open(sheet) as image:
        assert image.size == (8 * 128, 128) and image.text["Software"] == MADE_BY  # type: ignore[attr-defined]


def test_pages_of_other_people_stay(imported: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine.html"
    mine.write_text("mine")
    done = run("show", imported, "--page", mine)
    assert done.exit_code == 1 and "is there already" in unwrapped(done.output)
    assert mine.read_text() == "mine"
    assert run("show", imported, "--page", tmp_path / "page.gif").exit_code == 1
    assert run("show", imported, "--page", tmp_path / "none" / "page.html").exit_code == 0  # folders are made
    copy = tmp_path / "copy.h5"
    copy.write_bytes(imported.read_bytes())
    copy.with_suffix(".html").write_text("mine")
    done = run("show", copy)
    assert (
        done.exit_code == 0
        and "No page of thumbnails" in done.output
        and copy.with_suffix(".html").read_text() == "mine"
    )


def test_sets_of_other_makers_and_empty_ones_are_told_too(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "chunk.h5", "w") as file:
        file["images"] = np.random.default_rng(0).normal(size=(60, 3, 12, 12)).astype(np.float32)
        file["z_spec"] = np.where(np.arange(60) < 7, np.nan, 0.1)
        file["parts"] = np.zeros(60, dtype=[("a", "<i8")])
    record = json.loads(run("show", tmp_path / "chunk.h5", "--json").stdout)
    assert (record["bands"], record["pixel_scale"]) == ("g, r, z", "0.262 arcsec")
    assert record["columns"] == {"z_spec": {"type": "number", "missing": 7}} and "parts" in record["left_out"]
    assert "48 of 60" in (tmp_path / "chunk.html").read_text()
    writer = StampWriter(tmp_path / "none.h5", (8, 8))
    writer.finish()
    assert run("show", tmp_path / "none.h5").exit_code == 0
    assert run("show", tmp_path / "absent.h5").exit_code == 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--fit", "stretch"), "crop, shrink, pad"),
        (("--bands", "g,g"), "names no bands"),
        (("--labels", "absent.csv"), "absent.csv"),
        (("--group", "hubble"), "No group"),
        (("--zero-point", "-3"), "zero point"),
    ],
)
def test_wrong_options_make_nothing(folder: Path, tmp_path: Path, options: tuple[str, ...], said: str) -> None:
    done = run("import", folder, "--out", tmp_path / "deep" / "set.h5", *options)
    assert done.exit_code == 1 and said in unwrapped(done.output)
    assert not list(tmp_path.iterdir())


def test_an_import_never_loads_torch(folder: Path, tmp_path: Path) -> None:
    code = f"""
import sys
from backend_ml.cli.main import app
try:
    app(["data", "import", {str(folder)!r}, "--out", {str(tmp_path / "set.h5")!r}])
except SystemExit as end:
    assert not end.code, end.code
assert "torch" not in sys.modules and "lightning" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    with StampSet(tmp_path / "set.h5") as stamps:
        assert len(stamps) == 3
