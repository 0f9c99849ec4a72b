"""The queue proof: Label Studio serves exactly the ranking, to two annotators at once, whatever they hold or skip."""

from pathlib import Path
from typing import Any

import pytest

from backend_ml.demo.annotators import SimulatedAnnotators
from backend_ml.label_studio.client import LabelStudio
from backend_ml.local.servers import Servers as Installation
from tests.installation import Servers
from tests.live.campaigns import LiveCampaign, live_campaign, ranking, resting, truth

pytestmark = pytest.mark.live

IN_A_ROW = 12


def serve_in_turns(live: LiveCampaign, count: int) -> list[int]:
    """Two annotators, each always holding a task; the tasks in the order in which they were served."""
    team: list[LabelStudio] = [live.admin, live.colleague]
    held = [client.next_task(live.project) for client in team]
    served = [task["id"] for task in held if task]
    region = {"from_name": "morphology", "to_name": "image", "type": "choices"}
    for turn in range(count - 2):
        client, task = team[turn % 2], held[turn % 2]
        assert task is not None
        label = truth("", task["data"]["stamp_id"])
        client.submit(task["id"], [{**region, "value": {"choices": [label]}}], lead_time=1.0)
        held[turn % 2] = client.next_task(live.project)
        served.append(held[turn % 2]["id"])  # type: ignore[index]
    return served


def predictions(live: LiveCampaign, tasks: set[int]) -> dict[int, Any]:
    """What Label Studio orders some tasks by, for whoever reads why another was served."""
    return {
        task["id"]: [(one["id"], one["model_version"], one["score"]) for one in task["predictions"]]
        for task in live.admin.data_manager(live.project, [], fields="all")
        if task["id"] in tasks
    }


@pytest.mark.parametrize("labels", [True, False], ids=["ranked by a head", "cold start"])
def test_next_serves_the_ranking(installation: Installation, servers: Servers, tmp_path: Path, labels: bool) -> None:
    name = f"queue proof {labels}"
    with live_campaign(installation, servers.annotator, tmp_path, name, n=50, labels=labels) as live:
        for _ in range(2):
            live.settle(live.team().label(10))
            live.at_rest()
            # without a worker the ranking stands still while its tasks are labelled
            with resting(installation):
                expected = ranking(live)[:IN_A_ROW]
                served = serve_in_turns(live, IN_A_ROW)
            assert len(set(served)) == IN_A_ROW, "a task was served twice"
            assert served == expected, predictions(live, {*served} ^ {*expected})


def test_held_and_skipped_tasks_outlive_a_new_queue(
    installation: Installation, servers: Servers, tmp_path: Path
) -> None:
    with live_campaign(installation, servers.annotator, tmp_path, "held and skipped", n=40, audit=0.0) as live:
        held = live.colleague.next_task(live.project)
        skipped = live.admin.next_task(live.project)
        assert held is not None and skipped is not None and held["id"] != skipped["id"]
        live.admin.submit(skipped["id"], [], lead_time=1.0, was_cancelled=True)
        live.settle(SimulatedAnnotators([live.admin], live.project, truth).label(8))
        assert {held["id"], skipped["id"]} <= set(ranking(live)), "neither has a label"
        served = [submission.task for submission in SimulatedAnnotators([live.admin], live.project, truth).label(3)]
        assert not {held["id"], skipped["id"]} & set(served), "one is held by another, one was skipped"
        label = truth("", held["data"]["stamp_id"])
        region = {"from_name": "morphology", "to_name": "image", "type": "choices", "value": {"choices": [label]}}
        shown = held["predictions"][0]
        assert shown["model_version"] != live.status()["version"]
        live.colleague.submit(held["id"], [region], lead_time=1.0, parent_prediction=shown["id"])
        live.wait_for_training(lambda labels: labels.get(held["data"]["stamp_id"]) == label)
        following = live.colleague.next_task(live.project)
        assert following is not None and following["id"] not in served
        live.colleague.submit(skipped["id"], [region], lead_time=1.0)
        live.wait_for_training(lambda labels: skipped["data"]["stamp_id"] in labels)
