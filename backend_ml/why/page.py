"""The page that says why a galaxy is in the queue, as HTML without scripts or inline styles."""

from html import escape
from importlib.resources import files
from string import Template

from backend_ml.why.explanation import Example, Why
from backend_ml.why.words import Place

MEASURES = {
    "margin": "how near the two best answers are: 1 is undecided, 0 is sure",
    "entropy": "how spread the answer is over the classes, in nats; 0 is sure",
    "probability": "of the best answer",
    "similarity": "to the nearest wanted example, minus that to the nearest refused one; -2 to 2",
    "prior share": "of the answer, from simulated galaxies; the rest is from people’s labels",
    "box margin": "1 where the best arc scores a half, 0 where it is sure",
    "mask disagreement": "of the best arc's masks in turned views; 0 where all are alike, 1 where none overlap",
    "information": "that one more person's answers would give about how people vote, in nats; 0 where that is known",
}


def page_file(name: str) -> str:
    """A file of `pages/`."""
    return files("backend_ml.why").joinpath("pages", name).read_text()


def why_page(why: Why, *, heat: str | None, style: str) -> str:
    """The page; `heat` and `style` are the addresses of the heat map, if there is one, and of the style sheet."""
    name = escape(f"{why.stamp_set} {why.stamp_id}")
    own = "; ".join(f"{who}: {label}" for who, label in why.labels.items())
    return Template(page_file("why.html")).substitute(
        name=name,
        style=escape(style),
        campaign=escape(why.campaign),
        version=f" · model version {escape(why.version)}" if why.version else "",
        picture=escape(why.picture),
        labels=f" Labelled: <b>{escape(own)}</b>." if own else " Not labelled yet.",
        heat=_heat(why, heat),
        place=escape(why.place_words),
        details=_folded(_details(why.place, why.measures)),
        answer=escape(why.answer_words),
        probabilities=_probabilities(why.answer),
        nearest=_nearest(why.nearest, why.nearest_words),
    )


def _heat(why: Why, address: str | None) -> str:
    if address is None:
        return f'<p class="note">{escape(why.heat_words)}</p>'
    return (
        f'<figure><img src="{escape(address)}" width="360" height="360" alt="heat map">'
        f"<figcaption>{escape(why.heat_words)} Found by covering one part after the other with sky.</figcaption>"
        "</figure>"
    )


def _folded(details: str) -> str:
    """Figures that only who tunes policies wants to see."""
    return f"<details><summary>In figures</summary>{details}</details>" if details else ""


def _details(place: Place | None, measures: dict[str, float]) -> str:
    rows = []
    if place is not None:
        rows += [
            ("policy", place.policy),
            ("pushed" if place.version else "shown", f"{place.served_at:%Y-%m-%d %H:%M} UTC"),
        ]
        rows += [] if place.version is None else [("ranked by version", place.version)]
        rows += [] if place.priority is None else [("priority", f"{place.priority:.3f}, lowest first")]
        rows += [("propensity", f"{place.propensity:.3g}, the chance of being chosen")]
        rows += [("audit slice", "yes")] if place.audit else []
    rows += [(f"{name} now", f"{value:.3f} – {MEASURES[name]}") for name, value in measures.items()]
    return _list([(term, escape(text)) for term, text in rows])


def _probabilities(answer: dict[str, float]) -> str:
    ordered = sorted(answer.items(), key=lambda item: -item[1])
    return _list([(name, f'<meter min="0" max="1" value="{p:.4f}"></meter>{p:.3f}') for name, p in ordered])


def _list(rows: list[tuple[str, str]]) -> str:
    return f"<dl>{''.join(f'<dt>{escape(term)}</dt><dd>{html}</dd>' for term, html in rows)}</dl>" if rows else ""


def _nearest(examples: list[Example], words: str) -> str:
    if not examples:
        return f"<p>{escape(words)}</p>"
    figures = "".join(
        f'<figure><img src="{escape(one.picture)}" width="168" height="168" alt="{escape(one.label)}"><figcaption>'
        f"<b>{escape(one.label)}</b><br>similarity {one.similarity:.2f}<br>by {escape(', '.join(one.given_by))}<br>"
        f"{escape(one.stamp_set)} {one.stamp_id}</figcaption></figure>"
        for one in examples
    )
    return (
        "<p>By the cosine of their features, the mean galaxy’s taken off: 1 is alike, 0 unrelated, -1 opposite.</p>"
        f'<div class="examples">{figures}</div>'
    )
