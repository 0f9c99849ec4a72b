"""Detectors in files: what is written comes back, and what is no detector says so."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from lvm_training.detection.checkpoint import DetectorCard, detector_digest, load_detector, save_detector
from lvm_training.detection.detector import Detector
from lvm_training.errors import CheckpointError
from lvm_training.model.encoder import WEIGHTS, save_checkpoint
from lvm_training.model.lvm import LVM
from lvm_training.paths import CARD
from lvm_training.stamps.rendering import Rendering
from tests.lvm_training.detection.detection_pictures import FOUR_STAGES, ON_LVM, ON_RESNET, SIDE, labelled

RENDERING = Rendering(size=SIDE, field=8.0)


@pytest.fixture(scope="module")
def detector() -> Detector:
    return Detector.start(ON_LVM, seed=2).eval()


def save(folder: Path, detector: Detector, rendering: Rendering = RENDERING, *, half: bool = False) -> DetectorCard:
    metrics = {"train/loss": 0.5, "validation/purity": float("nan")}
    given = {"encoder": "0123456789ab", "data": "abc", "code": "unknown"}
    return save_detector(folder, detector, rendering, params={"steps": 3}, metrics=metrics, half=half, **given)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("design", [ON_LVM, ON_RESNET], ids=["lvm", "resnet50"])
def test_round_trip(design: object, tmp_path: Path) -> None:
    made = Detector.start(ON_LVM if design is ON_LVM else ON_RESNET, seed=5)
    card = save(tmp_path / "detector", made)
    loaded, found = load_detector(tmp_path / "detector")
    assert str(found) == str(card) and found.design == made.design == loaded.design
    assert (found.encoder, found.data, found.params["steps"]) == ("0123456789ab", "abc", 3)
    assert found.detector == detector_digest(loaded, RENDERING) and len(found.detector) == 12
    assert not loaded.training and next(loaded.parameters()).device.type == "cpu"
    images, _ = labelled(3)
    for one, other in zip(made.predict(images, threshold=0), loaded.predict(images, threshold=0), strict=True):
        assert len(one) and one.classes == other.classes
        for name in ("boxes", "masks", "scores"):
            assert np.array_equal(getattr(one, name), getattr(other, name))


@pytest.mark.parametrize("design", [ON_LVM, ON_RESNET], ids=["lvm", "resnet50"])
def test_half_the_bytes_hold_the_rounded_weights(design: object, tmp_path: Path) -> None:
    """Batch norms count in whole numbers beyond what float16 holds; those stay as they are."""
    made = Detector.start(ON_LVM if design is ON_LVM else ON_RESNET, seed=5).eval()
    state = made.state_dict()
    for name, tensor in state.items():
        if name.endswith("num_batches_tracked"):
            tensor.fill_(123_457)
    whole = save(tmp_path / "whole", made)
    card = save(tmp_path / "half", made, half=True)
    sizes = [(tmp_path / name / WEIGHTS).stat().st_size for name in ("whole", "half")]
    assert sizes[1] < 0.55 * sizes[0]
    loaded, found = load_detector(tmp_path / "half")
    assert found.detector == card.detector == detector_digest(loaded, RENDERING) != whole.detector
    for name, tensor in loaded.state_dict().items():
        rounded = state[name].half().float() if state[name].is_floating_point() else state[name]
        assert tensor.dtype == state[name].dtype and torch.equal(tensor, rounded)


def test_weights_too_large_for_half_are_refused(tmp_path: Path) -> None:
    made = Detector.start(ON_LVM, seed=5)
    with torch.no_grad():
        next(made.parameters()).fill_(1e6)
    save(tmp_path / "whole", made)
    with pytest.raises(CheckpointError, match="not finite"):
        save(tmp_path / "half", made, half=True)
    assert not (tmp_path / "half").exists()


def test_two_saves_are_the_same_bytes(tmp_path: Path, detector: Detector) -> None:
    for name in "ab":
        save(tmp_path / name, detector)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    assert sorted(contents(tmp_path / "a")) == [CARD, WEIGHTS]


def test_the_digest_names_what_answers_depend_on(detector: Detector) -> None:
    again = Detector.start(ON_LVM, seed=2)
    first = detector_digest(detector, RENDERING)
    assert detector_digest(again, RENDERING) == first
    assert detector_digest(again, RENDERING.model_copy(update={"black": 0.02})) != first
    fewer = Detector.start(ON_LVM.model_copy(update={"proposals": 9}), seed=2)
    assert detector_digest(fewer, RENDERING) != first
    with torch.no_grad():
        next(again.parameters()).view(-1)[0] += 1e-3
    assert detector_digest(again, RENDERING) != first


def test_weights_that_are_not_finite_leave_the_earlier_files(tmp_path: Path, detector: Detector) -> None:
    save(tmp_path, detector)
    before = contents(tmp_path)
    broken = Detector.start(ON_LVM, seed=3)
    with torch.no_grad():
        broken.network.get_parameter("roi_heads.box_predictor.cls_score.bias")[0] = torch.inf
    with pytest.raises(CheckpointError, match=r"1 of \d+ weight tensors are not finite, first roi_heads"):
        save(tmp_path, broken)
    assert contents(tmp_path) == before


def test_a_folder_that_cannot_be_made(tmp_path: Path, detector: Detector) -> None:
    (tmp_path / "file").write_text("a file")
    with pytest.raises(CheckpointError, match="could not be written") as caught:
        save(tmp_path / "file", detector)
    assert "MB of free space" in caught.value.hint


def test_a_rendering_of_another_size(tmp_path: Path, detector: Detector) -> None:
    with pytest.raises(CheckpointError, match="pictures of 32 pixels, not 64"):
        save(tmp_path, detector, RENDERING.sized(64))
    assert contents(tmp_path) == {}


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def change(path: Path, key: str, field: str, value: object) -> None:
    card = json.loads(path.read_text())
    card[key][field] = value
    path.write_text(json.dumps(card))


def an_lvm(folder: Path) -> None:
    save_checkpoint(folder, LVM(FOUR_STAGES), RENDERING, data="", code="", params={}, metrics={})


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / WEIGHTS).unlink(), "no complete detector"),
        (lambda folder: (folder / CARD).unlink(), "no complete detector"),
        (lambda folder: cut(folder / WEIGHTS), "truncated"),
        (lambda folder: (folder / WEIGHTS).write_bytes(b""), "truncated"),
        (lambda folder: cut(folder / CARD), "holds no detector; its card.json has"),
        (lambda folder: (folder / CARD).write_bytes(b"\xff\xfe{}"), "holds no detector; its card.json has"),
        (an_lvm, "holds no detector; its card.json has"),
        (lambda folder: change(folder / CARD, "design", "backbone", "resnet50"), "ResNet50 has none"),
        (lambda folder: change(folder / CARD, "design", "channels", 16), "not of the design on the card"),
        (lambda folder: change(folder / CARD, "design", "classes", ["disc"]), "not of the design on the card"),
        (lambda folder: change(folder / CARD, "design", "classes", ["disc", "square"]), "other weights"),
        (lambda folder: change(folder / CARD, "design", "detections", 5), "other weights"),
        (lambda folder: change(folder / CARD, "rendering", "field", 5.0), "other weights"),
    ],
)
def test_files_of_no_detector_are_refused(
    tmp_path: Path, detector: Detector, spoil: Callable[[Path], None], message: str
) -> None:
    save(tmp_path, detector)
    spoil(tmp_path)
    with pytest.raises(CheckpointError, match=message) as caught:
        load_detector(tmp_path)
    assert "`models/detector-nano`" in caught.value.hint and "`dvc repro train_detector`" in caught.value.hint


def test_weights_of_another_detector_are_refused(tmp_path: Path, detector: Detector) -> None:
    save(tmp_path / "a", detector)
    save(tmp_path / "b", Detector.start(ON_LVM, seed=9))
    (tmp_path / "b" / WEIGHTS).replace(tmp_path / "a" / WEIGHTS)
    with pytest.raises(CheckpointError, match="other weights than its card"):
        load_detector(tmp_path / "a")
