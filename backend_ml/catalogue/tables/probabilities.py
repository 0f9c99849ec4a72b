"""A model's probabilities for a catalogue: calibrated on the audit slice, each with an error."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from backend_ml.catalogue.tables.galaxies import Galaxies, Rows
from backend_ml.kinds.installed import kind_of, load_model
from backend_ml.kinds.kind import blamed
from backend_ml.kinds.models import Predict, Stores
from backend_ml.label_studio.regions.choices import ASIDE
from backend_ml.store.features import FeatureStore
from lvm_training.heads.logistic_regression import LogisticRegressionProblem
from lvm_training.heads.posterior import HeadPosterior

FEWEST = 30  # blind labels from which on probabilities are calibrated on them
# Standard deviations of the calibration's prior: of the factor about 1, and of each class's shift about 0
FACTOR_SPREAD, SHIFT_SPREAD = 0.5, 1.0
LEAST = 1e-12  # probability, before its logarithm is taken

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Calibration:
    """What makes a model's probabilities those of the pool: softmax(factor ln p + shift).

    Temperature scaling (Guo et al. 2017, ICML, section 4.2) with a shift a class: labels that a policy chose hold other
    shares of the classes than the pool does.

    Attributes
    ----------
    factor : float
    shift : ndarray (C,)
    labels : int
        Blind labels that it was found on; 0 where they were too few, and nothing is changed.
    """

    factor: float
    shift: Array
    labels: int = 0

    @classmethod
    def found(cls, probabilities: Array, codes: NDArray[np.int64]) -> "Calibration":
        """That of least log loss on blind labels, with priors that keep it near no change while labels are few.

        Parameters
        ----------
        probabilities : ndarray (n, C)
            Of galaxies that the model has not learned from, drawn at random from the pool.
        codes : ndarray (n,)
            Their classes.
        """
        count = probabilities.shape[1]
        if len(codes) < FEWEST:
            return cls(1.0, np.zeros(count))
        problem = LogisticRegressionProblem(np.zeros((len(codes), 1)), codes, count, offset=_logs(probabilities))
        _, shift, factor = problem.fit_scaled(1.0, bias_strength=SHIFT_SPREAD**2, spread=FACTOR_SPREAD)
        return cls(factor, shift, len(codes))

    def apply(self, probabilities: Array) -> Array:
        """Calibrated probabilities (..., C)."""
        if not self.labels:
            return probabilities
        return np.asarray(softmax(self.factor * _logs(probabilities) + self.shift, axis=-1))

    @property
    def words(self) -> str:
        """How it was done, for a header."""
        if not self.labels:
            return f"as the head gives them: fewer than {FEWEST} blind labels to calibrate on"
        shift = ", ".join(f"{value:+.3f}" for value in self.shift)
        return (
            f"temperature and a shift a class, softmax({self.factor:.3f} ln p + ({shift})), on {self.labels} labels of"
            " the audit slice, which no head learns from"
        )


def _logs(probabilities: Array) -> Array:
    return np.asarray(np.log(np.maximum(probabilities, LEAST)))


class Probabilities:
    """A head's answers to any galaxy.

    Attributes
    ----------
    calibration : Calibration
    posterior : HeadPosterior or None
        What their errors are of; None for a head that is not ours.
    """

    def __init__(
        self, galaxies: Galaxies, predict: Predict, features: FeatureStore, posterior: HeadPosterior | None
    ) -> None:
        self._predict, self._features, self._count = predict, features, len(galaxies.classes)
        self.posterior = posterior
        rows, labels = blind_labels(galaxies, without=ASIDE)
        codes = [galaxies.classes.index(label) if label in galaxies.classes else -1 for label in labels]
        given = np.array(codes, dtype=np.int64)
        raw = self.raw(galaxies.campaign.stamp_set, rows)
        usable = (given >= 0) & np.isfinite(raw).all(axis=1)
        self.calibration = Calibration.found(raw[usable], given[usable])

    def raw(self, name: str, rows: Rows) -> Array:
        """What the head says of rows of a stamp set, shape (n, C); NaN where features are not finite."""
        return self._answered(name, rows)[0]

    def calibrated(self, name: str, rows: Rows) -> tuple[Array, Array]:
        """Probabilities (n, C) and their standard errors; NaN where there are none."""
        raw, features, finite = self._answered(name, rows)
        found, error = self.calibration.apply(raw), np.full(raw.shape, np.nan)
        if self.posterior is not None and finite.any():
            drawn = self.calibration.apply(self.posterior.predict(features[finite]))
            error[finite] = np.sqrt(((drawn - found[finite]) ** 2).mean(axis=0))
        return found, error

    def _answered(self, name: str, rows: Rows) -> tuple[Array, NDArray[np.float32], NDArray[np.bool_]]:
        found = np.full((len(rows), self._count), np.nan)
        if not len(rows):
            return found, np.empty((0, 0), dtype=np.float32), np.empty(0, dtype=bool)
        features = self._features.shard(name).rows(rows)
        finite = np.asarray(np.isfinite(features).all(axis=1))
        if finite.any():
            found[finite] = self._predict(features[finite])
        return found, features, finite


def probabilities_of(galaxies: Galaxies, stores: Stores) -> Probabilities | None:
    """The answers of the version that serves; None where nothing was learned yet, or it does not answer from features.

    Raises
    ------
    FeatureError, FeaturesError, CheckpointError, KindError
        If features or model are gone, or do not fit.
    """
    if galaxies.version is None:
        return None
    model, kind = load_model(galaxies.version, stores), kind_of(galaxies.campaign)
    if model is None or model.from_features is None:
        return None
    own = stores.of(galaxies.version.encoder)
    with blamed(kind, "telling how sure it is"):
        posterior = kind.posterior(galaxies.version, galaxies.training, own)
    return Probabilities(galaxies, model.from_features, own.features, posterior)


def blind_labels(galaxies: Galaxies, *, without: tuple[str, ...] = ()) -> tuple[Rows, list[str]]:
    """Rows and labels of the audit slice's galaxies of the pool that people have annotated, rows ascending.

    A galaxy of the slice that only has a starting label, or one of a round, was not labelled because it was drawn.
    """
    own = galaxies.campaign.stamp_set
    found = sorted(
        (row, one.label)
        for (name, row), one in galaxies.known.items()
        if name == own and one.audit and one.annotated and one.label and one.label not in without
    )
    kept = galaxies.in_pool(own, np.array([row for row, _ in found], dtype=np.int64))
    found = [pair for pair, inside in zip(found, kept, strict=True) if inside]
    return np.array([row for row, _ in found], dtype=np.int64), [label for _, label in found]
