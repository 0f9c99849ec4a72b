"""A detector as an encoder: its vectors are what a plain loop makes of its answers and maps, and its folder is one."""

import json
import shutil
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lvm_training.backbones import sources
from lvm_training.backbones.card import BackboneCard, is_detector, read_card
from lvm_training.backbones.sources import Wanted, write_backbone
from lvm_training.detection.checkpoint import load_detector, save_detector
from lvm_training.detection.design import DetectorDesign
from lvm_training.detection.detector import PREDICTION_BATCH, Detector
from lvm_training.detection.features import COPIES, FAINTEST, SUREST
from lvm_training.errors import CheckpointError
from lvm_training.index.queries import matching_encoder
from lvm_training.model.encoder import WEIGHTS, Encoder, folder_card, load_checkpoint
from lvm_training.paths import CARD
from lvm_training.progress import progress_bar
from lvm_training.stamps.rendering import Rendering
from lvm_training.stamps.symmetries import symmetry
from tests.lvm_training.detection.detection_pictures import CLASSES, ON_LVM, ON_RESNET, SIDE, labelled

RENDERING = Rendering(size=SIDE, field=8.0)
DESIGNS = {"lvm": ON_LVM, "resnet50": ON_RESNET}


def written(folder: Path, design: DetectorDesign = ON_LVM) -> Path:
    """A detector of random weights."""
    about: dict[str, Any] = {"encoder": "", "data": "", "code": "", "params": {}, "metrics": {}}
    save_detector(folder, Detector.start(design, seed=2), RENDERING, **about)
    return folder


def added(source: Path, folder: Path, **said: Any) -> BackboneCard:
    return write_backbone(Wanted(str(source), **said), folder, folder.parent / "downloads", progress_bar)


def by_hand(detector: Detector, image: torch.Tensor) -> list[float]:
    """The features of one picture (3, S, S), one number after another."""
    network: Any = detector.network
    network.roi_heads.box_predictor.test_score_thresh = FAINTEST
    with torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        maps = network.backbone.bottom_up((image[None] - network.pixel_mean) / network.pixel_std)
        found = network([{"image": image}])[0]["instances"]
    values = []
    for name in list(maps)[-2:]:
        channels = maps[name][0].numpy()
        side = channels.shape[-1]
        inside = [place for place in range(side) if side // 4 <= place < side - side // 4]
        values += [float(np.mean([one[y, x] for y in inside for x in inside])) for one in channels]
    odds = []
    answers = list(zip(found.scores.tolist(), found.pred_classes.tolist(), strict=True))
    assert answers
    for code in range(len(detector.classes)):
        best = max((score for score, one in answers if one == code), default=0.0)
        best = min(max(best, FAINTEST), SUREST)
        odds.append(float(np.log(best / (1 - best))))
    return values + odds * COPIES


@pytest.mark.parametrize("on", DESIGNS)
def test_vectors_are_those_of_a_plain_loop(on: str, tmp_path: Path) -> None:
    source = written(tmp_path / "detector", DESIGNS[on])
    card = added(source, tmp_path / "made")
    encoder, detector = Encoder.load(tmp_path / "made", views=2), load_detector(source)[0]
    images, _ = labelled(3)
    found = encoder.features(images).numpy()
    views = [[by_hand(detector, symmetry(images, kind)[place]) for place in range(3)] for kind in (0, 1)]
    np.testing.assert_allclose(found, np.mean(views, axis=0), rtol=1e-4, atol=1e-4)
    assert found.shape == (3, card.width) and card.width > len(CLASSES) * COPIES


def test_a_galaxy_has_the_same_vector_however_it_lies_and_whoever_is_beside_it(tmp_path: Path) -> None:
    added(written(tmp_path / "detector"), tmp_path / "made")
    encoder = Encoder.load(tmp_path / "made")
    images, _ = labelled(2)
    upright = encoder.features(images)
    torch.testing.assert_close(encoder.features(symmetry(images, 5)), upright, rtol=1e-3, atol=1e-3)
    many = images.repeat(PREDICTION_BATCH // 2 + 1, 1, 1, 1)
    torch.testing.assert_close(encoder.with_views(1).features(many)[-2:], encoder.with_views(1).features(images))


def test_two_who_ask_at_a_time_get_their_own(tmp_path: Path) -> None:
    added(written(tmp_path / "detector"), tmp_path / "made")
    encoder = Encoder.load(tmp_path / "made", views=1)
    images, _ = labelled(8)
    alone = [encoder.features(image[None]) for image in images]
    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(lambda place: encoder.features(images[place % 8][None]), range(32)))
    for place, found in enumerate(together):
        torch.testing.assert_close(found, alone[place % 8])


def test_its_folder_is_an_encoders_and_none_of_ours(tmp_path: Path) -> None:
    source = written(tmp_path / "detector")
    card = added(source, tmp_path / "made")
    assert is_detector(source) and not is_detector(tmp_path / "made") and read_card(source) is None
    assert folder_card(tmp_path / "made") == card
    assert (card.kind, card.rendering, card.source) == ("detector", RENDERING, str(source))
    encoder = Encoder.load(tmp_path / "made", views=1)
    assert encoder.precision == "float32" and encoder.with_views(8).digest == card.encoder
    assert matching_encoder(tmp_path / "made", encoder.digest).digest == encoder.digest
    with pytest.raises(CheckpointError, match="no model of ours"):
        load_checkpoint(tmp_path / "made")
    closer = added(source, tmp_path / "closer", field=5.0)
    assert closer.rendering.field == 5.0 and closer.encoder != card.encoder


def refused(folder: Path, **said: Any) -> str:
    made = folder.parent / "refused"
    with pytest.raises(CheckpointError) as found:
        added(folder, made, **said)
    assert read_card(made) is None and found.value.hint
    return found.value.message


def test_what_is_no_whole_detector_is_refused(tmp_path: Path) -> None:
    whole = written(tmp_path / "detector")
    for said in ({"size": 64}, {"mean": (0.5,)}, {"random": True}):
        assert "says all of itself" in refused(whole, **said)
    cut = shutil.copytree(whole, tmp_path / "cut")
    (cut / WEIGHTS).write_bytes((whole / WEIGHTS).read_bytes()[:-100])
    assert "truncated" in refused(cut)
    (cut / WEIGHTS).unlink()
    assert "no complete detector" in refused(cut)
    other = written(tmp_path / "other", ON_RESNET)
    shutil.copyfile(whole / CARD, other / CARD)
    assert "do not fit one another" in refused(other)
    said = json.loads((whole / CARD).read_text())
    for broken in ({**said, "rendering": None}, {**said, "design": []}, {**said, "design": {"size": 7}}):
        (whole / CARD).write_text(json.dumps(broken))
        assert refused(whole)


def test_an_installation_from_before_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = written(tmp_path / "detector")
    monkeypatch.setattr(sources, "NETWORKS", "galaxyloop.nothing")
    assert "Nothing that is installed reads mask-rcnn" in refused(source)
