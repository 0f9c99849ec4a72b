"""The released detector: profile `nano` whatever is active, figures on its card, nothing lost by a kill."""

from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from lvm_training.detection.checkpoint import load_detector
from lvm_training.lenses.lens_sets import read_lenses
from lvm_training.lenses.lens_stamps import WANTED
from lvm_training.model.encoder import WEIGHTS, load_checkpoint, save_checkpoint
from lvm_training.model.lvm import LVM
from lvm_training.objects.metrics import detection_accuracy
from lvm_training.params import load_params
from lvm_training.paths import NANO_BUILD, RELEASED_DETECTOR
from lvm_training.stages.release import detector as stage
from lvm_training.stages.train import detector as train_detector
from lvm_training.stamps.rendering import Rendering
from tests.lvm_training.detection.detection_pictures import FOUR_STAGES, SIDE

ROOT = Path(__file__).parents[4]


@pytest.mark.timeout(300)
def test_the_released_recipe_in_two_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    document = yaml.safe_load((ROOT / "params.yaml").read_text("utf-8"))
    document["nano"]["lenses"] |= {"train": 1, "validation": 4, "test": 20}
    few = {"size": 32, "channels": 8, "images": 4, "steps": 2, "batch": 2, "warmup": 0, "epoch_steps": 1, "held_out": 4}
    document["nano"]["detector"] |= few
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GALAXYLOOP_REAL_DATA", str(tmp_path / "none"))
    Path("params.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")
    torch.manual_seed(0)
    rendering = Rendering(size=SIDE)
    save_checkpoint(Path("encoder"), LVM(FOUR_STAGES), rendering, data="", code="", params={}, metrics={})
    monkeypatch.setattr(stage, "RELEASED_LVM", Path("encoder"))
    monkeypatch.setattr(stage, "RATES", (0.2,))  # what ten look-alikes resolve

    def killed(*_: object, **__: object) -> None:
        raise KeyError("killed")

    with monkeypatch.context() as patch, pytest.raises(KeyError):
        patch.setattr(train_detector, "save_detector", killed)
        stage.main()
    drawn = (NANO_BUILD / "lenses.h5").read_bytes()
    stage.main()
    assert (NANO_BUILD / "lenses.h5").read_bytes() == drawn
    detector, card = load_detector(RELEASED_DETECTOR)
    assert card.params == load_params(profile="nano").detector.model_dump() and card.params["endless"]
    assert card.encoder == load_checkpoint(Path("encoder"))[1].encoder
    assert {one.dtype for one in load_file(RELEASED_DETECTOR / WEIGHTS).values()} == {torch.float16}
    split = read_lenses(NANO_BUILD / "lenses.h5", NANO_BUILD / "lenses.json", "test", card.rendering)
    accuracy = detection_accuracy(split.truths, detector.predict(split.images), WANTED)
    assert card.metrics["test/accuracy"] == accuracy and 0 <= card.metrics["test/threshold"] <= 1
    assert not any(name.startswith("real/") for name in card.metrics), "there are no real pictures here"


def test_an_interrupted_remaking_leaves_the_detector_there_is() -> None:
    (out,) = yaml.safe_load((ROOT / "dvc.yaml").read_text("utf-8"))["stages"]["release_detector"]["outs"]
    assert out[str(RELEASED_DETECTOR)] == {"cache": False, "persist": True}
