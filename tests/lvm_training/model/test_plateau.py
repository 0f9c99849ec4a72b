"""Trainings that end where their validation rises no more, killed or not."""

from collections.abc import Sequence
from pathlib import Path

import lightning
import pytest
import torch
from torch.utils.data import DataLoader

from lvm_training.model.fitting import LAST, Plateau, fit

EPOCH = 2  # steps


class Counting(lightning.LightningModule):
    """Its one weight grows by about 1 each step, and epoch k scores `scores[k]`, the last of them for ever."""

    def __init__(self, scores: Sequence[float], kill_at: int = 0) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.scores, self.kill_at, self.seen = scores, kill_at, list[int]()

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
        if self.global_step == self.kill_at - 1:
            raise KeyError("killed")
        self.seen.append(self.global_step)
        return -self.weight

    def validation_step(self, batch: torch.Tensor, batch_idx: int) -> None:
        # which epoch a weight is of, so that the best one scores the same when it is asked again
        epoch = round(float(self.weight)) // EPOCH - 1
        self.log("score", float(self.scores[min(epoch, len(self.scores) - 1)]))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD([self.weight], lr=1.0)


class Nothing(lightning.LightningDataModule):
    def train_dataloader(self) -> DataLoader[torch.Tensor]:
        return DataLoader([torch.zeros(())] * EPOCH, batch_size=None)  # type: ignore[arg-type]

    def val_dataloader(self) -> DataLoader[torch.Tensor]:
        return DataLoader([torch.zeros(())], batch_size=None)  # type: ignore[arg-type]


def naive(scores: Sequence[float], patience: int, epochs: int) -> tuple[int, int]:
    """Epochs trained, and which of them is best, the earliest of equals."""
    for done in range(1, epochs + 1):
        seen = [scores[min(epoch, len(scores) - 1)] for epoch in range(done)]
        if done - 1 - seen.index(max(seen)) >= patience:
            break
    return done, seen.index(max(seen)) + 1


@pytest.mark.filterwarnings("ignore:.*does not have many workers")
@pytest.mark.parametrize(
    ("scores", "patience"),
    [
        ([0.1, 0.3, 0.2, 0.2, 0.9], 2),  # rises again, too late
        ([0.1, 0.3, 0.2, 0.4, 0.4, 0.1], 2),  # an equal one is no better
        ([0.5, 0.4], 1),
        ([0.1, 0.2, 0.3, 0.4, 0.5, 0.6], 2),  # rises to the last step
        ([0.1, 0.2, 0.3, 0.4, 0.5, 0.2], 2),  # the last is worse, though there were patience left
        ([0.0, 0.0, 0.0], 3),
    ],
)
def test_it_ends_with_the_best_weights(scores: list[float], patience: int, tmp_path: Path) -> None:
    epochs, best = naive(scores, patience, 6)
    module = Counting(scores)
    metrics = fit(module, Nothing(), 6 * EPOCH, tmp_path / "whole", plateau=Plateau("score", patience))
    assert len(module.seen) == epochs * EPOCH
    assert round(float(module.weight.detach())) == best * EPOCH
    assert metrics["score"] == pytest.approx(max(scores[:epochs]))
    # the same, killed in every epoch
    for kill in range(1, epochs * EPOCH + 1):
        folder = tmp_path / f"killed{kill}"
        with pytest.raises(KeyError):
            fit(Counting(scores, kill), Nothing(), 6 * EPOCH, folder, plateau=Plateau("score", patience))
        resumed = Counting(scores)
        again = fit(resumed, Nothing(), 6 * EPOCH, folder, plateau=Plateau("score", patience))
        assert round(float(resumed.weight.detach())) == best * EPOCH and again == pytest.approx(metrics)


@pytest.mark.filterwarnings("ignore:.*does not have many workers")
def test_one_killed_behind_its_end_trains_no_further(tmp_path: Path) -> None:
    plateau = Plateau("score", 1)
    fit(Counting([0.5, 0.4, 0.9]), Nothing(), 6 * EPOCH, tmp_path, plateau=plateau)
    kept = torch.load(tmp_path / LAST, weights_only=True)
    assert kept["global_step"] == 2 * EPOCH
    again = Counting([0.5, 0.4, 0.9])
    metrics = fit(again, Nothing(), 6 * EPOCH, tmp_path, plateau=plateau)
    assert again.seen == [] and metrics["score"] == 0.5 and round(float(again.weight.detach())) == EPOCH


@pytest.mark.filterwarnings("ignore:.*does not have many workers")
def test_without_a_plateau_the_last_weights_stay(tmp_path: Path) -> None:
    module = Counting([0.5, 0.4, 0.3])
    assert fit(module, Nothing(), 3 * EPOCH, tmp_path)["score"] == pytest.approx(0.3)
    assert round(float(module.weight.detach())) == 3 * EPOCH
