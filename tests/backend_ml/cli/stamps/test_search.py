"""`galaxyloop search`: by row, image and position, and what cannot be searched for."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import pytest
import typer
from astropy.io import fits
from astropy.wcs import WCS
from numpy.typing import NDArray
from PIL import Image
from typer.testing import CliRunner, Result

from backend_ml.cli.stamps import search
from lvm_training.importing.importer import import_stamps
from lvm_training.index.outliers import Outliers
from lvm_training.model.encoder import Encoder
from lvm_training.parameters.flags import show_galaxies
from lvm_training.pool.embedding import embed_set
from lvm_training.pool.features import Features
from lvm_training.simulated.simulated_set import SimulatedSet, set_path, standardised
from lvm_training.simulated.wanted import UNMEASURED, wanted_prior
from lvm_training.stamps.rendering import Rendering
from lvm_training.stamps.stampset import StampSet, StampWriter
from tests.backend_ml.cli.wrapping import unwrapped
from tests.tiny_encoder import tiny_lvm, write_tiny

SIDE, SCALE = 48, 0.262
PIXELS = np.random.default_rng(2).gamma(1, 0.05, (60, 3, SIDE, SIDE)).astype(np.float32)

Floats = NDArray[np.floating[Any]]

app = typer.Typer()
app.command("search")(search.search)


class Sky(NamedTuple):
    """A pool of two stamp sets with their features, and the encoder."""

    lvm: Path
    features: Path
    sets: tuple[Path, Path]
    shards: tuple[Features, Features]


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(one) for one in arguments])


def found(*arguments: object) -> dict[str, Any]:
    done = run(*arguments, "--json")
    assert done.exit_code == 0, done.output
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def refused(*arguments: object) -> str:
    done = run(*arguments)
    assert done.exit_code == 1 and "Traceback" not in done.output, done.output
    return unwrapped(done.output)


def blobs(rows: slice) -> Floats:
    y, x = np.mgrid[:SIDE, :SIDE] - SIDE / 2
    thin = np.linspace(0.2, 1, len(PIXELS))[rows, None, None]
    light = np.exp(-0.5 * (x**2 + (y / thin) ** 2) / 16)
    pixels = light[:, None] * np.array([0.1, 0.2, 0.3])[:, None, None] + 0.1 * PIXELS[rows]
    return np.asarray(pixels, dtype=np.float32)


def write_set(path: Path, rows: slice) -> Path:
    writer = StampWriter(path, (SIDE, SIDE), pixel_scale=SCALE)
    n = np.arange(len(PIXELS))[rows]
    magnitudes = np.where(n == 1, -99, 17 + n / 100)
    writer.append(blobs(rows), {"ra": 150 + n / 100, "dec": -1.5 - n / 100, "mag_r": magnitudes, "truth": n})
    return writer.finish()


@pytest.fixture(scope="module")
def sky(tmp_path_factory: pytest.TempPathFactory) -> Sky:
    folder = tmp_path_factory.mktemp("sky")
    encoder = Encoder(tiny_lvm(3), Rendering(size=32, field=10.0))
    write_tiny(folder / "lvm", encoder.rendering, lvm=encoder.lvm)
    sets = write_set(folder / "north.h5", slice(0, 40)), write_set(folder / "south.h5", slice(40, 60))
    shards = []
    for path in sets:
        with StampSet(path) as stamps:
            shards.append(embed_set(stamps, encoder, folder / "features"))
    return Sky(folder / "lvm", folder / "features", sets, (shards[0], shards[1]))


def nearest(pool: Floats, query: Floats, k: int) -> list[int]:
    units = pool.astype(float) / np.linalg.norm(pool.astype(float), axis=1, keepdims=True)
    return [int(row) for row in np.argsort(-(units @ query.astype(float)), kind="stable")[:k]]


def test_by_row(sky: Sky) -> None:
    north = sky.shards[0]
    told = found(north.path, "--like", 7, "-k", 5)
    expected = [row for row in nearest(north.matrix, north.matrix[7], 6) if row != 7]
    assert [one["row"] for one in told["stamps"]] == expected[:5]
    assert [one["rank"] for one in told["stamps"]] == [1, 2, 3, 4, 5]
    assert told["encoder"] == north.encoder and told["like"] == "north:7" and told["index"] == "float32"
    assert set(told["stamps"][0]) == {"rank", "set", "row", "similarity"}
    assert len(found(north.path, "--like", "north:7", "-k", 500)["stamps"]) == 39


def test_in_several_shards(sky: Sky) -> None:
    pool = np.concatenate([shard.matrix for shard in sky.shards])
    told = found(sky.features, "--like", "south:2", "-k", 6, "--stamps", sky.sets[0])
    expected = [row for row in nearest(pool, pool[42], 7) if row != 42][:6]
    assert [one["row"] + 40 * (one["set"] == "south") for one in told["stamps"]] == expected
    for one in told["stamps"]:
        assert ("mag_r" in one) == (one["set"] == "north")


def test_the_catalogue_beside_the_stamps(sky: Sky) -> None:
    arguments = (sky.shards[0].path, "--like", 0, "-k", 39, "--stamps", sky.sets[0])
    by_row = {one["row"]: one for one in found(*arguments)["stamps"]}
    assert by_row[12]["ra"] == pytest.approx(150.12) and by_row[12]["dec"] == pytest.approx(-1.62)
    assert by_row[1]["mag_r"] is None, "-99 stands for missing"
    assert "truth" not in by_row[12]
    table = run(*arguments).stdout
    for text in ("rank", "similarity", "mag r", "150.12000", "-1.62000", "17.12"):
        assert text in table
    assert "north" not in table, "one set needs no column"


def write_fits(path: Path, pixels: Floats) -> Path:
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval, wcs.wcs.crpix, wcs.wcs.cdelt = [30, 5], [SIDE / 2 + 0.5] * 2, [-SCALE / 3600, SCALE / 3600]
    header = wcs.to_header()
    header["BANDS"] = "grz"
    fits.writeto(path, pixels, header)
    return path


def test_by_fits_image(sky: Sky, tmp_path: Path) -> None:
    image = write_fits(tmp_path / "mine.fits", blobs(slice(0, 40))[23])
    told = found(sky.shards[0].path, "--like", image, "--encoder", sky.lvm, "-k", 3)
    assert told["like"] == "mine.fits"
    assert told["stamps"][0]["row"] == 23
    assert told["stamps"][0]["similarity"] == pytest.approx(1, abs=1e-4), "rendered as the stamp set was"


@pytest.mark.parametrize("scale", [None, 0.4])
def test_by_picture(sky: Sky, tmp_path: Path, scale: float | None) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for row, picture in enumerate((blobs(slice(0, 12)) * 700).clip(0, 255).astype(np.uint8)):
        Image.fromarray(np.moveaxis(picture, 0, -1)).save(folder / f"{row:02}.png")
    import_stamps(folder, tmp_path / "delivered.h5", pixel_scale=scale)
    with StampSet(tmp_path / "delivered.h5") as stamps:
        shard = embed_set(stamps, Encoder.load(sky.lvm, views=1), tmp_path)
    arguments = ("--like", folder / "05.png", "--encoder", sky.lvm, "--stamps", tmp_path / "delivered.h5", "-k", 2)
    told = found(shard.path, *arguments)
    assert told["stamps"][0]["row"] == 5
    assert told["stamps"][0]["similarity"] == pytest.approx(1, abs=1e-4), "one view, and the set's pixel scale"
    sheet = tmp_path / "found.png"
    if scale is None:
        assert "pixel scale of delivered is unknown" in refused(shard.path, *arguments, "--picture", sheet)
    else:
        assert found(shard.path, *arguments, "--picture", sheet)["picture"] == str(sheet)


def test_by_position(sky: Sky) -> None:
    arguments = (sky.features, "--stamps", sky.sets[0], "--stamps", sky.sets[1], "-k", 4)
    near = found(*arguments, "--like", f"150.45,{-1.95 + 3 / 3600:.6f}")
    assert near["like"] == "south:5"
    assert near["stamps"] == found(*arguments, "--like", "south:5")["stamps"]
    far = refused(*arguments, "--like", f"150.45, {-1.95 + 8 / 3600:.6f}")
    assert "nearest stamp, south:5, is 8.0 arcsec away; 5 are allowed" in far
    assert "nowhere on the sky" in refused(*arguments, "--like", "150.45,-91")
    assert "Give the set with --stamps" in refused(sky.features, "--like", "150.45,-1.95")


def test_by_a_sexagesimal_position(sky: Sky) -> None:
    arguments = (sky.features, "--stamps", sky.sets[0], "--stamps", sky.sets[1], "-k", 4)
    for text in ("10:01:48,-01:57:00", "10 01 48 -01 57 00", "10h01m48s -01d57m00s", "150:27:00,-1:57:00"):
        done = run(*arguments, "--like", text, "--json")
        assert done.exit_code == 0, done.output
        assert json.loads(done.stdout)["like"] == "south:5"
        unit = "degrees" if text.startswith("150") else "right ascension in hours, declination in degrees"
        assert f"is read as {unit}: 150.45000, -1.95000 degrees" in unwrapped(done.stderr)


def test_catalogues_of_other_makers_may_be_text(sky: Sky, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    folder.mkdir()
    path = folder / sky.sets[1].name
    path.write_bytes(sky.sets[1].read_bytes())
    with h5py.File(path, "a") as file:
        rows = len(file["ra"])
        del file["ra"], file["dec"]
        file["ra"] = [f"10:00:{row:02}.0" for row in range(rows - 1)] + ["unknown"]
        file["dec"] = ["-01:57:00"] * rows
        file["z_spec"] = ["0.1", "N/A"] * (rows // 2) + ["x"] * (rows % 2)
    arguments = (sky.shards[1].path, "--stamps", path, "-k", rows)
    told = found(*arguments, "--like", "10:00:03,-01:57:00")
    assert told["like"] == "south:3"
    by_row = {one["row"]: one for one in told["stamps"]}
    assert (by_row[2]["z_spec"], by_row[5]["z_spec"]) == (0.1, None)
    assert by_row[2]["ra"] == pytest.approx(150 + 2 / 240)
    assert by_row[rows - 1]["ra"] is None
    assert run(*arguments, "--like", "3").exit_code == 0


def test_the_picture(sky: Sky, tmp_path: Path) -> None:
    arguments = (sky.shards[0].path, "--like", 3, "-k", 8, "--encoder", sky.lvm, "--picture", tmp_path / "grid.png")
    assert found(*arguments, "--stamps", sky.sets[0])["picture"] == str(tmp_path / "grid.png")
    with Image.open(tmp_path / "grid.png") as image:
        grid = np.asarray(image.convert("RGB")).astype(int)
    assert grid.shape[1] > grid.shape[0], "two rows of six"
    coloured = (grid.max(axis=2) - grid.min(axis=2)) > 30
    assert coloured.mean() > 0.02, "the galaxies are on it"
    assert "needs the stamp set of north" in refused(*arguments)


def test_a_kept_index(sky: Sky, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = (sky.shards[0].path, "--like", 7, "-k", 5)
    plain = found(*arguments)
    assert found(*arguments, "--index", tmp_path / "kept") == plain
    inodes = {path: path.stat().st_ino for path in (tmp_path / "kept").rglob("*.faiss")}
    assert found(*arguments, "--index", tmp_path / "kept") == plain
    assert inodes == {path: path.stat().st_ino for path in (tmp_path / "kept").rglob("*.faiss")} != {}
    monkeypatch.setattr(search, "KEPT_ROWS", 10)
    assert found(*arguments) == plain
    assert (sky.shards[0].path.with_suffix(".index") / "current.json").is_file()


def test_a_folder_with_features_of_two_encoders(sky: Sky, tmp_path: Path) -> None:
    with StampSet(sky.sets[0]) as stamps:
        one = embed_set(stamps, Encoder.load(sky.lvm, views=1), tmp_path)
        embed_set(stamps, Encoder.load(sky.lvm), tmp_path)
    told = found(tmp_path, "--like", 7, "-k", 5, "--encoder", sky.lvm)
    assert told["encoder"] == sky.shards[0].encoder != one.encoder
    third = write_tiny(tmp_path / "third", Rendering(size=32, field=10.0), seed=8)
    assert "Name the folder of one of them" in refused(tmp_path, "--like", 7, "--encoder", third)


def test_the_stamp_set_says_which_of_an_encoders_features_are_meant(sky: Sky, tmp_path: Path) -> None:
    """A pool of one view is found beside a set of eight."""
    pool, other = sky.sets
    with StampSet(pool) as stamps, StampSet(other) as others:
        one = embed_set(stamps, Encoder.load(sky.lvm, views=1), tmp_path)
        eight = embed_set(others, Encoder.load(sky.lvm), tmp_path)
    like = ("--like", "150.07,-1.57", "-k", 5, "--encoder", sky.lvm)
    told = found(tmp_path, *like, "--stamps", pool)
    assert told["encoder"] == one.encoder and told["like"] == "north:7"
    assert found(tmp_path, "--like", "south:2", "-k", 5, "--encoder", sky.lvm)["encoder"] == eight.encoder
    assert "is stamp set" in refused(tmp_path, *like, "--stamps", pool, "--stamps", other)


def test_features_that_were_made_in_another_precision_are_found(sky: Sky, tmp_path: Path) -> None:
    other = write_tiny(tmp_path / "other", Rendering(size=32, field=10.0), seed=9)
    with StampSet(sky.sets[0]) as stamps:
        embed_set(stamps, Encoder.load(other), tmp_path)
        loaded = Encoder.load(sky.lvm)
        rounded = embed_set(stamps, Encoder(loaded.lvm, loaded.rendering, loaded.views, "bf16"), tmp_path)
    assert found(tmp_path, "--like", 7, "-k", 5, "--encoder", sky.lvm)["encoder"] == rounded.encoder


def test_what_cannot_be_searched_for(sky: Sky, tmp_path: Path) -> None:
    north = sky.shards[0].path
    write_tiny(tmp_path / "other", Rendering(size=32, field=10.0), seed=8)
    image = write_fits(tmp_path / "mine.fits", blobs(slice(0, 1))[0])
    torn = tmp_path / "torn.fits"
    torn.write_bytes(image.read_bytes()[:3000])
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "nothing").mkdir()
    for arguments, message in (
        ((north, "--like", "spiral"), "'spiral' is no row, image or position"),
        ((north, "--like", 40), "stamps 0 to 39; stamp 40 was asked for"),
        ((north, "--like", "south:3"), "none is called south"),
        ((sky.features, "--like", 3), "Row 3 of which shard: north, south?"),
        ((north, "--like", tmp_path / "none.png", "--encoder", sky.lvm), "There is no image"),
        ((north, "--like", torn, "--encoder", sky.lvm), "torn.fits"),
        ((north, "--like", tmp_path / "text.png", "--encoder", sky.lvm), "text.png"),
        ((north, "--like", image, "--encoder", tmp_path / "other"), f"of encoder {sky.shards[0].encoder}; that of"),
        ((north, "--like", image, "--encoder", tmp_path / "nothing"), "There is no encoder"),
        ((north, "--like", 3, "--stamps", sky.sets[1]), "south.h5 is stamp set"),
        ((north, "--like", 3, "--stamps", tmp_path / "none.h5"), "no stamp set"),
        ((tmp_path / "none.npy", "--like", 3), "no complete features"),
        ((tmp_path / "nothing", "--like", 3), "There are no features in"),
    ):
        assert message in refused(*arguments)


@pytest.fixture
def store(sky: Sky, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store without simulated galaxies, of which 120 are drawn where they are needed."""
    monkeypatch.setenv("GALAXYLOOP_STORE", str(tmp_path))
    monkeypatch.setenv("GALAXYLOOP_SIMULATED_STAMPS", "120")
    return tmp_path


def test_by_what_the_simulator_draws(sky: Sky, store: Path) -> None:
    north = sky.shards[0]
    told = found(north.path, "--like-simulated", "edge-on", "-k", 6, "--encoder", sky.lvm)
    assert told["like"] == "simulated edge-on" and told["encoder"] == north.encoder
    assert told["measured"] == UNMEASURED
    kept = SimulatedSet.load(set_path(store / "simulated", north.encoder), north.encoder)
    assert kept is not None
    # by hand: the prior of simulated stamps on features standardised by their own set
    prior = wanted_prior(kept, "edge-on")
    odds = prior.log_odds(standardised(north.matrix.astype(np.float32))) @ [-1, 1]
    assert [one["row"] for one in told["stamps"]] == np.argsort(-odds, kind="stable")[:6].tolist()
    likely = [one["probability"] for one in told["stamps"]]
    assert likely == sorted(likely, reverse=True) and likely[-1] > 0 and likely[0] < 1
    written = set_path(store / "simulated", north.encoder).stat().st_mtime_ns
    picture = store / "discs.png"
    done = run(
        *(sky.features, "--like-simulated", "edge-on", "-k", 5, "--encoder", sky.lvm, "--picture", picture),
        *("--stamps", sky.sets[0], "--stamps", sky.sets[1]),
    )
    assert done.exit_code == 0 and "probability" in done.stdout, done.output
    assert f"simulated edge-on: {UNMEASURED}" in unwrapped(done.stderr)
    assert set_path(store / "simulated", north.encoder).stat().st_mtime_ns == written, "drawn once"
    with Image.open(picture) as drawn:
        assert min(drawn.size) > 300


def test_what_the_simulator_does_not_draw(sky: Sky, store: Path) -> None:
    said = refused(sky.features, "--like-simulated", "rings", "--encoder", sky.lvm)
    assert "draws no 'rings'" in said and "ring, bar, merger" in said
    for both in ((), ("--like", 3, "--like-simulated", "ring")):
        assert "one of --like, --like-simulated and --unusual" in refused(sky.features, *both)
    (store / "simulated").write_text("a file where a folder is to be")
    assert run(sky.features, "--like-simulated", "ring", "--encoder", sky.lvm).exit_code == 1


def meets(row: int) -> bool:
    """Whether a stamp of either set is within `FILTER`, by hand."""
    return 17.05 <= 17 + row / 100 < 17.5 and row != 1


FILTER = ("--where", "mag_r>=17.05", "--where", "mag_r<17.5")


def test_a_filtered_search_is_the_search_of_what_fits(sky: Sky) -> None:
    pool = np.concatenate([shard.matrix for shard in sky.shards]).astype(float)
    sets = ("--stamps", sky.sets[0], "--stamps", sky.sets[1])
    for k in (1, 7, 60):
        told = found(sky.features, "--like", "south:2", "-k", k, *sets, *FILTER)
        chosen = [row for row in range(60) if meets(row) and row != 42]
        order = nearest(pool[chosen], pool[42], k)
        assert [one["row"] + 40 * (one["set"] == "south") for one in told["stamps"]] == [chosen[i] for i in order]
        assert told["searched"] == 45 and "index" not in told
    around = found(sky.features, "--like", "south:2", "-k", 60, *sets, "--where", "cone(150.1,-1.6,0.0205)")
    assert {one["row"] for one in around["stamps"]} == {9, 10, 11}


def test_a_filtered_search_by_image_and_by_what_is_simulated(sky: Sky, store: Path) -> None:
    image = write_fits(store / "mine.fits", blobs(slice(0, 40))[23])
    arguments = (sky.shards[0].path, "--encoder", sky.lvm, "--stamps", sky.sets[0], "-k", 60, *FILTER)
    told = found(*arguments, "--like", image)
    assert told["stamps"][0]["row"] == 23 and {one["row"] for one in told["stamps"]} == set(range(5, 40))
    told = found(*arguments, "--like-simulated", "edge-on")
    everything = found(sky.shards[0].path, "--like-simulated", "edge-on", "-k", 60, "--encoder", sky.lvm)
    expected = [one["row"] for one in everything["stamps"] if meets(one["row"])]
    assert [one["row"] for one in told["stamps"]] == expected and told["searched"] == 35


def test_filters_that_cannot_be(sky: Sky) -> None:
    arguments = (sky.features, "--like", "south:2", "--stamps", sky.sets[0])
    assert "needs the catalogue of south. What to do: Give its stamp set with --stamps" in refused(*arguments, *FILTER)
    both = (*arguments, "--stamps", sky.sets[1])
    assert "No stamp of the pool fits 'mag_r<2'" in refused(*both, "--where", "mag_r<2")
    assert "no column 'mag_q'" in refused(*both, "--where", "mag_q<2")


def test_what_is_wrong_with_a_pool_is_said_and_the_rest_is_searched(sky: Sky, tmp_path: Path) -> None:
    rows = np.array(sky.shards[1].matrix)
    rows[5] = np.nan
    rows[9] = rows[2]
    for shard, matrix in zip(sky.shards, (np.array(sky.shards[0].matrix), rows), strict=True):
        np.save(tmp_path / f"{shard.name}.npy", matrix)
        (tmp_path / f"{shard.name}.json").write_text(shard.path.with_suffix(".json").read_text())
    (tmp_path / "lost.npy").write_bytes(b"")
    (tmp_path / "torn.json").write_text(sky.shards[0].path.with_suffix(".json").read_text())
    (tmp_path / "torn.npy").write_bytes((tmp_path / "north.npy").read_bytes()[:500])
    done = run(tmp_path, "--like", "south:2", "-k", 60, "--json")
    assert done.exit_code == 0, done.output
    said = unwrapped(done.stderr)
    assert "There are no complete features at" in said and "lost.npy. It was left out." in said
    assert "torn.npy is truncated" in said
    assert "1 of 20 rows of south are not finite: 5. They were left out." in said
    assert "same picture twice" not in said, "the row itself is not among what is found"
    told = json.loads(done.stdout)["stamps"]
    assert (told[0]["set"], told[0]["row"]) == ("south", 9) and len(told) == 58
    again = run(tmp_path, "--like", "north:2", "-k", 60, "--json")
    assert "south:2 and south:9 have the same features: the same picture twice" in unwrapped(again.stderr)


def test_what_is_unusual(sky: Sky, tmp_path: Path) -> None:
    north = sky.shards[0]
    scores = Outliers.fit(north.matrix).scores(north.matrix)
    told = found(north.path, "--unusual", "-k", 5)
    assert [one["row"] for one in told["stamps"]] == np.argsort(-scores, kind="stable")[:5].tolist()
    assert [one["unusual"] for one in told["stamps"]] == pytest.approx(-np.sort(-scores)[:5], rel=1e-4)
    with StampSet(sky.sets[0]) as stamps:
        shown = show_galaxies(stamps.pixels(np.arange(40)))
    looked = found(north.path, "--unusual", "-k", 3, "--stamps", sky.sets[0])
    assert [one["row"] for one in looked["stamps"]] == [row for row in np.argsort(-scores) if shown[row]][:3]
    fewer = found(sky.features, "--encoder", sky.lvm, "--unusual", "-k", 100)
    assert len(fewer["stamps"]) == 60 and {one["set"] for one in fewer["stamps"]} == {"north", "south"}
    picture = tmp_path / "unusual.png"
    done = run(north.path, "--unusual", "-k", 2, "--encoder", sky.lvm, "--stamps", sky.sets[0], "--picture", picture)
    assert done.exit_code == 0 and picture.is_file(), done.output
