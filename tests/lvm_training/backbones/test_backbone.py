"""The seam of encoders: preprocessing as torchvision and timm do it, digests, and what a look at two pictures tells."""

from collections.abc import Callable, Mapping
from typing import Self

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from torchvision.transforms.v2 import Grayscale, Normalize

from lvm_training.backbones.backbone import Preprocessing, encoder_digest, named_digest, weights_digest
from lvm_training.backbones.checks import LARGEST, WIDEST, check_backbone
from lvm_training.errors import CheckpointError
from lvm_training.stamps.rendering import Rendering
from tests.tiny_encoder import TINY, tiny_lvm

Look = Callable[[torch.Tensor], torch.Tensor]


class Looking:
    """A network that looks at pictures as it is told to."""

    name, size, mixed, width, device = "looking", 16, False, 4, torch.device("cpu")

    def __init__(self, look: Look) -> None:
        self.features = look

    def made_with(self) -> object:
        return ["looking"]

    def weights(self) -> Mapping[str, torch.Tensor]:
        return {}

    def to(self, device: torch.device) -> Self:
        return self

    def eval(self) -> Self:
        return self


def means(images: torch.Tensor) -> torch.Tensor:
    return torch.stack(
        [images.mean((1, 2, 3)), images[:, 0].mean((1, 2)), images.amax((1, 2, 3)), images[:, 2].mean((1, 2))], 1
    )


def pictures(count: int = 3) -> torch.Tensor:
    return torch.rand(count, 3, 16, 16, generator=torch.Generator().manual_seed(0))


@given(st.lists(st.floats(-2, 2), min_size=3, max_size=3), st.lists(st.floats(0.01, 300), min_size=3, max_size=3))
def test_channels_are_normalised_as_torchvision_does(mean: list[float], std: list[float]) -> None:
    wanted = Normalize(mean, std)(pictures())
    torch.testing.assert_close(Preprocessing(mean=tuple(mean), std=tuple(std)).apply(pictures()), wanted)
    backwards = Preprocessing(mean=tuple(mean[::-1]), std=tuple(std[::-1]), channels="bgr")
    torch.testing.assert_close(backwards.apply(pictures()), wanted.flip(1))


def test_grey_is_the_mean_of_the_channels_and_not_what_the_eye_sees() -> None:
    grey = Preprocessing(mean=(0.0,), std=(1.0,), channels="grey").apply(pictures())
    np.testing.assert_allclose(grey[:, 0], pictures().numpy().mean(axis=1), rtol=1e-6)
    assert not torch.allclose(grey, Grayscale()(pictures()), atol=1e-3)
    same = pictures()[:, :1].expand(-1, 3, -1, -1)
    torch.testing.assert_close(Preprocessing(mean=(0.0,), std=(1.0,), channels="grey").apply(same), same[:, :1])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_preprocessing_keeps_the_precision_and_the_picture_that_it_was_given(dtype: torch.dtype) -> None:
    given, kept = pictures().to(dtype), pictures().to(dtype)
    for channels, count in (("rgb", 3), ("bgr", 3), ("grey", 1)):
        found = Preprocessing(mean=(0.5,), std=(1 / 255,), channels=channels).apply(given)
        assert found.dtype == dtype and found.shape == (3, count, 16, 16)
    assert torch.equal(given, kept)
    assert Preprocessing(mean=(0.5,), std=(0.5,)).apply(pictures(0)).shape == (0, 3, 16, 16)


@pytest.mark.parametrize(
    "wrong",
    [
        {"mean": (0.5, 0.5), "std": (1.0,)},
        {"mean": (), "std": (1.0,)},
        {"mean": (0.5,), "std": (0.0,)},
        {"mean": (0.5,), "std": (1.0, 1.0, -1.0)},
        {"mean": (float("nan"),), "std": (1.0,)},
        {"mean": (0.5,), "std": (float("inf"),)},
        {"mean": (0.5, 0.5, 0.5), "std": (1.0,), "channels": "grey"},
        {"mean": (0.5,), "std": (1.0,), "channels": "gbr"},
    ],
)
def test_preprocessing_that_cannot_be_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Preprocessing.model_validate(wrong)


def test_a_digest_is_of_the_weights_as_numbers_and_not_of_how_they_lie_in_memory() -> None:
    weights = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.ones(4)}
    digest = weights_digest(["x"], weights)
    alike = [
        dict(reversed(weights.items())),
        {name: tensor.double() for name, tensor in weights.items()},
        {name: tensor.half() for name, tensor in weights.items()},
        {"a": weights["a"].T.contiguous().T, "b": torch.ones(8)[::2]},
        {name: torch.nn.Parameter(tensor) for name, tensor in weights.items()},
    ]
    assert {weights_digest(["x"], one) for one in alike} == {digest}
    others = [
        weights_digest(["y"], weights),
        weights_digest(["x"], weights | {"b": torch.zeros(4)}),
        weights_digest(["x"], {"a": weights["a"], "c": weights["b"]}),
        weights_digest(["x"], {"a": weights["a"]}),
        weights_digest(["x"], weights | {"b": weights["b"] + 2**-20}),
    ]
    assert len({digest, *others}) == 6 and len(digest) == 12


def test_an_encoder_is_named_by_all_that_its_features_depend_on() -> None:
    lvm, rendering = tiny_lvm(0), Rendering(size=TINY.size)
    whole = encoder_digest(lvm, rendering)
    assert whole == named_digest(lvm.made_with(), rendering, lvm.weights()) == encoder_digest(tiny_lvm(0), rendering)
    others = {
        encoder_digest(tiny_lvm(1), rendering),
        encoder_digest(lvm, rendering.model_copy(update={"field": 9.0})),
        encoder_digest(lvm, rendering.model_copy(update={"softening": 3.0})),
        encoder_digest(lvm, rendering, views=1),
        encoder_digest(lvm, rendering, precision="bfloat16"),
    }
    assert len(others | {whole}) == 6


def test_a_network_that_sees_gives_its_width() -> None:
    assert check_backbone(Looking(means), 16) == 4
    assert check_backbone(Looking(lambda images: images.flatten(1)[:, 8 * 16 : 9 * 16]), 16) == 16


@pytest.mark.parametrize(
    ("look", "message"),
    [
        (lambda images: means(images)[0], "not a vector of each"),
        (lambda images: images, "not a vector of each"),
        (lambda images: means(images)[:, :1], "gives 1 features"),
        (lambda images: means(images).repeat(1, WIDEST // 4 + 1), f"from 2 to {WIDEST}"),
        (lambda images: means(images) / (images.amax((1, 2, 3), keepdim=False)[:, None] - 0.0), "not finite"),
        (lambda images: 2 * LARGEST * (means(images) + 1), "kept as float16"),
        (lambda images: torch.ones(len(images), 4), "features of empty sky"),
        (lambda images: means(images) - means(images).mean(0), "beside another picture than alone"),
        (lambda images: means(images.reshape(-1, 3, 8, 8)[:1, :1]), "does not read pictures of 16 x 16"),
    ],
)
def test_a_network_that_is_no_encoder_is_refused_with_what_is_wrong(look: Look, message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        check_backbone(Looking(look), 16)
