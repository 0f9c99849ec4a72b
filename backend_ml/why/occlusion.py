"""Occlusion maps: where on a picture the evidence for a score lies.

Zeiler & Fergus 2014 (ECCV, arXiv:1311.2901), section 4.2: parts of the picture are covered one after the other, and
where the score falls, there was something that it rests on.
"""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from lvm_training.errors import GalaxyLoopError

WINDOW_SHARE, STRIDE_SHARE = 4, 8  # of the picture's side: a window is a quarter of it and moves by an eighth
BATCH = 64

Embed = Callable[[torch.Tensor], torch.Tensor]
Score = Callable[[NDArray[np.float32]], NDArray[np.floating]]


class OcclusionError(GalaxyLoopError):
    """A picture or a window that no map can be made of, or a score that is not finite."""

    code = "bad_occlusion"


def occlusion_map(
    picture: torch.Tensor,
    embed: Embed,
    score: Score,
    *,
    window: int | None = None,
    stride: int | None = None,
    batch: int = BATCH,
) -> NDArray[np.float64]:
    """How far the score falls where a picture is covered with sky, shape (S, S), in units of the score.

    A pixel's value is the mean fall over the windows that cover it: positive where the picture speaks for what is
    scored, negative where it speaks against it. With the defaults there are 49 windows, so that 64 pixels and the
    eight views of `nano` take about two seconds of a processor. The map is no finer than half a window, and no better
    than the score: a head of few labels falls wherever a galaxy looks unusual, its centre first.

    Parameters
    ----------
    picture : tensor (3, S, S)
        As `render` makes it.
    embed : callable
        Pictures (B, 3, S, S) to features (B, D), such as `Encoder.features`.
    score : callable
        Features (N, D) to scores (N,). Log-odds rather than a probability, which hardly moves near 0 and 1.
    window, stride : int, optional
        Side of the window and its step, pixels; a quarter and an eighth of S. The last window ends with the picture.
    batch : int
        Covered pictures embedded at a time.

    Raises
    ------
    OcclusionError
        If the picture is not square, the window does not fit on it, or a score is not finite.
    """
    side = _side(picture)
    window = window if window is not None else max(side // WINDOW_SHARE, 1)
    stride = stride if stride is not None else max(side // STRIDE_SHARE, 1)
    if not (1 <= window <= side and 1 <= stride <= window):
        raise OcclusionError(
            f"A window of {window} pixels in steps of {stride} does not cover a picture of {side}.",
            "The window is at most the picture's side, the step at most the window.",
        )
    corners = [(top, left) for top in _starts(side, window, stride) for left in _starts(side, window, stride)]
    pictures = _covered(picture, corners, window, batch)
    scores = np.concatenate([np.asarray(score(embed(part).numpy()), dtype=np.float64) for part in pictures])
    if not np.isfinite(scores).all():
        raise OcclusionError("A covered picture has a score that is not finite.", "Look at the model's weights.")
    falls, covering = np.zeros((side, side)), np.zeros((side, side))
    for (top, left), covered in zip(corners, scores[1:], strict=True):
        place = slice(top, top + window), slice(left, left + window)
        falls[place] += scores[0] - covered
        covering[place] += 1
    return np.asarray(falls / covering)


def sky_level(picture: torch.Tensor) -> torch.Tensor:
    """The sky of a picture (3, S, S), shape (3,): the median of each colour along its four edges.

    Black would be darker than any sky of these pictures, and a dark square is itself a thing to see; the median of all
    pixels is that of the galaxy where it fills the picture.
    """
    edges = torch.cat([picture[:, 0], picture[:, -1], picture[:, :, 0], picture[:, :, -1]], dim=1)
    return edges.median(dim=1).values


def _side(picture: torch.Tensor) -> int:
    if picture.ndim != 3 or picture.shape[0] != 3 or picture.shape[1] != picture.shape[2] or not picture.shape[1]:
        raise OcclusionError(f"A picture of shape {tuple(picture.shape)} is not (3, S, S).", "Render the stamp first.")
    return int(picture.shape[1])


def _starts(side: int, window: int, stride: int) -> list[int]:
    """First pixels of the windows along one side; the last window ends with the picture."""
    return [*range(0, side - window, stride), side - window]


def _covered(picture: torch.Tensor, corners: list[tuple[int, int]], window: int, batch: int) -> Iterator[torch.Tensor]:
    """The picture as it is, then covered at each corner, at most `batch` at a time."""
    sky = sky_level(picture)[:, None, None]
    places: list[tuple[int, int] | None] = [None, *corners]
    for start in range(0, len(places), batch):
        part = places[start : start + batch]
        pictures = picture.repeat(len(part), 1, 1, 1)
        for one, corner in zip(pictures, part, strict=True):
            if corner is not None:
                top, left = corner
                one[:, top : top + window, left : left + window] = sky
        yield pictures
