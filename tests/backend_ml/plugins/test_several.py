"""Campaigns of several questions: each control tag is answered by its own head, and all of them are one version."""

import csv
from collections.abc import Iterator
from contextlib import contextmanager
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

from backend_ml.campaign.lifecycle import ingest_inbox
from backend_ml.campaign.plan import CampaignPlan
from backend_ml.campaign.status import campaign_status
from backend_ml.catalogue.export import label_table
from backend_ml.catalogue.labels import Exported
from backend_ml.catalogue.publish import publish, read_source
from backend_ml.kinds import installed
from backend_ml.kinds.installed import kind_of, load_model
from backend_ml.kinds.kind import Labels
from backend_ml.label_studio.regions.choices import LabelConfigError
from backend_ml.label_studio.regions.numbers import find_numbers, given_numbers
from backend_ml.labels import events
from backend_ml.labels.agreed import agreed_labels
from backend_ml.learning.learn import stores_of
from backend_ml.plugins.parts import find_parts
from backend_ml.plugins.several import Several
from backend_ml.queue.push import labelled_stamps, rank_tasks, waiting_tasks
from backend_ml.rebuilding.freezing import freeze
from backend_ml.settings import Settings
from backend_ml.store.campaigns import add_campaign, all_campaigns
from backend_ml.store.database import Database, query, query_many
from backend_ml.store.features import FeatureStore
from backend_ml.store.records import Campaign, CampaignError
from lvm_training.heads.head import unpack
from lvm_training.parameters.parameter import PARAMETERS
from lvm_training.pool.features import Origin
from lvm_training.stamps.stampset import StampSet
from tests.backend_ml.conftest import MORPHOLOGY, PROJECT
from tests.backend_ml.current_labels import read_labels
from tests.backend_ml.learned import active, begin_now, learn_now
from tests.backend_ml.sky import ENCODER
from tests.backend_ml.webhooks import annotation, webhook
from tests.lvm_training.parameters.linear_sky import WIDTH, Sky
from tests.lvm_training.parameters.skies import gaussian, noise, write_set

KIND = Several()
N, LABELLED = 80, 50
CONFIG = """<View>
  <Image name="image" value="$image"/>
  <Number name="mag_r" toName="image" min="5" max="30" step="any"/>
  <Choices name="size" toName="image" choice="single-radio"><Choice value="small"/><Choice value="large"/></Choices>
  <Choices name="bright" toName="image"><Choice value="yes"/><Choice value="no"/></Choices>
  <Number name="axis_ratio" toName="image" min="0" max="1" step="any"/>
  <Number name="arms" toName="image"/>
  <Rating name="interest" toName="image" maxRating="5"/>
  <TextArea name="remark" toName="image"/>
  <TextArea name="model" toName="image" maxSubmissions="1"/>
</View>"""
_annotations = count(1)


@pytest.fixture(scope="module")
def sky() -> Sky:
    return Sky(N, noise=0.02)


@pytest.fixture
def campaign(database: Database, tmp_path: Path, sky: Sky) -> Campaign:
    """Task 100 + i shows stamp i of `sky`; the label config is one that somebody brought."""
    stamps = write_set(tmp_path / "sky.h5", [gaussian() + noise(i) for i in range(N)])
    features = open_memmap(tmp_path / "sky.npy", mode="w+", dtype=np.float16, shape=(N, WIDTH))
    features[:] = sky.features
    features.flush()
    with StampSet(stamps) as opened:
        origin = Origin(name="sky", stamps=opened.digest, encoder=ENCODER, rows=N, width=WIDTH)
    (tmp_path / "sky.json").write_text(origin.model_dump_json())
    made = {"kind": "several", "classes": KIND.offered(CONFIG), "policy": "margin", "label_config": CONFIG}
    with database.transaction() as connection:
        query(connection, "put_stamp_set", name="sky", path=str(stamps), digest="d", features=str(tmp_path / "sky.npy"))
        found = add_campaign(connection, **(MORPHOLOGY | made), name="Several", project=PROJECT)
        task = {"campaign": found.id, "stamp_set": "sky"}
        tasks = [{**task, "task": 100 + i, "stamp_id": i, "audit": i >= N - 10} for i in range(N)]
        query_many(connection, "put_task", tasks)
    return found


def region(name: str, kind: str, value: Any) -> dict[str, Any]:
    return {"to_name": "image", "from_name": name, "type": kind, "value": {kind: value}}


def truth(sky: Sky, stamp: int) -> dict[str, Any]:
    """What is true of a stamp, by control tag."""
    values = dict(zip(PARAMETERS, sky.truth[stamp].tolist(), strict=True))
    return {
        "size": "large" if values["half_light_radius"] > np.exp(0.8) else "small",
        "bright": "yes" if values["mag_r"] < 17 else "no",
        "mag_r": values["mag_r"],
        "axis_ratio": values["axis_ratio"],
        "interest": 4 if values["axis_ratio"] > 0.5 else 0,
    }


def said(values: dict[str, Any]) -> list[dict[str, Any]]:
    """A result of these answers."""
    found = [region(name, "choices", [values[name]]) for name in ("size", "bright") if name in values]
    found += [region(name, "number", values[name]) for name in ("mag_r", "axis_ratio", "arms") if name in values]
    return found + ([region("interest", "rating", values["interest"])] if values.get("interest") else [])


def say(
    database: Database,
    campaign: Campaign,
    stamp: int,
    values: dict[str, Any],
    result: list[Any] | None = None,
    *,
    annotator: int = 1,
) -> int:
    number = next(_annotations)
    database.rows(
        "put_annotation_event",
        campaign=campaign.id,
        action="labelled",
        task=100 + stamp,
        annotation=number,
        label=values.get("size"),
        annotator=annotator,
        result=Jsonb(said(values) if result is None else result),
        parent_prediction=None,
        lead_time=None,
        source="webhook",
        happened_at=datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=number),
    )
    return number


def say_all(database: Database, campaign: Campaign, sky: Sky, stamps: range, *names: str) -> None:
    for stamp in stamps:
        values = truth(sky, stamp)
        say(database, campaign, stamp, {name: values[name] for name in names or values})


@contextmanager
def quiet(_: str) -> Iterator[Any]:
    yield lambda *_: None


def model_of(database: Database, campaign: Campaign) -> Any:
    return load_model(active(database, campaign), stores_of(database, campaign, Path("no/store")))


def test_parts_are_found_by_their_tags_and_what_no_head_serves_is_named() -> None:
    parts = find_parts(CONFIG)
    assert [(part.name, part.kind.name) for part in parts] == [
        ("size", "morphology"),
        ("bright", "morphology"),
        ("numbers", "parameters"),
        ("interest", "interest_rating"),
    ]
    assert [part.kind.offered(part.label_config) for part in parts] == [
        ("small", "large"),
        ("yes", "no"),
        ("mag_r", "axis_ratio"),
        ("interest",),
    ]
    assert KIND.offered(CONFIG) == ("small", "large"), "the first question gives the classes"
    arms, remark = KIND.unserved(CONFIG)
    assert arms.startswith("<Number name='arms'> is no parameter") and remark.startswith(
        "<TextArea name='remark'> is a"
    )
    ours = KIND.label_config()
    assert KIND.unserved(ours) == () and [part.name for part in find_parts(ours)] == ["morphology", "numbers"]
    words = KIND.instruction(CONFIG, {})
    assert "large" in words and "magnitude in r" in words and "stars" in words


def test_two_control_tags_of_one_name_are_refused() -> None:
    config = CONFIG.replace('<Rating name="interest"', '<Rating name="size"')
    with pytest.raises(LabelConfigError, match="named 'size'"):
        find_parts(config)


def test_something_is_asked_that_a_head_answers() -> None:
    with pytest.raises(LabelConfigError, match="'arms'> is no parameter"):
        find_parts('<View><Image name="image"/><Number name="arms" toName="image"/></View>')
    (part,) = find_parts('<View><Image name="image"/><Number name="mag_r" toName="image"/></View>')
    assert part.name == "numbers"


def test_each_control_is_answered_by_its_own_head(database: Database, campaign: Campaign, sky: Sky) -> None:
    assert begin_now(database, campaign, None).startswith("coldstart")
    say_all(database, campaign, sky, range(LABELLED))
    assert learn_now(database, campaign) == "promoted" and learn_now(database, campaign) == "unchanged"
    version, model = active(database, campaign), model_of(database, campaign)
    assert version.version.startswith("several-") and version.metrics["heads"] == [
        "bright",
        "interest",
        "numbers",
        "size",
    ]
    rows = range(LABELLED, N)
    answers = model.answer([("sky", row) for row in rows])
    right = {"size": 0, "bright": 0}
    for place, row in enumerate(rows):
        result, values = answers.result(place, CONFIG), truth(sky, row)
        chosen = {one["from_name"]: one["value"]["choices"][0] for one in result if one["type"] == "choices"}
        for name in right:
            right[name] += chosen[name] == values[name]
        numbers = given_numbers(result, find_numbers(CONFIG))
        assert abs(numbers["mag_r"] - values["mag_r"]) < 0.3 and set(numbers) == {"mag_r", "axis_ratio"}
        (note,) = [one for one in result if one["from_name"] == "model"]
        assert "magnitude in r" in note["value"]["text"][0] and note["value"]["text"][0].count("Model:") == 1
        assert len({one["id"] for one in result}) == len(result)
    assert min(right.values()) / len(rows) > 0.85
    stars = [one["value"]["rating"] for one in answers.result(0, CONFIG) if one["type"] == "rating"]
    assert len(stars) <= 1 and answers.classes == ("small", "large")
    assert model.from_features is not None and answers.quantities.shape[1] == len(model.quantities) == 5
    assert "deviation" in answers.measures(0) and "margin" in answers.measures(0) and "of 5 stars" in answers.words(0)


def test_a_question_that_is_called_model_is_answered_too(database: Database, campaign: Campaign, sky: Sky) -> None:
    own = CONFIG.replace('<TextArea name="model" toName="image" maxSubmissions="1"/>', "").replace('"size"', '"model"')
    with database.transaction() as connection:
        connection.execute("UPDATE campaign SET label_config = %s", [own])
    named = replace(campaign, label_config=own)
    for stamp in range(30):
        values = truth(sky, stamp)
        say(database, named, stamp, {}, [region("model", "choices", [values["size"]])])
    assert learn_now(database, named) == "promoted"
    answers = load_model(active(database, named), stores_of(database, named, Path("no/store")))
    assert answers is not None
    result = answers.answer([("sky", 70)]).result(0, own)
    assert [one["type"] for one in result if one["from_name"] == "model"] == ["choices"]


def test_a_part_without_labels_is_left_out_until_it_has_some(database: Database, campaign: Campaign, sky: Sky) -> None:
    say_all(database, campaign, sky, range(30), "mag_r")
    assert learn_now(database, campaign) == "promoted"
    # no star is a rating too: of each annotation that says anything
    assert active(database, campaign).metrics["heads"] == ["interest", "numbers"]
    model = model_of(database, campaign)
    answers = model.answer([("sky", 70)])
    assert model.from_features is None and answers.probabilities is None and answers.scores(0) == {}
    assert {one["type"] for one in answers.result(0, CONFIG)} == {"number", "textarea"}
    with database.transaction() as connection:
        tasks = waiting_tasks(connection, campaign)
        features = FeatureStore.from_database(connection, campaign.encoder)
        labelled = labelled_stamps(connection, campaign, features)
    assert rank_tasks(campaign, tasks, model, features, labelled, 0).ranked.policy == "k-centre"
    say_all(database, campaign, sky, range(30, 60))
    assert learn_now(database, campaign) == "promoted"
    version = active(database, campaign)
    assert version.weights is not None and set(unpack(version.weights)) == {"size", "bright", "numbers", "interest"}


FORMS = """<View><Image name="image" value="$image"/>
<Choices name="bar" toName="image"><Choice value="yes"/><Choice value="no"/></Choices>
<Choices name="ring" toName="image"><Choice value="yes"/><Choice value="no"/></Choices></View>"""


class Forms(Several):
    """Two questions that have the same answers, as a package offers them."""

    name = "forms"

    def label_config(self, classes: object = None) -> str:
        """As `Kind.label_config`."""
        return FORMS


def test_an_answer_to_another_question_is_no_label_of_the_first(
    database: Database, campaign: Campaign, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(installed, "find_kind", lambda _: Forms())
    sql = "UPDATE campaign SET kind = 'forms', label_config = '', classes = '{yes,no}' WHERE id = %s"
    answers = {1: {"ring": "yes"}, 2: {"ring": "no", "bar": "yes"}, 3: {"bar": "no"}}
    with database.transaction() as connection:
        connection.execute(sql, [campaign.id])
        for number, said in answers.items():
            result = [region(name, "choices", [one]) for name, one in said.items()]
            body = annotation(number, 100 + number, None) | {"result": result}
            events.receive(connection, webhook("ANNOTATION_CREATED", annotation=body))
    with database.transaction() as connection:
        assert ingest_inbox(connection, Settings(secret="s")) == {campaign.id}  # type: ignore[arg-type]
        votes = query(connection, "votes", campaign=campaign.id)
    assert {row["stamp_id"]: row["label"] for row in votes} == {2: "yes", 3: "no"}


def test_who_is_unsure_teaches_nothing_and_is_not_judged_on(
    database: Database, campaign: Campaign, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(installed, "find_kind", lambda _: Forms())
    forms = replace(campaign, kind="forms", label_config="", classes=("yes", "no"))
    for stamp, answers in {0: {"bar": "no"}, 1: {"bar": "unsure"}, N - 1: {"ring": "unsure"}, N - 2: {}}.items():
        result = [region(name, "choices", [one]) for name, one in answers.items()]
        say(database, campaign, stamp, {}, result)
    with database.transaction() as connection:
        labels = Forms().read(connection, forms)
    assert labels.untaught is not None
    stamps = [Forms().stamps(part) for part in (labels.training, labels.audit, labels.untaught)]
    assert stamps == [[("sky", 0)], [], [("sky", 1), ("sky", N - 1)]]
    table = Forms().export(labels, forms, {}, training=False)
    assert len(table) == 3 and table.words == {"bar": ["no", "unsure", ""], "ring": ["", "", "unsure"]}


def test_the_queue_goes_by_the_first_question(database: Database, campaign: Campaign, sky: Sky) -> None:
    say_all(database, campaign, sky, range(LABELLED))
    learn_now(database, campaign)
    model = model_of(database, campaign)
    with database.transaction() as connection:
        tasks = waiting_tasks(connection, campaign)
        features = FeatureStore.from_database(connection, campaign.encoder)
        labelled = labelled_stamps(connection, campaign, features)
    assert len(labelled.labels) == LABELLED and set(labelled.labels) == {"small", "large"}
    ranking = rank_tasks(campaign, tasks, model, features, labelled, 0)
    first = next(place for place in ranking.places if not place.audit)
    margins = {row: model.answer([("sky", row)]).measures(0)["margin"] for row in range(LABELLED, N - 10)}
    assert ranking.ranked.policy == "margin" and tasks[first.index].stamp_id == max(
        margins, key=lambda row: margins[row]
    )


@pytest.mark.parametrize(
    ("values", "reason"),
    [({"size": "small", "mag_r": "17,5"}, "comma"), ({"size": "large", "interest": 9}, "between 0 and 5")],
)
def test_an_annotation_of_which_a_part_cannot_be_read_is_set_aside_whole(
    database: Database, campaign: Campaign, sky: Sky, values: dict[str, Any], reason: str
) -> None:
    say_all(database, campaign, sky, range(30))
    number = say(database, campaign, 40, values)
    assert learn_now(database, campaign) == "promoted"
    with database.transaction() as connection:
        (aside,) = campaign_status(connection, campaign)["set_aside"]
    labels = read_labels(database, campaign)
    assert aside["annotation"] == number and reason in aside["reason"]
    assert ("sky", 40) not in kind_of(campaign).stamps(labels.training)


def test_several_people_s_answers_come_to_the_majority_of_each_question_and_the_newest_number(
    database: Database, campaign: Campaign, sky: Sky
) -> None:
    """Two agree of the size of stamp 0, others of its brightness; of stamp 1 the latest of equals counts."""
    for annotator, (size, bright, magnitude) in enumerate(
        [("small", "yes", 17.0), ("small", "no", 18.0), ("large", "no", 19.0)], 1
    ):
        values = {"size": size, "bright": bright, "mag_r": magnitude}
        say(database, campaign, 0, values, annotator=annotator)
    say(database, campaign, 1, {"size": "large", "bright": "no"}, annotator=1)
    say(database, campaign, 1, {"size": "small"}, annotator=2)
    # the newest of one person counts once, and what cannot be read not at all
    say(database, campaign, 2, {"size": "small", "mag_r": 17.0}, annotator=1)
    say(database, campaign, 2, {"size": "large"}, annotator=1)
    say(database, campaign, 2, {"size": "large", "mag_r": 16.0}, annotator=2)
    say(database, campaign, 2, {"size": "small", "mag_r": "17,5"}, annotator=3)
    labels = read_labels(database, campaign)
    said_of = {name: dict(zip(one.stamp_id, one.label, strict=True)) for name, one in _questions(labels)}
    assert said_of == {"size": {0: "small", 1: "small", 2: "large"}, "bright": {0: "no", 1: "no"}}
    numbers = labels.training.parts["numbers"]
    assert [row for _, row in numbers.stamps] == [0, 2] and numbers.values[:, 0].tolist() == [19.0, 16.0]
    assert len(labels.odd) == 1 and labels.counted is not None and len(labels.counted.given) == 8
    with database.transaction() as connection:
        frozen = freeze(connection, campaign)
        agreed = agreed_labels(connection, campaign)
    again = kind_of(campaign).thaw(frozen, campaign, None)  # type: ignore[attr-defined]
    assert {name: dict(zip(one.stamp_id, one.label, strict=True)) for name, one in _questions(again)} == said_of
    assert {one.stamp_id: one.label for one in agreed if one.stamp_id < 2} == {0: "small", 1: "small"}


def _questions(labels: Labels[Any]) -> list[tuple[str, Any]]:
    return [(name, labels.training.parts[name]) for name in ("size", "bright")]


def test_what_people_said_is_exported_in_one_row_a_galaxy(database: Database, campaign: Campaign, sky: Sky) -> None:
    say(database, campaign, 0, {"size": "small", "mag_r": 17.25, "interest": 3})
    say(database, campaign, 1, {"bright": "yes"})
    say(database, campaign, N - 1, {"size": "large"})
    with database.transaction() as connection:
        table, training = (label_table(connection, campaign, training=one) for one in (False, True))
        exported = Exported.read(connection, campaign, database.stamp_sets, Settings(secret="s"))  # type: ignore[arg-type]
    assert table is not None and training is not None and (len(table), len(training)) == (3, 2)
    header, rows, _ = exported.tabled(table)
    assert header[-5:] == ("size", "bright", "mag_r_mag", "axis_ratio", "interest")
    assert [row[-5:] for row in rows] == [
        ("small", "", 17.25, None, 3.0),
        ("", "yes", None, None, 0.0),
        ("large", "", None, None, 0.0),
    ]


@pytest.mark.parametrize("name", ["ra", "stamp_id", "votes_small", "predicted", "model_version", "err_mag_r"])
def test_what_a_label_config_calls_like_a_column_has_a_column_of_its_own(
    database: Database, campaign: Campaign, sky: Sky, tmp_path: Path, name: str
) -> None:
    config = CONFIG.replace('name="interest"', f'name="{name}"').replace('name="bright"', 'name="annotators"')
    with database.transaction() as connection:
        connection.execute("UPDATE campaign SET label_config = %s", (config,))
        (campaign,) = all_campaigns(connection)
    for stamp in range(LABELLED):
        stars = [region(name, "rating", 5)] if stamp % 2 else []
        said_of_it = said({name: truth(sky, stamp)[name] for name in ("size", "mag_r")})
        say(database, campaign, stamp, {}, [*said_of_it, *stars, region("annotators", "choices", ["yes"])])
    learn_now(database, campaign)
    source = read_source(database, campaign, Path("no/store"), answers=True)
    for suffix in ("fits", "csv"):
        published = publish(database, source, tmp_path / f"x.{suffix}", quiet)
    told = f"another column is called {name}: what is answered to {name} is in {name}_2"
    assert told in published.notes
    table = Table.read(tmp_path / "x.fits")
    assert len({column.lower() for column in table.colnames}) == len(table.colnames)
    assert list(table["stamp_id"]) == list(range(N)) and (np.abs(table[f"{name}_2"]) <= 6).all()
    with (tmp_path / "x.csv").open(newline="") as stream:
        assert next(csv.reader(stream)) == table.colnames
    with database.transaction() as connection:
        exported = label_table(connection, campaign, training=False)
        labels = Exported.read(connection, campaign, database.stamp_sets, Settings(secret="s"))  # type: ignore[arg-type]
    assert exported is not None
    header, rows, notes = labels.tabled(exported)
    assert len(set(header)) == len(header) and rows[1][header.index("annotators_2")] == "yes"
    assert (told in notes) == (name in ("ra", "stamp_id")) and any("annotators_2" in note for note in notes)


def test_how_right_a_version_is_is_the_mean_of_its_heads(database: Database, campaign: Campaign, sky: Sky) -> None:
    say_all(database, campaign, sky, range(LABELLED))
    say_all(database, campaign, sky, range(N - 10, N), "size", "mag_r")
    learn_now(database, campaign)
    model = model_of(database, campaign)
    audit = read_labels(database, campaign).audit
    found = model.evaluate(audit)
    parts = {part.name: part for part in find_parts(CONFIG)}
    own = load_model(active(database, campaign), stores_of(database, campaign, Path("no/store")))._model  # type: ignore[union-attr]
    expected = np.mean(
        [parts[name].kind.right(own.models[name], audit.parts[name]) for name in ("size", "numbers", "interest")],
        axis=0,
    )
    assert found.right == pytest.approx(expected) and model.right(audit) == pytest.approx(expected)
    assert {"size", "numbers", "interest"} <= {one.of for one in found.measures}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"detector": Path("no")}, "no detector"),
        ({"labels": object()}, "cannot start"),
        ({"consensus": "dawid-skene"}, "by the majority"),
    ],
)
def test_a_campaign_of_several_refuses_what_it_cannot_have(options: dict[str, Any], message: str) -> None:
    with pytest.raises(CampaignError, match=message):
        CampaignPlan("many", Path("no.h5"), Path("no"), kind="several", **options).check()
