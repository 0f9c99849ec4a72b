"""Which code a version is made again with: its own commit, or the present one, with what to know of that."""

import subprocess
from pathlib import Path

import pytest
import yaml

from backend_ml.learning.learned_from import Recipe
from backend_ml.rebuilding.clone import RebuildError, choose_source, clone, code_words
from backend_ml.rebuilding.rebuild import _elsewhere
from backend_ml.rebuilding.work import CODE, RUNNER, Work
from lvm_training.revision import gpu, libraries, lock_hashes, processor
from tests.checkouts import owned_by_another

ROOT = Path(__file__).parents[3]


def git(folder: Path, *words: str) -> str:
    who = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    done = subprocess.run(["git", *who, "-C", str(folder), *words], check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> tuple[Path, list[str]]:
    """A checkout of three commits: without the runner, with it, and with other heads."""
    root, commits = tmp_path / "code", []
    for path in ("lvm_training/heads/head.py", RUNNER, "lvm_training/heads/head.py"):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(f"# version {len(commits)}\n")
        if not commits:
            git(root, "init", "-q")
        git(root, "add", "-A")
        git(root, "commit", "-qm", "code")
        commits.append(git(root, "rev-parse", "HEAD"))
    return root, commits


def test_the_commit_that_made_it_is_used(checkout: tuple[Path, list[str]], tmp_path: Path) -> None:
    root, (_, second, third) = checkout
    for commit in (second, third):
        source = choose_source(root / "lvm_training", commit[:12])
        assert (source.commit, source.notes) == (commit, ())
    clone(choose_source(root, second[:12]), tmp_path / "kept", shared=False)
    assert (tmp_path / "kept/lvm_training/heads/head.py").read_text() == "# version 0\n"
    assert git(tmp_path / "kept", "rev-parse", "HEAD") == second and git(root, "rev-parse", "HEAD") == third
    with pytest.raises(RebuildError, match="is not empty"):
        clone(choose_source(root, second[:12]), tmp_path / "kept", shared=False)


def test_without_it_the_present_one_is_used_and_that_is_said(checkout: tuple[Path, list[str]]) -> None:
    root, (first, second, third) = checkout
    told = {
        "unknown": "It is not known which commit made the version: the present one is used.",
        "0123456789ab": "The commit 0123456789ab is not in this repository: the present one is used.",
        first[:12]: f"The commit {first[:12]} cannot rebuild versions yet: the present one is used; the code that fits"
        " heads is another one here.",
    }
    for revision, words in told.items():
        assert choose_source(root, revision).commit == third and choose_source(root, revision).notes == (words,)
    assert code_words(root, second) == "the code that fits heads is another one here"
    assert code_words(root, f"{third}+") == "the code that fits heads is the same here"
    assert code_words(root, "unknown") == code_words(root.parent, third) == ""


def test_local_changes_stay_out_of_the_clone_and_that_is_said(checkout: tuple[Path, list[str]], tmp_path: Path) -> None:
    root, commits = checkout
    (root / "lvm_training/heads/head.py").write_text("# mine\n")
    (root / "notes.txt").write_text("not tracked")
    source = choose_source(root, f"{commits[2][:12]}+")
    assert source.commit == commits[2]
    assert source.notes == (
        "The version was made with changes to that commit that were not committed.",
        "The checkout has changes that are not committed, which a clone has not: lvm_training/heads/head.py.",
    )
    clone(source, tmp_path / "clone", shared=True)
    assert (tmp_path / "clone/lvm_training/heads/head.py").read_text() == "# version 2\n"
    assert not (tmp_path / "clone/notes.txt").exists()


def test_a_checkout_of_another_user_is_told(checkout: tuple[Path, list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    owned_by_another(monkeypatch)
    with pytest.raises(RebuildError, match="belongs to another user") as caught:
        choose_source(checkout[0], "unknown")
    assert "safe.directory" in caught.value.hint


def test_a_folder_without_our_code_is_refused(checkout: tuple[Path, list[str]], tmp_path: Path) -> None:
    root, (first, *_) = checkout
    git(root, "checkout", "-q", first)
    for folder in (root, tmp_path, tmp_path / "nothing"):
        with pytest.raises(RebuildError, match="is no git checkout of Galaxy Loop"):
            choose_source(folder, first)


def test_another_processor_and_other_libraries_are_named() -> None:
    here = Recipe.model_construct(processor=processor(), libraries=libraries(), precision="bf16")
    assert _elsewhere(here) == []
    elsewhere = {"processor": "a slide rule", "libraries": libraries() | {"numpy": "0.1", "abacus": "3"}}
    found = _elsewhere(here.model_copy(update=elsewhere))
    assert found == [
        f"It was made on another processor: a slide rule; this one is {processor()}.",
        f"Other libraries: numpy {libraries()['numpy']} in place of 0.1.",
    ]
    trained = here.model_copy(update={"pictures": {"sky": "0"}, "gpu": "an abacus"})
    assert _elsewhere(trained) == [f"It was trained on an abacus; here is {gpu() or 'none'}."]
    assert _elsewhere(trained.model_copy(update={"precision": ""})) == [], "an older fit did not say"
    assert set(libraries()) >= {"python", "numpy", "scipy", "torch"} and all(map(len, lock_hashes().values()))


def test_a_rebuild_depends_on_the_code_that_makes_heads_and_an_older_clone_on_what_it_has(tmp_path: Path) -> None:
    assert all((ROOT / path).exists() for path in CODE)
    (tmp_path / "lvm_training/heads").mkdir(parents=True)
    work = Work.model_construct(
        labels=Path("labels"), served=Path("served"), features={}, head=Path("head"), comparison=Path("comparison")
    )
    work.write(tmp_path, Path("rebuild/one"))
    stage = yaml.safe_load((tmp_path / "rebuild/one/dvc.yaml").read_text())["stages"]["fit"]
    assert stage["deps"] == ["rebuild/one/work.json", "labels", "served", "lvm_training/heads"]
