"""The head of parameters: numbers from features, each with an error that covers the truth 68 times in a hundred."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import ClassVar, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from lvm_training.errors import LabelError
from lvm_training.heads.classification import feature_scale
from lvm_training.heads.head import SavedHead
from lvm_training.parameters.parameter import (
    ANGLE,
    ELONGATION,
    HALF_TURN,
    UNKNOWN_ANGLE,
    Parameter,
    angle_between,
    find_parameter,
)
from lvm_training.parameters.ridge import Members, fit_members

MEMBERS = 12
FEWEST = 20  # values of a parameter that it can be learned from
FEWEST_CORRECTIONS = 5  # values that change what a head before says
FEWEST_SPREAD = 100  # values from which on galaxies have errors of their own
COVERAGE = 0.6827  # of one standard deviation
UNKNOWN_ELONGATION = 0.5  # of a galaxy with an angle and no axis ratio
SPREAD_PENALTY = 0.1  # of the errors' regression, as a share of all features' sums of squares
LEAST_RESIDUAL = 1e-3  # of the mean one: its logarithm goes no lower
COMMON, FAR = 0.999, 1.25  # share of what was learned from that is like it, and how much further is unlike it
ROUND = 0.05  # 1 - q of a galaxy without an angle

Array = NDArray[np.float64]
Features = NDArray[np.float32]


class Measured(NamedTuple):
    """Numbers of galaxies.

    Attributes
    ----------
    values, errors : ndarray (N, P)
        In the parameters' units; NaN where one is not known. An error is half the width of a 68 % interval.
    """

    values: Array
    errors: Array


class ParameterHead(SavedHead):
    """An ensemble of ridge regressions on standardised features.

    What is positive is fitted in its logarithm, redshift in ln(1 + z). The position angle t of an ellipse is fitted as
    (1 - q) cos 2t and (1 - q) sin 2t, which has no jump at half a turn and fades where a round galaxy has none; it is
    read from `oriented` features (`oriented.py`), since the others are the same however a galaxy lies.

    An error is the square root of a galaxy's expected squared residual, by a regression of its logarithm on the
    features, and of the variance among members, times the factor with which 68 % of the values that members did not
    see lie within it.

    Parameters
    ----------
    mean, scale : ndarray (D,)
        What standardises a feature.
    weights, bias : ndarray (M, P, D), (M, P)
        Of each member; the bias is NaN for what is not known.
    spread : ndarray (P, D + 1)
        Logarithm of the residual's size: weights, and a constant.
    factor : ndarray (P,)
        By which errors are scaled.
    reach : ndarray (1,)
        Mean square of the standardised features that one in a thousand of those it learned from exceeds.
    turn_scale, turn_weights : ndarray (2, D), (M, 2, D), or None
        What oriented features are divided by, and weights of the doubled cosine and sine.
    classes : tuple of str
        Names of the parameters, keys of `PARAMETERS`.
    """

    kind: ClassVar[str] = "parameters"
    parts: ClassVar[tuple[str, ...]] = ("mean", "scale", "weights", "bias", "spread", "factor", "reach")
    optional: ClassVar[tuple[str, ...]] = ("turn_scale", "turn_weights")

    mean: Features
    scale: Features
    weights: Features
    bias: Features
    spread: Features
    factor: Features
    reach: Features
    turn_scale: Features | None
    turn_weights: Features | None

    @classmethod
    def fit(
        cls,
        inputs: Features,
        truth: Array,
        *,
        names: Sequence[str],
        seed: int,
        oriented: Features | None = None,
        prior: "ParameterHead | None" = None,
    ) -> Self:
        """A head of what is known of N galaxies; the same bytes for the same values and seed.

        Parameters
        ----------
        inputs : ndarray (N, D)
            Features.
        truth : ndarray (N, P)
            Values in the parameters' units; NaN where one is missing, as one is that its parameter cannot be.
        names : sequence of str
            The parameters, keys of `PARAMETERS`.
        seed : int
            What the bootstrap draws from.
        oriented : ndarray (N, 2, D), optional
            Oriented features; without them nothing is said of the position angle.
        prior : ParameterHead, optional
            What is corrected. A parameter with fewer than five values is left as it says.

        Raises
        ------
        ParameterError
            If there is no such parameter.
        LabelError
            If there are not so many values as features, of no parameter enough, or a feature is not finite.
        """
        if truth.shape != (len(inputs), len(names)):
            raise LabelError(f"There are values of shape {truth.shape} for {len(inputs)} galaxies, {len(names)} names.")
        parameters = [find_parameter(name) for name in names]
        wide = np.asarray(inputs, np.float64)
        _check_finite(wide)
        with threadpool_limits(limits=1):
            made = _Fitting(parameters, cls._blank(wide, parameters, prior), wide, truth, seed)
            made.reach()
            done = made.scalars()
            if oriented is not None and ANGLE in names:
                done |= made.angle(np.asarray(oriented, np.float64))
        if not done and prior is None:
            counts = ", ".join(f"{name} {n}" for name, n in zip(names, made.known.sum(axis=0), strict=True))
            raise LabelError(f"No parameter has {FEWEST} values: {counts}.", "Label more, or name other columns.")
        return cls.from_arrays(made.arrays, tuple(names))

    @classmethod
    def _blank(cls, wide: Array, parameters: Sequence[Parameter], prior: "ParameterHead | None") -> dict[str, Array]:
        """The arrays of a head that knows what its prior does, or nothing."""
        count, width = len(parameters), wide.shape[1]
        arrays = {
            "mean": wide.mean(axis=0) if len(wide) else np.zeros(width),
            "scale": feature_scale(wide) if len(wide) else np.ones(width),
            "weights": np.zeros((MEMBERS, count, width)),
            "bias": np.full((MEMBERS, count), np.nan),
            "spread": np.zeros((count, width + 1)),
            "factor": np.ones(count),
            "reach": np.zeros(1),
        }
        if prior is None:
            return arrays
        arrays |= {"mean": np.asarray(prior.mean, np.float64), "scale": np.asarray(prior.scale, np.float64)}
        arrays["reach"] = np.asarray(prior.reach, np.float64)
        for place, one in enumerate(parameters):
            if one.name in prior.classes:
                its = prior.classes.index(one.name)
                arrays["weights"][:, place], arrays["bias"][:, place] = prior.weights[:, its], prior.bias[:, its]
                arrays["spread"][place], arrays["factor"][place] = prior.spread[its], prior.factor[its]
        if prior.turn_weights is not None and prior.turn_scale is not None:
            arrays |= {
                "turn_scale": np.asarray(prior.turn_scale, np.float64),
                "turn_weights": np.asarray(prior.turn_weights, np.float64),
            }
        return arrays

    def only(self, names: Sequence[str]) -> Self:
        """A head of some parameters, in that order; of those that this one does not know it says nothing."""
        width = len(self.mean)
        nothing = np.zeros((0, width), np.float32)
        return type(self).fit(nothing, np.zeros((0, len(names))), names=names, seed=0, prior=self)

    def predict(self, inputs: Features, oriented: Features | None = None) -> Measured:
        """Values and errors (N, P) in the order of `classes`, within what each parameter can be.

        Parameters
        ----------
        inputs : ndarray (N, D)
        oriented : ndarray (N, 2, D), optional
            Without them the position angle is NaN.
        """
        standard = (np.asarray(inputs, np.float64) - self.mean) / self.scale
        values, errors = (np.full((len(standard), len(self.classes)), np.nan) for _ in range(2))
        for place, parameter in enumerate(map(find_parameter, self.classes)):
            spread = np.exp(standard @ self.spread[place, :-1] + self.spread[place, -1])
            if parameter.name == ANGLE:
                if oriented is None or self.turn_weights is None or np.isnan(self.bias[:, place]).all():
                    continue
                turns = self._turns(np.asarray(oriented, np.float64))
                angle, raw = _angles(turns.mean(axis=1), spread, turns.var(axis=1).mean(axis=0))
                values[:, place], errors[:, place] = angle, np.minimum(self.factor[place] * raw, UNKNOWN_ANGLE)
                continue
            answers = standard @ self.weights[:, place].T.astype(np.float64) + self.bias[:, place]
            error = self.factor[place] * np.sqrt(spread**2 + answers.var(axis=1))
            value, errors[:, place] = parameter.measured(answers.mean(axis=1), error)
            values[:, place] = np.clip(value, parameter.least, parameter.most)
        # where all that was learned from is alike, its spread is nothing; the last decimal is unknown all the same
        return Measured(values, np.maximum(errors, [0.5 * 10 ** -find_parameter(name).digits for name in self.classes]))

    def is_unlike(self, inputs: Features) -> NDArray[np.bool_]:
        """Which of some features (N, D) lie beyond all but one in a thousand of those that were learned from (N,)."""
        standard = (np.asarray(inputs, np.float64) - self.mean) / self.scale
        return np.asarray((standard**2).mean(axis=1) > FAR * self.reach[0])

    def _turns(self, oriented: Array) -> Array:
        """(1 - q) cos 2t and (1 - q) sin 2t of each member, (2, M, N)."""
        assert self.turn_weights is not None and self.turn_scale is not None  # noqa: S101
        scaled = oriented / self.turn_scale
        return np.stack([self.turn_weights[:, one].astype(np.float64) @ scaled[:, one].T for one in range(2)])


def _check_finite(features: Array) -> None:
    broken = np.flatnonzero(~np.isfinite(features).all(axis=1))
    if broken.size:
        raise LabelError(
            f"{broken.size} of {len(features)} galaxies have features that are not finite, first at row {broken[0]}.",
            "Embed the stamp set again.",
        )


def _possible(parameters: Sequence[Parameter], truth: Array) -> NDArray[np.bool_]:
    """Which values (N, P) a parameter can have; an angle may have any."""
    found = np.ones(truth.shape, dtype=bool)
    for place, one in enumerate(parameters):
        if one.scale != "angle":
            found[:, place] = one.inside(truth[:, place])
    return found


class _Fitting:
    """One fit, into `arrays`.

    Attributes
    ----------
    arrays : dict
        What is known before, by part of the head.
    known : ndarray of bool (N, P)
        Which values there are.
    """

    def __init__(
        self, parameters: Sequence[Parameter], arrays: dict[str, Array], wide: Array, truth: Array, seed: int
    ) -> None:
        self.arrays = arrays
        self.known: NDArray[np.bool_] = np.isfinite(truth) & _possible(parameters, truth)
        self._parameters, self._seed = list(parameters), seed
        self._truth = np.where(self.known, truth, np.nan)
        self._standard = (wide - arrays["mean"]) / arrays["scale"]
        counts = self.known.sum(axis=0)
        # whether a head before says anything of a parameter, which is then corrected
        self._correcting = np.asarray(np.isfinite(arrays["bias"]).all(axis=0))
        self._enough = np.asarray(counts >= np.where(self._correcting, FEWEST_CORRECTIONS, FEWEST))

    def reach(self) -> None:
        """How far features go that anything was learned from; no less than before."""
        taught = self._standard[self.known.any(axis=1)]
        if len(taught) >= FEWEST:
            size = np.quantile((taught**2).mean(axis=1), COMMON)
            self.arrays["reach"] = np.maximum(self.arrays["reach"], size)

    def scalars(self) -> bool:
        """Fit what is a number on a line; whether anything had values enough."""
        groups: dict[tuple[bool, bytes], list[int]] = {}
        for place, parameter in enumerate(self._parameters):
            if self._enough[place] and parameter.scale != "angle":
                # what is known of the same galaxies shares its decompositions
                key = (bool(self._correcting[place]), self.known[:, place].tobytes())
                groups.setdefault(key, []).append(place)
        for (correcting, _), places in groups.items():
            self._group(places, correcting)
        return bool(groups)

    def _group(self, places: list[int], correcting: bool) -> None:
        rows = self.known[:, places[0]]
        standard = self._standard[rows]
        fitted = [self._parameters[place].fitted(self._truth[rows, place]) for place in places]
        before = [self._said(place, standard) if correcting else np.zeros(len(standard)) for place in places]
        targets = np.stack(fitted, axis=1) - np.stack(before, axis=1)
        members = fit_members(standard, targets, seed=self._seed, members=MEMBERS, correcting=correcting)
        for place, target, found in zip(places, targets.T, members, strict=True):
            bias = self.arrays["bias"][:, place]
            self.arrays["weights"][:, place] += found.weights
            self.arrays["bias"][:, place] = np.where(np.isfinite(bias), bias, 0.0) + found.bias
            residual = np.abs(target - found.held_out)
            self._learn_error(place, standard, residual, partial(_times, residual, found.variance))

    def angle(self, oriented: Array) -> bool:
        """Fit the position angle, as doubled sine and cosine; whether there were values enough."""
        names = [one.name for one in self._parameters]
        place = names.index(ANGLE)
        if not self._enough[place]:
            return False
        rows, known = self.known[:, place], oriented[self.known[:, place]]
        if not self._correcting[place]:
            rms = np.sqrt((known**2).mean(axis=0))
            self.arrays["turn_scale"] = np.where(rms > 1e-3 * rms.max(), rms, 1.0)
            self.arrays["turn_weights"] = np.zeros((MEMBERS, 2, oriented.shape[2]))
            self.arrays["bias"][:, place] = 0.0
        scaled = known / self.arrays["turn_scale"]
        ratio = self._truth[rows, names.index(ELONGATION)] if ELONGATION in names else np.full(len(known), np.nan)
        long = np.where(np.isfinite(ratio), 1 - ratio, UNKNOWN_ELONGATION)
        truth = self._truth[rows, place]
        targets = long * np.stack([np.cos(np.radians(2 * truth)), np.sin(np.radians(2 * truth))])
        before = np.einsum("mtd,ntd->tmn", self.arrays["turn_weights"], scaled).mean(axis=1)
        parts = [self._turn(one, scaled[:, one], targets[one] - before[one]) for one in range(2)]
        held_out = before + np.stack([part.held_out for part in parts])
        variance = np.mean([part.variance for part in parts], axis=0)
        residual = np.sqrt(((targets - held_out) ** 2).mean(axis=0))
        off = np.abs(angle_between(_angles(held_out, residual, variance)[0], truth))
        # of what is nearly round the angle means nothing, and nothing is learned of its error
        off[long < ROUND] = np.nan
        self._learn_error(
            place, self._standard[rows], residual, lambda spread: off / _angles(held_out, spread, variance)[1]
        )
        return True

    def _turn(self, one: int, scaled: Array, target: Array) -> Members:
        (found,) = fit_members(scaled, target[:, None], seed=self._seed, members=MEMBERS, centred=False)
        self.arrays["turn_weights"][:, one] += found.weights
        return found

    def _said(self, place: int, standard: Array) -> Array:
        """What the head said before, in the scale of the fit."""
        return np.asarray((standard @ self.arrays["weights"][:, place].T + self.arrays["bias"][:, place]).mean(axis=1))

    def _learn_error(self, place: int, standard: Array, residual: Array, off: Callable[[Array], Array]) -> None:
        """How large a galaxy's residual is expected to be, and the factor with which errors cover 68 % of the truth.

        Parameters
        ----------
        residual : ndarray (n,)
            Of values that were held out, in the scale of the fit.
        off : callable
            Gives, for expected residuals (n,), by how many errors each value is off.
        """
        held_out = np.isfinite(residual)
        count = int(held_out.sum())
        if count < FEWEST:
            return
        size = np.log(np.maximum(residual[held_out], LEAST_RESIDUAL * residual[held_out].mean() + 1e-12))
        # the expected logarithm of |x| lies below that of its spread, if x is normal: ln 2 / 2 + gamma / 2
        constant, weights = size.mean() + (np.log(2) + np.euler_gamma) / 2, np.zeros(standard.shape[1])
        if count >= FEWEST_SPREAD:
            middle = standard[held_out].mean(axis=0)
            inner = standard[held_out] - middle
            width = inner.shape[1]
            matrix = inner.T @ inner + SPREAD_PENALTY * count * width * np.eye(width)
            weights = np.linalg.solve(matrix, inner.T @ (size - size.mean()))
            constant -= middle @ weights
        self.arrays["spread"][place] = [*weights, constant]
        ratios = off(np.exp(standard @ weights + constant))
        ratios = ratios[np.isfinite(ratios)]
        # one rank further than the quantile: what a value that is not among them needs
        rank = min(COVERAGE * (len(ratios) + 1) / max(len(ratios), 1), 1.0)
        self.arrays["factor"][place] = np.quantile(ratios, rank) if len(ratios) else 1.0


def _times(residual: Array, variance: Array, spread: Array) -> Array:
    """By how many errors, not scaled yet, values are off."""
    return np.asarray(residual / np.sqrt(spread**2 + variance))


def _angles(turns: Array, spread: Array, variance: Array) -> tuple[Array, Array]:
    """Position angles and their errors, degrees, from (1 - q) cos 2t and (1 - q) sin 2t, shape (2, N).

    The error is that of the two, by spread and variance, seen at their distance from zero.
    """
    long = np.maximum(np.hypot(*turns), 1e-6)
    angle = np.degrees(np.arctan2(turns[1], turns[0])) / 2 % HALF_TURN
    return angle, np.degrees(np.sqrt(spread**2 + variance) / long) / 2
