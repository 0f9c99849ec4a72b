"""Stamp sets to pretrain on: several read as one, and the order in which an epoch visits their rows."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from lvm_training.errors import StampError
from lvm_training.pretraining.views import exposures
from lvm_training.stamps.rendering import Rendering
from lvm_training.stamps.stampset import StampSet

SHUFFLED_WHOLE = 65_536
RUN = 64


class TrainingStamps:
    """Several stamp sets as one; their rows are numbered through, and each is read with its own scale and kind.

    Parameters
    ----------
    paths : sequence of Path
        The sets; each process that reads opens them for itself.

    Raises
    ------
    StampError
        If there is none, or one cannot be read.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        if not paths:
            raise StampError("No stamp set was given.", "Make one with `galaxyloop data import`.")
        self._sets = [StampSet(path) for path in paths]
        self._starts = np.cumsum([0, *map(len, self._sets)])

    def __len__(self) -> int:
        return int(self._starts[-1])

    @property
    def names(self) -> str:
        """The files' names."""
        return ", ".join(stamps.path.name for stamps in self._sets)

    @property
    def digest(self) -> str:
        """12 hex digits naming the content: a single set's own digest."""
        digests = [stamps.digest for stamps in self._sets]
        return digests[0] if len(digests) == 1 else hashlib.sha256("\n".join(digests).encode()).hexdigest()[:12]

    @property
    def kinds(self) -> list[str]:
        """The sets' renderings."""
        return [stamps.rendering for stamps in self._sets]

    @property
    def columns(self) -> list[str]:
        """Catalogue columns that all the sets have."""
        return [name for name in self._sets[0].columns if all(name in stamps.columns for stamps in self._sets)]

    def column(self, name: str) -> NDArray[np.generic]:
        """A column of all the sets, as `StampSet.column`."""
        return np.concatenate([stamps.column(name) for stamps in self._sets])

    def outside_test(self) -> NDArray[np.int64]:
        """The rows outside the sets' test splits; a set without the column `split` has none."""
        splits = [
            stamps.column("split") if "split" in stamps.columns else np.full(len(stamps), "") for stamps in self._sets
        ]
        return np.flatnonzero(np.concatenate(splits) != "test")

    def exposures(self, rows: NDArray[np.int64], rendering: Rendering) -> tuple[torch.Tensor, torch.Tensor]:
        """As `views.exposures`, of rows of any of the sets in the order asked for."""
        owner = np.searchsorted(self._starts, rows, side="right") - 1
        bands = torch.empty(len(rows), 3, rendering.size, rendering.size)
        clean = torch.empty_like(bands)
        for number in np.unique(owner):
            places = np.flatnonzero(owner == number)
            own = rows[places] - self._starts[number]
            bands[places], clean[places] = exposures(self._sets[number], own, rendering)
        return bands, clean

    def show_something(self, rows: NDArray[np.int64], rendering: Rendering) -> bool:
        """Whether any of these rows' pictures has a finite pixel; reads no further than the first that has."""
        parts = (rows[start : start + RUN] for start in range(0, len(rows), RUN))
        return any(bool(self.exposures(part, rendering)[1].isfinite().any()) for part in parts)

    def close(self) -> None:
        """Close the files."""
        for stamps in self._sets:
            stamps.close()


def epoch_order(rows: NDArray[np.int64], rng: np.random.Generator, batch: int) -> NDArray[np.int64]:
    """The order in which an epoch visits `rows`.

    Up to 65,536 rows it is a full permutation. A larger set does not stay in memory, and single rows from all over it
    cost a seek each: there runs of 64 neighbouring rows are put in random order, and the rows of `batch` / 4 runs at a
    time are permuted, so that a batch, which is read in row order, visits a quarter as many places as it has stamps.
    """
    if len(rows) <= SHUFFLED_WHOLE:
        return rng.permutation(rows)
    runs = np.arange(0, len(rows), RUN)
    rng.shuffle(runs)
    places = (runs[:, None] + np.arange(RUN)).ravel()
    order: NDArray[np.int64] = np.sort(rows)[places[places < len(rows)]]
    window = RUN * max(1, batch // 4)
    for start in range(0, len(order), window):
        rng.shuffle(order[start : start + window])
    return order
