"""Features of simulated stamps and what was drawn in them: made once for each encoder, and kept on disk."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import Self

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from lvm_training.files import alone, write_atomically
from lvm_training.heads.classification import feature_scale
from lvm_training.heads.prior import Prior
from lvm_training.model.encoder import Encoder
from lvm_training.progress import Progress
from lvm_training.scenes.simulated_classes import Drawn, of_concept, simulated_labels
from lvm_training.scenes.structure import Structure
from lvm_training.simulated.drawing import BATCH, POPULATION, draw_stamps

STAMPS = 4200  # drawn by default; twice as many gain .003 (docs/why/prior.md)
SHARPEST = 128  # pixels; 25 arcsec of a survey are 95, and larger pictures of them are no sharper
SAVED_EVERY = 5  # batches: what a kill can cost
COLUMN = "structure."


@dataclass(frozen=True, eq=False)
class SimulatedSet:
    """Simulated stamps as heads see them.

    Attributes
    ----------
    features : ndarray (N, D) float32
        Of one encoder.
    drawn : Drawn
        What is in each stamp.
    encoder : str
        Digest of the encoder.
    """

    features: NDArray[np.float32]
    drawn: Drawn
    encoder: str

    def __len__(self) -> int:
        return len(self.features)

    def standard(self) -> NDArray[np.float32]:
        """The features (N, D) with zero mean and unit spread; real ones are compared standardised by their own."""
        return standardised(self.features)

    def labels(self, classes: Mapping[str, str]) -> NDArray[np.str_]:
        """Class of each stamp (N,), empty where it is not clear; see `simulated_classes.simulated_labels`.

        Raises
        ------
        ConceptError
            If the simulator draws no such concept.
        """
        return simulated_labels(self.drawn, classes)

    def prior(self, classes: Mapping[str, str]) -> Prior:
        """What the stamps teach of classes, each with its concepts.

        Raises
        ------
        LabelError
            If fewer than two of the classes were drawn.
        ConceptError
            If the simulator draws no such concept.
        """
        return Prior.fit(self.standard(), [str(name) for name in self.labels(classes)])

    def showing(self, concept: str) -> NDArray[np.int64]:
        """Rows of the stamps that clearly show a concept, or after `simulated_classes.NOT` clearly lack it.

        Raises
        ------
        ConceptError
            If the simulator draws no such concept.
        """
        return np.flatnonzero(of_concept(self.drawn, concept))

    def first(self, count: int) -> "SimulatedSet":
        """The first `count` stamps."""
        structure = self.drawn.structure.rows(np.arange(min(count, len(self))))
        return SimulatedSet(self.features[:count], Drawn(structure, self.drawn.lens[:count]), self.encoder)

    def save(self, path: Path) -> None:
        """Write it, whole or not at all."""
        columns = {COLUMN + field.name: getattr(self.drawn.structure, field.name) for field in fields(Structure)}
        arrays = {"features": self.features, "lens": self.drawn.lens.astype(np.uint8), **columns}
        card = {"card": json.dumps({"encoder": self.encoder, "population": POPULATION})}
        whole = {name: np.ascontiguousarray(values) for name, values in arrays.items()}
        write_atomically(path, lambda partial: save_file(whole, partial, card))

    @classmethod
    def load(cls, path: Path, encoder: str) -> Self | None:
        """What is kept in a file; None if there is none, or it is broken: then it is drawn again."""
        try:
            arrays = load_file(path)
            columns = {field.name: arrays[COLUMN + field.name] for field in fields(Structure)}
            features, lens = arrays["features"], arrays["lens"].astype(bool)
        except (OSError, SafetensorError, KeyError):
            return None
        rows = {len(values) for values in (features, lens, *columns.values())}
        return cls(features, Drawn(Structure(**columns), lens), encoder) if len(rows) == 1 else None


def standardised(matrix: NDArray[np.float32]) -> NDArray[np.float32]:
    """Features (N, D) of zero mean and unit spread; those that hardly vary stay small."""
    wide = np.asarray(matrix, np.float64)
    return np.asarray((wide - wide.mean(0)) / feature_scale(wide), np.float32)


def set_path(folder: Path, encoder: str) -> Path:
    """Where the simulated stamps of an encoder are kept in a folder."""
    return folder / f"simulated-{POPULATION}-{encoder}.safetensors"


def drawn_set(
    encoder: Encoder, stamps: int, *, kept: SimulatedSet | None = None, progress: Progress | None = None
) -> SimulatedSet:
    """At least `stamps` simulated stamps through an encoder, those that are `kept` first; drawn where it computes.

    The encoder looks at each once, whatever its views: real features are the mean over eight, but each domain is
    standardised by itself, and what heads learn is as good (docs/why/prior.md).
    """
    parts = [] if kept is None else [kept]
    once = encoder.with_views(1)
    drawn_as = encoder.rendering.sized(min(encoder.rendering.size, SHARPEST))
    for number in range(sum(map(len, parts)) // BATCH, -(-stamps // BATCH)):
        drawn = draw_stamps(number, drawn_as, device=encoder.device)
        pictures = _enlarged(drawn.pictures, encoder.rendering.size)
        parts.append(SimulatedSet(once.features(pictures).numpy(), drawn.drawn, encoder.digest))
        if progress is not None:
            progress(min((number + 1) * BATCH, stamps), stamps)
    return joined(parts)


def _enlarged(pictures: torch.Tensor, size: int) -> torch.Tensor:
    """Pictures of another side, as `render` enlarges stamps."""
    if pictures.shape[-1] == size:
        return pictures
    return F.interpolate(pictures, (size, size), mode="bilinear", antialias=True)


def joined(parts: Sequence[SimulatedSet]) -> SimulatedSet:
    """All of their stamps; they are of one encoder."""
    columns = {
        field.name: np.concatenate([getattr(part.drawn.structure, field.name) for part in parts])
        for field in fields(Structure)
    }
    drawn = Drawn(Structure(**columns), np.concatenate([part.drawn.lens for part in parts]))
    return SimulatedSet(np.concatenate([part.features for part in parts]), drawn, parts[0].encoder)


def simulated_set(
    encoder: Encoder, folder: Path, *, stamps: int = STAMPS, progress: Progress | None = None
) -> SimulatedSet:
    """The first `stamps` simulated stamps through an encoder, from a file in `folder`; drawn if they are not there.

    A run that was killed goes on where it last saved. What is asked for beyond what is there is drawn then.

    Parameters
    ----------
    progress : callable, optional
        Called with the stamps done and their number; not at all where nothing has to be drawn.
    """
    path = set_path(folder, encoder.digest)
    kept = SimulatedSet.load(path, encoder.digest)
    if kept is not None and len(kept) >= stamps:
        return kept.first(stamps)
    # who asks while another process draws waits for it, and then has less to draw or nothing
    with alone(path.with_suffix(".lock")):
        kept = SimulatedSet.load(path, encoder.digest)
        while kept is None or len(kept) < stamps:
            there = 0 if kept is None else len(kept)
            kept = drawn_set(
                encoder, min(there + SAVED_EVERY * BATCH, stamps), kept=kept, progress=_of_all(progress, stamps)
            )
            kept.save(path)
    return kept.first(stamps)


def _of_all(progress: Progress | None, total: int) -> Progress | None:
    return None if progress is None else lambda done, _: progress(done, total)


def kept_set(folder: Path, encoder: str, stamps: int = STAMPS) -> SimulatedSet | None:
    """The first `stamps` of an encoder's simulated stamps, read once a process; None if so many were not drawn yet."""
    path = set_path(folder, encoder)
    return _loaded(path, encoder, stamps, path.stat().st_mtime_ns) if path.is_file() else None


@lru_cache(maxsize=4)
def _loaded(path: Path, encoder: str, stamps: int, changed: int) -> SimulatedSet | None:
    found = SimulatedSet.load(path, encoder)
    return None if found is None or len(found) < stamps else found.first(stamps)
