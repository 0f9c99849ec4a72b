"""Metrics of a real database, and the dashboard that shows them."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families

from backend_ml import signing
from backend_ml.app import create_app
from backend_ml.campaign.defer import defer_learning
from backend_ml.serving.metrics import InDatabase
from backend_ml.store.database import Database
from backend_ml.store.records import Campaign
from tests.backend_ml.backend_client import BASIC, SETTINGS, predict, problem, recorded
from tests.backend_ml.conftest import PROJECT
from tests.backend_ml.webhooks import created, send
from tests.conftest import REPOSITORY

TOKEN = "only to look"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
SECRET = {signing.SECRET_HEADER: signing.webhook_secret(SETTINGS)}
Figures = dict[tuple[str, frozenset[tuple[str, str]]], float]


@pytest.fixture
def client(database: Database, campaign: Campaign) -> Iterator[TestClient]:
    settings = SETTINGS.model_copy(update={"metrics_token": type(SETTINGS.secret)(TOKEN)})
    with TestClient(create_app(settings, database.url), raise_server_exceptions=False) as opened:
        yield opened


def figures(client: TestClient) -> Figures:
    answer = client.get("/metrics", headers=BEARER)
    assert answer.status_code == 200 and answer.headers["content-type"].startswith("text/plain")
    families = text_string_to_metric_families(answer.text)
    return {(one.name, frozenset(one.labels.items())): one.value for family in families for one in family.samples}


def figure(client: TestClient, name: str, **labels: str) -> float | None:
    return figures(client).get((f"galaxyloop_{name}", frozenset(labels.items())))


def test_it_takes_the_credentials_or_its_own_token_which_opens_nothing_else(client: TestClient) -> None:
    for headers in ({}, SECRET, {"Authorization": "Bearer "}, {"Authorization": "Bearer word"}):
        problem(client.get("/metrics", headers=headers), 401, "unauthorised")
    assert client.get("/metrics", headers=BASIC).status_code == 200
    assert client.get("/metrics", headers=BEARER).status_code == 200
    for path in ("/health", "/versions"):
        problem(client.get(path, headers=BEARER), 401, "unauthorised")


def test_without_a_token_an_empty_one_opens_nothing(database: Database, campaign: Campaign) -> None:
    with TestClient(create_app(SETTINGS, database.url)) as opened:
        problem(opened.get("/metrics", headers={"Authorization": "Bearer "}), 401, "unauthorised")


def test_requests_are_counted_by_route_and_not_by_what_a_client_makes_up(client: TestClient) -> None:
    client.get("/versions", headers=BASIC)
    client.get("/versions", headers=BASIC)
    client.get("/versions")
    for row in range(3):
        client.get(f"/stamps/sky/{row}.png?campaign=1&key=x")
        client.get(f"/made/up/{row}")
        client.request(f"MADEUP{row}", "/versions", headers=BASIC)

    def count(method: str, route: str, status: int) -> float | None:
        return figure(client, "request_seconds_count", method=method, route=route, status=str(status))

    assert count("GET", "/versions", 200) == 2
    assert count("GET", "/stamps/{stamp_set}/{stamp_id:row}.png", 401) == 3
    assert count("GET", "other", 404) == 3
    assert count("GET", "other", 401) == 1, "a stranger is answered before any route is asked"
    assert not [labels for _, labels in figures(client) if "MADEUP" in str(labels)]


def test_campaigns_are_counted_as_the_database_has_them(
    client: TestClient, database: Database, campaign: Campaign, head: str
) -> None:
    assert figure(client, "inbox_oldest_seconds", campaign="Test") == 0
    send(database, created(1, 101, "spiral"), created(2, 102, "edge-on disc"), created(3, 103, None, skipped=True))
    assert client.post("/webhook", headers=SECRET, json=recorded("annotation_created")).status_code == 201
    client.post("/webhook", headers=SECRET, json={"action": "ANNOTATION_CREATED", "project": {"id": PROJECT}})
    with database.transaction() as connection:
        defer_learning(connection, campaign, asked=True, seconds=3600)
    labelled = figure(client, "label_events_total", campaign="Test", action="labelled", source="webhook")
    started = figure(client, "label_events_total", campaign="Test", action="imported", source="snapshot")
    assert (labelled, started) == (2, 5)
    assert figure(client, "inbox_waiting", campaign="Test") == 2
    assert (figure(client, "inbox_oldest_seconds", campaign="Test") or 0) > 0
    assert figure(client, "active_version", campaign="Test", version=head) == 1
    assert figure(client, "learning_runs_total", campaign="Test", job="learn", outcome="promoted") == 1
    assert figure(client, "jobs", queue="default", task="campaign:ingest", status="todo") == 1
    assert figure(client, "jobs_oldest_seconds", queue="default", task="campaign:learn", status="todo") == 0
    assert figure(client, "audit_accuracy", campaign="Test") is None, "nobody labelled the audit slice"


def test_a_closed_campaigns_queue_does_not_age(client: TestClient, database: Database, campaign: Campaign) -> None:
    pushed = {"campaign": campaign.id, "source": "push", "policy": "margin", "seed": 0, "batch": 1, "candidates": 1}
    none = {"last_event": 0, "version": None, "person": None, "annotator": None, "served": True}
    database.rows("put_selection", **pushed, **none)
    assert figure(client, "pushes_total", campaign="Test") == 1
    assert (figure(client, "push_age_seconds", campaign="Test") or 0) > 0
    database.rows("close_campaign", campaign=campaign.id)
    assert figure(client, "push_age_seconds", campaign="Test") is None


def test_a_database_that_is_away_is_said(client: TestClient) -> None:
    assert figure(client, "database_up") == 1
    client.app.state.backend.database.close()  # type: ignore[attr-defined]
    found = figures(client)
    assert found["galaxyloop_database_up", frozenset()] == 0
    assert not [name for name, _ in found if name.startswith("galaxyloop_jobs")]


def expressions(part: Any) -> Iterator[str]:
    """Every expression of a dashboard."""
    if isinstance(part, dict):
        yield from ([part["expr"]] if "expr" in part else [])
        part = list(part.values())
    if isinstance(part, list):
        for one in part:
            yield from expressions(one)


def test_the_dashboard_asks_for_figures_that_are_there(client: TestClient, head: str) -> None:
    predict(client, {"id": 101, "data": {"stamp_set": "sky", "stamp_id": 0}})
    text = client.get("/metrics", headers=BEARER).text
    offered = {family.name for family in text_string_to_metric_families(text)}
    board = json.loads((REPOSITORY / "deploy/grafana/dashboard.json").read_text())
    asked = {name for one in expressions(board) for name in re.findall(r"\b(?:galaxyloop|process)_\w+", one)}
    assert len(asked) > 15
    bare = {re.sub(r"_(total|count|sum|bucket)$", "", name) for name in asked}
    assert bare - {re.sub(r"_total$", "", name) for name in offered} == set()
    labels = {name for one in expressions(board) for name in re.findall(r"by \(([\w, ]+)\)", one)}
    assert {"campaign", "route, le"} <= labels


def labels_of(client: TestClient, database: Database) -> dict[str, set[str]]:
    """The labels that Prometheus keeps of each figure: its own come first, and rename what has their names."""
    own = {"job", "instance"}
    found = {family.name: set(family._labelnames) for family in InDatabase(database).collect()}  # type: ignore[attr-defined]
    for family in text_string_to_metric_families(client.get("/metrics", headers=BEARER).text):
        found.setdefault(family.name, set()).update(*(sample.labels for sample in family.samples))
    return {name: {f"exported_{one}" if one in own else one for one in labels} | own for name, labels in found.items()}


def test_what_is_asked_of_prometheus_names_labels_that_are_there(
    client: TestClient, database: Database, head: str
) -> None:
    predict(client, {"id": 101, "data": {"stamp_set": "sky", "stamp_id": 0}})
    known = labels_of(client, database)
    board = json.loads((REPOSITORY / "deploy/grafana/dashboard.json").read_text())
    targets = [target for panel in board["panels"] for target in panel.get("targets", ())]
    asked = [(target["expr"], target.get("legendFormat", "")) for target in targets]
    page = (REPOSITORY / "docs/howto/monitor.md").read_text()
    asked += [(expr, "") for expr in re.findall(r"`([^`]*galaxyloop_[^`]*)`", page)]
    assert len(asked) > 25
    for expr, legend in asked:
        used = set(re.findall(r'(\w+)(?:=~|!~|!=|=)"', expr)) | set(re.findall(r"\{\{(\w+)\}\}", legend))
        used |= {name for some in re.findall(r"\b(?:by|on) \(([\w, ]+)\)", expr) for name in some.split(", ")}
        for name in re.findall(r"\b(?:galaxyloop|process)_\w+", expr):
            labels = known.get(name) or known[re.sub(r"_(total|count|sum|bucket)$", "", name)]
            assert used <= labels, (expr, legend)


def test_grafana_takes_the_files_that_are_given_to_it() -> None:
    # grafana.com/docs/grafana/latest/administration/provisioning
    folder = REPOSITORY / "deploy/grafana"
    sources, dashboards = (yaml.safe_load((folder / name).read_text()) for name in ("source.yaml", "dashboards.yaml"))
    assert sources["apiVersion"] == dashboards["apiVersion"] == 1
    (source,), (provider,) = sources["datasources"], dashboards["providers"]
    assert source.keys() >= {"name", "type", "url"} and source["type"] == "prometheus" and source["isDefault"] is True
    assert provider.keys() >= {"name", "type", "options"} and provider["type"] == "file"
    board = json.loads((folder / "dashboard.json").read_text())
    (variable,) = board["templating"]["list"]
    assert (variable["type"], variable["query"]) == ("datasource", source["type"])
    panels = board["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    for panel in (one for one in panels if one["type"] != "row"):
        assert panel["datasource"] == {"type": source["type"], "uid": f"${{{variable['name']}}}"}
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"]) > 0
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
    places = [(one["gridPos"]["x"], one["gridPos"]["y"]) for one in panels]
    assert len(set(places)) == len(places), "none lies on another"


def test_the_job_for_prometheus_asks_with_the_token() -> None:
    (job,) = yaml.safe_load((REPOSITORY / "deploy/prometheus.yml").read_text())["scrape_configs"]
    assert job["authorization"] and "metrics_path" not in job, "/metrics is Prometheus' own"
