"""All that is told of one campaign, by the page and in words; read in a moment, so nothing here learns or serves."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from backend_ml.campaign.status import Standing, campaign_status
from backend_ml.labels.agreed import IMPORTED
from backend_ml.report.agreement import Agreement, Share, agreement
from backend_ml.report.pace import Given, Pace, Worker, pace, workers
from backend_ml.store.database import Connection, query
from backend_ml.store.records import Campaign
from backend_ml.store.versions import active_version

if TYPE_CHECKING:
    from backend_ml.kinds.kind import Opinion
    from backend_ml.kinds.models import Stamp

Named = Callable[[int | str], str]
"""Who somebody is: an id in Label Studio, or a name, to a name."""
RUNS, JOBS = 20, 50


@dataclass(frozen=True)
class Judged:
    """A model version, and what it is worth on the audit slice.

    Attributes
    ----------
    version : str
    parent : str or None
    labels : int
        That it learned from.
    audit : Share
        Galaxies of the audit slice that it got right; of none where it was not judged.
    cold_start : bool
        Whether it ranks without a model.
    active : bool
    made_at : datetime
    served : list of (datetime, str)
        When it began to serve, and why; oldest first.
    metrics : dict
    """

    version: str
    parent: str | None
    labels: int
    audit: Share
    cold_start: bool
    active: bool
    made_at: datetime
    served: list[tuple[datetime, str]]
    metrics: dict[str, Any]


@dataclass(frozen=True)
class Compared:
    """Agreement about one part of the galaxies.

    Attributes
    ----------
    people : Agreement
        Of people with each other.
    model : Share
        Of people with the model: blind, what the version that serves got right; else what of its answers that were
        filled in people left as they were.
    questions : dict of str to Agreement
        Of people with each other about each question, where they are asked several.
    """

    people: Agreement
    model: Share
    questions: dict[str, Agreement]


@dataclass(frozen=True)
class Report:
    """How a campaign stands.

    Attributes
    ----------
    standing : Standing
    status : dict
        As `campaign_status`.
    done, tasks : int
        Tasks with as many labels as are wanted, of all.
    pace : Pace
    given : list of Given
        What people did, oldest first.
    workers : list of Worker
    blind, filled : Compared
        About galaxies of the audit slice, which are shown without an answer, and about the others.
    versions : list of Judged
        Oldest first.
    runs, jobs : list of dict
        As the queries.
    """

    campaign: Campaign
    standing: Standing
    status: dict[str, Any]
    done: int
    tasks: int
    pace: Pace
    given: list[Given]
    workers: list[Worker]
    blind: Compared
    filled: Compared
    versions: list[Judged]
    runs: list[dict[str, Any]]
    jobs: list[dict[str, Any]]

    @property
    def active(self) -> Judged | None:
        """The version that serves."""
        return next((one for one in self.versions if one.active), None)

    @property
    def share_done(self) -> float | None:
        """Fraction of the tasks that are done; None without tasks."""
        return self.done / self.tasks if self.tasks else None


def read_report(connection: Connection, campaign: Campaign, now: datetime | None = None) -> Report:
    """How a campaign stands at this moment."""
    now = now or datetime.now(UTC)
    standing = Standing.read(connection, campaign)
    status = campaign_status(connection, campaign, standing)
    answers = query(connection, "answers", campaign=campaign.id)
    given = [Given(_who(row), row["happened_at"], row["skipped"], row["lead_time"]) for row in answers]
    judged = read_versions(connection, campaign, status["version"])
    active = next((one.audit for one in judged if one.active), Share(0, 0))
    votes = [row for row in standing.votes if row["given"] != "start"]
    kept = [row["kept"] for row in answers if row["kept"] is not None]
    said, shown = opinions(connection, campaign), {_stamp(row) for row in votes}
    blind = {_stamp(row) for row in votes if row["blind"]}
    pre_annotated = shown - blind
    times = [one.at for one in given if not one.skipped]
    tasks = status["tasks"]["tasks"]
    return Report(
        campaign,
        standing,
        status,
        tasks - status["waiting"],
        tasks,
        pace(times, sum(row["lacking"] for row in standing.waiting), now),
        given,
        workers(given, now),
        Compared(_agreement(votes, blind), active, _by_question(said, blind)),
        Compared(_agreement(votes, pre_annotated), Share(sum(kept), len(kept)), _by_question(said, pre_annotated)),
        judged,
        query(connection, "runs", campaign=campaign.id, limit=RUNS),
        query(connection, "jobs", campaign=campaign.id, limit=JOBS),
    )


def opinions(connection: Connection, campaign: Campaign) -> "Mapping[str, Sequence[Opinion]]":
    """Who said what of which stamp, by question; nothing where the campaign's kind is broken or gone."""
    if not query(connection, "several_answered", campaign=campaign.id)[0]["several"]:
        return {}
    # a kind takes seconds to import, for what few have to say
    from backend_ml.kinds.installed import kind_of
    from backend_ml.kinds.kind import KindError, blamed

    try:
        kind = kind_of(campaign)
        with blamed(kind, "reading what people answered"):
            return kind.opinions(connection, campaign)
    except KindError:
        return {}


def read_versions(connection: Connection, campaign: Campaign, active: str | None) -> list[Judged]:
    """The versions of a campaign, oldest first."""
    served: dict[str, list[tuple[datetime, str]]] = {}
    for row in reversed(query(connection, "promotions", campaign=campaign.id)):
        served.setdefault(row["version"], []).append((row["promoted_at"], row["reason"]))
    return [
        Judged(
            row["version"],
            row["parent"],
            row["labels"],
            audit_share(row),
            row["cold_start"],
            row["version"] == active,
            row["created_at"],
            served.get(row["version"], []),
            row["metrics"],
        )
        for row in query(connection, "versions", campaign=campaign.id)
    ]


def judged_version(connection: Connection, campaign: Campaign, version: str) -> Judged:
    """A version that the campaign has, as the list of all tells of it."""
    active = active_version(connection, campaign)
    listed = read_versions(connection, campaign, active.version if active else None)
    return next(one for one in listed if one.version == version)


def audit_share(version: dict[str, Any]) -> Share:
    """How many galaxies of the audit slice a version got right; its metrics have the fraction."""
    accuracy, n = version["metrics"].get("audit_accuracy"), version["audit_labels"]
    # of what is partly right the sum is no whole number
    return Share(round(accuracy * n, 6), n) if isinstance(accuracy, float | int) else Share(0, 0)


def namer(connection: Connection, campaign: Campaign, ask: Callable[[int], str]) -> Named:
    """Names of people: as they signed in to the search page, or else as `ask` says."""
    known = {row["annotator"]: row["person"] for row in query(connection, "annotator_names", campaign=campaign.id)}

    def named(person: int | str) -> str:
        return person if isinstance(person, str) else known.get(person) or ask(person)

    return named


def as_json(report: Report, named: Named) -> dict[str, Any]:
    """All figures of a campaign as JSON values: those of `campaign status --json`."""
    blind, filled = asdict(report.blind), asdict(report.filled)
    for part in (blind, filled):
        for found in (part["people"], *part["questions"].values()):
            for pair in found["pairs"]:
                pair["people"] = [named(person) for person in pair["people"]]
    return {
        **report.status,
        "done": report.done,
        "pace": asdict(report.pace) | {"hours_left": report.pace.hours_left},
        "people": [asdict(one) | {"person": named(one.person)} for one in report.workers],
        "agreement": {"blind": blind, "pre_annotated": filled},
        "versions": [asdict(one) for one in report.versions],
        "runs": report.runs,
        "jobs": report.jobs,
    }


def _who(row: dict[str, Any]) -> int | str:
    return row["annotator"] or row["person"] or IMPORTED


def _stamp(row: dict[str, Any]) -> "Stamp":
    return row["stamp_set"], row["stamp_id"]


def _agreement(votes: Sequence[dict[str, Any]], about: "set[Stamp]") -> Agreement:
    return agreement([(_stamp(row), _who(row), row["label"]) for row in votes if _stamp(row) in about])


def _by_question(said: "Mapping[str, Sequence[Opinion]]", about: "set[Stamp]") -> dict[str, Agreement]:
    return {name: agreement([one for one in given if one[0] in about]) for name, given in said.items()}
