"""What a stamp set is and says of itself: size, unit, bands, scale, columns, and where it came from."""

from collections import Counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lvm_training.errors import StampError
from lvm_training.stamps.stampset import StampSet

SHOWN = 5  # bands that are told
SATURATED = "saturated"  # column of how many pixels of a stamp are, by an import
DOCUMENTS = ("survey", "import", "labels", "join")  # that a fetch, an import or a join kept


def summary(stamps: StampSet) -> dict[str, Any]:
    """What people should know of a set before they use it.

    Returns
    -------
    dict
        `stamps`, `size`, `pixels` (what they hold), `bands`, `pixel_scale`, `origin` and `digest`; `saturated`, where
        an import counted it; `columns`, each with its `type` and how many values are `missing`; and the documents
        `survey` of a fetch, `import` and `labels` of an import, and `join` of a set joined of others.
    """
    height, width = stamps.shape
    return {
        "stamps": len(stamps),
        "size": f"{width} x {height} pixels",
        "pixels": "nanomaggies" if stamps.rendering == "nanomaggies" else "8-bit red, green, blue",
        "bands": _bands(stamps),
        "pixel_scale": _scale(stamps),
        "origin": "row 0 in the south" if stamps.origin == "lower" else "row 0 at the top",
        "digest": stamps.digest,
        **({"saturated": saturation(_numbers(stamps, SATURATED)) or "none"} if SATURATED in stamps.columns else {}),
        "columns": {name: _column(stamps, name) for name in stamps.columns},
        "left_out": stamps.left_out,
        **{name: stamps.about(name) for name in DOCUMENTS},
    }


def saturation(counts: NDArray[np.float64]) -> str:
    """How many stamps have saturated pixels, by how many each has; "" where none has any."""
    some = counts[counts > 0]
    return f"{len(some)} stamps have saturated pixels, up to {some.max():.0f}" if len(some) else ""


def _numbers(stamps: StampSet, name: str) -> NDArray[np.float64]:
    """The values of a column; none where it holds no numbers, or is damaged."""
    try:
        return stamps.column(name).astype(np.float64) if stamps.is_number(name) else np.empty(0)
    except StampError:
        return np.empty(0)


def _bands(stamps: StampSet) -> str:
    if "bands" not in stamps.columns:
        return "g, r, z" if stamps.rendering == "nanomaggies" else "red, green, blue"
    counts = Counter(map(str, stamps.column("bands")))
    return ", ".join(f"{name} ({count} stamps)" for name, count in counts.most_common(SHOWN))


def _scale(stamps: StampSet) -> str:
    if stamps.pixel_scale == stamps.pixel_scale:
        return f"{stamps.pixel_scale:g} arcsec"
    if "pixel_scale" in stamps.columns:
        scales = stamps.column("pixel_scale").astype(np.float64)
        return f"{np.nanmin(scales):.3g} to {np.nanmax(scales):.3g} arcsec, each its own; stamps are shown whole"
    return "unknown; stamps are shown whole"


def _column(stamps: StampSet, name: str) -> dict[str, str | int]:
    try:
        values: NDArray[Any] = stamps.column(name)
    except StampError:
        return {"type": "damaged", "missing": len(stamps)}
    if values.dtype.kind == "f":
        return {"type": "number", "missing": int(np.isnan(values).sum())}
    kind = {"i": "integer", "u": "integer", "b": "boolean"}.get(values.dtype.kind, "text")
    return {"type": kind, "missing": int((values == "").sum()) if kind == "text" else 0}
