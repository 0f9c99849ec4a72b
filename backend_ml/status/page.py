"""The page of one campaign: what it says, section by section."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from backend_ml.kinds.installed import known_kind
from backend_ml.report.galaxies import Dispute, NextTask
from backend_ml.report.next_training import NextTraining, training_words
from backend_ml.report.pace import by_hour
from backend_ml.report.report import Judged, Named, Report
from backend_ml.report.told import outliers_told
from backend_ml.report.words import (
    aside_words,
    change_words,
    chosen_words,
    counted,
    done_words,
    experiment_words,
    job_words,
    kappa_words,
    kind_words,
    left_words,
    moment,
    progress_words,
    rate_words,
    run_words,
    seconds_words,
    share_words,
)
from backend_ml.status.figures import hours_chart, learning_curve
from backend_ml.status.html import (
    Html,
    button,
    card,
    folded,
    hidden_field,
    joined,
    link,
    listed,
    paragraph,
    progress,
    table,
    text,
)

HOURS = 48  # of the chart of labels
PAIRS, ASIDE, CHANGES = 10, 30, 20
NEWEST = 6  # versions and lines of the log; the others are folded
DRAWN = "objects.json"
DOWNLOADS = {
    "labels.csv": "labels with files, positions and annotators (CSV)",
    DRAWN: "boxes and masks (COCO)",
    "catalogue.csv": "every galaxy, labelled or not (CSV)",
    "catalogue.fits": "the same as FITS",
    "status.json": "all figures of this page (JSON)",
}


@dataclass(frozen=True)
class View:
    """A campaign as one person sees it.

    Attributes
    ----------
    report : Report
    training : NextTraining or None
    named : callable
    root : str
        The site's first page as seen from this one.
    csrf : Html
        The hidden field of the session, for forms.
    label_studio : str
        Label Studio's address.
    leads : bool
        Whether this person may change campaigns.
    called : callable
        What a galaxy is called.
    why : callable
        Gives the address of the page that says why a stamp is in the queue: tasks that people brought name none.
    """

    report: Report
    training: NextTraining | None
    named: Named
    root: str
    csrf: Html
    label_studio: str
    leads: bool
    called: Callable[[tuple[str, int]], str]
    why: Callable[[tuple[str, int]], str]

    @property
    def base(self) -> str:
        """Address of the page."""
        return f"{self.root}/status/{self.report.campaign.id}"

    @property
    def open(self) -> bool:
        """Whether this person can change anything."""
        return self.leads and not self.report.campaign.is_closed

    def galaxy(self, stamp: tuple[str, int], task_id: int | None, more: str) -> str:
        """A stamp's picture over its name, which leads to its task, and more as HTML."""
        name = self.called(stamp)
        caption = f"<figcaption>{self.task(task_id, name)}{more}</figcaption>"
        return f"<figure>{self._picture(*stamp, f'Galaxy {name}')}{caption}</figure>"

    def _picture(self, stamp_set: str, stamp_id: int, about: str) -> Html:
        address = f"{self.base}/stamps/{quote(stamp_set, safe='')}/{stamp_id}.png"
        return Html(f'<img src="{text(address)}" width="160" height="160" loading="lazy" alt="{text(about)}">')

    def task(self, task_id: int | None, words: str) -> Html:
        """A link to a task in Label Studio, where there is one."""
        project = self.report.campaign.project
        if project is None or task_id is None:
            return text(words)
        return link(words, f"{self.label_studio}/projects/{project}/data?task={task_id}", outside=True)


def campaign_page(
    view: View, upcoming: Sequence[NextTask], disputed: Sequence[Dispute], disputes: int, changes: Sequence[Html]
) -> Html:
    """The page's content.

    Parameters
    ----------
    disputes : int
        How many galaxies are disputed; `disputed` are some of them.
    changes : sequence of Html
        Sections of what the leader may change.
    """
    return Html(
        f'<div class="cards">{_summary(view)}{_curve(view)}{_people(view)}{_next(view, upcoming)}{_agreement(view)}'
        f"{_disputes(view, disputed, disputes)}{_versions(view)}{joined(changes)}{_aside(view)}{_jobs(view)}"
        f"{_downloads(view)}</div>"
    )


def _summary(view: View) -> Html:
    report, campaign = view.report, view.report.campaign
    done = done_words(report.done, report.tasks)
    labels = sum(not one.skipped for one in report.given)
    left = left_words(report.pace, report.tasks, campaign.state)
    outliers = report.active.metrics.get("outliers") if report.active else None
    rows = [
        ("Labels", f"{labels:,} by {counted(len(report.workers), 'person', 'people')}"),
        ("Rate", rate_words(report.pace)),
        ("Time left", left),
        ("Version", _version_words(report.active)),
        *([("Outliers", outliers_told(outliers))] if outliers else []),
        ("Chosen by", chosen_words(campaign.policy, campaign.overlap)),
        ("Audit slice", f"{counted(report.status['tasks']['audit'], 'task')}, labelled blind"),
        *([("Next training", training_words(view.training, campaign.name))] if view.training else []),
    ]
    facts = "".join(f"<dt>{text(name)}</dt><dd>{text(value)}</dd>" for name, value in rows)
    ways = [link("All campaigns", f"{view.root}/status")]
    if campaign.project is not None:
        ways.append(link("Label", f"{view.label_studio}/projects/{campaign.project}/data", outside=True))
    if campaign.kind == "interest":
        ways.append(link("Search page", f"{view.root}/explore/{campaign.id}"))
    notices = [f"{row['text']} ({moment(row['at'])})" for row in report.status["notices"]]
    told = Html(f'<div class="notices">{listed(notices)}</div>') if notices else ""
    bar = progress(report.done, report.tasks, done) if report.tasks else ""
    words = f"{kind_words(campaign.kind)}, {campaign.state}: {done}"
    return card(
        "How it stands",
        paragraph(words),
        bar,
        Html(f"<dl>{facts}</dl>"),
        told,
        Html(f'<p class="ways">{" ".join(ways)}</p>'),
    )


def _version_words(active: Judged | None) -> str:
    if active is None:
        return "none yet"
    if active.cold_start:
        return f"{active.version}, a cold start: it ranks without a model"
    judged = f"; on the audit slice right in {share_words(active.audit)}" if active.audit.n else ""
    return f"{active.version}, of {counted(active.labels, 'label')}{judged}"


def _people(view: View) -> Html:
    report = view.report
    if not report.workers:
        return card("People", paragraph("Nobody has labelled yet."))
    rows = [
        (
            view.named(one.person),
            f"{one.labels:,}",
            f"{one.skips:,}",
            f"{one.last_hour:,}",
            f"{one.last_day:,}",
            f"{one.per_hour:.0f}",
            seconds_words(one.seconds),
            moment(one.latest),
        )
        for one in report.workers
    ]
    head = ["Who", "labels", "skipped", "last hour", "last day", "an hour", "a label takes", "last seen"]
    note = "“An hour” counts the hours in which someone labelled; “a label takes” is the median."
    times = [one.at for one in report.given if not one.skipped]
    return card(
        "People", table(head, rows), paragraph(note, "hint"), Html(hours_chart(by_hour(times, HOURS))), wide=True
    )


def _agreement(view: View) -> Html:
    blind, filled = view.report.blind, view.report.filled
    rows = [
        ("People with each other", share_words(blind.people.same), share_words(filled.people.same)),
        (
            "beyond chance (Fleiss)",
            kappa_words(blind.people.kappa, blind.people.galaxies),
            kappa_words(filled.people.kappa, filled.people.galaxies),
        ),
        ("People with the model", share_words(blind.model), share_words(filled.model)),
        *(
            (name, share_words(blind.questions[name].same), share_words(one.same))
            for name, one in filled.questions.items()
            if one.galaxies or blind.questions[name].galaxies
        ),
    ]
    what = (
        "Blind galaxies are those of the audit slice, shown without an answer: the model's share is what the version"
        " that serves got right of them. Of the others it is how many of the answers that were filled in people left as"
        " they were; what is chosen again counts as changed. In brackets the 95 % interval; pairs of labels are"
        " counted, not galaxies."
    )
    pairs = [
        (who, where, share_words(pair.same), "undefined" if pair.kappa is None else f"{pair.kappa:.2f}")
        for where, found in (("blind", blind), ("pre-annotated", filled))
        for pair in found.people.pairs[:PAIRS]
        for who in [" and ".join(view.named(person) for person in pair.people)]  # type: ignore[arg-type]
    ]
    each = table(["Two people", "galaxies", "same label", "Cohen’s κ"], pairs) if pairs else ""
    return card("Agreement", table(["", "blind", "pre-annotated"], rows), each, paragraph(what, "hint"), wide=True)


def _curve(view: View) -> Html:
    drawn = learning_curve(view.report.versions)
    if not drawn:
        none = "No version was judged yet: nobody has labelled a galaxy of the audit slice, or nothing was learned."
        return card("Learning curve", paragraph(none))
    note = (
        "Right answers on the audit slice, which no version learns from, with 95 % intervals (Wilson). Hollow points"
        " never served."
    )
    return card("Learning curve", Html(drawn), paragraph(note, "hint"))


def _versions(view: View) -> Html:
    report = view.report
    if not report.versions:
        return card("Versions", paragraph("There is none yet."))
    rows = [_version_row(view, one) for one in reversed(report.versions)]
    head = ["Version", "labels", "audit slice", "made", "served", ""]
    back = ""
    if view.open and sum(len(one.served) for one in report.versions) > 1:
        left = hidden_field("version", report.status["version"])
        back = button("Roll back", f"{view.base}/rollback", joined([view.csrf, left]))
    note = "The version that is promoted serves at once and the queue is pushed anew; the next refit may replace it."
    shown, rest = rows[:NEWEST], rows[NEWEST:]
    earlier = folded(f"{counted(len(rest), 'earlier version')}", table(head, rest)) if rest else ""
    return card("Versions", back, table(head, shown), earlier, paragraph(note, "hint"), name="versions", wide=True)


def _version_row(view: View, one: Judged) -> tuple[object, ...]:
    from_ = f" from {one.parent}" if one.parent else ", the first"
    told = link("card", f"{view.base}/cards/{quote(one.version, safe='')}.html")
    from_ = Html(f'<br><span class="hint">{text(from_.strip(", "))}, {told}</span>')
    about = joined([Html(f"<b>{text(one.version)}</b>"), from_])
    audit = share_words(one.audit) if one.audit.n else "cold start" if one.cold_start else "not judged"
    served = "; ".join(f"{moment(at)}, {why}" for at, why in one.served) or "never"
    act: object = "serves now" if one.active else ""
    if not one.active and view.open:
        fields = joined([view.csrf, hidden_field("version", one.version)])
        act = button("Promote", f"{view.base}/promote", fields)
    return about, f"{one.labels:,}", audit, moment(one.made_at), served, act


def _next(view: View, upcoming: Sequence[NextTask]) -> Html:
    if not upcoming:
        return card("Next in the queue", paragraph("No task waits for a label."))
    figures = "".join(
        view.galaxy((one.stamp_set, one.stamp_id), one.task_id, f"<br>{text(one.why)}{_why(view, one)}")
        for one in upcoming
    )
    return card("Next in the queue", Html(f'<div class="pictures">{figures}</div>'), wide=True)


def _why(view: View, task: NextTask) -> Html:
    # the page is of campaigns that are open
    return joined([" · ", link("why?", view.why((task.stamp_set, task.stamp_id)))]) if view.open else Html("")


def _disputes(view: View, disputed: Sequence[Dispute], total: int) -> Html:
    if not disputed:
        return card("Disputed galaxies", paragraph("People gave no galaxy different labels."))
    figures = "".join(
        view.galaxy((one.stamp_set, one.stamp_id), one.task_id, f"{' · a tie' if one.tied else ''}{_said(one)}")
        for one in disputed
    )
    shown = f"{counted(total, 'galaxy', 'galaxies')} with different labels; ties come first."
    hint = f" The first {len(disputed)} are shown." if total > len(disputed) else ""
    return card("Disputed galaxies", paragraph(shown + hint), Html(f'<div class="pictures">{figures}</div>'), wide=True)


def _said(dispute: Dispute) -> Html:
    return listed(f"{label}: " + ", ".join(who) for label, who in dispute.said)


def _jobs(view: View) -> Html:
    report = view.report
    going = [
        joined([f"{title}: {progress_words(run)} ", progress(run["done"], run["total"], title)])
        for title, run in (
            ("Learning", report.status["present_run"]),
            ("Another encoder", report.status["encoder_run"]),
        )
        if run
    ]
    waiting = [f"{job_words(job)} ({moment(job['at'] or job['scheduled_at'])})" for job in report.jobs]
    now = joined([listed(going), listed(waiting)]) or paragraph("Nothing goes on or waits.")
    log = [f"{moment(run['finished_at'])} – {run_words(run)}" for run in report.runs]
    more = folded("Those before", listed(log[NEWEST:])) if log[NEWEST:] else ""
    past = joined([Html("<h3>What came of earlier ones</h3>"), listed(log[:NEWEST]), more]) if log else ""
    tried = [f"{moment(one['begun_at'])} – {experiment_words(one)}" for one in report.status["experiments"]]
    experiments = joined([Html("<h3>Experiments of the pipeline</h3>"), listed(tried)]) if tried else ""
    made = [f"{moment(one['at'])} – {change_words(one)}" for one in report.status["changes"][:CHANGES]]
    changed = joined([Html("<h3>What people changed</h3>"), listed(made)]) if made else ""
    return card("Jobs and log", now, past, experiments, changed)


def _aside(view: View) -> Html:
    rows: list[dict[str, Any]] = view.report.status["set_aside"]
    if not rows:
        return Html("")
    lines = [(view.task(row["task"], aside_words(row)), row["reason"], moment(row["at"])) for row in rows[:ASIDE]]
    more = f"{counted(len(rows), 'answer')} cannot be read and count for nothing until they are corrected."
    return card("Set aside", paragraph(more), table(["What", "why", "since"], lines), wide=True)


def _downloads(view: View) -> Html:
    kind = known_kind(view.report.campaign)
    draws = kind is not None and kind.draws
    ways = [link(words, f"{view.base}/{name}") for name, words in DOWNLOADS.items() if draws or name != DRAWN]
    return card("Downloads", listed(ways))
