"""How much a detector's masks of one object disagree among views of the same picture.

A picture turned or mirrored shows the same sky, so a detector that is sure of an outline draws it alike in all views.
Wang et al. 2019 (Neurocomputing 338, 34) take such views for a network's uncertainty of a segmentation.
"""

from collections.abc import Callable, Sequence
from itertools import combinations

import numpy as np
import torch

from lvm_training.objects.instances import Instances, Masks, bounding_boxes
from lvm_training.params import ParamsError
from lvm_training.stamps.symmetries import SYMMETRIES, symmetry


def check_views(count: int) -> None:
    """Raise a ParamsError unless `count` is 1 to 8."""
    if not 1 <= count <= SYMMETRIES:
        raise ParamsError(f"A picture has 1 to {SYMMETRIES} views, not {count}.", "Ask for 4, or 1.")


def seen_in_views(
    predict: Callable[[torch.Tensor], list[Instances]], pictures: torch.Tensor, count: int
) -> list[list[Instances]]:
    """The objects of each picture (N, 3, S, S) in its first `count` symmetries, turned back; the first is itself.

    Raises
    ------
    ParamsError
        As `check_views`.
    """
    check_views(count)
    views = [
        [turned_back(found, kind) for found in predict(symmetry(pictures, kind).contiguous())] for kind in range(count)
    ]
    return [list(each) for each in zip(*views, strict=True)]


def turned_back(found: Instances, kind: int) -> Instances:
    """Objects found under `symmetry(picture, kind)`, on the picture itself; each in the box that bounds its mask."""
    if kind == 0:
        return found
    # a mirrored turn undoes itself, a turn is undone by the rest of the circle
    undone = kind if kind >= 4 else 4 - kind
    masks = symmetry(torch.from_numpy(found.masks)[None], undone)[0].numpy()
    return Instances(found.classes, bounding_boxes(masks), masks, found.scores)


def view_disagreement(views: Sequence[Instances], name: str) -> float:
    """`mask_disagreement` of the best object of class `name`; 0 where no view holds one, or there is one view only.

    The best one has the highest score in any view. In every view it is the object that overlaps it most, for a picture
    with two arcs may show now the one and now the other as its best; a view in which none overlaps it has an empty
    mask.

    Parameters
    ----------
    views : sequence of Instances
        What was found on one picture, turned back.
    """
    kept = [found.rows(np.array([one == name for one in found.classes], dtype=bool)) for found in views]
    scores = [found.scores.max(initial=-1.0) for found in kept]
    best = kept[int(np.argmax(scores))]
    if not len(best):
        return 0.0
    outline = best.masks[int(best.scores.argmax())]
    return mask_disagreement(np.stack([_nearest(found.masks, outline) for found in kept]))


def _nearest(masks: Masks, outline: Masks) -> Masks:
    """The mask (H, W) that overlaps an outline most; an empty one if none does."""
    overlaps = [_overlap(mask, outline) for mask in masks]
    return masks[int(np.argmax(overlaps))] if any(overlaps) else np.zeros_like(outline)


def mask_disagreement(masks: Masks) -> float:
    """1 - mean over pairs of intersection over union of one object's masks; 0 where all agree.

    Lakshminarayanan et al. 2017 measure an ensemble's disagreement; for masks it is the Jaccard distance (1901).

    Parameters
    ----------
    masks : ndarray of bool (M, H, W)
        From M detectors, or from one detector on M views turned back. Two empty masks agree; fewer than two give 0.
    """
    if len(masks) < 2:
        return 0.0
    return float(1.0 - np.mean([_overlap(first, second) for first, second in combinations(masks, 2)]))


def _overlap(first: Masks, second: Masks) -> float:
    either = np.count_nonzero(first | second)
    return np.count_nonzero(first & second) / either if either else 1.0
