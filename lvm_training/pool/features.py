"""Feature files: one float16 row per stamp, memory-mapped, named by what made them."""

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from lvm_training.errors import GalaxyLoopError, problems

BLOCK = 32768  # rows read at a time
NAMED = 10  # rows that a message lists
FEW = 1 << 16  # numbers that NumPy widens within a millisecond; a chunk of a pool has more


class FeaturesError(GalaxyLoopError):
    """A feature file that is missing, truncated, or not the one asked for."""

    code = "bad_features"


def single(part: NDArray[Any]) -> NDArray[np.float32]:
    """The same features as float32."""
    if part.dtype != np.float16:
        return np.asarray(part, dtype=np.float32)
    if part.size < FEW:
        return part.astype(np.float32)
    # torch widens float16 three to six times as fast as NumPy, but takes seconds to import: only large pools need it
    import torch

    return np.asarray(torch.from_numpy(np.require(part, requirements="W")).float().numpy())


def widened(rows: NDArray[Any], size: int) -> Iterator[NDArray[np.float32]]:
    """Rows (N, D) as float32, `size` at a time; all but float32 in one buffer, which the next chunk overwrites.

    A chunk of half a megabyte stays in a core's cache, and new memory for each would cost more than all else.
    """
    if rows.dtype != np.float16 or rows.size < FEW:
        yield from (single(rows[start : start + size]) for start in range(0, len(rows), size))
        return
    import torch

    buffer = torch.empty((size, rows.shape[1]), dtype=torch.float32)
    for start in range(0, len(rows), size):
        part = torch.from_numpy(np.require(rows[start : start + size], requirements="W"))
        yield np.asarray(buffer[: len(part)].copy_(part).numpy())


class Origin(BaseModel):
    """What a feature file was made from; the JSON beside it, and beside an unfinished one with the rows done.

    Attributes
    ----------
    name, stamps : str
        Name and digest of the stamp set.
    encoder : str
        Digest of the encoder.
    rows, width : int
        Shape of the matrix.
    warning : str
        What a reader should know about the stamps; empty if nothing.
    unobserved : int
        Stamps without a finite pixel, whose features are those of empty sky; left out of the JSON where there is none,
        and not counted in files made before.
    damaged : tuple of int
        Rows whose part of the file cannot be read, and which were embedded as empty sky; left out of the JSON where
        there are none.
    content : str
        Digest of the pixels of a set that was mended in place, so that `stamps` no longer names them; else empty, and
        left out of the JSON.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    stamps: str
    encoder: str
    rows: int
    width: int
    warning: str = ""
    unobserved: int = 0
    damaged: tuple[int, ...] = ()
    content: str = ""

    def written(self) -> dict[str, Any]:
        """What its JSON holds."""
        return self.model_dump(
            exclude={name for name in ("unobserved", "damaged", "content") if not getattr(self, name)}
        )

    def same(self, other: "Origin") -> bool:
        """Whether two are the same but for what only embedding tells."""
        told = {"unobserved": 0, "damaged": (), "content": ""}
        return self.model_copy(update=told) == other.model_copy(update=told)


class Features:
    """Features of a stamp set, read from disk as they are needed.

    Attributes
    ----------
    path : Path
        The file.
    matrix : memmap (N, D) float16
        Row i belongs to stamp i.
    name, stamps : str
        Name and digest of the stamp set.
    encoder : str
        Digest of the encoder that made them.
    origin : Origin
        All that its JSON says.
    """

    def __init__(self, path: Path, matrix: NDArray[np.float16], origin: Origin) -> None:
        self.path, self.matrix, self.origin = path, matrix, origin
        self.name, self.stamps, self.encoder = origin.name, origin.stamps, origin.encoder

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open the features at `path` (`.npy`, its JSON beside it).

        Raises
        ------
        FeaturesError
            If a file is missing or truncated, or the two do not belong together.
        """
        hint = "Make them again with `dvc repro embed`, or `galaxyloop embed` in a campaign."
        try:
            origin = Origin.model_validate_json(path.with_suffix(".json").read_text(encoding="utf-8"))
            matrix = np.load(path, mmap_mode="r", allow_pickle=False)
        except FileNotFoundError as error:
            raise FeaturesError(f"There are no complete features at {path}.", hint) from error
        except (ValueError, EOFError) as error:
            reason = problems(error)[0] if isinstance(error, ValidationError) else error
            raise FeaturesError(f"{path} is truncated or no feature file ({reason}).", hint) from error
        if matrix.shape != (origin.rows, origin.width) or matrix.dtype != np.float16:
            raise FeaturesError(f"{path} holds {matrix.dtype} {matrix.shape}, not what its JSON says.", hint)
        return cls(path, matrix, origin)

    @cached_property
    def finite(self) -> NDArray[np.bool_]:
        """Which rows have finite features, shape (N,); the others are left out of searches. Read once, in blocks."""
        matrix, found = self.matrix, np.empty(len(self.matrix), dtype=bool)
        for start in range(0, len(matrix), BLOCK):
            found[start : start + BLOCK] = np.isfinite(matrix[start : start + BLOCK]).all(axis=1)
        return found

    def not_finite(self) -> str:
        """Says which rows are not finite; "" where all are."""
        rows = np.flatnonzero(~self.finite)
        named = ", ".join(map(str, rows[:NAMED])) + (" and others" if len(rows) > NAMED else "")
        return f"{len(rows)} of {len(self.matrix)} rows of {self.name} are not finite: {named}." if len(rows) else ""

    def rows(self, ids: Sequence[int] | NDArray[np.int64]) -> NDArray[np.float32]:
        """Features of some stamps in the order asked for, shape (n, D).

        Raises
        ------
        FeaturesError
            If there is no such stamp.
        """
        wanted = np.asarray(ids, dtype=np.int64)
        strange = wanted[(wanted < 0) | (wanted >= len(self.matrix))]
        if strange.size:
            raise FeaturesError(
                f"{self.name} has stamps 0 to {len(self.matrix) - 1}; stamp {strange[0]} was asked for.",
                "Labels and features must come from the same stamp set.",
            )
        return single(self.matrix[wanted])
