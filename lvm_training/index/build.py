"""Builds the faiss index of a plan, shard by shard and block by block; the shards' parts are then merged."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from lvm_training.files import write_atomically
from lvm_training.index.plan import IndexPlan
from lvm_training.pool.shards import Shards
from lvm_training.progress import Progress

ROTATIONS = 4  # alternations of rotation and codes, faiss's own being 50
ITERATIONS = 10  # of k-means
CODE_TRAINING = 48  # vectors for each of the 256 centroids of a code; faiss wants 39
REDUCED = 4  # dimensions a code's byte stands for, at most


def build_faiss(shards: Shards, plan: IndexPlan, progress: Progress | None = None, parts: Path | None = None) -> Any:
    """The faiss index of a pool, in memory, every row added.

    The same shards, plan and number of threads give the same index.

    Parameters
    ----------
    progress : callable, optional
        Called with the rows added and their number; first with 0, before codes are trained.
    parts : Path, optional
        A folder of this pool and plan alone, where the trained codes and the lists of each shard are kept: a build
        that is begun again goes on behind the last whole shard. Exact kinds, which only copy, have none.

    Rows that are not finite have a place in it, as rows of norm 0: who searches it leaves them out.
    """
    report = progress or (lambda done, total: None)
    report(0, len(shards))
    index = _empty(shards.width, plan)
    if plan.exact:
        for number in range(len(shards.features)):
            _add(index, shards, number, report)
        return index
    index = _kept(parts, "trained", lambda: _train(index, shards, plan))
    for number, start in enumerate(shards.starts[:-1].tolist()):
        part = _kept(parts, f"shard-{number:05d}", partial(_part, index, shards, number, report))
        _merge(index, part, start)
        report(int(shards.starts[number + 1]), len(shards))
    return index


def _add(index: Any, shards: Shards, number: int, report: Progress) -> None:
    done = int(shards.starts[number])
    for block in shards.blocks_of(number):
        index.add(np.nan_to_num(block, copy=False))
        done += len(block)
        report(done, len(shards))


def _part(trained: Any, shards: Shards, number: int, report: Progress) -> Any:
    """An index of one shard with the codes and lists of the whole."""
    part = faiss.clone_index(trained)
    part.reset()
    _add(part, shards, number, report)
    return part


def _merge(index: Any, part: Any, start: int) -> None:
    """Move the rows of a part into an index of the same codes; the part's first is the pool's row `start`."""
    into: Any = faiss.extract_index_ivf(index)
    lists: Any = faiss.extract_index_ivf(part)
    into.invlists.merge_from(lists.invlists, start)
    into.ntotal = index.ntotal = index.ntotal + part.ntotal


def _kept(parts: Path | None, name: str, made: Callable[[], Any]) -> Any:
    """An index from the folder of parts, made and kept there if it is not whole."""
    if parts is None:
        return made()
    path = parts / f"{name}.faiss"
    if path.is_file():
        return faiss.read_index(str(path))
    index = made()
    write_atomically(path, lambda partial: faiss.write_index(index, str(partial)))
    return index


def _empty(width: int, plan: IndexPlan) -> Any:
    metric = faiss.METRIC_INNER_PRODUCT
    if plan.kind == "float32":
        return faiss.IndexFlatIP(width)
    if plan.kind == "float16":
        return faiss.IndexScalarQuantizer(width, faiss.ScalarQuantizer.QT_fp16, metric)
    reduced = plan.code * min(REDUCED, width // plan.code)
    return faiss.index_factory(width, f"OPQ{plan.code}_{reduced},IVF{plan.lists},PQ{plan.code}", metric)


def _train(index: Any, shards: Shards, plan: IndexPlan) -> Any:
    """The index with its rotation, lists and codes learned from rows drawn of all shards."""
    rng = np.random.default_rng(plan.seed)
    rows = np.sort(rng.choice(len(shards), plan.training_rows(len(shards)), replace=False)).astype(np.int64)
    lists: Any = faiss.downcast_index(index.index)
    rotation: Any = faiss.downcast_VectorTransform(index.chain.at(0))
    codes: Any = faiss.ProductQuantizer(lists.d, plan.code, 8)
    rotation.niter, rotation.niter_pq_0, rotation.pq = ROTATIONS, ITERATIONS, codes
    rotation.max_train_points = 256 * CODE_TRAINING
    # the factory asks for codes ordered for Hamming distances, which take minutes and are not used
    lists.do_polysemous_training = False
    lists.pq.cp.niter, lists.pq.cp.max_points_per_centroid = ITERATIONS, CODE_TRAINING
    for clustering in (lists.cp, lists.pq.cp, codes.cp):
        clustering.seed = plan.seed
        clustering.min_points_per_centroid = 1  # a small pool is no reason for faiss to write to the terminal
    # on a GPU the nearest centroids of the lists, by far the most of the work
    nearest = faiss.index_cpu_to_all_gpus(faiss.IndexFlatIP(lists.d)) if gpus() else None
    lists.clustering_index = nearest
    vectors = shards.units(rows)
    index.train(vectors[np.isfinite(vectors[:, 0])])
    # what only the training needs must not outlive it
    lists.clustering_index = rotation.pq = None
    return index


def gpus() -> int:
    """How many GPUs this faiss can use; a build for the CPU has none."""
    return int(faiss.get_num_gpus()) if hasattr(faiss, "get_num_gpus") else 0
