"""Encoders of timm: built by name, weights from safetensors, or from torch files that hold nothing but tensors."""

import difflib
import warnings
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from lvm_training.backbones.card import BackboneCard, CardedBackbone
from lvm_training.errors import CheckpointError, first_line

# what timm would do besides building, such as reading a file that a config.json names
NOT_ARGUMENTS = frozenset({"pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "checkpoint_path", "cache_dir"})
WRAPPED_IN = ("state_dict", "model")  # names under which trainings keep the weights


class TimmBackbone(CardedBackbone, nn.Module):
    """A network of timm without its classifier.

    Parameters
    ----------
    card : BackboneCard
        What it is.
    network : Module
        As of `built`.
    """

    mixed = True

    def __init__(self, card: BackboneCard, network: nn.Module) -> None:
        super().__init__()
        self.card, self.network = card, network

    @classmethod
    def load(cls, card: BackboneCard, weights: Path) -> "TimmBackbone":
        """The network of a card with the weights in a file.

        Raises
        ------
        CheckpointError
            If they do not fit, or cannot be read.
        """
        network = built(card.architecture, card.arguments)
        fill(network, read_weights(weights), weights.name)
        return cls(card, network).eval()

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return next(self.parameters()).device

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """Feature vectors (B, width) of rendered pictures (B, 3, S, S)."""
        vectors: torch.Tensor = self.network(self.card.preprocessing.apply(images))
        return vectors


def described(name: str) -> dict[str, Any]:
    """What timm says of one of its networks: input size, mean, std, and where its weights are.

    Raises
    ------
    CheckpointError
        If timm has none of that name.
    """
    if not timm.is_model(name):
        near = difflib.get_close_matches(name.partition(".")[0], timm.list_models(), n=3)
        raise CheckpointError(
            f"timm has no network {name!r}.",
            f"Did you mean {', '.join(near)}?" if near else "`timm.list_models()` names them.",
        )
    try:
        found = timm.get_pretrained_cfg(name, allow_unregistered=False)
    except RuntimeError as error:
        raise CheckpointError(
            f"timm has no weights {name!r}: {error}.", "Name others, or the network alone."
        ) from error
    return {} if found is None else asdict(found)


def built(name: str, arguments: Mapping[str, Any]) -> nn.Module:
    """A network of random weights, pooled and without a classifier.

    Raises
    ------
    CheckpointError
        If timm cannot build it.
    """
    described(name)
    others = sorted(NOT_ARGUMENTS.intersection(arguments))
    if others:
        raise CheckpointError(
            f"Its model_args name {', '.join(others)}, which is no part of a network.", "Take them out of config.json."
        )
    try:
        # weights that are drawn only to be replaced must not move anybody's random numbers
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            network: nn.Module = timm.create_model(name, pretrained=False, **{**arguments, "num_classes": 0})
    except Exception as error:  # a stranger's arguments make a network raise whatever it likes
        raise CheckpointError(
            f"timm cannot build {name} with {dict(arguments) or 'no arguments'}: {first_line(error)}.",
            "Its config.json may be of another version of timm; look at `model_args` in it.",
        ) from error
    return network


def fill(network: nn.Module, weights: Mapping[str, torch.Tensor], name: str) -> None:
    """Give a network its weights; those of a classifier are left out.

    Raises
    ------
    CheckpointError
        If some are missing, of another shape, or of no part of it.
    """
    heads = _classifiers(network)
    kept = {key: value for key, value in weights.items() if key.rpartition(".")[0] not in heads}
    hint = "Are they of that network? Of another input size or channel number they are others, too."
    try:
        found = network.load_state_dict(kept, strict=False)
    except RuntimeError as error:
        first = str(error).strip().splitlines()[-1].strip()
        raise CheckpointError(f"The weights in {name} are of another network: {first}.", hint) from error
    for keys, what in ((found.missing_keys, "lack"), (found.unexpected_keys, "have also")):
        if keys:
            raise CheckpointError(
                f"The weights in {name} are of another network: they {what} {keys[0]} and {len(keys) - 1} others.", hint
            )


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """The tensors in a file of safetensors, or of torch if nothing else is in it.

    Raises
    ------
    CheckpointError
        If there is no such file, it is truncated, holds code, or weights that are not finite.
    """
    try:
        found = load_file(path) if path.suffix == ".safetensors" else _torch_file(path)
    except FileNotFoundError as error:
        raise CheckpointError(f"There are no weights at {path}.", "Check the path.") from error
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path.name} is truncated or no file of weights: {error}.", "Get it again.") from error
    broken = [name for name, tensor in found.items() if not tensor.isfinite().all()]
    if broken:
        raise CheckpointError(
            f"{len(broken)} of {len(found)} weight tensors in {path.name} are not finite, first {broken[0]}.",
            "The training that made them diverged: use an earlier checkpoint of it.",
        )
    return found


def _torch_file(path: Path) -> dict[str, torch.Tensor]:
    try:
        with warnings.catch_warnings():
            # of pickles of another protocol it asks people to tell its makers
            warnings.simplefilter("ignore")
            found = torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # whatever a stranger's file makes torch's reader of tensors raise
        raise CheckpointError(
            f"{path.name} is a pickle that holds more than weights, or is no file of weights; it was not opened.",
            "Such a file can run any program. Whoever made it can save the weights alone:"
            " safetensors.torch.save_file(model.state_dict(), 'model.safetensors').",
        ) from error
    for name in WRAPPED_IN:
        if isinstance(found, dict) and isinstance(found.get(name), dict):
            found = found[name]
    if not isinstance(found, dict) or not found or not all(isinstance(one, torch.Tensor) for one in found.values()):
        raise CheckpointError(f"{path.name} holds no weights by name.", "Save `model.state_dict()`.")
    return found


def _classifiers(network: nn.Module) -> set[str]:
    """Names of the modules that a network with a classifier has for it."""
    said = getattr(network, "pretrained_cfg", {}).get("classifier", ())
    return {said} if isinstance(said, str) else set(said or ())
