"""Boxes among several questions: a detector fills them in and learns them, beside the other answers of one version."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.lib.format import open_memmap

from backend_ml.campaign.plan import CampaignPlan
from backend_ml.catalogue.export import label_table, object_labels
from backend_ml.catalogue.labels import Exported
from backend_ml.kinds import installed
from backend_ml.kinds.installed import load_model
from backend_ml.label_studio.regions.numbers import find_numbers, given_numbers
from backend_ml.label_studio.regions.objects import find_object_controls, object_result, read_objects
from backend_ml.label_studio.wire import Annotation
from backend_ml.labels import events
from backend_ml.learning.learn import stores_of
from backend_ml.networks.detectors import load_detector
from backend_ml.pictures.drawing import DISPLAY_SIZE
from backend_ml.plugins.parts import LensObjects, Objects, find_parts, given_parts
from backend_ml.plugins.several import Several
from backend_ml.settings import Settings
from backend_ml.store.campaigns import add_campaign
from backend_ml.store.database import Database, query, query_many
from backend_ml.store.records import Campaign, CampaignError
from lvm_training.objects.coco import read_coco
from lvm_training.objects.instances import Instances
from lvm_training.params import FinetuneParams
from lvm_training.paths import RELEASED_DETECTOR
from lvm_training.pool.features import Origin
from lvm_training.stamps.rendering import Rendering
from lvm_training.stamps.stampset import StampSet
from tests.backend_ml.conftest import MORPHOLOGY, PROJECT
from tests.backend_ml.current_labels import read_labels
from tests.backend_ml.learned import active, begin_now, learn_now
from tests.backend_ml.lenses import RENDERING, SHOWN, one_arc, write_detector
from tests.backend_ml.sky import ENCODER
from tests.lvm_training.detection.detection_pictures import SIDE
from tests.lvm_training.parameters.linear_sky import NAMES, WIDTH, Sky
from tests.lvm_training.parameters.skies import SIDE as STORED
from tests.lvm_training.parameters.skies import gaussian, noise, write_set

N, LABELLED, AUDIT = 46, 30, 6
CONFIG = """<View>
  <Image name="image" value="$image"/>
  <RectangleLabels name="boxes" toName="image"><Label value="arc"/><Label value="deflector"/></RectangleLabels>
  <BrushLabels name="masks" toName="image"><Label value="arc"/><Label value="deflector"/></BrushLabels>
  <Choices name="size" toName="image" choice="single-radio"><Choice value="small"/><Choice value="large"/></Choices>
  <Number name="mag_r" toName="image" min="5" max="30" step="any"/>
  <KeyPointLabels name="cores" toName="image"><Label value="core"/></KeyPointLabels>
</View>"""
OF_LENSES = CONFIG.replace('<Label value="deflector"/>', '<Label value="deflector"/><Label value="galaxy"/>')
CONTROLS = find_object_controls(CONFIG)
CLASSES = ("arc", "deflector")


class Drawing(Several):
    """A question, a number, boxes and masks, as a package offers them."""

    name = "drawing"

    def label_config(self, classes: Sequence[str] | None = None) -> str:
        """As `Kind.label_config`."""
        return CONFIG


class DrawingLenses(Drawing):
    """The same with the labels of lenses."""

    def label_config(self, classes: Sequence[str] | None = None) -> str:
        """As `Kind.label_config`."""
        return OF_LENSES


@pytest.fixture
def sky() -> Sky:
    return Sky(N, noise=0.02)


@pytest.fixture
def campaign(database: Database, tmp_path: Path, sky: Sky, monkeypatch: pytest.MonkeyPatch) -> Campaign:
    """Task 100 + i shows stamp i; the last six are of the audit slice. It begins with a detector of random weights."""
    monkeypatch.setattr(installed, "find_kind", lambda _: Drawing())
    quick = FinetuneParams(steps=4, batch=4, warmup=1, learning_rate=1e-3, epoch_steps=2, replay=0, seed=3)
    monkeypatch.setattr(Objects, "finetuning", quick)
    stamps = write_set(tmp_path / "sky.h5", [gaussian() + noise(i) for i in range(N)])
    features = open_memmap(tmp_path / "sky.npy", mode="w+", dtype=np.float16, shape=(N, WIDTH))
    features[:] = sky.features
    features.flush()
    with StampSet(stamps) as opened:
        origin = Origin(name="sky", stamps=opened.digest, encoder=ENCODER, rows=N, width=WIDTH)
    (tmp_path / "sky.json").write_text(origin.model_dump_json())
    made = {"kind": "drawing", "classes": ("small", "large"), "rendering": RENDERING}
    with database.transaction() as connection:
        query(connection, "put_stamp_set", name="sky", path=str(stamps), digest="d", features=str(tmp_path / "sky.npy"))
        found = add_campaign(connection, **(MORPHOLOGY | made), name="Drawing", project=PROJECT)
        task = {"campaign": found.id, "stamp_set": "sky"}
        tasks = [{**task, "task": 100 + i, "stamp_id": i, "audit": i >= N - AUDIT} for i in range(N)]
        query_many(connection, "put_task", tasks)
    begin_now(database, found, write_detector(tmp_path / "made", classes=CLASSES), tmp_path / "store")
    return found


def said(sky: Sky, stamp: int, objects: Instances | None) -> list[dict[str, Any]]:
    """What is true of a stamp, as a result, with these objects drawn on it."""
    large = sky.truth[stamp][NAMES.index("half_light_radius")] > np.exp(0.8)
    common = {"to_name": "image"}
    result = [
        {**common, "from_name": "size", "type": "choices", "value": {"choices": ["large" if large else "small"]}},
        {**common, "from_name": "mag_r", "type": "number", "value": {"number": float(sky.truth[stamp][0])}},
    ]
    drawn = object_result(CONTROLS, objects, width=DISPLAY_SIZE, height=DISPLAY_SIZE) if objects else []
    return [*drawn, *result]


def say(database: Database, campaign: Campaign, stamp: int, result: list[dict[str, Any]]) -> None:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    one = Annotation(id=1000 + stamp, task=100 + stamp, result=result, completed_by=1, updated_at=at)
    with database.transaction() as connection:
        assert events.record(connection, campaign, one, "webhook")


def say_all(database: Database, campaign: Campaign, sky: Sky, stamps: range) -> None:
    for stamp in stamps:
        say(database, campaign, stamp, said(sky, stamp, one_arc() if stamp % 2 else None))


def answered(database: Database, campaign: Campaign, store: Path, stamp: int) -> list[dict[str, Any]]:
    """The version's one result for a stamp, held to the label config."""
    model = load_model(active(database, campaign), stores_of(database, campaign, store))
    assert model is not None
    return model.answer([("sky", stamp)]).result(0, CONFIG)


def test_what_is_drawn_is_a_part_and_other_drawing_tags_have_no_head() -> None:
    kind, part = Drawing(), find_parts(CONFIG)[-1]
    assert [one.name for one in find_parts(CONFIG)] == ["size", "numbers", "objects"]
    assert part.classes == CLASSES and isinstance(part.kind, Objects) and part.kind.released is None
    assert kind.offered(CONFIG) == ("small", "large")
    assert kind.unserved(CONFIG) == ("<KeyPointLabels name='cores'> is a <KeyPointLabels>, which no head answers",)
    assert (kind.slow, kind.shows_whole) == (True, False) and (Several().slow, Several().shows_whole) == (False, True)
    words = kind.instruction(CONFIG, {})
    assert "Mend the boxes" in words and "magnitude in r" in words and "grade" not in words


def test_the_labels_of_lenses_have_the_released_detector_and_no_grade() -> None:
    part = find_parts(OF_LENSES)[-1]
    assert isinstance(part.kind, LensObjects) and part.kind.released == RELEASED_DETECTOR
    assert part.kind.looked_for == "arc" and part.kind.graded(1.0) is None
    assert "grade" not in DrawingLenses().instruction(OF_LENSES, {})


def test_boxes_are_drawn_beside_the_other_answers_in_one_result(
    database: Database, campaign: Campaign, sky: Sky, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    first = active(database, campaign)
    assert first.version.startswith("drawing-") and first.weights is None and first.metrics["heads"] == ["objects"]
    assert {one["type"] for one in answered(database, campaign, store, 3)} == {"rectanglelabels", "brushlabels"}
    say_all(database, campaign, sky, range(LABELLED))
    assert learn_now(database, campaign, store) == "promoted" and learn_now(database, campaign, store) == "unchanged"
    version = active(database, campaign)
    assert version.metrics["heads"] == ["numbers", "objects", "size"]
    assert version.weights is not None and version.detector not in (None, first.detector)
    result = answered(database, campaign, store, LABELLED)
    assert {"choices", "number", "rectanglelabels"} <= {one["type"] for one in result}
    assert len({one["id"] for one in result}) == len(result)
    drawn = read_objects(result, CONTROLS, width=SIDE, height=SIDE, shown=SHOWN)
    assert set(drawn.instances.classes) <= set(CLASSES) and drawn.drawn.any(), "box and mask still belong together"
    assert given_numbers(result, find_numbers(CONFIG)).keys() == {"mag_r"}


def test_what_people_drew_is_what_the_detector_learns(database: Database, campaign: Campaign, sky: Sky) -> None:
    broken = said(sky, 2, one_arc())
    broken[0]["value"]["width"] = 0
    for stamp, result in {0: said(sky, 0, one_arc()), 1: said(sky, 1, None), 2: broken}.items():
        say(database, campaign, stamp, result)
    say(database, campaign, N - 1, said(sky, N - 1, one_arc()))
    labels = read_labels(database, campaign)
    assert labels.training is not None and labels.first is not None
    drawn = labels.training.parts["objects"]
    assert [(one.stamp[1], one.objects.instances.classes) for one in drawn[:2]] == [(0, ("arc", "deflector")), (1, ())]
    np.testing.assert_allclose(drawn[0].objects.instances.boxes, one_arc().boxes, atol=1e-4)
    assert [one.stamp[1] for one in labels.audit.parts["objects"]] == [N - 1]
    assert any("1002" in note and "no area" in note for note in labels.notes)
    assert len(labels.training.parts["size"]) == 3


def test_the_first_detector_serves_on_until_enough_is_drawn(
    database: Database, campaign: Campaign, sky: Sky, tmp_path: Path
) -> None:
    first = active(database, campaign).detector
    for stamp in range(3):
        say(database, campaign, stamp, said(sky, stamp, one_arc()))
    outcome = learn_now(database, campaign, tmp_path / "store")
    assert outcome in ("promoted", "unchanged") and active(database, campaign).detector == first
    assert load_detector(tmp_path / "store", first or "").classes == CLASSES


def test_the_gate_counts_what_is_drawn_as_one_of_the_parts(
    database: Database, campaign: Campaign, sky: Sky, tmp_path: Path
) -> None:
    say_all(database, campaign, sky, range(LABELLED))
    say_all(database, campaign, sky, range(N - AUDIT, N))
    learn_now(database, campaign, tmp_path / "store")
    model = load_model(active(database, campaign), stores_of(database, campaign, tmp_path / "store"))
    assert model is not None
    audit = read_labels(database, campaign).audit
    found = model.evaluate(audit)
    own = model._model  # type: ignore[attr-defined]
    each = [part.kind.right(own.models[part.name], audit.parts[part.name]) for part in find_parts(CONFIG)]
    assert len(each) == 3 and found.right == pytest.approx(np.mean(each, axis=0))
    assert {"size", "numbers", "objects", "arc"} <= {one.of for one in found.measures}


def test_a_table_has_how_many_were_drawn(database: Database, campaign: Campaign, sky: Sky) -> None:
    say(database, campaign, 0, said(sky, 0, one_arc()))
    say(database, campaign, 1, said(sky, 1, None))
    with database.transaction() as connection:
        table = label_table(connection, campaign, training=False)
        exported = Exported.read(connection, campaign, database.stamp_sets, Settings(secret="s"))  # type: ignore[arg-type]
    assert table is not None
    header, rows, _ = exported.tabled(table)
    assert header[-4:] == ("size", "mag_r_mag", "objects_arc", "objects_deflector")
    assert [row[-2:] for row in rows] == [(1, 1), (0, 0)]


def test_a_choice_of_another_question_grades_no_lens(campaign: Campaign) -> None:
    graded = OF_LENSES.replace('value="small"', 'value="C"')
    choice = {"from_name": "size", "to_name": "image", "type": "choices", "value": {"choices": ["C"]}}
    arc = object_result(CONTROLS, one_arc(), width=DISPLAY_SIZE, height=DISPLAY_SIZE)
    said = given_parts([*arc, choice], find_parts(graded), campaign)
    assert said["size"] == "C" and said["objects"].objects.instances.classes == ("arc", "deflector")


def test_what_was_drawn_is_exported_as_coco(database: Database, campaign: Campaign, sky: Sky) -> None:
    say(database, campaign, 0, said(sky, 0, one_arc()))
    say(database, campaign, 1, said(sky, 1, None))
    say(database, campaign, N - 1, said(sky, N - 1, one_arc(6)))
    with database.transaction() as connection:
        document, training = (object_labels(connection, campaign, training=one) for one in (False, True))
    assert [one["file_name"] for one in training["images"]] == ["sky/0", "sky/1"]
    pictures, notes = read_coco(document, CLASSES)
    assert not notes and [one.instances.classes for one in pictures] == [CLASSES, (), CLASSES]
    assert {(one["height"], one["width"]) for one in document["images"]} == {(STORED, STORED)}


def test_a_campaign_that_draws_begins_with_a_detector_of_its_labels(tmp_path: Path) -> None:
    plan = CampaignPlan("Drawing", Path("no.h5"), Path("no"), kind="drawing")
    with pytest.raises(CampaignError, match="begins with a detector"):
        Drawing().check(plan)
    own = replace(plan, detector=write_detector(tmp_path / "own", classes=CLASSES))
    Drawing().check(own)
    assert Drawing().rendering(own, Rendering()) == RENDERING
    DrawingLenses().check(plan)
    with pytest.raises(CampaignError, match="The detector finds arc, deflector; the label config has"):
        DrawingLenses().rendering(own, Rendering())
    with pytest.raises(CampaignError, match="no detector"):
        Several().check(own)
