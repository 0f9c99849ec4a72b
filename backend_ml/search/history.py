"""What a search has shown and heard: its rounds with their precision, and who said what when."""

from typing import Any

import numpy as np

from backend_ml.label_studio.regions.choices import UNSURE
from backend_ml.labels.agreed import agreed_labels
from backend_ml.queue import selections
from backend_ml.queue.selections import LoggedSelection, Selected, Selection
from backend_ml.search.rounds import Examples, RoundStamp, SearchRound
from backend_ml.sign_in.person import Person
from backend_ml.store.database import Connection, query
from backend_ml.store.features import FeatureStore
from backend_ml.store.records import Campaign
from lvm_training.heads.preference import NO, YES

EVENTS_SHOWN = 500
ROUND_SHOWN = ("id", "person", "policy", "seed", "candidates", "made_at")


def read_examples(connection: Connection, search: Campaign, features: FeatureStore) -> Examples:
    """The labels of a search as they stand, and its pictures."""
    agreed = [one for one in agreed_labels(connection, search) if one.stamp_set == search.stamp_set]
    width = features.shard(search.stamp_set).matrix.shape[1]
    stored = b"".join(bytes(row["features"]) for row in query(connection, "examples", campaign=search.id))
    return Examples(
        {one.stamp_id: one.label for one in agreed},
        np.frombuffer(stored, dtype="<f4").reshape(-1, width).astype(np.float32),
        frozenset(one.stamp_id for one in agreed if one.blind),
    )


def record_round(
    connection: Connection, search: Campaign, person: Person, chosen: SearchRound, seed: int
) -> LoggedSelection:
    """Keep what a round shows, what chose it and how likely that was."""
    selection = Selection(
        source="round",
        policy=chosen.policy,
        seed=seed,
        batch=len(chosen.stamps),
        candidates=chosen.candidates,
        last_event=query(connection, "last_event", campaign=search.id)[0]["id"],
        person=person.name,
        annotator=person.annotator,
    )
    stamps = [Selected(stamp_set=search.stamp_set, **vars(stamp)) for stamp in chosen.stamps]
    return selections.record(connection, search, selection, stamps, served=True)


def shown_round(connection: Connection, search: Campaign, person: Person, made: LoggedSelection) -> dict[str, Any]:
    """A round as the page shows it: its stamps, and what this person and others said of each."""
    given = stamp_labels(connection, search, person)
    nothing: dict[str, Any] = {"mine": None, "others": []}
    stamps = [
        {name: getattr(stamp, name) for name in RoundStamp.__dataclass_fields__} | given.get(stamp.stamp_id, nothing)
        for stamp in selections.stamps_of(connection, made.id)
    ]
    return {name: getattr(made, name) for name in ROUND_SHOWN} | {"stamps": stamps}


def stamp_labels(connection: Connection, search: Campaign, person: Person) -> dict[int, dict[str, Any]]:
    """What this person (`mine`) and others (`others`: who and what) say of each labelled stamp."""
    names = selections.annotator_names(connection, search)
    found: dict[int, dict[str, Any]] = {}
    for vote in query(connection, "votes", campaign=search.id):
        if vote["stamp_set"] != search.stamp_set:
            continue
        entry = found.setdefault(int(vote["stamp_id"]), {"mine": None, "others": []})
        known = vote["annotator"] is not None
        if vote["person"] == person.name or (known and vote["annotator"] == person.annotator):
            entry["mine"] = vote["label"]
        else:
            by = vote["person"] or names.get(vote["annotator"]) or _unnamed(vote["annotator"])
            entry["others"].append({"person": by, "label": vote["label"]})
    return found


def _unnamed(annotator: int | None) -> str:
    return "the start" if annotator is None else f"annotator {annotator}"


def history(connection: Connection, search: Campaign) -> dict[str, Any]:
    """The rounds of a search, oldest first, and its latest labels, newest first.

    The precision of a round is the share of yes among its yes and no, as they stand now; None where there is neither.
    """
    rounds = []
    labelled = selections.labelled_rounds(connection, search, yes=YES, no=NO, unsure=UNSURE)
    for number, row in enumerate(labelled, start=1):
        decided = row["yes"] + row["no"]
        rounds.append({"number": number, **row, "precision": row["yes"] / decided if decided else None})
    return {"rounds": rounds, "events": query(connection, "search_events", campaign=search.id, limit=EVENTS_SHOWN)}


def counts(examples: Examples) -> dict[str, int]:
    """How many stamps have each label, and how many are wanted in all."""
    found: dict[str, int] = {"pictures": len(examples.pictures)}
    for label in examples.labels.values():
        found[label] = found.get(label, 0) + 1
    return {YES: 0, **found}
