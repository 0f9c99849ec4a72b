"""The processes of one training: where they run, which one writes, and which batches each of them reads."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeVar

import torch
import torch.distributed
from torch.utils.data import Dataset

from lvm_training.params import ParamsError

# an encoder asks where it runs, and a training library takes a second and a half to load
if TYPE_CHECKING:
    import lightning

Item = TypeVar("Item")


def fastest_device() -> torch.device:
    """Where one process answers: the first GPU, or the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@dataclass(frozen=True)
class Layout:
    """Where a training runs.

    Attributes
    ----------
    accelerator : {"cpu", "cuda"}
        What the processes compute on.
    devices, nodes : int
        Processes per machine, each with one device, and machines.
    torchrun : bool
        Whether torchrun started the processes; without it the first process starts those of the other GPUs.
    """

    accelerator: Literal["cpu", "cuda"]
    devices: int
    nodes: int
    torchrun: bool

    @property
    def backend(self) -> str | None:
        """What the processes talk through: NCCL between GPUs, Gloo between CPUs; None for a single process."""
        if self.devices * self.nodes == 1:
            return None
        return "nccl" if self.accelerator == "cuda" else "gloo"


def find_layout(environment: Mapping[str, str], gpus: int) -> Layout:
    """The layout that torchrun's environment variables ask for; without them, one process for each visible GPU.

    Parameters
    ----------
    environment : mapping
        Environment variables: https://docs.pytorch.org/docs/stable/elastic/run.html#environment-variables.
    gpus : int
        GPUs this process can use.

    Raises
    ------
    ParamsError
        If machines run different numbers of processes, or this one more than it has GPUs.
    """
    accelerator: Literal["cpu", "cuda"] = "cuda" if gpus else "cpu"
    if "TORCHELASTIC_RUN_ID" not in environment:
        return Layout(accelerator, max(1, gpus), 1, torchrun=False)
    world, local = int(environment["WORLD_SIZE"]), int(environment["LOCAL_WORLD_SIZE"])
    if world % local:
        raise ParamsError(
            f"torchrun started {world} processes in all, but {local} on this machine.",
            "Give every machine the same --nproc_per_node.",
        )
    if gpus and local > gpus:
        raise ParamsError(
            f"torchrun started {local} processes on a machine with {gpus} GPU{'s' if gpus > 1 else ''}.",
            f"Use --nproc_per_node={gpus}, or CUDA_VISIBLE_DEVICES= to train on its CPU.",
        )
    return Layout(accelerator, local, world // local, torchrun=True)


def leads() -> bool:
    """Whether this process is the one that writes files and prints, known before and after training."""
    return int(os.environ.get("RANK", os.environ.get("LOCAL_RANK", "0"))) == 0


def meet() -> None:
    """Wait until all processes are here: what the first one writes is then there for the others to read."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.barrier()


class RankBatches(Dataset[Item]):
    """The batches of one process: those at `rank`, `rank` + `world`, ...; every process has as many.

    Parameters
    ----------
    batches : Dataset
        All processes' batches in their common order; what does not fill a round of all processes is left out.
    rank, world : int
        This process's number and that of all of them.
    """

    def __init__(self, batches: Dataset[Item], rank: int, world: int) -> None:
        self.batches, self.rank, self.world = batches, rank, world

    def __len__(self) -> int:
        return len(self.batches) // self.world  # type: ignore[arg-type]

    def __getitem__(self, index: int) -> Item:
        if not 0 <= index < len(self):
            raise IndexError(index)
        return self.batches[index * self.world + self.rank]


def rank_and_world(trainer: "lightning.Trainer | None") -> tuple[int, int]:
    """This process's number and that of all of a trainer's processes; (0, 1) without a trainer."""
    return (0, 1) if trainer is None else (trainer.global_rank, trainer.world_size)


def mean_over_ranks(value: torch.Tensor) -> torch.Tensor:
    """The mean of a tensor over the processes, without gradient.

    A loss whose denominator is this mean has, after DDP's mean over the processes, the gradient of the loss of one
    process with all their stamps.
    """
    mean = value.detach().clone()
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.all_reduce(mean)
        mean = mean / torch.distributed.get_world_size()
    return mean
