"""The ranking with its audit slice."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend_ml.queue.interleave import QueuePlace, interleave


def ranked(worth: list[float], audit: list[bool], fraction: float = 0.1, seed: int = 0) -> list[QueuePlace]:
    ids = np.arange(len(worth)) + 1000
    return interleave(np.array(worth, dtype=float), np.array(audit, dtype=bool), ids, fraction=fraction, seed=seed)


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), max_size=60), st.floats(0.05, 0.5))
def test_everyone_has_one_place_and_priorities_ascend(rows: list[tuple[float, bool]], fraction: float) -> None:
    picks = ranked([worth for worth, _ in rows], [audit for _, audit in rows], fraction)
    assert sorted(pick.index for pick in picks) == list(range(len(rows)))
    priorities = [pick.priority for pick in picks]
    assert priorities == sorted(set(priorities))
    assert all(0 < priority < 1 for priority in priorities)


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), max_size=60))
def test_the_others_stand_in_order_of_worth(rows: list[tuple[float, bool]]) -> None:
    picks = [pick for pick in ranked([w for w, _ in rows], [a for _, a in rows]) if not pick.audit]
    values = [rows[pick.index][0] for pick in picks]
    assert values == sorted(values, reverse=True)


def test_every_tenth_place_is_blind_while_both_kinds_last() -> None:
    picks = ranked([0.5] * 100, [i < 10 for i in range(100)])
    assert [pick.rank for pick in picks if pick.audit] == list(range(9, 100, 10))


def test_propensity_is_one_for_the_policy_and_the_fraction_for_the_audit_slice() -> None:
    picks = ranked([0.5] * 20, [i < 2 for i in range(20)])
    assert {pick.propensity for pick in picks if pick.audit} == {0.1}
    assert {pick.propensity for pick in picks if not pick.audit} == {1.0}


def test_the_audit_order_is_random_but_stays_when_some_are_labelled() -> None:
    ids = np.arange(50)
    audit = np.ones(50, dtype=bool)
    before = [int(ids[p.index]) for p in interleave(np.zeros(50), audit, ids, fraction=0.1, seed=3)]
    assert before != sorted(before)
    left = np.array([i for i in ids if i not in before[:10]])
    after = [int(left[p.index]) for p in interleave(np.zeros(40), audit[:40], left, fraction=0.1, seed=3)]
    assert after == before[10:]


@pytest.mark.parametrize("fraction", [0.0, 1.0])
def test_extreme_fractions_still_rank_everyone(fraction: float) -> None:
    assert len(ranked([0.1, 0.2, 0.3], [True, False, True], fraction)) == 3


@given(st.integers(0, 40), st.integers(0, 40), st.floats(0.0, 1.0), st.integers(0, 5))
def test_any_prefix_has_the_fraction_while_both_kinds_last(blind: int, others: int, fraction: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    audit = rng.permutation([True] * blind + [False] * others).astype(bool).tolist()
    picks = ranked(rng.random(len(audit)).tolist(), audit, fraction, seed)
    placed = 0
    for length, pick in enumerate(picks, start=1):
        placed += pick.audit
        if placed < blind and length - placed < others:
            assert placed == int(fraction * length + 1e-9)
    assert placed == blind


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), max_size=30), st.floats(0.05, 0.5))
def test_a_policy_s_chances_stay_with_their_galaxies(rows: list[tuple[float, bool]], fraction: float) -> None:
    worth, audit = (np.array([row[place] for row in rows], dtype=kind) for place, kind in ((0, float), (1, bool)))
    chances = np.linspace(0.1, 0.9, len(rows))
    picks = interleave(worth, audit, np.arange(len(rows)), fraction=fraction, seed=1, propensity=chances)
    for pick in picks:
        assert pick.audit == audit[pick.index]
        assert pick.propensity == (fraction if pick.audit else chances[pick.index])
