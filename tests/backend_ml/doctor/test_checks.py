"""What a doctor says of a real database, and of servers that answer this or that."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest

from backend_ml import signing
from backend_ml.doctor import database as checks
from backend_ml.doctor import examine
from backend_ml.doctor import label_studio as server_checks
from backend_ml.doctor.campaigns import CampaignChecks
from backend_ml.doctor.findings import FIX, Finding, mendable, ok
from backend_ml.label_studio.client import WEBHOOK_ACTIONS
from backend_ml.label_studio.connection import LabelStudioError
from backend_ml.settings import Settings
from backend_ml.store.campaigns import note
from backend_ml.store.database import MIGRATIONS, Database, query
from backend_ml.store.encoders import encoder_folder
from backend_ml.store.records import Campaign
from lvm_training.errors import GalaxyLoopError

NOW = datetime.now(UTC)


def states(found: Sequence[Finding]) -> list[tuple[str, str]]:
    return [(one.check, one.state) for one in found]


@pytest.mark.parametrize(
    ("seconds", "state"), [(0, "ok"), (3, "ok"), (-3, "ok"), (20, "warn"), (-20, "warn"), (90, "fail"), (-90, "fail")]
)
def test_clocks_that_go_apart(seconds: int, state: str) -> None:
    (found,) = checks.clock("the server", datetime.now(UTC) + timedelta(seconds=seconds))
    assert found.state == state and "the server" in found.text
    assert (found.command == "") == (state == "ok")


def put_job(database: Database, status: str, minutes: float, campaign: int | None, task: str = "campaign:push") -> None:
    """A job that has been due for so many minutes."""
    with database.transaction() as connection:
        connection.execute(
            "INSERT INTO procrastinate_jobs (queue_name, task_name, status, scheduled_at, args) VALUES ('default', %s,"
            " %s::procrastinate_job_status, now() - make_interval(secs => %s),"
            " jsonb_build_object('campaign_id', %s::integer))",
            (task, status, 60 * minutes, campaign),
        )


def put_worker(database: Database, seconds: float) -> None:
    """A worker that gave a sign of life so long ago."""
    with database.transaction() as connection:
        connection.execute(
            "INSERT INTO procrastinate_workers (last_heartbeat) VALUES (now() - make_interval(secs => %s))", (seconds,)
        )


def test_a_worker_must_live_and_keep_up(database: Database) -> None:
    def said() -> tuple[str, str]:
        (found,) = checks.workers(database)
        return found.state, found.text

    assert said() == ("fail", "none lives; 0 jobs wait")
    put_worker(database, 40)
    assert said()[0] == "fail", "it was killed"
    put_worker(database, 10)
    assert said() == ("ok", "1 alive, 0 jobs wait")
    put_job(database, "doing", 50, 1)
    put_job(database, "todo", 1, 1)
    put_job(database, "todo", 0.5, 1, "campaign:learn")
    assert said() == ("ok", "1 alive, 2 jobs wait, the oldest for 60 s")
    put_job(database, "todo", 3, 1)
    assert said() == ("warn", "behind: 3 jobs wait, the oldest for 180 s")


def test_jobs_that_were_given_up_are_told_by_campaign_and_asked_for_again(
    database: Database, campaign: Campaign
) -> None:
    assert states(list(checks.failed_jobs(database))) == [("jobs", "ok")]
    put_job(database, "succeeded", 5, campaign.id)
    for task in ("campaign:push", "campaign:learn", "campaign:push"):
        put_job(database, "failed", 5, campaign.id, task)
    put_job(database, "failed", 5, None, "inbox:clean")
    nobody, mine = checks.failed_jobs(database)
    assert (nobody.text, nobody.command, nobody.campaign) == ("1 given up: clean", FIX, "")
    assert (mine.text, mine.command) == ("3 given up: learn, push", "galaxyloop campaign sync Test")
    assert mine.mend is not None and nobody.mend is not None
    mine.mend()
    (left,) = checks.failed_jobs(database)
    assert left.text == nobody.text, "only those of the campaign"
    with database.transaction() as connection:
        rows = connection.execute("SELECT task_name FROM procrastinate_jobs WHERE status = 'todo'").fetchall()
    assert {"campaign:push", "campaign:reconcile"} <= {row["task_name"] for row in rows}
    nobody.mend()
    assert states(list(checks.failed_jobs(database))) == [("jobs", "ok")]


def put_webhook(database: Database, project: int, minutes: float, error: str | None = None, *, done: bool) -> None:
    with database.transaction() as connection:
        connection.execute(
            "INSERT INTO inbox (project_id, action, body, received_at, processed_at, error)"
            " VALUES (%s, 'ODD', '{}', now() - make_interval(secs => %s), %s, %s)",
            (project, 60 * minutes, NOW if done else None, error),
        )


def test_webhooks_must_be_taken_in(database: Database, campaign: Campaign) -> None:
    def said() -> list[tuple[str, str]]:
        return [(one.state, one.text) for one in checks.webhooks(database)]

    assert campaign.project is not None
    put_webhook(database, campaign.project, 60, done=True)
    put_webhook(database, campaign.project, 1, done=False)
    put_webhook(database, campaign.project + 1, 60, done=False)
    assert said() == [("ok", "1 webhooks wait")], "those of projects without a campaign are nobody's"
    put_webhook(database, campaign.project, 5, done=False)
    assert said() == [("fail", "2 webhooks wait, the oldest for 300 s")]
    put_webhook(database, campaign.project, 60, "no annotation in it", done=True)
    assert [state for state, _ in said()] == ["warn", "fail"] and said()[0][1].startswith("1 webhooks could not")


def test_a_database_of_another_version_is_told_apart(database: Database) -> None:
    settings = Settings.model_validate({"database_url": database.url})
    url, (found,) = checks.reachable(settings)
    assert (url, found.state) == (database.url, "ok") and f"schema {len(MIGRATIONS)}" in found.text
    for number, said, mends in ((len(MIGRATIONS) + 1, "newer", False), (len(MIGRATIONS) - 1, "schema", True)):
        with psycopg.connect(database.url) as connection:
            connection.execute("UPDATE schema_version SET number = %s", (number,))
        try:
            url, (found,) = checks.reachable(settings)
        finally:
            with psycopg.connect(database.url) as connection:
                connection.execute("UPDATE schema_version SET number = %s", (len(MIGRATIONS),))
        assert (url, found.state) == ("", "fail") and said in found.text
        assert (found.mend is not None) == mends, "a newer one is never migrated"


# Servers


@dataclass
class Answers:
    """What a server answers, by path; what it does not know is 404."""

    url: str = ""
    known: dict[str, tuple[int, str, str]] = field(default_factory=dict)
    password: str = ""

    def put(self, path: str, body: str, status: int = 200, kind: str = "application/json") -> None:
        self.known[path] = (status, body, kind)


@contextmanager
def serving() -> Iterator[Answers]:
    """A real server on this machine."""
    answers = Answers()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body, kind = answers.known.get(self.path, (404, "no such page", "text/plain"))
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body.encode())))
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: object) -> None:
            """Keep the tests' output clean."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        answers.url = f"http://127.0.0.1:{server.server_port}"
        try:
            yield answers
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def server() -> Iterator[Answers]:
    with serving() as answers:
        yield answers


@pytest.fixture(autouse=True)
def forgotten(server: Answers) -> None:
    server.known.clear()


@pytest.mark.parametrize(
    ("body", "status", "state", "said"),
    [
        ('{"release": "1.23.2"}', 200, "ok", "1.23.2 answers"),
        ('{"label-studio-os-package": {"version": "1.23.0"}}', 200, "ok", "1.23.0 answers"),
        ('{"release": "1.24.0"}', 200, "warn", "tried with 1.23"),
        ('{"release": "1.230.0"}', 200, "warn", "tried with 1.23"),
        ('{"version": 3}', 200, "fail", "is no Label Studio"),
        ("<html>", 200, "fail", "does not answer"),
        ("{}", 500, "fail", "status 500"),
    ],
)
def test_what_answers_where_label_studio_should(server: Answers, body: str, status: int, state: str, said: str) -> None:
    server.put("/api/version", body, status)
    found = next(server_checks.server(Settings(label_studio_url=server.url)))
    assert found.state == state and said in found.text
    assert (found.command == "") == (state == "ok")


def test_nobody_answers() -> None:
    (found,) = server_checks.server(Settings(label_studio_url="http://127.0.0.1:9"))
    assert found.state == "fail" and "ConnectError" in found.text
    (found,) = server_checks.backend(Settings(backend_url="http://127.0.0.1:9"))
    assert (found.state, found.command) == ("fail", "galaxyloop serve --port 9")
    (found,) = server_checks.public_address(Settings(public_url="http://127.0.0.1:9"))
    assert found.state == "fail" and "no backend at" in found.text


@pytest.mark.parametrize(
    ("alive", "health", "state", "said"),
    [
        ('{"database": true}', 200, "ok", "answers at"),
        ('{"database": false}', 200, "fail", "does not reach its database"),
        ('{"database": true}', 401, "fail", "another GALAXYLOOP_BACKEND_PASSWORD"),
        ('{"status": "UP"}', 200, "fail", "is no backend"),
        ("hello", 200, "fail", "does not answer"),
    ],
)
def test_what_answers_where_the_backend_should(server: Answers, alive: str, health: int, state: str, said: str) -> None:
    server.put("/livez", alive)
    server.put("/health", "{}", health)
    (found,) = server_checks.backend(Settings(backend_url=server.url))
    assert found.state == state and said in found.text
    (seen,) = server_checks.public_address(Settings(public_url=server.url))
    assert (seen.state == "ok") == ("database" in alive)
    if seen.state == "ok":
        assert "for browsers on the backend's own machine" in seen.text


# One campaign


@dataclass
class Seen:
    """Label Studio as far as the checks of one campaign ask it."""

    hooks: list[Any] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)
    task: dict[str, Any] | None = None
    error: LabelStudioError | None = None
    url: str = "http://label-studio"

    def project(self, project: int) -> Any:
        if self.error is not None:
            raise self.error
        return SimpleNamespace(id=project, tasks=10, annotations=3)

    def webhooks(self, _: int) -> list[Any]:
        return self.hooks

    def call(self, *_: object, **__: object) -> list[dict[str, Any]]:
        return self.rows

    def data_manager(self, *_: object, **__: object) -> Iterator[dict[str, Any]]:
        return iter([] if self.task is None else [self.task])


Checked = Callable[[Seen], CampaignChecks]


@pytest.fixture
def checked(database: Database, campaign: Campaign, tmp_path: Path, server: Answers) -> Checked:
    values = {
        "secret": "hush",
        "store": tmp_path / "store",
        "public_url": server.url,
        "backend_url": "http://backend:9090",
    }
    settings = Settings.model_validate(values)
    return lambda seen: CampaignChecks(settings, database, seen, campaign)  # type: ignore[arg-type]


def hook(settings: Settings, **other: Any) -> Any:
    """A webhook as it should be, but for what is given."""
    whole = {
        "url": f"{settings.backend_url}/webhook",
        "headers": {signing.SECRET_HEADER: signing.webhook_secret(settings)},
        "is_active": True,
        "send_payload": True,
        "send_for_all_actions": False,
        "actions": list(WEBHOOK_ACTIONS),
    }
    return SimpleNamespace(**(whole | other))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ([{}], ""),
        ([{"send_for_all_actions": True, "actions": None}], ""),
        ([{}, {"url": "http://another/webhook", "headers": None}], ""),
        ([], "0 go to"),
        ([{}, {}], "2 go to"),
        ([{"headers": None}], "it has no secret"),
        ([{"headers": {signing.SECRET_HEADER: "guess"}}], "its secret is another"),
        ([{"is_active": False}], "switched off"),
        ([{"send_payload": False}], "sends no payload"),
        ([{"actions": list(WEBHOOK_ACTIONS)[1:]}], "leaves events out"),
    ],
)
def test_one_webhook_with_its_secret_is_wanted(checked: Checked, changes: list[dict[str, Any]], said: str) -> None:
    seen = Seen()
    one = checked(seen)
    seen.hooks = [hook(one.settings, **other) for other in changes]
    (found,) = one.webhook()
    assert (found.state == "fail") == bool(said) and said in found.text
    assert (found.mend is not None) == bool(said) and found.campaign == "Test"


@pytest.mark.parametrize(
    ("rows", "found"),
    [
        ([("http://backend:9090", "Galaxy Loop Test", "CO")], [("ok", "reaches")]),
        ([("http://backend:9090/", "Galaxy Loop Test", "CO")], [("ok", "reaches")]),
        ([], [("fail", "there is none")]),
        ([("http://backend:9090", "Galaxy Loop Test", "ER")], [("fail", "does not serve")]),
        (
            [("http://backend:9090", "Galaxy Loop Test", "CO"), ("http://old:9090", "Galaxy Loop Test", "CO")],
            [("fail", "http://backend:9090, http://old:9090")],
        ),
        (
            [("http://backend:9090", "Galaxy Loop Test", "CO"), ("http://sam:1", "Segment anything", "CO")],
            [("ok", "reaches"), ("warn", "http://sam:1")],
        ),
        ([("http://sam:1", None, "CO")], [("fail", "there is none"), ("warn", "http://sam:1")]),
    ],
)
def test_one_backend_is_wanted(
    checked: Checked, rows: list[tuple[str, str | None, str]], found: list[tuple[str, str]]
) -> None:
    seen = Seen(rows=[{"id": n, "url": url, "title": title, "state": s} for n, (url, title, s) in enumerate(rows)])
    told = list(checked(seen).connection())
    assert [one.state for one in told] == [state for state, _ in found]
    assert all(words in one.text for one, (_, words) in zip(told, found, strict=True))


@pytest.mark.parametrize("status", [403, 404])
def test_a_project_that_is_gone_is_one_to_close_and_other_errors_are_raised(checked: Checked, status: int) -> None:
    (found,) = checked(Seen(error=LabelStudioError("gone", status=status))).project()
    assert (found.state, found.command) == ("fail", "galaxyloop campaign close Test")
    (found,) = checked(Seen()).project()
    assert found.text == "7, 10 tasks, 3 annotations"
    with pytest.raises(LabelStudioError):
        list(checked(Seen(error=LabelStudioError("broken", status=500))).project())


def test_pictures_must_be_where_tasks_name_them(checked: Checked, server: Answers) -> None:
    address = f"{server.url}/stamps/7/101.png"

    def said(image: str) -> tuple[str, str]:
        (found,) = checked(Seen(task={"id": 101, "data": {"image": image}})).pictures()
        return found.state, found.text

    assert list(checked(Seen()).pictures()) == []
    server.put("/stamps/7/101.png", "a picture", kind="image/png")
    assert said(address) == ("ok", "are served where tasks name them")
    server.put("/stamps/7/101.png", "<html>", kind="text/html")
    assert said(address)[0] == "fail" and "status 200" in said(address)[1]
    for status in (401, 403):
        server.put("/stamps/7/101.png", "no", status)
        assert "GALAXYLOOP_SECRET is another" in said(address)[1]
    assert said("http://before:9090/stamps/7/101.png") == (
        "fail",
        f"tasks name http://before:9090, browsers are sent to {server.url}",
    )


def test_browsers_of_the_backends_own_machine_are_answered_by_the_backend(server: Answers, checked: Checked) -> None:
    # as in a container of commands, whose localhost is not that of browsers
    server.put("/livez", '{"database": true}')
    server.put("/stamps/1", "drawn", kind="image/png")
    elsewhere = server.url.replace("127.0.0.1", "127.1")
    settings = Settings(public_url="http://localhost:9", backend_url=elsewhere)
    (found,) = server_checks.public_address(settings)
    assert found.state == "ok" and "on the backend's own machine" in found.text
    (found,) = server_checks.public_address(Settings(public_url="http://127.1:9", backend_url=elsewhere))
    assert found.state == "fail", "no loopback address"
    one = replace(checked(Seen(task={"data": {"image": "http://localhost:9/stamps/1"}})), settings=settings)
    (found,) = one.pictures()
    assert (found.state, found.text) == ("ok", "are served where tasks name them")


def test_files_of_a_campaign_that_are_gone_are_each_named(checked: Checked, campaign: Campaign, tmp_path: Path) -> None:
    one = checked(Seen())
    (missing,) = one.files()
    assert missing.state == "fail" and f"lacks the checkpoint {campaign.encoder}" in missing.text
    folder = encoder_folder(one.settings.store_folder, campaign.encoder)
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"weights")
    assert [found.state for found in one.files()] == ["ok"]
    (tmp_path / "sky.npy").rename(tmp_path / "elsewhere.npy")
    (tmp_path / "sky.h5").rename(tmp_path / "elsewhere.h5")
    told = list(one.files())
    assert [found.state for found in told] == ["fail", "fail"]
    assert told[0].command.startswith("cp /from/a/copy") and told[1].command.startswith("galaxyloop embed")


def test_what_a_campaign_says_of_itself_is_passed_on(checked: Checked, database: Database, campaign: Campaign) -> None:
    one = checked(Seen())
    assert list(one.notices()) == []
    with database.transaction() as connection:
        note(connection, campaign.id, "push", "Label Studio is away.")
        note(connection, campaign.id, "starting labels", "Two were left out.")
        query(connection, "put_set_aside", campaign=campaign.id, annotation=4, task=101, reason="odd")
    told = [(found.check, found.state, found.text) for found in one.notices()]
    assert told == [
        ("notice", "warn", "push: Label Studio is away."),
        ("labels", "warn", "1 annotation or webhook set aside until mended"),
    ]


def test_mending_goes_on_past_what_cannot_be_mended() -> None:
    done: list[str] = []

    def refuse() -> None:
        raise GalaxyLoopError("It is locked.", "Wait.")

    def broken() -> None:
        raise psycopg.OperationalError("gone")

    given = [
        mendable("first", "wrong", refuse, "rings"),
        mendable("second", "wrong", broken),
        ok("third", "fine"),
        Finding("fourth", "warn", "odd", FIX, mend=lambda: done.append("a warning")),
        mendable("fifth", "wrong", lambda: done.append("fifth")),
    ]
    left = examine.mended(given, lambda _: nullcontext(lambda *_: None))
    assert done == ["fifth"]
    assert [(one.check, one.campaign, one.mend) for one in left] == [("first", "rings", None), ("second", "", None)]
    assert [one.text.split(": ")[0] for one in left] == ["could not be mended"] * 2
