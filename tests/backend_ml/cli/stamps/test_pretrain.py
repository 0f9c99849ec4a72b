"""`galaxyloop pretrain`: a checkpoint adapted to a user's stamps, also after a kill, and what it says of bad input."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from typer.testing import CliRunner, Result

from backend_ml.cli.stamps.pretrain import pretrain
from lvm_training.model.encoder import load_checkpoint
from lvm_training.pretraining.data import Batch
from lvm_training.pretraining.training import Pretraining
from lvm_training.stamps.rendering import Rendering
from lvm_training.stamps.stampset import RenderingKind, StampWriter
from tests import forked
from tests.tiny_encoder import write_tiny

ROOT = Path(__file__).parents[4]
KEYS = [
    "folder",
    "encoder",
    "parent",
    "stamps",
    "kept_aside",
    "steps",
    "loss_before",
    "loss_after",
    "seconds",
]

app = typer.Typer()
app.command("pretrain")(pretrain)


@pytest.fixture
def init(tmp_path: Path) -> Path:
    """A checkpoint of a tiny model with a rendering of its own."""
    return write_tiny(tmp_path / "init", Rendering(size=32, field=9.0, softening=12.0), seed=2)


def stamps(path: Path, count: int = 60, *, side: int = 40, delivered: bool = False) -> Path:
    """A set of blobs."""
    rng = np.random.default_rng(count)
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    sizes = rng.uniform(2, 6, count)[:, None, None, None]
    light = 0.2 * np.exp(-(x**2 + y**2) / (2 * sizes**2)) + rng.normal(0, 0.004, (count, 3, side, side))
    kind: RenderingKind = "as-delivered" if delivered else "nanomaggies"
    pixels = (255 * light.clip(0, 1)).astype(np.uint8) if delivered else light.astype(np.float32)
    writer = StampWriter(path, (side, side), rendering=kind)
    writer.append(pixels, {"size": sizes.ravel()})
    return writer.finish()


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def adapted(*arguments: object) -> dict[str, object]:
    result = invoke(*arguments, "--json")
    assert result.exit_code == 0, result.output
    found: dict[str, object] = json.loads(result.stdout)
    return found


def test_a_checkpoint_is_adapted_to_sets_of_any_kind(tmp_path: Path, init: Path) -> None:
    sets = [stamps(tmp_path / "a.h5", 40), stamps(tmp_path / "b.h5", 30, side=64), stamps(tmp_path / "c.h5", 10)]
    out = tmp_path / "out"
    found = adapted(*sets, "--init", init, "--out", out, "--batch", 8)
    assert list(found) == KEYS
    _, parent = load_checkpoint(init)
    _, card = load_checkpoint(out)
    assert found["parent"] == card.parent == parent.encoder
    assert found["encoder"] == card.encoder != parent.encoder
    assert card.rendering == parent.rendering
    assert (found["stamps"], found["kept_aside"], found["steps"]) == (72, 8, 50)
    assert card.params["learning_rate"] == pytest.approx(1e-4)
    before, after = found["loss_before"], found["loss_after"]
    assert isinstance(before, float) and isinstance(after, float) and 0 < after < before
    assert card.metrics["before/restoration"] == before
    assert card.metrics["validation/restoration"] == after
    assert sorted(path.name for path in out.iterdir()) == ["card.json", "model.safetensors"]


def test_five_epochs_of_larger_sets(tmp_path: Path, init: Path) -> None:
    path = stamps(tmp_path / "a.h5", 80)
    assert adapted(path, "--init", init, "--out", tmp_path / "out", "--batch", 6)["steps"] == 5 * 12


def test_pictures_are_accepted_with_a_word_of_warning(tmp_path: Path, init: Path) -> None:
    sets = [stamps(tmp_path / "a.h5", 20, delivered=True), stamps(tmp_path / "b.h5", 20)]
    result = invoke(*sets, "--init", init, "--out", tmp_path / "out", "--batch", 8, "--steps", 6)
    assert result.exit_code == 0, result.output
    assert "1 of 2 sets hold pictures, not fluxes" in result.stderr
    lines = [line.split() for line in result.stdout.splitlines()]
    assert ["steps", "6"] in lines and ["kept", "aside", "4"] in lines


def test_few_stamps_and_random_weights(tmp_path: Path) -> None:
    result = invoke(stamps(tmp_path / "a.h5", 5), "--out", tmp_path / "out", "--steps", 1, "--preset", "nano", "--json")
    assert result.exit_code == 0, result.output
    assert "none is kept aside" in result.stderr
    found = json.loads(result.stdout)
    assert found["loss_before"] is found["loss_after"] is None
    assert found["parent"] == "" and found["stamps"] == 5
    lvm, card = load_checkpoint(tmp_path / "out")
    assert lvm.preset.name == "nano" and card.rendering == Rendering()
    assert card.params["learning_rate"] == pytest.approx(1e-3)


def test_a_parameter_file_says_how(tmp_path: Path, init: Path) -> None:
    path = stamps(tmp_path / "a.h5", 30)
    arguments = [path, "--init", init, "--params", ROOT / "params.yaml", "--batch", 5]
    found = adapted(*arguments, "--out", tmp_path / "out", "--steps", 2)
    params = load_checkpoint(tmp_path / "out")[1].params
    assert (found["steps"], params["batch"], params["field"]) == (2, 5, 9.0)
    assert params["learning_rate"] == pytest.approx(5e-5)
    assert params["catalogue"] == [], "the set has none of the file's columns"


def adapt_until_killed(*arguments: str) -> None:
    """The command, in a process that is killed in the third epoch of nine steps."""
    torch.set_num_threads(1)
    training_step = Pretraining.training_step

    def deadly(self: Pretraining, batch: Batch, index: int) -> torch.Tensor:
        if self.global_step == 20:
            os.kill(os.getpid(), signal.SIGKILL)
        return training_step(self, batch, index)

    Pretraining.training_step = deadly  # type: ignore[method-assign]
    invoke(*arguments)


def test_a_killed_run_goes_on(tmp_path: Path, init: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = stamps(tmp_path / "a.h5")
    arguments = [str(path), "--init", str(init), "--steps", "31", "--batch", "6"]
    whole = adapted(*arguments, "--out", tmp_path / "whole")
    ended = forked.exit_status(adapt_until_killed, *arguments, "--out", str(tmp_path / "parts"))
    assert ended == -signal.SIGKILL
    assert not (tmp_path / "parts" / "card.json").exists()
    steps: list[int] = []
    training_step = Pretraining.training_step

    def counted(self: Pretraining, batch: Batch, index: int) -> torch.Tensor:
        steps.append(self.global_step)
        return training_step(self, batch, index)

    monkeypatch.setattr(Pretraining, "training_step", counted)
    parts = adapted(*arguments, "--out", tmp_path / "parts")
    assert steps == list(range(18, 31)), "it goes on behind the second epoch"
    for name in ("encoder", "parent", "loss_before", "loss_after"):
        assert parts[name] == whole[name]
    assert not list(tmp_path.glob("parts/resume-*"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["--init", "nowhere"], "There is no complete LVM checkpoint in nowhere"),
        (["--preset", "small"], "is of preset 'tiny', not 'small'"),
        (["--params", "nowhere.yaml"], "There is no parameter file at nowhere.yaml"),
    ],
)
def test_bad_input_is_one_line(tmp_path: Path, init: Path, changes: list[str], message: str) -> None:
    path = stamps(tmp_path / "a.h5", 12)
    result = invoke(path, "--init", init, "--out", tmp_path / "out", *changes)
    assert result.exit_code == 1
    assert message in " ".join(result.stderr.split())
    assert not (tmp_path / "out").exists()


def test_an_output_folder_that_cannot_be_made(tmp_path: Path, init: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(self: Pretraining, batch: Batch, index: int) -> torch.Tensor:
        raise AssertionError("trained for nothing")

    monkeypatch.setattr(Pretraining, "training_step", never)
    (tmp_path / "taken").write_text("a file")
    result = invoke(stamps(tmp_path / "a.h5", 12), "--init", init, "--out", tmp_path / "taken")
    assert result.exit_code == 1 and "Nothing can be written to" in " ".join(result.stderr.split())


def test_the_checkpoint_to_start_from_is_not_overwritten(tmp_path: Path, init: Path) -> None:
    before = (init / "card.json").read_bytes()
    result = invoke(stamps(tmp_path / "a.h5", 12), "--init", init, "--out", init)
    assert result.exit_code == 1 and "holds the weights to start from" in " ".join(result.stderr.split())
    assert (init / "card.json").read_bytes() == before


def test_a_set_that_is_not_there_or_empty(tmp_path: Path, init: Path) -> None:
    result = invoke(tmp_path / "none.h5", "--init", init)
    assert result.exit_code == 1 and "There is no stamp set at" in result.stderr
    writer = StampWriter(tmp_path / "empty.h5", (40, 40))
    result = invoke(writer.finish(), "--init", init, "--out", tmp_path / "out")
    assert result.exit_code == 1 and "no stamp outside its test split" in " ".join(result.stderr.split())


def test_only_the_command_imports_torch() -> None:
    code = "import sys, backend_ml.cli.stamps.pretrain; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
