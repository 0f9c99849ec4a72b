"""Campaigns of a tree of questions: counts of several people's answers, and what a head makes of them."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backend_ml.campaign.plan import CampaignPlan
from backend_ml.campaign.projects import _put_labels
from backend_ml.campaign.status import campaign_status
from backend_ml.catalogue.export import label_table, object_labels, training_labels
from backend_ml.catalogue.labels import Exported
from backend_ml.catalogue.publish import publish, read_source
from backend_ml.catalogue.tables.galaxies import read_galaxies
from backend_ml.kinds.installed import load_model
from backend_ml.label_studio.regions.choices import LabelConfigError, with_steady_keys
from backend_ml.label_studio.regions.trees import given_answers
from backend_ml.learning.learn import stores_of
from backend_ml.plugins.galaxy_zoo import GalaxyZoo, VoteAnswers, VoteModel
from backend_ml.queue.push import labelled_stamps, prediction_rows, rank_tasks, waiting_tasks
from backend_ml.report.report import as_json, read_report
from backend_ml.report.told import campaign_told
from backend_ml.settings import Settings
from backend_ml.store.campaigns import add_campaign
from backend_ml.store.database import Database, query, query_many
from backend_ml.store.features import FeatureStore
from backend_ml.store.records import Campaign, CampaignError
from backend_ml.why.explanation import Explainer
from lvm_training.errors import CheckpointError, LabelError
from lvm_training.files import write_csv
from lvm_training.galaxy_zoo.trees import TREES
from lvm_training.galaxy_zoo.vote_table import VoteTable, read_vote_table
from lvm_training.galaxy_zoo.vote_tree import VoteError, VoteTree
from lvm_training.galaxy_zoo.votes import read_votes
from lvm_training.heads.dirichlet import DirichletHead
from lvm_training.tables.snapshot import Snapshot
from tests.backend_ml.conftest import MORPHOLOGY, PROJECT
from tests.backend_ml.current_labels import read_labels
from tests.backend_ml.learned import active, learn_now
from tests.backend_ml.sky import write_features, write_stamps
from tests.backend_ml.voting import EDGE_ON, KINDS, SMOOTH, SPIRAL, STAR, answer, regions

KIND = GalaxyZoo()
N, AUDIT = 80, 35
TREE = VoteTree(TREES["GZ DECaLS"])


@pytest.fixture
def campaign(database: Database, tmp_path: Path) -> Campaign:
    """Task 100 + i shows stamp i, of which people see KINDS[i % 5]; the last 35 of the 80 are of the audit slice."""
    stamps = write_stamps(tmp_path, N)
    features = write_features(stamps)
    made = {"kind": "galaxy_zoo", "classes": TREE.root.answers, "policy": "information", "overlap": 3}
    with database.transaction() as connection:
        query(connection, "put_stamp_set", name="sky", path=str(stamps), digest="d", features=str(features))
        found = add_campaign(connection, **(MORPHOLOGY | made), name="Votes", project=PROJECT)
        task = {"campaign": found.id, "stamp_set": "sky"}
        tasks = [{**task, "task": 100 + i, "stamp_id": i, "audit": i >= N - AUDIT} for i in range(N)]
        query_many(connection, "put_task", tasks)
    return found


def voted(database: Database, campaign: Campaign, stamps: range, people: int = 2) -> None:
    """So many people say what they see of some stamps; the last of them takes each tenth for a star."""
    for stamp in stamps:
        for person in range(people):
            odd = person == people - 1 and stamp % 10 == 0
            answer(database, campaign, 100 + stamp, STAR if odd else KINDS[stamp % 5], person + 1)


def model_of(database: Database, campaign: Campaign) -> Any:
    stores = stores_of(database, campaign, Path("no/store"))
    model = load_model(active(database, campaign), stores)
    assert model is not None
    return model


def by_key(table: VoteTable, stamp: int) -> dict[str, int]:
    row = table.counts[list(table.stamps).index(("sky", stamp))]
    return {key: int(count) for key, count in zip(table.tree.keys, row, strict=True) if count}


def test_answers_of_several_people_are_counts_along_their_paths(database: Database, campaign: Campaign) -> None:
    answer(database, campaign, 100, SMOOTH, 1)
    answer(database, campaign, 100, SPIRAL, 2)
    answer(database, campaign, 100, {**SPIRAL, "bar": "weak"}, 3)
    answer(database, campaign, 179, STAR, 1)
    labels = read_labels(database, campaign)
    found = by_key(labels.training, 0)
    assert found["smooth-or-featured_smooth"] == 1 and found["smooth-or-featured_featured-or-disk"] == 2
    assert found["bar_no"] == found["bar_weak"] == 1 and found["merging_none"] == 3 and found["how-rounded_round"] == 1
    assert by_key(labels.audit, 79) == {"smooth-or-featured_artifact": 1} and len(labels.training) == 1


def test_the_newest_of_a_persons_answers_counts(database: Database, campaign: Campaign) -> None:
    answer(database, campaign, 100, SMOOTH, 1)
    answer(database, campaign, 100, STAR, 1)
    assert by_key(read_labels(database, campaign).training, 0) == {"smooth-or-featured_artifact": 1}


@pytest.mark.parametrize(
    ("answers", "reason"),
    [
        (regions({**SMOOTH, "bar": "no"}), "It answers 'bar', which is asked after disk-edge-on_no"),
        (regions({"how-rounded": "round"}), "says nothing to 'smooth-or-featured'"),
        (regions({"smooth-or-featured": "round"}), "'round' is no answer to 'smooth-or-featured'"),
        (regions(STAR) + regions(SMOOTH), "is answered 'artifact' and 'smooth'"),
        ([{"from_name": "bar", "type": "choices", "value": 3}], "instead of a list of choices"),
    ],
)
def test_answers_that_contradict_the_tree_are_set_aside_and_the_leader_reads_why(
    database: Database, campaign: Campaign, answers: list[Any], reason: str
) -> None:
    voted(database, campaign, range(12))
    number = answer(database, campaign, 120, answers, 1)
    assert learn_now(database, campaign) == "promoted"
    with database.transaction() as connection:
        (aside,) = campaign_status(connection, campaign)["set_aside"]
        status = campaign_status(connection, campaign)
        galaxies = read_galaxies(connection, campaign)
    assert (aside["annotation"], aside["task"]) == (number, 120) and reason in aside["reason"]
    assert sum(status["labels"].values()) == 12, "it counts for nothing until it is mended"
    galaxy = galaxies.known["sky", 20]
    assert (galaxy.aside, galaxy.votes.total(), galaxy.label, galaxies.labelled) == (1, 0, "", 12)
    assert ("sky", 20) not in read_labels(database, campaign).training.stamps


def test_what_is_no_question_of_the_tree_does_no_harm(database: Database, campaign: Campaign) -> None:
    note = {"from_name": "model", "to_name": "image", "type": "textarea", "value": {"text": ["Model: smooth"]}}
    answer(database, campaign, 100, [note, *regions(SMOOTH)], 1)
    answer(database, campaign, 101, [], 1)
    labels = read_labels(database, campaign)
    assert labels.odd == () and labels.training.stamps == [("sky", 0)], "an empty answer is none"


def test_a_head_is_fitted_and_fills_in_the_path_that_people_take(database: Database, campaign: Campaign) -> None:
    voted(database, campaign, range(9))
    assert learn_now(database, campaign) == "too few labels"
    voted(database, campaign, range(9, 45))
    assert learn_now(database, campaign) == "promoted"
    config = with_steady_keys(KIND.label_config())
    answers = model_of(database, campaign).answer([("sky", row) for row in range(60, 65)])
    for place, kind in enumerate(KINDS):
        result = answers.result(place, config)
        assert given_answers(result, TREE) == kind
        assert result[-1]["type"] == "textarea" and result[-1]["value"]["text"][0].startswith("Model, of those asked: ")
        assert all(0.4 < region["score"] <= 1 for region in result[:-1])
    assert answers.probabilities.shape == (5, 3) and answers.classes == campaign.classes
    assert len(answers.quantities[0]) == 2 * len(TREE.keys)
    assert learn_now(database, campaign) == "unchanged", "the same votes make the same version"


def test_the_audit_slice_judges_questions_by_their_commonest_answer(database: Database, campaign: Campaign) -> None:
    voted(database, campaign, range(N))
    assert learn_now(database, campaign) == "promoted"
    version = active(database, campaign)
    assert version.metrics["audit_accuracy"] > 0.95 and version.audit_labels == AUDIT and version.labels == N - AUDIT
    for stamp in range(N - AUDIT):
        for person in (11, 12, 13):
            answer(database, campaign, 100 + stamp, KINDS[(stamp + 1) % 5], person)
    assert learn_now(database, campaign) == "held back"
    assert active(database, campaign).version == version.version
    with database.transaction() as connection:
        report = read_report(connection, campaign)
    worst = report.versions[-1].metrics["gate"]
    assert worst["difference"] < -0.3 and not worst["passed"]


def test_right_is_the_share_of_questions_that_most_people_came_to() -> None:
    class Known(VoteModel):
        def __init__(self, fractions: Any) -> None:
            self.fractions, self.tree = fractions, TREE

        def answer(self, stamps: Any) -> Any:
            return self

    counts = TREE.vote(SMOOTH)[None] * 2 + TREE.vote(SPIRAL)
    table = VoteTable(TREE, [("sky", 0)], counts)
    for given, share in ((SMOOTH, 1), ({**SMOOTH, "how-rounded": "cigar-shaped"}, 2 / 3), (EDGE_ON, 1 / 3)):
        whole = TREE.vote(given)[None] + 0.1
        if given is EDGE_ON:
            whole[:, TREE.keys.index("how-rounded_round")] += 0.5
        assert KIND.right(Known(whole), table) == pytest.approx([share])
    turned = VoteTree([TREE.questions[0], *reversed(TREE.questions[1:])])
    assert turned.digest == TREE.digest and turned.keys != TREE.keys
    moved = Known(turned.vote(SMOOTH)[None])
    moved.tree = turned
    assert KIND.right(moved, table) == [1], "the label config was put into another order"
    tie = VoteTable(TREE, [("sky", 0)], TREE.vote(SMOOTH)[None] + TREE.vote(STAR))
    assert KIND.right(Known(TREE.vote(STAR)[None]), tie) == [1], "nobody is a majority, so either is right"


def test_tasks_are_ranked_by_what_an_answer_would_tell_and_blind_ones_are_shown_without(
    database: Database, campaign: Campaign
) -> None:
    voted(database, campaign, range(0, 40, 2), people=3)
    learn_now(database, campaign)
    with database.transaction() as connection:
        tasks = waiting_tasks(connection, campaign)
        features = FeatureStore.from_database(connection, campaign.encoder)
        labelled = labelled_stamps(connection, campaign, features)
    model = model_of(database, campaign)
    ranking = rank_tasks(campaign, tasks, model, features, labelled, 0)
    assert ranking.ranked.policy == "information" and ranking.answers is not None
    open_to_policy = [i for i, task in enumerate(tasks) if not task.audit]
    told = ranking.answers.information[open_to_policy]  # type: ignore[index]
    np.testing.assert_allclose(ranking.ranked.worth, told)
    rows = prediction_rows(ranking, ranking.places, "v", KIND.label_config())
    blind = {tasks[place.index].task_id for place in ranking.places if place.audit}
    assert {row.task for row in rows if not row.result} == blind
    by_features = model.information(features.rows([("sky", tasks[i].stamp_id) for i in open_to_policy]))
    np.testing.assert_allclose(by_features, told, rtol=1e-5)


def test_why_says_it_question_by_question(database: Database, campaign: Campaign) -> None:
    voted(database, campaign, range(40))
    learn_now(database, campaign)
    why = Explainer(database, Settings(secret="s")).why(campaign, "sky", 41)  # type: ignore[arg-type]
    assert (
        "smooth-or-featured: Features or disk (" in why.answer_words
        and "spiral-arm-count: 2 arms (" in why.answer_words
    )
    assert "would tell most about" in why.answer_words and why.heat and "in the first question" in why.heat_words
    assert set(why.measures) >= {"information", "margin"} and "bar: no" in why.answer
    assert "how-rounded: round" not in why.answer, "nobody comes to that question"


def test_people_agree_question_by_question(database: Database, campaign: Campaign) -> None:
    for stamp in range(4):
        answer(database, campaign, 100 + stamp, SPIRAL, 1)
        answer(database, campaign, 100 + stamp, {**SPIRAL, "bar": "weak"}, 2)
    for person in (1, 2):
        answer(database, campaign, 179, SPIRAL, person)
    with database.transaction() as connection:
        report = read_report(connection, campaign)
    found = report.filled.questions
    assert (found["bar"].same.right, found["bar"].same.n) == (0, 4)
    assert (found["bulge-size"].same.right, found["how-rounded"].galaxies) == (4, 0)
    assert (report.blind.questions["bar"].same.right, report.blind.questions["bar"].same.n) == (1, 1)
    told = dict(campaign_told(report, str, "", None))["Pre-annotated"][1:]
    assert len(told) == len(SPIRAL) and any(
        line.startswith("bar: people say the same in 0 % of 4 pairs") for line in told
    )
    assert as_json(report, str)["agreement"]["pre_annotated"]["questions"]["bar"]["galaxies"] == 4


def test_votes_are_exported_as_a_table_of_galaxy_zoo(database: Database, campaign: Campaign, tmp_path: Path) -> None:
    voted(database, campaign, range(0, 20))
    answer(database, campaign, 179, SPIRAL, 1)
    with database.transaction() as connection:
        everything, training = (label_table(connection, campaign, training=one) for one in (False, True))
        exported = Exported.read(connection, campaign, database.stamp_sets, Settings(secret="s"))  # type: ignore[arg-type]
        for refused in (
            lambda: training_labels(connection, campaign),
            lambda: object_labels(connection, campaign, training=False),
        ):
            with pytest.raises(CampaignError, match=r"votes, not labels|labels, not objects"):
                refused()
    assert everything is not None and training is not None and (len(everything), len(training)) == (21, 20)
    write_csv(tmp_path / "votes.csv", *exported.tabled(everything)[:2])
    again = read_votes(tmp_path / "votes.csv", statistic="count", also=["label"], asked=True)
    assert again.tree == "GZ DECaLS" and again.table.columns["label"].texts()[:2] == ["smooth", "featured-or-disk"]
    fractions = TREE.fractions(everything.counts)
    for key in ("smooth-or-featured_smooth", "bar_no", "spiral-arm-count_2", "merging_minor-disturbance"):
        np.testing.assert_allclose(again.fractions[key], fractions[:, TREE.keys.index(key)])
    voted_fractions = read_votes(tmp_path / "votes.csv", statistic="fraction").fractions
    np.testing.assert_allclose(voted_fractions["bar_no"], again.fractions["bar_no"], atol=1e-6)


def silent(_: str) -> Any:
    from contextlib import nullcontext

    return nullcontext(lambda done, total: None)


def test_the_catalogue_has_each_fraction_and_its_error(database: Database, campaign: Campaign, tmp_path: Path) -> None:
    from astropy.table import Table

    voted(database, campaign, range(45))
    learn_now(database, campaign)
    source = read_source(database, campaign, tmp_path, answers=True)
    publish(database, source, tmp_path / "votes.fits", silent)
    table = Table.read(tmp_path / "votes.fits", hdu=1)
    assert len(table) == N and table["predicted"][1] == "featured-or-disk"
    answers = model_of(database, campaign).answer([("sky", row) for row in range(N)])
    place = TREE.keys.index("spiral-arm-count_more-than-4")
    np.testing.assert_allclose(table["frac_spiral_arm_count_more_than_4"], answers.quantities[:, place], atol=1e-6)
    err = table["err_frac_smooth_or_featured_featured_or_disk"]
    assert ((err > 0) & (err < 0.5)).all()
    assert table["votes_smooth"][0] == 1 and table["votes_artifact"][0] == 1, "of the first question, one each"
    assert len([name for name in table.colnames if name.startswith(("frac_", "err_frac_"))]) == 2 * len(TREE.keys)


def vote_csv(path: Path, stamps: range, change: dict[str, list[Any]] | None = None) -> Path:
    """A table of GZ DECaLS with the votes of ten people on each stamp, by position."""
    counts = np.stack([8 * TREE.vote(KINDS[row % 5]) + 2 * TREE.vote(STAR) for row in stamps])
    columns: dict[str, Any] = {"ra": 150 + np.array(stamps) / 100, "dec": -1.5 - np.array(stamps) / 100}
    columns |= {
        key.replace("_", "-dr5_", 1): column.astype(int) for key, column in zip(TREE.keys, counts.T, strict=True)
    }
    columns |= change or {}
    write_csv(path, list(columns), zip(*columns.values(), strict=True))
    return path


def test_a_vote_table_of_galaxy_zoo_is_what_a_campaign_starts_from(
    database: Database, campaign: Campaign, tmp_path: Path
) -> None:
    table = vote_csv(tmp_path / "gz.csv", range(0, 40))
    start = KIND.starting(table, tmp_path / "sky.h5", KIND.label_config(), None)
    assert len(start) == 40 and start.first[:4] == ["smooth", "featured-or-disk", "featured-or-disk", "artifact"]
    assert any("matched by position" in note for note in start.notes)
    with database.transaction() as connection:
        _put_labels(connection, campaign, start)
    assert by_key(read_labels(database, campaign).training, 0)["smooth-or-featured_smooth"] == 8
    answer(database, campaign, 100, SMOOTH, 1)
    assert by_key(read_labels(database, campaign).training, 0)["smooth-or-featured_smooth"] == 9, "people add to it"
    assert learn_now(database, campaign) == "promoted"
    assert [
        model_of(database, campaign).answer([("sky", row)]).scores(0)["smooth-or-featured: artifact"]
        for row in (50, 53)
    ] == (pytest.approx([0.2, 1], abs=0.15))
    plan = CampaignPlan("Votes 2", tmp_path / "sky.h5", tmp_path, kind="galaxy_zoo", labels=start)
    KIND.check(plan)
    with pytest.raises(CampaignError, match="cannot start from one label a galaxy"):
        KIND.check(replace(plan, labels=Snapshot(["sky"], [0], ["smooth"])))
    with pytest.raises(CampaignError, match="has no detector"):
        KIND.check(replace(plan, detector=tmp_path))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"smooth-or-featured-dr5_smooth": [-1] * 5}, VoteError, "the first is -1 votes for smooth-or-featured_smooth"),
        ({"smooth-or-featured-dr5_smooth": [8.4, 0.2, 0, 0, 8]}, VoteError, "Votes are whole numbers"),
        ({"how-rounded-dr5_round": [30, 0, 0, 0, 0]}, VoteError, "more votes on how-rounded than people"),
    ],
)
def test_vote_tables_that_people_cannot_have_made_are_refused(
    tmp_path: Path, change: dict[str, list[Any]], error: type[Exception], message: str
) -> None:
    stamps = write_stamps(tmp_path, 5)
    with pytest.raises(error, match=message):
        read_vote_table(vote_csv(tmp_path / "gz.csv", range(5), change), stamps, TREE)


def test_a_table_of_another_version_of_the_tree_is_refused(tmp_path: Path) -> None:
    stamps, other = write_stamps(tmp_path, 2), VoteTree(TREES["GZ DECaLS 1 and 2"])
    columns = {key: [3, 0] for key in other.keys} | {"ra": [150, 150.01], "dec": [-1.5, -1.51]}
    write_csv(tmp_path / "old.csv", list(columns), zip(*columns.values(), strict=True))
    with pytest.raises(LabelError, match=r"votes of another tree, GZ DECaLS 1 and 2: bar_yes, .* of it is none"):
        read_vote_table(tmp_path / "old.csv", stamps, TREE)


def test_a_table_without_how_many_were_asked_is_refused(tmp_path: Path) -> None:
    stamps = write_stamps(tmp_path, 3)
    position = {"ra": [150.0, 150.01, 150.02], "dec": [-1.5, -1.51, -1.52]}
    shares = {"disk-edge-on_yes_fraction": [0.5, 0.25, 1.0], "disk-edge-on_no_fraction": [0.5, 0.75, 0.0]}
    path = tmp_path / "shares.csv"
    write_csv(path, [*position, *shares], zip(*position.values(), *shares.values(), strict=True))
    with pytest.raises(LabelError, match="does not say how many people answered disk-edge-on"):
        read_vote_table(path, stamps, TREE)
    first = {"smooth": [0, 0, 4], "featured-or-disk": [4, 8, 6], "artifact": [0, 0, 0]}
    more = {f"smooth-or-featured_{answer}": counts for answer, counts in first.items()}
    more |= position | shares | {"disk-edge-on_total-votes": [4, 8, 6]}
    write_csv(path, list(more), zip(*more.values(), strict=True))
    found = read_vote_table(path, stamps, TREE)
    assert found.counts[:, TREE.keys.index("disk-edge-on_no")].tolist() == [2, 6, 0]


def test_votes_on_questions_of_another_version_of_the_tree_are_left_out(database: Database, campaign: Campaign) -> None:
    votes_of = {"smooth-or-featured_smooth": 3, "has-a-ring_yes": 1}
    from psycopg.types.json import Jsonb

    values = {"stamp_set": "sky", "stamp_id": 3, "label": "smooth", "votes": Jsonb(votes_of)}
    database.rows("put_starting_votes", campaign=campaign.id, **values)
    assert len(read_labels(database, campaign).training) == 0


def test_a_head_of_another_version_of_the_tree_is_refused(database: Database, campaign: Campaign) -> None:
    voted(database, campaign, range(20))
    learn_now(database, campaign)
    other = VoteTree(TREES["GZ DECaLS 1 and 2"])
    features = np.random.default_rng(0).standard_normal((20, 16)).astype(np.float32)
    counts = np.stack([other.vote({"smooth-or-featured": "smooth"})] * 20)
    head = DirichletHead.fit(features, counts, other, seed=0)
    version = replace(active(database, campaign), weights=head.save())
    with pytest.raises(CheckpointError, match="another version of the tree"):
        load_model(version, stores_of(database, campaign, Path("no/store")))


def test_a_tree_whose_first_answers_are_another_questions_too_needs_aliases(tmp_path: Path) -> None:
    class Bars(GalaxyZoo):
        name = "bars"

    asks = '<Choices name="{}" toName="image" {}><Choice value="yes"/><Choice value="no"/></Choices>'
    when = 'visibleWhen="choice-selected" whenTagName="bar" whenChoiceValue="yes"'
    config = f'<View><Image name="image" value="$image"/>{asks.format("bar", "")}{asks.format("long", when)}</View>'
    with pytest.raises(LabelConfigError, match="no, yes answers the first question, 'bar', and another one"):
        Bars().offered(config)
    named = config.replace('value="yes"/><Choice value="no"', 'value="yes" alias="barred"/><Choice value="plain"', 1)
    assert Bars().offered(named) == ("barred", "plain")
    with pytest.raises(LabelConfigError, match="Leave the classes out"):
        KIND.label_config(["a", "b"])


def test_the_instruction_says_after_which_answer_each_question_is_asked() -> None:
    text = KIND.instruction(KIND.label_config(), {"smooth": ["http://x/1"]})
    assert "<b>How rounded is it?</b> (after Smooth)" in text and "(after Smooth or Features or disk)" in text
    assert text.count("<img") == 1 and "Can&#x27;t tell" in text


def test_a_plan_has_an_overlap_of_several_people(tmp_path: Path) -> None:
    assert KIND.overlap == 3 and CampaignPlan("n", tmp_path, tmp_path).overlap is None


def test_answers_are_whole_for_one_stamp() -> None:
    alpha = np.full((1, len(TREE.keys)), 2.0)
    found = VoteAnswers(alpha, TREE, ("artifact", "smooth", "featured-or-disk"), {})
    np.testing.assert_allclose(found.probabilities, 1 / 3)
    assert found.result(0, KIND.label_config())[0]["value"] == {"choices": ["smooth"]}


def test_an_evaluation_has_figures_of_each_question_that_people_came_to(database: Database, campaign: Campaign) -> None:
    voted(database, campaign, range(N), people=3)
    learn_now(database, campaign)
    labels, model = read_labels(database, campaign).audit, model_of(database, campaign)
    found = model.evaluate(labels)
    fractions = DirichletHead.load(active(database, campaign).weights or b"").predict(
        FeatureStore({"sky": str(database.rows("stamp_sets")[0]["features"])}, campaign.encoder).rows(labels.stamps)
    )
    assert found.classes == TREE.root.answers and found.probabilities is None and list(found.said) == labels.first
    for place, question in enumerate(TREE.questions):
        columns = TREE.slices[place]
        right, off = [], list[float]()
        for counts, ours in zip(labels.counts, fractions, strict=True):
            asked, first = counts[columns].sum(), counts[TREE.slices[0]].sum()
            if 2 * asked > first:
                right.append(counts[columns][ours[columns].argmax()] == counts[columns].max())
                off += [abs(one - n / asked) for one, n in zip(ours[columns], counts[columns], strict=True)]
        told = {one.name: (one.value, one.n) for one in found.measures if one.of == question.name}
        if right:
            assert told["commonest answer right"] == (pytest.approx(np.mean(right)), len(right))
            assert told["mean error of fractions"] == (pytest.approx(np.mean(off)), len(right))
        else:
            assert told == {}
