"""How sure a head can be of its probabilities: heads drawn from the Laplace approximation of its posterior.

MacKay 1992 (Neural Computation 4, 448): around the weights of least penalised loss the posterior is taken for the
Gaussian whose precision is the loss's curvature, the penalty being the prior. The prior's width counts as well as the
labels, so the intervals allow for what the penalty shrinks (Wahba 1983, J. R. Stat. Soc. B 45, 133).

A penalty that predicts well is no prior that people hold: on correlated features it leaves directions free in which no
galaxy differs, and errors come out far too large. So the spread is tempered (Wenzel et al. 2020, ICML, section 2) by
what labels that were held out say.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cholesky, solve_triangular
from scipy.special import expit, softmax
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from lvm_training.heads import calibrated_regression, classification
from lvm_training.heads.classification import ClassificationHead
from lvm_training.heads.head import Head
from lvm_training.heads.preference import BACKGROUND_ROWS, BACKGROUND_WEIGHT, PreferenceHead

DRAWS = 32  # of heads: their standard deviation is itself known to an eighth
TEMPERS = (1.0, 0.7, 0.5, 0.35, 0.25)  # of the spread, tried on labels that were held out
NOTHING = 0.02  # nats a label by which a loss may be larger and still tell nothing against a temper
FOLDS = 4
BIAS_VARIANCE = 1e3  # of the prior, which is flat; it holds what no label can tell, the sum over classes

LEAST = 1e-12  # probability, before its logarithm is taken

Array = NDArray[np.float64]
Matrix = NDArray[np.float32]


class HeadPosterior:
    """Heads that labels allow about as well as the one that was fitted on them.

    Parameters
    ----------
    head : ClassificationHead or PreferenceHead
        As it was fitted.
    inputs : ndarray (N, D)
        Features of the galaxies it was fitted on.
    labels : sequence of str
        Their N labels, each one of the head's classes.
    background : ndarray (P, D), optional
        Features of the pool that a `PreferenceHead` was told from; may be a memory map.
    seed : int
        What the heads are drawn from.
    draws : int
        How many.
    temper : float
        What their spread is multiplied by.
    """

    def __init__(
        self,
        head: ClassificationHead | PreferenceHead,
        inputs: Matrix,
        labels: Sequence[str],
        *,
        background: Matrix | NDArray[np.float16] | None = None,
        seed: int,
        draws: int = DRAWS,
        temper: float = 1.0,
    ) -> None:
        self.head, self.temper = head, temper
        codes = np.array([head.classes.index(label) for label in labels], dtype=np.int64)
        rng = np.random.default_rng((seed, 3))
        with threadpool_limits(1, "blas"):
            if isinstance(head, ClassificationHead):
                self._best, self._steps = _classification(head, inputs, codes, draws, rng)
            else:
                self._best, self._steps = _preference(head, inputs, codes, background, draws, rng)

    @classmethod
    def of(
        cls,
        head: Head,
        inputs: Matrix,
        labels: Sequence[str],
        *,
        background: Matrix | NDArray[np.float16] | None = None,
        seed: int,
    ) -> "HeadPosterior | None":
        """The tempered posterior of a head of ours; None of another, whose loss nobody knows here."""
        if not isinstance(head, ClassificationHead | PreferenceHead):
            return None
        known = _Labelled(inputs, labels, background)
        return cls(head, inputs, labels, background=background, seed=seed, temper=_temper(head, known, seed))

    def predict(self, inputs: Matrix, temper: float | None = None) -> Array:
        """Probabilities (M, n, C) of features (n, D) by each head that was drawn; `temper` replaces the posterior's."""
        rows = _standard(self.head, inputs)
        drawn = self._best + (self.temper if temper is None else temper) * self._steps
        logits = (rows @ drawn.reshape(-1, rows.shape[1]).T).reshape(len(rows), *drawn.shape[:2])
        if isinstance(self.head, PreferenceHead):
            yes = expit(self.head.slope[0] * logits[..., 0] + self.head.offset[0]).T
            return np.stack([1 - yes, yes], axis=2)
        unseen = self.head.unseen.astype(np.float64)
        found = np.broadcast_to(unseen, (len(rows), *logits.shape[1:2], len(unseen))).copy()
        found[..., np.isfinite(self.head.bias)] += (1 - unseen.sum()) * softmax(logits, axis=2)
        return found.transpose(1, 0, 2)


class _Labelled(NamedTuple):
    """What a head was fitted on."""

    inputs: Matrix
    labels: Sequence[str]
    background: Matrix | NDArray[np.float16] | None


def _temper(head: ClassificationHead | PreferenceHead, known: _Labelled, seed: int) -> float:
    """The largest temper with which heads that were drawn without a fold of the labels tell that fold about best.

    By the log loss of their mean answer: at most `NOTHING`, or one standard error, above the least (Breiman et al.
    1984, section 3.4.3), since the loss hardly changes with the temper, and errors should rather be too large. Of a
    head with a prior it is that of heads without; 1 where labels are too few to hold any out.
    """
    codes = np.array([head.classes.index(label) for label in known.labels], dtype=np.int64)
    counts = np.bincount(codes, minlength=len(head.classes))
    if np.count_nonzero(counts >= FOLDS) < 2:
        return TEMPERS[0]
    rng, fold = np.random.default_rng((seed, 4)), np.empty(len(codes), dtype=np.int64)
    for code in np.unique(codes):
        members = np.flatnonzero(codes == code)
        fold[members] = rng.permutation(len(members)) % FOLDS
    losses = np.zeros((len(TEMPERS), len(codes)))
    for number in range(FOLDS):
        held, kept = np.flatnonzero(fold == number), np.flatnonzero(fold != number)
        posterior = _without(head, known, kept, seed)
        for place, temper in enumerate(TEMPERS):
            mean = posterior.predict(known.inputs[held], temper).mean(axis=0)
            losses[place, held] = -np.log(np.maximum(mean[np.arange(len(held)), codes[held]], LEAST))
    excess = losses - losses[losses.mean(axis=1).argmin()]
    allowed = excess.mean(axis=1) <= np.maximum(excess.std(axis=1) / np.sqrt(len(codes)), NOTHING)
    return TEMPERS[int(allowed.argmax())]


def _without(
    head: ClassificationHead | PreferenceHead, known: _Labelled, kept: NDArray[np.int64], seed: int
) -> HeadPosterior:
    """The posterior of a head of the same kind, fitted on some of the labels."""
    inputs, labels = known.inputs[kept], [known.labels[place] for place in kept]
    if isinstance(head, PreferenceHead):
        preference = PreferenceHead.fit(inputs, labels, seed=seed, classes=head.classes, background=known.background)
        return HeadPosterior(preference, inputs, labels, background=known.background, seed=seed)
    fitted = ClassificationHead.fit(inputs, labels, seed=seed, classes=head.classes)
    return HeadPosterior(fitted, inputs, labels, seed=seed)


def _standard(head: ClassificationHead | PreferenceHead, inputs: Matrix | NDArray[np.float16]) -> Array:
    """Standardised features with a 1 behind them (n, D + 1), whose weight is the bias."""
    if not len(inputs):
        return np.zeros((0, len(head.mean) + 1))
    standard = (np.asarray(inputs, dtype=np.float64) - head.mean) / head.scale
    return np.column_stack([standard, np.ones(len(standard))])


def _classification(
    head: ClassificationHead, inputs: Matrix, codes: NDArray[np.int64], draws: int, rng: np.random.Generator
) -> tuple[Array, Array]:
    """Weights and biases (S, D + 1) of the S classes that the head knows, and steps from them (M, S, D + 1)."""
    seen = np.flatnonzero(np.isfinite(head.bias))
    rows = _standard(head, inputs)
    best = np.column_stack([head.weights[seen], head.bias[seen]]).astype(np.float64)
    before = np.zeros_like(best[:, :-1]) if head.prior_weights is None else head.prior_weights[seen].astype(np.float64)
    p = softmax(rows @ best.T, axis=1)
    pull = (p - np.eye(len(head.classes))[codes][:, seen]).T @ rows[:, :-1]
    strength = _strength(best[:, :-1] - before, pull, classification.STRENGTHS, classification.DEFAULT_STRENGTH)
    count, width = best.shape
    precision = np.zeros((count, width, count, width))
    for one in range(count):
        for other in range(one + 1):
            curve = p[:, one] * ((one == other) - p[:, other])
            part = (rows * curve[:, None]).T @ rows
            precision[one, :, other] = precision[other, :, one] = part
    return best, _steps(best, precision.reshape(best.size, best.size), strength, draws, rng)


def _preference(
    head: PreferenceHead,
    inputs: Matrix,
    codes: NDArray[np.int64],
    background: Matrix | NDArray[np.float16] | None,
    draws: int,
    rng: np.random.Generator,
) -> tuple[Array, Array]:
    """Weights and bias (1, D + 1) of the log-odds before calibration, and steps from them (M, 1, D + 1)."""
    labelled = _standard(head, inputs)
    weak = labelled[:0]
    if background is not None and len(background):
        # which rows the head was told from is not kept; as many others say as much
        weak = _standard(head, background[np.sort(rng.permutation(len(background))[:BACKGROUND_ROWS])])
    rows = np.concatenate([labelled, weak])
    truth = np.concatenate([codes, np.zeros(len(weak))])
    weight = np.concatenate([np.ones(len(codes)), np.full(len(weak), BACKGROUND_WEIGHT / max(len(weak), 1))])
    best = np.append(head.weights, head.bias).astype(np.float64)[None]
    before = 0.0 if head.prior_weights is None else head.prior_weights.astype(np.float64)
    p = expit(rows @ best[0])
    pull = (weight * (p - truth)) @ rows[:, :-1]
    tried, default = calibrated_regression.STRENGTHS, calibrated_regression.DEFAULT_STRENGTH
    strength = _strength(best[0, :-1] - before, pull, tried, default)
    return best, _steps(best, (rows * (weight * p * (1 - p))[:, None]).T @ rows, strength, draws, rng)


def _strength(weights: Array, pull: Array, tried: Sequence[float], default: float) -> float:
    """The prior variance that a head was fitted with, which it does not say.

    At the least loss the labels pull as hard as the penalty: weights / strength = -pull.
    """
    work = -float((weights * pull).sum())
    if work <= 0 or not weights.any():
        return default
    return float(np.clip((weights**2).sum() / work, min(tried), max(tried)))


def _steps(best: Array, precision: Array, strength: float, draws: int, rng: np.random.Generator) -> Array:
    """Draws (M, S, D + 1) from the Gaussian around 0 with the curvature at `best` and the prior's precision."""
    prior = np.full(best.shape, 1 / strength)
    prior[:, -1] = 1 / BIAS_VARIANCE
    precision[np.diag_indices_from(precision)] += prior.ravel()
    factor = cholesky(precision, lower=True, overwrite_a=True)
    steps = solve_triangular(factor, rng.standard_normal((best.size, draws)), lower=True, trans="T")
    return np.asarray(steps.T.reshape(draws, *best.shape))
