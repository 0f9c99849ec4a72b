"""The whole examination: this host, the database, Label Studio, and each campaign that is not closed."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace

import psycopg

from backend_ml.doctor import database as database_checks
from backend_ml.doctor import host
from backend_ml.doctor import label_studio as label_studio_checks
from backend_ml.doctor.campaigns import CampaignChecks
from backend_ml.doctor.findings import Examination, Finding
from backend_ml.experiments.repository import Pipeline
from backend_ml.label_studio.client import LabelStudio
from backend_ml.settings import Settings
from backend_ml.store.campaigns import all_campaigns
from backend_ml.store.database import Database
from backend_ml.store.records import Campaign
from lvm_training.errors import GalaxyLoopError
from lvm_training.progress import Steps

PATIENCE = 1.0  # seconds that Label Studio may be away; the doctor says so instead of waiting
ANSWER = 10.0  # seconds that an answer of it may take


@contextmanager
def examined(settings: Settings) -> Iterator[list[Finding]]:
    """Look at everything; what was found, of which each `mend` works as long as this context."""
    examination = Examination(settings)
    with ExitStack() as stack:
        _look_at_host(examination, settings)
        database = _database(examination, settings, stack)
        campaigns = _campaigns(database)
        label_studio = _label_studio(examination, settings, stack, campaigns)
        if database is not None and label_studio is not None:
            for campaign in campaigns:
                _look_at_campaign(examination, CampaignChecks(settings, database, label_studio, campaign))
        yield examination.findings


def mended(findings: list[Finding], steps: Steps) -> list[Finding]:
    """Do what can safely be done about each failure; what could not be done, with the reason."""
    refused = []
    for finding in findings:
        if finding.state == "fail" and finding.mend is not None:
            name = f"{finding.check} of {finding.campaign}" if finding.campaign else finding.check
            with steps(f"Mending {name}"):
                try:
                    finding.mend()
                except (GalaxyLoopError, psycopg.Error) as error:
                    refused.append(replace(finding, text=f"could not be mended: {error}", mend=None))
    return refused


def _look_at_host(examination: Examination, settings: Settings) -> None:
    examination.check("settings", lambda: host.settings_given(settings))
    examination.check("packages", host.packages)
    examination.check("disk", lambda: host.disk(settings))
    examination.check("store", lambda: host.store(settings))
    if settings.pipeline_repo is not None:
        pipeline = Pipeline(settings.pipeline_repo.absolute())
        examination.check("pipeline", lambda: host.pipeline(pipeline))


def _database(examination: Examination, settings: Settings, stack: ExitStack) -> Database | None:
    url, found = database_checks.reachable(settings)
    examination.check("database", lambda: found)
    if not url:
        return None
    database = stack.enter_context(Database(url, size=2))
    examination.check("clock", lambda: database_checks.clock("the database", database.rows("clock")[0]["now"]))
    examination.check("worker", lambda: database_checks.workers(database))
    examination.check("jobs", lambda: database_checks.failed_jobs(database))
    examination.check("inbox", lambda: database_checks.webhooks(database))
    return database


def _campaigns(database: Database | None) -> list[Campaign]:
    if database is None:
        return []
    with database.transaction() as connection:
        return [one for one in all_campaigns(connection) if not one.is_closed and one.project is not None]


def _label_studio(
    examination: Examination, settings: Settings, stack: ExitStack, campaigns: list[Campaign]
) -> LabelStudio | None:
    """Label Studio, if it answers and knows the token."""
    examination.check("backend", lambda: label_studio_checks.backend(settings))
    examination.check("public address", lambda: label_studio_checks.public_address(settings))
    examination.check("its database", lambda: label_studio_checks.database_rights(settings))
    found = examination.check("Label Studio", lambda: label_studio_checks.server(settings))
    token = settings.label_studio_token.get_secret_value()
    if found[0].state == "fail" or not token:
        return None
    url = settings.label_studio_database_url.get_secret_value()
    try:
        label_studio = stack.enter_context(LabelStudio(settings.label_studio_url, token, PATIENCE, url, timeout=ANSWER))
    except GalaxyLoopError as error:
        text = error.message
        examination.check(
            "token", lambda: [Finding("token", "fail", text, label_studio_checks.renewed(settings.label_studio_url))]
        )
        return None
    if examination.check("token", lambda: label_studio_checks.token(label_studio))[0].state == "fail":
        return None
    examination.check("switches", lambda: label_studio_checks.switches(label_studio, settings))
    examination.check("import", lambda: label_studio_checks.bulk_import(label_studio, campaigns))
    return label_studio


def _look_at_campaign(examination: Examination, checks: CampaignChecks) -> None:
    name = checks.campaign.name
    if examination.check("project", checks.project, name)[0].state == "fail":
        return
    examination.check("connection", checks.connection, name)
    examination.check("webhook", checks.webhook, name)
    examination.check("order", checks.order, name)
    examination.check("predictions", checks.predictions, name)
    examination.check("pictures", checks.pictures, name)
    examination.check("files", checks.files, name)
    examination.check("notice", checks.notices, name)
