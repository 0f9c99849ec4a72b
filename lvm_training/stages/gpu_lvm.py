"""Trains an LVM in given minutes, on a borrowed GPU or on what there is, judges it, and writes what fits a small door.

python -m lvm_training.stages.gpu_lvm --minutes 7 --recipe recipe.json --out OUT [--pack real.npz] [--resume]
python -m lvm_training.stages.gpu_lvm --sweep sweep.json --out OUT --pack real.npz
"""

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lvm_training.errors import GalaxyLoopError
from lvm_training.files import write_csv, write_json
from lvm_training.model.describe import describe_model
from lvm_training.model.encoder import load_checkpoint, save_checkpoint
from lvm_training.model.lvm import LVM
from lvm_training.model.ranks import fastest_device
from lvm_training.params import ParamsError
from lvm_training.progress import write_line
from lvm_training.revision import code_revision
from lvm_training.scenes.scenes import ENDLESS, PARTS
from lvm_training.scenes.truth import TruthScale, truth_scale
from lvm_training.timed.judging import SIZES, Figures, held_out, judged
from lvm_training.timed.loop import TimedTraining, record
from lvm_training.timed.objective import LossWeights, Objective
from lvm_training.timed.pack import Pack, read_pack
from lvm_training.timed.recipe import TimedRecipe, read_sweep

Packs = Callable[[int], Pack | None]  # the real pictures at a size

EVERY = 60.0  # seconds between checkpoints
LARGEST_FILE = 16_000_000  # bytes
CHECKPOINT, FIGURES, LOG, TABLE = "lvm", "figures.json", "log.jsonl", "sweep.csv"
PRODUCT = 8192  # side of the matrices whose product says how fast the arithmetic is
WHEELS = (
    *("pydantic==2.14.3", "pydantic-core==2.50.4", "annotated-types==0.8.0"),
    *("typing-inspection==0.4.5", "typing-extensions==4.16.0"),
)
HELP = f"""
A machine without this project's environment needs Python 3.12 with torch 2.11, torchvision, timm, lightning, h5py,
scipy, scikit-learn, pillow, pyyaml, rich and safetensors, and as wheels (3 MB): {" ".join(WHEELS)}. Fetch them with

  python3 -m pip download --no-deps --only-binary=:all: --python-version 3.12 --implementation cp \\
    --platform manylinux_2_28_x86_64 --platform manylinux_2_17_x86_64 --platform manylinux2014_x86_64 \\
    -d .whl {" ".join(WHEELS)}

and there run `python3 -m pip install --no-index --no-deps --target /tmp/site .whl/*.whl; export PYTHONPATH=/tmp/site`.
What a recipe holds: lvm_training/timed/recipe.py. What a pack of real pictures holds: lvm_training/timed/pack.py.
"""


@dataclass(frozen=True)
class Effort:
    """How thoroughly a model is judged.

    Attributes
    ----------
    held_out, simulated : int
        Stamps it reads and restores, and stamps that give the zero-label classes.
    sizes : tuple of int
        Numbers of real labels.
    draws : int
        Draws of labels for each number of them.
    chunk : int
        Pictures that go through it at a time.
    """

    held_out: int
    simulated: int
    sizes: tuple[int, ...]
    draws: int
    chunk: int


# on a CPU and on a GPU
EFFORTS = {
    "whole": (Effort(128, 512, SIZES, 2, 64), Effort(2048, 6000, SIZES, 5, 1024)),
    "quick": (Effort(32, 128, (25, 50), 2, 32), Effort(1024, 3000, (25, 50, 200), 3, 1024)),
}


def objective_of(recipe: TimedRecipe, scale: TruthScale, device: torch.device) -> tuple[Objective, str]:
    """The objective a recipe starts with, on the device, and the encoder it comes from (empty for random weights).

    Raises
    ------
    CheckpointError
        As `load_checkpoint`.
    ParamsError
        If the checkpoint to start from is of another preset.
    """
    torch.manual_seed(recipe.seed)
    lvm, parent = LVM(recipe.model), ""
    if recipe.init:
        lvm, card = load_checkpoint(Path(recipe.init))
        parent = card.encoder
        if lvm.preset != recipe.model:
            raise ParamsError(f"{recipe.init} is of preset {lvm.preset.name!r}.", "Change `preset`, `stem` or `init`.")
    weights = LossWeights(
        truth=1 - recipe.restored - recipe.masked,
        restoration=recipe.restored,
        reconstruction=recipe.masked,
        dense=recipe.dense,
        dense_tokens=recipe.dense_tokens,
        contrast=recipe.contrast,
        real=recipe.real,
    )
    return Objective(lvm.train(), len(scale.names), len(PARTS), weights).to(device), parent


def train(
    recipe: TimedRecipe,
    seconds: float,
    work: Path,
    out: Path,
    *,
    pack: Pack | None,
    effort: Effort,
    resume: bool = False,
    workers: int = 0,
    every: float = EVERY,
    log: Path | None = None,
) -> Figures:
    """Train as the recipe says, judge the model, write it to `out`, and return its figures.

    Parameters
    ----------
    seconds : float
        Of training, all runs together; judging comes after.
    work, out : Path
        Folder of what a resumed run needs, and of what is kept.
    resume : bool
        Whether to go on from a checkpoint in `work`; without it one that is there is replaced.
    every : float
        Seconds between checkpoints.
    log : Path, optional
        Where lines go beside standard error; `out`'s own log without it.
    """
    device = fastest_device()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    scale = truth_scale(recipe.rendering)
    objective, parent = objective_of(recipe, scale, device)
    real = pack.unlabelled().to(device) if pack is not None and recipe.real else None

    def say(line: str) -> None:
        write_line(line)
        record(log or out / LOG, {"time": time.time(), "recipe": recipe.name, "line": line})

    training = TimedTraining(recipe, objective, scale, seconds, work, real=real, workers=workers, say=say)
    if resume and training.resume():
        say(f"goes on from step {training.state.step} with {training.precision}")
    say(f"{recipe.name}: {device}, {training.precision}, batches of {training.state.batch}")
    training.run(every, lambda running: keep(running, out, parent, {}))
    # whatever fails from here on, the weights are there
    keep(training, out, parent, {})
    figures = pace(training)
    write_json(out / FIGURES, {"recipe": recipe.model_dump(mode="json"), **figures})
    figures |= judgement(training, scale, pack, effort)
    write_json(out / FIGURES, {"recipe": recipe.model_dump(mode="json"), **machine(), **figures})
    keep(training, out, parent, figures)
    say(f"{recipe.name}: " + ", ".join(f"{name} {figures[name]:.3f}" for name in SUMMARY if name in figures))
    return figures


SUMMARY = (
    *("truth", "restoration", "zero", "few"),
    *("stamps_per_s", "drawn_per_s", "learned_per_s", "utilisation", "memory_gib"),
)


def judgement(training: TimedTraining, scale: TruthScale, pack: Pack | None, effort: Effort) -> Figures:
    """What the averaged weights read and restore of stamps held out, and know of the real pictures of a pack."""
    recipe, lvm, readout = training.recipe, training.averaged(), training.objective.readout
    readout.load_state_dict(training.readout)
    figures = held_out(lvm, readout, scale, recipe, effort.held_out, effort.chunk)
    if pack is None:
        return figures
    how = {"stamps": effort.simulated, "chunk": effort.chunk, "draws": effort.draws}
    return figures | judged(lvm, recipe, pack, sizes=effort.sizes, **how)


def keep(training: TimedTraining, out: Path, parent: str, figures: Figures) -> None:
    """Write the averaged weights as a checkpoint of float16 in parts."""
    recipe = training.recipe
    save_checkpoint(
        out / CHECKPOINT,
        training.averaged(),
        recipe.rendering,
        data=ENDLESS,
        code=code_revision(),
        params=recipe.model_dump(mode="json"),
        metrics=figures,
        parent=parent,
        half=True,
        precision=training.precision,
        stamps=training.state.stamps,
        largest=LARGEST_FILE,
    )


def pace(training: TimedTraining) -> Figures:
    """Stamps, stamps per second, share of the processor's arithmetic, and peak memory of a training.

    A training step counts as three forward passes, and the arithmetic is that of a large matrix product, measured here.
    """
    state, recipe, device = training.state, training.recipe, training.device
    described = describe_model(recipe.model)
    decoded = 1.0 if recipe.dense else recipe.restored + recipe.masked
    per_stamp = described.flops + decoded * (described.flops_restoration - described.flops)
    if training.real is not None:
        extra = recipe.real_share * (2.5 * described.flops + 0.5 * (described.flops_restoration - described.flops))
        per_stamp += extra
    measured = training.pace()
    figures = {
        "stamps": float(state.stamps),
        "steps": float(state.step),
        "batch": float(state.batch),
        "seconds": state.seconds,
        **measured,
        "utilisation": 3 * per_stamp * measured["stamps_per_s"] / arithmetic(device, training.precision),
    }
    if device.type == "cuda":
        figures["memory_gib"] = torch.cuda.max_memory_allocated() / 2**30
    return figures


def arithmetic(device: torch.device, precision: str) -> float:
    """Operations per second of a large matrix product, after one that does not count."""
    side = PRODUCT if device.type == "cuda" else PRODUCT // 8
    kind = torch.bfloat16 if precision == "bf16" else torch.float32
    left, right = (torch.randn(side, side, device=device, dtype=kind) for _ in range(2))

    def products(count: int) -> float:
        began = time.perf_counter()
        for _ in range(count):
            left @ right
        if device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - began

    products(2)
    return 2 * side**3 * 10 / products(10)


def machine() -> dict[str, Any]:
    """Where this ran."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else ""
    return {"gpu": gpu, "cpu": platform.processor(), "cores": os.cpu_count(), "torch": torch.__version__}


def sweep(path: Path, work: Path, out: Path, *, packs: Packs, effort: Effort, workers: int) -> dict[str, Figures]:
    """Train the recipes of a sweep one after the other; a table of their figures is written anew behind each.

    A recipe that fails is said and left out.
    """
    spec = read_sweep(path)
    found: dict[str, Figures] = {}
    for recipe in spec.recipes:
        runs = work / recipe.name
        try:
            found[recipe.name] = train(
                recipe,
                spec.seconds,
                runs,
                runs,
                pack=packs(recipe.model.size),
                effort=effort,
                workers=workers,
                log=out / LOG,
            )
        # one that fails must not take the others along: the machine is lent for minutes
        except (GalaxyLoopError, RuntimeError, ValueError) as error:
            write_line(f"{recipe.name} failed: {type(error).__name__}: {error}")
        write_table(out, found)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    write_line(table(found))
    return found


def best_of(found: dict[str, Figures]) -> str:
    """The name of the run whose zero-label and few-label AUC are best together.

    Raises
    ------
    ParamsError
        If none was judged on real pictures.
    """
    judged_runs = {name: figures["zero"] + figures["few"] for name, figures in found.items() if "zero" in figures}
    if not judged_runs:
        raise ParamsError("No recipe of the sweep was judged on real pictures.", "Give --pack, and see the log.")
    return max(judged_runs, key=lambda name: judged_runs[name])


def write_table(out: Path, found: dict[str, Figures]) -> None:
    """All figures of all recipes, as JSON, and as CSV with a line for each figure."""
    write_json(out / "sweep.json", {**machine(), "runs": found})
    names = list(dict.fromkeys(name for figures in found.values() for name in figures))
    rows = [[name, *(f"{found[run].get(name, np.nan):.4g}" for run in found)] for name in names]
    write_csv(out / TABLE, ("figure", *found), rows)


def table(found: dict[str, Figures]) -> str:
    """The figures that matter, a line for each recipe."""
    names = list(dict.fromkeys(name for figures in found.values() for name in figures))
    shown = [name for name in names if name in SUMMARY or name.startswith(("zero/", "few/")) or name == "stamps"]
    columns = [name for name in shown if name.count("/") < 2 or name.endswith(("/25", "/50", "/200"))]
    lines = [f"{'figure':28}" + "".join(f"{run[:14]:>15}" for run in found)]
    lines += [
        f"{name[:27]:28}" + "".join(f"{figures.get(name, np.nan):15.4g}" for figures in found.values())
        for name in columns
    ]
    return "\n".join(lines)


def parsed(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=HELP, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=10.0, help="of training; judging comes after")
    parser.add_argument("--recipe", type=Path, help="JSON with fields of a recipe; defaults for others")
    parser.add_argument("--set", nargs="*", default=[], metavar="FIELD=JSON", help="fields of the recipe")
    parser.add_argument("--sweep", type=Path, help="JSON of several recipes, instead")
    parser.add_argument("--then", type=float, default=0.0, metavar="MINUTES", help="train a sweep's best as long")
    parser.add_argument("--out", type=Path, default=Path("build/gpu-lvm"), help="folder of what is kept")
    parser.add_argument("--work", type=Path, default=Path("build/resume/gpu-lvm"), help="folder of the checkpoint")
    parser.add_argument("--pack", type=Path, help="packed real pictures")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint in --work")
    parser.add_argument("--every", type=float, default=EVERY, metavar="SECONDS", help="between checkpoints")
    parser.add_argument("--workers", type=int, default=0, help="processes that draw on the host; 0 draws on the device")
    parser.add_argument("--judge", choices=("whole", "quick"), default="whole", help="how thoroughly")
    return parser.parse_args(arguments)


def recipe_of(asked: argparse.Namespace) -> TimedRecipe:
    """The recipe of a command line.

    Raises
    ------
    ParamsError
        If it cannot be used.
    """
    try:
        fields = json.loads(asked.recipe.read_text(encoding="utf-8")) if asked.recipe else {}
        fields |= {name: json.loads(value) for name, value in (item.split("=", 1) for item in asked.set)}
        recipe = TimedRecipe(**fields)
        recipe.model  # noqa: B018
    except (OSError, ValueError, TypeError) as error:
        raise ParamsError(f"The recipe cannot be used: {error}.", "--help says where its fields are.") from error
    return recipe


def main() -> None:
    """Train within the minutes given."""
    asked = parsed()
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    if torch.cuda.is_available():
        # what is float32 there, such as the last products of a loss, does with the tensor cores' 19 bits
        torch.set_float32_matmul_precision("high")

    @lru_cache(maxsize=1)
    def packs(size: int) -> Pack | None:
        return read_pack(asked.pack, size) if asked.pack else None

    try:
        recipe, minutes = recipe_of(asked), asked.minutes
        if asked.sweep:
            effort = EFFORTS["quick"][torch.cuda.is_available()]
            found = sweep(asked.sweep, asked.work, asked.out, packs=packs, effort=effort, workers=asked.workers)
            if not asked.then:
                return
            best = best_of(found)
            recipe = next(one for one in read_sweep(asked.sweep).recipes if one.name == best)
            minutes = asked.then
        train(
            recipe,
            60 * minutes,
            asked.work,
            asked.out,
            pack=packs(recipe.model.size),
            effort=EFFORTS[asked.judge][torch.cuda.is_available()],
            resume=asked.resume,
            workers=asked.workers,
            every=asked.every,
        )
    except GalaxyLoopError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
