"""Campaigns of parameters: numbers that a head fills in, people mend, and a head learns from."""

import csv
import json
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.table import Table
from numpy.lib.format import open_memmap
from psycopg.types.json import Jsonb
from typer.testing import CliRunner

from backend_ml.campaign.plan import CampaignPlan
from backend_ml.campaign.status import campaign_status
from backend_ml.catalogue.export import label_table, object_labels, training_labels
from backend_ml.catalogue.labels import Exported
from backend_ml.catalogue.publish import publish, read_source
from backend_ml.catalogue.summary import summarise
from backend_ml.cli.main import app
from backend_ml.kinds.installed import load_model
from backend_ml.kinds.models import catalogued
from backend_ml.label_studio.regions.choices import LabelConfigError
from backend_ml.label_studio.regions.numbers import find_numbers, given_numbers
from backend_ml.learning.learn import stores_of
from backend_ml.pictures.stamp_pictures import PictureCache
from backend_ml.plugins.parameters import OUTLIERS, Parameters, deviations
from backend_ml.queue.push import labelled_stamps, prediction_rows, rank_tasks, waiting_tasks
from backend_ml.report.report import read_versions
from backend_ml.report.told import metrics_told
from backend_ml.settings import Settings
from backend_ml.sign_in.access import Pages
from backend_ml.status import downloads
from backend_ml.store.campaigns import add_campaign
from backend_ml.store.database import Database, query, query_many
from backend_ml.store.features import FeatureStore
from backend_ml.store.records import Campaign, CampaignError
from backend_ml.why.explanation import Explainer
from backend_ml.why.page import why_page
from lvm_training.parameters.head import FEWEST, Measured
from lvm_training.parameters.number_table import NumberTable
from lvm_training.parameters.parameter import PARAMETERS
from lvm_training.pool.features import Origin
from lvm_training.stamps.stampset import StampSet
from tests.backend_ml.conftest import MORPHOLOGY, PROJECT
from tests.backend_ml.current_labels import read_labels
from tests.backend_ml.learned import active, begin_now, learn_now
from tests.backend_ml.sky import ENCODER
from tests.backend_ml.stored import Stored, reconciled
from tests.installation import quiet
from tests.lvm_training.parameters.linear_sky import WIDTH, Sky
from tests.lvm_training.parameters.skies import gaussian, noise, write_set

KIND = Parameters()
CONFIG = KIND.label_config()
NAMES = KIND.offered(CONFIG)
COLUMNS = [list(PARAMETERS).index(name) for name in NAMES]
N, AUDIT = 120, 40
_annotations = count(1)


@pytest.fixture(scope="module")
def sky() -> Sky:
    return Sky(N, noise=0.02)


@pytest.fixture
def campaign(database: Database, tmp_path: Path, sky: Sky) -> Campaign:
    """Task 100 + i shows stamp i of `sky`; the last 40 of the 120 are of the audit slice."""
    stamps = write_set(
        tmp_path / "sky.h5", [gaussian() + noise(i) for i in range(N)], {"mag_r": sky.truth[:, 0].tolist()}
    )
    features = open_memmap(tmp_path / "sky.npy", mode="w+", dtype=np.float16, shape=(N, WIDTH))
    features[:] = sky.features
    features.flush()
    with StampSet(stamps) as opened:
        origin = Origin(name="sky", stamps=opened.digest, encoder=ENCODER, rows=N, width=WIDTH)
    (tmp_path / "sky.json").write_text(origin.model_dump_json())
    made = {"kind": "parameters", "classes": NAMES, "policy": "outliers", "overlap": 2}
    with database.transaction() as connection:
        query(connection, "put_stamp_set", name="sky", path=str(stamps), digest="d", features=str(tmp_path / "sky.npy"))
        found = add_campaign(connection, **(MORPHOLOGY | made), name="Numbers", project=PROJECT)
        task = {"campaign": found.id, "stamp_set": "sky"}
        tasks = [{**task, "task": 100 + i, "stamp_id": i, "audit": i >= N - AUDIT} for i in range(N)]
        query_many(connection, "put_task", tasks)
    return found


def say(database: Database, campaign: Campaign, stamp: int, said: Any, annotator: int = 1) -> int:
    """An annotation as a webhook leaves it: numbers by name, or a whole result; its number."""
    number = next(_annotations)
    result = said
    if isinstance(said, dict):
        named = {"to_name": "image", "type": "number"}
        result = [{**named, "from_name": name, "value": {"number": value}} for name, value in said.items()]
    database.rows(
        "put_annotation_event",
        campaign=campaign.id,
        action="labelled",
        task=100 + stamp,
        annotation=number,
        label=None,
        annotator=annotator,
        result=Jsonb(result),
        parent_prediction=None,
        lead_time=None,
        source="webhook",
        happened_at=datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=number),
    )
    return number


def true(sky: Sky, stamp: int) -> dict[str, float]:
    return dict(zip(NAMES, sky.truth[stamp, COLUMNS].tolist(), strict=True))


def measured(database: Database, campaign: Campaign, sky: Sky, stamps: range) -> None:
    """People give the true numbers of some stamps."""
    for stamp in stamps:
        say(database, campaign, stamp, true(sky, stamp))


def model_of(database: Database, campaign: Campaign) -> Any:
    model = load_model(active(database, campaign), stores_of(database, campaign, Path("no/store")))
    assert model is not None
    return model


def judged(database: Database, campaign: Campaign) -> Any:
    """The version that serves, as a report tells of it."""
    with database.transaction() as connection:
        listed = read_versions(connection, campaign, active(database, campaign).version)
    return next(one for one in listed if one.active)


def test_numbers_of_people_fit_a_head_that_fills_them_in(database: Database, campaign: Campaign, sky: Sky) -> None:
    assert begin_now(database, campaign, None).startswith("coldstart"), "no head is released for this encoder"
    measured(database, campaign, sky, range(19))
    assert learn_now(database, campaign) == "too few labels"
    measured(database, campaign, sky, range(19, 60))
    assert learn_now(database, campaign) == "promoted"
    answers = model_of(database, campaign).answer([("sky", 70), ("sky", 71)])
    for place, stamp in enumerate((70, 71)):
        given = given_numbers(answers.result(place, CONFIG), find_numbers(CONFIG))
        assert abs(given["mag_r"] - sky.truth[stamp, 0]) < 0.2 and set(given) == set(NAMES)
        note = answers.result(place, CONFIG)[-1]["value"]["text"][0]
        assert re.match(r"Model: magnitude in r \d+\.\d+ ± 0\.\d\d+ mag, half-light radius .* arcsec", note)
    assert learn_now(database, campaign) == "unchanged", "the same numbers make the same version"


def test_why_it_is_here_tells_numbers_as_numbers(
    database: Database, campaign: Campaign, sky: Sky, tmp_path: Path
) -> None:
    measured(database, campaign, sky, range(60))
    assert learn_now(database, campaign) == "promoted"
    settings = Settings.model_validate({"secret": "s", "store": tmp_path / "store"})
    why = Explainer(database, settings).why(campaign, "sky", 70)
    page = why_page(why, heat=None, whole=None, style="why.css")
    assert (
        abs(why.answer["mag_r"] - sky.truth[70, 0]) < 0.2 and f"<dt>mag_r</dt><dd>{why.answer['mag_r']:g}</dd>" in page
    )
    assert "<meter" not in page and "deviation now" in page and "in errors" in page


def test_where_the_pixel_scale_is_unknown_no_radius_is_filled_in(
    database: Database, campaign: Campaign, sky: Sky
) -> None:
    measured(database, campaign, sky, range(60))
    assert learn_now(database, campaign) == "promoted"
    stores = stores_of(database, campaign, Path("no/store"))
    stores.sets.find("sky").pixel_scale = np.nan
    model: Any = load_model(active(database, campaign), stores)
    answers = model.answer([("sky", 70)])
    assert set(answers.scores(0)) == set(NAMES) - {"half_light_radius"}
    assert "arcsec" not in answers.words(0) and "magnitude in r" in answers.words(0)


def test_the_newest_annotation_of_a_stamp_counts_and_fields_may_stay_empty(
    database: Database, campaign: Campaign
) -> None:
    say(database, campaign, 0, {"mag_r": 17.0})
    say(database, campaign, 0, {"mag_r": 17.5, "sersic": 2.0}, annotator=2)
    say(database, campaign, 1, [])
    say(database, campaign, N - 1, {"redshift": 0.1})
    labels = read_labels(database, campaign)
    (row,) = labels.training.values
    assert row[NAMES.index("mag_r")] == 17.5 and np.isnan(row[NAMES.index("redshift")])
    assert labels.training.stamps == [("sky", 0)] and labels.training.people == [2] and len(labels.audit) == 1


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ({"sersic": "2,5", "mag_r": 17.0}, "sersic is written with a comma"),
        ({"mag_r": 250.0}, "If 250 is in nanomaggies, it is 16.51 mag"),
        ({"axis_ratio": 3.0}, "axis_ratio is 3, and lies between 0.02 and 1"),
        ([3], "'int' object"),
    ],
)
def test_numbers_that_cannot_be_read_are_set_aside_and_the_leader_reads_why(
    database: Database, campaign: Campaign, sky: Sky, said: Any, reason: str
) -> None:
    measured(database, campaign, sky, range(30))
    number = say(database, campaign, 40, said)
    assert learn_now(database, campaign) == "promoted"
    with database.transaction() as connection:
        (aside,) = campaign_status(connection, campaign)["set_aside"]
        kept = query(connection, "object_labels", campaign=campaign.id)
    assert aside["annotation"] == number and reason in aside["reason"]
    assert ("sky", 40) not in read_labels(database, campaign).training.stamps
    assert number in [row["annotation_id"] for row in kept], "the record is kept"


def test_limits_of_a_parameter_hold_where_a_label_config_has_none(database: Database, campaign: Campaign) -> None:
    bare = '<View><Image name="image" value="$image"/><Number name="half_light_radius" toName="image"/></View>'
    bare = replace(campaign, label_config=bare, classes=("half_light_radius",))
    for stamp, radius in enumerate((0.01, -2, 1e9, 1.5)):
        say(database, campaign, stamp, {"half_light_radius": radius})
    found = read_labels(database, bare)
    assert found.training.values.tolist() == [[1.5]]
    assert [odd[1] for odd in found.odd] == [100, 101, 102]
    assert "half_light_radius is 0.01, and lies between 0.05 and 120" in found.odd[0][2]


def test_what_learning_set_aside_stays_aside_until_it_is_mended(database: Database, campaign: Campaign) -> None:
    named = {"to_name": "image", "type": "number", "from_name": "sersic"}
    state = {"id": 40, "task": 140, "completed_by": 1, "was_cancelled": False, "lead_time": 1.0}
    odd = {**state, "updated_at": "2026-02-01T00:00:00Z", "result": [{**named, "value": {"number": "2,5"}}]}
    stored = Stored({40: odd})
    reconciled(database, campaign, stored)
    learn_now(database, campaign)
    for again in (False, True):
        reconciled(database, campaign, stored, again=again)
        with database.transaction() as connection:
            (aside,) = campaign_status(connection, campaign)["set_aside"]
        assert aside["annotation"] == 40 and "comma" in aside["reason"]
    stored.bodies[40] = {**odd, "updated_at": "2026-02-02T00:00:00Z", "result": [{**named, "value": {"number": 2.5}}]}
    reconciled(database, campaign, stored)
    with database.transaction() as connection:
        assert campaign_status(connection, campaign)["set_aside"] == []


def test_a_number_far_from_the_model_is_flagged_teaches_nothing_and_is_asked_again_first(
    database: Database, campaign: Campaign, sky: Sky
) -> None:
    measured(database, campaign, sky, range(6, 60))
    learn_now(database, campaign)
    before = model_of(database, campaign).answer([("sky", 90)]).scores(0)["half_light_radius"]
    pixels = sky.truth[5, 1] / 0.262
    say(database, campaign, 5, {**true(sky, 5), "half_light_radius": pixels})
    assert learn_now(database, campaign) == "promoted"
    (outlier,) = [one for one in active(database, campaign).metrics[OUTLIERS] if one["stamp_id"] == 5]
    assert outlier["parameter"] == "half_light_radius" and outlier["errors"] > 5 and outlier["perhaps"] == "in pixels"
    (told,) = [line for line in metrics_told(judged(database, campaign)) if "of people far from it" in line]
    assert f"the farthest: sky/5 half-light radius {pixels:.4g} against" in told and told.endswith("perhaps in pixels")
    model = model_of(database, campaign)
    after = model.answer([("sky", 90)]).scores(0)["half_light_radius"]
    assert abs(after / before - 1) < 0.03
    with database.transaction() as connection:
        tasks = waiting_tasks(connection, campaign)
        features = FeatureStore.from_database(connection, campaign.encoder)
        labelled = labelled_stamps(connection, campaign, features)
    ranking = rank_tasks(campaign, tasks, model, features, labelled, 0)
    first = next(place for place in ranking.places if not place.audit)
    assert ranking.ranked.policy == "outliers" and tasks[first.index].task_id == 105
    words = Explainer(database, Settings(secret="s")).why(campaign, "sky", 5)  # type: ignore[arg-type]
    assert f"half-light radius {pixels:.4g} is" in words.answer_words and "errors away" in words.answer_words
    assert words.measures["deviation"] > 5 and not words.heat


def test_a_number_far_from_the_model_is_kept_where_the_others_are_too_few_without_it(
    database: Database, campaign: Campaign, sky: Sky, tmp_path: Path
) -> None:
    # features that tell little: a head of all of them would go through every number
    np.load(tmp_path / "sky.npy", mmap_mode="r+")[:, 2:] = 0
    measured(database, campaign, sky, range(FEWEST - 1))
    say(database, campaign, FEWEST, {**true(sky, FEWEST), "redshift": 9.9})
    assert learn_now(database, campaign) == "promoted"
    assert [one["stamp_id"] for one in active(database, campaign).metrics[OUTLIERS]] == [FEWEST]
    assert set(model_of(database, campaign).answer([("sky", 90)]).scores(0)) == set(NAMES)


def test_a_column_of_the_set_that_does_not_fit_is_asked_first(
    database: Database, campaign: Campaign, sky: Sky, tmp_path: Path
) -> None:
    measured(database, campaign, sky, range(60))
    learn_now(database, campaign)
    known = sky.truth[:, 0].tolist()
    known[77] += 5
    write_set(tmp_path / "sky.h5", [gaussian() + noise(i) for i in range(N)], {"mag_r": known})
    answers = model_of(database, campaign).answer([("sky", row) for row in range(60, 80)])
    assert int(answers.deviation.argmax()) == 17 and answers.deviation[17] > 3
    assert np.delete(answers.deviation, 17).max() < 3.5
    assert "magnitude in r" in answers.words(17) and "errors away" in answers.words(17)
    assert "errors away" not in answers.words(int(answers.deviation.argmin()))


def test_a_column_that_cannot_be_one_leaves_the_others(tmp_path: Path) -> None:
    columns: dict[str, list[Any]] = {
        "mag_r": [16.5, -99.0],
        "half_light_radius_pix": [3.0, 4.0],
        "redshift": [np.nan, np.nan],
        "sersic": [900.0, 1200.0],
    }
    with StampSet(write_set(tmp_path / "odd.h5", [gaussian()] * 2, columns, pixel_scale=np.nan)) as stamps:
        found = catalogued(stamps)
    assert list(found) == ["mag_r"] and np.array_equal(found["mag_r"], [16.5, np.nan], equal_nan=True)


def test_the_gate_goes_by_how_far_numbers_of_the_audit_slice_are_off(
    database: Database, campaign: Campaign, sky: Sky
) -> None:
    measured(database, campaign, sky, range(N))
    assert learn_now(database, campaign) == "promoted"
    version = active(database, campaign)
    assert version.audit_labels == AUDIT and version.metrics["audit_accuracy"] > 0.6
    for stamp in range(N - AUDIT):
        wrong = true(sky, stamp)
        say(database, campaign, stamp, {**wrong, "mag_r": wrong["mag_r"] + 2, "sersic": 3 * wrong["sersic"]})
    assert learn_now(database, campaign) == "held back"
    assert active(database, campaign).version == version.version


def test_right_is_one_over_one_plus_the_distance_in_tenths() -> None:
    class Known:
        def __init__(self, values: list[list[float]]) -> None:
            self.values = np.array(values)

        def answer(self, stamps: Any) -> Any:
            return type("Answer", (), {"measured": Measured(self.values, np.ones_like(self.values))})

    table = NumberTable(("mag_r", "half_light_radius"), [("sky", 0)], np.array([[17.0, 2.0]]), [1])
    for values, expected in (
        ([[17.0, 2.0]], 1),
        ([[17.1, 2.0]], 1 / 1.5),
        ([[17.1, 2.2]], 1 / 2),
        ([[np.nan, 2.0]], 1 / 6),
    ):
        assert KIND.right(Known(values), table) == pytest.approx([expected])  # type: ignore[arg-type]
    half = replace(table, values=np.array([[np.nan, 2.0]]))
    assert KIND.right(Known([[12.0, 2.2]]), half) == pytest.approx([0.5])  # type: ignore[arg-type]


def test_angles_deviate_around_half_a_turn() -> None:
    found = Measured(np.array([[178.0]]), np.array([[2.0]]))
    assert deviations(np.array([[1.0]]), found, ("position_angle",)) == pytest.approx(np.array([[1.5]]))


def test_the_blind_slice_is_shown_without_numbers(database: Database, campaign: Campaign, sky: Sky) -> None:
    measured(database, campaign, sky, range(40))
    learn_now(database, campaign)
    with database.transaction() as connection:
        tasks = waiting_tasks(connection, campaign)
        features = FeatureStore.from_database(connection, campaign.encoder)
        labelled = labelled_stamps(connection, campaign, features)
    ranking = rank_tasks(campaign, tasks, model_of(database, campaign), features, labelled, 0)
    rows = prediction_rows(ranking, ranking.places, "v", CONFIG)
    blind = {tasks[place.index].task_id for place in ranking.places if place.audit}
    assert len(blind) == AUDIT and {row.task for row in rows if not row.result} == blind


def test_numbers_are_exported_with_their_units(database: Database, campaign: Campaign, sky: Sky) -> None:
    measured(database, campaign, sky, range(2))
    say(database, campaign, N - 1, {"redshift": 0.1})
    with database.transaction() as connection:
        everything, training = (label_table(connection, campaign, training=one) for one in (False, True))
        exported = Exported.read(connection, campaign, database.stamp_sets, Settings(secret="s"))  # type: ignore[arg-type]
        for refused in (
            lambda: training_labels(connection, campaign),
            lambda: object_labels(connection, campaign, training=False),
        ):
            with pytest.raises(CampaignError, match=r"numbers, not labels|labels, not objects"):
                refused()
    assert everything is not None and training is not None and (len(everything), len(training)) == (3, 2)
    header, rows, _ = exported.tabled(everything)
    assert header[-5:] == ("mag_r_mag", "half_light_radius_arcsec", "sersic", "axis_ratio", "redshift")
    assert rows[0][-5:] == pytest.approx(sky.truth[0, COLUMNS]) and rows[2][-5:] == (None, None, None, None, 0.1)


def test_the_export_names_who_gave_numbers(
    database: Database, campaign: Campaign, sky: Sky, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured(database, campaign, sky, range(2))
    monkeypatch.setenv("GALAXYLOOP_DATABASE_URL", database.url)
    words = ["campaign", "export", campaign.name, "--out", str(tmp_path / "numbers.csv"), "--json"]
    (one,) = json.loads(CliRunner().invoke(app, words).stdout)["annotators"]
    assert (one["labels"], one["reliability"]) == (2, None) and one["name"]


def test_the_leaders_download_of_labels_is_the_commands_export(
    database: Database, campaign: Campaign, sky: Sky, tmp_path: Path
) -> None:
    measured(database, campaign, sky, range(2))
    settings = Settings.model_validate({"secret": "hush", "backend_password": "word"})
    downloads.labels(Pages.over(settings, database, PictureCache(database)), campaign, tmp_path / "labels.csv")
    with (tmp_path / "labels.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [float(row["mag_r_mag"]) for row in rows] == pytest.approx(sky.truth[:2, 0])


def test_the_catalogue_has_numbers_with_errors_units_and_ucds(
    database: Database, campaign: Campaign, sky: Sky, tmp_path: Path
) -> None:
    measured(database, campaign, sky, range(60))
    learn_now(database, campaign)
    source = read_source(database, campaign, Path("no/store"), answers=True)
    said = publish(database, source, tmp_path / "numbers.fits", quiet)
    assert said.labelled == 60 and not [note for note in said.notes if "labelled" in note]
    with pytest.raises(CampaignError, match="asks for no classes"):
        summarise(source.galaxies, None, quiet)
    table = Table.read(tmp_path / "numbers.fits")
    assert np.median(np.abs(table["mag_r"] - sky.truth[:, 0])) < 0.1 and (table["err_mag_r"] > 0).all()
    assert str(table["half_light_radius"].unit) == "arcsec" and not {"score_mag_r", "votes_mag_r"} & set(table.colnames)


def test_a_label_config_offers_parameters_that_can_be_measured_alone() -> None:
    for name in ("colour", "position_angle"):
        with pytest.raises(LabelConfigError, match=f"No head measures {name} in a campaign.*mag_r"):
            KIND.offered(CONFIG.replace('name="redshift"', f'name="{name}"'))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"detector": Path("models/detector-nano")}, "has no detector"),
        ({"consensus": "dawid-skene"}, "Numbers have no consensus"),
        ({"policy": "margin"}, "does not fit a campaign of the kind 'parameters'"),
        ({"classes": ("mag_r",)}, "has the classes of its label config"),
    ],
)
def test_options_that_do_not_fit_are_refused(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    plan = CampaignPlan(name="numbers", stamps=tmp_path / "sky.h5", encoder=tmp_path, kind="parameters", **options)
    with pytest.raises((CampaignError, LabelConfigError), match=message):
        plan.check()


def test_an_evaluation_has_the_errors_of_each_parameter(database: Database, campaign: Campaign, sky: Sky) -> None:
    measured(database, campaign, sky, range(N))
    say(database, campaign, N - 1, {"mag_r": 17.0})
    learn_now(database, campaign)
    labels, model = read_labels(database, campaign).audit, model_of(database, campaign)
    found, answers = model.evaluate(labels), model.answer(labels.stamps)
    assert found.classes == () and found.said[-1] == "magnitude in r 17 mag" and len(found.answered) == AUDIT
    for place, name in enumerate(labels.names):
        told = {one.name: one for one in found.measures if one.of == PARAMETERS[name].words}
        values, errors = answers.quantities[:, 2 * place], answers.quantities[:, 2 * place + 1]
        both = [i for i in range(AUDIT) if np.isfinite(labels.values[i, place]) and np.isfinite(values[i])]
        off = [values[i] - labels.values[i, place] for i in both]
        assert told["RMSE"].value == pytest.approx(np.sqrt(np.mean(np.square(off)))) and told["RMSE"].n == len(both)
        assert told["bias"].value == pytest.approx(np.mean(off)) and told["bias"].unit == PARAMETERS[name].unit
        within = [abs(one) <= errors[i] for one, i in zip(off, both, strict=True)]
        assert told["within 1 error (should be 68 %)"].value == pytest.approx(np.mean(within))
    assert found.right.tolist() == model.right(labels).tolist()
