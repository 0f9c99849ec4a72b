"""Pieces of pages: tables, cards and buttons. Texts are escaped here; what is HTML already is a `Html`."""

from collections.abc import Iterable, Sequence
from html import escape


class Html(str):
    """Text that is HTML already."""


def text(value: object) -> Html:
    """A value as HTML."""
    return value if isinstance(value, Html) else Html(escape(str(value)))


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> Html:
    """A table; on a narrow screen each row becomes a block, whose cells name their columns."""
    columns = "".join(f"<th scope=col>{text(name)}</th>" for name in head)
    lines = "".join(
        "<tr>"
        + "".join(f'<td data-of="{escape(name)}">{text(cell)}</td>' for name, cell in zip(head, row, strict=True))
        + "</tr>"
        for row in rows
    )
    return Html(f'<table class="facts"><thead><tr>{columns}</tr></thead><tbody>{lines}</tbody></table>')


def card(title: str, *parts: object, name: str = "", wide: bool = False) -> Html:
    """A section of a page; `name` is what links lead to."""
    about = f' id="{escape(name)}"' if name else ""
    return Html(
        f'<section class="card{" wide" if wide else ""}"{about}><h2>{text(title)}</h2>{joined(parts)}</section>'
    )


def joined(parts: Iterable[object]) -> Html:
    """Pieces one after the other."""
    return Html("".join(map(text, parts)))


def paragraph(value: object, kind: str = "") -> Html:
    """A paragraph."""
    return Html(f"<p{f' class={kind}' if kind else ''}>{text(value)}</p>")


def folded(words: str, *parts: object) -> Html:
    """What is seen once somebody opens it."""
    return Html(f"<details><summary>{text(words)}</summary>{joined(parts)}</details>")


def listed(items: Iterable[object]) -> Html:
    """A list of lines; nothing without any."""
    lines = "".join(f"<li>{text(item)}</li>" for item in items)
    return Html(f'<ul class="lines">{lines}</ul>' if lines else "")


def terms(rows: Iterable[tuple[str, object]]) -> Html:
    """Names with what they are."""
    return Html(f"<dl>{''.join(f'<dt>{text(name)}</dt><dd>{text(value)}</dd>' for name, value in rows)}</dl>")


def link(words: object, address: str, *, outside: bool = False) -> Html:
    """A link; `outside` opens another site beside the page."""
    more = ' target="_blank" rel="noopener"' if outside else ""
    return Html(f'<a href="{escape(address)}"{more}>{text(words)}</a>')


def button(words: str, address: str, hidden: Html, kind: str = "") -> Html:
    """A form of one button; `hidden` are its fields."""
    look = f' class="{kind}"' if kind else ""
    return Html(f'<form method="post" action="{escape(address)}">{hidden}<button{look}>{text(words)}</button></form>')


def hidden_field(name: str, value: str) -> Html:
    """A field that nobody sees."""
    return Html(f'<input type="hidden" name="{escape(name)}" value="{escape(value)}">')


def progress(done: int, total: int, about: str) -> Html:
    """A bar of how much is done."""
    return Html(f'<progress value="{done}" max="{max(total, 1)}" aria-label="{escape(about)}"></progress>')
