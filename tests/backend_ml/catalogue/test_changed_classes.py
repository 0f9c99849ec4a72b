"""A catalogue of a campaign whose classes were renamed, merged or grew since: one name a class, everywhere."""

import csv
from pathlib import Path
from typing import Any

import pytest

from backend_ml.catalogue.publish import Published, publish, read_source
from backend_ml.catalogue.summary import summarise
from backend_ml.catalogue.tables.columns import class_slugs
from backend_ml.label_studio.regions.choices import ASIDE
from backend_ml.labels.people import People
from backend_ml.leading.classes import rename_class
from backend_ml.leading.leader import Leader
from backend_ml.leading.people import set_aside
from backend_ml.settings import Settings
from backend_ml.store.campaigns import campaign_of_id
from backend_ml.store.database import Database
from backend_ml.store.records import Campaign
from tests.backend_ml.catalogue.test_catalogue import nothing, say, silent
from tests.backend_ml.conftest import CLASSES
from tests.backend_ml.leading.test_classes import OneProject
from tests.backend_ml.learned import NOWHERE, learn_now

ROUND, BETWEEN, _, _, SPIRAL = CLASSES
OWN = '<View><Image name="image" value="$image"/><Choices name="form" toName="image">{}</Choices></View>'  # somebody's


def now(database: Database, campaign: Campaign) -> Campaign:
    with database.transaction() as connection:
        found = campaign_of_id(connection, campaign.id)
    assert found is not None
    return found


def published(database: Database, campaign: Campaign, folder: Path) -> tuple[Published, list[dict[str, str]]]:
    source = read_source(database, now(database, campaign), NOWHERE, answers=True)
    told = publish(database, source, folder / "x.csv", silent)
    with (folder / "x.csv").open(newline="", encoding="utf-8") as stream:
        return told, list(csv.DictReader(stream))


@pytest.fixture
def leader(database: Database) -> Leader:
    """Somebody who changes classes."""
    return Leader(Settings(), database, OneProject(), "vera")


@pytest.fixture
def said(database: Database, campaign: Campaign, head: str) -> Campaign:
    """Stamps 5 to 8 have a label or two, of round, between and spiral; stamp 9 is blind."""
    for task, label, who in (
        (106, ROUND, 1), (106, BETWEEN, 2), (107, BETWEEN, 1), (108, SPIRAL, 1), (108, SPIRAL, 2), (110, BETWEEN, 1)
    ):  # fmt: skip
        say(database, campaign, task, label, who)
    return campaign


def votes(row: dict[str, str]) -> dict[str, int]:
    return {name.removeprefix("votes_"): int(value) for name, value in row.items() if name.startswith("votes_")}


@pytest.mark.parametrize("relearned", [False, True])
def test_a_class_that_was_merged_has_no_column_and_its_votes_are_the_others(
    database: Database, said: Campaign, leader: Leader, tmp_path: Path, relearned: bool
) -> None:
    before = published(database, said, tmp_path)[1]
    rename_class(leader, said, BETWEEN, ROUND)
    if relearned:
        assert learn_now(database, now(database, said)) in ("promoted", "held back")
    told, rows = published(database, said, tmp_path)
    gone = "in_between_smooth"
    assert not any(gone in name for name in rows[0]) and "people labelled what" not in " ".join(told.notes)
    for old, new in zip(before, rows, strict=True):
        counted = votes(old)
        counted["round_smooth"] += counted.pop(gone)
        assert votes(new) == counted
        assert new["label"] == (ROUND if old["label"] == BETWEEN else old["label"])
        probabilities = [float(value) for name, value in new.items() if name.startswith("prob_")]
        assert len(probabilities) == 4 and sum(probabilities) == pytest.approx(1, abs=1e-5)
        if not relearned:
            # the version of before answers by what its classes are now
            whole = float(old["prob_round_smooth"]) + float(old[f"prob_{gone}"])
            assert float(new["prob_round_smooth"]) == pytest.approx(whole, abs=2e-6)
    assert rows[5]["agreement"] == "1.0", "of one mind by now"


def test_a_class_with_another_name_keeps_its_answers(
    database: Database, said: Campaign, leader: Leader, tmp_path: Path
) -> None:
    before = published(database, said, tmp_path)[1]
    odd = '旋涡 "α", <arms>'
    rename_class(leader, said, SPIRAL, odd)
    _, rows = published(database, said, tmp_path)
    slug = class_slugs([odd])[odd]
    assert f"votes_{slug}" in rows[0] and "votes_spiral" not in rows[0]
    for old, new in zip(before, rows, strict=True):
        assert float(new[f"prob_{slug}"]) == float(old["prob_spiral"])
        assert (new["label"] == odd) == (old["label"] == SPIRAL)
        assert (new["predicted"] == odd) == (old["predicted"] == SPIRAL)
    assert rows[7]["label"] == odd and rows[7]["n_votes"] == "2"


def adopted(database: Database, campaign: Campaign, offered: tuple[str, ...], classes: tuple[str, ...]) -> Campaign:
    """The campaign as one of somebody's own project, which offered these when it was adopted."""
    config = OWN.format("".join(f'<Choice value="{name}"/>' for name in offered))
    with database.transaction() as connection:
        connection.execute("UPDATE campaign SET label_config = %s, classes = %s", (config, list(classes)))
    return now(database, campaign)


def test_a_class_that_its_owner_added_is_one_of_the_campaigns(
    database: Database, campaign: Campaign, tmp_path: Path
) -> None:
    """The label config that a campaign keeps is that of the day it was adopted."""
    grown = adopted(database, campaign, (ROUND, SPIRAL), (ROUND, SPIRAL, "ring"))
    say(database, grown, 101, "ring", 1)
    say(database, grown, 102, ROUND, 1)
    told, rows = published(database, grown, tmp_path)
    assert list(votes(rows[0])) == ["round_smooth", "spiral", "ring"] and votes(rows[0])["ring"] == 1
    assert not [note for note in told.notes if "does not offer" in note]


def test_a_class_that_nobody_met_yet_has_a_fraction_too(database: Database, campaign: Campaign) -> None:
    grown = adopted(database, campaign, (ROUND, SPIRAL), (ROUND, SPIRAL, "ring"))
    say(database, grown, 110, ROUND, 1)
    source = read_source(database, grown, NOWHERE, answers=True)
    told = summarise(source.galaxies, source.probabilities, nothing)
    assert [row["class"] for row in told.rows] == [ROUND, SPIRAL, "ring"]
    ring = told.rows[2]
    assert ring["fraction"] == 0 and 0 < ring["high"] < 1
    assert any("nobody has labelled one: spiral, ring" in note for note in told.notes)


def test_what_a_label_config_never_offered_is_told(database: Database, campaign: Campaign, tmp_path: Path) -> None:
    grown = adopted(database, campaign, (ROUND, SPIRAL, *ASIDE), (ROUND, SPIRAL))
    for task, label in ((101, "ring"), (102, ASIDE[0]), (103, "bar")):
        say(database, grown, task, label, 1)
    told, rows = published(database, grown, tmp_path)
    assert "people labelled what the campaign does not offer, which is kept as it is: bar, ring" in told.notes
    assert list(votes(rows[0]))[-2:] == ["bar", "ring"] and sum(votes(rows[2]).values()) == 1


@pytest.mark.parametrize("back", [False, True])
def test_labels_of_who_is_set_aside_are_none(database: Database, said: Campaign, tmp_path: Path, back: bool) -> None:
    before = published(database, said, tmp_path)[1]

    def aside(**how: Any) -> None:
        with database.transaction() as connection:
            set_aside(connection, said, "2", "vera", People(Settings()), **how)

    aside()
    if back:
        aside(back=True)
    _, rows = published(database, said, tmp_path)
    # of stamp 5 one label is left, of stamp 7 too
    assert [row["n_votes"] for row in rows[5:8]] == (["2", "1", "2"] if back else ["1", "1", "1"])
    assert rows[5]["label"] == (before[5]["label"] if back else ROUND)
    assert [row["n_annotators"] for row in rows[5:8]] == [row["n_votes"] for row in rows[5:8]]
