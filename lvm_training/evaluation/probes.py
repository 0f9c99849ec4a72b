"""How much a frozen encoder's features know: neighbours, a linear probe, and the labels a model needs.

`few_shot_curve` runs any model through the same draws of labels; `label_efficiency` says how many times fewer labels
one model needs than another, the measure of Fu et al. 2024.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.neighbors import KNeighborsClassifier

from lvm_training.errors import LabelError, StampError
from lvm_training.evaluation.metrics import classification_metrics
from lvm_training.files import write_atomically
from lvm_training.heads.classification import ClassificationHead
from lvm_training.pool.features import FeaturesError

NO_LABEL = "no label"

Rows = NDArray[np.int64]
FitPredict = Callable[[Rows, list[str], Rows], NDArray[np.float64]]


@dataclass(frozen=True)
class Curve:
    """Macro AUC against the number of labels.

    Attributes
    ----------
    sizes : tuple of int
        Numbers of labels in all, ascending.
    auc : ndarray (draws, sizes)
        One class against the rest, mean over classes.
    left_out : tuple of int
        Sizes asked for that some class has too few training rows for.
    """

    sizes: tuple[int, ...]
    auc: NDArray[np.float64]
    left_out: tuple[int, ...] = ()

    @property
    def mean(self) -> NDArray[np.float64]:
        """Mean over the draws, shape (sizes,)."""
        return np.asarray(self.auc.mean(axis=0))

    @property
    def spread(self) -> NDArray[np.float64]:
        """Standard deviation over the draws, shape (sizes,); 0 for a single draw."""
        return np.asarray(self.auc.std(axis=0, ddof=min(1, len(self.auc) - 1)))


@dataclass(frozen=True)
class Crossing:
    """Where the mean of a curve first reaches an AUC.

    Attributes
    ----------
    value : float or None
        Number of labels; None if the curve never gets there.
    n_max : int
        The curve's largest size.
    at_most : bool
        Whether the smallest size is there already, so that `value` is only an upper bound.
    """

    value: float | None
    n_max: int
    at_most: bool = False


def fixed_test_half(names: Sequence[str], byte: int = 0) -> NDArray[np.bool_]:
    """True for the stamps of the test half: those whose file name's SHA-256 has an odd first byte, or another.

    Only the last part of a path counts, so the halves stay the same wherever the files lie and whatever is added.
    """
    hashes = (hashlib.sha256(PurePosixPath(name).name.encode()).digest() for name in names)
    return np.array([bool(digest[byte] & 1) for digest in hashes], dtype=bool)


def nearest_neighbours(
    train_features: NDArray[np.float32],
    train_labels: Sequence[str],
    test_features: NDArray[np.float32],
    k: int = 15,
) -> NDArray[np.float64]:
    """Probabilities (M, C) of the sorted classes: the votes of the `k` nearest rows, weighted by 1 / cosine distance.

    Parameters
    ----------
    train_features, test_features : ndarray (N, D), (M, D)
        Feature vectors; all N rows vote where there are fewer than `k`.
    train_labels : sequence of str
        N classes.

    Raises
    ------
    FeaturesError, LabelError
        If a feature is not finite, shapes disagree, or fewer than two classes are labelled.
    """
    _check_features(train_features, train_labels, test_features)
    voters = KNeighborsClassifier(min(k, len(train_labels)), weights="distance", metric="cosine")
    voters.fit(np.asarray(train_features, dtype=np.float64), list(train_labels))
    return np.asarray(voters.predict_proba(np.asarray(test_features, dtype=np.float64)))


def linear_probe(
    train_features: NDArray[np.float32],
    train_labels: Sequence[str],
    test_features: NDArray[np.float32],
    *,
    seed: int,
) -> NDArray[np.float64]:
    """Probabilities (M, C) of the sorted classes from the head that campaigns use, `ClassificationHead`.

    Raises
    ------
    FeaturesError, LabelError
        As `nearest_neighbours`.
    """
    _check_features(train_features, train_labels, test_features)
    return ClassificationHead.fit(train_features, train_labels, seed=seed).predict(test_features)


def few_shot_curve(
    labels: Sequence[str],
    train_rows: Rows,
    test_rows: Rows,
    *,
    sizes: Sequence[int],
    draws: int,
    seed: int,
    fit_predict: FitPredict,
    balanced: bool = True,
    needed: int = 2,
) -> Curve:
    """AUC on the test rows of models fitted on a few labels of the training rows.

    Parameters
    ----------
    labels : sequence of str
        Classes of all rows; only those of the rows named below are read.
    train_rows, test_rows : ndarray of int
        What labels are drawn from, and what is measured on.
    sizes : sequence of int
        Numbers of labels in all; where `balanced` multiples of the number of classes, otherwise 0 is one as well.
    draws, seed : int
        Number of draws, and what they are drawn from. The labels of a draw's smaller size are among those of its
        larger ones, and depend on nothing but `labels`, `train_rows` and `seed`: models are compared on the same.
    fit_predict : callable
        From training rows, their labels and test rows to the probabilities (M, C) of the test rows, in the order of
        the sorted classes of these labels, or of all.
    balanced : bool
        Whether there are as many labels of each class. Otherwise rows are drawn as they come, and nothing is known of
        a class that is missing.
    needed : int
        How many classes must be labelled before `fit_predict` is asked; with fewer nothing is known of any.

    Raises
    ------
    LabelError
        If training or test rows have one class, a test row's class is not among the training rows, rows are in both,
        a size is no multiple of the number of classes though they are balanced, or no size can be supplied.
    FeaturesError
        If `fit_predict` gives probabilities of another shape, or some that are not finite.
    """
    known, truth = np.array(labels)[train_rows], np.array(labels)[test_rows].tolist()
    classes = _classes(known.tolist(), truth)
    _check_apart(train_rows, test_rows)
    groups = [train_rows[known == name] for name in classes] if balanced else [train_rows]
    usable, left_out = _sizes(sizes, min(map(len, groups)), len(groups), least=1 if balanced else 0)
    auc = np.zeros((draws, len(usable)))
    for draw in range(draws):
        rng = np.random.default_rng((seed, draw))
        order = [rng.permutation(rows) for rows in groups]
        for place, size in enumerate(usable):
            rows = np.concatenate([group[: size // len(groups)] for group in order])
            probabilities = _answered(fit_predict, rows, np.array(labels)[rows].tolist(), test_rows, classes, needed)
            _check_probabilities(probabilities, (len(test_rows), len(classes)))
            auc[draw, place] = classification_metrics(truth, probabilities, classes)["auc"]
    return Curve(usable, auc, left_out)


def _answered(
    fit_predict: FitPredict, rows: Rows, known: list[str], test_rows: Rows, classes: tuple[str, ...], needed: int
) -> NDArray[np.float64]:
    """Probabilities (M, C) of all classes: none of a class without a label, all alike with fewer than are needed."""
    found = sorted(set(known))
    if len(found) < needed:
        return np.full((len(test_rows), len(classes)), 1 / len(classes))
    answers = fit_predict(rows, known, test_rows)
    if answers.ndim != 2 or answers.shape[1] == len(classes) or answers.shape[1] != len(found):
        return answers
    probabilities = np.zeros((len(test_rows), len(classes)))
    probabilities[:, [classes.index(name) for name in found]] = answers
    return probabilities


def remembered(fit_predict: FitPredict, folder: Path) -> FitPredict:
    """A `fit_predict` that keeps its answers in `folder`, so that a curve killed after hours goes on where it was.

    Parameters
    ----------
    fit_predict : callable
        As in `few_shot_curve`.
    folder : Path
        Made when the first answer is kept; it must name all that answers depend on beside the rows and their labels.
    """

    def answer(rows: Rows, known: list[str], wanted: Rows) -> NDArray[np.float64]:
        asked = json.dumps([rows.tolist(), known, wanted.tolist()])
        path = folder / f"{hashlib.sha256(asked.encode()).hexdigest()[:16]}.npy"
        if path.is_file():
            return np.asarray(np.load(path, allow_pickle=False))
        probabilities = fit_predict(rows, known, wanted)

        def write(partial: Path) -> None:
            with partial.open("wb") as stream:
                np.save(stream, probabilities, allow_pickle=False)

        write_atomically(path, write)
        return probabilities

    return answer


def labels_to_reach(curve: Curve, auc: float = 0.9) -> Crossing:
    """The number of labels at which the mean curve first reaches an AUC, interpolated in log n; from 0 on in n."""
    mean, sizes = curve.mean, curve.sizes
    reached = np.flatnonzero(mean >= auc)
    if not reached.size:
        return Crossing(None, sizes[-1])
    after = int(reached[0])
    if after == 0:
        return Crossing(float(sizes[0]), sizes[-1], at_most=sizes[0] > 0)
    share = (auc - mean[after - 1]) / (mean[after] - mean[after - 1])
    if sizes[after - 1] == 0:
        return Crossing(float(sizes[after] * share), sizes[-1])
    return Crossing(float(sizes[after - 1] * (sizes[after] / sizes[after - 1]) ** share), sizes[-1])


def label_efficiency(baseline: Crossing, ours: Crossing) -> str:
    """How many times more labels the baseline needs than ours, with one decimal.

    "> x" or "< x" where the curves only bound it (the baseline never gets there, or a curve's smallest size is there
    already), "unknown" where they bound neither side, "not reached" where ours never gets there, "no label" where ours
    is there without any.
    """
    if ours.value is None:
        return "not reached"
    if ours.value == 0:
        return NO_LABEL
    at_least = baseline.value is None or ours.at_most
    if at_least and baseline.at_most:
        return "unknown"
    needed = baseline.n_max if baseline.value is None else baseline.value
    bound = "> " if at_least else "< " if baseline.at_most else ""
    return f"{bound}{needed / ours.value:.1f}"


def pixel_pca(images: torch.Tensor, train_rows: Rows, *, components: int = 50) -> NDArray[np.float32]:
    """The features no model was trained for: the leading principal components of raw pixels, shape (N, components).

    Parameters
    ----------
    images : Tensor (N, 3, S, S)
        Rendered pictures.
    train_rows : ndarray of int
        Rows the components are fitted on, without labels; fewer rows than `components` give as many components.

    Raises
    ------
    StampError
        If pictures have another shape or pixels that are not finite.
    """
    if images.ndim != 4 or not torch.isfinite(images).all():
        raise StampError(
            f"Principal components need finite pictures (N, 3, S, S); these are {tuple(images.shape)}.",
            "Render them with `render`.",
        )
    pixels = images.flatten(1).numpy().astype(np.float32)
    axes = PCA(min(components, len(train_rows), pixels.shape[1]), random_state=0).fit(pixels[train_rows])
    return np.asarray(axes.transform(pixels), dtype=np.float32)


def _check_features(train: NDArray[np.float32], labels: Sequence[str], test: NDArray[np.float32]) -> None:
    if train.ndim != 2 or test.ndim != 2 or train.shape[1] != test.shape[1] or len(train) != len(labels):
        raise FeaturesError(
            f"Features {train.shape} with {len(labels)} labels cannot be probed on features {test.shape}.",
            "Training and test features need one encoder, and training features one label each.",
        )
    if len(set(labels)) < 2:
        raise LabelError(f"A probe needs two classes; there are {len(labels)} labels of {len(set(labels))}.")
    broken = [name for name, part in (("training", train), ("test", test)) if not np.isfinite(part).all()]
    if broken:
        raise FeaturesError(f"Some {' and '.join(broken)} features are not finite.", "Embed the stamp set again.")


def _check_probabilities(probabilities: NDArray[np.float64], shape: tuple[int, int]) -> None:
    if probabilities.shape != shape or not np.isfinite(probabilities).all():
        raise FeaturesError(
            f"A model must give finite probabilities of shape {shape}; it gave {probabilities.shape}.",
            "Check its features for values that are not finite.",
        )


def _classes(known: Sequence[str], truth: Sequence[str]) -> tuple[str, ...]:
    classes, tested = tuple(sorted(set(known))), set(truth)
    if len(classes) < 2 or len(tested) < 2:
        raise LabelError(
            f"A curve needs two classes; there are {len(classes)} to train on and {len(tested)} to test on."
        )
    if tested - set(classes):
        raise LabelError(f"Classes without a training row: {', '.join(sorted(tested - set(classes)))}.")
    return classes


def _check_apart(train_rows: Rows, test_rows: Rows) -> None:
    shared = np.intersect1d(train_rows, test_rows)
    if shared.size:
        raise LabelError(f"{shared.size} rows are both trained and tested on, first row {shared[0]}.")


def _sizes(sizes: Sequence[int], rows: int, classes: int, *, least: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The sizes from `least` on that classes of at least `rows` rows can supply, and the others, both ascending."""
    uneven = [size for size in sizes if size < least or size % classes]
    if uneven:
        raise LabelError(
            f"{uneven[0]} labels cannot be shared evenly by {classes} classes.", f"Choose multiples of {classes}."
        )
    usable = tuple(sorted({size for size in sizes if size <= rows * classes}))
    if not usable:
        raise LabelError(
            f"The rarest of {classes} classes has {rows} training rows, too few for any of the sizes {[*sizes]}.",
            "Label more, or choose smaller sizes.",
        )
    return usable, tuple(sorted(set(sizes) - set(usable)))
