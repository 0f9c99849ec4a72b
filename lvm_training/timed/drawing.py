"""Batches of simulated stamps for a training in given minutes: drawn where they are needed, one batch ahead."""

import queue
import threading
from collections.abc import Generator
from contextlib import suppress
from dataclasses import dataclass, fields
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from lvm_training.model.masking import block_mask
from lvm_training.observation.appearance import varied
from lvm_training.observation.degrade import degrade
from lvm_training.observation.survey_marks import survey_marks
from lvm_training.scenes.realistic import draw_either
from lvm_training.scenes.scenes import Scenes, draw_scenes
from lvm_training.scenes.structure import Structure
from lvm_training.scenes.truth import TruthScale, standard_truth
from lvm_training.stamps.render import stretch
from lvm_training.timed.recipe import TimedRecipe

Item = TypeVar("Item")

AHEAD = 2  # batches drawn while one is learned from


@dataclass(frozen=True)
class Shares:
    """How many stamps of a batch do what, in this order: read, restored, masked.

    Attributes
    ----------
    pairs : int
        Stamps among those read that are second drawings, the last ones, of as many first ones.
    """

    read: int
    restored: int
    masked: int
    pairs: int

    @property
    def total(self) -> int:
        """Stamps in all."""
        return self.read + self.restored + self.masked


def shares_of_batch(recipe: TimedRecipe, stamps: int) -> Shares:
    """The shares of a batch of `stamps`, at least one of each kind and two read."""
    restored, masked = (max(1, round(share * stamps)) for share in (recipe.restored, recipe.masked))
    read = max(2, stamps - restored - masked)
    pairs = max(1, min(read // 2, round(recipe.contrasted * stamps))) if recipe.contrast else 0
    return Shares(read, restored, masked, pairs)


class DrawnBatch(NamedTuple):
    """Simulated stamps, in the order of `Shares`.

    Attributes
    ----------
    images : Tensor (N, 3, S, S)
        What the encoder sees.
    target : Tensor (restored + masked, 3, S, S)
        What the decoder should make of those.
    mask : Tensor (N, S / patch, S / patch) of bool
        Hidden patches.
    truth : Tensor (read + restored, K)
        Standardised truth, NaN where there is none.
    parts : Tensor (read + restored, P, S, S)
        Shares of the `scenes.PARTS` in the light, sky being what is missing to 1; of no part unless asked for.
    """

    images: torch.Tensor
    target: torch.Tensor
    mask: torch.Tensor
    truth: torch.Tensor
    parts: torch.Tensor


class SimulatedStamps(Dataset[DrawnBatch]):
    """Batches drawn on a device; the i-th depends only on the recipe, the batch's size, the device's kind and i.

    Parameters
    ----------
    recipe : TimedRecipe
        What is drawn.
    scale : TruthScale
        Units of the truth.
    stamps : int
        Stamps in a batch.
    device : torch.device
        Where they are drawn and stay.
    """

    def __init__(self, recipe: TimedRecipe, scale: TruthScale, stamps: int, device: torch.device) -> None:
        self.recipe, self.scale, self.device = recipe, scale, device
        self.shares = shares_of_batch(recipe, stamps)

    def __getitem__(self, index: int) -> DrawnBatch:
        recipe, shares = self.recipe, self.shares
        rng = np.random.default_rng((recipe.seed, 0, index))
        pairs, read = shares.pairs, shares.read
        scenes, field, realistic = drawn_scenes(shares.total, recipe, rng, self.device, pairs=pairs, read=read)
        rendering = recipe.rendering.model_copy(update={"field": field})
        pixel = field / rendering.size
        known = shares.read + shares.restored
        restored, masked = slice(shares.read, known), slice(known, shares.total)
        worse = degrade(scenes.observed[restored], rng, pixel_scale=pixel)
        images = torch.cat(
            [
                shown(scenes.observed[: shares.read], recipe, field, rng, realistic=realistic),
                stretch(worse, rendering),
                stretch(scenes.observed[masked], rendering),
            ]
        )
        target = torch.cat([stretch(scenes.noiseless[restored], rendering), images[masked]])
        mask = torch.zeros(shares.total, recipe.model.grid, recipe.model.grid, dtype=torch.bool)
        mask[masked] = block_mask(
            shares.masked,
            shares.masked,
            size=rendering.size,
            patch=recipe.model.patch,
            block=recipe.mask_patch,
            ratio=recipe.mask_ratio,
            rng=rng,
        )
        standard = seen_truth(scenes, self.scale, field, recipe)[:known]
        return DrawnBatch(images, target, mask.to(self.device), standard, scenes.parts[:known])


def drawn_scenes(
    n: int,
    recipe: TimedRecipe,
    rng: np.random.Generator,
    device: torch.device,
    *,
    pairs: int = 0,
    read: int = 0,
    parts: bool | None = None,
) -> tuple[Scenes, float, bool]:
    """`n` scenes as the recipe wants them, the side of their field, arcsec, and whether they are realistic.

    Parameters
    ----------
    pairs, read : int
        Of the first `read` scenes the last `pairs` show the structures of the first ones again.
    parts : bool, optional
        Whether the light of each part is kept; by default where the recipe learns from it.
    """
    field = recipe.field
    if recipe.fields is not None:
        field = float(np.exp(rng.uniform(*np.log(recipe.fields))))
    realistic = bool(rng.random() < recipe.realism)
    structure = draw_either(n, rng, field=field, realistic=realistic, usual=recipe.field)
    if pairs:
        structure = drawn_again(structure, pairs, read, rng)
    scenes = draw_scenes(
        n,
        rng,
        size=recipe.rendering.size,
        field=field,
        structure=structure,
        device=device,
        dense=recipe.dense + recipe.dense_tokens > 0 if parts is None else parts,
        realism=realistic,
    )
    return scenes, field, realistic


def drawn_again(structure: Structure, pairs: int, read: int, rng: np.random.Generator) -> Structure:
    """The structures, the last `pairs` of the first `read` being the first ones again, seen otherwise.

    Direction, size on the sky and brightness are drawn anew, so that only the shape tells which two belong together.
    """
    again = {field.name: getattr(structure, field.name).copy() for field in fields(structure)}
    second = slice(read - pairs, read)
    for values in again.values():
        values[second] = values[:pairs]
    again["angle"][second] = rng.uniform(0, np.pi, pairs)
    again["companion_angle"][second] = rng.uniform(0, 2 * np.pi, pairs)
    again["radius"][second] *= np.exp(rng.uniform(-0.25, 0.25, pairs))
    again["brightness"][second] += rng.uniform(-0.7, 0.7, pairs)
    again["pitch"][second] *= rng.choice([-1, 1], pairs)
    return Structure(**again)


def shown(
    observed: torch.Tensor, recipe: TimedRecipe, field: float, rng: np.random.Generator, *, realistic: bool
) -> torch.Tensor:
    """Pictures (N, 3, S, S) as surveys would show them: various renderings, with the surveys' marks where realistic."""
    pictures = varied(observed, recipe.rendering.model_copy(update={"field": field}), rng)
    return survey_marks(pictures, rng, observed.device) if realistic else pictures


def seen_truth(scenes: Scenes, scale: TruthScale, field: float, recipe: TimedRecipe) -> torch.Tensor:
    """Standardised truth (N, K), sizes being parts of the field: a picture does not tell how large its field is."""
    matrix = standard_truth(scenes, scale, pixel=field / recipe.rendering.size)
    size = scale.names.index("size")
    matrix[:, size] -= float(np.log(field / recipe.field) / scale.spread[size])
    return matrix


def batches(stamps: SimulatedStamps, start: int, *, workers: int) -> Generator[DrawnBatch, None, None]:
    """Endless batches from the `start`-th on.

    Parameters
    ----------
    workers : int
        Processes that draw on the host's cores; 0 draws in this process, on a GPU in a thread and stream of its own.
    """
    if workers:
        return _from_host(stamps, start, workers)
    return _ahead(stamps, start) if stamps.device.type == "cuda" else _one_by_one(stamps, start)


def _one_by_one(stamps: SimulatedStamps, start: int) -> Generator[DrawnBatch, None, None]:
    index = start
    while True:
        yield stamps[index]
        index += 1


class _From(Dataset[DrawnBatch]):
    """The batches from one on, on the host."""

    def __init__(self, stamps: SimulatedStamps, start: int) -> None:
        self.stamps = SimulatedStamps(stamps.recipe, stamps.scale, stamps.shares.total, torch.device("cpu"))
        self.start = start

    def __len__(self) -> int:
        return 1 << 40

    def __getitem__(self, index: int) -> DrawnBatch:
        return self.stamps[self.start + index]


def _from_host(stamps: SimulatedStamps, start: int, workers: int) -> Generator[DrawnBatch, None, None]:
    source = _From(stamps, start)
    cuda = stamps.device.type == "cuda"
    loader = DataLoader(
        source,
        batch_size=None,
        sampler=range(len(source)),
        num_workers=workers,
        pin_memory=cuda,
        multiprocessing_context="spawn",
    )
    for batch in loader:
        yield DrawnBatch(*(part.to(stamps.device, non_blocking=True) for part in batch))


def _ahead(stamps: SimulatedStamps, start: int) -> Generator[DrawnBatch, None, None]:
    """Batches drawn by a thread on a CUDA stream of its own, while the caller's stream learns."""
    waiting: queue.Queue[tuple[DrawnBatch, torch.cuda.Event] | BaseException] = queue.Queue(AHEAD)
    ended = threading.Event()

    def draw() -> None:
        stream = torch.cuda.Stream(stamps.device)  # type: ignore[no-untyped-call]
        index = start
        try:
            with torch.cuda.stream(stream), torch.no_grad():
                while not ended.is_set():
                    batch = stamps[index]
                    event = torch.cuda.Event()  # type: ignore[no-untyped-call]
                    event.record(stream)
                    _put(waiting, (batch, event), ended)
                    index += 1
        except BaseException as error:  # the caller raises it
            _put(waiting, error, ended)

    thread = threading.Thread(target=draw, daemon=True)
    thread.start()
    try:
        while True:
            found = waiting.get()
            if isinstance(found, BaseException):
                raise found
            batch, event = found
            current = torch.cuda.current_stream(stamps.device)
            current.wait_event(event)
            for part in batch:
                part.record_stream(current)
            yield batch
    finally:
        ended.set()
        thread.join()


def _put(waiting: "queue.Queue[Item]", item: "Item", ended: threading.Event) -> None:
    """Put an item into a full queue as soon as there is room, unless nobody waits for it any more."""
    while not ended.is_set():
        with suppress(queue.Full):
            return waiting.put(item, timeout=0.1)
