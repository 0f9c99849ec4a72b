"""Heads with catalogue columns beside the image, against the image alone and the columns alone, on simulated stamps.

Photometric redshift: drawn galaxies whose colours follow their redshift, with g - r, r - z and r as a catalogue would
measure them, errors of 0.03 mag and a tenth missing; RMSE of dz / (1 + z). Lensed quasars: a smooth galaxy with two
point sources beside it, of quasars' colours; the look-alikes have one star or two there, some as blue. Columns are
W1 - W2, above 0.8 for quasars (Stern et al. 2012, ApJ 753, 30), and the significance of Gaia's proper motion, which a
quasar has none of (Lemon et al. 2019, MNRAS 483, 4242); both are missing of a quarter. 1 - AUC of lenses.
Galaxies are those of the stage `simulate`; a seed draws which of them, labels, errors and point sources. Features are
kept in build/benchmarks/multimodal.

    python -m benchmarks.bench_multimodal [--seeds 3] [--count 500] [--labels 200] [--stamps build/stamps/morphology.h5]
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from benchmarks.report import FOLDER, Row, asked_encoder, save
from lvm_training.galaxies.spectra import nanomaggies
from lvm_training.heads.beside import Beside, Values
from lvm_training.heads.classification import ClassificationHead
from lvm_training.model.encoder import Encoder
from lvm_training.parameters.head import ParameterHead
from lvm_training.paths import RELEASED_LVM, STAMP_FILE
from lvm_training.stamps.render import render_pixels
from lvm_training.stamps.stampset import LEGACY_PIXEL_SCALE, StampSet

KEPT = FOLDER / "multimodal"
ERROR, GONE = 0.03, 0.1  # mag; share of the colours that are missing
LOST = 0.25  # share of W1 - W2 and of proper motions that are
LENS, OTHER = "lensed quasar", "look-alike"
CHUNK = 128

Array = NDArray[np.float64]
Matrix = NDArray[np.float32]
Rows = NDArray[np.int64]
Fitted = Callable[[Matrix, Matrix], float]
"""Takes features of labelled and of other galaxies; gives how good a head of the first is on the others."""


def embedded(name: str, stamps: StampSet, pixels: Matrix, encoder: Encoder) -> Matrix:
    """Features of pixels (N, 3, H, W) of a set, made once."""
    kept = KEPT / f"{name}-{encoder.digest}.npy"
    if not kept.is_file():
        KEPT.mkdir(parents=True, exist_ok=True)
        parts = []
        for start in range(0, len(pixels), CHUNK):
            some = pixels[start : start + CHUNK]
            parts.append(encoder.features(render_pixels(stamps, some, encoder.rendering)).numpy())
        np.save(kept, np.concatenate(parts))
    return np.asarray(np.load(kept, allow_pickle=False), np.float32)


def photometry(stamps: StampSet, rows: Rows, rng: np.random.Generator) -> dict[str, Array]:
    """Colours and a magnitude as a catalogue measures them."""
    g, r, z = (np.asarray(stamps.column(f"mag_{band}"), np.float64)[rows] for band in "grz")
    g, r, z = (band + rng.normal(0, ERROR, len(rows)) for band in (g, r, z))
    found = {"g_r": g - r, "r_z": r - z, "mag_r": r}
    for name in ("g_r", "r_z"):
        found[name][rng.random(len(rows)) < GONE] = np.nan
    return found


def with_points(stamps: StampSet, rows: Rows, lenses: NDArray[np.bool_], rng: np.random.Generator) -> Matrix:
    """Pixels of galaxies with two images of a quasar where they lens, else a star or two."""
    pixels = np.asarray(stamps.pixels(rows), np.float32).copy()
    r = np.asarray(stamps.column("mag_r"), np.float64)[rows]
    psf = np.stack([np.asarray(stamps.column(f"psf_{band}"), np.float64)[rows] for band in "grz"], axis=1)
    for place, lens in enumerate(lenses):
        pixels[place] += _points(float(r[place]), psf[place], bool(lens), pixels.shape[-1], rng)
    return pixels


def _points(mag_r: float, psf: Array, lens: bool, side: int, rng: np.random.Generator) -> Matrix:
    """Two images of one quasar on opposite sides, or one star or two at random ones; `psf` as `survey.Seeing`."""
    first = rng.uniform(0, 2 * np.pi)
    # the second image of a galaxy that lenses lies opposite, nearer and fainter
    angles = [first, first + np.pi + rng.normal(0, 0.25)] if lens or rng.random() < 0.5 else [first]
    blue = lens or rng.random() < 0.5
    found = np.zeros((3, side, side), np.float32)
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    for place, angle in enumerate(angles):
        away = rng.uniform(1.0, 1.8) * (1 - 0.3 * place) / LEGACY_PIXEL_SCALE
        light = float(nanomaggies(mag_r + rng.uniform(0.5, 2.0) + place * rng.uniform(0.2, 1.2)))
        g_r, r_z = (rng.normal(0.2, 0.15), rng.normal(0.1, 0.15)) if blue else (rng.uniform(0.3, 1.3),) * 2
        for band, flux in enumerate((light * 10 ** (-0.4 * g_r), light, light * 10 ** (0.4 * r_z))):
            spot = np.exp(-((x - away * np.cos(angle)) ** 2 + (y - away * np.sin(angle)) ** 2) / (2 * psf[band] ** 2))
            found[band] += (flux * spot / spot.sum()).astype(np.float32)
    return found


def quasar_columns(lenses: NDArray[np.bool_], rng: np.random.Generator) -> dict[str, Array]:
    """W1 - W2, diluted by the galaxy's light, and the significance of the proper motion."""
    count = len(lenses)
    share = rng.uniform(0.3, 0.8, count)
    colour = np.where(lenses, share * rng.normal(1.1, 0.2, count), rng.normal(0.1, 0.1, count))
    colour += rng.normal(0, 0.1, count)
    moving = np.where(lenses, rng.rayleigh(1.0, count), rng.rayleigh(1.0, count) + rng.exponential(3.0, count))
    found = {"w1_w2": colour, "pm_significance": moving}
    for values in found.values():
        values[rng.random(count) < LOST] = np.nan
    return found


def redshift_error(truth: Array, labelled: Rows, others: Rows) -> Fitted:
    """RMSE of dz / (1 + z) of heads of parameters."""

    def fitted(known: Matrix, asked: Matrix) -> float:
        head = ParameterHead.fit(known, truth[labelled, None], names=("redshift",), seed=0)
        off = (head.predict(asked).values[:, 0] - truth[others]) / (1 + truth[others])
        return float(np.sqrt((off**2).mean()))

    return fitted


def lens_auc(lenses: NDArray[np.bool_], labelled: Rows, others: Rows) -> Fitted:
    """AUC of heads of choices."""

    def fitted(known: Matrix, asked: Matrix) -> float:
        labels = [LENS if one else OTHER for one in lenses[labelled]]
        head = ClassificationHead.fit(known, labels, seed=0, classes=(OTHER, LENS))
        return float(roc_auc_score(lenses[others], head.predict(asked)[:, 1]))

    return fitted


def compared(images: Matrix, values: Values, labelled: Rows, others: Rows, fitted: Fitted) -> dict[str, float]:
    """How good heads of the image, of the columns and of both are."""
    columns = Beside.fit(values, image=images.shape[1]).features(values)
    inputs = {"image": images, "columns": columns, "both": np.concatenate([images, columns], axis=1)}
    return {name: fitted(one[labelled], one[others]) for name, one in inputs.items()}


def run(seed: int, count: int, labels: int, stamps: StampSet, encoder: Encoder) -> dict[str, dict[str, float]]:
    """Both tasks with galaxies of one seed."""
    rng = np.random.default_rng((seed, 3))
    order = rng.permutation(count)
    labelled, others = np.sort(order[:labels]), np.sort(order[labels:])
    rows = np.sort(rng.choice(len(stamps), count, replace=False))
    redshift = compared(
        embedded(f"redshift-{seed}-{count}", stamps, np.asarray(stamps.pixels(rows), np.float32), encoder),
        photometry(stamps, rows, rng),
        labelled,
        others,
        redshift_error(np.asarray(stamps.column("z_spec"), np.float64)[rows], labelled, others),
    )
    smooth = np.flatnonzero(np.isin(stamps.column("morphology"), ("round smooth", "in-between smooth")))
    rows, lenses = np.sort(rng.choice(smooth, count, replace=False)), rng.random(count) < 0.5
    pixels = with_points(stamps, rows, lenses, rng)
    quasars = compared(
        embedded(f"quasars-{seed}-{count}", stamps, pixels, encoder),
        quasar_columns(lenses, rng),
        labelled,
        others,
        lens_auc(lenses, labelled, others),
    )
    return {"photometric redshift, rmse dz/(1+z)": redshift, "lensed quasars, 1 - AUC": _missed(quasars)}


def _missed(found: dict[str, float]) -> dict[str, float]:
    return {name: 1 - value for name, value in found.items()}


def main() -> None:
    """Print a row for each task: means over the seeds, and how many times smaller the error is with columns."""
    parser = argparse.ArgumentParser(description="Columns beside the image.")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--labels", type=int, default=200)
    parser.add_argument("--stamps", type=Path, default=STAMP_FILE)
    parser.add_argument("--encoder", type=asked_encoder, default=RELEASED_LVM)
    asked = parser.parse_args()
    encoder = Encoder.load(asked.encoder)
    found: dict[str, list[dict[str, float]]] = {}
    with StampSet(asked.stamps) as stamps:
        for seed in range(asked.seeds):
            for task, one in run(seed, asked.count, asked.labels, stamps, encoder).items():
                found.setdefault(task, []).append(one)
    rows: list[Row] = []
    for task, each in found.items():
        ratios = [one["image"] / one["both"] for one in each]
        means: Row = {name: float(np.mean([one[name] for one in each])) for name in each[0]}
        spread = float(np.std(ratios, ddof=min(1, len(ratios) - 1)))
        rows.append({"task": task, **means, "image / both": float(np.mean(ratios)), "spread": spread})
    save("multimodal", rows)


if __name__ == "__main__":
    main()
