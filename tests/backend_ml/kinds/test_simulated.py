"""Campaigns whose classes the simulator draws: what label configs may say of it, and what it comes to."""

from collections.abc import Iterator
from dataclasses import fields
from importlib.resources import files
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import psycopg
import pytest
from psycopg.types.json import Jsonb

from backend_ml.campaign.plan import CampaignPlan
from backend_ml.campaign.status import campaign_status
from backend_ml.cli.simulated import simulated_classes
from backend_ml.kinds.installed import find_kind, load_model
from backend_ml.kinds.models import Answers
from backend_ml.kinds.simulated import simulated_folder
from backend_ml.label_studio.regions.choices import LabelConfigError
from backend_ml.learning.learn import stores_of
from backend_ml.local.postgres import EmbeddedPostgres
from backend_ml.store import versions
from backend_ml.store.campaigns import add_campaign
from backend_ml.store.database import MIGRATIONS, Database
from backend_ml.store.records import Campaign
from lvm_training.errors import CheckpointError, GalaxyLoopError
from lvm_training.scenes.simulated_classes import ConceptError, Drawn
from lvm_training.scenes.structure import DISC, EDGE_ON, SMOOTH, Structure
from lvm_training.simulated.simulated_set import SimulatedSet, set_path
from tests.backend_ml.conftest import CLASSES, MORPHOLOGY
from tests.backend_ml.learned import begin_now, learn_now
from tests.backend_ml.sky import ENCODER

CONCEPTS = ("round", "in-between", "cigar", "edge-on", "spiral")
MAPPED = dict(zip(CLASSES, CONCEPTS, strict=True))
STAMPS = 200


def config(classes: tuple[str, ...] | None = None, **simulated: str) -> str:
    kind = find_kind("morphology")
    return kind.with_simulated(kind.label_config(classes), simulated)


def attributes(label_config: str) -> dict[str, str | None]:
    return {str(tag.get("value")): tag.get("simulated") for tag in ElementTree.fromstring(label_config).iter("Choice")}


def test_the_morphology_config_says_what_is_drawn() -> None:
    assert find_kind("morphology").simulated(find_kind("morphology").label_config()) == MAPPED
    assert find_kind("interest").simulated(find_kind("interest").label_config()) == {}
    assert find_kind("lenses").simulated(find_kind("lenses").label_config()) == {}


def test_other_classes_are_drawn_as_somebody_says() -> None:
    assert find_kind("morphology").simulated(config(("ringed", "plain"))) == {}
    mapped = config(("ringed", "plain", "odd"), ringed="ring", plain="no-ring")
    assert find_kind("morphology").simulated(mapped) == {"ringed": "ring", "plain": "no-ring"}
    assert attributes(mapped)["odd"] is None and attributes(mapped)["unsure"] is None


def test_classes_that_stay_keep_what_is_said_of_them_if_there_are_two() -> None:
    kind = find_kind("morphology")
    assert kind.simulated(kind.label_config(["spiral", "edge-on disc", "odd"])) == {
        "spiral": "spiral",
        "edge-on disc": "edge-on",
    }
    assert kind.simulated(kind.label_config(["spiral", "not spiral"])) == {}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"classes": ["ringed", "plain"], "simulated": {"ringed": "rings", "plain": "spiral"}}, "'rings', which the"),
        ({"classes": ["ringed", "plain"], "simulated": {"ringed": "ring", "plain": "ring"}}, "given twice, to the"),
        (
            {"classes": ["ringed", "plain"], "simulated": {"ringed": "ring", "plain": ""}},
            "'plain' is mapped to nothing",
        ),
        ({"classes": ["ringed", "plain"], "simulated": {"ringed": "ring"}}, "Only the class 'ringed'"),
        ({"classes": ["ringed", "plain"], "simulated": {"halo": "ring"}}, "'halo' cannot be simulated"),
        ({"simulated": {"spiral": "edge-on"}}, "'edge-on' is given twice"),
        ({"simulated": {"unsure": "ring"}}, "'unsure' cannot be simulated"),
        ({"kind": "lenses", "detector": Path("d"), "simulated": {"arc": "lens"}}, "learns nothing from simulated"),
    ],
)
def test_a_mapping_that_cannot_be_is_refused_before_anything_is_made(given: dict[str, Any], words: str) -> None:
    with pytest.raises(GalaxyLoopError, match=words) as found:
        CampaignPlan("sky", Path("no.h5"), Path("nowhere"), **given).check()
    assert isinstance(found.value, ConceptError | LabelConfigError) and found.value.hint


def test_a_choice_aside_is_not_drawn() -> None:
    label_config = find_kind("morphology").label_config().replace('value="unsure"', 'value="unsure" simulated="ring"')
    with pytest.raises(ConceptError, match="'unsure' is no class"):
        find_kind("morphology").simulated(label_config)


def test_mappings_of_the_command_line() -> None:
    assert simulated_classes(["a=ring", "b = c=no-ring", "d=round,cigar"]) == {
        "a": "ring",
        "b = c": "no-ring",
        "d": "round,cigar",
    }
    for pairs, words in (
        (["ring"], "'ring' maps no class"),
        (["=ring"], "maps no class"),
        (["a=ring", "a=bar"], "twice"),
    ):
        with pytest.raises(ConceptError, match=words):
            simulated_classes(pairs)


def drawn_stamps() -> SimulatedSet:
    """Simulated stamps of the five classes whose features tell them, in units of their own, as those of the sky do."""
    codes = np.arange(STAMPS) % 5
    columns: dict[str, Any] = {field.name: np.zeros(STAMPS, np.float32) for field in fields(Structure)}
    columns["kind"] = np.array([SMOOTH, SMOOTH, SMOOTH, EDGE_ON, DISC])[codes]
    columns["axis_ratio"] = np.array([0.9, 0.6, 0.2, 0.2, 0.8], np.float32)[codes]
    columns["arms"] = np.where(codes == 4, 0.8, 0).astype(np.float32)
    columns["fluxes"] = np.zeros((STAMPS, 4, 3), np.float32)
    features = 50 + 9 * np.eye(5, 16)[codes] + np.random.default_rng(0).normal(0, 1, (STAMPS, 16))
    return SimulatedSet(features.astype(np.float32), Drawn(Structure(**columns), np.zeros(STAMPS, bool)), ENCODER)


@pytest.fixture
def taught(database: Database, campaign: Campaign, tmp_path: Path) -> Iterator[Campaign]:
    """The campaign of `campaign` again, with simulated stamps in `tmp_path`."""
    drawn_stamps().save(set_path(simulated_folder(tmp_path), ENCODER))
    with database.transaction() as connection:
        made = add_campaign(
            connection, **MORPHOLOGY, name="Taught", project=70, simulated=MAPPED, simulated_stamps=STAMPS
        )
    yield made


def label(database: Database, campaign: Campaign, rows: range, *, shift: int = 0) -> None:
    for row in rows:
        values = {"stamp_set": "sky", "stamp_id": row, "label": CLASSES[(row + shift) % 5]}
        database.rows("put_snapshot_label", campaign=campaign.id, **values)


def state(database: Database, campaign: Campaign) -> dict[str, Any]:
    with database.transaction() as connection:
        return campaign_status(connection, campaign)


def answers_of(database: Database, campaign: Campaign, store: Path, stamp: int) -> Answers:
    """What the active version says of a stamp."""
    with database.transaction() as connection:
        active = versions.active_version(connection, campaign)
    assert active is not None
    model = load_model(active, stores_of(database, campaign, store))
    assert model is not None
    return model.answer([("sky", stamp)])


def scores(database: Database, campaign: Campaign, store: Path, stamp: int) -> dict[str, float]:
    return answers_of(database, campaign, store, stamp).scores(0)


def said(database: Database, campaign: Campaign, store: Path, stamp: int) -> tuple[str, str, dict[str, float]]:
    """The class, the words and the measures of an answer."""
    answers = answers_of(database, campaign, store, stamp)
    found = answers.scores(0)
    return max(found, key=found.__getitem__), answers.words(0), answers.measures(0)


def test_a_campaign_answers_before_anybody_labels(database: Database, taught: Campaign, tmp_path: Path) -> None:
    assert taught.simulated == MAPPED and taught.simulated_stamps == STAMPS
    assert begin_now(database, taught, None, tmp_path).startswith("morphology-")
    for row in range(5):
        answer, words, measures = said(database, taught, tmp_path, row)
        assert answer == CLASSES[row]
        assert "nobody has labelled any yet" in words and measures["prior share"] == 1
    found = state(database, taught)
    assert found["prior_share"] == 1 and found["simulated"] == MAPPED


def test_labels_move_the_answers_and_the_share_says_so(database: Database, taught: Campaign, tmp_path: Path) -> None:
    first = begin_now(database, taught, None, tmp_path)
    before = [scores(database, taught, tmp_path, row) for row in range(5)]
    assert learn_now(database, taught, tmp_path) == "unchanged"
    label(database, taught, range(10), shift=1)
    assert learn_now(database, taught, tmp_path) == "promoted"
    found = state(database, taught)
    assert found["version"] != first and 0 < found["prior_share"] < 1
    for row in range(5):
        people = CLASSES[(row + 1) % 5]
        assert scores(database, taught, tmp_path, row)[people] > before[row][people]
        _, words, measures = said(database, taught, tmp_path, row)
        assert "the rest from people's labels" in words and measures["prior share"] < 1


def test_starting_labels_join_the_prior(database: Database, taught: Campaign, tmp_path: Path) -> None:
    label(database, taught, range(5))
    assert begin_now(database, taught, None, tmp_path).startswith("morphology-")
    _, words, _ = said(database, taught, tmp_path, 7)
    assert "% of that is from simulated galaxies" in words and 0 < state(database, taught)["prior_share"] < 1


def test_without_a_mapping_nothing_changes(database: Database, campaign: Campaign, tmp_path: Path) -> None:
    assert campaign.simulated == {} and begin_now(database, campaign, None, tmp_path).startswith("coldstart-")
    label(database, campaign, range(5))
    assert learn_now(database, campaign, tmp_path) == "promoted"
    _, words, measures = said(database, campaign, tmp_path, 2)
    assert "simulated" not in words and "prior share" not in measures
    assert state(database, campaign)["prior_share"] is None


def test_stamps_that_are_gone_with_their_encoder_are_asked_for(
    database: Database, taught: Campaign, tmp_path: Path
) -> None:
    begin_now(database, taught, None, tmp_path)
    set_path(simulated_folder(tmp_path), ENCODER).unlink()
    label(database, taught, range(5))
    with pytest.raises(CheckpointError, match="no encoder"):
        learn_now(database, taught, tmp_path)
    assert said(database, taught, tmp_path, 0)[0] == CLASSES[0], "the version that serves goes on serving"


def test_campaigns_of_before_have_no_mapping(postgres: EmbeddedPostgres) -> None:
    postgres.create_database("of_before")
    schema = files("backend_ml.store").joinpath("sql/schema.sql").read_text()
    with psycopg.connect(postgres.url("of_before")) as connection:
        connection.execute(schema)  # as the first schema had it
        connection.execute("INSERT INTO stamp_set VALUES ('sky', 'p', 'd', 'f')")
        connection.execute(
            "INSERT INTO campaign (name, project_id, kind, classes, stamp_set, encoder, rendering, policy,"
            " audit_fraction, seed, overlap, consensus) VALUES"
            " ('Test', 7, 'morphology', %s, 'sky', %s, %s, 'margin', 0.1, 0, 1, 'majority')",
            (list(CLASSES), ENCODER, Jsonb(MORPHOLOGY["rendering"].model_dump())),
        )
    with Database(postgres.url("of_before")) as opened:
        (row,) = opened.rows("campaigns")
        assert opened.rows("schema_version") == [{"number": len(MIGRATIONS)}]
    made = Campaign.from_row(row)
    assert made.simulated == {} and made.simulated_stamps == 0
    assert (made.picture_size, made.renamed, made.links_lapsed) == (480, {}, False)
