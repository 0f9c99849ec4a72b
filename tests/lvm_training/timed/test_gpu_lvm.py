"""The training in given minutes, end to end at a tiny size: it resumes, halves its batch, and is read back."""

import io
import json
import subprocess
import sys
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest
import torch
from PIL import Image

from lvm_training.errors import CheckpointError, StampError
from lvm_training.model import lvm as models
from lvm_training.model import precision
from lvm_training.model.encoder import Encoder, load_checkpoint
from lvm_training.model.lvm import Preset
from lvm_training.model.precision import VARIABLE
from lvm_training.params import ParamsError
from lvm_training.scenes.structure import draw_structure
from lvm_training.scenes.truth import truth_scale
from lvm_training.stages import gpu_lvm
from lvm_training.stages.gpu_lvm import (
    CHECKPOINT,
    FIGURES,
    LOG,
    Effort,
    best_of,
    objective_of,
    parsed,
    recipe_of,
    table,
    train,
)
from lvm_training.timed.drawing import SimulatedStamps, batches, drawn_again, shares_of_batch
from lvm_training.timed.loop import LAST, TimedTraining, rate
from lvm_training.timed.objective import parts_loss
from lvm_training.timed.pack import read_pack, write_pack
from lvm_training.timed.recipe import TimedRecipe, read_sweep

CPU = torch.device("cpu")
EFFORT = Effort(held_out=16, simulated=96, sizes=(10, 20), draws=2, chunk=48)
EVERYTHING = {
    "stem": True,
    "fields": (8.0, 60.0),
    "realism": True,
    "dense": 0.3,
    "dense_tokens": 0.3,
    "contrast": 0.2,
    "real": 0.2,
}


@pytest.fixture(autouse=True)
def tiny_preset(tiny: Preset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "PRESETS", MappingProxyType({**models.PRESETS, "tiny": tiny}))


@pytest.fixture
def recipe() -> TimedRecipe:
    return TimedRecipe(preset="tiny", batch=16)


@pytest.fixture
def pack(tmp_path: Path) -> Path:
    """Sixty pictures of noise, bright or dark, some without label."""
    rng = np.random.default_rng(1)
    pictures, labels = [], []
    for row in range(60):
        bright = int(row % 2)
        stream = io.BytesIO()
        Image.fromarray(rng.integers(0, 100 + 150 * bright, (40, 40, 3)).astype(np.uint8)).save(stream, "JPEG")
        pictures.append(stream.getvalue())
        labels.append(str(bright) if row < 48 else "")
    path = tmp_path / "pack.npz"
    splits = ["fit" if row % 4 < 2 else "test" for row in range(48)] + ["unlabelled"] * 12
    write_pack(path, pictures, ["one"] * 30 + ["two"] * 30, splits, {"ring": labels, "unheard": labels})
    return path


def started(recipe: TimedRecipe, folder: Path, seconds: float = 1e-3, said: list[str] | None = None) -> TimedTraining:
    scale = truth_scale(recipe.rendering)
    lines = [] if said is None else said
    return TimedTraining(recipe, objective_of(recipe, scale, CPU)[0], scale, seconds, folder, say=lines.append)


@pytest.mark.parametrize("changes", [{}, EVERYTHING])
def test_from_nothing_to_a_judged_checkpoint(
    tmp_path: Path, recipe: TimedRecipe, pack: Path, changes: dict[str, object]
) -> None:
    recipe = recipe.model_copy(update=changes)
    out = tmp_path / "out"
    pictures = read_pack(pack, recipe.model.size)
    figures = train(recipe, 0.5, tmp_path / "work", out, pack=pictures, effort=EFFORT)
    lvm, card = load_checkpoint(out / CHECKPOINT)
    assert (lvm.preset.stem, card.rendering, card.precision) == (recipe.stem, recipe.rendering, "float32")
    assert card.stamps == figures["stamps"] > 0
    assert TimedRecipe(**card.params) == recipe
    assert {weight.dtype for weight in lvm.parameters()} == {torch.float32}
    assert Encoder.load(out / CHECKPOINT).features(torch.rand(2, 3, 32, 32)).shape == (2, recipe.model.width)
    for name in ("truth", "truth/size", "restoration", "zero/ring", "few/ring/10", "few/unheard/10", "utilisation"):
        assert np.isfinite(figures[name])
    assert "zero/unheard" not in figures, "the simulator draws no such class"
    written = json.loads((out / FIGURES).read_text())
    assert written["stamps"] == figures["stamps"]
    assert all(json.loads(line)["line"] for line in (out / LOG).read_text().splitlines())


def test_the_rate_rises_and_ends_at_nothing_when_the_time_does(recipe: TimedRecipe) -> None:
    assert rate(recipe, recipe.warmup) == recipe.learning_rate
    assert rate(recipe, 0.0) < rate(recipe, recipe.warmup / 2) < recipe.learning_rate
    assert rate(recipe, 0.5) > rate(recipe, 0.9) > rate(recipe, 1.0) == rate(recipe, 1.3) == 0


def test_a_run_that_was_killed_goes_on(tmp_path: Path, recipe: TimedRecipe) -> None:
    first = started(recipe, tmp_path)
    first.run()
    assert first.state.step >= 1
    again = started(recipe, tmp_path, seconds=first.state.seconds + 0.3)
    assert again.resume()
    assert vars(again.state) == vars(first.state)
    assert all(torch.equal(again.average[name], value) for name, value in first.average.items())
    again.run()
    assert again.state.step > first.state.step
    assert again.state.stamps == again.state.step * recipe.batch


def test_a_run_killed_in_earnest_leaves_its_last_checkpoint(tmp_path: Path, recipe: TimedRecipe) -> None:
    training = started(recipe, tmp_path, seconds=1e3)
    with pytest.raises(KeyboardInterrupt):
        training.run(every=1e-9, keep=lambda running: interrupt() if running.state.step == 2 else None)
    again = started(recipe, tmp_path)
    assert again.resume()
    assert again.state.step == 2


def interrupt() -> None:
    raise KeyboardInterrupt


def test_out_of_memory_halves_the_batch_and_says_so(
    tmp_path: Path, recipe: TimedRecipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    learn = TimedTraining._learn
    failures = iter([torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB")])

    def once(self: TimedTraining, batch: object) -> None:
        for failure in failures:
            raise failure
        learn(self, batch)  # type: ignore[arg-type]

    monkeypatch.setattr(TimedTraining, "_learn", once)
    said: list[str] = []
    training = started(recipe, tmp_path, seconds=0.3, said=said)
    training.run()
    assert training.state.batch == recipe.batch // 2
    assert training.state.stamps == training.state.step * recipe.batch // 2 > 0
    assert any("out of memory" in line and "batches of 8" in line for line in said)


def test_out_of_memory_with_the_smallest_batch_is_an_error(
    tmp_path: Path, recipe: TimedRecipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(self: TimedTraining, batch: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(TimedTraining, "_learn", never)
    with pytest.raises(torch.OutOfMemoryError):
        started(recipe.model_copy(update={"batch": 8}), tmp_path).run()


def test_losses_that_run_away_go_back_with_half_the_rate(tmp_path: Path, recipe: TimedRecipe) -> None:
    said: list[str] = []
    training = started(recipe, tmp_path, said=said)
    training.run()
    good = {name: value.clone() for name, value in training.objective.state_dict().items()}
    with torch.no_grad():
        training.objective.readout.weight.fill_(torch.nan)
    training._last = torch.tensor([torch.nan])
    assert not training._sound()
    assert training.state.damping == 0.5
    assert all(torch.equal(good[name], value) for name, value in training.objective.state_dict().items())
    assert "half the rate" in said[-1]


def test_losses_that_run_away_at_once_are_an_error(tmp_path: Path, recipe: TimedRecipe) -> None:
    training = started(recipe, tmp_path)
    training.state.step, training._last = 1, torch.tensor([torch.inf])
    with pytest.raises(CheckpointError, match="ran away"):
        training._sound()


def test_a_run_in_bf16_goes_on_in_float32(tmp_path: Path, recipe: TimedRecipe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE)
    monkeypatch.setattr(precision, "cpu_has_amx", lambda: True)
    first = started(recipe, tmp_path)
    first.run()
    monkeypatch.setattr(precision, "cpu_has_amx", lambda: False)
    again = started(recipe, tmp_path, seconds=first.state.seconds + 0.2)
    assert (first.precision, again.precision, again.resume()) == ("bf16", "float32", True)
    again.run()
    assert again.state.step > first.state.step
    assert all(value.isfinite().all() for value in again.average.values())


@pytest.mark.parametrize("content", [b"", b"torn"])
def test_a_torn_checkpoint(tmp_path: Path, recipe: TimedRecipe, content: bytes) -> None:
    (tmp_path / LAST).write_bytes(content)
    with pytest.raises(CheckpointError, match="no checkpoint of a training"):
        started(recipe, tmp_path).resume()


def test_a_checkpoint_of_another_recipe(tmp_path: Path, recipe: TimedRecipe) -> None:
    started(recipe, tmp_path).save()
    with pytest.raises(CheckpointError, match="another recipe"):
        started(recipe.model_copy(update={"seed": 2}), tmp_path).resume()


def test_a_batch_depends_on_its_number_alone(recipe: TimedRecipe) -> None:
    stamps = SimulatedStamps(recipe, truth_scale(recipe.rendering), 16, CPU)
    stream = batches(stamps, 3, workers=0)
    first, second = next(stream), next(stream)
    for part, same, other in zip(first, stamps[3], second, strict=True):
        assert torch.equal(part.nan_to_num(), same.nan_to_num())
        assert part.shape == other.shape
    assert not torch.equal(first.images, second.images)


def test_second_drawings_have_the_shape_of_the_first_and_nothing_else(recipe: TimedRecipe) -> None:
    shares = shares_of_batch(recipe.model_copy(update={"contrast": 1.0}), 40)
    again = drawn_again(
        draw_structure(40, np.random.default_rng(1)), shares.pairs, shares.read, np.random.default_rng(2)
    )
    first, second = slice(0, shares.pairs), slice(shares.read - shares.pairs, shares.read)
    assert shares.pairs == 10
    for name in ("kind", "arms", "ring", "bar", "axis_ratio", "sersic", "tails"):
        assert np.array_equal(getattr(again, name)[first], getattr(again, name)[second])
    for name in ("angle", "radius", "brightness"):
        assert not np.isclose(getattr(again, name)[first], getattr(again, name)[second]).any()


def test_the_parts_loss_of_the_truth_is_nothing_and_of_the_mean_one() -> None:
    whole = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(1)).softmax(1)
    parts, sky = whole[:, :-1], whole[:, -1]
    assert parts_loss(whole.log(), parts) == pytest.approx(0, abs=1e-5)
    weight = (1 - sky + 0.05)[:, None]
    mean = (whole * weight).sum((0, 2, 3)) / weight.sum()
    assert parts_loss(mean.log()[None, :, None, None].expand_as(whole), parts) == pytest.approx(1, abs=1e-5)


def test_a_sweep_writes_a_table_and_goes_past_what_fails(
    tmp_path: Path, pack: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = {
        "seconds": 0.2,
        "base": {"preset": "tiny", "batch": 16},
        "variants": {"plain": {}, "lost": {"init": str(tmp_path / "nowhere")}, "dense": {"dense": 0.3}},
    }
    (tmp_path / "sweep.json").write_text(json.dumps(spec))
    monkeypatch.setattr(gpu_lvm, "EFFORTS", dict.fromkeys(("whole", "quick"), (EFFORT, EFFORT)))
    out = tmp_path / "out"
    arguments = ["--sweep", "sweep.json", "--out", "out", "--work", "work", "--pack", str(pack), "--then", "0.003"]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["gpu_lvm", *arguments])
    monkeypatch.setattr(torch, "set_num_threads", lambda threads: None)
    gpu_lvm.main()
    runs = json.loads((out / "sweep.json").read_text())["runs"]
    assert list(runs) == ["plain", "dense"]
    best = max(runs, key=lambda name: runs[name]["zero"] + runs[name]["few"])
    assert load_checkpoint(out / CHECKPOINT)[1].params["name"] == best
    printed = capsys.readouterr().err
    assert "lost failed: CheckpointError" in printed
    assert "zero/ring" in printed
    assert (out / "sweep.csv").read_text().startswith("figure,plain,dense\n")


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("{", "not JSON"),
        ('{"variants": {"a": {"preset": "huge"}}}', "no preset"),
        ('{"variants": {"a": {"dense": -1}}}', "dense"),
        ('{"variants": {"a": {"sharp": 1}}}', "sharp"),
        ("{}", "variants"),
    ],
)
def test_sweeps_that_cannot_be_used(tmp_path: Path, text: str, wrong: str) -> None:
    (tmp_path / "sweep.json").write_text(text)
    with pytest.raises(ParamsError, match=wrong):
        read_sweep(tmp_path / "sweep.json")


def test_fields_on_the_command_line_come_before_those_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "recipe.json").write_text('{"preset": "tiny", "batch": 8, "dense": 0.5}')
    asked = ["--recipe", str(tmp_path / "recipe.json"), "--set", "batch=4", "fields=[8, 60]", 'name="a=b"']
    found = recipe_of(parsed(asked))
    assert (found.batch, found.dense, found.fields, found.name) == (4, 0.5, (8.0, 60.0), "a=b")
    assert recipe_of(parsed([])) == TimedRecipe()


@pytest.mark.parametrize(
    ("asked", "wrong"),
    [
        (["--recipe", "nowhere.json"], "nowhere.json"),
        (["--set", "batch"], "unpack"),
        (["--set", "batch=many"], "Expecting value"),
        (["--set", "batch=-1"], "batch"),
        (["--set", "sharp=1"], "sharp"),
        (["--set", "fields=[9, 3]"], "smallest"),
    ],
)
def test_a_recipe_that_cannot_be_used(asked: list[str], wrong: str) -> None:
    with pytest.raises(ParamsError, match=wrong) as found:
        recipe_of(parsed(asked))
    assert "--help" in found.value.hint


def test_an_unknown_preset_is_named_before_anything_is_trained() -> None:
    with pytest.raises(ParamsError, match="no preset 'huge'"):
        recipe_of(parsed(["--set", 'preset="huge"']))


def test_the_best_of_a_sweep_knows_real_pictures_best() -> None:
    found = {"a": {"zero": 0.7, "few": 0.6}, "b": {"zero": 0.6, "few": 0.8}, "unjudged": {"truth": 0.99}}
    assert best_of(found) == "b"
    with pytest.raises(ParamsError, match="judged on real pictures"):
        best_of({"unjudged": {"truth": 0.99}})
    shown = table(found).splitlines()
    assert shown[0].split() == ["figure", "a", "b", "unjudged"]
    assert {line.split()[0]: line.split()[1:] for line in shown[1:]} == {
        "zero": ["0.7", "0.6", "nan"],
        "few": ["0.6", "0.8", "nan"],
        "truth": ["nan", "nan", "0.99"],
    }


@pytest.mark.parametrize("content", [b"", b"no archive", None])
def test_a_pack_that_cannot_be_read(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "pack.npz").write_bytes(content)
    with pytest.raises(StampError, match="pack"):
        read_pack(tmp_path / "pack.npz", 32)


def test_it_runs_without_what_a_borrowed_machine_lacks() -> None:
    """Only what --help names is imported: not GalSim, astropy, DVC, nor anything of the backend."""
    missing = ("galsim", "astropy", "dvclive", "dvc", "lenstronomy", "lightly", "reproject", "structlog", "backend_ml")
    code = f"""
import sys
class Refused:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {missing!r}:
            raise ImportError(name + " is not on that machine")
sys.meta_path.insert(0, Refused())
import lvm_training.stages.gpu_lvm
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
