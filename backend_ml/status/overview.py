"""The page of all campaigns: how each stands, open ones first."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from psycopg.rows import DictRow

from backend_ml.report.pace import SPANS, Pace, pace_of
from backend_ml.report.words import done_words, kind_words, left_words, moment, rate_words
from backend_ml.status.html import Html, joined, link, listed, paragraph, progress, terms, text
from backend_ml.store.campaigns import all_campaigns
from backend_ml.store.database import Connection, query
from backend_ml.store.records import Campaign


@dataclass(frozen=True)
class Line:
    """What the page says of one campaign.

    Attributes
    ----------
    done, tasks : int
        Tasks with as many labels as are wanted, of all.
    labels : int
        That people gave.
    latest : datetime or None
        When the last of them was given.
    pace : Pace
    version : str or None
        That serves.
    notices : list of str
    """

    campaign: Campaign
    done: int
    tasks: int
    labels: int
    latest: datetime | None
    pace: Pace
    version: str | None
    notices: list[str]


def read_lines(connection: Connection, now: datetime | None = None) -> list[Line]:
    """All campaigns, open ones first, of these the newest; read by two queries, however many there are."""
    now = now or datetime.now(UTC)
    told = {row["campaign"]: row for row in query(connection, "overview", now=now)}
    found = [_line(campaign, told[campaign.id], now) for campaign in all_campaigns(connection) if campaign.id in told]
    return sorted(found, key=lambda line: (line.campaign.is_closed, -line.campaign.id))


def _line(campaign: Campaign, told: DictRow, now: datetime) -> Line:
    return Line(
        campaign,
        told["tasks"] - told["waiting"],
        told["tasks"],
        told["labels"],
        told["latest"],
        pace_of({span: told[span] for span in SPANS}, told["first"], int(told["wanted"]), now),
        told["version"],
        told["notices"],
    )


def overview(lines: Sequence[Line], root: str) -> Html:
    """The page's content."""
    if not lines:
        begin = "There are no campaigns yet. `galaxyloop campaign create` makes one, and so does the search page."
        return Html(f'<div class="card narrow">{paragraph(begin)}{link("Search", f"{root}/explore")}</div>')
    return Html(f'<div class="campaigns">{joined(_entry(line, root) for line in lines)}</div>')


def _entry(line: Line, root: str) -> Html:
    campaign = line.campaign
    name = link(campaign.name, f"{root}/status/{campaign.id}")
    state = "" if campaign.state == "open" else f" · {campaign.state}"
    left = left_words(line.pace, line.tasks, campaign.state)
    told = terms(
        [
            ("Labels", f"{line.labels:,}" + (f", the last on {moment(line.latest)}" if line.latest else "")),
            ("Rate", rate_words(line.pace)),
            ("Time left", left),
            ("Version", line.version or "none yet"),
        ]
    )
    done = done_words(line.done, line.tasks)
    bar = progress(line.done, line.tasks, done) if line.tasks else ""
    notices = Html(f'<div class="notices">{listed(line.notices)}</div>') if line.notices else ""
    head = Html(f'<h2>{name}</h2><p class="hint">{text(f"{kind_words(campaign.kind)}{state}")}</p>')
    return Html(f'<article class="card">{head}{paragraph(done)}{text(bar)}{told}{notices}</article>')
