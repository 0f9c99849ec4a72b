"""Campaigns that look for what the simulator draws: they rank before anybody labels, and labels take over."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from backend_ml.acquisition.policy import fitting
from backend_ml.campaign.plan import CampaignPlan
from backend_ml.campaign.status import campaign_status
from backend_ml.cli.simulated import looked_for
from backend_ml.kinds.installed import find_kind, load_model
from backend_ml.learning.learn import stores_of
from backend_ml.queue import push
from backend_ml.queue.ranking import Labelled, effective_policy
from backend_ml.store import versions
from backend_ml.store.campaigns import add_campaign
from backend_ml.store.database import Database
from backend_ml.store.records import Campaign, QueueTask
from lvm_training.errors import CheckpointError
from lvm_training.scenes.simulated_classes import CONCEPTS, ConceptError
from tests.backend_ml.conftest import MORPHOLOGY
from tests.backend_ml.learned import begin_now, learn_now
from tests.backend_ml.simulated_sky import STAMPS, write_simulated

LIKE = 3


@pytest.fixture
def searching(database: Database, campaign: Campaign, tmp_path: Path) -> Campaign:
    """A campaign that looks for rings in the sky of `campaign`, with simulated stamps in `tmp_path`."""
    write_simulated(tmp_path, "ring", like=LIKE)
    values = MORPHOLOGY | {"kind": "interest", "classes": ("no", "yes"), "policy": "loop", "audit_fraction": 0.0}
    with database.transaction() as connection:
        return add_campaign(
            connection, **values, name="Rings", project=70, simulated={"yes": "ring"}, simulated_stamps=STAMPS
        )


def ranked(database: Database, campaign: Campaign, store: Path) -> tuple[str, list[int], NDArray[np.float64]]:
    """The policy that ranks the stamps of the sky, their order, and how likely each is a yes."""
    stores = stores_of(database, campaign, store)
    with database.transaction() as connection:
        version = versions.active_version(connection, campaign)
        labelled = push.labelled_stamps(connection, campaign, stores.features)
    assert version is not None
    tasks = [QueueTask(101 + row, "sky", row, audit=False) for row in range(10)]
    found = push.rank_tasks(campaign, tasks, load_model(version, stores), stores.features, labelled, 0)
    assert found.answers is not None and found.answers.probabilities is not None
    order = [tasks[place.index].stamp_id for place in found.places]
    return found.ranked.policy, order, found.answers.probabilities[:, 1]


def label(database: Database, campaign: Campaign, **rows: list[int]) -> None:
    for name, numbers in rows.items():
        for row in numbers:
            values = {"stamp_set": "sky", "stamp_id": row, "label": name}
            database.rows("put_snapshot_label", campaign=campaign.id, **values)


def share(database: Database, campaign: Campaign) -> float | None:
    with database.transaction() as connection:
        found: float | None = campaign_status(connection, campaign)["prior_share"]
    return found


def test_the_first_queue_is_what_is_most_like_the_simulated_ones(
    database: Database, searching: Campaign, tmp_path: Path
) -> None:
    assert begin_now(database, searching, None, tmp_path).startswith("interest-")
    policy, order, _ = ranked(database, searching, tmp_path)
    assert policy == "simulated" and set(order[:2]) == {LIKE, LIKE + 5}
    assert share(database, searching) == 1


def test_labels_take_over(database: Database, searching: Campaign, tmp_path: Path) -> None:
    begin_now(database, searching, None, tmp_path)
    label(database, searching, no=[3, 8])
    assert learn_now(database, searching, tmp_path) == "promoted"
    policy, _, before = ranked(database, searching, tmp_path)
    assert policy == "simulated" and 0 < (share(database, searching) or 0) < 1
    label(database, searching, yes=[1, 6, 2, 7], no=[4])
    learn_now(database, searching, tmp_path)
    policy, _, after = ranked(database, searching, tmp_path)
    assert policy == "loop"
    assert after[[1, 6]].min() > after[[3, 8]].max() and before[[3, 8]].min() > before[[1, 6]].max()


def test_without_its_simulated_stamps_and_encoder_it_says_so(
    database: Database, searching: Campaign, tmp_path: Path
) -> None:
    with pytest.raises(CheckpointError, match="store has no encoder"):
        begin_now(database, searching, None, tmp_path / "elsewhere")


def test_what_a_search_may_begin_with() -> None:
    kind = find_kind("interest")
    assert kind.simulated(kind.with_simulated(kind.label_config(), {"yes": "ring"})) == {"yes": "ring"}
    for given, words in (({"yes": "rings"}, "draws no 'rings'"), ({"no": "ring"}, "not of 'no'")):
        with pytest.raises(ConceptError, match=words):
            CampaignPlan("sky", Path("no.h5"), Path("nowhere"), kind="interest", simulated=given).check()


def test_the_option_of_the_command_line() -> None:
    assert looked_for("interest", "ring") == {"yes": "ring"} and looked_for("morphology", None) == {}
    with pytest.raises(ConceptError, match="looks for no one class"):
        looked_for("morphology", "ring")
    with pytest.raises(ConceptError) as refused:
        looked_for("interest", "rings")
    assert all(name in refused.value.hint for name in CONCEPTS)


@pytest.mark.parametrize(
    ("labels", "missing", "policy", "expected"),
    [
        ([], set(), "loop", "simulated"),
        (["yes", "yes", "no"], set(), "loop", "simulated"),
        (["yes"] * 3, set(), "loop", "loop"),
        ([], set(), "random", "random"),
        ([], {"answers", "ensemble"}, "loop", "k-centre"),
    ],
)
def test_simulated_stamps_choose_until_there_are_examples(
    labels: list[str], missing: set[str], policy: str, expected: str
) -> None:
    features = np.zeros((len(labels), 4), np.float32)
    known = Labelled(features, labels, ("no", "yes"), 1, searching=True, simulated=True)
    assert effective_policy(policy, known, frozenset({*missing, "boxes", "views"})) == expected


def test_nobody_chooses_the_policy_of_simulated_stamps() -> None:
    for boxes in (True, False):
        for searching in (True, False):
            assert "simulated" not in fitting(boxes=boxes, searching=searching)
