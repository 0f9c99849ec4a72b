"""What a demo shall do."""

from dataclasses import dataclass
from pathlib import Path

from lvm_training.tables.cells import Missing


@dataclass(frozen=True)
class DemoOptions:
    """What a demo shall do; see the options of `demo`."""

    data: Path | None
    labels: Path | None
    column: str | None
    missing: Missing | None
    tasks: int
    rounds: int
    per_round: int
    home: Path
    seed: int
    exit: bool
    as_json: bool
