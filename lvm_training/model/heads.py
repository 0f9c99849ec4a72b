"""The kinds of heads that a file may hold."""

from lvm_training.errors import CheckpointError
from lvm_training.model.classification import ClassificationHead
from lvm_training.model.head import Head, kind_of
from lvm_training.model.preference import PreferenceHead

HEADS: dict[str, type[Head]] = {head.kind: head for head in (ClassificationHead, PreferenceHead)}


def load_head(data: bytes) -> Head:
    """The head in a safetensors file, of whichever kind it is.

    Raises
    ------
    CheckpointError
        If the file is truncated, is no head, or is a head of an unknown kind.
    """
    kind = kind_of(data)
    if kind not in HEADS:
        raise CheckpointError(f"This is a head of kind {kind!r}.", f"Known are: {', '.join(sorted(HEADS))}.")
    return HEADS[kind].load(data)
