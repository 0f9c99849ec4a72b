"""Encoders from ONNX files: one input of pictures, one output of feature vectors, any number of pictures at a time."""

from pathlib import Path
from typing import Any, Self

import numpy as np
import torch

from lvm_training.backbones.card import BackboneCard, CardedBackbone
from lvm_training.errors import CheckpointError, first_line

CPU = torch.device("cpu")
FLOATS = "tensor(float)"
NOWHERE = "/nonexistent"
EXPORT = (
    "Export it with one input (batch, channels, side, side) and one output (batch, width), the batch of any length:"
    " torch.onnx.export(model, pictures, 'encoder.onnx', dynamic_axes={'pictures': {0: 'batch'}}, ...)."
)


class OnnxBackbone(CardedBackbone):
    """A network in an ONNX file. It computes in float32, on the CPU.

    Parameters
    ----------
    card : BackboneCard
        What it is.
    session : InferenceSession
        As of `opened`.
    """

    mixed = False
    device = CPU

    def __init__(self, card: BackboneCard, session: Any) -> None:
        self.card, self._session = card, session
        self._input = session.get_inputs()[0].name

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """Feature vectors (B, width) of rendered pictures (B, 3, S, S)."""
        pictures = self.card.preprocessing.apply(images).float().contiguous().numpy()
        (vectors,) = self._session.run(None, {self._input: pictures})
        return torch.from_numpy(np.asarray(vectors, dtype=np.float32))

    def to(self, device: torch.device) -> Self:
        """The same: it stays on the CPU."""
        return self

    def eval(self) -> Self:
        """The same."""
        return self


def opened(path: Path) -> Any:
    """A session of onnxruntime, with as many threads as torch has.

    Raises
    ------
    CheckpointError
        If onnxruntime is not installed, or cannot read the file.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise CheckpointError(
            f"{path.name} is an ONNX file, and onnxruntime is not installed.", "pip install 'galaxyloop[onnx]'"
        ) from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3  # errors alone: they are raised as well
    # weights in a second file would be looked for where the process stands; the store keeps one file
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", NOWHERE)
    try:
        return onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
    except OSError as error:
        raise CheckpointError(f"There is no ONNX file at {path}.", "Check the path.") from error
    except Exception as error:  # its errors have no common class of their own
        raise CheckpointError(
            f"onnxruntime cannot read {path.name}: {first_line(error)}.",
            "Is it whole, with its weights inside? Those in a second file are not read; torch.onnx.export(...,"
            " external_data=False) writes one file.",
        ) from error


def read_shape(session: Any, name: str) -> tuple[int, int | None]:
    """Channels and side, pixels, of the pictures that a network reads; None where it reads any side.

    Raises
    ------
    CheckpointError
        If it has other inputs or outputs than an encoder's.
    """
    inputs, outputs = session.get_inputs(), session.get_outputs()
    if len(inputs) != 1 or len(outputs) != 1:
        raise CheckpointError(
            f"{name} has {len(inputs)} inputs ({_names(inputs)}) and {len(outputs)} outputs ({_names(outputs)}).",
            EXPORT,
        )
    shape, given = inputs[0].shape, outputs[0].shape
    if inputs[0].type != FLOATS or len(shape) != 4:
        raise CheckpointError(f"{name} reads {inputs[0].type} of shape {shape}, not pictures of float32.", EXPORT)
    if isinstance(shape[0], int):
        raise CheckpointError(f"{name} reads exactly {shape[0]} pictures at a time: its batch is fixed.", EXPORT)
    if len(given) != 2:
        raise CheckpointError(f"{name} gives an output of shape {given}, not one vector a picture.", EXPORT)
    channels, *sides = shape[1:]
    if channels not in (1, 3):
        raise CheckpointError(f"{name} reads {channels} channels; pictures have 3, or 1 in grey.", EXPORT)
    fixed = {side for side in sides if isinstance(side, int)}
    if len(fixed) > 1:
        raise CheckpointError(f"{name} reads pictures of {sides[0]} x {sides[1]}, and ours are square.", EXPORT)
    return channels, fixed.pop() if fixed else None


def _names(values: Any) -> str:
    return ", ".join(value.name for value in values)
