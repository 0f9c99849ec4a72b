"""Decoders of campaigns: kept in the store, asked for restored stamps, and fine-tuned on what people said of these."""

import hashlib
import shutil
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from glob import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from backend_ml.buckets import bring
from backend_ml.kinds.kind import Report
from backend_ml.kinds.models import Stamp, Stores
from backend_ml.store.encoders import encoder_folder, keep_checkpoint
from lvm_training.params import FinetuneParams
from lvm_training.revision import code_revision
from lvm_training.stamps.render import frame, framed
from lvm_training.stamps.rendering import Rendering

# torch models take a moment to import, and campaigns of choices need none of it
if TYPE_CHECKING:
    from lvm_training.restoration.finetuning import Judged
    from lvm_training.restoration.restorer import Restorer
    from lvm_training.stamps.stampset import StampSet

KEPT = 2  # restored sets: that of the version that serves, and the newest
SIDE = 480  # pixels of a picture that masks are read at, and written


@dataclass(frozen=True)
class JudgedStamp:
    """What somebody said of a restored stamp.

    Attributes
    ----------
    stamp : (str, int)
    said : str
    painted : ndarray (SIDE, SIDE) of bool
        Where artefacts were painted on the picture.
    first : str
        Digest of the decoder that the campaign began with, whose restorations are what is learned from.
    """

    stamp: Stamp
    said: str
    painted: NDArray[np.bool_] = field(compare=False)
    first: str = ""


class RestoredStamp(NamedTuple):
    """Pixels (3, H, W) of a restored stamp, and its lumps (H, W): see `Restored`."""

    pixels: NDArray[Any]
    lumps: NDArray[np.float32]


def decoder_folder(store: Path, digest: str) -> Path:
    """Where the store keeps a decoder, with its encoder."""
    return bring(store / "decoders" / digest)


@lru_cache(maxsize=4)
def load_restorer(store: Path, digest: str) -> "Restorer":
    """A decoder from the store.

    Raises
    ------
    CheckpointError
        If it is not there, or not whole.
    """
    from lvm_training.restoration.restorer import Restorer

    return Restorer.load(decoder_folder(store, digest))


@lru_cache(maxsize=4)
def encoder_restorer(store: Path, encoder: str) -> "Restorer":
    """The decoder behind an encoder of the store, for who restores without a campaign.

    Raises
    ------
    CheckpointError
        If the encoder is not there, or has none.
    """
    from lvm_training.restoration.restorer import Restorer

    return Restorer.load(encoder_folder(store, encoder))


def keep_decoder(store: Path, checkpoint: Path) -> str:
    """The digest of a checkpoint's weights, under which the store now has it.

    Raises
    ------
    CheckpointError
        If it has no decoder, as other encoders have not, or is not whole.
    """
    from lvm_training.backbones.backbone import weights_digest
    from lvm_training.model.encoder import load_checkpoint

    lvm, _ = load_checkpoint(checkpoint)
    digest = weights_digest([], lvm.state_dict())
    keep_checkpoint(checkpoint, decoder_folder(store, digest))
    return digest


def _restored_file(store: Path, stamps: "StampSet", restorer: "Restorer", rows: NDArray[np.int64]) -> Path:
    """Where the store keeps rows of a set that a decoder restored."""
    from lvm_training.restoration.restored_set import rows_digest

    return store / "restored" / f"{stamps.name}-{stamps.digest}-{rows_digest(rows)}-{restorer.digest}.h5"


def _restored_files(store: Path, stamps: "StampSet", decoder: str = "") -> list[Path]:
    """Where the store keeps what a decoder, or any, restored of a set; files of whole sets name no rows."""
    return sorted((store / "restored").glob(f"{escape(f'{stamps.name}-{stamps.digest}')}-*{decoder}.h5"))


def restored_files(store: Path, digest: str) -> list[Path]:
    """The sets that the store keeps as a decoder restored them, on such a processor."""
    return sorted((store / "restored").glob(f"*-{load_restorer(store, digest).digest}.h5"))


def restore_shown(restorer: "Restorer", stores: Stores, report: Report) -> None:
    """Restore the stamps that the campaign's tasks show; what is restored already is kept."""
    from lvm_training.restoration.restored_set import restore_to

    for stamps, rows in stores.sets.shown(stores.campaign.id):
        there = [_rows_of(path) for path in _restored_files(stores.folder, stamps, restorer.digest)]
        left = np.setdiff1d(rows, np.concatenate(there)) if there else rows
        if len(left):
            path = _restored_file(stores.folder, stamps, restorer, left)
            restore_to(path, stamps, restorer, rows=left, progress=lambda done, total: report("restoring", done, total))


def forget_older(first: "Restorer", stores: Stores) -> None:
    """Delete restored sets of decoders before the last `KEPT`, but for those of the first, which labels are read by.

    Who still asks for one that is gone has its stamps restored anew.
    """
    for stamps, _ in stores.sets.shown(stores.campaign.id):
        files: dict[str, list[Path]] = {}
        for path in _restored_files(stores.folder, stamps):
            files.setdefault(path.stem.rpartition("-")[2], []).append(path)
        files.pop(first.digest, None)
        newest = sorted(files.values(), key=lambda paths: -max(path.stat().st_mtime_ns for path in paths))
        for path in (path for paths in newest[KEPT:] for path in paths):
            path.unlink(missing_ok=True)


def restored_stamps(store: Path, stamps: "StampSet", restorer: "Restorer", rows: Sequence[int]) -> list[RestoredStamp]:
    """Rows of a set restored: read where a file keeps them, else computed."""
    found: dict[int, RestoredStamp] = {}
    for path in _restored_files(store, stamps, restorer.digest):
        found |= _kept(path, set(rows) - found.keys())
    left = sorted(set(rows) - found.keys())
    if left:
        pixels = stamps.intact_pixels(np.array(left))[0]
        made = restorer.restore(pixels, stamps.rendering, stamps.pixel_scale)
        found |= {row: RestoredStamp(*both) for row, *both in zip(left, made.pixels, made.lumps, strict=True)}
    return [found[row] for row in rows]


def _rows_of(path: Path) -> NDArray[np.int64]:
    """As `restored_set.rows_of`; none where the file was forgotten after it had been listed."""
    from lvm_training.restoration.restored_set import rows_of

    try:
        return rows_of(path)
    except FileNotFoundError:
        return np.zeros(0, dtype=np.int64)


def _kept(path: Path, rows: Collection[int]) -> dict[int, RestoredStamp]:
    """Those of some rows that a file of restored stamps holds."""
    from lvm_training.restoration.restored_set import LUMPS, beside
    from lvm_training.stamps.stampset import StampSet

    held = _rows_of(path)
    places = np.flatnonzero(np.isin(held, list(rows)))
    if not len(places):
        return {}
    with StampSet(path) as kept:
        both = zip(held[places].tolist(), kept.pixels(places), beside(kept, LUMPS, places), strict=True)
        return {row: RestoredStamp(pixels, lumps) for row, pixels, lumps in both}


def on_picture(stamps: "StampSet", plane: NDArray[np.float32], rendering: Rendering) -> NDArray[np.float32]:
    """A plane (H, W) of a stamp as it lies on a picture of `SIDE` pixels."""
    planes = np.repeat(plane[None, None], 3, axis=1)
    shown = framed(planes, rendering.sized(SIDE), pixel_scale=stamps.pixel_scale, origin=stamps.origin)
    return np.asarray(shown[0, 0].numpy())


def on_stamp(stamps: "StampSet", painted: NDArray[np.bool_], rendering: Rendering) -> NDArray[np.bool_]:
    """A mask of a picture of `SIDE` pixels on the pixels of its stamp (H, W)."""
    height, width = stamps.shape
    cut = frame((height, width), rendering.sized(SIDE), pixel_scale=stamps.pixel_scale, origin=stamps.origin)
    first, last = cut.from_stamp(0.5, 0.5), cut.from_stamp(width - 0.5, height - 0.5)
    columns, rows = (
        np.floor(np.linspace(start, stop, count)).astype(int)
        for start, stop, count in zip(first, last, (width, height), strict=True)
    )
    inside = np.ix_((rows >= 0) & (rows < SIDE), (columns >= 0) & (columns < SIDE))
    found = np.zeros((height, width), dtype=bool)
    found[inside] = painted[np.ix_(rows.clip(0, SIDE - 1), columns.clip(0, SIDE - 1))][inside]
    return found


def judged_tiles(judged: Sequence[JudgedStamp], stores: Stores) -> list["Judged"]:
    """Tiles around what was painted, or the middle, of judged stamps, with the first decoder's restoration of them."""
    return [_tile(one, stores) for one in judged]


def _tile(one: JudgedStamp, stores: Stores) -> "Judged":
    from lvm_training.restoration.finetuning import Judged

    restorer = load_restorer(stores.folder, one.first)
    stamps, row = stores.sets.holding(*one.stamp), one.stamp[1]
    observed = stamps.intact_pixels([row])[0]
    restored = restored_stamps(stores.folder, stamps, restorer, [row])[0].pixels[None]
    painted = on_stamp(stamps, one.painted, stores.campaign.rendering)
    bands = [_bands(pixels, stamps, restorer) for pixels in (observed, restored)]
    places = np.argwhere(painted)
    middle = places.mean(axis=0) if len(places) else np.array(painted.shape) / 2
    tile = restorer.rendering.size
    cut = [_cut(plane, middle, tile) for plane in (*bands, painted[None].astype(np.float32))]
    return Judged(cut[0], cut[1], one.said, cut[2][0] > 0)


def _bands(pixels: NDArray[Any], stamps: "StampSet", restorer: "Restorer") -> NDArray[np.float32]:
    """A stamp (1, 3, H, W) as bands (3, H, W) in nanomaggies per 0.262 arcsec pixel; empty sky where it has none."""
    import torch

    from lvm_training.pretraining.views import unstretched
    from lvm_training.restoration.restorer import unit_of

    values = np.nan_to_num(pixels.astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    values = values / unit_of(stamps.rendering, stamps.pixel_scale)
    if stamps.rendering == "as-delivered":
        values = unstretched(torch.from_numpy(values), restorer.rendering).numpy()
    return np.asarray(values[0], dtype=np.float32)


def _cut(planes: NDArray[np.float32], middle: NDArray[np.float64], tile: int) -> NDArray[np.float32]:
    """A square of planes (C, H, W) around a point, moved inside; what is smaller is padded by empty sky."""
    height, width = planes.shape[1:]
    starts = [
        int(np.clip(round(at - tile / 2), 0, max(0, side - tile)))
        for at, side in zip(middle.tolist(), (height, width), strict=True)
    ]
    part = planes[:, starts[0] : starts[0] + tile, starts[1] : starts[1] + tile]
    return np.pad(part, [(0, 0), (0, tile - part.shape[1]), (0, tile - part.shape[2])])


def finetuned(judged: Sequence[JudgedStamp], params: FinetuneParams, stores: Stores, report: Report) -> str:
    """The digest of the first decoder fine-tuned on what people said, kept in the store.

    Always from the first decoder, on all that was said: what comes out depends on that and the seed alone. A run that
    was interrupted goes on from its last checkpoint if people have said nothing else since.
    """
    from lvm_training.model.encoder import load_checkpoint, save_checkpoint
    from lvm_training.restoration.finetuning import finetune_decoder

    report("preparing", 0, 1)
    number, base = stores.campaign.id, decoder_folder(stores.folder, judged[0].first)
    lvm, card = load_checkpoint(base)
    tiles = judged_tiles(judged, stores)
    data = _digest(f"{judged[0].first}\0{params.model_dump_json()}", tiles)
    resume = stores.folder / "resume" / f"decoder-{number}-{data}"
    tuned = finetune_decoder(
        lvm, tiles, card.rendering, params, resume, progress=lambda done, total: report("training", done, total)
    )
    part = decoder_folder(stores.folder, f"part-{number}")
    about: dict[str, Any] = {"data": data, "code": code_revision(), "metrics": {}, "parent": card.encoder}
    save_checkpoint(part, tuned, card.rendering, params=params.model_dump(), **about)
    digest = keep_decoder(stores.folder, part)
    shutil.rmtree(part)
    for stale in resume.parent.glob(f"decoder-{number}-*"):
        shutil.rmtree(stale)
    return digest


def _digest(recipe: str, tiles: Sequence["Judged"]) -> str:
    """12 hex digits of all that a fine-tuning depends on."""
    state = hashlib.sha256(recipe.encode())
    for one in tiles:
        state.update(one.said.encode() + one.bands.tobytes() + one.restored.tobytes() + one.painted.tobytes())
    return state.hexdigest()[:12]


def fidelity(judged: Sequence[JudgedStamp], restorer: "Restorer", stores: Stores) -> NDArray[np.float64]:
    """How like what people wanted a decoder restores worse exposures of what they judged: SSIM (N,), 0 to 1.

    The same worse exposure of a stamp goes to every decoder, so that two can be compared.
    """
    import torch

    from lvm_training.observation.degrade import degrade
    from lvm_training.restoration.metrics import ssim
    from lvm_training.restoration.tiles import decoded
    from lvm_training.stamps.render import stretch
    from lvm_training.stamps.stampset import LEGACY_PIXEL_SCALE

    tiles = judged_tiles(judged, stores)
    bands = torch.from_numpy(np.stack([one.bands for one in tiles]))
    wanted = stretch(torch.from_numpy(np.stack([one.target for one in tiles])), restorer.rendering)
    rng = np.random.default_rng(stores.campaign.seed)
    worse = degrade(bands, rng, pixel_scale=LEGACY_PIXEL_SCALE)
    found = decoded(restorer.lvm, worse, restorer.rendering, "nanomaggies", views=1, precision=restorer.precision)
    return np.clip(ssim(wanted, stretch(found.mean, restorer.rendering)), 0, 1)
