"""Checks of this host: settings, packages, the disk, the store."""

import os
import re
import shlex
import shutil
import tempfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from backend_ml.buckets import BucketError, address, check, in_bucket
from backend_ml.doctor.findings import Finding, ok
from backend_ml.experiments.repository import Pipeline
from backend_ml.settings import ENVIRONMENT, Settings

LOW, VERY_LOW = 5e9, 1e9  # bytes free: a campaign's features and a trained encoder take about one gigabyte
NEEDED = ("secret", "backend_password", "label_studio_token")
PINNED = re.compile(r"^([\w.-]+)==([\w.]+)$")


def settings_given(settings: Settings) -> Iterator[Finding]:
    """Whether the secrets are there that every command needs."""
    missing = [f"GALAXYLOOP_{name.upper()}" for name in NEEDED if not getattr(settings, name).get_secret_value()]
    if not missing:
        source = settings.home / ENVIRONMENT
        yield ok("settings", f"complete, {'with' if source.is_file() else 'without'} a file {source}")
    for name in missing:
        command = "galaxyloop up" if not settings.database_url else f"export {name}=..."
        yield Finding("settings", "fail", f"{name} is not set, and no data folder says it", command)


def packages() -> Iterator[Finding]:
    """Whether the packages are there that this version asks for, and those it pins in that version."""
    wrong = []
    for wanted in metadata.requires("galaxyloop") or ():
        requirement, _, marker = wanted.partition(";")
        name = re.split(r"[^\w.-]", requirement.strip())[0]
        pin = PINNED.match(requirement.strip())
        try:
            found = metadata.version(name)
        except metadata.PackageNotFoundError:
            found = None
        if not marker and (found is None or (pin and pin[2] != found)):
            wrong.append(f"{requirement.strip()} (found: {found or 'none'})")
    if wrong:
        yield Finding("packages", "fail", f"not as galaxyloop wants them: {', '.join(wrong)}", "make setup")
    else:
        yield ok("packages", f"galaxyloop {metadata.version('galaxyloop')} has those it wants")


def disk(settings: Settings) -> Iterator[Finding]:
    """How much is free where data folder, store and temporary files lie."""
    places = {"data folder": settings.home, "store": settings.store_folder, "temporary": Path(tempfile.gettempdir())}
    seen = set[int]()
    for name, folder in places.items():
        there = next(one for one in (folder.absolute(), *folder.absolute().parents) if one.exists())
        if (device := there.stat().st_dev) in seen:
            continue
        seen.add(device)
        free = shutil.disk_usage(there).free
        text = f"{free / 1e9:.1f} GB free for the {name}"
        if free >= LOW:
            yield ok("disk", text)
        else:
            yield Finding(
                "disk", "fail" if free < VERY_LOW else "warn", text, f"du -xh {shlex.quote(str(there))} | sort -h"
            )


def pipeline(repository: Pipeline) -> Iterator[Finding]:
    """Whether experiments can run in the pipeline repository."""
    found = list(repository.problems())
    for problem in found:
        yield Finding("pipeline", problem.state, problem.text, problem.command)
    if not found:
        yield ok("pipeline", f"{repository.root} is ready for experiments")


def store(settings: Settings) -> Iterator[Finding]:
    """Whether the store can be written, or its bucket lets us in."""
    folder = settings.store_folder
    if settings.store is not None and in_bucket(settings.store):
        try:
            check(folder)
        except BucketError as error:
            yield Finding("store", "fail", error.message, error.hint)
        else:
            yield ok("store", f"{address(folder)}, with copies in {folder}")
        return
    quoted = shlex.quote(str(folder))
    if not folder.is_dir():
        yield Finding("store", "warn", f"{folder} is not there yet; the first campaign makes it", f"mkdir -p {quoted}")
        return
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        command = f"chown -R {os.geteuid()} {quoted}"
        yield Finding("store", "fail", f"{folder} cannot be written: {error.strerror}", command)
    else:
        yield ok("store", str(folder))
