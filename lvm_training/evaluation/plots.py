"""Figures of the evaluation: AUC against labels, grids of pictures, measured against true parameters."""

from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import LogLocator, NullLocator
from numpy.typing import NDArray

from lvm_training.errors import LabelError, StampError
from lvm_training.evaluation.probes import Curve
from lvm_training.files import write_atomically
from lvm_training.objects.instances import Instances
from lvm_training.parameters.parameter import PARAMETERS

# The colours of Okabe & Ito 2008 that are dark enough for a line on white; markers tell them apart in grey as well
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
# On the dark sky: cyan, red, yellow, white
OUTLINES = ("#00E5FF", "#FF5252", "#FFD54A", "#FFFFFF")
DPI = 150
TILE = 1.5  # inches
GAP = 0.15  # between examples, in tiles


def few_shot_figure(curves: Mapping[str, Curve], path: Path, *, title: str, target: float = 0.9) -> Path:
    """Write the curves of several models as a PNG and return its path: mean, and one standard deviation over draws.

    Parameters
    ----------
    curves : mapping of str to Curve
        By the model's name, in the order of the legend.
    path : Path
        The PNG.
    title : str
        What is measured on which stamps.
    target : float
        AUC at which a line is drawn.

    Raises
    ------
    LabelError
        If there is no curve.
    """
    if not curves:
        raise LabelError("There is no curve to draw.", "Measure at least one model.")
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.add_subplot()
    axes.axhline(target, color="0.45", linestyle="--", linewidth=1)
    axes.text(0.005, target, f"AUC {target:g}", transform=axes.get_yaxis_transform(), va="bottom", color="0.35")
    for (name, curve), colour, marker in zip(curves.items(), cycle(COLOURS), cycle(MARKERS), strict=False):
        low, high = curve.mean - curve.spread, curve.mean + curve.spread
        axes.fill_between(curve.sizes, low, high, color=colour, alpha=0.15, linewidth=0)
        axes.plot(curve.sizes, curve.mean, color=colour, marker=marker, markersize=5, label=name)
    sizes = sorted({size for curve in curves.values() for size in curve.sizes})
    if sizes[0] == 0:
        # no label has no logarithm: one step left of the fewest
        axes.set_xscale("symlog", linthresh=next((size for size in sizes if size), 1), linscale=0.5)
        axes.set_xticks(sizes)
    else:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(lambda size, _: f"{size:,.0f}")
    axes.set(title=title, xlabel="labels in all", ylabel="macro AUC on the test half")
    axes.grid(color="0.9", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="lower right", frameon=False)
    return _saved(figure, path)


def picture_grid(
    rows: Sequence[Sequence[torch.Tensor]],
    columns: Sequence[str],
    path: Path,
    *,
    title: str,
    field: float,
    captions: Sequence[Sequence[str]] = (),
    objects: Sequence[Sequence[Instances]] = (),
    across: int = 1,
) -> Path:
    """Write pictures of the same stamps side by side as a PNG and return its path.

    One row per stamp: what a model was given, what it made of it, and the clean picture, or several methods' results.
    Several rows may stand beside one another.

    Parameters
    ----------
    rows : sequence of sequence of Tensor (3, S, S)
        Pictures, R, G, B; clipped to [0, 1].
    columns : sequence of str
        What each column shows.
    path : Path
        The PNG.
    title : str
        What the grid shows.
    field : float
        Side of a picture, arcsec; a bar in the first picture shows its scale.
    captions : sequence of sequence of str, optional
        What is written below each picture, such as its PSNR.
    objects : sequence of sequence of Instances, optional
        What is outlined on each picture, each class in a colour of its own.
    across : int
        Rows that stand beside one another, from left to right and then below.

    Raises
    ------
    StampError
        If there are no pictures, a row has not one picture (3, S, S), one caption and one set of objects per column, or
        a pixel is not finite.
    """
    _check_rows(rows, columns, captions, objects)
    colours = dict(
        zip(sorted({name for row in objects for one in row for name in one.classes}), OUTLINES, strict=False)
    )
    figure = Figure(layout=ConstrainedLayoutEngine(w_pad=0.02, h_pad=0.02, wspace=0, hspace=0))
    figure.suptitle(title, fontsize=10)
    tiles = _tiles(figure, len(rows), columns, min(across, len(rows)), below=0.2 if captions else 0.0)
    for place, row in enumerate(rows):
        for axes, picture in zip(tiles[place], row, strict=True):
            axes.imshow(picture.clamp(0, 1).permute(1, 2, 0).numpy(), extent=(0, field, 0, field))
        for axes, found in zip(tiles[place], objects[place] if objects else (), strict=False):
            for name, mask in zip(found.classes, found.masks, strict=True):
                axes.contour(
                    mask[::-1], levels=[0.5], extent=(0, field, 0, field), colors=colours[name], linewidths=0.8
                )
        for axes, caption in zip(tiles[place], captions[place] if captions else (), strict=False):
            axes.set_xlabel(caption, fontsize=8, labelpad=2)
    _add_scale(tiles[0][0], field)
    return _saved(figure, path)


def _tiles(figure: Figure, rows: int, columns: Sequence[str], across: int, *, below: float) -> list[list[Axes]]:
    """Axes of each row's pictures, several rows beside one another with a gap between; `below` inches for captions."""
    lines, step = -(-rows // across), len(columns) + 1
    widths = ([1.0] * len(columns) + [GAP]) * (across - 1) + [1.0] * len(columns)
    figure.set_size_inches(TILE * sum(widths), (TILE + below) * lines + 0.45)
    grid = figure.subplots(lines, len(widths), squeeze=False, width_ratios=widths)
    places = [(row // across, row % across * step) for row in range(rows)]
    tiles = [list(grid[line, start : start + len(columns)]) for line, start in places]
    for axes in set(grid.flat) - {axes for row in tiles for axes in row}:
        axes.set_axis_off()
    for row, (line, _) in zip(tiles, places, strict=True):
        for axes, name in zip(row, columns, strict=True):
            axes.set(xticks=[], yticks=[])
            if line == 0:
                axes.set_title(name, fontsize=9)
    return tiles


def _add_scale(axes: Axes, field: float) -> None:
    """A bar of the largest of 1, 2, 5, 10, ... arcsec that is at most a third of the picture."""
    length = max(step * 10.0**power for power in range(-2, 4) for step in (1, 2, 5) if step * 10.0**power <= field / 3)
    left, height = 0.06 * field, 0.07 * field
    axes.plot((left, left + length), (height, height), color="white", linewidth=1.5, solid_capstyle="butt")
    axes.text(left, height + 0.03 * field, f"{length:g}″", color="white", fontsize=7, va="bottom")


def _check_rows(
    rows: Sequence[Sequence[torch.Tensor]],
    columns: Sequence[str],
    captions: Sequence[Sequence[str]],
    objects: Sequence[Sequence[Instances]],
) -> None:
    everything = (*rows, *captions, *objects)
    if not rows or any(len(row) != len(columns) for row in everything):
        raise StampError(
            f"A grid of {len(columns)} columns has rows of {sorted({len(row) for row in everything})}.",
            "Give one picture, and one caption and set of objects if any, per column.",
        )
    for name, given in (("captions", captions), ("objects", objects)):
        if given and len(given) != len(rows):
            raise StampError(f"There are {name} for {len(given)} of {len(rows)} rows.")
    for picture in (picture for row in rows for picture in row):
        if picture.ndim != 3 or picture.shape[0] != 3 or not torch.isfinite(picture).all():
            raise StampError(
                f"A grid shows finite pictures (3, S, S), not {tuple(picture.shape)}.", "Render them with `render`."
            )


def parameter_panels(
    truth: NDArray[np.float64],
    values: NDArray[np.float64],
    errors: NDArray[np.float64],
    names: Sequence[str],
    path: Path,
) -> Path:
    """Write measured against true parameters (N, P), a panel each with errors and the diagonal, as a PNG; its path.

    Raises
    ------
    LabelError
        If there is no parameter.
    """
    if not names:
        raise LabelError("There is no parameter to draw.", "Measure at least one.")
    across = min(3, len(names))
    down = -(-len(names) // across)
    figure = Figure(figsize=(3.2 * across, 3 * down), layout="constrained")
    panels = list(figure.subplots(down, across, squeeze=False).flat)
    for place, (name, axes) in enumerate(zip(names, panels, strict=False)):
        parameter = PARAMETERS[name]
        axes.errorbar(
            truth[:, place], values[:, place], errors[:, place], fmt=".", color=COLOURS[0], markersize=3, elinewidth=0.4
        )
        limits = (np.nanmin(truth[:, place]), np.nanmax(truth[:, place]))
        axes.plot(limits, limits, color=COLOURS[1], linewidth=1)
        unit = f" [{parameter.unit}]" if parameter.unit else ""
        axes.set(title=f"{parameter.words}{unit}", xlabel="true", ylabel="measured")
        if parameter.scale == "log":
            axes.set(xscale="log", yscale="log")
    for axes in panels[len(names) :]:
        axes.set_axis_off()
    return _saved(figure, path)


def _saved(figure: Figure, path: Path) -> Path:
    write_atomically(path, lambda partial: figure.savefig(partial, format="png", dpi=DPI))
    return path
