"""Mask R-CNN of detectron2 on the LVM's encoder or on a ResNet50: the only module that imports detectron2.

He et al. 2017 (arXiv:1703.06870) with a feature pyramid (Lin et al. 2017, arXiv:1612.03144). The encoder's stages enter
the pyramid as in Swin Mask R-CNN (Liu et al. 2021, arXiv:2103.14030, section 4.2): each through a LayerNorm of its own.
"""

import logging
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from lvm_training.detection.design import STRIDES, DetectorDesign
from lvm_training.errors import CheckpointError
from lvm_training.model.lvm import LVM, Preset
from lvm_training.objects.instances import Instances
from lvm_training.params import ParamsError


@contextmanager
def _quiet() -> Iterator[None]:
    """Without warnings of torch 2.15 about what detectron2 does."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="`torch.jit.script` is deprecated", category=FutureWarning)
        warnings.filterwarnings("ignore", message="torch.meshgrid: in an upcoming release", category=UserWarning)
        yield


with _quiet():
    from detectron2.config import CfgNode, get_cfg
    from detectron2.layers import ShapeSpec
    from detectron2.modeling import BACKBONE_REGISTRY, Backbone, build_model
    from detectron2.modeling.backbone.fpn import FPN, LastLevelMaxPool
    from detectron2.modeling.roi_heads.mask_head import ROI_MASK_HEAD_REGISTRY, MaskRCNNConvUpsampleHead
    from detectron2.structures import BitMasks, Boxes
    from detectron2.structures import Instances as Fields
    from detectron2.utils.events import EventStorage

# detectron2 asks torch a question whose answer torch will change, and a line on the terminal says so
logging.getLogger("torch.fx._symbolic_trace").setLevel(logging.ERROR)

LVM_STAGES = ("stage1", "stage2", "stage3", "stage4")
RESNET_STAGES = ("res2", "res3", "res4", "res5")
PYRAMID = ("p2", "p3", "p4", "p5")


class Targets(NamedTuple):
    """True objects of a picture: class codes (K,), boxes (K, 4) and masks (K, S, S) as in `Instances`.

    `drawn` (K,) of bool says which masks are known; of the others class and box alone are learned.
    """

    codes: torch.Tensor
    boxes: torch.Tensor
    masks: torch.Tensor
    drawn: torch.Tensor


class LVMStages(Backbone):  # type: ignore[misc]
    """The encoder of an LVM as detectron2 wants a backbone: the maps of all stages by name, each behind a LayerNorm.

    Parameters
    ----------
    preset : Preset
        The size of the model.
    """

    def __init__(self, preset: Preset) -> None:
        super().__init__()
        self.lvm = LVM(preset)
        # what no map depends on: DistributedDataParallel takes no parameter without a gradient
        self.lvm.encoder.norm = nn.Identity()
        del self.lvm.decoder, self.lvm.mask_token
        self.channels = tuple(preset.embed * 2**level for level in range(len(STRIDES)))
        self.norms = nn.ModuleList(nn.LayerNorm(channels) for channels in self.channels)

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        """Maps (N, embed 2^i, S / 4 / 2^i, S / 4 / 2^i) of pictures (N, 3, S, S) in [0, 1]."""
        normed = (norm(tokens) for norm, tokens in zip(self.norms, self.lvm.maps(images), strict=True))
        return {name: tokens.permute(0, 3, 1, 2) for name, tokens in zip(LVM_STAGES, normed, strict=True)}

    def output_shape(self) -> dict[str, ShapeSpec]:
        """Channels and stride of each map."""
        shapes = zip(LVM_STAGES, self.channels, STRIDES, strict=True)
        return {name: ShapeSpec(channels=channels, stride=stride) for name, channels, stride in shapes}


def build_galaxyloop_lvm_fpn_backbone(config: CfgNode, input_shape: ShapeSpec) -> FPN:
    """The LVM's stages under a feature pyramid; `MODEL.LVM_PRESET` is the preset in JSON."""
    stages = LVMStages(Preset.model_validate_json(config.MODEL.LVM_PRESET))
    return FPN(stages, config.MODEL.FPN.IN_FEATURES, config.MODEL.FPN.OUT_CHANNELS, top_block=LastLevelMaxPool())


BACKBONE_REGISTRY.register(build_galaxyloop_lvm_fpn_backbone)


class DrawnMaskHead(MaskRCNNConvUpsampleHead):  # type: ignore[misc]
    """detectron2's mask head, trained on the proposals of objects with a drawn mask alone; its weights and answers."""

    def forward(self, x: torch.Tensor, instances: list[Fields]) -> Any:
        """As detectron2's: the loss in training, zero where no mask is drawn; otherwise the masks of `instances`."""
        if not self.training:
            return super().forward(x, instances)
        # pictures without objects have no foreground, and their proposals no fields of the truth
        drawn = [one.gt_drawn if one.has("gt_drawn") else torch.zeros(len(one), dtype=torch.bool) for one in instances]
        known = [one[mask] for one, mask in zip(instances, drawn, strict=True) if mask.any()]
        return super().forward(x[torch.cat([mask.to(x.device) for mask in drawn])], known)


ROI_MASK_HEAD_REGISTRY.register(DrawnMaskHead)


def detector_config(design: DetectorDesign) -> CfgNode:
    """detectron2's configuration of a design, on its defaults."""
    config = get_cfg()
    config.MODEL.DEVICE = "cpu"
    config.MODEL.MASK_ON = True
    config.INPUT.FORMAT, config.INPUT.MASK_FORMAT = "RGB", "bitmask"
    config.INPUT.MIN_SIZE_TRAIN, config.INPUT.MIN_SIZE_TEST = (0,), 0
    config.TEST.DETECTIONS_PER_IMAGE = design.detections
    _backbone(config.MODEL, design)
    _proposals(config.MODEL, design)
    _heads(config.MODEL, design)
    config.freeze()
    return config


def _backbone(model: CfgNode, design: DetectorDesign) -> None:
    model.FPN.OUT_CHANNELS = design.channels
    if design.preset is not None:
        model.BACKBONE.NAME = build_galaxyloop_lvm_fpn_backbone.__name__
        model.LVM_PRESET = design.preset.model_dump_json()
        model.FPN.IN_FEATURES = list(LVM_STAGES)
        # `LVM.maps` centres pictures itself
        model.PIXEL_MEAN, model.PIXEL_STD = [0.0] * 3, [1.0] * 3
        return
    model.BACKBONE.NAME = "build_resnet_fpn_backbone"
    # the defaults are for ImageNet's weights: two frozen stages, frozen norms, strides where Caffe had them
    model.BACKBONE.FREEZE_AT = 0
    model.RESNETS.DEPTH, model.RESNETS.NORM, model.RESNETS.STRIDE_IN_1X1 = 50, "BN", False
    model.RESNETS.OUT_FEATURES = model.FPN.IN_FEATURES = list(RESNET_STAGES)
    model.PIXEL_MEAN, model.PIXEL_STD = [0.5] * 3, [0.5] * 3


def _proposals(model: CfgNode, design: DetectorDesign) -> None:
    model.ANCHOR_GENERATOR.SIZES = [[design.size * part for part in sizes] for sizes in design.anchors]
    # anchors centred on multiples of the stride, and so on the picture's centre at every stride
    model.ANCHOR_GENERATOR.OFFSET = 0.0
    model.RPN.IN_FEATURES = list(PYRAMID)
    # anchors this sparse seldom overlap an object by the usual 0.7
    model.RPN.IOU_THRESHOLDS = [0.3, 0.5]
    model.RPN.BATCH_SIZE_PER_IMAGE = design.anchor_sample
    model.RPN.PRE_NMS_TOPK_TRAIN = model.RPN.PRE_NMS_TOPK_TEST = design.candidates
    model.RPN.POST_NMS_TOPK_TRAIN, model.RPN.POST_NMS_TOPK_TEST = design.training_proposals, design.proposals


def _heads(model: CfgNode, design: DetectorDesign) -> None:
    model.ROI_HEADS.NAME = "StandardROIHeads"
    model.ROI_HEADS.IN_FEATURES = list(PYRAMID)
    model.ROI_HEADS.NUM_CLASSES = len(design.classes)
    model.ROI_HEADS.BATCH_SIZE_PER_IMAGE = design.proposal_sample
    model.ROI_HEADS.NMS_THRESH_TEST = 0.5
    model.ROI_BOX_HEAD.NAME, model.ROI_BOX_HEAD.POOLER_RESOLUTION = "FastRCNNConvFCHead", 7
    model.ROI_BOX_HEAD.NUM_FC, model.ROI_BOX_HEAD.FC_DIM = 2, design.channels
    model.ROI_MASK_HEAD.NAME, model.ROI_MASK_HEAD.POOLER_RESOLUTION = DrawnMaskHead.__name__, 14
    model.ROI_MASK_HEAD.NUM_CONV, model.ROI_MASK_HEAD.CONV_DIM = design.mask_layers, design.channels


def build_network(design: DetectorDesign) -> nn.Module:
    """The network of a design on the CPU, with weights drawn from torch's random numbers."""
    network: nn.Module = build_model(detector_config(design))
    network.get_submodule("backbone").register_forward_hook(_in_float32)
    return network


def _in_float32(module: nn.Module, given: Any, maps: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Maps in float32: ROIAlign rounds boxes to the maps' type, and bfloat16 has 8 bits for a coordinate."""
    return {name: level.float() for name, level in maps.items()}


def losses(network: nn.Module, images: torch.Tensor, targets: Sequence[Targets]) -> dict[str, torch.Tensor]:
    """detectron2's losses of a network in training mode, by name, on pictures (N, 3, S, S) with their true objects.

    Raises
    ------
    ParamsError
        If the network has diverged.
    """
    batch = [{"image": image, "instances": _fields(image, truth)} for image, truth in zip(images, targets, strict=True)]
    try:
        # detectron2 writes statistics that nothing here reads
        with EventStorage(), _quiet():
            found: dict[str, torch.Tensor] = network(batch)
    except FloatingPointError as error:
        raise ParamsError("The detector's training has diverged.", "Train with a lower learning rate.") from error
    return found


def _fields(image: torch.Tensor, truth: Targets) -> Fields:
    boxes, masks = Boxes(truth.boxes), BitMasks(truth.masks)
    shape = tuple(image.shape[1:])
    return Fields(shape, gt_boxes=boxes, gt_classes=truth.codes, gt_masks=masks, gt_drawn=truth.drawn)


@torch.inference_mode()
def detect(network: Any, images: torch.Tensor, classes: Sequence[str], threshold: float) -> list[Instances]:
    """What a network in evaluation mode finds on pictures (N, 3, S, S) with scores above `threshold`, best first.

    Boxes are clipped to the picture, and an object without area or without a pixel of its mask is dropped. Two threads
    must not ask one network for different thresholds at the same time.
    """
    answers = _answers(network, images, threshold, network)
    return [_instances(answer["instances"].to("cpu"), classes) for answer in answers]


@torch.inference_mode()
def best_scores(network: Any, images: torch.Tensor, classes: int, threshold: float) -> torch.Tensor:
    """The best score (N, C) of an object of each class on pictures (N, 3, S, S); 0 where all are below `threshold`.

    As of `detect`, of a network whose heads may make no masks.
    """
    answers = _answers(network, images, threshold, partial(network.inference, do_postprocess=False))
    best = images.new_zeros(len(images), classes)
    for row, found in zip(best, answers, strict=True):
        row.scatter_reduce_(0, found.pred_classes, found.scores, "amax")
    return best


def _answers(network: Any, images: torch.Tensor, threshold: float, ask: Callable[..., Any]) -> Any:
    """What `ask`, the network or a method of it, says of pictures; objects with scores above `threshold` alone."""
    network.roi_heads.box_predictor.test_score_thresh = threshold
    # while a training validates in bf16: eight bits would round the edges of boxes to quarters of a pixel
    with _quiet(), torch.autocast(images.device.type, enabled=False):
        return ask([{"image": image} for image in images])


def middles(maps: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Of a backbone's maps, those of its last two stages: the mean of the middle of each (N, D)."""
    # the deepest are the smallest
    deepest = sorted(maps.values(), key=lambda one: -one.shape[-1])[-2:]
    return torch.cat([_middle(one).mean(dim=(2, 3)) for one in deepest], dim=1)


def _middle(maps: torch.Tensor) -> torch.Tensor:
    """Of maps (N, C, S, S) what lies from one quarter to three of both sides."""
    side = maps.shape[-1]
    edge = side // 4
    return maps[..., edge : side - edge, edge : side - edge]


def _instances(found: Fields, classes: Sequence[str]) -> Instances:
    boxes, scores = (values.numpy().astype(np.float64) for values in (found.pred_boxes.tensor, found.scores))
    masks, codes = found.pred_masks.numpy(), found.pred_classes.numpy()
    kept = masks.any(axis=(1, 2)) & (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
    order = np.argsort(-scores, kind="stable")
    order = order[kept[order]]
    return Instances(tuple(classes[code] for code in codes[order]), boxes[order], masks[order], scores[order])


def start_from_lvm(network: nn.Module, lvm: LVM) -> None:
    """Copy the encoder of an LVM into a network on one of the same preset.

    Raises
    ------
    CheckpointError
        If the network's backbone is another one.
    """
    stages = network.get_submodule("backbone.bottom_up")
    if not isinstance(stages, LVMStages) or stages.lvm.preset != lvm.preset:
        raise CheckpointError(
            f"The detector is not on an LVM of preset {lvm.preset.name!r}.", "Make its design from that preset."
        )
    state = lvm.state_dict()
    stages.lvm.load_state_dict({name: state[name] for name in stages.lvm.state_dict()})


def start_from_resnet50(network: nn.Module, state: Mapping[str, torch.Tensor]) -> None:
    """Copy a ResNet50's weights, in detectron2's names (`resnet50_state`), into a network on one.

    Raises
    ------
    CheckpointError
        If names or shapes differ.
    """
    stages = network.get_submodule("backbone.bottom_up")
    own = {name: tensor.shape for name, tensor in stages.state_dict().items()}
    given = {name: tensor.shape for name, tensor in state.items()}
    wrong = sorted(name for name in own.keys() | given.keys() if own.get(name) != given.get(name))
    if wrong:
        raise CheckpointError(
            f"The weights to start from do not fit the detector's backbone; {len(wrong)} differ, first {wrong[0]}.",
            "Give `resnet50_state` of a ResNet50 with 3 input channels to a detector on a ResNet50.",
        )
    stages.load_state_dict(state)


def resnet50_state(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A ResNet50's weights in detectron2's names, from those of timm or torchvision, which agree.

    `conv1` and `bn1` become `stem.conv1` and `stem.conv1.norm`; `layer1` to `layer4` become `res2` to `res5`; a block's
    `bn1`, `bn2`, `bn3` become the `norm` of its `conv1`, `conv2`, `conv3`, and `downsample.0` and `.1` its `shortcut`
    and `shortcut.norm`. The classifier `fc` is left out. All three libraries stride in the 3x3 convolution.
    """
    renamed = {}
    for name, tensor in state.items():
        new = re.sub(r"^(conv1|bn1)\b", r"stem.\1", name)
        new = re.sub(r"^layer(\d)\b", lambda stage: f"res{int(stage[1]) + 1}", new)
        new = re.sub(r"\bbn(\d)\b", r"conv\1.norm", new)
        renamed[new.replace("downsample.0", "shortcut").replace("downsample.1", "shortcut.norm")] = tensor
    return {name: tensor for name, tensor in renamed.items() if not name.startswith("fc.")}
