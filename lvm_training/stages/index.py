"""Stage `index`: which stamps are most alike, in build/index, and whether these are of one class."""

import numpy as np
from numpy.typing import NDArray

from lvm_training.files import write_json
from lvm_training.index.files import index_pool
from lvm_training.index.pool_index import PoolIndex
from lvm_training.paths import FEATURE_FILE, INDEX, INDEX_METRICS, STAMP_FILE
from lvm_training.pool.features import Features
from lvm_training.stamps.stampset import StampSet

NEIGHBOURS = 10


def neighbour_precision(
    index: PoolIndex, rows: NDArray[np.int64], classes: NDArray[np.str_], k: int
) -> dict[str, float]:
    """How many of the `k` stamps most like one are of its class: the mean over stamps by class, and over the classes.

    Parameters
    ----------
    index : PoolIndex
        Of one shard.
    rows : ndarray (N,) of int
        The stamps that are looked at.
    classes : ndarray (M,) of str
        Of all rows of the index.

    Returns
    -------
    dict of str to float
        `precision/<class>`, and `precision`, in [0, 1]; by chance a class has its share of all rows.
    """
    right = np.array([(classes[index.nearest_to(int(row), k)[0]] == classes[row]).mean() for row in rows])
    found = {f"precision/{name}": float(right[classes[rows] == name].mean()) for name in np.unique(classes[rows])}
    return {**found, "precision": float(np.mean(list(found.values())))}


def main() -> None:
    """Index the features, exactly, and look up the neighbours of the test split."""
    # the default kind follows the memory of the machine
    index = index_pool(Features.open(FEATURE_FILE), INDEX, kind="float32")
    with StampSet(STAMP_FILE) as stamps:
        rows = np.flatnonzero(stamps.column("split") == "test")
        classes = np.asarray(stamps.column("morphology"), dtype=np.str_)
    write_json(INDEX_METRICS, neighbour_precision(index, rows, classes, NEIGHBOURS))


if __name__ == "__main__":
    main()
