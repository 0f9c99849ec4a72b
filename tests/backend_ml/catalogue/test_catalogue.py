"""The catalogue of a campaign in a real database, against a naive reading of its events."""

import csv
import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from astropy.io.votable.ucd import parse_ucd
from astropy.table import Table
from typer.testing import CliRunner

from backend_ml.catalogue.formats import write_sheets
from backend_ml.catalogue.publish import Published, Source, publish, read_source
from backend_ml.catalogue.summary import Summary, summarise
from backend_ml.catalogue.tables.boxes import GEOMETRY
from backend_ml.catalogue.tables.galaxies import read_galaxies
from backend_ml.catalogue.tables.probabilities import blind_labels
from backend_ml.catalogue.tables.table import NoAnswers, Places, Probable, galaxy_sheet
from backend_ml.cli import main
from backend_ml.label_studio.regions.choices import ASIDE, UNSURE
from backend_ml.queue import refill, selections
from backend_ml.queue.selections import Selected, Selection
from backend_ml.store.campaigns import add_campaign
from backend_ml.store.database import Database, query
from backend_ml.store.records import Campaign
from lvm_training.errors import GalaxyLoopError, StampError
from lvm_training.pool.features import FeaturesError
from tests.backend_ml.conftest import CLASSES, MORPHOLOGY
from tests.backend_ml.learned import NOWHERE
from tests.backend_ml.sky import write_features, write_stamps

ROUND, SPIRAL = CLASSES[0], CLASSES[4]


@contextmanager
def silent(_: str) -> Iterator[Any]:
    yield lambda *_: None


def nothing(*_: object) -> None:
    """Progress that nobody sees."""


def say(
    database: Database, campaign: Campaign, task: int, label: str | None, annotator: int, at: int = 0, **other: Any
) -> None:
    """An annotation of a task; None skips it."""
    values = {
        "campaign": campaign.id,
        "action": "skipped" if label is None else "labelled",
        "task": task,
        "annotation": task * 10 + annotator,
        "label": label,
        "annotator": annotator,
        "result": "[]",
        "parent_prediction": None,
        "lead_time": 1.0,
        "source": "webhook",
        "happened_at": f"2026-01-01T00:00:{at:02}Z",
    }
    database.rows("put_annotation_event", **values | other)


def write(database: Database, campaign: Campaign, out: Path, *, answers: bool = True) -> Published:
    source = read_source(database, campaign, NOWHERE, answers=answers)
    return publish(database, source, out, silent)


def forget_sets(database: Database) -> None:
    """Close the stamp sets that are open, so that one can be changed."""
    database.stamp_sets.find("sky").close()
    vars(database).pop("stamp_sets")


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def catalogue(database: Database, campaign: Campaign, tmp_path: Path, *, answers: bool = True) -> list[dict[str, str]]:
    out = tmp_path / "catalogue.csv"
    write(database, campaign, out, answers=answers)
    return rows_of(out)


@pytest.fixture
def labelled(database: Database, campaign: Campaign, head: str) -> Campaign:
    """Five starting labels, a majority, a tie, an unsure one, a skip, an odd annotation, a deleted task."""
    say(database, campaign, 106, SPIRAL, 1, 1)
    say(database, campaign, 106, ROUND, 2, 2)
    say(database, campaign, 106, SPIRAL, 3, 3)
    say(database, campaign, 107, ROUND, 1, 4)
    say(database, campaign, 107, SPIRAL, 2, 5)
    say(database, campaign, 108, UNSURE, 1, 6)
    say(database, campaign, 109, None, 2, 7)
    say(database, campaign, 110, "ring / α", 1, 8)
    say(database, campaign, 105, SPIRAL, 1, 9)
    with database.transaction() as connection:
        query(connection, "put_set_aside", campaign=campaign.id, annotation=9, task=109, reason="odd")
        query(connection, "delete_tasks", campaign=campaign.id, tasks=[105])
        chosen = Selection(source="push", policy="margin", seed=1, batch=2, candidates=9, last_event=5)
        stamps = [
            Selected(stamp_set="sky", stamp_id=5, task_id=106, propensity=0.25),
            Selected(stamp_set="sky", stamp_id=9, task_id=110, propensity=0.1, audit=True),
        ]
        early = selections.record(connection, campaign, chosen, stamps, served=True)
        connection.execute("UPDATE selection SET served_at = '2025-12-31' WHERE id = %s", (early.id,))
        later = replace(chosen, policy="random")
        stamps = [replace(stamps[0], propensity=0.5), Selected(stamp_set="sky", stamp_id=8, propensity=0.75)]
        selections.record(connection, campaign, later, stamps, served=True)
        hidden = [Selected(stamp_set="sky", stamp_id=7, propensity=0.9)]
        selections.record(connection, campaign, chosen, hidden, served=False)
    return campaign


def test_one_row_a_galaxy_as_the_events_say(database: Database, labelled: Campaign, tmp_path: Path) -> None:
    rows = catalogue(database, labelled, tmp_path)
    assert [row["id"] for row in rows] == [f"sky/{i}" for i in range(10)]
    with database.transaction() as connection:
        events = connection.execute("SELECT * FROM label_event ORDER BY id").fetchall()
    votes: dict[int, Counter[str]] = defaultdict(Counter)
    for event in events:
        if event["label"] is not None and event["task_id"] != 105:
            votes[event["stamp_id"] if event["task_id"] is None else event["task_id"] - 101][event["label"]] += 1
    slugs = {
        ROUND: "round_smooth", "in-between smooth": "in_between_smooth", "cigar-shaped smooth": "cigar_shaped_smooth",
        "edge-on disc": "edge_on_disc", SPIRAL: "spiral", UNSURE: "unsure", ASIDE[1]: "artefact_not_a_galaxy",
        "ring / α": "ring_alpha",
    }  # fmt: skip
    for i, row in enumerate(rows):
        assert {name: int(row[f"votes_{slug}"]) for name, slug in slugs.items()} == {
            name: votes[i][name] for name in slugs
        }
        assert int(row["n_votes"]) == votes[i].total()
        assert (float(row["ra"]), float(row["dec"])) == (150 + i / 100, -1.5 - i / 100)
    assert rows[5]["label"] == SPIRAL and float(rows[5]["agreement"]) == pytest.approx(2 / 3)
    assert rows[5]["n_annotators"] == "3" and rows[5]["labelled_at"] == "2026-01-01T00:00:03+00:00"
    # of equals the latest
    assert rows[6]["label"] == SPIRAL and rows[6]["label_rule"] == "majority" and rows[6]["agreement"] == "0.5"
    assert rows[7]["label"] == UNSURE and rows[9]["label"] == "ring / α"
    assert (rows[8]["label"], rows[8]["n_skipped"], rows[8]["n_set_aside"], rows[8]["agreement"]) == ("", "1", "1", "")
    assert [row["audit"] for row in rows] == ["False"] * 9 + ["True"]


def test_a_deleted_task_is_of_the_pool_no_more(database: Database, labelled: Campaign, tmp_path: Path) -> None:
    rows = catalogue(database, labelled, tmp_path)
    assert [row["in_pool"] for row in rows] == ["True"] * 4 + ["False"] + ["True"] * 5
    # the starting label of its galaxy stays, what was said in the task does not
    assert rows[4]["label"] == SPIRAL and rows[4]["n_votes"] == "1" and rows[4]["n_annotations"] == "0"


def test_what_chose_a_galaxy_before_it_was_labelled(database: Database, labelled: Campaign, tmp_path: Path) -> None:
    rows = catalogue(database, labelled, tmp_path)
    told = [(row["selected_by"], row["propensity"], row["selection"]) for row in rows]
    assert told[5] == ("margin", "0.25", "push") and told[9] == ("audit slice", "0.1", "push")
    assert told[8] == ("random", "0.75", "push") and told[7] == ("", "", "") == told[0]


def test_probabilities_are_the_heads_with_errors(
    database: Database, labelled: Campaign, head: str, tmp_path: Path
) -> None:
    rows = catalogue(database, labelled, tmp_path)
    for i, row in enumerate(rows):
        p = [float(value) for name, value in row.items() if name.startswith("prob_")]
        errors = [float(value) for name, value in row.items() if name.startswith("err_prob_")]
        assert sum(p) == pytest.approx(1, abs=1e-5) and len(p) == len(errors) == 5
        assert row["predicted"] == CLASSES[i % 5] == CLASSES[int(np.argmax(p))]
        assert all(0 < error < 0.5 for error in errors) and row["model_version"] == head


def test_every_format_says_the_same(database: Database, labelled: Campaign, tmp_path: Path) -> None:
    expected = catalogue(database, labelled, tmp_path)
    for suffix, options in (
        (".fits", {"hdu": 1}),
        (".vot", {"format": "votable", "use_names_over_ids": True}),
        (".ecsv", {"format": "ascii.ecsv"}),
        (".parquet", {"format": "parquet"}),
    ):
        out = tmp_path / f"x{suffix}"
        write(database, labelled, out)
        table = Table.read(out, **options)
        assert table.colnames == list(expected[0])
        for row, other in zip(expected, table, strict=True):
            for name, text in row.items():
                value = other[name]
                if text in ("True", "False"):
                    assert bool(value) is (text == "True"), (suffix, name)
                elif value is np.ma.masked or (isinstance(value, float) and np.isnan(value)):
                    assert text == "", (suffix, name)
                elif isinstance(value, str):
                    assert value == (text.replace("α", r"\u03b1") if suffix == ".fits" else text)
                else:
                    assert float(value) == float(text), (suffix, name)
        if suffix == ".vot":
            assert table["ra"].unit == "deg"


def test_the_header_says_what_made_it(database: Database, labelled: Campaign, head: str, tmp_path: Path) -> None:
    out = tmp_path / "x.ecsv"
    write(database, labelled, out)
    told = Table.read(out, format="ascii.ecsv").meta
    assert told["campaign"] == "Test" and told["model_version"] == head and told["consensus"] == "majority"
    assert "fewer than 30 blind labels" in told["calibration"] and "Laplace" in told["probability_errors"]
    assert "2405.10890" in told["citation"] and told["date"].startswith("20") and told["software_revision"]


def test_units_and_ucds_are_of_the_vocabulary(database: Database, labelled: Campaign) -> None:
    source = read_source(database, labelled, NOWHERE, answers=True)
    assert source.probabilities is not None
    answers = Probable(source.probabilities, CLASSES)
    sheet = galaxy_sheet(source.galaxies, Places(source.galaxies, source.sets), answers, [], nothing)
    for column in (*sheet.columns, *GEOMETRY):
        assert parse_ucd(column.ucd, check_controlled_vocabulary=True), column.name


def test_a_campaign_that_nobody_labelled(database: Database, campaign: Campaign, tmp_path: Path) -> None:
    out = tmp_path / "x.csv"
    said = write(database, campaign, out)
    assert said.labelled == 0 and said.galaxies == 10 and said.objects is None
    assert "nobody has labelled yet" in said.notes and any("no model answered" in note for note in said.notes)
    rows = rows_of(out)
    assert not any(name.startswith("prob_") for name in rows[0]) and {row["label"] for row in rows} == {""}
    told = summarise(read_source(database, campaign, NOWHERE, answers=True).galaxies, None, nothing)
    assert told.rows[0]["fraction"] is None and "no galaxy of the audit slice is labelled" in told.notes[0]


def test_a_closed_campaign(database: Database, labelled: Campaign, tmp_path: Path) -> None:
    database.rows("close_campaign", campaign=labelled.id)
    assert len(catalogue(database, labelled, tmp_path)) == 10


def test_features_that_are_gone(database: Database, labelled: Campaign, tmp_path: Path) -> None:
    database.rows(
        "put_stamp_set", name="sky", path=str(tmp_path / "sky.h5"), digest="d", features=str(tmp_path / "no.npy")
    )
    out = tmp_path / "x.fits"
    with pytest.raises(FeaturesError) as caught:
        write(database, labelled, out)
    assert "--no-answers" in str(caught.value) and not out.exists()
    assert len(catalogue(database, labelled, tmp_path, answers=False)) == 10


def test_features_that_are_not_finite(database: Database, labelled: Campaign, tmp_path: Path) -> None:
    matrix = np.load(tmp_path / "sky.npy", mmap_mode="r+")
    matrix[7] = np.nan
    matrix.flush()
    rows = catalogue(database, labelled, tmp_path)
    empty = [row for row in rows if row["prob_spiral"] == row["err_prob_spiral"] == row["predicted"] == ""]
    assert [row["id"] for row in empty] == ["sky/7"]


def test_a_stamp_set_that_moved(database: Database, labelled: Campaign, tmp_path: Path) -> None:
    (tmp_path / "sky.h5").rename(tmp_path / "elsewhere.h5")
    with pytest.raises(StampError, match=r"not where it was.*explore"):
        write(database, labelled, tmp_path / "x.csv")
    assert not (tmp_path / "x.csv").exists()


def test_a_stamp_set_that_is_another_one(database: Database, labelled: Campaign, tmp_path: Path) -> None:
    (tmp_path / "sky.h5").unlink()
    write_stamps(tmp_path, 6)
    with pytest.raises(StampError, match="has 6 stamps; the campaign knows of stamp 9"):
        write(database, labelled, tmp_path / "x.csv", answers=False)


def test_a_stamp_set_that_was_mended_is_said(database: Database, labelled: Campaign, tmp_path: Path) -> None:
    out = tmp_path / "x.ecsv"
    # the fixture registers another digest than the file's
    assert any("was mended or replaced" in note for note in write(database, labelled, out).notes)
    assert "was mended or replaced" in Table.read(out, format="ascii.ecsv").meta["notes"]


def test_positions_and_names_of_any_kind(database: Database, labelled: Campaign, tmp_path: Path) -> None:
    forget_sets(database)
    with h5py.File(tmp_path / "sky.h5", "r+") as file:
        file["ra"][:] = [np.nan, -99, 400, 150, -1, 150, 150, 150, 150, 150]
        file["file"] = np.array([f'a/{i} é,\n"x".fits' for i in range(10)], dtype=h5py.string_dtype())
    rows = catalogue(database, labelled, tmp_path)
    assert [row["ra"] for row in rows[:5]] == ["", "", "", "150.0", "359.0"]
    assert [row["dec"] for row in rows[:3]] == ["", "", ""]
    assert rows[3]["name"] == 'a/3 é,?"x".fits'
    forget_sets(database)
    with h5py.File(tmp_path / "sky.h5", "r+") as file:
        del file["ra"], file["file"]
    rows = catalogue(database, labelled, tmp_path)
    assert {(row["ra"], row["dec"], row["name"]) for row in rows} == {("", "", "")}


def test_labels_of_other_stamp_sets_follow(database: Database, labelled: Campaign, tmp_path: Path) -> None:
    other = write_stamps(tmp_path, 4, "more")
    database.rows("put_stamp_set", name="more", path=str(other), digest="d", features=str(write_features(other)))
    database.rows("put_snapshot_label", campaign=labelled.id, stamp_set="more", stamp_id=2, label=SPIRAL)
    rows = catalogue(database, labelled, tmp_path)
    assert (rows[-1]["id"], rows[-1]["label"], rows[-1]["in_pool"]) == ("more/2", SPIRAL, "False")
    assert rows[-1]["predicted"] == CLASSES[2] and len(rows) == 11


def test_a_pool_larger_than_its_project(database: Database, labelled: Campaign, tmp_path: Path) -> None:
    with database.transaction() as connection:
        connection.execute("DELETE FROM task WHERE task_id IN (102, 103)")
        # rows 1 and 2 are no tasks yet, and row 3 is none of the pool
        rows = np.array([0, 1, 2, 4, 5, 6, 7, 8, 9])
        refill.put_pool(connection, labelled, rows, 10, size=4, refill_below=2)
    told = {row["id"]: row for row in catalogue(database, labelled, tmp_path)}
    assert [name for name, row in told.items() if row["in_pool"] == "False"] == ["sky/3", "sky/4"]
    assert told["sky/1"]["predicted"] == CLASSES[1] and told["sky/1"]["selected_by"] == ""
    assert summary_of(database, labelled).about["pool"] == 8


def test_a_pool_passes_in_blocks(
    database: Database, labelled: Campaign, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = catalogue(database, labelled, tmp_path)
    monkeypatch.setattr("backend_ml.catalogue.tables.galaxies.BLOCK", 3)
    assert catalogue(database, labelled, tmp_path) == whole


@pytest.fixture
def search(database: Database, campaign: Campaign) -> Campaign:
    """A search that is not in Label Studio, with marks of two people."""
    with database.transaction() as connection:
        values = {**MORPHOLOGY, "kind": "interest", "classes": ("no", "yes"), "policy": "loop", "audit_fraction": 0.0}
        made = add_campaign(connection, **values, name="Rings")
        for stamp, label, person in ((0, "yes", "Ana"), (5, "yes", "Ana"), (1, "no", "Bo"), (0, "yes", "Bo")):
            common = {"campaign": made.id, "action": "labelled", "stamp_set": "sky", "annotator": None}
            query(connection, "put_label", **common, stamp_id=stamp, label=label, person=person)
        example = {"name": "ring.jpg", "person": "Ana", "features": np.zeros(16, "<f4").tobytes()}
        query(connection, "put_example", campaign=made.id, **example)
    # no worker refits it: what its labels make answers
    return made


def test_a_search_covers_its_whole_stamp_set(database: Database, search: Campaign, tmp_path: Path) -> None:
    out = tmp_path / "x.ecsv"
    write(database, search, out)
    table = Table.read(out, format="ascii.ecsv")
    assert len(table) == 10 and all(table["in_pool"]) and table.meta["examples"] == "ring.jpg"
    assert [str(label) for label in table["label"][[0, 1, 5]]] == ["yes", "no", "yes"]
    assert table["n_annotators"][0] == 2 and table["votes_yes"][0] == 2
    assert table["prob_yes"][5] > table["prob_yes"][1] and all(table["err_prob_yes"] > 0)
    np.testing.assert_allclose(table["err_prob_yes"], table["err_prob_no"])


def summary_of(database: Database, campaign: Campaign, **options: bool) -> Summary:
    source: Source = read_source(database, campaign, NOWHERE, answers=True)
    return summarise(source.galaxies, source.probabilities, nothing, **options)


def test_a_summary_tells_what_it_rests_on(database: Database, labelled: Campaign) -> None:
    told = summary_of(database, labelled)
    (ring,) = (row for row in told.rows if row["class"] == "ring / α")
    assert ring["audit"] == 1 and ring["fraction"] == 1 and ring["low"] < 0.3 and ring["high"] == 1
    assert told.about["pool"] == 9 and told.about["audit_labels"] == 1 and told.about["labels"] == 9
    said = " ".join(told.notes)
    assert "fewer than 20 blind labels" in said and "all blind labels are ring / α" in said
    assert f"nobody has labelled one: {ASIDE[1]}" in said
    assert {row["class"] for row in told.rows} >= set(ASIDE)
    assert not {row["class"] for row in summary_of(database, labelled, without_aside=True).rows} & set(ASIDE)


def test_votes_that_disagree_and_skips_of_the_audit_slice_are_said(database: Database, labelled: Campaign) -> None:
    say(database, labelled, 110, SPIRAL, 2, 20)
    assert any("votes disagree on 1 galaxies" in note for note in summary_of(database, labelled).notes)
    with database.transaction() as connection:
        connection.execute("UPDATE task SET audit = true WHERE task_id = 109")
    assert {"1 galaxies of the audit slice skipped: they are left out"} <= set(summary_of(database, labelled).notes)


def test_a_starting_label_on_the_audit_slice_is_no_blind_one(database: Database, labelled: Campaign) -> None:
    def blind() -> list[int]:
        with database.transaction() as connection:
            return blind_labels(read_galaxies(connection, labelled))[0].tolist()

    before = blind()
    with database.transaction() as connection:
        started = query(connection, "votes", campaign=labelled.id)
        rows = [row["stamp_id"] for row in started if row["given"] != "annotation"]
        assert rows
        connection.execute("UPDATE task SET audit = true WHERE stamp_id = ANY(%s)", (rows,))
    assert blind() == before
    say(database, labelled, 101 + rows[0], SPIRAL, 1, 21)
    assert blind() == sorted({*before, rows[0]})


def test_the_pool_of_a_search_with_an_audit_slice_is_its_tasks(database: Database, labelled: Campaign) -> None:
    with database.transaction() as connection:
        before = read_galaxies(connection, labelled, total=1000).pool.tolist()
        chosen = Selection(source="round", policy="margin", seed=1, batch=2, candidates=9, last_event=5)
        selections.record(connection, labelled, chosen, [], served=True)
        assert read_galaxies(connection, labelled, total=1000).pool.tolist() == before
        connection.execute("UPDATE task SET audit = false")
        assert len(read_galaxies(connection, labelled, total=1000).pool) == 999, "all but the deleted one"


@pytest.fixture
def command(database: Database, labelled: Campaign, monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    monkeypatch.setenv("GALAXYLOOP_DATABASE_URL", database.url)
    return CliRunner()


def test_the_command(command: CliRunner, tmp_path: Path) -> None:
    out = str(tmp_path / "x.fits")
    done = command.invoke(main.app, ["catalogue", "Test", "--out", out, "--summary", "--json"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told["files"] == [out] and told["galaxies"] == 10 and told["summary"]["about"]["pool"] == 9
    again = command.invoke(main.app, ["catalogue", "Test", "--out", out])
    assert again.exit_code == 1 and "is there already" in again.output
    assert command.invoke(main.app, ["catalogue", "Test", "--out", out, "--force"]).exit_code == 0
    plain = command.invoke(main.app, ["catalogue", "Test", "--summary"])
    assert plain.exit_code == 0 and "of labels" in plain.stdout and "spiral" in plain.stdout


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["Tset", "--summary"], "There is no campaign 'Tset'"),
        (["Test"], "There is nothing to do"),
        (["Test", "--out", "x.doc"], "cannot be written to x.doc"),
    ],
)
def test_what_the_command_refuses(command: CliRunner, arguments: list[str], problem: str) -> None:
    done = command.invoke(main.app, ["catalogue", *arguments])
    assert done.exit_code == 1 and problem in " ".join(done.output.split())


def test_a_model_that_fails_leaves_nothing(database: Database, labelled: Campaign, tmp_path: Path) -> None:
    class Broken(NoAnswers):
        def cells(self, name: str, rows: Any) -> dict[str, Any]:
            raise GalaxyLoopError("broken")

    source = read_source(database, labelled, NOWHERE, answers=False)
    sheet = galaxy_sheet(source.galaxies, Places(source.galaxies, source.sets), Broken(), [], nothing)
    with pytest.raises(GalaxyLoopError, match="broken"):
        write_sheets(tmp_path / "x.fits", [sheet])
    assert not list(tmp_path.glob("x*"))
