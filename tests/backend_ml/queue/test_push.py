"""The ranking of a campaign's tasks: what decides it, what it is logged under, who waits."""

from collections import Counter
from dataclasses import replace
from itertools import product
from math import log
from typing import Any

import numpy as np
import pytest

from backend_ml.acquisition.ensemble import classification_ensemble
from backend_ml.acquisition.objects import box_margin
from backend_ml.acquisition.policy import POLICIES, find_policy, judge, needed_views
from backend_ml.acquisition.uncertainty import bald, margin
from backend_ml.kinds.answers import ChoiceAnswers
from backend_ml.kinds.installed import find_kind
from backend_ml.kinds.models import Model
from backend_ml.plugins.choices import HeadModel
from backend_ml.queue import push
from backend_ml.queue.ranking import BATCH, Labelled, Ranked, Waiting, rank, ranking_seed
from backend_ml.store.database import Database
from backend_ml.store.features import FeatureStore
from backend_ml.store.records import Campaign, QueueTask
from lvm_training.heads.classification import ClassificationHead
from lvm_training.tables.snapshot import Snapshot
from tests.backend_ml.conftest import CLASSES
from tests.backend_ml.webhooks import created, send

START = Snapshot(["sky"] * 4, [0, 1, 2, 3], [CLASSES[i] for i in range(4)])
NONE = Snapshot([], [], [])


class Given(Model):
    """A model that answers what it was given, a row a stamp."""

    def __init__(self, probabilities: np.ndarray[Any, Any]) -> None:
        self._probabilities = probabilities

    def check(self, stamp: tuple[str, int]) -> None:
        """It knows every stamp."""

    def answer(self, stamps: object) -> ChoiceAnswers:
        """What it was given."""
        return ChoiceAnswers(self._probabilities, CLASSES)


@pytest.fixture
def store(database: Database, campaign: Campaign) -> FeatureStore:
    with database.transaction() as connection:
        return FeatureStore.from_database(connection, campaign.encoder)


def tasks(n: int = 10, *, disagreement: dict[int, float] | None = None) -> list[QueueTask]:
    """Task 101 + i shows stamp i; the last is of the audit slice."""
    return [QueueTask(101 + i, "sky", i, i == n - 1, (disagreement or {}).get(101 + i, 0.0)) for i in range(n)]


def ranked(
    campaign: Campaign,
    store: FeatureStore,
    model: Model | None,
    labels: Snapshot = START,
    *,
    event: int = 5,
    given: list[QueueTask] | None = None,
) -> push.Ranking:
    waiting = tasks() if given is None else given
    return push.rank_tasks(campaign, waiting, model, store, Labelled.read(campaign, labels, store), event)


def judged(campaign: Campaign, labelled: Labelled, waiting: Waiting) -> Ranked:
    """What the campaign's policy says, without a queue around it."""
    return rank(campaign.policy, waiting, labelled, batch=BATCH, seed=ranking_seed(campaign, 1))


def not_needed(places: object) -> Any:
    pytest.fail("features are not needed")


def answers(n: int = 10, seed: int = 0) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).dirichlet(np.ones(5), size=n)


@pytest.mark.parametrize("name", find_kind("morphology").policies)
def test_each_policy_ranks_and_is_logged_under_its_name(campaign: Campaign, store: FeatureStore, name: str) -> None:
    chosen = replace(campaign, policy=name)
    found = ranked(chosen, store, Given(answers()))
    assert found.ranked.policy == name
    assert sorted(pick.index for pick in found.places) == list(range(10))
    order = [pick.index for pick in found.places if not pick.audit]
    assert order == list(np.argsort(-found.ranked.worth, kind="stable"))


def test_the_margin_campaign_ranks_as_the_measure_does(campaign: Campaign, store: FeatureStore) -> None:
    given = answers()
    found = ranked(campaign, store, Given(given))
    assert [p.index for p in found.places if not p.audit] == list(np.argsort(-margin(given[:9]), kind="stable"))
    assert {p.propensity for p in found.places if not p.audit} == {1.0}


def test_an_ensemble_is_fitted_on_the_labels_of_this_moment(campaign: Campaign, store: FeatureStore) -> None:
    found = ranked(replace(campaign, policy="bald"), store, Given(answers()))
    rows = store.rows([("sky", i) for i in range(10)])
    seed = ranking_seed(campaign, 5)
    heads = classification_ensemble(rows[:4], START.label, rows[:9], classes=CLASSES, seed=seed)
    np.testing.assert_allclose(found.ranked.worth, bald(heads))


def test_a_drawn_policy_gives_its_propensities_to_the_picks_but_not_to_the_audit_slice(
    campaign: Campaign, store: FeatureStore
) -> None:
    waiting = [QueueTask(1000 + i, "sky", i % 10, i % 10 == 9) for i in range(2 * BATCH * 10 // 9 // 10 * 10)]
    found = ranked(replace(campaign, policy="random"), store, None, given=waiting)
    others = sum(not task.audit for task in waiting)
    assert found.ranked.policy == "random" and found.ranked.batch == BATCH
    assert {p.propensity for p in found.places if not p.audit} == {BATCH / others}
    assert {p.propensity for p in found.places if p.audit} == {campaign.audit_fraction}


def test_the_seed_changes_with_the_labels_and_can_be_repeated(campaign: Campaign, store: FeatureStore) -> None:
    drawn = replace(campaign, policy="powerbald")
    first, again, later = (ranked(drawn, store, Given(answers()), event=event) for event in (5, 5, 6))
    assert first.places == again.places and first.ranked.seed == ranking_seed(campaign, 5)
    assert later.ranked.seed != first.ranked.seed
    assert [p.index for p in later.places] != [p.index for p in first.places]
    seeds = {ranking_seed(replace(campaign, seed=seed), event) for seed in range(5) for event in range(50)}
    assert len(seeds) == 250 and all(0 <= seed < 2**31 for seed in seeds)


@pytest.mark.parametrize("name", ["margin", "loop", "bald"])
def test_a_cold_start_spreads_and_says_so(campaign: Campaign, store: FeatureStore, name: str) -> None:
    found = ranked(replace(campaign, policy=name), store, None, NONE)
    assert found.ranked.policy == "k-centre" and found.answers is None
    kinds = [pick.index % 5 for pick in found.places if not pick.audit][:5]
    assert sorted(kinds) == list(range(5)), "one of each kind before the second of any"


def test_a_policy_that_needs_no_model_ranks_a_cold_start_itself(campaign: Campaign, store: FeatureStore) -> None:
    assert ranked(replace(campaign, policy="typicality"), store, None, NONE).ranked.policy == "typicality"


def test_an_ensemble_that_the_labels_do_not_allow(campaign: Campaign, store: FeatureStore) -> None:
    one = Snapshot(["sky"] * 2, [0, 5], [CLASSES[0]] * 2)
    found = ranked(replace(campaign, policy="bald"), store, Given(answers()), NONE)
    assert found.ranked.policy == "k-centre" and len(found.places) == 10
    assert len(ranked(replace(campaign, policy="bald"), store, Given(answers()), one).places) == 10


def test_nothing_waits(campaign: Campaign, store: FeatureStore) -> None:
    for name in ("margin", "bald"):
        found = ranked(replace(campaign, policy=name), store, Given(answers(0)), given=[])
        assert found.places == [] and found.ranked.worth.shape == (0,)
    blind = ranked(campaign, store, Given(answers(1)), given=[QueueTask(101, "sky", 0, True)])
    assert [pick.audit for pick in blind.places] == [True]


def test_policies_of_objects_judge_boxes(campaign: Campaign, store: FeatureStore) -> None:
    assert find_kind("lenses").policies[0] == "box-margin" and "margin" not in find_kind("lenses").policies
    boxes = [np.array([0.9, 0.2]), np.empty(0), np.array([0.45])]
    known, nothing = Waiting(3, not_needed, boxes=boxes), Labelled.read(campaign, NONE, store)
    for name in ("box-margin", "count-entropy", "boxes"):
        found = judged(replace(campaign, policy=name), nothing, known)
        assert found.policy == name
        np.testing.assert_array_equal(found.worth, judge(name, _only(boxes), batch=3, seed=0).worth)
    known = replace(known, disagreement=np.array([0.1, 0.0, 0.4]))
    for name in ("mask-disagreement", "masks"):
        found = judged(replace(campaign, policy=name), nothing, known)
        assert found.policy == name and found.worth.argmax() == 2 and found.worth.argmin() == 1
    assert list(box_margin(np.array([0.9, 0.0, 0.45]))) == pytest.approx([0.2, 0.0, 0.9])


def test_masks_of_a_single_view_are_ranked_as_in_a_cold_start(campaign: Campaign, store: FeatureStore) -> None:
    boxes = [np.array([0.9]), np.empty(0), np.array([0.45])]
    nothing, rows = Labelled.read(campaign, NONE, store), store.rows([("sky", i) for i in range(3)])
    waiting = Waiting(3, lambda places: rows[places], boxes=boxes)
    for name, known in product(("mask-disagreement", "masks"), (waiting, replace(waiting, boxes=None))):
        assert "views" in known.missing
        found = judged(replace(campaign, policy=name), nothing, known)
        assert found.policy == "k-centre" and np.isfinite(found.worth).all()
    assert "views" not in replace(waiting, disagreement=np.zeros(3)).missing


def test_only_what_is_compared_is_looked_at_several_times(campaign: Campaign) -> None:
    several = {name for name in POLICIES if needed_views(name) > 1}
    assert several == {"mask-disagreement", "masks"}
    assert several == {name for name in POLICIES if "views" in find_policy(name).needs}


def _only(boxes: list[np.ndarray[Any, Any]]) -> Any:
    from backend_ml.acquisition.measures import Candidates

    return Candidates(np.empty((len(boxes), 0), np.float32), boxes=boxes)


def entropy_of(votes: list[str]) -> float:
    """Naive entropy of votes."""
    return -sum(n / len(votes) * log(n / len(votes)) for n in Counter(votes).values())


def test_a_task_waits_for_as_many_labels_as_the_campaign_wants(database: Database, campaign: Campaign) -> None:
    with database.transaction() as connection:
        connection.execute("UPDATE campaign SET overlap = 3")
    a, b = CLASSES[:2]
    votes = {101: [a], 102: [a, a], 103: [a, b], 104: [a, b, a], 105: [a, a, a]}
    number = 0
    for task, given in votes.items():
        for by, label in enumerate(given):
            number += 1
            send(database, created(number, task, label, by=by))
    send(database, created(90, 102, None, by=7, skipped=True), created(91, 106, None, by=7, skipped=True))
    with database.transaction() as connection:
        waiting = {task.task_id: task.disagreement for task in push.waiting_tasks(connection, campaign)}
    assert set(waiting) == {101, 102, 103, 106, 107, 108, 109, 110}, "a skip is no label, and three are enough"
    for task, disagreement in waiting.items():
        assert disagreement == pytest.approx(entropy_of(votes.get(task, [])) if task in votes else 0.0)


@pytest.mark.parametrize("name", ["margin", "powerbald", "random"])
def test_disputed_tasks_come_before_those_that_nobody_has_seen(
    campaign: Campaign, store: FeatureStore, name: str
) -> None:
    disputed = {103: log(2), 107: entropy_of(["a", "b", "c"]), 110: log(2)}
    found = ranked(replace(campaign, policy=name), store, Given(answers()), given=tasks(disagreement=disputed))
    assert [pick.index for pick in found.places if not pick.audit][:2] == [6, 2], "the most disputed first"
    assert {pick.propensity for pick in found.places if pick.index in (2, 6)} == {1.0}
    (blind,) = [pick for pick in found.places if pick.audit]
    assert blind.rank == 9, "the audit slice keeps its places"


def test_the_labels_that_a_policy_compares_with_are_those_the_head_is_fitted_on(
    database: Database, campaign: Campaign, store: FeatureStore
) -> None:
    send(database, created(1, 101, CLASSES[0]), created(2, 110, CLASSES[1]), created(3, 102, "unsure"))
    with database.transaction() as connection:
        labelled = push.labelled_stamps(connection, campaign, store)
        state = find_kind("morphology").read(connection, campaign)
    assert labelled.labels == tuple(state.training.label) == (CLASSES[0],)
    np.testing.assert_array_equal(labelled.features, store.rows([("sky", 0)]))
    assert len(labelled.of(looked_for=True)) == 0 and len(labelled.of(looked_for=False)) == 1


def test_in_a_search_examples_and_ensemble_are_of_the_class_looked_for(campaign: Campaign, store: FeatureStore) -> None:
    search = replace(campaign, kind="interest", classes=("yes", "no"), policy="expected-improvement")
    rows = list(range(8))
    labels = Snapshot(["sky"] * 8, rows, ["yes" if row in (0, 5, 6) else "no" for row in rows])
    labelled = Labelled.read(search, labels, store)
    assert labelled.wanted == 0
    np.testing.assert_array_equal(labelled.of(looked_for=True), store.rows([("sky", 0), ("sky", 5), ("sky", 6)]))
    pool = store.rows([("sky", i) for i in range(10)])
    heads = labelled.ensemble(pool, 3)
    assert heads is not None and heads.shape[1:] == (10, 2)
    likely = heads.mean(axis=0)[:, 0]
    assert min(likely[[0, 5, 6]]) > max(likely[[2, 3, 4, 7, 8, 9]]), "answers are in the order of the classes"
    known = Waiting(10, lambda places: pool[places], np.stack([likely, 1 - likely], axis=1))
    assert judged(search, labelled, known).policy == "expected-improvement"
    none_yet = Labelled.read(search, Snapshot(["sky"], [1], ["no"]), store)
    assert judged(search, none_yet, known).policy == "k-centre"
    unanswered = replace(known, probabilities=None)
    assert judged(replace(search, policy="similarity"), none_yet, unanswered).policy == "k-centre"
    two = Labelled.read(search, Snapshot(["sky"] * 3, [0, 5, 1], ["yes", "yes", "no"]), store)
    assert judged(search, two, known).policy == "similarity", "a head on one or two is sure of too much"
    assert judged(replace(search, policy="random"), two, known).policy == "random"


def test_a_real_head_ranks(campaign: Campaign, store: FeatureStore) -> None:
    head = ClassificationHead.fit(store.rows([("sky", i) for i in range(4)]), START.label, seed=0, classes=CLASSES)
    found = ranked(replace(campaign, policy="loop"), store, HeadModel(head, store, campaign))
    assert found.ranked.policy == "loop"
    assert {found.places[0].index, found.places[1].index} & {4}, "the class that the head has not seen"
