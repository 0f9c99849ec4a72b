"""People who answer a tree of questions, and their answers as Label Studio keeps them."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

from psycopg.types.json import Jsonb

from backend_ml.store.database import Database
from backend_ml.store.records import Campaign

SMOOTH = {"smooth-or-featured": "smooth", "how-rounded": "round", "merging": "none"}
SPIRAL = {
    "smooth-or-featured": "featured-or-disk",
    "disk-edge-on": "no",
    "has-spiral-arms": "yes",
    "spiral-winding": "tight",
    "spiral-arm-count": "2",
    "bar": "no",
    "bulge-size": "small",
    "merging": "none",
}
EDGE_ON = {
    "smooth-or-featured": "featured-or-disk",
    "disk-edge-on": "yes",
    "edge-on-bulge": "rounded",
    "merging": "minor-disturbance",
}
STAR = {"smooth-or-featured": "artifact"}
KINDS = (SMOOTH, SPIRAL, EDGE_ON, STAR, {**SMOOTH, "how-rounded": "cigar-shaped"})
"""What people see of stamp i of `write_features`: that of i % 5."""
_numbers = count(1)


def regions(answers: Mapping[str, str]) -> list[dict[str, Any]]:
    """Answers by question as a result of Label Studio's."""
    return [
        {"from_name": name, "to_name": "image", "type": "choices", "value": {"choices": [answer]}}
        for name, answer in answers.items()
    ]


def answer(
    database: Database, campaign: Campaign, task: int, answers: Mapping[str, str] | list[Any], annotator: int
) -> int:
    """An annotation of a task, as a webhook leaves it; its number."""
    number = next(_numbers)
    result = answers if isinstance(answers, list) else regions(answers)
    database.rows(
        "put_annotation_event",
        campaign=campaign.id,
        action="labelled",
        task=task,
        annotation=number,
        label=dict(answers).get("smooth-or-featured") if isinstance(answers, Mapping) else None,
        annotator=annotator,
        result=Jsonb(result),
        parent_prediction=None,
        lead_time=None,
        source="webhook",
        happened_at=datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=number),
    )
    return number
