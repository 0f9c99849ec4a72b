"""The loop of a training in given minutes: its clock, its schedule, its average, its checkpoints.

It is not Lightning's: the learning rate follows the clock, so that a training ends well whenever its minutes end; the
weights kept are a moving average; and where the memory does not suffice the batch is halved and the step repeated.
"""

import json
import math
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lvm_training.errors import CheckpointError
from lvm_training.files import write_atomically
from lvm_training.model.fitting import GRADIENT_LIMIT, decay_groups
from lvm_training.model.lvm import LVM
from lvm_training.model.precision import Precision, computing, fast_precision
from lvm_training.progress import Say, write_line
from lvm_training.scenes.truth import TruthScale
from lvm_training.timed.drawing import DrawnBatch, SimulatedStamps, batches, shares_of_batch
from lvm_training.timed.objective import LOSSES, Objective, RealBatch
from lvm_training.timed.real import real_batch
from lvm_training.timed.recipe import TimedRecipe

LAST = "timed.ckpt"
WATCHED = 10  # steps between two looks at the losses, each of which waits for the device
SMALLEST_BATCH = 8
WARMUP_STEPS = 100  # at least, since the first step may have to be compiled and takes a share of the time
TIMED = 5  # steps whose pace is measured

Keep = Callable[["TimedTraining"], None]


@dataclass
class State:
    """Where a training is; all of it is in the checkpoint.

    Attributes
    ----------
    step, stamps : int
        Steps done and simulated stamps seen.
    batch : int
        Stamps in a step, as far as memory suffices.
    seconds : float
        Time used, all runs together.
    damping : float
        Factor on the learning rate, halved whenever the losses run away.
    warm_stamps, warm_seconds : int, float
        Stamps and time when the first steps of the last run were over, from which on its pace counts.
    losses : list of float
        The last ones looked at.
    """

    step: int = 0
    stamps: int = 0
    batch: int = 0
    seconds: float = 0.0
    damping: float = 1.0
    warm_stamps: int = 0
    warm_seconds: float = 0.0
    losses: list[float] = field(default_factory=list)


def rate(recipe: TimedRecipe, progress: float) -> float:
    """Learning rate when a share `progress` of the time is over: a linear rise, then a cosine to 0."""
    if progress < recipe.warmup:
        return recipe.learning_rate * max(progress / recipe.warmup, 0.01)
    left = (progress - recipe.warmup) / (1 - recipe.warmup)
    return recipe.learning_rate * 0.5 * (1 + math.cos(math.pi * min(1.0, left)))


class TimedTraining:
    """One training, new or resumed.

    Parameters
    ----------
    recipe : TimedRecipe
        What is learned.
    objective : Objective
        The model and its losses, on the device.
    scale : TruthScale
        Units of the truth.
    seconds : float
        How long to train, all runs together.
    folder : Path
        Where the checkpoint is.
    real : Tensor (M, 3, S, S) uint8, optional
        Unlabelled pictures on the device.
    workers : int
        As in `drawing.batches`.
    say : callable
        Takes lines for people.
    """

    def __init__(
        self,
        recipe: TimedRecipe,
        objective: Objective,
        scale: TruthScale,
        seconds: float,
        folder: Path,
        *,
        real: torch.Tensor | None = None,
        workers: int = 0,
        say: Say = write_line,
    ) -> None:
        self.recipe, self.objective, self.scale, self.seconds, self.folder = recipe, objective, scale, seconds, folder
        self.real = real if recipe.real else None
        self.workers, self.say = workers, say
        self.device = next(objective.parameters()).device
        self.precision: Precision = fast_precision(self.device)
        groups = decay_groups(objective, recipe.weight_decay)
        self.optimizer = torch.optim.AdamW(groups, lr=recipe.learning_rate, fused=self.device.type == "cuda")
        self.state = State(batch=recipe.stamps)
        self.average = {name: tensor.detach().clone() for name, tensor in objective.lvm.state_dict().items()}
        self.readout = {name: tensor.detach().clone() for name, tensor in objective.readout.state_dict().items()}
        self._losses, self._unproven = self._loss_function(), recipe.compiled
        self._last = torch.zeros(len(LOSSES))
        self._weights = objective.weights.vector(self.device)

    def _loss_function(self) -> Callable[..., torch.Tensor]:
        forward: Callable[..., torch.Tensor] = self.objective.forward
        return torch.compile(forward, dynamic=False) if self.recipe.compiled else forward

    @property
    def progress(self) -> float:
        """Share of the time that is over."""
        return self.state.seconds / self.seconds

    def run(self, every: float = 60.0, keep: Keep | None = None) -> None:
        """Train until the time is over, one step at least.

        Each `every` seconds a checkpoint is written and `keep` called, and a checkpoint is written at the end.
        """
        began = time.monotonic() - self.state.seconds
        saved = said = self.state.warm_seconds = self.state.seconds
        first, self.state.warm_stamps = self.state.step, self.state.stamps
        stream = self._stream()
        while self.progress < 1 or not self.state.step:
            stream = self._step(stream)
            self.state.seconds = time.monotonic() - began
            if self.state.step % WATCHED == 0 and not self._sound():
                stream.close()
                stream = self._stream()
                # what was lost counts as time used
                self.state.seconds = time.monotonic() - began
            if self.state.step == first + WATCHED:
                self.state.warm_stamps, self.state.warm_seconds = self.state.stamps, self.state.seconds
            if self.state.seconds - said >= min(10.0, every):
                said = self.state.seconds
                self.say(self.line())
            if self.state.seconds - saved >= every:
                self.save()
                if keep is not None:
                    keep(self)
                saved = self.state.seconds = time.monotonic() - began
        stream.close()
        self._sound()
        self.save()
        self.say(self.line())

    def _stream(self) -> Generator[DrawnBatch, None, None]:
        stamps = SimulatedStamps(self.recipe, self.scale, self.state.batch, self.device)
        return batches(stamps, self.state.step, workers=self.workers)

    def _step(self, stream: Generator[DrawnBatch, None, None]) -> Generator[DrawnBatch, None, None]:
        """A step, with half the batch where memory does not suffice; returns what gives the next batches."""
        try:
            self._learn(next(stream))
        except torch.OutOfMemoryError as error:
            if self.state.batch // 2 < SMALLEST_BATCH:
                raise
            self.state.batch //= 2
            self.say(f"out of memory ({str(error).splitlines()[0][:80]}): batches of {self.state.batch} from here on")
        except RuntimeError as error:
            if not self._unproven:
                raise
            self.say(f"torch.compile failed ({type(error).__name__}: {str(error)[:200]}): not compiled from here on")
            self._losses, self._unproven = self.objective.forward, False
        else:
            self._unproven = False
            return stream
        stream.close()
        self.optimizer.zero_grad()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        return self._stream()

    def _learn(self, batch: DrawnBatch) -> None:
        shares = shares_of_batch(self.recipe, self.state.batch)
        lr = rate(self.recipe, self.progress) * self.state.damping * min(1.0, (self.state.step + 1) / WARMUP_STEPS)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        torch.manual_seed(self.recipe.seed * 1_000_003 + self.state.step)
        with computing(self.device, self.precision):
            losses = self._losses(batch, self._real(), shares)
        (losses * self._weights).sum().backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.objective.parameters(), GRADIENT_LIMIT)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self._average()
        self._last = losses.detach()
        self.state.step += 1
        self.state.stamps += self.state.batch

    def _real(self) -> RealBatch | None:
        if self.real is None:
            return None
        count = max(2, round(self.recipe.real_share * self.state.batch))
        return real_batch(self.real, count, self.recipe, self.state.step)

    def _average(self) -> None:
        """Move the average towards the weights: by 1 - exp(-time of a step / its memory), more in the beginning."""
        steps = self.state.step + 1
        per_step = self.state.seconds / steps
        memory = self.recipe.average * self.seconds
        weight = max(1 / (steps + 1), 1 - math.exp(-per_step / memory)) if memory > 0 and self.state.step else 1.0
        with torch.no_grad():
            for kept, module in ((self.average, self.objective.lvm), (self.readout, self.objective.readout)):
                current = module.state_dict()
                names = [name for name, tensor in kept.items() if tensor.is_floating_point()]
                torch._foreach_lerp_([kept[name] for name in names], [current[name] for name in names], weight)

    def _sound(self) -> bool:
        """Look at the losses; where they are not finite go back to the last checkpoint with half the rate."""
        if not self.state.step:
            return True
        values = self._last.tolist()
        if all(map(math.isfinite, values)):
            self.state.losses = values
            return True
        used, damping = self.state.seconds, self.state.damping / 2
        self.say(f"step {self.state.step}: the losses are not finite; back to the last checkpoint with half the rate")
        if not self.resume():
            raise CheckpointError(
                "The training ran away before its first checkpoint.", "Train with a lower `learning_rate`."
            )
        self.state.seconds, self.state.damping = used, damping
        return False

    def save(self) -> None:
        """Write all that a resumed run needs, whole or not at all."""
        content: dict[str, Any] = {
            "recipe": self.recipe.model_dump(mode="json"),
            "state": vars(self.state),
            "objective": self.objective.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": self.average,
            "readout": self.readout,
        }
        write_atomically(self.folder / LAST, lambda partial: torch.save(content, partial))

    def resume(self) -> bool:
        """Go on from the checkpoint in the folder, if there is one; on a processor of another precision, too.

        Raises
        ------
        CheckpointError
            If it is torn or of another recipe.
        """
        path = self.folder / LAST
        if not path.is_file():
            return False
        hint = f"Delete {path} to start the run again."
        try:
            content = torch.load(path, map_location=self.device, weights_only=True)
        # a torn file raises whatever its first wrong byte leads to
        except Exception as error:
            raise CheckpointError(f"{path} is no checkpoint of a training ({error}).", hint) from error
        if content["recipe"] != self.recipe.model_dump(mode="json"):
            raise CheckpointError(f"{path} is of another recipe.", hint)
        self.objective.load_state_dict(content["objective"])
        self.optimizer.load_state_dict(content["optimizer"])
        self.average, self.readout = content["average"], content["readout"]
        self.state = State(**content["state"])
        return True

    def pace(self) -> dict[str, float]:
        """Stamps per second: in training as it went, drawn alone, and learned from alone, each measured."""
        state = self.state
        went = (state.stamps - state.warm_stamps) / max(state.seconds - state.warm_seconds, 1e-9)
        stamps = SimulatedStamps(self.recipe, self.scale, state.batch, self.device)
        batch, real, weights = stamps[0], self._real(), self._weights

        def learn(index: int) -> None:
            with computing(self.device, self.precision):
                losses = self._losses(batch, real, stamps.shares)
            (losses * weights).sum().backward()  # type: ignore[no-untyped-call]
            self.optimizer.zero_grad()

        with torch.no_grad():
            drawn = self._per_second(stamps.__getitem__)
        return {"stamps_per_s": went, "drawn_per_s": drawn, "learned_per_s": self._per_second(learn)}

    def _per_second(self, call: Callable[[int], object]) -> float:
        """Stamps per second of calls for one batch each."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        began = time.perf_counter()
        for index in range(TIMED):
            call(index)
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return TIMED * self.state.batch / (time.perf_counter() - began)

    def averaged(self) -> LVM:
        """A model with the average of the weights, in evaluation mode on the device."""
        lvm = LVM(self.recipe.model).to(self.device)
        lvm.load_state_dict(self.average)
        return lvm.eval()

    def line(self) -> str:
        """Where the training is, in words."""
        state = self.state
        losses = " ".join(f"{name} {value:.3f}" for name, value in zip(LOSSES, state.losses, strict=False) if value)
        per_second = state.stamps / max(state.seconds, 1e-9)
        return (
            f"{self.recipe.name}: {state.seconds:.0f} of {self.seconds:.0f} s, step {state.step}, "
            f"{state.stamps:,} stamps ({per_second:,.0f}/s) {losses}"
        )


def record(path: Path, line: dict[str, Any]) -> None:
    """Append a line of JSON, at once on disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(line) + "\n")
