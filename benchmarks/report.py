"""Prints a benchmark's rows as a table and keeps them as JSON."""

import json
import os
import platform
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

FOLDER = Path("build/benchmarks")

Row = dict[str, float | int | str]


def save(name: str, rows: Sequence[Row]) -> None:
    """Print `rows` and write them to build/benchmarks/<name>.json with the machine they were measured on."""
    if not rows:
        Console().print(f"{name}: nothing was measured")
        return
    columns = list(dict.fromkeys(column for row in rows for column in row))
    table = Table(*columns, title=f"{name} ({os.cpu_count()} cores, {platform.machine()})")
    for row in rows:
        values = [row.get(column, "") for column in columns]
        table.add_row(*(f"{value:.4g}" if isinstance(value, float) else str(value) for value in values))
    Console().print(table)
    FOLDER.mkdir(parents=True, exist_ok=True)
    machine = {"cores": os.cpu_count(), "processor": platform.processor() or platform.machine()}
    (FOLDER / f"{name}.json").write_text(json.dumps({"machine": machine, "rows": list(rows)}, indent=2) + "\n")
