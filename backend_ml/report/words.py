"""Figures as people read them: shares with their n and interval, spans of time, how a campaign stands in a sentence."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from backend_ml.report.agreement import Share
from backend_ml.report.pace import Pace

SPAN_WORDS = {"hour": "the last hour", "day": "the last day", "week": "the last week"}
TASKS = {
    "campaign:learn": "learning from the labels",
    "campaign:encoder": "another encoder",
    "campaign:add": "adding galaxies",
    "campaign:push": "pushing the queue to Label Studio",
    "campaign:reconcile": "comparing with Label Studio",
    "campaign:relink": "writing new links",
    "campaign:simulate": "drawing simulated galaxies",
}
STATUSES = {"todo": "waits", "doing": "goes on", "failed": "failed"}
PHASES = {"learn": "Learning", "encoder": "Another encoder"}
OUTCOMES = {
    "promoted": "its version serves",
    "held back": "its version was held back: worse on the audit slice, or somebody chose another meanwhile",
    "unchanged": "the same version came out",
    "too few labels": "there are too few labels to learn from",
    "failed": "it failed",
}


def share_words(share: Share) -> str:
    """Such as "84 % of 120 (77–90 %)", with the 95 % interval."""
    if share.value is None:
        return "nothing to compare yet"
    low, high = share.interval
    return f"{100 * share.value:.0f} % of {share.n:,} ({100 * low:.0f}–{100 * high:.0f} %)"


def kappa_words(kappa: float | None, n: int) -> str:
    """Such as "κ 0.71 on 36 galaxies"."""
    if not n:
        return "no galaxy has labels of two people"
    found = "undefined: all labels are the same" if kappa is None else f"{kappa:.2f}"
    return f"κ {found}, on {counted(n, 'galaxy', 'galaxies')}"


def counted(n: int, one: str, several: str = "") -> str:
    """Such as "1 label" and "1,200 labels"."""
    return f"{n:,} {one if n == 1 else several or f'{one}s'}"


def hours_words(hours: float) -> str:
    """Such as "25 min", "3 h", "4 days"."""
    if hours < 1.5:
        return f"{max(round(hours * 60), 1)} min"
    return f"{hours:.0f} h" if hours < 48 else f"{hours / 24:,.0f} days"


def seconds_words(seconds: float | None) -> str:
    """Such as "4.2 s" or "3 min"; a dash where nobody knows."""
    if seconds is None:
        return "–"
    return f"{seconds:.1f} s" if seconds < 90 else hours_words(seconds / 3600)


def kind_words(kind: str) -> str:
    """What a kind of campaign is called, such as "galaxy zoo"."""
    return kind.replace("_", " ")


def aside_words(row: Mapping[str, Any]) -> str:
    """Which annotation or webhook is set aside, of a row of the query `all_set_aside`."""
    if row["annotation"] is None:
        return f"webhook {row['webhook']}"
    return f"annotation {row['annotation']} of task {row['task']}"


def moment(at: datetime | None) -> str:
    """Such as "2026-11-26 23:41 UTC"."""
    return "–" if at is None else f"{at:%Y-%m-%d %H:%M} UTC"


def rate_words(pace: Pace) -> str:
    """Such as "42 labels an hour (42 in the last hour)"."""
    if pace.per_hour is None:
        return "nobody labelled in the last week"
    rate = f"{pace.per_hour:.0f} labels an hour" if pace.per_hour >= 2 else f"{24 * pace.per_hour:.1f} labels a day"
    return f"{rate} ({pace.labels:,} in {SPAN_WORDS[pace.span]})"


def chosen_words(policy: str, overlap: int) -> str:
    """What decides which galaxy comes next; Label Studio serves what somebody has begun first."""
    begun = "; those begun come first" if overlap > 1 else ""
    return f"the policy {policy}; {counted(overlap, 'label')} of each galaxy{begun}"


def left_words(pace: Pace, tasks: int, state: str = "open") -> str:
    """When the last label comes, such as "about 3 h at the rate of the last hour"; else the campaign's state."""
    if state != "open":
        return state
    if not tasks:
        return "no tasks yet"
    hours = pace.hours_left
    if hours is None:
        return "unknown while nobody labels"
    return f"about {hours_words(hours)} at the rate of {SPAN_WORDS[pace.span]}" if pace.wanted else "done"


def done_words(done: int, tasks: int) -> str:
    """Such as "156 of 500 tasks done, 31 %"; never 100 % before the last one."""
    if not tasks:
        return "no tasks yet"
    return f"{done:,} of {counted(tasks, 'task')} done, {100 * done // tasks} %"


def run_words(run: dict[str, Any]) -> str:
    """A run of learning that ended, in a sentence."""
    version = f": {run['version']}" if run["version"] else ""
    took = f" after {seconds_words(run['seconds'])}" if run["seconds"] else ""
    return f"{PHASES[run['job']]}{took}: {OUTCOMES[run['outcome']]}{version}."


def experiment_words(experiment: dict[str, Any]) -> str:
    """An experiment of the pipeline: what it learned, what came of it, and where it is."""
    learned = f"{experiment['name']} on {counted(experiment['labels'], 'label')} of {experiment['labels_file']}"
    outcome = OUTCOMES[experiment["outcome"]] if experiment["outcome"] else "goes on, or waits for a worker"
    measured = [f"{name.replace('_', ' ')} {value:.3g}" for name, value in sorted(experiment["metrics"].items())]
    where = [f"branch {experiment['branch']}"] if experiment["branch"] else []
    more = "; ".join([*measured, *where, *([experiment["note"]] if experiment["note"] else [])])
    return f"{learned}: {outcome}{f': {more}' if more else ''}"


def progress_words(run: dict[str, Any]) -> str:
    """How far a run is that goes on."""
    return f"{run['phase']}, {run['done']:,} of {run['total']:,}"


def change_words(change: dict[str, Any]) -> str:
    """What somebody changed, in a sentence."""
    details = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in change["details"].items())
    return f"{change['person']}: {change['what']}{f' ({details})' if details else ''}"


def job_words(job: dict[str, Any]) -> str:
    """A job of the workers, in a sentence."""
    tried = f", tried {counted(job['attempts'], 'time')}" if job["attempts"] else ""
    return f"{TASKS.get(job['task'], job['task'])}: {STATUSES[job['status']]}{tried}"
