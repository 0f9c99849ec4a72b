"""Checkpoints: what is written comes back, and what is not a checkpoint says so."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from lvm_training.errors import CheckpointError
from lvm_training.model.encoder import CARD, WEIGHTS, Card, Encoder, encoder_digest, load_checkpoint, save_checkpoint
from lvm_training.model.lvm import LVM, Preset
from lvm_training.stamps.rendering import Rendering


def save(folder: Path, lvm: LVM, rendering: Rendering) -> Card:
    return save_checkpoint(
        folder, lvm, rendering, data="abc", code="unknown", params={"steps": 3}, metrics={"train/loss": 0.5}
    )


def test_round_trip(tmp_path: Path, lvm: LVM, rendering: Rendering) -> None:
    card = save(tmp_path / "lvm", lvm, rendering)
    loaded, found = load_checkpoint(tmp_path / "lvm")
    assert found == card
    assert (found.data, found.code, found.params, found.metrics) == (
        "abc",
        "unknown",
        {"steps": 3},
        {"train/loss": 0.5},
    )
    images = torch.rand(3, 3, 32, 32)
    assert torch.equal(loaded(images), lvm(images))
    encoder = Encoder.load(tmp_path / "lvm")
    assert (encoder.digest, encoder.rendering, encoder.width, encoder.preset) == (card.encoder, rendering, 32, "tiny")
    assert torch.equal(encoder.features(images), lvm.features(images))


def test_features_are_frozen_float32(encoder: Encoder) -> None:
    encoder.lvm.train()
    again = Encoder(encoder.lvm, encoder.rendering)
    images = torch.rand(4, 3, 32, 32)
    assert torch.equal(again.features(images), again.features(images))
    assert again.features(images).dtype == torch.float32
    assert not again.features(images).requires_grad


def test_two_saves_of_one_model_are_the_same_bytes(tmp_path: Path, lvm: LVM, rendering: Rendering) -> None:
    for name in "ab":
        save(tmp_path / name, lvm, rendering)
    for file in (WEIGHTS, CARD):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == [CARD, WEIGHTS]


def test_digest_names_what_features_depend_on(lvm: LVM, rendering: Rendering) -> None:
    first = encoder_digest(lvm, rendering)
    with torch.no_grad():
        next(lvm.decoder.parameters()).add_(1)
    assert encoder_digest(lvm, rendering) == first
    assert encoder_digest(lvm, rendering.model_copy(update={"black": 0.02})) != first
    with torch.no_grad():
        lvm.encoder.norm.bias[0] += 1e-6
    assert encoder_digest(lvm, rendering) != first


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def change(path: Path, key: str, field: str, value: object) -> None:
    card = json.loads(path.read_text())
    card[key][field] = value
    path.write_text(json.dumps(card))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / WEIGHTS).unlink(), "no complete checkpoint"),
        (lambda folder: (folder / CARD).unlink(), "no complete checkpoint"),
        (lambda folder: cut(folder / WEIGHTS), "truncated"),
        (lambda folder: (folder / WEIGHTS).write_bytes(b""), "truncated"),
        (lambda folder: cut(folder / CARD), "not a checkpoint's card"),
        (lambda folder: (folder / CARD).write_text("[]"), "not a checkpoint's card"),
        (lambda folder: change(folder / CARD, "preset", "embed", 16), "not of preset 'tiny'"),
        (lambda folder: change(folder / CARD, "preset", "heads", [2, 2, 2]), "not of preset 'tiny'"),
        (lambda folder: change(folder / CARD, "rendering", "field", 5.0), "other weights"),
    ],
)
def test_a_broken_checkpoint_is_refused(
    tmp_path: Path, lvm: LVM, rendering: Rendering, spoil: Callable[[Path], None], message: str
) -> None:
    save(tmp_path, lvm, rendering)
    spoil(tmp_path)
    with pytest.raises(CheckpointError, match=message) as raised:
        Encoder.load(tmp_path)
    assert "dvc repro" in raised.value.hint


def test_weights_of_another_model_are_refused(tmp_path: Path, tiny: Preset, lvm: LVM, rendering: Rendering) -> None:
    save(tmp_path / "a", lvm, rendering)
    save(tmp_path / "b", LVM(tiny), rendering)
    (tmp_path / "b" / WEIGHTS).replace(tmp_path / "a" / WEIGHTS)
    with pytest.raises(CheckpointError, match="other weights than its card"):
        Encoder.load(tmp_path / "a")


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no complete checkpoint"):
        Encoder.load(tmp_path / "nowhere")


def test_the_rendering_must_fit_the_preset(lvm: LVM, rendering: Rendering) -> None:
    with pytest.raises(CheckpointError, match="reads pictures of 32 pixels, not 64"):
        Encoder(lvm, rendering.sized(64))
