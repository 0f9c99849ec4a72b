"""Objects of a lens campaign on the sky: what people drew lies where they drew it, by an independent WCS."""

from pathlib import Path

import h5py
import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS
from psycopg.types.json import Jsonb

from backend_ml.catalogue.publish import Published, publish, read_source
from backend_ml.store import versions
from backend_ml.store.campaigns import add_campaign
from backend_ml.store.database import Database, query, query_many
from backend_ml.store.records import Campaign
from lvm_training.errors import CheckpointError
from tests.backend_ml.catalogue.test_catalogue import forget_sets, say, silent
from tests.backend_ml.conftest import MORPHOLOGY
from tests.backend_ml.lenses import OBJECTS, RENDERING, N, annotation, one_arc
from tests.backend_ml.sky import write_stamps

SCALE, SIDE = 0.262, 40  # arcsec and pixels of a stamp of `write_stamps`


@pytest.fixture
def bare(database: Database, tmp_path: Path) -> Campaign:
    """A campaign of lenses without a detector, which takes seconds: task 100 + i shows stamp i."""
    stamps = write_stamps(tmp_path, 8)
    with database.transaction() as connection:
        query(connection, "put_stamp_set", name="sky", path=str(stamps), digest="d", features="")
        values = {**MORPHOLOGY, "kind": "lenses", "classes": OBJECTS, "policy": "box-margin", "rendering": RENDERING}
        made = add_campaign(connection, **values, name="Bare", project=9)
        task = {"campaign": made.id, "stamp_set": "sky", "audit": False}
        query_many(connection, "put_task", [{**task, "task": 100 + i, "stamp_id": i} for i in range(8)])
    return made


def draw(database: Database, campaign: Campaign) -> None:
    """Two annotations of stamp 3, of which the newer counts, a rejected stamp, and an odd one."""
    for task, number, result, grade in (
        (103, 1, annotation(one_arc(12), "B"), "B"),
        (103, 2, annotation(one_arc(4), "A"), "A"),
        (104, 1, annotation(None, "not a lens"), "not a lens"),
        (105, 1, [{"type": "rectanglelabels", "value": 3}], None),
        (106, 1, 7, None),
    ):
        say(database, campaign, task, grade, number, number, result=Jsonb(result), action="labelled")


@pytest.fixture
def drawn(database: Database, bare: Campaign) -> Campaign:
    """The same with what people drew."""
    draw(database, bare)
    return bare


def write(database: Database, campaign: Campaign, out: Path, tmp_path: Path, *, answers: bool) -> Published:
    source = read_source(database, campaign, tmp_path / "store", answers=answers)
    return publish(database, source, out, silent)


def sky(row: int) -> WCS:
    """The WCS of a stamp, made here: north up, row 0 in the south."""
    made = WCS(naxis=2)
    made.wcs.ctype, made.wcs.crval = ["RA---TAN", "DEC--TAN"], [150 + row / 100, -1.5 - row / 100]
    made.wcs.crpix, made.wcs.cdelt = [SIDE / 2 + 0.5] * 2, [-SCALE / 3600, SCALE / 3600]
    return made


def test_people_and_model_in_a_second_extension(database: Database, lenses: Campaign, tmp_path: Path) -> None:
    draw(database, lenses)
    out = tmp_path / "lenses.fits"
    said = write(database, lenses, out, tmp_path, answers=True)
    with fits.open(out) as hdus:
        hdus.verify("exception")
        assert [hdu.name for hdu in hdus[1:]] == ["GALAXIES", "OBJECTS"]
    galaxies, objects = Table.read(out, hdu=1), Table.read(out, hdu=2)
    assert len(galaxies) == N and said.objects == len(objects)
    assert [str(galaxies["label"][row]) for row in (3, 4, 6)] == ["A", "not a lens", "--"]
    assert galaxies["n_annotations"][3] == 2 and galaxies["votes_a"][3] == 1
    assert all(galaxies["score_arc"] >= 0) and galaxies["score_arc"].max() > 0.5
    assert any("annotation 1061 is left out" in note for note in said.notes)
    assert any("annotation 1051: " in note for note in said.notes)
    model = objects[[str(one) == "model" for one in objects["source"]]]
    assert len(model) >= N // 2 and set(map(str, model["annotator"])) == {"--"} and all(model["score"] >= 0.5)
    best = {int(row): float(score) for row, score in zip(galaxies["stamp_id"], galaxies["score_arc"], strict=True)}
    for row in model[[str(one) == "arc" for one in model["class"]]]:
        assert row["score"] <= best[row["stamp_id"]] + 1e-5


def test_a_box_lies_where_it_was_drawn(database: Database, drawn: Campaign, tmp_path: Path) -> None:
    out = tmp_path / "lenses.ecsv"
    said = write(database, drawn, out, tmp_path, answers=False)
    assert [path.name for path in said.files] == ["lenses.ecsv", "lenses_objects.ecsv"]
    table = Table.read(tmp_path / "lenses_objects.ecsv", format="ascii.ecsv")
    assert [(str(row["class"]), str(row["source"]), int(row["stamp_id"])) for row in table] == [
        ("arc", "people", 3),
        ("deflector", "people", 3),
    ]
    arc = table[0]
    assert (str(arc["grade"]), str(arc["annotator"]), str(arc["id"])) == ("A", "2", "sky/3")
    # 6 x 10 pixels of a picture of 32, which shows the whole stamp of 40
    unit = SIDE / RENDERING.size
    edges = np.array([4, 32 - 14, 10, 32 - 4]) * unit
    np.testing.assert_allclose([arc[name] for name in ("x0", "y0", "x1", "y1")], edges, atol=0.1)
    np.testing.assert_allclose([arc["width"], arc["height"]], [6 * unit * SCALE, 10 * unit * SCALE], atol=0.03)
    assert arc["mask_pixels"] == pytest.approx(60 * unit**2, rel=0.05)
    assert arc["mask_area"] == pytest.approx(60 * (unit * SCALE) ** 2, rel=0.05)
    x, y = (edges[0] + edges[2]) / 2 - 0.5, (edges[1] + edges[3]) / 2 - 0.5
    np.testing.assert_allclose([arc["ra"], arc["dec"]], sky(3).wcs_pix2world(x, y, 0), atol=0.03 / 3600)
    assert abs(arc["pa"]) < 0.1 and table["width"].unit == "arcsec" and table["ra"].unit == "deg"


def test_a_stamp_without_position_has_boxes_in_pixels(database: Database, drawn: Campaign, tmp_path: Path) -> None:
    forget_sets(database)
    with h5py.File(tmp_path / "sky.h5", "r+") as file:
        file["ra"][3] = np.nan
    write(database, drawn, tmp_path / "x.csv", tmp_path, answers=False)
    table = Table.read(tmp_path / "x_objects.csv", format="ascii.csv")
    assert (
        all(table["ra"].mask) and all(table["pa"].mask) and all(table["width"] > 0) and all(table["x1"] > table["x0"])
    )


def test_nothing_drawn_is_an_empty_table(database: Database, bare: Campaign, tmp_path: Path) -> None:
    for suffix in (".fits", ".vot", ".ecsv", ".csv", ".parquet"):
        said = write(database, bare, tmp_path / f"x{suffix}", tmp_path, answers=False)
        assert said.objects == 0
    assert len(Table.read(tmp_path / "x.fits", hdu=2)) == 0
    assert len(Table.read(tmp_path / "x_objects.vot", format="votable")) == 0


def test_detectors_that_are_gone(database: Database, drawn: Campaign, tmp_path: Path) -> None:
    with database.transaction() as connection:
        about = {"parent": None, "seed": 0, "last_event": 0, "labels": 0, "audit_labels": 0, "revision": ""}
        about |= {"version": "lenses-1", "detector": "0" * 12, "encoder": drawn.encoder, "metrics": {}}
        versions.add_version(connection, drawn, **about)
        versions.promote(connection, drawn, "lenses-1", "created")
    with pytest.raises(CheckpointError, match="--no-answers"):
        read_source(database, drawn, tmp_path / "nowhere", answers=True)
