"""`galaxyloop doctor`: whether an installation is well."""

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from backend_ml.cli.options import Json
from backend_ml.console import print_json, reported
from lvm_training.progress import progress_bar

if TYPE_CHECKING:
    from backend_ml.doctor.findings import Finding

WIDTH = 80
COLOURS = {"ok": typer.colors.GREEN, "warn": typer.colors.YELLOW, "fail": typer.colors.RED}
BEFORE = 22  # characters before the text of a line


def doctor(
    fix: Annotated[bool, typer.Option("--fix", help="Do what can safely be done, and look again.")] = False,
    as_json: Json = False,
) -> None:
    """Check a running installation line by line; for each failure the command that mends it.

    The exit status is 1 if anything fails.
    """
    from backend_ml.doctor.examine import examined, mended
    from backend_ml.settings import Settings

    with reported():
        settings = Settings()
        refused: list[Finding] = []
        with examined(settings) as findings:
            if fix:
                refused = mended(findings, progress_bar)
        if fix and any(one.mend for one in findings):
            with examined(settings) as findings:
                pass
    found = [*findings, *refused]
    failures = sum(one.state == "fail" for one in found)
    if as_json:
        print_json([one.to_json() for one in found])
    else:
        _show(found)
        warnings = sum(one.state == "warn" for one in found)
        typer.echo(f"{failures} failures, {warnings} warnings, {len(found) - failures - warnings} well.")
    if failures:
        raise typer.Exit(1)


def _show(findings: "Sequence[Finding]") -> None:
    """Print the lines, those of each campaign under its name; commands are never broken."""
    campaign = ""
    for finding in sorted(findings, key=lambda one: bool(one.campaign)):
        if finding.campaign != campaign:
            campaign = finding.campaign
            typer.secho(f"\n{campaign}", bold=True)
        first, *others = textwrap.wrap(" ".join(finding.text.split()), WIDTH - BEFORE) or [""]
        typer.secho(f"{finding.state:<5}", fg=COLOURS[finding.state], nl=False)
        typer.echo(f" {finding.check:<15} {first}")
        for line in others:
            typer.echo(" " * BEFORE + line)
        if finding.command:
            typer.echo(f"      $ {finding.command}")
