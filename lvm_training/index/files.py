"""Indices on disk: folders named by what they were built from, and a pointer to the one in use.

    <folder>/current.json            {"index": "3f0c9a27d1be"}
    <folder>/3f0c9a27d1be/           index.faiss, card.json
    <folder>/3f0c9a27d1be.parts/     while it is built: what was trained, and the lists of each shard done

The pointer is replaced only when the new folder is complete, so a reader sees the old index or the new one. Files are
never changed in place: who has an older index open goes on reading it, although its name is gone.
"""

import hashlib
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import faiss
from pydantic import BaseModel, ConfigDict, ValidationError

from lvm_training.files import alone, write_json, write_together
from lvm_training.index.plan import IndexPlan, Kind, PoolIndexError
from lvm_training.index.pool_index import PoolIndex, build_index
from lvm_training.pool.features import Features
from lvm_training.pool.shards import Shards
from lvm_training.progress import Progress

POINTER = "current.json"
INDEX = "index.faiss"
CARD = "card.json"
PARTS = ".parts"  # ends the folder of a build that is not finished
ATTEMPTS = 5  # an index may be replaced between reading the pointer and opening its file
HINT = "Build it again with `index_pool`, as `galaxyloop search` does by itself."


class IndexMismatchError(PoolIndexError):
    """An index of another encoder, or of other shards, than the features at hand."""

    code = "index_mismatch"


class ShardCard(BaseModel):
    """A shard that was indexed: name and digest of its stamp set, and its rows."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    stamps: str
    rows: int


class Contents(BaseModel):
    """What an index was built from.

    Attributes
    ----------
    encoder : str
        Digest of the encoder.
    width : int
        Length of a feature vector.
    shards : tuple of ShardCard
        In the order in which rows are counted.
    plan : IndexPlan
        How it was built.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    encoder: str
    width: int
    shards: tuple[ShardCard, ...]
    plan: IndexPlan

    @property
    def digest(self) -> str:
        """12 hex digits that name it."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:12]


class IndexCard(BaseModel):
    """The JSON beside an index.

    Attributes
    ----------
    contents : Contents
        What it was built from.
    rows : int
        Vectors in it.
    size : int
        Bytes of the index file.
    left_out : int
        Rows whose features are not finite.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    contents: Contents
    rows: int
    size: int
    left_out: int = 0


def save_index(index: PoolIndex, folder: Path) -> Path:
    """Write an index into `folder` and let the pointer name it; returns the folder it is in.

    Older indices are removed. Another process or thread that builds there at the time is waited for.
    """
    with alone(folder / ".lock"):
        return _saved(index, folder)


def open_index(folder: Path, features: Features | Sequence[Features]) -> PoolIndex:
    """The index that `folder` points to, memory-mapped.

    Raises
    ------
    IndexMismatchError
        If it is of another encoder or of other shards.
    PoolIndexError
        If there is none, or a file is missing, truncated or damaged.
    """
    shards = Shards([features] if isinstance(features, Features) else features)
    for attempt in range(ATTEMPTS):
        try:
            return _opened(folder, shards)
        except FileNotFoundError as error:
            if attempt + 1 == ATTEMPTS or not (folder / POINTER).is_file():
                raise PoolIndexError(f"There is no complete index in {folder}.", HINT) from error
    raise AssertionError("the last attempt returns or raises")


def index_pool(
    features: Features | Sequence[Features],
    folder: Path,
    memory: int | None = None,
    *,
    kind: Kind | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> PoolIndex:
    """The index of a pool in `folder`: the one there if it is whole and of these shards, otherwise built and kept.

    Parameters
    ----------
    memory, seed, progress
        As `build_index`; an index that is there is taken whatever the memory.
    kind : str, optional
        As `build_index`; an index of another kind is replaced.

    Raises
    ------
    FeaturesError, PoolIndexError
        As `build_index`.
    """
    found = _usable(folder, features, kind)
    if found is not None:
        return found
    with alone(folder / ".lock"):
        found = _usable(folder, features, kind)
        if found is not None:
            return found

        def parts(shards: Shards, plan: IndexPlan) -> Path:
            return folder / (_contents(shards, plan).digest + PARTS)

        _saved(build_index(features, memory, kind=kind, seed=seed, progress=progress, parts=parts), folder)
        return open_index(folder, features)


def _usable(folder: Path, features: Features | Sequence[Features], kind: Kind | None) -> PoolIndex | None:
    try:
        found = open_index(folder, features)
    except PoolIndexError:
        return None
    return found if kind in (None, found.plan.kind) else None


def _contents(shards: Shards, plan: IndexPlan) -> Contents:
    cards = tuple(
        # a set that was mended in place has new features under its old digest
        ShardCard(name=one.name, stamps=one.origin.content or one.stamps, rows=len(one.matrix))
        for one in shards.features
    )
    return Contents(encoder=shards.encoder, width=shards.width, shards=cards, plan=plan)


def _saved(index: PoolIndex, folder: Path) -> Path:
    contents = _contents(index.shards, index.plan)
    home = folder / contents.digest

    def write_index(partial: Path) -> None:
        faiss.write_index(index.index, str(partial))

    def write_card(partial: Path) -> None:
        written = (home / (INDEX + ".partial")).stat().st_size
        card = IndexCard(contents=contents, rows=len(index), size=written, left_out=index.left_out)
        partial.write_text(card.model_dump_json(indent=2) + "\n", encoding="utf-8")

    write_together({home / INDEX: write_index, home / CARD: write_card})
    write_json(folder / POINTER, {"index": contents.digest})
    for other in folder.iterdir():
        ours = any((other / name).is_file() for name in (CARD, INDEX, INDEX + ".partial"))
        if other != home and (ours or other.name.endswith(PARTS)):
            shutil.rmtree(other)
    return home


def _opened(folder: Path, shards: Shards) -> PoolIndex:
    try:
        home = folder / str(json.loads((folder / POINTER).read_text(encoding="utf-8"))["index"])
        card = IndexCard.model_validate_json((home / CARD).read_text(encoding="utf-8"))
    except (ValidationError, ValueError, KeyError, TypeError) as error:
        raise PoolIndexError(f"{folder} has a pointer or card that cannot be read ({error}).", HINT) from error
    _check_contents(card.contents, _contents(shards, card.contents.plan), folder)
    path = home / INDEX
    size = path.stat().st_size
    if size != card.size:
        raise PoolIndexError(f"{path} is truncated: {size} bytes of {card.size}.", HINT)
    try:
        index = faiss.read_index(str(path), _mapping(card.contents.plan))
    except RuntimeError as error:
        path.stat()  # another index may have taken its place meanwhile
        raise PoolIndexError(f"{path} is no index that faiss can read ({error}).", HINT) from error
    if (index.ntotal, index.d) != (card.rows, card.contents.width):
        raise PoolIndexError(f"{path} holds {index.ntotal} vectors of {index.d}, not what its card says.", HINT)
    return PoolIndex(index, shards, card.contents.plan, card.left_out)


def _check_contents(found: Contents, wanted: Contents, folder: Path) -> None:
    if found.encoder != wanted.encoder:
        raise IndexMismatchError(
            f"The index in {folder} is of encoder {found.encoder}; the features are of {wanted.encoder}.",
            f"Open it with features of {found.encoder}, or build another: {HINT[0].lower()}{HINT[1:]}",
        )
    if found != wanted:
        names = [
            ", ".join(f"{one.name} ({one.stamps}, {one.rows} rows)" for one in each.shards) for each in (found, wanted)
        ]
        raise IndexMismatchError(f"The index in {folder} is of {names[0]}; the features are of {names[1]}.", HINT)


def _mapping(plan: IndexPlan) -> Any:
    """The flag that maps an index file instead of reading it; 0 where this faiss cannot."""
    if plan.exact:
        return getattr(faiss, "IO_FLAG_MMAP_IFC", 0)
    return faiss.IO_FLAG_MMAP
