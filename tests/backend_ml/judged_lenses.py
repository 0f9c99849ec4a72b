"""A campaign of simulated lenses that began with the released detector, on which somebody drew what is there."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from backend_ml.label_studio.regions.choices import choice_region
from backend_ml.label_studio.regions.objects import find_object_controls, object_result
from backend_ml.label_studio.wire import Annotation
from backend_ml.labels import events
from backend_ml.pictures.drawing import DISPLAY_SIZE
from backend_ml.store.campaigns import add_campaign
from backend_ml.store.database import Database, query, query_many
from backend_ml.store.records import Campaign
from lvm_training.detection.checkpoint import TrainedDetector
from lvm_training.lenses.lens_stamps import OBJECTS, LensPopulation, LensStamps, draw_lens_stamps
from lvm_training.objects.instances import Instances
from lvm_training.paths import RELEASED_DETECTOR
from lvm_training.stamps.stampset import StampWriter
from tests.backend_ml.conftest import PROJECT
from tests.backend_ml.judged import NOON
from tests.backend_ml.learned import begin_now
from tests.backend_ml.lenses import LENSES
from tests.backend_ml.sky import ENCODER

N, FIRST = 24, 4  # stamps, and the first of the audit slice
CONTROLS = find_object_controls(LENSES)


def put_lenses(database: Database, folder: Path) -> tuple[Campaign, LensStamps]:
    """Task 101 + i shows stamp i; those from stamp `FIRST` on are of the audit slice. What is drawn is the truth, but
    for an arc on one stamp."""
    drawn = _with_an_arc_too_many(draw_lens_stamps(N, np.random.default_rng(11), LensPopulation()))
    writer = StampWriter(folder / "drawn.h5", drawn.bands.shape[2:], origin="upper", source="simulated lenses")
    fluxes = drawn.bands[:, 1].sum(axis=(1, 2))
    writer.append(drawn.bands, {"mag_r": 22.5 - 2.5 * np.log10(np.maximum(fluxes, 1))})
    stamps = writer.finish()
    writer.close()
    with database.transaction() as connection:
        query(connection, "put_stamp_set", name="drawn", path=str(stamps), digest="d", features="")
        made = add_campaign(
            connection,
            name="Lenses of the simulator",
            project=PROJECT,
            kind="lenses",
            classes=OBJECTS,
            stamp_set="drawn",
            encoder=ENCODER,
            rendering=TrainedDetector.load(RELEASED_DETECTOR).rendering,
            policy="box-margin",
            audit_fraction=0.8,
        )
        task = {"campaign": made.id, "stamp_set": "drawn"}
        tasks = [{**task, "task": 101 + i, "stamp_id": i, "audit": i >= FIRST} for i in range(N)]
        query_many(connection, "put_task", tasks)
    begin_now(database, made, None, folder / "store")
    for stamp, objects in enumerate(drawn.objects):
        _annotate(database, made, stamp, objects)
    return made, drawn


def _with_an_arc_too_many(drawn: LensStamps) -> LensStamps:
    """With an arc in a corner of the last stamp that has none: however good a detector is, it gets one wrong."""
    objects = list(drawn.objects)
    place = max(row for row, one in enumerate(objects) if "arc" not in one.classes)
    corner = np.zeros((1, *objects[place].shape), dtype=bool)
    corner[0, 1:9, 1:9] = True
    masks = np.concatenate([objects[place].masks, corner])
    objects[place] = Instances.of_masks([*objects[place].classes, "arc"], masks)
    return drawn._replace(objects=tuple(objects))


def _annotate(database: Database, campaign: Campaign, stamp: int, objects: Instances) -> None:
    grade = "A" if "arc" in objects.classes else "not a lens"
    seen = replace(objects, scores=np.ones(len(objects)))
    result = object_result(CONTROLS, seen, width=DISPLAY_SIZE, height=DISPLAY_SIZE)
    assert CONTROLS.grade is not None
    result.append(choice_region(CONTROLS.grade, grade, 1.0))
    one = Annotation(id=1000 + stamp, task=101 + stamp, result=result, completed_by=11, updated_at=NOON)
    with database.transaction() as connection:
        assert events.record(connection, campaign, one, "webhook")
