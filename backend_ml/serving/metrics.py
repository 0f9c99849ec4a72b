"""Figures for Prometheus: what this process answered, and how campaigns, jobs and workers stand in the database.

Each backend process counts its own requests, so each is a target of its own; what is read from the database is the same
from all of them, and needs no figures of the workers' own.
"""

import time
from collections.abc import Iterable, Iterator
from typing import Any

from prometheus_client import CollectorRegistry, Histogram, ProcessCollector, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from psycopg.rows import DictRow
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from backend_ml.store.database import Connection, Database, DatabaseError, query

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
OTHER = "other"  # of a method or a path that a client made up: each would be a series for ever


class Metrics:
    """The figures of one backend process.

    Parameters
    ----------
    database : Database
        Asked anew at each look.
    """

    def __init__(self, database: Database) -> None:
        self._registry = CollectorRegistry()
        self._requests = Histogram(
            "galaxyloop_request_seconds",
            "Time from a request's head to the end of its answer.",
            ("method", "route", "status"),
            buckets=SECONDS,
            registry=self._registry,
        )
        ProcessCollector(registry=self._registry)
        self._registry.register(InDatabase(database))

    def answered(self, scope: Scope, status: int, seconds: float) -> None:
        """Count a request that was answered."""
        route = getattr(scope.get("route"), "path", OTHER)
        method = scope["method"] if scope["method"] in METHODS else OTHER
        self._requests.labels(method, route, str(status)).observe(seconds)

    def text(self) -> bytes:
        """All figures in Prometheus' text format."""
        return generate_latest(self._registry)


class CountedRequests:
    """Counts and times the requests of an app by route and status.

    Parameters
    ----------
    app : ASGIApp
    metrics : Metrics
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI says."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        # 499, as proxies write it, where the client went away before its answer began
        started, status = time.perf_counter(), 499

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noted)
        finally:
            self._metrics.answered(scope, status, time.perf_counter() - started)


class InDatabase(Collector):
    """What the campaign database tells; of one that is away, only that it is."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def describe(self) -> Iterable[Metric]:
        """Nothing, so that no query is made before somebody looks."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Families of figures, all of one moment."""
        try:
            with self._database.transaction() as connection:
                families = [*_of_campaigns(connection), *_of_work(connection)]
            reached = 1
        except DatabaseError:
            families, reached = [], 0
        yield GaugeMetricFamily("galaxyloop_database_up", "Whether the database is reached.", value=reached)
        yield from families


def _of_campaigns(connection: Connection) -> list[Metric]:
    labels = query(connection, "label_counts")
    inbox = query(connection, "inbox_ages")
    served = query(connection, "served_versions")
    pushes = query(connection, "push_ages")
    named, of_event = ("campaign",), ("campaign", "action", "source")
    return [
        _counts("label_events", "Label events, by what was done and where it came from.", labels, of_event, "events"),
        _gauges("inbox_waiting", "Webhooks that wait to be taken in.", inbox, named, "waiting"),
        _gauges("inbox_oldest_seconds", "Age of the oldest of these.", inbox, named, "oldest"),
        _gauges("inbox_failed", "Webhooks that could not be read.", inbox, named, "failed"),
        _gauges("annotations_set_aside", "Annotations that could not be read.", served, named, "aside"),
        _gauges("notices", "What a team should know; `campaign status` says it.", served, named, "notices"),
        _gauges("active_version", "1 for the version that serves.", served, ("campaign", "version"), "serves"),
        _gauges("active_version_labels", "Labels that the serving version learned from.", served, named, "labels"),
        _gauges("audit_labels", "Blind labels that the serving version was judged on.", served, named, "audit_labels"),
        _gauges("audit_accuracy", "Accuracy of the serving version on these.", served, named, "audit_accuracy"),
        _gauges("reconciled_age_seconds", "Since the last look at Label Studio.", served, named, "reconciled"),
        _counts("pushes", "Queues that were pushed to Label Studio.", pushes, named, "pushes"),
        _gauges("push_age_seconds", "Age of the queue in Label Studio.", pushes, named, "age"),
    ]  # fmt: skip


def _of_work(connection: Connection) -> list[Metric]:
    runs = query(connection, "run_counts")
    jobs = query(connection, "job_ages")
    workers = query(connection, "worker_ages")
    of_run, of_job = ("campaign", "job", "outcome"), ("queue", "task", "status")
    return [
        _counts("learning_runs", "Runs of learning, by what came of them.", runs, of_run, "runs"),
        _counts("learning_seconds", "Seconds that these took.", runs, of_run, "seconds"),
        _gauges("learning_last_seconds", "Seconds that the newest of these took.", runs, of_run, "latest"),
        _gauges("jobs", "Jobs that wait, go on, or have failed for good.", jobs, of_job, "jobs"),
        _gauges("jobs_oldest_seconds", "How long the oldest of these has been due.", jobs, of_job, "oldest"),
        _gauges("worker_heartbeat_age_seconds", "Since a worker's last sign of life.", workers, ("worker",), "age"),
    ]  # fmt: skip


def _gauges(name: str, said: str, rows: list[DictRow], labels: tuple[str, ...], value: str) -> Metric:
    return _filled(GaugeMetricFamily(f"galaxyloop_{name}", said, labels=labels), rows, labels, value)


def _counts(name: str, said: str, rows: list[DictRow], labels: tuple[str, ...], value: str) -> Metric:
    return _filled(CounterMetricFamily(f"galaxyloop_{name}", said, labels=labels), rows, labels, value)


def _filled(family: Any, rows: list[DictRow], labels: tuple[str, ...], value: str) -> Metric:
    """A family with a figure of each row that has one; where there is none, nothing is said of it."""
    for row in rows:
        if row[value] is not None:
            family.add_metric([str(row[label]) for label in labels], float(row[value]))
    return family  # type: ignore[no-any-return]
