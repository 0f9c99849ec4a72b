"""When Label Studio would not serve the ranking, and what is done about it."""

from dataclasses import replace
from typing import Any

import pytest

from backend_ml.label_studio.client import SAMPLING
from backend_ml.label_studio.connection import LabelStudioError
from backend_ml.label_studio.predictions import project_members
from backend_ml.queue.order import FEWEST, ServedOrder, faults
from backend_ml.store.records import Campaign

VERSION = "morphology-1"
WELL = ServedOrder(SAMPLING, VERSION, 1, 0, 200, 0)


@pytest.mark.parametrize(
    ("seen", "words", "mended_by"),
    [
        ({"sampling": "Sequential sampling"}, "sampling is 'Sequential", "set"),
        ({"sampling": "Uniform sampling"}, "sampling is 'Uniform", "set"),
        ({"model_version": ""}, "orders by model version ''", "set"),
        ({"model_version": "Galaxy Loop"}, "'Galaxy Loop', not 'morphology-1'", "set"),
        ({"ranked": 0}, "Only 0 of 300", "push"),
        ({"ranked": 0, "model_version": "old"}, "Only 0 of 300", "push"),
        ({"ranked": FEWEST - 1}, "Only 19 of 300", "push"),
        ({"unscored": 3}, "3 predictions have no score", "push"),
        ({"overlap": 2}, "collects 2 annotations a task, the campaign 1", ""),
        ({"members": 2}, "2 members", ""),
    ],
)
def test_each_reason_is_named_with_what_mends_it(
    campaign: Campaign, seen: dict[str, Any], words: str, mended_by: str
) -> None:
    found = faults(replace(WELL, **seen), campaign, VERSION, 300)
    assert words in found[0].message and found[0].mended_by == mended_by
    assert len(found) == 1


@pytest.mark.parametrize("seen", [{}, {"members": 1}, {"members": None}, {"ranked": FEWEST}])
def test_nothing_is_wrong(campaign: Campaign, seen: dict[str, Any]) -> None:
    assert faults(replace(WELL, **seen), campaign, VERSION, 300) == []


def test_a_campaign_that_is_labelled_to_the_end_is_well(campaign: Campaign) -> None:
    assert faults(replace(WELL, ranked=0), campaign, VERSION, 0) == []
    assert faults(replace(WELL, ranked=3), campaign, VERSION, 3) == []


def test_labels_of_several_people_are_no_fault(campaign: Campaign) -> None:
    assert faults(replace(WELL, overlap=3), replace(campaign, overlap=3), VERSION, 300) == []


def test_all_reasons_are_named_at_once(campaign: Campaign) -> None:
    broken = ServedOrder("Uniform sampling", "other", 4, 5, 30, 2)
    assert [fault.mended_by for fault in faults(broken, campaign, VERSION, 300)] == ["set", "set", "push", "", ""]


def test_members_are_unknown_without_label_studios_database_and_an_error_in_a_wrong_one(postgres: Any) -> None:
    assert project_members("", 1) is None
    postgres.create_database("no_label_studio")
    with pytest.raises(LabelStudioError, match="projects_projectmember"):
        project_members(postgres.url("no_label_studio"), 1)
