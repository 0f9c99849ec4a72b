"""Embeds stamp sets: pictures through the encoder into a feature file, resumable."""

import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from pydantic import ValidationError

from lvm_training.files import write_json
from lvm_training.model.encoder import Encoder
from lvm_training.pool.features import Features, Origin
from lvm_training.stamps.render import render_set
from lvm_training.stamps.rendering import Rendering
from lvm_training.stamps.stampset import StampSet

Progress = Callable[[int, int], None]


def features_path(stamps: StampSet, encoder: Encoder, folder: Path) -> Path:
    """Where `embed_set` keeps the features of this set from this encoder."""
    return folder / f"{stamps.name}-{stamps.digest}-{encoder.digest}.npy"


def embed_set(
    stamps: StampSet, encoder: Encoder, folder: Path, *, batch: int = 128, progress: Progress | None = None
) -> Features:
    """Features of a stamp set, from a file in `folder` named by set and encoder; made if it is not there."""
    return embed_to(features_path(stamps, encoder, folder), stamps, encoder, batch=batch, progress=progress)


def embed_to(
    path: Path, stamps: StampSet, encoder: Encoder, *, batch: int = 128, progress: Progress | None = None
) -> Features:
    """Features of a stamp set in the file `path`.

    A run that was killed goes on behind the last complete batch; features there already are returned at once.

    Parameters
    ----------
    path : Path
        The `.npy` file; its JSON stands beside it.
    batch : int
        Stamps that go through the encoder at a time.
    progress : callable, optional
        Called with the stamps done and their number.
    """
    origin = Origin(
        name=stamps.name,
        stamps=stamps.digest,
        encoder=encoder.digest,
        rows=len(stamps),
        width=encoder.width,
        warning="pictures as delivered, not the rendering of the encoder" if stamps.rendering == "as-delivered" else "",
    )
    card = path.with_suffix(".json")
    if path.is_file() and _read(card) == origin:
        return Features.open(path)
    # an older matrix must never stand beside the new card
    path.unlink(missing_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial, state = path.with_name(path.name + ".partial"), path.with_name(path.name + ".partial.json")
    done = _resumed(partial, state, origin)
    matrix = np.lib.format.open_memmap(  # type: ignore[no-untyped-call]
        partial, mode="r+" if done else "w+", dtype=np.float16, shape=(origin.rows, origin.width)
    )
    slices = [slice(start, min(start + batch, origin.rows)) for start in range(done, origin.rows, batch)]
    for rows, images in _read_ahead(stamps, slices, encoder.rendering):
        stop = rows.stop
        matrix[rows] = encoder.features(images).numpy().astype(np.float16)
        matrix.flush()
        write_json(state, {"done": stop, "origin": origin.model_dump()})
        if progress is not None:
            progress(stop, origin.rows)
    del matrix
    write_json(card, origin.model_dump())
    partial.replace(path)
    state.unlink(missing_ok=True)
    return Features.open(path)


def _read_ahead(
    stamps: StampSet, slices: Sequence[slice], rendering: Rendering
) -> Iterator[tuple[slice, torch.Tensor]]:
    """Pictures of each slice, the next one being read and rendered while the encoder works on this one."""
    with ThreadPoolExecutor(1) as reader:
        waiting = [(rows, reader.submit(render_set, stamps, rows, rendering)) for rows in slices[:1]]
        for after in [*slices[1:], None] if slices else []:
            rows, pictures = waiting.pop()
            if after is not None:
                waiting.append((after, reader.submit(render_set, stamps, after, rendering)))
            yield rows, pictures.result()


def _resumed(partial: Path, state: Path, origin: Origin) -> int:
    """Rows of the unfinished file that can be kept."""
    try:
        found = json.loads(state.read_text(encoding="utf-8"))
        matrix = np.load(partial, mmap_mode="r", allow_pickle=False)
    except (FileNotFoundError, ValueError, EOFError):
        return 0
    same = found.get("origin") == origin.model_dump() and matrix.shape == (origin.rows, origin.width)
    return int(found["done"]) if same else 0


def _read(card: Path) -> Origin | None:
    try:
        return Origin.model_validate_json(card.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValidationError):
        return None
