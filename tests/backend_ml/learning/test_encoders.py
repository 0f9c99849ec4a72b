"""Another encoder for a campaign, on a real database: trained or asked for, judged, changed to, and back."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from backend_ml.jobs import StoppingError
from backend_ml.kinds.installed import load_model
from backend_ml.kinds.kind import Report
from backend_ml.label_studio.wire import Task
from backend_ml.learning import encoders, trainings
from backend_ml.learning.gate import FEWEST_AUDIT_LABELS
from backend_ml.learning.learn import learn, silent, stores_of
from backend_ml.serving.predictor import Predictor
from backend_ml.store import versions
from backend_ml.store.database import Database
from backend_ml.store.encoders import encoder_folder, stored_encoder
from backend_ml.store.features import FeatureStore
from backend_ml.store.records import Campaign
from backend_ml.store.stamps import UnknownStampError
from lvm_training.heads.classification import SEEN_STRENGTH, ClassificationHead
from lvm_training.model.lvm import LVM
from lvm_training.pool.features import Features
from lvm_training.stamps.render import render_set
from lvm_training.tables.snapshot import Snapshot, write_snapshot
from tests.backend_ml.learned import active
from tests.backend_ml.sky import write_stamps
from tests.backend_ml.whole import AUDIT, CLASSES, RENDERING, N, label, stored, truth, write_campaign, write_encoder

STEPS = 4
AUDITED, FEW = range(N - AUDIT, N), range(N - AUDIT, N - 12)
"""Stamps of the audit slice: enough to judge by, and so few that whatever is learned passes."""


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def campaign(database: Database, tmp_path: Path, store: Path) -> Campaign:
    """A campaign with twenty labels and a head that learned them; a part of its audit slice is labelled."""
    made = write_campaign(database, tmp_path, store)
    label(database, made, [*range(20), *FEW])
    assert learn(database, stores_of(database, made, store)) == "promoted"
    return made


def train(database: Database, campaign: Campaign, store: Path, report: Report = silent) -> str:
    said: list[str] = []
    outcome = encoders.train(database, stores_of(database, campaign, store), report, said.append, steps=STEPS)
    assert said == [], "memory sufficed"
    return outcome


def change(database: Database, campaign: Campaign, store: Path, encoder: str, report: Report = silent) -> str:
    return encoders.change(database, stores_of(database, campaign, store), encoder, report, pytest.fail)


def refit(database: Database, campaign: Campaign, store: Path, report: Report = silent) -> str:
    return learn(database, stores_of(database, campaign, store), report)


def now(database: Database, campaign: Campaign) -> Campaign:
    return Campaign.from_row(database.rows("campaign_of_id", campaign=campaign.id)[0])


def runs(database: Database, campaign: Campaign) -> list[tuple[str, str]]:
    with database.transaction() as connection:
        rows = connection.execute("SELECT job, outcome FROM learning_run ORDER BY id").fetchall()
    return [(row["job"], row["outcome"]) for row in rows]


def answered(database: Database, campaign: Campaign, store: Path) -> tuple[str, Any]:
    """What is served to Label Studio now, by version, for a task that nobody has labelled."""
    served = Predictor(database, store)
    task = Task(id=1, data={"stamp_set": "sky", "stamp_id": N - AUDIT - 1})
    (prediction,) = served.predict(campaign.project_id, config(campaign), [task])
    assert prediction.error is None and prediction.result
    return prediction.model_version, prediction.result


def config(campaign: Campaign) -> str:
    from backend_ml.kinds.installed import kind_of

    return kind_of(campaign).label_config(campaign.classes)


def test_encoder_features_and_head_change_together(database: Database, campaign: Campaign, store: Path) -> None:
    before = active(database, campaign)
    seen: list[tuple[str, int, int]] = []

    def look(phase: str, done: int, total: int) -> None:
        seen.append((phase, done, total))
        assert active(database, campaign) == before, "which serves until the end"
        assert now(database, campaign) == campaign

    assert train(database, campaign, store, look) == "promoted"
    after = active(database, campaign)
    assert after.encoder == now(database, campaign).encoder != before.encoder
    assert (after.parent, after.labels, after.audit_labels) == (before.version, 20, len(FEW))
    assert after.metrics["gate"]["passed"] and 0 <= after.metrics["audit_accuracy"] <= 1
    phases = list(dict.fromkeys(phase for phase, _, _ in seen))
    assert phases == ["reading pictures", "training", "embedding sky", "fitting"]
    assert ("training", STEPS, STEPS) in seen and ("embedding sky", N, N) in seen
    assert runs(database, campaign) == [("learn", "promoted"), ("encoder", "promoted")]
    (promotion, _) = database.rows("promotions", campaign=campaign.id)
    assert promotion["reason"] == "new encoder"
    # a campaign that a refit is asked for by who read it before goes on with the new one
    label(database, campaign, range(20, 24))
    assert refit(database, campaign, store) == "promoted"
    refitted = active(database, campaign)
    assert (refitted.encoder, refitted.labels) == (after.encoder, 24)
    assert list((store / "resume").iterdir()) == []
    trained = stored_encoder(store, after.encoder)
    start = stored_encoder(store, before.encoder)
    moved = [not torch.equal(a, b) for a, b in zip(trained.lvm.parameters(), start.lvm.parameters(), strict=True)]
    assert any(moved)


def test_the_head_on_a_trained_encoder_has_the_penalty_for_labels_known_by_heart(
    database: Database, campaign: Campaign, store: Path
) -> None:
    assert train(database, campaign, store) == "promoted"
    version = active(database, campaign)
    assert version.weights is not None
    with database.transaction() as connection:
        features = FeatureStore.from_database(connection, version.encoder)
    rows = features.rows([("sky", row) for row in range(20)])
    labels = [truth(row) for row in range(20)]
    expected = ClassificationHead.fit_seen(rows, labels, seed=campaign.seed, classes=CLASSES)
    assert ClassificationHead.load(version.weights).save() == expected.save()
    assert expected.save() != ClassificationHead.fit(rows, labels, seed=campaign.seed, classes=CLASSES).save()
    assert SEEN_STRENGTH > 0


def test_each_version_reads_the_features_of_its_own_encoder(
    database: Database, campaign: Campaign, store: Path
) -> None:
    frozen = active(database, campaign)
    said = answered(database, campaign, store)
    assert train(database, campaign, store) == "promoted"
    trained = active(database, campaign)
    assert answered(database, campaign, store)[0] == trained.version
    # `campaign` was read before the change, as by a request that was on its way
    for version in (frozen, trained):
        model = load_model(version, stores_of(database, campaign, store))
        assert model is not None and version.weights is not None
        stamps = [("sky", row) for row in range(N)]
        with database.transaction() as connection:
            own = FeatureStore.from_database(connection, version.encoder).rows(stamps)
        expected = ClassificationHead.load(version.weights).predict(own)
        np.testing.assert_array_equal(model.answer(stamps).probabilities, expected)
    with database.transaction() as connection:
        assert versions.rollback(connection, now(database, campaign)) == frozen.version
    assert now(database, campaign).encoder == frozen.encoder
    assert answered(database, campaign, store) == said
    label(database, campaign, range(20, 24))
    assert refit(database, campaign, store) == "promoted"
    assert active(database, campaign).encoder == frozen.encoder, "refits go on with what serves"


def test_an_encoder_that_is_worse_on_the_audit_slice_is_held_back(
    database: Database, campaign: Campaign, store: Path, tmp_path: Path
) -> None:
    label(database, campaign, AUDITED)
    before, said = active(database, campaign), answered(database, campaign, store)
    blind = stored(store, write_encoder(tmp_path / "blind", blind=True))
    assert change(database, campaign, store, blind) == "held back"
    assert active(database, campaign) == before and now(database, campaign) == campaign
    assert answered(database, campaign, store) == said
    rows = database.rows("versions", campaign=campaign.id)
    held = next(row for row in rows if row["encoder"] == blind)
    assert held["promoted_at"] is None and held["metrics"]["gate"]["difference"] < 0
    with database.transaction() as connection:
        versions.promote(connection, campaign, held["version"], "promoted by hand")
    assert now(database, campaign).encoder == blind, "whoever promotes it by hand has it"
    assert refit(database, campaign, store) == "unchanged"


def test_an_encoder_that_is_not_worse_is_changed_to(
    database: Database, campaign: Campaign, store: Path, tmp_path: Path
) -> None:
    newer = stored(store, write_encoder(tmp_path / "newer", seed=8))
    assert change(database, campaign, store, newer) == "promoted"
    assert now(database, campaign).encoder == active(database, campaign).encoder == newer
    with database.transaction() as connection:
        assert trainings.base_encoder(connection, campaign) == newer, "the next training starts from it"
    assert change(database, campaign, store, newer) == "unchanged"


def test_labels_that_a_refit_learned_meanwhile_are_not_forgotten(
    database: Database, campaign: Campaign, store: Path, tmp_path: Path
) -> None:
    newer = stored(store, write_encoder(tmp_path / "newer", seed=8))
    outcomes: list[str] = []

    def meanwhile(phase: str, done: int, total: int) -> None:
        if phase == "fitting" and not outcomes:
            label(database, campaign, range(20, 24))
            outcomes.append(refit(database, campaign, store))

    assert change(database, campaign, store, newer, meanwhile) == "promoted"
    assert outcomes == ["promoted"]
    assert (active(database, campaign).encoder, active(database, campaign).labels) == (newer, 24)


def test_a_stop_leaves_what_was_and_the_training_ends_the_same(
    database: Database, campaign: Campaign, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lvm_training.supervised.labelled_pictures.EPOCH_STEPS", 2)
    monkeypatch.setattr(encoders, "EMBEDDED", 16)
    before = active(database, campaign)
    told: list[tuple[str, int]] = []

    def until(phase: str, done: int) -> Report:
        def report(at: str, so_far: int, total: int) -> None:
            told.append((at, so_far))
            if (at, so_far) == (phase, done):
                raise StoppingError("The worker stops.")

        return report

    stops = [("training", 3), ("embedding sky", 32), ("fitting", 0)]
    for place, (phase, done) in enumerate(stops):
        told.clear()
        with pytest.raises(StoppingError):
            train(database, campaign, store, until(phase, done))
        assert told[-1] == (phase, done)
        assert active(database, campaign) == before and now(database, campaign) == campaign
        # labels that come meanwhile are for the head; the training goes on with those that it began with
        label(database, campaign, range(20 + 2 * place, 22 + 2 * place))
    told.clear()
    assert train(database, campaign, store, until("nothing", 0)) == "promoted"
    assert ("training", 1) not in told and ("embedding sky", 16) not in told, "both were kept"
    resumed = active(database, campaign)
    assert resumed.labels == 26
    (training,) = database.rows("encoder_trainings", campaign=campaign.id)
    assert (training["labels"], training["encoder"], training["base"]) == (20, resumed.encoder, before.encoder)
    weights = (encoder_folder(store, resumed.encoder) / "model.safetensors").read_bytes()
    shard = features_of(database, campaign, resumed.encoder)
    # the same without a stop: from the first labels alone
    with database.transaction() as connection:
        versions.rollback(connection, campaign)
        connection.execute("DELETE FROM label_event WHERE stamp_id BETWEEN 20 AND 25")
    elsewhere = store.parent / "elsewhere"
    stored(elsewhere, encoder_folder(store, before.encoder))
    assert train(database, campaign, elsewhere) == "promoted"
    assert active(database, campaign).encoder == resumed.encoder
    assert (encoder_folder(elsewhere, resumed.encoder) / "model.safetensors").read_bytes() == weights
    np.testing.assert_array_equal(features_of(database, campaign, resumed.encoder), shard)


def features_of(database: Database, campaign: Campaign, encoder: str) -> Any:
    with database.transaction() as connection:
        shard: Features = FeatureStore.from_database(connection, encoder).shard(campaign.stamp_set)
    return np.array(shard.matrix)


def test_a_refit_that_was_on_its_way_does_not_bring_the_former_encoder_back(
    database: Database, campaign: Campaign, store: Path, tmp_path: Path
) -> None:
    newer = stored(store, write_encoder(tmp_path / "newer", seed=8))
    label(database, campaign, range(20, 24))
    met: list[str] = []

    def meanwhile(phase: str, done: int, total: int) -> None:
        if not met:
            met.append(change(database, campaign, store, newer))

    assert refit(database, campaign, store, meanwhile) == "unchanged", "what the new encoder brought knows these labels"
    assert met == ["promoted"]
    assert now(database, campaign).encoder == active(database, campaign).encoder == newer


def test_an_encoder_does_not_take_over_from_one_it_was_not_compared_with(
    database: Database, campaign: Campaign, store: Path, tmp_path: Path
) -> None:
    newer = stored(store, write_encoder(tmp_path / "newer", seed=8))
    other = stored(store, write_encoder(tmp_path / "other", seed=9))
    assert change(database, campaign, store, other) == "promoted"
    taught = active(database, campaign)
    with database.transaction() as connection:
        versions.rollback(connection, campaign)

    def meanwhile(phase: str, done: int, total: int) -> None:
        if phase == "fitting" and active(database, campaign).version != taught.version:
            with database.transaction() as connection:
                versions.promote(connection, campaign, taught.version, "promoted by hand")

    assert change(database, campaign, store, newer, meanwhile) == "promoted"
    assert active(database, campaign).encoder == newer
    assert active(database, campaign).parent == taught.version, "it was judged by the one that served at last"


def test_of_two_workers_at_once_one_changes_the_encoder_and_the_other_finds_it_changed(
    database: Database, campaign: Campaign, store: Path, tmp_path: Path
) -> None:
    newer = stored(store, write_encoder(tmp_path / "newer", seed=8))
    begun, second = threading.Event(), Database(database.url)

    def asked_again() -> str:
        assert begun.wait(60)
        with second.open():
            return change(second, campaign, store, newer)

    def meanwhile(phase: str, done: int, total: int) -> None:
        begun.set()
        assert not other.done(), "it waits"

    with ThreadPoolExecutor(1) as worker:
        other = worker.submit(asked_again)
        assert change(database, campaign, store, newer, meanwhile) == "promoted"
        assert other.result(60) == "unchanged"
    assert active(database, campaign).encoder == now(database, campaign).encoder == newer
    assert runs(database, campaign) == [("learn", "promoted"), ("encoder", "promoted"), ("encoder", "unchanged")]
    assert answered(database, campaign, store)[0] == active(database, campaign).version


def test_memory_that_does_not_suffice_is_said_and_halves_what_goes_through_at_a_time(
    database: Database, campaign: Campaign, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    features = LVM.features

    def scarce(lvm: LVM, images: torch.Tensor) -> torch.Tensor:
        if len(images) > 8:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return features(lvm, images)

    monkeypatch.setattr(LVM, "features", scarce)
    monkeypatch.setattr(encoders, "EMBEDDED", 16)
    said: list[str] = []
    stores = stores_of(database, campaign, store)
    assert encoders.train(database, stores, silent, said.append, steps=STEPS) == "promoted"
    assert said == [f"Memory ran out: {at} pictures at a time from here on." for at in (10, 5, 8)]


def test_a_failure_leaves_what_was(
    database: Database, campaign: Campaign, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = active(database, campaign)

    def breaks(lvm: LVM, images: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("not of memory")

    with monkeypatch.context() as broken:
        broken.setattr(LVM, "features", breaks)
        with pytest.raises(RuntimeError, match="not of memory"):
            train(database, campaign, store)
    assert active(database, campaign) == before and now(database, campaign) == campaign
    assert runs(database, campaign) == [("learn", "promoted")], "a run that fails leaves no trace"
    assert train(database, campaign, store) == "promoted"


def test_one_class_is_not_trained_on(database: Database, tmp_path: Path, store: Path) -> None:
    made = write_campaign(database, tmp_path, store)
    label(database, made, [0, 1, 2])
    assert train(database, made, store) == "too few labels"
    assert database.rows("encoder_trainings", campaign=made.id) == []


def test_a_training_goes_on_with_classes_that_look_like_missing_values(tmp_path: Path) -> None:
    known = Snapshot(["sky"] * 3, [0, 1, 2], ["-", "n/a", "-"])
    write_snapshot(tmp_path / encoders.LABELS, known)
    assert encoders._begun(tmp_path, 3, ("-", "n/a")) == known


def test_labelled_pictures_are_read_from_disk_in_the_order_of_their_labels(
    database: Database, campaign: Campaign, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = write_stamps(tmp_path, 5, "other")
    database.rows("put_stamp_set", name="other", path=str(other), digest="d", features="")
    monkeypatch.setattr(encoders, "EMBEDDED", 3)
    labels = Snapshot(["sky", "other", "sky", "sky", "other", "sky"], [9, 1, 0, 9, 4, 2], ["spiral"] * 6)
    stores, told = stores_of(database, campaign, store), list[tuple[int, int]]()
    path = tmp_path / "pictures.npy"
    found = encoders._pictures(labels, RENDERING, stores, path, lambda _, done, total: told.append((done, total)))
    assert np.load(path, mmap_mode="r").shape == found.shape == (6, 3, 32, 32)
    for place, (name, row) in enumerate(zip(labels.stamp_set, labels.stamp_id, strict=True)):
        alone = render_set(stores.sets.find(name), np.array([row]), RENDERING)[0]
        np.testing.assert_array_equal(found[place], alone)
    assert sorted(told) == [(0, 2), (0, 4), (3, 4)]
    with pytest.raises(UnknownStampError):
        encoders._pictures(Snapshot(["sky"], [N], ["spiral"]), RENDERING, stores, path, silent)


def test_nothing_is_embedded_for_a_head_that_cannot_be_fitted(database: Database, tmp_path: Path, store: Path) -> None:
    made = write_campaign(database, tmp_path, store)
    label(database, made, [0, 1, 2])
    newer = stored(store, write_encoder(tmp_path / "newer", seed=8))
    told: list[str] = []
    assert change(database, made, store, newer, lambda phase, *_: told.append(phase)) == "too few labels"
    assert told == [] and list((store / "features").glob(f"*{newer}*")) == []
    assert runs(database, made) == [("encoder", "too few labels")]


def store_of(database: Database) -> Path:
    """The store that the features of the only stamp set are in."""
    return Path(database.rows("stamp_sets")[0]["features"]).parents[1]


def due(database: Database, campaign: Campaign, fewest: int) -> bool:
    with database.transaction() as connection:
        return encoders.due(connection, now(database, campaign), fewest, store_of(database))


def test_it_is_due_from_some_labels_on_and_again_when_they_have_grown_by_half(
    database: Database, campaign: Campaign, store: Path, tmp_path: Path
) -> None:
    label(database, campaign, AUDITED)
    assert due(database, campaign, 20) and not due(database, campaign, 21)
    assert not due(database, campaign, 0), "0 is never"
    assert train(database, campaign, store) in ("promoted", "held back")
    assert not due(database, campaign, 20)
    label(database, campaign, range(20, 27))
    assert refit(database, campaign, store) in ("promoted", "held back") and not due(database, campaign, 20)
    for labels, enough in ((29, False), (30, True)):
        learned(database, campaign, labels)
        assert due(database, campaign, 20) == enough
    first = database.rows("first_version", campaign=campaign.id)[0]["encoder"]
    with database.transaction() as connection:
        assert trainings.base_encoder(connection, campaign) == first, "the next one starts where the first did"
    # of another encoder nothing was trained yet
    newer = stored(store, write_encoder(tmp_path / "newer", seed=8))
    assert change(database, campaign, store, newer) in ("promoted", "held back")
    with database.transaction() as connection:
        connection.execute("UPDATE campaign SET encoder = %s", (newer,))
    assert due(database, campaign, 20)


def learned(database: Database, campaign: Campaign, labels: int) -> None:
    """As if the version in use had learned so many."""
    with database.transaction() as connection:
        text = "UPDATE model_version SET labels = %s WHERE version = %s"
        connection.execute(text, (labels, active(database, campaign).version))


def hindrance(database: Database, campaign: Campaign, fewest: int) -> str | None:
    with database.transaction() as connection:
        return encoders.hindrance(connection, now(database, campaign), fewest, store_of(database))


def test_it_is_not_due_while_nobody_could_tell_whether_it_is_better(database: Database, campaign: Campaign) -> None:
    assert len(FEW) < FEWEST_AUDIT_LABELS <= len(AUDITED)
    assert not due(database, campaign, 20)
    assert hindrance(database, campaign, 20) == (
        "The encoder's training waits for the audit slice: 20 of its stamps are labelled of the 30 by which a new"
        " encoder is judged. `galaxyloop campaign encoder 'Whole' --train` trains it now."
    )
    label(database, campaign, range(N - AUDIT, N - AUDIT + FEWEST_AUDIT_LABELS - 1))
    assert not due(database, campaign, 20)
    label(database, campaign, AUDITED)
    assert due(database, campaign, 20)
    assert [hindrance(database, campaign, fewest) for fewest in (0, 20, 30)] == [None] * 3


def test_a_training_that_failed_is_tried_again_a_little_later(
    database: Database, campaign: Campaign, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    label(database, campaign, AUDITED)
    for labels, next_ones in ((20, (21, 22)), (22, (24, 25))):
        learned(database, campaign, labels)
        assert due(database, campaign, 20)
        fail(database, campaign, labels)
        for more, enough in zip(next_ones, (False, True), strict=True):
            assert not due(database, campaign, 20), "nor at once again"
            learned(database, campaign, more)
            assert due(database, campaign, 20) == enough
            learned(database, campaign, labels)
    assert hindrance(database, campaign, 20) == (
        "The encoder's training failed; it is tried again from 25 labels on, there are 22."
        " `galaxyloop campaign encoder 'Whole' --train` trains it now."
    )
    learned(database, campaign, 25)
    seen: list[bool] = []
    outcome = train(database, campaign, store, lambda *_: seen.append(due(database, campaign, 20)))
    assert outcome in ("promoted", "held back") and not any(seen), "what goes on is no failure"
    learned(database, campaign, 29)
    assert not due(database, campaign, 20)


def fail(database: Database, campaign: Campaign, labels: int) -> None:
    """As if a training on so many labels had broken off."""
    base = active(database, campaign).encoder
    database.rows("put_encoder_training", campaign=campaign.id, base=base, labels=labels)
    encoders.failed(database, campaign)


def test_a_training_starts_from_the_encoder_that_the_campaign_began_with(
    database: Database, campaign: Campaign, store: Path
) -> None:
    first = active(database, campaign).encoder
    assert train(database, campaign, store) == "promoted"
    label(database, campaign, range(20, 26))
    assert train(database, campaign, store) == "promoted"
    trainings = database.rows("encoder_trainings", campaign=campaign.id)
    assert [(row["base"], row["labels"]) for row in trainings] == [(first, 20), (first, 26)]
    assert trainings[0]["encoder"] != trainings[1]["encoder"] == active(database, campaign).encoder


@pytest.mark.parametrize("kind", ["interest", "lenses"])
def test_searches_and_campaigns_of_objects_train_no_encoder(
    database: Database, campaign: Campaign, store: Path, kind: str
) -> None:
    with database.transaction() as connection:
        assert not encoders.due(connection, replace(campaign, kind=kind), 1, store)
