"""What a kind's models read, what a fit makes, and what a model says of stamps."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backend_ml.label_studio.regions.choices import Region
from backend_ml.store.features import FeatureStore
from backend_ml.store.records import Campaign, ModelVersion
from backend_ml.store.stamps import StampSets
from lvm_training.errors import CheckpointError
from lvm_training.parameters.parameter import ParameterError
from lvm_training.parameters.truth import recognised, truth_of
from lvm_training.stamps.stampset import StampSet

Stamp = tuple[str, int]
"""Name of a stamp set, and a row of it."""
Predict = Callable[[NDArray[np.float32]], NDArray[np.float64]]
"""Probabilities (n, C), or what else is said of each, for features (n, D)."""


@dataclass(frozen=True)
class Stores:
    """What the models of a campaign read, and where they are kept.

    Attributes
    ----------
    campaign : Campaign
    features : FeatureStore
        Of the campaign's encoder.
    sets : StampSets
    folder : Path
        Detectors, and what they detected.
    views : int
        In how many views of each stamp a model of pictures looks.
    steps : int
        Optimiser steps of a fit that takes minutes.
    seen : bool
        Whether the encoder was trained on the campaign's labels too.
    """

    campaign: Campaign
    features: FeatureStore
    sets: StampSets
    folder: Path
    views: int = 1
    steps: int = 100
    seen: bool = False

    def of(self, encoder: str, *, seen: bool = False) -> "Stores":
        """The same with another encoder's features."""
        campaign = replace(self.campaign, encoder=encoder)
        return replace(self, campaign=campaign, features=self.features.of(encoder), seen=seen)


@dataclass(frozen=True)
class Weights:
    """What a fit makes: a head, which the database keeps, or a detector in the store; of several questions both.

    Attributes
    ----------
    head : bytes or None
        A saved head on features.
    detector : str or None
        Digest of a detector.
    metrics : dict
        What was measured on the way.
    revision : str
        Of the code that made it, where that is not this one.
    """

    head: bytes | None = None
    detector: str | None = None
    metrics: Mapping[str, Any] = field(default_factory=dict)
    revision: str = ""

    @property
    def identity(self) -> bytes:
        """What versions are told apart by."""
        return (self.head or b"") + (self.detector or "").encode()


@dataclass(frozen=True)
class Quantity:
    """A number that a model says of each galaxy, as a column of the catalogue.

    Attributes
    ----------
    prefix, name : str
        What its column is called by: `prefix_name`, made legal; `name` without a prefix.
    about : str
        What it says.
    unit, ucd : str
        As `catalogue.tables.columns.Column`.
    """

    prefix: str
    name: str
    about: str
    unit: str = ""
    ucd: str = ""


def catalogued(stamps: StampSet) -> dict[str, NDArray[np.float64]]:
    """What columns of a stamp set that are called as a parameter and its unit say of each stamp."""
    found = dict[str, NDArray[np.float64]]()
    for one in recognised(stamps):
        # what cannot be one says nothing of the others
        with suppress(ParameterError):
            found[one.name] = truth_of(stamps, [one]).values[:, 0]
    return found


class Answers(ABC):
    """What a model says of some stamps: choices, boxes and masks, trees, numbers.

    Attributes
    ----------
    classes : tuple of str
        What it may answer.
    probabilities : ndarray (N, C) or None
        Of the classes, if it tells them apart.
    boxes : sequence of ndarray (K_i,) or None
        Scores of the boxes of what is looked for on each stamp, if it detects objects.
    disagreement : ndarray (N,) or None
        How much masks of what is looked for disagree among views of each stamp, if it looked at several.
    information : ndarray (N,) or None
        How much one more person's answers to each stamp would tell, if it answers a tree of questions.
    deviation : ndarray (N,) or None
        By how many errors what is known of each stamp lies from what is measured, if numbers are; see `Candidates`.
    interest : ndarray (N,) or None
        How interesting people would find each stamp, 0 to 1, if they rate.
    quantities : ndarray (N, K) or None
        The `Model.quantities` of each stamp.
    has_heat : bool
        Whether a heat map can say which part of the picture speaks for an answer.
    """

    classes: tuple[str, ...] = ()
    probabilities: NDArray[np.float64] | None = None
    boxes: Sequence[NDArray[np.float64]] | None = None
    disagreement: NDArray[np.float64] | None = None
    information: NDArray[np.float64] | None = None
    deviation: NDArray[np.float64] | None = None
    interest: NDArray[np.float64] | None = None
    quantities: NDArray[np.float64] | None = None
    has_heat: bool = False

    @property
    def tells_shares(self) -> bool:
        """Whether `scores` are from 0 to 1, as probabilities, scores of objects and shares of votes; or are numbers."""
        return any(one is not None for one in (self.probabilities, self.boxes, self.information))

    @abstractmethod
    def result(self, index: int, label_config: str) -> list[Region]:
        """One stamp's answer as Label Studio's regions.

        Raises
        ------
        LabelConfigError
            If the label config has no control tag for it.
        """

    @abstractmethod
    def scores(self, index: int) -> dict[str, float]:
        """Probabilities of one stamp by class, the best score of each kind of object, or numbers by their names."""

    @abstractmethod
    def words(self, index: int) -> str:
        """The answer to one stamp in a sentence."""

    @abstractmethod
    def heat_words(self, index: int) -> str:
        """What a heat map of one stamp shows, or why there is none."""

    @abstractmethod
    def measures(self, index: int) -> dict[str, float]:
        """What policies go by, of one stamp, by the names that "Why is this here?" explains."""


class Model(ABC):
    """A model version, loaded."""

    @abstractmethod
    def check(self, stamp: Stamp) -> None:
        """Raise a GalaxyLoopError that says why if it cannot answer a stamp."""

    @abstractmethod
    def answer(self, stamps: Sequence[Stamp]) -> Answers:
        """What it says of each stamp.

        Raises
        ------
        GalaxyLoopError
            As `check`.
        """

    @property
    def from_features(self) -> Predict | None:
        """The answers of a model that needs no more than features; a pool of millions is ranked by it."""
        return None

    @property
    def quantities(self) -> tuple[Quantity, ...]:
        """What else it says of each galaxy in numbers; nothing by default."""
        return ()

    @property
    def information(self) -> Predict | None:
        """As `Answers.information`, of features (n, D), shape (n,)."""
        return None

    @property
    def interest(self) -> Predict | None:
        """As `Answers.interest`, of features (n, D), shape (n,)."""
        return None


def head_of(version: ModelVersion) -> bytes:
    """The saved head of a version.

    Raises
    ------
    CheckpointError
        If it has none.
    """
    if version.weights is None:
        raise CheckpointError(f"The version {version.version} has no head.", "Let the campaign learn again.")
    return version.weights
