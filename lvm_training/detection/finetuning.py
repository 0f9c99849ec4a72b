"""Fine-tuning: a detector goes on learning from people's labelled pictures without forgetting simulated lenses.

Labels from a team are few, and a network that trains on them alone loses what it knew (catastrophic forgetting).
Pictures of the population it knew, simulated anew and shown as it was shown them, are mixed in: rehearsal (Ratcliff
1990, Psychological Review 97, 285; Robins 1995, Connection Science 7, 123).
"""

from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from lvm_training.detection.checkpoint import TrainedDetector
from lvm_training.detection.data import check_images
from lvm_training.detection.detector import Detector, train_detector
from lvm_training.errors import LabelError
from lvm_training.lenses.lens_sets import simulated_pictures
from lvm_training.lenses.lens_stamps import OBJECTS, LensPopulation
from lvm_training.objects.instances import Instances
from lvm_training.params import FinetuneParams
from lvm_training.progress import Progress

STREAM = 4  # 0 to 3 are those of the lens sets and pools of the same seed


def finetune(
    base: TrainedDetector,
    images: torch.Tensor,
    truths: Sequence[Instances],
    drawn: Sequence[NDArray[np.bool_]],
    params: FinetuneParams,
    population: LensPopulation | None,
    resume: Path,
    *,
    progress: Progress | None = None,
) -> Detector:
    """A detector that starts from `base`, which stays as it is, and knows what people labelled; in evaluation mode.

    The same inputs give the same weights.

    Parameters
    ----------
    base : TrainedDetector
        Where to start.
    images : Tensor (N, 3, S, S)
        Labelled pictures in the rendering of `base`.
    truths : sequence of Instances
        Their objects, none where a person found none.
    drawn : sequence of ndarray (K,) of bool
        Which masks of each picture a person drew; the others are not learned from.
    params : FinetuneParams
        How long, how fast, and how many simulated pictures are mixed in.
    population : LensPopulation or None
        What those are drawn from; None mixes in none.
    resume : Path
        Folder of the resume checkpoint, as for `fit`; a run with other inputs needs another one.
    progress : callable, optional
        As for `fit`.

    Raises
    ------
    LabelError
        If there is no labelled picture, the lengths disagree, or a class is none of the detector's.
    StampError
        If pictures have another shape or pixels that are not finite, or as `draw_lens_stamps`.
    ParamsError, CheckpointError
        As `train_detector`.
    """
    if not len(images):
        raise LabelError("There is no labelled picture to train on.", "Annotate some pictures first.")
    if not len(images) == len(truths) == len(drawn):
        raise LabelError(
            f"{len(images)} pictures have {len(truths)} truths and {len(drawn)} notes of what is drawn.",
            "Give one of each.",
        )
    check_images(images, base.rendering.size)
    simulated, known = _rehearsal(base, params, population, len(images))
    detector = deepcopy(base.network)
    train_detector(
        detector,
        torch.cat([images, simulated]),
        [*truths, *known],
        params,
        resume,
        drawn=[*drawn, *(np.ones(len(truth), dtype=bool) for truth in known)],
        progress=progress,
    )
    return detector


def _rehearsal(
    base: TrainedDetector, params: FinetuneParams, population: LensPopulation | None, labelled: int
) -> tuple[torch.Tensor, Sequence[Instances]]:
    """Simulated pictures (M, 3, S, S) to mix with those that people labelled, and their objects."""
    if population is None:
        return torch.empty(0, 3, base.rendering.size, base.rendering.size), []
    count, unknown = params.replayed(labelled), sorted(set(OBJECTS) - set(base.classes))
    if count and unknown:
        raise LabelError(
            f"This detector does not know {', '.join(unknown)}, which simulated pictures show.",
            "Fine-tune a detector of lenses, or set `replay` to 0.",
        )
    rng = np.random.default_rng((params.seed, STREAM))
    return simulated_pictures(count, rng, population, base.rendering, realism=base.realism)
