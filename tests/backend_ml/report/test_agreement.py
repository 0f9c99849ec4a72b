"""Agreement against what the papers print, and against counting by hand."""

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

from backend_ml.report.agreement import Share, agreement, cohen

VOTES = st.lists(st.tuples(st.integers(0, 5), st.sampled_from("ABC"), st.sampled_from(["s", "r", "d"])), max_size=40)


def votes_of(table: list[list[int]]) -> list[tuple[int, str, str]]:
    """Votes of a table of stamps by classes; who gave them does not matter to Fleiss."""
    found = []
    for stamp, counts in enumerate(table):
        labels = [str(place) for place, n in enumerate(counts) for _ in range(n)]
        found += [(stamp, f"person {number}", label) for number, label in enumerate(labels)]
    return found


def test_the_example_that_fleiss_is_explained_by() -> None:
    # Fleiss, Levin & Paik 2003, as on the English Wikipedia: 14 people, 10 subjects, 5 classes; kappa 0.210
    table = [
        *([0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1]),
        *([7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7]),
    ]
    found = agreement(votes_of(table))
    assert found.kappa == pytest.approx(0.210, abs=5e-4)
    assert (found.galaxies, found.same.n) == (10, 10 * 14 * 13 // 2)


@given(VOTES)
def test_pairs_are_counted_one_by_one(votes: list[tuple[int, str, str]]) -> None:
    last = {(stamp, person): label for stamp, person, label in votes}
    people, stamps = sorted({person for _, person in last}), sorted({stamp for stamp, _ in last})
    pairs = {
        (one, other): [(last[s, one], last[s, other]) for s in stamps if (s, one) in last and (s, other) in last]
        for one, other in combinations(people, 2)
    }
    found = agreement(votes)
    everything = [both for pair in pairs.values() for both in pair]
    assert (found.same.right, found.same.n) == (sum(a == b for a, b in everything), len(everything))
    assert {pair.people: pair.same for pair in found.pairs} == {
        who: Share(sum(a == b for a, b in both), len(both)) for who, both in pairs.items() if both
    }
    shared = [s for s in stamps if sum((s, person) in last for person in people) > 1]
    assert found.galaxies == len(shared)
    if found.kappa is not None:
        given = {s: [last[s, person] for person in people if (s, person) in last] for s in shared}
        labels = [label for theirs in given.values() for label in theirs]
        observed = [sum(a == b for a, b in combinations(t, 2)) / len(list(combinations(t, 2))) for t in given.values()]
        chance = sum((labels.count(label) / len(labels)) ** 2 for label in set(labels))
        assert found.kappa == pytest.approx((sum(observed) / len(observed) - chance) / (1 - chance))


@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from("abc")), min_size=1, max_size=30))
def test_two_people_as_scikit_learn_has_it(both: list[tuple[str, str]]) -> None:
    ones, others = zip(*both, strict=True)
    kappa = cohen(both)
    if kappa is None:
        assert len({*ones, *others}) == 1
    else:
        assert kappa == pytest.approx(cohen_kappa_score(ones, others))


def test_nothing_and_one_person_agree_with_nobody() -> None:
    for votes in ([], [(1, "A", "s"), (2, "A", "r"), (2, "A", "s")]):
        found = agreement(votes)
        assert (found.galaxies, found.kappa, found.pairs, found.same) == (0, None, [], Share(0, 0))
    assert cohen([]) is None and Share(0, 0).value is None and Share(0, 0).interval == (0.0, 1.0)


def test_what_all_say_alike_has_no_kappa() -> None:
    found = agreement([(stamp, person, "s") for stamp in range(3) for person in "AB"])
    assert found.same.value == 1 and found.kappa is None and found.pairs[0].kappa is None


def test_the_interval_is_wilson_s() -> None:
    # Newcombe 1998, Stat. Med. 17, 857, table I: 81 of 263, and 0 of 20
    assert Share(81, 263).interval == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert Share(0, 20).interval == pytest.approx((0.0, 0.1611), abs=5e-5)
