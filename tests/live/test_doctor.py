"""Every failure that the doctor knows, provoked on the real servers: its line, its command, and that it is mended."""

import json
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from backend_ml import signing
from backend_ml.doctor import label_studio as label_studio_checks
from backend_ml.doctor.examine import examined, mended
from backend_ml.doctor.findings import FIX, Finding
from backend_ml.label_studio.client import WEBHOOK_ACTIONS
from backend_ml.local import label_studio as local_label_studio
from backend_ml.local.processes import free_port
from backend_ml.local.servers import Servers as Installation
from backend_ml.local.servers import start_worker
from backend_ml.settings import Settings
from backend_ml.store.encoders import encoder_folder
from tests.installation import Servers
from tests.live.campaigns import LiveCampaign, live_campaign, ranking, run, run_alone, silent
from tests.live.conftest import Recorder

pytestmark = pytest.mark.live

RESTING = ("worker", "inbox")  # fail while no worker runs
CLOSED = "http://127.0.0.1:9"


@pytest.fixture(scope="module")
def well(
    installation: Installation, servers: Servers, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LiveCampaign]:
    """A campaign of which nothing is wrong."""
    with live_campaign(installation, servers.annotator, tmp_path_factory.mktemp("doctor"), "doctor", n=20) as made:
        made.at_rest()
        yield made


@pytest.fixture(scope="module")
def live(well: LiveCampaign) -> Iterator[LiveCampaign]:
    """A campaign that nobody but the doctor mends: no worker lives."""
    well.installation.worker.stop()
    try:
        yield well
    finally:
        well.installation.worker = start_worker(well.installation.home, well.installation.environment)


def look(live: LiveCampaign, **other: str) -> list[Finding]:
    """What the doctor finds, with some settings other than the installation's."""
    settings = live.installation.settings
    with examined(Settings.model_validate(vars(settings) | other)) as found:
        secrets = [getattr(settings, name).get_secret_value() for name in ("secret", "backend_password")]
        assert not [one for one in found if any(secret in one.text for secret in secrets)]
        return found


def failures(found: Sequence[Finding], check: str) -> list[Finding]:
    return [one for one in found if one.check == check and one.state == "fail"]


def fails(live: LiveCampaign, check: str, said: str, **other: str) -> Finding:
    """The one failure of a check."""
    (found,) = failures(look(live, **other), check)
    assert said in found.text, found.text
    return found


def is_mended(live: LiveCampaign, check: str, said: str) -> None:
    """A failure is there, `--fix` is its command and mends it, and nothing else is wrong afterwards."""
    with examined(live.installation.settings) as found:
        mine = failures(found, check)
        assert said in " ".join(one.text for one in mine), found
        assert {one.command for one in mine} == {FIX} and {one.campaign for one in mine} == {"doctor"}
        assert mended(mine, silent) == []
    assert [one for one in look(live) if one.state == "fail" and one.check not in RESTING] == []


def in_label_studio(live: LiveCampaign, text: str, values: Sequence[object] = ()) -> None:
    """Change Label Studio's tables, as no API of its would."""
    with psycopg.connect(live.admin.database_url) as connection:
        connection.execute(text, values)  # type: ignore[call-overload]


def in_database(live: LiveCampaign, text: str, values: Sequence[object] = ()) -> None:
    with live.database.transaction() as connection:
        connection.execute(text, values)  # type: ignore[call-overload]


def version(live: LiveCampaign) -> str:
    return str(live.status()["version"])


# The whole


def test_all_is_well_and_told_in_eighty_columns(well: LiveCampaign) -> None:
    done = run_alone(well, "doctor")
    assert done.returncode == 0, done.stdout
    lines = done.stdout.splitlines()
    assert not [line for line in lines if len(line) > 80 and not line.startswith("      $ ")]
    assert lines[-1].startswith("0 failures, 0 warnings") and "\ndoctor\n" in done.stdout
    assert {line.split()[0] for line in lines if line[:1].strip()} == {"ok", "doctor", "0"}


def test_no_worker_lives(live: LiveCampaign) -> None:
    found = json.loads(run(live, "doctor", "--json").stdout)
    assert {one["check"] for one in found} >= {"worker", "token", "webhook", "order", "pictures", "files", "clock"}
    (worker,) = [one for one in found if one["check"] == "worker"]
    assert (worker["state"], worker["command"]) == ("fail", "galaxyloop worker") and "none lives" in worker["text"]


def test_fix_mends_looks_again_and_says_what_is_left(live: LiveCampaign) -> None:
    live.admin.update_project(live.project, sampling="Uniform sampling")
    for hook in live.admin.webhooks(live.project):
        live.admin.delete(f"api/webhooks/{hook.id}/")
    told = run(live, "doctor")
    assert told.returncode == 1 and told.stdout.count(f"$ {FIX}") == 2
    done = run(live, "doctor", "--fix")
    assert done.returncode == 1 and "none lives" in done.stdout and f"$ {FIX}" not in done.stdout


# The database and the worker


def test_jobs_that_were_given_up_are_asked_for_again(live: LiveCampaign) -> None:
    put = (
        "INSERT INTO procrastinate_jobs (queue_name, task_name, status, args)"
        " VALUES ('default', 'campaign:push', 'failed', jsonb_build_object('campaign_id', %s::integer))"
    )
    in_database(live, put, [live.campaign.id])
    found = fails(live, "jobs", "1 given up: push")
    assert (found.command, found.campaign) == ("galaxyloop campaign sync doctor", "doctor")
    with examined(live.installation.settings) as all_found:
        assert mended(failures(all_found, "jobs"), silent) == []
    with live.database.transaction() as connection:
        waiting = connection.execute("SELECT task_name FROM procrastinate_jobs WHERE status = 'todo'").fetchall()
    assert {"campaign:push", "campaign:reconcile"} <= {row["task_name"] for row in waiting}
    assert failures(look(live), "jobs") == []


def test_webhooks_that_nobody_takes_in_or_can_read(live: LiveCampaign) -> None:
    put = (
        "INSERT INTO inbox (project_id, action, body, received_at, processed_at, error)"
        " VALUES (%s, 'ODD', '{}', now() - interval '1 hour', %s, %s)"
    )
    in_database(live, put, [live.project, None, None])
    assert fails(live, "inbox", "webhooks wait, the oldest for 36").command == "galaxyloop worker"
    in_database(live, "DELETE FROM inbox WHERE action = 'ODD'")
    in_database(live, put, [live.project, "2026-01-01", "no annotation in it"])
    (found,) = [one for one in look(live) if one.check == "inbox"]
    assert found.state == "warn" and "1 webhooks could not be read" in found.text
    in_database(live, "DELETE FROM inbox WHERE action = 'ODD'")


def test_databases_of_other_versions(live: LiveCampaign) -> None:
    live.installation.postgres.create_database("other")
    url = live.installation.postgres.url("other")
    found = fails(live, "database", "has no tables yet", database_url=url)
    assert found.command == "galaxyloop campaign list" and found.mend is not None
    found.mend()
    assert failures(look(live, database_url=url), "database") == []
    with psycopg.connect(url) as connection:
        connection.execute("UPDATE schema_version SET number = 999")
    found = fails(live, "database", "schema 999", database_url=url)
    assert found.command == "git pull && make setup" and found.mend is None
    away = fails(live, "database", "does not answer", database_url="postgresql:///galaxyloop?host=/nowhere")
    assert away.command.startswith("pg_isready")


# Label Studio


@contextmanager
def bent(target: str, *, delay: float = 0.0, date: str = "") -> Iterator[str]:
    """The real server, seen through a line that is slow, or whose clock is another."""

    class Forward(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            time.sleep(delay)
            answer = httpx.get(target + self.path, trust_env=False, timeout=30)
            self.send_response_only(answer.status_code)
            self.send_header("Date", date or answer.headers["Date"])
            self.send_header("Content-Length", str(len(answer.content)))
            self.end_headers()
            self.wfile.write(answer.content)

        def log_message(self, *_: object) -> None:
            """Keep the tests' output clean."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Forward) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def server_told(live: LiveCampaign, **how: Any) -> list[Finding]:
    with bent(live.admin.url, **how) as url:
        settings = live.installation.settings.model_copy(update={"label_studio_url": url})
        return list(label_studio_checks.server(settings))


def test_label_studio_is_away_slow_or_something_else(live: LiveCampaign, monkeypatch: pytest.MonkeyPatch) -> None:
    found = look(live, label_studio_url=CLOSED)
    (away,) = failures(found, "Label Studio")
    assert f"does not answer at {CLOSED}" in away.text and away.command.startswith("curl")
    assert not [one for one in found if one.campaign], "what cannot be asked is not"
    other = fails(live, "Label Studio", "is no Label Studio", label_studio_url=live.installation.settings.backend_url)
    assert other.command.startswith("export GALAXYLOOP_LABEL_STUDIO_URL=")
    monkeypatch.setattr(label_studio_checks, "SLOW", -1.0)
    (slow, _) = server_told(live)
    assert slow.state == "warn" and "s to answer" in slow.text
    monkeypatch.setattr(label_studio_checks, "TIMEOUT", 0.2)
    (hung,) = server_told(live, delay=2.0)
    assert hung.state == "fail" and "ReadTimeout" in hung.text


def test_another_clock_and_another_version(live: LiveCampaign, monkeypatch: pytest.MonkeyPatch) -> None:
    _, skew = server_told(live, date="Thu, 01 Jan 2026 00:00:00 GMT")
    assert skew.state == "fail" and "Label Studio's clock is" in skew.text
    assert skew.command == "timedatectl set-ntp true"
    monkeypatch.setattr(label_studio_checks, "VERSION", "0.9")
    found = server_told(live)
    assert found[0].state == "warn" and "tried with 0.9" in found[0].text and "pip install" in found[0].command


@pytest.mark.parametrize("token", ["0" * 40, "two words"])
def test_a_token_that_is_none(live: LiveCampaign, token: str) -> None:
    found = fails(live, "token", "oken", label_studio_token=token)
    assert found.command.startswith("export GALAXYLOOP_LABEL_STUDIO_TOKEN=") and token not in found.text


def test_legacy_tokens_that_are_switched_off(live: LiveCampaign) -> None:
    switch = "UPDATE jwt_auth_jwtsettings SET legacy_api_tokens_enabled = %s"
    in_label_studio(live, switch, [False])
    try:
        found = fails(live, "token", "switched off")
        assert f"{live.admin.url}/user/account" in found.command
    finally:
        in_label_studio(live, switch, [True])
    assert failures(look(live), "token") == []


def test_a_label_studio_that_was_told_nothing(
    live: LiveCampaign, servers: Servers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With its own defaults it calls no private address and imports slowly: a second one, on the same database."""
    for name in list(local_label_studio.SETTINGS):
        if name.startswith(("ML_BLOCK", "SSRF", "fflag")):
            monkeypatch.delitem(local_label_studio.SETTINGS, name)
    with local_label_studio.start_label_studio(
        tmp_path, live.admin.database_url, servers.account, port=free_port()
    ) as plain:
        found = look(live, label_studio_url=plain.url)
    (refused,) = failures(found, "switches")
    assert "as its backend and its webhook" in refused.text
    assert "ML_BLOCK_LOCAL_IP=false SSRF_PROTECTION_ENABLED=false" in refused.command
    (slow,) = failures(found, "import")
    assert slow.command.startswith("export fflag_fix_back_4620")


def test_addresses_where_nothing_or_something_else_answers(live: LiveCampaign) -> None:
    found = fails(live, "backend", "does not answer", backend_url=CLOSED)
    assert found.command == "galaxyloop serve --port 9"
    assert "no backend" in fails(live, "backend", "", backend_url=live.admin.url).text
    refused = fails(live, "backend", "another GALAXYLOOP_BACKEND_PASSWORD", backend_password="elsewhere-7")
    assert "galaxyloop serve" in refused.command
    public = fails(live, "public address", f"no backend at {CLOSED}", public_url=CLOSED)
    assert public.command.startswith("export GALAXYLOOP_PUBLIC_URL=")


def test_rights_in_its_database(live: LiveCampaign) -> None:
    in_label_studio(live, "CREATE ROLE few LOGIN")
    in_label_studio(live, "GRANT SELECT ON project, task_completion TO few")
    url = live.admin.database_url.replace("postgres@", "few@")
    assert url != live.admin.database_url
    found = fails(live, "its database", "few may not read or write", label_studio_database_url=url)
    assert "prediction, prediction_meta, project, projects_projectmember" in found.text
    in_label_studio(live, found.command.split('"')[1])
    assert failures(look(live, label_studio_database_url=url), "its database") == []
    away = fails(
        live, "its database", "does not answer", label_studio_database_url="postgresql:///labelstudio?host=/nowhere"
    )
    assert away.command.startswith("psql")
    in_label_studio(live, "DROP OWNED BY few")
    in_label_studio(live, "DROP ROLE few")


# A campaign


def test_a_project_that_is_gone(live: LiveCampaign) -> None:
    move = "UPDATE campaign SET project_id = %s WHERE id = %s"
    in_database(live, move, [999_999, live.campaign.id])
    try:
        found = look(live)
    finally:
        in_database(live, move, [live.project, live.campaign.id])
    (gone,) = failures(found, "project")
    assert gone.command == "galaxyloop campaign close doctor"
    assert [one.check for one in found if one.campaign] == ["project"], "the rest of it is not asked for"


def test_a_backend_that_is_not_connected_or_twice(live: LiveCampaign) -> None:
    (backend,) = live.admin.call("GET", "api/ml/", project=live.project)
    live.admin.sdk.ml.delete(backend["id"])
    is_mended(live, "connection", "there is none")
    settings = live.installation.settings
    second = {
        "url": settings.backend_url,
        "project": live.project,
        "title": "again",
        "auth_method": "BASIC_AUTH",
        "basic_auth_user": settings.backend_user,
        "basic_auth_pass": settings.backend_password.get_secret_value(),
    }
    live.admin.call("POST", "api/ml/", second)
    is_mended(live, "connection", f"{settings.backend_url}, {settings.backend_url}")


def test_a_backend_at_a_former_address_and_a_stranger(live: LiveCampaign, recorder: Recorder) -> None:
    body = {"url": recorder.url, "project": live.project}
    live.admin.call("POST", "api/ml/", body | {"title": "Galaxy Loop doctor"})
    is_mended(live, "connection", recorder.url)
    stranger = live.admin.call("POST", "api/ml/", body | {"title": "somebody's"})
    (warned,) = [one for one in look(live) if one.check == "connection" and one.state == "warn"]
    assert recorder.url in warned.text and warned.command.endswith(f"/projects/{live.project}/settings/ml")
    live.admin.sdk.ml.delete(stranger["id"])
    live.admin.detach(live.project, recorder.url)


def test_a_backend_that_refuses_its_password(live: LiveCampaign) -> None:
    in_label_studio(live, "UPDATE ml_mlbackend SET basic_auth_pass = 'old' WHERE project_id = %s", [live.project])
    is_mended(live, "connection", "does not serve the project")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda hook, live: live.admin.delete(f"api/webhooks/{hook.id}/"), "0 go to"),
        (
            lambda hook, live: live.admin.call("POST", "api/webhooks/", {"project": live.project, "url": hook.url}),
            "2 go to",
        ),
        (lambda hook, live: change(live, hook, headers={}), "no secret"),
        (lambda hook, live: change(live, hook, headers={signing.SECRET_HEADER: "old"}), "its secret is another"),
        (lambda hook, live: change(live, hook, is_active=False), "switched off"),
        (lambda hook, live: change(live, hook, send_payload=False), "no payload"),
        (lambda hook, live: change(live, hook, actions=WEBHOOK_ACTIONS[:2]), "leaves events out"),
    ],
    ids=["missing", "double", "no secret", "another secret", "off", "no payload", "few events"],
)
def test_a_webhook_that_is_not_right(live: LiveCampaign, change: Callable[..., object], said: str) -> None:
    (hook,) = live.admin.webhooks(live.project)
    change(hook, live)
    is_mended(live, "webhook", said)


def change(live: LiveCampaign, hook: Any, **fields: object) -> None:
    live.admin.call("PATCH", f"api/webhooks/{hook.id}/", fields)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"sampling": "Sequential sampling"}, "task sampling is 'Sequential sampling'"),
        ({"model_version": ""}, "orders by model version ''"),
        ({"maximum_annotations": 3}, "collects 3 annotations a task"),
    ],
    ids=["sampling", "version", "overlap"],
)
def test_an_order_that_is_not_served(live: LiveCampaign, fields: dict[str, object], said: str) -> None:
    live.admin.update_project(live.project, **fields)
    is_mended(live, "order", said)


def test_predictions_that_are_missing_unscored_or_double(live: LiveCampaign) -> None:
    mine = [live.project, version(live)]
    in_label_studio(
        live, "UPDATE prediction SET model_version = 'gone' WHERE project_id = %s AND model_version = %s", mine
    )
    is_mended(live, "order", "have a place in the ranking")
    chosen = ranking(live)[:2]
    in_label_studio(live, "UPDATE prediction SET score = NULL WHERE task_id = ANY(%s)", [chosen])
    is_mended(live, "order", "2 predictions have no score")
    for task in chosen:
        body = {"task": task, "model_version": version(live), "score": 0.5, "result": []}
        live.admin.call("POST", "api/predictions/", body)
    without = fails(live, "predictions", "2 waiting tasks have several", label_studio_database_url="")
    assert without.command == FIX, "counted over the API, too"
    is_mended(live, "predictions", f"2 waiting tasks have several of {version(live)}")


def test_members_who_make_the_order_random(live: LiveCampaign) -> None:
    put = (
        "INSERT INTO projects_projectmember (user_id, project_id, enabled, created_at, updated_at)"
        " SELECT id, %s, true, now(), now() FROM htx_user LIMIT 2"
    )
    in_label_studio(live, put, [live.project])
    found = fails(live, "order", "2 members")
    assert found.command.startswith('psql "$GALAXYLOOP_LABEL_STUDIO_DATABASE_URL" -c "DELETE FROM')
    in_label_studio(live, found.command.split('"')[-2])
    assert failures(look(live), "order") == []


def test_pictures_at_a_former_address_or_with_links_of_another_secret(live: LiveCampaign) -> None:
    public = live.installation.settings.public_url
    replaced = "UPDATE task SET data = replace(data::text, %s, %s)::jsonb WHERE project_id = %s"
    in_label_studio(live, replaced, [public, "http://former:9090", live.project])
    is_mended(live, "pictures", f"tasks name http://former:9090, browsers are sent to {public}")
    in_label_studio(live, replaced, ["key=", "key=0", live.project])
    found = fails(live, "pictures", "GALAXYLOOP_SECRET is another")
    assert found.command.startswith("export GALAXYLOOP_SECRET=")
    in_label_studio(live, replaced, ["key=0", "key=", live.project])
    assert failures(look(live), "pictures") == []


def test_files_that_are_gone(live: LiveCampaign) -> None:
    (row,) = [one for one in live.database.rows("stamp_sets") if one["name"] == live.campaign.stamp_set]
    store = live.installation.settings.store_folder
    encoder = encoder_folder(store, live.campaign.encoder)
    for path, said, command in (
        (Path(row["path"]), "the stamp set", "cp "),
        (Path(row["features"]), "", f"galaxyloop embed {row['path']} --encoder {encoder}"),
        (encoder, "lacks the checkpoint", "cp -r "),
    ):
        aside = path.with_name("aside")
        shutil.move(path, aside)
        try:
            found = fails(live, "files", said)
            assert found.command.startswith(command)
        finally:
            shutil.move(aside, path)
    assert failures(look(live), "files") == []


def test_what_the_campaign_says_itself(live: LiveCampaign) -> None:
    put = "INSERT INTO notice (campaign_id, source, text) VALUES (%s, 'learn', 'It could not.')"
    in_database(live, put, [live.campaign.id])
    (found,) = [one for one in look(live) if one.check == "notice"]
    assert found.text == "learn: It could not." and found.command == "galaxyloop campaign status doctor"
    in_database(live, "DELETE FROM notice WHERE source = 'learn'")


def test_what_cannot_be_mended_is_said(live: LiveCampaign) -> None:
    """The backend is away, and so Label Studio connects none."""
    (backend,) = live.admin.call("GET", "api/ml/", project=live.project)
    live.admin.sdk.ml.delete(backend["id"])
    settings = Settings.model_validate(vars(live.installation.settings) | {"backend_url": CLOSED})
    with examined(settings) as found:
        refused = mended(failures(found, "connection"), silent)
    assert [one.check for one in refused] == ["connection"]
    assert "could not be mended: Label Studio answered 400" in refused[0].text
    is_mended(live, "connection", "there is none")
