"""Sets one person's labels aside, and takes them back: they do not count meanwhile, and nothing is deleted."""

from dataclasses import dataclass
from typing import Any

from backend_ml.campaign.defer import defer_learning, defer_push
from backend_ml.labels.agreed import agreed_labels
from backend_ml.labels.people import People
from backend_ml.leading.leader import current
from backend_ml.store.campaigns import log_change
from backend_ml.store.database import Connection, query
from backend_ml.store.records import Campaign, CampaignError


@dataclass(frozen=True)
class Labeller:
    """Somebody who labelled.

    Attributes
    ----------
    name : str
        What the campaign calls them: the e-mail address, the name on the search page, or the number.
    annotator : int or None
        Their id in Label Studio.
    names : frozenset of str
        All that they may be called, in small letters.
    """

    name: str
    annotator: int | None
    names: frozenset[str]


def set_aside(
    connection: Connection,
    campaign: Campaign,
    person: str,
    by: str,
    people: People,
    *,
    back: bool = False,
    annotator: int | None = None,
    on_page: bool = False,
) -> dict[str, Any]:
    """Let a person's labels not count, or count again with `back`: for consensus, learning, order and exports.

    Tasks that they labelled are served to nobody else, since Label Studio has a label of each: a higher overlap does.

    Parameters
    ----------
    person : str
        Any name that they have, unless others have it too.
    annotator : int or None
        Their id in Label Studio, in place of a name: anybody may call themselves as others are called.
    on_page : bool
        Whether it is a name of the search page alone.

    Returns
    -------
    dict
        `person`, `state`, whether that `changed`, and how many `galaxies` have a label more, or fewer, than before.

    Raises
    ------
    CampaignError
        If nobody of that name labelled, or several did; if the campaign is closed.
    """
    found = current(connection, campaign)
    known = labellers(connection, found, people)
    if annotator is not None or on_page:
        known = [one for one in known if one.annotator == annotator]
    one = _find(known, person if annotator is None else str(annotator))
    before = len(agreed_labels(connection, found))
    if back:
        rows = query(connection, "clear_person_aside", campaign=found.id, person=one.name)
    else:
        rows = query(connection, "put_person_aside", campaign=found.id, person=one.name, annotator=one.annotator)
    state = "counts" if back else "set aside"
    galaxies = len(agreed_labels(connection, found)) - before
    if rows:
        log_change(connection, found, by, "took back" if back else "set aside", labels_of=one.name, galaxies=galaxies)
        _follow(connection, found)
    return {"person": one.name, "state": state, "changed": bool(rows), "galaxies": galaxies}


def labellers(connection: Connection, campaign: Campaign, people: People) -> list[Labeller]:
    """Everybody who ever labelled in a campaign, by name."""
    called: dict[int, set[str]] = {}
    others = set[str]()
    for row in query(connection, "people_labelling", campaign=campaign.id):
        if row["annotator"] is None:
            others.add(row["person"])
        else:
            called.setdefault(row["annotator"], set()).update(filter(None, [row["person"]]))
    for row in query(connection, "annotator_names", campaign=campaign.id):
        called.setdefault(row["annotator"], set()).add(row["person"])
    aside = {row["annotator"]: row["person"] for row in query(connection, "people_aside", campaign=campaign.id)}
    found = [Labeller(name, None, frozenset({name.casefold()})) for name in others]
    for annotator, names in called.items():
        # under the name that they were set aside by, though Label Studio may be away, or know another by now
        own = aside.get(annotator) or people.email(annotator) or min(names, default=f"annotator {annotator}")
        known = {*names, own, people.email(annotator), people.name(annotator), f"annotator {annotator}", str(annotator)}
        found.append(Labeller(own, annotator, frozenset(name.casefold() for name in known if name)))
    return sorted(found, key=lambda one: one.name)


def _find(known: list[Labeller], person: str) -> Labeller:
    wanted = " ".join(person.split()).casefold()
    meant = [one for one in known if wanted in one.names]
    if len(meant) > 1:
        raise CampaignError(
            f"{person!r} may be any of {', '.join(one.name for one in meant)}.", "Give the e-mail address or the id."
        )
    if not meant:
        names = ", ".join(one.name for one in known) or "nobody yet"
        raise CampaignError(f"Nobody called {person!r} labelled here.", f"Those who did: {names}.")
    return meant[0]


def _follow(connection: Connection, campaign: Campaign) -> None:
    """Tell every process, and have a worker learn from what counts now, and rank by it."""
    query(connection, "announce", campaign=str(campaign.id))
    if campaign.project is not None:
        defer_learning(connection, campaign, asked=True)
        defer_push(connection, campaign.id)
