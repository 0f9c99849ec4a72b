"""The earlier released weights: made from simulated stamps alone, in two parts of which the first is not made twice."""

from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from lvm_training.model import lvm
from lvm_training.model.encoder import load_checkpoint
from lvm_training.params import load_params
from lvm_training.paths import EARLIER_LVM, NANO_BUILD
from lvm_training.pretraining import simulated_data
from lvm_training.scenes.scenes import ENDLESS
from lvm_training.stages.release import nano as release_nano
from tests.tiny_encoder import THIN

ROOT = Path(__file__).parents[4]
PRETRAINED = NANO_BUILD / "pretrained"


@pytest.fixture
def few_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, dict[str, object]]]:
    document: dict[str, dict[str, dict[str, object]]] = yaml.safe_load((ROOT / "params.yaml").read_text("utf-8"))
    document["nano"]["pretrain"] |= {"steps": 1, "batch": 8, "warmup": 0, "epoch_steps": 1}
    document["nano"]["multitask"] |= {"steps": 1, "batch": 6, "epoch_steps": 1, "validation": 4, "warmup": 0}
    monkeypatch.chdir(tmp_path)
    # the recipe at the released size, of a model with few channels, and measured with few stamps
    monkeypatch.setattr(lvm, "PRESETS", {"nano": THIN})
    monkeypatch.setattr(simulated_data, "VALIDATION_STAMPS", 8)
    Path("params.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")
    return document


@pytest.mark.timeout(300)
def test_weights_descend_from_pretraining_that_other_parameters_do_anew(
    few_steps: dict[str, dict[str, dict[str, object]]],
) -> None:
    release_nano.main()
    card, pretrained = load_checkpoint(EARLIER_LVM)[1], load_checkpoint(PRETRAINED)[1]
    assert (card.params["steps"], card.data, card.parent) == (1, ENDLESS, pretrained.encoder)
    assert {one.dtype for one in load_file(EARLIER_LVM / "model.safetensors").values()} == {torch.float16}
    assert release_nano.is_pretrained(PRETRAINED, load_params(profile="nano").pretrain)
    few_steps["nano"]["pretrain"]["seed"] = 7
    Path("params.yaml").write_text(yaml.safe_dump(few_steps), encoding="utf-8")
    assert not release_nano.is_pretrained(PRETRAINED, load_params(profile="nano").pretrain)
    release_nano.main()
    assert load_checkpoint(PRETRAINED)[1].encoder != pretrained.encoder
    assert load_checkpoint(EARLIER_LVM)[1].parent == load_checkpoint(PRETRAINED)[1].encoder


@pytest.mark.usefixtures("few_steps")
def test_a_folder_without_a_whole_checkpoint_is_not_pretrained(tmp_path: Path) -> None:
    params = load_params(profile="nano").pretrain
    assert not release_nano.is_pretrained(tmp_path / "nowhere", params)
    (tmp_path / "card.json").write_text("{")
    assert not release_nano.is_pretrained(tmp_path, params)


def test_an_interrupted_remaking_leaves_the_weights_there_are() -> None:
    """DVC removes what a stage makes before it runs, but for outputs that persist."""
    (out,) = yaml.safe_load((ROOT / "dvc.yaml").read_text("utf-8"))["stages"]["release_nano"]["outs"]
    assert out[str(EARLIER_LVM)] == {"cache": False, "persist": True}
