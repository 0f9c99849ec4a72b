"""Campaigns whose heads read catalogue columns beside the image."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from numpy.lib.format import open_memmap
from psycopg.types.json import Jsonb

from backend_ml.campaign.plan import CampaignPlan
from backend_ml.kinds.beside import load_version
from backend_ml.kinds.installed import find_kind, load_model
from backend_ml.kinds.kind import Kind
from backend_ml.learning.learn import stores_of
from backend_ml.plugins.several import Several
from backend_ml.queue.push import labelled_stamps, rank_tasks, waiting_tasks
from backend_ml.report.report import read_versions
from backend_ml.report.told import metrics_told
from backend_ml.settings import Settings
from backend_ml.store import versions
from backend_ml.store.campaigns import add_campaign
from backend_ml.store.database import Database, query, query_many
from backend_ml.store.features import FeatureStore
from backend_ml.store.records import Campaign, CampaignError, ModelVersion
from backend_ml.why.explanation import Explainer
from lvm_training.heads.beside import Beside, ColumnError
from lvm_training.heads.head import pack, unpack
from lvm_training.pool.features import Origin
from lvm_training.stamps.stampset import StampSet
from tests.backend_ml.conftest import CLASSES, MORPHOLOGY, PROJECT
from tests.backend_ml.learned import active, begin_now, learn_now
from tests.backend_ml.sky import ENCODER
from tests.lvm_training.parameters.skies import noise, write_set

N, LABELLED, WIDTH = 90, 60, 16
COLUMNS = ("colour", "empty", "vectors")
Make = Callable[..., Campaign]


def write_sky(folder: Path, name: str, count: int, *, colour: bool = True, unit: float = 1.0) -> Path:
    """Stamps whose features say nothing of their class, and whose colour says all."""
    rng = np.random.default_rng(1)
    tint = np.arange(count) % 2 + rng.normal(0, 0.1, count)
    columns: dict[str, list[Any]] = {"empty": [float("nan")] * count}
    columns |= {"colour": (unit * tint).tolist()} if colour else {}
    path = write_set(folder / f"{name}.h5", [noise(row) for row in range(count)], columns)
    with h5py.File(path, "a") as file:
        file["vectors"] = rng.normal(size=(count, 4))
    matrix = open_memmap(path.with_suffix(".npy"), mode="w+", dtype=np.float16, shape=(count, WIDTH))
    matrix[:] = rng.normal(size=(count, WIDTH))
    matrix.flush()
    with StampSet(path) as stamps:
        origin = Origin(name=name, stamps=stamps.digest, encoder=ENCODER, rows=count, width=WIDTH)
    path.with_suffix(".json").write_text(origin.model_dump_json())
    return path


def register(database: Database, path: Path) -> None:
    values = {"path": str(path), "digest": "d", "features": str(path.with_suffix(".npy"))}
    database.rows("put_stamp_set", name=path.stem, **values)


@pytest.fixture
def make(database: Database, tmp_path: Path) -> Make:
    """Makes a campaign of 90 stamps of which the last 30 wait for a label."""
    register(database, write_sky(tmp_path, "sky", N))

    def made(**values: Any) -> Campaign:
        with database.transaction() as connection:
            found = add_campaign(connection, **(MORPHOLOGY | values), name="Columns", project=PROJECT)
            task = {"campaign": found.id, "stamp_set": "sky", "audit": False}
            query_many(connection, "put_task", [{**task, "task": 100 + i, "stamp_id": i} for i in range(N)])
        return found

    return made


def classes_of(database: Database, campaign: Campaign) -> None:
    """The first 60 are called by their colour."""
    with database.transaction() as connection:
        for row in range(LABELLED):
            named = {"stamp_set": "sky", "stamp_id": row, "label": CLASSES[row % 2]}
            query(connection, "put_snapshot_label", campaign=campaign.id, **named)


def model_of(database: Database, campaign: Campaign) -> Any:
    return load_model(active(database, campaign), stores_of(database, campaign, Path("no/store")))


WAITING = [("sky", row) for row in range(LABELLED, N)]


def test_a_choice_is_told_by_a_column_where_the_image_says_nothing(database: Database, make: Make) -> None:
    found = {}
    for columns in ((), COLUMNS):
        campaign = make(columns=columns)
        assert campaign.columns == columns
        classes_of(database, campaign)
        assert learn_now(database, campaign) == "promoted" and learn_now(database, campaign) == "unchanged"
        answers = model_of(database, campaign).answer(WAITING)
        best = answers.probabilities.argmax(axis=1)
        found[columns] = float((best == np.arange(LABELLED, N) % 2).mean())
        assert answers.result(0, find_kind("morphology").label_config())
        with database.transaction() as connection:
            query(connection, "delete_campaign", project=PROJECT)
    assert found[COLUMNS] > 0.95 > 0.75 > found[()]


def test_what_a_version_reads_is_kept_told_and_ranked_by(database: Database, make: Make) -> None:
    campaign = make(columns=COLUMNS)
    classes_of(database, campaign)
    learn_now(database, campaign)
    version, model = active(database, campaign), model_of(database, campaign)
    assert version.weights is not None
    beside = Beside.load(unpack(version.weights)["beside"])
    assert beside.classes == COLUMNS and version.metrics["columns"]["digest"] == beside.digest
    with database.transaction() as connection:
        (judged,) = read_versions(connection, campaign, version.version)
        tasks = waiting_tasks(connection, campaign)
        features = FeatureStore.from_database(connection, campaign.encoder)
        labelled = labelled_stamps(connection, campaign, features)
    (told,) = [line for line in metrics_told(judged) if "beside the image" in line]
    assert "colour (" in told and "empty (all missing)" in told and "vectors (4 numbers)" in told
    assert told.endswith(beside.digest)
    assert model.from_features is None, "features alone are not what it reads"
    names = [one.name for one in model.quantities]
    assert names == list(campaign.classes) and model.answer(WAITING).quantities.shape == (len(WAITING), len(names))
    ranking = rank_tasks(campaign, tasks, model, features, labelled, 0)
    assert ranking.ranked.policy == campaign.policy
    why = Explainer(database, Settings(secret="s")).why(campaign, "sky", 70)  # type: ignore[arg-type]
    assert not why.heat and "reads catalogue columns" in why.heat_words


def test_a_set_that_lacks_a_column_is_refused_and_the_version_serves_on(
    database: Database, make: Make, tmp_path: Path
) -> None:
    campaign = make(columns=("colour",))
    classes_of(database, campaign)
    learn_now(database, campaign)
    served = active(database, campaign).version
    register(database, write_sky(tmp_path, "bare", 30, colour=False))
    register(database, write_sky(tmp_path, "milli", 30, unit=1000.0))
    model = model_of(database, campaign)
    for name, message in (("bare", "bare has no column 'colour'"), ("milli", "another unit")):
        with pytest.raises(ColumnError) as found:
            model.check((name, 0))
        assert message in f"{found.value.message} {found.value.hint}"
    with database.transaction() as connection:
        named = {"stamp_set": "bare", "stamp_id": 0, "label": CLASSES[0]}
        query(connection, "put_snapshot_label", campaign=campaign.id, **named)
    with pytest.raises(ColumnError, match="bare has no column"):
        learn_now(database, campaign)
    assert active(database, campaign).version == served
    assert model_of(database, campaign).answer(WAITING).probabilities.shape == (len(WAITING), len(CLASSES))


def test_a_set_whose_column_was_mended_is_read_anew(database: Database, make: Make, tmp_path: Path) -> None:
    campaign = make(columns=("colour",))
    classes_of(database, campaign)
    learn_now(database, campaign)
    model = model_of(database, campaign)
    before = model.answer(WAITING).probabilities.argmax(axis=1)
    with h5py.File(tmp_path / "new.h5", "w") as new, h5py.File(tmp_path / "sky.h5") as old:
        for name, value in old.attrs.items():
            new.attrs[name] = value
        for name in old:
            new[name] = 1 - old[name][:] if name == "colour" else old[name][:]
    (tmp_path / "new.h5").replace(tmp_path / "sky.h5")
    after = model.answer(WAITING).probabilities.argmax(axis=1)
    assert (before != after).mean() > 0.9


def test_a_version_without_columns_answers_where_the_campaign_has_them_now(database: Database, make: Make) -> None:
    campaign = make()
    classes_of(database, campaign)
    learn_now(database, campaign)
    version = active(database, campaign)
    model = load_model(version, stores_of(database, replace(campaign, columns=("colour",)), Path("no/store")))
    assert model is not None and model.from_features is not None and "columns" not in version.metrics


def numbers(redshift: float) -> list[dict[str, Any]]:
    named = {"to_name": "image", "type": "number", "from_name": "redshift"}
    return [{**named, "value": {"number": redshift}}]


def test_a_redshift_is_read_from_a_column(database: Database, make: Make) -> None:
    kind: Kind[Any, Any] = find_kind("parameters")
    made = {"kind": "parameters", "classes": kind.offered(kind.label_config()), "policy": "outliers"}
    campaign = make(**made, columns=("colour",))
    assert begin_now(database, campaign, None).startswith("coldstart"), "the released head reads pictures alone"
    with StampSet(Path(database.rows("stamp_sets")[0]["path"])) as stamps:
        truth = 0.1 + 0.2 * np.asarray(stamps.column("colour"), np.float64)
    for row in range(LABELLED):
        database.rows(
            "put_annotation_event",
            campaign=campaign.id,
            action="labelled",
            task=100 + row,
            annotation=row + 1,
            label=None,
            annotator=1,
            result=Jsonb(numbers(max(float(truth[row]), 0.0))),
            parent_prediction=None,
            lead_time=None,
            source="webhook",
            happened_at=datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=row),
        )
    assert learn_now(database, campaign) == "promoted"
    answers = model_of(database, campaign).answer(WAITING)
    found = np.array([answers.scores(place)["redshift"] for place in range(len(WAITING))])
    assert np.abs(found - truth[LABELLED:]).mean() < 0.02


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "interest"}, "reads no columns"),
        ({"kind": "lenses"}, "reads no columns"),
        ({"simulated": {"spiral": "spiral"}}, "Simulated stamps have no catalogue columns"),
    ],
)
def test_a_plan_of_columns_that_no_head_reads_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(CampaignError, match=message):
        CampaignPlan("sky", Path("no.h5"), Path("no"), columns=("colour",), **options).check()


def test_a_question_that_is_called_beside_is_no_column(database: Database, make: Make) -> None:
    class Opened(Several):
        """Says what it was given."""

        def load(self, version: ModelVersion, stores: Any) -> Any:
            """As `Kind.load`."""
            return sorted(unpack(version.weights or b""))

    campaign = make()
    begin_now(database, campaign, None)
    with database.transaction() as connection:
        version = versions.active_version(connection, campaign)
    assert version is not None
    several = replace(version, weights=pack({"beside": b"a", "morphology": b"b"}))
    found, beside = load_version(Opened(), several, stores_of(database, campaign, Path("no/store")))
    assert beside is None and found == ["beside", "morphology"]
