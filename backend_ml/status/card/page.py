"""The card as one HTML page that needs no other file."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backend_ml.kinds.answers import percent
from backend_ml.kinds.evaluation import Measure
from backend_ml.learning.gate import FEWEST_AUDIT_LABELS
from backend_ml.report.agreement import Agreement, Share
from backend_ml.report.told import figures_of, provenance_told, version_told
from backend_ml.report.words import counted, kappa_words, kind_words, share_words
from backend_ml.status.card.card import Card, DataSet
from backend_ml.status.card.labels import ANSWERS, Labelled
from backend_ml.status.card.measured import FAILURES, Failure, Measured
from backend_ml.status.figures import share_chart
from backend_ml.status.html import Html, card, folded, joined, listed, paragraph, table, terms, text
from lvm_training.errors import OutputError
from lvm_training.files import refuse_others, try_writing
from lvm_training.objects.instances import Instances

STYLES = (("backend_ml.explore", "explore.css"), ("backend_ml.status", "status.css"))
MARK = '<meta name="generator" content="galaxyloop model card">'
COLOURS = ("#ff6bf5", "#2ee6a6", "#ffb52e", "#5cb8ff", "#ff7a6b", "#e6e65c")  # of boxes, on black
PEOPLE = 30  # that are listed one by one
FEW = 10  # galaxies of a class with which its figures say little
METRICS = {
    "balanced_accuracy": "mean of the classes' shares found",
    "f1": "F1, mean over classes",
    "auc": "AUC, one class against the rest",
    "log_loss": "log loss, nats",
    "calibration_error": "calibration error",
}


def check_out(path: Path) -> None:
    """Refuse, before any work is done, a file that cannot be written, or that is there and is no card.

    Raises
    ------
    OutputError
        If it is so.
    """
    if path.is_dir():
        raise OutputError(f"{path} is a folder.", "Name a file in it.")
    try:
        try_writing(path.parent)
    except OSError as error:
        raise OutputError(
            f"Nothing can be written to {path.parent}: {error.strerror}.", "Name another file."
        ) from error
    refuse_others(path, MARK.encode())


def card_page(told: Card) -> str:
    """The page."""
    name = told.found.version.version
    style = "".join(files(package).joinpath("pages", page).read_text(encoding="utf-8") for package, page in STYLES)
    sections = joined([_summary(told), _use(told), _data(told), _labels(told), *_figures(told), _rebuild(told)])
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'{MARK}<meta name="color-scheme" content="light dark"><title>{text(name)}: model card</title>'
        f"<style>{style}</style></head><body><header><h1>Model card: {text(name)}</h1>"
        f'<p>Galaxy Loop</p></header><main><div class="cards">{sections}</div></main></body></html>\n'
    )


def _summary(told: Card) -> Html:
    campaign, version = told.found.campaign, told.found.version
    rows: list[tuple[str, object]] = [
        ("Version", version.version),
        ("Campaign", f"{campaign.name}, {campaign.state}"),
        ("Kind", kind_words(campaign.kind)),
        ("Answers", ", ".join(campaign.classes)),
        ("Right", share_words(told.measured.right) if told.measured else "not known"),
    ]
    figures = [(name, f"{value:.3g}") for name, value in sorted(figures_of(told.judged).items())]
    made = folded("Figures from when it was made", table(["Figure", "value"], figures)) if figures else ""
    lines = listed(version_told(told.judged, figures=False)[1:])
    return card("What it is", terms(rows), lines, _caution(told), made)


def _caution(told: Card) -> Html:
    """What everybody must know before a figure of this page."""
    if told.measured is None:
        return Html(f'<p class="notices" role="note">{text(told.problem)}</p>')
    if told.blind < FEWEST_AUDIT_LABELS:
        few = counted(told.blind, "galaxy", "galaxies")
        return Html(
            f'<p class="notices" role="note">The audit slice has labels of {few} only: too few to tell how good it is.'
            f" From {FEWEST_AUDIT_LABELS} on a new version is compared with the one before.</p>"
        )
    return Html("")


def _use(told: Card) -> Html:
    campaign = told.found.campaign
    sets = ", ".join(one.name for one in told.sets)
    use = (
        f"It fills in answers that people of the campaign “{campaign.name}” look at, ranks what they look at next, and"
        f" answers the galaxies of {sets} that nobody labelled."
    )
    limits = [
        *told.limits,
        f"{_learned_from(told, sets)} Of other surveys, depths or scales nobody checked it; a campaign on these, with"
        " an audit slice of its own, would.",
        *_rare(told),
    ]
    if told.found.learned is not None and told.found.learned.recipe.seen:
        limits.append("Its encoder was trained on labels of this campaign too, but for the audit slice.")
    return card("What it is for, and what not", paragraph(use), listed(limits))


def _learned_from(told: Card, sets: str) -> str:
    count = told.found.version.labels
    if not count:
        return f"It learned from no label of galaxies of {sets}: it is what the campaign began with."
    return f"It learned from {counted(count, 'label')} of galaxies of {sets}."


def _rare(told: Card) -> list[str]:
    if told.measured is None:
        return []
    rare = [one.name for one in told.measured.classes if one.found.n < FEW]
    return (
        [f"Fewer than {FEW} galaxies of the audit slice are {', '.join(rare)}: little is known there."] if rare else []
    )


def _data(told: Card) -> Html:
    return card("Data", *(_set(one) for one in told.sets))


def _set(one: DataSet) -> Html:
    title = Html(f"<h3>{text(one.name)}</h3>")
    if one.about is None:
        return joined([title, paragraph(f"It cannot be read here: {one.problem}"), terms(_learned(one))])
    about = one.about
    rows = [
        ("Stamps", f"{about['stamps']:,} of {about['size']}, {about['pixels']}"),
        ("Bands", about["bands"]),
        ("Scale", f"{about['pixel_scale']} a pixel" if about["pixel_scale"][0].isdigit() else about["pixel_scale"]),
        ("Digest", f"{about['digest']}{_changed(one)}"),
        *((name.capitalize(), _document(about[name])) for name in ("survey", "import", "join") if about[name]),
    ]
    return joined([title, terms(rows), folded("Columns", paragraph(", ".join(about["columns"]) or "none"))])


def _learned(one: DataSet) -> list[tuple[str, object]]:
    return [("Digest", one.learned)] if one.learned else []


def _changed(one: DataSet) -> str:
    """Whether a set is another one than what was learned from, as far as the shorter digest says."""
    learned, now = one.learned, one.about["digest"] if one.about else ""
    same = learned.startswith(now) or now.startswith(learned)
    return "" if same else f"; it learned from {learned}, before the set was changed"


def _document(about: Mapping[str, Any]) -> str:
    """What a set says of where it comes from, in a line: words and numbers, no lists and no paths."""
    plain = {name: value for name, value in about.items() if isinstance(value, str | int | float) and value != ""}
    return ", ".join(
        f"{name.replace('_', ' ')} {value}" for name, value in plain.items() if not str(value).startswith(("/", "{"))
    )


def _labels(told: Card) -> Html:
    labelled = told.labelled
    if not labelled.training and not labelled.people:
        return card("Labels", paragraph(labelled.why_now or "There are none."))
    notes = []
    if labelled.why_now:
        notes.append(paragraph(f"{labelled.why_now} These are the labels of now.", "hint"))
    if labelled.consensus:
        notes.append(paragraph(f"Several answers of one galaxy are one label by {labelled.consensus}.", "hint"))
    by_class = [
        (name, f"{labelled.training[name]:,}", *([f"{labelled.audit[name]:,}"] if labelled.audit else []))
        for name in dict.fromkeys([*told.found.campaign.classes, *labelled.training, *labelled.audit])
        if labelled.training[name] or labelled.audit[name]
    ]
    head = ["Class", "galaxies to learn from" if not labelled.why_now else "galaxies"]
    classes = table([*head, *(["to judge on"] if labelled.audit else [])], by_class) if by_class else ""
    return card(
        "Labels, and who gave them",
        classes,
        _people(labelled, told.found.campaign.classes),
        _agreement(labelled.agreement),
        *notes,
    )


def _people(labelled: Labelled, classes: Sequence[str]) -> Html:
    shown = list(labelled.people.items())
    given = dict.fromkeys(one for _, counts in shown for one in counts if one != ANSWERS)
    said = [name for name in dict.fromkeys([*classes, *given]) if name in given]
    rows = [(name, f"{counts.total():,}", *(f"{counts[one]:,}" for one in said)) for name, counts in shown[:PEOPLE]]
    if shown[PEOPLE:]:
        rest: Counter[str] = sum((counts for _, counts in shown[PEOPLE:]), Counter())
        others = counted(len(shown) - PEOPLE, "other person", "other people")
        rows.append((others, f"{rest.total():,}", *(f"{rest[one]:,}" for one in said)))
    return joined([Html("<h3>Answers by person</h3>"), table(["Who", "answers", *said], rows)]) if rows else Html("")


def _agreement(found: Mapping[str, Agreement]) -> Html:
    rows = [
        (name or "All", share_words(one.same), kappa_words(one.kappa, one.galaxies))
        for name, one in found.items()
        if one.galaxies
    ]
    if not rows:
        return paragraph("No galaxy has labels of two people: how far they agree is not known.")
    words = "Pairs of answers of one galaxy that are the same, with 95 % intervals, and Fleiss’s kappa."
    about = ["Question" if set(found) != {""} else "Answers", "the same", "beyond chance"]
    return joined([Html("<h3>Agreement of people</h3>"), table(about, rows), paragraph(words, "hint")])


def _figures(told: Card) -> Iterable[Html]:
    """How good it is on the audit slice; one section that says why not where nobody can tell."""
    measured = told.measured
    if measured is None:
        yield card("How good it is", paragraph(told.problem))
        return
    yield _overall(told, measured)
    if measured.classes:
        yield _by_class(measured)
        yield _confusion(measured)
    if measured.objects:
        yield _objects(measured)
    if measured.evaluation.measures:
        yield _measures(measured.evaluation.measures)
    if measured.calibration:
        yield _calibration(measured)
    yield _magnitudes(measured)
    yield _failures(told, measured)


def _overall(told: Card, measured: Measured) -> Html:
    rows = [("right", share_words(measured.right))]
    rows += [(words, f"{measured.metrics[name]:.3f}") for name, words in METRICS.items() if name in measured.metrics]
    if told.judged.audit.n:
        rows.append(("right when it was made", share_words(told.judged.audit)))
    note = (
        f"On the {counted(told.blind, 'galaxy', 'galaxies')} of the audit slice that are labelled by now: drawn at"
        " random, shown without an answer, learned by no version. In brackets 95 % intervals (Wilson)."
    )
    return card("How good it is", table(["Figure", "on the audit slice"], rows), paragraph(note, "hint"))


def _by_class(measured: Measured) -> Html:
    rows = [(one.name, f"{one.found.n:,}", _share(one.found), _share(one.pure)) for one in measured.classes]
    note = "Found: of the galaxies that people call so, those that it does. Right: of those that it calls so."
    head = ["Class", "galaxies", "found", "right where it says so"]
    return card("By class", table(head, rows), paragraph(note, "hint"))


def _share(share: Share) -> str:
    return share_words(share) if share.n else "no such galaxy"


def _confusion(measured: Measured) -> Html:
    note = "Rows: what people say. Columns: what the model says."
    drawn = _counts(measured.evaluation.classes, measured.confusion)
    return card("Confusion", drawn, paragraph(note, "hint"), wide=True)


def _objects(measured: Measured) -> Html:
    rows = [(one.name, f"{one.found.n:,}", _box_share(one.found), _box_share(one.pure)) for one in measured.objects]
    note = (
        "A box is found where one of the model’s overlaps it by half (intersection over union). Rows: what people drew."
        " Columns: what the model drew there, from a score of 0.5 on."
    )
    names = [*(one.name for one in measured.objects), "nothing"]
    return card(
        "Boxes",
        table(["Class", "drawn by people", "found", "right where it draws one"], rows),
        _counts(names, measured.drawn),
        paragraph(note, "hint"),
        wide=True,
    )


def _box_share(share: Share) -> str:
    return share_words(share) if share.n else "no such box"


def _counts(names: Sequence[str], counts: NDArray[np.int64]) -> Html:
    """Counts by what people say (rows) and the model does (columns); the darker, the larger a share of the row."""
    most = np.maximum(counts.sum(axis=1, keepdims=True), 1)
    lines = "".join(
        f"<tr><th scope=row>{text(name)}</th>"
        + "".join(
            f'<td style="--share:{share:.2f}" title="{escape(f"people: {name}, model: {other}")}">{count:,}</td>'
            for other, count, share in zip(names, row.tolist(), shares.tolist(), strict=True)
        )
        + "</tr>"
        for name, row, shares in zip(names, counts, counts / most, strict=True)
    )
    columns = "".join(f"<th scope=col>{text(name)}</th>" for name in names)
    return Html(f'<div class="wide-table"><table class="confusion"><tr><td></td>{columns}</tr>{lines}</table></div>')


def _measures(measures: Sequence[Measure]) -> Html:
    names = list(dict.fromkeys(one.name for one in measures))
    parts: dict[str, dict[str, Measure]] = {}
    for one in measures:
        parts.setdefault(one.of, {})[one.name] = one
    rows = [
        (of, f"{max(one.n for one in found.values()):,}", *(_measure(found.get(name)) for name in names))
        for of, found in parts.items()
    ]
    return card("Figures", table(["Of", "galaxies", *names], rows), wide=True)


def _measure(one: Measure | None) -> str:
    if one is None or not np.isfinite(one.value):
        return "–"
    if one.is_share:
        return share_words(Share(one.value * one.n, one.n))
    return f"{one.value:.3g}{f' {one.unit}' if one.unit else ''}"


def _calibration(measured: Measured) -> Html:
    points = [(sure, Share(right * n, n)) for sure, right, n in measured.calibration]
    drawn = share_chart(points, "how sure it is", "Right answers by how sure it is: ", ends=(0.0, 1.0), diagonal=True)
    rows = [(percent(sure), f"{share.n:,}", share_words(share)) for sure, share in points]
    note = "Each point is a bin of how sure it is of its answer; on the line as many are right as it says."
    shown = folded("As a table", table(["sure, on average", "galaxies", "right"], rows))
    return card("Calibration", Html(drawn), paragraph(note, "hint"), shown)


def _magnitudes(measured: Measured) -> Html:
    if measured.no_magnitudes:
        return card("By magnitude", paragraph(measured.no_magnitudes))
    bins = measured.magnitudes
    points = [((one.low + one.high) / 2, one.right) for one in bins]
    drawn = share_chart(points, "magnitude", "Right answers by magnitude: ", ends=(bins[0].low, bins[-1].high))
    rows = [(f"{one.low:g} to {one.high:g}", f"{one.right.n:,}", share_words(one.right)) for one in bins]
    return card("By magnitude", Html(drawn), table(["magnitude", "galaxies", "right"], rows))


def _failures(told: Card, measured: Measured) -> Html:
    if not measured.failed:
        return card("Failures", paragraph("It got no galaxy of the audit slice wrong."), wide=True)
    sure = measured.evaluation.probabilities is not None
    order = "those that it was surest of first" if sure else "those farthest off first"
    shown = f" The first {FAILURES} are shown." if measured.failed > FAILURES else ""
    words = f"{counted(measured.failed, 'galaxy', 'galaxies')} of {measured.right.n:,} wrong, {order}.{shown}"
    colours = {one.name: COLOURS[place % len(COLOURS)] for place, one in enumerate(measured.objects)}
    figures = "".join(_failure(told, one, colours) for one in measured.failures)
    drawn = _legend(colours) if colours else ""
    return card("Failures", paragraph(words), drawn, Html(f'<div class="pictures">{figures}</div>'), wide=True)


def _legend(colours: Mapping[str, str]) -> Html:
    keys = " ".join(
        f'<span class="key"><span style="color: {one}">■</span> {text(name)}</span>' for name, one in colours.items()
    )
    return Html(f'<p class="hint">Solid boxes: people’s. Dashed: the model’s. {keys}</p>')


def _failure(told: Card, one: Failure, colours: Mapping[str, str]) -> Html:
    name = f"{one.stamp[0]} {one.stamp[1]}"
    picture = told.pictures.get(one.stamp)
    image = f'<img src="{picture}" alt="{escape(name)}">' if picture else "<p>Its picture is gone.</p>"
    sure = "" if np.isnan(one.sure) else f" ({percent(one.sure)})"
    said = [f"people: {one.said or '–'}", f"model: {one.answered or '–'}{sure}"]
    boxes = _boxes(*one.objects, colours) if picture and one.objects is not None else ""
    return Html(
        f'<figure><div class="marked">{image}{boxes}</div><figcaption>{text(name)}{listed(said)}</figcaption></figure>'
    )


def _boxes(said: Instances, answered: Instances, colours: Mapping[str, str]) -> Html:
    """What people and the model drew, over a picture."""
    drawn = [
        f'<rect class="{whose}" style="stroke: {colours[name]}" x="{x0:.2f}" y="{y0:.2f}" width="{x1 - x0:.2f}"'
        f' height="{y1 - y0:.2f}">'
        f"<title>{escape(f'{whose}: {name}')}</title></rect>"
        for whose, objects in (("people", said), ("model", answered))
        for name, (x0, y0, x1, y1) in zip(objects.classes, _percent(objects), strict=True)
    ]
    return Html(f'<svg viewBox="0 0 100 100" aria-hidden="true">{"".join(drawn)}</svg>' if drawn else "")


def _percent(objects: Instances) -> list[list[float]]:
    """Boxes in percent of the picture."""
    rows, columns = objects.shape
    found: list[list[float]] = (100 * objects.boxes / [columns, rows, columns, rows]).tolist()
    return found


def _rebuild(told: Card) -> Html:
    rows = [(title, listed(lines)) for title, lines in provenance_told(told.judged, told.facts)[1:]]
    return card("How to make it again", terms(rows), wide=True)
