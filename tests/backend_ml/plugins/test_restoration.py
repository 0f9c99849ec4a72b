"""Campaigns of restoration: what is shown, guessed, said, learned, judged and exported."""

import os
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from psycopg.types.json import Jsonb

from backend_ml.campaign.plan import CampaignPlan
from backend_ml.kinds.installed import kind_of, load_model
from backend_ml.label_studio.regions import brush
from backend_ml.label_studio.regions.choices import LabelConfigError
from backend_ml.learning.learn import stores_of
from backend_ml.networks import decoders
from backend_ml.networks.decoders import SIDE, on_picture, on_stamp
from backend_ml.pictures.restored_pictures import RestoredPictures
from backend_ml.plugins.restoration import CLASSES, Restoration, RestorationAnswers, guess
from backend_ml.queue.push import labelled_stamps, prediction_rows, rank_tasks, waiting_tasks
from backend_ml.signing import AccessError
from backend_ml.store import versions
from backend_ml.store.campaigns import add_campaign
from backend_ml.store.database import Database, query, query_many
from backend_ml.store.encoders import encoder_folder
from backend_ml.store.features import FeatureStore
from backend_ml.store.records import Campaign, CampaignError, ModelVersion
from backend_ml.store.stamps import UnknownStampError
from lvm_training.backbones.sources import Wanted, write_backbone
from lvm_training.errors import CheckpointError
from lvm_training.model.encoder import load_checkpoint
from lvm_training.progress import progress_bar
from lvm_training.restoration.restorer import Restorer
from lvm_training.stamps.rendering import Rendering
from lvm_training.stamps.stampset import StampSet
from tests.backend_ml.backend_client import SETTINGS
from tests.backend_ml.conftest import PROJECT
from tests.backend_ml.learned import begin_now, learn_now
from tests.backend_ml.sky import ENCODER
from tests.lvm_training.parameters.skies import SCALE, gaussian, noise, write_set
from tests.other_encoders import write_hub_folder
from tests.tiny_encoder import TINY, write_tiny

KIND = Restoration()
CONFIG = KIND.label_config()
N, AUDIT = 8, 2
RENDERING = Rendering(size=TINY.size, field=8.0)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Errors read off few stamps, in one view: what they are is tested elsewhere."""
    few = {"stamps": 2, "views": 1}
    monkeypatch.setattr(Restorer.__init__, "__kwdefaults__", dict(Restorer.__init__.__kwdefaults__) | few)
    monkeypatch.setattr(Restorer.load.__func__, "__kwdefaults__", {"views": 1})


@pytest.fixture
def store(tmp_path: Path) -> Path:
    write_tiny(encoder_folder(tmp_path / "store", ENCODER), RENDERING)
    return tmp_path / "store"


@pytest.fixture
def campaign(database: Database, tmp_path: Path, store: Path) -> Campaign:
    """Task 100 + i shows stamp i; the last two of the eight are of the audit slice."""
    stamps = write_set(tmp_path / "sky.h5", [gaussian(60, sigma=4) + noise(i) for i in range(N)])
    with database.transaction() as connection:
        query(connection, "put_stamp_set", name="sky", path=str(stamps), digest="d", features="")
        made = add_campaign(
            connection,
            name="Restored",
            project=PROJECT,
            kind="restoration",
            classes=CLASSES,
            stamp_set="sky",
            encoder=ENCODER,
            rendering=RENDERING,
            policy="margin",
            audit_fraction=0.25,
        )
        task = {"campaign": made.id, "stamp_set": "sky"}
        query_many(
            connection,
            "put_task",
            [{**task, "task": 100 + i, "stamp_id": i, "audit": i >= N - AUDIT} for i in range(N)],
        )
    begin_now(database, made, None, store)
    return made


def version(database: Database, campaign: Campaign) -> ModelVersion:
    with database.transaction() as connection:
        found = versions.active_version(connection, campaign)
    assert found is not None
    return found


def painted(mask: NDArray[np.bool_]) -> dict[str, Any]:
    common = {"id": "m", "from_name": "where", "to_name": "restored", "type": "brushlabels", "image_rotation": 0}
    value = {"format": "rle", "rle": brush.encode(mask), "brushlabels": ["artefact"]}
    return {**common, "original_width": mask.shape[1], "original_height": mask.shape[0], "value": value}


def say(database: Database, campaign: Campaign, stamp: int, said: str, *more: dict[str, Any]) -> None:
    choice = {
        "id": "c",
        "from_name": "restoration",
        "to_name": "restored",
        "type": "choices",
        "value": {"choices": [said]},
    }
    number = database.rows("last_event", campaign=campaign.id)[0]["id"]
    database.rows(
        "put_annotation_event",
        campaign=campaign.id,
        action="labelled",
        task=100 + stamp,
        annotation=number + 1,
        label=said,
        annotator=1,
        result=Jsonb([choice, *more]),
        parent_prediction=None,
        lead_time=None,
        source="webhook",
        happened_at=datetime.now(UTC),
    )


def corner() -> NDArray[np.bool_]:
    mask = np.zeros((SIDE, SIDE), dtype=bool)
    mask[60:120, 300:390] = True
    return mask


def test_the_kind_is_installed_and_offers_its_classes() -> None:
    assert KIND.offered(CONFIG) == CLASSES
    with pytest.raises(LabelConfigError, match="better, worse, artefact, not"):
        KIND.offered(CONFIG.replace('value="worse"', 'value="bad"'))
    said = KIND.instruction(CONFIG, {})
    assert "Noise is gone" in said and "<b>4 · artefact</b>" in said


def test_a_campaign_begins_with_restored_stamps(database: Database, campaign: Campaign, store: Path) -> None:
    assert kind_of(campaign).name == "restoration"
    first = version(database, campaign)
    assert first.detector and (store / "decoders" / first.detector).is_dir()
    (made,) = (store / "restored").glob("sky-*.h5")
    with StampSet(made) as restored:
        assert len(restored) == N


def test_only_what_tasks_show_is_restored_and_what_was_restored_is_not_again(
    database: Database, campaign: Campaign, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stamps = write_set(store.parent / "wide.h5", [gaussian(60, sigma=4) + noise(i) for i in range(6)])
    with database.transaction() as connection:
        query(connection, "put_stamp_set", name="wide", path=str(stamps), digest="w", features="")
    restorer = decoders.load_restorer(store, str(version(database, campaign).detector))
    stores, asked = stores_of(database, campaign, store), list[int]()
    restore = Restorer.restore

    def counted(self: Restorer, pixels: NDArray[Any], *rest: Any) -> Any:
        asked.append(len(pixels))
        return restore(self, pixels, *rest)

    for rows in ((4, 1), (2,)):
        with database.transaction() as connection:
            task = {"campaign": campaign.id, "stamp_set": "wide", "audit": False}
            query_many(connection, "put_task", [{**task, "task": 200 + row, "stamp_id": row} for row in rows])
        monkeypatch.setattr(Restorer, "restore", counted)
        decoders.restore_shown(restorer, stores, lambda *_: None)
        monkeypatch.undo()
    assert asked == [2, 1]
    with StampSet(stamps) as opened:
        kept = decoders.restored_stamps(store, opened, restorer, [2, 4, 0, 1])
        anew = decoders.restored_stamps(store.parent / "nothing", opened, restorer, [2, 4, 0, 1])
    for one, other in zip(kept, anew, strict=True):
        np.testing.assert_allclose(one.pixels, other.pixels, rtol=1e-4, atol=1e-4)


def test_what_is_forgotten_while_it_is_asked_for_is_restored_anew(
    database: Database, campaign: Campaign, store: Path
) -> None:
    restorer = decoders.load_restorer(store, str(version(database, campaign).detector))
    stamps = stores_of(database, campaign, store).sets.find(campaign.stamp_set)
    (kept,) = (store / "restored").glob(f"{stamps.name}-*-{restorer.digest}.h5")
    before = decoders.restored_stamps(store, stamps, restorer, [1])[0].pixels
    kept.unlink()
    kept.symlink_to("gone")  # listed, as what another process removes a moment later
    found = decoders.restored_stamps(store, stamps, restorer, [1])[0].pixels
    np.testing.assert_allclose(found, before, rtol=1e-4, atol=1e-4)


def test_every_task_has_its_guess_and_those_of_the_audit_slice_none(
    database: Database, campaign: Campaign, store: Path
) -> None:
    stores = stores_of(database, campaign, store)
    model = load_model(version(database, campaign), stores)
    assert model is not None
    answers = model.answer([("sky", row) for row in (3, 0)])
    assert answers.classes == CLASSES and answers.probabilities is not None
    np.testing.assert_allclose(answers.probabilities.sum(axis=1), 1)
    assert "standard deviations" in answers.words(0) and set(answers.measures(1)) >= {"margin"}
    regions = answers.result(0, CONFIG)
    assert regions[0]["type"] == "choices" and regions[0]["to_name"] == "restored"
    with database.transaction() as connection:
        tasks, features = waiting_tasks(connection, campaign), FeatureStore.from_database(connection, ENCODER)
        labelled = labelled_stamps(connection, campaign, features)
    for policy in KIND.policies:
        ranking = rank_tasks(replace(campaign, policy=policy), tasks, model, features, labelled, 0)
        rows = prediction_rows(ranking, ranking.places, "v1", CONFIG)
        assert sorted(row.task for row in rows) == [100 + row for row in range(N)]
        assert sorted(row.task for row in rows if not row.result) == [106, 107]


def test_lumps_make_an_artefact_likelier_and_show_where() -> None:
    plain, lumpy = np.zeros((SIDE, SIDE), np.float32), np.zeros((SIDE, SIDE), np.float32)
    lumpy[corner()] = -30
    answers = RestorationAnswers([plain, lumpy], CLASSES, 960)
    assert [max(answers.scores(i), key=answers.scores(i).__getitem__) for i in (0, 1)] == ["better", "artefact"]
    assert [region["type"] for region in answers.result(0, CONFIG)] == ["choices", "textarea"]
    _, region, note = answers.result(1, CONFIG)
    found = brush.decode(region["value"]["rle"], (960, 960), to=(SIDE, SIDE))
    assert np.array_equal(found, corner()) and note["value"]["text"] == ["Model: artefact 99%"]
    steps = guess(np.array([0.0, 8, 16, 30]))
    assert (np.diff(steps[:, 2]) > 0).all() and steps[2, 2] == pytest.approx(0.5)


@pytest.mark.parametrize("origin", ["lower", "upper"])
@pytest.mark.parametrize("field", [8.0, 30.0])
def test_masks_lie_on_the_stamp_where_they_lie_on_the_picture(tmp_path: Path, origin: str, field: float) -> None:
    from lvm_training.stamps.stampset import StampWriter

    writer = StampWriter(tmp_path / "a.h5", (64, 64), pixel_scale=SCALE, origin=origin)  # type: ignore[arg-type]
    writer.append(np.zeros((1, 3, 64, 64), np.float32), {})
    writer.finish()
    writer.close()
    plane = np.zeros((64, 64), np.float32)
    plane[34:42, 37:43] = 1
    with StampSet(tmp_path / "a.h5") as stamps:
        shown = on_picture(stamps, plane, Rendering(size=32, field=field))
        back = on_stamp(stamps, shown > 0.5, Rendering(size=32, field=field))
    assert np.array_equal(back, plane > 0)


def test_what_people_said_is_read_and_what_cannot_be_is_set_aside(database: Database, campaign: Campaign) -> None:
    say(database, campaign, 0, "better")
    say(database, campaign, 1, "artefact", painted(corner()))
    say(database, campaign, 2, "unsure")
    say(database, campaign, 3, "worse", {"type": "brushlabels", "from_name": "where", "value": 3})
    say(database, campaign, 7, "worse")
    with database.transaction() as connection:
        labels = KIND.read(connection, campaign)
    assert [(one.stamp[1], one.said) for one in labels.training][:2] == [(0, "better"), (1, "artefact")]
    assert np.array_equal(labels.training[1].painted, corner()) and not labels.training[0].painted.any()
    assert [one.stamp[1] for one in labels.audit] == [7] and [one.stamp[1] for one in labels.untaught or ()] == [2]
    table = KIND.export(labels, campaign, {}, training=False)
    assert dict(zip(table.stamp_id, table.label, strict=True))[1] == "artefact"


def test_the_decoder_learns_the_encoder_stays_and_the_gate_is_passed(
    database: Database, campaign: Campaign, store: Path
) -> None:
    for stamp, said in enumerate(("better", "worse", "artefact")):
        say(database, campaign, stamp, said, *([painted(corner())] if said == "artefact" else []))
    assert learn_now(database, campaign, store) == "too few labels"
    say(database, campaign, 3, "worse")
    for stamp in (6, 7):
        say(database, campaign, stamp, "better")
    before = version(database, campaign)
    phases = set[str]()
    assert learn_now(database, campaign, store, lambda phase, *_: phases.add(phase)) == "promoted"
    after = version(database, campaign)
    assert phases >= {"training", "restoring"} and after.parent == before.version
    assert after.detector != before.detector and after.encoder == before.encoder
    assert after.metrics["judged"] == {"better": 1, "worse": 2, "artefact": 1}
    assert 0 <= after.metrics["audit_accuracy"] <= 1 and after.audit_labels == 2
    first, tuned = (load_checkpoint(store / "decoders" / str(one.detector))[1] for one in (before, after))
    assert first.encoder == tuned.encoder == tuned.parent and first.weights != tuned.weights
    assert learn_now(database, campaign, store) == "unchanged"
    assert (KIND.model_folder(store, str(after.detector)) / "model.safetensors").is_file()
    assert not list((store / "resume").iterdir())


def test_sets_of_older_decoders_are_forgotten_but_for_the_first(
    database: Database, campaign: Campaign, store: Path
) -> None:
    stores, (first,) = stores_of(database, campaign, store), list((store / "restored").glob("*.h5"))
    for age in range(4):
        older = first.with_name(first.name.replace(first.stem.rpartition("-")[2], f"{age:012d}"))
        older.write_bytes(b"")
        os.utime(older, (1000 * age, 1000 * age))
    decoders.forget_older(decoders.load_restorer(store, str(version(database, campaign).detector)), stores)
    left = {path.stem.rpartition("-")[2] for path in (store / "restored").glob("*.h5")}
    assert left == {first.stem.rpartition("-")[2], f"{2:012d}", f"{3:012d}"}


def test_fidelity_tells_the_better_decoder(database: Database, campaign: Campaign, store: Path) -> None:
    from tests.lvm_training.restoration.skies import Smoothing

    for stamp in range(4):
        say(database, campaign, stamp, "worse")
    with database.transaction() as connection:
        judged = KIND.read(connection, campaign).training
    stores = stores_of(database, campaign, store)
    random = decoders.load_restorer(store, judged[0].first)
    good = decoders.fidelity(judged, Restorer(Smoothing(TINY), RENDERING), stores)
    bad = decoders.fidelity(judged, random, stores)
    assert good.shape == bad.shape == (4,) and (good > bad).all() and good.max() <= 1
    assert np.array_equal(bad, decoders.fidelity(judged, random, stores))


def shown(database: Database, store: Path, campaign: Campaign, view: str, stamp: int) -> NDArray[np.uint8]:
    settings = SETTINGS.model_copy(update={"store": store})
    link = urlsplit(KIND.task_data(("sky", stamp), campaign, settings)[view])
    pictures = RestoredPictures(database, settings)
    key = parse_qs(link.query)["key"][0]
    found = pictures.file(view, "sky", stamp, campaign.id, key)  # type: ignore[arg-type]
    return np.asarray(cv2.imdecode(np.frombuffer(found, np.uint8), cv2.IMREAD_COLOR), dtype=np.uint8)


def test_pictures_are_restored_and_residuals_grey(database: Database, campaign: Campaign, store: Path) -> None:
    restored, residual = (shown(database, store, campaign, view, 2) for view in ("restored", "residual"))
    assert restored.shape == residual.shape == (960, 960, 3)
    assert abs(float(np.median(residual)) - 128) < 16


def test_a_picture_needs_its_own_key(database: Database, campaign: Campaign, store: Path) -> None:
    settings = SETTINGS.model_copy(update={"store": store})
    link = urlsplit(KIND.task_data(("sky", 2), campaign, settings)["restored"])
    assert link.path == "/restored/sky/2.jpg"
    key, pictures = parse_qs(link.query)["key"][0], RestoredPictures(database, settings)
    for view, stamp in (("residual", 2), ("restored", 3)):
        with pytest.raises(AccessError, match="not signed"):
            pictures.file(view, "sky", stamp, campaign.id, key)  # type: ignore[arg-type]
    database.rows("lapse_links", campaign=campaign.id)
    with pytest.raises(AccessError, match="closed"):
        pictures.file("restored", "sky", 2, campaign.id, key)
    assert pictures.file("restored", "sky", 2, campaign.id, key, lambda: True).startswith(b"\xff\xd8")


def test_a_stamp_that_is_not_there_has_no_picture(database: Database, campaign: Campaign, store: Path) -> None:
    with pytest.raises(UnknownStampError):
        shown(database, store, campaign, "restored", 99)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tasks": 5}, "takes none from a pool"),
        ({"consensus": "dawid-skene"}, "newest annotation"),
        ({"detector": Path("made")}, "has no detector"),
    ],
)
def test_options_that_do_not_fit_are_refused(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    write_tiny(tmp_path / "lvm", RENDERING)
    plan = CampaignPlan(name="sky", stamps=tmp_path / "sky.h5", encoder=tmp_path / "lvm", kind="restoration", **options)
    with pytest.raises(CampaignError, match=message):
        plan.check()


def test_an_encoder_without_a_decoder_is_refused_before_any_work(tmp_path: Path) -> None:
    source = Wanted(str(write_hub_folder(tmp_path / "hub")))
    write_backbone(source, tmp_path / "other", tmp_path / "downloads", progress_bar)
    plan = CampaignPlan(name="sky", stamps=tmp_path / "sky.h5", encoder=tmp_path / "other", kind="restoration")
    with pytest.raises(CampaignError, match="has no decoder, so it restores nothing"):
        plan.check()


def test_a_project_of_others_is_not_adopted_and_a_version_without_a_decoder_not_loaded(
    database: Database, campaign: Campaign, store: Path
) -> None:
    with pytest.raises(LabelConfigError, match="shows no restored pictures"):
        KIND.part(CONFIG, CONFIG)
    bare = replace(version(database, campaign), detector=None)
    with pytest.raises(CheckpointError, match="no decoder"):
        KIND.load(bare, stores_of(database, campaign, store))
