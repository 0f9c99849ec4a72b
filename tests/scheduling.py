"""Which tests run together, and in what order, when several processes share them."""

import pytest
from xdist.scheduler import LoadFileScheduling

WITH_LABEL_STUDIO = (
    "tests/live/",
    "tests/soak/",
    "tests/browser/test_labelling_page.py",
    "tests/browser/test_restoration_page.py",
    "tests/browser/test_vote_page.py",
)
"""These share the servers of `tests/installation.py`, and so one process: another one would start a second set."""
KILLS = "tests/live/test_kills.py"
"""Of those, the last: it kills the servers that they share."""
OWN_SERVERS = "tests/live/test_up.py"
"""Of `tests/live`, what starts servers of its own."""
FORKS = (
    "tests/lvm_training/stages/test_pipeline.py",
    "tests/test_compose_services.py",
    "tests/test_warm.py",
    "tests/lvm_training/stages/release/test_pinned.py",
    "tests/lvm_training/stages/release/test_s3_remote.py",
    "tests/backend_ml/rebuilding/test_kinds_again.py",
    "tests/backend_ml/rebuilding/test_rebuild.py",
    "tests/backend_ml/experiments/test_finetuning.py",
    "tests/backend_ml/cli/stamps/test_pretrain.py",
    "tests/backend_ml/learning/test_encoder_jobs.py",
    "tests/backend_ml/learning/test_other_encoders.py",
    "tests/backend_ml/test_several_hosts.py",
    "tests/backend_ml/test_worker.py",
    "tests/lvm_training/model/test_fitting.py",
    "tests/lvm_training/pool/",
    "tests/lvm_training/pretraining/",
)
"""These share the servers of `tests/forked.py` and `tests/warm`, and so one process too."""
LONG = ("tests/lvm_training/stages/", *FORKS, "tests/lvm_training/detection/")
"""Files of long tests: begun first, so that no process ends alone with one of them."""


class OneLabelStudio(LoadFileScheduling):  # type: ignore[misc]
    """Gives a process whole files, and one process every test that needs the real Label Studio, one all that fork."""

    def _split_scope(self, nodeid: str) -> str:
        if _shares_servers(nodeid):
            return "Label Studio"
        return "forks" if nodeid.startswith(FORKS) else str(super()._split_scope(nodeid))


def order(items: list[pytest.Item]) -> None:
    """Put tests with Label Studio first, then the long ones, in place; files stay whole.

    Raises
    ------
    UsageError
        If a test outside `WITH_LABEL_STUDIO` asks for a Label Studio.
    """
    for item in items:
        if "installation" in getattr(item, "fixturenames", ()) and not _shares_servers(item.nodeid):
            raise pytest.UsageError(f"{item.nodeid} would start a second Label Studio: name it in tests/scheduling.py")
    items.sort(key=lambda item: _place(item.nodeid))


def _shares_servers(nodeid: str) -> bool:
    return nodeid.startswith(WITH_LABEL_STUDIO) and not nodeid.startswith(OWN_SERVERS)


def _place(nodeid: str) -> int:
    if _shares_servers(nodeid):
        return 1 if nodeid.startswith(KILLS) else 0
    # behind the long ones: by then the others' Label Studio has left a migrated database
    return 2 if nodeid.startswith(LONG) else 3 if nodeid.startswith(OWN_SERVERS) else 4
