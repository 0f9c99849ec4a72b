"""Packed pictures: real galaxies in one small file that travels with a training.

The file is an `.npz` without pickles:

- `pictures` (bytes,) uint8: JPEG or PNG files one behind the other; `ends` (N,) int64: where each ends.
- `set` (N,) str: the set a picture is of; each is standardised by itself.
- `split` (N,) str: "fit" and "test" for pictures with labels, "unlabelled" for others. What is no "test" may be
  learned from without its labels.
- `label/<task>` (N,) str for each task: its class, empty where there is none.
"""

import io
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from lvm_training.errors import StampError

PREFIX = "label/"


@dataclass(frozen=True)
class Pack:
    """Pictures that were read.

    Attributes
    ----------
    pictures : Tensor (N, 3, S, S) uint8
        R, G, B.
    sets, splits : ndarray (N,) of str
        As in the file.
    labels : mapping of str to ndarray (N,) of str
        Classes by task.
    """

    pictures: torch.Tensor
    sets: NDArray[np.str_]
    splits: NDArray[np.str_]
    labels: Mapping[str, NDArray[np.str_]]

    def unlabelled(self) -> torch.Tensor:
        """The pictures that may be learned from without labels."""
        return self.pictures[torch.from_numpy(np.flatnonzero(self.splits != "test"))]


def read_pack(path: Path, size: int) -> Pack:
    """The pictures of a pack, resized to `size` pixels.

    Raises
    ------
    StampError
        If the file is missing or no such pack.
    """
    hint = "lvm_training/timed/pack.py says what it holds."
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        content, ends = arrays["pictures"].tobytes(), arrays["ends"].tolist()
        starts = [0, *ends[:-1]]
        # decoders let other threads run
        with ThreadPoolExecutor() as threads:
            decoded = list(
                threads.map(lambda place: _decoded(content[place[0] : place[1]], size), zip(starts, ends, strict=True))
            )
        labels = {name.removeprefix(PREFIX): arrays[name] for name in arrays if name.startswith(PREFIX)}
        sets, splits = arrays["set"], arrays["split"]
    except OSError as error:
        raise StampError(f"The pack {path} cannot be read: {error}.", hint) from error
    except (ValueError, KeyError, EOFError, BadZipFile, UnidentifiedImageError) as error:
        raise StampError(f"{path} is no pack of pictures ({error}).", hint) from error
    if any(len(column) != len(decoded) for column in (sets, splits, *labels.values())):
        raise StampError(f"The columns of the pack {path} differ in length.", hint)
    return Pack(torch.from_numpy(np.stack(decoded)).permute(0, 3, 1, 2).contiguous(), sets, splits, labels)


def _decoded(content: bytes, size: int) -> NDArray[np.uint8]:
    with Image.open(io.BytesIO(content)) as picture:
        colours = picture.convert("RGB")
    return np.asarray(
        colours if colours.size == (size, size) else colours.resize((size, size), Image.Resampling.BICUBIC)
    )


def write_pack(
    path: Path,
    pictures: Sequence[bytes],
    sets: Sequence[str],
    splits: Sequence[str],
    labels: Mapping[str, Sequence[str]],
) -> None:
    """Write a pack of encoded pictures; the arguments are the file's columns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(
        path,
        allow_pickle=False,
        pictures=np.frombuffer(b"".join(pictures), np.uint8),
        ends=np.cumsum([len(one) for one in pictures]),
        set=np.array(sets),
        split=np.array(splits),
        **{PREFIX + task: np.array(column) for task, column in labels.items()},
    )
