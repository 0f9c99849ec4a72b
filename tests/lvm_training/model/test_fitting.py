"""Fitting: what is left of a training that is killed or whose disk is full, and resume files that are damaged."""

import json
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from lvm_training.errors import CheckpointError
from lvm_training.model.fitting import LAST, AtomicCheckpointIO, SameStart, fit, measure
from lvm_training.model.lvm import LVM, Preset
from lvm_training.params import PretrainParams
from lvm_training.pretraining.data import PretrainingData
from lvm_training.pretraining.training import Pretraining
from lvm_training.stamps.rendering import Rendering
from tests import forked
from tests.lvm_training.pretraining.training_process import Setup, run, run_apart

MakeSetup = Callable[..., Setup]


@pytest.fixture
def make_setup(
    tmp_path: Path,
    make_stamps: Callable[..., Path],
    tiny: Preset,
    rendering: Rendering,
    pretrain_params: PretrainParams,
) -> MakeSetup:
    """Setups of nine steps in epochs of three."""
    stamps = make_stamps(60)

    def make(name: str, **changes: int) -> Setup:
        (tmp_path / name).mkdir(exist_ok=True)
        return Setup(
            stamps=[stamps],
            preset=tiny,
            rendering=rendering,
            params=pretrain_params,
            folder=tmp_path / name,
            **changes,
        )

    return make


def curve(setup: Setup) -> list[tuple[int, float, list[float]]]:
    lines = [json.loads(line) for line in setup.steps.read_text().splitlines()]
    return [(line["step"], line["loss"], line["stamps"]) for line in lines]


def test_a_run_that_is_killed_goes_on_with_the_same_losses_to_the_same_weights(make_setup: MakeSetup) -> None:
    whole, parts = make_setup("whole"), make_setup("parts")
    run(whole)
    assert forked.exit_status(run_apart, make_setup("parts", kill_at=5)) == -signal.SIGKILL
    assert [step for step, _, _ in curve(parts)] == [0, 1, 2, 3, 4]
    run(parts)
    steps = [step for step, _, _ in curve(parts)]
    assert steps == [0, 1, 2, 3, 4, 3, 4, 5, 6, 7, 8], "the second run starts behind the last whole epoch"
    assert sorted(set(map(str, curve(parts)))) == sorted(map(str, curve(whole)))
    kept, resumed = (load_file(setup.folder / "weights-0.safetensors") for setup in (whole, parts))
    assert all(torch.equal(kept[name], resumed[name]) for name in kept)


def test_a_run_killed_behind_its_last_step_has_nothing_left_to_do(make_setup: MakeSetup) -> None:
    setup = make_setup("done")
    first = run(setup)
    again = run(setup)
    assert len(curve(setup)) == setup.params.steps
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))


def test_a_full_disk_leaves_the_last_checkpoint_and_says_so(make_setup: MakeSetup) -> None:
    whole, parts = make_setup("whole"), make_setup("parts")
    run(whole)
    assert forked.exit_status(run_apart, make_setup("parts", full_at=5)) == 1
    said = (parts.folder / "error.txt").read_text()
    assert said.startswith("The resume checkpoint")
    assert "could not be written" in said and "Free space there" in said
    folder = parts.folder / "resume"
    assert [path.name for path in folder.iterdir()] == [LAST]
    assert AtomicCheckpointIO().load_checkpoint(folder / LAST)["global_step"] == 3
    run(parts)
    kept, resumed = (load_file(setup.folder / "weights-0.safetensors") for setup in (whole, parts))
    assert all(torch.equal(kept[name], resumed[name]) for name in kept)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.999])
def test_a_torn_resume_checkpoint(make_setup: MakeSetup, share: float) -> None:
    setup = make_setup("torn")
    run(setup)
    last = setup.folder / "resume" / LAST
    content = last.read_bytes()
    last.write_bytes(content[: int(share * len(content))])
    with pytest.raises(CheckpointError, match="is no resume checkpoint") as caught:
        run(setup)
    assert f"Delete {last.parent}" in caught.value.hint


def test_a_resume_folder_that_cannot_be_written(tmp_path: Path, make_setup: MakeSetup) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="could not be written") as caught:
        AtomicCheckpointIO().save_checkpoint({"a": torch.zeros(3)}, tmp_path / "file" / LAST)
    assert "goes on from its last checkpoint" in caught.value.hint


@pytest.mark.parametrize("name", ["taken", "taken/below"])
def test_a_folder_that_cannot_be_made_is_noticed_before_the_first_step(
    tmp_path: Path, make_setup: MakeSetup, name: str
) -> None:
    (tmp_path / "taken").write_text("a file")
    setup = make_setup("unwritable")
    steps: list[int] = []
    data = PretrainingData(setup.stamps, setup.rendering, setup.params, setup.preset.patch)
    with pytest.raises(CheckpointError, match="Nothing can be written to") as caught:
        fit(
            Pretraining(LVM(setup.preset), setup.params),
            data,
            3,
            tmp_path / name,
            progress=lambda done, _: steps.append(done),
        )
    assert "right to write" in caught.value.hint
    assert not steps and (tmp_path / "taken").read_text() == "a file"


def test_measuring_changes_nothing(make_setup: MakeSetup) -> None:
    setup = make_setup("measured")
    module = Pretraining(LVM(setup.preset), setup.params)
    data = PretrainingData(setup.stamps, setup.rendering, setup.params, setup.preset.patch)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    losses = measure(module, data)
    assert losses == measure(module, data)
    assert set(losses) == {"validation/loss", "validation/restoration", "validation/catalogue"}
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())
    assert fit(module, data, 2, setup.folder / "resume")["validation/loss"] != losses["validation/loss"]


class Halves:
    """A strategy whose processes see different things."""

    def reduce_boolean_decision(self, decision: bool, all: bool = True) -> bool:
        return not all


class Trainer:
    """As much of a trainer as the callback looks at."""

    strategy = Halves()


def test_processes_that_would_start_from_different_places(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="Some processes of this training find") as caught:
        SameStart(tmp_path / LAST, found=True).setup(Trainer(), Pretraining, "fit")  # type: ignore[arg-type]
    assert "they share" in caught.value.hint
