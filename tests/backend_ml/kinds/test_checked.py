"""Answers of a kind that somebody else wrote are held to what it may say."""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from backend_ml.kinds.answers import ChoiceAnswers
from backend_ml.kinds.checked import CheckedAnswers, CheckedModel, check_offered, find_controls
from backend_ml.kinds.evaluation import Evaluation
from backend_ml.kinds.installed import find_kind
from backend_ml.kinds.kind import Kind, KindError
from backend_ml.kinds.models import Answers, Model, Predict, Stamp
from lvm_training.errors import GalaxyLoopError

CLASSES = ("no", "yes")
CONFIG = """
<View>
  <Image name="image" value="$image"/>
  <Choices name="morphology" toName="image"><Choice value="no"/><Choice value="yes"/></Choices>
  <RectangleLabels name="boxes" toName="image"><Label value="tail"/></RectangleLabels>
  <TextArea name="note" toName="image"/>
</View>
"""
KIND: Any = find_kind("interest")
REGION = {
    "from_name": "morphology",
    "to_name": "image",
    "type": "choices",
    "value": {"choices": ["yes"]},
    "score": 0.5,
}


class Said(Answers):
    """Answers that say what a test wants."""

    def __init__(self, regions: list[dict[str, Any]] | None = None, **values: Any) -> None:
        self.classes, self.regions = CLASSES, regions or []
        for name, value in values.items():
            setattr(self, name, value)

    def result(self, index: int, label_config: str) -> list[dict[str, Any]]:
        return self.regions

    def scores(self, index: int) -> dict[str, float]:
        return {"yes": 0.5}

    def words(self, index: int) -> str:
        return "perhaps"

    def heat_words(self, index: int) -> str:
        return "nothing"

    def measures(self, index: int) -> dict[str, float]:
        return {"margin": 1.0}


def checked(count: int = 2, **values: Any) -> CheckedAnswers:
    return CheckedAnswers(Said(**values), KIND, CLASSES, count)


def test_good_answers_pass_as_they_are() -> None:
    probabilities = np.array([[0.2, 0.8], [0.5, 0.5]])
    found = checked(probabilities=probabilities, boxes=[np.array([0.3]), np.empty(0)], disagreement=np.zeros(2))
    assert found.probabilities is probabilities and found.classes == CLASSES
    assert (found.words(0), found.heat_words(0), found.scores(1), found.measures(1)) == (
        *("perhaps", "nothing"),
        {"yes": 0.5},
        {"margin": 1.0},
    )
    assert checked(regions=[REGION]).result(0, CONFIG) == [REGION]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"classes": ("no", "yes", "perhaps")}, "answers perhaps, which its campaign does not offer"),
        ({"classes": ("yes", "no"), "probabilities": np.full((2, 2), 0.5)}, "instead of no, yes"),
        ({"probabilities": np.full((3, 2), 0.5)}, "shape"),
        ({"probabilities": np.full((2, 3), 0.5)}, "shape"),
        ({"probabilities": np.array([[0.5, 0.5], [np.nan, 1.0]])}, "not finite, 1 of 4"),
        ({"probabilities": np.array([[0.5, np.inf], [0.0, -np.inf]])}, "not finite, 2 of 4"),
        ({"boxes": [np.array([0.5]), np.array([np.nan, 0.2])]}, "not finite"),
        ({"disagreement": np.zeros(3)}, "shape"),
        ({"disagreement": np.array([0.0, np.nan])}, "not finite"),
    ],
)
def test_answers_that_cannot_be_are_the_kinds_fault(values: dict[str, Any], words: str) -> None:
    with pytest.raises(KindError, match=words) as found:
        checked(**values)
    assert "'interest'" in found.value.message


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"from_name": "shape"}, "tag 'shape'"),
        ({"to_name": "picture"}, "tag 'morphology'"),
        ({"from_name": None}, "tag None"),
        ({"value": ["yes"]}, "tag 'morphology'"),
        ({"value": {"choices": ["perhaps", "yes"]}}, "answers perhaps"),
        ({"value": {"choices": [3]}}, "answers 3"),
        ({"score": float("nan")}, "not finite"),
        ({"score": 2.5}, "not between 0 and 1"),
        ({"score": -0.001}, "not between 0 and 1"),
        ({"value": {"choices": [["yes", "perhaps"]]}}, "answers perhaps"),
        ({"value": {"choices": ["yes"], "x": float("inf")}}, "not finite"),
        ({"from_name": "boxes", "type": "rectanglelabels", "value": {"rectanglelabels": ["arc"]}}, "answers arc"),
    ],
)
def test_regions_outside_the_label_config_are_refused(change: dict[str, Any], words: str) -> None:
    with pytest.raises(KindError, match=words):
        checked(regions=[REGION, {**REGION, **change}]).result(0, CONFIG)


def test_a_tag_that_offers_nothing_takes_any_text() -> None:
    note = {"from_name": "note", "to_name": "image", "type": "textarea", "value": {"text": ["a tail"]}}
    assert checked(regions=[note]).result(1, CONFIG) == [note]


def test_controls_are_the_tags_that_label_something() -> None:
    assert find_controls(CONFIG) == {
        "morphology": ("image", frozenset({"no", "yes"})),
        "boxes": ("image", frozenset({"tail"})),
        "note": ("image", frozenset()),
    }
    with pytest.raises(GalaxyLoopError):
        find_controls("<View><Choices name='a' toName='b'>")


class Judging(Model):
    """A model of a kind that fails as a test wants."""

    def __init__(self, answer: Any = None, *, predict: Predict | None = None) -> None:
        self._answer, self._predict = answer, predict

    def check(self, stamp: Stamp) -> None:
        if stamp[1] < 0:
            raise GalaxyLoopError("There is no such stamp.")
        raise ZeroDivisionError

    def answer(self, stamps: Sequence[Stamp]) -> Answers:
        if isinstance(self._answer, Exception):
            raise self._answer
        return ChoiceAnswers(self._answer, CLASSES)

    @property
    def from_features(self) -> Predict | None:
        return self._predict


def test_what_a_kind_raises_is_blamed_on_it() -> None:
    model = CheckedModel(Judging(ValueError("no head")), KIND, CLASSES)
    with pytest.raises(KindError, match=r"'interest'.*ValueError"):
        model.answer([("sky", 0)])
    with pytest.raises(KindError, match="ZeroDivisionError"):
        model.check(("sky", 0))
    with pytest.raises(GalaxyLoopError, match="no such stamp") as passed:
        model.check(("sky", -1))
    assert not isinstance(passed.value, KindError), "a reason given on purpose stays"


def test_a_model_answers_each_stamp_it_is_asked_for() -> None:
    model = CheckedModel(Judging(np.array([[0.2, 0.8]])), KIND, CLASSES)
    assert model.answer([("sky", 0)]).scores(0)["yes"] == pytest.approx(0.8)
    with pytest.raises(KindError, match="shape"):
        model.answer([("sky", 0), ("sky", 1)])


def test_answers_from_features_are_checked_too() -> None:
    def predict(features: NDArray[np.float32]) -> NDArray[np.float64]:
        return np.where(features[:, :1] > 0, [[0.1, 0.9]], np.nan)

    assert CheckedModel(Judging(), KIND, CLASSES).from_features is None
    checked_predict = CheckedModel(Judging(predict=predict), KIND, CLASSES).from_features
    assert checked_predict is not None
    assert checked_predict(np.ones((2, 3), np.float32)).shape == (2, 2)
    with pytest.raises(KindError, match="not finite"):
        checked_predict(-np.ones((2, 3), np.float32))


def test_a_label_config_offers_what_the_kind_reads_from_it() -> None:
    offered = KIND.label_config()
    check_offered(KIND, offered)

    class Greedy(type(KIND)):  # type: ignore[misc]
        def offered(self, label_config: str) -> tuple[str, ...]:
            return (*super().offered(label_config), "halo")

    with pytest.raises(KindError, match="answers halo"):
        check_offered(Greedy(), offered)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"right": np.array([1.0])}, "judges (1,) labels instead of 2"),
        ({"right": np.array([1.0, 1.5])}, "not between 0 and 1"),
        ({"said": ("yes",)}, "not one word for each of 2"),
        ({"said": ("yes", "perhaps"), "classes": CLASSES}, "none of its classes"),
        ({"probabilities": np.ones((2, 3)), "classes": CLASSES}, "answers in the shape (2, 3) instead of (2, 2)"),
    ],
)
def test_evaluations_that_cannot_be_are_the_kinds_fault(
    values: dict[str, Any], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluation = Evaluation(**({"right": np.array([1.0, 0.0])} | values))
    monkeypatch.setattr(type(KIND), "evaluate", lambda kind, model, labels: evaluation)
    with pytest.raises(KindError, match=re.escape(words)):
        CheckedModel(Judging(), KIND, CLASSES).evaluate(["one", "other"])


def test_a_kind_that_only_judges_is_evaluated_by_that(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(KIND), "evaluate", Kind.evaluate)
    monkeypatch.setattr(type(KIND), "right", lambda kind, model, labels: np.array([True, False]))
    found = CheckedModel(Judging(), KIND, CLASSES).evaluate(["one", "other"])
    assert found.right.tolist() == [1, 0] and found.said == found.classes == () and found.probabilities is None
