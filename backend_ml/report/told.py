"""How campaigns and versions stand, as the command line tells it: each thing with the sentences that say it."""

from collections.abc import Mapping, Sequence
from typing import Any

from backend_ml.labels.consensus import CONSENSUS
from backend_ml.report.agreement import Agreement
from backend_ml.report.pace import Worker
from backend_ml.report.report import Compared, Judged, Named, Report
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
from backend_ml.store.records import Campaign

LAST = 5  # runs and changes that are told
Told = list[tuple[str, list[str]]]
"""What is told: a title, and a line or more under it."""


def campaign_told(
    report: Report, named: Named, encoder: str, newer_encoder: str | None, next_training: str | None = None
) -> Told:
    """How a campaign stands; what there is nothing to say of is left out.

    Parameters
    ----------
    encoder : str
        What the campaign's is called.
    next_training : str, optional
        As `training_words`.
    """
    campaign, status = report.campaign, report.status
    left = left_words(report.pace, report.tasks, campaign.state)
    pool = status["pool"]
    lines: Told = [
        ("Campaign", [f"{campaign.name}: {kind_words(campaign.kind)}, {campaign.state}{_project(campaign.project)}"]),
        ("Done", [done_words(report.done, report.tasks)]),
        ("Pool", [] if pool is None else [f"{counted(pool['stamps'], 'stamp')}{_exhausted(pool['exhausted'])}"]),
        ("Labels", _labels(report)),
        ("Rate", [rate_words(report.pace)]),
        ("Time left", [left]),
        ("People", [_person(one, named) for one in report.workers]),
        ("Set aside", [f"{row['person']}, since {moment(row['at'])}" for row in status["people_aside"]]),
        ("Blind", _compared(report.blind, "the model, of the audit slice")),
        ("Pre-annotated", _compared(report.filled, "the model's answers, left as filled in")),
        ("Version", version_told(report.active) if report.active else ["none yet"]),
        ("Encoder", [encoder]),
        ("Newer encoder", [newer_encoder] if newer_encoder else []),
        ("Next training", [next_training] if next_training else []),
        ("Simulated", [f"{name}: {concept}" for name, concept in campaign.simulated.items()]),
        ("Chosen by", _terms(campaign)),
        ("Queue", _queue(report)),
        ("Goes on", _going(report)),
        ("Jobs", [f"{job_words(job)} ({moment(job['at'] or job['scheduled_at'])})" for job in report.jobs]),
        ("Log", [f"{moment(run['finished_at'])}: {run_words(run)}" for run in report.runs[:LAST]]),
        (
            "Experiments",
            [f"{moment(one['begun_at'])}: {experiment_words(one)}" for one in status["experiments"][:LAST]],
        ),
        ("Changed", [f"{moment(one['at'])}: {change_words(one)}" for one in status["changes"][:LAST]]),
        ("Compared", [f"with Label Studio on {moment(campaign.reconciled_at)}"] if campaign.reconciled_at else []),
        ("Webhooks", _inbox(status["inbox"])),
        ("Unreadable", [f"{aside_words(row)}: {row['reason']} ({moment(row['at'])})" for row in status["set_aside"]]),
        ("Notices", [f"{row['source']}: {row['text']} ({moment(row['at'])})" for row in status["notices"]]),
    ]
    return [(title, texts) for title, texts in lines if texts]


def version_told(one: Judged, *, figures: bool = True) -> list[str]:
    """A version: what it is, what it is worth, when it served; `figures` are what was measured while it was made."""
    learned = "a cold start, which ranks without a model" if one.cold_start else f"of {counted(one.labels, 'label')}"
    lines = [f"{one.version}, {learned}, made {moment(one.made_at)}"]
    if one.parent:
        lines.append(f"from {one.parent}")
    if one.audit.n:
        lines.append(f"right on the audit slice: {share_words(one.audit)}")
    lines += metrics_told(one)
    if figures and (numbers := figures_of(one)):
        lines.append(", ".join(f"{name} {value:.3g}" for name, value in numbers.items()))
    if one.served:
        lines.append("served from " + "; ".join(f"{moment(at)}, {why}" for at, why in one.served))
    else:
        lines.append("never served")
    return lines


def provenance_told(one: Judged, facts: Mapping[str, Any]) -> Told:
    """A version, what it is made of, who let it serve, and the command that rebuilds it."""
    encoder, snapshot = facts["encoder"], facts["snapshot"]
    gone = [
        f"its {name} gone"
        for name, word in (("checkpoint is", "checkpoint"), ("features are", "features"))
        if not encoder[word]
    ]
    code = [facts["revision"], *([facts["code_here"]] if facts["code_here"] else [])]
    prior = facts.get("prior")
    wanted = [f"{row['person']}, {moment(row['promoted_at'])}" for row in facts["promotions"] if row["person"]]
    lines: Told = [
        ("Version", version_told(one)),
        ("Campaign", [facts["campaign"]]),
        ("Code", [", ".join(code)]),
        (
            "Locks",
            [f"{name} {lock['sha256'][:12]}, {_here(lock['here'])}" for name, lock in facts.get("locks", {}).items()],
        ),
        ("Labels", [_snapshot(snapshot)] if snapshot else []),
        ("Encoder", [", ".join([encoder["digest"], *gone])]),
        ("Detector", [facts["detector"]] if facts["detector"] else []),
        ("Seed", [str(facts["seed"])]),
        ("Simulated", [f"{name}: {concept}" for name, concept in prior["classes"].items()] if prior else []),
        ("Made on", _made_on(facts) if "processor" in facts else []),
        ("By hand", wanted),
        ("Rebuild", [facts["rebuild"] or facts["problem"]]),
    ]
    return [(title, texts) for title, texts in lines if texts]


def rebuilt_told(version: str, told: Mapping[str, Any]) -> Told:
    """How a head that was fitted again compares with the one that is served."""
    if told["identical"]:
        compared = f"the same as the head that is served, bit for bit: sha256 {told['rebuilt'][:12]}"
    elif "stamps" in told:
        compared = (
            f"another head than the one that is served: probabilities of {counted(told['stamps'], 'stamp')} differ by"
            f" {told['largest_difference']:.2g} at most, by {told['mean_difference']:.2g} on average"
        )
    else:
        compared = "another head than the one that is served"
    learned = f"fitted again on {counted(told['labels'], 'label')} with the code of {told['commit'][:12]}"
    return [("Version", [f"{version}, {learned}"]), ("Rebuilt", [compared]), ("Know", list(told["notes"]))]


def _snapshot(snapshot: Mapping[str, Any]) -> str:
    judged = f", {snapshot['to_judge_on']:,} to judge on" if snapshot["to_judge_on"] else ""
    answers = f"{counted(snapshot['answers'], 'answer')} by {snapshot['consensus']}"
    return f"{snapshot['name']}: {counted(snapshot['labels'], 'label')}{judged}, of {answers}"


def _made_on(facts: Mapping[str, Any]) -> list[str]:
    threads = f", {counted(facts['threads'], 'thread')}" if facts["threads"] else ""
    precision = f", {facts['precision']}" if facts["precision"] else ""
    libraries = ", ".join(f"{name} {version}" for name, version in facts["libraries"].items())
    return [told for told in (f"{facts['processor']}{threads}{precision}", facts["gpu"], libraries) if told]


def _here(same: bool) -> str:
    return "as it is here" if same else "another one than here"


def metrics_told(one: Judged) -> list[str]:
    """What else is known of a version: against the one before, what is from simulated galaxies, what it reads."""
    told = []
    gate = one.metrics.get("gate") or {}
    if gate.get("difference") is not None:
        verdict = "" if gate.get("passed") else ": worse, so it was held back"
        difference, error = 100 * gate["difference"], 100 * gate["standard_error"]
        told.append(f"against the one before: {difference:+.1f} ± {error:.1f} points{verdict}")
    if one.metrics.get("prior_share") is not None:
        told.append(f"from simulated galaxies: {100 * one.metrics['prior_share']:.0f} % of its answers")
    if one.metrics.get("outliers"):
        told.append(outliers_told(one.metrics["outliers"]))
    if one.metrics.get("columns"):
        told.append(columns_told(one.metrics["columns"]))
    return told


def figures_of(one: Judged) -> dict[str, float]:
    """The numbers that were measured while a version was made, and are told nowhere else."""
    rest = {name: value for name, value in one.metrics.items() if name not in ("prior_share", "audit_accuracy")}
    return {name.replace("_", " "): value for name, value in rest.items() if isinstance(value, float)}


def columns_told(columns: Mapping[str, Any]) -> str:
    """What a version reads beside the image, and how that was where it learned."""
    parts = []
    for one in columns["read"]:
        of = f"{one['numbers']} numbers" if one["numbers"] > 1 else f"{one['middle']:.4g} ± {one['scale']:.2g}"
        gone = one["missing"]
        of = "all missing" if gone == 1 else of + (f", {100 * gone:.0f} % missing" if gone else "")
        parts.append(f"{one['name']} ({of})")
    return f"reads beside the image: {'; '.join(parts)}; digest {columns['digest']}"


def outliers_told(outliers: Sequence[Mapping[str, Any]]) -> str:
    """How many numbers of people lie far from a version's, and the farthest."""
    from lvm_training.parameters.parameter import PARAMETERS

    one = outliers[0]
    known = PARAMETERS.get(one["parameter"])
    what = f"{known.words} {one['number']:.4g}" if known else f"{one['parameter']} {one['number']:.4g}"
    perhaps = f", perhaps {one['perhaps']}" if one["perhaps"] else ""
    return (
        f"{counted(len(outliers), 'number')} of people far from it; the farthest: {one['stamp_set']}/{one['stamp_id']}"
        f" {what} against {one['measured']:.4g}, {one['errors']:g} errors away{perhaps}"
    )


def _project(project: int | None) -> str:
    return ", not in Label Studio" if project is None else f", project {project} of Label Studio"


def _exhausted(exhausted: bool) -> str:
    return ", all of them tasks by now" if exhausted else ""


def _terms(campaign: Campaign) -> list[str]:
    # the usual one goes unsaid: of some kinds no rule chooses, and to ask a kind takes as long as to load its model
    rule = f", {campaign.consensus}" if campaign.consensus != CONSENSUS[0] else ""
    return [f"{chosen_words(campaign.policy, campaign.overlap)}{rule}"]


def _labels(report: Report) -> list[str]:
    given = sum(not one.skipped for one in report.given)
    skipped = len(report.given) - given
    people = counted(len(report.workers), "person", "people")
    agreed = ", ".join(f"{n:,} {label}" for label, n in report.status["labels"].items())
    skips = f"; {skipped:,} skipped" if skipped else ""
    return [f"{counted(given, 'label')} by {people}{skips}", *([f"agreed: {agreed}"] if agreed else [])]


def _person(one: Worker, named: Named) -> str:
    pace = f", {one.per_hour:.0f} an hour" if one.labels else ""
    takes = f", {seconds_words(one.seconds)} each" if one.seconds is not None else ""
    skips = f", {one.skips:,} skipped" if one.skips else ""
    recent = f" ({one.last_day:,} in the last day)" if one.last_day else ""
    return f"{named(one.person)}: {counted(one.labels, 'label')}{recent}{pace}{takes}{skips}"


def _compared(found: Compared, model: str) -> list[str]:
    lines = []
    if found.people.galaxies:
        same = share_words(found.people.same).replace(" (", " pairs (", 1)
        lines.append(f"people say the same in {same}; {kappa_words(found.people.kappa, found.people.galaxies)}")
    if found.model.n:
        lines.append(f"{model}: {share_words(found.model)}")
    return lines + [line for name, one in found.questions.items() for line in _question(name, one)]


def _question(name: str, found: Agreement) -> list[str]:
    if not found.galaxies:
        return []
    same = share_words(found.same).replace(" (", " pairs (", 1)
    return [f"{name}: people say the same in {same}; {kappa_words(found.kappa, found.galaxies)}"]


def _queue(report: Report) -> list[str]:
    waiting = counted(report.status["waiting"], "task")
    pushed = report.status["last_push"]
    if pushed is None:
        return [f"{waiting} waiting, not pushed yet"] if report.tasks else []
    return [
        f"{waiting} waiting; {pushed['ranked']:,} ranked by {pushed['policy']} with {pushed['version']},"
        f" served since {moment(pushed['served_at'])}"
    ]


def _going(report: Report) -> list[str]:
    runs = (("learning", "present_run"), ("another encoder", "encoder_run"))
    return [f"{name}: {progress_words(run)}" for name, key in runs if (run := report.status[key])]


def _inbox(inbox: dict[str, int]) -> list[str]:
    told = [f"{inbox['waiting']:,} wait"] if inbox["waiting"] else []
    return told + ([f"{inbox['failed']:,} cannot be read"] if inbox["failed"] else [])
