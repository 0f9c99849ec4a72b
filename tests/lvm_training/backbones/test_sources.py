"""Another's encoder: it gives what timm gives, its preprocessing is a part of it, and what is no encoder says so."""

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from lvm_training.backbones.backbone import Preprocessing
from lvm_training.backbones.card import BackboneCard, read_card
from lvm_training.backbones.sources import Wanted, write_backbone
from lvm_training.errors import CheckpointError
from lvm_training.index.queries import digests_of, matching_encoder
from lvm_training.model.encoder import Card, Encoder, folder_card, load_checkpoint
from lvm_training.progress import progress_bar
from lvm_training.stamps.rendering import Rendering
from lvm_training.stamps.symmetries import symmetry
from tests.other_encoders import MEAN, NETWORK, SIZE, STD, network, write_hub_folder
from tests.tiny_encoder import write_tiny

PICTURES = torch.rand(3, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(4))


def added(folder: Path, source: object, **said: Any) -> BackboneCard:
    """An encoder whose folder is written."""
    return write_backbone(Wanted(str(source), **said), folder, folder.parent / "downloads", progress_bar)


def refused(folder: Path, source: object, **said: Any) -> str:
    with pytest.raises(CheckpointError) as found:
        added(folder, source, **said)
    assert read_card(folder) is None, "nothing that could be taken for an encoder"
    assert found.value.hint
    return str(found.value)


@pytest.fixture
def hub_folder(tmp_path: Path) -> Path:
    return write_hub_folder(tmp_path / "hub")


def test_features_are_those_that_timm_gives(tmp_path: Path, hub_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GALAXYLOOP_PRECISION", "float32")
    card = added(tmp_path / "made", hub_folder)
    encoder = Encoder.load(tmp_path / "made", views=2)
    twin = network(num_classes=0)
    weights = load_file(hub_folder / "model.safetensors")
    twin.load_state_dict({name: tensor for name, tensor in weights.items() if not name.startswith("fc.")})
    mean, std = torch.tensor(MEAN)[:, None, None], torch.tensor(STD)[:, None, None]
    with torch.inference_mode():
        views = [twin((symmetry(PICTURES, kind) - mean) / std) for kind in (0, 1)]
    torch.testing.assert_close(encoder.features(PICTURES), (views[0] + views[1]) / 2)
    assert (encoder.width, encoder.preset, encoder.rendering.size) == (twin.num_features, "test_resnet", SIZE)
    assert (card.width, card.encoder) == (encoder.width, encoder.with_views(8).digest)
    assert folder_card(tmp_path / "made") == card and card.source == str(hub_folder)
    assert "fc.weight" not in load_file(tmp_path / "made" / "model.safetensors")


def test_an_encoder_is_found_again_by_its_views_and_precision(tmp_path: Path, hub_folder: Path) -> None:
    added(tmp_path / "made", hub_folder)
    encoder = Encoder.load(tmp_path / "made", views=1)
    assert encoder.digest in digests_of(tmp_path / "made")
    again = matching_encoder(tmp_path / "made", encoder.digest)
    assert (again.digest, again.views, again.precision) == (encoder.digest, 1, encoder.precision)
    assert torch.equal(again.features(PICTURES), encoder.features(PICTURES))


def test_the_same_weights_otherwise_prepared_are_another_encoder(tmp_path: Path, hub_folder: Path) -> None:
    ways: list[dict[str, Any]] = [
        {},
        {"mean": (0.1,)},
        {"std": (0.5, 0.5, 0.6)},
        {"channels": "bgr"},
        {"size": 48},
        {"field": 12.5},
    ]
    cards = [added(tmp_path / str(place), hub_folder, **way) for place, way in enumerate(ways)]
    assert len({card.encoder for card in cards}) == len(ways)
    assert len({card.weights for card in cards}) == 1
    assert (cards[4].rendering.size, cards[5].rendering.field) == (48, 12.5)
    other = added(tmp_path / "other", write_hub_folder(tmp_path / "hub2", seed=2))
    assert other.encoder != cards[0].encoder, "and other weights are, too"
    again = added(tmp_path / "again", write_hub_folder(tmp_path / "copy"))
    assert again.encoder == cards[0].encoder, "wherever they come from"


def test_channels_are_put_into_their_order_then_normalised() -> None:
    first = PICTURES[:1]
    plain = Preprocessing(mean=(0.0,), std=(1.0,))
    assert torch.equal(plain.apply(first), first)
    swapped = Preprocessing(mean=(0.1, 0.2, 0.3), std=(1.0, 2.0, 4.0), channels="bgr").apply(first)
    torch.testing.assert_close(swapped[0, 0], first[0, 2] - 0.1)
    torch.testing.assert_close(swapped[0, 2], (first[0, 0] - 0.3) / 4)
    grey = Preprocessing(mean=(0.5,), std=(0.5,), channels="grey").apply(first)
    assert grey.shape == (1, 1, SIZE, SIZE)
    torch.testing.assert_close(grey[0, 0], (first[0].mean(0) - 0.5) / 0.5)


def test_random_weights_are_the_same_each_time_and_draw_from_nobody_elses(tmp_path: Path) -> None:
    torch.manual_seed(7)
    expected = torch.rand(1)
    torch.manual_seed(7)
    cards = [added(tmp_path / name, f"timm:{NETWORK}", size=SIZE, random=True) for name in "ab"]
    assert torch.equal(torch.rand(1), expected)
    assert cards[0] == cards[1] and "random" in cards[0].source
    assert cards[0].architecture == NETWORK


def test_a_network_of_one_size_is_built_for_another_or_says_that_it_cannot(tmp_path: Path) -> None:
    vit = "test_vit.r160_in1k"
    assert added(tmp_path / "vit", f"timm:{vit}", size=32, random=True).rendering.size == 32
    assert Encoder.load(tmp_path / "vit", views=1).features(PICTURES).isfinite().all()
    weights = tmp_path / "vit.safetensors"
    save_file(dict(network(vit, num_classes=0).state_dict()), weights)
    said = refused(tmp_path / "other", f"timm:{vit}", size=32, weights=weights)
    assert "160 pixels, not 32" in said
    assert added(tmp_path / "own", f"timm:{vit}", weights=weights).rendering.size == 160


def test_grey_networks_read_one_channel(tmp_path: Path) -> None:
    weights = tmp_path / "grey.safetensors"
    save_file(dict(network(num_classes=0, in_chans=1).state_dict()), weights)
    said: dict[str, Any] = {"size": SIZE, "weights": weights}
    card = added(tmp_path / "grey", f"timm:{NETWORK}", channels="grey", **said)
    assert card.preprocessing.count == 1 and len(card.preprocessing.mean) == 1
    assert Encoder.load(tmp_path / "grey", views=1).features(PICTURES).shape == (3, card.width)
    assert "other" in refused(tmp_path / "no", f"timm:{NETWORK}", **said), "in colour they do not fit"


def test_torch_files_of_tensors_alone_are_read_and_written_as_safetensors(tmp_path: Path) -> None:
    state = network(num_classes=0).state_dict()
    torch.save({"state_dict": state}, tmp_path / "weights.pth")
    save_file(dict(state), tmp_path / "weights.safetensors")
    cards = [
        added(tmp_path / kind, f"timm:{NETWORK}", size=SIZE, weights=tmp_path / f"weights.{kind}")
        for kind in ("pth", "safetensors")
    ]
    assert cards[0].encoder == cards[1].encoder


class Harmful:
    """What runs when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("harm"),))


@pytest.mark.parametrize("write", [pickle.dump, lambda value, file: torch.save({"w": value}, file)])
def test_a_pickle_is_not_opened(tmp_path: Path, write: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with (tmp_path / "model.pth").open("wb") as file:
        write(Harmful(), file)
    said = refused(tmp_path / "made", f"timm:{NETWORK}", weights=tmp_path / "model.pth")
    assert "pickle" in said and "safetensors" in said
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize(
    ("content", "expected"),
    [(b"", "no file of weights"), (b"x" * 40, "pickle|no file of weights")],
)
def test_a_file_of_anything_else_is_no_weights(tmp_path: Path, content: bytes, expected: str) -> None:
    for suffix in ("safetensors", "bin"):
        path = tmp_path / f"model.{suffix}"
        path.write_bytes(content)
        said = refused(tmp_path / "made", f"timm:{NETWORK}", weights=path)
        assert any(part in said for part in expected.split("|")), said
    assert "no weights at" in refused(tmp_path / "made", f"timm:{NETWORK}", weights=tmp_path / "none.safetensors")


def test_weights_that_are_not_finite_are_refused(tmp_path: Path, hub_folder: Path) -> None:
    weights = load_file(hub_folder / "model.safetensors")
    name = next(name for name, tensor in weights.items() if tensor.is_floating_point())
    weights[name].view(-1)[0] = float("nan")
    save_file(weights, hub_folder / "model.safetensors")
    said = refused(tmp_path / "made", hub_folder)
    assert "1 of" in said and name in said and "not finite" in said


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"architecture": "resnet_of_nobody"}, "no network 'resnet_of_nobody'"),
        ({"architecture": "test_vit"}, "another network"),
        ({"architecture": None, "model_type": "vit"}, "model_type is 'vit'"),
        ({"model_args": {"flavour": "lemon"}}, "cannot build"),
        ({"model_args": {"checkpoint_path": "any.pth"}}, "no part of a network"),
        ({"architecture": "hf-hub:team/other"}, "no network 'hf-hub:team/other'"),
        ({"architecture": "local-dir:any"}, "no network 'local-dir:any'"),
        ({"pretrained_cfg": {"input_size": [5, 32, 32]}}, "5 channels"),
        ({"pretrained_cfg": {"input_size": [3, 32, 32], "mean": [0.5], "std": [0.0]}}, "`std` must be above 0"),
        ({"pretrained_cfg": {"input_size": [3, 32, 32], "mean": [0.5, 0.5]}}, "`mean` needs one"),
        ({"pretrained_cfg": {"input_size": [3, 32, 32], "mean": "half"}}, "mean"),
        ({"pretrained_cfg": {"input_size": [1, 32, 32], "mean": [None, 0.5]}}, "mean"),
        ({"pretrained_cfg": "resnet"}, "`pretrained_cfg` is no object"),
        ({"model_args": ["in_chans"]}, "`model_args` is no object"),
        ({"model_args": {"act_layer": "nonsense"}}, "cannot build"),
        ({"model_args": {"block": 3}}, "cannot build"),
        ({"pretrained_cfg": {"input_size": 32}}, "`input_size` of 32"),
        ({"pretrained_cfg": {"input_size": [3, 32]}}, "`input_size` of [3, 32]"),
        ({"pretrained_cfg": {"input_size": [3, 32.5, 32.5]}}, "`input_size` of [3, 32.5, 32.5]"),
        ({"pretrained_cfg": {"input_size": [3, -5, -5]}}, "-5 pixels cannot be"),
        ({"pretrained_cfg": {"input_size": [3, 1000000, 1000000]}}, "1000000 pixels cannot be"),
    ],
)
def test_a_folder_that_is_no_encoder_says_why(
    tmp_path: Path, hub_folder: Path, said: dict[str, Any], expected: str
) -> None:
    config = hub_folder / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | said))
    assert expected in refused(tmp_path / "made", hub_folder)


def test_one_number_is_that_of_all_channels(tmp_path: Path, hub_folder: Path) -> None:
    config = hub_folder / "config.json"
    said = {"pretrained_cfg": {"input_size": [3, SIZE, SIZE], "mean": 0.5, "std": 0.25, "classifier": "fc"}}
    config.write_text(json.dumps(json.loads(config.read_text()) | said))
    assert added(tmp_path / "made", hub_folder).preprocessing == Preprocessing(mean=(0.5,), std=(0.25,))


def test_what_is_missing_is_named(tmp_path: Path, hub_folder: Path) -> None:
    assert "no encoder at" in refused(tmp_path / "made", tmp_path / "nowhere")
    (hub_folder / "model.safetensors").unlink()
    assert "none of model.safetensors" in refused(tmp_path / "made", hub_folder)
    (hub_folder / "config.json").write_text("{")
    assert "no JSON" in refused(tmp_path / "made", hub_folder)
    near = refused(tmp_path / "made", "timm:resnet81")
    assert "no network 'resnet81'" in near and "resnet18" in near
    assert "resnet18.nobodys" in refused(tmp_path / "made", "timm:resnet18.nobodys", random=True)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"size": 8}, "8 pixels cannot be"),
        ({"mean": (0.5, 0.5)}, "`mean` needs one"),
        ({"std": (float("inf"),)}, "finite"),
        ({"weights": Path("other.safetensors")}, "weights of its own"),
        ({"random": True}, "weights of its own"),
        ({"std": (1e-9,)}, "float16|not finite"),
    ],
)
def test_options_that_do_not_fit_are_refused(
    tmp_path: Path, hub_folder: Path, said: dict[str, Any], expected: str
) -> None:
    message = refused(tmp_path / "made", hub_folder, **said)
    assert any(part in message for part in expected.split("|")), message


def test_a_network_that_sees_nothing_is_refused(tmp_path: Path, hub_folder: Path) -> None:
    weights = load_file(hub_folder / "model.safetensors")
    zeros = {name: torch.zeros_like(tensor) for name, tensor in weights.items()}
    save_file(zeros, hub_folder / "model.safetensors")
    assert "empty sky" in refused(tmp_path / "made", hub_folder)


def test_changed_files_are_refused(tmp_path: Path, hub_folder: Path) -> None:
    made = tmp_path / "made"
    card = added(made, hub_folder)
    changed = replace_card(card, size=48)
    (made / "card.json").write_text(changed.model_dump_json())
    with pytest.raises(CheckpointError, match="was changed"):
        Encoder.load(made)
    (made / "card.json").write_text(json.dumps(card.model_dump(mode="json") | {"colour": "blue"}))
    with pytest.raises(CheckpointError, match="colour"):
        Encoder.load(made)
    (made / "card.json").write_text(card.model_dump_json())
    weights = made / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4] + b"\0\0\0\1")
    with pytest.raises(CheckpointError, match="other weights"):
        Encoder.load(made)
    weights.unlink()
    with pytest.raises(CheckpointError, match="no complete encoder"):
        Encoder.load(made)


def replace_card(card: BackboneCard, size: int) -> BackboneCard:
    return card.model_copy(update={"rendering": card.rendering.sized(size)})


def test_what_only_our_own_can_do_says_so(tmp_path: Path, hub_folder: Path) -> None:
    added(tmp_path / "made", hub_folder)
    with pytest.raises(CheckpointError, match="test_resnet is no model of ours"):
        _ = Encoder.load(tmp_path / "made").lvm
    with pytest.raises(CheckpointError, match=r"test_resnet in .* no model of ours"):
        load_checkpoint(tmp_path / "made")


def test_cards_of_ours_are_read_as_before(tmp_path: Path) -> None:
    encoder = Encoder.load(write_tiny(tmp_path / "tiny", Rendering(size=32)))
    found = folder_card(tmp_path / "tiny")
    assert isinstance(found, Card) and read_card(tmp_path / "tiny") is None
    assert found.rendering == encoder.rendering and encoder.lvm.width == encoder.width
    assert folder_card(tmp_path / "nowhere") is None
    (tmp_path / "tiny" / "card.json").write_text("{}")
    with pytest.raises(CheckpointError, match="holds no encoder"):
        folder_card(tmp_path / "tiny")
