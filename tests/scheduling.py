"""Which tests run together, and in what order, when several processes share them."""

from collections.abc import Sequence

import pytest
from xdist.scheduler import LoadFileScheduling

WITH_LABEL_STUDIO = ("tests/live/", "tests/soak/", "tests/browser/test_labelling_page.py")
"""These share the fixture `installation`, and so one process: another one would start a second Label Studio."""
FIRST = (
    *WITH_LABEL_STUDIO,
    "tests/lvm_training/stages/",
    "tests/lvm_training/model/",
    "tests/backend_ml/why/test_why.py",
)
"""What takes longest, so that no process ends with it alone."""
LAST_OF_ALL = "tests/live/test_kills.py"
"""Of the tests with Label Studio: it kills the servers that they share."""


class OneLabelStudio(LoadFileScheduling):  # type: ignore[misc]
    """Gives a process whole files, and one process every test that needs the real Label Studio."""

    def _split_scope(self, nodeid: str) -> str:
        return "Label Studio" if nodeid.startswith(WITH_LABEL_STUDIO) else str(super()._split_scope(nodeid))


def order(items: list[pytest.Item]) -> None:
    """Put the longest first, in place; files stay whole.

    Raises
    ------
    UsageError
        If a test outside `WITH_LABEL_STUDIO` asks for a Label Studio.
    """
    for item in items:
        if "installation" in getattr(item, "fixturenames", ()) and not item.nodeid.startswith(WITH_LABEL_STUDIO):
            raise pytest.UsageError(f"{item.nodeid} would start a second Label Studio: name it in tests/scheduling.py")
    items.sort(key=lambda item: _place(item.nodeid, FIRST))


def _place(nodeid: str, first: Sequence[str]) -> tuple[bool, int]:
    place = next((place for place, prefix in enumerate(first) if nodeid.startswith(prefix)), len(first))
    return place >= len(WITH_LABEL_STUDIO), place if not nodeid.startswith(LAST_OF_ALL) else len(first)
