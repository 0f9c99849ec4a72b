"""Models held to what they may say: finite numbers, for the campaign's classes, in regions of the label config."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from math import isfinite
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backend_ml.kinds.evaluation import Evaluation
from backend_ml.kinds.kind import Kind, KindError, blamed, refuse_foreign
from backend_ml.kinds.models import Answers, Model, Predict, Quantity, Stamp
from backend_ml.label_studio.regions.choices import Region, parsed_config

Controls = dict[str, tuple[str, frozenset[str]]]
"""What each control tag labels, and the values it offers, by its name."""


class CheckedModel(Model):
    """A model whose answers are looked at before anybody else sees them.

    Parameters
    ----------
    model : Model
    kind : Kind
        Whose it is, named where it does wrong.
    classes : tuple of str
        The campaign's.
    beside : bool
        Whether it reads columns beside the image: then it answers stamps, and no features that come without them.
    """

    def __init__(self, model: Model, kind: Kind[Any, Any], classes: tuple[str, ...], *, beside: bool = False) -> None:
        self._model, self._kind, self._classes, self._beside = model, kind, classes, beside

    def check(self, stamp: Stamp) -> None:
        """As `Model.check`."""
        with blamed(self._kind, "looking for a stamp"):
            self._model.check(stamp)

    def answer(self, stamps: Sequence[Stamp]) -> Answers:
        """As `Model.answer`.

        Raises
        ------
        KindError
            Also if it fails, or answers what it must not.
        """
        with blamed(self._kind, "answering"):
            answers = self._model.answer(stamps)
            found = CheckedAnswers(answers, self._kind, self._classes, len(stamps), heat=not self._beside)
        if self._beside and found.quantities is None:
            found.quantities = found.probabilities
        return found

    def right(self, labels: Any) -> NDArray[np.float64]:
        """How far it gets each label of its kind right (N,), 0 to 1.

        Raises
        ------
        KindError
            If it fails, or does not say so of each.
        """
        if not len(labels):
            return np.empty(0)
        with blamed(self._kind, "being judged"):
            right = np.asarray(self._kind.right(self._model, labels), dtype=np.float64)
        return self._possible(right, len(labels))

    def evaluate(self, labels: Any) -> Evaluation:
        """How it answers labels of its kind, one at least.

        Raises
        ------
        KindError
            If it fails, or says of other stamps or classes than those.
        """
        with blamed(self._kind, "being evaluated"):
            found = self._kind.evaluate(self._model, labels)
        n = len(labels)
        self._possible(found.right, n)
        if {len(found.said), len(found.answered), len(found.objects)} - {0, n}:
            raise KindError(f"The kind {self._kind.name!r} has not one word for each of {n} stamps.")
        if found.classes and not {*found.said, *found.answered} <= set(found.classes):
            raise KindError(f"The kind {self._kind.name!r} evaluates answers that are none of its classes.")
        if found.probabilities is not None:
            _check_numbers(self._kind, found.probabilities, (n, len(found.classes)))
        return found

    def _possible(self, right: NDArray[np.float64], count: int) -> NDArray[np.float64]:
        if right.shape != (count,):
            raise KindError(f"The kind {self._kind.name!r} judges {right.shape} labels instead of {count}.")
        if not ((right >= 0) & (right <= 1)).all():
            raise KindError(f"The kind {self._kind.name!r} gets labels right by what is not between 0 and 1.")
        return right

    @property
    def from_features(self) -> Predict | None:
        """As `Model.from_features`, each answer checked."""
        return self._checked(self._model.from_features, (len(self._classes),))

    @property
    def information(self) -> Predict | None:
        """As `Model.information`, each checked."""
        return self._checked(self._model.information, ())

    @property
    def interest(self) -> Predict | None:
        """As `Model.interest`, each checked."""
        return self._checked(self._model.interest, ())

    @property
    def quantities(self) -> tuple[Quantity, ...]:
        """As `Model.quantities`; where columns are read also the probabilities, which a catalogue asks of features."""
        if self._beside and not self._model.quantities and self._model.from_features is not None:
            return tuple(
                Quantity("prob", one, f"Probability of {one}", "", "stat.probability") for one in self._classes
            )
        return self._model.quantities

    def _checked(self, predict: Predict | None, shape: tuple[int, ...]) -> Predict | None:
        if predict is None or self._beside:
            return None

        def checked(features: NDArray[np.float32]) -> NDArray[np.float64]:
            with blamed(self._kind, "answering"):
                found = predict(features)
                _check_numbers(self._kind, found, (len(features), *shape))
            return found

        return checked


class CheckedAnswers(Answers):
    """Answers that were found to be finite and of the campaign's classes; their regions are checked as they are made.

    Raises
    ------
    KindError
        If they are not.
    """

    def __init__(
        self, answers: Answers, kind: Kind[Any, Any], classes: tuple[str, ...], count: int, *, heat: bool = True
    ) -> None:
        refuse_foreign(kind, answers.classes, classes)
        self._answers, self._kind = answers, kind
        self.classes, self.has_heat = answers.classes, answers.has_heat and heat
        self._heat = heat
        self.probabilities, self.boxes, self.disagreement = answers.probabilities, answers.boxes, answers.disagreement
        self.information, self.quantities = answers.information, answers.quantities
        self.deviation, self.interest = answers.deviation, answers.interest
        if self.probabilities is not None:
            # policies read columns by the campaign's classes
            if tuple(self.classes) != tuple(classes):
                raise KindError(
                    f"The kind {kind.name!r} answers {', '.join(self.classes)} instead of {', '.join(classes)}.",
                    "A head answers every class of its campaign, in that order.",
                )
            _check_numbers(kind, self.probabilities, (count, len(classes)))
        if self.boxes is not None:
            _check_numbers(kind, np.concatenate([*self.boxes, np.empty(0)]))
        if self.quantities is not None and len(self.quantities) != count:
            raise KindError(f"The kind {kind.name!r} says {len(self.quantities)} rows of numbers instead of {count}.")
        for measured in (self.disagreement, self.information, self.deviation, self.interest):
            if measured is not None:
                _check_numbers(kind, measured, (count,))

    def result(self, index: int, label_config: str) -> list[Region]:
        """As `Answers.result`.

        Raises
        ------
        KindError
            Also if a region is none of the label config's.
        """
        with blamed(self._kind, "writing its answer"):
            result = self._answers.result(index, label_config)
            controls = find_controls(label_config)
            for region in result:
                _check_region(self._kind, region, controls)
        return result

    def scores(self, index: int) -> dict[str, float]:
        """As `Answers.scores`."""
        return self._answers.scores(index)

    def words(self, index: int) -> str:
        """As `Answers.words`."""
        return self._answers.words(index)

    def heat_words(self, index: int) -> str:
        """As `Answers.heat_words`."""
        if not self._heat:
            return "There is no heat map: the model reads catalogue columns beside the picture."
        return self._answers.heat_words(index)

    def measures(self, index: int) -> dict[str, float]:
        """As `Answers.measures`."""
        return self._answers.measures(index)


def check_offered(kind: Kind[Any, Any], label_config: str) -> None:
    """Raise a KindError unless a label config has every class that a kind reads from it."""
    controls = find_controls(label_config)
    # a tag that offers no values, such as a number, is itself what is answered
    written = {value for name, (_, values) in controls.items() for value in (values or {name})}
    foreign = sorted(set(kind.offered(label_config)) - written)
    if foreign:
        raise KindError(
            f"The kind {kind.name!r} answers {', '.join(foreign)}, which its label config does not offer.",
            f"Mend `offered` or {kind.label_config_path}.",
        )


@lru_cache(maxsize=256)
def find_controls(label_config: str) -> Controls:
    """The control tags of a label config: those with a `name` and a `toName`."""
    root = parsed_config(label_config, "Mend the label config.")
    return {
        str(tag.get("name")): (
            str(tag.get("toName")),
            frozenset(
                item.get("alias") or item.get("value") or item.text or "" for item in tag.iter() if item is not tag
            ),
        )
        for tag in root.iter()
        if tag.get("name") and tag.get("toName")
    }


def _check_numbers(kind: Kind[Any, Any], numbers: NDArray[np.float64], shape: tuple[int, ...] | None = None) -> None:
    if shape is not None and numbers.shape != shape:
        raise KindError(f"The kind {kind.name!r} answers in the shape {numbers.shape} instead of {shape}.")
    broken = np.argwhere(~np.isfinite(numbers))
    if len(broken):
        raise KindError(
            f"The kind {kind.name!r} answers numbers that are not finite, {len(broken)} of {numbers.size}.",
            "Nothing of it is served; mend the head.",
        )


def _check_region(kind: Kind[Any, Any], region: Region, controls: Controls) -> None:
    name, value = region.get("from_name"), region.get("value")
    if name not in controls or region.get("to_name") != controls[name][0] or not isinstance(value, Mapping):
        raise KindError(f"The kind {kind.name!r} answers with a tag {name!r} that its label config does not have.")
    labels = value.get(str(region.get("type")), ())
    foreign = _names(labels) - controls[name][1] if isinstance(labels, list | tuple) else set()
    if foreign:
        raise KindError(
            f"The kind {kind.name!r} answers {', '.join(sorted(map(str, foreign)))}, which the tag {name!r} of its"
            " label config does not offer."
        )
    score = region.get("score")
    numbers = [*value.values(), score]
    if any(isinstance(number, float) and not isfinite(number) for number in numbers):
        raise KindError(f"The kind {kind.name!r} answers numbers that are not finite.")
    if score is not None and not 0 <= score <= 1:
        raise KindError(f"The kind {kind.name!r} answers with the score {score}, which is not between 0 and 1.")


def _names(labels: Sequence[Any]) -> set[Any]:
    """What regions state: choices and labels, or all that lies on the path to one."""
    return {name for label in labels for name in (label if isinstance(label, list | tuple) else [label])}
