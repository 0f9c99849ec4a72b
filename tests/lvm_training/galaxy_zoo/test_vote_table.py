"""Votes by stamp: counts that are written as a table and read from it again are the same."""

from pathlib import Path

import numpy as np
import pytest

from lvm_training.errors import LabelError
from lvm_training.files import write_csv
from lvm_training.galaxy_zoo.trees import TREES, Question
from lvm_training.galaxy_zoo.vote_table import VoteTable, read_vote_table
from lvm_training.galaxy_zoo.vote_tree import VoteError, VoteTree
from lvm_training.stamps.stampset import StampWriter

TREE = VoteTree(TREES["GZ DECaLS"])
ROOT = "smooth-or-featured"


@pytest.fixture
def stamps(tmp_path: Path) -> Path:
    """Eight stamps with names."""
    writer = StampWriter(tmp_path / "zoo.h5", (8, 8))
    writer.append(np.zeros((8, 3, 8, 8), np.float32), {"file": [f"J{row}.png" for row in range(8)]})
    return writer.finish()


def drawn_counts(n: int, seed: int = 0) -> np.ndarray:
    """Votes of up to twenty people for each of `n` galaxies, each along a path of the tree."""
    rng = np.random.default_rng(seed)
    counts = np.zeros((n, len(TREE.keys)))
    for row in range(n):
        for _ in range(int(rng.integers(1, 20))):
            given: dict[str, str] = {}
            for question in TREE.questions:
                reached = {f"{name}_{answer}" for name, answer in given.items()}
                if not question.after or reached & set(question.after):
                    given[question.name] = str(rng.choice(question.answers))
            counts[row] += TREE.vote(given)
    return counts


def write(path: Path, table: VoteTable, *, only: str = "", change: dict[str, float] | None = None) -> Path:
    """The table as CSV: all columns, or only fractions and totals, or only counts."""
    kept = [
        place
        for place, name in enumerate(table.columns)
        if not only or name.endswith("_total-votes") or name.endswith("_fraction") == (only == "fractions")
    ]
    rows = [list(row) for row in table.rows()]
    for name, value in (change or {}).items():
        rows[0][table.columns.index(name)] = value
    names = [f"J{row}.png" for _, row in table.stamps]
    head = ["file", *(table.columns[place] for place in kept)]
    write_csv(path, head, [[name, *(row[place] for place in kept)] for name, row in zip(names, rows, strict=True)])
    return path


@pytest.mark.parametrize("only", ["", "counts", "fractions"])
def test_counts_that_are_written_are_read_again(tmp_path: Path, stamps: Path, only: str) -> None:
    counts = drawn_counts(8)
    table = VoteTable(TREE, [("zoo", row) for row in (3, 0, 7, 1, 2, 6, 5, 4)], counts)
    found = read_vote_table(write(tmp_path / "votes.csv", table, only=only), stamps, TREE)
    assert dict(zip(found.stamps, map(tuple, found.counts), strict=True)) == dict(
        zip(table.stamps, map(tuple, counts), strict=True)
    )


def test_cells_are_counts_and_fractions_of_those_who_were_asked() -> None:
    counts = drawn_counts(5, seed=4)
    table = VoteTable(TREE, [("zoo", row) for row in range(5)], counts)
    assert len(set(table.columns)) == len(table.columns) == len(TREE.questions) + 2 * len(TREE.keys)
    for row, cells in enumerate(table.rows()):
        named = dict(zip(table.columns, cells, strict=True))
        for question in TREE.questions:
            votes = [int(counts[row, TREE.keys.index(key)]) for key in question.keys]
            assert named[f"{question.name}_total-votes"] == sum(votes)
            assert [named[key] for key in question.keys] == votes
            for key, n in zip(question.keys, votes, strict=True):
                assert named[f"{key}_fraction"] == (pytest.approx(n / sum(votes), abs=1e-6) if sum(votes) else "")


def test_the_first_answer_is_that_of_most_people_and_of_equals_the_first_of_the_tree() -> None:
    counts = np.zeros((3, len(TREE.keys)))
    counts[:, :3] = [[2, 5, 1], [4, 4, 0], [0, 0, 9]]
    answers = TREE.root.answers
    assert VoteTable(TREE, [("zoo", row) for row in range(3)], counts).first == [answers[1], answers[0], answers[2]]


def test_galaxies_that_nobody_was_asked_about_are_left_out(tmp_path: Path, stamps: Path) -> None:
    counts = drawn_counts(4)
    counts[2] = 0
    path = write(tmp_path / "votes.csv", VoteTable(TREE, [("zoo", row) for row in range(4)], counts))
    assert read_vote_table(path, stamps, TREE).stamps == [("zoo", 0), ("zoo", 1), ("zoo", 3)]


def test_questions_that_a_campaign_does_not_ask_are_left_out_and_said(tmp_path: Path, stamps: Path) -> None:
    path = write(tmp_path / "votes.csv", VoteTable(TREE, [("zoo", row) for row in range(4)], counts := drawn_counts(4)))
    small = VoteTree([TREE.root])
    found = read_vote_table(path, stamps, small)
    np.testing.assert_array_equal(found.counts, counts[:, :3])
    assert "questions that the campaign does not ask are left out: " in found.notes[-1]
    other = VoteTree([Question("colour", ("red", "blue"))])
    with pytest.raises(LabelError, match="votes of another tree"):
        read_vote_table(path, stamps, other)
    changed = VoteTree([Question(ROOT, ("smooth", "featured-or-disk", "star"))])
    with pytest.raises(LabelError, match=f"{ROOT}_artifact of it is none of the campaign's"):
        read_vote_table(path, stamps, changed)


@pytest.mark.parametrize(
    ("only", "change", "error", "said"),
    [
        ("counts", {f"{ROOT}_smooth": 2.5}, VoteError, "no numbers of votes"),
        ("counts", {f"{ROOT}_smooth": -3}, VoteError, "-3 votes"),
        ("counts", {"has-spiral-arms_yes": 99}, VoteError, "more votes on"),
        ("fractions", {f"{ROOT}_smooth_fraction": 0.777}, VoteError, "no numbers of votes"),
    ],
)
def test_votes_that_nobody_can_have_given_are_refused(
    tmp_path: Path, stamps: Path, only: str, change: dict[str, float], error: type[Exception], said: str
) -> None:
    table = VoteTable(TREE, [("zoo", row) for row in range(4)], drawn_counts(4, seed=2))
    path = write(tmp_path / "votes.csv", table, only=only, change=change)
    with pytest.raises(error, match=said):
        read_vote_table(path, stamps, TREE)


def test_a_table_that_does_not_say_how_many_were_asked_is_refused(tmp_path: Path, stamps: Path) -> None:
    (tmp_path / "votes.csv").write_text(
        f"file,{ROOT}_smooth_fraction,{ROOT}_featured-or-disk_fraction,{ROOT}_artifact_fraction\nJ0.png,.5,.25,.25\n"
    )
    with pytest.raises(
        LabelError, match=f"does not say how many people answered {ROOT}.*{ROOT}_total-votes"
    ) as refused:
        read_vote_table(tmp_path / "votes.csv", stamps, TREE)
    assert "total-votes" in refused.value.hint
