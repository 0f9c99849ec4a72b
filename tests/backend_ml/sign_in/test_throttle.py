"""Addresses that guess are slowed down, whatever they mix their guesses with."""

import threading

import pytest
from fastapi import Request
from hypothesis import given
from hypothesis import strategies as st

from backend_ml.label_studio.connection import LabelStudioError
from backend_ml.sign_in import throttle
from backend_ml.sign_in.sessions import SignInError
from backend_ml.sign_in.throttle import ALLOWED, WINDOW, SignInThrottle, TooManyAttemptsError, address_of
from backend_ml.signing import AccessError

ATTEMPTS = st.lists(st.tuples(st.floats(0, 30), st.sampled_from("ab")), max_size=40)
"""Seconds since the attempt before, and from which address."""


def wrong(guarded: SignInThrottle, address: str, guess: str | None = None) -> None:
    with pytest.raises(SignInError), guarded.attempt(address, guess):
        raise SignInError("wrong")


def refused(guarded: SignInThrottle, address: str, guess: str | None = None) -> str:
    with pytest.raises(TooManyAttemptsError) as found, guarded.attempt(address, guess):
        raise AssertionError("nothing is tried")
    return found.value.hint


@given(ATTEMPTS)
def test_an_address_may_be_wrong_five_times_a_minute(attempts: list[tuple[float, str]]) -> None:
    now = [0.0]
    guarded = SignInThrottle(lambda: now[0])
    past: list[tuple[float, str]] = []  # all wrong ones there ever were
    for pause, address in attempts:
        now[0] += pause
        recent = [when for when, whose in past if whose == address and when > now[0] - WINDOW]
        if len(recent) < ALLOWED:
            wrong(guarded, address)
            past.append((now[0], address))
            continue
        seconds = float(refused(guarded, address).split()[3])
        assert seconds == pytest.approx(max(recent[0] + WINDOW - now[0], 1), abs=0.5)


def test_a_right_password_costs_nothing_and_keeps_no_memory() -> None:
    guarded = SignInThrottle(lambda: 0.0)
    for i in range(10 * ALLOWED):
        with guarded.attempt("a"), guarded.attempt(f"address {i}"):
            pass
    assert not guarded._attempts
    for _ in range(ALLOWED):
        wrong(guarded, "a")
    refused(guarded, "a")


def test_what_nobody_could_check_is_no_guess() -> None:
    guarded = SignInThrottle(lambda: 0.0)
    for _ in range(2 * ALLOWED):
        with pytest.raises(LabelStudioError), guarded.attempt("a"):
            raise LabelStudioError("away")
    for _ in range(ALLOWED):
        with pytest.raises(AccessError), guarded.attempt("a"):
            raise AccessError("wrong")
    refused(guarded, "a")


def test_guesses_at_the_same_time_are_counted_before_they_are_answered() -> None:
    guarded, answer, tried = SignInThrottle(), threading.Event(), list[str]()
    begun = threading.Semaphore(0)

    def guess() -> None:
        try:
            with guarded.attempt("a"):
                tried.append("checked")
                begun.release()
                answer.wait(60)
                raise SignInError("wrong")
        except SignInError:
            pass
        except TooManyAttemptsError:
            tried.append("refused")
            begun.release()

    threads = [threading.Thread(target=guess) for _ in range(4 * ALLOWED)]
    for thread in threads:
        thread.start()
    for _ in threads:
        assert begun.acquire(timeout=60)
    answer.set()
    for thread in threads:
        thread.join()
    assert sorted(tried) == ["checked"] * ALLOWED + ["refused"] * 3 * ALLOWED


def test_a_program_that_repeats_an_old_password_does_not_shut_out_others() -> None:
    guarded = SignInThrottle(lambda: 0.0)
    for _ in range(10 * ALLOWED):
        wrong(guarded, "a", "old")
    with guarded.attempt("a", "right"):
        pass
    for i in range(ALLOWED - 1):
        wrong(guarded, "a", f"guess {i}")
    refused(guarded, "a", "right")
    wrong(guarded, "a", "old")  # which tells nobody anything


def test_many_addresses_do_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throttle, "MOST_ADDRESSES", 3)
    guarded = SignInThrottle(lambda: 0.0)
    for address in "abcdefgh":
        for _ in range(ALLOWED):
            wrong(guarded, address)
        refused(guarded, address)
    assert len(guarded._attempts) == 3
    with guarded.attempt("a"):  # the oldest are forgotten first
        pass


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::1", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("testclient", "testclient"),
        (None, ""),
    ],
)
def test_an_address_of_ipv6_is_its_network(host: str | None, address: str) -> None:
    client = None if host is None else (host, 1)
    assert address_of(Request({"type": "http", "headers": [], "client": client})) == address
