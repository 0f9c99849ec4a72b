"""Waiting: as long as a service asks, and longer after each failure."""

import asyncio
from datetime import UTC, datetime

import pytest

from lvm_training.surveys.description import find_survey
from lvm_training.surveys.service import Pace, backoff, retry_after

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("120", 120),
        (" 0 ", 0),
        ("Sun, 01 Mar 2026 12:01:30 GMT", 90),
        ("Sun, 01 Mar 2026 13:01:30 +0100", 90),
        ("Sunday, 01-Mar-26 12:01:30 GMT", 90),
        ("Sun Mar  1 12:01:30 2026", 90),
        ("Sun, 01 Mar 2026 11:00:00 GMT", 0),
        ("", 0),
        ("-5", 0),
        ("soon", 0),
        ("1e9", 0),
    ],
)
def test_retry_after_is_a_number_or_a_date(text: str, seconds: float) -> None:
    assert retry_after(text, NOW) == seconds


def test_each_wait_is_longer_up_to_the_longest() -> None:
    limits = find_survey("legacy-surveys").limits.model_copy(update={"wait": 1.0, "longest_wait": 10.0})
    for attempt, longest in enumerate((1, 2, 4, 8, 10, 10), start=1):
        drawn = [backoff(limits, attempt) for _ in range(200)]
        assert longest / 2 <= min(drawn) < max(drawn) <= longest


def test_turns_come_one_after_another_and_all_wait_for_a_pause() -> None:
    async def begun() -> list[float]:
        pace, clock = Pace(50.0), asyncio.get_running_loop().time
        start = clock()

        async def turn() -> float:
            await pace.turn()
            return clock() - start

        turns = [asyncio.create_task(turn()) for _ in range(4)]
        await asyncio.sleep(0)
        pace.hold(0.2)
        return sorted(await asyncio.gather(*turns))

    times = asyncio.run(begun())
    assert all(time >= 0.2 for time in times[1:])
