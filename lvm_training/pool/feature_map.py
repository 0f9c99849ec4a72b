"""Two-dimensional maps of a pool's features, to browse it by eye: like galaxies lie together."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from lvm_training.errors import GalaxyLoopError
from lvm_training.pool.features import FeaturesError

Method = Literal["pca", "t-sne"]
FITTED_ROWS = 20_000  # that the axes are fitted on
TSNE_ROWS = 3000  # a minute of one core; the time grows faster than the rows
PERPLEXITY = 30.0
FLAT = 1e-3  # of the first axis' spread; what varies less is rounding
CHUNK = 8192

Floats = NDArray[np.float64]


class FeatureMapError(GalaxyLoopError):
    """A map that cannot be drawn as asked for."""

    code = "bad_map"


@dataclass(frozen=True)
class FeatureMap:
    """Where galaxies lie on the map.

    Attributes
    ----------
    method : str
        `pca`: distances on the map are the features' own, projected. `t-sne`: neighbours stay neighbours; distances
        between groups and the sizes of groups mean nothing.
    rows : ndarray (n,) int64
        Rows of the pool that are on it, ascending.
    points : ndarray (n, 2)
        In [-1, 1]; the longer axis fills it, and both have one scale.
    explained : float
        Share of the variance that two principal axes hold; 0 where all features are the same.
    """

    method: Method
    rows: NDArray[np.int64]
    points: Floats
    explained: float


def feature_map(matrix: NDArray[np.floating], *, method: Method = "pca", seed: int = 0) -> FeatureMap:
    """The map of a pool's features (N, D), which may be a memory map.

    Principal axes are fitted on up to 20,000 rows drawn with `seed` (randomised, Halko et al. 2011) and all rows are
    projected on them in chunks; each axis points to where its largest weight is positive, so that the same pool gives
    the same map. t-SNE (van der Maaten & Hinton 2008) starts from that map and shows up to 3,000 rows drawn with
    `seed`; of fewer than five it would show nothing, and they are projected instead.

    Raises
    ------
    FeaturesError
        If there is no row, or a feature is not finite; the message names the rows.
    FeatureMapError
        If the method is unknown.
    """
    if method not in ("pca", "t-sne"):
        raise FeatureMapError(f"There is no map {method!r}.", "Ask for pca or t-sne.")
    if matrix.ndim != 2 or not len(matrix):
        raise FeaturesError("The pool has no rows.", "Give features of one stamp or more.")
    rng = np.random.default_rng(seed)
    everything = np.arange(len(matrix), dtype=np.int64)
    rows = everything if method == "pca" else _drawn(everything, TSNE_ROWS, rng)
    mean, axes, explained = _axes(_read(matrix, _drawn(everything, FITTED_ROWS, rng)), seed)
    points = np.concatenate(
        [(_read(matrix, rows[start : start + CHUNK]) - mean) @ axes.T for start in range(0, len(rows), CHUNK)]
    )
    if method == "t-sne" and len(rows) >= 5 and points[:, 0].std() > 0:
        return FeatureMap("t-sne", rows, _framed(_neighbourly(_read(matrix, rows), points, seed)), explained)
    return FeatureMap("pca", rows, _framed(points), explained)


def _drawn(rows: NDArray[np.int64], count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    return rows if len(rows) <= count else np.sort(rng.choice(rows, count, replace=False))


def _read(matrix: NDArray[np.floating], rows: NDArray[np.int64]) -> Floats:
    values = np.asarray(matrix[rows], dtype=np.float64)
    broken = rows[~np.isfinite(values).all(axis=1)]
    if broken.size:
        named = ", ".join(map(str, broken[:5].tolist())) + (", ..." if broken.size > 5 else "")
        raise FeaturesError(
            f"{broken.size} of {len(matrix)} rows have features that are not finite: {named}.",
            "Look at these stamps, then embed the set again.",
        )
    return values


def _axes(sample: Floats, seed: int) -> tuple[Floats, Floats, float]:
    """Mean (D,), two axes (2, D), zero where the features do not vary, and the share of variance along them."""
    # scikit-learn takes seconds to import, and a pool is seldom mapped
    from sklearn.utils.extmath import randomized_svd

    mean = sample.mean(axis=0)
    offsets = sample - mean
    axes, total = np.zeros((2, sample.shape[1])), float((offsets**2).sum())
    # float16 features of one value have a mean that is off by rounding
    if total <= (1e-6 * np.abs(sample).max()) ** 2 * sample.size:
        return mean, axes, 0.0
    _, lengths, found = randomized_svd(offsets, min(2, *sample.shape), random_state=seed)
    found = found[lengths > FLAT * lengths[0]]
    largest = np.abs(found).argmax(axis=1)
    axes[: len(found)] = found * np.sign(found[np.arange(len(found)), largest])[:, None]
    return mean, axes, float((lengths[: len(found)] ** 2).sum() / total)


def _neighbourly(features: Floats, start: Floats, seed: int) -> Floats:
    from sklearn.manifold import TSNE

    # as scikit-learn scales its own first map; identical rows at one place would never part
    first = 1e-4 * (start / start[:, 0].std() + 1e-3 * np.random.default_rng(seed).normal(size=start.shape))
    perplexity = min(PERPLEXITY, (len(features) - 1) / 3)
    return np.asarray(TSNE(2, perplexity=perplexity, init=first, random_state=seed).fit_transform(features))


def _framed(points: Floats) -> Floats:
    low, high = points.min(axis=0), points.max(axis=0)
    half = float((high - low).max()) / 2
    return np.asarray((points - (low + high) / 2) / (half if half > 0 else 1.0))
