"""The head interface: what turns features into probabilities of classes; how every head is kept, and several in one."""

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from lvm_training.errors import CheckpointError

PACKED = {"packed": json.dumps(1)}  # one key: safetensors writes several in an order that changes from run to run


class SavedHead(ABC):
    """A small trained model behind the encoder, as it is kept: arrays and a card.

    Attributes
    ----------
    kind : str
        Name of the head in its file.
    parts : tuple of str
        Names of the arrays, attributes of float32, that `predict` works with.
    optional : tuple of str
        Names of arrays that are None in heads which do not have them.
    described : tuple of str
        Names of texts, attributes, that its card has beside the classes.
    classes : tuple of str
        What it answers, in the order of its columns.
    """

    kind: ClassVar[str]
    parts: ClassVar[tuple[str, ...]]
    optional: ClassVar[tuple[str, ...]] = ()
    described: ClassVar[tuple[str, ...]] = ()
    classes: tuple[str, ...]

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]], classes: tuple[str, ...]) -> Self:
        """A head of these `parts`, and of what it has of `optional`, made single precision."""
        head = cls.__new__(cls)
        head.classes = classes
        for name in cls.parts:
            setattr(head, name, np.asarray(arrays[name], dtype=np.float32))
        for name in cls.optional:
            setattr(head, name, np.asarray(arrays[name], dtype=np.float32) if name in arrays else None)
        return head

    def save(self) -> bytes:
        """The head as a safetensors file."""
        # one metadata key: safetensors writes several in an order that changes from run to run
        texts = {name: getattr(self, name) for name in self.described}
        card = json.dumps({"kind": self.kind, "classes": self.classes, **texts}, ensure_ascii=False)
        arrays = {name: getattr(self, name) for name in (*self.parts, *self.optional)}
        kept = {name: np.ascontiguousarray(values) for name, values in arrays.items() if values is not None}
        return bytes(save(kept, {"head": card}))

    @classmethod
    def load(cls, data: bytes) -> Self:
        """The head in a safetensors file.

        Raises
        ------
        CheckpointError
            If the file is truncated, is no head, or is a head of another kind.
        """
        card = _card(data)
        if card["kind"] != cls.kind:
            raise CheckpointError(f"This is a head of kind {card['kind']!r}, not {cls.kind!r}.")
        try:
            head = cls.from_arrays(load(data), tuple(card["classes"]))
            for name in cls.described:
                setattr(head, name, str(card[name]))
        except (SafetensorError, KeyError, ValueError) as error:
            raise _no_head(error) from error
        return head


class Head(SavedHead):
    """A head that tells classes apart; `classes` are in the order of `predict`'s columns."""

    @classmethod
    @abstractmethod
    def fit(cls, inputs: NDArray[np.float32], labels: Sequence[str], *, seed: int, classes: Sequence[str]) -> Self:
        """A head trained on N labelled inputs; the same bytes for the same inputs, labels and seed.

        Parameters
        ----------
        inputs : ndarray (N, D)
        labels : sequence of str
        seed : int
            What is left to chance is drawn from this.
        classes : sequence of str
            All that there are, in the order of `predict`'s columns; some may have no label.

        Raises
        ------
        LabelError
            If the labels cannot be learned from.
        """

    @classmethod
    def fit_seen(cls, inputs: NDArray[np.float32], labels: Sequence[str], *, seed: int, classes: Sequence[str]) -> Self:
        """As `fit`, on features of an encoder that was itself trained on these labels, or on most of them.

        It knows them by heart: what is measured on them, such as a cross-validated penalty, does not hold for others.
        """
        return cls.fit(inputs, labels, seed=seed, classes=classes)

    @abstractmethod
    def predict(self, inputs: NDArray[np.float32]) -> NDArray[np.float64]:
        """Probabilities (N, C) in the order of `classes`."""


def pack(parts: Mapping[str, bytes]) -> bytes:
    """Heads as one safetensors file, each an array of bytes; the same parts give the same file."""
    return bytes(save({name: np.frombuffer(parts[name], dtype=np.uint8) for name in sorted(parts)}, PACKED))


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


def _card(data: bytes) -> dict[str, Any]:
    """What `SavedHead.save` says of a head: in the metadata of the header, whose length is the first 8 bytes."""
    try:
        length = int.from_bytes(data[:8], "little")
        card: dict[str, Any] = json.loads(json.loads(data[8 : 8 + length])["__metadata__"]["head"])
    except (KeyError, ValueError) as error:
        raise _no_head(error) from error
    return card


def _no_head(error: Exception) -> CheckpointError:
    return CheckpointError(f"This is not a saved head ({error}).", "Train it again.")
