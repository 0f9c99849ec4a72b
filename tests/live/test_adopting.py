"""Projects that people made become campaigns: uploads, local files, labels made before, nested choices."""

from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from backend_ml.adoption import adopt
from backend_ml.adoption.adopt import Adopter
from backend_ml.adoption.imported import SOURCE, take_in
from backend_ml.adoption.plan import AdoptionPlan
from backend_ml.adoption.tasks import remember
from backend_ml.campaign import lifecycle
from backend_ml.campaign.status import campaign_status, find
from backend_ml.label_studio.client import LabelStudio
from backend_ml.label_studio.regions.choices import LabelConfigError
from backend_ml.learning import encoders
from backend_ml.learning.learn import silent as silently
from backend_ml.learning.learn import stores_of
from backend_ml.local.servers import Servers as Installation
from backend_ml.queue import push
from backend_ml.queue.push import waiting_tasks
from backend_ml.store.campaigns import all_campaigns
from backend_ml.store.database import Database
from backend_ml.store.encoders import encoder_folder, keep_checkpoint
from backend_ml.store.features import FeatureStore
from backend_ml.store.records import Campaign
from backend_ml.store.registration import register
from lvm_training.errors import StampError
from lvm_training.model.encoder import Encoder
from lvm_training.stamps.rendering import Rendering
from tests.backend_ml.lenses import write_detector
from tests.installation import Servers
from tests.live.campaigns import resting, silent
from tests.live.projects import png, upload
from tests.s3_server import REGION, S3Server
from tests.tiny_encoder import write_tiny

pytestmark = pytest.mark.live

FORMS = ("disc", "blob")
CONFIG = """<View><Image name="picture" value="$photo"/>
<Choices name="sharp" toName="picture" choice="multiple"><Choice value="disc"/><Choice value="blob"/></Choices>
<Choices name="form" toName="picture" allowNested="true">
  <Choice value="Disc" alias="disc"><Choice value="barred"/><Choice value="plain"/></Choice>
  <Choice value="Blob" alias="blob"/>
</Choices><TextArea name="model" toName="picture"/></View>"""
CLASSES = ("disc > barred", "disc > plain", "blob")


def region(*path: str, name: str = "form") -> list[dict[str, Any]]:
    return [{"from_name": name, "to_name": "picture", "type": "choices", "value": {"choices": [list(path)]}}]


@pytest.fixture
def database(installation: Installation) -> Iterator[Database]:
    with installation.database() as opened:
        yield opened


@pytest.fixture
def adopter(installation: Installation, servers: Servers, database: Database) -> Adopter:
    return Adopter(installation.settings, database, servers.admin, silent)


@pytest.fixture
def encoder(tmp_path: Path) -> Path:
    return write_tiny(tmp_path / "encoder", Rendering(size=32, field=10.0))


@pytest.fixture
def project(servers: Servers, installation: Installation, database: Database) -> Iterator[int]:
    """A project that somebody made by hand, with three uploads, two of them labelled and one skipped."""
    made = servers.admin.sdk.projects.create(title="Forms of mine", label_config=CONFIG)
    number = int(made.id or 0)
    upload(servers.admin, number, *range(6))
    yield number
    with database.transaction() as connection:
        known = all_campaigns(connection)
    for campaign in known:
        if campaign.project == number and campaign.state == "open":
            lifecycle.close(installation.settings, database, servers.admin, campaign)
            database.rows("delete_campaign", project=number)
    servers.admin.delete_project(number)


def tasks_of(admin: LabelStudio, project: int) -> list[dict[str, Any]]:
    return list(admin.data_manager(project, [], fields="all", resolve_uri="false"))


def campaign_of(database: Database, name: str = "Forms of mine") -> Campaign:
    with database.transaction() as connection:
        return find(connection, name)


def test_a_project_of_uploads_and_labels_becomes_a_campaign(
    servers: Servers, database: Database, adopter: Adopter, encoder: Path, project: int, tmp_path: Path
) -> None:
    admin = servers.admin
    tasks = tasks_of(admin, project)
    assert all(task["data"]["photo"].startswith("/data/upload/") for task in tasks)
    for task, path in zip(tasks, [("disc", "barred"), ("blob",), ("disc", "barred"), ("blob",)], strict=False):
        servers.annotator.submit(task["id"], region(*path) + region("disc", name="sharp"), 1.0)
    foreign = {"task": tasks[5]["id"], "model_version": "theirs-1", "score": 0.3, "result": []}
    admin.call("POST", "api/predictions/", foreign)
    before, theirs = tasks_of(admin, project), admin.call("GET", "api/predictions/", project=project)
    raw = admin.call("GET", f"api/projects/{project}/")

    plan = AdoptionPlan(project, encoder, audit_fraction=0)
    told = adopter.look(plan).as_json()
    assert told["classes"] == list(CLASSES) and told["pictures"] == ["6 from uploaded"]
    assert [one.split(" is ")[0] for one in told["not_answered"]] == ["'sharp'", "'model'"]
    assert admin.webhooks(project) == [] and tasks_of(admin, project) == before, "a look changes nothing"

    report = adopter.adopt(plan)
    assert (report["adopted"], report["left_out"]) == (6, [])
    campaign = campaign_of(database)
    with database.transaction() as connection:
        stands = campaign_status(connection, campaign)
    assert stands["labels"] == {"disc > barred": 2, "blob": 2} and stands["waiting"] == 2
    assert stands["version"].startswith("morphology-") and stands["tasks"]["tasks"] == 6
    for name in ("title", "label_config", "expert_instruction", "maximum_annotations", "show_instruction"):
        assert admin.call("GET", f"api/projects/{project}/")[name] == raw[name]
    after = tasks_of(admin, project)
    assert [task["data"] for task in after] == [task["data"] for task in before]
    assert [len(task["annotations"]) for task in after] == [len(task["annotations"]) for task in before]
    rows = admin.call("GET", "api/predictions/", project=project)
    assert [row for row in rows if row["id"] == theirs[0]["id"]] == theirs, "predictions of others stay"
    ours = [row for row in rows if row["model_version"] == stands["version"]]
    assert {row["task"] for row in ours} == {tasks[4]["id"], tasks[5]["id"]} and all(
        0 <= row["score"] <= 1 for row in ours
    )
    (answer,) = ours[0]["result"]
    assert answer["from_name"] == "form" and " > ".join(answer["value"]["choices"][0]) in CLASSES
    assert admin.next_task(project)["id"] in {tasks[4]["id"], tasks[5]["id"]}  # type: ignore[index]
    # answered live, by the picture that was fetched
    for row in ours:
        admin.delete(f"api/predictions/{row['id']}/")
    live = admin.call("GET", f"api/tasks/{tasks[4]['id']}/")["predictions"]
    assert [row["result"][0]["value"] for row in live] == [answer["value"]] or live[0]["result"]
    # a label made now arrives by the webhook
    servers.annotator.submit(tasks[4]["id"], region("disc", "plain"), 1.0)
    assert not list(adopter._pictures.folder(project).glob("*/*.png")), "pictures are stamps now"


def test_a_project_of_several_questions_has_them_all_answered(
    servers: Servers, database: Database, adopter: Adopter, encoder: Path, project: int, tmp_path: Path
) -> None:
    admin, said = (
        servers.admin,
        '<Choices name="{}" toName="picture"><Choice value="yes"/><Choice value="no"/></Choices>',
    )
    more = f'{said.format("bar")}{said.format("ring")}<TextArea name="remark" toName="picture"/></View>'
    admin.update_project(project, label_config=CONFIG.replace("</View>", more))
    answers = [("disc", "barred"), ("blob",)] * 2
    for place, (task, path) in enumerate(zip(tasks_of(admin, project), answers, strict=False)):
        bar = [one | {"type": "choices"} for one in region(name="bar")]
        bar[0]["value"] = {"choices": ["yes" if place % 2 else "no"]}
        servers.annotator.submit(task["id"], region(*path) + bar, 1.0)
    plan = AdoptionPlan(project, encoder, audit_fraction=0)
    told = adopter.look(plan).as_json()
    assert (told["kind"], told["question"], told["classes"]) == ("several", "form", list(CLASSES))
    assert told["answered"] == ["form", "bar", "ring"]
    assert [one.split("'")[1] for one in told["not_answered"]] == ["sharp", "model", "remark"]
    before = admin.call("GET", f"api/projects/{project}/")
    assert adopter.adopt(plan)["adopted"] == 6
    campaign = campaign_of(database)
    assert campaign.adopted and campaign.kind == "several"
    with database.transaction() as connection:
        stands = campaign_status(connection, campaign)
    assert stands["version"].startswith("several-") and stands["labels"] == {"disc > barred": 2, "blob": 2}
    ours = [row for row in admin.call("GET", "api/predictions/", project=project) if row["result"]]
    assert len(ours) == 2, "the ring is answered once somebody did"
    assert all(sorted(one["from_name"] for one in row["result"]) == ["bar", "form"] for row in ours)
    # tasks that come later are adopted as before, and nothing of the project is another
    upload(admin, project, 7)
    assert adopter.adopt(plan)["adopted"] == 1 and adopter.adopt(plan)["adopted"] == 0
    after = admin.call("GET", f"api/projects/{project}/")
    assert all(after[name] == before[name] for name in ("title", "label_config", "expert_instruction"))


def test_boxes_of_a_project_are_answered_by_the_detector_that_is_named(
    servers: Servers, database: Database, adopter: Adopter, encoder: Path, project: int, tmp_path: Path
) -> None:
    admin, labels = servers.admin, ("ring", "core")
    inner = "".join(f'<Label value="{label}"/>' for label in labels)
    drawn = [f'<{tag} name="{tag}" toName="picture">{inner}</{tag}>' for tag in ("RectangleLabels", "BrushLabels")]
    admin.update_project(project, label_config=CONFIG.replace("</View>", "".join(drawn) + "</View>"))
    without = adopter.look(AdoptionPlan(project, encoder, kind="several")).as_json()
    assert without["answered"] == ["form"] and any(
        "no detector of ring, core" in one for one in without["not_answered"]
    )
    detector = write_detector(tmp_path / "detector", seed=5, classes=labels)
    plan = AdoptionPlan(project, encoder, audit_fraction=0, detector=detector)
    assert adopter.look(plan).as_json()["answered"] == ["form", "RectangleLabels", "BrushLabels"]
    assert adopter.adopt(plan)["adopted"] == 6
    campaign = campaign_of(database)
    with database.transaction() as connection:
        assert campaign_status(connection, campaign)["version"].startswith("several-")
    ours = admin.call("GET", "api/predictions/", project=project)
    assert len(ours) == 6 and {one["type"] for row in ours for one in row["result"]} == {"rectanglelabels"}
    upload(admin, project, 7)
    assert adopter.adopt(AdoptionPlan(project, encoder, audit_fraction=0))["adopted"] == 1


def test_tasks_imported_by_hand_are_told_of_and_adopted(
    servers: Servers, installation: Installation, database: Database, adopter: Adopter, encoder: Path, project: int
) -> None:
    plan = AdoptionPlan(project, encoder, audit_fraction=0)
    adopter.adopt(plan)
    campaign = campaign_of(database)
    upload(servers.admin, project, 7, 8)
    servers.admin.import_tasks(project, [{"data": {"photo": "http://10.0.0.1/x.png"}}])
    assert not take_in(database, servers.admin, campaign)
    with database.transaction() as connection:
        notices = {row["source"]: row["text"] for row in campaign_status(connection, campaign)["notices"]}
    assert notices[SOURCE].startswith("3 tasks were imported by hand") and f"adopt {project}`" in notices[SOURCE]
    report = adopter.adopt(plan)
    assert report["adopted"] == 2 and "10.0.0.1 is not allowed" in report["left_out"][0]
    assert not take_in(database, servers.admin, campaign)
    with database.transaction() as connection:
        stands = campaign_status(connection, campaign)
    assert stands["tasks"]["tasks"] == 8
    assert next(row["text"] for row in stands["notices"] if row["source"] == SOURCE).startswith("One task was")
    # one that names a stamp of ours needs no picture
    set_name = campaign.stamp_set
    with resting(installation):  # the worker would take it in as well
        servers.admin.import_tasks(project, [{"data": {"photo": "x", "stamp_set": set_name, "stamp_id": 0}}])
        assert take_in(database, servers.admin, campaign)
    with database.transaction() as connection:
        assert campaign_status(connection, campaign)["tasks"]["tasks"] == 9


def test_tasks_adopted_while_the_encoder_changes_are_embedded_with_the_new_one(
    servers: Servers,
    installation: Installation,
    database: Database,
    adopter: Adopter,
    encoder: Path,
    project: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plan = AdoptionPlan(project, encoder, audit_fraction=0)
    for task, path in zip(tasks_of(servers.admin, project), [("disc", "barred"), ("blob",)] * 2, strict=False):
        servers.annotator.submit(task["id"], region(*path), 1.0)
    adopter.adopt(plan)
    campaign, store = campaign_of(database), installation.settings.store_folder
    other = write_tiny(tmp_path / "other", Rendering(size=32, field=12.0), seed=5)
    digest = Encoder.load(other).digest
    keep_checkpoint(other, encoder_folder(store, digest))
    upload(servers.admin, project, 7, 8)

    def late(*given: Any) -> None:
        monkeypatch.undo()
        assert (
            encoders.change(database, stores_of(database, campaign, store), digest, silently, pytest.fail) == "promoted"
        )
        remember(*given)

    monkeypatch.setattr(adopt, "remember", late)
    with resting(installation):
        assert adopter.adopt(plan)["adopted"] == 2
    now = campaign_of(database)
    assert now.encoder == digest != campaign.encoder
    with database.transaction() as connection:
        features, shown = FeatureStore.from_database(connection, digest), waiting_tasks(connection, now)
    assert len(shown) == 4
    assert len(features.rows([(task.stamp_set, task.stamp_id) for task in shown])) == 4


def test_a_backend_attached_by_hand_gets_its_secret_and_loses_its_twins(
    servers: Servers, installation: Installation, database: Database, adopter: Adopter, encoder: Path, project: int
) -> None:
    admin, settings = servers.admin, installation.settings
    user, password = settings.backend_user, settings.backend_password.get_secret_value()
    fields = {"title": "by hand", "auth_method": "BASIC_AUTH", "basic_auth_user": user, "basic_auth_pass": password}
    adopter.adopt(AdoptionPlan(project, encoder, audit_fraction=0))
    for backend in admin.sdk.ml.list(project=project):
        admin.sdk.ml.delete(int(backend.id or 0))
    admin.sdk.ml.create(url=settings.backend_url, project=project, **fields)
    (kept,) = admin.webhooks(project)
    admin.call("POST", "api/webhooks/", {"project": project, "url": kept.url})
    admin.call("PATCH", f"api/webhooks/{kept.id}/", {"headers": {}})
    campaign = campaign_of(database)
    lifecycle.keep_webhook(settings, database, admin, campaign)
    (hook,) = admin.webhooks(project)
    assert len(hook.headers or {}) == 1
    with database.transaction() as connection:
        assert all(row["source"] != "webhook" for row in campaign_status(connection, campaign)["notices"])


def test_pictures_of_a_local_storage(
    servers: Servers, database: Database, adopter: Adopter, encoder: Path, project: int, local_files: Path
) -> None:
    folder = local_files / "galaxies"
    folder.mkdir(exist_ok=True)
    for number in range(3):
        (folder / f"g{number}.png").write_bytes(png(number))
    (local_files / "secret.png").write_bytes(png(5))
    admin = servers.admin
    admin.call("POST", "api/storages/localfiles/", {"project": project, "path": str(folder), "use_blob_urls": True})
    names = ["galaxies/g0.png", "galaxies/g1.png", "galaxies/g2.png", "secret.png", "../x.png", "galaxies/none.png"]
    admin.import_tasks(project, [{"data": {"photo": f"/data/local-files/?d={name}"}} for name in names])
    told = adopter.look(AdoptionPlan(project, encoder)).as_json()
    assert sorted(told["pictures"]) == ["5 from local files", "6 from uploaded"]
    assert "leads out of the storage" in told["left_out"][0]
    report = adopter.adopt(AdoptionPlan(project, encoder, audit_fraction=0.5))
    assert report["adopted"] == 9
    assert any("HTTP 403" in one or "HTTP 404" in one for one in report["left_out"])
    with database.transaction() as connection:
        assert campaign_status(connection, campaign_of(database))["tasks"]["audit"] == 4


@pytest.mark.parametrize("presigned", [True, False])
def test_pictures_of_a_bucket_that_label_studio_is_connected_to(
    servers: Servers,
    database: Database,
    adopter: Adopter,
    encoder: Path,
    project: int,
    s3: S3Server,
    presigned: bool,
) -> None:
    admin, bucket = servers.admin, s3.bucket(f"pictures-{presigned}".lower())
    for task in tasks_of(admin, project):
        admin.delete(f"api/tasks/{task['id']}/")
    for number in range(5):
        s3.client().put_object(Bucket=bucket, Key=f"survey/J{number:04d}.png", Body=png(number))
    about = {"project": project, "bucket": bucket, "prefix": "survey", "use_blob_urls": True, "presign": presigned}
    keys = {"aws_access_key_id": s3.key, "aws_secret_access_key": s3.secret, "region_name": REGION}
    storage = admin.call("POST", "api/storages/s3/", {**about, **keys, "s3_endpoint": s3.address})
    # as the button "Sync Storage": each file becomes a task
    admin.call("POST", f"api/storages/s3/{storage['id']}/sync", {})
    gone = {"data": {"photo": f"s3://{bucket}/survey/gone.png"}}
    admin.import_tasks(project, [gone, {"data": {"photo": "s3://not-connected/J0000.png"}}])
    tasks = tasks_of(admin, project)
    assert len(tasks) == 7
    told = adopter.look(AdoptionPlan(project, encoder)).as_json()
    assert told["pictures"] == ["7 from cloud storage"]
    host = s3.address.removeprefix("http://")
    if presigned:
        with pytest.raises(StampError, match="No picture of the project could be fetched") as caught:
            adopter.adopt(AdoptionPlan(project, encoder, audit_fraction=0))
        assert f"(--allow-host {host})" in caught.value.hint and s3.secret not in str(caught.value)
    allowed = (host,) if presigned else ()
    with s3.open_to_all() if presigned else nullcontext():
        report = adopter.adopt(AdoptionPlan(project, encoder, audit_fraction=0, allowed=allowed))
    assert report["adopted"] == 5 and len(report["left_out"]) == 2, report
    assert all("HTTP 4" in one for one in report["left_out"])
    predictions = admin.predictions(project)
    assert {one.task for one in predictions} == {task["id"] for task in tasks[:5]}
    assert [task["data"] for task in tasks_of(admin, project)] == [task["data"] for task in tasks]
    # as Label Studio asks when somebody opens a task: the backend answers it by the stamp that was made
    answer = admin.call("GET", f"api/tasks/{tasks[0]['id']}/")
    assert answer["predictions"] and s3.secret not in str(report) + str(told)


def test_what_cannot_be_served_is_said_before_anything_changes(
    servers: Servers, database: Database, adopter: Adopter, encoder: Path, project: int
) -> None:
    config = '<View><Image name="i" value="$photo"/><TextArea name="r" toName="i"/></View>'
    servers.admin.update_project(project, label_config=config)
    with pytest.raises(LabelConfigError, match="'r' is a <TextArea>, which no model here answers"):
        adopter.adopt(AdoptionPlan(project, encoder))
    assert servers.admin.webhooks(project) == [] and not servers.admin.predictions(project)
    assert all(row["project_id"] != project for row in database.rows("campaigns"))


def test_what_was_killed_before_its_first_version_begins_when_it_is_adopted_again(
    servers: Servers, database: Database, adopter: Adopter, encoder: Path, project: int
) -> None:
    plan = AdoptionPlan(project, encoder, audit_fraction=0.5)
    outlook = adopter.look(plan)
    made = adopter._pictures.take(plan, outlook.usable, whole=False)
    kept = Encoder.load(encoder)
    register(adopter._sets(outlook, made)[0], kept, adopter._settings, database, silent)
    keep_checkpoint(encoder, encoder_folder(adopter._settings.store_folder, kept.digest))
    adopter._record(plan, outlook, made, kept)
    assert adopter.adopt(plan)["adopted"] == 6
    with database.transaction() as connection:
        stands = campaign_status(connection, campaign_of(database))
    assert stands["version"] and stands["tasks"]["audit"] == 3 and servers.admin.predictions(project)


def test_what_failed_leaves_the_project_as_it_was(
    servers: Servers,
    database: Database,
    adopter: Adopter,
    encoder: Path,
    project: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("backend_ml.adoption.adopt.push.push", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        adopter.adopt(AdoptionPlan(project, encoder, audit_fraction=0))
    assert servers.admin.webhooks(project) == [] and not list(servers.admin.sdk.ml.list(project=project))
    assert all(row["project_id"] != project for row in database.rows("campaigns"))


def test_a_task_that_was_deleted_unheard_is_no_hindrance(
    servers: Servers, installation: Installation, database: Database, adopter: Adopter, encoder: Path, project: int
) -> None:
    """Label Studio takes no prediction at all where one is of a task that is gone."""
    adopter.adopt(AdoptionPlan(project, encoder, audit_fraction=0))
    campaign, admin = campaign_of(database), servers.admin
    for hook in admin.webhooks(project):
        admin.sdk.webhooks.delete(int(hook.id or 0))
    first = min(task["id"] for task in admin.data_manager(project, []))
    with resting(installation):
        admin.delete(f"api/tasks/{first}/")
        assert take_in(database, admin, campaign)
    with database.transaction() as connection:
        assert campaign_status(connection, campaign)["tasks"]["tasks"] == 5
        connection.execute("UPDATE campaign SET policy = 'entropy' WHERE id = %s", [campaign.id])
    store = installation.settings.store_folder
    assert push.push(database, admin, campaign, store=store, top=None) == 5
