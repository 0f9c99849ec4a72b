"""How fast a campaign is labelled, by whom, and when it will be done at that pace."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import median

FEWEST = 10  # labels by which a rate is known to a third: their number scatters by its square root
SPANS = {"hour": timedelta(hours=1), "day": timedelta(days=1), "week": timedelta(days=7)}
HOUR = timedelta(hours=1)


@dataclass(frozen=True)
class Given:
    """Something a person said of a galaxy.

    Attributes
    ----------
    person : int or str
        Id in Label Studio, or the name on the search page.
    at : datetime
    skipped : bool
        Whether it was no label, but passed over.
    seconds : float or None
        How long it took, where Label Studio says.
    """

    person: int | str
    at: datetime
    skipped: bool = False
    seconds: float | None = None


@dataclass(frozen=True)
class Pace:
    """A rate of labels, and what it says of the end.

    Attributes
    ----------
    labels : int
        Within the span that it is measured on.
    span : str
        "hour", "day" or "week": the shortest that has ten labels, else the longest with any; "" where nobody labelled
        for a week.
    per_hour : float or None
        A campaign that is younger than the span is measured from its first label on.
    wanted : int
        Labels that are still to be given.
    """

    labels: int
    span: str
    per_hour: float | None
    wanted: int

    @property
    def hours_left(self) -> float | None:
        """Hours until the last label at this rate; None where nobody labels."""
        if not self.wanted:
            return 0.0
        return self.wanted / self.per_hour if self.per_hour else None


@dataclass(frozen=True)
class Worker:
    """What one person did.

    Attributes
    ----------
    labels, skips : int
    last_hour, last_day : int
        Labels since then.
    per_hour : float
        Labels by hours of the clock in which there were any.
    seconds : float or None
        Median time of a label; None where nothing says.
    latest : datetime
    """

    person: int | str
    labels: int
    skips: int
    last_hour: int
    last_day: int
    per_hour: float
    seconds: float | None
    latest: datetime


def pace(times: Sequence[datetime], wanted: int, now: datetime) -> Pace:
    """The rate of labels given at these times."""
    counts = {name: sum(now - span < at <= now for at in times) for name, span in SPANS.items()}
    return pace_of(counts, min(times, default=None), wanted, now)


def pace_of(counts: Mapping[str, int], first: datetime | None, wanted: int, now: datetime) -> Pace:
    """The rate of so many labels within each of `SPANS`, of which the first of all was given at `first`."""
    chosen = ""
    for name, count in counts.items():
        if count and (not chosen or counts[chosen] < FEWEST):
            chosen = name
    if not chosen or first is None:
        return Pace(0, "", None, wanted)
    count = counts[chosen]
    elapsed = min(SPANS[chosen], max(now - first, timedelta(minutes=1)))
    return Pace(count, chosen, count / (elapsed / HOUR), wanted)


def workers(given: Iterable[Given], now: datetime) -> list[Worker]:
    """What each person did; who labelled most comes first."""
    by_person: dict[int | str, list[Given]] = {}
    for one in given:
        by_person.setdefault(one.person, []).append(one)
    found = [_worker(person, theirs, now) for person, theirs in by_person.items()]
    return sorted(found, key=lambda one: (-one.labels, str(one.person)))


def _worker(person: int | str, given: Sequence[Given], now: datetime) -> Worker:
    labels = [one for one in given if not one.skipped]
    hours = {one.at.replace(minute=0, second=0, microsecond=0) for one in labels}
    known = [one.seconds for one in labels if one.seconds is not None and math.isfinite(one.seconds)]
    return Worker(
        person,
        len(labels),
        len(given) - len(labels),
        sum(now - HOUR < one.at <= now for one in labels),
        sum(now - SPANS["day"] < one.at <= now for one in labels),
        len(labels) / len(hours) if hours else 0.0,
        median(known) if known else None,
        max(one.at for one in given),
    )


def by_hour(times: Sequence[datetime], hours: int) -> list[tuple[datetime, int]]:
    """Labels of each hour of the clock, of so many hours that end with the newest label; none without labels."""
    if not times:
        return []
    counts = Counter(at.replace(minute=0, second=0, microsecond=0) for at in times)
    last = max(counts)
    return [(last - back * HOUR, counts[last - back * HOUR]) for back in reversed(range(hours))]
