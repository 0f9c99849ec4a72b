"""Odd annotations on the real Label Studio: what it takes, lists and refuses to write, beside good ones."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from backend_ml.campaign import lifecycle as campaigns
from backend_ml.label_studio.connection import condition
from backend_ml.local import processes
from backend_ml.local.servers import Servers as Installation
from tests.installation import Servers
from tests.live.campaigns import LiveCampaign, choice, live_campaign, run

pytestmark = pytest.mark.live


def region(value: str) -> str:
    """The result of an annotation whose choices have this value, as JSON."""
    return f'[{{"type": "choices", "from_name": "morphology", "to_name": "image", "value": {value}}}]'


def nested(depth: int) -> str:
    """A list in a list in a list ..."""
    return "[" * depth + "]" * depth


ODD = {
    "choices are a mapping": region('{"choices": {"a": 1}}'),
    "choices are a number": region('{"choices": 3}'),
    "choices are a text": region('{"choices": "spiral"}'),
    "choices are numbers": region('{"choices": [1e308]}'),
    "a number of 4,000 digits": region(f'{{"choices": [{"9" * 4000}]}}'),
    # to these Label Studio answers 500, and keeps some of them
    "value is a list": region('["spiral"]'),
    "value is null": region("null"),
    "value is deep": region(nested(100)),
    "value is deeper than Label Studio can list": region(nested(700)),
    "result is a number": "3",
    "result is null": "null",
    "result is a text": '"spiral"',
    "regions are numbers": "[3]",
    "regions are null": "[null]",
    "U+0000": region('{"choices": ["a\\u0000"]}'),
    "half a surrogate pair": region('{"choices": ["a\\ud800"]}'),
    "infinite": region('{"choices": [1e400]}'),
}


@pytest.fixture
def two(installation: Installation, servers: Servers, tmp_path: Path) -> Iterator[tuple[LiveCampaign, LiveCampaign]]:
    """Two campaigns of sixty tasks with starting labels."""
    with (
        live_campaign(installation, servers.annotator, tmp_path, "odd ones") as first,
        live_campaign(installation, servers.annotator, tmp_path, "beside odd ones") as second,
    ):
        yield first, second


def ask(live: LiveCampaign, method: str, path: str, body: str = "") -> None:
    """Use Label Studio's API, whatever it answers: it does some of what it answers 500 to."""
    headers = {"Authorization": f"Token {live.admin.token}", "Content-Type": "application/json"}
    httpx.request(method, f"{live.admin.url}/api/{path}", content=body.encode(), headers=headers, timeout=60)


def kept(live: LiveCampaign, tasks: dict[str, int]) -> dict[str, int]:
    """The annotation that Label Studio has of each odd one that it took, by its name."""
    annotated = live.admin.data_manager(live.project, [condition("annotations_ids", "greater", "Number", 0)])
    cells = {task["id"]: task["annotations_ids"] for task in annotated}
    return {name: int(cells[task]) for name, task in tasks.items() if task in cells}


def aside(live: LiveCampaign) -> dict[int, str]:
    rows: Any = live.status()["set_aside"]
    return {row["annotation"] or -row["webhook"]: row["reason"] for row in rows}


def test_odd_annotations_stop_nobody(two: tuple[LiveCampaign, LiveCampaign]) -> None:
    live, other = two
    shown = [task for task in live.waiting() if not task.audit]
    tasks = {name: task.task_id for name, task in zip(ODD, shown, strict=False)}
    good = shown[len(ODD) : len(ODD) + 3]
    far = next(task for task in other.waiting() if not task.audit)
    for name, text in ODD.items():
        ask(live, "POST", f"tasks/{tasks[name]}/annotations/", f'{{"result": {text}, "lead_time": 1.0}}')
    for task in good:
        live.colleague.submit(task.task_id, choice("spiral"), 1.0)
    other.colleague.submit(far.task_id, choice("spiral"), 1.0)
    other.wait_for_training(lambda labels: far.stamp_id in labels)
    live.wait_for_training(lambda labels: {task.stamp_id for task in good} <= set(labels))

    odd = kept(live, tasks)
    assert {"choices are a mapping", "value is null", "value is deeper than Label Studio can list"} <= set(odd)
    done = run(live, "campaign", "sync", live.campaign.name, "--json")
    assert done.returncode == 0, done.stderr
    assert set(aside(live)) == set(odd.values()), odd
    assert aside(other) == {}
    status = run(live, "campaign", "status", live.campaign.name, "--json")
    assert {row["annotation"] for row in json.loads(status.stdout)["set_aside"]} == set(odd.values())
    assert "choices" in run(live, "campaign", "status", live.campaign.name).stdout

    mended, *others = odd
    live.admin.update_annotation(odd[mended], choice("edge-on disc"), 2.0)
    for name in others:
        ask(live, "DELETE", f"annotations/{odd[name]}/")
    left = kept(live, tasks)
    assert "choices are a number" not in left and mended in left
    campaigns.sync(live.installation.settings, live.database, live.admin, live.campaign)
    assert set(aside(live)) == {left[name] for name in left if name != mended}
    assert live.training()[next(task.stamp_id for task in shown if task.task_id == tasks[mended])] == "edge-on disc"
    waiting = {task.task_id for task in live.waiting()}
    assert set(tasks.values()) - waiting == {tasks[name] for name in left}
    processes.wait_until(
        lambda: live.status()["inbox"] == {"waiting": 0, "failed": 0}, 30, what="webhooks to be taken in"
    )
