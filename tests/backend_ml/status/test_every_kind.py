"""The leader's page, its files and the words of `campaign status` for campaigns of every kind, whatever people say."""

import csv
import io
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from psycopg.types.json import Jsonb

from backend_ml.kinds.installed import find_kind, names
from backend_ml.report.report import namer, read_report
from backend_ml.report.told import campaign_told
from backend_ml.report.words import chosen_words
from backend_ml.store.campaigns import add_campaign
from backend_ml.store.database import Database, query, query_many
from backend_ml.store.records import Campaign
from lvm_training.stamps.rendering import Rendering
from tests.backend_ml.conftest import PROJECT
from tests.backend_ml.sky import ENCODER, write_features, write_stamps
from tests.backend_ml.status.conftest import Leader
from tests.backend_ml.status.test_page import whole

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
CHOICE = {"type": "choices", "from_name": "morphology", "to_name": "image"}
BOX = {"x": 10, "y": 10, "width": 20, "height": 20, "rotation": 0}
ANSWERS: dict[str, list[dict[str, Any]]] = {
    "morphology": [{**CHOICE, "value": {"choices": ["spiral"]}}],
    "interest": [{**CHOICE, "from_name": "interest", "value": {"choices": ["yes"]}}],
    "galaxy_zoo": [
        {**CHOICE, "from_name": "smooth-or-featured", "value": {"choices": ["smooth"]}},
        {**CHOICE, "from_name": "how-rounded", "value": {"choices": ["round"]}},
    ],
    "interest_rating": [{"type": "rating", "from_name": "interest", "to_name": "image", "value": {"rating": 3}}],
    "parameters": [{"type": "number", "from_name": "mag_r", "to_name": "image", "value": {"number": 17.5}}],
    "lenses": [
        {"type": "rectanglelabels", "from_name": "boxes", "to_name": "image", "original_width": 960,
         "original_height": 960, "value": {**BOX, "rectanglelabels": ["arc"]}},
        {**CHOICE, "from_name": "grade", "value": {"choices": ["A"]}},
    ],
}  # fmt: skip
ODD: list[Any] = [
    [],
    [{}],
    [{"type": "choices", "value": {"choices": []}}],
    [{"type": "choices", "from_name": "morphology", "value": "spiral"}],
    [{"type": "number", "from_name": "mag_r", "value": {"number": "17,5"}}],
    [{"type": "rating", "from_name": "interest", "value": {"rating": 99}}],
    [{"type": "rectanglelabels", "from_name": "boxes", "value": {}}],
]


@pytest.fixture(params=sorted(set(names()) & {*ANSWERS, "several", "restoration"}))
def kind(request: pytest.FixtureRequest) -> str:
    """Each of our kinds."""
    return str(request.param)


@pytest.fixture
def campaign(database: Database, tmp_path: Path, kind: str) -> Campaign:
    """One of that kind with ten tasks, 101 to 110, of which the last two are blind."""
    stamps = write_stamps(tmp_path)
    ours = find_kind(kind)
    with database.transaction() as connection:
        features = str(write_features(stamps))
        query(connection, "put_stamp_set", name="sky", path=str(stamps), digest="d", features=features)
        made = add_campaign(
            connection,
            name="Test",
            kind=kind,
            classes=ours.offered(ours.label_config()),
            stamp_set="sky",
            encoder=ENCODER,
            rendering=Rendering(),
            policy=ours.policies[0],
            project=PROJECT,
            audit_fraction=0.2,
            overlap=ours.overlap,
        )
        task = {"campaign": made.id, "stamp_set": "sky"}
        query_many(
            connection, "put_task", [{**task, "task": 101 + i, "stamp_id": i, "audit": i > 7} for i in range(10)]
        )
    return made


def answer(database: Database, campaign: Campaign, task: int, by: int, result: Any, label: str | None) -> None:
    database.rows(
        "put_annotation_event",
        campaign=campaign.id,
        action="labelled",
        task=task,
        annotation=task * 10 + by,
        label=label,
        annotator=by,
        result=Jsonb(result),
        parent_prediction=None,
        lead_time=2.5,
        source="webhook",
        happened_at=NOON + timedelta(minutes=by),
    )


def answered(database: Database, campaign: Campaign) -> None:
    """Two people answer what is asked, and a third one what nobody can read."""
    result = ANSWERS.get(campaign.kind, ANSWERS["morphology"])
    label = next((region["value"]["choices"][0] for region in result if "choices" in region["value"]), None)
    for task in (101, 102, 109):
        answer(database, campaign, task, 1, result, label)
        answer(database, campaign, task, 2, result, label)
    for number, odd in enumerate(ODD):
        answer(database, campaign, 102 + number, 3, odd, None)


def seen(leader: Leader, campaign: Campaign) -> dict[str, Any]:
    """The page is whole and every file is there; the figures as JSON."""
    page = leader.get(f"/{campaign.id}").text
    assert whole(page) and whole(leader.get().text)
    table = leader.get(f"/{campaign.id}/labels.csv")
    assert table.status_code == 200, table.text
    rows = list(csv.reader(io.StringIO(table.text)))
    assert len({len(row) for row in rows}) == 1 and rows[0][:2] == ["stamp_set", "stamp_id"]
    catalogue = leader.get(f"/{campaign.id}/catalogue.csv")
    assert catalogue.status_code == 200, catalogue.text
    assert len(list(csv.DictReader(io.StringIO(catalogue.text)))) == 10
    draws = campaign.kind == "lenses"
    assert leader.get(f"/{campaign.id}/objects.json").status_code == (200 if draws else 400)
    assert ("objects.json" in page) == draws, "what cannot be had is not offered"
    figures: dict[str, Any] = json.loads(leader.get(f"/{campaign.id}/status.json").text)
    return figures


def test_before_anybody_answers(leader: Leader, campaign: Campaign) -> None:
    figures = seen(leader, campaign)
    assert (figures["done"], figures["people"], figures["tasks"]) == (0, [], {"tasks": 10, "audit": 2})


def test_whatever_people_answer(leader: Leader, database: Database, campaign: Campaign) -> None:
    answered(database, campaign)
    figures = seen(leader, campaign)
    assert [(one["labels"], one["skips"]) for one in figures["people"]] == [(7, 0), (3, 0), (3, 0)]
    assert figures["people"][0]["seconds"] == 2.5 and figures["agreement"]["blind"]["people"]["galaxies"] <= 1
    with database.transaction() as connection:
        report = read_report(connection, campaign, NOON + timedelta(hours=1))
        told = dict(campaign_told(report, namer(connection, campaign, str), campaign.encoder, None))
    assert told["Labels"][0] == "13 labels by 3 people" and told["People"][0].startswith(
        "3: 7 labels (7 in the last day)"
    )
    said = chosen_words(campaign.policy, campaign.overlap)
    assert told["Chosen by"] == [said], "a rule that not every kind goes by is not said"
    assert all(line and line.isprintable() for lines in told.values() for line in lines)


@pytest.mark.parametrize("state", ["paused", "closed"])
def test_a_campaign_that_rests(leader: Leader, database: Database, campaign: Campaign, state: str) -> None:
    answered(database, campaign)
    with database.transaction() as connection:
        connection.execute("UPDATE campaign SET state = %s", (state,))
    assert seen(leader, campaign)["state"] == state
