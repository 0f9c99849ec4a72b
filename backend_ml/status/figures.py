"""Plots as inline SVG: sharp at any size, a few kB, drawn in a millisecond; their style is in `status.css`."""

import math
from collections.abc import Sequence
from datetime import datetime
from html import escape

from backend_ml.report.agreement import Share
from backend_ml.report.report import Judged
from backend_ml.report.words import counted, share_words

WIDTH, HEIGHT = 400.0, 210.0
LEFT, RIGHT, TOP, BOTTOM = 44.0, 388.0, 10.0, 168.0


def learning_curve(versions: Sequence[Judged]) -> str:
    """Accuracy of each version on the audit slice against the labels it learned from, with 95 % intervals.

    Empty where no version was judged. Those that never served are hollow.
    """
    judged = [one for one in versions if one.audit.n]
    if not judged:
        return ""
    least = math.floor(10 * min(one.audit.interval[0] for one in judged)) / 10
    most = max(max(one.labels for one in judged), 1)
    places = [(_along(one.labels / most), _up(one.audit.value or 0.0, least), one) for one in judged]
    course = " ".join(f"{x:.1f},{y:.1f}" for x, y, one in places if one.served)
    points = "".join(
        _point(x, one.audit, f"{one.version}, {counted(one.labels, 'label')}", least, hollow=not one.served)
        for x, _, one in places
    )
    ticks = "".join(_level(least + step * (1 - least) / 4, least) for step in range(5))
    ends = _text(LEFT, BOTTOM + 16, "0", "start") + _text(RIGHT, BOTTOM + 16, f"{most:,}", "end")
    title = _text((LEFT + RIGHT) / 2, BOTTOM + 34, "labels learned from", "middle")
    about = "Accuracy on the audit slice by labels: " + "; ".join(
        f"{counted(one.labels, 'label')}: {share_words(one.audit)}" for one in judged[-12:]
    )
    return _svg(about, f'{ticks}{ends}{title}<polyline class="course" points="{course}"/>{points}')


def _point(x: float, share: Share, name: str, least: float, *, hollow: bool = False) -> str:
    low, high = (_up(end, least) for end in share.interval)
    kind = "point hollow" if hollow else "point"
    said = f"{name}: {share_words(share)}"
    return (
        f'<g class="{kind}"><title>{escape(said)}</title><path d="M{x:.1f} {low:.1f}V{high:.1f}"/>'
        f'<circle cx="{x:.1f}" cy="{_up(share.value or 0.0, least):.1f}" r="4"/></g>'
    )


def share_chart(
    points: Sequence[tuple[float, Share]], title: str, about: str, *, ends: tuple[float, float], diagonal: bool = False
) -> str:
    """Shares from 0 to 100 % along something, with 95 % intervals; empty without any.

    Parameters
    ----------
    points : sequence of (float, Share)
        Where along it, within `ends`.
    title : str
        What is along it.
    about : str
        What the shares are of.
    diagonal : bool
        Whether a line shows where share and place are the same.
    """
    if not points:
        return ""
    (first, last), named = ends, about + "; ".join(f"{x:.3g}: {share_words(share)}" for x, share in points)
    levels = "".join(_level(step / 4, 0.0) for step in range(5))
    ticks = "".join(
        _text(_along(step / 4), BOTTOM + 16, f"{first + step * (last - first) / 4:.3g}", "middle") for step in range(5)
    )
    line = f'<path class="course" d="M{LEFT} {BOTTOM}L{RIGHT} {TOP}"/>' if diagonal else ""
    drawn = "".join(_point(_along((x - first) / (last - first)), share, f"{x:.3g}", 0.0) for x, share in points)
    name = _text((LEFT + RIGHT) / 2, BOTTOM + 34, title, "middle")
    return _svg(named, f"{levels}{ticks}{name}{line}{drawn}")


def hours_chart(counts: Sequence[tuple[datetime, int]]) -> str:
    """Labels of each hour as bars; empty without any."""
    if not counts:
        return ""
    most = max(n for _, n in counts)
    step = (RIGHT - LEFT) / len(counts)
    bars = "".join(
        f'<rect x="{LEFT + place * step + 0.5:.1f}" y="{_up(n / most, 0):.1f}" width="{step - 1:.1f}"'
        f' height="{BOTTOM - _up(n / most, 0):.1f}"><title>{at:%m-%d %H} h: {counted(n, "label")}</title></rect>'
        for place, (at, n) in enumerate(counts)
        if n
    )
    levels = _rule(BOTTOM) + _rule(TOP) + _text(LEFT - 6, BOTTOM + 4, "0", "end")
    levels += _text(LEFT - 6, TOP + 4, f"{most:,}", "end")
    (first, _), (last, _) = counts[0], counts[-1]
    ends = _text(LEFT, BOTTOM + 16, f"{first:%m-%d %H}h", "start") + _text(
        RIGHT, BOTTOM + 16, f"{last:%m-%d %H}h", "end"
    )
    title = _text((LEFT + RIGHT) / 2, BOTTOM + 34, "labels in each hour, UTC", "middle")
    about = f"Labels in each of {len(counts)} hours, {sum(n for _, n in counts):,} in all, at most {most:,} in one"
    return _svg(about, f'{levels}{ends}{title}<g class="bars">{bars}</g>')


def _svg(about: str, inside: str) -> str:
    box = f"0 0 {WIDTH:.0f} {HEIGHT:.0f}"
    return f'<svg class="chart" viewBox="{box}" role="img" aria-label="{escape(about)}">{inside}</svg>'


def _level(value: float, least: float) -> str:
    y = _up(value, least)
    return _rule(y) + _text(LEFT - 6, y + 4, f"{100 * value:.0f} %", "end")


def _rule(y: float) -> str:
    return f'<path class="rule" d="M{LEFT:.0f} {y:.1f}H{RIGHT:.0f}"/>'


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _along(fraction: float) -> float:
    return LEFT + fraction * (RIGHT - LEFT)


def _up(value: float, least: float) -> float:
    return BOTTOM - (value - least) / (1 - least) * (BOTTOM - TOP)
