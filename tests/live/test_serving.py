"""What keeps Label Studio from serving the ranking is seen and mended on the real server."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest

from backend_ml.doctor.campaigns import CampaignChecks
from backend_ml.label_studio.client import SAMPLING, LabelStudio
from backend_ml.local.servers import Servers as Installation
from backend_ml.queue import order, push
from backend_ml.store.campaigns import all_campaigns
from backend_ml.store.records import Campaign
from tests.installation import Servers
from tests.live.campaigns import LiveCampaign, live_campaign, ranking, resting

pytestmark = pytest.mark.live

OTHER = "somebody-else-1"


@pytest.fixture(scope="module")
def live(
    installation: Installation, servers: Servers, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LiveCampaign]:
    """A campaign that nobody but the tests mends; the worker rests."""
    folder = tmp_path_factory.mktemp("serving")
    with resting(installation), live_campaign(installation, servers.annotator, folder, "serving") as made:
        yield made


def reread(live: LiveCampaign) -> Campaign:
    with live.database.transaction() as connection:
        return next(one for one in all_campaigns(connection) if one.id == live.campaign.id)


def kept(live: LiveCampaign, *, wait: bool = True) -> bool:
    return order.keep(live.database, live.admin, reread(live), wait=wait)


def push_again(live: LiveCampaign) -> None:
    store = live.installation.settings.store_folder
    push.push(live.database, live.admin, reread(live), store=store, top=None)


def notice(live: LiveCampaign) -> str:
    """Why Label Studio does not serve the ranking, as the status says."""
    rows = live.database.rows("notices", campaign=live.campaign.id)
    return "".join(row["text"] for row in rows if row["source"] == "serving")


def settings(live: LiveCampaign) -> tuple[str, str]:
    project = live.admin.call("GET", f"api/projects/{live.project}/")
    return project["sampling"], project["model_version"]


def version(live: LiveCampaign) -> str:
    return str(live.status()["version"])


def served(live: LiveCampaign) -> int:
    """The task that the colleague is given; the lock on it is lifted again."""
    task = live.colleague.next_task(live.project)
    assert task is not None
    with psycopg.connect(live.admin.database_url) as connection:
        connection.execute("DELETE FROM tasks_tasklock WHERE task_id = %s", (task["id"],))
    return int(task["id"])


def test_a_new_campaign_is_served_in_order(live: LiveCampaign) -> None:
    seen = order.look(live.admin, live.campaign, version(live))
    assert seen == order.ServedOrder(SAMPLING, version(live), 1, 0, 60, 0)
    assert not kept(live) and notice(live) == ""
    assert served(live) == ranking(live)[0]


@pytest.mark.parametrize("sampling", ["Sequential sampling", "Uniform sampling"])
def test_sampling_changed_by_hand_is_set_again(live: LiveCampaign, sampling: str) -> None:
    live.admin.update_project(live.project, sampling=sampling)
    assert not kept(live)
    assert settings(live) == (SAMPLING, version(live))
    assert served(live) == ranking(live)[0]


def test_a_model_version_changed_by_hand_is_set_again(live: LiveCampaign) -> None:
    task = ranking(live)[-1]
    live.admin.call("POST", "api/predictions/", {"task": task, "model_version": OTHER, "score": 0.5, "result": []})
    for other in (OTHER, ""):
        live.admin.update_project(live.project, model_version=other)
        assert settings(live)[1] == other
        assert not kept(live)
        assert settings(live)[1] == version(live) and notice(live) == ""
        assert served(live) == ranking(live)[0]


def test_tasks_without_a_prediction_of_the_version_ask_for_a_push(live: LiveCampaign) -> None:
    with psycopg.connect(live.admin.database_url) as connection:
        gone = "UPDATE prediction SET model_version = 'gone' WHERE project_id = %s AND model_version = %s"
        connection.execute(gone, (live.project, version(live)))
    assert order.look(live.admin, live.campaign, version(live)).ranked == 0
    assert kept(live)
    with psycopg.connect(live.admin.database_url) as connection:
        back = "UPDATE prediction SET model_version = %s WHERE project_id = %s AND model_version = 'gone'"
        connection.execute(back, (version(live), live.project))
    assert not kept(live)


def test_predictions_without_a_score_ask_for_a_push(live: LiveCampaign) -> None:
    with psycopg.connect(live.admin.database_url) as connection:
        chosen = ranking(live)[:2]
        connection.execute("UPDATE prediction SET score = NULL WHERE task_id = ANY(%s)", (chosen,))
    assert order.look(live.admin, live.campaign, version(live)).unscored == 2
    assert kept(live)
    with psycopg.connect(live.admin.database_url) as connection:
        connection.execute("UPDATE prediction SET score = 0.01 WHERE task_id = ANY(%s)", (chosen,))


def test_members_of_the_project_are_noted_and_the_note_goes_with_them(live: LiveCampaign) -> None:
    put = (
        "INSERT INTO projects_projectmember (user_id, project_id, enabled, created_at, updated_at)"
        " SELECT id, %s, true, now(), now() FROM htx_user LIMIT 2"
    )
    with psycopg.connect(live.admin.database_url) as connection:
        connection.execute(put, (live.project,))
    assert not kept(live)
    assert "2 members" in notice(live)
    with psycopg.connect(live.admin.database_url) as connection:
        connection.execute("DELETE FROM projects_projectmember WHERE project_id = %s", (live.project,))
    kept(live)
    assert notice(live) == ""


def test_what_a_push_is_about_to_serve_is_left_to_it(live: LiveCampaign) -> None:
    live.admin.update_project(live.project, model_version=OTHER)
    with live.database.sole("try_lock_queue", campaign=live.campaign.id):
        assert not kept(live, wait=False)
        assert settings(live) == (SAMPLING, OTHER), "an older version might come after the pushed one"
    assert not kept(live, wait=False)
    assert settings(live) == (SAMPLING, version(live))


def over_api(live: LiveCampaign) -> None:
    store = live.installation.settings.store_folder
    with LabelStudio(live.admin.url, live.admin.token) as label_studio:
        push.push(live.database, label_studio, reread(live), store=store, top=3)


def mend_overlap(live: LiveCampaign) -> None:
    settings = live.installation.settings
    CampaignChecks(settings, live.database, live.admin, reread(live))._set_overlap()


@pytest.mark.parametrize("change", [kept, push_again, over_api, mend_overlap])
def test_one_at_a_time_changes_a_project(live: LiveCampaign, change: Callable[[LiveCampaign], object]) -> None:
    """Label Studio saves all fields of a project for a change of one: of two at a moment one would undo the other."""
    live.admin.update_project(live.project, model_version="", maximum_annotations=2)
    changing = threading.Thread(target=change, args=(live,))
    with live.database.sole("try_lock_connection", campaign=live.campaign.id):
        changing.start()
        changing.join(2)
        assert changing.is_alive(), "it waits"
        seen = order.look(live.admin, live.campaign, version(live))
        assert (seen.overlap, seen.model_version) == (2, "")
    changing.join(120)
    assert not changing.is_alive()
    mended = order.look(live.admin, live.campaign, version(live))
    assert (mended.overlap, mended.model_version) != (2, "")
    live.admin.update_project(live.project, maximum_annotations=1)
    assert not kept(live)


def test_a_version_that_was_read_before_a_push_is_not_set_after_it(
    live: LiveCampaign, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A push that begins while somebody looks waits until what was looked at is set."""
    found, pushes = order.look, []

    def slow(*arguments: Any) -> order.ServedOrder:
        pushes.append(threading.Thread(target=push_again, args=(live,)))
        pushes[-1].start()
        seen = found(*arguments)
        pushes[-1].join(1)
        assert pushes[-1].is_alive(), "it waits"
        return seen

    live.admin.update_project(live.project, model_version=OTHER)
    monkeypatch.setattr(order, "look", slow)
    assert not kept(live)
    pushes[-1].join(60)
    assert settings(live) == (SAMPLING, version(live)) and not pushes[-1].is_alive()
