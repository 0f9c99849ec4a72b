"""What a model says of stamps that people labelled, beside what they said: what the card of a version tells."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lvm_training.objects.instances import Instances


@dataclass(frozen=True)
class Measure:
    """A figure of one part of what a model answers.

    Attributes
    ----------
    of : str
        The part: a parameter, a question, a class that is drawn.
    name : str
        What is measured, such as "rmse".
    value : float
        In `unit`; NaN where it is not defined.
    n : int
        Galaxies that it is measured on.
    unit : str
    is_share : bool
        Whether it is a share of the `n` galaxies, 0 to 1, and so has an interval.
    """

    of: str
    name: str
    value: float
    n: int
    unit: str = ""
    is_share: bool = False


@dataclass(frozen=True, eq=False)
class Evaluation:
    """How a model answers N labelled stamps.

    Attributes
    ----------
    right : ndarray (N,)
        How far it gets each right, 0 to 1, as `Kind.right` for the gate.
    said, answered : tuple of str
        What people say of each stamp, and what the model does; empty where a kind has no words for it.
    classes : tuple of str
        What both are one of; without any they are free words.
    probabilities : ndarray (N, C) or None
        That each class is what people say, if the model tells; the answer is the class of the largest.
    measures : sequence of Measure
        What else is known of how good it is.
    objects : sequence of (Instances, Instances)
        What people drew on each stamp, and what the model does, each on a picture as large as the other; empty where
        nothing is drawn.
    """

    right: NDArray[np.float64]
    said: tuple[str, ...] = ()
    answered: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    probabilities: NDArray[np.float64] | None = None
    measures: Sequence[Measure] = ()
    objects: Sequence[tuple[Instances, Instances]] = ()
