"""Several saved heads in one file, by name."""

import json
from collections.abc import Mapping

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from lvm_training.errors import CheckpointError

CARD = {"packed": json.dumps(1)}  # one key: safetensors writes several in an order that changes from run to run


def pack(parts: Mapping[str, bytes]) -> bytes:
    """Heads as one safetensors file, each an array of bytes; the same parts give the same file."""
    return bytes(save({name: np.frombuffer(parts[name], dtype=np.uint8) for name in sorted(parts)}, CARD))


def unpack(data: bytes) -> dict[str, bytes]:
    """The heads in a file that `pack` made; none in any other.

    Raises
    ------
    CheckpointError
        If it was cut off.
    """
    length = int.from_bytes(data[:8], "little")
    if b'"packed"' not in data[8 : 8 + length]:
        return {}
    try:
        return {name: values.tobytes() for name, values in load(data).items()}
    except (SafetensorError, ValueError) as error:
        raise CheckpointError(f"This is no whole file of heads ({error}).", "Train it again.") from error
