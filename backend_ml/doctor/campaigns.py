"""Checks of one campaign: its project, the way to the backend and back, the order it is served in, its files."""

import shlex
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

import httpx

from backend_ml import signing
from backend_ml.buckets import bring, here
from backend_ml.campaign.lifecycle import connect_backend, connecting, secure_webhook
from backend_ml.doctor.findings import Finding, mendable, ok
from backend_ml.doctor.label_studio import as_a_browser, http
from backend_ml.kinds.installed import kind_of
from backend_ml.label_studio.client import WEBHOOK_ACTIONS, LabelStudio
from backend_ml.label_studio.connection import LabelStudioError
from backend_ml.label_studio.predictions import rows_of_version
from backend_ml.queue import order, push
from backend_ml.report.words import counted
from backend_ml.settings import Settings
from backend_ml.store import versions
from backend_ml.store.database import Database
from backend_ml.store.encoders import encoder_folder
from backend_ml.store.features import FeatureStore
from backend_ml.store.records import Campaign, ModelVersion, QueueTask
from lvm_training.errors import GalaxyLoopError

CONNECTED = "CO"
COUNTED = 5000  # tasks whose predictions are counted over the API, which sends them whole
OURS = "Galaxy Loop "  # begins the title of each backend that a campaign connects


@dataclass
class CampaignChecks:
    """What is looked at of one campaign, and what mends it.

    Each check gives its findings; what it raises is a finding too, by `Examination.check`.
    """

    settings: Settings
    database: Database
    label_studio: LabelStudio
    campaign: Campaign

    @property
    def quoted(self) -> str:
        """The campaign's name for a shell."""
        return shlex.quote(self.campaign.name)

    @cached_property
    def active(self) -> ModelVersion | None:
        """The version that serves."""
        with self.database.transaction() as connection:
            return versions.active_version(connection, self.campaign)

    @cached_property
    def waiting(self) -> list[QueueTask]:
        """The tasks that wait for a label."""
        with self.database.transaction() as connection:
            return push.waiting_tasks(connection, self.campaign)

    def fine(self, check: str, text: str) -> Finding:
        """A check that found all well."""
        return ok(check, text, self.campaign.name)

    def fail(self, check: str, text: str, command: str) -> Finding:
        """A failure that a person mends."""
        return Finding(check, "fail", text, command, self.campaign.name)

    def warn(self, check: str, text: str, command: str) -> Finding:
        """What people should know."""
        return Finding(check, "warn", text, command, self.campaign.name)

    def project(self) -> Iterator[Finding]:
        """Whether the token's user sees the project."""
        try:
            found = self.label_studio.project(self.campaign.project_id)
        except LabelStudioError as error:
            if error.status not in (httpx.codes.NOT_FOUND, httpx.codes.FORBIDDEN):
                raise
            text = f"project {self.campaign.project} is gone, or another organisation's"
            yield self.fail("project", text, f"galaxyloop campaign close {self.quoted}")
            return
        yield self.fine("project", f"{found.id}, {found.tasks} tasks, {found.annotations} annotations")

    def connection(self) -> Iterator[Finding]:
        """Whether the backend is connected once, and Label Studio reaches it: listing backends makes it try."""
        url, check = self.settings.backend_url, "connection"
        rows: list[dict[str, Any]] = self.label_studio.call("GET", "api/ml/", project=self.campaign.project_id)
        ours = [row for row in rows if row["url"].rstrip("/") == url]
        former = [row for row in rows if row not in ours and (row["title"] or "").startswith(OURS)]
        if not ours or len(ours) + len(former) > 1:
            seen = ", ".join(row["url"] for row in (*ours, *former)) or "none"
            text = f"one backend is wanted, {url}; there is {seen}"
            yield mendable(check, text, lambda: self._connect(former, ours[1:]), self.campaign.name)
        elif ours[0]["state"] != CONNECTED:
            why = str(ours[0].get("error_message") or "it does not answer Label Studio, or refuses its password")
            text = f"{url} does not serve the project: {why.strip()[-300:]}"
            yield mendable(check, text, self._connect, self.campaign.name)
        else:
            yield self.fine(check, f"Label Studio reaches {url}")
        for row in rows:
            if row not in ours and row not in former:
                text = f"another backend answers too, or instead: {row['url']}"
                yield self.warn(check, text, f"{self.label_studio.url}/projects/{self.campaign.project}/settings/ml")

    def _connect(self, former: Sequence[dict[str, Any]] = (), doubles: Sequence[dict[str, Any]] = ()) -> None:
        with connecting(self.database, self.campaign) as campaign:
            for row in former:
                self.label_studio.detach(campaign.project_id, row["url"])
            for row in doubles:
                self.label_studio.sdk.ml.delete(row["id"])
            connect_backend(self.settings, self.label_studio, campaign)

    def webhook(self) -> Iterator[Finding]:
        """Whether one webhook brings the events, with the secret."""
        url = f"{self.settings.backend_url}/webhook"
        hooks = [hook for hook in self.label_studio.webhooks(self.campaign.project_id) if hook.url == url]
        wrong = []
        if len(hooks) != 1:
            wrong.append(f"{len(hooks)} go to {url}, one is wanted")
        for hook in hooks[:1]:
            secret = (hook.headers or {}).get(signing.SECRET_HEADER)
            if not signing.has_secret(str(secret or ""), self.settings):
                wrong.append("it has no secret" if secret is None else "its secret is another")
            if not hook.is_active or not hook.send_payload:
                wrong.append("it is switched off, or sends no payload")
            if not hook.send_for_all_actions and set(WEBHOOK_ACTIONS) - set(hook.actions or ()):
                wrong.append("it leaves events out")
        if wrong:
            yield mendable("webhook", "; ".join(wrong), self._secure, self.campaign.name)
        else:
            yield self.fine("webhook", "one, with its secret")

    def _secure(self) -> None:
        with connecting(self.database, self.campaign) as campaign:
            secure_webhook(self.settings, self.label_studio, campaign)

    def order(self) -> Iterator[Finding]:
        """Whether Label Studio serves the ranking, and not tasks at random."""
        if self.active is None:
            yield self.warn("order", "no model serves yet", f"galaxyloop model learn {self.quoted}")
            return
        version = self.active.version
        seen = order.look(self.label_studio, self.campaign, version)
        found = order.faults(seen, self.campaign, version, len(self.waiting))
        mends = {"set": self._keep_order, "push": self._push}
        for fault in found:
            if fault.mended_by:
                mend = mends[fault.mended_by]
                yield mendable("order", fault.message, mend, self.campaign.name)
            elif fault.about == "overlap":
                yield mendable("order", fault.message, self._set_overlap, self.campaign.name)
            elif fault.about == "members":
                gone = f"DELETE FROM projects_projectmember WHERE project_id = {self.campaign.project:d}"  # noqa: S608
                yield self.fail("order", fault.message, f'psql "$GALAXYLOOP_LABEL_STUDIO_DATABASE_URL" -c "{gone}"')
            else:
                yield self.warn("order", fault.message, f"galaxyloop campaign status {self.quoted}")
        if not found:
            yield self.fine("order", f"by {version}, {seen.ranked} of {len(self.waiting)} waiting")

    def _keep_order(self) -> None:
        order.keep(self.database, self.label_studio, self.campaign)

    def _push(self) -> None:
        store = self.settings.store_folder
        push.push(self.database, self.label_studio, self.campaign, store=store, top=None)

    def _set_overlap(self) -> None:
        with connecting(self.database, self.campaign) as campaign:
            self.label_studio.update_project(campaign.project_id, maximum_annotations=campaign.overlap)

    def predictions(self) -> Iterator[Finding]:
        """Whether each waiting task has one prediction of the version that serves: of two the mean score counts."""
        if self.active is None:
            return
        tasks = {task.task_id for task in self.waiting}
        counts = self._counts(tasks, self.active.version)
        double = sum(count > 1 for count in counts.values())
        if double:
            text = f"{double} waiting tasks have several of {self.active.version}"
            yield mendable("predictions", text, self._push, self.campaign.name)
        else:
            yield self.fine("predictions", f"{len(counts)} of {len(tasks)} waiting tasks have theirs, none two")

    def _counts(self, tasks: set[int], version: str) -> dict[int, int]:
        url, project = self.label_studio.database_url, self.campaign.project_id
        if url:
            return rows_of_version(url, project, sorted(tasks), version)
        if len(tasks) > COUNTED:
            return {}
        rows = self.label_studio.predictions(project)
        return dict(Counter(row.task for row in rows if row.model_version == version and row.task in tasks))

    def pictures(self) -> Iterator[Finding]:
        """Whether browsers get the picture that a task names."""
        check, public = "pictures", self.settings.public_url
        task = next(self.label_studio.data_manager(self.campaign.project_id, [], 1, fields="all"), None)
        if task is None:
            return
        address = str(task["data"].get("image") or "")
        if not address.startswith(f"{public}/"):
            former = address.partition("/stamps/")[0]
            text = f"tasks name {former}, browsers are sent to {public}"
            yield mendable(check, text, lambda: self._move(former, public), self.campaign.name)
            return
        with http() as client:
            try:
                answer = as_a_browser(client, self.settings, address)
            except httpx.HTTPError as error:
                yield self.fail(check, f"not served ({type(error).__name__})", "galaxyloop serve")
                return
        if answer.is_success and answer.headers.get("Content-Type", "").startswith("image/"):
            yield self.fine(check, "are served where tasks name them")
        elif answer.status_code in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
            text = "the backend refuses links that this campaign's tasks have: its GALAXYLOOP_SECRET is another"
            yield self.fail(check, text, "export GALAXYLOOP_SECRET=...  # of before, and restart the backend")
        else:
            yield self.fail(check, f"status {answer.status_code}: {answer.text[:120]}", "galaxyloop serve")

    def _move(self, former: str, public: str) -> None:
        """Give each task its addresses anew: one small request a task."""
        for task in list(self.label_studio.data_manager(self.campaign.project_id, [], fields="all")):
            data = {
                name: value.replace(former, public) if isinstance(value, str) and urlsplit(former).netloc else value
                for name, value in task["data"].items()
            }
            self.label_studio.call("PATCH", f"api/tasks/{task['id']}/", {"data": data})

    def files(self) -> Iterator[Finding]:
        """Whether stamps, features, encoder and detector of the campaign are where it looks for them."""
        campaign, store = self.campaign, self.settings.store_folder
        with self.database.transaction() as connection:
            features = FeatureStore.from_database(connection, campaign.encoder)
        (row,) = [one for one in self.database.rows("stamp_sets") if one["name"] == campaign.stamp_set]
        stamps, encoder = bring(here(row["path"])), encoder_folder(store, campaign.encoder)
        lost = False
        if not stamps.is_file():
            lost = True
            yield self.fail("files", f"the stamp set {stamps} is gone", f"cp /from/a/copy {shlex.quote(str(stamps))}")
        detector = self.active.detector if self.active is not None else None
        for folder in (encoder, *((kind_of(campaign).model_folder(store, detector),) if detector else ())):
            if not (folder / "model.safetensors").is_file():
                lost = True
                text = f"the store lacks the checkpoint {folder.name}"
                yield self.fail("files", text, f"cp -r /from/a/copy {shlex.quote(str(folder))}")
        try:
            features.shard(campaign.stamp_set)
        except GalaxyLoopError as error:
            lost = True
            command = f"galaxyloop embed {shlex.quote(str(stamps))} --encoder {shlex.quote(str(encoder))}"
            yield self.fail("files", error.message, command)
        if not lost:
            yield self.fine("files", "stamps, features and models are there")

    def notices(self) -> Iterator[Finding]:
        """What the campaign itself says is not as it should be."""
        command = f"galaxyloop campaign status {self.quoted}"
        for row in self.database.rows("notices", campaign=self.campaign.id):
            if row["source"] != "starting labels":
                yield self.warn("notice", f"{row['source']}: {row['text']}", command)
        aside = self.database.rows("all_set_aside", campaign=self.campaign.id, project=self.campaign.project)
        if aside:
            text = f"{counted(len(aside), 'annotation or webhook', 'annotations or webhooks')} set aside until mended"
            yield self.warn("labels", text, command)
