"""Models say which code made them, wherever that code lies."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from lvm_training import revision
from tests.checkouts import owned_by_another


def git(folder: Path, *words: str) -> str:
    who = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    done = subprocess.run(["git", *who, "-C", str(folder), *words], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def forget() -> None:
    revision.code_revision.cache_clear()
    revision.training_revision.cache_clear()


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A checkout with one commit, in which the running code seems to lie."""
    code = tmp_path / "lvm_training" / "revision.py"
    code.parent.mkdir()
    code.write_text("# code")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-qm", "code")
    monkeypatch.setattr(revision, "__file__", str(code))
    forget()
    yield tmp_path
    forget()


def test_a_clean_checkout_is_its_commit(checkout: Path) -> None:
    assert git(checkout, "rev-parse", "HEAD").startswith(revision.code_revision())
    assert len(revision.code_revision()) == 12


def test_a_tag_does_not_hide_the_commit(checkout: Path) -> None:
    git(checkout, "tag", "-a", "v1", "-m", "first")
    assert git(checkout, "rev-parse", "HEAD").startswith(revision.code_revision())


def test_changed_code_is_marked_and_what_lies_beside_it_is_not(checkout: Path) -> None:
    (checkout / "notes.txt").write_text("not tracked")
    assert not revision.code_revision().endswith("+")
    revision.code_revision.cache_clear()
    (checkout / "lvm_training" / "revision.py").write_text("# other code")
    assert revision.code_revision().endswith("+")


def test_what_pipelines_make_names_the_code_that_made_it_and_no_later_commit(checkout: Path) -> None:
    made_by = revision.training_revision()
    assert made_by == revision.code_revision()
    # as a lock is: what the pipeline made is named in it, and must be the same once it is committed
    (checkout / "dvc.lock").write_text("lock")
    git(checkout, "add", "-A")
    git(checkout, "commit", "-qm", "the lock")
    (checkout / "dvc.lock").write_text("another lock")
    forget()
    assert revision.training_revision() == made_by != revision.code_revision()
    (checkout / "lvm_training" / "revision.py").write_text("# other code")
    forget()
    assert revision.training_revision() == f"{made_by}+"
    git(checkout, "commit", "-qam", "other code")
    forget()
    assert revision.training_revision() not in (made_by, f"{made_by}+")


def test_a_checkout_of_another_user_is_its_commit_too(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # as that of root in /opt, whose services run as a user of their own
    owned_by_another(monkeypatch)
    assert revision.code_revision() != "unknown" != revision.training_revision()


def test_an_image_is_the_commit_it_was_built_of(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(checkout.parent))
    (checkout / ".git").rename(checkout / "away")
    (checkout / "REVISION").write_text("0123456789ab+\n")
    assert revision.code_revision() == revision.training_revision() == "0123456789ab+"


def test_without_a_checkout_or_git_it_is_unknown(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert revision.code_revision() == "unknown"
    monkeypatch.undo()
    revision.code_revision.cache_clear()
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(checkout.parent))
    monkeypatch.setattr(revision, "__file__", str(checkout / "lvm_training" / "revision.py"))
    (checkout / ".git").rename(checkout / "away")
    assert revision.code_revision() == revision.training_revision() == "unknown"
