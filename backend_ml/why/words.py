"""What is said of a galaxy on its page, in words: its place in the queue, the model's answer, the heat map."""

import math
from collections.abc import Sequence
from datetime import datetime

from pydantic import BaseModel

from backend_ml.acquisition.policy import POLICIES
from backend_ml.kinds.models import Answers

FAR = 1.0  # usual distances from the nearest labelled galaxy
BLIND = "This galaxy is of the audit slice: it is labelled without help, to see where the model and people agree."


class Place(BaseModel):
    """A place in the queue as it was pushed, or in a round of the search page; `latest` if no push came after it."""

    version: str | None = None
    round: int | None = None
    policy: str
    rank: int
    ranked: int
    priority: float | None = None
    propensity: float
    audit: bool = False
    served_at: datetime
    latest: bool = True


def place_words(place: Place | None, *, disputed: bool = False) -> str:
    """Where a galaxy is in the queue, and which rule put it there.

    Parameters
    ----------
    disputed : bool
        Whether people gave it different labels.
    """
    if place is None:
        return "Nothing put it into the queue: it was neither pushed to Label Studio nor shown in a round of a search."
    where = f"Place {place.rank + 1:,} of {place.ranked:,}" + (f" in round {place.round}" if place.round else "")
    when = "" if place.latest else " in an earlier queue; the present one does not hold it"
    if place.audit:
        return f"{where}{when}: drawn at random for the audit slice, not chosen by the model."
    if disputed:
        return f"{where}{when}: people gave it different labels, and such galaxies come before all others."
    policy = POLICIES.get(place.policy)  # a database may remember one that is gone
    words = policy.words if policy else f"chosen by the policy {place.policy}"
    return f"{where}{when}: {words}."


def unusual_words(score: float, below: float, apart: float, nearest: Sequence[str]) -> str:
    """How unusual a galaxy is.

    Parameters
    ----------
    score : float
        How far it lies from those most like it, in usual distances; NaN where its features are not finite.
    below : float
        Share of its pool that is less unusual, 0 to 1.
    apart : float
        How far it lies from the nearest labelled galaxy, in usual distances.
    nearest : sequence of str
        The nearest labelled galaxies, with their labels.
    """
    if math.isnan(score):
        return "How unusual it is cannot be told: its features are not finite."
    said = f"More unusual than {below:.1%} of its pool: {score:.2f} times as far from those most like it as is usual."
    if not nearest:
        return f"{said} Nothing else is labelled yet."
    where = "Far from everything labelled" if apart > FAR else "Near something labelled"
    return f"{said} {where}, at {apart:.2f} usual distances; nearest are {', '.join(nearest)}."


def later_words(overlap: int) -> str:
    """When something is said of a galaxy of the audit slice."""
    return f"That is shown once it has {'a label' if overlap == 1 else f'all of its {overlap} labels'}."


def answer_words(answers: Answers | None) -> str:
    """What a model says of one galaxy; None stands for a cold start."""
    if answers is None:
        return "A cold start: there are too few labels for a model, so it says nothing yet."
    return answers.words(0)


def heat_words(answers: Answers | None) -> str:
    """What a heat map of this answer shows, or why there is none."""
    if answers is None:
        return "There is no heat map in a cold start: there is no answer to explain."
    return answers.heat_words(0)
