"""Addresses that guess are slowed down, whatever they mix their guesses with."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend_ml.sign_in import throttle
from backend_ml.sign_in.throttle import ALLOWED, WINDOW, SignInThrottle, TooManyAttemptsError

ATTEMPTS = st.lists(st.tuples(st.floats(0, 30), st.sampled_from("ab")), max_size=40)
"""Seconds since the attempt before, and from which address."""


@given(ATTEMPTS)
def test_an_address_may_be_wrong_five_times_a_minute(attempts: list[tuple[float, str]]) -> None:
    now = [0.0]
    guarded = SignInThrottle(lambda: now[0])
    wrong: list[tuple[float, str]] = []  # all there ever were
    for pause, address in attempts:
        now[0] += pause
        recent = [when for when, whose in wrong if whose == address and when > now[0] - WINDOW]
        if len(recent) < ALLOWED:
            guarded.check(address)
            guarded.wrong(address)
            wrong.append((now[0], address))
            continue
        with pytest.raises(TooManyAttemptsError) as refused:
            guarded.check(address)
        seconds = float(refused.value.hint.split()[3])
        assert seconds == pytest.approx(max(recent[0] + WINDOW - now[0], 1), abs=0.5)


def test_a_right_password_costs_nothing() -> None:
    guarded = SignInThrottle(lambda: 0.0)
    for _ in range(10 * ALLOWED):
        guarded.check("a")
    for _ in range(ALLOWED):
        guarded.wrong("a")
    with pytest.raises(TooManyAttemptsError):
        guarded.check("a")


def test_many_addresses_do_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throttle, "MOST_ADDRESSES", 3)
    guarded = SignInThrottle(lambda: 0.0)
    for address in "abcdefgh":
        for _ in range(ALLOWED):
            guarded.wrong(address)
        with pytest.raises(TooManyAttemptsError):
            guarded.check(address)
    assert len(guarded._wrong) == 3
    guarded.check("a")  # the oldest are forgotten first
