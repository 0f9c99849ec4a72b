"""Git checkouts as others have them."""

import os

import pytest


def owned_by_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let git take every checkout for another user's, whatever this machine's settings trust."""
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
