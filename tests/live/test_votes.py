"""A campaign of a tree of questions on the real servers: two people answer, and the model fills in what they would."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from backend_ml.catalogue import export
from backend_ml.label_studio.regions.trees import find_tree, given_answers
from backend_ml.local import processes
from backend_ml.local.servers import Servers as Installation
from lvm_training.galaxy_zoo.vote_table import VoteTable
from tests.backend_ml.voting import KINDS, SMOOTH, SPIRAL, STAR, regions
from tests.installation import Servers
from tests.live.campaigns import LiveCampaign, created, run, vote_plan

pytestmark = pytest.mark.live


@pytest.fixture
def live(installation: Installation, servers: Servers, tmp_path: Path) -> Iterator[LiveCampaign]:
    """A campaign of thirty tasks, six of them blind."""
    with created(installation, servers.annotator, vote_plan(tmp_path, "votes of two people")) as made:
        yield made


def voted(live: LiveCampaign) -> VoteTable:
    with live.database.transaction() as connection:
        found = export.label_table(connection, live.campaign, training=False)
    assert found is not None
    return found


def test_two_people_vote_and_the_model_fills_in_the_path(live: LiveCampaign, tmp_path: Path) -> None:
    project = live.admin.call("GET", f"api/projects/{live.project}/")
    tree = find_tree(project["label_config"]).tree
    assert (
        project["maximum_annotations"] == 2 and "Could this be a disk viewed edge-on?" in project["expert_instruction"]
    )
    tasks = {task.task_id: task.stamp_id for task in live.waiting()}
    some = dict(list(tasks.items())[:18])
    for task, stamp in some.items():
        live.admin.submit(task, regions(KINDS[stamp % 5]), 1.0)
        live.colleague.submit(task, regions(STAR if stamp % 10 == 0 else KINDS[stamp % 5]), 1.0)
    processes.wait_until(lambda: voted(live).counts[:, tree.slices[0]].sum() == 36, 60, what="all votes to arrive")
    table = voted(live)
    tenth = next((place for place, (_, row) in enumerate(table.stamps) if row % 10 == 0), None)
    assert tenth is None or table.counts[tenth, tree.slices[0]].tolist() == [1, 0, 1], "both are kept"
    processes.wait_until(lambda: str(live.status()["version"]).startswith("galaxy_zoo-"), 120, what="a head")
    live.at_rest()
    blind = {task.task_id for task in live.waiting() if task.audit}
    version = live.admin.project(live.project).model_version
    right = 0
    for row in live.admin.predictions(live.project):
        if row.model_version != version or row.task in some:
            continue
        body = live.admin.call("GET", f"api/predictions/{row.id}/")["result"]
        assert bool(body) is (row.task not in blind)
        if body:
            given = given_answers(body, tree)
            tree.vote(given)  # a path of the tree, which raises otherwise
            assert body[-1]["value"]["text"][0].startswith("Model, of those asked: ")
            right += given["smooth-or-featured"] == KINDS[tasks[row.task] % 5]["smooth-or-featured"]
    assert right >= (len(tasks) - len(some) - len(blind)) / 2
    done = run(live, "campaign", "export", live.campaign.name, "--out", str(tmp_path / "votes.csv"))
    assert done.returncode == 0, done.stderr
    header = (tmp_path / "votes.csv").read_text().partition("\n")[0]
    assert header.startswith("stamp_set,stamp_id,label,file,ra,dec,annotators,smooth-or-featured_total-votes,")


def test_answers_that_contradict_the_tree_are_kept_and_told(live: LiveCampaign) -> None:
    first, second = live.waiting()[:2]
    number = live.admin.submit(first.task_id, regions({**SMOOTH, "bar": "no"}), 1.0)
    live.colleague.submit(second.task_id, regions(SPIRAL), 1.0)
    processes.wait_until(lambda: len(voted(live)) == 1, 60, what="the vote that can be read")
    for task in live.waiting()[2:14]:
        live.admin.submit(task.task_id, regions(KINDS[task.stamp_id % 5]), 1.0)

    def told() -> list[str]:
        rows: list[dict[str, object]] = live.status()["set_aside"]  # type: ignore[assignment]
        return [str(row["reason"]) for row in rows if row["annotation"] == number]

    processes.wait_until(lambda: bool(told()), 120, what="the annotation to be set aside")
    assert told()[0].startswith(
        "It answers 'bar', which is asked after disk-edge-on_no, but says smooth-or-featured smooth"
    )
    live.admin.update_annotation(number, regions(SMOOTH), 2.0)
    processes.wait_until(
        lambda: ("votes_of_two_people", first.stamp_id) in voted(live).stamps, 60, what="the mended one"
    )
    processes.wait_until(lambda: not told(), 120, what="it to be in order again")
