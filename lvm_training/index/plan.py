"""Which index a pool gets: the rule from its size and the memory there is."""

from typing import Literal

import numpy as np
import psutil
from pydantic import BaseModel, ConfigDict

from lvm_training.errors import GalaxyLoopError

EXACT_ROWS = 2_000_000
CODES = (48, 32, 16)  # bytes
LEAST_TRAINING = 39 * 256  # vectors; with fewer faiss warns that 256 centroids are badly placed
PER_LIST = 64  # training vectors for each inverted list

Kind = Literal["float32", "float16", "ivfpq"]


class PoolIndexError(GalaxyLoopError):
    """An index that cannot be built, is damaged, or is asked for what it cannot tell."""

    code = "bad_index"


class IndexPlan(BaseModel):
    """How a pool is indexed.

    Attributes
    ----------
    kind : str
        `float32` or `float16`: every vector is kept and compared. `ivfpq`: vectors are rotated, shortened and coded
        (optimised product quantisation, Ge et al. 2013) in inverted lists, of which a query looks into some; what they
        propose is ranked by the features themselves.
    lists : int
        Inverted lists; 0 for the exact kinds.
    code : int
        Bytes a vector takes in them; 0 for the exact kinds.
    seed : int
        What the training vectors and the first centroids are drawn with.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Kind
    lists: int = 0
    code: int = 0
    seed: int = 0

    @property
    def exact(self) -> bool:
        """Whether every vector is compared."""
        return self.kind != "ivfpq"

    def training_rows(self, rows: int) -> int:
        """How many of a pool's rows the lists and codes are trained on."""
        return min(rows, max(PER_LIST * self.lists, 2 * LEAST_TRAINING))

    def size(self, rows: int, width: int) -> int:
        """Bytes of memory that building needs."""
        if self.kind == "ivfpq":
            # the lists grow by doubling; beside each code stands its row, 8 bytes
            return 2 * rows * (self.code + 8) + 8 * width * self.training_rows(rows)
        return rows * width * (4 if self.kind == "float32" else 2)


def plan_index(
    rows: int, width: int, memory: int | None = None, *, kind: Kind | None = None, seed: int = 0
) -> IndexPlan:
    """The index for a pool of `rows` vectors of length `width`.

    The first that fits into the memory: of up to two million rows all vectors as float32, then as float16; of more,
    or if neither fits, inverted lists of product-quantised codes of 48, 32 or 16 bytes. A pool too small to
    train codes on is kept whole.

    Parameters
    ----------
    memory : int, optional
        Bytes that the index may take; half of what is free now where none is given.
    kind : str, optional
        Take this kind whatever the size; the memory is then not asked.
    seed : int
        As in `IndexPlan`.

    Raises
    ------
    PoolIndexError
        If none fits; the message says how much memory it takes.
    """
    if rows < 1 or width < 1:
        raise PoolIndexError(f"A pool of {rows} rows of {width} features cannot be indexed.", "Embed some stamps.")
    exact = [IndexPlan(kind="float32", seed=seed), IndexPlan(kind="float16", seed=seed)]
    # one list is about as long as there are lists, so that choosing lists costs what reading one does
    lists = min(2 ** round(np.log2(np.sqrt(rows))), max(rows // 39, 1))
    coded = [IndexPlan(kind="ivfpq", lists=lists, code=code, seed=seed) for code in CODES if code <= width] or [
        IndexPlan(kind="ivfpq", lists=lists, code=width, seed=seed)
    ]
    if kind is not None:
        return next(plan for plan in (*exact, *coded) if plan.kind == kind)
    allowed = psutil.virtual_memory().available // 2 if memory is None else memory
    choice = exact * (rows <= EXACT_ROWS) + coded * (rows >= LEAST_TRAINING)
    for plan in choice:
        if plan.size(rows, width) <= allowed:
            return plan
    least = min(plan.size(rows, width) for plan in choice)
    raise PoolIndexError(
        f"The smallest index of {rows:,} rows takes {least / 1e6:.1f} MB; {allowed / 1e6:.1f} MB are allowed.",
        "Allow more memory, or index fewer shards at a time.",
    )
