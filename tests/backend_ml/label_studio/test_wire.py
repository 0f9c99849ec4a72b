"""What Label Studio sends is read, and what nobody sends is refused without harm."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from backend_ml.label_studio.wire import Annotation, Prediction, PredictRequest, Setup, Webhook, project_number

NUMBERED = [("7", 7), ("7.1767225600", 7), (7, 7), (7.0, 7), ("0.5", 0)]


@pytest.mark.parametrize(("name", "number"), NUMBERED)
def test_a_project_is_named_by_number_and_time(name: Any, number: int) -> None:
    assert project_number(name) == number
    assert Setup.model_validate({"project": name, "schema": "<View/>", "hostname": "x"}).project == number
    body = {"project": name, "label_config": "<View/>", "tasks": [{"id": 1, "data": {}}]}
    assert PredictRequest.model_validate(body).project == number


@pytest.mark.parametrize("name", ["", ".5", "x.1", None, [], "1" * 11, "9" * 5000, "٣x"])
def test_what_names_no_project_is_refused(name: Any) -> None:
    with pytest.raises(ValidationError):
        Setup.model_validate({"project": name, "schema": ""})


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(annotation=ANYTHING, annotations=ANYTHING, tasks=ANYTHING)
def test_a_webhook_keeps_whatever_happened_to_be_read_one_by_one(annotation: Any, annotations: Any, tasks: Any) -> None:
    body = {"action": "X", "annotation": annotation, "annotations": annotations, "tasks": tasks}
    found = Webhook.model_validate(body)

    def several(value: Any) -> list[Any]:
        return value if isinstance(value, list) else [] if value is None else [value]

    # repr, for NaN is not itself
    assert repr(found.changed()) == repr(several(annotation))
    assert repr(found.deleted()) == repr(several(annotations) + several(annotation))
    assert repr(found.deleted_tasks()) == repr(several(tasks))
    assert found.project is None


@pytest.mark.parametrize("score", [float("nan"), float("inf"), "high", None])
def test_a_score_that_label_studio_cannot_order_by_is_not_sent(score: Any) -> None:
    with pytest.raises(ValidationError):
        Prediction(model_version="v", score=score, result=[])


@pytest.mark.parametrize(
    "changed",
    ["2026-01-01T12:00:00", "1969-12-31T23:59:59Z", "9999-01-01T00:00:00Z", "tomorrow", None, -1e20],
)
def test_a_time_that_cannot_be_kept_is_refused(changed: Any) -> None:
    with pytest.raises(ValidationError, match="updated_at"):
        Annotation.model_validate({"id": 1, "task": 2, "updated_at": changed})


def test_an_annotation_needs_no_more_than_its_place_and_time() -> None:
    found = Annotation.model_validate({"id": 1, "task": 2, "updated_at": "2026-01-01T12:00:00+02:00", "new": "field"})
    assert (found.result, found.was_cancelled, found.completed_by) == ([], False, None)
    assert found.updated_at.utcoffset() is not None
