"""Galaxies that are alike, and the one that comes next, against a naive search through all of them."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from backend_ml.labels.people import People
from backend_ml.queue import selections
from backend_ml.queue.selections import Selected, Selection
from backend_ml.settings import Settings
from backend_ml.store.database import Connection, Database, query
from backend_ml.store.features import FeatureStore
from backend_ml.store.records import Campaign
from backend_ml.why.neighbours import (
    NEAREST,
    OF_EACH,
    Label,
    Neighbours,
    labels_by_stamp,
    neighbour_words,
    similarity_to_wanted,
)
from backend_ml.why.ways import find_ways, next_stamp
from tests.backend_ml.backend_client import SETTINGS
from tests.backend_ml.conftest import CLASSES, Annotating
from tests.backend_ml.judged import NOON, N, put_campaign
from tests.backend_ml.sky import ENCODER

D = 8
YES, NO = "yes", "no"


@pytest.fixture
def vectors(database: Database, tmp_path: Path) -> tuple[Campaign, np.ndarray]:
    """A campaign of 60 galaxies whose features are drawn at random, and these."""
    made = put_campaign(database, tmp_path)
    matrix = np.random.default_rng(3).normal(size=(N, D)).astype(np.float16)
    matrix[7] = matrix[5]
    np.save(tmp_path / "sky.npy", matrix)
    origin = json.loads((tmp_path / "sky.json").read_text())
    (tmp_path / "sky.json").write_text(json.dumps(origin | {"width": D}))
    return made, matrix.astype(np.float64)


def naive_cosines(matrix: np.ndarray, stamp: int) -> np.ndarray:
    centred = matrix - matrix.mean(axis=0)
    return np.array([one @ centred[stamp] / np.linalg.norm(one) / np.linalg.norm(centred[stamp]) for one in centred])


def stored(database: Database) -> FeatureStore:
    with database.transaction() as connection:
        return FeatureStore.from_database(connection, ENCODER)


@pytest.mark.parametrize("stamp", [5, 20, 59])
def test_labelled_galaxies_are_grouped_by_label_the_commonest_of_the_nearest_first(
    database: Database, vectors: tuple[Campaign, np.ndarray], stamp: int
) -> None:
    made, matrix = vectors
    draw = np.random.default_rng(stamp)
    rows = [row for row in draw.permutation(N)[:40].tolist() if row != stamp]
    labels = {("sky", row): Label(CLASSES[row % 4], {"Vera": CLASSES[row % 4]}, False) for row in rows}
    groups, words = Neighbours(Settings(), database.stamp_sets).find(made, stored(database), ("sky", stamp), labels)
    cosine = naive_cosines(matrix, stamp)
    order = sorted(rows, key=lambda row: -cosine[row])
    among = Counter(CLASSES[row % 4] for row in order[:NEAREST] if cosine[row] > 0)
    assert {group.label: group.among for group in groups} == {name: among[name] for name in CLASSES[:4]}
    assert [group.among for group in groups] == sorted(among.values(), reverse=True)[: len(groups)] + [0] * (
        len(groups) - len(among)
    )
    for group in groups:
        expected = [row for row in order if CLASSES[row % 4] == group.label][:OF_EACH]
        assert {one.stamp_id for one in group.examples} == set(expected)
        assert [one.similarity for one in group.examples] == pytest.approx(cosine[expected].tolist(), abs=2e-3)
        assert all(one.given_by == ["Vera"] for one in group.examples)
    assert words == neighbour_words(among) and f"Of the {among.total()} labelled" in words


def test_similarity_to_what_is_looked_for_is_that_to_the_nearest_of_each(
    database: Database, vectors: tuple[Campaign, np.ndarray]
) -> None:
    made, matrix = vectors
    with database.transaction() as connection:
        connection.execute("UPDATE campaign SET kind = 'interest', classes = %s WHERE id = %s", ([YES, NO], made.id))
        search = made.__class__(**{**vars(made), "kind": "interest", "classes": (YES, NO)})
    store, cosine = stored(database), naive_cosines(matrix, 9)
    labels = {("sky", row): Label(YES if row % 3 else NO, {}, False) for row in range(10, 30)}
    yes, no = (max(cosine[row] for (_, row), one in labels.items() if one.agreed == name) for name in (YES, NO))
    assert similarity_to_wanted(search, store, ("sky", 9), labels) == pytest.approx(yes - no, abs=2e-3)
    only = {stamp: one for stamp, one in labels.items() if one.agreed == YES}
    assert similarity_to_wanted(search, store, ("sky", 9), only) == pytest.approx(yes, abs=2e-3)
    assert similarity_to_wanted(search, store, ("sky", 9), {}) is None
    assert similarity_to_wanted(made, store, ("sky", 9), labels) is None, "nothing is looked for among five classes"


def test_how_unusual_galaxies_are_and_what_is_nearest_to_them(
    database: Database, vectors: tuple[Campaign, np.ndarray]
) -> None:
    labels = {("sky", row): Label(CLASSES[row % 4], {}, False) for row in (7, 11, 12)}
    said = Neighbours(Settings(), database.stamp_sets).unusual(stored(database), [("sky", 5), ("sky", 7)], labels)
    assert all("More unusual than" in one and one.count("(") == count for one, count in zip(said, (3, 2), strict=True))
    assert "Near something labelled, at 0.00" in said[0], "stamp 7 has the features of stamp 5"
    assert "at 0.00" not in said[1], "a galaxy is not its own neighbour"
    (nobody,) = Neighbours(Settings(), database.stamp_sets).unusual(stored(database), [("sky", 5)], {})
    assert nobody.endswith("Nothing else is labelled yet.")


def test_a_blind_galaxy_is_hidden_until_it_has_all_its_labels(
    database: Database, campaign: Campaign, annotate: Annotating
) -> None:
    with database.transaction() as connection:
        connection.execute("UPDATE campaign SET overlap = 2")
        start = {"stamp_set": "sky", "stamp_id": 9, "label": CLASSES[0]}
        query(connection, "put_snapshot_label", campaign=campaign.id, **start)
    double = campaign.__class__(**{**vars(campaign), "overlap": 2})

    def now() -> dict[int, Label]:
        with database.transaction() as connection:
            votes = query(connection, "votes", campaign=campaign.id)
        people = People(Settings())
        return {stamp[1]: one for stamp, one in labels_by_stamp(votes, double, people).items()}

    annotate(101, CLASSES[1], 4, NOON)
    annotate(110, CLASSES[1], 4, NOON)
    found = now()
    assert not found[0].hidden and found[9].hidden, "the label of the start is nobody's"
    assert found[9].given == {"starting labels": CLASSES[0], "annotator 4": CLASSES[1]}
    annotate(110, CLASSES[2], 5, NOON)
    assert not now()[9].hidden and now()[9].given["annotator 5"] == CLASSES[2]


def pushed(connection: Connection, campaign: Campaign, rows: list[int], source: str = "push") -> None:
    about = {"policy": "margin", "seed": 0, "batch": 1, "candidates": 9, "last_event": 0}
    chosen = Selection(source=source, **about)  # type: ignore[arg-type]
    stamps = [Selected(stamp_set="sky", stamp_id=row, task_id=101 + row, propensity=1.0) for row in rows]
    selections.record(connection, campaign, chosen, stamps, served=True)


def test_what_comes_after_a_galaxy_in_the_queue(database: Database, campaign: Campaign, annotate: Annotating) -> None:
    with database.transaction() as connection:
        pushed(connection, campaign, [4, 2, 7, 0])
    annotate(103, CLASSES[0], 1, NOON)
    for stamp, after in ((4, 7), (7, 0), (0, 4), (2, 4), (9, 4)):
        with database.transaction() as connection:
            assert next_stamp(connection, campaign, ("sky", stamp)) == ("sky", after), stamp
    for task in (105, 101):
        annotate(task, CLASSES[0], 1, NOON)
    with database.transaction() as connection:
        assert next_stamp(connection, campaign, ("sky", 7)) is None, "it is the only one that waits"
        ways = find_ways(connection, campaign, ("sky", 7), 108, database.stamp_sets, SETTINGS)
        assert ways.task is not None and ways.task.endswith(f"/projects/{campaign.project}/data?task=108")
        assert ways.search is None and ways.next is ways.next_name is None
        assert ways.viewer is not None and "ra=150.07" in ways.viewer and "dec=-1.57" in ways.viewer
        ways = find_ways(connection, campaign, ("sky", 1), None, database.stamp_sets, SETTINGS)
        assert ways.task is None and ways.next is not None and "/why/1/sky/7?key=" in ways.next


def test_what_comes_after_a_galaxy_of_a_search_that_has_no_queue(database: Database, campaign: Campaign) -> None:
    alone = campaign.__class__(**{**vars(campaign), "project": None})
    with database.transaction() as connection:
        assert next_stamp(connection, alone, ("sky", 3)) is None
        pushed(connection, campaign, [1, 2], "round")
        pushed(connection, campaign, [5, 3, 8], "round")
        pushed(connection, campaign, [0], "push")
        for stamp, after in ((5, 3), (3, 8), (8, 5), (1, 5)):
            assert next_stamp(connection, alone, ("sky", stamp)) == ("sky", after)
