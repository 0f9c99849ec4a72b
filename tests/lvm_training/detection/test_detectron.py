"""The adapter to detectron2: configuration, backbones, conversions, and where weights come from."""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import timm
import torch
from pydantic import ValidationError
from torch import nn

from lvm_training.detection.design import DetectorDesign
from lvm_training.detection.detectron import (
    LVM_STAGES,
    RESNET_STAGES,
    Targets,
    build_network,
    detect,
    detector_config,
    losses,
    resnet50_state,
    start_from_lvm,
    start_from_resnet50,
)
from lvm_training.errors import CheckpointError
from lvm_training.model.lvm import LVM, NANO, SMALL
from lvm_training.params import ParamsError
from tests.lvm_training.detection.detection_pictures import CLASSES, FOUR_STAGES, ON_LVM, ON_RESNET, SIDE, labelled

LOSSES = {"loss_cls", "loss_box_reg", "loss_mask", "loss_rpn_cls", "loss_rpn_loc"}
# so that the few anchors of the coarsest map are among those the losses are computed on
EVERY_ANCHOR = {"anchor_sample": 1024}
NOTHING = Targets(
    torch.zeros(0, dtype=torch.int64),
    torch.zeros(0, 4),
    torch.zeros(0, SIDE, SIDE, dtype=torch.bool),
    torch.zeros(0, dtype=torch.bool),
)


@pytest.fixture(scope="module")
def on_lvm() -> Any:
    torch.manual_seed(1)
    return build_network(ON_LVM.model_copy(update=EVERY_ANCHOR))


@pytest.fixture(scope="module")
def on_resnet() -> Any:
    torch.manual_seed(1)
    return build_network(ON_RESNET.model_copy(update=EVERY_ANCHOR))


@pytest.fixture(scope="module")
def timm_resnet50() -> Any:
    torch.manual_seed(2)
    model = timm.create_model("resnet50")
    # fresh running statistics are 0 and 1 in every layer; these are not
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.get_buffer("running_mean"), -0.1, 0.1)
            nn.init.uniform_(module.get_buffer("running_var"), 0.5, 1.5)
            nn.init.uniform_(module.weight, 0.5, 1.0)
    return model.eval()


def shapes(count: int) -> tuple[torch.Tensor, list[Targets]]:
    images, truths = labelled(count)
    return images, [
        Targets(
            torch.tensor([CLASSES.index(truth.classes[0])]),
            torch.tensor(truth.boxes).float(),
            torch.tensor(truth.masks),
            torch.tensor([True]),
        )
        for truth in truths
    ]


def gradients(network: nn.Module, targets: list[Targets] | None = None) -> dict[str, torch.Tensor | None]:
    """Gradients of one training step on four pictures."""
    images, truths = shapes(4)
    network.train().zero_grad()
    found = losses(network, images, targets or truths)
    assert set(found) == LOSSES
    assert all(value.isfinite() for value in found.values())
    torch.autograd.backward(torch.stack(list(found.values())).sum())
    return {name: parameter.grad for name, parameter in network.named_parameters()}


@pytest.mark.parametrize("name", ["on_lvm", "on_resnet"])
def test_every_parameter_is_trained(name: str, request: pytest.FixtureRequest) -> None:
    network = request.getfixturevalue(name)
    assert all(parameter.requires_grad for parameter in network.parameters())
    found = gradients(network)
    assert None not in found.values()
    idle = [key for key, gradient in found.items() if gradient is not None and not gradient.any()]
    # one token attends to itself with weight 1, wherever it is
    single = ["backbone.bottom_up.lvm.encoder.layers.3.blocks.0.attn.relative_position_bias_table"]
    assert idle == (single if name == "on_lvm" else [])
    assert all(gradient.isfinite().all() for gradient in found.values() if gradient is not None)


@pytest.mark.parametrize("name", ["on_lvm", "on_resnet"])
def test_pictures_without_objects_train_and_reach_every_parameter(name: str, request: pytest.FixtureRequest) -> None:
    """DistributedDataParallel waits for a gradient of each parameter, if only of zeros."""
    found = gradients(request.getfixturevalue(name), [NOTHING] * 4)
    assert [name for name, gradient in found.items() if gradient is None] == []
    heads = [name for name in found if "mask_head" in name]
    assert heads and not any(found[name].any() for name in heads)  # type: ignore[union-attr]


def test_the_resnet_is_trained_whole_and_its_norms_too(on_resnet: Any) -> None:
    norms = [module for module in on_resnet.modules() if isinstance(module, nn.BatchNorm2d)]
    assert len(norms) == 53
    assert not any("Frozen" in type(module).__name__ for module in on_resnet.modules())
    first = on_resnet.get_submodule("backbone.bottom_up.stem.conv1.norm")
    before = first.running_mean.clone()
    gradients(on_resnet)
    assert not torch.equal(first.running_mean, before)


def test_the_lvm_is_its_encoder_alone(on_lvm: Any) -> None:
    names = {name.split("bottom_up.")[1].split(".")[0] for name in on_lvm.state_dict() if "bottom_up" in name}
    inner = [name for name in on_lvm.state_dict() if "lvm." in name]
    assert names == {"lvm", "norms"}
    assert all(".encoder.patch_embed." in name or ".encoder.layers." in name for name in inner)


def test_maps_are_those_of_the_lvm_behind_a_norm(on_lvm: Any) -> None:
    torch.manual_seed(5)
    lvm = LVM(FOUR_STAGES).eval()
    start_from_lvm(on_lvm, lvm)
    images = torch.rand(2, 3, SIDE, SIDE)
    with torch.inference_mode():
        maps = on_lvm.eval().get_submodule("backbone.bottom_up")(images)
        wanted = lvm.encode(images)
    assert tuple(maps) == LVM_STAGES
    for level, (found, raw) in enumerate(zip(maps.values(), wanted, strict=True)):
        assert found.shape == (2, 16 * 2**level, 8 // 2**level, 8 // 2**level)
        deviation = raw.std(dim=1, keepdim=True, correction=0)
        torch.testing.assert_close(found, (raw - raw.mean(1, keepdim=True)) / deviation, atol=1e-3, rtol=1e-3)


def test_the_given_lvm_is_copied(on_lvm: Any) -> None:
    lvm = LVM(FOUR_STAGES)
    start_from_lvm(on_lvm, lvm)
    weight = lvm.get_parameter("encoder.patch_embed.proj.weight")
    kept = weight.detach().clone()
    with torch.no_grad():
        on_lvm.get_parameter("backbone.bottom_up.lvm.encoder.patch_embed.proj.weight").add_(1)
    assert torch.equal(weight, kept)
    assert lvm(torch.rand(1, 3, SIDE, SIDE)).shape == (1, 3, SIDE, SIDE)


def test_an_encoder_that_does_not_fit(on_lvm: Any, on_resnet: Any) -> None:
    for network, preset in ((on_lvm, FOUR_STAGES.model_copy(update={"drop_path": 0.2})), (on_resnet, FOUR_STAGES)):
        with pytest.raises(CheckpointError, match="not on an LVM of preset 'four'"):
            start_from_lvm(network, LVM(preset))


def test_timms_resnet50_gives_the_same_maps_in_detectron2(on_resnet: Any, timm_resnet50: Any) -> None:
    stages = on_resnet.get_submodule("backbone.bottom_up")
    start_from_resnet50(on_resnet, resnet50_state(timm_resnet50.state_dict()))
    images = torch.rand(2, 3, 64, 64)
    with torch.inference_mode():
        level = timm_resnet50.maxpool(timm_resnet50.act1(timm_resnet50.bn1(timm_resnet50.conv1(images))))
        torch.testing.assert_close(stages.eval().get_submodule("stem")(images), level)
        maps = stages(images)
        for name, layer in zip(RESNET_STAGES, ("layer1", "layer2", "layer3", "layer4"), strict=True):
            level = getattr(timm_resnet50, layer)(level)
            torch.testing.assert_close(maps[name], level, msg=name)


def test_resnet_weights_that_do_not_fit(on_lvm: Any, on_resnet: Any, timm_resnet50: Any) -> None:
    state = resnet50_state(timm_resnet50.state_dict())
    cases: list[tuple[nn.Module, dict[str, torch.Tensor], str]] = [
        (on_resnet, {}, "res2.0.conv1.norm.bias"),
        (on_resnet, state | {"stem.conv1.weight": torch.zeros(64, 1, 7, 7)}, "stem.conv1.weight"),
        (on_resnet, resnet50_state(timm.create_model("resnet18").state_dict()), "res2.0.conv1.weight"),
        (on_lvm, state, "lvm.encoder"),
    ]
    for network, given, first in cases:
        with pytest.raises(CheckpointError, match=f"differ, first {first}"):
            start_from_resnet50(network, given)


def test_pictures_are_centred_once_and_alike(on_lvm: Any, on_resnet: Any) -> None:
    image = torch.rand(3, SIDE, SIDE)
    seen = [network.preprocess_image([{"image": image}]).tensor[0] for network in (on_lvm, on_resnet)]
    assert torch.equal(seen[0], image)
    torch.testing.assert_close(seen[1], image * 2 - 1)


@pytest.mark.parametrize("side", [64, 128])
def test_anchors_scale_with_the_picture_and_lie_on_its_centre(side: int) -> None:
    design = ON_RESNET.model_copy(update={"size": side})
    sizes = detector_config(design).MODEL.ANCHOR_GENERATOR.SIZES
    assert sizes == [[x * side / 64 for x in pair] for pair in ([6, 9], [12, 18], [24, 36], [48, 60])]
    generator: Any = build_network(design).get_submodule("proposal_generator.anchor_generator")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.meshgrid")
        levels = generator([torch.zeros(1, 1, side // stride, side // stride) for stride in (4, 8, 16, 32)])
    for anchors in levels:
        centres = (anchors.tensor[:, :2] + anchors.tensor[:, 2:]) / 2
        assert (centres == side / 2).all(dim=1).sum() == 6
        shape = anchors.tensor[:, 2:] - anchors.tensor[:, :2]
        assert {round(ratio, 3) for ratio in (shape[:, 1] / shape[:, 0]).tolist()} == {0.5, 1.0, 2.0}


def test_a_threshold_is_kept_for_one_call(on_lvm: Any) -> None:
    images, _ = labelled(2)
    on_lvm.eval()
    many = detect(on_lvm, images, CLASSES, 0.0)
    scores = np.unique(np.concatenate([found.scores for found in many]))
    middle = float(scores[len(scores) // 2 - 1 : len(scores) // 2 + 1].mean())
    few = detect(on_lvm, images, CLASSES, middle)
    assert [len(found) for found in few] == [int((found.scores > middle).sum()) for found in many]
    assert 0 < sum(map(len, few)) < sum(map(len, many))
    assert [len(found) for found in detect(on_lvm, images, CLASSES, 0.0)] == [len(found) for found in many]


def test_answers_are_not_rounded_while_a_training_validates_in_bf16(on_lvm: Any) -> None:
    on_lvm.eval()
    images = shapes(2)[0]
    plain = detect(on_lvm, images, CLASSES, 0.0)
    with torch.autocast("cpu", torch.bfloat16):
        inside = detect(on_lvm, images, CLASSES, 0.0)
    assert sum(len(found) for found in plain) > 0
    for one, other in zip(plain, inside, strict=True):
        np.testing.assert_array_equal(one.boxes, other.boxes)
        np.testing.assert_array_equal(one.scores, other.scores)


def test_rois_are_placed_in_float32_where_maps_are_bfloat16(on_lvm: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    heads = on_lvm.get_submodule("roi_heads")
    kinds: list[torch.dtype] = []
    pool = heads.box_pooler.forward

    def watched(maps: list[torch.Tensor], boxes: Any) -> torch.Tensor:
        kinds.extend(level.dtype for level in maps)
        found: torch.Tensor = pool(maps, boxes)
        return found

    monkeypatch.setattr(heads.box_pooler, "forward", watched)
    images, truths = shapes(1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        maps = on_lvm.get_submodule("backbone.bottom_up")(images)
        found = losses(on_lvm.train(), images, truths)
    assert maps["stage1"].dtype == torch.bfloat16 and set(kinds) == {torch.float32}
    assert all(value.isfinite() for value in found.values())


def test_a_network_that_diverged_says_so() -> None:
    network = build_network(ON_LVM).train()
    nn.init.constant_(network.get_parameter("proposal_generator.rpn_head.conv.weight"), torch.nan)
    with pytest.raises(ParamsError, match="diverged") as caught:
        losses(network, *shapes(2))
    assert "lower learning rate" in caught.value.hint


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"preset": None}, "needs a preset"),
        ({"backbone": "resnet50"}, "ResNet50 has none"),
        ({"size": 64}, "must read 64 pixels"),
        ({"preset": NANO.model_copy(update={"patch": 8}), "size": 64}, "four stages"),
        ({"classes": ()}, "at least 1"),
        ({"classes": ("arc", "arc")}, "two places"),
        ({"size": 48}, "multiple of 32"),
        ({"anchors": ((0.1,), (0.2,), (0.4,))}, "four strides"),
        ({"anchors": ((0.1,), (0.2,), (0.4, 0.6), (0.8,))}, "four strides"),
        ({"backbone": "resnet18"}, "lvm"),
    ],
)
def test_designs_that_cannot_be(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        DetectorDesign(**(ON_LVM.model_dump() | changes))


def test_designs_of_the_presets_and_their_json() -> None:
    for preset in (NANO, SMALL):
        design = DetectorDesign(backbone="lvm", preset=preset, size=preset.size, classes=("arc",))
        assert DetectorDesign.model_validate_json(design.model_dump_json()) == design
        assert detector_config(design).MODEL.FPN.OUT_CHANNELS == 64


@pytest.fixture
def answers() -> Callable[..., nn.Module]:
    """Networks that give a prepared answer."""
    from detectron2.structures import Boxes, Instances

    class Prepared(nn.Module):
        def __init__(self, boxes: list[list[float]], masks: torch.Tensor, scores: list[float]) -> None:
            super().__init__()
            self.roi_heads = nn.Module()
            self.roi_heads.box_predictor = nn.Module()
            codes = torch.zeros(len(boxes), dtype=torch.int64)
            fields = {"pred_boxes": Boxes(torch.tensor(boxes)), "pred_masks": masks, "pred_classes": codes}
            self.answer = Instances((8, 8), scores=torch.tensor(scores), **fields)

        def forward(self, batch: list[dict[str, torch.Tensor]]) -> list[dict[str, Instances]]:
            return [{"instances": self.answer} for _ in batch]

    return Prepared


def test_objects_without_area_or_pixel_are_dropped_and_the_rest_is_sorted(answers: Callable[..., nn.Module]) -> None:
    masks = torch.ones(4, 8, 8, dtype=torch.bool)
    masks[1] = False
    boxes = [[0.0, 0, 2, 2], [0.0, 0, 3, 3], [1.0, 1, 1, 4], [0.0, 0, 5, 5]]
    (found,) = detect(answers(boxes, masks, [0.3, 0.9, 0.8, 0.6]), torch.zeros(1, 3, 8, 8), CLASSES, 0.05)
    np.testing.assert_allclose(found.scores, [0.6, 0.3], atol=1e-6)
    np.testing.assert_array_equal(found.boxes, [[0, 0, 5, 5], [0, 0, 2, 2]])
