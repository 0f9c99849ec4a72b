"""Model versions: a head on features, a detector on pictures."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from label_studio_sdk.label_interface import LabelInterface

from backend_ml.kinds.answers import ChoiceAnswers, ObjectAnswers
from backend_ml.kinds.installed import find_kind, load_model
from backend_ml.kinds.models import Stores
from backend_ml.label_studio.regions.choices import LabelConfigError, chosen
from backend_ml.label_studio.regions.objects import find_object_controls, read_objects
from backend_ml.learning.learn import stores_of
from backend_ml.networks.detectors import DetectorModel, load_detector
from backend_ml.plugins.lenses import ARC, Lenses
from backend_ml.store import versions
from backend_ml.store.database import Database
from backend_ml.store.features import FeatureStore
from backend_ml.store.records import Campaign
from backend_ml.store.stamps import StampSets, UnknownStampError
from lvm_training.detection.checkpoint import TrainedDetector
from lvm_training.errors import CheckpointError
from lvm_training.inference.detections import detect_set
from lvm_training.objects.instances import Instances
from tests.backend_ml.lenses import LENSES, SHOWN, one_arc, write_detector
from tests.lvm_training.detection.detection_pictures import SIDE

GRADED = Lenses().graded
STAMPS = [("sky", 3), ("sky", 0), ("sky", 7)]


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> TrainedDetector:
    return TrainedDetector.load(write_detector(tmp_path_factory.mktemp("detector")))


def scored(score: float) -> Instances:
    objects = one_arc()
    return Instances(objects.classes, objects.boxes, objects.masks, np.array([score, 0.6]))


def test_what_a_policy_judges_are_the_scores_of_arcs() -> None:
    found = [scored(0.2), Instances.empty((SIDE, SIDE)), scored(1.0)]
    answers = ObjectAnswers(found, ARC, GRADED)
    assert [list(scores) for scores in answers.boxes] == [[0.2], [], [1.0]]
    best = [max(scores, default=0.0) for scores in answers.boxes]
    assert best == list(answers.best)


def test_what_is_shown_are_the_confident_objects_and_their_grade() -> None:
    answers = ObjectAnswers([scored(0.95), scored(0.3)], ARC, GRADED)
    controls = find_object_controls(LENSES)
    for index, classes, grade, note in (
        (0, ("arc", "deflector"), "A", "Model: arc 95%, deflector 60%"),
        (1, ("deflector",), None, "Model: deflector 60%"),
    ):
        result = answers.result(index, LENSES)
        read = read_objects(result, controls, width=SIDE, height=SIDE, shown=SHOWN)
        assert read.instances.classes == classes and read.notes == () and read.drawn.all()
        assert chosen(result) == grade
        assert [region["score"] for region in result if region["type"] == "choices"] == [0.95] * (grade is not None)
        assert result[-1]["value"] == {"text": [note]}
    with pytest.raises(LabelConfigError):
        answers.result(0, "<View/>")


def test_where_nothing_is_found_nothing_is_filled_in() -> None:
    assert ObjectAnswers([Instances.empty((SIDE, SIDE))], ARC, GRADED).result(0, LENSES) == []


@pytest.mark.parametrize(
    ("objects", "words"),
    [
        (
            scored(0.95),
            "draws 1 × “arc”, 1 × “deflector”. The best “arc” scores 0.95 of 1. The grade that it suggests is A.",
        ),
        (scored(0.55), "The best “deflector” scores 0.60 of 1. The grade that it suggests is C."),
        (scored(0.3), "draws 1 × “deflector”. The best “deflector” scores 0.60 of 1."),
        (scored(0.3).rows(np.array([True, False])), "draws nothing: its best guess is “arc” with 0.30 of 1"),
        (Instances.empty((SIDE, SIDE)), "finds nothing"),
    ],
)
def test_what_a_detector_found_in_words(objects: Instances, words: str) -> None:
    said = ObjectAnswers([objects], ARC, GRADED).words(0)
    assert words in said and ("grade" in said) == ("grade" in words)


THREE = ("smooth", "spiral", "edge-on")


@pytest.mark.parametrize(
    ("probabilities", "words"),
    [
        ((0.01, 0.95, 0.04), "The model is nearly certain: “spiral” (95%)."),
        ((0.0, 0.997, 0.003), "The model is nearly certain: “spiral” (over 99%)."),
        ((0.06, 0.94, 0.0), "The model is fairly sure: “spiral” (94%)."),
        ((0.2, 0.8, 0.0), "The model is fairly sure: “spiral” (80%)."),
        ((0.1, 0.72, 0.18), "The model leans towards “spiral” (72%); next comes “edge-on” (18%)."),
        ((0.38, 0.5, 0.12), "The model leans towards “spiral” (50%); next comes “smooth” (38%)."),
        ((0.3, 0.42, 0.28), "The model is unsure: “spiral” (42%) is likeliest; next comes “smooth” (30%)."),
        ((0.46, 0.54, 0.0), "The model can hardly choose between “spiral” (54%) and “smooth” (46%)."),
        ((0.34, 0.33, 0.33), "The model can hardly choose between “smooth” (34%) and “spiral” (33%)."),
        ((0.0, 0.0, 0.0), "The model knows none of the classes that there are now."),
    ],
)
def test_words_are_true_to_their_number(probabilities: tuple[float, ...], words: str) -> None:
    assert ChoiceAnswers(np.array([probabilities]), THREE).words(0) == words


@pytest.mark.parametrize(
    ("probability", "words"),
    [
        (0.997, "is nearly certain that this is what is looked for (a probability of over 99%)"),
        (0.85, "is fairly sure that this is what is looked for (a probability of 85%)"),
        (0.7, "guesses that this is what is looked for (a probability of 70%)"),
        (0.52, "can hardly say whether this is what is looked for (a probability of 52%)"),
        (0.3, "guesses that this is not what is looked for (a probability of 30%)"),
        (0.1, "is fairly sure that this is not what is looked for (a probability of 10%)"),
        (0.001, "is nearly certain that this is not what is looked for (a probability of under 1%)"),
    ],
)
def test_a_search_says_how_sure_it_is_of_what_is_looked_for(probability: float, words: str) -> None:
    answers = ChoiceAnswers(np.array([[1 - probability, probability]]), ("no", "yes"), wanted="yes")
    assert answers.words(0) == f"The model {words}."


@pytest.mark.parametrize(
    ("probabilities", "note"),
    [
        ((0.1, 0.72, 0.18), "Model: spiral 72%, smooth 18%"),
        ((0.03, 0.96, 0.01), "Model: spiral 96%"),
        ((0.0, 0.996, 0.004), "Model: spiral over 99%"),
        ((0.0, 1.0, 0.0), "Model: spiral 100%"),
    ],
)
def test_how_sure_the_model_is_stands_beside_its_answer(probabilities: tuple[float, ...], note: str) -> None:
    classes = ("ring", "spiral", "smooth")
    config = find_kind("morphology").label_config(classes)
    answers = ChoiceAnswers(np.array([probabilities]), classes)
    answer, said = answers.result(0, config)
    assert answer["value"] == {"choices": ["spiral"]} and said["value"] == {"text": [note]} and said["readonly"]
    prediction = {"model_version": "morphology-0", "score": 0.5, "result": [answer, said]}
    assert LabelInterface(config).validate_prediction(prediction, return_errors=True) == []
    assert answers.result(0, config.replace('name="model"', 'name="remarks"')) == [answer]


@pytest.mark.parametrize("views", [1, 3])
def test_detections_on_file_and_made_on_the_spot_agree(
    database: Database, campaign: Campaign, detector: TrainedDetector, tmp_path: Path, views: int
) -> None:
    assert campaign.stamp_set == "sky"
    stores = replace(stores_of(database, campaign, tmp_path), views=views)
    sets = stores.sets
    model = DetectorModel(detector, stores, ARC, GRADED)
    spot = model.answer(STAMPS)
    # a file of another number of views is not this one
    detect_set(sets.find("sky"), detector, tmp_path / "detections", views=2)
    again = model.answer(STAMPS)
    detect_set(sets.find("sky"), detector, tmp_path / "detections", views=views)
    filed = model.answer(STAMPS)
    if views == 1:
        assert spot.disagreement is again.disagreement is filed.disagreement is None
    else:
        assert spot.disagreement is not None and spot.disagreement.shape == (3,) and spot.disagreement.max() > 0.01
        np.testing.assert_array_equal(spot.disagreement, again.disagreement)
        np.testing.assert_allclose(spot.disagreement, filed.disagreement, atol=1e-5)
    for one, other in zip(spot.objects, filed.objects, strict=True):
        assert len(one) > 0 and one.classes == other.classes
        np.testing.assert_allclose(one.scores, other.scores, atol=1e-5)
        np.testing.assert_allclose(one.boxes, other.boxes, atol=0.006)
        assert (one.masks == other.masks).all()


@pytest.mark.parametrize("stamp", [("sky", 10), ("sky", -1), ("nowhere", 0)])
def test_a_stamp_that_is_not_there(
    database: Database, campaign: Campaign, detector: TrainedDetector, tmp_path: Path, stamp: tuple[str, int]
) -> None:
    assert campaign.stamp_set == "sky"
    model = DetectorModel(detector, stores_of(database, campaign, tmp_path), ARC, GRADED)
    with pytest.raises(UnknownStampError):
        model.check(stamp)


def test_a_detector_missing_from_the_store_says_so(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="0123456789ab"):
        load_detector(tmp_path, "0123456789ab")


def test_a_cold_start_is_no_model(database: Database, campaign: Campaign, tmp_path: Path) -> None:
    counts = {"seed": 0, "last_event": 0, "labels": 0, "audit_labels": 0, "metrics": {}, "revision": "r"}
    with database.transaction() as connection:
        versions.add_version(connection, campaign, version="coldstart-1", parent=None, encoder="e", **counts)
        versions.promote(connection, campaign, "coldstart-1", "created")
        version = versions.active_version(connection, campaign)
        features = FeatureStore.from_database(connection, campaign.encoder)
    assert version is not None and not version.answers
    assert load_model(version, Stores(campaign, features, StampSets(database), tmp_path)) is None
