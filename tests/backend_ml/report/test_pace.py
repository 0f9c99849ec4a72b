"""Rates and what is left, counted by hand."""

from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend_ml.report.pace import Given, by_hour, pace, workers
from backend_ml.report.words import done_words, hours_words, left_words, rate_words

NOW = datetime(2026, 11, 26, 12, 0, tzinfo=UTC)


def ago(*minutes: float) -> list[datetime]:
    return [NOW - timedelta(minutes=one) for one in minutes]


@pytest.mark.parametrize(
    ("times", "span", "labels", "per_hour"),
    [
        ([], "", 0, None),
        (ago(60 * 24 * 8), "", 0, None),
        (ago(*range(1, 12), 1000), "hour", 11, 11),
        (ago(*range(1, 10), 1440.0 - 1e-3), "day", 10, 10 / 24),
        (ago(5, 6, 60 * 24 * 6.9), "week", 3, 3 / 165.6),
        (ago(*range(1, 31)), "hour", 30, 60),
        (ago(0.001), "week", 1, 60),
        ([NOW + timedelta(hours=5)], "", 0, None),
    ],
)
def test_the_shortest_span_with_ten_labels_counts(
    times: list[datetime], span: str, labels: int, per_hour: float | None
) -> None:
    found = pace(times, 120, NOW)
    assert (found.span, found.labels) == (span, labels)
    assert found.per_hour == (per_hour if per_hour is None else pytest.approx(per_hour, rel=1e-4))
    assert found.hours_left == (None if per_hour is None else pytest.approx(120 / per_hour, rel=1e-4))


@given(
    st.lists(st.tuples(st.sampled_from(["V", "H", 3]), st.integers(0, 4000), st.booleans()), min_size=1, max_size=40)
)
def test_each_person_is_counted(rows: list[tuple[int | str, int, bool]]) -> None:
    given_ = [Given(who, NOW - timedelta(minutes=m), skip, None if skip else float(m)) for who, m, skip in rows]
    found = workers(given_, NOW)
    assert [one.labels for one in found] == sorted((one.labels for one in found), reverse=True)
    for one in found:
        theirs = [(m, skip) for who, m, skip in rows if who == one.person]
        minutes = sorted(m for m, skip in theirs if not skip)
        assert (one.labels, one.skips) == (len(minutes), len(theirs) - len(minutes))
        assert one.last_hour == sum(m < 60 for m in minutes) and one.last_day == sum(m < 1440 for m in minutes)
        hours = {(NOW - timedelta(minutes=m)).strftime("%d %H") for m in minutes}
        assert one.per_hour == (pytest.approx(len(minutes) / len(hours)) if minutes else 0)
        if minutes:
            middle = (minutes[(len(minutes) - 1) // 2] + minutes[len(minutes) // 2]) / 2
            assert one.seconds == middle
        else:
            assert one.seconds is None
    assert {one.person for one in found} == {who for who, _, _ in rows}


@given(st.lists(st.integers(0, 3000), max_size=50))
def test_hours_end_with_the_newest_label(minutes: list[int]) -> None:
    times = ago(*minutes)
    found = by_hour(times, 48)
    if not times:
        assert found == []
        return
    counts = Counter(at.strftime("%Y-%m-%d %H") for at in times)
    assert len(found) == 48 and found[-1][0].strftime("%Y-%m-%d %H") == max(counts)
    assert all(counts[hour.strftime("%Y-%m-%d %H")] == n for hour, n in found)
    assert sum(n for _, n in found) == sum(
        at > max(times) - timedelta(hours=48) and at.replace(minute=0) >= found[0][0] for at in times
    )


def test_words() -> None:
    assert rate_words(pace(ago(*range(1, 31)), 0, NOW)) == "60 labels an hour (30 in the last hour)"
    assert rate_words(pace([], 5, NOW)) == "nobody labelled in the last week"
    assert left_words(pace(ago(*range(1, 31)), 180, NOW), 10) == "about 3 h at the rate of the last hour"
    assert left_words(pace([], 5, NOW), 10) == "unknown while nobody labels"
    assert left_words(pace([], 0, NOW), 10) == "done" and left_words(pace([], 0, NOW), 0) == "no tasks yet"
    assert [hours_words(h) for h in (0.001, 0.5, 1.6, 47, 49, 240)] == [
        "1 min",
        "30 min",
        "2 h",
        "47 h",
        "2 days",
        "10 days",
    ]
    assert done_words(999, 1000) == "999 of 1,000 tasks done, 99 %" and done_words(1, 1) == "1 of 1 task done, 100 %"
