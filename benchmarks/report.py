"""What benchmarks share: the encoder that is asked for, and rows printed as a table and kept as JSON."""

import os
import platform
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from backend_ml.store.named_encoders import chosen_folder
from lvm_training.files import write_json
from lvm_training.progress import progress_bar
from lvm_training.revision import code_revision

FOLDER = Path("build/benchmarks")

Row = dict[str, float | int | str]


def asked_encoder(said: str) -> Path:
    """The folder of an encoder as `--encoder` of the commands names it: ours, a detector's, or another's."""
    return chosen_folder(FOLDER / "store", said, progress_bar)


def save(name: str, rows: Sequence[Row]) -> None:
    """Print `rows` and write them to build/benchmarks/<name>.json with the machine, arguments and code revision."""
    if not rows:
        Console().print(f"{name}: nothing was measured")
        return
    columns = list(dict.fromkeys(column for row in rows for column in row))
    table = Table(*columns, title=f"{name} ({os.cpu_count()} cores, {platform.machine()})")
    for row in rows:
        values = [row.get(column, "") for column in columns]
        table.add_row(*(f"{value:.4g}" if isinstance(value, float) else str(value) for value in values))
    # a log has no width of its own
    Console(width=None if sys.stdout.isatty() else 160).print(table)
    machine = {"cores": os.cpu_count(), "processor": platform.processor() or platform.machine()}
    about = {"machine": machine, "arguments": sys.argv[1:], "code": code_revision()}
    write_json(FOLDER / f"{name}.json", {**about, "rows": list(rows)})
