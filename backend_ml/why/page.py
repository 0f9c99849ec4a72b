"""The page that says why a galaxy is in the queue, as HTML without scripts or inline styles."""

from html import escape
from importlib.resources import files
from string import Template

from backend_ml.kinds.answers import percent
from backend_ml.why.boxes import box_drawing
from backend_ml.why.explanation import Why
from backend_ml.why.neighbours import STARTING_LABELS, Example, LabelledAlike
from backend_ml.why.ways import Ways
from backend_ml.why.words import Place

MEASURES = {
    "margin": "how near the two best answers are: 1 is undecided, 0 is sure",
    "entropy": "how spread the answer is over the classes, in nats; 0 is sure",
    "probability": "of the best answer",
    "similarity": "to the nearest wanted example, minus that to the nearest refused one; -2 to 2",
    "prior share": "of the answer, from simulated galaxies; the rest is from people’s labels",
    "box margin": "1 where the best arc scores a half, 0 where it is sure",
    "mask disagreement": "of the best arc's masks in turned views; 0 where all are alike, 1 where none overlap",
    "deviation": "of what is known of it from what the model measures, in errors, the largest",
    "information": "that one more person's answers would give about how people vote, in nats; 0 where that is known",
    "interest": "that people would find in it, by what they rated: 0 is none, 1 is all stars",
}


def page_file(name: str) -> str:
    """A file of `pages/`."""
    return files("backend_ml.why").joinpath("pages", name).read_text()


def why_page(why: Why, *, heat: str | None, whole: str | None, style: str) -> str:
    """The page, with the addresses of heat map and whole stamp, if they are shown, and of the style sheet."""
    own = "; ".join(f"{who}: {label}" for who, label in why.labels.items())
    return Template(page_file("why.html")).substitute(
        name=escape(why.name),
        style=escape(style),
        campaign=escape(why.campaign),
        ways=_ways(why.ways),
        picture=escape(why.picture),
        boxes=box_drawing(why.boxes),
        drawn=" The boxes are the model’s, with its scores." if why.boxes else "",
        labels=f" Labelled: <b>{escape(own)}</b>." if own else "",
        whole=_whole(why, whole),
        heat=_heat(why, heat),
        place=escape(why.place_words),
        unusual=f"<p>{escape(why.unusual_words)}</p>" if why.unusual_words else "",
        answer=escape(why.answer_words),
        probabilities=_probabilities(why.answer) if why.shares else _numbers(why.answer),
        neighbour_words=escape(why.neighbour_words),
        neighbours="".join(_alike(one) for one in why.neighbours),
        details=_details(why),
    )


def _ways(ways: Ways) -> str:
    offered = [
        (ways.task, "Its task in Label Studio"),
        (ways.search, "The search page"),
        (ways.viewer, "Legacy Surveys viewer"),
        (ways.next, f"Next: {ways.next_name}"),
    ]
    return "".join(f'<a href="{escape(address)}">{escape(words)}</a>' for address, words in offered if address)


def _whole(why: Why, address: str | None) -> str:
    if address is None:
        return ""
    return (
        f'<figure><img src="{escape(address)}" width="360" height="360" alt="the whole stamp"><figcaption>More of it:'
        f" {escape(why.framing)}. The frame is what annotators see.</figcaption></figure>"
    )


def _heat(why: Why, address: str | None) -> str:
    if address is None:
        return f'<p class="note">{escape(why.heat_words)}</p>'
    return (
        f'<figure><img src="{escape(address)}" width="360" height="360" alt="heat map">'
        f"<figcaption>{escape(why.heat_words)} Found by covering one part after the other with sky.</figcaption>"
        "</figure>"
    )


def _probabilities(answer: dict[str, float]) -> str:
    ordered = sorted(answer.items(), key=lambda item: -item[1])
    return _list([(name, f'<meter min="0" max="1" value="{p:.4f}"></meter>{percent(p)}') for name, p in ordered])


def _numbers(answer: dict[str, float]) -> str:
    return _list([(name, f"{value:g}") for name, value in answer.items()])


def _alike(group: LabelledAlike) -> str:
    """A row of pictures of one label."""
    among = f"{group.among} of the nearest" if group.among else "none of the nearest; the least unlike"
    figures = "".join(_figure(one) for one in group.examples)
    return f'<div><h3>{escape(group.label)} <span>{among}</span></h3><div class="examples">{figures}</div></div>'


def _figure(one: Example) -> str:
    given = "a starting label" if one.given_by == [STARTING_LABELS] else f"by {', '.join(one.given_by)}"
    return (
        f'<figure><img src="{escape(one.picture)}" width="168" height="168" loading="lazy" alt="{escape(one.label)}">'
        f"<figcaption>{escape(one.name)}<br>{escape(given)}</figcaption></figure>"
    )


def _details(why: Why) -> str:
    """Figures that only who tunes policies wants to see."""
    rows = _place_rows(why.place) if why.place is not None else []
    rows += [("model version", why.version)] if why.version else []
    measures = why.measures | ({} if why.similarity is None else {"similarity": why.similarity})
    # somebody's own kind may measure what we have no words for
    rows += [
        (f"{name} now", " – ".join([f"{value:.3f}", *([MEASURES[name]] if name in MEASURES else [])]))
        for name, value in measures.items()
    ]
    alike = [(one.name, f"{one.similarity:.3f}, {group.label}") for group in why.neighbours for one in group.examples]
    cosine = "Similarity is the cosine of the features, the mean galaxy’s taken off: 1 is alike, 0 unrelated."
    more = f"<p>{cosine}</p>{_list([(name, escape(text)) for name, text in alike])}" if alike else ""
    shown = _list([(term, escape(text)) for term, text in rows]) + more
    return f"<details><summary>In figures</summary>{shown}</details>" if shown else ""


def _place_rows(place: Place) -> list[tuple[str, str]]:
    rows = [("policy", place.policy)]
    rows += [("pushed" if place.version else "shown", f"{place.served_at:%Y-%m-%d %H:%M} UTC")]
    rows += [] if place.version is None else [("ranked by version", place.version)]
    rows += [] if place.priority is None else [("priority", f"{place.priority:.3f}, lowest first")]
    rows += [("propensity", f"{place.propensity:.3g}, the chance of being chosen")]
    return [*rows, ("audit slice", "yes")] if place.audit else rows


def _list(rows: list[tuple[str, str]]) -> str:
    return f"<dl>{''.join(f'<dt>{escape(term)}</dt><dd>{html}</dd>' for term, html in rows)}</dl>" if rows else ""
