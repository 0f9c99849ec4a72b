"""The parameters of the one rendering; `render.py` applies them."""

import hashlib
from typing import Self

from pydantic import BaseModel, ConfigDict


class Rendering(BaseModel):
    """How pixels become a picture.

    Attributes
    ----------
    size : int
        Side of the rendered picture, pixels.
    field : float
        Side of the centre crop, arcsec.
    scales : tuple of float
        Multipliers of g, r and z before the stretch.
    black : float
        Added to each scaled band, the viewer's `m`.
    softening : float
        The viewer's `Q` in arcsinh(Q I) / sqrt(Q).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: int = 64
    field: float = 25.0
    scales: tuple[float, float, float] = (6.0, 3.4, 2.2)
    black: float = 0.03
    softening: float = 20.0

    def sized(self, size: int) -> Self:
        """The same rendering on a grid of another size: what annotators see, larger."""
        return self.model_copy(update={"size": size})

    @property
    def digest(self) -> str:
        """12 hex digits naming these parameters."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:12]
