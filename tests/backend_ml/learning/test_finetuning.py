"""Fine-tuning a campaign's detector on a real database: labels, gate, promotion, interruption."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from psycopg.types.json import Jsonb

from backend_ml.acquisition.policy import VIEWS, needed_views
from backend_ml.catalogue import export
from backend_ml.jobs import StoppingError
from backend_ml.kinds.installed import load_model
from backend_ml.kinds.models import Stores
from backend_ml.label_studio.wire import Annotation
from backend_ml.labels import events
from backend_ml.learning.gate import FEWEST_AUDIT_LABELS
from backend_ml.learning.runs import due
from backend_ml.networks.detectors import load_detector
from backend_ml.plugins.lenses import Lenses
from backend_ml.queue import push
from backend_ml.queue.ranking import BATCH, Waiting, rank, ranking_seed
from backend_ml.store import versions
from backend_ml.store.database import Database
from backend_ml.store.features import FeatureStore
from backend_ml.store.records import Campaign
from backend_ml.store.stamps import StampSets
from lvm_training.inference.mask_views import seen_in_views, view_disagreement
from lvm_training.objects.coco import read_coco
from lvm_training.params import FinetuneParams
from lvm_training.stamps.render import render_set
from tests.backend_ml.current_labels import read_labels
from tests.backend_ml.learned import begin_now, learn_now
from tests.backend_ml.lenses import AUDIT, LENSES, OBJECTS, RENDERING, N, annotation, one_arc, write_detector

PARAMS = FinetuneParams(steps=4, batch=4, warmup=1, learning_rate=1e-3, epoch_steps=2, fewest_replayed=4, seed=3)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fine-tuning in few steps."""
    monkeypatch.setattr(Lenses, "finetuning", PARAMS)


def label(database: Database, campaign: Campaign, stamp: int, result: list[dict[str, Any]], *, at: int = 0) -> None:
    """Somebody annotates a stamp; the same stamp again is the same annotation, changed."""
    when = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=at)
    said = Annotation(id=1000 + stamp, task=100 + stamp, result=result, completed_by=1, updated_at=when)
    with database.transaction() as connection:
        assert events.record(connection, campaign, said, "webhook")


def active(database: Database, campaign: Campaign) -> str:
    with database.transaction() as connection:
        version = versions.active_version(connection, campaign)
    assert version is not None
    return version.version


def label_some(database: Database, campaign: Campaign, count: int = 5) -> None:
    for stamp in range(count):
        lens = stamp % 2 == 0
        label(database, campaign, stamp, annotation(one_arc() if lens else None, "A" if lens else "not a lens"))


def test_the_first_version_is_the_detector_given(database: Database, lenses: Campaign, tmp_path: Path) -> None:
    (version,) = database.rows("versions", campaign=lenses.id)
    assert version["version"] == active(database, lenses) and version["version"].startswith("lenses-")
    assert not version["cold_start"]
    kept = load_detector(tmp_path / "store", version["detector"])
    assert kept.digest == version["detector"] and kept.rendering == RENDERING
    assert len(list((tmp_path / "store" / "detections").glob(f"sky-*-{kept.digest}.jsonl"))) == 1


def test_the_newest_annotation_counts_and_the_audit_slice_is_apart(database: Database, lenses: Campaign) -> None:
    label(database, lenses, 0, annotation(one_arc(), "A"))
    label(database, lenses, 1, annotation(one_arc(), "C"))
    label(database, lenses, 2, annotation(one_arc(), "B"))
    label(database, lenses, 2, annotation(one_arc(), "not a lens"), at=9)
    label(database, lenses, N - 1, annotation(one_arc(), "A"))
    found = read_labels(database, lenses)
    assert [(one.stamp[1], one.objects.instances.classes) for one in found.training] == [
        (0, ("arc", "deflector")),
        (2, ()),
    ]
    assert [one.stamp[1] for one in found.audit] == [N - 1]
    assert found.first is not None and found.first.version == active(database, lenses)


def test_what_cannot_be_read_is_noted_and_nothing_else_is_lost(database: Database, lenses: Campaign) -> None:
    broken = annotation(one_arc(), "A")
    broken[0]["value"]["width"] = 0
    label(database, lenses, 0, broken)
    found = read_labels(database, lenses)
    assert len(found.training) == 1
    assert any("1000" in note and "no area" in note for note in found.notes)


ODD_RESULTS = [
    None,
    3,
    "x",
    [3],
    [{"type": "choices", "value": ["A"]}],
    [{"type": "choices", "value": {"choices": {"a": 1}}}],
]


@pytest.mark.parametrize("odd", ODD_RESULTS, ids=repr)
def test_an_odd_annotation_of_a_former_version_is_set_aside_and_the_others_are_learned(
    database: Database, lenses: Campaign, tmp_path: Path, odd: Any
) -> None:
    label(database, lenses, 0, annotation(one_arc(), "A"))
    values = {"action": "labelled", "task": 101, "annotation": 1001, "label": "A", "annotator": 1}
    values |= {"parent_prediction": None, "lead_time": 1.0, "source": "webhook", "happened_at": "2026-01-01"}
    database.rows("put_annotation_event", campaign=lenses.id, result=Jsonb(odd), **values)
    found = read_labels(database, lenses)
    assert [one.stamp[1] for one in found.training][:1] == [0]
    assert len(found.odd) + len(found.notes) == 1
    assert learn_now(database, lenses, tmp_path / "store") == "too few labels"
    aside = database.rows("all_set_aside", campaign=lenses.id, project=lenses.project)
    assert [row["annotation"] for row in aside] == [1001] * len(found.odd)


def test_too_few_labels_wait(database: Database, lenses: Campaign, tmp_path: Path) -> None:
    label_some(database, lenses, 3)
    assert learn_now(database, lenses, tmp_path / "store") == "too few labels"
    assert database.rows("last_run", campaign=lenses.id)[0]["outcome"] == "too few labels"
    with database.transaction() as connection:
        assert not due(connection, lenses, 1)


def test_labels_make_a_new_detector_that_can_be_rolled_back(
    database: Database, lenses: Campaign, tmp_path: Path
) -> None:
    store, first = tmp_path / "store", active(database, lenses)
    label_some(database, lenses)
    with database.transaction() as connection:
        assert due(connection, lenses, 5) and not due(connection, lenses, 6)
    phases: list[tuple[str, int, int]] = []
    outcome = learn_now(database, lenses, store, lambda *step: phases.append(step))
    assert outcome == "promoted"
    second = active(database, lenses)
    assert second != first
    assert {phase for phase, _, _ in phases} == {"preparing", "training", "detecting"}
    assert ("training", 4, 4) in phases and phases[-1] == ("detecting", N, N)
    row = next(row for row in database.rows("versions", campaign=lenses.id) if row["version"] == second)
    assert (row["parent"], row["labels"]) == (first, 5)
    assert load_detector(store, row["detector"]).card.params["steps"] == 4
    assert list((store / "resume").iterdir()) == [] and not (store / "detectors" / f"part-{lenses.id}").exists()
    assert learn_now(database, lenses, store) == "unchanged"
    with database.transaction() as connection:
        assert versions.rollback(connection, lenses) == first
    assert active(database, lenses) == first


def test_a_detector_that_is_worse_on_the_audit_slice_is_held_back(
    database: Database, lenses: Campaign, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, first = tmp_path / "store", active(database, lenses)
    parent = load_detector(store, database.rows("versions", campaign=lenses.id)[0]["detector"])
    assert FEWEST_AUDIT_LABELS <= AUDIT
    # people agree with the first detector everywhere on the audit slice, so that another can only be worse
    sets = StampSets(database)
    for stamp in range(N - AUDIT, N):
        picture = render_set(sets.find("sky"), np.array([stamp]), RENDERING)
        (found,) = parent.predict(picture)
        label(database, lenses, stamp, annotation(found.rows(found.scores.argsort()[-1:]), "A"))
    for stamp in range(6):
        label(database, lenses, stamp, annotation(None, "not a lens"))
    unlearning = PARAMS.model_copy(update={"epoch_steps": 40, "replay": 0.0, "learning_rate": 1e-2})
    monkeypatch.setattr(Lenses, "finetuning", unlearning)
    assert learn_now(database, lenses, store, steps=40) == "held back"
    assert active(database, lenses) == first
    newest = database.rows("versions", campaign=lenses.id)[-1]
    gate = newest["metrics"]["gate"]
    assert gate["audit_labels"] == AUDIT and gate["difference"] < -gate["standard_error"]
    assert newest["metrics"]["audit_accuracy"] < 0.5


def test_an_interrupted_fine_tuning_goes_on_and_ends_the_same(
    database: Database, lenses: Campaign, tmp_path: Path
) -> None:
    label_some(database, lenses)
    steps: list[int] = []

    def stop_after(limit: int) -> Callable[[str, int, int], None]:
        def report(phase: str, done: int, _: int) -> None:
            if phase == "training":
                steps.append(done)
                if done == limit:
                    raise StoppingError("The worker stops.")

        return report

    with pytest.raises(StoppingError):
        learn_now(database, lenses, tmp_path / "store", stop_after(3))
    assert steps[-1] == 3
    steps.clear()
    assert learn_now(database, lenses, tmp_path / "store", stop_after(0)) == "promoted"
    assert steps[0] == 3
    resumed = active(database, lenses)
    assert learn_now(database, lenses, tmp_path / "store") == "unchanged"
    assert active(database, lenses) == resumed


def masks_policy(database: Database, campaign: Campaign) -> Campaign:
    """The campaign with a policy that compares masks among views."""
    with database.transaction() as connection:
        connection.execute("UPDATE campaign SET policy = 'masks'")
    return replace(campaign, policy="masks")


def test_a_policy_of_masks_ranks_by_what_was_detected_in_views(
    database: Database, lenses: Campaign, tmp_path: Path
) -> None:
    chosen, store = masks_policy(database, lenses), tmp_path / "store"
    phases: list[tuple[str, int, int]] = []
    begin_now(database, chosen, write_detector(tmp_path / "next", 5), store, lambda *step: phases.append(step))
    assert phases[-1] == ("detecting", N, N)
    with database.transaction() as connection:
        version = versions.active_version(connection, chosen)
        tasks = push.waiting_tasks(connection, chosen)
        features = FeatureStore.from_database(connection, chosen.encoder)
        labelled = push.labelled_stamps(connection, chosen, features)
    assert version is not None and version.detector is not None
    detector, sets = load_detector(store, version.detector), StampSets(database)
    files = sorted(path.name for path in (store / "detections").glob(f"*{detector.digest}*"))
    assert files == [f"sky-{sets.find('sky').digest}-{detector.digest}-views{VIEWS}.jsonl"]
    model = load_model(version, Stores(chosen, features, sets, store, needed_views(chosen.policy)))
    found = push.rank_tasks(chosen, tasks, model, features, labelled, 0)
    assert found.ranked.policy == "masks" and len(found.places) == len(tasks) == N
    rows = np.arange(N - AUDIT)
    pictures = render_set(sets.find("sky"), rows, RENDERING)
    seen = seen_in_views(detector.predict, pictures, VIEWS)
    disagreement = np.array([view_disagreement(views, "arc") for views in seen])
    assert disagreement.max() > disagreement.min() >= 0
    boxes = [views[0].scores[np.array(views[0].classes) == "arc"] for views in seen]
    known = Waiting(len(rows), features_are_not_read, boxes=boxes, disagreement=disagreement)
    expected = rank("masks", known, labelled, batch=BATCH, seed=ranking_seed(chosen, 0))
    np.testing.assert_allclose(found.ranked.worth, expected.worth, atol=1e-3)
    assert found.answers is not None and len(found.answers.result(0, LENSES)) > 0


def features_are_not_read(places: object) -> np.ndarray[Any, Any]:
    pytest.fail("not needed")


def test_an_interrupted_detection_in_views_goes_on_where_it_was(
    database: Database, lenses: Campaign, tmp_path: Path
) -> None:
    chosen, store, made = masks_policy(database, lenses), tmp_path / "store", write_detector(tmp_path / "next", 5)

    def stop(phase: str, done: int, _: int) -> None:
        raise StoppingError(f"The worker stops {phase} at {done}.")

    with pytest.raises(StoppingError, match="detecting at 8"):
        begin_now(database, chosen, made, store, stop)
    calls: list[tuple[str, int, int]] = []
    begin_now(database, chosen, made, store, lambda *step: calls.append(step))
    assert calls[0] == ("detecting", 16, N) and calls[-1] == ("detecting", N, N), "the first 8 were kept"
    (path,) = (store / "detections").glob(f"*-views{VIEWS}.jsonl")
    begin_now(database, chosen, made, tmp_path / "whole")
    assert path.read_bytes() == (tmp_path / "whole" / "detections" / path.name).read_bytes()


def test_objects_are_exported_as_coco(database: Database, lenses: Campaign) -> None:
    label_some(database, lenses, 2)
    label(database, lenses, 2, annotation(one_arc(), "C"))
    label(database, lenses, N - 1, annotation(one_arc(), "B")[::2])
    with database.transaction() as connection:
        whole = export.object_labels(connection, lenses, training=False)
        training = export.object_labels(connection, lenses, training=True)
    doubtful = {image["file_name"]: image["id"] for image in whole["images"]}
    assert list(doubtful) == ["sky/0", "sky/1", "sky/2", f"sky/{N - 1}"], "also what teaches nothing"
    assert {(image["width"], image["height"]) for image in whole["images"]} == {(40, 40)}
    assert [image["file_name"] for image in training["images"]] == ["sky/0", "sky/1"]
    pictures, notes = read_coco(whole, OBJECTS)
    assert not notes
    # pictures of 32 pixels show stamps of 40, whose rows are counted from the south
    boxes = one_arc().boxes / 32 * 40
    boxes[:, [1, 3]] = 40 - boxes[:, [3, 1]]
    for picture in (pictures[0], pictures[2]):
        assert picture.instances.classes == ("arc", "deflector") and picture.drawn.all()
        np.testing.assert_allclose(picture.instances.boxes, boxes)
    assert len(pictures[1].instances) == 0
    assert not pictures[3].drawn.any(), "boxes without masks have none"
