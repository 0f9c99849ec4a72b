"""The answers of our kinds: a choice by probabilities, and objects by boxes and masks."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from backend_ml.acquisition.objects import box_margin
from backend_ml.acquisition.uncertainty import entropy, margin
from backend_ml.kinds.models import Answers
from backend_ml.label_studio.regions.choices import Region, choice_region, choice_result, find_choices, note_result
from backend_ml.label_studio.regions.objects import find_object_controls, object_result
from backend_ml.store.records import PICTURE_SIZE
from lvm_training.objects.instances import Instances
from lvm_training.objects.metrics import SCORE, picture_scores

PRIOR_SHARE = "prior share"
LEAST_SAID = 0.05  # probability below which a class is not named beside the answer
# a model is said to be so sure from these probabilities of its best answer on, and to hardly choose between two answers
# that are nearer to each other than this: what stands in words must be true to the number beside it
NEARLY_CERTAIN, FAIRLY_SURE, LEANING = 0.95, 0.8, 0.5
HARDLY = 0.1

Grade = Callable[[float], str | None]
"""The grade of a picture that its best score suggests, if any."""


def percent(probability: float) -> str:
    """A probability as people read it; nothing that is not certain is said to be."""
    if 0 < probability < 0.005:
        return "under 1%"
    return "over 99%" if 0.995 <= probability < 1 else f"{probability:.0%}"


def choice_words(scores: Mapping[str, float]) -> str:
    """How sure a model is of its best answer, in words that are true to the number behind them."""
    (best, p), (other, next_p) = [*sorted(scores.items(), key=lambda pair: -pair[1]), ("", 0.0)][:2]
    if p == 0:
        return "The model knows none of the classes that there are now."
    said = f"“{best}” ({percent(p)})"
    if p - next_p < HARDLY:
        return f"The model can hardly choose between {said} and “{other}” ({percent(next_p)})."
    if p >= FAIRLY_SURE:
        return f"The model is {'nearly certain' if p >= NEARLY_CERTAIN else 'fairly sure'}: {said}."
    after = f"; next comes “{other}” ({percent(next_p)})" if next_p >= LEAST_SAID else ""
    return (
        f"The model leans towards {said}{after}."
        if p >= LEANING
        else f"The model is unsure: {said} is likeliest{after}."
    )


def search_words(p: float) -> str:
    """How sure a model is that a galaxy is what is looked for, in the words of `choice_words`."""
    sure, given = max(p, 1 - p), f"a probability of {percent(p)}"
    if 2 * sure - 1 < HARDLY:
        return f"The model can hardly say whether this is what is looked for ({given})."
    degree = "is nearly certain" if sure >= NEARLY_CERTAIN else "is fairly sure" if sure >= FAIRLY_SURE else "guesses"
    return f"The model {degree} that this is {'' if p >= 0.5 else 'not '}what is looked for ({given})."


class ChoiceAnswers(Answers):
    """Probabilities (N, C) of classes.

    Parameters
    ----------
    prior_share : callable, optional
        Gives how much of one stamp's answer is from simulated stamps, 0 to 1, where they teach.
    wanted : str, optional
        The class that is looked for, where one is.
    """

    has_heat = True
    probabilities: NDArray[np.float64]

    def __init__(
        self,
        probabilities: NDArray[np.float64],
        classes: tuple[str, ...],
        prior_share: Callable[[int], float] | None = None,
        *,
        wanted: str | None = None,
    ) -> None:
        self.probabilities, self.classes, self._prior_share = probabilities, classes, prior_share
        self._wanted = wanted

    def result(self, index: int, label_config: str) -> list[Region]:
        """The most probable class, and how probable it and the next are."""
        control = find_choices(label_config, classes=self.classes)
        regions = choice_result(control, self.classes, self.probabilities[index])
        return [*regions, *note_result(label_config, self._note(index))] if regions else []

    def _note(self, index: int) -> str:
        ordered = sorted(self.scores(index).items(), key=lambda pair: -pair[1])[:2]
        return "Model: " + ", ".join(f"{name} {percent(p)}" for name, p in ordered if p >= LEAST_SAID)

    def scores(self, index: int) -> dict[str, float]:
        """As `Answers.scores`."""
        return {name: float(p) for name, p in zip(self.classes, self.probabilities[index], strict=True)}

    def words(self, index: int) -> str:
        """As `Answers.words`."""
        scores = self.scores(index)
        said = choice_words(scores) if self._wanted is None else search_words(scores[self._wanted])
        return said if self._prior_share is None else f"{said} {_prior_words(self._prior_share(index))}"

    def heat_words(self, index: int) -> str:
        """As `Answers.heat_words`."""
        return f"Where the picture speaks for “{self._best(index)}” (orange) or against it (blue)."

    def measures(self, index: int) -> dict[str, float]:
        """As `Answers.measures`."""
        p = self.probabilities[index : index + 1]
        return {"margin": float(margin(p)[0]), "entropy": float(entropy(p)[0]), "probability": float(p[0].max())} | (
            {} if self._prior_share is None else {PRIOR_SHARE: self._prior_share(index)}
        )

    def _best(self, index: int) -> str:
        return self.classes[int(self.probabilities[index].argmax())]


def _prior_words(share: float) -> str:
    """How much of an answer nobody here taught."""
    if share >= 1:
        return "All of that is from simulated galaxies: nobody has labelled any yet."
    if share < 0.005:
        return "That is from people's labels alone: they leave nothing of what simulated galaxies taught."
    return f"{share:.0%} of that is from simulated galaxies, the rest from people's labels."


class ObjectAnswers(Answers):
    """The objects on each stamp.

    Parameters
    ----------
    objects : sequence of Instances
    looked_for : str
        The class whose best score is the picture's.
    grade : callable
        Used where the label config has a grade.
    disagreement : ndarray (N,), optional
        As in `Answers`.
    picture_size : int
        Side in pixels of the pictures that masks are shown on.
    """

    boxes: list[NDArray[np.float64]]

    def __init__(
        self,
        objects: Sequence[Instances],
        looked_for: str,
        grade: Grade,
        disagreement: NDArray[np.float64] | None = None,
        *,
        picture_size: int = PICTURE_SIZE,
    ) -> None:
        self._side = picture_size
        self.objects, self.disagreement, self._grade = objects, disagreement, grade
        self.classes = tuple(sorted({name for one in objects for name in one.classes}))
        self.best = picture_scores(objects, looked_for)
        self.boxes = [one.scores[np.array(one.classes, dtype=object) == looked_for] for one in objects]

    def result(self, index: int, label_config: str) -> list[Region]:
        """Boxes and masks of what scores a half or more, and the grade that the best score deserves."""
        controls = find_object_controls(label_config)
        found = self.objects[index]
        shown = found.rows(found.scores >= SCORE)
        regions = object_result(controls, shown, width=self._side, height=self._side)
        score = float(self.best[index])
        grade = self._grade(score)
        if controls.grade is not None and grade is not None and grade in controls.grade.choices:
            regions.append(choice_region(controls.grade, grade, score))
        # without any region, nothing can be submitted by mistake
        return [*regions, *note_result(label_config, self._note(index))] if regions else []

    def _note(self, index: int) -> str:
        shown = {name: score for name, score in self.scores(index).items() if score >= SCORE}
        return "Model: " + ", ".join(f"{name} {percent(score)}" for name, score in reversed(shown.items()))

    def scores(self, index: int) -> dict[str, float]:
        """As `Answers.scores`."""
        objects = self.objects[index]
        return dict(sorted(zip(objects.classes, objects.scores.tolist(), strict=True), key=lambda pair: pair[1]))

    def words(self, index: int) -> str:
        """As `Answers.words`."""
        found = self.scores(index)
        if not found:
            return "The detector finds nothing on this picture."
        best = max(found, key=found.__getitem__)
        score = f"{found[best]:.2f} of 1"
        if found[best] < SCORE:
            return f"The detector draws nothing: its best guess is “{best}” with {score}, and it draws from {SCORE} on."
        objects = self.objects[index]
        drawn = Counter(objects.rows(objects.scores >= SCORE).classes)
        grade = self._grade(float(self.best[index]))
        suggested = f" The grade that it suggests is {grade}." if grade else ""
        return (
            f"The detector draws {', '.join(f'{count} × “{name}”' for name, count in sorted(drawn.items()))}. The best"
            f" “{best}” scores {score}.{suggested}"
        )

    def heat_words(self, index: int) -> str:
        """As `Answers.heat_words`."""
        return "There is no heat map for objects: boxes and masks show where the detector sees them."

    def measures(self, index: int) -> dict[str, float]:
        """As `Answers.measures`."""
        views = {} if self.disagreement is None else {"mask disagreement": float(self.disagreement[index])}
        return {"box margin": float(box_margin(self.best[index : index + 1])[0])} | views
