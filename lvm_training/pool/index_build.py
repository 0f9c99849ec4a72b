"""Builds the faiss index of a plan, block by block from the shards."""

from typing import Any

import faiss
import numpy as np

from lvm_training.pool.index_plan import IndexPlan
from lvm_training.pool.shards import Shards
from lvm_training.progress import Progress

ROTATIONS = 4  # alternations of rotation and codes, faiss's own being 50
ITERATIONS = 10  # of k-means
CODE_TRAINING = 48  # vectors for each of the 256 centroids of a code; faiss wants 39
REDUCED = 4  # dimensions a code's byte stands for, at most


def build_faiss(shards: Shards, plan: IndexPlan, progress: Progress | None = None) -> Any:
    """The faiss index of a pool, in memory, every row added.

    The same shards, plan and number of threads give the same index.

    Parameters
    ----------
    progress : callable, optional
        Called with the rows added and their number; first with 0, before codes are trained.

    Raises
    ------
    FeaturesError
        If a row is not finite.
    """
    if progress is not None:
        progress(0, len(shards))
    index = _empty(shards.width, plan)
    if not plan.exact:
        _train(index, shards, plan)
    done = 0
    for block in shards.blocks():
        index.add(block)
        done += len(block)
        if progress is not None:
            progress(done, len(shards))
    return index


def _empty(width: int, plan: IndexPlan) -> Any:
    metric = faiss.METRIC_INNER_PRODUCT
    if plan.kind == "float32":
        return faiss.IndexFlatIP(width)
    if plan.kind == "float16":
        return faiss.IndexScalarQuantizer(width, faiss.ScalarQuantizer.QT_fp16, metric)
    reduced = plan.code * min(REDUCED, width // plan.code)
    return faiss.index_factory(width, f"OPQ{plan.code}_{reduced},IVF{plan.lists},PQ{plan.code}", metric)


def _train(index: Any, shards: Shards, plan: IndexPlan) -> None:
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
    index.train(shards.units(rows))
    # what only the training needs must not outlive it
    lists.clustering_index = rotation.pq = None


def gpus() -> int:
    """How many GPUs this faiss can use; a build for the CPU has none."""
    return int(faiss.get_num_gpus()) if hasattr(faiss, "get_num_gpus") else 0
