"""When a campaign's next long training comes, told in words, on the page and as JSON."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from backend_ml.cli.main import app
from backend_ml.kinds.installed import find_kind, names
from backend_ml.learning.learn import learn, stores_of
from backend_ml.report.next_training import OURS, NextTraining, next_training, training_words
from backend_ml.report.report import read_report
from backend_ml.settings import Settings
from backend_ml.store.database import Database
from backend_ml.store.records import Campaign
from tests.backend_ml.status.conftest import Leader, leader, site
from tests.backend_ml.status.test_page import whole as words_of
from tests.backend_ml.whole import AUDIT, N, label, write_campaign

__all__ = ["leader", "site"]  # fixtures


@pytest.fixture
def campaign(database: Database, tmp_path: Path, store: Path) -> Campaign:
    """Of sixty galaxies, the last 32 of which are of the audit slice."""
    return write_campaign(database, tmp_path, store)


def told(database: Database, campaign: Campaign, store: Path, labels: int) -> NextTraining:
    with database.transaction() as connection:
        report = read_report(connection, campaign)
        found = next_training(connection, report, Settings(store=store, encoder_labels=labels))
    assert found is not None
    return found


@pytest.mark.parametrize("name", sorted(OURS))
def test_what_is_said_of_our_kinds_is_what_they_do(name: str) -> None:
    assert name in names()
    kind = find_kind(name)
    trained = OURS[name]
    assert (trained == "encoder", trained in ("detector", "decoder")) == (kind.trains_encoder, kind.slow)


def test_a_label_config_in_which_people_draw_trains_a_detector(
    database: Database, campaign: Campaign, store: Path
) -> None:
    drawn = (
        '<View><Image name="image" value="$image"/><Choices name="class" toName="image"><Choice value="a"/>'
        '<Choice value="b"/></Choices><RectangleLabels name="boxes" toName="image"><Label value="c"/></RectangleLabels>'
        "</View>"
    )
    several = replace(campaign, kind="several", label_config=drawn)
    with database.transaction() as connection:
        report = replace(read_report(connection, campaign), campaign=several)
        found = next_training(connection, report, Settings(store=store, finetune_after=7))
    assert found is not None
    assert training_words(found, "Whole") == "the detector is fine-tuned after 7 newly labelled galaxies: 7 more"


def test_labels_are_counted_down_until_the_encoder_is_trained(
    database: Database, campaign: Campaign, store: Path
) -> None:
    found = told(database, campaign, store, 12)
    assert (found.labels_missing, found.audit_labels_missing, found.never) == (12, 30, "")
    label(database, campaign, [*range(10), *range(N - AUDIT, N - AUDIT + 29)])
    learn(database, stores_of(database, campaign, store))
    found = told(database, campaign, store, 12)
    assert (found.labels, found.audit_labels) == (10, 29)
    assert training_words(found, "Whole").endswith("2 more labels and 1 in the audit slice to go")
    label(database, campaign, [10, 11, N - 1])
    learn(database, stores_of(database, campaign, store))
    found = told(database, campaign, store, 12)
    assert not found.labels_missing and "which are there" in training_words(found, "Whole")


def test_a_training_that_never_comes_says_why(database: Database, campaign: Campaign, store: Path) -> None:
    assert "GALAXYLOOP_ENCODER_LABELS is 0" in training_words(told(database, campaign, store, 0), "Whole")
    said = training_words(told(database, campaign, store, 300), "Whole")
    assert "it has 60 galaxies to label" in said and "`galaxyloop campaign encoder 'Whole' --train`" in said
    with database.transaction() as connection:
        connection.execute("UPDATE task SET audit = false WHERE stamp_id > 33")
    assert "its audit slice has 6 galaxies" in training_words(told(database, campaign, store, 12), "Whole")


def test_decoders_and_detectors_wait_for_newly_labelled_galaxies() -> None:
    said = training_words(NextTraining("decoder", 6, 20), "Restored")
    assert said == "the decoder is fine-tuned after 20 newly labelled galaxies: 14 more"


def test_the_page_and_the_command_say_it(
    database: Database, campaign: Campaign, store: Path, leader: Leader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GALAXYLOOP_ENCODER_LABELS", "12")
    out = CliRunner().invoke(app, ["campaign", "status", "Whole", "--json"]).stdout
    training = json.loads(out)["next_training"]
    assert (training["labels_missing"], training["audit_labels_missing"]) == (12, 30)
    in_words = " ".join(CliRunner().invoke(app, ["campaign", "status", "Whole"]).stdout.split())
    assert "12 more labels and 30 in the audit slice to go" in in_words
    page = words_of(leader.get("/1").text)
    assert "Next training" in page and "300 labels" in page
