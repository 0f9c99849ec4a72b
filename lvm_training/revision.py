"""Which code, libraries and processor made a model."""

import hashlib
import platform
import subprocess
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

LOCKS = ("dvc.lock", "requirements/cpu.txt")  # what pins a pipeline's data and a host's libraries
LIBRARIES = ("numpy", "scipy", "torch", "timm")  # whose arithmetic a fit and an embedding are made of
PROCESSOR = Path("/proc/cpuinfo")
BUILT_OF = "REVISION"  # the file of an image with the commit that it was built of, since git is not in there


@lru_cache(maxsize=1)
def code_revision() -> str:
    """The git commit of the running code, `+` behind it where tracked files differ; "unknown" outside a checkout."""
    return _git("describe", "--always", "--abbrev=12", "--dirty=+", "--exclude=*") or _built_of()


@lru_cache(maxsize=1)
def training_revision() -> str:
    """The commit that changed this package last, `+` behind it where its files differ; as `code_revision` outside one.

    Cards of what the pipeline makes name this one: a commit of anything else, of `dvc.lock` above all, changes no file.
    """
    package = Path(__file__).resolve().parent.name
    commit = _git("log", "-1", "--format=%h", "--abbrev=12", "--", package)
    if not commit:
        return code_revision()
    return f"{commit}+" if _git("status", "--porcelain", "--untracked-files=no", "--", package) else commit


def _git(*words: str) -> str:
    """What git says of the checkout in which the running code lies; "" where it does not."""
    root = Path(__file__).resolve().parent.parent
    # it may belong to another user than the service's
    ours = ["-c", f"safe.directory={root}", "-C", str(root)]
    try:
        found = subprocess.run(  # noqa: S603
            ["git", *ours, *words],  # noqa: S607
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return found.stdout.strip()


def _built_of() -> str:
    built_of = Path(__file__).resolve().parent.parent / BUILT_OF
    return built_of.read_text().strip() if built_of.is_file() else "unknown"


@lru_cache(maxsize=1)
def lock_hashes() -> dict[str, str]:
    """SHA-256 of each lock file beside the running code, of those that are there."""
    files = {name: Path(__file__).parent.parent / name for name in LOCKS}
    return {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files.items() if path.is_file()}


@lru_cache(maxsize=1)
def libraries() -> dict[str, str]:
    """Versions of the interpreter and of the libraries that compute, of those that are installed."""
    found = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


@lru_cache(maxsize=1)
def gpu() -> str:
    """The name of the first GPU; "" where there is none."""
    import torch  # seconds

    return torch.cuda.get_device_name() if torch.cuda.is_available() else ""


@lru_cache(maxsize=1)
def processor() -> str:
    """The processor's own name: floating point gives the same bits on the same one."""
    try:
        lines = PROCESSOR.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, "") or platform.processor() or platform.machine()
