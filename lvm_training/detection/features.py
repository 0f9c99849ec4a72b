"""A detector as an encoder: what it sees in the middle of a picture, and how sure it is of each kind of object.

A head on features that were trained to restore and to read the truth finds arcs badly: they are a few pixels. A
detector was trained to point at them.
"""

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from lvm_training.backbones.card import BackboneCard, CardedBackbone
from lvm_training.detection.design import DetectorDesign
from lvm_training.detection.detector import PREDICTION_BATCH, Detector
from lvm_training.detection.detectron import best_scores, middles
from lvm_training.errors import CheckpointError

FAINTEST, SUREST = 0.01, 0.9999  # scores beyond are told as these
# A head penalises all features alike, so that three scores beside hundreds of others would hardly be looked at: the
# penalty of one that is there k times is that of one over k (docs/why/search.md)
COPIES = 16


class DetectorBackbone(CardedBackbone, nn.Module):
    """A detector's backbone and scores as features. It computes in float32.

    A vector is the mean over the middle quarter of the maps of the backbone's last two stages, then the log-odds of the
    best score of each class, `COPIES` times.

    Parameters
    ----------
    card : BackboneCard
        What it is.
    detector : Detector
        The network.
    """

    mixed = False

    def __init__(self, card: BackboneCard, detector: Detector) -> None:
        super().__init__()
        self.card, self.detector = card, detector
        # a request and a search may ask at a time, each in a thread of its own
        self._seen = threading.local()
        network: Any = detector.network
        network.roi_heads.mask_on = False  # masks take a third of the time
        network.backbone.bottom_up.register_forward_hook(self._look)

    @classmethod
    def load(cls, card: BackboneCard, weights: Path) -> Self:
        """The detector of a card with the weights in a file.

        Raises
        ------
        CheckpointError
            If they do not fit, or cannot be read.
        """
        hint = "Give the folder of a detector, such as models/detector-nano."
        try:
            detector = Detector.start(DetectorDesign.model_validate(card.arguments["design"]), seed=0)
            detector.network.load_state_dict(load_file(weights))
        except (OSError, SafetensorError) as error:
            raise CheckpointError(f"{weights.name} is truncated or no safetensors file: {error}.", hint) from error
        except (KeyError, ValidationError, RuntimeError) as error:
            raise CheckpointError(f"{card.architecture} and its weights do not fit one another.", hint) from error
        return cls(card, detector).eval()

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return next(self.parameters()).device

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """Feature vectors (B, width) of rendered pictures (B, 3, S, S)."""
        return torch.cat([self._of_some(part) for part in torch.split(images, PREDICTION_BATCH)])

    def _of_some(self, images: torch.Tensor) -> torch.Tensor:
        scores = best_scores(self.detector.network, images.float(), len(self.detector.classes), FAINTEST)
        odds = torch.logit(scores.clip(FAINTEST, SUREST))
        return torch.cat([middles(self._seen.maps), odds.repeat(1, COPIES)], dim=1)

    def _look(self, module: nn.Module, given: tuple[torch.Tensor], maps: Mapping[str, torch.Tensor]) -> None:
        """Keep what the backbone made on its way to the scores."""
        self._seen.maps = maps
