"""What a replay starts from, whatever the set: halves stay apart, and what does not fit says what would."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from backend_ml.replay.plan import (
    RARE,
    START_PER_CLASS,
    START_POSITIVES,
    LabelledSet,
    ReplayPlan,
    prepare,
    wanted_class,
)
from lvm_training.errors import LabelError

SETS = st.lists(st.tuples(st.sampled_from("aaabbc"), st.booleans()), min_size=1, max_size=120)
"""The class of each galaxy, and whether it is of the test half."""
PLANS = st.builds(
    ReplayPlan,
    st.just(("random",)),
    st.integers(1, 80),
    prevalence=st.none() | st.floats(0.01, 0.6),
    positive=st.none() | st.sampled_from("abd"),
)


@settings(max_examples=200, deadline=None)
@given(rows=SETS, plan=PLANS, seed=st.integers(0, 3))
def test_a_trial_fits_the_set_or_says_why_not(rows: list[tuple[str, bool]], plan: ReplayPlan, seed: int) -> None:
    labels = [label for label, _ in rows]
    data = LabelledSet(np.zeros((len(rows), 2), np.float32), labels, np.array([test for _, test in rows]))
    try:
        trial = prepare(data, plan, seed)
    except LabelError as error:
        assert error.message and error.hint
        return
    name = wanted_class(labels, plan.positive)
    assert trial.classes[trial.wanted] == (name if plan.prevalence is None else trial.classes[1])
    pool, test, start = set(trial.pool), set(trial.test), set(trial.start)
    assert start <= pool and not pool & test
    assert not data.test[trial.pool].any() and data.test[trial.test].all()
    assert len(start) == len(trial.start) < plan.budget <= len(pool)
    given_labels = list(trial.labels[trial.start])
    if plan.prevalence is None:
        assert pool | test == set(range(len(rows)))
        assert {one: given_labels.count(one) for one in trial.classes} == dict.fromkeys(trial.classes, START_PER_CLASS)
        share = float(np.mean(trial.labels[trial.pool] == name))
        assert trial.preference == (len(trial.classes) == 2 and share <= RARE)
    else:
        assert given_labels == [name] * START_POSITIVES and trial.preference and trial.searching
        for half, mine in ((trial.pool, ~data.test), (trial.test, data.test)):
            others = int(np.sum((np.array(labels) != name) & mine))
            wanted = int(np.sum(trial.labels[half] == name))
            assert len(half) - wanted == others, "none of the others is left out"
            # one more or one less is no nearer to the share
            off = [abs((wanted + step) - plan.prevalence / (1 - plan.prevalence) * others) for step in (-1, 0, 1)]
            assert off[1] == min(off)
    again = prepare(data, plan, seed)
    assert all(np.array_equal(getattr(trial, part), getattr(again, part)) for part in ("pool", "test", "start"))
