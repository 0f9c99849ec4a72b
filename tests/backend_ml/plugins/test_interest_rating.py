"""Campaigns of ratings: stars in and out, and what is unusual weighted by them."""

import threading
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.lib.format import open_memmap
from psycopg.types.json import Jsonb

from backend_ml.acquisition.interest import weighted
from backend_ml.campaign.plan import CampaignPlan
from backend_ml.campaign.status import campaign_status
from backend_ml.catalogue.export import label_table
from backend_ml.catalogue.labels import Exported
from backend_ml.kinds.installed import load_model
from backend_ml.label_studio.regions.choices import LabelConfigError
from backend_ml.label_studio.regions.numbers import NumberError, find_rating, given_rating
from backend_ml.labels import events, set_aside
from backend_ml.learning.learn import stores_of
from backend_ml.local.processes import wait_until
from backend_ml.plugins.interest_rating import InterestRating
from backend_ml.queue.push import labelled_stamps, prediction_rows, rank_tasks, waiting_tasks
from backend_ml.settings import Settings
from backend_ml.store import versions
from backend_ml.store.campaigns import add_campaign
from backend_ml.store.database import Database, query, query_many
from backend_ml.store.features import FeatureStore
from backend_ml.store.records import Campaign, CampaignError
from lvm_training.errors import LabelError
from lvm_training.index.outliers import Outliers
from lvm_training.parameters.rating import FEWEST, RatingHead
from lvm_training.pool.features import Origin
from lvm_training.tables.snapshot import Snapshot
from tests.backend_ml.conftest import MORPHOLOGY, PROJECT
from tests.backend_ml.current_labels import read_labels
from tests.backend_ml.learned import begin_now, learn_now
from tests.backend_ml.sky import ENCODER

KIND = InterestRating()
CONFIG = KIND.label_config()
N, AUDIT, WIDTH = 60, 35, 12
ODD = {"left": range(0, 10), "right": range(10, 20)}  # two sorts of outliers; the others are alike
_annotations = count(1)


@pytest.fixture(scope="module")
def features() -> np.ndarray:
    """Two small groups far from the rest, on opposite sides of it."""
    found = np.random.default_rng(0).normal(size=(N + AUDIT, WIDTH))
    for side, rows in zip((-1, 1), ODD.values(), strict=True):
        found[rows.start : rows.stop, 0] += 12 * side
        found[rows.start : rows.stop] += 3 * np.random.default_rng(1).normal(size=(len(rows), WIDTH))
    return found.astype(np.float16)


@pytest.fixture
def campaign(database: Database, tmp_path: Path, features: np.ndarray) -> Campaign:
    """Task 100 + i shows stamp i; the last 35 are of the audit slice."""
    path = tmp_path / "sky.npy"
    kept = open_memmap(path, mode="w+", dtype=np.float16, shape=features.shape)
    kept[:] = features
    kept.flush()
    origin = Origin(name="sky", stamps="d", encoder=ENCODER, rows=len(features), width=WIDTH)
    path.with_suffix(".json").write_text(origin.model_dump_json())
    made = {"kind": "interest_rating", "classes": KIND.offered(CONFIG), "policy": "unusual"}
    with database.transaction() as connection:
        query(connection, "put_stamp_set", name="sky", path="no.h5", digest="d", features=str(path))
        found = add_campaign(connection, **(MORPHOLOGY | made), name="Odd ones", project=PROJECT)
        task = {"campaign": found.id, "stamp_set": "sky"}
        tasks = [{**task, "task": 100 + i, "stamp_id": i, "audit": i >= N} for i in range(N + AUDIT)]
        query_many(connection, "put_task", tasks)
    return found


def stars(number: Any) -> list[dict[str, Any]]:
    """A result of so many stars; of none it has no region."""
    region = {"from_name": "interest", "to_name": "image", "type": "rating", "value": {"rating": number}}
    return [region] if number else []


def rate(database: Database, campaign: Campaign, stamp: int, number: Any) -> int:
    annotation = next(_annotations)
    database.rows(
        "put_annotation_event",
        campaign=campaign.id,
        action="labelled",
        task=100 + stamp,
        annotation=annotation,
        label=None,
        annotator=1,
        result=Jsonb(stars(number)),
        parent_prediction=None,
        lead_time=None,
        source="webhook",
        happened_at=f"2026-01-01T00:{annotation // 60 % 60:02}:{annotation % 60:02}Z",
    )
    return annotation


def rate_some(database: Database, campaign: Campaign) -> None:
    """People care for what lies on the right, and for nothing else."""
    for stamp in (0, 1, 2, 3, 10, 11, 12, 13, *range(20, 30)):
        rate(database, campaign, stamp, 5 if stamp in ODD["right"] else 0)


def model_of(database: Database, campaign: Campaign) -> Any:
    with database.transaction() as connection:
        version = versions.active_version(connection, campaign)
    assert version is not None
    return load_model(version, stores_of(database, campaign, Path("no/store")))


def queue(database: Database, campaign: Campaign) -> Any:
    with database.transaction() as connection:
        tasks = waiting_tasks(connection, campaign)
        features = FeatureStore.from_database(connection, campaign.encoder)
        labelled = labelled_stamps(connection, campaign, features)
    return tasks, rank_tasks(campaign, tasks, model_of(database, campaign), features, labelled, 0)


def first(database: Database, campaign: Campaign, count: int) -> set[int]:
    tasks, ranking = queue(database, campaign)
    return {tasks[place.index].stamp_id for place in [one for one in ranking.places if not one.audit][:count]}


def test_what_is_unusual_comes_first_and_then_what_people_rate_high(database: Database, campaign: Campaign) -> None:
    assert begin_now(database, campaign, None).startswith("coldstart")
    assert first(database, campaign, 10) <= {*ODD["left"], *ODD["right"]}
    assert len(first(database, campaign, 6) & set(ODD["right"])) <= 4
    for stamp in range(20, 20 + FEWEST - 1):
        rate(database, campaign, stamp, 0)
    assert learn_now(database, campaign) == "too few labels"
    rate_some(database, campaign)
    assert learn_now(database, campaign) == "promoted"
    liked = first(database, campaign, 6) & set(ODD["right"])
    assert len(liked) >= 5, "the unusual ones that are like what was rated high"
    assert learn_now(database, campaign) == "unchanged", "the same ratings make the same version"


def test_stars_are_filled_in_told_and_exported(database: Database, campaign: Campaign) -> None:
    rate_some(database, campaign)
    learn_now(database, campaign)
    model = model_of(database, campaign)
    answers = model.answer([("sky", 15), ("sky", 50)])
    control = find_rating(CONFIG)
    liked, plain = (given_rating(answers.result(place, CONFIG), control) for place in range(2))
    assert liked >= 2 and plain == 0
    assert "of 5 stars" in answers.words(0) and answers.measures(0)["interest"] > answers.measures(1)["interest"]
    assert "of 5 stars" in answers.result(0, CONFIG)[-1]["value"]["text"][0]
    assert model.quantities[0].name == "interest" and answers.quantities.shape == (2, 1)
    assert not answers.tells_shares, "stars are no probabilities"
    tasks, ranking = queue(database, campaign)
    rows = prediction_rows(ranking, ranking.places, "v", CONFIG)
    blind = {tasks[place.index].task_id for place in ranking.places if place.audit}
    assert len(blind) == AUDIT and all(not row.result for row in rows if row.task in blind)
    rate(database, campaign, N, 3)
    with database.transaction() as connection:
        table = label_table(connection, campaign, training=False)
        exported = Exported.read(connection, campaign, database.stamp_sets, Settings(secret="s"))  # type: ignore[arg-type]
    assert table is not None
    header, given, _ = exported.tabled(table)
    assert header[-1] == "interest" and sorted(row[-1] for row in given) == [0.0] * 14 + [3.0] + [5.0] * 4


@pytest.mark.parametrize(("said", "reason"), [("3,5", "comma"), (9, "between 0 and 5"), ("many", "no number")])
def test_a_rating_that_cannot_be_read_is_set_aside(
    database: Database, campaign: Campaign, said: Any, reason: str
) -> None:
    rate_some(database, campaign)
    number = rate(database, campaign, 40, said)
    assert learn_now(database, campaign) == "promoted"
    with database.transaction() as connection:
        (aside,) = campaign_status(connection, campaign)["set_aside"]
    assert aside["annotation"] == number and reason in aside["reason"]


def waiting(database: Database) -> bool:
    """Whether anybody waits for a lock."""
    waits = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    with database.transaction() as connection:
        return connection.execute(waits).fetchone() is not None


def test_a_rating_that_goes_while_it_is_read_is_not_set_aside(database: Database, campaign: Campaign) -> None:
    rate_some(database, campaign)
    number = rate(database, campaign, 40, "many")
    learn_now(database, campaign)
    learning = threading.Thread(target=learn_now, args=(database, campaign))
    with database.transaction() as connection:
        set_aside.lock(connection, campaign)
        events.record_deletions(connection, campaign, [number], "reconcile")
        learning.start()
        wait_until(lambda: waiting(database), 30, what="learning to come to what is set aside")
    learning.join()
    with database.transaction() as connection:
        assert campaign_status(connection, campaign)["set_aside"] == []


def test_the_gate_holds_ratings_back_that_turned_around(database: Database, campaign: Campaign) -> None:
    rate_some(database, campaign)
    for stamp in range(N, N + AUDIT):
        rate(database, campaign, stamp, 0)
    assert learn_now(database, campaign) == "promoted"
    labels = read_labels(database, campaign)
    evaluation = model_of(database, campaign).evaluate(labels.audit)
    assert {one.name for one in evaluation.measures} == {"RMSE", "bias"} and evaluation.right.mean() > 0.7
    for stamp in (*ODD["left"], *range(20, N)):
        rate(database, campaign, stamp, 5)
    assert learn_now(database, campaign) == "held back"


def test_the_weight_is_the_formula_of_the_paper() -> None:
    rng = np.random.default_rng(3)
    anomaly, interest, apart = rng.uniform(0, 3, 50), rng.uniform(-0.2, 1.2, 50), rng.uniform(0, 3, 50)
    naive = [
        s * np.tanh(np.exp(d) - 1 + np.arctanh(0.1 + 0.85 * min(max(u, 0), 1)))
        for s, u, d in zip(anomaly, interest, apart, strict=True)
    ]
    assert weighted(anomaly, interest, apart) == pytest.approx(naive)
    assert weighted(np.ones(2), np.array([0.0, 1.0]), np.zeros(2)) == pytest.approx([0.1, 0.95])
    assert weighted(np.ones(1), np.zeros(1), np.array([np.inf])) == pytest.approx([1.0])


def test_the_mean_distance_is_that_of_the_sample(features: np.ndarray) -> None:
    found, known = Outliers.fit(features), features[:4]
    assert found.mean_distance(known) == pytest.approx(found.distances(features, known).mean(), rel=1e-4)
    assert found.mean_distance(known[:0]) == 1 and Outliers.fit(features[:2]).mean_distance(known) == 1


def test_the_head_expects_what_ratings_say_and_nothing_beyond_them() -> None:
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(200, 8)).astype(np.float32)
    ratings = np.clip(2.5 + 1.5 * inputs[:, 0], 0, 5)
    head = RatingHead.fit(inputs[:150], ratings[:150].tolist(), name="interest", most=5, seed=0)
    found = head.predict(inputs)
    assert np.abs(found[150:] - ratings[150:]).mean() < 0.5 and found.min() >= 0 and found.max() <= 5
    assert 0 < head.error[0] < 1
    again = RatingHead.load(head.save())
    assert again.classes == ("interest",) and again.predict(inputs) == pytest.approx(found)
    same = RatingHead.fit(inputs[:150], ratings[:150].tolist(), name="interest", most=5, seed=0)
    assert same.save() == head.save()


@pytest.mark.parametrize(
    ("count", "most", "message"), [(9, 5, "teach nothing"), (12, 1, "outside 0 to 1"), (11, 5, "11 ratings for 12")]
)
def test_ratings_that_cannot_be_learned_are_refused(count: int, most: float, message: str) -> None:
    with pytest.raises(LabelError, match=message):
        RatingHead.fit(np.zeros((12 if count > 9 else 9, 3), np.float32), [2.0] * count, name="x", most=most, seed=0)


def test_a_rating_is_found_in_a_label_config_or_refused() -> None:
    image = '<View><Image name="image" value="$image"/>{}</View>'
    assert find_rating(image.format('<Rating name="r" toName="image"/>')).most == 5
    for odd in ("", '<Rating name="r" toName="image" perRegion="true"/>', '<Rating name="r" toName="text"/>'):
        with pytest.raises(LabelConfigError, match="no <Rating>"):
            find_rating(image.format(odd))
    with pytest.raises(LabelConfigError, match="'many' stars"):
        find_rating(image.format('<Rating name="r" toName="image" maxRating="many"/>'))
    with pytest.raises(NumberError, match="comma"):
        given_rating(stars("2,5"), find_rating(CONFIG))
    with pytest.raises(NumberError, match="is both 2 and 4"):
        given_rating([*stars(2), *stars(4)], find_rating(CONFIG))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"detector": Path("no")}, "no detector"),
        ({"labels": Snapshot(["sky"], [0], ["yes"])}, "cannot start from labels"),
        ({"consensus": "dawid-skene"}, "no consensus"),
        ({"policy": "margin"}, "does not fit"),
        ({"classes": ("a", "b")}, "not a, b"),
    ],
)
def test_a_campaign_of_ratings_refuses_what_it_cannot_have(options: dict[str, Any], message: str) -> None:
    with pytest.raises((CampaignError, LabelConfigError), match=message):
        plan = CampaignPlan("odd ones", Path("no.h5"), Path("no"), kind="interest_rating", **options)
        plan.check()
        plan.label_config()
