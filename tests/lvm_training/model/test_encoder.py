"""Checkpoints: what is written comes back, and what is not a checkpoint says so."""

import hashlib
import json
import os
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from safetensors.torch import save as to_bytes

from lvm_training.backbones.backbone import encoder_digest
from lvm_training.errors import CheckpointError
from lvm_training.model.encoder import (
    CARD,
    WEIGHTS,
    Card,
    Encoder,
    load_checkpoint,
    save_checkpoint,
)
from lvm_training.model.lvm import LVM, NANO, Preset
from lvm_training.params import ParamsError
from lvm_training.paths import EARLIER_LVM, RELEASED_LVM
from lvm_training.stamps.rendering import Rendering

ROOT = Path(__file__).parents[3]


def save(folder: Path, lvm: LVM, rendering: Rendering, *, half: bool = False, note: int = 0) -> Card:
    """Save with a card that is longer by `note` characters."""
    params = {"steps": 3} | ({"note": "x" * note} if note else {})
    return save_checkpoint(
        folder, lvm, rendering, data="abc", code="unknown", params=params, metrics={"train/loss": 0.5}, half=half
    )


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@contextmanager
def no_file_longer_than(size: int) -> Iterator[None]:
    """The kernel refuses to write past `size`, as it does where a disk is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


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
    assert torch.equal(Encoder.load(tmp_path / "lvm", views=1).features(images), lvm.features(images))


def test_features_are_the_mean_over_the_views(lvm: LVM, rendering: Rendering) -> None:
    images = torch.rand(3, 3, 32, 32)
    four = Encoder(lvm, rendering, views=4)
    with torch.inference_mode():
        turned = [lvm.features(torch.rot90(images, turns, (2, 3))) for turns in range(4)]
    torch.testing.assert_close(four.features(images), torch.stack(turned).mean(0))
    assert len({Encoder(lvm, rendering, views).digest for views in (1, 4, 8)}) == 3
    for views in (0, 9):
        with pytest.raises(ParamsError, match="1 to 8 views"):
            Encoder(lvm, rendering, views)


def test_a_galaxy_has_the_same_features_however_it_lies(encoder: Encoder) -> None:
    images = torch.rand(3, 3, 32, 32)
    for turned in (torch.rot90(images, 1, (2, 3)), images.flip(2), images.transpose(2, 3)):
        torch.testing.assert_close(encoder.features(turned), encoder.features(images), atol=1e-5, rtol=1e-4)


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


def test_half_weights_have_one_digest(tmp_path: Path, lvm: LVM, rendering: Rendering) -> None:
    card, full = save(tmp_path / "half", lvm, rendering, half=True), save(tmp_path / "full", lvm, rendering)
    loaded, found = load_checkpoint(tmp_path / "half")
    assert found == card and card.encoder != full.encoder == encoder_digest(lvm, rendering)
    assert encoder_digest(loaded, rendering) == Encoder.load(tmp_path / "half").digest == card.encoder
    for name, tensor in loaded.state_dict().items():
        assert tensor.dtype == torch.float32
        assert torch.equal(tensor, lvm.state_dict()[name].half().float())
    assert save(tmp_path / "again", loaded, rendering, half=True) == card
    assert contents(tmp_path / "again") == contents(tmp_path / "half")
    assert save(tmp_path / "wide", loaded, rendering).encoder == card.encoder


def test_nano_is_released_in_16_mb(tmp_path: Path) -> None:
    save(tmp_path, LVM(NANO), Rendering(), half=True)
    assert sum(map(len, contents(tmp_path).values())) <= 16e6


def test_the_card_names_the_parent(tmp_path: Path, lvm: LVM, rendering: Rendering) -> None:
    first = save(tmp_path, lvm, rendering)
    assert load_checkpoint(tmp_path)[1].parent == first.parent == ""
    given = {"data": "", "code": "", "params": {}, "metrics": {}}
    save_checkpoint(tmp_path, lvm, rendering, **given, parent=first.encoder)
    assert load_checkpoint(tmp_path)[1].parent == first.encoder


def test_a_card_without_parent_is_read(tmp_path: Path, lvm: LVM, rendering: Rendering) -> None:
    card = save(tmp_path, lvm, rendering)
    fields = json.loads((tmp_path / CARD).read_text())
    del fields["parent"]
    (tmp_path / CARD).write_text(json.dumps(fields))
    assert load_checkpoint(tmp_path)[1] == card


def test_a_metric_that_is_not_finite_is_read_back(tmp_path: Path, lvm: LVM, rendering: Rendering) -> None:
    metrics = {"validation/loss": float("nan"), "validation/ratio": float("inf")}
    save_checkpoint(tmp_path, lvm, rendering, data="", code="", params={}, metrics=metrics)
    found = load_checkpoint(tmp_path)[1].metrics
    assert str(found) == str(metrics)
    assert json.loads((tmp_path / CARD).read_text(), parse_constant=pytest.fail)


def test_others_may_read_what_the_umask_allows(tmp_path: Path, lvm: LVM, rendering: Rendering) -> None:
    before = os.umask(0o027)
    try:
        save(tmp_path, lvm, rendering)
    finally:
        os.umask(before)
    assert {(tmp_path / name).stat().st_mode & 0o777 for name in (WEIGHTS, CARD)} == {0o640}


def test_digest_names_what_features_depend_on(lvm: LVM, rendering: Rendering) -> None:
    first = encoder_digest(lvm, rendering)
    with torch.no_grad():
        next(lvm.decoder.parameters()).add_(1)
    assert encoder_digest(lvm, rendering) == first
    assert encoder_digest(lvm, rendering.model_copy(update={"black": 0.02})) != first
    with torch.no_grad():
        lvm.encoder.norm.bias[0] += 1e-6
    assert encoder_digest(lvm, rendering) != first


@pytest.mark.parametrize(("value", "half"), [(float("nan"), False), (float("-inf"), True), (7e4, True)])
def test_weights_that_are_not_finite_are_not_saved(
    tmp_path: Path, lvm: LVM, rendering: Rendering, value: float, half: bool
) -> None:
    save(tmp_path, lvm, rendering)
    before = contents(tmp_path)
    with torch.no_grad():
        lvm.decoder.norm.weight[3] = value
    with pytest.raises(CheckpointError, match=r"1 of \d+ weight tensors .* first decoder\.norm\.weight") as raised:
        save(tmp_path, lvm, rendering, half=half)
    assert "float16" in raised.value.hint
    assert contents(tmp_path) == before


def test_a_weight_too_large_for_half_is_saved_whole(tmp_path: Path, lvm: LVM, rendering: Rendering) -> None:
    with torch.no_grad():
        lvm.decoder.norm.weight[3] = 7e4
    save(tmp_path, lvm, rendering)
    assert load_checkpoint(tmp_path)[0].decoder.norm.weight[3] == 7e4


@pytest.mark.parametrize("too_long", [WEIGHTS, CARD])
def test_a_save_that_fails_leaves_the_earlier_checkpoint(
    tmp_path: Path, tiny: Preset, lvm: LVM, rendering: Rendering, too_long: str
) -> None:
    """Either file may be the one that does not fit; a card that fails comes after weights that were written."""
    card = save(tmp_path, lvm, rendering)
    before, size = contents(tmp_path), (tmp_path / WEIGHTS).stat().st_size
    limit = size // 2 if too_long == WEIGHTS else size
    with no_file_longer_than(limit), pytest.raises(CheckpointError, match="could not be written") as raised:
        save(tmp_path, LVM(tiny), rendering, note=0 if too_long == WEIGHTS else 2 * size)
    assert "MB of free space" in raised.value.hint
    assert contents(tmp_path) == before
    assert load_checkpoint(tmp_path)[1] == card


@pytest.mark.parametrize("too_much", [WEIGHTS, CARD])
def test_a_full_disk_leaves_the_earlier_checkpoint(
    small_disk: Path, tiny: Preset, lvm: LVM, rendering: Rendering, too_much: str
) -> None:
    folder = small_disk / "lvm"
    card = save(folder, lvm, rendering, half=True)
    before, size = contents(folder), sum(map(len, contents(folder).values()))
    pages = os.statvfs(folder)
    free = pages.f_bavail * pages.f_bsize
    # what is left takes half of the weights, or all of them and half of the card
    room = size // 2 if too_much == WEIGHTS else 3 * size // 2
    (small_disk / "other").write_bytes(b"x" * (free - room))
    with pytest.raises(CheckpointError, match="No space left on device") as raised:
        save(folder, LVM(tiny), rendering, half=True, note=0 if too_much == WEIGHTS else size)
    assert "MB of free space" in raised.value.hint
    assert contents(folder) == before
    assert load_checkpoint(folder)[1] == card
    (small_disk / "other").unlink()
    assert load_checkpoint(folder)[1] != save(folder, LVM(tiny), rendering, half=True) == load_checkpoint(folder)[1]


def test_a_first_save_that_fails_leaves_no_file(tmp_path: Path, lvm: LVM, rendering: Rendering) -> None:
    with no_file_longer_than(1000), pytest.raises(CheckpointError, match="could not be written"):
        save(tmp_path / "lvm", lvm, rendering)
    assert contents(tmp_path / "lvm") == {}


def test_a_folder_that_cannot_be_made(tmp_path: Path, lvm: LVM, rendering: Rendering) -> None:
    (tmp_path / "lvm").write_text("a file")
    with pytest.raises(CheckpointError, match="could not be written"):
        save(tmp_path / "lvm", lvm, rendering)
    assert (tmp_path / "lvm").read_text() == "a file"


def test_what_a_killed_save_left_is_replaced(tmp_path: Path, lvm: LVM, rendering: Rendering) -> None:
    card = save(tmp_path, lvm, rendering)
    (tmp_path / f"{WEIGHTS}.partial").write_bytes(b"torn")
    assert load_checkpoint(tmp_path)[1] == card
    save(tmp_path, lvm, rendering)
    assert sorted(contents(tmp_path)) == [CARD, WEIGHTS]


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def change(path: Path, key: str, field: str, value: object) -> None:
    card = json.loads(path.read_text())
    card[key][field] = value
    path.write_text(json.dumps(card))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / WEIGHTS).unlink(), "no complete LVM checkpoint"),
        (lambda folder: (folder / CARD).unlink(), "no complete LVM checkpoint"),
        (lambda folder: cut(folder / WEIGHTS), "truncated"),
        (lambda folder: (folder / WEIGHTS).write_bytes(b""), "truncated"),
        (lambda folder: cut(folder / CARD), "holds no LVM checkpoint; its card.json has"),
        (lambda folder: (folder / CARD).write_text("[]"), "holds no LVM checkpoint; its card.json has"),
        (lambda folder: (folder / CARD).write_bytes(b"\xff\xfe{}"), "holds no LVM checkpoint; its card.json has"),
        (lambda folder: [(folder / CARD).unlink(), (folder / CARD).mkdir()], "no complete LVM checkpoint"),
        (lambda folder: change(folder / CARD, "preset", "decoder_depths", [1]), "one number per stage"),
        (lambda folder: change(folder / CARD, "preset", "depths", [2, 2, 1]), "not of preset 'tiny'"),
        (lambda folder: change(folder / CARD, "preset", "drop_path", 0.2), "other weights"),
        (lambda folder: change(folder / CARD, "preset", "name", "nano"), "other weights"),
        (lambda folder: change(folder / CARD, "preset", "embed", 16), "not of preset 'tiny'"),
        (lambda folder: change(folder / CARD, "preset", "heads", [2, 2, 2]), "not of preset 'tiny'"),
        (lambda folder: change(folder / CARD, "rendering", "field", 5.0), "other weights"),
        (lambda folder: change(folder / CARD, "rendering", "size", 64), "other weights"),
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


def test_weights_of_another_preset_are_refused(tmp_path: Path, tiny: Preset, lvm: LVM, rendering: Rendering) -> None:
    save(tmp_path / "a", lvm, rendering)
    save(tmp_path / "b", LVM(tiny.model_copy(update={"name": "wide", "embed": 16})), rendering)
    (tmp_path / "b" / WEIGHTS).replace(tmp_path / "a" / WEIGHTS)
    with pytest.raises(CheckpointError, match="not of preset 'tiny'"):
        Encoder.load(tmp_path / "a")


def test_released_checkpoints_stay_what_they_are() -> None:
    """Campaigns, stores and published figures name them by these digests."""
    digests = {folder: load_checkpoint(ROOT / folder)[1].encoder for folder in (EARLIER_LVM, RELEASED_LVM)}
    assert digests == {Path("models/lvm-nano"): "2dc4e7efd31a", Path("models/lvm-nano-2"): "b9891992eb55"}
    earlier = hashlib.sha256((ROOT / EARLIER_LVM / WEIGHTS).read_bytes()).hexdigest()
    assert earlier == "0fde2812ea38f6915b8b2d0110ea67d6d3e132c473d517b203debdd2d0767ab6"


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no complete LVM checkpoint") as raised:
        Encoder.load(tmp_path / "nowhere")
    assert "Check the path" in raised.value.hint and str(RELEASED_LVM) in raised.value.hint
    assert (ROOT / RELEASED_LVM / CARD).is_file()


@pytest.mark.parametrize("card", ['{"design": {}, "detector": "abc"}', '{"a": 1, "b": 2, "c": 3}'])
def test_a_foreign_card_is_one_short_line(tmp_path: Path, lvm: LVM, rendering: Rendering, card: str) -> None:
    save(tmp_path, lvm, rendering)
    (tmp_path / CARD).write_text(card)
    with pytest.raises(CheckpointError) as raised:
        Encoder.load(tmp_path)
    assert raised.value.message == f"{tmp_path} holds no LVM checkpoint; its card.json has preset: Field required."


def test_a_changed_decoder_weight_is_noticed(tmp_path: Path, lvm: LVM, rendering: Rendering) -> None:
    card = save(tmp_path, lvm, rendering)
    weights = load_file(tmp_path / WEIGHTS)
    weights["decoder.norm.weight"][3] += 1e-6
    (tmp_path / WEIGHTS).write_bytes(to_bytes(weights))
    with pytest.raises(CheckpointError, match="other weights than its card"):
        load_checkpoint(tmp_path)
    document = json.loads((tmp_path / CARD).read_text())
    assert document.pop("weights") == card.weights
    (tmp_path / CARD).write_text(json.dumps(document))
    assert load_checkpoint(tmp_path)[1].weights == "", "cards made before did not name them"


def test_the_rendering_must_fit_the_preset(lvm: LVM, rendering: Rendering) -> None:
    with pytest.raises(CheckpointError, match="reads pictures of 32 pixels, not 64"):
        Encoder(lvm, rendering.sized(64))
