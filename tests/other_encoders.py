"""Encoders of others in miniature: networks of timm with random weights, as the hub lays them out, and ONNX files."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from safetensors.torch import save_file
from torch import nn

NETWORK = "test_resnet.r160_in1k"  # half a megabyte; it reads pictures of any size
SIZE = 32
MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)


def network(name: str = NETWORK, seed: int = 1, **arguments: Any) -> nn.Module:
    torch.manual_seed(seed)
    made: nn.Module = timm.create_model(name, pretrained=False, **arguments).eval()
    return made


def write_hub_folder(
    folder: Path, name: str = NETWORK, *, seed: int = 1, classes: int = 5, size: int = SIZE, **said: Any
) -> Path:
    """config.json and model.safetensors of a classifier, as timm pushes them to the hub."""
    folder.mkdir(parents=True)
    save_file(dict(network(name, seed, num_classes=classes).state_dict()), folder / "model.safetensors")
    config = {
        "architecture": name.partition(".")[0],
        "num_classes": classes,
        "global_pool": "avg",
        "pretrained_cfg": {"input_size": [3, size, size], "mean": MEAN, "std": STD, "classifier": "fc"},
    }
    (folder / "config.json").write_text(json.dumps(config | said))
    return folder


def hub_files(folder: Path, model: str) -> dict[str, bytes]:
    """The files of a folder as `a_hub.Hub` serves them."""
    return {f"{model}/{path.name}": path.read_bytes() for path in folder.iterdir()}


def write_onnx(
    path: Path,
    *,
    batch: object = "batch",
    channels: int = 3,
    size: object = SIZE,
    inputs: int = 1,
    half: bool = False,
    weight: float = 1.0,
    of_batch: bool = False,
    weights_in: str | None = None,
) -> Path:
    """A network that gives the mean of each channel and their squares: six numbers a picture, three of grey ones.

    Needs the package `onnx`. If `half`, it reads float16. If `of_batch`, they are about the mean of all pictures, as
    while a network trains; `weights_in` names a second file.
    """
    from onnx import TensorProto, helper, numpy_helper, save_model

    shape = [batch, channels, size, size]
    floats = TensorProto.FLOAT16 if half else TensorProto.FLOAT
    values = [helper.make_tensor_value_info(f"pictures{n or ''}", floats, shape) for n in range(inputs)]
    out = helper.make_tensor_value_info("features", TensorProto.FLOAT, [batch, 2 * channels])
    factor = helper.make_tensor("factor", TensorProto.FLOAT, [1], [weight])
    same = numpy_helper.from_array(np.eye(2 * channels, dtype=np.float32), "same")
    nodes = [
        helper.make_node("Cast", ["pictures"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("GlobalAveragePool", ["floats"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["means"]),
        helper.make_node("ReduceMean", ["means"], ["middle"], axes=[0]),
        helper.make_node("Sub", ["means", "middle" if of_batch else "none"], ["about"]),
        helper.make_node("Mul", ["about", "about"], ["squares"]),
        helper.make_node("Concat", ["about", "squares"], ["both"], axis=1),
        helper.make_node("Mul", ["both", "factor"], ["scaled"]),
        helper.make_node("MatMul", ["scaled", "same"], ["features"]),
    ]
    none = helper.make_tensor("none", TensorProto.FLOAT, [1], [0.0])
    graph = helper.make_graph(nodes, "means", values, [out], [factor, none, same])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    if weights_in is None:
        save_model(model, path)
    else:
        save_model(model, path, save_as_external_data=True, location=weights_in, size_threshold=0)
    return path
